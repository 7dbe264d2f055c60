"""The base of all layers: a callable with weights.

A call goes: convert and autocast the inputs, check them, build on the first one, find masks and the
training
flag, then run `call`, or record it when the inputs are the symbols of a functional model.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref

import numpy as np

from oneiros import dtype_policies
from oneiros.core import backend, tree
from oneiros.core.dtypes import is_float, np_dtype
from oneiros.core.graph import STACK
from oneiros.core.masks import get_mask, set_mask
from oneiros.core.naming import auto_name
from oneiros.core.op import (
    VARIABLES,
    _has_symbol,
    array,
    holds_unsized,
    infer,
    record_call,
    to_dtype,
)
from oneiros.core.operation import Operation
from oneiros.core.scopes import STATE, names
from oneiros.core.spec import Spec, dtype_name
from oneiros.core.symbol import Symbol
from oneiros.core.variable import Variable
from oneiros.layers.input_spec import InputSpec, check_input

__all__ = ["InputSpec", "Layer"]


def spec_of_inputs(self, inputs):
    """Symbols with the shapes and dtypes of the outputs, for layers that take nothing else."""
    return Layer.compute_output_spec(self, inputs)


class _Context(threading.local):
    """What the outermost layer call of this thread told those inside it."""

    depth = 0
    training = None
    losses = None
    walks = None  # where a step of the user's own runs: what walks over layers have found


CONTEXT = _Context()
CHANGES = [0]  # how often attributes of layers were set: what was found by walks may be old


def _walks():
    """What is known of walks over layers within a step of the user's own; nothing elsewhere."""
    walks = CONTEXT.walks
    if walks is None:
        return {}
    if walks.get("changes") != CHANGES[0]:
        walks.clear()
        walks["changes"] = CHANGES[0]
    return walks


_WITH_LOSSES = weakref.WeakSet()  # layers that hold losses of an earlier call


class Layer(Operation):
    """A function of arrays with weights.

    Subclasses make weights in `build(input_shape)` and compute in `call(inputs)`.

    Args:
        activity_regularizer: Penalty on the outputs.
        trainable: Whether its weights are trained.
        dtype: Dtype or dtype policy of weights and computation.
        autocast: Whether floating inputs are cast to the compute dtype.
        name: Its name.

    >>> import numpy as np
    >>> from oneiros import layers, ops
    >>> class Scale(layers.Layer):
    ...     def build(self, input_shape):
    ...         self.factor = self.add_weight(shape=(), initializer="ones", name="factor")
    ...     def call(self, inputs):
    ...         return inputs * self.factor
    >>> Scale()(np.ones((2, 3), "float32")).shape
    (2, 3)
    """

    shared, keywords = {}, True
    supports_masking = False
    input_spec = None
    quantization_mode = None
    activity_regularizer = None
    _allow_non_tensor_positional_args = False
    _convert_input_args = True
    takes_one = False  # whether `call` takes one array, and no structure of them
    _untracked = ("_inbound_nodes", "_asked")
    _asked = {}  # what lone arrays it was called on, which are fit to go to `call` as they are

    def __new__(cls, *args, **kwargs):
        backend.prepare_layers()
        self = Operation.__new__(cls)
        put = object.__setattr__
        put(self, "_trainable_variables", [])
        put(self, "_non_trainable_variables", [])
        put(self, "_seed_generators", [])
        put(self, "_losses", [])
        put(self, "_build_shapes", None)
        put(
            self, "built", cls.build is Layer.build and cls.__module__.startswith("oneiros.layers.")
        )
        put(self, "_given", (args, kwargs))
        return self

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        own = cls.__dict__
        if "build" in own:
            cls.build = _built(own["build"])
        if cls.__module__.startswith("oneiros.") and cls.compute_output_shape in _SHAPES:
            code = cls.call.__code__
            names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            several = code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
            cls.compute_output_shape = _SHAPES[len({*names} - _NO_INPUT) == 1 and not several]

    def adopt(
        self,
        activity_regularizer=None,
        trainable=True,
        dtype=None,
        autocast=True,
        name=None,
        **kwargs,
    ):
        """Take the options that every layer has."""
        input_shape = kwargs.pop("input_shape", None)
        batch_shape = kwargs.pop("batch_input_shape", None)
        kwargs.pop("implementation", None)
        if kwargs:
            raise ValueError(
                f"Unrecognized keyword arguments passed to {type(self).__name__}: {kwargs}; a layer takes "
                "activity_regularizer, trainable, dtype, autocast and name beside its own arguments"
            )
        self.name = name or auto_name(type(self).__name__)
        if not isinstance(self.name, str):
            raise ValueError(f"{type(self).__name__}: name must be a string; got {name!r}")
        if activity_regularizer is not None:
            from oneiros import regularizers

            activity_regularizer = regularizers.get(activity_regularizer)
        self.activity_regularizer = activity_regularizer
        self.dtype_policy = dtype_policies.get(dtype)
        self.autocast = autocast
        self._trainable = bool(trainable)
        if input_shape is not None:
            self._input_shape_arg = input_shape
        elif batch_shape is not None:
            self._input_shape_arg = tuple(batch_shape[1:])

    # Attributes -----------------------------------------------------------------------------------
    def __setattr__(self, name, value):
        CHANGES[0] += 1
        self.__dict__.pop("_asked", None)
        if isinstance(value, Variable):
            self._track(value)
        elif getattr(value, "_is_seed_generator", False) and value not in self._seed_generators:
            self._seed_generators.append(value)
        elif isinstance(value, Layer) and "name" not in self.__dict__:
            self._check_initialized()
        object.__setattr__(self, name, value)

    def __delattr__(self, name):
        value = self.__dict__.get(name)
        if isinstance(value, Variable):
            for group in (self._trainable_variables, self._non_trainable_variables):
                group[:] = [v for v in group if v is not value]
        object.__delattr__(self, name)

    def _check_initialized(self):
        if "_trainable" not in self.__dict__:
            raise RuntimeError(
                f"In layer '{type(self).__name__}', you forgot to call `super().__init__()` as the first "
                "statement in the `__init__()` method. Go add it!"
            )

    def _track(self, variable):
        CHANGES[0] += 1
        group = self._trainable_variables if variable.trainable else self._non_trainable_variables
        if not any(
            v is variable for v in self._trainable_variables + self._non_trainable_variables
        ):
            group.append(variable)

    @property
    def _layers(self):
        """The layers among the attributes, also inside lists, tuples, dicts, in order of
        assignment.
        """
        found, seen = [], {id(self)}
        for name, value in self.__dict__.items():
            if type(value) not in LEAVES and name not in self._untracked and name != "_given":
                _collect(value, found, seen)
        return found

    @property
    def path(self):
        return "/".join((*getattr(self, "_scope", ()), self.name))

    # Weights --------------------------------------------------------------------------------------
    def add_weight(
        self,
        *args,
        shape=None,
        initializer=None,
        dtype=None,
        trainable=True,
        autocast=True,
        regularizer=None,
        constraint=None,
        aggregation="none",
        overwrite_with_gradient=False,
        name=None,
    ):
        """A new variable of this layer.

        Args:
            shape: Its shape; () if None.
            initializer: Name or initializer; Glorot uniform for floats, zeros otherwise if None.
            dtype: The layer's variable dtype if None.
            trainable: Whether training changes it.
            autocast: Whether it is read in the compute dtype.
            regularizer: Penalty that is added to the losses.
            constraint: Applied after each training step.
            aggregation: See `Variable`.
            overwrite_with_gradient: Whether an optimizer replaces it by its derivative.
            name: Its name.
        """
        self._check_initialized()
        from oneiros import constraints, initializers, regularizers

        if args:  # by position: shape and initializer, or, as in Keras 2, name and shape first
            first, *rest = args
            if isinstance(first, str):
                name, shape = first, rest[0] if rest else shape
            else:
                shape = first
                initializer, dtype = (*rest, *(initializer, dtype)[len(rest) :])[:2]
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = self.variable_dtype if dtype is None else dtype
        if initializer is None:
            initializer = "glorot_uniform" if is_float(dtype_name(dtype)) else "zeros"
        with names(self._name_path()):
            variable = Variable(
                initializers.get(initializer),
                shape,
                dtype,
                trainable,
                autocast,
                aggregation,
                name=name,
            )
        variable.regularizer = regularizers.get(regularizer)
        variable.constraint = constraints.get(constraint)
        variable.overwrite_with_gradient = overwrite_with_gradient
        self._track(variable)
        if not self._trainable:
            variable.trainable = False
        return variable

    def weight(self, name, shape, attribute=None, prefix=None, **options):
        """A weight whose initializer, regularizer and constraint are the fields named after it."""
        prefix = prefix or name
        for kind in ("initializer", "regularizer", "constraint"):
            options.setdefault(kind, getattr(self, f"{prefix}_{kind}", None))
        variable = self.add_weight(shape=shape, name=name, **options)
        setattr(self, attribute or name, variable)
        return variable

    def _name_path(self):
        scope = STATE.names
        return scope if scope and scope[-1] == self.name else (*scope, self.name)

    def _all(self, own):
        """`own(layer)` of this layer and all inside it, each variable once."""
        walks = _walks()
        if (self, own) in walks:
            return list(walks[self, own])
        seen, found = set(), []
        for layer in self._flatten_layers():
            for v in own(layer):
                if id(v) not in seen:
                    seen.add(id(v))
                    found.append(v)
        if CONTEXT.walks is not None:
            walks[self, own] = tuple(found)
        return found

    def _flatten_layers(self, include_self=True, recursive=True):
        """This layer and those inside it, depth first."""
        found = _walks().get(self)
        if found is not None:
            return found if include_self else found[1:]
        found, seen = [], set()

        def visit(layer):
            if id(layer) in seen:
                return
            seen.add(id(layer))
            found.append(layer)
            for inner in layer._layers:
                visit(inner)

        visit(self)
        if CONTEXT.walks is not None:
            CONTEXT.walks[self] = found
        return found if include_self else found[1:]

    @property
    def variables(self):
        """All state: weights and the states of seed generators."""
        return self._all(Layer._all_own_variables)

    def _all_own_variables(self):
        return [*self._own_variables(), *self._states_beside_weights()]

    def _own_variables(self):
        return [*self._trainable_variables, *self._non_trainable_variables]

    def _states_beside_weights(self):
        """Variables that are no weights: files of weights do not hold them."""
        return [g.state for g in self._seed_generators]

    @property
    def weights(self):
        """The weights, trainable and not."""
        return self._all(Layer._own_variables)

    @property
    def trainable_variables(self):
        return [v for v in self.variables if v.trainable]

    @property
    def non_trainable_variables(self):
        return [v for v in self.variables if not v.trainable]

    @property
    def trainable_weights(self):
        return [v for v in self.weights if v.trainable]

    @property
    def non_trainable_weights(self):
        return [v for v in self.weights if not v.trainable]

    @property
    def trainable(self):
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        value = bool(value)
        object.__setattr__(self, "_trainable", value)
        for v in self._trainable_variables:
            v.trainable = value
        for layer in self._layers:
            layer.trainable = value

    @property
    def metrics(self):
        return self._all(lambda y: getattr(y, "_metrics", ()))

    @property
    def metrics_variables(self):
        return [v for m in self.metrics for v in m.variables]

    def get_weights(self):
        """The weights as NumPy arrays."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights):
        """Set the weights from a list like `get_weights()` gives."""
        own = self.weights
        if len(own) != len(weights):
            raise ValueError(
                f"You called `set_weights(weights)` on layer '{self.name}' with a weight list of length "
                f"{len(weights)}, but the layer was expecting {len(own)} weights."
            )
        for v, w in zip(own, weights):
            if tuple(np.shape(w)) != v.shape:
                raise ValueError(
                    f"Layer '{self.name}' weight '{v.path}' has shape {v.shape}, which does not fit the "
                    f"given array of shape {tuple(np.shape(w))}"
                )
        for v, w in zip(own, weights):
            v.assign(w)

    def count_params(self):
        """The number of scalars in the weights."""
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on layer '{self.name}', but the layer isn't built. "
                "You can build it manually via: `layer.build(input_shape)`."
            )
        return sum(v.size for v in self.weights)

    # Dtypes ---------------------------------------------------------------------------------------
    @property
    def dtype(self):
        return self.variable_dtype

    @property
    def dtype_policy(self):
        return self._dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, value):
        policy = dtype_policies.get(value)
        if hasattr(policy, "policies") or isinstance(
            policy, getattr(dtype_policies, "DTypePolicyMap", ())
        ):
            policy = policy[self.path]
        self._forget_questions()
        object.__setattr__(self, "_dtype_policy", policy)
        object.__setattr__(self, "_compute_dtype", policy.compute_dtype)

    @property
    def compute_dtype(self):
        return self._compute_dtype

    @property
    def variable_dtype(self):
        return self._dtype_policy.variable_dtype

    @property
    def input_dtype(self):
        return self.compute_dtype

    # Calling --------------------------------------------------------------------------------------
    def __call__(self, *args, **kwargs):
        if _WITH_LOSSES and CONTEXT.depth == 0:
            self._clear_losses()
        lone = None
        if len(args) == 1 and STACK.top is None and (not kwargs or [*kwargs] == ["training"]):
            lone = args[0]
            asked = self._asked.get(type(lone))
            if asked is not None and _signature(lone) in asked and get_mask(lone) is None:
                plan, training = _plans[type(self)], kwargs.get("training")
                training = CONTEXT.training if training is None else training
                training = plan.training_default if training is None else training
                kwargs = {"training": training} if plan.training and training is not None else {}
                return self._run(args, kwargs, training, None, None)
        self._check_initialized()
        plan = _plans.get(type(self)) or _plan_of(type(self))
        if self._convert_input_args:
            if len(args) == 1 and not kwargs and hasattr(args[0], "dtype"):
                args = (self._converted(args[0]),)
            else:
                args, kwargs = tree.map_structure(self._converted, (args, kwargs))
        if not self._allow_non_tensor_positional_args and not _arrays_only(args):
            odd = next(a for a in args if not _arrays_only((a,)))
            raise ValueError(
                f"Only input tensors may be passed as positional arguments to layer '{self.name}'. The "
                f"following argument value should be passed as a keyword argument: {odd!r} "
                f"(of type {type(odd)})"
            )
        wanted = kwargs.get("training")
        if wanted is None or not plan.training:
            kwargs.pop("training", None)  # it may be asked of any layer
        values = plan.bind(self, args, kwargs)
        first = next(iter(values.values()), None)
        if self.input_spec is not None:
            check_input(self.input_spec, first, self.name)
        if self.takes_one and (first is None or isinstance(first, (dict, list, tuple))):
            shown = (
                f"a dict with the keys {list(first)}" if isinstance(first, dict) else repr(first)
            )
            raise ValueError(f"{type(self).__name__} '{self.name}' takes one array; got {shown}")
        if not self.built:
            self._build(plan, values)
        masks = self._take_masks(plan, values, kwargs)
        training = values.get("training", wanted)
        if training is None:
            training = CONTEXT.training
            if training is None and plan.training:
                training = plan.training_default
        if plan.training and training is not None and "training" not in values:
            kwargs["training"] = training
        if STACK.top is None and backend.UNSIZED and (holds_unsized(args) or holds_unsized(kwargs)):
            from oneiros.core.sizes import run_unsized

            return run_unsized(self, args, kwargs, self)
        if STACK.top is None and (_has_symbol(args) or _has_symbol(kwargs)):
            return self._record(plan, args, kwargs, values, masks)
        if lone is not None and first is lone and not masks and not self._makes_masks:
            self._remember(lone)
        return self._run(args, kwargs, training, first, masks)

    def _remember(self, x):
        """Keep that a call on a lone array like `x` needs no further question."""
        if len(self._asked) > 8 or len(self._asked.get(type(x), ())) > 64:
            self._forget_questions()
        if "_asked" not in self.__dict__:
            object.__setattr__(self, "_asked", {})
        self._asked.setdefault(type(x), set()).add(_signature(x))

    def _forget_questions(self):
        self.__dict__.pop("_asked", None)

    def _run(self, args, kwargs, training, first, masks):
        """`call`, with everything that surrounds it."""
        context, state = CONTEXT, STATE
        outer, scope, cast = context.training, state.names, state.autocast
        if training is not None:
            context.training = training
        context.depth += 1
        if not scope or scope[-1] != self.name:
            state.names = (*scope, self.name)
        state.autocast = self._compute_dtype if self.autocast else None
        try:
            if state.remat:
                outputs = self._rematerialized(args, kwargs)
            else:
                outputs = self.call(*args, **kwargs)
        except Exception as error:
            if isinstance(error, (ValueError, TypeError)) and not hasattr(error, "__notes__"):
                shapes = [tuple(x.shape) for x in tree.flatten(args) if hasattr(x, "shape")]
                error.add_note(
                    f"in the call of {type(self).__name__} '{self.name}' on inputs of {shapes}"
                )
            if STACK.top is None or not getattr(STACK.top, "abstract", False):
                raise
            outputs = self._foreign_call(args, kwargs, error)
        finally:
            state.autocast, state.names, context.training = cast, scope, outer
            context.depth -= 1
        if self.activity_regularizer is not None:
            for y in tree.flatten(outputs):
                if hasattr(y, "dtype"):
                    batch = y.shape[0] if y.shape else 1
                    self.add_loss(self.activity_regularizer(y) / float(max(batch or 1, 1)))
        if masks or first is not None and self._makes_masks:
            self._give_masks(first, outputs, masks)
        return outputs

    def _foreign_call(self, args, kwargs, error):
        """Symbols for what `call` gives where it calls a native framework directly, which finds the
        shapes.
        """
        from oneiros.core.scopes import StatelessScope

        engine = backend.current()
        if not engine.native:
            raise error
        symbols = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Symbol)]

        def run(*arrays):
            known = dict(zip(map(id, symbols), arrays))
            inner = tree.map_structure(lambda x: known.get(id(x), x), (args, kwargs))
            with StatelessScope():
                return self.call(*inner[0], **inner[1])

        trace, STACK.top = STACK.top, None
        try:
            made = engine.abstract(run, [x.spec for x in symbols])
        except Exception:
            raise error from None
        finally:
            STACK.top = trace
        return tree.map_structure(lambda s: Symbol(s.shape, dtype_name(s.dtype)), made)

    def _rematerialized(self, args, kwargs):
        from oneiros.layers.remat import remat_call

        return remat_call(self, args, kwargs)

    def _record(self, plan, args, kwargs, values, masks):
        """The symbols of a functional model for this call."""
        if "mask" in plan.names and "mask" not in values:
            kwargs.setdefault("mask", None)  # files hold it
        known = self._declared_outputs(plan, args, kwargs, values)
        function = (
            (lambda *a, **k: known)
            if known is not None
            else self._bare_call(kwargs.get("training"))
        )
        result = record_call(self, args, kwargs, function)
        made = next((x for x in tree.flatten(result) if isinstance(x, Symbol)), None)
        if made is not None:
            self._calls.append(made.call)
        first = next(iter(values.values()), None)
        if masks or self._makes_masks:
            self._give_masks(first, result, masks)
        return result

    @property
    def _makes_masks(self):
        """Whether the layer may give a mask where its inputs have none."""
        return type(self).compute_mask is not Layer.compute_mask

    def _bare_call(self, training):
        """`call` under its scopes, for inferring shapes: no losses are kept."""

        def run(*args, **kwargs):
            losses, regularizer = list(self._losses), self.activity_regularizer
            object.__setattr__(self, "activity_regularizer", None)
            before = [(y, list(y._losses)) for y in self._flatten_layers(include_self=False)]
            if self._convert_input_args:
                args, kwargs = tree.map_structure(self._converted, (args, kwargs))
            try:
                return self._run(args, kwargs, training, None, ())
            finally:
                object.__setattr__(self, "activity_regularizer", regularizer)
                self._losses[:] = losses
                for layer, kept in before:
                    layer._losses[:] = kept

        return run

    def _declared_outputs(self, plan, args, kwargs, values):
        """Output specs from the user's own `compute_output_spec` or `compute_output_shape`, if
        there is one.
        """
        cls = type(self)
        if cls.compute_output_spec not in (Layer.compute_output_spec, spec_of_inputs):
            made = self.compute_output_spec(*args, **kwargs)
            return tree.map_structure(lambda s: Spec(tuple(s.shape), dtype_name(s.dtype)), made)
        if cls.compute_output_shape not in _SHAPES:
            shapes = _shape_arguments(cls.compute_output_shape, plan, values)
            shape = self.compute_output_shape(**shapes)
            return _specs_of_shapes(shape, self.compute_dtype)
        return None

    def _converted(self, x):
        """An input as an array, floats in the compute dtype."""
        if isinstance(x, (Symbol, np.ndarray)) or hasattr(x, "dtype"):
            if type(x) in VARIABLES:
                return x
            if not isinstance(x, Symbol) and isinstance(x, (np.ndarray, np.generic)):
                if x.dtype.kind in "OUST":
                    return x
                if STACK.top is None:
                    dtype = self._compute_dtype if self.autocast and x.dtype.kind == "f" else None
                    if dtype is not None and x.dtype != np_dtype(dtype):
                        x = x.astype(np_dtype(dtype))
                    return backend.to_array(x)
            if type(x) is Symbol and STACK.top is None:
                return x  # of a functional model: it is cast when it has a value
            if (
                self.autocast
                and dtype_name(x.dtype) != self._compute_dtype
                and is_float(dtype_name(x.dtype))
            ):
                mask = get_mask(x)
                x = to_dtype(x, self._compute_dtype)
                if mask is not None:
                    set_mask(x, mask)
            return x
        if hasattr(x, "__array__") and not isinstance(x, (list, tuple, dict)):
            return self._converted(np.asarray(x))
        return x

    def _build(self, plan, values):
        """Build with the shapes of the call's arguments."""
        cls = type(self)
        if cls.build is Layer.build:
            object.__setattr__(self, "built", True)
            return
        shapes = _shape_arguments(cls.build, plan, values)
        trace, STACK.top = STACK.top, None  # weights are real also where a step is traced
        try:
            self.build(**shapes)
        finally:
            STACK.top = trace

    def build(self, input_shape):
        """Make the weights for inputs of `input_shape`."""
        self._check_initialized()
        object.__setattr__(self, "built", True)

    def call(self, *args, **kwargs):
        """The outputs for the inputs."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `call()` method implemented."
        )

    def stateless_call(
        self, trainable_variables, non_trainable_variables, *args, return_losses=False, **kwargs
    ):
        """`(outputs, non_trainable_variables)` of a call with these values of the variables;
        nothing is assigned.
        """
        from oneiros.core.scopes import StatelessScope

        if not self.built:
            raise ValueError(
                f"To call stateless_call, {type(self).__name__} must be built (i.e. its variables must have "
                "been already created). You can build it by calling it on some data."
            )
        own = self.trainable_variables, self.non_trainable_variables
        for label, variables, given in zip(
            ("trainable", "non_trainable"), own, (trainable_variables, non_trainable_variables)
        ):
            if len(variables) != len(given):
                raise ValueError(
                    f"Argument `{label}_variables` must be a list of {len(variables)} values, one for each of "
                    f"the layer's; got {len(given)}"
                )
        pairs = [*zip(own[0], trainable_variables), *zip(own[1], non_trainable_variables)]
        with StatelessScope(pairs, collect_losses=return_losses) as scope:
            outputs = (
                self.call(*args, **kwargs) if self._dtype_policy is None else self(*args, **kwargs)
            )
            losses = self.losses if return_losses else None
        values = [scope.get_current_value(v) for v in own[1]]
        return (outputs, values, losses) if return_losses else (outputs, values)

    # Masks ----------------------------------------------------------------------------------------
    def _take_masks(self, plan, values, kwargs):
        """The masks of the inputs; each goes to the argument of `call` that asks for it."""
        masks = None
        for name, value in values.items():
            if name in ("training", "mask") or name.endswith("_mask"):
                continue
            mask = _masks_of(value)
            if mask is not None:
                masks = {} if masks is None else masks
                masks[name] = mask
            wanted = (
                f"{name}_mask"
                if name != plan.first
                else ("mask" if "mask" in plan.names else f"{name}_mask")
            )
            if (
                wanted in plan.names
                and wanted not in values
                and mask is not None
                and kwargs.get(wanted) is None
            ):
                kwargs[wanted] = mask
        given = values.get("mask", kwargs.get("mask"))
        if given is not None and (masks is None or plan.first not in masks):
            masks = {**(masks or {}), plan.first: given}
        return masks

    def _give_masks(self, first, outputs, masks):
        leaves = tree.flatten(outputs)
        previous = (
            None
            if not masks
            else masks[next(iter(masks))]
            if len(masks) == 1
            else list(masks.values())
        )
        if masks and len(masks) > 1:
            previous = masks.get(next(iter(masks)))
        if not (self.supports_masking or self._makes_masks):
            return
        computed = self.compute_mask(first, previous)
        if computed is None:
            return
        flat = tree.flatten(computed) if len(leaves) > 1 else [computed]
        for y, mask in zip(leaves, flat):
            if mask is not None and get_mask(y) is None:
                set_mask(y, mask)

    def compute_mask(self, inputs, previous_mask):
        """The mask of the outputs: that of the inputs, unless the layer changes it."""
        return previous_mask

    # Shapes ---------------------------------------------------------------------------------------
    def compute_output_shape(self, *args, **kwargs):
        """The output shape for input shapes."""
        shapes = [*args, *kwargs.values()]
        inputs = [_symbols_of_shape(s, self.compute_dtype) for s in shapes]
        return tree.map_structure(lambda s: s.shape, self.compute_output_spec(*inputs))

    def compute_output_spec(self, *args, **kwargs):
        """Symbols with the shapes and dtypes of the outputs."""
        layer = self
        if not self.built:  # a twin is built, so that asking changes nothing
            layer = type(self).from_config(self.get_config())
            plan = _plan_of(type(layer))
            layer._build(plan, plan.bind(layer, args, kwargs))
        specs = infer(layer._bare_call(kwargs.get("training")), args, kwargs)
        return tree.map_structure(
            lambda s: Symbol(s.shape, s.dtype) if isinstance(s, Spec) else s, specs
        )

    # Losses ---------------------------------------------------------------------------------------
    def add_loss(self, loss):
        """Add scalars to what training minimizes."""
        scope = STATE.stateless
        for x in tree.flatten(loss):
            if x is None:
                continue
            x = array(x)
            if len(x.shape):
                raise ValueError(
                    f"`add_loss()` of layer '{self.name}' takes scalars; got a loss of shape {tuple(x.shape)}"
                )
            if scope is not None and scope.collect_losses:
                scope.add_loss(x)
            elif STACK.top is None or not getattr(STACK.top, "abstract", False):
                self._losses.append(x)
                _WITH_LOSSES.add(self)

    @property
    def losses(self):
        """Penalties: those added in the last call, and the weights' regularizers."""
        scope = STATE.stateless
        if scope is not None and scope.collect_losses:
            own = list(scope.losses)
        else:
            own = [x for layer in self._flatten_layers() for x in layer._losses]
        for v in self.trainable_weights:
            if v.regularizer is not None:
                own.append(v.regularizer(v))
        return own

    def _clear_losses(self):
        for layer in self._flatten_layers():
            layer._losses.clear()
            _WITH_LOSSES.discard(layer)

    # Config ---------------------------------------------------------------------------------------
    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        from oneiros.layers.config import config_of

        return config_of(self)

    @classmethod
    def from_config(cls, config):
        """A layer from the dict that `get_config` gave."""
        from oneiros.layers.config import from_config

        return from_config(cls, config)

    def get_build_config(self):
        """The shapes that `build` was called with."""
        shapes = self._build_shapes
        if not shapes:
            return None
        return (
            {"input_shape": next(iter(shapes.values()))}
            if len(shapes) == 1
            else {"shapes_dict": dict(shapes)}
        )

    def build_from_config(self, config):
        """Build as the dict that `get_build_config` gave says."""
        if not config:
            return
        if "input_shape" in config and len(config) == 1:
            self.build(_tuples(config["input_shape"]))
        else:
            self.build(**{k: _tuples(v) for k, v in config.get("shapes_dict", config).items()})
        object.__setattr__(self, "built", True)

    # Files ----------------------------------------------------------------------------------------
    def save_own_variables(self, store):
        """Put the layer's own weights into `store`, a mapping from "0", "1", … to arrays."""
        for i, v in enumerate(self._own_variables()):
            store[str(i)] = v.numpy()

    def load_own_variables(self, store):
        """Take the layer's own weights from `store`."""
        own = self._own_variables()
        if len(store.keys()) != len(own):
            if own and not store.keys():
                raise ValueError(
                    f"Layer '{self.name}' expected {len(own)} variables, but received 0 variables during loading. "
                    f"Expected: {[v.name for v in own]}"
                )
            if not own and not self.built:
                raise ValueError(
                    f"Layer '{self.name}' was never built and thus it doesn't have any variables. However the weights "
                    f"file lists {len(store.keys())} variables for this layer."
                )
            raise ValueError(
                f"Layer '{self.name}' expected {len(own)} variables, but received {len(store.keys())} variables "
                f"during loading. Expected: {[v.name for v in own]}"
            )
        for i, v in enumerate(own):
            v.assign(store[str(i)])

    def quantize(self, mode=None, type_check=True, config=None):
        """Switch to integer weights; layers that can define it."""
        raise NotImplementedError(
            f"Layer {type(self).__name__} does not have a `quantize` method implemented."
        )

    def __repr__(self):
        return f"<{type(self).__name__} name={self.__dict__.get('name')}, built={self.built}>"

    def __str__(self):
        return repr(self)


def _shape_for_one(self, input_shape):
    """The output shape for an input shape."""
    return Layer.compute_output_shape(self, input_shape)


_shape_for_one.__name__ = _shape_for_one.__qualname__ = "compute_output_shape"
_SHAPES = Layer.compute_output_shape, _shape_for_one  # of several inputs, of one
_NO_INPUT = {"self", "training", "mask"}


def _options():
    """The signature of a layer without arguments of its own."""
    rows = inspect.signature(Layer.adopt).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [r if r.kind is r.VAR_KEYWORD else r.replace(kind=keyword) for r in list(rows)[1:]]
    )


Layer.__signature__ = _options()


def _take_base(engine):
    """Put a backend's base class behind those of `Layer`."""
    base = engine.layer_base
    if base is None or base in Layer.__bases__:
        return
    Layer.__bases__ = (*Layer.__bases__, base)
    if not hasattr(engine, "module_state"):
        return
    plain = Layer.__setattr__

    def __setattr__(self, name, value):
        if isinstance(value, base.__bases__) and not isinstance(value, Layer):
            from oneiros.layers.foreign import TorchModuleWrapper

            value = TorchModuleWrapper(value)
        plain(self, name, value)

    Layer.__setattr__ = __setattr__


backend.when_loaded(_take_base)


# The shape of `call` ------------------------------------------------------------------------------
class _Plan:
    """What is known of a class's `call`: its arguments' names, and whether it takes `training`."""

    def __init__(self, cls):
        call = cls.call
        self.signature = inspect.signature(call)
        rows = list(self.signature.parameters.values())[1:]
        self.names = [r.name for r in rows]
        self.variadic = any(r.kind is r.VAR_KEYWORD for r in rows)
        self.positional = [
            r.name for r in rows if r.kind in (r.POSITIONAL_ONLY, r.POSITIONAL_OR_KEYWORD)
        ]
        self.star = next((r.name for r in rows if r.kind is r.VAR_POSITIONAL), None)
        self.first = self.positional[0] if self.positional else self.star
        self.training = "training" in self.names
        default = self.signature.parameters["training"].default if self.training else None
        self.training_default = None if default is inspect.Parameter.empty else default

    def bind(self, layer, args, kwargs):
        """The call's arguments by name, those given."""
        if len(args) > len(self.positional) and self.star is None:
            raise TypeError(
                f"{type(layer).__name__}.call() takes {len(self.positional)} positional arguments "
                f"({', '.join(self.positional)}); layer '{layer.name}' got {len(args)}"
            )
        values = dict(zip(self.positional, args))
        if len(args) > len(self.positional):
            values[self.star] = list(args[len(self.positional) :])
        for name, value in kwargs.items():
            if name not in self.names and not self.variadic:
                raise TypeError(
                    f"{type(layer).__name__}.call() has no argument '{name}'; layer '{layer.name}' takes "
                    f"{', '.join(self.names)}"
                )
            values[name] = value
        for name in self.positional:
            parameter = self.signature.parameters[name]
            if name not in values and parameter.default is parameter.empty:
                raise TypeError(
                    f"{type(layer).__name__} '{layer.name}' was called without its argument '{name}'"
                )
        return values


def _signature(x):
    """What the questions about an array of this type depend on."""
    return backend.current(), x.dtype, x.shape


_plans = {}


def _plan_of(cls):
    plan = _plans.get(cls)
    if plan is None or plan.signature is None:
        plan = _plans[cls] = _Plan(cls)
    return plan


def _built(build):
    """`build`, run under the layer's name; afterwards the layer is built and its shapes are known."""
    signature = inspect.signature(build)

    @functools.wraps(build)
    def wrapped(self, *args, **kwargs):
        if STATE.names[-1:] == (getattr(self, "name", None),):
            scope = STATE.names
        else:
            scope = (*STATE.names, getattr(self, "name", "?"))
        outermost = not self.__dict__.get("_building")
        if outermost:
            object.__setattr__(self, "_building", True)
            bound = signature.bind(self, *args, **kwargs)
            shapes = dict(list(bound.arguments.items())[1:])
            object.__setattr__(self, "_build_shapes", shapes)
            object.__setattr__(self, "_scope", scope[:-1])
        try:
            with names(scope):
                result = build(self, *args, **kwargs)
        finally:
            if outermost:
                object.__setattr__(self, "_building", False)
        if outermost:
            object.__setattr__(self, "built", True)
            if not self._trainable:
                self.trainable = False
        return result

    wrapped.__signature__ = signature
    return wrapped


LEAVES = {type(None), bool, int, float, str, Variable}  # types of attributes that hold no layers


def _collect(value, found, seen):
    """Add the layers in `value` to `found`."""
    if isinstance(value, Layer):
        if id(value) not in seen:
            seen.add(id(value))
            found.append(value)
    elif isinstance(value, (list, tuple)):
        for v in value:
            _collect(v, found, seen)
    elif isinstance(value, dict):
        for v in value.values():
            _collect(v, found, seen)


def _arrays_only(args):
    for a in args:
        if a is None or hasattr(a, "dtype") or isinstance(a, Symbol):
            continue
        if isinstance(a, (list, tuple)) and a:
            if not _arrays_only(a) and not all(isinstance(v, (int, float, bool, str)) for v in a):
                return False
            continue
        if isinstance(a, dict) and _arrays_only(a.values()):
            continue
        if isinstance(a, (list, tuple)):
            continue
        return False
    return True


def _masks_of(value):
    """The mask of an argument, in its structure; None if there is none in it."""
    if hasattr(value, "dtype"):
        return get_mask(value)
    if not isinstance(value, (list, tuple, dict)):
        return None
    masks = tree.map_structure(get_mask, value)
    return masks if any(m is not None for m in tree.flatten(masks)) else None


def _shapes_of(value):
    """The shape of an argument, in its structure."""
    if hasattr(value, "shape"):
        return tuple(value.shape)
    if isinstance(value, (list, tuple)):
        return [_shapes_of(v) for v in value]
    if isinstance(value, dict):
        return {k: _shapes_of(v) for k, v in value.items()}
    return None


def _unprobed(shape):
    """A shape as `build` sees it: what is unknown is None also while shapes are traced."""
    from oneiros.core.spec import Unknown

    if isinstance(shape, tuple):
        return tuple(None if isinstance(n, Unknown) else n for n in shape)
    if isinstance(shape, list):
        return [_unprobed(s) for s in shape]
    if isinstance(shape, dict):
        return {k: _unprobed(v) for k, v in shape.items()}
    return shape


def _shape_arguments(method, plan, values):
    """The shapes that `build` or `compute_output_shape` asks for, by the names of its arguments."""
    rows = list(inspect.signature(method).parameters.values())
    rows = [r for r in rows if r.name != "self" and r.kind not in (r.VAR_POSITIONAL, r.VAR_KEYWORD)]
    tensors = {
        k: _unprobed(_shapes_of(v))
        for k, v in values.items()
        if _holds_arrays(v) and not k.endswith("mask")
    }
    if len(rows) == 1 or not tensors:
        first = next(iter(tensors.values()), None)
        return {rows[0].name: first} if rows else {}
    shapes = {}
    for i, row in enumerate(rows):
        name = row.name.removesuffix("_shape")
        if name in tensors:
            shapes[row.name] = tensors[name]
        elif i == 0 and row.name == "input_shape":
            shapes[row.name] = next(iter(tensors.values()))
        elif row.default is row.empty:
            by_place = list(tensors.values())
            shapes[row.name] = by_place[i] if i < len(by_place) else None
    return shapes


def _holds_arrays(v):
    return any(hasattr(x, "shape") for x in tree.flatten(v))


def _is_shape(s):
    return isinstance(s, (tuple, list)) and all(
        n is None or isinstance(n, (int, np.integer)) for n in s
    )


def _specs_of_shapes(shape, dtype):
    if _is_shape(shape):
        return Spec(tuple(shape), dtype)
    if isinstance(shape, dict):
        return {k: _specs_of_shapes(v, dtype) for k, v in shape.items()}
    return type(shape)(_specs_of_shapes(s, dtype) for s in shape)


def _symbols_of_shape(shape, dtype):
    made = _specs_of_shapes(shape, dtype)
    return tree.map_structure(lambda s: Symbol(s.shape, s.dtype), made)


def _tuples(shape):
    """A shape from JSON, lists of numbers as tuples."""
    if _is_shape(shape):
        return tuple(shape)
    if isinstance(shape, dict):
        return {k: _tuples(v) for k, v in shape.items()}
    return [_tuples(s) for s in shape] if isinstance(shape, (list, tuple)) else shape
