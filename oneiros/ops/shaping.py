"""Ops that move elements and change none: shapes, axes, joining, splitting, repeating, padding."""

from __future__ import annotations

import itertools
import math
import operator
import re

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.dtypes import is_float, result_type
from oneiros.core.op import array, dtype_of, is_unsized, op, to_dtype
from oneiros.core.sizes import sizes_of
from oneiros.core.spec import Unknown, agree
from oneiros.ops.elementwise import constant

_array = array

__all__ = [
    "append", "array_split", "broadcast_to", "concatenate", "dsplit", "dstack", "expand_dims",
    "flip", "fliplr", "flipud", "hsplit", "hstack", "moveaxis", "ndim", "pad", "ravel",
    "rearrange", "repeat", "reshape", "roll", "rot90", "size", "split", "squeeze", "stack",
    "swapaxes", "tile", "transpose", "unstack", "vsplit", "vstack",
]  # fmt: skip


# Axes and sizes, as primitives take them ---------------------------------------------------------
def place(axis, rank, name):
    """`axis`, counted from the front."""
    i = operator.index(axis)
    if not -rank <= i < rank:
        raise ValueError(f"{name}: axis must be within {rank} axes; got {axis}")
    return i % rank


def sizes(shape):
    """`shape`, an int or ints of any kind, as a tuple of ints."""
    if isinstance(shape, int):
        return (shape,)
    if hasattr(shape, "shape") and not shape.shape:
        return (operator.index(shape),)
    return tuple(n if isinstance(n, int) else operator.index(n) for n in shape)


def part(x, axis, start, stop, stride=1):
    """`x[start:stop:stride]` along one axis, counted from the front."""
    rank = len(x.shape)
    return p.slice(
        x,
        start=tuple(start if i == axis else 0 for i in range(rank)),
        stop=tuple(stop if i == axis else n for i, n in enumerate(x.shape)),
        strides=tuple(stride if i == axis else 1 for i in range(rank)),
    )


def together(xs, name):
    """The arrays `xs` in one dtype."""
    if isinstance(getattr(xs, "shape", (0,))[0], Unknown):
        raise ValueError(f"{name}: expected a list of arrays; got one of shape {tuple(xs.shape)}")
    xs = [array(x) for x in xs]
    if not xs:
        raise ValueError(f"{name}: expected at least one array; got none")
    dtypes = [dtype_of(x) for x in xs]
    if any(d != dtypes[0] for d in dtypes):
        dtype = result_type(*dtypes)
        xs = [to_dtype(x, dtype) for x in xs]
    return xs


# Shapes and axes ---------------------------------------------------------------------------------
@op
def reshape(x, newshape):
    """The elements of `x`, in order, as `newshape`; one size may be -1 and follows from the others.

    >>> from oneiros import ops
    >>> ops.reshape([1, 2, 3, 4], (2, -1)).shape
    (2, 2)
    """
    x = array(x)
    shape = sizes(newshape)
    if -1 in shape:
        i, total = shape.index(-1), math.prod(x.shape)
        rest = math.prod(shape[:i] + shape[i + 1 :])
        if not isinstance(total, Unknown) and (total % rest if rest else total):
            raise ValueError(f"reshape: {tuple(x.shape)} does not fit into {shape}")
        at = next(
            (n for n in x.shape if isinstance(n, Unknown) and n * rest == total),
            total // (rest or 1),
        )
        shape = (*shape[:i], at, *shape[i + 1 :])
    elif not agree(math.prod(shape), math.prod(x.shape)):
        raise ValueError(f"reshape: {tuple(x.shape)} does not fit into {shape}")
    return p.reshape(x, shape=shape)


@op
def transpose(x, axes=None):
    """`x` with axis `axes[i]` in place `i`; all axes back to front if `axes` is None.

    >>> from oneiros import ops
    >>> ops.transpose(ops.ones((2, 3, 4)), (1, 2, 0)).shape
    (3, 4, 2)
    """
    x = array(x)
    rank = len(x.shape)
    if axes is None:
        return p.transpose(x, order=tuple(range(rank))[::-1])
    order = tuple(place(i, rank, "transpose") for i in axes)
    if sorted(order) != list(range(rank)):
        raise ValueError(f"transpose: axes must name each of {rank} axes once; got {tuple(axes)}")
    return p.transpose(x, order=order)


@op
def swapaxes(x, axis1, axis2):
    """`x` with two axes exchanged.

    >>> from oneiros import ops
    >>> ops.swapaxes(ops.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = array(x)
    order = list(range(len(x.shape)))
    i, j = (place(a, len(order), "swapaxes") for a in (axis1, axis2))
    order[i], order[j] = j, i
    return p.transpose(x, order=tuple(order))


@op
def moveaxis(x, source, destination):
    """`x` with the axes `source` at the places `destination`, the others in their order.

    >>> from oneiros import ops
    >>> ops.moveaxis(ops.ones((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    x = array(x)
    rank = len(x.shape)
    source = [place(i, rank, "moveaxis") for i in sizes(source)]
    destination = [place(i, rank, "moveaxis") for i in sizes(destination)]
    if len(source) != len(destination) or len(set(source)) != len(source) != len(set(destination)):
        raise ValueError(
            f"moveaxis: source and destination must name as many different axes; got {source} "
            f"and {destination}"
        )
    order = [i for i in range(rank) if i not in source]
    for to, i in sorted(zip(destination, source)):
        order.insert(to, i)
    return p.transpose(x, order=tuple(order))


@op
def expand_dims(x, axis):
    """`x` with an axis of length 1 at the place `axis` (or several, at the places in the result).

    >>> from oneiros import ops
    >>> ops.expand_dims(ops.ones((2, 3)), -1).shape
    (2, 3, 1)
    """
    x = array(x)
    axes = sizes(axis)
    rank = len(x.shape) + len(axes)
    axes = {place(i, rank, "expand_dims") for i in axes}
    rest = iter(x.shape)
    return p.reshape(x, shape=tuple(1 if i in axes else next(rest) for i in range(rank)))


@op
def squeeze(x, axis=None):
    """`x` without its axes of length 1, or without those named by `axis`.

    >>> from oneiros import ops
    >>> ops.squeeze(ops.ones((1, 3, 1)), 0).shape
    (3, 1)
    """
    x = array(x)
    shape = tuple(x.shape)
    if axis is None:
        axes = {i for i, n in enumerate(shape) if n == 1}
    else:
        axes = {place(i, len(shape), "squeeze") for i in sizes(axis)}
    for i in axes:
        if isinstance(shape[i], Unknown):  # it will have to be 1
            x = part(x, i, 0, 1)
        elif shape[i] != 1:
            raise ValueError(
                f"squeeze: axis {i} of {shape} has length {shape[i]}; only 1 can be left out"
            )
    return p.reshape(x, shape=tuple(n for i, n in enumerate(shape) if i not in axes))


@op
def ravel(x):
    """The elements of `x` along one axis.

    >>> from oneiros import ops
    >>> print(ops.ravel([[1, 2], [3, 4]]))
    [1 2 3 4]
    """
    x = array(x)
    return p.reshape(x, shape=(math.prod(x.shape) if len(x.shape) != 1 else x.shape[0],))


@op
def broadcast_to(x, shape):
    """`x` repeated along its missing and length-one axes up to `shape`.

    >>> from oneiros import ops
    >>> print(ops.broadcast_to([1, 2], (2, 2)))
    [[1 2]
     [1 2]]
    """
    return p.broadcast_to(array(x), shape=sizes(shape))


def ndim(x):
    """The number of axes of `x`.

    >>> from oneiros import ops
    >>> ops.ndim([[1, 2]])
    2
    """
    return len(array(x).shape)


def size(x):
    """The number of elements of `x`; None if that is not known yet.

    >>> from oneiros import ops
    >>> ops.size([[1, 2]])
    2
    """
    x = array(x)
    shape = sizes_of(x) if is_unsized(x) else x.shape
    return None if None in tuple(shape) else math.prod(shape)


# Joining and splitting ---------------------------------------------------------------------------
@op
def concatenate(xs, axis=0):
    """The arrays `xs` end to end along `axis`; None joins their elements along one.

    >>> from oneiros import ops
    >>> print(ops.concatenate([[1, 2], [3]]))
    [1 2 3]
    """
    xs = together(xs, "concatenate")
    if axis is None:
        return p.concatenate(*map(ravel.body, xs), axis=0)
    return _joined(xs, place(axis, len(xs[0].shape), "concatenate"))


def _joined(xs, axis):
    return xs[0] if len(xs) == 1 else p.concatenate(*xs, axis=axis)


@op
def stack(x, axis=0):
    """The arrays `x`, all of one shape, side by side along a new axis.

    >>> from oneiros import ops
    >>> ops.stack([[1, 2], [3, 4], [5, 6]], axis=1).shape
    (2, 3)
    """
    xs = together(x, "stack")
    axis = place(axis, len(xs[0].shape) + 1, "stack")
    return _joined([p.reshape(x, shape=(*x.shape[:axis], 1, *x.shape[axis:])) for x in xs], axis)


@op
def append(x1, x2, axis=None):
    """`x2` after `x1` along `axis`; None takes their elements along one axis.

    >>> from oneiros import ops
    >>> print(ops.append([1, 2], [3]))
    [1 2 3]
    """
    return concatenate.body([x1, x2], axis)


def _at_least(rank, x):
    """`x` as NumPy widens it for stacking: (n,) is a row, and (m, n) a plane of depth 1."""
    shape = tuple(x.shape)
    if rank == 3:
        wide = {0: (1, 1, 1), 1: (1, *shape, 1), 2: (*shape, 1)}.get(len(shape), shape)
    else:
        wide = (1,) * (rank - len(shape)) + shape
    return x if wide == shape else p.reshape(x, shape=wide)


@op
def hstack(xs):
    """The arrays side by side: along axis 1, or 0 for vectors.

    >>> from oneiros import ops
    >>> print(ops.hstack([[1, 2], [3]]))
    [1 2 3]
    """
    xs = [_at_least(1, x) for x in together(xs, "hstack")]
    return _joined(xs, 0 if len(xs[0].shape) == 1 else 1)


@op
def vstack(xs):
    """The arrays below each other: along axis 0; vectors are rows.

    >>> from oneiros import ops
    >>> ops.vstack([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    return _joined([_at_least(2, x) for x in together(xs, "vstack")], 0)


@op
def dstack(xs):
    """The arrays behind each other: along axis 2.

    >>> from oneiros import ops
    >>> ops.dstack([[1, 2], [3, 4]]).shape
    (1, 2, 2)
    """
    return _joined([_at_least(3, x) for x in together(xs, "dstack")], 2)


@op
def split(x, indices_or_sections, axis=0):
    """A list of parts of `x` along `axis`: so many equal ones, or those between given places.

    >>> from oneiros import ops
    >>> [y.tolist() for y in ops.split([1, 2, 3, 4], [1, 3])]
    [[1], [2, 3], [4]]
    """
    return _split(array(x), indices_or_sections, axis, "split")


@op
def array_split(x, indices_or_sections, axis=0):
    """As `split`, but the parts need not be equal: the first ones may be longer by one.

    >>> from oneiros import ops
    >>> [y.tolist() for y in ops.array_split([1, 2, 3], 2)]
    [[1, 2], [3]]
    """
    return _split(array(x), indices_or_sections, axis, "array_split")


def _split(x, where, axis, name):
    axis = place(axis, len(x.shape), name)
    n = x.shape[axis]
    if isinstance(where, (int, np.integer)):
        if where < 1:
            raise ValueError(f"{name}: the number of parts must be positive; got {where}")
        if n % where and name != "array_split" and not isinstance(n, Unknown):
            raise ValueError(
                f"{name}: axis {axis} of {tuple(x.shape)} does not divide into {where} equal parts"
            )
        small, longer = divmod(n, where)
        ends = [small * i + min(i, longer) for i in range(where + 1)]
    else:
        ends = [0, *(min(i, n) if i >= 0 else max(i + n, 0) for i in sizes(where)), n]
    return [part(x, axis, a, max(a, b)) for a, b in itertools.pairwise(ends)]


@op
def hsplit(x, indices_or_sections):
    """As `split`, along axis 1, or 0 for a vector.

    >>> from oneiros import ops
    >>> len(ops.hsplit(ops.ones((2, 4)), 2))
    2
    """
    x = array(x)
    if not len(x.shape):
        raise ValueError("hsplit: expected at least one axis; got a scalar")
    return _split(x, indices_or_sections, 0 if len(x.shape) == 1 else 1, "hsplit")


@op
def vsplit(x, indices_or_sections):
    """As `split`, along axis 0 of at least two.

    >>> from oneiros import ops
    >>> len(ops.vsplit(ops.ones((4, 2)), 2))
    2
    """
    x = array(x)
    if len(x.shape) < 2:
        raise ValueError(f"vsplit: expected at least two axes; got shape {tuple(x.shape)}")
    return _split(x, indices_or_sections, 0, "vsplit")


@op
def dsplit(x, indices_or_sections):
    """As `split`, along axis 2.

    >>> from oneiros import ops
    >>> len(ops.dsplit(ops.ones((1, 2, 4)), 2))
    2
    """
    x = array(x)
    if len(x.shape) < 3:
        raise ValueError(f"dsplit: expected at least three axes; got shape {tuple(x.shape)}")
    return _split(x, indices_or_sections, 2, "dsplit")


@op
def unstack(x, num=None, axis=0):
    """A list of the slices of `x` along `axis`, without that axis.

    >>> from oneiros import ops
    >>> [y.tolist() for y in ops.unstack([[1, 2], [3, 4]])]
    [[1, 2], [3, 4]]
    """
    x = array(x)
    axis = place(axis, len(x.shape), "unstack")
    n = x.shape[axis]
    if isinstance(n, Unknown):
        if num is None:
            raise ValueError(f"unstack: the length of axis {axis} is unknown; give `num`")
        n = num
    if num is not None and num != n:
        raise ValueError(f"unstack: num must be {n}, the length of axis {axis}; got {num}")
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return [p.reshape(part(x, axis, i, i + 1), shape=shape) for i in range(n)]


# Repeating, padding, turning ---------------------------------------------------------------------
@op
def tile(x, repeats):
    """`x` laid side by side `repeats` times, a number for each axis.

    >>> from oneiros import ops
    >>> print(ops.tile([1, 2], 2))
    [1 2 1 2]
    """
    x = array(x)
    repeats = sizes(repeats)
    rank = max(len(repeats), len(x.shape))
    repeats = (1,) * (rank - len(repeats)) + repeats
    shape = (1,) * (rank - len(x.shape)) + tuple(x.shape)
    pairs = [(m, n) for m, n in zip(repeats, shape)]
    x = p.reshape(x, shape=tuple(n for _, n in pairs for n in (1, n)))
    x = p.broadcast_to(x, shape=tuple(k for pair in pairs for k in pair))
    return p.reshape(x, shape=tuple(n if m == 1 else m * n for m, n in pairs))


@op
def repeat(x, repeats, axis=None):
    """Each element of `x` along `axis` (None: of all) `repeats` times, or so often for each.

    >>> from oneiros import ops
    >>> print(ops.repeat([1, 2], 2))
    [1 1 2 2]
    """
    x = array(x)
    if axis is None:
        x, axis = ravel.body(x), 0
    axis = place(axis, len(x.shape), "repeat")
    n = x.shape[axis]
    counts = _counts(repeats)
    if len(counts) == 1:
        times = counts[0]
        lead, rest = tuple(x.shape[:axis]), tuple(x.shape[axis + 1 :])
        x = p.reshape(x, shape=(*lead, n, 1, *rest))
        x = p.broadcast_to(x, shape=(*lead, n, times, *rest))
        return p.reshape(x, shape=(*lead, n * times, *rest))
    if not agree(len(counts), n):
        raise ValueError(f"repeat: repeats must hold one number or {n}; got {len(counts)}")
    return p.take(x, np.repeat(np.arange(len(counts), dtype="int32"), counts), axis=axis)


def _counts(repeats):
    from oneiros.core.backend import to_numpy

    if isinstance(repeats, int):
        return [repeats]
    counts = to_numpy(repeats)
    return [int(n) for n in counts.reshape(-1)]


@op
def pad(x, pad_width, mode="constant", constant_values=None):
    """`x` with more elements before and after it along its axes.

    Args:
        pad_width: `((before, after), ...)` for each axis, `(before, after)` for all, or one int.
        mode: How they are made: "constant" (`constant_values`, 0 by default), "edge", "reflect",
            "symmetric", "wrap", "linear_ramp", "maximum", "mean", "median", "minimum" or "empty".

    >>> from oneiros import ops
    >>> print(ops.pad([1, 2, 3], 1, "reflect"))
    [2 1 2 3 2]
    """
    x = array(x)
    widths = _widths(pad_width, len(x.shape))
    if mode not in ("constant", "empty", *_INDEXED, *_COMPUTED):
        raise ValueError(
            f"pad: mode must be one of {sorted(('constant', 'empty', *_INDEXED, *_COMPUTED))}; "
            f"got {mode!r}"
        )
    if constant_values is not None and mode != "constant":
        raise ValueError(
            f"pad: constant_values belong to mode 'constant'; got {constant_values!r} with {mode!r}"
        )
    if mode in ("constant", "empty"):
        return _pad_constant(x, widths, 0 if constant_values is None else constant_values)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = (
                _INDEXED[mode](x, axis, before, after, mode)
                if mode in _INDEXED
                else _pad_computed(x, axis, before, after, mode)
            )
    return x


def _widths(pad_width, rank):
    widths = np.asarray(pad_width)
    if (
        widths.dtype.kind not in "iu"
        or widths.ndim > 2
        or (widths.ndim == 2 and widths.shape[1] not in (1, 2))
    ):
        raise ValueError(
            "pad: pad_width must be an int, (before, after) or one such pair per axis; got "
            f"{pad_width}"
        )
    if widths.ndim == 2 and len(widths) not in (1, rank):
        raise ValueError(
            f"pad: pad_width must have a pair for each of {rank} axes; got {pad_width}"
        )
    if widths.size and widths.min() < 0:
        raise ValueError(f"pad: pad_width must not be negative; got {pad_width}")
    return [(int(a), int(b)) for a, b in np.broadcast_to(widths, (rank, 2))]


def _pad_constant(x, widths, value):
    value_type = dtype_of(x)
    if type(value) in (bool, int, float):
        number = constant(value, x).item() if value_type != "bfloat16" else float(value)
        return p.pad(x, widths=tuple((a, b, 0) for a, b in widths), value=number)
    inside = _pad_constant(p.broadcast_to(np.asarray(True), shape=tuple(x.shape)), widths, False)
    value = p.broadcast_to(to_dtype(array(value), value_type), shape=tuple(inside.shape))
    return p.select(inside, _pad_constant(x, widths, 0), value)


def _pad_indexed(x, axis, before, after, mode):
    if not x.shape[axis]:
        raise ValueError(f"pad: mode {mode!r} cannot pad the empty axis {axis} of {tuple(x.shape)}")
    order = np.pad(np.arange(int(x.shape[axis]), dtype="int32"), (before, after), mode)
    return p.take(x, order, axis=axis)


_INDEXED = dict.fromkeys(("edge", "reflect", "symmetric", "wrap"), _pad_indexed)


def _pad_computed(x, axis, before, after, mode):
    sides = []
    for count, first in ((before, True), (after, False)):
        n = x.shape[axis]
        edge = part(x, axis, 0, 1) if first else part(x, axis, n - 1, n)
        shape = tuple(count if i == axis else m for i, m in enumerate(x.shape))
        sides.append(_COMPUTED[mode](x, edge, axis, shape, first))
    return p.concatenate(sides[0], x, sides[1], axis=axis)


def _statistic(name):
    def pad_side(x, edge, axis, shape, first):
        from oneiros import ops

        value = getattr(ops, name)(x, axis, keepdims=True)
        if dtype_of(value) != dtype_of(x):
            value = to_dtype(p.round(value), dtype_of(x))
        return p.broadcast_to(value, shape=shape)

    return pad_side


def _ramp(x, edge, axis, shape, first):
    count = shape[axis]
    steps = np.arange(count) if first else np.arange(count)[::-1]
    weights = (
        (steps / max(count, 1))
        .astype("float32")
        .reshape([-1 if i == axis else 1 for i in range(len(shape))])
    )
    value = p.multiply(p.cast(edge, dtype="float32"), weights)
    return to_dtype(value if is_float(dtype_of(x)) else p.floor(value), dtype_of(x))


_COMPUTED = {
    "linear_ramp": _ramp, "maximum": _statistic("max"), "mean": _statistic("mean"),
    "median": _statistic("median"), "minimum": _statistic("min"),
}  # fmt: skip


@op
def flip(x, axis=None):
    """`x` back to front along `axis` (an int, ints, or None for all).

    >>> from oneiros import ops
    >>> print(ops.flip([1, 2, 3]))
    [3 2 1]
    """
    x = array(x)
    rank = len(x.shape)
    axes = range(rank) if axis is None else sorted({place(i, rank, "flip") for i in sizes(axis)})
    return p.reverse(x, axes=tuple(axes))


@op
def fliplr(x):
    """`x` back to front along axis 1.

    >>> from oneiros import ops
    >>> print(ops.fliplr([[1, 2]]))
    [[2 1]]
    """
    x = array(x)
    if len(x.shape) < 2:
        raise ValueError(f"fliplr: expected at least two axes; got shape {tuple(x.shape)}")
    return p.reverse(x, axes=(1,))


@op
def flipud(x):
    """`x` back to front along axis 0.

    >>> from oneiros import ops
    >>> print(ops.flipud([1, 2]))
    [2 1]
    """
    x = array(x)
    if not len(x.shape):
        raise ValueError("flipud: expected at least one axis; got a scalar")
    return p.reverse(x, axes=(0,))


@op
def roll(x, shift, axis=None):
    """`x` moved by `shift` along `axis`; what leaves at the end enters at the start.

    With `axis` None, it moves over all elements.

    >>> from oneiros import ops
    >>> print(ops.roll([1, 2, 3], 1))
    [3 1 2]
    """
    x = array(x)
    if axis is None:
        return p.reshape(roll.body(ravel.body(x), shift, 0), shape=tuple(x.shape))
    axes, shifts = sizes(axis), sizes(shift)
    count = max(len(axes), len(shifts))
    axes, shifts = (v * count if len(v) == 1 else v for v in (axes, shifts))
    if len(axes) != len(shifts):
        raise ValueError(f"roll: shift and axis must agree in number; got {shift} and {axis}")
    for i, by in zip(axes, shifts):
        i = place(i, len(x.shape), "roll")
        n = x.shape[i]
        by = by % n if n else 0
        if by:
            x = p.concatenate(part(x, i, n - by, n), part(x, i, 0, n - by), axis=i)
    return x


@op
def rot90(array, k=1, axes=(0, 1)):
    """`array` turned by `k` quarters in the plane of `axes`, from the first towards the second.

    >>> from oneiros import ops
    >>> print(ops.rot90([[1, 2], [3, 4]]))
    [[2 4]
     [1 3]]
    """
    x = _array(array)
    rank = len(x.shape)
    if len(axes) != 2:
        raise ValueError(f"rot90: axes must be two; got {axes}")
    if rank < 2:
        raise ValueError(f"rot90: expected at least two axes; got shape {tuple(x.shape)}")
    i, j = (place(a, rank, "rot90") for a in axes)
    if i == j:
        raise ValueError(f"rot90: axes must differ; got {axes}")
    order = list(range(rank))
    order[i], order[j] = j, i
    turn = k % 4
    if turn == 2:
        return p.reverse(x, axes=tuple(sorted((i, j))))
    if turn == 1:
        return p.transpose(p.reverse(x, axes=(j,)), order=tuple(order))
    return p.reverse(p.transpose(x, order=tuple(order)), axes=(j,)) if turn == 3 else x


# Rearranging by names ----------------------------------------------------------------------------
@op
def rearrange(tensor, pattern, **axes_lengths):
    """The axes of `tensor`, named on the left of the arrow, in the order of its right side.

    `(a b)` is one axis made of two; a length that does not follow from the shape is given by name.
    `...` stands for the axes without one. (The notation is that of einops: Rogozhnikov, 2022.)

    >>> from oneiros import ops
    >>> ops.rearrange(ops.ones((4, 6)), "a (b c) -> (a b) c", b=2).shape
    (8, 3)
    """
    x = array(tensor)
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise ValueError(f"rearrange: pattern must have the form 'a b -> b a'; got {pattern!r}")
    before, after = _groups(left, pattern), _groups(right, pattern)
    hidden = len(x.shape) - sum(group != ["..."] for group in before)
    if hidden < 0 or (hidden and ["..."] not in before):
        raise ValueError(
            f"rearrange: {left.strip()!r} does not name the {len(x.shape)} axes of {tuple(x.shape)}"
        )
    dots = [f".{i}" for i in range(hidden)]
    before = [g for group in before for g in ([[d] for d in dots] if group == ["..."] else [group])]
    after = [g for group in after for g in ([[d] for d in dots] if group == ["..."] else [group])]
    lengths = {}
    for group, n in zip(before, x.shape):
        lengths.update(_lengths(group, n, axes_lengths, pattern))
    names = [name for group in before for name in group]
    wanted = [name for group in after for name in group if name in lengths]
    new = [name for group in after for name in group if name not in lengths and name != "1"]
    if sorted(names) != sorted(wanted) or new or len(set(names)) != len(names):
        raise ValueError(
            f"rearrange: both sides of {pattern!r} must hold the same names, each once"
        )
    x = p.reshape(x, shape=tuple(lengths[name] for name in names))
    x = p.transpose(x, order=tuple(names.index(name) for name in wanted))
    shape = [_product([lengths.get(name, 1) for name in group]) for group in after]
    return p.reshape(x, shape=tuple(shape))


def _product(lengths):
    """The product, which keeps a single unknown length as it is."""
    lengths = [n for n in lengths if n != 1] or [1]
    return lengths[0] if len(lengths) == 1 else math.prod(lengths)


def _groups(side, pattern):
    """One side of a pattern as a list of names for each axis."""
    groups, inside = [], None
    for token in re.findall(r"\.\.\.|\w+|[()]|\S", side):
        if token == "(" and inside is None:
            inside = []
        elif token == ")" and inside is not None:
            groups.append(inside)
            inside = None
        elif token in ("...", "1") or token.isidentifier():
            (groups if inside is None else inside).append([token] if inside is None else token)
        else:
            raise ValueError(f"rearrange: {token!r} has no meaning in the pattern {pattern!r}")
    if inside is not None or sum(group == ["..."] for group in groups) > 1:
        raise ValueError(
            f"rearrange: brackets must close and '...' occur once on a side; got {pattern!r}"
        )
    return [[name for name in group if name != "1"] for group in groups]


def _lengths(group, n, given, pattern):
    """The length of each name of a group that makes up an axis of length `n`."""
    found = {name: given[name] for name in group if name in given}
    missing = [name for name in group if name not in given]
    known = math.prod(found.values())
    if len(missing) > 1:
        raise ValueError(f"rearrange: give the lengths of all but one of {group} in {pattern!r}")
    if n % known or (not missing and n != known and not isinstance(n, Unknown)):
        raise ValueError(
            f"rearrange: an axis of length {n} is not made of {group} with {found} in {pattern!r}"
        )
    if missing:
        found[missing[0]] = n if known == 1 else n // known
    return found
