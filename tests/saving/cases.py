"""Models by name, built with Keras's API from either library: `build(k)` takes `keras` or `oneiros`.

`INPUT` gives the shape of one sample for each; ids are made from a seed.
"""

import numpy as np


def sequential(k):
    return k.Sequential(
        [
            k.layers.Input((4,)),
            k.layers.Dense(3, activation="relu", name="first"),
            k.layers.BatchNormalization(name="norm"),
            k.layers.Dropout(0.5, name="drop"),
            k.layers.Dense(2, kernel_regularizer=k.regularizers.L2(0.01), name="last"),
        ],
        name="chain",
    )


def compiled(k):
    model = sequential(k)
    model.compile(
        k.optimizers.Adam(k.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)),
        loss="mse",
        metrics=["mae"],
    )
    model.optimizer.build(model.trainable_variables)
    return model


def shared_and_nested(k):
    x = k.layers.Input((4,), name="features")
    shared = k.layers.Dense(4, name="shared")
    inner = k.Sequential([k.layers.Input((4,)), k.layers.Dense(4)], name="inner")
    y = inner(shared(shared(x)))
    return k.Model(x, [y, k.layers.Dense(1, name="head")(y)], name="net")


def with_ops(k):
    x = k.layers.Input((4,), name="features")
    y = k.layers.Dense(4)(x)
    y = k.ops.concatenate([y * 2 + 1, k.ops.relu(x)], axis=1)
    y = k.ops.reshape(y, (-1, 2, 4))
    return k.Model(x, k.ops.mean(y, axis=1, keepdims=True), name="calculated")


def convolutional(k):
    return k.Sequential(
        [
            k.layers.Input((8, 8, 3)),
            k.layers.Conv2D(4, 3, padding="same", activation="gelu"),
            k.layers.SeparableConv2D(4, 3),
            k.layers.MaxPooling2D(),
            k.layers.LayerNormalization(),
            k.layers.GroupNormalization(2),
            k.layers.Conv2DTranspose(2, 2),
            k.layers.GlobalAveragePooling2D(),
        ]
    )


def recurrent(k):
    x = k.layers.Input((5, 4))
    y = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True))(x)
    y = k.layers.GRU(2, dropout=0.2, return_sequences=True)(y)
    y = k.layers.TimeDistributed(k.layers.Dense(3))(y)
    y = k.layers.RNN([k.layers.LSTMCell(2), k.layers.GRUCell(3)])(y)
    return k.Model(x, y, name="recurrent")


def attentive(k):
    x = k.layers.Input((5, 4))
    y = k.layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x)
    y = k.layers.GroupQueryAttention(4, 2, 2)(y, y)
    y = k.layers.LayerNormalization()(k.layers.Add()([x, y]))
    return k.Model(x, k.layers.Attention(use_scale=True)([y, y]), name="attentive")


def embedded(k):
    x = k.layers.Input((6,), dtype="int32")
    y = k.layers.Embedding(10, 4)(x)
    y = k.layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d")(y)
    return k.Model(x, k.layers.UnitNormalization()(y), name="embedded")


def masked(k):
    x = k.layers.Input((6,), dtype="int32")
    y = k.layers.Embedding(10, 4, mask_zero=True)(x)
    y = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True), merge_mode="sum")(y)
    return k.Model(x, k.layers.GlobalAveragePooling1D()(y), name="masked")


def half(k):
    x = k.layers.Input((4,))
    y = k.layers.Dense(3, dtype="bfloat16")(x)
    return k.Model(x, k.layers.Dense(2, dtype="mixed_float16")(y), name="half")


MODELS = {
    f.__name__: f
    for f in (
        sequential,
        compiled,
        shared_and_nested,
        with_ops,
        convolutional,
        recurrent,
        attentive,
        embedded,
        masked,
        half,
    )
}
INPUT = {
    convolutional: (8, 8, 3),
    recurrent: (5, 4),
    attentive: (5, 4),
    embedded: (6,),
    masked: (6,),
}


def inputs(build, batch=2, seed=0):
    """A batch for a model."""
    rng = np.random.default_rng(seed)
    shape = (batch, *INPUT.get(build, (4,)))
    if build in (embedded, masked):
        return rng.integers(0, 10, shape).astype("int32")
    return rng.normal(size=shape).astype("float32")


def randomize(model, seed=0):
    """Give every weight values of its own, positive where they are variances."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        value = rng.normal(size=v.shape) * 0.5
        v.assign((np.abs(value) + 0.5 if "variance" in v.path else value).astype("float32"))
    for i, v in enumerate(getattr(model.optimizer, "variables", ()) if model.compiled else ()):
        if "int" not in str(v.dtype):
            v.assign(np.full(v.shape, i / 8, "float32"))
    return model


def tracked(k):
    """A class of model with layers in lists, dicts and properties."""

    class Block(k.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.second = k.layers.Dense(4)
            self._hidden = k.layers.Dense(4)
            self.many = [k.layers.Dense(4), [k.layers.Dense(4)], {"x": k.layers.Dense(4)}]
            self.twice = self.second

        def build(self, shape):
            self.scale = self.add_weight(shape=(4,), initializer="ones", name="scale")
            self.count = self.add_weight(
                shape=(), initializer="zeros", trainable=False, name="count"
            )
            super().build(shape)

        @property
        def hidden(self):
            return self._hidden

        def call(self, x):
            for layer in (
                self.second,
                self._hidden,
                self.many[0],
                self.many[1][0],
                self.many[2]["x"],
            ):
                x = layer(x)
            return x * self.scale

    class Net(k.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.Zed = k.layers.Dense(4)
            self.alpha = k.layers.Dense(4)
            self._own = k.layers.Dense(4)
            self.blocks = [self.alpha, Block(name="block"), k.layers.Dense(4)]
            self.table = {"b": k.layers.Dense(4), "a": (k.layers.Dense(4),)}
            self.metric = k.metrics.Mean()

        def call(self, x):
            for layer in (self.Zed, *self.blocks, self._own, self.table["b"], self.table["a"][0]):
                x = layer(x)
            return x

    return Net, Block


# One op each: `f(k, x)` on an input of shape (None, 2, 4).
OPS = {
    "add": lambda k, x: x + x,
    "add number": lambda k, x: x + 1.5,
    "reflected": lambda k, x: 2.0 - x,
    "power": lambda k, x: abs(x) ** 2,
    "get item": lambda k, x: x[:, 0],
    "get slices": lambda k, x: x[:, ::-1, 1:3],
    "get ellipsis": lambda k, x: x[..., None, 0],
    "compare": lambda k, x: k.ops.where(x > 0, x, 0.0),
    "constant": lambda k, x: x * np.arange(4, dtype="float32"),
    "sum": lambda k, x: k.ops.sum(x, axis=(1, 2), keepdims=True),
    "var": lambda k, x: k.ops.var(x, axis=-1),
    "argmax": lambda k, x: k.ops.argmax(x, axis=-1),
    "sort": lambda k, x: k.ops.sort(x, axis=-1),
    "top_k": lambda k, x: k.ops.top_k(x, 2)[0],
    "split": lambda k, x: k.ops.split(x, 2, axis=-1)[1],
    "concatenate": lambda k, x: k.ops.concatenate([x, x], axis=1),
    "stack": lambda k, x: k.ops.stack([x, x + 1], axis=1),
    "einsum": lambda k, x: k.ops.einsum("abc,abd->acd", x, x),
    "matmul": lambda k, x: k.ops.matmul(x, k.ops.transpose(x, (0, 2, 1))),
    "tensordot": lambda k, x: k.ops.tensordot(x, np.ones((4, 3), "float32"), axes=1),
    "reshape": lambda k, x: k.ops.reshape(x, (-1, 8)),
    "expand_dims": lambda k, x: k.ops.expand_dims(x, 1),
    "squeeze": lambda k, x: k.ops.squeeze(k.ops.expand_dims(x, 1), 1),
    "pad": lambda k, x: k.ops.pad(x, ((0, 0), (1, 1), (0, 2)), constant_values=3),
    "roll": lambda k, x: k.ops.roll(x, 1, axis=1),
    "repeat": lambda k, x: k.ops.repeat(x, 2, axis=1),
    "tile": lambda k, x: k.ops.tile(x, (1, 2, 1)),
    "take": lambda k, x: k.ops.take(x, [1, 0], axis=1),
    "clip": lambda k, x: k.ops.clip(x, -0.5, 0.5),
    "cast": lambda k, x: k.ops.cast(x, "int32"),
    "softmax": lambda k, x: k.ops.softmax(x, axis=1),
    "gelu": lambda k, x: k.ops.gelu(x, approximate=False),
    "leaky_relu": lambda k, x: k.ops.leaky_relu(x, 0.3),
    "normalize": lambda k, x: k.ops.normalize(x, axis=-1),
    "layer_normalization": lambda k, x: k.ops.layer_normalization(
        x, np.ones(4, "float32"), np.zeros(4, "float32"), axis=-1
    ),
    "logsumexp": lambda k, x: k.ops.logsumexp(x, axis=1),
    "one_hot": lambda k, x: k.ops.one_hot(k.ops.cast(x > 0, "int32"), 2),
    "quantile": lambda k, x: k.ops.quantile(x, 0.3, axis=1),
    "logical": lambda k, x: k.ops.logical_and(x > 0, x < 1),
    "cumsum": lambda k, x: k.ops.cumsum(x, axis=1),
    "full_like": lambda k, x: k.ops.full_like(x, 2.0) * x,
    "attention": lambda k, x: k.ops.dot_product_attention(
        *[k.ops.reshape(x, (-1, 2, 2, 2))] * 3, is_causal=True
    ),
}


def of_op(name):
    """A builder of the model that has only this op."""

    def build(k):
        x = k.layers.Input((2, 4), name="x")
        return k.Model(x, OPS[name](k, x), name="op")

    return build
