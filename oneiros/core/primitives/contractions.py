"""Sums of products: dot_general, convolution and windows. Channels come last."""

from __future__ import annotations

from oneiros.core.primitive import primitive
from oneiros.core.primitives.shaping import transpose

__all__ = [
    "convolution", "convolution_input_grad", "convolution_kernel_grad", "dot_general", "max_pool",
    "max_pool_grad", "max_pool_pick", "sum_pool", "sum_pool_grad",
]  # fmt: skip


def _rest(rank, *used):
    taken = {i for axes in used for i in axes}
    return tuple(i for i in range(rank) if i not in taken)


@primitive
def dot_general(x, y, *, contract, batch):
    """Sums of products over the axis pairs `contract`, side by side over the pairs `batch`.

    Both are pairs of tuples (axes of `x`, axes of `y`). The result has the batch axes, the rest of
    `x`,
    the rest of `y`, in that order.
    """
    for name, (left, right) in (("contract", contract), ("batch", batch)):
        for i, j in zip(left, right):
            if x.shape[i] != y.shape[j] and type(x.shape[i]) is type(y.shape[j]) is int:
                raise ValueError(
                    f"dot_general: axis {i} of {tuple(x.shape)} and axis {j} of {tuple(y.shape)} must agree ({name})"
                )
    free_x = _rest(len(x.shape), contract[0], batch[0])
    free_y = _rest(len(y.shape), contract[1], batch[1])
    shape = [x.shape[i] for i in (*batch[0], *free_x)] + [y.shape[i] for i in free_y]
    return x.but(shape=shape)


@dot_general.vjp
def _(g, z, x, y, *, contract, batch):
    return [
        _dot_cotangent(g, x, y, contract, batch, first=True),
        _dot_cotangent(g, y, x, contract[::-1], batch[::-1], first=False),
    ]


def _dot_cotangent(g, x, y, contract, batch, first):
    """The cotangent of `x`, one operand of a dot whose other is `y`."""
    from oneiros.core.primitives.elementwise import _conj

    free_x = _rest(len(x.shape), contract[0], batch[0])
    free_y = _rest(len(y.shape), contract[1], batch[1])
    b, n = len(batch[0]), len(free_x)
    # g: (batch, free of the first operand, free of the second); contract it with y's free axes
    g_free_y = (
        tuple(range(b + n, b + n + len(free_y))) if first else tuple(range(b, b + len(free_y)))
    )
    # The operand's own order of "kept axes, summed axes" is that of the dot, so that no transpose
    # is needed.
    back = sorted(range(len(contract[1])), key=lambda k: contract[1][k])
    summed = [contract[0][k] for k in back]
    if first:
        made = dot_general(
            g, _conj(y), contract=(g_free_y, free_y), batch=(tuple(range(b)), batch[1])
        )
        places = (*batch[0], *free_x, *summed)
    else:
        made = dot_general(
            _conj(y), g, contract=(free_y, g_free_y), batch=(batch[1], tuple(range(b)))
        )
        places = (*batch[0], *summed, *free_x)
    order = tuple(places.index(i) for i in range(len(places)))
    return made if order == tuple(range(len(order))) else transpose(made, order=order)


def _window_count(n, window, stride, pads, dilation=1, base=1):
    n = (n - 1) * base + 1 if n else 0
    span = (window - 1) * dilation + 1
    return max(0, (n + pads[0] + pads[1] - span) // stride + 1)


@primitive
def convolution(x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, groups):
    """The correlation of `x` (batch, *spatial, in) with `kernel` (*window, in // groups, out).

    `padding` holds (low, high) for each spatial axis; `lhs_dilation` spreads the input,
    `rhs_dilation` the kernel.
    """
    window = kernel.shape[:-2]
    if len(x.shape) != len(kernel.shape) or x.shape[-1] != kernel.shape[-2] * groups:
        raise ValueError(
            f"convolution: an input of shape {tuple(x.shape)} does not fit a kernel of shape "
            f"{tuple(kernel.shape)} in {groups} group(s); it must have {kernel.shape[-2] * groups} channels"
        )
    spatial = [
        _window_count(n, w, s, p, d, b)
        for n, w, s, p, d, b in zip(
            x.shape[1:-1], window, strides, padding, rhs_dilation, lhs_dilation
        )
    ]
    return x.but(shape=(x.shape[0], *spatial, kernel.shape[-1]))


@convolution.vjp
def _(g, y, x, kernel, **params):
    return [
        convolution_input_grad(g, kernel, input_shape=tuple(x.shape), **params),
        convolution_kernel_grad(g, x, kernel_shape=tuple(kernel.shape), **params),
    ]


@primitive
def convolution_input_grad(
    g, kernel, *, input_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    """The derivative of a convolution by its input, times `g`."""
    return g.but(shape=input_shape)


@convolution_input_grad.vjp
def _(h, y, g, kernel, *, input_shape, **params):
    return [
        convolution(h, kernel, **params),
        convolution_kernel_grad(g, h, kernel_shape=tuple(kernel.shape), **params),
    ]


@primitive
def convolution_kernel_grad(
    g, x, *, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    """The derivative of a convolution by its kernel, times `g`."""
    return g.but(shape=kernel_shape)


@convolution_kernel_grad.vjp
def _(h, y, g, x, *, kernel_shape, **params):
    return [
        convolution(x, h, **params),
        convolution_input_grad(g, h, input_shape=tuple(x.shape), **params),
    ]


def _pooled(x, window, strides, padding):
    spatial = [
        _window_count(n, w, s, p) for n, w, s, p in zip(x.shape[1:-1], window, strides, padding)
    ]
    return x.but(shape=(x.shape[0], *spatial, x.shape[-1]))


@primitive
def max_pool(x, *, window, strides, padding):
    """The largest of each window of `x` (batch, *spatial, channels); padding never wins."""
    return _pooled(x, window, strides, padding)


@max_pool.vjp
def _(g, y, x, **params):
    return [max_pool_grad(g, x, y, **params)]


@primitive
def max_pool_grad(g, x, y, *, window, strides, padding):
    """`g` at the first largest of each window of `x`; `y` is the pooled `x`."""
    return x


@max_pool_grad.vjp
def _(h, z, g, x, y, **params):
    return [max_pool_pick(h, x, y, **params), None, None]


@primitive
def max_pool_pick(h, x, y, *, window, strides, padding):
    """`h`, which has the shape of `x`, at the first largest of each window of `x`."""
    return y


@max_pool_pick.vjp
def _(g, z, h, x, y, **params):
    return [max_pool_grad(g, x, y, **params), None, None]


@primitive
def sum_pool(x, *, window, strides, padding):
    """The sum over each window of `x` (batch, *spatial, channels)."""
    return _pooled(x, window, strides, padding)


@sum_pool.vjp
def _(g, y, x, **params):
    return [sum_pool_grad(g, input_shape=tuple(x.shape), **params)]


@primitive
def sum_pool_grad(g, *, input_shape, window, strides, padding):
    """`g` added to every element of its window in an array of `input_shape`."""
    return g.but(shape=input_shape)


@sum_pool_grad.vjp
def _(h, y, g, *, input_shape, **params):
    return [sum_pool(h, **params)]
