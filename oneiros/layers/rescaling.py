"""Rescaling of inputs, such as images from 0 … 255 to 0 … 1."""

from __future__ import annotations

from oneiros import ops
from oneiros.layers.base import Layer

__all__ = ["Rescaling"]


class Rescaling(Layer):
    """`inputs * scale + offset`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Rescaling(1 / 255, offset=-0.5)(np.array([0.0, 255.0])).tolist()
    [-0.5, 0.5]
    """

    scale: object
    offset: object = 0.0

    def call(self, inputs):
        x = ops.cast(inputs, self.compute_dtype)
        return x * ops.cast(self.scale, self.compute_dtype) + ops.cast(
            self.offset, self.compute_dtype
        )
