"""Rescaling of inputs, such as images from 0 … 255 to 0 … 1."""

from __future__ import annotations

from oneiros import ops
from oneiros.core.registry import deserialize_keras_object
from oneiros.layers.data_layer import DataLayer

__all__ = ["Rescaling"]


class Rescaling(DataLayer):
    """`inputs * scale + offset`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Rescaling(1 / 255, offset=-0.5)(np.array([0.0, 255.0])).tolist()
    [-0.5, 0.5]
    """

    scale: object
    offset: object = 0.0

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A layer from its config, in which the numbers may be arrays as files write them."""
        parts = {n: deserialize_keras_object(config[n], custom_objects) for n in cls.fields}
        return super().from_config({**config, **parts})

    def call(self, inputs):
        x = ops.cast(inputs, self.compute_dtype)
        return x * ops.cast(self.scale, self.compute_dtype) + ops.cast(
            self.offset, self.compute_dtype
        )
