"""What an optimizer is: one pure `update` of a weight, and all that optimizers share around it.

A built-in optimizer declares its arguments, its `slots` (the arrays that it keeps for each weight)
and `update(g, weight, lr, step, *slots)`, which gives their new values. Here stand clipping, weight
decay, gradient accumulation, averages of the weights, schedules, constraints, state. Everything is
made of `ops` without a look at values, so the same lines run on arrays and in a traced step.
"""

from __future__ import annotations

import re
import warnings

import numpy as np

from oneiros import ops
from oneiros.core import backend
from oneiros.core.configurable import Configurable, _declarer, config_names
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import STACK, trace
from oneiros.core.naming import auto_name
from oneiros.core.op import array, to_dtype
from oneiros.core.scopes import STATE, StatelessScope, names
from oneiros.core.spec import Spec, spec_of
from oneiros.core.variable import Variable
from oneiros.optimizers.schedules import LearningRateSchedule

__all__ = ["AS_IT_IS", "Adaptive", "Optimizer", "blend", "unwrapped"]

AS_IT_IS = "the weight's value"


class Optimizer(Configurable):
    """The base of optimizers: it changes weights by their gradients.

    A subclass defines `slots` and `update`, or, as in Keras, `build` (with
    `add_optimizer_variables`) and `update_step(gradient, variable, learning_rate)` (with `assign`).

    Args:
        learning_rate: A number, a schedule, or a function of nothing.
        weight_decay: The share of each weight, times the learning rate, taken off before an update.
        clipnorm: The largest norm of any gradient.
        clipvalue: The largest size of any gradient's elements.
        global_clipnorm: The largest norm of all gradients together.
        use_ema: Whether to keep an exponential moving average of the weights.
        ema_momentum: How much of the average is kept at a step.
        ema_overwrite_frequency: After how many updates the average replaces the weights; None: only
            at the end of training.
        loss_scale_factor: What the loss is multiplied by, and gradients are divided by.
        gradient_accumulation_steps: How many steps' gradients are averaged for one update.
        name: Its name, which begins its variables' paths.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> w = oneiros.Variable([1.0, 2.0])
    >>> optimizers.SGD(0.5).apply([[1.0, 1.0]], [w])
    >>> w.numpy().tolist()
    [0.5, 1.5]
    """

    learning_rate: float
    shared = {
        "weight_decay": None, "clipnorm": None, "clipvalue": None, "global_clipnorm": None,
        "use_ema": False, "ema_momentum": 0.99, "ema_overwrite_frequency": None,
        "loss_scale_factor": None, "gradient_accumulation_steps": None, "name": None,
    }  # fmt: skip
    keywords = True
    slots = ()  # names of the arrays of each weight; "a b" in one string: side by side in files

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        for name in cls.__dict__.keys() & {"learning_rate", "iterations", "variables"}:
            if not isinstance(cls.__dict__[name], property):
                delattr(cls, name)  # a field's default must not hide the property

    def adopt(self, **options):
        unknown = {k: v for k, v in options.items() if k not in self.shared}
        if unknown.pop("decay", None) is not None:
            warnings.warn(
                f"{type(self).__name__}: `decay` is ignored; use a schedule as `learning_rate`",
                stacklevel=3,
            )
        if unknown:
            known = ", ".join(config_names(_declarer(type(self))))
            raise ValueError(
                f"{type(self).__name__} has no argument {next(iter(unknown))!r}; its arguments "
                f"are: {known}"
            )
        self.name = options.pop("name") or auto_name(type(self).__name__)
        for name in self.shared:
            if name in options:
                setattr(self, name, options[name])
        self._check()
        self.built = False
        self._variables, self._trainable_variables, self._places = [], [], {}
        self._slots, self._undecayed, self._undecayed_names = {}, set(), []
        self._rates = self._step = None
        self._iterations = self._scalar(0, "int32", "iteration")

    def _check(self):
        clips = {n: getattr(self, n) for n in ("clipnorm", "clipvalue", "global_clipnorm")}
        if sum(v is not None for v in clips.values()) > 1:
            raise ValueError(
                f"{type(self).__name__}: only one of `clipnorm`, `clipvalue` and `global_clipnorm` "
                f"can be set; got {', '.join(f'{k}={v}' for k, v in clips.items())}"
            )
        if self.use_ema and not 0 <= self.ema_momentum <= 1:
            raise ValueError(
                f"{type(self).__name__}: `ema_momentum` must lie in [0, 1]; got {self.ema_momentum}"
            )
        every = self.ema_overwrite_frequency
        if self.use_ema and every and (not isinstance(every, int) or every < 1):
            raise ValueError(
                f"{type(self).__name__}: `ema_overwrite_frequency` must be an integer from 1, or "
                f"None; got {every!r}"
            )
        steps = self.gradient_accumulation_steps
        if steps and (not isinstance(steps, int) or steps < 2):
            raise ValueError(
                f"{type(self).__name__}: `gradient_accumulation_steps` must be an integer from 2, "
                f"or None; got {steps!r}"
            )

    # For subclasses ------------------------------------------------------------------------------
    def update(self, g, weight, lr, step, *slots):
        """The new weight, and the new value of each slot after it.

        Args:
            g: The gradient, clipped and averaged.
            lr: What `prepare` made of the learning rate.
            step: The number of this update, from 1, as a float.
        """
        raise NotImplementedError(
            f"{type(self).__name__} must define `update(g, weight, lr, step, *slots)` or "
            "`update_step(gradient, variable, learning_rate)`"
        )

    def prepare(self, lr, step):
        """What all weights share in a step: worked out once, and given to `update` as `lr`."""
        return lr

    def update_step(self, gradient, variable, learning_rate):
        """Change one variable, and its slots, by its gradient."""
        dtype, slots = variable.dtype, self._slots.get(id(variable), ())
        lr, step = self._shared_rates(learning_rate, dtype)
        made = self.update(
            to_dtype(array(gradient), dtype), variable.value, lr, step, *[s.value for s in slots]
        )
        for v, value in zip((variable, *slots), made if isinstance(made, tuple) else (made,)):
            v.assign(value)

    def _shared_rates(self, learning_rate, dtype):
        """What `prepare` gives, and the step, in `dtype`: once for all weights of a step."""
        known = self._rates if self._rates is not None else {}
        key = id(learning_rate)
        if key not in known:
            step = ops.cast(self.iterations, "float32") + 1.0
            known[key] = learning_rate, self.prepare(unwrapped(learning_rate), step), step
        _, lr, step = known[key]
        if (key, dtype) not in known:
            known[key, dtype] = _cast(lr, dtype), _cast(step, dtype)
        return known[key, dtype]

    # Variables -----------------------------------------------------------------------------------
    def build(self, variables):
        """Make the state for these variables."""
        if self.built:
            return
        variables = list(variables)
        self._trainable_variables = variables
        self._places = {id(v): i for i, v in enumerate(variables)}
        if self.use_ema:
            self._averages = self.add_optimizer_variables(variables, "average", AS_IT_IS)
        if self.gradient_accumulation_steps:
            self._accumulators = self.add_optimizer_variables(variables, "gradient_accumulator")
        self._build_slots(variables)
        self.built = True

    def _build_slots(self, variables):
        for group in self.slots:
            for v in variables:
                self._slots.setdefault(id(v), []).extend(
                    self.add_variable_from_reference(v, name, self.initial(name))
                    for name in group.split()
                )

    def initial(self, slot):
        """What a slot holds at first: an initializer, a number, or (`AS_IT_IS`) the weight."""
        return "zeros"

    def add_variable(
        self, shape, initializer="zeros", dtype=None, aggregation="none", layout=None, name=None
    ):
        """A new variable of the optimizer's state."""
        with names((self.name,)):
            return self._keep(
                Variable(
                    initializer, shape, dtype, trainable=False, aggregation=aggregation, name=name
                )
            )

    def add_variable_from_reference(self, reference_variable, name=None, initializer="zeros"):
        """A new variable of the shape and dtype of another, and named after it."""
        shape, dtype = reference_variable.shape, reference_variable.dtype
        if initializer is AS_IT_IS:
            initializer = reference_variable.numpy()
        elif isinstance(initializer, (int, float)):
            initializer = np.full(shape, initializer, np_dtype(dtype))
        name = f"{reference_variable.path.replace('/', '_')}_{name or 'var'}"
        aggregation = getattr(reference_variable, "aggregation", "none")
        first = "zeros" if initializer is None else initializer
        return self.add_variable(shape, first, dtype, aggregation, name=name)

    def add_optimizer_variables(self, trainable_variables, name, initializer="zeros"):
        """New variables like each of `trainable_variables`, in a list.

        For a list of names (and perhaps of initializers) a tuple of such lists.
        """
        all_names = [name] if isinstance(name, str) else list(name)
        many = isinstance(initializer, (list, tuple))
        initializers = list(initializer) if many else [initializer] * len(all_names)
        if len(initializers) != len(all_names):
            raise ValueError(
                f"{type(self).__name__}: as many initializers as names are needed; got "
                f"{len(initializers)} for {len(all_names)}"
            )
        made = [[] for _ in all_names]
        for v in trainable_variables:
            for column, n, first in zip(made, all_names, initializers):
                column.append(self.add_variable_from_reference(v, n, first))
        return made[0] if isinstance(name, str) else tuple(made)

    def _scalar(self, value, dtype, name):
        with names((self.name,)):
            return self._keep(
                Variable(
                    np.asarray(value, dtype), trainable=False, name=name,
                    aggregation="only_first_replica",
                )
            )  # fmt: skip

    def _keep(self, variable):
        self._variables.append(variable)
        return variable

    def _get_variable_index(self, variable):
        return self._places[id(variable)]

    @property
    def variables(self):
        """Its variables: the step, the learning rate, then the state of the weights."""
        return list(self._variables)

    @property
    def iterations(self):
        """How many updates were made, gradient accumulation allowed for."""
        if self.gradient_accumulation_steps:
            return ops.floor_divide(self._iterations, self.gradient_accumulation_steps)
        return self._iterations

    @iterations.setter
    def iterations(self, variable):
        if self.built:
            raise RuntimeError(
                f"{type(self).__name__}: `iterations` cannot be set once the optimizer is built"
            )
        self._variables[self._position(self._iterations)] = variable
        self._iterations = variable

    def _position(self, variable):
        return next(i for i, v in enumerate(self._variables) if v is variable)

    # The learning rate ---------------------------------------------------------------------------
    def _get_learning_rate(self):
        """The learning rate: a variable, or its current value by a schedule or function."""
        rate = self._learning_rate
        return rate if isinstance(rate, Variable) else self._current_rate()

    def _set_learning_rate(self, value):
        before = self.__dict__.get("_learning_rate")
        moving = isinstance(value, LearningRateSchedule) or (
            callable(value) and not isinstance(value, Variable)
        )
        if moving:
            if isinstance(before, Variable):
                del self._variables[self._position(before)]
            self._learning_rate = value
        elif before is None:
            if not hasattr(value, "shape") and not isinstance(value, (int, float)):
                raise ValueError(
                    f"{type(self).__name__}: `learning_rate` must be a number, a schedule or a "
                    f"function; got {value!r}"
                )
            self._learning_rate = self._scalar(unwrapped(value), "float32", "learning_rate")
        elif isinstance(before, Variable):
            before.assign(value)
        else:
            raise TypeError(
                f"{type(self).__name__} was made with a schedule or function as `learning_rate`, "
                "so its rate cannot be set; make it with a number for that"
            )

    def _current_rate(self):
        rate = self._learning_rate
        if isinstance(rate, Variable):
            return rate.value
        if isinstance(rate, LearningRateSchedule):
            return rate(self._iterations)
        return rate() if callable(rate) else rate

    # A step --------------------------------------------------------------------------------------
    def apply(self, grads, trainable_variables=None):
        """Change the variables by their gradients.

        Args:
            grads: An array, or None, for each variable.
            trainable_variables: The variables; by default those that the optimizer was built for.
        """
        grads = list(grads)
        if not grads:
            return
        if trainable_variables is None:
            if not self.built:
                raise ValueError(
                    f"{type(self).__name__}: `apply` without variables needs a built optimizer; "
                    "call `optimizer.build(trainable_variables)` first, or give the variables"
                )
            variables = self._trainable_variables
        else:
            variables = list(trainable_variables)
            if not self.built:
                self.build(variables)
            for v in variables:
                self._check_known(v)
        if len(grads) != len(variables):
            raise ValueError(
                f"{type(self).__name__}: `grads` must hold a gradient for each of the "
                f"{len(variables)} variables; got {len(grads)}"
            )
        pairs = self._with_gradients(grads, variables)
        engine = backend.current()
        if engine.stateful_steps and STATE.stateless is None and STACK.top is None:
            self._compiled(engine, pairs)
        else:
            self._take(pairs)

    def _compiled(self, engine, pairs):
        """Take a step by one compiled function, which writes into the variables."""
        rate = self._learning_rate
        known = isinstance(rate, (Variable, LearningRateSchedule))
        if not (known and type(self).__module__.startswith("oneiros.optimizers")):
            return self._take(pairs)
        variables = [v for _, v in pairs]
        state = [*variables, *self._variables]
        settings = [v for v in self.__dict__.values() if type(v) in (int, float, bool)]
        key = [engine.name, *settings, *map(id, state)]
        if self._step is None or self._step[0] != key:

            def step(*symbols):
                with StatelessScope(list(zip(state, symbols))) as scope:
                    self._take(list(zip(symbols[len(state) :], variables)))
                    return [scope.get_current_value(v) for v in state]

            specs = [Spec(v.shape, v.dtype) for v in state] + [spec_of(g) for g, _ in pairs]
            graph = trace(step, specs, engine.kept("train"))
            self._step = key, engine.compile(graph, donate=tuple(range(len(state))))
        return self._step[1](*[v._lease_value(None) for v in state], *[g for g, _ in pairs])

    def _take(self, pairs):
        """Take a step, with derivatives for all of these variables."""
        self._rates = {}
        try:
            pairs = self._overwritten(pairs)
            if pairs:
                grads, variables = zip(*pairs)
                self._apply(list(grads), list(variables))
                for v in variables:
                    if v.constraint is not None:
                        v.assign(v.constraint(v.value))
        finally:
            self._rates = None
        self._iterations.assign_add(1)

    def _apply(self, grads, variables):
        if self.loss_scale_factor is not None:
            grads = [g / self.loss_scale_factor for g in grads]
        if self.gradient_accumulation_steps:
            self._accumulate(grads, variables)
        else:
            self._update(grads, variables)
        if self.use_ema:
            self._average()

    def _update(self, grads, variables):
        """Clip, decay, and change every variable."""
        grads = self._clipped(grads)
        rate = self._current_rate()
        self._decay(variables, rate)
        for g, v in zip(grads, variables):
            self.update_step(g, v, rate)

    def _accumulate(self, grads, variables):
        """Add the gradients up, and at every n-th step update by their mean."""
        steps = self.gradient_accumulation_steps
        now = ops.equal(ops.mod(self._iterations.value + 1, steps), 0)
        sums = []
        for g, v in zip(grads, variables):
            total = self._accumulators[self._get_variable_index(v)]
            value = total.value + to_dtype(array(g), total.dtype)
            total.assign(ops.where(now, ops.zeros_like(value), value))
            sums.append(value)
        state = [*variables, *self._variables]
        before = [(v, v.value) for v in state]
        with StatelessScope(before) as scope:
            self._update([value / steps for value in sums], variables)
        for v, old in before:
            new = scope.get_current_value(v)
            if new is not old:
                v.assign(ops.where(now, new, old))

    def _average(self):
        """Move the averages towards the weights, and, when it is time, the weights to them."""
        count = unwrapped(self.iterations)
        kept = ops.where(ops.equal(count, 0), 0.0, self.ema_momentum)
        every = self.ema_overwrite_frequency
        now = ops.equal(ops.mod(count + 1, every), 0) if every else None
        for v, mean in zip(self._trainable_variables, self._averages):
            rate = _cast(kept, mean.dtype)
            value = rate * mean.value + (1 - rate) * v.value
            mean.assign(value)
            if every:
                v.assign(ops.where(now, value, v.value))

    def _clipped(self, grads):
        if self.clipvalue is not None:
            return [ops.clip(g, -self.clipvalue, self.clipvalue) for g in grads]
        if self.clipnorm is not None:
            return [g * _shrink(_norm([g]), self.clipnorm) for g in grads]
        if self.global_clipnorm is not None:
            scale = _shrink(_norm(grads), self.global_clipnorm)
            return [g * _cast(scale, array(g).dtype) for g in grads]
        return grads

    def _decay(self, variables, rate):
        if self.weight_decay is None:
            return
        share = {}
        for v in variables:
            if self._use_weight_decay(v):
                if v.dtype not in share:
                    share[v.dtype] = _cast(rate * self.weight_decay, v.dtype)
                v.assign(v.value - v.value * share[v.dtype])

    def _use_weight_decay(self, variable):
        if id(variable) in self._undecayed:
            return False
        return not any(re.search(name, variable.name) for name in self._undecayed_names)

    def _with_gradients(self, grads, variables):
        """The pairs that have a gradient; a warning names the variables without one."""
        pairs = [(array(g), v) for g, v in zip(grads, variables) if g is not None]
        if not pairs:
            raise ValueError(
                f"{type(self).__name__}: no variable has a gradient; does the loss depend on them?"
            )
        if len(pairs) < len(grads):
            without = [v.path for g, v in zip(grads, variables) if g is None]
            warnings.warn(
                f"{type(self).__name__}: the loss does not depend on the variables {without}, "
                "which stay as they are",
                stacklevel=4,
            )
        return pairs

    def _overwritten(self, pairs):
        """The pairs left once variables whose gradient is their new value have taken it."""
        steps, left = self.gradient_accumulation_steps, []
        for g, v in pairs:
            if not getattr(v, "overwrite_with_gradient", False):
                left.append((g, v))
                continue
            if steps:
                total = self._accumulators[self._get_variable_index(v)]
                now = ops.equal(ops.mod(self._iterations.value + 1, steps), 0)
                value = ops.maximum(total.value, to_dtype(array(g), total.dtype))
                total.assign(ops.where(now, ops.zeros_like(value), value))
                g = ops.where(now, value, v.value)
            v.assign(g)
        return left

    def _check_known(self, variable):
        if id(variable) not in self._places:
            raise ValueError(
                f"{type(self).__name__}: unknown variable {variable!r}; an optimizer takes only "
                "the variables that it was built for. Make a new one for other variables"
            )

    def apply_gradients(self, grads_and_vars):
        """As `apply`, for pairs (gradient, variable)."""
        grads, variables = zip(*grads_and_vars)
        self.apply(grads, variables)
        return self._iterations

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        """`apply` as a pure function of values.

        Args:
            optimizer_variables: A value for each of `variables`.
            grads: A gradient for each variable that the optimizer was built for.
            trainable_variables: A value for each of those.

        Returns:
            The new values of the trainable variables, and of the optimizer's.
        """
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}: `stateless_apply` needs a built optimizer; call "
                "`optimizer.build(trainable_variables)` first"
            )
        own, weights = self.variables, self._trainable_variables
        for name, given, needed in (
            ("optimizer_variables", optimizer_variables, own),
            ("trainable_variables", trainable_variables, weights),
        ):
            if len(given) != len(needed):
                raise ValueError(
                    f"{type(self).__name__}: `{name}` must hold {len(needed)} values; "
                    f"got {len(given)}"
                )
        held = [*zip(weights, trainable_variables), *zip(own, optimizer_variables)]
        with StatelessScope(held) as scope:
            self.apply(grads)
            return (
                [scope.get_current_value(v) for v in weights],
                [scope.get_current_value(v) for v in own],
            )

    def scale_loss(self, loss):
        """`loss` as it must be differentiated: times the scale, if there is one."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def finalize_variable_values(self, var_list):
        """At the end of training: put the averages of the weights, if any, in their place."""
        if not self.use_ema:
            return
        if len(var_list) != len(self._averages):
            raise ValueError(
                f"{type(self).__name__}: `var_list` must hold the {len(self._averages)} variables "
                f"that the optimizer was built for; got {len(var_list)}"
            )
        for v, mean in zip(var_list, self._averages):
            v.assign(mean.value)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Leave variables, or those whose names match one of the patterns, out of weight decay."""
        self._undecayed = {id(v) for v in var_list or ()}
        self._undecayed_names = list(var_names or ())

    def assign(self, variable, value):
        """Replace a variable's value."""
        variable.assign(value)

    def assign_add(self, variable, value):
        """Add to a variable's value."""
        variable.assign_add(value)

    def assign_sub(self, variable, value):
        """Subtract from a variable's value."""
        variable.assign_sub(value)

    # Saving --------------------------------------------------------------------------------------
    def set_weights(self, weights):
        """Replace the values of `variables`."""
        if not self.built:
            raise ValueError(
                f"{type(self).__name__}: `set_weights` needs a built optimizer; call "
                "`optimizer.build(trainable_variables)` first"
            )
        variables = self.variables
        if len(weights) != len(variables):
            raise ValueError(
                f"{type(self).__name__} has {len(variables)} variables; got {len(weights)} weights"
            )
        for v, value in zip(variables, weights):
            if tuple(np.shape(value)) != v.shape:
                raise ValueError(
                    f"{type(self).__name__}: variable '{v.path}' has the shape {v.shape}; got a "
                    f"weight of shape {tuple(np.shape(value))}"
                )
            v.assign(value)

    def save_own_variables(self, store):
        """Write the variables to `store`, a mapping, under their positions."""
        for i, v in enumerate(self.variables):
            store[str(i)] = v.numpy()

    def load_own_variables(self, store):
        """Read the variables from `store`; with a warning if it has another number of them."""
        variables = self.variables
        if len(store.keys()) != len(variables):
            warnings.warn(
                f"optimizer '{self.name}' has {len(variables)} variables, but the file has "
                f"{len(store.keys())}; its state is not loaded",
                stacklevel=2,
            )
            return
        for i, v in enumerate(variables):
            v.assign(store[str(i)])

    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        from oneiros.core.registry import serialize_keras_object

        rate = self._learning_rate
        rate = float(rate.numpy()) if isinstance(rate, Variable) else serialize_keras_object(rate)
        keys = dict.fromkeys([*config_names(_declarer(type(self))), *self.shared])
        return {n: rate if n == "learning_rate" else getattr(self, n) for n in keys}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """An optimizer from the dict that `get_config` gave."""
        rate = config.get("learning_rate")
        if isinstance(rate, dict):
            from oneiros.core.registry import deserialize_keras_object

            rate = deserialize_keras_object(rate, custom_objects=custom_objects)
            config = {**config, "learning_rate": rate}
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


Optimizer.learning_rate = property(Optimizer._get_learning_rate, Optimizer._set_learning_rate)


class Adaptive(Optimizer):
    """The base of optimizers that keep state for each weight."""

    def build(self, var_list):
        """Make the state for these variables."""
        super().build(var_list)


# Arithmetic --------------------------------------------------------------------------------------
def blend(mean, value, kept):
    """A moving average: `kept` of the mean, the rest of the new value."""
    return mean + (value - mean) * (1 - kept)


def unwrapped(x):
    """A variable's value; anything else as it is."""
    return x.value if isinstance(x, Variable) else x


def _cast(x, dtype):
    """A number, array, or tuple of them in `dtype`; plain numbers fit any dtype as they are."""
    if isinstance(x, tuple):
        return tuple(_cast(v, dtype) for v in x)
    return x if isinstance(x, (int, float)) else ops.cast(x, dtype)


def _norm(grads):
    """The Euclidean norm of all elements together."""
    squares = [ops.sum(ops.square(ops.cast(g, _wide(g)))) for g in grads]
    total = squares[0]
    for s in squares[1:]:
        total = total + s
    return ops.sqrt(total)


def _wide(g):
    """A dtype in which squares of gradients do not overflow."""
    from oneiros.core.spec import dtype_name

    name = dtype_name(array(g).dtype)
    return "float32" if name in ("float16", "bfloat16") else name


def _shrink(norm, limit):
    """The factor that brings a norm down to `limit`; not a number if the norm is infinite."""
    return limit / ops.maximum(norm, limit) + (norm - norm)
