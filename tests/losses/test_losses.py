"""Losses against Keras's, on every backend, in traces, and their parts."""

import itertools

import keras
import numpy as np
import pytest

from oneiros import backend as backend_room
from oneiros import losses, ops
from oneiros.core.graph import Graph, Trace, run
from oneiros.core.masks import set_mask
from oneiros.core.symbol import Symbol
from tests.losses.cases import REDUCTIONS, ROWS, data

NAMES = [f"{name}-{i}" for i, (name, _, _) in enumerate(ROWS)]


def near(made, expected, tolerance=2e-5):
    made, expected = np.asarray(made), np.asarray(expected)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_it_gives_what_keras_gives(row, backend):
    name, kwargs, kind = row
    y_true, y_pred, weight = data(kind)
    ours, oracle = getattr(losses, name)(**kwargs), getattr(keras.losses, name)(**kwargs)

    def theirs(*args):
        with np.errstate(all="ignore"):
            return oracle(*args)

    near(ours(y_true, y_pred), theirs(y_true, y_pred))
    if ours.call(y_true.astype("float32"), y_pred).shape == (6,):
        near(ours(y_true, y_pred, weight), theirs(y_true, y_pred, weight))
        near(ours(y_true, y_pred, weight[:, None]), theirs(y_true, y_pred, weight[:, None]))


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_trace_gives_the_same(row, backend):
    name, kwargs, kind = row
    y_true, y_pred, weight = data(kind)
    loss = getattr(losses, name)(**kwargs)
    if loss.call(y_true.astype("float32"), y_pred).shape != (6,):
        weight = None
    given = [x for x in (y_true.astype("float32"), y_pred, weight) if x is not None]
    with Trace() as t:
        symbols = [Symbol(x.shape, str(x.dtype)) for x in given]
        made = loss(*symbols)
    graph = Graph(t.calls, symbols, [made])
    values = [ops.convert_to_tensor(x) for x in given]
    near(run(graph, values)[0], loss(*given))


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_its_config_is_keras_s_and_makes_it_again(row):
    name, kwargs, kind = row
    y_true, y_pred, _ = data(kind)
    ours, theirs = getattr(losses, name)(**kwargs), getattr(keras.losses, name)(**kwargs)
    config = ours.get_config()
    assert theirs.get_config().items() <= config.items()
    if not set(kwargs) & {"delta", "axis"}:
        assert theirs.get_config() == config
    again = type(ours).from_config(config)
    near(again(y_true, y_pred), ours(y_true, y_pred))
    written = losses.serialize(ours)
    assert written["module"] == "keras.losses"
    assert losses.deserialize(written).get_config() == config


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_weights_and_masks(reduction, backend):
    rng = np.random.default_rng(0)
    y_true = rng.standard_normal((4, 3, 2)).astype("float32")
    y_pred = rng.standard_normal((4, 3, 2)).astype("float32")
    mask = rng.random((4, 3)) > 0.4
    weights = [None, rng.random((4, 3)).astype("float32"), rng.random((4, 1)).astype("float32")]
    for weight in [*weights, rng.random((4, 3, 1)).astype("float32"), np.float32(2.0)]:
        for masked in (False, True):
            theirs_pred, ours_pred = y_pred.copy(), ops.convert_to_tensor(y_pred.copy())
            if masked:
                keras.src.backend.set_keras_mask(theirs_pred, mask)
                set_mask(ours_pred, ops.convert_to_tensor(mask))
            theirs = keras.losses.MeanSquaredError(reduction=reduction)
            try:
                expected = theirs(y_true, theirs_pred, sample_weight=weight)
            except ValueError:
                continue
            made = losses.MeanSquaredError(reduction=reduction)(y_true, ours_pred, weight)
            near(made, expected)


def combinations(shape):
    """Reduction, dtype, shape of the weights (None: without), shape of the mask: a few of all."""
    weights = [None, (), shape[:1], (*shape[:1], 1), shape, (*shape, 1), None]
    masks = [None, shape, None, (*shape, 1), shape]
    dtypes = [None, "float16", "bfloat16", "mixed_float16", "mixed_bfloat16"]
    for i, (reduction, dtype) in enumerate(itertools.product(REDUCTIONS, dtypes)):
        yield reduction, dtype, weights[i % len(weights)], masks[(i + i // 5) % len(masks)]


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_every_reduction_with_dtypes_weights_and_masks(row, backend, turn):
    name, kwargs, kind = row
    if not turn(f"{name}{kwargs}"):
        pytest.skip("another backend's turn")
    y_true, y_pred, _ = data(kind)
    rng = np.random.default_rng(5)
    kwargs = {key: value for key, value in kwargs.items() if key != "reduction"}
    with np.errstate(all="ignore"):
        shape = getattr(keras.losses, name)(**kwargs, reduction="none")(y_true, y_pred).shape
    for reduction, dtype, weighted, masked in combinations(shape):
        given = dict(kwargs, reduction=reduction, dtype=dtype)
        weight = None if weighted is None else rng.random(weighted).astype("float32")
        theirs_pred, ours_pred = y_pred.copy(), ops.convert_to_tensor(y_pred.copy())
        if masked is not None and name != "CTC":
            mask = rng.random(masked) > 0.4
            keras.src.backend.set_keras_mask(theirs_pred, mask)
            set_mask(ours_pred, ops.convert_to_tensor(mask))
        try:
            with np.errstate(all="ignore"):
                expected = getattr(keras.losses, name)(**given)(y_true, theirs_pred, weight)
        except ValueError:
            continue  # NumPy's Keras multiplies a mask in place, which must have the shape
        made = getattr(losses, name)(**given)(y_true, ours_pred, weight)
        assert backend_room.standardize_dtype(made.dtype) == str(expected.dtype)
        tolerance = {None: 2e-5}.get(dtype, 8e-2 if "bfloat" in str(dtype) else 1e-2)
        near(ops.convert_to_numpy(ops.cast(made, "float32")), expected.astype("float32"), tolerance)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sums_of_large_batches_neither_overflow_nor_stick(dtype, backend):
    y = np.full((70_000, 1), 3.0, "float32")
    for reduction in ("mean", "mean_with_sample_weight"):
        loss = losses.MeanAbsoluteError(dtype=dtype, reduction=reduction)
        assert float(loss(y, 0 * y, np.ones(70_000, "float32"))) == 3.0


def test_a_subclass_as_in_keras(backend):
    class Quantile(losses.Loss):
        def __init__(self, q=0.5, name="quantile", reduction="sum"):
            super().__init__(name=name, reduction=reduction)
            self.q = q

        def call(self, y_true, y_pred):
            error = y_true - y_pred
            return ops.maximum(self.q * error, (self.q - 1) * error)

        def get_config(self):
            return {**super().get_config(), "q": self.q}

    loss = Quantile(0.25)
    assert float(loss([1.0, 2.0], [2.0, 1.0])) == 1.0
    assert loss.get_config() == {"name": "quantile", "reduction": "sum", "q": 0.25}
    assert Quantile.from_config(loss.get_config()).q == 0.25
    assert losses.Loss().name.startswith("loss")


def test_names_stand_for_losses():
    assert losses.get("mse") is losses.get("MSE") is losses.mean_squared_error
    assert losses.get("KLD") is losses.kl_divergence
    assert isinstance(losses.get("Huber"), losses.Huber)
    assert losses.get("huber") is losses.huber
    assert losses.get(None) is None
    assert losses.get(losses.Huber).name == "huber_loss"
    made = losses.get({"class_name": "Huber", "config": {"delta": 3.0}})
    assert made.get_config()["delta"] == 3.0
    assert losses.serialize(losses.huber) == keras.losses.serialize(keras.losses.huber)
    assert losses.deserialize(losses.serialize(losses.huber)) is losses.huber
    for wrong in ("nothing", 3):
        with pytest.raises(ValueError, match="loss"):
            losses.get(wrong)


def test_all_names_of_keras_are_known():
    from keras.src.losses import ALL_OBJECTS_DICT

    assert set(ALL_OBJECTS_DICT) <= set(losses.TABLE)


def test_nested_targets(backend):
    loss = losses.MeanSquaredError()
    made = losses.LossFunctionWrapper(
        lambda t, p: ops.mean(t["a"] - p["a"], axis=-1) + ops.mean(t["b"] - p["b"], axis=-1)
    )
    one = np.ones((2, 3), "float32")
    assert float(made({"a": one, "b": one}, {"a": one, "b": 0 * one})) == 1.0
    assert float(loss(one, 0 * one)) == 1.0


def test_dtypes(backend):
    y = np.ones((2, 3), "float32")
    made = losses.MeanSquaredError(dtype="float16")(y, 0 * y).dtype
    assert backend_room.standardize_dtype(made) == "float16"
    made = losses.MeanSquaredError()(y.astype("float64"), y).dtype
    assert backend_room.standardize_dtype(made) == "float32"
    assert losses.MeanSquaredError(dtype="float16").get_config()["dtype"] == "float16"


def test_derivatives_flow(backend):
    """The trainer differentiates losses in traces, by their predictions."""
    from oneiros.core.autodiff import gradient

    for name, kwargs, kind in ROWS:
        if backend == "jax" and name != "Circle":
            continue  # the same graph as on NumPy
        y_true, y_pred, _ = data(kind)
        y_true = y_true.astype("float32")
        loss = getattr(losses, name)(**kwargs)
        with Trace() as t:
            true, pred = (Symbol(x.shape, str(x.dtype)) for x in (y_true, y_pred))
            made = loss(true, pred)
            (slope,) = gradient([made], [np.float32(1.0)], [pred])
        graph = Graph(t.calls, [true, pred], [slope])
        value = np.asarray(run(graph, [ops.convert_to_tensor(x) for x in (y_true, y_pred)])[0])
        rng = np.random.default_rng(3)
        way = rng.standard_normal(y_pred.shape).astype("float32")
        step = 3e-3
        if name == "Circle":  # its weights are held fixed while it is differentiated
            if backend == "jax":
                import jax

                near(value, jax.grad(lambda p: loss(y_true, p))(jax.numpy.asarray(y_pred)), 1e-4)
            continue
        numeric = float(loss(y_true, y_pred + step * way)) - float(
            loss(y_true, y_pred - step * way)
        )
        np.testing.assert_allclose(
            np.sum(value * way),
            numeric / (2 * step),
            rtol=0.05,
            atol=0.02,
            err_msg=f"{name} {kwargs}",
        )


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: losses.MeanSquaredError(reduction="all"), ["reduction", "all"]),
        (lambda: losses.MeanSquaredError()(np.ones((2, 3)), np.ones((2, 4))), ["(2, 3)", "(2, 4)"]),
        (lambda: losses.huber(np.ones((2, 3)), np.ones((2, 4))), ["(2, 3)", "(2, 4)"]),
        (
            lambda: losses.CategoricalCrossentropy()(np.ones((2, 3)), np.ones((2, 4))),
            ["(2, 3)", "(2, 4)"],
        ),
        (
            lambda: losses.CategoricalCrossentropy(axis=3)(np.ones((2, 3)), np.ones((2, 3))),
            ["axis"],
        ),
        (
            lambda: losses.MeanSquaredError()(np.ones((2, 3)), np.ones((2, 3)), np.ones(3)),
            ["sample_weight", "(3,)"],
        ),
        (lambda: losses.ctc(np.ones((2,)), np.ones((2, 3, 4))), ["y_true", "(2,)"]),
    ],
)
def test_errors_say_what_was_given(call, words, backend):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_wrong_arguments_name_the_class():
    with pytest.raises(TypeError, match="Huber"):
        losses.Huber(gamma=1.0)
