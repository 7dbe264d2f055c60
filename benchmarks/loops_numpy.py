"""The benchmarks' MLP written by hand for NumPy: derivatives and Adam in place."""

import numpy as np
from models import BETA_1, BETA_2, EPSILON, LEARNING_RATE, ByHand, initial_weights

TRAINS = ("mlp",)
array = np.asarray


def wait(values):
    """NumPy is never behind."""


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


BARE = {
    "exp": np.exp,
    "add": np.add,
    "relu": lambda x: np.maximum(x, 0),
    "softmax": softmax,
    "mean": np.mean,
    "matmul": np.matmul,
    "reshape": np.reshape,
}


def eager(name):
    """A function of an array: a dense layer of 16 units, or the MLP."""
    if name == "dense":
        weight, bias = np.ones((16, 16), "float32"), np.ones(16, "float32")
        return lambda x: np.maximum(x @ weight + bias, 0)
    w = initial_weights(name)
    return lambda x: np.maximum(x @ w[0] + w[1], 0) @ w[2] + w[3]


class Loop(ByHand):
    """No temporaries in the update, and memory of the weights' size made once."""

    def __init__(self, name="mlp", weights=None):
        super().__init__(name)
        self.weights = [np.array(w) for w in weights or initial_weights(name)]
        self.means = [np.zeros_like(w) for w in self.weights]
        self.squares = [np.zeros_like(w) for w in self.weights]
        self.spare = [np.empty_like(w) for w in self.weights]
        self.gradients = [np.empty_like(w) for w in self.weights]
        self.rows, self.step = np.arange(self.batch), 0

    def zeros(self):
        return 0.0, 0.0

    def infer(self, x):
        first, first_bias, second, second_bias = self.weights
        hidden = x @ first
        hidden += first_bias
        np.maximum(hidden, 0, out=hidden)
        self.hidden = hidden
        logits = hidden @ second
        logits += second_bias
        return logits

    def test(self, x, y):
        logits = self.infer(x)
        hits = (logits.argmax(1) == y).mean()
        logits -= logits.max(1, keepdims=True)
        self.chances = np.exp(logits)
        sums = self.chances.sum(1, keepdims=True)
        loss = (np.log(sums[:, 0]) - logits[self.rows, y]).mean()
        self.chances /= sums
        self.totals = self.totals[0] + float(loss), self.totals[1] + float(hits)

    def train(self, x, y):
        self.test(x, y)
        slope, hidden, gradients = self.chances, self.hidden, self.gradients
        slope[self.rows, y] -= 1
        slope *= np.float32(1 / len(x))
        back = slope @ self.weights[2].T
        back *= hidden > 0
        np.matmul(x.T, back, out=gradients[0])
        np.sum(back, 0, out=gradients[1])
        np.matmul(hidden.T, slope, out=gradients[2])
        np.sum(slope, 0, out=gradients[3])
        self.adam()

    def adam(self):
        self.step += 1
        rate = LEARNING_RATE * np.sqrt(1 - BETA_2**self.step) / (1 - BETA_1**self.step)
        state = self.weights, self.means, self.squares, self.spare, self.gradients
        for weight, mean, square, spare, g in zip(*state, strict=True):
            np.subtract(g, mean, out=spare)
            spare *= np.float32(1 - BETA_1)
            mean += spare
            g *= g
            g -= square
            g *= np.float32(1 - BETA_2)
            square += g
            np.sqrt(square, out=spare)
            spare += np.float32(EPSILON)
            np.divide(mean, spare, out=spare)
            spare *= np.float32(rate)
            weight -= spare
