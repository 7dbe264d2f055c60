"""Convolutions, pools and patches: what slides a window over an image, a sequence or a volume.

All go through primitives whose channels come last and whose padding is explicit; `channels_first`
is a
transposition before and after.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import config
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.core.spec import Unknown, agree

__all__ = [
    "adaptive_average_pool", "adaptive_max_pool", "average_pool", "conv", "conv_transpose",
    "depth_to_space", "depthwise_conv", "fold", "max_pool", "separable_conv", "space_to_depth",
    "unfold",
]  # fmt: skip


# Arguments ----------------------------------------------------------------------------------------
def per_axis(value, rank, name, argument, least=1):
    """`value`, an int or one int for each of `rank` axes, as a tuple."""
    given = (value,) * rank if isinstance(value, (int, np.integer)) else tuple(value)
    if len(given) == 1:
        given *= rank
    if len(given) != rank or not all(
        isinstance(n, (int, np.integer)) and n >= least for n in given
    ):
        raise ValueError(
            f"{name}: {argument} must be an int of at least {least}, or {rank} of them; got "
            f"{value!r}"
        )
    return tuple(map(int, given))


def explicit_padding(padding, sizes, window, strides, dilation, name):
    """(low, high) for each axis, for `"valid"` or `"same"`; the odd element of `same` goes
    behind."""
    kind = padding.lower() if isinstance(padding, str) else padding
    if kind == "valid":
        return ((0, 0),) * len(sizes)
    if kind != "same":
        raise ValueError(f"{name}: padding must be 'valid' or 'same'; got {padding!r}")
    pads = []
    for n, w, s, d in zip(sizes, window, strides, dilation):
        total = max((-(-n // s) - 1) * s + (w - 1) * d + 1 - n, 0)
        pads.append((total // 2, total - total // 2))
    return tuple(pads)


def channels_last(x, data_format):
    """`x` with its channels last, and whether they were first."""
    first = config.standardize_data_format(data_format) == "channels_first"
    return (p.transpose(x, order=(0, *range(2, len(x.shape)), 1)) if first else x), first


def channels_back(y, first):
    """`y` with its channels where they were in the input."""
    rank = len(y.shape)
    return p.transpose(y, order=(0, rank - 1, *range(1, rank - 1))) if first else y


def _check_not_empty(name, x, window, spatial):
    if 0 in spatial and 0 not in x.shape:
        raise ValueError(
            f"{name}: a window of shape {tuple(window)} does not fit into an input of shape "
            f"{tuple(x.shape)} (channels last): the output would be empty"
        )


# Convolutions -------------------------------------------------------------------------------------
@op
def conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """The convolution (correlation) of `inputs` with `kernel` over 1, 2 or 3 spatial axes.

    Args:
        inputs: Array (batch, *spatial, channels), or (batch, channels, *spatial) if
            `channels_first`.
        kernel: Array (*window, channels / groups, filters); its shape says how many groups there
            are.
        strides: Steps of the window: an int or one for each axis.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.
        dilation_rate: Distances between the window's elements.

    Raises:
        ValueError: if the kernel does not fit the channels or the window does not fit into the
            input.

    >>> from oneiros import ops
    >>> ops.conv([[[1.0], [2.0], [4.0]]], [[[1.0]], [[10.0]]]).tolist()
    [[[21.0], [42.0]]]
    """
    x, kernel = promote(array(inputs), array(kernel))
    if not 3 <= len(x.shape) <= 5 or len(kernel.shape) != len(x.shape):
        raise ValueError(
            f"conv: inputs and kernel must have one rank, 3 to 5; got the shapes {tuple(x.shape)} "
            "and "
            f"{tuple(kernel.shape)}"
        )
    x, first = channels_last(x, data_format)
    if not kernel.shape[-2] or x.shape[-1] % kernel.shape[-2]:
        raise ValueError(
            f"conv: the {x.shape[-1]} channels of the input must be a multiple of the kernel's "
            f"{kernel.shape[-2]}; got a kernel of shape {tuple(kernel.shape)}"
        )
    groups = x.shape[-1] // kernel.shape[-2]
    if kernel.shape[-1] % groups:
        raise ValueError(f"conv: {kernel.shape[-1]} filters cannot be shared by {groups} groups")
    y = _convolved("conv", x, kernel, strides, padding, dilation_rate, groups)
    return channels_back(y, first)


def _convolved(name, x, kernel, strides, padding, dilation, groups):
    rank = len(x.shape) - 2
    window = tuple(kernel.shape[:-2])
    strides = per_axis(strides, rank, name, "strides")
    dilation = per_axis(dilation, rank, name, "dilation_rate")
    if max(strides) > 1 and max(dilation) > 1 and name == "conv_transpose":
        raise ValueError(
            f"{name}: strides and dilation_rate cannot both exceed 1; got {strides}, {dilation}"
        )
    if groups == 1 and math.prod(window) == 1:
        return _pointwise(x, kernel, strides)
    pads = explicit_padding(padding, x.shape[1:-1], window, strides, dilation, name)
    places = [
        max(0, n + sum(pad) - (k - 1) * d) if type(n) is int else n
        for n, pad, k, d in zip(x.shape[1:-1], pads, window, dilation)
    ]
    _check_not_empty(name, x, window, places)
    return p.convolution(
        x,
        kernel,
        strides=strides,
        padding=pads,
        lhs_dilation=(1,) * rank,
        rhs_dilation=dilation,
        groups=groups,
    )


def _pointwise(x, kernel, strides):
    """A convolution with a window of one element: a matrix product over the channels."""
    if max(strides) > 1:
        x = p.slice(x, start=(0,) * len(x.shape), stop=tuple(x.shape), strides=(1, *strides, 1))
    kernel = p.reshape(kernel, shape=tuple(kernel.shape[-2:]))
    flat = p.reshape(x, shape=(math.prod(x.shape[:-1]), x.shape[-1]))
    y = p.dot_general(flat, kernel, contract=((1,), (0,)), batch=((), ()))
    return p.reshape(y, shape=(*x.shape[:-1], kernel.shape[-1]))


@op
def depthwise_conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1):
    """The convolution of each channel by itself with its own `multiplier` kernels.

    Args:
        inputs: As in `conv`.
        kernel: Array (*window, channels, multiplier).
        strides, padding, data_format, dilation_rate: As in `conv`.

    >>> from oneiros import ops
    >>> ops.depthwise_conv([[[1.0, 1.0], [2.0, 3.0]]], [[[1.0], [1.0]], [[10.0], [1.0]]]).tolist()
    [[[21.0, 4.0]]]
    """
    x, kernel = promote(array(inputs), array(kernel))
    x, first = channels_last(x, data_format)
    if len(kernel.shape) != len(x.shape) or kernel.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"depthwise_conv: the kernel must have the shape (*window, {x.shape[-1]}, multiplier) "
            "for an input "
            f"of shape {tuple(x.shape)} (channels last); got {tuple(kernel.shape)}"
        )
    window, channels, multiplier = kernel.shape[:-2], kernel.shape[-2], kernel.shape[-1]
    kernel = p.reshape(kernel, shape=(*window, 1, channels * multiplier))
    y = _convolved("depthwise_conv", x, kernel, strides, padding, dilation_rate, channels)
    return channels_back(y, first)


@op
def separable_conv(
    inputs,
    depthwise_kernel,
    pointwise_kernel,
    strides=1,
    padding="valid",
    data_format=None,
    dilation_rate=1,
):
    """`depthwise_conv`, then `conv` with a window of one element.

    >>> from oneiros import ops
    >>> ops.separable_conv([[[1.0], [2.0]]], [[[1.0]], [[10.0]]], [[[2.0]]]).tolist()
    [[[42.0]]]
    """
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(y, pointwise_kernel, 1, "valid", data_format, 1)


@op
def conv_transpose(
    inputs,
    kernel,
    strides=1,
    padding="valid",
    output_padding=None,
    data_format=None,
    dilation_rate=1,
):
    """The transpose of `conv`: what its derivative does to the outputs.

    Args:
        inputs: As in `conv`.
        kernel: Array (*window, filters, channels).
        strides, padding, data_format, dilation_rate: As in `conv`.
        output_padding: Elements more at the end of each axis, or None to multiply the sizes by the
            strides
            (and, without padding, to add what the window exceeds them by).

    >>> from oneiros import ops
    >>> ops.conv_transpose([[[1.0], [2.0]]], [[[1.0]], [[10.0]]], strides=2).tolist()
    [[[1.0], [10.0], [2.0], [20.0]]]
    """
    x, kernel = promote(array(inputs), array(kernel))
    x, first = channels_last(x, data_format)
    if len(kernel.shape) != len(x.shape) or kernel.shape[-1] != x.shape[-1]:
        raise ValueError(
            f"conv_transpose: the kernel must have the shape (*window, filters, {x.shape[-1]}) for "
            "an input "
            f"of shape {tuple(x.shape)} (channels last); got {tuple(kernel.shape)}"
        )
    rank = len(x.shape) - 2
    window = tuple(kernel.shape[:-2])
    strides = per_axis(strides, rank, "conv_transpose", "strides")
    dilation = per_axis(dilation_rate, rank, "conv_transpose", "dilation_rate")
    extra = output_padding
    if extra is None or isinstance(extra, int):
        extra = (extra,) * rank
    sizes, pads = [], []
    for n, w, s, d, more in zip(x.shape[1:-1], window, strides, dilation, extra):
        size = transposed_size(n, w, s, d, padding, more)
        total = max((n - 1) * s + (w - 1) * d + 1 - size, 0)
        low = total // 2 if padding.lower() == "same" else 0
        sizes.append(max(size, 0))
        pads.append((low, total - low))
    y = p.convolution_input_grad(
        x,
        kernel,
        input_shape=(x.shape[0], *sizes, kernel.shape[-2]),
        strides=strides,
        padding=tuple(pads),
        lhs_dilation=(1,) * rank,
        rhs_dilation=dilation,
        groups=1,
    )
    return channels_back(y, first)


def transposed_size(n, window, stride, dilation, padding, output_padding):
    """The length that `conv_transpose` makes of `n`."""
    kind = padding.lower() if isinstance(padding, str) else padding
    if kind not in ("valid", "same"):
        raise ValueError(f"conv_transpose: padding must be 'valid' or 'same'; got {padding!r}")
    span = (window - 1) * dilation + 1
    if output_padding is None:
        return n * stride + (max(span - stride, 0) if kind == "valid" else 0)
    return (n - 1) * stride + span + output_padding - (2 * (span // 2) if kind == "same" else 0)


# Pools --------------------------------------------------------------------------------------------
def _pool(name, pool, inputs, pool_size, strides, padding, data_format):
    """`pool` over windows of `inputs`, and the window, strides, pads and axes it took."""
    x, first = channels_last(inputs, data_format)
    rank = len(x.shape) - 2
    window = per_axis(pool_size, rank, name, "pool_size")
    strides = per_axis(pool_size if strides is None else strides, rank, name, "strides")
    pads = explicit_padding(padding, x.shape[1:-1], window, strides, (1,) * rank, name)
    y = pool(x, window=window, strides=strides, padding=pads)
    _check_not_empty(name, x, window, y.shape[1:-1])
    return y, x, window, strides, pads, first


@op
def max_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """The largest of each window of `inputs`, channel by channel.

    Args:
        inputs: Array (batch, *spatial, channels), or (batch, channels, *spatial) if
            `channels_first`.
        pool_size: The window: an int or one for each spatial axis.
        strides: Steps of the window; `pool_size` if None.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> from oneiros import ops
    >>> ops.max_pool([[[1.0], [5.0], [3.0], [2.0]]], 2).tolist()
    [[[5.0], [3.0]]]
    """
    x = array(inputs)
    dtype = dtype_of(x)
    x = p.cast(x, dtype="uint8") if dtype == "bool" else x
    y, *_, first = _pool("max_pool", p.max_pool, x, pool_size, strides, padding, data_format)
    return channels_back(to_dtype(y, dtype), first)


@op
def average_pool(inputs, pool_size, strides=None, padding="valid", data_format=None):
    """The mean of each window of `inputs`, channel by channel; padding does not count.

    Args:
        inputs, pool_size, strides, padding, data_format: As in `max_pool`.

    >>> from oneiros import ops
    >>> ops.average_pool([[[1.0], [5.0], [3.0]]], 2, padding="same").tolist()
    [[[3.0], [3.0]]]
    """
    y, x, window, strides, pads, first = _pool(
        "average_pool", p.sum_pool, float_of(inputs), pool_size, strides, padding, data_format
    )
    if any(isinstance(n, Unknown) for n in y.shape[1:-1]):
        one = np.ones((), np_dtype(dtype_of(y)))
        ones = p.broadcast_to(one, shape=(1, *x.shape[1:-1], 1))
        y = p.divide(y, p.sum_pool(ones, window=window, strides=strides, padding=pads))
    elif any(map(any, pads)):
        counts = np.ones((), np.float32)
        for n, w, s, (low, _), m in zip(x.shape[1:-1], window, strides, pads, y.shape[1:-1]):
            start = np.arange(m) * s - low
            inside = np.minimum(start + w, n) - np.maximum(start, 0)
            counts = np.multiply.outer(counts, (1 / np.maximum(inside, 1)).astype(np.float32))
        y = p.multiply(y, array(counts[..., None].astype(np_dtype(dtype_of(y)))))
    else:
        y = p.multiply(y, 1 / math.prod(window))
    return channels_back(y, first)


def _edges(n, count):
    """Where each of `count` windows that share `n` elements begins, and where it ends."""
    i = np.arange(count)
    return i * n // count, -((i + 1) * -n // count)


def _adaptive(name, inputs, output_size, data_format, reduce):
    x, first = channels_last(inputs, data_format)
    rank = len(x.shape) - 2
    sizes = per_axis(output_size, rank, name, "output_size")
    for axis, count in enumerate(sizes, 1):
        if count != x.shape[axis]:
            x = reduce(x, axis, count)
    return channels_back(x, first)


def _mean_of_windows(x, axis, count):
    n = x.shape[axis]
    start, stop = _edges(n, count)
    place = np.arange(n)
    inside = (place >= start[:, None]) & (place < stop[:, None])  # (windows, places)
    weights = array((inside / (stop - start)[:, None]).astype(np_dtype(dtype_of(x))))
    y = p.dot_general(x, weights, contract=((axis,), (1,)), batch=((), ()))
    last = len(x.shape) - 1
    return p.transpose(y, order=(*range(axis), last, *range(axis, last)))


def _max_of_windows(x, axis, count):
    start, stop = _edges(x.shape[axis], count)
    width = int((stop - start).max())
    places = np.minimum(start[:, None] + np.arange(width), stop[:, None] - 1).astype(np.int32)
    return p.reduce_max(p.take(x, array(places), axis=axis), axes=(axis + 1,))


@op
def adaptive_average_pool(inputs, output_size, data_format=None):
    """The means of as many windows as `output_size` says, which share each axis as evenly as can
    be.

    >>> from oneiros import ops
    >>> ops.adaptive_average_pool([[[1.0], [5.0], [3.0]]], 2).tolist()
    [[[3.0], [4.0]]]
    """
    inputs = array(inputs)
    return _adaptive("adaptive_average_pool", inputs, output_size, data_format, _mean_of_windows)


@op
def adaptive_max_pool(inputs, output_size, data_format=None):
    """The largest of as many windows as `output_size` says, which share each axis as evenly as can
    be.

    >>> from oneiros import ops
    >>> ops.adaptive_max_pool([[[1.0], [5.0], [3.0]]], 2).tolist()
    [[[5.0], [5.0]]]
    """
    inputs = array(inputs)
    return _adaptive("adaptive_max_pool", inputs, output_size, data_format, _max_of_windows)


# Patches ------------------------------------------------------------------------------------------
def _unfold_sizes(name, size, kernel_size, dilation, padding, stride):
    window = per_axis(kernel_size, 2, name, "kernel_size")
    dilation = per_axis(dilation, 2, name, "dilation")
    padding = per_axis(padding, 2, name, "padding", least=0)
    stride = per_axis(stride, 2, name, "stride")
    counts = tuple(
        (n + 2 * q - (w - 1) * d - 1) // s + 1
        for n, w, d, q, s in zip(size, window, dilation, padding, stride)
    )
    if min(counts) < 1:
        raise ValueError(f"{name}: a window of {window} does not fit into images of {tuple(size)}")
    return window, dilation, padding, stride, counts


@op
def unfold(x, kernel_size, dilation=1, padding=0, stride=1):
    """The windows of images as columns: (batch, channels * window, windows).

    Args:
        x: Array (batch, channels, height, width).
        kernel_size, dilation, padding, stride: An int or two.

    >>> from oneiros import ops
    >>> ops.unfold([[[[1.0, 2.0], [3.0, 4.0]]]], (1, 2)).tolist()
    [[[1.0, 3.0], [2.0, 4.0]]]
    """
    x = array(x)
    if len(x.shape) != 4:
        raise ValueError(
            f"unfold: x must have 4 axes (batch, channels, height, width); got {tuple(x.shape)}"
        )
    batch, channels = x.shape[:2]
    window, dilation, padding, stride, counts = _unfold_sizes(
        "unfold", x.shape[2:], kernel_size, dilation, padding, stride
    )
    if any(padding):
        x = p.pad(x, widths=((0, 0, 0), (0, 0, 0), *((q, q, 0) for q in padding)), value=0)
    parts = []
    for i in np.ndindex(*window):
        start = [k * d for k, d in zip(i, dilation)]
        stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, counts, stride)]
        part = p.slice(
            x, start=(0, 0, *start), stop=(batch, channels, *stop), strides=(1, 1, *stride)
        )
        parts.append(p.reshape(part, shape=(batch, channels, 1, math.prod(counts))))
    y = p.concatenate(*parts, axis=2) if len(parts) > 1 else parts[0]
    return p.reshape(y, shape=(batch, channels * math.prod(window), math.prod(counts)))


@op
def fold(x, output_size, kernel_size, dilation=1, padding=0, stride=1):
    """Images as the sums of their windows: the transpose of `unfold`.

    Args:
        x: Array (batch, channels * window, windows).
        output_size: Height and width of the images: an int or two.
        kernel_size, dilation, padding, stride: An int or two.

    >>> from oneiros import ops
    >>> ops.fold([[[1.0, 3.0], [2.0, 4.0]]], (2, 2), (1, 2)).tolist()
    [[[[1.0, 2.0], [3.0, 4.0]]]]
    """
    x = array(x)
    size = per_axis(output_size, 2, "fold", "output_size")
    window, dilation, padding, stride, counts = _unfold_sizes(
        "fold", size, kernel_size, dilation, padding, stride
    )
    places = math.prod(window)
    if (
        len(x.shape) != 3
        or (x.shape[1] % places and not isinstance(x.shape[1], Unknown))
        or not agree(x.shape[2], math.prod(counts))
    ):
        raise ValueError(
            f"fold: x must have the shape (batch, channels * {places}, {math.prod(counts)}) for "
            "images of "
            f"{size} and windows of {window}; got {tuple(x.shape)}"
        )
    batch, channels = x.shape[0], x.shape[1] // places
    x = p.reshape(x, shape=(batch, channels, places, *counts))
    y = None
    for k, i in enumerate(np.ndindex(*window)):
        part = p.slice(
            x, start=(0, 0, k, 0, 0), stop=(batch, channels, k + 1, *counts), strides=(1,) * 5
        )
        widths = []
        for j, d, q, s, n, m in zip(i, dilation, padding, stride, counts, size):
            low = j * d - q
            widths.append((low, m - low - (n - 1) * s - 1, s - 1))
        part = p.reshape(part, shape=(batch, channels, *counts))
        part = p.pad(part, widths=((0, 0, 0), (0, 0, 0), *widths), value=0)
        y = part if y is None else y + part
    return y


def _checked_blocks(name, x, block_size):
    x = array(x)
    if not isinstance(block_size, (int, np.integer)) or isinstance(block_size, bool):
        raise TypeError(f"{name}: block_size must be an int; got {block_size!r}")
    if block_size < 2:
        raise ValueError(f"{name}: block_size must be at least 2; got {block_size}")
    if len(x.shape) != 4:
        raise ValueError(f"{name}: x must have 4 axes; got shape {tuple(x.shape)}")
    return x


@op
def depth_to_space(x, block_size, data_format="channels_last"):
    """Channels laid out as blocks of `block_size` times `block_size` pixels.

    The place in the block varies slowest among channels that come last, fastest among those that
    come first.

    >>> from oneiros import ops
    >>> ops.depth_to_space([[[[1.0, 2.0, 3.0, 4.0]]]], 2).tolist()
    [[[[1.0], [2.0]], [[3.0], [4.0]]]]
    """
    x = _checked_blocks("depth_to_space", x, block_size)
    first = config.standardize_data_format(data_format) == "channels_first"
    batch, *size = x.shape
    depth = size.pop(0 if first else 2)
    if depth % block_size**2 and not isinstance(depth, Unknown):
        raise ValueError(
            f"depth_to_space: {depth} channels are no multiple of block_size**2, {block_size**2}"
        )
    height, width = size
    rest, b = depth // block_size**2, block_size
    if first:
        x = p.reshape(x, shape=(batch, rest, b, b, height, width))
        x = p.transpose(x, order=(0, 1, 4, 2, 5, 3))
        return p.reshape(x, shape=(batch, rest, height * b, width * b))
    x = p.reshape(x, shape=(batch, height, width, b, b, rest))
    x = p.transpose(x, order=(0, 1, 3, 2, 4, 5))
    return p.reshape(x, shape=(batch, height * b, width * b, rest))


@op
def space_to_depth(x, block_size, data_format="channels_last"):
    """Blocks of `block_size` times `block_size` pixels as channels.

    >>> from oneiros import ops
    >>> ops.space_to_depth([[[[1.0], [2.0]], [[3.0], [4.0]]]], 2).tolist()
    [[[[1.0, 2.0, 3.0, 4.0]]]]
    """
    x = _checked_blocks("space_to_depth", x, block_size)
    first = config.standardize_data_format(data_format) == "channels_first"
    batch, *size = x.shape
    depth = size.pop(0 if first else 2)
    height, width = size
    if height % block_size or width % block_size:
        raise ValueError(
            f"space_to_depth: images of {height}x{width} do not split into blocks of {block_size}"
        )
    b = block_size
    height, width = height // b, width // b
    if first:
        x = p.reshape(x, shape=(batch, depth, height, b, width, b))
        x = p.transpose(x, order=(0, 1, 3, 5, 2, 4))
        return p.reshape(x, shape=(batch, depth * b * b, height, width))
    x = p.reshape(x, shape=(batch, height, b, width, b, depth))
    x = p.transpose(x, order=(0, 1, 3, 2, 4, 5))
    return p.reshape(x, shape=(batch, height, width, depth * b * b))
