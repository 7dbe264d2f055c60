"""Callbacks of a few lines: records of the logs, and changes to the rate and the weights."""

from __future__ import annotations

import collections
import csv
import inspect
import math
import os
import warnings

import numpy as np

from oneiros.callbacks.callback import Callback
from oneiros.callbacks.monitor import learning_rate
from oneiros.callbacks.progress import message

__all__ = [
    "CSVLogger",
    "LearningRateScheduler",
    "RemoteMonitor",
    "SwapEMAWeights",
    "TerminateOnNaN",
]


class CSVLogger(Callback):
    """Writes each epoch's logs as a line of a CSV file.

    Args:
        filename: The file's path.
        separator: What stands between values.
        append: Whether lines are added to a file that exists.
    """

    def __init__(self, filename, separator=",", append=False):
        super().__init__()
        self.filename, self.sep, self.append = os.fspath(filename), separator, append
        self.writer = self.keys = self.csv_file = None

    def on_train_begin(self, logs=None):
        fresh = True
        if self.append and os.path.exists(self.filename):
            fresh = os.path.getsize(self.filename) == 0
        folder = os.path.dirname(self.filename)
        if folder:
            os.makedirs(folder, exist_ok=True)
        mode = "a" if self.append else "w"
        self.csv_file = open(self.filename, mode, newline="")
        self.writer, self.keys, self._headed = None, None, not fresh

    def on_epoch_end(self, epoch, logs=None):
        logs = dict(logs or {})
        if self.keys is None:
            self.keys = sorted(logs)
            if not any(key.startswith("val_") for key in self.keys):  # it may come in later epochs
                self.keys += [f"val_{key}" for key in self.keys]
        if self.writer is None:
            self.writer = csv.DictWriter(
                self.csv_file, ["epoch", *self.keys], delimiter=self.sep, lineterminator="\n"
            )
            if not self._headed:
                self.writer.writeheader()
        row = {key: _cell(logs.get(key, "NA")) for key in self.keys}
        self.writer.writerow({"epoch": epoch, **row})
        self.csv_file.flush()

    def on_train_end(self, logs=None):
        self.csv_file.close()
        self.writer = None


def _cell(value):
    """A value as one cell: what is iterable in quotes and brackets."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return value
    return (
        f'"[{", ".join(map(str, value))}]"'
        if isinstance(value, collections.abc.Iterable)
        else value
    )


class LearningRateScheduler(Callback):
    """Sets the learning rate at the beginning of each epoch.

    Args:
        schedule: A function of the epoch (from 0), or of the epoch and the current rate.
        verbose: Whether to say so.

    >>> from oneiros import callbacks
    >>> slower = callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9)
    """

    def __init__(self, schedule, verbose=0):
        super().__init__()
        self.schedule, self.verbose = schedule, verbose

    def on_epoch_begin(self, epoch, logs=None):
        rate = learning_rate(self.model)
        rate = self.schedule(epoch, rate) if self._takes_rate() else self.schedule(epoch)
        if isinstance(rate, bool) or not hasattr(rate, "__float__"):
            raise ValueError(f"`schedule` must give a number; got {rate!r}")
        self.model.optimizer.learning_rate = float(rate)
        if self.verbose:
            message(
                f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to "
                f"{float(rate)}."
            )

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None:
            logs["learning_rate"] = learning_rate(self.model)

    def _takes_rate(self):
        try:
            inspect.signature(self.schedule).bind(0, 0.0)
        except TypeError:
            return False
        except ValueError:  # a function without a signature
            return True
        return True


class TerminateOnNaN(Callback):
    """Ends training when the loss is NaN or infinite.

    Args:
        raise_error: Whether to raise a `RuntimeError` then.
    """

    needs_batches = False  # a mean that was NaN once stays NaN

    def __init__(self, raise_error=False):
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise RuntimeError(
                f"NaN or Inf loss encountered at batch {batch}. Loss value: {loss}. Terminating "
                "training immediately."
            )
        message(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True


class RemoteMonitor(Callback):
    """Sends each epoch's logs to a server, by POST.

    Args:
        root: The server's address.
        path: The path there.
        field: The name of the form's field that holds them as JSON.
        headers: HTTP headers.
        send_as_json: Whether they are sent as a JSON document, not as a form.
    """

    def __init__(
        self,
        root="http://localhost:9000",
        path="/publish/epoch/end/",
        field="data",
        headers=None,
        send_as_json=False,
    ):
        super().__init__()
        self.root, self.path, self.field = root, path, field
        self.headers, self.send_as_json = headers, send_as_json

    def on_epoch_end(self, epoch, logs=None):
        import json
        import urllib.parse
        import urllib.request

        values = {key: np.asarray(v).tolist() for key, v in (logs or {}).items()}
        text = json.dumps({"epoch": epoch, **values})
        kind = "application/json"
        if not self.send_as_json:
            text, kind = urllib.parse.urlencode({self.field: text}), None
        headers = {**({"Content-Type": kind} if kind else {}), **(self.headers or {})}
        request = urllib.request.Request(self.root + self.path, text.encode(), headers)
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError as error:
            warnings.warn(
                f"RemoteMonitor: the server at {self.root} could not be reached: {error}",
                stacklevel=2,
            )


class SwapEMAWeights(Callback):
    """Puts the moving averages of the weights in their place for evaluation.

    The optimizer must have been made with `use_ema=True`.

    Args:
        swap_on_epoch: Whether they stay in place between epochs too, so that callbacks after this
            one, such as `ModelCheckpoint`, see them.
    """

    def __init__(self, swap_on_epoch=False):
        super().__init__()
        self.swap_on_epoch, self._swapped, self._fitting = swap_on_epoch, False, False

    def on_train_begin(self, logs=None):
        self._fitting = True
        optimizer = self._optimizer()
        if not getattr(optimizer, "use_ema", False):
            raise ValueError(
                "SwapEMAWeights needs an optimizer made with use_ema=True; got "
                f"{type(optimizer).__name__}"
            )

    def on_train_end(self, logs=None):
        self._fitting = False
        self._swap(False)

    def on_epoch_begin(self, epoch, logs=None):
        self._swap(False)

    def on_epoch_end(self, epoch, logs=None):
        if self.swap_on_epoch:
            self._swap(True)

    def on_test_begin(self, logs=None):
        self._swap(True)

    def on_test_end(self, logs=None):
        if not (self._fitting and self.swap_on_epoch):
            self._swap(False)

    def on_predict_begin(self, logs=None):
        self._swap(True)

    def on_predict_end(self, logs=None):
        self._swap(False)

    def _optimizer(self):
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)

    def _swap(self, averages):
        """Exchange weights and averages unless they stand as asked."""
        optimizer = self._optimizer()
        if averages is self._swapped or not getattr(optimizer, "use_ema", False):
            return
        if not optimizer.built:
            return
        for v, mean in zip(optimizer._trainable_variables, optimizer._averages):
            value = v.numpy()
            v.assign(mean.numpy())
            mean.assign(value)
        self._swapped = averages
