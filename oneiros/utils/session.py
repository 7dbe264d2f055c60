"""What concerns the whole session: seeds, made-up names; and questions about symbols."""

from __future__ import annotations

import gc

from oneiros.core import naming, seeding, tree
from oneiros.core.symbol import Symbol

__all__ = ["clear_session", "get_source_inputs", "is_keras_tensor", "set_random_seed"]


def set_random_seed(seed):
    """Make everything left to chance repeat from here: Python's, NumPy's and the library's own.

    Weights, shuffles and splits are then the same on every backend.

    >>> from oneiros import utils
    >>> utils.set_random_seed(812)

    Raises:
        ValueError: if `seed` is not a whole number.
    """
    seeding.set_seed(seed)


def clear_session(free_memory=True):
    """Begin anew to number the names that layers and models are given.

    Args:
        free_memory: Whether to collect what is no longer referred to at once.
    """
    naming.reset()
    if free_memory:
        gc.collect()


def is_keras_tensor(x):
    """Whether `x` is a symbol: an array to be, of a functional model.

    >>> import oneiros
    >>> oneiros.utils.is_keras_tensor(oneiros.Input((2,)))
    True
    """
    return isinstance(x, Symbol)


def get_source_inputs(tensor):
    """The inputs that a symbol is computed from, in a list; anything else as it is."""
    if not is_keras_tensor(tensor):
        return tensor
    found, seen, waiting = [], set(), [tensor]
    while waiting:
        x = waiting.pop(0)
        if id(x) in seen:
            continue
        seen.add(id(x))
        parents = []
        if x.call is not None:
            arguments = tree.flatten((x.call.args, x.call.kwargs))
            parents = [v for v in arguments if isinstance(v, Symbol)]
        if not parents:
            found.append(x)
        waiting += parents
    return found
