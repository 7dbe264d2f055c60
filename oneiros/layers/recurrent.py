"""Recurrent layers: a cell applied along the steps of a sequence.

The loop is one `ops.scan` over time-major arrays. A cell of ours gets the products of all inputs
with its kernel from
one matrix product before the loop; any other cell is called at each step, and the variables that it
changes (the
state of a seed generator, say) travel along.
"""

from __future__ import annotations

from oneiros import ops
from oneiros.core import tree
from oneiros.core.graph import STACK
from oneiros.core.naming import snake_case
from oneiros.core.op import infer
from oneiros.core.registry import deserialize_keras_object
from oneiros.core.scopes import STATE, StatelessScope
from oneiros.core.spec import Unknown, dtype_name
from oneiros.core.symbol import Symbol
from oneiros.core.variable import Variable
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import Regularizer
from oneiros.layers.recurrent_cells import (
    Cell,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
    build_cell,
    call_cell,
    initial_state,
    output_size,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "SimpleRNN",
    "SimpleRNNCell",
    "StackedRNNCells",
]


class AnyCell:
    """A cell, or a list of cells that become one."""

    @staticmethod
    def convert(value, layer, name):
        cell = StackedRNNCells(value) if isinstance(value, (list, tuple)) else value
        if not callable(getattr(cell, "call", None)):
            raise ValueError(
                f"Argument `cell` should have a `call` method. Received: cell={cell!r}"
            )
        if not hasattr(cell, "state_size"):
            raise ValueError(
                "The RNN cell should have a `state_size` attribute (single integer or list of integers, one integer "
                f"per RNN state). Received: cell={cell!r}"
            )
        return cell


class RNN(Layer):
    """A cell along the steps of a sequence (batch, steps, ...).

    A cell is a layer, or any object, with `call(inputs, states)`, which gives the output and the
    new states, and
    `state_size`, an int or a list of ints; perhaps with `output_size` and
    `get_initial_state(batch_size)`.

    Args:
        cell: The cell, or a list of cells, each of which takes the output of the one before.
        return_sequences: Whether to give the outputs of all steps, or the last one.
        return_state: Whether to give the last states too.
        go_backwards: Whether to begin at the end; the outputs of all steps come in the order they
            were made.
        stateful: Whether the states after one batch are the first ones of the next.
        unroll: Whether to write the steps out instead of looping.
        zero_output_for_mask: Whether outputs of masked steps are zeros, not those of the step
            before.

    Raises:
        ValueError: if `cell` is none, if there are too few or too many initial states, or if the
            batch size is
            unknown or changes while the layer is stateful.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)])(np.ones((2, 5, 7), "float32")).shape
    (2, 3)
    """

    cell: AnyCell
    return_sequences: bool = False
    return_state: bool = False
    go_backwards: bool = False
    stateful: bool = False
    unroll: bool = False
    zero_output_for_mask: bool = False

    supports_masking = True
    states = None

    # Structure ------------------------------------------------------------------------------------
    @property
    def state_size(self):
        size = self.cell.state_size
        return list(size) if isinstance(size, (list, tuple)) else [size]

    @property
    def single_state(self):
        return len(self.state_size) == 1

    def build(self, sequences_shape, initial_state_shape=None):
        if len(sequences_shape) < 3:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' needs inputs (batch, steps, ...) of at least 3 axes; got the shape "
                f"{tuple(sequences_shape)}"
            )
        build_cell(self.cell, (sequences_shape[0], *sequences_shape[2:]))
        if self.stateful and self.states is None:
            self._make_states(sequences_shape)

    def _make_states(self, shape):
        if shape[0] is None:
            raise ValueError(
                "When using `stateful=True` in a RNN, the batch size must be static. Found dynamic batch size: "
                f"sequence.shape={tuple(shape)}"
            )
        trace, STACK.top = STACK.top, None
        try:
            first = self._initial_state(shape)
            self.states = tree.map_structure(
                lambda x: Variable(x, dtype=self.variable_dtype, trainable=False, name="rnn_state"),
                first,
            )
        finally:
            STACK.top = trace

    def _states_beside_weights(self):
        return [*super()._states_beside_weights(), *tree.flatten(self.states or [])]

    def get_initial_state(self, batch_size):
        """The states before the first step, as a flat list."""
        return tree.flatten(initial_state(self.cell, batch_size, self.compute_dtype))

    def _initial_state(self, shape):
        """The states before the first step for inputs of this shape, a list (of lists for stacked
        cells).
        """
        return initial_state(self.cell, shape[0], self.compute_dtype)

    def reset_state(self):
        """Begin the next batch with the first states again, if the layer is stateful."""
        if not self.stateful or self.states is None:
            return
        held = tree.flatten(self.states)
        for variable, x in zip(held, tree.flatten(self._initial_state(held[0].shape))):
            variable.assign(x)

    reset_states = reset_state

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        batch, steps = sequences_shape[0], sequences_shape[1]
        size = output_size(self.cell)
        size = tuple(size) if isinstance(size, (list, tuple)) else (size,)
        output = (batch, steps, *size) if self.return_sequences else (batch, *size)
        if not self.return_state:
            return output
        return (output, *tree.map_structure(lambda n: (batch, n), self.state_size))

    def _declared_outputs(self, plan, args, kwargs, values):
        """Known for our own cells; another cell is run, so that it makes its weights."""
        if _is_ours(self.cell):
            return super()._declared_outputs(plan, args, kwargs, values)
        return None

    def compute_mask(self, _, mask):
        mask = tree.flatten(mask)[0] if mask is not None else None
        mask = mask if self.return_sequences else None
        return [mask, *[None] * len(self.state_size)] if self.return_state else mask

    # Running --------------------------------------------------------------------------------------
    def call(self, sequences, initial_state=None, mask=None, training=False):
        states = self._first_states(sequences, initial_state)
        xs, seen = _time_first(sequences), None  # (steps, batch, ...)
        if mask is not None:
            seen = _time_first(ops.cast(tree.flatten(mask)[0], "bool"))
        stacked = isinstance(self.cell, StackedRNNCells) and _is_ours(self.cell)
        cells, states = (self.cell.cells, states) if stacked else ([self.cell], [states])
        ends = []
        for cell, own in zip(cells, states):
            last = cell is cells[-1]
            xs, end = self._along(
                cell, xs, own, seen, training, whole=self.return_sequences or not last
            )
            ends.append(end)
        output, states = xs, ends if stacked else ends[0]
        if self.stateful and not getattr(STACK.top, "abstract", False):
            for variable, x in zip(tree.flatten(self.states), tree.flatten(states)):
                variable.assign(x)
        if seen is not None and self.zero_output_for_mask:
            here = seen if self.return_sequences else seen[0 if self.go_backwards else -1]
            output = _where(here, output, ops.zeros_like(output))
        if self.return_sequences:
            output = _time_first(ops.flip(output, 0) if self.go_backwards else output)
        return (output, *states) if self.return_state else output

    def inner_loop(self, sequences, initial_state, mask, training=False):
        """`(last output, outputs of all steps, last states)` of the loop alone, in the order of the steps made."""
        xs, seen = _time_first(sequences), None if mask is None else _time_first(mask)
        states = tree.pack_sequence_as(
            self._initial_state(sequences.shape), tree.flatten(initial_state)
        )
        outputs, states = self._along(self.cell, xs, states, seen, training, whole=True)
        outputs = ops.flip(outputs, 0) if self.go_backwards else outputs
        return outputs[-1], _time_first(outputs), states

    def _first_states(self, sequences, given):
        """The states before the first step, a list (of lists where cells are stacked)."""
        shape = tuple(sequences.shape)
        if given is None and (not self.stateful or isinstance(shape[0], Unknown)):
            return self._initial_state(shape)
        if given is None:
            held = tree.flatten(self.states)[0].shape[0]
            if shape[0] != held:
                raise ValueError(
                    "If an RNN is stateful, the batch size of the input sequences must be the same as the batch size of "
                    f"the initial state.\n- Expected batch size: {held}\n- Received batch size: {shape[0]}"
                )
            return tree.map_structure(lambda v: ops.cast(v, self.compute_dtype), self.states)
        wanted, given = self._initial_state(shape), tree.flatten(given)
        shapes = [tuple(x.shape)[1:] for x in tree.flatten(wanted)]
        if [tuple(x.shape)[1:] for x in given] != shapes:
            raise ValueError(
                f"{type(self).__name__} '{self.name}': initial_state must hold {len(shapes)} array(s) of the shapes "
                f"{[('batch', *s) for s in shapes]}; got {[tuple(x.shape) for x in given]}"
            )
        return tree.pack_sequence_as(wanted, given)

    def _along(self, cell, xs, states, seen, training, whole):
        """`(outputs of all steps or the last one, states at the end)` of a cell along time-major
        inputs.

        Args:
            seen: Where steps count (steps, batch), or None for everywhere.
            whole: Whether the outputs of all steps are wanted.
        """
        first = tree.flatten(states)
        count, ours = len(first), _is_ours(cell)
        if seen is None and isinstance(cell, Cell) and _is_ours(cell) and not self.unroll:
            made = cell.fused(xs, first, training, self.go_backwards)
            if made is not None:
                states = tree.pack_sequence_as(states, list(made[1:]))
                return made[0] if whole else made[1], states
        _prime(cell, xs, first, training)
        if ours:  # the output is the first state
            xs, step, hold = cell.project(xs, training), cell.advance(first[0], training), False
        else:
            step, like, variables = _any_step(cell, xs[0], states, training)
            hold = not whole or seen is not None
            first += [v.value for v in variables]
            first += [ops.zeros(like.shape, like.dtype)] if hold else []

        def body(carry, x):
            x, here = (x, None) if seen is None else x
            output, new = step(x, carry)
            if here is not None:
                new[:count] = [_where(here, a, b) for a, b in zip(new[:count], carry)]
                output = new[0] if ours else _where(here, output, carry[-1])
            return [*new, output] if hold else new, output if whole else None

        xs = xs if seen is None else (xs, seen)
        if self.unroll and not getattr(STACK.top, "abstract", False):
            end, outputs = _unrolled(body, first, xs, self.go_backwards)
        else:
            end, outputs = ops.scan(body, first, xs, reverse=self.go_backwards)
        _forget(cell)
        if not ours:
            for v, x in zip(variables, end[count:]):
                v.assign(x)
        return outputs if whole else end[0 if ours else -1], tree.pack_sequence_as(
            states, end[:count]
        )

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        if isinstance(config.get("cell"), dict):
            config["cell"] = deserialize_keras_object(config["cell"], custom_objects=custom_objects)
        return super().from_config(config)


def _time_first(x):
    """(batch, steps, ...) as (steps, batch, ...), and back."""
    return ops.transpose(x, (1, 0, *range(2, len(x.shape))))


def _where(here, x, y):
    """`x` where the steps of `here` count, else `y`."""
    axes = (*here.shape, *(1,) * (len(x.shape) - len(here.shape)))
    return ops.where(ops.reshape(here, axes), x, y)


def _is_ours(cell):
    """Whether a cell (or each of a stack) works in the two parts of `Cell`."""
    if type(cell) is StackedRNNCells:
        return all(map(_is_ours, cell.cells))
    return isinstance(cell, Cell) and type(cell).call is Cell.call


def _parts_of(cell):
    return cell.cells if isinstance(cell, StackedRNNCells) else [cell]


def _prime(cell, xs, states, training):
    """Make the masks of dropout outside of the loop, for cells that ask for them inside."""
    _forget(cell)
    if not training or _is_ours(cell):
        return
    x, states = xs[0], iter(states)
    for part in _parts_of(cell):
        own = [next(states) for _ in tree.flatten(part.state_size)]
        if hasattr(part, "get_dropout_mask"):
            part.get_dropout_mask(x)
        if hasattr(part, "get_recurrent_dropout_mask"):
            part.get_recurrent_dropout_mask(own[0])
        x = ops.zeros((x.shape[0], output_size(part)), x.dtype)


def _forget(cell):
    for part in _parts_of(cell):
        for name in ("reset_dropout_mask", "reset_recurrent_dropout_mask"):
            getattr(part, name, lambda: None)()


def _any_step(cell, x, states, training):
    """What calls any cell: a function of (input, flat states and variables), its output's spec, its
    variables.

    The variables are those that the cell changes; a trial finds them.
    """
    variables = []

    def step(x, carry):
        with _inner_scope(zip(variables, carry[count:])) as scope:
            output, new = call_cell(cell, x, tree.pack_sequence_as(states, carry[:count]), training)
            now = [scope.get_current_value(v) for v in variables]
        return output, [*tree.flatten(new), *now]

    def trial(x, *carry):
        with _inner_scope(()) as scope:
            before = dict(scope.values)
            output, _ = call_cell(cell, x, tree.pack_sequence_as(states, list(carry)), training)
            changed = [
                scope.variables[k] for k, v in scope.values.items() if before.get(k) is not v
            ]
            variables[:] = [
                v for v in changed if scope.get_current_value(v) is not v._value
            ]  # others are new
        return output

    flat = tree.flatten(states)
    count = len(flat)
    like = infer(trial, [Symbol(tuple(v.shape), dtype_name(v.dtype)) for v in (x, *flat)])
    return step, like, variables


def _inner_scope(pairs):
    """A scope that begins with the variables' values outside of it, and keeps to itself what is
    assigned.
    """
    scope, outer = StatelessScope(), STATE.stateless
    if outer is not None:
        scope.values.update(outer.values)
        scope.variables.update(outer.variables)
    for variable, value in pairs:
        scope.set(variable, value)
    return scope


def _unrolled(body, carry, xs, reverse):
    """As `ops.scan`, step after step."""
    steps = range(tree.flatten(xs)[0].shape[0])
    outputs = {}
    for i in reversed(steps) if reverse else steps:
        carry, outputs[i] = body(list(carry), tree.map_structure(lambda x: x[i], xs))
    made = [outputs[i] for i in steps]
    return carry, None if not made or made[0] is None else ops.stack(made)


# Layers of one cell -------------------------------------------------------------------------------
def around(cell, last):
    """The fields of a layer around `cell`: the cell's, a penalty on the outputs, and at the end
    those named `last`.
    """
    fields = {}
    for name, field in cell.fields.items():
        fields[name] = field
        if name == "bias_regularizer":
            fields["activity_regularizer"] = (Regularizer, None)
    known = {**fields, **RNN.fields, "seed": (None, None), "use_cudnn": (None, "auto")}
    last = last.split()
    return {n: f for n, f in fields.items() if n not in last} | {n: known[n] for n in last}


class OneCell(RNN):
    """What the layers of one cell share: they make it of their own arguments."""

    fields = {}
    cell_class = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "fields" in cls.__dict__:
            cls.__annotations__ = {name: kind for name, (kind, _) in cls.fields.items()}

    config_without = ("use_cudnn",)
    config_also = ("zero_output_for_mask",)

    @classmethod
    def from_config(cls, config):
        return super().from_config(config)

    def adopt(self, zero_output_for_mask=False, **options):
        super().adopt(**options)
        self.zero_output_for_mask = zero_output_for_mask

    def _ready(self):
        cell = self.cell_class
        options = {n: getattr(self, n) for n in cell.fields}
        self.cell = cell(
            **options, dtype=self.dtype_policy, trainable=self.trainable, name=self.cell_name()
        )
        self.input_spec = InputSpec(ndim=self.cell.rank_of_state + 1)

    def cell_name(self):
        return snake_case(self.cell_class.__name__)


class SimpleRNN(OneCell):
    """`h = activation(x @ kernel + h @ recurrent_kernel + bias)` along the steps of (batch, steps,
    features).

    See `RNN` for the arguments of the loop, `SimpleRNNCell` for the others.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SimpleRNN(4)(np.ones((2, 5, 3), "float32")).shape
    (2, 4)
    """

    fields = around(
        SimpleRNNCell, "return_sequences return_state go_backwards stateful unroll seed"
    )
    cell_class = SimpleRNNCell
    config_without = ("seed",)


class LSTM(OneCell):
    """Long short-term memory along the steps of (batch, steps, features) (Hochreiter & Schmidhuber,
    1997).

    See `RNN` for the arguments of the loop, `LSTMCell` for the others. `use_cudnn` changes nothing.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.LSTM(4, return_sequences=True)(np.ones((2, 5, 3), "float32")).shape
    (2, 5, 4)
    """

    fields = around(
        LSTMCell, "seed return_sequences return_state go_backwards stateful unroll use_cudnn"
    )
    cell_class = LSTMCell


class GRU(OneCell):
    """The gated recurrent unit along the steps of (batch, steps, features) (Cho et al., 2014).

    See `RNN` for the arguments of the loop, `GRUCell` for the others. `use_cudnn` changes nothing.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.GRU(4, return_sequences=True)(np.ones((2, 5, 3), "float32")).shape
    (2, 5, 4)
    """

    fields = around(
        GRUCell,
        "seed return_sequences return_state go_backwards stateful unroll reset_after use_cudnn",
    )
    cell_class = GRUCell
