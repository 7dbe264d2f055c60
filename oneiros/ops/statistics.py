"""Ops that describe data: quantiles, counts, correlation, sorted search, sets, segments.

What comes out of `unique`, `bincount` and segments is as long as the values say, so these need
known values where no length is given.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.backend import to_numpy
from oneiros.core.dtypes import is_complex, is_float, np_dtype, result_type
from oneiros.core.op import array, dtype_of, op, promote, to_dtype
from oneiros.core.symbol import Symbol
from oneiros.ops.common import wide, within
from oneiros.ops.creation import linspace
from oneiros.ops.elementwise import constant, floating
from oneiros.ops.indexing import indices_of, is_abstract
from oneiros.ops.shaping import ravel

__all__ = [
    "bincount", "corrcoef", "correlate", "digitize", "histogram", "isin", "median", "nanmedian",
    "nanpercentile", "nanquantile", "percentile", "quantile", "searchsorted", "segment_max",
    "segment_min", "segment_prod", "segment_sum", "unique",
]  # fmt: skip


# Quantiles ---------------------------------------------------------------------------------------
# Hyndman and Fan (1996): the place among n sorted values is q * (n + 1 - a - b) + a - 1.
_CONTINUOUS = {
    "linear": (1.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3, 1 / 3),
    "normal_unbiased": (3 / 8, 3 / 8),
    "interpolated_inverted_cdf": (0.0, 1.0),
}
_ROUNDED = ("lower", "higher", "nearest", "midpoint")
_STEPWISE = ("inverted_cdf", "averaged_inverted_cdf", "closest_observation")
_METHODS = (*_CONTINUOUS, *_ROUNDED, *_STEPWISE)


def _place(q, n, method):
    """The place of `q` among `n` sorted values: the one below, and the share of the next."""
    if method in _STEPWISE:
        at = p.subtract(p.multiply(q, n), 1.0)
        if method == "closest_observation":
            return p.subtract(p.round(p.multiply(q, n)), 1.0), p.multiply(at, 0.0)
        low = p.floor(at)
        between = p.cast(p.greater(at, low), dtype=dtype_of(at))
        return low, between if method == "inverted_cdf" else _half_if(p.equal(between, 0), between)
    a, b = _CONTINUOUS.get(method, (1.0, 1.0))
    at = p.add(p.multiply(q, p.add(n, 1 - a - b)), a - 1.0)
    low = p.floor(at)
    share = p.subtract(at, low)
    if method == "lower":
        share = p.multiply(share, 0.0)
    elif method == "higher":
        share = p.ceil(share)
    elif method == "midpoint":
        share = p.multiply(p.ceil(share), 0.5)
    elif method == "nearest":
        return p.round(at), p.multiply(share, 0.0)
    return low, share


def _half_if(condition, x):
    return p.select(condition, constant(0.5, x), x)


def _quantile(x, q, axis, method, keepdims, skip, name):
    """Quantiles over `axis`, of several `q` along new first axes; NaN counts unless `skip`."""
    if method not in _METHODS:
        raise ValueError(f"{name}: method must be one of {sorted(_METHODS)}; got {method!r}")
    x = array(x)
    dtype = floating(dtype_of(x))
    if is_complex(dtype):
        raise ValueError(f"{name}: expected real numbers; got dtype {dtype_of(x)}")
    x = wide(to_dtype(x, dtype))
    q = to_dtype(array(q), dtype_of(x))
    axes = within(x, axis, name)
    rest = tuple(i for i in range(len(x.shape)) if i not in axes)
    lead = tuple(x.shape[i] for i in rest)
    n = math.prod(x.shape[i] for i in axes)
    if n == 0:
        raise ValueError(f"{name}: there is nothing along axis {axis} of shape {tuple(x.shape)}")
    x = p.sort(p.reshape(p.transpose(x, order=(*rest, *axes)), shape=(*lead, n)), axis=len(lead))
    flat_q = ravel.body(q)
    if skip:
        count = p.reduce_sum(
            p.cast(p.logical_not(p.isnan(x)), dtype=dtype_of(x)), axes=(len(lead),)
        )
        count = p.reshape(count, shape=(*lead, 1))
        none = p.equal(count, 0)
        count = p.maximum(count, 1.0)
    else:
        none = p.isnan(_last(x, n))
        count = constant(n, x)
    low, share = _place(flat_q, count, method)
    low, high = (
        p.minimum(p.maximum(v, 0.0), p.subtract(count, 1.0)) for v in (low, p.add(low, 1.0))
    )
    low_x, high_x = (
        _at(x, p.cast(v, dtype="int32"), lead) for v in (low, high)
    )  # (*lead, quantile)
    made = p.add(low_x, p.multiply(p.subtract(high_x, low_x), share))
    made = p.select(p.logical_or(p.equal(low_x, high_x), p.equal(share, 0)), low_x, made)
    made = p.select(none, constant(math.nan, made), made)
    made = p.transpose(made, order=(len(lead), *range(len(lead))))
    shape = p.kept(_without_order(lead, rest, axes), axes) if keepdims else lead
    return to_dtype(p.reshape(made, shape=(*q.shape, *shape)), dtype)


def _without_order(lead, rest, axes):
    """The shape with the sizes `lead` at the axes `rest`, and 1 at `axes`."""
    known = dict(zip(rest, lead))
    return tuple(known.get(i, 1) for i in range(len(rest) + len(axes)))


def _last(x, n):
    rank = len(x.shape)
    start = (*(0 for _ in range(rank - 1)), n - 1)
    return p.slice(x, start=start, stop=tuple(x.shape), strides=(1,) * rank)


def _at(x, places, lead):
    """`x` (*lead, n) at `places` (quantile) or (*lead, quantile)."""
    if len(places.shape) == 1:
        return p.take(x, places, axis=len(lead))
    return p.gather_along(x, places, axis=len(lead))


@op
def quantile(x, q, axis=None, method="linear", keepdims=False):
    """The value below which the share `q` (0 to 1) of the values over `axis` lies.

    Args:
        method: How values between two elements are made: "linear", "lower", "higher", "midpoint",
            "nearest", or another of those that Hyndman and Fan (1996) list, by NumPy's names.

    >>> from oneiros import ops
    >>> print(ops.quantile([1.0, 2.0, 3.0, 4.0], 0.5))
    2.5
    """
    return _quantile(x, q, axis, method, keepdims, False, "quantile")


@op
def nanquantile(x, q, axis=None, method="linear", keepdims=False):
    """As `quantile`, of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanquantile([1.0, float("nan"), 3.0], 0.5))
    2.0
    """
    return _quantile(x, q, axis, method, keepdims, True, "nanquantile")


def _shares(q):
    return p.divide(to_dtype(array(q), floating(dtype_of(array(q)))), 100.0)


@op
def percentile(x, q, axis=None, method="linear", keepdims=False):
    """As `quantile`, with `q` from 0 to 100.

    >>> from oneiros import ops
    >>> print(ops.percentile([1.0, 2.0, 3.0], 50))
    2.0
    """
    return _quantile(x, _shares(q), axis, method, keepdims, False, "percentile")


@op
def nanpercentile(x, q, axis=None, method="linear", keepdims=False):
    """As `percentile`, of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanpercentile([1.0, float("nan"), 3.0], 50))
    2.0
    """
    return _quantile(x, _shares(q), axis, method, keepdims, True, "nanpercentile")


@op
def median(x, axis=None, keepdims=False):
    """The middle one of the values over `axis`, or the mean of the two in the middle.

    >>> from oneiros import ops
    >>> print(ops.median([3.0, 1.0, 2.0]))
    2.0
    """
    return _quantile(x, 0.5, axis, "linear", keepdims, False, "median")


@op
def nanmedian(x, axis=None, keepdims=False):
    """As `median`, of all but NaN.

    >>> from oneiros import ops
    >>> print(ops.nanmedian([3.0, float("nan"), 1.0]))
    2.0
    """
    return _quantile(x, 0.5, axis, "linear", keepdims, True, "nanmedian")


# Search in sorted values -------------------------------------------------------------------------
def _search(sorted_x, values, side):
    """How many of `sorted_x` lie before each value: bisection, all values at once."""
    n = sorted_x.shape[0]
    low = p.broadcast_to(np.int32(0), shape=tuple(values.shape))
    if n == 0:
        return low
    high = p.broadcast_to(np.int32(n), shape=tuple(values.shape))
    for _ in range(int(n).bit_length()):
        middle = p.shift_right(p.add(low, high), np.int32(1))
        pivot = p.take(sorted_x, middle, axis=0)
        before = _before(pivot, values) if side == "left" else p.logical_not(_before(values, pivot))
        open_ = p.less(low, high)
        low = p.select(p.logical_and(open_, before), p.add(middle, np.int32(1)), low)
        high = p.select(p.logical_and(open_, p.logical_not(before)), middle, high)
    return low


def _before(x, y):
    """Whether `x` comes before `y` in the order of `sort`, where NaN is last."""
    if not is_float(dtype_of(x)):
        return p.less(x, y)
    return p.logical_or(p.less(x, y), p.logical_and(p.isnan(y), p.logical_not(p.isnan(x))))


@op
def searchsorted(sorted_sequence, values, side="left"):
    """The places in the sorted vector where `values` belong.

    They are before equal elements ("left") or after them ("right").

    >>> from oneiros import ops
    >>> print(ops.searchsorted([1, 3, 5], [3, 4]))
    [1 2]
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side must be 'left' or 'right'; got {side!r}")
    x, values = promote(array(sorted_sequence), array(values))
    if len(x.shape) != 1:
        raise ValueError(
            "searchsorted: sorted_sequence must be a vector (ops.vectorized_map takes several); "
            "got shape "
            f"{tuple(x.shape)}"
        )
    return _search(x, values, side)


@op
def digitize(x, bins):
    """For each value the number of the bin it lies in; `bins` are their edges, rising or falling.

    >>> from oneiros import ops
    >>> print(ops.digitize([0.5, 1.0, 9.0], [1.0, 2.0]))
    [0 1 2]
    """
    x, bins = promote(array(x), array(bins))
    if len(bins.shape) != 1:
        raise ValueError(f"digitize: bins must be a vector; got shape {tuple(bins.shape)}")
    n = bins.shape[0]
    rising = _search(bins, x, "right")
    if n < 2:
        return rising
    falling = p.subtract(np.int32(n), _search(p.reverse(bins, axes=(0,)), x, "left"))
    ends = [p.take(bins, np.int32(i), axis=0) for i in (0, n - 1)]
    return p.select(p.less_equal(*ends), rising, falling)


@op
def isin(x1, x2, assume_unique=False, invert=False):
    """Whether each element of `x1` is among those of `x2` (not among them, if `invert`).

    >>> from oneiros import ops
    >>> print(ops.isin([1, 2, 3], [2, 5]))
    [False  True False]
    """
    x, values = promote(array(x1), array(x2))
    if dtype_of(x) == "bool":
        x, values = p.cast(x, dtype="int32"), p.cast(values, dtype="int32")
    values = p.sort(ravel.body(values), axis=0)
    if values.shape[0] == 0:
        return p.broadcast_to(np.asarray(bool(invert)), shape=tuple(x.shape))
    found = p.take(values, _search(values, x, "left"), axis=0)
    return (p.not_equal if invert else p.equal)(found, x)


# Counts ------------------------------------------------------------------------------------------
def _length(x, name, argument):
    """One more than the largest element of `x`, whose values must be known."""
    if isinstance(x, Symbol):
        raise ValueError(
            f"{name}: the length of the result is unknown while values are; give `{argument}`"
        )
    x = to_numpy(x)
    return int(x.max()) + 1 if x.size else 0


@op
def bincount(x, weights=None, minlength=0, sparse=False):
    """How often each integer from 0 occurs along the last axis of `x`, or the sum of its weights.

    >>> from oneiros import ops
    >>> print(ops.bincount([0, 2, 2]))
    [1 0 2]
    """
    if sparse:
        raise ValueError(f"bincount: sparse arrays are not supported; got sparse={sparse!r}")
    x = array(x)
    if is_float(dtype_of(x)) or is_complex(dtype_of(x)):
        raise TypeError(f"bincount: x must hold integers; got dtype {dtype_of(x)}")
    if len(x.shape) not in (1, 2):
        raise ValueError(f"bincount: x must have one or two axes; got shape {tuple(x.shape)}")
    x = to_dtype(x, "int32")
    if weights is None:
        weights = p.broadcast_to(np.int32(1), shape=tuple(x.shape))
    else:
        weights = array(weights)
        weights = to_dtype(weights, result_type(dtype_of(weights)))
        if tuple(weights.shape) != tuple(x.shape):
            raise ValueError(
                f"bincount: weights must have the shape of x, {tuple(x.shape)}; got "
                f"{tuple(weights.shape)}"
            )
    lead = tuple(x.shape[:-1])
    if isinstance(x, Symbol) and is_abstract():
        return Symbol((*(None for _ in lead), None), dtype_of(weights))
    length = max(_length(x, "bincount", "num_segments of ops.segment_sum"), minlength)
    zero = p.broadcast_to(constant(0, weights), shape=(*lead, length))
    places = p.reshape(x, shape=(*x.shape, 1))
    if lead:
        row = p.iota(shape=tuple(x.shape), axis=0, dtype="int32")
        places = p.concatenate(p.reshape(row, shape=(*x.shape, 1)), places, axis=2)
    return p.scatter(zero, places, weights, mode="add")


@op
def histogram(x, bins=10, range=None):
    """How many elements of `x` lie in each of `bins` equal parts of `range`, and the edges.

    `range` is (least, largest); by default those of `x`. The last part holds its upper edge too.

    >>> from oneiros import ops
    >>> counts, edges = ops.histogram([1.0, 2.0, 2.0, 3.0], bins=2)
    >>> print(counts, edges)
    [1 3] [1. 2. 3.]
    """
    if not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"histogram: bins must be a positive integer; got {bins!r}")
    if range is not None and (len(range) != 2 or range[1] < range[0]):
        raise ValueError(f"histogram: range must be (least, largest), in this order; got {range}")
    x = array(x)
    if len(x.shape) != 1:
        raise ValueError(f"histogram: x must be a vector; got shape {tuple(x.shape)}")
    x = wide(to_dtype(x, floating(dtype_of(x))))
    if range is not None:
        low, high = (constant(v, x) for v in range)
    elif x.shape[0] == 0:
        low, high = constant(0, x), constant(1, x)
    else:
        low, high = p.reduce_min(x, axes=(0,)), p.reduce_max(x, axes=(0,))
    same = p.equal(low, high)
    low, high = (p.select(same, p.add(v, by), v) for v, by in ((low, -0.5), (high, 0.5)))
    edges = linspace.body(low, high, int(bins) + 1)
    place = p.subtract(_search(edges, x, "right"), np.int32(1))
    place = p.select(p.equal(x, high), np.int32(bins - 1), place)
    place = p.select(p.less(place, np.int32(0)), np.int32(bins), place)  # dropped
    zero = p.broadcast_to(np.int32(0), shape=(int(bins),))
    ones = p.broadcast_to(np.int32(1), shape=tuple(x.shape))
    return p.scatter(zero, p.reshape(place, shape=(x.shape[0], 1)), ones, mode="add"), edges


# Sets --------------------------------------------------------------------------------------------
@op
def unique(
    x,
    sorted=True,
    return_index=False,
    return_inverse=False,
    return_counts=False,
    axis=None,
    size=None,
    fill_value=None,
):
    """The different elements of `x`, or slices along `axis`, in rising order.

    Args:
        x: Its values must be known, unless `size` is given.
        return_index: Whether to add the index of the first of each.
        return_inverse: Whether to add the places in the result that make up `x`.
        return_counts: Whether to add how often each occurs.
        size: The length of the result: it is cut, or filled with `fill_value` (0).

    >>> from oneiros import ops
    >>> print(ops.unique([3, 1, 1]))
    [1 3]
    """
    x = array(x)
    if dtype_of(x) in ("int64", "float64", "uint64"):
        x = to_dtype(x, result_type(dtype_of(x)))
    wanted = (True, return_index, return_inverse, return_counts)
    if isinstance(x, Symbol):
        if is_abstract():
            made = _unique_specs(x, axis, size)
        elif size is None or axis is not None:
            raise ValueError(
                "unique: the number of different values is unknown while a function is traced; "
                "give `size`, "
                "and no axis"
            )
        else:
            made = _unique_of_size(x, size, fill_value)
    else:
        made = _unique_values(to_numpy(x), axis, size, fill_value)
    made = [v for v, w in zip(made, wanted) if w]
    return made[0] if len(made) == 1 else tuple(made)


def _unique_values(x, axis, size, fill_value):
    values, index, inverse, counts = np.unique(x, True, True, True, axis=axis, equal_nan=False)
    inverse = inverse.reshape(x.shape if axis is None else (x.shape[axis],))
    if size is not None:
        at = 0 if axis is None else axis
        short = size - values.shape[at]
        if short > 0:
            widths = [(0, short if i == at % values.ndim else 0) for i in range(values.ndim)]
            values = np.pad(values, widths, constant_values=fill_value or 0)
            index = np.pad(index, (0, short), constant_values=index[0] if index.size else 0)
            counts = np.pad(counts, (0, short))
        values, index, counts = np.take(values, range(size), at), index[:size], counts[:size]
    return [
        array(values.astype(x.dtype)),
        *(array(v.astype("int32")) for v in (index, inverse, counts)),
    ]


def _unique_specs(x, axis, length):
    """What is known of the results while their number is not: for functional models only."""
    shape = (
        (length,)
        if axis is None
        else tuple(length if i == axis % len(x.shape) else n for i, n in enumerate(x.shape))
    )
    inverse = tuple(x.shape) if axis is None else (x.shape[axis],)
    return [
        Symbol(shape, x.dtype),
        Symbol((length,), "int32"),
        Symbol(inverse, "int32"),
        Symbol((length,), "int32"),
    ]


def _unique_of_size(x, size, fill_value):
    """`unique` by sorting: each element's number is how many larger ones came before it."""
    flat = ravel.body(x)
    n = flat.shape[0]
    order = p.argsort(flat, axis=0)
    values = p.take(flat, order, axis=0)
    behind = p.slice(values, start=(0,), stop=(max(n - 1, 0),), strides=(1,))
    ahead = p.slice(values, start=(min(1, n),), stop=(n,), strides=(1,))
    new = p.pad(
        p.cast(p.not_equal(ahead, behind), dtype="int32"), widths=((min(1, n), 0, 0),), value=0
    )
    number = p.cumsum(new, axis=0, reverse=False)
    column = p.reshape(number, shape=(n, 1))

    def placed(start, updates, mode):
        return p.scatter(p.broadcast_to(start, shape=(size,)), column, updates, mode=mode)

    ones = p.broadcast_to(np.int32(1), shape=(n,))
    counts = placed(np.int32(0), ones, "add")
    index = placed(np.int32(n), order, "min")
    index = p.select(p.equal(counts, 0), p.take(order, np.int32(0), axis=0), index)
    inverse = p.scatter(
        p.broadcast_to(np.int32(0), shape=(n,)), p.reshape(order, shape=(n, 1)), number, mode="set"
    )
    return [
        placed(constant(fill_value or 0, x), values, "set"),
        index,
        p.reshape(inverse, shape=tuple(x.shape)),
        counts,
    ]


# Correlation -------------------------------------------------------------------------------------
@op
def corrcoef(x):
    """The correlation of each row of `x` with each other, within -1 and 1.

    >>> from oneiros import ops
    >>> print(ops.round(ops.corrcoef([[1.0, 2.0], [2.0, 1.0]])))
    [[ 1. -1.]
     [-1.  1.]]
    """
    x = array(x)
    dtype = floating(dtype_of(x))
    if len(x.shape) > 2:
        raise ValueError(f"corrcoef: x must have at most two axes; got shape {tuple(x.shape)}")
    x = wide(to_dtype(x, dtype))
    vector = len(x.shape) < 2 or x.shape[0] == 1
    x = p.reshape(x, shape=(1, math.prod(x.shape))) if len(x.shape) < 2 else x
    n = x.shape[1]
    off = p.subtract(
        x,
        p.divide(
            p.reshape(p.reduce_sum(x, axes=(1,)), shape=(x.shape[0], 1)), float(n) or math.nan
        ),
    )
    other = p.conj(off) if is_complex(dtype) else off
    products = p.dot_general(off, other, contract=((1,), (1,)), batch=((), ()))
    lengths = p.abs(p.reduce_sum(p.multiply(off, other), axes=(1,)))
    roots = p.sqrt(lengths)
    made = p.divide(products, to_dtype(p.reshape(roots, shape=(x.shape[0], 1)), dtype_of(x)))
    made = p.divide(made, to_dtype(p.reshape(roots, shape=(1, x.shape[0])), dtype_of(x)))
    if not is_complex(dtype):
        made = p.minimum(p.maximum(made, -1.0), 1.0)
    return to_dtype(p.reshape(made, shape=()) if vector else made, dtype)


@op
def correlate(x1, x2, mode="valid"):
    """The sums of products of the vector `x1` with `x2` laid along it at each place.

    `mode` says where: "valid" where both overlap wholly, "same" as often as the longer has
    elements, "full" wherever they overlap.

    >>> from oneiros import ops
    >>> print(ops.correlate([1, 2, 3], [0, 1]))
    [2. 3.]
    """
    if mode not in ("valid", "same", "full"):
        raise ValueError(f"correlate: mode must be 'valid', 'same' or 'full'; got {mode!r}")
    x, y = promote(array(x1), array(x2), rule=floating)
    for v in (x, y):
        if len(v.shape) != 1 or v.shape[0] == 0:
            raise ValueError(
                "correlate: expected two vectors that are not empty; got shapes "
                f"{tuple(x.shape)} and "
                f"{tuple(y.shape)}"
            )
    if is_complex(dtype_of(x)):
        y = p.conj(y)
    turned = y.shape[0] > x.shape[0]
    if turned:
        x, y = y, x
    n, m = x.shape[0], y.shape[0]
    before = {"valid": 0, "same": m // 2, "full": m - 1}[mode]
    if turned and mode == "same":
        before = m - 1 - m // 2
    after = {"valid": 0, "same": m - 1 - before, "full": m - 1}[mode]
    zero = constant(0, x)
    x = p.pad(
        x,
        widths=((before, after, 0),),
        value=float(zero) if dtype_of(x) == "bfloat16" else zero.item(),
    )
    count = n + before + after - m + 1
    places = np.arange(count, dtype="int32")[:, None] + np.arange(m, dtype="int32")
    made = p.dot_general(p.take(x, places, axis=0), y, contract=((1,), (0,)), batch=((), ()))
    return p.reverse(made, axes=(0,)) if turned else made


# Segments ----------------------------------------------------------------------------------------
def _segments(name, data, segment_ids, num_segments, start, mode):
    x, ids = array(data), indices_of(segment_ids, name, "segment_ids")
    if dtype_of(x) == "bool" and mode in ("max", "min"):
        made = _segments(name, p.cast(x, dtype="uint8"), ids, num_segments, start, mode)
        return p.cast(made, dtype="bool")
    if len(ids.shape) != 1:
        raise ValueError(f"{name}: segment_ids must be a vector; got shape {tuple(ids.shape)}")
    if num_segments is None:
        if isinstance(ids, Symbol) and is_abstract():
            return Symbol((None, *x.shape[1:]), dtype_of(x))
        count = _length(ids, name, "num_segments")
    else:
        count = operator.index(num_segments)
    limits = (
        np.iinfo(np_dtype(dtype_of(x)))
        if not is_float(dtype_of(x)) and mode in ("max", "min")
        else None
    )
    if limits is not None:
        start = limits.min if mode == "max" else limits.max
    ids = p.select(p.less(ids, 0), constant(count, ids), ids)  # out of range: dropped
    base = p.broadcast_to(constant(start, x), shape=(count, *x.shape[1:]))
    return p.scatter(base, p.reshape(ids, shape=(ids.shape[0], 1)), x, mode=mode)


@op
def segment_sum(data, segment_ids, num_segments=None, sorted=False):
    """The sums of the slices of `data` that have one number in `segment_ids`, a vector; 0 for none.

    >>> from oneiros import ops
    >>> print(ops.segment_sum([1, 2, 3], [0, 0, 2]))
    [3 0 3]
    """
    return _segments("segment_sum", data, segment_ids, num_segments, 0, "add")


@op
def segment_prod(data, segment_ids, num_segments=None, sorted=False):
    """The products of the slices of `data` that have one number in `segment_ids`; 1 for none.

    >>> from oneiros import ops
    >>> print(ops.segment_prod([1, 2, 3], [0, 0, 2]))
    [2 1 3]
    """
    return _segments("segment_prod", data, segment_ids, num_segments, 1, "mul")


@op
def segment_max(data, segment_ids, num_segments=None, sorted=False):
    """The largest of the slices of `data` that have one number in `segment_ids`.

    For a number without slices it is the dtype's least.

    >>> from oneiros import ops
    >>> print(ops.segment_max([1, 2, 3], [0, 0, 1]))
    [2 3]
    """
    return _segments("segment_max", data, segment_ids, num_segments, -math.inf, "max")


@op
def segment_min(data, segment_ids, num_segments=None, sorted=False):
    """The smallest of the slices of `data` that have one number in `segment_ids`.

    For a number without slices it is the dtype's largest.

    >>> from oneiros import ops
    >>> print(ops.segment_min([1, 2, 3], [0, 0, 1]))
    [1 3]
    """
    return _segments("segment_min", data, segment_ids, num_segments, math.inf, "min")
