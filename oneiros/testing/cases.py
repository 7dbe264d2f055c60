"""The rows of the conformance kit: calls of every primitive, with what they must give.

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
        name: A primitive.
        args: Arrays and numbers.
        params: Keyword parameters, or a function from the float dtype to them.
        expected: A function of args and params; None takes the NumPy backend in float64.
        seen: What of the outputs is compared, as `seen(*outputs)`; all of them if None.
        grad: Whether the derivative is checked where there is one; "given" where it is not that of
            the values.
        low: Whether float16 and bfloat16 are supported.
        along: A function that makes a direction one in which the arguments may move; None for all.
        edge: Whether the arguments are NaN, infinite or empty: values and shapes only.
    """

    name: str
    args: tuple
    params: dict | Callable = dataclasses.field(default_factory=dict)
    expected: Callable | None = None
    seen: Callable | None = None
    grad: bool | str = True
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


# fmt: off
# Elementwise: name: (NumPy's function, the domain) ------------------------------------------------
UNARY = {
    "negative": (np.negative, -2, 2), "exp": (np.exp, -2, 2), "expm1": (np.expm1, -1, 2),
    "log": (np.log, 0.1, 3), "log1p": (np.log1p, -0.5, 2), "log2": (np.log2, 0.1, 3),
    "log10": (np.log10, 0.1, 3), "sqrt": (np.sqrt, 0.1, 3), "cbrt": (np.cbrt, 0.1, 3),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 0.1, 3), "sigmoid": (scipy.special.expit, -4, 4),
    "sin": (np.sin, -3, 3), "cos": (np.cos, -3, 3), "tan": (np.tan, -1, 1),
    "arcsin": (np.arcsin, -0.9, 0.9), "arccos": (np.arccos, -0.9, 0.9),
    "arctan": (np.arctan, -3, 3), "sinh": (np.sinh, -2, 2), "cosh": (np.cosh, -2, 2),
    "tanh": (np.tanh, -2, 2), "arcsinh": (np.arcsinh, -3, 3), "arccosh": (np.arccosh, 1.2, 3),
    "arctanh": (np.arctanh, -0.9, 0.9), "abs": (np.abs, -2, 2), "sign": (np.sign, -2, 2),
    "floor": (np.floor, -3, 3), "ceil": (np.ceil, -3, 3), "round": (np.rint, -3, 3),
    "trunc": (np.trunc, -3, 3), "isfinite": (np.isfinite, -1, 1), "isnan": (np.isnan, -1, 1),
    "isinf": (np.isinf, -1, 1), "stop_gradient": (lambda x: x, -1, 1), "real": (np.real, -1, 1),
    "imag": (np.imag, -1, 1), "conj": (np.conj, -1, 1), "erf": (scipy.special.erf, -2, 2),
    "erfc": (scipy.special.erfc, -2, 2), "erfinv": (scipy.special.erfinv, -0.9, 0.9),
    "lgamma": (scipy.special.gammaln, 0.3, 4), "digamma": (scipy.special.digamma, 0.3, 4),
    "polygamma1": (lambda x: scipy.special.polygamma(1, x), 0.3, 4),
    "i0e": (scipy.special.i0e, -2, 2), "i1e": (scipy.special.i1e, -2, 2),
}
# Libraries differ at infinity
POLES = {"lgamma", "digamma", "polygamma1", "i0e", "i1e", "stop_gradient", "erfinv"}
FLAT = {"stop_gradient", "imag"}  # derivative zero by definition, or of no real argument
BINARY = ("add subtract multiply divide remainder power maximum minimum arctan2 equal not_equal "
          "less less_equal greater greater_equal").split()
INTEGER = {"shift_left": np.left_shift, "shift_right": np.right_shift} | {
    name: getattr(np, name) for name in ("floor_divide remainder bitwise_and bitwise_or "
                                         "bitwise_xor add subtract multiply maximum less").split()
}
WIDTHS = ("int8", "int16", "int32", "uint8", "uint16", "uint32")


def elementwise_rows():
    for name, (f, low, high) in UNARY.items():
        for shape in [(2, 3), (), (1, 3), (0, 2)]:
            x = real(*shape, low=low, high=high)
            yield Row(name, (x,), expected=f, grad=name not in FLAT, edge=0 in shape)
        if name not in POLES:
            yield Row(name, (ODD,), expected=f, edge=True)
    pairs = np.array(list(itertools.product(ODD, ODD)))
    alike = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 1), (1, 3)), ((), (2,)), ((0, 3), (1, 3))]
    for name in BINARY:
        f = getattr(np, name)
        for a, b in alike:
            yield Row(name, (real(*a, low=0.3), real(*b, low=0.5, high=3)), expected=f, edge=0 in a)
        yield Row(name, (real(2, 3, low=0.3), 1.5), expected=f)
        yield Row(name, (1.5, real(2, 3, low=0.3)), expected=f)
        if name not in ("remainder", "power", "arctan2"):
            yield Row(name, (pairs[:, 0], pairs[:, 1]), expected=f, edge=True)
    for i, (name, f) in enumerate(INTEGER.items()):
        for dtype in WIDTHS:
            x = whole(9, 2, 3).astype(dtype), whole(4, 3, low=1).astype(dtype)
            yield Row(name, x, expected=f)
        yield Row(name, (whole(9, 2, 3).astype(WIDTHS[i % 6]), 2), expected=f)
    for dtype in WIDTHS:
        yield Row("bitwise_not", (whole(9, 4).astype(dtype),), expected=np.invert)
    flags = np.array([True, False, True, False]), np.array([True, True, False, False])
    yield Row("logical_not", flags[:1], expected=np.logical_not)
    for name in ("logical_and", "logical_or", "logical_xor"):
        yield Row(name, flags, expected=getattr(np, name))
    yield Row("nextafter", (real(3), real(3)), grad=False, low=False)
    c = np.array([[True, False, True], [False, False, True]])
    for a in [(c, real(2, 3), real(2, 3)), (c, real(3), 0.0), (c, 0.0, real(2, 3)),
              (c[0], real(2, 3), real(2, 1))]:
        yield Row("select", a, expected=np.where)
    cast = lambda x, dtype: x.astype(np_dtype(dtype))
    for dtype in ("bool", *WIDTHS, "float32", "float16", "bfloat16"):
        yield Row("cast", (real(2, 3, low=0, high=9),), {"dtype": dtype}, cast, grad=False)
    yield Row("cast", (whole(5, 3),), {"dtype": "float32"}, cast)
    yield Row("bitcast", (whole(9, 3),), {"dtype": "float32"}, lambda x, dtype: x.view(dtype))
    yield Row("bitcast", (whole(9, 3),), {"dtype": "uint8"},
              lambda x, dtype: x[:, None].view(dtype))
    yield Row("complex", (real(2, 3), real(2, 3)), expected=lambda x, y: x + 1j * y, low=False)
    w = z(2, 3)
    for name in ("real", "imag", "conj", "abs", "exp", "sqrt", "log", "sin", "negative"):
        yield Row(name, (w,), expected=getattr(np, name), low=False)
    for name in ("add", "multiply", "divide"):
        yield Row(name, (w, w[::-1] + 3), expected=getattr(np, name), low=False)


# Reductions and order -----------------------------------------------------------------------------
def reduction_rows():
    for name in ("sum", "prod", "max", "min"):
        low, f = name != "prod", lambda x, axes, f=getattr(np, name): f(x, axis=tuple(axes))
        name = f"reduce_{name}"
        for axes in [(0,), (1,), (0, 2), (0, 1, 2), ()]:
            yield Row(name, (spread(2, 3, 4) / 4,), {"axes": axes}, f)
        yield Row(name, (real(70, 3),), {"axes": (0,)}, f, low=low)
        yield Row(name, (whole(5, 2, 3),), {"axes": (1,)}, f)
        yield Row(name, (np.stack([ODD, np.ones(7)]),), {"axes": (1,)}, f, edge=True)
        if name in ("reduce_sum", "reduce_prod"):
            yield Row(name, (real(0, 3),), {"axes": (0,)}, f, edge=True)
        if name == "reduce_prod":
            zeros = real(2, 3, low=0.5) * np.array([[1, 0, 1], [1, 1, 1]])
            yield Row(name, (zeros,), {"axes": (1,)}, f)
    for name, f in {"reduce_any": np.any, "reduce_all": np.all}.items():
        for axes in [(0,), (0, 1)]:
            yield Row(name, (real(3, 4) > 0,), {"axes": axes}, lambda x, axes, f=f: f(x, axis=axes))
    for name, axis in itertools.product(("argmax", "argmin"), (0, 1)):
        for x in (spread(3, 4), np.array([[1.0, 3, 3], [2, 2, 0]]), np.stack([ODD, ODD[::-1]])):
            edge = not np.isfinite(x).all()
            yield Row(name, (x,), {"axis": axis}, getattr(np, name), edge=edge)
    running = {"cumsum": np.cumsum, "cumprod": np.cumprod, "cummax": np.maximum.accumulate,
               "cummin": np.minimum.accumulate}
    turned = lambda x, axis, reverse: np.flip(x, axis) if reverse else x
    for (name, f), axis, reverse in itertools.product(running.items(), (0, 1), (False, True)):
        yield Row(name, (spread(3, 4),), {"axis": axis, "reverse": reverse},
                  lambda x, f=f, **k: turned(f(turned(x, **k), axis=k["axis"]), **k))
    for axis in (0, 1):
        yield Row("sort", (spread(4, 5),), {"axis": axis}, np.sort)
        yield Row("argsort", (spread(4, 5),), {"axis": axis}, np.argsort)
    yield Row("sort", (ODD,), {"axis": 0}, np.sort, edge=True)
    yield Row("argsort", (np.array([2.0, 1, 2, 1, 1]),), {"axis": 0},
              lambda x, axis: np.argsort(x, kind="stable"))
    yield Row("top_k", (spread(3, 6),), {"k": 2},
              lambda x, k: (np.sort(x)[:, ::-1][:, :k], np.argsort(-x)[:, :k]))
    yield Row("top_k", (np.array([2.0, 7, 7, 1]),), {"k": 3},
              lambda x, k: (x[[1, 2, 0]], np.array([1, 2, 0])), grad=False)


# Shapes and places --------------------------------------------------------------------------------
def pad_reference(x, widths, value):
    """Element by element."""
    shape = [low + high + n + max(n - 1, 0) * gap for n, (low, high, gap) in zip(x.shape, widths)]
    out = np.full(shape, value, x.dtype)
    for at in np.ndindex(*x.shape):
        to = [low + i * (gap + 1) for i, (low, _, gap) in zip(at, widths)]
        if all(0 <= i < n for i, n in zip(to, shape)):
            out[tuple(to)] = x[at]
    return out


MEET = {"set": lambda a, b: b, "add": np.add, "mul": np.multiply, "max": np.maximum,
        "min": np.minimum}


def scatter_reference(x, indices, updates, mode, axis=None):
    """Element by element, at places in full, or along one axis."""
    x = x.copy()
    for at in np.ndindex(*(indices.shape if axis is not None else indices.shape[:-1])):
        to = tuple(map(int, np.ravel(indices[at])))
        to = to if axis is None else at[:axis] + to + at[axis + 1 :]
        if all(0 <= i < n for i, n in zip(to, x.shape)):
            x[to] = MEET[mode](x[to], updates[at])
    return x


def shape_rows():
    x, table = real(2, 3, 4), real(5, 3)
    reshape = lambda x, shape: x.reshape(shape)
    for a, shape in [(x, (4, 6)), (real(), (1, 1)), (real(0, 3), (3, 0))]:
        yield Row("reshape", (a,), {"shape": shape}, reshape, edge=0 in shape)
    yield Row("transpose", (x,), {"order": (2, 0, 1)}, lambda x, order: x.transpose(order))
    for a in (real(), real(3), real(2, 1), real(1, 3)):
        yield Row("broadcast_to", (a,), {"shape": (4, 2, 3)}, np.broadcast_to)
    for axis, dtype in enumerate(("float32", "int32")):
        yield Row("iota", (), {"shape": (2, 3), "axis": axis, "dtype": dtype},
                  lambda shape, axis, dtype: np.indices(shape)[axis].astype(dtype))
    for at in [((0, 1, 1), (2, 3, 4), (1, 1, 2)), ((1, 0, 0), (1, 3, 4), (1, 1, 1)),
               ((0, 0, 3), (2, 2, 4), (1, 1, 3))]:
        yield Row("slice", (x,), dict(zip(("start", "stop", "strides"), at)),
                  lambda x, start, stop, strides: x[tuple(map(slice, start, stop, strides))])
    for widths in [((1, 2, 0), (0, 0, 2), (3, 0, 1)), ((-1, 0, 0), (0, -1, 1), (2, -3, 0)),
                   ((0, 0, 0),) * 3, ((-1, -1, 0), (1, 1, 0), (-2, 1, 1))]:
        yield Row("pad", (x,), {"widths": widths, "value": 0.5}, pad_reference)
    for axes in [(0,), (1, 2), ()]:
        yield Row("reverse", (x,), {"axes": axes}, lambda x, axes: np.flip(x, axes))
    for xs, axis in [((x, real(2, 1, 4), real(2, 0, 4)), 1), ((x,), 0)]:
        yield Row("concatenate", xs, {"axis": axis}, lambda *xs, axis: np.concatenate(xs, axis))
    for start in (1, 9, -3):
        a, at = min(max(start, 0), 2), (np.int32(start), np.int32(1))
        yield Row("dynamic_slice", (real(4, 3), *at), {"sizes": (2, 2)},
                  lambda x, *_, sizes, a=a: x[a : a + 2, 1:3])
        yield Row("dynamic_update_slice", (real(4, 3), real(2, 2), *at), {}, lambda x, u, *_, a=a:
                  np.block([[x[:a]], [x[a : a + 2, :1], u], [x[a + 2 :]]]))
    for i in (whole(5, 4), whole(5, 2, 3), np.array([0, 7, 4], "int32"), whole(5, 0)):
        yield Row("take", (table, i), {"axis": 0}, lambda x, i, axis: x[np.clip(i, 0, 4)],
                  edge=i.size == 0)
    yield Row("take", (real(2, 5, 3), whole(5, 2, 2)), {"axis": 1}, lambda x, i, axis: x[:, i])
    yield Row("gather_nd", (table, whole(3, 4, 2)), {}, lambda x, i: x[i[..., 0], i[..., 1]])
    yield Row("gather_nd", (table, whole(5, 2, 4, 1)), {}, lambda x, i: x[i[..., 0]])
    along = lambda x, i, axis: np.take_along_axis(x, i, axis)
    yield Row("gather_along", (table, whole(5, 2, 3)), {"axis": 0}, along)
    yield Row("gather_along", (table, whole(3, 5, 4)), {"axis": 1}, along)
    for mode in MEET:  # places that are met twice, and some out of range
        once = mode == "mul"
        i = [[1], [4], [7]] if once else [[1], [4], [1], [7], [-1]]
        pairs = [[1, 1], [4, 0], [2, 9]] if once else [[1, 1], [4, 0], [2, 9], [1, 1]]
        columns = [[1, 0, 4], [2, 2, 9]] if once else [[1, 0, 4], [1, 2, 9]]
        for name, places, u in [("scatter", i, spread(len(i), 3)),
                                ("scatter", pairs, spread(len(pairs))),
                                ("scatter_along", columns, spread(2, 3) + 0.1)]:
            params = {"mode": mode} | ({"axis": 0} if name == "scatter_along" else {})
            args = real(5, 3, low=0.5), np.array(places, "int32"), u
            yield Row(name, args, params, scatter_reference, low=not once)


# Sums of products ---------------------------------------------------------------------------------
def convolution_reference(x, kernel, strides, padding, lhs_dilation, rhs_dilation, groups):
    """By sums over every place."""
    widths = [(0, 0, 0), *[(a, b, d - 1) for (a, b), d in zip(padding, lhs_dilation)], (0, 0, 0)]
    x, window = pad_reference(x, widths, 0), kernel.shape[: len(strides)]
    out = [max(0, (n - (w - 1) * d - 1) // s + 1)
           for n, w, d, s in zip(x.shape[1:], window, rhs_dilation, strides)]
    each, channels = kernel.shape[-1] // groups, kernel.shape[-2]
    y = np.zeros((x.shape[0], *out, kernel.shape[-1]))
    for at, place in itertools.product(np.ndindex(*out), np.ndindex(*window)):
        to = [i * s + k * d for i, s, k, d in zip(at, strides, place, rhs_dilation)]
        here = x[(slice(None), *to)]
        for g in range(groups):
            of, into = (slice(g * n, (g + 1) * n) for n in (channels, each))
            y[(slice(None), *at, into)] += here[:, of] @ kernel[place][:, into]
    return y


def pool_reference(f, empty):
    def pool(x, window, strides, padding):
        x = pad_reference(x, [(0, 0, 0), *[(a, b, 0) for a, b in padding], (0, 0, 0)], empty)
        out = [(n - w) // s + 1 for n, w, s in zip(x.shape[1:], window, strides)]
        y, axes = np.zeros((x.shape[0], *out, x.shape[-1])), tuple(range(1, len(window) + 1))
        for at in np.ndindex(*out):
            place = [slice(i * s, i * s + w) for i, s, w in zip(at, strides, window)]
            y[(slice(None), *at)] = f(x[(slice(None), *place)], axis=axes)
        return y

    return pool


def adjoint(f, shape):
    """A function from g to the sum of g times the derivative of the linear `f` of that shape."""
    units = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    return lambda g: np.array([np.sum(f(unit) * g) for unit in units]).reshape(shape)


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
NONE = ((), ())
DOTS = [  # x, y, contract, batch
    ((2, 3), (3, 4), ((1,), (0,)), NONE),
    ((3, 2), (4, 3), ((0,), (1,)), NONE),
    ((2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,))),
    ((2, 3, 4), (4, 5, 3), ((1, 2), (2, 0)), NONE),
    ((4, 2, 3), (3, 5, 2), ((2,), (0,)), ((1,), (2,))),
    ((3,), (3,), ((0,), (0,)), NONE),
    ((2,), (3,), NONE, NONE),
    ((2, 0), (0, 3), ((1,), (0,)), NONE),
]


def dot_reference(x, y, contract, batch):
    a = list("abcdef"[: x.ndim])
    b = list("ghijkl"[: y.ndim])
    for i, j in [*zip(*contract), *zip(*batch)]:
        b[j] = a[i]
    out = [a[i] for i in batch[0]]
    out += [v for i, v in enumerate(a) if i not in (*contract[0], *batch[0])]
    out += [v for i, v in enumerate(b) if i not in (*contract[1], *batch[1])]
    return np.einsum(f"{''.join(a)},{''.join(b)}->{''.join(out)}", x, y)


def contraction_rows():
    for x, y, contract, batch in DOTS:
        params = {"contract": contract, "batch": batch}
        yield Row("dot_general", (real(*x), real(*y)), params, dot_reference, edge=0 in x)
    pair = {"contract": ((1,), (0,)), "batch": NONE}
    for x, y in [(whole(5, 2, 3), whole(5, 3, 2)), (z(2, 3), z(3, 2))]:
        yield Row("dot_general", (x, y), pair, dot_reference, low=False)
    for x, k, *rest in CONVOLUTIONS:
        params = dict(zip(("strides", "padding", "lhs_dilation", "rhs_dilation", "groups"), rest))
        x, k, f = real(*x), real(*k), convolution_reference
        yield Row("convolution", (x, k), params, f)
        g = real(*f(x, k, **params).shape)
        yield Row("convolution_input_grad", (g, k), {"input_shape": x.shape, **params}, lambda
                  g, k, input_shape, f=f, **q: adjoint(lambda x: f(x, k, **q), input_shape)(g))
        yield Row("convolution_kernel_grad", (g, x), {"kernel_shape": k.shape, **params}, lambda
                  g, x, kernel_shape, f=f, **q: adjoint(lambda k: f(x, k, **q), kernel_shape)(g))
    top, total = pool_reference(np.max, -np.inf), pool_reference(np.sum, 0)
    pick = lambda h, x, y, **q: np.where(
        np.isfinite(y), top(np.where(np.isin(x, y), x, -np.inf), **q), 0)
    for shape, *rest in POOLS:
        params = dict(zip(("window", "strides", "padding"), rest))
        x = spread(*shape)
        y = top(x, **params)
        yield Row("max_pool", (x,), params, top)
        yield Row("sum_pool", (x,), params, total)
        yield Row("sum_pool_grad", (real(*y.shape),), {"input_shape": shape, **params},
                  lambda g, input_shape, **q: adjoint(lambda x: total(x, **q), input_shape)(g))
        yield Row("max_pool_pick", (x, x, y), params, pick, grad=False)
        yield Row("max_pool_grad", (real(*y.shape), x, y), params, grad=False)
    ties, params = np.zeros((1, 4, 1)), {"window": (2,), "strides": (2,), "padding": ((0, 0),)}
    yield Row("max_pool_grad", (np.ones((1, 2, 1)), ties, np.zeros((1, 2, 1))), params,
              lambda *_, **__: np.array([1.0, 0, 1, 0]).reshape(1, 4, 1), grad=False)


# Factorizations: what is compared does not hang on signs ------------------------------------------
def symmetric(x):
    return x + np.swapaxes(x, -1, -2)


def linalg_rows():
    square, tall, broad = real(2, 3, 3) + 2 * np.eye(3), real(4, 3), real(3, 5)
    x, w = real(2, 3, 3), z(3, 3)
    spd = x @ np.swapaxes(x, -1, -2) + 3 * np.eye(3)
    hermitian = w @ w.conj().T + 2 * np.eye(3)
    half = lambda a, lower: np.tril(a) if lower else np.triu(a)
    turned = lambda a, adjoint: np.swapaxes(a, -1, -2) if adjoint else a
    rows = [
        Row("cholesky", (spd,), expected=np.linalg.cholesky, along=symmetric),
        Row("cholesky", (hermitian,), expected=np.linalg.cholesky, grad=False),
        *[Row("qr", (x,), {"mode": mode}, lambda x, mode: (x, np.abs(np.linalg.qr(x, mode)[1])),
              lambda q, r: (q @ r, np.abs(r)), grad=mode == "reduced")
          for x in (square, tall, broad) for mode in ("reduced", "complete")],
        *[Row("svd", (x,), {"full_matrices": full, "compute_uv": True},
              lambda x, **_: (np.linalg.svd(x, compute_uv=False), x),
              lambda u, s, v: (s, u[..., : s.shape[-1]] * s[..., None, :]
                               @ v[..., : s.shape[-1], :]), grad=not full)
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
        *[Row("triangular_solve", (square, real(2, 3, 2)), {"lower": lower, "adjoint": adjoint},
              lambda a, b, lower, adjoint: np.linalg.solve(turned(half(a, lower), adjoint), b))
          for lower, adjoint in itertools.product((True, False), (True, False))],
    ]
    return [dataclasses.replace(row, low=False) for row in rows]


# Control flow -------------------------------------------------------------------------------------
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
    ys, sums = np.zeros(x.shape), np.zeros(len(x))
    for i in range(len(x))[:: -1 if reverse else 1]:
        state, step = np.tanh(state + x[i] + w.sum(1)), step + 1
        ys[i], sums[i] = state * x[i], state.sum()
    return state, step, ys, sums


def control_rows():
    two = ((3,), None), ((3,), None)
    branches = graphs(*two, true=lambda x, y: [p.multiply(x, y), x],
                      false=lambda x, y: [p.exp(x), y])
    for choice in (True, False):
        yield Row("cond", (np.array(choice), real(3), real(3)), branches,
                  lambda c, x, y, **_: (x * y, x) if c else (np.exp(x), y))
    for length, reverse in [(3, False), (4, True), (1, False)]:
        args = real(3), np.int32(0), real(length, 3), real(3, 2)
        yield Row("scan", args, scan_params(length, reverse), scan_reference)
    loop = graphs(((), "int32"), ((2,), None), ((2,), None),
                  condition=lambda i, x, y: [p.less(i, 5)],
                  body=lambda i, x, y: [p.add(i, 1), p.add(x, y)])
    yield Row("while_loop", (np.int32(2), real(2), real(2)), lambda d: {**loop(d), "carry": 2},
              lambda i, x, y, **_: (np.int32(5), x + 3 * y), grad=False)
    body = graphs(*two, body=lambda x, y: [p.sin(p.multiply(x, y)), p.exp(y)])
    yield Row("checkpoint", (real(3), real(3)), body, lambda x, y, **_: (np.sin(x * y), np.exp(y)))
    yield Row("barrier", (real(3), real(2)), {}, lambda x, y: (x, y))
    given = graphs(*two, gradient=lambda g, z: [p.multiply(g, p.cos(z))])
    yield Row("with_gradient", (real(3), real(3), real(3)),
              lambda d: {**given(d), "outputs": 1, "wrt": 1}, lambda x, *_, **__: x, grad="given")


def noise_rows():
    """Only shapes, dtypes and sameness can be checked here; the battery looks at the moments."""
    args, seen = (np.array([1, 2], "uint32"),), lambda x: np.zeros(x.shape)
    yield Row("random_bits", args, {"shape": (3, 5)}, seen=seen)
    for name, dtype in itertools.product(
        ("random_uniform", "random_normal"), ("float32", "float16", "bfloat16")
    ):
        yield Row(name, args, {"shape": (2, 3), "dtype": dtype}, seen=seen)


PRIMITIVE_ROWS = [
    *elementwise_rows(), *reduction_rows(), *shape_rows(), *contraction_rows(), *linalg_rows(),
    *control_rows(), *noise_rows(),
]
