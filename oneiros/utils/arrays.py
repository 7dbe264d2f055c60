"""Labels as one-hot rows, and rows of length 1: for NumPy arrays as for a backend's."""

from __future__ import annotations

import numpy as np

from oneiros.core import backend

__all__ = ["normalize", "to_categorical"]


def to_categorical(x, num_classes=None):
    """Class numbers as one-hot rows.

    Args:
        x: Class numbers from 0; a last axis of length 1 is dropped.
        num_classes: How many classes there are; one more than the largest number if None.

    >>> from oneiros import utils
    >>> utils.to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]])
    """
    if _is_backends(x):
        from oneiros import ops

        classes = num_classes or int(backend.to_numpy(x).max()) + 1
        if len(x.shape) > 1 and x.shape[-1] == 1:
            x = ops.squeeze(x, -1)
        return ops.one_hot(x, classes)
    x = np.asarray(x, "int64")
    if x.ndim > 1 and x.shape[-1] == 1:
        x = x[..., 0]
    classes = num_classes or int(x.max()) + 1
    return np.eye(classes)[x]


def normalize(x, axis=-1, order=2):
    """`x` divided by its norm along `axis`; what is all zeros stays.

    Args:
        order: Of the norm: an integer from 1 (2 for the Euclidean one), or infinity.

    >>> from oneiros import utils
    >>> utils.normalize([[3.0, 4.0]]).tolist()
    [[0.6, 0.8]]

    Raises:
        ValueError: if `order` is anything else.
    """
    if order != np.inf and (not isinstance(order, int) or order < 1):
        raise ValueError(f"`order` must be an integer from 1; got {order!r}")
    if _is_backends(x):
        from oneiros import ops

        return ops.normalize(x, axis=axis, order=order)
    x = np.asarray(x)
    norm = np.linalg.norm(np.atleast_1d(x), order, axis, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


def _is_backends(x):
    """Whether `x` is an array of a framework, or a symbol."""
    return hasattr(x, "dtype") and not isinstance(x, (np.ndarray, np.generic))
