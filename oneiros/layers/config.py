"""What of a layer goes into its config, and how a layer comes back from it."""

from __future__ import annotations

import inspect

from oneiros import dtype_policies
from oneiros.core.configurable import config_names

__all__ = ["config_of", "deserialize", "from_config", "plain", "serialize"]


def serialize(layer):
    """A layer as a dict that JSON can hold.

    >>> from oneiros import layers
    >>> layers.serialize(layers.Flatten())["class_name"]
    'Flatten'
    """
    from oneiros.core.registry import serialize_keras_object

    return serialize_keras_object(layer)


def deserialize(config, custom_objects=None):
    """The layer that `serialize` described.

    >>> from oneiros import layers
    >>> layers.deserialize(layers.serialize(layers.Dense(3))).units
    3
    """
    from oneiros.core.operation import Operation
    from oneiros.core.registry import deserialize_keras_object

    layer = deserialize_keras_object(config, custom_objects)
    if not isinstance(layer, Operation):
        raise ValueError(f"layers.deserialize: the config is not that of a layer; got {config}")
    return layer


def plain(value, kind=None):
    """A field's value as JSON can hold it."""
    if kind is not None and hasattr(kind, "plain"):
        return kind.plain(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(plain(v) for v in value) if type(value) in (list, tuple) else list(value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    from oneiros.core.registry import serialize_keras_object

    return serialize_keras_object(value)


def config_of(layer):
    """The config: name, trainable, dtype, and the constructor's own arguments."""
    from oneiros.layers.base import Layer

    cls = type(layer)
    config = {
        "name": layer.name,
        "trainable": layer.trainable,
        "dtype": dtype_policies.serialize(layer.dtype_policy),
    }
    # the nearest class made from fields describes itself by them
    declared = next(
        (c for c in cls.__mro__ if "__init__" not in c.__dict__ and issubclass(c, Layer)), None
    )
    own_init = next(c for c in cls.__mro__ if "__init__" in c.__dict__)
    if declared is not None and own_init in declared.__mro__:
        drop = getattr(layer, "config_without", ())
        for name in config_names(declared):
            if name not in ("name", "trainable", "dtype") and name not in drop:
                config[name] = plain(getattr(layer, name), declared.fields[name][0])
        for name in getattr(layer, "config_also", ()):
            config[name] = plain(getattr(layer, name))
        for name in getattr(layer, "config_when_set", ()):
            if config.get(name) is None:
                config.pop(name, None)
        return config
    if _overrides(cls, Layer):
        inner = next(
            (
                c
                for c in own_init.__mro__[1:]
                if issubclass(c, Layer) and c.fields and "__init__" not in c.__dict__
            ),
            None,
        )
        if inner is not None:
            for name in inner.fields:
                if name in layer.__dict__:
                    config[name] = plain(getattr(layer, name), inner.fields[name][0])
        return config
    return {**config, **_given(layer, own_init)}


def _overrides(cls, base):
    return cls.get_config is not base.get_config


def _given(layer, cls):
    """The arguments of a constructor of the user's own: attributes of the same name, else what was
    passed.
    """
    signature = inspect.signature(cls.__init__)
    rows = [
        r
        for r in list(signature.parameters.values())[1:]
        if r.kind not in (r.VAR_KEYWORD, r.VAR_POSITIONAL)
    ]
    args, kwargs = layer._given
    given = dict(zip([r.name for r in rows], args)) | kwargs
    config = {}
    for row in rows:
        if row.name in ("name", "trainable", "dtype"):
            continue
        if row.name in given:
            value = given[row.name]
        elif row.name in layer.__dict__ and row.default is row.empty:
            value = layer.__dict__[row.name]
        else:
            continue
        try:
            config[row.name] = plain(value)
        except (TypeError, ValueError, NotImplementedError):
            raise NotImplementedError(
                f"Object {cls.__name__} was created by passing non-serializable argument values in `__init__()` "
                f"(argument '{row.name}'), and therefore the object must override `get_config()` in order to be "
                "serializable. Please implement `get_config()`."
            ) from None
    return config


def from_config(cls, config):
    """An object of `cls` from its config."""
    config = dict(config)
    dtype = config.get("dtype")
    if isinstance(dtype, dict):
        config["dtype"] = (
            dtype_policies.deserialize(dtype)
            if "class_name" in dtype
            else dtype_policies.get(dtype)
        )
    rows = inspect.signature(cls.__init__).parameters
    if "__init__" in cls.__dict__ and not any(r.kind is r.VAR_KEYWORD for r in rows.values()):
        for name in (
            "dtype",
            "trainable",
            "name",
        ):  # a constructor without **kwargs takes what it names
            if name not in rows and name in config:
                config.pop(name)
    try:
        return cls(**config)
    except TypeError as error:
        raise TypeError(
            f"{cls.__name__}.from_config: the constructor does not take this config: {error}; config={config}"
        ) from error
