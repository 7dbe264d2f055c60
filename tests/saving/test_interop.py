"""Files go both ways between Keras and Oneiros, and golden files give what Keras got from them."""

import io
import json
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest

import oneiros
from tests.saving import cases

GOLDEN = pathlib.Path(__file__).parent.parent / "golden"
TOLERANCE = {"half": dict(rtol=3e-2, atol=3e-2)}


def predictions(model, x):
    outputs = model(x, training=False)
    leaves = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    return [np.asarray(y).astype("float32") for y in leaves]


def assert_same(ours, theirs, name=""):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a, b, **TOLERANCE.get(name, dict(rtol=2e-5, atol=2e-5)))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", cases.MODELS)
def test_keras_writes_and_we_read(name, ending, tmp_path):
    build = cases.MODELS[name]
    if ending == ".h5" and name == "with_ops":
        pytest.skip("Keras's .h5 files do not say which ops they hold")
    theirs = cases.randomize(build(keras))
    path = tmp_path / f"model{ending}"
    theirs.save(path)
    ours = oneiros.saving.load_model(path)
    x = cases.inputs(build)
    assert_same(predictions(ours, x), predictions(theirs, x), name)
    assert [y.name for y in ours.layers] == [y.name for y in theirs.layers]
    if theirs.compiled:
        for a, b in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), np.asarray(b))


@pytest.mark.parametrize("ending", [".keras", ".h5"])
@pytest.mark.parametrize("name", cases.MODELS)
def test_we_write_and_keras_reads(name, ending, tmp_path):
    build = cases.MODELS[name]
    if ending == ".h5" and name in ("with_ops", "half", "attentive", "masked"):
        pytest.skip("Keras does not read its own .h5 files with ops, bfloat16 or attention")
    ours = cases.randomize(build(oneiros))
    path = tmp_path / f"model{ending}"
    ours.save(path)
    compile = ending == ".keras"  # Keras finds no 'mse' when it reads .h5 files
    theirs = keras.saving.load_model(path, compile=compile)
    x = cases.inputs(build)
    assert_same(predictions(ours, x), predictions(theirs, x), name)
    assert [y.name for y in ours.layers] == [y.name for y in theirs.layers]
    if theirs.compiled:
        for a, b in zip(ours.optimizer.variables, theirs.optimizer.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), np.asarray(b))


@pytest.mark.parametrize("name", cases.MODELS)
def test_weights_go_both_ways(name, tmp_path):
    build = cases.MODELS[name]
    ours, theirs = cases.randomize(build(oneiros)), cases.randomize(build(keras), seed=5)
    x = cases.inputs(build)
    path = tmp_path / "model.weights.h5"
    theirs.save_weights(path)
    ours.load_weights(path)
    assert_same(predictions(ours, x), predictions(theirs, x), name)
    cases.randomize(ours, seed=6).save_weights(path)
    theirs.load_weights(path)
    assert_same(predictions(ours, x), predictions(theirs, x), name)


@pytest.mark.parametrize("name", ["half", "recurrent"])
def test_shards_go_both_ways(name, tmp_path):
    build = cases.MODELS[name]
    ours, theirs = cases.randomize(build(oneiros)), cases.randomize(build(keras), seed=5)
    x = cases.inputs(build)
    path, size = tmp_path / "model.weights.json", 300 / 1024**3
    theirs.save_weights(path, max_shard_size=size)
    ours.load_weights(path)
    assert_same(predictions(ours, x), predictions(theirs, x), name)
    path = tmp_path / "ours.weights.json"
    cases.randomize(ours, seed=6).save_weights(path, max_shard_size=size)
    theirs.load_weights(path)
    assert_same(predictions(ours, x), predictions(theirs, x), name)


def test_weights_of_a_users_classes_go_both_ways(tmp_path):
    ours, theirs = (cases.tracked(k)[0](name="net") for k in (oneiros, keras))
    x = cases.inputs(None)
    ours(x), theirs(x)
    cases.randomize(ours), cases.randomize(theirs, seed=5)
    path = tmp_path / "model.weights.h5"
    theirs.save_weights(path)
    ours.load_weights(path)
    assert_same(predictions(ours, x), predictions(theirs, x))
    cases.randomize(ours, seed=6).save_weights(path)
    theirs.load_weights(path)
    assert_same(predictions(ours, x), predictions(theirs, x))


def golden(name):
    stored = np.load(GOLDEN / "expected.npz")
    outputs = [k for k in stored if k.startswith(f"{name}:out")]
    return stored[f"{name}:in"], [stored[k] for k in sorted(outputs)]


@pytest.mark.parametrize(
    "file",
    ["compiled.keras", "shared_and_nested.keras", "with_ops.keras", "compiled.h5", "keras_2.h5"],
)
def test_golden_models(file, backend):
    x, expected = golden(file.partition(".")[0])
    model = oneiros.saving.load_model(GOLDEN / file)
    assert_same(predictions(model, x), expected)


@pytest.mark.parametrize(
    ("file", "build"),
    [
        ("half.weights.h5", cases.half),
        ("shards.weights.json", cases.sequential),
        ("tracked.weights.h5", lambda k: cases.tracked(k)[0](name="net")),
    ],
)
def test_golden_weights(file, build, backend):
    name = file.partition(".")[0]
    x, expected = golden(name)
    model = build(oneiros)
    model(x)
    model.load_weights(GOLDEN / file)
    assert_same(predictions(model, x), expected, name)


@pytest.mark.parametrize("name", cases.OPS)
def test_ops_go_both_ways(name, tmp_path):
    build = cases.of_op(name)
    ours, theirs = build(oneiros), build(keras)
    x = np.random.default_rng(0).normal(size=(3, 2, 4)).astype("float32")
    theirs.save(tmp_path / "theirs.keras")
    assert_same(
        predictions(oneiros.saving.load_model(tmp_path / "theirs.keras"), x), predictions(theirs, x)
    )
    ours.save(tmp_path / "ours.keras")
    assert_same(
        predictions(keras.saving.load_model(tmp_path / "ours.keras"), x), predictions(ours, x)
    )
    assert_same(
        predictions(oneiros.saving.load_model(tmp_path / "ours.keras"), x), predictions(ours, x)
    )


def test_a_lambda_that_keras_wrote_is_replaced_by_name(tmp_path):
    x = keras.layers.Input((4,))
    theirs = keras.Model(
        x, keras.layers.Lambda(lambda x: x * 2, output_shape=(4,), name="twice")(x)
    )
    theirs.save(tmp_path / "m.keras")
    for safe_mode in (True, False):
        with pytest.raises(ValueError, match=r"Lambda 'twice'.*custom_objects=\{'twice'"):
            oneiros.saving.load_model(tmp_path / "m.keras", safe_mode=safe_mode)
    ours = oneiros.saving.load_model(
        tmp_path / "m.keras", custom_objects={"twice": lambda x: x * 2}
    )
    x = cases.inputs(None)
    assert_same(predictions(ours, x), predictions(theirs, x))


def test_keras_files_of_keras_2_are_read(tmp_path):
    """The form of Keras 2.12 to 2.15: nodes as lists, layers under another name."""

    def row(kind, config, *sources):
        nodes = [[[s, 0, 0, {}] for s in sources]] if sources else []
        own = {"module": "keras.layers", "class_name": kind, "registered_name": None}
        return {**own, "config": config, "name": config["name"], "inbound_nodes": nodes}

    first = {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "ragged": False}
    layers = [
        row("InputLayer", {**first, "name": "x"}),
        row("Dense", {"name": "a", "units": 4, "activation": "relu", "dtype": "float32"}, "x"),
        row("Add", {"name": "b", "trainable": True, "dtype": "float32"}, "a", "x"),
    ]
    model = {"name": "m", "trainable": True, "layers": layers}
    model |= {"input_layers": [["x", 0, 0]], "output_layers": [["b", 0, 0]]}
    config = {"module": "keras.src.engine.functional", "class_name": "Functional", "config": model}
    path = tmp_path / "m.keras"
    values = [np.random.default_rng(0).normal(size=s).astype("float32") for s in ((4, 4), (4,))]
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for i, value in enumerate(values):
            file[f"_layer_checkpoint_dependencies/dense/vars/{i}"] = value
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", '{"keras_version": "2.15.0"}')
        file.writestr("config.json", json.dumps({**config, "registered_name": "Functional"}))
        file.writestr("model.weights.h5", weights.getvalue())
    x = cases.inputs(None)
    expected = np.maximum(x @ values[0] + values[1], 0) + x
    assert_same(predictions(oneiros.saving.load_model(path), x), [expected])
