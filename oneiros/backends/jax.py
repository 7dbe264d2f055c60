"""JAX: the default backend. Eager arrays, derivatives and compilation are XLA's.

A traced step is emitted as one function and compiled by `jax.jit` with its state donated.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from oneiros.backends import jax_convolution as windows
from oneiros.backends import jax_linalg
from oneiros.backends.emit import emit
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype, result_type


def _dtype(name):
    """The dtype that JAX gives for `name`: 64-bit ones are 32-bit unless x64 is on."""
    return (
        jax.dtypes.canonicalize_dtype(np_dtype(name))
        if "64" in name or "128" in name
        else np_dtype(name)
    )


def _key(seed):
    """A JAX key from a seed of two uint32."""
    return jax.random.wrap_key_data(jnp.asarray(seed, "uint32"), impl="threefry2x32")


def _noise_bits(seed, shape):
    """Random uint32 from XLA's Philox, on a CPU nine times faster than the generator that XLA
    defaults to.
    """
    # The generator takes four words; the counter is spread so that nearby seeds differ in all of
    # them.
    seed = jnp.asarray(seed, "uint32")
    spread = jnp.stack(
        [seed[0], seed[1], seed[0] ^ np.uint32(0x9E3779B9), seed[1] * np.uint32(0x85EBCA6B)]
    )
    return lax.rng_bit_generator(
        spread, shape, dtype=jnp.uint32, algorithm=lax.RandomAlgorithm.RNG_PHILOX
    )[1]


def _uniform(seed, shape, dtype):
    bits = _noise_bits(seed, shape)
    if dtype == "float64":
        high = _noise_bits(jnp.asarray(seed, "uint32") ^ np.uint32(0x5BD1E995), shape)
        return ((high >> 5) * 67108864.0 + (bits >> 6)).astype(_dtype(dtype)) / 9007199254740992.0
    count = {"float16": 11, "bfloat16": 8}.get(dtype, 24)  # bits that the dtype holds exactly
    return (bits >> (32 - count)).astype(_dtype(dtype)) * np.asarray(2.0**-count, np_dtype(dtype))


def _normal(seed, shape, dtype):
    u = _uniform(seed, shape, "float32")
    u = u * 2 - np.float32(1 - 2**-24)  # symmetric, never -1 or 1
    return (math.sqrt(2) * lax.erf_inv(u)).astype(_dtype(dtype))


def _scatter(x, indices, updates, mode):
    x = jnp.asarray(x)
    places = tuple(_dropped(i, n) for i, n in zip(jnp.moveaxis(indices, -1, 0), x.shape))
    return _MODES[mode](x.at[places])(updates, mode="drop")


def _dropped(indices, n):
    """Indices of which the negative ones, which JAX counts from the end, are out of range too."""
    return jnp.where(indices < 0, n, jnp.asarray(indices).astype("int32"))


def _inside(starts):
    """Starts of which the negative ones, which JAX counts from the end, are 0."""
    return [jnp.maximum(i, 0) for i in starts]


def _along(x, indices, axis):
    grid = list(jnp.ix_(*[np.arange(n) for n in indices.shape]))
    grid[axis] = indices
    return tuple(grid)


def _scatter_along(x, indices, updates, axis, mode):
    x = jnp.asarray(x)
    at = x.at[_along(x, _dropped(indices, x.shape[axis]), axis)]
    return _MODES[mode](at)(updates, mode="drop")


_MODES = {
    "set": lambda at: at.set, "add": lambda at: at.add, "mul": lambda at: at.multiply,
    "max": lambda at: at.max, "min": lambda at: at.min,
}  # fmt: skip


def _scan(*operands, body, carry, xs, length, reverse):
    constants = operands[carry + xs :]

    def step(state, slices):
        made = body(*state, *slices, *constants)
        return tuple(made[:carry]), tuple(made[carry:])

    state = tuple(jnp.asarray(x) for x in operands[:carry])
    state, ys = lax.scan(
        step, state, tuple(operands[carry : carry + xs]), length=length, reverse=reverse
    )
    return (*state, *ys)


def _while_loop(*operands, condition, body, carry):
    constants = operands[carry:]
    return lax.while_loop(
        lambda s: condition(*s, *constants)[0],
        lambda s: tuple(body(*s, *constants)),
        tuple(jnp.asarray(x) for x in operands[:carry]),
    )


def _cond(predicate, *operands, true, false):
    return lax.cond(predicate, lambda *a: tuple(true(*a)), lambda *a: tuple(false(*a)), *operands)


def _checkpoint(*operands, body):
    return tuple(jax.checkpoint(lambda *a: tuple(body(*a)))(*operands))


def _with_gradient(*operands, outputs, wrt, gradient):
    """The outputs, with JAX's own derivative replaced by the given one."""

    @jax.custom_vjp
    def passed(*values):
        return values[:outputs]

    def forward(*values):
        return values[:outputs], values

    def backward(values, g):
        g = [jnp.zeros_like(y) if v.dtype == jax.dtypes.float0 else v for v, y in zip(g, values)]
        rest = values[outputs + wrt :]
        return (*[None] * outputs, *gradient(*g, *rest), *[None] * len(rest))

    passed.defvjp(forward, backward)
    return passed(*operands)


def _dot_general(x, y, contract, batch):
    return lax.dot_general(x, y, (contract, batch))


def _slice(x, start, stop, strides):
    return lax.slice(x, start, stop, strides)


def _top_k(x, k):
    values, indices = lax.top_k(x, k)
    return values, indices.astype(jnp.int32)


def _bitcast(x, dtype):
    return lax.bitcast_convert_type(x, _dtype(dtype))


def _cumulative(function):
    return lambda x, axis, reverse: function(x, axis=axis, reverse=reverse)


def _cast(x, dtype):
    x = jnp.asarray(x)
    if jnp.iscomplexobj(x) and not dtype.startswith("complex"):
        x = x.real
    return x.astype(_dtype(dtype))


_jnp = (
    "negative add subtract multiply divide remainder floor_divide power maximum minimum arctan2 nextafter equal "
    "not_equal less less_equal greater greater_equal isfinite isnan isinf logical_not logical_and logical_or "
    "logical_xor bitwise_and bitwise_or bitwise_xor floor ceil trunc sign exp expm1 log log1p log2 log10 sqrt "
    "cbrt sin cos tan arcsin arccos arctan sinh cosh tanh arcsinh arccosh arctanh real imag conj abs "
    "bitwise_not concatenate"
).split()
_special = "erf erfc erfinv digamma i0e i1e"

PRIMITIVES = {
    **{getattr(p, n): getattr(jnp, n) for n in _jnp},
    **{getattr(p, n): getattr(jax.scipy.special, n) for n in _special.split()},
    p.lgamma: jax.scipy.special.gammaln,
    p.polygamma1: lambda x: jax.scipy.special.polygamma(1, x),
    p.rsqrt: lambda x: lax.rsqrt(jnp.asarray(x)),
    p.sigmoid: jax.nn.sigmoid,
    p.round: jnp.round,
    p.select: jnp.where,
    p.complex: lambda x, y: lax.complex(jnp.asarray(x), jnp.asarray(y)),
    p.shift_left: lambda x, y: jnp.left_shift(x, y),
    p.shift_right: lambda x, y: jnp.right_shift(x, y),  # arithmetic for signed integers
    p.cast: _cast,
    p.bitcast: _bitcast,
    p.stop_gradient: lax.stop_gradient,
    p.reduce_sum: lambda x, axes: jnp.sum(x, axes, dtype=x.dtype),
    p.reduce_prod: lambda x, axes: jnp.prod(x, axes, dtype=x.dtype),
    p.reduce_max: lambda x, axes: jnp.max(x, axes),
    p.reduce_min: lambda x, axes: jnp.min(x, axes),
    p.reduce_any: lambda x, axes: jnp.any(x, axes),
    p.reduce_all: lambda x, axes: jnp.all(x, axes),
    p.argmax: lambda x, axis: lax.argmax(jnp.asarray(x), axis, jnp.int32),
    p.argmin: lambda x, axis: lax.argmin(jnp.asarray(x), axis, jnp.int32),
    p.cumsum: _cumulative(lax.cumsum),
    p.cumprod: _cumulative(lax.cumprod),
    p.cummax: _cumulative(lax.cummax),
    p.cummin: _cumulative(lax.cummin),
    p.sort: lambda x, axis: jnp.sort(x, axis),
    p.argsort: lambda x, axis: jnp.argsort(x, axis, stable=True).astype(jnp.int32),
    p.top_k: _top_k,
    p.reshape: lambda x, shape: jnp.reshape(x, shape),
    p.transpose: lambda x, order: jnp.transpose(x, order),
    p.broadcast_to: lambda x, shape: jnp.broadcast_to(x, shape),
    p.iota: lambda shape, axis, dtype: lax.broadcasted_iota(_dtype(dtype), shape, axis),
    p.slice: _slice,
    p.pad: lambda x, widths, value: lax.pad(jnp.asarray(x), jnp.asarray(value, jnp.asarray(x).dtype), widths),
    p.reverse: lambda x, axes: lax.rev(jnp.asarray(x), axes),
    p.concatenate: lambda *xs, axis: lax.concatenate([jnp.asarray(x) for x in xs], axis),
    p.dynamic_slice: lambda x, *starts, sizes: lax.dynamic_slice(x, _inside(starts), sizes),
    p.dynamic_update_slice: lambda x, y, *starts: lax.dynamic_update_slice(x, y, _inside(starts)),
    p.take: lambda x, indices, axis: jnp.take(x, indices, axis, mode="clip"),
    p.gather_nd: lambda x, indices: jnp.asarray(x).at[tuple(jnp.moveaxis(indices, -1, 0))].get(mode="clip"),
    p.scatter: _scatter,
    p.gather_along: lambda x, indices, axis: jnp.take_along_axis(x, indices, axis, mode="clip"),
    p.scatter_along: _scatter_along,
    p.dot_general: _dot_general,
    p.random_bits: _noise_bits,
    p.random_uniform: _uniform,
    p.random_normal: _normal,
    p.cond: _cond,
    p.while_loop: _while_loop,
    p.scan: _scan,
    p.with_gradient: _with_gradient,
    p.barrier: lambda *xs: lax.optimization_barrier(xs),
    p.checkpoint: _checkpoint,
    p.convolution: windows.convolution,
    p.convolution_input_grad: windows.convolution_input_grad,
    p.convolution_kernel_grad: windows.convolution_kernel_grad,
    p.max_pool: windows.max_pool,
    p.max_pool_grad: windows.max_pool_grad,
    p.sum_pool: windows.sum_pool,
    p.sum_pool_grad: windows.sum_pool_grad,
    **jax_linalg.PRIMITIVES,
    p.max_pool_pick: lambda h, x, y, **k: jax.vjp(lambda g: windows.max_pool_grad(g, x, y, **k), y)[1](h)[0],
}  # fmt: skip


FUSED = {
    **dict.fromkeys(
        "all any argmax argmin cumsum exp2 gelu log_softmax logsumexp max mean median min moments nanmax "
        "nanmean nanmin nansum norm prod quantile resize sinc softmax square std sum top_k tril triu var"
        .split(), 1
    ),
    **dict.fromkeys(
        "binary_crossentropy categorical_crossentropy dot isclose logaddexp matmul "
        "segment_sum sparse_categorical_crossentropy take take_along_axis".split(), 2
    ),
    "where": 3,
}  # fmt: skip


_BACKWARD = {p.convolution_input_grad, p.convolution_kernel_grad, p.max_pool_grad}
_LONE = {p.convolution: windows.lone_convolution, p.max_pool: windows.lone_max_pool}


class Jax(backend.Backend):
    """See the module."""

    native = compiles = True
    fused = FUSED

    def fuse(self, body, count):
        """One dispatch in place of several; numbers in place of arrays, and lists, take the body."""
        static = list(inspect.signature(body).parameters)[count:]
        fresh = functools.partial(body)  # traces made under other settings are not its own
        run = jax.jit(fresh, static_argnames=static)

        def kernel(*args, **kwargs):
            for a in args[:count]:
                if not isinstance(a, (jax.Array, np.ndarray)):
                    return NotImplemented
            if len(args) < count or list in map(type, (*args, *kwargs.values())):
                return NotImplemented
            return run(*args, **kwargs)

        kernel.unchecked = count, run  # for callers who know that arrays come first, and no lists
        return kernel

    def owns(self, kind):
        return issubclass(kind, (jax.Array, jax.core.Tracer))

    def to_array(self, x, dtype=None):
        if dtype is None and not hasattr(x, "dtype"):
            dtype = _default_dtype(x)
        return jnp.asarray(x, None if dtype is None else _dtype(dtype))

    def to_numpy(self, x):
        return np.asarray(x)

    def variable(self, value, variable):
        with jax.ensure_compile_time_eval():  # an array also where JAX traces what reads it first
            return jax.device_put(value) if value.dtype.itemsize < 8 else jnp.asarray(value)

    def compile(self, graph, donate=(), steps=None):
        """A jitted function of the graph's inputs."""
        return jax.jit(emit(graph, self.kernels_of(graph)), donate_argnums=tuple(donate))

    def kernels_of(self, graph):
        """What gives the kernels for a graph: some differ where no derivatives follow."""
        if any(call.target in _BACKWARD for call in graph.calls):
            return self.kernel_of
        return lambda target: _LONE.get(target) or self.kernel_of(target)

    def kept(self, kind):
        return {
            "relu": None,
            "searchsorted": lambda x, v, side: (
                len(x.shape) == 1 and getattr(v, "dtype", None) == x.dtype
            ),
        }

    def kernel_of(self, target):
        """The kernel of a primitive, or of a composite kept whole."""
        if hasattr(target, "body"):
            return self.faster[target.name]
        return PRIMITIVES.get(target) or self.kernel(target)

    def canonical_dtype(self, dtype):
        return _dtype(dtype).name

    def copy(self, x):
        return jnp.copy(x)

    def value_and_grad(self, function, values):
        (_, rest), gradients = jax.value_and_grad(function, has_aux=True)(values)
        return gradients, rest

    def compile_function(self, function, specs, donate=()):
        jax.eval_shape(function, *[jax.ShapeDtypeStruct(s.shape, _dtype(s.dtype)) for s in specs])
        return jax.jit(function, donate_argnums=tuple(donate))

    def compile_loop(self, compiled, batch_size):
        """Many steps in one call: `(state, arrays, order, first, count)` to the changed state.

        The batches are gathered on the device by `order`, a permutation of the rows.
        """
        flat = compiled.flat
        if compiled.graph is not None:
            flat = emit(compiled.graph, self.kernels_of(compiled.graph))
        position = {i: k for k, i in enumerate(compiled.read)}
        moving = [position[i] for i in compiled.write]
        still = [k for k in range(len(position)) if k not in set(moving)]

        def many(carry, fixed, arrays, order, first, count):
            def step(i, carry):
                rows = lax.dynamic_slice(order, ((first + i) * batch_size,), (batch_size,))
                values = [None] * len(position)
                for k, v in [*zip(moving, carry), *zip(still, fixed)]:
                    values[k] = v
                made = flat(*values, *[jnp.take(a, rows, axis=0, mode="clip") for a in arrays])
                return [y.astype(x.dtype) for x, y in zip(carry, made)]

            return lax.fori_loop(0, count, step, carry)

        run = jax.jit(many, donate_argnums=0)
        return lambda state, *rest: run(
            [state[k] for k in moving], [state[k] for k in still], *rest
        )

    def fits_device(self, arrays):
        """Whether data may be held on the device whole: at most 2 GiB."""
        return sum(a.nbytes for a in arrays) <= 2 << 30

    def abstract(self, function, specs):
        """The shapes and dtypes that `function` gives for arrays of these specs."""
        return jax.eval_shape(
            function, *[jax.ShapeDtypeStruct(s.shape, _dtype(s.dtype)) for s in specs]
        )

    def is_abstract(self, x):
        return isinstance(x, jax.core.Tracer)

    def vectorized_map(self, function, elements):
        return jax.vmap(function)(elements)

    def jvp(self, function, primals, tangents, has_aux):
        return jax.jvp(function, tuple(primals), tuple(tangents), has_aux=has_aux)

    def custom_gradient(self, function, args, kwargs):
        return jax.custom_gradient(lambda *a: function(*a, **kwargs))(*args)

    @contextlib.contextmanager
    def device(self, name):
        kind, _, index = str(name).partition(":")
        kind = {"gpu": "gpu", "cuda": "gpu", "cpu": "cpu", "tpu": "tpu"}.get(kind.lower(), kind)
        with jax.default_device(jax.devices(kind)[int(index or 0)]):
            yield

    def devices(self):
        return [f"{d.platform}:{d.id}" for d in jax.devices()]


def _default_dtype(x):
    """The dtype of plain Python data: floats take the default float, integers int32."""
    leaf = x
    while isinstance(leaf, (list, tuple)) and leaf:
        leaf = leaf[0]
    return result_type(type(leaf)) if type(leaf) in (bool, int, float, complex) else None


def _quick(primitive, kernel):
    """`kernel` for eager calls: compiled once per shapes and parameters, then dispatched at once.

    Without it many of JAX's functions trace themselves at every call, which takes up to ten times
    as long.
    """
    parameters = inspect.signature(primitive.shape_rule).parameters.values()
    static = [a.name for a in parameters if a.kind is a.KEYWORD_ONLY]
    return jax.jit(kernel, static_argnames=static, inline=True)


_OPEN = {p.cond, p.while_loop, p.scan, p.with_gradient, p.barrier, p.checkpoint}  # take functions
EAGER = {q: k if q in _OPEN else _quick(q, k) for q, k in PRIMITIVES.items()}
_clip = jax.jit(jnp.clip)
_search = jax.jit(jnp.searchsorted, static_argnames="side")


def clip(x, x_min, x_max):
    plain = type(x_min) in (int, float) and type(x_max) in (int, float)
    return (
        _clip(x, x_min, x_max)
        if plain and jnp.issubdtype(x.dtype, jnp.floating)
        else NotImplemented
    )


def searchsorted(sorted_sequence, values, side="left"):
    if sorted_sequence.ndim != 1 or getattr(values, "dtype", None) != sorted_sequence.dtype:
        return NotImplemented
    return _search(sorted_sequence, values, side=side).astype("int32")


# XLA joins its own relu to convolutions.
FASTER = {
    "relu": lambda x: x if x.dtype == bool else jax.nn.relu(x),
    "clip": clip,
    "searchsorted": searchsorted,
}
BACKEND = Jax("jax", EAGER, FASTER)
