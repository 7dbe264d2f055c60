"""Trees: nested lists, tuples, dicts and their kin, with leaves at their ends.

They are walked by `optree`. None is a leaf. Dicts are walked in the order of their sorted keys and
rebuilt in their own.
"""

import functools
import warnings

import optree

__all__ = [
    "MAP_TO_NONE",
    "assert_same_paths",
    "assert_same_structure",
    "flatten",
    "flatten_with_path",
    "is_nested",
    "lists_to_tuples",
    "map_shape_structure",
    "map_structure",
    "map_structure_up_to",
    "pack_sequence_as",
    "register_tree_node_class",
    "traverse",
]


NAMESPACE = "oneiros"  # of the classes that users register
NODES = {}  # whether instances of a type are nodes, as met so far
WALK = dict(none_is_leaf=True, namespace=NAMESPACE)
_leaves = functools.partial(optree.tree_leaves, **WALK)
_map = functools.partial(optree.tree_map, **WALK)


class MAP_TO_NONE:
    """What a function given to `traverse` returns to have None put in the place."""


def is_nested(structure):
    """Whether `structure` is a node (a list, tuple, dict, namedtuple, ...) rather than a leaf.

    >>> is_nested([]), is_nested("abc"), is_nested(None)
    (True, False, False)
    """
    kind = type(structure)
    if kind not in NODES:
        NODES[kind] = not optree.tree_is_leaf(structure, **WALK)
    return NODES[kind]


def flatten(structure):
    """The leaves of `structure` in a list; a leaf gives a list of itself.

    >>> flatten({"b": [1, (2, None)], "a": 3})
    [3, 1, 2, None]
    """
    return _leaves(structure) if is_nested(structure) else [structure]


def flatten_with_path(structure):
    """A list of pairs (path, leaf); a path is a tuple of keys and indices.

    >>> flatten_with_path({"b": [1, 2], "a": 3})
    [(('a',), 3), (('b', 0), 1), (('b', 1), 2)]
    """
    paths, leaves, _ = optree.tree_flatten_with_path(structure, **WALK)
    return list(zip(paths, leaves))


def map_structure(func, *structures, none_is_leaf=True):
    """A tree like the first of `structures`, with `func` of the corresponding leaves at its ends.

    With `none_is_leaf=False` a None stays None and `func` does not see it.

    >>> map_structure(lambda x, y: x + y, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
    {'a': 11, 'b': [22]}

    Raises:
        TypeError: if `func` is not callable.
        ValueError: if no structure is given or they do not correspond.
    """
    _check_call(func, structures)
    if len(structures) == 1:
        if structures[0] is not None and not is_nested(structures[0]):
            return func(structures[0])
        return optree.tree_map(func, structures[0], none_is_leaf=none_is_leaf, namespace=NAMESPACE)
    return _map_together(func, *structures, none_is_leaf=none_is_leaf)


def map_structure_up_to(shallow_structure, func, *structures):
    """A tree like `shallow_structure`, with `func` of what `structures` have at its leaves' places.

    >>> map_structure_up_to([0, 0], lambda *parts: parts, [1, [2, 3]], ["x", "y"])
    [(1, 'x'), ([2, 3], 'y')]

    Raises:
        TypeError: if `func` is not callable.
        ValueError: if no structure is given or one does not begin as `shallow_structure` does.
    """
    _check_call(func, structures)
    return _map_together(
        lambda _, *parts: func(*parts), shallow_structure, *structures, open_ended=True
    )


def traverse(func, structure, top_down=True):
    """`structure` with every subtree for which `func` has an answer replaced by that answer.

    `func` is called with each subtree and leaf, parents first or, with `top_down=False`, children
    first. It returns None to go on, `MAP_TO_NONE` to put None there, or what to put there.

    >>> traverse(lambda x: tuple(x) if isinstance(x, list) else None, [1, [2]], top_down=False)
    (1, (2,))

    Raises:
        TypeError: if `func` is not callable.
    """
    _check_callable(func)
    return _traverse(func, structure, top_down)


def assert_same_structure(a, b, check_types=None):
    """Raise unless `a` and `b` are nested alike; the three kinds of dict count as one.

    `check_types` is of no effect any more; `assert_same_paths` is the looser check.

    >>> assert_same_structure({"a": [1, 2]}, {"a": [3, None]})

    Raises:
        ValueError: if they are not.
    """
    if check_types is not None:
        warnings.warn(
            "`check_types` has no effect; to count lists, tuples and namedtuples as the same, use "
            "`assert_same_paths`",
            DeprecationWarning,
            stacklevel=2,
        )
    _map_together(lambda x, y: None, a, b)


def assert_same_paths(a, b):
    """Raise unless `a` and `b` have their leaves at the same paths, whatever the types of nodes.

    >>> assert_same_paths([1, (2, 3)], (4, [5, 6]))

    Raises:
        ValueError: if they have not.
    """
    in_a = {path for path, _ in flatten_with_path(a)}
    in_b = {path for path, _ in flatten_with_path(b)}
    if in_a != in_b:
        raise ValueError(
            "`a` and `b` must have the same paths; "
            f"only `a` has {sorted(in_a - in_b, key=repr)}, "
            f"only `b` has {sorted(in_b - in_a, key=repr)}"
        )


def pack_sequence_as(structure, flat_sequence):
    """A tree like `structure` with the items of `flat_sequence` as its leaves, in order.

    >>> pack_sequence_as({"b": 0, "a": [0, 0]}, [1, 2, 3])
    {'b': 3, 'a': [1, 2]}

    Raises:
        TypeError: if `flat_sequence` can't be iterated over.
        ValueError: if it has more or fewer items than `structure` has leaves.
    """
    try:
        items = list(flat_sequence)
    except TypeError:
        raise TypeError(f"`flat_sequence` must be a sequence; got {flat_sequence!r}") from None
    spec = optree.tree_structure(structure, **WALK)
    count = spec.num_leaves
    if len(items) != count:
        raise ValueError(
            f"`flat_sequence` must have {count} items, one for each leaf of `structure`; "
            f"got {len(items)}"
        )
    return spec.unflatten(items)


def lists_to_tuples(structure):
    """`structure` with tuples in place of its lists.

    >>> lists_to_tuples([1, {"a": [2]}])
    (1, {'a': (2,)})
    """
    return _traverse(lambda x: tuple(x) if isinstance(x, list) else None, structure, False)


def map_shape_structure(func, structure):
    """As `map_structure`, where lists and tuples of whole numbers and None are leaves: shapes.

    >>> map_shape_structure(len, {"a": (None, 2), "b": [(3,), (4, 5, 6)]})
    {'a': 2, 'b': [1, 3]}

    Raises:
        TypeError: if `func` is not callable.
    """
    _check_callable(func)
    return _map(func, structure, is_leaf=_is_shape)


def register_tree_node_class(cls):
    """A class decorator: instances become nodes.

    They have a method `tree_flatten()`, which returns their children and whatever else is needed to
    make them again, and the class a method `tree_unflatten(metadata, children)` that does so.
    """

    NODES.pop(cls, None)
    optree.register_pytree_node(
        cls, lambda x: x.tree_flatten(), cls.tree_unflatten, namespace=NAMESPACE
    )
    return cls


# Walks -------------------------------------------------------------------------------------------
def _map_together(func, first, *others, none_is_leaf=True, open_ended=False):
    """`func` over several trees; if `open_ended`, others may go on below the first's leaves."""
    how = dict(none_is_leaf=none_is_leaf, namespace=NAMESPACE)
    leaves, spec = optree.tree_flatten(first, **how)
    rows = [leaves]
    for other in others:
        try:
            rows.append(spec.flatten_up_to(other))
        except ValueError as error:
            raise ValueError(f"structures differ: {error}") from None
        for part in () if open_ended else rows[-1]:
            if not optree.tree_is_leaf(part, **how):
                raise ValueError(f"structures differ: where one has a leaf, another has {part!r}")
    return spec.unflatten([func(*row) for row in zip(*rows)])


def _traverse(func, tree, top_down):
    if top_down:
        answer = func(tree)
        if answer is not None:
            return None if answer is MAP_TO_NONE else answer
    if is_nested(tree):
        walk = functools.partial(_traverse, func, top_down=top_down)
        tree = _map(walk, tree, is_leaf=lambda x: x is not tree)
    if not top_down:
        answer = func(tree)
        if answer is not None:
            return None if answer is MAP_TO_NONE else answer
    return tree


def _is_shape(tree):
    return isinstance(tree, (list, tuple)) and all(d is None or isinstance(d, int) for d in tree)


def _check_call(func, structures):
    _check_callable(func)
    if not structures:
        raise ValueError("at least one structure must be given")


def _check_callable(func):
    if not callable(func):
        raise TypeError(f"`func` must be callable; got {func!r}")
