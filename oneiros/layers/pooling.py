"""Pooling over windows, over everything, and to a given size, over one, two and three axes."""

from __future__ import annotations

from oneiros import ops
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import DataFormat, Padding, PerAxis

__all__ = [
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D",
    "GlobalMaxPooling2D", "GlobalMaxPooling3D", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
]  # fmt: skip


class Pooling(Layer):
    """A number for each window: (batch, *spatial, channels) to the same with fewer places."""

    pool_size: PerAxis
    strides: PerAxis = None
    padding: Padding = "valid"
    data_format: DataFormat = None
    name: str = None
    pool = None

    takes_one = True

    def _ready(self):
        self.strides = self.strides or self.pool_size
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        return type(self).pool(
            inputs,
            pool_size=self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )


class GlobalPooling(Layer):
    """A number for each channel.

    Args:
        keepdims: Whether the spatial axes stay, with length one.
    """

    data_format: DataFormat = None
    keepdims: bool = False

    takes_one = True

    def _ready(self):
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def axes(self):
        """The spatial axes."""
        first = 1 if self.data_format == "channels_last" else 2
        return tuple(range(first, first + self.rank))

    def call(self, inputs):
        return type(self).pool(inputs, axis=self.axes(), keepdims=self.keepdims)


class _GlobalMean1D(GlobalPooling, rank=1):
    """The mean over the steps that the mask does not skip."""

    supports_masking = True

    def call(self, inputs, mask=None):
        if mask is None:
            return ops.mean(inputs, axis=self.axes(), keepdims=self.keepdims)
        axis = self.axes()[0]
        kept = ops.expand_dims(ops.cast(mask, inputs.dtype), 2 if axis == 1 else 1)
        total = ops.sum(inputs * kept, axis=axis, keepdims=self.keepdims)
        return total / ops.sum(kept, axis=axis, keepdims=self.keepdims)

    def compute_mask(self, inputs, mask=None):
        return None


class AdaptivePooling(Layer):
    """Windows of as equal size as possible, as many as `output_size` says."""

    output_size: PerAxis
    data_format: DataFormat = None

    takes_one = True

    def _ready(self):
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        return type(self).pool(inputs, output_size=self.output_size, data_format=self.data_format)


# One class for each rank ---------------------------------------------------------------------------
_OVER = {1: "a sequence", 2: "an image", 3: "a volume"}


def _classes(kind, base, pool, what, call, places, sized=False):
    """The classes over one, two and three axes.

    Args:
        kind: What stands before "Pooling" in their names.
        base: Their base.
        pool: The op that they apply.
        what: The first sentence about them, with `{}` for what they pool.
        call: The arguments of the example, which pools six places on each axis.
        places: How many places its result has on each axis; 0 for an axis that is gone.
        sized: Whether the size of the windows has a default.
    """
    for rank, over in _OVER.items():
        name = f"{kind}Pooling{rank}D"
        given, made = ((2, *(n,) * rank * (n > 0), 3) for n in (6, places))
        doc = f"""{what.format(over)}

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.{name}({call})(np.ones({given}, "float32")).shape
    {made}
    """
        fields = {"pool_size": 2 if rank == 1 else (2,) * rank} if sized else {}
        space = {"__doc__": doc, "__module__": __name__, "pool": staticmethod(pool), **fields}
        space["__annotations__"] = dict.fromkeys(fields, PerAxis)
        parent = _GlobalMean1D if name == "GlobalAveragePooling1D" else base
        yield type(base)(name, (parent,), space, rank=rank)


MaxPooling1D, MaxPooling2D, MaxPooling3D = _classes(
    "Max", Pooling, ops.max_pool, "The largest of each window of {}.", "2", 3, sized=True
)
AveragePooling1D, AveragePooling2D, AveragePooling3D = _classes(
    "Average", Pooling, ops.average_pool, "The mean of each window of {}.", "2", 3
)
GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D = _classes(
    "GlobalMax", GlobalPooling, ops.max, "The largest of each channel of {}.", "", 0
)
GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalAveragePooling3D = _classes(
    "GlobalAverage", GlobalPooling, ops.mean, "The mean of each channel of {}.", "", 0
)
AdaptiveMaxPooling1D, AdaptiveMaxPooling2D, AdaptiveMaxPooling3D = _classes(
    "AdaptiveMax", AdaptivePooling, ops.adaptive_max_pool,
    "The largest of windows that divide {} into as many as are asked for.", "3", 3,
)  # fmt: skip
AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D = _classes(
    "AdaptiveAverage", AdaptivePooling, ops.adaptive_average_pool,
    "The mean of windows that divide {} into as many as are asked for.", "3", 3,
)  # fmt: skip
