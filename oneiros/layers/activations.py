"""Activation functions that have arguments or weights, as layers."""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.activations import relu
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import Constraint, Initializer, Regularizer

__all__ = ["ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax"]


class ReLU(Layer):
    """`x` above the threshold, at most `max_value`; below it `negative_slope * (x - threshold)`.

    Args:
        max_value: The largest output; None for no limit.
        negative_slope: The slope below the threshold.
        threshold: Where the activation begins.

    Raises:
        ValueError: if an argument is negative.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ReLU(max_value=2)(np.array([-1.0, 1.0, 3.0], "float32")).tolist()
    [0.0, 1.0, 2.0]
    """

    max_value: float = None
    negative_slope: float = 0.0
    threshold: float = 0.0
    supports_masking = True

    def _ready(self):
        for name in ("max_value", "negative_slope", "threshold"):
            value = getattr(self, name)
            if value is None and name != "max_value" or value is not None and value < 0:
                raise ValueError(f"ReLU: `{name}` must not be negative or None; got {value!r}")

    def call(self, inputs):
        return relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """`x` above zero, `negative_slope * x` below it (Maas et al., 2013).

    Raises:
        ValueError: if the slope is None.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.LeakyReLU(0.5)(np.array([-1.0, 1.0], "float32")).tolist()
    [-0.5, 1.0]
    """

    negative_slope: float = 0.3
    supports_masking = True

    def adopt(self, alpha=None, **options):
        super().adopt(**options)
        self._alpha = alpha  # the slope's name in Keras 2

    def _ready(self):
        if self._alpha is not None:
            self.negative_slope = self._alpha
        if self.negative_slope is None:
            raise ValueError("LeakyReLU: `negative_slope` must be a number; got None")

    def call(self, inputs):
        return ops.leaky_relu(inputs, self.negative_slope)


class PReLU(Layer):
    """`x` above zero, `alpha * x` below it, with a trained `alpha` (He et al., 2015).

    Args:
        shared_axes: Axes along which `alpha` is one; axis 0 is the batch.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.PReLU("ones")(np.array([[-1.0, 1.0]], "float32")).tolist()
    [[-1.0, 1.0]]
    """

    alpha_initializer: Initializer = "Zeros"
    alpha_regularizer: Regularizer = None
    alpha_constraint: Constraint = None
    shared_axes: object = None
    supports_masking = True

    def _ready(self):
        axes = self.shared_axes
        if axes is not None:
            self.shared_axes = list(axes) if isinstance(axes, (list, tuple)) else [axes]

    def build(self, input_shape):
        shape = list(input_shape[1:])
        for axis in self.shared_axes or ():
            shape[axis - 1] = 1
        if None in shape:
            raise ValueError(
                f"PReLU '{self.name}' needs known axes, or `shared_axes` for those that are not; got the "
                f"input shape {tuple(input_shape)}"
            )
        self.weight("alpha", tuple(shape))
        axes = {i: n for i, n in enumerate(input_shape[1:], 1) if i not in (self.shared_axes or ())}
        self.input_spec = InputSpec(ndim=len(input_shape), axes=axes)

    def call(self, inputs):
        return ops.relu(inputs) - self.alpha * ops.relu(-inputs)


class ELU(Layer):
    """`x` above zero, `alpha * (exp(x) - 1)` below it (Clevert et al., 2015).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ELU()(np.array([0.0, 1.0], "float32")).tolist()
    [0.0, 1.0]
    """

    alpha: float = 1.0
    supports_masking = True

    def call(self, inputs):
        return ops.elu(inputs, self.alpha)


class Softmax(Layer):
    """Exponentials along an axis, over their sum.

    Args:
        axis: The axis, or several.

    A call takes a mask of the inputs' shape too: where it is False, the result is 0.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Softmax()(np.zeros((1, 4), "float32")).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    axis: int = -1
    supports_masking = True

    def call(self, inputs, mask=None):
        if mask is not None:
            lowest = float(np.finfo(np.float16).min) if inputs.dtype == "float16" else -1e9
            inputs = inputs + (1.0 - ops.cast(mask, inputs.dtype)) * lowest
        axis = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        return ops.softmax(inputs, axis=axis)
