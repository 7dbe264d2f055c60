"""Where a functional model begins: `Input` and the layer that stands for it."""

from __future__ import annotations

import operator

from oneiros.core.dtypes import standardize_dtype
from oneiros.core.naming import auto_name
from oneiros.core.symbol import Call, Symbol
from oneiros.layers.base import Layer

__all__ = ["Input", "InputLayer"]


class InputLayer(Layer):
    """A place for an input.

    Args:
        shape: Shape without the batch axis.
        batch_size: Size of the batch axis, if known.
        dtype: Dtype of the input.
        batch_shape: Shape with the batch axis, in place of `shape`.
        input_tensor: A symbol to stand for the input.
        name: Name of the input.
    """

    is_input = True

    def __init__(
        self,
        shape=None,
        batch_size=None,
        dtype=None,
        sparse=None,
        ragged=None,
        batch_shape=None,
        input_tensor=None,
        optional=False,
        name=None,
        **kwargs,
    ):
        super().__init__(name=name)
        shape = kwargs.pop("input_shape", shape)
        batch_shape = kwargs.pop("batch_input_shape", batch_shape)
        if kwargs:
            raise ValueError(f"InputLayer has no arguments {sorted(kwargs)}")
        if input_tensor is not None:
            if not isinstance(input_tensor, Symbol):
                raise ValueError(f"input_tensor must be a KerasTensor; got {input_tensor!r}")
            batch_shape, dtype = input_tensor.shape, dtype or input_tensor.dtype
        elif (shape is None) == (batch_shape is None):
            raise ValueError(
                "Input needs exactly one of `shape` and `batch_shape`; got "
                f"shape={shape}, batch_shape={batch_shape}"
            )
        if batch_shape is None:
            batch_shape = (batch_size, *_dims(shape, "shape"))
        self._batch_shape = _dims(batch_shape, "batch_shape")
        self._dtype = standardize_dtype(dtype)
        self.sparse, self.ragged, self.optional = bool(sparse), bool(ragged), bool(optional)
        self.built = True
        symbol = (
            input_tensor if input_tensor is not None else Symbol(self._batch_shape, self._dtype)
        )
        symbol.call, symbol.index = Call(self, (), {}), 0
        symbol.call.outputs = (symbol,)
        symbol._name = self.name
        symbol.optional = self.optional
        self._calls.append(symbol.call)

    def call(self):
        raise NotImplementedError("an InputLayer is not called")

    @property
    def batch_shape(self):
        return self._batch_shape

    @property
    def dtype(self):
        return self._dtype

    def get_config(self):
        return {
            "batch_shape": self.batch_shape,
            "dtype": self._dtype,
            "sparse": self.sparse,
            "ragged": self.ragged,
            "name": self.name,
            "optional": self.optional,
        }

    @classmethod
    def from_config(cls, config):
        return cls(
            **{
                k: tuple(v) if k == "batch_shape" else v
                for k, v in config.items()
                if k != "trainable"
            }
        )


def _dims(shape, name):
    shape = (shape,) if isinstance(shape, int) else shape
    try:
        shape = tuple(None if n is None else operator.index(n) for n in shape)
    except TypeError:
        raise ValueError(
            f"Input: {name} must be a tuple of integers or None; got {shape!r}"
        ) from None
    if any(n is not None and n < 0 for n in shape):
        raise ValueError(f"Input: {name} must not hold negative sizes; got {shape}")
    return shape


def Input(
    shape=None,
    batch_size=None,
    dtype=None,
    sparse=None,
    ragged=None,
    batch_shape=None,
    name=None,
    tensor=None,
    optional=False,
):
    """A symbol that stands for an input of a functional model.

    Args:
        shape: Shape without the batch axis; None stands for any size.
        batch_size: Size of the batch axis, if known.
        dtype: The default float if None.
        batch_shape: Shape with the batch axis, in place of `shape`.
        name: Name of the input, for models that take dicts.

    >>> from oneiros import Input, layers
    >>> layers.Dense(3)(Input((4,))).shape
    (None, 3)
    """
    layer = InputLayer(
        shape=shape,
        batch_size=batch_size,
        dtype=dtype,
        sparse=sparse,
        ragged=ragged,
        batch_shape=batch_shape,
        name=name or auto_name("input_layer"),
        input_tensor=tensor,
        optional=optional,
    )
    return layer.output
