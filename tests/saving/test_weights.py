"""The walk over a model's state: what is visited, in which order, under which names."""

import h5py
import keras
import numpy as np
import pytest

import oneiros
from oneiros.saving import weights
from tests.saving import cases


def tree(path):
    """All groups and datasets of a file, with the shapes and dtypes."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, x: found.update(
                {name: (x.shape, str(x.dtype)) if isinstance(x, h5py.Dataset) else sorted(x.attrs)}
            )
        )
    return found


BUILDERS = cases.MODELS | {"tracked": lambda k: built(cases.tracked(k)[0](name="net"))}


def built(model):
    model(cases.inputs(None))
    return model


@pytest.mark.parametrize("name", BUILDERS)
def test_files_have_the_same_tree_as_keras(name, tmp_path):
    trees = []
    for k in (oneiros, keras):
        path = tmp_path / f"{k.__name__}.weights.h5"
        BUILDERS[name](k).save_weights(path)
        trees.append({n: x for n, x in tree(path).items() if "_softmax" not in n})  # has no state
    assert trees[0] == trees[1]


class Part:
    """The least that takes part in files."""

    def __init__(self, value=None, **parts):
        self.value, self.name = value, "part"
        self.__dict__.update(parts)

    def save_own_variables(self, store):
        if self.value is not None:
            store["0"] = self.value

    def load_own_variables(self, store):
        self.value = store.get("0")


class Other(Part):
    """A class whose name has two words at least: `other`."""


class TwoWords2D(Part):
    """In snake case: `two_words2d`."""


def paths(part):
    return [path for path, _ in weights.walk(part)]


def test_public_names_come_before_private_ones_and_capitals_before_small():
    part = Part(
        b=Part(), _a=Part(), a=Part(), Z=Part(), a_b=Part(), ab=Part(), d10=Part(), d2=Part()
    )
    assert paths(part) == ["", "Z", "a", "a_b", "ab", "b", "d10", "d2", "_a"]


def test_what_is_met_twice_is_kept_where_it_was_met_first():
    inner = Part()
    assert paths(Part(_z=inner, b=inner, c=[inner, Part()])) == ["", "b", "c/part_1"]


def test_what_holds_itself_is_visited_once():
    part = Part()
    part.me, part.others = part, [part]
    assert paths(part) == [""]


def test_lists_count_the_names_of_classes():
    held = [Part(), 3, Other(), Part(), [Part(), "x"], {"k": Part()}, (TwoWords2D(),), None]
    names = "part other part_1 container/part container_1/part container_2/two_words2d".split()
    assert paths(Part(held=held)) == ["", *[f"held/{n}" for n in names]]


def test_dicts_go_by_their_own_order():
    part = Part(table={"b": Part(1), "a": Part(2)})
    found = {path: item.value for path, item in weights.walk(part) if path}
    assert found == {"table/part": 1, "table/part_1": 2}


def test_metrics_losses_sets_and_bookkeeping_do_not_take_part():
    part = Part(
        metric=oneiros.metrics.Mean(),
        metrics=[oneiros.metrics.Mean()],
        loss=oneiros.losses.MeanSquaredError(),
        held={Part()},
        _given=((Part(),), {}),
        _layers=[Part()],
        __hidden__=Part(),
    )
    assert paths(part) == [""]


def test_properties_of_users_classes_count_and_may_fail():
    class Shown(Part):
        @property
        def shown(self):
            return self._inner

        @property
        def broken(self):
            raise RuntimeError("not now")

    assert paths(Shown(_inner=Part())) == ["", "shown"]


def test_state_comes_back_into_each_part():
    def net(n):
        return Part(np.full(2, n), a=Part(np.full(3, n)), b=[Part(np.full((), n))])

    states = dict(weights.save_state(net(7)))
    found = net(0)
    weights.load_state(found, states.get, "file")
    assert [item.value.tolist() for _, item in weights.walk(found)] == [[7, 7], [7, 7, 7], 7]


def test_reasons_are_gathered_and_told_together():
    class Strict(Part):
        def load_own_variables(self, store):
            raise ValueError("no room")

    part = Part(a=Strict(), b=Strict())
    with pytest.raises(ValueError, match=r"the_file: 2 objects.*'a'.*no room"):
        weights.load_state(part, lambda _: weights.Entry(), "the_file")
    with pytest.warns(UserWarning, match="no room"):
        weights.load_state(part, lambda _: weights.Entry(), "the_file", skip_mismatch=True)


@pytest.mark.parametrize("value", ["text", ["a", "b"], np.array([None])])
def test_only_numbers_are_stored(value):
    with pytest.raises(ValueError, match="numbers"):
        weights.Entry()["x"] = value
