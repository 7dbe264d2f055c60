"""Layers."""

from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.core import Dense
from oneiros.layers.input_layer import Input, InputLayer

__all__ = ["Dense", "Input", "InputLayer", "InputSpec", "Layer"]
