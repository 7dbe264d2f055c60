"""Random amounts, the same on every backend: functions of a seed by Threefry, in int32 arithmetic."""

from __future__ import annotations

import functools
import math

import numpy as np

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.core.op import to_dtype
from oneiros.random import bits

__all__ = ["Draws"]

POINTS = 4096  # of a tabulated quantile function


class Draws:
    """Random numbers of one seed; each call takes the next stream.

    Args:
        seed: Two uint32: a NumPy array, an array of a backend, or a symbol.
    """

    def __init__(self, seed):
        self.seed = seed
        words = p.bitcast(seed, dtype="int32")
        self.keys = [p.slice(words, start=(i,), stop=(i + 1,), strides=(1,)) for i in (0, 1)]
        self.stream = 0

    def words(self, shape):
        """Random int32 over their whole range."""
        self.stream += 1
        places = p.iota(shape=(math.prod(shape),), axis=0, dtype="int32")
        words, _ = bits.threefry(*self.keys, places, np.array([self.stream], np.int32))
        return p.reshape(words, shape=shape)

    def uniform(self, shape, low=0.0, high=1.0):
        """Numbers from `low` up to `high`."""
        whole = p.bitwise_and(
            p.shift_right(self.words(shape), np.array([8], np.int32)),
            np.array([2**24 - 1], np.int32),
        )
        y = p.multiply(p.cast(p.reshape(whole, shape=shape), dtype="float32"), 2.0**-24)
        return (
            y if (low, high) == (0.0, 1.0) else p.add(p.multiply(y, float(high - low)), float(low))
        )

    def chance(self, shape, low, high):
        """Whether something happens whose probability lies anywhere from `low` to `high`."""
        return p.less(self.uniform(shape), self.uniform(shape, low, high))

    def sign(self, shape):
        """-1 or 1."""
        return p.select(p.less(self.uniform(shape), 0.5), np.float32(-1), np.float32(1))

    def integers(self, shape, low, high):
        """int32 from `low` up to, not including, `high`."""
        y = p.floor(self.uniform(shape, 0.0, high - low))
        return p.add(p.cast(y, dtype="int32"), np.array(low, np.int32))

    def normal(self, shape):
        """Standard normal numbers."""
        middle = p.subtract(p.multiply(p.add(self.uniform(shape), 2.0**-25), 2.0), 1.0)
        return p.multiply(p.erfinv(middle), math.sqrt(2))

    def order(self, count):
        """The numbers below `count` in random order, int32."""
        return to_dtype(p.argsort(self.words((count,)), axis=0), "int32")

    def beta(self, shape, a, b):
        """Numbers with a beta distribution."""
        return self._by_quantiles(shape, ("betaincinv", a, b))

    def gamma(self, shape, a):
        """Numbers with a gamma distribution."""
        return self._by_quantiles(shape, ("gammaincinv", a))

    def _by_quantiles(self, shape, distribution):
        """Numbers by the inverse of a distribution function, between tabulated points."""
        table = _quantiles(*distribution)
        place = p.multiply(self.uniform(shape), float(POINTS))
        low = p.floor(place)
        index = p.cast(low, dtype="int32")
        left, right = (ops.take(table, p.add(index, np.array(i, np.int32))) for i in (0, 1))
        return p.add(left, p.multiply(p.subtract(right, left), p.subtract(place, low)))


@functools.cache
def _quantiles(name, *parameters):
    from scipy import special

    share = (np.arange(POINTS + 1) / POINTS).clip(1e-6, 1 - 1e-6)
    return getattr(special, name)(*parameters, share).astype(np.float32)
