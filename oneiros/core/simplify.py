"""Simpler equal values, found while calls are recorded.

A rule looks at the arguments of one call and returns a value that is already there (or takes less
to make), or None. Derivatives come out of general formulas full of sums with zero, double
transposes and padded slices; here they become what one would write by hand, for all backends.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.graph import SIMPLIFY
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import broadcast_shapes, spec_of
from oneiros.core.symbol import Symbol

__all__ = ["SIMPLIFY"]


# What is known of a value -------------------------------------------------------------------------
def made_by(x, target):
    """The call that made the symbol `x`, if its target is `target`."""
    call = x.call if isinstance(x, Symbol) else None
    return call if call is not None and call.target is target else None


def holds(x, number):
    """Whether every element of `x` is known to be `number`."""
    call = made_by(x, p.broadcast_to)
    x = call.args[0] if call else x
    if type(x) in (int, float):
        return x == number
    return isinstance(x, (np.ndarray, np.generic)) and x.size == 1 and bool(np.all(x == number))


def fits(x, *others):
    """Whether `x` alone has the shape that it and the others broadcast to."""
    if not isinstance(x, Symbol):
        return False
    shapes = [tuple(spec_of(v).shape) for v in (x, *others)]
    return tuple(broadcast_shapes(*shapes)) == tuple(x.shape)


# Arithmetic ---------------------------------------------------------------------------------------
def add_nothing(x, y):
    if holds(y, 0) and fits(x, y):
        return x
    return y if holds(x, 0) and fits(y, x) else None


def add_negative(x, y):
    if (call := made_by(y, p.negative)) and isinstance(x, Symbol):
        return p.subtract(x, call.args[0])
    if (call := made_by(x, p.negative)) and isinstance(y, Symbol):
        return p.subtract(y, call.args[0])
    return None


def subtract_nothing(x, y):
    if holds(y, 0) and fits(x, y):
        return x
    return p.negative(y) if holds(x, 0) and fits(y, x) else None


def subtract_negative(x, y):
    call = made_by(y, p.negative)
    return p.add(x, call.args[0]) if call else None


def multiply_by_one(x, y):
    if holds(y, 1) and fits(x, y):
        return x
    return y if holds(x, 1) and fits(y, x) else None


def divide_by_one(x, y):
    return x if holds(y, 1) and fits(x, y) else None


def power_of_number(x, y):
    """The first power and the square."""
    if holds(y, 1) and fits(x, y):
        return x
    return p.multiply(x, x) if holds(y, 2) and fits(x, y) else None


def negative_twice(x):
    call = made_by(x, p.negative)
    return call.args[0] if call else None


def same_dtype(x, *, dtype):
    return x if isinstance(x, Symbol) and x.dtype == dtype else None


def select_same(condition, x, y):
    return x if x is y and fits(x, condition) else None


def broadcasting(target):
    """The rule for an elementwise primitive, which repeats its operands itself."""

    def operand_not_repeated(*xs):
        bases = [call.args[0] if (call := made_by(x, p.broadcast_to)) else x for x in xs]
        if all(b is x for b, x in zip(bases, xs)):
            return None
        shape = broadcast_shapes(*[tuple(spec_of(x).shape) for x in xs])
        for i, (base, x) in enumerate(zip(bases, xs)):
            rest = [tuple(spec_of(v).shape) for v in (*xs[:i], base, *xs[i + 1 :])]
            if base is not x and broadcast_shapes(*rest) == shape:
                return target(*xs[:i], base, *xs[i + 1 :])
        return None

    return operand_not_repeated


# Shapes -------------------------------------------------------------------------------------------
def same_shape(x, *, shape):
    return x if isinstance(x, Symbol) and tuple(x.shape) == tuple(shape) else None


def reshape_twice(x, *, shape):
    call = made_by(x, p.reshape)
    return p.reshape(call.args[0], shape=shape) if call else None


def broadcast_twice(x, *, shape):
    call = made_by(x, p.broadcast_to)
    return p.broadcast_to(call.args[0], shape=shape) if call else None


def same_order(x, *, order):
    return x if tuple(order) == tuple(range(len(order))) else None


def transpose_twice(x, *, order):
    call = made_by(x, p.transpose)
    return call and p.transpose(call.args[0], order=tuple(call.kwargs["order"][i] for i in order))


def no_axes(x, *, axes):
    return None if axes else x


def reverse_twice(x, *, axes):
    call = made_by(x, p.reverse)
    return call.args[0] if call and tuple(call.kwargs["axes"]) == tuple(axes) else None


def sum_of_repeated(x, *, axes):
    """What was repeated along all of `axes`, times how often."""
    call = made_by(x, p.broadcast_to)
    if not call or spec_of(x).dtype in ("bool", "float16", "bfloat16"):
        return None
    base = call.args[0]
    own = (1,) * (len(x.shape) - len(base.shape)) + tuple(base.shape)
    if any(own[i] != 1 for i in axes):
        return None
    shape = tuple(n for i, n in enumerate(x.shape) if i not in axes)
    times = math.prod(x.shape[i] for i in axes)
    small = p.reshape(base, shape=tuple(n for i, n in enumerate(own) if i not in axes))
    small = p.multiply(small, int(times) if "int" in x.dtype else float(times))
    return p.broadcast_to(small, shape=shape)


def slice_of_all(x, *, start, stop, strides):
    whole = all(a == 0 and b >= n and s == 1 for a, b, s, n in zip(start, stop, strides, x.shape))
    return x if whole else None


def pad_nothing(x, *, widths, value):
    return None if any(map(any, widths)) else x


def pad_twice(x, *, widths, value):
    call = made_by(x, p.pad)
    if not call or not (_plain(widths) and _plain(call.kwargs["widths"])):
        return None
    if not (holds(value, 0) and holds(call.kwargs["value"], 0)):
        return None
    both = tuple((a + c, b + d, 0) for (a, b, _), (c, d, _) in zip(widths, call.kwargs["widths"]))
    return p.pad(call.args[0], widths=both, value=value)


def _plain(widths):
    return all(low >= 0 and high >= 0 and between == 0 for low, high, between in widths)


def concatenate_one(*xs, axis):
    return xs[0] if len(xs) == 1 else None


def concatenate_flat(*xs, axis):
    """One concatenation in place of nested ones."""
    inner = [made_by(x, p.concatenate) for x in xs]
    inner = [call if call and call.kwargs["axis"] == axis else None for call in inner]
    if not any(inner):
        return None
    return p.concatenate(
        *[v for x, c in zip(xs, inner) for v in (c.args if c else (x,))], axis=axis
    )


def add_pads(x, y):
    """The sum of zero-padded arrays that lie end to end: cotangents of a cut array."""
    a, b = made_by(x, p.pad), made_by(y, p.pad)
    if not (a and b) or tuple(x.shape) != tuple(y.shape):
        return None
    if not (holds(a.kwargs["value"], 0) and holds(b.kwargs["value"], 0)):
        return None
    left, right = a.kwargs["widths"], b.kwargs["widths"]
    axes = [i for i, (v, w) in enumerate(zip(left, right)) if v != w]
    if len(axes) != 1 or not (_plain(left) and _plain(right)):
        return None
    (axis,) = axes
    if left[axis][0] > right[axis][0]:
        a, b, left, right = b, a, right, left
    if left[axis][0] + a.args[0].shape[axis] != right[axis][0]:
        return None
    joined = p.concatenate(a.args[0], b.args[0], axis=axis)
    widths = tuple((v[0], w[1], 0) for v, w in zip(left, right))
    return p.pad(joined, widths=widths, value=0.0)


RULES = {
    p.add: [add_nothing, add_negative, add_pads],
    p.subtract: [subtract_nothing, subtract_negative],
    p.multiply: [multiply_by_one],
    p.divide: [divide_by_one],
    p.power: [power_of_number],
    p.negative: [negative_twice],
    p.cast: [same_dtype],
    p.select: [select_same],
    p.reshape: [same_shape, reshape_twice],
    p.broadcast_to: [same_shape, broadcast_twice],
    p.transpose: [same_order, transpose_twice],
    p.reverse: [no_axes, reverse_twice],
    p.reduce_sum: [no_axes, sum_of_repeated],
    p.reduce_prod: [no_axes],
    p.reduce_max: [no_axes],
    p.reduce_min: [no_axes],
    p.slice: [slice_of_all],
    p.pad: [pad_nothing, pad_twice],
    p.concatenate: [concatenate_one, concatenate_flat],
}
for target in PRIMITIVES.values():
    if getattr(target, "elementwise", False):
        RULES.setdefault(target, []).append(broadcasting(target))


def _first(rules):
    def simplify(*args, **params):
        for rule in rules:
            value = rule(*args, **params)
            if value is not None:
                return value
        return None

    return simplify if len(rules) > 1 else rules[0]


SIMPLIFY.update((target, _first(rules)) for target, rules in RULES.items())
