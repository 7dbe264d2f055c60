"""Keras's old `backend` namespace: settings, dtypes and session helpers."""

from oneiros.core.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from oneiros.core.dtypes import is_float, is_integer, result_type, standardize_dtype
from oneiros.core.naming import auto_name, reset
from oneiros.core.symbol import Symbol

__all__ = [
    "backend", "clear_session", "epsilon", "floatx", "get_uid", "image_data_format", "is_float_dtype", "is_int_dtype",
    "is_keras_tensor", "result_type", "set_epsilon", "set_floatx", "set_image_data_format", "standardize_dtype",
]  # fmt: skip


def is_float_dtype(dtype):
    """Whether `dtype` is a floating one."""
    return is_float(standardize_dtype(dtype))


def is_int_dtype(dtype):
    """Whether `dtype` is an integer one."""
    return is_integer(standardize_dtype(dtype))


def is_keras_tensor(x):
    """Whether `x` is a symbol of a functional model.

    >>> import oneiros
    >>> oneiros.backend.is_keras_tensor(oneiros.Input((2,)))
    True
    """
    return isinstance(x, Symbol)


def get_uid(prefix=""):
    """A number that no earlier call with this prefix gave."""
    name = auto_name(prefix or "uid")
    return int(name.rpartition("_")[2]) + 1 if name != (prefix or "uid") else 1


def clear_session(free_memory=True):
    """Begin naming objects anew."""
    reset()
