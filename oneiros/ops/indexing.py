"""Ops that pick and place elements: by index, by condition, by diagonal.

Indices may be negative here, and count from the end; primitives take them counted from the front.
"""

from __future__ import annotations

import builtins
import operator

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.backend import to_numpy
from oneiros.core.dtypes import is_integer, result_type
from oneiros.core.graph import STACK
from oneiros.core.op import array, dtype_of, op, promote, to_dtype
from oneiros.core.spec import Unknown, agree
from oneiros.core.symbol import Symbol
from oneiros.ops.elementwise import constant, operands
from oneiros.ops.shaping import part, place, ravel, sizes

__all__ = [
    "diag", "diagflat", "diagonal", "get_item", "nonzero", "scatter", "scatter_update", "select",
    "slice", "slice_update", "take", "take_along_axis", "tril", "triu", "unravel_index", "where",
]  # fmt: skip


# Indices -----------------------------------------------------------------------------------------
def indices_of(x, name, what="indices"):
    """`x` as an array of integers."""
    x = array(x)
    if not is_integer(dtype_of(x)):
        if dtype_of(x) == "bool" or 0 in x.shape:
            return p.cast(x, dtype="int32")
        raise TypeError(f"{name}: {what} must hold integers; got dtype {dtype_of(x)}")
    return (
        to_dtype(x, "int32") if dtype_of(x) in ("int8", "uint8", "int16", "uint16", "int64") else x
    )


def from_front(indices, n):
    """`indices` with those below 0 counted from the end of an axis of length `n`."""
    if type(indices) is np.ndarray and (not indices.size or indices.min() >= 0):
        return indices
    if dtype_of(indices).startswith("u"):
        return indices
    n = np.asarray(n, "int32")
    return p.select(p.less(indices, 0), p.add(indices, n), indices)


def is_abstract():
    """Whether only shapes are asked for, so that a length may stay unknown."""
    return getattr(STACK.top, "abstract", False)


@op
def take(x, indices, axis=None):
    """The slices of `x` at `indices` along `axis`; None counts over all elements.

    >>> from oneiros import ops
    >>> print(ops.take([10, 20, 30], [0, -1]))
    [10 30]
    """
    x, indices = array(x), indices_of(indices, "take")
    if axis is None:
        x, axis = ravel.body(x), 0
    axis = place(axis, len(x.shape), "take")
    return p.take(x, from_front(indices, x.shape[axis]), axis=axis)


@op
def take_along_axis(x, indices, axis=None):
    """`x` at `indices` along `axis`, place by place in the other axes.

    With `axis` None, indices count over all elements.

    >>> from oneiros import ops
    >>> print(ops.take_along_axis([[3, 1], [2, 4]], [[1], [0]], axis=1))
    [[1]
     [2]]
    """
    x, indices = array(x), indices_of(indices, "take_along_axis")
    if axis is None:
        x, indices, axis = ravel.body(x), ravel.body(indices), 0
    rank = len(x.shape)
    if len(indices.shape) != rank:
        raise ValueError(
            "take_along_axis: indices must have as many axes as x; got shapes "
            f"{tuple(indices.shape)} "
            f"and {tuple(x.shape)}"
        )
    axis = place(axis, rank, "take_along_axis")
    rest = np.broadcast_shapes if not isinstance(x, Symbol) else _broadcast
    shape = rest(
        tuple(1 if i == axis else n for i, n in enumerate(x.shape)),
        tuple(1 if i == axis else n for i, n in enumerate(indices.shape)),
    )
    n, m = x.shape[axis], indices.shape[axis]
    x, indices = (
        _widened(v, (*shape[:axis], k, *shape[axis + 1 :])) for v, k in ((x, n), (indices, m))
    )
    return p.gather_along(x, from_front(indices, n), axis=axis)


def _broadcast(*shapes):
    from oneiros.core.spec import broadcast_shapes

    return broadcast_shapes(*shapes)


def _widened(x, shape):
    return x if tuple(x.shape) == shape else p.broadcast_to(x, shape=shape)


# x[key] ------------------------------------------------------------------------------------------
@op
def get_item(x, key):
    """`x[key]`: integers, slices, `None`, `...`, arrays of integers.

    Arrays of bools too, where their values are known.

    >>> from oneiros import ops
    >>> print(ops.get_item([[1, 2], [3, 4]], (0, builtins.slice(None, None, -1))))
    [2 1]
    """
    x = array(x)
    key = _flat_key(key, len(x.shape))
    picked = [i for i, k in enumerate(key) if _is_array(k)]
    if picked:  # integers beside arrays are indices like these
        key = [
            np.asarray(k, "int32") if isinstance(k, int) and not _is_array(k) else k for k in key
        ]
    x, key = _sliced(x, key)
    return _picked(x, key) if picked else _reshaped(x, key)


def _is_array(k):
    return isinstance(k, (list, Symbol)) or hasattr(k, "dtype")


def _flat_key(key, rank):
    """`key` with an entry for each axis of an array of that rank, and None for new axes."""
    keys = []
    for k in key if isinstance(key, tuple) else (key,):
        keys.extend(_entry(k))
    used = sum(k is not None and k is not Ellipsis for k in keys)
    if used > rank:
        raise IndexError(
            f"get_item: the key names {used} axes of an array that has {rank}; got {key!r}"
        )
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise IndexError("get_item: a key has one ellipsis at most")
    at = dots[0] if dots else len(keys)
    return [*keys[:at], *[builtins.slice(None)] * (rank - used), *keys[at + 1 :]]


def _entry(k):
    """One entry of a key as the entries that it stands for."""
    if k is None or k is Ellipsis or isinstance(k, builtins.slice):
        return [k]
    if isinstance(k, (bool, np.bool_)):
        raise IndexError(f"get_item: a key of one bool is not supported; got {k!r}")
    if isinstance(k, (int, np.integer)):
        return [int(k)]
    if isinstance(k, list) or type(k) is tuple:
        k = array(list(k))
    elif not hasattr(k, "dtype"):
        raise IndexError(
            f"get_item: expected integers, slices, None, ... or arrays; got {type(k).__name__}"
        )
    k = array(k)
    if dtype_of(k) == "bool":
        if isinstance(k, Symbol):
            raise ValueError(
                "get_item: the number of elements that a symbolic mask picks is unknown; use "
                "ops.where"
            )
        return [i.astype("int32") for i in np.nonzero(to_numpy(k))]
    return [indices_of(k, "get_item", "the key")]


def _sliced(x, key):
    """`x` with the slices and integers of `key` applied, and what of `key` is left to do.

    An integer's axis stays, with length 1, and 0 stands for it."""
    start, stop, strides, backwards, left = [], [], [], [], []
    axis = 0
    for k in key:
        if k is None:
            left.append(None)
            continue
        n = x.shape[axis]
        if isinstance(k, int) and not _is_array(k):
            if not -n <= k < n:
                raise IndexError(
                    f"get_item: index {k} is out of range for axis {axis} of length {n}"
                )
            k = k % n
            bounds = (k, k + 1, 1)
            left.append(0)
        elif isinstance(k, builtins.slice):
            bounds, reverse = _bounds(k, n)
            if reverse:
                backwards.append(axis)
            left.append(builtins.slice(None))
        else:
            bounds = (0, n, 1)
            left.append(k)
        for values, value in zip((start, stop, strides), bounds):
            values.append(value)
        axis += 1
    whole = all(a == 0 and b == n and s == 1 for a, b, s, n in zip(start, stop, strides, x.shape))
    if not whole:
        x = p.slice(x, start=tuple(start), stop=tuple(stop), strides=tuple(strides))
    return (p.reverse(x, axes=tuple(backwards)) if backwards else x), left


def _bounds(k, n):
    """A slice of an axis of length `n` as (start, stop, stride > 0), and if it runs backwards."""
    for v in (k.start, k.stop, k.step):
        if isinstance(v, Symbol):
            raise TypeError(
                "get_item: a slice's ends must be known integers; use ops.slice with a symbolic "
                "start"
            )
    ends = [None if v is None else operator.index(v) for v in (k.start, k.stop, k.step)]
    if ends == [None, None, None]:
        return (0, n, 1), False
    first, last, step = builtins.slice(*ends).indices(n)
    if step > 0:
        return (first, first if last < first else last, step), False
    count = len(range(first, last, step))
    if not count:
        return (0, 0, 1), True
    return (first + (count - 1) * step, first + 1, -step), True


def _reshaped(x, key):
    """`x` without the axes of integers, with an axis of length 1 for each None."""
    axis, shape = 0, []
    for k in key:
        if k is None:
            shape.append(1)
            continue
        if k != 0:
            shape.append(x.shape[axis])
        axis += 1
    return x if tuple(shape) == tuple(x.shape) else p.reshape(x, shape=tuple(shape))


def _picked(x, key):
    """`x` at the arrays in `key`.

    Their common shape stands in place of the first of them, or in front if they are apart."""
    places = [i for i, k in enumerate(key) if _is_array(k)]
    together = places == list(range(places[0], places[-1] + 1))
    axes = [sum(v is not None for v in key[:i]) for i in places]
    indices = [array(key[i]) for i in places]
    indices = [from_front(i, x.shape[a]) for i, a in zip(indices, axes)]
    lead = _broadcast(*[tuple(i.shape) for i in indices])
    if len(axes) == 1:
        x = p.take(x, indices[0], axis=axes[0])
        at = axes[0]
    else:
        rest = [a for a in range(len(x.shape)) if a not in axes]
        x = p.transpose(x, order=(*axes, *rest))
        columns = [
            p.reshape(_widened(to_dtype(i, "int32"), lead), shape=(*lead, 1)) for i in indices
        ]
        x = p.gather_nd(x, p.concatenate(*columns, axis=len(lead)))
        at = axes[0] if together else 0
        order = list(range(len(lead), len(x.shape)))
        order[at:at] = range(len(lead))
        x = p.transpose(x, order=tuple(order)) if at else x
    if not any(k is None for k in key):
        return x
    # new axes go where they stand among the axes of the result
    shape, axis = [], 0
    sizes_left = list(x.shape)
    if not together:
        shape, axis = sizes_left[: len(lead)], len(lead)
    for i, k in enumerate(key):
        if k is None:
            shape.append(1)
        elif not _is_array(k):
            shape.append(sizes_left[axis])
            axis += 1
        elif together and i == places[0]:
            shape.extend(lead)
            axis += len(lead)
    return p.reshape(x, shape=tuple(shape))


# Parts at computed places ------------------------------------------------------------------------
@op
def slice(inputs, start_indices, shape):
    """The part of `inputs` of that `shape` that begins at `start_indices`, which may be computed.

    >>> from oneiros import ops
    >>> print(ops.slice([[1, 2, 3], [4, 5, 6]], (0, 1), (2, 2)))
    [[2 3]
     [5 6]]
    """
    x, shape = array(inputs), sizes(shape)
    starts = _starts(start_indices, len(x.shape), "slice")
    if len(shape) != len(x.shape):
        raise ValueError(f"slice: shape must have {len(x.shape)} sizes; got {shape}")
    shape = tuple(n if m == -1 else m for n, m in zip(x.shape, shape))
    if all(type(i) is int for i in starts):
        starts = [min(max(i, 0), max(n - m, 0)) for i, n, m in zip(starts, x.shape, shape)]
        stops = tuple(i + m for i, m in zip(starts, shape))
        return p.slice(x, start=tuple(starts), stop=stops, strides=(1,) * len(stops))
    return p.dynamic_slice(x, *_scalars(starts), sizes=shape)


def _starts(start_indices, rank, name):
    """One start for each axis: ints where all are known, else integer scalars."""
    if isinstance(start_indices, (list, tuple)):
        starts = [
            int(i) if isinstance(i, (int, np.integer)) else indices_of(i, name)
            for i in start_indices
        ]
    else:
        starts = indices_of(start_indices, name, "start_indices")
        if isinstance(starts, np.ndarray):
            starts = [int(i) for i in starts.reshape(-1)]
        else:
            count = rank if agree(starts.shape[0], rank) else starts.shape[0]
            starts = [p.reshape(part(starts, 0, i, i + 1), shape=()) for i in range(count)]
    if len(starts) != rank:
        raise ValueError(f"{name}: start_indices must hold {rank} numbers; got {len(starts)}")
    return starts


def _scalars(starts):
    return [np.asarray(i, "int32") if type(i) is int else to_dtype(i, "int32") for i in starts]


@op
def slice_update(inputs, start_indices, updates):
    """`inputs` with `updates` in the place that begins at `start_indices`, which may be computed.

    >>> from oneiros import ops
    >>> print(ops.slice_update([0, 0, 0], [1], [5, 6]))
    [0 5 6]
    """
    x, updates = array(inputs), array(updates)
    if len(updates.shape) != len(x.shape):
        raise ValueError(
            f"slice_update: updates must have {len(x.shape)} axes; got shape {tuple(updates.shape)}"
        )
    starts = _starts(start_indices, len(x.shape), "slice_update")
    return p.dynamic_update_slice(x, to_dtype(updates, dtype_of(x)), *_scalars(starts))


@op
def scatter(indices, values, shape):
    """Zeros of `shape`, with `values` added at `indices` (..., k), places in the first k axes.

    >>> from oneiros import ops
    >>> print(ops.scatter([[0], [2], [0]], [1, 2, 3], (3,)))
    [4 0 2]
    """
    indices, values = indices_of(indices, "scatter"), array(values)
    shape = sizes(shape)
    zero = p.broadcast_to(constant(0, values), shape=shape)
    return p.scatter(zero, _from_front_nd(indices, shape), values, mode="add")


def _from_front_nd(indices, shape):
    return from_front(indices, np.asarray(shape[: indices.shape[-1]], "int32"))


@op
def scatter_update(inputs, indices, updates, reduction=None):
    """`inputs` with `updates` at `indices` (..., k), places in the first k axes.

    `reduction` says how they join what is there: None replaces it; "add", "mul", "max", "min".

    >>> from oneiros import ops
    >>> print(ops.scatter_update([1, 1, 1], [[0], [2]], [5, 6]))
    [5 1 6]
    """
    modes = (None, "add", "max", "min", "mul")
    if reduction not in modes:
        raise ValueError(f"scatter_update: reduction must be one of {modes}; got {reduction!r}")
    x, indices = array(inputs), indices_of(indices, "scatter_update")
    updates = to_dtype(array(updates), dtype_of(x))
    whole = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])
    return p.scatter(
        x,
        _from_front_nd(indices, tuple(x.shape)),
        _widened(updates, whole),
        mode=reduction or "set",
    )


# By condition ------------------------------------------------------------------------------------
@op
def where(condition, x1=None, x2=None):
    """`x1` where `condition`, else `x2`; without both, the places where it holds, as by `nonzero`.

    >>> from oneiros import ops
    >>> print(ops.where([True, False], [1, 2], 0))
    [1 0]
    """
    if x1 is None and x2 is None:
        return nonzero.body(condition)
    if x1 is None or x2 is None:
        raise ValueError("where: give both x1 and x2, or none of them")
    return p.select(to_dtype(array(condition), "bool"), *operands(x1, x2))


@op
def select(condlist, choicelist, default=0):
    """At each place the element of the first of `choicelist` whose condition holds, else `default`.

    >>> from oneiros import ops
    >>> print(ops.select([[True, False], [True, True]], [[1, 1], [2, 2]]))
    [1 2]
    """
    if len(condlist) != len(choicelist):
        raise ValueError(
            f"select: condlist and choicelist must have equal lengths; got {len(condlist)} and "
            f"{len(choicelist)}"
        )
    if not len(condlist):
        raise ValueError("select: condlist must not be empty")
    parts = promote(*choicelist, default)
    model = next(x for x in parts if hasattr(x, "dtype"))
    *choices, result = (x if hasattr(x, "dtype") else constant(x, model) for x in parts)
    for condition, choice in zip(list(condlist)[::-1], choices[::-1]):
        result = p.select(to_dtype(array(condition), "bool"), choice, result)
    return result


@op
def nonzero(x):
    """The indices of the elements of `x` that are not zero, an array for each axis.

    The values of `x` must be known.

    >>> from oneiros import ops
    >>> print(ops.nonzero([0, 3, 4])[0])
    [1 2]
    """
    x = array(x)
    if isinstance(x, Symbol) and is_abstract():
        return tuple(Symbol((None,), "int32") for _ in x.shape)
    if isinstance(x, Symbol):
        raise ValueError(
            "nonzero: the number of elements found is unknown while a function is traced; use "
            "ops.where(condition, x1, x2)"
        )
    return tuple(array(i.astype("int32")) for i in np.nonzero(np.atleast_1d(to_numpy(x))))


@op
def unravel_index(indices, shape):
    """The places in an array of `shape` that `indices` into all its elements name.

    There is an array of them for each axis.

    >>> from oneiros import ops
    >>> [int(i) for i in ops.unravel_index(5, (2, 3))]
    [1, 2]
    """
    indices, shape = array(indices), sizes(shape)
    dtype = result_type(dtype_of(indices))
    indices = indices_of(indices, "unravel_index")
    indices = from_front(indices, int(np.prod(shape, dtype=np.int64)))
    found = []
    for n in shape[::-1]:
        n = constant(n, indices)
        found.append(p.remainder(indices, n))
        indices = p.floor_divide(indices, n)
    return tuple(to_dtype(i, dtype) for i in found[::-1])


# Diagonals ---------------------------------------------------------------------------------------
def _below(x, k):
    """Whether a place of the last two axes lies on or below the `k`-th diagonal."""
    m, n = x.shape[-2:]
    row, column = (p.iota(shape=(m, n), axis=i, dtype="int32") for i in (0, 1))
    return p.less_equal(column, p.add(row, k))


def _matrices(x, name):
    x = array(x)
    if len(x.shape) < 2:
        raise ValueError(f"{name}: expected at least two axes; got shape {tuple(x.shape)}")
    return x


@op
def tril(x, k=0):
    """`x` with zeros above the `k`-th diagonal of its last two axes.

    >>> from oneiros import ops
    >>> print(ops.tril([[1, 2], [3, 4]]))
    [[1 0]
     [3 4]]
    """
    x = _matrices(x, "tril")
    return p.select(_below(x, k), x, constant(0, x))


@op
def triu(x, k=0):
    """`x` with zeros below the `k`-th diagonal of its last two axes.

    >>> from oneiros import ops
    >>> print(ops.triu([[1, 2], [3, 4]]))
    [[1 2]
     [0 4]]
    """
    x = _matrices(x, "triu")
    return p.select(_below(x, k - 1), constant(0, x), x)


@op
def diagonal(x, offset=0, axis1=0, axis2=1):
    """The elements of `x` on the `offset`-th diagonal of two axes, along a new last axis.

    >>> from oneiros import ops
    >>> print(ops.diagonal([[1, 2], [3, 4]]))
    [1 4]
    """
    x = _matrices(x, "diagonal")
    rank = len(x.shape)
    i, j = place(axis1, rank, "diagonal"), place(axis2, rank, "diagonal")
    if i == j:
        raise ValueError(f"diagonal: axis1 and axis2 must differ; got {axis1} and {axis2}")
    x = p.transpose(x, order=(*(a for a in range(rank) if a not in (i, j)), i, j))
    *lead, m, n = x.shape
    first = offset if offset >= 0 else -offset * n
    count = max(min(m, n - offset) if offset >= 0 else min(m + offset, n), 0)
    flat = p.reshape(x, shape=(*lead, m * n))
    if isinstance(m, Unknown) or isinstance(n, Unknown):  # and so is the diagonal's length
        return part(flat, len(lead), 0, m if isinstance(m, Unknown) else n)
    stop = first + (count - 1) * (n + 1) + 1 if count else first
    return part(flat, len(lead), min(first, m * n), min(stop, m * n), n + 1)


@op
def diag(x, k=0):
    """The `k`-th diagonal of a matrix, or the matrix with the vector `x` as its `k`-th diagonal.

    >>> from oneiros import ops
    >>> print(ops.diag([1, 2]))
    [[1 0]
     [0 2]]
    """
    x = array(x)
    if len(x.shape) == 2:
        return diagonal.body(x, k)
    if len(x.shape) != 1:
        raise ValueError(f"diag: expected a vector or a matrix; got shape {tuple(x.shape)}")
    n = x.shape[0] + abs(k)
    x = p.pad(x, widths=((max(k, 0), max(-k, 0), 0),), value=constant(0, x).item())  # by column
    row, column = (p.iota(shape=(n, n), axis=i, dtype="int32") for i in (0, 1))
    return p.select(p.equal(p.add(row, k), column), x, constant(0, x))


@op
def diagflat(x, k=0):
    """The matrix with the elements of `x` as its `k`-th diagonal.

    >>> from oneiros import ops
    >>> print(ops.diagflat([[1], [2]]))
    [[1 0]
     [0 2]]
    """
    return diag.body(ravel.body(x), k)
