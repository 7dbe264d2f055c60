"""TensorFlow's ops for composites called eagerly, where the body would call many small ones.

A kernel has the op's own signature and gives NotImplemented where it does not do what the op says.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.python.ops import gen_array_ops as A
from tensorflow.python.ops import gen_image_ops as I
from tensorflow.python.ops import gen_math_ops as M
from tensorflow.python.ops import gen_nn_ops as N

from oneiros.core import config
from oneiros.core.symbol import Symbol

__all__ = ["ACCEPTS", "FASTER"]

FLOATS = (tf.float32, tf.float64)


def fits(x, rank=None):
    """Whether `x` is a tensor of a usual floating dtype, not empty, of known sizes."""
    if not isinstance(x, tf.Tensor) or x.dtype not in FLOATS or not x.shape.is_fully_defined():
        return False
    return 0 not in x.shape and (rank is None or len(x.shape) == rank)


# Reductions ----------------------------------------------
def over(f):
    """`f(x, axes, keepdims)` for floats."""

    def kernel(x, axis=None, keepdims=False):
        if not fits(x):
            return NotImplemented
        rank = len(x.shape)
        axes = range(rank) if axis is None else (axis,) if type(axis) is int else axis
        if not axes or any(type(a) is not int or not -rank <= a < rank for a in axes):
            return NotImplemented
        return f(x, axis if type(axis) is int else list(axes), keepdims)

    return kernel


def total(x, axis, keepdims):
    return M._sum(x, axis, keepdims)


def var(x, axis, keepdims):
    return M.mean(M.squared_difference(x, M.mean(x, axis, True)), axis, keepdims)


def logsumexp(x, axis, keepdims):
    top = A.stop_gradient(M._max(x, axis, True))
    top = A.stop_gradient(M.maximum(M.minimum(top, x.dtype.max), x.dtype.min))
    found = M.log(M._sum(M.exp(M.sub(x, top)), axis, True))
    found = M.add_v2(found, top)
    return found if keepdims else A.squeeze(found, [axis] if type(axis) is int else list(axis))


def norm(x, ord=None, axis=None, keepdims=False):
    if ord is not None or type(axis) is not int or not fits(x):
        return NotImplemented
    return M.sqrt(M._sum(M.square(x), axis, keepdims))


# Normalizations ------------------------------------------
def layer_normalization(x, gamma=None, beta=None, axis=-1, epsilon=None, **kwargs):
    if kwargs or axis not in (-1, (-1,), [-1]) or not fits(x):
        return NotImplemented
    if any(v is not None and (not fits(v, 1) or v.dtype != x.dtype) for v in (gamma, beta)):
        return NotImplemented
    moved = M.sub(x, M.mean(x, -1, True))
    epsilon = config.epsilon() if epsilon is None else epsilon
    scale = M.rsqrt(M.add_v2(M.mean(M.square(moved), -1, True), epsilon))
    y = M.mul(moved, scale if gamma is None else M.mul(scale, gamma))
    return y if beta is None else M.add_v2(y, beta)


def batch_normalization(x, mean, variance, axis, offset=None, scale=None, epsilon=0.001):
    last = fits(x) and axis in (-1, len(x.shape) - 1)
    rows = [v for v in (mean, variance, offset, scale) if v is not None]
    if not last or any(not fits(v, 1) or v.dtype != x.dtype for v in rows):
        return NotImplemented
    factor = M.rsqrt(M.add_v2(variance, epsilon))
    factor = factor if scale is None else M.mul(factor, scale)
    y = M.mul(M.sub(x, mean), factor)
    return y if offset is None else M.add_v2(y, offset)


def dot_product_attention(
    query, key, value, bias=None, mask=None, scale=None, is_causal=False, flash_attention=None,
    attn_logits_soft_cap=None,
):  # fmt: skip
    plain = bias is None and mask is None and not is_causal and attn_logits_soft_cap is None
    same = all(fits(v, 4) and v.dtype == query.dtype for v in (query, key, value))
    if not plain or flash_attention or not same or query.shape[2] != key.shape[2]:
        return NotImplemented
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    by_head = M.mul(A.transpose(query, (0, 2, 1, 3)), scale)
    scores = M.batch_mat_mul_v2(by_head, A.transpose(key, (0, 2, 3, 1)))
    mixed = M.batch_mat_mul_v2(N.softmax(scores), A.transpose(value, (0, 2, 1, 3)))
    return A.transpose(mixed, (0, 2, 1, 3))


# Windows and images --------------------------------------
def average_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    last = (data_format or config.image_data_format()) == "channels_last"
    if not last or not fits(inputs, 4) or padding not in ("same", "valid"):
        return NotImplemented
    size, step = (
        (x, x) if type(x) is int else x
        for x in (pool_size, pool_size if strides is None else strides)
    )
    plain = all(type(x) in (tuple, list) and len(x) == 2 for x in (size, step))
    if not plain or padding == "valid" and any(n < k for n, k in zip(inputs.shape[1:3], size)):
        return NotImplemented
    return N.avg_pool(inputs, [1, *size, 1], [1, *step, 1], padding.upper())


def resize(
    images, size, interpolation="bilinear", antialias=False, crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False, fill_mode="constant", fill_value=0.0, data_format=None,
):  # fmt: skip
    plain = not (antialias or crop_to_aspect_ratio or pad_to_aspect_ratio)
    last = (data_format or config.image_data_format()) == "channels_last"
    pair = type(size) in (tuple, list) and [type(n) for n in size] == [int, int]
    if not plain or not last or not pair or interpolation != "bilinear" or min(size) < 1:
        return NotImplemented
    if not isinstance(images, tf.Tensor) or images.dtype != tf.float32 or not fits(images, 4):
        return NotImplemented
    return I.resize_bilinear(images, size, half_pixel_centers=True)


def resize_kept(images, size, interpolation, antialias, crop, pad, mode, value, data_format):
    """Whether `resize` does what the op says in a traced step too."""
    plain = not (antialias or crop or pad) and interpolation == "bilinear" and len(size) == 2
    usual = isinstance(images, Symbol) and images.dtype == "float32" and len(images.shape) == 4
    last = (data_format or config.image_data_format()) == "channels_last"
    return plain and usual and last and 0 not in images.shape


FASTER = {
    "sum": over(total), "mean": over(M.mean), "var": over(var), "logsumexp": over(logsumexp),
    **{
        f.__name__: f
        for f in (
            norm, layer_normalization, batch_normalization, dot_product_attention, average_pool,
            resize,
        )
    },
}  # fmt: skip
ACCEPTS = {"resize": resize_kept}
