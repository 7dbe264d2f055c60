"""Layers around modules of the frameworks below."""

from __future__ import annotations

import re

from oneiros.core import backend
from oneiros.core.op import VARIABLES
from oneiros.core.variable import Variable
from oneiros.layers.base import CONTEXT, Layer

__all__ = ["TorchModuleWrapper"]


class TorchModuleWrapper(Layer):
    """A `torch.nn.Module` as a layer: its parameters are the layer's weights.

    Args:
        module: The module.
        name: The layer's name.
        output_shape: The shape of its outputs, where it cannot be found by running it.

    Raises:
        ValueError: if the session's backend is not torch, or `module` is no module.
    """

    def __init__(self, module, name=None, output_shape=None, **kwargs):
        super().__init__(name=name, **kwargs)
        engine = backend.current()
        if not hasattr(engine, "module_state"):
            raise ValueError(
                f"TorchModuleWrapper needs the backend 'torch'; the session's is '{engine.name}'"
            )
        if not hasattr(module, "named_parameters") or isinstance(module, Layer):
            raise ValueError(
                f"TorchModuleWrapper: module must be a torch.nn.Module; got {module!r}"
            )
        object.__setattr__(self, "module", module)
        self.output_shape = output_shape
        parameters, buffers = engine.module_state(module)
        self._by_name = {}
        for group, trainable in ((parameters, True), (buffers, False)):
            for key, value in group.items():
                name = re.sub(r"\W", "_", key)
                learns = trainable and value.requires_grad
                self._by_name[key] = v = Variable(
                    value, trainable=learns, name=name, autocast=False
                )
                self._track(v)
        self.built = True

    def call(self, *args, training=None, **kwargs):
        values = {key: v.value for key, v in self._by_name.items()}
        training = CONTEXT.training if training is None else training
        args = tuple(x.value if type(x) in VARIABLES else x for x in args)
        outputs, buffers = backend.current().module_call(
            self.module, values, training, args, kwargs
        )
        if training:
            for key, value in buffers.items():
                self._by_name[key].assign(value)
        return outputs

    def compute_output_shape(self, *shapes, **kwargs):
        """The given output shape, or what running it on arrays of the shapes gives."""
        if self.output_shape is not None:
            return tuple(self.output_shape)
        return super().compute_output_shape(*shapes, **kwargs)

    def get_config(self):
        raise NotImplementedError(
            f"layer '{self.name}': a torch module has no config; save the weights alone, or build "
            "the model by code"
        )
