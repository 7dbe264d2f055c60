"""PyTorch: eager tensors and their own derivatives; variables are `nn.Parameter`s.

A traced step is emitted as straight-line calls that write into the state (`torch_step.py`).
Kernels are PyTorch's functions where those mean the same; a dtype that one of them refuses (half
precision here and there, unsigned integers) is computed in a wider one.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator

import numpy as np
import torch
import torch.nn.functional as F

from oneiros.backends import torch_windows as windows
from oneiros.backends.torch_composites import FASTER, ISLANDS, KEPT
from oneiros.backends.torch_module import (
    Module,
    module_call,
    module_state,
    pack_module,
    unpack_module,
)
from oneiros.backends.torch_step import plan
from oneiros.core import backend, tree
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype, result_type
from oneiros.core.spec import dtype_name, spec_of
from oneiros.core.variable import UNSTORED

NUMBERS = (bool, int, float, complex)
WIDER = {
    torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.uint16: torch.int32,
    torch.uint32: torch.int64, torch.uint64: torch.int64, torch.bool: torch.uint8,
}  # fmt: skip
SHARED = {np.dtype(n) for n in ("float32", "int32", "uint8", "bool", "float64", "int64")}
BYTES = {"bfloat16": torch.int16, "float8_e4m3fn": torch.uint8, "float8_e5m2": torch.uint8}


class _Place:
    """Where arrays are made: a GPU if there is one."""

    device = torch.device(
        "cuda" if torch.cuda.is_available()
        else "mps" if torch.backends.mps.is_available() else "cpu"
    )  # fmt: skip


@functools.cache
def dtype_of(name):
    """PyTorch's dtype called `name`."""
    return getattr(torch, name)


def tensor(x, dtype=None, device=None):
    """A NumPy array, number or list as a tensor; memory is shared where that can be."""
    device = _Place.device if device is None else device
    if dtype is None and type(x) is np.ndarray and x.dtype in SHARED and x.flags.carray:
        return torch.from_numpy(x) if device.type == "cpu" else torch.from_numpy(x).to(device)
    if type(x) in NUMBERS:
        name = dtype or result_type(type(x))
        return torch.tensor(x, dtype=dtype_of(name), device=device)
    x = np.asarray(x)
    own = dtype_name(x.dtype)
    dtype = own if dtype is None else dtype
    if (
        x.flags.writeable
        and own == dtype
        and device.type == "cpu"
        and own not in BYTES
        and not x.ndim
    ):
        return torch.from_numpy(x)
    if own != dtype and (x.dtype.name in BYTES or dtype in BYTES):
        x = x.astype(np_dtype(dtype))
    if x.dtype.name in BYTES:
        raw = np.array(x).view(np.int16 if x.dtype.itemsize == 2 else np.uint8)
        return torch.from_numpy(raw).view(dtype_of(x.dtype.name)).to(device)
    if not x.flags.writeable or any(s < 0 for s in x.strides) or not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    return torch.from_numpy(x).to(device, dtype_of(dtype))


def host(x):
    """A tensor as a NumPy array."""
    if x.requires_grad:
        x = x.detach()
    if x.device.type != "cpu":
        x = x.cpu()
    if x.is_complex():
        x = x.resolve_conj()
    name = str(x.dtype)[6:]
    if name in BYTES:
        return x.view(BYTES[name]).numpy().view(np_dtype(name))
    return x.numpy()


# Kernels of any dtype ---------------------------------------------
def guarded(target, kernel):
    """`kernel`, and where PyTorch refuses a dtype, the same in a wider one."""

    def run(*args, **params):
        try:
            return kernel(*args, **params)
        except (RuntimeError, TypeError):
            made = widened(target, kernel, args, params)
            if made is None:
                raise
            return made

    return run


def widened(target, kernel, args, params):
    """The call in wider dtypes; None if there is nothing to widen."""
    tensors = [x for x in args if isinstance(x, torch.Tensor)]
    if not any(x.dtype in WIDER for x in tensors):
        return None
    wide = [x.to(WIDER.get(x.dtype, x.dtype)) if isinstance(x, torch.Tensor) else x for x in args]
    made = kernel(*wide, **params)
    told = target.shape_rule(*map(spec_of, args), **params)
    if isinstance(told, (tuple, list)):
        return tuple(v.to(dtype_of(s.dtype)) for v, s in zip(made, told))
    return made.to(dtype_of(told.dtype))


def as_tensors(kernel):
    """`kernel`, given the NumPy arrays among its operands as tensors."""

    def run(*args, **params):
        device = next((x.device for x in args if isinstance(x, torch.Tensor)), None)
        args = [
            tensor(x, None, device) if isinstance(x, (np.ndarray, np.generic)) else x for x in args
        ]
        return kernel(*args, **params)

    return run


def with_numbers(f, right=None):
    """A function of two tensors that takes numbers too; `right` is it for a tensor and a number."""

    def kernel(x, y):
        if type(y) in NUMBERS:
            if right is not None:
                return right(x, y)
            y = torch.tensor(y, dtype=x.dtype, device=x.device)
        elif type(x) in NUMBERS:
            x = torch.tensor(x, dtype=y.dtype, device=y.device)
        return f(x, y)

    return kernel


def inexact(f):
    """`f` for floats; integers are what they are."""
    return lambda x: f(x) if x.is_floating_point() else x


def own_derivative(target, kernel):
    """`kernel` with our derivative where PyTorch's would be another one."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, params, *args):
            made = kernel(*args, **params)
            outputs = made if isinstance(made, tuple) else (made,)
            ctx.params, ctx.single = params, not isinstance(made, tuple)
            ctx.plain = [None if isinstance(x, torch.Tensor) else x for x in args]
            ctx.save_for_backward(*[x for x in args if isinstance(x, torch.Tensor)], *outputs)
            ctx.mark_non_differentiable(*[y for y in outputs if not y.is_floating_point()])
            return made

        @staticmethod
        def backward(ctx, *g):
            saved = list(ctx.saved_tensors)
            args = [saved.pop(0) if x is None else x for x in ctx.plain]
            g, y = (g[0], saved[0]) if ctx.single else (list(g), tuple(saved))
            return (None, *target.vjp_rule(g, y, *args, **ctx.params))

    def run(*args, **params):
        if torch.is_grad_enabled() and any(getattr(x, "requires_grad", False) for x in args):
            return Function.apply(params, *args)
        return kernel(*args, **params)

    return run


# Elementwise ---------------------------------------------
def cast(x, dtype):
    if x.is_complex() and not dtype.startswith("complex"):
        x = x.real if dtype != "bool" else x != 0
    return x.to(dtype_of(dtype))


def bitcast(x, dtype):
    x, dtype = x.contiguous(), dtype_of(dtype)
    if x.dtype.itemsize > dtype.itemsize:
        return x.unsqueeze(-1).view(dtype)
    made = x.view(dtype)
    return made.squeeze(-1) if x.dtype.itemsize < dtype.itemsize else made


def cbrt(x):
    y = x.abs().pow(1 / 3)
    y = y - (y * y * y - x.abs()) / (3 * y * y).clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(torch.isfinite(x), y.copysign(x), x)


def sign(x):
    return torch.where(torch.isnan(x), x, torch.sign(x)) if x.is_floating_point() else torch.sgn(x)


def complex_of(x, y):
    like = x if isinstance(x, torch.Tensor) else y
    x, y = (v if isinstance(v, torch.Tensor) else like.new_full((), v) for v in (x, y))
    return torch.complex(*torch.broadcast_tensors(x, y))


ELEMENTWISE = {
    **{getattr(p, n): getattr(torch, n) for n in (
        "negative exp expm1 log log1p log2 log10 sqrt rsqrt sin cos tan arcsin arccos arctan sinh "
        "cosh tanh arcsinh arccosh arctanh sigmoid erf erfc erfinv lgamma digamma isfinite isnan "
        "isinf logical_not bitwise_not abs"
    ).split()},
    **{getattr(p, n): getattr(operator, s) for n, s in dict(
        add="add", subtract="sub", multiply="mul", equal="eq", not_equal="ne", less="lt",
        less_equal="le", greater="gt", greater_equal="ge", divide="truediv",
    ).items()},
    **{getattr(p, n): with_numbers(getattr(torch, n)) for n in (
        "nextafter arctan2 logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor "
        "remainder floor_divide"
    ).split()},
    p.power: torch.pow,
    p.maximum: with_numbers(torch.maximum, torch.clamp_min),
    p.minimum: with_numbers(torch.minimum, torch.clamp_max),
    p.shift_left: with_numbers(torch.bitwise_left_shift),
    p.shift_right: with_numbers(torch.bitwise_right_shift),
    **{getattr(p, n): inexact(getattr(torch, n)) for n in ("floor", "ceil", "round", "trunc")},
    p.polygamma1: lambda x: torch.polygamma(1, x),
    p.i0e: torch.special.i0e,
    p.i1e: torch.special.i1e,
    p.cbrt: cbrt,
    p.sign: sign,
    p.select: torch.where,
    p.real: lambda x: x.real if x.is_complex() else x,
    p.imag: lambda x: x.imag if x.is_complex() else torch.zeros_like(x),
    p.conj: lambda x: x.conj().resolve_conj() if x.is_complex() else x,
    p.complex: complex_of,
    p.cast: cast,
    p.bitcast: bitcast,
    p.stop_gradient: lambda x: x.detach(),
}  # fmt: skip


# Reductions and order ---------------------------------------------
def reduce_sum(x, axes):
    return torch.sum(x, axes, dtype=x.dtype) if axes else x


def reduce_prod(x, axes):
    for axis in reversed(axes):
        x = torch.prod(x, axis, dtype=x.dtype)
    return x


def extreme(f, bound):
    """The largest or smallest along axes; of nothing it is the dtype's bound."""

    def kernel(x, axes):
        if not axes:
            return x
        if not x.numel():
            shape = [n for i, n in enumerate(x.shape) if i not in axes]
            return x.new_full(shape, bound(x.dtype))
        return f(x, axes)

    return kernel


def highest(dtype):
    return math.inf if dtype.is_floating_point else dtype is torch.bool or torch.iinfo(dtype).max


def lowest(dtype):
    if dtype is torch.bool:
        return False
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def cumulative(f, first=False):
    """The running value along an axis, from either end."""

    def kernel(x, axis, reverse):
        made = f(x.flip(axis) if reverse else x, axis)
        made = made[0] if first else made.to(x.dtype)
        return made.flip(axis) if reverse else made

    return kernel


def top_k(x, k):
    usual = x.dtype in (torch.float32, torch.float64, torch.int32)
    if usual and 4 * k < x.shape[-1] and x.numel() > 4096:
        values, places = torch.topk(x, k + 1)
        if BACKEND.is_abstract(x) is False and bool((values[..., :-1] > values[..., 1:]).all()):
            return values[..., :k], places[..., :k].to(torch.int32)
    values, places = torch.sort(x, dim=-1, descending=True, stable=True)  # of equals the first
    return values[..., :k], places[..., :k].to(torch.int32)


def arg(f):
    return lambda x, axis: f(x.to(torch.uint8) if x.dtype is torch.bool else x, axis).to(
        torch.int32
    )


REDUCTIONS = {
    p.reduce_sum: reduce_sum,
    p.reduce_prod: reduce_prod,
    p.reduce_max: extreme(torch.amax, lowest),
    p.reduce_min: extreme(torch.amin, highest),
    p.reduce_any: lambda x, axes: torch.any(x, axes) if axes else x,
    p.reduce_all: lambda x, axes: torch.all(x, axes) if axes else x,
    p.argmax: arg(torch.argmax),
    p.argmin: arg(torch.argmin),
    p.cumsum: cumulative(torch.cumsum),
    p.cumprod: cumulative(torch.cumprod),
    p.cummax: cumulative(torch.cummax, first=True),
    p.cummin: cumulative(torch.cummin, first=True),
    p.sort: lambda x, axis: torch.sort(x, dim=axis, stable=True)[0],
    p.argsort: lambda x, axis: torch.sort(x, dim=axis, stable=True)[1].to(torch.int32),
    p.top_k: top_k,
}


# Shapes and places ---------------------------------------------
def iota(shape, axis, dtype):
    ramp = torch.arange(shape[axis], device=_Place.device).to(dtype_of(dtype))
    return ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape)


def slice_(x, start, stop, strides):
    if any(s != 1 for s in strides):
        return x[tuple(map(slice, start, stop, strides))]
    for i, (a, b) in enumerate(zip(start, stop)):
        if a != 0 or b != x.shape[i]:
            x = x.narrow(i, a, max(b - a, 0))
    return x


def corner(x, sizes, starts):
    """For each axis the places of a block of `sizes` at `starts`, moved inside."""
    for axis, (n, m, at) in enumerate(zip(x.shape, sizes, starts)):
        at = torch.as_tensor(at, device=x.device).to(torch.int64).clamp(0, n - m)
        yield axis, at + torch.arange(m, device=x.device)


def dynamic_slice(x, *starts, sizes):
    for axis, places in corner(x, sizes, starts):
        if sizes[axis] != x.shape[axis]:
            x = x.index_select(axis, places)
    return x


def dynamic_update_slice(x, update, *starts):
    at = [v for _, v in corner(x, update.shape, starts)]
    grid = torch.meshgrid(*at, indexing="ij") if at else ()
    return x.index_put(grid, update) if at else update + torch.zeros_like(x)


def inside(indices, n):
    return indices.to(torch.int64).clamp(0, max(n - 1, 0))


def take(x, indices, axis):
    indices = (
        indices.to(torch.int64) if indices.dtype not in (torch.int32, torch.int64) else indices
    )
    indices = indices.clamp(0, max(x.shape[axis] - 1, 0))
    if axis == 0 and x.dim() == 2 and indices.dim() and x.is_floating_point():
        return F.embedding(indices, x)
    flat = x.index_select(axis, indices.reshape(-1))
    return (
        flat
        if indices.dim() == 1
        else flat.unflatten(axis, indices.shape or (1,))
        if indices.dim()
        else flat.squeeze(axis)
    )


def gather_nd(x, indices):
    k = indices.shape[-1]
    if not k:
        return x.expand(*indices.shape[:-1], *x.shape)
    return x[tuple(inside(indices[..., i], x.shape[i]) for i in range(k))]


MODES = {"mul": "prod", "max": "amax", "min": "amin"}


def place(x, rows, updates, mode):
    """The matrix `x` with the rows `updates` put at `rows`; row `len(x)` takes what is dropped."""
    x = torch.cat([x, x.new_zeros(1, x.shape[1])])
    if mode == "add":
        return x.index_add(0, rows, updates)[:-1]
    if mode == "set":
        return x.index_put((rows,), updates)[:-1]
    rows = rows[:, None].expand(updates.shape)
    return x.scatter_reduce(0, rows, updates, MODES[mode])[:-1]


def scatter(x, indices, updates, mode):
    k, n = indices.shape[-1], math.prod(x.shape[: indices.shape[-1]])
    if x.dtype is torch.bool:
        return scatter(x.to(torch.uint8), indices, updates.to(torch.uint8), mode).bool()
    rows = fits = None
    for i in range(k):
        at, m = indices[..., i].to(torch.int64), x.shape[i]
        fits = (at >= 0) & (at < m) if fits is None else fits & (at >= 0) & (at < m)
        rows = at if rows is None else rows * m + at
    if rows is None:
        rows = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    else:
        rows = torch.where(fits, rows, n)
    rest = math.prod(x.shape[k:])
    updates = updates.expand(*indices.shape[:-1], *x.shape[k:]).reshape(rows.numel(), rest)
    return place(x.reshape(n, rest), rows.reshape(-1), updates, mode).reshape(x.shape)


def scatter_along(x, indices, updates, axis, mode):
    rows = torch.zeros(indices.shape, dtype=torch.int64, device=x.device)
    for i, n in enumerate(x.shape):
        ramp = torch.arange(indices.shape[i], device=x.device)
        ramp = ramp.reshape([-1 if i == j else 1 for j in range(x.dim())])
        rows = rows * n + (indices if i == axis else ramp)
    fits = (indices >= 0) & (indices < x.shape[axis])
    rows = torch.where(fits, rows, x.numel()).reshape(-1)
    updates = updates.expand(indices.shape).reshape(-1, 1)
    return place(x.reshape(-1, 1), rows, updates, mode).reshape(x.shape)


SHAPES = {
    p.reshape: lambda x, shape: x.reshape(shape),
    p.transpose: lambda x, order: x.permute(order),
    p.broadcast_to: lambda x, shape: x.expand(shape),
    p.iota: iota,
    p.slice: slice_,
    p.pad: lambda x, widths, value: windows.frame(x, widths, value),
    p.reverse: lambda x, axes: x.flip(axes),
    p.concatenate: lambda *xs, axis: torch.cat(xs, axis),
    p.dynamic_slice: dynamic_slice,
    p.dynamic_update_slice: dynamic_update_slice,
    p.take: take,
    p.gather_nd: gather_nd,
    p.gather_along: lambda x, indices, axis: x.gather(axis, inside(indices, x.shape[axis])),
    p.scatter: scatter,
    p.scatter_along: scatter_along,
}


# Sums of products ---------------------------------------------
def dot_general(x, y, contract, batch):
    (cx, cy), (bx, by) = contract, batch
    if x.dim() == y.dim() == 2 and len(cx) == 1 and not bx:
        return torch.mm(x.t() if cx[0] == 0 else x, y if cy[0] == 0 else y.t())
    free_x = [i for i in range(x.dim()) if i not in cx and i not in bx]
    free_y = [i for i in range(y.dim()) if i not in cy and i not in by]
    lead = [x.shape[i] for i in bx]
    m, n, inner = (
        math.prod(v.shape[i] for i in axes) for v, axes in ((x, free_x), (y, free_y), (x, cx))
    )
    lot = math.prod(lead)
    a, b = x.permute((*bx, *free_x, *cx)), y.permute((*by, *cy, *free_y))
    shape = [*lead, *[x.shape[i] for i in free_x], *[y.shape[i] for i in free_y]]
    if not bx:
        return torch.mm(a.reshape(m, inner), b.reshape(inner, n)).reshape(shape)
    return torch.bmm(a.reshape(lot, m, inner), b.reshape(lot, inner, n)).reshape(shape)


# Factorizations ---------------------------------------------
def lu(x):
    packed, pivots = torch.linalg.lu_factor(x)
    rows = torch.lu_unpack(packed, pivots, unpack_data=False)[0].transpose(-1, -2)
    return packed, pivots - 1, rows.abs().argmax(-1).to(torch.int32)


def triangular_solve(a, b, lower, adjoint):
    a = a.mH if adjoint else a
    return torch.linalg.solve_triangular(a, b, upper=lower == adjoint)


def svd(x, full_matrices, compute_uv):
    return tuple(torch.linalg.svd(x, full_matrices)) if compute_uv else torch.linalg.svdvals(x)


LINALG = {
    p.cholesky: lambda x: torch.linalg.cholesky(x),
    p.qr: lambda x, mode: tuple(torch.linalg.qr(x, mode)),
    p.svd: svd,
    p.eigh: lambda x: tuple(torch.linalg.eigh(x)),
    p.eig: lambda x: tuple(torch.linalg.eig(x)),
    p.lu: lu,
    p.solve: torch.linalg.solve,
    p.triangular_solve: triangular_solve,
    p.inverse: torch.linalg.inv,
    p.det: torch.linalg.det,
    p.slogdet: lambda x: tuple(torch.linalg.slogdet(x)),
    p.fft: lambda x, inverse: (torch.fft.ifft if inverse else torch.fft.fft)(x),
    p.rfft: lambda x: torch.fft.rfft(x),
    p.irfft: lambda x, n: torch.fft.irfft(x, n),
}


# Noise ---------------------------------------------
@functools.cache
def generator(device):
    return torch.Generator(device)


def seeded(seed):
    """A generator for a seed of two uint32.

    On a CPU it takes 32 bits of its seed alone, so both words are mixed into all bits (splitmix64;
    Steele, Lea and Flood, 2014).
    """
    high, low = (
        seed.to(torch.int64) if isinstance(seed, torch.Tensor) else np.asarray(seed)
    ).tolist()
    made = generator(str(seed.device) if isinstance(seed, torch.Tensor) else str(_Place.device))
    z = (high << 32 | low) + 0x9E3779B97F4A7C15
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return made.manual_seed((z ^ z >> 31) >> 1)


def random_bits(seed, shape):
    g = seeded(seed)
    made = torch.randint(-(2**31), 2**31, shape, generator=g, device=g.device, dtype=torch.int32)
    return made.view(torch.uint32) if shape else made.reshape(1).view(torch.uint32).reshape(())


def random_uniform(seed, shape, dtype):
    g = seeded(seed)
    return torch.rand(shape, generator=g, device=g.device, dtype=dtype_of(dtype))


def random_normal(seed, shape, dtype):
    g = seeded(seed)
    return torch.randn(shape, generator=g, device=g.device, dtype=dtype_of(dtype))


# Control flow ---------------------------------------------
def cond(predicate, *operands, true, false):
    return tuple((true if predicate else false)(*operands))


def while_loop(*operands, condition, body, carry):
    state, constants = operands[:carry], operands[carry:]
    while condition(*state, *constants)[0]:
        state = body(*state, *constants)
    return tuple(state)


def scan(*operands, body, carry, xs, length, reverse):
    state, constants = operands[:carry], operands[carry + xs :]
    columns = [x.unbind(0) for x in operands[carry : carry + xs]]
    rows = []
    for i in range(length - 1, -1, -1) if reverse else range(length):
        made = body(*state, *[column[i] for column in columns], *constants)
        state = made[:carry]
        rows.append(made[carry:])
    if not rows:
        specs = getattr(body, "specs", None) or [spec_of(y) for y in body.outputs]
        return (*state, *[
            torch.empty((0, *s.shape), dtype=dtype_of(s.dtype), device=_Place.device)
            for s in specs[carry:]
        ])  # fmt: skip
    return (*state, *[torch.stack(column) for column in zip(*(rows[::-1] if reverse else rows))])


def checkpoint(*operands, body):
    if torch.is_grad_enabled() and any(
        x.requires_grad for x in operands if isinstance(x, torch.Tensor)
    ):
        from torch.utils.checkpoint import checkpoint as again

        return tuple(again(lambda *xs: tuple(body(*xs)), *operands, use_reentrant=False))
    return tuple(body(*operands))


class Given(torch.autograd.Function):
    """The first operands; the next ones get the derivative that `gradient` gives."""

    @staticmethod
    def forward(ctx, outputs, wrt, gradient, *operands):
        ctx.counts, ctx.gradient = (outputs, wrt, len(operands) - outputs - wrt), gradient
        ctx.save_for_backward(*operands[outputs + wrt :])
        return tuple(x.view_as(x) for x in operands[:outputs])

    @staticmethod
    def backward(ctx, *g):
        outputs, _, rest = ctx.counts
        made = ctx.gradient(*g, *ctx.saved_tensors)
        return (*[None] * (3 + outputs), *made, *[None] * rest)


def with_gradient(*operands, outputs, wrt, gradient):
    return Given.apply(outputs, wrt, gradient, *operands)


CONTROL = {
    p.cond: cond,
    p.while_loop: while_loop,
    p.scan: scan,
    p.checkpoint: checkpoint,
    p.barrier: lambda *operands: operands,
    p.with_gradient: with_gradient,
}

KERNELS = {
    **ELEMENTWISE,
    **REDUCTIONS,
    **SHAPES,
    **LINALG,
    **{getattr(p, n): getattr(windows, n) for n in windows.__all__ if hasattr(p, n)},
    p.dot_general: dot_general,
    p.random_bits: random_bits,
    p.random_uniform: random_uniform,
    p.random_normal: random_normal,
}
OURS = [p.scatter, p.scatter_along]  # what is differentiated by our rules
KERNELS |= {q: own_derivative(q, KERNELS[q]) for q in OURS}
GUARDED = {q: guarded(q, k) for q, k in KERNELS.items()} | CONTROL
KERNELS |= CONTROL


class Step:
    """A graph as a function of arrays; setting `jit` gives it to `torch.compile`."""

    def __init__(self, graph, kernel, donate):
        self.given = graph, kernel, ISLANDS, donate, _Place.device.type == "cpu"
        self.flat = flat = plan(*self.given)
        self.source, self.specs = flat.source, flat.specs
        self.mode = torch.no_grad if flat.taped else torch.inference_mode

    def __call__(self, *values):
        with self.mode():
            return self.flat(*[v if isinstance(v, torch.Tensor) else tensor(v) for v in values])

    @property
    def jit(self):
        return self.flat.__name__ == "run"

    @jit.setter
    def jit(self, wanted):
        if wanted:
            from oneiros.backends.torch_inductor import jitted

            self.flat, self.mode = jitted(self.flat, *self.given), torch.no_grad


class Torch(backend.Backend):
    """See the module."""

    native, live, meets_numpy, islands = True, True, False, ISLANDS
    layer_base, stateful_steps, quick_eager = Module, True, True
    module_state, module_call = staticmethod(module_state), staticmethod(module_call)
    step_words = {"torch": {"no_grad"}}
    pack_module, unpack_module = staticmethod(pack_module), staticmethod(unpack_module)

    def kept(self, kind):
        return KEPT

    def owns(self, kind):
        return issubclass(kind, torch.Tensor)

    def kernel_for(self, primitive, types):
        kernel = self.kernel(primitive)
        if any(issubclass(t, (np.ndarray, np.generic)) for t in types):
            return as_tensors(kernel)
        return kernel

    def to_array(self, x, dtype=None):
        if isinstance(x, torch.Tensor):
            return x if dtype is None else x.to(dtype_of(dtype))
        if isinstance(x, (list, tuple)):
            if dtype is None:
                dtype = _plain_dtype(x)
            x = backend.to_numpy(x)
        return tensor(x, dtype)

    def to_numpy(self, x):
        return host(x)

    def variable(self, value, variable):
        if (
            torch._C._len_torch_dispatch_stack()
        ):  # what is stored is real where shapes are found too
            from torch.utils._python_dispatch import _disable_current_modes

            with _disable_current_modes():
                return self._stored(value, variable)
        return self._stored(value, variable)

    def _stored(self, value, variable):
        if isinstance(value, torch.Tensor):
            value = value.detach().clone(memory_format=torch.contiguous_format)
        else:
            value = torch.tensor(value) if value.dtype.name not in BYTES else tensor(value)
        moves = variable.trainable and (value.is_floating_point() or value.is_complex())
        return torch.nn.Parameter(value.to(_Place.device), requires_grad=moves)

    def assign(self, storage, value):
        if not isinstance(storage, torch.Tensor):
            return np.array(backend.to_numpy(value))
        with torch.no_grad():
            return storage.copy_(value if isinstance(value, torch.Tensor) else tensor(value))

    def lend(self, storage):
        return storage.detach()

    def take_back(self, storage, value):
        if storage.data_ptr() != value.data_ptr() or not value.numel():
            with torch.no_grad():
                storage.copy_(value)
        return storage

    def copy(self, x):
        return x.detach().clone()

    def value_and_grad(self, function, values):
        leaves = [
            v.detach().requires_grad_(v.is_floating_point() or v.is_complex()) for v in values
        ]
        moving = [v for v in leaves if v.requires_grad]
        with torch.enable_grad():
            loss, rest = function(leaves)
            if loss.requires_grad and moving:
                made = torch.autograd.grad(loss, moving, allow_unused=True, materialize_grads=True)
            else:
                made = [torch.zeros_like(v) for v in moving]
        made = iter(made)
        gradients = [next(made) if v.requires_grad else None for v in leaves]
        return gradients, tree.map_structure(_detached, rest)

    def compile_function(self, function, specs, donate=()):
        return function

    def compile(self, graph, donate=()):
        return Step(graph, self.raw, donate)

    def is_recording(self):
        return torch.is_grad_enabled()

    def signature_of(self, values):
        found = []
        for v in values:
            if v is None:
                found.append(None)
            elif type(v) is torch.Tensor and v.device.type == _Place.device.type:
                if getattr(v, "_keras_mask", None) is not None or v.is_meta:
                    return None
                found.append((v.dtype, v.shape))
            else:
                return None
        if torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack():
            return None
        return tuple(found)

    def piece(self, graph):
        """A function of arrays that gives the graph's one output, which PyTorch differentiates."""
        flat = plan(graph, self.raw, ISLANDS, host=False, inner=True, moves=True)
        return lambda *values: flat(*values)[0]

    def compile_loop(self, compiled, batch_size):
        """Many steps in one call: `(state, arrays, order, first, count)` to the changed state."""
        if compiled.graph is None:
            return False
        flat, mode = compiled.function.flat, compiled.function.mode

        def many(state, arrays, order, first, count):
            with mode():
                for rows in order.narrow(0, first * batch_size, count * batch_size).split(
                    batch_size
                ):
                    made = flat(*state, *[a.index_select(0, rows) for a in arrays])
            return made

        return many

    def fits_device(self, arrays):
        """Whether data may be held on the device whole: at most 2 GiB where that is not the host."""
        return _Place.device.type == "cpu" or sum(a.nbytes for a in arrays) <= 2 << 30

    def raw(self, target, usual=False):
        """The kernel of a primitive (`usual`: of a dtype it takes), or of a composite kept whole."""
        if hasattr(target, "body"):
            return self.faster[target.name]
        return KERNELS[target] if usual else self.kernel(target)

    def is_abstract(self, x):
        return (
            x.is_meta
            or type(x).__name__ == "FakeTensor"
            or torch._C._functorch.is_functorch_wrapped_tensor(x)
        )

    def abstract(self, function, specs):
        """The shapes and dtypes that `function` gives for arrays of these specs."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            made = function(*[torch.empty(s.shape, dtype=dtype_of(s.dtype)) for s in specs])
        return tree.map_structure(lambda x: spec_of(x) if hasattr(x, "dtype") else x, made)

    def vectorized_map(self, function, elements):
        return torch.func.vmap(function)(elements)

    def jvp(self, function, primals, tangents, has_aux):
        return torch.func.jvp(function, tuple(primals), tuple(tangents), has_aux=has_aux)

    def custom_gradient(self, function, args, kwargs):
        leaves, structure = tree.flatten(args), []
        at = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *tensors):
                now = list(leaves)
                for i, x in zip(at, tensors):
                    now[i] = x
                made, ctx.gradient = function(*tree.pack_sequence_as(args, now), **kwargs)
                structure.append(made)
                return tuple(y.view_as(y) for y in tree.flatten(made))

            @staticmethod
            def backward(ctx, *g):
                made = tree.flatten(ctx.gradient(*g))
                return tuple(made if len(made) == len(at) else [made[i] for i in at])

        flat = Function.apply(*[leaves[i] for i in at])
        return tree.pack_sequence_as(structure[0], list(flat))

    @contextlib.contextmanager
    def device(self, name):
        kind, _, index = str(name).lower().partition(":")
        kind = "cuda" if kind == "gpu" else kind
        before, _Place.device = (
            _Place.device,
            torch.device(f"{kind}:{index}" if index and kind != "cpu" else kind),
        )
        try:
            with _Place.device:
                yield
        finally:
            _Place.device = before

    def devices(self):
        gpus = [f"gpu:{i}" for i in range(torch.cuda.device_count())]
        return [*gpus, *["mps:0"] * torch.backends.mps.is_available(), "cpu:0"]


def _detached(x):
    return x.detach() if isinstance(x, torch.Tensor) else x


def _plain_dtype(x):
    """The dtype of a list of Python numbers; None if it holds anything else."""
    while isinstance(x, (list, tuple)) and x:
        x = x[0]
    return result_type(type(x)) if type(x) in NUMBERS else None


UNSTORED.add(torch.Tensor)
BACKEND = Torch("torch", GUARDED, FASTER)
