"""Convolutions and pooling of any rank in PyTorch, channels last.

PyTorch has its channels second: a permuted view of a channels-last array is its "channels last"
memory format, so nothing is copied. Rank 1 is done as rank 2. What PyTorch's own arguments cannot
say (padding that differs at the two ends, spread inputs) is done by framing the input first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

__all__ = [
    "convolution", "convolution_input_grad", "convolution_kernel_grad", "frame", "max_pool",
    "max_pool_grad", "max_pool_pick", "max_pool_places", "sum_pool", "sum_pool_grad",
]  # fmt: skip

BACK = torch.ops.aten.convolution_backward.default
POOL = {2: torch.ops.aten.max_pool2d_with_indices, 3: torch.ops.aten.max_pool3d_with_indices}
POOL_BACK = {
    2: torch.ops.aten.max_pool2d_with_indices_backward.default,
    3: torch.ops.aten.max_pool3d_with_indices_backward.default,
}
AVERAGE = {2: F.avg_pool2d, 3: F.avg_pool3d}
AVERAGE_BACK = {
    2: torch.ops.aten.avg_pool2d_backward.default,
    3: torch.ops.aten.avg_pool3d_backward.default,
}
LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def second(x):
    """`x` (batch, *spatial, channels) with its channels second; a view."""
    return (
        x.permute(0, 3, 1, 2) if x.dim() == 4 else x.permute(0, x.dim() - 1, *range(1, x.dim() - 1))
    )


def last(x):
    """What `second` made, with its channels last again."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x.permute(0, *range(2, x.dim()), 1)


def outer(kernel):
    """A kernel (*window, in, out) as PyTorch's (out, in, *window); a view."""
    n = kernel.dim()
    return kernel.permute(n - 1, n - 2, *range(n - 2))


def frame(x, widths, value=0):
    """`x` with `value` around and between: for each axis (before, after, between); negative cut."""
    for axis, (low, high, between) in enumerate(widths):
        n = x.shape[axis]
        if between and n > 1:
            shape = list(x.shape)
            shape[axis] = (n - 1) * (between + 1) + 1
            spread = x.new_full(shape, value)
            places = [slice(None)] * axis + [slice(None, None, between + 1)]
            if x.requires_grad:
                spread = spread.clone()
            spread[tuple(places)] = x
            x = spread
        if low < 0 or high < 0:
            n = x.shape[axis]
            start = min(max(-low, 0), n)
            x = x.narrow(axis, start, max(n - start - max(-high, 0), 0))
    ends = [n for low, high, _ in reversed(widths) for n in (max(low, 0), max(high, 0))]
    while ends[-2:] == [0, 0]:
        del ends[-2:]
    return F.pad(x, ends, value=value) if ends else x


ONE = {
    "strides": (1,), "window": (1,), "padding": ((0, 0),), "lhs_dilation": (1,), "rhs_dilation": (1,)
}  # fmt: skip
GROWN = {"input_shape": 1, "kernel_shape": 0}


def any_rank(*axes, out=1):
    """Do rank 1 as rank 2: the operands get an axis of length one at `axes`, the result has it at
    `out`.
    """

    def wrap(function):
        def kernel(*arrays, **params):
            if len(params["strides"]) != 1:
                return function(*arrays, **params)
            params = {k: (*ONE[k], *v) if k in ONE else v for k, v in params.items()}
            for k, at in GROWN.items():
                if k in params:
                    params[k] = (*params[k][:at], 1, *params[k][at:])
            return function(*[x.unsqueeze(i) for x, i in zip(arrays, axes)], **params).squeeze(out)

        return kernel

    return wrap


def _framed(x, padding, lhs_dilation):
    """The input as PyTorch's convolution takes it, and the padding that is left to it."""
    if all(low == high >= 0 for low, high in padding) and set(lhs_dilation) == {1}:
        return x, [low for low, _ in padding]
    spread = [(low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation)]
    return frame(x, [(0, 0, 0), *spread, (0, 0, 0)]), [0] * len(padding)


def with_bias(x, kernel, bias, strides, padding, lhs_dilation, rhs_dilation, groups):
    x, pads = _framed(x, padding, lhs_dilation)
    x, kernel, zeros = second(x), outer(kernel), [0] * len(pads)
    return last(
        torch.convolution(x, kernel, bias, strides, pads, rhs_dilation, False, zeros, groups)
    )


@any_rank(1, 0)
def convolution(x, kernel, **params):
    return with_bias(x, kernel, None, **params)


@any_rank(1, 0)
def convolution_input_grad(
    g, kernel, input_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    plain = all(low == high >= 0 for low, high in padding) and set(lhs_dilation) == {1}
    if plain:
        shape, pads = input_shape, [low for low, _ in padding]
    else:
        sizes = [
            max(n - 1, 0) * d + (n > 0) + low + high
            for n, d, (low, high) in zip(input_shape[1:-1], lhs_dilation, padding)
        ]
        shape, pads = (input_shape[0], *sizes, input_shape[-1]), [0] * len(padding)
    dx = BACK(
        second(g), second(g.new_empty(shape)), outer(kernel), None, strides, pads, rhs_dilation, False,
        [0] * len(pads), groups, [True, False, False],
    )[0]  # fmt: skip
    dx = last(dx)
    if plain:
        return dx
    for axis, (d, (low, high)) in enumerate(zip(lhs_dilation, padding), 1):
        dx = frame(dx, [(-low, -high, 0) if i == axis else (0, 0, 0) for i in range(dx.dim())])
        dx = dx[(slice(None),) * axis + (slice(None, None, d),)] if d > 1 else dx
    return dx


@any_rank(1, 1, out=0)
def convolution_kernel_grad(
    g, x, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    x, pads = _framed(x, padding, lhs_dilation)
    dw = BACK(
        second(g), second(x), outer(g.new_empty(kernel_shape)), None, strides, pads, rhs_dilation, False,
        [0] * len(pads), groups, [False, True, False],
    )[1]  # fmt: skip
    return dw.permute(*range(2, dw.dim()), 1, 0)


def _lowest(x):
    return -float("inf") if x.is_floating_point() else torch.iinfo(x.dtype).min


def _for_max(x, window, padding):
    """The input framed where PyTorch's max pooling cannot pad by itself, and its padding."""
    if all(low == high and 2 * low <= w for (low, high), w in zip(padding, window)):
        return x, [low for low, _ in padding]
    widths = [(0, 0, 0), *[(low, high, 0) for low, high in padding], (0, 0, 0)]
    return frame(x, widths, _lowest(x)), [0] * len(padding)


def max_pool_places(x, window, strides, padding):
    """The pooled `x` and what PyTorch's derivative asks for: all with the channels second."""
    x, pads = _for_max(x, window, padding)
    x = second(x)
    y, places = POOL[len(window)](x, window, strides, pads)
    return y, places, x, pads


@any_rank(1)
def max_pool(x, window, strides, padding):
    return last(max_pool_places(x, window, strides, padding)[0])


def spread_max(g, places, x, pads, window, strides, padding):
    """`g` at the places of the largest, cut to the array that was pooled."""
    ones = [1] * len(window)
    dx = last(POOL_BACK[len(window)](second(g), x, window, strides, pads, ones, False, places))
    if any(low != p or high != p for (low, high), p in zip(padding, pads)):
        dx = frame(dx, [(0, 0, 0), *[(-low, -high, 0) for low, high in padding], (0, 0, 0)])
    return dx


@any_rank(1, 1, 1)
def max_pool_grad(g, x, y, window, strides, padding):
    _, places, x, pads = max_pool_places(x, window, strides, padding)
    return spread_max(g, places, x, pads, window, strides, padding)


@any_rank(1, 1, 1)
def max_pool_pick(h, x, y, window, strides, padding):
    _, places, _, pads = max_pool_places(x, window, strides, padding)
    h = h if pads != [0] * len(pads) or padding == ((0, 0),) * len(pads) else frame(
        h, [(0, 0, 0), *[(low, high, 0) for low, high in padding], (0, 0, 0)]
    )  # fmt: skip
    picked = second(h).flatten(2).gather(2, places.flatten(2))
    return last(picked.reshape(places.shape))


@any_rank(1)
def sum_pool(x, window, strides, padding):
    x = frame(x, [(0, 0, 0), *[(low, high, 0) for low, high in padding], (0, 0, 0)])
    return last(AVERAGE[len(window)](second(x), window, strides, divisor_override=1))


@any_rank(1)
def sum_pool_grad(g, input_shape, window, strides, padding):
    sizes = [n + low + high for n, (low, high) in zip(input_shape[1:-1], padding)]
    x = second(g.new_empty((input_shape[0], *sizes, input_shape[-1])))
    zeros = [0] * len(window)
    dx = last(AVERAGE_BACK[len(window)](second(g), x, window, strides, zeros, False, True, 1))
    return frame(dx, [(0, 0, 0), *[(-low, -high, 0) for low, high in padding], (0, 0, 0)])
