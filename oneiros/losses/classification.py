"""Losses of predicted classes: cross-entropies, divergences and hinges."""

from __future__ import annotations

import warnings

from oneiros import ops
from oneiros.core import config
from oneiros.core.masks import set_mask
from oneiros.core.op import array, float_of, to_dtype
from oneiros.core.spec import dtype_name
from oneiros.losses.loss import loss_class, matched

__all__ = [
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy", "CategoricalGeneralizedCrossEntropy", "CategoricalHinge",
    "Hinge", "KLDivergence", "Poisson", "SparseCategoricalCrossentropy", "SquaredHinge",
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
    "categorical_focal_crossentropy", "categorical_generalized_cross_entropy",
    "categorical_hinge", "hinge", "kl_divergence", "poisson", "sparse_categorical_crossentropy",
    "squared_hinge",
]  # fmt: skip


# Cross-entropies ----------------------------------------------------------------------------------
def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """The mean cross-entropy of yes-or-no labels, over `axis`.

    Args:
        from_logits: Whether `y_pred` holds log-odds and not probabilities.
        label_smoothing: How far labels are drawn to 1/2, from 0 to 1.

    >>> from oneiros import losses
    >>> loss = losses.binary_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    >>> round(float(loss[0]), 4)
    0.6931
    """
    y_true, y_pred = matched(y_true, y_pred)
    y_true = _smoothed(y_true, label_smoothing, 2)
    return ops.mean(ops.binary_crossentropy(y_true, y_pred, from_logits=from_logits), axis=axis)


def binary_focal_crossentropy(
    y_true,
    y_pred,
    apply_class_balancing=False,
    alpha=0.25,
    gamma=2.0,
    from_logits=False,
    label_smoothing=0.0,
    axis=-1,
):
    """The mean cross-entropy of yes-or-no labels with less weight on easy ones (Lin et al., 2017).

    The weight of a label predicted with probability p is `(1 - p) ** gamma`; if
    `apply_class_balancing`, times `alpha` for label 1 and `1 - alpha` for label 0.

    >>> from oneiros import losses
    >>> loss = losses.binary_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    >>> round(float(loss[0]), 4)
    0.1733
    """
    y_true, y_pred = matched(y_true, y_pred)
    y_true = _smoothed(y_true, label_smoothing, 2)
    if from_logits:
        y_pred = ops.sigmoid(y_pred)
    entropy = ops.binary_crossentropy(y_true, y_pred, from_logits=False)
    hit = y_true * y_pred + (1.0 - y_true) * (1.0 - y_pred)
    entropy = ops.power(1.0 - hit, gamma) * entropy
    if apply_class_balancing:
        entropy = (y_true * alpha + (1.0 - y_true) * (1.0 - alpha)) * entropy
    return ops.mean(entropy, axis=axis)


def categorical_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """The cross-entropy of classes given as probabilities (one-hot vectors) along `axis`.

    Args:
        from_logits: Whether `y_pred` holds logits and not probabilities.
        label_smoothing: How far targets are drawn to the uniform distribution, from 0 to 1.

    >>> from oneiros import losses
    >>> loss = losses.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    >>> round(float(loss[0]), 4)
    0.6931
    """
    y_pred = float_of(y_pred)
    y_true = to_dtype(array(y_true), dtype_name(y_pred.dtype))
    axis = _checked_axis(axis, y_pred)
    if y_pred.shape[axis] == 1:
        warnings.warn(
            "categorical_crossentropy: `y_pred` has one class along its class axis, so the loss is "
            f"0 whatever it holds; got the shape {tuple(y_pred.shape)}. For two classes in one "
            "column use binary_crossentropy",
            SyntaxWarning,
            stacklevel=2,
        )
    y_true = _smoothed(y_true, label_smoothing)
    return ops.categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)


def categorical_focal_crossentropy(
    y_true,
    y_pred,
    alpha=0.25,
    gamma=2.0,
    from_logits=False,
    label_smoothing=0.0,
    axis=-1,
):
    """The cross-entropy of one-hot classes with less weight on easy ones (Lin et al., 2017).

    The weight of a class predicted with probability p is `alpha * (1 - p) ** gamma`; `alpha` may
    hold a number for each class.

    >>> from oneiros import losses
    >>> loss = losses.categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    >>> round(float(loss[0]), 4)
    0.0433
    """
    y_pred = float_of(y_pred)
    y_true = to_dtype(array(y_true), dtype_name(y_pred.dtype))
    axis = _checked_axis(axis, y_pred)
    if y_pred.shape[axis] == 1:
        warnings.warn(
            "categorical_focal_crossentropy: `y_pred` has one class along its class axis; got the "
            f"shape {tuple(y_pred.shape)}. For two classes in one column use "
            "binary_focal_crossentropy",
            SyntaxWarning,
            stacklevel=2,
        )
    y_true = _smoothed(y_true, label_smoothing)
    if from_logits:
        y_pred = ops.softmax(y_pred, axis=axis)
    low = config.epsilon()
    p = ops.clip(y_pred / ops.sum(y_pred, axis=axis, keepdims=True), low, 1.0 - low)
    weight = ops.power(1.0 - p, gamma) * _numbers(alpha, p)
    return ops.sum(-y_true * ops.log(p) * weight, axis=axis)


def sparse_categorical_crossentropy(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """The cross-entropy of classes given by number; `y_pred` has them along `axis`.

    Args:
        from_logits: Whether `y_pred` holds logits and not probabilities.
        ignore_class: A class number (such as -1) of places that count 0, and are left out of means.

    >>> from oneiros import losses
    >>> loss = losses.sparse_categorical_crossentropy([1], [[0.5, 0.5]])
    >>> round(float(loss[0]), 4)
    0.6931
    """
    y_true, y_pred = array(y_true), float_of(y_pred)
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    if ignore_class is None:
        return ops.sparse_categorical_crossentropy(
            y_true, y_pred, from_logits=from_logits, axis=axis
        )
    valid = ops.not_equal(y_true, to_dtype(array(ignore_class), dtype_name(y_true.dtype)))
    y_true = ops.where(valid, y_true, ops.zeros_like(y_true))
    values = ops.sparse_categorical_crossentropy(y_true, y_pred, from_logits=from_logits, axis=axis)
    values = ops.where(valid, values, 0.0)
    set_mask(values, valid)
    return values


def categorical_generalized_cross_entropy(y_true, y_pred, q):
    """`(1 - p**q) / q` of the true class's probability p: between cross-entropy and absolute error.

    `y_true` holds class numbers. It is less swayed by wrong ones (Zhang and Sabuncu, 2018). `q` is
    above 0 and at most 1.

    >>> from oneiros import losses
    >>> losses.categorical_generalized_cross_entropy([1], [[0.75, 0.25]], q=0.5).tolist()
    [1.0]
    """
    y_true, y_pred = array(y_true), float_of(y_pred)
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    picked = ops.one_hot(ops.cast(y_true, "int32"), y_pred.shape[-1], dtype=y_pred.dtype)
    return (1.0 - ops.power(ops.sum(picked * y_pred, axis=-1), q)) / q


# Divergences --------------------------------------------------------------------------------------
def kl_divergence(y_true, y_pred):
    """The Kullback-Leibler divergence of `y_pred` from `y_true`, distributions along the last axis.

    >>> from oneiros import losses
    >>> losses.kl_divergence([[0.5, 0.5]], [[0.5, 0.5]]).tolist()
    [0.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    y_true = ops.clip(y_true, config.epsilon(), 1.0)
    y_pred = ops.clip(y_pred, config.epsilon(), 1.0)
    return ops.sum(y_true * ops.log(y_true / y_pred), axis=-1)


def poisson(y_true, y_pred):
    """The mean of `y_pred - y_true * log(y_pred)`: how unlikely counts are at the predicted rates.

    >>> from oneiros import losses
    >>> losses.poisson([[0.0, 0.0]], [[1.0, 3.0]]).tolist()
    [2.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(y_pred - y_true * ops.log(y_pred + config.epsilon()), axis=-1)


# Hinges ------------------------------------------------------------------------------------------
def hinge(y_true, y_pred):
    """The mean of `max(1 - y_true * y_pred, 0)`; labels are -1 and 1, or 0 and 1.

    >>> from oneiros import losses
    >>> losses.hinge([[-1.0, 1.0]], [[0.5, 0.5]]).tolist()
    [1.0]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(ops.maximum(1.0 - _signs(y_true) * y_pred, 0.0), axis=-1)


def squared_hinge(y_true, y_pred):
    """The mean of `max(1 - y_true * y_pred, 0)` squared; labels are -1 and 1, or 0 and 1.

    >>> from oneiros import losses
    >>> losses.squared_hinge([[-1.0, 1.0]], [[0.5, 0.5]]).tolist()
    [1.25]
    """
    y_true, y_pred = matched(y_true, y_pred)
    return ops.mean(ops.square(ops.maximum(1.0 - _signs(y_true) * y_pred, 0.0)), axis=-1)


def categorical_hinge(y_true, y_pred):
    """How far the best wrong class comes within 1 of the true one, or 0; `y_true` is one-hot.

    >>> from oneiros import losses
    >>> losses.categorical_hinge([[0.0, 1.0]], [[0.5, 1.0]]).tolist()
    [0.5]
    """
    y_true, y_pred = matched(y_true, y_pred)
    right = ops.sum(y_true * y_pred, axis=-1)
    wrong = ops.max((1.0 - y_true) * y_pred, axis=-1)
    return ops.maximum(wrong - right + 1.0, 0.0)


def _signs(labels):
    """Labels -1 and 1; where all are 0 or 1, the 0s become -1."""
    binary = ops.all(ops.logical_or(ops.equal(labels, 0), ops.equal(labels, 1)))
    return ops.where(binary, 2.0 * labels - 1.0, labels)


def _smoothed(y_true, amount, classes=None):
    """Targets drawn to `1 / classes`: as in Keras the length of the last axis, whatever `axis`."""
    if not amount:
        return y_true
    return y_true * (1.0 - amount) + amount / max(classes or y_true.shape[-1], 1)


def _numbers(x, like):
    return x if isinstance(x, (int, float)) else to_dtype(array(x), dtype_name(like.dtype))


def _checked_axis(axis, y_pred):
    rank = len(y_pred.shape)
    if isinstance(axis, bool) or not isinstance(axis, int):
        raise ValueError(f"`axis` must be an integer; got {axis!r}")
    if not -rank <= axis < rank:
        raise ValueError(
            f"`axis` must be within the {rank} axes of `y_pred`, whose shape is "
            f"{tuple(y_pred.shape)}; got {axis}"
        )
    return axis


BinaryCrossentropy = loss_class(binary_crossentropy)
BinaryFocalCrossentropy = loss_class(binary_focal_crossentropy)
CategoricalCrossentropy = loss_class(categorical_crossentropy)
CategoricalFocalCrossentropy = loss_class(categorical_focal_crossentropy)
SparseCategoricalCrossentropy = loss_class(
    sparse_categorical_crossentropy,
    order="from_logits ignore_class reduction axis name dtype",
    unsaved=("axis",),
)
CategoricalGeneralizedCrossEntropy = loss_class(categorical_generalized_cross_entropy, q=0.5)
KLDivergence = loss_class(kl_divergence, "KLDivergence")
Poisson = loss_class(poisson)
Hinge = loss_class(hinge)
SquaredHinge = loss_class(squared_hinge)
CategoricalHinge = loss_class(categorical_hinge)
