"""Progress on the screen: a bar that moves on a terminal, plain lines anywhere else."""

from __future__ import annotations

import logging
import math
import os
import sys
import time

import numpy as np

from oneiros.callbacks.callback import Callback
from oneiros.core import config

__all__ = ["Progbar", "ProgbarLogger", "message"]


class Progbar:
    """Shows how far something with a known or unknown number of steps has come.

    Args:
        target: The number of steps; None if unknown.
        width: Number of characters of the bar.
        verbose: 0 for nothing, 1 for a bar, 2 for one line at the end.
        interval: The least number of seconds between two refreshes.
        stateful_metrics: Names of values to be shown as given, the rest averaged over the steps.
        stateless_metrics: Names of values to be averaged over the steps, the rest shown as given.
            With neither, all are shown as given.
        unit_name: What a step is called.

    >>> from oneiros import utils
    >>> bar = utils.Progbar(2, verbose=2)
    >>> bar.update(1, [("loss", 0.5)])
    >>> bar.update(2, [("loss", 0.25)])  # doctest: +ELLIPSIS
    2/2 - 0s - ...s/step - loss: 0.2500
    """

    def __init__(
        self,
        target,
        width=20,
        verbose=1,
        interval=0.05,
        stateful_metrics=None,
        stateless_metrics=None,
        unit_name="step",
    ):
        if stateful_metrics is not None and stateless_metrics is not None:
            raise ValueError("give `stateful_metrics` or `stateless_metrics`, not both")
        self.target, self.width, self.verbose, self.interval = target, width, verbose, interval
        self.stateful_metrics, self.stateless_metrics = stateful_metrics, stateless_metrics
        self.unit_name = unit_name
        self.live = verbose == 1 and _moves()
        self._sums, self._seen = {}, 0
        self._start, self._last, self._first_done = time.time(), -math.inf, None

    def update(self, current, values=None, finalize=None):
        """Show that `current` steps are done.

        Args:
            current: Number of steps done.
            values: Pairs (name, value).
            finalize: Whether this is the end; by default, when `current` reaches the target.
        """
        if finalize is None:
            finalize = self.target is not None and current >= self.target
        steps = max(current - self._seen, 1)
        for name, value in values or ():
            total, count = self._sums.get(name, (0.0, 0))
            if not self._averaged(name):
                total, count = value, 1
            else:
                total, count = total + value * steps, count + steps
            self._sums[name] = total, count
        self._seen = current
        now = time.time()
        if self._first_done is None and current:
            self._first_done = now
        if not self.verbose or not (finalize or (self.live and self.due(now))):
            return
        self._last = now
        if finalize and self.target is None:
            self.target = current
        parts = self._parts(current, now, finalize)
        if self.live:
            self._redraw(parts, finalize)
        else:
            write("".join(text for text, _ in parts) + "\n")

    def add(self, n, values=None):
        """Show that `n` more steps are done."""
        self.update(self._seen + n, values)

    def due(self, now=None):
        """Whether enough time has passed to show something new."""
        return (time.time() if now is None else now) - self._last >= self.interval

    def _averaged(self, name):
        if self.stateless_metrics is not None:
            return name in self.stateless_metrics
        return self.stateful_metrics is not None and name not in self.stateful_metrics

    def _parts(self, current, now, finalize):
        """The line as pairs of a text and its style."""
        target = str(self.target) if self.target is not None else "Unknown"
        count = f"{current:>{len(target)}}/{target}"
        each = self._seconds_each(current, now)
        spent = now - self._start
        shown = [f"{name}: {_number(total, n)}" for name, (total, n) in self._sums.items()]
        if self.verbose == 2:
            shown = [count, f"{spent:.0f}s", _each(each, self.unit_name), *shown]
            return [(" - ".join(shown), "")]
        left = spent if finalize or not self.target else each * (self.target - current)
        bar = []
        if self.target:
            done = (
                self.width if not self.live else round(self.width * min(current / self.target, 1))
            )
            bar = [(_mark() * done, "green"), (_mark() * (self.width - done), "white"), (" ", "")]
        rest = " - ".join([f" {_each(each, self.unit_name)}", *shown])
        return [(f"{count} ", "bold"), *bar, (_clock(left), "bold"), (rest, "")]

    def _redraw(self, parts, finalize):
        """Write over the line that is there."""
        from rich.console import Console
        from rich.control import Control
        from rich.segment import ControlType
        from rich.text import Text

        screen = Console(file=sys.stdout, force_terminal=True, force_jupyter=False, highlight=False)
        screen.control(Control(ControlType.CARRIAGE_RETURN))
        screen.print(
            Text.assemble(*parts),
            end="",
            soft_wrap=finalize,
            no_wrap=True,
            overflow="ignore" if finalize else "ellipsis",
        )
        screen.control(Control((ControlType.ERASE_IN_LINE, 0)))
        sys.stdout.write("\n" if finalize else "")
        sys.stdout.flush()

    def _seconds_each(self, current, now):
        """Seconds for a step; the first one, which compiles, is left out once there are more."""
        if current > 1 and self._first_done is not None and now > self._first_done:
            return (now - self._first_done) / (current - 1)
        return (now - self._start) / max(current, 1)


class ProgbarLogger(Callback):
    """Shows the progress of `fit`, `evaluate` and `predict`, and what the metrics are.

    Metrics are read from the logs only when they are shown, at most ten times a second.
    """

    needs_batches = False
    interval = 0.1

    def __init__(self):
        super().__init__()
        self.seen, self.progbar, self.target, self.verbose, self.epochs = 0, None, None, 1, 1
        self._in_fit = False

    def set_params(self, params):
        self.params = params
        self.verbose = 1 if params["verbose"] == "auto" else params["verbose"]
        self.epochs, self.target = params["epochs"], params["steps"]

    def on_train_begin(self, logs=None):
        self._in_fit = True

    def on_train_end(self, logs=None):
        self._in_fit = False

    def on_epoch_begin(self, epoch, logs=None):
        self._begin()
        if self.verbose and self.epochs > 1:
            message(f"Epoch {epoch + 1}/{self.epochs}")

    def on_epoch_end(self, epoch, logs=None):
        self._end(logs)

    def on_test_begin(self, logs=None):
        if not self._in_fit:
            self._begin()

    def on_test_end(self, logs=None):
        if not self._in_fit:
            self._end(logs)

    def on_predict_begin(self, logs=None):
        self._begin()

    def on_predict_end(self, logs=None):
        self._end(None)

    def on_train_batch_end(self, batch, logs=None):
        self._step(batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        if not self._in_fit:
            self._step(batch, logs)

    def on_predict_batch_end(self, batch, logs=None):
        self._step(batch, None)

    def _begin(self):
        self.seen = 0
        self.progbar = Progbar(self.target, verbose=self.verbose, interval=self.interval)

    def _step(self, batch, logs):
        self.seen = batch + 1
        bar = self.progbar
        if bar._first_done is None:
            bar._first_done = time.time()
        if bar.live and bar.due() and self.seen != self.target:
            bar.update(self.seen, list((logs or {}).items()), finalize=False)

    def _end(self, logs):
        if self.progbar is not None:
            if self.target is None:
                self.target = self.progbar.target = self.seen
            self.progbar.update(self.target, list((logs or {}).items()), finalize=True)


# Writing ------------------------------------------------------------------------------------------
def message(text):
    """Show a line of text on the standard output, or in the log if logging is not interactive."""
    write(f"{text}\n")


def write(text):
    """Show text as it is."""
    if not config.is_interactive_logging_enabled():
        text = text.strip()
        if text:
            logging.getLogger("oneiros").info("%s", text)
        return
    try:
        sys.stdout.write(text)
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _moves():
    """Whether lines can be rewritten: the standard output is a terminal or a notebook's cell."""
    if not config.is_interactive_logging_enabled():
        return False
    if type(sys.stdout).__module__.partition(".")[0] == "ipykernel":
        return True
    terminal = hasattr(sys.stdout, "isatty") and sys.stdout.isatty()
    return terminal and os.environ.get("TERM") != "dumb"


def _mark():
    """The character of bars, as far as the output has it."""
    try:
        "━".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return "="
    return "━"


def _number(total, count):
    value = np.asarray(total, dtype=object if isinstance(total, str) else None)
    if value.dtype.kind not in "biuf" or value.size != 1:
        return str(total)
    value = float(value.item()) / max(count, 1)
    return f"{value:.4f}" if abs(value) > 1e-3 or value == 0 else f"{value:.4e}"


def _clock(seconds):
    """Seconds as `12s`, `1:05` or `1:01:05`."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _each(seconds, unit):
    """Seconds for a step in the unit that fits."""
    for size, name in ((1, "s"), (1e-3, "ms")):
        if seconds >= size or seconds == 0:
            return f"{seconds / size:.0f}{name}/{unit}"
    return f"{seconds / 1e-6:.0f}us/{unit}"
