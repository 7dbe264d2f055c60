"""Dtypes: names, kinds, and promotion as in Keras."""

import itertools

import keras
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneiros.core import config, dtypes

NAMES = sorted(dtypes.ALLOWED)
FORMS = [*NAMES, int, float, complex, bool, None, "int", "float", "int4", str]


@pytest.fixture(params=["float16", "bfloat16", "float32", "float64"])
def floatx(request):
    keras.config.set_floatx(request.param)
    config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx("float32")
    config.set_floatx("float32")


def outcome(function, *args):
    try:
        return function(*args)
    except ValueError:
        return ValueError


def test_every_pair_promotes_as_in_keras(floatx):
    for count in range(3):
        for given_dtypes in itertools.product(FORMS, repeat=count):
            expected = outcome(keras.backend.result_type, *given_dtypes)
            assert outcome(dtypes.result_type, *given_dtypes) == expected, given_dtypes


@given(st.lists(st.sampled_from(FORMS), min_size=3, max_size=6))
def test_any_number_of_dtypes_promotes_as_in_keras(given_dtypes):
    expected = outcome(keras.backend.result_type, *given_dtypes)
    assert outcome(dtypes.result_type, *given_dtypes) == expected


numbers = st.sampled_from([n for n in NAMES if n != "string" and n not in dtypes.FLOAT8])


@given(numbers, numbers)
def test_promotion_does_not_depend_on_order(a, b):
    assert dtypes.result_type(a, b) == dtypes.result_type(b, a)


def test_objects_with_a_dtype_promote_by_it():
    assert dtypes.result_type(np.zeros(2, "int8"), np.float16(1)) == "float16"


def test_arrays_are_not_held_in_the_cache():
    before = len(dtypes._results)
    dtypes.result_type(keras.KerasTensor((2,), "int8"), np.ones(3, "uint8"))
    assert len(dtypes._results) == before


@pytest.mark.parametrize(
    "given, expected",
    [
        (int, "int32"),
        ("int64", "int64"),
        (("int64", "int8"), "int64"),
        ("float64", "float64"),
        ("uint64", "uint32"),
        ("complex128", "complex64"),
    ],
)
def test_a_backend_keeps_the_wide_dtypes_that_it_names(given, expected, monkeypatch):
    from oneiros.core import backend

    before = config.backend()
    monkeypatch.setattr(backend.load("numpy"), "kept_wide", ("int64", "float64"), raising=False)
    config.set_backend("numpy")
    try:
        given = given if isinstance(given, tuple) else (given,)
        assert dtypes.result_type(*given) == expected
        assert dtypes.standardize_dtype(int) == "int64"
    finally:
        monkeypatch.undo()
        config.set_backend(before)


@pytest.mark.parametrize(
    "given",
    [
        *NAMES,
        *(None, int, float, bool, complex, str, "int", np.float32, np.dtype("int8"), np.bool_),
        *(ml_dtypes.bfloat16, np.dtype(ml_dtypes.float8_e5m2), "torch.float32", np.dtype("U3")),
        *("float", "half", "f4", "Float32", "foo", "", 3, 3.5, object, np.dtype("O"), np.longlong),
    ],
)
def test_a_dtype_has_the_name_that_keras_gives_it(given):
    expected = outcome(keras.backend.standardize_dtype, given)
    assert outcome(dtypes.standardize_dtype, given) == expected


def test_jax_dtypes_have_names():
    jnp = pytest.importorskip("jax.numpy")
    assert dtypes.standardize_dtype(jnp.bfloat16) == "bfloat16"
    assert dtypes.standardize_dtype(jnp.zeros(2).dtype) == "float32"


@pytest.mark.parametrize("given", ["foo", [1], {}, np.zeros(2), 7])
def test_what_is_no_dtype_is_an_error_that_shows_it(given):
    with pytest.raises(ValueError, match=r"`dtype` must be one of .*; got"):
        dtypes.standardize_dtype(given)


def test_float8_is_never_promoted():
    with pytest.raises(ValueError, match=r"float8.*'float8_e5m2', 'int8'"):
        dtypes.result_type("float8_e5m2", "int8")


@pytest.mark.parametrize("name", NAMES)
def test_each_dtype_is_of_one_kind(name):
    kinds = [
        dtypes.is_float(name),
        dtypes.is_integer(name),
        dtypes.is_complex(name),
        dtypes.is_bool(name),
        dtypes.is_string(name),
    ]
    assert sum(kinds) == 1
    assert kinds[0] == keras.backend.is_float_dtype(name)
    assert kinds[1] == keras.backend.is_int_dtype(name)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"string"}))
def test_numpy_dtypes_go_there_and_back(name):
    assert dtypes.standardize_dtype(dtypes.np_dtype(name)) == name
    assert dtypes.size_of(name) == np.zeros(1, dtypes.np_dtype(name)).nbytes


def test_strings_are_objects_in_numpy():
    assert dtypes.np_dtype("string") == np.dtype(object)


def test_none_follows_floatx(floatx):
    assert dtypes.standardize_dtype(None) == floatx
    assert dtypes.standardize_dtype(dtypes.np_dtype(None)) == floatx
