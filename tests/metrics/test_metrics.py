"""Metrics against Keras's, on every backend, in traces, and their parts."""

import warnings

import keras
import numpy as np
import pytest

import oneiros
from oneiros import losses, metrics, ops
from oneiros.core.graph import Graph, Trace, run
from oneiros.core.masks import set_mask
from oneiros.core.symbol import Symbol
from tests.metrics.cases import ROWS, batches

# Keras reads its own variables in a way that NumPy 2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = [f"{name}-{i}" for i, (name, _, _) in enumerate(ROWS)]


def near(made, expected, tolerance=3e-5):
    made, expected = np.asarray(made), np.asarray(expected)
    assert made.shape == expected.shape
    np.testing.assert_allclose(made, expected, rtol=tolerance, atol=tolerance)


def oracle(function, *args, **kwargs):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def arguments(batch, weighted):
    y_true, y_pred, weight = batch
    given = [y_true] if y_pred is None else [y_true, y_pred]
    return given, {"sample_weight": weight} if weighted else {}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_it_gives_what_keras_gives(row, weighted, backend, turn):
    name, kwargs, kind = row
    if weighted and not turn(f"{name}{kwargs}"):
        pytest.skip("another backend's turn")
    if weighted and "label_weights" in kwargs and not kwargs.get("multi_label"):
        pytest.skip("weights of samples and of labels together: Keras fails")
    ours, theirs = getattr(metrics, name)(**kwargs), getattr(keras.metrics, name)(**kwargs)
    for batch in batches(kind):
        given, weight = arguments(batch, weighted)
        try:
            oracle(theirs.update_state, *given, **weight)
        except ValueError:
            pytest.skip("Keras takes no such weights")
        ours.update_state(*given, **weight)
    assert [v.path.split("/")[-1] for v in ours.variables] == [
        v.path.split("/")[-1] for v in theirs.variables
    ]
    for v, w in zip(ours.variables, theirs.variables):
        assert v.dtype == w.dtype
        near(v.numpy(), w.numpy())
    near(ours.result(), oracle(theirs.result))
    ours.reset_state()
    assert not any(v.numpy().any() for v in ours.variables)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_a_trace_gives_the_same(row, backend, turn):
    name, kwargs, kind = row
    if not turn(f"{name}{kwargs}"):
        pytest.skip("another backend's turn")
    batch = batches(kind)[0]
    given, weight = arguments(batch, True)
    given = [np.asarray(x, "float32" if x.dtype.kind == "f" else "int32") for x in given]
    eager, traced = getattr(metrics, name)(**kwargs), getattr(metrics, name)(**kwargs)
    eager.update_state(*given, **weight)
    if not traced.variables or name in ("FBetaScore", "F1Score", "R2Score"):
        traced.update_state(*given, **weight)  # its sums are made by the first batch
        traced.reset_state()
    with Trace() as t:
        state = [Symbol(v.shape, v.dtype) for v in traced.variables]
        inputs = [Symbol(x.shape, str(x.dtype)) for x in (*given, weight["sample_weight"])]
        new = traced.stateless_update_state(state, *inputs[:-1], sample_weight=inputs[-1])
        result = traced.stateless_result(new)
    graph = Graph(t.calls, [*state, *inputs], [*new, result])
    values = [v.value for v in traced.variables] + [
        ops.convert_to_tensor(x) for x in (*given, weight["sample_weight"])
    ]
    made = run(graph, values)
    for value, v in zip(made, eager.variables):
        near(value, v.numpy())
    near(made[-1], eager.result())


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_its_config_is_keras_s_and_makes_it_again(row):
    name, kwargs, _ = row
    ours = getattr(metrics, name)(**kwargs, name="m")
    theirs = getattr(keras.metrics, name)(**kwargs, name="m")
    config = ours.get_config()
    expected = theirs.get_config()
    if expected.get("label_weights") is not None:
        expected["label_weights"] = pytest.approx(expected["label_weights"].tolist())
    assert all(config[key] == value for key, value in expected.items())
    if not set(kwargs) & {"axis", "from_sorted_ids"}:
        assert expected.keys() == config.keys()
    assert type(ours).from_config(config).get_config() == config
    written = metrics.serialize(ours)
    assert written["module"] == "keras.metrics"
    assert written["class_name"] == name
    assert metrics.deserialize(written).get_config() == config
    assert getattr(ours, "_direction", None) == getattr(theirs, "_direction", None)


def test_masks_are_allowed_for(backend):
    rng = np.random.default_rng(0)
    y_true = rng.standard_normal((4, 3, 2)).astype("float32")
    y_pred = rng.standard_normal((4, 3, 2)).astype("float32")
    mask = rng.random((4, 3)) > 0.4
    for weight in (None, rng.random((4, 3)).astype("float32"), np.ones((4, 3, 1), "float32")):
        theirs_pred, ours_pred = y_pred.copy(), ops.convert_to_tensor(y_pred.copy())
        keras.src.backend.set_keras_mask(theirs_pred, mask)
        set_mask(ours_pred, ops.convert_to_tensor(mask))
        theirs = keras.metrics.MeanSquaredError()(y_true, theirs_pred, sample_weight=weight)
        near(metrics.MeanSquaredError()(y_true, ours_pred, sample_weight=weight), theirs)


# Uneven batches, and every shape that weights may have
@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_batches_of_any_size_in_any_split_give_what_keras_gives(row, backend, turn):
    name, kwargs, kind = row
    if not turn(f"{name}{kwargs}"):
        pytest.skip("another backend's turn")
    made = [getattr(metrics, name)(**kwargs) for _ in range(3)]
    theirs = getattr(keras.metrics, name)(**kwargs)
    whole, first, second = made
    shapes = [None, (-1,), (-1, 1), ()]
    if name in ("F1Score", "FBetaScore", "R2Score"):
        shapes = [None, (-1,), (-1,), (-1,)]  # Keras takes others amiss
    for i, (size, (y_true, y_pred, weight)) in enumerate(zip((5, 1, 8), batches(kind))):
        given = [x[:size] for x in (y_true, y_pred) if x is not None]
        for shape in (shapes[i], shapes[i + 1]):
            weight = weight[:1] if shape == () else weight[:size]
            weights = {} if shape is None else {"sample_weight": np.reshape(weight, shape)}
            try:
                oracle(theirs.update_state, *given, **weights)
            except ValueError:
                continue  # where NumPy's Keras takes no such weights
            whole.update_state(*given, **weights)
            (first if i == 1 else second).update_state(*given, **weights)
    expected = oracle(theirs.result)
    near(whole.result(), expected)
    first.merge_state([second])
    near(first.result(), expected)
    first.reset_state()
    first.merge_state([whole])
    near(first.result(), expected)
    getattr(metrics, name)(**kwargs).merge_state([whole])


def test_only_metrics_of_one_kind_can_be_merged():
    with pytest.raises(ValueError, match="merge_state"):
        metrics.Mean().merge_state([metrics.AUC()])


WATCHED = ["labels", "label column"]


def test_a_compiled_model_reports_what_keras_s_metrics_give(backend):
    """All metrics of labels in [0, 1], over batches of 5, 5 and 3 rows with weights."""
    x = np.random.default_rng(2).random((13, 4)).astype("float32")
    y = (np.random.default_rng(3).random((13, 4)) < 0.4).astype("float32")
    weight = np.random.default_rng(4).random(13).astype("float32")
    rows = [(n, k) for n, k, kind in ROWS if kind in WATCHED and n != "BinaryIoU"]
    rows = [(n, k) for n, k in rows if "label_weights" not in k or "multi_label" in k]
    ours = [getattr(metrics, n)(**k, name=f"m{i}") for i, (n, k) in enumerate(rows)]
    model = oneiros.Sequential([oneiros.Input((4,)), oneiros.layers.Identity()])
    model.compile("sgd", "mse", weighted_metrics=ours)
    made = model.evaluate(x, y, sample_weight=weight, batch_size=5, verbose=0, return_dict=True)
    for i, (n, k) in enumerate(rows):
        theirs = getattr(keras.metrics, n)(**k)
        oracle(theirs.update_state, y, x, sample_weight=weight)
        expected = np.asarray(oracle(theirs.result))
        if expected.shape == ():
            near(made[f"m{i}"], expected, 1e-4)
    for one, two in zip(ours, [metrics.deserialize(metrics.serialize(m)) for m in ours]):
        assert one.get_config() == two.get_config()


class Share(metrics.Metric):
    """The share of positive predictions, in the way that Keras's users write metrics."""

    def __init__(self, name="share", **kwargs):
        super().__init__(name=name, **kwargs)
        self.hits = self.add_weight(name="hits", initializer="zeros")
        self.seen = self.add_variable(shape=(), initializer="zeros", name="seen")
        self.mean = metrics.Mean(name="inner")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.hits.assign_add(ops.sum(ops.cast(y_pred > 0.5, "float32")))
        self.seen.assign(self.seen + ops.shape(y_pred)[0])
        self.mean.update_state(y_pred)

    def result(self):
        return {"share": self.hits / self.seen, "mean": self.mean.result()}


def test_a_subclass_as_in_keras(backend):
    metric = Share()
    made = metric([1.0, 0.0], np.array([0.9, 0.1]))
    near(made["share"], 0.5)
    near(made["mean"], 0.5)
    assert [v.path for v in metric.variables] == [
        "share/hits",
        "share/seen",
        "inner/total",
        "inner/count",
    ]
    assert metric.get_config() == {"name": "share", "dtype": "float32"}
    with Trace() as t:
        state = [Symbol(v.shape, v.dtype) for v in metric.variables]
        x = Symbol((2,))
        new = metric.stateless_update_state(state, x, x)
    graph = Graph(t.calls, [*state, x], new)
    zeros = metric.stateless_reset_state()
    values = run(graph, [*zeros, ops.convert_to_tensor(np.array([0.9, 0.1], "float32"))])
    near(values[0], 1.0)
    near(metric.hits.numpy(), 1.0)  # untouched by the trace
    near(metric.stateless_result(values)["share"], 0.5)
    metric.reset_state()
    near(metric.hits.numpy(), 0.0)


def test_a_subclass_of_a_built_in_metric(backend):
    class ArgmaxIoU(metrics.MeanIoU):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(y_true, ops.argmax(y_pred, axis=-1), sample_weight)

    metric = ArgmaxIoU(num_classes=2, name="iou")
    near(metric([0, 1], [[0.9, 0.1], [0.2, 0.8]]), 1.0)
    assert metric.get_config()["num_classes"] == 2
    mean = metrics.Mean(name="loss")
    near(mean(3.0), 3.0)
    assert mean.total.numpy() == 3.0


def test_stateless_calls_check_their_state():
    metric = metrics.Mean()
    with pytest.raises(ValueError, match="2 values"):
        metric.stateless_update_state([1.0], [2.0])
    with pytest.raises(NotImplementedError, match="update_state"):
        metrics.Metric().update_state()


def test_a_forgotten_super_init_is_told():
    class Forgetful(metrics.Metric):
        def __init__(self):
            self.seen = self.add_weight(name="seen")

    with pytest.raises(RuntimeError, match="super"):
        Forgetful()


def test_names_stand_for_metrics():
    assert isinstance(metrics.get("mse"), metrics.MeanSquaredError)
    assert isinstance(metrics.get("AUC"), metrics.AUC)
    assert isinstance(metrics.get("auc"), metrics.AUC)
    assert isinstance(metrics.get(metrics.AUC), metrics.AUC)
    assert metrics.get(metrics.binary_accuracy) is metrics.binary_accuracy
    assert metrics.get(None) is None
    for wrong in ("nothing", 3):
        with pytest.raises(ValueError, match="metric"):
            metrics.get(wrong)


def test_all_names_of_keras_are_known():
    from keras.src.metrics import ALL_OBJECTS_DICT

    assert set(ALL_OBJECTS_DICT) <= set(metrics.TABLE)


@pytest.mark.parametrize(
    "true, pred, kind",
    [
        ((3, 1), (3, 1), "Binary"),
        ((3,), (3, 1), "Binary"),
        ((None, 2), (None, 1), "Binary"),
        ((3, 5), (3, 5, 1), "Binary"),
        ((3,), (3, 4), "SparseCategorical"),
        ((3, 1), (3, 4), "SparseCategorical"),
        ((3, 5), (3, 5, 4), "SparseCategorical"),
        ((3, 5, 1), (3, 5, 4), "SparseCategorical"),
        ((3, 4), (3, 4), "Categorical"),
        ((3, 5, 4), (3, 5, 4), "Categorical"),
    ],
)
def test_accuracy_is_chosen_by_shape(true, pred, kind):
    true, pred = oneiros.KerasTensor(true), oneiros.KerasTensor(pred)
    made = metrics.accuracy_for(true, pred, "acc")
    assert type(made).__name__ == f"{kind}Accuracy"
    assert made.name == "acc"
    assert type(metrics.crossentropy_for(true, pred)).__name__ == f"{kind}Crossentropy"


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: metrics.AUC(curve="x"), ["curve", "'x'"]),
        (lambda: metrics.AUC(num_thresholds=1), ["num_thresholds", "1"]),
        (lambda: metrics.AUC(summation_method="x"), ["summation_method"]),
        (lambda: metrics.Precision(thresholds=[2.0]), ["thresholds", "2.0"]),
        (lambda: metrics.RecallAtPrecision(2), ["precision", "2"]),
        (lambda: metrics.SensitivityAtSpecificity(0.5, num_thresholds=0), ["num_thresholds"]),
        (lambda: metrics.F1Score(average="x"), ["average", "'x'"]),
        (lambda: metrics.F1Score(threshold=2.0), ["threshold", "2.0"]),
        (lambda: metrics.FBetaScore(beta=-1.0), ["beta"]),
        (lambda: metrics.R2Score(class_aggregation="x"), ["class_aggregation"]),
        (lambda: metrics.R2Score(num_regressors=-1), ["num_regressors"]),
        (lambda: metrics.IoU(2, [3]), ["target_class_ids", "3"]),
        (lambda: metrics.F1Score()(np.ones(3), np.ones(3)), ["(3,)"]),
        (
            lambda: metrics.MeanSquaredError()(np.ones((2, 3)), np.ones((2, 4))),
            ["(2, 3)", "(2, 4)"],
        ),
    ],
)
def test_errors_say_what_was_given(call, words):
    with pytest.raises(ValueError) as error:
        call()
    for word in words:
        assert word in str(error.value)


def test_auc_takes_no_matrix_of_predictions_by_thresholds():
    """Evenly spaced thresholds cost one pass over predictions, and one over thresholds."""
    metric = metrics.AUC(num_thresholds=500)
    with Trace() as t:
        state = [Symbol(v.shape, v.dtype) for v in metric.variables]
        x = Symbol((1000,))
        metric.stateless_update_state(state, x, x)
    assert max(s.size for call in t.calls for s in call.outputs) <= 2000


def test_lists_of_numbers_are_taken(backend):
    near(metrics.MeanSquaredError()([[0.0, 1.0]], [[1.0, 1.0]]), 0.5)
    near(metrics.BinaryAccuracy()([1, 0], [0.9, 0.2]), 1.0)
    assert losses.get("mse") is metrics.mean_squared_error
