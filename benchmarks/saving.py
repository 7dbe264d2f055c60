"""Time saving and loading a model of 100 dense layers, beside Keras: `python benchmarks/saving.py`.

Rounds take turns; a time is the least CPU time of several. The library loads its own file, and Keras
its own.
"""

import os
import pathlib
import tempfile
import time

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("ONEIROS_BACKEND", "jax")

import keras

import oneiros

LAYERS, UNITS, ROUNDS = 100, 16, 7


def model(k):
    x = inputs = k.layers.Input((UNITS,))
    for _ in range(LAYERS):
        x = k.layers.Dense(UNITS)(x)
    return k.Model(inputs, x)


def tasks(k, folder):
    """What is timed, by name."""
    made, whole, weights = model(k), folder / f"{k.__name__}.keras", folder / "m.weights.h5"
    return {
        "save": lambda: made.save(whole),
        "load": lambda: k.saving.load_model(whole),
        "save weights": lambda: made.save_weights(weights),
        "load weights": lambda: made.load_weights(weights),
    }


def main():
    with tempfile.TemporaryDirectory() as folder:
        both = [tasks(k, pathlib.Path(folder)) for k in (keras, oneiros)]
        print(f"{'ms':14}{'Keras':>10}{'Oneiros':>10}{'ratio':>8}")
        for name in both[0]:
            least = [float("inf")] * 2
            for _ in range(ROUNDS):
                for i, timed in enumerate(both):
                    start = time.process_time()
                    timed[name]()
                    least[i] = min(least[i], 1e3 * (time.process_time() - start))
            print(f"{name:14}{least[0]:10.1f}{least[1]:10.1f}{least[1] / least[0]:8.2f}")


if __name__ == "__main__":
    main()
