"""Windows that slide over a series."""

from __future__ import annotations

import numpy as np

from oneiros.preprocessing.dataset import Dataset
from oneiros.preprocessing.directories import OURS, _in_format

__all__ = ["timeseries_dataset_from_array"]


def timeseries_dataset_from_array(
    data,
    targets,
    sequence_length,
    sequence_stride=1,
    sampling_rate=1,
    batch_size=128,
    shuffle=False,
    seed=None,
    start_index=None,
    end_index=None,
    format=OURS,
):
    """Batches of windows of a series, each with its target.

    Args:
        data: The series: an array with time as its first axis.
        targets: Where target `i` belongs to the window that begins at `i`; None for windows alone.
        sequence_length: Steps in a window.
        sequence_stride: How far a window is from the next one.
        sampling_rate: How far a step is from the next one in a window.
        batch_size: Windows in a batch; None for windows one by one.
        shuffle: Whether they come in a new order in each pass.
        seed: Of the order.
        start_index, end_index: The part of the series that is used.
        format: As in `image_dataset_from_directory`.

    >>> from oneiros import utils
    >>> data = utils.timeseries_dataset_from_array(range(10), range(3, 10), 3, sequence_stride=2)
    >>> for x, y in data:
    ...     print(x.tolist(), y.tolist())
    [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8]] [3, 5, 7, 9]

    Raises:
        ValueError: if numbers are not positive, or do not fit the series.
    """
    data, targets = np.asarray(data), None if targets is None else np.asarray(targets)
    size = len(data)
    for name, value in (("start_index", start_index), ("end_index", end_index)):
        if value is not None and not (0 <= value < size or (name[0] == "e" and 0 < value <= size)):
            raise ValueError(f"`{name}` must be within the {size} steps of the series; got {value}")
    for name, value in (
        ("sequence_length", sequence_length),
        ("sequence_stride", sequence_stride),
        ("sampling_rate", sampling_rate),
    ):
        if not 0 < value < size:
            raise ValueError(f"`{name}` must be from 1 to below {size}, the length; got {value}")
    start, end = start_index or 0, size if end_index is None else end_index
    if start >= end:
        raise ValueError(f"`start_index` must be below `end_index`; got {start} and {end}")
    last = end - start - (sequence_length - 1) * sampling_rate
    if targets is not None:
        last = min(last, len(targets) - start)
    starts = np.arange(0, max(last, 0), sequence_stride)
    steps = np.arange(sequence_length) * sampling_rate

    def rows(places):
        first = starts[places]
        x = data[start + first[..., None] + steps]
        return x if targets is None else (x, targets[start + first])

    dataset = Dataset(rows, len(starts), rows=rows)
    if shuffle:
        dataset = dataset.shuffle(seed=seed)
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    return _in_format(dataset, format)
