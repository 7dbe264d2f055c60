"""The settings of a session: numbers' defaults, the backend's name, what is shown and what is
trusted.

A setting is a row of `_settings`. Its first value comes from an environment variable, else from
Keras's settings file (`~/.keras/keras.json`, or `$KERAS_HOME/keras.json`), else from `DEFAULTS`.
Reading them has no side effect: no file is written. Rooms that must react to a change append a
function to `on_backend_change` or `on_floatx_change`.
"""

import os
import warnings

__all__ = [
    "backend",
    "disable_flash_attention",
    "disable_interactive_logging",
    "disable_traceback_filtering",
    "enable_flash_attention",
    "enable_interactive_logging",
    "enable_traceback_filtering",
    "enable_unsafe_deserialization",
    "epsilon",
    "floatx",
    "home",
    "image_data_format",
    "is_flash_attention_enabled",
    "is_interactive_logging_enabled",
    "is_nnx_enabled",
    "is_traceback_filtering_enabled",
    "is_unsafe_deserialization_enabled",
    "max_epochs",
    "max_steps_per_epoch",
    "random_generator",
    "set_backend",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_max_epochs",
    "set_max_steps_per_epoch",
    "set_random_generator",
    "standardize_data_format",
]

BACKENDS = ("jax", "torch", "tensorflow", "numpy", "pytensor", "theano", "cntk", "dl4j")
CHOICES = {
    "floatx": ("float16", "bfloat16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
    "random_generator": ("backend", "portable"),
}
DEFAULTS = {
    "backend": "jax",
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "random_generator": "backend",
    "max_epochs": None,
    "max_steps_per_epoch": None,
    "flash_attention": None,
    "nnx_enabled": False,
    "interactive_logging": True,
    "traceback_filtering": True,
    "unsafe_deserialization": False,
}
_settings = dict(DEFAULTS)

on_backend_change = []
on_floatx_change = []


def backend():
    """The name of the session's backend.

    >>> from oneiros import config
    >>> isinstance(config.backend(), str)
    True
    """
    return _settings["backend"]


def set_backend(backend):
    """Make `backend` the session's backend, by name.

    Arrays already made stay with the backend that made them.

    Raises:
        ValueError: if no backend has that name.
    """
    if backend not in BACKENDS and backend not in _plugins():
        known = sorted({*BACKENDS, *_plugins()})
        raise ValueError(f"`backend` must be one of {known}; got {backend!r}")
    _settings["backend"] = backend
    for react in on_backend_change:
        react(backend)


def floatx():
    """The dtype of floats where none is given, as a string."""
    return _settings["floatx"]


def set_floatx(value):
    """Set the dtype of floats where none is given: float16, bfloat16, float32 or float64.

    >>> from oneiros import config
    >>> config.set_floatx("float64")
    >>> config.floatx()
    'float64'
    >>> config.set_floatx("float32")

    Raises:
        ValueError: if `value` is none of these.
    """
    _settings["floatx"] = _chosen("floatx", value, "value")
    for react in on_floatx_change:
        react(value)


def epsilon():
    """The small number that keeps divisions and logarithms finite."""
    return _settings["epsilon"]


def set_epsilon(value):
    """Set the small number that keeps divisions and logarithms finite.

    Raises:
        ValueError: if `value` is not a number.
    """
    _settings["epsilon"] = _number(value)


def image_data_format():
    """Where images have their channels by default: `"channels_last"` or `"channels_first"`."""
    return _settings["image_data_format"]


def set_image_data_format(data_format):
    """Set where images have their channels by default.

    Raises:
        ValueError: if `data_format` is neither `"channels_last"` nor `"channels_first"`.
    """
    _settings["image_data_format"] = _chosen("image_data_format", data_format, "data_format")


def standardize_data_format(data_format):
    """`data_format`, checked; None stands for the session's `image_data_format()`."""
    if data_format is None:
        return _settings["image_data_format"]
    if isinstance(data_format, str):
        data_format = data_format.lower()
    return _chosen("image_data_format", data_format, "data_format")


def random_generator():
    """Who makes the noise inside a training step: `"backend"` or `"portable"`."""
    return _settings["random_generator"]


def set_random_generator(value):
    """Set who makes the noise inside a training step.

    `"backend"` is the backend's own generator, which is fast; `"portable"` is one counter-based
    generator that gives the same numbers on every backend.

    Raises:
        ValueError: if `value` is neither.
    """
    _settings["random_generator"] = _chosen("random_generator", value, "value")


def max_epochs():
    """The most epochs that any `fit` runs, or None (first set by `KERAS_MAX_EPOCHS`)."""
    return _settings["max_epochs"]


def set_max_epochs(max_epochs):
    """Set the most epochs that any `fit` runs; None lifts the limit.

    Raises:
        ValueError: if `max_epochs` is neither None nor a whole number.
    """
    _settings["max_epochs"] = _count(max_epochs, "max_epochs")


def max_steps_per_epoch():
    """The most steps in any epoch, or None (first set by `KERAS_MAX_STEPS_PER_EPOCH`)."""
    return _settings["max_steps_per_epoch"]


def set_max_steps_per_epoch(max_steps_per_epoch):
    """Set the most steps in any epoch, of training, evaluation and prediction; None lifts the
    limit.

    Raises:
        ValueError: if `max_steps_per_epoch` is neither None nor a whole number.
    """
    _settings["max_steps_per_epoch"] = _count(max_steps_per_epoch, "max_steps_per_epoch")


def enable_flash_attention():
    """Ask for fused attention kernels, and for an error where there is none."""
    _settings["flash_attention"] = True


def disable_flash_attention():
    """Keep to plain attention."""
    _settings["flash_attention"] = False


def is_flash_attention_enabled():
    """True or False as last asked for; None leaves it to the backend."""
    return _settings["flash_attention"]


def is_nnx_enabled():
    """Whether Flax NNX is asked for, by `KERAS_NNX_ENABLED` or the settings file."""
    return _settings["nnx_enabled"]


def enable_interactive_logging():
    """Show progress bars on the standard output."""
    _settings["interactive_logging"] = True


def disable_interactive_logging():
    """Send messages to the log instead of the standard output."""
    _settings["interactive_logging"] = False


def is_interactive_logging_enabled():
    """Whether progress goes to the standard output rather than the log."""
    return _settings["interactive_logging"]


def enable_traceback_filtering():
    """Leave the library's own frames out of tracebacks."""
    _settings["traceback_filtering"] = True


def disable_traceback_filtering():
    """Show every frame in tracebacks."""
    _settings["traceback_filtering"] = False


def is_traceback_filtering_enabled():
    """Whether the library's own frames are left out of tracebacks."""
    return _settings["traceback_filtering"]


def enable_unsafe_deserialization():
    """Let files bring code from now on. Only for files that you trust as you trust a program."""
    _settings["unsafe_deserialization"] = True


def is_unsafe_deserialization_enabled():
    """Whether files may bring code."""
    return _settings["unsafe_deserialization"]


def home():
    """The folder of the settings file, downloads and caches: `$KERAS_HOME` or `~/.keras`."""
    return os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")


# Checks
# ----------------------------------------------------------------------------------------------


def _chosen(setting, value, argument):
    if not isinstance(value, str) or value not in CHOICES[setting]:
        options = ", ".join(map(repr, CHOICES[setting]))
        raise ValueError(f"`{argument}` must be one of {options}; got {value!r}")
    return value


def _number(value):
    if isinstance(value, (str, bool)) or not hasattr(value, "__float__"):
        raise ValueError(f"`value` must be a number; got {value!r}")
    return float(value)


def _count(value, name):
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        raise ValueError(f"`{name}` must be None or a whole number from 0; got {value!r}")
    return value


def _plugins():
    """Names of the backends that installed packages bring."""
    from importlib.metadata import entry_points

    return {point.name for point in entry_points(group="oneiros.backends")}


# First values
# ----------------------------------------------------------------------------------------

IN_FILE = {
    "backend": lambda name: name if _is_here(name) else DEFAULTS["backend"],
    "floatx": lambda value: _chosen("floatx", value, "floatx"),
    "epsilon": _number,
    "image_data_format": lambda value: _chosen("image_data_format", value, "image_data_format"),
    "nnx_enabled": bool,
}


def _is_here(name):
    """Whether this library brings a backend of that name.

    Keras writes the file unasked, with a default of its own; that is nobody's wish.
    """
    room = os.path.join(os.path.dirname(os.path.dirname(__file__)), "backends")
    return os.path.exists(os.path.join(room, f"{name}.py")) or os.path.isdir(
        os.path.join(room, str(name))
    )


def _read_file(path):
    """The settings in the file at `path` that can be used; for the rest, a warning that names the
    file."""
    if not os.path.exists(path):
        return {}
    import json

    try:
        with open(path, encoding="utf-8") as file:
            given = json.load(file)
        if not isinstance(given, dict):
            raise ValueError(f"it holds {given!r}, not an object")
    except (OSError, ValueError) as error:
        warnings.warn(f"the settings file {path} is ignored: {error}", stacklevel=2)
        return {}
    found = {}
    for name, check in IN_FILE.items():
        if name in given:
            try:
                found[name] = check(given[name])
            except ValueError as error:
                warnings.warn(f"in the settings file {path}: {error}", stacklevel=2)
    return found


def _read_environment(environ):
    """The settings that environment variables give."""
    found = {}
    name = environ.get("ONEIROS_BACKEND") or environ.get("KERAS_BACKEND")
    if name:
        found["backend"] = name
    for setting in ("max_epochs", "max_steps_per_epoch"):
        variable = "KERAS_" + setting.upper()
        if text := environ.get(variable):
            if not text.isdigit():
                raise ValueError(
                    f"the environment variable {variable} must be a whole number; got {text!r}"
                )
            found[setting] = int(text)
    if text := environ.get("KERAS_NNX_ENABLED"):
        found["nnx_enabled"] = text.lower() in ("1", "true")
    return found


_settings.update(_read_file(os.path.join(home(), "keras.json")))
_settings.update(_read_environment(os.environ))
