"""Layers and models of the conformance kit: one of each mechanism, small."""

from __future__ import annotations

import numpy as np

import oneiros
from oneiros import layers, ops
from oneiros.core import config
from oneiros.testing.op_cases import even, real, whole

__all__ = ["LAYERS", "MODELS", "losses", "stateless"]

MASK = np.array([[True, True, False, True, False], [True] * 5])
SERIES = real(2, 5, 3)
FEATURES, IMAGES, TOKENS = real(40, 4), real(40, 6, 6, 2), whole(9, 40, 6)
LABELS = np.arange(40, dtype="int32") % 3

# fmt: off
# Name: a function that gives the layer, its inputs, and keyword arguments of the call
LAYERS = {
    "Dense": lambda: (layers.Dense(3, activation="gelu"), [real(4, 5)], {}),
    "EinsumDense": lambda: (layers.EinsumDense("abc,cd->abd", (None, 4)), [SERIES], {}),
    "Embedding": lambda: (layers.Embedding(7, 3), [whole(7, 2, 4)], {}),
    "Conv1D": lambda: (layers.Conv1D(4, 3, padding="causal", dilation_rate=2), [real(2, 8, 3)], {}),
    "Conv2D": lambda: (layers.Conv2D(4, 3, 2, "same", groups=2), [real(2, 7, 6, 4)], {}),
    "Conv3D": lambda: (layers.Conv3D(2, 2), [real(1, 4, 3, 3, 2)], {}),
    "Conv2DTranspose": lambda: (layers.Conv2DTranspose(3, 3, 2, "same"), [real(1, 4, 3, 2)], {}),
    "SeparableConv2D": lambda: (layers.SeparableConv2D(3, 2), [real(1, 4, 4, 2)], {}),
    "MaxPooling2D": lambda: (layers.MaxPooling2D(3, 2, "same"), [even(2, 5, 6, 2)], {}),
    "AveragePooling1D": lambda: (layers.AveragePooling1D(2), [SERIES], {}),
    "GlobalMaxPooling1D": lambda: (layers.GlobalMaxPooling1D(), [even(2, 5, 3)], {}),
    "UpSampling2D": lambda: (
        layers.UpSampling2D(2, interpolation="bilinear"), [real(1, 3, 3, 2)], {}),
    "BatchNormalization": lambda: (
        layers.BatchNormalization(), [real(6, 4)], {"training": True}),
    "LayerNormalization": lambda: (layers.LayerNormalization(), [SERIES], {}),
    "GroupNormalization": lambda: (layers.GroupNormalization(2), [real(2, 3, 4)], {}),
    "Dropout": lambda: (layers.Dropout(0.4, seed=3), [real(4, 6)], {"training": True}),
    "LSTM": lambda: (layers.LSTM(4, return_sequences=True), [SERIES], {"mask": MASK}),
    "GRU": lambda: (layers.GRU(4), [SERIES], {"mask": MASK}),
    "SimpleRNN": lambda: (layers.SimpleRNN(3, go_backwards=True), [SERIES], {}),
    "Bidirectional": lambda: (layers.Bidirectional(layers.GRU(3)), [SERIES], {}),
    "TimeDistributed": lambda: (layers.TimeDistributed(layers.Dense(2)), [SERIES], {}),
    "MultiHeadAttention": lambda: (
        layers.MultiHeadAttention(2, 3), [SERIES, real(2, 4, 3)], {"use_causal_mask": True}),
}
# fmt: on


def stateless(make):
    """A layer's call as a function of its weights and inputs, and those as arrays."""
    oneiros.utils.set_random_seed(5)
    layer, inputs, named = make()
    with _portable():
        layer(*inputs, **named)
    trainable, rest = layer.trainable_variables, layer.non_trainable_variables
    arrays = [v.numpy() for v in (*trainable, *rest)] + inputs

    def function(*values):
        n, m = len(trainable), len(trainable) + len(rest)
        with _portable():
            y, state = layer.stateless_call(values[:n], values[n:m], *values[m:], **named)
        return [*oneiros.tree.flatten(y), *state]

    return function, arrays


class _portable:
    """Noise is equal on all backends within."""

    def __enter__(self):
        self.before = config.random_generator()
        config.set_random_generator("portable")

    def __exit__(self, *_):
        config.set_random_generator(self.before)


# Models that train --------------------------------------------------------------------------------
def dense():
    model = oneiros.Sequential(
        [layers.Dense(16, "relu"), layers.BatchNormalization(), layers.Dense(3)]
    )
    return model, FEATURES, "adam"


def convolutional():
    model = oneiros.Sequential(
        [
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(4, 2, activation="silu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    return model, IMAGES, oneiros.optimizers.SGD(0.1, momentum=0.9, nesterov=True)


def recurrent():
    model = oneiros.Sequential(
        [layers.Embedding(9, 4, mask_zero=True), layers.LSTM(6), layers.Dense(3)]
    )
    return model, TOKENS, oneiros.optimizers.RMSprop(0.01)


def transformer():
    inputs = oneiros.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8)(inputs)
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x))
    x = layers.LayerNormalization()(x + layers.Dense(8)(layers.Dense(16, "gelu")(x)))
    outputs = layers.Dense(3)(layers.GlobalAveragePooling1D()(x))
    return oneiros.Model(inputs, outputs), TOKENS, oneiros.optimizers.AdamW(0.003)


def two_inputs():
    """Two inputs, a weight that is used twice, dropout."""
    a, b = oneiros.Input((4,), name="a"), oneiros.Input((4,), name="b")
    shared = layers.Dense(8, "tanh")
    x = layers.Concatenate()([shared(a), shared(b) * ops.sigmoid(b[:, :1])])
    x = layers.Dropout(0.3, seed=1)(x)
    data = {"a": FEATURES, "b": FEATURES[::-1]}
    return oneiros.Model({"a": a, "b": b}, layers.Dense(3)(x)), data, oneiros.optimizers.Adam(0.01)


MODELS = {f.__name__: f for f in (dense, convolutional, recurrent, transformer, two_inputs)}


def losses(make, backend):
    """Those of ten epochs of five steps."""
    before = config.backend()
    config.set_backend(backend)
    try:
        with _portable():
            oneiros.utils.set_random_seed(11)
            model, x, optimizer = make()
            loss = oneiros.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(optimizer, loss)
            return model.fit(x, LABELS, batch_size=8, epochs=10, verbose=0).history["loss"]
    finally:
        config.set_backend(before)
