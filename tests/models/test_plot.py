"""A model's picture has the boxes and arrows that Keras's has."""

import re
import shutil

import keras
import numpy as np
import pydot
import pytest

import oneiros
from oneiros.models import plot

OPTIONS = [
    dict(),
    dict(show_layer_names=False, show_shapes=True),
    dict(expand_nested=True, show_shapes=True, show_dtype=True, rankdir="LR"),
    dict(expand_nested=True, show_layer_activations=True, show_trainable=True, dpi=96),
]


def functional(library):
    """Two inputs, two outputs, models inside of models, a shared layer, an op."""
    layers = library.layers
    x, z = library.Input((4,), name="x"), library.Input((2,), name="z")
    chain = library.Sequential([layers.Dense(3, name="q"), layers.Dropout(0.1, name="r")], name="c")
    u, v = library.Input((3,), name="u"), library.Input((3,), name="v")
    sums = layers.Add(name="add")([u, layers.Dense(3, activation="tanh", name="d")(v)])
    inner = library.Model([u, v], [sums, chain(sums)], name="inner")
    shared = layers.Dense(3, activation="relu", name="shared")
    first, second = inner([shared(x), layers.Dense(3, name="other", trainable=False)(z)])
    return library.Model([x, z], [layers.Dense(1, name="end")(first), second], name="outer")


def chain(library):
    layers = library.layers
    return library.Sequential(
        [library.Input((3,)), layers.Dense(2, name="a"), layers.ReLU(name="b")]
    )


def drawn(dot):
    """The texts of the boxes and the arrows between them, in Graphviz's own words."""
    titles, clusters = {}, []

    def walk(graph):
        for node in graph.get_nodes():
            if label := node.get_label():
                text = re.sub("<[^<>]*>", " ", label.strip()[1:-1])
                titles[node.get_name()] = re.sub(r" (?=\))|(?<=\() ", "", " ".join(text.split()))
        for sub in graph.get_subgraphs():
            clusters.append(sub.get_label().strip('"'))
            walk(sub)

    def edges(graph):
        for edge in graph.get_edges():
            yield titles[edge.get_source()], titles[edge.get_destination()]
        for sub in graph.get_subgraphs():
            yield from edges(sub)

    walk(dot)
    return sorted(titles.values()), sorted(clusters), sorted(edges(dot))


@pytest.mark.parametrize("make", [functional, chain])
@pytest.mark.parametrize("row", range(len(OPTIONS)))
def test_boxes_and_arrows_are_those_of_keras(make, row):
    ours, theirs = (
        drawn(library.utils.model_to_dot(make(library), **OPTIONS[row]))
        for library in (oneiros, keras)
    )
    assert ours == theirs


def test_a_subclassed_model_is_one_box():
    class Own(oneiros.Model):
        def __init__(self):
            super().__init__(name="own")
            self.dense = oneiros.layers.Dense(2)

        def call(self, x):
            return self.dense(x)

    model = Own()
    model(np.ones((1, 2), "float32"))
    assert drawn(oneiros.utils.model_to_dot(model)) == (["own (Own)"], [], [])
    assert isinstance(oneiros.utils.model_to_dot(model, subgraph=True), pydot.Cluster)


@pytest.mark.parametrize("rankdir", plot.RANKDIRS)
def test_without_graphviz_matplotlib_draws(rankdir, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    oneiros.utils.plot_model(functional(oneiros), tmp_path / "m.png", rankdir=rankdir, dpi=50)
    pixels = np.asarray(oneiros.utils.load_img(tmp_path / "m.png", "grayscale"))
    assert min(pixels.shape) > 50 and (pixels < 128).sum() > 100
    oneiros.utils.plot_model(functional(oneiros), tmp_path / "m.svg", show_shapes=True)
    assert b"<svg" in (tmp_path / "m.svg").read_bytes()


@pytest.mark.skipif(not shutil.which("dot"), reason="Graphviz is not installed")
def test_graphviz_draws(tmp_path):
    oneiros.utils.plot_model(functional(oneiros), tmp_path / "m.png", expand_nested=True)
    assert oneiros.utils.load_img(tmp_path / "m.png").width > 100
    with pytest.raises(ValueError, match=r"m\.nothing"):
        oneiros.utils.plot_model(functional(oneiros), tmp_path / "m.nothing")


@pytest.mark.parametrize(
    "kwargs, match",
    [
        (dict(rankdir="x"), "'x'"),
        (dict(colour=1), "colour"),
        (dict(layer_range=["a", "b"]), "range"),
    ],
)
def test_options_that_make_no_sense_are_errors(kwargs, match):
    for draw in (oneiros.utils.model_to_dot, oneiros.utils.plot_model):
        with pytest.raises(ValueError, match=match):
            draw(chain(oneiros), **kwargs)


def test_a_model_that_is_not_built_is_an_error():
    model = oneiros.Sequential([oneiros.layers.Dense(2)], name="later")
    with pytest.raises(ValueError, match="'later' is not built"):
        oneiros.utils.model_to_dot(model)


def test_without_pydot_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydot", None)
    with pytest.raises(ImportError, match=r"oneiros\[plot\]"):
        oneiros.utils.model_to_dot(chain(oneiros))
