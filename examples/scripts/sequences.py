"""Sequences of different lengths, padded with zeros that recurrent layers skip."""

import keras
import numpy as np
from keras import layers
from start import arguments, begin, report

TOKENS, LENGTH = 20, 10


def sequences(n):
    """Sequences of 3 to 10 tokens; the label says whether token 1 comes before token 2."""
    rng = np.random.default_rng(8)
    lengths = rng.integers(3, LENGTH + 1, n)
    x = rng.integers(3, TOKENS, (n, LENGTH))
    rows = np.arange(n)
    first, second = rng.permuted(np.tile(np.arange(3), (n, 1)), axis=1)[:, :2].T
    x[rows, first], x[rows, second] = 1, 2
    x[np.arange(LENGTH) >= lengths[:, None]] = 0
    return x.astype("int32"), (first < second).astype("float32")


args = arguments(__doc__)
keras.utils.set_random_seed(3)
model = keras.Sequential(
    [
        keras.Input(shape=(LENGTH,), dtype="int32"),
        layers.Embedding(TOKENS, 8, mask_zero=True),
        layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
        layers.GRU(8),
        layers.Dense(1, activation="sigmoid"),
    ]
)
begin(model, args.weights)
model.compile(
    optimizer=keras.optimizers.RMSprop(0.01), loss="binary_crossentropy", metrics=["accuracy"]
)
x, y = sequences(256)
history = model.fit(
    x[64:], y[64:], epochs=3, batch_size=32, shuffle=False, verbose=0,
    validation_data=(x[:64], y[:64]),
)  # fmt: skip
report(history=history, evaluation=model.evaluate(x[:64], y[:64], verbose=0))
