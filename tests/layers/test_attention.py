"""Attention and dense layers by einsum against Keras: outputs, masks, configs, weights; derivatives; wrong input."""

import numpy as np
import pytest

from oneiros import layers, losses, models, optimizers
from oneiros.core import backend as backends

from .against_keras import (
    assert_comes_back,
    assert_right_derivatives,
    assert_same_outputs,
    assert_same_structure,
    pair,
)

RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(2, 6, 8)).astype("float32")
VALUE, KEY = (RNG.normal(size=(2, 7, 8)).astype("float32") for _ in range(2))
SEEN = np.arange(7)[None].repeat(2, 0) < 5
ASKS = np.arange(6)[None].repeat(2, 0) < 4
PAIRS = RNG.random((2, 6, 7)) > 0.4
HEADS = {
    "MultiHeadAttention": lambda k, **o: k.MultiHeadAttention(2, 3, **o),
    "GroupQueryAttention": lambda k, **o: k.GroupQueryAttention(3, 4, 2, **o),
}
OPTIONS = [{}, dict(use_gate=True, dropout=0.3), dict(use_bias=False, sliding_window=2)]
CALLS = [
    {},
    dict(return_attention_scores=True),
    dict(value_mask=SEEN, query_mask=ASKS),
    dict(attention_mask=PAIRS, return_attention_scores=True),
    dict(use_causal_mask=True, key_mask=SEEN),
]
each_head = pytest.mark.parametrize("head", HEADS.values(), ids=list(HEADS))


@each_head
@pytest.mark.parametrize("call", CALLS, ids=lambda c: "-".join(c) or "plain")
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "plain")
def test_heads_give_what_keras_gives(head, options, call, backend):
    inputs = QUERY, VALUE, KEY
    ours, theirs = pair(lambda k: head(k, **options), *inputs)
    assert_same_outputs(ours, theirs, *inputs, **call)


@each_head
@pytest.mark.parametrize(
    "options", [*OPTIONS, dict(kernel_regularizer="l2", activity_regularizer="l2", seed=3)]
)
def test_heads_have_the_structure_of_keras(head, options):
    ours, theirs = pair(lambda k: head(k, **options), QUERY, VALUE)
    assert_same_structure(ours, theirs)
    assert_comes_back(ours, QUERY, VALUE)
    shapes = (None, None, 8), (None, None, 8)
    assert ours.compute_output_shape(*shapes) == theirs.compute_output_shape(*shapes)


@pytest.mark.parametrize(
    "options", [dict(value_dim=5, use_gate=True), dict(output_shape=3), dict(output_shape=(3, 2))]
)
def test_sizes_of_heads_and_outputs(options, backend):
    ours, theirs = pair(lambda k: k.MultiHeadAttention(2, 3, **options), QUERY, VALUE)
    assert_same_outputs(ours, theirs, QUERY, VALUE)
    assert_same_structure(ours, theirs)


@pytest.mark.parametrize(
    "axes, length", [((1, 2), (3, 5)), ((2,), (3, 5)), ((1,), (5, 4)), (None, (3, 5))]
)
def test_attention_over_chosen_axes(axes, length, backend):
    query = RNG.normal(size=(2, 3, 4, 8)).astype("float32")
    value = RNG.normal(size=(2, *length, 8)).astype("float32")
    ours, theirs = pair(lambda k: k.MultiHeadAttention(2, 3, attention_axes=axes), query, value)
    assert_same_outputs(ours, theirs, query, value)
    assert_same_outputs(ours, theirs, query, value, return_attention_scores=True)


def test_masks_apply_to_chosen_axes(backend):
    query = RNG.normal(size=(2, 3, 4, 8)).astype("float32")
    value = RNG.normal(size=(2, 3, 5, 8)).astype("float32")
    ours, theirs = pair(lambda k: k.MultiHeadAttention(2, 3, attention_axes=2), query, value)
    assert_same_outputs(ours, theirs, query, value, attention_mask=RNG.random((2, 3, 4, 5)) > 0.4)


@each_head
def test_heads_pass_the_mask_of_the_query_on(head):
    tokens = layers.Embedding(10, 8, mask_zero=True)(np.array([[1, 2, 0], [3, 0, 0]]))
    y = head(layers)(tokens, tokens)
    np.testing.assert_array_equal(
        y._keras_mask if hasattr(y, "_keras_mask") else _mask(y), [[1, 1, 0], [1, 0, 0]]
    )


def _mask(y):
    from oneiros.core.masks import get_mask

    return get_mask(y)


@each_head
def test_masks_of_inputs_hide_their_places(head, backend):
    layer = head(layers)
    ids = np.array([[1, 2, 0], [3, 0, 0]])
    embedded = layers.Embedding(10, 8, mask_zero=True)
    tokens = embedded(ids)
    _, scores = layer(tokens, tokens, return_attention_scores=True)
    assert (backends.to_numpy(scores)[:, :, 0] > 0).astype(int)[:, 0].tolist() == [
        [1, 1, 0],
        [1, 0, 0],
    ]


@each_head
def test_dropout_of_scores_is_for_training_only(head, backend):
    layer = head(layers, dropout=0.5)
    still = backends.to_numpy(layer(QUERY, VALUE))
    np.testing.assert_array_equal(still, layer(QUERY, VALUE, training=False))
    assert np.abs(still - backends.to_numpy(layer(QUERY, VALUE, training=True))).max() > 1e-4


@each_head
def test_a_model_of_heads_has_unknown_lengths(head):
    x = layers.Input((None, 8))
    model = models.Model(x, head(layers)(x, x))
    assert model.output_shape == (None, None, 8)
    assert model(QUERY).shape == QUERY.shape


def test_a_model_of_heads_trains(backend):
    x = layers.Input((6, 8))
    y = layers.MultiHeadAttention(2, 4, dropout=0.1)(x, x, use_causal_mask=True)
    model = models.Model(x, layers.Dense(1)(y))
    model.compile(optimizer=optimizers.SGD(0.1), loss=losses.MeanSquaredError())
    made = model.fit(QUERY, np.ones((2, 6, 1), "float32"), epochs=10, verbose=0)
    assert made.history["loss"][-1] < made.history["loss"][0]


# Without projections ------------------------------------------------------------------------------------------------
PLAIN = {
    "dot": lambda k: k.Attention(),
    "scale": lambda k: k.Attention(use_scale=True, dropout=0.1, seed=1),
    "concat": lambda k: k.Attention(score_mode="concat", use_scale=True),
    "additive": lambda k: k.AdditiveAttention(),
    "additive-unscaled": lambda k: k.AdditiveAttention(use_scale=False, seed=2, dropout=0.2),
}
PLAIN_CALLS = [
    dict(return_attention_scores=True),
    dict(mask=[ASKS, SEEN]),
    dict(mask=[None, SEEN, None], use_causal_mask=True, return_attention_scores=True),
]


@pytest.mark.parametrize("call", PLAIN_CALLS, ids="-".join)
@pytest.mark.parametrize("make", PLAIN.values(), ids=list(PLAIN))
def test_attention_gives_what_keras_gives(make, call, backend):
    inputs = [QUERY, VALUE, KEY]
    ours, theirs = pair(make, inputs)
    assert_same_outputs(ours, theirs, inputs, **call)
    assert_same_structure(ours, theirs)
    assert_comes_back(ours, inputs)
    shapes = [(None, 6, 8), (None, 7, 5)]
    assert ours.compute_output_shape(shapes) == theirs.compute_output_shape(shapes)


def test_the_mask_that_goes_on_is_the_query_s():
    layer = layers.Attention()
    assert layer.compute_mask([QUERY, VALUE], [ASKS, None]) is ASKS
    assert layer.compute_mask([QUERY, VALUE]) is None


# Dense layers by einsum -----------------------------------------------------------------------------------------------
EINSUMS = [
    ("abc,cde->abde", (None, 2, 3), (2, 6, 4), "de"),
    ("abc,cde->abde", (None, 2, 3), (2, 6, 4), "e"),
    ("ab,bc->ac", 4, (2, 5), "c"),
    ("abcd,cde->abe", (None, 3), (2, 6, 4, 5), None),
    ("...x,xy->...y", 4, (2, 3, 5), "y"),
    ("...ab,bc->...ac", (None, 3), (2, 7, 6, 4), "c"),
    ("ab...,bc->ac...", 3, (2, 4, 6), "c"),
    ("abc,cde->adeb", (2, 3, 6), (2, 6, 4), "b"),
]


@pytest.mark.parametrize("equation, shape, inputs, bias", EINSUMS)
def test_einsum_dense_gives_what_keras_gives(equation, shape, inputs, bias, backend):
    x = RNG.normal(size=inputs).astype("float32")
    ours, theirs = pair(lambda k: k.EinsumDense(equation, shape, "tanh", bias), x)
    assert_same_outputs(ours, theirs, x)
    assert_same_structure(ours, theirs)
    assert_comes_back(ours, x)
    assert ours.compute_output_shape((None, *inputs[1:])) == theirs.compute_output_shape(
        (None, *inputs[1:])
    )


def test_einsum_dense_trains_low_rank_parts(backend):
    x = RNG.normal(size=(2, 6, 4, 5)).astype("float32")
    ours, theirs = pair(lambda k: k.EinsumDense("abcd,cde->abe", (None, 3), lora_rank=2), x)
    assert_same_outputs(ours, theirs, x)
    assert_same_structure(ours, theirs)


def test_first_kernels_are_as_spread_as_those_of_a_matrix():
    layer = layers.EinsumDense("abc,cde->abde", (None, 8, 32))
    layer.build((2, 6, 64))
    limit = np.sqrt(6 / (64 + 8 * 32))
    assert 0.99 * limit < np.abs(layer.kernel.numpy()).max() <= limit


# Derivatives ------------------------------------------------------------------------------------------------------------
def test_derivatives_of_heads_are_right(backend):
    layer = layers.MultiHeadAttention(2, 3, use_gate=True)
    layer(QUERY, VALUE)
    assert_right_derivatives(layer, QUERY, VALUE, attention_mask=PAIRS)


def test_derivatives_with_scores_are_right(backend):
    layer = layers.GroupQueryAttention(3, 4, 2)
    layer(QUERY, VALUE)
    assert_right_derivatives(
        layer, QUERY, VALUE, use_causal_mask=True, return_attention_scores=True
    )


# Wrong input ------------------------------------------------------------------------------------------------------------
WRONG = {
    "heads": (lambda: layers.MultiHeadAttention(0, 2), "num_heads"),
    "key_dim": (lambda: layers.MultiHeadAttention(2, 0), "key_dim"),
    "value_dim": (lambda: layers.MultiHeadAttention(2, 2, value_dim=0), "value_dim"),
    "window": (lambda: layers.MultiHeadAttention(2, 2, sliding_window=0), "sliding_window"),
    "output_shape": (lambda: layers.MultiHeadAttention(2, 2, output_shape="x"), "output_shape"),
    "flash and dropout": (
        lambda: layers.MultiHeadAttention(2, 2, flash_attention=True, dropout=0.1),
        "Dropout",
    ),
    "flash and scores": (
        lambda: layers.MultiHeadAttention(2, 2, flash_attention=True)(
            QUERY, VALUE, return_attention_scores=True
        ),
        "scores",
    ),
    "lengths": (lambda: layers.MultiHeadAttention(2, 3)(QUERY, VALUE, KEY[:, :4]), "value_shape"),
    "groups": (lambda: layers.GroupQueryAttention(3, 4, 3), "divisible"),
    "rank": (lambda: layers.GroupQueryAttention(3, 4, 2)(QUERY[0], VALUE[0]), "3 axes"),
    "no list": (lambda: layers.Attention()(QUERY), "list of inputs"),
    "one input": (lambda: layers.Attention()([QUERY]), "Received length: 1"),
    "mask": (lambda: layers.Attention()([QUERY, VALUE], mask=SEEN), "mask must be a list"),
    "mode": (lambda: layers.Attention(score_mode="x"), "score_mode"),
    "equation": (lambda: layers.EinsumDense("ab,bc", 4)(VALUE[0]), "Invalid einsum equation"),
    "shared": (lambda: layers.EinsumDense("abc,cd->abd", (9, 4))(VALUE), "shared dimension 'b'"),
    "bias": (
        lambda: layers.EinsumDense("ab,bc->ac", 4, bias_axes="x")(VALUE[0]),
        "Bias dimension 'x'",
    ),
    "weight": (lambda: layers.EinsumDense("abc,cd->ab", (7,))(VALUE), "Weight dimension 'd'"),
    "einsum rank": (lambda: layers.EinsumDense("abc,cd->abd", (None, 4))(VALUE[0]), "3 axes"),
}


@pytest.mark.parametrize("call, message", WRONG.values(), ids=list(WRONG))
def test_wrong_input_is_told(call, message):
    with pytest.raises(ValueError, match=message):
        call()
