"""NumPy: the reference. What these kernels compute is what a primitive means.

Floats narrower than 32 bits are added up, multiplied out and sorted in float32. NumPy's warnings
about floating-point numbers are silenced by running kernels in a copy of a `contextvars.Context`
in which `np.seterr(all="ignore")` was called once: that is four times as cheap as `np.errstate`,
needs no global state, and a compiled step pays it once.
"""

from __future__ import annotations

import contextvars
import functools
import math

import numpy as np

from oneiros.backends import numpy_windows
from oneiros.backends.numpy_composites import FASTER
from oneiros.backends.numpy_plan import plan
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype, result_type
from oneiros.core.graph import Graph

__all__ = ["BACKEND", "KERNELS"]

_QUIET = contextvars.Context()
_QUIET.run(np.seterr, all="ignore")


def quiet(kernel):
    """`kernel`, without NumPy's floating-point warnings."""
    copy = _QUIET.copy

    def run(*args, **params):
        return copy().run(kernel, *args, **params)

    return functools.update_wrapper(run, kernel, ("__name__", "__doc__"), ())


def quiet_ufunc(f):
    """As `quiet(f)`, or `quiet(binary(f))`, sooner there: it copies the context only if it must."""
    run, copy = _QUIET.run, _QUIET.copy

    def unary(x):
        try:
            return run(f, x)
        except RuntimeError:  # one thread at a time may be in a context
            return copy().run(f, x)

    def binary(x, y):
        if type(x) is float or type(y) is float:
            x, y = fit(x, y)
        try:
            return run(f, x, y)
        except RuntimeError:
            return copy().run(f, x, y)

    return unary if f.nin == 1 else binary


class NumPy(backend.Backend):
    """Arrays are `np.ndarray`; training is by the traced step alone."""

    def owns(self, kind):
        return issubclass(kind, (np.ndarray, np.generic))

    def to_array(self, x, dtype=None):
        if dtype is None and type(x) in (bool, int, float, complex):
            dtype = result_type(type(x))
        if not isinstance(x, (np.ndarray, np.generic)):
            x = backend.to_numpy(x)
        return np.asarray(x, None if dtype is None else np_dtype(dtype))

    def to_numpy(self, x):
        return np.asarray(x)

    def variable(self, value, variable):
        return np.array(value)  # a variable's memory is its own: a donating step writes into it

    def assign(self, storage, value):
        return np.array(value)

    def compile(self, graph, donate=()):
        return quiet(plan(graph, self.raw, UFUNCS, donate))

    def kept(self, kind):
        return {}  # in a step each primitive has its memory laid out

    def copy(self, x):
        return np.array(x, order="C")

    def raw(self, target):
        """The kernel that does not silence warnings: for use inside of what does."""
        kernel = KERNELS.get(target) or self.faster.get(target.name)
        return self.kernel(target) if kernel is None else kernel


# Elementwise ---------------------------------------------
_NUMBERS = (bool, int, float, complex)


def is_low(x):
    """Whether `x` holds floats of less than 32 bits."""
    return numpy_windows.is_low(x.dtype)


def fit(x, y):
    """The operands, a plain number as a scalar of a narrow float beside it, which NumPy would widen."""
    if type(x) in _NUMBERS:
        return (y.dtype.type(x), y) if type(y) not in _NUMBERS and is_low(y) else (x, y)
    return (x, x.dtype.type(y)) if type(y) in _NUMBERS and is_low(x) else (x, y)


def binary(f):
    def kernel(x, y):
        return f(*fit(x, y)) if type(x) is float or type(y) is float else f(x, y)

    return kernel


def wide(f):
    """`f` computed in float32 for narrower floats; its parameters are passed on."""

    def kernel(x, **params):
        return f(x.astype(np.float32), **params).astype(x.dtype) if is_low(x) else f(x, **params)

    return kernel


def special_ufunc(name):
    """A ufunc of `scipy.special`, which is imported when it is first needed."""
    import scipy.special

    return getattr(scipy.special, name)


def special(name):
    return wide(lambda x: special_ufunc(name)(x))


def sigmoid(x):
    return np.reciprocal(np.exp(-x) + 1)


def polygamma1(x):
    import scipy.special

    return scipy.special.polygamma(1, x).astype(x.dtype)


def inexact(f):
    """`f` for floats; integers are what they are."""
    return lambda x: x if x.dtype.kind in "iub" else f(x)


def cast(x, *, dtype):
    dtype = np_dtype(dtype)
    if dtype.kind == "b":
        return np.not_equal(x, 0)
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    return np.asarray(x).astype(dtype, copy=False)


def bitcast(x, *, dtype):
    dtype = np_dtype(dtype)
    x = np.ascontiguousarray(x).reshape(x.shape)
    if x.dtype.itemsize == dtype.itemsize:
        return x.view(dtype)
    if x.dtype.itemsize > dtype.itemsize:
        return x[..., None].view(dtype)
    return x.view(dtype)[..., 0]


def select(condition, x, y):
    x, y = fit(x, y) if type(x) is float or type(y) is float else (x, y)
    return np.where(condition, x, y)


def complex_of(real, imag):
    dtype = next(x.dtype for x in (real, imag) if hasattr(x, "dtype"))
    shape = np.broadcast_shapes(np.shape(real), np.shape(imag))
    z = np.empty(shape, np.result_type(dtype, np.complex64))
    z.real, z.imag = real, imag
    return z


def copied(x):
    return x


_NUMPY = (
    p.negative, p.isfinite, p.isnan, p.isinf, p.exp, p.expm1, p.log, p.log1p, p.log2, p.log10,
    p.sqrt, p.cbrt, p.sin,
    p.cos, p.tan, p.sinh, p.cosh, p.tanh, p.arcsin, p.arccos, p.arctan, p.arcsinh, p.arccosh,
    p.arctanh, p.sign,
    p.logical_not, p.logical_and, p.logical_or, p.logical_xor, p.bitwise_and, p.bitwise_or,
    p.bitwise_xor,
)  # fmt: skip
_WITH_NUMBERS = (
    p.add, p.subtract, p.multiply, p.divide, p.remainder, p.floor_divide, p.power, p.maximum,
    p.minimum, p.arctan2,
    p.nextafter, p.equal, p.not_equal, p.less, p.less_equal, p.greater, p.greater_equal,
)  # fmt: skip
_RENAMED = {
    p.bitwise_not: np.invert,
    p.shift_left: np.left_shift,
    p.shift_right: np.right_shift,
    p.abs: np.absolute,
    p.conj: np.conjugate,
}
_ROUNDING = {p.floor: np.floor, p.ceil: np.ceil, p.round: np.rint, p.trunc: np.trunc}
_SPECIAL = {
    p.erf: "erf",
    p.erfc: "erfc",
    p.erfinv: "erfinv",
    p.lgamma: "gammaln",
    p.digamma: "digamma",
    p.i0e: "i0e",
    p.i1e: "i1e",
}

UFUNCS = {q: getattr(np, q.name) for q in _NUMPY + _WITH_NUMBERS} | _RENAMED | _ROUNDING
UFUNCS |= {q: functools.partial(special_ufunc, name) for q, name in _SPECIAL.items()}
UFUNCS |= {  # sequences: each with `out`, the first from the operand
    p.rsqrt: (np.sqrt, np.reciprocal),
    p.sigmoid: (np.negative, np.exp, (np.add, 1), np.reciprocal),
}

KERNELS = {q: getattr(np, q.name) for q in _NUMPY} | _RENAMED
KERNELS |= {q: binary(getattr(np, q.name)) for q in _WITH_NUMBERS}
KERNELS |= {q: inexact(f) for q, f in _ROUNDING.items()}
KERNELS |= {q: special(name) for q, name in _SPECIAL.items()}
KERNELS |= {
    p.cast: cast,
    p.bitcast: bitcast,
    p.stop_gradient: copied,
    p.select: select,
    p.rsqrt: lambda x: np.reciprocal(np.sqrt(x)),
    p.sigmoid: wide(sigmoid),
    p.polygamma1: wide(polygamma1),
    p.real: np.real,
    p.imag: np.imag,
    p.complex: complex_of,
}


# Reductions and order ---------------------------------------------
def reduced(ufunc):
    """A reduction by `ufunc` in the operand's own dtype."""
    return wide(lambda x, *, axes: np.asarray(ufunc.reduce(x, axis=axes, dtype=x.dtype)))


def lowest(dtype):
    return -np.inf if dtype.kind in "fV" else False if dtype.kind == "b" else np.iinfo(dtype).min


def highest(dtype):
    return np.inf if dtype.kind in "fV" else True if dtype.kind == "b" else np.iinfo(dtype).max


def extreme(ufunc, bound):
    """The reduction by np.maximum or np.minimum; of nothing it is the dtype's bound."""

    def f(x, *, axes):
        initial = {} if x.size else {"initial": bound(x.dtype)}
        return np.asarray(ufunc.reduce(x, axis=axes, **initial))

    return wide(f)


def arg(f):
    def kernel(x, *, axis):
        x = x.astype(np.float32) if is_low(x) else x
        return np.asarray(f(x, axis=axis)).astype(np.int32)

    return kernel


def running(ufunc):
    """The running value of `ufunc` along an axis, from either end."""

    def f(x, *, axis, reverse):
        if reverse:
            return np.flip(ufunc.accumulate(np.flip(x, axis), axis=axis, dtype=x.dtype), axis)
        return ufunc.accumulate(x, axis=axis, dtype=x.dtype)

    return wide(f)


def argsort(x, *, axis):
    x = x.astype(np.float32) if is_low(x) else x
    return np.argsort(x, axis=axis, kind="stable").astype(np.int32)


def top_k(x, *, k):
    n = x.shape[-1]
    if 4 * k < n and x.size > 4096 and not is_low(x):
        places = np.argpartition(x, n - k - 1)[..., n - k - 1 :]
        values = np.take_along_axis(x, places, -1)
        order = np.argsort(values)[..., ::-1]
        values = np.take_along_axis(values, order, -1)
        if (values[..., :-1] > values[..., 1:]).all():  # without equals, no place is in question
            places = np.take_along_axis(places, order, -1)
            return values[..., :k], places[..., :k].astype(np.int32)
    order = (
        n - 1 - argsort(x[..., ::-1], axis=x.ndim - 1)[..., ::-1][..., :k]
    )  # of equals the first
    return np.take_along_axis(x, order, -1), order.astype(np.int32)


KERNELS |= {
    p.reduce_sum: reduced(np.add),
    p.reduce_prod: reduced(np.multiply),
    p.reduce_max: extreme(np.maximum, lowest),
    p.reduce_min: extreme(np.minimum, highest),
    p.reduce_any: lambda x, *, axes: np.asarray(np.logical_or.reduce(x, axis=axes)),
    p.reduce_all: lambda x, *, axes: np.asarray(np.logical_and.reduce(x, axis=axes)),
    p.argmax: arg(np.argmax),
    p.argmin: arg(np.argmin),
    p.cumsum: running(np.add),
    p.cumprod: running(np.multiply),
    p.cummax: running(np.maximum),
    p.cummin: running(np.minimum),
    p.sort: wide(lambda x, *, axis: np.sort(x, axis=axis)),
    p.argsort: argsort,
    p.top_k: top_k,
}


# Shapes and places ---------------------------------------------
def broadcast_to(x, *, shape):
    if np.size(x) == 1 and shape:  # an array of its own, which its user may write to
        x = np.asarray(x)
        value = x.reshape(())[()]
        return np.full(shape, value, x.dtype) if value != 0 else np.zeros(shape, x.dtype)
    return np.broadcast_to(x, shape)


def iota(*, shape, axis, dtype):
    ramp = np.arange(shape[axis]).astype(np_dtype(dtype))
    out = np.empty(shape, ramp.dtype)
    out[...] = ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return out


def slice_(x, *, start, stop, strides):
    return np.asarray(x[tuple(map(slice, start, stop, strides))])


def pad(x, *, widths, value):
    return numpy_windows.framed(x, widths, value)


def corner(starts, sizes, shape):
    """The slices of a block of `sizes` that begins at `starts`, moved inside of `shape`."""
    at = [min(max(int(a), 0), n - m) for a, m, n in zip(starts, sizes, shape)]
    return tuple(slice(a, a + m) for a, m in zip(at, sizes))


def dynamic_slice(x, *starts, sizes):
    return x[corner(starts, sizes, x.shape)]


def dynamic_update_slice(x, update, *starts):
    x = np.array(x)
    x[corner(starts, update.shape, x.shape)] = update
    return x


def gather_nd(x, indices):
    places = [np.clip(indices[..., i], 0, x.shape[i] - 1) for i in range(indices.shape[-1])]
    if not places:
        return np.broadcast_to(x, (*indices.shape[:-1], *x.shape))
    return np.asarray(x[tuple(places)])


def gather_along(x, indices, *, axis):
    return np.take_along_axis(x, np.clip(indices, 0, x.shape[axis] - 1), axis)


def scatter(x, indices, updates, *, mode):
    k = indices.shape[-1]
    places = indices.reshape(math.prod(indices.shape[:-1]), k).astype(np.int64)
    inside = ((places >= 0) & (places < np.array(x.shape[:k], np.int64))).all(axis=1)
    rest = math.prod(x.shape[k:])
    updates = np.broadcast_to(updates, (*indices.shape[:-1], *x.shape[k:])).reshape(
        len(places), rest
    )
    if not inside.all():
        places, updates = places[inside], updates[inside]
    row = np.zeros(len(places), np.int64)
    for i in range(k):
        row = row * x.shape[i] + places[:, i]
    return place(x.reshape(math.prod(x.shape[:k]), rest), row, updates, mode).reshape(x.shape)


def scatter_along(x, indices, updates, *, axis, mode):
    row = np.zeros(indices.shape, np.int64)
    for i, n in enumerate(x.shape):
        ramp = np.arange(indices.shape[i]).reshape([-1 if i == j else 1 for j in range(x.ndim)])
        row = row * n + (indices if i == axis else ramp)
    inside = (indices >= 0) & (indices < x.shape[axis])
    row, updates = row[inside], np.broadcast_to(updates, indices.shape)[inside]
    return place(x.reshape(-1, 1), row, updates[:, None], mode).reshape(x.shape)


AT = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def place(x, row, updates, mode):
    """The matrix `x` with the rows `updates` put at `row`, in order, by `mode`."""
    if mode == "set":
        x = np.array(x)
        x[row] = updates  # NumPy: of repeated places the last wins
        return x
    if mode not in AT:
        raise ValueError(f"scatter: mode must be set, add, mul, max or min; got {mode!r}")
    dtype = x.dtype
    x, updates = (v.astype(np.float32) if is_low(v) else v for v in (x, updates))
    flat = np.array(x).reshape(-1)
    if x.shape[1] != 1:  # single elements: ufunc.at on rows is twenty times slower
        row = (row[:, None] * x.shape[1] + np.arange(x.shape[1])).reshape(-1)
    AT[mode].at(flat, row, updates.reshape(-1))
    return flat.reshape(x.shape).astype(dtype, copy=False)


KERNELS |= {
    p.reshape: lambda x, *, shape: x.reshape(shape),
    p.transpose: lambda x, *, order: x.transpose(order),
    p.broadcast_to: broadcast_to,
    p.iota: iota,
    p.slice: slice_,
    p.pad: pad,
    p.reverse: lambda x, *, axes: np.flip(x, axes),
    p.concatenate: lambda *xs, axis: np.concatenate(xs, axis),
    p.dynamic_slice: dynamic_slice,
    p.dynamic_update_slice: dynamic_update_slice,
    p.take: lambda x, indices, *, axis: np.asarray(np.take(x, indices, axis, mode="clip")),
    p.gather_nd: gather_nd,
    p.gather_along: gather_along,
    p.scatter: scatter,
    p.scatter_along: scatter_along,
}


# Sums of products ---------------------------------------------
def dot_general(x, y, *, contract, batch):
    """A matrix product of transposed and flattened operands: (batch, free of x, free of y)."""
    if is_low(x):
        z = dot_general(x.astype(np.float32), y.astype(np.float32), contract=contract, batch=batch)
        return z.astype(x.dtype)
    if contract == ((1,), (0,)) and x.ndim == y.ndim == 2:
        return np.matmul(x, y)
    (cx, cy), (bx, by) = contract, batch
    free_x = [i for i in range(x.ndim) if i not in cx and i not in bx]
    free_y = [i for i in range(y.ndim) if i not in cy and i not in by]
    lead = [x.shape[i] for i in bx]
    m, n, inner = (
        math.prod(v.shape[i] for i in axes) for v, axes in ((x, free_x), (y, free_y), (x, cx))
    )
    a = x.transpose(*bx, *free_x, *cx).reshape(*lead, m, inner)
    b = y.transpose(*by, *cy, *free_y).reshape(*lead, inner, n)
    shape = [*lead, *[x.shape[i] for i in free_x], *[y.shape[i] for i in free_y]]
    return np.matmul(a, b).reshape(shape)


KERNELS[p.dot_general] = dot_general
KERNELS |= {
    getattr(p, name): getattr(numpy_windows, name)
    for name in numpy_windows.__all__
    if hasattr(p, name)
}


# Factorizations ---------------------------------------------
def arrays(made):
    return tuple(map(np.asarray, made))


def svd(x, *, full_matrices, compute_uv):
    made = np.linalg.svd(x, full_matrices, compute_uv)
    return tuple(made) if compute_uv else made


def eig(x):
    dtype = np.result_type(x.dtype, np.complex64)
    return tuple(v.astype(dtype, copy=False) for v in np.linalg.eig(x))


def lu(x):
    import scipy.linalg

    *lead, m, n = x.shape
    packed, swaps = np.empty(x.shape, x.dtype), np.empty((*lead, min(m, n)), np.int32)
    permutation = np.empty((*lead, m), np.int32)
    for at in np.ndindex(*lead):
        packed[at], swaps[at] = scipy.linalg.lu_factor(x[at], check_finite=False)
        order = np.arange(m)
        for i, j in enumerate(swaps[at]):
            order[[i, j]] = order[[j, i]]
        permutation[at] = order
    return packed, swaps, permutation


def triangular_solve(a, b, *, lower, adjoint):
    a = np.tril(a) if lower else np.triu(a)
    return np.linalg.solve(np.conj(np.swapaxes(a, -1, -2)) if adjoint else a, b)


def fft(x, *, inverse):
    return (np.fft.ifft if inverse else np.fft.fft)(x).astype(x.dtype, copy=False)


KERNELS |= {
    p.cholesky: np.linalg.cholesky,
    p.qr: lambda x, *, mode: tuple(np.linalg.qr(x, mode)),
    p.svd: svd,
    p.eigh: lambda x: tuple(np.linalg.eigh(x)),
    p.eig: eig,
    p.lu: lu,
    p.solve: np.linalg.solve,
    p.triangular_solve: triangular_solve,
    p.inverse: np.linalg.inv,
    p.det: lambda x: np.asarray(np.linalg.det(x)),
    p.slogdet: lambda x: arrays(np.linalg.slogdet(x)),
    p.fft: fft,
    p.rfft: lambda x: np.fft.rfft(x),
    p.irfft: lambda x, *, n: np.fft.irfft(x, n),
}


# Noise ---------------------------------------------
def philox(seed):
    """The generator of a seed (two uint32): Philox, keyed by it."""
    return np.random.Philox(key=np.asarray(seed).astype(np.uint64))


def random_bits(seed, *, shape):
    n = math.prod(shape)
    return philox(seed).random_raw((n + 1) // 2).view(np.uint32)[:n].reshape(shape)


def random_uniform(seed, *, shape, dtype):
    dtype = np_dtype(dtype)
    own = np.float64 if dtype == np.float64 else np.float32
    u = np.random.Generator(philox(seed)).random(shape, own)
    if dtype == own:
        return u
    import ml_dtypes

    steps = 2.0 ** (ml_dtypes.finfo(dtype).nmant + 1)  # a float below 1 must not round up to it
    return (np.floor(u * steps) / steps).astype(dtype)


def random_normal(seed, *, shape, dtype):
    dtype = np_dtype(dtype)
    own = np.float64 if dtype == np.float64 else np.float32
    return np.random.Generator(philox(seed)).standard_normal(shape, own).astype(dtype, copy=False)


KERNELS |= {
    p.random_bits: random_bits,
    p.random_uniform: random_uniform,
    p.random_normal: random_normal,
}


# Control flow ---------------------------------------------
def runnable(graph):
    """A sub-graph as a function: compiled once, and kept with the graph."""
    if not isinstance(graph, Graph):
        return graph
    made = graph.__dict__.get("_numpy")
    if made is None:
        made = graph._numpy = plan(graph, BACKEND.raw, UFUNCS)
    return made


def cond(predicate, *operands, true, false):
    return tuple(runnable(true if predicate else false)(*operands))


def while_loop(*operands, condition, body, carry):
    condition, body = runnable(condition), runnable(body)
    state, constants = operands[:carry], operands[carry:]
    while condition(*state, *constants)[0]:
        state = body(*state, *constants)
    return tuple(state)


def scan(*operands, body, carry, xs, length, reverse):
    step = runnable(body)
    state, slices, constants = (
        operands[:carry],
        operands[carry : carry + xs],
        operands[carry + xs :],
    )
    ys = None  # for a function the shapes of what it puts out are known after its first call
    if hasattr(step, "specs"):
        ys = [np.empty((length, *s.shape), np_dtype(s.dtype)) for s in step.specs[carry:]]
    for i in range(length - 1, -1, -1) if reverse else range(length):
        made = step(*state, *[x[i] for x in slices], *constants)
        state = made[:carry]
        if ys is None:
            ys = [np.empty((length, *np.shape(v)), v.dtype) for v in made[carry:]]
        for y, v in zip(ys, made[carry:]):
            y[i] = v
    return (*state, *(ys or ()))


KERNELS |= {
    p.cond: cond,
    p.while_loop: while_loop,
    p.scan: scan,
    p.checkpoint: lambda *operands, body: tuple(runnable(body)(*operands)),
    p.barrier: lambda *operands: operands,
    p.with_gradient: lambda *operands, outputs, wrt, gradient: operands[:outputs],
}

SILENT = {
    p.barrier,
    p.with_gradient,
    p.reshape,
    p.transpose,
    p.slice,
    p.concatenate,
    p.stop_gradient,
}
QUIET = {target: k if target in SILENT else quiet(k) for target, k in KERNELS.items()}
QUIET |= {q: quiet_ufunc(getattr(np, q.name)) for q in _NUMPY + _WITH_NUMBERS}
BACKEND = NumPy("numpy", QUIET, {name: quiet(k) for name, k in FASTER.items()})
