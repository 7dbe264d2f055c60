"""Constraints: what weights are put back into after each step of training.

A constraint is a callable from a weight's value to the nearest value that it allows.
"""

from oneiros import ops
from oneiros.core import config, lookup
from oneiros.core.configurable import Configurable
from oneiros.core.fields import Number

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]


class Constraint(Configurable):
    """Base of all constraints: a subclass defines `__call__(w)`, which gives a value like `w`.

    >>> class Clipped(Constraint):
    ...     def __call__(self, w):
    ...         return ops.clip(w, -1.0, 1.0)
    >>> Clipped()([0.5, 3.0]).tolist()
    [0.5, 1.0]
    """

    def __call__(self, w):
        """`w`, constrained."""
        return w


class MaxNorm(Constraint):
    """Norms along `axis` up to `max_value`; what is longer is shortened (Srivastava et al., 2014).

    `axis` is that of a kernel's inputs: 0 for a dense one, (0, 1, 2) for a 2D convolution.

    >>> MaxNorm(2.5)([[3.0], [4.0]]).round(4).tolist()
    [[1.5], [2.0]]

    Raises:
        ValueError: if `max_value` is not a number.
    """

    max_value: Number() = 2
    axis: int = 0

    def __call__(self, w):
        norms = _norms(w, self.axis)
        factor = ops.clip(norms, 0, self.max_value) / (config.epsilon() + norms)
        return ops.multiply(w, factor)


class NonNeg(Constraint):
    """No value below 0.

    >>> NonNeg()([1.0, -1.0]).tolist()
    [1.0, 0.0]
    """

    def __call__(self, w):
        return ops.maximum(w, 0)


class UnitNorm(Constraint):
    """Norms of 1 along `axis`.

    >>> UnitNorm()([[2.0], [0.0]]).round(4).tolist()
    [[1.0], [0.0]]
    """

    axis: int = 0

    def __call__(self, w):
        return ops.divide(w, config.epsilon() + _norms(w, self.axis))


class MinMaxNorm(Constraint):
    """Norms along `axis` from `min_value` to `max_value`, reached by the part `rate` at each step.

    >>> MinMaxNorm(2.5, 3.0)([[0.3], [0.4]]).round(4).tolist()
    [[1.5], [2.0]]

    Raises:
        ValueError: if `min_value`, `max_value` or `rate` is not a number.
    """

    min_value: Number() = 0.0
    max_value: Number() = 1.0
    rate: Number() = 1.0
    axis: int = 0

    def __call__(self, w):
        norms = _norms(w, self.axis)
        allowed = ops.clip(norms, self.min_value, self.max_value)
        wanted = self.rate * allowed + (1 - self.rate) * norms
        return ops.multiply(w, wanted / (config.epsilon() + norms))


def _norms(w, axis):
    axis = tuple(axis) if isinstance(axis, list) else axis
    return ops.sqrt(ops.sum(ops.square(w), axis=axis, keepdims=True))


max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm

get, serialize, deserialize = lookup.getter(
    "constraint", lookup.named(NonNeg, Constraint, MaxNorm, MinMaxNorm, UnitNorm)
)
