"""Bounding boxes: formats, overlaps, and what becomes of boxes when their images change.

All arithmetic is on corners (left, top, right, bottom) in pixels, `"xyxy"`; a format is how four
numbers become these, and back. Boxes are arrays (..., 4), or dicts of `"boxes"` and `"labels"`,
where the label -1 marks a place without a box.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros import ops
from oneiros.core.op import array, to_dtype

__all__ = [
    "affine_transform", "clip_to_image_size", "compute_ciou", "compute_iou", "convert_format",
    "crop", "decode_deltas_to_boxes", "encode_box_to_deltas", "pad",
]  # fmt: skip

# Format: to corners and from them, on columns.
_SWAP = lambda a, b, c, d: (b, a, d, c)
_AS_IS = lambda *columns: columns
_CENTERS = (
    lambda x, y, w, h: (x - w * 0.5, y - h * 0.5, x + w * 0.5, y + h * 0.5),
    lambda x1, y1, x2, y2: ((x1 + x2) * 0.5, (y1 + y2) * 0.5, x2 - x1, y2 - y1),
)
_SIZES = (
    lambda x, y, w, h: (x, y, x + w, y + h),
    lambda x1, y1, x2, y2: (x1, y1, x2 - x1, y2 - y1),
)
FORMATS = {
    "xyxy": (_AS_IS, _AS_IS),
    "yxyx": (_SWAP, _SWAP),
    "xywh": _SIZES,
    "center_xywh": _CENTERS,
    "center_yxhw": (
        lambda *c: _CENTERS[0](*_SWAP(*c)),
        lambda *c: _SWAP(*_CENTERS[1](*c)),
    ),
    "rel_xyxy": (_AS_IS, _AS_IS),
    "rel_yxyx": (_SWAP, _SWAP),
    "rel_xywh": _SIZES,
    "rel_center_xywh": _CENTERS,
}
TINY = 1e-7  # sides are at least this where logarithms are taken of them


def _check(name, **formats):
    for argument, value in formats.items():
        if value not in FORMATS:
            raise ValueError(f"{name}: {argument} must be one of {tuple(FORMATS)}; got {value!r}")


def _columns(name, boxes, dtype="float32"):
    boxes = to_dtype(array(boxes), dtype) if dtype else array(boxes)
    if not len(boxes.shape) or boxes.shape[-1] != 4:
        raise ValueError(
            f"{name}: boxes must have 4 numbers in the last axis; got shape {tuple(boxes.shape)}"
        )
    return [boxes[..., i] for i in range(4)]


def _is_relative(form):
    return form.startswith("rel")


def _each(function, boxes):
    """`function` of the boxes in a dict, the rest as it is; or of boxes alone."""
    if isinstance(boxes, dict):
        return {**boxes, "boxes": function(boxes["boxes"])}
    return function(boxes)


def convert_format(boxes, source, target, height=None, width=None, dtype="float32"):
    """`boxes` in another format.

    Args:
        boxes: Array (..., 4), or a dict with one under `"boxes"`.
        source, target: `"xyxy"` (left, top, right, bottom), `"yxyx"`, `"xywh"` (left, top, width,
            height), `"center_xywh"`, `"center_yxhw"`; with `"rel_"` in front as shares of the image.
        height, width: The image's size; needed between shares and pixels.
        dtype: Of the result.

    Raises:
        ValueError: for an unknown format, a missing size, or a last axis that is not 4.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.convert_format([[1.0, 2.0, 4.0, 6.0]], "xyxy", "xywh").tolist()
    [[1.0, 2.0, 3.0, 4.0]]
    """
    _check("convert_format", source=source, target=target)
    if isinstance(boxes, dict):
        return _each(lambda b: convert_format(b, source, target, height, width, dtype), boxes)
    if _is_relative(source) != _is_relative(target) and (height is None or width is None):
        raise ValueError(
            f"convert_format: height and width are needed between {source!r} and {target!r}; got "
            f"height={height} and width={width}"
        )
    columns = FORMATS[source][0](*_columns("convert_format", boxes, dtype))
    if _is_relative(source) != _is_relative(target):
        scale = [width, height] * 2
        move = ops.multiply if _is_relative(source) else ops.divide
        columns = [to_dtype(move(c, _size(s)), dtype) for c, s in zip(columns, scale)]
    return ops.stack(FORMATS[target][1](*columns), axis=-1)


def _size(n):
    return float(n) if isinstance(n, (int, np.integer)) else n


def corners(boxes, form, height, width):
    """The four columns of boxes in pixels."""
    return _columns("boxes", convert_format(boxes, form, "xyxy", height, width))


def clip_to_image_size(bounding_boxes, height=None, width=None, bounding_box_format="xyxy"):
    """Boxes cut at the image's edges; those of which nothing is left get the label -1.

    Args:
        bounding_boxes: A dict of `"boxes"` (..., 4) and `"labels"` (...).
        height, width: The image's size; not needed for shares.
        bounding_box_format: See `convert_format`.

    >>> from oneiros import ops
    >>> from oneiros.utils import bounding_boxes
    >>> boxes = {"boxes": ops.array([[-1.0, 0.0, 9.0, 2.0]]), "labels": ops.array([3])}
    >>> bounding_boxes.clip_to_image_size(boxes, 4, 6)["boxes"].tolist()
    [[0.0, 0.0, 6.0, 2.0]]
    """
    form = bounding_box_format
    _check("clip_to_image_size", bounding_box_format=form)
    if not isinstance(bounding_boxes, dict) or not {"boxes", "labels"} <= bounding_boxes.keys():
        raise ValueError(
            "clip_to_image_size: bounding_boxes must be a dict of 'boxes' and 'labels'; got "
            f"{type(bounding_boxes).__name__}"
        )
    if _is_relative(form):
        height = width = 1
    elif height is None or width is None:
        raise ValueError(
            f"clip_to_image_size: height and width are needed for {form!r}; got height={height} "
            f"and width={width}"
        )
    columns = FORMATS[form][0](*_columns("clip_to_image_size", bounding_boxes["boxes"], None))
    cut = [ops.clip(c, 0, n) for c, n in zip(columns, [width, height] * 2)]
    labels = array(bounding_boxes["labels"])
    gone = ops.less_equal((cut[2] - cut[0]) * (cut[3] - cut[1]), 0)
    return {
        **bounding_boxes,
        "boxes": ops.stack(FORMATS[form][1](*cut), axis=-1),
        "labels": ops.where(gone, ops.full_like(labels, -1), labels),
    }


def crop(boxes, top, left, height, width, bounding_box_format="xyxy"):
    """Boxes in the part of the image that begins at (`top`, `left`), cut at its edges.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.crop([[1.0, 2.0, 4.0, 6.0]], 1, 2, 4, 5).tolist()
    [[0.0, 1.0, 2.0, 4.0]]
    """
    return _moved("crop", boxes, -top, -left, bounding_box_format, (height, width))


def pad(boxes, top, left, height=None, width=None, bounding_box_format="xyxy"):
    """Boxes in the image after `top` rows and `left` columns were put before it.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.pad([[1.0, 2.0, 4.0, 6.0]], 1, 2).tolist()
    [[3.0, 3.0, 6.0, 7.0]]
    """
    return _moved("pad", boxes, top, left, bounding_box_format)


def _moved(name, boxes, down, right, form, size=None):
    _check(name, bounding_box_format=form)
    if _is_relative(form):
        raise NotImplementedError(f"{name}: boxes must be in pixels; got the format {form!r}")
    if isinstance(boxes, dict):
        return _each(lambda b: _moved(name, b, down, right, form, size), boxes)
    columns = FORMATS[form][0](*_columns(name, boxes, None))
    columns = [ops.add(c, n) for c, n in zip(columns, [right, down] * 2)]
    if size is not None:
        columns = [ops.clip(c, 0, n) for c, n in zip(columns, [size[1], size[0]] * 2)]
    return ops.stack(FORMATS[form][1](*columns), axis=-1)


def affine_transform(
    boxes, angle, translate_x, translate_y, scale, shear_x, shear_y, height, width, center_x=None,
    center_y=None, bounding_box_format="xyxy",
):  # fmt: skip
    """The boxes around what an affine map makes of `boxes`.

    Args:
        boxes: Array (batch, boxes, 4).
        angle: Degrees, (batch,); as the following.
        translate_x, translate_y: Shares of the image's width and height.
        scale: The factor around the center.
        shear_x, shear_y: Degrees.
        height, width: The image's size.
        center_x, center_y: The center as shares of the image; its middle if None.
        bounding_box_format: `"xyxy"`.

    >>> from oneiros import ops
    >>> from oneiros.utils import bounding_boxes
    >>> zero, one = ops.zeros(1), ops.ones(1)
    >>> box = ops.array([[[1.0, 2.0, 4.0, 6.0]]])
    >>> moved = bounding_boxes.affine_transform(box, zero, zero, zero, 2 * one, zero, zero, 6, 8)
    >>> moved.tolist()
    [[[-1.5, 1.5, 4.5, 9.5]]]
    """
    if bounding_box_format != "xyxy":
        raise NotImplementedError(
            f"affine_transform: bounding_box_format must be 'xyxy'; got {bounding_box_format!r}"
        )
    x1, y1, x2, y2 = _columns("affine_transform", boxes)
    angle, move_x, move_y, scale, shear_x, shear_y = (
        ops.expand_dims(to_dtype(array(v), "float32"), -1)
        for v in (angle, translate_x, translate_y, scale, shear_x, shear_y)
    )
    across, down = float(width - 1), float(height - 1)
    cx = across * (0.5 if center_x is None else center_x)
    cy = down * (0.5 if center_y is None else center_y)
    turn, slope_x, slope_y = (v * (math.pi / 180) for v in (angle, shear_x, shear_y))
    cos, sin = ops.cos(turn), ops.sin(turn)
    a, b = ops.tan(slope_x), ops.tan(slope_y)

    down_x, down_y = b * cos - sin, b * sin + cos  # Keras's matrix, by rows from below
    right_x, right_y = cos - a * down_x, sin + a * down_y

    def moved(x, y):
        x, y = x - cx + move_x * across, y - cy + move_y * down
        return (right_x * x + right_y * y) * scale + cx, (down_x * x + down_y * y) * scale + cy

    return ops.stack(envelope(moved, x1, y1, x2, y2), axis=-1)


def envelope(moved, x1, y1, x2, y2):
    """The corners of the boxes around what `moved(x, y)` makes of the corners of boxes."""
    points = [moved(x, y) for x in (x1, x2) for y in (y1, y2)]
    columns = [ops.stack(column, axis=0) for column in zip(*points)]
    return [*(ops.min(c, axis=0) for c in columns), *(ops.max(c, axis=0) for c in columns)]


# Overlaps -----------------------------------------------------------------------------------------
def _in_pixels(name, boxes, form, image_shape):
    _check(name, bounding_box_format=form)
    if _is_relative(form) and image_shape is None:
        raise ValueError(f"{name}: image_shape is needed for {form!r}; got None")
    height, width = image_shape[:2] if image_shape is not None else (None, None)
    return _columns(name, convert_format(boxes, form, "xyxy", height, width))


def _area(x1, y1, x2, y2):
    return (x2 - x1) * (y2 - y1)


def _shared(a, b):
    sides = [ops.minimum(a[i + 2], b[i + 2]) - ops.maximum(a[i], b[i]) for i in (0, 1)]
    return ops.maximum(sides[0], 0.0) * ops.maximum(sides[1], 0.0)


def compute_iou(
    boxes1, boxes2, bounding_box_format, use_masking=False, mask_val=-1, image_shape=None
):
    """The overlap of every box with every other: the shared area by the joint one, (..., N, M).

    Args:
        boxes1, boxes2: Arrays (N, 4) and (M, 4), with or without a batch axis.
        bounding_box_format: See `convert_format`.
        use_masking: Whether pairs with a box of nothing but `mask_val` get `mask_val`.
        mask_val: A number.
        image_shape: (height, width, channels), for boxes in shares.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.compute_iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [0, 1, 2, 3]], "xyxy").shape
    (1, 2)
    """
    ranks = [len(array(b).shape) for b in (boxes1, boxes2)]
    if not set(ranks) <= {2, 3}:
        raise ValueError(
            f"compute_iou: boxes must have rank 2, or 3 with a batch axis; got ranks {ranks[0]} "
            f"and {ranks[1]}"
        )
    pairs = []
    for boxes, axis in ((boxes1, -1), (boxes2, -2)):
        columns = _in_pixels("compute_iou", boxes, bounding_box_format, image_shape)
        pairs.append([ops.expand_dims(c, axis) for c in columns])
    shared = _shared(*pairs)
    joint = _area(*pairs[0]) + _area(*pairs[1]) - shared
    overlap = ops.divide_no_nan(shared, joint)
    if use_masking:
        for boxes, axis in ((boxes1, -1), (boxes2, -2)):
            none = ops.expand_dims(ops.all(ops.equal(array(boxes), mask_val), axis=-1), axis)
            overlap = ops.where(none, float(mask_val), overlap)
    return overlap


def compute_ciou(boxes1, boxes2, bounding_box_format, image_shape=None):
    """The complete overlap of boxes, pair by pair (Zheng et al., 2020): the plain one less the
    distance of the centers and the difference of the aspect ratios.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.compute_ciou([[0, 0, 2, 2]], [[0, 0, 2, 2]], "xyxy").shape
    (1,)
    """
    a, b = (
        _in_pixels("compute_ciou", boxes, bounding_box_format, image_shape)
        for boxes in (boxes1, boxes2)
    )
    shared = _shared(a, b)
    overlap = shared / (_area(*a) + _area(*b) - shared + TINY)
    sides = [ops.maximum(a[i + 2], b[i + 2]) - ops.minimum(a[i], b[i]) for i in (0, 1)]
    diagonal = ops.square(sides[0]) + ops.square(sides[1]) + TINY
    apart = [(a[i] + a[i + 2] - b[i] - b[i + 2]) * 0.5 for i in (0, 1)]
    distance = ops.square(apart[0]) + ops.square(apart[1])
    slant = lambda c: ops.arctan((c[2] - c[0]) / (c[3] - c[1] + TINY))
    v = ops.square(slant(a) - slant(b)) * (4 / math.pi**2)
    return overlap - distance / diagonal - v * v / (v - overlap + (1.0 + TINY))


# Boxes as distances from anchors ------------------------------------------------------------------
def _spread(name, encoding, variance):
    if encoding not in ("center_xywh", "center_yxhw"):
        raise ValueError(
            f"{name}: the encoding must be 'center_xywh' or 'center_yxhw'; got {encoding!r}"
        )
    variance = [1.0] * 4 if variance is None else [float(v) for v in variance]
    if len(variance) != 4:
        raise ValueError(f"{name}: variance must have 4 numbers; got {len(variance)}")
    return variance


def encode_box_to_deltas(
    anchors, boxes, anchor_format, box_format, encoding_format="center_yxhw", variance=None,
    image_shape=None,
):  # fmt: skip
    """How `boxes` differ from `anchors`: centers in sides of the anchor, logarithms of the sides.

    Args:
        anchors, boxes: Arrays (N, 4); boxes may have a batch axis. Or dicts of them by level.
        anchor_format, box_format: See `convert_format`.
        encoding_format: `"center_yxhw"` or `"center_xywh"`.
        variance: Four numbers that the differences are divided by.
        image_shape: (height, width, channels), between shares and pixels.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.encode_box_to_deltas([[0, 0, 4, 4]], [[1, 0, 5, 4]], "xyxy", "xyxy").tolist()
    [[0.0, 0.25, 0.0, 0.0]]
    """
    name = "encode_box_to_deltas"
    variance = _spread(name, encoding_format, variance)
    to = lambda b, form: _to_encoding(name, b, form, encoding_format, image_shape)
    a, b = to(anchors, anchor_format), to(boxes, box_format)
    parts = [(b[i] - a[i]) / a[i + 2] for i in (0, 1)]
    parts += [ops.log(ops.maximum(b[i], TINY) / ops.maximum(a[i], TINY)) for i in (2, 3)]
    return ops.stack([d / v for d, v in zip(parts, variance)], axis=-1)


def decode_deltas_to_boxes(
    anchors, boxes_delta, anchor_format, box_format, encoded_format="center_yxhw", variance=None,
    image_shape=None,
):  # fmt: skip
    """The boxes that differ from `anchors` by `boxes_delta`; see `encode_box_to_deltas`.

    >>> from oneiros.utils import bounding_boxes
    >>> bounding_boxes.decode_deltas_to_boxes([[0, 0, 4, 4]], [[0, 0.25, 0, 0]], "xyxy", "xyxy").tolist()
    [[1.0, 0.0, 5.0, 4.0]]
    """
    name = "decode_deltas_to_boxes"
    if isinstance(anchors, dict):
        return {
            k: decode_deltas_to_boxes(
                anchors[k], boxes_delta[k], anchor_format, box_format, encoded_format, variance,
                image_shape,
            )
            for k in anchors
        }  # fmt: skip
    variance = _spread(name, encoded_format, variance)
    a = _to_encoding(name, anchors, anchor_format, encoded_format, image_shape)
    d = [c * v for c, v in zip(_columns(name, boxes_delta), variance)]
    parts = [d[i] * a[i + 2] + a[i] for i in (0, 1)]
    parts += [ops.exp(d[i]) * a[i] for i in (2, 3)]
    height, width = image_shape[:2] if image_shape is not None else (None, None)
    made = ops.stack(parts, axis=-1)
    return convert_format(made, encoded_format, box_format, height, width)


def _to_encoding(name, boxes, form, encoding, image_shape):
    _check(name, format=form)
    height, width = image_shape[:2] if image_shape is not None else (None, None)
    return _columns(name, convert_format(boxes, form, encoding, height, width))
