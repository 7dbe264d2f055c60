"""Initializers: statistics as Keras's, the same values everywhere, configs, errors."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneiros import initializers
from oneiros.core import seeding

RANDOM = [
    *("RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Orthogonal"),
    *("GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"),
]
EVERY = [*RANDOM, "Constant", "Identity", "Ones", "STFT", "Zeros"]
SHAPES = {"STFT": (6, 1, 4), "Identity": (4, 3)}
CONFIGS = [
    ("RandomNormal", {"mean": 1.0, "stddev": 2.0}),
    ("RandomUniform", {"minval": -3.0, "maxval": 1.0}),
    ("TruncatedNormal", {"mean": 1.0, "stddev": 2.0}),
    ("Orthogonal", {"gain": 2.0}),
    *(
        ("VarianceScaling", {"scale": 2.0, "mode": mode, "distribution": distribution})
        for mode in ("fan_in", "fan_out", "fan_avg")
        for distribution in ("truncated_normal", "untruncated_normal", "uniform")
    ),
    ("VarianceScaling", {"input_axes": (1,), "output_axes": (0, 1), "mode": "fan_out"}),
    *((name, {}) for name in RANDOM),
]


def made(name, **config):
    return getattr(initializers, name)(**config)


def theirs(name, **config):
    return getattr(keras.initializers, name)(**config)


# Values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name, config", CONFIGS)
@pytest.mark.parametrize("shape", [(120, 90), (3, 3, 40, 30)], ids=str)
def test_values_are_distributed_as_in_keras(name, config, shape):
    ours = made(name, **config, seed=3).host(shape)
    expected = np.asarray(theirs(name, **config, seed=3)(shape))
    spread = float(expected.std())
    np.testing.assert_allclose(ours.mean(), expected.mean(), atol=0.05 * spread)
    np.testing.assert_allclose(ours.std(), spread, rtol=0.03)
    np.testing.assert_allclose(abs(ours).max(), abs(expected).max(), rtol=0.25)
    quartiles = [np.percentile(x, [25, 75]) for x in (ours, expected)]
    np.testing.assert_allclose(*quartiles, atol=0.05 * spread)


@pytest.mark.parametrize("name", sorted({*RANDOM} - {"Orthogonal"}))
def test_no_test_tells_the_distribution_from_keras_s(name):
    from scipy.stats import ks_2samp

    shape = (64, 3, 80) if name == "VarianceScaling" else (160, 96)
    samples = [np.ravel(f(name, seed=11)(shape)) for f in (made, theirs)]
    assert ks_2samp(*samples).pvalue > 1e-3


@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 6, 4), (7, 2, 3)], ids=str)
def test_orthogonal_kernels_of_convolutions(shape):
    """The axes before the last are one, as in Keras."""
    for f in (made, theirs):
        q = np.asarray(f("Orthogonal", seed=2)(shape)).reshape(-1, shape[-1])
        product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-5)


@pytest.mark.parametrize("shape", [(), (7,), (5, 4), (3, 5, 4), (2, 3, 5, 4)], ids=str)
def test_the_variance_follows_the_fans(shape):
    window = math.prod(shape[:-2])
    fan_in = window * shape[-2] if len(shape) > 1 else math.prod(shape)
    limit = math.sqrt(3 * 3.0 / fan_in)
    draws = [
        initializers.VarianceScaling(3.0, seed=seed, distribution="uniform").host(shape)
        for seed in range(50)
    ]
    assert 0.9 * limit < np.abs(draws).max() <= limit * (1 + 1e-6)


@given(st.integers(0, 10**6), st.floats(0.1, 10.0))
def test_truncated_values_stay_within_two_deviations(seed, stddev):
    values = made("TruncatedNormal", stddev=stddev, seed=seed).host((1000,))
    assert np.abs(values).max() <= 2 * stddev * (1 + 1e-6)


def test_a_truncated_normal_has_the_right_deviation_over_many_chunks():
    values = made("TruncatedNormal", stddev=1.0, seed=0).host((5 * initializers.CHUNK + 7,))
    assert values.std() == pytest.approx(initializers.TRUNCATED_STDDEV, rel=2e-3)
    np.testing.assert_allclose(initializers.TRUNCATED_STDDEV, 0.87962566103423978)


def test_chunks_are_independent():
    values = made("RandomNormal", seed=0).host((2, initializers.CHUNK))
    assert abs(np.corrcoef(values)[0, 1]) < 0.01
    assert not np.array_equal(values[0], values[1])


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 99))
def test_orthogonal_rows_or_columns(rows, columns, seed):
    q = made("Orthogonal", gain=2.0, seed=seed).host((rows, columns), "float64") / 2.0
    product = q @ q.T if rows <= columns else q.T @ q
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-10)


@pytest.mark.parametrize(
    "config",
    [
        *({}, {"side": "imag"}, {"scaling": "spectrum"}, {"scaling": None}),
        *({"periodic": True}, {"window": None}, {"window": np.arange(6.0)}),
        *({"window": name} for name in ("hamming", "blackman", "boxcar", "tukey")),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(6, 1, 3), (6, 2, 5), (6, 1, 9)], ids=str)
def test_stft_kernels_are_keras(config, shape):
    expected = np.asarray(theirs("STFT", **config)(shape))
    np.testing.assert_allclose(made("STFT", **config).host(shape), expected, atol=2e-6)


@pytest.mark.parametrize(
    "name, config, shape",
    [
        ("Zeros", {}, (2, 3)),
        ("Ones", {}, ()),
        ("Constant", {"value": 2.5}, (2, 3)),
        ("Constant", {"value": [1.0, 2.0]}, (3, 2)),
        ("Identity", {"gain": 3.0}, (2, 4)),
        ("Identity", {}, (4, 2)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int32"])
def test_constants_are_keras(name, config, shape, dtype):
    expected = np.asarray(theirs(name, **config)(shape, dtype))
    ours = made(name, **config).host(shape, dtype)
    assert ours.dtype == dtype
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    "dtype", ["float16", "bfloat16", "float64", "int32", "bool", "complex64", "float8_e4m3fn"]
)
def test_values_have_the_dtype_asked_for(name, dtype):
    shape = SHAPES.get(name, (4, 3))
    values = made(name).host(shape, dtype)
    assert values.dtype.name == dtype and values.shape == shape


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"STFT"}))
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), [2, 2]], ids=str)
def test_shapes_may_be_empty_or_lists(name, shape):
    assert made(name).host(shape).shape == tuple(shape)


def test_the_default_dtype_is_floatx(monkeypatch):
    from oneiros import config

    config.set_floatx("float16")
    try:
        assert made("Zeros").host((2,)).dtype == "float16"
    finally:
        config.set_floatx("float32")


def test_the_call_gives_the_backends_array(backend):
    from oneiros.core.backend import to_array, to_numpy

    for name in EVERY:  # the host's numbers, so the same on every backend
        initializer, shape = made(name, **{"seed": 1} if name in RANDOM else {}), SHAPES.get(name)
        values = initializer(shape or (3, 2), dtype="float32")
        assert type(values) is type(to_array(np.zeros(1, "float32")))
        np.testing.assert_array_equal(to_numpy(values), initializer.host(shape or (3, 2)))


# Seeds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RANDOM)
def test_one_seed_gives_one_array(name):
    first = made(name, seed=7)
    np.testing.assert_array_equal(first.host((4, 3)), first.host((4, 3)))
    np.testing.assert_array_equal(first.host((4, 3)), made(name, seed=7).host((4, 3)))
    assert not np.array_equal(first.host((4, 3)), made(name, seed=8).host((4, 3)))


@pytest.mark.parametrize("name", RANDOM)
def test_unseeded_ones_differ_among_each_other_and_from_their_clones(name):
    first = made(name)
    np.testing.assert_array_equal(first.host((4, 3)), first.host((4, 3)))
    assert not np.array_equal(first.host((4, 3)), made(name).host((4, 3)))
    assert not np.array_equal(first.host((4, 3)), first.clone().host((4, 3)))


def test_the_process_wide_seed_decides_over_unseeded_ones():
    values = []
    for _ in range(2):
        seeding.set_seed(5)
        values.append([made("HeNormal").host((3, 3)) for _ in range(2)])
    np.testing.assert_array_equal(values[0], values[1])
    assert not np.array_equal(values[0][0], values[0][1])


def test_the_process_wide_seed_reaches_python_and_numpy():
    import random

    def draw():
        seeding.set_seed(11)
        return random.random(), np.random.rand(), seeding.fresh_seed()

    assert draw() == draw()


@pytest.mark.parametrize("seed", ["1", 1.5, None, True])
def test_the_process_wide_seed_must_be_a_whole_number(seed):
    with pytest.raises(ValueError, match="`seed` must be a whole number; got"):
        seeding.set_seed(seed)


def test_fresh_seeds_differ():
    assert len({seeding.fresh_seed() for _ in range(1000)}) > 990


@pytest.mark.parametrize("seed", [-5, 2**70, np.int64(3)])
def test_any_whole_number_is_a_seed(seed):
    np.testing.assert_array_equal(
        made("RandomNormal", seed=seed).host((3,)), made("RandomNormal", seed=seed).host((3,))
    )


def test_a_generator_as_seed_gives_new_values_each_time():
    class Generator:
        state = 0

        def next(self):
            self.state += 1
            return np.array([3, self.state], "uint32")

    initializer = made("RandomNormal", seed=Generator())
    first, second = initializer.host((3,)), initializer.host((3,))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, made("RandomNormal", seed=Generator()).host((3,)))


def test_values_are_philox_s():
    values = initializers.RandomUniform(0.0, 1.0, seed=42).host((3,))
    expected = np.random.Generator(np.random.Philox(42)).random(3, dtype="float32")
    np.testing.assert_array_equal(values, expected)


# Configs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
def test_the_config_is_keras(name):
    assert made(name).get_config() == theirs(name).get_config()
    assert initializers.serialize(made(name)) == keras.initializers.serialize(theirs(name))


@pytest.mark.parametrize("name, config", [*CONFIGS, ("Constant", {"value": 3}), ("STFT", {})])
def test_an_initializer_comes_back_from_its_config(name, config):
    first = made(name, **config, **({"seed": 3} if name in RANDOM else {}))
    for again in (
        initializers.deserialize(initializers.serialize(first)),
        initializers.get({"class_name": name, "config": first.get_config()}),
        first.clone(),
    ):
        assert type(again) is type(first) and again.get_config() == first.get_config()
        shape = SHAPES.get(name, (4, 3, 2))
        np.testing.assert_array_equal(again.host(shape), first.host(shape))


def test_the_gain_of_an_identity_is_kept():
    assert made("Identity", gain=2.0).clone().gain == 2.0


def test_an_array_constant_comes_back_from_its_config():
    again = initializers.deserialize(initializers.serialize(made("Constant", value=np.arange(2.0))))
    np.testing.assert_array_equal(again.host((3, 2)), [[0, 1]] * 3)


# Lookups -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *RANDOM,
        "Identity",
        "Ones",
        "STFT",
        "Zeros",
        "zero",
        "one",
        "ones",
        "normal",
        "uniform",
        "stft",
        "glorot_normal",
    ],
)
def test_names_are_found_as_in_keras(name):
    assert type(initializers.get(name)).__name__ == type(keras.initializers.get(name)).__name__


def test_every_name_of_keras_is_the_same_class():
    for name in dir(keras.initializers):
        expected = getattr(keras.initializers, name)
        if isinstance(expected, type):
            assert getattr(initializers, name).__name__ == expected.__name__


def test_what_needs_no_lookup_comes_back():
    instance = initializers.Zeros()
    assert initializers.get(None) is None
    assert initializers.get(instance) is instance
    assert initializers.get(len) is len
    assert isinstance(initializers.get(initializers.Ones), initializers.Ones)


def test_an_array_is_an_initializer_of_its_own_shape():
    initializer = initializers.get(np.eye(2))
    np.testing.assert_array_equal(
        initializers.host_values(initializer, (2, 2), "float32"), np.eye(2)
    )
    with pytest.raises(ValueError, match=r"has the shape \(2, 2\); the weight needs \(3, 2\)"):
        initializer((3, 2))


def test_a_users_initializer_may_define_the_call_alone():
    class Halves(initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 0.5, dtype)

    np.testing.assert_array_equal(Halves().host((2,)), [0.5, 0.5])
    np.testing.assert_array_equal(initializers.host_values(Halves(), (2,)), [0.5, 0.5])


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: initializers.get("zeroes"),
            "no initializer called 'zeroes'; close names: .*zeros",
        ),
        (lambda: initializers.get(3), "`initializer` must be a name.*got 3"),
        (lambda: initializers.get([1]), r"got \[1\]"),
        (lambda: initializers.get({}), "must have a 'class_name'"),
        (lambda: initializers.get({"class_name": "Foo", "config": {}}), "Foo"),
        (
            lambda: made("VarianceScaling", scale=0),
            "`scale` must be a finite number above 0; got 0",
        ),
        (lambda: made("VarianceScaling", scale="a"), "VarianceScaling: `scale`.*got 'a'"),
        (lambda: made("VarianceScaling", mode="in"), "`mode` must be one of 'fan_in'.*got 'in'"),
        (lambda: made("VarianceScaling", distribution="x"), "`distribution`.*got 'x'"),
        (
            lambda: made("RandomNormal", seed="a"),
            "RandomNormal: `seed` must be a whole number.*'a'",
        ),
        (lambda: made("STFT", side="left"), "`side` must be one of 'real', 'imag'; got 'left'"),
        (lambda: made("STFT", scaling="x"), "`scaling` must be one of 'density'.*got 'x'"),
        (lambda: made("STFT", window="x"), "`window` must be one of 'boxcar'.*got 'x'"),
        (lambda: made("STFT", window=np.ones(4)).host((6, 1, 3)), r"shape \(6,\).*got \(4,\)"),
        (lambda: made("STFT").host((4, 3)), "STFT needs a shape .* of three axes"),
        (lambda: made("Orthogonal").host((3,)), r"two axes or more; got \(3,\)"),
        (lambda: made("Identity").host((3,)), r"two axes; got \(3,\)"),
        (lambda: made("Constant", value=[1, 2]).host((3,)), r"shape \(2,\) does not broadcast"),
        (lambda: made("Zeros").host((2, None)), r"`shape` must be of whole numbers.*\(2, None\)"),
        (lambda: made("Zeros").host((2, -1)), r"`shape`.*got \(2, -1\)"),
        (lambda: made("Zeros").host((2,), "string"), "`dtype` must be one of numbers"),
        (lambda: made("Zeros").host((2,), "foo"), "`dtype` must be one of"),
        (
            lambda: made("HeNormal", input_axes=(5,), output_axes=(0,)).host((2, 3)),
            r"must be axes of the shape \(2, 3\); got \(5,\)",
        ),
    ],
)
def test_an_error_names_the_argument_and_what_was_given(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_base_class_gives_no_values():
    with pytest.raises(NotImplementedError, match="must define `values"):
        initializers.Initializer()((2,))


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="std"):
        initializers.RandomNormal(std=1.0)
