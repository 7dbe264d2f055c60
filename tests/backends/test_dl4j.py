"""What is ND4J's own: buffers and state, guards, loops, noise, what NumPy does, the set-up."""

import gc
import subprocess
import sys

import numpy as np
import pytest

try:
    import oneiros.backends.dl4j
except ImportError as missing:
    pytest.skip(str(missing), allow_module_level=True)

import oneiros
from oneiros import config, layers, ops
from oneiros.backends import dl4j_setup
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.graph import trace
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import Spec, spec_of
from oneiros.testing import kit, models

pytestmark = pytest.mark.filterwarnings("ignore:backend 'dl4j' has no kernel")
ENGINE = backend.load("dl4j")
REFERENCE = backend.load("numpy")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def session():
    before = config.backend()
    config.set_backend("dl4j")
    yield
    config.set_backend(before)


def real(*shape):
    return RNG.normal(size=shape).astype("float32")


def compiled(function, *arrays, donate=()):
    return ENGINE.compile(trace(function, list(map(spec_of, arrays))), donate)


def both(function, *arrays, tolerance=2e-5):
    """The function's values on the engine, twice, and on NumPy, which agree."""
    graph = trace(function, list(map(spec_of, arrays)))
    step, want = ENGINE.compile(graph), REFERENCE.compile(graph)(*arrays)
    for _ in range(2):
        for a, b in zip(step(*arrays), want, strict=True):
            np.testing.assert_allclose(a, b, tolerance, tolerance)
    return step


def small(*more):
    oneiros.utils.set_random_seed(7)
    model = oneiros.Sequential(
        [oneiros.Input((4,)), layers.Dense(8, "relu"), *more, layers.Dense(1)]
    )
    model.compile("adam", "mse")
    return model


# Right by the kit ---------------------------------------------
def test_a_part_of_the_kit():
    found = kit.conformance("dl4j", quick=True, every=6, first=1)
    assert [(n, w) for n, checks in found.items() for w in checks.values() if w] == []


@pytest.mark.parametrize("name", models.MODELS)
def test_models_learn_as_on_numpy(name):
    make = models.MODELS[name]
    ours, numpy = models.losses(make, "dl4j"), models.losses(make, "numpy")
    np.testing.assert_allclose(ours, numpy, rtol=2e-4)


def test_few_primitives_run_in_numpy():
    assert len(ENGINE.in_numpy()) <= 0.15 * len(PRIMITIVES)


def test_no_call_of_the_reference_models_runs_in_numpy(recwarn, monkeypatch):
    monkeypatch.setattr(ENGINE, "told", set())
    for make in models.MODELS.values():
        models.losses(make, "dl4j")
    assert not [w for w in recwarn if "has no kernel" in str(w.message)]


# Memory ---------------------------------------------
def test_state_stays_in_its_memory():
    w, x = real(3, 2), real(5, 3)
    step = compiled(
        lambda w, x: [p.subtract(w, p.multiply(w, 0.5)), p.reduce_sum(x, axes=(0, 1))],
        w,
        x,
        donate=(0,),
    )
    first = np.array(w)
    (new, total), address = step(w, x), w.ctypes.data
    assert new is w and new.ctypes.data == address
    np.testing.assert_allclose(new, first / 2)
    np.testing.assert_allclose(total, x.sum(), 1e-5)
    other = np.array(first)  # other memory is met where it is
    assert step(other, x)[0] is other
    np.testing.assert_allclose(new, first / 2)


def test_states_may_change_places():
    a, b = real(3), real(3)
    step = compiled(lambda a, b: [p.add(b, 0.0), p.add(a, b)], a, b, donate=(0, 1))
    want = b.copy(), a + b
    for got, right in zip(step(a, b), want):
        np.testing.assert_allclose(got, right, rtol=1e-6)
    swap = compiled(lambda a, b: [b, a], a, b, donate=(0, 1))
    want = b.copy(), a.copy()
    for got, right in zip(swap(a, b), want):
        np.testing.assert_array_equal(got, right)


def test_outputs_are_memory_of_their_own():
    x = real(4, 3)
    step = compiled(lambda x: [x, p.transpose(x, order=(1, 0)), p.exp(x), p.exp(x)], x)
    first = step(x)
    kept = [np.array(y) for y in first]
    step(x + 1)
    for y, k in zip(first, kept):
        np.testing.assert_array_equal(y, k)
    assert not any(np.shares_memory(a, b) for i, a in enumerate(first) for b in (x, *first[:i]))


def test_inputs_of_any_layout():
    x = real(6, 8)
    step = compiled(lambda x: [p.add(x, x)], x[::2, ::2].copy())
    for view in (x[::2, ::2], real(4, 3).T, np.asfortranarray(x[:3, :4]), x[2::-1, 3::-1]):
        for _ in range(2):
            np.testing.assert_array_equal(step(view)[0], view + view)
    again = x[:3, :4].copy()
    step(again)
    again += 1  # the same array with other values
    np.testing.assert_array_equal(step(again)[0], again + again)


def test_a_step_frees_what_it_held():
    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4

    x = real(64, 64)

    def one():
        step = compiled(lambda x: [p.tanh(p.add(p.multiply(x, x), p.exp(x)))], x)
        step(x)

    for _ in range(20):
        one()
    gc.collect()
    before = resident()
    for _ in range(200):
        one()
    gc.collect()
    assert resident() - before < 3000


def test_many_steps_take_no_more_memory():
    model = small(layers.Dropout(0.1))
    model.fit(X, Y, batch_size=2, epochs=10, verbose=0)

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4

    before = resident()
    model.fit(X, Y, batch_size=2, epochs=40, verbose=0)
    assert resident() - before < 2000


def test_values_from_views_and_broadcasts():
    def function(x, y):
        t = p.transpose(x, order=(2, 0, 1))
        s = p.slice(x, start=(0, 1, 0), stop=(2, 4, 4), strides=(1, 2, 3))
        r = p.reverse(t, axes=(0, 2))
        wide = p.broadcast_to(y, shape=(2, 4, 4))
        return [
            p.add(t, r), p.multiply(s, s), p.reduce_sum(wide, axes=(1,)), p.multiply(wide, 2.0),
            p.concatenate(x, wide, axis=1), p.pad(s, widths=((1, 0, 0), (0, -1, 0), (0, 2, 1)), value=3.0),
        ]  # fmt: skip

    both(function, real(2, 4, 4), real(4, 1))


# What would end the process, and what the engine gets wrong -----------
@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
def test_division_of_integers_by_zero(name):
    x, y = np.array([7, -7, 3], "int32"), np.array([2, 2, 0], "int32")
    both(lambda x, y: [PRIMITIVES[name](x, y)], x, y)
    z = np.array([1.0, -2.0, np.inf, 0.0], "float32")
    both(lambda x, y: [PRIMITIVES[name](x, y)], z, np.array([0.0, np.inf, 2.0, 0.0], "float32"))


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "int8"])
def test_places_out_of_range(dtype):
    x, far = real(5, 3), np.array([0, 4, 5, 100], dtype)
    if dtype[0] == "i":
        far[1:2] = -1
    both(lambda x, i: [p.take(x, p.maximum(i, 0), axis=0)], x, far)
    for mode in ("add", "set", "mul", "max", "min"):
        scattered = lambda x, i, u, mode=mode: [
            p.scatter(x, p.reshape(i, shape=(4, 1)), u, mode=mode)
        ]
        both(scattered, x, far, real(4, 3))
    two = np.array([[0, 3], [4, 2], [7, 0], [-1, 1]], "int32")
    both(lambda x, i, u: [p.scatter(x, i, u, mode="add")], x, two, real(4))
    both(lambda x, i: [p.gather_nd(x, p.maximum(i, 0))], x, two)


def test_nan_wins_as_in_numpy():
    x = real(3, 5)
    x[1, 2] = np.nan
    y = real(3, 5)
    x[0, 0] = np.inf
    functions = [
        lambda x, y: [p.reduce_max(x, axes=(1,)), p.reduce_min(x, axes=(0,)), p.argmax(x, axis=1)],
        lambda x, y: [p.maximum(x, y), p.maximum(y, x), p.minimum(x, 0.5), p.maximum(0.5, x)],
        lambda x, y: [p.sign(x), p.select(p.less_equal(x, 0), 0.0, x)],
    ]
    for function in functions:
        both(function, x, y)
    image = x.reshape(1, 3, 5, 1)
    settings = {"window": (2, 2), "strides": (1, 1), "padding": ((0, 0), (1, 0))}
    both(lambda x: [p.max_pool(x, **settings)], image)


def test_infinities_are_selected_away():
    x = np.array([np.inf, -np.inf, np.nan, 1.0], "float32")
    both(lambda x: [p.select(p.isfinite(x), x, 0.0), p.select(p.isnan(x), 0.0, x)], x)


def test_a_running_sum_of_large_roots_and_none():
    """The quick root that optimizers get is right from zero to large numbers."""
    x = np.concatenate([np.zeros(8), 10.0 ** np.linspace(-30, 30, 4088)]).astype("float32")
    both(lambda x: [p.add(p.sqrt(x), 1e-7)], x)


# Windows ---------------------------------------------
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "strides, pads, spread, dilation",
    [(1, (0, 0), 1, 1), (2, (1, 1), 1, 1), (1, (2, 0), 1, 2), (2, (1, 2), 2, 1)],
)
def test_convolutions_and_their_derivatives(rank, strides, pads, spread, dilation, groups):
    params = {
        "strides": (strides,) * rank, "padding": (pads,) * rank, "lhs_dilation": (spread,) * rank,
        "rhs_dilation": (dilation,) * rank, "groups": groups,
    }  # fmt: skip
    x, kernel = real(2, *(6, 5, 4)[:rank], 4), real(*(2, 3, 2)[:rank], 4 // groups, 6)

    def function(x, kernel):
        y = p.convolution(x, kernel, **params)
        shapes = {"input_shape": x.shape}, {"kernel_shape": kernel.shape}
        return [
            y, p.convolution_input_grad(y, kernel, **shapes[0], **params),
            p.convolution_kernel_grad(y, x, **shapes[1], **params),
        ]  # fmt: skip

    both(function, x, kernel, tolerance=1e-4)


def test_depthwise_convolution():
    x, kernel = real(2, 6, 5, 4), real(3, 3, 1, 8)
    params = {
        "strides": (1, 1), "padding": ((1, 1), (1, 1)), "lhs_dilation": (1, 1), "rhs_dilation": (1, 1),
        "groups": 4,
    }  # fmt: skip
    both(lambda x, k: [p.convolution(x, k, **params)], x, kernel, tolerance=1e-4)


# Loops and noise ---------------------------------------------
def scanned(length):
    body = trace(
        lambda c, n, x: [p.tanh(p.add(c, x)), p.add(n, 1), p.multiply(c, x)],
        [Spec((3,)), Spec((), "int32"), Spec((3,))],
    )
    return lambda c, x: p.scan(
        c, np.int32(0), x, body=body, carry=2, xs=1, length=length, reverse=length % 2 == 0
    )


@pytest.mark.parametrize("length", [1, 5, 6, 3000])  # the last is too long to be written out
def test_scans(length):
    both(lambda c, x: list(scanned(length)(c, x)), real(3), real(length, 3))


def test_noise_follows_the_seed():
    seeds = np.array([1, 2], "uint32"), np.array([1, 3], "uint32")
    step = compiled(
        lambda s: [
            p.random_uniform(s, shape=(20000,), dtype="float32"), p.random_bits(s, shape=(20000,)),
            p.random_normal(s, shape=(20000,), dtype="float32"),
        ],
        seeds[0],
    )  # fmt: skip
    first, second, again = step(seeds[0]), step(seeds[1]), step(seeds[0])
    for a, b, c in zip(first, second, again):
        np.testing.assert_array_equal(a, c)
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert first[0].min() >= 0 and first[0].max() < 1 and abs(first[0].mean() - 0.5) < 0.01
    assert abs(first[2].mean()) < 0.03 and abs(first[2].std() - 1) < 0.03


# Models ---------------------------------------------
def test_a_model_goes_to_another_backend_and_back(tmp_path):
    model = small()
    model.fit(X, Y, epochs=2, verbose=0)
    want = model.predict(X, verbose=0)
    model.save(tmp_path / "a.keras")
    config.set_backend("numpy")
    other = oneiros.models.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(other.predict(X, verbose=0), want, rtol=1e-5, atol=1e-6)
    other.fit(X, Y, epochs=1, verbose=0, shuffle=False)
    want = other.predict(X, verbose=0)
    other.save(tmp_path / "b.keras")
    config.set_backend("dl4j")
    again = oneiros.models.load_model(tmp_path / "b.keras")
    np.testing.assert_allclose(again.predict(X, verbose=0), want, rtol=1e-5, atol=1e-6)


def test_a_layer_of_ones_own():
    class Wave(layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=shape[1:], initializer="ones")

        def call(self, x):
            return ops.sin(x * self.w) + ops.where(x > 0, x, ops.square(x))

    model = small(Wave())
    history = model.fit(X, Y, epochs=20, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


def test_weights_read_in_between_stay_as_they_were():
    model, seen = small(), []
    model.fit(X, Y, epochs=1, verbose=0)
    seen += [model.weights[0].value, np.array(model.weights[0].value)]
    model.fit(X, Y, epochs=1, verbose=0)
    np.testing.assert_array_equal(*seen)
    assert not np.array_equal(seen[0], model.weights[0].value)


def test_numpy_does_the_rest_and_says_so(monkeypatch):
    monkeypatch.setattr(ENGINE, "told", set())
    x = real(3, 4)
    with pytest.warns(RuntimeWarning, match="no kernel for sort as used here: it runs in NumPy"):
        both(lambda x: [p.exp(p.sort(p.multiply(x, 2.0), axis=1))], x)


# Set-up ---------------------------------------------
def test_missing_jars_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEIROS_HOME", str(tmp_path))
    with pytest.raises(ImportError, match="run `oneiros setup dl4j`"):
        dl4j_setup.jars()


def test_set_up_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEIROS_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"Java 11 or newer .* and Maven"):
        dl4j_setup.setup(say=lambda text: None)
    assert not list(tmp_path.iterdir())


def test_set_up_tells_what_maven_said(monkeypatch, tmp_path):
    monkeypatch.setenv("ONEIROS_HOME", str(tmp_path))

    def failing(command, **options):
        return subprocess.CompletedProcess(command, 1, "[ERROR] no such host\n", "")

    monkeypatch.setattr(subprocess, "run", failing)
    with pytest.raises(RuntimeError, match="Maven could not fetch.*\n.*no such host"):
        dl4j_setup.setup(say=lambda text: None)
    assert not list(tmp_path.iterdir())


def test_setup_done_is_left_alone():
    told = []
    dl4j_setup.setup(told.append)
    assert told == [f"ND4J is in {dl4j_setup.home()}"]


def test_the_engine_is_started_by_the_first_step_only():
    code = (
        "import oneiros, jpype, numpy as np; oneiros.ops.add(np.ones(2), 1); "
        "assert oneiros.config.backend() == 'dl4j'; print(jpype.isJVMStarted())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**__import__("os").environ, "ONEIROS_BACKEND": "dl4j"},
    )  # fmt: skip
    assert done.stdout.strip() == "False", done.stderr
