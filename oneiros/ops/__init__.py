"""The functions of the public API over arrays and symbols: Keras's `ops`."""

from oneiros.ops.contractions import *
from oneiros.ops.control import *
from oneiros.ops.creation import *
from oneiros.ops.elementwise import *
from oneiros.ops.indexing import *
from oneiros.ops.linalg import *
from oneiros.ops.nn import *
from oneiros.ops.reductions import *
from oneiros.ops.shaping import *
from oneiros.ops.signal import *
from oneiros.ops.statistics import *

from oneiros.ops import image, operators  # noqa: F401  isort: skip
from oneiros.ops import numpy  # noqa: F401  isort: skip
