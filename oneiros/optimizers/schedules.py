"""Schedules: the learning rate as a function of the step."""

from __future__ import annotations

import math

from oneiros import ops
from oneiros.core.configurable import Configurable

__all__ = [
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay",
    "LearningRateSchedule", "PiecewiseConstantDecay", "PolynomialDecay", "deserialize", "serialize",
]  # fmt: skip


class LearningRateSchedule(Configurable):
    """The base of schedules: `schedule(step)` is the learning rate at a step.

    Subclasses define `__call__(step)` in terms of `ops`, and `get_config`.

    >>> from oneiros.optimizers import schedules
    >>> class Halving(schedules.LearningRateSchedule):
    ...     def __call__(self, step):
    ...         return 0.1 * 0.5**step
    >>> Halving()(1)
    0.05
    """

    def __call__(self, step):
        raise NotImplementedError(f"{type(self).__name__} must define `__call__(step)`")

    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        if type(self).__module__.partition(".")[0] != "oneiros":
            raise NotImplementedError(f"{type(self).__name__} must define `get_config()`")
        return super().get_config()


class _Decay(LearningRateSchedule):
    """The base of schedules over `decay_steps`."""

    def _ready(self):
        for name in ("decay_steps", "first_decay_steps"):
            if getattr(self, name, 1) <= 0:
                raise ValueError(
                    f"{type(self).__name__}: `{name}` must be above 0; got {getattr(self, name)}"
                )


class ExponentialDecay(_Decay):
    """`rate * decay_rate ** (step / decay_steps)`, in whole powers if `staircase`.

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.ExponentialDecay(0.1, decay_steps=10, decay_rate=0.5)
    >>> round(float(rate(20)), 4)
    0.025
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "ExponentialDecay"

    def __call__(self, step):
        return self.initial_learning_rate * ops.power(self.decay_rate, _spans(self, step))


class InverseTimeDecay(_Decay):
    """`rate / (1 + decay_rate * step / decay_steps)`, in whole steps if `staircase`.

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.InverseTimeDecay(0.1, decay_steps=10, decay_rate=0.5)
    >>> round(float(rate(20)), 4)
    0.05
    """

    initial_learning_rate: float
    decay_steps: int
    decay_rate: float
    staircase: bool = False
    name: str = "InverseTimeDecay"

    def __call__(self, step):
        return self.initial_learning_rate / (1.0 + self.decay_rate * _spans(self, step))


class PiecewiseConstantDecay(LearningRateSchedule):
    """`values[i]` up to the step `boundaries[i]`, the last of them from there on.

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.25])
    >>> [float(rate(step)) for step in (10, 11, 21)]
    [1.0, 0.5, 0.25]
    """

    boundaries: list
    values: list
    name: str = "PiecewiseConstant"

    def _ready(self):
        if len(self.boundaries) != len(self.values) - 1:
            raise ValueError(
                "PiecewiseConstantDecay: `values` must hold one more than `boundaries`; got "
                f"{len(self.values)} and {len(self.boundaries)}"
            )

    def __call__(self, step):
        step = _float(step)
        rate = ops.convert_to_tensor(self.values[0], dtype="float32")
        for boundary, value in zip(self.boundaries, self.values[1:]):
            rate = ops.where(step > boundary, value, rate)
        return rate


class PolynomialDecay(_Decay):
    """From one rate to another in `decay_steps`, as `(1 - step / decay_steps) ** power`.

    With `cycle`, `decay_steps` grows to its next multiple whenever it is passed.

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.PolynomialDecay(0.1, decay_steps=10, end_learning_rate=0.0)
    >>> round(float(rate(5)), 4)
    0.05
    """

    initial_learning_rate: float
    decay_steps: int
    end_learning_rate: float = 0.0001
    power: float = 1.0
    cycle: bool = False
    name: str = "PolynomialDecay"

    def __call__(self, step):
        spans = _float(step) / self.decay_steps
        if self.cycle:
            spans = spans / ops.maximum(ops.ceil(spans), 1.0)
        else:
            spans = ops.minimum(spans, 1.0)
        fall = self.initial_learning_rate - self.end_learning_rate
        return fall * ops.power(1.0 - spans, self.power) + self.end_learning_rate


class CosineDecay(_Decay):
    """Half a cosine from a rate down to `alpha` times it, perhaps after a warmup.

    With `warmup_target` the rate first rises to it, linearly in `warmup_steps` (Loshchilov and
    Hutter, 2016).

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.CosineDecay(0.0, decay_steps=10, warmup_target=0.1, warmup_steps=10)
    >>> [round(float(rate(step)), 4) for step in (5, 10, 15, 20)]
    [0.05, 0.1, 0.05, 0.0]
    """

    initial_learning_rate: float
    decay_steps: int
    alpha: float = 0.0
    name: str = "CosineDecay"
    warmup_target: float = None
    warmup_steps: int = 0

    def __call__(self, step):
        step = _float(step)
        if self.warmup_target is None:
            return self._fall(step, self.initial_learning_rate)
        low, high = self.initial_learning_rate, self.warmup_target
        rise = low + (high - low) * (step / self.warmup_steps) if self.warmup_steps else high
        fall = self._fall(step - self.warmup_steps, high)
        return ops.where(step < self.warmup_steps, rise, fall)

    def _fall(self, step, rate):
        done = ops.clip(step / self.decay_steps, 0.0, 1.0)
        return rate * _cosine(done, self.alpha)


class CosineDecayRestarts(_Decay):
    """Half cosines one after another, each `t_mul` times longer and `m_mul` times lower (SGDR).

    Loshchilov and Hutter, 2016.

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.CosineDecayRestarts(0.1, first_decay_steps=10)
    >>> [round(float(rate(step)), 4) for step in (0, 5, 10, 20)]
    [0.1, 0.05, 0.1, 0.05]
    """

    initial_learning_rate: float
    first_decay_steps: int
    t_mul: float = 2.0
    m_mul: float = 1.0
    alpha: float = 0.0
    name: str = "SGDRDecay"

    def __call__(self, step):
        spans = _float(step) / self.first_decay_steps
        grow = self.t_mul
        if grow == 1.0:
            restarts = ops.floor(spans)
            done = spans - restarts
        else:  # lengths 1, t, t**2 ...: the sum of the first n is (1 - t**n) / (1 - t)
            restarts = ops.floor(ops.log(1.0 - spans * (1.0 - grow)) / math.log(grow))
            length = ops.power(grow, restarts)
            done = (spans - (1.0 - length) / (1.0 - grow)) / length
        height = ops.power(self.m_mul, restarts)
        return self.initial_learning_rate * _cosine(done, self.alpha, height)


def _cosine(done, alpha, height=1.0):
    """Half a cosine from `height` down to `alpha`, as `done` goes from 0 to 1."""
    return (1.0 - alpha) * 0.5 * height * (1.0 + ops.cos(math.pi * done)) + alpha


def _spans(schedule, step):
    spans = _float(step) / schedule.decay_steps
    return ops.floor(spans) if schedule.staircase else spans


def _float(step):
    return ops.cast(step, "float32")


def serialize(learning_rate_schedule):
    """The config of a schedule: its class's name and its constructor's arguments.

    >>> from oneiros.optimizers import schedules
    >>> schedules.serialize(schedules.CosineDecay(0.1, 10))["class_name"]
    'CosineDecay'
    """
    from oneiros.core.registry import serialize_keras_object

    return serialize_keras_object(learning_rate_schedule)


def deserialize(config, custom_objects=None):
    """The schedule with that config, as `serialize` gave it.

    >>> from oneiros.optimizers import schedules
    >>> rate = schedules.CosineDecay(0.1, 10)
    >>> schedules.deserialize(schedules.serialize(rate)).decay_steps
    10
    """
    from oneiros.core.registry import deserialize_keras_object

    table = {name: value for name, value in globals().items() if name in __all__}
    return deserialize_keras_object(config, custom_objects=custom_objects, module_objects=table)
