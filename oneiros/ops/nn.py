"""What neural networks are made of: normalizations, encodings, and all that the files beside this
one hold.

Activations are in `activations`, attention in `attention`, crossentropies in `crossentropies`,
alignments in
`ctc`, convolutions, pools and patches in `windows`; all are reached from here. Statistics of half
precision
are taken in float32.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from oneiros.core import config
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype, standardize_dtype
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.ops import activations, attention, crossentropies, ctc, windows
from oneiros.ops.activations import *
from oneiros.ops.attention import *
from oneiros.ops.common import agree, hot, over, spread, wide, within
from oneiros.ops.crossentropies import *
from oneiros.ops.ctc import *
from oneiros.ops.windows import *

__all__ = [
    "batch_normalization", "in_top_k", "layer_normalization", "moments", "multi_hot", "normalize",
    "one_hot", "polar", "psnr", "rms_normalization", "top_k",
]  # fmt: skip
__all__ += activations.__all__ + attention.__all__ + crossentropies.__all__
__all__ += ctc.__all__ + windows.__all__


# Encodings and order ------------------------------------------------------------------------------
def _refuse_sparse(name, sparse):
    if sparse:
        raise ValueError(f"{name}: sparse arrays are not supported; got sparse={sparse!r}")


@op
def one_hot(x, num_classes, axis=-1, dtype=None, sparse=False):
    """1 at the place that each integer of `x` names along a new axis, 0 elsewhere; all 0 if out of
    range.

    >>> from oneiros import ops
    >>> ops.one_hot([0, 2], 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    _refuse_sparse("one_hot", sparse)
    x = array(x)
    rank = len(x.shape) + 1
    if not -rank <= axis < rank:
        raise ValueError(f"one_hot: axis must be within the {rank} axes of the result; got {axis}")
    return to_dtype(hot(x, num_classes, axis % rank), standardize_dtype(dtype))


@op
def multi_hot(inputs, num_classes=None, axis=-1, dtype=None, sparse=False, **kwargs):
    """1 at every place that a sample's integers name, 0 elsewhere.

    >>> from oneiros import ops
    >>> ops.multi_hot([[0, 2], [1, 1]], 3).tolist()
    [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    num_classes = kwargs.pop("num_tokens", None) if num_classes is None else num_classes
    if num_classes is None:
        raise ValueError("multi_hot: num_classes must be given")
    hits = one_hot(inputs, num_classes, axis=axis, dtype="bool", sparse=sparse)
    return to_dtype(
        p.reduce_any(hits, axes=(1 if len(hits.shape) > 2 else 0,)), standardize_dtype(dtype)
    )


@op
def top_k(x, k, sorted=True):
    """The `k` largest values along the last axis and their indices, the largest first.

    >>> from oneiros import ops
    >>> values, indices = ops.top_k([1.0, 5.0, 3.0], 2)
    >>> values.tolist(), indices.tolist()
    ([5.0, 3.0], [1, 2])
    """
    x = array(x)
    if not x.shape or not 0 <= k <= x.shape[-1]:
        raise ValueError(
            f"top_k: k must be within the last axis of an array of shape {tuple(x.shape)}; got {k}"
        )
    return tuple(p.top_k(x, k=k))


@op
def in_top_k(targets, predictions, k):
    """Whether each target's prediction is among the `k` largest of its row; ties count as in.

    A target out of range, or one whose prediction is not finite, is not.

    >>> from oneiros import ops
    >>> ops.in_top_k([1, 2], [[0.1, 0.9, 0.5], [0.1, 0.9, 0.5]], 1).tolist()
    [True, False]
    """
    targets, predictions = array(targets), float_of(predictions)
    hit = hot(targets, predictions.shape[-1], len(targets.shape))
    own = over(p.reduce_sum, p.select(hit, predictions, 0.0), (len(targets.shape),))
    last = (len(targets.shape),)
    better = p.cast(p.greater(predictions, own), dtype="int32")
    inside = p.logical_and(
        p.reduce_any(hit, axes=last), p.isfinite(p.reshape(own, shape=tuple(targets.shape)))
    )
    return p.logical_and(inside, p.less(p.reduce_sum(better, axes=last), np.int32(k)))


# Normalizations -----------------------------------------------------------------------------------
@op
def moments(x, axes, keepdims=False, synchronized=False):
    """The mean and the variance of `x` over `axes`; of half precision in float32, held in its
    range.

    Args:
        x: Array.
        axes: An int, ints, or None for all.
        keepdims: Whether the axes stay, with length 1.
        synchronized: Whether the statistics are taken over all replicas. A compiled step of a
            distributed
            model does so by itself.

    >>> from oneiros import ops
    >>> mean, variance = ops.moments([[1.0, 2.0], [3.0, 6.0]], axes=[0])
    >>> mean.tolist(), variance.tolist()
    ([2.0, 4.0], [1.0, 4.0])
    """
    x = float_of(x)
    dtype, axes = dtype_of(x), within(x, axes, "moments", "axes")
    x = wide(x)
    scale = 1 / max(math.prod(x.shape[i] for i in axes), 1)
    mean = over(p.reduce_sum, x, axes) * scale
    centered = x - mean
    variance = over(p.reduce_sum, centered * centered, axes) * scale
    if not keepdims:
        shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
        mean, variance = (p.reshape(v, shape=shape) for v in (mean, variance))
    return _narrowed(mean, dtype), _narrowed(variance, dtype)


@moments.vjp
def _(g, y, x, axes, keepdims, synchronized):
    axes = within(x, axes, "moments", "axes")
    scale = 1 / max(math.prod(x.shape[i] for i in axes), 1)
    wanted = dtype_of(x)
    x = wide(x)
    dx = None
    if g[0] is not None:
        dx = spread(to_dtype(g[0], dtype_of(x)) * scale, x, axes)
    if g[1] is not None:
        mean = over(p.reduce_sum, x, axes) * scale
        slope = p.reshape(to_dtype(g[1], dtype_of(x)), shape=tuple(mean.shape)) * (2 * scale)
        dx = (x - mean) * slope if dx is None else (x - mean) * slope + dx
    return [to_dtype(dx, wanted), None, None, None]


def _narrowed(x, dtype):
    """`x` as `dtype`; what float16 cannot hold is moved to its limit."""
    if dtype == "float16":
        x = p.minimum(p.maximum(x, -65504.0), 65504.0)
    return to_dtype(x, dtype)


@op
def batch_normalization(x, mean, variance, axis, offset=None, scale=None, epsilon=1e-3):
    """`(x - mean) / sqrt(variance + epsilon) * scale + offset`, with vectors along `axis`.

    Raises:
        ValueError: if a vector's length is not that of `axis`.

    >>> from oneiros import ops
    >>> ops.batch_normalization([[1.0], [3.0]], [2.0], [1.0], axis=-1, epsilon=0.0).tolist()
    [[-1.0], [1.0]]
    """
    x = float_of(x)
    (at,) = within(x, axis, "batch_normalization")
    shape = tuple(n if i == at else 1 for i, n in enumerate(x.shape))

    def along(name, v):
        v = array(v)
        if math.prod(v.shape) != 1 and (len(v.shape) != 1 or not agree(v.shape[0], shape[at])):
            if tuple(v.shape) != shape:
                raise ValueError(
                    f"batch_normalization: {name} must be a vector of the length {shape[at]} of "
                    f"axis {axis} "
                    f"of an input of shape {tuple(x.shape)}; got shape {tuple(v.shape)}"
                )
        v = to_dtype(v, dtype_of(x))
        return p.reshape(v, shape=shape if math.prod(v.shape) == shape[at] else (1,) * len(shape))

    factor = p.rsqrt(along("variance", variance) + epsilon)
    if scale is not None:
        factor = factor * along("scale", scale)
    shift = -along("mean", mean) * factor
    if offset is not None:
        shift = shift + along("offset", offset)
    return x * factor + shift


@op
def batch_normalized(x, scale, offset, axis, epsilon):
    """`batch_normalization` by the mean and the variance of `x` itself, and these two beside it."""
    mean, variance = moments(x, [i for i in range(len(x.shape)) if i != axis])
    return batch_normalization(x, mean, variance, axis, offset, scale, epsilon), mean, variance


def _affine(name, weight, x, axes):
    """A scale or an offset over `axes`, shaped to multiply `x`."""
    weight = to_dtype(array(weight), dtype_of(x))
    shape = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
    if math.prod(weight.shape) == 1:
        return p.reshape(weight, shape=(1,) * len(shape))
    if tuple(weight.shape) != tuple(x.shape[i] for i in axes) and tuple(weight.shape) != shape:
        over_axes = tuple(x.shape[i] for i in axes)
        fits = len(weight.shape) == len(over_axes) and all(map(agree, weight.shape, over_axes))
        if not fits:
            raise ValueError(
                f"{name}: a weight must have the shape {over_axes} of the normalized axes {axes}; "
                "got "
                f"{tuple(weight.shape)}"
            )
    return p.reshape(weight, shape=shape)


@op
def layer_normalization(x, gamma=None, beta=None, axis=-1, epsilon=None, **kwargs):
    """`x` with mean 0 and variance 1 over `axis`, times `gamma`, plus `beta` (Ba et al., 2016).

    Args:
        x: Array.
        gamma: Scale over the normalized axes, or None.
        beta: Offset over the normalized axes, or None.
        axis: An int or ints.
        epsilon: Added to the variance; `config.epsilon()` if None.

    >>> from oneiros import ops
    >>> ops.layer_normalization([1.0, 3.0]).tolist()
    [-1.0, 1.0]
    """
    x = float_of(x)
    dtype, axes = dtype_of(x), within(x, axis, "layer_normalization")
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = wide(x)
    scale = 1 / max(math.prod(x.shape[i] for i in axes), 1)
    if kwargs.pop("rms_scaling", False):
        warnings.warn(
            "layer_normalization: rms_scaling=True is deprecated: it divides by the standard "
            "deviation, "
            "not by the root mean square; use rms_normalization",
            stacklevel=3,
        )
        mean = over(p.reduce_sum, x, axes) * scale
        variance = over(p.reduce_sum, (x - mean) * (x - mean), axes) * scale
        y = x * p.rsqrt(variance + epsilon)
        y = y if gamma is None else y * _affine("layer_normalization", gamma, x, axes)
        return to_dtype(y, dtype)
    # One pass: the sums of the distances to one of the elements, and of their squares. The result
    # does not
    # depend on which element it is, so no derivative flows through it.
    x = x - p.stop_gradient(_first(x, axes))
    mean = over(p.reduce_sum, x, axes) * scale
    variance = over(p.reduce_sum, x * x, axes) * scale - mean * mean
    y = (x - mean) * p.rsqrt(p.select(p.less(variance, 0.0), 0.0, variance) + epsilon)
    if gamma is not None:
        y = y * _affine("layer_normalization", gamma, x, axes)
    if beta is not None:
        y = y + _affine("layer_normalization", beta, x, axes)
    return to_dtype(y, dtype)


def _first(x, axes):
    """The first element along `axes`, which stay with length 1."""
    stop = tuple(min(1, n) if i in axes else n for i, n in enumerate(x.shape))
    return p.slice(x, start=(0,) * len(stop), stop=stop, strides=(1,) * len(stop))


@layer_normalization.vjp
def _(g, y, x, gamma, beta, axis, epsilon):
    axes = within(x, axis, "layer_normalization")
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    epsilon = config.epsilon() if epsilon is None else epsilon
    dtype = dtype_of(x)
    x, g = wide(x), wide(g)
    mean = lambda v: over(p.reduce_sum, v, axes) * (1 / math.prod(x.shape[i] for i in axes))
    centered = x - mean(x)
    factor = p.rsqrt(mean(centered * centered) + epsilon)
    unit = centered * factor
    weights = [
        None
        if w is None
        else to_dtype(p.reshape(p.reduce_sum(v, axes=rest), shape=tuple(w.shape)), dtype_of(w))
        for w, v in ((gamma, g * unit), (beta, g))
    ]
    if gamma is not None:
        g = g * _affine("layer_normalization", gamma, x, axes)
    return [to_dtype((g - mean(g) - unit * mean(g * unit)) * factor, dtype), *weights, None, None]


@op
def rms_normalization(x, scale=None, axis=-1, epsilon=None):
    """`x` divided by its root mean square over `axis`, times `scale` (Zhang and Sennrich, 2019).

    >>> from oneiros import ops
    >>> [round(v, 4) for v in ops.rms_normalization([3.0, 4.0]).tolist()]
    [0.8485, 1.1314]
    """
    x = float_of(x)
    dtype, axes = dtype_of(x), within(x, axis, "rms_normalization")
    epsilon = config.epsilon() if epsilon is None else epsilon
    x = wide(x)
    mean = over(p.reduce_sum, x * x, axes) * (1 / max(math.prod(x.shape[i] for i in axes), 1))
    y = x * p.rsqrt(mean + epsilon)
    if scale is not None:
        y = y * to_dtype(array(scale), dtype_of(x))
    return to_dtype(y, dtype)


@op
def normalize(x, axis=-1, order=2, epsilon=None):
    """`x` divided by its norm of the given order along `axis`; a zero vector stays zero.

    Raises:
        ValueError: if `order` is not an int of at least 1.

    >>> from oneiros import ops
    >>> [round(v, 4) for v in ops.normalize([3.0, 4.0]).tolist()]
    [0.6, 0.8]
    """
    if not isinstance(order, int) or order < 1:
        raise ValueError(f"normalize: order must be an int of at least 1; got {order!r}")
    x = float_of(x)
    dtype, x = dtype_of(x), wide(x)
    axes = within(x, axis, "normalize")
    epsilon = config.epsilon() if epsilon is None else epsilon
    if order == 2:
        total = over(p.reduce_sum, x * x, axes)
        # the square of a small epsilon may not be representable: compare roots
        least = np.asarray(
            max(epsilon * epsilon, float(_finfo(dtype_of(x)).tiny)), np_dtype(dtype_of(x))
        )
        return to_dtype(x * p.rsqrt(p.maximum(total, least)), dtype)
    size = p.abs(x)
    if order == 1:
        return to_dtype(x / p.maximum(over(p.reduce_sum, size, axes), epsilon), dtype)
    total = over(p.reduce_sum, size**order, axes)
    zero = p.equal(total, 0.0)
    norm = p.select(zero, 0.0, p.select(zero, 1.0, total) ** (1 / order))
    return to_dtype(x / p.maximum(norm, epsilon), dtype)


def _finfo(dtype):
    import ml_dtypes

    return ml_dtypes.finfo(np_dtype(dtype))


# Others -------------------------------------------------------------------------------------------
@op
def polar(abs_, angle):
    """The complex numbers with these absolute values and angles.

    >>> from oneiros import ops
    >>> ops.polar([2.0], [0.0]).tolist()
    [(2+0j)]
    """
    size, angle = promote(float_of(abs_), float_of(angle))
    if dtype_of(size) in ("float16", "bfloat16"):
        size, angle = wide(size), wide(angle)
    return p.complex(size * p.cos(angle), size * p.sin(angle))


@op
def psnr(x1, x2, max_val):
    """The peak signal-to-noise ratio in decibels, `20 log10(max_val) - 10 log10(mean squared
    error)`.

    Raises:
        ValueError: if the shapes differ.

    >>> from oneiros import ops
    >>> round(float(ops.psnr([0.0, 1.0], [0.0, 0.9], 1.0)), 2)
    23.01
    """
    x, y = promote(float_of(x1), float_of(x2))
    if len(x.shape) != len(y.shape) or not all(map(agree, x.shape, y.shape)):
        raise ValueError(
            f"psnr: x1 and x2 must have one shape; got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    error = p.reduce_sum((x - y) * (x - y), axes=tuple(range(len(x.shape)))) / max(
        math.prod(x.shape), 1
    )
    peak = to_dtype(array(max_val), dtype_of(x))
    return p.subtract(p.multiply(p.log10(peak), 20.0), p.multiply(p.log10(error), 10.0))
