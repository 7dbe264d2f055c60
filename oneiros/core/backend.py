"""Backends: found by name, asked for kernels by array type.

A backend is a module (`oneiros/backends/NAME.py`) that makes one `Backend` and calls it `BACKEND`.
It is
loaded on first use, by name or by the entry point group `oneiros.backends`.
"""

from __future__ import annotations

import contextlib
import functools
import importlib

import numpy as np

from oneiros.core import config

__all__ = [
    "Backend",
    "UnsupportedOp",
    "current",
    "load",
    "owner",
    "to_array",
    "to_numpy",
    "when_loaded",
]

LOADED = {}
_watchers = []
FASTER = set()  # names of the composite ops for which a loaded backend has a kernel
UNSIZED = {}  # types of arrays of graphs, whose sizes may be unknown, to their backend
ALIASES = {"theano": "pytensor"}
MODULAR = {"torch", "tensorflow"}  # whose layers are the framework's modules too
PLAIN = {np.ndarray, np.generic, bool, int, float, complex, type(None)}


class UnsupportedOp(NotImplementedError):
    """Raised before anything runs when a backend has no kernel for an op."""


class Backend:
    """What a backend gives: kernels, conversions, variables, compilation.

    Args:
        name: Its name.
        primitives: Primitive to kernel.
        faster: Name of a composite op to a kernel with the op's own signature.
        array_types: A predicate over types, true for this backend's arrays.
        native: Whether eager tensors and autodiff are the framework's own.
        meets_numpy: Whether Python's operators take its arrays beside NumPy's.
        kept_wide: 64-bit dtypes that promotion leaves as they are here; others are narrowed.
    """

    native = False
    meets_numpy = True
    kept_wide = ()
    compiles = False  # whether every step is compiled by the framework's own compiler, unasked
    live = False  # whether a variable's value, once read, changes when the variable is assigned
    layer_base = None  # a further base class of `Layer`: its own bases are the framework's modules
    stateful_steps = False  # whether a user's own `train_step(data)` changes the variables itself
    step_words = None  # module to names that a step of the user's own may use and be traced
    quick_eager = False  # whether a first eager call of an op costs no more than later ones
    islands = {}  # name of a composite op that the backend differentiates itself: how
    fused = {}  # name of a composite op that eager calls compile whole: how many arrays come first

    def __init__(self, name, primitives, faster=None):
        self.name, self.primitives, self.faster = name, primitives, faster or {}
        LOADED[name] = self
        for watch in _watchers:
            watch(self)
        FASTER.update(self.faster, self.fused)

    # What each backend defines ---------------------------------------------------------------
    def owns(self, kind):
        """Whether arrays of type `kind` are this backend's."""
        raise NotImplementedError

    def to_array(self, x, dtype=None):
        """`x` (number, list, NumPy array, this backend's array) as this backend's array."""
        raise NotImplementedError

    def to_numpy(self, x):
        """This backend's array as a NumPy array."""
        raise NotImplementedError

    def compile(self, graph, donate=()):
        """A function of flat arrays that runs `graph`; inputs at positions `donate` may be reused."""
        raise NotImplementedError

    def variable(self, value, variable):
        """The storage for a variable's host array."""
        return self.to_array(value)

    def read(self, storage):
        """The array in a variable's storage."""
        return storage

    def assign(self, storage, value):
        """The storage after `value` was put into it."""
        return value

    def lend(self, storage):
        """The array in a variable's storage for a loop that may write into it."""
        return self.copy(storage)

    def take_back(self, storage, value):
        """The storage of a variable after a loop left `value` in it."""
        return value

    def is_abstract(self, x):
        """Whether `x` stands for a value inside the framework's own tracing."""
        return False

    def canonical_dtype(self, dtype):
        """The dtype that arrays of `dtype` get here."""
        return dtype

    def copy(self, x):
        """`x` in memory of its own."""
        return x.copy()

    def kept(self, kind):
        """The composites that a traced step keeps whole: name to None, or to a predicate over the
        arguments.

        Where the step is differentiated, those must have a derivative of their own.
        """
        from oneiros.core.op import OPS

        return {
            n: None
            for n in self.faster
            if kind != "train" or n in OPS and OPS[n].vjp_rule is not None
        }

    def value_and_grad(self, function, values):
        """`(gradients, rest)` of a function that gives `(scalar, rest)`, by the framework's own
        derivatives.
        """
        raise NotImplementedError(f"backend '{self.name}' has no derivatives of its own")

    def compile_function(self, function, specs, donate=()):
        """A flat function of this backend's arrays, compiled by the framework."""
        raise NotImplementedError(f"backend '{self.name}' compiles graphs only")

    def is_recording(self):
        """Whether the framework keeps what its derivatives need of the calls made now."""
        return True

    def whole(self, function):
        """A user's `function(data)`, which reads and assigns variables itself, made fast."""
        return function

    def signature_of(self, values):
        """What a piece compiled for these arrays (or None) depends on; None where none can be."""
        return None

    def device(self, name):
        """A scope in which arrays are made on the device `name`."""
        return contextlib.nullcontext()

    def devices(self):
        """The names of the devices that this backend sees."""
        return ["cpu:0"]

    def in_numpy(self):
        """The names of the primitives that a compiled graph leaves to NumPy."""
        return []

    def fuse(self, body, count):
        """`body` as one compiled function of its first `count` arguments, for eager calls."""
        raise NotImplementedError

    # What follows ----------------------------------------------------------------------------
    def kernel(self, primitive):
        """The kernel of `primitive`, or a clear refusal."""
        try:
            return self.primitives[primitive]
        except KeyError:
            raise UnsupportedOp(
                f"backend '{self.name}' has no kernel for '{primitive.name}'; use another backend "
                "(ONEIROS_BACKEND, or oneiros.config.set_backend) for models that need it"
            ) from None

    def kernel_for(self, primitive, types):
        """The kernel of `primitive` for arguments of these types, NumPy arrays among them."""
        return self.kernel(primitive)

    def __repr__(self):
        return f"<backend {self.name}>"


def when_loaded(watch):
    """Call `watch(backend)` for each backend: now, or when it is loaded."""
    _watchers.append(watch)
    for b in LOADED.values():
        watch(b)


@functools.cache
def load(name):
    """The backend called `name`, imported if needed."""
    name = ALIASES.get(name, name)
    if name in LOADED:
        return LOADED[name]
    try:
        module = importlib.import_module(f"oneiros.backends.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"oneiros.backends.{name}":
            raise ImportError(
                f"backend '{name}' needs the package '{error.name}', which is not installed: "
                f"pip install 'oneiros[{name}]'"
            ) from error
        from importlib import metadata

        points = metadata.entry_points(group="oneiros.backends", name=name)
        if not points:
            raise ValueError(f"there is no backend called '{name}'") from None
        module = next(iter(points)).load()
    return module.BACKEND


_current = None


def current():
    """The session's backend."""
    return _current or _choose(config.backend())


def prepare_layers():
    """Load the session's backend if it has a say in what a layer is."""
    if _current is None and config.backend() in MODULAR:
        current()


def _choose(name):
    """Make `name` the session's backend; kernels found for plain arrays are forgotten."""
    global _current
    from oneiros.core.primitive import PRIMITIVES

    _current = load(name)
    for p in PRIMITIVES.values():
        p.kernels.clear()
    return _current


def _forget(_name):
    global _current
    _current = None


config.on_backend_change.append(_forget)


@functools.cache
def owner_of(kind):
    """The loaded backend whose arrays have type `kind`; None for NumPy arrays and plain numbers."""
    if kind in PLAIN or issubclass(kind, (np.generic, np.ndarray)):
        return None
    current()
    for b in LOADED.values():
        if b.owns(kind):
            return b
    root = kind.__module__.partition(".")[0]
    name = {"jaxlib": "jax"}.get(root, root)
    if name in ("jax", "torch", "tensorflow"):
        return load(name)
    raise TypeError(
        f"expected an array; got an object of type {kind.__module__}.{kind.__qualname__}"
    )


def owner(types, what="op", args=()):
    """The backend for arguments of these types; None if all are NumPy arrays or plain numbers."""
    found = None
    for kind in types:
        try:
            b = owner_of(kind)
        except TypeError as error:
            raise TypeError(f"'{what}': {error}") from None
        if b is not None and b is not found:
            if found is not None:
                raise TypeError(
                    f"'{what}' got arrays of two backends, '{found.name}' and '{b.name}'; convert one "
                    "with ops.convert_to_tensor"
                )
            found = b
    return found


def to_array(x, dtype=None):
    """`x` as an array of the session's backend."""
    return current().to_array(x, dtype)


def to_numpy(x):
    """Any backend's array, number or nested list as a NumPy array."""
    if isinstance(x, np.ndarray):
        return x
    b = None if isinstance(x, (list, tuple)) else owner_of(type(x))
    if b is not None:
        return b.to_numpy(x)
    return np.asarray([to_numpy(v) for v in x] if isinstance(x, (list, tuple)) else x)
