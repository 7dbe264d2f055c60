"""Convolutions and pooling of any rank in NumPy: strided views and matrix products, channels last.

Loops run over the window's offsets and over blocks of the batch, never over places.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

__all__ = [
    "convolution", "convolution_input_grad", "convolution_kernel_grad", "framed", "is_low",
    "max_pool", "max_pool_grad", "max_pool_pick", "spans", "sum_pool", "sum_pool_grad", "unframed",
]  # fmt: skip

BLOCK = 1 << 20  # elements of unfolded windows made at a time: they stay in the cache


# Frames: zeros or another value around and between elements ---
def spans(shape, widths):
    """The framed shape, and for each axis which elements stay and where they come to lie."""
    whole, kept, places = [], [], []
    for n, (low, high, between) in zip(shape, widths):
        step = between + 1
        size = max(0, low + high + n + max(n - 1, 0) * between)
        first = max(0, -(low // step)) if low < 0 else 0
        last = max(first, min(n, (size - 1 - low) // step + 1))
        at = low + first * step
        whole.append(size)
        kept.append(slice(first, last))
        places.append(
            slice(at, at + (last - first - 1) * step + 1, step) if last > first else slice(0, 0)
        )
    return whole, tuple(kept), tuple(places)


def framed(x, widths, value=0):
    """`x` with `value` around it: for each axis (before, after, between); negative widths cut."""
    if not any(map(any, widths)):
        return x
    whole, kept, places = spans(x.shape, widths)
    out = (
        np.zeros(whole, x.dtype)
        if np.isscalar(value) and value == 0
        else np.full(whole, value, x.dtype)
    )
    out[places] = x[kept]
    return out


def unframed(y, shape, widths):
    """The array of `shape` that `framed` put into `y`; zero where it was cut."""
    if not any(map(any, widths)):
        return y
    _, kept, places = spans(shape, widths)
    if all(k == slice(0, n) for k, n in zip(kept, shape)):
        return y[places]
    x = np.zeros(shape, y.dtype)
    x[kept] = y[places]
    return x


def _widths(padding, dilation=None):
    dilation = dilation or (1,) * len(padding)
    return [
        (0, 0, 0),
        *[(low, high, d - 1) for (low, high), d in zip(padding, dilation)],
        (0, 0, 0),
    ]


def is_low(dtype):
    """Whether a dtype is one of floats below 32 bits (most of ml_dtypes have the kind V)."""
    return dtype.kind in "fV" and dtype.itemsize < 4


def _narrow(x):
    return is_low(x.dtype)


def _wide(f):
    """`f(x, y, ...)` in float32 for narrower floats."""

    def kernel(x, *others, **params):
        if not _narrow(x):
            return f(x, *others, **params)
        return f(*[v.astype(np.float32) for v in (x, *others)], **params).astype(x.dtype)

    kernel.__name__ = f.__name__
    return kernel


# Convolution ---------------------------------------------
def _windows(x, window, out, strides, dilation):
    """A view of `x`, (batch, *out, *window, channels)."""
    batch, *spatial, channels = x.strides
    return np.lib.stride_tricks.as_strided(
        x,
        (x.shape[0], *out, *window, x.shape[-1]),
        (
            batch,
            *[s * t for s, t in zip(spatial, strides)],
            *[s * d for s, d in zip(spatial, dilation)],
            channels,
        ),
        writeable=False,
    )


def _offsets(window, out, strides, dilation):
    """For each place in the window, itself and the slices of a framed input that meet it."""
    for place in itertools.product(*map(range, window)):
        yield (
            place,
            (
                slice(None),
                *[
                    slice(i * d, i * d + (m - 1) * s + 1 if m else i * d, s)
                    for i, d, m, s in zip(place, dilation, out, strides)
                ],
            ),
        )


def _out(shape, window, strides, dilation):
    return tuple(
        max(0, (n - (w - 1) * d - 1) // s + 1)
        for n, w, s, d in zip(shape[1:-1], window, strides, dilation)
    )


def _blocks(batch, per_image):
    step = max(1, BLOCK // max(1, per_image))
    return [slice(i, min(i + step, batch)) for i in range(0, batch, step)]


def _unfold(x, window, out, strides, dilation, groups):
    """The windows of `x` as matrices, (groups, batch * out, window * channels of a group)."""
    rows, inner = x.shape[0] * math.prod(out), math.prod(window)
    cols = _windows(x, window, out, strides, dilation)
    if groups == 1:
        return cols.reshape(1, rows, inner * x.shape[-1])
    cols = cols.reshape(rows, inner, groups, x.shape[-1] // groups)
    return cols.transpose(2, 0, 1, 3).reshape(groups, rows, inner * (x.shape[-1] // groups))


def _matrices(kernel, groups):
    """The kernel as matrices, (groups, window * channels of a group, outputs of a group)."""
    each = kernel.shape[-1] // groups
    flat = kernel.reshape(math.prod(kernel.shape[:-1]), groups, each)
    return flat.transpose(1, 0, 2)


def _by_group(g, groups):
    """`g` (batch, *out, channels) as (groups, batch * out, channels of a group)."""
    rows = math.prod(g.shape[:-1])
    return g.reshape(rows, groups, g.shape[-1] // groups).transpose(1, 0, 2)


def _is_depthwise(kernel, groups):
    return groups > 1 and kernel.shape[-2] == 1


@_wide
def convolution(x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, groups):
    x = framed(x, _widths(padding, lhs_dilation))
    window = kernel.shape[:-2]
    out = _out(x.shape, window, strides, rhs_dilation)
    outputs = kernel.shape[-1]
    y = np.empty((x.shape[0], *out, outputs), x.dtype)
    if _is_depthwise(kernel, groups):
        split = y.reshape(*y.shape[:-1], groups, outputs // groups)
        split[...] = 0
        taps = kernel.reshape(*window, groups, outputs // groups)
        for place, at in _offsets(window, out, strides, rhs_dilation):
            split += x[at][..., None] * taps[place]
        return y
    matrix = _matrices(kernel, groups)
    for block in _blocks(x.shape[0], math.prod(out) * math.prod(kernel.shape[:-1]) * groups):
        cols = _unfold(x[block], window, out, strides, rhs_dilation, groups)
        part = y[block]
        if groups == 1:
            np.matmul(cols[0], matrix[0], out=part.reshape(cols.shape[1], outputs))
        else:
            made = np.matmul(cols, matrix)  # (groups, rows, outputs of a group)
            part[...] = made.transpose(1, 0, 2).reshape(part.shape)
    return y


def convolution_input_grad(
    g, kernel, *, input_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    if _narrow(g):
        wide = g.astype(np.float32), kernel.astype(np.float32)
        return convolution_input_grad(
            *wide, input_shape=input_shape, strides=strides, padding=padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation, groups=groups,
        ).astype(g.dtype)  # fmt: skip
    widths = _widths(padding, lhs_dilation)
    whole, _, _ = spans(input_shape, widths)
    dx = np.zeros(whole, g.dtype)
    window, out = kernel.shape[:-2], g.shape[1:-1]
    if _is_depthwise(kernel, groups):
        split = g.reshape(*g.shape[:-1], groups, g.shape[-1] // groups)
        taps = kernel.reshape(*window, groups, g.shape[-1] // groups)
        for place, at in _offsets(window, out, strides, rhs_dilation):
            dx[at] += np.einsum("...gm,gm->...g", split, taps[place])
        return unframed(dx, input_shape, widths)
    matrix = _matrices(kernel, groups).transpose(0, 2, 1)
    channels = kernel.shape[-2]
    split = dx.reshape(*whole[:-1], groups, channels)
    for block in _blocks(g.shape[0], math.prod(out) * math.prod(window) * channels * groups):
        part, into = g[block], split[block]
        cols = np.matmul(_by_group(part, groups), matrix)  # (groups, rows, window * channels)
        cols = cols.reshape(groups, part.shape[0], *out, *window, channels)
        for place, at in _offsets(window, out, strides, rhs_dilation):
            here = cols[(slice(None),) * (2 + len(out)) + place]  # (groups, batch, *out, channels)
            into[at] += np.moveaxis(here, 0, -2)
    return unframed(dx, input_shape, widths)


def convolution_kernel_grad(
    g, x, *, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    if _narrow(g):
        wide = g.astype(np.float32), x.astype(np.float32)
        return convolution_kernel_grad(
            *wide, kernel_shape=kernel_shape, strides=strides, padding=padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation, groups=groups,
        ).astype(g.dtype)  # fmt: skip
    x = framed(x, _widths(padding, lhs_dilation))
    window, out, outputs = kernel_shape[:-2], g.shape[1:-1], kernel_shape[-1]
    if groups > 1 and kernel_shape[-2] == 1:
        split = g.reshape(math.prod(g.shape[:-1]), groups, outputs // groups)
        taps = np.empty((*window, groups, outputs // groups), g.dtype)
        for place, at in _offsets(window, out, strides, rhs_dilation):
            taps[place] = np.einsum("rg,rgm->gm", x[at].reshape(len(split), groups), split)
        return taps.reshape(kernel_shape)
    total = np.zeros((groups, math.prod(kernel_shape[:-1]), outputs // groups), g.dtype)
    for block in _blocks(g.shape[0], math.prod(out) * math.prod(kernel_shape[:-1]) * groups):
        cols = _unfold(x[block], window, out, strides, rhs_dilation, groups)
        total += np.matmul(cols.transpose(0, 2, 1), _by_group(g[block], groups))
    return total.transpose(1, 0, 2).reshape(kernel_shape)


# Pooling: axis by axis where the reduction allows ---
def _along(axis, rank, piece):
    return (slice(None),) * axis + (piece,) + (slice(None),) * (rank - axis - 1)


def _pooled(x, ufunc, window, strides):
    """Windows of `x` reduced by `ufunc`, one axis after another."""
    for axis, (w, s) in enumerate(zip(window, strides), 1):
        if w == s == 1:
            continue
        count = max(0, (x.shape[axis] - w) // s + 1)
        pieces = [
            x[_along(axis, x.ndim, slice(i, i + (count - 1) * s + 1 if count else i, s))]
            for i in range(w)
        ]
        if w == 1:
            x = pieces[0]
            continue
        y = ufunc(pieces[0], pieces[1])
        for piece in pieces[2:]:
            ufunc(y, piece, out=y)
        x = y
    return x


def _lowest(dtype):
    return -np.inf if dtype.kind in "fV" else np.iinfo(dtype).min


def max_pool(x, *, window, strides, padding):
    x = framed(x, _widths(padding), _lowest(x.dtype))
    return np.array(_pooled(x, np.maximum, window, strides))


def _first(x, y, window, strides, padding):
    """For each offset of the window, where `x` has its window's first largest: (slices, mask)."""
    x = framed(x, _widths(padding), _lowest(x.dtype))
    free = np.ones(y.shape, bool)
    for _, at in _offsets(window, y.shape[1:-1], strides, (1,) * len(window)):
        hit = x[at] == y
        hit &= free
        free ^= hit
        yield at, hit


def max_pool_grad(g, x, y, *, window, strides, padding):
    widths = _widths(padding)
    whole, _, _ = spans(x.shape, widths)
    dx = np.zeros(whole, np.float32 if _narrow(g) else g.dtype)
    for at, hit in _first(x, y, window, strides, padding):
        view = dx[at]
        np.add(view, g, out=view, where=hit, casting="unsafe")
    return unframed(dx, x.shape, widths).astype(g.dtype, copy=False)


def max_pool_pick(h, x, y, *, window, strides, padding):
    h = framed(h, _widths(padding))
    out = np.zeros(y.shape, h.dtype)
    for at, hit in _first(x, y, window, strides, padding):
        np.copyto(out, h[at], where=hit)
    return out


@_wide
def sum_pool(x, *, window, strides, padding):
    return np.array(_pooled(framed(x, _widths(padding)), np.add, window, strides))


@_wide
def sum_pool_grad(g, *, input_shape, window, strides, padding):
    widths = _widths(padding)
    whole, _, _ = spans(input_shape, widths)
    for axis, (w, s) in enumerate(zip(window, strides), 1):
        count = g.shape[axis]
        shape = (*g.shape[:axis], whole[axis], *g.shape[axis + 1 :])
        dx = np.zeros(shape, g.dtype)
        for i in range(w):
            dx[_along(axis, g.ndim, slice(i, i + (count - 1) * s + 1 if count else i, s))] += g
        g = dx
    return unframed(g, input_shape, widths)
