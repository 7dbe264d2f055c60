"""Python's operators on symbols and variables: `x + y`, `x @ y`, `x[...]`, `-x` call ops.

Inside a trace two floats of one dtype go straight to the primitive: that is quicker, and a
derivative in float64 stays one.
"""

from __future__ import annotations

from oneiros.core import primitives as p
from oneiros.core.graph import STACK
from oneiros.core.spec import dtype_name
from oneiros.core.symbol import KerasTensor, Symbol
from oneiros.core.variable import Variable
from oneiros.ops import contractions, elementwise, indexing, shaping

__all__ = ["KerasTensor", "Variable"]

_INEXACT = {"bfloat16", "float16", "float32", "float64", "complex64", "complex128"}
_WHOLE = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}

# method: the op, and the primitive that is equal to it for operands of one floating dtype
BINARY = {
    "add": (elementwise.add, p.add),
    "sub": (elementwise.subtract, p.subtract),
    "mul": (elementwise.multiply, p.multiply),
    "truediv": (elementwise.divide, p.divide),
    "floordiv": (elementwise.floor_divide, p.floor_divide),
    "mod": (elementwise.mod, p.remainder),
    "pow": (elementwise.power, p.power),
    "matmul": (contractions.matmul, None),
    "and": (elementwise.logical_and, None),
    "or": (elementwise.logical_or, None),
    "xor": (elementwise.logical_xor, None),
}
COMPARISONS = {
    "ne": (elementwise.not_equal, p.not_equal),
    "lt": (elementwise.less, p.less),
    "le": (elementwise.less_equal, p.less_equal),
    "gt": (elementwise.greater, p.greater),
    "ge": (elementwise.greater_equal, p.greater_equal),
}
BITS = {"and": p.bitwise_and, "or": p.bitwise_or, "xor": p.bitwise_xor}


def _suits(x, other):
    """Whether the strict primitive takes `other` beside the symbol `x`."""
    if x.dtype not in _INEXACT or isinstance(other, Variable):
        return False
    return type(other) in (int, float) or dtype_name(getattr(other, "dtype", "")) == x.dtype


def _on_symbol(function, primitive, bits=None):
    """The methods of a symbol on the left and on the right of an operator."""

    def method(self, other):
        if STACK.top is not None and primitive is not None and _suits(self, other):
            return primitive(self, other)
        if bits is not None and STACK.top is not None and self.dtype in _WHOLE:
            return bits(
                *elementwise.promote(self, other)
            )  # as arrays do, which symbols of a trace stand for
        return function(self, other)

    def reflected(self, other):
        if STACK.top is not None and primitive is not None and _suits(self, other):
            return primitive(other, self)
        if bits is not None and STACK.top is not None and self.dtype in _WHOLE:
            return bits(*elementwise.promote(other, self))
        return function(other, self)

    return method, reflected


def _install(cls, name, method):
    method.__name__, method.__qualname__ = name, f"{cls.__name__}.{name}"
    setattr(cls, name, method)


for _name, (_op, _primitive) in {**BINARY, **COMPARISONS}.items():
    _left, _right = _on_symbol(_op, _primitive, BITS.get(_name))
    _install(Symbol, f"__{_name}__", _left)
    _install(Variable, f"__{_name}__", lambda self, other, op=_op: op(self.value, other))
    if _name in BINARY:
        _install(Symbol, f"__r{_name}__", _right)
        _install(Variable, f"__r{_name}__", lambda self, other, op=_op: op(other, self.value))

_UNARY = {
    "neg": elementwise.negative,
    "abs": elementwise.abs,
    "invert": elementwise.logical_not,
    "pos": lambda x: x,
    "round": lambda x, ndigits=None: elementwise.round(x, ndigits or 0),
    "getitem": indexing.get_item,
}
for _name, _op in _UNARY.items():
    _install(Symbol, f"__{_name}__", lambda self, *key, op=_op: op(self, *key))
    _install(Variable, f"__{_name}__", lambda self, *key, op=_op: op(self.value, *key))


def _same_or_equal(self, other):
    """Identity, as of Keras's symbols; inside a trace, where they stand for arrays, `equal`."""
    if (self is other and STACK.top is None) or other is None:
        return self is other
    if STACK.top is None or not (
        hasattr(other, "dtype") or type(other) in (bool, int, float, complex)
    ):
        return NotImplemented
    return elementwise.equal(self, other)


def _invert(self):
    if STACK.top is not None and self.dtype in _WHOLE:
        return p.bitwise_not(self)
    return elementwise.logical_not(self)


_hash = Symbol.__hash__
_install(Symbol, "__eq__", _same_or_equal)
Symbol.__hash__ = _hash
_install(Symbol, "__invert__", _invert)
_install(Symbol, "reshape", lambda self, newshape: shaping.reshape(self, newshape))
_install(Symbol, "squeeze", lambda self, axis=None: shaping.squeeze(self, axis))
Symbol.T = property(lambda self: shaping.transpose(self), doc="The axes back to front.")

_hash = Variable.__hash__
_install(
    Variable,
    "__eq__",
    lambda self, other: False if other is None else elementwise.equal(self.value, other),
)
Variable.__hash__ = _hash
Variable.T = property(
    lambda self: shaping.transpose(self.value), doc="The value with its axes back to front."
)
