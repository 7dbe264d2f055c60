"""Reverse-mode derivatives over the calls of an open trace.

The derivative is recorded into the same trace, by rules that are written in terms of primitives, so
it can
be differentiated again.
"""

from __future__ import annotations

import numpy as np

from oneiros.core import backend
from oneiros.core.graph import Trace, current_trace, symbols
from oneiros.core.primitives import add, broadcast_to, concatenate, pad
from oneiros.core.symbol import Symbol

__all__ = ["NotDifferentiable", "gradient", "is_differentiable"]

_DIFFERENTIABLE = {"float16", "bfloat16", "float32", "float64", "complex64", "complex128"}


class NotDifferentiable(TypeError):
    """Raised when a derivative is asked through an operation that has none."""


def is_differentiable(x):
    """Whether derivatives flow to `x`: a symbol of floating or complex dtype."""
    return isinstance(x, Symbol) and x.dtype in _DIFFERENTIABLE


def gradient(outputs, cotangents, wrt, missing=None):
    """Symbols for the sums of `cotangents` times d `outputs` / d `wrt`.

    Args:
        outputs: Symbols of the open trace.
        cotangents: One symbol or array for each output, or None for zero.
        wrt: Symbols to differentiate by.
        missing: A function of shape and dtype for what `outputs` do not depend on; zeros if None.
    """
    missing, frozen = missing or zeros, current_trace().frozen
    calls = [call for call in current_trace().calls if call not in frozen]
    needs = {id(w) for w in wrt}
    active = []
    for call in calls:
        if any(id(s) in needs for s in symbols(call.args)):
            moving = [s for s in call.outputs if s.dtype in _DIFFERENTIABLE]
            if moving:
                active.append(call)
                needs.update(map(id, moving))
    pending = {}
    for y, g in zip(outputs, cotangents):
        if g is not None and id(y) in needs:
            pending.setdefault(id(y), []).append(g)
    kept = {id(w): w for w in wrt}
    for call in reversed(active):
        g = [_total(pending[id(s)]) if id(s) in pending else None for s in call.outputs]
        if all(v is None for v in g):
            continue
        for s, v in zip(call.outputs, g):
            if id(s) in kept:
                pending[id(s)] = [v]
            else:
                pending.pop(id(s), None)
        for x, gx in zip(call.args, _cotangents(call, g)):
            if gx is not None and id(x) in needs and is_differentiable(x):
                pending.setdefault(id(x), []).append(gx)
    return [_total(pending[id(w)]) if id(w) in pending else missing(w.shape, w.dtype) for w in wrt]


class Slope:
    """The derivative of an op that a backend kept whole, and differentiates by itself (an island).

    Its calls have the cotangents of the op's outputs (None for zero) and then the op's arguments, `count` of the
    former; `of` is the op's call. They give the cotangents of the floating symbols among them.
    """

    vjp_rule = None

    def __init__(self, op):
        self.name = f"{op.name}_slope"


def _slope(call, g):
    """The cotangents that an island gives."""
    floats = [x for x in call.args if is_differentiable(x)]
    made = current_trace().add(
        Slope(call.target),
        (*g, *call.args),
        {"of": call, "count": len(g)},
        [x.spec for x in floats],
    )
    by_id = dict(zip(map(id, floats), made))
    return [by_id.get(id(x)) for x in call.args]


def _cotangents(call, g):
    target = call.target
    if hasattr(target, "body") and target.name in backend.current().islands:
        return _slope(call, g)
    rule = target.vjp_rule
    if rule is not None:
        if call.single:
            return rule(g[0], call.outputs[0], *call.args, **call.kwargs)
        return rule(g, call.outputs, *call.args, **call.kwargs)
    body = getattr(target, "body", None)
    if body is None:
        raise NotDifferentiable(
            f"'{target.name}' has no reverse-mode derivative, and a trainable weight or a "
            "differentiated input lies behind it; use ops.stop_gradient on its result, or another op"
        )
    args = [x for x in symbols(call.args) if is_differentiable(x)]
    made = body(*call.args, **call.kwargs)
    grads = gradient([made] if call.single else list(made), g, args)
    by_id = {id(x): v for x, v in zip(args, grads)}
    return [by_id.get(id(x)) for x in call.args]


def _total(terms):
    total = _end_to_end(terms)
    if total is not None:
        return total
    total = terms[0]
    for term in terms[1:]:
        total = add(total, term)
    return total


def _end_to_end(terms):
    """The sum of what the slices of one array give back, where these lie end to end; else None."""
    if len(terms) < 2:
        return None
    parts, along = [], set()
    for term in terms:
        call = getattr(term, "call", None)
        if call is None or call.target is not pad or call.kwargs["value"] != 0:
            return None
        widths = call.kwargs["widths"]
        along.update(i for i, w in enumerate(widths) if w != (0, 0, 0))
        if len(along) != 1:
            return None
        (axis,) = along
        before, _, between = widths[axis]
        if between:
            return None
        parts.append((before, call.args[0]))
    parts.sort(key=lambda part: part[0])
    end = 0
    for before, x in parts:
        if before != end:
            return None
        end += x.shape[axis]
    return concatenate(*[x for _, x in parts], axis=axis) if end == terms[0].shape[axis] else None


def zeros(shape, dtype):
    from oneiros.core.dtypes import np_dtype

    return broadcast_to(np.zeros((), np_dtype(dtype)), shape=tuple(shape))


def vjp_graph(graph, keep=()):
    """The graph of (inputs, cotangents of the floating outputs) -> cotangents of the floating
    inputs.
    """
    from oneiros.core.graph import Graph, run

    with Trace(keep) as t:
        inputs = [Symbol(s.shape, s.dtype) for s in graph.inputs]
        outputs = run(graph, inputs)
        moving = [i for i, y in enumerate(graph.outputs) if is_differentiable(y)]
        g = [Symbol(graph.outputs[i].shape, graph.outputs[i].dtype) for i in moving]
        wrt = [x for x in inputs if is_differentiable(x)]
        live = [(outputs[i], gi) for i, gi in zip(moving, g) if isinstance(outputs[i], Symbol)]
        grads = gradient([y for y, _ in live], [gi for _, gi in live], wrt)
    return Graph(t.calls, [*inputs, *g], grads)
