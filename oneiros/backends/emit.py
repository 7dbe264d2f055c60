"""A graph as straight-line Python: one line per call, dead values dropped at once.

The source is compiled once and calls kernels by name, so that running it costs what the kernels
cost.
"""

from __future__ import annotations

from oneiros.core.graph import Graph, symbols
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Symbol

__all__ = ["emit", "last_uses"]


def emit(graph, kernel, name="step", line=None):
    """A function of the graph's inputs that returns the list of its outputs.

    Args:
        graph: A closed graph.
        kernel: Target (primitive or op) to callable.
        name: Name of the function in tracebacks.
        line: Optionally `(call, result_names, argument_source, bind) -> source or None` for calls
            that a backend writes otherwise; `bind(object)` gives a name for an object. It may use
            what calls before it used, so values are kept until the end.
    """
    scope, names, body = {}, {}, []

    def bind(value, hint="k"):
        key = f"{hint}{len(scope)}"
        scope[key] = value
        return key

    kernels = {}

    def source(x):
        if isinstance(x, Symbol):
            return names[id(x)]
        if type(x) in (tuple, list):
            inner = "".join(f"{source(v)}, " for v in x)
            return f"({inner})" if type(x) is tuple else f"[{inner}]"
        if x is None or type(x) in (bool, int):
            return repr(x)
        return bind(x, "c")

    for i, s in enumerate(graph.inputs):
        names[id(s)] = f"x{i}"
    dead = {} if line else last_uses(graph)
    for i, call in enumerate(graph.calls):
        results = []
        for s in call.outputs:
            names[id(s)] = f"v{len(names)}"
            results.append(names[id(s)])
        text = line(call, results, source, bind) if line else None
        if text is None:
            if call.target not in kernels:
                kernels[call.target] = bind(kernel(call.target))
            args = [source(a) for a in call.args]
            for key, value in call.kwargs.items():
                if isinstance(value, Graph):
                    value = emit(value, kernel, key, line)
                args.append(f"{key}={source(value)}")
            left = results[0] if call.single else ", ".join(results) + ","
            text = f"{left} = {kernels[call.target]}({', '.join(args)})"
        body.append(text)
        if i in dead:
            body.append("del " + ", ".join(names[key] for key in dead[i]))
    arguments = ", ".join(names[id(s)] for s in graph.inputs)
    body.append(f"return [{', '.join(source(y) for y in graph.outputs)}]")
    text = f"def {name}({arguments}):\n    " + "\n    ".join(body) + "\n"
    exec(compile(text, f"<{name}>", "exec"), scope)
    function = scope[name]
    function.source, function.specs = text, [spec_of(y) for y in graph.outputs]
    return function


def last_uses(graph):
    """For each position of a call, the ids of the made symbols that are dead after it."""
    last = {}
    for i, call in enumerate(graph.calls):
        for s in call.outputs:
            last[id(s)] = i
        for s in symbols(call.args):
            if id(s) in last:
                last[id(s)] = i
    for s in symbols(graph.outputs):
        last.pop(id(s), None)
    dead = {}
    for key, i in last.items():
        dead.setdefault(i, []).append(key)
    return dead
