"""One step of training, testing or predicting as a pure function of state and batch.

The same code serves both ways of differentiating: run on symbols inside a trace it becomes a graph,
which our
rules differentiate and a backend emits; run on a native framework's own tracers it is
differentiated there.
"""

from __future__ import annotations

import logging
import warnings

import numpy as np

from oneiros.core import backend, tree
from oneiros.core.autodiff import gradient, is_differentiable
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import STACK, Graph, Trace
from oneiros.core.op import array
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Spec, dtype_name
from oneiros.core.symbol import Symbol, Untraceable
from oneiros.training.own_code import plain_settings
from oneiros.utils import pack_x_y_sample_weight

__all__ = ["State", "StepFunction", "predict_step", "test_step", "train_step"]

_log = logging.getLogger("oneiros")
GROUPS = ("trainable", "non_trainable", "optimizer", "metrics")


def train_step(model, variables, values, batch, differentiate):
    """New values of all variables, and the step's own logs (None if they are the metrics' results).

    Args:
        variables: Group name to variables.
        values: Group name to their values.
        differentiate: `(forward, trainable_values) -> (gradients, rest)`, where `forward(values)`
            gives
            `(scalar, rest)`.
    """
    x, y, weight = batch
    rest_variables = [*variables["non_trainable"], *variables["metrics"], *variables["optimizer"]]
    rest_values = [*values["non_trainable"], *values["metrics"], *values["optimizer"]]
    rest_pairs = list(zip(rest_variables, rest_values))

    def forward(trainable):
        pairs = [*zip(variables["trainable"], trainable), *rest_pairs]
        with StatelessScope(pairs, collect_losses=True) as scope:
            y_pred = call_model(model, x, training=True)
            loss = model._compute_loss_has(x, y, y_pred, weight, True)
            model._track_loss(loss, x)
            logs = model._step_logs(x, y, y_pred, weight)
            loss = array(loss)
            if model.optimizer is not None and getattr(model.optimizer, "scale_loss", None):
                loss = model.optimizer.scale_loss(loss)
            now = [scope.get_current_value(v) for v in rest_variables]
            changed = [scope.get_current_value(v) for v in variables["trainable"]]
            moved = [b if b is not a else None for a, b in zip(trainable, changed)]
        return loss, (now, moved, logs)

    gradients, (now, moved, logs) = differentiate(forward, list(values["trainable"]))
    pairs = [*zip(variables["trainable"], values["trainable"]), *zip(rest_variables, now)]
    pairs += [(v, m) for v, m in zip(variables["trainable"], moved) if m is not None]
    with StatelessScope(pairs) as scope:
        if variables["trainable"]:
            model.optimizer.apply(gradients, list(variables["trainable"]))
        new = {g: [scope.get_current_value(v) for v in variables[g]] for g in GROUPS}
    return new, logs


def test_step(model, variables, values, batch):
    """New values of the changing variables, and the step's own logs."""
    x, y, weight = batch
    with StatelessScope(_pairs(variables, values), collect_losses=True) as scope:
        y_pred = call_model(model, x, training=False)
        loss = model._compute_loss_has(x, y, y_pred, weight, False)
        model._track_loss(loss, x)
        logs = model._step_logs(x, y, y_pred, weight)
        new = {g: [scope.get_current_value(v) for v in variables[g]] for g in values}
    return new, logs


def predict_step(model, variables, values, batch):
    """New values of the changing variables, and the outputs."""
    with StatelessScope(_pairs(variables, values), collect_losses=True) as scope:
        outputs = call_model(model, batch[0], training=False)
        new = {g: [scope.get_current_value(v) for v in variables[g]] for g in values}
    return new, outputs


def _pairs(variables, values):
    return [pair for g in values for pair in zip(variables[g], values[g])]


def call_model(model, x, training):
    """The model's outputs; `training` is passed if its call takes it."""
    if model._call_takes_training:
        return model(x, training=training)
    return model(x)


class State:
    """The values of a model's variables while a loop runs; the variables hold a lease on them.

    Reading a variable calls `release`, which hands the values back. `take` fetches them again.
    """

    def __init__(self, model):
        self.model, self.values, self.exposed = model, None, False
        self.variables = model._state_variables()
        self.flat = [v for g in GROUPS for v in self.variables[g]]
        sizes = [len(self.variables[g]) for g in GROUPS]
        ends = np.cumsum([0, *sizes])
        self.slices = {g: slice(int(a), int(b)) for g, a, b in zip(GROUPS, ends, ends[1:])}

    def take(self):
        """The values as a flat list, owned by the loop until `release`."""
        if self.values is None:
            lend = backend.current().lend
            self.values = [lend(v._lease_value(self)) for v in self.flat]
            for v in self.flat:
                v._lease = self
        return self.values

    def release(self, _=None):
        """Give the values back to the variables."""
        values, self.values = self.values, None
        if values is None:
            return
        take_back = backend.current().take_back
        for v, x in zip(self.flat, values):
            if v._lease is self:
                v._value, v._lease = take_back(v._value, x), None

    def group(self, name):
        return self.values[self.slices[name]]


class StepFunction:
    """The compiled forms of one kind of step, by the signature of the batch.

    Args:
        model: The model.
        kind: "train", "test" or "predict".
    """

    def __init__(self, model, kind):
        self.model, self.kind = model, kind
        self.groups = {
            "train": GROUPS,
            "test": ("trainable", "non_trainable", "metrics"),
            "predict": ("trainable", "non_trainable"),
        }[kind]
        self.changing = {
            "train": GROUPS,
            "test": ("non_trainable", "metrics"),
            "predict": ("non_trainable",),
        }[kind]
        self.made = {}
        self.seen = None  # how often layers had changed when it was got ready
        self.eager = model.run_eagerly

    def of(self, state, leaves, structure):
        """The compiled step for a batch with these flat arrays: `_Compiled`."""
        key = tuple((x.shape, x.dtype) for x in leaves)
        found = self.made.get(key)
        if found is None or found.is_stale():
            specs = [Spec(tuple(x.shape), _device_dtype(x.dtype)) for x in leaves]
            own = backend.current().stateful_steps and _overridden(self.model, f"{self.kind}_step")
            found = (_Own if own else _Compiled)(self, state, specs, structure)
            self.made[key] = found
        return found

    def body(self, variables, values, batch, differentiate):
        if _overridden(self.model, f"{self.kind}_step"):
            return self._custom(values, batch)
        if self.kind == "train":
            return train_step(self.model, variables, values, batch, differentiate)
        step = test_step if self.kind == "test" else predict_step
        return step(self.model, variables, values, batch)

    def _custom(self, values, batch):
        """The user's own step: `(state, data)` to `(logs, state)`, or to the outputs and the
        non-trainable values where it predicts.
        """
        step = getattr(self.model, f"{self.kind}_step")
        made, state = step(tuple(values[g] for g in self.groups), pack_x_y_sample_weight(*batch))
        if self.kind == "predict":
            return {"non_trainable": state}, made
        return dict(zip(self.groups, state)), dict(made)


def _device_dtype(dtype):
    name = dtype_name(dtype)
    return backend.current().canonical_dtype(name)


class _Compiled:
    """A step for one signature: `run(state values, batch leaves) -> (state values, extra outputs)`."""

    def __init__(self, owner, state, specs, structure):
        self.owner, self.state, self.structure = owner, state, structure
        self.read = [
            i for g in GROUPS if g in owner.groups for i in range(*_range(state.slices[g]))
        ]
        self.write = [
            i for g in GROUPS if g in owner.changing for i in range(*_range(state.slices[g]))
        ]
        position = {i: k for k, i in enumerate(self.read)}
        self.donate = tuple(position[i] for i in self.write)
        self.specs, self.extra = specs, None
        self.graph, self.walks = None, {}
        self.prepare(backend.current())

    def prepare(self, engine):
        """Trace and compile the step."""
        owner = self.owner
        if owner.eager or owner.kind == "train" and _overridden(owner.model, "train_step"):
            self.function, self.flat = None, self._native()
            if not owner.eager:
                self._compile_native(engine)
        else:
            try:
                self.graph = self._trace()
            except (
                Exception
            ) as error:  # the user's code needs real values: a native backend has its own way
                if not engine.native or _is_users_error(error):
                    raise
                self._try_native(engine, error)
            else:
                self.flat = None
                self.function = engine.compile(self.graph, donate=self.donate)
                if owner.model.jit_compile is True and hasattr(self.function, "jit"):
                    self.function.jit = True

    def is_stale(self):
        """Whether it was traced for other settings of the model."""
        return False

    def _try_native(self, engine, error):
        try:
            self.flat = self._native()
            self._compile_native(engine)
            _log.info(
                "model '%s' is trained by %s's own derivatives: %s",
                self.owner.model.name,
                engine.name,
                error,
            )
        except Exception as second:
            if type(second) is type(error):
                raise error from None
            raise second from error

    def _compile_native(self, engine):
        example = [
            Spec(self.state.flat[i].shape, self.state.flat[i].dtype) for i in self.read
        ] + self.specs
        self.function = engine.compile_function(self.flat, example, self.donate)

    def _values(self, flat):
        """Flat state values, by group."""
        by_index = dict(zip(self.read, flat))
        return {
            g: [by_index[i] for i in range(*_range(self.state.slices[g]))]
            for g in GROUPS
            if g in self.owner.groups
        }

    def _outputs(self, new, extra):
        """The flat outputs of the step, remembering the structure of what is beside the state."""
        self.extra = tree.map_structure(lambda v: None if v is None else 0, extra)
        values = [v for g in GROUPS if g in self.owner.changing for v in new[g]]
        return [*values, *[array(v) for v in tree.flatten(extra) if v is not None]]

    def _trace(self, kind=Trace):
        with kind(backend.current().kept(self.owner.kind)) as t:
            inputs = [Symbol(self.state.flat[i].shape, self.state.flat[i].dtype) for i in self.read]
            leaves = [Symbol(s.shape, s.dtype) for s in self.specs]
            batch = _packed(self.structure, leaves)

            new, extra = self._traced(self._values(inputs), batch)
            outputs = [
                y if isinstance(y, Symbol) else _constant_symbol(y)
                for y in self._outputs(new, extra)
            ]
        graph = Graph(t.calls, [*inputs, *leaves], outputs)
        if graph.captured:
            raise RuntimeError(
                f"the traced step holds symbols of another trace: {graph.captured[:3]}"
            )
        return graph

    def _traced(self, values, batch):
        """New values of the variables, and what the step gives beside them, as symbols."""

        def differentiate(forward, trainable):
            loss, rest = forward(trainable)
            if not isinstance(loss, Symbol):
                loss = _constant_symbol(loss)
            one = np.ones((), np_dtype(loss.dtype))
            return gradient([loss], [one], trainable), rest

        return self.owner.body(self.state.variables, values, batch, differentiate)

    def _native(self):
        """The step as a function on the framework's own arrays."""
        engine, owner = backend.current(), self.owner

        def flat(*values):
            n = len(self.read)
            batch = _packed(self.structure, values[n:])
            new, extra = owner.body(
                self.state.variables, self._values(values[:n]), batch, engine.value_and_grad
            )
            return self._outputs(new, extra)

        return flat

    def run(self, leaves):
        """Take one step: the state moves on, what else the step gives is returned in its structure."""
        values = self.state.take()
        args = [values[i] for i in self.read]
        made = (self.function or self.flat)(*args, *leaves)
        for i, v in zip(self.write, made):
            values[i] = v
        return self.rest(made[len(self.write) :])

    def rest(self, values):
        """The outputs beside the state, in their structure."""
        if self.extra is None:
            return None
        return _packed(self.extra, values)


class _Own(_Compiled):
    """A `train_step(data)` of the user's own, which reads and assigns the variables itself.

    It is traced where its code allows that, and else run as the backend runs it.
    """

    def prepare(self, engine):
        owner = self.owner
        self.step = getattr(owner.model, f"{owner.kind}_step")
        self.settings = self.function = self.flat = None
        if engine.step_words is not None and not owner.eager:
            self.settings = plain_settings(self.step, engine.step_words)
        if self.settings is not None:
            try:
                graph = self._trace(_Taped)
                self.function, self.graph = engine.compile(graph, donate=self.donate), graph
            except Exception as error:  # it needs values, or is wrong, which running it will say
                _log.info("model '%s': its step is not traced: %s", owner.model.name, error)
        if self.function is not None:
            if owner.model.jit_compile is True:
                self.function.jit = True
            return
        self.step = self.step if owner.eager else engine.whole(self.step)
        if owner.model.jit_compile is True and not owner.eager and engine.step_words is not None:
            warnings.warn(
                f"model '{owner.model.name}': jit_compile=True changes nothing for a "
                f"{owner.kind}_step of its own on backend '{engine.name}', which runs op by op",
                stacklevel=2,
            )

    def _traced(self, values, batch):
        model, variables = self.owner.model, self.state.variables
        STACK.top.sources = [v for v in values["trainable"] if is_differentiable(v)]
        with StatelessScope(_pairs(variables, values), collect_losses=True) as scope:
            scope.values = _Known(scope.values)
            made = self.step(pack_x_y_sample_weight(*batch))
            new = {g: [scope.get_current_value(v) for v in variables[g]] for g in values}
            if {*scope.values} - {id(v) for v in self.state.flat}:
                raise Untraceable("it assigns variables that are none of the model's state")
            for g in values.keys() - self.owner.changing:
                if any(a is not b for a, b in zip(new[g], values[g])):
                    raise Untraceable(f"it assigns {g} variables")
            if self.owner.kind != "predict":
                made = _unnested(made)
                if _same(made, _unnested(model.get_metrics_result())):
                    made = None  # the results of metrics are found when somebody reads them
        return new, made

    def is_stale(self):
        model, settings = self.owner.model, self.settings or {}
        return any(getattr(model, k, None) != v for k, v in settings.items())

    def run(self, leaves):
        if self.function is not None:
            return super().run(leaves)
        from oneiros.layers.base import CONTEXT

        self.state.release()
        batch = _packed(self.structure, map(backend.to_array, leaves))
        CONTEXT.walks = self.walks
        try:
            made = self.step(pack_x_y_sample_weight(*batch))
        finally:
            CONTEXT.walks = None
        return _unnested(made) if self.owner.kind != "predict" else made


class _Known(dict):
    """The values of variables in a traced step of the user's own, which reads no others."""

    def get(self, key, default=None):
        if key not in self:
            raise Untraceable("it reads a variable that is none of the model's state")
        return self[key]


class _Taped(Trace):
    """A trace in which weights get derivatives as PyTorch gives them: `loss.backward()`, `.grad`.

    Attributes:
        sources: The symbols of the weights.
    """

    def __init__(self, keep=()):
        super().__init__(keep)
        self.frozen, self.memos = set(), {True: self.memo, False: {}}

    def record(self, target, args, params):
        self.memo = self.memos[backend.current().is_recording()]
        return super().record(target, args, params)

    def add(self, target, args, params, specs):
        made = super().add(target, args, params, specs)
        if not backend.current().is_recording():
            self.frozen.add(self.calls[-1])
        return made

    def backward(self, loss):
        if loss.shape or not all(hasattr(w, "grad") for w in self.sources):
            raise Untraceable("`backward` is traced for a scalar, after `zero_grad`")
        one = np.ones((), np_dtype(loss.dtype))
        made = gradient([loss], [one], self.sources, missing=lambda shape, dtype: None)
        for w, g in zip(self.sources, made):
            w.grad = g if w.grad is None or g is None else w.grad + g


def _same(made, results):
    """Whether a step's logs are these results, symbol for symbol."""
    return made.keys() == results.keys() and all(made[k] is results[k] for k in made)


def _packed(structure, leaves):
    """`leaves` in the structure of a batch, whose absent parts stay None."""
    leaves = iter(leaves)
    if type(structure) is tuple and not any(map(tree.is_nested, structure)):
        return tuple([None if v is None else next(leaves) for v in structure])
    return tree.map_structure(lambda v: None if v is None else next(leaves), structure)


def _unnested(logs):
    """The logs of a user's step, where a metric may have given several by name."""
    made = {}
    for name, value in logs.items():
        made.update(value if isinstance(value, dict) else {name: value})
    return made


def _range(s):
    return s.start, s.stop


def _constant_symbol(y):
    from oneiros.core import primitives as p

    return p.broadcast_to(y, shape=tuple(y.shape))


def _overridden(model, method):
    from oneiros.training.trainer import Trainer

    return getattr(type(model), method) is not getattr(Trainer, method)


def _is_users_error(error):
    """Whether an error is about the data or the model, so that another way of differentiating
    cannot help.
    """
    return getattr(error, "final", False)
