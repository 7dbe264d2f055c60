"""A training loop from scratch on JAX: pure functions of the state, differentiated and jitted.

python examples/loop_jax.py
"""

import os

os.environ.setdefault("ONEIROS_BACKEND", "jax")

import jax
import numpy as np

import oneiros
from oneiros import layers, losses, optimizers

oneiros.utils.set_random_seed(1)
draw = np.random.default_rng(0)
x = draw.normal(size=(2048, 16)).astype("float32")
y = (x[:, :4].sum(1) > 0).astype("int32")

model = oneiros.Sequential([oneiros.Input((16,)), layers.Dense(32, "relu"), layers.Dense(2)])
loss_of = losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = optimizers.Adam(0.01)
optimizer.build(model.trainable_variables)


def loss_and_state(trainable, fixed, x, y):
    logits, fixed = model.stateless_call(trainable, fixed, x, training=True)
    return loss_of(y, logits), (fixed, logits)


@jax.jit
def step(trainable, fixed, state, x, y):
    slope = jax.value_and_grad(loss_and_state, has_aux=True)
    (loss, (fixed, logits)), gradients = slope(trainable, fixed, x, y)
    trainable, state = optimizer.stateless_apply(state, gradients, trainable)
    return trainable, fixed, state, loss, (logits.argmax(-1) == y).mean()


groups = model.trainable_variables, model.non_trainable_variables, optimizer.variables
values = [[v.value for v in group] for group in groups]
for epoch in range(3):
    order, sums = draw.permutation(len(x)).reshape(-1, 64), np.zeros(2)
    for rows in order:
        *values, loss, hits = step(*values, x[rows], y[rows])
        sums += float(loss), float(hits)
    print(f"epoch {epoch}: loss {sums[0] / len(order):.3f}, accuracy {sums[1] / len(order):.3f}")
for group, new in zip(groups, values):
    for variable, value in zip(group, new):
        variable.assign(value)
assert sums[1] / len(order) > 0.95
