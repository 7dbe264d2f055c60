"""A model's table is the one that Keras draws."""

import contextlib
import io
import warnings

import numpy as np
import pytest

import oneiros


@pytest.fixture(scope="module")
def keras():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


def chain(k):
    model = k.Sequential(
        [k.Input((4,)), k.layers.Dense(3, name="a"), k.layers.BatchNormalization(name="bn")],
        name="chain",
    )
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def graph(k):
    x, y = k.Input((4,), name="in1"), k.Input((4,), name="in2")
    dense = k.layers.Dense(3, name="a")
    both = k.layers.Concatenate(name="both")([dense(x), dense(y)])
    twice = both * 2
    return k.Model([x, y], [k.layers.Dense(2, name="out")(twice), twice], name="graph")


def nested(k):
    inner = k.Sequential([k.layers.Dense(4, name="i1"), k.layers.Dense(5, name="i2")], name="inner")
    x = k.Input((7,), name="x")
    return k.Model(x, k.layers.Dense(2, name="last")(inner(x)), name="nested")


def frozen(k):
    model = chain(k)
    model.layers[0].trainable = False
    return model


def unbuilt(k):
    return k.Sequential([k.layers.Dense(3, name="d")], name="unbuilt")


def subclassed(k):
    class Mine(k.Model):
        def __init__(self):
            super().__init__(name="mine")
            self.first = k.layers.Dense(3, name="first")
            self.second = k.layers.Dense(4, name="second")

        def call(self, x):
            return self.second(self.first(x))

    return Mine()


def called(k):
    model = subclassed(k)
    model(np.zeros((2, 3), "float32"))
    return model


def large(k):
    x = k.Input((7,), name="x")
    return k.Model(
        x, k.layers.Dense(10**6, name="a_name_that_is_too_long_for_a_column")(x), name="m"
    )


def branching(k):
    x = k.Input((7,), name="x")
    a, b = k.layers.Dense(2, name="a")(x), k.layers.Dense(2, name="b")(x)
    return k.Model(x, k.layers.Add(name="sum")([a, b]), name="branching")


ROWS = [
    (chain, {}),
    (chain, {"line_length": 60}),
    (chain, {"line_length": 60, "positions": [0.3, 0.6, 1.0]}),
    (graph, {}),
    (branching, {}),
    (nested, {}),
    (nested, {"expand_nested": True}),
    (nested, {"expand_nested": True, "show_trainable": True}),
    (nested, {"layer_range": ["inner", "last"]}),
    (nested, {"layer_range": ["in.*", "inner"]}),
    (frozen, {"show_trainable": True}),
    (unbuilt, {}),
    (subclassed, {}),
    (called, {}),
    (large, {}),
]


@pytest.mark.parametrize("build, options", ROWS, ids=[f"{b.__name__}-{o}" for b, o in ROWS])
def test_the_table_is_that_of_keras(build, options, keras):
    tables = []
    for library in (keras, oneiros):
        library.utils.clear_session(free_memory=False)  # names are numbered from the start
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = build(library)
        lines = []
        model.summary(print_fn=lines.append, **options)
        tables.append(lines)
    assert tables[0] == tables[1]


def test_without_print_fn_it_goes_to_the_standard_output():
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        nested(oneiros).summary()
    assert screen.getvalue().startswith('Model: "nested"\n┏') and "\x1b" not in screen.getvalue()


def test_optimizer_state_counts_once_it_is_there():
    lines = []
    chain(oneiros).summary(print_fn=lines.append)
    assert " Optimizer params: 44 (176.00 B)\n" in lines[0]


def test_a_range_that_matches_nothing_is_an_error():
    with pytest.raises(ValueError, match=r"'zz'.*'inner'"):
        nested(oneiros).summary(layer_range=["zz", "last"], print_fn=print)
