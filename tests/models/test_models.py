"""Models against Keras: the order of layers, configs, structures of data; and what bad input gives."""

import json

import keras
import numpy as np
import pytest

import oneiros


def residual(k):
    x = inputs = k.Input((8, 8, 3), name="image")
    y = k.layers.Conv2D(4, 3, padding="same", name="a")(x)
    y = k.layers.BatchNormalization(name="b")(y)
    z = k.layers.Conv2D(4, 1, name="c")(x)
    y = k.layers.Add(name="d")([y, z])
    y = k.ops.relu(y) * 2.0
    y = k.layers.GlobalAveragePooling2D(name="e")(y)
    return k.Model(inputs, k.layers.Dense(3, name="f")(y), name="residual")


def several(k):
    a, b = k.Input((3,), name="a"), k.Input((4,), name="b")
    shared = k.layers.Dense(5, name="shared")
    x = k.layers.Dense(3, name="first")(b)
    x = k.layers.Concatenate(name="join")([shared(a), shared(x)])
    one = k.layers.Dense(1, name="one")(x)
    two = k.layers.Dense(2, name="two")(k.ops.mean(k.ops.expand_dims(x, 1), axis=1))
    return k.Model({"a": a, "b": b}, {"one": one, "two": two}, name="several")


def nested(k):
    inner_in = k.Input((4,), name="inner_in")
    inner = k.Model(inner_in, k.layers.Dense(4, name="inner_dense")(inner_in), name="inner")
    stack = k.Sequential([k.Input((4,)), k.layers.Dense(4, name="s0")], name="stack")
    x = k.Input((4,), name="x")
    return k.Model(x, k.layers.Add(name="sum")([inner(x), stack(inner(x))]), name="nested")


def stacked(k):
    return k.Sequential(
        [
            k.Input((6,), name="input_layer"),
            k.layers.Dense(4, activation="relu", name="one"),
            k.layers.Dropout(0.5, name="two"),
            k.layers.Dense(2, name="three"),
        ],
        name="stacked",
    )


MODELS = [residual, several, nested, stacked]
by_name = pytest.mark.parametrize("make", MODELS, ids=lambda f: f.__name__)


@by_name
def test_layers_and_weights_stand_in_the_order_of_keras(make):
    ours, theirs = make(oneiros), make(keras)
    assert [y.name for y in ours.layers] == [y.name for y in theirs.layers]
    assert [v.shape for v in ours.weights] == [tuple(v.shape) for v in theirs.weights]
    assert [v.trainable for v in ours.weights] == [v.trainable for v in theirs.weights]


@by_name
def test_config_is_that_of_keras(make):
    oneiros.backend.clear_session()
    keras.backend.clear_session()
    ours, theirs = make(oneiros).get_config(), make(keras).get_config()
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(theirs))


@by_name
def test_a_config_makes_the_model_again(make, backend):
    model = make(oneiros)
    again = type(model).from_config(json.loads(json.dumps(model.get_config())))
    again.set_weights(model.get_weights())
    clone = oneiros.models.clone_model(model)
    clone.set_weights(model.get_weights())
    rng = np.random.default_rng(0)
    data = {x.name: rng.normal(size=(5, *x.shape[1:])).astype("float32") for x in model.inputs}
    data = data if len(data) > 1 else next(iter(data.values()))
    want = model.predict(data, verbose=0)
    for other in (again, clone):
        got = other.predict(data, verbose=0)
        assert _equal(got, want)


def _equal(a, b):
    if isinstance(a, dict):
        return all(_equal(a[k], b[k]) for k in b)
    return np.array_equal(a, b)


@by_name
def test_predictions_equal_keras(make, backend):
    ours, theirs = make(oneiros), make(keras)
    ours.set_weights(theirs.get_weights())
    rng = np.random.default_rng(0)
    data = {x.name: rng.normal(size=(5, *x.shape[1:])).astype("float32") for x in ours.inputs}
    data = data if len(data) > 1 else next(iter(data.values()))
    got, want = ours.predict(data, verbose=0), theirs.predict(data, verbose=0)
    for key in want if isinstance(want, dict) else [None]:
        a, b = (got, want) if key is None else (got[key], want[key])
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


# Bad input: one clear error, before work is done ----------------------------------------------------------------
def dense(units=2, size=3):
    model = oneiros.Sequential([oneiros.Input((size,)), oneiros.layers.Dense(units, name="head")])
    model.compile("sgd", "mse")
    return model


X, Y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")


@pytest.mark.parametrize(
    "run, error, message",
    [
        (lambda: dense().fit(X[:, :2], Y, verbose=0), ValueError, r"expected shape=\(None, 3\)"),
        (lambda: dense().fit(X, Y[:5], verbose=0), ValueError, "5"),
        (lambda: dense().fit(X, verbose=0), ValueError, "targets"),
        (lambda: dense().fit(X[:0], Y[:0], verbose=0), ValueError, "empty|no samples|0 samples"),
        (
            lambda: dense().fit(X, Y, validation_split=1.5, verbose=0),
            ValueError,
            "validation_split",
        ),
        (lambda: dense().predict(object(), verbose=0), (ValueError, TypeError), "object"),
        (lambda: oneiros.Sequential([oneiros.layers.Dense(2)]).fit(X, Y), ValueError, "compile"),
        (lambda: dense().compile("nonsense", "mse"), ValueError, "nonsense"),
        (lambda: dense().compile("sgd", "nonsense"), ValueError, "nonsense"),
        (lambda: oneiros.layers.Dense(0), ValueError, "units"),
        (
            lambda: oneiros.layers.Dense(2, activation="nonsense"),
            ValueError,
            "activation.*nonsense",
        ),
        (lambda: oneiros.layers.Dense(2, unknown=1), ValueError, "unknown"),
        (lambda: oneiros.layers.Dense(2)(np.ones(3, "float32")), ValueError, "min_ndim=2"),
        (lambda: oneiros.layers.Conv2D(2, 3)(np.ones((2, 8, 3), "float32")), ValueError, "rank 4"),
        (lambda: oneiros.layers.Conv2D(2, 0), ValueError, "kernel_size"),
        (lambda: oneiros.layers.Conv2D(2, 3, padding="diagonal"), ValueError, "padding.*diagonal"),
        (lambda: oneiros.layers.Dropout(1.5), ValueError, "rate"),
        (
            lambda: oneiros.layers.Reshape((5,))(np.ones((2, 3), "float32")),
            ValueError,
            "target_shape",
        ),
        (
            lambda: oneiros.layers.Concatenate()([np.ones((2, 3)), np.ones((2, 3, 4))]),
            ValueError,
            "Concatenate",
        ),
        (lambda: oneiros.layers.Add()(np.ones((2, 3), "float32")), ValueError, "list"),
        (lambda: oneiros.Model(oneiros.Input((2,)), np.ones(3)), (ValueError, TypeError), "."),
        (lambda: oneiros.Sequential([3]), ValueError, "Layer"),
        (lambda: dense().get_layer("nothing"), ValueError, "head"),
        (lambda: dense().set_weights([np.ones((3, 2))]), ValueError, "length 1"),
        (lambda: oneiros.Input(), ValueError, "shape"),
        (lambda: dense().fit(X, Y, epochs=-1), ValueError, "epochs"),
    ],
)
def test_bad_input_gets_one_clear_error(run, error, message):
    with pytest.raises(error, match=message):
        run()


def test_outputs_must_come_from_the_inputs():
    a, b = oneiros.Input((2,)), oneiros.Input((2,))
    with pytest.raises(ValueError, match="not among the inputs"):
        oneiros.Model(a, oneiros.layers.Add()([a, b]))


def test_forgotten_super_init_is_named():
    class Bad(oneiros.Layer):
        def __init__(self):
            self.inner = oneiros.layers.Dense(2)

    with pytest.raises(RuntimeError, match="super"):
        Bad()


def test_a_model_built_by_one_batch_takes_others():
    model = oneiros.Sequential([oneiros.layers.Dense(2)])
    assert [model(np.ones((n, 3), "float32")).shape for n in (4, 7)] == [(4, 2), (7, 2)]
    with pytest.raises(ValueError, match=r"\(4, 3\)"):
        model(np.ones((4, 5), "float32"))
