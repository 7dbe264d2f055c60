"""`.safetensors` files: the variables of a model under their paths, without its architecture.

A file is eight bytes of length, a JSON header (name to dtype, shape and place), then the arrays.
"""

from __future__ import annotations

import json
import math
import os
import struct

import numpy as np

from oneiros.core.dtypes import np_dtype
from oneiros.saving.stores import replacing
from oneiros.saving.weights import report

__all__ = ["load", "save"]

HEADER_LIMIT = 1 << 27
NAMES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
CODES = {name: code for code, name in NAMES.items()}


def save(model, filepath):
    """Write the weights of `model` under their paths."""
    header, arrays, at = {"__metadata__": {"format": "keras"}}, [], 0
    for name, v in _named(model).items():
        array = np.ascontiguousarray(v.numpy())
        if v.dtype not in CODES:
            raise ValueError(
                f"variable '{name}' has the dtype {v.dtype}, which safetensors do not hold"
            )
        end = at + array.nbytes
        header[name] = {"dtype": CODES[v.dtype], "shape": list(v.shape), "data_offsets": [at, end]}
        arrays.append(array)
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(filepath) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array in arrays:
            file.write(memoryview(array.reshape(-1).view(np.uint8)))


def load(model, filepath, skip_mismatch=False, skip=()):
    """Give the weights of `model` the arrays that stand under their paths."""
    failed = []
    skipped = {id(v) for layer in skip for v in layer.variables}
    with open(filepath, "rb") as file:
        header, start = _header(file, filepath)
        for name, v in _named(model).items():
            if id(v) in skipped:
                continue
            row = header.get(name)
            if row is None:
                failed.append((name, v, "the file has no array of this name"))
            elif tuple(row["shape"]) != v.shape:
                failed.append(
                    (name, v, f"it has the shape {v.shape}; the file has {tuple(row['shape'])}")
                )
            else:
                array = np.empty(v.shape, np_dtype(NAMES[row["dtype"]]))
                file.seek(start + row["data_offsets"][0])
                file.readinto(memoryview(array.reshape(-1).view(np.uint8)))
                v.assign(array)
    if failed:
        report(failed, filepath, skip_mismatch)


def _named(model):
    """The weights by path; what has a path that is taken gets a number."""
    named = {}
    for v in model.weights:
        name, n = v.path, 0
        while name in named:
            n += 1
            name = f"{v.path}_{n}"
        named[name] = v
    return named


def _header(file, filepath):
    """The checked header, and where the arrays begin."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else HEADER_LIMIT + 1
    if length > min(HEADER_LIMIT, size - 8):
        raise ValueError(f"{filepath} is not a safetensors file, or is cut off")
    try:
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, row in header.items():
            begin, end = row["data_offsets"]
            count = math.prod(row["shape"])
            if any(type(n) is not int or n < 0 for n in (begin, end, *row["shape"])):
                raise ValueError(f"'{name}' has sizes that are none")
            if (
                end - begin != count * np_dtype(NAMES[row["dtype"]]).itemsize
                or 8 + length + end > size
            ):
                raise ValueError(f"'{name}' does not have the bytes that its shape needs")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{filepath} is broken: {error!r}") from None
    return header, 8 + length
