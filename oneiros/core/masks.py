"""Masks that travel with arrays: as an attribute where the array takes one, else in a side table."""

from __future__ import annotations

import weakref

__all__ = ["get_mask", "set_mask"]

_table = {}


def get_mask(x):
    """The mask that goes with `x`, or None."""
    mask = getattr(x, "_keras_mask", None)
    if mask is None and _table:
        row = _table.get(id(x))
        mask = row[1] if row is not None and row[0]() is x else None
    return mask


def set_mask(x, mask):
    """Let `mask` go with `x`; None takes it away."""
    try:
        x._keras_mask = mask
    except AttributeError:
        key = id(x)
        if mask is None:
            _table.pop(key, None)
        else:
            _table[key] = weakref.ref(x, lambda _: _table.pop(key, None)), mask
