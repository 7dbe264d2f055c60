"""Layers as PyTorch modules, and PyTorch modules as layers.

While this backend is loaded, `Module` is the last base of `Layer`: what `torch.nn.Module` keeps in
dicts is here worked out from the layer's variables and sublayers when it is asked for, so that
making a layer costs no more than without it.
"""

from __future__ import annotations

import copy
import functools
import io

import torch

from oneiros.core.graph import STACK
from oneiros.core.spec import dtype_name

__all__ = ["Module", "module_call", "module_state", "pack_module", "unpack_module"]

KEPT = {
    k: v
    for k, v in torch.nn.Module().__dict__.items()
    if k.endswith(("hooks", "_kwargs", "_called", "_set", "_hook"))
}


def storage(variable):
    """The parameter of a variable, fetched from whoever holds it."""
    return variable._lease_value(None)


def named(pairs):
    """A dict of the pairs; names that come again get a number."""
    made = {}
    for name, value in pairs:
        key, n = name, 1
        while key in made:
            key, n = f"{name}_{n}", n + 1
        made[key] = value
    return made


class Module(torch.nn.Module):
    """What a layer is beside: a `torch.nn.Module`."""

    training = True

    def __getattr__(self, name):
        if name in KEPT:
            value = type(KEPT[name])() if KEPT[name] is not None else None
            object.__setattr__(self, name, value)
            return value
        found = getattr(type(self), name, None)
        if isinstance(found, property):  # it raised an AttributeError of its own
            return found.fget(self)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @property
    def _parameters(self):
        return named((v.name, storage(v)) for v in self._own_variables() if v.trainable)

    @property
    def _buffers(self):
        rest = [v for v in self._own_variables() if not v.trainable]
        return named((v.name, storage(v)) for v in (*rest, *self._states_beside_weights()))

    @property
    def _modules(self):
        return named((y.name, y) for y in self._layers)

    @property
    def forward(self):
        return self.call

    def zero_grad(self, set_to_none=True):
        """Forget the derivatives that `backward` left."""
        for v in self.trainable_variables:
            g = storage(v) if STACK.top is None else v.value
            if set_to_none or g.grad is None:
                g.grad = None
            else:
                g.grad.zero_()

    def _apply(self, fn, recurse=True):
        for v in self.variables:
            own = storage(v)
            own.data = fn(own.data)
            v.dtype = dtype_name(own.dtype)
        getattr(self, "_forget_functions", lambda: None)()
        return self

    def register_forward_hook(self, *args, **kwargs):
        """As in PyTorch; the hook sees values, so a step with it is not traced."""
        object.__setattr__(self, "call", functools.partial(hooked, self))
        return super().register_forward_hook(*args, **kwargs)

    def register_forward_pre_hook(self, *args, **kwargs):
        """As in PyTorch; the hook sees values, so a step with it is not traced."""
        object.__setattr__(self, "call", functools.partial(hooked, self))
        return super().register_forward_pre_hook(*args, **kwargs)


def hooked(layer, *args, **kwargs):
    """The layer's `call`, with its hooks around it."""
    if STACK.top is not None:
        if not getattr(STACK.top, "abstract", False):
            raise RuntimeError(f"layer '{layer.name}' has hooks, which need values")
        return type(layer).call(layer, *args, **kwargs)
    for key, hook in layer._forward_pre_hooks.items():
        if key in layer._forward_pre_hooks_with_kwargs:
            made = hook(layer, args, kwargs)
            args, kwargs = (args, kwargs) if made is None else made
        else:
            made = hook(layer, args)
            args = args if made is None else made if isinstance(made, tuple) else (made,)
    outputs = type(layer).call(layer, *args, **kwargs)
    for key, hook in layer._forward_hooks.items():
        more = (kwargs,) if key in layer._forward_hooks_with_kwargs else ()
        made = hook(layer, args, *more, outputs)
        outputs = outputs if made is None else made
    return outputs


def module_state(module):
    """The parameters and the buffers of a PyTorch module, by name."""
    if any(isinstance(x, torch.nn.parameter.UninitializedTensorMixin) for x in module.parameters()):
        raise ValueError(
            f"a lazy module must be run once before it becomes a layer; got {module!r}"
        )
    buffers = {n: b for n, b in module.named_buffers() if b is not None}
    return dict(module.named_parameters()), buffers


def pack_module(module, values):
    """A module with these parameters and buffers, pickled."""
    twin, file = copy.deepcopy(module), io.BytesIO()
    for group in (twin.named_parameters(), twin.named_buffers()):
        for name, x in group:
            x.data.copy_(torch.as_tensor(values[name]))
    torch.save(twin, file)
    return file.getvalue()


def unpack_module(data):
    """What `pack_module` gave as a module; this runs whatever code the bytes ask for."""
    return torch.load(io.BytesIO(data), weights_only=False, map_location="cpu")


def module_call(module, values, training, args, kwargs):
    """`(outputs, buffers)` of a module with these parameters and buffers by name."""
    module.train(bool(training))
    parameters = {n for n, _ in module.named_parameters()}
    buffers = {n: v.detach().clone() for n, v in values.items() if n not in parameters}
    outputs = torch.func.functional_call(module, {**values, **buffers}, args, kwargs)
    return outputs, buffers
