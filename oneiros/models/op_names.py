"""The names that files give to ops: a function's name in CamelCase, and its arrays apart from its settings."""

from __future__ import annotations

import numpy as np

from oneiros.core import tree
from oneiros.core.op import OPS, VARIABLES
from oneiros.core.symbol import Symbol

__all__ = ["class_name_of", "function_of", "module_of", "split_arguments"]

# Class names that are not the function's in CamelCase.
_NAMES = {"get_item": "GetItem", "log1p": "Log1p", "expm1": "Expm1", "relu6": "Relu6", "logaddexp": "Logaddexp"}
# Arguments that a node holds even when they are plain numbers: the operands, and not the settings.
_OPERANDS = {
    "x", "x1", "x2", "y", "xs", "inputs", "a", "b", "condition", "indices", "values", "updates", "start_indices",
    "query", "key", "value", "kernel", "target", "output", "bias", "mask", "gamma", "beta", "mean", "variance",
    "data", "segment_ids", "images", "weights", "tensor", "variable", "true_fn", "false_fn", "pred", "arrays",
    "operands", "elements", "depthwise_kernel", "pointwise_kernel", "coordinates", "scale", "dtype_like", "lower",
    "logits", "x_min_array", "ndarray", "sorted_sequence", "bins", "v", "elem", "branches", "index", "init",
}  # fmt: skip
_SETTINGS_OF = {"scale": {"dot_product_attention", "normalize"}, "value": {"full_like"}, "bins": {"histogram"}, "mask": ()}


def camel(name):
    """`reduce_max` as `ReduceMax`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def class_name_of(function):
    """The class name under which files hold a call of `function`."""
    return _NAMES.get(function.name) or camel(function.name)


def module_of(function):
    """The module that files name beside it."""
    room = function.body.__module__.rsplit(".", 1)[-1]
    rooms = {"nn": "nn", "linalg": "linalg", "image": "image", "control": "core", "signal": "math"}
    return f"keras.src.ops.{rooms.get(room, 'numpy')}"


def function_of(class_name):
    """The op of a class name, or None."""
    by_class = {class_name_of(_Named(name)): name for name in OPS}
    name = by_class.get(class_name)
    if name is None:
        return None
    from oneiros import ops

    return getattr(ops, name, None) or OPS[name].call


class _Named:
    def __init__(self, name):
        self.name = name


def split_arguments(call):
    """The arguments of a call of an op: (arrays by name, settings by name)."""
    bound = call.target.op.signature.bind(*call.args, **call.kwargs)
    bound.apply_defaults()
    arrays, settings = {}, {}
    for name, value in bound.arguments.items():
        holds = any(
            isinstance(v, (Symbol, np.ndarray)) or type(v) in VARIABLES for v in tree.flatten(value)
        )
        if holds or name in _OPERANDS and value is not None and call.target.name not in _SETTINGS_OF.get(name, ()):
            arrays[name] = value
        else:
            settings[name] = value
    return arrays, settings
