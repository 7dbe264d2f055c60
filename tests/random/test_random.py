"""Random numbers: moments and supports, seeds, the portable generator's known answers, tracing."""

import math

import numpy as np
import pytest
from scipy import stats

import oneiros
from oneiros import config, random
from oneiros.core.backend import to_numpy
from oneiros.core.graph import trace
from oneiros.core.spec import Spec
from oneiros.random import bits

N = 20_000
GAMMA = [0.05, 1.0, 50.0]
BINOMIAL = [(5, 0.9), (100, 0.05), (100, 0.5), (100_000, 0.999)]
ROWS = [
    ("normal", {}, stats.norm()),
    ("normal", dict(mean=3.0, stddev=0.5), stats.norm(3, 0.5)),
    ("truncated_normal", dict(mean=1.0, stddev=2.0), stats.truncnorm(-2, 2, 1, 2)),
    ("uniform", {}, stats.uniform()),
    ("uniform", dict(minval=-3.0, maxval=5.0), stats.uniform(-3, 8)),
    *[("gamma", dict(alpha=a), stats.gamma(a)) for a in GAMMA],
    *[("beta", dict(alpha=a, beta=b), stats.beta(a, b)) for a, b in [(0.5, 0.5), (2.0, 3.0)]],
]


@pytest.fixture(params=["numpy-backend", "numpy-portable", "jax-backend"])
def generator(request):
    """Who makes the numbers. The portable ones are the same everywhere: one backend shows their
    laws."""
    backend, kind = request.param.split("-")
    before = config.backend(), config.random_generator()
    config.set_backend(backend)
    config.set_random_generator(kind)
    yield kind
    config.set_backend(before[0])
    config.set_random_generator(before[1])


@pytest.mark.parametrize("name, kwargs, law", ROWS)
def test_continuous_laws(name, kwargs, law, generator):
    x = to_numpy(getattr(random, name)((N,), seed=11, **kwargs))
    assert x.dtype == np.float32
    x = np.maximum(x, np.finfo(np.float32).tiny) if name == "gamma" else x
    assert stats.kstest(x.astype("float64"), law.cdf).statistic < 1.95 / math.sqrt(N)


@pytest.mark.parametrize("counts, probability", BINOMIAL)
def test_binomial_law(counts, probability, generator):
    x = to_numpy(random.binomial((N,), counts, probability, seed=5))
    law = stats.binom(counts, probability)
    assert ((x == np.floor(x)) & (x >= 0) & (x <= counts)).all()
    assert abs(x.mean(dtype="float64") - law.mean()) < 5 * law.std() / math.sqrt(N)
    assert abs(x.var(dtype="float64") / law.var() - 1) < 0.08


def test_binomial_edges():
    assert (random.binomial((9,), 7, 0.0, seed=1) == 0).all()
    assert (random.binomial((9,), 7, 1.0, seed=1) == 7).all()
    assert np.isnan(random.binomial((2,), 7, 1.5, seed=1)).all()


@pytest.mark.parametrize(
    "low, high", [(0, 2), (-5, 5), (0, 1000), (10, 10 + 3 * 2**20), (0, 2**30)]
)
def test_integers_are_uniform(low, high, generator):
    x = to_numpy(random.randint((N,), low, high, seed=3))
    assert x.dtype == np.int32 and low <= x.min() and x.max() < high
    share = (x.astype("float64") - low + 0.5) / (high - low)
    assert abs(share.mean() - 0.5) < 5 * math.sqrt(1 / 12 / N)
    if high - low < 2000:
        assert len(np.unique(x)) == high - low
        assert stats.chisquare(np.bincount(x - low, minlength=high - low)).pvalue > 1e-4


def test_categorical_law(generator):
    logits = np.log(np.float32([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-30]]))
    x = to_numpy(random.categorical(logits, N, seed=3))
    assert x.shape == (2, N)
    np.testing.assert_allclose(np.bincount(x[0]) / N, [0.1, 0.2, 0.7], atol=0.02)
    assert set(x[1]) == {0, 1}


def test_known_answers_of_threefry():
    word = lambda v: np.array([v], np.uint32).view(np.int32)
    for (k0, k1, c0, c1), want in {
        (0, 0, 0, 0): (0x6B200159, 0x99BA4EFE),
        (2**32 - 1,) * 4: (0x1CB996FC, 0xBB002BE7),
        (0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3): (0xC4923A9C, 0x483DF7A0),
    }.items():
        made = bits.threefry(word(k0), word(k1), word(c0), word(c1))
        assert tuple(int(np.asarray(v).view(np.uint32)[0]) for v in made) == want


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_portable_numbers_are_equal_on_all_backends(dtype):
    found = []
    before = config.backend()
    config.set_random_generator("portable")
    for name in ("numpy", "jax"):
        config.set_backend(name)
        found.append(
            [
                to_numpy(random.uniform((7,), dtype=dtype, seed=9)),
                to_numpy(random.randint((7,), 0, 99, seed=9)),
                to_numpy(random.dropout(np.ones((7, 3), "float32"), 0.4, seed=9)),
                to_numpy(random.shuffle(np.arange(9), seed=9)),
            ]
        )
    config.set_backend(before)
    config.set_random_generator("backend")
    for a, b in zip(*found):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean_and_the_dtype(rate, generator):
    y = to_numpy(random.dropout(np.ones(N, "float16"), rate, seed=2))
    assert y.dtype == np.float16
    assert set(np.unique(y)) == {np.float16(0), np.float16(1 / (1 - rate))}
    assert abs((y == 0).mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / N)


def test_dropout_by_noise_shape(backend):
    y = to_numpy(random.dropout(np.ones((50, 3), "float32"), 0.5, noise_shape=(None, 1), seed=2))
    assert ((y == y[:, :1]).all()) and len(np.unique(y[:, 0])) == 2
    with pytest.raises(ValueError, match="noise_shape"):
        random.dropout(np.ones((4, 3), "float32"), 0.5, noise_shape=(2, 1))


def test_dropout_at_the_ends_of_its_range():
    x = np.ones((4,), "float32")
    assert (random.dropout(x, 0) == 1).all() and (random.dropout(x, 1) == 0).all()


def test_shuffle_is_a_permutation_along_its_axis(backend):
    x = np.arange(60).reshape(3, 20)
    y = to_numpy(random.shuffle(x, axis=1, seed=4))
    assert (np.sort(y, axis=1) == x).all() and (y != x).any()
    assert (y - y[:1] == x - x[:1]).all()


# Seeds --------------------------------------------------------------------------------------------
def test_ints_are_pure_and_generators_are_not(backend):
    same = [to_numpy(random.normal((5,), seed=3)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    source = random.SeedGenerator(3)
    a, b = (to_numpy(random.normal((5,), seed=source)) for _ in range(2))
    assert (a != b).all()
    np.testing.assert_array_equal(a, same[0])
    drawn = [tuple(to_numpy(random.normal((5,), seed=s))) for s in (*range(20), 2**31, 2**31 + 5)]
    assert len(set(drawn)) == len(drawn)


def test_streams_of_near_seeds_are_independent(generator):
    rows = [to_numpy(random.normal((N,), seed=s)) for s in range(3)]
    source = random.SeedGenerator(0)
    rows += [to_numpy(random.normal((N,), seed=source)) for _ in range(3)][1:]
    correlation = np.corrcoef(rows) - np.eye(5)
    assert np.abs(correlation).max() < 5 / math.sqrt(N)


def test_set_random_seed_restarts_unseeded_numbers():
    from oneiros.core import seeding

    found = []
    for _ in range(2):
        seeding.set_seed(12)
        found.append(to_numpy(random.uniform((3,))))
    np.testing.assert_array_equal(*found)


def test_state_is_a_variable_of_two_words(backend):
    source = random.SeedGenerator(7, name="chance")
    assert (source.state.path, source.state.dtype) == ("chance/seed_generator_state", "uint32")
    assert not source.state.trainable
    source.next()
    assert source.state.numpy().tolist() == [7, 1]
    assert source.get_config() == {"seed": 7, "name": "chance"}
    assert random.SeedGenerator.from_config({"seed": 4}).state.numpy().tolist() == [4, 0]


@pytest.mark.parametrize("bad", ["a", 1.5, True])
def test_seeds_of_other_kinds_are_refused(bad):
    with pytest.raises(ValueError, match="seed"):
        random.SeedGenerator(bad)
    with pytest.raises(ValueError, match="seed"):
        random.normal((2,), seed=bad)


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match="foo"):
        random.SeedGenerator(3, foo=1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: random.normal((2,), dtype="int32"),
        lambda: random.uniform((2,), dtype="int32"),
        lambda: random.randint((2,), 0, 3, dtype="float32"),
        lambda: random.gamma((2,), 1.0, dtype="int32"),
        lambda: random.categorical(np.zeros(3, "float32"), 2),
    ],
)
def test_wrong_dtypes_and_ranks_are_refused(call):
    with pytest.raises(ValueError):
        call()


# Traces -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, kwargs",
    [
        ("normal", {}),
        ("uniform", {}),
        ("truncated_normal", {}),
        ("randint", dict(minval=0, maxval=9)),
        ("gamma", dict(alpha=2.0)),
        ("beta", dict(alpha=1.0, beta=2.0)),
        ("binomial", dict(counts=30, probabilities=0.4)),
    ],
)
def test_traced_numbers_are_the_eager_ones(name, kwargs, generator):
    function = getattr(random, name)
    graph = trace(lambda seed: function((4, 3), seed=seed, **kwargs), [Spec((2,), "uint32")])
    (traced,) = graph(oneiros.ops.convert_to_tensor(np.array([5, 0], np.uint32)))
    eager = to_numpy(function((4, 3), seed=5, **kwargs))
    np.testing.assert_allclose(to_numpy(traced), eager, rtol=1e-5)


def test_a_traced_step_moves_the_generator():
    source = random.SeedGenerator(3)

    def step(state, x):
        with oneiros.StatelessScope([(source.state, state)]) as scope:
            y = random.dropout(x, 0.5, seed=source)
            return [y, scope.get_current_value(source.state)]

    graph = trace(step, [Spec((2,), "uint32"), Spec((50,), "float32")])
    x, state = np.ones(50, "float32"), np.array([3, 0], np.uint32)
    y, state = graph(state, x)
    z, state = graph(state, x)
    assert state.tolist() == [3, 2] and (y != z).any()
    assert source.state.numpy().tolist() == [3, 0]


def test_shapes_are_inferred_without_moving_the_generator():
    source = random.SeedGenerator(3)
    from oneiros.core.op import infer

    spec = infer(lambda x: random.dropout(x, 0.5, seed=source), [oneiros.KerasTensor((None, 3))])
    assert tuple(spec.shape) == (None, 3)
    assert source.state.numpy().tolist() == [3, 0]
