"""Convolutions over one, two and three axes: plain, depthwise, separable, transposed; padding,
cropping, upsampling.
"""

from __future__ import annotations

from oneiros import ops
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import (
    Activation,
    Constraint,
    DataFormat,
    Initializer,
    Padding,
    PerAxis,
    Positive,
    Regularizer,
)
from oneiros.layers.weights import LowRank

__all__ = [
    "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Cropping1D",
    "Cropping2D", "Cropping3D", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
    "UpSampling1D", "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
]  # fmt: skip


class Kernel(Layer):
    """What all convolutions share: checks, the bias and the activation."""

    takes_one = True

    def channels(self, input_shape):
        """The number of input channels; the spec of later inputs is set by it."""
        axis = -1 if self.data_format == "channels_last" else 1
        if len(input_shape) != self.rank + 2:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' needs inputs of rank {self.rank + 2} (batch, {self.rank} spatial "
                f"axes, channels; {self.data_format}); got the shape {tuple(input_shape)}"
            )
        count = input_shape[axis]
        if count is None:
            raise ValueError(
                f"The channel dimension of the inputs to {type(self).__name__} '{self.name}' should be defined. The "
                f"input_shape received is {tuple(input_shape)}, where axis {axis} (0-based) is the channel dimension, "
                "which found to be `None`."
            )
        self.input_spec = InputSpec(min_ndim=self.rank + 2, axes={axis: count})
        return count

    def finished(self, y):
        """`y` with bias and activation."""
        if self.use_bias:
            last = self.data_format == "channels_last"
            shape = (1,) * (self.rank + 1) + (-1,) if last else (1, -1) + (1,) * self.rank
            bias = self.bias if last else ops.reshape(self.bias, shape)
            y = y + bias
        return self.activation(y)


class Conv(LowRank, Kernel):
    """Convolution of the inputs with a learned kernel, plus bias, through an activation.

    Input shape (batch, *spatial, channels), or (batch, channels, *spatial) with
    `data_format="channels_first"`;
    the output has `filters` channels. Kernel shape (*kernel_size, channels // groups, filters).

    Args:
        filters: Number of output channels.
        kernel_size: Window size, one number or one per axis.
        strides: Step of the window.
        padding: "valid" (none), "same" (as many outputs as inputs, over the stride); also "causal"
            in 1D.
        dilation_rate: Distance between the window's elements.
        groups: Groups of channels that are convolved apart.
    """

    filters: Positive
    kernel_size: PerAxis
    strides: PerAxis = 1
    padding: Padding = "valid"
    data_format: DataFormat = None
    dilation_rate: PerAxis = 1
    groups: Positive = 1
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

    config_also = config_when_set = hidden = ("lora_rank", "lora_alpha")

    def _ready(self):
        if self.filters % self.groups:
            raise ValueError(
                "The number of filters must be evenly divisible by the number of groups. Received: "
                f"groups={self.groups}, filters={self.filters}."
            )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"`strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: strides={self.strides} "
                f"and dilation_rate={self.dilation_rate}"
            )

    def build(self, input_shape):
        channels = self.channels(input_shape)
        if channels % self.groups:
            raise ValueError(
                f"The number of input channels must be evenly divisible by the number of groups. Received groups="
                f"{self.groups}, but the input has {channels} channels (full input shape is {tuple(input_shape)})."
            )
        self.weight(
            "kernel",
            (*self.kernel_size, channels // self.groups, self.filters),
            attribute="_kernel",
        )
        self.bias = None
        if self.use_bias:
            self.weight("bias", (self.filters,))
        self.start_low_rank()

    def call(self, inputs):
        return self.finished(self.convolution_op(inputs, self.kernel))

    def convolution_op(self, inputs, kernel):
        """The convolution alone; subclasses override it to change how the kernel is used."""
        x, padding = inputs, self.padding
        if padding == "causal":  # all padding before: no output sees later inputs
            before = self.dilation_rate[0] * (self.kernel_size[0] - 1)
            last = self.data_format == "channels_last"
            x = ops.pad(x, ((0, 0), (before, 0), (0, 0)) if last else ((0, 0), (0, 0), (before, 0)))
            padding = "valid"
        return ops.conv(
            x, kernel, strides=self.strides, padding=padding, data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )  # fmt: skip


class Conv1D(Conv, rank=1):
    """Convolution over a sequence: (batch, steps, channels). See `Conv2D` for the arguments.

    `padding="causal"` lets no output see later inputs.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Conv1D(4, 3)(np.ones((2, 10, 3), "float32")).shape
    (2, 8, 4)
    """

    lora_rank = None
    paddings = ("valid", "same", "causal")


class Conv2D(Conv, rank=2):
    """Convolution over an image.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Conv2D(4, 3, padding="same")(np.ones((2, 8, 8, 3), "float32")).shape
    (2, 8, 8, 4)
    """

    __doc__ += Conv.__doc__.partition("\n")[2]


class Conv3D(Conv, rank=3):
    """Convolution over a volume. See `Conv2D` for the arguments.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Conv3D(4, 3)(np.ones((2, 5, 5, 5, 3), "float32")).shape
    (2, 3, 3, 3, 4)
    """


class DepthwiseConv(Kernel):
    """Each channel convolved with kernels of its own.

    Args:
        depth_multiplier: Output channels for each input channel.
    """

    kernel_size: PerAxis
    strides: PerAxis = 1
    padding: Padding = "valid"
    depth_multiplier: Positive = 1
    data_format: DataFormat = None
    dilation_rate: PerAxis = 1
    activation: Activation = None
    use_bias: bool = True
    depthwise_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    depthwise_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    depthwise_constraint: Constraint = None
    bias_constraint: Constraint = None

    def build(self, input_shape):
        channels = self.channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.weight("kernel", shape, prefix="depthwise")
        self.bias = None
        if self.use_bias:
            self.weight("bias", (channels * self.depth_multiplier,))

    def call(self, inputs):
        y = ops.depthwise_conv(
            inputs, self.kernel, strides=self.strides, padding=self.padding, data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )  # fmt: skip
        return self.finished(y)


class DepthwiseConv1D(DepthwiseConv, rank=1):
    """Convolution of each channel of a sequence by itself.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.DepthwiseConv1D(3, depth_multiplier=2)(np.ones((2, 10, 3), "float32")).shape
    (2, 8, 6)
    """


class DepthwiseConv2D(DepthwiseConv, rank=2):
    """Convolution of each channel of an image by itself.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.DepthwiseConv2D(3)(np.ones((2, 8, 8, 3), "float32")).shape
    (2, 6, 6, 3)
    """


class SeparableConv(Kernel):
    """A depthwise convolution, then a pointwise one that mixes the channels.

    Args:
        filters: Number of output channels.
        depth_multiplier: Channels between the two for each input channel.
    """

    filters: Positive
    kernel_size: PerAxis
    strides: PerAxis = 1
    padding: Padding = "valid"
    data_format: DataFormat = None
    dilation_rate: PerAxis = 1
    depth_multiplier: Positive = 1
    activation: Activation = None
    use_bias: bool = True
    depthwise_initializer: Initializer = "glorot_uniform"
    pointwise_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    depthwise_regularizer: Regularizer = None
    pointwise_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    depthwise_constraint: Constraint = None
    pointwise_constraint: Constraint = None
    bias_constraint: Constraint = None

    def build(self, input_shape):
        channels = self.channels(input_shape)
        between = channels * self.depth_multiplier
        self.weight(
            "depthwise_kernel",
            (*self.kernel_size, channels, self.depth_multiplier),
            prefix="depthwise",
        )
        self.weight(
            "pointwise_kernel", (*(1,) * self.rank, between, self.filters), prefix="pointwise"
        )
        self.bias = None
        if self.use_bias:
            self.weight("bias", (self.filters,))

    def call(self, inputs):
        y = ops.separable_conv(
            inputs, self.depthwise_kernel, self.pointwise_kernel, strides=self.strides, padding=self.padding,
            data_format=self.data_format, dilation_rate=self.dilation_rate,
        )  # fmt: skip
        return self.finished(y)


class SeparableConv1D(SeparableConv, rank=1):
    """Depthwise and pointwise convolution over a sequence.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SeparableConv1D(4, 3)(np.ones((2, 10, 3), "float32")).shape
    (2, 8, 4)
    """


class SeparableConv2D(SeparableConv, rank=2):
    """Depthwise and pointwise convolution over an image.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SeparableConv2D(4, 3)(np.ones((2, 8, 8, 3), "float32")).shape
    (2, 6, 6, 4)
    """


class ConvTranspose(Kernel):
    """The transpose of a convolution: it spreads each input over a window of outputs.

    Kernel shape (*kernel_size, filters, channels).

    Args:
        output_padding: Sizes added to one side of the output; found from the strides if None.
    """

    filters: Positive
    kernel_size: PerAxis
    strides: PerAxis = 1
    padding: Padding = "valid"
    output_padding: PerAxis = None
    data_format: DataFormat = None
    dilation_rate: PerAxis = 1
    activation: Activation = None
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    bias_constraint: Constraint = None

    def _ready(self):
        if self.output_padding is not None and any(
            p >= s for p, s in zip(self.output_padding, self.strides)
        ):
            raise ValueError(
                f"The `output_padding` argument must be less than `strides`; got output_padding={self.output_padding}, "
                f"strides={self.strides}"
            )
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"`strides > 1` not supported in conjunction with `dilation_rate > 1`. Received: strides={self.strides} "
                f"and dilation_rate={self.dilation_rate}"
            )

    def build(self, input_shape):
        channels = self.channels(input_shape)
        self.weight("kernel", (*self.kernel_size, self.filters, channels))
        self.bias = None
        if self.use_bias:
            self.weight("bias", (self.filters,))

    def call(self, inputs):
        y = ops.conv_transpose(
            inputs, self.kernel, strides=self.strides, padding=self.padding, output_padding=self.output_padding,
            data_format=self.data_format, dilation_rate=self.dilation_rate,
        )  # fmt: skip
        return self.finished(y)


class Conv1DTranspose(ConvTranspose, rank=1):
    """Transposed convolution over a sequence.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Conv1DTranspose(4, 3, strides=2)(np.ones((2, 5, 3), "float32")).shape
    (2, 11, 4)
    """


class Conv2DTranspose(ConvTranspose, rank=2):
    """Transposed convolution over an image.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Conv2DTranspose(4, 3, strides=2, padding="same")(np.ones((2, 5, 5, 3), "float32")).shape
    (2, 10, 10, 4)
    """


class Conv3DTranspose(ConvTranspose, rank=3, swapped=("output_padding", "data_format")):
    """Transposed convolution over a volume.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Conv3DTranspose(4, 3)(np.ones((2, 4, 4, 4, 3), "float32")).shape
    (2, 6, 6, 6, 4)
    """


# Borders ------------------------------------------------------------------------------------------
class Borders:
    """(before, after) for each spatial axis, from a number, one number per axis, or pairs."""

    @staticmethod
    def convert(value, layer, name):
        rank = layer.rank
        given = value
        if isinstance(value, int):
            value = ((value, value),) * rank
        elif rank == 1 and len(value) == 2 and all(isinstance(v, int) for v in value):
            value = (tuple(value),)
        elif len(value) == rank:
            value = tuple((v, v) if isinstance(v, int) else tuple(v) for v in value)
        else:
            value = ()
        if len(value) != rank or any(
            len(v) != 2 or not all(isinstance(n, int) and n >= 0 for n in v) for v in value
        ):
            raise ValueError(
                f"{type(layer).__name__}: `{name}` must be a non-negative integer, or {rank} of them or of pairs (before, "
                f"after), one per spatial axis; got {given!r}"
            )
        return value

    @staticmethod
    def plain(value):
        return value[0] if len(value) == 1 else value


class _Border(Layer):
    """A layer that adds or takes elements at the borders."""

    data_format = "channels_last"

    takes_one = True

    def _ready(self):
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def per_axis(self, inner, outer):
        """`inner`, one for each spatial axis, with `outer` for the batch and channel axes."""
        return (
            (outer, *inner, outer)
            if self.data_format == "channels_last"
            else (outer, outer, *inner)
        )


class _ZeroPadding(_Border):
    """Zeros around the spatial axes."""

    padding: Borders = 1

    def call(self, inputs):
        return ops.pad(inputs, self.per_axis(self.padding, (0, 0)))


class _Cropping(_Border):
    """The inputs without their borders."""

    cropping: Borders = 1

    def call(self, inputs):
        spans = self.per_axis(self.cropping, (0, 0))
        for n, (a, b), axis in zip(inputs.shape, spans, range(len(spans))):
            if a + b and a + b >= n:
                raise ValueError(
                    f"{type(self).__name__} '{self.name}': cropping {self.cropping} leaves nothing of axis {axis} of an input "
                    f"of shape {tuple(inputs.shape)}"
                )
        return inputs[tuple(slice(a, n - b) for n, (a, b) in zip(inputs.shape, spans))]


class ZeroPadding1D(_ZeroPadding, rank=1):
    """Zeros before and after a sequence.

    Args:
        padding: A number, or (before, after).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ZeroPadding1D(2)(np.ones((2, 3, 4), "float32")).shape
    (2, 7, 4)
    """

    padding: Borders = 1
    data_format: DataFormat = None


class ZeroPadding2D(_ZeroPadding, rank=2):
    """Zeros around an image.

    Args:
        padding: A number, one per axis, or ((top, bottom), (left, right)).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ZeroPadding2D((1, 2))(np.ones((2, 3, 4, 5), "float32")).shape
    (2, 5, 8, 5)
    """

    padding: Borders = (1, 1)
    data_format: DataFormat = None


class ZeroPadding3D(_ZeroPadding, rank=3):
    """Zeros around a volume.

    Args:
        padding: A number, one per axis, or three pairs (before, after).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ZeroPadding3D(1)(np.ones((2, 3, 4, 5, 1), "float32")).shape
    (2, 5, 6, 7, 1)
    """

    padding: Borders = ((1, 1), (1, 1), (1, 1))
    data_format: DataFormat = None


class Cropping1D(_Cropping, rank=1):
    """A sequence without its ends.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Cropping1D(1)(np.ones((2, 5, 4), "float32")).shape
    (2, 3, 4)
    """

    cropping: Borders = (1, 1)


class Cropping2D(_Cropping, rank=2):
    """An image without its borders.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Cropping2D(((1, 0), (0, 2)))(np.ones((2, 5, 5, 4), "float32")).shape
    (2, 4, 3, 4)
    """

    cropping: Borders = ((0, 0), (0, 0))
    data_format: DataFormat = None


class Cropping3D(_Cropping, rank=3):
    """A volume without its borders.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Cropping3D(1)(np.ones((2, 5, 5, 5, 4), "float32")).shape
    (2, 3, 3, 3, 4)
    """

    cropping: Borders = ((1, 1), (1, 1), (1, 1))
    data_format: DataFormat = None


class UpSampling1D(_Border, rank=1):
    """Each step of a sequence `size` times.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.UpSampling1D(2)(np.ones((2, 3, 4), "float32")).shape
    (2, 6, 4)
    """

    size: int = 2

    def call(self, inputs):
        return ops.repeat(inputs, self.size, axis=1)


class UpSampling2D(_Border, rank=2):
    """An image made larger, by repeating or interpolating.

    Args:
        size: Factor, one number or one per axis.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5".

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.UpSampling2D(2)(np.ones((2, 3, 3, 4), "float32")).shape
    (2, 6, 6, 4)
    """

    size: PerAxis = (2, 2)
    data_format: DataFormat = None
    interpolation: str = "nearest"

    def _ready(self):
        super()._ready()
        self.interpolation = self.interpolation.lower()

    def call(self, inputs):
        if self.interpolation == "nearest":
            return _repeated(inputs, self.per_axis(self.size, 1))
        spatial = inputs.shape[1:3] if self.data_format == "channels_last" else inputs.shape[2:4]
        target = tuple(int(n) * f for n, f in zip(spatial, self.size))
        return ops.image.resize(
            inputs, target, interpolation=self.interpolation, data_format=self.data_format
        )


class UpSampling3D(_Border, rank=3):
    """Each voxel repeated along the three spatial axes.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.UpSampling3D(2)(np.ones((1, 2, 2, 2, 4), "float32")).shape
    (1, 4, 4, 4, 4)
    """

    size: PerAxis = (2, 2, 2)
    data_format: DataFormat = None

    def call(self, inputs):
        return _repeated(inputs, self.per_axis(self.size, 1))


def _repeated(x, times):
    for axis, n in enumerate(times):
        if n > 1:
            x = ops.repeat(x, n, axis=axis)
    return x
