"""Spaces of features against Keras's, in pipelines of TensorFlow, where Keras's run on any backend."""

import functools

import keras
import numpy as np
import pandas as pd
import pytest

import oneiros
from oneiros import layers
from oneiros.core.backend import to_numpy

DATA = {
    "f": [0.1, 0.2, 0.3, 0.9],
    "normal": [1.0, 2.0, 3.0, 4.0],
    "scaled": [1, 2, 3, 4],
    "binned": [1.0, 2.0, 3.0, 9.0],
    "word": ["a", "b", "a", "c"],
    "token": ["p", "q", "r", "s"],
    "count": [1, 2, 1, 3],
    "code": [5, 6, 7, 8],
}
ARRAYS = {name: np.array(values) for name, values in DATA.items()}


def rows():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(DATA)


def make(library, mode):
    space = library.utils.FeatureSpace
    features = {
        "f": "float",
        "normal": "float_normalized",
        "scaled": space.float_rescaled(scale=0.5),
        "binned": space.float_discretized(num_bins=3),
        "word": "string_categorical",
        "token": space.string_hashed(num_bins=4),
        "count": space.integer_categorical(num_oov_indices=2),
        "code": "integer_hashed",
    }
    last = space.cross(("token", "code"), 6, output_mode="int" if mode == "dict" else "one_hot")
    crosses = [("word", "count"), last]
    return space(features, output_mode=mode, crosses=crosses, hashing_dim=8)


@functools.cache
def theirs(mode):
    space = make(keras, mode)
    space.adapt(rows())
    return space


@functools.cache
def expected(mode):
    made = next(iter(rows().batch(4).map(theirs(mode))))
    return {k: v.numpy() for k, v in made.items()} if mode == "dict" else made.numpy()


def adapted(mode="concat", data=None):
    space = make(oneiros, mode)
    space.adapt(DATA if data is None else data)
    return space


def close(got, want):
    np.testing.assert_allclose(to_numpy(got), want, rtol=1e-5, atol=1e-7)


def test_each_feature_is_that_of_keras(backend):
    got, want = adapted("dict")(DATA), expected("dict")
    assert list(got) == list(want)
    for name in want:
        close(got[name], want[name])
    single = adapted("dict")({name: values[1] for name, values in DATA.items()})
    for name in want:
        close(single[name], want[name][1])


SOURCES = {
    "arrays": lambda: ARRAYS,
    "pandas": lambda: pd.DataFrame(DATA),
    "rows": lambda: ({k: v[i] for k, v in DATA.items()} for i in range(4)),
    "batches": lambda: [{k: v[i : i + 2] for k, v in ARRAYS.items()} for i in (0, 2)].__iter__(),
    "tf.data of rows": rows,
    "tf.data of batches": lambda: rows().batch(3),
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_teaches_the_same(source, backend, turn):
    if turn(source):
        close(adapted(data=SOURCES[source]())(pd.DataFrame(DATA)), expected("concat"))


def test_arrow_tables_are_taken():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table(DATA)
    close(adapted(data=table)(table), expected("concat"))


def test_it_runs_in_pipelines(backend):
    space = adapted()
    close(next(iter(rows().batch(4).map(space))), expected("concat"))
    close(next(iter(rows().map(space))), expected("concat")[0])


def test_models_train_on_raw_columns_and_come_back(backend, tmp_path):
    space = adapted()
    y = layers.Dense(1)(space.get_encoded_features())
    model = oneiros.Model(space.get_inputs(), y)
    model.compile("sgd", "mse")
    model.fit(ARRAYS, np.ones(4), epochs=2, verbose=0)
    got = model.predict(ARRAYS, verbose=0)
    dense = model.layers[-1]
    close(got, expected("concat") @ dense.kernel.numpy() + dense.bias.numpy())
    model.save(tmp_path / "model.keras")
    again = oneiros.saving.load_model(tmp_path / "model.keras")
    close(again.predict(ARRAYS, verbose=0), got)


def test_files_go_both_ways(backend, tmp_path):
    adapted().save(tmp_path / "ours.keras")
    close(oneiros.saving.load_model(tmp_path / "ours.keras")(DATA), expected("concat"))
    if backend == "numpy":
        back = keras.models.load_model(tmp_path / "ours.keras")
        back.get_encoded_features()  # Keras cannot do this within a graph
        close(next(iter(rows().batch(4).map(back))), expected("concat"))
    theirs("concat").save(tmp_path / "theirs.keras")
    close(oneiros.saving.load_model(tmp_path / "theirs.keras")(DATA), expected("concat"))


def test_own_preprocessors_and_preprocessed_features():
    space = oneiros.utils.FeatureSpace
    custom = space.feature("float32", layers.Rescaling(2.0), "float")
    made = space({"v": custom, "w": "string_categorical"})
    made.adapt({"v": [1.0], "w": ["a"]})
    close(made({"v": [3.0], "w": ["a"]}), [[6.0, 0.0, 1.0]])
    assert made.get_preprocessed_features()["w"].dtype == "int64"


WRONG = {
    "no features": lambda space: space({}),
    "type": lambda space: space({"a": "foo"}),
    "output mode": lambda space: space({"a": "float"}, output_mode="x"),
    "cross": lambda space: space({"a": "integer_hashed"}, crosses=[("a", "zz")]),
    "mode of a feature": lambda space: space.string_categorical(output_mode="zz"),
    "mode of a cross": lambda space: space.cross(("a", "b"), 3, output_mode="zz"),
    "not adapted": lambda space: space({"a": "float_normalized"})({"a": [1.0]}),
    "no dict": lambda space: space({"a": "string_hashed"})([1]),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_told(name):
    for library in (oneiros, keras):
        with pytest.raises(ValueError):
            WRONG[name](library.utils.FeatureSpace)


def test_missing_columns_are_named():
    with pytest.raises(KeyError, match="no column 'code'"):
        adapted()({k: v for k, v in DATA.items() if k != "code"})
