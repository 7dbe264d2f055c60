"""Layers around modules of the frameworks below."""

from __future__ import annotations

import base64
import re

from oneiros.core import backend, config
from oneiros.core.op import VARIABLES
from oneiros.core.variable import Variable
from oneiros.layers.base import CONTEXT, Layer

__all__ = ["TorchModuleWrapper"]


class TorchModuleWrapper(Layer):
    """A `torch.nn.Module` as a layer: its parameters are the layer's weights.

    Files hold the module pickled, which can run any code when it is read: it is read only after
    `config.enable_unsafe_deserialization()`, or by `from_config(..., safe_mode=False)`.

    Args:
        module: The module.
        name: The layer's name.
        output_shape: The shape of its outputs, where it cannot be found by running it.

    Raises:
        ValueError: if the session's backend is not torch, `module` is no module, or a lazy one that
            has not been run yet.
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
        self._by_name, self._learned = {}, [*parameters]
        for group, trainable in ((parameters, True), (buffers, False)):
            for key, value in group.items():
                name = re.sub(r"\W", "_", key)
                learns = trainable and value.requires_grad
                self._by_name[key] = v = Variable(
                    value, trainable=learns, name=name, autocast=False
                )
                self._track(v)
        self.built = True

    def parameters(self, recurse=True):
        """The module's parameters; with `recurse=False` without those of modules inside it."""
        return iter(
            [self._by_name[k]._lease_value(None) for k in self._learned if recurse or "." not in k]
        )

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

    def compute_output_shape(self, input_shape):
        """The given output shape, or what running it on arrays of the shapes gives."""
        if self.output_shape is not None:
            return tuple(self.output_shape)
        several = input_shape and isinstance(input_shape[0], (list, tuple))
        return super().compute_output_shape(*(input_shape if several else [input_shape]))

    def _declared_outputs(self, plan, args, kwargs, values):
        if self.output_shape is None:
            return None
        return super()._declared_outputs(plan, args, kwargs, values)

    # Files ----------------------------------------------------------------------------------------
    def save_own_variables(self, store):
        """Put the module's state into `store`, by its names there."""
        for key, v in self._by_name.items():
            store[key] = v.numpy()

    def load_own_variables(self, store):
        """Take the module's state from `store`."""
        if set(store.keys()) != set(self._by_name):
            raise ValueError(
                f"layer '{self.name}': the module's state is named {sorted(self._by_name)}; the "
                f"file has {sorted(store.keys())}"
            )
        for key, v in self._by_name.items():
            v.assign(store[key])

    def get_config(self):
        """The constructor's arguments; the module pickled, as text."""
        values = {key: v.numpy() for key, v in self._by_name.items()}
        packed = backend.current().pack_module(self.module, values)
        module = base64.b64encode(packed).decode("ascii")
        return {**super().get_config(), "module": module, "output_shape": self.output_shape}

    @classmethod
    def from_config(cls, config, custom_objects=None, safe_mode=None):
        """A layer from `get_config`'s dict.

        Raises:
            ValueError: if the module would have to be unpickled, and nobody allowed it.
        """
        settings = dict(config)
        if isinstance(settings.get("module"), str):
            _check_allowed(settings.get("name"), safe_mode)
            engine = backend.current()
            if not hasattr(engine, "unpack_module"):
                raise ValueError(
                    f"TorchModuleWrapper needs the backend 'torch'; the session's is '{engine.name}'"
                )
            settings["module"] = engine.unpack_module(base64.b64decode(settings["module"]))
        if isinstance(settings.get("output_shape"), list):
            settings["output_shape"] = tuple(settings["output_shape"])
        return super().from_config(settings)


def _check_allowed(name, safe_mode):
    if safe_mode is None:
        safe_mode = not config.is_unsafe_deserialization_enabled()
    if safe_mode:
        raise ValueError(
            f"layer '{name}' holds a pickled torch.nn.Module, and reading that can run any code. If you "
            "trust the file as you trust a program, call "
            "oneiros.config.enable_unsafe_deserialization() first, or give safe_mode=False to from_config"
        )
