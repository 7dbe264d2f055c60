"""Reductions, cumulative sums and order along axes. Axes are explicit, positive and sorted."""

from __future__ import annotations

import numpy as np

from oneiros.core.primitive import Primitive, primitive
from oneiros.core.primitives.elementwise import cast, equal, multiply, select
from oneiros.core.primitives.shaping import (
    broadcast_to,
    iota,
    reshape,
    reverse,
    scatter_along,
)
from oneiros.core.spec import Spec, spec_of

__all__ = [
    "argmax", "argmin", "argsort", "cummax", "cummin", "cumprod", "cumsum", "kept", "reduce_all",
    "reduce_any", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum", "sort", "top_k",
]  # fmt: skip


def kept(shape, axes):
    """`shape` with length one at the reduced `axes`."""
    return tuple(1 if i in axes else n for i, n in enumerate(shape))


def _without(x, axes):
    return x.but(shape=[n for i, n in enumerate(x.shape) if i not in axes])


def _spread(y, x, axes):
    """A reduction's `y` again at every place of `x`."""
    return broadcast_to(reshape(y, shape=kept(x.shape, axes)), shape=tuple(x.shape))


@primitive
def reduce_sum(x, *, axes):
    """The sum over `axes`, which leave the shape."""
    return _without(x, axes)


@reduce_sum.vjp
def _(g, y, x, *, axes):
    return [_spread(g, x, axes)]


@primitive
def reduce_prod(x, *, axes):
    """The product over `axes`."""
    return _without(x, axes)


@reduce_prod.vjp
def _(g, y, x, *, axes):
    # The product of all others, exact with zeros: cumulative products from both ends of one flat
    # axis.
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    from oneiros.core.primitives.shaping import concatenate, slice, transpose

    order = rest + tuple(axes)
    lead = tuple(x.shape[i] for i in rest)
    count = int(np.prod([x.shape[i] for i in axes], dtype=int))
    flat = reshape(transpose(x, order=order), shape=(*lead, count))
    axis = len(lead)
    one = broadcast_to(np.ones((), spec_of(x).dtype), shape=(*lead, 1))

    def before(v):
        head = slice(v, start=(0,) * (axis + 1), stop=(*lead, count - 1), strides=(1,) * (axis + 1))
        return cumprod(concatenate(one, head, axis=axis), axis=axis, reverse=False)

    others = multiply(before(flat), reverse(before(reverse(flat, axes=(axis,))), axes=(axis,)))
    others = reshape(others, shape=tuple(x.shape[i] for i in order))
    return [_spread(g, x, axes) * transpose(others, order=tuple(int(i) for i in np.argsort(order)))]


def _extreme(name, doc):
    reduce = Primitive(lambda x, *, axes: _without(x, axes), name=name)
    reduce.__doc__ = doc

    @reduce.vjp
    def _(g, y, x, *, axes):
        hit = cast(equal(x, _spread(y, x, axes)), dtype=spec_of(x).dtype)
        return [hit * _spread(g / reduce_sum(hit, axes=axes), x, axes)]

    return reduce


reduce_max = _extreme(
    "reduce_max", "The largest over `axes`, NaN if there is one; ties share the derivative."
)
reduce_min = _extreme(
    "reduce_min", "The smallest over `axes`, NaN if there is one; ties share the derivative."
)


@primitive
def reduce_any(x, *, axes):
    """Whether any of the bools over `axes` is true."""
    return _without(x, axes)


@primitive
def reduce_all(x, *, axes):
    """Whether all of the bools over `axes` are true."""
    return _without(x, axes)


@primitive
def argmax(x, *, axis):
    """The int32 index of the first largest along `axis`, which leaves the shape."""
    return _without(x, (axis,)).but(dtype="int32")


@primitive
def argmin(x, *, axis):
    """The int32 index of the first smallest along `axis`, which leaves the shape."""
    return _without(x, (axis,)).but(dtype="int32")


@primitive
def cumsum(x, *, axis, reverse):
    """The running sum along `axis`, from the end if `reverse`."""
    return x


@cumsum.vjp
def _(g, y, x, *, axis, reverse):
    return [cumsum(g, axis=axis, reverse=not reverse)]


@primitive
def cumprod(x, *, axis, reverse):
    """The running product along `axis`, from the end if `reverse`."""
    return x


@cumprod.vjp
def _(g, y, x, *, axis, reverse):
    # dx_j = sum over i >= j of g_i * (product up to i without j), with a matrix over (i, j): exact
    # with zeros.
    n = x.shape[axis]
    grown = (*x.shape[:axis], n, *x.shape[axis:])
    row, column = (
        iota(shape=grown, axis=axis, dtype="int32"),
        iota(shape=grown, axis=axis + 1, dtype="int32"),
    )
    spread = broadcast_to(reshape(x, shape=(*x.shape[:axis], 1, *x.shape[axis:])), shape=grown)
    # at (j, k): x_k, but 1 in place of x_j; its running product over k is the product without j
    without = cumprod(select(equal(row, column), 1.0, spread), axis=axis + 1, reverse=reverse)
    reach = row >= column if reverse else row <= column
    g = broadcast_to(reshape(g, shape=(*x.shape[:axis], 1, *x.shape[axis:])), shape=grown)
    return [reduce_sum(select(reach, g * without, 0.0), axes=(axis + 1,))]


def _running(name, doc):
    running = Primitive(lambda x, *, axis, reverse: x, name=name)
    running.__doc__ = doc

    @running.vjp
    def _(g, y, x, *, axis, reverse):
        # the source of y_i is the last place up to i where x equals the running extreme
        places = iota(shape=tuple(x.shape), axis=axis, dtype="int32")
        if reverse:
            source = cummin(select(equal(x, y), places, x.shape[axis]), axis=axis, reverse=True)
        else:
            source = cummax(select(equal(x, y), places, -1), axis=axis, reverse=False)
        zero = broadcast_to(np.zeros((), spec_of(g).dtype), shape=tuple(x.shape))
        return [scatter_along(zero, source, g, axis=axis, mode="add")]

    return running


cummax = _running("cummax", "The running maximum along `axis`, from the end if `reverse`.")
cummin = _running("cummin", "The running minimum along `axis`, from the end if `reverse`.")


@primitive
def sort(x, *, axis):
    """`x` in rising order along `axis`; NaN comes last."""
    return x


@sort.vjp
def _(g, y, x, *, axis):
    order = argsort(x, axis=axis)
    zero = broadcast_to(np.zeros((), spec_of(g).dtype), shape=tuple(x.shape))
    return [scatter_along(zero, order, g, axis=axis, mode="set")]


@primitive
def argsort(x, *, axis):
    """The int32 indices that sort `x` along `axis`, equal elements in their order."""
    return x.but(dtype="int32")


@primitive
def top_k(x, *, k):
    """The `k` largest of the last axis in falling order, and their int32 indices; of equals the
    first.
    """
    shape = (*x.shape[:-1], k)
    return Spec(shape, x.dtype), Spec(shape, "int32")


@top_k.vjp
def _(g, y, x, *, k):
    zero = broadcast_to(np.zeros((), spec_of(x).dtype), shape=tuple(x.shape))
    return [
        None if g[0] is None else scatter_along(zero, y[1], g[0], axis=len(x.shape) - 1, mode="set")
    ]
