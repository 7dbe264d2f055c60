"""Dtype policies: names, dtypes, configs, the session's policy, maps."""

import keras
import numpy as np
import pytest

from oneiros import config, dtype_policies
from oneiros.core.spec import dtype_name
from oneiros.dtype_policies import DTypePolicy, DTypePolicyMap, QuantizedDTypePolicy

NAMES = [
    *("float32", "float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"),
    *("bool", "uint8", "complex64", "string"),
    *("int8_from_float32", "int4_from_mixed_bfloat16", "float8_from_bfloat16"),
    *("gptq/4/128_from_float32", "awq/4/-1_from_float32", "int4/64_from_mixed_float16"),
]
WRONG = [
    *("mixed_float32", "mixed_foo", "foo", "", "int8", "int8_from_foo", "foo_from_float32"),
    *("int8_from_mixed_float16", "int8_from_float32_from_float32", "float8_e4m3fn"),
    *("gptq/4_from_float32", "gptq/9/128_from_float32", "gptq/4/0_from_float32"),
    *("gptq/a/b_from_float32", "awq/3/128_from_float32", "int4/0_from_float32"),
    *("int4/None_from_float32", 3, 3.5, [], {}),
]


@pytest.fixture(autouse=True)
def restored():
    yield
    dtype_policies.set_dtype_policy("float32")
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("name", [*NAMES, None, int, np.float32, np.dtype("int16")])
def test_a_policy_is_keras(name):
    ours, theirs = dtype_policies.get(name), keras.dtype_policies.get(name)
    for part in ("name", "compute_dtype", "variable_dtype", "quantization_mode"):
        assert getattr(ours, part) == getattr(theirs, part)
    assert repr(ours) == repr(theirs)
    assert ours.get_config() == theirs.get_config()
    assert dtype_policies.serialize(ours) == keras.dtype_policies.serialize(theirs)


@pytest.mark.parametrize("name", WRONG, ids=str)
def test_what_is_no_policy_is_an_error(name):
    with pytest.raises(ValueError):
        keras.dtype_policies.get(name)
    with pytest.raises(ValueError):
        dtype_policies.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_comes_back_from_its_config(name):
    policy = dtype_policies.get(name)
    assert dtype_policies.deserialize(dtype_policies.serialize(policy)) == policy
    assert dtype_policies.get(dtype_policies.serialize(policy)) == policy
    assert dtype_policies.get(policy) is policy


def test_policies_are_equal_by_class_and_config():
    assert DTypePolicy("float32") == DTypePolicy("float32") != DTypePolicy("float16")
    assert DTypePolicy("float32") != "float32"
    assert QuantizedDTypePolicy("int8", "float32") != DTypePolicy("float32")
    assert len({DTypePolicy("float32"), DTypePolicy("float32")}) == 1


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: DTypePolicy(3), TypeError, "`name` must be a string.*got 3"),
        (lambda: DTypePolicy("foo"), ValueError, "must be a dtype, 'mixed_float16'.*got 'foo'"),
        (lambda: QuantizedDTypePolicy("int2"), ValueError, "`mode` must be one of int8.*'int2'"),
        (lambda: QuantizedDTypePolicy("int8", "float16"), ValueError, "overflows in float16"),
        (
            lambda: dtype_policies.GPTQDTypePolicy("gptq"),
            ValueError,
            "form 'gptq/<weight_bits>/<group_size>'; got 'gptq'",
        ),
        (lambda: dtype_policies.AWQDTypePolicy(None), ValueError, "form 'awq/.*got None"),
        (
            lambda: dtype_policies.QuantizedFloat8DTypePolicy("float8", None, 2.5),
            TypeError,
            "`amax_history_length` must be a whole number; got 2.5",
        ),
        (lambda: dtype_policies.get(3), ValueError, "`dtype` must be a dtype, a policy.*got 3"),
    ],
)
def test_an_error_names_the_argument_and_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()


# The session's policy ----------------------------------------------------------------------------


def test_the_session_s_policy_is_what_policies_without_a_name_become():
    config.set_dtype_policy("mixed_bfloat16")
    assert config.dtype_policy() == DTypePolicy() == DTypePolicy("mixed_bfloat16")
    assert QuantizedDTypePolicy("int8").name == "int8_from_mixed_bfloat16"


def test_a_quantized_session_policy_stands_on_its_source():
    config.set_dtype_policy("int8_from_mixed_bfloat16")
    assert config.dtype_policy().quantization_mode == "int8"
    assert DTypePolicy().name == "mixed_bfloat16"


def test_unset_it_follows_floatx(monkeypatch):
    monkeypatch.setattr(dtype_policies, "_session", None)
    config.set_floatx("float16")
    try:
        assert dtype_policies.dtype_policy().name == "float16"
    finally:
        config.set_floatx("float32")


@pytest.mark.parametrize("policy", [None, 3, {}, np.float32])
def test_only_a_policy_or_its_name_can_be_set(policy):
    with pytest.raises(ValueError, match="`policy` must be a policy or the name of one; got"):
        config.set_dtype_policy(policy)


def test_mixed_precision_has_the_older_names():
    from oneiros import mixed_precision

    mixed_precision.set_global_policy("mixed_float16")
    assert mixed_precision.global_policy() == mixed_precision.Policy("mixed_float16")


# Inputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32", "bool"])
def test_floating_inputs_are_cast(backend, autocast, dtype):
    from oneiros.core.backend import to_array

    x = to_array(np.ones(2, dtype))
    given = dtype_name(x.dtype)
    result = DTypePolicy("mixed_float16").convert_input(x, autocast, "float16")
    cast = autocast and given.startswith("float")
    assert dtype_name(result.dtype) == ("float16" if cast else given)
    assert cast or result is x


def test_host_arrays_become_the_backend_s(backend):
    from oneiros.core.backend import to_array

    result = DTypePolicy("float32").convert_input(np.ones(2), True, "float32")
    assert type(result) is type(to_array(np.ones(2, "float32")))
    assert dtype_name(result.dtype) == "float32"


@pytest.mark.parametrize("x", [1.0, True, "text", b"b", None, [1.0], np.array(["a"])], ids=repr)
def test_what_is_no_array_of_numbers_stays(x):
    assert DTypePolicy("float32").convert_input(x, True, "float16") is x


def test_symbols_are_cast():
    from oneiros.core.symbol import Symbol

    x = Symbol((None, 2))
    policy = DTypePolicy("float16")
    assert policy.convert_input(x, False, "float16") is x
    cast = policy.convert_input(x, True, "float16")
    assert (cast.shape, cast.dtype) == ((None, 2), "float16")


# Maps --------------------------------------------------------------------------------------------

MAP = {"block/.*": "float16", "a": "mixed_bfloat16", "q": "int8_from_float32"}


def maps():
    yield DTypePolicyMap("bfloat16", MAP)
    given = {path: keras.dtype_policies.get(policy) for path, policy in MAP.items()}
    yield keras.dtype_policies.DTypePolicyMap("bfloat16", given)


@pytest.mark.parametrize("path", ["block/a", "block/", "x/block/a", "a", "aa", "a/b", "q", ""])
def test_a_path_has_the_policy_that_keras_gives_it(path):
    ours, theirs = maps()
    assert ours[path].name == theirs[path].name


def test_a_map_is_keras():
    ours, theirs = maps()
    for part in ("name", "compute_dtype", "variable_dtype", "quantization_mode"):
        assert getattr(ours, part) == getattr(theirs, part)
    assert ours.get_config() == theirs.get_config()
    assert list(ours) == list(theirs) and len(ours) == len(theirs)


def test_a_map_comes_back_from_its_config():
    ours, _ = maps()
    assert dtype_policies.deserialize(dtype_policies.serialize(ours)) == ours
    assert DTypePolicyMap.from_config(ours.get_config()) == ours


def test_a_map_without_a_default_leaves_the_source_to_the_reader():
    written = DTypePolicyMap(policy_map={"q": "int8_from_float32"}).get_config()
    assert written["default_policy"] is None
    assert written["policy_map"]["q"]["config"] == {"mode": "int8", "source_name": None}
    config.set_dtype_policy("mixed_bfloat16")
    assert DTypePolicyMap.from_config(written)["q"].name == "int8_from_mixed_bfloat16"


def test_an_empty_map_can_be_the_session_s_policy():
    config.set_dtype_policy(DTypePolicyMap())
    assert isinstance(config.dtype_policy(), DTypePolicyMap)
    assert config.dtype_policy().compute_dtype == "float32"


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: DTypePolicyMap(policy_map=3), TypeError, "`policy_map` must be a dict; got 3"),
        (lambda: DTypePolicyMap(3), ValueError, "got 3"),
        (lambda: DTypePolicyMap().__setitem__("a", 3), ValueError, "got 3"),
        (lambda: next(maps()).__setitem__("a", "float32"), ValueError, "'a' has a policy already"),
        (
            lambda: DTypePolicyMap(policy_map={"a.*": "float32", ".*b": "float16"})["ab"],
            ValueError,
            "'ab' must match one key; it matches",
        ),
    ],
)
def test_an_error_of_a_map_says_what_was_given(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_policy_can_be_taken_out_of_a_map():
    ours, _ = maps()
    del ours["a"]
    assert "a" not in ours and ours["a"] == ours.default_policy
