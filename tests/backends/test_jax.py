"""What is JAX's own: its transformations over models, by the user."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oneiros import Input, Sequential, config, layers


@pytest.fixture
def model():
    before = config.backend()
    config.set_backend("jax")
    made = Sequential(
        [Input((3,)), layers.Dense(4, "tanh"), layers.BatchNormalization(), layers.Dense(2)]
    )
    made.set_weights(
        [np.random.default_rng(i).uniform(0.5, 1, v.shape) for i, v in enumerate(made.weights)]
    )
    yield made
    config.set_backend(before)


X = np.random.default_rng(9).normal(size=(5, 3)).astype("float32")


def state(model):
    return [
        [v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)
    ]


def test_jit_of_a_derivative_is_the_slope(model):
    trainable, others = state(model)

    def loss(trainable):
        outputs, new = model.stateless_call(trainable, others, X, training=True)
        return jnp.mean(outputs**2), new

    (_, new), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(trainable)
    assert len(new) == len(others) and not np.allclose(new[0], others[0])
    step = 1e-2
    for i, slope in enumerate(slopes):
        along = jnp.ones_like(slope)
        high, low = (
            [*trainable[:i], trainable[i] + s * along, *trainable[i + 1 :]] for s in (step, -step)
        )
        numeric = (loss(high)[0] - loss(low)[0]) / (2 * step)
        np.testing.assert_allclose(jnp.sum(slope), numeric, rtol=2e-2, atol=2e-3)


def test_vmap_over_samples_is_the_batch(model):
    trainable, others = state(model)
    one = lambda x: model.stateless_call(trainable, others, x[None])[0][0]
    np.testing.assert_allclose(jax.vmap(one)(X), model.predict(X, verbose=0), rtol=1e-5)


def test_second_derivatives_follow(model):
    (kernel, *rest), others = state(model)
    total = lambda k: model.stateless_call([k, *rest], others, X)[0].sum()
    second = jax.hessian(total)(kernel)
    assert second.shape == (3, 4, 3, 4)
    np.testing.assert_allclose(second, second.transpose(2, 3, 0, 1), rtol=1e-4, atol=1e-5)
