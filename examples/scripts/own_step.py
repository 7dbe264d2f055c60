"""Regression with a training step of one's own, in JAX's style: the state is passed along."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax
import keras
import numpy as np
from keras import layers, ops
from start import arguments, begin, report


class Regression(keras.Model):
    """Two dense layers; a step clips the gradient's norm and reports it."""

    def __init__(self, width, **kwargs):
        super().__init__(**kwargs)
        self.hidden = layers.Dense(width, activation="tanh")
        self.norm = layers.BatchNormalization()
        self.out = layers.Dense(1)

    def call(self, inputs, training=False):
        return self.out(self.norm(self.hidden(inputs), training=training))

    def train_step(self, state, data):
        weights, others, optimizer_state, metric_state = state
        x, y = data
        slopes_of = jax.value_and_grad(self.compute_loss_and_updates, has_aux=True)
        (loss, aux), slopes = slopes_of(
            weights, others, metric_state, x, y, None, True, optimizer_state
        )
        _, y_pred, others, metric_state = aux

        norm = ops.sqrt(sum(ops.sum(ops.square(slope)) for slope in slopes))
        slopes = [slope / ops.maximum(1.0, norm) for slope in slopes]
        weights, optimizer_state = self.optimizer.stateless_apply(optimizer_state, slopes, weights)

        logs, updated, place = {"slope": norm}, [], 0
        for metric in self.metrics:
            own = metric_state[place : place + len(metric.variables)]
            place += len(metric.variables)
            if metric.name == "loss":
                own = metric.stateless_update_state(own, loss)
                logs["loss"] = metric.stateless_result(own)
            else:
                own = metric.stateless_update_state(own, y, y_pred)
                logs.update(metric.stateless_result(own))
            updated += own
        return logs, (weights, others, optimizer_state, updated)


args = arguments(__doc__)
keras.utils.set_random_seed(2)
rng = np.random.default_rng(5)
x = rng.normal(size=(256, 6)).astype("float32")
y = (np.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:3]).astype("float32")

model = Regression(16)
model(x[:1])
begin(model, args.weights)
model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="mse", metrics=["mae"])
history = model.fit(x, y, epochs=3, batch_size=32, shuffle=False, verbose=0)
report(history=history, predictions=model.predict(x[:4], verbose=0))
