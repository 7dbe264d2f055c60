"""Graph backends over an engine: eager values are NumPy's, steps run on the engine.

A graph is cut into stages that alternate between the engine and NumPy, as few as the order of the
calls allows. What the engine has no kernel for runs in NumPy, and is told once by name.
"""

from __future__ import annotations

import warnings

import numpy as np

from oneiros.backends.emit import emit
from oneiros.backends.numpy import KERNELS, UFUNCS, NumPy, quiet
from oneiros.backends.numpy_plan import plan
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.graph import Graph, Trace, run, symbols
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Symbol

__all__ = ["Engine", "cut"]

LOOPS = {p.scan, p.while_loop, p.cond}
FREE = {p.barrier, p.with_gradient, p.stop_gradient}  # names for values, which nothing computes


class Engine(NumPy):
    """A backend whose arrays are NumPy's and whose steps are compiled by an engine.

    Args:
        name: The backend's name.
        lowered: Primitive to how the engine computes it, in the form that `build` wants.
    """

    def __init__(self, name, lowered):
        numpy = backend.load("numpy")
        super().__init__(name, numpy.primitives, numpy.faster)
        self.lowered, self.told = lowered, set()

    # What an engine defines ------------------------------------------------------------------
    def build(self, graph, donate=()):
        """A function of flat NumPy arrays that runs `graph`, whose calls are all taken.

        What it returns is contiguous memory of its own, or that of an input in `donate`.
        """
        raise NotImplementedError

    def takes(self, call):
        """Whether the engine computes this call."""
        return call.target in self.lowered

    # What follows ----------------------------------------------------------------------------
    def compile(self, graph, donate=()):
        graph = plain(graph)
        stages = cut(graph, self.takes)
        self.tell(call.target for own, part in stages if not own for call in part.calls)
        if len(stages) == 1 and stages[0][0] and len(stages[0][1].outputs) == len(graph.outputs):
            return self.build(graph, donate)
        free = {id(s) for i, s in enumerate(graph.inputs) if i in donate}
        free -= {id(s) for s in symbols(graph.outputs)}
        last = {id(s): part for _, part in stages for s in part.inputs}
        parts = []
        for own, part in stages:
            dying = [i for i, s in enumerate(part.inputs) if id(s) in free and last[id(s)] is part]
            parts.append((part, self._stage(own, part, dying)))
        return compose(graph, parts)

    def _stage(self, own, part, donate):
        if own:
            return self.build(part, donate)
        if not any(isinstance(v, Graph) for c in part.calls for v in c.kwargs.values()):
            return quiet(plan(part, self.raw, UFUNCS, donate))
        return quiet(emit(part, self.raw, line=self._loop))

    def _loop(self, call, results, source, bind):
        """A loop in NumPy over bodies on the engine."""
        if not any(isinstance(v, Graph) for v in call.kwargs.values()):
            return None
        params = "".join(
            f", {k}={bind(self._body(v) if isinstance(v, Graph) else v)}"
            for k, v in call.kwargs.items()
        )
        kernel = bind(KERNELS[call.target])
        return f"{', '.join(results)}, = {kernel}({', '.join(map(source, call.args))}{params})"

    def _body(self, graph):
        body = self.compile(graph)
        body.specs = [spec_of(y) for y in graph.outputs]
        return body

    def raw(self, target):
        return backend.load("numpy").raw(target)

    def tell(self, targets):
        """Warn of primitives that run in NumPy, each once."""
        new = {t.name for t in targets if t not in LOOPS | FREE | {p.checkpoint}} - self.told
        if new:
            self.told |= new
            warnings.warn(
                f"backend '{self.name}' has no kernel for {', '.join(sorted(new))} as used here: "
                "it runs in NumPy, between compiled parts",
                RuntimeWarning,
                stacklevel=2,
            )

    def in_numpy(self):
        """The names of the primitives that the engine has no kernel for."""
        return sorted(
            n
            for n, t in PRIMITIVES.items()
            if t not in self.lowered and t not in LOOPS | FREE | {p.checkpoint}
        )


def plain(graph):
    """The graph without calls that only name values, and with what was to be computed twice once."""
    with Trace() as t:

        def call(node, args):
            if node.target is p.checkpoint:
                return tuple(run(node.kwargs["body"], args, call))
            if node.target in FREE:
                return args[0] if node.single else tuple(args[: len(node.outputs)])
            specs = [y.spec for y in node.outputs]
            return t.add(node.target, args, node.kwargs, specs[0] if node.single else specs)

        inputs = [Symbol(s.shape, s.dtype) for s in graph.inputs]
        return Graph(t.calls, inputs, run(graph, inputs, call))


def cut(graph, takes):
    """The graph as stages: pairs of whether the engine runs it, and a graph of its calls.

    Each call is in the earliest stage that its arguments allow, so there are as few stages as
    changes between engine and NumPy on the longest way.
    """
    place, stages = {}, {}
    for call in graph.calls:
        at = max((place.get(id(s), 0) for s in symbols(call.args)), default=0)
        at += (at % 2 == 0) != takes(call)
        stages.setdefault(at, []).append(call)
        place.update((id(s), at) for s in call.outputs)
    needed = {id(s) for s in symbols(graph.outputs)}
    found = []
    for at in sorted(stages, reverse=True):
        calls = stages[at]
        made = {id(s): s for c in calls for s in c.outputs}
        outputs = [s for key, s in made.items() if key in needed]
        inputs = {id(s): s for c in calls for s in symbols(c.args) if id(s) not in made}
        needed |= inputs.keys()
        found.append((at % 2 == 0, Graph(calls, inputs.values(), outputs)))
    return found[::-1]


def compose(graph, parts):
    """A function of the graph's inputs that runs `(part, function)` one after the other."""
    names, scope, lines = {}, {}, []

    def source(s):
        return names.setdefault(id(s), f"v{len(names)}")

    inputs = ", ".join(map(source, graph.inputs))
    for i, (part, function) in enumerate(parts):
        scope[f"f{i}"] = function
        left = "".join(f"{source(s)}, " for s in part.outputs)
        lines.append(f"{left}= f{i}({', '.join(map(source, part.inputs))})")
    returned = []
    for i, y in enumerate(graph.outputs):
        if isinstance(y, Symbol):
            name = source(y)
            returned.append(f"{name}.copy()" if name in returned else name)
        else:
            scope[f"c{i}"] = np.asarray(y)
            returned.append(f"c{i}.copy()")
    lines.append(f"return [{', '.join(returned)}]")
    text = f"def step({inputs}):\n    " + "\n    ".join(lines) + "\n"
    exec(compile(text, "<step>", "exec"), scope)  # our own text, of our own names
    scope["step"].source = text
    return scope["step"]
