"""Layers around layers, and an embedding read both ways, against Keras."""

import keras
import numpy as np
import pytest

from oneiros import layers
from oneiros.core import backend as backends

from .against_keras import assert_comes_back, assert_same_structure, pair

X = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")


def test_spectral_normalization_trains_as_keras_does(backend):
    ours, theirs = pair(
        lambda k: k.SpectralNormalization(k.Dense(3, name="d"), power_iterations=2), X
    )
    assert_same_structure(ours, theirs)
    for _ in range(3):
        np.testing.assert_allclose(
            backends.to_numpy(ours(X, training=True)), theirs(X, training=True), rtol=1e-4
        )
    for v, w in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(v, w, rtol=1e-4, atol=1e-6)
    assert_comes_back(ours, X)


def test_a_layer_without_a_kernel_has_no_norm():
    with pytest.raises(ValueError, match="'flat' has neither a `kernel`"):
        layers.SpectralNormalization(layers.Flatten(name="flat"))(X)
    with pytest.raises(ValueError, match="must be above 0; got 0"):
        layers.SpectralNormalization(layers.Dense(2), power_iterations=0)


@pytest.mark.parametrize("tied", [True, False])
def test_an_embedding_is_read_back_as_in_keras(tied, backend):
    rows = np.array([[1, 2]])
    ours, theirs = pair(
        lambda k: k.ReversibleEmbedding(7, 4, tie_weights=tied, logit_soft_cap=2.0), rows
    )
    np.testing.assert_allclose(
        backends.to_numpy(ours(X, reverse=True)), theirs(X, reverse=True), rtol=1e-5
    )
    assert ours.compute_output_shape((2, 4), reverse=True) == (2, 7)


def test_a_layer_goes_into_a_config_and_back_by_name():
    config = layers.serialize(layers.LeakyReLU(alpha=0.2))
    assert config == keras.layers.serialize(keras.layers.LeakyReLU(0.2, name="leaky_re_lu")) | {
        "config": config["config"]
    }
    assert layers.deserialize(config).negative_slope == 0.2
