"""Steps trained by our own derivatives and by jax's give equal numbers, and the same on numpy."""

import numpy as np
import pytest

import oneiros
from oneiros import layers, ops
from oneiros.training import step as steps

rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(24, 8, 8, 3)).astype("float32")
ROWS = rng.normal(size=(24, 5)).astype("float32")
SERIES = rng.normal(size=(24, 6, 4)).astype("float32")
TOKENS = rng.integers(0, 9, (24, 6)).astype("int32")
LABELS = rng.integers(0, 3, 24).astype("int32")


def convolutional():
    return oneiros.Sequential(
        [
            layers.Conv2D(4, 3, padding="same", activation="relu", kernel_regularizer="l2"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(5, 2),
            layers.AveragePooling2D(2, strides=1),
            layers.Conv2DTranspose(3, 2, strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    ), IMAGES


def dense():
    return oneiros.Sequential(
        [
            layers.Dense(8, activation="gelu", activity_regularizer="l1"),
            layers.LayerNormalization(),
            layers.Dense(8, activation="silu", kernel_constraint="max_norm"),
            layers.Dense(3),
        ]
    ), ROWS


def masked():
    inputs = oneiros.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(inputs)
    x = layers.LSTM(5, return_sequences=True)(x)
    x = layers.GRU(4)(x)
    return oneiros.Model(inputs, layers.Dense(3)(x)), TOKENS


def attention():
    inputs = oneiros.Input((6, 4))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    x = layers.LayerNormalization()(layers.Add()([inputs, x]))
    x = layers.GlobalAveragePooling1D()(x)
    return oneiros.Model(inputs, layers.Dense(3)(x)), SERIES


def nested():
    inner = oneiros.Sequential([layers.Dense(4, activation="tanh"), layers.Dense(4)])
    inputs = oneiros.Input((5,))
    shared = layers.Dense(5)
    x = shared(shared(inputs))
    return oneiros.Model(
        inputs, layers.Dense(3)(layers.Multiply()([inner(x), inner(x) + 1.0]))
    ), ROWS


class Branching(oneiros.Layer):
    """A cond, a scan and a custom gradient in one layer."""

    def build(self, input_shape):
        self.w = self.add_weight((input_shape[-1], 4), name="w")

    def call(self, x):
        @ops.custom_gradient
        def halved(v):
            return v, lambda g: g * 0.5

        y = halved(ops.matmul(x, self.w))
        y = ops.cond(ops.mean(x) > 0, lambda: ops.sin(y), lambda: y * 2.0)
        carry, ys = ops.scan(lambda c, v: (c + v, halved(ops.tanh(c))), ops.zeros_like(y[0]), y)
        return y + ys + carry


def control():
    return oneiros.Sequential([Branching(), layers.Dense(3)]), ROWS


MODELS = [convolutional, dense, masked, attention, nested, control]


def train(make, backend, native=False, policy=None, optimizer="adam", epochs=3, monkeypatch=None):
    """The losses of a few epochs and the weights at their end."""
    oneiros.config.set_backend(backend)
    if native:
        monkeypatch.setattr(steps._Compiled, "_trace", _refuse)
    if policy:
        oneiros.config.set_dtype_policy(policy)
    try:
        oneiros.utils.set_random_seed(3)
        model, x = make()
        model.compile(
            optimizer=optimizer,
            loss=oneiros.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        weights = np.linspace(0.5, 1.5, len(x)).astype("float32")
        history = model.fit(
            x, LABELS, sample_weight=weights, batch_size=10, epochs=epochs, verbose=0
        )
        return history.history["loss"], [np.asarray(w, "float64") for w in model.get_weights()]
    finally:
        oneiros.config.set_dtype_policy("float32")
        oneiros.config.set_backend("numpy")
        if native:
            monkeypatch.undo()


def _refuse(self):
    raise TypeError("not to be traced")


@pytest.mark.parametrize("make", MODELS, ids=lambda f: f.__name__)
def test_own_derivatives_train_as_jax_does(make, monkeypatch):
    ours, weights = train(make, "jax")
    theirs, wanted = train(make, "jax", native=True, monkeypatch=monkeypatch)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for a, b in zip(weights, wanted):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("make", MODELS, ids=lambda f: f.__name__)
def test_numpy_trains_as_jax_does(make):
    ours, weights = train(make, "numpy")
    theirs, wanted = train(make, "jax")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    for a, b in zip(weights, wanted):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_both_ways(policy, monkeypatch):
    ours, _ = train(dense, "jax", policy=policy)
    theirs, _ = train(dense, "jax", native=True, policy=policy, monkeypatch=monkeypatch)
    full, _ = train(dense, "jax")
    np.testing.assert_allclose(ours, theirs, rtol=2e-2)
    np.testing.assert_allclose(ours, full, rtol=5e-2)


def test_a_layer_that_calls_jax_is_trained_by_jax():
    import jax.numpy as jnp

    class Direct(oneiros.Layer):
        def call(self, x):
            return jnp.tanh(x)

        def compute_output_shape(self, input_shape):
            return input_shape

    def make(direct):
        return lambda: (
            oneiros.Sequential(
                [
                    layers.Dense(4),
                    Direct() if direct else layers.Activation("tanh"),
                    layers.Dense(3),
                ]
            ),
            ROWS,
        )

    ours, _ = train(make(False), "jax")
    theirs, _ = train(make(True), "jax")
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_numpy_says_which_code_cannot_be_traced():
    class Branch(oneiros.Layer):
        def call(self, x):
            return x * 2 if ops.sum(x) > 0 else x

    model = oneiros.Sequential([oneiros.Input((5,)), layers.Dense(3)])
    inputs = oneiros.Input((5,))
    with pytest.raises(TypeError, match=r"ops\.cond"):
        oneiros.Model(inputs, Branch()(model(inputs)))
