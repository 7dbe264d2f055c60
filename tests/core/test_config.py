"""Settings: first values, checks, reactions."""

import importlib.metadata
import json
import os
import subprocess
import sys

import keras
import pytest

import oneiros.config
from oneiros.core import config


@pytest.fixture(autouse=True)
def restored():
    before = dict(config._settings)
    yield
    config._settings.clear()
    config._settings.update(before)


def started_with(home, expression="config.backend()", **environ):
    """What `expression` gives in a fresh process whose settings file is in `home`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("KERAS_", "ONEIROS_"))}
    code = f"from oneiros.core import config; print({expression})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "KERAS_HOME": str(home), **environ},
        cwd=os.path.dirname(os.path.dirname(config.__file__)) + "/..",
        capture_output=True,
        text=True,
    )
    return done.stdout.strip(), done.stderr


def test_every_name_of_keras_is_there():
    names = {n for n in dir(keras.config) if not n.startswith("_")}
    assert names <= set(oneiros.config.__all__)


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, "numpy"),
        ({"KERAS_BACKEND": "tensorflow"}, "tensorflow"),
        ({"KERAS_BACKEND": "tensorflow", "ONEIROS_BACKEND": "jax"}, "jax"),
    ],
)
def test_the_backend_comes_from_the_environment_then_the_file(tmp_path, environ, expected):
    (tmp_path / "keras.json").write_text('{"backend": "numpy"}')
    assert started_with(tmp_path, **environ)[0] == expected


def test_a_backend_in_the_file_that_is_not_here_counts_for_nothing(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "nowhere"}')
    assert started_with(tmp_path)[0] == "jax"


def test_without_any_setting_the_backend_is_jax_and_nothing_is_written(tmp_path):
    assert started_with(tmp_path / "none")[0] == "jax"
    assert not (tmp_path / "none").exists()


def test_limits_come_from_the_environment(tmp_path):
    expression = "(config.max_epochs(), config.max_steps_per_epoch())"
    given = {"KERAS_MAX_EPOCHS": "2", "KERAS_MAX_STEPS_PER_EPOCH": "30"}
    assert started_with(tmp_path, expression, **given)[0] == "(2, 30)"


def test_a_limit_that_is_no_number_is_an_error_that_names_its_variable():
    with pytest.raises(ValueError, match="KERAS_MAX_EPOCHS must be a whole number; got 'many'"):
        config._read_environment({"KERAS_MAX_EPOCHS": "many"})


def test_the_settings_file_is_read(tmp_path):
    path = tmp_path / "keras.json"
    given = {"floatx": "float16", "epsilon": 1e-3, "image_data_format": "channels_first"}
    path.write_text(json.dumps(given))
    assert config._read_file(str(path)) == given


@pytest.mark.parametrize("text", ["{", "[]", '"jax"', ""])
def test_a_broken_settings_file_is_named_in_a_warning(tmp_path, text):
    path = tmp_path / "keras.json"
    path.write_text(text)
    with pytest.warns(UserWarning, match=str(path)):
        assert config._read_file(str(path)) == {}


def test_a_bad_value_in_the_settings_file_leaves_the_others(tmp_path):
    path = tmp_path / "keras.json"
    path.write_text('{"floatx": "int8", "epsilon": 0.5}')
    with pytest.warns(UserWarning, match="floatx.*int8"):
        assert config._read_file(str(path)) == {"epsilon": 0.5}


@pytest.mark.parametrize(
    "name, value",
    [
        ("floatx", "bfloat16"),
        ("epsilon", 1e-4),
        ("image_data_format", "channels_first"),
        ("max_epochs", 3),
        ("max_epochs", None),
        ("max_steps_per_epoch", 5),
        ("random_generator", "portable"),
        ("backend", "theano"),
    ],
)
def test_what_is_set_is_what_is_given(name, value):
    getattr(oneiros.config, f"set_{name}")(value)
    assert getattr(oneiros.config, name)() == value


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("floatx", "int8", "`value` must be one of 'float16'.*got 'int8'"),
        ("floatx", None, "got None"),
        ("epsilon", "small", "`value` must be a number; got 'small'"),
        ("epsilon", None, "got None"),
        ("image_data_format", "NHWC", "`data_format` must be one of 'channels_last'.*'NHWC'"),
        ("max_epochs", 2.5, "`max_epochs` must be None or a whole number.*2.5"),
        ("max_epochs", -1, "got -1"),
        ("max_steps_per_epoch", "9", "`max_steps_per_epoch`"),
        ("random_generator", "mine", "'backend', 'portable'; got 'mine'"),
        ("backend", "caffe", "`backend` must be one of .*'jax'.*; got 'caffe'"),
    ],
)
def test_what_cannot_be_set_is_an_error_that_shows_it(name, value, message):
    before = getattr(config, name)()
    with pytest.raises(ValueError, match=message):
        getattr(config, f"set_{name}")(value)
    assert getattr(config, name)() == before


@pytest.mark.parametrize("switch", ["interactive_logging", "traceback_filtering"])
def test_a_switch_is_on_until_it_is_turned_off(switch):
    is_on = getattr(config, f"is_{switch}_enabled")
    assert is_on() is True
    getattr(config, f"disable_{switch}")()
    assert is_on() is False
    getattr(config, f"enable_{switch}")()
    assert is_on() is True


def test_flash_attention_is_the_backends_choice_until_it_is_asked_for():
    assert config.is_flash_attention_enabled() is None
    config.enable_flash_attention()
    assert config.is_flash_attention_enabled() is True
    config.disable_flash_attention()
    assert config.is_flash_attention_enabled() is False


def test_files_may_bring_code_only_when_told():
    assert not config.is_unsafe_deserialization_enabled()
    config.enable_unsafe_deserialization()
    assert config.is_unsafe_deserialization_enabled()


def test_rooms_hear_of_a_new_backend(monkeypatch):
    heard = []
    monkeypatch.setattr(config, "on_backend_change", [heard.append])
    config.set_backend("numpy")
    assert heard == ["numpy"]


def test_an_installed_backend_can_be_chosen(monkeypatch):
    point = importlib.metadata.EntryPoint("mine", "my_package.mine", "oneiros.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    monkeypatch.setattr(config, "on_backend_change", [])
    config.set_backend("mine")
    assert config.backend() == "mine"


def test_data_formats_are_checked_and_filled_in():
    assert config.standardize_data_format(None) == "channels_last"
    assert config.standardize_data_format("Channels_First") == "channels_first"
    with pytest.raises(ValueError, match=r"`data_format`.*7"):
        config.standardize_data_format(7)


def test_policies_are_reached_from_the_public_namespace():
    assert oneiros.config.dtype_policy().name == "float32"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = oneiros.config.nothing


def test_nothing_is_said_at_import(tmp_path):
    assert started_with(tmp_path)[1] == ""
