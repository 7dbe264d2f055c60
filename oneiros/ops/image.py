"""Images (height, width, channels), alone or in batches: sizes, geometry, colours, filters.

What moves pixels is one of two things: a product with a matrix of weights for each axis (see
`resizing`), or interpolation at coordinates (all other geometry).
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import config
from oneiros.core import primitives as p
from oneiros.core.dtypes import is_float, np_dtype
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.core.spec import Unknown, agree
from oneiros.ops.common import over, wide
from oneiros.ops.resizing import batch_of, cut, like, resize, scale_and_translate
from oneiros.ops.windows import explicit_padding, per_axis

__all__ = [
    "affine_transform", "crop_images", "elastic_transform", "extract_patches", "extract_patches_3d",
    "gaussian_blur", "hsv_to_rgb", "map_coordinates", "pad_images", "perspective_transform",
    "resize", "rgb_to_grayscale", "rgb_to_hsv", "scale_and_translate", "sobel_edges", "ssim",
]  # fmt: skip

GRAY = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601, in the digits that Keras uses


# Borders ------------------------------------------------------------------------------------------
def _border(name, axis_name, low, high, target, size, sign):
    """What to put (`sign` 1) or cut (-1) before and after an axis; two of low, high and target are
    given."""
    word = "padding" if sign > 0 else "cropping"
    before, after = {"height": ("top", "bottom"), "width": ("left", "right")}[axis_name]
    if sum(v is not None for v in (low, high, target)) != 2:
        raise ValueError(
            f"{name}: exactly two of {before}_{word}, {after}_{word} and target_{axis_name} must "
            "be given; "
            f"got {low}, {high} and {target}"
        )
    given = {f"{before}_{word}": low, f"{after}_{word}": high, f"target_{axis_name}": target}
    unknown = isinstance(size, Unknown)
    if target is None and sign < 0 and unknown:
        raise ValueError(f"{name}: images of unknown {axis_name} need target_{axis_name}")
    if target is None:
        given[f"target_{axis_name}"] = target = size + sign * (low + high)
    elif low is None:
        low = sign * (target - size) - high
        given[f"{before}_{word}"] = None if unknown else low
    else:
        high = sign * (target - size) - low
        given[f"{after}_{word}"] = None if unknown else high
    for key, value in given.items():
        if value is not None and value < 0:
            raise ValueError(
                f"{name}: {key} must not be negative; got {value} for images of {axis_name} {size}"
            )
    return low, high


def _bordered(name, images, edges, targets, data_format, sign):
    x, back = batch_of(name, images, data_format)
    top, left, bottom, right = edges
    rows = _border(name, "height", top, bottom, targets[0], x.shape[1], sign)
    columns = _border(name, "width", left, right, targets[1], x.shape[2], sign)
    widths = (
        (0, 0, 0),
        (sign * rows[0], sign * rows[1], 0),
        (sign * columns[0], sign * columns[1], 0),
        (0, 0, 0),
    )
    return back(p.pad(x, widths=widths, value=0))


@op
def pad_images(
    images,
    top_padding=None,
    left_padding=None,
    bottom_padding=None,
    right_padding=None,
    target_height=None,
    target_width=None,
    data_format=None,
):
    """`images` with zeros around them; for each axis two of before, after and the new size are
    given.

    >>> from oneiros import ops
    >>> ops.image.pad_images([[[5.0]]], 1, 0, target_height=2, target_width=2).tolist()
    [[[0.0], [0.0]], [[5.0], [0.0]]]
    """
    edges = (top_padding, left_padding, bottom_padding, right_padding)
    return _bordered("pad_images", images, edges, (target_height, target_width), data_format, 1)


@op
def crop_images(
    images,
    top_cropping=None,
    left_cropping=None,
    bottom_cropping=None,
    right_cropping=None,
    target_height=None,
    target_width=None,
    data_format=None,
):
    """`images` without their borders; for each axis two of before, after and the new size are
    given.

    >>> from oneiros import ops
    >>> ops.image.crop_images([[[1.0], [2.0]], [[3.0], [4.0]]], 1, 0, 0, 1).tolist()
    [[[3.0]]]
    """
    edges = (top_cropping, left_cropping, bottom_cropping, right_cropping)
    return _bordered("crop_images", images, edges, (target_height, target_width), data_format, -1)


# Interpolation at coordinates ---------------------------------------------------------------------
def _mirrored(index, size):
    """Integers reflected at the middles of the first and the last place."""
    if size == 1:
        return p.multiply(index, 0)
    reach = size - 1
    return p.abs(
        p.subtract(p.remainder(p.add(index, np.int32(reach)), np.int32(2 * reach)), np.int32(reach))
    )


FILLS = {
    "constant": lambda index, size: p.minimum(p.maximum(index, np.int32(0)), np.int32(size - 1)),
    "nearest": lambda index, size: p.minimum(p.maximum(index, np.int32(0)), np.int32(size - 1)),
    "wrap": lambda index, size: p.remainder(index, np.int32(size)),
    "mirror": _mirrored,
    "reflect": lambda index, size: p.floor_divide(
        p.subtract(_mirrored(p.add(p.multiply(index, 2), np.int32(1)), 2 * size + 1), np.int32(1)),
        np.int32(2),
    ),
}


def _sampled(flat, sizes, coordinates, order, fill_mode, fill_value, offset=None):
    """`flat`, an array of `sizes` (then channels) with those axes flattened, at float coordinates.

    Args:
        flat: (places, channels), floats.
        coordinates: One float array for each of `sizes`, all of one shape.
        offset: Added to the flat places: where each image of a batch begins.
    """
    # For each axis its one or two neighbours: (place, weight, whether it lies inside).
    neighbours = []
    for x, size in zip(coordinates, sizes):
        if order == 0:
            away = p.floor(p.add(p.abs(x), 0.5))  # halves go away from zero
            near = [(p.multiply(p.sign(x), away), None)]
        else:
            low = p.floor(x)
            upper = p.subtract(x, low)
            near = [(low, p.subtract(1.0, upper)), (p.add(low, 1.0), upper)]
        found = []
        for place, weight in near:
            inside = p.logical_and(p.greater_equal(place, 0.0), p.less(place, float(size)))
            # far away floats would wrap around as integers
            index = p.cast(p.minimum(p.maximum(place, -(2.0**29)), 2.0**29), dtype="int32")
            found.append((FILLS[fill_mode](index, size), weight, inside))
        neighbours.append(found)
    total = None
    for corner in np.ndindex(*[len(n) for n in neighbours]):
        index, weight, inside = None, None, None
        for (place, share, within), size in zip((n[i] for n, i in zip(neighbours, corner)), sizes):
            index = place if index is None else p.add(p.multiply(index, np.int32(size)), place)
            weight = share if weight is None or share is None else p.multiply(weight, share)
            inside = within if inside is None else p.logical_and(inside, within)
        value = p.take(
            flat, index if offset is None else p.add(index, offset), axis=0
        )  # (..., channels)
        if fill_mode == "constant":
            value = p.select(p.reshape(inside, shape=(*inside.shape, 1)), value, fill_value)
        if weight is not None:
            value = p.multiply(value, p.reshape(weight, shape=(*weight.shape, 1)))
        total = value if total is None else p.add(total, value)
    return total


def _check_sampling(name, order, fill_mode):
    if order not in (0, 1):
        raise ValueError(f"{name}: order must be 0 (nearest) or 1 (linear); got {order!r}")
    if fill_mode not in FILLS:
        raise ValueError(f"{name}: fill_mode must be one of {tuple(FILLS)}; got {fill_mode!r}")


@op
def map_coordinates(inputs, coordinates, order, fill_mode="constant", fill_value=0):
    """`inputs` at float coordinates, by interpolation.

    Args:
        inputs: Array of rank k.
        coordinates: Array (k, ...).
        order: 0 for the nearest element, 1 for linear interpolation.
        fill_mode: What lies outside: `"constant"`, `"nearest"`, `"wrap"`, `"mirror"` (at the
            middles of the
            last elements) or `"reflect"` (at their ends).
        fill_value: The constant.

    >>> from oneiros import ops
    >>> ops.image.map_coordinates([1.0, 2.0, 4.0], [[0.5, 1.5]], order=1).tolist()
    [1.5, 3.0]
    """
    inputs, coordinates = array(inputs), wide(float_of(coordinates))
    rank = len(inputs.shape)
    if coordinates.shape[0] != rank:
        raise ValueError(
            f"map_coordinates: coordinates must have {rank} rows for inputs of rank {rank}; got "
            "shape "
            f"{tuple(coordinates.shape)}"
        )
    if len(coordinates.shape) < 2:
        raise ValueError(
            "map_coordinates: coordinates must have rank 2 or more; got shape "
            f"{tuple(coordinates.shape)}"
        )
    _check_sampling("map_coordinates", order, fill_mode)
    dtype = dtype_of(inputs)
    flat = p.reshape(wide(float_of(inputs)), shape=(math.prod(inputs.shape), 1))
    parts = [
        p.reshape(cut(coordinates, 0, i, i + 1), shape=tuple(coordinates.shape[1:]))
        for i in range(rank)
    ]
    y = _sampled(flat, inputs.shape, parts, order, fill_mode, float(fill_value))
    return like(p.reshape(y, shape=tuple(coordinates.shape[1:])), dtype)


ORDERS = {"nearest": 0, "bilinear": 1}


def _warped(x, rows, columns, order, fill_mode, fill_value):
    """A batch of images at (rows, columns), each (batch, height, width)."""
    batch, height, width, channels = x.shape
    flat = p.reshape(wide(float_of(x)), shape=(batch * height * width, channels))
    offset = p.multiply(
        p.iota(shape=(batch, 1, 1), axis=0, dtype="int32"), np.int32(height * width)
    )
    y = _sampled(
        flat, (height, width), (rows, columns), order, fill_mode, float(fill_value), offset
    )
    return like(y, dtype_of(x))


def _projected(x, matrix, order, fill_mode, fill_value):
    """Images whose pixel (column u, row v) is the input's at ((a u + b v + c) / k, (d u + e v + f)
    / k).

    `matrix`, (batch, 8) or (1, 8), holds a to f, and g, h of `k = g u + h v + 1`.
    """
    height, width = x.shape[1:3]
    u = p.iota(shape=(1, 1, width), axis=2, dtype="float32")
    v = p.iota(shape=(1, height, 1), axis=1, dtype="float32")
    a, b, c, d, e, f, g, h = (
        p.reshape(cut(matrix, 1, i, i + 1), shape=(matrix.shape[0], 1, 1)) for i in range(8)
    )
    line = lambda s, t, w: p.add(p.add(p.multiply(s, u), p.multiply(t, v)), w)
    k = line(g, h, 1.0)
    return _warped(
        x, p.divide(line(d, e, f), k), p.divide(line(a, b, c), k), order, fill_mode, fill_value
    )


def _order(name, interpolation):
    if interpolation not in ORDERS:
        raise ValueError(
            f"{name}: interpolation must be one of {tuple(ORDERS)}; got {interpolation!r}"
        )
    return ORDERS[interpolation]


@op
def affine_transform(
    images,
    transform,
    interpolation="bilinear",
    fill_mode="constant",
    fill_value=0,
    data_format=None,
):
    """`images` under projective maps.

    Args:
        images: Image or batch of images.
        transform: Array (8,) or (batch, 8): for `(a, b, c, d, e, f, g, h)` the pixel (column u, row
            v) of the
            result is the input's at `((a u + b v + c) / k, (d u + e v + f) / k)`, with `k = g u + h
            v + 1`.
        interpolation: `"nearest"` or `"bilinear"`.
        fill_mode: What lies outside: `"constant"`, `"nearest"`, `"wrap"`, `"mirror"` or
            `"reflect"`.
        fill_value: The constant.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> from oneiros import ops
    >>> ops.image.affine_transform([[[1.0], [2.0], [3.0]]], [1, 0, 1, 0, 1, 0, 0, 0]).tolist()
    [[[2.0], [3.0], [0.0]]]
    """
    order = _order("affine_transform", interpolation)
    _check_sampling("affine_transform", order, fill_mode)
    x, back = batch_of("affine_transform", images, data_format)
    matrix = to_dtype(array(transform), "float32")
    if len(matrix.shape) not in (1, 2) or not agree(matrix.shape[-1], 8):
        raise ValueError(
            "affine_transform: transform must have the shape (8,) or (batch, 8); got "
            f"{tuple(matrix.shape)}"
        )
    matrix = matrix if len(matrix.shape) == 2 else p.reshape(matrix, shape=(1, 8))
    return back(_projected(x, matrix, order, fill_mode, fill_value))


@op
def perspective_transform(
    images, start_points, end_points, interpolation="bilinear", fill_value=0, data_format=None
):
    """`images` under the projective maps that bring four points to four others.

    Args:
        images: Image or batch of images.
        start_points, end_points: Arrays (4, 2) or (batch, 4, 2) of (column, row).
        interpolation, fill_value, data_format: As in `affine_transform`.

    >>> from oneiros import ops
    >>> corners = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    >>> ops.image.perspective_transform([[[1.0], [2.0]], [[3.0], [4.0]]], corners, corners).shape
    (2, 2, 1)
    """
    name = "perspective_transform"
    order = _order(name, interpolation)
    x, back = batch_of(name, images, data_format)
    points = []
    for label, given in (("start_points", start_points), ("end_points", end_points)):
        given = to_dtype(array(given), "float32")
        if len(given.shape) not in (2, 3) or tuple(given.shape[-2:]) != (4, 2):
            raise ValueError(
                f"{name}: {label} must have the shape (4, 2) or (batch, 4, 2); got "
                f"{tuple(given.shape)}"
            )
        points.append(given if len(given.shape) == 3 else p.reshape(given, shape=(1, 4, 2)))
    if points[0].shape[0] != points[1].shape[0]:
        batch = max(v.shape[0] for v in points)
        points = [p.broadcast_to(v, shape=(batch, 4, 2)) for v in points]
    return back(_projected(x, _homography(*points), order, "constant", fill_value))


def _homography(start, end):
    """The 8 numbers of the maps from `end` to `start` points, (batch, 8)."""
    batch = start.shape[0]
    u, v = (cut(end, 2, i, i + 1) for i in (0, 1))  # (batch, 4, 1)
    x, y = (cut(start, 2, i, i + 1) for i in (0, 1))
    one, zero = p.add(p.multiply(u, 0.0), 1.0), p.multiply(u, 0.0)
    minus = lambda s, t: p.negative(p.multiply(s, t))
    first = p.concatenate(u, v, one, zero, zero, zero, minus(u, x), minus(v, x), axis=2)
    second = p.concatenate(zero, zero, zero, u, v, one, minus(u, y), minus(v, y), axis=2)
    system = p.concatenate(first, second, axis=1)  # (batch, 8, 8)
    return p.reshape(p.solve(system, p.concatenate(x, y, axis=1)), shape=(batch, 8))


@op
def elastic_transform(
    images,
    alpha=20.0,
    sigma=5.0,
    interpolation="bilinear",
    fill_mode="reflect",
    fill_value=0.0,
    seed=None,
    data_format=None,
):
    """`images` with their pixels moved by smooth random distances (Simard et al., 2003).

    Args:
        images: Image or batch of images.
        alpha: The strength.
        sigma: The deviation of the Gaussian that smooths the distances.
        interpolation, fill_mode, fill_value, data_format: As in `affine_transform`.
        seed: An int, a `SeedGenerator`, or None.

    >>> from oneiros import ops
    >>> ops.image.elastic_transform([[[1.0], [2.0]], [[3.0], [4.0]]], seed=1).shape
    (2, 2, 1)
    """
    from oneiros.random import bits
    from oneiros.random.seed_generator import draw_seed

    order = _order("elastic_transform", interpolation)
    _check_sampling("elastic_transform", order, fill_mode)
    x, back = batch_of("elastic_transform", images, data_format)
    batch, height, width, _ = x.shape
    noise = bits.normal(draw_seed(seed), (batch, height, width, 2), "float32")
    size = (int(6 * sigma) | 1,) * 2
    moves = p.multiply(_blurred(noise, size, (sigma, sigma)), float(alpha))
    down, right = (p.reshape(cut(moves, 3, i, i + 1), shape=(batch, height, width)) for i in (0, 1))
    rows = p.add(p.iota(shape=(1, height, 1), axis=1, dtype="float32"), down)
    columns = p.add(p.iota(shape=(1, 1, width), axis=2, dtype="float32"), right)
    return back(_warped(x, rows, columns, order, fill_mode, fill_value))


# Filters ------------------------------------------------------------------------------------------
def _gaussian(size, sigma):
    """`size` values of a Gaussian around their middle, with sum 1."""
    x = np.arange(size) - (size - 1) / 2
    y = np.exp(-0.5 * (x / sigma) ** 2) if sigma else (x == 0).astype(float)
    return y / y.sum()


def _filtered(x, kernel, axis, padding):
    """Each channel of a batch of images correlated with a vector along one axis."""
    channels = x.shape[-1]
    shape = [1, 1, 1, 1]
    shape[axis - 1] = len(kernel)
    kernel = np.broadcast_to(np.reshape(kernel, shape), (*shape[:3], channels))
    window = tuple(shape[:2])
    pads = explicit_padding(padding, x.shape[1:3], window, (1, 1), (1, 1), "filter")
    return p.convolution(
        x,
        array(kernel.astype(np_dtype(dtype_of(x)))),
        strides=(1, 1),
        padding=pads,
        lhs_dilation=(1, 1),
        rhs_dilation=(1, 1),
        groups=channels,
    )


def _blurred(x, sizes, sigmas, padding="same"):
    for axis in (1, 2):
        x = _filtered(x, _gaussian(sizes[axis - 1], sigmas[axis - 1]), axis, padding)
    return x


@op
def gaussian_blur(images, kernel_size=(3, 3), sigma=(1.0, 1.0), data_format=None):
    """`images` smoothed by a Gaussian; outside of them there are zeros.

    Args:
        images: Image or batch of images.
        kernel_size: Pixels of the kernel, across and down.
        sigma: Deviations, across and down.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> from oneiros import ops
    >>> round(float(ops.image.gaussian_blur([[[1.0]]])[0, 0, 0]), 4)
    0.2042
    """
    x, back = batch_of("gaussian_blur", images, data_format)
    dtype = dtype_of(x)
    sizes = per_axis(kernel_size, 2, "gaussian_blur", "kernel_size")
    sigmas = (sigma,) * 2 if isinstance(sigma, (int, float)) else tuple(map(float, sigma))
    return back(like(_blurred(wide(float_of(x)), sizes[::-1], sigmas[::-1]), dtype))


@op
def sobel_edges(images, data_format=None):
    """How fast `images` change downwards and to the right: a new last axis of 2; the borders are
    repeated.

    >>> from oneiros import ops
    >>> ops.image.sobel_edges([[[[0.0], [1.0]], [[0.0], [1.0]]]]).shape
    (1, 2, 2, 1, 2)
    """
    x = array(images)
    if len(x.shape) != 4:
        raise ValueError(f"sobel_edges: images must have rank 4; got shape {tuple(x.shape)}")
    first = config.standardize_data_format(data_format) == "channels_first"
    x = float_of(x)
    dtype, x = dtype_of(x), wide(x)
    x = p.transpose(x, order=(0, 2, 3, 1)) if first else x
    for axis in (1, 2):
        n = x.shape[axis]
        order = np.clip(np.arange(-1, n + 1), 0, max(n - 1, 0))
        x = p.take(x, array(order.astype(np.int32)), axis=axis)
    smooth, slope = (1.0, 2.0, 1.0), (-1.0, 0.0, 1.0)
    down = _filtered(_filtered(x, smooth, 2, "valid"), slope, 1, "valid")
    right = _filtered(_filtered(x, slope, 2, "valid"), smooth, 1, "valid")
    if first:
        down, right = (p.transpose(y, order=(0, 3, 1, 2)) for y in (down, right))
    made = p.concatenate(*(p.reshape(y, shape=(*y.shape, 1)) for y in (down, right)), axis=4)
    return to_dtype(made, dtype)


@op
def ssim(
    image1,
    image2,
    max_val=1.0,
    filter_size=11,
    filter_sigma=1.5,
    k1=0.01,
    k2=0.03,
    data_format=None,
):
    """The structural similarity of images, 1 for equal ones (Wang et al., 2004).

    Args:
        image1, image2: Images or batches of them.
        max_val: The distance between the least and the largest value a pixel can have.
        filter_size, filter_sigma: The Gaussian window.
        k1, k2: Constants that keep divisions stable.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> from oneiros import ops
    >>> image = ops.ones((12, 12, 1))
    >>> round(float(ops.image.ssim(image, image)), 3)
    1.0
    """
    x, y = promote(float_of(image1), float_of(image2))
    dtype, x, y = dtype_of(x), wide(x), wide(y)
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(
            f"ssim: both images must have one shape; got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    alone = len(x.shape) == 3
    x, _ = batch_of("ssim", x, data_format)
    y, _ = batch_of("ssim", y, data_format)
    if min(x.shape[1:3]) < filter_size:
        raise ValueError(
            f"ssim: images of {x.shape[1]}x{x.shape[2]} are smaller than the window of "
            f"{filter_size}"
        )
    mean = lambda v: _blurred(v, (filter_size,) * 2, (filter_sigma,) * 2, "valid")
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    mx, my = mean(x), mean(y)
    products = p.multiply(mx, my)
    squares = p.add(p.multiply(mx, mx), p.multiply(my, my))
    joint = p.subtract(mean(p.multiply(x, y)), products)
    spread = p.subtract(mean(p.add(p.multiply(x, x), p.multiply(y, y))), squares)
    light = p.divide(p.add(p.multiply(products, 2.0), c1), p.add(squares, c1))
    structure = p.divide(p.add(p.multiply(joint, 2.0), c2), p.add(spread, c2))
    values = p.multiply(light, structure)
    made = p.divide(p.reduce_sum(values, axes=(1, 2, 3)), float(math.prod(values.shape[1:])))
    return to_dtype(p.reshape(made, shape=()) if alone else made, dtype)


# Colours ------------------------------------------------------------------------------------------
def _channels(name, images, data_format, least="float"):
    """The images and the place of their three channels."""
    x = array(images)
    if len(x.shape) not in (3, 4):
        raise ValueError(
            f"{name}: images must have rank 3 (one) or 4 (a batch); got shape {tuple(x.shape)}"
        )
    if least == "float" and not is_float(dtype_of(x)):
        raise ValueError(f"{name}: images must be of a floating dtype; got {dtype_of(x)}")
    first = config.standardize_data_format(data_format) == "channels_first"
    return x, len(x.shape) - (3 if first else 1)


@op
def rgb_to_grayscale(images, data_format=None):
    """One channel with the brightness of three.

    >>> from oneiros import ops
    >>> round(float(ops.image.rgb_to_grayscale([[[1.0, 0.0, 0.0]]])[0, 0, 0]), 4)
    0.2989
    """
    x, axis = _channels("rgb_to_grayscale", images, data_format, least="any")
    if x.shape[axis] == 1:
        return x
    if not agree(x.shape[axis], 3):
        raise ValueError(
            f"rgb_to_grayscale: images must have 3 channels, or 1; got shape {tuple(x.shape)}"
        )
    dtype = dtype_of(x)
    y = wide(float_of(x))
    weights = np.reshape(GRAY, [3 if i == axis else 1 for i in range(len(x.shape))])
    weights = array(weights.astype(np_dtype(dtype_of(y))))
    return to_dtype(over(p.reduce_sum, p.multiply(y, weights), (axis,)), dtype)


def _three(name, x, axis):
    if not agree(x.shape[axis], 3):
        raise ValueError(f"{name}: images must have 3 channels; got shape {tuple(x.shape)}")
    return [cut(x, axis, i, i + 1) for i in range(3)]


@op
def rgb_to_hsv(images, data_format=None):
    """Hue, saturation and value, each in [0, 1], of red, green and blue (Smith, 1978).

    >>> from oneiros import ops
    >>> ops.image.rgb_to_hsv([[[0.0, 1.0, 0.0]]]).tolist()
    [[[0.3333333432674408, 1.0, 1.0]]]
    """
    x, axis = _channels("rgb_to_hsv", images, data_format)
    red, green, blue = _three("rgb_to_hsv", x, axis)
    value = p.maximum(p.maximum(red, green), blue)
    width = p.subtract(value, p.minimum(p.minimum(red, green), blue))
    gray, black = p.equal(width, 0), p.less_equal(value, 0)
    safe = p.select(gray, 1.0, width)
    part = lambda a, b: p.divide(p.subtract(a, b), safe)
    hue = p.select(
        p.equal(value, red),
        part(green, blue),
        p.select(p.equal(value, green), p.add(part(blue, red), 2.0), p.add(part(red, green), 4.0)),
    )
    hue = p.remainder(p.divide(p.select(gray, 0.0, hue), 6.0), 1.0)
    saturation = p.select(black, 0.0, p.divide(width, p.select(black, 1.0, value)))
    return p.concatenate(hue, saturation, value, axis=axis)


@op
def hsv_to_rgb(images, data_format=None):
    """Red, green and blue of hue, saturation and value.

    >>> from oneiros import ops
    >>> ops.image.hsv_to_rgb([[[0.0, 1.0, 1.0]]]).tolist()
    [[[1.0, 0.0, 0.0]]]
    """
    x, axis = _channels("hsv_to_rgb", images, data_format)
    hue, saturation, value = _three("hsv_to_rgb", x, axis)
    drop = p.multiply(saturation, value)
    made = []
    for place in (5.0, 3.0, 1.0):  # on the colour circle in sixths: a trapezoid for each colour
        k = p.remainder(p.add(p.multiply(hue, 6.0), place), 6.0)
        depth = p.minimum(p.maximum(p.minimum(k, p.subtract(4.0, k)), 0.0), 1.0)
        made.append(p.subtract(value, p.multiply(drop, depth)))
    return p.concatenate(*made, axis=axis)


# Patches ------------------------------------------------------------------------------------------
@op
def extract_patches(images, size, strides=None, dilation_rate=1, padding="valid", data_format=None):
    """The windows of images as channels: (batch, rows, columns, window * channels).

    Args:
        images: Image or batch of images; or volumes, for a `size` of three.
        size: The window: an int or one for each axis.
        strides: Its steps; `size` if None.
        dilation_rate: Distances between the window's elements.
        padding: `"valid"` or `"same"`.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> from oneiros import ops
    >>> ops.image.extract_patches([[[1.0], [2.0]], [[3.0], [4.0]]], 2).tolist()
    [[[1.0, 2.0, 3.0, 4.0]]]
    """
    rank = 2 if isinstance(size, int) else len(size)
    if rank not in (2, 3):
        raise ValueError(f"extract_patches: size must be an int, or 2 or 3 of them; got {size!r}")
    return _patches(
        "extract_patches", images, size, strides, dilation_rate, padding, data_format, rank
    )


@op
def extract_patches_3d(
    volumes, size, strides=None, dilation_rate=1, padding="valid", data_format=None
):
    """The windows of volumes as channels; as `extract_patches`.

    >>> from oneiros import ops
    >>> tuple(ops.image.extract_patches_3d(ops.ones((1, 4, 4, 4, 2)), 2).shape)
    (1, 2, 2, 2, 16)
    """
    return _patches(
        "extract_patches_3d", volumes, size, strides, dilation_rate, padding, data_format, 3
    )


def _patches(name, images, size, strides, dilation, padding, data_format, rank):
    x, back = batch_of(name, images, data_format, rank + 2)
    window = per_axis(size, rank, name, "size")
    strides = per_axis(size if strides is None else strides, rank, name, "strides")
    dilation = per_axis(dilation, rank, name, "dilation_rate")
    pads = explicit_padding(padding, x.shape[1:-1], window, strides, dilation, name)
    if any(map(any, pads)):
        x = p.pad(x, widths=((0, 0, 0), *((a, b, 0) for a, b in pads), (0, 0, 0)), value=0)
    counts = [
        (n - (w - 1) * d - 1) // s + 1
        for n, w, d, s in zip(x.shape[1:-1], window, dilation, strides)
    ]
    if min(counts) < 1:
        raise ValueError(
            f"{name}: a window of {window} does not fit into images of shape {tuple(x.shape)}"
        )
    parts = []
    for i in np.ndindex(*window):
        start = [k * d for k, d in zip(i, dilation)]
        stop = [a + (n - 1) * s + 1 for a, n, s in zip(start, counts, strides)]
        parts.append(
            p.slice(
                x,
                start=(0, *start, 0),
                stop=(x.shape[0], *stop, x.shape[-1]),
                strides=(1, *strides, 1),
            )
        )
    return back(p.concatenate(*parts, axis=rank + 1) if len(parts) > 1 else parts[0])
