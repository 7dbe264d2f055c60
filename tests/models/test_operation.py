"""What a layer in a graph knows of its calls."""

import pytest

import oneiros
from oneiros import layers


def test_the_first_of_several_calls_gives_input_and_output():
    dense, x, y = layers.Dense(2, name="d"), oneiros.Input((3,)), oneiros.Input((3,))
    with pytest.raises(AttributeError, match="Dense 'd' was never called"):
        dense.output
    first, _ = dense(x), dense(y)
    assert dense.input is x and dense.output is first


def test_a_sequence_that_grew_and_shrank_still_has_inputs():
    model = oneiros.Sequential([oneiros.Input((4,)), layers.Dense(2)])
    model.add(layers.Dense(1))
    model.pop()
    assert model.layers[0].output.shape == (None, 2)
