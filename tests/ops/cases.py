"""Calls of the array ops: `test_ops.py` runs each against Keras on NumPy."""

from dataclasses import dataclass, field

import numpy as np

rng = np.random.default_rng(11)


@dataclass
class Case:
    """One call of an op. NumPy arrays among the arguments become symbols where it is traced.

    Args:
        name: The op.
        args: Its arguments, positional.
        kwargs: Its arguments by name.
        oracle: What gives the expected value; Keras's op of that name if None.
        traced: Whether it can be traced (its result's shape does not depend on values).
        symbols: Whether Keras infers the same shape for an unknown first dimension.
        tolerance: A factor on the dtype's tolerance.
        dtype: The expected dtype where it is not Keras's.
    """

    name: str
    args: tuple
    kwargs: dict = field(default_factory=dict)
    oracle: object = None
    traced: bool = True
    symbols: bool = True
    tolerance: float = 1.0
    dtype: str | None = None

    def __str__(self):
        shown = [_shown(a) for a in self.args] + [
            f"{k}={_shown(v)}" for k, v in self.kwargs.items()
        ]
        return f"{self.name}({', '.join(shown)})"


def _shown(x):
    if isinstance(x, np.ndarray):
        return f"{x.dtype.kind}{'x'.join(map(str, x.shape)) or '_'}"
    if isinstance(x, (list, tuple)) and x and isinstance(x[0], np.ndarray):
        return f"[{','.join(map(_shown, x))}]"
    return str(x)


def f(*shape, low=-2.0, high=2.0, dtype="float32"):
    return rng.uniform(low, high, shape).astype(dtype)


def i(*shape, low=-9, high=9, dtype="int32"):
    return rng.integers(low, high, shape).astype(dtype)


def b(*shape):
    return rng.integers(0, 2, shape).astype("bool")


def c(*shape):
    return (f(*shape) + 1j * f(*shape)).astype("complex64")


def holes(*shape):
    x = f(*shape)
    x[rng.uniform(size=shape) < 0.3] = np.nan
    return x


SPECIAL = np.float32([-np.inf, -3.5, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.5, 1e30, np.inf, np.nan])

# Elementwise: the op and the range of its arguments ----------------------------------------------------
UNARY = {
    **dict.fromkeys(
        [
            "abs",
            "absolute",
            "angle",
            "arctan",
            "arcsinh",
            "cbrt",
            "ceil",
            "conj",
            "conjugate",
            "copy",
            "cos",
            "cosh",
            "deg2rad",
            "erf",
            "erfc",
            "exp",
            "exp2",
            "expm1",
            "fabs",
            "floor",
            "i0",
            "imag",
            "isfinite",
            "isinf",
            "isnan",
            "isneginf",
            "isposinf",
            "isreal",
            "logical_not",
            "nan_to_num",
            "negative",
            "rad2deg",
            "real",
            "round",
            "sign",
            "signbit",
            "sin",
            "sinc",
            "sinh",
            "square",
            "tan",
            "tanh",
            "trunc",
        ],
        (-2, 2),
    ),
    **dict.fromkeys(["log", "log10", "log1p", "log2", "sqrt", "rsqrt", "reciprocal"], (0.1, 3)),
    **dict.fromkeys(["arccos", "arcsin", "arctanh", "erfinv"], (-0.9, 0.9)),
    "arccosh": (1.1, 3),
    "bitwise_not": (0, 9),
    "bitwise_invert": (0, 9),
}
BINARY = {
    **dict.fromkeys(
        [
            "add",
            "subtract",
            "multiply",
            "maximum",
            "minimum",
            "fmax",
            "fmin",
            "arctan2",
            "hypot",
            "heaviside",
            "logaddexp",
            "logaddexp2",
            "nextafter",
            "equal",
            "not_equal",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
            "logical_and",
            "logical_or",
            "logical_xor",
            "isclose",
        ],
        (-2, 2),
    ),
    **dict.fromkeys(
        [
            "divide",
            "true_divide",
            "divide_no_nan",
            "floor_divide",
            "mod",
            "fmod",
            "power",
            "gcd",
            "lcm",
            "ldexp",
            "bitwise_and",
            "bitwise_or",
            "bitwise_xor",
            "left_shift",
            "right_shift",
            "bitwise_left_shift",
            "bitwise_right_shift",
        ],
        (1, 5),
    ),
}
WHOLE_ONLY = set(["gcd", "lcm"]) | {
    n for n in (*UNARY, *BINARY) if n.startswith(("bitwise", "left_", "right_"))
}

ELEMENTWISE = [
    *[Case(name, (SPECIAL,)) for name in UNARY if name not in WHOLE_ONLY],
    *[
        Case(name, (SPECIAL[:, None], SPECIAL))
        for name in BINARY
        if name not in WHOLE_ONLY and name not in ("ldexp", "nextafter", "logaddexp2")
    ],
    Case("round", (f(3, 4),), dict(decimals=2)),
    Case("round", (f(3, 4) * 100,), dict(decimals=-1)),
    Case("round", (i(3, 4, low=-900, high=900),), dict(decimals=-2)),
    Case("clip", (f(3, 4), -0.5, 0.7)),
    Case("clip", (f(3, 4), f(4, low=-1, high=0), 1)),
    Case("clip", (i(3, 4), 0.5, 2.5)),
    Case("clip", (b(3), 0, 1)),
    Case("nan_to_num", (SPECIAL,), dict(nan=1.0, posinf=7.0, neginf=-7.0)),
    Case("isclose", (SPECIAL, SPECIAL), dict(equal_nan=True)),
    Case("isclose", (f(4), f(4)), dict(rtol=0.5, atol=0.5)),
    Case("allclose", (f(4), f(4))),
    Case("allclose", (np.ones(4, "float32"), np.ones(4, "float32"))),
    *[
        Case(n, (c(3),))
        for n in [
            "abs",
            "angle",
            "conj",
            "imag",
            "real",
            "isreal",
            "exp",
            "sin",
            "cos",
            "sqrt",
            "square",
            "negative",
            "isfinite",
        ]
    ],
    Case("view_as_complex", (f(3, 2),)),
    Case("view_as_real", (c(3, 2),)),
    Case("view", (f(3, 4), "int32")),
    Case("view", (f(3, 4), "int16")),
    Case("view", (i(3, 4, dtype="int16"), "float32"), symbols=False),
    Case("ldexp", (f(3, 4), i(4))),
    Case("ldexp", (np.float32([1e-30, 1e30]), np.int32([140, -160]))),
    Case("gcd", (np.int32([12, 18, 0, -7, 0]), np.int32([8, 0, 0, 21, 5]))),
    Case("lcm", (np.int32([12, 18, 0, -7, 0]), np.int32([8, 0, 0, 21, 5]))),
    Case("fmod", (np.int32([-7, 7, -7, 7]), np.int32([3, -3, -3, 3]))),
    Case("right_shift", (np.int32([-8, 8, -1]), np.int32([1, 2, 3]))),
]

# Shapes ------------------------------------------------------------------------------------------------------
SHAPING = [
    Case("reshape", (f(4, 6), (2, -1))),
    Case("reshape", (f(4, 6), (-1,))),
    Case("reshape", (f(4, 6), 24), symbols=False),
    Case("reshape", (f(0, 3), (3, -1)), symbols=False),
    Case("transpose", (f(2, 3, 4),)),
    Case("transpose", (f(2, 3, 4), (1, 2, 0))),
    Case("transpose", (f(2, 3, 4), (-1, 0, 1))),
    Case("swapaxes", (f(2, 3, 4), 0, -1)),
    Case("moveaxis", (f(2, 3, 4), 0, -1)),
    Case("moveaxis", (f(2, 3, 4), (0, 1), (-1, 0))),
    Case("expand_dims", (f(2, 3), 0)),
    Case("expand_dims", (f(2, 3), (0, -1))),
    Case("squeeze", (f(2, 1, 3, 1),)),
    Case("squeeze", (f(2, 1, 3, 1), 1)),
    Case("squeeze", (f(2, 1, 3, 1), (1, -1))),
    Case("ravel", (f(2, 3),)),
    Case("broadcast_to", (f(1, 3), (2, 3)), symbols=False),
    Case("concatenate", ([f(2, 3), f(2, 3)],)),
    Case("concatenate", ([f(2, 3), i(2, 3)],), dict(axis=1)),
    Case("concatenate", ([f(2, 3), f(2, 1)],), dict(axis=-1)),
    Case("stack", ([f(2, 3), f(2, 3)],)),
    Case("stack", ([f(2, 3), i(2, 3)],), dict(axis=-1)),
    Case("append", (f(2, 3), f(4))),
    Case("append", (f(2, 3), f(2, 1)), dict(axis=1)),
    Case("hstack", ([f(2), f(3)],)),
    Case("hstack", ([f(2, 3), f(2, 1)],)),
    Case("vstack", ([f(3), f(3)],), symbols=False),
    Case("vstack", ([f(2, 3), f(1, 3)],)),
    Case("dstack", ([f(3), f(3)],), symbols=False),
    Case("dstack", ([f(2, 3), f(2, 3)],), symbols=False),
    Case("split", (f(4, 6), 2)),
    Case("split", (f(4, 6), 3), dict(axis=1)),
    Case("split", (f(4, 6), [1, 4]), dict(axis=1)),
    Case("split", (f(4, 6), [2, 9]), dict(axis=1), symbols=False),
    Case("array_split", (f(7, 3), 3)),
    Case("hsplit", (f(4, 6), 2)),
    Case("vsplit", (f(4, 6), 2)),
    Case("dsplit", (f(2, 3, 4), 2)),
    Case("unstack", (f(2, 3),), dict(axis=1)),
    Case("unstack", (f(2, 3),), symbols=False),
    Case("tile", (f(2, 3), 2)),
    Case("tile", (f(2, 3), (2, 1))),
    Case("tile", (f(2, 3), (2, 1, 3)), symbols=False),
    Case("tile", (f(2, 3, 4), (2, 1))),
    Case("repeat", (f(2, 3), 2)),
    Case("repeat", (f(2, 3), 2), dict(axis=1)),
    Case("repeat", (f(2, 3), [1, 0, 2]), dict(axis=1)),
    Case("pad", (f(2, 3), 1)),
    Case("pad", (f(2, 3), (1, 2))),
    Case("pad", (f(2, 3), ((0, 1), (2, 0)))),
    Case("pad", (f(2, 3), ((0, 1), (2, 0))), dict(constant_values=7)),
    Case("pad", (i(2, 3), ((0, 1), (2, 0))), dict(constant_values=7)),
    Case("pad", (b(2, 3), 1)),
    *[
        Case("pad", (f(3, 4), ((0, 0), (2, 3))), dict(mode=mode))
        for mode in [
            "edge",
            "reflect",
            "symmetric",
            "wrap",
            "linear_ramp",
            "maximum",
            "minimum",
            "mean",
            "median",
        ]
    ],
    Case("flip", (f(2, 3),)),
    Case("flip", (f(2, 3), 1)),
    Case("flip", (f(2, 3), (0, -1))),
    Case("fliplr", (f(2, 3),)),
    Case("flipud", (f(2, 3),)),
    Case("roll", (f(3, 4), 1)),
    Case("roll", (f(3, 4), -2), dict(axis=1)),
    Case("roll", (f(3, 4), (1, 2)), dict(axis=(0, 1))),
    Case("roll", (f(3, 4), 9), dict(axis=0)),
    *[Case("rot90", (f(2, 3, 4),), dict(k=k), symbols=k % 2 == 1) for k in (-1, 0, 1, 2, 3)],
    Case("rot90", (f(2, 3, 4),), dict(axes=(2, 1))),
    Case("ndim", (f(2, 3),), traced=False, symbols=False),
    Case("size", (f(2, 3),), traced=False, symbols=False),
    Case("rearrange", (f(4, 6), "a (b c) -> (a b) c"), dict(b=2), symbols=False),
    Case("rearrange", (f(4, 6, 2), "a b c -> c (b a)"), symbols=False),
]

# Picking and placing ---------------------------------------------------------------------------------------------
INDEXING = [
    Case("take", (f(5, 3), np.int32([0, -1, 2])), dict(axis=0)),
    Case("take", (f(5, 3), np.int32([[0, -1], [2, 1]])), dict(axis=1)),
    Case("take", (f(5, 3), 2), dict(axis=-1)),
    Case("take", (f(5, 3), [7, -2])),
    Case("take", (f(5, 3), np.zeros((0,), "int32")), dict(axis=1)),
    Case("take_along_axis", (f(4, 3), i(4, 2, low=-3, high=3)), dict(axis=1)),
    Case("take_along_axis", (f(4, 3), i(1, 3, low=0, high=4)), dict(axis=0), symbols=False),
    Case(
        "take_along_axis",
        (f(4, 3), i(5, low=0, high=12)),
        oracle=lambda x, k: np.take_along_axis(x, k, None),
        symbols=False,
    ),
    Case("slice", (f(4, 5), [1, 2], [2, 3])),
    Case("slice", (f(4, 5), np.int32([1, 2]), [2, 3]), symbols=False),
    Case("slice_update", (f(4, 5), [1, 2], f(2, 3))),
    Case("slice_update", (f(4, 5), np.int32([1, 2]), f(2, 3)), symbols=False),
    Case("scatter", (np.int32([[0], [2], [0]]), f(3, 2), (4, 2))),
    Case("scatter", (np.int32([[0, 1], [2, -1]]), i(2), (3, 2))),
    *[
        Case("scatter_update", (f(4, 3), np.int32([[0], [2]]), f(2, 3)), dict(reduction=how))
        for how in (None, "add", "max", "min", "mul")
    ],
    Case("scatter_update", (f(4, 3), np.int32([[0, 1], [-1, 2]]), f(2))),
    Case("where", (b(2, 3), f(2, 3), f(2, 3))),
    Case("where", (b(2, 3), f(3), 2)),
    Case("where", (b(2, 3), 1, 2)),
    Case("where", (i(2, 3), i(2, 1), 0.5)),
    Case("where", (b(4, 3),), traced=False, symbols=False),
    Case("nonzero", (i(4, 3, low=0, high=2),), traced=False),
    Case("select", ([b(4), b(4)], [f(4), f(4)], 7), symbols=False),
    Case("unravel_index", (i(5, low=0, high=12), (3, 4))),
    Case("diag", (f(3),)),
    Case("diag", (f(3), 1)),
    Case("diag", (f(3), -2)),
    *[Case("diag", (f(3, 4), k)) for k in (-1, 0, 1, 3)],
    *[Case("diagonal", (f(3, 4), k)) for k in (-5, -2, 0, 2, 4)],
    Case("diagonal", (f(2, 3, 4),), dict(axis1=1, axis2=2)),
    Case("diagonal", (f(2, 3, 4),), dict(axis1=2, axis2=0, offset=1)),
    Case("diagflat", (f(2, 2), 1)),
    *[Case(name, (f(3, 4), k)) for name in ("tril", "triu") for k in (-1, 0, 2)],
    Case("tril", (b(2, 3, 3),)),
]
WHOLE = slice(None)
KEYS = [
    0,
    -1,
    (0, 1),
    (1, -2, 3),
    slice(1, 3),
    slice(None, None, -1),
    slice(3, 0, -2),
    slice(-2, None),
    slice(5, 2),
    (WHOLE, slice(None, None, 2)),
    None,
    (None, 0, None),
    Ellipsis,
    (Ellipsis, 0),
    (Ellipsis, None, slice(1, None)),
    (0, Ellipsis, -1),
    np.int32([0, 2]),
    [0, 2],
    (WHOLE, [0, 2]),
    (WHOLE, [[0, 2], [1, 1]]),
    ([0, 1], [1, 2]),
    ([[0], [1]], [1, 2]),
    (0, WHOLE, [1, 2]),
    ([0, 1], WHOLE, [1, 2]),
    ([0, 1], None, WHOLE, [1, 2]),
    (WHOLE, [0, 1], [1, 2]),
    (WHOLE, [0, 1], [1, 2], None),
    (slice(None, None, -1), [0, -1], slice(0, 2)),
    (np.array(True) if False else np.array([True, False, True, True]),),
    (WHOLE, np.array([True, False, True])),
    np.arange(60).reshape(4, 3, 5) % 3 == 0,
]
"""Keys of an array of shape (4, 3, 5)."""

# Sums and order ------------------------------------------------------------------------------------------------------
_AXES = [{}, dict(axis=0), dict(axis=-1, keepdims=True), dict(axis=(0, 2)), dict(keepdims=True)]
REDUCTIONS = [
    *[
        Case(name, (f(4, 2, 3),), kwargs, tolerance=2)
        for name in [
            "sum",
            "mean",
            "max",
            "min",
            "prod",
            "var",
            "std",
            "any",
            "all",
            "amax",
            "amin",
            "ptp",
        ]
        for kwargs in _AXES
    ],
    *[
        Case(name, (holes(4, 2, 3),), kwargs, tolerance=2)
        for name in ["nansum", "nanprod", "nanmean", "nanvar", "nanstd", "nanmax", "nanmin"]
        for kwargs in _AXES
    ],
    *[
        Case(name, (f(4, 2, 3),), kwargs)
        for name in ["argmax", "argmin"]
        for kwargs in ({}, dict(axis=0), dict(axis=-1, keepdims=True), dict(keepdims=True))
    ],
    *[
        Case(name, (holes(6, 5),), kwargs)
        for name in ["nanargmax", "nanargmin"]
        for kwargs in ({}, dict(axis=0), dict(axis=-1, keepdims=True))
    ],
    Case("argmax", (np.float32([1, 3, 3]),)),
    Case("argmax", (np.float32([1, np.nan, 3]),)),
    *[
        Case(name, (x,), kwargs)
        for name in ["cumsum", "cumprod"]
        for x in (f(4, 3), i(4, 3, low=1, high=4), b(4, 3))
        for kwargs in ({}, dict(axis=0), dict(axis=-1), dict(axis=1, dtype="float32"))
    ],
    *[
        Case(name, (holes(4, 3),), kw)
        for name in ("nancumsum", "nancumprod")
        for kw in ({}, dict(axis=1))
    ],
    Case("max", (f(4, 3),), dict(initial=9.0)),
    Case("min", (f(0, 3),), dict(initial=9.0, axis=0), symbols=False),
    Case("max", (f(4, 3),), dict(initial=1.0, axis=1)),
    Case("prod", (i(4, 3, low=1, high=3),), dict(dtype="float32")),
    Case("sum", (f(0, 3),)),
    Case("sum", (f(0, 3),), dict(axis=0)),
    Case("prod", (f(0, 3),), dict(axis=0)),
    Case("sum", (f(),)),
    Case("count_nonzero", (i(4, 3, low=0, high=2),)),
    Case("count_nonzero", (i(4, 3, low=0, high=2),), dict(axis=1)),
    Case("average", (f(4, 3),)),
    Case("average", (f(4, 3),), dict(axis=1, weights=f(3, low=0.1))),
    Case("average", (f(4, 3),), dict(weights=f(4, 3, low=0.1))),
    Case("average", (i(4, 3),), dict(axis=0, weights=i(4, low=1, high=4))),
    Case("diff", (f(4, 5),)),
    Case("diff", (f(4, 5), 2), dict(axis=0)),
    Case("diff", (b(4, 5),)),
    Case("trapezoid", (f(4, 5),)),
    Case("trapezoid", (f(4, 5),), dict(x=np.sort(f(5)), axis=-1)),
    Case("trapezoid", (f(4, 5),), dict(dx=0.5, axis=0)),
    Case("trace", (f(3, 4),)),
    Case("trace", (f(2, 3, 4),), dict(offset=1, axis1=1, axis2=2)),
    Case("sort", (f(4, 5),)),
    Case("sort", (i(4, 5),), dict(axis=0)),
    Case("sort", (f(4, 5),), dict(axis=None), symbols=False),
    Case("sort", (SPECIAL,)),
    Case("argsort", (f(4, 5),)),
    Case("argsort", (f(4, 5),), dict(axis=None), symbols=False),
    Case(
        "argsort",
        (np.int32([2, 1, 2, 1]),),
        oracle=lambda x: np.argsort(x, kind="stable").astype("int32"),
    ),
    Case("argpartition", (f(4, 5), 2), oracle=lambda x, k: np.argsort(x).astype("int32")),
    *[
        Case("median", (x,), kwargs)
        for x in (f(4, 5), i(3, 4), np.float32([1, np.nan]))
        for kwargs in ({}, dict(keepdims=True))
    ],
    Case("median", (f(4, 3, 2),), dict(axis=(0, 2))),
    Case("nanmedian", (holes(6, 5),), dict(axis=1)),
    *[
        Case("quantile", (f(4, 5), 0.3), dict(axis=axis, method=method))
        for axis in (None, 1)
        for method in [
            "linear",
            "lower",
            "higher",
            "midpoint",
            "nearest",
            "hazen",
            "weibull",
            "median_unbiased",
            "normal_unbiased",
            "inverted_cdf",
            "averaged_inverted_cdf",
            "closest_observation",
            "interpolated_inverted_cdf",
        ]
    ],
    Case("quantile", (f(4, 5), [0.0, 0.25, 1.0]), dict(axis=1, keepdims=True)),
    Case("quantile", (f(4, 5, 3), [0.5, 0.25]), dict(axis=(0, 2))),
    Case("percentile", (f(4, 5), [10, 80]), dict(axis=0)),
    Case("nanquantile", (holes(6, 5), [0.2, 0.9]), dict(axis=1)),
    Case("nanpercentile", (holes(6, 5), 30)),
]

STATISTICS = [
    Case("searchsorted", (np.sort(f(9)), f(3, 4))),
    Case("searchsorted", (np.int32([1, 1, 2, 2]), i(5, low=0, high=4)), dict(side="right")),
    Case("searchsorted", (np.float32([1, 2, np.nan, np.nan]), np.float32([np.nan, 3]))),
    Case("digitize", (f(3, 4), np.sort(f(5)))),
    Case("digitize", (f(3, 4), np.sort(f(5))[::-1])),
    Case("digitize", (np.float32([1, 2, 3]), np.float32([1, 2]))),
    Case("isin", (i(3, 4), i(5))),
    Case("isin", (f(3, 4), i(5)), dict(invert=True)),
    Case("bincount", (i(7, low=0, high=5),), traced=False, symbols=False),
    Case(
        "bincount",
        (i(7, low=0, high=5),),
        dict(weights=f(7), minlength=9),
        traced=False,
        symbols=False,
    ),
    Case("bincount", (i(3, 7, low=0, high=5),), traced=False, symbols=False),
    Case("histogram", (f(30),), symbols=False, oracle=lambda x: np.histogram(x), dtype="int32"),
    Case("histogram", (f(30),), dict(bins=4, range=(-1, 1)), oracle=np.histogram, dtype="int32"),
    Case("histogram", (np.ones(4, "float32"),), dict(bins=3), oracle=np.histogram, dtype="int32"),
    Case("unique", (i(4, 3, low=0, high=4),), traced=False),
    Case(
        "unique",
        (np.int32([3, 1, 1, 2]),),
        dict(return_index=True, return_inverse=True, return_counts=True, size=5),
        symbols=False,
        dtype="int32",
    ),
    Case("unique", (np.int32([3, 1, 1, 2]),), dict(size=2)),
    Case("unique", (i(9, 2, low=0, high=2),), dict(axis=0), traced=False),
    Case("corrcoef", (f(4, 9),), symbols=False),
    Case("corrcoef", (f(9),), symbols=False),
    *[
        Case("correlate", (f(n), f(m), mode))
        for n, m in ((6, 3), (3, 6), (5, 4), (4, 4))
        for mode in ("valid", "same", "full")
    ],
    Case("correlate", (i(5), i(3), "full")),
    *[
        Case(name, (f(5, 2), np.int32([0, 2, 0, 1, 2]), 4), oracle=oracle)
        for name, oracle in (
            ("segment_sum", lambda x, s, n: _segments(np.add, 0, x, s, n)),
            ("segment_prod", lambda x, s, n: _segments(np.multiply, 1, x, s, n)),
            ("segment_max", lambda x, s, n: _segments(np.maximum, -np.inf, x, s, n)),
            ("segment_min", lambda x, s, n: _segments(np.minimum, np.inf, x, s, n)),
        )
    ],
    Case(
        "segment_sum",
        (f(5), np.int32([0, 2, 0, -1, 9]), 4),
        oracle=lambda x, s, n: np.float32([x[0] + x[2], 0, x[1], 0]),
    ),
]


def _segments(join, start, x, ids, n):
    made = np.full((n, *x.shape[1:]), start, x.dtype)
    join.at(made, ids, x)
    return made


# Products -------------------------------------------------------------------------------------------------------------------
CONTRACTIONS = [
    *[
        Case("matmul", (f(*s), f(*t)))
        for s, t in [
            ((2, 3), (3, 4)), ((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
            ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((5, 2, 3), (3,)),
            ((3,), (5, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((6, 5, 2, 3), (3, 4)),
        ]
    ],
    Case("matmul", (i(2, 3), i(3, 4))),
    Case("matmul", (i(2, 3, dtype="int8"), i(3, 4, dtype="int8"))),
    Case("matmul", (b(2, 3), b(3, 4))),
    Case("matmul", (c(2, 3), c(3, 4)), oracle=np.matmul),
    *[
        Case("dot", (f(*s), f(*t)))
        for s, t in [((), (3,)), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((6, 2, 3), (5, 3, 4))]
    ],
    *[Case("inner", (f(*s), f(*t)), symbols=False) for s, t in [((), (3,)), ((3,), (3,)), ((2, 3), (4, 3)), ((2, 5, 3), (4, 3))]],
    Case("outer", (f(2, 3), f(4)), symbols=False),
    Case("vdot", (f(2, 3), f(2, 3)), symbols=False),
    Case("vdot", (c(5), c(5)), symbols=False),
    *[
        Case("tensordot", (f(2, 3, 4), f(3, 4, 5)), dict(axes=axes))
        for axes in (2, ((1, 2), (0, 1)), ((2, 1), (1, 0)), ((1,), (0,)), (-1, 1))
    ],
    Case("tensordot", (f(2, 3), f(4)), dict(axes=0)),
    Case("kron", (f(2, 3), f(4, 1))),
    Case("kron", (f(3), f(2, 2)), symbols=False),
    Case("cross", (f(4, 3), f(4, 3))),
    Case("cross", (f(4, 3), f(3)), symbols=False),
    Case("cross", (f(4, 2), f(4, 3)), oracle=lambda x, y: np.stack([x[:, 1] * y[:, 2], -x[:, 0] * y[:, 2], x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]], -1)),
    Case("cross", (f(4, 2), f(4, 2)), oracle=lambda x, y: x[:, 0] * y[:, 1] - x[:, 1] * y[:, 0]),
    Case("cross", (f(3, 4), f(4, 3)), dict(axisa=0, axisb=1, axisc=0), symbols=False),
    Case("cdist", (f(4, 3), f(5, 3))),
    Case("cdist", (f(2, 4, 3), f(2, 5, 3))),
]  # fmt: skip
EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ij,kj->ik", (2, 3), (4, 3)), ("ii->i", (3, 3)),
    ("ii", (3, 3)), ("ij->ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)), ("i,j->ij", (2,), (3,)),
    ("i,i->i", (3,), (3,)), ("i,i", (3,), (3,)), ("ba", (2, 3)), ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)), ("bqhd,bkhd->bhqk", (2, 4, 3, 5), (2, 6, 3, 5)),
    ("abc,cde->abde", (2, 3, 4), (4, 5, 2)), ("abc,bcd->ad", (2, 3, 4), (3, 4, 5)), ("abc,cbd->da", (2, 3, 4), (4, 3, 5)),
    ("...ij,...jk->...ik", (6, 5, 2, 3), (5, 3, 4)), ("...ij,jk->...ik", (5, 2, 3), (3, 4)), ("i...->...i", (2, 3, 4)),
    ("...,...", (2, 3), (3,)), ("...i->...", (2, 3, 4)), ("...ij->...ji", (2, 3, 4)), ("...ii->...i", (2, 3, 3)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("a,b,c->abc", (2,), (3,), (4,)), ("ab,ab,ab->a", (2, 3), (2, 3), (2, 3)),
    ("ij,j", (2, 1), (3,)), ("b...d,de->b...e", (2, 3, 4, 5), (5, 6)), ("iij,jk->ik", (3, 3, 2), (2, 4)),
    ("ab,cd->acbd", (2, 3), (4, 5)), ("ab,bc->c", (2, 3), (3, 4)), ("i j , j -> i", (2, 3), (3,)),
    ("...ab,...bc->...ac", (1, 2, 3), (4, 3, 2)), ("ijk,k->ij", (2, 3, 4), (4,)), ("abc,abc->", (2, 3, 4), (2, 3, 4)),
]  # fmt: skip
CONTRACTIONS += [
    Case("einsum", (s, *(f(*shape) for shape in shapes)), symbols=False) for s, *shapes in EINSUMS
]
CONTRACTIONS += [
    Case("einsum", ("ij,jk->ik", i(2, 3, dtype="int8"), i(3, 4, dtype="int8")), symbols=False)
]

# New arrays -------------------------------------------------------------------------------------------------------------------
CREATION = [
    *[Case(name, ((2, 3),)) for name in ("zeros", "ones")],
    Case("zeros", (3,), dict(dtype="int32")),
    Case("full", ((2, 3), 7)),
    Case("full", ((2, 3), f(3)), dict(dtype="float32")),
    Case("full", ((2,), True), dict(dtype="bool")),
    *[Case(name, (x,)) for name in ("zeros_like", "ones_like") for x in (f(2, 3), i(2), b(2))],
    Case("full_like", (f(2, 3), 2)),
    Case("full_like", (i(2, 3), 2.5), dict(dtype="float32")),
    Case("eye", (3,)),
    Case("eye", (3, 4), dict(k=1)),
    Case("eye", (3, 2), dict(k=-1, dtype="int32")),
    Case("identity", (3,)),
    Case("tri", (3,)),
    Case("tri", (3, 4, 1), dict(dtype="int32")),
    Case("vander", (f(3),)),
    Case("vander", (i(3, low=1, high=4), 4), dict(increasing=True)),
    *[
        Case("arange", args, kwargs)
        for args, kwargs in (
            ((5,), {}), ((1, 5), {}), ((1, 8, 3), {}), ((5, 0, -2), {}), ((0.5, 3), {}), ((3.0,), {}), ((1, 2, 0.25), {}),
            ((5,), dict(dtype="float32")), ((5,), dict(dtype="uint8")), ((0,), {}), ((5, 2), {}),
        )
    ],
    *[
        Case("linspace", args, kwargs)
        for args, kwargs in (
            ((0, 1, 5), {}), ((0, 1, 5), dict(endpoint=False)), ((0, 10, 4), dict(dtype="int32")), ((2, 2, 3), {}),
            ((0, 1, 1), {}), ((0, 1, 0), {}), ((0, 1, 5), dict(retstep=True)), ((f(2, 3), f(3), 4), {}),
            ((f(2, 3), 1.0, 4), dict(axis=-1)), ((0, 1), {}),
        )
    ],
    Case("logspace", (0, 2, 5)),
    Case("logspace", (0, 2, 5), dict(base=2, endpoint=False)),
    Case("geomspace", (1, 100, 5), tolerance=3),
    Case("geomspace", (-1.0, -100.0, 5), tolerance=3),
    Case("geomspace", (f(2, low=1), f(2, low=1), 3), dict(axis=1), tolerance=3),
    Case("meshgrid", (f(2), f(3))),
    Case("meshgrid", (f(2), f(3), i(4)), dict(indexing="ij")),
    Case("meshgrid", (f(2), f(3), i(4))),
    *[Case(name, (n,)) for name in ("bartlett", "blackman", "hamming", "hanning") for n in (1, 2, 7)],
    Case("kaiser", (7, 5.0)),
    Case("array", ([1, 2],), traced=False),
]  # fmt: skip

CASES = [*ELEMENTWISE, *SHAPING, *INDEXING, *REDUCTIONS, *STATISTICS, *CONTRACTIONS, *CREATION]
