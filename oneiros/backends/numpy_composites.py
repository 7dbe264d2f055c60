"""NumPy's own functions for composites called eagerly, where the body would make many passes.

A kernel has the op's own signature and gives NotImplemented, or fails, where it does not do what the
op says.
"""

from __future__ import annotations

import numpy as np

from oneiros.core import config

__all__ = ["FASTER"]

FLOATS = ("float32", "float64")


def is_float(x):
    return type(x) is np.ndarray and x.dtype.name in FLOATS and x.size > 0


def along(f):
    """`f(x, axis)` for floats and an axis of more than one element."""

    def kernel(x, axis=-1):
        usual = is_float(x) and type(axis) is int and x.ndim and x.shape[axis] > 1
        return f(x, axis) if usual else NotImplemented

    return kernel


def softmax(x, axis):
    y = x - x.max(axis, keepdims=True)
    np.exp(y, out=y)
    y /= y.sum(axis, keepdims=True)
    return y


def log_softmax(x, axis):
    y = x - x.max(axis, keepdims=True)
    y -= np.log(np.exp(y).sum(axis, keepdims=True))
    return y


def clip(x, x_min, x_max):
    plain = is_float(x) and type(x_min) in (int, float) and type(x_max) in (int, float)
    return np.clip(x, x_min, x_max) if plain and x_min <= x_max else NotImplemented


# Crossentropies ------------------------------------------
def alike(target, output):
    return is_float(output) and type(target) is np.ndarray and target.dtype == output.dtype and (
        target.shape == output.shape and output.ndim > 0
    )  # fmt: skip


def inside(p):
    low = config.epsilon()
    return np.clip(p, low, 1.0 - low)


def binary_crossentropy(target, output, from_logits=False):
    if from_logits or not alike(target, output):
        return NotImplemented
    p = inside(output)
    return -(target * np.log(p) + (1.0 - target) * np.log(1.0 - p))


def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    if not alike(target, output) or axis != -1 or output.shape[-1] == 1:
        return NotImplemented
    if from_logits:
        logs = log_softmax(output, -1)
    else:
        logs = np.log(inside(output / output.sum(-1, keepdims=True)))
    return -(target * logs).sum(-1)


def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    if not is_float(output) or axis != -1 or not target.size or target.dtype.kind not in "iu":
        return NotImplemented
    classes = output.shape[-1]
    if target.shape != output.shape[:-1] or classes == 1 or target.min() < 0:
        return NotImplemented
    if target.max() >= classes:
        return NotImplemented
    rows = np.arange(target.size) * classes + target.reshape(-1)
    if from_logits:
        logs = log_softmax(output, -1).reshape(-1)[rows]
    else:
        p = output.reshape(-1)[rows] / output.sum(-1).reshape(-1)
        logs = np.log(inside(p))
    return -logs.reshape(target.shape)


# Sorting and counting ------------------------------------
def sort(x, axis=-1):
    return np.sort(x, axis) if is_float(x) and type(axis) is int and x.ndim else NotImplemented


def take(x, indices, axis=None):
    usual = type(x) is np.ndarray and type(indices) is np.ndarray and indices.dtype.kind in "iu"
    if not usual or type(axis) is not int or not x.ndim:
        return NotImplemented
    return x.take(indices, axis)


def unique(
    x, sorted=True, return_index=False, return_inverse=False, return_counts=False, axis=None,
    size=None, fill_value=None,
):  # fmt: skip
    if axis is not None or size is not None or x.dtype.name not in ("int32", "float32"):
        return NotImplemented
    made = np.unique(x, return_index, return_inverse, return_counts, equal_nan=False)
    if not isinstance(made, tuple):
        return made
    return made[0], *(v.astype(np.int32) for v in made[1:])


def searchsorted(sorted_sequence, values, side="left"):
    x, values = sorted_sequence, np.asarray(values)
    if x.ndim != 1 or x.dtype != values.dtype or x.dtype.name not in ("int32", *FLOATS):
        return NotImplemented
    return np.asarray(np.searchsorted(x, values, side)).astype(np.int32)


def bincount(x, weights=None, minlength=0, sparse=False):
    if weights is not None or sparse or x.ndim != 1 or x.dtype.kind not in "iu":
        return NotImplemented
    return np.bincount(x, minlength=minlength).astype(np.int32)


def segment_sum(data, segment_ids, num_segments=None, sorted=False):
    """Of a few: `np.add.at` is slow for many."""
    ids = segment_ids
    if not is_float(data) or data.size > 1000 or type(num_segments) is not int:
        return NotImplemented
    if type(ids) is not np.ndarray or ids.dtype.kind != "i" or ids.shape != data.shape[:1]:
        return NotImplemented
    if ids.min() < 0 or ids.max() >= num_segments:
        return NotImplemented
    total = np.zeros((num_segments, *data.shape[1:]), data.dtype)
    np.add.at(total, ids, data)
    return total


FASTER = {"softmax": along(softmax), "log_softmax": along(log_softmax)} | {
    f.__name__: f
    for f in (
        clip, binary_crossentropy, categorical_crossentropy, sparse_categorical_crossentropy,
        sort, take, unique, searchsorted, bincount, segment_sum,
    )
}  # fmt: skip
