"""Layers that make one array of several, elementwise with broadcasting, or end to end."""

from __future__ import annotations

import functools

from oneiros import ops
from oneiros.core.masks import get_mask
from oneiros.layers.base import Layer, spec_of_inputs

__all__ = [
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
    "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip


class Merge(Layer):
    """Arrays of broadcastable shapes combined elementwise."""

    supports_masking = True
    least = 1

    compute_output_spec = spec_of_inputs

    def build(self, input_shape):
        _check_list(self, input_shape)
        shapes = [tuple(s) for s in input_shape]
        ranks = {len(s) for s in shapes}
        if len({s[0] for s in shapes if s and s[0] is not None}) > 1:
            raise ValueError(
                f"Cannot merge tensors with different batch sizes. Received tensors with shapes {shapes}"
            )
        if len(ranks) == 1:
            for sizes in zip(*shapes):
                known = {n for n in sizes if n not in (None, 1)}
                if len(known) > 1:
                    raise ValueError(
                        f"{type(self).__name__} '{self.name}': the inputs' shapes {shapes} do not broadcast"
                    )

    def call(self, inputs):
        _check_list(self, inputs)
        rank = max(len(x.shape) for x in inputs)
        inputs = [_aligned(x, rank) for x in inputs]
        return self._merge_function(inputs)

    def _merge_function(self, inputs):
        return functools.reduce(self.combine, inputs)

    def compute_mask(self, inputs, mask=None):
        masks = [get_mask(x) for x in inputs] if mask is None else mask
        masks = [m for m in masks if m is not None] if isinstance(masks, (list, tuple)) else [masks]
        return functools.reduce(ops.logical_and, masks) if masks else None


def _check_list(layer, values):
    if (
        not isinstance(values, (list, tuple))
        or values
        and not hasattr(values[0], "__len__")
        and not hasattr(values[0], "shape")
    ):
        raise ValueError(
            f"A merge layer ({type(layer).__name__} '{layer.name}') should be called on a list of inputs; got {values!r}"
        )
    if len(values) < layer.least:
        raise ValueError(
            f"{type(layer).__name__} '{layer.name}' should be called on a list of at least {layer.least} input(s); got "
            f"{len(values)}"
        )


def _aligned(x, rank):
    """`x` with axes of length one after the batch axis, up to `rank` axes."""
    missing = rank - len(x.shape)
    return ops.reshape(x, (x.shape[0], *(1,) * missing, *x.shape[1:])) if missing and x.shape else x


def _family(name, combine, doc, least=1, example=None):
    cls = type(name, (Merge,), {
        "__doc__": f"{doc}\n\n    >>> import numpy as np\n    >>> from oneiros import layers\n    {example}\n    ",
        "combine": staticmethod(combine), "least": least, "__module__": __name__,
    })  # fmt: skip
    return cls


def _example(name, result):
    return f">>> layers.{name}()([np.array([[3.0]]), np.array([[2.0]])]).tolist()\n    {result}"


Add = _family(
    "Add", lambda x, y: x + y, "The sum of the inputs.", example=_example("Add", "[[5.0]]")
)
Multiply = _family(
    "Multiply",
    lambda x, y: x * y,
    "The product of the inputs.",
    example=_example("Multiply", "[[6.0]]"),
)
Maximum = _family(
    "Maximum", ops.maximum, "The largest of the inputs.", example=_example("Maximum", "[[3.0]]")
)
Minimum = _family(
    "Minimum", ops.minimum, "The smallest of the inputs.", example=_example("Minimum", "[[2.0]]")
)


class Average(Merge):
    """The mean of the inputs.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Average()([np.array([[3.0]]), np.array([[2.0]])]).tolist()
    [[2.5]]
    """

    def _merge_function(self, inputs):
        return functools.reduce(lambda x, y: x + y, inputs) / float(len(inputs))


class Subtract(Merge):
    """The first of two inputs less the second.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Subtract()([np.array([[3.0]]), np.array([[2.0]])]).tolist()
    [[1.0]]
    """

    least = 2

    def build(self, input_shape):
        super().build(input_shape)
        if len(input_shape) != 2:
            raise ValueError(
                f"A `Subtract` layer should be called on exactly 2 inputs. Received: input_shape={input_shape}"
            )

    def _merge_function(self, inputs):
        return inputs[0] - inputs[1]


class Concatenate(Merge):
    """The inputs end to end.

    Args:
        axis: The axis along which they are joined.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Concatenate()([np.ones((2, 1)), np.ones((2, 3))]).shape
    (2, 4)
    """

    axis: int = -1

    def build(self, input_shape):
        _check_list(self, input_shape)
        shapes = [list(s) for s in input_shape]
        ranks = {len(s) for s in shapes}
        rest = [[n for i, n in enumerate(s) if i != self.axis % len(s)] for s in shapes if len(s)]
        bad = len(ranks) != 1 or any(
            len({n for n in sizes if n is not None}) > 1 for sizes in zip(*rest)
        )
        if bad:
            raise ValueError(
                "A `Concatenate` layer requires inputs with matching shapes except for the concatenation axis. "
                f"Received: input_shape={input_shape}, axis={self.axis} (layer '{self.name}')"
            )

    def call(self, inputs):
        _check_list(self, inputs)
        return ops.concatenate(inputs, axis=self.axis)

    def compute_mask(self, inputs, mask=None):
        masks = [get_mask(x) for x in inputs] if mask is None else mask
        if not isinstance(masks, (list, tuple)) or all(m is None for m in masks):
            return None
        parts = []
        for x, m in zip(inputs, masks):
            if m is None:
                m = ops.ones(x.shape[: max(2, 1)], "bool")
            while len(m.shape) < len(x.shape):
                m = ops.expand_dims(m, -1)
            parts.append(ops.logical_and(ops.ones(tuple(x.shape), "bool"), m))
        return ops.all(ops.concatenate(parts, axis=self.axis), axis=-1)


class Dot(Merge):
    """Dot products of two inputs along an axis of each.

    Args:
        axes: The axis, or one for each input.
        normalize: Whether the inputs are scaled to length one first: then it is the cosine.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Dot(axes=1)([np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])]).tolist()
    [[11.0]]
    """

    axes: object
    normalize: bool = False
    least = 2

    def _ready(self):
        axes = self.axes
        good = (
            isinstance(axes, int)
            or isinstance(axes, (list, tuple))
            and len(axes) == 2
            and all(isinstance(a, int) for a in axes)
        )
        if not good:
            raise ValueError(f"Dot: axes must be an integer or two of them; got {axes!r}")

    def build(self, input_shape):
        _check_list(self, input_shape)
        a, b = self._axes(*map(len, input_shape))
        first, second = input_shape
        if None not in (first[a], second[b]) and first[a] != second[b]:
            raise ValueError(
                f"Incompatible input shapes: axis values {first[a]} (at axis {a}) != {second[b]} (at axis {b}). Full input "
                f"shapes: {first}, {second}"
            )

    def _axes(self, first, second):
        axes = (self.axes,) * 2 if isinstance(self.axes, int) else self.axes
        return axes[0] % first, axes[1] % second

    def call(self, inputs):
        _check_list(self, inputs)
        x, y = inputs
        a, b = self._axes(len(x.shape), len(y.shape))
        if self.normalize:
            x, y = ops.normalize(x, axis=a), ops.normalize(y, axis=b)
        from oneiros.core import primitives as p
        from oneiros.core.op import promote

        x, y = promote(x, y)
        made = p.dot_general(x, y, contract=((a,), (b,)), batch=((0,), (0,)))
        return ops.expand_dims(made, -1) if len(made.shape) == 1 else made

    def compute_mask(self, inputs, mask=None):
        return None


def _function(cls, name):
    def merge(inputs, **kwargs):
        return cls(**kwargs)(inputs)

    merge.__name__ = merge.__qualname__ = name
    merge.__doc__ = f"`{cls.__name__}` of the inputs, as a function."
    return merge


add, multiply, maximum, minimum = (
    _function(c, c.__name__.lower()) for c in (Add, Multiply, Maximum, Minimum)
)
average, subtract = (_function(c, c.__name__.lower()) for c in (Average, Subtract))


def concatenate(inputs, axis=-1, **kwargs):
    """`Concatenate` of the inputs, as a function."""
    return Concatenate(axis=axis, **kwargs)(inputs)


def dot(inputs, axes=-1, **kwargs):
    """`Dot` of the inputs, as a function."""
    return Dot(axes=axes, **kwargs)(inputs)
