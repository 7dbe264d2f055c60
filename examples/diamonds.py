"""Diamonds: what does one cost? A table with words and numbers, made ready by a FeatureSpace.

    python examples/diamonds.py [--epochs 4] [--rows 53940] [--out diamonds.keras]

The table is ggplot2's (53,940 rows); `make data` fetches it. The price is learned as its logarithm.
"""

import argparse
import csv
import pathlib

import numpy as np

import oneiros
from oneiros import layers
from oneiros.utils import FeatureSpace

DATA = pathlib.Path(__file__).resolve().parent.parent / ".data" / "diamonds"
WORDS = ("cut", "color", "clarity")
NUMBERS = ("carat", "depth", "table", "x", "y", "z")


def load(rows=None, folder=DATA):
    """The columns, shuffled, and the logarithm of the price."""
    path = folder / "diamonds.csv"
    if not path.exists():
        raise SystemExit(f"{path} is not there: run `make data`")
    with open(path, newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(table))[:rows]
    pick = lambda name, kind: np.array([kind(table[i][name]) for i in order])
    columns = {name: pick(name, str) for name in WORDS} | {
        name: pick(name, float) for name in NUMBERS
    }
    return columns, np.log(pick("price", float)).astype("float32")


def build(columns):
    """A model from the columns as they are to the logarithm of the price."""
    features = dict.fromkeys(WORDS, "string_categorical") | dict.fromkeys(
        NUMBERS, "float_normalized"
    )
    features["carat"] = FeatureSpace.float_discretized(num_bins=64)
    space = FeatureSpace(features, crosses=[("color", "clarity")], crossing_dim=64)
    space.adapt(columns)
    x = layers.Dense(64, activation="relu")(space.get_encoded_features())
    x = layers.Dense(32, activation="relu")(x)
    return oneiros.Model(space.get_inputs(), layers.Dense(1)(x))


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out")
    args = parser.parse_args(args)
    oneiros.utils.set_random_seed(0)
    columns, price = load(args.rows)
    cut = len(price) * 9 // 10
    part = lambda rows: {name: values[rows] for name, values in columns.items()}
    train, test = part(slice(0, cut)), part(slice(cut, None))
    model = build(train)
    model.compile(oneiros.optimizers.Adam(3e-3), "mse")
    model.fit(train, price[:cut] - price.mean(), epochs=args.epochs, batch_size=128, verbose=2)
    guess = np.exp(model.predict(test, batch_size=1024, verbose=0)[:, 0] + price.mean())
    error = float(np.median(np.abs(guess / np.exp(price[cut:]) - 1)))
    print(f"median error on {len(guess)} diamonds not seen: {100 * error:.1f} % of the price")
    if args.out:
        model.save(args.out)
        again = oneiros.saving.load_model(args.out).predict(test, batch_size=1024, verbose=0)
        print(
            f"read back, it differs by {np.abs(np.exp(again[:, 0] + price.mean()) - guess).max():.3f}"
        )
    return error


if __name__ == "__main__":
    main()
