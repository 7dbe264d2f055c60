"""Cells: what a recurrent layer does at one step, from the step's input and the states of the step
before.

A cell of ours works in two parts. `project` is the product of the input with the kernel, which a
layer makes for all
steps at once. What `advance` gives is the rest, and all that stands in the loop; the bias is added
there, where it
costs no pass over memory. The gates lie side by side in the kernels, in Keras's order.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

from oneiros import initializers, ops, random
from oneiros.core import backend, tree
from oneiros.core.graph import STACK
from oneiros.core.op import array, op
from oneiros.core.registry import deserialize_keras_object
from oneiros.layers.base import Layer
from oneiros.layers.fields import Activation, Constraint, Initializer, Positive, Regularizer, Seed

__all__ = ["GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"]

_ELEMENTWISE = {ops.sigmoid, ops.hard_sigmoid, ops.tanh, ops.relu}


class Share:
    """A number, moved into [0, 1]."""

    @staticmethod
    def convert(value, layer, name):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(
                f"{type(layer).__name__}: {name} must be a number from 0 to 1; got {value!r}"
            )
        return min(1.0, max(0.0, value))


class Cell(Layer):
    """What the cells of ours share: weights, masks of dropout, `call` from its two parts."""

    gates = 1  # how many arrays of `units` columns the kernels hold
    rank_of_state = 2
    _masks = None

    # Kernels --------------------------------------------------------------------------------------
    state_size = output_size = property(lambda self: self.units)

    def build(self, input_shape):
        if input_shape[-1] is None:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' needs a known last axis; got the input shape {tuple(input_shape)}"
            )
        width = self.gates * self.units
        self.weight("kernel", (input_shape[-1], width))
        self.weight("recurrent_kernel", (self.units, width), prefix="recurrent")
        self.bias = None
        if self.use_bias:
            self.weight("bias", (width,))

    def call(self, inputs, states, training=False):
        given = list(states) if isinstance(states, (list, tuple)) else [states]
        count = len(tree.flatten(self.state_size))
        if len(given) != count:
            raise ValueError(
                f"{type(self).__name__} '{self.name}': `states` must hold {count} array(s); got {len(given)}"
            )
        step = self.advance(given[0], training)
        output, new = step(self.project(inputs, training), given)
        return output, new if isinstance(states, (list, tuple)) else new[0]

    def project(self, inputs, training=False):
        """What the gates get from the inputs (..., features): (..., gates * units)."""
        masks = self.get_dropout_mask(inputs) if training else None
        return self.product(array(self.kernel), masks, 0, self.gates)(inputs)

    def advance(self, state, training=False):
        """The function of (projected input, states) that gives the output and a list of new states.

        It is made outside of the loop; `state` is an array like the first of the states.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `advance`")

    def fused(self, xs, states, training, reverse):
        """`(outputs, *states)` of all steps (time first) by the backend's own loop, where it has one.

        None if it has none, or the cell does more than that.
        """
        return None

    def _is_plain(self, name, training):
        return (
            name in backend.current().faster
            and self.activation is ops.tanh
            and self.recurrent_activation is ops.sigmoid
            and not (training and (self.dropout or self.recurrent_dropout))
        )

    def recurrence(self, state, training, first=0, last=None):
        """The function of a state that gives its product with the recurrent kernel's gates from
        `first` to `last`.
        """
        masks = self.get_recurrent_dropout_mask(state) if training else None
        return self.product(
            array(self.recurrent_kernel), masks, first, self.gates if last is None else last
        )

    def product(self, kernel, masks, first, last):
        size = self.units
        if masks is None:
            part = (
                kernel
                if (first, last) == (0, self.gates)
                else kernel[:, first * size : last * size]
            )
            return lambda x: ops.matmul(x, part)
        masks = masks if isinstance(masks, list) else [masks]
        pairs = [(masks[k], kernel[:, k * size : (k + 1) * size]) for k in range(first, last)]
        return lambda x: _joined([ops.matmul(x * mask, part) for mask, part in pairs])

    def offset(self):
        """The function that adds the bias."""
        if not self.use_bias:
            return lambda z: z
        bias = array(self.bias)
        return lambda z: z + bias

    def opened(self, z, places, training):
        """The gates of `z` at `places`, each through the recurrent activation.

        Compiled for inference it is fastest to apply it to the array whole; a derivative wants the
        parts.
        """
        f = self.recurrent_activation
        if training or f not in _ELEMENTWISE:
            return [f(self.gate(z, k)) for k in places]
        whole = f(z)
        return [self.gate(whole, k) for k in places]

    def gate(self, z, k):
        """The part of `z` that gate `k` gets."""
        return z[..., k * self.units : (k + 1) * self.units]

    def get_initial_state(self, batch_size=None):
        """The states before the first step: zeros."""
        sizes = tree.flatten(self.state_size)
        return [ops.zeros((batch_size, n), self.compute_dtype) for n in sizes]

    # Dropout --------------------------------------------------------------------------------------
    def get_dropout_mask(self, step_input):
        """What inputs are multiplied by, the same at all steps: an array for each gate; None
        without dropout.
        """
        return self._mask("inputs", step_input, self.dropout)

    def get_recurrent_dropout_mask(self, step_input):
        """What states are multiplied by, the same at all steps: an array for each gate; None
        without dropout.
        """
        return self._mask("states", step_input, self.recurrent_dropout)

    def _mask(self, kind, like, rate):
        if not rate:
            return None
        if self._masks is None:
            self._masks = {}
        made_in, mask = self._masks.get(kind, (None, None))
        if mask is None or not _is_open(made_in):
            ones = ops.ones(
                tuple(like.shape[-self.rank_of_state :]), like.dtype
            )  # without an axis of steps
            masks = [
                random.dropout(ones, rate, seed=self.seed_generator) for _ in range(self.gates)
            ]
            mask = masks if self.gates > 1 else masks[0]
            self._masks[kind] = STACK.top, mask
        return mask

    def reset_dropout_mask(self):
        """Let the next call make a new mask for the inputs."""
        (self._masks or {}).pop("inputs", None)

    def reset_recurrent_dropout_mask(self):
        """Let the next call make a new mask for the states."""
        (self._masks or {}).pop("states", None)


def _joined(parts):
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def _is_open(trace):
    """Whether what was made in `trace` can be used now."""
    top = STACK.top
    while top is not None and top is not trace:
        top = top.outer
    return top is trace


class SimpleRNNCell(Cell):
    """`activation(x @ kernel + h @ recurrent_kernel + bias)`, which is output and state.

    Args:
        units: Size of the output.
        dropout: Share of the inputs that training sets to zero.
        recurrent_dropout: Share of the states that training sets to zero.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> y, states = layers.SimpleRNNCell(4)(np.ones((2, 3), "float32"), [np.zeros((2, 4), "float32")])
    >>> y.shape
    (2, 4)
    """

    units: Positive
    activation: Activation = "tanh"
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    recurrent_initializer: Initializer = "orthogonal"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    recurrent_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    recurrent_constraint: Constraint = None
    bias_constraint: Constraint = None
    dropout: Share = 0.0
    recurrent_dropout: Share = 0.0
    seed: Seed = None

    def advance(self, state, training=False):
        recur, offset = self.recurrence(state, training), self.offset()

        def step(z, states):
            h = self.activation(offset(z + recur(states[0])))
            return h, [h]

        return step


class LSTMCell(Cell):
    """One step of the long short-term memory (Hochreiter & Schmidhuber, 1997; forget gate: Gers et
    al., 2000).

    The states are the output and the memory; the kernels hold the input gate, the forget gate, the
    candidate and the
    output gate.

    Args:
        units: Size of the output.
        unit_forget_bias: Whether the forget gate's bias begins with ones (Jozefowicz et al., 2015).
        dropout: Share of the inputs that training sets to zero, gate by gate.
        recurrent_dropout: Share of the states that training sets to zero, gate by gate.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> h = c = np.zeros((2, 4), "float32")
    >>> y, states = layers.LSTMCell(4)(np.ones((2, 3), "float32"), [h, c])
    >>> y.shape, len(states)
    ((2, 4), 2)
    """

    units: Positive
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

    gates = 4

    @property
    def state_size(self):
        return [self.units, self.units]

    def weight(self, name, shape, **options):
        if name == "bias" and self.unit_forget_bias:
            options["initializer"] = ForgetBias(self.bias_initializer)
        return super().weight(name, shape, **options)

    def fused(self, xs, states, training, reverse):
        if type(self) is not LSTMCell or not self._is_plain("lstm", training):
            return None
        bias = ops.zeros((4 * self.units,), xs.dtype) if self.bias is None else array(self.bias)
        return lstm(
            xs, *states, array(self.kernel), array(self.recurrent_kernel), bias, reverse=reverse
        )

    def advance(self, state, training=False):
        recur, offset = self.recurrence(state, training), self.offset()

        def step(z, states):
            z = offset(z + recur(states[0]))
            write, keep, show = self.opened(z, (0, 1, 3), training)
            c = keep * states[1] + write * self.activation(self.gate(z, 2))
            h = show * self.activation(c)
            return h, [h, c]

        return step


@op
def lstm(xs, hidden, memory, kernel, recurrent_kernel, bias, reverse=False):
    """The outputs of all steps, time first, and the two states at the end, of a plain LSTM."""

    def step(states, z):
        z = z + ops.matmul(states[0], recurrent_kernel)
        write, keep, new, show = ops.split(z, 4, axis=-1)
        c = ops.sigmoid(keep) * states[1] + ops.sigmoid(write) * ops.tanh(new)
        h = ops.sigmoid(show) * ops.tanh(c)
        return [h, c], h

    zs = ops.matmul(xs, kernel) + bias
    (h, c), ys = ops.scan(step, [hidden, memory], zs, reverse=reverse)
    return ys, h, c


@op
def gru(xs, hidden, kernel, recurrent_kernel, bias, reverse=False):
    """The outputs of all steps, time first, and the state at the end, of a plain GRU.

    The reset gate comes after the product; `bias` (2, width) is that of inputs and that of states.
    """
    inner = bias[1]

    def step(states, z):
        (h,) = states
        update, reset, new = ops.split(z, 3, axis=-1)
        by_update, by_reset, by_new = ops.split(ops.matmul(h, recurrent_kernel) + inner, 3, axis=-1)
        update, reset = ops.sigmoid(update + by_update), ops.sigmoid(reset + by_reset)
        h = update * h + (1.0 - update) * ops.tanh(new + reset * by_new)
        return [h], h

    (h,), ys = ops.scan(step, [hidden], ops.matmul(xs, kernel) + bias[0], reverse=reverse)
    return ys, h


class ForgetBias(initializers.Initializer):
    """Values of another initializer, but ones in the second of four parts."""

    other: object

    def values(self, shape, dtype):
        size = shape[0] // 4
        first, last = (
            initializers.host_values(self.other, (n * size,), dtype.name) for n in (1, 2)
        )
        return np.concatenate([first, np.ones(size, dtype), last])


class GRUCell(Cell):
    """One step of the gated recurrent unit (Cho et al., 2014).

    The kernels hold the update gate, the reset gate and the candidate.

    Args:
        units: Size of the output.
        dropout: Share of the inputs that training sets to zero, gate by gate.
        recurrent_dropout: Share of the states that training sets to zero, gate by gate.
        reset_after: Whether the reset gate acts on the product with the recurrent kernel, which
            then has a bias of
            its own, or on the state before it.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> y, states = layers.GRUCell(4)(np.ones((2, 3), "float32"), [np.zeros((2, 4), "float32")])
    >>> y.shape
    (2, 4)
    """

    units: Positive
    activation: Activation = "tanh"
    recurrent_activation: Activation = "sigmoid"
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    recurrent_initializer: Initializer = "orthogonal"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    recurrent_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    recurrent_constraint: Constraint = None
    bias_constraint: Constraint = None
    dropout: Share = 0.0
    recurrent_dropout: Share = 0.0
    reset_after: bool = True
    seed: Seed = None

    gates = 3

    def weight(self, name, shape, **options):
        shape = (2, *shape) if name == "bias" and self.reset_after else shape
        return super().weight(name, shape, **options)

    def fused(self, xs, states, training, reverse):
        if type(self) is not GRUCell or not (self.reset_after and self._is_plain("gru", training)):
            return None
        bias = ops.zeros((2, 3 * self.units), xs.dtype) if self.bias is None else array(self.bias)
        kernels = array(self.kernel), array(self.recurrent_kernel)
        return gru(xs, *states, *kernels, bias, reverse=reverse)

    def advance(self, state, training=False):
        return (
            self._reset_after(state, training)
            if self.reset_after
            else self._reset_before(state, training)
        )

    def _reset_after(self, state, training):
        recur, outer, inner = self.recurrence(state, training), *self.offsets()

        def step(z, states):
            (h,) = states
            z, r = outer(z), inner(recur(h))
            update, reset = self.opened(self.pair(z) + self.pair(r), (0, 1), training)
            h = self.mixed(update, h, self.gate(z, 2) + reset * self.gate(r, 2))
            return h, [h]

        return step

    def _reset_before(self, state, training):
        gates, recur = (
            self.recurrence(state, training, 0, 2),
            self.recurrence(state, training, 2, 3),
        )
        offset = self.offset()

        def step(z, states):
            (h,) = states
            z = offset(z)
            update, reset = self.opened(self.pair(z) + gates(h), (0, 1), training)
            h = self.mixed(update, h, self.gate(z, 2) + recur(reset * h))
            return h, [h]

        return step

    def offsets(self):
        """The functions that add the bias of the inputs and that of the states."""
        if not self.use_bias:
            return [lambda z: z] * 2
        bias = array(self.bias)
        return [functools.partial(ops.add, bias[i]) for i in (0, 1)]

    def pair(self, z):
        """The parts of `z` for the two gates."""
        return z[..., : 2 * self.units]

    def mixed(self, update, h, z):
        return update * h + (1.0 - update) * self.activation(z)


class StackedRNNCells(Layer):
    """Cells one upon the other, as one cell: each takes the output of the one before.

    Its states are a list with the states of each cell.

    Args:
        cells: A list of cells.

    >>> from oneiros import layers
    >>> stack = layers.StackedRNNCells([layers.LSTMCell(4), layers.GRUCell(3)])
    >>> stack.state_size, stack.output_size
    ([[4, 4], 3], 3)
    """

    cells: list

    def _ready(self):
        self.cells = list(self.cells)
        for cell in self.cells:
            if not callable(getattr(cell, "call", None)):
                raise ValueError(
                    f"All cells must have a `call` method. Received cell without a `call` method: {cell!r}"
                )
            if not hasattr(cell, "state_size"):
                raise ValueError(
                    f"All cells must have a `state_size` attribute. Received cell without a `state_size`: {cell!r}"
                )

    @property
    def state_size(self):
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self):
        return output_size(self.cells[-1])

    def build(self, input_shape):
        for cell in self.cells:
            build_cell(cell, input_shape)
            input_shape = (input_shape[0], output_size(cell))

    def call(self, inputs, states, training=False, **kwargs):
        new = []
        for cell, own in zip(self.cells, states):
            inputs, made = call_cell(cell, inputs, own, training)
            new.append(made)
        return inputs, new

    def get_initial_state(self, batch_size=None):
        """The states before the first step, a list for each cell."""
        return [initial_state(cell, batch_size, self.compute_dtype) for cell in self.cells]

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["cells"] = [
            deserialize_keras_object(c, custom_objects=custom_objects) for c in config["cells"]
        ]
        return super().from_config(config)


# Any cell, also a user's --------------------------------------------------------------------------
def output_size(cell):
    """The size of a cell's output: what it says, or that of its first state."""
    size = getattr(cell, "output_size", None)
    return tree.flatten(cell.state_size)[0] if size is None else size


def build_cell(cell, input_shape):
    """Build a cell that has weights, once."""
    if hasattr(cell, "build") and not getattr(cell, "built", False):
        cell.build(input_shape)
        if not getattr(cell, "built", False):
            cell.built = True


def call_cell(cell, inputs, states, training):
    """The output of a cell, and a list of its new states."""
    options = (
        {"training": training} if "training" in inspect.signature(cell.call).parameters else {}
    )
    output, new = (cell if callable(cell) else cell.call)(inputs, states, **options)
    return output, list(new) if isinstance(new, (list, tuple)) else [new]


def initial_state(cell, batch_size, dtype):
    """The first states of a cell as a list: its own, or zeros."""
    make = getattr(cell, "get_initial_state", None)
    if make is None:
        return [ops.zeros((batch_size, n), dtype) for n in tree.flatten(cell.state_size)]
    made = make(batch_size=batch_size)
    return list(made) if isinstance(made, (list, tuple)) else [made]
