"""Callbacks that watch one of the logs: whether it still gets better, and what to do if not."""

from __future__ import annotations

import warnings

import numpy as np

from oneiros.callbacks.callback import Callback
from oneiros.callbacks.progress import message

__all__ = ["EarlyStopping", "MonitorCallback", "ReduceLROnPlateau"]


class MonitorCallback(Callback):
    """The base of callbacks that watch a log.

    Args:
        monitor: The log's name.
        mode: "min" or "max", which is better, or "auto", which is read from the metric.
        baseline: The value to improve on at first.
        min_delta: Changes below this count as none.
    """

    def __init__(self, monitor="val_loss", mode="auto", baseline=None, min_delta=0):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            warnings.warn(
                f"{type(self).__name__}: `mode` must be 'auto', 'min' or 'max'; got {mode!r}, "
                "which is taken as 'auto'",
                stacklevel=3,
            )
            mode = "auto"
        self.monitor, self.mode, self.best = monitor, mode, baseline
        self.min_delta, self.monitor_op = abs(min_delta), None

    def _set_monitor_op(self):
        """Find which way is better, now that the metrics are known."""
        mode = self.mode if self.mode != "auto" else self._direction()
        if mode is None:
            raise ValueError(
                f"{type(self).__name__}: whether '{self.monitor}' is better when it is high or low "
                "is not known; give mode='max' or mode='min'"
            )
        self.monitor_op = np.less if mode == "min" else np.greater

    def _direction(self):
        name = self.monitor.removeprefix("val_")
        if name == "loss":
            return "min"
        ways = {"up": "max", "down": "min"}
        for metric in _all_metrics(self.model):
            if name == metric.name or name.endswith(f"_{metric.name}"):
                found = ways.get(getattr(metric, "_direction", None))
                if found:
                    return found
        return "min" if name.endswith("_loss") else None

    def _is_improvement(self, value, reference):
        if reference is None:
            return True
        delta = self.min_delta if self.monitor_op is np.less else -self.min_delta
        return bool(self.monitor_op(value + delta, reference))


def _all_metrics(model):
    """The model's metrics, and those that they hold."""
    waiting = list(getattr(model, "metrics", None) or ())
    while waiting:
        metric = waiting.pop(0)
        waiting += getattr(metric, "metrics", None) or ()
        yield metric


class EarlyStopping(MonitorCallback):
    """Ends training when a log has not improved for some epochs.

    Args:
        monitor: The log's name.
        min_delta: Changes below this count as none.
        patience: For how many epochs it may fail to improve.
        verbose: Whether to say so.
        mode: "min", "max" or "auto".
        baseline: A value that must be improved on within `patience`.
        restore_best_weights: Whether the weights of the best epoch are put back.
        start_from_epoch: How many epochs to let pass first.

    >>> from oneiros import callbacks
    >>> stop = callbacks.EarlyStopping(monitor="loss", patience=3)
    """

    resumable = ("best", "wait", "best_epoch", "best_weights")

    def __init__(
        self,
        monitor="val_loss",
        min_delta=0,
        patience=0,
        verbose=0,
        mode="auto",
        baseline=None,
        restore_best_weights=False,
        start_from_epoch=0,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        self.patience, self.verbose, self.baseline = patience, verbose, baseline
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait, self.stopped_epoch, self.best_epoch, self.best_weights = 0, 0, 0, None

    def on_train_begin(self, logs=None):
        self.wait, self.stopped_epoch, self.best_epoch = 0, 0, 0
        self.best = self.best_weights = None

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor_op is None:
            self._set_monitor_op()
        current = self.get_monitor_value(logs)
        if current is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._keep(epoch)  # in case nothing is ever better
        self.wait += 1
        if self._is_improvement(current, self.best):
            self.best = current
            self._keep(epoch)
            if self.baseline is None or self._is_improvement(current, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch, self.model.stop_training = epoch, True

    def on_train_end(self, logs=None):
        if self.stopped_epoch > 0 and self.verbose:
            message(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.restore_best_weights and self.best_weights is not None:
            if self.verbose:
                message(
                    "Restoring model weights from the end of the best epoch: "
                    f"{self.best_epoch + 1}."
                )
            self.model.set_weights(self.best_weights)

    def get_monitor_value(self, logs):
        """The value of the watched log, or None with a warning if there is none."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            warnings.warn(
                f"EarlyStopping: there is no log '{self.monitor}' to watch; there are "
                f"{','.join(logs or {})}",
                stacklevel=2,
            )
        return value

    def _keep(self, epoch):
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when a log has not improved for some epochs.

    Args:
        monitor: The log's name.
        factor: What the rate is multiplied by; below 1.
        patience: For how many epochs the log may fail to improve.
        verbose: Whether to say so.
        mode: "min", "max" or "auto".
        min_delta: Changes below this count as none.
        cooldown: How many epochs to wait after a change before counting again.
        min_lr: The lowest rate.

    >>> from oneiros import callbacks
    >>> slower = callbacks.ReduceLROnPlateau(factor=0.5, patience=2)
    """

    resumable = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor="val_loss",
        factor=0.1,
        patience=10,
        verbose=0,
        mode="auto",
        min_delta=1e-4,
        cooldown=0,
        min_lr=0.0,
        **kwargs,
    ):
        super().__init__(monitor, mode, min_delta=min_delta)
        if factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: `factor` must be below 1; got {factor}")
        self.factor, self.patience, self.verbose = factor, patience, verbose
        self.cooldown, self.min_lr = cooldown, min_lr
        self.wait = self.cooldown_counter = 0

    def on_train_begin(self, logs=None):
        self.best, self.wait, self.cooldown_counter = None, 0, 0

    def on_epoch_end(self, epoch, logs=None):
        if self.monitor_op is None:
            self._set_monitor_op()
        logs = {} if logs is None else logs
        rate = learning_rate(self.model)
        logs["learning_rate"] = rate
        current = logs.get(self.monitor)
        if current is None:
            warnings.warn(
                f"ReduceLROnPlateau: there is no log '{self.monitor}' to watch; there are "
                f"{','.join(logs)}",
                stacklevel=2,
            )
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self._is_improvement(current, self.best):
            self.best, self.wait = current, 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience and rate > np.float32(self.min_lr):
                rate = max(rate * self.factor, self.min_lr)
                self.model.optimizer.learning_rate = rate
                if self.verbose:
                    message(
                        f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {rate}."
                    )
                self.cooldown_counter, self.wait = self.cooldown, 0

    def in_cooldown(self):
        """Whether it still waits after a change."""
        return self.cooldown_counter > 0


def learning_rate(model):
    """The optimizer's learning rate as a number."""
    rate = getattr(model.optimizer, "learning_rate", None)
    if rate is None:
        raise ValueError(
            f"the optimizer must have a `learning_rate`; got {type(model.optimizer).__name__}"
        )
    return float(np.asarray(rate))
