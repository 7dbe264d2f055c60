"""The data set that all loaders give: elements by number, in an order that a seed decides.

A data set is a source and what is done with its elements on the way. Each stage says one thing: how
to give the elements with certain numbers in a certain pass (`iterate`). So a whole pipeline can be
indexed, begun anywhere, and read ahead on threads, and the same seed gives the same batches on every
backend. `fit`, `evaluate` and `predict` take it as it is.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys

import numpy as np

from oneiros.core import seeding, tree
from oneiros.training.data_streams import prefetched, read_ahead

__all__ = ["Dataset"]

WORKERS = 8  # threads that read files
AHEAD = 32  # elements read ahead


class Dataset:
    """Elements (arrays, or tuples and dicts of them), in the same order or a new one in each pass.

    Made by the loaders of `utils`, by `from_tensor_slices` and by the methods below, which leave the
    data set itself as it is. Elements are NumPy arrays.

    Args:
        get: Element by number; called on several threads.
        size: How many there are; `math.inf` for no end.
        workers: How many threads call `get`.
        rows: The stacked elements at a list of numbers, where that is faster than one by one.

    Attributes:
        class_names: Names of the classes, where it was read from folders.
        file_paths: The files that it was read from.

    >>> from oneiros.preprocessing import Dataset
    >>> data = Dataset.from_tensor_slices(([1, 2, 3, 4, 5], [0, 1, 0, 1, 0]))
    >>> for x, y in data.shuffle(seed=3).batch(2).take(1):
    ...     print(x.shape, y.shape)
    (2,) (2,)
    >>> [int(x) for x, y in data.map(lambda x, y: (x * 10, y)).skip(3)]
    [40, 50]
    """

    class_names = file_paths = None
    skipped = ()  # files that could not be read: pairs (path, why)
    num_passes = 0
    gathers = False  # whether `gather` gives many elements at once

    def __init__(self, get, size, workers=1, rows=None):
        self._get, self._size, self._workers, self._rows = get, size, workers, rows
        self.gathers = rows is not None

    def iterate(self, number, places):
        """The elements at `places`, an iterable, in pass `number`."""
        if self._workers <= 1:
            return map(self._get, places)
        return read_ahead(((self._get, i) for i in places), self._workers, AHEAD)

    def gather(self, number, places):
        """The elements at `places`, a list, in pass `number`, stacked."""
        return self._rows(places)

    @classmethod
    def from_tensor_slices(cls, tensors):
        """The rows of an array, or of a tuple or dict of arrays of one length; a list is an array.

        Raises:
            ValueError: if they have different lengths.
        """
        tensors = _arrays(tensors)
        lengths = {len(a) for a in tree.flatten(tensors)}
        if len(lengths) != 1:
            raise ValueError(f"all arrays must have one length; got {sorted(lengths)}")

        def rows(i):
            return tree.map_structure(lambda a: a[i], tensors)

        return cls(rows, lengths.pop(), rows=rows)

    # As a sequence --------------------------------------------------------------------------------
    def __len__(self):
        if self._size is None or self._size == math.inf:
            raise TypeError("this data set has no end" if self._size else "nobody knows its length")
        return self._size

    def __getitem__(self, index):
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"the data set has {n} elements; there is no element {index}")
        return next(iter(self.iterate(0, [index % n])))

    def __iter__(self):
        return map(_shown, self.as_numpy_iterator())

    def iterate_pass(self, number):
        """The elements in the order of pass `number`, from 0."""
        self.num_passes = max(self.num_passes, number + 1)
        size = self._size
        return iter(self.iterate(number, range(sys.maxsize if size in (None, math.inf) else size)))

    def cardinality(self):
        """How many elements there are: -1 for no end, -2 if nobody knows."""
        return _Count({math.inf: -1, None: -2}.get(self._size, self._size))

    def as_numpy_iterator(self):
        """The elements of a pass as plain NumPy arrays."""
        return self.iterate_pass(self.num_passes)

    @property
    def element_spec(self):
        """Shape and dtype of the first element's arrays, the axis of a batch unknown."""
        from oneiros.core.symbol import Symbol

        batched = _find(self, _Batched) is not None

        def spec(a):
            a = np.asarray(a)
            dtype = a.dtype.name if a.dtype.kind in "biuf" else "string"
            return Symbol((None, *a.shape[1:]) if batched and a.ndim else a.shape, dtype)

        return tree.map_structure(spec, next(iter(self.iterate(0, [0]))))

    def __repr__(self):
        return f"<{type(self).__name__.strip('_')} of {self._size} elements>"

    # What is done with the elements ---------------------------------------------------------------
    def map(self, map_func, num_parallel_calls=None, deterministic=None, **kwargs):
        """What `map_func` makes of each element; of a tuple it gets the parts as arguments.

        Args:
            num_parallel_calls: How many threads call it, if it may be called on several; they are
                given back in order in any case.
        """
        workers = num_parallel_calls or 1
        return self._then(_Mapped(self, map_func, WORKERS if workers < 0 else workers), self._size)

    def batch(self, batch_size, drop_remainder=False, **kwargs):
        """`batch_size` elements at a time, stacked; the last batch may have fewer.

        Raises:
            ValueError: if elements of different shapes meet in one batch.
        """
        if isinstance(batch_size, bool) or int(batch_size) < 1:
            raise ValueError(f"`batch_size` must be a positive whole number; got {batch_size!r}")
        return self._then(_Batched(self, int(batch_size), drop_remainder))

    def unbatch(self):
        """The rows of each element as elements of their own."""
        if isinstance(self, _Batched):
            return self.parent
        return self._then(_Streamed(self, _rows, None))

    def shuffle(self, buffer_size=None, seed=None, reshuffle_each_iteration=True, name=None):
        """The same elements in an order that `seed` decides, another one in each pass.

        Args:
            buffer_size: Not needed: all elements are shuffled.
            seed: A fresh one if None.
            reshuffle_each_iteration: Whether each pass has an order of its own.
        """
        seed = seeding.fresh_seed() if seed is None else int(seed)
        if self._size in (None, math.inf):
            return self._then(_Streamed(self, _shuffler(seed, int(buffer_size or 1024)), None))

        @functools.lru_cache(2)
        def permutation(number):
            return seeding.generator([seed, number]).permutation(len(self)).tolist()

        def order(number, places):
            return map(permutation(number * bool(reshuffle_each_iteration)).__getitem__, places)

        return self._then(_Ordered(self, order, len(self)))

    def take(self, count):
        """The first `count` elements; all of them for -1."""
        return self if count < 0 else self._between(0, count)

    def skip(self, count):
        """All but the first `count` elements."""
        return self._between(count if count >= 0 else self._size or 0, math.inf)

    def _between(self, start, stop):
        if not self._indexed:
            return self._then(_Streamed(self, lambda items, _: _cut(items, start, stop), None))
        size = max(min(stop, self._size) - start, 0)
        return self._then(_Ordered(self, lambda _, places: (i + start for i in places), size))

    def repeat(self, count=None):
        """The elements `count` times over, or without end."""
        endless = count is None or count < 0
        if not self._indexed:
            return self._then(_RepeatedStream(self, math.inf if endless else count))
        return self._then(_Repeated(self, math.inf if endless else count))

    def concatenate(self, dataset):
        """The elements of this data set, then those of another one."""
        return self._then(_Joined(self, dataset))

    def cache(self, filename=None):
        """The same elements, kept in memory when they are first read (with the first pass's noise)."""
        return self._then(_Cached(self), self._size)

    def filter(self, predicate):
        """The elements for which `predicate` is true; how many is found by reading them."""
        return self._then(
            _Streamed(self, lambda items, _: (e for e in items if _call(predicate, e)), None)
        )

    def prefetch(self, buffer_size=None):
        """The same elements, each made on a thread while the one before it is used."""
        return self._then(_Prefetched(self), self._size)

    def with_options(self, options=None):
        """The data set itself: there are no options."""
        return self

    @property
    def _indexed(self):
        return self._size is not None

    def _then(self, stage, size=-1):
        """A stage after this one; it knows the classes and files that this one knows."""
        if size != -1:
            stage._size = size
        for name in ("class_names", "file_paths"):
            if (value := getattr(self, name)) is not None:
                setattr(stage, name, value)
        return stage

    # For others -----------------------------------------------------------------------------------
    def as_tf(self):
        """A `tf.data.Dataset` of the same elements."""
        import tensorflow as tf

        def spec(s):
            return tf.TensorSpec(s.shape, tf.dtypes.as_dtype(s.dtype))

        made = tf.data.Dataset.from_generator(
            self.as_numpy_iterator, output_signature=tree.map_structure(spec, self.element_spec)
        )
        if self._size is not None:
            known = self._size if self._size != math.inf else tf.data.INFINITE_CARDINALITY
            made = made.apply(tf.data.experimental.assert_cardinality(known))
        made = made.prefetch(tf.data.AUTOTUNE)
        for name in ("class_names", "file_paths"):
            if getattr(self, name) is not None:
                setattr(made, name, getattr(self, name))
        return made

    def as_torch(self):
        """A PyTorch `DataLoader` of the same elements; texts stay NumPy arrays."""
        import torch

        source = self

        def tensor(a):
            a = np.array(a)  # PyTorch takes no array that cannot be written to
            return a if a.dtype.kind not in "biufc" else torch.from_numpy(a)

        class Elements(torch.utils.data.IterableDataset):
            def __iter__(self):
                return (tree.map_structure(tensor, e) for e in source.as_numpy_iterator())

            if source._size not in (None, math.inf):

                def __len__(self):
                    return len(source)

        return torch.utils.data.DataLoader(Elements(), batch_size=None)

    def as_grain(self):
        """A grain `MapDataset` of the same elements."""
        import grain

        return grain.MapDataset.source(self)


class _Count(int):
    """A number with `.numpy()`, as scripts ask for it."""

    def numpy(self):
        return int(self)


class Batch(np.ndarray):
    """An array whose parts, to the last number, have `.numpy()`, as scripts ask for it."""

    def numpy(self):
        """The same as a plain array."""
        return self.view(np.ndarray)

    def __getitem__(self, key):
        return _show(super().__getitem__(key))

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def _show(a):
    return np.asarray(a).view(Batch) if isinstance(a, (np.ndarray, np.generic)) else a


def _shown(element):
    """An element as a loop gets it."""
    return tree.map_structure(_show, element)


def _arrays(value):
    if isinstance(value, tuple):
        return tuple(map(_arrays, value))
    if isinstance(value, dict):
        return {key: _arrays(part) for key, part in value.items()}
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind == "U" else array


def _call(function, element):
    return function(*element) if isinstance(element, tuple) else function(element)


def _find(stage, kind):
    """The nearest stage of a kind, from which the elements' form comes."""
    while stage is not None:
        if isinstance(stage, kind):
            return stage
        if isinstance(stage, _Streamed) and stage.transform is _rows:
            return None
        stage = getattr(stage, "parent", None)
    return None


# Stages -------------------------------------------------------------------------------------------
class _Mapped(Dataset):
    def __init__(self, parent, function, workers):
        self.parent, self.function, self._workers = parent, function, workers

    def iterate(self, number, places):
        elements = self.parent.iterate(number, places)
        if self._workers <= 1:
            return (_call(self.function, e) for e in elements)
        jobs = ((_call, self.function, e) for e in elements)
        return read_ahead(jobs, self._workers, 2 * self._workers)


class _Batched(Dataset):
    def __init__(self, parent, batch_size, drop_remainder=False, stack=None):
        self.parent, self.batch_size, self.drop_remainder = parent, batch_size, drop_remainder
        self.stack = stack or stacked
        n = parent._size
        whole = n if n in (None, math.inf) else n // batch_size
        ragged = n not in (None, math.inf) and not drop_remainder and n % batch_size
        self._size = whole + 1 if ragged else whole

    def iterate(self, number, places):
        size, end = self.batch_size, self.parent._size
        if end is None:
            elements = self.parent.iterate_pass(number)
            while batch := list(itertools.islice(elements, size)):
                if len(batch) == size or not self.drop_remainder:
                    yield self.stack(batch)
            return
        if self.parent.gathers:
            for b in places:
                yield self.parent.gather(number, list(range(b * size, min((b + 1) * size, end))))
            return
        mine, theirs = itertools.tee(places)
        inside = (i for b in theirs for i in range(b * size, min((b + 1) * size, end)))
        elements = iter(self.parent.iterate(number, inside))
        for b in mine:
            yield self.stack(list(itertools.islice(elements, min(size, end - b * size))))


def stacked(elements):
    """Elements of one form as one, with a first axis for them; texts as an array of objects."""

    def stack(*leaves):
        if isinstance(leaves[0], (str, bytes)):
            return np.array(leaves, object)
        leaves = [np.asarray(a) for a in leaves]
        if len({a.shape for a in leaves}) > 1:
            raise ValueError(
                "elements of different shapes cannot be batched: "
                f"{', '.join(map(str, sorted({a.shape for a in leaves})))}"
            )
        return np.stack(leaves)

    return tree.map_structure(stack, *elements)


class _Ordered(Dataset):
    """Elements of another data set by other numbers: `order(pass, places)` says by which."""

    def __init__(self, parent, order, size):
        self.parent, self.order, self._size = parent, order, size
        self.gathers = parent.gathers

    def iterate(self, number, places):
        return self.parent.iterate(number, self.order(number, places))

    def gather(self, number, places):
        return self.parent.gather(number, list(self.order(number, places)))


class _Repeated(Dataset):
    def __init__(self, parent, count):
        self.parent, self.count = parent, count
        self._size = parent._size * count if parent._size and count else 0

    def iterate(self, number, places):
        n = self.parent._size
        first = number * self.count if self.count != math.inf else number << 32
        for turn, group in itertools.groupby(places, lambda i: i // n):
            yield from self.parent.iterate(first + turn, (i % n for i in group))


class _Joined(Dataset):
    def __init__(self, *parents):
        self.parents, self.parent = parents, parents[0]
        sizes = [p._size for p in parents]
        self._size = None if None in sizes else sum(sizes)

    def iterate(self, number, places):
        first, second = self.parents
        if self._size is None:
            yield from first.iterate_pass(number)
            yield from second.iterate_pass(number)
            return
        n = first._size
        for later, group in itertools.groupby(places, lambda i: i >= n):
            part, start = (second, n) if later else (first, 0)
            yield from part.iterate(number, (i - start for i in group))


class _Cached(Dataset):
    def __init__(self, parent):
        self.parent, self.kept, self.whole = parent, {}, False

    def iterate(self, number, places):
        if not self.parent._indexed:
            if not self.whole:
                self.kept, self.whole = dict(enumerate(self.parent.iterate_pass(0))), True
            yield from self.kept.values()
            return
        known = frozenset(self.kept)
        mine, theirs = itertools.tee(places)
        fresh = iter(self.parent.iterate(0, (i for i in theirs if i not in known)))
        for i in mine:
            yield self.kept[i] if i in known else self.kept.setdefault(i, next(fresh))


class _Prefetched(Dataset):
    def __init__(self, parent):
        self.parent = parent

    def iterate(self, number, places):
        return prefetched(iter(self.parent.iterate(number, places)))


class _Streamed(Dataset):
    """What `transform(elements, pass)` makes of a whole pass: it has no numbers."""

    def __init__(self, parent, transform, size):
        self.parent, self.transform, self._size = parent, transform, size

    def iterate(self, number, places):
        elements = iter(self.transform(self.parent.iterate_pass(number), number))
        if isinstance(places, list):  # of one place, asked for alone
            return itertools.islice(elements, places[0], places[0] + 1)
        return elements


class _RepeatedStream(_Streamed):
    def __init__(self, parent, count):
        super().__init__(parent, None, None)
        self.count = count

    def iterate(self, number, places):
        turns = itertools.count() if self.count == math.inf else range(self.count)
        for turn in turns:
            yield from self.parent.iterate_pass(turn)


def _rows(elements, number):
    for element in elements:
        for i in range(len(tree.flatten(element)[0])):
            yield tree.map_structure(lambda a: a[i], element)


def _cut(items, start, stop):
    return itertools.islice(items, start, None if stop == math.inf else stop)


def _shuffler(seed, buffer_size):
    """A transform that draws from a buffer: for elements without numbers."""

    def shuffle(elements, number):
        draw, buffer = seeding.generator([seed, number]), []
        for element in elements:
            buffer.append(element)
            if len(buffer) > buffer_size:
                i = int(draw.integers(len(buffer)))
                buffer[i], buffer[-1] = buffer[-1], buffer[i]
                yield buffer.pop()
        yield from (buffer[i] for i in draw.permutation(len(buffer)))

    return shuffle
