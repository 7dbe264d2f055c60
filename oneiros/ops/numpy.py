"""The ops that NumPy has too, under Keras's name for them: `ops.numpy`."""

from oneiros import ops
from oneiros.ops import (
    contractions,
    creation,
    elementwise,
    indexing,
    reductions,
    shaping,
    statistics,
)

_ROOMS = (elementwise, shaping, indexing, reductions, statistics, contractions, creation)
_OTHERS = {
    "cdist", "erf", "erfc", "erfinv", "rearrange", "rsqrt", "scatter", "scatter_update",
    "segment_max", "segment_min", "segment_prod", "segment_sum", "slice", "slice_update", "unstack",
    "view_as_complex", "view_as_real",
}  # fmt: skip
_NAMES = ("slogdet", "vectorize", *(name for room in _ROOMS for name in room.__all__))
__all__ = [name for name in _NAMES if name not in _OTHERS]
globals().update({name: getattr(ops, name) for name in __all__})
