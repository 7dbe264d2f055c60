"""A dict whose items are attributes too, which can be frozen and written as JSON."""

from __future__ import annotations

import collections.abc
import json

__all__ = ["Config"]


class Config(collections.abc.MutableMapping):
    """Named values, read and set as attributes or as items.

    >>> from oneiros import utils
    >>> config = utils.Config(learning_rate=0.1)
    >>> config.seed = 7
    >>> config["seed"], config.learning_rate
    (7, 0.1)
    >>> config.freeze()

    Raises:
        ValueError: when a frozen one is changed.
    """

    def __init__(self, **kwargs):
        object.__setattr__(self, "_values", dict(kwargs))
        object.__setattr__(self, "_frozen", False)

    @property
    def frozen(self):
        """Whether it refuses changes."""
        return self._frozen

    def freeze(self):
        """Refuse changes from now on."""
        object.__setattr__(self, "_frozen", True)

    def unfreeze(self):
        """Allow changes again."""
        object.__setattr__(self, "_frozen", False)

    def as_dict(self):
        """The values as a plain dict."""
        return dict(self._values)

    def to_json(self):
        """The values as JSON."""
        return json.dumps(self._values)

    def get(self, keyname, value=None):
        """The value called `keyname`, or `value` if there is none."""
        return self._values.get(keyname, value)

    def pop(self, *args):
        """Take a value away and return it."""
        self._check()
        return self._values.pop(*args)

    def update(self, *args, **kwargs):
        """Take over the values of a mapping, and keywords."""
        self._check()
        self._values.update(*args, **kwargs)

    def keys(self):
        return self._values.keys()

    def values(self):
        return self._values.values()

    def items(self):
        return self._values.items()

    def __getitem__(self, name):
        return self._values[name]

    def __setitem__(self, name, value):
        self._check()
        self._values[name] = value

    def __delitem__(self, name):
        self._check()
        del self._values[name]

    def __getattr__(self, name):
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"this config holds no value called {name!r}")
        return self._values[name]

    def __setattr__(self, name, value):
        self[name] = value

    def __delattr__(self, name):
        self._check()
        if name not in self._values:
            raise AttributeError(f"this config holds no value called {name!r}")
        del self._values[name]

    def __iter__(self):
        return iter(self._values)

    def __len__(self):
        return len(self._values)

    def __repr__(self):
        return f"<Config {self._values}>"

    def _check(self):
        if self._frozen:
            raise ValueError("this config is frozen; `unfreeze()` it before changing it")
