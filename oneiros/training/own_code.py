"""Whether a step of the user's own is made of the library's calls, so that it may be traced.

What is traced runs as Python once. So its code may do nothing that is to happen in each step: no
assignment but to local names, no calls but of the library's functions, of methods known here, and
of methods that are as plain themselves. This is read from the bytecode, which is always there.
"""

from __future__ import annotations

import builtins
import dis
import functools
import types

from oneiros import losses, ops, random
from oneiros.core.variable import Variable

__all__ = ["plain_settings"]

BUILTINS = [
    getattr(builtins, name)
    for name in """abs all any bool dict enumerate filter float frozenset getattr hasattr int
        isinstance len list map max min range reversed set sorted str sum super tuple zip""".split()
]
METHODS = set(
    """apply apply_gradients backward compute_loss compute_metrics get_metrics_result grad items
    keys loss losses metrics metrics_names name optimizer result scale_loss shape trainable_variables
    trainable_weights update_state value values variables weights zero_grad
    dtype ndim utils pack_x_y_sample_weight unpack_x_y_sample_weight""".split()
)
STORES = {
    "STORE_ATTR", "STORE_GLOBAL", "STORE_SUBSCR", "STORE_DEREF", "DELETE_ATTR", "DELETE_GLOBAL",
    "DELETE_SUBSCR", "IMPORT_NAME", "YIELD_VALUE", "SEND",
}  # fmt: skip
SETTINGS = (bool, int, float, str, type(None))
MISSING = object()


@functools.cache
def _library():
    """The names of the library's functions, which are called on modules of it."""
    return {n for room in (ops, random, losses) for n in dir(room)} | {"ops", "random", "losses"}


def plain_settings(method, words):
    """The settings that a model's `method` reads, by name, if it may be traced; else None.

    Args:
        method: A bound method of the user's.
        words: The names that it may use of the backend's framework.
    """
    settings = {}
    if _is_plain(method.__func__, method.__self__, words, settings, set()):
        return settings
    return None


def _is_plain(function, owner, words, settings, seen):
    if isinstance(function, property):
        function = function.fget
    if not isinstance(function, types.FunctionType):
        return False
    if function in seen:
        return True
    seen.add(function)
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or ()))

    def value_of(name):
        if name in cells:
            return cells[name].cell_contents
        return function.__globals__.get(name, getattr(builtins, name, MISSING))

    def words_of(name):
        """What may be used of the framework's module that a name stands for; None for others."""
        value = value_of(name)
        return words.get(value.__name__) if isinstance(value, types.ModuleType) else None

    def is_known(name):
        """Whether a global or enclosing name is the library's, or the framework's module."""
        value = value_of(name)
        if isinstance(value, types.ModuleType):
            return value.__name__.partition(".")[0] == "oneiros" or value.__name__ in words
        if isinstance(value, type) and isinstance(owner, value):
            return True  # `__class__`, or the class itself, as in super(Model, self)
        return any(value is f for f in BUILTINS) or getattr(value, "__module__", "").startswith(
            "oneiros."
        )

    def is_word(name):
        found = _attribute(owner, name)
        home = next((k for k in type(owner).__mro__ if name in k.__dict__), None)
        if home is not None and not home.__module__.startswith(("oneiros.", "torch.", "builtins")):
            return _is_plain(home.__dict__[name], owner, words, settings, seen)
        if name in vars(owner) and type(found) in SETTINGS:
            settings[name] = found
            return True
        return name in METHODS or name in _library() or _is_part(found)

    return all(_steps(function.__code__, is_known, is_word, words_of))


def _attribute(owner, name):
    return vars(owner).get(name, MISSING)


def _is_part(value):
    """Whether a value of a model is a part of it, whose calls the library knows."""
    return isinstance(value, Variable) or any(
        k.__module__.startswith("oneiros.") for k in type(value).__mro__
    )


def _steps(code, is_known, is_word, words_of):
    """Whether each instruction may be run once for all steps."""
    local = {*code.co_cellvars, *code.co_varnames}
    allowed = None  # what may be used of the module that was loaded last
    for at in dis.get_instructions(code):
        if at.opname in STORES:
            yield False
        elif at.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"):
            if at.argval not in local:
                yield is_known(at.argval)
                allowed = words_of(at.argval)
                continue
        elif at.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
            yield is_word(at.argval) if allowed is None else at.argval in allowed
        elif allowed is not None:
            yield False  # the module itself is passed on
        allowed = None
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):  # a comprehension or a lambda
            yield from _steps(inner, lambda n: n in local or is_known(n), is_word, words_of)
