"""What is known of an array before it exists: its shape and dtype.

Every shape rule takes specs and gives specs. An unknown dimension is traced as `Unknown`, an int
that behaves like its probe size but broadcasts with anything.
"""

from __future__ import annotations

import math
import operator

__all__ = ["Spec", "Unknown", "agree", "broadcast_shapes", "dtype_name", "spec_of"]


class Spec:
    """A shape and a dtype name; `dtype=None` marks a plain Python number, which adapts to the
    others.
    """

    __slots__ = ("dtype", "shape")

    def __init__(self, shape, dtype="float32"):
        self.shape, self.dtype = shape, dtype

    def but(self, shape=None, dtype=None):
        """The same with another shape or dtype."""
        return Spec(self.shape if shape is None else tuple(shape), dtype or self.dtype)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def size(self):
        return math.prod(self.shape)

    def __eq__(self, other):
        return isinstance(other, Spec) and (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self):
        return hash((self.shape, self.dtype))

    def __repr__(self):
        return f"{self.dtype}{list(self.shape)}"


class Unknown(int):
    """The probe size that stands for a dimension of None while shapes are traced.

    What is computed of it is unknown too, and messages show it as None.
    """

    number = property(float, doc="It, as what a float array is divided by.")

    def __repr__(self):
        return "None"

    def __format__(self, spec):
        return format("None" if spec == "" else int(self), spec)

    def __neg__(self):
        return Unknown(-int(self))


def _install(name):
    f = getattr(operator, name)

    def forward(self, other):
        return Unknown(f(int(self), int(other))) if isinstance(other, int) else NotImplemented

    def backward(self, other):
        return Unknown(f(int(other), int(self))) if isinstance(other, int) else NotImplemented

    setattr(Unknown, f"__{name}__", forward)
    setattr(Unknown, f"__r{name}__", backward)


for _name in ("add", "sub", "mul", "floordiv"):
    _install(_name)


_NAMES = {}


def dtype_name(dtype):
    """The name of any framework's dtype: `'float32'` of `np.dtype('float32')` or `torch.float32`."""
    name = _NAMES.get(dtype)
    if name is None:
        name = dtype if isinstance(dtype, str) else getattr(dtype, "name", None) or str(dtype)
        _NAMES[dtype] = name = name.rsplit(".", 1)[-1]
    return name


def spec_of(x):
    """The spec of a symbol, an array of any framework, or a Python number."""
    if type(x) in (bool, int, float, complex, Unknown):
        return Spec((), None)
    return Spec(tuple(x.shape), dtype_name(x.dtype))


def agree(n, m):
    """Whether two dimensions, or products of them, can be one; unknown ones agree with any."""
    return n == m or isinstance(n, Unknown) or isinstance(m, Unknown)


def broadcast_shapes(*shapes):
    """The shape that `shapes` broadcast to, by NumPy's rule; an unknown size yields to a known one."""
    first = shapes[0]
    if all(s == first for s in shapes):
        return first
    rank = max(map(len, shapes))
    out = []
    for dims in zip(*[(1,) * (rank - len(s)) + tuple(s) for s in shapes]):
        size = 1
        for n in dims:
            if size == 1 or n == size:
                size = n if size == 1 else size
            elif n != 1:
                if isinstance(size, Unknown):
                    size = n
                elif not isinstance(n, Unknown):
                    raise ValueError(
                        f"shapes {', '.join(str(tuple(s)) for s in shapes)} do not broadcast: "
                        f"{size} and {n} stand in one place"
                    )
        out.append(size)
    return tuple(out)
