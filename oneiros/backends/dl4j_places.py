"""How ND4J computes the primitives that move, pick and place elements, factorize and draw.

Places are row numbers of a matrix. The engine reads and writes beyond it if told to, so numbers are
moved inside first, or to a row that is thrown away.
"""

from __future__ import annotations

import math
from ctypes import c_void_p

import numpy as np

from oneiros.backends import numpy_windows
from oneiros.backends.dl4j_kernels import (
    FLOATS,
    PAIRS,
    SCALARS,
    compare,
    elementwise,
    known,
    scalar,
    shaped,
)  # fmt: skip
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype

__all__ = ["RULES"]

MODES = {
    "add": "scatter_add", "set": "scatter_upd", "mul": "scatter_mul", "max": "scatter_max",
    "min": "scatter_min",
}  # fmt: skip


# Layout ---------------------------------------------
def fill(plan, array, value):
    """Every element of a contiguous array set to a number."""
    if array.dtype == bool:
        array, value = array.view(np.uint8), int(value)
    plan.call(SCALARS, 14, array, array, np.asarray(value).astype(array.dtype), None)


def framed(plan, x, widths, value, out=None):
    """As `numpy_windows.framed`: an array with `value` around and between its elements."""
    if out is None and not any(map(any, widths)):
        return x
    whole, taken, places = numpy_windows.spans(x.shape, widths)
    out = plan.spare_array(whole, x.dtype) if out is None else out
    inside = out[places]
    if inside.size != out.size:
        fill(plan, out, value)
    if inside.size:
        plan.copy(x[taken], inside)
    return out


def slice_(plan, call):
    """A view; parts of one array which make it up are copied in one call, as they are read later."""
    (y,), x = call.outputs, call.args[0]
    if id(y) in plan.parts:
        plan.parts.discard(id(y))
        return None
    v, axis = plan.operand(x), split_axis(y.shape, x.shape)
    users = plan.users.get(id(x), [])
    count = x.shape[axis] // y.shape[axis] if axis else 0
    starts = {
        c.kwargs["start"]: c for c in users if c.target is p.slice and c.outputs[0].shape == y.shape
    }
    wanted = [
        tuple(i * y.shape[axis] * (k == axis) for k in range(len(y.shape))) for i in range(count)
    ]
    if count < 2 or sorted(starts) != wanted or v.dtype.name not in FLOATS or v.slot is None:
        return plan._view(call)
    array = plan.dense(x)
    outs = [plan.place(starts[at].outputs[0]) for at in wanted]
    plan.run("split", [np.asarray(axis, np.int32), array], [o.array for o in outs], i=(count,))
    for at, out in zip(wanted, outs):
        plan.define(starts[at].outputs[0], out)
        plan.parts.add(id(starts[at].outputs[0]))
    plan.parts.discard(id(y))
    return None


def split_axis(part, whole):
    """The one axis, not the first, along which a part is shorter by a whole number; 0 if none."""
    axes = [i for i, (m, n) in enumerate(zip(part, whole)) if m != n]
    return axes[0] if len(axes) == 1 and axes[0] and whole[axes[0]] % part[axes[0]] == 0 else 0


def pad(plan, call):
    (y,), v = call.outputs, plan.operand(call.args[0])
    if not known(v.dtype) or isinstance(call.kwargs["value"], complex):
        return NotImplemented
    array = plan.dense(call.args[0]) if v.base is not None else v.array
    if min(array.strides, default=0) < 0:
        array = plan.dense(call.args[0])
    out = plan.place(y)
    framed(plan, array, call.kwargs["widths"], call.kwargs["value"], out.array)
    return plan.define(y, out)


def reverse(plan, call):
    (y,), x, axes = call.outputs, call.args[0], call.kwargs["axes"]
    if not known(plan.operand(x).dtype):
        return NotImplemented
    array, out = plan.dense(x), plan.place(y)
    flipped(plan, array, axes, out.array)
    return plan.define(y, out)


def flipped(plan, x, axes, out):
    if x.dtype == bool:
        x, out = x.view(np.uint8), out.view(np.uint8)
    if axes and x.size > 1:
        plan.run("reverse", [x], [out], i=tuple(map(int, axes)))
    else:
        plan.copy(x, out)


def concatenate(plan, call):
    (y,), axis = call.outputs, int(call.kwargs["axis"])
    if not known(np_dtype(y.dtype)):
        return NotImplemented
    arrays, out = [plan.dense(plan_argument(plan, x)) for x in call.args], plan.place(y)
    if out.dtype == bool:
        plan.run(
            "concat", [a.view(np.uint8) for a in arrays], [out.array.view(np.uint8)], i=(axis,)
        )
    else:
        plan.run("concat", arrays, [out.array], i=(axis,))
    return plan.define(y, out)


def plan_argument(plan, x):
    """An argument as `dense` takes it."""
    return x if hasattr(x, "call") else plan.operand(x)


def broadcast(plan, call):
    """A view; numbers fill memory of their own, as in NumPy."""
    return plan._broadcast(call)


# Places ---------------------------------------------
def numbers(plan, x, n, beyond):
    """The integers of an argument, int32 or int64: those out of range as 0 or n - 1, or as `beyond`."""
    v = plan.operand(x)
    array = plan.dense(plan_argument(plan, x))
    kind = np.dtype(np.int64 if v.dtype.itemsize == 8 or v.dtype == np.uint32 else np.int32)
    if array.dtype != kind:
        wide = plan.spare_array(array.shape, kind)
        plan.copy(array, wide)
        array = wide
    out = plan.spare_array(array.shape, kind)
    a, o = shaped(array.shape, array, out)
    if beyond is None:
        plan.call(SCALARS, 6, a, o, scalar(0, kind), None)
        plan.call(SCALARS, 13, o, o, scalar(max(n - 1, 0), kind), None)
    else:  # negative ones are the largest without a sign
        whole = np.dtype(f"u{kind.name}")
        plan.call(SCALARS, 13, a.view(whole), o.view(whole), scalar(beyond, whole), None)
    return out


def column(x, i):
    return x[..., i]


def usable(plan, indices, *values):
    return plan.operand(indices).dtype.kind in "iu" and all(
        known(v.dtype) and v.dtype.name not in ("float16", "bfloat16") for v in values
    )


def gathered(plan, x, rows, out):
    """The rows of a matrix at places that are inside."""
    if x.dtype == bool:
        x, out = x.view(np.uint8), out.view(np.uint8)
    plan.run("gather", [x, rows], [out], i=(0,))


def take(plan, call):
    (y,), (x, indices), axis = call.outputs, call.args, int(call.kwargs["axis"])
    v = plan.operand(x)
    if not usable(plan, indices, v):
        return NotImplemented
    array = plan.dense(plan_argument(plan, x))
    rows = numbers(plan, indices, v.shape[axis], None).reshape(-1)
    out = plan.place(y)
    shape = (*v.shape[:axis], rows.size, *v.shape[axis + 1 :])
    made = out.array.reshape(shape)
    if v.dtype == bool:
        array, made = array.view(np.uint8), made.view(np.uint8)
    plan.run("gather", [array, rows], [made], i=(axis,))
    return plan.define(y, out)


def gather_nd(plan, call):
    (y,), (x, indices) = call.outputs, call.args
    v, w = plan.operand(x), plan.operand(indices)
    k = w.shape[-1]
    if not k or not usable(plan, indices, v):
        return NotImplemented
    array = plan.dense(plan_argument(plan, x))
    row = None
    for i in range(k):
        part = spread_column(plan, indices, i)
        inside = numbers(plan, part, v.shape[i], None)
        row = combined(plan, row, inside, v.shape[i])
    count, rest = math.prod(v.shape[:k]), v.shape[k:]
    out = plan.place(y)
    gathered(plan, array.reshape(count, *rest), row.reshape(-1), out.array.reshape(-1, *rest))
    return plan.define(y, out)


def spread_column(plan, indices, i):
    """One column of an argument's last axis, as a symbol of its own."""
    w = plan.operand(indices)
    s = plan.temporary(w.shape[:-1], w.dtype.name)
    plan.copy(w.array[..., i], plan.operand(s).array)
    return s


def combined(plan, row, inside, n):
    """`row * n + inside`."""
    if row is None:
        return inside
    elementwise(plan, p.multiply, row, scalar(n, row.dtype), row)
    elementwise(plan, p.add, row, inside, row)
    return row


def scatter(plan, call):
    (y,), (x, indices, updates), mode = call.outputs, call.args, call.kwargs["mode"]
    v, w, u = (plan.operand(a) for a in call.args)
    k = w.shape[-1]
    if not k or not usable(plan, indices, v) or v.dtype == bool or mode not in MODES:
        return NotImplemented
    row = bad = None
    for i in range(k):
        part = spread_column(plan, indices, i)
        inside = numbers(plan, part, v.shape[i], v.shape[i])
        if k > 1:  # a place beyond one axis must not come to lie within another row
            outside = plan.spare_array(inside.shape, np.dtype(bool))
            compare(plan, p.equal, inside, scalar(v.shape[i], inside.dtype), outside)
            outside = outside.view(np.uint8)
            if bad is not None:
                plan.run("maximum", [bad, outside], [outside])
            bad = outside
        row = combined(plan, row, inside, v.shape[i])
    count, rest = math.prod(v.shape[:k]), math.prod(v.shape[k:])
    if bad is not None:
        row = outside_last(plan, row, bad, count)
    shape = (*w.shape[:-1], *v.shape[k:])
    updates = plan.dense(plan_argument(plan, updates)) if u.shape == shape else (
        plan.spread(u.base or u, shape)
    )  # fmt: skip
    return placed(plan, y, x, row.reshape(-1), updates.reshape(-1, rest), mode, count)


def outside_last(plan, row, bad, count):
    """`row`, and `count` where it is bad."""
    mask = plan.spare_array(row.shape, row.dtype)
    plan.copy(bad, mask)
    gap = plan.spare_array(row.shape, row.dtype)
    elementwise(plan, p.subtract, scalar(count, row.dtype), row, gap)
    elementwise(plan, p.multiply, gap, mask, gap)
    elementwise(plan, p.add, row, gap, row)
    return row


def placed(plan, y, x, row, updates, mode, count):
    """`x` as a matrix of `count` rows with `updates` in place; one more row takes what is outside."""
    rest = updates.shape[-1]
    array = plan.dense(plan_argument(plan, x)).reshape(count, rest)
    table = plan.spare_array((count + 1, rest), array.dtype)
    plan.copy(array, table[:count])
    fill(plan, table[count], 0)
    plan.run(MODES[mode], [table, row, updates], [table])
    out = plan.place(y)
    plan.copy(table[:count], out.array.reshape(count, rest))
    return plan.define(y, out)


def along(plan, indices, shape, axis, beyond):
    """Row numbers, in `x` as a column, of places along one axis: NumPy's ramps for the other axes."""
    w = plan.operand(indices)
    inside = numbers(plan, indices, shape[axis], beyond)
    steps = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    base = np.zeros(w.shape, inside.dtype)
    for i, n in enumerate(w.shape):
        if i != axis:
            ramp = np.arange(n, dtype=inside.dtype) * steps[i]
            base += ramp.reshape([-1 if i == j else 1 for j in range(len(shape))])
    row = plan.spare_array(inside.shape, inside.dtype)
    elementwise(plan, p.multiply, inside, scalar(steps[axis], inside.dtype), row)
    elementwise(plan, p.add, row, base, row)
    return inside, row


def gather_along(plan, call):
    (y,), (x, indices), axis = call.outputs, call.args, int(call.kwargs["axis"])
    v, w = plan.operand(x), plan.operand(indices)
    lined = all(n >= m for i, (n, m) in enumerate(zip(v.shape, w.shape)) if i != axis)
    if not usable(plan, indices, v) or not lined:
        return NotImplemented
    array = plan.dense(plan_argument(plan, x))
    _, row = along(plan, indices, v.shape, axis, None)
    out = plan.place(y)
    gathered(plan, array.reshape(-1), row.reshape(-1), out.array.reshape(-1))
    return plan.define(y, out)


def scatter_along(plan, call):
    (y,), (x, indices, updates) = call.outputs, call.args
    axis, mode = int(call.kwargs["axis"]), call.kwargs["mode"]
    v, w, u = (plan.operand(a) for a in call.args)
    if not usable(plan, indices, v) or v.dtype == bool or mode not in MODES:
        return NotImplemented
    n = v.shape[axis]
    inside, row = along(plan, indices, v.shape, axis, n)
    outside = plan.spare_array(inside.shape, np.dtype(bool))
    compare(plan, p.equal, inside, scalar(n, inside.dtype), outside)
    row = outside_last(plan, row, outside.view(np.uint8), math.prod(v.shape))
    updates = plan.dense(plan_argument(plan, updates)) if u.shape == w.shape else (
        plan.spread(u.base or u, w.shape)
    )  # fmt: skip
    return placed(plan, y, x, row.reshape(-1), updates.reshape(-1, 1), mode, math.prod(v.shape))


def starts_of(plan, args, sizes, shape):
    """Where a block of `sizes` begins, moved inside of `shape`: an int64 vector."""
    begin = plan.spare_array((len(args),), np.int64)
    for i, x in enumerate(args):
        v = plan.operand(x, np.int64)
        plan.copy(v.array.reshape(1), begin[i : i + 1])
    top = np.asarray([n - m for n, m in zip(shape, sizes)], np.int64)
    plan.call(SCALARS, 6, begin, begin, scalar(0, np.int64), None)
    plan.call(PAIRS, 8, begin, top, begin, None)
    return begin


def dynamic_slice(plan, call):
    (y,), (x, *starts), sizes = call.outputs, call.args, call.kwargs["sizes"]
    v = plan.operand(x)
    if not known(v.dtype) or not v.shape:
        return NotImplemented
    row = block(plan, starts, sizes, v.shape)
    array, out = plan.dense(plan_argument(plan, x)), plan.place(y)
    gathered(plan, array.reshape(-1), row, out.array.reshape(-1))
    return plan.define(y, out)


def dynamic_update_slice(plan, call):
    (y,), (x, update, *starts) = call.outputs, call.args
    v, u = plan.operand(x), plan.operand(update)
    if not known(v.dtype) or v.dtype == bool or v.dtype.itemsize < 4 or not v.shape:
        return NotImplemented
    row = block(plan, starts, u.shape, v.shape)
    new = plan.dense(plan_argument(plan, update))
    return placed(plan, y, x, row, new.reshape(-1, 1), "set", math.prod(v.shape))


def block(plan, starts, sizes, shape):
    """The places, in an array of `shape` as one row, of a block that begins at `starts`."""
    begin = starts_of(plan, starts, sizes, shape)
    steps = np.asarray([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)
    elementwise(plan, p.multiply, begin, steps, begin)
    first = plan.spare_array((), np.int64)
    plan.call("execReduceSame", 0, begin, None, first)
    grid = np.indices(tuple(map(int, sizes))).reshape(len(shape), -1)
    base = (grid * steps[:, None]).sum(0)
    row = plan.spare_array(base.shape, np.int64)
    elementwise(plan, p.add, base, first, row)
    return row


# Matrices ---------------------------------------------
def linear(name, outputs=1, b=None):
    """A rule for an op over stacks of matrices."""

    def rule(plan, call):
        values = [plan.operand(x) for x in call.args]
        if any(v.dtype.name not in FLOATS for v in values):
            return NotImplemented
        arrays = [plan.dense(plan_argument(plan, x)) for x in call.args]
        outs = [plan.place(y) for y in call.outputs]
        plan.run(name, arrays, [v.array for v in outs], b=b(call.kwargs) if b else ())
        for y, v in zip(call.outputs, outs):
            plan.define(y, v)
        return None

    return rule


# Noise ---------------------------------------------
def drawn(plan, seed, out, function, k, pointers, low, high):
    """Lines that fill an array with draws from the engine's generator, whose state is the seed."""
    generator = plan.memory.generator()
    states = plan.memory.native.setRandomGeneratorStates
    name = plan.source(lambda words: states(generator, *mixed(int(words[0]), int(words[1]))))
    plan.line(f"{name}({{}})", plan.operand(seed))
    settings = plan.kept(("noise", low, high), np.asarray, (low, high), out.dtype)
    plan.memory.arrays.append(settings)
    address = c_void_p(settings.__array_interface__["data"][0])
    plan.call(function, k, c_void_p(generator), *[out] * pointers, address)


def mixed(seed, counter):
    """Two states of 63 bits in which those of the seed are spread: SplitMix64 (Steele et al., 2014).

    From states of few bits the generator's first draws hang together.
    """
    state, found = (seed << 32 | counter), []
    for _ in range(2):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        found.append((z ^ z >> 31) >> 1)
    return found


def noise(function, k, pointers):
    def rule(plan, call):
        (y,) = call.outputs
        if np_dtype(y.dtype).name not in FLOATS:
            return NotImplemented
        out = plan.place(y)
        drawn(plan, call.args[0], out.array, function, k, pointers, 0.0, 1.0)
        return plan.define(y, out)

    return rule


def random_bits(plan, call):
    """Halves of 16 bits: the engine's draws have 23."""
    (y,) = call.outputs
    out = plan.place(y)
    halves = out.array.reshape(-1).view(np.uint16)
    draws = plan.spare_array(halves.shape, np.float32)
    drawn(plan, call.args[0], draws, "execRandom", 0, 1, 0.0, 65536.0)
    plan.copy(draws, halves)
    return plan.define(y, out)


RULES = {
    p.slice: slice_,
    p.pad: pad,
    p.reverse: reverse,
    p.concatenate: concatenate,
    p.take: take,
    p.gather_nd: gather_nd,
    p.gather_along: gather_along,
    p.scatter: scatter,
    p.scatter_along: scatter_along,
    p.dynamic_slice: dynamic_slice,
    p.dynamic_update_slice: dynamic_update_slice,
    p.cholesky: linear("cholesky"),
    p.inverse: linear("matrix_inverse"),
    p.det: linear("matrix_determinant"),
    p.solve: linear("solve"),
    p.triangular_solve: linear("triangular_solve", b=lambda k: (k["lower"], k["adjoint"])),
    p.random_uniform: noise("execRandom", 0, 1),
    p.random_bits: random_bits,
    p.random_normal: noise("execRandom3", 6, 3),
}
