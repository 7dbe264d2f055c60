"""Callbacks that write to disk what must not be lost: the best models, and the state of a run."""

from __future__ import annotations

import json
import os
import shutil
import warnings

import numpy as np

from oneiros.callbacks.callback import Callback
from oneiros.callbacks.monitor import MonitorCallback
from oneiros.callbacks.progress import message

__all__ = ["BackupAndRestore", "ModelCheckpoint"]


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights, as it trains.

    Args:
        filepath: Where to: a path that ends in `.keras` (or `.weights.h5` for weights) and may hold
            `{epoch}`, `{batch}` and names of logs to be filled in.
        monitor: The log that says which is best.
        verbose: Whether to say what is saved.
        save_best_only: Whether to save only what is better than all before.
        save_weights_only: Whether to save weights only.
        mode: "min", "max" or "auto": which way is better.
        save_freq: "epoch", or a number of batches.
        initial_value_threshold: A value that the first save must improve on.

    >>> from oneiros import callbacks
    >>> keep = callbacks.ModelCheckpoint("model-{epoch:02d}.keras", save_best_only=True)
    """

    resumable = ("best",)

    def __init__(
        self,
        filepath,
        monitor="val_loss",
        verbose=0,
        save_best_only=False,
        save_weights_only=False,
        mode="auto",
        save_freq="epoch",
        initial_value_threshold=None,
    ):
        super().__init__(monitor, mode, initial_value_threshold)
        self.filepath = filepath = os.fspath(filepath)
        self.verbose, self.save_best_only = verbose, save_best_only
        self.save_weights_only, self.save_freq = save_weights_only, save_freq
        self._since_saved, self._last_batch, self._epoch = 0, 0, 0
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(
                "ModelCheckpoint: `save_freq` must be 'epoch' or a number of batches; got "
                f"{save_freq!r}"
            )
        endings = (".weights.h5",) if save_weights_only else (".keras", ".h5")
        if not filepath.endswith(endings):
            raise ValueError(
                f"ModelCheckpoint: `filepath` must end in '{endings[0]}'"
                f"{' with save_weights_only=True' if save_weights_only else ''}; got {filepath!r}"
            )

    @property
    def needs_batches(self):
        return self.save_freq != "epoch"

    def on_train_begin(self, logs=None):
        self._since_saved = self._last_batch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._last_batch = epoch, 0

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq == "epoch":
            return
        self._since_saved += batch + 1 - self._last_batch
        self._last_batch = batch + 1
        if self._since_saved >= self.save_freq:
            self._since_saved = 0
            self._save(self._epoch, batch, logs)

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch":
            self._save(epoch, None, logs)

    def _save(self, epoch, batch, logs):
        if self.monitor_op is None and self.save_best_only:
            self._set_monitor_op()
        logs = dict(logs or {})
        filepath = self._path(epoch, batch, logs)
        if not self._should_save(epoch, logs, filepath):
            return
        folder = os.path.dirname(filepath)
        if folder:
            os.makedirs(folder, exist_ok=True)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        try:
            save(filepath, overwrite=True)
        except IsADirectoryError as error:
            raise OSError(
                f"ModelCheckpoint: `filepath` {filepath!r} is a directory; give the path of a file"
            ) from error
        if self.verbose:
            message(f"Epoch {epoch + 1}: finished saving model to {filepath}")

    def _path(self, epoch, batch, logs):
        known = {**logs, "epoch": epoch + 1}
        if batch is not None:
            known["batch"] = batch + 1
        try:
            return self.filepath.format(**known)
        except KeyError as error:
            raise KeyError(
                f"ModelCheckpoint: `filepath` {self.filepath!r} names {error}, which is not among "
                f"{sorted(known)}"
            ) from error

    def _should_save(self, epoch, logs, filepath):
        """Whether what there is now is to be saved; `best` is kept up to date."""
        if not self.save_best_only:
            self._say(f"\nEpoch {epoch + 1}: saving model to {filepath}")
            return True
        current = logs.get(self.monitor)
        if current is None or np.ndim(current) > 0:
            warnings.warn(
                f"ModelCheckpoint: there is no number '{self.monitor}' to tell the best model by, "
                f"so every one is saved; the logs are {','.join(logs)}",
                stacklevel=2,
            )
            return True
        if not self._is_improvement(current, self.best):
            self._say(f"\nEpoch {epoch + 1}: {self.monitor} did not improve from {self.best:.5f}")
            return False
        before = "None" if self.best is None else f"{self.best:.5f}"
        self._say(
            f"\nEpoch {epoch + 1}: {self.monitor} improved from {before} to {current:.5f}, saving "
            f"model to {filepath}"
        )
        self.best = current
        return True

    def _say(self, text):
        if self.verbose:
            message(text)


class BackupAndRestore(Callback):
    """Keeps a backup of the whole run, from which `fit` goes on if it was broken off.

    The backup holds all variables (weights, optimizer, random states), the position in the data and
    their order, and the state of the other callbacks: the run that goes on gives the same numbers
    as one never broken off. It is replaced in one go, and deleted when training ends.

    Args:
        backup_dir: The folder for it.
        save_freq: "epoch", or a number of batches; a run goes on from the start of the epoch.
        double_checkpoint: With a number of batches, whether to save at the end of epochs too.
        delete_checkpoint: Whether to delete the backup when training ends.

    >>> from oneiros import callbacks
    >>> safe = callbacks.BackupAndRestore("backup")
    """

    comes_last = True  # at the end of an epoch, when the others know of it

    def __init__(
        self, backup_dir, save_freq="epoch", double_checkpoint=False, delete_checkpoint=True
    ):
        super().__init__()
        if not backup_dir:
            raise ValueError("BackupAndRestore: `backup_dir` must be a path; got an empty one")
        if save_freq != "epoch" and not isinstance(save_freq, int):
            raise ValueError(
                "BackupAndRestore: `save_freq` must be 'epoch' or a number of batches; got "
                f"{save_freq!r}"
            )
        self.backup_dir, self.save_freq = os.fspath(backup_dir), save_freq
        self.double_checkpoint, self.delete_checkpoint = double_checkpoint, delete_checkpoint
        self.siblings, self._waiting, self._epoch, self._seen = [], None, 0, 0

    @property
    def needs_batches(self):
        return self.save_freq != "epoch"

    @property
    def path(self):
        """The file of the backup."""
        return os.path.join(self.backup_dir, "latest.npz")

    def on_train_begin(self, logs=None):
        if os.path.exists(self.path):
            self._restore()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self._waiting is not None:  # by now the other callbacks have made themselves ready
            for callback, values in zip(self._others(), self._waiting, strict=True):
                for name, value in values.items():
                    setattr(callback, name, value)
            self._waiting = None

    def on_train_batch_end(self, batch, logs=None):
        if self.save_freq == "epoch":
            return
        self._seen += 1
        if self._seen >= self.save_freq:
            self._seen = 0
            self._save(self._epoch)

    def on_epoch_end(self, epoch, logs=None):
        if self.save_freq == "epoch" or self.double_checkpoint:
            self._save(epoch + 1)

    def on_train_end(self, logs=None):
        if self.delete_checkpoint and os.path.exists(self.backup_dir):
            shutil.rmtree(self.backup_dir)

    def _others(self):
        return [c for c in self.siblings if getattr(c, "resumable", ())]

    def _save(self, epoch):
        """Write everything that `epoch` begins with."""
        arrays = {}
        for group, variables in self.model._state_variables().items():
            for i, v in enumerate(variables):
                arrays[f"{group}/{i}"] = v.numpy()
        callbacks = []
        for c, callback in enumerate(self._others()):
            kept = {}
            for name in callback.resumable:
                value = getattr(callback, name, None)
                if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
                    arrays |= {f"callbacks/{c}/{name}/{i}": x for i, x in enumerate(value)}
                    value = {"arrays": len(value)}
                kept[name] = value
            callbacks.append({"class": type(callback).__name__, "state": kept})
        data = self.model._train_data
        about = {"epoch": epoch, "seed": getattr(data, "seed", None), "callbacks": callbacks}
        arrays["about"] = np.frombuffer(json.dumps(about, default=_plain).encode(), "uint8")
        os.makedirs(self.backup_dir, exist_ok=True)
        temporary = f"{self.path}.{os.getpid()}"
        with open(temporary, "wb") as file:
            np.savez(file, **{name: _storable(x) for name, x in arrays.items()})
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)

    def _restore(self):
        """Read the backup: the model's part at once, the callbacks' when they are ready."""
        data = self.model._train_data
        if data is not None:  # every variable must be there to be restored
            self.model._prepare("train", data.peek())
        with np.load(self.path, allow_pickle=False) as arrays:
            about = json.loads(arrays["about"].tobytes())
            groups = self.model._state_variables()
            expected = {
                f"{g}/{i}" for g, variables in groups.items() for i in range(len(variables))
            }
            found = {n for n in arrays.files if n != "about" and not n.startswith("callbacks/")}
            others = self._others()
            same = [row["class"] for row in about["callbacks"]] == [
                type(c).__name__ for c in others
            ]
            if expected != found or not same:
                raise ValueError(
                    f"BackupAndRestore: the backup in {self.backup_dir!r} is of another model, or "
                    "of a run with other callbacks; delete it or give another `backup_dir`"
                )
            for group, variables in groups.items():
                for i, v in enumerate(variables):
                    v.assign(arrays[f"{group}/{i}"].view(_dtype(v)))
            self._waiting = []
            for c, row in enumerate(about["callbacks"]):
                state = row["state"]
                for name, value in state.items():
                    if isinstance(value, dict) and set(value) == {"arrays"}:
                        keys = [f"callbacks/{c}/{name}/{i}" for i in range(value["arrays"])]
                        state[name] = [arrays[key] for key in keys]
                self._waiting.append(state)
        self.model._initial_epoch = about["epoch"]
        if data is not None and about["seed"] is not None:
            data.seed = about["seed"]


def _storable(x):
    """An array in a dtype that NumPy's files know: those of `ml_dtypes` as their bits."""
    return x if x.dtype.kind != "V" and x.dtype.isbuiltin else x.view(f"u{x.dtype.itemsize}")


def _dtype(variable):
    from oneiros.core.dtypes import np_dtype

    return np_dtype(variable.dtype)


def _plain(value):
    """A NumPy number as Python's."""
    if isinstance(value, (np.generic, np.ndarray)) and np.size(value) == 1:
        return value.item()
    raise TypeError(f"a callback's state must be numbers, texts and arrays; got {value!r}")
