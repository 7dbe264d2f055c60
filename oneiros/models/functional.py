"""Functional and sequential models: graphs of layers."""

from __future__ import annotations

from oneiros.core import tree
from oneiros.core.operation import FunctionOperation
from oneiros.core.symbol import Symbol
from oneiros.layers.base import Layer
from oneiros.layers.input_layer import Input, InputLayer
from oneiros.models.function import graph_config
from oneiros.models.model import Model

__all__ = ["Functional", "Sequential"]


class Functional(Model):
    """A model made of the graph between `inputs` and `outputs`.

    Args:
        inputs: A symbol, or a tree of them.
        outputs: A symbol, or a tree of them.
        name: Name of the model.
    """

    def __init__(self, inputs, outputs, name=None, **kwargs):
        trainable = kwargs.pop("trainable", None)
        super().__init__(name=name, **kwargs)
        self._set_graph(inputs, outputs)
        if trainable is not None and not trainable:
            self.trainable = False

    def get_config(self):
        return {"name": self.name, "trainable": self.trainable, **graph_config(self._function)}

    def get_build_config(self):
        return {"input_shape": None}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return from_graph_config(cls, config, custom_objects)


def from_graph_config(cls, config, custom_objects=None):
    """A model from a config with layers and their calls."""
    from oneiros.core.registry import deserialize_keras_object
    from oneiros.models.op_names import function_of

    layers, waiting = {}, []
    for row in config["layers"]:
        name = row.get("name") or row["config"].get("name")
        function = (
            function_of(row["class_name"])
            if str(row.get("module", "")).startswith("keras.src.ops")
            else None
        )
        if function is not None:
            known = function.op.signature.parameters
            static = {
                k: v
                for k, v in row["config"].items()
                if k in known or k != "name" and "kwargs" in known
            }
            static = deserialize_keras_object(static, custom_objects=custom_objects)
            layers[name] = _Call(function, static, name)
        else:
            plain = {k: v for k, v in row.items() if k not in ("inbound_nodes", "name")}
            layers[name] = deserialize_keras_object(plain, custom_objects=custom_objects)
        waiting += [(name, i, node) for i, node in enumerate(row["inbound_nodes"])]
    made = {
        (n, 0): list(y._calls[0].outputs) for n, y in layers.items() if isinstance(y, InputLayer)
    }
    while waiting:
        later = []
        for name, index, node in waiting:
            if (name, index - 1) not in made and index or not _ready(node, made):
                later.append((name, index, node))
                continue
            args, kwargs = _node_arguments(node, made, custom_objects)
            result = layers[name](*args, **kwargs)
            made[name, index] = tree.flatten(result)
        if len(later) == len(waiting):
            raise ValueError(
                f"the config of model '{config.get('name')}' has calls whose inputs nothing makes: "
                f"{sorted({name for name, _, _ in later})}"
            )
        waiting = later

    def symbol(place):
        name, node, index = place[:3]
        try:
            return made[name, node][index]
        except (KeyError, IndexError):
            raise ValueError(
                f"the config names {list(place)} as an input or output, which no call makes"
            ) from None

    def struct(places):
        if _is_place(places):
            return symbol(places)
        if isinstance(places, dict):
            return {k: struct(v) for k, v in places.items()}
        if isinstance(places, (list, tuple)):
            return [struct(v) for v in places]
        raise ValueError(f"expected [name, node, index]; got {places!r}")

    kwargs = {k: config[k] for k in ("name", "trainable") if k in config}
    return cls(
        inputs=struct(config["input_layers"]), outputs=struct(config["output_layers"]), **kwargs
    )


class _Call:
    """An op with its settings, waiting for its arrays."""

    def __init__(self, function, settings, name):
        self.function, self.settings, self.name = function, settings, name

    def __call__(self, *args, **kwargs):
        rows = self.function.op.signature.parameters
        star = next((n for n, p in rows.items() if p.kind is p.VAR_POSITIONAL), None)
        if self.function.name == "get_item" and isinstance(args[1], list):
            args = (args[0], tuple(args[1]))  # JSON has no tuples
        if star is None:
            names = [n for n in rows if n not in self.settings]
            result = self.function(**dict(zip(names, args)), **kwargs, **self.settings)
        else:  # the settings that stand before the operands go before them
            leading = [n for n in list(rows)[: list(rows).index(star)] if n in self.settings]
            others = {n: v for n, v in self.settings.items() if n not in leading}
            result = self.function(*[self.settings[n] for n in leading], *args, **kwargs, **others)
        call = next(x for x in tree.flatten(result) if isinstance(x, Symbol)).call
        call.operation = FunctionOperation(call)
        call.operation.name = self.name
        return result


def _is_place(v):
    return (
        isinstance(v, (list, tuple))
        and len(v) in (3, 4)
        and isinstance(v[0], str)
        and all(isinstance(n, int) for n in v[1:3])
    )


def _histories(v):
    if isinstance(v, dict):
        if v.get("class_name") == "__keras_tensor__":
            yield v["config"]["keras_history"]
        else:
            for w in v.values():
                yield from _histories(w)
    elif isinstance(v, (list, tuple)):
        for w in v:
            yield from _histories(w)


def _ready(node, made):
    return all((name, index) in made for name, index, _ in _histories(node))


def _node_arguments(node, made, custom_objects):
    from oneiros.core.registry import deserialize_keras_object

    def argument(v):
        if isinstance(v, dict) and v.get("class_name") == "__keras_tensor__":
            name, index, tensor = v["config"]["keras_history"]
            return made[name, index][tensor]
        if isinstance(v, dict) and "class_name" not in v:
            return {k: argument(w) for k, w in v.items()}
        if isinstance(v, (list, tuple)):
            return type(v)(argument(w) for w in v)
        if isinstance(v, dict) and v.get("class_name") == "__tuple__":
            return tuple(argument(w) for w in v["items"])
        return deserialize_keras_object(v, custom_objects=custom_objects)

    return [argument(a) for a in node["args"]], {k: argument(v) for k, v in node["kwargs"].items()}


class Sequential(Model):
    """A model of layers one after another.

    Args:
        layers: The layers, or None to add them later.
        trainable: Whether its weights are trained.
        name: Name of the model.

    >>> import oneiros
    >>> model = oneiros.Sequential([oneiros.Input((4,)), oneiros.layers.Dense(2)])
    >>> model.output_shape
    (None, 2)
    """

    def __init__(self, layers=None, trainable=True, name=None):
        super().__init__(trainable=trainable, name=name)
        self._sequence = []
        for layer in layers or ():
            self.add(layer, rebuild=False)
        self._maybe_rebuild()

    _untracked = (*Layer._untracked, "_function")

    def add(self, layer, rebuild=True):
        """Put a layer at the end."""
        if (
            isinstance(layer, Symbol)
            and layer.call is not None
            and isinstance(layer.call.target, InputLayer)
        ):
            layer = layer.call.target
        if not isinstance(layer, Layer):
            if callable(layer) and hasattr(layer, "op"):
                from oneiros.layers.core import Lambda

                layer = Lambda(layer)
            else:
                raise ValueError(
                    f"Only instances of `Layer` can be added to a Sequential model. Received: {layer!r} "
                    f"(of type {type(layer)})"
                )
        if any(layer.name == other.name for other in self._sequence):
            raise ValueError(
                f"All layers added to a Sequential model should have unique names. Name '{layer.name}' is "
                "already the name of a layer in this model. Update the `name` argument to pass a unique name."
            )
        if isinstance(layer, InputLayer) and self._sequence:
            raise ValueError(
                f"Sequential model '{self.name}' has already been configured to use input shape "
                f"{self._sequence[0]._calls and self._sequence[0]}; an input can only come first"
            )
        if not self._sequence and not isinstance(layer, InputLayer):
            shape = getattr(layer, "_input_shape_arg", None)
            inner = getattr(layer, "_function", None)
            if shape is not None:
                self._sequence.append(InputLayer(shape=shape))
            elif inner is not None and len(inner.inputs) == 1:
                self._sequence.append(
                    InputLayer(batch_shape=inner.inputs[0].shape, dtype=inner.inputs[0].dtype)
                )
        self._sequence.append(layer)
        if rebuild:
            self._maybe_rebuild()

    def pop(self, rebuild=True):
        """Take the last layer away and return it."""
        layer = self._sequence.pop()
        object.__setattr__(self, "_function", None)
        object.__setattr__(self, "built", False)
        if rebuild:
            self._maybe_rebuild()
        return layer

    def _maybe_rebuild(self):
        object.__setattr__(self, "_function", None)
        object.__setattr__(self, "built", False)
        self._forget_functions()
        if self._sequence and isinstance(self._sequence[0], InputLayer) and len(self._sequence) > 1:
            first = self._sequence[0]
            self.build(first.batch_shape)

    def build(self, input_shape=None):
        if not self._sequence:
            raise ValueError(
                f"Sequential model {self.name} cannot be built because it has no layers. Call `model.add(layer)`."
            )
        if isinstance(self._sequence[0], InputLayer):
            x = inputs = self._sequence[0].output
            layers = self._sequence[1:]
        else:
            if input_shape is None:
                raise ValueError(f"Sequential model '{self.name}' needs an input shape to be built")
            dtype = self._sequence[0].compute_dtype
            x = inputs = Input(batch_shape=tuple(input_shape), dtype=dtype)
            layers = self._sequence
        for layer in layers:
            try:
                x = layer(x)
            except NotImplementedError:
                return
            except (ValueError, TypeError) as error:
                if hasattr(error, "add_note"):
                    error.add_note(
                        f"while building layer '{layer.name}' of Sequential model '{self.name}'"
                    )
                raise
        self._set_graph(inputs, x)

    def call(self, inputs, training=None, mask=None, **kwargs):
        if self._function is not None:
            return self._run_graph(inputs, training, mask)
        x = inputs
        for layer in self._sequence:
            if not isinstance(layer, InputLayer):
                x = layer(x)
        return x

    @property
    def layers(self):
        return [y for y in self._sequence if not isinstance(y, InputLayer)]

    @property
    def _layers(self):
        return list(self.layers)

    def compute_output_shape(self, input_shape):
        shape = input_shape
        for layer in self.layers:
            shape = layer.compute_output_shape(shape)
        return shape

    def compute_output_spec(self, inputs, training=None, mask=None, **kwargs):
        if self._function is not None:
            return super().compute_output_spec(inputs)
        for layer in self.layers:
            inputs = layer.compute_output_spec(inputs)
        return inputs

    def get_config(self):
        from oneiros import dtype_policies
        from oneiros.core.registry import serialize_keras_object

        config = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": dtype_policies.serialize(self.dtype_policy),
            "layers": [serialize_keras_object(y) for y in self._sequence],
        }
        if self._function is not None:
            config["build_input_shape"] = self._function.inputs[0].shape
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        from oneiros.core.registry import deserialize_keras_object

        if "layers" not in config or not isinstance(config["layers"], list):
            return cls(**config)
        model = cls(name=config.get("name"))
        for row in config["layers"]:
            model.add(deserialize_keras_object(row, custom_objects=custom_objects), rebuild=False)
        model._maybe_rebuild()
        shape = config.get("build_input_shape")
        if model._function is None and shape:
            model.build(tuple(shape))
        if not config.get("trainable", True):
            model.trainable = False
        return model
