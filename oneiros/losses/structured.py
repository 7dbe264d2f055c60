"""Losses of whole regions, sequences and spaces of embeddings: Dice, Tversky, CTC, Circle."""

from __future__ import annotations

from oneiros import ops
from oneiros.core import config
from oneiros.core.masks import set_mask
from oneiros.core.op import array, float_of, to_dtype
from oneiros.core.spec import dtype_name
from oneiros.losses.loss import loss_class, matched

__all__ = ["CTC", "Circle", "Dice", "Tversky", "circle", "ctc", "dice", "tversky"]


def dice(y_true, y_pred, axis=None):
    """One less the Dice coefficient of two sets, whose members lie along `axis` (all if None).

    >>> from oneiros import losses
    >>> round(float(losses.dice([1.0, 0.0], [1.0, 1.0])), 4)
    0.3333
    """
    y_true, y_pred = matched(y_true, y_pred)
    both = 2.0 * ops.sum(y_true * y_pred, axis=axis)
    sizes = ops.sum(y_true, axis=axis) + ops.sum(y_pred, axis=axis)
    return 1.0 - both / (sizes + config.epsilon())


def tversky(y_true, y_pred, alpha=0.5, beta=0.5, axis=None):
    """One less the Tversky index: Dice with misses weighed by `alpha`, false alarms by `beta`.

    With both at 0.5 it is the Dice loss (Salehi et al., 2017).

    >>> from oneiros import losses
    >>> round(float(losses.tversky([1.0, 0.0], [1.0, 1.0])), 4)
    0.3333
    """
    y_true, y_pred = matched(y_true, y_pred)
    both = ops.sum(y_true * y_pred, axis=axis)
    extra = ops.sum((1.0 - y_true) * y_pred, axis=axis)
    missed = ops.sum(y_true * (1.0 - y_pred), axis=axis)
    return 1.0 - both / (both + alpha * missed + beta * extra + config.epsilon())


def ctc(y_true, y_pred):
    """The CTC loss of label sequences against logits (batch, time, class) (Graves et al., 2006).

    `y_true` (batch, label) holds class numbers; 0 is padding after the labels, and the blank.

    >>> import numpy as np
    >>> from oneiros import losses
    >>> losses.ctc(np.ones((2, 3), "int32"), np.zeros((2, 8, 4), "float32")).shape
    (2,)

    Raises:
        ValueError: if `y_true` has not 2 axes or `y_pred` not 3.
    """
    y_true, y_pred = array(y_true), float_of(y_pred)
    if len(y_true.shape) != 2:
        raise ValueError(
            f"ctc: `y_true` must have the axes (batch, label); got the shape {tuple(y_true.shape)}"
        )
    if len(y_pred.shape) != 3:
        raise ValueError(
            "ctc: `y_pred` must have the axes (batch, time, class); got the shape "
            f"{tuple(y_pred.shape)}"
        )
    y_true = ops.cast(y_true, "int32")
    lengths = ops.sum(ops.cast(ops.not_equal(y_true, 0), "int32"), axis=-1)
    steps = ops.full(tuple(y_pred.shape[:1]), y_pred.shape[1], dtype="int32")
    return ops.ctc_loss(y_true, y_pred, lengths, steps, mask_index=0)


def circle(
    y_true,
    y_pred,
    ref_labels=None,
    ref_embeddings=None,
    remove_diagonal=True,
    gamma=80,
    margin=0.4,
):
    """The Circle loss of labelled embeddings: alike ones nearer than others (Sun et al., 2020).

    Args:
        y_true: Labels (batch,).
        y_pred: Embeddings (batch, features) of length 1.
        ref_labels, ref_embeddings: What to compare with; the batch itself if None.
        remove_diagonal: Whether an embedding is left out of what it is compared with; only for a
            batch with itself.
        gamma: The scale of the similarities.
        margin: The relaxation factor.

    >>> from oneiros import losses
    >>> values = losses.circle([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> [round(float(v), 4) for v in values]
    [0.0, 0.0, 0.0]
    """
    y_pred = float_of(y_pred)
    dtype = dtype_name(y_pred.dtype)
    y_true = ops.cast(y_true, "int32")
    itself = ref_embeddings is None
    others = y_pred if itself else to_dtype(array(ref_embeddings), dtype)
    labels = y_true if ref_labels is None else ops.cast(ref_labels, "int32")
    similarity = ops.matmul(y_pred, ops.transpose(others))  # (batch, others)
    column, row = ops.reshape(y_true, (-1, 1)), ops.reshape(labels, (1, -1))
    alike = ops.equal(column, row)
    unlike = ops.logical_not(alike)
    if remove_diagonal and itself:
        alike = ops.logical_and(alike, ops.logical_not(ops.eye(y_pred.shape[0], dtype="bool")))
    pull = ops.stop_gradient(ops.relu(1.0 + margin - similarity))
    push = ops.stop_gradient(ops.relu(similarity + margin))
    near = -gamma * pull * (similarity - (1.0 - margin))
    far = gamma * push * (similarity - margin)
    value = ops.softplus(_log_sum(near, alike) + _log_sum(far, unlike))
    both = ops.logical_and(ops.any(alike, axis=1), ops.any(unlike, axis=1))
    values = ops.where(both, value, 0.0)
    set_mask(values, values > 0.0)  # means leave out what has nothing to compare with
    return values


def _log_sum(x, where):
    """`log(sum(exp(x)))` along the last axis over the places that `where` holds."""
    lowest = -3e4 if dtype_name(x.dtype) == "float16" else -1e9  # pairs that do not count
    return ops.logsumexp(ops.where(where, x, lowest), axis=-1)


Dice = loss_class(dice, order="reduction name axis dtype")
Tversky = loss_class(tversky, order="alpha beta reduction name axis dtype")
CTC = loss_class(ctc, "CTC")
Circle = loss_class(circle, order="gamma margin remove_diagonal reduction {options}", gamma=80.0)
