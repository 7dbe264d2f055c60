"""Optimizers that take a weight as a matrix: Adafactor by rows and columns, Muon as a whole."""

from __future__ import annotations

import re

import numpy as np

from oneiros import ops
from oneiros.core.scopes import names
from oneiros.core.variable import Variable
from oneiros.optimizers.adam import Adam
from oneiros.optimizers.optimizer import Adaptive

__all__ = ["Adafactor", "Muon"]


class Adafactor(Adaptive):
    """Adam without a mean, and with the squares kept by row and column (Shazeer and Stern, 2018).

    Args:
        beta_2_decay: How fast the memory of squares grows: at step t, `1 - t ** beta_2_decay`.
        epsilon_1: A small number added to squares.
        epsilon_2: The least root mean square that a weight is taken to have.
        clip_threshold: The largest root mean square of a step.
        relative_step: Whether the learning rate is at most `1 / sqrt(t)`.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Adafactor(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.8419, 2.1581]
    """

    learning_rate: float = 0.001
    beta_2_decay: float = -0.8
    epsilon_1: float = 1e-30
    epsilon_2: float = 1e-3
    clip_threshold: float = 1.0
    relative_step: bool = True

    def _build_slots(self, variables):
        for v in variables:
            if len(v.shape) < 2:  # placeholders: Keras's files have them
                with names(()):
                    rows, columns = (
                        self._keep(Variable(np.int32(0), trainable=False, name=v.name))
                        for _ in range(2)
                    )
            else:
                rows = self.add_variable(v.shape[:-1], dtype=v.dtype, name=v.name)
                columns = self.add_variable(v.shape[:-2] + v.shape[-1:], dtype=v.dtype, name=v.name)
            square = self.add_variable_from_reference(v, "velocity")
            self._slots[id(v)] = [rows, columns, square]

    def prepare(self, lr, step):
        if self.relative_step:
            lr = ops.minimum(lr, 1.0 / ops.sqrt(step))
        return lr, ops.power(step, self.beta_2_decay)

    def update(self, g, weight, lr, step, rows, columns, square):
        lr, fresh = lr
        lr = lr * ops.maximum(_size(weight), self.epsilon_2)
        now = ops.square(g) + self.epsilon_1
        if len(weight.shape) < 2:
            square = square + (now - square) * fresh
        else:
            rows = rows + (ops.mean(now, axis=-1) - rows) * fresh
            columns = columns + (ops.mean(now, axis=-2) - columns) * fresh
            share = ops.divide_no_nan(rows, ops.mean(rows, axis=-1, keepdims=True))
            square = ops.expand_dims(share, -1) * ops.expand_dims(columns, -2)
        move = ops.divide_no_nan(g, ops.sqrt(square))  # tiny squares underflow
        move = move / ops.maximum(_size(move) / self.clip_threshold, 1.0)
        return weight - lr * move, rows, columns, square


def _size(x):
    """The root mean square."""
    return ops.sqrt(ops.mean(ops.square(x)))


class Muon(Adaptive):
    """Orthogonal steps for matrices, AdamW for all other weights (Jordan, 2024; Liu et al., 2025).

    Args:
        adam_beta_1, adam_beta_2, epsilon: Adam's.
        adam_weight_decay: The weight decay of weights that Adam takes.
        exclude_layers: Patterns; matrices whose paths match one are left to Adam.
        exclude_embeddings: Whether matrices of embeddings are left to Adam.
        muon_a, muon_b, muon_c: The polynomial of the Newton-Schulz iteration.
        adam_lr_ratio: Adam's learning rate over the other.
        momentum: How much of the running sum of gradients is kept at a step.
        ns_steps: How many Newton-Schulz iterations to make.
        nesterov: Whether to look ahead by the momentum.
        rms_rate: The root mean square of a step over Adam's; None leaves steps as they are.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Muon(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.9857, 2.0131]
    """

    learning_rate: float = 0.001
    adam_beta_1: float = 0.9
    adam_beta_2: float = 0.999
    adam_weight_decay: float = 0.004
    epsilon: float = 1e-7
    weight_decay: float = 0.004
    clipnorm: float = None
    clipvalue: float = None
    global_clipnorm: float = None
    use_ema: bool = False
    ema_momentum: float = 0.99
    ema_overwrite_frequency: int = None
    loss_scale_factor: float = None
    gradient_accumulation_steps: int = None
    name: str = None
    exclude_layers: list = None
    exclude_embeddings: bool = True
    muon_a: float = 3.4445
    muon_b: float = -4.775
    muon_c: float = 2.0315
    adam_lr_ratio: float = 1
    momentum: float = 0.95
    ns_steps: int = 5
    nesterov: bool = True
    rms_rate: float = 0.2

    def _ready(self):
        self.exclude_layers = list(self.exclude_layers or ())

    def _is_adams(self, variable):
        """Whether a weight is left to Adam."""
        if len(variable.shape) != 2:
            return True
        if self.exclude_embeddings and "embedding" in variable.path.lower():
            return True
        return any(re.search(pattern, variable.path) for pattern in self.exclude_layers)

    def _build_slots(self, variables):
        for v in variables:
            slots = ("momentum", "velocity") if self._is_adams(v) else ("momentum",)
            self._slots[id(v)] = [self.add_variable_from_reference(v, slot) for slot in slots]

    def _decay(self, variables, rate):
        adams = [v for v in variables if self._is_adams(v)]
        rest = [v for v in variables if not self._is_adams(v)]
        super()._decay(rest, rate)
        whole, self.weight_decay = self.weight_decay, self.adam_weight_decay
        try:
            super()._decay(adams, rate)
        finally:
            self.weight_decay = whole

    def prepare(self, lr, step):
        far = ops.sqrt(1.0 - self.adam_beta_2**step) / (1.0 - self.adam_beta_1**step)
        return lr, self.adam_lr_ratio * lr * far

    def update(self, g, weight, lr, step, momentum, *square):
        if square:
            return Adam.update(self, g, weight, lr[1], step, momentum, *square)
        momentum = self.momentum * momentum + g
        g = g + self.momentum * momentum if self.nesterov else momentum
        move = self.lr_adjust(self.zeropower_via_newtonschulz5(g, self.ns_steps))
        return weight - lr[0] * move, momentum

    beta_1 = property(lambda self: self.adam_beta_1)
    beta_2 = property(lambda self: self.adam_beta_2)
    amsgrad = False

    def transpose_last_axis(self, X):
        """`X` with its last two axes exchanged."""
        return ops.swapaxes(X, -1, -2)

    def lr_adjust(self, x):
        """A step times `rms_rate * sqrt(max(its rows, its columns))`."""
        if self.rms_rate is None:
            return x
        return x * (self.rms_rate * max(x.shape[0], x.shape[1]) ** 0.5)

    def zeropower_via_newtonschulz5(self, x, steps):
        """A matrix near `x` with all singular values about 1, by Newton-Schulz iterations."""
        x = ops.convert_to_tensor(x)
        tall = x.shape[-2] > x.shape[-1]
        if tall:
            x = self.transpose_last_axis(x)
        norm = ops.sqrt(ops.sum(ops.square(x), axis=(-2, -1), keepdims=True))
        x = x / (norm + 1e-7)
        for _ in range(steps):
            gram = ops.matmul(x, self.transpose_last_axis(x))
            x = self.muon_a * x + ops.matmul(
                self.muon_b * gram + self.muon_c * ops.matmul(gram, gram), x
            )
        return self.transpose_last_axis(x) if tall else x
