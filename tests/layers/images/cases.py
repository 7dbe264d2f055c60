"""Rows for the image layers: class name, arguments, and what of Keras's own is not compared."""

from typing import NamedTuple


class Row(NamedTuple):
    name: str
    kwargs: dict = {}
    skip: tuple = ()  # of "amounts" (they have another form), "boxes", "masks"

    def __str__(self):
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.kwargs.items())])


UNIT = dict(value_range=(0, 1))

# Deterministic: the whole call is compared.
FIXED = [
    Row("Resizing", dict(height=4, width=5)),
    Row("Resizing", dict(height=11, width=9, interpolation="bicubic")),
    Row("Resizing", dict(height=3, width=4, interpolation="lanczos3", antialias=True)),
    Row("Resizing", dict(height=5, width=5, interpolation="nearest")),
    Row("Resizing", dict(height=4, width=4, crop_to_aspect_ratio=True)),
    Row("Resizing", dict(height=4, width=4, pad_to_aspect_ratio=True, fill_value=3.0), ("boxes",)),
    Row("CenterCrop", dict(height=4, width=5)),
    Row("CenterCrop", dict(height=10, width=12)),
    Row("AutoContrast"),
    Row("AutoContrast", UNIT),
    Row("Equalization"),
    Row("Equalization", dict(bins=16, value_range=(-1, 1))),
    Row("ContrastLimitedAdaptiveHistogramEqualization", dict(tile_grid_size=(2, 2)), ("boxes",)),
    Row(
        "ContrastLimitedAdaptiveHistogramEqualization",
        dict(tile_grid_size=(3, 3), clip_limit=1.5, value_range=(0, 1)),
        ("boxes",),
    ),
    Row("MaxNumBoundingBoxes", dict(max_number=1)),
    Row("MaxNumBoundingBoxes", dict(max_number=3, fill_value=0)),
]

# Random: Keras's amounts are fed to both.
RANDOM = [
    *[Row("RandomFlip", dict(mode=m)) for m in ("horizontal", "vertical")],
    Row("RandomFlip"),
    *[Row("RandomRotation", dict(factor=0.2, fill_mode=m)) for m in ("reflect", "wrap")],
    Row("RandomRotation", dict(factor=0.2, fill_mode="constant", fill_value=7.0)),
    Row("RandomRotation", dict(factor=(0.1, 0.2), fill_mode="nearest", interpolation="nearest")),
    Row("RandomZoom", dict(height_factor=0.3)),
    Row("RandomZoom", dict(height_factor=(-0.3, 0.1), width_factor=0.2, fill_mode="constant")),
    Row("RandomTranslation", dict(height_factor=0.3, width_factor=(0.1, 0.2))),
    Row("RandomTranslation", dict(height_factor=0.3, width_factor=0.2, fill_mode="constant")),
    Row("RandomShear", dict(x_factor=0.3, y_factor=(0.1, 0.2)), ("boxes",)),
    Row("RandomPerspective", dict(scale=0.5)),
    Row("RandomCrop", dict(height=4, width=5), ("boxes",)),
    Row("RandomBrightness", dict(factor=0.3)),
    Row("RandomBrightness", dict(factor=(0.1, 0.2), **UNIT)),
    Row("RandomContrast", dict(factor=0.5)),
    Row("RandomContrast", dict(factor=(0.2, 0.7), value_range=(-1, 1))),
    Row("RandomHue", dict(factor=0.7)),
    Row("RandomHue", dict(factor=(0.2, 0.4), **UNIT)),
    Row("RandomSaturation", dict(factor=(0.3, 0.9), **UNIT)),
    Row("RandomSaturation", dict(factor=(0.3, 0.6))),
    Row("RandomGrayscale", {}, ("boxes", "masks")),
    Row("RandomColorDegeneration", dict(factor=0.5)),
    Row("RandomSharpness", dict(factor=1.0)),
    Row("RandomSharpness", dict(factor=0.7, value_range=(-1, 1))),
    Row("RandomPosterization", dict(factor=6)),
    Row("RandomPosterization", dict(factor=(2, 4), **UNIT)),
    Row("RandomInvert"),
    Row("RandomInvert", UNIT),
    Row("RandomGaussianBlur", dict(kernel_size=(3, 5), sigma=(0.5, 0.9))),
    Row("RandomErasing"),
    Row("RandomErasing", dict(factor=0.6, fill_value=3.0)),
    Row("Solarization", dict(addition_factor=0.3, threshold_factor=(0.4, 0.8))),
    Row("Solarization", dict(addition_factor=0.3, threshold_factor=0.8, **UNIT)),
    Row("CutMix", {}, ("boxes", "masks")),
    Row("MixUp", {}, ("boxes", "masks")),
    Row("RandAugment", dict(num_ops=1)),
    Row("RandAugment", dict(num_ops=1, factor=(0.2, 0.4), **UNIT)),
    Row("AugMix", {}, ("boxes", "masks")),
]
JITTER = [
    Row("RandomColorJitter", {f"{kind}_factor": 0.4})
    for kind in ("brightness", "contrast", "saturation", "hue")
]
ELASTIC = [Row("RandomElasticTransform", dict(factor=0.8, scale=(0.2, 0.7)))]
EVERY = [*FIXED, *RANDOM, *JITTER, *ELASTIC]
NAMES = sorted({row.name for row in EVERY})
