"""The command `oneiros`: scripts run as with python, with `keras` meaning Oneiros."""

import os
import subprocess
import sys

import pytest

import oneiros

IMPORTS = """
import keras, oneiros
from keras import layers
from keras.layers import Dense
import keras.ops as ops
from keras.utils import to_categorical
assert keras is oneiros and layers is oneiros.layers and ops is oneiros.ops
assert Dense is oneiros.layers.Dense and keras.__version__.startswith("3.")
assert keras.__spec__.name == "oneiros" and ops.__spec__.name == "oneiros.ops"
"""
PRIVATE = """
import keras
import keras.src.callbacks
from keras.src import backend, ops
from keras.src.backend.common.variables import KerasVariable, standardize_dtype
from keras.src.layers.core.dense import Dense
from keras.src.optimizers.schedules.learning_rate_schedule import LearningRateSchedule
from keras.src.saving.saving_lib import load_model
assert Dense is keras.layers.Dense and KerasVariable is keras.Variable
assert ops.add is keras.ops.add and backend.convert_to_tensor is keras.ops.convert_to_tensor
assert backend.numpy.add is keras.ops.add and backend.backend() == "numpy"
assert LearningRateSchedule is keras.optimizers.schedules.LearningRateSchedule
assert load_model is keras.saving.load_model
try:
    from keras.src.layers.layer import NoSuchThing
except ImportError as error:
    print(error.name, "has no", "NoSuchThing" in str(error))
"""
TENSORFLOW = """
from tensorflow import keras
from tensorflow.keras.layers import Dense
import tensorflow.keras.backend as K
import tensorflow as tf
import oneiros
assert Dense is oneiros.layers.Dense is tf.keras.layers.Dense is keras.layers.Dense
assert K.epsilon is oneiros.backend.epsilon and K.name_scope is oneiros.name_scope
"""
HOW = {"run": ["-m", "oneiros", "run"], "short": ["-m", "oneiros"]}


def python(*arguments, **environment):
    """What a new Python process with these arguments gives."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.fixture
def script(tmp_path):
    """A function that writes a script and gives its path."""

    def write(text):
        path = tmp_path / "script.py"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("how", HOW)
def test_keras_means_oneiros_in_a_script(script, how):
    done = python(*HOW[how], script(IMPORTS + "print('fine')"))
    assert (done.stdout, done.stderr, done.returncode) == ("fine\n", "", 0)


def test_private_modules_of_keras_find_public_names(script):
    done = python(*HOW["run"], script(PRIVATE), ONEIROS_BACKEND="numpy")
    assert (done.stdout, done.stderr) == ("keras.src.layers.layer has no True\n", "")


def test_the_keras_of_tensorflow_means_oneiros_too(script):
    pytest.importorskip("tensorflow")
    done = python(*HOW["run"], script(TENSORFLOW), ONEIROS_BACKEND="numpy")
    assert done.returncode == 0, done.stderr


def test_a_script_sees_what_python_shows_it(script):
    path = script(
        "import sys, os\n"
        "print(sys.argv, __name__, __file__, sys.path[0], __builtins__, __spec__, __doc__)\n"
        "print(sys.modules['__main__'].__dict__ is globals())\n"
    )
    ours, theirs = python("-m", "oneiros", "run", path, "-a", "b c"), python(path, "-a", "b c")
    assert ours.stdout == theirs.stdout and "'-a', 'b c'" in ours.stdout
    assert ours.returncode == 0


@pytest.mark.parametrize(
    "text",
    [
        "import sys\nsys.exit(7)",
        "import sys\nsys.exit('a message')",
        "def f():\n    raise KeyError('k')\n\n\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('v') from e",
        "x = = 1",
        "raise KeyboardInterrupt",
    ],
    ids=["exit code", "exit message", "error", "cause", "syntax", "interrupt"],
)
def test_scripts_end_as_with_python(script, text):
    path = script(text)
    ours, theirs = python("-m", "oneiros", "run", path), python(path)
    assert (ours.stdout, ours.stderr, ours.returncode) == (
        theirs.stdout,
        theirs.stderr,
        theirs.returncode,
    )


@pytest.mark.parametrize(
    "line, missing",
    [
        ("import keras.nonesuch", "'keras.nonesuch'"),
        ("from keras.nonesuch.deeper import x", "'keras.nonesuch'"),
        ("from keras import nonesuch", "'nonesuch'"),
        ("from keras.layers import Nonesuch", "'Nonesuch'"),
    ],
)
def test_what_is_missing_is_named(script, line, missing):
    done = python("-m", "oneiros", "run", script(line))
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith(("ImportError: ", "ModuleNotFoundError: ")) and missing in last


def test_a_script_chooses_the_backend_before_it_imports_keras(script):
    text = (
        "import os\nos.environ['ONEIROS_BACKEND'] = 'numpy'\n"
        "import keras\nprint(keras.config.backend())"
    )
    assert python("-m", "oneiros", "run", script(text), ONEIROS_BACKEND="jax").stdout == "numpy\n"


def test_a_script_that_is_not_there_is_said():
    done = python("-m", "oneiros", "run", "nonesuch.py")
    assert done.returncode == 2 and "can't open file" in done.stderr


def test_help_names_the_commands():
    from oneiros.cli import USAGE

    done = python("-m", "oneiros", "--help")
    assert (done.stdout, done.returncode) == (USAGE, 0)
    assert "oneiros run SCRIPT" in USAGE and "oneiros info" in USAGE


def test_an_unknown_command_is_an_error(capsys):
    from oneiros.cli import main

    assert main(["frobnicate"]) == 2
    assert "there is no command 'frobnicate'" in capsys.readouterr().err


def test_info_shows_versions_backends_and_devices(capsys):
    from oneiros.cli import main

    assert main(["info"]) == 0
    shown = capsys.readouterr().out
    for part in (oneiros.version(), "numpy", "jax", "(this session's)", "cpu:0", "Python 3."):
        assert part in shown


def test_info_says_what_a_backend_computes_itself(capsys):
    from oneiros.cli import main
    from oneiros.core.primitive import PRIMITIVES

    assert main(["info", "--backend", "numpy"]) == 0
    told = capsys.readouterr().out
    assert told == f"backend numpy: {len(PRIMITIVES)} of {len(PRIMITIVES)} primitives are its own\n"
    assert main(["info", "--backend", "nothing"]) == 1
    assert "there is no backend called 'nothing'" in capsys.readouterr().err


def test_setup_says_what_there_is_to_do(capsys):
    from oneiros.cli import main

    assert main(["setup", "numpy"]) == 0
    assert "pip install 'oneiros[numpy]'" in capsys.readouterr().out
    assert main(["setup", "nothing"]) == 2
    assert "there is no backend 'nothing'" in capsys.readouterr().err
