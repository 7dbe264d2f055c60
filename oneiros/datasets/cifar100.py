"""Small pictures of a hundred kinds of things: 50,000 and 10,000 of 32x32x3 (Krizhevsky, 2009)."""

import os

from oneiros.datasets.cifar10 import _batch
from oneiros.datasets.sources import fetched

__all__ = ["load_data"]


def load_data(label_mode="fine"):
    """The pictures as `(x_train, y_train), (x_test, y_test)`, as in `cifar10`; labels are int64.

    Args:
        label_mode: "fine" for the hundred classes, "coarse" for twenty groups of them.

    Raises:
        ValueError: if `label_mode` is anything else.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f'`label_mode` must be "fine" or "coarse"; got {label_mode!r}')
    folder = fetched("cifar-100-python.tar.gz", "cifar-100-python-target", extract=True)
    folder = os.path.join(folder, "cifar-100-python")
    key = f"{label_mode}_labels".encode()
    return tuple(_batch(os.path.join(folder, name), key, "int64") for name in ("train", "test"))
