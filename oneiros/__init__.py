"""Oneiros: one neural-network API, Keras 3's, over many engines.

Nothing heavy is imported here: rooms and names load when they are first used.
"""

import importlib

__version__ = _VERSION = "0.1.0"

_ROOMS = (
    "activations backend backends callbacks config constraints core datasets "
    "dtype_policies initializers layers losses metrics mixed_precision models ops "
    "optimizers preprocessing random regularizers saving testing training tree "
    "utils visualization "
).split()
_NAMES = {
    "Input": "layers",
    "InputSpec": "layers",
    "Layer": "layers",
    "Model": "models",
    "Sequential": "models",
    "Function": "models",
    "Operation": "core.operation",
    "Variable": "ops.operators",
    "KerasTensor": "ops.operators",
    "StatelessScope": "core.scopes",
    "SymbolicScope": "core.scopes",
    "RematScope": "core.scopes",
    "name_scope": "core.scopes",
    "device": "core.scopes",
    "remat": "layers.remat",
    "DTypePolicy": "dtype_policies",
    "FloatDTypePolicy": "dtype_policies",
    "Initializer": "initializers",
    "Regularizer": "regularizers",
    "Loss": "losses",
    "Metric": "metrics",
    "Optimizer": "optimizers",
}
__all__ = [*_ROOMS, *_NAMES, "version"]


def version():
    """The version of this library."""
    return _VERSION


def __getattr__(name):
    if name in _NAMES:
        value = getattr(importlib.import_module(f"oneiros.{_NAMES[name]}"), name)
    elif name in _ROOMS:
        value = importlib.import_module(f"oneiros.{name}")
    else:
        raise AttributeError(f"module 'oneiros' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
