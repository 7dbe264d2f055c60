"""The state of an object and all inside it, in the order and under the names of Keras's files.

What takes part is any object whose class has `save_own_variables` (layers, models, optimizers), but
no metric. Of it are used:

    save_own_variables(store)   puts its own arrays into `store`, a mapping: "0", "1", ... by custom
    load_own_variables(store)   takes them from there; may raise ValueError with a reason
    save_assets(folder)         optional: writes files into an empty folder
    load_assets(folder)         optional: reads them from there
    name                        optional: kept as an attribute of the group `vars`

Its parts are found among its public attributes in the order of their names, then its private ones:
objects that take part, and lists, tuples and dicts of them; the properties of users' classes count
as attributes, and so does a model's `layers`. What is met twice is kept where it was met first. In
a list, the names are the classes' in snake case, numbered; a list in a list is called `container`.
Attributes in `NOT_STATE` are bookkeeping, and never walked.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from collections.abc import MutableMapping

import numpy as np

from oneiros.core import backend
from oneiros.core.naming import snake_case
from oneiros.saving import hdf5

__all__ = ["Entry", "load_state", "own_state", "parts", "save_state", "walk"]

NOT_STATE = frozenset(
    (
        "_given",
        "_calls",
        "_sequence",
        "_graph_layers",
        "_layers",
        "_function",
        "_losses",
        "_metrics",
    )
    + (
        "_trainable_variables",
        "_non_trainable_variables",
        "_seed_generators",
        "_inbound_nodes",
        "_loop",
    )
)
GROUP_NAMES = {"GroupQueryAttention": "grouped_query_attention"}  # its class's name in Keras


def walk(root):
    """Pairs (path, object) of all that take part, `root` first."""
    seen, stack = set(), [("", root)]
    while stack:
        path, item = stack.pop()
        if not takes_part(type(item)):
            stack += reversed([(f"{path}/{name}", x) for name, x in _named_items(item)])
        elif id(item) not in seen:
            seen.add(id(item))
            yield path.lstrip("/"), item
            stack += reversed([(f"{path}/{name}", x) for name, x in parts(item)])


def parts(owner):
    """Pairs (name, value) of an object's attributes that take part or may hold what does."""
    cls = type(owner)
    held = [(n, v) for n, v in vars(owner).items() if _may_hold(type(v)) and n not in NOT_STATE]
    found = [(n[1:] if n[0] == "_" and n[1:] in _shown(cls) else n, v) for n, v in held]
    for name in _property_names(cls):
        try:
            value = getattr(owner, name)
        except Exception:  # a property may refuse in any way
            continue
        if _may_hold(type(value)):
            found.append((name, value))
    found = [(n, v) for n, v in found if not n.startswith("__")]
    return sorted(found, key=lambda pair: (pair[0].startswith("_"), pair[0]))


@functools.cache
def _may_hold(cls):
    return takes_part(cls) or issubclass(cls, (list, tuple, dict))


@functools.cache
def takes_part(cls):
    """Whether objects of the class have state that files hold."""
    metric = any(
        c.__name__ == "Metric" and c.__module__.startswith("oneiros.") for c in cls.__mro__
    )
    return hasattr(cls, "save_own_variables") and not metric


@functools.cache
def _shown(cls):
    """Names of the library's properties: what they show is known by them, and not as `_name`."""
    ours = [c for c in cls.__mro__ if c.__module__.startswith("oneiros.")]
    return frozenset(n for c in ours for n, v in vars(c).items() if isinstance(v, property))


@functools.cache
def _property_names(cls):
    """Names of properties that may give parts: those of users' classes, and a model's layers."""
    names = {"layers"} if isinstance(getattr(cls, "layers", None), property) else set()
    for c in cls.__mro__:
        if not c.__module__.startswith(("oneiros.", "torch.")):
            names.update(n for n, v in vars(c).items() if isinstance(v, property))
    return frozenset(names)


def _named_items(container):
    """Pairs (name, value) of what a list, tuple or dict holds."""
    counts, found = Counter(), []
    for value in container.values() if isinstance(container, dict) else container:
        kind = type(value)
        if takes_part(kind):
            name = GROUP_NAMES.get(kind.__name__) or snake_case(kind.__name__)
        elif isinstance(value, (list, tuple, dict)):
            name = "container"
        else:
            continue
        found.append((f"{name}_{counts[name]}" if counts[name] else name, value))
        counts[name] += 1
    return found


# Saving
# --------------------------------------------------------------------------------------------------


def save_state(root, skip=()):
    """Pairs (path, entry) of the state of `root` and all inside it."""
    for path, item in walk(root):
        if not any(item is s for s in skip):
            yield path, own_state(item)


def own_state(item):
    """What one object saves of its own, as an `Entry`."""
    entry = Entry()
    item.save_own_variables(entry)
    name = getattr(item, "name", None)
    if isinstance(name, str):
        entry.attrs["name"] = name
    return entry


class Entry(MutableMapping):
    """An object's own arrays by name: to be written, or in a file's group and read on demand."""

    def __init__(self, group=None):
        self.arrays, self.group, self.attrs = {}, group, {}

    def __setitem__(self, key, value):
        value = np.asarray(backend.to_numpy(value) if hasattr(value, "dtype") else value)
        if value.dtype.kind in "OUSM":
            raise ValueError(f"'{key}' must hold numbers; got the dtype {value.dtype}")
        self.arrays[str(key)] = value

    def __getitem__(self, key):
        key = str(key)
        if key in self.arrays or self.group is None:
            return self.arrays[key]
        found = self.group.get(key) if "/" not in key else None
        if not isinstance(found, hdf5.Dataset):
            raise KeyError(key)
        return found.read()

    def __delitem__(self, key):
        del self.arrays[key]

    def __iter__(self):
        return iter(self.arrays if self.group is None else self.group.keys())

    def __len__(self):
        return len(self.arrays if self.group is None else self.group)


# Loading
# --------------------------------------------------------------------------------------------------


def load_state(root, find, file, skip_mismatch=False, skip=(), assets=None):
    """Give `root` and all inside it the state in a file.

    Args:
        find: A path to the `Entry` there; an empty one if the file has none.
        file: The file's name, for messages.
        skip_mismatch: Whether what does not fit is left as it is, with a warning.
        skip: Objects to leave as they are.
        assets: A function of (path, object), called for objects that have `load_assets`.
    """
    failed = []
    for path, item in walk(root):
        if any(item is s for s in skip):
            continue
        try:
            item.load_own_variables(find(path))
            if assets is not None and hasattr(item, "load_assets"):
                assets(path, item)
        except hdf5.Broken as error:
            raise ValueError(f"{file} is broken, at '{path}': {error}") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            missing = (
                f"the file has no '{error.args[0]}' for it"
                if isinstance(error, KeyError)
                else error
            )
            failed.append((path, item, missing))
    if failed:
        report(failed, file, skip_mismatch)


def report(failed, file, skip_mismatch):
    """Raise, or warn of, what could not be loaded: triples (path, object, reason)."""
    path, item, reason = failed[0]
    others = ", ".join(f"'{p or '/'}'" for p, _, _ in failed[:20]) + (
        ", ..." if len(failed) > 20 else ""
    )
    message = (
        f"{file}: {len(failed)} objects could not be loaded. The first is '{path or '/'}', "
        f"{item!r}: {reason}\nAll: {others}"
    )
    if not skip_mismatch:
        raise ValueError(message)
    warnings.warn(message, stacklevel=2)
