"""Losses of predicted quantities: errors, squared, absolute, relative, and angles."""

from __future__ import annotations

import math

from oneiros import ops
from oneiros.core import config
from oneiros.losses.loss import loss_class, matched

__all__ = [
    "CosineSimilarity", "Huber", "LogCosh", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "cosine_similarity", "huber", "log_cosh",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
    "mean_squared_logarithmic_error",
]  # fmt: skip


def mean_squared_error(y_true, y_pred):
    """The mean of the squared errors, over the last axis.

    >>> from oneiros import losses
    >>> losses.mean_squared_error([[1.0, 2.0]], [[3.0, 2.0]]).tolist()
    [2.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(ops.square(y_true - y_pred), axis=-1)


def mean_absolute_error(y_true, y_pred):
    """The mean of the errors without their signs, over the last axis.

    >>> from oneiros import losses
    >>> losses.mean_absolute_error([[1.0, 2.0]], [[3.0, 2.0]]).tolist()
    [1.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(ops.abs(y_true - y_pred), axis=-1)


def mean_absolute_percentage_error(y_true, y_pred):
    """The mean of the errors in percent of the targets, over the last axis.

    >>> from oneiros import losses
    >>> losses.mean_absolute_percentage_error([[2.0, 4.0]], [[3.0, 4.0]]).tolist()
    [25.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    scale = ops.maximum(ops.abs(y_true), config.epsilon())
    return 100.0 * ops.mean(ops.abs((y_true - y_pred) / scale), axis=-1)


def mean_squared_logarithmic_error(y_true, y_pred):
    """The mean of the squared differences of `log(1 + y)`, over the last axis; below 0 counts as 0.

    >>> from oneiros import losses
    >>> losses.mean_squared_logarithmic_error([[0.0]], [[0.0]]).tolist()
    [0.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    low = config.epsilon()
    error = ops.log(ops.maximum(y_pred, low) + 1.0) - ops.log(ops.maximum(y_true, low) + 1.0)
    return ops.mean(ops.square(error), axis=-1)


def huber(y_true, y_pred, delta=1.0):
    """The mean of half the squared errors, which beyond `delta` grow linearly (Huber, 1964).

    >>> from oneiros import losses
    >>> losses.huber([[0.0, 0.0]], [[1.0, 3.0]]).tolist()
    [1.5]
    """
    y_true, y_pred = matched(y_true, y_pred)
    error = ops.abs(y_true - y_pred)
    return ops.mean(
        ops.where(error <= delta, 0.5 * ops.square(error), delta * error - 0.5 * delta * delta),
        axis=-1,
    )


def log_cosh(y_true, y_pred):
    """The mean of `log(cosh(error))`: square near zero, absolute far from it.

    >>> from oneiros import losses
    >>> losses.log_cosh([[0.0]], [[0.0]]).tolist()
    [0.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    error = y_pred - y_true
    return ops.mean(error + ops.softplus(-2.0 * error) - math.log(2.0), axis=-1)


def cosine_similarity(y_true, y_pred, axis=-1):
    """The cosine of the angle along `axis`, negated: -1 for one direction, 1 for opposite ones.

    >>> from oneiros import losses
    >>> losses.cosine_similarity([[0.0, 2.0]], [[0.0, 1.0]]).tolist()
    [-1.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return -ops.sum(ops.normalize(y_true, axis=axis) * ops.normalize(y_pred, axis=axis), axis=axis)


MeanSquaredError = loss_class(mean_squared_error)
MeanAbsoluteError = loss_class(mean_absolute_error)
MeanAbsolutePercentageError = loss_class(mean_absolute_percentage_error)
MeanSquaredLogarithmicError = loss_class(mean_squared_logarithmic_error)
Huber = loss_class(huber, name="huber_loss", unsaved=("delta",))
LogCosh = loss_class(log_cosh)
CosineSimilarity = loss_class(cosine_similarity, unsaved=("axis",))
