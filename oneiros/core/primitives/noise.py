"""Random primitives: pure functions of a seed, an array of two uint32 (seed, counter)."""

from __future__ import annotations

from oneiros.core.primitive import primitive
from oneiros.core.spec import Spec

__all__ = ["random_bits", "random_normal", "random_uniform"]


@primitive(expands=True)
def random_bits(seed, *, shape):
    """Uniform uint32 bits from the backend's generator."""
    return Spec(shape, "uint32")


@primitive(expands=True)
def random_uniform(seed, *, shape, dtype):
    """Floats uniform in [0, 1) from the backend's generator."""
    return Spec(shape, dtype)


@primitive(expands=True)
def random_normal(seed, *, shape, dtype):
    """Standard normal floats from the backend's generator."""
    return Spec(shape, dtype)
