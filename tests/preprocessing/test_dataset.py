"""The data set: its order, its stages, and its use by `fit` and by others' code."""

import math

import numpy as np
import pytest

import oneiros
from oneiros import layers
from oneiros.preprocessing import Dataset
from oneiros.utils import timeseries_dataset_from_array


def numbers(n=10, **kwargs):
    """The numbers below n, read one by one."""
    return Dataset(lambda i: np.int64(i), n, **kwargs)


def listed(data):
    return [np.asarray(e).tolist() for e in data]


# Name: a data set made by ours or by tf.data, which says what is right.
PIPELINES = {
    "as it is": lambda d: d,
    "map": lambda d: d.map(lambda x: x * 2),
    "map on threads": lambda d: d.map(lambda x: x * 2, num_parallel_calls=4),
    "batch": lambda d: d.batch(4),
    "batch, whole ones": lambda d: d.batch(4, drop_remainder=True),
    "batches of batches": lambda d: d.batch(2).batch(3),
    "take": lambda d: d.take(3),
    "take all": lambda d: d.take(-1),
    "take too many": lambda d: d.take(30),
    "skip": lambda d: d.skip(7),
    "skip all": lambda d: d.skip(-1),
    "skip too many": lambda d: d.skip(11),
    "skip, take, batch": lambda d: d.skip(2).take(5).batch(2),
    "repeat": lambda d: d.repeat(2),
    "repeat never": lambda d: d.repeat(0),
    "repeat without end": lambda d: d.repeat().batch(7).take(4),
    "batch, repeat": lambda d: d.batch(4).repeat(2),
    "concatenate": lambda d: d.concatenate(d.take(2)).batch(5),
    "cache": lambda d: d.map(lambda x: x + 1).cache().repeat(2),
    "prefetch": lambda d: d.batch(3).prefetch(2),
    "unbatch": lambda d: d.batch(4).unbatch(),
    "unbatch after map": lambda d: d.batch(4).map(lambda x: x + 1).unbatch().skip(2).batch(3),
    "filter": lambda d: d.filter(lambda x: x % 2 == 0).take(3),
    "filter, repeat": lambda d: d.filter(lambda x: x % 2 == 0).repeat(2).batch(4),
    "filter, cache, concatenate": lambda d: d.filter(lambda x: x > 5).cache().concatenate(d),
}


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_gives_what_tf_data_gives(name, workers):
    import tensorflow as tf

    make = PIPELINES[name]
    ours, theirs = make(numbers(workers=workers)), make(tf.data.Dataset.range(10))
    want = listed(theirs)
    assert listed(ours) == want == listed(ours.as_numpy_iterator())
    assert -2 in (known := {int(ours.cardinality()), int(theirs.cardinality())}) or len(known) == 1
    if ours.cardinality() >= 0:
        assert len(ours) == len(want)
        assert [np.asarray(ours[i]).tolist() for i in range(len(ours))] == want


def test_a_shuffled_one_is_new_in_each_pass_and_repeats_by_its_seed():
    data = numbers().shuffle(seed=7)
    first, second = listed(data), listed(data)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    again = numbers(workers=3).shuffle(100, seed=7)
    assert [listed(again), listed(again)] == [first, second]
    assert listed(again.iterate_pass(0)) == first
    assert listed(numbers().shuffle(seed=7).repeat(2)) == first + second
    kept = numbers().shuffle(seed=7, reshuffle_each_iteration=False)
    assert listed(kept) == listed(kept) == first
    assert listed(numbers().shuffle(seed=8)) != first


def test_elements_without_numbers_are_shuffled_in_a_buffer():
    made = listed(numbers(100).filter(lambda x: x % 2).shuffle(10, seed=1))
    assert sorted(made) == list(range(1, 100, 2)) != made
    assert made == listed(numbers(100).filter(lambda x: x % 2).shuffle(10, seed=1))


def test_only_what_is_wanted_is_read():
    read = []
    data = Dataset(lambda i: read.append(i) or i, 1000).shuffle(seed=1).batch(2)
    list(data.take(2))
    assert len(read) == 4
    list(data.map(lambda x: x).cache().take(1))
    assert len(read) == 6


def test_a_cache_reads_once():
    read = []
    data = Dataset(lambda i: read.append(i) or i, 5).cache()
    assert listed(data.shuffle(seed=1)) != listed(data) == [0, 1, 2, 3, 4]
    assert sorted(read) == [0, 1, 2, 3, 4]


def test_an_error_comes_where_its_element_would():
    def get(i):
        if i == 5:
            raise ValueError("element 5 is broken")
        return i

    read = iter(Dataset(get, 10, workers=4).batch(2))
    assert [next(read).tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="5 is broken"):
        next(read)


def test_trees_of_arrays_are_sliced_and_stacked():
    data = Dataset.from_tensor_slices(
        ({"a": np.arange(4), "b": [b"w", b"x", b"y", b"z"]}, range(4))
    )
    x, y = next(iter(data.skip(1).batch(2)))
    assert x["a"].tolist() == y.tolist() == [1, 2] and x["b"].tolist() == [b"x", b"y"]
    spec = data.batch(2).element_spec
    assert spec[0]["a"].shape == (None,) and spec[0]["b"].dtype == "string"
    texts = Dataset(lambda i: "ab" * i, 3).batch(3)[0]
    assert texts.dtype == object and texts.tolist() == ["", "ab", "abab"]


def test_what_makes_no_sense_is_an_error():
    with pytest.raises(ValueError, match=r"\(1,\), \(2,\)"):
        list(Dataset(lambda i: np.zeros(i + 1), 2).batch(2))
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        Dataset.from_tensor_slices(([1, 2], [1, 2, 3]))
    with pytest.raises(ValueError, match="batch_size"):
        numbers().batch(0)
    with pytest.raises(IndexError, match="no element 10"):
        numbers()[10]
    for endless in (numbers().repeat(), numbers().filter(bool)):
        with pytest.raises(TypeError):
            len(endless)


def test_loops_get_arrays_as_scripts_know_them():
    x, y = next(iter(Dataset.from_tensor_slices((np.ones((4, 2)), np.arange(4))).batch(2)))
    assert type(x.numpy()) is np.ndarray and y[1].numpy() == 1
    assert numbers().cardinality().numpy() == 10 and numbers()[-1] == 9


X = np.random.default_rng(0).normal(size=(50, 3)).astype("float32")
Y = (X[:, :1] * 2 + 1).astype("float32")


def model():
    made = oneiros.Sequential([oneiros.Input((3,)), layers.Dense(1, kernel_initializer="ones")])
    made.compile("sgd", "mse")
    return made


def test_fit_takes_it_on_every_backend(backend):
    data = Dataset.from_tensor_slices((X, Y)).shuffle(seed=3).batch(8)
    made = model()
    losses = made.fit(data, epochs=3, validation_data=data, verbose=0).history["loss"]
    by_hand = model()
    for number in range(3):
        for x, y in data.iterate_pass(number):
            by_hand.train_on_batch(x, y)
    np.testing.assert_allclose(made.get_weights()[0], by_hand.get_weights()[0], rtol=1e-5)
    assert losses[2] < losses[0]
    plain = Dataset.from_tensor_slices((X, Y)).batch(8)
    assert made.predict(plain, verbose=0).shape == (50, 1)
    np.testing.assert_allclose(
        made.evaluate(plain, verbose=0), made.evaluate(X, Y, verbose=0), rtol=1e-5
    )


def test_fit_goes_on_after_an_epoch_as_if_unbroken():
    def data():
        return Dataset.from_tensor_slices((X, Y)).shuffle(seed=3).batch(8)

    whole, first = model(), model()
    whole.fit(data(), epochs=4, verbose=0)
    first.fit(data(), epochs=2, verbose=0)
    first.fit(data(), epochs=4, initial_epoch=2, verbose=0)
    np.testing.assert_array_equal(whole.get_weights()[0], first.get_weights()[0])


def test_an_endless_one_needs_steps():
    data = Dataset.from_tensor_slices((X, Y)).repeat().batch(8)
    assert len(model().fit(data, epochs=2, steps_per_epoch=5, verbose=0).history["loss"]) == 2


def test_others_take_it_too():
    data = Dataset.from_tensor_slices((X, np.arange(50))).shuffle(seed=1).batch(20)
    made, want = data.as_tf(), [y.tolist() for _, y in data.iterate_pass(0)]
    data.num_passes = 0
    assert made.cardinality() == 3 and made.element_spec[0].shape.as_list() == [None, 3]
    assert [y.numpy().tolist() for _, y in made] == want
    assert [y.tolist() for _, y in data.as_torch()] == [y.tolist() for _, y in data.iterate_pass(1)]
    assert len(data.as_torch()) == 3
    texts = Dataset.from_tensor_slices(np.array(["a", "bä"], object)).batch(2)
    assert [t.decode() for t in next(iter(texts.as_tf())).numpy()] == ["a", "bä"]
    assert next(iter(texts.as_torch())).tolist() == ["a", "bä"]
    assert Dataset(int, math.inf).as_tf().cardinality() == -1


# Series -------------------------------------------------------------------------------------------
SERIES = [
    dict(sequence_length=3),
    dict(sequence_length=3, sequence_stride=2, sampling_rate=2, batch_size=4),
    dict(sequence_length=4, start_index=3, end_index=15, batch_size=3),
    dict(sequence_length=2, batch_size=None),
    dict(sequence_length=5, start_index=2, sequence_stride=3, batch_size=2),
    dict(sequence_length=5, end_index=12, sampling_rate=2, batch_size=2),
]


# With short targets and a start Keras reads past them.
@pytest.mark.parametrize(
    "row, targets",
    [
        (i, targets)
        for i, row in enumerate(SERIES)
        for targets in (None, "all", "short")
        if targets != "short" or "start_index" not in row
    ],
)
def test_windows_are_those_of_keras(row, targets):
    import keras

    series = np.arange(40.0).reshape(20, 2)
    y = {None: None, "all": np.arange(20), "short": np.arange(10)}[targets]
    ours = timeseries_dataset_from_array(series, y, **SERIES[row])
    theirs = keras.utils.timeseries_dataset_from_array(series, y, **SERIES[row])
    ours, theirs = list(ours), list(theirs)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        for u, v in zip(a if y is not None else [a], b if y is not None else [b]):
            np.testing.assert_array_equal(u, v)


def test_windows_are_shuffled_by_seed():
    def make(**kwargs):
        return timeseries_dataset_from_array(
            np.arange(30), np.arange(30), 4, shuffle=True, seed=1, **kwargs
        )

    data = make(batch_size=5)
    rows = np.concatenate([x for x, _ in data])
    assert all(x[0] == y for x, y in zip(rows, np.concatenate([y for _, y in make(batch_size=5)])))
    assert sorted(rows[:, 0]) == list(range(27)) != rows[:, 0].tolist()
    assert [x.tolist() for x, _ in make(batch_size=None)] == rows.tolist()


@pytest.mark.parametrize(
    "kwargs, name",
    [
        (dict(sequence_length=0), "sequence_length"),
        (dict(sequence_length=20), "sequence_length"),
        (dict(sequence_length=2, sequence_stride=0), "sequence_stride"),
        (dict(sequence_length=2, sampling_rate=30), "sampling_rate"),
        (dict(sequence_length=2, start_index=-1), "start_index"),
        (dict(sequence_length=2, end_index=25), "end_index"),
        (dict(sequence_length=2, start_index=5, end_index=5), "start_index"),
    ],
)
def test_windows_that_make_no_sense_are_errors(kwargs, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        timeseries_dataset_from_array(np.arange(20), None, **kwargs)
