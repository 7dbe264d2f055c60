"""A training loop from scratch on PyTorch: `backward`, an optimizer of PyTorch's, a metric.

python examples/loop_torch.py
"""

import os

os.environ.setdefault("ONEIROS_BACKEND", "torch")

import numpy as np
import torch

import oneiros
from oneiros import layers, losses, metrics

oneiros.utils.set_random_seed(1)
x = np.random.default_rng(0).normal(size=(2048, 16)).astype("float32")
y = (x[:, :4].sum(1) > 0).astype("int64")
pairs = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
data = torch.utils.data.DataLoader(pairs, batch_size=64, shuffle=True)

model = oneiros.Sequential([oneiros.Input((16,)), layers.Dense(32, "relu"), layers.Dense(2)])
loss_of = losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
accuracy = metrics.SparseCategoricalAccuracy()

for epoch in range(3):
    accuracy.reset_state()
    total = 0.0
    for inputs, targets in data:
        logits = model(inputs, training=True)
        loss = loss_of(targets, logits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        accuracy.update_state(targets, logits)
        total += loss.item() / len(data)
    print(f"epoch {epoch}: loss {total:.3f}, accuracy {float(accuracy.result()):.3f}")
assert float(accuracy.result()) > 0.95
