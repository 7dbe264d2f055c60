"""Where the files are, and how arrays are read from them without trusting them."""

from __future__ import annotations

import gzip
import json
import math
import pickle
import re
import zipfile

import numpy as np

from oneiros.utils.files import get_file

__all__ = ["fetched", "load_npz", "load_pickle", "read_idx"]

KERAS = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
TORONTO = "https://www.cs.toronto.edu/~kriz/"
LIMIT = 1 << 32  # bytes of all arrays in one file

# File: the URL that it is under, and its hash.
FILES = {
    "boston_housing.npz": (
        KERAS,
        "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
    ),
    "california_housing.npz": (
        KERAS,
        "1a2e3a52e0398de6463aebe6f4a8da34fb21fbb6b934cf88c3425e766f2a1a6f",
    ),
    "cifar-10-python.tar.gz": (
        TORONTO,
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar-100-python.tar.gz": (
        TORONTO,
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    "imdb.npz": (KERAS, "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"),
    "imdb_word_index.json": (KERAS, "bfafd718b763782e994055a2d397834f"),
    "mnist.npz": (KERAS, "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"),
    "reuters.npz": (KERAS, "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916"),
    "reuters_word_index.json": (KERAS, "4d44cc38712099c9e383dc6e5f11a921"),
    "train-labels-idx1-ubyte.gz": (KERAS, None),
    "train-images-idx3-ubyte.gz": (KERAS, None),
    "t10k-labels-idx1-ubyte.gz": (KERAS, None),
    "t10k-images-idx3-ubyte.gz": (KERAS, None),
}


def fetched(name, path=None, **kwargs):
    """The path of a file of the table in the cache, as `path` if that is given."""
    folder, file_hash = FILES[name]
    return get_file(path or name, origin=folder + name, file_hash=file_hash, **kwargs)


def load_json(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


# Arrays -------------------------------------------------------------------------------------------
def read_idx(path):
    """The array in an IDX file, gzipped or not.

    Raises:
        ValueError: if it is no such file, or not whole.
    """
    opener = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rb") as file:
        head = file.read(4)
        kinds = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
        if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in kinds or not 0 < head[3] < 8:
            raise ValueError(f"{path} is no IDX file")
        shape = np.frombuffer(file.read(4 * head[3]), ">i4").tolist()
        dtype = np.dtype(kinds[head[2]])
        size = math.prod(shape) * dtype.itemsize
        if len(shape) < head[3] or min(shape) < 0 or size > LIMIT:
            raise ValueError(f"{path} is said to hold an array of shape {tuple(shape)}")
        data = file.read(size)
    if len(data) < size:
        raise ValueError(f"{path} is cut off: {len(data):,} of {size:,} bytes")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="))


def load_npz(path):
    """The arrays in a `.npz` file by name; those of objects may hold lists and numbers only.

    Raises:
        ValueError: if it is no such file, or holds anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > LIMIT:
                raise ValueError(f"{path} unfolds to more than {LIMIT:,} bytes")
            made = {}
            for name in archive.namelist():
                with archive.open(name) as file:
                    made[name.removesuffix(".npy")] = _read_npy(file)
            return made
    except (zipfile.BadZipFile, EOFError, pickle.UnpicklingError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def _read_npy(file):
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        array = _Unpickler(file).load()
        if not isinstance(array, np.ndarray):
            raise pickle.UnpicklingError("an array of objects holds none")
        return np.asarray(array).reshape(shape)
    size = math.prod(shape) * dtype.itemsize
    data = file.read(size)
    if len(data) < size:
        raise EOFError("an array is cut off")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C").copy()


# Pickles ------------------------------------------------------------------------------------------
def load_pickle(path):
    """What a pickle holds if that is arrays, numbers, texts, and lists and dicts of them.

    Texts of Python 2 are bytes.

    Raises:
        ValueError: if it holds anything else, or is broken.
    """
    with open(path, "rb") as file:
        try:
            return _Unpickler(file).load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        except (AttributeError, IndexError, OverflowError, MemoryError) as error:
            raise ValueError(f"{path} is broken: {error}") from None


class _Unpickler(pickle.Unpickler):
    """Knows arrays, by stand-ins that look at what they are given, and nothing else."""

    def __init__(self, file):
        super().__init__(file, encoding="bytes")

    def find_class(self, module, name):
        known = KNOWN.get((module.replace("numpy._core", "numpy.core"), name))
        if known is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which data do not need")
        return known

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it refers to what is outside of it")


class _DType:
    """The dtype of an array."""

    def __init__(self, code, *ignored):
        code = code.decode() if isinstance(code, bytes) else code
        if not re.fullmatch(r"[biufOSU]\d*", code):
            raise pickle.UnpicklingError(f"the dtype {code!r} is not one of data")
        self.code, self.order = code, "="

    def __setstate__(self, state):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.order = order if order in ("<", ">") else "="

    def dtype(self):
        return np.dtype(self.code).newbyteorder(self.order)


class _Array(np.ndarray):
    """An array; its state must fit together."""

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType):
            raise pickle.UnpicklingError("an array has no dtype")
        dtype, size = dtype.dtype(), math.prod(shape)
        if dtype.hasobject != isinstance(data, list) or size * dtype.itemsize > LIMIT:
            raise pickle.UnpicklingError("an array's parts do not fit together")
        if len(data) != (size if dtype.hasobject else size * dtype.itemsize):
            raise pickle.UnpicklingError(f"an array of shape {shape} has {len(data)} parts")
        super().__setstate__((1, tuple(shape), dtype, bool(fortran), data))


def _blank(kind, shape, code):
    if kind is not _Array:
        raise pickle.UnpicklingError("it makes an array of another kind")
    return _Array((0,), "b")


def _encoded(text, encoding="latin1"):
    if encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError(f"bytes are written as {encoding}")
    return text.encode("latin1")


def _scalar(dtype, data):
    if not isinstance(dtype, _DType) or dtype.dtype().hasobject:
        raise pickle.UnpicklingError("a number has no dtype")
    return np.frombuffer(data, dtype.dtype(), 1)[0]


KNOWN = {
    ("numpy.core.multiarray", "_reconstruct"): _blank,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encoded,
}
