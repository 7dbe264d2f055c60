"""Unmodified Keras scripts give the same numbers with Keras and with `oneiros run`."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

SCRIPTS = pathlib.Path(__file__).parent.parent / "examples" / "scripts"
NAMES = ["autoencoder", "own_step", "sequences", "tickets"]
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}


def run(command, name, weights, **environment):
    """What the script prints, as a flat dict of lists of numbers."""
    done = subprocess.run(
        [sys.executable, *command, str(SCRIPTS / f"{name}.py"), "--weights", str(weights)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    return {**printed.pop("history"), **printed}


@functools.cache
def keras_results(name, weights):
    """Keras's numbers; its run writes the initial weights that the others load."""
    return run([], name, weights, KERAS_BACKEND="jax")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


@pytest.mark.parametrize("name", NAMES)
def test_a_script_gives_the_same_numbers_as_with_keras(name, weights):
    path = weights / f"{name}.npz"
    theirs = keras_results(name, path)
    ours = run(["-m", "oneiros", "run"], name, path, ONEIROS_BACKEND="jax")
    assert ours.keys() == theirs.keys()
    for key, values in theirs.items():
        np.testing.assert_allclose(ours[key], values, **TOLERANCE, err_msg=key)


@pytest.mark.parametrize("name", ["tickets"])
def test_a_script_gives_the_same_numbers_on_numpy(name, weights):
    path = weights / f"{name}.npz"
    theirs = keras_results(name, path)
    ours = run(["-m", "oneiros", "run"], name, path, ONEIROS_BACKEND="numpy")
    for key, values in theirs.items():
        np.testing.assert_allclose(ours[key], values, **TOLERANCE, err_msg=key)


def test_all_scripts_are_here():
    assert sorted(p.stem for p in SCRIPTS.glob("*.py") if p.stem != "start") == NAMES
