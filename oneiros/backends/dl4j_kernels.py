"""How ND4J computes each primitive: rules that write the engine's calls into a plan.

The engine has two ways in: ops with a context, which broadcast and know windows and matrices, and
older functions of plain loops with a number each, which are several times as fast on equal shapes
and scalars. Numbers and faults are those of ND4J 1.0.0-M2.1: what it would compute otherwise than
NumPy is put together of what it computes right, or refused here and left to NumPy.
"""

from __future__ import annotations

import math
from ctypes import c_void_p

import numpy as np

from oneiros.backends.dl4j_native import CODES
from oneiros.backends.numpy_plan import Value
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import symbols
from oneiros.core.symbol import Call, Symbol

__all__ = ["RULES"]

FLOATS = ("float32", "float64")
LOW = ("float16", "bfloat16")
WHOLE = ("int32", "int64")
BITS = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}
PAIRS, SCALARS = "execPairwiseTransform", "execScalar"

# name of the op with a context, number for pairs, for a scalar on the right, and on the left
ARITHMETIC = {
    p.add: ("add", 0, 0, 0),
    p.subtract: ("subtract", 6, 1, 5),
    p.multiply: ("multiply", 3, 2, 2),
    p.divide: ("divide", 2, 3, 4),
    p.power: ("Pow", 4, 31, 45),
    p.remainder: ("floormod", 19, 21, None),
    p.floor_divide: ("floordiv", 18, 20, None),
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
NAMED = {p.tanh: "tanh", p.sigmoid: "sigmoid"}
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
    if x.size == 1 and y.size == out.size and left is not None:
        return plan.call(SCALARS, left, *shaped(out.shape, y, out), x.reshape(()), None)
    return broadcasting(plan, name, x, y, out)


def broadcasting(plan, name, x, y, out):
    """An op that broadcasts, once its operands' common shape is that of the result."""
    if np.broadcast_shapes(x.shape, y.shape) != out.shape:
        x = plan.repeated(x, out.shape)
    plan.run(name, [x, y], [out])


def shaped(shape, *arrays):
    return [a.reshape(-1) if math.prod(shape) > 1 else a.reshape(()) for a in arrays]


def operands(plan, call):
    """The operands' values, broadcasts as what they repeat; and their arrays, contiguous."""
    values, arrays = [], []
    for x, v in zip(call.args, plan._operands(call)):
        own = isinstance(x, Symbol) and v is plan.operand(x)
        arrays.append(dense_of(plan, x, v))
        values.append(plan.operand(x) if own else v)
    return values, arrays


def dense_of(plan, x, v):
    """The value `v` of the argument `x`, or what it repeats, as a contiguous array."""
    return plan.dense(x if isinstance(x, Symbol) and v is plan.operand(x) else v)


def known(*dtypes):
    return all(np.dtype(d) in CODES for d in dtypes)


def number(v):
    """The value of a constant scalar, or None."""
    return v.array.reshape(()).item() if v.constant and v.array.size == 1 else None


# Elementwise ---------------------------------------------
def arithmetic(plan, call):
    (y,) = call.outputs
    dtype = np_dtype(y.dtype)
    allowed = dtype.kind in "iu" and call.target in (p.add, p.subtract, p.multiply)
    if not (allowed or dtype.name in FLOATS):
        return NotImplemented
    values, arrays = operands(plan, call)
    guarded = call.target in (p.remainder, p.floor_divide)
    out = plan.place(y, () if guarded else [*zip(call.args, values)])
    elementwise(plan, call.target, *arrays, out.array)
    if guarded:  # of infinities the engine makes something else than NumPy
        x, y_ = (flat_sum(plan, a) for a in arrays)
        ufunc = np.remainder if call.target is p.remainder else np.floor_divide
        plan.line(
            "if not {} - {} == 0 == {} - {}: {}({}, {}, out={})", x, x, y_, y_, ufunc, *arrays, out
        )
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
        broadcasting(plan, name, a, b, out)


def unary(plan, call):
    (y,), x = call.outputs, call.args[0]
    v = plan.operand(x)
    if call.target in COMPOSED and v.dtype.name in FLOATS:
        array = plan.dense(x)
        out = plan.place(y)
        COMPOSED[call.target](plan, *shaped(array.shape, array, out.array))
        return plan.define(y, out)
    if call.target is p.sqrt and is_guarded_sqrt(plan, call):
        return quick_sqrt(plan, call)
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


def transform(plan, target, x, out):
    family, k = UNARY[target]
    plan.call(f"execTransform{family}", k, x, out, None)


def is_guarded_sqrt(plan, call):
    """Whether a positive number is added to the roots, so that the smallest ones do not matter."""
    (y,) = call.outputs
    users = plan.users.get(id(y), [])
    if y.dtype != "float32" or math.prod(y.shape) < 2048 or len(users) != 1:
        return False
    (user,) = users
    if user.target is not p.add:
        return False
    other = [v for v in user.args if v is not y]
    value = number(plan.operand(other[0], np.float32)) if other and known_now(plan, other[0]) else 0
    return bool(value) and value >= 1e-9


def known_now(plan, x):
    return not isinstance(x, Symbol) or id(x) in plan.values


def quick_sqrt(plan, call):
    """`x / sqrt(x + tiny)`, a normalization by oneDNN: ten times as fast as the engine's root."""
    (y,), x = call.outputs, call.args[0]
    array, out = plan.dense(x).reshape(-1), plan.place(y)
    root(plan, array, out.array.reshape(-1))
    return plan.define(y, out)


def root(plan, x, out):
    shape, zeros = (1, 1, 1, x.size), plan.kept("zeros", np.zeros, x.size, x.dtype)
    arrays = [x.reshape(shape), zeros, x]
    plan.run("batchnorm", arrays, [out.reshape(shape)], t=(1e-37,), i=(0, 0, 3))


def trunc(plan, x, out):
    """`sign(x) * floor(abs(x))`."""
    size = plan.spare_array(x.shape, x.dtype)
    transform(plan, p.abs, x, size)
    transform(plan, p.floor, size, size)
    plan.call("execTransformSame", 1, x, out, None)
    elementwise(plan, p.multiply, out, size, out)


def sign(plan, x, out):
    """Of NaN, which the engine gives a sign, NumPy's."""
    plan.call("execTransformSame", 1, x, out, None)
    total = flat_sum(plan, x)
    plan.line("if {} != {}: {}({}, out={})", total, total, np.sign, x, out)


def cbrt(plan, x, out):
    size = plan.spare_array(x.shape, x.dtype)
    transform(plan, p.abs, x, size)
    elementwise(plan, p.power, size, scalar(1 / 3, x.dtype), size)
    plan.call("execTransformSame", 1, x, out, None)
    elementwise(plan, p.multiply, out, size, out)


def logarithm(base):
    def rule(plan, x, out):
        transform(plan, p.log, x, out)
        elementwise(plan, p.multiply, out, scalar(1 / math.log(base), x.dtype), out)

    return rule


def isnan(plan, x, out):
    """What differs from itself."""
    compare(plan, p.not_equal, x, x, out)


def gamma_family(name):
    def rule(plan, x, out):
        """Where some are not positive, and may be poles, NumPy does it again."""
        plan.run(name, [x], [out])
        least = plan.spare_array((), x.dtype)
        plan.call("execReduceSame", 2, x, None, least)
        plan.line("if not {} > 0: {}({}, {}({}))", least, np.copyto, out,
                  plan.kernels(getattr(p, name)), x)  # fmt: skip

    return rule


def bounded(plan, x, out):
    """The lesser of `x` and a number whose square is finite into `out`; the logarithm of the rest."""
    bound = scalar(1e18 if x.dtype.itemsize == 4 else 1e150, x.dtype)
    rest = plan.spare_array(x.shape, x.dtype)
    plan.call(SCALARS, 13, x, out, bound, None)
    elementwise(plan, p.divide, x, out, rest)
    transform(plan, p.log, rest, rest)
    return rest


def arcsinh(plan, x, out):
    """`log1p(x + x**2 / (1 + sqrt(x**2 + 1)))` of the size."""
    size, part = (plan.spare_array(x.shape, x.dtype) for _ in "sp")
    one = scalar(1, x.dtype)
    transform(plan, p.abs, x, size)
    plan.call(SCALARS, 39, size, size, scalar(1e-30, x.dtype), None)  # 0 / 0 is no number
    rest = bounded(plan, size, out)
    elementwise(plan, p.multiply, out, out, size)
    elementwise(plan, p.add, size, one, part)
    transform(plan, p.sqrt, part, part)
    elementwise(plan, p.add, part, one, part)
    elementwise(plan, p.divide, size, part, part)
    elementwise(plan, p.add, out, part, out)
    transform(plan, p.log1p, out, size)
    elementwise(plan, p.add, size, rest, size)
    plan.call("execTransformSame", 1, x, out, None)
    elementwise(plan, p.multiply, out, size, out)


def arccosh(plan, x, out):
    low = plan.spare_array(x.shape, x.dtype)
    rest = bounded(plan, x, low)
    transform(plan, p.arccosh, low, out)
    elementwise(plan, p.add, out, rest, out)


COMPOSED = {
    p.arcsinh: arcsinh, p.arccosh: arccosh,
    p.trunc: trunc, p.sign: sign, p.cbrt: cbrt, p.log2: logarithm(2), p.log10: logarithm(10),
    p.isnan: isnan, p.lgamma: gamma_family("lgamma"), p.digamma: gamma_family("digamma"),
}  # fmt: skip


def extremes(plan, call):
    """Of NaN on the left the engine loses sight: where one is, NumPy does it again."""
    (y,) = call.outputs
    dtype, larger = np_dtype(y.dtype), call.target is p.maximum
    if dtype.name not in (*FLOATS, *WHOLE, "uint8", "uint32"):
        return NotImplemented
    values, (a, b) = operands(plan, call)
    if dtype.kind != "f":
        out = plan.place(y, [*zip(call.args, values)])
        either(plan, larger, a, b, out.array)
        return plan.define(y, out)
    if values[0].constant and values[0].array.size == 1:
        values, a, b = values[::-1], b, a
    bound = number(values[1])
    if bound is not None and bound == bound and a.size == math.prod(y.shape):
        out = plan.place(y)  # the function behind relu, which keeps NaN
        x, o = shaped(out.shape, a, out.array)
        if larger:
            plan.call(SCALARS, 39, x, o, scalar(bound, dtype), None)
        else:
            transform(plan, p.negative, x, o)
            plan.call(SCALARS, 39, o, o, scalar(-bound, dtype), None)
            transform(plan, p.negative, o, o)
        return plan.define(y, out)
    out = plan.place(y)
    if a.size > b.size:
        a, b = b, a
    either(plan, larger, a, b, out.array)
    totals = [flat_sum(plan, a), flat_sum(plan, b)]
    plan.line("if {} != {} or {} != {}: {}({}, {}, out={})", totals[0], totals[0], totals[1],
              totals[1], np.maximum if larger else np.minimum, a, b, out)  # fmt: skip
    return plan.define(y, out)


def either(plan, larger, a, b, out):
    if a.size == b.size == out.size > 1:
        plan.call(PAIRS, 7 if larger else 8, *shaped(out.shape, a, b, out), None)
    else:
        broadcasting(plan, "maximum" if larger else "minimum", a, b, out)


def named(name, allowed):
    """A rule for a binary op that broadcasts, on the dtypes allowed."""

    def rule(plan, call):
        (y,) = call.outputs
        values, arrays = operands(plan, call)
        if not all(allowed(v.dtype) for v in values):
            return NotImplemented
        out = plan.place(y)
        broadcasting(plan, name, *arrays, out.array)
        return plan.define(y, out)

    return rule


def bitwise_not(plan, call):
    """`-1 - x`."""
    (y,), x = call.outputs, call.args[0]
    dtype = plan.operand(x).dtype
    if dtype.kind not in "iu":
        return logical(plan, call)
    array, out = plan.dense(x), plan.place(y)
    ones_everywhere = np.asarray(-1).astype(dtype)
    elementwise(plan, p.subtract, ones_everywhere, array, out.array)
    return plan.define(y, out)


def of_real(part):
    """What the real, imaginary or conjugate of real numbers is; ND4J has no complex ones."""

    def rule(plan, call):
        (y,), v = call.outputs, plan.operand(call.args[0])
        if v.dtype.kind == "c":
            return NotImplemented
        if part != "imag":
            return plan.define(y, v)
        out = plan.place(y)
        plan.call(SCALARS, 14, out.array, out.array, scalar(0, v.dtype), None)
        return plan.define(y, out)

    return rule


def bitcast(plan, call):
    """The same memory."""
    (y,), x = call.outputs, call.args[0]
    dtype = np_dtype(y.dtype)
    if dtype.itemsize != plan.operand(x).dtype.itemsize or not known(dtype):
        return NotImplemented
    array = plan.dense(x)
    v = plan.operand(x)
    return plan.define(y, Value(y.shape, dtype, v.slot, array.view(dtype)))


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
    if dtype.kind == "b":
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
    truth = dense_of(plan, call.args[0], c).view(np.uint8)
    arrays = [bits(dense_of(plan, x, v)) for x, v in zip(call.args[1:], pair)]
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
            broadcasting(plan, "maximum", a, b, o)
    return plan.define(y, out)


# Reductions ---------------------------------------------
def flat_sum(plan, x):
    """The sum of all of a contiguous array, as a 0-d array; NaN if one is in it."""
    total = plan.spare_array((), x.dtype)
    columns = next((n for n in range(64, 1025) if x.size % n == 0), 0)
    if x.size > 4096 and columns:
        rows = x.size // columns
        part = plan.spare_array((1, columns), x.dtype)
        plan.run("matmul", [plan.ones(rows, x.dtype), x.reshape(rows, columns)], [part])
        x = part
    plan.call("execReduceSame", 0, x, None, total)
    return total


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
        plan.run("matmul", [plan.ones(rows, v.dtype), matrix], [row])
    else:
        plan.run("reduce_sum", [array], [out.array], i=tuple(axes))
    return plan.define(y, out)


def reduce_prod(plan, call):
    (y,), x, axes = call.outputs, call.args[0], call.kwargs["axes"]
    if plan.operand(x).dtype.name not in FLOATS:
        return NotImplemented
    array, out = plan.dense(x), plan.place(y)
    if axes:
        plan.run("reduce_prod", [array], [out.array], i=tuple(axes))
    else:
        plan.copy(array, out.array)
    return plan.define(y, out)


def truth(plan, call):
    """Whether all are true: the least of them; whether any is: not all the contrary."""
    (y,), x, axes = call.outputs, call.args[0], call.kwargs["axes"]
    if plan.operand(x).dtype != bool:
        return NotImplemented
    array, out = plan.dense(x).view(np.uint8), plan.place(y)
    o = out.array.view(np.uint8)
    if not axes:
        plan.copy(array, o)
    elif call.target is p.reduce_all:
        plan.run("reduce_min", [array], [o], i=tuple(axes))
    else:
        flipped = plan.spare_array(array.shape, np.uint8)
        elementwise(plan, p.subtract, scalar(1, np.uint8), array, flipped)
        plan.run("reduce_min", [flipped], [o], i=tuple(axes))
        elementwise(plan, p.subtract, scalar(1, np.uint8), o, o)
    return plan.define(y, out)


def running(name):
    def rule(plan, call):
        (y,), x = call.outputs, call.args[0]
        if plan.operand(x).dtype.name not in FLOATS:
            return NotImplemented
        array, out = plan.dense(x), plan.place(y)
        reverse, axis = int(call.kwargs["reverse"]), int(call.kwargs["axis"])
        plan.run(name, [array], [out.array], i=(0, reverse, axis))
        return plan.define(y, out)

    return rule


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


def iota(plan, call):
    """A constant."""
    (y,), shape, axis = call.outputs, call.kwargs["shape"], call.kwargs["axis"]
    dtype = np_dtype(y.dtype)
    ramp = np.arange(shape[axis]).astype(dtype)
    ramp = ramp.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    plan.define(y, Value(shape, dtype, array=np.array(np.broadcast_to(ramp, shape))))


def adam_update(plan, call):
    """A step of Adam as ND4J's updater does it, whose own corrections are 1 in a step without end."""
    weight, g, mean, square, lr, *settings = call.args
    new, new_mean, new_square = call.outputs
    arrays = [plan.dense(x) for x in (g, square, mean)]
    dtype = arrays[0].dtype
    old = plan.dense(weight)
    rate = dense_of(plan, lr, plan.operand(lr, dtype)).reshape(())
    numbers = [plan.operand(x, dtype).array.reshape(()) for x in settings]
    change = plan.spare_array(old.shape, dtype)
    m = plan.place(new_mean, [(mean, plan.operand(mean))])
    s = plan.place(new_square, [(square, plan.operand(square))])
    flat = shaped(old.shape, *arrays, change, s.array, m.array)
    flat = [a.reshape(-1) for a in flat]
    if old.size <= 12_000:
        plan.run("adam_updater", [*flat[:3], rate, *numbers], flat[3:], i=(2**31 - 2,))
    else:  # the updater is slow, loops over all are not
        in_loops(plan, *flat, rate, *map(float, numbers))
    plan.define(new_mean, m)
    plan.define(new_square, s)
    w = plan.place(new, [(weight, plan.operand(weight))])
    elementwise(plan, p.subtract, old, change, w.array)
    plan.define(new, w)


def in_loops(plan, g, v, m, change, new_v, new_m, rate, beta_1, beta_2, epsilon):
    """Adam's change of the weights and its new means, in ten loops."""
    dtype = g.dtype
    gap = plan.spare_array(g.shape, dtype)

    def blend(old, new, by):  # old + by * (new - old)
        elementwise(plan, p.subtract, new, old, gap)
        share = plan.kept("share", np.asarray, (by,), dtype)
        plan.memory.arrays.append(share)
        address = c_void_p(share.__array_interface__["data"][0])
        return lambda out: plan.call(PAIRS, 10, gap, old, out, address)

    blend(m, g, 1 - beta_1)(new_m)
    elementwise(plan, p.multiply, g, g, change)
    blend(v, change, 1 - beta_2)(new_v)
    root(plan, new_v, gap)
    elementwise(plan, p.add, gap, scalar(epsilon, dtype), gap)
    elementwise(plan, p.multiply, new_m, rate, change)
    elementwise(plan, p.divide, change, gap, change)


def small_floats(weight, *_):
    """What the rule for Adam's update takes."""
    return weight.dtype == "float32" and math.prod(weight.shape) > 0


def widened(rule):
    """The rule, for narrow floats on operands in float32, as NumPy does it."""

    def wide(plan, call):
        if not any(x.dtype in LOW for x in (*symbols(call.args), *call.outputs)):
            return rule(plan, call)
        args, outs = [], []
        low = next(x.dtype for x in (*symbols(call.args), *call.outputs) if x.dtype in LOW)
        for x in call.args:
            if type(x) is float:  # numbers are what the narrow dtype makes of them
                x = float(np_dtype(low).type(x))
            if getattr(x, "dtype", None) is None or plan.operand(x).dtype.name not in LOW:
                args.append(x)
                continue
            s = plan.temporary(x.shape, "float32")
            plan.copy(plan.dense(x) if isinstance(x, Symbol) else x, plan.operand(s).array)
            args.append(s)
        for y in call.outputs:
            outs.append(Symbol(y.shape, "float32") if y.dtype in LOW else y)
        inner = Call(call.target, args, call.kwargs)
        inner.outputs, inner.single = tuple(outs), call.single
        if rule(plan, inner) is NotImplemented:
            return NotImplemented
        for y, s in zip(call.outputs, outs):
            if y is not s:
                out = plan.place(y)
                plan.copy(plan.dense(plan.operand(s)), out.array)
                plan.define(y, out)
                plan.release(plan.operand(s).slot)
        return None

    return wide


WIDENED = {
    **dict.fromkeys(ARITHMETIC, arithmetic),
    **dict.fromkeys(COMPARISONS, comparison),
    **dict.fromkeys((*UNARY, *NAMED, *COMPOSED), unary),
    p.maximum: extremes,
    p.minimum: extremes,
    p.arctan2: named("tf_atan2", lambda d: d.name in FLOATS),
    p.reduce_sum: reduce_sum,
    p.reduce_prod: reduce_prod,
    p.reduce_max: extreme,
    p.reduce_min: extreme,
    p.argmax: arg,
    p.argmin: arg,
    p.cumsum: running("cumsum"),
    p.cumprod: running("cumprod"),
    p.dot_general: dot_general,
}
RULES = {
    **{target: widened(rule) for target, rule in WIDENED.items()},
    **dict.fromkeys((p.logical_and, p.logical_or, p.logical_xor, p.logical_not), logical),
    **{
        q: named(q.name, lambda d: d.kind in "iu")
        for q in (p.bitwise_and, p.bitwise_or, p.bitwise_xor)
    },
    p.bitwise_not: bitwise_not,
    p.shift_left: named("shift_bits", lambda d: d.name in WHOLE),
    p.shift_right: named("rshift_bits", lambda d: d.name in WHOLE),
    p.real: of_real("real"),
    p.imag: of_real("imag"),
    p.conj: of_real("conj"),
    p.bitcast: bitcast,
    p.cast: cast,
    p.select: select,
    p.reduce_any: truth,
    p.reduce_all: truth,
    p.iota: iota,
    "adam_update": adam_update,
}
