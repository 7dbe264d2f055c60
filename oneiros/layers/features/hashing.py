"""Hashing of categories and of crossed categories into bins."""

from __future__ import annotations

import numpy as np

from oneiros.core import backend
from oneiros.core.config import floatx
from oneiros.layers.features.encoding import check_mode, encode, encoded_shape
from oneiros.layers.host import HostLayer
from oneiros.layers.text import strings
from oneiros.layers.text.fingerprints import as_decimals, crossed, farmhash64, siphash24
from oneiros.layers.text.lookup import checked_salt

__all__ = ["HashedCrossing", "Hashing"]

KEPT = 1 << 17  # strings whose hashes a layer remembers


class Binned(HostLayer):
    """What both share: bins, output modes, and a dtype that follows from the mode."""

    modes = ("int", "one_hot")

    def adopt(self, dtype=None, **options):
        super().adopt(**options)
        self._dtype_given = dtype

    def _ready(self):
        name = type(self).__name__
        object.__setattr__(self, "_known", {})
        if self.num_bins is None or self.num_bins <= 0:
            raise ValueError(
                f"The `num_bins` for `{name}` cannot be `None` or non-positive values. Received: "
                f"num_bins={self.num_bins}."
            )
        check_mode(self, self.modes)
        given, counted = self._dtype_given, self.output_mode == "int"
        self.dtype_policy = given or ("int64" if counted else floatx())
        if counted and not self.compute_dtype.startswith("int"):
            raise ValueError(
                f"{name}: with `output_mode='int'`, `dtype` must be an integer type, 'int32' or "
                f"'int64'. Received: dtype={given}"
            )

    def _encoded(self, bins):
        return encode(bins, self.output_mode, self.num_bins, self.compute_dtype)


class Hashing(Binned):
    """Strings or integers as numbers of bins, by a hash.

    FarmHash64 without a salt, SipHash-2-4 with one; integers are hashed by their digits.

    Args:
        num_bins: How many bins there are, that of the mask among them.
        mask_value: What goes to bin 0, which nothing else goes to then.
        salt: One or two numbers.
        output_mode: "int", "one_hot", "multi_hot" or "count".

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Hashing(num_bins=3)(np.array([["A"], ["B"], ["C"]])).tolist()
    [[1], [0], [1]]
    """

    num_bins: int
    mask_value: object = None
    salt: object = None
    output_mode: str = "int"
    sparse: bool = False
    modes = ("int", "one_hot", "multi_hot", "count")

    def _ready(self):
        self.salt = checked_salt(self.salt, "Hashing")
        super()._ready()

    def spec(self, shape):
        return encoded_shape(shape, self.output_mode, self.num_bins), self.compute_dtype

    def compute(self, inputs):
        return self._encoded(self._bins(inputs))

    def _bins(self, inputs):
        if isinstance(inputs, np.ndarray) and inputs.dtype.kind in "iu" and inputs.size:
            low, high = int(inputs.min()), int(inputs.max())
            if high - low < inputs.size // 2:  # each number is hashed once
                every = np.arange(low, high + 1)
                return self._bins_of(every)[inputs.astype("int64") - low]
        return self._bins_of(inputs)

    def _bins_of(self, inputs):
        values, shape = hashable(inputs)
        bins, masked = self.num_bins, None
        if self.mask_value is not None and bins > 1:
            bins, mask = bins - 1, str(self.mask_value)
            mask = (
                mask if isinstance(values, list) and isinstance(values[0], str) else mask.encode()
            )
            masked = (
                values == mask if isinstance(values, np.ndarray) else [v == mask for v in values]
            )
        made = (hash_all(values, self.salt, self._known) % np.uint64(bins)).astype("int64")
        if masked is not None:
            made = np.where(masked, 0, made + 1)
        return made.reshape(shape)

    def _on_ragged(self, x):
        if self.output_mode in ("int", "one_hot"):
            return super()._on_ragged(x)
        ends = np.cumsum(backend.to_numpy(x.row_lengths()))[:-1]
        made = [self._encoded(row) for row in np.split(self._bins(x.flat_values), ends)]
        return backend.owner_of(type(x.flat_values)).to_array(np.stack(made))


class HashedCrossing(Binned):
    """Two or more features together as the number of a bin, by a hash.

    Called on a list or tuple of strings or integers of one shape: (), (batch,) or (batch, 1).

    Args:
        num_bins: How many bins there are.
        output_mode: "int" or "one_hot".

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.HashedCrossing(5)((np.array(["A", "B", "A"]), np.array([101, 102, 103]))).tolist()
    [1, 1, 4]
    """

    num_bins: int
    output_mode: str = "int"
    sparse: bool = False
    name: str = None
    dtype: str = None
    takes_list, stored = True, {"dtype": "_dtype_given"}

    def check(self, *parts):
        shown = [f"{_shape(x)} {getattr(x, 'dtype', type(x).__name__)}" for x in parts]
        if len(parts) < 2:
            raise ValueError(
                "`HashedCrossing` should be called on a list or tuple of at least two inputs. "
                f"Received: inputs={shown}"
            )
        shapes = {_shape(x) for x in parts}
        if len(shapes) > 1:
            raise ValueError(
                f"All `HashedCrossing` inputs should have equal shape. Received: inputs={shown}"
            )
        shape = shapes.pop()
        if len(shape) > 2 or len(shape) == 2 and shape[1] != 1:
            raise ValueError(
                "All `HashedCrossing` inputs should have shape `()`, `(batch_size)` or `(batch_size, "
                f"1)`. Received: inputs={shown}"
            )
        if any("float" in str(getattr(x, "dtype", "")) for x in parts):
            raise ValueError(
                "All `HashedCrossing` inputs should have an integer or string dtype. Received: "
                f"inputs={shown}"
            )

    def spec(self, *shapes):
        shape = shapes[0]
        if self.output_mode == "one_hot":
            shape = (*(shape[:1] or ()), self.num_bins)
        return shape, self.compute_dtype

    def compute_output_spec(self, *args, **kwargs):
        """A symbol with the shape and dtype of the outputs."""
        return super().compute_output_spec(*args, **kwargs)

    def compute(self, *inputs):
        columns, shape = [], None
        for x in inputs:
            if strings.holds_strings(x):
                values, shape = hashable(x)
                columns.append(hash_all(values, None, self._known))
            else:
                x = np.asarray(x)
                columns.append(x.ravel().astype("int64").view("u8"))
                shape = x.shape
        made = (crossed(columns) % np.uint64(self.num_bins)).astype("int64")
        made = self._encoded(made.reshape(shape))
        return made.reshape(*shape[:1], self.num_bins) if self.output_mode == "one_hot" else made

    def get_config(self):
        config = super().get_config()
        config.pop("trainable", None)
        return {**config, "dtype": self.compute_dtype}


def hashable(x):
    """Strings or integers as a flat list or array of bytes, and their shape."""
    if strings.holds_strings(x):
        if isinstance(x, np.ndarray) and x.dtype.kind == "U" and x.size:
            points = np.ascontiguousarray(x).view("u4")
            if points.size and points.max() < 128:  # characters of ASCII are their own bytes
                return points.astype("u1").view(f"S{points.size // x.size}").ravel(), x.shape
        if isinstance(x, np.ndarray) and x.dtype.kind == "S":
            return x.ravel(), x.shape
        return strings.flat_strings(x)
    x = np.asarray(backend.to_numpy(x))
    if x.dtype.kind == "f":
        x = x.astype("int64")
    return as_decimals(x), x.shape


def hash_all(values, salt, known):
    """The hash of each; those of strings that come again are in `known`, and kept there."""
    run = farmhash64 if salt is None else lambda v: siphash24(v, salt)
    as_bytes = lambda v: strings.flat_bytes(v)[0] if isinstance(v[0], str) else v
    if isinstance(values, np.ndarray) or not values:
        return run(values)
    if len(values) > 4096 and len(set(values[:4096])) > 2048:  # hardly any comes again
        return run(as_bytes(values))
    for _ in range(2):
        try:
            return np.fromiter(map(known.__getitem__, values), np.uint64, len(values))
        except KeyError:
            if len(known) > KEPT:
                known.clear()
            new = list(set(values) - known.keys())
            known.update(zip(new, run(as_bytes(new)).tolist()))
    return run(as_bytes(values))


def _shape(x):
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)
