"""Image layers that spread the values of pixels: by their extremes, or by their histogram."""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.layers.fields import DataFormat, Positive
from oneiros.layers.images.colour import _Colour
from oneiros.layers.images.fields import ValueRange

__all__ = ["AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "Equalization"]

LEVELS = 256


class AutoContrast(_Colour, optional=("images",)):
    """Each channel of each image stretched over the whole value range.

    Args:
        value_range: The least and the largest value of pixels.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.AutoContrast()(np.array([[[10.0], [20.0], [30.0]]], "float32")).tolist()
    [[[0.0], [127.5], [255.0]]]
    """

    value_range: ValueRange = (0, 255)
    random = False
    own_dtype = "never"

    def apply(self, x, amounts):
        low, high = (f(x, axis=(1, 2), keepdims=True) for f in (ops.min, ops.max))
        flat = ops.equal(low, high)
        least, most = map(float, self.value_range)
        factor = (most - least) / ops.where(flat, 1.0, high - low)
        return ops.where(flat, x, ops.clip((x - low) * factor + least, least, most))


def steps(groups, bins):
    """Where the numbers of each group begin, if groups of `bins` numbers lie end to end."""
    return np.arange(groups, dtype=np.int32) * np.int32(bins)


def counted(index, groups, bins):
    """How often each number stands in int32 `index`; those of each group are a row."""
    flat = ops.reshape(index, (-1, 1))
    zeros = np.zeros((groups * bins,), np.float32)
    ones = p.broadcast_to(np.ones((1,), np.float32), shape=(flat.shape[0],))
    return ops.reshape(p.scatter(zeros, flat, ones, mode="add"), (groups, bins))


class Equalization(_Colour):
    """Values spread so that all are about equally frequent, for each channel over the batch.

    It acts in training only.

    Args:
        value_range: The least and the largest value of pixels.
        bins: Steps of the histogram.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Equalization()(np.array([[[10.0], [20.0], [30.0]]], "float32")).tolist()
    [[[0.0], [128.0], [255.0]]]
    """

    value_range: ValueRange = (0, 255)
    bins: Positive = 256
    data_format: DataFormat = None
    random = False
    training_only = True

    def apply(self, x, amounts):
        x, channels = self.unit(x), x.shape[-1]
        index = ops.clip(x * float(self.bins - 1) + 1e-4, 0.0, float(self.bins - 1))
        index = ops.add(ops.cast(index, "int32"), steps(channels, self.bins))
        counts = counted(index, channels, self.bins)
        total = ops.cumsum(counts, axis=1)
        # the count of the least value that is there
        first = ops.min(ops.where(total > 0.0, total, 3e38), axis=1, keepdims=True)
        rest = total[:, -1:] - first
        table = ops.round((total - first) * 255.0 / ops.maximum(rest, 1.0)) * (1.0 / 255.0)
        made = ops.take(ops.reshape(table, (-1,)), index)
        return self.back(ops.where(ops.reshape(rest, (-1,)) > 0.0, made, x))

    def compute_output_spec(self, inputs, **kwargs):
        return super().compute_output_spec(inputs, **kwargs)


class ContrastLimitedAdaptiveHistogramEqualization(_Colour, optional=("images",)):
    """Equalization by tiles, with a limit to how much contrast grows (Zuiderveld, 1994).

    Args:
        value_range: The least and the largest value of pixels.
        clip_limit: How often a value may stand in a tile, in multiples of the mean; what exceeds
            that is spread over all values.
        tile_grid_size: Tiles down and across.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layer = layers.ContrastLimitedAdaptiveHistogramEqualization(tile_grid_size=(2, 2))
    >>> layer(np.ones((8, 8, 3), "float32")).shape
    (8, 8, 3)
    """

    value_range: ValueRange = (0, 255)
    clip_limit: float = 4.0
    tile_grid_size: tuple = (8, 8)
    data_format: DataFormat = None
    random = False
    own_dtype = "always"

    def _ready(self):
        super()._ready()
        grid = self.tile_grid_size
        if len(grid) != 2 or any(not isinstance(n, int) or n < 1 for n in grid):
            raise ValueError(
                f"{type(self).__name__}: `tile_grid_size` must be two positive integers; got {grid!r}"
            )

    def apply(self, x, amounts):
        batch, height, width, channels = x.shape
        rows, columns = self.tile_grid_size
        down, across = -(-height // rows), -(-width // columns)
        values = ops.cast(ops.clip(self.unit(x, 255.0) + 1e-4, 0.0, 255.0), "int32")
        # (batch, height, width, channels); tiles are filled up by mirrored pixels
        filled = values
        for axis, n, m in ((1, height, rows * down), (2, width, columns * across)):
            order = np.arange(m) % (2 * n)
            order = np.where(order < n, order, 2 * n - 1 - order).astype(np.int32)
            filled = ops.take(filled, order, axis=axis) if m > n else filled
        tiles = ops.reshape(filled, (batch, rows, down, columns, across, channels))
        tiles = ops.transpose(tiles, (0, 1, 3, 5, 2, 4))
        groups, places = batch * rows * columns * channels, down * across
        tiles = ops.add(ops.reshape(tiles, (groups, places)), steps(groups, LEVELS)[:, None])
        counts = counted(tiles, groups, LEVELS)
        limit = self.clip_limit * places / LEVELS
        kept = ops.minimum(counts, limit)
        spare = ops.sum(counts - kept, axis=1, keepdims=True)
        total = ops.cumsum(kept + spare * (1.0 / LEVELS), axis=1)
        first, last = total[:, :1], total[:, -1:]
        table = (total - first) / ops.maximum(last - first, 1e-6)
        table = ops.reshape(table, (-1,))  # of all tiles, one after the other
        (top, below, v), (left, right, u) = (
            _between(height, down, rows),
            _between(width, across, columns),
        )
        v, u = v[None, :, None, None], u[None, None, :, None]
        picture = np.arange(batch, dtype=np.int32)[:, None, None, None] * np.int32(rows * columns)
        channel = np.arange(channels, dtype=np.int32)

        def by(row, column):
            tile = picture + (row[None, :, None, None] * columns + column[None, None, :, None])
            return ops.take(table, ops.add(values, (tile * channels + channel) * LEVELS))

        upper = _blend(by(top, left), by(top, right), u)
        lower = _blend(by(below, left), by(below, right), u)
        return self.back(_blend(upper, lower, v))


def _between(n, size, count):
    """For each of `n` places the two nearest of `count` tiles of `size`, and the second's weight."""
    place = np.clip(np.arange(n) / size - 0.5, 0, count - 1)
    low = place.astype(np.int32)
    return low, np.minimum(low + 1, count - 1).astype(np.int32), (place - low).astype(np.float32)


def _blend(x, y, share):
    return x + ops.multiply(y - x, share)
