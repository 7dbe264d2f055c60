"""What makes data sets of files and arrays, and helpers for pictures and sequences."""

import importlib

_MODULES = ("image", "sequence")
_NAMES = {
    "Dataset": "dataset",
    "on_broken_file": "directories",
    "image_dataset_from_directory": "directories",
    "text_dataset_from_directory": "directories",
    "timeseries_dataset_from_array": "timeseries",
}
__all__ = [*_MODULES, *_NAMES]


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"oneiros.preprocessing.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'oneiros.preprocessing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"oneiros.preprocessing.{_NAMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *__all__})
