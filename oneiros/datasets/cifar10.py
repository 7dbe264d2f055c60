"""Small pictures of ten kinds of things: 50,000 and 10,000 of 32x32x3 (Krizhevsky, 2009)."""

import os

import numpy as np

from oneiros.core import config
from oneiros.datasets.sources import fetched, load_pickle

__all__ = ["load_data"]


def load_data():
    """The pictures as `(x_train, y_train), (x_test, y_test)`, all uint8; labels are (n, 1).

    The channels are where the session's setting has them.
    """
    folder = fetched("cifar-10-python.tar.gz", "cifar-10-batches-py-target", extract=True)
    folder = os.path.join(folder, "cifar-10-batches-py")
    train = [_batch(os.path.join(folder, f"data_batch_{i}"), b"labels") for i in range(1, 6)]
    x, y = (np.concatenate(parts) for parts in zip(*train))
    return (x, y), _batch(os.path.join(folder, "test_batch"), b"labels")


def _batch(path, key, dtype="uint8"):
    """The pictures and the labels in one file."""
    content = load_pickle(path)
    if not isinstance(content, dict) or not {b"data", key} <= content.keys():
        raise ValueError(f"{path} is no batch of CIFAR: it has no b'data' or no {key}")
    x = np.asarray(content[b"data"], "uint8").reshape(-1, 3, 32, 32)
    if config.image_data_format() == "channels_last":
        x = x.transpose(0, 2, 3, 1)
    return x, np.asarray(content[key], dtype).reshape(-1, 1)
