"""Progress: a bar on a terminal, plain lines elsewhere."""

import contextlib
import io
import re
import sys

import numpy as np
import pytest

import oneiros
from oneiros import layers, utils
from oneiros.callbacks import ProgbarLogger
from oneiros.callbacks import progress as rooms

X, Y = np.zeros((64, 4), "float32"), np.zeros((64, 1), "float32")


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    return Terminal()


def model():
    made = oneiros.Sequential([oneiros.Input((4,)), layers.Dense(1)])
    made.compile("sgd", "mse")
    return made


def plain(text):
    """A text with its times taken out."""
    return re.sub(r"\d+(us|ms|s)\b", "T", text)


def test_a_file_gets_one_plain_line_for_each_epoch(capsys):
    model().fit(X, Y, epochs=2, verbose=1, validation_data=(X, Y))
    bar = "━" * 20
    line = f"2/2 {bar} T T/step - loss: 0.0000 - val_loss: 0.0000\n"
    assert plain(capsys.readouterr().out) == f"Epoch 1/2\n{line}Epoch 2/2\n{line}"


def test_verbose_2_is_a_short_line(capsys):
    made = model()
    made.fit(X, Y, epochs=1, verbose=2)
    made.evaluate(X, Y, verbose=2)
    made.predict(X, verbose=2)
    line = "2/2 - T - T/step - loss: 0.0000\n"
    assert plain(capsys.readouterr().out) == f"{line}{line}2/2 - T - T/step\n"


def test_verbose_0_is_silent(capsys):
    made = model()
    made.fit(X, Y, verbose=0)
    made.evaluate(X, Y, verbose=0)
    made.predict(X, verbose=0)
    assert capsys.readouterr().out == ""


def test_a_terminal_gets_a_bar_that_moves(terminal):
    with contextlib.redirect_stdout(terminal):
        bar = utils.Progbar(4, interval=0)
        for i in range(1, 5):
            bar.update(i, [("loss", 1 / i)])
        frames = terminal.getvalue().split("\r")[1:]
        assert len(frames) == 4 and frames[-1].endswith("\n")
        assert "2/4" in frames[1] and "loss: 0.5000" in frames[1]


def test_a_cell_of_a_notebook_gets_a_bar_that_moves(monkeypatch):
    cell = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})()
    monkeypatch.setattr(sys, "stdout", cell)
    bar = utils.Progbar(2, interval=0)
    bar.update(1)
    bar.update(2)
    assert cell.getvalue().count("\r") == 2 and cell.getvalue().endswith("\n")


def test_a_bar_is_drawn_no_more_often_than_asked(terminal):
    with contextlib.redirect_stdout(terminal):
        bar = utils.Progbar(1000, interval=60)
        for i in range(1, 1001):
            bar.update(i)
        assert terminal.getvalue().count("\r") == 2  # the first and the last


def test_a_narrow_terminal_cuts_the_line(terminal, monkeypatch):
    with contextlib.redirect_stdout(terminal):
        monkeypatch.setenv("COLUMNS", "30")
        bar = utils.Progbar(10, interval=0)
        bar.update(1, [("a_long_name_of_a_metric", 1.0)])
        shown = re.sub(r"\x1b\[[0-9;]*[mK]", "", terminal.getvalue())
        assert len(shown.strip("\r")) <= 30


def test_logs_are_read_only_to_be_shown(terminal):
    with contextlib.redirect_stdout(terminal):

        class Logs(dict):
            reads = 0

            def items(self):
                Logs.reads += 1
                return super().items()

        logger = ProgbarLogger()
        logger.set_params({"verbose": 1, "epochs": 1, "steps": 1000})
        logger.on_epoch_begin(0)
        for i in range(999):
            logger.on_train_batch_end(i, Logs(loss=1.0))
        assert Logs.reads <= 2
        logger.on_epoch_end(0, {"loss": 0.5})
        assert "loss: 0.5000" in terminal.getvalue()


def test_values_are_shown_as_given_unless_named_to_be_averaged(capsys):
    for options, shown in (
        ({}, "a: 3.0000"),
        ({"stateless_metrics": ["a"]}, "a: 2.0000"),
        ({"stateful_metrics": ["a"]}, "a: 3.0000"),
    ):
        bar = utils.Progbar(3, verbose=2, **options)
        for i in range(1, 4):
            bar.update(i, [("a", i)])
        assert shown in capsys.readouterr().out


def test_an_unknown_length_shows_what_was_done(capsys):
    bar = utils.Progbar(None, verbose=2)
    bar.add(3, [("a", 1e-5)])
    bar.update(3, finalize=True)
    assert plain(capsys.readouterr().out) == "3/3 - T - T/step - a: 1.0000e-05\n"


@pytest.mark.parametrize(
    "seconds, shown", [(0, "0s"), (59, "59s"), (65, "1:05"), (3665, "1:01:05")]
)
def test_times_are_read_as_clocks(seconds, shown):
    assert rooms._clock(seconds) == shown


@pytest.mark.parametrize("seconds, shown", [(2, "2s"), (0.011, "11ms"), (17e-6, "17us")])
def test_the_time_of_a_step_has_the_unit_that_fits(seconds, shown):
    assert rooms._each(seconds, "step") == f"{shown}/step"


def test_messages_may_go_to_the_log(capsys, caplog):
    utils.disable_interactive_logging()
    try:
        with caplog.at_level("INFO", logger="oneiros"):
            rooms.message("hello")
    finally:
        utils.enable_interactive_logging()
    assert capsys.readouterr().out == "" and "hello" in caplog.text


def test_a_screen_without_the_bars_character_gets_another(monkeypatch):
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    utils.Progbar(2).update(2)
    screen.flush()
    assert b"2/2 ====" in screen.buffer.getvalue()
