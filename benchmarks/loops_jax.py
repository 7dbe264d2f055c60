"""The benchmarks' models written by hand for JAX: one jitted step with its state donated.

What a file `loops_NAME.py` gives, for `run.py --backend NAME`: `TRAINS`, the models that `Loop`
trains; `Loop(name, weights)`; `eager(name)`, a dense layer or the MLP as a function that nothing
compiles; `BARE`, the framework's own functions for ops; `array` and `wait`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from models import (
    BETA_1,
    BETA_2,
    BLOCKS,
    EPSILON,
    LEARNING_RATE,
    MODELS,
    NORM_EPSILON,
    UNITS,
    ByHand,
    initial_weights,
)

TRAINS = tuple(MODELS)
array, wait = jnp.asarray, jax.block_until_ready
BARE = {
    "exp": jnp.exp,
    "add": jnp.add,
    "relu": jax.nn.relu,
    "softmax": jax.nn.softmax,
    "mean": jnp.mean,
    "matmul": jnp.matmul,
    "reshape": jnp.reshape,
}


def eager(name):
    """A function of an array: a dense layer of 16 units, or a whole model."""
    if name == "dense":
        weight, bias = jnp.ones((16, 16)), jnp.ones((16,))
        return lambda x: jnp.maximum(x @ weight + bias, 0)
    weights, function = [jnp.asarray(w) for w in initial_weights(name)], forward(name)
    return lambda x: function(weights, x)


def forward(name):
    """The pure function of weights and inputs that gives the logits."""

    def mlp(w, x):
        return jax.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]

    def cnn(w, x):
        padding = "SAME" if name == "cnn_wide" else "VALID"
        for kernel, bias in ((w[0], w[1]), (w[2], w[3])):
            orders = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=orders)
            x = jax.nn.relu(x + bias)
            x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        return x.reshape(x.shape[0], -1) @ w[4] + w[5]

    def lstm(w, x):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x + h @ w[1], 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        start = jnp.zeros((x.shape[0], UNITS))
        (h, _), _ = lax.scan(step, (start, start), jnp.swapaxes(x @ w[0] + w[2], 0, 1))
        return h @ w[3] + w[4]

    def norm(x, scale, shift):
        mean = x.mean(-1, keepdims=True)
        variance = x.var(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(variance + NORM_EPSILON) * scale + shift

    def attention(x, w):
        q, k, v = (jnp.einsum("btd,dhk->bthk", x, w[i]) + w[i + 1] for i in (0, 2, 4))
        weights = jax.nn.softmax(jnp.einsum("bqhk,bthk->bhqt", q / np.sqrt(q.shape[-1]), k))
        mixed = jnp.einsum("bhqt,bthk->bqhk", weights, v)
        return jnp.einsum("bqhk,hkd->bqd", mixed, w[6]) + w[7]

    def transformer(w, x):
        x, size = w[0][x], 16
        for start in range(1, 1 + BLOCKS * size, size):
            b = w[start : start + size]
            x = norm(x + attention(x, b), b[8], b[9])
            hidden = jax.nn.relu(x @ b[10] + b[11]) @ b[12] + b[13]
            x = norm(x + hidden, b[14], b[15])
        return x.mean(1) @ w[-2] + w[-1]

    functions = {"lstm": lstm, "transformer": transformer, "mlp": mlp}
    return functions.get(name, cnn)


class Loop(ByHand):
    """Metrics stay on the device until the epoch ends; host batches, gathered by NumPy."""

    def __init__(self, name, weights=None):
        super().__init__(name)
        weights = [jnp.array(w) for w in weights or initial_weights(name)]
        slots = [[jnp.zeros_like(w) for w in weights] for _ in range(2)]
        self.state = (weights, *slots, jnp.zeros((), "int32"))
        function = forward(name)

        def measures(weights, x, y):
            logits = function(weights, x)
            chances = jax.nn.log_softmax(logits)
            loss = -jnp.take_along_axis(chances, y[:, None], 1).mean()
            return loss, (jnp.argmax(logits, -1) == y).mean()

        def train(state, totals, x, y):
            weights, means, squares, step = state
            slope = jax.value_and_grad(measures, has_aux=True)
            (loss, accuracy), gradients = slope(weights, x, y)
            step = step + 1
            rate = LEARNING_RATE * jnp.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)
            tree = jax.tree.map
            means = tree(lambda m, g: m + (g - m) * (1 - BETA_1), means, gradients)
            squares = tree(lambda v, g: v + (g * g - v) * (1 - BETA_2), squares, gradients)
            weights = tree(
                lambda w, m, v: w - rate * m / (jnp.sqrt(v) + EPSILON), weights, means, squares
            )
            totals = (totals[0] + loss, totals[1] + accuracy)
            return (weights, means, squares, step), totals

        def test(weights, totals, x, y):
            loss, accuracy = measures(weights, x, y)
            return totals[0] + loss, totals[1] + accuracy

        self.train_step = jax.jit(train, donate_argnums=(0, 1))
        self.test_step = jax.jit(test, donate_argnums=1)
        self.predict_step = jax.jit(function)

    def zeros(self):
        return jnp.zeros(()), jnp.zeros(())

    def train(self, x, y):
        self.state, self.totals = self.train_step(self.state, self.totals, x, y)

    def test(self, x, y):
        self.totals = self.test_step(self.state[0], self.totals, x, y)

    def infer(self, x):
        return self.predict_step(self.state[0], x)
