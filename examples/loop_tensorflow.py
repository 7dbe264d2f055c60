"""A training loop from scratch on TensorFlow: a tape, an optimizer, a metric, one tf.function.

python examples/loop_tensorflow.py
"""

import os

os.environ.setdefault("ONEIROS_BACKEND", "tensorflow")

import numpy as np
import tensorflow as tf

import oneiros
from oneiros import layers, losses, metrics, optimizers

oneiros.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(2048, 16)).astype("float32")
y = (x[:, :4].sum(1) > 0).astype("int32")
data = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(2048, seed=1).batch(64)

model = oneiros.Sequential([oneiros.Input((16,)), layers.Dense(32, "relu"), layers.Dense(2)])
loss_of = losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer, accuracy = optimizers.Adam(0.01), metrics.SparseCategoricalAccuracy()


@tf.function
def step(x, y):
    with tf.GradientTape() as tape:
        logits = model(x, training=True)
        loss = loss_of(y, logits)
    gradients = tape.gradient(loss, model.trainable_weights)
    optimizer.apply(gradients, model.trainable_weights)
    accuracy.update_state(y, logits)
    return loss


for epoch in range(3):
    accuracy.reset_state()
    total = sum(float(step(*batch)) for batch in data) / len(data)
    print(f"epoch {epoch}: loss {total:.3f}, accuracy {float(accuracy.result()):.3f}")
assert float(accuracy.result()) > 0.95
