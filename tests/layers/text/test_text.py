"""Lookups, text and features against Keras's."""

import json

import keras
import numpy as np
import pytest

import oneiros
from oneiros.core import backend as backends
from oneiros.core import tree
from tests.layers.text.cases import ROWS

np.seterr(over="ignore")


def made(library, row):
    layer = getattr(library.layers, row.name)(**row.kwargs)
    if row.adapt is not None:
        layer.adapt(row.adapt)
    return layer


def by_keras(layer, inputs):
    """What Keras's layer gives: its lookups are TensorFlow's, whatever its backend."""
    import tensorflow as tf

    tensors = isinstance(layer, (keras.layers.CategoryEncoding, keras.layers.Discretization))
    return plain(layer(inputs if tensors else tree.map_structure(tf.constant, inputs)))


def plain(x):
    x = np.asarray(x.numpy() if hasattr(x, "numpy") else x)
    if x.dtype.kind == "O":
        return np.array([v.decode() for v in x.ravel()]).reshape(x.shape)
    return np.char.decode(x) if x.dtype.kind == "S" else x


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_outputs_are_those_of_keras(row, backend, turn):
    if not turn(row):
        return
    ours, theirs = made(oneiros, row), made(keras, row)
    got, want = ours(row.inputs), by_keras(theirs, row.inputs)
    got = plain(backends.to_numpy(got))
    assert got.shape == want.shape
    if want.dtype.kind == "U":
        assert got.tolist() == want.tolist()
        return
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got.dtype.kind == want.dtype.kind


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_vocabularies_and_configs_are_those_of_keras(row):
    ours, theirs = made(oneiros, row), made(keras, row)
    if hasattr(theirs, "get_vocabulary"):
        for special in (True, False):
            assert ours.get_vocabulary(special) == theirs.get_vocabulary(special)
        assert ours.vocabulary_size() == theirs.vocabulary_size()
    assert drop(ours.get_config()) == drop(theirs.get_config())
    again = type(ours).from_config(json.loads(json.dumps(ours.get_config())))
    assert drop(again.get_config()) == drop(ours.get_config())


def drop(config):
    """The config as JSON holds it, without the made-up name, boundaries rounded."""
    config = {k: v for k, v in json.loads(json.dumps(config, default=str)).items() if k != "name"}
    if config.get("bin_boundaries"):
        config["bin_boundaries"] = [round(v, 5) for v in config["bin_boundaries"]]
    return config


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_symbols_have_the_shapes_of_values(row):
    several = isinstance(row.inputs, tuple)
    arrays = [np.asarray(x) for x in (row.inputs if several else [row.inputs])]
    if any(x.ndim == 0 for x in arrays):
        return
    dtypes = ["string" if x.dtype.kind in "US" else str(x.dtype) for x in arrays]
    symbols = [oneiros.Input(x.shape[1:], dtype=d) for x, d in zip(arrays, dtypes)]
    layer = made(oneiros, row)
    y, value = layer(symbols if several else symbols[0]), layer(row.inputs)
    assert len(y.shape) == len(value.shape)
    assert all(n in (None, m) for n, m in zip(y.shape, value.shape)), (y.shape, value.shape)
    if value.dtype.kind != "U":
        assert y.dtype == str(value.dtype)
