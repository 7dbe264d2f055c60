"""Layers that work on the host: on strings, or by NumPy whatever the backend is.

Called on values, such a layer computes at once, and gives arrays of its inputs' backend (of the
session's, for NumPy and lists). In a graph of TensorFlow's own, as in `dataset.map`, it is a call of
NumPy. In a model that is trained, its calls are made on the batches before the compiled step, which
takes what they gave (`training/staging.py`): there it meets the stage, which stands for both.
"""

from __future__ import annotations

import threading

import numpy as np

from oneiros.core import backend, tree
from oneiros.core.graph import STACK
from oneiros.core.spec import Unknown
from oneiros.core.symbol import Symbol
from oneiros.layers.base import Layer

__all__ = ["STAGE", "Absent", "HostLayer", "fit_rank"]


class _Stage(threading.local):
    """The stage of the model that this thread runs, if there is one."""

    active = None


STAGE = _Stage()


class Absent:
    """Strings of a step: their shape, and where the stage has them from."""

    dtype, name = "string", "strings"

    def __init__(self, shape, source):
        self.shape, self.source = tuple(shape), source


class HostLayer(Layer):
    """A layer whose `compute` maps NumPy arrays (or lists of strings) to NumPy arrays.

    Subclasses define `compute(*inputs)`, and `spec(*shapes)`: the shape of the result for shapes that
    may hold None, and its dtype.
    """

    _convert_input_args = False
    _allow_non_tensor_positional_args = True
    on_host = True
    takes_list = False  # whether the inputs are a list of arrays

    def __call__(self, *args, **kwargs):
        inputs = args[0] if args else kwargs.get("inputs")
        if inputs is None or len(args) > 1:
            return super().__call__(*args, **kwargs)
        parts = list(inputs) if self.takes_list and isinstance(inputs, (list, tuple)) else [inputs]
        stage = STAGE.active
        if stage and (stage.replaying or any(isinstance(x, (Absent, Symbol)) for x in parts)):
            return stage.call(self, parts)
        if any(isinstance(x, Absent) for x in parts):
            raise RuntimeError(f"layer '{self.name}' was given strings of a stage that has ended")
        if any(isinstance(x, Symbol) for x in parts):
            return self._on_symbols(parts) if STACK.top is not None else super().__call__(inputs)
        if not self.built:
            self.build(tree.map_structure(_shape, parts if self.takes_list else parts[0]))
            object.__setattr__(self, "built", True)
        return self.call(inputs)

    def _staged(self, inputs):
        """What the stage has for a layer that may also run in the step; None if it has nothing."""
        stage = STAGE.active
        return stage.call(self, [inputs]) if stage and stage.takes(self, inputs) else None

    def _on_symbols(self, parts):
        if not getattr(STACK.top, "abstract", False):
            raise TypeError(
                f"{type(self).__name__} '{self.name}' works on the host: its inputs must be inputs of "
                "the model (or what other such layers make of them), not what the model computes"
            )
        return self._abstract(parts)

    def _abstract(self, parts):
        """A symbol of the result, with probe sizes in the place of what is unknown."""
        known = [tuple(None if isinstance(n, Unknown) else n for n in x.shape) for x in parts]
        shape, dtype = self.spec(*known)
        probes = [n for x in parts for n in x.shape if isinstance(n, Unknown)]
        made = []
        for i, n in enumerate(shape):
            if n is None:
                same = parts[0].shape[i] if i < len(parts[0].shape) else None
                fallback = max(probes) // 48 if probes and max(probes) >= 80640 else 1680
                n = same if isinstance(same, Unknown) else Unknown(fallback)
            made.append(n)
        return Symbol(
            made, backend.current().canonical_dtype(dtype) if dtype != "string" else dtype
        )

    def call(self, inputs):
        parts = list(inputs) if self.takes_list and isinstance(inputs, (list, tuple)) else [inputs]
        self.check(*parts)
        ragged = [x for x in parts if hasattr(x, "with_flat_values")]
        if ragged:
            return self._on_ragged(ragged[0])
        engine = backend.owner({type(x) for x in parts if _is_framework(x)}, self.name)
        if engine is not None and any(map(engine.is_abstract, parts)):
            return self._in_graph(engine, parts)
        made = self.compute(*[_on_host(x) for x in parts])
        return delivered(made, engine or backend.current())

    def check(self, *parts):
        """Refuse inputs that the layer does not take."""

    def _in_graph(self, engine, parts):
        if not hasattr(engine, "host_call"):
            raise TypeError(
                f"{type(self).__name__} '{self.name}' works on the host: within functions that "
                f"{engine.name} compiles it cannot be called; call it on the data before"
            )
        shape, dtype = self.spec(*[_shape(x) for x in parts])
        return engine.host_call(lambda *xs: self.compute(*map(_on_host, xs)), parts, shape, dtype)

    def _on_ragged(self, x):
        return x.with_flat_values(self(x.flat_values))

    def spec(self, *shapes):
        raise NotImplementedError

    def compute(self, *inputs):
        raise NotImplementedError

    def compute_output_spec(self, inputs):
        """A symbol with the shape and dtype of the outputs."""
        parts = list(inputs) if self.takes_list else [inputs]
        self.check(*parts)
        return Symbol(*self.spec(*[tuple(x.shape) for x in parts]))

    def compute_output_shape(self, input_shape):
        """The output shape for an input shape."""
        several = self.takes_list and input_shape and isinstance(input_shape[0], (list, tuple))
        return self.spec(*map(tuple, input_shape if several else [input_shape]))[0]


def delivered(made, engine):
    """What the host computed, as a backend's array where that can hold it."""
    if not isinstance(made, np.ndarray):
        return made
    if made.dtype.kind in "OUST" and not hasattr(engine, "host_call"):
        return made
    return engine.to_array(made)


def fit_rank(value, shape):
    """Strings with the rank that an input of a model asks for, by an axis of size one at the end."""
    if isinstance(value, (str, bytes, list, tuple)):
        value = np.array([value] if isinstance(value, (str, bytes)) else value)
    have = tuple(value.shape)
    if len(have) == len(shape) - 1 and shape[-1] == 1:
        want = (*have, 1)
    elif len(have) == len(shape) + 1 and have[-1] == 1:
        want = have[:-1]
    else:
        return value
    if isinstance(value, Absent):
        return Absent(want, value.source)
    if isinstance(value, np.ndarray):
        return value.reshape(want)
    from oneiros import ops

    return ops.expand_dims(value, -1) if len(want) > len(have) else ops.squeeze(value, -1)


def _shape(x):
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def _is_framework(x):
    """Whether `x` is an array of a backend other than NumPy."""
    plain = isinstance(x, (np.ndarray, np.generic, list, tuple, str, bytes, int, float))
    return not plain and not hasattr(x, "to_numpy") and not hasattr(x, "to_pylist")


def _on_host(x):
    if isinstance(x, (list, tuple, str, bytes, np.ndarray)) or not _is_framework(x):
        return x
    return backend.to_numpy(x)
