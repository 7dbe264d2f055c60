"""Training, evaluation and prediction: one trainer for all backends.

`compile` says what is optimized; `fit`, `evaluate` and `predict` feed batches to compiled steps and
callbacks.
State lives with the step while a loop runs (`training/step.py`); variables fetch it when they are
read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from oneiros.core import backend, config, tree
from oneiros.core.spec import dtype_name
from oneiros.training.loops import Loop, Results, float_of, host
from oneiros.training.step import GROUPS, State, StepFunction

__all__ = ["Trainer"]


class Trainer:
    """What `Model` adds to a layer: compile, fit, evaluate, predict."""

    optimizer = None
    loss = None
    stop_training = False
    compiled = False
    _compile_loss = _compile_metrics = _loss_tracker = _loop = _train_data = None
    _never_run = frozenset()  # ids of layers that the model holds and does not call

    def _trainer_state(self):
        put = object.__setattr__
        put(self, "_functions", {})
        put(self, "_state", None)
        put(self, "_run_eagerly", False)
        put(self, "_jit_compile", "auto")
        put(self, "steps_per_execution", "auto")
        put(self, "stop_training", False)

    @property
    def run_eagerly(self):
        """Whether each step runs op by op."""
        return self._run_eagerly

    @run_eagerly.setter
    def run_eagerly(self, value):
        self._run_eagerly = bool(value)
        self._forget_functions()

    @property
    def jit_compile(self):
        """Whether the framework's compiler makes the steps: as asked for, or as it has to."""
        if self._jit_compile in ("auto", None):
            return backend.current().compiles and not self._run_eagerly
        return bool(self._jit_compile)

    @jit_compile.setter
    def jit_compile(self, value):
        self._jit_compile = value
        self._forget_functions()

    # What is optimized ----------------------------------------------------------------------------
    def compile(
        self,
        optimizer="rmsprop",
        loss=None,
        loss_weights=None,
        metrics=None,
        weighted_metrics=None,
        run_eagerly=False,
        steps_per_execution=1,
        jit_compile="auto",
        auto_scale_loss=True,
    ):
        """Say how the model is trained and judged.

        Args:
            optimizer: Name or optimizer.
            loss: Name, function or Loss; a list or dict of them for several outputs.
            loss_weights: Factors of the outputs' losses.
            metrics: Names, functions or Metrics, for each output if they are several.
            weighted_metrics: Metrics that take the sample weights.
            run_eagerly: Whether each step runs op by op, for debugging.
            steps_per_execution: Steps in one call of the backend; 1 lets the loop choose where no
                callback looks
                at batches, another number is kept.
            jit_compile: "auto", True or False, where a backend has the choice.
            auto_scale_loss: Whether float16 training scales the loss.
        """
        from oneiros import metrics as metric_room
        from oneiros import optimizers
        from oneiros.training.compiled import CompileLoss, CompileMetrics

        if steps_per_execution != "auto" and (
            not isinstance(steps_per_execution, int) or steps_per_execution < 1
        ):
            raise ValueError(
                f"steps_per_execution must be a positive integer or 'auto'; got {steps_per_execution!r}"
            )
        if run_eagerly and jit_compile is True:
            raise ValueError("run_eagerly=True and jit_compile=True exclude each other")
        self._clear_compiled()
        optimizer = optimizers.get(optimizer)
        if (
            auto_scale_loss
            and optimizer is not None
            and self.dtype_policy.name == "mixed_float16"
            and not isinstance(optimizer, optimizers.LossScaleOptimizer)
        ):
            optimizer = optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
        self.optimizer, self.loss, self.loss_weights = optimizer, loss, loss_weights
        names = self.output_names if self._function is not None else None
        if loss is not None:
            self._compile_loss = CompileLoss(loss, loss_weights, output_names=names)
        if metrics is not None or weighted_metrics is not None:
            self._compile_metrics = CompileMetrics(metrics, weighted_metrics, output_names=names)
        self._loss_tracker = metric_room.Mean(name="loss")
        self._run_eagerly, self._jit_compile = bool(run_eagerly), jit_compile
        self.steps_per_execution = "auto" if steps_per_execution == 1 else steps_per_execution
        self.stop_training, self.compiled = False, True
        given = dict(
            optimizer=optimizer, loss=loss, loss_weights=loss_weights, metrics=metrics,
            weighted_metrics=weighted_metrics, run_eagerly=run_eagerly, steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )  # fmt: skip
        object.__setattr__(self, "_compile_arguments", given)
        if optimizer is not None and self.built and not optimizer.built:
            optimizer.build(self.trainable_variables)

    def _clear_compiled(self):
        self._forget_functions()
        for name in ("_compile_loss", "_compile_metrics", "_loss_tracker"):
            object.__setattr__(self, name, None)

    def _forget_functions(self):
        """Drop compiled steps: what they were made for has changed."""
        self._forget_state()
        object.__setattr__(self, "_functions", {})

    def _forget_state(self):
        if self.__dict__.get("_state") is not None:
            self._state.release()
            object.__setattr__(self, "_state", None)

    def _check_compiled(self, what):
        if not self.compiled:
            raise ValueError(
                f"You must call `compile()` before using the model: `{what}` needs a loss and an optimizer."
            )

    def get_compile_config(self):
        """What `compile` was given, as files hold it."""
        from oneiros.core.registry import serialize_keras_object

        if not self.compiled:
            return None
        made = {}
        for k, v in self._compile_arguments.items():
            made[k] = serialize_keras_object(v)
        return made

    def compile_from_config(self, config):
        """Compile as `get_compile_config` says."""
        from oneiros.core.registry import deserialize_keras_object

        if not config:
            return
        self.compile(**deserialize_keras_object(dict(config)))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    # Variables ------------------------------------------------------------------------------------
    @property
    def metrics(self):
        """All metrics: the loss, those of `compile`, those of the model and its layers."""
        from oneiros.layers.base import CONTEXT, _walks

        walks = _walks()
        found = walks.get((self, "metrics")) or self._find_metrics()
        if CONTEXT.walks is not None:
            walks[self, "metrics"] = tuple(found)
        return list(found)

    def _find_metrics(self):
        found = [] if self._loss_tracker is None else [self._loss_tracker]
        if self._compile_metrics is not None:
            found.append(self._compile_metrics)
        from oneiros.metrics import Metric

        for layer in self._flatten_layers():
            for name, value in layer.__dict__.items():
                if name not in ("_loss_tracker", "_compile_metrics", "_compile_loss"):
                    found += [
                        m for m in _metrics_in(value, Metric) if not any(m is f for f in found)
                    ]
        if self._compile_loss is not None:
            found += [m for m in self._compile_loss.metrics if not any(m is f for f in found)]
        return found

    @property
    def metrics_names(self):
        return [m.name for m in self.metrics]

    @property
    def metrics_variables(self):
        seen, found = set(), []
        for m in self.metrics:
            for v in m.variables:
                if id(v) not in seen:
                    seen.add(id(v))
                    found.append(v)
        return found

    def _state_variables(self):
        metric_variables = self.metrics_variables
        known = {id(v) for v in metric_variables}
        trainable = [v for v in self.trainable_variables if id(v) not in known]
        rest = [v for v in self.non_trainable_variables if id(v) not in known]
        optimizer = list(self.optimizer.variables) if self.optimizer is not None else []
        return {
            "trainable": trainable,
            "non_trainable": rest,
            "optimizer": optimizer,
            "metrics": metric_variables,
        }

    def reset_metrics(self):
        """Begin counting anew."""
        for m in self.metrics:
            m.reset_state()

    def get_metrics_result(self):
        """The metrics' results, by name."""
        logs = {}
        for m in self.metrics:
            result = m.result()
            logs.update(result if isinstance(result, Mapping) else {m.name: result})
        return logs

    # What a step computes -------------------------------------------------------------------------
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The scalar that training minimizes: the compiled loss and all penalties.

        Args:
            x: Inputs.
            y: Targets.
            y_pred: The model's outputs.
            sample_weight: Weights of the samples.
            training: Whether this is a training step.
        """
        from oneiros import ops

        terms = []
        if self._compile_loss is not None:
            if y is None and self.compiled:
                raise _final(
                    ValueError(
                        f"model '{self.name}' was compiled with a loss ({self.loss!r}), which needs targets; the data "
                        "hold none: give y, or batches (x, y)"
                    )
                )
            value = self._compile_loss(y, y_pred, sample_weight)
            if value is not None:
                terms.append(value)
        terms += [ops.sum(ops.cast(v, "float32")) for v in self.losses]
        if not terms:
            if training:
                raise _final(
                    ValueError(
                        "No loss to compute. Provide a `loss` argument in `compile()`, or use `add_loss` in a layer."
                    )
                )
            return ops.zeros(())
        total = terms[0]
        for term in terms[1:]:
            total = total + ops.cast(term, dtype_name(total.dtype))
        return total

    def stateless_compute_loss(
        self, trainable_variables, non_trainable_variables, metrics_variables, x=None, y=None, y_pred=None,
        sample_weight=None, training=True,
    ):  # fmt: skip
        """`compute_loss` with these values of the variables: `(loss, (trainable, non_trainable,
        metrics))`.
        """
        from oneiros.core.scopes import StatelessScope

        own = self.trainable_variables, self.non_trainable_variables, self.metrics_variables
        given = trainable_variables, non_trainable_variables, metrics_variables
        pairs = [pair for vs, xs in zip(own, given) for pair in zip(vs, xs)]
        with StatelessScope(pairs) as scope:
            loss = self._compute_loss_has(x, y, y_pred, sample_weight, training)
            new = [[scope.get_current_value(v) for v in vs] for vs in own]
        return loss, tuple(new)

    def compute_loss_and_updates(
        self, trainable_variables, non_trainable_variables, metrics_variables, x, y, sample_weight, training=False,
        optimizer_variables=None,
    ):  # fmt: skip
        """The scaled loss, and what a custom JAX `train_step` needs beside it."""
        kwargs = {"training": training} if self._call_takes_training else {}
        y_pred, non_trainable, losses = self.stateless_call(
            trainable_variables, non_trainable_variables, x, return_losses=True, **kwargs
        )
        object.__setattr__(self, "_losses_override", losses)
        try:
            loss, (_, non_trainable, metrics_variables) = self.stateless_compute_loss(
                trainable_variables, non_trainable, metrics_variables, x=x, y=y, y_pred=y_pred,
                sample_weight=sample_weight, training=training,
            )  # fmt: skip
        finally:
            object.__setattr__(self, "_losses_override", None)
        unscaled = loss
        if training and self.optimizer is not None:
            loss = self.optimizer.scale_loss(loss)
        return loss, (unscaled, y_pred, non_trainable, metrics_variables)

    @property
    def losses(self):
        override = self.__dict__.get("_losses_override")
        if override is not None:
            return list(override)
        return super().losses

    def _compute_loss_has(self, x, y, y_pred, weight, training):
        """`compute_loss`, also of subclasses that take fewer arguments."""
        method = self.compute_loss
        arguments = dict(x=x, y=y, y_pred=y_pred, sample_weight=weight, training=training)
        if type(self).compute_loss is not Trainer.compute_loss:
            import inspect

            rows = inspect.signature(method).parameters
            if not any(r.kind is r.VAR_KEYWORD for r in rows.values()):
                arguments = {k: v for k, v in arguments.items() if k in rows}
        return method(**arguments)

    def _track_loss(self, loss, x):
        """Add the batch's loss to the mean that the logs show."""
        if self._loss_tracker is not None:
            first = next((v for v in tree.flatten(x) if hasattr(v, "shape") and len(v.shape)), None)
            weight = first.shape[0] if first is not None else 1
            self._loss_tracker.update_state(loss, sample_weight=float(weight))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Update the metrics with a batch, and return their results by name."""
        self._update_metrics(y, y_pred, sample_weight)
        return self.get_metrics_result()

    def _update_metrics(self, y, y_pred, sample_weight):
        if self._compile_metrics is not None and y is not None:
            self._compile_metrics.update_state(y, y_pred, sample_weight)

    def _step_logs(self, x, y, y_pred, weight):
        """Update the metrics; the logs of a user's own `compute_metrics`, else None."""
        if type(self).compute_metrics is Trainer.compute_metrics:
            self._update_metrics(y, y_pred, weight)
            return None
        return dict(self.compute_metrics(x, y, y_pred, weight))

    def train_step(self, state, data):
        """One step for custom loops: `(logs, state)` from `(trainable, non_trainable, optimizer,
        metrics)` and a batch.
        """
        from oneiros.training.step import train_step
        from oneiros.utils import unpack_x_y_sample_weight

        batch = unpack_x_y_sample_weight(data)
        variables = self._state_variables()
        values = dict(zip(GROUPS, map(list, state)))
        new, logs = train_step(self, variables, values, batch, backend.current().value_and_grad)
        return self._logs_of(variables, new, logs), tuple(new[g] for g in GROUPS)

    def test_step(self, state, data):
        """One step of evaluation for custom loops: `(logs, state)` from `(trainable, non_trainable,
        metrics)`.
        """
        from oneiros.training.step import test_step
        from oneiros.utils import unpack_x_y_sample_weight

        groups = ("trainable", "non_trainable", "metrics")
        variables = self._state_variables()
        new, logs = test_step(
            self, variables, dict(zip(groups, map(list, state))), unpack_x_y_sample_weight(data)
        )
        return self._logs_of(variables, new, logs), tuple(new[g] for g in groups)

    def predict_step(self, state, data):
        """Outputs for custom loops: `(outputs, non_trainable)` from `(trainable, non_trainable)`."""
        from oneiros.training.step import predict_step
        from oneiros.utils import unpack_x_y_sample_weight

        groups = ("trainable", "non_trainable")
        values = dict(zip(groups, map(list, state)))
        new, outputs = predict_step(
            self, self._state_variables(), values, unpack_x_y_sample_weight(data)
        )
        return outputs, new["non_trainable"]

    def _logs_of(self, variables, new, logs):
        from oneiros.core.scopes import StatelessScope

        if logs is not None:
            return logs
        with StatelessScope(zip(variables["metrics"], new["metrics"])):
            return self.get_metrics_result()

    # Getting ready --------------------------------------------------------------------------------
    @property
    def _call_takes_training(self):
        from oneiros.layers.base import _plan_of

        plan = _plan_of(type(self))
        return plan.training

    def _prepare(self, kind, batch):
        """Build what is not built yet from a first batch, and return the state and the step
        function.
        """
        from oneiros.layers.base import CHANGES

        function = self._functions.get(kind)
        if function is not None and self._state is not None and function.seen == CHANGES[0]:
            return self._state, function
        x, y, _ = batch
        needs_metrics = (
            kind != "predict"
            and self._compile_metrics is not None
            and not self._compile_metrics.built
        )
        needs_loss = (
            kind != "predict"
            and self._compile_loss is not None
            and not getattr(self._compile_loss, "built", True)
        )
        if not self._all_built or needs_metrics or needs_loss:
            self._build_for(x, y if kind != "predict" else None)
        if self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
            self._forget_state()
        if self._state is None:
            object.__setattr__(self, "_state", State(self))
        function = self._functions.get(kind)
        if function is None:
            function = self._functions[kind] = StepFunction(self, kind)
        function.seen = CHANGES[0]
        return self._state, function

    @property
    def _all_built(self):
        layers = self._flatten_layers()
        return self.built and all(y.built or id(y) in self._never_run for y in layers)

    def _build_once(self, x, y):
        if not self._all_built:
            self._build_for(x, y)

    def _build_for(self, x, y):
        """Run the model once on symbols, so that every weight and metric exists."""
        from oneiros.training.staging import has_stage, refuse_strings, symbols_of

        self._forget_state()
        if not has_stage(self):
            refuse_strings(self, x)
        if self._all_built and self._is_its_graph():
            outputs = self._function.output
        else:
            inputs = symbols_of(self, x)
            kwargs = {"training": True} if self._call_takes_training else {}
            outputs = self(inputs, **kwargs)
        unbuilt = frozenset(id(layer) for layer in self._flatten_layers() if not layer.built)
        object.__setattr__(self, "_never_run", unbuilt)  # such as a dropout of rate 0
        if self._compile_metrics is not None and y is not None:
            self._compile_metrics.build(symbols_of(self, y), outputs)
        if (
            self._compile_loss is not None
            and y is not None
            and hasattr(self._compile_loss, "build")
        ):
            self._compile_loss.build(symbols_of(self, y), outputs)

    def _is_its_graph(self):
        """Whether a call is nothing but a run of the graph that the model was made of."""
        ours = type(self).call.__module__.startswith("oneiros.models")
        return ours and self._function is not None

    def _symbolic_build(self, data_batch=None, **_):
        self._build_for(*data_batch[:2])

    # Loops ----------------------------------------------------------------------------------------
    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        class_weight=None,
        sample_weight=None,
        initial_epoch=0,
        steps_per_epoch=None,
        validation_steps=None,
        validation_batch_size=None,
        validation_freq=1,
    ):
        """Train on data for a number of epochs.

        Args:
            x: Inputs: arrays (also pandas, lists, dicts of them), or a generator, data set or
                loader of batches.
            y: Targets, where `x` does not hold them.
            batch_size: Samples in a batch; 32 if None.
            epochs: The epoch to end at.
            verbose: 0 silent, 1 a progress bar, 2 a line per epoch, "auto".
            callbacks: Callbacks.
            validation_split: The fraction at the end of the data that is held out.
            validation_data: (x, y) or (x, y, sample_weight), or a data set, judged after each
                epoch.
            shuffle: Whether arrays are shuffled before each epoch.
            class_weight: Class to weight.
            sample_weight: A weight for each sample.
            initial_epoch: The epoch to begin at.
            steps_per_epoch: Batches in an epoch; all if None.
            validation_steps: Batches of validation; all if None.
            validation_batch_size: Samples in a batch of validation; `batch_size` if None.
            validation_freq: Epochs between validations, or the epochs to validate after.

        Returns:
            A `History`, whose `history` maps names to one value per epoch.

        >>> import numpy as np, oneiros
        >>> model = oneiros.Sequential([oneiros.layers.Dense(1)])
        >>> model.compile(optimizer="sgd", loss="mse")
        >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), epochs=3, verbose=0)
        >>> history.history["loss"][0] > history.history["loss"][-1]
        True
        """
        from oneiros.training import data as adapters
        from oneiros.training.staging import staged_data

        self._check_compiled("fit")
        if self.optimizer is None:
            raise ValueError("fit needs an optimizer; `compile` was given optimizer=None")
        if not isinstance(epochs, int) or epochs < 0:
            raise ValueError(f"epochs must be a non-negative integer; got {epochs!r}")
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = adapters.validation_split(
                (x, y, sample_weight), validation_split
            )
        data = adapters.adapt(
            x,
            y,
            sample_weight,
            batch_size=batch_size,
            steps=steps_per_epoch,
            shuffle=shuffle,
            class_weight=class_weight,
        )
        data, validation = staged_data(self, data), None
        if validation_data is not None:
            validation = _validation(
                validation_data, validation_batch_size or batch_size, validation_steps
            )
            validation = staged_data(self, validation)
        limit = config.max_epochs()
        epochs = min(epochs, limit) if limit is not None else epochs
        listeners = self._callbacks(callbacks, verbose, True, epochs, data)
        self.stop_training = False
        loop = Loop(self, "train", data, listeners)
        self._train_data = data
        listeners.on_train_begin()
        initial_epoch = self.__dict__.pop("_initial_epoch", initial_epoch)  # a backup was restored
        logs = {}
        try:
            for epoch in range(initial_epoch, epochs):
                self.reset_metrics()
                listeners.on_epoch_begin(epoch)
                logs = dict(loop.run(epoch))
                if validation is not None and _validates(epoch, validation_freq):
                    judged = self._evaluate(validation, listeners)
                    logs.update({f"val_{k}": v for k, v in judged.items()})
                listeners.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break
            if (
                self.optimizer is not None
                and epochs > initial_epoch
                and getattr(self.optimizer, "use_ema", False)
            ):
                self.optimizer.finalize_variable_values(self.trainable_weights)
            listeners.on_train_end(logs)
        finally:
            self._train_data = None
            if self._state is not None:
                self._state.release()
        return self.history

    def _callbacks(self, callbacks, verbose, history, epochs, data):
        from oneiros.callbacks import CallbackList

        if isinstance(callbacks, CallbackList):
            return callbacks
        return CallbackList(
            callbacks, add_history=history, add_progbar=verbose != 0, verbose=_verbosity(verbose), epochs=epochs,
            steps=data.num_batches, model=self,
        )  # fmt: skip

    def evaluate(
        self, x=None, y=None, batch_size=None, verbose="auto", sample_weight=None, steps=None, callbacks=None,
        return_dict=False, **kwargs,
    ):  # fmt: skip
        """The loss and the metrics on data: a number, a list of them, or a dict by name."""
        from oneiros.training import data as adapters
        from oneiros.training.staging import staged_data

        self._check_compiled("evaluate")
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        data = adapters.adapt(x, y, sample_weight, batch_size=batch_size, steps=steps)
        data = staged_data(self, data)
        listeners = self._callbacks(callbacks, verbose, False, 1, data)
        logs = self._evaluate(data, listeners)
        if self._state is not None:
            self._state.release()
        if return_dict:
            return logs
        values = list(logs.values())
        return values[0] if len(values) == 1 else values

    def _evaluate(self, data, listeners):
        self.reset_metrics()
        listeners.on_test_begin()
        logs = dict(Loop(self, "test", data, listeners).run(0))
        listeners.on_test_end(logs)
        return logs

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """The outputs for data, as NumPy arrays in the model's output structure."""
        from oneiros.training import data as adapters
        from oneiros.training.staging import staged_data

        if (
            type(x) is np.ndarray and x.ndim and callbacks is None and verbose == 0 and steps is None
            and 0 < len(x) <= (32 if batch_size is None else batch_size)
            and config.max_steps_per_epoch() is None
        ):  # fmt: skip
            return tree.map_structure(np.array, self._outputs_of(adapters.standard(x)))
        data = staged_data(self, adapters.adapt(x, batch_size=batch_size, steps=steps))
        listeners = self._callbacks(callbacks, verbose, False, 1, data)
        return Loop(self, "predict", data, listeners).predict()

    def train_on_batch(self, x, y=None, sample_weight=None, class_weight=None, return_dict=False):
        """One step of training on one batch; the metrics since their last reset."""
        self._check_compiled("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same time."
                )
            from oneiros.training.data import class_weight_to_sample_weights

            sample_weight = class_weight_to_sample_weights(y, class_weight)
        return self._on_batch("train", (x, y, sample_weight), return_dict)

    def test_on_batch(self, x, y=None, sample_weight=None, return_dict=False):
        """The loss and the metrics on one batch, since their last reset."""
        self._check_compiled("test_on_batch")
        return self._on_batch("test", (x, y, sample_weight), return_dict)

    def _on_batch(self, kind, batch, return_dict):
        from oneiros.training.staging import staged_batch

        batch = (staged_batch(self, *batch[:2]), *batch[1:])
        batch = tree.map_structure(host, batch)
        state, function = self._prepare(kind, batch)
        leaves = [v for v in tree.flatten(batch) if v is not None]
        made = function.of(state, leaves, batch)
        own = made.run(leaves)
        logs = own if own is not None else Results(self, state)
        logs = {k: float_of(v) for k, v in logs.items()}
        if return_dict:
            return logs
        values = list(logs.values())
        return values[0] if len(values) == 1 else values

    def predict_on_batch(self, x):
        """The outputs for one batch."""
        return self._outputs_of(tree.map_structure(host, x))

    def _outputs_of(self, x):
        from oneiros.training.staging import staged_batch

        batch = (staged_batch(self, x), None, None)
        state, function = self._prepare("predict", batch)
        leaves = [v for v in tree.flatten(batch[0]) if v is not None]
        return tree.map_structure(backend.to_numpy, function.of(state, leaves, batch).run(leaves))

    def make_train_function(self, force=False):
        """Compiled steps are made when first needed; `force` drops those made so far."""
        if force:
            self._forget_functions()

    make_test_function = make_predict_function = make_train_function

    def jax_state_sync(self):
        """Variables always show the state that training has reached; nothing to do."""

    def get_state_tree(self, value_format="backend_tensor"):
        """All state as nested dicts by path, in four groups."""
        if value_format not in ("backend_tensor", "numpy_array"):
            raise ValueError(
                f"value_format must be 'backend_tensor' or 'numpy_array'; got {value_format!r}"
            )
        groups = self._state_variables()
        names = {"trainable": "trainable_variables", "non_trainable": "non_trainable_variables",
                 "optimizer": "optimizer_variables", "metrics": "metrics_variables"}  # fmt: skip
        made = {}
        for key, name in names.items():
            made[name] = {}
            for v in groups[key]:
                value = v.numpy() if value_format == "numpy_array" else v.value
                _put(made[name], v.path.split("/"), value)
        return made

    def set_state_tree(self, state_tree):
        """Assign what `get_state_tree` gave."""
        groups = self._state_variables()
        for key, name in zip(
            GROUPS,
            (
                "trainable_variables",
                "non_trainable_variables",
                "optimizer_variables",
                "metrics_variables",
            ),
        ):
            rows = state_tree.get(name)
            if rows is None:
                continue
            for v in groups[key]:
                value = rows
                for part in v.path.split("/"):
                    value = value[part]
                v.assign(value)


def _validation(data, batch_size, steps):
    from oneiros.training import data as adapters
    from oneiros.utils import unpack_x_y_sample_weight

    if isinstance(data, (tuple, list)) and len(data) in (2, 3):
        return adapters.adapt(
            *unpack_x_y_sample_weight(tuple(data)), batch_size=batch_size, steps=steps
        )
    return adapters.adapt(data, steps=steps)


def _validates(epoch, frequency):
    return (epoch + 1) % frequency == 0 if isinstance(frequency, int) else epoch + 1 in frequency


def _verbosity(verbose):
    return 1 if verbose == "auto" else int(verbose)


def _metrics_in(value, kind):
    if isinstance(value, kind):
        return [value]
    if isinstance(value, (list, tuple)):
        return [m for v in value for m in _metrics_in(v, kind)]
    if isinstance(value, dict):
        return [m for v in value.values() for m in _metrics_in(v, kind)]
    return []


def _put(rows, path, value):
    for part in path[:-1]:
        rows = rows.setdefault(part, {})
    rows[path[-1]] = value


def _final(error):
    """Mark an error as about the data: no other way of running can help."""
    error.final = True
    return error
