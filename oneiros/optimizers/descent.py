"""Optimizers that scale or sign the gradient: SGD, RMSprop, Adagrad, Adadelta, Ftrl, Lion."""

from __future__ import annotations

from oneiros import ops
from oneiros.optimizers.optimizer import Adaptive, Optimizer, blend

__all__ = ["SGD", "Adadelta", "Adagrad", "Ftrl", "Lion", "RMSprop"]


class SGD(Optimizer):
    """Gradient descent, perhaps with momentum (Polyak, 1964; Nesterov, 1983).

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([1.0])
    >>> sgd = optimizers.SGD(learning_rate=0.5, momentum=0.5)
    >>> for _ in range(2):
    ...     sgd.apply([[1.0]], [w])
    >>> w.numpy().tolist()
    [-0.25]
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def _ready(self):
        if not isinstance(self.momentum, (int, float)) or not 0 <= self.momentum <= 1:
            raise ValueError(f"SGD: `momentum` must lie in [0, 1]; got {self.momentum!r}")

    @property
    def slots(self):
        return ("momentum",) if self.momentum else ()

    def update(self, g, weight, lr, step, velocity=None):
        if velocity is None:
            return weight - lr * g
        velocity = self.momentum * velocity - lr * g
        ahead = self.momentum * velocity - lr * g if self.nesterov else velocity
        return weight + ahead, velocity


class RMSprop(Adaptive):
    """Steps divided by a running root mean square of the gradient (Tieleman and Hinton, 2012).

    Args:
        rho: How much of the running means is kept at a step.
        momentum: How much of the last step is added to the next.
        centered: Whether to divide by the deviation from the gradient's mean instead.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.RMSprop(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.6838, 2.3162]
    """

    learning_rate: float = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-7
    centered: bool = False

    @property
    def slots(self):
        return (
            "velocity",
            *(("momentum",) if self.momentum > 0 else ()),
            *(("average_gradient",) if self.centered else ()),
        )

    def update(self, g, weight, lr, step, square, *slots):
        slots = list(slots)
        velocity = slots.pop(0) if self.momentum > 0 else None
        square = self.rho * square + (1 - self.rho) * ops.square(g)
        variance = square
        if self.centered:
            slots = [self.rho * slots[0] + (1 - self.rho) * g]
            variance = square - ops.square(slots[0])
        move = lr * g * ops.rsqrt(variance + self.epsilon)
        if velocity is not None:
            move = self.momentum * velocity + move
            slots.insert(0, move)
        return weight - move, square, *slots


class Adagrad(Adaptive):
    """Steps divided by the root of the sum of all squared gradients (Duchi et al., 2011).

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Adagrad(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.9047, 2.0953]
    """

    learning_rate: float = 0.001
    initial_accumulator_value: float = 0.1
    epsilon: float = 1e-7
    slots = ("accumulator",)

    def initial(self, slot):
        return float(self.initial_accumulator_value)

    def update(self, g, weight, lr, step, total):
        total = total + ops.square(g)
        return weight - lr * g * ops.rsqrt(total + self.epsilon), total


class Adadelta(Adaptive):
    """Steps in the ratio of the running sizes of steps and gradients (Zeiler, 2012).

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Adadelta(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.9999, 2.0001]
    """

    learning_rate: float = 0.001
    rho: float = 0.95
    epsilon: float = 1e-7
    slots = ("accumulated_grad accumulated_delta_var",)

    def update_step(self, grad, variable, learning_rate):
        """Change one variable, and its slots, by its gradient."""
        super().update_step(grad, variable, learning_rate)

    def update(self, g, weight, lr, step, gradients, moves):
        gradients = self.rho * gradients + (1 - self.rho) * ops.square(g)
        move = g * ops.sqrt((moves + self.epsilon) / (gradients + self.epsilon))
        moves = self.rho * moves + (1 - self.rho) * ops.square(move)
        return weight - lr * move, gradients, moves


class Ftrl(Adaptive):
    """Follow the regularized leader, for sparse weights (McMahan et al., 2013).

    Args:
        learning_rate_power: At most 0; how steps shrink with the sum of squared gradients.
        l1_regularization_strength: Brings weights to exactly 0.
        l2_regularization_strength: Shrinks weights.
        l2_shrinkage_regularization_strength: Shrinks weights by way of the gradient.
        beta: A further number in the denominator of the step.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Ftrl(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.6031, 1.4923]
    """

    learning_rate: float = 0.001
    learning_rate_power: float = -0.5
    initial_accumulator_value: float = 0.1
    l1_regularization_strength: float = 0.0
    l2_regularization_strength: float = 0.0
    l2_shrinkage_regularization_strength: float = 0.0
    beta: float = 0.0
    slots = ("accumulator linear",)

    def _ready(self):
        for name, low in (
            ("initial_accumulator_value", 0.0),
            ("l1_regularization_strength", 0.0),
            ("l2_regularization_strength", 0.0),
            ("l2_shrinkage_regularization_strength", 0.0),
        ):
            if getattr(self, name) < low:
                raise ValueError(f"Ftrl: `{name}` must be from 0; got {getattr(self, name)}")
        if self.learning_rate_power > 0:
            raise ValueError(
                f"Ftrl: `learning_rate_power` must be at most 0; got {self.learning_rate_power}"
            )

    def initial(self, slot):
        return float(self.initial_accumulator_value) if slot == "accumulator" else "zeros"

    def update(self, g, weight, lr, step, total, linear):
        shrunk = g
        if self.l2_shrinkage_regularization_strength:
            shrunk = g + 2 * self.l2_shrinkage_regularization_strength * weight
        before, total = self._root(total), total + ops.square(g)
        after = self._root(total)
        linear = linear + shrunk - (after - before) / lr * weight
        l2 = self.l2_regularization_strength
        if self.beta:
            l2 = l2 + self.beta / (2 * lr)
        curvature = after / lr + 2 * l2
        l1 = self.l1_regularization_strength
        weight = (ops.clip(linear, -l1, l1) - linear) / curvature if l1 else -linear / curvature
        return weight, total, linear

    def _root(self, total):
        power = -self.learning_rate_power
        return ops.sqrt(total) if power == 0.5 else ops.power(total, power)


class Lion(Adaptive):
    """Steps of one size, in the sign of a blended momentum (Chen et al., 2023).

    Its learning rate should be 3 to 10 times smaller than Adam's.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([[1.0, 2.0]])
    >>> optimizers.Lion(0.1).apply([[[1.0, -1.0]]], [w])
    >>> [round(float(x), 4) for x in w.numpy()[0]]
    [0.9, 2.1]
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.99
    slots = ("momentum",)

    def _ready(self):
        if not 0 < self.beta_1 <= 1:
            raise ValueError(f"Lion: `beta_1` must lie in (0, 1]; got {self.beta_1}")

    def update(self, g, weight, lr, step, momentum):
        direction = ops.sign(blend(momentum, g, self.beta_1))
        return weight - lr * direction, blend(momentum, g, self.beta_2)
