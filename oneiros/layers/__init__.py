"""Layers."""

from oneiros.layers.attention import *  # noqa: F403
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.convolutional import *  # noqa: F403
from oneiros.layers.core import *  # noqa: F403
from oneiros.layers.einsum_dense import *  # noqa: F403
from oneiros.layers.input_layer import Input, InputLayer
from oneiros.layers.merging import *  # noqa: F403
from oneiros.layers.normalization import *  # noqa: F403
from oneiros.layers.pooling import *  # noqa: F403
from oneiros.layers.recurrent import *  # noqa: F403
from oneiros.layers.regularization import *  # noqa: F403
from oneiros.layers.rescaling import *  # noqa: F403
from oneiros.layers.wrappers import *  # noqa: F403

__all__ = ["Input", "InputLayer", "InputSpec", "Layer"]
