"""Metrics that are means over samples: accuracies, correlations, and losses as metrics."""

from __future__ import annotations

from oneiros import losses, ops
from oneiros.core import config
from oneiros.core.op import array, float_of, to_dtype
from oneiros.core.spec import dtype_name
from oneiros.losses.loss import matched, same_rank
from oneiros.metrics.metric import Mean, metric_class

__all__ = [
    "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity",
    "Hinge", "KLDivergence", "LogCoshError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "PearsonCorrelation", "Poisson",
    "RootMeanSquaredError", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy", "SquaredHinge", "TopKCategoricalAccuracy", "accuracy",
    "accuracy_for", "binary_accuracy", "categorical_accuracy", "concordance_correlation",
    "crossentropy_for", "pearson_correlation", "sparse_categorical_accuracy",
    "sparse_top_k_categorical_accuracy", "top_k_categorical_accuracy",
]  # fmt: skip


# Accuracies --------------------------------------------------------------------------------------
def accuracy(y_true, y_pred):
    """Where predictions equal targets.

    >>> from oneiros import metrics
    >>> float(metrics.Accuracy()([1, 2, 3, 4], [1, 2, 0, 4]))
    0.75
    """
    y_pred = array(y_pred)
    y_true = to_dtype(array(y_true), dtype_name(y_pred.dtype))
    y_true, y_pred = same_rank(y_true, y_pred)
    return _hits(ops.equal(y_true, y_pred))


def binary_accuracy(y_true, y_pred, threshold=0.5):
    """Where predictions are on the right side of `threshold`.

    >>> from oneiros import metrics
    >>> metrics.binary_accuracy([1, 0], [0.9, 0.8]).tolist()
    [1.0, 0.0]
    """
    y_true, y_pred = same_rank(array(y_true), array(y_pred))
    return _hits(ops.equal(y_true, ops.cast(y_pred > threshold, dtype_name(y_true.dtype))))


def categorical_accuracy(y_true, y_pred):
    """Whether the likeliest class is the true one, given one-hot.

    >>> from oneiros import metrics
    >>> metrics.categorical_accuracy([[0, 1], [1, 0]], [[0.1, 0.9], [0.2, 0.8]]).tolist()
    [1.0, 0.0]
    """
    return _hits(ops.equal(ops.argmax(array(y_true), axis=-1), _likeliest(y_pred)))


def sparse_categorical_accuracy(y_true, y_pred):
    """Whether the likeliest class is the true one, given by number.

    >>> from oneiros import metrics
    >>> metrics.sparse_categorical_accuracy([1, 0], [[0.1, 0.9], [0.2, 0.8]]).tolist()
    [1.0, 0.0]
    """
    return _hits(ops.equal(_numbers(y_true, array(y_pred)), _likeliest(y_pred)))


def top_k_categorical_accuracy(y_true, y_pred, k=5):
    """Whether the true class, given one-hot, is among the `k` likeliest.

    >>> from oneiros import metrics
    >>> metrics.top_k_categorical_accuracy([[0, 0, 1]], [[0.2, 0.5, 0.3]], k=2).tolist()
    [1.0]
    """
    return sparse_top_k_categorical_accuracy(ops.argmax(array(y_true), axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true, y_pred, k=5, from_sorted_ids=False):
    """Whether the true class, given by number, is among the `k` likeliest.

    With `from_sorted_ids`, `y_pred` holds class numbers, likeliest first.

    >>> from oneiros import metrics
    >>> metrics.sparse_top_k_categorical_accuracy([2], [[0.2, 0.5, 0.3]], k=2).tolist()
    [1.0]
    """
    y_pred = array(y_pred)
    y_true = _numbers(y_true, y_pred)
    if from_sorted_ids:
        ids = ops.cast(y_pred[..., :k], "int32")
        return _hits(ops.any(ops.equal(ops.expand_dims(y_true, -1), ids), axis=-1))
    flat = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
    inside = ops.in_top_k(ops.reshape(y_true, (-1,)), float_of(flat), k=k)
    return ops.reshape(_hits(inside), y_true.shape)


def _hits(x):
    return ops.cast(x, config.floatx())


def _likeliest(y_pred):
    return ops.argmax(array(y_pred), axis=-1)


def _numbers(y_true, y_pred):
    """Class numbers as integers, without a last axis of length 1."""
    y_true = array(y_true)
    if len(y_true.shape) == len(y_pred.shape) and y_true.shape[-1] == 1:
        y_true = ops.squeeze(y_true, -1)
    return ops.cast(y_true, "int32")


# Correlations ------------------------------------------------------------------------------------
def pearson_correlation(y_true, y_pred, axis=-1):
    """Pearson's correlation of targets and predictions along `axis`.

    >>> from oneiros import metrics
    >>> round(float(metrics.pearson_correlation([[0.0, 1.0, 2.0]], [[1.0, 3.0, 5.0]])[0]), 4)
    1.0
    """
    y_true, y_pred = matched(y_true, y_pred)
    t, p = y_true - _middle(y_true, axis), y_pred - _middle(y_pred, axis)
    t, p = t / ops.std(t, axis=axis, keepdims=True), p / ops.std(p, axis=axis, keepdims=True)
    return ops.mean(t * p, axis=axis)


def concordance_correlation(y_true, y_pred, axis=-1):
    """How well predictions lie on the line `y_pred = y_true`, along `axis` (Lin, 1989).

    >>> from oneiros import metrics
    >>> c = metrics.concordance_correlation([[0.0, 1.0, 2.0]], [[0.0, 1.0, 2.0]])
    >>> round(float(c[0]), 4)
    1.0
    """
    y_true, y_pred = matched(y_true, y_pred)
    mean_t, mean_p = _middle(y_true, axis), _middle(y_pred, axis)
    t, p = y_true - mean_t, y_pred - mean_p
    both = ops.mean(t * p, axis=axis)
    spread = ops.mean(ops.square(t), axis=axis) + ops.mean(ops.square(p), axis=axis)
    apart = ops.squeeze(ops.square(mean_t - mean_p), axis)
    return 2.0 * both / (spread + apart + config.epsilon())


def _middle(x, axis):
    return ops.mean(x, axis=axis, keepdims=True)


def cosine_similarity(y_true, y_pred, axis=-1):
    """The cosine of the angle along `axis`: 1 for one direction, -1 for opposite ones.

    >>> from oneiros import metrics
    >>> float(metrics.CosineSimilarity()([[0.0, 2.0]], [[0.0, 1.0]]))
    1.0
    """
    return -losses.cosine_similarity(y_true, y_pred, axis=axis)


# Classes -----------------------------------------------------------------------------------------
Accuracy = metric_class(accuracy, best="up")
BinaryAccuracy = metric_class(binary_accuracy, best="up")
CategoricalAccuracy = metric_class(categorical_accuracy, best="up")
SparseCategoricalAccuracy = metric_class(sparse_categorical_accuracy, best="up")
TopKCategoricalAccuracy = metric_class(top_k_categorical_accuracy, order="k name dtype", best="up")
SparseTopKCategoricalAccuracy = metric_class(
    sparse_top_k_categorical_accuracy,
    order="k name dtype from_sorted_ids",
    best="up",
    unsaved=("from_sorted_ids",),
)
PearsonCorrelation = metric_class(pearson_correlation, best="up")
ConcordanceCorrelation = metric_class(concordance_correlation, best="up")
CosineSimilarity = metric_class(cosine_similarity, best="up", unsaved=("axis",))
MeanSquaredError = metric_class(losses.mean_squared_error, best="down")
MeanAbsoluteError = metric_class(losses.mean_absolute_error, best="down")
MeanAbsolutePercentageError = metric_class(losses.mean_absolute_percentage_error, best="down")
MeanSquaredLogarithmicError = metric_class(losses.mean_squared_logarithmic_error, best="down")
LogCoshError = metric_class(losses.log_cosh, "LogCoshError", name="logcosh", best="down")
KLDivergence = metric_class(losses.kl_divergence, "KLDivergence", best="down")
Poisson = metric_class(losses.poisson, best="down")
Hinge = metric_class(losses.hinge, best="down")
SquaredHinge = metric_class(losses.squared_hinge, best="down")
CategoricalHinge = metric_class(losses.categorical_hinge, best="down")
BinaryCrossentropy = metric_class(
    losses.binary_crossentropy,
    order="name dtype from_logits label_smoothing",
    best="down",
    label_smoothing=0,
)
CategoricalCrossentropy = metric_class(
    losses.categorical_crossentropy, best="down", label_smoothing=0
)
SparseCategoricalCrossentropy = metric_class(losses.sparse_categorical_crossentropy, best="down")


class RootMeanSquaredError(Mean):
    """The root of the mean squared error.

    >>> from oneiros import metrics
    >>> float(metrics.RootMeanSquaredError()([0.0, 0.0], [3.0, 3.0]))
    3.0
    """

    name: str = "root_mean_squared_error"
    dtype: str = None
    _direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take a batch of targets and predictions into account."""
        y_true, y_pred = matched(y_true, y_pred)
        super().update_state(ops.square(y_true - y_pred), sample_weight)

    def summarize(self, total, count):
        return ops.sqrt(super().summarize(total, count))


# By shape ----------------------------------------------------------------------------------------
def accuracy_for(y_true, y_pred, name="accuracy"):
    """The accuracy that suits targets and predictions of these shapes: what "accuracy" means.

    Binary for one output, by class number where targets lack the last axis (or have 1 there), else
    categorical. Anything with a `shape` will do.

    >>> import numpy as np
    >>> from oneiros import metrics
    >>> type(metrics.accuracy_for(np.zeros(2), np.zeros((2, 3)))).__name__
    'SparseCategoricalAccuracy'
    """
    kinds = BinaryAccuracy, SparseCategoricalAccuracy, CategoricalAccuracy
    return kinds[_kind(y_true, y_pred)](name=name)


def crossentropy_for(y_true, y_pred, name="crossentropy"):
    """The cross-entropy that suits targets and predictions of these shapes: as `accuracy_for`.

    >>> import numpy as np
    >>> from oneiros import metrics
    >>> type(metrics.crossentropy_for(np.zeros((2, 1)), np.zeros((2, 1)))).__name__
    'BinaryCrossentropy'
    """
    kinds = BinaryCrossentropy, SparseCategoricalCrossentropy, CategoricalCrossentropy
    return kinds[_kind(y_true, y_pred)](name=name)


def _kind(y_true, y_pred):
    """0 for one output, 1 for class numbers, 2 for one-hot classes."""
    true, pred = tuple(y_true.shape), tuple(y_pred.shape)
    if len(pred) == 1 or pred[-1] == 1:
        return 0
    return 1 if len(true) < len(pred) or true[-1] == 1 else 2
