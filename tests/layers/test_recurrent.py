"""Recurrent layers against Keras: outputs, masks, states, configs, weights; derivatives; wrong input."""

import keras
import numpy as np
import pytest

from oneiros import layers, losses, models, ops, optimizers
from oneiros.core import backend as backends
from oneiros.core import tree

from .against_keras import (
    assert_comes_back,
    assert_right_derivatives,
    assert_same_outputs,
    assert_same_structure,
    pair,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 3)).astype("float32")
MASK = np.array([[0, 1, 1, 0, 0], [1, 1, 0, 1, 0]], bool)
STATE = RNG.normal(size=(2, 4)).astype("float32")
KINDS = {"SimpleRNN": 1, "LSTM": 2, "GRU": 1}  # and the number of their states
LOOPS = [
    {},
    dict(return_sequences=True, return_state=True),
    dict(go_backwards=True, return_sequences=True),
    dict(return_sequences=True, zero_output_for_mask=True),
    dict(use_bias=False, activation="relu"),
]
ALL = dict(return_sequences=True, return_state=True)
STACK = lambda k: k.RNN([k.LSTMCell(4), k.GRUCell(3), k.SimpleRNNCell(2)], **ALL)
ROWS = {
    f"{n}-{i}": lambda k, n=n, o=o: getattr(k, n)(4, **o)
    for n in KINDS
    for i, o in enumerate(LOOPS)
}
ROWS |= {
    "GRU-reset-before": lambda k: k.GRU(4, reset_after=False, return_sequences=True),
    "LSTM-no-forget-bias": lambda k: k.LSTM(
        4, unit_forget_bias=False, recurrent_activation="hard_sigmoid"
    ),
    "stack": STACK,
    "Bidirectional-concat": lambda k: k.Bidirectional(k.LSTM(4, return_sequences=True)),
    "Bidirectional-sum": lambda k: k.Bidirectional(k.GRU(4), merge_mode="sum"),
    "Bidirectional-ave": lambda k: k.Bidirectional(k.GRU(4, **ALL), merge_mode="ave"),
    "Bidirectional-mul": lambda k: k.Bidirectional(
        k.SimpleRNN(4, return_state=True), merge_mode="mul"
    ),
    "Bidirectional-both": lambda k: k.Bidirectional(k.LSTM(4, **ALL), merge_mode=None),
    "Bidirectional-given": lambda k: k.Bidirectional(
        k.GRU(4), backward_layer=k.LSTM(3, go_backwards=True)
    ),
    "TimeDistributed": lambda k: k.TimeDistributed(k.Dense(4, activation="tanh")),
}
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_row
def test_layer_gives_what_keras_gives(row, backend):
    ours, theirs = pair(row, X)
    assert_same_outputs(ours, theirs, X)
    assert_same_structure(ours, theirs)


@each_row
def test_masked_steps_are_as_in_keras(row, backend):
    ours, theirs = pair(row, X)
    assert_same_outputs(ours, theirs, X, mask=MASK)


@each_row
def test_shapes_with_unknown_sizes_are_those_of_keras(row):
    ours, theirs = pair(row, X)
    if (
        row is not ROWS["Bidirectional-given"]
    ):  # where Keras takes the backward layer to be as wide as the other
        assert ours.compute_output_shape((None, None, 3)) == theirs.compute_output_shape(
            (None, None, 3)
        )
    made = tree.flatten(ours(layers.Input((None, 3))))
    flat = [s for s in _shapes(ours.compute_output_shape((None, None, 3)))]
    assert [y.shape for y in made] == flat


def _shapes(shape):
    if all(n is None or isinstance(n, int) for n in shape):
        return [tuple(shape)]
    return [s for part in shape for s in _shapes(part)]


@each_row
def test_layer_comes_back_from_its_config(row):
    ours, _ = pair(row, X)
    assert_comes_back(ours, X)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(padding="same", **ALL),
        dict(strides=2, go_backwards=True),
        dict(dilation_rate=2, use_bias=False),
    ],
)
def test_convolutional_lstm_is_as_in_keras(rank, options, backend):
    x = RNG.normal(size=(2, 3, *(7, 6, 5)[:rank], 2)).astype("float32")
    ours, theirs = pair(lambda k: getattr(k, f"ConvLSTM{rank}D")(3, 3, **options), x)
    assert_same_outputs(ours, theirs, x)
    assert_same_structure(ours, theirs)
    shape = (None, None, *x.shape[2:])
    assert ours.compute_output_shape(shape) == theirs.compute_output_shape(shape)


@each_kind
@pytest.mark.parametrize("options", [{}, dict(go_backwards=True)])
def test_unrolled_steps_give_what_the_loop_gives(kind, options, backend):
    loop = getattr(layers, kind)(4, **ALL, **options)
    loop(X)
    unrolled = getattr(layers, kind)(4, unroll=True, **ALL, **options)
    unrolled(X)
    unrolled.set_weights(loop.get_weights())
    for y, z in zip(loop(X, mask=MASK), unrolled(X, mask=MASK)):
        np.testing.assert_allclose(backends.to_numpy(y), backends.to_numpy(z), rtol=1e-5, atol=1e-6)


def test_unrolling_needs_no_known_number_of_steps_while_the_model_is_built():
    x = layers.Input((None, 3))
    model = models.Model(x, layers.LSTM(4, unroll=True, return_sequences=True)(x))
    assert model.output_shape == (None, None, 4)
    assert model(X).shape == (2, 5, 4)


@each_kind
def test_initial_states_are_those_given(kind, backend):
    states = [STATE * (i + 1) for i in range(KINDS[kind])]
    ours, theirs = pair(lambda k: getattr(k, kind)(4, **ALL), X, initial_state=states)
    assert_same_outputs(ours, theirs, X, initial_state=states)
    assert_same_outputs(ours, theirs, X, initial_state=states, mask=MASK)
    assert_same_structure(ours, theirs)


def test_initial_states_may_be_symbols():
    encoder = layers.LSTM(4, return_state=True)
    decoder = layers.LSTM(4, return_sequences=True)
    x = layers.Input((None, 3))
    _, *states = encoder(x)
    model = models.Model(x, decoder(x, initial_state=states))
    _, *now = encoder(X)
    np.testing.assert_allclose(model(X), decoder(X, initial_state=now), rtol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda k: k.LSTM(4, stateful=True, **ALL),
        lambda k: k.RNN([k.LSTMCell(4), k.GRUCell(3)], stateful=True),
    ],
)
def test_a_stateful_layer_goes_on_where_it_was(make, backend):
    ours, theirs = pair(make, X)
    ours.reset_state()
    for v in keras.tree.flatten(theirs.states):  # Keras cannot reset those of stacked cells
        v.assign(np.zeros(v.shape))
    first = backends.to_numpy(ours(X)[0])
    theirs(X)
    for _ in range(2):
        assert_same_outputs(ours, theirs, X)
    assert [v.path.split("/")[-1] for v in tree.flatten(ours.states)] == ["rnn_state"] * len(
        tree.flatten(ours.states)
    )
    ours.reset_states()
    np.testing.assert_array_equal(ours(X)[0], first)


def test_states_are_no_weights_and_not_trained():
    layer = layers.LSTM(4, stateful=True)
    layer(X)
    held = {id(v) for v in layer.states}
    assert not held & {id(v) for v in layer.weights}
    assert held <= {id(v) for v in layer.non_trainable_variables}


def test_training_carries_the_states_from_batch_to_batch(backend):
    model = models.Sequential(
        [layers.Input(batch_shape=(2, 5, 3)), layers.GRU(4, stateful=True), layers.Dense(1)]
    )
    model.compile(optimizer=optimizers.SGD(0.0), loss=losses.MeanSquaredError())
    model.fit(X, np.zeros((2, 1), "float32"), batch_size=2, epochs=2, verbose=0, shuffle=False)
    twice = np.concatenate([X, X], axis=1)
    again = layers.GRU(4)
    again(twice)
    again.set_weights(model.layers[0].get_weights())
    np.testing.assert_allclose(
        model.layers[0].states[0].numpy(), again(twice), rtol=1e-5, atol=1e-6
    )


# Dropout -----------------------------------------------------------------------------------------------------------
@each_kind
def test_dropout_masks_stay_the_same_along_the_steps(kind, backend):
    cell = getattr(layers, f"{kind}Cell")(4, dropout=0.5, recurrent_dropout=0.5, seed=1)
    first, again = cell.get_dropout_mask(X[:, 0]), cell.get_dropout_mask(X[:, 0])
    assert first is again
    masks = first if isinstance(first, list) else [first]
    assert len(masks) == {"SimpleRNN": 1, "LSTM": 4, "GRU": 3}[kind]
    assert set(np.unique(backends.to_numpy(masks[0]))) <= {0.0, 2.0}
    cell.reset_dropout_mask()
    assert cell.get_dropout_mask(X[:, 0]) is not first


@each_kind
def test_dropout_is_for_training_only(kind, backend):
    layer = getattr(layers, kind)(16, dropout=0.5, recurrent_dropout=0.5)
    still, other = layer(X), layer(X, training=True)
    np.testing.assert_array_equal(still, layer(X, training=False))
    assert np.abs(backends.to_numpy(still) - backends.to_numpy(other)).max() > 0
    assert np.abs(backends.to_numpy(layer(X, training=True)) - backends.to_numpy(other)).max() > 0


@pytest.mark.parametrize("reset_after", [True, False])
def test_dropped_inputs_and_states_are_those_of_the_masks(reset_after):
    cell = layers.GRUCell(
        4, dropout=0.5, recurrent_dropout=0.5, reset_after=reset_after, use_bias=False
    )
    x, h = X[:, 0], STATE
    y, _ = cell(x, [h], training=True)
    kernel, recurrent = (np.split(w.numpy(), 3, axis=1) for w in cell.weights)
    xs = [(x * m) @ w for m, w in zip(cell.get_dropout_mask(x), kernel)]
    masks = cell.get_recurrent_dropout_mask(h)
    sigmoid = lambda v: 1 / (1 + np.exp(-v))
    update, reset = (sigmoid(xs[k] + (h * masks[k]) @ recurrent[k]) for k in (0, 1))
    inner = (
        reset * ((h * masks[2]) @ recurrent[2])
        if reset_after
        else (reset * h * masks[2]) @ recurrent[2]
    )
    expected = update * h + (1 - update) * np.tanh(xs[2] + inner)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


# Cells of users ----------------------------------------------------------------------------------------------------
class Leaky(layers.Layer):
    """A cell with layers inside and an output that is no state."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units
        self.inner, self.noise = layers.Dense(units), layers.Dropout(0.5, seed=3)

    def call(self, x, states):
        h = ops.tanh(self.inner(x)) + 0.5 * states[0]
        return self.noise(h) * 2.0, h


def _leaky(layer, x):
    kernel, bias = layer.cell.inner.get_weights()
    h, out = 0.0, []
    for t in range(x.shape[1]):
        h = np.tanh(x[:, t] @ kernel + bias) + 0.5 * h
        out.append(2 * h)
    return np.stack(out, axis=1)


def test_any_cell_is_run_along_the_steps(backend):
    layer = layers.RNN(Leaky(4), return_sequences=True)
    y = layer(layers.Input((None, 3)))
    assert y.shape == (None, None, 4)
    assert [v.path for v in layer.weights] == [
        f"{layer.name}/{layer.cell.name}/{layer.cell.inner.name}/{n}" for n in ("kernel", "bias")
    ]
    np.testing.assert_allclose(layer(X), _leaky(layer, X), rtol=1e-5, atol=1e-6)


def test_the_output_of_any_cell_is_held_at_masked_steps(backend):
    layer = layers.RNN(Leaky(4), return_sequences=True)
    y = backends.to_numpy(layer(X, mask=np.array([[0, 1, 1, 0, 0]] * 2, bool)))
    want = _leaky(layer, X[:, 1:3])
    np.testing.assert_allclose(y[:, 1:3], want, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(y[:, 0], 0 * want[:, 0])
    np.testing.assert_array_equal(y[:, 3:], y[:, [2, 2]])


def test_chance_inside_of_any_cell_differs_from_step_to_step(backend):
    layer = layers.RNN(Leaky(64), return_sequences=True)
    first, second = (backends.to_numpy(layer(X, training=True)) == 0 for _ in range(2))
    assert 0.3 < first.mean() < 0.7
    assert (first[:, 0] != first[:, 1]).any() and (first != second).any()


def test_a_model_with_any_cell_trains(backend):
    model = models.Sequential(
        [
            layers.Input((5, 3)),
            layers.RNN([Leaky(4), layers.LSTMCell(3, dropout=0.5)]),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer=optimizers.SGD(0.1), loss=losses.MeanSquaredError())
    made = model.fit(X, np.ones((2, 1), "float32"), batch_size=2, epochs=12, verbose=0)
    assert made.history["loss"][-1] < made.history["loss"][0]


def test_a_cell_need_not_be_a_layer(backend):
    class Sum:
        state_size = 3

        def call(self, x, states):
            return states[0] + x, states[0] + x

    assert_close(layers.RNN(Sum())(X), X.sum(axis=1))


def assert_close(y, expected):
    np.testing.assert_allclose(backends.to_numpy(y), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 7])
def test_time_distributed_passes_the_mask_of_inner_steps(steps, backend):
    x = RNG.normal(size=(2, steps, 5, 3)).astype("float32")
    mask = RNG.random((2, steps, 5)) > 0.3
    ours, theirs = pair(lambda k: k.TimeDistributed(k.LSTM(4, return_sequences=True)), x)
    assert_same_outputs(ours, theirs, x, mask=mask)


def test_time_distributed_learns_from_one_step_after_another(backend):
    ours, theirs = pair(lambda k: k.TimeDistributed(k.BatchNormalization(momentum=0.5)), X)
    assert_same_outputs(ours, theirs, X, training=True)
    for a, b in zip(ours.get_weights(), theirs.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model = models.Sequential([layers.TimeDistributed(layers.BatchNormalization()), layers.GRU(2)])
    model.compile("sgd", "mse")
    model.fit(X, np.ones((2, 2), "float32"), verbose=0)
    assert not np.allclose(model.layers[0].get_weights()[2], 0.0)


# Derivatives ---------------------------------------------------------------------------------------------------------
DERIVED = {
    **{n: lambda n=n: getattr(layers, n)(3, **ALL) for n in KINDS},
    "GRU-reset-before": lambda: layers.GRU(3, reset_after=False, go_backwards=True),
    "LSTM-unrolled": lambda: layers.LSTM(3, unroll=True),
    "Bidirectional": lambda: layers.Bidirectional(layers.GRU(3)),
    "stack": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]),
    "any": lambda: layers.RNN(Doubled()),
}


class Doubled(layers.LSTMCell):
    """A cell that overrides the call, so that it is run step by step."""

    def __init__(self):
        super().__init__(3)

    def call(self, inputs, states, training=False):
        y, states = super().call(inputs, states)
        return y * 2.0, states


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("make", DERIVED.values(), ids=list(DERIVED))
def test_derivatives_are_right(make, masked, backend):
    layer = make()
    layer(X)
    assert_right_derivatives(layer, X, **({"mask": MASK} if masked else {}))


# Wrong input -----------------------------------------------------------------------------------------------------------
class NoState:
    def call(self, x, states):
        return x, states


WRONG = {
    "rank": (lambda: layers.LSTM(3)(X[0]), "ndim=3"),
    "rank of any cell": (lambda: layers.RNN(layers.LSTMCell(3))(X[0]), "at least 3 axes"),
    "too few states": (lambda: layers.LSTM(3)(X, initial_state=[STATE[:, :3]]), "2 array"),
    "too many states": (lambda: layers.GRU(3)(X, initial_state=[STATE[:, :3]] * 2), "1 array"),
    "state's size": (lambda: layers.GRU(3)(X, initial_state=[STATE]), r"\('batch', 3\)"),
    "cell without state_size": (lambda: layers.RNN(NoState()), "state_size"),
    "cell without call": (lambda: layers.RNN(object()), "call"),
    "stacked cell without state_size": (
        lambda: layers.RNN([layers.GRUCell(2), NoState()]),
        "state_size",
    ),
    "states of a cell": (lambda: layers.LSTMCell(3)(X[:, 0], [STATE[:, :3]]), "2 array"),
    "no units": (lambda: layers.LSTM(0), "units"),
    "unknown features": (lambda: layers.LSTM(3)(layers.Input((5, None))), "last axis"),
    "stateful without batch": (
        lambda: layers.LSTM(3, stateful=True)(layers.Input((5, 3))),
        "batch size",
    ),
    "mode": (lambda: layers.Bidirectional(layers.LSTM(3), merge_mode="max"), "merge mode"),
    "no layer": (lambda: layers.Bidirectional(3), "layer"),
    "same direction": (
        lambda: layers.Bidirectional(layers.GRU(3), backward_layer=layers.GRU(3)),
        "go_backwards",
    ),
    "unequal layers": (
        lambda: layers.Bidirectional(
            layers.GRU(3), backward_layer=layers.GRU(3, go_backwards=True, return_sequences=True)
        ),
        "return_sequences",
    ),
    "time distributed rank": (
        lambda: layers.TimeDistributed(layers.Dense(3))(X[0]),
        "3 dimensions",
    ),
    "time distributed mask": (
        lambda: layers.TimeDistributed(layers.Dense(3))(X, mask=MASK[:, :2]),
        "mask",
    ),
    "wrapped": (lambda: layers.Wrapper(3), "layer"),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=list(WRONG))
def test_wrong_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_stateful_layer_keeps_its_batch_size():
    layer = layers.LSTM(3, stateful=True)
    layer(X)
    with pytest.raises(ValueError, match="Expected batch size: 2"):
        layer(X[:1])


def test_bidirectional_needs_a_recurrent_layer():
    with pytest.raises(TypeError, match="go_backwards"):
        layers.Bidirectional(layers.Dense(3))
