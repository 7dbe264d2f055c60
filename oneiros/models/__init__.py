"""Models: sequential, functional and subclassed; cloning, saving and loading them."""

import importlib

from oneiros.models.cloning import clone_model
from oneiros.models.function import Function
from oneiros.models.functional import Functional, Sequential
from oneiros.models.model import Model, model_from_json

__all__ = [
    "Function",
    "Functional",
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]


def __getattr__(name):
    if name in ("load_model", "save_model"):
        return getattr(importlib.import_module("oneiros.saving"), name)
    raise AttributeError(f"module 'oneiros.models' has no attribute {name!r}")
