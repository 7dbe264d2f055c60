"""Looking into a weights file, and changing it: objects and arrays are renamed, added, removed."""

from __future__ import annotations

import json
import os

import numpy as np

from oneiros.saving import hdf5, hdf5_writer
from oneiros.saving.archive import METADATA, WEIGHTS, opened_archive
from oneiros.saving.stores import SLACK, opened, replacing
from oneiros.saving.weights import save_state

__all__ = ["KerasFileEditor"]

LIMIT = 1 << 36  # bytes: who edits a file reads all of it


class KerasFileEditor:
    """The weights in a `.keras` or `.weights.h5` file, to be looked at and changed.

    Objects are named by their last name (`"dense_1"`, wherever it stands) or by their path
    (`"layers/dense_1"`). Changes are kept by `save`, in a new file or over the old one.

    Args:
        filepath: The file.

    Raises:
        ValueError: if it is neither, or broken.
    """

    def __init__(self, filepath):
        self.filepath, self.metadata = os.fspath(filepath), None
        if self.filepath.endswith(".weights.h5"):
            with opened(self.filepath, SLACK) as root:
                self.weights_dict = _tree(root)
        elif self.filepath.endswith(".keras"):
            with opened_archive(self.filepath) as members:
                if METADATA in members:
                    self.metadata = json.loads(members.read(METADATA, SLACK))
                with members.source(WEIGHTS, LIMIT) as source:
                    self.weights_dict = _tree(hdf5.read(source, source.size + SLACK))
        else:
            raise ValueError(f"the file must end in .keras or .weights.h5; got {self.filepath}")
        about = self.metadata or {}
        print(f"Keras model file '{self.filepath}'")
        if about:
            print(f"saved with Keras {about.get('keras_version')} on {about.get('date_saved')}")

    def summary(self):
        """Print the objects and their arrays as a tree."""
        print("Weights")
        for line in _lines(self.weights_dict, "  "):
            print(line)

    def compare(self, reference_model):
        """Print how the file differs from a model's weights, and give the counts as a dict."""
        wanted = {path: entry.arrays for path, entry in save_state(reference_model)}
        stored = dict(_objects(self.weights_dict))
        errors = matches = 0
        for path in sorted({*wanted, *stored}):
            ours, theirs = wanted.get(path, {}), stored.get(path, {})
            for key in sorted({*ours, *theirs}):
                shapes = [None if key not in a else np.shape(a[key]) for a in (ours, theirs)]
                if shapes[0] == shapes[1]:
                    matches += 1
                    continue
                errors += 1
                shown = ["absent" if s is None else f"shape {s}" for s in shapes]
                print(f"{path}/{key}: in the model {shown[0]}, in the file {shown[1]}")
        print(f"{matches} arrays match, {errors} do not")
        status = "error" if errors else "success"
        return {"status": status, "error_count": errors, "match_count": matches}

    def rename_object(self, object_name, new_name):
        """Give the objects called `object_name` the name `new_name`."""
        for parent, name in self._found(object_name):
            items = [(new_name if k == name else k, v) for k, v in parent.items()]
            parent.clear()
            parent.update(items)

    def delete_object(self, object_name):
        """Take out the objects called `object_name`."""
        for parent, name in self._found(object_name):
            del parent[name]

    def add_object(self, object_path, weights):
        """Put in an object at a path whose parent exists, with a dict of arrays."""
        parent, _, name = object_path.strip("/").rpartition("/")
        node = self.weights_dict
        for part in filter(None, parent.split("/")):
            node = node.get(part) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            raise ValueError(f"there is no object '{parent}' in the file")
        node[name] = _checked(weights)

    def add_weights(self, object_name, weights):
        """Put a dict of arrays into the objects called `object_name`."""
        for parent, name in self._found(object_name):
            parent[name].update(_checked(weights))

    def delete_weight(self, object_name, weight_name):
        """Take one array out of the objects called `object_name`."""
        for parent, name in self._found(object_name):
            if weight_name not in parent[name]:
                raise ValueError(f"the object '{object_name}' has no array '{weight_name}'")
            del parent[name][weight_name]

    def save(self, filepath):
        """Write the weights to a `.weights.h5` file."""
        filepath = os.fspath(filepath)
        if not filepath.endswith(".weights.h5"):
            raise ValueError(f"the file must end in .weights.h5; got {filepath}")
        root = hdf5_writer.Node()
        for path, arrays in _objects(self.weights_dict):
            root.at(f"{path}/vars").update(arrays)
        with replacing(filepath) as file:
            hdf5_writer.write(file, root)

    def resave_weights(self, filepath):
        """Write the weights to a `.weights.h5` file."""
        self.save(filepath)

    def _found(self, name):
        """Pairs (parent, name) of the objects that `name` means."""
        places = list(_places(self.weights_dict, ""))
        found = [(p, n) for p, n, path in places if path == name.strip("/") or n == name]
        if not found:
            raise ValueError(f"there is no object '{name}' in the file; `summary()` lists them")
        return found


def _tree(group):
    """Nested dicts of the objects below a group; an object's arrays stand beside its parts."""
    tree = {}
    for name in group:
        child = group[name]
        if isinstance(child, hdf5.Dataset):
            tree[name] = child.read()
        elif name == "vars":
            tree.update(_tree(child))
        elif made := _tree(child):
            tree[name] = made
    return tree


def _objects(tree, path=""):
    """Pairs (path, arrays) of the objects that have arrays."""
    arrays = {k: v for k, v in tree.items() if not isinstance(v, dict)}
    if arrays:
        yield path, arrays
    for name, child in tree.items():
        if isinstance(child, dict):
            yield from _objects(child, f"{path}/{name}".lstrip("/"))


def _places(tree, path):
    for name, child in list(tree.items()):
        if isinstance(child, dict):
            here = f"{path}/{name}".lstrip("/")
            yield tree, name, here
            yield from _places(child, here)


def _lines(tree, margin):
    for i, (name, child) in enumerate(tree.items()):
        last = i + 1 == len(tree)
        head = f"{margin}{'└─' if last else '├─'} {name}"
        if isinstance(child, dict):
            yield head
            yield from _lines(child, margin + ("   " if last else "│  "))
        else:
            yield f"{head}: shape={child.shape}, dtype={child.dtype}"


def _checked(weights):
    if not isinstance(weights, dict):
        raise ValueError(f"weights must be a dict of arrays by name; got {type(weights).__name__}")
    return {str(k): np.asarray(v) for k, v in weights.items()}
