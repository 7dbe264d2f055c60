"""Trees: walks, rebuilding, and errors, as in Keras."""

import collections
import types

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oneiros.tree
from oneiros.core import tree

Point = collections.namedtuple("Point", "x y")
Other = collections.namedtuple("Other", "x y")


class MyDict(dict):
    pass


class MyList(list):
    pass


leaves = st.one_of(st.integers(), st.none(), st.text(max_size=2), st.just(frozenset()))
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(collections.deque),
        st.tuples(inner, inner).map(lambda pair: Point(*pair)),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        st.dictionaries(st.sampled_from([1, "a", 2.5]), inner, max_size=3),
        st.dictionaries(st.sampled_from("abc"), inner).map(collections.OrderedDict),
        st.dictionaries(st.sampled_from("abc"), inner).map(
            lambda d: collections.defaultdict(int, d)
        ),
    ),
    max_leaves=12,
)


def outcome(function, *args, **kwargs):
    """What a call gives, or the kind of its error."""
    try:
        return repr(function(*args, **kwargs))
    except (ValueError, TypeError) as error:
        return type(error)


def same_as_keras(name, *args, **kwargs):
    ours = outcome(getattr(tree, name), *args, **kwargs)
    theirs = outcome(getattr(keras.tree, name), *args, **kwargs)
    assert ours == theirs


def test_every_name_of_keras_is_there():
    assert {n for n in dir(keras.tree) if not n.startswith("_")} == set(oneiros.tree.__all__)


@given(trees)
def test_one_tree_is_walked_as_in_keras(x):
    same_as_keras("is_nested", x)
    same_as_keras("flatten", x)
    same_as_keras("flatten_with_path", x)
    same_as_keras("map_structure", lambda leaf: (leaf,), x)
    same_as_keras("map_structure", lambda leaf: (leaf,), x, none_is_leaf=False)
    same_as_keras("lists_to_tuples", x)
    same_as_keras("map_shape_structure", lambda shape: ("shape", shape), x)


@given(trees, trees)
def test_two_trees_are_compared_as_in_keras(x, y):
    same_as_keras("assert_same_structure", x, y)
    same_as_keras("assert_same_paths", x, y)
    same_as_keras("map_structure", lambda a, b: (a, b), x, y)
    same_as_keras("map_structure", lambda a, b: (a, b), x, y, none_is_leaf=False)
    same_as_keras("pack_sequence_as", x, tree.flatten(y))


@given(trees, st.booleans())
def test_subtrees_are_visited_in_keras_order(x, top_down):
    ours, theirs = [], []
    tree.traverse(lambda sub: ours.append(repr(sub)), x, top_down)
    keras.tree.traverse(lambda sub: theirs.append(repr(sub)), x, top_down)
    assert ours == theirs


@given(trees)
def test_leaves_put_back_make_the_same_tree(x):
    again = tree.pack_sequence_as(x, tree.flatten(x))
    assert repr(again) == repr(x)


@given(trees)
def test_a_mapped_tree_is_a_new_one(x):
    assert not tree.is_nested(x) or tree.map_structure(lambda leaf: leaf, x) is not x or x == ()


@pytest.mark.parametrize(
    "leaf",
    [
        *(1, None, "text", np.zeros(2), {1, 2}, range(3), MyDict(a=1), MyList([1])),
        types.SimpleNamespace(a=1),
        collections.UserList([1]),
    ],
    ids=lambda x: type(x).__name__,
)
def test_other_types_are_leaves(leaf):
    assert not tree.is_nested(leaf)
    assert tree.flatten(leaf)[0] is leaf
    assert tree.map_structure(lambda x: x, leaf) is leaf


@pytest.mark.parametrize(
    "x, y",
    [
        ([1, 2], (1, 2)),
        ([1, 2], [1]),
        ({"a": 1}, {"b": 1}),
        (1, [1]),
        ([1], 1),
        ([1], [[1]]),
        (Point(1, 2), (1, 2)),
        ((1, 2), Point(1, 2)),
        (Point(1, 2), Other(1, 2)),
    ],
)
def test_trees_that_differ_are_an_error(x, y):
    with pytest.raises(ValueError, match="structures differ"):
        tree.assert_same_structure(x, y)
    with pytest.raises(ValueError, match="structures differ"):
        tree.map_structure(max, x, y)


def test_the_three_kinds_of_dict_correspond():
    ordered = collections.OrderedDict([("b", 1), ("a", 2)])
    result = tree.map_structure(lambda x, y: (x, y), ordered, {"a": 20, "b": 10})
    assert result == collections.OrderedDict([("b", (1, 10)), ("a", (2, 20))])
    assert type(result) is collections.OrderedDict


def test_up_to_a_shallow_structure_the_rest_is_handed_over_whole():
    assert tree.map_structure_up_to([0, [0]], lambda *a: a, [[1, 2], [{"k": 3}]], [4, [5]]) == [
        ([1, 2], 4),
        [({"k": 3}, 5)],
    ]


def test_a_none_in_a_shallow_structure_is_a_leaf():
    assert tree.map_structure_up_to([None, 1], lambda x: x, [[2, 3], 4]) == [[2, 3], 4]


@pytest.mark.parametrize(
    "shallow, deep", [([1, [2]], [1, 2]), ([1], [1, 2]), ([1], (1,)), ({"a": 1}, {"a": 1, "b": 2})]
)
def test_what_begins_otherwise_than_the_shallow_structure_is_an_error(shallow, deep):
    with pytest.raises(ValueError, match="structures differ"):
        tree.map_structure_up_to(shallow, lambda x: x, deep)


def test_a_traversal_can_put_none():
    assert tree.traverse(lambda x: tree.MAP_TO_NONE if x == 1 else None, [1, 2]) == [None, 2]


def test_a_traversal_from_the_top_does_not_enter_what_it_replaced():
    seen = []

    def replace(x):
        seen.append(x)
        return "done" if isinstance(x, tuple) else None

    assert tree.traverse(replace, [1, (2, 3)]) == [1, "done"]
    assert 2 not in seen


@pytest.mark.parametrize("items", [[1, 2], [1, 2, 3, 4]])
def test_the_number_of_leaves_must_fit(items):
    with pytest.raises(ValueError, match=f"must have 3 items.*got {len(items)}"):
        tree.pack_sequence_as([0, (0, 0)], items)


def test_leaves_must_be_a_sequence():
    with pytest.raises(TypeError, match="`flat_sequence` must be a sequence; got 7"):
        tree.pack_sequence_as([0], 7)


@pytest.mark.parametrize(
    "call",
    [
        lambda: tree.map_structure(3, [1]),
        lambda: tree.map_structure_up_to([1], 3, [1]),
        lambda: tree.traverse(3, [1]),
        lambda: tree.map_shape_structure(3, [1]),
    ],
)
def test_what_is_mapped_must_be_callable(call):
    with pytest.raises(TypeError, match="`func` must be callable; got 3"):
        call()


def test_at_least_one_structure_is_needed():
    with pytest.raises(ValueError, match="at least one structure"):
        tree.map_structure(len)


def test_check_types_is_deprecated():
    with pytest.warns(DeprecationWarning, match="assert_same_paths"):
        tree.assert_same_structure([1], [2], check_types=True)


def test_paths_that_differ_are_shown():
    with pytest.raises(ValueError, match=r"only `a` has \[\(1,\)\], only `b` has \[\]"):
        tree.assert_same_paths([1, 2], [1])


def test_a_registered_class_is_a_node():
    @tree.register_tree_node_class
    class Pair:
        def __init__(self, left, right):
            self.left, self.right = left, right

        def tree_flatten(self):
            return (self.left, self.right), None

        @classmethod
        def tree_unflatten(cls, metadata, children):
            return cls(*children)

    pair = Pair(1, [2, 3])
    assert tree.flatten(pair) == [1, 2, 3]
    mapped = tree.map_structure(lambda x: 10 * x, {"p": pair})["p"]
    assert (mapped.left, mapped.right) == (10, [20, 30])
    assert tree.flatten_with_path(pair) == [((0,), 1), ((1, 0), 2), ((1, 1), 3)]
