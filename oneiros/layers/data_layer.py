"""The base of layers that prepare data."""

from __future__ import annotations

from oneiros.core import backend
from oneiros.layers.base import Layer

__all__ = ["DataLayer"]


class DataLayer(Layer):
    """A layer that prepares data: in a model, in a pipeline of data, or by itself."""

    autograph_info__ = {}  # TensorFlow runs it in `dataset.map` as it is

    def convert_weight(self, weight):
        """`weight` as an array of the session's backend."""
        return backend.to_array(weight)
