"""Losses, as functions (`huber`) and as objects that weigh and reduce (`Huber`)."""

from oneiros.core import lookup
from oneiros.losses import classification, regression, structured
from oneiros.losses.classification import *
from oneiros.losses.loss import Loss, LossFunctionWrapper
from oneiros.losses.regression import *
from oneiros.losses.structured import *

bce = BCE = classification.binary_crossentropy
kld = KLD = classification.kl_divergence
mae = MAE = regression.mean_absolute_error
mse = MSE = regression.mean_squared_error
mape = MAPE = regression.mean_absolute_percentage_error
msle = MSLE = regression.mean_squared_logarithmic_error

TABLE = {
    name: getattr(room, name)
    for room in (classification, regression, structured)
    for name in room.__all__
}
TABLE |= {"Loss": Loss, "LossFunctionWrapper": LossFunctionWrapper}
TABLE |= {"bce": bce, "kld": kld, "mae": mae, "mse": mse, "mape": mape, "msle": msle}
TABLE |= {"BCE": BCE, "KLD": KLD, "MAE": MAE, "MSE": MSE, "MAPE": MAPE, "MSLE": MSLE}

get, _, deserialize = lookup.getter("loss", TABLE, config="name", example=("losses", "Huber"))


def serialize(loss):
    """The config of a loss: its class and its constructor's arguments, or its function's name.

    >>> from oneiros import losses
    >>> losses.serialize(losses.Huber())["class_name"]
    'Huber'
    """
    from oneiros.core.registry import serialize_keras_object

    return serialize_keras_object(loss)


__all__ = [*classification.__all__, *regression.__all__, *structured.__all__]
__all__ += ["Loss", "deserialize", "get", "serialize"]
