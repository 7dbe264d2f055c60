"""Small helpers under the names that scripts know; most live in the rooms that they belong to."""

import importlib

# Public name: where it is, and its name there if that is another.
_NAMES = {
    "Config": "utils.settings",
    "CustomObjectScope": "core.registry",
    "Progbar": "callbacks.progress",
    "PyDataset": "training.data_streams",
    "Sequence": "training.data_streams:PyDataset",
    "clear_session": "utils.session",
    "custom_object_scope": "core.registry",
    "deserialize_keras_object": "core.registry",
    "disable_interactive_logging": "core.config",
    "enable_interactive_logging": "core.config",
    "get_custom_objects": "core.registry",
    "get_file": "utils.files",
    "get_registered_name": "core.registry",
    "get_registered_object": "core.registry",
    "get_source_inputs": "utils.session",
    "is_interactive_logging_enabled": "core.config",
    "is_keras_tensor": "utils.session",
    "normalize": "utils.arrays",
    "pack_x_y_sample_weight": "training.data",
    "register_keras_serializable": "core.registry",
    "serialize_keras_object": "core.registry",
    "set_random_seed": "utils.session",
    "standardize_dtype": "core.dtypes",
    "to_categorical": "utils.arrays",
    "unpack_x_y_sample_weight": "training.data",
}
__all__ = list(_NAMES)


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'oneiros.utils' has no attribute {name!r}")
    module, _, original = _NAMES[name].partition(":")
    value = getattr(importlib.import_module(f"oneiros.{module}"), original or name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
