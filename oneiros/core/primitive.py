"""Primitives: operations that backends supply.

A primitive's function is its shape rule; `@p.vjp` adds the derivative. Calling one runs the kernel
of
the arrays' own backend, or records the call when an argument is symbolic. Primitives are strict:
equal dtypes, explicit axes; plain Python numbers take the dtype of the arrays beside them.
"""

from __future__ import annotations

import functools

import numpy as np

from oneiros.core import backend
from oneiros.core.graph import STACK
from oneiros.core.spec import Spec, Unknown, broadcast_shapes, spec_of
from oneiros.core.symbol import Symbol

__all__ = ["PRIMITIVES", "Primitive", "elementwise", "primitive", "sum_to"]

PRIMITIVES = {}


class Primitive:
    """An operation with a shape rule, kernels by backend, and perhaps a derivative.

    Args:
        shape_rule: Specs and parameters to the specs of the outputs.
        expands: Whether its result may be much larger than its inputs; then it is recorded in an
            open
            trace even if no argument is symbolic.
    """

    elementwise = False

    def __init__(self, shape_rule, expands=False, name=None):
        self.name = name or shape_rule.__name__
        self.shape_rule, self.expands, self.vjp_rule = shape_rule, expands, None
        self.__doc__, self.kernels = shape_rule.__doc__, {}
        PRIMITIVES[self.name] = self

    def vjp(self, rule):
        """Set the derivative: `rule(g, y, *args, **params)` gives one cotangent (or None) per
        argument.
        """
        self.vjp_rule = rule
        return rule

    def __call__(self, *args, **params):
        types = tuple(map(type, args))
        kernel = self.kernels.get(types)
        if kernel is None:
            kernel = self.kernels[types] = self._resolve(types, args)
        try:
            return kernel(*args, **params)
        except Exception as error:  # the framework's own words; the shape rule may say it in ours
            try:
                self.shape_rule(*[self._spec(a) for a in args], **params)
            except (ValueError, TypeError) as clear:
                raise clear from error
            except Exception:
                raise error from None
            raise

    def _spec(self, x):
        return spec_of(x) if hasattr(x, "shape") or self.elementwise else x

    def _resolve(self, types, args):
        """What to do with arguments of these types: record, or a backend's kernel."""
        if any(issubclass(t, Symbol) for t in types):
            return functools.partial(_record, self)
        owner = backend.owner(types, self.name, args)
        if owner is None:
            return functools.partial(_plain, self)
        kernel = owner.kernel_for(self, types)
        return functools.partial(_expand, self, kernel) if self.expands else kernel

    def __repr__(self):
        return f"<primitive {self.name}>"


def _record(target, *args, **params):
    if STACK.top is None:
        raise RuntimeError(f"primitive '{target.name}' got a symbol outside of any trace")
    return STACK.top.record(target, args, params)


def _plain(target, *args, **params):
    """Only NumPy arrays and numbers: NumPy inside a trace, else the session's backend."""
    if STACK.top is None:
        return backend.current().kernel_for(target, {*map(type, args)})(*args, **params)
    if target.expands:
        return STACK.top.record(target, args, params)
    return backend.load("numpy").kernel(target)(*args, **params)


def _expand(target, kernel, *args, **params):
    """An array of its own, or, where its size is known only later, a call in the trace."""
    if STACK.top is not None and any(isinstance(n, Unknown) for n in params["shape"]):
        return STACK.top.record(target, args, params)
    return kernel(*args, **params)


def primitive(rule=None, *, expands=False):
    """Make a primitive of its shape rule."""
    if rule is None:
        return lambda rule: Primitive(rule, expands)
    return Primitive(rule, expands)


def elementwise(name, *vjps, dtype=None, doc=None, rule=None):
    """An elementwise primitive: operands broadcast; a row of derivatives, one for each operand.

    Args:
        name: Its name.
        vjps: For each operand a function `(g, y, *operands)`, or None where no derivative flows.
        dtype: Output dtype, or a function of the operands' dtype; the operands' own if None.
    """

    def shape_rule(*xs):
        own = next((x.dtype for x in reversed(xs) if x.dtype is not None), "float32")
        shape = xs[0].shape if len(xs) == 1 else broadcast_shapes(*[x.shape for x in xs])
        return Spec(
            shape, own if dtype is None else dtype if isinstance(dtype, str) else dtype(own)
        )

    p = Primitive(shape_rule, name=name)
    p.__doc__ = doc
    p.elementwise = True
    if vjps:

        def vjp(g, y, *xs):
            slopes = [f and hasattr(x, "shape") and f(g, y, *xs) for f, x in zip(vjps, xs)]
            return [sum_to(v, x.shape) if hasattr(v, "shape") else None for v, x in zip(slopes, xs)]

        p.vjp(vjp)
    return p


def sum_to(x, shape):
    """Undo a broadcast: add up `x` until it has `shape`."""
    if tuple(np.shape(x)) == tuple(shape):
        return x
    from oneiros.core.primitives import broadcast_to, reduce_sum, reshape

    have = np.shape(x)
    if len(have) < len(shape) or any(
        n == 1 and m != 1 for n, m in zip(have[len(have) - len(shape) :], shape)
    ):
        x = broadcast_to(x, shape=broadcast_shapes(tuple(have), tuple(shape)))
        have = x.shape
    extra = len(have) - len(shape)
    axes = (
        *range(extra),
        *(i + extra for i, n in enumerate(shape) if n == 1 and have[i + extra] != 1),
    )
    return reshape(reduce_sum(x, axes=axes), shape=tuple(shape)) if axes else x
