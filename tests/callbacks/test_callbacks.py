"""Callbacks hear of training, steer it, and write down what it gave."""

import csv
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

import oneiros
from oneiros import callbacks, layers, utils
from oneiros.callbacks.callback import HOOKS

DRAW = np.random.default_rng(0)
X = DRAW.random((64, 4), "float32")
Y = (X.sum(1) > 2).astype("int32")


def compiled(*extra, optimizer="adam", loss="binary_crossentropy"):
    model = oneiros.Sequential(
        [oneiros.Input((4,)), layers.Dense(4), *extra, layers.Dense(1, activation="sigmoid")]
    )
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def fit(*listeners, model=None, epochs=2, **options):
    model = model or compiled()
    history = model.fit(X, Y, epochs=epochs, verbose=0, callbacks=list(listeners), **options)
    return history, model


class Says(callbacks.Callback):
    """Puts values of its own into the logs."""

    def __init__(self, values, name="val_loss"):
        super().__init__()
        self.values, self.name = values, name

    def on_epoch_end(self, epoch, logs=None):
        logs[self.name] = self.values[epoch]


class Silent:
    """A model for callbacks that need none."""

    stop_training = False
    metrics = ()
    optimizer = None

    def get_weights(self):
        return []

    def set_weights(self, weights):
        pass


# Hooks --------------------------------------------------------------------------------------------
class Records(callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.heard = []


def _record(name):
    def hook(self, *args, **kwargs):
        self.heard.append(name)

    return hook


for name in HOOKS:
    setattr(Records, name, _record(name))


def test_fit_tells_of_every_moment():
    heard = Records()
    fit(heard, epochs=1, batch_size=32, validation_data=(X, Y))
    batches = ["on_train_batch_begin", "on_train_batch_end"] * 2
    tests = ["on_test_batch_begin", "on_test_batch_end"] * 2
    assert heard.heard == [
        "on_train_begin",
        "on_epoch_begin",
        *batches,
        "on_test_begin",
        *tests,
        "on_test_end",
        "on_epoch_end",
        "on_train_end",
    ]


def test_evaluate_and_predict_tell_too():
    heard, model = Records(), compiled()
    model.evaluate(X, Y, verbose=0, callbacks=[heard], batch_size=64)
    model.predict(X, verbose=0, callbacks=[heard], batch_size=64)
    moments = [f"on_{p}_{m}" for p in ("test", "predict") for m in MOMENTS]
    assert heard.heard == moments


MOMENTS = ("begin", "batch_begin", "batch_end", "end")


def test_batch_hooks_have_older_names():
    class Older(callbacks.Callback):
        seen = 0

        def on_batch_end(self, batch, logs=None):
            self.seen += 1
            assert set(logs) == {"loss", "accuracy"}

    heard = Older()
    fit(heard, batch_size=16, epochs=1)
    assert heard.seen == 4


def test_callbacks_know_the_model_and_the_run():
    class Knows(callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.known = dict(self.params)

    knows = Knows()
    _, model = fit(knows, epochs=3, batch_size=16)
    assert knows.model is model
    assert knows.known == {"verbose": 0, "epochs": 3, "steps": 4}


@pytest.mark.parametrize(
    "listener, needed",
    [
        (callbacks.History(), False),
        (callbacks.ProgbarLogger(), False),
        (callbacks.EarlyStopping(), False),
        (callbacks.TerminateOnNaN(), False),
        (callbacks.ModelCheckpoint("a.keras"), False),
        (callbacks.ModelCheckpoint("a.keras", save_freq=3), True),
        (callbacks.BackupAndRestore("a"), False),
        (callbacks.LambdaCallback(on_epoch_end=print), False),
        (callbacks.LambdaCallback(on_train_batch_end=print), True),
        (callbacks.LambdaCallback(on_test_batch_begin=print), True),
        (callbacks.Callback(), False),
        (Records(), True),
    ],
)
def test_only_callbacks_with_batch_hooks_need_batches(listener, needed):
    assert callbacks.CallbackList([listener]).needs_batches is needed


def test_hooks_that_nobody_defines_do_not_read_the_logs():
    class Unread(dict):
        def items(self):
            raise AssertionError("read")

        __iter__ = __len__ = __getitem__ = items

    listeners = callbacks.CallbackList([], add_progbar=True, add_history=True, model=Silent())
    listeners.set_params({"verbose": 0, "epochs": 1, "steps": 2})
    listeners.on_train_begin()
    listeners.on_epoch_begin(0)
    listeners.on_train_batch_end(0, Unread())


def test_a_list_adds_what_is_missing():
    own = callbacks.History()
    listeners = callbacks.CallbackList(own, add_history=True, add_progbar=True, model=Silent())
    assert [type(c).__name__ for c in listeners.callbacks] == ["History", "ProgbarLogger"]
    assert callbacks.CallbackList().callbacks == []


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="a callback must be"):
        callbacks.CallbackList([3])


def test_keras_callbacks_are_taken():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = pytest.importorskip("keras")
    seen = []

    class Theirs(keras.callbacks.Callback):
        def set_model(self, model):
            self._model = model

        def on_epoch_end(self, epoch, logs=None):
            seen.append(sorted(logs))

    fit(Theirs(), epochs=1)
    assert seen == [["accuracy", "loss"]]
    assert not callbacks.CallbackList([Theirs()]).needs_batches


def test_history_has_a_value_for_each_epoch():
    history, model = fit(epochs=3, validation_data=(X, Y))
    assert model.history is history and history.epoch == [0, 1, 2]
    assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert all(len(values) == 3 for values in history.history.values())
    assert all(isinstance(v, float) for values in history.history.values() for v in values)


def test_lambda_callbacks_take_any_hook():
    heard = []
    fit(
        callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: heard.append(epoch),
            on_train_end=lambda logs: heard.append("end"),
            on_test_begin=lambda logs: heard.append("test"),
        ),
        validation_data=(X, Y),
        epochs=1,
    )
    assert heard == ["test", 0, "end"]


# Against Keras ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def keras_callbacks():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("keras").callbacks


SERIES = [
    [1.0, 0.9, 0.8, 0.7, 0.5, 0.4],
    [1.0, 1.9, 0.8, 0.7, 0.5, 0.4],
    [0.5, 0.6, 0.7, 0.4, 0.6, 0.7, 0.8],
    [1.0, 0.95, 0.93, 0.91, 0.5, 0.6, 0.6],
    [3.0, 2.0, 2.0, 2.0, 1.0, 1.0],
    [float("nan"), 2.0, 1.0, 3.0],
]
STOPPING = [
    {},
    {"patience": 2},
    {"patience": 1, "min_delta": 0.1},
    {"patience": 2, "baseline": 0.6},
    {"start_from_epoch": 3},
    {"mode": "max", "patience": 1},
    {"restore_best_weights": True, "patience": 1},
]


@pytest.mark.parametrize("options", STOPPING, ids=str)
@pytest.mark.parametrize("values", SERIES, ids=range(len(SERIES)))
def test_early_stopping_stops_where_keras_does(options, values, keras_callbacks):
    traces = []
    for module in (keras_callbacks, callbacks):
        stopping = module.EarlyStopping("loss", **{"mode": "min"} | options)
        model, trace = Silent(), []
        stopping.set_model(model)
        stopping.on_train_begin()
        for epoch, value in enumerate(values):
            stopping.on_epoch_end(epoch, {"loss": value})
            trace.append((stopping.wait, str(stopping.best), stopping.stopped_epoch))
            if model.stop_training:
                break
        traces.append((trace, stopping.best_epoch))
    assert traces[0] == traces[1]


PLATEAU = [{}, {"patience": 1}, {"patience": 2, "cooldown": 2}, {"patience": 1, "min_lr": 0.05}]


@pytest.mark.parametrize("options", PLATEAU, ids=str)
@pytest.mark.parametrize("values", SERIES, ids=range(len(SERIES)))
def test_the_rate_falls_where_it_does_in_keras(options, values, keras_callbacks):
    traces = []
    for module in (keras_callbacks, callbacks):
        falling = module.ReduceLROnPlateau("loss", mode="min", factor=0.5, **options)
        model, trace = Silent(), []
        model.optimizer = type("Any", (), {"learning_rate": np.float32(0.25)})()
        falling.set_model(model)
        falling.on_train_begin()
        for epoch, value in enumerate(values):
            logs = {"loss": value}
            falling.on_epoch_end(epoch, logs)
            rate = float(model.optimizer.learning_rate)
            trace.append((rate, float(logs["learning_rate"]), falling.wait, falling.in_cooldown()))
        traces.append(trace)
    assert traces[0] == traces[1]


# Stopping -----------------------------------------------------------------------------------------
def test_the_best_weights_come_back():
    kept = {}

    class Keeps(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = self.model.get_weights()

    stopping = callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    history, model = fit(Keeps(), Says([3, 2, 4, 5, 6, 7]), stopping, epochs=6)
    assert history.epoch == [0, 1, 2, 3] and stopping.best_epoch == 1
    for a, b in zip(model.get_weights(), kept[1]):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(kept[1], kept[3]))


def test_the_way_that_is_better_is_read_from_the_metric():
    stopping = callbacks.EarlyStopping("val_accuracy")
    fit(stopping, validation_data=(X, Y), epochs=1)
    assert stopping.monitor_op is np.greater
    stopping = callbacks.EarlyStopping("loss")
    fit(stopping, epochs=1)
    assert stopping.monitor_op is np.less


def test_an_unknown_way_is_an_error():
    with pytest.raises(ValueError, match="high or low"):
        fit(Says([1, 2], "foo"), callbacks.EarlyStopping("foo"))


def test_a_missing_log_is_a_warning():
    with pytest.warns(UserWarning, match="no log 'val_loss'.*accuracy"):
        fit(callbacks.EarlyStopping(), epochs=1)


def test_an_unknown_mode_counts_as_auto():
    with pytest.warns(UserWarning, match="'foo'"):
        assert callbacks.EarlyStopping(mode="foo").mode == "auto"


def test_stopping_says_so(capsys):
    fit(Says([1, 2, 3]), callbacks.EarlyStopping(verbose=1), epochs=3)
    assert "Epoch 2: early stopping" in capsys.readouterr().out


def test_training_ends_on_nan(capsys):
    def broken(y, x):
        return x * np.float32("nan")

    history, _ = fit(callbacks.TerminateOnNaN(), model=compiled(loss=broken), epochs=3)
    assert history.epoch == [0] and "Invalid loss" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="NaN or Inf"):
        fit(callbacks.TerminateOnNaN(raise_error=True), model=compiled(loss=broken))


# Rates --------------------------------------------------------------------------------------------
def test_the_scheduler_sets_the_rate(backend):
    history, model = fit(callbacks.LearningRateScheduler(lambda epoch: 0.1 * (epoch + 1)))
    np.testing.assert_allclose(history.history["learning_rate"], [0.1, 0.2], rtol=1e-6)
    np.testing.assert_allclose(float(model.optimizer.learning_rate), 0.2, rtol=1e-6)


def test_the_scheduler_may_know_the_rate():
    history, _ = fit(callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2), epochs=3)
    np.testing.assert_allclose(history.history["learning_rate"], [5e-4, 2.5e-4, 1.25e-4], rtol=1e-6)


def test_a_rate_must_be_a_number():
    with pytest.raises(ValueError, match="'a'"):
        fit(callbacks.LearningRateScheduler(lambda epoch: "a"))


def test_a_factor_must_lower_the_rate():
    with pytest.raises(ValueError, match="below 1"):
        callbacks.ReduceLROnPlateau(factor=1.0)


def test_a_lowered_rate_trains_on(backend):
    history, _ = fit(
        Says([1, 2, 3, 4]), callbacks.ReduceLROnPlateau(patience=1, factor=0.5), epochs=4
    )
    np.testing.assert_allclose(
        history.history["learning_rate"], [1e-3, 1e-3, 5e-4, 2.5e-4], rtol=1e-6
    )


def test_averages_stand_in_for_the_weights_in_evaluation():
    optimizer = oneiros.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
    seen = {}

    class Looks(callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen["train"] = self.model.get_weights()[0]

        def on_test_batch_end(self, batch, logs=None):
            seen["test"] = self.model.get_weights()[0]
            seen["average"] = optimizer._averages[0].numpy()

    fit(
        callbacks.SwapEMAWeights(),
        Looks(),
        model=compiled(optimizer=optimizer),
        validation_data=(X, Y),
        epochs=1,
    )
    assert (seen["test"] != seen["average"]).any()  # swapped: the weights wait in their place
    with pytest.raises(ValueError, match="use_ema"):
        fit(callbacks.SwapEMAWeights())


# Files --------------------------------------------------------------------------------------------
def test_checkpoints_are_named_for_the_epoch_and_the_logs(tmp_path):
    _, model = fit(callbacks.ModelCheckpoint(tmp_path / "in" / "m-{epoch:02d}-{loss:.3f}.keras"))
    names = sorted(path.name for path in (tmp_path / "in").iterdir())
    losses = model.history.history["loss"]
    assert names == [f"m-{i + 1:02d}-{loss:.3f}.keras" for i, loss in enumerate(losses)]
    loaded = oneiros.models.load_model(tmp_path / "in" / names[-1])
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


def test_only_the_best_is_kept(tmp_path, capsys):
    path = tmp_path / "best.weights.h5"
    kept = {}

    class Keeps(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            kept[epoch] = self.model.get_weights()

    checkpoint = callbacks.ModelCheckpoint(
        path, save_best_only=True, save_weights_only=True, verbose=1
    )
    _, model = fit(Keeps(), Says([3, 1, 2]), checkpoint, epochs=3)
    assert checkpoint.best == 1
    model.load_weights(path)
    for a, b in zip(model.get_weights(), kept[1]):
        np.testing.assert_array_equal(a, b)
    said = capsys.readouterr().out
    assert "improved from 3.00000 to 1.00000" in said and "did not improve from 1.00000" in said


def test_a_threshold_must_be_improved_on(tmp_path):
    path = tmp_path / "m.keras"
    fit(
        callbacks.ModelCheckpoint(
            path, "loss", save_best_only=True, initial_value_threshold=0.0, mode="min"
        )
    )
    assert not path.exists()


def test_checkpoints_may_go_by_batches(tmp_path):
    path = str(tmp_path / "{epoch}-{batch}.weights.h5")
    fit(
        callbacks.ModelCheckpoint(path, save_weights_only=True, save_freq=3),
        batch_size=16,
        epochs=2,
    )
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["1-3.weights.h5", "2-2.weights.h5"]


def test_without_the_log_every_model_is_saved(tmp_path):
    with pytest.warns(UserWarning, match="no number 'val_loss'"):
        fit(callbacks.ModelCheckpoint(tmp_path / "m.keras", save_best_only=True), epochs=1)
    assert (tmp_path / "m.keras").exists()


WRONG = [
    ({"filepath": "a.h5", "save_weights_only": True}, "must end in '.weights.h5'"),
    ({"filepath": "a"}, "must end in '.keras'"),
    ({"filepath": "a.keras", "save_freq": "foo"}, "'foo'"),
]


@pytest.mark.parametrize("options, message", WRONG)
def test_wrong_checkpoints_are_told(options, message):
    with pytest.raises(ValueError, match=message):
        callbacks.ModelCheckpoint(**options)


def test_a_name_that_no_log_has_is_told(tmp_path):
    with pytest.raises(KeyError, match="fooo"):
        fit(callbacks.ModelCheckpoint(tmp_path / "m-{fooo}.keras"))


class Breaks(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


def test_a_broken_run_goes_on_with_the_same_numbers(tmp_path, backend):
    def run(seed, *listeners):
        utils.set_random_seed(seed)
        model = compiled(layers.Dropout(0.3))
        stopping = callbacks.EarlyStopping(patience=9, restore_best_weights=True)
        history, _ = fit(
            *listeners, stopping, model=model, epochs=5, batch_size=16, validation_data=(X, Y)
        )
        return history, model, stopping

    whole, model, stopping = run(3)
    backup = tmp_path / "backup"
    with pytest.raises(KeyboardInterrupt):
        run(3, callbacks.BackupAndRestore(backup), Breaks())
    assert [p.name for p in backup.iterdir()] == ["latest.npz"]
    resumed, again, also = run(4, callbacks.BackupAndRestore(backup), callbacks.Callback())
    assert resumed.history == whole.history and resumed.epoch == whole.epoch
    assert (also.best, also.best_epoch, also.wait) == (
        stopping.best,
        stopping.best_epoch,
        stopping.wait,
    )
    for a, b in zip(again.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert not backup.exists()


def test_a_backup_of_another_model_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit(callbacks.BackupAndRestore(tmp_path / "b"), Breaks(), epochs=4)
    with pytest.raises(ValueError, match="another model"):
        fit(callbacks.BackupAndRestore(tmp_path / "b"), model=compiled(layers.Dense(3)))


def test_a_backup_needs_a_folder():
    with pytest.raises(ValueError, match="empty"):
        callbacks.BackupAndRestore("")
    with pytest.raises(ValueError, match="foo"):
        callbacks.BackupAndRestore("a", save_freq="foo")


def test_logs_go_to_a_csv_file(tmp_path):
    path = tmp_path / "log.csv"
    history, _ = fit(callbacks.CSVLogger(path))
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert [float(r["loss"]) for r in rows] == history.history["loss"]
    assert {r["val_loss"] for r in rows} == {"NA"}
    fit(callbacks.CSVLogger(path, append=True), validation_data=(X, Y))
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [r["epoch"] for r in rows] == ["0", "1", "0", "1"] and rows[-1]["val_loss"] != "NA"


def test_logs_go_to_a_server():
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        root = f"http://127.0.0.1:{server.server_port}"
        fit(callbacks.RemoteMonitor(root, send_as_json=True), epochs=1)
        fit(callbacks.RemoteMonitor(root), epochs=1)
        server.shutdown()
        thread.join()
    assert '"epoch": 0' in got[0] and got[1].startswith("data=%7B")


def test_a_server_that_is_not_there_is_a_warning():
    with pytest.warns(UserWarning, match="could not be reached"):
        fit(callbacks.RemoteMonitor("http://127.0.0.1:9"), epochs=1)
