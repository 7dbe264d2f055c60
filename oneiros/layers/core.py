"""The layers that most models are made of: dense, embedding, and the ones that wrap a function."""

from __future__ import annotations

from oneiros import ops
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import Activation, Constraint, Initializer, Positive, Regularizer

__all__ = ["Dense"]


class Dense(Layer):
    """`activation(x @ kernel + bias)` over the last axis.

    Input shape (..., input_dim), output shape (..., units).

    Args:
        units: Size of the output's last axis.
        lora_rank: If set, the kernel is frozen and a product of two thin matrices is trained beside it
            (Hu et al., 2021).
        lora_alpha: Scale of that product, over its rank; `lora_rank` if None.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Dense(3, activation="relu")(np.ones((2, 4), "float32")).shape
    (2, 3)
    """

    units: Positive
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    bias_constraint: Constraint = None
    lora_rank: int = None
    lora_alpha: float = None
    quantization_config: object = None

    supports_masking = True

    def build(self, input_shape):
        size = input_shape[-1]
        if size is None:
            raise ValueError(f"Dense '{self.name}' needs a known last axis; got the input shape {input_shape}")
        self.weight("kernel", (size, self.units))
        if self.use_bias:
            self.weight("bias", (self.units,))
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})

    def call(self, inputs, training=None):
        x = ops.matmul(inputs, self.kernel)
        return self.activation(x + self.bias if self.use_bias else x)
