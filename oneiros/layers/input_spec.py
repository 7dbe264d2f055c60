"""What a layer asks of its inputs: rank, shape, dtype."""

from __future__ import annotations

from oneiros.core import tree
from oneiros.core.configurable import Configurable
from oneiros.core.spec import dtype_name

__all__ = ["InputSpec", "check_input"]


class InputSpec(Configurable):
    """Rank, shape and dtype that an input must have; None asks nothing.

    Args:
        dtype: Expected dtype.
        shape: Expected shape; None stands for any size.
        ndim: Expected rank.
        max_ndim: Largest rank.
        min_ndim: Smallest rank.
        axes: Axis to expected size.
        allow_last_axis_squeeze: Whether a last axis of size one may be missing or extra.
        name: Key of the input when inputs are a dict.
        optional: Whether the input may be None.
    """

    dtype: str = None
    shape: tuple = None
    ndim: int = None
    max_ndim: int = None
    min_ndim: int = None
    axes: dict = None
    allow_last_axis_squeeze: bool = False
    name: str = None
    optional: bool = False

    def __init__(
        self,
        dtype=None,
        shape=None,
        ndim=None,
        max_ndim=None,
        min_ndim=None,
        axes=None,
        allow_last_axis_squeeze=False,
        name=None,
        optional=False,
    ):
        self.dtype = dtype_name(dtype) if dtype is not None else None
        self.shape = None if shape is None else tuple(shape)
        self.ndim = len(self.shape) if self.shape is not None else ndim
        self.max_ndim, self.min_ndim = max_ndim, min_ndim
        self.axes = {int(k): v for k, v in (axes or {}).items()}
        self.allow_last_axis_squeeze, self.name, self.optional = (
            allow_last_axis_squeeze,
            name,
            optional,
        )
        rank = max_ndim if max_ndim is not None else self.ndim
        if self.axes and rank is not None and max(self.axes) >= rank:
            raise ValueError(f"axes may name axes below {rank}; got {max(self.axes)}")


def check_input(spec, inputs, name):
    """Raise a ValueError that names layer `name` where `inputs` are not as `spec` says."""
    specs = tree.flatten(spec) if isinstance(spec, (list, tuple, dict)) else [spec]
    if isinstance(inputs, dict) and all(s.name for s in specs):
        values = [inputs.get(s.name) for s in specs]
    else:
        values = tree.flatten(inputs) if isinstance(inputs, (list, tuple, dict)) else [inputs]
    if len(values) != len(specs):
        raise ValueError(
            f'Layer "{name}" expects {len(specs)} input(s), but it received {len(values)} input tensors. '
            f"Inputs received: {inputs}"
        )
    for i, (x, s) in enumerate(zip(values, specs)):
        if s is None or x is None and s.optional:
            continue
        shape = getattr(x, "shape", None)
        if shape is None:
            raise ValueError(f'Input {i} of layer "{name}" must be an array; got {x!r}')
        problem = _problem(tuple(shape), x, s)
        if problem:
            raise ValueError(
                f'Input {i} of layer "{name}" is incompatible with the layer: {problem}. '
                f"Full shape received: {tuple(shape)}"
            )


def _problem(shape, x, s):
    """What is wrong with an input of `shape`, or None."""
    rank = len(shape)
    if s.ndim is not None and not s.allow_last_axis_squeeze and rank != s.ndim:
        return f"expected ndim={s.ndim}, found ndim={rank}"
    if s.max_ndim is not None and rank > s.max_ndim:
        return f"expected max_ndim={s.max_ndim}, found ndim={rank}"
    if s.min_ndim is not None and rank < s.min_ndim:
        return f"expected min_ndim={s.min_ndim}, found ndim={rank}"
    if s.dtype is not None and dtype_name(x.dtype) != s.dtype:
        return f"expected dtype={s.dtype}, found dtype={dtype_name(x.dtype)}"
    for axis, size in s.axes.items():
        if size is not None and (axis >= rank or shape[axis] not in (size, None)):
            return f"expected axis {axis} of input shape to have value {size}, but received {shape}"
    if s.shape is not None:
        want = s.shape
        if s.allow_last_axis_squeeze:
            shape = shape[:-1] if shape and shape[-1] == 1 and len(shape) > len(want) else shape
            want = want[:-1] if want and want[-1] == 1 and len(want) > len(shape) else want
        fits = len(shape) == len(want) and all(
            a is None or b is None or int(a) == b for a, b in zip(shape, want)
        )
        if not fits:
            return f"expected shape={s.shape}, found shape={shape}"
    return None
