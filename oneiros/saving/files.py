"""Saving and loading by file name: which format, and what is asked before a file is replaced."""

from __future__ import annotations

import os
import warnings

__all__ = ["load_model", "load_weights", "save_model", "save_weights"]

LEGACY = (".h5", ".hdf5")


def save_model(model, filepath, overwrite=True, zipped=None, **kwargs):
    """Write a model, its weights and its optimizer's state to a file.

    Args:
        filepath: Ends in `.keras`, or in `.h5` for the format of Keras 2.
        overwrite: Whether an existing file is replaced; if not, the user is asked.
        zipped: False writes a folder of the members in the place of a `.keras` file.
        kwargs: `include_optimizer=False` leaves out the optimizer.

    >>> import os, tempfile
    >>> import oneiros
    >>> model = oneiros.Sequential([oneiros.Input((4,)), oneiros.layers.Dense(2)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     oneiros.saving.save_model(model, os.path.join(folder, "model.keras"))
    ...     os.listdir(folder)
    ['model.keras']

    Raises:
        ValueError: for another ending, or an unknown argument.
    """
    opened = hasattr(filepath, "write")
    filepath = filepath if opened else os.fspath(filepath)
    include_optimizer = kwargs.pop("include_optimizer", True)
    if kwargs.pop("save_format", None) is not None:
        warnings.warn("`save_format` has no effect: the file's ending says it", stacklevel=2)
    if kwargs:
        raise ValueError(f"save_model has no arguments {sorted(kwargs)}")
    archive = opened or filepath.endswith(".keras")
    legacy = not opened and filepath.endswith(LEGACY)
    if archive and zipped is False:
        raise ValueError(
            f"with zipped=False the name is a folder's, without .keras; got {filepath}"
        )
    if not (archive or legacy or zipped is False):
        raise ValueError(
            f"a model's file must end in .keras (or .h5 for Keras 2's format); got {filepath}"
        )
    if not getattr(model, "built", True):
        warnings.warn(
            f"model '{model.name}' is not built yet, so its file may hold no weights",
            stacklevel=2,
        )
    if not opened and not may_write(filepath, overwrite):
        return
    if legacy:
        from oneiros.saving.legacy import save_legacy

        save_legacy(model, filepath, include_optimizer)
    else:
        from oneiros.saving.archive import save_archive

        save_archive(model, filepath, zipped=archive, include_optimizer=include_optimizer)


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """The model in a file, with its weights and its optimizer's state.

    A file is never trusted: what it names is looked up among the library's classes, the registered
    ones and `custom_objects`; code in it is refused, also with `safe_mode=False`.

    Args:
        filepath: A `.keras` file (its name, or the open file), a folder of the same members, or a
            legacy `.h5` file.
        custom_objects: Names to classes and functions that the model is made of.
        compile: Whether to compile it as it was when it was saved.

    Raises:
        ValueError: if the file is missing, broken or not of these formats; it names the file, the
            layer and what is wrong.
    """
    opened = hasattr(filepath, "read")
    filepath = filepath if opened else os.fspath(filepath)
    if opened or filepath.endswith(".keras") or os.path.isdir(filepath):
        from oneiros.saving.archive import load_archive

        return load_archive(filepath, custom_objects, compile, safe_mode)
    if filepath.endswith(LEGACY):
        from oneiros.saving.legacy import load_legacy

        return load_legacy(filepath, custom_objects, compile, safe_mode)
    raise ValueError(
        f"a model's file must end in .keras (or .h5 for Keras 2's format); got {filepath}"
    )


def save_weights(model, filepath, overwrite=True, max_shard_size=None, **kwargs):
    """Write the weights of a model or layer to a file.

    Args:
        filepath: Ends in `.weights.h5`; in `.weights.json` for the index of several files; or in
            `.safetensors` for the variables by their paths.
        overwrite: Whether an existing file is replaced; if not, the user is asked.
        max_shard_size: The most that one of several files holds, in GB.

    Raises:
        ValueError: for another ending, or if the model is not built.
    """
    filepath = os.fspath(filepath)
    if kwargs:
        raise ValueError(f"save_weights has no arguments {sorted(kwargs)}")
    if not getattr(model, "built", True):
        raise ValueError(
            f"'{model.name}' is not built yet, so it has no weights: call or build it first"
        )
    if max_shard_size is not None and filepath.endswith(".weights.h5"):
        filepath = filepath.removesuffix(".h5") + ".json"
    kinds = (
        (".weights.json",)
        if max_shard_size is not None
        else (".weights.h5", ".weights.json", ".safetensors")
    )
    if not filepath.endswith(kinds):
        raise ValueError(f"the name of the file must end in {' or '.join(kinds)}; got {filepath}")
    if not may_write(filepath, overwrite):
        return
    from oneiros.saving import safetensors, stores

    if filepath.endswith(".json"):
        stores.save_shards(model, filepath, 10 if max_shard_size is None else max_shard_size)
    elif filepath.endswith(".safetensors"):
        safetensors.save(model, filepath)
    else:
        stores.save_h5(model, filepath)


def load_weights(model, filepath, skip_mismatch=False, **kwargs):
    """Give a model or layer the weights in a file.

    Args:
        filepath: A `.weights.h5`, `.weights.json`, `.safetensors`, `.keras` or legacy `.h5` file.
        skip_mismatch: Whether what does not fit is left as it is, with a warning, not an error.
        kwargs: `objects_to_skip`, a list of layers to leave as they are; for legacy files
            `by_name`, whether layers are found by name rather than by order.

    Raises:
        ValueError: if the file is missing, broken or does not fit; it names the layers.
    """
    filepath = os.fspath(filepath)
    legacy = filepath.endswith(LEGACY) and not filepath.endswith(".weights.h5")
    skip = kwargs.pop("objects_to_skip", None) or ()
    by_name = kwargs.pop("by_name", False) if legacy else False
    if kwargs:
        raise ValueError(f"load_weights has no arguments {sorted(kwargs)} for {filepath}")
    if not getattr(model, "built", True):
        raise ValueError(
            f"'{model.name}' is not built yet, so it has no weights: call or build it first"
        )
    from oneiros.saving import archive, safetensors, stores
    from oneiros.saving import legacy as old

    if not os.path.exists(filepath) and filepath.endswith(KINDS):
        raise FileNotFoundError(f"there is no file {filepath}")
    if legacy or (filepath.endswith(".weights.h5") and old.is_legacy(filepath)):
        old.load_legacy_weights(model, filepath, by_name, skip_mismatch)
    elif filepath.endswith(".weights.h5"):
        stores.load_h5(model, filepath, skip_mismatch, skip)
    elif filepath.endswith(".weights.json"):
        stores.load_shards(model, filepath, skip_mismatch, skip)
    elif filepath.endswith(".safetensors"):
        safetensors.load(model, filepath, skip_mismatch, skip)
    elif filepath.endswith(".keras"):
        archive.load_archive_weights(model, filepath, skip_mismatch, skip)
    else:
        raise ValueError(
            f"weights are read from files that end in {', '.join(KINDS)}; got {filepath}"
        )


KINDS = (".weights.h5", ".weights.json", ".safetensors", ".keras", *LEGACY)


def may_write(filepath, overwrite):
    """Whether `filepath` may be written: the user is asked if it exists and may not be replaced."""
    if overwrite or not os.path.exists(filepath):
        return True
    return input(f"{filepath} exists already. Replace it? [y/n] ").strip().lower() in ("y", "yes")
