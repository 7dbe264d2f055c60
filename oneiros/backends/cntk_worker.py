"""CNTK's side: a process of Python 3.6 that builds CNTK functions of graphs and runs them.

It has nothing of Oneiros on its path, and is told by a socket what to do; arrays are in memory that
both processes see. Graphs come as lists of calls by the primitives' names; the tables below say what
each of them is in CNTK, where every array is a variable without dynamic axes. Integers and booleans
are carried as floats.
"""

import json
import math
import mmap
import os
import socket
import struct
import sys
import traceback
import warnings

import numpy as np

warnings.simplefilter("ignore")
import cntk as C

CPU = C.cpu()
WIDE = 1024  # elements from which on a number beside an array is spread over the last axis
HEAD = struct.Struct("<cQ")
NAN, INF = float("nan"), float("inf")
where = C.element_select


class Node:
    """A CNTK variable with its shape and dtype.

    Convolutions and pools of CNTK have channels first, and a batch axis of its own kind: `front` is
    the same array in that form. Each form is made of the other when it is asked for.
    """

    def __init__(self, v, shape, dtype):
        self.shape, self.dtype, self.has_front = tuple(shape), dtype, isinstance(v, Front)
        self.made = {"front" if self.has_front else "v": v.v if self.has_front else v}

    @property
    def v(self):
        if "v" not in self.made:
            self.made["v"] = turned(self.channels, channels_last(len(self.shape) - 2))
        return self.made["v"]

    @property
    def channels(self):
        """The array with channels first, and without dynamic axes."""
        if "channels" not in self.made:
            n, *spatial, channels = self.shape
            if self.has_front:
                self.made["channels"] = unpacked(self.made["front"], (n, channels, *spatial))
            else:
                self.made["channels"] = turned(self.v, channels_first(len(spatial)))
        return self.made["channels"]

    @property
    def front(self):
        if "front" not in self.made:
            self.made["front"] = C.to_batch(self.channels)
        return self.made["front"]


class Front:
    """A builder's result in the form `Node.front`."""

    def __init__(self, v):
        self.v = v


def fronted(shape, xs):
    """Whether an elementwise result is best computed with channels first."""
    nodes = [x for x in xs if isinstance(x, Node)]
    rows = (shape[-1:], (1,) * (len(shape) - 1) + shape[-1:])
    return len(shape) > 2 and any(x.has_front and x.shape == shape for x in nodes) and all(
        x.has_front if x.shape == shape else x.shape in rows or size(x.shape) == 1 for x in nodes
    )  # fmt: skip


def size(shape):
    return int(np.prod(shape, dtype=np.int64))


# Numbers and operands -----------------------------------------------------------------------------
CONSTANTS = {}


def full(value, shape, dtype):
    """A constant array of one value."""
    key = repr(float(value)), tuple(shape), dtype
    if key not in CONSTANTS:
        if sum(size(shape) for _, shape, _ in CONSTANTS) > 2**26:
            CONSTANTS.clear()
        CONSTANTS[key] = C.constant(np.full(shape, value, dtype))
    return CONSTANTS[key]


def constant(array, dtype):
    return C.constant(np.ascontiguousarray(array, dtype).reshape(np.shape(array)))


def row_of(shape, most=2**22):
    """The shape in which a number stands beside an array: CNTK is slow at broadcasting one."""
    if size(shape) < WIDE:
        return ()
    return tuple(shape) if size(shape) <= most or shape[-1] < 16 else tuple(shape[-1:])


class Beside:
    """Operands of an elementwise result of one shape and dtype."""

    def __init__(self, shape, dtype, front=False):
        self.shape, self.dtype, self.front, self.whole = tuple(shape), dtype, front, tuple(shape)
        if front:
            self.shape = (shape[-1], *shape[1:-1])

    def __call__(self, x):
        if not isinstance(x, Node):
            return full(x, row_of(self.shape), self.dtype)
        if self.front and x.shape == self.whole:
            v = x.front
        elif self.front and x.shape:
            v = C.reshape(x.v, (*x.shape[-1:], *(1,) * (len(self.shape) - 1)))
        else:
            v = x.v
        v = v if x.dtype == self.dtype else C.cast(v, np.dtype(self.dtype).type)
        row = row_of(self.shape, WIDE)
        if size(x.shape) == 1 and row:
            return C.element_times(C.reshape(v, ()) if x.shape else v, full(1, row, self.dtype))
        return v


def cast_to(x, dtype):
    return x.v if x.dtype == dtype else C.cast(x.v, np.dtype(dtype).type)


# Elementwise: functions of `n`, which makes constants, and of variables ---------------------------
def sqrt(n, x):  # CNTK's is 0 where there is none
    return where(C.greater_equal(x, n(0)), C.sqrt(x), n(NAN))


def log(n, x, safe=False):  # CNTK's ends at -85.1
    if safe:
        return C.log(x)
    power = 900 if n.dtype == "f8" else 100
    low = C.log(C.element_times(x, n(2.0**power))) - n(power * math.log(2))
    least = where(C.equal(x, n(0)), n(-INF), n(NAN))
    return where(C.greater_equal(x, n(1e-30)), C.log(x), where(C.greater(x, n(0)), low, least))


def log1p(n, x):
    near = C.atanh(C.element_divide(x, x + n(2)))
    small = where(C.greater_equal(x, n(-1)), near + near, n(NAN))
    return where(C.greater(x, n(1)), C.log(x + n(1)), small)


def expm1(n, x):
    return C.element_times(C.tanh(C.element_times(x, n(0.5))), C.exp(x) + n(1))


def arccosh(n, x):
    root = C.element_times(sqrt(n, x - n(1)), sqrt(n, x + n(1)))
    return where(C.greater_equal(x, n(1)), C.log(x + root), n(NAN))


def cbrt(n, x):
    return C.element_times(sign(n, x), C.pow(C.abs(x), n(1 / 3)))


def sign(n, x):
    return where(C.greater(x, n(0)), n(1), where(C.less(x, n(0)), n(-1), x))


def trunc(n, x):
    return where(C.less(x, n(0)), C.ceil(x), C.floor(x))


def rounded(n, x):  # CNTK's takes halves up
    low = C.floor(x)
    over = x - low
    odd = low - C.element_times(C.floor(C.element_times(low, n(0.5))), n(2))
    up = where(C.greater(over, n(0.5)), n(1), where(C.less(over, n(0.5)), n(0), odd))
    return where(C.less(C.abs(x), n(2.0**52 if n.dtype == "f8" else 2.0**23)), low + up, x)


def erf(n, x):
    """Abramowitz and Stegun 7.1.26, which is 1.5e-7 off at most."""
    t = C.reciprocal(C.element_times(C.abs(x), n(0.3275911)) + n(1))
    total = n(1.061405429)
    for a in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = C.element_times(total, t) + n(a)
    far = n(1) - C.element_times(C.element_times(total, t), C.exp(-C.square(x)))
    series = x - C.element_times(C.element_times(C.square(x), x), n(1 / 3))
    near = C.element_times(series, n(2 / math.sqrt(math.pi)))
    return where(C.less(C.abs(x), n(0.02)), near, C.element_times(sign(n, x), far))


def larger(n, x, y):  # CNTK's forgets a NaN
    return where(C.less_equal(x, y), y, where(C.equal(y, y), x, y))


def smaller(n, x, y):
    return where(C.greater_equal(x, y), y, where(C.equal(y, y), x, y))


def power(n, x, y, exponent=None):
    if exponent == 0.5:
        return sqrt(n, x)
    if exponent in (1, 2, 3, 4):
        made = x
        for _ in range(int(exponent) - 1):
            made = C.element_times(made, x)
        return made
    return C.pow(x, y)


def floor_divide(n, x, y):  # of integers, by a positive number
    return C.floor(C.element_times(x + n(0.5), C.reciprocal(y)))


ELEMENTWISE = {
    "negative": C.negate, "exp": C.exp, "abs": C.abs, "floor": C.floor, "ceil": C.ceil,
    "sin": C.sin, "cos": C.cos, "tan": C.tan, "arcsin": C.asin, "arccos": C.acos,
    "arctan": C.atan, "sinh": C.sinh, "cosh": C.cosh, "arcsinh": C.asinh, "arctanh": C.atanh,
    "tanh": C.tanh, "sigmoid": C.sigmoid, "add": C.plus, "subtract": C.minus,
    "multiply": C.element_times, "divide": C.element_divide, "equal": C.equal, "not_equal": C.not_equal, "less": C.less,
    "less_equal": C.less_equal, "greater": C.greater, "greater_equal": C.greater_equal,
    "logical_and": C.element_times, "logical_xor": C.not_equal,
}  # fmt: skip
ELEMENTWISE = {name: (lambda n, *xs, _f=f: _f(*xs)) for name, f in ELEMENTWISE.items()}
ELEMENTWISE.update({
    "sqrt": sqrt, "log": log, "log1p": log1p, "expm1": expm1, "arccosh": arccosh, "cbrt": cbrt,
    "sign": sign, "trunc": trunc, "round": rounded, "erf": erf, "maximum": larger,
    "minimum": smaller, "power": power, "floor_divide": floor_divide,
    "log2": lambda n, x, safe=False: C.element_times(log(n, x, safe), n(1 / math.log(2))),
    "log10": lambda n, x, safe=False: C.element_times(log(n, x, safe), n(1 / math.log(10))),
    "rsqrt": lambda n, x: C.reciprocal(C.sqrt(x)),
    "remainder": lambda n, x, y: x - C.element_times(floor_divide(n, x, y), y),
    "isnan": lambda n, x: C.not_equal(x, x),
    "isinf": lambda n, x: C.equal(C.abs(x), n(INF)),
    "isfinite": lambda n, x: C.less(C.abs(x), n(INF)),
    "logical_not": lambda n, x: C.equal(x, n(0)),
    "logical_or": lambda n, x, y: C.greater(x + y, n(0)),
})  # fmt: skip


def elementwise(name, out, *xs, **params):
    dtype = next(x.dtype for x in xs if isinstance(x, Node))
    n = Beside(out.shape, dtype, fronted(out.shape, xs))
    made = ELEMENTWISE[name](n, *map(n, xs), **params)
    made = made if dtype == out.dtype else C.cast(made, np.dtype(out.dtype).type)
    return Front(made) if n.front else made


def select(out, c, x, y):
    n = Beside(out.shape, out.dtype, fronted(out.shape, (c, x, y)))
    made = where(n(c), n(x), n(y))
    return Front(made) if n.front else made


def same(out, x, **_):
    return cast_to(x, out.dtype)


def cast(out, x, kind):
    """`kind`: bool, int (from floats), or None where the values stay what they are."""
    n = Beside(x.shape, x.dtype)
    if kind == "bool":
        x = Node(C.not_equal(x.v, n(0)), x.shape, x.dtype)
    if kind == "int":
        x = Node(trunc(n, x.v), x.shape, x.dtype)
    return cast_to(x, out.dtype)


# Reductions ---------------------------------------------------------------------------------------
def reduced(f):
    def build(out, x, axes):
        rank = len(x.shape)
        if x.has_front and tuple(axes) == tuple(range(rank - 1)):  # all but the channels
            each = C.unpack_batch(f(x.front, axis=list(range(1, rank - 1)), keepdims=False))
            return f(C.reshape(each, (x.shape[0], *out.shape)), axis=0, keepdims=False)
        return f(x.v, axis=list(axes), keepdims=False) if axes else x.v

    return build


def extreme(f):  # CNTK's forget NaN
    def build(out, x, axes, exact):
        if not axes:
            return x.v
        made = f(x.v, axis=list(axes), keepdims=False)
        if exact:
            return made
        odd = C.reduce_sum(C.not_equal(x.v, x.v), axis=list(axes), keepdims=False)
        n = Beside(out.shape, x.dtype)
        return where(C.greater(odd, n(0)), n(NAN), made)

    return build


def place_of(f):
    """The first place of the extreme, or of a NaN."""

    def build(out, x, axis):
        odd = C.not_equal(x.v, x.v)
        n = Beside(out.shape, x.dtype)
        place = where(
            C.greater(C.reduce_max(odd, axis=axis), n(0)),
            C.argmax(odd, axis=axis), f(x.v, axis=axis),
        )  # fmt: skip
        return cast_to(Node(C.reshape(place, out.shape), out.shape, x.dtype), out.dtype)

    return build


def running(f, neutral):
    """Running values by doubling: each step joins what is 1, 2, 4 ... places before."""

    def build(out, x, axis, reverse):
        v, length = x.v, x.shape[axis]
        n = Beside(x.shape, x.dtype)
        step = 1
        while step < length:
            fringe = list(x.shape)
            fringe[axis] = step
            fill = full(neutral, fringe, x.dtype)
            if reverse:
                moved = C.splice(C.slice(v, axis, step, length), fill, axis=axis)
            else:
                moved = C.splice(fill, C.slice(v, axis, 0, length - step), axis=axis)
            v, step = f(n, v, moved), 2 * step
        return v

    return build


# Shapes and places --------------------------------------------------------------------------------
def turned(v, order):
    order = tuple(order)
    return v if order == tuple(range(len(order))) else C.transpose(v, order)


def broadcast_to(out, x, shape):
    if not isinstance(x, Node):
        return full(x, shape, out.dtype)
    return C.element_times(x.v, full(1, shape, out.dtype))


def iota(out, shape, axis, dtype):
    return constant(np.indices(shape)[axis] if len(shape) > 1 else np.arange(shape[0]), out.dtype)


def cut(v, shape, start, stop, strides=None):
    strides = list(strides or (1,) * len(shape))
    stop = list(stop)
    for i, step in enumerate(strides):
        if stop[i] - start[i] <= step:  # one element
            strides[i], stop[i] = 1, start[i] + 1
    axes = [i for i, n in enumerate(shape) if (start[i], stop[i], strides[i]) != (0, n, 1)]
    if not axes:
        return v
    pick = lambda xs: [int(xs[i]) for i in axes]
    return C.slice(v, axes, pick(start), pick(stop), pick(strides))


def padded(v, shape, widths, value):
    """`v` as the primitive `pad` has it, and its shape."""
    shape = list(shape)
    for i, (_, _, between) in enumerate(widths):
        if between and shape[i] > 1:
            outer, inner, n = size(shape[:i]), size(shape[i + 1 :]), shape[i]
            v = C.reshape(v, (outer, n, 1, inner))
            v = C.pad(v, [(0, 0), (0, 0), (0, between), (0, 0)], constant_value=value)
            longer = n * (between + 1)
            v = C.slice(C.reshape(v, (outer, longer, inner)), 1, 0, longer - between)
            shape[i] = longer - between
            v = C.reshape(v, tuple(shape))
    start = [max(0, -low) for low, _, _ in widths]
    stop = [n + min(0, high) for n, (_, high, _) in zip(shape, widths)]
    v = cut(v, shape, start, stop)
    pattern = [(max(0, low), max(0, high)) for low, high, _ in widths]
    shape = [b - a + low + high for a, b, (low, high) in zip(start, stop, pattern)]
    return (C.pad(v, pattern, constant_value=value) if any(map(any, pattern)) else v), shape


def flipped(v, shape, axes):
    for i in axes:
        v = C.slice(v, i, 0, shape[i], -1)
    return v


def clipped(x, top, dtype):
    """Whole numbers moved into 0 ... `top`."""
    v = C.element_max(cast_to(x, dtype), full(0, (), dtype))
    return C.element_min(v, full(top, (), dtype))


def take(out, x, indices, axis):
    where_to = clipped(indices, x.shape[axis] - 1, x.dtype)
    rank, more = len(x.shape), len(indices.shape)
    v = turned(x.v, (axis, *range(axis), *range(axis + 1, rank)))
    if not more:
        where_to = C.reshape(where_to, (1,))
    v = C.gather(v, where_to)
    if not more:
        v = C.reshape(v, x.shape[:axis] + x.shape[axis + 1 :])
    return turned(
        v, (*range(more, more + axis), *range(more), *range(more + axis, more + rank - 1))
    )


def gather_nd(out, x, indices):
    k = indices.shape[-1]
    lead, row = indices.shape[:-1], None
    last = len(indices.shape) - 1
    for i in range(k):
        column = C.reshape(C.slice(indices.v, last, i, i + 1), (size(lead),))
        column = clipped(Node(column, (size(lead),), indices.dtype), x.shape[i] - 1, x.dtype)
        row = column if row is None else C.element_times(row, float(x.shape[i])) + column
    flat = C.reshape(x.v, (size(x.shape[:k]), size(x.shape[k:])))
    return C.reshape(C.gather(flat, row), out.shape)


def gather_along(out, x, indices, axis):
    strides = [size(x.shape[i + 1 :]) for i in range(len(x.shape))]
    places = np.indices(indices.shape)
    rest = sum(p * s for i, (p, s) in enumerate(zip(places, strides)) if i != axis)
    row = clipped(indices, x.shape[axis] - 1, x.dtype)
    row = C.element_times(row, full(strides[axis], (), x.dtype))
    row = row + constant(np.broadcast_to(rest, indices.shape), x.dtype)
    flat = C.gather(C.reshape(x.v, (size(x.shape), 1)), C.reshape(row, (size(indices.shape),)))
    return C.reshape(flat, out.shape)


def ramp(rank, axis, n, dtype):
    return constant(np.arange(n).reshape([-1 if i == axis else 1 for i in range(rank)]), dtype)


def dynamic_slice(out, x, *starts, sizes):
    v, shape = x.v, list(x.shape)
    for axis, (start, n) in enumerate(zip(starts, sizes)):
        if n == shape[axis]:
            continue
        first = scalar(start, shape[axis] - n, x.dtype)
        index = Node(C.element_times(full(1, (n,), x.dtype), first) + ramp(1, 0, n, x.dtype),
                     (n,), x.dtype)  # fmt: skip
        v = take(None, Node(v, shape, x.dtype), index, axis)
        shape[axis] = n
    return v


def scalar(start, top, dtype):
    """A start moved into 0 ... `top`, without axes."""
    if isinstance(start, Node):
        v = clipped(start, top, dtype)
        return C.reshape(v, ()) if start.shape else v
    return full(min(max(int(start), 0), top), (), dtype)


def dynamic_update_slice(out, x, update, *starts):
    u, shape, inside, rank = update.v, list(update.shape), None, len(x.shape)
    for axis, (start, n) in enumerate(zip(starts, x.shape)):
        m = shape[axis]
        if m == n:
            continue
        first = scalar(start, n - m, x.dtype)
        index = Node(ramp(1, 0, n, x.dtype) - first, (n,), x.dtype)
        here = ramp(rank, axis, n, x.dtype) - first
        here = C.element_times(C.greater_equal(here, full(0, (), x.dtype)),
                               C.less(here, full(m, (), x.dtype)))  # fmt: skip
        inside = here if inside is None else C.element_times(inside, here)
        u = take(None, Node(u, shape, x.dtype), index, axis)
        shape[axis] = n
    return u if inside is None else where(inside, u, x.v)


# Sums of products ---------------------------------------------------------------------------------
def dot_general(out, x, y, contract, batch):
    (cx, cy), (bx, by) = contract, batch
    free_x = [i for i in range(len(x.shape)) if i not in cx and i not in bx]
    free_y = [i for i in range(len(y.shape)) if i not in cy and i not in by]
    b, m, n, inner = [
        size([v.shape[i] for i in axes]) for v, axes in ((x, bx), (x, free_x), (y, free_y), (x, cx))
    ]
    left = turned(x.v, (*bx, *free_x, *cx))
    rows_last = tuple(by) + tuple(free_y) + tuple(cy) == tuple(range(len(y.shape)))
    right = y.v if rows_last else turned(y.v, (*by, *cy, *free_y))
    lead = (b,) if b > 1 else ()
    left = fitted(left, [x.shape[i] for i in (*bx, *free_x, *cx)], (*lead, m, inner))
    order = (*by, *free_y, *cy) if rows_last else (*by, *cy, *free_y)
    matrix = (*lead, n, inner) if rows_last else (*lead, inner, n)
    right = fitted(right, [y.shape[i] for i in order], matrix)
    times = C.times_transpose if rows_last else C.times
    if lead:
        made = unpacked(times(C.to_batch(left), C.to_batch(right)), (b, m, n))
    else:
        made = times(left, right)
    return fitted(made, (*lead, m, n), out.shape)


def unpacked(v, shape):
    """`v` without its batch axis, whose length CNTK forgets."""
    return C.reshape(C.unpack_batch(v), tuple(shape))


def fitted(v, shape, wanted):
    return v if tuple(shape) == tuple(wanted) else C.reshape(v, tuple(wanted))


def correlate(x, shape, kernel, window, strides, groups=1):
    """The correlation, all inside, of a batch of (in, *spatial), of the whole shape `shape`, with
    (out, in // groups, *window).
    """
    if len(strides) == 1:
        x = C.reshape(x, (shape[1], 1, shape[2]))
        kernel = C.reshape(kernel, (*window[:2], 1, window[2]))
        made = C.convolution(kernel, x, strides=(1, *strides), auto_padding=[False], groups=groups)
        return C.reshape(made, (window[0], (shape[2] - window[2]) // strides[0] + 1))
    return C.convolution(kernel, x, strides=tuple(strides), auto_padding=[False], groups=groups)


def moved(v, shape, order):
    """`v` with its axes in another order, and its shape."""
    return turned(v, order), tuple(shape[i] for i in order)


def channels_first(rank):
    return (0, rank + 1, *range(1, rank + 1))


def channels_last(rank):
    return (0, *range(2, rank + 2), 1)


def framed(v, shape, padding, dilation=None, value=0):
    dilation = dilation or (1,) * len(padding)
    widths = [(0, 0, 0), *[(a, b, d - 1) for (a, b), d in zip(padding, dilation)], (0, 0, 0)]
    return padded(v, shape, widths, value)


def spread_kernel(v, shape, dilation):
    return padded(v, shape, [*[(0, 0, d - 1) for d in dilation], (0, 0, 0), (0, 0, 0)], 0)


def convolution(out, x, kernel, strides, padding, lhs_dilation, rhs_dilation, groups):
    rank = len(strides)
    if is_plain(padding, lhs_dilation):
        v, shape = x.front, (x.shape[0], x.shape[-1], *x.shape[1:-1])
    else:
        v, shape = moved(*framed(x.v, x.shape, padding, lhs_dilation), channels_first(rank))
        v = C.to_batch(v)
    kernel = spread_kernel(kernel.v, kernel.shape, rhs_dilation)
    kernel = moved(*kernel, (rank + 1, rank, *range(rank)))
    return Front(correlate(v, shape, *kernel, strides, groups))


def is_plain(padding, dilation):
    return not any(map(any, padding)) and set(dilation) <= {1}


def unframed(v, shape, input_shape, padding, dilation):
    """What `framed` took from an array of `input_shape`, of an array `v` like the framed one."""
    for i, ((low, high), d) in enumerate(zip(padding, dilation), 1):
        widths = [(0, 0, 0)] * len(shape)
        widths[i] = (-low, -high, 0)
        v, shape = padded(v, shape, widths, 0)
        if d > 1:
            strides = [d if j == i else 1 for j in range(len(shape))]
            v = cut(v, shape, [0] * len(shape), shape, strides)
            shape[i] = input_shape[i]
    return v


def frame_shape(shape, padding, dilation):
    return [
        low + high + (n - 1) * d + 1 for n, (low, high), d in zip(shape[1:-1], padding, dilation)
    ]


def convolution_input_grad(
    out, g, kernel, input_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    """CNTK's transposed convolution, or the correlation of the spread `g` with the turned kernel."""
    rank = len(strides)
    k, window = spread_kernel(kernel.v, kernel.shape, rhs_dilation)
    whole = frame_shape(input_shape, padding, lhs_dilation)
    if groups == 1 and rank > 1:
        k = turned(k, (rank + 1, rank, *range(rank)))
        dx = C.convolution_transpose(
            k, g.front, strides=tuple(strides), auto_padding=[False] * (rank + 1),
            output_shape=(input_shape[-1], *whole),
        )  # fmt: skip
    else:
        dx = turned_correlation(g, k, window, whole, strides, groups)
    if is_plain(padding, lhs_dilation):
        return Front(dx)
    dx = turned(unpacked(dx, (g.shape[0], input_shape[-1], *whole)), channels_last(rank))
    return unframed(dx, [g.shape[0], *whole, input_shape[-1]], input_shape, padding, lhs_dilation)


def turned_correlation(g, k, window, whole, strides, groups):
    rank = len(strides)
    k = flipped(k, window, range(rank))
    window, channels, each = tuple(window[:rank]), window[-2], window[-1] // groups
    k = C.reshape(k, (*window, channels, groups, each))
    shape = (groups * channels, each, *window)
    k = C.reshape(turned(k, (rank + 1, rank, rank + 2, *range(rank))), shape)
    widths = [
        (w - 1, n - ((m - 1) * s + 1), s - 1)
        for n, w, s, m in zip(whole, window, strides, g.shape[1:-1])
    ]
    g, whole = moved(
        *padded(g.v, g.shape, [(0, 0, 0), *widths, (0, 0, 0)], 0), channels_first(rank)
    )
    return correlate(C.to_batch(g), whole, k, shape, (1,) * rank, groups)


def convolution_kernel_grad(
    out, g, x, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    """The correlation of channels: those of `x` are the batch, the batch is summed over."""
    rank = len(strides)
    spans = [(m - 1) * s + 1 + (w - 1) * d for m, s, w, d in
             zip(g.shape[1:-1], strides, kernel_shape, rhs_dilation)]  # fmt: skip
    order, swap = (rank + 1, 0, *range(1, rank + 1)), (1, 0, *range(2, rank + 2))
    shape = (x.shape[-1], x.shape[0], *spans)
    if is_plain(padding, lhs_dilation):
        v = cut(
            x.channels, (*shape[1::-1], *x.shape[1:-1]), [0] * len(shape), (*shape[1::-1], *spans)
        )
        v = turned(v, swap)
    else:
        v, whole = framed(x.v, x.shape, padding, lhs_dilation)
        v = turned(cut(v, whole, [0] * len(whole), [whole[0], *spans, whole[-1]]), order)
    if set(strides) <= {1}:
        k, window = moved(g.channels, (g.shape[0], g.shape[-1], *g.shape[1:-1]), swap)
    else:
        widths = [(0, 0, 0), *[(0, 0, s - 1) for s in strides], (0, 0, 0)]
        k, window = moved(*padded(g.v, g.shape, widths, 0), order)
    made, n, m = [], shape[0] // groups, window[0] // groups
    for i in range(groups):
        a = C.slice(v, 0, i * n, (i + 1) * n) if groups > 1 else v
        b = C.slice(k, 0, i * m, (i + 1) * m) if groups > 1 else k
        c = correlate(C.to_batch(a), (n, *shape[1:]), b, (m, *window[1:]), rhs_dilation)
        made.append(unpacked(c, (n, m, *kernel_shape[:rank])))
    made = C.splice(*made, axis=1) if groups > 1 else made[0]
    return turned(made, (*range(2, rank + 2), 0, 1))


# Windows: slices with steps, joined elementwise ---------------------------------------------------
def pooled(f, fill):
    def build(out, x, window, strides, padding):
        v, shape = framed(x.v, x.shape, padding, value=fill)
        n = Beside((WIDE,), x.dtype)
        for axis, (w, s) in enumerate(zip(window, strides), 1):
            if w == s == 1:
                continue
            count, made = (shape[axis] - w) // s + 1, None
            for i in range(w):
                start = [i if j == axis else 0 for j in range(len(shape))]
                stop = [i + (count - 1) * s + 1 if j == axis else m for j, m in enumerate(shape)]
                steps = [s if j == axis else 1 for j in range(len(shape))]
                part = cut(v, shape, start, stop, steps)
                made = part if made is None else f(n, made, part)
            v, shape[axis] = made, count
        return v

    return build


def hits(x, y, window, strides, padding):
    """For each place in the window: itself, and where `x` has its window's first largest."""
    v, shape = framed(x.v, x.shape, padding, value=-INF)
    free = None
    for place in np.ndindex(*window):
        here = part_of(v, shape, place, y.shape, strides)
        hit = C.equal(here, y.v)
        if free is not None:
            hit = C.element_times(hit, free)
        free = C.equal(hit, full(0, row_of(y.shape), y.dtype)) if free is None else free - hit
        yield place, hit


def part_of(v, shape, place, out, strides):
    """The elements that one place of the window meets."""
    start = [0, *place, 0]
    stop = [shape[0], *[i + (m - 1) * s + 1 for i, m, s in zip(place, out[1:-1], strides)],
            shape[-1]]  # fmt: skip
    return cut(v, shape, start, stop, (1, *strides, 1))


def max_pool(out, x, window, strides, padding):  # CNTK's forgets NaN
    if is_slow(x, window, padding):
        return SLICED_MAX(out, x, window, strides, padding)
    pool = lambda v: C.pooling(v, C.MAX_POOLING, tuple(window), tuple(strides))
    n = Beside(out.shape, out.dtype, True)
    odd = pool(C.not_equal(x.front, x.front))
    return Front(where(C.greater(odd, n(0)), n(NAN), pool(x.front)))


def is_slow(x, window, padding):
    """Whether slices do it: CNTK's pools are of two axes, without padding."""
    return len(window) != 2 or size(x.shape) <= 4096 or any(map(any, padding))


SLICED_MAX = pooled(larger, -INF)


def max_pool_grad(out, g, x, y, window, strides, padding):
    if tuple(window) == tuple(strides) and not is_slow(x, window, padding):
        n = Beside(y.shape, y.dtype, True)
        given = where(C.equal(y.front, y.front), g.front, n(0))  # a NaN has no place
        return Front(C.unpooling(given, x.front, C.MAX_UNPOOLING, tuple(window), tuple(strides)))
    zero = full(0, row_of(y.shape), y.dtype)
    parts = {at: where(hit, g.v, zero) for at, hit in hits(x, y, window, strides, padding)}
    whole = frame_shape(x.shape, padding, (1,) * len(window))
    return placed(parts, y.shape, whole, window, strides, padding, x.shape)


def placed(parts, shape, whole, window, strides, padding, input_shape):
    """The sum of `parts`, by their places in the window, as an array of `input_shape`."""
    if tuple(window) == tuple(strides):  # they are side by side
        for axis in range(len(window), 0, -1):
            w = window[axis - 1]
            lead, count, rest = size(shape[:axis]), shape[axis], size(shape[axis + 1 :])
            rows = {}
            for at, v in sorted(parts.items()):
                rows.setdefault(at[:-1], []).append(C.reshape(v, (lead * count, rest)))
            shape = (*shape[:axis], count * w, *shape[axis + 1 :])
            joined = {at: vs[0] if w == 1 else C.splice(*vs, axis=1) for at, vs in rows.items()}
            parts = {at: C.reshape(v, shape) for at, v in joined.items()}
        missing = [(0, 0, 0), *[(0, n - m, 0) for n, m in zip(whole, shape[1:])], (0, 0, 0)]
        total, framed_shape = padded(parts[()], shape, missing, 0)
    else:
        total, framed_shape = None, [shape[0], *whole, shape[-1]]
        for at, v in sorted(parts.items()):
            widths = [(i, n - i - ((m - 1) * s + 1), s - 1)
                      for i, n, m, s in zip(at, whole, shape[1:], strides)]  # fmt: skip
            v, _ = padded(v, shape, [(0, 0, 0), *widths, (0, 0, 0)], 0)
            total = v if total is None else total + v
    return unframed(total, framed_shape, input_shape, padding, (1,) * len(window))


def max_pool_pick(out, h, x, y, window, strides, padding):
    framed_h, shape = framed(h.v, h.shape, padding)
    made = full(0, y.shape, y.dtype)
    for place, hit in hits(x, y, window, strides, padding):
        made = where(hit, part_of(framed_h, shape, place, y.shape, strides), made)
    return made


def sum_pool_grad(out, g, input_shape, window, strides, padding):
    parts = dict.fromkeys(np.ndindex(*window), g.v)
    whole = frame_shape(input_shape, padding, (1,) * len(window))
    return placed(parts, g.shape, whole, window, strides, padding, input_shape)


BUILDERS = {
    "select": select, "cast": cast, "real": same, "conj": same, "stop_gradient": same,
    "reduce_sum": reduced(C.reduce_sum), "reduce_prod": reduced(C.reduce_prod),
    "reduce_max": extreme(C.reduce_max), "reduce_min": extreme(C.reduce_min),
    "reduce_any": reduced(C.reduce_max), "reduce_all": reduced(C.reduce_min),
    "argmax": place_of(C.argmax), "argmin": place_of(C.argmin),
    "cumsum": running(lambda n, x, y: x + y, 0),
    "cumprod": running(lambda n, x, y: C.element_times(x, y), 1),
    "cummax": running(larger, -INF), "cummin": running(smaller, INF),
    "reshape": lambda out, x, shape: C.reshape(x.v, tuple(shape)), "transpose": lambda out, x, order: turned(x.v, order),
    "broadcast_to": broadcast_to, "iota": iota,
    "slice": lambda out, x, start, stop, strides: cut(x.v, x.shape, start, stop, strides),
    "pad": lambda out, x, widths, value: padded(x.v, x.shape, widths, value)[0],
    "reverse": lambda out, x, axes: flipped(x.v, x.shape, axes),
    "concatenate": lambda out, *xs, axis: C.splice(*[x.v for x in xs], axis=axis),
    "dynamic_slice": dynamic_slice, "dynamic_update_slice": dynamic_update_slice,
    "take": take, "gather_nd": gather_nd, "gather_along": gather_along,
    "dot_general": dot_general, "convolution": convolution,
    "convolution_input_grad": convolution_input_grad,
    "convolution_kernel_grad": convolution_kernel_grad,
    "max_pool": max_pool, "max_pool_grad": max_pool_grad,
    "max_pool_pick": max_pool_pick, "sum_pool": pooled(lambda n, x, y: x + y, 0),
    "sum_pool_grad": sum_pool_grad,
}  # fmt: skip


# Programs -----------------------------------------------------------------------------------------
class Program:
    """A graph as one CNTK function over arrays in shared memory."""

    def __init__(self, memory, inputs, calls, outputs, constants, **more):
        self.memory, self.views = memory, {}
        known, given = {}, more["float"]
        self.inputs = []
        for key, shape, dtype in inputs:
            v = C.input_variable(tuple(shape), np.dtype(given).type, dynamic_axes=[])
            known[key] = Node(cast_to(Node(v, shape, given), dtype), shape, dtype)
            self.inputs.append((v, tuple(shape), given))
        for key, shape, dtype, offset in constants:
            known[key] = Node(constant(memory.array(offset, shape, dtype), dtype), shape, dtype)
        for name, args, params, made in calls:
            args = [known[a[0]] if isinstance(a, list) else a for a in args]
            key, shape, dtype = made[0]
            out = Node(None, shape, dtype)
            try:
                if name in ELEMENTWISE:
                    v = elementwise(name, out, *args, **params)
                else:
                    v = BUILDERS[name](out, *args, **params)
            except Exception as error:
                error.args = (f"{name} -> {tuple(shape)}: {error}",)
                raise
            known[key] = Node(v, shape, dtype)
        self.outputs = []
        for key in outputs:
            node = known[key]
            v = node.v.output if isinstance(node.v, C.Function) else C.alias(node.v).output
            if any(v.uid == other.uid for other, _, _ in self.outputs):
                v = C.alias(v).output
            if tuple(v.shape) != node.shape:
                raise ValueError(f"{key} has shape {v.shape} for {node.shape}")
            self.outputs.append((v, node.shape, node.dtype))
        self.function = C.combine([v for v, _, _ in self.outputs])
        used = {v.uid for v in self.function.arguments}
        self.used = [v.uid in used for v, _, _ in self.inputs]

    def run(self, offsets):
        view, n = self.view, len(self.inputs)
        feed = {
            v: view(at, shape, dtype)
            for at, (v, shape, dtype), used in zip(offsets, self.inputs, self.used)
            if used
        }
        fetch = {
            v: view(at, shape, dtype) for at, (v, shape, dtype) in zip(offsets[n:], self.outputs)
        }
        self.function._forward(feed, fetch, CPU, set())

    def view(self, offset, shape, dtype):
        """CNTK's value over the array at `offset`."""
        key = offset, shape, dtype
        found = self.views.get(key)
        if found is None:
            if len(self.views) > 1000:
                self.views.clear()
            array = self.memory.array(offset, shape, dtype)
            value = C.Value(C.NDArrayView.from_dense(array, CPU, borrow=True))
            found = self.views[key] = value, array
        return found[0]


class Memory:
    def __init__(self, descriptor):
        length = os.fstat(descriptor).st_size
        self.map = mmap.mmap(descriptor, length)

    def array(self, offset, shape, dtype):
        return np.ndarray(tuple(shape), dtype, self.map, offset)


def received(channel, length):
    parts = []
    while length:
        part = channel.recv(min(length, 1 << 20))
        if not part:  # the parent ended
            os._exit(0)
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def main(channel, descriptor):
    channel, memory = socket.socket(fileno=channel), Memory(descriptor)
    C.try_set_default_device(CPU)
    programs = {}
    channel.sendall(HEAD.pack(b"y", 0))
    while True:
        kind, length = HEAD.unpack(received(channel, HEAD.size))
        body = received(channel, length)
        try:
            if kind == b"r":
                numbers = struct.unpack(f"<{len(body) // 8}Q", body)
                programs[numbers[0]].run(numbers[1:])
            elif kind == b"b":
                told = json.loads(body.decode())
                key = told.pop("id")
                programs[key] = Program(memory, **told)
            else:  # forgotten
                for key in json.loads(body.decode()):
                    programs.pop(key, None)
            answer = b"y", b""
        except BaseException as error:
            words = str(error).split("[CALL STACK]")[0].strip()
            last = traceback.extract_tb(sys.exc_info()[2])[-1]
            answer = b"n", f"{type(error).__name__}: {words} ({last.name}:{last.lineno})".encode()
        channel.sendall(HEAD.pack(answer[0], len(answer[1])) + answer[1])


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
