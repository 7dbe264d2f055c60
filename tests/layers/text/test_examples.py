"""The examples run on real data, and learn."""

import importlib
import pathlib
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[3] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.mark.parametrize(
    ("name", "folder", "rows", "epochs", "good"),
    [
        ("reviews", "reviews", 4000, 4, lambda accuracy: accuracy > 0.65),
        ("diamonds", "diamonds", 6000, 5, lambda error: error < 0.15),
    ],
)
def test_an_example_learns(name, folder, rows, epochs, good, data, tmp_path, monkeypatch, capsys):
    data(folder)
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    main = importlib.import_module(name).main
    out = tmp_path / "model.keras"
    assert good(main(["--rows", str(rows), "--epochs", str(epochs), "--out", str(out)]))
    assert out.exists()
