"""Elementwise primitives as PyTensor's scalar ops: one expression of numba's each.

PyTensor fuses them into loops. The expressions say what NumPy's kernels say, also for NaN, infinity
and divisors of zero; floats of 32 bits get exponentials without branches or calls, so that loops of
them become vector instructions.
"""

from __future__ import annotations

import math
import re

import numba
import numpy as np
from pytensor.scalar.basic import ScalarOp, get_scalar_type

from oneiros.core import primitives as p

__all__ = ["ELEMENTWISE", "HELPERS", "JIT", "Scalar", "expression", "literal", "scalar"]

JIT = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
FLOATS, INTS = ("float32", "float64"), ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")


def _jit(f):
    return numba.njit(**JIT)(f)


# Functions of one number ---------------------------------------------
@numba.extending.intrinsic
def _float_of_bits(typingctx, n):
    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(numba.types.float32))

    return numba.types.float32(numba.types.int32), codegen


@_jit
def exp32(x):
    """The exponential by a polynomial on [-ln 2 / 2, ln 2 / 2] (Moshier's Cephes, expf)."""
    f = np.float32
    z = f(-104) if x < f(-104) else f(89) if x > f(89) else x
    n = np.floor(z * f(1.44269504088896341) + f(0.5))
    z = z - n * f(0.693359375)
    z = z + n * f(2.12194440e-4)
    q = f(1.9875691500e-4)
    q = q * z + f(1.3981999507e-3)
    q = q * z + f(8.3334519073e-3)
    q = q * z + f(4.1665795894e-2)
    q = q * z + f(1.6666665459e-1)
    q = q * z + f(5.0000001201e-1)
    q = q * z * z + z + f(1)
    k = np.int32(n)
    half = np.int32(k >> np.int32(1))
    low = _float_of_bits(np.int32((half + np.int32(127)) << np.int32(23)))
    high = _float_of_bits(np.int32((k - half + np.int32(127)) << np.int32(23)))
    return x if x != x else f(q * low * high)


@_jit
def sigmoid32(x):
    return np.float32(1) / (np.float32(1) + exp32(-x))


@_jit
def tanh32(x):
    """By a polynomial near zero (Cephes, tanhf), else by the exponential."""
    f = np.float32
    z = x * x
    q = f(-5.70498872745e-3)
    q = q * z + f(2.06390887954e-2)
    q = q * z + f(-5.37397155531e-2)
    q = q * z + f(1.33314422036e-1)
    q = q * z + f(-3.33332819422e-1)
    near = q * z * x + x
    far = f(1) - f(2) / (exp32(x + x) + f(1))
    return near if z < f(0.390625) else far


@_jit
def erfinv(x):
    """Winitzki's closed approximation, and three of Halley's steps, in float64."""
    x = np.float64(x)
    a = abs(x)
    if not a < 1:
        return x * np.inf if a == 1 else np.nan
    rest = np.log1p(-a * a)
    half = 2 / (math.pi * 0.147) + rest / 2
    y = math.sqrt(max(math.sqrt(half * half - rest / 0.147) - half, 0.0))
    for _ in range(3):
        error = (1 - a) - math.erfc(y) if a > 0.5 else math.erf(y) - a
        step = error / (2 / math.sqrt(math.pi) * math.exp(-y * y))
        y -= step / (1 + y * step)
    return -y if x < 0 else y


@_jit
def digamma(x):
    """By recurrence to where the asymptotic series holds; by reflection below zero."""
    x = np.float64(x)
    if x == 0:
        return math.copysign(np.inf, -x)
    if x < 0 and x == math.floor(x):
        return np.nan
    total = 0.0
    if x < 0:
        total, x = -math.pi / math.tan(math.pi * (x - math.floor(x))), 1 - x
    while x < 10:
        total, x = total - 1 / x, x + 1
    z = 1 / (x * x)
    series = z * (1 / 12 - z * (1 / 120 - z * (1 / 252 - z * (1 / 240 - z * (1 / 132)))))
    return total + math.log(x) - 0.5 / x - series


@_jit
def trigamma(x):
    x = np.float64(x)
    if x <= 0 and x == math.floor(x):
        return np.inf
    if x < 0:
        s = math.sin(math.pi * (x - math.floor(x)))
        return math.pi * math.pi / (s * s) - _trigamma_above(1 - x)
    return _trigamma_above(x)


@_jit
def _trigamma_above(x):
    total = 0.0
    while x < 10:
        total, x = total + 1 / (x * x), x + 1
    z = 1 / (x * x)
    series = z * (1 / 6 - z * (1 / 30 - z * (1 / 42 - z * (1 / 30 - z * (5 / 66)))))
    return total + 1 / x + z / 2 + series / x


@_jit
def int_power(x, n):
    """`x` multiplied `n` times; negative powers of integers are the rounded inverses."""
    if n < 0:
        return x if x == 1 or (x == -1 and n % 2) else x * x if x == -1 else x - x
    y = x - x + 1
    while n:
        if n & 1:
            y *= x
        x, n = x * x, n >> 1
    return y


@_jit
def whole(x):
    return np.int64(x)


HELPERS = {
    "np": np,
    "math": math,
    "inf": math.inf,
    "nan": math.nan,
    **{
        f.__name__: f
        for f in (exp32, sigmoid32, tanh32, erfinv, digamma, trigamma, int_power, whole)
    },
}


# The table ---------------------------------------------
# Name to an expression in x, y, z, or to one for each kind of operand: f (floats), 4 (32 bits),
# 8 (64 bits), i, u, b. T is the result's dtype, X the first operand's, W its width.
_ROUNDED = {"iu": "x"}
EXPRESSIONS = {
    "negative": {"fiu": "-x"},
    "add": {"fiu": "x + y", "b": "x or y"},
    "subtract": {"fiu": "x - y"},
    "multiply": {"fiu": "x * y", "b": "x and y"},
    "divide": {"f": "x / y"},
    "remainder": {"f": "np.remainder(x, y)", "iu": "X(0) if y == 0 else x % y"},
    "floor_divide": {"f": "np.floor_divide(x, y)", "iu": "X(0) if y == 0 else x // y"},
    "power": {"f": "np.power(x, y)", "iu": "int_power(x, y)"},
    "maximum": {"f": "x if x >= y or x != x else y", "iu": "x if x >= y else y", "b": "x or y"},
    "minimum": {"f": "x if x <= y or x != x else y", "iu": "x if x <= y else y", "b": "x and y"},
    "arctan2": {"f": "math.atan2(x, y)"},
    "nextafter": {"f": "np.nextafter(x, y)"},
    **{
        name: {"fiub": f"x {sign} y"}
        for name, sign in (
            ("equal", "=="), ("not_equal", "!="), ("less", "<"), ("less_equal", "<="),
            ("greater", ">"), ("greater_equal", ">="),
        )
    },
    "isfinite": {"f": "x - x == 0", "iub": "True"},
    "isnan": {"f": "x != x", "iub": "False"},
    "isinf": {"f": "x == X(np.inf) or x == X(-np.inf)", "iub": "False"},
    "logical_not": {"fiub": "x == X(0)"},
    "logical_and": {"fiub": "(x != X(0)) & (y != X(0))"},
    "logical_or": {"fiub": "(x != X(0)) | (y != X(0))"},
    "logical_xor": {"fiub": "(x != X(0)) != (y != X(0))"},
    "bitwise_not": {"iu": "~x", "b": "not x"},
    "bitwise_and": {"iub": "x & y"},
    "bitwise_or": {"iub": "x | y"},
    "bitwise_xor": {"iub": "x ^ y"},
    "shift_left": {"iu": "x << y if y >= X(0) and y < X(W) else X(0)"},
    "shift_right": {
        "i": "x >> (y if y >= X(0) and y < X(W) else X(W - 1))",
        "u": "x >> y if y < X(W) else X(0)",
    },
    "select": {"fiub": "y if x else z"},
    **{name: {"f": f"np.{name}(x)"} | _ROUNDED for name in ("floor", "ceil", "trunc")},
    "round": {"f": "np.rint(x)"} | _ROUNDED,
    "sign": {
        "f": "x if x != x else X(1) if x > X(0) else X(-1) if x < X(0) else X(0)",
        "i": "X(1) if x > X(0) else X(-1) if x < X(0) else X(0)",
        "u": "X(1) if x > X(0) else X(0)",
    },
    "abs": {"f": "math.fabs(x)", "i": "-x if x < X(0) else x", "u": "x", "b": "x"},
    "exp": {"4": "exp32(x)", "8": "np.exp(x)"},
    **{
        name: {"f": f"np.{name}(x)"}
        for name in (
            "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan", "arcsin",
            "arccos", "arctan", "sinh", "cosh", "arcsinh", "arccosh", "arctanh",
        )
    },
    "cbrt": {"f": "np.cbrt(x)"},
    "rsqrt": {"f": "X(1) / np.sqrt(x)"},
    "sigmoid": {"4": "sigmoid32(x)", "8": "X(1) / (X(1) + np.exp(-x))"},
    "tanh": {"4": "tanh32(x)", "8": "np.tanh(x)"},
    "erf": {"f": "math.erf(x)"},
    "erfc": {"f": "math.erfc(x)"},
    "erfinv": {"f": "erfinv(x)"},
    "lgamma": {"f": "math.lgamma(x)"},
    "digamma": {"f": "digamma(x)"},
    "polygamma1": {"f": "trigamma(x)"},
    "cast": {"fiub": "x"},
    "real": {"f": "x"},
    "conj": {"f": "x"},
}  # fmt: skip
ELEMENTWISE = {getattr(p, name): name for name in EXPRESSIONS}


def expression(name, dtype, out):
    """The expression of `name` for operands of `dtype` and a result of dtype `out`, or None."""
    kind, width = np.dtype(dtype).kind, np.dtype(dtype).itemsize
    if name == "cast":
        return _cast(np.dtype(dtype), np.dtype(out))
    rows = EXPRESSIONS[name]
    keys = (kind, str(width)) if kind == "f" else (kind,)
    return next((text for key, text in rows.items() if any(k in key for k in keys)), None)


def _cast(have, want):
    if want.kind == "b":
        return "x != X(0)"
    if have.kind == "f" and want.kind in "iu" and want != np.uint64:
        return "whole(x)"  # and then cut off, as NumPy does
    return "x"


# PyTensor's side ---------------------------------------------
class Scalar(ScalarOp):
    """An elementwise primitive on numbers.

    Args:
        name: The primitive's name.
        dtype: Of the operands (of the last one, for a selection).
        out: Dtype of the result.
    """

    def __init__(self, name, dtype, out):
        self.key = name, dtype, out
        super().__init__(None, name)

    def __eq__(self, other):
        return type(other) is Scalar and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    def output_types(self, types):
        return [get_scalar_type(self.key[2])]

    def supports_c_code(self, inputs, outputs):
        return True  # which is what PyTensor asks before it fuses loops, in whatever language

    def impl(self, *inputs):
        raise NotImplementedError(f"'{self.name}' is for compiled loops only")

    def source(self, names):
        """What it computes of the variables called `names`."""
        name, dtype, out = self.key
        words = dict(zip("xyz", names)) | {
            "X": f"np.{scalar(dtype)}",
            "W - 1": str(8 * np.dtype(dtype).itemsize - 1),
            "W": str(8 * np.dtype(dtype).itemsize),
        }
        text = expression(name, dtype, out)
        text = re.sub(r"(?<![\w.])(W - 1|[xyzXW])(?!\w)", lambda m: words[m[1]], text)
        return f"np.{scalar(out)}({text})"


def scalar(dtype):
    """A dtype's name among those of NumPy's scalars."""
    return "bool_" if dtype == "bool" else str(dtype)


def literal(value, dtype):
    """A number as source."""
    return f"np.{scalar(dtype)}({np.asarray(value).item()!r})"
