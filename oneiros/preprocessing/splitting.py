"""A data set as two."""

from __future__ import annotations

import numpy as np

from oneiros.core import seeding, tree
from oneiros.preprocessing.dataset import Dataset, _Batched, _Ordered
from oneiros.training.data import holds_numbers, to_host
from oneiros.training.data_streams import PyDataset, open_stream

__all__ = ["split_dataset"]


def split_dataset(
    dataset, left_size=None, right_size=None, shuffle=False, seed=None, preferred_backend=None
):
    """The first elements of a data set, and the last ones: two `preprocessing.Dataset`s.

    Args:
        dataset: Arrays or a tree of them, a `Dataset`, `PyDataset`, tf.data or torch data, or what
            can be iterated: it is read to its end. Batches are split by their rows.
        left_size: The share of the elements (a float) or how many (an int) come first.
        right_size: The same for the last; the rest if None.
        shuffle: Whether the elements are shuffled before.
        seed: Of the order.
        preferred_backend: "tensorflow" for two `tf.data.Dataset`s, "torch" for two `DataLoader`s.

    >>> from oneiros import utils
    >>> left, right = utils.split_dataset([1, 2, 3, 4], left_size=0.75)
    >>> [int(x) for x in left], [int(x) for x in right]
    ([1, 2, 3], [4])

    Raises:
        TypeError: if it is no data.
        ValueError: if the sizes make no sense, or a part would be empty.
    """
    ways = {None: lambda d: d, "tensorflow": Dataset.as_tf, "torch": Dataset.as_torch}
    if preferred_backend not in ways:
        raise ValueError(
            f"`preferred_backend` must be one of {list(ways)}; got {preferred_backend!r}"
        )
    elements, batch_size = _elements(dataset)
    left, right = _sizes(left_size, right_size, len(elements))
    order = np.arange(len(elements))
    if shuffle:
        order = seeding.generator(seed).permutation(len(elements))
    parts = []
    for places in (order[:left].tolist(), order[len(order) - right :].tolist()):
        part = elements._then(_Ordered(elements, _picker(places), len(places)))
        parts.append(
            ways[preferred_backend](part if batch_size is None else part.batch(batch_size))
        )
    return tuple(parts)


def _picker(places):
    return lambda _, wanted: map(places.__getitem__, wanted)


def _sizes(left, right, n):
    """How many elements each part has, of `n`."""
    if left is None and right is None:
        raise ValueError("give `left_size`, `right_size` or both")
    counts = []
    for name, size in (("left_size", left), ("right_size", right)):
        if size is not None and (isinstance(size, bool) or not isinstance(size, (int, float))):
            raise TypeError(f"`{name}` must be a float, an int or None; got {size!r}")
        if size is not None and not 0 < size < (1 if isinstance(size, float) else n):
            raise ValueError(
                f"`{name}` must be a share between 0 and 1, or an int from 1 to below {n}, the number "
                f"of elements; got {size}"
            )
        counts.append(round(size * n) if isinstance(size, float) else size)
    if None not in counts and sum(counts) > n:
        raise ValueError(
            f"`left_size={left}` and `right_size={right}` take {sum(counts)} of {n} elements"
        )
    left, right = (n - sum(c or 0 for c in counts) if count is None else count for count in counts)
    if not left or not right:
        raise ValueError(
            f"of {n} elements, {left} would be in the first part and {right} in the second: neither "
            "may be empty"
        )
    return left, right


def _elements(dataset):
    """A `Dataset` of the elements, and the size of its batches if it had some."""
    if isinstance(dataset, Dataset):
        if isinstance(dataset, _Batched) and dataset.parent._size is not None:
            return dataset.parent, dataset.batch_size
        return (
            dataset if dataset._size is not None else _listed(dataset.as_numpy_iterator())
        ), None
    if isinstance(dataset, PyDataset):
        return _rows_of(dataset[i] for i in range(len(dataset)))
    if hasattr(dataset, "element_spec"):  # tf.data: batches have an axis of unknown length
        batched = any(s.shape.rank and s.shape[0] is None for s in _leaves(dataset.element_spec))
        return _rows_of(dataset) if batched else (_listed(dataset), None)
    if hasattr(dataset, "batch_size") and hasattr(dataset, "dataset"):  # a DataLoader of torch
        return _rows_of(tuple(b) if isinstance(b, list) else b for b in dataset)
    if hasattr(dataset, "__array__") or (isinstance(dataset, (list, tuple, dict)) and dataset):
        leaves = _leaves(dataset)
        if holds_numbers(dataset) or not all(hasattr(a, "shape") for a in leaves):
            return _listed(dataset), None
        arrays = tree.map_structure(to_host, dataset)
        arrays = tuple(arrays) if isinstance(arrays, list) else arrays
        return Dataset.from_tensor_slices(arrays), None
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and len(dataset):  # torch's
        if not isinstance(dataset, (str, bytes)):
            return _listed(dataset[i] for i in range(len(dataset))), None
    if open_stream(dataset) is not None:
        return _listed(dataset), None
    raise TypeError(
        "`dataset` must be arrays, a data set or what can be iterated, and not empty; got "
        f"{type(dataset).__module__}.{type(dataset).__qualname__}"
    )


def _leaves(structure):
    return [leaf for leaf in tree.flatten(structure) if leaf is not None]


def _rows_of(batches):
    """The rows of batches, and how many there were in the first."""
    batches = list(_listed(batches).as_numpy_iterator())
    rows = [
        tree.map_structure(lambda a: a[i], batch)
        for batch in batches
        for i in range(len(_leaves(batch)[0]))
    ]
    return Dataset(rows.__getitem__, len(rows)), len(_leaves(batches[0])[0])


def _listed(elements):
    def host(a):
        return a if isinstance(a, (str, bytes)) else np.asarray(a)

    found = [tree.map_structure(host, e) for e in elements]
    return Dataset(found.__getitem__, len(found))
