"""Lookups, text and features against Keras's."""

import json

import keras
import numpy as np
import pytest

import oneiros
from oneiros.core import backend as backends
from oneiros.core import tree
from tests.layers.text.cases import KNOWN, ROWS

np.seterr(over="ignore")


def made(library, row):
    layer = getattr(library.layers, row.name)(**row.kwargs)
    if row.adapt is not None:
        layer.adapt(row.adapt)
    return layer


def by_keras(layer, inputs):
    """What Keras's layer gives: its lookups are TensorFlow's, whatever its backend."""
    import tensorflow as tf

    tensors = isinstance(layer, (keras.layers.CategoryEncoding, keras.layers.Discretization))
    return plain(layer(inputs if tensors else tree.map_structure(tf.constant, inputs)))


def plain(x):
    x = np.asarray(x.numpy() if hasattr(x, "numpy") else x)
    if x.dtype.kind == "O":
        return np.array([v.decode() for v in x.ravel()]).reshape(x.shape)
    return np.char.decode(x) if x.dtype.kind == "S" else x


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_outputs_are_those_of_keras(row, backend, turn):
    if not turn(row):
        return
    ours, theirs = made(oneiros, row), made(keras, row)
    got, want = ours(row.inputs), by_keras(theirs, row.inputs)
    got = plain(backends.to_numpy(got))
    assert got.shape == want.shape
    if want.dtype.kind == "U":
        assert got.tolist() == want.tolist()
        return
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert got.dtype.kind == want.dtype.kind


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_vocabularies_and_configs_are_those_of_keras(row):
    ours, theirs = made(oneiros, row), made(keras, row)
    if hasattr(theirs, "get_vocabulary"):
        for special in (True, False):
            assert ours.get_vocabulary(special) == theirs.get_vocabulary(special)
        assert ours.vocabulary_size() == theirs.vocabulary_size()
    assert drop(ours.get_config()) == drop(theirs.get_config())
    again = type(ours).from_config(json.loads(json.dumps(ours.get_config())))
    assert drop(again.get_config()) == drop(ours.get_config())


def drop(config):
    """The config as JSON holds it, without the made-up name, boundaries rounded."""
    config = {k: v for k, v in json.loads(json.dumps(config, default=str)).items() if k != "name"}
    if config.get("bin_boundaries"):
        config["bin_boundaries"] = [round(v, 5) for v in config["bin_boundaries"]]
    return config


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_symbols_have_the_shapes_of_values(row):
    several = isinstance(row.inputs, tuple)
    arrays = [np.asarray(x) for x in (row.inputs if several else [row.inputs])]
    if any(x.ndim == 0 for x in arrays):
        return
    dtypes = ["string" if x.dtype.kind in "US" else str(x.dtype) for x in arrays]
    symbols = [oneiros.Input(x.shape[1:], dtype=d) for x, d in zip(arrays, dtypes)]
    layer = made(oneiros, row)
    y, value = layer(symbols if several else symbols[0]), layer(row.inputs)
    assert len(y.shape) == len(value.shape)
    assert all(n in (None, m) for n, m in zip(y.shape, value.shape)), (y.shape, value.shape)
    if value.dtype.kind != "U":
        assert y.dtype == str(value.dtype)


# Adapting -----------------------------------------------------------------------------------------
def sources(texts):
    """The same texts in all that `adapt` takes."""
    import pandas
    import tensorflow as tf
    import torch.utils.data as torch_data

    dtype = np.dtypes.StringDType()
    yield texts
    yield np.array(texts)
    yield np.array(texts, object)
    yield np.array(texts, dtype)
    yield np.array([t.encode() for t in texts], object)
    yield [[t] for t in texts]
    yield pandas.Series(texts)
    yield (texts[i : i + 2] for i in range(0, len(texts), 2))
    yield ((np.array(texts[i : i + 2]), [0, 0]) for i in range(0, len(texts), 2))
    yield tf.data.Dataset.from_tensor_slices(texts).batch(3)
    yield tf.data.Dataset.from_tensor_slices(texts)
    yield torch_data.DataLoader(texts, batch_size=3)
    yield oneiros.preprocessing.Dataset.from_tensor_slices(np.array(texts, object)).batch(2)


def test_every_source_gives_the_same_vocabulary():
    texts = ["b a", "a c\tb", "", "d a", "Ä é"]
    for mode in ("int", "tf_idf"):
        made = []
        for data in sources(texts):
            layer = oneiros.layers.TextVectorization(output_mode=mode)
            layer.adapt(data)
            made.append((layer.get_vocabulary(), layer(texts).tolist()))
        assert all(m == made[0] for m in made)


def test_steps_bound_what_is_taken():
    layer = oneiros.layers.StringLookup()
    layer.adapt((np.array([c]) for c in "abcd"), steps=2)
    assert layer.get_vocabulary() == ["[UNK]", "b", "a"]


def test_states_are_counted_up_and_forgotten():
    layer = oneiros.layers.StringLookup()
    layer.update_state(np.array(["a", "b"]))
    layer.update_state(np.array(["b"]))
    layer.finalize_state()
    assert layer.get_vocabulary() == ["[UNK]", "b", "a"]
    layer.adapt(["c"])
    assert layer.get_vocabulary() == ["[UNK]", "c"]
    layer.reset_state()
    assert layer.get_vocabulary() == ["[UNK]"]


def test_sketches_keep_ranks_within_epsilon_and_merge():
    from oneiros.layers.features.discretization import QuantileSketch

    values = np.random.default_rng(0).lognormal(size=300_000)
    first, second = QuantileSketch(0.01), QuantileSketch(0.01)
    first.add(values[:200_000])
    second.add(values[200_000:])
    first.merge(second)
    fractions = np.arange(1, 20) / 20
    ranks = np.searchsorted(np.sort(values), first.quantiles(fractions)) / len(values)
    assert np.abs(ranks - fractions).max() < 0.01
    assert sum(map(len, first.levels.values())) < 100_000


# Files --------------------------------------------------------------------------------------------
def model_of(library):
    layers = library.layers
    texts = np.array(["the cat sat", "dogs ran\nfast"])
    made = [
        (layers.TextVectorization(output_sequence_length=4), texts),
        (layers.TextVectorization(output_mode="tf_idf"), texts),
        (layers.TextVectorization(vocabulary=["cat", "ran"], ngrams=(1, 2)), None),
        (layers.StringLookup(mask_token=""), np.array(["a b", "c", "ä"])),
        (layers.StringLookup(vocabulary=["x", "a b"], output_mode="count"), None),
        (layers.Hashing(5), None),
        (layers.IntegerLookup(), np.array([[5, 3], [3, 10]])),
        (layers.Discretization(num_bins=3), np.arange(10.0)),
    ]
    inputs = [library.Input((1,), dtype=d) for d in ("string", "string", "int64", "float32")]
    for number, (layer, data) in enumerate(made):
        layer.name = f"layer_{number}"
        if data is not None:
            layer.adapt(data)
    return library.Model(inputs, [layer(inputs[i]) for i, (layer, _) in zip(TAKES, made)])


TAKES = (0, 0, 0, 1, 1, 1, 2, 3)
INPUTS = [
    np.array([["the cat ran"], ["dogs"]]),
    np.array([["a b"], ["ä"]]),
    np.array([[3], [7]]),
    np.array([[4.0], [9.0]]),
]


def outputs(model):
    """What Keras's layers in a model give, one by one: a model of theirs takes strings on TensorFlow."""
    made = [(model.get_layer(f"layer_{n}"), INPUTS[i]) for n, i in enumerate(TAKES)]
    return [by_keras(layer, x) for layer, x in made]


def test_files_carry_vocabularies_both_ways(backend, tmp_path):
    ours, theirs = model_of(oneiros), model_of(keras)
    want = outputs(theirs)
    ours.save(tmp_path / "ours.keras")
    theirs.save(tmp_path / "theirs.keras")
    load = oneiros.saving.load_model
    for model in (ours, load(tmp_path / "ours.keras"), load(tmp_path / "theirs.keras")):
        for got, y in zip(model(INPUTS), want):
            np.testing.assert_allclose(backends.to_numpy(got), y, rtol=1e-6)
    if backend == "numpy":
        for got, y in zip(outputs(keras.models.load_model(tmp_path / "ours.keras")), want):
            np.testing.assert_allclose(got, y, rtol=1e-6)


def test_tokens_with_line_ends_survive(tmp_path):
    layer = oneiros.layers.StringLookup()
    layer.adapt(["a\nb", "c\r", "c\r", ""])
    model = oneiros.Sequential([oneiros.Input((1,), dtype="string"), layer])
    model.save(tmp_path / "model.keras")
    again = oneiros.saving.load_model(tmp_path / "model.keras")
    assert again.layers[0].get_vocabulary() == layer.get_vocabulary()


@pytest.mark.parametrize("name", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_configs_cannot_name_files(name, tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("1\n2\n")
    cls = getattr(oneiros.layers, name)
    assert "2" in map(str, cls(vocabulary=str(path)).get_vocabulary())  # asked for by the user
    config = cls().get_config() | {"vocabulary": str(path)}
    with pytest.raises(ValueError, match="no file is read because a config says so"):
        cls.from_config(config)
    assert cls(vocabulary=path).get_config()["vocabulary"] == cls(vocabulary=[*map(
        str if name != "IntegerLookup" else int, (1, 2))]).get_config()["vocabulary"]  # fmt: skip


# In models ----------------------------------------------------------------------------------------
def sentiment(length=None, **kwargs):
    texts = np.array(["good fine", "bad", "fine film", "sad bad film", "good", "bad sad plot"] * 4)
    labels = np.array([1, 0, 1, 0, 1, 0] * 4)
    vectorize = oneiros.layers.TextVectorization(output_sequence_length=length, **kwargs)
    vectorize.adapt(texts)
    return texts, labels, vectorize


@pytest.mark.parametrize("length", [None, 4])
def test_models_train_on_strings(length, backend):
    texts, labels, vectorize = sentiment(length)
    layers = oneiros.layers
    model = oneiros.Sequential(
        [
            oneiros.Input((), dtype="string"),
            vectorize,
            layers.Embedding(20, 4, mask_zero=True, embeddings_initializer="zeros"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, kernel_initializer="ones"),
        ]
    )
    model.compile(oneiros.optimizers.SGD(0.5), "mse")
    history = model.fit(texts, labels, epochs=3, batch_size=6, shuffle=False, verbose=0)
    twin = oneiros.Sequential(model.layers[1:])  # on numbers, the same steps
    for v in model.weights:
        v.assign(
            np.zeros(v.shape) if "embeddings" in v.path else v.numpy() * 0 + ("kernel" in v.path)
        )
    twin.compile(oneiros.optimizers.SGD(0.5), "mse")
    whole = backends.to_numpy(vectorize(texts))
    again = twin.fit(whole, labels, epochs=3, batch_size=6, shuffle=False, verbose=0)
    np.testing.assert_allclose(history.history["loss"], again.history["loss"], rtol=1e-4)
    got = model.predict(texts, verbose=0)
    np.testing.assert_allclose(got, twin.predict(whole, verbose=0), rtol=1e-5, atol=1e-6)
    for x in (texts.tolist(), texts.astype(object), texts[:, None]):
        np.testing.assert_allclose(model.predict(x, verbose=0), got, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(backends.to_numpy(model(texts)), got, rtol=1e-5, atol=1e-6)
    assert model.predict_on_batch(texts[:3]).shape == (3, 1)
    model.train_on_batch(texts, labels)
    model.fit(((texts[i : i + 6], labels[i : i + 6]) for i in (0, 6)), verbose=0)


def test_subclassed_models_mix_strings_and_numbers(backend):
    texts, labels, vectorize = sentiment()
    layers, ops = oneiros.layers, oneiros.ops

    class Mixed(oneiros.Model):
        def __init__(self):
            super().__init__()
            self.vectorize, self.embed = vectorize, layers.Embedding(20, 4)
            self.hash, self.lookup = layers.Hashing(5), layers.IntegerLookup(vocabulary=[1, 2])
            self.dense = layers.Dense(1)

        def call(self, x):
            words = ops.mean(self.embed(self.vectorize(x["text"])), 1)
            numbers = [ops.one_hot(f(x["id"])[:, 0], 5) for f in (self.hash, self.lookup)]
            return self.dense(ops.concatenate([words, *numbers], -1))

    data = {"text": texts, "id": np.arange(24)[:, None]}
    model = Mixed()
    model.compile("sgd", "mse")
    model.fit(data, labels, epochs=2, verbose=0)
    got = model.predict(data, batch_size=24, verbose=0)
    np.testing.assert_allclose(got, backends.to_numpy(model(data)), rtol=1e-5, atol=1e-6)


def test_pipelines_of_tensorflow_take_the_layers(backend):
    import tensorflow as tf

    texts, _, vectorize = sentiment(4)
    rows = tf.data.Dataset.from_tensor_slices(texts.tolist()).batch(24)
    made = next(iter(rows.map(vectorize)))
    assert isinstance(made, tf.Tensor)
    np.testing.assert_array_equal(made, backends.to_numpy(vectorize(texts)))
    ragged = tf.ragged.constant([["a"], ["b", "c"]])
    lookup = oneiros.layers.StringLookup(vocabulary=["a", "b"])
    assert lookup(ragged).to_list() == [[1], [2, 0]]


# Mistakes -----------------------------------------------------------------------------------------
MISTAKES = {
    "duplicates": ("StringLookup", dict(vocabulary=["a", "b", "a"]), None),
    "empty": ("StringLookup", dict(vocabulary=[]), None),
    "mask inside": ("StringLookup", dict(vocabulary=["a", ""], mask_token=""), None),
    "too many": ("StringLookup", dict(vocabulary=["a", "b"], max_tokens=2), None),
    "max_tokens": ("StringLookup", dict(max_tokens=1), None),
    "oov": ("StringLookup", dict(num_oov_indices=-1), None),
    "mode": ("StringLookup", dict(output_mode="foo"), None),
    "inverse mode": ("StringLookup", dict(output_mode="one_hot", invert=True), None),
    "padding": ("StringLookup", dict(pad_to_max_tokens=True, output_mode="count"), None),
    "weights": ("StringLookup", dict(vocabulary=["a"], output_mode="tf_idf"), None),
    "weights' length": ("StringLookup", KNOWN | dict(idf_weights=[1], output_mode="tf_idf"), None),
    "weights' mode": ("StringLookup", KNOWN | dict(idf_weights=[1, 2, 3]), None),
    "sparse": ("StringLookup", dict(sparse=True), None),
    "file": ("StringLookup", dict(vocabulary="/nowhere/at/all"), None),
    "vocabulary dtype": ("IntegerLookup", dict(vocabulary_dtype="int32"), None),
    "standardize": ("TextVectorization", dict(standardize="foo"), None),
    "split": ("TextVectorization", dict(split="foo"), None),
    "ngrams": ("TextVectorization", dict(ngrams="a"), None),
    "length": ("TextVectorization", dict(output_mode="count", output_sequence_length=3), None),
    "ragged": ("TextVectorization", dict(output_mode="count", ragged=True), None),
    "rank": ("TextVectorization", KNOWN, np.array([["a", "b"]])),
    "bins": ("Hashing", dict(num_bins=0), None),
    "salt": ("Hashing", dict(num_bins=3, salt="a"), None),
    "hash dtype": ("Hashing", dict(num_bins=3, dtype="float32"), None),
    "one input": ("HashedCrossing", dict(num_bins=3), (np.array(["a"]),)),
    "wide": ("HashedCrossing", dict(num_bins=3), (np.array([[1, 2]]), np.array([[1, 2]]))),
    "floats": ("HashedCrossing", dict(num_bins=3), (np.array([1.5]), np.array([1]))),
    "no tokens": ("CategoryEncoding", {}, None),
    "tokens": ("CategoryEncoding", dict(num_tokens=0), None),
    "no bins": ("Discretization", {}, None),
    "both": ("Discretization", dict(num_bins=2, bin_boundaries=[1.0]), None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_as_by_keras(mistake):
    name, kwargs, inputs = MISTAKES[mistake]
    for library in (oneiros, keras):
        with pytest.raises(ValueError):
            layer = getattr(library.layers, name)(**kwargs)
            layer(inputs)


def test_messages_name_the_layer_and_what_was_given():
    layers = oneiros.layers
    with pytest.raises(ValueError, match="has no vocabulary yet: call `adapt"):
        layers.StringLookup()(["a"])
    with pytest.raises(ValueError, match="'num': when `num_oov_indices=0`.*'z'"):
        layers.StringLookup(vocabulary=["a"], num_oov_indices=0, name="num")(["a", "z"])
    with pytest.raises(ValueError, match="takes strings; got numbers"):
        layers.StringLookup(vocabulary=["a"])(np.array([1]))
    with pytest.raises(ValueError, match="place 1 is None"):
        layers.TextVectorization().adapt(np.array(["a", None], object))
    with pytest.raises(ValueError, match="rows have different lengths"):
        layers.StringLookup(vocabulary=["a"])([["a"], ["b", "c"]])
    with pytest.raises(ValueError, match="no boundaries"):
        layers.Discretization(num_bins=3)(np.array([1.0]))
    with pytest.raises(ValueError, match="static vocabulary"):
        layers.StringLookup(vocabulary=["a"]).adapt(["b"])
