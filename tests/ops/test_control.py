"""Derivatives given by hand, within loops and branches."""

import numpy as np
import pytest

import oneiros
from oneiros import ops
from oneiros.core import backend as backends
from oneiros.core.autodiff import gradient
from oneiros.core.graph import trace
from oneiros.core.spec import Spec

X = np.array([0.3, -0.7, 1.2], "float32")


@ops.custom_gradient
def bent(x):
    """A square whose derivative is said to be `3 e^x`; it reads a value of the forward pass."""
    e = ops.exp(x)
    return x * x, lambda g: g * 3.0 * e


def twice(x):
    return bent(bent(x))


def in_scan(x):
    outer = ops.sin(x[0])  # captured from outside of the loop

    @ops.custom_gradient
    def scaled(v):
        return v * 2.0, lambda g: g * outer

    return ops.scan(lambda c, v: (c + scaled(bent(v)), scaled(c)), x[0] * 0.0, x)[1]


PLACES = {
    "alone": (bent, lambda x: 3 * np.exp(x)),
    "twice": (twice, lambda x: 9 * np.exp(x * x) * np.exp(x)),
    "map": (lambda x: ops.map(bent, x), lambda x: 3 * np.exp(x)),
    "cond": (
        lambda x: ops.cond(ops.sum(x) > 0, lambda: bent(x), lambda: x),
        lambda x: 3 * np.exp(x) if x.sum() > 0 else np.ones_like(x),
    ),
    "fori_loop": (
        lambda x: ops.fori_loop(0, 2, lambda i, v: bent(v), x),
        lambda x: 9 * np.exp(x * x) * np.exp(x),
    ),
    "remat": (lambda x: oneiros.remat(bent)(x), lambda x: 3 * np.exp(x)),
    "vectorized_map": (lambda x: ops.vectorized_map(bent, x), lambda x: 3 * np.exp(x)),
    # c_3 = sum of scaled(bent(v)); of its derivative, `outer` stands for the slope 2
    "scan": (
        in_scan,
        lambda x: np.sin(x[0]) * np.sin(x[0]) * 3 * np.exp(x) * np.array([2, 1, 0]),
    ),
}


def slopes(function, x, order=1):
    """The derivative of the sum of `function(x)`, compiled by the backend in use."""

    def first(x):
        y = function(x)
        return gradient([y], [ops.ones_like(y)], [x])[0]

    engine = backends.current()
    graph = trace(first if order == 1 else lambda x: gradient(
        [y := first(x)], [ops.ones_like(y)], [x]), [Spec(x.shape)])  # fmt: skip
    (made,) = engine.compile(graph)(engine.to_array(x))
    return engine.to_numpy(made)


@pytest.mark.parametrize("place", PLACES)
def test_a_custom_gradient_holds_wherever_it_stands(backend, place):
    function, slope = PLACES[place]
    for x in (X, -X):
        np.testing.assert_allclose(slopes(function, x), slope(x), rtol=2e-5)


def test_a_custom_gradient_is_differentiated_itself(backend):
    np.testing.assert_allclose(slopes(bent, X, order=2), 3 * np.exp(X), rtol=2e-5)


def test_a_custom_gradient_runs_within_a_while_loop(backend):
    def function(x):
        return ops.while_loop(lambda i, v: i < 2, lambda i, v: (i + 1, bent(v)), (0, x))[1]

    engine = backends.current()
    (made,) = engine.compile(trace(function, [Spec(X.shape)]))(engine.to_array(X))
    np.testing.assert_allclose(engine.to_numpy(made), X**4, rtol=1e-5)


@pytest.mark.parametrize(
    "grad, message",
    [(lambda g: (g, g), "one derivative for each of 1"), (lambda g: g[:2], r"shape \(2,\)")],
)
def test_a_custom_gradient_that_does_not_fit_is_refused(grad, message):
    wrong = ops.custom_gradient(lambda x: (x * 2.0, grad))
    with pytest.raises(ValueError, match=message):
        trace(wrong, [Spec((3,))])


def test_a_custom_gradient_of_a_list_and_an_integer(backend):
    @ops.custom_gradient
    def blend(xs, n):
        return xs[0] * xs[1] * ops.cast(n, "float32"), lambda g: ([g * 2.0, None], None)

    def function(x):
        return blend([x, x + 1.0], ops.convert_to_tensor(3))

    np.testing.assert_allclose(slopes(function, X), [2.0, 2.0, 2.0])
