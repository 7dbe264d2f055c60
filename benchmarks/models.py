"""The benchmarks' models in the Keras API, and what is shared by those written by hand.

`build(keras, name)` takes any module that speaks the Keras API. The same models, trained by a loop
that a good engineer writes without a library, are in `loops_NAME.py` for each backend: subclasses of
`ByHand`. Weights are lists in Keras's order.
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
    "cnn": Model((28, 28, 1), 64, 8),
    "cnn_wide": Model((32, 32, 3), 32, 4),
    "lstm": Model((50, 32), 32, 12),
    "transformer": Model((64,), 16, 6, tokens=True),
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
    return ready(keras, build(keras, name))


def ready(keras, model):
    """The model, compiled as all are."""
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


# ---- by hand -------------------------------------------------------------------------------------


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


class ByHand:
    """A model trained by a loop written for it: shuffled rows, totals kept until the epoch ends.

    A backend's loop gives `zeros()` (loss and hits to start from), `train(x, y)` and `test(x, y)`,
    which move `self.totals` on (and the weights), and `infer(x)`, the logits of a batch.
    """

    def __init__(self, name):
        self.name, self.batch = name, MODELS[name].batch
        self.generator = np.random.default_rng(2)

    def fit(self, x, y, shuffle=True):
        order = self.generator.permutation(len(x)) if shuffle else np.arange(len(x))
        self.totals, steps = self.zeros(), len(x) // self.batch
        for i in range(steps):
            rows = order[i * self.batch : (i + 1) * self.batch]
            self.train(x[rows], y[rows])
        return [float(t) / steps for t in self.totals]

    def train_on_batch(self, x, y):
        self.totals = self.zeros()
        self.train(x, y)
        return [float(t) for t in self.totals]

    def evaluate(self, x, y):
        self.totals, steps = self.zeros(), len(x) // self.batch
        for i in range(steps):
            rows = slice(i * self.batch, (i + 1) * self.batch)
            self.test(x[rows], y[rows])
        return [float(t) / steps for t in self.totals]

    def predict(self, x):
        starts = range(0, len(x), self.batch)
        outputs = [self.infer(x[i : i + self.batch]) for i in starts]
        return np.concatenate([np.asarray(o) for o in outputs])
