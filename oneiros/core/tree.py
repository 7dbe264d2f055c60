"""Trees: nested lists, tuples, dicts and their kin, with leaves at their ends.

One table, `NODES`, says for each type whether it is a node and then how to take its children and
how to put new ones in their place; a type that is not a node makes leaves. None is a leaf. Dicts
are walked in the order of their sorted keys and rebuilt in their own.
"""

import collections
import typing
import warnings

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


class MAP_TO_NONE:
    """What a function given to `traverse` returns to have None put in the place."""


def is_nested(structure):
    """Whether `structure` is a node (a list, tuple, dict, namedtuple, ...) rather than a leaf.

    >>> is_nested([]), is_nested("abc"), is_nested(None)
    (True, False, False)
    """
    return NODES[type(structure)] is not None


def flatten(structure):
    """The leaves of `structure` in a list; a leaf gives a list of itself.

    >>> flatten({"b": [1, (2, None)], "a": 3})
    [3, 1, 2, None]
    """
    if NODES[type(structure)] is None:
        return [structure]
    leaves = []
    _collect(structure, leaves)
    return leaves


def flatten_with_path(structure):
    """A list of pairs (path, leaf); a path is a tuple of keys and indices.

    >>> flatten_with_path({"b": [1, 2], "a": 3})
    [(('a',), 3), (('b', 0), 1), (('b', 1), 2)]
    """
    pairs = []
    _collect_with_path(structure, (), pairs)
    return pairs


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
        if none_is_leaf:
            return _map(func, structures[0])
        return _map(lambda x: None if x is None else func(x), structures[0])
    return _map_together(func, structures[0], structures[1:], none_is_leaf, False)


def map_structure_up_to(shallow_structure, func, *structures):
    """A tree like `shallow_structure`, with `func` of what `structures` have at its leaves' places.

    >>> map_structure_up_to([0, 0], lambda *parts: parts, [1, [2, 3]], ["x", "y"])
    [(1, 'x'), ([2, 3], 'y')]

    Raises:
        TypeError: if `func` is not callable.
        ValueError: if no structure is given or one does not begin as `shallow_structure` does.
    """
    _check_call(func, structures)
    return _map_together(lambda _, *parts: func(*parts), shallow_structure, structures, True, True)


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
    _map_together(lambda x, y: None, a, (b,), True, False)


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
    count = len(flatten(structure))
    if len(items) != count:
        raise ValueError(
            f"`flat_sequence` must have {count} items, one for each leaf of `structure`; "
            f"got {len(items)}"
        )
    following = iter(items)
    return _map(lambda _: next(following), structure)


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
    return _map_shapes(func, structure)


def register_tree_node_class(cls):
    """A class decorator: instances become nodes.

    They have a method `tree_flatten()`, which returns their children and whatever else is needed to
    make them again, and the class a method `tree_unflatten(metadata, children)` that does so.
    """

    def remake(x, children):
        return cls.tree_unflatten(x.tree_flatten()[1], children)

    NODES[cls] = Node(
        lambda x: list(x.tree_flatten()[0]), lambda x: range(len(x.tree_flatten()[0])), remake, cls
    )
    return cls


# Walks -------------------------------------------------------------------------------------------


def _collect(tree, leaves):
    for child in NODES[type(tree)].children(tree):
        if NODES[type(child)] is None:
            leaves.append(child)
        else:
            _collect(child, leaves)


def _collect_with_path(tree, path, pairs):
    node = NODES[type(tree)]
    if node is None:
        pairs.append((path, tree))
    else:
        for key, child in zip(node.keys(tree), node.children(tree), strict=True):
            _collect_with_path(child, path + (key,), pairs)


def _map(func, tree):
    node = NODES[type(tree)]
    if node is None:
        return func(tree)
    return node.remake(
        tree,
        [
            func(child) if NODES[type(child)] is None else _map(func, child)
            for child in node.children(tree)
        ],
    )


def _map_together(func, first, others, none_is_leaf, open_ended):
    """`_map` over several trees; if `open_ended`, others may go on below the first's leaves."""
    node = NODES[type(first)]
    if node is None:
        kept = first is None and not none_is_leaf
        for other in others:
            if kept or (other is None and not none_is_leaf):
                fits = first is other
            else:
                fits = open_ended or NODES[type(other)] is None
            if not fits:
                raise ValueError(_difference(first, other))
        return None if kept else func(first, *others)
    rows = zip(
        node.children(first), *(_children_like(node, first, other) for other in others), strict=True
    )
    return node.remake(
        first,
        [_map_together(func, row[0], row[1:], none_is_leaf, open_ended) for row in rows],
    )


def _children_like(node, first, other):
    """The children of `other` in the order of `first`'s, if they correspond."""
    like = NODES[type(other)]
    if like is None or like.kind is not node.kind:
        raise ValueError(_difference(first, other))
    if node.kind is dict:
        if first.keys() != other.keys():
            raise ValueError(
                f"structures differ: one dict has the keys {list(first)}, another {list(other)}"
            )
        return [other[key] for key in node.keys(first)]
    children = like.children(other)
    if len(children) != len(node.children(first)):
        raise ValueError(
            f"structures differ: one {type(first).__name__} has {len(node.children(first))} items, "
            f"another {len(children)}"
        )
    return children


def _difference(x, y):
    return (
        f"structures differ: where one has a {type(x).__name__}, another has a {type(y).__name__}"
    )


def _traverse(func, tree, top_down):
    if top_down:
        answer = func(tree)
        if answer is not None:
            return None if answer is MAP_TO_NONE else answer
    node = NODES[type(tree)]
    if node is not None:
        children = [_traverse(func, child, top_down) for child in node.children(tree)]
        tree = node.remake(tree, children)
    if not top_down:
        answer = func(tree)
        if answer is not None:
            return None if answer is MAP_TO_NONE else answer
    return tree


def _map_shapes(func, tree):
    node = NODES[type(tree)]
    if node is None or _is_shape(tree):
        return func(tree)
    return node.remake(tree, [_map_shapes(func, child) for child in node.children(tree)])


def _is_shape(tree):
    return isinstance(tree, (list, tuple)) and all(d is None or isinstance(d, int) for d in tree)


def _check_call(func, structures):
    _check_callable(func)
    if not structures:
        raise ValueError("at least one structure must be given")


def _check_callable(func):
    if not callable(func):
        raise TypeError(f"`func` must be callable; got {func!r}")


# Nodes -------------------------------------------------------------------------------------------


class Node(typing.NamedTuple):
    """How one type of node comes apart and together."""

    children: typing.Callable  # of a tree: its children, a sequence
    keys: typing.Callable  # of a tree: the children's places in it
    remake: typing.Callable  # of a tree and new children: another such tree
    kind: type  # two nodes of one kind can correspond


class _Nodes(dict):
    def __missing__(self, cls):
        """Named tuples, and the like that C code makes, are nodes; all other types are leaves."""
        node = None
        if issubclass(cls, tuple):
            if hasattr(cls, "_fields"):
                node = Node(tuple, _indices, lambda x, children: cls(*children), cls)
            elif hasattr(cls, "n_sequence_fields"):
                node = Node(tuple, _indices, lambda x, children: cls(children), cls)
        self[cls] = node
        return node


def _indices(x):
    return range(len(x))


def _sorted_keys(x):
    try:
        return sorted(x)
    except TypeError:
        pass
    try:
        return sorted(x, key=lambda k: (f"{type(k).__module__}.{type(k).__qualname__}", k))
    except TypeError:
        return list(x)


def _sorted_values(x):
    return [x[key] for key in _sorted_keys(x)]


def _refill(x, children):
    """A copy of the dict `x` with new values, its keys in their order."""
    new = x.copy()
    new.update(zip(_sorted_keys(x), children, strict=True))
    return new


NODES = _Nodes()
NODES[list] = Node(lambda x: x, _indices, lambda x, children: children, list)
NODES[tuple] = Node(lambda x: x, _indices, lambda x, children: tuple(children), tuple)
NODES[dict] = Node(_sorted_values, _sorted_keys, _refill, dict)
NODES[collections.defaultdict] = NODES[dict]
NODES[collections.OrderedDict] = Node(
    lambda x: list(x.values()),
    list,
    lambda x, children: collections.OrderedDict(zip(x, children, strict=True)),
    dict,
)
NODES[collections.deque] = Node(
    list,
    _indices,
    lambda x, children: collections.deque(children, x.maxlen),
    collections.deque,
)
