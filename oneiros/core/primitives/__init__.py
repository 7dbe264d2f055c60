"""The primitives: every operation that a backend must supply, with shape rule and derivative."""

from oneiros.core.primitives.contractions import *
from oneiros.core.primitives.control import *
from oneiros.core.primitives.elementwise import *
from oneiros.core.primitives.linalg import *
from oneiros.core.primitives.noise import *
from oneiros.core.primitives.reductions import *
from oneiros.core.primitives.shaping import *

# isort: split
from oneiros.core import simplify as _simplify  # noqa: F401 - its rules are about all of these
