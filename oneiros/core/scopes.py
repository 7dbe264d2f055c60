"""What surrounds a computation: stateless variables, autocasting, names, devices,
rematerialization.

Each scope is thread-local and read where it matters, never passed along.
"""

from __future__ import annotations

import contextlib
import threading

__all__ = [
    "RematScope",
    "StatelessScope",
    "SymbolicScope",
    "autocast",
    "deferred_values",
    "device",
    "in_stateless_scope",
    "name_scope",
]


class _State(threading.local):
    stateless = None
    autocast = None
    names = ()
    device = None
    remat = ()
    symbolic = False
    deferred = None


STATE = _State()


class _Scope:
    """A context manager that puts itself at one place of the state."""

    slot = None

    def __enter__(self):
        self._before = getattr(STATE, self.slot)
        setattr(STATE, self.slot, self._inside())
        return self

    def __exit__(self, *_):
        setattr(STATE, self.slot, self._before)

    def _inside(self):
        return self


class StatelessScope(_Scope):
    """Inside, variables have the values of `state_mapping`, and assignments are collected instead
    of made.

    Args:
        state_mapping: Pairs of (variable, value).
        collect_losses: Whether `add_loss` collects into the scope.
        initialize_variables: Whether variables made inside get values after it.

    >>> import oneiros
    >>> v = oneiros.Variable([1.0])
    >>> with oneiros.StatelessScope([(v, [5.0])]) as scope:
    ...     _ = v.assign_add([1.0])
    ...     print(float(v.value[0]))
    6.0
    >>> float(v.value[0]), float(scope.get_current_value(v)[0])
    (1.0, 6.0)
    """

    slot = "stateless"

    def __init__(self, state_mapping=None, collect_losses=False, initialize_variables=True):
        self.values, self.variables, self.losses = {}, {}, []
        self.collect_losses, self.initialize_variables = collect_losses, initialize_variables
        for pair in state_mapping or ():
            try:
                variable, value = pair
            except (TypeError, ValueError):
                raise ValueError(
                    f"state_mapping must hold pairs (variable, value); got {type(pair).__name__} {pair!r}"
                ) from None
            if not hasattr(variable, "assign"):
                raise ValueError(
                    f"state_mapping must map variables to values; got {variable!r} as a variable"
                )
            if value is None:
                raise ValueError(f"state_mapping has no value for {variable!r}")
            self.set(variable, variable.standardize(value))
        self.given = dict(self.values)

    state_mapping = property(lambda self: self.values)

    def set(self, variable, value):
        """Let `variable` have `value` inside this scope."""
        self.values[id(variable)], self.variables[id(variable)] = value, variable

    add_update = lambda self, update: self.set(*update)

    def get_current_value(self, variable):
        """What `variable` is now in this scope, or None if nothing was said of it."""
        return self.values.get(id(variable))

    def add_loss(self, loss):
        self.losses.append(loss)


def in_stateless_scope():
    """Whether a `StatelessScope` is open."""
    return STATE.stateless is not None


class autocast(_Scope):
    """Inside, floating variables that allow it are read as `dtype`."""

    slot = "autocast"

    def __init__(self, dtype):
        self.dtype = dtype

    def _inside(self):
        return self.dtype


class SymbolicScope(_Scope):
    """Inside, values are symbolic: nothing is computed."""

    slot = "symbolic"

    def _inside(self):
        return True


class name_scope(_Scope):
    """A prefix for the paths of variables made inside.

    >>> import oneiros
    >>> with oneiros.name_scope("block"):
    ...     print(oneiros.Variable([1.0], name="scale").path)
    block/scale
    """

    slot = "names"

    def __init__(self, name, **options):
        if not isinstance(name, str) or "/" in name:
            raise ValueError(f"name must be a string without '/'; got {name!r}")
        self.name = name

    def _inside(self):
        return (*STATE.names, self.name)


@contextlib.contextmanager
def names(path):
    """Inside, the prefix is `path` whole."""
    before, STATE.names = STATE.names, tuple(path)
    try:
        yield
    finally:
        STATE.names = before


class deferred_values(_Scope):
    """Inside, variables get initial values only when these are needed: those loaded from a file
    never are.

    Args:
        budget: The most bytes of initial values that may be made inside.
    """

    slot = "deferred"

    def __init__(self, budget):
        self.left = budget

    def spend(self, size, name):
        """Count the bytes of an initial value that is made after all."""
        self.left -= size
        if self.left < 0:
            raise ValueError(
                f"variable '{name}' needs an initial value of {size} bytes, over the budget for loading"
            )


def device(device_name):
    """A scope in which arrays are made on `device_name`, such as `"cpu:0"` or `"gpu:1"`."""
    from oneiros.core import backend

    return backend.current().device(device_name)


class RematScope(_Scope):
    """Inside, layers keep their inputs only, and the derivative computes their insides again.

    Args:
        mode: "full", "activations", "larger_than", "list_of_layers" or None.
        output_size_threshold: Elements of output from which "larger_than" applies.
        layer_names: Layers that "list_of_layers" means.
    """

    slot = "remat"
    MODES = ("full", "activations", "larger_than", "list_of_layers", None)

    def __init__(self, mode="full", output_size_threshold=1024, layer_names=None):
        if mode not in self.MODES:
            raise ValueError(f"mode must be one of {self.MODES}; got {mode!r}")
        self.mode, self.output_size_threshold = mode, output_size_threshold
        self.layer_names = layer_names or []

    def _inside(self):
        return (*STATE.remat, self)
