"""Oneiros in Keras's place: what `import keras` finds once `read_keras_as_oneiros` was called.

`keras.a.b` is the module `oneiros.a.b` itself, not a copy; so is `tensorflow.keras.a.b`. Stand-ins
are `tf.keras`, with Keras 2's functions in its `backend`, and Keras's private modules
(`keras.src.a.b`), which libraries reach into: they look a name up in the public namespace nearest
to theirs.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import sys
import types

import oneiros

__all__ = ["read_keras_as_oneiros"]

KERAS_VERSION = "3.15.1"  # whose API this is: libraries ask for `keras.__version__`
# Where names of Keras's private modules are that are public nowhere.
PRIVATE = {
    "KerasVariable": "core.variable.Variable",
    "in_stateless_scope": "core.scopes.in_stateless_scope",
    "no_automatic_dependency_tracking": "stand_in.unchanged",
}
# Where Keras's modules are found, the longer names first.
ROOTS = (
    "keras._tf_keras.keras", "keras.api._v2.keras", "keras._tf_keras", "keras.api._v2", "keras.api",
    "tensorflow.keras", "keras",
)  # fmt: skip
# Private modules that are reached as attributes of others, beside those named as rooms of ours.
SUBMODULES = {"common", "numpy", "nn", "tracking", "variables"}


def read_keras_as_oneiros():
    """From here on `import keras` gives Oneiros, in this process.

    Raises:
        ImportError: if another Keras was imported before.
    """
    loaded = sys.modules.get("keras", oneiros)
    if loaded is not oneiros:
        raise ImportError(f"keras was imported before, from {getattr(loaded, '__file__', '?')}")
    oneiros.__version__ = KERAS_VERSION
    if not any(isinstance(finder, KerasFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, KerasFinder())


class KerasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `keras.a.b` where Oneiros has `oneiros.a.b`: the same module, not a copy."""

    def find_spec(self, name, path=None, target=None):
        rest = _below_keras(name)
        if rest is None:
            return None
        found = _counterpart(name, rest)
        if found is None:
            ours = f"Oneiros {oneiros.version()} has no 'oneiros.{rest}'"
            raise ModuleNotFoundError(f"No module named {name!r}: {ours}", name=name)
        spec = importlib.machinery.ModuleSpec(name, self, is_package=hasattr(found, "__path__"))
        spec.loader_state = found, getattr(found, "__spec__", None)
        return spec

    def create_module(self, spec):
        return spec.loader_state[0]

    def exec_module(self, module):
        """Give the module its own spec back, which the import has replaced."""
        found, own = module.__spec__.loader_state
        found.__spec__ = own


def _below_keras(name):
    """What of a module's name follows Keras's; None for other modules."""
    for root in ROOTS:
        if f"{name}.".startswith(f"{root}."):
            return name[len(root) + 1 :]
    return None


def _counterpart(name, rest):
    """The module `oneiros.rest`, or the namespace that is this attribute of Oneiros, or None."""
    if name != f"keras.{rest}".rstrip(".") and rest in ("", "backend"):
        return PrivateModule("src.backend") if rest else KerasOfTensorFlow(name)
    if f"{rest}.".startswith("src."):
        return PrivateModule(rest) if rest.islower() else None  # a class is no module
    ours = f"oneiros.{rest}" if rest else "oneiros"
    try:
        return importlib.import_module(ours)
    except ModuleNotFoundError as error:
        if not f"{ours}.".startswith(f"{error.name}."):
            raise  # it is there, and something that it needs is not
    return _namespace(rest)


class KerasOfTensorFlow(types.ModuleType):
    """`tf.keras`: Oneiros, with the functions in `backend` that Keras 2 had there."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return PrivateModule("src.backend") if name == "backend" else getattr(oneiros, name)


class PrivateModule(types.ModuleType):
    """A private module of Keras; its names are looked up when they are asked for."""

    __path__ = []

    def __init__(self, rest):
        super().__init__(f"keras.{rest}")
        self.rooms = rest.split(".")[1:]

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        found = self._find(name)
        if name in SUBMODULES or isinstance(found, types.ModuleType):
            return importlib.import_module(f"{self.__name__}.{name}")
        if found is None:
            raise AttributeError(
                f"{self.__name__!r} is private to Keras, and Oneiros has no public {name!r}"
            )
        setattr(self, name, found)
        return found

    def _find(self, name):
        for depth in range(len(self.rooms), -1, -1):  # the nearest namespace first
            room = _namespace(".".join(self.rooms[:depth]))
            if room is not None and getattr(room, name, None) is not None:
                return getattr(room, name)
        for room in ("backend", "ops", "config", "random") if self.rooms[:1] == ["backend"] else ():
            if hasattr(_namespace(room), name):
                return getattr(_namespace(room), name)
        if name in PRIVATE:
            room, _, part = PRIVATE[name].rpartition(".")
            return getattr(importlib.import_module(f"oneiros.{room}"), part, None)
        return _anywhere().get(name)


@functools.cache
def _namespace(name):
    """The public namespace of this name, or None."""
    if not name:
        return oneiros
    value = oneiros
    for part in name.split("."):
        try:
            value = getattr(value, part, None)
        except ImportError:
            return None
    return value if isinstance(value, (types.ModuleType, types.SimpleNamespace)) else None


@functools.cache
def _anywhere():
    """Every public name: what it stands for in the first namespace that has it."""
    found = {}
    for room in oneiros.__all__:
        space = _namespace(room) if room not in ("core", "backends", "testing") else None
        for name in getattr(space, "__all__", ()):
            found.setdefault(name, getattr(space, name, None))
    return found


def unchanged(function):
    """`function` itself: a decorator for what needs none here."""
    return function
