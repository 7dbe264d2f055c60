"""Regularizers: penalties on weights or outputs, added to the loss.

A regularizer is a callable from an array to a scalar.
"""

from oneiros import ops
from oneiros.core import lookup
from oneiros.core.configurable import Configurable
from oneiros.core.fields import Number, OneOf

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]


class Regularizer(Configurable):
    """Base of all regularizers: a subclass defines `__call__(x)`, which gives a scalar.

    >>> class Sum(Regularizer):
    ...     def __call__(self, x):
    ...         return ops.sum(x)
    >>> float(Sum()([1.0, 2.0]))
    3.0
    """

    def __call__(self, x):
        """The penalty for `x`."""
        return 0.0


Penalty = Number(at_least=0, none=0.01)
Mode = OneOf("rows", "columns")


class L1(Regularizer):
    """`l1 * sum(|x|)`, which drives weights to zero.

    >>> float(L1(0.5)([[1.0, -3.0]]))
    2.0

    Raises:
        ValueError: if `l1` is not a finite number from 0.
    """

    l1: Penalty = 0.01

    def __call__(self, x):
        return self.l1 * ops.sum(ops.absolute(x))


class L2(Regularizer):
    """`l2 * sum(x²)`, which keeps weights small.

    >>> float(L2(0.5)([[1.0, -3.0]]))
    5.0

    Raises:
        ValueError: if `l2` is not a finite number from 0.
    """

    l2: Penalty = 0.01

    def __call__(self, x):
        return self.l2 * ops.sum(ops.square(x))


class L1L2(Regularizer):
    """`l1 * sum(|x|) + l2 * sum(x²)`.

    >>> float(L1L2(l1=0.5, l2=0.5)([[1.0, -3.0]]))
    7.0

    Raises:
        ValueError: if `l1` or `l2` is not a finite number from 0.
    """

    l1: Number(at_least=0, none=0.0) = 0.0
    l2: Number(at_least=0, none=0.0) = 0.0

    def __call__(self, x):
        penalty = 0.0
        if self.l1:
            penalty = penalty + self.l1 * ops.sum(ops.absolute(x))
        if self.l2:
            penalty = penalty + self.l2 * ops.sum(ops.square(x))
        return penalty


class OrthogonalRegularizer(Regularizer):
    """`factor` times the mean |cosine| between two of the rows (or columns) of a matrix.

    >>> float(OrthogonalRegularizer(1.0)([[1.0, 0.0], [0.0, 2.0]]))
    0.0

    Raises:
        ValueError: if `factor` is not a finite number from 0, `mode` neither `"rows"` nor
            `"columns"`, or `x` not a matrix.
    """

    factor: Penalty = 0.01
    mode: Mode = "rows"

    def __call__(self, x):
        x = ops.convert_to_tensor(x)
        if len(x.shape) != 2:
            raise ValueError(f"OrthogonalRegularizer: `x` must have two axes; got {tuple(x.shape)}")
        if self.mode == "columns":
            x = ops.transpose(x)
        rows = x.shape[0]
        x = ops.normalize(x, axis=1)
        cosines = ops.matmul(x, ops.transpose(x)) * (1.0 - ops.eye(rows, dtype=x.dtype))
        pairs = max(rows * (rows - 1) / 2, 1)
        return self.factor * 0.5 * ops.sum(ops.absolute(cosines)) / pairs


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer

get, serialize, deserialize = lookup.getter(
    "regularizer", lookup.named(L1, L1L2, L2, OrthogonalRegularizer, Regularizer)
)
