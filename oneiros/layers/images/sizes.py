"""Image layers that change sizes: resizing and cropping."""

from __future__ import annotations

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.core.fields import OneOf
from oneiros.layers.fields import DataFormat, Positive
from oneiros.layers.images.base import ImageLayer
from oneiros.layers.images.fields import FixedSeed
from oneiros.ops.resizing import METHODS, like

__all__ = ["CenterCrop", "RandomCrop", "Resizing"]


class _Sized(ImageLayer):
    """A layer whose images have a `height` and a `width` of its own."""

    random = False
    moves_boxes = True

    def apply_to_masks(self, masks, amounts):
        return self.placed(masks, amounts, "nearest")

    def apply(self, x, amounts):
        return self.placed(x, amounts, getattr(self, "interpolation", "bilinear"))

    def resized(self, x, interpolation, **options):
        if tuple(x.shape[1:3]) == (self.height, self.width):
            return x
        size = (self.height, self.width)
        return ops.image.resize(x, size, interpolation, data_format="channels_last", **options)


def moved(boxes, moves, scale):
    """Four columns less `moves` (left, top), times `scale` (across, down)."""
    return [(c - m) * s for c, m, s in zip(boxes, [*moves, *moves], [*scale, *scale])]


class Resizing(_Sized, optional=("images", "labels", "segmentation_masks")):
    """Images in another size; integers stay integers.

    Args:
        height, width: The size.
        interpolation: `"nearest"`, `"bilinear"`, `"bicubic"`, `"lanczos3"` or `"lanczos5"`.
        crop_to_aspect_ratio: Whether to cut off what exceeds the new aspect ratio first.
        pad_to_aspect_ratio: Whether to fill up to the new aspect ratio with `fill_value` first.
        fill_mode: `"constant"`.
        fill_value: What to fill up with.
        antialias: Whether to average when the image shrinks.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Resizing(1, 4)(np.array([[[0.0], [4.0]]], "float32")).tolist()
    [[[0.0], [1.0], [3.0], [4.0]]]
    """

    height: Positive
    width: Positive
    interpolation: OneOf(*METHODS) = "bilinear"
    crop_to_aspect_ratio: bool = False
    pad_to_aspect_ratio: bool = False
    fill_mode: OneOf("constant") = "constant"
    fill_value: float = 0.0
    antialias: bool = False
    data_format: DataFormat = None
    own_dtype = "always"

    def _ready(self):
        super()._ready()
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ValueError(
                "Resizing: only one of `crop_to_aspect_ratio` and `pad_to_aspect_ratio` can be true"
            )

    def rounded(self, y, dtype):
        return like(y, dtype)

    def placed(self, x, amounts, interpolation):
        return self.resized(
            x,
            interpolation,
            antialias=self.antialias and interpolation != "nearest",
            crop_to_aspect_ratio=self.crop_to_aspect_ratio,
            pad_to_aspect_ratio=self.pad_to_aspect_ratio,
            fill_value=self.fill_value,
        )

    def apply_to_boxes(self, boxes, labels, amounts, size):
        have, want = [*size], (self.height, self.width)
        starts = [0, 0]
        if self.crop_to_aspect_ratio or self.pad_to_aspect_ratio:
            choose = min if self.crop_to_aspect_ratio else max
            for i, j in ((0, 1), (1, 0)):
                wanted = choose(size[i], int(float(size[j] * want[i]) / want[j]))
                starts[i] = int((size[i] - wanted) / 2)
                # what fills up is as much on both sides
                have[i] = wanted if wanted <= size[i] else size[i] - 2 * starts[i]
        scale = [m / n for m, n in zip(want, have)]
        return moved(boxes, starts[::-1], scale[::-1]), labels, want


class CenterCrop(_Sized, optional=("images",)):
    """The middle of images; images that are smaller are enlarged first.

    Args:
        height, width: The size.
        data_format: As in `Resizing`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.CenterCrop(1, 1)(np.array([[[1.0], [2.0], [3.0]]], "float32")).tolist()
    [[[2.0]]]
    """

    height: Positive
    width: Positive
    data_format: DataFormat = None

    def _fits(self, size):
        return size[0] >= self.height and size[1] >= self.width

    def _start(self, size):
        return int((size[0] - self.height) / 2), int((size[1] - self.width) / 2)

    def placed(self, x, amounts, interpolation):
        if not self._fits(x.shape[1:3]):
            return self.resized(x, interpolation, crop_to_aspect_ratio=True)
        top, left = self._start(x.shape[1:3])
        return x[:, top : top + self.height, left : left + self.width]

    def apply_to_boxes(self, boxes, labels, amounts, size):
        if not self._fits(size):
            return Resizing(self.height, self.width, crop_to_aspect_ratio=True).apply_to_boxes(
                boxes, labels, amounts, size
            )
        top, left = self._start(size)
        want = self.height, self.width
        return moved(boxes, (float(left), float(top)), (1.0, 1.0)), labels, want


class RandomCrop(_Sized):
    """A part of images, the same for all of a batch; images that are smaller are enlarged.

    Outside of training images stay as they are.

    Args:
        height, width: The size.
        seed: Seed of the place; one is made up if None.
        data_format: As in `Resizing`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomCrop(2, 3)(np.ones((4, 4, 1), "float32")).shape
    (2, 3, 1)
    """

    height: Positive
    width: Positive
    seed: FixedSeed = None
    data_format: DataFormat = None
    name: str = None
    random = True
    own_dtype = "idle"

    def draw(self, draws, shape):
        room = [max(n - m, 0) for n, m in ((shape[1], self.height), (shape[2], self.width))]
        return tuple(p.reshape(draws.integers((1,), 0, n + 1), shape=()) for n in room)

    def get_random_transformation(self, data, training=True, seed=None):
        """The place (top, left) of the part."""
        return super().get_random_transformation(data, training, seed) if training else (0, 0)

    def placed(self, x, amounts, interpolation):
        batch, height, width, channels = x.shape
        sizes = min(height, self.height), min(width, self.width)
        if isinstance(amounts[0], int):
            top, left = amounts
            return self.resized(x[:, top : top + sizes[0], left : left + sizes[1]], interpolation)
        zero = amounts[0] * 0
        x = p.dynamic_slice(x, zero, *amounts, zero, sizes=(batch, *sizes, channels))
        return self.resized(x, interpolation)

    def _run_eager(self, data, amounts):
        """As it is: a part of an array that is there needs no compiled function."""
        return self._changed(data, tuple(map(int, amounts)))

    def transform_bounding_boxes(self, bounding_boxes, transformation, training=True):
        """Boxes after the change, for images of which no side is smaller than the part."""
        if not training:
            return bounding_boxes
        return self._boxes(bounding_boxes, transformation, (1 << 20, 1 << 20))

    def apply_to_boxes(self, boxes, labels, amounts, size):
        want = self.height, self.width
        scale = [m / min(n, m) for n, m in zip(size, want)]
        top, left = (v if isinstance(v, int) else ops.cast(v, "float32") for v in amounts)
        return moved(boxes, (left, top), scale[::-1]), labels, want

    def compute_output_shape(self, input_shape, *args, **kwargs):
        """The shape of images in training."""
        shape = list(input_shape)
        first = self.data_format == "channels_first"
        shape[-2 if first else -3], shape[-1 if first else -2] = self.height, self.width
        return tuple(shape)
