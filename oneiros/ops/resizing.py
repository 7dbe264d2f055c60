"""Resizing: each axis of an image is a product with a matrix of weights."""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import config
from oneiros.core import primitives as p
from oneiros.core.dtypes import is_float, np_dtype
from oneiros.core.op import array, dtype_of, float_of, op, to_dtype
from oneiros.core.spec import Unknown
from oneiros.ops.common import wide
from oneiros.ops.control import saturate_cast

__all__ = ["resize", "scale_and_translate"]


# Batches and channels -----------------------------------------------------------------------------
def batch_of(name, images, data_format, rank=4):
    """`images` as a batch with channels last, and a function that brings results back to the given
    form."""
    x = array(images)
    if len(x.shape) not in (rank - 1, rank):
        raise ValueError(
            f"{name}: images must have rank {rank - 1} (one) or {rank} (a batch); got shape "
            f"{tuple(x.shape)}"
        )
    first = config.standardize_data_format(data_format) == "channels_first"
    alone = len(x.shape) == rank - 1
    if alone:
        x = p.reshape(x, shape=(1, *x.shape))
    if first:
        x = p.transpose(x, order=(0, *range(2, rank), 1))

    def back(y):
        if first:
            y = p.transpose(y, order=(0, rank - 1, *range(1, rank - 1)))
        return p.reshape(y, shape=tuple(y.shape[1:])) if alone else y

    return x, back


def like(y, dtype):
    """`y` as `dtype`: integers are rounded and kept in their range."""
    return to_dtype(y, dtype) if is_float(dtype) else saturate_cast(p.round(y), dtype)


def cut(x, axis, start, stop):
    rank = len(x.shape)
    return p.slice(
        x,
        start=tuple(start if i == axis else 0 for i in range(rank)),
        stop=tuple(stop if i == axis else n for i, n in enumerate(x.shape)),
        strides=(1,) * rank,
    )


# Resizing -----------------------------------------------------------------------------------------
def _cubic(x):
    """Keys's cubic convolution kernel with a = -1/2 (1981)."""
    near = ((1.5 * x - 2.5) * x) * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x >= 2, 0, np.where(x >= 1, far, near))


def _lanczos(radius):
    def kernel(x):
        y = radius * np.sin(np.pi * x) * np.sin(np.pi * x / radius)
        return np.where(
            x > 1e-3, np.where(x > radius, 0, y / np.where(x != 0, np.pi**2 * x**2, 1)), 1
        )

    return kernel


KERNELS = {
    "linear": lambda x: np.maximum(0, 1 - x),
    "cubic": _cubic,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}
METHODS = {
    "nearest": "nearest",
    "bilinear": "linear",
    "bicubic": "cubic",
    "lanczos3": "lanczos3",
    "lanczos5": "lanczos5",
}
SYNONYMS = {
    "linear": "linear",
    "triangle": "linear",
    "trilinear": "linear",
    "cubic": "cubic",
    "tricubic": "cubic",
}


def _weights(n, size, scale, translation, kernel, antialias):
    """How much of each of `n` places goes into each of `size`: (n, size). Rows outside of the image
    are 0."""
    stretch = max(1 / scale, 1.0) if antialias else 1.0
    centers = (np.arange(size) + 0.5) / scale - translation / scale - 0.5
    distance = np.abs(centers[None, :] - np.arange(n)[:, None]) / stretch
    weights = KERNELS[kernel](distance)
    total = weights.sum(axis=0, keepdims=True)
    large = np.abs(total) > 1000 * np.finfo(np.float32).eps
    weights = np.where(large, weights / np.where(total != 0, total, 1), 0)
    inside = (centers >= -0.5) & (centers <= n - 0.5)
    return np.where(inside[None, :], weights, 0)


def _weighted(x, axis, weights):
    """`x` with its axis of n places replaced by the sums that `weights` (n, size) makes of them."""
    y = p.dot_general(x, weights, contract=((axis,), (0,)), batch=((), ()))
    last = len(x.shape) - 1
    return y if axis == last else p.transpose(y, order=(*range(axis), last, *range(axis, last)))


def _nearest(x, axis, size):
    n = x.shape[axis]
    places = np.floor((np.arange(size) + 0.5) * (n / size)).astype(np.int32)
    return p.take(x, array(np.minimum(places, max(n - 1, 0))), axis=axis)


@op
def resize(
    images,
    size,
    interpolation="bilinear",
    antialias=False,
    crop_to_aspect_ratio=False,
    pad_to_aspect_ratio=False,
    fill_mode="constant",
    fill_value=0.0,
    data_format=None,
):
    """`images` in another size.

    Args:
        images: Image or batch of images.
        size: (height, width).
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        antialias: Whether to average when the image shrinks.
        crop_to_aspect_ratio: Whether to cut off what exceeds the new aspect ratio first.
        pad_to_aspect_ratio: Whether to fill up to the new aspect ratio with `fill_value` first.
        fill_mode: `"constant"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> from oneiros import ops
    >>> ops.image.resize([[[0.0], [4.0]]], (1, 4)).tolist()
    [[[0.0], [1.0], [3.0], [4.0]]]
    """
    if len(size) != 2:
        raise ValueError(f"resize: size must be a pair (height, width); got {size!r}")
    if interpolation not in METHODS:
        raise ValueError(
            f"resize: interpolation must be one of {tuple(METHODS)}; got {interpolation!r}"
        )
    if fill_mode != "constant":
        raise ValueError(f"resize: fill_mode must be 'constant'; got {fill_mode!r}")
    if crop_to_aspect_ratio and pad_to_aspect_ratio:
        raise ValueError(
            "resize: only one of crop_to_aspect_ratio and pad_to_aspect_ratio can be true"
        )
    x, back = batch_of("resize", images, data_format)
    height, width = map(int, size)
    dtype = dtype_of(x)
    if crop_to_aspect_ratio or pad_to_aspect_ratio:
        x = _reshaped(x, height, width, min if crop_to_aspect_ratio else max, fill_value)
    method = METHODS[interpolation]
    if method == "nearest":
        y = _nearest(_nearest(x, 1, height), 2, width)
        return back(y)
    y = wide(float_of(x))
    for axis, m in ((1, height), (2, width)):
        n = x.shape[axis]
        if n != m:
            weights = _weights(n, m, m / max(n, 1), 0.0, method, antialias)
            y = _weighted(y, axis, array(weights.astype(np_dtype(dtype_of(y)))))
    return back(like(y, dtype))


def _reshaped(x, height, width, choose, fill_value):
    """`x` cut (`choose` is min) or filled up (max) around its middle to the aspect ratio of height
    to width."""
    for axis, n, m, ratio in (
        (1, x.shape[1], x.shape[2], (height, width)),
        (2, x.shape[2], x.shape[1], (width, height)),
    ):
        wanted = choose(n, int(float(m * ratio[0]) / ratio[1]))
        if wanted < n:
            start = int(float(n - wanted) / 2)
            x = cut(x, axis, start, start + wanted)
        elif wanted > n:
            low = int(float(wanted - n) / 2)
            widths = [(0, 0, 0)] * 4
            widths[axis] = (low, low, 0)  # as much on both sides, as in Keras
            value = fill_value if is_float(dtype_of(x)) else int(fill_value)
            x = p.pad(x, widths=tuple(widths), value=value)
    return x


@op
def scale_and_translate(
    images, output_shape, scale, translation, spatial_dims, method, antialias=True
):
    """`images` scaled and moved along some axes: place `i` of the input comes to `i * scale +
    translation`.

    Args:
        images: Array.
        output_shape: The shape of the result.
        scale, translation: Numbers for each of `spatial_dims`.
        spatial_dims: The axes.
        method: `"linear"`, `"bilinear"`, `"trilinear"`, `"triangle"`, `"cubic"`, `"bicubic"`,
            `"tricubic"`,
            `"lanczos3"` or `"lanczos5"`.
        antialias: Whether to average when the image shrinks.

    >>> from oneiros import ops
    >>> ops.image.scale_and_translate([1.0, 2.0, 3.0], (3,), [1.0], [1.0], (0,), "linear").tolist()
    [0.0, 1.0, 2.0]
    """
    kernel = SYNONYMS.get(method) or METHODS.get(method)
    if kernel not in KERNELS:
        known = sorted({*SYNONYMS, *METHODS} - {"nearest"})
        raise ValueError(f"scale_and_translate: method must be one of {known}; got {method!r}")
    images = array(images)
    y, dtype = wide(float_of(images)), dtype_of(images)
    scale, translation = (_numbers(v) for v in (scale, translation))
    for i, axis in enumerate(spatial_dims):
        axis %= len(y.shape)
        n, m = y.shape[axis], output_shape[axis]
        if isinstance(scale, np.ndarray) and isinstance(translation, np.ndarray):
            weights = _weights(n, m, float(scale[i]), float(translation[i]), kernel, antialias)
            weights = array(weights.astype(np_dtype(dtype_of(y))))
        else:
            weights = _symbolic_weights(
                n, m, _item(scale, i), _item(translation, i), kernel, antialias
            )
            weights = to_dtype(weights, dtype_of(y))
        y = _weighted(y, axis, weights)
    if any(isinstance(n, Unknown) for n in y.shape):  # what is not known yet is as was said
        y = p.reshape(y, shape=tuple(map(int, output_shape)))
    return like(y, dtype)


def _numbers(values):
    """`values` on the host if they are known, else as an array."""
    if isinstance(values, (list, tuple)) and all(isinstance(v, (int, float)) for v in values):
        return np.asarray(values, np.float64)
    values = values if isinstance(values, np.ndarray) else array(values)
    return values.astype(np.float64) if isinstance(values, np.ndarray) else values


def _item(values, i):
    """Element `i` of a vector, as an array of shape (1, 1)."""
    values = to_dtype(array(values), "float32")
    return p.reshape(p.slice(values, start=(i,), stop=(i + 1,), strides=(1,)), shape=(1, 1))


def _symbolic_weights(n, size, scale, translation, kernel, antialias):
    """As `_weights`, for a scale and a translation that are not known yet: read from a table of the
    kernel."""
    back = p.divide(1.0, scale)
    stretch = p.maximum(back, 1.0) if antialias else p.add(p.multiply(back, 0.0), 1.0)
    columns = p.add(p.iota(shape=(1, size), axis=1, dtype="float32"), 0.5)
    centers = p.subtract(p.subtract(p.multiply(columns, back), p.multiply(translation, back)), 0.5)
    rows = p.iota(shape=(n, 1), axis=0, dtype="float32")
    distance = p.divide(p.abs(p.subtract(centers, rows)), stretch)
    weights = SYMBOLIC[kernel](distance)
    total = p.reshape(p.reduce_sum(weights, axes=(0,)), shape=(1, size))
    large = p.greater(p.abs(total), 1000 * float(np.finfo(np.float32).eps))
    weights = p.select(large, p.divide(weights, p.select(large, total, 1.0)), 0.0)
    inside = p.logical_and(p.greater_equal(centers, -0.5), p.less_equal(centers, n - 0.5))
    return p.select(inside, weights, 0.0)


def _symbolic_cubic(x):
    square = p.multiply(x, x)
    near = p.add(p.multiply(p.add(p.multiply(x, 1.5), -2.5), square), 1.0)
    far = p.add(p.multiply(p.add(p.multiply(p.add(p.multiply(x, -0.5), 2.5), x), -4.0), x), 2.0)
    return p.select(p.greater_equal(x, 2.0), 0.0, p.select(p.greater_equal(x, 1.0), far, near))


def _symbolic_lanczos(radius):
    def kernel(x):
        away = p.greater(x, 1e-3)
        safe = p.select(away, x, 1.0)
        sines = p.multiply(
            p.sin(p.multiply(safe, math.pi)), p.sin(p.multiply(safe, math.pi / radius))
        )
        y = p.divide(p.multiply(sines, radius / math.pi**2), p.multiply(safe, safe))
        return p.select(away, p.select(p.greater(x, float(radius)), 0.0, y), 1.0)

    return kernel


SYMBOLIC = {
    "linear": lambda x: p.maximum(p.subtract(1.0, x), 0.0),
    "cubic": _symbolic_cubic,
    "lanczos3": _symbolic_lanczos(3),
    "lanczos5": _symbolic_lanczos(5),
}
