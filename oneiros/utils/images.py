"""Pictures in files as arrays, and back (by Pillow)."""

from __future__ import annotations

import functools
import io
import os
import pathlib
import warnings

import numpy as np

from oneiros.core import config
from oneiros.core.dtypes import np_dtype

__all__ = ["array_to_img", "img_to_array", "load_img", "resized", "save_img", "smart_resize"]

MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")
BLOCK = 24_000  # numbers at a time: they stay in the cache, and in memory that is used again
DEEP = ("I;16", "I;16L", "I;16B", "I")  # gray with more than 8 bits


def pillow():
    """Pillow's module, or an error that says how to get it."""
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("pictures in files need Pillow: pip install oneiros[images]") from None
    return Image


def load_img(
    path, color_mode="rgb", target_size=None, interpolation="nearest", keep_aspect_ratio=False
):
    """The picture in a file, as a Pillow image.

    Args:
        path: Of the file; or an `io.BytesIO` of what is in it.
        color_mode: `"grayscale"`, `"rgb"` or `"rgba"`.
        target_size: (height, width) to bring it to.
        interpolation: One of Pillow's: `"nearest"`, `"bilinear"`, `"bicubic"`, `"hamming"`,
            `"box"`, `"lanczos"`.
        keep_aspect_ratio: Whether to cut it to the ratio of `target_size` first.

    >>> import io
    >>> from oneiros import utils
    >>> file = io.BytesIO()
    >>> utils.save_img(file, [[[0], [255]]], file_format="png", scale=False)
    >>> utils.load_img(file, target_size=(4, 8)).size
    (8, 4)

    Raises:
        ValueError: for an unknown mode or interpolation, and for a file that holds no picture.
        TypeError: if `path` is neither a path nor a BytesIO.
    """
    if color_mode not in MODES:
        raise ValueError(f"`color_mode` must be one of {tuple(MODES)}; got {color_mode!r}")
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"`interpolation` must be one of {INTERPOLATIONS}; got {interpolation!r}")
    image = _opened(path)
    if image.mode != MODES[color_mode] and not (color_mode == "grayscale" and image.mode in DEEP):
        image = image.convert(MODES[color_mode])
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    height, width = target_size
    box = None
    if keep_aspect_ratio:
        w, h = image.size
        crop_h, crop_w = min(h, int(w * height / width)), min(w, int(h * width / height))
        left, top = (w - crop_w) // 2, (h - crop_h) // 2
        box = (left, top, left + crop_w, top + crop_h)
    return image.resize((width, height), getattr(pillow().Resampling, interpolation.upper()), box)


def _opened(path):
    """A file's picture, read whole."""
    if isinstance(path, (str, bytes, os.PathLike)):
        path = pathlib.Path(os.fsdecode(path)).expanduser()
        content = io.BytesIO(path.read_bytes())
    elif isinstance(path, io.BytesIO):
        content = path
    else:
        raise TypeError(f"`path` must be a path or io.BytesIO; got {type(path).__name__}")
    shown = path if isinstance(path, pathlib.Path) else "the file given"
    try:
        image = pillow().open(content)
        image.load()
    except (OSError, SyntaxError, EOFError, pillow().DecompressionBombError) as error:
        raise ValueError(f"{shown} holds no picture that can be read: {error}") from None
    return image


def save_img(path, x, data_format=None, file_format=None, scale=True, **kwargs):
    """Write an array as a picture.

    Args:
        path: Of the file, or an open one.
        x: As in `array_to_img`, with `data_format` and `scale`.
        file_format: Such as "png"; what the path's ending says if None.
        **kwargs: Options of Pillow's `Image.save`.

    Raises:
        ValueError: if neither the path nor `file_format` names a format.
    """
    image = array_to_img(x, data_format, scale)
    file_format = "jpeg" if str(file_format).lower() == "jpg" else file_format
    ending = os.fspath(path).lower() if isinstance(path, (str, os.PathLike)) else ""
    if image.mode == "RGBA" and (file_format == "jpeg" or ending.endswith((".jpg", ".jpeg"))):
        warnings.warn("a JPEG file keeps no transparency: saved as RGB", stacklevel=2)
        image = image.convert("RGB")
    image.save(path, format=file_format, **kwargs)


def array_to_img(x, data_format=None, scale=True, dtype=None):
    """An array (height, width, channels) as a Pillow image: gray, RGB or RGBA.

    Args:
        data_format: Where the channels are; the session's setting if None.
        scale: Whether to stretch the values to 0 ... 255; else they are taken as such.
        dtype: In which the values are scaled; the default dtype if None.

    >>> from oneiros import utils
    >>> utils.array_to_img([[[0.0], [0.5], [1.0]]]).getpixel((1, 0))
    127

    Raises:
        ValueError: if it is not one image of 1, 3 or 4 channels.
    """
    x = _host(x).astype(np_dtype(dtype or config.floatx()))
    if x.ndim != 3:
        raise ValueError(f"x must be one image of rank 3; got an array of shape {x.shape}")
    if config.standardize_data_format(data_format) == "channels_first":
        x = x.transpose(1, 2, 0)
    if scale:
        x = x - x.min()
        top = x.max()
        x = (x / top if top else x) * 255
    image = pillow()
    if x.shape[2] == 1:
        deep = x.max() > 255
        return image.fromarray(x[..., 0].astype("int32" if deep else "uint8"))
    if x.shape[2] not in (3, 4):
        raise ValueError(f"an image has 1, 3 or 4 channels; got an array of shape {x.shape}")
    return image.fromarray(x.astype("uint8"))


def img_to_array(img, data_format=None, dtype=None):
    """A Pillow image (or array) as an array with an axis of channels.

    Args:
        data_format: Where the channels go; the session's setting if None.
        dtype: Of the array; the default dtype if None.

    >>> import numpy as np
    >>> from oneiros import utils
    >>> utils.img_to_array(np.zeros((2, 3))).shape
    (2, 3, 1)

    Raises:
        ValueError: if it has neither two nor three axes.
    """
    first = config.standardize_data_format(data_format) == "channels_first"
    x = np.asarray(_host(img), np_dtype(dtype or config.floatx()))
    if x.ndim == 2:
        return x[None] if first else x[..., None]
    if x.ndim != 3:
        raise ValueError(f"an image has two or three axes; got an array of shape {x.shape}")
    return x.transpose(2, 0, 1) if first else x


def _host(x):
    from oneiros.core import backend

    return np.asarray(x) if hasattr(x, "getbands") else np.asarray(backend.to_numpy(x))


# Resizing -----------------------------------------------------------------------------------------
def smart_resize(x, size, interpolation="bilinear", data_format="channels_last", **kwargs):
    """An image, or a batch of one size, resized without distortion: cut to the new ratio first.

    Args:
        size: (height, width).
        interpolation: As in `ops.image.resize`.

    >>> import numpy as np
    >>> from oneiros.preprocessing import image
    >>> image.smart_resize(np.zeros((6, 9, 3)), (2, 2)).shape
    (2, 2, 3)

    Raises:
        ValueError: if `size` is no pair, or `x` no image or batch.
    """
    from oneiros import ops
    from oneiros.core import backend

    if len(size) != 2:
        raise ValueError(f"`size` must be a pair (height, width); got {size}")
    host = isinstance(x, (np.ndarray, list, tuple))
    if isinstance(x, np.ndarray) and x.dtype == np.float64 or not hasattr(x, "shape"):
        x = np.asarray(x, np_dtype(config.floatx()))
    if len(x.shape) not in (3, 4):
        raise ValueError(
            "x must be an image (height, width, channels) or a batch (batch, height, width, "
            f"channels); got shape {tuple(x.shape)}"
        )
    y = ops.image.resize(
        x, size, interpolation=interpolation, crop_to_aspect_ratio=True, data_format=data_format
    )
    return backend.to_numpy(y) if host else y


def resized(x, size, interpolation="bilinear", crop=False, pad=False):
    """One NumPy image (height, width, channels) resized on the host, in float32 unless `"nearest"`.

    As by `ops.image.resize`, which a backend that compiles would make anew for each picture's size.
    """
    height, width = size
    if pad:  # what fits into the size, and zeros around it
        shrink = max(x.shape[0] / height, x.shape[1] / width)
        inner = [n / shrink for n in x.shape[:2]]
        y = resized(x, [max(int(n), 1) for n in inner], interpolation)
        low = [int((n - m) / 2) for n, m in zip(size, inner)]
        widths = [(a, n - m - a) for a, n, m in zip(low, size, y.shape)]
        return np.pad(y, [*widths, (0, 0)])
    if crop:
        x = _in_ratio(x, height, width)
    if interpolation == "nearest":
        rows, columns = (
            np.minimum(((np.arange(m) + 0.5) * (n / m)).astype(int), n - 1)
            for n, m in zip(x.shape, size)
        )
        return x[rows[:, None], columns]
    down, across = (_taps(n, m, interpolation) for n, m in zip(x.shape, size))
    y = np.empty((height, width, x.shape[-1]), np.float32)
    block = max(1, BLOCK // x[0].size)
    for start in range(0, height, block):
        rows = slice(start, start + block)
        part = _weighted(x, 0, [(at[rows], w[rows, None, None]) for at, w in down])
        y[rows] = _weighted(part, 1, [(at, w[:, None]) for at, w in across])
    return y


def _weighted(x, axis, taps):
    y = None
    for at, weight in taps:
        part = x.take(at, axis) * weight
        y = part if y is None else np.add(y, part, out=y)
    return y


@functools.lru_cache(256)
def _taps(n, size, interpolation):
    """Pairs of places and weights: each of `size` is the sum of so many of the `n` places."""
    from oneiros.ops.resizing import METHODS, _weights

    weights = _weights(n, size, size / n, 0.0, METHODS[interpolation], False).T  # (size, n)
    first = (weights != 0).argmax(1)
    count = (n - (weights != 0)[:, ::-1].argmax(1) - first).max()
    places = np.minimum(first, n - count) + np.arange(count)[:, None]  # (count, size)
    return list(zip(places, weights[np.arange(size), places].astype(np.float32)))


def _in_ratio(x, height, width):
    """The middle of `x` with a ratio of sides."""
    sizes = x.shape[:2]
    for axis, (a, b) in ((0, (height, width)), (1, (width, height))):
        n = sizes[axis]
        wanted = min(n, int(float(sizes[1 - axis] * a) / b))
        low = (n - wanted) // 2
        x = x[low : low + wanted] if axis == 0 else x[:, low : low + wanted]
    return x
