"""Data that comes in batches: generators, `PyDataset`, tf.data, torch and grain data.

A stream is read ahead on a thread, one epoch at a time: never past the epoch's last batch, so that
a generator goes on in the next epoch exactly where this one stopped.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import itertools
import warnings

import numpy as np

from oneiros.core import backend, seeding, tree
from oneiros.core.config import floatx
from oneiros.core.dtypes import np_dtype
from oneiros.training.data import (
    class_weight_to_sample_weights,
    holds_numbers,
    place,
    to_host,
    unpack_x_y_sample_weight,
)

__all__ = ["PyDataset", "Stream", "open_stream", "prefetched"]


class PyDataset:
    """Batches by number: subclasses define `__getitem__(index)` and `__len__` (or `num_batches`).

    A batch is `x`, `(x, y)` or `(x, y, sample_weight)`. Batches are made ahead of use, and come in
    their order whatever the number of workers; `fit` reorders them unless `shuffle=False`.

    Args:
        workers: Number of threads that make batches.
        use_multiprocessing: Taken for compatibility; batches are always made by threads.
        max_queue_size: The most batches that are made ahead of use, with more than one worker.

    >>> import numpy as np
    >>> from oneiros import utils
    >>> class Squares(utils.PyDataset):
    ...     def __len__(self):
    ...         return 3
    ...     def __getitem__(self, index):
    ...         return np.full((2, 1), index), np.full((2, 1), index**2)
    >>> Squares().num_batches
    3
    """

    def __init__(self, workers=1, use_multiprocessing=False, max_queue_size=10):
        self._workers, self._use_multiprocessing = workers, use_multiprocessing
        self._max_queue_size = max_queue_size

    def _option(name, default):
        def get(self):
            if name not in self.__dict__:
                warnings.warn(
                    f"{type(self).__name__}.__init__ should call `super().__init__(**kwargs)`, "
                    "which takes workers, use_multiprocessing and max_queue_size",
                    stacklevel=2,
                )
                PyDataset.__init__(self)
            return self.__dict__.get(name, default)

        return property(get, lambda self, value: self.__dict__.__setitem__(name, value))

    workers = _option("_workers", 1)
    use_multiprocessing = _option("_use_multiprocessing", False)
    max_queue_size = _option("_max_queue_size", 10)
    del _option

    def __getitem__(self, index):
        """The batch with this number."""
        raise NotImplementedError(f"{type(self).__name__} must define `__getitem__(index)`")

    @property
    def num_batches(self):
        """Number of batches in an epoch; None if there is no end."""
        if hasattr(self, "__len__"):
            return len(self)
        raise NotImplementedError(
            f"{type(self).__name__} must define `__len__`, or the property `num_batches`"
        )

    def on_epoch_begin(self):
        """Called before the first batch of each epoch."""

    def on_epoch_end(self):
        """Called after the last batch of each epoch."""


def open_stream(x):
    """What kind of stream `x` is and what adapts it: `(kind, function)`; None for arrays."""
    if isinstance(x, PyDataset):
        return "PyDataset", Batches
    for cls in type(x).__mro__:
        root, _, rest = cls.__module__.partition(".")
        if root == "torch" and rest.startswith("utils.data") and cls.__name__ == "DataLoader":
            return "torch DataLoader", Stream
        if root == "tensorflow" and hasattr(x, "element_spec"):
            return "tf.data.Dataset", Stream
        if root == "grain" and hasattr(x, "__iter__"):
            return "grain dataset", Stream
    if tree.is_nested(x) or isinstance(x, (str, bytes, set, frozenset)):
        return None
    if hasattr(x, "__array__") or hasattr(x, "to_numpy") or hasattr(x, "toarray"):
        return None
    if hasattr(x, "__next__"):
        return "generator", Stream
    return ("iterable", Stream) if hasattr(x, "__iter__") else None


class Stream:
    """Batches from something that can be iterated.

    Attributes:
        num_batches: Number of batches in an epoch; None if nobody knows.
        source: What they come from.
    """

    in_memory = False
    arrays = size = batch_size = None

    def __init__(self, source, steps=None, shuffle=False, class_weight=None, seed=None):
        self.source, self.steps, self.class_weight = source, steps, class_weight
        self.kind = open_stream(source)[0]
        known = [n for n in (steps, self._length()) if n is not None]
        self.num_batches = min(known, default=None)
        self.once = hasattr(source, "__next__")  # cannot be begun again
        # Of a data set of ours, whose order follows from the number of the pass.
        self.first_pass = source.num_passes if hasattr(source, "iterate_pass") else None
        self._running = None  # an iterator that the next epoch goes on with
        self._tuples = self.kind == "torch DataLoader"  # whose batches are lists

    def batches(self, epoch):
        """The batches of an epoch, made ahead on a thread that ends with the iterator."""
        with contextlib.closing(prefetched(map(self._batch, self._items(epoch)))) as ahead:
            yield from ahead

    def peek(self):
        """The first batch, which is still to come."""
        items = self._running or self._begin(0)
        first = next(items, _END)
        if first is _END:
            raise ValueError(f"`x` is a {self.kind} without a single batch")
        self._running = itertools.chain([first], items)
        return self._batch(first)

    def _items(self, epoch):
        """The raw batches of an epoch."""
        running, self._running = self._running or self._begin(epoch), None
        if self.steps is None:
            yield from running
            return
        first = next(running, _END)
        if first is _END and not self.once:  # the last epoch stopped at the very end
            running = self._begin(epoch)
            first = next(running, _END)
        if first is not _END:
            yield first
            yield from itertools.islice(running, self.steps - 1)
            self._running = running

    def _begin(self, epoch):
        if self.first_pass is not None:
            return self.source.iterate_pass(self.first_pass + epoch)
        return self.source if self.once else iter(self.source)

    def _length(self):
        if self.kind == "tf.data.Dataset" and hasattr(self.source, "cardinality"):
            length = int(self.source.cardinality())
            return length if length >= 0 else None
        try:
            return len(self.source)
        except (TypeError, NotImplementedError):
            return None

    def _batch(self, item):
        """An item as `(x, y, sample_weight)` with arrays at its leaves."""
        if isinstance(item, list) and not holds_numbers(item):
            if not self._tuples:
                raise ValueError(
                    f"a {self.kind} must yield `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`; "
                    f"got a list of {len(item)}: yield a tuple instead"
                )
            item = tuple(item)
        x, y, weight = (
            unpack_x_y_sample_weight(item) if isinstance(item, tuple) else (item, None, None)
        )
        x, y, weight = (None if part is None else _leaves(part) for part in (x, y, weight))
        if self.class_weight is not None:
            if weight is not None:
                raise ValueError("`class_weight` and `sample_weight` cannot both be given")
            weight = class_weight_to_sample_weights(y, self.class_weight)
        return x, y, weight


class Batches(Stream):
    """Batches of a `PyDataset`."""

    def __init__(self, source, steps=None, shuffle=False, class_weight=None, seed=None):
        super().__init__(source, steps, shuffle, class_weight, seed)
        self.shuffle = bool(shuffle) and source.num_batches is not None
        self.seed = seeding.fresh_seed() if self.shuffle and seed is None else seed

    def batches(self, epoch):
        """The batches of an epoch, made ahead by the data set's workers."""
        source = self.source
        workers = max(1, source.workers or 1)
        queue = max(workers, source.max_queue_size or 1) if workers > 1 else 1
        source.on_epoch_begin()
        jobs = ((self._make, index) for index in self._items(epoch))
        try:
            with contextlib.closing(read_ahead(jobs, workers, queue)) as ahead:
                yield from ahead
        finally:
            source.on_epoch_end()

    def peek(self):
        """The first batch."""
        if self.source.num_batches == 0:
            raise ValueError(f"the {type(self.source).__name__} given as `x` has no batches")
        return self._make(0)

    def _make(self, index):
        return self._batch(self.source[index])

    def _items(self, epoch):
        """The numbers of the epoch's batches, in order."""
        length, steps = self.source.num_batches, self.steps
        if length is None:
            return iter(range(epoch * steps, (epoch + 1) * steps)) if steps else itertools.count()
        number, first, last = place(epoch, min(steps or length, length), length)
        order = range(length)
        if self.shuffle:
            order = seeding.generator([self.seed, number]).permutation(length).tolist()
        return iter(order[first:last])

    def _length(self):
        return self.source.num_batches


def _leaves(part):
    """A tree of whatever holds numbers as NumPy arrays; arrays of the session's backend stay."""

    def convert(leaf):
        if leaf is None:
            return tree.MAP_TO_NONE
        if tree.is_nested(leaf) and not holds_numbers(leaf):
            return None
        if not isinstance(leaf, (np.ndarray, np.generic)) and backend.current().owns(type(leaf)):
            return leaf
        array = np.asarray(leaf) if isinstance(leaf, np.generic) else to_host(leaf, "a batch")
        return array.astype(np_dtype(floatx())) if array.dtype == np.float64 else array

    return tree.traverse(convert, part)


# Reading ahead ------------------------------------------------------------------------------------
_END = object()


def prefetched(iterator):
    """The items of `iterator`, each made on a thread while the one before it is used.

    Errors come out where the item would; the thread ends with the items or when this is closed.

    >>> list(prefetched(iter("abc")))
    ['a', 'b', 'c']
    """
    return _until_end(read_ahead(itertools.repeat((next, iterator, _END)), 1, 1))


def read_ahead(jobs, workers, queue):
    """What each job `(function, *args)` gives, in order; `workers` make up to `queue` ahead."""
    waiting = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="oneiros-data")
    try:
        for job in itertools.islice(jobs, queue):
            waiting.append(pool.submit(*job))
        while waiting:
            made = waiting.popleft().result()
            for job in itertools.islice(jobs, 1):
                waiting.append(pool.submit(*job))
            yield made
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _until_end(items):
    with contextlib.closing(items):
        for item in items:
            if item is _END:
                return
            yield item
