"""Metrics: what is watched while a model trains, as functions and as objects that keep count."""

from oneiros import losses
from oneiros.core import lookup
from oneiros.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from oneiros.metrics import confusion, pointwise, scores
from oneiros.metrics.confusion import *
from oneiros.metrics.metric import Mean, MeanMetricWrapper, Metric, Sum
from oneiros.metrics.pointwise import *
from oneiros.metrics.scores import *

bce = BCE = losses.binary_crossentropy
mae = MAE = losses.mean_absolute_error
mse = MSE = losses.mean_squared_error
mape = MAPE = losses.mean_absolute_percentage_error
msle = MSLE = losses.mean_squared_logarithmic_error

CLASSES = [Mean, MeanMetricWrapper, Metric, Sum]
for _room in (confusion, pointwise, scores):
    CLASSES += [getattr(_room, n) for n in _room.__all__ if n[0].isupper()]
SHORT = {
    "bce": pointwise.BinaryCrossentropy,
    "mae": pointwise.MeanAbsoluteError,
    "mse": pointwise.MeanSquaredError,
    "mape": pointwise.MeanAbsolutePercentageError,
    "msle": pointwise.MeanSquaredLogarithmicError,
}
TABLE = lookup.named(*CLASSES, **SHORT, **{k.upper(): v for k, v in SHORT.items()})

get, serialize, deserialize = lookup.getter("metric", TABLE)

__all__ = [
    "Mean", "MeanMetricWrapper", "Metric", "Sum", "binary_crossentropy",
    "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_hinge", "deserialize", "get", "hinge", "huber", "kl_divergence", "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "poisson", "serialize", "sparse_categorical_crossentropy", "squared_hinge",
]  # fmt: skip
for _room in (confusion, pointwise, scores):
    __all__ += _room.__all__
