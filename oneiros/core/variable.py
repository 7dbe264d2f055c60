"""Variables: the state of layers, optimizers and metrics, which changes in `assign` only.

A variable keeps a host array until its value is first asked for. Inside a `StatelessScope` it has
the scope's
value; while a trainer holds its state on the device, the value is fetched from there when read.
"""

from __future__ import annotations

import numpy as np

from oneiros.core import backend
from oneiros.core.dtypes import is_float, np_dtype, standardize_dtype
from oneiros.core.graph import STACK
from oneiros.core.naming import auto_name
from oneiros.core.op import _SPECIAL, VARIABLES, array, to_dtype, unwrap
from oneiros.core.scopes import STATE
from oneiros.core.spec import dtype_name
from oneiros.core.symbol import Symbol

__all__ = ["UNSTORED", "Variable", "track_variables"]

UNSTORED = {np.ndarray}  # types of values that a backend is to store; backends add their own
_observers = []  # callables told of every new variable (layers adopt those made in `build`)


class Variable:
    """A value that can be assigned.

    Args:
        initializer: An initial value (array, list, number), or a callable of (shape, dtype).
        shape: Its shape; needed when `initializer` is a callable.
        dtype: Its dtype; the default float if None and nothing else says.
        trainable: Whether training changes it by derivatives.
        autocast: Whether layers read it in their compute dtype.
        aggregation: How replicas are joined: "none", "mean", "sum" or "only_first_replica".
        name: Its name; made up if None.

    >>> import oneiros
    >>> v = oneiros.Variable([1.0, 2.0], name="scale")
    >>> _ = v.assign(v * 3)
    >>> v.numpy().tolist()
    [3.0, 6.0]
    """

    name: str
    path: str
    shape: tuple
    dtype: str
    aggregation: str
    synchronization: str
    regularizer: object
    constraint: object
    overwrite_with_gradient: bool
    __array_priority__ = 100

    def __init__(
        self,
        initializer,
        shape=None,
        dtype=None,
        trainable=True,
        autocast=True,
        aggregation="none",
        synchronization="auto",
        name=None,
        layout=None,
        **kwargs,
    ):
        if aggregation not in (None, "none", "mean", "sum", "only_first_replica"):
            raise ValueError(
                "aggregation must be 'none', 'mean', 'sum' or 'only_first_replica'; "
                f"got {aggregation!r}"
            )
        name = name or auto_name("variable")
        if not isinstance(name, str) or "/" in name:
            raise ValueError(f"a variable's name must be a string without '/'; got {name!r}")
        self.name, self._trainable, self.autocast = name, bool(trainable), bool(autocast)
        self.path = "/".join((*STATE.names, name))
        self.aggregation, self.synchronization = aggregation or "none", synchronization
        self.regularizer = self.constraint = self._lease = self._value = None
        self.overwrite_with_gradient = False
        self._initializer = None
        if isinstance(initializer, str):
            from oneiros import initializers

            initializer = initializers.get(initializer)
        if callable(initializer):
            if shape is None:
                raise ValueError(
                    f"variable '{name}': with a callable initializer, `shape` must be given"
                )
            self.dtype = standardize_dtype(dtype)
            shape = (shape,) if isinstance(shape, int) else shape
            self.shape = _checked_shape(shape, name)
            later = STATE.deferred is not None or getattr(initializer, "can_wait", False)
            later = later and STATE.stateless is None
            value = _Later(initializer) if later else self._initial(initializer)
        else:
            if isinstance(initializer, Variable):
                initializer = initializer.value
            value = _host(initializer, dtype)
            self.dtype = standardize_dtype(dtype) if dtype else dtype_name(value.dtype)
            self.shape = tuple(value.shape)
            if shape is not None and tuple(shape) != self.shape:
                value = np.broadcast_to(backend.to_numpy(value), tuple(shape))
                self.shape = tuple(shape)
        scope = STATE.stateless
        if (
            scope is not None
        ):  # made inside a pure function: it exists outside with its initial value
            scope.set(self, value)
        self._value = value if not isinstance(value, Symbol) else None
        for observe in _observers[-1:]:
            observe(self)

    def _initial(self, initializer):
        host = getattr(initializer, "host", None)
        if host is not None and STACK.top is None:
            return np.asarray(host(self.shape, self.dtype), np_dtype(self.dtype))
        trace, STACK.top = (
            STACK.top,
            None,
        )  # an initial value is a value even while a step is traced
        try:
            value = initializer(self.shape, dtype=self.dtype)
        finally:
            STACK.top = trace
        value = array(value)
        if tuple(value.shape) != self.shape:
            raise ValueError(
                f"variable '{self.path}': its initializer gave the shape {tuple(value.shape)}; "
                f"expected {self.shape}"
            )
        return to_dtype(value, self.dtype)

    # Reading ---------------------------------------------------------------------------------
    @property
    def value(self):
        """The current value, as an array of the session's backend (cast inside an autocasting
        layer).
        """
        scope = STATE.stateless
        value = scope.values.get(id(self)) if scope is not None else None
        if value is None:
            if self._lease is not None:
                self._lease.release(self)
            value = self._value
            if type(value) is _Later:
                if getattr(STACK.top, "abstract", False):
                    value = Symbol(self.shape, self.dtype)
                else:
                    value = self._settle()
            if type(value) in UNSTORED and STACK.top is None:
                value = self._value = backend.current().variable(value, self)
            if value is None:
                raise ValueError(f"variable '{self.path}' has no value")
            value = value if type(value) is Symbol else backend.current().read(value)
        wanted = STATE.autocast
        if wanted is not None and wanted != self.dtype and self.autocast and is_float(self.dtype):
            return to_dtype(value, wanted)
        return value

    def _lease_value(self, holder):
        """The stored array, fetched from whoever else holds it."""
        if self._lease is not None and self._lease is not holder:
            self._lease.release(self)
        self._settle()
        if type(self._value) in UNSTORED:
            self._value = backend.current().variable(self._value, self)
        return self._value

    def _settle(self):
        """The stored array; an initial value that was put off is made now."""
        if type(self._value) is _Later:
            if STATE.deferred is not None:
                STATE.deferred.spend(self.size * np_dtype(self.dtype).itemsize, self.path)
            self._value = self._initial(self._value.initializer)
        return self._value

    def numpy(self):
        """The value as a NumPy array."""
        self._settle()
        value = (
            self.value if STATE.stateless is not None or self._lease is not None else self._value
        )
        return np.array(backend.to_numpy(value))

    # Writing ---------------------------------------------------------------------------------
    def assign(self, value):
        """Replace the value by one of the same shape; it is cast to the variable's dtype."""
        value = self.standardize(value)
        scope = STATE.stateless
        if scope is not None:
            scope.set(self, value)
            return value
        if isinstance(value, Symbol):
            if getattr(STACK.top, "abstract", False):
                return value  # only shapes are asked for
            raise TypeError(
                f"variable '{self.path}' was assigned a symbol outside of a traced step"
            )
        if self._lease is not None:
            self._lease.release(self)
        if type(self._value) is _Later:
            self._value = np.array(backend.to_numpy(value))
        else:
            self._value = backend.current().assign(self._value, value)
        return value

    def assign_add(self, value):
        """Add to the value."""
        return self.assign(self + value)

    def assign_sub(self, value):
        """Subtract from the value."""
        return self.assign(self - value)

    def standardize(self, value):
        """`value` as an array of this variable's dtype, checked against its shape."""
        outside, STATE.autocast = STATE.autocast, None
        try:
            value = to_dtype(array(value), self.dtype)
        finally:
            STATE.autocast = outside
        if tuple(value.shape) != self.shape:
            raise ValueError(
                f"The shape of the target variable and the shape of the target value in "
                f"`variable.assign(value)` must match. variable.shape={self.shape}, "
                f"Received: value.shape={tuple(value.shape)}. Target variable: {self!r}"
            )
        return value

    # Properties --------------------------------------------------------------------------------
    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        self._trainable = bool(value)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return int(np.prod(self.shape, dtype=np.int64))

    def __array__(self, dtype=None, copy=None):
        value = np.asarray(backend.to_numpy(self.value))
        return value if dtype is None else value.astype(dtype)

    def __jax_array__(self):
        return self.value

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        def own(x):
            return type(x)(map(own, x)) if type(x) in (list, tuple) else unwrap(x)

        return function(*map(own, args), **{k: own(v) for k, v in (kwargs or {}).items()})

    def __int__(self):
        return int(self.value)

    def __float__(self):
        return float(self.value)

    def __bool__(self):
        if self.shape:
            raise TypeError(f"A Variable cannot be used as a boolean. Received: {self!r}")
        return bool(self.value)

    def __len__(self):
        if not self.shape:
            raise TypeError(f"variable '{self.path}' is a scalar and has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        known = STATE.stateless is None and STACK.top is None and type(self._value) is not _Later
        value = f", value={self.numpy()}" if known else ""
        return f"<Variable path={self.path}, shape={self.shape}, dtype={self.dtype}{value}>"


class _Later:
    """In the place of an initial value: how to make it when it is first needed."""

    def __init__(self, initializer):
        self.initializer = initializer


VARIABLES.add(Variable)
_SPECIAL.add(Variable)


def _checked_shape(shape, name):
    shape = tuple(shape)
    for n in shape:
        if n is None or not isinstance(n, (int, np.integer)) or n < 0:
            raise ValueError(
                f"variable '{name}': its shape must hold known sizes, non-negative integers; got {shape}"
            )
    return tuple(int(n) for n in shape)


def _host(value, dtype):
    """An initial value as an array: NumPy for plain data, a backend's array as it is."""
    if isinstance(value, Symbol):
        raise ValueError("a variable needs an initial value; got a symbol")
    if isinstance(value, (np.ndarray, np.generic)):
        own = backend.current().canonical_dtype(dtype_name(value.dtype))  # jax has no 64 bits
        return np.array(value, np_dtype(dtype or own))
    if isinstance(value, (int, float, bool, list, tuple)):
        if dtype is None:
            value = array(value)
            return value if STACK.top is None else np.asarray(value)
        return np.array(backend.to_numpy(value), np_dtype(standardize_dtype(dtype)))
    value = array(value)
    return to_dtype(value, standardize_dtype(dtype)) if dtype else value


class track_variables:
    """A scope in which `observe(variable)` is told of each new variable."""

    def __init__(self, observe):
        self.observe = observe

    def __enter__(self):
        _observers.append(self.observe)

    def __exit__(self, *_):
        _observers.remove(self.observe)
