"""The same model again, with new weights."""

from __future__ import annotations

from oneiros.core import tree
from oneiros.core.operation import FunctionOperation
from oneiros.core.symbol import Symbol
from oneiros.layers.input_layer import InputLayer
from oneiros.models.function import clone_graph
from oneiros.models.functional import Functional, Sequential
from oneiros.models.model import Model

__all__ = ["clone_model"]


def clone_model(
    model, input_tensors=None, clone_function=None, call_function=None, recursive=False, **kwargs
):
    """A copy of a functional or sequential model with fresh weights.

    Args:
        model: The model.
        input_tensors: Symbols to build the copy on.
        clone_function: Layer to layer; by default a layer of the same config.
        call_function: `(layer, *args, **kwargs)` in place of calling each layer.
        recursive: Whether nested models are cloned layer by layer.

    >>> import oneiros
    >>> model = oneiros.Sequential([oneiros.Input((4,)), oneiros.layers.Dense(2)])
    >>> oneiros.models.clone_model(model).count_params()
    10
    """
    if not isinstance(model, Model):
        raise ValueError(f"clone_model: model must be a Model; got {type(model).__name__}")
    if not isinstance(model, Sequential) and model._function is None:
        if clone_function is not None or input_tensors is not None:
            raise ValueError(
                "Arguments clone_function and input_tensors are only supported for Sequential models or Functional "
                f"models. Received model of type '{model.__class__.__name__}'."
            )
        return type(model).from_config(model.get_config())
    make = clone_function or (lambda layer: layer.__class__.from_config(layer.get_config()))

    def copy(operation):
        if isinstance(operation, FunctionOperation):
            return operation
        if recursive and isinstance(operation, Model):
            return clone_model(operation, clone_function=clone_function, recursive=True)
        if isinstance(operation, InputLayer):
            return InputLayer.from_config(operation.get_config())
        return make(operation)

    if isinstance(model, Sequential):
        layers = [copy(layer) for layer in model._sequence]
        if input_tensors is not None:
            given = tree.flatten(input_tensors)
            if len(given) != 1 or not isinstance(given[0], Symbol):
                raise ValueError(
                    f"a Sequential model has one input; got input_tensors={input_tensors!r}"
                )
            layers = [given[0], *[y for y in layers if not isinstance(y, InputLayer)]]
        return Sequential(layers, name=model.name)
    cached = {}

    def called(operation):
        layer = cached.setdefault(id(operation), copy(operation))
        if call_function is None or isinstance(layer, (FunctionOperation, InputLayer)):
            return layer if not isinstance(layer, FunctionOperation) else layer.function
        return lambda *a, **k: call_function(layer, *a, **k)

    def place(operation):
        return (
            cached.setdefault(id(operation), copy(operation))
            if isinstance(operation, InputLayer)
            else called(operation)
        )

    inputs, outputs = clone_graph(model._function, place, input_tensors)
    return Functional(inputs, outputs, name=model.name)
