"""Pooling over windows, over everything, and to a given size, over one, two and three axes."""

from __future__ import annotations

from oneiros import ops
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import DataFormat, Padding, PerAxis

__all__ = [
    f"{kind}{rank}D"
    for kind in ("MaxPooling", "AveragePooling", "GlobalMaxPooling", "GlobalAveragePooling", "AdaptiveMaxPooling",
                 "AdaptiveAveragePooling")
    for rank in (1, 2, 3)
]  # fmt: skip
__all__ += [name.replace("Pooling", "Pool") for name in __all__ if "Adaptive" not in name]


class Pooling(Layer):
    """A number for each window: (batch, *spatial, channels) to the same with fewer places."""

    pool_size: PerAxis
    strides: PerAxis = None
    padding: Padding = "valid"
    data_format: DataFormat = None
    name: str = None
    pool = None

    def _ready(self):
        self.strides = self.strides or self.pool_size
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        return type(self).pool(
            inputs,
            pool_size=self.pool_size,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
        )


class GlobalPooling(Layer):
    """A number for each channel.

    Args:
        keepdims: Whether the spatial axes stay, with length one.
    """

    data_format: DataFormat = None
    keepdims: bool = False

    def _ready(self):
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def axes(self):
        """The spatial axes."""
        first = 1 if self.data_format == "channels_last" else 2
        return tuple(range(first, first + self.rank))

    def call(self, inputs):
        return type(self).pool(inputs, axis=self.axes(), keepdims=self.keepdims)


class _GlobalMean1D(GlobalPooling, rank=1):
    """The mean over the steps that the mask does not skip."""

    supports_masking = True

    def call(self, inputs, mask=None):
        if mask is None:
            return ops.mean(inputs, axis=self.axes(), keepdims=self.keepdims)
        axis = self.axes()[0]
        kept = ops.expand_dims(ops.cast(mask, inputs.dtype), 2 if axis == 1 else 1)
        total = ops.sum(inputs * kept, axis=axis, keepdims=self.keepdims)
        return total / ops.sum(kept, axis=axis, keepdims=self.keepdims)

    def compute_mask(self, inputs, mask=None):
        return None


class AdaptivePooling(Layer):
    """Windows of as equal size as possible, as many as `output_size` says."""

    output_size: PerAxis
    data_format: DataFormat = None

    def _ready(self):
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        return type(self).pool(inputs, output_size=self.output_size, data_format=self.data_format)


_WHAT = {"Max": "largest", "Average": "mean"}
_OVER = {1: "a sequence", 2: "an image", 3: "a volume"}


def _make(kind, rank, base, pool, doc, fields, call, shape):
    name = f"{kind}Pooling{rank}D"
    sizes = (2, *(6,) * rank, 3)
    example = f">>> layers.{name}({call})(np.ones({sizes}, 'float32')).shape\n    {shape}"
    annotations = {f: base.fields[f][0] if f in base.fields else PerAxis for f in fields}
    space = {
        "__doc__": f"{doc}\n\n    >>> import numpy as np\n    >>> from oneiros import layers\n    {example}\n    ",
        "__module__": __name__, "__annotations__": annotations, **fields,
    }  # fmt: skip
    if pool is not None:
        space["pool"] = staticmethod(pool)
    return type(base)(name, (base,), space, rank=rank)


for _rank in (1, 2, 3):
    for _kind, _pool, _reduce, _adaptive in (
        ("Max", ops.max_pool, ops.max, ops.adaptive_max_pool),
        ("Average", ops.average_pool, ops.mean, ops.adaptive_average_pool),
    ):
        _what, _over = _WHAT[_kind], _OVER[_rank]
        _size = 2 if _rank == 1 else (2,) * _rank
        _fields = {"pool_size": _size} if _kind == "Max" else {}
        globals()[f"{_kind}Pooling{_rank}D"] = _make(
            _kind, _rank, Pooling, _pool, f"The {_what} of each window of {_over}.", _fields,
            "2", (2, *(3,) * _rank, 3),
        )  # fmt: skip
        _masked = (_kind, _rank) == ("Average", 1)
        globals()[f"Global{_kind}Pooling{_rank}D"] = _make(
            f"Global{_kind}", _rank, _GlobalMean1D if _masked else GlobalPooling, None if _masked else _reduce,
            f"The {_what} of each channel of {_over}.", {}, "", (2, 3),
        )  # fmt: skip
        globals()[f"Adaptive{_kind}Pooling{_rank}D"] = _make(
            f"Adaptive{_kind}", _rank, AdaptivePooling, _adaptive,
            f"The {_what} of windows that divide {_over} into as many as are asked for.", {}, "3", (2, *(3,) * _rank, 3),
        )  # fmt: skip

for _name in [n for n in __all__ if n.endswith("D") and "Pooling" in n and "Adaptive" not in n]:
    globals()[_name.replace("Pooling", "Pool")] = globals()[_name]
