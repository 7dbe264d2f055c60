"""Neural network ops: values and shapes against Keras, derivatives by hand against the bodies',
errors."""

import itertools

import ml_dtypes
import numpy as np
import pytest
from against_keras import check, flat
from cases_nn import ROWS, UNARY, WINDOWS

from oneiros import KerasTensor, ops
from oneiros.core.autodiff import gradient, is_differentiable
from oneiros.core.graph import Graph, Trace
from oneiros.core.op import OPS
from oneiros.core.symbol import Symbol

rng = np.random.default_rng(1)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # Keras's own formulas overflow on NumPy
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_values_are_keras(row, backend):
    check(row)


@pytest.mark.parametrize("row", WINDOWS, ids=str)
def test_windows_are_keras(row):
    check(row)


@pytest.mark.parametrize("row", WINDOWS[::5], ids=str)
def test_windows_on_all_backends(row, backend):
    check(row)


# Derivatives --------------------------------------------------------------------------------------
def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def uniform(*shape):
    return rng.uniform(0.1, 0.9, shape).astype("float32")


Q, K, V = normal(2, 3, 4, 5), normal(2, 6, 2, 5), normal(2, 6, 2, 5)
RULES = [
    ("relu", (normal(9),)),
    ("silu", (normal(9),)),
    ("softplus", (normal(9),)),
    ("gelu", (normal(9), True)),
    ("gelu", (normal(9), False)),
    ("softmax", (normal(3, 4), -1)),
    ("softmax", (normal(3, 4, 2), (0, 2))),
    ("log_softmax", (normal(3, 4), 0)),
    ("logsumexp", (normal(3, 4), -1, False)),
    ("logsumexp", (normal(3, 4), None, True)),
    ("categorical_crossentropy", (uniform(3, 4), normal(3, 4), True, -1)),
    ("categorical_crossentropy", (uniform(3, 4), uniform(3, 4), False, 0)),
    ("sparse_categorical_crossentropy", (np.int32([0, 3, 7]), normal(3, 4), True, -1)),
    ("sparse_categorical_crossentropy", (np.int32([[0], [3], [1]]), normal(3, 4), True, -1)),
    ("sparse_categorical_crossentropy", (np.int32([0, 3, 1]), uniform(3, 4), False, -1)),
    ("binary_crossentropy", (uniform(3, 4), normal(3, 4), True)),
    ("binary_crossentropy", (uniform(3, 4), uniform(3, 4), False)),
    ("moments", (normal(3, 4, 2), [0, 1], False, False)),
    ("layer_normalization", (normal(3, 4), None, None, -1, 1e-3)),
    ("layer_normalization", (normal(3, 4, 2), normal(4, 2), normal(4, 2), (1, 2), None)),
    ("dot_product_attention", (Q, K, V, normal(1, 4, 1, 6), None, None, False, None, None)),
    (
        "dot_product_attention",
        (Q, K, V, None, rng.uniform(size=(3, 6)) > 0.4, 0.3, True, None, 1.5),
    ),
]


def cotangents(name, args, by_rule):
    """What the rule, or differentiating the body, gives for the floating arrays among `args`."""
    record = OPS[name]
    with Trace() as t:
        inputs = [Symbol(a.shape, a.dtype.name) if isinstance(a, np.ndarray) else a for a in args]
        y = record.body(*inputs)
        ys = list(y) if isinstance(y, tuple) else [y]
        g = [Symbol(v.shape, v.dtype) for v in ys]
        wrt = [x for x in inputs if is_differentiable(x)]
        if by_rule:
            single = not isinstance(y, tuple)
            made = record.vjp_rule(g[0] if single else g, y if single else tuple(ys), *inputs)
            assert len(made) == len(inputs)
            made = [c for x, c in zip(inputs, made) if is_differentiable(x)]
        else:
            made = gradient(ys, g, wrt)
    graph = Graph(t.calls, [x for x in inputs if isinstance(x, Symbol)] + g, made)
    values = np.random.default_rng(2)
    given = [values.normal(size=v.shape).astype("float32") for v in g]
    return graph(*[a for a in args if isinstance(a, np.ndarray)], *given)


@pytest.mark.parametrize("name, args", RULES, ids=lambda v: v if isinstance(v, str) else "")
def test_rules_equal_the_derivatives_of_the_bodies(name, args):
    by_rule, by_body = (cotangents(name, args, kind) for kind in (True, False))
    for a, b in zip(by_rule, by_body):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)


def test_every_rule_is_tested():
    from oneiros.ops import nn

    public = {n for n in nn.__all__ if getattr(getattr(nn, n), "vjp_rule", None)} - {"swish"}
    assert public == {name for name, _ in RULES}


@pytest.mark.parametrize(
    "name",
    [
        "relu",
        "relu6",
        "elu",
        "selu",
        "celu",
        "leaky_relu",
        "softplus",
        "hard_tanh",
        "sparse_plus",
        "log_sigmoid",
        "gelu",
        "silu",
        "squareplus",
    ],
)
def test_derivatives_are_finite_far_out(name):
    x = np.float32([-1e4, -100, 0, 100, 1e4])
    with Trace() as t:
        symbol = Symbol(x.shape)
        y = OPS[name].body(symbol)
        (made,) = gradient([y], [np.ones(5, "float32")], [symbol])
    assert np.isfinite(Graph(t.calls, [symbol], [made])(x)[0]).all()


def test_relu_has_no_slope_at_zero_and_keeps_nan():
    with Trace() as t:
        x = Symbol((3,))
        (made,) = gradient([ops.relu(x)], [np.ones(3, "float32")], [x])
    assert Graph(t.calls, [x], [made])(np.float32([-1, 0, 2]))[0].tolist() == [0, 0, 1]
    assert np.isnan(ops.relu(np.float32([np.nan])))[0]


def test_ctc_loss_is_the_sum_over_all_alignments(backend):
    logits, labels = normal(2, 5, 3), np.int32([[1, 1], [2, 1]])
    made = flat(ops.ctc_loss(labels, logits, [2, 1], [5, 4]))[0]
    for row, frames, want in ((0, 5, [1, 1]), (1, 4, [2])):
        logs = logits[row] - np.log(np.exp(logits[row]).sum(-1, keepdims=True))
        total = 0.0
        for path in itertools.product(range(3), repeat=frames):
            if [k for k, _ in itertools.groupby(path) if k] == want:
                total += np.exp(sum(logs[t, c] for t, c in enumerate(path)))
        np.testing.assert_allclose(made[row], -np.log(total), rtol=1e-4)


def test_ctc_loss_has_a_derivative():
    labels, logits = np.int32([[1, 2]]), normal(1, 6, 4)

    def loss(x):
        return ops.ctc_loss(labels, x, np.int32([2]), np.int32([6]))

    with Trace() as t:
        x = Symbol((1, 6, 4))
        (made,) = gradient([loss(x)], [np.ones(1, "float32")], [x])
    slope = Graph(t.calls, [x], [made])(logits)[0]
    step = normal(1, 6, 4)
    numeric = (flat(loss(logits + 1e-2 * step))[0] - flat(loss(logits - 1e-2 * step))[0]) / 2e-2
    np.testing.assert_allclose((slope * step).sum(), numeric[0], rtol=2e-2)


# Facts that no row says ---------------------------------------------------------------------------
def test_sparsemax_is_the_nearest_point_of_the_simplex(backend):
    x = np.float32([[0.36, 1.3, 0.95, -0.7], [9.0, 0.0, 0.0, 0.0]])
    y = flat(ops.sparsemax(x))[0]
    np.testing.assert_allclose(y, [[0, 0.675, 0.325, 0], [1, 0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(flat(ops.sparsemax(x.T, axis=0))[0], y.T, atol=1e-6)


def test_layer_normalization_of_large_means_is_exact(backend):
    x = normal(5, 64) + 3000
    exact = (x - x.mean(-1, keepdims=True, dtype="float64")) / x.std(
        -1, keepdims=True, dtype="float64"
    )
    np.testing.assert_allclose(flat(ops.layer_normalization(x))[0], exact, atol=1e-4)


def test_targets_out_of_range_have_no_loss(backend):
    loss = flat(
        ops.sparse_categorical_crossentropy(np.int32([-1, 5, 1]), normal(3, 4), from_logits=True)
    )[0]
    assert loss[:2].tolist() == [0, 0] and loss[2] > 0


@pytest.mark.parametrize(
    "name",
    [
        *UNARY,
        "squareplus",
        "softmax",
        "log_softmax",
        "sparsemax",
        "normalize",
        "layer_normalization",
        "rms_normalization",
        "logsumexp",
    ],
)
def test_half_precision_stays(name, backend):
    for dtype in ("float16", ml_dtypes.bfloat16):
        assert flat(getattr(ops, name)(normal(2, 4).astype(dtype)))[0].dtype == dtype


def test_top_k_gives_the_first_of_equals(backend):
    values, indices = flat(ops.top_k(np.float32([[3, 1, 2, 3]]), 2))
    assert (
        values.tolist() == [[3, 3]] and indices.tolist() == [[0, 3]] and indices.dtype == np.int32
    )


def test_softmax_over_one_place_warns():
    with pytest.warns(UserWarning, match="size 1"):
        ops.softmax(np.ones((2, 1), "float32"))


def test_attention_with_fewer_heads_of_keys_repeats_them(backend):
    whole = [np.repeat(x, 2, axis=2) for x in (K, V)]
    np.testing.assert_allclose(
        flat(ops.dot_product_attention(Q, K, V))[0],
        flat(ops.dot_product_attention(Q, *whole))[0],
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    "call, shape",
    [
        (
            lambda x: ops.conv(x, np.ones((3, 3, 4, 8), "float32"), strides=2, padding="same"),
            (None, None, None, 8),
        ),
        (
            lambda x: ops.conv_transpose(x, np.ones((3, 3, 8, 4), "float32"), strides=2),
            (None, None, None, 8),
        ),
        (lambda x: ops.max_pool(x, 2), (None, None, None, 4)),
        (lambda x: ops.average_pool(x, 2, padding="same"), (None, None, None, 4)),
        (lambda x: ops.adaptive_max_pool(x, 3), (None, 3, 3, 4)),
        (lambda x: ops.space_to_depth(x, 2), (None, None, None, 16)),
        (lambda x: ops.moments(x, [1, 2])[0], (None, 4)),
        (
            lambda x: ops.batch_normalization(x, np.ones(4, "float32"), np.ones(4, "float32"), -1),
            (None, None, None, 4),
        ),
        (lambda x: ops.dot_product_attention(x, x, x), (None, None, None, 4)),
    ],
)
def test_unknown_sizes_stay_unknown(call, shape):
    assert tuple(call(KerasTensor((None, None, None, 4))).shape) == shape


X = normal(2, 5, 4)


@pytest.mark.parametrize(
    "match, call",
    [
        ("glu", lambda: ops.glu(X[:, :, :3])),
        ("softmax", lambda: ops.softmax(X, axis=5)),
        ("one_hot", lambda: ops.one_hot([1], 3, sparse=True)),
        ("one_hot", lambda: ops.one_hot([1], 3, axis=3)),
        ("num_classes", lambda: ops.multi_hot([1])),
        ("top_k", lambda: ops.top_k(X, 9)),
        ("normalize", lambda: ops.normalize(X, order=0)),
        ("normalize", lambda: ops.normalize(X, order="a")),
        ("batch_normalization", lambda: ops.batch_normalization(X, np.ones(3), np.ones(4), -1)),
        ("layer_normalization", lambda: ops.layer_normalization(X, gamma=np.ones(3))),
        ("one shape", lambda: ops.categorical_crossentropy(X, X[:1])),
        ("at least 1", lambda: ops.categorical_crossentropy(1.0, 1.0)),
        (
            "without the classes",
            lambda: ops.sparse_categorical_crossentropy(np.ones((2, 4), int), X),
        ),
        ("one shape", lambda: ops.binary_crossentropy(X, X[..., :1])),
        ("psnr", lambda: ops.psnr(X, X[:1], 1.0)),
        ("conv", lambda: ops.conv(X, normal(2, 3, 4))),
        ("conv", lambda: ops.conv(X, normal(2, 2, 2, 3))),
        ("padding", lambda: ops.conv(X, normal(2, 4, 3), padding="causal")),
        ("strides", lambda: ops.conv(X, normal(2, 4, 3), strides=0)),
        ("empty", lambda: ops.conv(X, normal(7, 4, 3))),
        ("data_format", lambda: ops.conv(X, normal(2, 4, 3), data_format="first")),
        ("groups", lambda: ops.conv(X, normal(2, 2, 3))),
        ("empty", lambda: ops.max_pool(X, 7)),
        ("pool_size", lambda: ops.max_pool(X, (2, 2))),
        ("unfold", lambda: ops.unfold(X, 2)),
        ("fold", lambda: ops.fold(normal(1, 7, 9), (4, 4), 2)),
        ("block_size", lambda: ops.depth_to_space(X[None], 1)),
        ("no multiple", lambda: ops.depth_to_space(X[None], 3)),
        ("do not split", lambda: ops.space_to_depth(X[None], 3)),
        ("4 axes", lambda: ops.dot_product_attention(X, X, X)),
        ("fused kernel", lambda: ops.dot_product_attention(Q, K, V, flash_attention=True)),
        ("one length", lambda: ops.dot_product_attention(Q, K, V[:, :2])),
        ("strategy", lambda: ops.ctc_decode(X, [5, 5], strategy="best")),
        ("ctc_loss", lambda: ops.ctc_loss([1], X, [1], [1])),
    ],
)
def test_wrong_arguments_are_refused(match, call):
    with pytest.raises(ValueError, match=match):
        call()


def test_block_size_must_be_an_int():
    with pytest.raises(TypeError, match="block_size"):
        ops.depth_to_space(X[None], 2.0)


def test_a_compiled_pool_sends_its_derivative_to_the_greatest(backend):
    """Also where the backend computes the convolution before it once more, and rounds otherwise."""
    from oneiros.core import backend as backends

    values = normal(16, 14, 14, 1), normal(3, 3, 1, 16), normal(16)
    with Trace() as t:
        x, kernel, bias = symbols = [Symbol(v.shape) for v in values]
        y = ops.max_pool(ops.relu(ops.conv(x, kernel, padding="valid") + bias), 2)
        g = np.float32(1) + np.arange(16, dtype="float32") * y
        made = gradient([y], [g], [kernel, bias])
    graph = Graph(t.calls, symbols, made)
    wanted = backends.load("numpy").compile(graph)(*values)
    found = backends.current().compile(graph)(*map(ops.convert_to_tensor, values))
    for a, b in zip(found, wanted):
        np.testing.assert_allclose(
            backends.to_numpy(a) / np.abs(b).max(), b / np.abs(b).max(), atol=1e-5
        )
