"""Image layers that join images of a batch, or paint over parts of them."""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.core.dtypes import is_float
from oneiros.core.fields import Number
from oneiros.core.op import dtype_of, to_dtype
from oneiros.layers.fields import DataFormat, Positive
from oneiros.layers.images.base import ImageLayer
from oneiros.layers.images.colour import per_image
from oneiros.layers.images.fields import Factor, Seed, ValueRange

__all__ = ["CutMix", "MaxNumBoundingBoxes", "MixUp", "RandomErasing"]


def rectangles(draws, shape, share):
    """Places of rectangles that cover `share` of each image: top, left, bottom, right (batch, 4).

    They have the aspect ratio of the image; `share` is an array (batch,).
    """
    side = p.sqrt(share)
    rows = []
    for n in shape[1:3]:
        length = p.round(p.multiply(side, float(n)))
        start = p.floor(
            p.multiply(draws.uniform(shape[:1]), p.add(p.subtract(float(n), length), 1.0))
        )
        rows.append((start, p.add(start, length)))
    (top, bottom), (left, right) = rows
    columns = [p.reshape(c, shape=(shape[0], 1)) for c in (top, left, bottom, right)]
    return p.concatenate(*columns, axis=1)


def inside(rectangle, x):
    """Which pixels of images `x` lie in the rectangles, (batch, height, width, 1)."""
    height, width = x.shape[1:3]
    rows = np.arange(height, dtype=np.float32)[None, :, None, None]
    columns = np.arange(width, dtype=np.float32)[None, None, :, None]
    top, left, bottom, right = (per_image(rectangle[:, i]) for i in range(4))
    span = lambda low, high, x: ops.logical_and(ops.less_equal(low, x), ops.greater(high, x))
    return ops.logical_and(span(top, bottom, rows), span(left, right, columns))


def covered(amounts, x):
    """The mask among the amounts: Keras's own if it is there, else that of the rectangles."""
    if "batch_masks" in amounts:
        return amounts["batch_masks"]
    return inside(amounts["rectangles"], x)


class RandomErasing(ImageLayer, optional=("images",)):
    """A rectangle of some images painted over (Zhong et al., 2020).

    Args:
        factor: Range of the share of images within [0, 1]; a number f stands for (0, f).
        scale: Range of the share of pixels within [0, 1], likewise.
        fill_value: The colour; None for normal noise, one picture of it for a batch.
        value_range: The least and the largest value of pixels.
        seed: Seed of the amounts.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomErasing(fill_value=0.0)(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    factor: Factor(0, 1, least=0) = 1.0
    scale: Factor(0, 1, least=0) = (0.02, 0.33)
    fill_value: object = None
    value_range: ValueRange = (0, 255)
    seed: Seed = None
    data_format: DataFormat = None

    def draw(self, draws, shape):
        made = {
            "apply_erasing": draws.chance(shape[:1], *self.factor),
            "rectangles": rectangles(draws, shape, draws.uniform(shape[:1], *self.scale)),
        }
        if self.fill_value is None:
            noise = draws.normal((1, *shape[1:]))
            made["fill_value"] = p.multiply(noise, float(self.value_range[1]))
        return made

    def apply(self, x, amounts):
        low, high = map(float, self.value_range)
        fill = amounts.get("fill_value")
        if fill is None:
            colour = np.asarray(self.fill_value, np.float32).clip(low, high)
            fill = ops.convert_to_tensor(colour) if colour.ndim else float(colour)
        else:
            fill = ops.clip(fill, low, high)
        erased = ops.logical_and(per_image(amounts["apply_erasing"]), covered(amounts, x))
        return ops.where(erased, fill, x)


class _Mixed(ImageLayer):
    """A layer that joins each image with another one of the batch."""

    def mixed_labels(self, labels, amounts):
        weight = ops.reshape(amounts["mix_weight"], (-1,))
        alone = len(labels.shape) == 0 or labels.shape[0] != weight.shape[0]
        if alone:
            return labels
        if not is_float(dtype_of(labels)):
            labels = to_dtype(labels, self.compute_dtype)
        weight = ops.cast(weight, dtype_of(labels))
        weight = ops.reshape(weight, (-1, *[1] * (len(labels.shape) - 1)))
        other = ops.take(labels, amounts["permutation_order"], axis=0)
        return weight * labels + (1.0 - weight) * other

    apply_to_labels = mixed_labels

    def both_boxes(self, boxes, labels, amounts, clip=lambda columns: columns):
        """The boxes of an image and of its partner's after `clip`."""
        order = amounts["permutation_order"]
        other = clip([ops.take(c, order, axis=0) for c in boxes])
        columns = [ops.concatenate(pair, axis=1) for pair in zip(boxes, other)]
        return columns, ops.concatenate([labels, ops.take(labels, order, axis=0)], axis=1)


class CutMix(_Mixed, optional=("images",)):
    """A rectangle of each image replaced by that of another one, labels in proportion (Yun et al.,
    2019).

    Boxes are those of both, the other's cut to the rectangle.

    Args:
        factor: Range within [0, 1]; its middle is the parameter of the beta distribution of the
            share that stays. A number f stands for (0, f).
        seed: Seed of the amounts.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> data = {"images": np.ones((2, 4, 4, 3), "float32"), "labels": np.eye(2, dtype="float32")}
    >>> layers.CutMix()(data)["labels"].shape
    (2, 2)
    """

    factor: Factor(0, 1, least=0) = 1.0
    seed: Seed = None
    data_format: DataFormat = None
    moves_boxes = True

    def draw(self, draws, shape):
        middle = max(sum(self.factor) / 2, 0.01)
        share = p.subtract(1.0, draws.beta(shape[:1], middle, middle))
        places = rectangles(draws, shape, share)
        cut = lambda i: p.slice(places, start=(0, i), stop=(shape[0], i + 1), strides=(1, 1))
        area = p.multiply(p.subtract(cut(2), cut(0)), p.subtract(cut(3), cut(1)))
        weight = p.subtract(1.0, p.divide(area, float(shape[1] * shape[2])))
        return {
            "permutation_order": draws.order(shape[0]),
            "rectangles": places,
            "mix_weight": p.reshape(weight, shape=(shape[0], 1, 1, 1)),
        }

    def apply(self, x, amounts):
        other = ops.take(x, amounts["permutation_order"], axis=0)
        return ops.where(covered(amounts, x), other, x)

    def apply_to_masks(self, masks, amounts):
        other = ops.take(masks, amounts["permutation_order"], axis=0)
        return ops.where(covered(amounts, masks)[..., :1], other, masks)

    def apply_to_boxes(self, boxes, labels, amounts, size):
        top, left, bottom, right = (amounts["rectangles"][:, i : i + 1] for i in range(4))
        low, high = [left, top] * 2, [right, bottom] * 2
        clip = lambda columns: [
            ops.minimum(ops.maximum(c, a), b) for c, a, b in zip(columns, low, high)
        ]
        return (*self.both_boxes(boxes, labels, amounts, clip), size)


class MixUp(_Mixed, optional=("images",)):
    """Images blended with others of the batch, labels likewise (Zhang et al., 2018).

    Boxes are those of both images.

    Args:
        alpha: The parameter of the beta distribution of the weights.
        data_format, seed: As in `CutMix`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> data = {"images": np.ones((2, 4, 4, 3), "float32"), "labels": np.eye(2, dtype="float32")}
    >>> layers.MixUp()(data)["images"].shape
    (2, 4, 4, 3)
    """

    alpha: Number(above=0) = 0.2
    data_format: DataFormat = None
    seed: Seed = None
    own_dtype = "idle"
    moves_boxes = True

    def draw(self, draws, shape):
        return {
            "mix_weight": draws.beta(shape[:1], float(self.alpha), float(self.alpha)),
            "permutation_order": draws.order(shape[0]),
        }

    def apply(self, x, amounts):
        weight = ops.cast(per_image(amounts["mix_weight"]), "float32")
        other = ops.take(x, amounts["permutation_order"], axis=0)
        return other + weight * (x - other)

    def apply_to_masks(self, masks, amounts):
        return self.apply(to_dtype(masks, "float32"), amounts)

    def apply_to_boxes(self, boxes, labels, amounts, size):
        return (*self.both_boxes(boxes, labels, amounts), size)


class MaxNumBoundingBoxes(ImageLayer, optional=("images", "labels", "segmentation_masks")):
    """Boxes, as many for each image: further ones are dropped, missing ones filled up.

    Args:
        max_number: The number.
        fill_value: What boxes and labels are filled up with.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> boxes = {"boxes": np.ones((1, 2, 4), "float32"), "labels": np.ones((1, 2), "float32")}
    >>> data = {"images": np.ones((1, 4, 4, 3), "float32"), "bounding_boxes": boxes}
    >>> layers.MaxNumBoundingBoxes(3)(data)["bounding_boxes"]["labels"].tolist()
    [[1.0, 1.0, -1.0]]
    """

    max_number: Positive
    fill_value: int = -1
    random = False
    own_dtype = "always"
    config_when_set = ("bounding_box_format", "fill_value")

    def get_config(self):
        config = super().get_config()
        if self.fill_value == -1:
            config.pop("fill_value")
        return config

    def _boxes(self, given, amounts, size):
        return {
            k: self._filled(v, -2 if k == "boxes" else -1) if k in ("boxes", "labels") else v
            for k, v in given.items()
        }

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        """Boxes, as many as are wanted."""
        return self._boxes(bounding_boxes, None, None)

    def _filled(self, x, axis):
        rank, count = len(x.shape), self.max_number
        axis += rank
        places = tuple(np.s_[:count] if i == axis else np.s_[:] for i in range(rank))
        missing = max(count - x.shape[axis], 0)
        widths = tuple((0, missing, 0) if i == axis else (0, 0, 0) for i in range(rank))
        value = self.fill_value if not is_float(dtype_of(x)) else float(self.fill_value)
        return p.pad(x[places], widths=widths, value=value) if missing else x[places]
