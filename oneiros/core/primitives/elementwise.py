"""Elementwise primitives: one row each. Derivatives take (g, y, *operands); broadcasting is undone
around them.
"""

from __future__ import annotations

import math

from oneiros.core.dtypes import np_dtype
from oneiros.core.primitive import elementwise, primitive
from oneiros.core.spec import Spec, spec_of

_REAL = {"complex64": "float32", "complex128": "float64"}


def _real(dtype):
    return _REAL.get(dtype, dtype)


def _is_complex(x):
    return spec_of(x).dtype in _REAL


@primitive
def cast(x, *, dtype):
    """`x` as `dtype`; to integers it truncates, to bool it compares with zero."""
    return x.but(dtype=dtype)


@cast.vjp
def _(g, y, x, *, dtype):
    return [cast(g, dtype=spec_of(x).dtype)]


@primitive
def bitcast(x, *, dtype):
    """The bytes of `x` read as `dtype`, of equal width or with the last axis split or joined."""
    have, want = np_dtype(x.dtype).itemsize, np_dtype(dtype).itemsize
    if have == want:
        return x.but(dtype=dtype)
    if have > want:
        return Spec((*x.shape, have // want), dtype)
    if not x.shape or x.shape[-1] * have != want:
        raise ValueError(
            f"bitcast: {x.shape} of {x.dtype} cannot be read as {dtype}; the last axis must hold "
            f"{want // have} elements"
        )
    return Spec(x.shape[:-1], dtype)


@primitive
def stop_gradient(x):
    """`x`, through which no derivative flows."""
    return x


@stop_gradient.vjp
def _(g, y, x):
    return [None]


# Arithmetic -------------------------------------------------------------------------------------
negative = elementwise("negative", lambda g, y, x: -g)
add = elementwise("add", lambda g, z, x, y: g, lambda g, z, x, y: g)
subtract = elementwise("subtract", lambda g, z, x, y: g, lambda g, z, x, y: -g)
multiply = elementwise("multiply", lambda g, z, x, y: g * _conj(y), lambda g, z, x, y: g * _conj(x))
divide = elementwise(
    "divide",
    lambda g, z, x, y: g / _conj(y),
    lambda g, z, x, y: -g * _conj(z) / _conj(y),
    doc="The quotient of floats or complex numbers.",
)
remainder = elementwise(
    "remainder",
    lambda g, z, x, y: g,
    lambda g, z, x, y: -g * floor(divide(x, y)),
    doc="What is left of `x / y` rounded down: the sign is the divisor's.",
)
floor_divide = elementwise("floor_divide", doc="The quotient rounded down.")
power = elementwise(
    "power",
    lambda g, z, x, y: g * _power_slope(x, y),
    lambda g, z, x, y: g * z * _log_or_zero(x),
)
maximum = elementwise(
    "maximum", lambda g, z, x, y: _to_larger(g, x, y), lambda g, z, x, y: _to_larger(g, y, x)
)
minimum = elementwise(
    "minimum", lambda g, z, x, y: _to_larger(g, y, x), lambda g, z, x, y: _to_larger(g, x, y)
)
arctan2 = elementwise(
    "arctan2",
    lambda g, z, x, y: g * y / (x * x + y * y),
    lambda g, z, x, y: -g * x / (x * x + y * y),
)
nextafter = elementwise("nextafter")


def _conj(x):
    return conj(x) if hasattr(x, "shape") and _is_complex(x) else x


def _power_slope(x, y):
    """The derivative of `x**y` by `x`; zero, and not NaN, for `y == 0`."""
    if not hasattr(y, "shape"):
        return y * x ** (y - 1) if y != 1 else 1.0
    still = equal(y, 0)
    return select(still, 0.0, y * power(x, select(still, 1.0, y - 1)))


def _log_or_zero(x):
    """The logarithm of `x`, and 0 at 0, where a power of it does not move."""
    if not hasattr(x, "shape"):
        return math.log(x) if x > 0 else math.nan if x < 0 else 0.0
    still = equal(x, 0)
    return select(still, 0.0, log(select(still, 1.0, x)))


def _to_larger(g, x, y):
    """`g` where `x > y`, half of it where they are equal."""
    return g * (
        cast(greater(x, y), dtype=spec_of(g).dtype)
        + 0.5 * cast(equal(x, y), dtype=spec_of(g).dtype)
    )


# Comparison, logic, bits --------------------------------------------------------------------------
equal = elementwise("equal", dtype="bool")
not_equal = elementwise("not_equal", dtype="bool")
less = elementwise("less", dtype="bool")
less_equal = elementwise("less_equal", dtype="bool")
greater = elementwise("greater", dtype="bool")
greater_equal = elementwise("greater_equal", dtype="bool")
isfinite = elementwise("isfinite", dtype="bool")
isnan = elementwise("isnan", dtype="bool")
isinf = elementwise("isinf", dtype="bool")
logical_not = elementwise("logical_not", dtype="bool")
logical_and = elementwise("logical_and", dtype="bool")
logical_or = elementwise("logical_or", dtype="bool")
logical_xor = elementwise("logical_xor", dtype="bool")
bitwise_not = elementwise("bitwise_not")
bitwise_and = elementwise("bitwise_and")
bitwise_or = elementwise("bitwise_or")
bitwise_xor = elementwise("bitwise_xor")
shift_left = elementwise("shift_left")
shift_right = elementwise(
    "shift_right", doc="Arithmetic for signed integers, logical for unsigned."
)
select = elementwise(
    "select",
    None,
    lambda g, z, c, x, y: select(c, g, 0.0),
    lambda g, z, c, x, y: select(c, 0.0, g),
    doc="`x` where `condition`, else `y`: `select(condition, x, y)`.",
)

# Rounding and sign --------------------------------------------------------------------------------
floor = elementwise("floor", lambda g, y, x: None)
ceil = elementwise("ceil", lambda g, y, x: None)
round = elementwise("round", lambda g, y, x: None, doc="To the nearest integer, halves to even.")
trunc = elementwise("trunc", lambda g, y, x: None)
sign = elementwise("sign", lambda g, y, x: None)
abs = elementwise("abs", lambda g, y, x: _abs_vjp(g, y, x), dtype=_real)


def _abs_vjp(g, y, x):
    if not _is_complex(x):
        return g * sign(x)
    still = equal(y, 0)
    return complex(g, g * 0.0) * x / complex(select(still, 1.0, y), y * 0.0)


# Exponentials and powers --------------------------------------------------------------------------
exp = elementwise("exp", lambda g, y, x: g * _conj(y))
expm1 = elementwise("expm1", lambda g, y, x: g * (y + 1.0))
log = elementwise("log", lambda g, y, x: g / _conj(x))
log1p = elementwise("log1p", lambda g, y, x: g / (x + 1.0))
log2 = elementwise("log2", lambda g, y, x: g / (x * math.log(2.0)))
log10 = elementwise("log10", lambda g, y, x: g / (x * math.log(10.0)))
sqrt = elementwise("sqrt", lambda g, y, x: g / (_conj(y) * 2.0))
rsqrt = elementwise("rsqrt", lambda g, y, x: g * y / (x * -2.0))
cbrt = elementwise("cbrt", lambda g, y, x: g / (y * y * 3.0))
sigmoid = elementwise("sigmoid", lambda g, y, x: g * (y * (1.0 - y)))

# Trigonometry -------------------------------------------------------------------------------------
sin = elementwise("sin", lambda g, y, x: g * _conj(cos(x)))
cos = elementwise("cos", lambda g, y, x: -g * _conj(sin(x)))
tan = elementwise("tan", lambda g, y, x: g * (y * y + 1.0))
arcsin = elementwise("arcsin", lambda g, y, x: g * rsqrt(1.0 - x * x))
arccos = elementwise("arccos", lambda g, y, x: -g * rsqrt(1.0 - x * x))
arctan = elementwise("arctan", lambda g, y, x: g / (x * x + 1.0))
sinh = elementwise("sinh", lambda g, y, x: g * cosh(x))
cosh = elementwise("cosh", lambda g, y, x: g * sinh(x))
tanh = elementwise("tanh", lambda g, y, x: g * (1.0 - y * y))
arcsinh = elementwise("arcsinh", lambda g, y, x: g * rsqrt(x * x + 1.0))
arccosh = elementwise("arccosh", lambda g, y, x: g * rsqrt((x - 1.0) * (x + 1.0)))
arctanh = elementwise("arctanh", lambda g, y, x: g / (1.0 - x * x))

# Special functions --------------------------------------------------------------------------------
erf = elementwise("erf", lambda g, y, x: g * (2 / math.sqrt(math.pi)) * exp(-x * x))
erfc = elementwise("erfc", lambda g, y, x: g * (-2 / math.sqrt(math.pi)) * exp(-x * x))
erfinv = elementwise("erfinv", lambda g, y, x: g * (math.sqrt(math.pi) / 2) * exp(y * y))
lgamma = elementwise("lgamma", lambda g, y, x: g * digamma(x), doc="log|gamma(x)|.")
digamma = elementwise("digamma", lambda g, y, x: g * polygamma1(x))
polygamma1 = elementwise("polygamma1", doc="The trigamma function, digamma's derivative.")
i0e = elementwise(
    "i0e",
    lambda g, y, x: g * (i1e(x) - sign(x) * y),
    doc="exp(-|x|) times the modified Bessel function of order 0.",
)
i1e = elementwise(
    "i1e",
    lambda g, y, x: (
        g * (i0e(x) - y * (sign(x) + 1.0 / select(equal(x, 0), 1.0, x)) - _half_at_zero(x))
    ),
    doc="exp(-|x|) times the modified Bessel function of order 1.",
)


def _half_at_zero(x):
    """At 0 the term y / x is 1/2, which `select` above leaves out."""
    return 0.5 * cast(equal(x, 0), dtype=spec_of(x).dtype)


# Complex numbers ----------------------------------------------------------------------------------
real = elementwise(
    "real", lambda g, y, x: complex(g, g * 0.0) if _is_complex(x) else g, dtype=_real
)
imag = elementwise(
    "imag", lambda g, y, x: complex(g * 0.0, g) if _is_complex(x) else None, dtype=_real
)
conj = elementwise("conj", lambda g, y, x: conj(g))
complex = elementwise(
    "complex",
    lambda g, z, x, y: real(g),
    lambda g, z, x, y: imag(g),
    dtype=lambda d: {"float32": "complex64", "float64": "complex128"}[d],
    doc="The number with these real and imaginary parts.",
)

__all__ = [n for n, v in list(globals().items()) if type(v).__name__ == "Primitive"]
