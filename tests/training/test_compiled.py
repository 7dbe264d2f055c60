"""Losses and metrics are laid out over outputs as Keras lays them out."""

import warnings

import numpy as np
import pytest

from oneiros import losses, metrics, ops
from oneiros.core.graph import trace
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Spec
from oneiros.core.symbol import Symbol
from oneiros.training.compiled import CompileLoss, CompileMetrics

DRAW = np.random.default_rng(0)
A, B = DRAW.random((4, 3), "float32"), DRAW.random((4, 1), "float32")
PA, PB = DRAW.random((4, 3), "float32"), DRAW.random((4, 1), "float32")
LABELS = np.array([0, 1, 2, 0])
W = np.arange(4, dtype="float32")
NAMES = ["a", "b"]
LISTS = {"y": [A, B], "p": [PA, PB], "names": NAMES}
DICTS = {"y": {"a": A, "b": B}, "p": {"a": PA, "b": PB}, "names": NAMES}
NESTED = {"y": {"a": [A, B], "c": B}, "p": {"a": [PA, PB], "c": PB}, "names": ["a", "b", "c"]}
ONE = {"y": A, "p": PA}


@pytest.fixture(scope="module")
def keras():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import keras

        pytest.importorskip("keras.src.trainers.compile_utils")
    return keras.src.trainers.compile_utils


def row(loss=None, over=ONE, **given):
    return {"loss": loss, **over, **given}


# Losses -------------------------------------------------------------------------------------------
LOSSES = {
    "one": row("mse"),
    "one weighted": row("mse", sw=W),
    "one with a factor": row("mse", lw=2.0),
    "one in lists": row(["mse"], y=[A], p=[PA]),
    "one list on arrays": row(["mse"]),
    "one in a dict": row({"a": "mse"}, names=["a"]),
    "list": row(["mse", "mae"], LISTS),
    "list without names": row(["mse", "mae"], LISTS, names=None),
    "one for all": row("mse", LISTS),
    "one for all with a factor": row("mse", LISTS, lw=2.0),
    "factors in a list": row(["mse", "mae"], LISTS, lw=[2.0, 3.0]),
    "factors in a dict": row({"a": "mse", "b": "mae"}, LISTS, lw={"a": 2.0, "b": 3.0}),
    "None for one": row(["mse", None], LISTS),
    "dict over lists": row({"a": "mse", "b": "mae"}, LISTS),
    "dict over dicts": row({"a": "mse", "b": "mae"}, DICTS),
    "keys are not the names": row({"a": "mse", "b": "mae"}, DICTS, names=["o1", "o2"]),
    "targets in a dict only": row({"a": "mse", "b": "mae"}, LISTS, y={"a": A, "b": B}),
    "one loss over dicts": row("mse", DICTS),
    "targets for some": row({"a": "mse"}, DICTS, y={"a": A}),
    "weights in a list": row("mse", LISTS, sw=[W, np.ones(4, "float32")]),
    "weights in a dict": row("mse", DICTS, sw={"a": W, "b": np.ones(4, "float32")}),
    "one weight for all": row("mse", LISTS, sw=W),
    "targets in a tuple": row(["mse", "mae"], LISTS, y=(A, B)),
    "nested": row({"a": ["mse", "mae"], "c": "mae"}, NESTED),
    "one over nested": row("mse", NESTED),
    "outputs in a tuple": row("mse", y=(A, B), p=(PA, PB)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_those_of_keras(name, keras, backend):
    given = LOSSES[name]
    args = given["y"], given["p"], given.get("sw")
    theirs = keras.CompileLoss(given["loss"], given.get("lw"), output_names=given.get("names"))
    ours = CompileLoss(given["loss"], given.get("lw"), output_names=given.get("names"))
    for _ in range(2):
        np.testing.assert_allclose(float(ours(*args)), float(theirs(*args)), rtol=1e-5)
    assert [m.name for m in ours.metrics] == [m.name for m in theirs.metrics]
    for a, b in zip(ours.metrics, theirs.metrics):
        np.testing.assert_allclose(float(a.result()), float(b.result()), rtol=1e-5)
        np.testing.assert_allclose(a.variables[1].numpy(), np.asarray(b.variables[1].value))


def test_functions_classes_and_objects_are_losses():
    def error(y, x):
        return ops.mean(ops.abs(y - x), axis=-1)

    expected = np.abs(A - PA).mean()
    for loss in (
        error,
        losses.mean_absolute_error,
        losses.MeanAbsoluteError,
        losses.MeanAbsoluteError(),
    ):
        np.testing.assert_allclose(float(CompileLoss(loss)(A, PA)), expected, rtol=1e-6)


def test_several_losses_have_means_named_for_them():
    ours = CompileLoss([losses.Huber(name="soft"), "mae"])
    ours([A, B], [PA, PB])
    assert [m.name for m in ours.metrics] == ["soft_loss", "mae_loss"]


def test_one_factor_list_spreads_over_one_loss_for_all():
    weighted = CompileLoss("mse", [2.0, 3.0], NAMES)([A, B], [PA, PB])
    parts = [float(CompileLoss("mse")(y, p)) for y, p in ((A, PA), (B, PB))]
    np.testing.assert_allclose(float(weighted), 2 * parts[0] + 3 * parts[1], rtol=1e-6)


def test_no_loss_at_all_is_none():
    assert CompileLoss([None, None])([A, B], [PA, PB]) is None


WRONG = {
    "too many": (row(["mse", "mae", "mse"], LISTS), "3 entries, but the model has 2 outputs"),
    "too few": (row(["mse"], LISTS), "1 entries, but the model has 2 outputs"),
    "unknown name": (row({"a": "mse", "z": "mae"}, LISTS), r"'z'.*outputs are \['a', 'b'\]"),
    "unknown key": (row({"a": "mse", "z": "mae"}, DICTS, names=None), "'z'"),
    "unknown name of one": (row({"b": "mse"}, names=["a"]), r"'b'.*\['a'\]"),
    "names without names": (row({"a": "mse"}, LISTS, names=None), "without names"),
    "no targets": (row("mse", y=None), "no targets"),
    "no targets for one": (row("mse", LISTS, y=[A, None]), "'b' has a loss"),
    "one array for two": (row("mse", LISTS, y=A), "one array"),
    "two arrays for one": (row("mse", y=[A, B]), "one output; got 2"),
    "no such loss": (row("nope"), "nope"),
    "no loss": (row(3), "3"),
    "factors too many": (row("mse", LISTS, lw=[1.0, 2.0, 3.0]), "`loss_weights` has 3"),
    "weights unknown": (row("mse", LISTS, sw={"z": W}), "`sample_weight` names 'z'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mismatches_are_told(name):
    given, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        CompileLoss(given["loss"], given.get("lw"), given.get("names"))(
            given["y"], given["p"], given.get("sw")
        )


def test_a_loss_is_traced(backend):
    ours = CompileLoss(["mse", "mae"], [2.0, 1.0], NAMES)
    expected = float(ours([A, B], [PA, PB]))
    specs = [Spec(x.shape, "float32") for x in (A, B, PA, PB)]

    def step(*xs):
        with StatelessScope() as scope:
            total = ours(list(xs[:2]), list(xs[2:]))
            counts = [scope.get_current_value(v) for v in ours.variables]
        return [total, *counts]

    total, *_ = trace(step, specs)(A, B, PA, PB)
    np.testing.assert_allclose(float(total), expected, rtol=1e-6)


# Metrics ------------------------------------------------------------------------------------------
def mrow(metrics=None, over=ONE, **given):
    return {"m": metrics, **over, **given}


def distance(y, x):
    return y[..., 0] - x[..., 0]


METRICS = {
    "one": mrow(["mse"]),
    "tuple": mrow(("mse", "mae")),
    "accuracy of one-hot": mrow(["accuracy"]),
    "acc of one-hot": mrow(["acc"]),
    "accuracy of numbers": mrow(["accuracy"], y=LABELS),
    "accuracy of a column": mrow(["accuracy"], y=LABELS[:, None]),
    "accuracy of yes or no": mrow(["accuracy"], y=B > 0.5, p=PB),
    "accuracy of flat yes or no": mrow(["accuracy"], y=B[:, 0] > 0.5, p=PB),
    "function": mrow([distance]),
    "twice": mrow(["mse", "mse"]),
    "weighted": mrow(["mse"], w=["mae"], sw=W),
    "weighted and not": mrow(["mae", "mse"], w=["mse", "mae"], sw=W),
    "list": mrow(["mse", "mae"], LISTS),
    "lists": mrow([["mse"], ["mae", "mape"]], LISTS),
    "None for one": mrow([None, ["mae", "mape"]], LISTS),
    "nothing for one": mrow([[], ["mae", "mape"]], LISTS),
    "no names": mrow([["mse"], ["mae", "mape"]], LISTS, names=None),
    "dict": mrow({"a": "mse", "b": ["mae"]}, LISTS),
    "dict of some": mrow({"b": ["mae"]}, LISTS),
    "dict over dicts": mrow({"b": ["mae"], "a": "acc"}, DICTS),
    "keys are not the names": mrow({"b": ["mae"], "a": "acc"}, DICTS, names=["o1", "o2"]),
    "targets in a dict only": mrow({"b": ["mae"], "a": "acc"}, LISTS, y={"a": A, "b": B}),
    "list over dicts": mrow([["mae"], "acc"], DICTS),
    "several weighted": mrow(
        {"a": "mse"}, LISTS, w={"a": "mse", "b": "mae"}, sw=[W, np.ones(4, "float32")]
    ),
    "one weight for all": mrow({"a": "mse"}, LISTS, w={"a": "mse", "b": "mae"}, sw=W),
    "no weight": mrow({"a": "mse"}, LISTS, w={"a": "mse", "b": "mae"}),
    "one in a dict": mrow({"a": ["mse"]}, names=["a"]),
    "one in lists": mrow([["mse", "mae"]]),
    "arrays in lists": mrow(["mse", "mae"], y=[A], p=[PA]),
    "by class name": mrow(["AUC"], y=B > 0.5, p=PB),
    "none": mrow(None),
    "empty": mrow([]),
}


@pytest.mark.parametrize("name", METRICS)
def test_metrics_are_those_of_keras(name, keras, backend):
    given = METRICS[name]
    args = given["y"], given["p"], given.get("sw")
    theirs = keras.CompileMetrics(given["m"], given.get("w"), output_names=given.get("names"))
    ours = CompileMetrics(given["m"], given.get("w"), output_names=given.get("names"))
    for _ in range(2):
        theirs.update_state(*args)
        ours.update_state(*args)
    with np.errstate(all="ignore"):
        expected = theirs.result()
    result = ours.result()
    assert list(result) == list(expected)
    for key, value in expected.items():
        np.testing.assert_allclose(float(result[key]), float(value), rtol=1e-4)
    assert [m.name for m in ours.metrics] == [m.name for m in theirs.metrics]
    assert len(ours.variables) == len(theirs.variables)


WRONG_METRICS = {
    "a string": (mrow("mse"), "list, tuple or dict"),
    "a number": (mrow(3), "list, tuple or dict"),
    "one for two": (mrow(["mse"], LISTS), "1 entries, but the model has 2"),
    "three for two": (mrow(["mse"] * 3, LISTS), "3 entries"),
    "unknown output": (mrow({"c": ["mae"]}, LISTS), "'c'"),
    "names without names": (mrow({"a": ["mae"]}, LISTS, names=None), "without names"),
    "None": (mrow([None]), "None"),
    "no such metric": (mrow(["nope"]), "nope"),
    "no targets": (mrow([["mse"], ["mse"]], LISTS, y=[A, None]), "'b' has a metric"),
}


@pytest.mark.parametrize("name", WRONG_METRICS)
def test_mismatched_metrics_are_told(name):
    given, message = WRONG_METRICS[name]
    with pytest.raises(ValueError, match=message):
        CompileMetrics(given["m"], given.get("w"), given.get("names")).update_state(
            given["y"], given["p"]
        )


def test_crossentropy_goes_by_shape():
    ours = CompileMetrics(["crossentropy"], None)
    ours.update_state(LABELS, PA / PA.sum(-1, keepdims=True))
    assert type(ours.metrics[0]) is metrics.SparseCategoricalCrossentropy


def test_building_takes_symbols_and_makes_every_variable():
    ours = CompileMetrics(["accuracy", "F1Score", "R2Score"], None)
    assert not ours.built and ours.result() == {} and ours.variables == []
    ours.build(Symbol((None, 3)), Symbol((None, 3)))
    assert ours.built and len(ours.variables) > 6
    before = [v.numpy() for v in ours.variables]
    assert not any(v.any() for v in before)  # nothing was counted


def test_metrics_are_traced_and_reset(backend):
    ours = CompileMetrics(["accuracy", "mse"], ["mae"])
    ours.build(Symbol((None, 3)), Symbol((None, 3)))

    def step(y, p, w, *state):
        with StatelessScope(zip(ours.variables, state)) as scope:
            ours.update_state(y, p, w)
            return [scope.get_current_value(v) for v in ours.variables]

    state = [v.numpy() for v in ours.variables]
    specs = [Spec(x.shape, str(x.dtype)) for x in (A, PA, W, *state)]
    made = trace(step, specs)(A, PA, W, *state)
    ours.update_state(A, PA, W)
    for v, x in zip(ours.variables, made):
        np.testing.assert_allclose(v.numpy(), np.asarray(x), rtol=1e-6)
    ours.reset_state()
    assert not any(v.numpy().any() for v in ours.variables)


def test_a_metric_may_give_several_results():
    class Both(metrics.Metric):
        def update_state(self, y, x):
            pass

        def result(self):
            return {"u": 1.0, "v": 2.0}

    ours = CompileMetrics([Both(name="both"), "mse"], None)
    ours.update_state(A, PA)
    assert list(ours.result()) == ["u", "v", "mse"]


def test_a_users_metric_may_make_its_variables_late():
    class Late(metrics.Metric):
        def update_state(self, y, x):
            if not self.variables:
                self.total = self.add_variable((), "zeros", name="total")
            self.total.assign_add(ops.sum(x))

        def result(self):
            return self.total.value

    ours = CompileMetrics([Late(name="late")], None)
    ours.build(Symbol((None, 3)), Symbol((None, 3)))
    assert len(ours.variables) == 1
    ours.update_state(A, PA)
    np.testing.assert_allclose(float(ours.result()["late"]), PA.sum(), rtol=1e-5)
