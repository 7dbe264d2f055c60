"""What is CNTK's own: its process and its death, shared memory, guards, set-up, NumPy in between."""

import gc
import os
import signal
import subprocess
import sys
import warnings

import numpy as np
import pytest

import oneiros
from oneiros import config, layers, ops
from oneiros.backends import cntk_setup
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.graph import trace
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import spec_of
from oneiros.testing import models

try:
    CNTK = backend.load("cntk")
except ImportError as error:
    pytest.skip(f"CNTK is not there: {error}", allow_module_level=True)

from oneiros.backends import cntk, cntk_process

pytestmark = pytest.mark.filterwarnings("ignore:backend 'cntk' has no kernel:RuntimeWarning")
X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def on_cntk():
    before = config.backend()
    config.set_backend("cntk")
    yield
    config.set_backend(before)


def compiled(function, *arrays, donate=()):
    return CNTK.compile(trace(function, list(map(spec_of, arrays))), donate)


def ran(function, *arrays):
    return compiled(function, *arrays)(*arrays)


def small():
    oneiros.utils.set_random_seed(7)
    model = oneiros.Sequential([oneiros.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1)])
    model.compile("adam", "mse")
    return model


def fitted(model, epochs=2):
    return model.fit(X, Y, epochs=epochs, batch_size=16, verbose=0, shuffle=False).history["loss"]


# Training ---------------------------------------------
@pytest.mark.parametrize("name", models.MODELS)
def test_reference_models_train_as_on_numpy(name):
    make = models.MODELS[name]
    ours, theirs = (models.losses(make, b) for b in ("cntk", "numpy"))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("there", ["cntk", "numpy"])
def test_files_go_from_backend_to_backend(tmp_path, there):
    config.set_backend(there)
    model = small()
    fitted(model)
    want = model.predict(X, verbose=0)
    model.save(tmp_path / "model.keras")
    config.set_backend("numpy" if there == "cntk" else "cntk")
    again = oneiros.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(X, verbose=0), want, rtol=1e-5, atol=1e-6)


def test_a_layer_of_ones_own_trains():
    class Scaled(layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return ops.tanh(x) * self.scale + ops.cumsum(x, axis=-1)

    model = oneiros.Sequential([oneiros.Input((4,)), Scaled(), layers.Dense(1)])
    model.compile("sgd", "mse")
    losses = fitted(model, 4)
    assert losses[-1] < losses[0]


def test_the_step_of_a_dense_model_is_one_call_of_the_process(monkeypatch):
    calls, ask = [], cntk_process.Process.ask
    monkeypatch.setattr(
        cntk_process.Process, "ask", lambda self, k, b: (calls.append(k), ask(self, k, b))
    )
    model = small()
    model.fit(X, Y, batch_size=16, verbose=0)
    assert calls.count(b"r") == 4


# Memory ---------------------------------------------
def test_donated_state_keeps_its_place():
    step = compiled(lambda w, x: [p.add(w, x)], X, X, donate=(0,))
    state = step(X.copy(), X)[0]
    place = cntk_process.SESSION.memory.place(state)
    for _ in range(3):
        again = step(state, X)[0]
        assert again is state and place is not None
    np.testing.assert_allclose(state, 5 * X, rtol=1e-6)


def test_what_is_kept_is_not_overwritten():
    step = compiled(lambda x: [p.multiply(x, 2.0)], X)
    first = step(X)[0]
    second = step(first)[0]
    np.testing.assert_array_equal(first, 2 * X)
    np.testing.assert_array_equal(second, 4 * X)


def test_views_hold_their_memory():
    step = compiled(lambda x: [p.multiply(x, 2.0)], X)
    part = step(X)[0][1:3]
    for _ in range(5):
        step(X + 1)
    np.testing.assert_array_equal(part, 2 * X[1:3])


def test_memory_is_used_again():
    step = compiled(lambda x: [p.multiply(x, 2.0)], X)
    step(X)
    gc.collect()
    before = cntk_process.SESSION.memory.end
    for _ in range(50):
        step(X)
    assert cntk_process.SESSION.memory.end == before


def test_steps_take_no_more_and_more_memory():
    def resident(pid):
        with open(f"/proc/{pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    model = small()
    fitted(model, 50)
    pids = os.getpid(), cntk_process.SESSION.process.process.pid
    before = list(map(resident, pids))
    fitted(model, 150)
    assert all(after - b < 2**20 for after, b in zip(map(resident, pids), before))


# The process ---------------------------------------------
def test_a_dead_process_is_an_error_and_the_next_call_starts_another():
    step = compiled(lambda x: [p.exp(x)], X)
    state = step(X)[0]
    first = cntk_process.SESSION.process
    os.kill(first.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"process ended \(signal 9\); the next call starts"):
        first.ask(b"f", b"[]")
    np.testing.assert_allclose(step(state)[0], np.exp(np.exp(X)), rtol=1e-5)
    assert cntk_process.SESSION.process is not first


def test_a_model_trains_on_after_the_process_died():
    model, other = small(), small()
    fitted(model, 1)
    cntk_process.SESSION.process.process.kill()
    cntk_process.SESSION.process.process.wait()
    losses = [fitted(other, 2)[1], fitted(model, 1)[0]]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_cntks_own_errors_leave_the_process_alive():
    process = cntk_process.SESSION.ready()
    with pytest.raises(RuntimeError, match="backend 'cntk': KeyError"):
        process.ask(b"r", (2**40).to_bytes(8, "little"))
    assert cntk_process.SESSION.ready() is process


def test_the_process_ends_with_its_parent():
    script = """if True:
        import os, signal
        import numpy as np
        from oneiros.backends import cntk_process as c
        print(c.SESSION.ready().process.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    pid = int(child.stdout)
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        signal.sigtimedwait([], 0.05)
    raise AssertionError("CNTK's process outlived its parent")


def test_a_forked_child_has_a_process_of_its_own():
    compiled(lambda x: [p.exp(x)], X)(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        code = 1
        try:
            code = int(cntk_process.SESSION.process is not None)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_allclose(ran(lambda x: [p.exp(x)], X)[0], np.exp(X), rtol=1e-5)


# What CNTK computes wrongly ---------------------------------------------
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -2.5, 1e-38, 0.5, 2.5], "float32")
EXACT = {
    "divide": (lambda x: p.divide(1.0, x), lambda x: 1 / x),
    "log": (p.log, np.log),
    "sqrt": (p.sqrt, np.sqrt),
    "round": (p.round, np.rint),
    "maximum": (lambda x: p.maximum(x, 1.0), lambda x: np.maximum(x, 1)),
    "minimum of arrays": (lambda x: p.minimum(x, p.negative(x)), lambda x: np.minimum(x, -x)),
    "reduce_max": (lambda x: p.reduce_max(x, axes=(0,)), np.max),
    "argmax": (lambda x: p.argmax(x, axis=0), np.argmax),
    "power": (lambda x: p.power(x, -1.5), lambda x: x ** np.float32(-1.5)),
    "rsqrt": (p.rsqrt, lambda x: 1 / np.sqrt(x)),
}


@pytest.mark.parametrize("name", EXACT)
def test_odd_numbers_are_numpys(name):
    ours, numpys = EXACT[name]
    with np.errstate(all="ignore"):
        want = numpys(ODD)
    np.testing.assert_allclose(ran(lambda x: [ours(x)], ODD)[0], want, rtol=1e-5)


POOL = {"window": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}


@pytest.mark.parametrize("shape", [(1, 4, 4, 1), (8, 17, 16, 4)], ids=["slices", "pools"])
def test_pools_are_numpys_with_nan_and_ties(shape):
    rng = np.random.default_rng(1)
    x = np.maximum(rng.normal(size=shape), 0).astype("float32")  # ties of zeros
    x[0, 0, 1, 0], x[0, 2, 2, 0], x[0, 3, 3, 0] = np.nan, np.inf, -np.inf
    y = backend.load("numpy").kernel(p.max_pool)(x, **POOL)
    g = rng.normal(size=y.shape).astype("float32")
    want = backend.load("numpy").kernel(p.max_pool_grad)(g, x, y, **POOL)
    pooled = lambda v, g: [
        made := p.max_pool(v, **POOL),
        p.max_pool_grad(g, v, made, **POOL),
        p.multiply(made, p.broadcast_to(np.ones((1,) * 4, "float32"), shape=(1,) * 4)),
    ]
    made = ran(pooled, x, g)
    for a, b in zip(made, (y, want, y)):
        np.testing.assert_array_equal(a, b)


def test_integers_that_a_float_does_not_hold():
    few, many = np.array([3, -1], "int32"), np.array([2**24 + 1, 2**31 - 1], "int32")
    step = compiled(lambda x: [p.maximum(x, 0), p.greater(x, 2**24)], few)
    for x in (few, many, few):
        made = step(x)
        np.testing.assert_array_equal(made[0], np.maximum(x, 0))
        np.testing.assert_array_equal(made[1], x > 2**24)
        assert [v.dtype.name for v in made] == ["int32", "bool"]


def parts(function, *arrays):
    """Which of the calls CNTK takes."""
    graph = trace(function, list(map(spec_of, arrays)))
    return [(c.target.name, CNTK.takes(c)) for c in graph.calls]


def test_divisors_that_cannot_be_zero_stay_on_cntk():
    adam = lambda m, v: [p.divide(m, p.add(p.sqrt(v), 1e-7))]
    assert all(own for _, own in parts(adam, X, X))
    softmax = lambda x: p.exp(
        p.subtract(x, p.reshape(p.reduce_max(x, axes=(1,)), shape=(len(x), 1)))
    )
    total = lambda x: [p.log(p.reduce_sum(softmax(x), axes=(1,)))]
    (low, high) = cntk.bounds(trace(total, [spec_of(X)]).calls[-1].args[0])
    assert low == 1.0 and high >= 4
    assert parts(lambda x, y: [p.divide(x, y)], X, X) == [("divide", False)]
    assert parts(lambda x, y: [p.divide(x, p.exp(y))], X, X)[-1] == ("divide", False)


def test_what_cntk_lacks_runs_in_numpy_and_is_told_once(monkeypatch):
    monkeypatch.setattr(CNTK, "told", set())
    x = np.abs(X) + 1
    with pytest.warns(RuntimeWarning, match="backend 'cntk' has no kernel for lgamma as used here"):
        made = ran(lambda v: [p.exp(p.lgamma(p.sqrt(v)))], x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = ran(lambda v: [p.exp(p.lgamma(p.sqrt(v)))], x)
    np.testing.assert_array_equal(made[0], again[0])


def test_at_most_three_tenths_of_the_primitives_are_numpys():
    assert len(CNTK.in_numpy()) <= 0.3 * len(PRIMITIVES)


def test_low_floats_and_empty_arrays_are_numpys():
    half, empty = X.astype("float16"), np.zeros((0, 4), "float32")
    np.testing.assert_array_equal(ran(lambda x: [p.exp(x)], half)[0], np.exp(half))
    assert ran(lambda x: [p.exp(x)], empty)[0].shape == (0, 4)


def test_doubles_keep_their_digits():
    x, flags = X.astype("float64"), X > 0
    made = ran(lambda v, c: [p.select(c, p.exp(v), 0.0), p.cast(v, dtype="float32")], x, flags)
    np.testing.assert_allclose(made[0], np.where(flags, np.exp(x), 0), rtol=1e-14)
    assert made[1].dtype == "float32"


# Set-up ---------------------------------------------
def test_without_a_set_up_the_error_names_the_command(tmp_path):
    script = "from oneiros.core import backend; backend.load('cntk')"
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True,
        env={**os.environ, "ONEIROS_HOME": str(tmp_path)},
    )  # fmt: skip
    last = child.stderr.strip().splitlines()[-1]
    assert (
        last.startswith("ImportError: backend 'cntk' needs CNTK") and "oneiros setup cntk" in last
    )


def test_set_up_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("ONEIROS_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.delenv("ONEIROS_PYTHON36", raising=False)
    with pytest.raises(RuntimeError, match=r"CNTK needs Python 3\.6, and there is none on PATH"):
        cntk_setup.setup(say=lambda _: None)
    monkeypatch.setenv("ONEIROS_PYTHON36", sys.executable)
    with pytest.raises(RuntimeError, match=r"which is no Python 3\.6 that runs"):
        cntk_setup.setup(say=lambda _: None)
    assert not list(tmp_path.iterdir())


def test_set_up_does_nothing_twice():
    said = []
    cntk_setup.setup(say=said.append)
    assert said == [f"CNTK is in {cntk_setup.home()}"]
