"""How ND4J computes each primitive: rules that write the engine's calls into a plan.

The engine has two ways in: ops with a context, which broadcast and know windows and matrices, and
older functions of plain loops with a number each, which are several times as fast on equal shapes
and scalars. Numbers and faults are those of ND4J 1.0.0-M2.1: what it would compute otherwise than
NumPy is put together of what it computes right, or refused here and left to NumPy.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.backends.dl4j_native import DTYPES
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype

__all__ = ["RULES"]

FLOATS = ("float32", "float64")
BITS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
PAIRS, SCALARS = "execPairwiseTransform", "execScalar"

# name of the op with a context, number for pairs, for a scalar on the right, and on the left
ARITHMETIC = {
    p.add: ("add", 0, 0, 0),
    p.subtract: ("subtract", 6, 1, 5),
    p.multiply: ("multiply", 3, 2, 2),
    p.divide: ("divide", 2, 3, 4),
    p.power: ("Pow", 4, 31, 45),
}
COMPARISONS = {  # name, number, number with the operands exchanged
    p.equal: ("equals", 0, 0),
    p.not_equal: ("not_equals", 6, 6),
    p.less: ("less", 2, 1),
    p.greater: ("greater", 1, 2),
    p.less_equal: ("less_equal", 11, 4),
    p.greater_equal: ("greater_equal", 4, 11),
}
UNARY = {  # family and number
    p.negative: ("Same", 3), p.abs: ("Same", 0), p.floor: ("Same", 18), p.ceil: ("Same", 17),
    p.round: ("Strict", 48), p.exp: ("Strict", 23), p.log: ("Strict", 24),
    p.log1p: ("Strict", 44), p.expm1: ("Strict", 51), p.sin: ("Strict", 27), p.cos: ("Strict", 22),
    p.tan: ("Strict", 41), p.arcsin: ("Strict", 31), p.arccos: ("Strict", 30),
    p.arctan: ("Strict", 32), p.sinh: ("Strict", 39), p.cosh: ("Strict", 40),
    p.arcsinh: ("Strict", 47), p.arccosh: ("Strict", 46), p.arctanh: ("Strict", 52),
    p.erf: ("Strict", 45), p.erfc: ("Strict", 50), p.sqrt: ("Float", 1), p.rsqrt: ("Float", 3),
    p.isinf: ("Bool", 1), p.isfinite: ("Bool", 3), p.isnan: ("Bool", 2),
}  # fmt: skip
NAMED = {p.tanh: "tanh", p.sigmoid: "sigmoid", p.lgamma: "lgamma", p.digamma: "digamma"}
ROUNDING = {p.floor, p.ceil, p.round, p.trunc}


# Arrays ---------------------------------------------
def scalar(value, dtype):
    return np.asarray(value, dtype)


def bits(array):
    """The array read as integers of its width."""
    return array.view(BITS[array.dtype.itemsize])


def elementwise(plan, target, x, y, out):
    """One line for `target(x, y)` of contiguous arrays into `out`."""
    name, pairs, right, left = ARITHMETIC[target]
    if x.size == y.size == out.size:
        if out.size == 1:
            return plan.call(SCALARS, right, *shaped(out.shape, x, out), y.reshape(()), None)
        return plan.call(PAIRS, pairs, *shaped(out.shape, x, y, out), None)
    if y.size == 1 and x.size == out.size:
        return plan.call(SCALARS, right, *shaped(out.shape, x, out), y.reshape(()), None)
    if x.size == 1 and y.size == out.size:
        return plan.call(SCALARS, left, *shaped(out.shape, y, out), x.reshape(()), None)
    return plan.run(name, [x, y], [out])


def shaped(shape, *arrays):
    return [a.reshape(-1) if math.prod(shape) > 1 else a.reshape(()) for a in arrays]


def operands(plan, call):
    """The operands' values, broadcasts as what they repeat; and their arrays, contiguous."""
    values = plan._operands(call)
    arrays = []
    for x, v in zip(call.args, values):
        whole = getattr(x, "shape", None) == v.shape and v is plan.operand(x)
        arrays.append(plan.dense(x if whole and not v.constant and hasattr(x, "call") else v))
    return [plan._operands(call)[i] for i in range(len(values))], arrays


def known(*dtypes):
    return all(np.dtype(d).name in DTYPES for d in dtypes)


def number(v):
    """The value of a constant scalar, or None."""
    return v.array.reshape(()).item() if v.constant and v.array.size == 1 else None


# Elementwise ---------------------------------------------
def arithmetic(plan, call):
    (y,) = call.outputs
    dtype = np_dtype(y.dtype)
    allowed = dtype.kind in "iu" and call.target not in (p.divide, p.power)
    if not (allowed or dtype.name in FLOATS):
        return NotImplemented
    values, arrays = operands(plan, call)
    out = plan.place(y, [*zip(call.args, values)])
    elementwise(plan, call.target, *arrays, out.array)
    return plan.define(y, out)


def comparison(plan, call):
    (y,) = call.outputs
    values, (a, b) = operands(plan, call)
    if not known(values[0].dtype) or values[0].dtype.name in ("float16", "bfloat16"):
        return NotImplemented
    if a.dtype == bool:
        a, b = a.view(np.uint8), b.view(np.uint8)
    out = plan.place(y)
    compare(plan, call.target, a, b, out.array)
    return plan.define(y, out)


def compare(plan, target, a, b, out):
    name, own, exchanged = COMPARISONS[target]
    if a.size == b.size == out.size and out.size > 1:
        plan.call("execPairwiseTransformBool", own, *shaped(out.shape, a, b, out), None)
    elif b.size == 1 and a.size == out.size:
        plan.call("execScalarBool", own, *shaped(out.shape, a, out), b.reshape(()), None)
    elif a.size == 1 and b.size == out.size:
        plan.call("execScalarBool", exchanged, *shaped(out.shape, b, out), a.reshape(()), None)
    else:
        plan.run(name, [a, b], [out])


def unary(plan, call):
    (y,), x = call.outputs, call.args[0]
    v = plan.operand(x)
    if call.target in ROUNDING and v.dtype.kind in "iub":
        return plan.define(y, v)
    signed = call.target in (p.negative, p.abs) and v.dtype.kind == "i"
    if v.dtype.name not in FLOATS and not signed:
        return NotImplemented
    array, out = plan.dense(x), plan.place(y, [(x, plan.operand(x))])
    if call.target in NAMED:
        plan.run(NAMED[call.target], shaped(array.shape, array), shaped(array.shape, out.array))
    else:
        family, k = UNARY[call.target]
        plan.call(f"execTransform{family}", k, *shaped(array.shape, array, out.array), None)
    return plan.define(y, out)


def cast(plan, call):
    (y,), x = call.outputs, call.args[0]
    v, dtype = plan.operand(x), np_dtype(y.dtype)
    if v.dtype == dtype:
        return plan.define(y, v)
    if not known(v.dtype, dtype) or (v.dtype.name, dtype.name) == ("uint16", "float16"):
        return NotImplemented
    if v.dtype.kind in "fV" and dtype.kind in "iu" and dtype.name not in ("int32", "int64"):
        return NotImplemented  # what does not fit is what the machine makes of it
    array, out = plan.dense(x), plan.place(y)
    if dtype == bool:
        if array.dtype.name in ("float16", "bfloat16"):
            return NotImplemented
        compare(plan, p.not_equal, array, scalar(0, array.dtype), out.array)
    else:
        plan.copy(array, out.array)
    return plan.define(y, out)


def select(plan, call):
    """By bits: `y + (x - y) * condition` in whole numbers, which wrap around and lose nothing."""
    (out,), dtype = call.outputs, np_dtype(call.outputs[0].dtype)
    if dtype.itemsize not in BITS or not known(dtype):
        return NotImplemented
    c, *pair = (v.base or v for v in (plan.operand(x, dtype) for x in call.args))
    source = getattr(call.args[0], "call", None)
    zero = [v.constant and v.array.size == 1 and not bits(v.array.reshape(1))[0] for v in pair]
    if zero[0] and dtype.kind == "f" and source is not None and source.target is p.less_equal:
        x, bound = source.args
        if x is call.args[2] and number(plan.operand(bound, dtype)) == 0 and dtype.name in FLOATS:
            x = call.args[2]
            array, made = plan.dense(x), plan.place(out, [(x, plan.operand(x))])
            plan.call(SCALARS, 39, *shaped(array.shape, array, made.array), scalar(0, dtype), None)
            return plan.define(out, made)
    kind = np.dtype(BITS[dtype.itemsize])
    truth = plan.dense(call.args[0] if c is plan.operand(call.args[0]) else c).view(np.uint8)
    arrays = [
        bits(plan.dense(x if v is plan.operand(x) and hasattr(x, "call") else v))
        for x, v in zip(call.args[1:], pair)
    ]
    if zero[0]:
        flipped = plan.spare_array(truth.shape, np.uint8)
        elementwise(plan, p.subtract, scalar(1, np.uint8), truth, flipped)
        truth = flipped
    mask = truth
    if kind.itemsize > 1:
        mask = plan.spare_array(truth.shape, kind)
        plan.copy(truth, mask)
    made = plan.place(out)
    target = bits(made.array)
    if any(zero):
        elementwise(plan, p.multiply, arrays[zero[0]], mask, target)
        return plan.define(out, made)
    a, b = arrays
    if a.size == b.size == 1 and pair[0].constant and pair[1].constant:
        with np.errstate(all="ignore"):
            gap = np.asarray(a.reshape(()) - b.reshape(()))
    else:
        gap = plan.spare_array(np.broadcast_shapes(a.shape, b.shape), kind)
        elementwise(plan, p.subtract, a, b, gap)
    elementwise(plan, p.multiply, gap, mask, target)
    elementwise(plan, p.add, target, b, target)
    return plan.define(out, made)


def logical(plan, call):
    (y,) = call.outputs
    values, arrays = operands(plan, call)
    if any(v.dtype != bool for v in values):
        return NotImplemented
    out = plan.place(y, [*zip(call.args, values)])
    arrays = [a.view(np.uint8) for a in arrays]
    o = out.array.view(np.uint8)
    if call.target is p.logical_not:
        elementwise(plan, p.subtract, scalar(1, np.uint8), arrays[0], o)
    elif call.target is p.logical_and:
        elementwise(plan, p.multiply, *arrays, o)
    elif call.target is p.logical_xor:
        compare(plan, p.not_equal, *arrays, out.array)
    else:
        a, b = arrays
        if a.size == b.size == o.size > 1:
            plan.call(PAIRS, 7, *shaped(o.shape, a, b, o), None)
        else:
            plan.run("maximum", [a, b], [o])
    return plan.define(y, out)


# Reductions ---------------------------------------------
def flat_sum(plan, x):
    """The sum of all of a contiguous array, as a 0-d array; NaN if one is in it."""
    total = plan.spare_array((), x.dtype)
    columns = next((n for n in range(64, 1025) if x.size % n == 0), 0)
    if x.size > 4096 and columns:
        rows = x.size // columns
        part = plan.spare_array((1, columns), x.dtype)
        plan.run("matmul", [ones(plan, rows, x.dtype), x.reshape(rows, columns)], [part])
        x = part
    plan.call("execReduceSame", 0, x, None, total)
    return total


def ones(plan, count, dtype):
    """A row of ones, made once in a plan."""
    kept = plan.__dict__.setdefault("rows_of_ones", {})
    key = count, np.dtype(dtype)
    if key not in kept:
        kept[key] = np.ones((1, count), dtype)
    return kept[key]


def reduce_sum(plan, call):
    (y,), x, axes = call.outputs, call.args[0], call.kwargs["axes"]
    v = plan.operand(x)
    if v.dtype.name not in (*FLOATS, "int32", "int64"):
        return NotImplemented
    if not axes:
        return plan.define(y, v)
    array, out = plan.dense(x), plan.place(y)
    rows = math.prod(v.shape[: len(axes)])
    leading = tuple(axes) == tuple(range(len(axes))) and len(axes) < len(v.shape)
    if leading and rows >= 16 and v.dtype.kind == "f":
        columns = math.prod(v.shape[len(axes) :])
        matrix, row = array.reshape(rows, columns), out.array.reshape(1, columns)
        plan.run("matmul", [ones(plan, rows, v.dtype), matrix], [row])
    else:
        plan.run("reduce_sum", [array], [out.array], i=tuple(axes))
    return plan.define(y, out)


def extreme(plan, call):
    """The engine skips NaN: where one was, which a sum shows, NumPy does it again."""
    (y,), x, axes = call.outputs, call.args[0], call.kwargs["axes"]
    v = plan.operand(x)
    if v.dtype.name not in (*FLOATS, "int32", "int64"):
        return NotImplemented
    if not axes:
        return plan.define(y, v)
    array, out = plan.dense(x), plan.place(y)
    plan.run(call.target.name, [array], [out.array], i=tuple(axes))
    if v.dtype.kind == "f":
        total = flat_sum(plan, array)
        ufunc = np.maximum if call.target is p.reduce_max else np.minimum
        plan.line("if {} != {}: {}({}, {}, None, {})", total, total, ufunc.reduce, array,
                  repr(tuple(axes)), out)  # fmt: skip
    return plan.define(y, out)


def arg(plan, call):
    (y,), x, axis = call.outputs, call.args[0], int(call.kwargs["axis"])
    v = plan.operand(x)
    if v.dtype.name not in (*FLOATS, "int32", "int64"):
        return NotImplemented
    array, out = plan.dense(x), plan.place(y)
    found = plan.spare_array(y.shape, np.int64)
    plan.run(call.target.name, [array], [found], i=(axis,))
    plan.copy(found, out.array)
    if v.dtype.kind == "f":
        total = flat_sum(plan, array)
        plan.line(f"if {{}} != {{}}: {{}}({{}}, {{}}.{call.target.name}({axis}))",
                  total, total, np.copyto, out, array)  # fmt: skip
    return plan.define(y, out)


# Products ---------------------------------------------
def dot_general(plan, call):
    (z,), (x, y) = call.outputs, call.args
    (cx, cy), (bx, by) = call.kwargs["contract"], call.kwargs["batch"]
    v, w = plan.operand(x), plan.operand(y)
    if v.dtype.name not in FLOATS:
        return NotImplemented
    free_x = [i for i in range(len(v.shape)) if i not in cx and i not in bx]
    free_y = [i for i in range(len(w.shape)) if i not in cy and i not in by]
    lead = math.prod(v.shape[i] for i in bx)
    m, n = (math.prod(v.shape[i] for i in free_x), math.prod(w.shape[i] for i in free_y))
    inner = math.prod(v.shape[i] for i in cx)
    a, turned_a = matrix(plan, v, bx, free_x, cx, (lead, m, inner))
    b, turned_b = matrix(plan, w, by, cy, free_y, (lead, inner, n))
    out = plan.place(z)
    shape = (m, n) if lead == 1 else (lead, m, n)
    plan.run("matmul", [a, b], [out.array.reshape(shape)], i=(turned_a, turned_b, 0))
    return plan.define(z, out)


def matrix(plan, v, lead, rows, columns, shape):
    """`v` as contiguous matrices of this shape, or of the transposed one; and whether it is that."""
    want = shape[1:] if shape[0] == 1 else shape
    turned = (*want[:-2], want[-1], want[-2])
    for order, form, flag in (
        ((*lead, *rows, *columns), want, 0),
        ((*lead, *columns, *rows), turned, 1),
    ):
        try:
            array = v.array.transpose(order).reshape(form, copy=False)
        except ValueError:
            continue
        if array.flags.c_contiguous:
            return array, flag
    source = v.array.transpose((*lead, *rows, *columns))
    made = plan.spare_array(source.shape, source.dtype)
    plan.copy(source, made)
    return made.reshape(want), 0


def alias(plan, call):
    for x, y in zip(call.args, call.outputs):
        plan.define(y, plan.operand(x))


def iota(plan, call):
    """A constant."""
    (y,), shape, axis = call.outputs, call.kwargs["shape"], call.kwargs["axis"]
    dtype = np_dtype(y.dtype)
    ramp = np.arange(shape[axis]).astype(dtype)
    ramp = ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    from oneiros.backends.numpy_plan import Value

    plan.define(y, Value(shape, dtype, array=np.array(np.broadcast_to(ramp, shape))))


RULES = {
    **dict.fromkeys(ARITHMETIC, arithmetic),
    **dict.fromkeys(COMPARISONS, comparison),
    **dict.fromkeys((*UNARY, *NAMED), unary),
    **dict.fromkeys((p.logical_and, p.logical_or, p.logical_xor, p.logical_not), logical),
    p.cast: cast,
    p.select: select,
    p.reduce_sum: reduce_sum,
    p.reduce_max: extreme,
    p.reduce_min: extreme,
    p.argmax: arg,
    p.argmin: arg,
    p.dot_general: dot_general,
    p.iota: iota,
}
