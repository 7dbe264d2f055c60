"""Whole-model `.h5` files, the format of Keras 2, which Keras 3 still writes: read and written.

The architecture stands as JSON in an attribute; weights stand layer by layer, in lists of names.
Configs of Keras 2 are brought to today's form by `modern` before anything is made of them.
"""

from __future__ import annotations

import json
import warnings

import numpy as np

from oneiros import layers
from oneiros.core.dtypes import np_dtype
from oneiros.core.registry import (
    READ_AS,
    ConfigError,
    deserialize_keras_object,
    serialize_keras_object,
)
from oneiros.core.scopes import deferred_values
from oneiros.saving import hdf5, hdf5_writer
from oneiros.saving.stores import SLACK, budget_of, opened, replacing
from oneiros.saving.weights import report

__all__ = ["is_legacy", "load_legacy", "load_legacy_weights", "model_of", "modern", "save_legacy"]


# Reading
# --------------------------------------------------------------------------------------------------


def load_legacy(filepath, custom_objects=None, compile=True, safe_mode=True):
    """The model in a `.h5` file."""
    with opened(filepath, SLACK) as root:
        attrs = root.attrs
        if "model_config" not in attrs:
            raise ValueError(
                f"{filepath} holds no model, only weights: build the model, then use `load_weights`"
            )
        config = _json(attrs["model_config"], filepath, "model_config")
        with deferred_values(SLACK + (1 << 30)):
            model = model_of(modern(config), filepath, custom_objects, safe_mode)
            _load(model, root, filepath, budget_of(model))
            if compile and "training_config" in attrs:
                training = _json(attrs["training_config"], filepath, "training_config")
                _compile(model, training, root, filepath, custom_objects)
    return model


def model_of(config, filepath, custom_objects, safe_mode):
    """The model that a file's config describes."""
    try:
        model = deserialize_keras_object(config, custom_objects, safe_mode)
    except ConfigError as error:
        raise ConfigError(f"{filepath}: {error}") from error
    if not hasattr(model, "save"):  # models, and spaces of features
        raise ValueError(f"{filepath}: its config describes {model!r:.200}, not a model")
    return model


def load_legacy_weights(model, filepath, by_name=False, skip_mismatch=False):
    """Give `model` the weights in a `.h5` file of Keras 2's form."""
    with opened(filepath, budget_of(model)) as root:
        _load(model, root, filepath, 0, by_name, skip_mismatch)


def is_legacy(filepath):
    """Whether an HDF5 file lists its layers as Keras 2 does."""
    with opened(filepath, 0) as root:
        return "layer_names" in root.attrs or "model_weights" in root


def _json(text, filepath, what):
    try:
        made = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{filepath}: its {what} is not valid JSON: {error}") from None
    if not isinstance(made, dict):
        raise ValueError(f"{filepath}: its {what} is not a JSON object")
    return made


def _load(model, root, filepath, budget, by_name=False, skip_mismatch=False):
    """Give the layers of `model` the arrays of the groups that stand for them."""
    root.allow(budget)
    group = root.get("model_weights") or root
    rows = [(name, _arrays(group, name)) for name in _names(group, "layer_names")]
    top = "top_level_model_weights"
    own = _arrays(group, top) if top in group else []
    holders = [y for y in model.layers if _weights(y)]
    if by_name:
        stored = dict(rows)
        pairs = [(y, y.name, stored[y.name]) for y in holders if y.name in stored]
    else:
        rows = [row for row in rows if row[1]]
        if len(rows) != len(holders):
            raise ValueError(
                f"{filepath} has weights of {len(rows)} layers; the model has {len(holders)}: "
                f"{[y.name for y in holders]}; the file's are {[name for name, _ in rows]}"
            )
        pairs = [(y, *row) for y, row in zip(holders, rows)]
    failed = [f for y, name, arrays in pairs if (f := _give(y, name, _weights(y), arrays))]
    if own and (f := _give(model, top, model._own_variables(), own)):
        failed.append(f)
    if failed:
        report(failed, filepath, skip_mismatch)


def _names(group, attribute):
    """A list of names, which may be split over attributes with numbers at their ends."""
    if not isinstance(group, hdf5.Group):
        raise hdf5.Broken(f"there is no group where its '{attribute}' should be")
    attrs, names, n = group.attrs, [], 0
    if attribute in attrs:
        names = attrs[attribute]
    while f"{attribute}{n}" in attrs:
        names = [*names, *attrs[f"{attribute}{n}"]]
        n += 1
    if not all(isinstance(name, str) for name in names):
        raise hdf5.Broken(f"its '{attribute}' are not names")
    return list(names)


def _arrays(group, name):
    """The datasets of one layer, in order."""
    layer = group.get(name)
    found = [layer.get(path) for path in _names(layer, "weight_names")]
    if not all(isinstance(d, hdf5.Dataset) for d in found):
        raise hdf5.Broken(f"the weights of '{name}' are not arrays")
    return found


def _weights(layer):
    return [*layer.trainable_weights, *layer.non_trainable_weights]


def _give(layer, name, variables, arrays):
    """Assign; what does not fit is given as a triple (name, layer, reason)."""
    if len(variables) != len(arrays):
        return name, layer, f"it has {len(variables)} weights; the file has {len(arrays)}"
    for v, array in zip(variables, arrays):
        if tuple(array.shape) != v.shape:
            return (
                name,
                layer,
                f"'{v.path}' has the shape {v.shape}; the file has {tuple(array.shape)}",
            )
    for v, array in zip(variables, arrays):
        value = array.read()
        if value.dtype.kind == "V" and value.itemsize == np_dtype(v.dtype).itemsize:
            value = value.view(np_dtype(v.dtype))  # bfloat16 has no name in these files
        v.assign(value)
    return None


def _compile(model, training, root, filepath, custom_objects):
    """Compile as the file says, and give the optimizer its state."""
    optimizer = training.pop("optimizer_config", None)
    known = ("loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly", "jit_compile")
    config = {k: modern(v) for k, v in training.items() if k in known and v is not None}
    config["optimizer"] = modern(optimizer)
    try:
        model.compile(**deserialize_keras_object(config, custom_objects))
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        warnings.warn(f"{filepath}: the model is not compiled: {error}", stacklevel=4)
        return
    if "optimizer_weights" in root:
        variables = model.optimizer.variables
        failed = _give(
            model.optimizer, "optimizer_weights", variables, _arrays(root, "optimizer_weights")
        )
        if failed:
            warnings.warn(f"{filepath}: the optimizer begins anew: {failed[2]}", stacklevel=4)


# Configs of Keras 2
# --------------------------------------------------------------------------------------------------

GONE = {
    "time_major",
    "implementation",
    "input_length",
    "virtual_batch_size",
    "fused",
    "ragged_rank",
}
GONE |= {"is_legacy_optimizer", "experimental_run_tf_function"}
OPTIMIZERS = {"decay": None, "lr": "learning_rate", "jit_compile": None}
RENAMED = {"Policy": "DTypePolicy", "PolicyV1": "DTypePolicy", "Model": "Functional"}


def modern(config):
    """A config of Keras 2, or of a `.h5` file of Keras 3, in the form of Keras 3."""
    if isinstance(config, list):
        return [modern(v) for v in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config or not isinstance(config.get("config"), dict):
        return {k: modern(v) for k, v in config.items()}
    name, inner = config["class_name"], dict(config["config"])
    if "layers" in inner and "input_layers" in inner:
        inner["layers"] = [_modern_row(row) for row in inner["layers"]]
        inner["input_layers"] = _single(inner["input_layers"])
        inner["output_layers"] = _single(inner["output_layers"])
        return {**config, "class_name": RENAMED.get(name, name), "config": inner}
    if name == "Lambda" and isinstance(inner.get("function"), list):
        inner["function"] = {"class_name": "__lambda__", "config": {"value": inner["function"]}}
    if name == "MeanMetricWrapper":
        return inner.get("fn", inner.get("name"))
    if name == "InputLayer" and "batch_input_shape" in inner:
        inner["batch_shape"] = inner.pop("batch_input_shape")
    if isinstance(inner.get("axis"), list) and len(inner["axis"]) == 1 and "Normalization" in name:
        inner["axis"] = inner["axis"][0]
    if inner.get("groups") == 1 and (
        "Depthwise" in name or "Transpose" in name or "Separable" in name
    ):
        del inner["groups"]
    if inner.get("reduction") == "auto":
        inner["reduction"] = "sum_over_batch_size"
    if "beta_1" in inner or "momentum" in inner or "rho" in inner or "lr" in inner:
        for old, new in OPTIMIZERS.items():
            if old in inner:
                value = inner.pop(old)
                inner |= {new: value} if new else {}
    inner = {k: modern(v) for k, v in inner.items() if k not in GONE}
    return {**config, "class_name": RENAMED.get(name, name), "config": inner}


def _modern_row(row):
    """A layer of a functional model, with its calls."""
    from oneiros.models.op_names import function_of

    if not isinstance(row, dict) or not isinstance(row.get("inbound_nodes", []), list):
        raise ValueError("a layer of the model's config is not an object with calls")
    nodes = [n if isinstance(n, dict) else _modern_node(n) for n in row.get("inbound_nodes", [])]
    name = row.get("class_name")
    if "module" not in row and isinstance(name, str) and not hasattr(layers, name):
        if function_of(name) is not None:  # an op, of which these files do not say so
            row = {**row, "module": "keras.src.ops"}
    return {**modern(row), "inbound_nodes": nodes}


def _modern_node(node):
    """A call as Keras 2 wrote it: a list of [layer, node, tensor, keywords]."""
    if node and isinstance(node[0], str):
        node = [node]
    try:
        tensors = [_tensor(place) for place in node]
        kwargs = {
            k: _keyword(v)
            for place in node
            for k, v in (place[3] if len(place) > 3 else {}).items()
        }
    except (TypeError, ValueError, IndexError, AttributeError):
        raise ValueError(f"a call in the model's config cannot be read: {node!r:.80}") from None
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": kwargs}


def _tensor(place):
    name, node, tensor = place[:3]
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, node, tensor]}}


def _keyword(value):
    if isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str):
        return value[2] if value[0] == "_CONSTANT_VALUE" else _tensor(value)
    return modern(value)


def _single(places):
    """`[[name, node, tensor]]` as one place."""
    return (
        places[0]
        if isinstance(places, list) and len(places) == 1 and isinstance(places[0], list)
        else places
    )


# Writing
# --------------------------------------------------------------------------------------------------


def save_legacy(model, filepath, include_optimizer=True):
    """Write `model` to a `.h5` file, as Keras 3 does."""
    from oneiros.core import config
    from oneiros.saving.archive import KERAS_VERSION

    described = _plain(serialize_keras_object(model))
    about = {"backend": config.backend(), "keras_version": KERAS_VERSION}
    root = hdf5_writer.Node({**about, "model_config": json.dumps(described)})
    group = root.at("model_weights")
    group.attrs = {**about, "layer_names": [y.name for y in model.layers]}
    for layer in model.layers:
        _put(group.at(layer.name), _weights(layer))
    _put(group.at("top_level_model_weights"), model._own_variables())
    optimizer = getattr(model, "optimizer", None)
    if getattr(model, "compiled", False) and include_optimizer and optimizer is not None:
        training = dict(model.get_compile_config())
        training["optimizer_config"] = _plain(training.pop("optimizer"))
        root.attrs["training_config"] = json.dumps(training)
        if optimizer.built:
            _put(root.at("optimizer_weights"), optimizer.variables)
    with replacing(filepath) as file:
        hdf5_writer.write(file, root)


def _put(group, variables):
    names = []
    for v in variables:
        name, n = v.path, 0
        while name in names:
            n += 1
            name = f"{v.path}_{n}"
        names.append(name)
        folder, _, last = name.rpartition("/")
        group.at(folder)[last] = v.numpy()
    group.attrs["weight_names"] = names or np.zeros(0)


LEGACY_NAMES = {name: own for own, name in READ_AS.items()}


def _plain(config):
    """A config of Keras 3 without what `.h5` files leave out: modules, shapes, compilation."""
    if isinstance(config, list):
        return [_plain(v) for v in config]
    if not isinstance(config, dict) or "class_name" not in config:
        return config
    module = config.get("module") or ""
    kept = {
        k: v for k, v in config.items() if k in ("class_name", "config", "name", "inbound_nodes")
    }
    registered = config.get("registered_name")
    kept["class_name"] = LEGACY_NAMES.get(kept["class_name"], kept["class_name"])
    if registered and ">" in registered:
        kept["class_name"] = registered
    elif module.startswith("keras.src.ops"):
        kept["module"] = module
    inner = config.get("config")
    if isinstance(inner, dict) and isinstance(inner.get("layers"), list):
        kept["config"] = {**inner, "layers": _plain(inner["layers"])}
    return kept
