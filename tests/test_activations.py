"""Activations: values against Keras, look-up by name and config."""

import keras
import numpy as np
import pytest

from oneiros import KerasTensor, activations
from oneiros.core.backend import to_numpy

X = np.array([[-9.0, -1.5, -0.3, 0.0, 0.2, 1.0, 2.5, 7.0]], "float32")
CALLS = [
    *[(name, {}) for name in activations.TABLE if name not in ("threshold", "sparsemax")],
    ("threshold", dict(threshold=0.5, default_value=-1.0)),
    ("gelu", dict(approximate=True)),
    ("relu", dict(negative_slope=0.1, max_value=5.0, threshold=1.0)),
    ("relu", dict(threshold=1.0)),
    ("relu", dict(max_value=6)),
    ("relu", dict(max_value=2.0)),
    ("relu", dict(negative_slope=0.3)),
]


@pytest.mark.parametrize("name, kwargs", CALLS)
def test_values_are_keras(name, kwargs, backend):
    ours = to_numpy(getattr(activations, name)(X, **kwargs))
    theirs = getattr(keras.activations, name)(X, **kwargs)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name, kwargs", CALLS)
def test_shapes_of_symbols(name, kwargs):
    y = getattr(activations, name)(KerasTensor((None, 8)), **kwargs)
    assert tuple(y.shape) == (None, 4 if name == "glu" else 8)


@pytest.mark.parametrize("name", activations.TABLE)
def test_names_go_both_ways(name):
    found = activations.get(name)
    assert activations.serialize(found) == keras.activations.serialize(keras.activations.get(name))
    assert activations.deserialize(activations.serialize(found)) is found


def test_none_is_linear_and_callables_stay():
    assert activations.get(None) is activations.linear
    assert activations.get(len) is len


def test_custom_objects_are_found():
    def double(x):
        return 2 * x

    assert activations.deserialize("double", custom_objects={"double": double}) is double


@pytest.mark.parametrize("bad", ["no_such", 3, "", "identity"])
def test_unknown_is_refused(bad):
    with pytest.raises(ValueError, match="activation"):
        activations.get(bad)
