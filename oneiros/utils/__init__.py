"""Small helpers under the names that scripts know; most live in the rooms that they belong to."""

import importlib

# Public name: where it is, and its name there if that is another.
_NAMES = {
    "Config": "utils.settings",
    "CustomObjectScope": "core.registry",
    "Progbar": "callbacks.progress",
    "PyDataset": "training.data_streams",
    "Sequence": "training.data_streams:PyDataset",
    "FeatureSpace": "models.feature_space",
    "array_to_img": "utils.images",
    "audio_dataset_from_directory": "preprocessing.directories",
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
    "image_dataset_from_directory": "preprocessing.directories",
    "img_to_array": "utils.images",
    "is_interactive_logging_enabled": "core.config",
    "is_keras_tensor": "utils.session",
    "load_img": "utils.images",
    "model_to_dot": "models.plot",
    "normalize": "utils.arrays",
    "pad_sequences": "utils.sequences",
    "pack_x_y_sample_weight": "training.data",
    "plot_model": "models.plot",
    "register_keras_serializable": "core.registry",
    "save_img": "utils.images",
    "serialize_keras_object": "core.registry",
    "set_random_seed": "utils.session",
    "split_dataset": "preprocessing.splitting",
    "standardize_dtype": "core.dtypes",
    "text_dataset_from_directory": "preprocessing.directories",
    "timeseries_dataset_from_array": "preprocessing.timeseries",
    "to_categorical": "utils.arrays",
    "unpack_x_y_sample_weight": "training.data",
}
__all__ = list(_NAMES)


def __getattr__(name):
    if name == "bounding_boxes":
        return importlib.import_module("oneiros.utils.bounding_boxes")
    if name not in _NAMES:
        raise AttributeError(f"module 'oneiros.utils' has no attribute {name!r}")
    module, _, original = _NAMES[name].partition(":")
    value = getattr(importlib.import_module(f"oneiros.{module}"), original or name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
