"""Graphs cut between an engine and NumPy, with an engine that is NumPy's own straight-line code."""

import numpy as np
import pytest

import oneiros
from oneiros import layers, ops
from oneiros.backends import engine
from oneiros.backends.emit import emit
from oneiros.backends.numpy import quiet
from oneiros.core import backend, config
from oneiros.core import primitives as p
from oneiros.core.graph import trace
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import Spec


class Toy(engine.Engine):
    """Counts what it builds."""

    def build(self, graph, donate=()):
        self.built.append([c.target for c in graph.calls])
        assert all(map(self.takes, graph.calls))
        run = emit(graph, self.raw)
        return quiet(lambda *values: [np.array(v) for v in run(*values)])


def toy(lacks):
    made = Toy("toy", {t: t for t in PRIMITIVES.values() if t not in {*lacks, *engine.LOOPS}})
    made.built = []
    return made


@pytest.fixture
def session():
    """`session(backend)`: make it the session's for the test."""
    before, known = config.backend(), config.BACKENDS

    def start(made):
        config.BACKENDS = (*known, "toy")
        config.set_backend("toy")

    yield start
    config.set_backend(before)
    config.BACKENDS = known
    backend.LOADED.pop("toy", None)
    backend.load.cache_clear()


def test_stages_are_as_few_as_the_order_allows():
    def function(x):
        a, b = p.exp(p.sin(x)), p.exp(p.cos(x))  # exp is not the engine's
        return p.add(a, b), p.sin(a)

    graph = trace(function, [Spec((3,), "float32")])
    stages = engine.cut(graph, lambda call: call.target is not p.exp)
    assert [(own, [c.target.name for c in part.calls]) for own, part in stages] == [
        (True, ["sin", "cos"]),
        (False, ["exp", "exp"]),
        (True, ["add", "sin"]),
    ]


@pytest.mark.parametrize(
    "lacks", [(), (p.exp, p.dot_general), (p.multiply,), (p.reduce_sum, p.tanh)]
)
@pytest.mark.filterwarnings("ignore:backend 'toy' has no kernel")
def test_a_model_trains_to_the_same_weights(session, lacks):
    def trained():
        oneiros.utils.set_random_seed(3)
        model = oneiros.Sequential(
            [layers.Input((6, 2)), layers.LSTM(4), layers.Dropout(0.2), layers.Dense(1, "tanh")]
        )
        model.compile("adam", "mse", metrics=["mae"])
        history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history
        return history, model.get_weights(), model.predict(x, verbose=0)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 6, 2)).astype("float32")
    y = rng.normal(size=(30, 1)).astype("float32")
    want = trained()
    made = toy(lacks)
    session(made)
    got = trained()
    assert made.built
    for a, b in zip(oneiros.tree.flatten(got), oneiros.tree.flatten(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)


def test_what_runs_in_numpy_is_told_once(session):
    made = toy([p.sort])
    session(made)
    assert made.in_numpy() == ["sort"]
    graph = trace(lambda x: p.negative(p.sort(x, axis=0)), [Spec((3,), "float32")])
    with pytest.warns(RuntimeWarning, match="'toy' has no kernel for sort"):
        run = made.compile(graph)
    made.compile(graph)  # warnings are errors: it is not told again
    np.testing.assert_array_equal(run(np.array([2, 3, 1], "float32"))[0], [-1, -2, -3])


def test_outputs_share_no_memory(session):
    made = toy([p.negative])
    session(made)

    def function(x):
        y = p.negative(x)
        return y, y, np.float32([1, 2]), x

    graph = trace(function, [Spec((2,), "float32")])
    with pytest.warns(RuntimeWarning):
        run = made.compile(graph)
    first = run(np.ones(2, "float32"))
    assert not np.shares_memory(first[0], first[1])
    first[2][:] = 0
    np.testing.assert_array_equal(run(np.ones(2, "float32"))[2], [1, 2])


def test_loops_run_bodies_on_the_engine(session):
    made = toy([])
    session(made)
    x = np.arange(6, dtype="float32").reshape(3, 2)
    total, _ = ops.scan(lambda c, v: (c + v, c * v), np.zeros(2, "float32"), x)
    np.testing.assert_array_equal(total, x.sum(0))
    graph = trace(
        lambda x: oneiros.tree.flatten(ops.scan(lambda c, v: (c + v, c * v), x[0], x[:0])),
        [Spec((3, 2), "float32")],
    )
    empty = made.compile(graph)(x)
    assert empty[1].shape == (0, 2)
    assert any(p.multiply in calls for calls in made.built)
