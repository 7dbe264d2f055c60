"""The functions of the public API over arrays and symbols: Keras's `ops`."""

from oneiros.ops.elementwise import *  # noqa: F403  isort: skip
from oneiros.ops.shaping import *  # noqa: F403  isort: skip
from oneiros.ops.indexing import *  # noqa: F403  isort: skip
from oneiros.ops.reductions import *  # noqa: F403  isort: skip
from oneiros.ops.contractions import *  # noqa: F403  isort: skip
from oneiros.ops.creation import *  # noqa: F403  isort: skip
from oneiros.ops.statistics import *  # noqa: F403  isort: skip
from oneiros.ops.control import *  # noqa: F403  isort: skip
from oneiros.ops.linalg import *  # noqa: F403  isort: skip
from oneiros.ops.nn import *  # noqa: F403  isort: skip
from oneiros.ops.signal import *  # noqa: F403  isort: skip
from oneiros.ops import image, operators  # noqa: F401  isort: skip
from oneiros.ops import numpy  # noqa: F401  isort: skip
