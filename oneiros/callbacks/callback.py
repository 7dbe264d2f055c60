"""What is told of training as it goes: the base of callbacks, and the list that tells them.

A hook is a method named after a moment (`on_epoch_end`). The list calls only those hooks that a
callback defines itself, so that moments nobody cares about cost nothing.
"""

from __future__ import annotations

from oneiros.core import tree

__all__ = ["Callback", "CallbackList", "History", "LambdaCallback"]

PHASES = ("train", "test", "predict")
BATCH_HOOKS = tuple(f"on_{phase}_batch_{end}" for phase in PHASES for end in ("begin", "end"))
PHASE_HOOKS = tuple(f"on_{phase}_{end}" for phase in PHASES for end in ("begin", "end"))
HOOKS = ("on_epoch_begin", "on_epoch_end", *BATCH_HOOKS, *PHASE_HOOKS)
ALIASES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


class Callback:
    """The base of callbacks: subclasses define the hooks that they need.

    Attributes:
        model: The model being trained.
        params: Facts about the run: "verbose", "epochs", "steps".
        resumable: Names of attributes that `BackupAndRestore` keeps.
        needs_batches: Whether its batch hooks must see every batch; None if they must when it
            defines any. With False they may be called once for many batches in a row.

    >>> from oneiros import callbacks
    >>> class Shout(callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print("epoch", epoch, sorted(logs))
    >>> Shout().on_epoch_end(0, {"loss": 1.0})
    epoch 0 ['loss']
    """

    params = None
    resumable = ()
    needs_batches = None
    _model = None

    def __init__(self):
        self.params, self._model = None, None

    @property
    def model(self):
        return self._model

    def set_params(self, params):
        """Take the facts about the run."""
        self.params = params

    def set_model(self, model):
        """Take the model."""
        self._model = model

    def on_epoch_begin(self, epoch, logs=None):
        """Before an epoch of training."""

    def on_epoch_end(self, epoch, logs=None):
        """After an epoch of training and its validation, whose logs begin with `val_`."""

    def on_batch_begin(self, batch, logs=None):
        """As `on_train_batch_begin`."""

    def on_batch_end(self, batch, logs=None):
        """As `on_train_batch_end`."""

    def on_train_batch_begin(self, batch, logs=None):
        """Before a batch of training."""
        self.on_batch_begin(batch, logs=logs)

    def on_train_batch_end(self, batch, logs=None):
        """After a batch of training; `logs` has the metrics since the epoch's beginning."""
        self.on_batch_end(batch, logs=logs)

    def on_test_batch_begin(self, batch, logs=None):
        """Before a batch of evaluation, also of validation in `fit`."""

    def on_test_batch_end(self, batch, logs=None):
        """After a batch of evaluation."""

    def on_predict_batch_begin(self, batch, logs=None):
        """Before a batch of prediction."""

    def on_predict_batch_end(self, batch, logs=None):
        """After a batch of prediction; `logs` has "outputs"."""

    def on_train_begin(self, logs=None):
        """At the beginning of `fit`."""

    def on_train_end(self, logs=None):
        """At the end of `fit`; `logs` are those of the last epoch."""

    def on_test_begin(self, logs=None):
        """At the beginning of `evaluate`, or of validation."""

    def on_test_end(self, logs=None):
        """At the end of `evaluate`, or of validation."""

    def on_predict_begin(self, logs=None):
        """At the beginning of `predict`."""

    def on_predict_end(self, logs=None):
        """At the end of `predict`."""


class History(Callback):
    """What each epoch's logs were; `fit` returns it.

    Attributes:
        history: Names to lists with a value for each epoch.
        epoch: The epochs' numbers.
    """

    resumable = ("history", "epoch")

    def __init__(self):
        super().__init__()
        self.history = {}

    def on_train_begin(self, logs=None):
        self.epoch = []

    def on_epoch_end(self, epoch, logs=None):
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)
        self.model.history = self


class LambdaCallback(Callback):
    """A callback made of functions, given by the hooks' names.

    >>> from oneiros import callbacks
    >>> shout = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: print("epoch", epoch))
    >>> shout.on_epoch_end(2, {})
    epoch 2
    """

    def __init__(
        self,
        on_epoch_begin=None,
        on_epoch_end=None,
        on_train_begin=None,
        on_train_end=None,
        on_train_batch_begin=None,
        on_train_batch_end=None,
        **kwargs,
    ):
        super().__init__()
        given = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
            **kwargs,
        }
        for name, function in given.items():
            if function is not None:
                setattr(self, name, function)


class CallbackList:
    """Callbacks as one: each hook calls those of its callbacks that define it.

    Args:
        callbacks: A callback or a list of them.
        add_history: Whether to add a `History` if there is none.
        add_progbar: Whether to add a `ProgbarLogger` if there is none.
        model: The model that they are told of.
        params: What they are told of the run.

    Attributes:
        needs_batches: Whether a hook of any of them must see every batch.
    """

    def __init__(self, callbacks=None, add_history=False, add_progbar=False, model=None, **params):
        from oneiros.callbacks.progress import ProgbarLogger

        self.callbacks = tree.flatten(callbacks) if callbacks is not None else []
        for callback in self.callbacks:
            _check(callback)
        if add_progbar and not any(isinstance(c, ProgbarLogger) for c in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        if add_history and not any(isinstance(c, History) for c in self.callbacks):
            self.callbacks.append(History())
        self._history = next((c for c in self.callbacks if isinstance(c, History)), None)
        self._model = None
        self.params = params
        if model is not None:
            self.set_model(model)
        if params:
            self.set_params(params)
        self._listen()

    def append(self, callback):
        """Add a callback at the end."""
        _check(callback)
        self.callbacks.append(callback)
        self._listen()

    @property
    def model(self):
        return self._model

    def set_params(self, params):
        """Tell every callback the facts about the run."""
        self.params = params
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model):
        """Tell every callback the model."""
        self._model = model
        if self._history is not None:
            model.history = self._history
        for callback in self.callbacks:
            callback.set_model(model)

    def _listen(self):
        """Find who listens to which hook."""
        ordered = sorted(self.callbacks, key=lambda c: getattr(c, "comes_last", False))
        self._listeners = {
            hook: [getattr(c, hook) for c in ordered if _defines(c, hook)] for hook in HOOKS
        }
        self.needs_batches = any(map(_needs_batches, self.callbacks))
        for callback in self.callbacks:
            if hasattr(callback, "siblings"):
                callback.siblings = self.callbacks

    def _tell(self, hook, *moment, logs=None):
        listeners = self._listeners[hook]
        if listeners:
            logs = {} if logs is None else logs
            for listener in listeners:
                listener(*moment, logs)

    def on_batch_begin(self, batch, logs=None):
        self._tell("on_train_batch_begin", batch, logs=logs)

    def on_batch_end(self, batch, logs=None):
        self._tell("on_train_batch_end", batch, logs=logs)


def _hook(name):
    """The list's own hook: it tells its callbacks."""
    if name in PHASE_HOOKS:

        def hook(self, logs=None):
            self._tell(name, logs=logs)

    elif name in BATCH_HOOKS:

        def hook(self, batch, logs=None):
            self._tell(name, batch, logs=logs)

    else:

        def hook(self, epoch, logs=None):
            self._tell(name, epoch, logs=logs)

    hook.__name__ = name
    hook.__doc__ = getattr(Callback, name).__doc__
    return hook


for _name in HOOKS:
    setattr(CallbackList, _name, _hook(_name))


def _check(callback):
    if not hasattr(callback, "set_model") or not hasattr(callback, "on_epoch_end"):
        raise TypeError(
            f"a callback must be a `Callback`; got {callback!r} of type {type(callback)}"
        )


def _defines(callback, hook):
    """Whether a callback has a hook of its own, and not only a base's empty one."""
    for name in (hook, ALIASES.get(hook)):
        if name in vars(callback):
            return True
        owner = next((c for c in type(callback).__mro__ if name in vars(c)), None)
        if owner is not None and owner.__name__ != "Callback":  # Keras's own base counts as ours
            return True
    return False


def _needs_batches(callback):
    needs = getattr(callback, "needs_batches", None)
    return any(_defines(callback, hook) for hook in BATCH_HOOKS) if needs is None else needs
