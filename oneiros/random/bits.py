"""Random bits, uniform and normal numbers: the backend's own, or portable ones, equal on every
backend.

Portable bits are Threefry-2x32 with 20 rounds (Salmon et al., 2011, "Parallel random numbers: as
easy as
1, 2, 3"): a cipher of a counter, so the n-th number needs no other. It is written over int32, whose
sums
wrap around on every backend; only the last step names the bits uint32.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import backend, config
from oneiros.core import primitives as p
from oneiros.core.graph import STACK

__all__ = ["bits", "fold", "normal", "threefry", "uniform", "words"]

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA
EXACT = {
    "float16": 11,
    "bfloat16": 8,
}  # how many bits an integer may have to be exact in these; else 24


def _int32(value):
    return np.array([value], np.uint32).view(np.int32)


def threefry(key0, key1, x0, x1):
    """The two words that the key turns the counters (x0, x1) into. All are int32 arrays."""
    keys = (key0, key1, p.bitwise_xor(p.bitwise_xor(key0, key1), _int32(PARITY)))
    x0, x1 = p.add(x0, key0), p.add(x1, key1)
    for i in range(20):
        x0 = p.add(x0, x1)
        x1 = p.bitwise_xor(_rotated(x1, ROTATIONS[i % 8]), x0)
        if i % 4 == 3:
            n = i // 4 + 1
            x0 = p.add(x0, keys[n % 3])
            x1 = p.add(x1, p.add(keys[(n + 1) % 3], _int32(n)))
    return x0, x1


def _rotated(x, by):
    left = p.shift_left(x, _int32(by))
    right = p.bitwise_and(p.shift_right(x, _int32(32 - by)), _int32(2**by - 1))
    return p.bitwise_or(left, right)


def _keys(seed):
    """The two words of a seed, as int32 arrays of one element."""
    seed = p.bitcast(seed, dtype="int32")
    return [p.slice(seed, start=(i,), stop=(i + 1,), strides=(1,)) for i in (0, 1)]


def fold(seed, number):
    """Another seed, made of `seed` and an int: for functions that need several streams of one
    seed."""
    if _portable():
        made = p.concatenate(*threefry(*_keys(seed), _int32(number), _int32(0xF01D)), axis=0)
    else:  # the backend's generator mixes its seed itself
        apart = np.array([number * 0x9E3779B9 % 2**32, number * 0x85EBCA6B % 2**32], np.uint32)
        made = p.bitwise_xor(p.bitcast(seed, dtype="int32"), apart.view(np.int32))
    return p.bitcast(made, dtype="uint32")


def _portable():
    return config.random_generator() == "portable"


def sizes(shape):
    """The sizes as ints; those that are known only later stay what they are."""
    return tuple(n if isinstance(n, int) else int(n) for n in shape)


def words(seed, shape):
    """Random int32 over their whole range."""
    shape = sizes(shape)
    if not _portable():
        return p.bitcast(p.random_bits(_placed(seed), shape=shape), dtype="int32")
    count = math.prod(shape)
    half = (count + 1) // 2
    pair = threefry(*_keys(seed), p.iota(shape=(half,), axis=0, dtype="int32"), _int32(0))
    flat = p.concatenate(*pair, axis=0)
    return p.reshape(p.slice(flat, start=(0,), stop=(count,), strides=(1,)), shape=shape)


def bits(seed, shape):
    """Random uint32."""
    if not _portable():
        return p.random_bits(_placed(seed), shape=sizes(shape))
    return p.bitcast(words(seed, shape), dtype="uint32")


def _placed(seed):
    """A host seed as an array of the session's backend, so that its own generator is asked."""
    return backend.to_array(seed) if isinstance(seed, np.ndarray) and STACK.top is None else seed


def _whole(word, count):
    """The first `count` bits of random int32, as numbers from 0."""
    return p.bitwise_and(p.shift_right(word, _int32(32 - count)), _int32(2**count - 1))


def uniform(seed, shape, dtype):
    """Numbers uniform in [0, 1)."""
    shape = sizes(shape)
    if not _portable():
        return p.random_uniform(_placed(seed), shape=shape, dtype=dtype)
    if dtype == "float64":
        high, low = (
            p.cast(_whole(words(s, shape), n), dtype=dtype)
            for s, n in ((seed, 27), (fold(seed, 1), 26))
        )
        return p.multiply(p.add(p.multiply(high, 2.0**26), low), 2.0**-53)
    count = EXACT.get(dtype, 24)
    return p.multiply(p.cast(_whole(words(seed, shape), count), dtype=dtype), 2.0**-count)


def normal(seed, shape, dtype):
    """Numbers with the standard normal distribution."""
    shape = sizes(shape)
    if not _portable():
        return p.random_normal(_placed(seed), shape=shape, dtype=dtype)
    inner = dtype if dtype == "float64" else "float32"
    # The middles of 2**24 equal parts of (-1, 1): exact in float32, symmetric, never an end.
    middle = p.subtract(p.multiply(p.add(uniform(seed, shape, inner), 2.0**-25), 2.0), 1.0)
    middle = p.cast(middle, dtype=inner)
    y = p.multiply(p.erfinv(middle), math.sqrt(2))
    return y if dtype == inner else p.cast(y, dtype=dtype)
