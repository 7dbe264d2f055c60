"""Tracing and graphs: calls in order, with inputs and outputs.

A `Trace` is open while a function runs on symbols; every primitive (and every op the trace is told
to
keep whole) adds a call. Equal calls are recorded once. A `Graph` is what its outputs need of a
trace;
passes are plain functions from graph to graph.
"""

from __future__ import annotations

import threading

import numpy as np

from oneiros.core.spec import Spec, spec_of
from oneiros.core.symbol import Call, Symbol

__all__ = ["Graph", "Trace", "current_trace", "inline", "run", "trace"]


class _Stack(threading.local):
    top = None


STACK = _Stack()
SIMPLIFY = {}  # target -> rule(trace, *args, **params): a simpler equal value, or None


def current_trace():
    """The innermost open trace of this thread, or None."""
    return STACK.top


class Trace:
    """The calls made while it is open.

    Args:
        keep: Names of composite ops to record whole instead of running their bodies.
    """

    abstract = False  # whether only shapes are wanted
    frozen = frozenset()  # calls through which no derivative flows

    def __init__(self, keep=()):
        self.keep, self.calls, self.memo, self.outer = keep, [], {}, None

    def __enter__(self):
        self.outer, STACK.top = STACK.top, self
        return self

    def __exit__(self, *_):
        STACK.top = self.outer

    def record(self, target, args, params):
        """The symbols for `target(*args, **params)`; the same ones if it was recorded before."""
        simplify = SIMPLIFY.get(target)
        if simplify is not None:
            value = simplify(*args, **params)
            if value is not None:
                return value
        key = (target, tuple(map(key_of, args)), tuple(map(_frozen, params.items())))
        outputs = self.memo.get(key)
        if outputs is None:
            specs = target.shape_rule(
                *[a if isinstance(a, Symbol) else spec_of(a) for a in args], **params
            )
            outputs = self.memo[key] = self.add(target, args, params, specs)
        return outputs

    def add(self, target, args, params, specs):
        """Record a call whose output specs are known."""
        call = Call(target, args, params)
        single = not isinstance(specs, (tuple, list))
        outputs = []
        for i, spec in enumerate((specs,) if single else specs):
            symbol = Symbol(spec.shape, spec.dtype)
            symbol.call, symbol.index = call, i
            outputs.append(symbol)
        call.outputs, call.single = tuple(outputs), single
        self.calls.append(call)
        return outputs[0] if single else call.outputs


def key_of(x):
    """What equal arguments of calls have in common, as a hashable key."""
    if isinstance(x, Symbol):
        return id(x)
    if type(x) in (int, bool, float, complex):
        return type(x), repr(x)
    if isinstance(x, (np.ndarray, np.generic)) and x.size <= 8:
        return x.dtype, x.shape, x.tobytes()
    if isinstance(x, (tuple, list)):
        return tuple(map(key_of, x))
    try:
        hash(x)
    except TypeError:
        return id(x)
    return x


def _frozen(item):
    name, value = item
    return name, key_of(value)


class Graph:
    """The calls that `outputs` need, in order, from `inputs`.

    `captured` lists symbols of enclosing traces that the calls use.
    """

    def __init__(self, calls, inputs, outputs):
        self.inputs, self.outputs = list(inputs), list(outputs)
        needed = {id(s) for s in self.outputs if isinstance(s, Symbol)}
        live = []
        for call in reversed(calls):
            if any(id(s) in needed for s in call.outputs):
                live.append(call)
                needed.update(id(s) for s in symbols(call.args))
        self.calls = live[::-1]
        made = {id(s) for c in self.calls for s in c.outputs}
        made.update(id(s) for s in self.inputs)
        self.captured, seen = [], set()
        for call in self.calls:
            for s in symbols(call.args):
                if id(s) not in made and id(s) not in seen:
                    seen.add(id(s))
                    self.captured.append(s)
        for s in self.outputs:
            if isinstance(s, Symbol) and id(s) not in made and id(s) not in seen:
                seen.add(id(s))
                self.captured.append(s)

    def close(self):
        """The graph with what it captured as further inputs, and those symbols."""
        captured = self.captured
        return Graph(self.calls, [*self.inputs, *captured], self.outputs), captured

    def __call__(self, *values):
        """Run the calls on `values`: symbols record into the open trace, arrays compute."""
        return run(self, values)

    def __repr__(self):
        names = {id(s): f"%{i}" for i, s in enumerate(self.inputs)}
        lines = [f"inputs {', '.join(f'{names[id(s)]}: {s.spec}' for s in self.inputs)}"]
        show = lambda x: names.get(id(x), f"{x!r}") if isinstance(x, Symbol) else _short(x)
        for call in self.calls:
            for s in call.outputs:
                names[id(s)] = f"%{len(names)}"
            left = ", ".join(f"{names[id(s)]}: {s.spec}" for s in call.outputs)
            params = "".join(f", {k}={_short(v)}" for k, v in call.kwargs.items())
            args = ", ".join(map(show, call.args))
            lines.append(f"{left} = {call.target.name}({args}{params})")
        lines.append(f"return {', '.join(map(show, self.outputs))}")
        return "\n".join(lines)


def _short(x):
    if isinstance(x, Graph):
        return f"<graph of {len(x.calls)} calls>"
    return f"<{spec_of(x)}>" if hasattr(x, "dtype") and getattr(x, "size", 0) != 1 else str(x)


def symbols(args):
    """The symbols among `args`, which may hold lists and tuples of them."""
    for a in args:
        if isinstance(a, Symbol):
            yield a
        elif isinstance(a, (tuple, list)):
            yield from symbols(a)


def substitute(args, values):
    """`args` with each symbol replaced by its value."""
    return [
        values.get(id(a), a)
        if isinstance(a, Symbol)
        else type(a)(substitute(a, values))
        if type(a) in (tuple, list)
        else a
        for a in args
    ]


def trace(function, specs, keep=()):
    """The graph of `function(*symbols)`, which returns one value or a flat list of them.

    Args:
        function: Called once, with one symbol for each spec.
        specs: The inputs' specs.
        keep: Names of the composite ops to keep whole.
    """
    with Trace(keep) as t:
        inputs = [Symbol(s.shape, s.dtype) for s in specs]
        outputs = function(*inputs)
    return Graph(t.calls, inputs, outputs if isinstance(outputs, (tuple, list)) else [outputs])


def run(graph, values, call=None):
    """The outputs of `graph` for `values`, call by call; `call(target, args, params)` may be given."""
    known = {id(s): v for s, v in zip(graph.inputs, values)}
    for node in graph.calls:
        args = substitute(node.args, known)
        made = node.target(*args, **node.kwargs) if call is None else call(node, args)
        for s, v in zip(node.outputs, (made,) if node.single else made):
            known[id(s)] = v
    return substitute(graph.outputs, known)


def inline(graph, keep):
    """The graph with the bodies of composites in place of those not in `keep`."""

    def call(node, args):
        return node.target(*args, **node.kwargs)

    with Trace(keep) as t:
        inputs = [Symbol(s.shape, s.dtype) for s in graph.inputs]
        outputs = run(graph, inputs, call)
    return Graph(t.calls, inputs, outputs)


def constant(value, dtype):
    """`value` as a 0-d NumPy array of `dtype`: a constant in a graph."""
    from oneiros.core.dtypes import np_dtype

    return np.asarray(value, np_dtype(dtype))


def input_symbol(spec):
    """A fresh symbol without origin."""
    return Symbol(spec.shape, spec.dtype)


_ = Spec
