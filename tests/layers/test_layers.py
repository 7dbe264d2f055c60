"""Every layer against Keras: outputs, shapes, configs, weights; and our own derivatives against jax's."""

import keras
import numpy as np
import pytest

import oneiros
from oneiros import layers
from oneiros.core import backend as backends
from oneiros.core.autodiff import gradient
from oneiros.core.graph import trace
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Spec

from ..conftest import BACKENDS
from .cases import ROWS

TOLERANCE = dict(rtol=2e-5, atol=2e-5)


def data(row, batch=2):
    rng = np.random.default_rng(0)
    several = isinstance(row.inputs, list)
    made = []
    for shape in row.inputs if several else [row.inputs]:
        if row.integers:
            made.append(rng.integers(0, row.integers, (batch, *shape)).astype("int32"))
        else:
            made.append(rng.normal(size=(batch, *shape)).astype("float32"))
    return made if several else made[0]


def pair(row):
    """The layer here and in Keras, with the same weights, and inputs."""
    x = data(row)
    ours = getattr(layers, row.name)(**row.kwargs)
    theirs = getattr(keras.layers, row.name)(**row.kwargs)
    if row.kwargs.get("data_format") == "channels_first" and keras.backend.backend() == "numpy":
        theirs(x)
    else:
        theirs(x)
    ours(x)
    rng = np.random.default_rng(1)
    values = [np.abs(rng.normal(size=w.shape)).astype("float32") + 0.1 for w in theirs.weights]
    values = [
        v.astype(str(w.dtype)) if "int" in str(w.dtype) else v
        for v, w in zip(values, theirs.weights)
    ]
    theirs.set_weights(values)
    ours.set_weights(values)
    return ours, theirs, x


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_layer_gives_what_keras_gives(row, backend):
    ours, theirs, x = pair(row)
    kwargs = {"training": True} if row.training else {}
    got, want = ours(x, **kwargs), theirs(x, **kwargs)
    np.testing.assert_allclose(backends.to_numpy(got), np.asarray(want), **TOLERANCE)
    for v, w in zip(ours.weights, theirs.weights):
        assert (v.name, v.shape, v.trainable) == (w.name, tuple(w.shape), w.trainable)
        np.testing.assert_allclose(v.numpy(), np.asarray(w.value), **TOLERANCE)
    np.testing.assert_allclose(
        [float(v) for v in ours.losses], [float(v) for v in theirs.losses], rtol=1e-5
    )


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_config_equals_keras_and_makes_the_layer_again(row):
    ours = getattr(layers, row.name)(**row.kwargs, name="it")
    theirs = getattr(keras.layers, row.name)(**row.kwargs, name="it")
    config = ours.get_config()
    assert _plain(config) == _plain(theirs.get_config())
    again = type(ours).from_config(config)
    assert _plain(again.get_config()) == _plain(config)


def _plain(v):
    if isinstance(v, dict):
        return {k: _plain(w) for k, w in v.items()}
    if isinstance(v, (list, tuple, np.ndarray)):
        return [_plain(w) for w in v]
    return round(float(v), 6) if isinstance(v, float) else v


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_shape_is_known_before_data(row):
    several = isinstance(row.inputs, list)
    dtype = "int32" if row.integers else "float32"
    shapes = row.inputs if several else [row.inputs]
    ours = [oneiros.Input(s, dtype=dtype) for s in shapes]
    theirs = [keras.Input(s, dtype=dtype) for s in shapes]
    got = getattr(layers, row.name)(**row.kwargs)(ours if several else ours[0])
    want = getattr(keras.layers, row.name)(**row.kwargs)(theirs if several else theirs[0])
    assert got.shape == tuple(want.shape)
    assert got.dtype == want.dtype
    given = [(None, *s) for s in shapes]
    fresh = getattr(layers, row.name)(**row.kwargs)
    assert tuple(fresh.compute_output_shape(given if several else given[0])) == got.shape


@pytest.mark.parametrize("row", [r for r in ROWS if r.gradient], ids=str)
def test_own_derivative_equals_jax(row):
    import jax
    import jax.numpy as jnp

    before = oneiros.config.backend()
    oneiros.config.set_backend("jax")
    try:
        layer, _, x = pair(row)
        several = isinstance(x, list)
        xs = x if several else [x]
        variables = layer.trainable_variables
        rest = layer.non_trainable_variables
        kwargs = {"training": True} if row.training else {}

        def loss(*values):
            weights, inputs = values[: len(variables)], list(values[len(variables) :])
            pairs = [*zip(variables, weights), *[(v, v.numpy()) for v in rest]]
            with StatelessScope(pairs, collect_losses=True):
                y = layer(inputs if several else inputs[0], **kwargs)
                total = oneiros.ops.sum(oneiros.ops.sin(y * 1.3))
                for extra in layer.losses:
                    total = total + extra
            return total

        values = [v.numpy() for v in variables] + xs
        wrt = [i for i, v in enumerate(values) if v.dtype == np.float32]
        if not wrt:
            return

        def both(*symbols):
            y = loss(*symbols)
            return [y, *gradient([y], [np.float32(1)], [symbols[i] for i in wrt])]

        graph = trace(both, [Spec(v.shape, v.dtype.name) for v in values])
        want = jax.jit(jax.grad(loss, argnums=tuple(wrt)))(*map(jnp.asarray, values))
        for name in BACKENDS:
            got = backends.load(name).compile(graph)(*values)[1:]
            for g, w in zip(got, want):
                np.testing.assert_allclose(np.asarray(g), np.asarray(w), rtol=3e-4, atol=3e-5)
    finally:
        oneiros.config.set_backend(before)


def test_shapes_are_asked_for_by_keras_names():
    assert layers.Dense(3).compute_output_shape(input_shape=(None, 4)) == (None, 3)
    assert layers.Add().compute_output_shape([(2, 1), (2, 3)]) == (2, 3)

    class Sum(layers.Dense):
        def call(self, x, y):
            return super().call(x + y)

    assert Sum(2)(np.ones((4, 3), "float32"), np.ones((4, 3), "float32")).shape == (4, 2)
