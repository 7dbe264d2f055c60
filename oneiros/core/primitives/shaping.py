"""Primitives that move, pick and place elements. Shapes and axes are tuples of non-negative ints."""

from __future__ import annotations

import math

import numpy as np

from oneiros.core.primitive import primitive, sum_to
from oneiros.core.spec import Spec, agree, broadcast_shapes, spec_of

__all__ = [
    "broadcast_to", "concatenate", "dynamic_slice", "dynamic_update_slice", "gather_along", "gather_nd",
    "iota", "pad", "reshape", "reverse", "scatter", "scatter_along", "slice", "take", "transpose", "zeros_of",
]  # fmt: skip


@primitive
def reshape(x, *, shape):
    """The elements of `x`, in order, as `shape`."""
    if not agree(math.prod(x.shape), math.prod(shape)):
        raise ValueError(
            f"reshape: {tuple(x.shape)} has {math.prod(x.shape)} elements, {shape} another number"
        )
    return x.but(shape=shape)


@reshape.vjp
def _(g, y, x, *, shape):
    return [reshape(g, shape=tuple(x.shape))]


@primitive
def transpose(x, *, order):
    """`x` with axis `order[i]` in place `i`."""
    return x.but(shape=[x.shape[i] for i in order])


@transpose.vjp
def _(g, y, x, *, order):
    return [transpose(g, order=tuple(int(i) for i in np.argsort(order)))]


@primitive(expands=True)
def broadcast_to(x, *, shape):
    """`x` repeated along its missing and length-one axes."""
    if tuple(broadcast_shapes(tuple(x.shape), tuple(shape))) != tuple(shape):
        raise ValueError(f"broadcast_to: {tuple(x.shape)} does not broadcast to {tuple(shape)}")
    return x.but(shape=shape)


@broadcast_to.vjp
def _(g, y, x, *, shape):
    return [sum_to(g, tuple(x.shape))]


@primitive(expands=True)
def iota(*, shape, axis, dtype):
    """The index along `axis` at every place of `shape`."""
    return Spec(shape, dtype)


@primitive
def slice(x, *, start, stop, strides):
    """`x[start:stop:strides]`, axis by axis, with positive strides."""
    return x.but(shape=[max(0, -((a - b) // s)) for a, b, s in zip(start, stop, strides)])


@slice.vjp
def _(g, y, x, *, start, stop, strides):
    widths = tuple(
        (a, n - a - ((m - 1) * s + 1 if m else 0), s - 1)
        for a, s, n, m in zip(start, strides, x.shape, y.shape)
    )
    return [pad(g, widths=widths, value=0.0)]


@primitive
def pad(x, *, widths, value):
    """`x` with `value` around it: for each axis (before, after, between); negative widths cut."""
    return x.but(
        shape=[
            low + high + n + max(n - 1, 0) * between
            for n, (low, high, between) in zip(x.shape, widths)
        ]
    )


@pad.vjp
def _(g, y, x, *, widths, value):
    return [_unpad(g, x.shape, widths)]


def _unpad(g, shape, widths):
    """The part of `g` that `pad` took from an array of `shape`; zero where padding cut it away."""
    start, stop, strides, back = [], [], [], []
    for n, (low, _, between), m in zip(shape, widths, g.shape):
        step = between + 1
        first = 0 if low >= 0 else -(low // step)  # elements lost at the front
        at = low + first * step
        end = low + (n - 1) * step + 1 if n else low
        last = n if end <= m else max(first, (m - 1 - low) // step + 1)
        count = max(last - first, 0)
        start.append(at if count else 0)
        stop.append(at + (count - 1) * step + 1 if count else 0)
        strides.append(step)
        back.append((first, n - first - count, 0))
    g = slice(g, start=tuple(start), stop=tuple(stop), strides=tuple(strides))
    return pad(g, widths=tuple(back), value=0.0) if any(w != (0, 0, 0) for w in back) else g


@primitive
def reverse(x, *, axes):
    """`x` back to front along `axes`."""
    return x


@reverse.vjp
def _(g, y, x, *, axes):
    return [reverse(g, axes=axes)]


@primitive
def concatenate(*xs, axis):
    """The arrays end to end along `axis`."""
    first = tuple(xs[0].shape)
    for x in xs[1:]:
        fits = len(x.shape) == len(first) and all(
            i == axis or agree(n, m) for i, (n, m) in enumerate(zip(x.shape, first))
        )
        if not fits:
            raise ValueError(
                "concatenate: all axes but the joined one must agree; got shapes "
                f"{', '.join(str(tuple(x.shape)) for x in xs)} along axis {axis}"
            )
    length = sum(x.shape[axis] for x in xs)
    return xs[0].but(shape=first[:axis] + (length,) + first[axis + 1 :])


@concatenate.vjp
def _(g, y, *xs, axis):
    ends = np.cumsum([x.shape[axis] for x in xs])
    return [slice_axis(g, axis, int(e) - x.shape[axis], int(e)) for x, e in zip(xs, ends)]


def slice_axis(x, axis, start, stop):
    """`x` from `start` to `stop` along one axis."""
    rank = len(x.shape)
    return slice(
        x,
        start=tuple(start if i == axis else 0 for i in range(rank)),
        stop=tuple(stop if i == axis else n for i, n in enumerate(x.shape)),
        strides=(1,) * rank,
    )


@primitive
def dynamic_slice(x, *starts, sizes):
    """The part of `x` of the shape `sizes` that begins at the integer scalars `starts`, moved
    inside.
    """
    return x.but(shape=sizes)


@dynamic_slice.vjp
def _(g, y, x, *starts, sizes):
    return [dynamic_update_slice(zeros_of(x), g, *starts), *[None] * len(starts)]


@primitive
def dynamic_update_slice(x, update, *starts):
    """`x` with `update` in the place that begins at the integer scalars `starts`, moved inside."""
    return x


@dynamic_update_slice.vjp
def _(g, y, x, update, *starts):
    hole = dynamic_update_slice(g, zeros_of(update), *starts)
    return [hole, dynamic_slice(g, *starts, sizes=tuple(update.shape)), *[None] * len(starts)]


@primitive
def take(x, indices, *, axis):
    """The slices of `x` at non-negative `indices` along `axis`; out of range they are clipped."""
    return x.but(shape=(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))


@take.vjp
def _(g, y, x, indices, *, axis):
    rank = len(indices.shape)
    if axis:  # bring the picked axes to the front
        g = transpose(
            g, order=(*range(axis, axis + rank), *range(axis), *range(axis + rank, len(g.shape)))
        )
    front = (x.shape[axis], *x.shape[:axis], *x.shape[axis + 1 :])
    zero = broadcast_to(_number(0, spec_of(g).dtype), shape=front)
    indices = _clipped(indices, x.shape[axis])
    dx = scatter(zero, reshape(indices, shape=(*indices.shape, 1)), g, mode="add")
    if axis:
        dx = transpose(dx, order=(*range(1, axis + 1), 0, *range(axis + 1, len(front))))
    return [dx, None]


@primitive
def gather_nd(x, indices):
    """`x` at `indices` (..., k), non-negative places in its first k axes; out of range they are
    clipped.
    """
    return x.but(shape=(*indices.shape[:-1], *x.shape[indices.shape[-1] :]))


@gather_nd.vjp
def _(g, y, x, indices):
    k = indices.shape[-1]
    columns = [
        _clipped(slice_axis(indices, len(indices.shape) - 1, i, i + 1), x.shape[i])
        for i in range(k)
    ]
    indices = concatenate(*columns, axis=len(indices.shape) - 1) if k else indices
    return [scatter(zeros_of(x), indices, g, mode="add"), None]


def _clipped(indices, n):
    """`indices` moved inside of an axis of length `n`, which is where `take` and its kin found
    them.
    """
    from oneiros.core.primitives.elementwise import maximum, minimum

    top = np.iinfo(spec_of(indices).dtype).max
    return maximum(minimum(indices, max(int(n) - 1, 0)) if n <= top else indices, 0)


@primitive
def scatter(x, indices, updates, *, mode):
    """`x` with `updates` at `indices` (..., k), places in its first k axes; what is out of range is
    dropped.

    `mode` says how they meet what is there, one after another: set, add, mul, max or min.
    """
    return x


@scatter.vjp
def _(g, y, x, indices, updates, *, mode):
    columns = [
        slice_axis(indices, len(indices.shape) - 1, i, i + 1) for i in range(indices.shape[-1])
    ]
    inside = concatenate(
        *[_is_inside(i, n) for i, n in zip(columns, x.shape)], axis=len(indices.shape) - 1
    )
    inside = _all_last(inside, len(updates.shape))
    return _placed(
        g, y, x, updates, mode,
        lambda v: _where(inside, gather_nd(v, indices)),
        lambda v, u, m: scatter(v, indices, u, mode=m),
    )  # fmt: skip


@primitive
def gather_along(x, indices, *, axis):
    """`x` at `indices` along `axis`, place by place in all other axes; out of range they are
    clipped.
    """
    return x.but(shape=indices.shape)


@gather_along.vjp
def _(g, y, x, indices, *, axis):
    indices = _clipped(indices, x.shape[axis])
    return [scatter_along(zeros_of(x), indices, g, axis=axis, mode="add"), None]


@primitive
def scatter_along(x, indices, updates, *, axis, mode):
    """`x` with `updates` at `indices` along `axis`, place by place in all other axes; modes as in
    `scatter`.
    """
    return x


@scatter_along.vjp
def _(g, y, x, indices, updates, *, axis, mode):
    inside = _is_inside(indices, x.shape[axis])
    return _placed(
        g, y, x, updates, mode,
        lambda v: _where(inside, gather_along(v, indices, axis=axis)),
        lambda v, u, m: scatter_along(v, indices, u, axis=axis, mode=m),
    )  # fmt: skip


def _is_inside(indices, n):
    from oneiros.core.primitives.elementwise import greater_equal, less, logical_and

    if n > np.iinfo(spec_of(indices).dtype).max:
        return greater_equal(indices, 0)
    return logical_and(greater_equal(indices, 0), less(indices, int(n)))


def _all_last(flags, rank):
    """Whether all `flags` of the last axis hold, with axes of length one up to `rank`."""
    from oneiros.core.primitives.reductions import reduce_all

    all_of = reduce_all(flags, axes=(len(flags.shape) - 1,))
    return reshape(all_of, shape=(*all_of.shape, *(1,) * (rank - len(all_of.shape))))


def _where(inside, x):
    """`x` where updates were placed; zero where they were dropped."""
    from oneiros.core.primitives.elementwise import select

    if isinstance(inside, np.ndarray) and inside.all():
        return x
    return select(inside, x, 0 if "int" in spec_of(x).dtype else 0.0)


def _placed(g, y, x, updates, mode, get, put):
    """Cotangents of a scatter's (x, indices, updates), with `get` and `put` at its indices."""
    if mode == "add":
        return [g, None, get(g)]
    if mode == "set":  # of several updates of one place the last one wins; only winners get a share
        n = math.prod(updates.shape)
        order = reshape(iota(shape=(n,), axis=0, dtype="int32"), shape=tuple(updates.shape))
        winner = get(put(broadcast_to(np.int32(-1), shape=tuple(x.shape)), order, "max"))
        from oneiros.core.primitives.elementwise import equal, select

        return [put(g, zeros_of(updates), "set"), None, select(equal(winner, order), get(g), 0.0)]
    from oneiros.core.primitives.elementwise import cast, divide, equal, multiply, select

    if mode == "mul":  # exact without zeros among x and updates, as in JAX
        return [
            multiply(g, put(ones_of(x), updates, "mul")),
            None,
            divide(get(multiply(g, y)), updates),
        ]
    dtype = spec_of(x).dtype
    kept_x = cast(equal(x, y), dtype=dtype)
    kept_u = cast(equal(updates, get(y)), dtype=dtype)
    share = g / put(kept_x, kept_u, "add")  # ties share
    return [select(equal(kept_x, 0), 0.0, share * kept_x), None, get(share) * kept_u]


def zeros_of(x):
    """Zeros with the shape and dtype of `x`."""
    spec = spec_of(x)
    return broadcast_to(_number(0, spec.dtype), shape=spec.shape)


def ones_of(x):
    spec = spec_of(x)
    return broadcast_to(_number(1, spec.dtype), shape=spec.shape)


def _number(value, dtype):
    from oneiros.core.graph import constant

    return constant(value, dtype)
