"""Layers for images: sizes, geometry, colours, mixtures, policies; `base` says what they share."""

from oneiros.layers.images import colour, geometric, histograms, mixing, policies, sizes
from oneiros.layers.images.colour import *
from oneiros.layers.images.geometric import *
from oneiros.layers.images.histograms import *
from oneiros.layers.images.mixing import *
from oneiros.layers.images.policies import *
from oneiros.layers.images.sizes import *

_ROOMS = colour, geometric, histograms, mixing, policies, sizes
__all__ = [name for room in _ROOMS for name in room.__all__]
