"""Control flow: branches, loops and scans over sub-graphs, and derivatives given by hand.

Sub-graphs are closed: what they capture is passed to them as further operands.
"""

from __future__ import annotations

from oneiros.core.graph import Graph, Trace, current_trace, run
from oneiros.core.primitive import primitive
from oneiros.core.spec import Spec, spec_of
from oneiros.core.symbol import Symbol

__all__ = ["barrier", "checkpoint", "cond", "scan", "while_loop", "with_gradient"]


def _specs(graph, outputs=None):
    return tuple(spec_of(y) for y in (graph.outputs if outputs is None else outputs))


@primitive
def cond(predicate, *operands, true, false):
    """The outputs of the graph `true` or of `false` for `operands`, by a bool scalar."""
    return _specs(true)


@cond.vjp
def _(g, y, predicate, *operands, true, false):
    from oneiros.core.autodiff import vjp_graph, zeros

    moving = [i for i, s in enumerate(true.outputs) if getattr(s, "dtype", "") and _floating(s)]
    g = [zeros(y[i].shape, y[i].dtype) if g[i] is None else g[i] for i in moving]
    keep = current_trace().keep
    branches = [vjp_graph(_as_symbols(b), keep) for b in (true, false)]
    made = iter(cond(predicate, *operands, *g, true=branches[0], false=branches[1]))
    return [None, *[next(made) if _floating(x) else None for x in true.inputs]]


def _floating(x):
    from oneiros.core.autodiff import _DIFFERENTIABLE

    return spec_of(x).dtype in _DIFFERENTIABLE


def _as_symbols(graph):
    """The graph with every constant output made a symbol."""
    if all(isinstance(y, Symbol) for y in graph.outputs):
        return graph
    from oneiros.core.primitives.shaping import broadcast_to

    with Trace(current_trace().keep) as t:
        inputs = [Symbol(s.shape, s.dtype) for s in graph.inputs]
        outputs = [
            y if isinstance(y, Symbol) else broadcast_to(y, shape=tuple(y.shape))
            for y in run(graph, inputs)
        ]
    return Graph(t.calls, inputs, outputs)


@primitive
def while_loop(*operands, condition, body, carry):
    """The first `carry` operands after `body` ran on them as long as `condition` held; the rest are
    constants.
    """
    return tuple(spec_of(x) for x in operands[:carry])


@primitive
def scan(*operands, body, carry, xs, length, reverse):
    """`body` run `length` times along the leading axis of its inputs.

    Operands are the first `carry` values, then `xs` arrays with a leading axis of `length`, then
    constants;
    the graph `body` maps (carry, slices, constants) to (carry, slices of the further outputs).
    """
    ys = [Spec((length, *s.shape), spec_of(s).dtype) for s in body.outputs[carry:]]
    return (*[spec_of(s) for s in body.inputs[:carry]], *ys)


@scan.vjp
def _(g, y, *operands, body, carry, xs, length, reverse):
    """The scan backwards.

    The forward scan is made to put out what the backward one needs; derivatives of constants that
    are dots or
    sums of per-step values become one dot or sum over all steps, outside of the loop.
    """
    from oneiros.core.autodiff import gradient, is_differentiable, zeros

    call = y[0].call
    body = call.kwargs["body"]  # an earlier derivative may have extended it
    with Trace(current_trace().keep) as t:
        inputs = [Symbol(s.shape, s.dtype) for s in body.inputs]
        outputs = run(body, inputs)
        forward = len(t.calls)
        moving = [
            i
            for i, s in enumerate(outputs)
            if is_differentiable(s) and (i < carry or g[i] is not None)
        ]
        slopes = {i: Symbol(outputs[i].shape, outputs[i].dtype) for i in moving}
        wrt = [x for x in inputs if is_differentiable(x)]
        grads = dict(
            zip(map(id, wrt), gradient([outputs[i] for i in moving], list(slopes.values()), wrt))
        )
        steps = inputs[:carry], inputs[carry : carry + xs], inputs[carry + xs :]
        loop = _Backward(t, forward, steps, slopes)
        float_carry = [i for i in range(carry) if is_differentiable(inputs[i])]
        sums = {id(k): loop.total(grads[id(k)]) for k in steps[2] if id(k) in grads}
        piled = {
            i: Symbol(s.shape, s.dtype)
            for i, s in enumerate(steps[2])
            if id(s) in sums and sums[id(s)] is None
        }
        from oneiros.core.primitives.elementwise import add

        ends = [grads[id(inputs[i])] for i in float_carry]
        ends += [add(p, grads[id(steps[2][i])]) for i, p in piled.items()]
        dxs = [grads[id(x)] for x in steps[1] if id(x) in grads]
        slices = list({id(s): s for s in (*dxs, *loop.stacked)}.values())
        states = [
            slopes[i] if i in slopes else Symbol(inputs[i].shape, inputs[i].dtype)
            for i in float_carry
        ]
        states += list(piled.values())
        stacked = list(map(id, slices))
        slices, ends = loop.whole(slices), loop.whole(ends)
        probe = Graph(t.calls[forward:], states, [*ends, *slices])
    needed = {id(s): s for s in probe.captured}
    constants = [i for i, k in enumerate(steps[2]) if id(k) in needed]
    from_xs = [i for i, x in enumerate(steps[1]) if id(x) in needed]
    from_g = [i for i, s in slopes.items() if i >= carry and id(s) in needed]
    taken = {id(s) for group in steps[1:] for s in group} | {id(s) for s in slopes.values()}
    residuals = [s for key, s in needed.items() if key not in taken]
    residuals += [s for s in loop.residuals if id(s) not in {id(r) for r in residuals}]
    extended = Graph(t.calls[:forward], inputs, [*outputs, *residuals])
    base = len(call.outputs)
    call.kwargs["body"] = extended
    for i, s in enumerate(residuals):
        symbol = Symbol((length, *s.shape), s.dtype)
        symbol.call, symbol.index = call, base + i
        call.outputs = (*call.outputs, symbol)
    stacks = {id(s): call.outputs[base + i] for i, s in enumerate(residuals)}
    stacks.update((id(x), operands[carry + i]) for i, x in enumerate(steps[1]))
    stacks.update((id(s), g[i]) for i, s in slopes.items() if i >= carry)

    in_loop = [s for s in residuals if id(s) in needed]
    graph_inputs = [
        *states,
        *in_loop,
        *[steps[1][i] for i in from_xs],
        *[slopes[i] for i in from_g],
    ]
    graph_inputs += [steps[2][i] for i in constants]
    back = Graph(t.calls[forward:], graph_inputs, [*ends, *slices])
    start = [g[i] if g[i] is not None else zeros(y[i].shape, y[i].dtype) for i in float_carry]
    start += [zeros(s.shape, s.dtype) for s in piled.values()]
    given = [stacks[id(s)] for s in graph_inputs[len(states) : len(graph_inputs) - len(constants)]]
    given += [operands[carry + xs + i] for i in constants]
    back, given = _turned(_as_symbols(back), given, len(constants))
    made = scan(
        *start, *given, body=back, carry=len(states), length=length, reverse=not reverse,
        xs=len(in_loop) + len(from_xs) + len(from_g),
    )  # fmt: skip
    cotangents = [None] * len(operands)
    for i, v in zip(float_carry, made):
        cotangents[i] = v
    for i, v in zip(piled, made[len(float_carry) :]):
        cotangents[carry + xs + i] = v
    stacks.update(zip(stacked, made[len(states) :]))
    for i, x in enumerate(steps[1]):
        if id(x) in grads:
            cotangents[carry + i] = stacks[id(grads[id(x)])]
    for i, k in enumerate(steps[2]):
        if callable(sums.get(id(k))):
            cotangents[carry + xs + i] = sums[id(k)](stacks)
    return cotangents


def _turned(graph, operands, count):
    """The graph and its operands, with matrices among the last `count` transposed of which dots
    read rows.

    What does not change from step to step is turned once outside of the loop instead of in each
    step.
    """
    from oneiros.core.primitives import contractions, shaping

    rows, columns = ((1,), (1,)), ((1,), (0,))

    def is_turned(s):
        uses = [c for c in graph.calls if any(x is s for x in c.args)]
        return bool(uses) and all(
            c.target is contractions.dot_general and c.args[1] is s and c.args[0] is not s
            and c.kwargs["contract"] == rows and len(s.shape) == len(c.args[0].shape) == 2
            for c in uses
        )  # fmt: skip

    constants = graph.inputs[len(graph.inputs) - count :]
    fixed = {id(s) for s in constants if is_turned(s)} - {id(s) for s in graph.outputs}
    if not fixed:
        return graph, operands

    def call(node, args):
        if node.target is contractions.dot_general and id(node.args[1]) in fixed:
            return contractions.dot_general(*args, contract=columns, batch=node.kwargs["batch"])
        return node.target(*args, **node.kwargs)

    with Trace(current_trace().keep) as t:
        inputs = [
            Symbol(s.shape[::-1] if id(s) in fixed else s.shape, s.dtype) for s in graph.inputs
        ]
        outputs = run(graph, inputs, call)
    places = zip(graph.inputs[len(graph.inputs) - len(operands) :], operands)
    operands = [shaping.transpose(x, order=(1, 0)) if id(s) in fixed else x for s, x in places]
    return Graph(t.calls, inputs, outputs), operands


class _Backward:
    """What is known of each symbol of a differentiated scan body."""

    def __init__(self, trace, forward, steps, slopes):
        self.made = {id(s) for c in trace.calls[forward:] for s in c.outputs}
        self.per_step = {id(s) for c in trace.calls[:forward] for s in c.outputs}
        self.per_step.update(id(s) for group in steps[:2] for s in group)
        self.outside = {id(x) for x in steps[1]} | {
            id(s) for i, s in slopes.items() if i >= len(steps[0])
        }
        self.constants = {id(s) for s in steps[2]}
        self.stacked, self.residuals = [], []

    def stack(self, s):
        """Note that `s` is needed for every step outside of the loop; whether that can be."""
        if not isinstance(s, Symbol) or id(s) in self.constants:
            return False
        if id(s) in self.outside:
            return True
        group = self.residuals if id(s) in self.per_step else self.stacked
        if all(s is not other for other in group):
            group.append(s)
        return True

    def total(self, s):
        """A function of the stacks that gives the sum of `s` over all steps, or None."""
        from oneiros.core.primitives import contractions, reductions, shaping

        call = s.call if isinstance(s, Symbol) and id(s) in self.made else None
        if call is None:
            return None
        if call.target is contractions.dot_general:
            (x, y), contract, batch = call.args, call.kwargs["contract"], call.kwargs["batch"]
            if batch[0] or not (self.stack(x) and self.stack(y)):
                return None
            whole = tuple((0, *(i + 1 for i in axes)) for axes in contract)
            return lambda stacks: contractions.dot_general(
                stacks[id(x)], stacks[id(y)], contract=whole, batch=((), ())
            )
        if call.target is reductions.reduce_sum:
            (x,), axes = call.args, call.kwargs["axes"]
            if not self.stack(x):
                return None
            return lambda stacks: reductions.reduce_sum(
                stacks[id(x)], axes=(0, *(i + 1 for i in axes))
            )
        if call.target in (shaping.transpose, shaping.reshape):
            inner = self.total(call.args[0])
            return inner and (lambda stacks: call.target(inner(stacks), **call.kwargs))
        return None

    def whole(self, values):
        """`values` as symbols of the backward part: a forward symbol passes through it unchanged."""
        from oneiros.core.primitives.shaping import broadcast_to

        return [
            v if isinstance(v, Symbol) else broadcast_to(v, shape=tuple(v.shape)) for v in values
        ]


@primitive
def with_gradient(*operands, outputs, wrt, gradient):
    """The first `outputs` operands, whose derivative by the next `wrt` ones is given.

    The rest are what the closed graph `gradient` reads: `gradient(*cotangents, *rest)`, with one
    cotangent for each output, gives the cotangents of the `wrt` operands. Kernels get it as a
    function; no derivative flows to the outputs' own operands, nor to the rest.
    """
    return tuple(spec_of(x) for x in operands[:outputs])


@with_gradient.vjp
def _(g, y, *operands, outputs, wrt, gradient):
    from oneiros.core.autodiff import zeros

    g = [zeros(s.shape, s.dtype) if v is None else v for s, v in zip(y, g)]
    rest = operands[outputs + wrt :]
    return [*[None] * outputs, *gradient(*g, *rest), *[None] * len(rest)]


@primitive
def barrier(*operands):
    """The operands, unchanged; nothing computed from them is merged with what came before."""
    return tuple(spec_of(x) for x in operands)


@barrier.vjp
def _(g, y, *operands):
    return g


@primitive
def checkpoint(*operands, body):
    """The outputs of the graph `body`, which the derivative computes again instead of keeping its
    inside.
    """
    return _specs(body)


@checkpoint.vjp
def _(g, y, *operands, body):
    from oneiros.core.autodiff import gradient, is_differentiable

    again = barrier(*operands)
    outputs = run(body, again)
    wrt = [x for x in again if is_differentiable(x)]
    moving = [i for i, s in enumerate(outputs) if is_differentiable(s) and g[i] is not None]
    grads = iter(gradient([outputs[i] for i in moving], [g[i] for i in moving], wrt))
    return [next(grads) if is_differentiable(x) else None for x in again]
