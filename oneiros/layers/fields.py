"""Kinds of constructor arguments: how what a user gives becomes what a layer keeps, and back for
its config.

A kind is the annotation of a field: `convert(value, layer, name)` on the way in, `plain(value)` on
the way out.
"""

from __future__ import annotations

import importlib

import numpy as np

__all__ = [
    "Activation", "Constraint", "DataFormat", "Initializer", "Padding", "PerAxis", "Positive", "Rate", "Regularizer", "Seed",
]  # fmt: skip


class _Lookup:
    """An object of one of the small families, by name, config or itself."""

    room = None

    @classmethod
    def convert(cls, value, layer, name):
        try:
            return importlib.import_module(f"oneiros.{cls.room}").get(value)
        except (ValueError, TypeError) as error:
            raise type(error)(f"{type(layer).__name__}: argument {name}: {error}") from None

    @classmethod
    def plain(cls, value):
        return (
            None
            if value is None
            else importlib.import_module(f"oneiros.{cls.room}").serialize(value)
        )


class Activation(_Lookup):
    """A function by name; None stands for the identity."""

    room = "activations"


class Initializer(_Lookup):
    room = "initializers"


class Regularizer(_Lookup):
    room = "regularizers"


class Constraint(_Lookup):
    room = "constraints"


class PerAxis:
    """One number for each spatial axis; a lone number stands for all of them."""

    per_axis = True

    @staticmethod
    def convert(value, layer, name):
        if value is None:
            return None
        whole = (value,) * layer.rank if isinstance(value, (int, np.integer)) else value
        try:
            whole = tuple(int(v) for v in whole)
        except (TypeError, ValueError):
            whole = ()
        if len(whole) != layer.rank or any(v < 1 for v in whole):
            raise ValueError(
                f"{type(layer).__name__}: {name} must be a positive integer or {layer.rank} of them, one per "
                f"spatial axis; got {value!r}"
            )
        return whole

    plain = staticmethod(lambda value: value)


class Positive:
    """A positive integer."""

    @staticmethod
    def convert(value, layer, name):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(
                f"Received an invalid value for `{name}`, expected a positive integer. Received: {name}={value!r} "
                f"({type(layer).__name__})"
            )
        return int(value)


class Rate:
    """A probability in [0, 1]."""

    @staticmethod
    def convert(value, layer, name):
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(
                f"{type(layer).__name__}: Invalid value received for argument `{name}`. Expected a float value "
                f"between 0 and 1. Received: {name}={value!r}"
            )
        return value


class Padding:
    """How the borders are treated: "valid" or "same"; lower case."""

    choices = ("valid", "same")

    @classmethod
    def convert(cls, value, layer, name):
        choices = getattr(layer, "paddings", cls.choices)
        low = value.lower() if isinstance(value, str) else value
        if low not in choices:
            raise ValueError(
                f"{type(layer).__name__}: {name} must be one of {choices}; got {value!r}"
            )
        return low


class DataFormat:
    """Where the channels are: "channels_last" or "channels_first"; the session's setting if None."""

    @staticmethod
    def convert(value, layer, name):
        from oneiros.core import config

        value = config.image_data_format() if value is None else str(value).lower()
        if value not in ("channels_last", "channels_first"):
            raise ValueError(
                f"{type(layer).__name__}: {name} must be 'channels_last' or 'channels_first'; got {value!r}"
            )
        return value


class Seed:
    """A seed; the layer's `seed_generator` is made from it, unless its noise has the strength 0."""

    @staticmethod
    def convert(value, layer, name):
        from oneiros.random import SeedGenerator

        if getattr(layer, "rate", None) != 0 and getattr(layer, "stddev", None) != 0:
            layer.seed_generator = SeedGenerator(value)
        return value
