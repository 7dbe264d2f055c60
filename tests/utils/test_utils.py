"""Helpers do what Keras's do."""

import copy
import pickle
import random
import warnings

import numpy as np
import pytest

import oneiros
from oneiros import utils


@pytest.fixture(scope="module")
def keras():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras")


LABELS = [[0, 1, 2], [[0], [2]], np.array([[0, 1], [1, 0]]), [0.0, 1.0], [5]]


@pytest.mark.parametrize("x", LABELS, ids=str)
@pytest.mark.parametrize("classes", [None, 6])
def test_one_hot_rows_are_those_of_keras(x, classes, keras):
    ours, theirs = utils.to_categorical(x, classes), keras.utils.to_categorical(x, classes)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.dtype == np.float64


def test_one_hot_rows_of_a_backends_array(backend):
    x = oneiros.ops.convert_to_tensor([[0], [2]])
    np.testing.assert_array_equal(np.asarray(utils.to_categorical(x)), [[1, 0, 0], [0, 0, 1]])


NORMS = [
    ([[3.0, 4.0], [0.0, 0.0]], -1, 2),
    ([3.0, 4.0], -1, 2),
    ([[3, 4], [1, 1]], 0, 1),
    (np.ones((2, 3, 4)), 1, 3),
]


@pytest.mark.parametrize("x, axis, order", NORMS)
def test_rows_are_normalized_as_in_keras(x, axis, order, keras):
    with np.errstate(all="ignore"):
        theirs = keras.utils.normalize(x, axis, order)
    np.testing.assert_allclose(utils.normalize(x, axis, order), theirs, rtol=1e-6)


def test_the_infinite_norm_is_the_largest_size():
    np.testing.assert_allclose(utils.normalize([[3.0, -4.0]], order=np.inf), [[0.75, -1.0]])


def test_a_backends_arrays_are_normalized(backend):
    made = utils.normalize(oneiros.ops.convert_to_tensor([[3.0, 4.0]]))
    np.testing.assert_allclose(np.asarray(made), [[0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize("order", [0, "a", 1.5])
def test_an_order_that_is_none_is_an_error(order):
    with pytest.raises(ValueError, match="`order`"):
        utils.normalize([3.0], order=order)


def test_a_seed_repeats_everything():
    def draw():
        utils.set_random_seed(7)
        weights = oneiros.layers.Dense(2)
        weights.build((None, 3))
        return random.random(), np.random.rand(), weights.get_weights()[0].tolist()

    assert draw() == draw()
    with pytest.raises(ValueError, match="'a'"):
        utils.set_random_seed("a")


def test_clearing_the_session_numbers_names_anew():
    utils.clear_session()
    first = oneiros.layers.Dense(2).name
    oneiros.layers.Dense(2)
    utils.clear_session()
    assert oneiros.layers.Dense(2).name == first == "dense"


def test_symbols_are_known_from_arrays():
    x = oneiros.Input((3,))
    assert utils.is_keras_tensor(x) and not utils.is_keras_tensor(np.zeros(3))


def test_the_inputs_of_a_symbol():
    x, y = oneiros.Input((3,)), oneiros.Input((3,))
    z = oneiros.layers.Dense(2)(x) * oneiros.layers.Dense(2)(y + x)
    found = utils.get_source_inputs(z)
    assert len(found) == 2 and {id(v) for v in found} == {id(x), id(y)}
    assert utils.get_source_inputs(3) == 3


def test_a_config_is_a_dict_with_attributes(keras):
    made = []
    for library in (keras.utils, utils):
        config = library.Config(a=1, b=[2])
        config.c = 3
        config["d"] = 4
        made.append((config.as_dict(), config.to_json(), repr(config), list(config), len(config)))
        assert config.pop("c") == 3 and config.get("c", 9) == 9 and config.d == 4
    assert made[0] == made[1]


def test_a_frozen_config_refuses_changes():
    config = utils.Config(a=1)
    config.freeze()
    assert config.frozen
    for change in (
        lambda: setattr(config, "a", 2),
        lambda: config.update(a=2),
        lambda: config.pop("a"),
        lambda: delattr(config, "a"),
    ):
        with pytest.raises(ValueError, match="frozen"):
            change()
    config.unfreeze()
    config.a = 2
    assert config.a == 2
    with pytest.raises(AttributeError, match="'z'"):
        config.z


def test_a_config_can_be_copied_and_pickled():
    config = utils.Config(a=1)
    assert copy.deepcopy(config).a == pickle.loads(pickle.dumps(config)).a == 1


@pytest.mark.parametrize("name", utils.__all__)
def test_every_name_is_there(name):
    assert getattr(utils, name) is not None and name in dir(utils)


def test_a_name_that_is_not_there_is_an_error():
    with pytest.raises(AttributeError, match="nope"):
        utils.nope
