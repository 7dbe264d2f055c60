"""Metrics over classes and outputs: F scores, intersection over union, explained variance."""

from __future__ import annotations

from oneiros import ops
from oneiros.core import config
from oneiros.core.op import array, float_of, to_dtype
from oneiros.metrics.confusion import spread
from oneiros.metrics.metric import Tally

__all__ = [
    "BinaryIoU", "F1Score", "FBetaScore", "IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "R2Score",
]  # fmt: skip


class _ByColumn(Tally):
    """The base of metrics with a sum for each column of (sample, column)."""

    sums = None

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take a batch of targets and predictions (sample, column) into account."""
        y_true = to_dtype(array(y_true), self.dtype)
        y_pred = to_dtype(float_of(y_pred), self.dtype)
        shapes = tuple(y_true.shape), tuple(y_pred.shape)
        if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][1] != shapes[1][1]:
            raise ValueError(
                f"{type(self).__name__}: `y_true` and `y_pred` must have the axes (sample, column) "
                f"and as many columns; got the shapes {shapes[0]} and {shapes[1]}"
            )
        if not self._tallied:
            self.sums = self._sums(shapes[1][1])
            self._begin()
        if sample_weight is not None:
            sample_weight = to_dtype(array(sample_weight), self.dtype)
            if len(sample_weight.shape) < 2:
                sample_weight = ops.reshape(sample_weight, (-1, 1))
        self._add(self.accumulate(y_true, y_pred, sample_weight))

    def reset_state(self):
        """Set every sum to zero."""
        if self._tallied:
            super().reset_state()


# F scores ----------------------------------------------------------------------------------------
class _FScore(_ByColumn):
    """The base of F scores."""

    beta = 1.0
    _direction = "up"

    def _ready(self):
        if self.average not in (None, "micro", "macro", "weighted"):
            raise ValueError(
                f"{type(self).__name__}: `average` must be None, 'micro', 'macro' or 'weighted'; "
                f"got {self.average!r}"
            )
        if not isinstance(self.beta, float) or self.beta <= 0:
            raise ValueError(
                f"{type(self).__name__}: `beta` must be a float above 0; got {self.beta!r}"
            )
        if self.threshold is not None and (
            not isinstance(self.threshold, float) or not 0 < self.threshold <= 1
        ):
            raise ValueError(
                f"{type(self).__name__}: `threshold` must be a float in (0, 1]; "
                f"got {self.threshold!r}"
            )
        super()._ready()

    def _sums(self, classes):
        shape = () if self.average == "micro" else (classes,)
        return {
            "true_positives": shape, "false_positives": shape, "false_negatives": shape,
            "intermediate_weights": shape,
        }  # fmt: skip

    def accumulate(self, y_true, y_pred, sample_weight):
        if self.threshold is None:
            top = ops.max(y_pred, axis=-1, keepdims=True)
            said = ops.logical_and(y_pred >= top, ops.abs(y_pred) > 1e-9)
        else:
            said = y_pred > self.threshold
        said = ops.cast(said, self.dtype)
        axis = None if self.average == "micro" else 0

        def total(x):
            return ops.sum(x if sample_weight is None else x * sample_weight, axis=axis)

        return (
            total(said * y_true),
            total(said * (1.0 - y_true)),
            total((1.0 - said) * y_true),
            total(y_true),
        )

    def summarize(self, hit, false, missed, weights):
        tiny, square = config.epsilon(), self.beta**2
        precision, recall = hit / (hit + false + tiny), hit / (hit + missed + tiny)
        score = (1 + square) * precision * recall / (square * precision + recall + tiny)
        if self.average == "weighted":
            return ops.sum(score * (weights / (ops.sum(weights) + tiny)))
        return score if self.average is None else ops.mean(score)

    def result(self):
        return super().result() if self._tallied else ops.convert_to_tensor(0.0)


class FBetaScore(_FScore):
    """The harmonic mean of precision and recall, recall with the weight `beta` squared, by class.

    Args:
        average: None (a score for each class), "micro" (of all together), "macro" (their mean) or
            "weighted" (their mean by how frequent they are).
        threshold: Predictions above it are positive; if None, the largest of each sample.

    >>> from oneiros import metrics
    >>> m = metrics.FBetaScore(beta=2.0, threshold=0.5, average="micro")
    >>> round(float(m([[1, 0], [0, 1]], [[0.9, 0.6], [0.1, 0.8]])), 4)
    0.9091
    """

    average: str = None
    beta: float = 1.0
    threshold: float = None
    name: str = "fbeta_score"
    dtype: str = None


class F1Score(_FScore):
    """The harmonic mean of precision and recall, by class; arguments as of `FBetaScore`.

    >>> from oneiros import metrics
    >>> m = metrics.F1Score(threshold=0.5, average="micro")
    >>> round(float(m([[1, 0], [0, 1]], [[0.9, 0.6], [0.1, 0.8]])), 4)
    0.8
    """

    average: str = None
    threshold: float = None
    name: str = "f1_score"
    dtype: str = None


# Intersection over union -------------------------------------------------------------------------
class _IoU(Tally):
    """The base of the IoU family: one matrix, counts by true and predicted class."""

    usual_dtype = "int32"
    _direction = "up"
    target_class_ids = ignore_class = None
    sparse_y_true = sparse_y_pred = True
    axis = -1

    @property
    def sums(self):
        return {"total_confusion_matrix": (self.num_classes, self.num_classes)}

    def accumulate(self, y_true, y_pred, sample_weight):
        true = self._classes(y_true, self.sparse_y_true)
        pred = self._classes(y_pred, self.sparse_y_pred)
        if sample_weight is None:
            weight = ops.ones(true.shape, dtype=self.dtype)
        else:
            weight, places = to_dtype(array(sample_weight), self.dtype), array(y_true)
            if not self.sparse_y_true:
                places = ops.argmax(places, axis=self.axis)
            weight = ops.reshape(spread(weight, places), (-1,))
        count = self.num_classes
        known = (true >= 0) & (true < count) & (pred >= 0) & (pred < count)
        if self.ignore_class is not None:
            known = known & ops.not_equal(true, self.ignore_class)
        weight = ops.where(known, weight, ops.zeros_like(weight))
        place = ops.where(known, true * count + pred, 0)
        table = ops.segment_sum(weight, place, num_segments=count * count)
        return (ops.reshape(table, (count, count)),)

    def _classes(self, y, sparse):
        """Class numbers, flat."""
        y = array(y) if sparse else ops.argmax(array(y), axis=self.axis)
        return ops.reshape(ops.cast(y, "int32"), (-1,))

    def summarize(self, matrix):
        matrix = ops.cast(matrix, config.floatx())  # (true, predicted)
        both = ops.diagonal(matrix)
        either = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - both
        if self.target_class_ids is not None:
            ids = list(self.target_class_ids)
            both, either = ops.take(both, ids, axis=0), ops.take(either, ids, axis=0)
        seen = ops.sum(ops.cast(either > 0, config.floatx()))
        return ops.divide_no_nan(ops.sum(ops.divide_no_nan(both, either)), seen)

    def _ready(self):
        for i in self.target_class_ids or ():
            if not 0 <= i < self.num_classes:
                raise ValueError(
                    f"{type(self).__name__}: `target_class_ids` must lie in "
                    f"[0, {self.num_classes}); got {i}"
                )
        if self.target_class_ids is not None:
            self.target_class_ids = list(self.target_class_ids)
        super()._ready()


class IoU(_IoU):
    """The mean intersection over union of the target classes.

    Args:
        num_classes: How many classes there are.
        target_class_ids: The classes that count.
        ignore_class: A label of places that do not count.
        sparse_y_true, sparse_y_pred: Whether they hold class numbers and not scores.
        axis: Where the scores stand.

    >>> from oneiros import metrics
    >>> m = metrics.IoU(num_classes=2, target_class_ids=[0])
    >>> round(float(m([0, 0, 1, 1], [0, 1, 0, 1])), 4)
    0.3333
    """

    num_classes: int
    target_class_ids: list
    name: str = None
    dtype: str = None
    ignore_class: int = None
    sparse_y_true: bool = True
    sparse_y_pred: bool = True
    axis: int = -1


class BinaryIoU(_IoU):
    """The mean intersection over union of classes 0 and 1, predictions from `threshold` on being 1.

    >>> from oneiros import metrics
    >>> round(float(metrics.BinaryIoU()([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])), 4)
    0.5833
    """

    target_class_ids: list = (0, 1)
    threshold: float = 0.5
    name: str = None
    dtype: str = None
    num_classes = 2

    def accumulate(self, y_true, y_pred, sample_weight):
        return super().accumulate(y_true, array(y_pred) >= self.threshold, sample_weight)


class MeanIoU(_IoU):
    """The mean intersection over union of all classes; arguments as of `IoU`.

    >>> from oneiros import metrics
    >>> m = metrics.MeanIoU(num_classes=2)
    >>> round(float(m([0, 0, 1, 1], [0, 1, 0, 1])), 4)
    0.3333
    """

    num_classes: int
    name: str = None
    dtype: str = None
    ignore_class: int = None
    sparse_y_true: bool = True
    sparse_y_pred: bool = True
    axis: int = -1


class OneHotIoU(_IoU):
    """As `IoU`, of one-hot targets and, by default, a score for each class.

    >>> from oneiros import metrics
    >>> m = metrics.OneHotIoU(num_classes=2, target_class_ids=[0])
    >>> float(m([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]]))
    0.5
    """

    num_classes: int
    target_class_ids: list
    name: str = None
    dtype: str = None
    ignore_class: int = None
    sparse_y_pred: bool = False
    axis: int = -1
    sparse_y_true = False


class OneHotMeanIoU(_IoU):
    """As `MeanIoU`, of one-hot targets and, by default, a score for each class.

    >>> from oneiros import metrics
    >>> m = metrics.OneHotMeanIoU(num_classes=2)
    >>> float(m([[1, 0], [0, 1]], [[0.9, 0.1], [0.8, 0.2]]))
    0.25
    """

    num_classes: int
    name: str = None
    dtype: str = None
    ignore_class: int = None
    sparse_y_pred: bool = False
    axis: int = -1
    sparse_y_true = False


# Explained variance ------------------------------------------------------------------------------
class R2Score(_ByColumn):
    """The share of the targets' variance that predictions explain.

    Args:
        class_aggregation: "uniform_average" (the mean over columns), "variance_weighted_average",
            or None, for a score by column.
        num_regressors: How many independent variables there are, for the adjusted score; 0 for
            the plain one.

    >>> from oneiros import metrics
    >>> round(float(metrics.R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])), 4)
    0.5714
    """

    class_aggregation: str = "uniform_average"
    num_regressors: int = 0
    name: str = "r2_score"
    dtype: str = None
    _direction = "up"

    def _ready(self):
        options = (None, "uniform_average", "variance_weighted_average")
        if self.class_aggregation not in options:
            raise ValueError(
                f"R2Score: `class_aggregation` must be one of {options}; "
                f"got {self.class_aggregation!r}"
            )
        if self.num_regressors < 0:
            raise ValueError(f"R2Score: `num_regressors` must be from 0; got {self.num_regressors}")
        self.num_samples = self.add_variable((), "zeros", name="num_samples")
        super()._ready()

    def _sums(self, columns):
        return dict.fromkeys(("squared_sum", "sum", "residual", "count"), (columns,))

    def accumulate(self, y_true, y_pred, sample_weight):
        self.num_samples.assign_add(ops.size(y_true))
        ones = ops.ones((y_true.shape[0], 1), dtype=self.dtype)
        sample_weight = ones if sample_weight is None else sample_weight * ones
        weighted = y_true * sample_weight
        error = ops.square(y_true - y_pred) * sample_weight
        return (
            ops.sum(y_true * weighted, axis=0),
            ops.sum(weighted, axis=0),
            ops.sum(error, axis=0),
            ops.sum(sample_weight, axis=0),
        )

    def summarize(self, squared_sum, total, residual, count):
        spread = squared_sum - total * (total / count)
        score = 1.0 - residual / spread
        score = ops.where(ops.isinf(score), 0.0, score)
        if self.class_aggregation == "uniform_average":
            score = ops.mean(score)
        elif self.class_aggregation == "variance_weighted_average":
            score = ops.sum(score * spread) / ops.sum(spread)
        if self.num_regressors:
            samples = ops.cast(self.num_samples, self.dtype)
            free = samples - self.num_regressors - 1.0
            adjusted = 1.0 - (1.0 - score) * (samples - 1.0) / free
            score = ops.where(free > 0, adjusted, score)
        return score
