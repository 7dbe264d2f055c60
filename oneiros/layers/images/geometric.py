"""Image layers that move pixels: each gives a matrix, which the base applies to images, masks, boxes.

A matrix (batch, 8) holds a to h of the projective map of a pixel (column u, row v) of the result to
the place in the input that it shows: `((a u + b v + c) / k, (d u + e v + f) / k)` with `k = g u + h
v + 1`. Boxes go the other way, by the inverse. (Where Keras's boxes do not follow its images, with
`RandomShear` and `RandomCrop`, these here do.)
"""

from __future__ import annotations

import math

import numpy as np

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.core.fields import OneOf
from oneiros.core.op import to_dtype
from oneiros.layers.fields import DataFormat
from oneiros.layers.images.base import ImageLayer
from oneiros.layers.images.colour import per_image
from oneiros.layers.images.fields import FILL_MODES, INTERPOLATIONS, Factor, Fraction, Seed
from oneiros.ops import image as sampling
from oneiros.utils.bounding_boxes import envelope

__all__ = [
    "RandomElasticTransform", "RandomFlip", "RandomPerspective", "RandomRotation", "RandomShear",
    "RandomTranslation", "RandomZoom",
]  # fmt: skip


class _Geometric(ImageLayer):
    """A layer that moves pixels by a matrix; see the module."""

    moves_boxes = True
    interpolation = "bilinear"
    fill_mode = "constant"
    fill_value = 0.0

    def matrix(self, amounts, size):
        """The columns a to h of the matrices, each an array (batch,) or a number."""
        raise NotImplementedError

    def _mapped(self, x, amounts, interpolation):
        matrix = rows_of(self.matrix(amounts, x.shape[1:3]))
        return ops.image.affine_transform(
            x, matrix, interpolation, self.fill_mode, self.fill_value, "channels_last"
        )

    def apply(self, x, amounts):
        return self._mapped(x, amounts, self.interpolation)

    def apply_to_masks(self, masks, amounts):
        return self._mapped(masks, amounts, "nearest")

    def apply_to_boxes(self, boxes, labels, amounts, size):
        columns = [
            c if isinstance(c, float) else ops.reshape(c, (-1, 1))
            for c in self.matrix(amounts, size)
        ]
        a, b, c, d, e, f, g, h = columns
        # the adjugate: the inverse but for a factor
        inverse = (
            (e - f * h, c * h - b, b * f - c * e),
            (f * g - d, a - c * g, c * d - a * f),
            (d * h - e * g, b * g - a * h, a * e - b * d),
        )

        def moved(x, y):
            u, v, k = (r[0] * x + r[1] * y + r[2] for r in inverse)
            return u / k, v / k

        return envelope(moved, *boxes), labels, size


def rows_of(columns):
    """Columns, some of them plain numbers, as matrices (batch, 8)."""
    like = next(c for c in columns if not isinstance(c, float))
    return ops.stack(
        [ops.full_like(like, c) if isinstance(c, float) else c for c in columns], axis=-1
    )


class RandomFlip(ImageLayer):
    """Some images mirrored.

    Args:
        mode: `"horizontal"`, `"vertical"` or `"horizontal_and_vertical"`.
        seed: Seed of the amounts.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomFlip("horizontal", seed=2)(np.ones((1, 2, 1), "float32")).shape
    (1, 2, 1)
    """

    mode: OneOf("horizontal_and_vertical", "horizontal", "vertical") = "horizontal_and_vertical"
    seed: Seed = None
    data_format: DataFormat = None
    moves_boxes = True

    def draw(self, draws, shape):
        return {"flips": p.less(draws.uniform((shape[0], 1, 1, 1)), 0.5)}

    def apply(self, x, amounts):
        axes = [i for i, word in ((1, "vertical"), (2, "horizontal")) if word in self.mode]
        return ops.where(per_image(amounts["flips"]), ops.flip(x, axes), x)

    apply_to_masks = apply

    def apply_to_boxes(self, boxes, labels, amounts, size):
        flips = ops.reshape(amounts["flips"], (-1, 1))
        boxes = list(boxes)
        for i, (n, word) in enumerate(((size[1], "horizontal"), (size[0], "vertical"))):
            if word in self.mode:
                low, high = boxes[i], boxes[i + 2]
                boxes[i] = ops.where(flips, float(n) - high, low)
                boxes[i + 2] = ops.where(flips, float(n) - low, high)
        return boxes, labels, size


class RandomRotation(_Geometric):
    """Images turned around their middle.

    Args:
        factor: Range of the turn within [-1, 1], where 1 is once around to the left; a number f
            stands for (-f, f).
        fill_mode: What lies outside: `"reflect"`, `"wrap"`, `"constant"` or `"nearest"`.
        interpolation: `"nearest"` or `"bilinear"`.
        seed: Seed of the amounts.
        fill_value: The constant.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> image = np.array([[[1.0], [2.0]], [[3.0], [4.0]]], "float32")
    >>> layers.RandomRotation((0.25, 0.25))(image).round(3).tolist()
    [[[2.0], [4.0]], [[1.0], [3.0]]]
    """

    factor: Factor(-1, 1)
    fill_mode: FILL_MODES = "reflect"
    interpolation: INTERPOLATIONS = "bilinear"
    seed: Seed = None
    fill_value: float = 0.0
    data_format: DataFormat = None

    def draw(self, draws, shape):
        return {"angle": draws.uniform(shape[:1], *(360.0 * f for f in self.factor))}

    def get_random_transformation(self, data, training=True, seed=None):
        """The angles in degrees, and what Keras tells beside them."""
        made = super().get_random_transformation(data, training, seed)
        if made is None:
            return None
        batch, height, width, _ = made["input_shape"]
        size = {"image_height": height, "image_width": width, "batch_size": batch}
        return {**made, **size}

    def matrix(self, amounts, size):
        if "rotation_matrix" in amounts:
            return [amounts["rotation_matrix"][..., i] for i in range(8)]
        turn = amounts["angle"] * (math.pi / 180)
        x, y = (size[1] - 1) * 0.5, (size[0] - 1) * 0.5
        cos, sin = ops.cos(turn), ops.sin(turn)
        return cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0.0, 0.0


class RandomZoom(_Geometric):
    """Images larger or smaller around their middle.

    Args:
        height_factor: Range of the change of height within [-1, 1]: negative zooms in, positive
            out; a number f stands for (-f, f).
        width_factor: The same for the width; None for that of the height.
        fill_mode, interpolation, seed, fill_value, data_format: As in `RandomRotation`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomZoom(0.2)(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    height_factor: Factor(-1, 1, kept=True)
    width_factor: Factor(-1, 1, kept=True, none=True) = None
    fill_mode: FILL_MODES = "reflect"
    interpolation: INTERPOLATIONS = "bilinear"
    seed: Seed = None
    fill_value: float = 0.0
    data_format: DataFormat = None

    def draw(self, draws, shape):
        part = lambda f: draws.uniform((shape[0], 1), *(1.0 + v for v in Factor(-1, 1).ends(f)))
        down = part(self.height_factor)
        across = down if self.width_factor is None else part(self.width_factor)
        return {"height_zoom": down, "width_zoom": across}

    def matrix(self, amounts, size):
        down, across = (ops.reshape(amounts[f"{k}_zoom"], (-1,)) for k in ("height", "width"))
        x, y = (size[1] - 1) * 0.5, (size[0] - 1) * 0.5
        return across, 0.0, (1.0 - across) * x, 0.0, down, (1.0 - down) * y, 0.0, 0.0

    def get_transformed_x_y(self, x, y, transform):
        """The points (x, y) under matrices (batch, 8)."""
        return transformed(x, y, transform)

    def get_clipped_bbox(self, bounding_boxes, h_end, h_start, w_end, w_start):
        """Boxes (batch, boxes, 4) cut at the given edges."""
        low, high = [w_start, h_start] * 2, [w_end, h_end] * 2
        columns = [ops.clip(bounding_boxes[..., i], low[i], high[i]) for i in range(4)]
        return ops.stack(columns, axis=-1)


def transformed(x, y, transform):
    a, b, c, d, e, f, g, h = (transform[..., i : i + 1] for i in range(8))
    k = g * x + h * y + 1.0
    return (a * x + b * y + c) / k, (d * x + e * y + f) / k


def shifted(boxes, w_shift_factor, h_shift_factor):
    """Boxes (batch, boxes, 4) moved right and down."""
    moves = ops.stack([w_shift_factor, h_shift_factor] * 2, axis=-1)
    return boxes + moves


class RandomTranslation(_Geometric):
    """Images moved down and to the right.

    Args:
        height_factor: Range of the move down as a share of the height, within [-1, 1]; a number f
            stands for (-f, f).
        width_factor: The same to the right.
        fill_mode, interpolation, seed, fill_value, data_format: As in `RandomRotation`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> image = np.array([[[1.0], [2.0]]], "float32")
    >>> layers.RandomTranslation(0.0, (0.5, 0.5), fill_mode="constant")(image).tolist()
    [[[0.0], [1.0]]]
    """

    height_factor: Factor(-1, 1, kept=True)
    width_factor: Factor(-1, 1, kept=True)
    fill_mode: FILL_MODES = "reflect"
    interpolation: INTERPOLATIONS = "bilinear"
    seed: Seed = None
    fill_value: float = 0.0
    data_format: DataFormat = None

    get_transformed_x_y = RandomZoom.get_transformed_x_y

    def draw(self, draws, shape):
        moves = []
        for factor, n in ((self.width_factor, shape[2]), (self.height_factor, shape[1])):
            share = draws.uniform((shape[0], 1), *Factor(-1, 1).ends(factor))
            moves.append(p.multiply(share, float(n)))
        return {"translations": p.concatenate(*moves, axis=1)}

    def matrix(self, amounts, size):
        moves = amounts["translations"]
        return 1.0, 0.0, -moves[:, 0], 0.0, 1.0, -moves[:, 1], 0.0, 0.0

    def get_shifted_bbox(self, bounding_boxes, w_shift_factor, h_shift_factor):
        """Boxes moved right and down."""
        return shifted(bounding_boxes, w_shift_factor, h_shift_factor)


class Slope(Factor):
    """As `Factor`, but two numbers are of no sign: the sign is drawn."""

    def ends(self, value, owner=None, name="factor"):
        super().ends(value, owner, name)
        if (
            isinstance(value, (list, tuple))
            and min(value) < 0
            and tuple(value) != (-value[1], value[1])
        ):
            Factor(0, 1).ends(value, owner, name)
        if not isinstance(value, (list, tuple)):
            Factor(0, 1).ends(value, owner, name)
        return super().ends(value, owner, name)


class RandomShear(_Geometric):
    """Images whose rows slide to the side, and columns down or up.

    Args:
        x_factor: Range of how far a row slides for each row above it, within [0, 1], to either
            side; a number f stands for (-f, f).
        y_factor: The same for columns.
        interpolation, fill_mode, fill_value, data_format, seed: As in `RandomRotation`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomShear(0.2)(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    x_factor: Slope(-1, 1) = 0.0
    y_factor: Slope(-1, 1) = 0.0
    interpolation: INTERPOLATIONS = "bilinear"
    fill_mode: FILL_MODES = "reflect"
    fill_value: float = 0.0
    data_format: DataFormat = None
    seed: Seed = None

    get_transformed_x_y = RandomZoom.get_transformed_x_y
    get_shifted_bbox = RandomTranslation.get_shifted_bbox

    def draw(self, draws, shape):
        shape = (shape[0], 1)
        slopes = [
            p.multiply(draws.uniform(shape, *factor), draws.sign(shape))
            for factor in (self.x_factor, self.y_factor)
        ]
        return {"shear_factor": p.concatenate(*slopes, axis=1)}

    def matrix(self, amounts, size):
        slopes = amounts["shear_factor"]
        return 1.0, slopes[:, 0], 0.0, slopes[:, 1], 1.0, 0.0, 0.0, 0.0


class RandomPerspective(_Geometric):
    """Some images seen from another side: their corners are moved.

    Args:
        factor: Range of the share of images within [0, 1]; a number f stands for (0, f).
        scale: How far corners move, within [0, 1]: up to `scale / 2` of their coordinates.
        interpolation, fill_value, seed, data_format: As in `RandomRotation`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomPerspective()(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    factor: Factor(0, 1, least=0) = 1.0
    scale: Fraction = 1.0
    interpolation: INTERPOLATIONS = "bilinear"
    fill_value: float = 0.0
    seed: Seed = None
    data_format: DataFormat = None

    def draw(self, draws, shape):
        right, bottom = shape[2] - 1, shape[1] - 1
        corners = np.array([[[0, 0], [right, 0], [0, bottom], [right, bottom]]], np.float32)
        stretch = draws.uniform((shape[0], 4, 2), 1.0 - self.scale / 2, 1.0 + self.scale / 2)
        return {
            "apply_perspective": draws.chance(shape[:1], *self.factor),
            "start_points": p.broadcast_to(corners, shape=(shape[0], 4, 2)),
            "end_points": p.multiply(corners, stretch),
        }

    def matrix(self, amounts, size):
        start, end = (to_dtype(amounts[f"{k}_points"], "float32") for k in ("start", "end"))
        found = sampling._homography(start, end)
        same = np.array([[1, 0, 0, 0, 1, 0, 0, 0]], np.float32)
        chosen = ops.where(ops.reshape(amounts["apply_perspective"], (-1, 1)), found, same)
        return [chosen[:, i] for i in range(8)]


NODES = 24  # along each axis, of the field that moves pixels


class RandomElasticTransform(_Geometric):
    """Some images with pixels moved by a smooth random field (Simard et al., 2003).

    Args:
        factor: Range of the share of images within [0, 1]; a number f stands for (0, f).
        scale: Range of the strength within [0, 1], one for a batch; a number f stands for (0, f).
        interpolation, fill_mode, fill_value, seed, data_format: As in `RandomRotation`.
        value_range: The least and the largest value of pixels.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomElasticTransform()(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    factor: Factor(0, 1, least=0) = 1.0
    scale: Factor(0, 1, least=0) = 1.0
    interpolation: INTERPOLATIONS = "bilinear"
    fill_mode: OneOf("reflect", "wrap", "constant", "nearest", "mirror") = "reflect"
    fill_value: float = 0.0
    value_range: tuple = (0, 255)
    seed: Seed = None
    data_format: DataFormat = None

    def get_elastic_transform_params(self, height, width, factor):
        """The strength of the field, and the deviation that smooths it, in pixels."""
        return max(height, width) * 0.1 * factor, min(height, width) * 0.05 * factor

    def draw(self, draws, shape):
        return {
            "apply_transform": draws.chance(shape[:1], *self.factor),
            "distortion_factor": p.reshape(draws.uniform((1,), *self.scale), shape=()),
            "noise": draws.normal((shape[0], 2, NODES, NODES)),
        }

    def _moves(self, amounts, size):
        """How far down, and right, each pixel's source lies: (batch, 2, height, width).

        What a Gaussian makes of white noise: a sum of nodes' values weighted by Gaussians, which
        has the same deviation everywhere.
        """
        strength, sigma = self.get_elastic_transform_params(*size, amounts["distortion_factor"])
        weights = []
        for n in size:
            nodes = np.linspace(0, n - 1, NODES, dtype=np.float32)
            apart = np.arange(n, dtype=np.float32)[:, None] - nodes[None, :]
            width = ops.maximum(sigma, (n - 1) / (NODES - 1) + 1e-3)
            w = ops.exp(ops.square(apart) * -0.5 / ops.square(width))
            weights.append(w / ops.sqrt(ops.sum(ops.square(w), axis=1, keepdims=True)))
        field = ops.matmul(weights[0], amounts["noise"])  # (batch, 2, height, nodes)
        field = ops.matmul(field, ops.transpose(weights[1]))
        spread = strength / ops.maximum(2 * math.sqrt(math.pi) * sigma, 1.0)
        apply = ops.cast(per_image(amounts["apply_transform"]), "float32")
        return field * (spread * apply)

    def _mapped(self, x, amounts, interpolation):
        size = height, width = x.shape[1:3]
        moves = self._moves(amounts, size)
        rows = ops.add(moves[:, 0], np.arange(height, dtype=np.float32)[None, :, None])
        columns = ops.add(moves[:, 1], np.arange(width, dtype=np.float32)[None, None, :])
        order = sampling.ORDERS[interpolation]
        made = sampling._warped(x, rows, columns, order, self.fill_mode, self.fill_value)
        return ops.where(per_image(amounts["apply_transform"]), made, x)

    def apply_to_boxes(self, boxes, labels, amounts, size):
        height, width = size
        moves = self._moves(amounts, size)
        flat = ops.reshape(moves, (-1, 2, height * width))

        def moved(x, y):  # to first order: what is shown at a place lies there less its move
            place = [
                ops.cast(ops.clip(v, 0.0, n - 1.0), "int32") for v, n in ((y, height), (x, width))
            ]
            index = place[0] * width + place[1]
            down, right = (ops.take_along_axis(flat[:, i], index, axis=1) for i in (0, 1))
            return x - right, y - down

        return envelope(moved, *boxes), labels, size
