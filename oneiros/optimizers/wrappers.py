"""Optimizers around optimizers: dynamic loss scaling, and several optimizers for one model."""

from __future__ import annotations

import collections.abc
import re

from oneiros import ops
from oneiros.core.op import array, to_dtype
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import dtype_name
from oneiros.optimizers.optimizer import Optimizer

__all__ = ["LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"]


class LossScaleOptimizer(Optimizer):
    """Scales the loss so that small gradients survive in float16, around another optimizer.

    Steps whose gradients are not finite are left out, and halve the scale; it doubles after
    `dynamic_growth_steps` finite ones in a row (Micikevicius et al., 2017).

    Args:
        inner_optimizer: The optimizer that makes the steps.
        initial_scale: The scale at first.
        dynamic_growth_steps: After how many finite steps it doubles.

    >>> from oneiros import optimizers
    >>> scaled = optimizers.LossScaleOptimizer(optimizers.SGD(0.1), initial_scale=8.0)
    >>> scaled.build([])
    >>> float(scaled.scale_loss(2.0))
    16.0
    """

    def __init__(
        self,
        inner_optimizer,
        initial_scale=2.0**15,
        dynamic_growth_steps=2000,
        name=None,
        **kwargs,
    ):
        if not isinstance(inner_optimizer, Optimizer):
            raise TypeError(
                "LossScaleOptimizer: `inner_optimizer` must be an optimizer; "
                f"got {inner_optimizer!r}"
            )
        given = [n for n, v in kwargs.items() if n in self.shared and v]
        if given:
            raise ValueError(
                f"LossScaleOptimizer has no argument `{given[0]}`; give it to the inner optimizer"
            )
        if inner_optimizer.loss_scale_factor is not None:
            raise ValueError(
                "LossScaleOptimizer: the inner optimizer has a `loss_scale_factor` of its own; got "
                f"{inner_optimizer.loss_scale_factor}"
            )
        self.inner_optimizer = None
        super().__init__(learning_rate=0.0, name=name, **kwargs)
        self.inner_optimizer = inner_optimizer
        self.initial_scale, self.dynamic_growth_steps = initial_scale, dynamic_growth_steps

    def build(self, var_list):
        """Make the state for these variables."""
        if self.built:
            return
        self.step_counter = self._scalar(0, "int32", "step_counter")
        self.dynamic_scale = self._scalar(self.initial_scale, "float32", "dynamic_scale")
        self.inner_optimizer.build(var_list)
        super().build(var_list)

    @property
    def variables(self):
        """Its variables, then the inner optimizer's."""
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self):
        """How many updates the inner optimizer made."""
        return self._iterations if self.inner_optimizer is None else self.inner_optimizer.iterations

    @property
    def learning_rate(self):
        """The inner optimizer's learning rate."""
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        if self.inner_optimizer is None:
            self._set_learning_rate(value)
        else:
            self.inner_optimizer.learning_rate = value

    def apply(self, grads, trainable_variables=None):
        """Change the variables by their gradients, if all are finite; then move the scale."""
        grads = list(grads)
        if not grads:
            return
        if not self.built and trainable_variables is not None:
            self.build(list(trainable_variables))
        inner = self.inner_optimizer
        finite = self.check_finite(grads)
        scale = self.dynamic_scale.value
        state = [*inner.variables, *(trainable_variables or inner._trainable_variables)]
        before = [(v, v.value) for v in state]
        with StatelessScope(before) as scope:
            inner.apply([_unscaled(g, scale, finite) for g in grads], trainable_variables)
        for v, old in before:
            new = scope.get_current_value(v)
            if new is not old:
                v.assign(ops.where(finite, new, old))
        grown = ops.equal(self.step_counter.value, self.dynamic_growth_steps - 1)
        counted = ops.where(
            ops.logical_or(grown, ops.logical_not(finite)), 0, self.step_counter.value + 1
        )
        self.step_counter.assign(counted)
        self.dynamic_scale.assign(scale * ops.where(finite, ops.where(grown, 2.0, 1.0), 0.5))

    def check_finite(self, grads):
        """Whether every element of every gradient is finite, as an array of one bool."""
        found = [ops.all(ops.isfinite(g)) for g in grads if g is not None]
        if not found:
            return ops.convert_to_tensor(True)
        all_of_them = found[0]
        for one in found[1:]:
            all_of_them = ops.logical_and(all_of_them, one)
        return all_of_them

    def scale_loss(self, loss):
        """`loss` times the scale."""
        scale = self.dynamic_scale.value if self.built else self.initial_scale
        return loss * scale

    def finalize_variable_values(self, var_list):
        """As the inner optimizer's."""
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self):
        from oneiros.core.registry import serialize_keras_object

        return {
            "name": self.name,
            "inner_optimizer": serialize_keras_object(self.inner_optimizer),
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**_with_objects(config, "inner_optimizer", custom_objects))


def _unscaled(g, scale, finite):
    """A gradient over the scale; zeros, of which no warnings come, if some are not finite."""
    if g is None:
        return None
    g = array(g)
    return ops.where(finite, g / to_dtype(scale, dtype_name(g.dtype)), ops.zeros_like(g))


class OptimizerMap(collections.abc.MutableMapping):
    """Optimizers by patterns of variables' whole paths, and one for all other variables.

    Args:
        default_optimizer: The optimizer of variables that match no pattern.
        optimizer_map: A dict of patterns to optimizers.

    >>> from oneiros import optimizers
    >>> m = optimizers.OptimizerMap(optimizers.SGD(), {"encoder/.*": optimizers.Adam()})
    >>> type(m["encoder/dense/kernel"]).__name__, type(m["decoder/kernel"]).__name__
    ('Adam', 'SGD')
    """

    def __init__(self, default_optimizer, optimizer_map=None):
        if not isinstance(default_optimizer, Optimizer):
            raise TypeError(
                f"OptimizerMap: `default_optimizer` must be an optimizer; got {default_optimizer!r}"
            )
        if optimizer_map is not None and not isinstance(optimizer_map, dict):
            raise TypeError(f"OptimizerMap: `optimizer_map` must be a dict; got {optimizer_map!r}")
        self._default, self._map = default_optimizer, {}
        self.update(optimizer_map or {})

    @property
    def default_optimizer(self):
        """The optimizer of variables that match no pattern."""
        return self._default

    def __getitem__(self, key):
        if key in self._map:
            return self._map[key]
        found = [k for k in self._map if re.fullmatch(k, key)]
        if len(found) > 1:
            raise ValueError(
                f"OptimizerMap: the path '{key}' matches several patterns: {found}; it must match "
                "one at most"
            )
        return self._map[found[0]] if found else self._default

    def __setitem__(self, key, optimizer):
        if key in self._map:
            raise ValueError(f"OptimizerMap: '{key}' is there already, for {self._map[key]!r}")
        if not isinstance(optimizer, Optimizer):
            raise ValueError(f"OptimizerMap: expected an optimizer for '{key}'; got {optimizer!r}")
        self._map[key] = optimizer

    def __delitem__(self, key):
        del self._map[key]

    def __iter__(self):
        return iter(self._map)

    def __len__(self):
        return len(self._map)

    def __call__(self, variable):
        return self[variable.path]

    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        from oneiros.core.registry import serialize_keras_object

        return {
            "default_optimizer": serialize_keras_object(self._default),
            "optimizer_map": {k: serialize_keras_object(v) for k, v in self._map.items()},
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A map from the dict that `get_config` gave."""
        config = _with_objects(config, "default_optimizer", custom_objects)
        parts = config.get("optimizer_map") or {}
        made = {k: _with_objects(parts, k, custom_objects)[k] for k in parts}
        return cls(config["default_optimizer"], made)


class MultiOptimizer(Optimizer):
    """Several optimizers, each for some of the variables.

    It has no `learning_rate`; its `optimizers` have theirs.

    Args:
        optimizer_map: An `OptimizerMap`, or a function of a variable that returns its optimizer.

    >>> import oneiros
    >>> from oneiros import optimizers
    >>> slow, fast = optimizers.SGD(0.1), optimizers.SGD(1.0)
    >>> both = optimizers.MultiOptimizer(lambda v: fast if v.name == "bias" else slow)
    >>> weights = [oneiros.Variable([1.0], name=name) for name in ("kernel", "bias")]
    >>> both.apply([[1.0], [1.0]], weights)
    >>> [round(float(v.numpy()[0]), 4) for v in weights]
    [0.9, 0.0]
    """

    optimizers = None  # a list, in order; an attribute, by whose name files know it

    def __init__(self, optimizer_map, loss_scale_factor=None, name=None):
        super().__init__(learning_rate=0.0, name=name)
        if not callable(optimizer_map):
            raise TypeError(
                "MultiOptimizer: `optimizer_map` must be an OptimizerMap or a function; got "
                f"{optimizer_map!r}"
            )
        self.optimizer_map, self.optimizers = optimizer_map, []
        if isinstance(optimizer_map, OptimizerMap):
            for optimizer in (*optimizer_map.values(), optimizer_map.default_optimizer):
                self._take(optimizer)
        self.loss_scale_factor = loss_scale_factor

    def _take(self, optimizer):
        """The place of an optimizer in the list, where it is put if it is not there."""
        for i, known in enumerate(self.optimizers):
            if known is optimizer:
                return i
        self.optimizers.append(optimizer)
        return len(self.optimizers) - 1

    @property
    def variables(self):
        """Its variables, then those of its optimizers."""
        return [*self._variables, *(v for o in self.optimizers or () for v in o.variables)]

    @property
    def learning_rate(self):
        """None: its optimizers have theirs."""
        raise AttributeError("a MultiOptimizer has no learning rate; its `optimizers` have theirs")

    @learning_rate.setter
    def learning_rate(self, value):
        if self.optimizers is not None:
            raise AttributeError(
                "a MultiOptimizer has no learning rate; set those of its `optimizers`"
            )
        self._set_learning_rate(value)

    @property
    def loss_scale_factor(self):
        """What the loss is multiplied by, and gradients are divided by."""
        return self._scale

    @loss_scale_factor.setter
    def loss_scale_factor(self, value):
        self._scale = value
        for optimizer in self.optimizers or ():
            optimizer.loss_scale_factor = value

    def build(self, var_list):
        """Make the state for these variables."""
        if self.built:
            return
        self._of = {id(v): self._take(self.optimizer_map(v)) for v in var_list}
        for i, optimizer in enumerate(self.optimizers):
            optimizer.loss_scale_factor = self._scale or optimizer.loss_scale_factor
            optimizer.build([v for v in var_list if self._of[id(v)] == i])
        super().build(var_list)

    def apply(self, grads, trainable_variables=None):
        """Change the variables by their gradients, each by its optimizer."""
        grads = list(grads)
        if not grads:
            return
        if not self.built:
            if trainable_variables is None:
                raise ValueError(
                    "MultiOptimizer: `apply` without variables needs a built optimizer; call "
                    "`optimizer.build(trainable_variables)` first, or give the variables"
                )
            self.build(list(trainable_variables))
        groups = {}
        variables = (
            self._trainable_variables if trainable_variables is None else trainable_variables
        )
        for g, v in zip(grads, variables, strict=True):
            self._check_known(v)
            pair = groups.setdefault(self._of[id(v)], ([], []))
            pair[0].append(g)
            pair[1].append(v)
        for i, optimizer in enumerate(self.optimizers):
            own_grads, own = groups.get(i, ((), ()))
            if any(g is not None for g in own_grads):
                optimizer.apply(own_grads, own)
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list):
        """As each of its optimizers does it."""
        for i, optimizer in enumerate(self.optimizers):
            own = [v for v in var_list if self._of.get(id(v)) == i]
            if own:
                optimizer.finalize_variable_values(own)

    def get_config(self):
        from oneiros.core.registry import serialize_keras_object

        return {
            "optimizer_map": serialize_keras_object(self.optimizer_map),
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**_with_objects(config, "optimizer_map", custom_objects))


def _with_objects(config, key, custom_objects):
    """`config` with the object that stands under `key` in place of that object's config."""
    if not isinstance(config[key], dict):
        return config
    from oneiros.core.registry import deserialize_keras_object

    made = deserialize_keras_object(config[key], custom_objects=custom_objects)
    return {**config, key: made}
