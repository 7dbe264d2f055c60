"""Long short-term memory whose products are convolutions, over sequences of lines, images and volumes."""

from __future__ import annotations

from oneiros import ops
from oneiros.core.op import array
from oneiros.layers.fields import (
    Activation,
    Constraint,
    DataFormat,
    Initializer,
    Padding,
    PerAxis,
    Positive,
    Regularizer,
    Seed,
)
from oneiros.layers.recurrent import OneCell, around
from oneiros.layers.recurrent_cells import LSTMCell, Share

__all__ = ["ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"]


class Each(PerAxis):
    """As `PerAxis`, but a lone number as default is shown as it is."""

    per_axis = False


class ConvLSTMCell(LSTMCell):
    """One step of a convolutional LSTM."""

    fields = {}
    rank: int
    filters: Positive
    kernel_size: Each
    strides: Each = 1
    padding: Padding = "valid"
    data_format: DataFormat = None
    dilation_rate: Each = 1
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    recurrent_initializer: Initializer = "orthogonal"
    bias_initializer: Initializer = "zeros"
    unit_forget_bias: bool = True
    kernel_regularizer: Regularizer = None
    recurrent_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    recurrent_constraint: Constraint = None
    bias_constraint: Constraint = None
    dropout: Share = 0.0
    recurrent_dropout: Share = 0.0
    seed: Seed = None

    units = property(lambda self: self.filters)

    def _ready(self):
        self.rank_of_state = self.rank + 2
        self.channels = -1 if self.data_format == "channels_last" else -1 - self.rank

    def build(self, input_shape):
        channels = input_shape[self.channels]
        if channels is None:
            raise ValueError(
                "The channel dimension of the inputs (last axis) should be defined. Found None. Full input shape received: "
                f"input_shape={tuple(input_shape)}"
            )
        width = self.gates * self.filters
        self.weight("kernel", (*self.kernel_size, channels, width))
        self.weight(
            "recurrent_kernel", (*self.kernel_size, self.filters, width), prefix="recurrent"
        )
        self.bias = None
        if self.use_bias:
            self.weight("bias", (width,))

    def spatial(self, sizes):
        """The sizes of the output's spatial axes."""
        rows = zip(sizes, self.kernel_size, self.strides, self.dilation_rate)
        if self.padding == "same":
            return tuple(None if n is None else -(-n // s) for n, _, s, _ in rows)
        return tuple(None if n is None else (n - (k - 1) * d - 1) // s + 1 for n, k, s, d in rows)

    def project(self, inputs, training=False):
        masks = self.get_dropout_mask(inputs) if training else None
        own = {
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
        }
        over = self.product(array(self.kernel), masks, 0, self.gates, **own)
        lead = tuple(inputs.shape[: -self.rank_of_state])  # (steps,) or ()
        if not lead:
            return over(inputs)
        if masks is not None:
            return ops.map(over, inputs)
        z = over(ops.reshape(inputs, (-1, *inputs.shape[2:])))
        return ops.reshape(z, (*lead, -1, *z.shape[1:]))

    def product(self, kernel, masks, first, last, strides=1, padding="same", dilation_rate=1):
        options = dict(
            strides=strides,
            padding=padding,
            dilation_rate=dilation_rate,
            data_format=self.data_format,
        )
        if masks is None:
            return lambda x: ops.conv(x, kernel, **options)
        size = self.filters
        pairs = [(masks[k], kernel[..., k * size : (k + 1) * size]) for k in range(first, last)]
        return lambda x: ops.concatenate(
            [ops.conv(x * m, part, **options) for m, part in pairs], self.channels
        )

    def offset(self):
        add = super().offset()
        if not self.use_bias or self.channels == -1:
            return add
        bias = ops.reshape(array(self.bias), (-1, *(1,) * self.rank))
        return lambda z: z + bias

    def gate(self, z, k):
        places = [slice(None)] * len(z.shape)
        places[self.channels] = slice(k * self.filters, (k + 1) * self.filters)
        return z[tuple(places)]


class ConvLSTM(OneCell):
    """Long short-term memory along the steps of (batch, steps, *spatial, channels), by convolutions (Shi et al., 2015).

    Args:
        filters: Number of output channels.
        kernel_size: Size of the windows of both convolutions.
        strides: Step of the window over the inputs.
        padding: How borders of the inputs are treated: "valid" or "same"; states are padded to stay as large.
        dilation_rate: Distance between the elements of the window over the inputs.
    """

    fields = {
        n: f for n, f in around(ConvLSTMCell, "seed return_sequences return_state go_backwards stateful").items()
        if n != "rank"
    }  # fmt: skip
    cell_class = ConvLSTMCell
    config_also = ("unroll", "zero_output_for_mask")

    def adopt(self, unroll=False, **options):
        super().adopt(**options)
        self.unroll = unroll

    def _sizes(self, shape):
        """(*spatial, filters) of the output for inputs of this shape, or with the filters first."""
        first = self.data_format == "channels_first"
        sizes = self.cell.spatial(shape[3:] if first else shape[2:-1])
        return (self.filters, *sizes) if first else (*sizes, self.filters)

    def _initial_state(self, shape):
        return [ops.zeros((shape[0], *self._sizes(shape)), self.compute_dtype) for _ in range(2)]

    def reset_state(self):
        """Begin the next batch with zeros again, if the layer is stateful."""
        for variable in self.states or ():
            variable.assign(ops.zeros(variable.shape, variable.dtype))

    reset_states = reset_state

    def get_initial_state(self, batch_size):
        """The states before the first step, for inputs of the shape that the layer was built with."""
        return self._initial_state((batch_size, *self._build_shapes["sequences_shape"][1:]))

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        state = (sequences_shape[0], *self._sizes(sequences_shape))
        output = (*sequences_shape[:2], *state[1:]) if self.return_sequences else state
        return (output, state, state) if self.return_state else output


class ConvLSTM1D(ConvLSTM, rank=1):
    """Convolutional LSTM over sequences of lines (batch, steps, rows, channels). See `ConvLSTM2D` for the arguments.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ConvLSTM1D(4, 3)(np.ones((2, 5, 8, 3), "float32")).shape
    (2, 6, 4)
    """


class ConvLSTM2D(ConvLSTM, rank=2):
    """Convolutional LSTM over sequences of images (batch, steps, rows, columns, channels).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ConvLSTM2D(4, 3)(np.ones((2, 5, 8, 8, 3), "float32")).shape
    (2, 6, 6, 4)
    """

    __doc__ += ConvLSTM.__doc__.partition("\n")[2]


class ConvLSTM3D(ConvLSTM, rank=3):
    """Convolutional LSTM over sequences of volumes. See `ConvLSTM2D` for the arguments.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ConvLSTM3D(4, 3)(np.ones((1, 2, 5, 5, 5, 3), "float32")).shape
    (1, 3, 3, 3, 4)
    """
