"""Activations: functions that layers apply element by element, found by name.

Most are ops of the same name; here are those that differ, and the look-up.
"""

from __future__ import annotations

from oneiros import ops
from oneiros.core import lookup
from oneiros.core.op import array
from oneiros.ops import (
    celu,
    elu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
)

__all__ = [
    "celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink",
    "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid",
    "log_softmax", "mish", "relu", "relu6", "selu", "serialize", "sigmoid", "silu", "soft_shrink",
    "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus",
    "swish", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip

swish, hard_swish = silu, hard_silu


def linear(x):
    """`x` itself.

    >>> linear(3)
    3
    """
    return x


def exponential(x):
    """`exp(x)`.

    >>> exponential([0.0]).tolist()
    [1.0]
    """
    return ops.exp(x)


def relu(x, negative_slope=0.0, max_value=None, threshold=0.0):
    """`x` above the threshold, `negative_slope * (x - threshold)` below it, no more than
    `max_value`.

    Args:
        x: Array.
        negative_slope: The slope below the threshold.
        max_value: The largest result, or None.
        threshold: Where the branches meet.

    >>> relu([-2.0, 3.0, 9.0], negative_slope=0.5, max_value=5.0).tolist()
    [-1.0, 3.0, 5.0]
    """
    if negative_slope == 0.0 and threshold == 0.0:
        if max_value is None:
            return ops.relu(x)
        return relu6(x) if max_value == 6 else ops.minimum(ops.relu(x), max_value)
    x = x if hasattr(x, "dtype") else array(x)
    below = (x - threshold) * negative_slope if negative_slope else ops.zeros_like(x)
    y = ops.where(ops.less_equal(x, threshold), below, x)
    return y if max_value is None else ops.minimum(y, max_value)


def gelu(x, approximate=False):
    """`x` times the normal distribution function of `x`, by default exactly (Hendrycks and Gimpel,
    2016).

    >>> [round(v, 4) for v in gelu([-1.0, 1.0]).tolist()]
    [-0.1587, 0.8413]
    """
    return ops.gelu(x, approximate)


def mish(x):
    """`x * tanh(softplus(x))` (Misra, 2019).

    >>> round(float(mish(1.0)), 4)
    0.8651
    """
    x = x if hasattr(x, "dtype") else array(x)
    return ops.multiply(x, ops.tanh(ops.softplus(x)))


TABLE = lookup.named(
    celu,
    elu,
    exponential,
    gelu,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    linear,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
    swish=silu,
    hard_swish=hard_silu,
)
_get, _serialize, deserialize = lookup.getter("activation", TABLE, example=("activations", "relu"))


def serialize(activation):
    """The name of one of these functions; the config of any other callable.

    >>> serialize(silu)
    'silu'
    """
    name = getattr(activation, "__name__", None)
    return name if name and TABLE.get(name) is activation else _serialize(activation)


def get(identifier):
    """The activation that `identifier` stands for: a name, a config, a callable, or None for
    `linear`.

    Raises:
        ValueError: if it is anything else, or there is no activation of that name.

    >>> get("relu") is relu, get(None) is linear
    (True, True)
    """
    if identifier is None:
        return linear
    return identifier if callable(identifier) else _get(identifier)
