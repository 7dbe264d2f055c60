"""Pooling for JAX, and the places under a sliding window, which convolutions share.

On accelerators pooling is XLA's own. On the CPU that is slow, most of all in the maximum's
derivative; there a window moves over one axis after the other, the last one first, as the greatest
or the sum of a few slices (benchmarks/convolution.md). That keeps row-major order among equals.
Data are `(batch, *spatial, channels)`; windows, strides and padding are those of the spatial axes.
"""

import itertools
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["max_pool", "max_pool_grad", "sum_pool", "sum_pool_grad"]

LONGEST_WINDOW = 32  # one slice for each place of longer ones takes too long to compile
UNDILATED = itertools.repeat(1)


def max_pool(x, *, window, strides, padding):
    """The greatest value under each window; the padding is less than all."""
    if not by_axes(x.shape, window, strides, padding):
        return lax_pool(x, lowest(x), lax.max, window, strides, padding)
    return reduce(lambda x, axis: axis_max(x, **axis), one_axis_each(window, strides, padding), x)


def max_pool_grad(g, x, y, *, window, strides, padding):
    """The derivative of `max_pool`, to each window's first greatest value, row by row."""
    if g.size == 0:
        return jnp.zeros_like(x)
    if not by_axes(x.shape, window, strides, padding):
        pool = lambda x: lax_pool(x, lowest(x), lax.max, window, strides, padding)
        return jax.vjp(pool, x)[1](g)[0]
    if tuple(window) == tuple(strides):
        return first_max_grad(g, x, window, strides, padding)
    axes = one_axis_each(window, strides, padding)
    partial = list(itertools.accumulate(axes, lambda x, axis: axis_max(x, **axis), initial=x))
    for i in reversed(range(len(axes))):
        g = first_max_grad(g, partial[i], **axes[i])
    return g


def sum_pool(x, *, window, strides, padding):
    """The sum under each window, with zeros as padding."""
    if not by_axes(x.shape, window, strides, padding):
        return lax_pool(x, 0, lax.add, window, strides, padding)
    axes = one_axis_each(window, strides, padding)
    return reduce(lambda x, axis: sum(under(x, 0, **axis)), axes, wide(x)).astype(x.dtype)


def sum_pool_grad(g, *, input_shape, window, strides, padding):
    """The derivative of `sum_pool` for `x`, which has the shape `input_shape`."""
    x = jax.ShapeDtypeStruct(input_shape, g.dtype)
    if not by_axes(x.shape, window, strides, padding):
        pool = lambda x: lax_pool(x, 0, lax.add, window, strides, padding)
        return jax.linear_transpose(pool, x)(g)[0]
    if tuple(window) == tuple(strides):
        return untiled(tiles(g, window), x, window, padding)
    axes = one_axis_each(window, strides, padding)
    total = wide(g)
    for i, axis in enumerate(reversed(axes), start=1):
        sizes = (*input_shape[1 : i + 1], *g.shape[i + 1 : -1])
        total = spread(itertools.repeat(total), sizes, **axis)
    return total.astype(g.dtype)


def by_axes(shape, window, strides, padding):
    """1.5 to 15 times faster on the CPU, 4 to 50 times for the derivative of the maximum."""
    some = 0 not in shape and min(pooled(shape[1:-1], window, strides, padding)) > 0
    return some and jax.default_backend() == "cpu" and max(window) <= LONGEST_WINDOW


def lax_pool(x, start, operator, window, strides, padding):
    start = np.asarray(start, x.dtype)  # JAX knows its derivative only for constants
    padding = ((0, 0), *padding, (0, 0))
    return lax.reduce_window(x, start, operator, (1, *window, 1), (1, *strides, 1), padding)


def one_axis_each(window, strides, padding):
    """The same pooling as one for each axis, the last axis first."""

    def only(values, axis, other):
        return tuple(value if i == axis else other for i, value in enumerate(values))

    return [
        {
            "window": only(window, axis, 1),
            "strides": only(strides, axis, 1),
            "padding": only(padding, axis, (0, 0)),
        }
        for axis in reversed(range(len(window)))
    ]


def under(x, value, window, strides, padding):
    output = pooled(x.shape[1:-1], window, strides, padding)
    x = pad(x, [(low, high, 0) for low, high in padding], value)
    return places(x, output, window, strides)


def axis_max(x, **axis):
    """The maximum, differentiable to the first of equal values, and NaN where one is."""
    return reduce(lambda a, b: jnp.where((b > a) | jnp.isnan(b), b, a), under(x, lowest(x), **axis))


def first_max_grad(g, x, window, strides, padding):
    # Not compared with y: XLA may compute x anew for each use, in another rounding.
    best, *others = under(x, lowest(x), window, strides, padding)
    first = jnp.zeros(best.shape, jnp.int32)
    for i, value in enumerate(others, start=1):
        first, best = jnp.where(value > best, i, first), jnp.maximum(best, value)
    if tuple(window) == tuple(strides):
        each = jnp.arange(1 + len(others), dtype=jnp.int32)
        each = each.reshape(*(n for w in window for n in (1, w)), 1)
        hit = jnp.where(tiles(first, window) == each, tiles(g, window), 0)
        return untiled(hit, x, window, padding)
    parts = (jnp.where(first == i, g, 0) for i in range(1 + len(others)))
    return spread(parts, x.shape[1:-1], window, strides, padding)


def tiles(g, window):
    """Each value of `g` as large as the window: `(batch, n, w, n, w, ..., channels)`."""
    shape = [n for pair in zip(g.shape[1:-1], window) for n in pair]
    axes = (0, *range(1, len(shape), 2), len(shape) + 1)
    return lax.broadcast_in_dim(g, (len(g), *shape, g.shape[-1]), axes)


def untiled(tiles, x, window, padding):
    """The image of which these are the windows, cut and padded to the shape of `x`."""
    sizes = [n * w for n, w in zip(tiles.shape[1:-1:2], window)]
    image = tiles.reshape(len(tiles), *sizes, tiles.shape[-1])
    lows = [low for low, _ in padding]
    return pad(image, [(-a, n - m + a, 0) for a, n, m in zip(lows, x.shape[1:-1], sizes)])


def lowest(x):
    return -jnp.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min


def wide(x):
    """Sums of halves are rounded once, at the end."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if x.dtype.itemsize < 4 else x


# ---- places under a window ----------------------------------------------------------------------


def pooled(sizes, window, strides, padding):
    """How many positions the window takes along each axis."""
    return tuple(
        (n + low + high - w) // s + 1
        for n, w, s, (low, high) in zip(sizes, window, strides, padding)
    )


def pad(x, edges, value=0):
    """`x` with `(low, high, between)` of padding on every spatial axis; negative ones cut."""
    return lax.pad(x, jnp.asarray(value, x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])


def places(x, output, window, strides, dilation=UNDILATED):
    """For each place of the window what lies under it, `(batch, *output, channels)`."""
    for place in itertools.product(*map(range, window)):
        starts = [p * d for p, d in zip(place, dilation)]
        ends = [a + (n - 1) * s + 1 for a, n, s in zip(starts, output, strides)]
        yield lax.slice(x, (0, *starts, 0), (len(x), *ends, x.shape[-1]), (1, *strides, 1))


def spread(parts, sizes, window, strides, padding, dilation=UNDILATED):
    """The transpose of `places`: the sum of the parts, each put back where its place has been."""
    total = 0
    for place, part in zip(itertools.product(*map(range, window)), parts):
        starts = [p * d - low for p, d, (low, _) in zip(place, dilation, padding)]
        ends = [a + (m - 1) * s + 1 for a, m, s in zip(starts, part.shape[1:-1], strides)]
        total += pad(part, [(a, n - e, s - 1) for a, n, e, s in zip(starts, sizes, ends, strides)])
    return total
