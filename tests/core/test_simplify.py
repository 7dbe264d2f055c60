"""Every rule of `core/simplify.py` gives an equal value in fewer calls."""

import numpy as np
import pytest

import oneiros.ops  # noqa: F401 - the operators of symbols
from oneiros import config
from oneiros.core import primitives as p
from oneiros.core.autodiff import gradient
from oneiros.core.graph import SIMPLIFY, run, trace
from oneiros.core.spec import Spec


def zeros(*shape):
    return p.broadcast_to(np.zeros((), "float32"), shape=shape)


def cut(x, a, b):
    return p.slice(x, start=(0, a), stop=(2, b), strides=(1, 1))


def padded(x, a, b):
    return p.pad(x, widths=((0, 0, 0), (a, b, 0)), value=0.0)


def x2(x):
    return p.concatenate(x, x, axis=1)


def repeated(x):
    return p.broadcast_to(x, shape=(3, 2, 6))


ROWS = {  # name: (function of an array of (2, 6), calls that are left)
    "add zero": (lambda x: p.add(x, 0.0), 0),
    "add zeros": (lambda x: p.add(zeros(2, 6), x), 0),
    "add zeros of a larger shape": (lambda x: p.add(x, zeros(3, 2, 6)), 2),
    "add a negative": (lambda x: p.add(p.exp(x), p.negative(x)), 2),
    "subtract zero": (lambda x: p.subtract(x, 0), 0),
    "subtract from zero": (lambda x: p.subtract(0.0, x), 1),
    "subtract a negative": (lambda x: p.subtract(x, p.negative(p.exp(x))), 2),
    "multiply by one": (lambda x: p.multiply(1.0, x), 0),
    "divide by one": (lambda x: p.divide(x, np.float32(1)), 0),
    "first power": (lambda x: p.power(x, 1.0), 0),
    "square": (lambda x: p.power(x, 2.0), 1),
    "negative twice": (lambda x: p.negative(p.negative(x)), 0),
    "cast to its own dtype": (lambda x: p.cast(x, dtype="float32"), 0),
    "choice of one": (lambda x: p.select(p.greater(x, 0.0), x, x), 0),
    "repeated operand": (lambda x: p.add(repeated(x), np.ones((3, 1, 1), "float32")), 1),
    "operand that must be repeated": (lambda x: p.exp(repeated(x)), 2),
    "reshape to its own shape": (lambda x: p.reshape(x, shape=(2, 6)), 0),
    "reshape twice": (lambda x: p.reshape(p.reshape(x, shape=(12,)), shape=(3, 4)), 1),
    "broadcast twice": (lambda x: p.broadcast_to(repeated(x), shape=(4, 3, 2, 6)), 1),
    "transpose to its own order": (lambda x: p.transpose(x, order=(0, 1)), 0),
    "transpose twice": (lambda x: p.transpose(p.transpose(x, order=(1, 0)), order=(1, 0)), 0),
    "reverse nothing": (lambda x: p.reverse(x, axes=()), 0),
    "reverse twice": (lambda x: p.reverse(p.reverse(x, axes=(1,)), axes=(1,)), 0),
    "sum of nothing": (lambda x: p.reduce_sum(x, axes=()), 0),
    "sum of repeated": (lambda x: p.reduce_sum(repeated(x), axes=(0,)), 1),
    "sum of partly repeated": (lambda x: p.reduce_sum(repeated(x), axes=(0, 1)), 2),
    "slice of all": (lambda x: cut(x, 0, 6), 0),
    "pad nothing": (lambda x: padded(x, 0, 0), 0),
    "pad twice": (lambda x: padded(padded(x, 1, 2), 3, 0), 1),
    "concatenate one": (lambda x: p.concatenate(x, axis=0), 0),
    "nested concatenations": (
        lambda x: p.concatenate(p.concatenate(x, x, axis=1), x, axis=1), 1),
    "concatenations of two axes": (
        lambda x: p.concatenate(p.concatenate(x, x, axis=1), x2(x), axis=0), 2),
    "neighbouring pads": (lambda x: p.add(padded(x, 0, 6), padded(x, 6, 0)), 1),
    "neighbouring pads, the other way": (lambda x: p.add(padded(x, 6, 6), padded(x, 0, 12)), 2),
    "overlapping pads": (lambda x: p.add(padded(x, 0, 5), padded(x, 5, 0)), 3),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_value_is_equal_and_takes_fewer_calls(name):
    config.set_backend("numpy")
    function, calls = ROWS[name]
    x = np.random.default_rng(0).normal(size=(2, 6)).astype("float32")
    graph = trace(function, [Spec((2, 6))])
    rules = dict(SIMPLIFY)
    SIMPLIFY.clear()
    try:
        plain = trace(function, [Spec((2, 6))])
    finally:
        SIMPLIFY.update(rules)
    (simple,), (want,) = graph(x), plain(x)
    np.testing.assert_allclose(simple, want, rtol=1e-6)
    assert simple.shape == want.shape and simple.dtype == want.dtype
    assert len(graph.calls) == calls
    assert calls <= len(plain.calls)


def test_cotangents_of_four_slices_become_one_concatenation():
    def function(x):
        parts = [cut(x, 3 * i, 3 * i + 3) for i in range(4)]
        y = p.multiply(p.multiply(p.exp(parts[0]), parts[1]), p.add(parts[2], parts[3]))
        return gradient([y], [np.ones((2, 3), "float32")], [x])

    graph = trace(function, [Spec((2, 12))])
    targets = [c.target for c in graph.calls]
    assert targets.count(p.concatenate) == 1 and p.pad not in targets
    x = np.random.default_rng(0).normal(size=(2, 12)).astype("float32")
    a, b, c, d = np.split(x, 4, axis=1)
    want = np.concatenate([np.exp(a) * b * (c + d), np.exp(a) * (c + d), *[np.exp(a) * b] * 2], 1)
    np.testing.assert_allclose(run(graph, [x])[0], want, rtol=1e-5)
