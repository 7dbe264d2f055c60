"""The primitives: every operation that a backend must supply, with shape rule and derivative."""

from oneiros.core.primitives.contractions import *  # noqa: F403
from oneiros.core.primitives.control import *  # noqa: F403
from oneiros.core.primitives.elementwise import *  # noqa: F403
from oneiros.core.primitives.linalg import *  # noqa: F403
from oneiros.core.primitives.noise import *  # noqa: F403
from oneiros.core.primitives.reductions import *  # noqa: F403
from oneiros.core.primitives.shaping import *  # noqa: F403

# isort: split
from oneiros.core import simplify as _simplify  # noqa: F401 - its rules are about all of these
