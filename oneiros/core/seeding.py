"""Seeds: the process-wide source from which all that is unseeded takes its own.

All host-side chance (initial weights, shuffles, splits) is NumPy's Philox, a counter-based
generator whose streams for different seeds are independent.
"""

import os
import random
import threading

import numpy as np

__all__ = ["fresh_seed", "generator", "on_seed", "set_seed"]

# Called with the new seed: the generators of frameworks and others beside ours.
on_seed = []

_lock = threading.Lock()
_source = None


def set_seed(seed):
    """Seed Python's `random`, NumPy's global generator and the source of fresh seeds.

    >>> set_seed(7); first = fresh_seed(); set_seed(7); first == fresh_seed()
    True

    Raises:
        ValueError: if `seed` is not a whole number.
    """
    global _source
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ValueError(f"`seed` must be a whole number; got {seed!r}")
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    with _lock:
        _source = generator(seed)
    for react in on_seed:
        react(seed)


def fresh_seed():
    """A seed for something that was given none, from 1 to 2**31 - 1."""
    with _lock:
        if _source is None:  # NumPy's generators are not loaded for it
            return 1 + int.from_bytes(os.urandom(8)) % (2**31 - 1)
        return int(_source.integers(1, 2**31))


def generator(seed=None):
    """A NumPy generator over Philox; `seed` is a whole number, a list of them, or None for fresh.

    >>> float(generator(3).random()) == float(generator(3).random())
    True
    """
    if seed is None:
        seed = fresh_seed()
    if isinstance(seed, int) and seed < 0:
        seed = [1, -seed]  # NumPy takes none below 0
    return np.random.Generator(np.random.Philox(seed))
