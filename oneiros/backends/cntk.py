"""CNTK 2.7, in a process of Python 3.6: steps run there, over memory that both processes share.

What CNTK would compute wrongly is composed of what it computes rightly (`cntk_worker.py`), or left
to NumPy: divisors that may be zero, integers that may overflow, what it has no kernel for. Bounds of
values, found in the graph, tell which is which: `sqrt(v) + epsilon` is a safe divisor.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.backends import cntk_setup
from oneiros.backends.cntk_process import CARRY, EXACT, Program
from oneiros.backends.engine import LOOPS, Engine, compose, cut, plain
from oneiros.core import primitives as p
from oneiros.core.graph import Graph, symbols
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Symbol

__all__ = ["BACKEND"]

cntk_setup.interpreter()  # or a word on what is missing

AXES = 6  # what CNTK's kernels loop over
TINY = 1e-30  # CNTK's reciprocal and logarithm are right from here on
INF = math.inf
ALL = (-INF, INF)


# Bounds -------------------------------------------------------------------------------------------
def bounds(x, depth=60):
    """Numbers between which every value of `x` that is not NaN lies."""
    if not isinstance(x, Symbol):
        x = np.asarray(x)
        if x.dtype.kind not in "fiub" or not x.size or not np.isfinite(x).all():
            return ALL
        return float(x.min()), float(x.max())
    if x.call is None or depth == 0:
        return of_dtype(x.dtype)
    memo = x.call.__dict__.setdefault("_bounds", {})
    if x.index not in memo:
        rule = BOUNDS.get(x.call.target)
        low, high = rule(x.call, lambda y: bounds(y, depth - 1)) if rule else of_dtype(x.dtype)
        if not low <= high:  # NaN
            low, high = ALL
        memo[x.index] = low, high
    return memo[x.index]


def of_dtype(dtype):
    if dtype == "bool":
        return 0, 1
    if "int" not in dtype or dtype not in CARRY:
        return ALL
    held = np.iinfo(dtype)
    return max(float(held.min), -EXACT), min(float(held.max), EXACT)  # inputs are looked at


def product(a, b):
    made = [0.0 if 0 in (x, y) else x * y for x in a for y in b]
    return min(made), max(made)


def union(*pairs):
    return min(a for a, _ in pairs), max(b for _, b in pairs)


def same(call, of):
    return of(call.args[0])


def squared(call, of):
    x, y = call.args
    if x is y:
        low, high = of(x)
        return 0.0, max(low * low, high * high)
    return product(of(x), of(y))


def quotient(call, of):
    x, (low, high) = of(call.args[0]), of(call.args[1])
    return product(x, (0.0 if high == INF else 1 / high, 1 / low)) if low > 0 else ALL


def total(call, of):
    """A sum; that of exponentials of `x - max(x)` has a one in it."""
    (x,) = call.args
    low, high = of(x)
    n = x.size / max(1, call.outputs[0].size)
    if is_call(x, p.exp) and is_call(x.call.args[0], p.subtract) and call.outputs[0].size:
        whole, top = x.call.args[0].call.args
        while is_call(top, p.reshape) or is_call(top, p.stop_gradient):
            top = top.call.args[0]
        if is_call(top, p.reduce_max) and top.call.args[0] is whole:
            if top.call.kwargs["axes"] == call.kwargs["axes"]:
                low = 1.0 / n
    return low * n if low else 0.0, high * n if high else 0.0


def is_call(x, target):
    return isinstance(x, Symbol) and x.call is not None and x.call.target is target


def power_bounds(call, of):
    return (0.0, INF) if of(call.args[0])[0] >= 0 else ALL


def monotone(f):
    def rule(call, of):
        try:
            return tuple(f(v) for v in of(call.args[0]))
        except (OverflowError, ValueError):
            return f(0.0) if f is math.sqrt else 0.0, INF

    return rule


def magnitude(call, of):
    low, high = of(call.args[0])
    return max(0.0, low, -high), max(abs(low), abs(high))


def root(call, of):
    low, high = of(call.args[0])
    return math.sqrt(max(low, 0.0)), INF if high == INF else math.sqrt(max(high, 0.0))


def exponential(call, of):
    low, high = of(call.args[0])
    return math.exp(low) if low > -700 else 0.0, math.exp(high) if high < 700 else INF


def flags(call, of):
    return 0, 1


def sum_of(call, of):
    (a, b), (c, d) = map(of, call.args)
    return a + c, b + d


def difference(call, of):
    (a, b), (c, d) = map(of, call.args)
    return a - d, b - c


def larger(call, of):
    (a, b), (c, d) = map(of, call.args)
    return max(a, c), max(b, d)


def smaller(call, of):
    (a, b), (c, d) = map(of, call.args)
    return min(a, c), min(b, d)


BOUNDS = dict.fromkeys(
    (p.reshape, p.transpose, p.broadcast_to, p.slice, p.reverse, p.cast, p.take, p.gather_nd,
     p.gather_along, p.reduce_max, p.reduce_min, p.stop_gradient, p.dynamic_slice),
    same,
) | {
    p.add: sum_of, p.subtract: difference, p.multiply: squared, p.divide: quotient,
    p.negative: lambda call, of: tuple(-v for v in of(call.args[0])[::-1]),
    p.maximum: larger, p.minimum: smaller, p.abs: magnitude, p.sqrt: root, p.exp: exponential,
    p.power: power_bounds, p.reduce_sum: total, p.sigmoid: flags, p.cosh: lambda *_: (1.0, INF),
    p.tanh: lambda *_: (-1.0, 1.0), p.erf: lambda *_: (-1.0, 1.0),
    p.select: lambda call, of: union(*map(of, call.args[1:])),
    p.concatenate: lambda call, of: union(*map(of, call.args)),
    p.pad: lambda call, of: union(of(call.args[0]), (float(call.kwargs["value"]),) * 2),
    p.iota: lambda call, of: (0, call.kwargs["shape"][call.kwargs["axis"]] - 1),
    p.argmax: lambda call, of: (0, call.args[0].shape[call.kwargs["axis"]] - 1),
    p.argmin: lambda call, of: (0, call.args[0].shape[call.kwargs["axis"]] - 1),
}  # fmt: skip


# Which calls CNTK takes ---------------------------------------------------------------------------
def always(call):
    return True


def is_float(x):
    return not hasattr(x, "dtype") or spec_of(x).dtype in ("float32", "float64")


def floats(call):
    return all(map(is_float, (*call.args, *call.outputs)))


def fits(call):
    """Floats, or integers whose result cannot overflow."""
    if floats(call):
        return True
    y = call.outputs[0]
    low, high = BOUNDS[call.target](call, bounds) if call.target in BOUNDS else ALL
    least, most = of_dtype(y.dtype)
    return least <= low and high <= most


def dividing(call):
    low, high = bounds(call.args[1])
    return floats(call) and (low >= TINY or high <= -TINY) and max(abs(low), abs(high)) >= TINY


def positive(call):
    return floats(call) and bounds(call.args[0])[0] >= TINY


def raising(call):
    x, y = call.args
    if not floats(call):
        return False
    low, least = bounds(x)[0], bounds(y)[0]
    return type(y) in (int, float) and y in (0.5, 1, 2, 3, 4) or low >= TINY or low >= 0 < least


def by_number(call):
    """Integers divided by a positive number."""
    x, y = call.args
    return isinstance(x, Symbol) and "int" in x.dtype and type(y) is int and 0 < y < 2**20


def casting(call):
    have, want = spec_of(call.args[0]).dtype, call.kwargs["dtype"]
    if want == "bool" or is_float(call.outputs[0]) or have == "bool":
        return True
    low, high = bounds(call.args[0])
    least, most = np.iinfo(want).min, np.iinfo(want).max
    return (have, want) == ("float32", "int32") or (least <= low and high <= most)


def near(call):
    return floats(call) and spec_of(call.args[0]).dtype == "float32"


def picking(call):
    return spec_of(call.args[0]).size < EXACT


def windows(call):
    return floats(call) and math.prod(call.kwargs["window"]) <= 32


def pooling(call):
    """What CNTK's own pools do; made of slices they are slow."""
    params = call.kwargs
    if not windows(call) or call.args[0].size <= 4096:
        return windows(call)
    apart = call.target is p.max_pool or params["window"] == params["strides"]
    return len(params["window"]) == 2 and apart and not any(map(any, params["padding"]))


def few_windows(call):
    return windows(call) and call.args[0].size <= 4096


def convolving(call):
    return floats(call) and call.kwargs["groups"] <= 16 and len(call.kwargs["strides"]) <= 3


def joined(call):
    return len(call.args) < 64


RULES = {
    always: "equal not_equal less less_equal greater greater_equal logical_not logical_and "
    "logical_or logical_xor select maximum minimum reshape transpose broadcast_to iota slice pad "
    "reverse argmax argmin reduce_max reduce_min reduce_any reduce_all conj real stop_gradient sign",
    floats: "exp expm1 log log1p log2 log10 sqrt cbrt sin cos tan arcsin arccos arctan sinh cosh "
    "arcsinh arccosh arctanh tanh sigmoid floor ceil round trunc isfinite isnan isinf reduce_prod "
    "cumsum cumprod cummax cummin dot_general",
    fits: "add subtract multiply negative abs reduce_sum",
    dividing: "divide", positive: "rsqrt", raising: "power", by_number: "remainder floor_divide",
    casting: "cast", near: "erf", joined: "concatenate",
    picking: "take gather_nd gather_along dynamic_slice dynamic_update_slice",
    windows: "sum_pool sum_pool_grad", pooling: "max_pool max_pool_grad",
    few_windows: "max_pool_pick",
    convolving: "convolution convolution_input_grad convolution_kernel_grad",
}  # fmt: skip
LOWERED = {getattr(p, name): rule for rule, names in RULES.items() for name in names.split()}


class CNTK(Engine):
    """Graphs run in CNTK's process; what it computes wrongly runs in NumPy."""

    def takes(self, call):
        rule = self.lowered.get(call.target)
        if rule is None:
            return False
        arrays = [spec_of(x) for x in (*call.args, *call.outputs) if hasattr(x, "dtype")]
        if not all(s.dtype in CARRY and s.size and len(s.shape) <= AXES for s in arrays):
            return False
        return rule(call)

    def compile(self, graph, donate=()):
        """As the base has it, but for two things.

        A first stage in NumPy has the single numbers that lead to a number which CNTK cannot
        compute (Adam's corrections divide), or the engine would be called twice. And what passes
        from part to part stays as CNTK carries it.
        """
        graph = plain(graph)
        first = self.first(graph)
        early = set(map(id, first))
        ends = {id(s): s for s in symbols(graph.outputs)}
        later = [c for c in graph.calls if id(c) not in early]
        read = ends.keys() | {id(s) for c in later for s in symbols(c.args)}
        head = Graph(first, graph.inputs, [s for c in first for s in c.outputs if id(s) in read])
        own = set(map(id, (*head.outputs, *graph.inputs)))
        rest = Graph(
            later,
            [*graph.inputs, *head.outputs],
            [s for key, s in ends.items() if key not in own],
        )
        stages = [(False, head)] * bool(first) + cut(rest, self.takes)
        self.tell(
            c.target for own, part in stages if not own for c in part.calls if not self.takes(c)
        )
        free = {id(s) for i, s in enumerate(graph.inputs) if i in donate} - ends.keys()
        last = {id(s): part for _, part in stages for s in part.inputs}
        outside = ends.keys() | {id(s) for o, part in stages if not o for s in part.inputs}
        parts = []
        for own, part in stages:
            dying = [i for i, s in enumerate(part.inputs) if id(s) in free and last[id(s)] is part]
            inner = {id(s) for s in part.outputs} - outside
            parts.append(
                (part, Program(part, dying, inner) if own else self._stage(own, part, dying))
            )
        return compose(graph, parts)

    def first(self, graph):
        """The calls of the first stage, in order; all where there are single numbers alone."""
        single, calls = {id(s) for s in graph.inputs if s.size == 1}, []
        for call in graph.calls:
            small = all(id(s) in single for s in symbols(call.args))
            if small and all(s.size == 1 for s in call.outputs) and call.target not in LOOPS:
                single.update(id(s) for s in call.outputs)
                calls.append(call)
        if len(calls) == len(graph.calls):
            return calls
        found, wanted = [], set()
        for call in reversed(calls):
            leads = wanted & {id(s) for s in call.outputs}
            if leads or not self.takes(call):
                wanted.update(id(s) for s in symbols(call.args))
                found.append(call)
        return found[::-1]


BACKEND = CNTK("cntk", LOWERED)
