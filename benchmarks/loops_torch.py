"""The benchmarks' models written by hand for PyTorch, as an engineer writes them: functions of
parameters, `loss.backward()`, fused Adam, `nn.LSTM`'s kernel, scaled dot-product attention.

What such a file gives is said in `loops_jax.py`.
"""

import torch
import torch.nn.functional as F
from models import (
    BETA_1,
    BETA_2,
    BLOCKS,
    EPSILON,
    HEADS,
    LEARNING_RATE,
    MODELS,
    NORM_EPSILON,
    UNITS,
    ByHand,
    initial_weights,
)

torch.set_num_threads(1)

TRAINS = tuple(MODELS)
array, wait = torch.as_tensor, lambda x: x
BARE = {
    "exp": torch.exp,
    "add": torch.add,
    "relu": torch.relu,
    "softmax": lambda x: torch.softmax(x, -1),
    "mean": torch.mean,
    "matmul": torch.matmul,
    "reshape": torch.reshape,
}


def eager(name):
    """A function of a tensor: a dense layer of 16 units, or a whole model."""
    if name == "dense":
        weight, bias = (torch.nn.Parameter(torch.ones(s)) for s in ((16, 16), (16,)))
        return lambda x: torch.relu(F.linear(x, weight, bias))
    weights, function = natural(name, initial_weights(name)), forward(name)
    return lambda x: function(weights, x)


def natural(name, weights):
    """Weights in the layout that PyTorch's layers have."""
    if name.startswith("cnn"):
        weights = [w.transpose(3, 2, 0, 1) if w.ndim == 4 else w for w in weights]
    if name == "lstm":
        weights = [weights[0].T, weights[1].T, *weights[2:]]
    return [torch.nn.Parameter(torch.tensor(w).contiguous()) for w in weights]


def forward(name):
    """The function of weights and inputs that gives the logits."""

    def mlp(w, x):
        return torch.relu(x @ w[0] + w[1]) @ w[2] + w[3]

    def cnn(w, x):
        padding = 1 if name == "cnn_wide" else 0
        x = x.permute(0, 3, 1, 2)
        for kernel, bias in ((w[0], w[1]), (w[2], w[3])):
            x = F.max_pool2d(torch.relu(F.conv2d(x, kernel, bias, padding=padding)), 2)
        return x.permute(0, 2, 3, 1).reshape(len(x), -1) @ w[4] + w[5]

    def lstm(w, x):
        state = [x.new_zeros(1, len(x), UNITS)] * 2
        row = [w[0], w[1], w[2], torch.zeros_like(w[2])]
        ys, _, _ = torch.lstm(x, state, row, True, 1, 0.0, True, False, True)
        return ys[:, -1] @ w[3] + w[4]

    def attention(x, w):
        shape = (*x.shape[:2], HEADS, UNITS // HEADS)
        flat = x.reshape(-1, UNITS)
        q, k, v = (
            torch.addmm(w[i + 1].reshape(-1), flat, w[i].reshape(UNITS, -1))
            .reshape(shape)
            .transpose(1, 2)
            for i in (0, 2, 4)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(-1, UNITS)
        return torch.addmm(w[7], mixed, w[6].reshape(-1, UNITS)).reshape(x.shape)

    def transformer(w, x):
        x, size = F.embedding(x, w[0]), 16
        for start in range(1, 1 + BLOCKS * size, size):
            b = w[start : start + size]
            x = F.layer_norm(x + attention(x, b), (UNITS,), b[8], b[9], NORM_EPSILON)
            hidden = torch.relu(x @ b[10] + b[11]) @ b[12] + b[13]
            x = F.layer_norm(x + hidden, (UNITS,), b[14], b[15], NORM_EPSILON)
        return x.mean(1) @ w[-2] + w[-1]

    functions = {"lstm": lstm, "transformer": transformer, "mlp": mlp}
    return functions.get(name, cnn)


class Loop(ByHand):
    """Metrics stay in tensors until the epoch ends; host batches, gathered by NumPy."""

    def __init__(self, name, weights=None):
        super().__init__(name)
        self.weights = natural(name, weights or initial_weights(name))
        self.function = forward(name)
        betas = BETA_1, BETA_2
        self.optimizer = torch.optim.Adam(
            self.weights, LEARNING_RATE, betas, EPSILON, fused=True, foreach=False
        )

    def zeros(self):
        return torch.zeros(()), torch.zeros(())

    def measured(self, x, y):
        logits, y = self.function(self.weights, torch.from_numpy(x)), torch.from_numpy(y).long()
        loss = F.cross_entropy(logits, y)
        with torch.no_grad():
            self.totals[0].add_(loss)
            self.totals[1].add_((logits.argmax(-1) == y).float().mean())
        return loss

    def train(self, x, y):
        self.optimizer.zero_grad()
        self.measured(x, y).backward()
        self.optimizer.step()

    def test(self, x, y):
        with torch.inference_mode():
            self.measured(x, y)

    def infer(self, x):
        with torch.inference_mode():
            return self.function(self.weights, torch.from_numpy(x))


def own_model(keras):
    """A model with a `train_step` as the guides write it for this framework."""

    class OwnStep(keras.Model):
        def train_step(self, data):
            x, y = data
            self.zero_grad()
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
            loss.backward()
            weights = list(self.trainable_weights)
            gradients = [v.value.grad for v in weights]
            with torch.no_grad():
                self.optimizer.apply(gradients, weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    return OwnStep
