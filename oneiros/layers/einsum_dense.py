"""A dense layer whose product is named by letters."""

from __future__ import annotations

import re

from oneiros import ops
from oneiros.layers.base import Layer
from oneiros.layers.fields import Activation, Constraint, Initializer, Regularizer
from oneiros.layers.weights import LowRank

__all__ = ["EinsumDense"]

FORM = re.compile(r"(\.\.\.)?([A-Za-z]+)(\.\.\.)?,([A-Za-z]+)->(\.\.\.)?([A-Za-z]+)(\.\.\.)?")


class Sizes:
    """The sizes of the output's axes after the first, or one of them; None for an axis as long as
    the input's.
    """

    @staticmethod
    def convert(value, layer, name):
        return (value,) if isinstance(value, int) else tuple(value)


class EinsumDense(LowRank, Layer):
    """`activation(einsum(equation, inputs, kernel) + bias)`.

    Args:
        equation: The letters of the inputs, of the kernel and of the outputs, as `"abc,cd->abd"`;
            inputs and outputs
            may begin or end with `...`.
        output_shape: Sizes of the output's axes without the batch; None for those that the input
            says.
        bias_axes: Letters of the output's axes along which the bias differs; None for no bias.
        lora_rank: If set, the kernel is frozen and a product of two thin matrices is trained beside
            it
            (Hu et al., 2021).
        lora_alpha: Scale of that product, over its rank; `lora_rank` if None.

    Raises:
        ValueError: if the equation has another form, or the shapes do not fit it.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.EinsumDense("abc,cde->abde", (None, 4, 5), bias_axes="de")(np.ones((2, 6, 3), "float32")).shape
    (2, 6, 4, 5)
    """

    equation: str
    output_shape: Sizes
    activation: Activation = None
    bias_axes: str = None
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    bias_constraint: Constraint = None
    lora_rank: int = None
    lora_alpha: float = None
    gptq_unpacked_column_size: int = None
    quantization_config: object = None

    config_also = ("activity_regularizer",)
    config_when_set = ("lora_rank", "lora_alpha", "gptq_unpacked_column_size")
    takes_one = True

    def _ready(self):
        self.partial_output_shape = self.output_shape

    def build(self, input_shape):
        kernel, bias, initializer = self._shapes(tuple(input_shape))
        self.weight("kernel", kernel, attribute="_kernel", initializer=initializer)
        self.bias = None
        if self.bias_axes is not None:
            self.weight("bias", bias)
        self.start_low_rank()

    def _shapes(self, input_shape):
        """The shapes of kernel and bias, and the kernel's initializer, which knows where inputs are
        summed.
        """
        given, letters, made, hidden, left = self._letters(input_shape)
        sizes = dict(zip(made, self._output_shape(input_shape)[hidden if left else 0 :]))
        for letter, n in given.items():
            m = sizes.get(letter)
            if n is not None and m is not None and n != m:
                raise ValueError(
                    f"Input shape and output shape do not match at shared dimension '{letter}'. Input shape is {n}, and "
                    f"output shape is {m}."
                )
        for letter in made:
            if letter not in given and letter not in letters:
                raise ValueError(
                    f"Dimension '{letter}' was specified in the output '{made}' but has no corresponding dim in the input "
                    f"'{''.join(given)}' or weight '{letters}'"
                )
        for letter in letters:
            if letter not in given and letter not in sizes:
                raise ValueError(
                    f"Weight dimension '{letter}' did not have a match in either the input spec '{''.join(given)}' or the "
                    f"output spec '{made}'. For this layer, the weight must be fully specified."
                )
        kernel = tuple(given[k] if given.get(k) is not None else sizes.get(k) for k in letters)
        summed = tuple(i for i, k in enumerate(letters) if k in given and k not in sizes)
        free = tuple(i for i, k in enumerate(letters) if k in sizes and k not in given)
        initializer = self.kernel_initializer
        if (
            summed
            and free
            and getattr(initializer, "input_axes", 0) is None
            and initializer.output_axes is None
        ):
            initializer = type(initializer).from_config(
                {**initializer.get_config(), "input_axes": summed, "output_axes": free}
            )
        return kernel, self._bias_shape(made, sizes, 0 if left else hidden), initializer

    def _letters(self, input_shape):
        """Letters of the input with their sizes, of the kernel, of the output; how many axes `...`
        is; whether it is left.
        """
        found = FORM.fullmatch(self.equation.replace(" ", ""))
        dots = found and (found[1], found[3]), found and (found[5], found[7])
        if not found or dots[0] != dots[1] or all(dots[0]):
            raise ValueError(
                f"Invalid einsum equation '{self.equation}'. Equations must be in the form [X],[Y]->[Z], "
                "...[X],[Y]->...[Z], or [X]...,[Y]->[Z]...."
            )
        names, letters, made = found[2], found[4], found[6]
        hidden = len(input_shape) - len(names)
        if hidden < 0 or hidden and not any(dots[0]):
            raise ValueError(
                f"EinsumDense '{self.name}': '{names}' in '{self.equation}' stands for {len(names)} axes; got inputs of "
                f"shape {input_shape}"
            )
        left = bool(found[1])
        given = dict(zip(names, input_shape[hidden:] if left else input_shape))
        return given, letters, made, hidden, left

    def _output_shape(self, input_shape):
        """The output's shape, None where the input says."""
        *_, hidden, left = self._letters(input_shape)
        before = max(hidden, 1) if left else 1
        after = input_shape[len(input_shape) - hidden :] if not left else ()
        return (*input_shape[:before], *self.partial_output_shape, *after)

    def compute_output_shape(self, input_shape):
        return self._output_shape(tuple(input_shape))

    def _declared_outputs(self, plan, args, kwargs, values):
        return None

    def _bias_shape(self, made, sizes, after):
        if self.bias_axes is None:
            return None
        for letter in self.bias_axes:
            if letter not in made:
                raise ValueError(
                    f"Bias dimension '{letter}' was requested, but is not part of the output spec '{made}'"
                )
        first = min(map(made.index, self.bias_axes))
        return (*(sizes[k] if k in self.bias_axes else 1 for k in made[first:]), *(1,) * after)

    def call(self, inputs, training=None):
        y = ops.einsum(self.equation, inputs, self.kernel)
        return self.activation(y + self.bias if self.bias is not None else y)
