"""Optimizers and their schedules."""

from oneiros.core import lookup
from oneiros.optimizers import adam, descent, matrices, schedules, wrappers
from oneiros.optimizers.adam import *
from oneiros.optimizers.descent import *
from oneiros.optimizers.matrices import *
from oneiros.optimizers.optimizer import Optimizer
from oneiros.optimizers.wrappers import *

CLASSES = [Optimizer]
for _room in (adam, descent, matrices, wrappers):
    CLASSES += [getattr(_room, name) for name in _room.__all__]
TABLE = lookup.named(*CLASSES, **{c.__name__.lower(): c for c in CLASSES})

_, serialize, _deserialize = lookup.getter("optimizer", TABLE, example=("optimizers", "SGD"))


def deserialize(config, custom_objects=None):
    """The optimizer with that config, as `serialize` gave it.

    `custom_objects` are further classes by name.

    Raises:
        ValueError: if the config names none that is known.

    >>> from oneiros import optimizers
    >>> optimizers.deserialize({"class_name": "sgd", "config": {"momentum": 0.9}}).momentum
    0.9
    """
    name = config.get("class_name") if isinstance(config, dict) else config
    if isinstance(name, str) and name.lower() in TABLE:
        known = TABLE[name.lower()].__name__
        config = {**config, "class_name": known} if isinstance(config, dict) else known
    return _deserialize(config, custom_objects)


def get(identifier):
    """The optimizer that `identifier` stands for: an optimizer, a name in any case, or a config.

    >>> from oneiros import optimizers
    >>> type(optimizers.get("rmsprop")).__name__
    'RMSprop'

    Raises:
        ValueError: if it is anything else, or there is no optimizer of that name.
    """
    if identifier is None or isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, (str, dict)):
        return deserialize(identifier)
    raise ValueError(f"an optimizer must be an Optimizer, a name or a config; got {identifier!r}")


__all__ = ["Optimizer", "deserialize", "get", "schedules", "serialize"]
for _room in (adam, descent, matrices, wrappers):
    __all__ += _room.__all__
