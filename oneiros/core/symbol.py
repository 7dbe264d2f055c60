"""An array to be, and the call that will make it.

One record serves functional models (the target is a layer or an op), traced steps (the target is a
primitive) and exports. `KerasTensor` is its public name.
"""

from __future__ import annotations

import math

from oneiros.core.spec import Spec, dtype_name

__all__ = ["Call", "KerasTensor", "Symbol"]


class Call:
    """One use of a target: what was called, with what, and the symbols that came of it."""

    __slots__ = ("__dict__", "__weakref__", "args", "kwargs", "outputs", "target")

    def __init__(self, target, args, kwargs):
        self.target, self.args, self.kwargs, self.outputs = target, args, kwargs, ()

    def __repr__(self):
        name = getattr(self.target, "name", None) or getattr(self.target, "__name__", "?")
        return f"<Call {name} -> {list(self.outputs)}>"


class Symbol:
    """A symbolic array: shape, dtype and origin.

    Args:
        shape: Tuple of int or None (unknown).
        dtype: Name of the dtype.
        name: Name shown in summaries and errors.

    >>> import oneiros
    >>> x = oneiros.KerasTensor((None, 4))
    >>> (x + 1).shape
    (None, 4)
    """

    shape: tuple
    dtype: str
    sparse = ragged = False
    ragged_rank = row_splits_dtype = None
    __array_ufunc__ = None  # NumPy arrays leave mixed operators to the symbol

    def __init__(
        self,
        shape,
        dtype="float32",
        sparse=False,
        ragged=False,
        record_history=True,
        name=None,
        **kwargs,
    ):
        if kwargs:
            self._ragged(**kwargs)
        if isinstance(shape, int):
            shape = (shape,)
        self.shape, self.dtype, self.call, self.index = tuple(shape), dtype_name(dtype), None, 0
        if name is not None:
            self.name = name
        if sparse or ragged:
            self.sparse, self.ragged = sparse, ragged

    def _ragged(self, ragged_rank=None, row_splits_dtype=None):
        self.ragged_rank, self.row_splits_dtype = ragged_rank, row_splits_dtype

    @property
    def ndim(self):
        return len(self.shape)

    rank = ndim

    @property
    def size(self):
        return None if None in self.shape else math.prod(self.shape)

    @property
    def spec(self):
        return Spec(self.shape, self.dtype)

    def but(self, shape=None, dtype=None):
        """The spec of this symbol with another shape or dtype."""
        return Spec(self.shape if shape is None else tuple(shape), dtype or self.dtype)

    @property
    def name(self):
        return self.__dict__.get("_name") or f"keras_tensor_{id(self) & 0xFFFF}"

    @name.setter
    def name(self, value):
        self._name = value

    def backward(self):
        """In a traced step of the user's own: give its weights their derivatives, as `grad`."""
        from oneiros.core.graph import current_trace

        differentiate = getattr(current_trace(), "backward", None)
        if differentiate is None:
            raise Untraceable(f"{self!r} has no value; `backward` needs a real array")
        differentiate(self)

    def __len__(self):
        if not self.shape:
            raise TypeError("a symbolic array of rank 0 has no length")
        if self.shape[0] is None:
            raise TypeError(f"the length of {self!r} is unknown while the model is built")
        return int(self.shape[0])

    def __bool__(self):
        raise Untraceable(
            f"{self!r} has no value while it is traced, so it cannot decide a Python branch; "
            "use ops.cond or ops.where"
        )

    def __float__(self):
        raise Untraceable(f"{self!r} has no value while it is traced; float() needs a real array")

    def __int__(self):
        raise Untraceable(f"{self!r} has no value while it is traced; int() needs a real array")

    __index__ = __int__

    def __array__(self, *_, **__):
        raise Untraceable(
            f"{self!r} is symbolic: it has no value yet, so NumPy or another framework cannot take "
            "it. Use functions of `oneiros.ops`, or wrap the code in a layer"
        )

    def __iter__(self):
        if not self.shape or self.shape[0] is None:
            raise Untraceable(f"{self!r} cannot be iterated: its first dimension is unknown")
        return (self[i] for i in range(self.shape[0]))

    def __repr__(self):
        name = f", name={self._name!r}" if "_name" in self.__dict__ else ""
        return f"<KerasTensor shape={tuple(self.shape)}, dtype={self.dtype}{name}>"


class Untraceable(TypeError):
    """Raised where Python asks a symbol for a value that it does not have."""


KerasTensor = Symbol
