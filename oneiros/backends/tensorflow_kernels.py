"""TensorFlow's kernels of the primitives: thin calls of its generated ops, cheap in eager code.

Where TensorFlow has no kernel for a dtype, the next wider one is computed in (`within`). Kernels
take eager tensors, `tf.Variable`s and the tensors of graphs, whose unknown sizes are scalars.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from tensorflow.python.ops import gen_array_ops as A
from tensorflow.python.ops import gen_bitwise_ops as B
from tensorflow.python.ops import gen_linalg_ops as L
from tensorflow.python.ops import gen_math_ops as M
from tensorflow.python.ops import gen_nn_ops as N
from tensorflow.python.ops import gen_special_math_ops as S
from tensorflow.python.ops import gen_spectral_ops as F
from tensorflow.python.ops import gen_stateless_random_ops_v2 as R

from oneiros.core import primitives as p

__all__ = ["KERNELS", "NUMBERS", "dims", "is_eager"]

NUMBERS = {bool, int, float, complex}
_WIDER = {
    tf.bool: tf.uint8, tf.float16: tf.float32, tf.bfloat16: tf.float32,
    **dict.fromkeys((tf.int8, tf.int16, tf.uint8, tf.uint16), tf.int32),
    tf.uint32: tf.int64, tf.uint64: tf.int64,
}  # fmt: skip
_LOW = {tf.float16, tf.bfloat16}
_UNSIGNED = {tf.uint8, tf.uint16, tf.uint32, tf.uint64}
_SMALL = {tf.int8, tf.uint8, tf.int16, tf.uint16}


def dims(x):
    """The sizes of `x`: ints, and scalars of the graph where they are not known."""
    shape = x.shape
    if type(shape) is tuple:
        return shape
    if shape.is_fully_defined():
        return tuple(shape)
    found = tf.shape(x)
    return tuple(found[i] if n is None else n for i, n in enumerate(shape))


def is_eager(x):
    return isinstance(x, tf.__internal__.EagerTensor)


def tensor(x, dtype=None):
    return tf.convert_to_tensor(x, dtype)


def within(f, *dtypes):
    """`f` computed in a wider dtype, and cast back, where its first array has one of `dtypes`."""
    dtypes = frozenset(dtypes)

    def kernel(*args, **params):
        own = next((x.dtype for x in args if hasattr(x, "dtype")), None)
        if own not in dtypes:
            return f(*args, **params)
        wide = _WIDER[own]
        made = f(*[cast_to(x, wide) if hasattr(x, "dtype") else x for x in args], **params)
        back = lambda y: cast_to(y, own) if y.dtype == wide else y
        return tuple(map(back, made)) if isinstance(made, (tuple, list)) else back(made)

    return kernel


def cast_to(x, dtype):
    return M.cast(x, DstT=dtype)


# Elementwise ---------------------------------------------
def binary(f, *dtypes):
    """`f` of two operands, of which the first may be a number."""

    def kernel(x, y):
        if type(x) in NUMBERS and not is_eager(y):
            x = tensor(x, y.dtype)
        return f(x, y)

    return within(kernel, *dtypes) if dtypes else kernel


def arithmetic(f):
    """`f` of two operands; bools are computed with as bytes."""

    def kernel(x, y):
        if type(x) in NUMBERS:
            x = int(x) if type(x) is bool else x
            if not is_eager(y):
                x = tensor(x, y.dtype)
            return f(x, y)
        if type(y) is bool:
            y = int(y)
        if x.dtype is tf.bool:
            made = f(cast_to(x, tf.uint8), y if type(y) in NUMBERS else cast_to(y, tf.uint8))
            return cast_to(made, tf.bool) if made.dtype == tf.uint8 else made
        return f(x, y)

    return kernel


def division(f):
    """`f` of integers too whose divisor is 0, which gives 0."""

    def kernel(x, y):
        like = next(v for v in (x, y) if hasattr(v, "dtype"))
        x, y = tensor(x, like.dtype), tensor(y, like.dtype)
        if like.dtype.is_floating:
            return f(x, y)
        none = M.equal(y, tf.zeros((), y.dtype))
        made = f(x, M.select_v2(none, tf.ones((), y.dtype), y))
        return M.select_v2(none, tf.zeros((), made.dtype), made)

    return kernel


def floor_divide(x, y):
    """As in NumPy: of an infinity NaN, by one 0 or -1."""
    made = M.floor_div(x, y)
    if not x.dtype.is_floating:
        return made
    zero = tf.zeros((), x.dtype)
    below = M.logical_and(M.is_inf(y), M.less(M.mul(M.sign(x), M.sign(y)), zero))
    made = M.select_v2(below, tensor(-1, x.dtype), made)
    lost = M.logical_and(M.is_inf(x), M.not_equal(y, zero))
    return M.select_v2(lost, tensor(math.nan, x.dtype), made)


def whole(f):
    """`f` for floats; integers are what they are."""
    return lambda x: x if tensor(x).dtype.is_integer or x.dtype == tf.bool else f(x)


def everywhere(f, value):
    """`f` for floats and complex numbers; `value` for all integers."""

    def kernel(x):
        if x.dtype.is_complex:
            return value_or(f(M.real(x, Tout=x.dtype.real_dtype)), f(imag(x)), value)
        if x.dtype.is_integer or x.dtype == tf.bool:
            return tf.fill(dims(x), value)
        return f(x)

    return kernel


def value_or(x, y, both):
    return M.logical_and(x, y) if both else M.logical_or(x, y)


def cast(x, *, dtype):
    x = tensor(x)
    dtype = tf.as_dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.dtype.is_complex and not dtype.is_complex:
        x = M.real(x, Tout=x.dtype.real_dtype)
    if dtype == tf.bool:
        return M.not_equal(x, tf.zeros((), x.dtype))
    return M.cast(x, DstT=dtype)


def bitcast(x, *, dtype):
    x = tensor(x)
    x = cast_to(x, tf.uint8) if x.dtype == tf.bool else x
    if dtype == "bool":
        return cast_to(A.bitcast(x, tf.uint8), tf.bool)
    return A.bitcast(x, tf.as_dtype(dtype))


def select(condition, x, y):
    if type(x) in NUMBERS:
        x = tensor(x, tensor(y).dtype)
    return M.select_v2(condition, x, y)


def absolute(x):
    if x.dtype.is_complex:
        return M.complex_abs(x, Tout=x.dtype.real_dtype)
    return x if x.dtype in _UNSIGNED or x.dtype == tf.bool else M._abs(x)


def real(x):
    return M.real(x, Tout=x.dtype.real_dtype) if x.dtype.is_complex else x


def imag(x):
    return M.imag(x, Tout=x.dtype.real_dtype) if x.dtype.is_complex else A.zeros_like(x)


def complex_of(x, y):
    dtype = next(v.dtype for v in (x, y) if hasattr(v, "dtype"))
    wide = tf.complex128 if dtype == tf.float64 else tf.complex64
    return M._complex(*[tensor(v, dtype) for v in (x, y)], Tout=wide)


def sign(x):
    if x.dtype in _UNSIGNED:
        return cast_to(M.not_equal(x, tf.zeros((), x.dtype)), x.dtype)
    y = M.sign(x)
    return M.select_v2(M.is_nan(x), x, y) if x.dtype.is_floating else y


def trunc(x):
    return M.select_v2(M.less(x, tf.zeros((), x.dtype)), M.ceil(x), M.floor(x))


def cbrt(x):
    third = tensor(1 / 3, x.dtype)
    return M.mul(M.sign(x), M._pow(M._abs(x), third))


def scaled_log(base):
    return lambda x: M.real_div(M.log(x), tensor(math.log(base), x.dtype))


def negative(x):
    return M.sub(tf.zeros((), x.dtype), x) if x.dtype in _UNSIGNED else M.neg(x)


def logical_xor(x, y):
    return M.not_equal(*[tensor(v, tf.bool) for v in (x, y)])


_UNARY = (
    "expm1 log log1p sqrt rsqrt sin cos tan sinh cosh tanh sigmoid erf erfc exp logical_not"
).split()
KERNELS = {getattr(p, name): getattr(M, name) for name in _UNARY}
KERNELS |= {
    getattr(p, f"arc{n}"): getattr(M, f"a{n}") for n in "sin cos tan sinh cosh tanh".split()
}
KERNELS |= {q: arithmetic(f) for q, f in {
    p.add: M.add_v2, p.subtract: M.sub, p.multiply: M.mul, p.maximum: M.maximum,
    p.minimum: M.minimum, p.less: M.less, p.less_equal: M.less_equal, p.greater: M.greater,
    p.greater_equal: M.greater_equal, p.remainder: division(M.floor_mod),
    p.floor_divide: division(floor_divide),
}.items()}  # fmt: skip
KERNELS |= {
    p.divide: binary(M.real_div), p.equal: binary(M.equal), p.not_equal: binary(M.not_equal),
    p.power: binary(M._pow, *_UNSIGNED), p.arctan2: binary(M.atan2),
    p.nextafter: binary(M.next_after, *_LOW),
    p.logical_and: M.logical_and, p.logical_or: M.logical_or, p.logical_xor: logical_xor,
    p.bitwise_not: within(B.invert, tf.bool), p.bitwise_and: binary(B.bitwise_and, tf.bool),
    p.bitwise_or: binary(B.bitwise_or, tf.bool), p.bitwise_xor: binary(B.bitwise_xor, tf.bool),
    p.shift_left: binary(B.left_shift), p.shift_right: binary(B.right_shift),
    p.isfinite: everywhere(M.is_finite, True), p.isnan: everywhere(M.is_nan, False),
    p.isinf: everywhere(M.is_inf, False), p.select: select, p.cast: cast, p.bitcast: bitcast,
    p.stop_gradient: A.stop_gradient, p.floor: whole(M.floor), p.ceil: whole(M.ceil),
    p.round: whole(M.round), p.trunc: whole(trunc), p.sign: sign, p.abs: absolute,
    p.negative: negative, p.cbrt: cbrt, p.log2: scaled_log(2.0), p.log10: scaled_log(10.0),
    p.erfinv: within(M.erfinv, *_LOW), p.lgamma: within(M.lgamma, tf.bfloat16),
    p.digamma: within(M.digamma, tf.bfloat16), p.i0e: within(S.bessel_i0e, tf.bfloat16),
    p.i1e: within(S.bessel_i1e, tf.bfloat16), p.real: real, p.imag: imag,
    p.polygamma1: within(lambda x: M.polygamma(tf.ones((), x.dtype), x), *_LOW),
    p.conj: lambda x: M.conj(x) if x.dtype.is_complex else x, p.complex: complex_of,
}  # fmt: skip


# Reductions and order ---------------------------------------------
def reduced(f, *dtypes):
    return within(lambda x, *, axes: f(x, axes, False), *dtypes)


def arg(extreme, of):
    """The place of the first extreme, and NaN is one."""

    def kernel(x, *, axis):
        if x.dtype.is_floating:
            hit = M.equal(x, extreme(x, axis, True))
            return M.arg_max(M.logical_or(hit, M.is_nan(x)), axis, tf.int32)
        return of(x, axis, tf.int32)

    return kernel


def running(f):
    """The running `f` along an axis, by steps of doubling width."""

    def kernel(x, *, axis, reverse):
        x, n, width = tensor(x), x.shape[axis], 1
        part = lambda a, b: tf.strided_slice(
            x, [a if i == axis else 0 for i in range(len(x.shape))],
            [b if i == axis else m for i, m in enumerate(dims(x))],
        )  # fmt: skip
        while width < n:
            met = f(part(width, n), part(0, n - width))
            rest = part(n - width, n) if reverse else part(0, width)
            x = A.concat_v2([met, rest] if reverse else [rest, met], axis)
            width *= 2
        return x

    return within(kernel, tf.bool)


def rising(x):
    """Keys whose fall is the rise of `x`; NaN comes last."""
    if x.dtype == tf.bool:
        return cast_to(M.logical_not(x), tf.uint8)
    if not x.dtype.is_floating:
        return B.invert(x)
    return M.neg(M.select_v2(M.is_nan(x), tensor(math.inf, x.dtype), x))


def argsort(x, *, axis):
    """A stable order: of equal keys `top_k` takes the first one first."""
    x, last = tensor(x), len(x.shape) - 1
    order = [*range(axis), *range(axis + 1, last + 1), axis]
    x = A.transpose(x, order) if axis != last else x
    places = N.top_kv2(rising(x), dims(x)[-1])[1]
    if x.dtype.is_floating:  # infinity before NaN
        flags = cast_to(M.logical_not(M.is_nan(A.gather_v2(x, places, last, last))), tf.uint8)
        places = A.gather_v2(places, N.top_kv2(flags, dims(x)[-1])[1], last, last)
    return A.transpose(places, np.argsort(order)) if axis != last else places


def sort(x, *, axis):
    return gather_along(x, argsort(x, axis=axis), axis=axis)


KERNELS |= {
    p.reduce_sum: reduced(M._sum, tf.bool), p.reduce_prod: reduced(M.prod, *_LOW, tf.bool),
    p.reduce_max: reduced(M._max, tf.bool), p.reduce_min: reduced(M._min, tf.bool),
    p.reduce_any: reduced(M._any), p.reduce_all: reduced(M._all),
    p.argmax: within(arg(M._max, M.arg_max), tf.bool),
    p.argmin: within(arg(M._min, M.arg_min), tf.bool),
    p.cumsum: within(lambda x, axis, reverse: M.cumsum(x, axis, False, reverse), *_LOW),
    p.cumprod: within(lambda x, axis, reverse: M.cumprod(x, axis, False, reverse), *_LOW),
    p.cummax: running(M.maximum), p.cummin: running(M.minimum),
    p.sort: sort, p.argsort: argsort,
    p.top_k: lambda x, k: tuple(N.top_kv2(x, k)),
}  # fmt: skip


# Shapes and places ---------------------------------------------
def iota(*, shape, axis, dtype):
    ramp = tf.range(shape[axis], dtype=tf.int32)
    ramp = A.reshape(ramp, [-1 if i == axis else 1 for i in range(len(shape))])
    return cast(A.broadcast_to(ramp, shape), dtype=dtype)


def slice_(x, *, start, stop, strides):
    if all(isinstance(s, int) and s == 1 for s in strides):
        return A._slice(x, start, [b - a if isinstance(b, int) and b > a or not isinstance(b, int)
                                   else 0 for a, b in zip(start, stop)])  # fmt: skip
    return A.strided_slice(x, start, stop, strides)


def pad(x, *, widths, value):
    """Spread, framed, then cut, axis by axis where it must be."""
    x = tensor(x)
    for i, (_, _, between) in enumerate(widths):
        n = dims(x)[i]
        if between and not (isinstance(n, int) and n <= 1):
            shape = [*dims(x)[: i + 1], 1, *dims(x)[i + 1 :]]
            spread = _framed(A.reshape(x, shape), i + 1, between, value)
            spread = A.reshape(spread, [*dims(x)[:i], n * (between + 1), *dims(x)[i + 1 :]])
            x = _cut(spread, i, 0, n * (between + 1) - between)
    if any(w < 0 for low, high, _ in widths for w in (low, high)):
        for i, (low, high, _) in enumerate(widths):
            if low < 0 or high < 0:
                n = dims(x)[i]
                x = _cut(x, i, min(max(-low, 0), n), max(min(n + min(high, 0), n), 0))
    if any(low > 0 or high > 0 for low, high, _ in widths):
        paddings = [[max(low, 0), max(high, 0)] for low, high, _ in widths]
        for (low, high, _), pair, n in zip(widths, paddings, dims(x)):
            if isinstance(n, int) and n == 0 and (low < 0 or high < 0):
                pair[:] = [max(low + high, 0), 0]  # nothing but padding, some of it cut
        x = _pad(x, paddings, value)
    return x


def _pad(x, paddings, value):
    if value == 0:
        return A.pad(x, paddings)
    return A.pad_v2(x, paddings, tensor(value, x.dtype))


def _framed(x, axis, count, value):
    return _pad(x, [[0, count if i == axis else 0] for i in range(len(x.shape))], value)


def _cut(x, axis, start, stop):
    rank = len(x.shape)
    return slice_(
        x, start=[start if i == axis else 0 for i in range(rank)],
        stop=[stop if i == axis else n for i, n in enumerate(dims(x))], strides=(1,) * rank,
    )  # fmt: skip


def _corner(starts, sizes, x):
    at = tf.stack([cast_to(tensor(a), tf.int32) for a in starts])
    last = [n - m for n, m in zip(dims(x), sizes)]
    return M.maximum(M.minimum(at, last), 0)


def dynamic_slice(x, *starts, sizes):
    return A._slice(x, _corner(starts, sizes, x), sizes) if starts else tensor(x)


def dynamic_update_slice(x, update, *starts):
    if not starts:
        return tensor(update)
    at = _corner(starts, dims(update), x)
    ones = [1] * len(starts)
    return A.tensor_strided_slice_update(x, at, M.add_v2(at, dims(update)), ones, update)


def _indices(x, dtype=tf.int32):
    """Indices in a dtype that TensorFlow takes."""
    x = tensor(x)
    return x if x.dtype in (tf.int32, tf.int64) else cast_to(x, dtype)


def _clipped(indices, n):
    indices = _indices(indices)
    top = M.maximum(n - 1, 0) if not isinstance(n, int) else max(n - 1, 0)
    if not isinstance(top, int):
        top = cast_to(top, indices.dtype)
    return M._clip_by_value(indices, tensor(0, indices.dtype), tensor(top, indices.dtype))


def take(x, indices, *, axis):
    return A.gather_v2(x, _clipped(indices, dims(x)[axis]), axis)


def gather_nd(x, indices):
    indices = _indices(indices)
    k = indices.shape[-1]
    last = tensor([n - 1 for n in dims(x)[:k]], indices.dtype)
    return A.gather_nd(x, M.maximum(M.minimum(indices, last), tensor(0, indices.dtype)))


def gather_along(x, indices, *, axis):
    x, last = tensor(x), len(x.shape) - 1
    indices = _clipped(indices, dims(x)[axis])
    order = [*range(axis), *range(axis + 1, last + 1), axis]
    if axis != last:
        x, indices = A.transpose(x, order), A.transpose(indices, order)
    lead = dims(indices)[:-1]
    if dims(x)[:-1] != lead and all(isinstance(n, int) for n in (*lead, *dims(x))):
        x = A.broadcast_to(x, [*lead, dims(x)[-1]])
    made = A.gather_v2(x, indices, last, last)
    return A.transpose(made, np.argsort(order)) if axis != last else made


_SCATTER = {
    "set": A.tensor_scatter_update, "add": A.tensor_scatter_add, "max": A.tensor_scatter_max,
    "min": A.tensor_scatter_min,
}  # fmt: skip


def scatter(x, indices, updates, *, mode):
    x, indices = tensor(x), _indices(indices)
    k, shape = indices.shape[-1], dims(x)
    updates = A.broadcast_to(updates, [*dims(indices)[:-1], *shape[k:]])
    if mode != "mul":
        return _SCATTER[mode](x, indices, updates, bad_indices_policy="IGNORE")
    size, rows = _product(shape[:k]), tensor(0, indices.dtype)
    for i, n in enumerate(shape[:k]):
        rows = M.add_v2(M.mul(rows, tensor(n, indices.dtype)), indices[..., i])
    limits = tensor(shape[:k], indices.dtype)
    inside = M._all(M.logical_and(M.greater_equal(indices, tensor(0, indices.dtype)),
                                  M.less(indices, limits)), -1)  # fmt: skip
    rows = M.select_v2(inside, rows, tensor(-1, indices.dtype))
    factors = M.unsorted_segment_prod(updates, rows, tensor(size, tf.int32))
    return M.mul(x, A.reshape(factors, shape))


def scatter_along(x, indices, updates, *, axis, mode):
    indices = _indices(indices)
    grid = [
        iota(shape=dims(indices), axis=i, dtype=indices.dtype.name) for i in range(len(x.shape))
    ]
    grid[axis] = indices
    return scatter(x, A.pack(grid, len(x.shape)), A.broadcast_to(updates, dims(indices)), mode=mode)


def _product(sizes):
    made = 1
    for n in sizes:
        made = made * n
    return made


KERNELS |= {
    p.reshape: lambda x, shape: A.reshape(x, shape),
    p.transpose: lambda x, order: A.transpose(x, order),
    p.broadcast_to: lambda x, shape: A.broadcast_to(x, shape),
    p.iota: iota, p.slice: slice_, p.pad: pad, p.take: take, p.gather_nd: gather_nd,
    p.reverse: lambda x, axes: A.reverse_v2(x, axes),
    p.concatenate: lambda *xs, axis: A.concat_v2(xs, axis) if len(xs) > 1 else tensor(xs[0]),
    p.dynamic_slice: dynamic_slice, p.dynamic_update_slice: dynamic_update_slice,
    p.gather_along: gather_along, p.scatter: scatter, p.scatter_along: scatter_along,
}  # fmt: skip


# Sums of products ---------------------------------------------
def dot_general(x, y, *, contract, batch):
    """One matrix product; operands are turned only where it cannot read them as they lie."""
    (cx, cy), (bx, by) = contract, batch
    if len(cx) == 1 and not bx and len(x.shape) == len(y.shape) == 2:
        return M.mat_mul(x, y, cx[0] == 0, cy[0] == 1)
    a, free_x, turn_x = _matrices(x, cx, bx, first=True)
    b, free_y, turn_y = _matrices(y, cy, by, first=False)
    lead = [dims(x)[i] for i in bx]
    if not lead:
        made = M.mat_mul(a, b, turn_x, turn_y)
    else:
        made = M.batch_mat_mul_v2(a, b, turn_x, turn_y)
    shape = [*lead, *free_x, *free_y]
    return made if len(free_x) == len(free_y) == 1 else A.reshape(made, shape)


def _matrices(x, contract, batch, first):
    """`x` as (batch, free, contracted), or that turned; its free sizes; whether it is turned."""
    x, rank = tensor(x), len(x.shape)
    sizes = dims(x)
    free = [i for i in range(rank) if i not in contract and i not in batch]
    plain, turned = [*batch, *free, *contract], [*batch, *contract, *free]
    order = turned if turned == list(range(rank)) != plain else plain
    if not first and order is plain and plain != list(range(rank)):
        order = turned
    if order != list(range(rank)):
        x = A.transpose(x, order)
    if x.dtype.is_complex and batch and (order is plain) != first:  # `adj` would conjugate
        order = plain if first else turned
        x = A.transpose(
            tensor(x), [*range(len(batch)), *_swapped(len(batch), free, contract, first)]
        )
    m, k = _product(sizes[i] for i in free), _product(sizes[i] for i in contract)
    inner = [m, k] if order is plain else [k, m]
    shape = [*[sizes[i] for i in batch], *inner]
    if not len(free) == len(contract) == 1:
        x = A.reshape(x, shape)
    return x, [sizes[i] for i in free], (order is plain) != first


def _swapped(lead, free, contract, first):
    n, m = (len(contract), len(free)) if first else (len(free), len(contract))
    return [*range(lead + n, lead + n + m), *range(lead, lead + n)]


_any_product = within(dot_general, tf.bool, *_SMALL, tf.uint32, tf.uint64)


def product(x, y, *, contract, batch):
    """`dot_general`, at once for plain matrices; small integers in int32, unsigned in int64."""
    if x.dtype is tf.float32 and contract == ((1,), (0,)) and len(x.shape) == len(y.shape) == 2:
        return M.mat_mul(x, y)
    return _any_product(x, y, contract=contract, batch=batch)


KERNELS[p.dot_general] = product


# Factorizations ---------------------------------------------
def _adjoint(x):
    rank = len(x.shape)
    order = [*range(rank - 2), rank - 1, rank - 2]
    return A.conjugate_transpose(x, order) if x.dtype.is_complex else A.transpose(x, order)


def svd(x, *, full_matrices, compute_uv):
    s, u, v = L.svd(x, compute_uv, full_matrices)
    s = real(s)
    return (u, s, _adjoint(v)) if compute_uv else s


def eig(x):
    wide = tf.complex128 if x.dtype in (tf.float64, tf.complex128) else tf.complex64
    return tuple(L.eig(x, Tout=wide))


def lu(x):
    x = tensor(x)
    *_, m, n = dims(x)
    if m != n:
        raise NotImplementedError("tensorflow factors square matrices only by lu; use numpy or jax")
    packed, order = L.lu(x)
    at = tf.broadcast_to(tf.range(n), tf.shape(order))
    swaps = []
    for i in range(n):  # where row order[i] was when its turn came
        j = M.arg_max(M.equal(at, order[..., i : i + 1]), -1, tf.int32)[..., None]
        swaps.append(j)
        at = M.select_v2(M.equal(tf.range(n), j), at[..., i : i + 1], at)
        at = M.select_v2(M.equal(tf.range(n), i), order[..., i : i + 1], at)
    return packed, A.concat_v2(swaps, len(x.shape) - 2), order


def triangular_solve(a, b, *, lower, adjoint):
    return L.matrix_triangular_solve(a, b, lower, adjoint)


def irfft(x, *, n):
    return F.irfft(x, [n], Treal=x.dtype.real_dtype)


def rfft(x):
    wide = tf.complex128 if x.dtype == tf.float64 else tf.complex64
    return F.rfft(x, [x.shape[-1]], Tcomplex=wide)


KERNELS |= {
    p.cholesky: L.cholesky, p.qr: lambda x, mode: tuple(L.qr(x, mode == "complete")), p.svd: svd,
    p.eigh: lambda x: (lambda w, v: (real(w), v))(*L.self_adjoint_eig_v2(x)), p.eig: eig, p.lu: lu,
    p.solve: L.matrix_solve, p.triangular_solve: triangular_solve, p.inverse: L.matrix_inverse,
    p.det: L.matrix_determinant,
    p.slogdet: lambda x: (lambda s, d: (s, real(d)))(*L.log_matrix_determinant(x)),
    p.fft: lambda x, inverse: (F.ifft if inverse else F.fft)(x), p.rfft: rfft, p.irfft: irfft,
}  # fmt: skip


# Noise ---------------------------------------------
def _noise(f):
    """`f`, by Philox with the seed as its key."""

    def kernel(seed, *, shape, dtype="uint32"):
        key = A.reshape(A.bitcast(tensor(seed, tf.uint32), tf.uint64), [1])
        return f(shape, key, tf.zeros([2], tf.uint64), 1, tf.as_dtype(dtype))

    return kernel


KERNELS |= {
    p.random_bits: _noise(R.stateless_random_uniform_full_int_v2),
    p.random_uniform: _noise(R.stateless_random_uniform_v2),
    p.random_normal: _noise(R.stateless_random_normal_v2),
}
