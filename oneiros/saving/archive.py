"""`.keras` files: a zip of the architecture, the weights and what layers keep beside them.

A zip is read in memory, member by member under names known beforehand; nothing is unpacked to a
path that the file chooses, and no member unfolds to more than it may.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import stat
import tempfile
import zipfile
import zlib

from oneiros.core.registry import object_sharing, serialize_keras_object
from oneiros.core.scopes import deferred_values
from oneiros.saving import hdf5, hdf5_writer
from oneiros.saving.legacy import model_of, modern
from oneiros.saving.stores import budget_of, find_in, node_of, replacing
from oneiros.saving.weights import load_state, own_state, walk

__all__ = ["load_archive", "load_archive_weights", "opened_archive", "save_archive"]

METADATA, CONFIG, WEIGHTS, ASSETS = "metadata.json", "config.json", "model.weights.h5", "assets/"
KERAS_VERSION = "3.15.1"  # whose format this is
CONFIG_LIMIT = 1 << 28  # bytes of JSON
METADATA_LIMIT = 1 << 20
ASSETS_LIMIT = 1 << 32  # bytes of all assets together


# Writing
# --------------------------------------------------------------------------------------------------


def save_archive(model, filepath, zipped=True, include_optimizer=True):
    """Write `model` to a `.keras` file, or to a folder of the same members."""
    config, metadata = _described(model)
    skip = [] if include_optimizer else [model.optimizer]
    if not include_optimizer:
        config["compile_config"] = {}
    states, assets = [], {}
    with (
        tempfile.TemporaryDirectory() if _any_assets(model) else contextlib.nullcontext() as folder
    ):
        for path, item in walk(model):
            if any(item is s for s in skip):
                continue
            states.append((path, own_state(item)))
            if folder is not None and _has(item, "save_assets"):
                _gather(item, path, folder, assets)
        root = node_of(states)
        members = {METADATA: metadata, CONFIG: json.dumps(config)}
        if zipped:
            with replacing(filepath) as file:
                _write_zip(file, members, root, assets)
        else:
            _write_folder(filepath, members, root, assets)


def _described(model):
    with object_sharing():
        config = serialize_keras_object(model)
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    return config, json.dumps({"keras_version": KERAS_VERSION, "date_saved": now})


def _has(item, method):
    """Whether the class of `item` defines one of the methods for assets itself."""
    found = getattr(type(item), method, None)
    return found is not None and not getattr(found, "__module__", "").endswith("layers.base")


def _any_assets(model):
    return any(_has(item, "save_assets") for _, item in walk(model))


def _gather(item, path, folder, assets):
    """Let `item` write its assets, and note their paths by member name."""
    own = os.path.join(folder, *filter(None, path.split("/")))
    os.makedirs(own, exist_ok=True)
    item.save_assets(own)
    for place, _, files in os.walk(own):
        for full in (os.path.join(place, name) for name in files):
            assets[ASSETS + os.path.relpath(full, folder).replace(os.sep, "/")] = full


def _write_zip(file, members, root, assets):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
        with archive.open(WEIGHTS, "w", force_zip64=True) as member:
            hdf5_writer.write(member, root)
        for name, path in assets.items():
            archive.write(path, name)


def _write_folder(folder, members, root, assets):
    os.makedirs(folder, exist_ok=True)
    for name, text in members.items():
        with replacing(os.path.join(folder, name)) as file:
            file.write(text.encode())
    with replacing(os.path.join(folder, WEIGHTS)) as file:
        hdf5_writer.write(file, root)
    for name, path in assets.items():
        target = os.path.join(folder, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)


# Reading
# --------------------------------------------------------------------------------------------------


def load_archive(filepath, custom_objects=None, compile=True, safe_mode=True):
    """The model in a `.keras` file or folder."""
    with opened_archive(filepath) as members:
        config = _json(members, CONFIG, CONFIG_LIMIT, filepath)
        if _is_of_keras_2(members, filepath):
            config = modern(config)
        if not compile and isinstance(config, dict):
            config.pop("compile_config", None)
        with deferred_values(members.size + (1 << 30)), object_sharing():
            model = model_of(config, filepath, custom_objects, safe_mode)
            _load_weights(model, members, filepath)
    return model


def load_archive_weights(model, filepath, skip_mismatch=False, skip=()):
    """Give `model` the weights in a `.keras` file or folder."""
    with opened_archive(filepath) as members:
        _load_weights(model, members, filepath, skip_mismatch, skip)


def _load_weights(model, members, filepath, skip_mismatch=False, skip=()):
    if WEIGHTS not in members:
        if members.has_other_weights():
            raise ValueError(
                f"{filepath} has its weights in another form than {WEIGHTS}; only that is read"
            )
        raise ValueError(f"{filepath} lacks the member '{WEIGHTS}'")
    budget = budget_of(model)
    with members.source(WEIGHTS, budget) as source:
        try:
            find = find_in(hdf5.read(source, budget + source.size))
        except hdf5.Broken as error:
            raise ValueError(f"{filepath}: its member '{WEIGHTS}' is broken: {error}") from error
        load_state(model, find, filepath, skip_mismatch, skip, members.load_assets)


def _json(members, name, limit, filepath):
    if name not in members:
        raise ValueError(f"{filepath} lacks the member '{name}'")
    text = members.read(name, limit)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{filepath}: its {name} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{filepath}: its {name} is not valid JSON: {error}") from None


def _is_of_keras_2(members, filepath):
    if METADATA not in members:
        return False
    metadata = _json(members, METADATA, METADATA_LIMIT, filepath)
    return isinstance(metadata, dict) and str(metadata.get("keras_version", "")).startswith("2.")


@contextlib.contextmanager
def opened_archive(filepath):
    """The members of a `.keras` file (its name, or the open file) or folder."""
    opened = hasattr(filepath, "read")
    if not opened and os.path.isdir(filepath):
        yield _Folder(filepath)
        return
    if not opened and not os.path.isfile(filepath):
        raise ValueError(f"there is no file {filepath}")
    with contextlib.nullcontext(filepath) if opened else open(filepath, "rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, *ZIP_FAILURES) as error:
            raise ValueError(f"{filepath} is not a zip file, or is cut off: {error}") from None
        yield _Zip(archive, file, filepath)


ZIP_FAILURES = (NotImplementedError, RuntimeError, OverflowError, EOFError, UnicodeError, KeyError)
ZIP_FAILURES += (ValueError, IndexError, zlib.error)
UNSAFE = re.compile(r"^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|\\|\0")


class _Zip:
    """The members of a zip, by name."""

    def __init__(self, archive, file, filepath):
        self.archive, self.file, self.filepath, self.members = archive, file, filepath, {}
        self.size = file.seek(0, os.SEEK_END)
        self.assets_left = ASSETS_LIMIT
        for info in archive.infolist():
            name = info.orig_filename
            if UNSAFE.search(name) or UNSAFE.search(info.filename):
                raise ValueError(f"{filepath} has a member with the unsafe name {name!r}")
            if stat.S_ISLNK(info.external_attr >> 16):
                raise ValueError(f"{filepath} has a link as the member {name!r}, which is refused")
            if name in self.members:
                raise ValueError(f"{filepath} has two members called {name!r}")
            self.members[name] = info

    def __contains__(self, name):
        return name in self.members

    def has_other_weights(self):
        return any("weights" in name for name in self.members)

    def read(self, name, limit):
        """The bytes of a member, at most `limit` of them."""
        info = self.members[name]
        if info.file_size > limit:
            raise ValueError(
                f"{self.filepath}: its member '{name}' unfolds to {info.file_size} bytes, over the "
                f"limit of {limit}"
            )
        try:
            with self.archive.open(info) as member:
                data = member.read(limit + 1)
                rest = member.read(1) if len(data) == info.file_size else b""
        except (zipfile.BadZipFile, OSError, *ZIP_FAILURES) as error:
            raise ValueError(f"{self.filepath}: its member '{name}' is broken: {error}") from None
        if len(data) != info.file_size or rest:
            raise ValueError(f"{self.filepath}: its member '{name}' is not as long as the zip says")
        return data

    @contextlib.contextmanager
    def source(self, name, budget):
        """A member as something that `hdf5` reads: a window on the zip if it is stored plainly."""
        info = self.members[name]
        if info.compress_type == zipfile.ZIP_STORED and info.file_size > SMALL:
            start = self._start(info)
            if start + info.file_size > self.size:
                raise ValueError(f"{self.filepath}: its member '{name}' is cut off")
            yield hdf5.FileWindow(self.file, start, info.file_size)
        else:
            yield hdf5.Bytes(self.read(name, max(budget, SMALL)))

    def _start(self, info):
        """Where a member's bytes begin: after its local header."""
        self.file.seek(info.header_offset)
        head = self.file.read(30)
        if len(head) < 30 or head[:4] != b"PK\3\4":
            raise ValueError(f"{self.filepath}: its member '{info.filename}' is broken")
        return (
            info.header_offset
            + 30
            + int.from_bytes(head[26:28], "little")
            + int.from_bytes(head[28:30], "little")
        )

    def load_assets(self, path, item):
        """Let `item` read its assets from a folder of its own."""
        if not _has(item, "load_assets"):
            return
        prefix = ASSETS + path + "/" * bool(path)
        names = [n for n in self.members if n.startswith(prefix) and not n.endswith("/")]
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                data = self.read(name, self.assets_left)
                self.assets_left -= len(data)
                target = os.path.join(folder, *name[len(prefix) :].split("/"))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(data)
            item.load_assets(folder)


SMALL = 1 << 24  # up to this size a member is read at once


class _Folder:
    """The members of a folder, as of a zip that was unpacked."""

    def __init__(self, path):
        self.path = path
        self.size = 0

    def __contains__(self, name):
        return os.path.isfile(os.path.join(self.path, name))

    def has_other_weights(self):
        return False

    def read(self, name, limit):
        with open(os.path.join(self.path, name), "rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise ValueError(f"{self.path}: its member '{name}' is larger than {limit} bytes")
        return data

    @contextlib.contextmanager
    def source(self, name, budget):
        with open(os.path.join(self.path, name), "rb") as file:
            yield hdf5.FileWindow(file)

    def load_assets(self, path, item):
        if _has(item, "load_assets"):
            item.load_assets(os.path.join(self.path, ASSETS, *filter(None, path.split("/"))))
