"""Arrays of a framework's own graph whose sizes are known only when it runs.

In `dataset.map`, or in a `tf.function` over batches of any length, shapes hold None. What runs on
such arrays is traced with probe sizes that know how they are computed, and the trace's calls are
then run by the backend's kernels, with scalars of the graph in place of those sizes.
"""

from __future__ import annotations

import operator

import numpy as np

from oneiros.core.backend import UNSIZED
from oneiros.core.graph import Graph, Trace, run
from oneiros.core.masks import get_mask
from oneiros.core.op import is_unsized
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Unknown, dtype_name
from oneiros.core.symbol import Symbol, Untraceable

__all__ = ["Size", "run_unsized", "sizes_of"]

PROBES = (80640, 1680, 5040, 15120, 30240)  # by axis: rich in divisors


class Size(Unknown):
    """A probe size, and the scalar of a framework's graph that it stands for."""

    def __new__(cls, probe, scalar):
        self = super().__new__(cls, probe)
        self.scalar = scalar
        return self

    @property
    def number(self):
        return self / 1

    def __float__(self):
        raise Untraceable("a size that is known only when the graph runs has no value as a number")

    def __neg__(self):
        return Size(-int(self), -self.scalar)

    def __truediv__(self, other):
        return UNSIZED[type(self.scalar)].ratio(self.scalar, _scalar(other))

    def __rtruediv__(self, other):
        return UNSIZED[type(self.scalar)].ratio(other, self.scalar)


def _scalar(n):
    return n.scalar if isinstance(n, Size) else n


def _install(name):
    f = getattr(operator, name)

    def forward(self, other):
        if not isinstance(other, int):
            return NotImplemented
        return Size(f(int(self), int(other)), f(self.scalar, _scalar(other)))

    def backward(self, other):
        return Size(f(int(other), int(self)), f(other, self.scalar))

    name = name.strip("_")
    setattr(Size, f"__{name}__", forward)
    setattr(Size, f"__r{name}__", backward)


for _name in ("add", "sub", "mul", "floordiv", "mod"):
    _install(_name)


def sizes_of(x):
    """The shape of an array, with scalars of the graph in place of sizes that are not known."""
    if None not in tuple(x.shape):
        return tuple(x.shape)
    scalars, made = UNSIZED[type(x)].sizes(x), []
    for i, n in enumerate(x.shape):
        made.append(scalars[i] if n is None else int(n))
        if n is None:
            made[i]._probe = PROBES[min(i, 4)]
    return tuple(made)


def run_unsized(function, args, kwargs, layer=None):
    """`function(*args, **kwargs)` with arrays of unknown sizes among the arguments.

    Args:
        layer: Whose variables are read and assigned, and whose losses are kept.
    """
    from oneiros.core import tree

    known, leaves = {}, [x for x in tree.flatten((args, kwargs)) if is_unsized(x)]
    engine = UNSIZED[type(leaves[0])]
    variables = layer.variables if layer is not None else ()
    pairs = [(v, v.value) for v in variables]

    def symbol(x):
        if not is_unsized(x):
            return x
        if id(x) not in known:
            if hasattr(x, "_probe"):
                return Size(x._probe, x)
            shape = [n if isinstance(n, int) else Size(n._probe, n) for n in sizes_of(x)]
            known[id(x)] = made = Symbol(shape, dtype_name(x.dtype))
            if get_mask(x) is not None:
                leaves.append(get_mask(x))
                made._keras_mask = symbol(get_mask(x))
        return known[id(x)]

    with Trace() as t, StatelessScope(pairs, collect_losses=True) as scope:
        inner_args, inner_kwargs = tree.map_structure(symbol, (args, kwargs))
        made = function(*inner_args, **inner_kwargs)
        changed = [v for v in scope.variables.values() if _is_new(scope, v)]
    outputs = [made, [scope.get_current_value(v) for v in changed], scope.losses]
    arrays = [x for x in leaves if isinstance(known.get(id(x)), Symbol)]
    graph = Graph(t.calls, [known[id(x)] for x in arrays], tree.flatten(outputs))
    made, values, losses = tree.pack_sequence_as(outputs, _run(engine, graph, arrays))
    for v, value in zip(changed, values):
        v.assign(value)
    for loss in losses:
        layer.add_loss(loss)
    return made


def _is_new(scope, v):
    return scope.get_current_value(v) is not scope.given.get(id(v))


def _run(engine, graph, arrays):
    """The graph's outputs by the backend's kernels, call by call."""

    def value(x):
        if isinstance(x, Size):
            return x.scalar
        if isinstance(x, Graph):
            return lambda *a: _run(engine, x, a)
        return type(x)(map(value, x)) if type(x) in (tuple, list) else x

    def call(node, args):
        kernel = engine.kernel_for(node.target, {np.ndarray})
        return kernel(*map(value, args), **{k: value(v) for k, v in node.kwargs.items()})

    return [value(y) for y in run(graph, arrays, call)]
