"""Constructor arguments declared once.

A class body lists its arguments as annotated fields; from that list come the constructor, its
signature,
`get_config`, `from_config` and the repr. A class that writes its own `__init__` keeps it: its
config is read
from that signature, by attributes of the same name.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from typing import dataclass_transform

__all__ = ["REQUIRED", "Configurable"]

REQUIRED = inspect.Parameter.empty
_SLOT = inspect.Parameter.POSITIONAL_OR_KEYWORD


class _Constructor:
    """A method `__init__` that, asked of a class, shows the arguments of that class."""

    def __init__(self, function):
        self.function = function

    def __get__(self, made, cls):
        if made is not None:
            return types.MethodType(self.function, made)

        rows = getattr(cls, "__signature__", inspect.Signature()).parameters.values()
        if not rows:
            return self.function
        shown = functools.partialmethod(self.function).__get__(None, cls)
        shown.__signature__ = inspect.Signature([inspect.Parameter("self", _SLOT), *rows])
        return shown


@dataclass_transform(kw_only_default=False)
class Configurable:
    """Base of classes made from declared fields.

    Class attributes:
        shared: Options that every class of a family takes after its own fields: name to default.
        keywords: Whether further keywords are taken (`**kwargs`) and handed to `adopt`.
        hidden: Fields that are taken by keyword only, and that the signature does not show.
        rank: The number of spatial axes, for families over one, two and three.
        stored: Field to attribute, where the field's own name means something else.
    """

    fields = {}
    shared = {}
    keywords = False
    hidden = ()
    rank = None
    stored = {}

    def __init_subclass__(cls, rank=None, swapped=(), **kwargs):
        super().__init_subclass__(**kwargs)
        if rank is not None:
            cls.rank = rank
        own = {}
        for name, kind in inspect.get_annotations(cls).items():
            if isinstance(kind, str):
                kind = _resolve(kind, cls)
            own[name] = kind, cls.__dict__.get(name, REQUIRED)
        cls.fields = _ordered({**cls.fields, **own})
        if swapped:  # two arguments that change places
            places = dict(zip(swapped, reversed(swapped)))
            names = [places.get(name, name) for name in cls.fields]
            cls.fields = {name: cls.fields[name] for name in names}
        for name in own:
            if name in cls.stored and name in cls.__dict__:
                delattr(cls, name)
        if _declarer(cls) is cls:
            cls.__signature__ = signature_of(cls)
        else:
            owner = next(c for c in cls.__mro__ if "__init__" in c.__dict__)
            cls.__signature__ = _without_self(owner.__init__)

    @_Constructor
    def __init__(self, *args, **kwargs):
        cls = _declarer(type(self))
        signature = cls.__dict__["__signature__"]
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(_argument_error(cls, signature, kwargs, error)) from None
        bound.apply_defaults()
        values = bound.arguments
        options = values.pop("kwargs", {})
        values.update({n: options.pop(n) for n in cls.hidden if n in options})
        for name in [n for n in values if n not in cls.fields or n in cls.shared or n == "name"]:
            options[name] = values.pop(name)
        self.adopt(**options)
        for name, value in values.items():
            convert = getattr(cls.fields[name][0], "convert", None)
            value = convert(value, self, name) if convert else value
            setattr(self, cls.stored.get(name, name), value)
        self._ready()

    def adopt(self, **options):
        """Take the options that are not fields of the class's own."""
        for name, value in options.items():
            setattr(self, name, value)

    def _ready(self):
        """What is left to do once every argument stands: check them together, make what they call
        for.
        """

    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        return {n: getattr(self, n) for n in config_names(type(self))}

    @classmethod
    def from_config(cls, config):
        """An object from the dict that `get_config` gave."""
        return cls(**config)

    def __repr__(self):
        shown = ", ".join(f"{n}={getattr(self, n, None)!r}" for n in config_names(type(self)))
        return f"{type(self).__name__}({shown})"


def config_names(cls):
    """The names of the constructor's arguments, without `self` and the starred ones."""
    starred = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return [n for n, p in cls.__signature__.parameters.items() if p.kind not in starred]


def signature_of(cls):
    """The signature that the fields of `cls` make: the fields, the shared options, `**kwargs`."""
    rows = []
    for name, (kind, default) in cls.fields.items():
        if name in cls.hidden:
            continue
        if getattr(kind, "per_axis", False) and isinstance(default, int) and (cls.rank or 0) > 1:
            default = (default,) * cls.rank
        rows.append(inspect.Parameter(name, _SLOT, default=default))
    rows += [
        inspect.Parameter(n, _SLOT, default=d) for n, d in cls.shared.items() if n not in cls.fields
    ]
    if cls.keywords:
        rows.append(inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(rows)


def _ordered(fields):
    """Required fields before those with defaults."""
    required = {n: v for n, v in fields.items() if v[1] is REQUIRED}
    return {**required, **fields}


def _declarer(cls):
    """The nearest class whose constructor is made from fields; one with its own `__init__` calls up
    to it.
    """
    nearest = None
    for c in cls.__mro__:
        if c is Configurable:
            break
        if issubclass(c, Configurable):
            nearest = None if "__init__" in c.__dict__ else nearest or c
    return nearest or Configurable


def _without_self(function):
    rows = list(inspect.signature(function).parameters.values())[1:]
    return inspect.Signature(rows)


def _resolve(annotation, cls):
    """A field's kind from its annotation's text: an object with `convert`, or None."""
    scope = vars(sys.modules[cls.__module__])
    try:
        return eval(annotation, dict(scope))
    except Exception:
        return None


def _argument_error(cls, signature, kwargs, error):
    """A message that names the class and the argument."""
    unknown = [k for k in kwargs if k not in signature.parameters]
    if unknown and not cls.keywords:
        known = ", ".join(n for n in signature.parameters if n != "kwargs")
        return f"{cls.__name__} has no argument {unknown[0]!r}; its arguments are: {known}"
    return f"{cls.__name__}: {error}"
