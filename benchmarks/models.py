"""The benchmarks' models three times: in the Keras API, hand-written for JAX, and one for NumPy.

`build(keras, name)` takes any module that speaks the Keras API. `HandWritten` is what a good
engineer writes without a library: a jitted step with donated state, host batches from shuffled
indices, metrics that stay on the device until the epoch ends. Weights are lists in Keras's order.
"""

from typing import NamedTuple

import numpy as np

CLASSES = 10
UNITS, HEADS, FEED_FORWARD, VOCABULARY, BLOCKS = 128, 4, 512, 1000, 2
LEARNING_RATE, BETA_1, BETA_2, EPSILON = 1e-3, 0.9, 0.999, 1e-7
NORM_EPSILON = 1e-3


class Model(NamedTuple):
    """What one benchmark model eats, and how much in a round."""

    shape: tuple
    batch: int
    steps: int
    tokens: bool = False


MODELS = {
    "mlp": Model((784,), 32, 200),
    "cnn": Model((28, 28, 1), 64, 16),
    "cnn_wide": Model((32, 32, 3), 32, 8),
    "lstm": Model((50, 32), 32, 20),
    "transformer": Model((64,), 16, 10, tokens=True),
}


def data(name, steps):
    """Random inputs and labels for so many steps."""
    model = MODELS[name]
    generator = np.random.default_rng(0)
    rows = steps * model.batch
    if model.tokens:
        x = generator.integers(0, VOCABULARY, (rows, *model.shape)).astype("int32")
    else:
        x = generator.standard_normal((rows, *model.shape), dtype="float32")
    return x, generator.integers(0, CLASSES, rows).astype("int32")


# ---- in the Keras API ----------------------------------------------------------------------------


def build(keras, name):
    """The model `name`, built by a module with the Keras API; its outputs are logits."""
    layers, model = keras.layers, MODELS[name]
    inputs = keras.Input(model.shape, dtype="int32" if model.tokens else "float32")
    x = inputs
    if name == "mlp":
        x = layers.Dense(128, activation="relu")(x)
    elif name.startswith("cnn"):
        filters, padding = ((64, 128), "same") if name == "cnn_wide" else ((32, 64), "valid")
        for count in filters:
            x = layers.Conv2D(count, 3, padding=padding, activation="relu")(x)
            x = layers.MaxPooling2D()(x)
        x = layers.Flatten()(x)
    elif name == "lstm":
        x = layers.LSTM(UNITS)(x)
    elif name == "transformer":
        x = layers.Embedding(VOCABULARY, UNITS)(x)
        for _ in range(BLOCKS):
            attended = layers.MultiHeadAttention(HEADS, UNITS // HEADS)(x, x)
            x = layers.LayerNormalization(epsilon=NORM_EPSILON)(layers.Add()([x, attended]))
            hidden = layers.Dense(FEED_FORWARD, activation="relu")(x)
            hidden = layers.Dense(UNITS)(hidden)
            x = layers.LayerNormalization(epsilon=NORM_EPSILON)(layers.Add()([x, hidden]))
        x = layers.GlobalAveragePooling1D()(x)
    else:
        raise ValueError(f"no model is named {name!r}; there are {', '.join(MODELS)}")
    return keras.Model(inputs, layers.Dense(CLASSES)(x))


def compiled(keras, name):
    """`build(keras, name)`, ready to train."""
    model = build(keras, name)
    model.compile(
        keras.optimizers.Adam(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def dense100(keras):
    """A hundred small dense layers, one after the other."""
    x = inputs = keras.Input((32,))
    for _ in range(100):
        x = keras.layers.Dense(32, activation="relu")(x)
    return keras.Model(inputs, x)


def resnet50(keras, depths=(3, 4, 6, 3)):
    """A graph of the size of ResNet50: 25 million weights in about 175 layers."""
    layers = keras.layers

    def convolved(x, filters, size, strides=1, activate=True):
        x = layers.Conv2D(filters, size, strides=strides, padding="same", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        return layers.Activation("relu")(x) if activate else x

    def bottleneck(x, filters, strides, project):
        short = convolved(x, 4 * filters, 1, strides, activate=False) if project else x
        x = convolved(convolved(x, filters, 1, strides), filters, 3)
        x = convolved(x, 4 * filters, 1, activate=False)
        return layers.Activation("relu")(layers.Add()([x, short]))

    inputs = keras.Input((224, 224, 3))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(convolved(inputs, 64, 7, 2))
    for stage, depth in enumerate(depths):
        for block in range(depth):
            x = bottleneck(x, 64 * 2**stage, 2 if stage and not block else 1, not block)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(1000)(x))


# ---- hand-written for JAX ------------------------------------------------------------------------


def weight_shapes(name):
    """The shapes of the weights in Keras's order."""
    if name == "mlp":
        return [(784, 128), (128,), (128, CLASSES), (CLASSES,)]
    if name.startswith("cnn"):
        inputs, first, second, flat = (
            (3, 64, 128, 8192) if name == "cnn_wide" else (1, 32, 64, 1600)
        )
        convolutions = [(3, 3, inputs, first), (first,), (3, 3, first, second), (second,)]
        return [*convolutions, (flat, CLASSES), (CLASSES,)]
    if name == "lstm":
        recurrent = [(32, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,)]
        return [*recurrent, (UNITS, CLASSES), (CLASSES,)]
    size = UNITS // HEADS
    projection = [(UNITS, HEADS, size), (HEADS, size)]
    norm = [(UNITS,), (UNITS,)]
    dense = [(UNITS, FEED_FORWARD), (FEED_FORWARD,), (FEED_FORWARD, UNITS), (UNITS,)]
    block = [*projection * 3, (HEADS, size, UNITS), (UNITS,), *norm, *dense, *norm]
    return [(VOCABULARY, UNITS), *block * BLOCKS, (UNITS, CLASSES), (CLASSES,)]


def initial_weights(name):
    generator = np.random.default_rng(1)
    weights = [generator.standard_normal(s, dtype="float32") for s in weight_shapes(name)]
    return [w / np.float32(np.sqrt(max(1, w[..., 0].size))) for w in weights]


def forward(name):
    """The pure function of weights and inputs that gives the logits."""
    import jax
    import jax.numpy as jnp
    from jax import lax

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


class HandWritten:
    """A model trained by a loop written for it, with the methods that the benchmarks time."""

    def __init__(self, name, weights=None):
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp = jax, jnp
        self.name, self.batch = name, MODELS[name].batch
        weights = [jnp.asarray(w) for w in weights or initial_weights(name)]
        slots = [[jnp.zeros_like(w) for w in weights] for _ in range(2)]
        self.state = (weights, *slots, jnp.zeros((), "int32"))
        self.generator = np.random.default_rng(2)
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
        return self.jnp.zeros(()), self.jnp.zeros(())

    def train_on_batch(self, x, y):
        self.state, totals = self.train_step(self.state, self.zeros(), x, y)
        return [float(t) for t in totals]

    def fit(self, x, y, epochs=1):
        for _ in range(epochs):
            order = self.generator.permutation(len(x))
            totals, steps = self.zeros(), len(x) // self.batch
            for i in range(steps):
                rows = order[i * self.batch : (i + 1) * self.batch]
                self.state, totals = self.train_step(self.state, totals, x[rows], y[rows])
            history = [float(t) / steps for t in totals]
        return history

    def evaluate(self, x, y):
        totals, steps = self.zeros(), len(x) // self.batch
        for i in range(steps):
            rows = slice(i * self.batch, (i + 1) * self.batch)
            totals = self.test_step(self.state[0], totals, x[rows], y[rows])
        return [float(t) / steps for t in totals]

    def predict(self, x):
        starts = range(0, len(x), self.batch)
        outputs = [self.predict_step(self.state[0], x[i : i + self.batch]) for i in starts]
        return np.concatenate([np.asarray(o) for o in outputs])


# ---- hand-written for NumPy ----------------------------------------------------------------------


class HandWrittenNumPy:
    """The MLP with its derivatives and Adam by hand, in place where that saves memory traffic."""

    def __init__(self, weights=None):
        self.batch = MODELS["mlp"].batch
        self.weights = [np.array(w) for w in weights or initial_weights("mlp")]
        self.means = [np.zeros_like(w) for w in self.weights]
        self.squares = [np.zeros_like(w) for w in self.weights]
        self.spare = [np.empty_like(w) for w in self.weights]
        self.rows = np.arange(self.batch)
        self.generator = np.random.default_rng(2)
        self.step = 0

    def train_on_batch(self, x, y):
        first, first_bias, second, second_bias = self.weights
        hidden = x @ first
        hidden += first_bias
        np.maximum(hidden, 0, out=hidden)
        logits = hidden @ second
        logits += second_bias
        hits = (logits.argmax(1) == y).mean()
        logits -= logits.max(1, keepdims=True)
        chances = np.exp(logits)
        totals = chances.sum(1, keepdims=True)
        loss = (np.log(totals[:, 0]) - logits[self.rows, y]).mean()
        chances /= totals
        chances[self.rows, y] -= 1
        chances *= np.float32(1 / len(x))
        back = chances @ second.T
        back *= hidden > 0
        self.adam([x.T @ back, back.sum(0), hidden.T @ chances, chances.sum(0)])
        return [float(loss), float(hits)]

    def adam(self, gradients):
        self.step += 1
        rate = LEARNING_RATE * np.sqrt(1 - BETA_2**self.step) / (1 - BETA_1**self.step)
        state = zip(self.weights, self.means, self.squares, self.spare, gradients, strict=True)
        for weight, mean, square, spare, g in state:
            mean *= np.float32(BETA_1)
            np.multiply(g, np.float32(1 - BETA_1), out=spare)
            mean += spare
            square *= np.float32(BETA_2)
            g *= g
            g *= np.float32(1 - BETA_2)
            square += g
            np.sqrt(square, out=spare)
            spare += np.float32(EPSILON)
            np.divide(mean, spare, out=spare)
            spare *= np.float32(rate)
            weight -= spare

    def fit(self, x, y, epochs=1):
        for _ in range(epochs):
            order = self.generator.permutation(len(x))
            losses = []
            for i in range(0, len(x), self.batch):
                rows = order[i : i + self.batch]
                losses.append(self.train_on_batch(x[rows], y[rows]))
        return np.mean(losses, 0).tolist()
