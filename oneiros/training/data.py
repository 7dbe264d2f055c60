"""What `fit`, `evaluate` and `predict` take as data, and how it becomes batches.

`adapt` makes one of two kinds: `Arrays`, which are in memory and are reordered by permutations, and
`Stream` (in `data_streams`), which brings its own batches. A batch is `(x, y, sample_weight)`.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from oneiros.core import seeding, tree
from oneiros.core.config import floatx
from oneiros.core.dtypes import np_dtype

__all__ = [
    "Arrays",
    "adapt",
    "pack_x_y_sample_weight",
    "unpack_x_y_sample_weight",
    "validation_split",
]


def adapt(
    x,
    y=None,
    sample_weight=None,
    batch_size=None,
    steps=None,
    shuffle=False,
    class_weight=None,
    seed=None,
):
    """The data `x` (with `y` and `sample_weight`) as `Arrays` or a `Stream`.

    Args:
        x: Arrays (NumPy, pandas, any framework's, lists of numbers) or a tree of them; or what
            gives batches: a generator or iterable, `PyDataset`, tf.data, torch or grain data.
        y: Targets, if `x` is arrays.
        sample_weight: Weights of the samples, if `x` is arrays.
        batch_size: Samples in a batch of arrays; 32 if None.
        steps: The most batches in an epoch; the next epoch goes on where it stopped.
        shuffle: Whether arrays, or the batches of a `PyDataset`, come in a new order each epoch;
            "batch" reorders inside batches of arrays only.
        class_weight: Class number to weight; makes sample weights from `y`.
        seed: Of the orders; a fresh one if None.

    Raises:
        ValueError: for what is no data, for arrays of different lengths or none, and for `y`,
            `sample_weight` beside data that brings its own.
    """
    from oneiros.training.data_streams import open_stream

    _check_steps(steps)
    opened = open_stream(x)
    if opened is None:
        return Arrays(x, y, sample_weight, batch_size, steps, shuffle, class_weight, seed)
    kind, make = opened
    for given, name, what in (
        (y, "y", "targets"),
        (sample_weight, "sample_weight", "sample weights"),
    ):
        if given is not None:
            raise ValueError(
                f"when `x` is a {kind}, `{name}` cannot be given: the {what} come from the {kind}, "
                "as part of its batches (x, y, sample_weight)"
            )
    if batch_size is not None:
        warnings.warn(
            f"`batch_size={batch_size}` is not used: `x` is a {kind}, which makes its own batches",
            stacklevel=3,
        )
    return make(x, steps, shuffle, class_weight, seed)


class Arrays:
    """Data in memory: trees of NumPy arrays with one length.

    Attributes:
        arrays: `(x, y, sample_weight)`, each a tree of arrays or None.
        size: Number of samples.
        batch_size: Number of samples in a batch; the last one may have fewer.
        num_batches: Number of batches in an epoch.
        seed: From which every epoch's order follows.
    """

    in_memory = True
    kind = "array"

    def __init__(
        self,
        x,
        y=None,
        sample_weight=None,
        batch_size=None,
        steps=None,
        shuffle=False,
        class_weight=None,
        seed=None,
    ):
        if batch_size is None:
            batch_size = 32
        if isinstance(batch_size, bool) or not isinstance(batch_size, (int, np.integer)):
            raise TypeError(f"`batch_size` must be a whole number; got {batch_size!r}")
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1; got {batch_size}")
        if shuffle not in (True, False, None, "batch"):
            raise ValueError(f'`shuffle` must be True, False or "batch"; got {shuffle!r}')
        self.arrays = arrays_of(x, y, sample_weight)
        self.size = _common_length(self.arrays)
        if class_weight is not None:
            x, y, weight = self.arrays
            if weight is not None:
                raise ValueError("`class_weight` and `sample_weight` cannot both be given")
            self.arrays = x, y, class_weight_to_sample_weights(y, class_weight)
        self.batch_size, self.steps, self.shuffle = int(batch_size), steps, shuffle
        self.in_pass = math.ceil(self.size / self.batch_size)
        self.num_batches = min(steps or self.in_pass, self.in_pass)
        self.seed = (seeding.fresh_seed() if seed is None else int(seed)) if shuffle else None

    def order(self, epoch):
        """The places of the samples that an epoch takes, in their order.

        That is every sample once, unless `steps` is less than a pass over the data: then an epoch
        begins where the last one stopped, and one that meets the end is short.
        """
        number, first, last = place(epoch, self.num_batches, self.in_pass)
        return self._permutation(number)[first * self.batch_size : last * self.batch_size]

    def batches(self, epoch):
        """The batches of an epoch."""
        order = self.order(epoch)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            if not self.shuffle:  # a view, not a copy
                rows = slice(int(rows[0]), int(rows[-1]) + 1)
            yield self._take(rows)

    def peek(self):
        """The first samples, as a batch."""
        return self._take(slice(0, self.batch_size))

    def _take(self, rows):
        return tree.map_structure(lambda a: None if a is None else a[rows], self.arrays)

    def _permutation(self, number):
        dtype = np.int32 if self.size < 2**31 else np.int64
        order = np.arange(self.size, dtype=dtype)
        if self.shuffle:
            draw = seeding.generator([self.seed, number])
            if self.shuffle == "batch":
                for i in range(0, self.size, self.batch_size):
                    draw.shuffle(order[i : i + self.batch_size])
            else:
                draw.shuffle(order)
        return order


def validation_split(arrays, fraction):
    """`arrays`, a tuple `(x, y, sample_weight)`, as two: all but the last `fraction`, and the rest.

    >>> train, validation = validation_split(([1.0, 2.0, 3.0, 4.0], None, None), 0.25)
    >>> validation[0].tolist()
    [4.0]

    Raises:
        ValueError: if they are not arrays, or one of the parts would be empty.
    """
    from oneiros.training.data_streams import open_stream

    opened = open_stream(arrays[0])
    if opened is not None:
        raise ValueError(
            f"`validation_split` takes its part from arrays in memory; got a {opened[0]} of type "
            f"{type(arrays[0]).__name__} as `x`. Give `validation_data` instead"
        )
    arrays = arrays_of(*arrays)
    size = _common_length(arrays)
    first = math.floor(size * (1.0 - fraction))
    if not 0 < first < size:
        raise ValueError(
            f"`validation_split={fraction}` leaves a part without samples: of {size}, it gives "
            f"{first} to training and {size - first} to validation"
        )

    def part(rows):
        return tree.map_structure(lambda a: None if a is None else a[rows], arrays)

    return part(slice(0, first)), part(slice(first, size))


# Arrays -------------------------------------------------------------------------------------------
def arrays_of(x, y=None, sample_weight=None):
    """The three trees with NumPy arrays as their leaves, floats in the default dtype."""
    if x is None:
        raise ValueError("`x` must be given: arrays, or something that gives batches; got None")
    found = []
    for name, given in (("x", x), ("y", y), ("sample_weight", sample_weight)):
        found.append(None if given is None else to_arrays(given, name))
    return tuple(found)


def to_arrays(structure, name):
    """A tree of whatever holds numbers as a tree of NumPy arrays."""

    def convert(part):
        if part is None:
            if name == "x":
                raise ValueError(
                    f"`x` holds a None where an array is expected: {_short(structure)}"
                )
            return tree.MAP_TO_NONE
        if tree.is_nested(part) and not holds_numbers(part):
            return None
        return standard(to_host(part, name))

    return tree.traverse(convert, structure)


def holds_numbers(value):
    """Whether a list or tuple is an array written out: of plain numbers or texts, or such lists."""
    while isinstance(value, (list, tuple)) and len(value):
        value = value[0]
    return isinstance(value, (bool, int, float, complex, str, np.generic))


def to_host(value, name="x"):
    """An array of any framework, a table or a list of numbers as a NumPy array."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, (list, tuple)):
        try:
            return np.asarray(value)
        except ValueError:
            raise ValueError(
                f"`{name}` holds a list whose rows have different lengths: {_short(value)}"
            ) from None
    if hasattr(value, "to_numpy"):  # pandas and the like; a column stands as (samples, 1)
        value = value.to_numpy()
        return value[:, None] if value.ndim == 1 else value
    if hasattr(value, "toarray"):  # SciPy's sparse matrices
        return value.toarray()
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if "bfloat16" in str(value.dtype):  # which NumPy cannot hold
            value = value.float()
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return np.asarray(value)
    raise ValueError(
        f"`{name}` must be arrays, lists of numbers or trees of them, or (x only) something that "
        f"gives batches; got {_short(value)} of type "
        f"{type(value).__module__}.{type(value).__qualname__}"
    )


def standard(array):
    """`array`, floats cast to the default dtype; nothing is copied if it has it."""
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np_dtype(floatx()), copy=False)
    return array


def _common_length(arrays):
    """The length that all arrays have."""
    lengths = {}
    for name, part in zip(("x", "y", "sample_weight"), arrays):
        for path, array in tree.flatten_with_path(part):
            if array is not None:
                label = name + "".join(f"[{key!r}]" for key in path)
                if array.ndim == 0:
                    raise ValueError(f"`{label}` is a scalar; its first axis must be the samples'")
                lengths[label] = len(array)
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{label}: {n}" for label, n in lengths.items())
        raise ValueError(f"all arrays must have the same number of samples; got {shown}")
    if not lengths:
        raise ValueError(f"`x` holds no arrays: {_short(arrays[0])}")
    size = next(iter(lengths.values()))
    if size == 0:
        raise ValueError(f"the data are empty: no samples in {', '.join(lengths)}")
    return size


def class_weight_to_sample_weights(y, class_weight):
    """The weight of each sample's class: `y` holds class numbers, or one-hot rows.

    A class that `class_weight` leaves out weighs 1.
    """
    if y is None:
        raise ValueError("`class_weight` needs targets: `y` is missing")
    if tree.is_nested(y):
        raise ValueError(
            f"`class_weight` is for models with one output; `y` has {len(tree.flatten(y))} parts. "
            "Use `sample_weight` instead"
        )
    y = np.asarray(to_host(y, "y"))
    if y.ndim > 2:
        raise ValueError(
            "`class_weight` needs class numbers of shape (samples,) or (samples, 1), or one-hot "
            f"rows; `y` has the shape {y.shape}"
        )
    if y.ndim == 2:
        y = y[:, 0] if y.shape[1] == 1 else y.argmax(-1)
    found, places = np.unique(np.round(y).astype("int64"), return_inverse=True)
    weights = np.array([class_weight.get(int(c), 1.0) for c in found], np_dtype(floatx()))
    return weights[places]


# Batches ------------------------------------------------------------------------------------------
def unpack_x_y_sample_weight(data):
    """`(x, y, sample_weight)` of a batch that may leave out the last of them.

    >>> unpack_x_y_sample_weight((1, 2))
    (1, 2, None)

    Raises:
        ValueError: if a tuple has other than one to three parts.
    """
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError(
            "a batch must be `x`, `(x,)`, `(x, y)` or `(x, y, sample_weight)`; got a tuple of "
            f"{len(data)} parts: {_short(data)}"
        )
    return (*data, None, None)[:3]


def pack_x_y_sample_weight(x, y=None, sample_weight=None):
    """The opposite of `unpack_x_y_sample_weight`: a batch without its missing parts.

    >>> pack_x_y_sample_weight(1, 2)
    (1, 2)
    """
    if y is None:
        return (x,) if isinstance(x, (list, tuple)) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def place(epoch, steps, in_pass):
    """Where an epoch of `steps` batches lies: the pass over the data, its first batch, its end.

    >>> [place(epoch, 2, 3) for epoch in range(3)]
    [(0, 0, 2), (0, 2, 3), (1, 0, 2)]
    """
    number, part = divmod(epoch, math.ceil(in_pass / steps))
    return number, part * steps, min((part + 1) * steps, in_pass)


def _check_steps(steps):
    whole = isinstance(steps, (int, np.integer)) and not isinstance(steps, bool)
    if steps is not None and not (whole and steps > 0):
        raise ValueError(
            f"`steps_per_epoch` (or `steps`) must be a positive whole number or None; got {steps!r}"
        )


def _short(value):
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else text[:77] + "..."
