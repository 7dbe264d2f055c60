"""What these scripts share: initial weights from a file, results as a line of JSON."""

import argparse
import json
import pathlib

import numpy as np


def arguments(description):
    """The command line: where initial weights come from, or go to."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--weights", help=".npz of initial weights; written if it is not there")
    return parser.parse_args()


def begin(model, path):
    """Give `model` the weights in the file at `path`, or write its own there."""
    if path is None:
        return
    if pathlib.Path(path).exists():
        with np.load(path) as file:
            model.set_weights([file[name] for name in file.files])
    else:
        np.savez(path, *model.get_weights())


def report(**results):
    """Print named results: numbers, lists of them, and histories."""
    plain = {
        name: {key: [float(v) for v in values] for key, values in value.history.items()}
        if hasattr(value, "history")
        else [float(v) for v in np.ravel(value)]
        for name, value in results.items()
    }
    print(json.dumps(plain))
