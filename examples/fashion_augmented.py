"""Fashion-MNIST with augmentation and without: test accuracies, and a picture of what training sees.

    python examples/fashion_augmented.py [--rows 5000] [--epochs 12] [--out FOLDER]

The data are in `.data` after `make data`. Few rows are where augmentation helps most.
"""

import argparse
import gzip
import os
import pathlib

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy waits for threads at such small products

import numpy as np

import oneiros as keras
from oneiros import layers

DATA = pathlib.Path(__file__).resolve().parent.parent / ".data" / "fashion-mnist"


def load(part, rows):
    """The first images (rows, 28, 28, 1) from 0 to 255, and their labels."""
    if not DATA.exists():
        raise SystemExit(f"{DATA} is missing: run `make data`")
    read = lambda name, offset: np.frombuffer(
        gzip.decompress((DATA / f"{part}-{name}-ubyte.gz").read_bytes()), "uint8", offset=offset
    )
    images = read("images-idx3", 16).reshape(-1, 28, 28, 1)[:rows]
    return images.astype("float32"), read("labels-idx1", 8)[:rows].astype("int32")


def augmentation():
    """What clothes may look like, too: mirrored, moved, larger or smaller, with a part hidden."""
    return layers.Pipeline(
        [
            layers.RandomFlip("horizontal", seed=1),
            layers.RandomTranslation(0.08, 0.08, fill_mode="constant", seed=2),
            layers.RandomZoom(0.1, fill_mode="constant", seed=3),
            layers.RandomErasing(0.5, scale=(0.02, 0.15), fill_value=0.0, seed=4),
        ],
        name="augmentation",
    )


def build(before):
    """A small convolutional network behind the layers `before`."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            *before,
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def picture(path, images):
    """Rows of one image and seven of its augmentations."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    change = augmentation()
    columns = [images] + [np.asarray(keras.ops.convert_to_numpy(change(images))) for _ in range(7)]
    figure, axes = plt.subplots(len(images), len(columns), figsize=(8, len(images)))
    for i, row in enumerate(axes):
        for j, axis in enumerate(row):
            axis.imshow(columns[j][i, :, :, 0], cmap="gray", vmin=0, vmax=255)
            axis.axis("off")
    axes[0, 0].set_title("image", fontsize=9)
    axes[0, 1].set_title("augmented", fontsize=9, loc="left")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main(rows=5000, epochs=12, test_rows=10000, out="out"):
    """Train both, print and return their accuracies, save the picture."""
    keras.utils.set_random_seed(7)
    x, y = load("train", rows)
    test = load("t10k", test_rows)
    found = {}
    for name, before in (("without", []), ("with", [augmentation()])):
        model = build(before)
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
        found[name] = float(model.evaluate(*test, batch_size=500, verbose=0)[1])
        print(f"accuracy {name} augmentation: {found[name]:.3f}")
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    picture(pathlib.Path(out) / "fashion_augmented.png", x[:6])
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--out", default="out")
    args = parser.parse_args()
    main(args.rows, args.epochs, out=args.out)
