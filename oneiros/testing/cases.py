"""The rows of the conformance kit: calls of every primitive and op, with what they must give.

Arrays are float64 where they stand for floats; the battery casts them to the dtype under test.
`expected` works in float64 with NumPy and SciPy, never with the code under test.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import scipy.linalg
import scipy.special

from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import trace
from oneiros.core.spec import Spec

__all__ = ["PRIMITIVE_ROWS", "Row"]

_rng = np.random.default_rng(2024)
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5])


@dataclasses.dataclass
class Row:
    """One call.

    Args:
        name: A primitive or an op.
        args: Arrays and numbers.
        params: Keyword parameters, or a function from the float dtype to them.
        expected: A function of args and params; None takes the NumPy backend in float64.
        seen: What of the outputs is compared, as `seen(*outputs)`; all of them if None.
        grad: Whether the derivative is checked where there is one.
        low: Whether float16 and bfloat16 are supported.
        along: A function that makes a direction one in which the arguments may move; None for all.
        edge: Whether the arguments are NaN, infinite or empty: values and shapes only.
    """

    name: str
    args: tuple
    params: dict | Callable = dataclasses.field(default_factory=dict)
    expected: Callable | None = None
    seen: Callable | None = None
    grad: bool = True
    low: bool = True
    along: Callable | None = None
    edge: bool = False

    def params_for(self, dtype):
        return self.params(dtype) if callable(self.params) else self.params


def real(*shape, low=-2.0, high=2.0):
    return _rng.uniform(low, high, shape)


def whole(high, *shape, low=0):
    return _rng.integers(low, high, shape).astype("int32")


def spread(*shape):
    """Floats that are far from each other, so that order does not hang on rounding."""
    n = int(np.prod(shape))
    return (_rng.permutation(n) - n / 2 + 0.25).reshape(shape) / 4


def z(*shape):
    return real(*shape) + 1j * real(*shape)


def positive_definite(*shape):
    x = real(*shape)
    return x @ np.swapaxes(x, -1, -2) + 3 * np.eye(shape[-1])


# Elementwise: name: (NumPy's function, the domain) ---
UNARY = {
    "negative": (np.negative, -2, 2), "exp": (np.exp, -2, 2), "expm1": (np.expm1, -1, 2),
    "log": (np.log, 0.1, 3),
    "log1p": (np.log1p, -0.5, 2), "log2": (np.log2, 0.1, 3), "log10": (np.log10, 0.1, 3),
    "sqrt": (np.sqrt, 0.1, 3),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 3), "cbrt": (np.cbrt, 0.1, 3),
    "sigmoid": (scipy.special.expit, -4, 4),
    "sin": (np.sin, -3, 3), "cos": (np.cos, -3, 3), "tan": (np.tan, -1, 1),
    "arcsin": (np.arcsin, -0.9, 0.9),
    "arccos": (np.arccos, -0.9, 0.9), "arctan": (np.arctan, -3, 3), "sinh": (np.sinh, -2, 2),
    "cosh": (np.cosh, -2, 2), "tanh": (np.tanh, -2, 2), "arcsinh": (np.arcsinh, -3, 3),
    "arccosh": (np.arccosh, 1.2, 3), "arctanh": (np.arctanh, -0.9, 0.9), "abs": (np.abs, -2, 2),
    "sign": (np.sign, -2, 2), "floor": (np.floor, -3, 3), "ceil": (np.ceil, -3, 3),
    "round": (np.rint, -3, 3),
    "trunc": (np.trunc, -3, 3), "isfinite": (np.isfinite, -1, 1), "isnan": (np.isnan, -1, 1),
    "isinf": (np.isinf, -1, 1), "stop_gradient": (lambda x: x, -1, 1), "real": (np.real, -1, 1),
    "imag": (np.imag, -1, 1), "conj": (np.conj, -1, 1), "erf": (scipy.special.erf, -2, 2),
    "erfc": (scipy.special.erfc, -2, 2), "erfinv": (scipy.special.erfinv, -0.9, 0.9),
    "lgamma": (scipy.special.gammaln, 0.3, 4), "digamma": (scipy.special.digamma, 0.3, 4),
    "polygamma1": (lambda x: scipy.special.polygamma(1, x), 0.3, 4),
    "i0e": (scipy.special.i0e, -2, 2),
    "i1e": (scipy.special.i1e, -2, 2),
}  # fmt: skip
POLES = {
    "lgamma",
    "digamma",
    "polygamma1",
    "i0e",
    "i1e",
    "stop_gradient",
    "erfinv",
}  # libraries differ at infinity
FLAT = {"stop_gradient", "imag"}  # derivative zero by definition, or of no real argument
BINARY = {
    "add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide,
    "remainder": np.remainder,
    "power": np.power, "maximum": np.maximum, "minimum": np.minimum, "arctan2": np.arctan2,
    "equal": np.equal,
    "not_equal": np.not_equal, "less": np.less, "less_equal": np.less_equal, "greater": np.greater,
    "greater_equal": np.greater_equal,
}  # fmt: skip
INTEGER = {
    "floor_divide": np.floor_divide, "remainder": np.remainder, "bitwise_and": np.bitwise_and,
    "bitwise_or": np.bitwise_or,
    "bitwise_xor": np.bitwise_xor, "shift_left": np.left_shift, "shift_right": np.right_shift,
    "add": np.add,
    "subtract": np.subtract, "multiply": np.multiply, "maximum": np.maximum, "less": np.less,
}  # fmt: skip
WIDTHS = ("int8", "int16", "int32", "uint8", "uint16", "uint32")


def elementwise_rows():
    for name, (f, low, high) in UNARY.items():
        for shape in [(2, 3), (), (1, 3), (0, 2)]:
            edge = 0 in shape
            yield Row(
                name,
                (real(*shape, low=low, high=high),),
                expected=f,
                grad=name not in FLAT,
                edge=edge,
            )
        if name not in POLES:
            yield Row(name, (ODD,), expected=f, edge=True)
    for name, f in BINARY.items():
        for a, b in [
            ((2, 3), (2, 3)),
            ((2, 3), (3,)),
            ((2, 1), (1, 3)),
            ((), (2,)),
            ((0, 3), (1, 3)),
        ]:
            args = real(*a, low=0.3), real(*b, low=0.5, high=3)
            yield Row(name, args, expected=f, edge=0 in a)
        yield Row(name, (real(2, 3, low=0.3), 1.5), expected=f)
        yield Row(name, (1.5, real(2, 3, low=0.3)), expected=f)
        if name not in ("remainder", "power", "arctan2"):
            pairs = np.array(list(itertools.product(ODD, ODD)))
            yield Row(name, (pairs[:, 0], pairs[:, 1]), expected=f, edge=True)
    for name, f in INTEGER.items():
        for dtype in WIDTHS:
            x, y = whole(9, 2, 3).astype(dtype), whole(4, 3, low=1).astype(dtype)
            yield Row(name, (x, y), expected=f)
            yield Row(name, (x, 2), expected=f)
    for dtype in WIDTHS:
        yield Row("bitwise_not", (whole(9, 4).astype(dtype),), expected=np.invert)
    flags = np.array([True, False, True, False]), np.array([True, True, False, False])
    yield Row("logical_not", flags[:1], expected=np.logical_not)
    for name in ("logical_and", "logical_or", "logical_xor"):
        yield Row(name, flags, expected=getattr(np, name))
    yield Row("nextafter", (real(3), real(3)), grad=False, low=False)
    choice = np.array([[True, False, True], [False, False, True]])
    for args in [
        (choice, real(2, 3), real(2, 3)),
        (choice, real(3), 0.0),
        (choice, 0.0, real(2, 3)),
    ]:
        yield Row("select", args, expected=np.where)
    yield Row("select", (choice[0], real(2, 3), real(2, 1)), expected=np.where)
    for dtype in ("bool", *WIDTHS, "float32", "float16", "bfloat16"):
        yield Row(
            "cast",
            (real(2, 3, low=0, high=9),),
            {"dtype": dtype},
            lambda x, dtype: x.astype(np_dtype(dtype)),
            grad=False,
        )
    yield Row("cast", (whole(5, 3),), {"dtype": "float32"}, lambda x, dtype: x.astype(dtype))
    yield Row("bitcast", (whole(9, 3),), {"dtype": "float32"}, lambda x, dtype: x.view(dtype))
    yield Row(
        "bitcast", (whole(9, 3),), {"dtype": "uint8"}, lambda x, dtype: x[:, None].view(dtype)
    )
    yield Row("complex", (real(2, 3), real(2, 3)), expected=lambda x, y: x + 1j * y, low=False)
    z = real(2, 3) + 1j * real(2, 3)
    for name in ("real", "imag", "conj", "abs", "exp", "sqrt", "log", "sin", "negative"):
        yield Row(name, (z,), expected=getattr(np, name), low=False)
    for name in ("add", "multiply", "divide"):
        yield Row(name, (z, z[::-1] + 3), expected=getattr(np, name), low=False)


# Reductions and order ---------------------------------------------
def reduction_rows():
    sums = {
        "reduce_sum": np.sum,
        "reduce_prod": np.prod,
        "reduce_max": np.max,
        "reduce_min": np.min,
    }
    for name, f in sums.items():
        g = lambda x, axes, f=f: f(x, axis=tuple(axes))
        for axes in [(0,), (1,), (0, 2), (0, 1, 2), ()]:
            yield Row(name, (spread(2, 3, 4) / 4,), {"axes": axes}, g)
        yield Row(name, (real(70, 3),), {"axes": (0,)}, g, low=name != "reduce_prod")
        yield Row(name, (whole(5, 2, 3),), {"axes": (1,)}, g)
        yield Row(name, (np.stack([ODD, np.ones(7)]),), {"axes": (1,)}, g, edge=True)
    yield Row("reduce_sum", (real(0, 3),), {"axes": (0,)}, lambda x, axes: np.zeros(3), edge=True)
    yield Row("reduce_prod", (real(0, 3),), {"axes": (0,)}, lambda x, axes: np.ones(3), edge=True)
    zeros = real(2, 3, low=0.5)
    zeros[0, 1] = 0
    yield Row("reduce_prod", (zeros,), {"axes": (1,)}, lambda x, axes: np.prod(x, axis=1))
    flags = real(3, 4) > 0
    for name, f in {"reduce_any": np.any, "reduce_all": np.all}.items():
        for axes in [(0,), (0, 1)]:
            yield Row(name, (flags,), {"axes": axes}, lambda x, axes, f=f: f(x, axis=tuple(axes)))
    for name in ("argmax", "argmin"):
        for x in (spread(3, 4), np.array([[1.0, 3, 3], [2, 2, 0]]), np.stack([ODD, ODD[::-1]])):
            for axis in (0, 1):
                yield Row(
                    name, (x,), {"axis": axis}, getattr(np, name), edge=not np.isfinite(x).all()
                )
    running = {"cumsum": np.cumsum, "cumprod": np.cumprod, "cummax": np.maximum.accumulate,
               "cummin": np.minimum.accumulate}  # fmt: skip
    for name, f in running.items():
        for axis, reverse in itertools.product((0, 1), (False, True)):
            yield Row(
                name, (spread(3, 4),), {"axis": axis, "reverse": reverse},
                lambda x, axis, reverse,
                f=f: np.flip(f(np.flip(x, axis), axis=axis), axis) if reverse else f(x, axis=axis),
            )  # fmt: skip
    for axis in (0, 1):
        yield Row("sort", (spread(4, 5),), {"axis": axis}, np.sort)
        yield Row("argsort", (spread(4, 5),), {"axis": axis}, np.argsort)
    yield Row("sort", (ODD,), {"axis": 0}, np.sort, edge=True)
    yield Row(
        "argsort",
        (np.array([2.0, 1, 2, 1, 1]),),
        {"axis": 0},
        lambda x, axis: np.argsort(x, kind="stable"),
    )
    yield Row(
        "top_k",
        (spread(3, 6),),
        {"k": 2},
        lambda x, k: (np.sort(x)[:, ::-1][:, :k], np.argsort(-x)[:, :k]),
    )
    yield Row(
        "top_k",
        (np.array([2.0, 7, 7, 1]),),
        {"k": 3},
        lambda x, k: (x[[1, 2, 0]], np.array([1, 2, 0])),
        grad=False,
    )


# Shapes and places ---------------------------------------------
def pad_reference(x, widths, value):
    """Element by element."""
    shape = [
        low + high + n + max(n - 1, 0) * between for n, (low, high, between) in zip(x.shape, widths)
    ]
    out = np.full(shape, value, x.dtype)
    for at in np.ndindex(*x.shape):
        to = [low + i * (between + 1) for i, (low, _, between) in zip(at, widths)]
        if all(0 <= i < n for i, n in zip(to, shape)):
            out[tuple(to)] = x[at]
    return out


MEET = {
    "set": lambda a, b: b,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def scatter_reference(x, indices, updates, mode):
    x = x.copy()
    k = indices.shape[-1]
    for at in np.ndindex(*indices.shape[:-1]):
        to = tuple(int(i) for i in indices[at])
        if all(0 <= i < n for i, n in zip(to, x.shape[:k])):
            x[to] = MEET[mode](x[to], updates[at])
    return x


def scatter_along_reference(x, indices, updates, axis, mode):
    x = x.copy()
    for at in np.ndindex(*indices.shape):
        to = list(at)
        to[axis] = int(indices[at])
        if 0 <= to[axis] < x.shape[axis]:
            x[tuple(to)] = MEET[mode](x[tuple(to)], updates[at])
    return x


def shape_rows():
    x = real(2, 3, 4)
    yield Row("reshape", (x,), {"shape": (4, 6)}, lambda x, shape: x.reshape(shape))
    yield Row("reshape", (real(),), {"shape": (1, 1)}, lambda x, shape: x.reshape(shape))
    yield Row(
        "reshape", (real(0, 3),), {"shape": (3, 0)}, lambda x, shape: x.reshape(shape), edge=True
    )
    yield Row("transpose", (x,), {"order": (2, 0, 1)}, lambda x, order: x.transpose(order))
    for a in (real(), real(3), real(2, 1), real(1, 3)):
        yield Row("broadcast_to", (a,), {"shape": (4, 2, 3)}, np.broadcast_to)
    yield Row(
        "iota",
        (),
        {"shape": (2, 3), "axis": 1, "dtype": "int32"},
        lambda **_: np.tile(np.arange(3), (2, 1)),
    )
    yield Row(
        "iota",
        (),
        {"shape": (2, 3), "axis": 0, "dtype": "float32"},
        lambda **_: np.repeat([[0.0], [1]], 3, 1),
    )
    for at in [
        ((0, 1, 1), (2, 3, 4), (1, 1, 2)),
        ((1, 0, 0), (1, 3, 4), (1, 1, 1)),
        ((0, 0, 3), (2, 2, 4), (1, 1, 3)),
    ]:
        yield Row("slice", (x,), dict(zip(("start", "stop", "strides"), at)),
                  lambda x, start, stop,
                  strides: x[tuple(map(slice, start, stop, strides))])  # fmt: skip
    for widths in [
        ((1, 2, 0), (0, 0, 2), (3, 0, 1)),
        ((-1, 0, 0), (0, -1, 1), (2, -3, 0)),
        ((0, 0, 0),) * 3,
        ((-1, -1, 0), (1, 1, 0), (-2, 1, 1)),
    ]:
        yield Row("pad", (x,), {"widths": widths, "value": 0.5}, pad_reference)
    for axes in [(0,), (1, 2), ()]:
        yield Row("reverse", (x,), {"axes": axes}, lambda x, axes: np.flip(x, axes))
    yield Row(
        "concatenate",
        (x, real(2, 1, 4), real(2, 0, 4)),
        {"axis": 1},
        lambda *xs, axis: np.concatenate(xs, axis),
    )
    yield Row("concatenate", (x,), {"axis": 0}, lambda *xs, axis: np.concatenate(xs, axis))
    for start in (np.int32(1), np.int32(9), np.int32(-3)):
        a = min(max(int(start), 0), 2)
        yield Row(
            "dynamic_slice",
            (real(4, 3), start, np.int32(1)),
            {"sizes": (2, 2)},
            lambda x, *_, sizes, a=a: x[a : a + 2, 1:3],
        )
        yield Row("dynamic_update_slice", (real(4, 3), real(2, 2), start, np.int32(1)), {},
                  lambda x, u, *_,
                  a=a: np.block([[x[:a]], [x[a : a + 2, :1], u], [x[a + 2 :]]]))  # fmt: skip
    table = real(5, 3)
    for indices in (whole(5, 4), whole(5, 2, 3), np.array([0, 7, 4], "int32"), whole(5, 0)):
        edge = indices.size == 0
        yield Row(
            "take", (table, indices), {"axis": 0}, lambda x, i, axis: x[np.clip(i, 0, 4)], edge=edge
        )
    yield Row("take", (real(2, 5, 3), whole(5, 2, 2)), {"axis": 1}, lambda x, i, axis: x[:, i])
    yield Row("gather_nd", (table, whole(3, 4, 2)), {}, lambda x, i: x[i[..., 0], i[..., 1]])
    yield Row("gather_nd", (table, whole(5, 2, 4, 1)), {}, lambda x, i: x[i[..., 0]])
    along = lambda x, i, axis: np.take_along_axis(x, i, axis)
    yield Row("gather_along", (table, whole(5, 2, 3)), {"axis": 0}, along)
    yield Row("gather_along", (table, whole(3, 5, 4)), {"axis": 1}, along)
    for mode in MEET:
        x, low = real(5, 3, low=0.5), mode != "mul"
        twice = (
            np.array([[1], [4], [1], [7], [-1]], "int32")
            if mode != "mul"
            else np.array([[1], [4], [7]], "int32")
        )
        u = spread(len(twice), 3)
        yield Row("scatter", (x, twice, u), {"mode": mode}, scatter_reference, low=low)
        pairs = np.array(
            [[1, 1], [4, 0], [2, 9], [1, 1]] if mode != "mul" else [[1, 1], [4, 0], [2, 9]], "int32"
        )
        yield Row(
            "scatter", (x, pairs, spread(len(pairs))), {"mode": mode}, scatter_reference, low=low
        )
        i = np.array([[1, 0, 4], [1, 2, 9]] if mode != "mul" else [[1, 0, 4], [2, 2, 9]], "int32")
        yield Row(
            "scatter_along",
            (x, i, spread(2, 3) + 0.1),
            {"axis": 0, "mode": mode},
            scatter_along_reference,
            low=low,
        )


# Sums of products ---------------------------------------------
def convolution_reference(x, kernel, strides, padding, lhs_dilation, rhs_dilation, groups):
    """By sums over every place."""
    rank = len(strides)
    widths = [(0, 0, 0), *[(a, b, d - 1) for (a, b), d in zip(padding, lhs_dilation)], (0, 0, 0)]
    x = pad_reference(x, widths, 0)
    window = kernel.shape[:rank]
    out = [
        max(0, (n - (w - 1) * d - 1) // s + 1)
        for n, w, d, s in zip(x.shape[1:], window, rhs_dilation, strides)
    ]
    each, channels = kernel.shape[-1] // groups, kernel.shape[-2]
    y = np.zeros((x.shape[0], *out, kernel.shape[-1]))
    for at in np.ndindex(*out):
        for place in np.ndindex(*window):
            here = x[
                (
                    slice(None),
                    *[i * s + k * d for i, s, k, d in zip(at, strides, place, rhs_dilation)],
                )
            ]
            for g in range(groups):
                part = (
                    here[:, g * channels : (g + 1) * channels]
                    @ kernel[place][:, g * each : (g + 1) * each]
                )
                y[(slice(None), *at, slice(g * each, (g + 1) * each))] += part
    return y


def pool_reference(f, empty):
    def pool(x, window, strides, padding):
        x = pad_reference(x, [(0, 0, 0), *[(a, b, 0) for a, b in padding], (0, 0, 0)], empty)
        out = [(n - w) // s + 1 for n, w, s in zip(x.shape[1:], window, strides)]
        y = np.zeros((x.shape[0], *out, x.shape[-1]))
        for at in np.ndindex(*out):
            here = x[
                (slice(None), *[slice(i * s, i * s + w) for i, s, w in zip(at, strides, window)])
            ]
            y[(slice(None), *at)] = f(here, axis=tuple(range(1, len(window) + 1)))
        return y

    return pool


def numeric_adjoint(f, x, g):
    """The sum of `g` times the derivative of the linear `f` by its argument of the shape of `x`."""
    out = np.zeros_like(x)
    for at in np.ndindex(*x.shape):
        unit = np.zeros_like(x)
        unit[at] = 1
        out[at] = np.sum(f(unit) * g)
    return out


CONVOLUTIONS = [  # input, kernel, strides, padding, lhs dilation, rhs dilation, groups
    ((2, 5, 3), (3, 3, 4), (1,), ((1, 1),), (1,), (1,), 1),
    ((1, 6, 5, 2), (3, 2, 2, 3), (2, 1), ((1, 0), (0, 1)), (1, 1), (1, 2), 1),
    ((2, 4, 4, 4), (2, 2, 2, 6), (1, 1), ((0, 1), (-1, 2)), (2, 1), (1, 1), 2),
    ((1, 4, 4, 3), (2, 3, 1, 6), (1, 2), ((1, 1), (1, 1)), (1, 1), (1, 1), 3),
    ((1, 4, 4, 2), (1, 1, 2, 5), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    ((1, 3, 3, 3, 1), (2, 2, 2, 1, 2), (1, 1, 1), ((0, 1),) * 3, (1, 1, 1), (1, 1, 1), 1),
]
POOLS = [  # input, window, strides, padding
    ((2, 6, 3), (2,), (2,), ((0, 0),)),
    ((1, 5, 6, 2), (3, 2), (2, 1), ((1, 1), (0, 1))),
    ((1, 3, 3, 3, 1), (2, 2, 2), (1, 1, 1), ((0, 0),) * 3),
]


def contraction_rows():
    for x, y, contract, batch in [
        ((2, 3), (3, 4), ((1,), (0,)), ((), ())),
        ((3, 2), (4, 3), ((0,), (1,)), ((), ())),
        ((2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,))),
        ((2, 3, 4), (4, 5, 3), ((1, 2), (2, 0)), ((), ())),
        ((4, 2, 3), (3, 5, 2), ((2,), (0,)), ((1,), (2,))),
        ((3,), (3,), ((0,), (0,)), ((), ())),
        ((2,), (3,), ((), ()), ((), ())),
        ((2, 0), (0, 3), ((1,), (0,)), ((), ())),
    ]:
        yield Row(
            "dot_general",
            (real(*x), real(*y)),
            {"contract": contract, "batch": batch},
            dot_reference,
            edge=0 in x,
        )
    pair = {"contract": ((1,), (0,)), "batch": ((), ())}
    yield Row("dot_general", (whole(5, 2, 3), whole(5, 3, 2)), pair, dot_reference)
    yield Row(
        "dot_general",
        (real(2, 3) + 1j * real(2, 3), real(3, 2) + 1j * real(3, 2)),
        pair,
        dot_reference,
        low=False,
    )
    names = ("strides", "padding", "lhs_dilation", "rhs_dilation", "groups")
    for x, k, *rest in CONVOLUTIONS:
        params = dict(zip(names, rest))
        x, k = real(*x), real(*k)
        yield Row("convolution", (x, k), params, convolution_reference)
        g = real(*convolution_reference(x, k, **params).shape)
        yield Row("convolution_input_grad", (g, k), {"input_shape": x.shape, **params},
                  lambda g, k, input_shape,
                  **q: numeric_adjoint(lambda x: convolution_reference(x, k, **q),
                  np.zeros(input_shape), g))  # fmt: skip
        yield Row("convolution_kernel_grad", (g, x), {"kernel_shape": k.shape, **params},
                  lambda g, x, kernel_shape,
                  **q: numeric_adjoint(lambda k: convolution_reference(x, k, **q),
                  np.zeros(kernel_shape), g))  # fmt: skip
    top, total = pool_reference(np.max, -np.inf), pool_reference(np.sum, 0)
    for shape, *rest in POOLS:
        params = dict(zip(("window", "strides", "padding"), rest))
        x = spread(*shape)
        y = top(x, **params)
        yield Row("max_pool", (x,), params, top)
        yield Row("sum_pool", (x,), params, total)
        yield Row("sum_pool_grad", (real(*y.shape),), {"input_shape": shape, **params},
                  lambda g, input_shape,
                  **q: numeric_adjoint(lambda x: total(x, **q), np.zeros(input_shape),
                  g))  # fmt: skip
        pick = lambda h, x, y, **q: np.where(
            np.isfinite(y), top(np.where(np.isin(x, y), x, -np.inf), **q), 0
        )
        yield Row("max_pool_pick", (x, x, y), params, pick, grad=False)
        yield Row("max_pool_grad", (real(*y.shape), x, y), params, grad=False)
    ties = np.zeros((1, 4, 1))
    params = {"window": (2,), "strides": (2,), "padding": ((0, 0),)}
    yield Row("max_pool_grad", (np.ones((1, 2, 1)), ties, np.zeros((1, 2, 1))), params,
              lambda *_, **__: np.array([1.0, 0, 1, 0]).reshape(1, 4, 1), grad=False)  # fmt: skip


def dot_reference(x, y, contract, batch):
    letters = iter("abcdefghijkl")
    a = [next(letters) for _ in x.shape]
    b = [next(letters) for _ in y.shape]
    for i, j in [*zip(*contract), *zip(*batch)]:
        b[j] = a[i]
    out = [a[i] for i in batch[0]]
    out += [v for i, v in enumerate(a) if i not in (*contract[0], *batch[0])]
    out += [v for i, v in enumerate(b) if i not in (*contract[1], *batch[1])]
    return np.einsum(f"{''.join(a)},{''.join(b)}->{''.join(out)}", x, y)


# Factorizations: what is compared does not hang on signs ---
def linalg_rows():
    square, tall, broad, spd = (
        real(2, 3, 3) + 2 * np.eye(3),
        real(4, 3),
        real(3, 5),
        positive_definite(2, 3, 3),
    )
    hermitian = real(3, 3) + 1j * real(3, 3)
    hermitian = hermitian @ hermitian.conj().T + 2 * np.eye(3)
    rows = [
        Row("cholesky", (spd,), expected=np.linalg.cholesky, along=symmetric),
        Row("cholesky", (hermitian,), expected=np.linalg.cholesky, grad=False),
        *[Row("qr", (x,), {"mode": mode}, lambda x, mode: (x, np.abs(np.linalg.qr(x, mode)[1])),
              lambda q, r: (q @ r, np.abs(r)), grad=mode == "reduced")
          for x in (square, tall, broad) for mode in ("reduced", "complete")],
        *[Row("svd", (x,), {"full_matrices": full, "compute_uv": True},
              lambda x, **_: (np.linalg.svd(x, compute_uv=False), x),
              lambda u, s,
              vh: (s, u[..., : s.shape[-1]] * s[..., None, :] @ vh[..., : s.shape[-1], :]),
              grad=not full)
          for x in (square, tall, broad) for full in (False, True)],
        Row("svd", (tall,), {"full_matrices": False, "compute_uv": False},
            lambda x, **_: np.linalg.svd(x, compute_uv=False)),
        Row("eigh", (spd,), {}, lambda x: (np.linalg.eigvalsh(x), x),
            lambda w, v: (w, v * w[..., None, :] @ np.swapaxes(v, -1, -2)), along=symmetric),
        Row("eig", (square,), {}, lambda x: np.sort_complex(np.linalg.eigvals(x)),
            lambda w, v: np.sort_complex(w)),
        Row("lu", (square,), {}, lambda x: np.stack([scipy.linalg.lu_factor(m)[0] for m in x]),
            lambda y, *_: y),
        Row("solve", (square, real(2, 3, 2)), {}, np.linalg.solve),
        Row("inverse", (square,), {}, np.linalg.inv),
        Row("det", (square,), {}, np.linalg.det),
        Row("slogdet", (square,), {}, lambda x: tuple(np.linalg.slogdet(x))),
        Row("fft", (z(2, 5),), {"inverse": False}, lambda x, inverse: np.fft.fft(x)),
        Row("fft", (z(2, 4),), {"inverse": True}, lambda x, inverse: np.fft.ifft(x)),
        *[Row("rfft", (real(2, n),), {}, np.fft.rfft) for n in (4, 5)],
        *[Row("irfft", (z(2, 3),), {"n": n}, lambda x, n: np.fft.irfft(x, n)) for n in (4, 5)],
    ]  # fmt: skip
    for lower, adjoint in itertools.product((True, False), (True, False)):
        rows.append(Row(
            "triangular_solve", (square, real(2, 3, 2)), {"lower": lower, "adjoint": adjoint},
            lambda a, b, lower, adjoint: np.linalg.solve(
                np.swapaxes(half(a, lower), -1, -2) if adjoint else half(a, lower), b),
        ))  # fmt: skip
    return [dataclasses.replace(row, low=False) for row in rows]


def symmetric(x):
    return x + np.swapaxes(x, -1, -2)


def half(a, lower):
    return np.tril(a) if lower else np.triu(a)


# Control flow ---------------------------------------------
def graphs(*shapes, **functions):
    """A function from a dtype to the graphs of `functions` of arrays of these shapes."""

    def params(dtype):
        return {k: trace(f, [Spec(s, d or dtype) for s, d in shapes]) for k, f in functions.items()}

    return params


def scan_params(length, reverse):
    def body(state, step, x, w):
        state = p.tanh(p.add(p.add(state, x), p.reduce_sum(w, axes=(1,))))
        return [state, p.add(step, 1), p.multiply(state, x), p.reduce_sum(state, axes=(0,))]

    of = graphs(((3,), None), ((), "int32"), ((3,), None), ((3, 2), None), body=body)
    return lambda dtype: {**of(dtype), "carry": 2, "xs": 1, "length": length, "reverse": reverse}


def scan_reference(state, step, x, w, reverse, **_):
    ys, zs = np.zeros(x.shape), np.zeros(len(x))
    for i in range(len(x))[:: -1 if reverse else 1]:
        state, step = np.tanh(state + x[i] + w.sum(1)), step + 1
        ys[i], zs[i] = state * x[i], state.sum()
    return state, step, ys, zs


def control_rows():
    true, false = (lambda x, y: [p.multiply(x, y), x]), (lambda x, y: [p.exp(x), y])
    branches = graphs(((3,), None), ((3,), None), true=true, false=false)
    for choice in (True, False):
        yield Row("cond", (np.array(choice), real(3), real(3)), branches,
                  lambda c, x, y, **_: (x * y, x) if c else (np.exp(x), y))  # fmt: skip
    for length, reverse in [(3, False), (4, True), (1, False)]:
        yield Row(
            "scan",
            (real(3), np.int32(0), real(length, 3), real(3, 2)),
            scan_params(length, reverse),
            scan_reference,
        )
    specs = ((), "int32"), ((2,), None), ((2,), None)
    loop = graphs(*specs, condition=lambda i, x, y: [p.less(i, 5)],
                  body=lambda i, x, y: [p.add(i, 1), p.add(x, y)])  # fmt: skip
    yield Row("while_loop", (np.int32(2), real(2), real(2)), lambda d: {**loop(d), "carry": 2},
              lambda i, x, y, **_: (np.int32(5), x + 3 * y), grad=False)  # fmt: skip
    body = graphs(((3,), None), ((3,), None), body=lambda x, y: [p.sin(p.multiply(x, y)), p.exp(y)])
    yield Row("checkpoint", (real(3), real(3)), body, lambda x, y, **_: (np.sin(x * y), np.exp(y)))
    yield Row("barrier", (real(3), real(2)), {}, lambda x, y: (x, y))
    given = graphs(((3,), None), ((3,), None), gradient=lambda g, z: [p.multiply(g, p.cos(z))])
    yield Row("with_gradient", (real(3), real(3), real(3)),
              lambda d: {**given(d), "outputs": 1, "wrt": 1}, lambda x, *_, **__: x,
              grad=False)  # fmt: skip


def noise_rows():
    """Only shapes, dtypes and sameness can be checked here; the battery looks at the moments."""
    seed = np.array([1, 2], "uint32")
    yield Row("random_bits", (seed,), {"shape": (3, 5)}, seen=lambda x: np.zeros(x.shape))
    for name, dtype in itertools.product(
        ("random_uniform", "random_normal"), ("float32", "float16", "bfloat16")
    ):
        yield Row(
            name, (seed,), {"shape": (2, 3), "dtype": dtype}, seen=lambda x: np.zeros(x.shape)
        )


PRIMITIVE_ROWS = [
    *elementwise_rows(), *reduction_rows(), *shape_rows(), *contraction_rows(), *linalg_rows(),
    *control_rows(),
    *noise_rows(),
]  # fmt: skip
