"""Training loops written from scratch run, in the style of each framework."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parent.parent / "examples").glob("loop_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_loop_from_scratch_learns(path):
    backend = path.stem.removeprefix("loop_")
    pytest.importorskip(backend)
    environment = {**os.environ, "ONEIROS_BACKEND": backend, "PYTHONPATH": str(path.parent.parent)}
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr
