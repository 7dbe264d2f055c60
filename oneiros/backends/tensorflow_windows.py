"""Convolution and pooling on TensorFlow: two-dimensional ops, and what must surround them.

One-dimensional windows get an axis of length one. What TensorFlow's CPU kernels lack (groups,
dilation in derivatives, three-dimensional derivatives of every dtype) is put together of what they
have, and differentiated by its own tape.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import gen_array_ops as A
from tensorflow.python.ops import gen_math_ops as M
from tensorflow.python.ops import gen_nn_ops as N

from oneiros.backends.tensorflow_kernels import dims, pad, tensor, within
from oneiros.core import primitives as p

__all__ = ["KERNELS"]


# Convolution ---------------------------------------------
def _spread(padding, dilation=None):
    dilation = dilation or (1,) * len(padding)
    middle = [(low, high, d - 1) for (low, high), d in zip(padding, dilation)]
    return [(0, 0, 0), *middle, (0, 0, 0)]


def _settings(strides, padding):
    """The attributes of a two-dimensional convolution; valid padding has kernels of its own."""
    flat = [0, 0, *[w for pair in padding for w in pair], 0, 0]
    strides = {"strides": [1, *strides, 1]}
    if not any(flat):
        return {"padding": "VALID", **strides}
    return {"padding": "EXPLICIT", "explicit_paddings": flat, **strides}


def _is_plain(padding, lhs_dilation, rhs_dilation, groups):
    """Whether TensorFlow's own derivatives of convolutions are these."""
    ones = groups == 1 and set(lhs_dilation) == set(rhs_dilation) == {1}
    return ones and len(padding) < 3 and _is_outside(padding)


def _is_outside(padding):
    return all(w >= 0 for pair in padding for w in pair)


def convolution(x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, groups):
    x, kernel = tensor(x), tensor(kernel)
    rank = len(strides)
    if rank == 1:
        strides, padding = (1, *strides), ((0, 0), *padding)
        lhs_dilation, rhs_dilation = (1, *lhs_dilation), (1, *rhs_dilation)
        x, kernel = A.expand_dims(x, 1), A.expand_dims(kernel, 0)
    if set(lhs_dilation) != {1} or not _is_outside(padding):
        x = pad(x, widths=_spread(padding, lhs_dilation), value=0)
        padding = ((0, 0),) * len(strides)
    y = _grouped(x, kernel, strides, padding, rhs_dilation, groups)
    return A.squeeze(y, [1]) if rank == 1 else y


def _grouped(x, kernel, strides, padding, dilation, groups):
    if groups == 1:
        return _convolved(x, kernel, strides, padding, dilation)
    even = len(strides) == 2 and strides[0] == strides[1]
    if kernel.shape[-2] == 1 and even and set(dilation) == {1}:
        taps = A.reshape(kernel, [*kernel.shape[:-2], groups, kernel.shape[-1] // groups])
        return N.depthwise_conv2d_native(x, taps, **_settings(strides, padding))
    parts = zip(tf.split(x, groups, -1), tf.split(kernel, groups, -1))
    return tf.concat([_convolved(a, k, strides, padding, dilation) for a, k in parts], -1)


def _convolved(x, kernel, strides, padding, dilation):
    if set(dilation) == {1} and len(strides) == 2:
        return N.conv2d(x, kernel, **_settings(strides, padding))
    x = pad(x, widths=_spread(padding), value=0)
    if set(dilation) == {1}:
        return N.conv3d(x, kernel, [1, *strides, 1], "VALID")
    if len(strides) == 2 and set(strides) == {1}:
        return _dilated(x, kernel, dilation)
    wide = [*[(0, 0, d - 1) for d in dilation], (0, 0, 0), (0, 0, 0)]
    return _convolved(x, pad(kernel, widths=wide, value=0), strides, (), (1,) * len(strides))


def _dilated(x, kernel, dilation):
    """As a convolution of every n-th row and column each, which go to the batch."""
    sizes = dims(x)[1:3]
    out = [n - (w - 1) * d for n, w, d in zip(sizes, kernel.shape, dilation)]
    more = [-n % d for n, d in zip(sizes, dilation)]
    x = A.space_to_batch_nd(x, dilation, [[0, m] for m in more])
    y = N.conv2d(x, kernel, **_settings((1, 1), ()))
    crops = [[0, y.shape[i + 1] * d - n] for i, (d, n) in enumerate(zip(dilation, out))]
    return A.batch_to_space_nd(y, dilation, crops)


def convolution_input_grad(
    g, kernel, *, input_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    if _is_plain(padding, lhs_dilation, rhs_dilation, groups):
        rank, shape = len(strides), input_shape
        if rank == 1:
            strides, padding = (1, *strides), ((0, 0), *padding)
            g, kernel = A.expand_dims(g, 1), A.expand_dims(kernel, 0)
            shape = (shape[0], 1, *shape[1:])
        made = N.conv2d_backprop_input(shape, kernel, g, **_settings(strides, padding))
        return A.squeeze(made, [1]) if rank == 1 else made
    forward = lambda x: convolution(
        x, kernel, strides=strides, padding=padding, lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation, groups=groups,
    )  # fmt: skip
    return _transposed(forward, tf.zeros(input_shape, g.dtype), g)


def convolution_kernel_grad(
    g, x, *, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    if _is_plain(padding, lhs_dilation, rhs_dilation, groups):
        rank, shape = len(strides), kernel_shape
        if rank == 1:
            strides, padding = (1, *strides), ((0, 0), *padding)
            g, x, shape = A.expand_dims(g, 1), A.expand_dims(x, 1), (1, *shape)
        made = N.conv2d_backprop_filter(x, shape, g, **_settings(strides, padding))
        return A.squeeze(made, [0]) if rank == 1 else made
    forward = lambda kernel: convolution(
        x, kernel, strides=strides, padding=padding, lhs_dilation=lhs_dilation,
        rhs_dilation=rhs_dilation, groups=groups,
    )  # fmt: skip
    return _transposed(forward, tf.zeros(kernel_shape, g.dtype), g)


def _transposed(forward, zero, g):
    """The transpose of the linear `forward`, applied to `g`."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(zero)
        y = forward(zero)
    return tape.gradient(y, zero, output_gradients=g)


# Pooling ---------------------------------------------
def _by_rank(kernel):
    """`kernel(x, *others, window, strides)` of two spatial axes, for any number of them.

    Three axes are taken in two turns: rows and columns first, then planes.
    """

    def pooled(x, *, window, strides):
        if len(window) == 1:
            return A.squeeze(kernel(A.expand_dims(x, 1), (1, *window), (1, *strides)), [1])
        if len(window) == 2:
            return kernel(x, window, strides)
        b, d, h, w, c = dims(x)
        x = kernel(A.reshape(x, [b * d, h, w, c]), window[1:], strides[1:])
        _, h, w, _ = dims(x)
        x = kernel(A.reshape(x, [b, d, h * w, c]), (window[0], 1), (strides[0], 1))
        return A.reshape(x, [b, dims(x)[1], h, w, c])

    return pooled


def _sizes(window, strides):
    return [1, *window, 1], [1, *strides, 1], "VALID"


_max = _by_rank(lambda x, window, strides: N.max_pool(x, *_sizes(window, strides)))
_mean = _by_rank(lambda x, window, strides: N.avg_pool(x, *_sizes(window, strides)))


def _lowest(dtype):
    return -math.inf if dtype.is_floating else dtype.min


def _lined(x, padding, value):
    return pad(x, widths=_spread(padding), value=value) if any(map(any, padding)) else tensor(x)


def max_pool(x, *, window, strides, padding):
    if not tf.executing_eagerly() and _is_apart(x, window, strides, padding):

        @tf.custom_gradient
        def pooled(x):
            y = _max(x, window=window, strides=strides)
            return y, lambda g: _max_grad_apart(g, x, y, window)

        return pooled(x)
    return _max(_lined(x, padding, _lowest(x.dtype)), window=window, strides=strides)


def max_pool_grad(g, x, y, *, window, strides, padding):
    if len(window) == 2:
        if _is_apart(x, window, strides, padding):
            return _max_grad_apart(g, x, y, window)
        lined = _lined(x, padding, _lowest(x.dtype))
        made = N.max_pool_grad(lined, y, g, *_sizes(window, strides))
        return _uncovered(made, x, padding)
    forward = lambda x: max_pool(x, window=window, strides=strides, padding=padding)
    return _transposed(forward, tensor(x), g)


def _is_apart(x, window, strides, padding):
    """Whether no two windows meet, and all is known that `_max_grad_apart` asks for."""
    return (
        len(window) == 2
        and tuple(window) == tuple(strides)
        and math.prod(window) <= 128
        and not any(map(any, padding))
        and x.dtype.is_floating
        and None not in x.shape
    )


def _max_grad_apart(g, x, y, window):
    """The derivative where windows do not meet, in half the time of TensorFlow's kernel.

    Each element gets a rank by its place in the window; of those that equal the maximum the one of
    the highest rank, the first, is it.
    """
    (b, h, w, c), (n, m) = x.shape, window
    rows, columns = h // n, w // m
    whole = rows * n == h and columns * m == w
    used = x if whole else A._slice(x, [0, 0, 0, 0], [b, rows * n, columns * m, c])
    spread = lambda v: A.reshape(v, [b, rows, 1, columns, 1, c])
    equal = M.equal(A.reshape(used, [b, rows, n, columns, m, c]), spread(y))
    ranks = tensor(np.arange(n * m, 0, -1).reshape(1, 1, n, 1, m, 1), x.dtype)
    ranked = M.mul(M.cast(equal, x.dtype), ranks)
    first = N.max_pool(A.reshape(ranked, used.shape), *_sizes(window, window))
    first = M.maximum(first, tensor(1, x.dtype))  # none is NaN's equal
    made = M.select_v2(M.equal(ranked, spread(first)), spread(g), tensor(0, x.dtype))
    made = A.reshape(made, used.shape)
    if whole:
        return made
    return A.pad(made, [[0, 0], [0, h - rows * n], [0, w - columns * m], [0, 0]])


def max_pool_pick(h, x, y, *, window, strides, padding):
    if len(window) == 2:
        lined = _lined(x, padding, _lowest(x.dtype)), y, _lined(h, padding, 0)
        return N.max_pool_grad_grad(*lined, *_sizes(window, strides))
    zero = A.zeros_like(y)
    put = lambda g: max_pool_grad(g, x, y, window=window, strides=strides, padding=padding)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(zero)
        made = put(zero)
    return tape.gradient(made, zero, output_gradients=h)


def _uncovered(x, like, padding):
    if not any(map(any, padding)):
        return x
    return pad(x, widths=_spread([(-low, -high) for low, high in padding]), value=0)


def sum_pool(x, *, window, strides, padding):
    x = tensor(x)
    made = _mean(_lined(x, padding, 0), window=window, strides=strides)
    return M.mul(made, tensor(math.prod(window), x.dtype))


def sum_pool_grad(g, *, input_shape, window, strides, padding):
    forward = lambda x: sum_pool(x, window=window, strides=strides, padding=padding)
    if len(window) == 2 and not any(map(any, padding)):
        g = M.mul(g, tensor(math.prod(window), g.dtype))
        return N.avg_pool_grad(input_shape, g, *_sizes(window, strides))
    return _transposed(forward, tf.zeros(input_shape, g.dtype), g)


KERNELS = {
    p.convolution: convolution, p.convolution_input_grad: convolution_input_grad,
    p.convolution_kernel_grad: convolution_kernel_grad, p.max_pool: within(max_pool, tf.bool),
    p.max_pool_grad: max_pool_grad, p.max_pool_pick: max_pool_pick, p.sum_pool: sum_pool,
    p.sum_pool_grad: sum_pool_grad,
}  # fmt: skip
