"""Crossentropies: how far predictions are from the truth, from probabilities or from logits."""

from __future__ import annotations

from oneiros.core import config
from oneiros.core import primitives as p
from oneiros.core.op import array, dtype_of, float_of, op, to_dtype
from oneiros.ops.activations import log_softmax, softmax, softplus
from oneiros.ops.common import agree, hot, over, spread, whole, within

__all__ = ["binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"]


def _same_shapes(name, target, output, rank=1):
    if len(target.shape) < rank or len(output.shape) < rank:
        raise ValueError(
            f"{name}: target and output must have at least {rank} axis; got the shapes "
            f"{tuple(target.shape)} and {tuple(output.shape)}"
        )
    fits = len(target.shape) == len(output.shape) and all(map(agree, target.shape, output.shape))
    if not fits:
        raise ValueError(
            f"{name}: target and output must have one shape; got {tuple(target.shape)} and "
            f"{tuple(output.shape)}"
        )


def _clipped(x):
    """Probabilities away from 0 and 1, so that their logarithms are finite."""
    epsilon = config.epsilon()
    return p.minimum(p.maximum(x, epsilon), 1.0 - epsilon)


@op
def categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """`-sum(target * log(output))` over the classes along `axis`.

    Args:
        target: Distributions, often one-hot.
        output: Probabilities (scaled here to a sum of 1), or logits.
        from_logits: Which of the two `output` holds.
        axis: The axis of the classes.

    Raises:
        ValueError: if the shapes differ.

    >>> from oneiros import ops
    >>> ops.categorical_crossentropy([[0.0, 1.0]], [[1000.0, 0.0]], from_logits=True).tolist()
    [1000.0]
    """
    output = float_of(output)
    target = to_dtype(array(target), dtype_of(output))
    _same_shapes("categorical_crossentropy", target, output)
    axes = within(output, axis, "categorical_crossentropy")
    if from_logits:
        return -p.reduce_sum(target * log_softmax(output, axis), axes=axes)
    output = output / over(p.reduce_sum, output, axes)
    return -p.reduce_sum(target * p.log(_clipped(output)), axes=axes)


@categorical_crossentropy.vjp
def _(g, y, target, output, from_logits, axis):
    if not from_logits:
        return _by_body(categorical_crossentropy, g, target, output, from_logits, axis)
    axes = within(output, axis, "categorical_crossentropy")
    logs = log_softmax(output, axis)
    target = to_dtype(target, dtype_of(output))
    g = spread(g, output, axes)
    return [-g * logs, g * (p.exp(logs) * over(p.reduce_sum, target, axes) - target), None, None]


def _by_body(function, g, *args):
    """The cotangents that differentiating the body gives, for a rule that covers some cases
    only."""
    from oneiros.core.autodiff import gradient, is_differentiable

    wrt = [x for x in args if is_differentiable(x)]
    made = dict(zip(map(id, wrt), gradient([function.body(*args)], [g], wrt)))
    return [made.get(id(x)) for x in args]


@op
def sparse_categorical_crossentropy(target, output, from_logits=False, axis=-1):
    """`-log(output)` at the class that each integer of `target` names along `axis`.

    Args:
        target: Integers, of `output`'s shape without `axis` (or with length 1 there). Where one is
            out of
            range, the result is 0.
        output: Probabilities (scaled here to a sum of 1), or logits.
        from_logits: Which of the two `output` holds.
        axis: The axis of the classes.

    Raises:
        ValueError: if the shapes do not fit.

    >>> from oneiros import ops
    >>> ops.sparse_categorical_crossentropy([1], [[0.0, 1000.0]], from_logits=True).tolist()
    [0.0]
    """
    target, output = array(target), float_of(output)
    at, target = _classes(target, output, axis)
    hit = hot(target, output.shape[at], at)
    if not from_logits:
        output = output / over(p.reduce_sum, output, (at,))
        return -p.reduce_sum(p.select(hit, p.log(_clipped(output)), 0.0), axes=(at,))
    output = output - p.stop_gradient(over(p.reduce_max, output, (at,)))
    chosen = p.reduce_sum(p.select(hit, output, 0.0), axes=(at,))
    total = p.log(p.reduce_sum(p.exp(output), axes=(at,)))
    return p.select(_in_range(target, output.shape[at]), total - chosen, 0.0)


@sparse_categorical_crossentropy.vjp
def _(g, y, target, output, from_logits, axis):
    if not from_logits:
        return _by_body(sparse_categorical_crossentropy, g, target, output, from_logits, axis)
    at, target = _classes(target, output, axis)
    g = spread(p.select(_in_range(target, output.shape[at]), g, 0.0), output, (at,))
    share = softmax.body(output, (at,))
    return [None, g * p.select(hot(target, output.shape[at], at), share - 1.0, share), None, None]


def _classes(target, output, axis):
    """The axis of the classes, and the integer targets without it."""
    name = "sparse_categorical_crossentropy"
    if not output.shape:
        raise ValueError(f"{name}: output must have at least 1 axis; got shape ()")
    (at,) = within(output, axis, name)
    if len(target.shape) == len(output.shape) and target.shape[at] == 1:
        target = p.reshape(target, shape=(*target.shape[:at], *target.shape[at + 1 :]))
    rest = (*output.shape[:at], *output.shape[at + 1 :])
    if len(target.shape) != len(rest) or not all(map(agree, target.shape, rest)):
        raise ValueError(
            f"{name}: target must have the shape of output without the classes, {rest}; got "
            f"{tuple(target.shape)} for an output of shape {tuple(output.shape)}"
        )
    return at, whole(target)


def _in_range(target, count):
    return p.logical_and(p.greater_equal(target, 0), p.less(target, count))


@op
def binary_crossentropy(target, output, from_logits=False):
    """`-target * log(output) - (1 - target) * log(1 - output)`, element by element.

    Args:
        target: Numbers in [0, 1].
        output: Probabilities, or logits.
        from_logits: Which of the two `output` holds.

    Raises:
        ValueError: if the shapes differ.

    >>> from oneiros import ops
    >>> ops.binary_crossentropy([0.0, 1.0], [1000.0, 1000.0], from_logits=True).tolist()
    [1000.0, 0.0]
    """
    output = float_of(output)
    target = to_dtype(array(target), dtype_of(output))
    _same_shapes("binary_crossentropy", target, output, rank=0)
    if from_logits:
        return softplus(output) - output * target
    output = _clipped(output)
    yes = p.multiply(target, p.log(output))
    no = p.multiply(p.subtract(1.0, target), p.log(p.subtract(1.0, output)))
    return p.negative(p.add(yes, no))


@binary_crossentropy.vjp
def _(g, y, target, output, from_logits):
    target = to_dtype(target, dtype_of(output))
    if from_logits:
        return [-g * output, g * (p.sigmoid(output) - target), None]
    return _by_body(binary_crossentropy, g, target, output, from_logits)
