"""What several ops share: axes in explicit form, reductions that keep their axes, wider
statistics."""

from __future__ import annotations

import operator

from oneiros.core import primitives as p
from oneiros.core.op import dtype_of
from oneiros.core.spec import agree

__all__ = ["agree", "hot", "over", "spread", "whole", "wide", "within"]


def within(x, axis, name, argument="axis"):
    """`axis` (an int, ints, or None for all) as sorted non-negative axes of `x`.

    Raises:
        ValueError: if one lies outside of `x`, or one is named twice.
    """
    rank = len(x.shape)
    if axis is None:
        return tuple(range(rank))
    if type(axis) is int and -rank <= axis < rank:
        return (axis % rank,)
    given = tuple(axis) if isinstance(axis, (tuple, list)) else (operator.index(axis),)
    for i in given:
        if not -rank <= i < rank:
            raise ValueError(f"{name}: {argument} must be within {rank} axes; got {axis}")
    axes = tuple(sorted({i % rank for i in given}))
    if len(axes) < len(given):
        raise ValueError(f"{name}: {argument} names an axis twice; got {axis}")
    return axes


def over(reduce, x, axes):
    """`x` reduced over `axes`, which stay with length 1."""
    return p.reshape(reduce(x, axes=axes), shape=p.kept(x.shape, axes))


def spread(y, x, axes):
    """`y`, reduced from `x` over `axes`, with these again as axes of length 1."""
    return p.reshape(y, shape=p.kept(x.shape, axes))


def wide(x):
    """`x`, in float32 if its dtype is too narrow for sums."""
    return p.cast(x, dtype="float32") if dtype_of(x) in ("float16", "bfloat16") else x


def hot(x, count, axis):
    """Whether each place along a new `axis` of length `count` is the one that the integers `x`
    name."""
    x, shape = whole(x), tuple(x.shape)
    lead = p.reshape(x, shape=(*shape[:axis], 1, *shape[axis:]))
    places = p.iota(shape=(count, *[1] * (len(shape) - axis)), axis=0, dtype=dtype_of(x))
    return p.equal(lead, places)


def whole(x):
    """`x` as integers wide enough to name any class."""
    return x if dtype_of(x) in ("int32", "int64") else p.cast(x, dtype="int32")
