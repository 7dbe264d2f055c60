"""Layers."""

from oneiros.layers.attention import *
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.conv_lstm import *
from oneiros.layers.convolutional import *
from oneiros.layers.core import *
from oneiros.layers.einsum_dense import *
from oneiros.layers.input_layer import Input, InputLayer
from oneiros.layers.merging import *
from oneiros.layers.normalization import *
from oneiros.layers.pooling import *
from oneiros.layers.recurrent import *
from oneiros.layers.regularization import *
from oneiros.layers.rescaling import *
from oneiros.layers.wrappers import *

__all__ = ["Input", "InputLayer", "InputSpec", "Layer"]
