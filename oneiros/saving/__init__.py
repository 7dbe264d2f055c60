"""Saving and loading: whole models, weights, and the configs of single objects."""

import importlib

from oneiros.core.registry import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from oneiros.saving.files import load_model, load_weights, save_model, save_weights

__all__ = [
    "CustomObjectScope",
    "KerasFileEditor",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]


def __getattr__(name):
    if name == "KerasFileEditor":
        return importlib.import_module("oneiros.saving.editor").KerasFileEditor
    raise AttributeError(f"module 'oneiros.saving' has no attribute {name!r}")
