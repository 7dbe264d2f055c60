"""Rematerialization: a layer keeps its inputs only, and the derivative computes its inside again
(Chen et al., 2016).
"""

from __future__ import annotations

import functools
import math

from oneiros.core import primitives as p
from oneiros.core import tree
from oneiros.core.graph import STACK, Graph, Trace
from oneiros.core.op import array
from oneiros.core.scopes import STATE
from oneiros.core.symbol import Symbol

__all__ = ["remat", "remat_call"]


def remat(f):
    """`f`, whose inside is computed again in the derivative instead of being kept.

    >>> import numpy as np, oneiros
    >>> square = oneiros.remat(lambda x: x * x)
    >>> square(oneiros.ops.convert_to_tensor(3.0)).tolist()
    9.0
    """

    @functools.wraps(f)
    def call(*args, **kwargs):
        if STACK.top is None or getattr(STACK.top, "abstract", False):
            return f(*args, **kwargs)
        return _checkpointed(f, args, kwargs)

    return call


def remat_call(layer, args, kwargs):
    """`layer.call`, rematerialized if a `RematScope` around it says so."""
    call = layer.call
    if (
        STACK.top is None
        or getattr(STACK.top, "abstract", False)
        or not _applies(layer, args, kwargs)
    ):
        return call(*args, **kwargs)
    scopes, STATE.remat = STATE.remat, ()
    try:
        return _checkpointed(call, args, kwargs)
    finally:
        STATE.remat = scopes


def _applies(layer, args, kwargs):
    for scope in STATE.remat:
        if scope.mode == "full":
            return True
        if scope.mode == "list_of_layers" and layer.name in scope.layer_names:
            return True
        if scope.mode == "activations" and type(layer).__name__ == "Activation":
            return True
        if scope.mode == "larger_than":
            first = next((x for x in tree.flatten((args, kwargs)) if isinstance(x, Symbol)), None)
            if first is not None and math.prod(first.shape[1:]) >= scope.output_size_threshold:
                return True
    return False


def _checkpointed(function, args, kwargs):
    """The call as one primitive over a sub-graph; what it assigns to variables comes out as further
    outputs.
    """
    found = {}
    scope = STATE.stateless
    before = dict(scope.values) if scope is not None else {}
    with Trace(STACK.top.keep) as t:
        found["result"] = function(*args, **kwargs)
        outputs = [array(y) for y in tree.flatten(found["result"])]
        changed = (
            [k for k, v in scope.values.items() if before.get(k) is not v]
            if scope is not None
            else []
        )
        outputs += [array(scope.values[k]) for k in changed]
        outputs = [
            y if isinstance(y, Symbol) else p.broadcast_to(y, shape=tuple(y.shape)) for y in outputs
        ]
    graph, captured = Graph(t.calls, [], outputs).close()
    made = list(p.checkpoint(*captured, body=graph))
    for key, value in zip(changed, made[len(made) - len(changed) :]):
        scope.values[key] = value
    return tree.pack_sequence_as(found["result"], made[: len(made) - len(changed)])
