"""Adam and its kin: running means of the gradient and of its square."""

from __future__ import annotations

from oneiros import ops
from oneiros.core import config
from oneiros.core.op import op
from oneiros.core.scopes import names
from oneiros.core.variable import Variable
from oneiros.optimizers.optimizer import AS_IT_IS, Adaptive, blend

__all__ = ["Adam", "AdamW", "Adamax", "Lamb", "Nadam", "ScheduleFreeAdamW"]


class Adam(Adaptive):
    """Steps by the running mean of the gradient over the root of that of its square.

    Kingma and Ba, 2014; with `amsgrad`, over the largest such root so far (Reddi et al., 2018).

    Args:
        beta_1: How much of the running mean of the gradient is kept at a step.
        beta_2: How much of that of its square.
        epsilon: A small number in the denominator: the paper's "epsilon hat".

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([1.0])
    >>> optimizers.Adam(0.1).apply([[3.0]], [w])
    >>> round(float(w.numpy()[0]), 4)
    0.9
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    @property
    def slots(self):
        return ("momentum velocity", "velocity_hat") if self.amsgrad else ("momentum velocity",)

    def prepare(self, lr, step):
        return lr * ops.sqrt(1.0 - self.beta_2**step) / (1.0 - self.beta_1**step)

    def update(self, g, weight, lr, step, mean, square, *largest):
        if not self.amsgrad:
            return adam_update(weight, g, mean, square, lr, self.beta_1, self.beta_2, self.epsilon)
        mean = blend(mean, g, self.beta_1)
        square = blend(square, ops.square(g), self.beta_2)
        largest = ops.maximum(largest[0], square)
        return weight - lr * mean / (ops.sqrt(largest) + self.epsilon), mean, square, largest


@op
def adam_update(weight, g, mean, square, lr, beta_1, beta_2, epsilon):
    """The weight and the two running means after a step of Adam; backends may have it in one call."""
    mean = blend(mean, g, beta_1)
    square = blend(square, ops.square(g), beta_2)
    return weight - lr * mean / (ops.sqrt(square) + epsilon), mean, square


adam_update.alike = 0, 2, 3


class AdamW(Adam):
    """Adam with weight decay that the gradient has no part in (Loshchilov and Hutter, 2017).

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.AdamW(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.8996, 2.0992]
    """

    fields = {}  # in an order of its own
    learning_rate: float = 0.001
    weight_decay: float = 0.004
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    amsgrad: bool = False

    def _ready(self):
        if self.weight_decay is None:
            raise ValueError("AdamW: `weight_decay` must be a number; got None")


class Adamax(Adaptive):
    """Adam with the largest size of recent gradients in place of their root mean square.

    Kingma and Ba, 2014, section 7.1.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Adamax(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.9, 2.1]
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots = ("momentum norm",)

    def prepare(self, lr, step):
        return lr / (1.0 - self.beta_1**step)

    def update(self, g, weight, lr, step, mean, largest):
        mean = blend(mean, g, self.beta_1)
        largest = ops.maximum(self.beta_2 * largest, ops.abs(g))
        return weight - lr * mean / (largest + self.epsilon), mean, largest


class Nadam(Adaptive):
    """Adam with Nesterov's momentum (Dozat, 2016).

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Nadam(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.8937, 2.1063]
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots = ("momentum velocity",)

    def _build_slots(self, variables):
        super()._build_slots(variables)
        with names(()):
            one = Variable(1.0, dtype=config.floatx(), trainable=False)
        self._u_product = self._keep(one)

    def prepare(self, lr, step):
        now, after = (self.beta_1 * (1.0 - 0.5 * 0.96 ** (step + ahead)) for ahead in (0.0, 1.0))
        product = self._u_product.value * now
        self._u_product.assign(product)
        return (
            lr * after / (1.0 - product * after),  # of the mean
            lr * (1.0 - now) / (1.0 - product),  # of the gradient
            1.0 / (1.0 - self.beta_2**step),  # of the square
        )

    def update(self, g, weight, lr, step, mean, square):
        of_mean, of_gradient, of_square = lr
        mean = blend(mean, g, self.beta_1)
        square = blend(square, ops.square(g), self.beta_2)
        root = ops.sqrt(square * of_square) + self.epsilon
        return weight - (mean * of_mean + g * of_gradient) / root, mean, square


class Lamb(Adaptive):
    """Adam with steps in proportion to each weight's norm, for large batches (You et al., 2019).

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Lamb(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.8419, 2.1581]
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    slots = ("momentum velocity",)

    def prepare(self, lr, step):
        return lr, 1.0 / (1.0 - self.beta_1**step), 1.0 / (1.0 - self.beta_2**step)

    def update(self, g, weight, lr, step, mean, square):
        lr, of_mean, of_square = lr
        mean = blend(mean, g, self.beta_1)
        square = blend(square, ops.square(g), self.beta_2)
        move = mean * of_mean / (ops.sqrt(square * of_square) + self.epsilon)
        size, length = (ops.sqrt(ops.sum(ops.square(x))) for x in (weight, move))
        both = ops.logical_and(size > 0, length > 0)
        trust = ops.where(both, size / ops.where(both, length, 1.0), 1.0)
        return weight - trust * lr * move, mean, square


class ScheduleFreeAdamW(Adaptive):
    """AdamW without a schedule: steps from one sequence, gradients between it and its mean.

    Defazio et al., 2024. With z the sequence (the slot `momentum`) and x the mean of its points,
    the weights are `(1 - beta_1) z + beta_1 x` while training.

    Args:
        warmup_steps: Over how many steps the learning rate rises linearly from 0.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.ScheduleFreeAdamW(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.9, 2.1]
    """

    learning_rate: float = 0.0025
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    warmup_steps: int = 0
    slots = ("momentum velocity",)

    def initial(self, slot):
        return AS_IT_IS if slot == "momentum" else "zeros"

    def prepare(self, lr, step):
        if self.warmup_steps:
            lr = lr * ops.minimum(step / self.warmup_steps, 1.0)
        return lr, 1.0 / (1.0 - self.beta_2**step), 1.0 / step

    def update(self, g, weight, lr, step, point, square):
        lr, of_square, share = lr
        mean = (weight - (1.0 - self.beta_1) * point) / self.beta_1
        square = blend(square, ops.square(g), self.beta_2)
        point = point - lr * g / (ops.sqrt(square * of_square) + self.epsilon)
        mean = mean + (point - mean) * share
        return point + (mean - point) * self.beta_1, point, square
