"""Distributions over the bits of `bits`: each is a pure function of its seed.

`seed` is an int (the same numbers every time), a `SeedGenerator` (others every time), or None for
the
session's own generator.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.dtypes import is_float, is_integer, standardize_dtype
from oneiros.core.op import array, dtype_of, float_of, to_dtype
from oneiros.random import bits
from oneiros.random.seed_generator import draw_seed

__all__ = [
    "beta", "binomial", "categorical", "dropout", "gamma", "normal", "randint", "shuffle",
    "truncated_normal", "uniform",
]  # fmt: skip

# Of rejection; each accepts at least 86 of 100, so that 1 in 10 million takes its mode instead.
ROUNDS = 8


def _float(name, dtype):
    dtype = standardize_dtype(dtype)
    if not is_float(dtype):
        raise ValueError(f"{name}: dtype must be a floating one; got {dtype}")
    return dtype


def _shape(name, shape):
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(n is None for n in shape):
        raise TypeError(f"{name}: all sizes of shape must be known; got {shape}")
    return shape


def _number(x, dtype):
    """`x` as a plain number or an array of `dtype`."""
    return float(x) if isinstance(x, (bool, int, float)) else to_dtype(array(x), dtype)


def normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Numbers with a normal distribution.

    Args:
        shape: Ints.
        mean, stddev: Numbers, or arrays that broadcast to `shape`.
        dtype: A floating dtype; the default float if None.
        seed: See the module.

    >>> import oneiros
    >>> oneiros.random.normal((2, 3), seed=7).shape
    (2, 3)
    """
    dtype = _float("normal", dtype)
    return _moved(bits.normal(draw_seed(seed), _shape("normal", shape), dtype), mean, stddev, dtype)


def _moved(y, mean, stddev, dtype):
    """Standard numbers `y` with another mean and deviation."""
    mean, stddev = _number(mean, dtype), _number(stddev, dtype)
    y = y if type(stddev) is float and stddev == 1.0 else p.multiply(y, stddev)
    return y if type(mean) is float and mean == 0.0 else p.add(y, mean)


def truncated_normal(shape, mean=0.0, stddev=1.0, dtype=None, seed=None):
    """Numbers with a normal distribution, none further than two deviations from the mean.

    >>> import oneiros
    >>> bool(abs(oneiros.random.truncated_normal((100,), seed=7)).max() <= 2)
    True
    """
    dtype = _float("truncated_normal", dtype)
    inner = dtype if dtype == "float64" else "float32"
    u = bits.uniform(draw_seed(seed), _shape("truncated_normal", shape), inner)
    edge = math.erf(math.sqrt(2))  # the share of the distribution that is kept
    y = p.multiply(p.erfinv(p.add(p.multiply(u, 2 * edge), -edge)), math.sqrt(2))
    return _moved(to_dtype(p.minimum(p.maximum(y, -2.0), 2.0), dtype), mean, stddev, dtype)


def uniform(shape, minval=0.0, maxval=1.0, dtype=None, seed=None):
    """Numbers uniform from `minval` up to, not including, `maxval`.

    >>> import oneiros
    >>> oneiros.random.uniform((3,), seed=7).shape
    (3,)
    """
    dtype = _float("uniform", dtype)
    y = bits.uniform(draw_seed(seed), _shape("uniform", shape), dtype)
    low, high = _number(minval, dtype), _number(maxval, dtype)
    if type(low) is type(high) is float:
        return y if (low, high) == (0.0, 1.0) else p.add(p.multiply(y, high - low), low)
    return p.add(
        p.multiply(y, p.subtract(*(array(v) if type(v) is float else v for v in (high, low)))), low
    )


def randint(shape, minval, maxval, dtype="int32", seed=None):
    """Integers uniform from `minval` up to, not including, `maxval`.

    >>> import oneiros
    >>> sorted(set(oneiros.random.randint((100,), 3, 6, seed=7).tolist()))
    [3, 4, 5]
    """
    dtype = standardize_dtype(dtype)
    if not is_integer(dtype):
        raise ValueError(f"randint: dtype must be an integer one; got {dtype}")
    seed, shape = draw_seed(seed), _shape("randint", shape)
    low, high = (_integer(v) for v in (minval, maxval))
    if type(low) is type(high) is int:
        y = _below(seed, shape, max(high - low, 1))
    else:
        low, high = (
            np.asarray(v, np.int32) if type(v) is int else to_dtype(array(v), "int32")
            for v in (low, high)
        )
        y = p.remainder(_natural(seed, shape, 31), p.maximum(p.subtract(high, low), 1))
    return to_dtype(p.add(y, low), dtype)


def _integer(value):
    return int(value) if isinstance(value, (bool, int, float, np.number)) else value


def _natural(seed, shape, count):
    """Integers of `count` random bits, up to 31."""
    word = bits.words(seed, shape)
    return p.bitwise_and(p.shift_right(word, np.int32(32 - count)), np.int32(2**count - 1))


def _below(seed, shape, span):
    """Integers uniform below `span`: the remainder of a number of 60 bits or more, digit by
    digit."""
    if span > 2**30:
        return p.remainder(_natural(seed, shape, 31), np.int32(min(span, 2**31 - 1)))
    digit = 31 - (span - 1).bit_length()  # what is left, shifted by a digit, stays below 2**31
    rest = None
    for word in (_natural(seed, shape, 31), _natural(bits.fold(seed, 1), shape, 31)):
        left = 31
        while left > 0:
            take = min(digit, left)
            left -= take
            part = p.bitwise_and(p.shift_right(word, np.int32(left)), np.int32(2**take - 1))
            if rest is not None:
                part = p.bitwise_or(p.shift_left(rest, np.int32(take)), part)
            rest = p.remainder(part, np.int32(span))
    return rest


def categorical(logits, num_samples, dtype="int32", seed=None):
    """Class numbers drawn with the probabilities `softmax(logits)`.

    Args:
        logits: Array (batch, classes).
        num_samples: How many to draw for each row.
        dtype: An integer dtype.
        seed: See the module.

    >>> import oneiros
    >>> oneiros.random.categorical([[0.0, 1000.0]], 3, seed=7).tolist()
    [[1, 1, 1]]
    """
    logits = float_of(logits)
    if len(logits.shape) != 2:
        raise ValueError(
            "categorical: logits must have the axes (batch, classes); got shape "
            f"{tuple(logits.shape)}"
        )
    batch, classes = logits.shape
    inner = dtype_of(logits) if dtype_of(logits) == "float64" else "float32"
    u = bits.uniform(draw_seed(seed), (batch, num_samples, classes), inner)
    noise = p.negative(
        p.log(p.negative(p.log(u)))
    )  # Gumbel: the argmax has the softmax's distribution
    logits = p.reshape(to_dtype(logits, inner), shape=(batch, 1, classes))
    return to_dtype(p.argmax(p.add(logits, noise), axis=2), standardize_dtype(dtype))


def dropout(inputs, rate, noise_shape=None, seed=None):
    """`inputs` with a share `rate` of them 0 and the others multiplied by `1 / (1 - rate)`.

    Args:
        inputs: Array.
        rate: The share, from 0 to 1.
        noise_shape: Ints that broadcast to the shape of `inputs`: where it is 1, all are kept or
            dropped
            together. None stands for the size of `inputs`.
        seed: See the module.

    >>> import oneiros
    >>> sorted(set(oneiros.random.dropout([1.0] * 50, 0.5, seed=7).tolist()))
    [0.0, 2.0]
    """
    x = float_of(inputs)
    seed = draw_seed(seed)
    if not isinstance(rate, (int, float)):
        u = bits.uniform(seed, _noise_shape(x, noise_shape), "float32")
        kept = p.greater_equal(u, to_dtype(array(rate), "float32"))
        scale = p.divide(1.0, to_dtype(p.subtract(1.0, array(rate)), dtype_of(x)))
        return p.select(kept, p.multiply(x, scale), 0.0)
    if rate <= 0:
        return x
    if rate >= 1:
        return p.multiply(x, 0.0)
    # Words over the whole range of int32: those from the bound on are a share 1 - rate.
    bound = np.int32(min(round(rate * 2**32) - 2**31, 2**31 - 1))
    kept = p.greater_equal(bits.words(seed, _noise_shape(x, noise_shape)), bound)
    return p.select(kept, p.multiply(x, 1 / (1 - rate)), 0.0)


def _noise_shape(x, noise_shape):
    if noise_shape is None:
        return tuple(x.shape)
    shape = tuple(m if n is None else n for n, m in zip(noise_shape, x.shape))
    if len(noise_shape) != len(x.shape) or any(n not in (1, m) for n, m in zip(shape, x.shape)):
        raise ValueError(
            f"dropout: noise_shape {tuple(noise_shape)} does not broadcast to inputs of "
            f"{tuple(x.shape)}"
        )
    return shape


def shuffle(x, axis=0, seed=None):
    """`x` with its slices along `axis` in random order.

    >>> import oneiros
    >>> sorted(oneiros.random.shuffle([1, 2, 3], seed=7).tolist())
    [1, 2, 3]
    """
    x = array(x)
    axis %= max(len(x.shape), 1)
    order = p.argsort(bits.words(draw_seed(seed), (x.shape[axis],)), axis=0)
    return p.take(x, order, axis=axis)


def gamma(shape, alpha, dtype=None, seed=None):
    """Numbers with a gamma distribution of the shape parameter `alpha` and the rate 1.

    By rejection (Marsaglia and Tsang, 2000).

    >>> import oneiros
    >>> bool((oneiros.random.gamma((100,), 2.0, seed=7) > 0).all())
    True
    """
    dtype = _float("gamma", dtype)
    y = p.exp(_log_gamma(draw_seed(seed), _shape("gamma", shape), alpha, dtype))
    return to_dtype(y, dtype)


def beta(shape, alpha, beta, dtype=None, seed=None):
    """Numbers in (0, 1) with a beta distribution.

    >>> import oneiros
    >>> bool((oneiros.random.beta((100,), 0.1, 0.1, seed=7) <= 1).all())
    True
    """
    dtype = _float("beta", dtype)
    seed, shape = draw_seed(seed), _shape("beta", shape)
    x = _log_gamma(seed, shape, alpha, dtype)
    y = _log_gamma(bits.fold(seed, 100), shape, beta, dtype)
    return to_dtype(p.sigmoid(p.subtract(x, y)), dtype)


def _log_gamma(seed, shape, alpha, dtype):
    """The logarithms of numbers with a gamma distribution: for a small `alpha` these are far below
    0."""
    inner = dtype if dtype == "float64" else "float32"
    alpha = p.broadcast_to(to_dtype(array(alpha), inner), shape=tuple(map(int, shape)))
    # Below 1 draw for alpha + 1 and multiply by u ** (1 / alpha).
    small = p.less(alpha, 1.0)
    d = p.subtract(p.select(small, p.add(alpha, 1.0), alpha), 1 / 3)
    c = p.divide(1.0, p.sqrt(p.multiply(d, 9.0)))
    log_v = p.multiply(alpha, 0.0)
    done = p.less(alpha, -math.inf)
    for i in range(ROUNDS):
        x = bits.normal(bits.fold(seed, 2 * i), shape, inner)
        u = bits.uniform(bits.fold(seed, 2 * i + 1), shape, inner)
        root = p.add(p.multiply(c, x), 1.0)
        positive = p.greater(root, 0.0)
        log_new = p.multiply(p.log(p.select(positive, root, 1.0)), 3.0)
        bound = p.multiply(p.multiply(x, x), 0.5)
        bound = p.add(bound, p.multiply(d, p.add(p.subtract(1.0, p.exp(log_new)), log_new)))
        accepted = p.logical_and(positive, p.less(p.log(u), bound))
        log_v = p.select(p.logical_and(accepted, p.logical_not(done)), log_new, log_v)
        done = p.logical_or(done, accepted)
    y = p.add(p.log(d), log_v)
    u = p.subtract(1.0, bits.uniform(bits.fold(seed, 2 * ROUNDS), shape, inner))  # in (0, 1]
    return p.select(small, p.add(y, p.divide(p.log(u), alpha)), y)


def binomial(shape, counts, probabilities, dtype=None, seed=None):
    """How many of `counts` trials succeed, each with the given probability.

    For small means by adding up the distribution, for large ones by rejection (Hörmann, 1993,
    BTRS).

    Args:
        shape: Ints.
        counts, probabilities: Numbers, or arrays that broadcast to `shape`; NaN comes where they
            are out of
            their ranges.
        dtype: A floating dtype.
        seed: See the module.

    >>> import oneiros
    >>> bool((oneiros.random.binomial((100,), 4, 0.5, seed=7) <= 4).all())
    True
    """
    dtype = _float("binomial", dtype)
    inner = dtype if dtype == "float64" else "float32"
    seed, shape = draw_seed(seed), tuple(map(int, _shape("binomial", shape)))
    n, q = (p.broadcast_to(to_dtype(array(v), inner), shape=shape) for v in (counts, probabilities))
    flipped = p.greater(q, 0.5)
    r = p.select(flipped, p.subtract(1.0, q), q)
    few = p.less(p.multiply(n, r), 10.0)
    y = p.select(
        few, _by_sums(seed, shape, n, r, inner), _by_rejection(seed, shape, n, r, few, inner)
    )
    y = p.select(flipped, p.subtract(n, y), y)
    valid = p.logical_and(
        p.greater_equal(n, 0.0), p.logical_and(p.greater_equal(q, 0.0), p.less_equal(q, 1.0))
    )
    return to_dtype(p.select(valid, y, math.nan), dtype)


def _by_sums(seed, shape, n, q, dtype):
    """Binomial numbers with a mean below 10: how many sums of the distribution lie below a uniform
    number."""
    u = bits.uniform(bits.fold(seed, 0), shape, dtype)
    odds = p.divide(q, p.subtract(1.0, q))
    share = p.exp(p.multiply(n, p.log1p(p.negative(q))))
    total, y = share, p.multiply(u, 0.0)
    for k in range(45):  # the tail behind it is below 1e-14
        y = p.add(
            y, p.cast(p.logical_and(p.greater_equal(u, total), p.less(float(k), n)), dtype=dtype)
        )
        share = p.multiply(share, p.multiply(p.divide(p.subtract(n, float(k)), k + 1.0), odds))
        total = p.add(total, p.maximum(share, 0.0))
    return y


def _by_rejection(seed, shape, n, q, unused, dtype):
    """Binomial numbers with a mean of at least 10 and `q` up to one half."""
    n, q = p.select(unused, 100.0, n), p.select(unused, 0.5, q)
    rest = p.subtract(1.0, q)
    spread = p.sqrt(p.multiply(p.multiply(n, q), rest))
    b = p.add(p.multiply(spread, 2.53), 1.15)
    a = p.add(p.add(p.multiply(b, 0.0248), -0.0873), p.multiply(q, 0.01))
    center = p.add(p.multiply(n, q), 0.5)
    quick = p.subtract(0.92, p.divide(4.2, b))
    alpha = p.multiply(p.add(p.divide(5.1, b), 2.83), spread)
    odds = p.divide(q, rest)
    mode = p.floor(p.multiply(p.add(n, 1.0), q))
    y, done = mode, unused
    for i in range(ROUNDS + 2):
        u = p.add(bits.uniform(bits.fold(seed, 2 * i + 1), shape, dtype), -0.5)
        v = bits.uniform(bits.fold(seed, 2 * i + 2), shape, dtype)
        width = p.subtract(0.5, p.abs(u))
        k = p.floor(p.add(p.multiply(p.add(p.divide(p.multiply(a, 2.0), width), b), u), center))
        inside = p.logical_and(p.greater_equal(k, 0.0), p.less_equal(k, n))
        k1 = p.minimum(p.maximum(k, 0.0), n)
        easy = p.logical_and(p.greater_equal(width, 0.07), p.less_equal(v, quick))
        height = p.log(
            p.divide(p.multiply(v, alpha), p.add(p.divide(a, p.multiply(width, width)), b))
        )
        accepted = p.logical_and(
            inside, p.logical_or(easy, p.less_equal(height, _log_ratio(n, k1, mode, odds)))
        )
        y = p.select(p.logical_and(accepted, p.logical_not(done)), k1, y)
        done = p.logical_or(done, accepted)
    return y


def _log_ratio(n, k, mode, odds):
    """The logarithm of the binomial probability of `k` over that of `mode`, from Stirling's
    series."""
    plus = lambda x: p.add(x, 1.0)
    minus = lambda x: plus(p.subtract(n, x))
    terms = [
        p.multiply(p.add(mode, 0.5), p.log(p.divide(plus(mode), p.multiply(odds, minus(mode))))),
        p.multiply(plus(n), p.log(p.divide(minus(mode), minus(k)))),
        p.multiply(p.add(k, 0.5), p.log(p.divide(p.multiply(odds, minus(k)), plus(k)))),
        _stirling(mode), _stirling(p.subtract(n, mode)),
        p.negative(_stirling(k)), p.negative(_stirling(p.subtract(n, k))),
    ]  # fmt: skip
    total = terms[0]
    for term in terms[1:]:
        total = p.add(total, term)
    return total


def _stirling(k):
    """What Stirling's formula lacks of `log(k!)`: `log k! - (k + 1/2) log(k + 1) + (k + 1) - log(2
    pi) / 2`."""
    k1 = p.add(k, 1.0)
    inverse = p.divide(1.0, p.multiply(k1, k1))
    series = p.subtract(
        1 / 12, p.multiply(p.subtract(1 / 360, p.multiply(inverse, 1 / 1260)), inverse)
    )
    return p.divide(series, k1)
