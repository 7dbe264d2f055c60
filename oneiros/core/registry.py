"""Objects as JSON-able configs and back, in Keras 3's format, over a closed list of names.

A config says `module`, `class_name`, `config` and `registered_name`. A built-in is found in the
rooms of the table `ROOMS` under its public name; anything else only among what the caller
registered or gave in `custom_objects`. No name from a config is imported, evaluated or unpickled.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import threading
import types

import numpy as np

from oneiros.core import backend
from oneiros.core.dtypes import np_dtype, standardize_dtype
from oneiros.core.spec import dtype_name
from oneiros.core.symbol import Symbol

__all__ = [
    "ConfigError",
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "object_sharing",
    "register_keras_serializable",
    "serialize_keras_object",
]


class ConfigError(ValueError, TypeError):
    """Raised for a config that cannot be read: it names the class and its place in the config."""


def serialize_keras_object(obj):
    """`obj` as a config of plain values: numbers, strings, lists, dicts.

    Takes layers, models, losses and the like, any object with `get_config`, functions, arrays,
    slices, bytes, and lists, tuples and dicts of these.

    >>> from oneiros import saving
    >>> saving.serialize_keras_object(slice(1, None))
    {'class_name': '__slice__', 'config': {'start': 1, 'stop': None, 'step': None}}

    Raises:
        TypeError: if `obj` has no `get_config`.
    """
    if obj is None or isinstance(obj, (str, bool, int, float)):
        return obj
    if isinstance(obj, (list, tuple)):
        made = [serialize_keras_object(v) for v in obj]
        return tuple(made) if type(obj) is tuple else made
    if isinstance(obj, dict):
        return {k: serialize_keras_object(v) for k, v in obj.items()}
    special = _special_config(obj)
    if special is not None:
        return special
    if not hasattr(obj, "get_config") or isinstance(obj, type):
        raise TypeError(
            f"cannot serialize {obj!r} of type {type(obj)}: to be serializable, a class must have "
            "a `get_config()` method"
        )
    return _object_config(obj)


def deserialize_keras_object(config, custom_objects=None, safe_mode=True, **kwargs):
    """The object that `serialize_keras_object` wrote as `config`.

    Built-ins are found under their Keras names; others must be registered with
    `register_keras_serializable` or be given in `custom_objects` (name to class or function).
    Code in a config, such as a lambda's, is always refused, whatever `safe_mode` says.

    >>> from oneiros import saving
    >>> saving.deserialize_keras_object({"class_name": "__bytes__", "config": {"value": "ab"}})
    b'ab'

    Raises:
        ValueError, TypeError: for an unknown class or function, a lambda, or arguments that the
            class refuses (one error that is both).
    """
    if config is None or type(config) in (bool, int, float):
        return config
    known = kwargs.pop("module_objects", None)
    kwargs.pop("printable_module_name", None)
    if kwargs:
        raise TypeError(f"deserialize_keras_object has no argument {next(iter(kwargs))!r}")
    outermost = not STATE.path
    try:
        with CustomObjectScope(custom_objects) if custom_objects else contextlib.nullcontext():
            return _read(config, known)
    except RecursionError:
        if outermost:
            raise ConfigError("the config is nested too deeply to be read") from None
        raise


# Custom objects
# --------------------------------------------------------------------------------------------------


class _State(threading.local):
    """What this thread is in the middle of."""

    def __init__(self):
        self.custom = {}  # objects of the open scopes
        self.path = []  # where in a config it reads
        self.shared = None  # within `object_sharing`: objects by id, written or read


STATE = _State()
OBJECTS = {}  # registered name: class or function
NAMES = {}  # class or function: registered name


def register_keras_serializable(package="Custom", name=None):
    """A decorator that lets files name a class or function, as `package>name`.

    A class must have `get_config`. `name` is the class's or function's own if None.

    >>> from oneiros import saving
    >>> @saving.register_keras_serializable("my_package")
    ... def swish_twice(x):
    ...     return x
    >>> saving.get_registered_name(swish_twice)
    'my_package>swish_twice'
    """

    def register(target):
        if inspect.isclass(target) and not hasattr(target, "get_config"):
            raise ValueError(
                f"cannot register the class {target.__name__}: it has no `get_config()` method"
            )
        registered = f"{package}>{name if name is not None else target.__name__}"
        OBJECTS[registered], NAMES[target] = target, registered
        return target

    return register


def get_custom_objects():
    """The registered classes and functions by name: one live dict, which may be added to."""
    return OBJECTS


def get_registered_name(obj):
    """The name under which the class or function `obj` is registered, or its own."""
    return NAMES.get(obj) or obj.__name__


def get_registered_object(name, custom_objects=None, module_objects=None):
    """The class or function that `name` stands for, or None.

    Open scopes come first, then what is registered, `custom_objects`, and `module_objects`.
    """
    for table in (STATE.custom, OBJECTS, custom_objects, module_objects):
        if table and name in table:
            return table[name]
    return None


class CustomObjectScope:
    """Inside, configs may name the classes and functions in the dict `custom_objects`.

    >>> from oneiros import saving
    >>> with saving.CustomObjectScope({"twice": lambda x: x + x}):
    ...     saving.get_registered_object("twice")(3)
    6
    """

    def __init__(self, custom_objects):
        self.custom_objects = custom_objects or {}

    def __enter__(self):
        self.before, STATE.custom = (STATE.custom, {**STATE.custom, **self.custom_objects})
        return self

    def __exit__(self, *_):
        STATE.custom = self.before


custom_object_scope = CustomObjectScope


@contextlib.contextmanager
def object_sharing():
    """Inside, an object that is written or read twice stays one object."""
    before, STATE.shared = (STATE.shared, STATE.shared if STATE.shared is not None else {})
    try:
        yield
    finally:
        STATE.shared = before


# Writing
# --------------------------------------------------------------------------------------------------


def public_name(cls):
    """The module and name under which files know the class `cls`: Keras's own for built-ins."""
    module, name = cls.__module__, cls.__name__
    if module.partition(".")[0] != "oneiros":
        return None if module == "__main__" else module, name
    if name in WRITTEN_AS:
        return WRITTEN_AS[name]
    if name in TOP and cls is _public(ROOMS[f"keras.{TOP[name]}"], name):
        return "keras", name
    parts = module.split(".")
    if parts[-1] == "schedules" or "schedules" in parts:
        return "keras.optimizers.schedules", name
    return f"keras.{parts[1]}", name


def _object_config(obj):
    shared = STATE.shared
    if shared is not None and id(obj) in shared:
        first = shared[id(obj)][1]
        first.setdefault("shared_object_id", len(shared))
        return first
    cls = type(obj)
    module, name = public_name(cls)
    built_in = cls.__module__.partition(".")[0] == "oneiros"
    written = {
        "module": module,
        "class_name": name,
        "config": serialize_keras_object(obj.get_config()),
    }
    written["registered_name"] = None if built_in else get_registered_name(cls)
    if built_in and module.startswith("keras.src."):
        written["registered_name"] = name
    if hasattr(obj, "get_build_config") and (build := obj.get_build_config()) is not None:
        written["build_config"] = serialize_keras_object(build)
    if hasattr(obj, "get_compile_config"):
        compiled = obj.get_compile_config() if getattr(obj, "compiled", False) else None
        written["compile_config"] = serialize_keras_object(compiled) or {}
    if shared is not None:
        shared[id(obj)] = obj, written
    return written


def _special_config(obj):
    """The config of what is no object with `get_config`; None for those that are."""
    if isinstance(obj, bytes):
        return _tagged("bytes", value=obj.decode())
    if isinstance(obj, slice):
        start, stop, step = map(serialize_keras_object, (obj.start, obj.stop, obj.step))
        return _tagged("slice", start=start, stop=stop, step=step)
    if obj is ...:
        return _tagged("ellipsis")
    if isinstance(obj, Symbol):
        return _tagged(
            "keras_tensor", shape=list(obj.shape), dtype=obj.dtype, keras_history=history(obj)
        )
    if isinstance(obj, types.LambdaType) and obj.__name__ == "<lambda>" and obj not in NAMES:
        return _lambda_config(obj)
    if isinstance(obj, type):
        return _builtin("type", obj.__name__) if obj in TYPES.values() else None
    if inspect.isroutine(obj) and not hasattr(obj, "get_config"):
        return _builtin("function", get_registered_name(obj))
    if hasattr(obj, "shape") and hasattr(obj, "dtype") and not hasattr(obj, "get_config"):
        if hasattr(obj, "assign"):
            return None
        kind = "numpy" if isinstance(obj, (np.ndarray, np.generic)) else "tensor"
        return _tagged(kind, value=backend.to_numpy(obj).tolist(), dtype=dtype_name(obj.dtype))
    return None


def history(symbol):
    """Where a symbol comes from: its maker's name, which use of the maker, which output of that."""
    from oneiros.core.operation import index_of, operation_of

    if symbol.call is None:
        return getattr(symbol, "origin", None)
    return [operation_of(symbol.call).name, index_of(symbol.call), symbol.index]


def _tagged(kind, **config):
    return {"class_name": f"__{kind}__", "config": config}


def _builtin(kind, name):
    return {"module": "builtins", "class_name": kind, "config": name, "registered_name": kind}


def _lambda_config(function):
    """A lambda's compiled code, as Keras writes it; only Keras, told to be unsafe, can read it."""
    import codecs
    import marshal
    import warnings

    warnings.warn(
        f"{function!r} is written as compiled code, which Oneiros will not read back: give it a "
        "name with `def` and register it, or replace it through `custom_objects` when loading",
        stacklevel=6,
    )
    code = codecs.encode(marshal.dumps(function.__code__), "base64").decode("ascii")
    cells = function.__closure__
    closure = tuple(c.cell_contents for c in cells) if cells else None
    return _tagged("lambda", value=(code, function.__defaults__, closure))


# Reading
# --------------------------------------------------------------------------------------------------


def _read(config, known=None):
    """The value that `config` stands for; `known` are the objects of the caller's own family."""
    if isinstance(config, str):
        found = get_registered_object(config, module_objects=known)
        if found is None:
            return config
        return found() if inspect.isclass(found) else found
    if isinstance(config, (list, tuple)):
        return [_read(v) for v in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or "config" not in config:
        return {k: _at(k, _read, v) for k, v in config.items()}
    name, inner = config["class_name"], config["config"]
    if not isinstance(name, str):
        raise _error(f"its class_name is {_shown(name)}; expected a string")
    label = name
    if isinstance(inner, dict) and isinstance(inner.get("name"), str):
        label = f"{name} '{inner['name']}'"
    return _at(label, _read_object, config, name, inner, known)


def _at(label, function, *args):
    """`function(*args)` with `label` as the place in the config."""
    path = STATE.path
    if len(path) > MAX_DEPTH:
        raise ConfigError(f"the config is nested deeper than {MAX_DEPTH} levels")
    path.append(str(label)[:80])
    try:
        return function(*args)
    finally:
        path.pop()


def _read_object(config, name, inner, known):
    if name in READERS:
        try:
            return READERS[name](inner)
        except ConfigError:
            raise
        except (
            TypeError,
            ValueError,
            KeyError,
            AttributeError,
            OverflowError,
            MemoryError,
        ) as error:
            raise _error(f"{_shown(inner)} is not what a {name} holds ({error})") from None
    shared, number = STATE.shared, config.get("shared_object_id")
    if shared is not None and isinstance(number, int) and number in shared:
        return shared[number]
    if name in ("function", "builtin_function_or_method", "type", "method"):
        return _read_callable(name, inner, known)
    found = _find(config, name, known)
    if not inspect.isclass(found):
        if callable(found) and hasattr(found, "from_config") and isinstance(inner, dict):
            return found.from_config(inner)
        if isinstance(inner, dict) and inner:
            raise _error(f"'{name}' is a function, but its config holds {_shown(inner)}")
        return found
    made = _make(found, config, name, inner)
    if shared is not None and isinstance(number, int):
        shared[number] = made
    return made


def _make(cls, config, name, inner):
    """An object of `cls` from its config, built and compiled as the config says."""
    if not hasattr(cls, "from_config"):
        raise _error(f"the class {cls.__name__} has no `from_config()` method")
    if not isinstance(inner, dict):
        raise _error(f"the config of {name} must be a dict; got {_shown(inner)}")
    try:
        made = cls.from_config(dict(inner))
        build = config.get("build_config")
        if build and hasattr(made, "build_from_config"):
            made.build_from_config(_read(build))
        compiled = config.get("compile_config")
        if compiled and hasattr(made, "compile_from_config"):
            made.compile_from_config(compiled)
    except ConfigError:
        raise
    except FAILURES as error:
        reason = f"the key {error} is missing" if isinstance(error, KeyError) else error
        raise _error(f"{cls.__name__} cannot be made from its config: {reason}") from error
    return made


def _read_callable(kind, name, known):
    """A function, or one of Python's and NumPy's plain types, by its name."""
    if not isinstance(name, str):
        raise _error(f"a {kind} is written as its name; got {_shown(name)}")
    found = get_registered_object(name, module_objects=known)
    if found is None and kind == "type":
        found = TYPES.get(name)
    if found is None and kind == "function":
        for room in FUNCTION_ROOMS:
            found = _public(f"oneiros.{room}", name)
            if found is not None and not inspect.isclass(found):
                break
            found = None
    if found is None:
        raise _unknown(kind, name)
    return found


def _find(config, name, known):
    """The class that a config names, from the caller's objects or the table of rooms."""
    registered, module = config.get("registered_name"), config.get("module")
    for key in (registered, name):
        if isinstance(key, str):
            found = get_registered_object(key, module_objects=known)
            if found is not None:
                return found
    if not isinstance(module, (str, type(None))):
        raise _error(f"its module is {_shown(module)}; expected a string")
    if module is None:
        rooms = NAMELESS if known is None and registered in (None, name) else []  # legacy files
    else:
        rooms = _rooms(module, name)
    for room in rooms:
        found = _public(room, name)
        if inspect.isclass(found) and hasattr(found, "from_config"):
            return found
        if found is not None and room.rpartition(".")[2] in FUNCTION_ROOMS:
            return found
    raise _unknown("class", name, module, registered)


def _rooms(module, name):
    """Our rooms with the public names of Keras's module `module`, in any version's spelling."""
    if module in ROOMS:
        return [ROOMS[module]]
    parts = module.split(".")
    if parts[0] not in ("keras", "tf_keras", "keras_core", "oneiros", "tensorflow"):
        return []
    while parts and parts[0] in (
        "tensorflow",
        "python",
        "keras",
        "tf_keras",
        "keras_core",
        "oneiros",
        "src",
    ):
        parts.pop(0)
    if not parts or parts == ["api"]:
        return [ROOMS[f"keras.{TOP[name]}"]] if name in TOP else []
    if "schedules" in parts or parts[-1] == "learning_rate_schedule":
        return [ROOMS["keras.optimizers.schedules"]]
    first = HISTORIC.get(parts[0], parts[0])
    room = ROOMS.get(f"keras.{first}")
    if room is None:
        return []
    return [room, ROOMS["keras.models"]] if first == "layers" else [room, ROOMS["keras.layers"]]


def _public(room, name):
    """The public object `name` of one of our rooms, or None."""
    if name.startswith("_") or name in NOT_CONFIGS:
        return None
    try:  # `room` comes from our tables
        found = getattr(importlib.import_module(room), READ_AS.get(name, name), None)
    except ModuleNotFoundError as error:
        if error.name != room:
            raise
        return None
    home = getattr(found, "__module__", None) or ""
    return found if callable(found) and home.partition(".")[0] == "oneiros" else None


# Values that have a form of their own
# --------------------------------------------------------------------------------------------------


def _read_array(config):
    dtype = standardize_dtype(config["dtype"])
    return np.array(config["value"], np_dtype(dtype))


def _read_symbol(config):
    shape = config["shape"]
    if any(n is not None and (type(n) is not int or n < 0) for n in shape):
        raise ValueError(f"a shape holds sizes and nulls; got {shape}")
    symbol = Symbol(tuple(shape), standardize_dtype(config["dtype"]))
    symbol.origin = config.get("keras_history")
    return symbol


def _read_lambda(config):
    owner = next((p.partition("'")[2].rstrip("'") for p in reversed(STATE.path) if "'" in p), None)
    found = STATE.custom.get(owner) if owner else None
    found = found or STATE.custom.get("__lambda__")
    if found is not None:
        return found
    raise _error(
        "it holds the compiled code of a Python lambda, which is never run from a file; give the "
        "function yourself when loading, under its layer's name: "
        f"custom_objects={{{owner or '__lambda__'!r}: function}}"
    )


def _read_spec(config):
    raise _error("it is a TensorFlow type specification, which Oneiros does not read")


READERS = {
    "__bytes__": lambda config: config["value"].encode(),
    "__slice__": lambda config: slice(*(_read(config[k]) for k in ("start", "stop", "step"))),
    "__ellipsis__": lambda config: ...,
    "__tuple__": lambda config: tuple(_read(config.get("value", config.get("items")))),
    "__tensor__": lambda config: backend.to_array(_read_array(config)),
    "__numpy__": _read_array,
    "__keras_tensor__": _read_symbol,
    "__lambda__": _read_lambda,
    "__typespec__": _read_spec,
}


# Errors
# --------------------------------------------------------------------------------------------------


def _error(message):
    place = " > ".join(STATE.path)
    return ConfigError(f"{place}: {message}" if place else message)


def _unknown(kind, name, module=None, registered=None):
    where = f" of the module '{module}'" if module else ""
    key = registered if isinstance(registered, str) else name
    return _error(
        f"the {kind} '{name}'{where} is not known. Nothing is imported for a file: register it "
        "with `@saving.register_keras_serializable()` where it is defined and import that first, "
        f"or give custom_objects={{{key!r}: …}}"
    )


def _shown(value):
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# Tables
# --------------------------------------------------------------------------------------------------

MAX_DEPTH = 100  # objects within objects
ROOMS = {
    f"keras.{room}": f"oneiros.{room}"
    for room in (
        "layers",
        "models",
        "initializers",
        "regularizers",
        "constraints",
        "activations",
        "losses",
        "metrics",
        "optimizers",
        "optimizers.schedules",
        "dtype_policies",
        "quantizers",
        "random",
        "distillation",
    )
}
ROOMS["keras.optimizers.legacy"] = "oneiros.optimizers"
ROOMS["keras.mixed_precision"] = "oneiros.dtype_policies"
ROOMS["keras.utils"] = "oneiros.utils"  # FeatureSpace
FEATURES = "keras.src.layers.preprocessing.feature_space"
ROOMS[FEATURES] = "oneiros.models.feature_space"
TOP = {
    "DTypePolicy": "dtype_policies",
    "FloatDTypePolicy": "dtype_policies",
    "Initializer": "initializers",
    "InputSpec": "layers",
    "Layer": "layers",
    "Loss": "losses",
    "Metric": "metrics",
    "Model": "models",
    "Functional": "models",
    "Optimizer": "optimizers",
    "Quantizer": "quantizers",
    "Regularizer": "regularizers",
    "Sequential": "models",
}
WRITTEN_AS = {
    "Functional": ("keras.src.models.functional", "Functional"),
    "GroupedQueryAttention": ("keras.layers", "GroupQueryAttention"),
    "FeatureSpace": ("keras.utils", "FeatureSpace"),
}
WRITTEN_AS |= {name: (FEATURES, name) for name in ("Cross", "Feature", "TFDIdentity")}
READ_AS = {"GroupedQueryAttention": "GroupQueryAttention"}
HISTORIC = {
    "engine": "models",
    "training": "models",
    "dtensor": "optimizers",
    "mixed_precision": "dtype_policies",
    "backend": "random",  # SeedGenerator's home in some versions
    "utils": "layers",
    "feature_column": "layers",
    "trainers": "models",
}
NAMELESS = [
    ROOMS[f"keras.{room}"]
    for room in (
        "layers",
        "models",
        "initializers",
        "regularizers",
        "constraints",
        "losses",
        "metrics",
    )
] + [ROOMS["keras.optimizers"], ROOMS["keras.optimizers.schedules"], ROOMS["keras.dtype_policies"]]
FUNCTION_ROOMS = (
    "activations",
    "losses",
    "metrics",
    "initializers",
    "regularizers",
    "constraints",
    "ops",
)
NOT_CONFIGS = {
    "get",
    "serialize",
    "deserialize",
    "Input",
    "load_model",
    "save_model",
    "clone_model",
}
NOT_CONFIGS |= {"model_from_json", "set_dtype_policy", "dtype_policy"}
TYPES = {
    t.__name__: t for t in (bool, int, float, complex, str, bytes, list, tuple, dict, type(None))
}
TYPES |= {
    t.__name__: t for t in (np.bool_, np.float16, np.float32, np.float64, np.uint8, np.uint16)
}
TYPES |= {t.__name__: t for t in (np.uint32, np.uint64, np.int8, np.int16, np.int32, np.int64)}
FAILURES = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    MemoryError,
)
FAILURES += (AssertionError,)
