"""The examples with images run on real data, a small part of them, and draw what they say."""

import importlib.util
import pathlib

import numpy as np
import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parents[3] / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_augmented_clothes_are_learnt(tmp_path, data):
    data("fashion-mnist")
    found = example("fashion_augmented").main(rows=512, epochs=2, test_rows=500, out=tmp_path)
    assert min(found.values()) > 0.4
    assert (tmp_path / "fashion_augmented.png").stat().st_size > 5000


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_boxes_move_with_photographs(tmp_path):
    found = example("boxes").main(tmp_path)
    same, flipped = (found[k]["boxes"][1, 0] for k in ("as it is", "flipped"))
    left, top, right, bottom = same
    assert any(np.allclose(flipped, b) for b in (same, [640 - right, top, 640 - left, bottom]))
    assert (tmp_path / "boxes.png").stat().st_size > 50000
