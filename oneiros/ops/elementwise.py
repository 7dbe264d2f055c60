"""Ops on each element by itself: arithmetic, comparison, logic, bits, exponentials, trigonometry.

Most are one row: a primitive and the dtype that it runs in. What a primitive cannot say alone
follows as functions.
"""

from __future__ import annotations

import builtins
import math

import numpy as np

from oneiros.core import op as families
from oneiros.core import primitives as p
from oneiros.core.dtypes import is_complex, is_float, is_integer, np_dtype, result_type
from oneiros.core.op import array, dtype_of, op, promote, to_dtype
from oneiros.core.spec import agree, broadcast_shapes

__all__ = [
    "abs", "absolute", "add", "allclose", "angle", "arccos", "arccosh", "arcsin", "arcsinh",
    "arctan", "arctan2", "arctanh", "bitwise_and", "bitwise_invert", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "cbrt", "ceil", "clip",
    "conj", "conjugate", "copy", "cos", "cosh", "deg2rad", "divide", "divide_no_nan", "equal",
    "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "fabs", "floor", "floor_divide", "fmax",
    "fmin", "fmod", "gcd", "greater", "greater_equal", "heaviside", "hypot", "i0", "imag",
    "isclose", "isfinite", "isinf", "isnan", "isneginf", "isposinf", "isreal", "lcm", "ldexp",
    "left_shift", "less", "less_equal", "log", "log10", "log1p", "log2", "logaddexp",
    "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "maximum", "minimum",
    "mod", "multiply", "nan_to_num", "negative", "nextafter", "not_equal", "power", "rad2deg",
    "real", "reciprocal", "right_shift", "round", "rsqrt", "sign", "signbit", "sin", "sinc",
    "sinh", "sqrt", "square", "subtract", "tan", "tanh", "true_divide", "trunc", "view",
    "view_as_complex", "view_as_real",
]  # fmt: skip


# The dtype to run in, by the operands' common dtype ----------------------------------------------
def same(dtype):
    return dtype


def floating(dtype):
    """The dtype itself if it is a float or complex, else the default float."""
    return result_type(dtype, float)


def number(dtype):
    """The dtype itself, int32 in place of bool."""
    return "int32" if dtype == "bool" else result_type(dtype)


def truth(_dtype):
    return "bool"


def integer(name):
    """A rule that refuses what is neither integer nor bool, on behalf of the op `name`."""

    def rule(dtype):
        if dtype != "bool" and not is_integer(dtype):
            raise TypeError(f"{name}: expected integers or bools; got dtype {dtype}")
        return result_type(dtype)

    return rule


def _real(name, rule):
    """`rule` for what is not complex, which is refused on behalf of the op `name`."""

    def real(dtype):
        if is_complex(dtype):
            raise TypeError(f"{name}: expected real numbers; got dtype {dtype}")
        return rule(dtype)

    return real


def _described(function, doc, arguments, result):
    example = f">>> from oneiros import ops\n>>> print(ops.{function.name}({arguments}))\n{result}"
    function.__doc__, function.__module__ = f"{doc}\n\n{example}\n", __name__
    return function


def unary(name, primitive, dtype, doc, arguments, result):
    return _described(families.unary(name, primitive, dtype), doc, arguments, result)


def binary(name, primitive, dtype, doc, arguments, result):
    return _described(families.binary(name, primitive, dtype), doc, arguments, result)


def comparison(name, primitive, doc, arguments, result):
    return _described(families.binary(name, primitive, keep=True), doc, arguments, result)


# fmt: off
# Arithmetic --------------------------------------------------------------------------------------
add = binary("add", p.add, None, "The sums `x1 + x2`.", "[1, 2], 3", "[4 5]")
subtract = binary("subtract", p.subtract, None, "The differences `x1 - x2`.", "[4, 5], 3", "[1 2]")
multiply = binary("multiply", p.multiply, None, "The products `x1 * x2`.", "[1, 2], 3", "[3 6]")
divide = binary("divide", p.divide, floating, "The quotients `x1 / x2`, as floats.",
    "[1, 2], 2", "[0.5 1. ]")
true_divide = binary("true_divide", p.divide, floating, "The quotients `x1 / x2`, as floats.",
    "[1, 2], 2", "[0.5 1. ]")
floor_divide = binary("floor_divide", p.floor_divide, number,
    "The quotients `x1 / x2`, rounded down.", "[-1, 5], 2", "[-1  2]")
mod = binary("mod", p.remainder, number,
    "What `floor_divide` leaves of `x1`: the sign is that of `x2`.", "[-1, 5], 3", "[2 2]")
power = binary("power", p.power, number, "`x1` to the power of `x2`.", "[2, 3], 2", "[4 9]")
maximum = binary("maximum", p.maximum, None, "The larger of two; NaN if either is.",
    "[1, 5], 3", "[3 5]")
minimum = binary("minimum", p.minimum, None, "The smaller of two; NaN if either is.",
    "[1, 5], 3", "[1 3]")
arctan2 = binary("arctan2", p.arctan2, floating,
    "The angle of the point (`x2`, `x1`), within -pi and pi.", "[0.0, 0.0], [1.0, 2.0]", "[0. 0.]")
nextafter = binary("nextafter", p.nextafter, floating,
    "The float next to `x1` in the direction of `x2`.", "1.0, 2.0", "1.0000001")
negative = unary("negative", p.negative, same, "`-x`.", "[1, -2]", "[-1  2]")
abs = unary("abs", p.abs, same, "The absolute values of `x`.", "[-1, 2]", "[1 2]")
absolute = unary("absolute", p.abs, same, "The absolute values of `x`.", "[-1, 2]", "[1 2]")
fabs = unary("fabs", p.abs, _real("fabs", floating), "The absolute values, as floats.",
    "[-1, 2]", "[1. 2.]")
sign = unary("sign", p.sign, same, "-1, 0 or 1 by the sign of `x`.", "[-3, 0, 2]", "[-1  0  1]")

# Comparison and logic ----------------------------------------------------------------------------
equal = comparison("equal", p.equal, "Whether `x1 == x2`.", "[1, 2], 2", "[False  True]")
not_equal = comparison("not_equal", p.not_equal, "Whether `x1 != x2`.",
    "[1, 2], 2", "[ True False]")
less = comparison("less", p.less, "Whether `x1 < x2`.", "[1, 2], 2", "[ True False]")
less_equal = comparison("less_equal", p.less_equal, "Whether `x1 <= x2`.",
    "[1, 3], 2", "[ True False]")
greater = comparison("greater", p.greater, "Whether `x1 > x2`.", "[1, 3], 2", "[False  True]")
greater_equal = comparison("greater_equal", p.greater_equal, "Whether `x1 >= x2`.",
    "[1, 2], 2", "[False  True]")
logical_and = binary("logical_and", p.logical_and, truth, "Whether both are true (not zero).",
    "[True, False], True", "[ True False]")
logical_or = binary("logical_or", p.logical_or, truth, "Whether either is true (not zero).",
    "[True, False], False", "[ True False]")
logical_xor = binary("logical_xor", p.logical_xor, truth,
    "Whether one of two is true (not zero), and not both.", "[True, False], True", "[False  True]")
logical_not = unary("logical_not", p.logical_not, truth, "Whether `x` is false (zero).",
    "[1, 0]", "[False  True]")
isfinite = unary("isfinite", p.isfinite, same, "Whether `x` is neither infinite nor NaN.",
    "[1.0, float('inf')]", "[ True False]")
isinf = unary("isinf", p.isinf, same, "Whether `x` is infinite.",
    "[1.0, float('inf')]", "[False  True]")
isnan = unary("isnan", p.isnan, same, "Whether `x` is NaN.", "[1.0, float('nan')]", "[False  True]")

# Exponentials, powers, rounding ------------------------------------------------------------------
exp = unary("exp", p.exp, floating, "`e` to the power of `x`.", "[0.0]", "[1.]")
expm1 = unary("expm1", p.expm1, floating, "`exp(x) - 1`, exact near 0.", "[0.0]", "[0.]")
log = unary("log", p.log, floating, "The natural logarithm of `x`.", "[1.0]", "[0.]")
log1p = unary("log1p", p.log1p, floating, "`log(1 + x)`, exact near 0.", "[0.0]", "[0.]")
log2 = unary("log2", p.log2, floating, "The logarithm of `x` to base 2.", "[8.0]", "[3.]")
log10 = unary("log10", p.log10, floating, "The logarithm of `x` to base 10.", "[100.0]", "[2.]")
sqrt = unary("sqrt", p.sqrt, floating, "The square root of `x`.", "[4, 9]", "[2. 3.]")
rsqrt = unary("rsqrt", p.rsqrt, floating, "`1 / sqrt(x)`.", "[4.0]", "[0.5]")
cbrt = unary("cbrt", p.cbrt, floating, "The cube root of `x`.", "[0.0]", "[0.]")
floor = unary("floor", p.floor, floating, "`x` rounded down, as a float.",
    "[-0.5, 1.5]", "[-1.  1.]")
ceil = unary("ceil", p.ceil, floating, "`x` rounded up, as a float.", "[0.5, 1.5]", "[1. 2.]")

# Trigonometry and special functions --------------------------------------------------------------
sin = unary("sin", p.sin, floating, "The sine of `x` in radians.", "[0.0]", "[0.]")
cos = unary("cos", p.cos, floating, "The cosine of `x` in radians.", "[0.0]", "[1.]")
tan = unary("tan", p.tan, floating, "The tangent of `x` in radians.", "[0.0]", "[0.]")
arcsin = unary("arcsin", p.arcsin, floating, "The angle whose sine is `x`.", "[0.0]", "[0.]")
arccos = unary("arccos", p.arccos, floating, "The angle whose cosine is `x`.", "[1.0]", "[0.]")
arctan = unary("arctan", p.arctan, floating, "The angle whose tangent is `x`.", "[0.0]", "[0.]")
sinh = unary("sinh", p.sinh, floating, "The hyperbolic sine of `x`.", "[0.0]", "[0.]")
cosh = unary("cosh", p.cosh, floating, "The hyperbolic cosine of `x`.", "[0.0]", "[1.]")
tanh = unary("tanh", p.tanh, floating, "The hyperbolic tangent of `x`.", "[0.0]", "[0.]")
arcsinh = unary("arcsinh", p.arcsinh, floating, "The inverse of `sinh`.", "[0.0]", "[0.]")
arccosh = unary("arccosh", p.arccosh, floating, "The inverse of `cosh`.", "[1.0]", "[0.]")
arctanh = unary("arctanh", p.arctanh, floating, "The inverse of `tanh`.", "[0.0]", "[0.]")
erf = unary("erf", p.erf, floating, "The error function of `x`.", "[0.0]", "[0.]")
erfc = unary("erfc", p.erfc, floating, "`1 - erf(x)`, exact for large `x`.", "[0.0]", "[1.]")
erfinv = unary("erfinv", p.erfinv, floating, "The inverse of `erf`.", "[0.0]", "[0.]")

# Complex numbers ---------------------------------------------------------------------------------
real = unary("real", p.real, same, "The real part of `x`.", "[1 + 2j]", "[1.]")
imag = unary("imag", p.imag, same, "The imaginary part of `x`.", "[1 + 2j]", "[2.]")
conj = unary("conj", p.conj, same, "`x` with its imaginary part negated.", "[1 + 2j]", "[1.-2.j]")
conjugate = unary("conjugate", p.conj, same, "`x` with its imaginary part negated.",
    "[1 + 2j]", "[1.-2.j]")
# fmt: on


def _as_float(x):
    x = array(x)
    return to_dtype(x, floating(dtype_of(x)))


def constant(value, x):
    """`value` as a 0-d array of the dtype of `x`."""
    return np.asarray(value, np_dtype(dtype_of(x)))


def _filled(value, x):
    """`value` at every place of the shape of `x`, in its dtype."""
    return p.broadcast_to(constant(value, x), shape=tuple(x.shape))


@op
def copy(x):
    """`x` in an array of its own.

    >>> from oneiros import ops
    >>> print(ops.copy([1, 2]))
    [1 2]
    """
    x = array(x)
    return (
        x.copy() if type(x) is np.ndarray else p.stop_gradient(x) if not hasattr(x, "spec") else x
    )


@op
def square(x):
    """The squares of `x`.

    >>> from oneiros import ops
    >>> print(ops.square([1, -2]))
    [1 4]
    """
    x = array(x)
    x = to_dtype(x, number(dtype_of(x)))
    return p.multiply(x, x)


@op
def reciprocal(x):
    """`1 / x`.

    >>> from oneiros import ops
    >>> print(ops.reciprocal([2.0, 4.0]))
    [0.5  0.25]
    """
    return p.divide(1.0, _as_float(x))


@op
def exp2(x):
    """2 to the power of `x`.

    >>> from oneiros import ops
    >>> print(ops.exp2([0, 3]))
    [1. 8.]
    """
    x = _as_float(x)
    return p.power(constant(2, x), x)


@op
def trunc(x):
    """`x` without its fraction.

    >>> from oneiros import ops
    >>> print(ops.trunc([-1.5, 1.5]))
    [-1.  1.]
    """
    x = _not_complex("trunc", x)
    x = to_dtype(x, result_type(dtype_of(x)))
    return p.trunc(x) if is_float(dtype_of(x)) else x


@op
def round(x, decimals=0):
    """`x` rounded to `decimals` places (halves to even); negative ones round before the point.

    >>> from oneiros import ops
    >>> print(ops.round([0.5, 1.5, 2.25], 1))
    [0.5 1.5 2.2]
    """
    x = array(x)
    dtype = dtype_of(x)
    if not is_float(dtype) and not is_complex(dtype):
        if decimals >= 0:
            return x
        unit = constant(10**-decimals, x)
        whole = p.round(p.divide(p.cast(x, dtype="float32"), float(10**-decimals)))
        return p.multiply(p.cast(whole, dtype=dtype), unit)
    if decimals == 0:
        return _by_parts(p.round, x)
    scale = float(10 ** builtins.abs(decimals))
    scaled, back = (p.multiply, p.divide) if decimals > 0 else (p.divide, p.multiply)
    return back(_by_parts(p.round, scaled(x, scale)), scale)


def _by_parts(function, x):
    """`function` of a real `x`, or of the two parts of a complex one."""
    if not is_complex(dtype_of(x)):
        return function(x)
    return p.complex(function(p.real(x)), function(p.imag(x)))


@op
def clip(x, x_min, x_max):
    """`x` moved into the range of `x_min` to `x_max`, in the dtype of `x`.

    >>> from oneiros import ops
    >>> print(ops.clip([1, 5, 9], 2, 6))
    [2 5 6]
    """
    x = array(x)
    dtype = "int32" if dtype_of(x) == "bool" else dtype_of(x)
    x = to_dtype(x, dtype)
    for bound, closer in ((x_min, p.maximum), (x_max, p.minimum)):
        if bound is not None:
            if type(bound) is int and is_integer(dtype):  # a bound beyond the dtype's is none
                limits = np.iinfo(np_dtype(dtype))
                bound = builtins.min(builtins.max(bound, int(limits.min)), int(limits.max))
            if type(bound) in (int, float) and is_float(dtype):
                x = closer(x, float(bound))
            else:
                x = closer(*promote(x, bound))
    return to_dtype(x, dtype)


@op
def nan_to_num(x, nan=0.0, posinf=None, neginf=None):
    """`x` with finite numbers in place of NaN and the infinities (by default the dtype's limits).

    >>> from oneiros import ops
    >>> print(ops.nan_to_num([1.0, float("nan")]))
    [1. 0.]
    """
    x = array(x)
    dtype = dtype_of(x)
    if is_complex(dtype):
        return _by_parts(lambda part: nan_to_num(part, nan, posinf, neginf), x)
    if not is_float(dtype):
        return x
    import ml_dtypes

    limits = ml_dtypes.finfo(np_dtype(dtype))
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    x = p.select(p.isnan(x), constant(nan, x), x)
    x = p.select(p.equal(x, math.inf), constant(high, x), x)
    return p.select(p.equal(x, -math.inf), constant(low, x), x)


@op
def deg2rad(x):
    """Degrees as radians.

    >>> from oneiros import ops
    >>> print(ops.deg2rad([0.0]))
    [0.]
    """
    return p.multiply(_as_float(x), math.pi / 180)


@op
def rad2deg(x):
    """Radians as degrees.

    >>> from oneiros import ops
    >>> print(ops.rad2deg([0.0]))
    [0.]
    """
    return p.multiply(_as_float(x), 180 / math.pi)


@op
def sinc(x):
    """`sin(pi x) / (pi x)`, which is 1 at 0.

    >>> from oneiros import ops
    >>> print(ops.sinc([0.0]))
    [1.]
    """
    angle = p.multiply(_as_float(x), math.pi)
    zero = p.equal(angle, 0)
    safe = p.select(zero, constant(1, angle), angle)
    return p.select(zero, constant(1, angle), p.divide(p.sin(safe), safe))


@op
def i0(x):
    """The modified Bessel function of the first kind, of order 0.

    >>> from oneiros import ops
    >>> print(ops.round(ops.i0([0.0])))
    [1.]
    """
    x = _as_float(x)
    return p.multiply(p.exp(p.abs(x)), p.i0e(x))


@op
def signbit(x):
    """Whether the sign of `x` is set; that of -0.0 is.

    >>> from oneiros import ops
    >>> print(ops.signbit([-0.0, 1.0]))
    [ True False]
    """
    x = _not_complex("signbit", x)
    dtype = dtype_of(x)
    if is_float(dtype):
        width = np_dtype(dtype).itemsize * 8
        return p.less(p.bitcast(x, dtype=f"int{width}"), 0)
    return p.less(x, 0) if dtype.startswith("int") else _filled_bool(False, x)


def _filled_bool(value, x):
    return p.broadcast_to(np.asarray(value), shape=tuple(x.shape))


def _not_complex(name, x):
    x = array(x)
    if is_complex(dtype_of(x)):
        raise TypeError(f"{name}: expected real numbers; got dtype {dtype_of(x)}")
    return x


@op
def isposinf(x):
    """Whether `x` is positive infinity.

    >>> from oneiros import ops
    >>> print(ops.isposinf([float("inf"), float("-inf")]))
    [ True False]
    """
    x = _not_complex("isposinf", x)
    return p.equal(x, math.inf) if is_float(dtype_of(x)) else _filled_bool(False, x)


@op
def isneginf(x):
    """Whether `x` is negative infinity.

    >>> from oneiros import ops
    >>> print(ops.isneginf([float("inf"), float("-inf")]))
    [False  True]
    """
    x = _not_complex("isneginf", x)
    return p.equal(x, -math.inf) if is_float(dtype_of(x)) else _filled_bool(False, x)


@op
def isreal(x):
    """Whether the imaginary part of `x` is zero.

    >>> from oneiros import ops
    >>> print(ops.isreal([1j, 1.0]))
    [False  True]
    """
    x = array(x)
    return p.equal(p.imag(x), 0) if is_complex(dtype_of(x)) else _filled_bool(True, x)


@op
def angle(x):
    """The angles of the complex numbers `x`, within -pi and pi.

    >>> from oneiros import ops
    >>> print(ops.angle([1.0]))
    [0.]
    """
    x = _as_float(x)
    if is_complex(dtype_of(x)):
        return p.arctan2(p.imag(x), p.real(x))
    return p.arctan2(_filled(0, x), x)


# Two operands ------------------------------------------------------------------------------------
@op
def divide_no_nan(x1, x2):
    """The quotients `x1 / x2`, and 0 where `x2` is 0.

    >>> from oneiros import ops
    >>> print(ops.divide_no_nan([1.0, 2.0], [0.0, 4.0]))
    [0.  0.5]
    """
    x1, x2 = operands(x1, x2, floating)
    none = p.equal(x2, 0)
    return p.select(none, constant(0, x1), p.divide(x1, p.select(none, constant(1, x2), x2)))


@op
def fmod(x1, x2):
    """What is left of `x1 / x2` cut to a whole number: the sign is that of `x1`.

    >>> from oneiros import ops
    >>> print(ops.fmod([-5, 5], 3))
    [-2  2]
    """
    x1, x2 = operands(x1, x2, _real("fmod", number))
    rest = p.remainder(p.abs(x1), p.abs(x2))
    return p.select(p.less(x1, 0), p.negative(rest), rest) if _signed(x1) else rest


def _signed(x):
    return not dtype_of(x).startswith(("u", "bool"))


def operands(x1, x2, rule=None):
    """Both operands as arrays of their common dtype, changed by `rule`."""
    x1, x2 = promote(x1, x2, rule=rule)
    if type(x1) in (bool, int, float, complex):
        return constant(x1, x2), x2
    return x1, constant(x2, x1) if type(x2) in (bool, int, float, complex) else x2


@op
def fmax(x1, x2):
    """The larger of two; of a number and NaN the number.

    >>> from oneiros import ops
    >>> print(ops.fmax([1.0, float("nan")], 2.0))
    [2. 2.]
    """
    return _but_nan(p.maximum, *operands(x1, x2))


@op
def fmin(x1, x2):
    """The smaller of two; of a number and NaN the number.

    >>> from oneiros import ops
    >>> print(ops.fmin([1.0, float("nan")], 2.0))
    [1. 2.]
    """
    return _but_nan(p.minimum, *operands(x1, x2))


def _but_nan(choose, x1, x2):
    y = choose(x1, x2)
    if not is_float(dtype_of(y)):
        return y
    return p.select(p.isnan(x1), x2, p.select(p.isnan(x2), x1, y))


@op
def hypot(x1, x2):
    """`sqrt(x1**2 + x2**2)`, without overflow on the way.

    >>> from oneiros import ops
    >>> print(ops.hypot([3.0], [4.0]))
    [5.]
    """
    x1, x2 = map(p.abs, operands(x1, x2, _real("hypot", floating)))
    large, small = p.maximum(x1, x2), p.minimum(x1, x2)
    endless = p.logical_or(p.equal(x1, math.inf), p.equal(x2, math.inf))
    plain = p.logical_or(p.equal(large, 0), endless)
    ratio = p.divide(small, p.select(plain, constant(1, large), large))
    root = p.multiply(large, p.sqrt(p.add(p.multiply(ratio, ratio), 1.0)))
    return p.select(endless, constant(math.inf, large), p.select(plain, large, root))


@op
def heaviside(x1, x2):
    """0 for negative `x1`, 1 for positive, `x2` for zero.

    >>> from oneiros import ops
    >>> print(ops.heaviside([-1.0, 0.0, 2.0], 0.5))
    [0.  0.5 1. ]
    """
    x1, x2 = operands(x1, x2, _real("heaviside", floating))
    step = p.select(p.less(x1, 0), constant(0, x1), constant(1, x1))
    return p.select(p.isnan(x1), x1, p.select(p.equal(x1, 0), x2, step))


@op
def logaddexp(x1, x2):
    """`log(exp(x1) + exp(x2))`, without overflow on the way.

    >>> from oneiros import ops
    >>> print(ops.logaddexp([-1000.0], [0.0]))
    [0.]
    """
    x1, x2 = operands(x1, x2, floating)
    if is_complex(dtype_of(x1)):
        larger = p.greater(p.real(x1), p.real(x2))
        x1, x2 = p.select(larger, x1, x2), p.select(larger, x2, x1)
        return p.add(x1, p.log(p.add(p.exp(p.subtract(x2, x1)), 1.0)))
    return p.add(p.maximum(x1, x2), p.log1p(p.exp(_gap(x1, x2))))


@op
def logaddexp2(x1, x2):
    """`log2(2**x1 + 2**x2)`, without overflow on the way.

    >>> from oneiros import ops
    >>> print(ops.logaddexp2([2.0], [2.0]))
    [3.]
    """
    x1, x2 = operands(x1, x2, floating)
    if is_complex(dtype_of(x1)):
        turn = math.log(2.0)
        return p.divide(logaddexp.body(p.multiply(x1, turn), p.multiply(x2, turn)), turn)
    more = p.log1p(p.exp(p.multiply(_gap(x1, x2), math.log(2.0))))
    return p.add(p.maximum(x1, x2), p.multiply(more, 1 / math.log(2.0)))


def _gap(x1, x2):
    """`-|x1 - x2|`, 0 between equal infinities."""
    level = p.equal(x1, x2)
    return p.select(level, constant(0, x1), p.negative(p.abs(p.subtract(x1, x2))))


@op
def ldexp(x1, x2):
    """`x1` times 2 to the power of the integer `x2`.

    >>> from oneiros import ops
    >>> print(ops.ldexp([1.0, 3.0], [2, -1]))
    [4.  1.5]
    """
    x1, x2 = _as_float(x1), array(x2)
    if not is_integer(dtype_of(x2)):
        raise TypeError(f"ldexp: x2 must hold integers; got dtype {dtype_of(x2)}")
    x1, x2 = promote(x1, x2)
    two = constant(2, x1)
    half = p.floor(p.multiply(x2, 0.5))  # two steps reach exponents beyond the dtype's range
    return p.multiply(p.multiply(x1, p.power(two, half)), p.power(two, p.subtract(x2, half)))


@op
def gcd(x1, x2):
    """The greatest common divisors of integers (Euclid).

    >>> from oneiros import ops
    >>> print(ops.gcd([12, 18], 8))
    [4 2]
    """
    from oneiros.ops.control import while_loop

    x1, x2 = operands(x1, x2, _whole("gcd"))
    shape = broadcast_shapes(tuple(x1.shape), tuple(x2.shape))
    x1, x2 = (p.broadcast_to(p.abs(x), shape=shape) for x in (x1, x2))

    def step(x, y):
        none = p.equal(y, 0)
        rest = p.remainder(x, p.select(none, constant(1, y), y))
        return p.select(none, x, y), p.select(none, y, rest)

    return while_loop(lambda x, y: _any(p.not_equal(y, 0)), step, (x1, x2))[0]


def _any(x):
    return p.reduce_any(x, axes=tuple(range(len(x.shape))))


def _whole(name):
    def rule(dtype):
        if not is_integer(dtype):
            raise ValueError(f"{name}: expected integers; got dtype {dtype}")
        return dtype

    return rule


@op
def lcm(x1, x2):
    """The least common multiples of integers.

    >>> from oneiros import ops
    >>> print(ops.lcm([4, 6], 10))
    [20 30]
    """
    x1, x2 = operands(x1, x2, _whole("lcm"))
    divisor = gcd.body(x1, x2)
    none = p.equal(divisor, 0)
    part = p.floor_divide(p.abs(x1), p.select(none, constant(1, divisor), divisor))
    return p.multiply(part, p.abs(x2))


@op
def isclose(x1, x2, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether `|x1 - x2| <= atol + rtol * |x2|`; infinities are close to themselves.

    >>> from oneiros import ops
    >>> print(ops.isclose([1.0, 2.0], [1.0, 2.1]))
    [ True False]
    """
    x1, x2 = operands(x1, x2, floating)
    bound = p.add(p.multiply(p.abs(x2), float(rtol)), float(atol))
    near = p.less_equal(p.abs(p.subtract(x1, x2)), bound)
    near = p.logical_or(p.logical_and(near, p.isfinite(x2)), p.equal(x1, x2))
    return p.logical_or(near, p.logical_and(p.isnan(x1), p.isnan(x2))) if equal_nan else near


@op
def allclose(x1, x2, rtol=1e-5, atol=1e-8, equal_nan=False):
    """Whether all of `isclose` is true.

    >>> from oneiros import ops
    >>> print(ops.allclose([1.0, 2.0], [1.0, 2.0]))
    True
    """
    near = isclose.body(x1, x2, rtol, atol, equal_nan)
    return p.reduce_all(near, axes=tuple(range(len(near.shape))))


# Bits --------------------------------------------------------------------------------------------
@op
def bitwise_and(x, y):
    """The bits that are set in both `x` and `y`.

    >>> from oneiros import ops
    >>> print(ops.bitwise_and([6, 5], 3))
    [2 1]
    """
    return p.bitwise_and(*promote(x, y, rule=integer("bitwise_and")))


@op
def bitwise_or(x, y):
    """The bits that are set in `x` or `y`.

    >>> from oneiros import ops
    >>> print(ops.bitwise_or([6, 5], 3))
    [7 7]
    """
    return p.bitwise_or(*promote(x, y, rule=integer("bitwise_or")))


@op
def bitwise_xor(x, y):
    """The bits that are set in one of `x` and `y`, and not in both.

    >>> from oneiros import ops
    >>> print(ops.bitwise_xor([6, 5], 3))
    [5 6]
    """
    return p.bitwise_xor(*promote(x, y, rule=integer("bitwise_xor")))


# fmt: off
bitwise_not = unary("bitwise_not", p.bitwise_not, integer("bitwise_not"),
    "The bits of `x` flipped.", "[0, 5]", "[-1 -6]")
bitwise_invert = unary("bitwise_invert", p.bitwise_not, integer("bitwise_invert"),
    "The bits of `x` flipped.", "[0, 5]", "[-1 -6]")
# fmt: on


@op
def left_shift(x, y):
    """The bits of `x` moved up by `y` places.

    >>> from oneiros import ops
    >>> print(ops.left_shift([1, 3], 2))
    [ 4 12]
    """
    return p.shift_left(*operands(x, y, _shifted("left_shift")))


@op
def right_shift(x, y):
    """The bits of `x` moved down by `y` places; the sign stays.

    >>> from oneiros import ops
    >>> print(ops.right_shift([8, -8], 2))
    [ 2 -2]
    """
    return p.shift_right(*operands(x, y, _shifted("right_shift")))


@op
def bitwise_left_shift(x, y):
    """The bits of `x` moved up by `y` places.

    >>> from oneiros import ops
    >>> print(ops.bitwise_left_shift([1, 3], 2))
    [ 4 12]
    """
    return left_shift.body(x, y)


@op
def bitwise_right_shift(x, y):
    """The bits of `x` moved down by `y` places; the sign stays.

    >>> from oneiros import ops
    >>> print(ops.bitwise_right_shift([8, -8], 2))
    [ 2 -2]
    """
    return right_shift.body(x, y)


def _shifted(name):
    return lambda dtype: number(integer(name)(dtype))


@op
def view(x, dtype=None):
    """The bytes of `x` read as `dtype`; another width divides or multiplies the last axis.

    >>> from oneiros import ops
    >>> print(ops.view(ops.ones((1,)), "int32"))
    [1065353216]
    """
    from oneiros.core.dtypes import standardize_dtype

    x = array(x)
    want = dtype_of(x) if dtype is None else standardize_dtype(dtype)
    have, wide = (np_dtype(d).itemsize for d in (dtype_of(x), want))
    if want == dtype_of(x):
        return x
    if have == wide:
        return p.bitcast(x, dtype=want)
    if not x.shape:
        raise ValueError(
            f"view: a scalar of {dtype_of(x)} cannot be read as {want}, of another width"
        )
    if have > wide:
        x = p.bitcast(x, dtype=want)
        return p.reshape(x, shape=(*x.shape[:-2], x.shape[-2] * x.shape[-1]))
    many = wide // have
    if x.shape[-1] % many:
        raise ValueError(
            f"view: the last axis of {tuple(x.shape)} must be divisible by {many} to be read as "
            f"{want}"
        )
    return p.bitcast(p.reshape(x, shape=(*x.shape[:-1], x.shape[-1] // many, many)), dtype=want)


@op
def view_as_complex(x):
    """The complex numbers whose parts are the last axis of `x`, which has length 2.

    >>> from oneiros import ops
    >>> print(ops.view_as_complex([[1.0, 2.0]]))
    [1.+2.j]
    """
    x = _as_float(x)
    if not x.shape or not agree(x.shape[-1], 2):
        raise ValueError(
            f"view_as_complex: the last axis must have length 2; got shape {tuple(x.shape)}"
        )
    if dtype_of(x) not in ("float32", "float64"):
        x = p.cast(x, dtype="float32")
    lead = tuple(x.shape[:-1])

    def part(i):
        start, stop = (*(0 for _ in lead), i), (*lead, i + 1)
        return p.reshape(p.slice(x, start=start, stop=stop, strides=(1,) * len(stop)), shape=lead)

    return p.complex(part(0), part(1))


@op
def view_as_real(x):
    """The real and imaginary parts of `x`, along a new last axis.

    >>> from oneiros import ops
    >>> print(ops.view_as_real([1 + 2j]))
    [[1. 2.]]
    """
    x = array(x)
    parts = [p.reshape(part(x), shape=(*x.shape, 1)) for part in (p.real, p.imag)]
    return p.concatenate(*parts, axis=len(x.shape))
