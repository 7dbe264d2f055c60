"""Dtypes by name: which there are, what they are, and which one several of them become together.

A dtype is a string wherever the library holds one. Promotion follows a lattice: the result is the
least dtype that stands above all the given ones. Python's `int`, `float` and `complex` have places
of their own in it, low down, so that a plain number never widens an array. 64-bit results are
narrowed, as in Keras, but for those that the backend keeps (`Backend.kept_wide`).
"""

import functools

import numpy as np

from oneiros.core import config

__all__ = [
    "ALLOWED",
    "is_bool",
    "is_complex",
    "is_float",
    "is_integer",
    "is_string",
    "np_dtype",
    "result_type",
    "size_of",
    "standardize_dtype",
]

UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
SIGNED = ("int8", "int16", "int32", "int64")
FLOATS = ("bfloat16", "float16", "float32", "float64")
FLOAT8 = ("float8_e4m3fn", "float8_e5m2")
COMPLEX = ("complex64", "complex128")
ALLOWED = frozenset(("bool", "string") + UNSIGNED + SIGNED + FLOATS + FLOAT8 + COMPLEX)

# What stands right above each dtype; "a number" of Python's own has a place for each of its kinds.
ABOVE = {
    "bool": ("an int",),
    "an int": ("uint8", "int8"),
    "uint8": ("uint16", "int16"),
    "uint16": ("uint32", "int32"),
    "uint32": ("uint64", "int64"),
    "uint64": ("a float",),
    "int8": ("int16",),
    "int16": ("int32",),
    "int32": ("int64",),
    "int64": ("a float",),
    "a float": ("bfloat16", "float16", "a complex"),
    "bfloat16": ("float32",),
    "float16": ("float32",),
    "float32": ("float64", "complex64"),
    "float64": ("complex128",),
    "a complex": ("complex64",),
    "complex64": ("complex128",),
    "complex128": (),
}
PYTHON = {int: "an int", float: "a float", complex: "a complex"}
BY_WIDTH = {int: ("int32", "int64"), complex: ("complex64", "complex128")}
NARROWED = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def result_type(*dtypes):
    """The dtype that values of these dtypes are computed in together.

    Each of `dtypes` is a dtype in any form that `standardize_dtype` takes, a Python number type
    (`int`, `float`, `complex`, `bool`; the first three give way to any array's dtype of their
    kind), or an object with a `dtype`.

    >>> result_type("int32", "float16")
    'float16'
    >>> result_type("float16", float)
    'float16'
    >>> result_type("int8", "uint8")
    'int16'

    Raises:
        ValueError: for what is no dtype, and for float8 and string dtypes, which mix with nothing.
    """
    try:
        return _results[dtypes]
    except (KeyError, TypeError):
        pass
    result = _promoted(tuple(_plain(d) for d in dtypes))
    if all(d is None or isinstance(d, (str, type)) for d in dtypes):
        _results[dtypes] = result  # arrays must not be held here
    return result


def standardize_dtype(dtype):
    """The name of `dtype`: a string, a Python or NumPy type, a framework's dtype, or None.

    None stands for `floatx()`.

    >>> standardize_dtype(np.float32), standardize_dtype(bool), standardize_dtype("torch.int64")
    ('float32', 'bool', 'int64')

    Raises:
        ValueError: if `dtype` names no dtype that the library knows.
    """
    if dtype.__class__ is str and dtype in ALLOWED:
        return dtype
    try:
        return _known[dtype]
    except (KeyError, TypeError):
        pass
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", None) or str(dtype)
    name = str(name).rpartition(".")[2]  # torch.float32
    kind = int if name == "int" else dtype
    if isinstance(kind, type) and kind in BY_WIDTH:
        name = BY_WIDTH[kind]["int64" in _kept_wide()]
    if name not in ALLOWED:
        raise ValueError(f"`dtype` must be one of {', '.join(sorted(ALLOWED))}; got {dtype!r}")
    if isinstance(dtype, (type, np.dtype)) or kind is int:
        _known[dtype] = name
    return name


def is_float(dtype):
    """Whether `dtype` is a floating one, float8 and bfloat16 included."""
    return "float" in standardize_dtype(dtype)


def is_integer(dtype):
    """Whether `dtype` is a signed or unsigned integer."""
    return standardize_dtype(dtype).startswith(("int", "uint"))


def is_complex(dtype):
    """Whether `dtype` is a complex one."""
    return standardize_dtype(dtype).startswith("complex")


def is_bool(dtype):
    """Whether `dtype` is bool."""
    return standardize_dtype(dtype) == "bool"


def is_string(dtype):
    """Whether `dtype` is string."""
    return standardize_dtype(dtype) == "string"


@functools.cache
def np_dtype(dtype):
    """The NumPy dtype called `dtype`; strings are held as objects.

    >>> np_dtype("float32")
    dtype('float32')
    """
    name = standardize_dtype(dtype)
    if name == "string":
        return np.dtype(object)
    if name in FLOAT8 or name == "bfloat16":
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


@functools.cache
def size_of(dtype):
    """The bytes that one element of `dtype` takes.

    >>> size_of("bfloat16")
    2
    """
    return np_dtype(dtype).itemsize


# Promotion
# -------------------------------------------------------------------------------------------


@functools.cache
def _uppers(name):
    """`name` and all that stands above it in the lattice."""
    return frozenset((name,)).union(*(_uppers(upper) for upper in ABOVE[name]))


def _least_upper(names):
    """The lattice's least member above all of `names`."""
    common = frozenset.intersection(*(_uppers(name) for name in names))
    return next(name for name in common if _uppers(name) == common)


def _plain(dtype):
    """`dtype` as a place in the lattice: its name, or what `PYTHON` says for Python's numbers."""
    if isinstance(dtype, type):
        return PYTHON.get(dtype) or standardize_dtype(dtype)
    return standardize_dtype(getattr(dtype, "dtype", dtype))


@functools.cache
def _promoted(names):
    if not names:
        return config.floatx()
    shown = ", ".join(map(repr, names))
    if not set(names).isdisjoint(FLOAT8):
        raise ValueError(f"float8 dtypes are never promoted, cast explicitly; got {shown}")
    if "string" in names and set(names) != {"string"}:
        raise ValueError(f"strings and numbers have no common dtype; got {shown}")
    if names[0] == "string":
        return "string"
    name = _least_upper(names)
    if name in ("an int", "a float"):
        name = name.split()[1] + config.floatx()[-2:]
    elif name == "a complex":
        name = "complex64"
    return _narrow(name)


def _narrow(name):
    """`name`, or a 64-bit dtype's narrower one if the backend does not keep it."""
    return name if name not in NARROWED or name in _kept_wide() else NARROWED[name]


def _kept_wide():
    from oneiros.core import backend

    return backend.current().kept_wide


_results = {}
_known = {}


def _forget(_changed):
    """Drop what was worked out under other settings."""
    _known.clear()
    _known.update({float: "float32", bool: "bool", str: "string", None: config.floatx()})
    _results.clear()
    _promoted.cache_clear()
    np_dtype.cache_clear()
    size_of.cache_clear()


config.on_floatx_change.append(_forget)
config.on_backend_change.append(_forget)
_forget(None)
