"""Data becomes the batches that Keras makes of it."""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest

import oneiros
from oneiros.core import config, seeding
from oneiros.training.data import (
    adapt,
    pack_x_y_sample_weight,
    unpack_x_y_sample_weight,
    validation_split,
)
from oneiros.training.data_streams import PyDataset


def batches(data, epoch=0):
    return list(data.batches(epoch))


def firsts(data, *epochs):
    """The first number of each batch's targets, by epoch."""
    return [[int(np.ravel(y)[0]) for _, y, _ in data.batches(e)] for e in epochs]


def pairs(*numbers):
    for i in numbers:
        yield np.zeros((2, 3)), np.full(2, i)


class Numbered(PyDataset):
    def __init__(self, length=3, **kwargs):
        super().__init__(**kwargs)
        self.length, self.events = length, []

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return np.zeros((2, 3)), np.full(2, index)

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


# Arrays -------------------------------------------------------------------------------------------
KINDS = [
    (np.zeros((4, 3)), (4, 3), "float32"),
    (np.zeros((4, 3), "float16"), (4, 3), "float32"),
    (np.zeros((4, 3), "uint8"), (4, 3), "uint8"),
    (np.zeros((4, 3), "int64"), (4, 3), "int64"),
    (np.zeros(4, bool), (4,), "bool"),
    (np.array(["a", "b", "c", "d"]), (4,), "<U1"),
    (np.array(["a", None, "c", "d"], object), (4,), "object"),
    ([1.0, 2.0, 3.0, 4.0], (4,), "float32"),
    ([[1, 2], [3, 4], [5, 6], [7, 8]], (4, 2), "int64"),
    (pd.DataFrame({"a": [1.5, 2, 3, 4], "b": [1, 2, 3, 4]}), (4, 2), "float32"),
    (pd.Series([1, 2, 3, 4]), (4, 1), "int64"),
]


@pytest.mark.parametrize("x, shape, dtype", KINDS, ids=[str(i) for i in range(len(KINDS))])
def test_arrays_keep_their_shape_and_floats_take_the_default_dtype(x, shape, dtype):
    made = adapt(x).arrays[0]
    assert type(made) is np.ndarray and made.shape == shape and str(made.dtype) == dtype


def test_keras_gives_the_same_shapes_and_dtypes():
    keras_adapter = pytest.importorskip("keras.src.trainers.data_adapters.array_data_adapter")
    for x, _, _ in KINDS[:5] + KINDS[9:]:
        theirs = keras_adapter.ArrayDataAdapter(x, batch_size=4).get_numpy_iterator()
        theirs = next(iter(theirs))
        theirs = theirs[0] if isinstance(theirs, tuple) else theirs
        ours = batches(adapt(x, batch_size=4))[0][0]
        assert (theirs.shape, theirs.dtype) == (ours.shape, ours.dtype)
        np.testing.assert_array_equal(theirs, ours)


def test_arrays_of_the_right_dtype_are_not_copied():
    x = np.zeros((4, 3), "float32")
    data = adapt(x)
    assert data.arrays[0] is x
    assert np.shares_memory(batches(data)[0][0], x)


def test_jax_arrays_are_taken():
    jnp = pytest.importorskip("jax.numpy")
    data = adapt({"a": jnp.ones((4, 2))}, jnp.arange(4))
    assert data.in_memory and data.arrays[0]["a"].shape == (4, 2)
    assert data.arrays[1].tolist() == [0, 1, 2, 3]


def test_trees_keep_their_structure():
    x = {"a": [1.0, 2.0], "b": (np.zeros((2, 3)), np.ones(2))}
    (given, y, weight) = batches(adapt(x, [np.zeros(2), None]))[0]
    assert list(given) == ["a", "b"] and type(given["b"]) is tuple
    assert given["b"][0].shape == (2, 3) and given["a"].tolist() == [1.0, 2.0]
    assert y[1] is None and weight is None


def test_the_last_batch_may_be_short():
    data = adapt(np.arange(5), batch_size=2)
    assert data.num_batches == 3 and data.size == 5
    assert [len(x) for x, _, _ in data.batches(0)] == [2, 2, 1]


def test_batches_have_32_samples_by_default():
    assert [len(x) for x, _, _ in adapt(np.arange(40)).batches(0)] == [32, 8]


def test_without_shuffling_the_order_is_that_of_the_data():
    assert adapt(np.arange(5)).order(3).tolist() == [0, 1, 2, 3, 4]


def test_shuffled_orders_are_new_each_epoch_and_follow_from_the_global_seed():
    seeding.set_seed(7)
    data = adapt(np.arange(100), shuffle=True)
    first, second = data.order(0), data.order(1)
    assert first.dtype == np.int32
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    seeding.set_seed(7)
    again = adapt(np.arange(100), shuffle=True)
    np.testing.assert_array_equal(again.order(1), second)


def test_an_epochs_order_needs_only_the_seed():
    data = adapt(np.arange(100), shuffle=True)
    resumed = adapt(np.arange(100), shuffle=True, seed=data.seed)
    np.testing.assert_array_equal(data.order(5), resumed.order(5))


def test_batches_follow_the_order():
    data = adapt(np.arange(10), batch_size=4, shuffle=True)
    made = np.concatenate([x for x, _, _ in data.batches(2)])
    np.testing.assert_array_equal(made, data.order(2))


def test_shuffle_batch_reorders_inside_batches_only():
    order = adapt(np.arange(9), batch_size=4, shuffle="batch", seed=1).order(0)
    assert sorted(order[:4]) == [0, 1, 2, 3] and sorted(order[4:8]) == [4, 5, 6, 7]
    assert order[8] == 8


def test_fewer_steps_than_a_pass_go_on_in_the_next_epoch():
    data = adapt(np.zeros(4), np.arange(4), batch_size=1, steps=3)
    assert data.num_batches == 3
    assert firsts(data, 0, 1, 2) == [[0, 1, 2], [3], [0, 1, 2]]  # as Keras 3.15


def test_more_steps_than_a_pass_are_one_pass():
    data = adapt(np.zeros(4), np.arange(4), batch_size=1, steps=8)
    assert data.num_batches == 4 and firsts(data, 0, 1) == [[0, 1, 2, 3]] * 2


def test_nan_is_data():
    assert np.isnan(adapt(np.array([np.nan, np.inf])).arrays[0][0])


WRONG = [
    ({"x": np.zeros((4, 3)), "y": np.zeros(5)}, "x: 4, y: 5"),
    (
        {"x": {"a": np.zeros(4), "b": np.zeros(5)}, "y": np.zeros(4)},
        r"x\['a'\]: 4, x\['b'\]: 5, y: 4",
    ),
    ({"x": np.zeros((0, 3))}, "empty"),
    ({"x": []}, "no arrays"),
    ({"x": None}, "must be given"),
    ({"x": 3.0}, "of type builtins.float"),
    ({"x": object()}, "of type builtins.object"),
    ({"x": "abc"}, "of type builtins.str"),
    ({"x": np.array(3.0)}, "`x` is a scalar"),
    ({"x": [[1, 2], [3]]}, "different lengths"),
    ({"x": np.zeros(4), "shuffle": "foo"}, "`shuffle`"),
    ({"x": np.zeros(4), "batch_size": 0}, "`batch_size`"),
    ({"x": np.zeros(4), "steps": 0}, "at least 1|positive whole"),
    ({"x": np.zeros(4), "class_weight": {0: 1}}, "`y` is missing"),
    ({"x": np.zeros(4), "y": [np.zeros(4)] * 2, "class_weight": {0: 1}}, "one output"),
    ({"x": np.zeros(4), "y": np.zeros((4, 2, 2)), "class_weight": {0: 1}}, "shape"),
    (
        {"x": np.zeros(4), "y": np.zeros(4), "sample_weight": np.zeros(4), "class_weight": {0: 1}},
        "both",
    ),
    ({"x": pairs(1), "y": np.zeros(2)}, "`y` cannot be given"),
    ({"x": Numbered(), "y": np.zeros(2)}, "PyDataset, `y` cannot be given"),
    ({"x": Numbered(), "sample_weight": np.zeros(2)}, "`sample_weight` cannot be given"),
]


@pytest.mark.parametrize("given, message", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_errors_say_what_was_given(given, message):
    with pytest.raises(ValueError, match=message):
        adapt(**given)


def test_a_broken_batch_size_is_a_type_error_as_in_keras():
    with pytest.raises(TypeError, match="batch_size"):
        adapt(np.zeros(4), batch_size=2.5)


def test_batch_size_beside_batches_is_told_to_be_unused():
    with pytest.warns(UserWarning, match="not used"):
        adapt(Numbered(), batch_size=3)


@pytest.mark.parametrize(
    "y",
    [np.array([0, 1, 2]), np.array([[0], [1], [2]]), np.eye(3), np.array([0.0, 1.0, 2.0])],
    ids=["numbers", "column", "one-hot", "floats"],
)
def test_class_weights_become_sample_weights(y):
    weight = adapt(np.zeros(3), y, class_weight={0: 1.0, 1: 3.0}).arrays[2]
    assert weight.tolist() == [1.0, 3.0, 1.0] and weight.dtype == np.float32  # 1 if left out


# Splits -------------------------------------------------------------------------------------------
def test_validation_is_the_last_part():
    train, val = validation_split(({"a": np.arange(10)}, list(range(10)), None), 0.3)
    assert train[0]["a"].tolist() == list(range(7)) and val[1].tolist() == [7, 8, 9]
    assert train[2] is None


@pytest.mark.parametrize("size, fraction", [(10, 0.3), (4, 0.1), (7, 0.5), (1000, 0.123)])
def test_keras_splits_at_the_same_place(size, fraction):
    utils = pytest.importorskip("keras.src.trainers.data_adapters.array_slicing")
    (theirs, _, _), _ = utils.train_validation_split((np.arange(size), None, None), fraction)
    (ours, _, _), _ = validation_split((np.arange(size), None, None), fraction)
    assert len(theirs) == len(ours)


@pytest.mark.parametrize("fraction", [1.0, 0.99, 0.0])
def test_a_split_without_samples_is_an_error(fraction):
    with pytest.raises(ValueError, match="without samples"):
        validation_split((np.zeros(4), None, None), fraction)


def test_batches_cannot_be_split():
    with pytest.raises(ValueError, match="generator"):
        validation_split((pairs(1), None, None), 0.5)


# Streams ------------------------------------------------------------------------------------------
ITEMS = [
    (np.zeros((2, 3)), (True, False, False)),
    ((np.zeros((2, 3)),), (True, False, False)),
    ((np.zeros((2, 3)), np.zeros(2)), (True, True, False)),
    ((np.zeros((2, 3)), np.zeros(2), np.ones(2)), (True, True, True)),
    (({"a": [[1.0], [2.0]]}, [0, 1]), (True, True, False)),
]


@pytest.mark.parametrize("item, there", ITEMS, ids=[str(i) for i in range(len(ITEMS))])
def test_generators_yield_batches(item, there):
    (made,) = batches(adapt(iter([item])))
    assert tuple(part is not None for part in made) == there


def test_floats_of_streams_take_the_default_dtype():
    ((x, y, _),) = batches(adapt(iter([(np.zeros((2, 3)), np.zeros(2, "int64"))])))
    assert (x.dtype, y.dtype) == (np.float32, np.int64)


def test_arrays_of_the_sessions_backend_stay(backend):
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.zeros((2, 3))
    ((made, _, _),) = batches(adapt(iter([(x,)])))
    assert (made is x) == (config.backend() == "jax")
    assert made.shape == (2, 3)


@pytest.mark.parametrize(
    "item, message", [([np.zeros(2), np.zeros(2)], "list of 2"), ((1,) * 4, "4 parts")]
)
def test_odd_items_are_errors(item, message):
    with pytest.raises(ValueError, match=message):
        batches(adapt(iter([item])))


def test_a_generator_goes_on_where_the_last_epoch_stopped():
    data = adapt(pairs(*range(5)), steps=2)
    assert data.num_batches == 2 and not data.in_memory
    assert firsts(data, 0, 1, 2, 3) == [[0, 1], [2, 3], [4], []]


def test_a_generator_that_ends_too_early_is_told_of(backend):
    def batches():
        yield from [(np.ones((4, 2), "float32"), np.ones((4, 1), "float32"))] * 3

    model = oneiros.Sequential([oneiros.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="generator ran out of data after 3 of 5 batches"):
        model.fit(batches(), steps_per_epoch=5, verbose=0)
    with pytest.warns(UserWarning, match="ran out of data after 0 of 3"):
        made = model.fit(batches(), steps_per_epoch=3, epochs=2, verbose=0)
    assert made.history["loss"][0] == made.history["loss"][1]
    with pytest.warns(UserWarning, match="ran out of data after 3 of 5"):
        assert model.predict(batches(), steps=5, verbose=0).shape == (12, 1)
    with pytest.warns(UserWarning, match="ran out of data after 3 of 4"):
        model.evaluate(batches(), steps=4, verbose=0)
    model.fit(batches(), steps_per_epoch=3, verbose=0)


def test_an_endless_generator_is_not_read_past_the_steps():
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield np.zeros((2, 3)), np.full(2, taken[-1])

    data = adapt(endless(), steps=2)
    assert firsts(data, 0, 1) == [[0, 1], [2, 3]]
    assert taken == [0, 1, 2, 3]


def test_a_peeked_batch_still_comes():
    data = adapt(pairs(0, 1, 2), steps=2)
    assert data.peek()[1].tolist() == data.peek()[1].tolist() == [0, 0]
    assert firsts(data, 0, 1) == [[0, 1], [2]]


def test_an_iterable_begins_again_each_epoch():
    class Twice:
        def __iter__(self):
            return pairs(0, 1)

    data = adapt(Twice())
    assert data.num_batches is None and firsts(data, 0, 1) == [[0, 1], [0, 1]]
    assert firsts(adapt(Twice(), steps=2), 0, 1) == [[0, 1], [0, 1]]


def test_a_stream_without_batches_cannot_be_peeked_into():
    with pytest.raises(ValueError, match="without a single batch"):
        adapt(iter(())).peek()


def test_errors_cross_the_thread_and_none_is_left():
    def broken():
        yield np.zeros((2, 3))
        raise KeyError("lost")

    before = threading.active_count()
    with pytest.raises(KeyError, match="lost"):
        batches(adapt(broken()))
    assert threading.active_count() == before


def test_closing_early_ends_the_thread():
    before = threading.active_count()
    running = adapt(pairs(*range(100))).batches(0)
    next(running)
    assert threading.active_count() == before + 1
    running.close()
    assert threading.active_count() == before


def test_one_batch_is_made_ahead():
    made = threading.Event()

    def watched():
        yield np.zeros(1)
        made.set()
        yield np.zeros(1)

    running = adapt(watched()).batches(0)
    next(running)
    assert made.wait(5)  # before it is asked for
    running.close()


def test_class_weights_apply_to_streams():
    ((_, _, weight),) = batches(adapt(pairs(1), class_weight={1: 4.0}))
    assert weight.tolist() == [4.0, 4.0]


def fake(module, name, items, **attributes):
    """An object of a type that looks like a framework's."""
    attributes |= {"__iter__": lambda self: iter(items), "__len__": lambda self: len(items)}
    return type(name, (), {"__module__": module, **attributes})()


def test_torch_loaders_give_lists():
    loader = fake("torch.utils.data.dataloader", "DataLoader", [[np.zeros((2, 3)), np.zeros(2)]])
    data = adapt(loader)
    assert data.kind == "torch DataLoader" and data.num_batches == 1
    assert batches(data)[0][1].shape == (2,)


def test_tf_data_says_its_length():
    module = "tensorflow.python.data.ops.dataset_ops"
    known = fake(module, "Dataset", list(pairs(1, 2)), element_spec=None, cardinality=lambda s: 2)
    endless = fake(module, "Dataset", [], element_spec=None, cardinality=lambda s: -1)
    assert adapt(known).num_batches == 2 and adapt(endless).num_batches is None
    assert adapt(known).kind == "tf.data.Dataset" and firsts(adapt(known), 0) == [[1, 2]]


# PyDataset ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order(workers):
    data = adapt(Numbered(20, workers=workers, max_queue_size=4))
    assert data.num_batches == 20 and firsts(data, 0, 1) == [list(range(20))] * 2


def test_epochs_begin_and_end():
    source = Numbered()
    data = adapt(source)
    data.peek()
    for epoch in (0, 1):
        batches(data, epoch)
    assert source.events == ["begin", "end"] * 2


def test_numbers_are_shuffled_by_the_seed():
    data = adapt(Numbered(20), shuffle=True, seed=3)
    (first, second) = firsts(data, 0, 1)
    assert sorted(first) == list(range(20)) and first != second
    assert firsts(adapt(Numbered(20), shuffle=True, seed=3), 1) == [second]


def test_steps_of_a_dataset_go_on_as_in_keras():
    assert firsts(adapt(Numbered(3), steps=2), 0, 1, 2) == [[0, 1], [2], [0, 1]]


def test_a_dataset_may_have_no_end():
    class Endless(Numbered):
        num_batches = None

    data = adapt(Endless(), steps=2, shuffle=True)
    assert data.num_batches == 2 and firsts(data, 0, 1) == [[0, 1], [2, 3]]


def test_a_dataset_without_super_is_warned_about_once():
    class Forgetful(Numbered):
        def __init__(self):
            self.length, self.events = 2, []

    with pytest.warns(UserWarning, match="super"):
        assert firsts(adapt(Forgetful()), 0) == [[0, 1]]


def test_a_dataset_needs_a_length():
    class Formless(PyDataset):
        pass

    with pytest.raises(NotImplementedError, match="num_batches"):
        adapt(Formless())
    with pytest.raises(NotImplementedError, match="__getitem__"):
        Formless()[0]


# Batches as tuples --------------------------------------------------------------------------------
def test_unpacking_fills_with_none():
    assert unpack_x_y_sample_weight(1) == (1, None, None)
    assert unpack_x_y_sample_weight((1,)) == (1, None, None)
    assert unpack_x_y_sample_weight([1, 2]) == (1, 2, None)
    assert unpack_x_y_sample_weight((1, 2, 3)) == (1, 2, 3)


@pytest.mark.parametrize("args", [(1,), ([1],), (1, 2), (1, 2, 3), (1, None, 3)])
def test_keras_packs_alike(args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras")
    assert pack_x_y_sample_weight(*args) == keras.utils.pack_x_y_sample_weight(*args)
