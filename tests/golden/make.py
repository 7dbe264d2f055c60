"""Make the golden files with the installed Keras: `python -m tests.golden.make`.

The files beside this one were made by Keras 3.15.1; each has the inputs and outputs that it must give in
`expected.npz`.
"""

import os
import pathlib

os.environ["KERAS_BACKEND"] = "numpy"

import h5py
import keras
import numpy as np

from tests.saving import cases

HERE = pathlib.Path(__file__).parent
WHOLE = ("compiled", "shared_and_nested", "with_ops")
LEGACY = ("compiled",)
WEIGHTS = ("half",)


def main():
    expected = {}
    for name in dict.fromkeys((*WHOLE, *LEGACY, *WEIGHTS)):
        build = cases.MODELS[name]
        keras.utils.set_random_seed(0)
        keras.backend.clear_session()
        model = cases.randomize(build(keras), seed=1)
        x = cases.inputs(build)
        if name in WHOLE:
            model.save(HERE / f"{name}.keras")
        if name in LEGACY:
            model.save(HERE / f"{name}.h5")
        if name in WEIGHTS:
            model.save_weights(HERE / f"{name}.weights.h5")
        outputs = model(x, training=False)
        expected[f"{name}:in"] = x
        for i, y in enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]):
            expected[f"{name}:out{i}"] = np.asarray(y, "float32")
    expected |= subclassed()
    expected |= keras_2()
    np.savez_compressed(HERE / "expected.npz", **expected)


def subclassed():
    """Weights of a model of a class of its own; weights in several files."""
    keras.backend.clear_session()
    chain = cases.randomize(cases.sequential(keras), seed=4)
    chain.save_weights(HERE / "shards.weights.json", max_shard_size=100 / 1024**3)
    model = cases.tracked(keras)[0](name="net")
    x = cases.inputs(None)
    model(x)
    cases.randomize(model, seed=2)
    model.save_weights(HERE / "tracked.weights.h5")
    made = {"tracked:in": x, "tracked:out0": np.asarray(model(x))}
    return made | {"shards:in": x, "shards:out0": np.asarray(chain(x, training=False))}


def keras_2():
    """A file as Keras 2.9 wrote it, put together by hand; Keras 3 reads it."""
    import json

    def dense(name, source, **config):
        initializer = {"class_name": "GlorotUniform", "config": {"seed": None}}
        own = {"name": name, "trainable": True, "dtype": "float32", "units": 3, "use_bias": True}
        own |= {"kernel_initializer": initializer, "activation": "relu", **config}
        return row("Dense", own, source)

    def row(kind, config, *sources):
        nodes = [[[s, 0, 0, {}] for s in sources]] if sources else []
        return {
            "class_name": kind,
            "config": config,
            "name": config["name"],
            "inbound_nodes": nodes,
        }

    first = {"batch_input_shape": [None, 4], "dtype": "float32", "sparse": False, "ragged": False}
    norm = {"name": "bn", "trainable": True, "dtype": "float32", "axis": [1], "momentum": 0.99}
    config = {
        "class_name": "Functional",
        "config": {
            "name": "model",
            "layers": [
                row("InputLayer", {**first, "name": "input_1"}),
                dense("dense", "input_1"),
                row("BatchNormalization", norm, "dense"),
                row("Add", {"name": "add", "trainable": True, "dtype": "float32"}, "bn", "dense"),
            ],
            "input_layers": [["input_1", 0, 0]],
            "output_layers": [["add", 0, 0]],
        },
    }
    rng = np.random.default_rng(3)
    shapes = {
        "input_1": {},
        "dense": {"kernel:0": (4, 3), "bias:0": (3,)},
        "bn": dict.fromkeys(("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0"), (3,)),
        "add": {},
    }
    path = HERE / "keras_2.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update(
            model_config=json.dumps(config), keras_version="2.9.0", backend="tensorflow"
        )
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [n.encode() for n in shapes]
        for layer, weights in shapes.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [f"{layer}/{n}".encode() for n in weights]
            for n, shape in weights.items():
                inner[f"{layer}/{n}"] = np.abs(rng.normal(size=shape)).astype("float32")
    model = keras.models.load_model(path)
    x = cases.inputs(None)
    outputs = model(x)
    outputs = outputs[0] if isinstance(outputs, list) else outputs
    return {"keras_2:in": x, "keras_2:out0": np.asarray(outputs)}


if __name__ == "__main__":
    main()
