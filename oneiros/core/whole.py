"""Pieces of eager steps as one compiled function each: what a loss gives, what a metric adds up.

Where a backend runs a step of the user's own op by op, a method of the library's is traced when it
has been called often enough with arrays of one signature, and is one call from then on.
"""

from __future__ import annotations

import functools

from oneiros.core import backend, config
from oneiros.core.graph import STACK, trace
from oneiros.core.scopes import STATE, StatelessScope
from oneiros.core.spec import Spec, dtype_name

__all__ = ["assigning", "giving"]

OFTEN = 3  # calls with one signature that run op by op
MOST = 16  # signatures that are remembered


def giving(method):
    """`method(self, y_true, y_pred, sample_weight=None)`, which gives an array."""

    @functools.wraps(method)
    def run(self, y_true, y_pred, sample_weight=None):
        values = y_true, y_pred, sample_weight
        found = _found(self, method, values, (), _differentiable)
        return method(self, *values) if found is None else found(*_given(values))

    return run


def assigning(method):
    """`method(self, *arrays)`, which assigns the variables in `self.variables` and gives nothing."""

    @functools.wraps(method)
    def run(self, *args, **kwargs):
        values = (*args, *kwargs.values())
        found = _found(self, method, values, tuple(kwargs), _updating)
        if found is None:
            return method(self, *args, **kwargs)
        step, variables = found
        step(*[v._lease_value(None) for v in variables], *_given(values))
        return None

    return run


def _given(values):
    return [v for v in values if v is not None]


def _found(owner, method, values, names, make):
    """The compiled piece for these arguments; None where they are taken op by op."""
    if STACK.top is not None or STATE.stateless is not None or STATE.autocast is not None:
        return None
    signature = backend.current().signature_of(values)
    if signature is None or not _is_ours(owner):
        return None
    made = owner.__dict__.setdefault("_wholes", {})
    key = method, names, config.epsilon(), signature
    found = made.get(key, 0)
    if type(found) is int:
        if len(made) <= MOST:
            made[key] = found + 1
        if found < OFTEN or len(made) > MOST:
            return None
        try:
            found = make(owner, method, values, names)
        except Exception:  # it needs values, or is wrong, which the method itself will say
            found = None
        made[key] = found
    return found


def _is_ours(owner):
    """Whether nothing of the user's runs in its methods."""
    function = getattr(owner, "fn", None) or getattr(owner, "_fn", None) or owner.__class__
    return all(getattr(x, "__module__", "").startswith("oneiros.") for x in (type(owner), function))


def _filled(values, symbols):
    """The arguments, with symbols for arrays."""
    symbols = iter(symbols)
    return [None if v is None else next(symbols) for v in values]


def _specs(values):
    return [Spec(tuple(v.shape), dtype_name(v.dtype)) for v in _given(values)]


def _differentiable(owner, method, values, names):
    def value(*symbols):
        return method(owner, *_filled(values, symbols))

    engine = backend.current()
    return engine.piece(trace(value, _specs(values), engine.kept("predict")))


def _updating(owner, method, values, names):
    variables, engine = owner.variables, backend.current()
    n, by_name = len(variables), len(values) - len(names)

    def update(*symbols):
        with StatelessScope(zip(variables, symbols)) as scope:
            args = _filled(values, symbols[n:])
            method(owner, *args[:by_name], **dict(zip(names, args[by_name:])))
            return [scope.get_current_value(v) for v in variables]

    specs = [Spec(v.shape, v.dtype) for v in variables] + _specs(values)
    graph = trace(update, specs, engine.kept("test"))
    return engine.compile(graph, donate=tuple(range(n))), variables
