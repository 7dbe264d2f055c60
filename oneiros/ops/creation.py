"""Ops that make arrays: filled ones, ranges, grids, windows."""

from __future__ import annotations

import math
import operator

import numpy as np

from oneiros.core import backend, config
from oneiros.core import primitives as p
from oneiros.core.dtypes import is_float, np_dtype, result_type, standardize_dtype
from oneiros.core.graph import STACK
from oneiros.core.op import array as _array
from oneiros.core.op import dtype_of, op, promote, to_dtype, unwrap
from oneiros.core.spec import broadcast_shapes
from oneiros.core.symbol import Symbol
from oneiros.ops.elementwise import constant
from oneiros.ops.shaping import place, sizes

__all__ = [
    "arange", "array", "bartlett", "blackman", "empty", "empty_like", "eye", "full", "full_like",
    "geomspace", "hamming", "hanning", "identity", "kaiser", "linspace", "logspace", "meshgrid",
    "ones", "ones_like", "tri", "vander", "zeros", "zeros_like",
]  # fmt: skip


def _here(x):
    """A host array as one of the session's backend; in a trace it stays a constant."""
    return x if STACK.top is not None else backend.to_array(x)


def array(x, dtype=None):
    """`x` (array, list, number, variable) as an array of the session's backend.

    >>> from oneiros import ops
    >>> print(ops.array([1, 2]))
    [1 2]
    """
    from oneiros.ops.control import convert_to_tensor

    return convert_to_tensor(x, dtype)


# Filled ------------------------------------------------------------------------------------------
def _filled(value, shape, dtype):
    return _own(p.broadcast_to(np.asarray(value, np_dtype(dtype)), shape=shape))


def _own(x):
    """`x`; a copy where NumPy made a view of one element that nobody may write to."""
    return x.copy() if type(x) is np.ndarray and STACK.top is None else x


@op
def zeros(shape, dtype=None):
    """Zeros of `shape`, floats if `dtype` is None.

    >>> from oneiros import ops
    >>> print(ops.zeros((2,)))
    [0. 0.]
    """
    return _filled(0, sizes(shape), standardize_dtype(dtype))


@op
def ones(shape, dtype=None):
    """Ones of `shape`, floats if `dtype` is None.

    >>> from oneiros import ops
    >>> print(ops.ones((2,)))
    [1. 1.]
    """
    return _filled(1, sizes(shape), standardize_dtype(dtype))


@op
def empty(shape, dtype=None):
    """An array of `shape` whose values mean nothing; they are zero here.

    >>> from oneiros import ops
    >>> ops.empty((2, 3)).shape
    (2, 3)
    """
    return _filled(0, sizes(shape), standardize_dtype(dtype))


@op
def full(shape, fill_value, dtype=None):
    """`fill_value` in every place of `shape`, floats if `dtype` is None.

    >>> from oneiros import ops
    >>> print(ops.full((2,), 7.0))
    [7. 7.]
    """
    value = to_dtype(_array(fill_value), standardize_dtype(dtype))
    return _own(p.broadcast_to(value, shape=sizes(shape)))


def _like(x, dtype):
    x = _array(x)
    return tuple(x.shape), dtype_of(x) if dtype is None else standardize_dtype(dtype)


@op
def zeros_like(x, dtype=None):
    """Zeros with the shape and, if `dtype` is None, the dtype of `x`.

    >>> from oneiros import ops
    >>> print(ops.zeros_like([1, 2]))
    [0 0]
    """
    return _filled(0, *_like(x, dtype))


@op
def ones_like(x, dtype=None):
    """Ones with the shape and, if `dtype` is None, the dtype of `x`.

    >>> from oneiros import ops
    >>> print(ops.ones_like([1, 2]))
    [1 1]
    """
    return _filled(1, *_like(x, dtype))


@op
def empty_like(x, dtype=None):
    """An array like `x` whose values mean nothing; they are zero here.

    >>> from oneiros import ops
    >>> ops.empty_like([1, 2]).shape
    (2,)
    """
    return _filled(0, *_like(x, dtype))


@op
def full_like(x, fill_value, dtype=None):
    """`fill_value` everywhere, with the shape and, if `dtype` is None, the dtype of `x`.

    >>> from oneiros import ops
    >>> print(ops.full_like([1, 2], 7))
    [7 7]
    """
    shape, dtype = _like(x, dtype)
    return _own(p.broadcast_to(to_dtype(_array(fill_value), dtype), shape=shape))


# Matrices ----------------------------------------------------------------------------------------
def _compared(compare, N, M, k, dtype):
    """The matrix of what `compare` says of each (column, row + k)."""
    n, m = operator.index(N), operator.index(N if M is None else M)
    row, column = (p.iota(shape=(n, m), axis=i, dtype="int32") for i in (0, 1))
    return p.cast(compare(column, p.add(row, operator.index(k))), dtype=standardize_dtype(dtype))


@op
def eye(N, M=None, k=0, dtype=None):
    """The `N` by `M` (None: `N`) matrix with ones on its `k`-th diagonal.

    >>> from oneiros import ops
    >>> print(ops.eye(2))
    [[1. 0.]
     [0. 1.]]
    """
    return _compared(p.equal, N, M, k, dtype)


@op
def identity(n, dtype=None):
    """The `n` by `n` matrix with ones on its diagonal.

    >>> from oneiros import ops
    >>> print(ops.identity(2))
    [[1. 0.]
     [0. 1.]]
    """
    return _compared(p.equal, n, None, 0, dtype)


@op
def tri(N, M=None, k=0, dtype=None):
    """The `N` by `M` (None: `N`) matrix with ones on its `k`-th diagonal and below.

    >>> from oneiros import ops
    >>> print(ops.tri(2))
    [[1. 0.]
     [1. 1.]]
    """
    return _compared(p.less_equal, N, M, k, dtype)


@op
def vander(x, N=None, increasing=False):
    """The matrix whose columns are the powers of the vector `x`, highest first unless `increasing`.

    >>> from oneiros import ops
    >>> print(ops.vander([2, 3], 3))
    [[4 2 1]
     [9 3 1]]
    """
    x = _array(x)
    if len(x.shape) != 1:
        raise ValueError(f"vander: x must be a vector; got shape {tuple(x.shape)}")
    dtype = result_type(dtype_of(x))
    x = to_dtype(x, "int32" if dtype == "bool" else dtype)
    count = x.shape[0] if N is None else operator.index(N)
    powers = np.arange(count)[:: 1 if increasing else -1].astype(np_dtype(dtype_of(x)))
    return to_dtype(p.power(p.reshape(x, shape=(x.shape[0], 1)), powers), dtype)


# Ranges ------------------------------------------------------------------------------------------
@op
def arange(start, stop=None, step=None, dtype=None):
    """The numbers from `start` up to `stop`, without it, `step` (1) apart.

    One number alone is `stop`.

    >>> from oneiros import ops
    >>> print(ops.arange(3))
    [0 1 2]
    """
    given = [
        v.item() if isinstance(v, np.generic) else unwrap(v)
        for v in (start, stop, step)
        if v is not None
    ]
    for v in given:
        if isinstance(v, Symbol):
            raise ValueError(f"arange: the length must be known; got the symbol {v!r}")
    if dtype is None:
        dtype = result_type(*[v.dtype if hasattr(v, "dtype") else type(v) for v in given])
    else:
        dtype = standardize_dtype(dtype)
    start, stop = (0, start) if stop is None else (start, stop)
    step = 1 if step is None else step
    numbers = [
        v if isinstance(v, (int, float)) else backend.to_numpy(v).item()
        for v in map(unwrap, (start, stop, step))
    ]
    if numbers[2] == 0:
        raise ValueError("arange: step must not be zero")
    values = np.arange(*numbers, dtype=None if is_float(dtype) else np_dtype(dtype))
    return _here(values.astype(np_dtype(dtype), copy=False))


@op
def linspace(start, stop, num=50, endpoint=True, retstep=False, dtype=None, axis=0):
    """`num` numbers evenly from `start` to `stop`, along a new `axis`.

    Without `endpoint`, `stop` is left out. With `retstep`, also the step between them.

    >>> from oneiros import ops
    >>> print(ops.linspace(0.0, 1.0, 5))
    [0.   0.25 0.5  0.75 1.  ]
    """
    num = operator.index(num)
    if num < 0:
        raise ValueError(f"linspace: num must not be negative; got {num}")
    run, dtype = _range_dtype(start, stop, dtype)
    start, stop = (to_dtype(_array(v), run) for v in (start, stop))
    shape = broadcast_shapes(tuple(start.shape), tuple(stop.shape))
    start, stop = (
        p.reshape(p.broadcast_to(v, shape=shape), shape=(1, *shape)) for v in (start, stop)
    )
    gaps = num - 1 if endpoint else num
    where = (
        (np.arange(num) / max(gaps, 1)).astype(np_dtype(run)).reshape((num, *(1 for _ in shape)))
    )
    width = p.subtract(stop, start)
    made = p.add(start, p.multiply(width, where))
    if endpoint and num > 1:  # the last one is `stop` itself
        last = np.zeros((num, *(1 for _ in shape)), bool)
        last[-1] = True
        made = p.select(last, stop, made)
    made = _to_axis(made, axis, "linspace")
    if not is_float(dtype) and is_float(run):
        made = p.floor(made)
    made = to_dtype(made, dtype)
    if not retstep:
        return made
    step = p.divide(width, float(gaps) if gaps else math.nan)
    return made, to_dtype(p.reshape(step, shape=shape), dtype if is_float(dtype) else run)


def _kind(x):
    """The dtype of `x`; the type of a plain number."""
    return dtype_of(_array(x) if isinstance(x, (list, tuple)) else x)


def _range_dtype(start, stop, dtype):
    """The floating dtype to compute a range in, and that of the result."""
    own = [_kind(unwrap(v)) for v in (start, stop)]
    dtype = result_type(*own, float) if dtype is None else standardize_dtype(dtype)
    run = dtype if is_float(dtype) or dtype.startswith("complex") else config.floatx()
    return ("float32" if run in ("float16", "bfloat16") else run), dtype


def _to_axis(x, axis, name):
    rank = len(x.shape)
    axis = place(axis, rank, name)
    order = (*range(1, axis + 1), 0, *range(axis + 1, rank))
    return x if axis == 0 else p.transpose(x, order=order)


@op
def logspace(start, stop, num=50, endpoint=True, base=10, dtype=None, axis=0):
    """`base` to the power of the numbers that `linspace` gives.

    >>> from oneiros import ops
    >>> print(ops.logspace(0.0, 2.0, 3))
    [  1.  10. 100.]
    """
    run, dtype = _range_dtype(start, stop, dtype)
    exponents = linspace.body(start, stop, num, endpoint, False, run, axis)
    return to_dtype(p.power(*promote(to_dtype(_array(base), run), exponents)), dtype)


@op
def geomspace(start, stop, num=50, endpoint=True, dtype=None, axis=0):
    """`num` numbers from `start` to `stop`, each the one before times the same factor.

    >>> from oneiros import ops
    >>> print(ops.round(ops.geomspace(1.0, 8.0, 4)))
    [1. 2. 4. 8.]
    """
    run, dtype = _range_dtype(start, stop, dtype)
    if all(type(v) in (int, float) for v in (start, stop)):  # exact powers, in 64 bits
        return _array(np.geomspace(start, stop, num, endpoint).astype(np_dtype(dtype)))
    start, stop = (to_dtype(_array(v), run) for v in (start, stop))
    sign = p.sign(start)
    ends = [p.log2(p.multiply(v, sign)) for v in (start, stop)]
    exponents = linspace.body(*ends, num, endpoint, False, run, 0)
    made = p.multiply(sign, p.power(constant(2, exponents), exponents))
    return to_dtype(_to_axis(made, axis, "geomspace"), dtype)


@op
def meshgrid(*x, indexing="xy"):
    """A list of arrays that hold the coordinates of the vectors `x` over their grid.

    With "xy" the first two axes are swapped, as in plots; with "ij" they are in order.

    >>> from oneiros import ops
    >>> ops.meshgrid([1, 2], [3, 4, 5])[0].shape
    (3, 2)
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing must be 'xy' or 'ij'; got {indexing!r}")
    xs = [_array(v) for v in x]
    for v in xs:
        if len(v.shape) > 1:
            raise ValueError(f"meshgrid: expected vectors; got shape {tuple(v.shape)}")
    xs = [p.reshape(v, shape=(1,)) if not len(v.shape) else v for v in xs]
    places = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        places[:2] = 1, 0
    shape = [0] * len(xs)
    for v, i in zip(xs, places):
        shape[i] = v.shape[0]
    return [
        p.broadcast_to(
            p.reshape(v, shape=tuple(v.shape[0] if i == j else 1 for j in range(len(xs)))),
            shape=tuple(shape),
        )
        for v, i in zip(xs, places)
    ]


# Windows -----------------------------------------------------------------------------------------
def _window(x, values):
    """The window of length `x` that `values(places from -1 to 1)` gives."""
    n = operator.index(backend.to_numpy(unwrap(x)).item()) if not isinstance(x, int) else x
    if n < 1:
        return _here(np.zeros((0,), np_dtype(config.floatx())))
    places = np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1)
    return _here(values(places).astype(np_dtype(config.floatx())))


@op
def bartlett(x):
    """The triangular window of length `x`, zero at its ends.

    >>> from oneiros import ops
    >>> print(ops.bartlett(5))
    [0.  0.5 1.  0.5 0. ]
    """
    return _window(x, lambda t: 1 - np.abs(t))


@op
def blackman(x):
    """The Blackman window of length `x`.

    >>> from oneiros import ops
    >>> ops.blackman(5).shape
    (5,)
    """
    return _window(x, lambda t: 0.42 + 0.5 * np.cos(np.pi * t) + 0.08 * np.cos(2 * np.pi * t))


@op
def hamming(x):
    """The Hamming window of length `x`.

    >>> from oneiros import ops
    >>> ops.hamming(5).shape
    (5,)
    """
    return _window(x, lambda t: 0.54 + 0.46 * np.cos(np.pi * t))


@op
def hanning(x):
    """The Hann window of length `x`.

    >>> from oneiros import ops
    >>> ops.hanning(5).shape
    (5,)
    """
    return _window(x, lambda t: 0.5 + 0.5 * np.cos(np.pi * t))


@op
def kaiser(x, beta):
    """The Kaiser window of length `x`; a larger `beta` makes it narrower.

    >>> from oneiros import ops
    >>> ops.kaiser(5, 14.0).shape
    (5,)
    """
    beta = float(beta)
    return _window(x, lambda t: np.i0(beta * np.sqrt(np.maximum(1 - t * t, 0))) / np.i0(beta))
