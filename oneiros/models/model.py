"""Models: layers that can be trained, saved and summarized."""

from __future__ import annotations

import json

import numpy as np

from oneiros.core import tree
from oneiros.core.graph import STACK
from oneiros.core.masks import get_mask, set_mask
from oneiros.core.op import array, to_dtype
from oneiros.core.spec import Unknown, dtype_name
from oneiros.core.symbol import Symbol
from oneiros.layers.base import Layer, _signature
from oneiros.layers.host import fit_rank
from oneiros.models.function import Function
from oneiros.training.staging import Staged, on_stage
from oneiros.training.trainer import Trainer

__all__ = ["Model", "model_from_json"]


class Model(Trainer, Layer):
    """Layers grouped into one that can be trained.

    Made of a graph, `Model(inputs, outputs)`, or by a subclass that makes layers in `__init__` and
    computes in
    `call(inputs, training=False)`.

    Args:
        inputs: A symbol or a tree of them (graph form).
        outputs: A symbol or a tree of them (graph form).
        name: Name of the model.

    >>> import oneiros
    >>> x = oneiros.Input((4,))
    >>> model = oneiros.Model(x, oneiros.layers.Dense(2)(x))
    >>> model.count_params()
    10
    """

    _function = None
    _untracked = (*Layer._untracked, "_function", "_loop", "optimizer", "loss")

    def __new__(cls, *args, **kwargs):
        if cls is Model and _is_graph(args, kwargs):
            from oneiros.models.functional import Functional

            return Layer.__new__(Functional, *args, **kwargs)
        return Layer.__new__(cls, *args, **kwargs)

    def __init__(self, *args, **kwargs):
        self._trainer_state()
        if _is_graph(args, kwargs):
            graph = dict(zip(("inputs", "outputs", "name"), args))
            graph.update({k: kwargs.pop(k) for k in ("inputs", "outputs") if k in kwargs})
            name = kwargs.pop("name", graph.pop("name", None))
            Layer.__init__(self, name=name, **kwargs)
            self._set_graph(graph["inputs"], graph["outputs"])
        else:
            if args:
                raise TypeError(
                    f"{type(self).__name__} takes symbols as (inputs, outputs), or keyword arguments only; got {args}"
                )
            Layer.__init__(self, **kwargs)

    def __call__(self, *args, **kwargs):
        if args and type(args[0]) is Staged:
            stage = self._stage
            with on_stage(stage):
                return super().__call__(stage.inputs(args[0]), *args[1:], **kwargs)
        return super().__call__(*args, **kwargs)

    # The graph ------------------------------------------------------------------------------------
    def _set_graph(self, inputs, outputs):
        function = Function(inputs, outputs, name=self.name)
        object.__setattr__(self, "_function", function)
        seen = {}
        for operation in function.operations:
            if seen.setdefault(operation.name, operation) is not operation:
                raise ValueError(
                    f'The name "{operation.name}" is used {sum(o.name == operation.name for o in function.operations)} '
                    "times in the model. All operation names should be unique."
                )
        object.__setattr__(self, "built", True)
        object.__setattr__(
            self, "_graph_layers", [o for o in function.operations if isinstance(o, Layer)]
        )
        self._forget_functions()

    @property
    def _layers(self):
        graph = self.__dict__.get("_graph_layers")
        if graph is None:
            return Layer._layers.fget(self)
        found, seen = list(graph), {id(self)} | {id(y) for y in graph}
        from oneiros.layers.base import LEAVES, _collect

        skipped = {*self._untracked, "_given", "_graph_layers"}
        for name, value in self.__dict__.items():  # layers that a subclass holds beside its graph
            if type(value) not in LEAVES and name not in skipped:
                _collect(value, found, seen)
        return found

    @property
    def layers(self):
        """The layers of the model, not those inside of them."""
        return list(self._layers)

    @layers.setter
    def layers(self, _):
        raise AttributeError(
            "`Model.layers` attribute is reserved and should not be used. Please use another name."
        )

    @property
    def operations(self):
        return list(self._function.operations)

    def _graph_property(name):
        def get(self):
            if self._function is None:
                raise AttributeError(
                    f"model '{self.__dict__.get('name')}' has no graph, so it has no {name}"
                )
            return getattr(self._function, name)

        return property(get)

    inputs = _graph_property("inputs")
    outputs = _graph_property("outputs")
    input = _graph_property("input")
    output = _graph_property("output")
    del _graph_property

    @property
    def input_shape(self):
        return _one(tree.map_structure(lambda x: x.shape, self.input), self.inputs)

    @property
    def output_shape(self):
        return _one(tree.map_structure(lambda x: x.shape, self.output), self.outputs)

    @property
    def input_names(self):
        return [x.name for x in self.inputs]

    @property
    def output_names(self):
        from oneiros.core.operation import operation_of

        return [operation_of(x.call).name for x in self.outputs]

    @property
    def input_spec(self):
        return self.__dict__.get("_input_spec")

    @input_spec.setter
    def input_spec(self, value):
        object.__setattr__(self, "_input_spec", value)

    def get_layer(self, name=None, index=None):
        """The layer of this name, or at this place."""
        if (name is None) == (index is None):
            raise ValueError(
                f"Provide either a layer name or a layer index; got name={name}, index={index}"
            )
        layers = self.layers
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise ValueError(
                    f"Was asked to retrieve layer at index {index} but model only has {len(layers)} layers."
                )
            return layers[index]
        for layer in layers:
            if layer.name == name:
                return layer
        raise ValueError(f"No such layer: {name}. Existing layers are: {[y.name for y in layers]}.")

    def call(self, inputs, training=None, mask=None, **kwargs):
        """The outputs for the inputs."""
        if self._function is None:
            raise NotImplementedError(
                f"Model {type(self).__name__} does not have a `call()` method implemented."
            )
        return self._run_graph(inputs, training, mask)

    def _run_graph(self, inputs, training, mask):
        function = self._function
        call = None if training is None else _caller(training)
        if mask is None and type(inputs) in function.fits and STACK.top is None:
            if _signature(inputs) in function.fits[type(inputs)]:
                return function.run((inputs,), call)
        values = self._graph_inputs(inputs)
        if mask is not None:
            for x, m in zip(values, tree.flatten(mask)):
                if m is not None and get_mask(x) is None:
                    set_mask(x, m)
        elif values[0] is inputs and type(inputs) is not Symbol:
            known = function.fits.setdefault(type(inputs), set())
            if len(known) > 64:
                known.clear()
            known.add(_signature(inputs))
        return function.run(values, call)

    def _graph_inputs(self, inputs):
        """Given inputs as a flat list of arrays with the dtypes and ranks of the graph's inputs."""
        function, struct = self._function, self._function._inputs_struct
        wanted = function.inputs
        if isinstance(inputs, dict):
            if isinstance(struct, dict):
                keys = sorted(struct)
                missing = [
                    k for k in keys if k not in inputs and not getattr(struct[k], "optional", False)
                ]
                values = [inputs.get(k) for k in keys]
            else:
                missing = [
                    x.name
                    for x in wanted
                    if x.name not in inputs and not getattr(x, "optional", False)
                ]
                values = [inputs.get(x.name) for x in wanted]
            if missing:
                raise ValueError(
                    f"model '{self.name}' needs inputs named {[x.name for x in wanted]}; missing {missing} among the "
                    f"given {sorted(inputs)}"
                )
        else:
            values = (
                [inputs]
                if hasattr(inputs, "shape") and hasattr(inputs, "dtype")
                else tree.flatten(inputs)
            )
            if len(values) != len(wanted) and hasattr(inputs, "__len__") and len(wanted) == 1:
                values = [inputs]  # a nested list of numbers
        if len(values) != len(wanted):
            raise ValueError(
                f'Layer "{self.name}" expects {len(wanted)} input(s), but it received {len(values)} input tensors'
            )
        return [self._graph_input(v, x) for v, x in zip(values, wanted)]

    def _graph_input(self, value, symbol):
        if value is None:
            return None
        if symbol.dtype == "string":
            value = fit_rank(value, symbol.shape)
        value = (
            array(value) if not hasattr(value, "dtype") or isinstance(value, np.generic) else value
        )
        have, want = tuple(value.shape), symbol.shape
        mask = get_mask(value)
        if len(have) == len(want) - 1 and want[-1] == 1:
            from oneiros import ops

            value = ops.expand_dims(value, -1)
        elif len(have) == len(want) + 1 and have[-1] == 1:
            from oneiros import ops

            value = ops.squeeze(value, -1)
        have = tuple(value.shape)
        if len(have) != len(want) or any(
            n is not None and m != n and not isinstance(m, Unknown) and m is not None
            for n, m in zip(want[1:], have[1:])  # a batch may be of any size
        ):
            raise ValueError(
                f'Input {self._function.inputs.index(symbol)} of layer "{self.name}" is incompatible with the layer: '
                f"expected shape={want}, found shape={tuple(None if isinstance(m, Unknown) else m for m in have)}"
            )
        if dtype_name(value.dtype) != symbol.dtype and not isinstance(value, np.ndarray):
            value = to_dtype(value, symbol.dtype)
        elif isinstance(value, np.ndarray) and value.dtype.kind not in "OUST":
            value = to_dtype(array(value) if STACK.top is None else value, symbol.dtype)
        if mask is not None:
            set_mask(value, mask)
        return value

    def compute_output_spec(self, *args, **kwargs):
        return Layer.compute_output_spec(self, *args, **kwargs)

    def build_from_config(self, config):
        if not config:
            return
        if self._function is not None or self.built:
            return
        shape = config.get("input_shape") if "input_shape" in config else config.get("shapes_dict")
        if shape is None:
            return
        try:
            Layer.build_from_config(self, config)
        except (NotImplementedError, TypeError, ValueError):
            pass  # the weights are checked when they are loaded
        if type(self).build is Layer.build or not self.weights:
            self._build_on_symbols(config.get("input_shape", config))

    def _build_on_symbols(self, shape):
        """Build a subclassed model by running it once on symbols."""
        from oneiros.layers.base import _symbols_of_shape, _tuples

        self(_symbols_of_shape(_tuples(shape), self.compute_dtype))

    def build(self, input_shape=None):
        """Make the weights of a subclassed model by running it on symbols of `input_shape`."""
        if self._function is None and input_shape is not None and type(self).call is not Model.call:
            if self._layers:
                from oneiros.layers.base import _symbols_of_shape, _tuples

                symbols = _symbols_of_shape(_tuples(input_shape), self.compute_dtype)
                object.__setattr__(self, "built", True)
                from oneiros.core.op import infer

                infer(self._bare_call(None), (symbols,), {})
        object.__setattr__(self, "built", True)

    # Showing --------------------------------------------------------------------------------------
    def summary(
        self,
        line_length=None,
        positions=None,
        print_fn=None,
        expand_nested=False,
        show_trainable=False,
        layer_range=None,
    ):
        """Print a table of the layers, their output shapes and numbers of weights.

        Args:
            line_length: Width of the table.
            positions: Relative positions of the columns.
            print_fn: Takes the text in place of printing.
            expand_nested: Whether to show the layers of nested models.
            show_trainable: Whether to show which layers are trained.
            layer_range: Names (patterns) of the first and last layer to show.
        """
        from oneiros.models.summary import print_summary

        print_summary(
            self, line_length, positions, print_fn, expand_nested, show_trainable, layer_range
        )

    # Configs and files ----------------------------------------------------------------------------
    def get_config(self):
        if (
            self._function is not None
            and type(self).__init__ is not Model.__init__
            and not _is_plain(type(self))
        ):
            return Layer.get_config(self)
        if self._function is not None:
            from oneiros.models.function import graph_config

            return {"name": self.name, "trainable": self.trainable, **graph_config(self._function)}
        return Layer.get_config(self)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        graph = {"layers", "input_layers", "output_layers"} <= set(config)
        if graph:
            from oneiros.models.functional import Functional, from_graph_config

            return from_graph_config(Functional if cls is Model else cls, config, custom_objects)
        from oneiros.layers.config import from_config

        return from_config(cls, config)

    def to_json(self, **kwargs):
        """The architecture as JSON."""
        from oneiros.core.registry import serialize_keras_object

        return json.dumps(serialize_keras_object(self), **kwargs)

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Write the model to a `.keras` file (or legacy `.h5`)."""
        from oneiros.saving import save_model

        return save_model(self, filepath, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Write the weights to a `.weights.h5` file."""
        from oneiros.saving import save_weights

        return save_weights(self, filepath, overwrite=overwrite, max_shard_size=max_shard_size)

    def load_weights(self, filepath, skip_mismatch=False, **kwargs):
        """Read the weights from a file."""
        from oneiros.saving import load_weights

        load_weights(self, filepath, skip_mismatch=skip_mismatch, **kwargs)
        self._forget_state()

    def export(
        self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs
    ):
        """Write the model for serving elsewhere."""
        raise NotImplementedError(f"export to format {format!r} is not available yet")

    def get_quantization_layer_structure(self, mode=None):
        """What ways of quantizing that work block by block need to know; None if nothing.

        Models say it by overriding this: a dict of the lists `pre_block_layers` and
        `sequential_blocks`.
        """
        return None

    def quantize(self, mode=None, config=None, filters=None, **kwargs):
        """Switch the layers that can to integer weights."""
        raise NotImplementedError("quantization is not available yet")

    def count_params(self):
        if not self.built:
            raise ValueError(
                f"You tried to call `count_params` on model '{self.name}', but it isn't built; call it on data first"
            )
        return sum(v.size for v in self.weights)


def _caller(training):
    """How a graph calls its operations: with the training flag where one was recorded or is taken."""

    def call(node, args, kwargs):
        target = node.target
        if training is not None and "training" in kwargs and isinstance(target, Layer):
            kwargs = {**kwargs, "training": training}
        return target(*args, **kwargs)

    return call


def _is_graph(args, kwargs):
    """Whether the arguments are (inputs, outputs)."""
    return (
        "inputs" in kwargs
        and "outputs" in kwargs
        or (len(args) >= 2 or len(args) == 1 and "outputs" in kwargs)
        and any(isinstance(x, Symbol) for x in tree.flatten(args[0]))
    )


def _is_plain(cls):
    """Whether a class adds no constructor of its own to the graph form."""
    return cls.__module__.startswith("oneiros.models")


def _one(struct, symbols):
    return struct if len(symbols) > 1 or not isinstance(struct, list) else struct[0]


def model_from_json(json_string, custom_objects=None):
    """The model that `to_json` wrote, with fresh weights."""
    from oneiros.core.registry import deserialize_keras_object

    return deserialize_keras_object(json.loads(json_string), custom_objects=custom_objects)
