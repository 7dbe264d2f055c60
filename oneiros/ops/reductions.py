"""Ops that sum up along axes, run along one, or put elements in order."""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.dtypes import is_complex, is_float, np_dtype, result_type, standardize_dtype
from oneiros.core.op import array, dtype_of, op, promote, to_dtype
from oneiros.core.spec import Unknown
from oneiros.ops.common import wide, within
from oneiros.ops.elementwise import constant, floating, number
from oneiros.ops.shaping import part, place, ravel

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "argpartition", "argsort", "average",
    "count_nonzero", "cumprod", "cumsum", "diff", "max", "mean", "min", "nanargmax", "nanargmin",
    "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum",
    "nanvar", "prod", "ptp", "sort", "std", "sum", "trace", "trapezoid", "var",
]  # fmt: skip

_SUMS = {"bool": "int32", "int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}
_any, _max, _min = any, max, min


def _reduced(primitive, x, axis, keepdims, name):
    """`x` reduced over `axis`, whose axes stay with length 1 if `keepdims`."""
    axes = within(x, axis, name)
    y = primitive(x, axes=axes)
    return p.reshape(y, shape=p.kept(x.shape, axes)) if keepdims else y


def _count(x, axes):
    return math.prod(x.shape[i] for i in axes)


@op
def sum(x, axis=None, keepdims=False):
    """The sum over `axis` (an int, ints, or None for all).

    Narrow integers and bools add up in 32 bits.

    >>> from oneiros import ops
    >>> print(ops.sum([[1, 2], [3, 4]], axis=0))
    [4 6]
    """
    x = array(x)
    dtype = dtype_of(x)
    return _reduced(p.reduce_sum, to_dtype(x, _SUMS.get(dtype, dtype)), axis, keepdims, "sum")


@op
def prod(x, axis=None, keepdims=False, dtype=None):
    """The product over `axis`, in `dtype`.

    If that is None, narrow integers and bools multiply in 32 bits.

    >>> from oneiros import ops
    >>> print(ops.prod([[1, 2], [3, 4]], axis=0))
    [3 8]
    """
    x = array(x)
    own = dtype_of(x)
    dtype = standardize_dtype(dtype) if dtype is not None else _SUMS.get(own, result_type(own))
    return _reduced(p.reduce_prod, to_dtype(x, dtype), axis, keepdims, "prod")


@op
def mean(x, axis=None, keepdims=False):
    """The mean over `axis`, a float.

    >>> from oneiros import ops
    >>> print(ops.mean([[1, 2], [3, 4]], axis=0))
    [2. 3.]
    """
    x = array(x)
    dtype = floating(dtype_of(x))
    return to_dtype(_mean(wide(to_dtype(x, dtype)), axis, keepdims, "mean"), dtype)


def _mean(x, axis, keepdims, name):
    axes = within(x, axis, name)
    count = _count(x, axes)
    if isinstance(count, Unknown):
        count = count.number
        count = count if type(count) is float else to_dtype(count, dtype_of(x))
    else:
        count = float(count) or math.nan
    return p.divide(_reduced(p.reduce_sum, x, axes, keepdims, name), count)


@op
def var(x, axis=None, keepdims=False):
    """The mean squared distance from the mean over `axis`.

    >>> from oneiros import ops
    >>> print(ops.var([1.0, 3.0]))
    1.0
    """
    x = array(x)
    dtype = floating(dtype_of(x))
    return to_dtype(_var(wide(to_dtype(x, dtype)), axis, keepdims, "var"), dtype)


def _var(x, axis, keepdims, name):
    off = p.subtract(x, _mean(x, axis, True, name))
    if is_complex(dtype_of(x)):
        off = p.abs(off)
    return _mean(p.multiply(off, off), axis, keepdims, name)


@op
def std(x, axis=None, keepdims=False):
    """The standard deviation over `axis`: the root of `var`.

    >>> from oneiros import ops
    >>> print(ops.std([1.0, 3.0]))
    1.0
    """
    x = array(x)
    dtype = floating(dtype_of(x))
    y = p.sqrt(_var(wide(to_dtype(x, dtype)), axis, keepdims, "std"))
    return y if is_complex(dtype) else to_dtype(y, dtype)


def _not_empty(x, axis, name):
    """`x`, if there is something along `axis`."""
    if 0 in x.shape and 0 in (x.shape[i] for i in within(x, axis, name)):
        raise ValueError(f"{name}: there is nothing along axis {axis} of shape {tuple(x.shape)}")
    return x


def _extreme(primitive, join, x, axis, keepdims, initial, name):
    x = array(x)
    if initial is None:
        return _reduced(primitive, _not_empty(x, axis, name), axis, keepdims, name)
    initial = to_dtype(array(initial), dtype_of(x))
    axes = within(x, axis, name)
    if 0 in (x.shape[i] for i in axes):
        shape = (
            p.kept(x.shape, axes)
            if keepdims
            else tuple(n for i, n in enumerate(x.shape) if i not in axes)
        )
        return p.broadcast_to(initial, shape=shape)
    return join(_reduced(primitive, x, axes, keepdims, name), initial)


@op
def max(x, axis=None, keepdims=False, initial=None):
    """The largest over `axis`, at least `initial`; NaN if there is one.

    >>> from oneiros import ops
    >>> print(ops.max([[1, 4], [3, 2]], axis=0))
    [3 4]
    """
    return _extreme(p.reduce_max, p.maximum, x, axis, keepdims, initial, "max")


@op
def min(x, axis=None, keepdims=False, initial=None):
    """The smallest over `axis`, at most `initial`; NaN if there is one.

    >>> from oneiros import ops
    >>> print(ops.min([[1, 4], [3, 2]], axis=0))
    [1 2]
    """
    return _extreme(p.reduce_min, p.minimum, x, axis, keepdims, initial, "min")


@op
def amax(x, axis=None, keepdims=False):
    """The largest over `axis`.

    >>> from oneiros import ops
    >>> print(ops.amax([[1, 4], [3, 2]], axis=0))
    [3 4]
    """
    return _extreme(p.reduce_max, p.maximum, x, axis, keepdims, None, "amax")


@op
def amin(x, axis=None, keepdims=False):
    """The smallest over `axis`.

    >>> from oneiros import ops
    >>> print(ops.amin([[1, 4], [3, 2]], axis=0))
    [1 2]
    """
    return _extreme(p.reduce_min, p.minimum, x, axis, keepdims, None, "amin")


@op
def ptp(x, axis=None, keepdims=False):
    """The largest less the smallest over `axis`.

    >>> from oneiros import ops
    >>> print(ops.ptp([1, 4, 2]))
    3
    """
    x = _not_empty(array(x), axis, "ptp")
    return p.subtract(
        _reduced(p.reduce_max, x, axis, keepdims, "ptp"),
        _reduced(p.reduce_min, x, axis, keepdims, "ptp"),
    )


@op
def any(x, axis=None, keepdims=False):
    """Whether any over `axis` is true (not zero).

    >>> from oneiros import ops
    >>> print(ops.any([[True, False], [False, False]], axis=0))
    [ True False]
    """
    return _reduced(p.reduce_any, to_dtype(array(x), "bool"), axis, keepdims, "any")


@op
def all(x, axis=None, keepdims=False):
    """Whether all over `axis` are true (not zero).

    >>> from oneiros import ops
    >>> print(ops.all([[True, False], [True, True]], axis=0))
    [ True False]
    """
    return _reduced(p.reduce_all, to_dtype(array(x), "bool"), axis, keepdims, "all")


@op
def count_nonzero(x, axis=None):
    """How many over `axis` are not zero.

    >>> from oneiros import ops
    >>> print(ops.count_nonzero([1, 0, 2]))
    2
    """
    x = p.cast(to_dtype(array(x), "bool"), dtype="int32")
    return _reduced(p.reduce_sum, x, axis, False, "count_nonzero")


@op
def average(x, axis=None, weights=None):
    """The mean over `axis` in which each element counts by its weight.

    `weights` have the shape of `x`, or are a vector along `axis`.

    >>> from oneiros import ops
    >>> print(ops.average([1.0, 5.0], weights=[3, 1]))
    2.0
    """
    if weights is None:
        return mean.body(x, axis)
    x, weights = promote(array(x), array(weights), rule=floating)
    if tuple(weights.shape) != tuple(x.shape):
        if axis is None or isinstance(axis, (tuple, list)) or len(weights.shape) != 1:
            raise ValueError(
                f"average: weights of shape {tuple(weights.shape)} fit x of shape "
                f"{tuple(x.shape)} only as a "
                f"vector along one axis; got axis={axis}"
            )
        i = place(axis, len(x.shape), "average")
        weights = p.reshape(
            weights, shape=tuple(weights.shape[0] if i == j else 1 for j in range(len(x.shape)))
        )
    total = _reduced(p.reduce_sum, p.multiply(x, weights), axis, False, "average")
    return p.divide(total, _reduced(p.reduce_sum, weights, axis, False, "average"))


# Places ------------------------------------------------------------------------------------------
def _place_of(primitive, x, axis, keepdims, name):
    x = array(x)
    if dtype_of(x) == "bool":
        x = p.cast(x, dtype="int32")
    rank = len(x.shape)
    if axis is None:
        y = primitive(ravel.body(x), axis=0)
        return p.reshape(y, shape=(1,) * rank) if keepdims else y
    axis = place(axis, rank, name)
    y = primitive(x, axis=axis)
    return p.reshape(y, shape=p.kept(x.shape, (axis,))) if keepdims else y


@op
def argmax(x, axis=None, keepdims=False):
    """The index of the first largest along `axis`; None counts over all elements.

    >>> from oneiros import ops
    >>> print(ops.argmax([1, 5, 2]))
    1
    """
    return _place_of(p.argmax, x, axis, keepdims, "argmax")


@op
def argmin(x, axis=None, keepdims=False):
    """The index of the first smallest along `axis`; None counts over all elements.

    >>> from oneiros import ops
    >>> print(ops.argmin([3, 1, 2]))
    1
    """
    return _place_of(p.argmin, x, axis, keepdims, "argmin")


# Running along an axis ---------------------------------------------------------------------------
def _running(primitive, x, axis, dtype, name):
    x = array(x)
    dtype = number(dtype_of(x)) if dtype is None else standardize_dtype(dtype)
    x = to_dtype(x, "int32" if dtype == "bool" else dtype)
    if axis is None:
        x, axis = ravel.body(x), 0
    return primitive(x, axis=place(axis, len(x.shape), name), reverse=False)


@op
def cumsum(x, axis=None, dtype=None):
    """The running sum along `axis`; None runs over all elements.

    >>> from oneiros import ops
    >>> print(ops.cumsum([1, 2, 3]))
    [1 3 6]
    """
    return _running(p.cumsum, x, axis, dtype, "cumsum")


@op
def cumprod(x, axis=None, dtype=None):
    """The running product along `axis`; None runs over all elements.

    >>> from oneiros import ops
    >>> print(ops.cumprod([1, 2, 3]))
    [1 2 6]
    """
    return _running(p.cumprod, x, axis, dtype, "cumprod")


@op
def diff(a, n=1, axis=-1):
    """The differences between neighbours along `axis`, `n` times over.

    >>> from oneiros import ops
    >>> print(ops.diff([1, 4, 9]))
    [3 5]
    """
    x = array(a)
    axis = place(axis, len(x.shape), "diff")
    if n < 0:
        raise ValueError(f"diff: n must not be negative; got {n}")
    subtract = p.not_equal if dtype_of(x) == "bool" else p.subtract
    for _ in range(n):
        length = x.shape[axis]
        x = subtract(part(x, axis, _min(1, length), length), part(x, axis, 0, _max(length - 1, 0)))
    return x


@op
def trapezoid(y, x=None, dx=1.0, axis=-1):
    """The integral of `y` along `axis` by the trapezoidal rule.

    Its values lie at the places `x`, or `dx` apart.

    >>> from oneiros import ops
    >>> print(ops.trapezoid([1.0, 2.0, 3.0]))
    4.0
    """
    y = array(y)
    if x is not None:
        y, x = promote(y, array(x), rule=floating)
    y = to_dtype(y, floating(dtype_of(y)))
    axis = place(axis, len(y.shape), "trapezoid")
    n = y.shape[axis]
    pairs = p.add(part(y, axis, _min(1, n), n), part(y, axis, 0, _max(n - 1, 0)))
    if x is None:
        return p.multiply(p.reduce_sum(pairs, axes=(axis,)), float(dx) / 2)
    if len(x.shape) == 1:
        gaps = diff.body(x)
        gaps = p.reshape(
            gaps, shape=tuple(gaps.shape[0] if i == axis else 1 for i in range(len(y.shape)))
        )
    else:
        gaps = diff.body(x, 1, axis)
    return p.multiply(p.reduce_sum(p.multiply(pairs, gaps), axes=(axis,)), 0.5)


@op
def trace(x, offset=0, axis1=0, axis2=1):
    """The sum of the `offset`-th diagonal of two axes.

    >>> from oneiros import ops
    >>> print(ops.trace([[1, 2], [3, 4]]))
    5
    """
    from oneiros.ops.indexing import diagonal

    x = diagonal.body(x, offset, axis1, axis2)
    dtype = dtype_of(x)
    return p.reduce_sum(to_dtype(x, _SUMS.get(dtype, result_type(dtype))), axes=(len(x.shape) - 1,))


# Order -------------------------------------------------------------------------------------------
def _ordered(primitive, x, axis, name):
    x = array(x)
    if axis is None:
        x, axis = ravel.body(x), 0
    return primitive(x, axis=place(axis, len(x.shape), name)) if len(x.shape) else x


@op
def sort(x, axis=-1):
    """`x` in rising order along `axis` (None: all elements); NaN comes last.

    >>> from oneiros import ops
    >>> print(ops.sort([3, 1, 2]))
    [1 2 3]
    """
    return _ordered(p.sort, x, axis, "sort")


@op
def argsort(x, axis=-1):
    """The indices that sort `x` along `axis` (None: all elements); equal ones keep their order.

    >>> from oneiros import ops
    >>> print(ops.argsort([3, 1, 2]))
    [1 2 0]
    """
    x = array(x)
    return (
        _ordered(p.argsort, x, axis, "argsort")
        if len(x.shape)
        else p.argsort(p.reshape(x, shape=(1,)), axis=0)
    )


@op
def argpartition(x, kth, axis=-1):
    """Indices that put the `kth` smallest along `axis` in its place, smaller ones before it.

    They are those of `argsort`, which put every element in its place.

    >>> from oneiros import ops
    >>> print(ops.argpartition([3, 1, 2], 1)[1])
    2
    """
    x = array(x)
    if axis is not None and len(x.shape):
        n = x.shape[place(axis, len(x.shape), "argpartition")]
        if not -n <= kth < n:
            raise ValueError(f"argpartition: kth must be within {n} elements; got {kth}")
    return argsort.body(x, axis)


# Without NaN -------------------------------------------------------------------------------------
def _but_nan(x, value):
    """`x` with `value` in place of NaN."""
    x = array(x)
    return p.select(p.isnan(x), constant(value, x), x) if _has_nan(x) else x


def _has_nan(x):
    return is_float(dtype_of(x)) or is_complex(dtype_of(x))


@op
def nansum(x, axis=None, keepdims=False):
    """The sum over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nansum([1.0, float("nan"), 2.0]))
    3.0
    """
    return sum.body(_but_nan(x, 0), axis, keepdims)


@op
def nanprod(x, axis=None, keepdims=False):
    """The product over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanprod([2.0, float("nan"), 3.0]))
    6.0
    """
    return prod.body(_but_nan(x, 1), axis, keepdims)


def _present(x, axis, keepdims):
    """How many over `axis` are not NaN, in the dtype of `x`."""
    here = p.cast(p.logical_not(p.isnan(x)), dtype=np_dtype(dtype_of(p.abs(x))).name)
    return to_dtype(_reduced(p.reduce_sum, here, axis, keepdims, "nanmean"), dtype_of(x))


def _nanmean(x, axis, keepdims):
    total = _reduced(p.reduce_sum, _but_nan(x, 0), axis, keepdims, "nanmean")
    return p.divide(total, _present(x, axis, keepdims))


def _nanvar(x, axis, keepdims):
    off = p.abs(p.subtract(x, _nanmean(x, axis, True)))
    squares = p.select(p.isnan(x), constant(0, off), p.multiply(off, off))
    total = _reduced(p.reduce_sum, squares, axis, keepdims, "nanvar")
    return p.divide(total, to_dtype(_present(x, axis, keepdims), dtype_of(total)))


def _floats(x):
    """`x` as floats of 32 bits at least, and the dtype of what is made of them."""
    x = array(x)
    dtype = floating(dtype_of(x))
    return wide(to_dtype(x, dtype)), dtype


@op
def nanmean(x, axis=None, keepdims=False):
    """The mean over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanmean([1.0, float("nan"), 3.0]))
    2.0
    """
    x, dtype = _floats(x)
    return to_dtype(_nanmean(x, axis, keepdims), dtype)


@op
def nanvar(x, axis=None, keepdims=False):
    """The variance over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanvar([1.0, float("nan"), 3.0]))
    1.0
    """
    x, dtype = _floats(x)
    y = _nanvar(x, axis, keepdims)
    return y if is_complex(dtype) else to_dtype(y, dtype)


@op
def nanstd(x, axis=None, keepdims=False):
    """The standard deviation over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanstd([1.0, float("nan"), 3.0]))
    1.0
    """
    x, dtype = _floats(x)
    y = p.sqrt(_nanvar(x, axis, keepdims))
    return y if is_complex(dtype) else to_dtype(y, dtype)


def _nan_extreme(primitive, x, axis, keepdims, limit, name):
    x = _not_empty(array(x), axis, name)
    if not is_float(dtype_of(x)):
        return _reduced(primitive, x, axis, keepdims, name)
    gone = p.isnan(x)
    y = _reduced(primitive, p.select(gone, constant(limit, x), x), axis, keepdims, name)
    none = _reduced(p.reduce_all, gone, axis, keepdims, name)
    return p.select(none, constant(math.nan, x), y)


@op
def nanmax(x, axis=None, keepdims=False):
    """The largest over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanmax([1.0, float("nan"), 3.0]))
    3.0
    """
    return _nan_extreme(p.reduce_max, x, axis, keepdims, -math.inf, "nanmax")


@op
def nanmin(x, axis=None, keepdims=False):
    """The smallest over `axis` of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanmin([1.0, float("nan"), 3.0]))
    1.0
    """
    return _nan_extreme(p.reduce_min, x, axis, keepdims, math.inf, "nanmin")


def _nan_place(primitive, x, axis, keepdims, limit, name):
    x = array(x)
    if not is_float(dtype_of(x)):
        return _place_of(primitive, x, axis, keepdims, name)
    gone = p.isnan(x)
    y = _place_of(primitive, p.select(gone, constant(limit, x), x), axis, keepdims, name)
    return p.select(_reduced(p.reduce_all, gone, axis, keepdims, name), np.int32(-1), y)


@op
def nanargmax(x, axis=None, keepdims=False):
    """The index of the first largest along `axis` of all but NaN; -1 where all are.

    >>> from oneiros import ops
    >>> print(ops.nanargmax([1.0, float("nan"), 3.0]))
    2
    """
    return _nan_place(p.argmax, x, axis, keepdims, -math.inf, "nanargmax")


@op
def nanargmin(x, axis=None, keepdims=False):
    """The index of the first smallest along `axis` of all but NaN; -1 where all are.

    >>> from oneiros import ops
    >>> print(ops.nanargmin([float("nan"), 3.0, 1.0]))
    2
    """
    return _nan_place(p.argmin, x, axis, keepdims, math.inf, "nanargmin")


@op
def nancumsum(x, axis=None, dtype=None):
    """The running sum along `axis`, to which NaN adds nothing.

    >>> from oneiros import ops
    >>> print(ops.nancumsum([1.0, float("nan"), 3.0]))
    [1. 1. 4.]
    """
    return _running(p.cumsum, _but_nan(x, 0), axis, dtype, "nancumsum")


@op
def nancumprod(x, axis=None, dtype=None):
    """The running product along `axis`, which NaN leaves as it is.

    >>> from oneiros import ops
    >>> print(ops.nancumprod([2.0, float("nan"), 3.0]))
    [2. 2. 6.]
    """
    return _running(p.cumprod, _but_nan(x, 1), axis, dtype, "nancumprod")
