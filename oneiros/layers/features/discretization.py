"""Numbers as bins, and the sketch that finds their boundaries."""

from __future__ import annotations

import itertools

import numpy as np

from oneiros import ops
from oneiros.core import backend
from oneiros.core.symbol import Symbol
from oneiros.layers.base import Layer
from oneiros.layers.features.encoding import check_mode, encode, encode_symbols, encoded_shape
from oneiros.layers.host import HostLayer
from oneiros.layers.text.batches import batches_of

__all__ = ["Discretization", "QuantileSketch"]


class QuantileSketch:
    """Quantiles of a stream in little memory (Munro and Paterson, 1980); sketches can be merged.

    Values wait in a buffer; full buffers are sorted, and two of one weight are merged into one of
    twice the weight, of which every other value is kept. Exact until the first merge.

    Args:
        epsilon: The most by which a rank may be wrong, as a fraction of all.

    >>> sketch = QuantileSketch()
    >>> sketch.add(np.arange(10.0))
    >>> sketch.quantiles([0.25, 0.5]).tolist()
    [1.5, 4.0]
    """

    def __init__(self, epsilon=0.01):
        self.size = max(4096, int(16 / max(epsilon, 1e-7)))
        self.waiting, self.count, self.levels = [], 0, {}

    def add(self, values):
        """Take more values."""
        values = np.asarray(values, "float64").ravel()
        for start in range(0, len(values), self.size):
            part = values[start : start + self.size]
            self.waiting.append(part)
            self.count += len(part)
            while self.count >= self.size:
                every = np.concatenate(self.waiting)
                self._carry(0, np.sort(every[: self.size]))
                self.waiting, self.count = [every[self.size :]], len(every) - self.size

    def merge(self, other):
        """Take what another sketch has taken."""
        for level, kept in other.levels.items():
            self._carry(level, kept)
        for part in other.waiting:
            self.add(part)

    def _carry(self, level, values):
        """Put a sorted buffer on its level; two make one on the next."""
        while level in self.levels:
            both = np.sort(np.concatenate([self.levels.pop(level), values]))
            values, level = both[level % 2 :: 2], level + 1
        self.levels[level] = values

    def weighted(self):
        """The values that are kept, sorted, and how many each stands for."""
        parts = [*self.waiting, *self.levels.values()]
        weights = [*([1] * len(self.waiting)), *(2**level for level in self.levels)]
        if not parts:
            return np.zeros(0), np.zeros(0)
        values = np.concatenate(parts)
        counts = np.concatenate([np.full(len(p), float(w)) for p, w in zip(parts, weights)])
        order = np.argsort(values, kind="stable")
        return values[order], counts[order]

    def quantiles(self, fractions):
        """The values at these fractions of all, interpolated."""
        values, counts = self.weighted()
        return np.interp(fractions, np.cumsum(counts) / counts.sum(), values)


class Discretization(HostLayer):
    """Numbers as the bins that they fall into.

    Args:
        bin_boundaries: Where one bin ends and the next begins, in rising order.
        num_bins: How many bins `adapt` makes, of equally many values each.
        epsilon: How exact they are: the most that a boundary's rank may be off.
        output_mode: "int", "one_hot", "multi_hot" or "count".

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Discretization(bin_boundaries=[0.0, 1.0])(np.array([-1.0, 0.5, 1.0])).tolist()
    [0, 1, 2]
    """

    bin_boundaries: list = None
    num_bins: int = None
    epsilon: float = 0.01
    output_mode: str = "int"
    sparse: bool = False
    dtype: str = None
    name: str = None
    keywords, stored = False, {"dtype": "_dtype_given"}
    on_host, _convert_input_args, _allow_non_tensor_positional_args = False, True, False

    def _ready(self):
        if self._dtype_given is not None:
            self.dtype_policy = self._dtype_given
        if self.num_bins is not None and self.num_bins < 0:
            raise ValueError(
                "`num_bins` must be greater than or equal to 0. Received: "
                f"`num_bins={self.num_bins}`"
            )
        if self.num_bins is not None and self.bin_boundaries is not None:
            self._given_both()
        if self.num_bins is None and self.bin_boundaries is None:
            raise ValueError("You need to set either `num_bins` or `bin_boundaries`.")
        check_mode(self, ("int", "one_hot", "multi_hot", "count"))
        if self.bin_boundaries is not None:
            edges = [float(b) for b in self.bin_boundaries]
            if any(a > b for a, b in itertools.pairwise(edges)):
                raise ValueError(
                    "Discretization: `bin_boundaries` must be in rising order. Received: "
                    f"bin_boundaries={edges}"
                )
            self.bin_boundaries = edges
        object.__setattr__(self, "_sketch", QuantileSketch(self.epsilon))

    def _given_both(self):
        raise ValueError(
            "Both `num_bins` and `bin_boundaries` should not be set. Received: "
            f"`num_bins={self.num_bins}` and `bin_boundaries={self.bin_boundaries}`"
        )

    def adapt(self, data, steps=None):
        """Find the boundaries: of arrays, or of what gives batches, of any length.

        Args:
            data: Numbers in arrays, columns of tables, tf.data, DataLoader, generators.
            steps: The most batches to take.
        """
        if self.num_bins is None:
            raise ValueError(
                "Cannot adapt a Discretization layer that has been initialized with "
                "`bin_boundaries`, use `num_bins` instead."
            )
        self.reset_state()
        for batch in batches_of(data, steps)[1]:
            self.update_state(batch)
        self.finalize_state()

    def update_state(self, data):
        """Take one more batch."""
        x = data if isinstance(data, np.ndarray) else getattr(data, "to_numpy", lambda: None)()
        self._sketch.add(np.asarray(backend.to_numpy(data) if x is None else x, "float32"))

    def finalize_state(self):
        """Make the boundaries of what was taken."""
        if self.num_bins is None or not self._sketch.count and not self._sketch.levels:
            return
        values, _ = self._sketch.weighted()
        if len(values) < self.num_bins:
            edges = values[:-1]
        else:
            edges = self._sketch.quantiles(np.arange(1, self.num_bins) / self.num_bins)
        self.bin_boundaries = [float(b) for b in edges.astype("float32")]

    def reset_state(self):
        """Forget what was taken."""
        object.__setattr__(self, "_sketch", QuantileSketch(self.epsilon))

    @property
    def output_dtype(self):
        """The dtype of the outputs."""
        return "int32" if self.output_mode == "int" else self.compute_dtype

    def _edges(self):
        if self.bin_boundaries is None:
            raise ValueError(
                f"Discretization '{self.name}' has no boundaries: give `bin_boundaries`, or call "
                "`adapt(data)` before the layer is used"
            )
        return np.asarray(self.bin_boundaries, "float32")

    def __call__(self, inputs):
        staged = self._staged(inputs)
        return Layer.__call__(self, inputs) if staged is None else staged

    def spec(self, shape):
        return encoded_shape(shape, self.output_mode, len(self._edges()) + 1), self.output_dtype

    def compute(self, inputs):
        edges = self._edges()
        bins = np.searchsorted(edges, np.asarray(inputs, "float32"), side="right")
        return encode(bins, self.output_mode, len(edges) + 1, self.output_dtype)

    def call(self, inputs):
        if isinstance(inputs, np.ndarray):
            return backend.to_array(self.compute(inputs))
        x, edges = ops.cast(inputs, "float32"), self._edges()
        count = len(edges)
        owner = None if isinstance(x, (Symbol, np.ndarray)) else backend.owner_of(type(x))
        edges = edges if owner is None else owner.to_array(edges)
        if not count:
            bins = ops.zeros(x.shape, "int32")
        elif count <= 64:  # comparing is quicker than searching
            x = ops.expand_dims(x, -1)
            bins = ops.sum(ops.cast(ops.logical_not(ops.less(x, edges)), "int32"), axis=-1)
        else:
            bins = ops.searchsorted(edges, x, side="right")
        dtype = self.output_dtype
        return encode_symbols(bins, self.output_mode, count + 1, dtype)

    def convert_weight(self, weight):
        """A weight as an array of the session's backend."""
        return backend.to_array(weight)

    def get_config(self):
        names = ("bin_boundaries", "num_bins", "epsilon", "output_mode", "sparse", "name", "dtype")
        return {n: getattr(self, n) for n in names}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        edges = config.get("bin_boundaries")
        if edges is None or config.get("num_bins") is None:
            return super().from_config(config)
        layer = super().from_config({**config, "bin_boundaries": None})
        layer.bin_boundaries = [float(b) for b in edges]
        return layer
