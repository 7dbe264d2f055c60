"""Category numbers as vectors: one-hot, multi-hot, counts."""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.core import backend
from oneiros.core.symbol import Symbol
from oneiros.layers.base import Layer

__all__ = ["CategoryEncoding", "check_mode", "encode", "encode_symbols", "encoded_shape"]


def encode(index, mode, depth, dtype, weights=None):
    """Category numbers, a NumPy array, in an output mode.

    Args:
        mode: "int" gives them as they are; "one_hot" a vector for each (an axis of size one at the
            end is taken away first); "multi_hot", "count" and "tf_idf" a vector for all on the axis
            after the batch's, the last one with the counts times `weights`.

    >>> encode(np.array([[0, 2, 2]]), "count", 3, "int64").tolist()
    [[1, 0, 2]]
    """
    if mode == "int":
        return index.astype(dtype, copy=False)
    shape = encoded_shape(index.shape, mode, depth)
    if mode != "one_hot" and index.ndim > 2:
        index = np.moveaxis(index, 1, -1)
    made = np.zeros(shape, dtype if mode in ("one_hot", "multi_hot") else np.float32)
    rows, index = made.reshape(-1, depth), index.reshape(-1)
    place = np.arange(len(index)) // max(1, len(index) // max(1, len(rows)))
    known = (index >= 0) & (index < depth)
    if not known.all():
        place, index = place[known], index[known]
    if mode in ("one_hot", "multi_hot"):
        rows[place, index] = 1
        return made
    counts = np.bincount(place * depth + index, minlength=rows.size).reshape(shape)
    return (counts * weights).astype(dtype) if mode == "tf_idf" else counts.astype(dtype)


def encode_symbols(index, mode, depth, dtype, weights=None):
    """As `encode`, of any backend's arrays and symbols; `weights` are one for each number."""
    if mode == "int":
        return ops.cast(index, dtype)
    shape = tuple(index.shape)
    if not shape:
        index = ops.reshape(index, (1,))
    elif mode == "one_hot" and shape[-1] == 1:
        index = ops.squeeze(index, -1)
    vectors = ops.one_hot(index, depth, dtype=dtype)
    if mode == "one_hot":
        return vectors
    if mode == "multi_hot":
        return ops.max(vectors, axis=min(1, len(vectors.shape) - 2))
    if weights is not None:
        vectors = vectors * ops.cast(ops.expand_dims(weights, -1), dtype)
    return ops.sum(vectors, axis=min(1, len(vectors.shape) - 2))


def encoded_shape(shape, mode, depth):
    """The shape that `encode` gives for a shape."""
    shape = tuple(shape)
    if mode == "int":
        return shape
    if mode == "one_hot":
        return (*(shape[:-1] if shape and shape[-1] == 1 else shape or (1,)), depth)
    return (*shape[:1], *shape[2:], depth) if len(shape) > 1 else (depth,)


def check_mode(layer, modes):
    """Refuse output modes that a layer has not, and sparse outputs."""
    if layer.output_mode not in modes:
        raise ValueError(
            f"Unknown value for `output_mode` argument of {type(layer).__name__}. Allowed values are: "
            f"{modes}. Received: output_mode={layer.output_mode}"
        )
    if layer.sparse and layer.output_mode == "int":
        raise ValueError(
            f"`sparse` may only be true if `output_mode` is one of {modes[1:]}. Received: sparse=True "
            "and output_mode=int"
        )
    if layer.sparse:
        raise ValueError(
            f"{type(layer).__name__}: sparse=True is not available: no backend's sparse arrays are "
            "taken by layers here; leave it out for dense outputs"
        )


class CategoryEncoding(Layer):
    """Integers in [0, num_tokens) as vectors.

    Args:
        num_tokens: How many categories there are.
        output_mode: "multi_hot" (which of them are there, on the axis after the batch's), "one_hot" (a vector for
            each integer), "count" (how often each is there, weighted by `count_weights` of the call).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.CategoryEncoding(4, output_mode="count")(np.array([[0, 1], [3, 3]])).tolist()
    [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2.0]]
    """

    num_tokens: int = None
    output_mode: str = "multi_hot"
    sparse: bool = False
    config_without = ("sparse",)

    def _ready(self):
        if self.num_tokens is None:
            raise ValueError(
                "num_tokens must be set to use this layer. If the number of tokens is not known "
                "beforehand, use the IntegerLookup layer instead."
            )
        if self.num_tokens < 1:
            raise ValueError(f"`num_tokens` must be >= 1. Received: num_tokens={self.num_tokens}.")
        check_mode(self, ("one_hot", "multi_hot", "count"))

    def call(self, inputs, count_weights=None):
        if count_weights is not None and self.output_mode != "count":
            raise ValueError(
                "`count_weights` is not used when `output_mode` is not `'count'`. Received: "
                f"count_weights={count_weights}"
            )
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f":
            inputs = inputs.astype("int64")
        elif not isinstance(inputs, (list, tuple)) and "float" in str(inputs.dtype):
            inputs = ops.cast(inputs, "int32")
        owner = backend.owner({type(inputs)} - {Symbol}) if hasattr(inputs, "dtype") else None
        own = self.output_mode, self.num_tokens, self.compute_dtype
        if owner not in (None, backend.current()):  # of another backend: by NumPy
            if not owner.is_abstract(inputs):
                inputs = owner.to_numpy(inputs)
            elif hasattr(owner, "host_call"):
                shape = encoded_shape(inputs.shape, *own[:2])
                return owner.host_call(lambda x: encode(x, *own), [inputs], shape, own[2])
        if isinstance(inputs, np.ndarray) and count_weights is None:
            if inputs.size and inputs.min() < 0:
                raise ValueError(
                    f"CategoryEncoding '{self.name}' takes integers from 0; got {inputs.min()}"
                )
            made = encode(inputs, *own)
            return (owner or backend.current()).to_array(made)
        return encode_symbols(inputs, *own, count_weights)

    def compute_output_shape(self, input_shape):
        """The output shape for an input shape."""
        return encoded_shape(input_shape, self.output_mode, self.num_tokens)

    def compute_output_spec(self, inputs, count_weights=None):
        """A symbol with the shape and dtype of the outputs."""
        return Symbol(self.compute_output_shape(tuple(inputs.shape)), self.compute_dtype)

    def convert_weight(self, weight):
        """A weight as an array of the session's backend."""
        return backend.to_array(weight)
