"""Pairs of a layer here and in Keras with the same weights, and derivatives against JAX's."""

import json

import keras
import numpy as np

import oneiros
from oneiros import config, layers, ops
from oneiros.core import backend as backends
from oneiros.core import tree
from oneiros.core.autodiff import gradient
from oneiros.core.graph import trace
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Spec

TOLERANCE = dict(rtol=2e-5, atol=2e-5)


def pair(make, *inputs, **kwargs):
    """What `make(layers)` gives for our layers and for Keras's, called once, with equal random weights."""
    for library in (oneiros, keras):
        library.utils.clear_session(free_memory=False)  # names are numbered from the start
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
    """The traced derivative by weights and inputs, on the session's backend, is JAX's own."""
    variables = [v for v in layer.weights if v.trainable]
    rng = np.random.default_rng(2)
    values = [np.asarray(rng.normal(size=v.shape) * 0.5, "float32") for v in variables] + list(
        inputs
    )

    def total(*given):
        with StatelessScope(list(zip(variables, given))):
            ys = tree.flatten(layer(*given[len(variables) :], **kwargs))
        return sum(
            ops.sum(y * np.cos(np.arange(np.prod(y.shape), dtype="float32")).reshape(y.shape))
            for y in ys
        )

    def traced(*given):
        return gradient([total(*given)], [np.ones((), "float32")], list(given))

    graph = trace(traced, [Spec(v.shape, "float32") for v in values])
    made = backends.current().compile(graph)(*[backends.to_array(v) for v in values])
    expected = _by_jax(total, values)
    for got, want in zip(made, expected):
        np.testing.assert_allclose(backends.to_numpy(got), np.asarray(want), rtol=2e-4, atol=2e-5)


def _by_jax(function, values):
    import jax

    before = config.backend()
    config.set_backend("jax")
    try:
        slopes = jax.jit(jax.grad(function, argnums=tuple(range(len(values)))))
        return slopes(*map(jax.numpy.asarray, values))
    finally:
        config.set_backend(before)
