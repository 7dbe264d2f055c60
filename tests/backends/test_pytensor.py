"""What is PyTensor's own: kernels that numba compiles and keeps, memory, state, loops, settings."""

import os
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest

pytensor = pytest.importorskip("pytensor", reason="PyTensor is not installed: oneiros[pytensor]")

import oneiros
from oneiros import config, layers, ops
from oneiros.backends import pytensor_kernels, pytensor_windows
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.graph import trace
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import Spec
from oneiros.testing import kit, models

pytestmark = pytest.mark.filterwarnings("ignore:backend 'pytensor' has no kernel")
ENGINE = backend.load("pytensor")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def session():
    before = config.backend()
    config.set_backend("pytensor")
    yield
    config.set_backend(before)


@pytest.fixture
def plain(monkeypatch):
    """Kernels run as Python, and nothing is compiled."""
    monkeypatch.setenv("ONEIROS_PYTENSOR_LINKER", "python")


def real(*shape):
    return RNG.normal(size=shape).astype("float32")


def compiled(function, *specs, donate=()):
    specs = [s if isinstance(s, Spec) else Spec(s) for s in specs]
    return ENGINE.compile(trace(function, specs), donate)


def small():
    oneiros.utils.set_random_seed(7)
    model = oneiros.Sequential([oneiros.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


# Right by the kit ---------------------------------------------
def test_a_part_of_the_kit_compiled():
    found = kit.conformance("pytensor", quick=True, every=75, first=5)
    assert [(n, w) for n, checks in found.items() for w in checks.values() if w] == []


@pytest.mark.parametrize("first", range(3))
def test_a_part_of_the_kit_as_python(first, plain):
    found = kit.conformance("pytensor", quick=True, every=9, first=first)
    assert [(n, w) for n, checks in found.items() for w in checks.values() if w] == []


@pytest.mark.parametrize("name", models.MODELS)
def test_reference_models_lose_as_on_numpy(name, plain):
    got = models.losses(models.MODELS[name], "pytensor")
    np.testing.assert_allclose(got, models.losses(models.MODELS[name], "numpy"), rtol=2e-3)


def test_fifteen_percent_at_most_run_in_numpy():
    assert len(ENGINE.in_numpy()) <= 0.15 * len(PRIMITIVES)


def test_what_runs_in_numpy_is_told_once():
    ENGINE.told.discard("i0e")
    graph = trace(lambda x: [p.add(p.i0e(p.sin(x)), 1.0)], [Spec((3,))])
    with pytest.warns(RuntimeWarning, match="no kernel for i0e"):
        run = ENGINE.compile(graph)
    import scipy.special

    x = real(3)
    np.testing.assert_allclose(run(x)[0], scipy.special.i0e(np.sin(x)) + 1, rtol=1e-5)


# Kernels ---------------------------------------------
@pytest.mark.parametrize("function", [np.exp, np.tanh, np.log1p], ids=lambda f: f.__name__)
def test_functions_of_floats_are_numpy_s_at_all_magnitudes(function):
    rows = [
        np.linspace(-120, 120, 2001),
        np.geomspace(1e-30, 1e30, 200),
        -np.geomspace(1e-9, 1, 90),
    ]
    special = [np.inf, -np.inf, np.nan, 0.0, -0.0]
    x = np.concatenate([*rows, special]).astype("float32")
    target = PRIMITIVES[function.__name__]
    (got,) = compiled(lambda x: [target(x)], x.shape)(x)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got, function(x.astype("float64")).astype("float32"), rtol=1e-6)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_of_many_blocks_are_numpy_s(groups, monkeypatch):
    monkeypatch.setattr(pytensor_windows, "BLOCK", 700)
    params = dict(strides=(2, 1), padding=((1, 2), (0, 1)), lhs_dilation=(1, 2),
                  rhs_dilation=(2, 1), groups=groups)  # fmt: skip
    x, kernel = real(5, 7, 6, 4), real(3, 2, 4 // groups, 8)
    numpy = backend.load("numpy")
    (y,) = numpy.compile(
        trace(lambda *v: [p.convolution(*v, **params)], [Spec(x.shape), Spec(kernel.shape)])
    )(x, kernel)

    def every(x, kernel, g):
        return [
            p.convolution(x, kernel, **params),
            p.convolution_input_grad(g, kernel, input_shape=x.shape, **params),
            p.convolution_kernel_grad(g, x, kernel_shape=kernel.shape, **params),
        ]

    specs = [Spec(v.shape) for v in (x, kernel, y)]
    graph = trace(every, specs)
    for got, want in zip(ENGINE.compile(graph)(x, kernel, y), numpy.compile(graph)(x, kernel, y)):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_kernels_serve_batches_of_any_length():
    def function(x):
        pooled = p.max_pool(x, window=(2,), strides=(2,), padding=((0, 0),))
        return [p.reduce_sum(p.tanh(pooled), axes=(1,))]

    compiled(function, (8, 6, 3))
    known = len(pytensor_kernels.MADE)
    x = real(5, 6, 3)
    (got,) = compiled(function, x.shape)(x)
    assert len(pytensor_kernels.MADE) == known
    want = np.tanh(x.reshape(5, 3, 2, 3).max(2)).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_loops_hold_loops_and_branches():
    row = Spec((3,))
    inner = trace(lambda s: [p.reduce_any(p.less(s, 5.0), axes=(0,))], [row])
    double = trace(lambda s: [p.add(s, s)], [row])
    yes = trace(lambda s: [p.add(s, np.arange(3, dtype="float32"))], [row])
    no = trace(lambda s: [p.negative(s)], [row])

    def step(s, x):
        (s,) = p.cond(p.less(p.reduce_sum(x, axes=(0,)), 0.0), s, true=yes, false=no)
        (grown,) = p.while_loop(p.abs(s), condition=inner, body=double, carry=1)
        return [p.divide(s, 2.0), grown]

    body = trace(step, [row, row])
    x = np.array([[1, 2, 3], [-4, 1, 1], [1, 1, 1]], "float32")
    run = compiled(
        lambda s, x: p.scan(s, x, body=body, carry=1, xs=1, length=3, reverse=True), (3,), x.shape
    )
    state, grown = np.ones(3, "float32"), []
    for v in x[::-1]:
        state = state + np.arange(3) if v.sum() < 0 else -state
        big = np.abs(state)
        while (big < 5).any():
            big = big + big
        grown.insert(0, big)
        state = state / 2
    got = run(np.ones(3, "float32"), x)
    np.testing.assert_allclose(got[0], state)
    np.testing.assert_allclose(got[1], grown)


# Memory and state ---------------------------------------------
def test_state_is_written_where_it_is():
    step = compiled(lambda s, g: [p.subtract(s, p.multiply(g, 0.1))], (5,), (5,), donate=(0,))
    state, g = real(5), real(5)
    want = state - 0.1 * g
    (made,) = step(state, g)
    assert made is state or np.shares_memory(made, state)
    np.testing.assert_allclose(made, want, rtol=1e-6)


def test_outputs_are_memory_of_their_own():
    run = compiled(lambda x: [p.exp(x), p.reshape(x, shape=(4,)), p.exp(x)], (2, 2))
    x = np.zeros((2, 2), "float32")
    first = run(x)
    kept = [np.array(v) for v in first]
    run(x + 1)
    for v, k in zip(first, kept):
        np.testing.assert_array_equal(v, k)
        assert v.flags.carray and not np.shares_memory(v, x)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(first) for b in first[:i])


def test_inputs_of_any_layout():
    run = compiled(lambda x, y: [p.subtract(x, y)], (3, 2), (3, 2))
    x = real(2, 3).T
    x.flags.writeable = False
    np.testing.assert_array_equal(run(x, x)[0], np.zeros((3, 2)))
    np.testing.assert_array_equal(run(x, np.zeros((3, 2), "float32"))[0], x)


def test_threads_take_turns():
    run = compiled(lambda x: [p.reduce_sum(p.exp(p.exp(x)), axes=(0, 1))], (60, 50))
    values = [real(60, 50) for _ in range(8)]
    want, got = [run(v)[0] for v in values], [None] * 8

    def work(i):
        for _ in range(50):
            got[i] = run(values[i])[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    np.testing.assert_array_equal(got, want)


def test_many_steps_leave_nothing_behind():
    model = small()
    model.fit(X, Y, batch_size=4, epochs=20, verbose=0)
    tracemalloc.start()
    model.fit(X, Y, batch_size=4, epochs=5, verbose=0)
    before = tracemalloc.get_traced_memory()[0]
    model.fit(X, Y, batch_size=4, epochs=40, verbose=0)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 64_000


# Models ---------------------------------------------
def test_models_of_your_own_layers_train_evaluate_and_travel(tmp_path):
    @oneiros.saving.register_keras_serializable("pytensor_test")
    class Gated(layers.Layer):
        def build(self, shape):
            self.gate = self.add_weight((shape[-1],), initializer="zeros", name="gate")

        def call(self, x):
            return x * ops.sigmoid(self.gate) + ops.where(x > 0, x, 0.1 * x)

    oneiros.utils.set_random_seed(3)
    model = oneiros.Sequential([oneiros.Input((4,)), layers.Dense(8), Gated(), layers.Dense(1)])
    model.compile("sgd", "mse")
    history = model.fit(X, Y, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert history[-1] < history[0]
    value, outputs = model.evaluate(X, Y, verbose=0), model.predict(X, verbose=0)
    path = str(tmp_path / "model.keras")
    model.save(path)
    config.set_backend("numpy")
    loaded = oneiros.saving.load_model(path)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), outputs, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loaded.evaluate(X, Y, verbose=0), value, rtol=1e-5)
    loaded.fit(X, Y, epochs=1, verbose=0)
    loaded.save(path)
    outputs = loaded.predict(X, verbose=0)
    config.set_backend("pytensor")
    again = oneiros.saving.load_model(path).predict(X, verbose=0)
    np.testing.assert_allclose(again, outputs, rtol=1e-5, atol=1e-6)


def test_theano_is_the_same_backend():
    assert backend.load("theano") is ENGINE


# Beside PyTensor's other users ---------------------------------------------
def test_settings_of_pytensor_stay_as_they_were():
    x = pytensor.tensor.matrix("x")
    f = pytensor.function([x], (x * 2).sum(), mode="FAST_COMPILE")
    assert pytensor.config.floatX == "float64" and f(np.ones((2, 2))) == 8
    assert pytensor.config.numba__fastmath is True


SCRIPT = """
import numpy as np, oneiros
from oneiros.core import backend, primitives as p
from oneiros.core.graph import trace
from oneiros.core.spec import Spec
engine = backend.load("pytensor")
run = engine.compile(trace(lambda x: [p.multiply(p.sin(x), 3.0)], [Spec((4,))]))
assert np.allclose(run(np.ones(4, "float32"))[0], 3 * np.sin(1))
from oneiros.backends.pytensor_kernels import MADE
(made,) = MADE.values()
import os, pytensor
print(sum(made.stats.cache_hits.values()), pytensor.config.base_compiledir, "PYTENSOR_FLAGS" in os.environ)
"""


def test_kernels_are_kept_between_runs(tmp_path):
    environment = {**os.environ, "ONEIROS_HOME": str(tmp_path / "home")}
    environment.pop("PYTENSOR_FLAGS", None)
    environment.pop("ONEIROS_PYTENSOR_LINKER", None)
    told = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, check=True, text=True,
            capture_output=True,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    folder = str(tmp_path / "home" / "pytensor")
    assert told == [["0", folder, "False"], ["1", folder, "False"]]
