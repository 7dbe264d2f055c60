"""Where seeds come from: a generator whose state is a variable, so that compiled steps and files
hold it."""

from __future__ import annotations

import numpy as np

from oneiros.core import backend, seeding
from oneiros.core import primitives as p
from oneiros.core.graph import STACK
from oneiros.core.naming import auto_name
from oneiros.core.scopes import STATE, name_scope
from oneiros.core.variable import Variable

__all__ = ["SeedGenerator", "draw_seed", "global_generator"]


class SeedGenerator:
    """A source of seeds that never gives the same one twice.

    Its state is a variable of two uint32, the seed and how many were given. Random layers hold one.

    Args:
        seed: An int from 0 to 2**32 - 1, or None for one of its own.
        name: Its name; made up if None.

    Raises:
        ValueError: if `seed` is not an int.

    >>> import oneiros
    >>> source = oneiros.random.SeedGenerator(7)
    >>> source.next().tolist(), source.next().tolist()
    ([7, 0], [7, 1])
    """

    _is_seed_generator = True  # layers keep the states of those that they hold

    def __init__(self, seed=None, name=None, **kwargs):
        kwargs.pop("backend", None)
        if kwargs:
            raise ValueError(f"SeedGenerator: unknown arguments {sorted(kwargs)}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
            raise ValueError(f"SeedGenerator: seed must be an int or None; got {seed!r}")
        self.name = name or auto_name("seed_generator")
        self._initial_seed = seed
        first = seeding.fresh_seed() if seed is None else int(seed) % 2**32
        with name_scope(self.name):
            self.state = Variable(
                np.array([first, 0], np.uint32), dtype="uint32", trainable=False, autocast=False,
                name="seed_generator_state",
            )  # fmt: skip

    def next(self, ordered=True):
        """The seed of the next random numbers, an array of two uint32; the state moves on.

        `ordered` is of use to no backend: seeds come in order anyhow.
        """
        seed = self.state.value
        if backend.current().live and backend.current().owns(type(seed)):
            seed = backend.current().copy(seed)
        if not _only_shapes_matter():
            moved = p.add(
                p.bitcast(seed, dtype="int32"), np.array([0, 1], np.int32)
            )  # sums wrap around
            self.state.assign(p.bitcast(moved, dtype="uint32"))
        return seed

    def get_config(self):
        return {"seed": self._initial_seed, "name": self.name}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def _only_shapes_matter():
    """Whether shapes are inferred, outside of any pure function: then no state may move."""
    return getattr(STACK.top, "abstract", False) and STATE.stateless is None


_global = None


def global_generator():
    """The generator for those who give no seed."""
    global _global
    if _global is None:
        trace, STACK.top = STACK.top, None
        try:
            _global = SeedGenerator(name="global_seed_generator")
        finally:
            STACK.top = trace
    return _global


def _restart(seed):
    """After `set_random_seed` the unseeded numbers begin again, too."""
    global _global
    _global = SeedGenerator(seed, name="global_seed_generator")


seeding.on_seed.append(_restart)


def draw_seed(seed):
    """An array of two uint32 from what the user gives as `seed`: an int, a generator, an array or
    None."""
    if isinstance(seed, SeedGenerator):
        return seed.next()
    if seed is None:
        return global_generator().next()
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        return np.array([int(seed) % 2**32, 0], np.uint32)
    if tuple(getattr(seed, "shape", ())) == (2,):
        return seed.value if isinstance(seed, Variable) else seed
    raise ValueError(
        f"`seed` must be an int, a SeedGenerator or None; got {seed!r} of type "
        f"{type(seed).__name__}"
    )
