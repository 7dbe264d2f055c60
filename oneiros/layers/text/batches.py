"""What `adapt` takes: data in memory, or anything that gives batches, of any length."""

from __future__ import annotations

import itertools

__all__ = ["batches_of"]


def batches_of(data, steps=None):
    """Whether `data` are in memory, and an iterator of their batches.

    Of batches that are tuples, (x, y), the first part is taken; lists and tuples of strings or
    numbers are batches themselves.
    """
    if _in_memory(data):
        return True, iter([data])
    if not hasattr(data, "__iter__"):
        raise TypeError(
            "adapt takes arrays, lists, columns of tables, or something that gives batches (tf.data, "
            f"DataLoader, generators); got {type(data).__module__}.{type(data).__qualname__}"
        )
    return False, itertools.islice(map(_first, data), steps)


def _in_memory(data):
    if isinstance(data, (str, bytes, list, tuple)):
        return True
    arrays = ("dtype", "to_numpy", "to_pylist", "flat_values", "__array__")
    return any(hasattr(data, name) for name in arrays)


def _first(batch):
    plain = (str, bytes, int, float)
    if isinstance(batch, (list, tuple)) and len(batch) and not isinstance(batch[0], (list, *plain)):
        return batch[0]
    return batch
