"""A composite that a trace keeps whole is differentiated by its own rule and run by a backend's kernel."""

import jax
import numpy as np

from oneiros import ops
from oneiros.core import backend
from oneiros.core.autodiff import gradient
from oneiros.core.graph import trace
from oneiros.core.spec import Spec

X = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")


def step(x):
    y = ops.sum(ops.softmax(x) * np.arange(4, dtype="float32"))
    return [y, *gradient([y], [np.float32(1)], [x])]


def test_a_kept_op_is_one_call_with_equal_numbers(monkeypatch):
    engine = backend.load("jax")
    open_graph = trace(step, [Spec((3, 4))])
    kept = trace(step, [Spec((3, 4))], keep={"softmax": None})
    names = [c.target.name for c in kept.calls]
    assert "softmax" in names and "exp" not in names
    assert "exp" in [c.target.name for c in open_graph.calls]
    monkeypatch.setitem(engine.faster, "softmax", lambda x, axis=-1: jax.nn.softmax(x, axis))
    for a, b in zip(engine.compile(kept)(X), engine.compile(open_graph)(X)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
