"""Support tickets: two inputs of different kinds, two outputs with losses of their own."""

import keras
import numpy as np
from keras import layers
from start import arguments, begin, report

WORDS, LENGTH, TAGS, DEPARTMENTS = 60, 12, 5, 4


def tickets(n):
    """Titles as word indices, tags as zeros and ones; how urgent, and whose they are."""
    rng = np.random.default_rng(11)
    title = rng.integers(1, WORDS, (n, LENGTH))
    tags = rng.integers(0, 2, (n, TAGS)).astype("float32")
    urgent = ((title < 12).sum(1) + 2 * tags[:, 0] > 3).astype("float32")
    department = (title.max(1) + 3 * tags[:, 1:3].sum(1)).astype("int32") % DEPARTMENTS
    return {"title": title.astype("int32"), "tags": tags}, {
        "urgency": urgent[:, None],
        "department": department,
    }


def build():
    title = keras.Input(shape=(LENGTH,), dtype="int32", name="title")
    tags = keras.Input(shape=(TAGS,), name="tags")
    words = layers.Embedding(WORDS, 16)(title)
    words = layers.GlobalAveragePooling1D()(words)
    both = layers.concatenate([words, tags])
    both = layers.Dense(24, activation="relu")(both)
    both = layers.LayerNormalization()(both)
    urgency = layers.Dense(1, activation="sigmoid", name="urgency")(both)
    department = layers.Dense(DEPARTMENTS, name="department")(both)
    return keras.Model(
        inputs={"title": title, "tags": tags},
        outputs={"urgency": urgency, "department": department},
    )


args = arguments(__doc__)
keras.utils.set_random_seed(1)
model = build()
begin(model, args.weights)
model.compile(
    optimizer=keras.optimizers.Adam(0.01),
    loss={
        "urgency": keras.losses.BinaryCrossentropy(),
        "department": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    },
    loss_weights={"urgency": 1.0, "department": 0.4},
    metrics={"urgency": ["binary_accuracy"], "department": ["sparse_categorical_accuracy"]},
)
x, y = tickets(320)
history = model.fit(x, y, epochs=3, batch_size=32, shuffle=False, validation_split=0.2, verbose=0)
first = {name: values[:3] for name, values in x.items()}
report(history=history, urgency=model.predict(first, verbose=0)["urgency"])
