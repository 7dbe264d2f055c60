"""Batches of images in rows and columns, by Matplotlib."""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import backend, config
from oneiros.visualization.drawing import draw_bounding_boxes, draw_segmentation_masks

__all__ = [
    "plot_bounding_box_gallery",
    "plot_image_gallery",
    "plot_segmentation_mask_gallery",
]


GAP, LINE = 0.08, 0.17  # inches between images, and of a line of text


def plot_image_gallery(
    images,
    y_true=None,
    y_pred=None,
    label_map=None,
    rows=None,
    cols=None,
    value_range=(0, 255),
    scale=2,
    path=None,
    show=None,
    transparent=True,
    dpi=60,
    legend_handles=None,
    data_format=None,
):
    """Images in rows and columns, with their classes below.

    Args:
        images: A batch.
        y_true, y_pred: Class numbers, of the truth and predicted.
        label_map: Class number to name, for these.
        rows, cols: How many; as square as can be if None. What does not fit is left out.
        value_range: The values of black and white.
        scale: Inches of one image.
        path: Of the file to be written.
        show: Whether to show it on the screen; by default, if there is no `path`.
        transparent: Whether the file has no background.
        dpi: Dots per inch of the file.
        legend_handles: Matplotlib's handles for a legend.
        data_format: Where the channels are; the session's setting if None.

    Returns:
        Matplotlib's figure, if it is neither shown nor written.

    Raises:
        ValueError: if the images are no batch, labels come without names, or it shall be both
            written and shown.
    """
    show = path is None if show is None else show
    if path is not None and show:
        raise ValueError("give either `path` or `show=True`, not both")
    if (y_true is not None or y_pred is not None) and label_map is None:
        raise ValueError("`y_true` and `y_pred` need names: give `label_map`")
    x = scaled(images, value_range, data_format)
    rows, cols = _grid(len(x), rows, cols)
    titles = _titles(y_true, y_pred, label_map, len(x))
    # In inches: an image, the text below it, the legend above all.
    wide, high = scale, scale * x.shape[1] / x.shape[2]
    below = LINE * max((title.count("\n") + 1 for title in titles), default=0)
    above = 0 if legend_handles is None else 3 * LINE
    size = cols * (wide + GAP) + GAP, rows * (high + below + GAP) + GAP + above
    figure = _figure(show, figsize=size)
    for i, image in enumerate(x[: rows * cols]):
        row, column = divmod(i, cols)
        left = GAP + column * (wide + GAP)
        bottom = size[1] - above - (row + 1) * (high + GAP) - row * below
        place = (left / size[0], bottom / size[1], wide / size[0], high / size[1])
        axes = figure.add_axes(place)
        axes.imshow(image[..., 0] if image.shape[-1] == 1 else image, "gray", vmin=0, vmax=255)
        axes.axis("off")
        if titles:
            axes.annotate(
                titles[i], (0.5, 0), (0, -2), "axes fraction", "offset points",
                ha="center", va="top", fontsize=min(9, 5 * scale),
            )  # fmt: skip
    if legend_handles is not None:
        figure.legend(handles=legend_handles, loc="upper center", ncols=len(legend_handles))
    if path is not None:
        figure.savefig(path, transparent=transparent, dpi=dpi)
    elif show:
        from matplotlib import pyplot

        pyplot.show()
    if path is not None or show:
        _close(figure, show)
        return None
    return figure


def plot_bounding_box_gallery(
    images,
    bounding_box_format,
    y_true=None,
    y_pred=None,
    value_range=(0, 255),
    true_color=(0, 188, 212),
    pred_color=(255, 235, 59),
    line_thickness=2,
    font_scale=1.0,
    text_thickness=None,
    class_mapping=None,
    ground_truth_mapping=None,
    prediction_mapping=None,
    legend=False,
    legend_handles=None,
    rows=None,
    cols=None,
    data_format=None,
    **kwargs,
):
    """Images in rows and columns, with boxes of the truth and predicted ones drawn on them.

    Args:
        images: A batch.
        bounding_box_format: As in `utils.bounding_boxes.convert_format`.
        y_true, y_pred: Boxes, as in `draw_bounding_boxes`.
        true_color, pred_color: Their colors.
        class_mapping: Class number to name, for both.
        ground_truth_mapping, prediction_mapping: The same for one of them.
        legend: Whether to say which color is which.
        legend_handles: Matplotlib's handles for the legend, in place of ours.
        value_range, rows, cols, data_format, **kwargs: As in `plot_image_gallery`.
        line_thickness, font_scale, text_thickness: As in `draw_bounding_boxes`.

    Raises:
        ValueError: as there, and if `legend_handles` are given without `legend`.
    """
    if legend_handles is not None and not legend:
        raise ValueError("`legend_handles` need `legend=True`")
    x = scaled(images, value_range, data_format)
    handles = []
    for boxes, color, names, title in (
        (y_true, true_color, ground_truth_mapping, "Ground truth"),
        (y_pred, pred_color, prediction_mapping, "Prediction"),
    ):
        if boxes is None:
            continue
        x = draw_bounding_boxes(
            x,
            boxes,
            bounding_box_format,
            names or class_mapping,
            color,
            line_thickness,
            1 if text_thickness is None else text_thickness,
            font_scale,
            data_format="channels_last",
        )
        handles.append(_patch(color, title))
    if legend:
        kwargs["legend_handles"] = legend_handles or handles
    return plot_image_gallery(x, rows=rows, cols=cols, data_format="channels_last", **kwargs)


def plot_segmentation_mask_gallery(
    images,
    num_classes,
    value_range=(0, 255),
    y_true=None,
    y_pred=None,
    color_mapping=None,
    blend=True,
    alpha=0.8,
    ignore_index=-1,
    data_format=None,
    **kwargs,
):
    """Images, each beside itself with the masks of the truth and predicted ones.

    Args:
        images: A batch.
        num_classes: How many classes there are.
        y_true, y_pred: Masks, as in `draw_segmentation_masks`.
        value_range, **kwargs: As in `plot_image_gallery`; each row is one image.
        color_mapping, blend, alpha, ignore_index, data_format: As in `draw_segmentation_masks`.
    """
    x = scaled(images, value_range, data_format)
    columns = [x if x.shape[-1] == 3 else np.repeat(x[..., :1], 3, -1)]
    for masks in (y_true, y_pred):
        if masks is None:
            continue
        masks = np.asarray(backend.to_numpy(masks)).reshape(x.shape[:3])
        columns.append(
            draw_segmentation_masks(
                columns[0], masks, num_classes, color_mapping, alpha, blend, ignore_index,
                data_format="channels_last",
            )
        )  # fmt: skip
    rows = kwargs.pop("rows", None) or len(x)
    kwargs.pop("cols", None)
    side_by_side = np.stack(columns, 1).reshape(-1, *columns[0].shape[1:])
    return plot_image_gallery(
        side_by_side, rows=rows, cols=len(columns), data_format="channels_last", **kwargs
    )


def scaled(images, value_range, data_format):
    """A batch as uint8, channels last, where `value_range` was black and white."""
    x = np.asarray(backend.to_numpy(images))
    if x.ndim != 4:
        raise ValueError(f"`images` must be a batch of rank 4; got an array of shape {x.shape}")
    low, high = value_range
    if not high > low:
        raise ValueError(f"`value_range` must go up; got {value_range}")
    if config.standardize_data_format(data_format) == "channels_first":
        x = x.transpose(0, 2, 3, 1)
    x = (x.astype("float32") - low) * (255 / (high - low))
    return np.clip(np.round(x), 0, 255).astype("uint8")


def _grid(count, rows, cols):
    """How many rows and columns, where one or both are not given."""
    if rows is None and cols is None:
        cols = math.ceil(math.sqrt(count))
    rows = math.ceil(count / cols) if rows is None else rows
    return rows, math.ceil(count / rows) if cols is None else cols


def _titles(y_true, y_pred, names, count):
    """The text below each image."""
    lines = [[] for _ in range(count)]
    for title, labels in (("Truth", y_true), ("Prediction", y_pred)):
        if labels is None:
            continue
        labels = np.asarray(backend.to_numpy(labels)).reshape(count).tolist()
        names_of = names.get if isinstance(names, dict) else dict(enumerate(names)).get
        for line, label in zip(lines, labels):
            line.append(f"{title}: {names_of(int(label), label)}")
    return ["\n".join(line) for line in lines] if any(lines) else []


def _figure(show, **kwargs):
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("galleries need Matplotlib: pip install oneiros[plot]") from None
    if not show:
        return Figure(**kwargs)
    from matplotlib import pyplot

    return pyplot.figure(**kwargs)


def _close(figure, show):
    if show:
        from matplotlib import pyplot

        pyplot.close(figure)


def _patch(color, label):
    from matplotlib.patches import Patch

    return Patch(color=[c / 255 for c in color], label=label)
