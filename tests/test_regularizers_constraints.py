"""Regularizers and constraints: values as Keras's, configs, lookups, errors."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oneiros import constraints, regularizers
from oneiros.core.backend import to_array, to_numpy

REGULARIZERS = [
    ("L1", {}),
    ("L1", {"l1": 0.3}),
    ("L2", {}),
    ("L2", {"l2": 0.3}),
    ("L1L2", {"l1": 0.1, "l2": 0.2}),
    ("L1L2", {"l2": 0.2}),
    ("OrthogonalRegularizer", {}),
    ("OrthogonalRegularizer", {"factor": 0.5, "mode": "columns"}),
]
CONSTRAINTS = [
    ("MaxNorm", {}),
    ("MaxNorm", {"max_value": 0.5, "axis": 1}),
    ("MinMaxNorm", {"min_value": 0.2, "max_value": 0.5, "rate": 0.5}),
    ("MinMaxNorm", {"min_value": 2.0, "max_value": 3.0, "axis": [0, 1]}),
    ("NonNeg", {}),
    ("UnitNorm", {}),
    ("UnitNorm", {"axis": [0, 1]}),
]
weights = hnp.arrays(
    "float32",
    st.tuples(st.integers(2, 4), st.integers(2, 4)),
    elements=st.floats(-4, 4, width=32).filter(lambda n: n == 0 or abs(n) > 1e-3),
)


def keras_penalty(name, config, x):
    if config.get("mode") == "columns":  # given a NumPy array, Keras divides by the rows' norms
        config, x = {**config, "mode": "rows"}, x.T
    return getattr(keras.regularizers, name)(**config)(x)


def applied(part, x):
    return to_numpy(part(to_array(x)))


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, config", REGULARIZERS)
@given(x=weights)
def test_a_penalty_is_keras(name, config, x):
    expected = keras_penalty(name, config, x)
    ours = applied(getattr(regularizers, name)(**config), x)
    assert ours.shape == () and ours.dtype == "float32"
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name, config", CONSTRAINTS)
@given(x=weights)
def test_a_constrained_weight_is_keras(name, config, x):
    expected = getattr(keras.constraints, name)(**config)(x)
    ours = applied(getattr(constraints, name)(**config), x)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name, config", REGULARIZERS)
def test_penalties_are_the_same_on_every_backend(backend, name, config):
    x = np.array([[1.0, -2.0], [3.0, 0.5]], "float32")
    expected = keras_penalty(name, config, x)
    np.testing.assert_allclose(
        applied(getattr(regularizers, name)(**config), x), expected, rtol=1e-5
    )


@given(weights)
def test_norms_are_within_the_bounds(x):
    result = applied(constraints.MaxNorm(1.0), x)
    assert np.linalg.norm(result, axis=0).max() <= 1.0 + 1e-5


@given(weights)
def test_what_is_allowed_stays(x):
    np.testing.assert_allclose(applied(constraints.MaxNorm(100.0), x), x, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(applied(constraints.NonNeg(), np.abs(x)), np.abs(x))


def test_a_single_row_is_orthogonal_to_nothing():
    assert applied(regularizers.OrthogonalRegularizer(), np.ones((1, 3), "float32")) == 0


def test_the_bases_change_nothing():
    assert regularizers.Regularizer()(np.ones(2)) == 0
    x = np.ones(2)
    assert constraints.Constraint()(x) is x


# Configs and lookups -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "room, name, config",
    [("regularizers", *row) for row in REGULARIZERS]
    + [("constraints", *row) for row in CONSTRAINTS],
)
def test_the_config_is_keras_and_gives_the_part_back(room, name, config):
    ours, theirs = {"regularizers": regularizers, "constraints": constraints}[room], keras
    part = getattr(ours, name)(**config)
    expected = getattr(getattr(theirs, room), name)(**config).get_config()
    assert set(part.get_config()) == set(expected)
    for key, value in expected.items():
        got = part.get_config()[key]
        # Keras rounds some factors to float32
        assert got == value or got == pytest.approx(value, rel=1e-6)
    for again in (
        ours.deserialize(ours.serialize(part)),
        ours.get({"class_name": name, "config": part.get_config()}),
        getattr(theirs, room).deserialize(ours.serialize(part)),
    ):
        assert type(again).__name__ == name
        assert set(again.get_config()) == set(expected)


@pytest.mark.parametrize("name", ["l1", "L1", "l2", "l1l2", "L1L2", "orthogonal_regularizer"])
def test_regularizers_have_keras_names(name):
    expected = type(keras.regularizers.get(name)).__name__
    assert type(regularizers.get(name)).__name__ == expected


@pytest.mark.parametrize("name", ["max_norm", "MaxNorm", "non_neg", "unit_norm", "min_max_norm"])
def test_constraints_have_keras_names(name):
    assert type(constraints.get(name)).__name__ == type(keras.constraints.get(name)).__name__


@pytest.mark.parametrize("room", [regularizers, constraints])
def test_what_needs_no_lookup_comes_back(room):
    assert room.get(None) is None
    assert room.get(len) is len


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a", -1, float("nan"), float("inf"), [1]])
@pytest.mark.parametrize("name, argument", [("L1", "l1"), ("L2", "l2"), ("L1L2", "l1")])
def test_a_factor_must_be_a_finite_number_from_0(name, argument, value):
    with pytest.raises(ValueError, match=f"{name}: `{argument}` must be a finite number from 0"):
        getattr(regularizers, name)(**{argument: value})


@pytest.mark.parametrize("name", ["L1", "L2", "L1L2"])
def test_none_stands_for_the_default_factor(name):
    make = getattr(regularizers, name)
    assert make(None).get_config() == make().get_config()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: regularizers.get("l3"), "no regularizer called 'l3'"),
        (lambda: regularizers.get(3), "`regularizer` must be a name.*got 3"),
        (lambda: constraints.get("norm"), "no constraint called 'norm'; close names"),
        (lambda: regularizers.OrthogonalRegularizer(mode="x"), "`mode` must be one of.*got 'x'"),
        (
            lambda: regularizers.OrthogonalRegularizer()(np.zeros(3, "float32")),
            r"`x` must have two axes; got \(3,\)",
        ),
        (lambda: constraints.MaxNorm("a"), "MaxNorm: `max_value` must be a finite number; got 'a'"),
        (lambda: constraints.MinMaxNorm(rate=None), "MinMaxNorm: `rate`.*got None"),
    ],
)
def test_an_error_names_the_argument_and_what_was_given(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("name, config", CONSTRAINTS)
def test_a_list_is_constrained_as_an_array(backend, name, config):
    part = getattr(constraints, name)(**config)
    x = [[1.0, -2.0], [3.0, 0.5]]
    np.testing.assert_array_equal(to_numpy(part(x)), applied(part, np.array(x, "float32")))
