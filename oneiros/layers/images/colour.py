"""Image layers that change colours: each is a pure function of images and amounts."""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.layers.fields import DataFormat
from oneiros.layers.images.base import ImageLayer
from oneiros.layers.images.fields import Factor, Fraction, Seed, ValueRange
from oneiros.ops.image import GRAY

__all__ = [
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPosterization",
    "RandomSaturation", "RandomSharpness", "Solarization",
]  # fmt: skip

UP = Factor(0, 1, least=0)
BOTH = Factor(-1, 1)


class _Colour(ImageLayer):
    """A layer of colours: it takes `value_range`, and draws one amount for each image."""

    own_dtype = "idle"
    value_range = (0, 255)

    def clipped(self, x):
        return ops.clip(x, *map(float, self.value_range))

    def unit(self, x, top=1.0):
        """Pixels from 0 to `top`."""
        low, high = map(float, self.value_range)
        x = x if low == 0 else x - low
        return x if high - low == top else x * (top / (high - low))

    def back(self, x, top=1.0):
        """Pixels from 0 to `top` in the value range."""
        low, high = map(float, self.value_range)
        x = x if high - low == top else x * ((high - low) / top)
        return x if low == 0 else x + low


def per_image(amount):
    """Amounts (batch,), or (batch, 1, 1, 1), as (batch, 1, 1, 1)."""
    return ops.reshape(amount, (-1, 1, 1, 1)) if len(amount.shape) != 4 else amount


def gray(x):
    """The brightness of images (..., 3) as one channel."""
    red, green, blue = (x[..., i : i + 1] for i in range(3))
    return red * GRAY[0] + green * GRAY[1] + blue * GRAY[2]


class RandomBrightness(_Colour):
    """Images made lighter or darker.

    Args:
        factor: Range of what is added, as a share of the value range, within [-1, 1]; a number f
            stands for (-f, f).
        value_range: The least and the largest value of pixels.
        seed: Seed of the amounts.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomBrightness((0.5, 0.5), (0, 1))(np.zeros((1, 1, 1), "float32")).tolist()
    [[[0.5]]]
    """

    factor: BOTH
    value_range: ValueRange = (0, 255)
    seed: Seed = None
    own_dtype = "always"

    def draw(self, draws, shape):
        low, high = self.value_range
        ends = [f * (high - low) for f in self.factor]
        return {"rgb_delta": draws.uniform((shape[0], 1, 1, 1), *ends)}

    def apply(self, x, amounts):
        return self.clipped(x + per_image(amounts["rgb_delta"]))


class RandomContrast(_Colour):
    """Distances of pixels from their channel's mean, made larger or smaller.

    Args:
        factor: (lower, upper): the distances are multiplied by a number from `1 - lower` to `1 +
            upper`; a number f stands for (0, f).
        value_range, seed: As in `RandomBrightness`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> image = np.array([[[40.0], [60.0]]], "float32")
    >>> layers.RandomContrast((1.0, 1.0), seed=3)(image).shape
    (1, 2, 1)
    """

    factor: UP
    value_range: ValueRange = (0, 255)
    seed: Seed = None

    def draw(self, draws, shape):
        low, high = self.factor
        return {"contrast_factor": draws.uniform((shape[0], 1, 1, 1), 1.0 - low, 1.0 + high)}

    def apply(self, x, amounts):
        mean = ops.mean(x, axis=(1, 2), keepdims=True)
        return self.clipped((x - mean) * per_image(amounts["contrast_factor"]) + mean)


class RandomHue(_Colour, optional=("images",)):
    """Hues turned on the circle of colours, left or right.

    Args:
        factor: Range of the turn within [0, 1], where 1 is half of the circle; a number f stands
            for (0, f).
        value_range, seed: As in `RandomBrightness`.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> cyan = layers.RandomHue((1.0, 1.0))(np.array([[[255.0, 0.0, 0.0]]], "float32"))
    >>> np.abs(np.round(cyan)).tolist()
    [[[0.0, 255.0, 255.0]]]
    """

    factor: UP
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = None
    seed: Seed = None
    channels = (3,)

    def draw(self, draws, shape):
        turn = draws.uniform(shape[:1], *self.factor)
        return {"factor": p.multiply(p.multiply(turn, draws.sign(shape[:1])), 0.5)}

    def apply(self, x, amounts):
        return _turned(self, x, lambda h, s: (h + per_image(amounts["factor"]), s))


class RandomSaturation(_Colour, optional=("images",)):
    """Colours made stronger or weaker.

    Args:
        factor: Range within [-1, 1], where 0 and below is gray, 0.5 the image, and 1 as much colour
            as can be; a number f stands for (-f, f).
        value_range, data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomSaturation((0.0, 0.0))(np.full((1, 1, 3), 9.0, "float32")).shape
    (1, 1, 3)
    """

    factor: BOTH
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = None
    seed: Seed = None
    channels = (3,)

    def draw(self, draws, shape):
        u = draws.uniform(shape[:1], *self.factor)
        return {"factor": p.divide(u, p.maximum(p.subtract(1.0, u), 1e-7))}

    def apply(self, x, amounts):
        # Keras keeps the saturation within the value range of pixels
        strong = lambda s: ops.clip(
            s * per_image(amounts["factor"]), 0.0, float(self.value_range[1])
        )
        return _turned(self, x, lambda h, s: (h, strong(s)))


def _turned(layer, x, change):
    """`x` with hue and saturation changed; without the trip over three planes for each of both.

    Hue lies in sixths of the circle (Smith, 1978).
    """
    red, green, blue = (layer.unit(x[..., i : i + 1]) for i in range(3))
    value = ops.maximum(ops.maximum(red, green), blue)
    width = value - ops.minimum(ops.minimum(red, green), blue)
    safe = ops.where(ops.equal(width, 0.0), 1.0, width)
    hue = ops.where(
        ops.equal(value, red),
        (green - blue) / safe,
        ops.where(ops.equal(value, green), (blue - red) / safe + 2.0, (red - green) / safe + 4.0),
    )
    saturation = width / ops.where(ops.equal(value, 0.0), 1.0, value)
    hue, saturation = change(hue * (1.0 / 6.0), saturation)
    drop, hue = saturation * value, hue * 6.0
    made = []
    for place in (5.0, 3.0, 1.0):  # a trapezoid on the circle for each colour
        k = (hue + place) * (1.0 / 6.0)
        k = (k - ops.floor(k)) * 6.0
        depth = ops.clip(ops.minimum(k, 4.0 - k), 0.0, 1.0)
        made.append(value - drop * depth)
    return layer.back(ops.concatenate(made, axis=-1))


class RandomGrayscale(_Colour):
    """Some images without their colours; three channels stay three.

    Args:
        factor: The share of images, within [0, 1].
        data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> image = np.array([[[100.0, 0.0, 0.0]]], "float32")
    >>> np.round(layers.RandomGrayscale(1.0)(image)).tolist()
    [[[30.0, 30.0, 30.0]]]
    """

    factor: Fraction = 0.5
    data_format: DataFormat = None
    seed: Seed = None
    own_dtype = "always"
    channels = (1, 3)
    config_when_set = ("bounding_box_format", "seed")

    def get_random_transformation(self, images, training=True, seed=None):
        """Which images lose their colours, (batch, 1, 1, 1)."""
        return super().get_random_transformation(images, training, seed)

    def draw(self, draws, shape):
        return p.less(draws.uniform((shape[0], 1, 1, 1)), float(self.factor))

    def apply(self, x, amounts):
        return ops.where(per_image(amounts), gray(x), x) if x.shape[-1] == 3 else x

    def compute_output_spec(self, inputs, **kwargs):
        return super().compute_output_spec(inputs, **kwargs)

    def transform_labels(self, labels, transformations=None, **kwargs):
        return labels

    def transform_bounding_boxes(self, bounding_boxes, **kwargs):
        return bounding_boxes

    def transform_segmentation_masks(self, segmentation_masks, transformations=None, **kwargs):
        return segmentation_masks


class RandomColorDegeneration(_Colour, optional=("images",)):
    """Colours blended with their brightness.

    Args:
        factor: Range of the share of gray within [-1, 1]; a number f stands for (-f, f).
        value_range, data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> image = np.array([[[100.0, 0.0, 0.0]]], "float32")
    >>> np.round(layers.RandomColorDegeneration((1.0, 1.0))(image)).tolist()
    [[[30.0, 30.0, 30.0]]]
    """

    factor: BOTH
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = None
    seed: Seed = None
    channels = (3,)

    def draw(self, draws, shape):
        return {"factor": draws.uniform((shape[0], 1, 1, 1), *self.factor)}

    def apply(self, x, amounts):
        return self.clipped(x + per_image(amounts["factor"]) * (gray(x) - x))


class RandomSharpness(_Colour, optional=("images",)):
    """Images blurred a little, or sharpened.

    Args:
        factor: Range within [0, 1]: 0 is blurred, 0.5 the image, 1 as far on the other side; a
            number f stands for (0, f).
        value_range, data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomSharpness((0.5, 0.5))(np.array([[[1.0], [9.0]]], "float32")).tolist()
    [[[1.0], [9.0]]]
    """

    factor: UP
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = None
    seed: Seed = None
    own_dtype = "never"

    def draw(self, draws, shape):
        return {"factor": draws.uniform(shape[:1], *self.factor)}

    def apply(self, x, amounts):
        # ones around five, by 13, as one blur of ones and the middle
        smooth = (_summed(_summed(x, 1), 2) + x * 4.0) * (1.0 / 13.0)
        return self.clipped(smooth + per_image(amounts["factor"] * 2.0) * (x - smooth))


def _summed(x, axis):
    """Each place with its two neighbours along an axis; zeros lie outside."""
    n = x.shape[axis]
    padded = p.pad(
        x, widths=tuple((1, 1, 0) if i == axis else (0, 0, 0) for i in range(4)), value=0
    )
    cut = lambda a: padded[:, a : a + n] if axis == 1 else padded[:, :, a : a + n]
    return cut(0) + x + cut(2)


class RandomPosterization(_Colour, optional=("images",)):
    """Fewer levels of each colour.

    Args:
        factor: Range of the number of bits, from 1 to 8; a number f stands for (1, f).
        value_range, data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomPosterization((1, 2))(np.array([[[100.0], [200.0]]], "float32")).tolist()
    [[[0.0], [128.0]]]
    """

    factor: Factor(1, 8, least=1)
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = None
    seed: Seed = None

    def draw(self, draws, shape):
        low, high = self.factor
        kept = draws.integers(shape[:1], int(low), max(int(high), int(low) + 1))
        return {"shift_factor": p.cast(p.subtract(8, kept), dtype="uint8")}

    def apply(self, x, amounts):
        step = ops.power(2.0, ops.cast(per_image(amounts["shift_factor"]), "float32"))
        low, high = map(float, self.value_range)
        size = step * ((high - low) / 255.0)
        x = x if low == 0 else x - low
        x = ops.floor(x / size + 1e-6) * size  # what divides to just below is whole
        return x if low == 0 else x + low


class RandomInvert(_Colour):
    """Some images as their negatives.

    Args:
        factor: Range of the share of images within [0, 1]; a number f stands for (0, f).
        value_range, data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomInvert((1.0, 1.0))(np.array([[[55.0]]], "float32")).tolist()
    [[[200.0]]]
    """

    factor: UP = 1.0
    value_range: ValueRange = (0, 255)
    seed: Seed = None
    data_format: DataFormat = None

    def draw(self, draws, shape):
        return {"apply_inversion": draws.chance(shape[:1], *self.factor)}

    def apply(self, x, amounts):
        low, high = map(float, self.value_range)
        return ops.where(per_image(amounts["apply_inversion"]), (low + high) - x, x)


class Solarization(_Colour):
    """Bright pixels as their negatives, after something was added.

    Args:
        addition_factor: Range of what is added, as shares of 255; a number f stands for (0, f).
        threshold_factor: Range of the value from which pixels are inverted, likewise.
        value_range, seed: As in `RandomBrightness`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> image = np.array([[[100.0], [200.0]]], "float32")
    >>> np.round(layers.Solarization(threshold_factor=(0.5, 0.5))(image)).tolist()
    [[[100.0], [55.0]]]
    """

    addition_factor: UP = 0.0
    threshold_factor: UP = 0.0
    value_range: ValueRange = (0, 255)
    seed: Seed = None
    own_dtype = "never"

    def draw(self, draws, shape):
        shape = (shape[0], 1, 1, 1)
        return {
            "additions": draws.uniform(shape, *(255.0 * f for f in self.addition_factor)),
            "thresholds": draws.uniform(shape, *(255.0 * f for f in self.threshold_factor)),
        }

    def apply(self, x, amounts):
        x = ops.clip(self.unit(x, 255.0) + per_image(amounts["additions"]), 0.0, 255.0)
        x = ops.where(x < per_image(amounts["thresholds"]), x, 255.0 - x)
        return self.back(x, 255.0)


class _OddSizes:
    """An odd number of pixels, or two."""

    @staticmethod
    def convert(value, owner, name):
        sizes = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
        if len(sizes) != 2 or any(not isinstance(n, int) or n < 1 or n % 2 == 0 for n in sizes):
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be an odd number, or two; got {value!r}"
            )
        return sizes


class RandomGaussianBlur(_Colour, optional=("images",)):
    """Some images smoothed by a Gaussian; outside of them there are zeros.

    Args:
        factor: Range of the share of images within [0, 1]; a number f stands for (0, f).
        kernel_size: Pixels of the kernel, an odd number or two of them.
        sigma: Range of the deviations, one across and one down; a number s stands for (0, s).
        value_range, data_format, seed: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomGaussianBlur()(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    factor: UP = 1.0
    kernel_size: _OddSizes = 3
    sigma: Factor(0, 1e4, least=0) = 1.0
    value_range: ValueRange = (0, 255)
    data_format: DataFormat = None
    seed: Seed = None
    own_dtype = "never"

    def draw(self, draws, shape):
        return {
            "should_apply_blur": draws.chance(shape[:1], *self.factor),
            "blur_factor": draws.uniform((2,), *self.sigma),
        }

    def apply(self, x, amounts):
        y = x
        for axis, size, i in ((1, self.kernel_size[1], 1), (2, self.kernel_size[0], 0)):
            y = _smoothed(y, axis, size, amounts["blur_factor"][i])
        return ops.where(per_image(amounts["should_apply_blur"]), y, x)


def _smoothed(x, axis, size, sigma):
    """`x` averaged along an axis by a Gaussian of `size` places; zeros lie outside."""
    n, reach = x.shape[axis], size // 2
    places = np.arange(-reach, reach + 1, dtype=np.float32)
    weights = ops.exp(ops.square(places) * -0.5 / ops.maximum(ops.square(sigma), 1e-12))
    weights = weights / ops.sum(weights)
    rows = tuple((reach, reach, 0) if i == axis else (0, 0, 0) for i in range(4))
    padded = p.pad(x, widths=rows, value=0)
    total = None
    for i in range(size):
        part = padded[:, i : i + n] if axis == 1 else padded[:, :, i : i + n]
        total = part * weights[i] if total is None else total + part * weights[i]
    return total


class RandomColorJitter(_Colour):
    """Brightness, contrast, saturation and hue changed one after the other.

    Args:
        value_range: The least and the largest value of pixels.
        brightness_factor, contrast_factor, saturation_factor, hue_factor: As the factors of
            `RandomBrightness`, `RandomContrast`, `RandomSaturation` and `RandomHue`; None leaves
            that out.
        seed, data_format: As in `RandomHue`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandomColorJitter(brightness_factor=0.2)(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    value_range: ValueRange = (0, 255)
    brightness_factor: Factor(-1, 1, kept=True, none=True) = None
    contrast_factor: Factor(0, 1, least=0, kept=True, none=True) = None
    saturation_factor: Factor(-1, 1, kept=True, none=True) = None
    hue_factor: Factor(0, 1, least=0, kept=True, none=True) = None
    seed: Seed = None
    data_format: DataFormat = None

    def _ready(self):
        super()._ready()
        kinds = {
            "brightness": RandomBrightness,
            "contrast": RandomContrast,
            "saturation": RandomSaturation,
            "hue": RandomHue,
        }
        parts = {k: (c, getattr(self, f"{k}_factor")) for k, c in kinds.items()}
        self.parts = {
            k: c(f, value_range=self.value_range, dtype="float32")
            for k, (c, f) in parts.items()
            if f is not None
        }
        if self.parts.keys() & {"saturation", "hue"}:
            self.channels = (3,)

    def draw(self, draws, shape):
        return {k: part.draw(draws, shape) for k, part in self.parts.items()}

    def apply(self, x, amounts):
        for k, part in self.parts.items():
            x = part.apply(x, amounts[k])
        return x
