"""Boxes and masks drawn into images: NumPy arrays of uint8, channels last."""

from __future__ import annotations

import colorsys

import numpy as np

from oneiros.core import backend, config
from oneiros.utils import bounding_boxes as boxes_of
from oneiros.utils.images import pillow

__all__ = ["draw_bounding_boxes", "draw_segmentation_masks", "host_images"]

FONT_SIZE = 14  # pixels, at font_scale 1


def draw_bounding_boxes(
    images,
    bounding_boxes,
    bounding_box_format,
    class_mapping=None,
    color=(128, 128, 128),
    line_thickness=2,
    text_thickness=1,
    font_scale=1.0,
    data_format=None,
):
    """Images with boxes drawn on them, and their classes above.

    Args:
        images: A batch, values from 0 to 255.
        bounding_boxes: A dict of `"boxes"` (batch, boxes, 4), `"labels"` (batch, boxes), where -1 is
            no box, and maybe `"confidences"`.
        bounding_box_format: As in `utils.bounding_boxes.convert_format`.
        class_mapping: Class number to name; classes that are not there are shown as numbers.
        color: Of the boxes, as (red, green, blue).
        line_thickness: In pixels.
        text_thickness: How bold the text is; 1 is plain.
        font_scale: The size of the text, as a factor.
        data_format: Where the channels are; the session's setting if None.

    >>> import numpy as np
    >>> from oneiros import visualization
    >>> boxes = {"boxes": np.array([[[1, 1, 6, 6]]]), "labels": np.array([[0]])}
    >>> images = visualization.draw_bounding_boxes(
    ...     np.zeros((1, 8, 8, 3)), boxes, "xyxy", color=(9, 0, 0), line_thickness=1, text_thickness=0
    ... )
    >>> images[0, 6, :, 0].tolist()
    [0, 9, 9, 9, 9, 9, 9, 0]

    Raises:
        ValueError: if the images are no batch, or the boxes lack a part or have another shape.
    """
    pixels = host_images(images, data_format)
    if not isinstance(bounding_boxes, dict) or not {"boxes", "labels"} <= bounding_boxes.keys():
        raise ValueError(
            '`bounding_boxes` must be a dict with "boxes" and "labels"; got '
            + (str(sorted(bounding_boxes)) if isinstance(bounding_boxes, dict) else
               type(bounding_boxes).__name__)
        )  # fmt: skip
    height, width = pixels.shape[1:3]
    boxes = _host(
        boxes_of.convert_format(
            _host(bounding_boxes["boxes"]).astype("float32"),
            bounding_box_format,
            "xyxy",
            height=height,
            width=width,
        )
    )
    labels = _host(bounding_boxes["labels"])
    sure = bounding_boxes.get("confidences")
    sure = None if sure is None else _host(sure)
    if boxes.ndim != 3 or len(boxes) != len(pixels) or labels.shape[:2] != boxes.shape[:2]:
        raise ValueError(
            f"for {len(pixels)} images, boxes must have the shape (images, boxes, 4) and labels "
            f"(images, boxes); got {boxes.shape} and {labels.shape}"
        )
    made = []
    for i, image in enumerate(pixels):
        texts = [
            _text(labels[i, j], class_mapping, None if sure is None else sure[i, j])
            for j in range(boxes.shape[1])
        ]
        found = [(b, t) for b, t, y in zip(boxes[i], texts, labels[i]) if np.max(y) >= 0]
        made.append(_with_boxes(image, found, color, line_thickness, text_thickness, font_scale))
    return np.stack(made)


def _text(label, names, sure):
    label = int(label) if np.ndim(label) == 0 else int(np.argmax(label))
    text = str((names or {}).get(label, label))
    return text if sure is None else f"{text} | {float(sure):.2f}"


def _with_boxes(image, found, color, thickness, bold, scale):
    """One image with pairs of a box and its text."""
    library = pillow()
    from PIL import ImageDraw, ImageFont

    gray = image.shape[-1] == 1
    canvas = library.fromarray(image[..., 0] if gray else image).convert("RGB")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size=max(FONT_SIZE * scale, 1))
    color = tuple(int(c) for c in color)
    dark = 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2] < 140
    for box, text in found:
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=int(thickness))
        if not text or not bold:
            continue
        left, top, right, bottom = draw.textbbox((0, 0), text, font, stroke_width=int(bold) - 1)
        wide, high = right - left + 4, bottom - top + 4
        y = y1 - high if y1 >= high else y1  # above the box, or in it at the image's edge
        x = min(max(x1, 0), max(canvas.width - wide, 0))
        draw.rectangle((x, y, x + wide, y + high), fill=color)
        place = x + 2 - left, y + 2 - top
        draw.text(place, text, "white" if dark else "black", font, stroke_width=int(bold) - 1)
    return np.asarray(canvas)


def draw_segmentation_masks(
    images,
    segmentation_masks,
    num_classes=None,
    color_mapping=None,
    alpha=0.8,
    blend=True,
    ignore_index=-1,
    data_format=None,
):
    """Images with the class of each pixel shown by a color.

    Args:
        images: A batch, values from 0 to 255.
        segmentation_masks: Class numbers, (batch, height, width) or with an axis of length 1.
        num_classes: How many classes there are; one more than the largest number if None.
        color_mapping: Class number to (red, green, blue); colors far from each other if None.
        alpha: How much of the color is seen, from 0 to 1.
        blend: Whether the image is seen under the colors; else the colors are given alone.
        ignore_index: The class that is not drawn.
        data_format: Where the channels are; the session's setting if None.

    >>> import numpy as np
    >>> from oneiros import visualization
    >>> visualization.draw_segmentation_masks(
    ...     np.full((1, 1, 2, 3), 100), np.array([[[0, -1]]]), color_mapping={0: (255, 0, 0)}
    ... ).tolist()
    [[[[224, 20, 20], [100, 100, 100]]]]

    Raises:
        ValueError: if the images are no batch, shapes differ, or a class has no color.
        TypeError: if the masks are not whole numbers.
    """
    pixels = host_images(images, data_format)
    masks = _host(segmentation_masks)
    if masks.dtype.kind not in "iu":
        raise TypeError(f"`segmentation_masks` must be whole numbers; got dtype {masks.dtype}")
    first = config.standardize_data_format(data_format) == "channels_first"
    if masks.ndim == 4 and masks.shape[1 if first else -1] == 1:
        masks = masks[:, 0] if first else masks[..., 0]
    if masks.shape != pixels.shape[:3]:
        raise ValueError(
            f"`segmentation_masks` of shape {masks.shape} do not fit images of {pixels.shape[:3]}"
        )
    seen = masks != ignore_index
    numbers = np.unique(masks[seen]).tolist()
    if num_classes is None:
        num_classes = max(numbers, default=0) + 1
    colors = color_mapping or dict(enumerate(palette(num_classes)))
    if missing := [n for n in numbers if n not in colors]:
        raise ValueError(f"classes {missing} have no color: there are colors for {sorted(colors)}")
    painted = np.zeros(pixels.shape[:3] + (3,), "float32")
    for number in numbers:
        painted[masks == number] = colors[number]
    if blend:
        painted = pixels.astype("float32") * (1 - alpha) + painted * alpha
    return np.where(seen[..., None], painted, pixels).astype("uint8")


def palette(count):
    """Colors far from each other, the first ones as far as can be, as (red, green, blue)."""
    made = []
    for i in range(count):
        hue, light = (i * 0.618034) % 1, 0.55 if i % 2 == 0 else 0.4
        made.append(tuple(round(255 * v) for v in colorsys.hls_to_rgb(hue, light, 0.9)))
    return made


def host_images(images, data_format=None):
    """A batch as uint8 on the host, channels last, with three channels or one."""
    x = _host(images)
    if x.ndim != 4:
        raise ValueError(f"`images` must be a batch of rank 4; got an array of shape {x.shape}")
    if config.standardize_data_format(data_format) == "channels_first":
        x = x.transpose(0, 2, 3, 1)
    if x.dtype != np.uint8:
        x = np.clip(x, 0, 255).astype("uint8")
    return x


def _host(x):
    return np.asarray(backend.to_numpy(x))
