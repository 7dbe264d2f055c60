"""Where weights are kept: one HDF5 file, or several of bounded size with an index."""

from __future__ import annotations

import contextlib
import json
import os
import secrets

from oneiros.core.dtypes import np_dtype
from oneiros.saving import hdf5, hdf5_writer
from oneiros.saving.weights import Entry, load_state, save_state

__all__ = [
    "budget_of",
    "find_in",
    "load_h5",
    "load_shards",
    "node_of",
    "replacing",
    "save_h5",
    "save_shards",
]

SLACK = 1 << 26  # bytes that files may hold beside the model's own variables


@contextlib.contextmanager
def replacing(path):
    """A new binary file that takes the place of `path` when all went well, and not before.

    An open file is written to as it is.
    """
    if hasattr(path, "write"):
        yield path
        return
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):  # a device or a pipe stays what it is
        with open(target, "wb") as file:
            yield file
        return
    folder, name = os.path.split(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"there is no folder {folder} for {path}")
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def node_of(states):
    """The HDF5 tree of pairs (path, `Entry`)."""
    root = hdf5_writer.Node()
    for path, entry in states:
        node = root.at(f"{path}/vars")
        node.attrs.update(entry.attrs)
        node.update(entry.arrays)
    return root


def find_in(root):
    """A function from paths to the `Entry`s in an HDF5 file; empty ones where it has none."""

    old = "_layer_checkpoint_dependencies" in root

    def find(path):
        place = f"{path}/vars"
        if old:  # what Keras 2.12 to 2.15 called the layers of a model
            place = f"/{place}".replace("/layers/", "/_layer_checkpoint_dependencies/")
        found = root.get(place)
        return Entry(found if isinstance(found, hdf5.Group) else None)

    return find


def budget_of(model):
    """The most bytes that a file for `model` may unfold to: twice its variables', and some."""
    owners = (model, getattr(model, "optimizer", None))
    variables = [v for owner in owners for v in getattr(owner, "variables", ())]
    return 2 * sum(v.size * np_dtype(v.dtype).itemsize for v in variables) + SLACK


def save_h5(model, filepath):
    """Write the weights of `model` to a `.weights.h5` file."""
    root = node_of(save_state(model))
    with replacing(filepath) as file:
        hdf5_writer.write(file, root)


def load_h5(model, filepath, skip_mismatch=False, skip=()):
    """Give `model` the weights in a `.weights.h5` file."""
    with opened(filepath, budget_of(model)) as root:
        load_state(model, find_in(root), filepath, skip_mismatch, skip)


@contextlib.contextmanager
def opened(filepath, budget):
    """The root group of an HDF5 file; what is found broken inside is told of by the file's name."""
    with open(filepath, "rb") as file:
        try:
            window = hdf5.FileWindow(file)
            if window.size <= SMALL:
                window = hdf5.Bytes(file.read())
            yield hdf5.read(window, budget + window.size)
        except hdf5.Broken as error:
            raise ValueError(f"{filepath} is broken: {error}") from error


SMALL = 1 << 24  # up to this size a file is read at once


# Shards
# --------------------------------------------------------------------------------------------------


def save_shards(model, filepath, max_shard_size):
    """Write the weights to files of at most `max_shard_size` GB each, and an index of them.

    `filepath` ends in `.weights.json`; the shards stand beside it: `NAME_00000.weights.h5`, ….

    Raises:
        ValueError: if an array is larger than that.
    """
    stem = os.path.basename(filepath).removesuffix(".weights.json")
    limit, shards, places, total = int(max_shard_size * 1024**3), [hdf5_writer.Node()], {}, 0
    room = limit
    for path, entry in save_state(model):
        where = places.setdefault(f"/{path}/vars" if path else "/vars", [])
        node = shards[-1].at(f"{path}/vars")
        node.attrs.update(entry.attrs)
        for key, array in entry.arrays.items():
            if array.nbytes > limit:
                raise ValueError(
                    f"max_shard_size is {limit} bytes; '{path}/{key}' alone takes {array.nbytes}"
                )
            if array.nbytes > room:
                shards.append(hdf5_writer.Node())
                room = limit
            shards[-1].at(f"{path}/vars")[key] = array
            room -= array.nbytes
            total += array.nbytes
            name = f"{stem}_{len(shards) - 1:05d}.weights.h5"
            if name not in where:
                where.append(name)
    folder = os.path.dirname(os.path.realpath(filepath))
    for number, shard in enumerate(shards):
        with replacing(os.path.join(folder, f"{stem}_{number:05d}.weights.h5")) as file:
            hdf5_writer.write(file, shard)
    index = {
        "metadata": {"total_size": float(total)},
        "weight_map": {k: v for k, v in places.items() if v},
    }
    with replacing(filepath) as file:
        file.write(json.dumps(index, indent=4).encode())


def load_shards(model, filepath, skip_mismatch=False, skip=()):
    """Give `model` the weights in the files beside the index `filepath` that it lists."""
    with open(filepath, "rb") as file:
        try:
            places = json.loads(file.read(1 << 28))["weight_map"]
            listed = {
                path: [names] if isinstance(names, str) else list(names)
                for path, names in places.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{filepath} is not an index of weights: {error!r}") from None
    folder = os.path.dirname(os.path.realpath(filepath))
    budget = budget_of(model)
    with contextlib.ExitStack() as stack:
        roots = {}
        for name in {n for names in listed.values() for n in names}:
            if (
                not isinstance(name, str)
                or os.path.basename(name) != name
                or not name.endswith(".weights.h5")
            ):
                raise ValueError(
                    f"{filepath} lists {name!r}; expected the name of a .weights.h5 file beside it"
                )
            path = os.path.join(folder, name)
            if not os.path.isfile(path):
                raise ValueError(f"{filepath} lists {name!r}, which does not exist")
            roots[name] = stack.enter_context(opened(path, budget))

        def find(path):
            place = f"/{path}/vars" if path else "/vars"
            groups = [roots[n].get(place) for n in listed.get(place, ())]
            return _Joined([g for g in groups if isinstance(g, hdf5.Group)])

        load_state(model, find, filepath, skip_mismatch, skip)


class _Joined(Entry):
    """An entry whose arrays are spread over the same group of several files."""

    def __init__(self, groups):
        super().__init__()
        self.groups = {key: g for g in groups for key in g}

    def __getitem__(self, key):
        return Entry(self.groups[str(key)])[key]

    def __iter__(self):
        return iter(self.groups)

    def __len__(self):
        return len(self.groups)
