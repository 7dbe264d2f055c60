"""Metrics of hits and misses at thresholds: counts, precision, recall, areas under curves.

All share one kernel, `confusion`. Where thresholds are evenly spaced, predictions fall into buckets
between them, and a running sum from the top gives every count: n + T steps and not n x T.
"""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.core import config
from oneiros.core.op import array, float_of, to_dtype
from oneiros.losses.loss import same_rank
from oneiros.metrics.metric import Metric, Tally

__all__ = [
    "AUC", "FalseNegatives", "FalsePositives", "Precision", "PrecisionAtRecall", "Recall",
    "RecallAtPrecision", "SensitivityAtSpecificity", "SpecificityAtSensitivity", "TrueNegatives",
    "TruePositives",
]  # fmt: skip

COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")
NEVER = -1e10  # a prediction that reaches no threshold


def confusion(y_true, y_pred, thresholds, sample_weight=None, even=False, labels=False):
    """The four `COUNTS`, each (threshold,) or, with `labels`, (threshold, label).

    Args:
        y_true: Labels from 0 to 1.
        y_pred: Predictions of the same shape; positive where above a threshold.
        thresholds: Numbers in rising order.
        sample_weight: Weights that broadcast to that shape.
        even: Whether the thresholds are 0, 1 and those evenly spaced between.
        labels: Whether the last axis is kept.
    """
    y_true, y_pred = same_rank(y_true, y_pred)
    if len(y_true.shape) != len(y_pred.shape) or None in y_pred.shape:
        y_true = ops.broadcast_to(y_true, y_pred.shape)
    weight = ops.ones_like(y_pred) if sample_weight is None else spread(sample_weight, y_pred)
    if not even:
        y_true = ops.cast(ops.cast(y_true, "bool"), y_pred.dtype)
    width = y_pred.shape[-1] if labels else 1
    y_pred = ops.reshape(y_pred, (-1, width))  # (n, label)
    positive = ops.reshape(y_true * weight, (-1, width))
    negative = ops.reshape((1.0 - y_true) * weight, (-1, width))
    split = ops.concatenate([positive, negative], axis=-1)  # (n, 2 label)
    count = len(thresholds)
    if even:
        bucket = ops.cast(ops.ceil(y_pred * (count - 1)), "int32") - 1
        above = _sums_above(split, ops.clip(bucket, 0, count - 1), count)
    else:
        levels = np.reshape(np.asarray(thresholds, "float32"), (-1, 1, 1))
        over = ops.greater(ops.expand_dims(y_pred, 0), levels)  # (threshold, n, label)
        over = ops.cast(over, split.dtype)
        over = ops.concatenate([over, over], axis=-1)
        above = ops.sum(over * split, axis=1)  # (threshold, 2 label)
    below = ops.sum(split, axis=0, keepdims=True) - above
    hit, false = above[:, :width], above[:, width:]
    missed, right = below[:, :width], below[:, width:]
    found = (hit, false, right, missed)
    return found if labels else tuple(ops.reshape(x, (-1,)) for x in found)


def _sums_above(values, bucket, count):
    """For each of `count` buckets and each column, the sum of `values` (n, c) from it upward.

    `bucket` is (n, w) with w a divisor of c: columns go by turns through its columns.
    """
    width, columns = bucket.shape[-1], values.shape[-1]
    if width == 1:
        sums = ops.segment_sum(values, ops.reshape(bucket, (-1,)), num_segments=count)
    else:  # one flat table of (bucket, column)
        bucket = ops.concatenate([bucket] * (columns // width), axis=-1)
        place = ops.add(bucket * columns, np.arange(columns, dtype="int32"))
        flat = ops.segment_sum(
            ops.reshape(values, (-1,)), ops.reshape(place, (-1,)), num_segments=count * columns
        )
        sums = ops.reshape(flat, (count, columns))
    return ops.flip(ops.cumsum(ops.flip(sums, axis=0), axis=0), axis=0)


def spread(weight, like):
    """Weights over the shape of `like`: those of whole samples go to every place in them."""
    if len(weight.shape) == len(like.shape) + 1 and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    while len(weight.shape) < len(like.shape):
        weight = ops.expand_dims(weight, -1)
    return ops.broadcast_to(weight, like.shape)


class Confusion(Tally):
    """The base of metrics made of counts at thresholds."""

    even = False
    class_id = top_k = None
    counts = COUNTS  # which it needs

    @property
    def sums(self):
        return {name: (len(self.thresholds),) for name in self.counts}

    def accumulate(self, y_true, y_pred, sample_weight):
        y_pred = to_dtype(float_of(y_pred), self.dtype)
        y_true = to_dtype(array(y_true), self.dtype)
        if sample_weight is not None:
            sample_weight = to_dtype(array(sample_weight), self.dtype)
        if self.top_k is not None:
            y_pred = _only_top(y_pred, self.top_k)
        if self.class_id is not None:
            y_true, y_pred = y_true[..., self.class_id], y_pred[..., self.class_id]
        made = confusion(y_true, y_pred, self._levels(), sample_weight, self.even)
        return [dict(zip(COUNTS, made))[name] for name in self.counts]

    def _levels(self):
        return self.thresholds


def _only_top(x, k):
    """`x` where it is one of the `k` largest of its last axis, elsewhere `NEVER`."""
    places = ops.top_k(x, k, sorted=False)[1]
    kept = ops.sum(ops.one_hot(places, x.shape[-1], dtype=x.dtype), axis=-2)
    return x * kept + NEVER * (1.0 - kept)


def _as_thresholds(given, usual):
    """The thresholds as a list, checked."""
    made = (
        [usual] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    )
    wrong = [t for t in made if t is None or (not 0 <= t <= 1 and t != NEVER)]
    if wrong:
        raise ValueError(f"`thresholds` must lie in [0, 1]; got {wrong}")
    return made


# At given thresholds -----------------------------------------------------------------------------
class _AtThresholds(Confusion):
    """The base of metrics at thresholds that the user gives, one or several."""

    def _ready(self):
        usual = NEVER if self.top_k is not None else 0.5
        self.init_thresholds = self.thresholds
        self.thresholds = _as_thresholds(self.thresholds, usual)
        super()._ready()

    def result(self):
        made = super().result()
        return made[0] if len(self.thresholds) == 1 else made

    def get_config(self):
        return {**super().get_config(), "thresholds": self.init_thresholds}


class _Count(_AtThresholds):
    """The base of metrics that are one of the counts."""

    thresholds: object = None
    name: str = None
    dtype: str = None
    sums = property(lambda self: {"accumulator": (len(self.thresholds),)})

    def summarize(self, count):
        return ops.convert_to_tensor(count)


class TruePositives(_Count):
    """How many labels 1 are predicted above the threshold, 0.5 if none is given.

    >>> from oneiros import metrics
    >>> float(metrics.TruePositives()([0, 1, 1, 1], [0.9, 0.1, 0.8, 0.7]))
    2.0
    """

    counts = ("true_positives",)


class TrueNegatives(_Count):
    """How many labels 0 are predicted not above the threshold, 0.5 if none is given.

    >>> from oneiros import metrics
    >>> float(metrics.TrueNegatives()([0, 1, 1, 1], [0.9, 0.1, 0.8, 0.7]))
    0.0
    """

    counts = ("true_negatives",)


class FalsePositives(_Count):
    """How many labels 0 are predicted above the threshold, 0.5 if none is given.

    >>> from oneiros import metrics
    >>> float(metrics.FalsePositives()([0, 1, 1, 1], [0.9, 0.1, 0.8, 0.7]))
    1.0
    """

    counts = ("false_positives",)


class FalseNegatives(_Count):
    """How many labels 1 are predicted not above the threshold, 0.5 if none is given.

    >>> from oneiros import metrics
    >>> float(metrics.FalseNegatives()([0, 1, 1, 1], [0.9, 0.1, 0.8, 0.7]))
    1.0
    """

    counts = ("false_negatives",)


class Precision(_AtThresholds):
    """Of what is predicted positive, the share that is.

    Args:
        thresholds: A number or list of numbers in [0, 1]; positive is what is above. By default
            0.5, or anything with `top_k`.
        top_k: Count only the largest predictions of each sample.
        class_id: Count only this class.

    >>> from oneiros import metrics
    >>> float(metrics.Precision()([0, 1, 1, 1], [0.1, 0.1, 0.8, 0.7]))
    1.0
    """

    thresholds: object = None
    top_k: int = None
    class_id: int = None
    name: str = None
    dtype: str = None
    counts = ("true_positives", "false_positives")
    _direction = "up"

    def summarize(self, hit, other):
        return ops.divide_no_nan(hit, hit + other)


class Recall(_AtThresholds):
    """Of what is positive, the share that is predicted so; arguments as of `Precision`.

    >>> from oneiros import metrics
    >>> float(metrics.Recall()([0, 1, 1], [0.9, 0.1, 0.8]))
    0.5
    """

    thresholds: object = None
    top_k: int = None
    class_id: int = None
    name: str = None
    dtype: str = None
    counts = ("true_positives", "false_negatives")
    _direction = "up"

    def summarize(self, hit, other):
        return ops.divide_no_nan(hit, hit + other)


# One rate where another is high enough -----------------------------------------------------------
class _BestWhere(Confusion):
    """The base of metrics that are the largest of one rate where another reaches a value."""

    _direction = "up"

    def _ready(self):
        value = getattr(self, self.given)
        if not 0 <= value <= 1:
            raise ValueError(
                f"{type(self).__name__}: `{self.given}` must lie in [0, 1]; got {value}"
            )
        if self.num_thresholds <= 0:
            raise ValueError(
                f"{type(self).__name__}: `num_thresholds` must be above 0; "
                f"got {self.num_thresholds}"
            )
        self.value = value
        count = self.num_thresholds
        self.even = count > 1
        self.thresholds = [i / (count - 1) for i in range(count)] if self.even else [0.5]
        super()._ready()

    def summarize(self, tp, fp, tn, fn):
        rates = {
            "sensitivity": (tp, fn),
            "specificity": (tn, fp),
            "precision": (tp, fp),
            "recall": (tp, fn),
        }
        given, wanted = (
            ops.divide_no_nan(x, x + y) for x, y in (rates[self.given], rates[self.wanted])
        )
        return ops.max(ops.where(given >= self.value, wanted, 0.0))


class SensitivityAtSpecificity(_BestWhere):
    """The best sensitivity (recall) at a threshold where the specificity is at least `specificity`.

    >>> from oneiros import metrics
    >>> m = metrics.SensitivityAtSpecificity(0.5)
    >>> float(m([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]))
    0.5
    """

    specificity: float
    num_thresholds: int = 200
    class_id: int = None
    name: str = None
    dtype: str = None
    given, wanted = "specificity", "sensitivity"


class SpecificityAtSensitivity(_BestWhere):
    """The best specificity at a threshold where the sensitivity is at least `sensitivity`.

    >>> from oneiros import metrics
    >>> m = metrics.SpecificityAtSensitivity(0.5)
    >>> round(float(m([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])), 4)
    0.6667
    """

    sensitivity: float
    num_thresholds: int = 200
    class_id: int = None
    name: str = None
    dtype: str = None
    given, wanted = "sensitivity", "specificity"


class PrecisionAtRecall(_BestWhere):
    """The best precision at a threshold where the recall is at least `recall`.

    >>> from oneiros import metrics
    >>> m = metrics.PrecisionAtRecall(0.5)
    >>> round(float(m([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])), 4)
    0.5
    """

    recall: float
    num_thresholds: int = 200
    class_id: int = None
    name: str = None
    dtype: str = None
    given, wanted = "recall", "precision"


class RecallAtPrecision(_BestWhere):
    """The best recall at a threshold where the precision is at least `precision`.

    >>> from oneiros import metrics
    >>> m = metrics.RecallAtPrecision(0.5)
    >>> round(float(m([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])), 4)
    1.0
    """

    precision: float
    num_thresholds: int = 200
    class_id: int = None
    name: str = None
    dtype: str = None
    given, wanted = "precision", "recall"


# Areas -------------------------------------------------------------------------------------------
class AUC(Confusion):
    """The area under a curve of two rates over all thresholds, from a grid of thresholds.

    Args:
        num_thresholds: How many thresholds make the grid.
        curve: "ROC" (recall over false positive rate), "PR" (precision over recall) or "PRGAIN"
            (precision gain over recall gain).
        summation_method: "interpolation" (between the points; for "PR" that of Davis and Goadrich,
            2006), "minoring" (from below) or "majoring" (from above).
        thresholds: The grid itself, without its ends.
        multi_label: Whether each label (column) has an area of its own, which are averaged.
        num_labels: How many; by default what the first batch has.
        label_weights: Weights of the labels.
        from_logits: Whether predictions are log-odds.

    >>> from oneiros import metrics
    >>> float(metrics.AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]))
    0.75
    """

    num_thresholds: int = 200
    curve: str = "ROC"
    summation_method: str = "interpolation"
    name: str = None
    dtype: str = None
    thresholds: list = None
    multi_label: bool = False
    num_labels: int = None
    label_weights: list = None
    from_logits: bool = False
    _direction = "up"

    def _ready(self):
        for argument, options in (
            ("curve", ("ROC", "PR", "PRGAIN")),
            ("summation_method", ("interpolation", "majoring", "minoring")),
        ):
            if getattr(self, argument) not in options:
                raise ValueError(
                    f"AUC: `{argument}` must be one of {', '.join(map(repr, options))}; "
                    f"got {getattr(self, argument)!r}"
                )
        self._given = self.thresholds is not None
        if self._given:
            inner = sorted(float(t) for t in self.thresholds)
            self.num_thresholds = len(inner) + 2
            levels = np.array([0.0, *inner, 1.0])
            grid = np.arange(len(levels)) / (len(levels) - 1)
            self.even = len(levels) > 2 and np.allclose(levels, grid, atol=config.epsilon())
        else:
            count = self.num_thresholds
            if count <= 1:
                raise ValueError(f"AUC: `num_thresholds` must be above 1; got {count}")
            inner = [i / (count - 1) for i in range(1, count - 1)]
            self.even = True
        self.thresholds = [-config.epsilon(), *inner, 1.0 + config.epsilon()]
        self._tallied_labels = self.num_labels if self.multi_label else None
        if not self.multi_label or self.num_labels:
            self._begin()

    @property
    def sums(self):
        shape = (self.num_thresholds,)
        if self._tallied_labels:
            shape += (self._tallied_labels,)
        return dict.fromkeys(COUNTS, shape)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take a batch of labels and predictions into account."""
        if not self._tallied:
            shape = tuple(array(y_pred).shape)
            if len(shape) != 2:
                raise ValueError(
                    "AUC: with `multi_label`, `y_pred` must have the axes (sample, label); "
                    f"got the shape {shape}"
                )
            self._tallied_labels = shape[-1]
            self._begin()
        super().update_state(y_true, y_pred, sample_weight)

    def accumulate(self, y_true, y_pred, sample_weight):
        y_pred = to_dtype(float_of(y_pred), self.dtype)
        y_true = to_dtype(array(y_true), self.dtype)
        if sample_weight is not None:
            sample_weight = to_dtype(array(sample_weight), self.dtype)
        if self.from_logits:
            y_pred = ops.sigmoid(y_pred)
        if self.label_weights is not None and not self.multi_label:
            labels = ops.convert_to_tensor(self.label_weights, dtype=self.dtype)
            sample_weight = (
                labels if sample_weight is None else spread(sample_weight, y_pred) * labels
            )
            if len(sample_weight.shape) < len(y_pred.shape):
                sample_weight = ops.broadcast_to(sample_weight, y_pred.shape)
        return confusion(
            y_true, y_pred, self.thresholds, sample_weight, self.even, self.multi_label
        )

    def result(self):
        if not self._tallied:
            return ops.convert_to_tensor(0.0, dtype=self.dtype)
        return super().result()

    def summarize(self, tp, fp, tn, fn):
        if self.curve == "PR" and self.summation_method == "interpolation":
            return self._over_labels(_pr_area(tp, fp, fn))
        recall = ops.divide_no_nan(tp, tp + fn)
        if self.curve == "ROC":
            x, y = ops.divide_no_nan(fp, fp + tn), recall
        elif self.curve == "PR":
            x, y = recall, ops.divide_no_nan(tp, tp + fp)
        else:
            x, y = _gains(tp, fp, tn, fn)
        ends = y[:-1], y[1:]
        if self.summation_method == "minoring":
            height = ops.minimum(*ends)
        elif self.summation_method == "majoring":
            height = ops.maximum(*ends)
        else:
            height = (ends[0] + ends[1]) / 2.0
        return self._over_labels(ops.sum((x[:-1] - x[1:]) * height, axis=0))

    def _over_labels(self, areas):
        """The mean over labels, where there are any."""
        if not self.multi_label:
            return areas
        if self.label_weights is None:
            return ops.mean(areas)
        weights = ops.convert_to_tensor(self.label_weights, dtype=self.dtype)
        return ops.divide_no_nan(ops.sum(areas * weights), ops.sum(weights))

    def interpolate_pr_auc(self):
        """The area under the precision-recall curve, interpolated (Davis and Goadrich, 2006)."""
        tp, fp, _, fn = (getattr(self, name).value for name in COUNTS)
        return self._over_labels(_pr_area(tp, fp, fn))

    def reset_state(self):
        """Set every count to zero."""
        if self._tallied:
            super().reset_state()

    def get_config(self):
        made = Metric.get_config(self)
        if isinstance(self.label_weights, np.ndarray):
            made["label_weights"] = self.label_weights.tolist()
        made.pop("thresholds")
        if self._given:
            made["thresholds"] = self.thresholds[1:-1]
        return made


def _pr_area(tp, fp, fn):
    """Between two thresholds true positives grow linearly with all positives, not precision."""
    positive = tp + fp
    new_tp = tp[:-1] - tp[1:]
    slope = ops.divide_no_nan(new_tp, ops.maximum(positive[:-1] - positive[1:], 0.0))
    start = tp[1:] - slope * positive[1:]
    both = ops.logical_and(positive[:-1] > 0, positive[1:] > 0)
    ratio = ops.where(both, ops.divide_no_nan(positive[:-1], ops.maximum(positive[1:], 0.0)), 1.0)
    gained = slope * (new_tp + start * ops.log(ratio))
    return ops.sum(ops.divide_no_nan(gained, ops.maximum(tp[1:] + fn[1:], 0.0)), axis=0)


def _gains(tp, fp, tn, fn):
    """Recall gain and precision gain: how far above always saying yes (Flach and Kull, 2015)."""
    odds = ops.divide_no_nan(tp[:1] + fn[:1], fp[:1] + tn[:1])
    recall = ops.maximum(1.0 - ops.divide_no_nan(odds * fn, tp), 0.0)
    return ops.where(tp > 0, recall, 0.0), 1.0 - ops.divide_no_nan(odds * fp, tp)
