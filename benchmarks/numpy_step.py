"""A training step on NumPy: planned from a graph, against one written by hand.

    OPENBLAS_NUM_THREADS=1 python benchmarks/numpy_step.py

An MLP 784-128-10 at batch 32 with softmax cross-entropy and Adam, loss and accuracy accumulated.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["ONEIROS_BACKEND"] = "numpy"

import time

import numpy as np

import oneiros.ops  # noqa: F401 - the operators of symbols
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.autodiff import gradient
from oneiros.core.graph import trace
from oneiros.core.spec import Spec

BATCH, RATE, B1, B2, EPSILON = 32, 0.001, 0.9, 0.999, 1e-7
SHAPES = [(784, 128), (128,), (128, 10), (10,)]


def dot(x, y):
    return p.dot_general(x, y, contract=((1,), (0,)), batch=((), ()))


def step(*values):
    """The same step in primitives; state first, then images and labels."""
    weights, ms, vs, (count, total, hits, seen), (x, labels) = (
        values[:4], values[4:8], values[8:12], values[12:16], values[16:]
    )  # fmt: skip
    w1, b1, w2, b2 = weights
    h = p.maximum(p.add(dot(x, w1), b1), 0.0)
    logits = p.add(dot(h, w2), b2)
    shifted = logits - p.stop_gradient(_over(p.reduce_max(logits, axes=(1,)), logits))
    log_p = shifted - _over(p.log(p.reduce_sum(p.exp(shifted), axes=(1,))), logits)
    wanted = p.cast(
        p.equal(_over(labels, logits), p.iota(shape=(BATCH, 10), axis=1, dtype="int32")),
        dtype="float32",
    )
    losses = p.negative(p.reduce_sum(log_p * wanted, axes=(1,)))
    loss = p.reduce_sum(losses, axes=(0,)) / float(BATCH)
    grads = gradient([loss], [np.ones((), "float32")], weights)
    right = p.cast(p.equal(p.argmax(logits, axis=1), labels), dtype="float32")
    count = count + 1
    t = p.cast(count, dtype="float32")
    rate = p.sqrt(1.0 - B2**t) / (1.0 - B1**t) * RATE
    out = [[], [], []]
    for w, m, v, g in zip(weights, ms, vs, grads):
        m = m + (g - m) * (1 - B1)
        v = v + (g * g - v) * (1 - B2)
        for group, new in zip(out, (w - rate * m / (p.sqrt(v) + EPSILON), m, v)):
            group.append(new)
    total = total + p.reduce_sum(losses, axes=(0,))
    hits = hits + p.reduce_sum(right, axes=(0,))
    return [*out[0], *out[1], *out[2], count, total, hits, seen + float(BATCH)]


def _over(x, like):
    return p.broadcast_to(p.reshape(x, shape=(BATCH, 1)), shape=tuple(like.shape))


class ByHand:
    """The step as one writes it with care: no temporaries in the update, in place throughout."""

    def __init__(self, state):
        self.w, self.m, self.v = state[:4], state[4:8], state[8:12]
        self.count, self.total, self.hits, self.seen = 0, 0.0, 0.0, 0.0
        self.h, self.dh = np.empty((2, BATCH, 128), "f4")
        self.g = [np.empty(s, "f4") for s in SHAPES]
        self.scratch = [np.empty(s, "f4") for s in SHAPES]
        self.rows = np.arange(BATCH)

    def __call__(self, x, labels):
        w1, b1, w2, b2 = self.w
        h, dh, g = self.h, self.dh, self.g
        np.matmul(x, w1, out=h)
        h += b1
        np.maximum(h, 0, out=h)
        z = h @ w2
        z += b2
        right = z.argmax(1) == labels
        z -= z.max(1, keepdims=True)
        e = np.exp(z)
        s = e.sum(1, keepdims=True)
        losses = np.log(s[:, 0]) - z[self.rows, labels]
        e /= s
        e[self.rows, labels] -= 1
        e *= 1 / BATCH
        np.matmul(h.T, e, out=g[2])
        np.sum(e, 0, out=g[3])
        np.matmul(e, w2.T, out=dh)
        dh *= h > 0
        np.matmul(x.T, dh, out=g[0])
        np.sum(dh, 0, out=g[1])
        self.count += 1
        rate = RATE * np.sqrt(1 - B2**self.count) / (1 - B1**self.count)
        for w, m, v, g, t in zip(self.w, self.m, self.v, self.g, self.scratch):
            np.subtract(g, m, out=t)
            t *= 1 - B1
            m += t
            g *= g
            g -= v
            g *= 1 - B2
            v += g
            np.sqrt(v, out=t)
            t += EPSILON
            np.divide(m, t, out=t)
            t *= rate
            w -= t
        self.total += float(losses.sum())
        self.hits += float(right.sum())
        self.seen += BATCH


def start():
    r = np.random.default_rng(0)
    weights = [(r.normal(size=s) * 0.05).astype("f4") for s in SHAPES]
    zeros = [np.zeros(s, "f4") for s in SHAPES * 2]
    return [*weights, *zeros, np.zeros((), "i4"), *[np.zeros((), "f4") for _ in range(3)]]


def main():
    r = np.random.default_rng(1)
    x = r.random((BATCH, 784)).astype("f4")
    labels = r.integers(0, 10, BATCH).astype("i4")
    specs = [Spec(a.shape, a.dtype.name) for a in start()]
    specs += [Spec((BATCH, 784), "float32"), Spec((BATCH,), "int32")]
    graph = trace(step, specs)
    planned = backend.load("numpy").compile(graph, donate=range(16))
    hand, state = ByHand(start()), start()
    for _ in range(20):
        hand(x, labels)
        state = planned(*state, x, labels)
    for mine, theirs in zip(state, [*hand.w, *hand.m, *hand.v, hand.count, hand.total, hand.hits]):
        np.testing.assert_allclose(mine, theirs, rtol=2e-3, atol=1e-5)
    best = [np.inf, np.inf]
    for _ in range(40):
        begun = time.perf_counter()
        for _ in range(20):
            hand(x, labels)
        best[0] = min(best[0], time.perf_counter() - begun)
        begun = time.perf_counter()
        for _ in range(20):
            state = planned(*state, x, labels)
        best[1] = min(best[1], time.perf_counter() - begun)
    print(f"by hand {best[0] / 20 * 1e6:7.1f} us")
    print(f"planned {best[1] / 20 * 1e6:7.1f} us   ({best[1] / best[0]:.2f} times)")
    return graph


if __name__ == "__main__":
    main()
