"""Pairs of a layer here and in Keras with the same weights, and derivatives against finite differences."""

import json

import keras
import numpy as np

from oneiros import layers
from oneiros.core import backend as backends
from oneiros.core import tree
from oneiros.core.autodiff import gradient
from oneiros.core.graph import Trace, trace
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Spec

TOLERANCE = dict(rtol=2e-5, atol=2e-5)


def pair(make, *inputs, **kwargs):
    """What `make(layers)` gives for our layers and for Keras's, called once, with equal random weights."""
    ours, theirs = make(layers), make(keras.layers)
    ours(*inputs, **kwargs), theirs(*inputs, **kwargs)
    rng = np.random.default_rng(1)
    values = [np.asarray(rng.normal(size=w.shape) * 0.5, "float32") for w in theirs.weights]
    theirs.set_weights(values)
    ours.set_weights(values)
    return ours, theirs


def assert_same_outputs(ours, theirs, *inputs, **kwargs):
    got, want = tree.flatten(ours(*inputs, **kwargs)), keras.tree.flatten(theirs(*inputs, **kwargs))
    assert len(got) == len(want)
    for y, z in zip(got, want):
        np.testing.assert_allclose(backends.to_numpy(y), np.asarray(z), **TOLERANCE)


def assert_same_structure(ours, theirs):
    """The same config, build config, and the same weights by path, shape and order."""
    assert _comparable(ours.get_config()) == _comparable(theirs.get_config())
    assert _comparable(ours.get_build_config()) == _comparable(theirs.get_build_config())
    assert len(ours.variables) == len(theirs.variables)
    for v, w in zip(ours.weights, theirs.weights):
        assert v.path.partition("/")[2] == w.path.partition("/")[2]
        assert (v.shape, v.trainable) == (tuple(w.shape), w.trainable)


def assert_comes_back(layer, *inputs, **kwargs):
    """A layer made from the config has the outputs of the first one."""
    again = type(layer).from_config(json.loads(json.dumps(layer.get_config())))
    again(*inputs, **kwargs)
    again.set_weights(layer.get_weights())
    for y, z in zip(tree.flatten(again(*inputs, **kwargs)), tree.flatten(layer(*inputs, **kwargs))):
        np.testing.assert_array_equal(backends.to_numpy(y), backends.to_numpy(z))


def _comparable(config):
    """The config as JSON, without the layer's own made-up name."""
    config = json.loads(json.dumps(config))
    return {k: v for k, v in (config or {}).items() if k != "name"}


def assert_right_derivatives(layer, *inputs, **kwargs):
    """The traced derivative by weights and inputs, on the session's backend, along a random direction.

    Central differences in float64 on numpy are the expected value; the layer must have dtype float64.
    """
    variables = [v for v in layer.weights if v.trainable]
    rng = np.random.default_rng(2)
    values = [np.asarray(rng.normal(size=v.shape)) * 0.5 for v in variables] + [
        np.asarray(x, "float64") for x in inputs
    ]
    direction = [rng.normal(size=v.shape) for v in values]

    def total(*given):
        with StatelessScope(list(zip(variables, given))):
            ys = tree.flatten(layer(*given[len(variables) :], **kwargs))
        return sum(
            (y * factors(y)).sum() if hasattr(y, "sum") else _sum(y * factors(y)) for y in ys
        )

    def traced(*given):
        y = total(*given)
        return [y, *gradient([y], [np.ones((), "float64")], list(given))]

    graph = trace(traced, [Spec(v.shape, "float64") for v in values])
    made = backends.current().compile(graph)(*[backends.to_array(v) for v in values])
    slope = sum((np.asarray(backends.to_numpy(g)) * d).sum() for g, d in zip(made[1:], direction))
    plain = backends.load("numpy").compile(graph)
    step = 1e-5
    ends = [plain(*[v + sign * step * d for v, d in zip(values, direction)])[0] for sign in (1, -1)]
    expected = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(slope, expected, rtol=2e-3 if backends.current().native else 1e-6)


def factors(y):
    return np.cos(np.arange(np.prod(y.shape)).reshape(y.shape))


def _sum(y):
    from oneiros import ops

    return ops.sum(y)


__all__ = [
    "Trace",
    "assert_comes_back",
    "assert_right_derivatives",
    "assert_same_outputs",
    "assert_same_structure",
    "pair",
]
