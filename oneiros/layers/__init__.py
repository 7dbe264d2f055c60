"""Layers."""

from oneiros.layers.activations import *
from oneiros.layers.attention import *
from oneiros.layers.audio import *
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.config import deserialize, serialize
from oneiros.layers.conv_lstm import *
from oneiros.layers.convolutional import *
from oneiros.layers.core import *
from oneiros.layers.einsum_dense import *
from oneiros.layers.features import *
from oneiros.layers.foreign import *
from oneiros.layers.images import *
from oneiros.layers.input_layer import Input, InputLayer
from oneiros.layers.merging import *
from oneiros.layers.normalization import *
from oneiros.layers.pooling import *
from oneiros.layers.recurrent import *
from oneiros.layers.regularization import *
from oneiros.layers.rescaling import *
from oneiros.layers.text import *
from oneiros.layers.wrappers import *

__all__ = ["Input", "InputLayer", "InputSpec", "Layer", "deserialize", "serialize"]

# Other names of the same classes.
ALIASES = {"AveragePooling": "AvgPool", "MaxPooling": "MaxPool", "Conv": "Convolution"}
for _name in list(globals()):
    for _part, _other in ALIASES.items():
        if (
            _part in _name
            and _name[0] != "_"
            and not _name.startswith(("Adaptive", "Depthwise", "ConvLSTM"))
        ):
            globals()[_name.replace(_part, _other)] = globals()[_name]
