"""Spoken digits: from WAV files in folders to a network that hears which digit is said.

    python examples/spoken_digits.py [--out FOLDER] [--clips 60] [--epochs 12]

The recordings are one speaker's (`make data` fetches them), one of each digit. Those to learn from are
varied in speed, loudness and place, with noise; those to test with are varied anew, and have other
words of hers in the background, which the network has not heard before.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from fetch import ROOT, fetch
from scipy.io import wavfile
from scipy.signal import resample

import oneiros as keras
from oneiros import layers

RATE, LENGTH = 8000, 8000  # samples in a second, and in a clip
DIGITS = "0123456789"


def variant(sound, rng, background):
    """`sound` faster or slower, somewhere in a clip, over something else."""
    sound = resample(sound, int(len(sound) * rng.uniform(0.8, 1.2)))[:LENGTH]
    clip = np.zeros(LENGTH)
    start = rng.integers(0, LENGTH - len(sound) + 1)
    clip[start : start + len(sound)] = sound / np.abs(sound).max()
    clip += rng.uniform(0.02, 0.15) * background
    return rng.uniform(0.2, 0.9) * clip / np.abs(clip).max()


def write_clips(folder, count, seed, others=None):
    """`count` variants of each digit, as WAV files in folders named for the digits."""
    rng = np.random.default_rng(seed)
    for digit in DIGITS:
        _, sound = wavfile.read(ROOT / "sounds" / "digits" / f"{digit}.wav")
        (folder / digit).mkdir(parents=True)
        for i in range(count):
            background = rng.normal(size=LENGTH)
            if others:
                _, words = wavfile.read(others[rng.integers(len(others))])
                background = 2 * np.resize(words / np.abs(words).max(), LENGTH)
            clip = variant(sound.astype("float64"), rng, background)
            wavfile.write(folder / digit / f"{i:03}.wav", RATE, (clip * 32767).astype("int16"))


def build():
    """Bands of frequency over time, two convolutions, a dense head."""
    return keras.Sequential(
        [
            keras.Input((LENGTH, 1)),
            layers.Reshape((LENGTH,)),
            layers.MelSpectrogram(
                fft_length=512, sequence_stride=160, sampling_rate=RATE, num_mel_bins=32
            ),
            layers.Reshape((32, 51, 1)),
            layers.BatchNormalization(),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
            layers.MaxPooling2D((1, 13)),  # at whatever time it was said
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(10),
        ],
        name="spoken_digits",
    )


def picture(path, model, clips, labels, predicted):
    """A clip of each digit as the network sees it, and what it was taken for."""
    from matplotlib.figure import Figure

    seen = keras.Model(model.inputs, model.layers[1].output).predict(clips, verbose=0)
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    for axes, digit in zip(figure.subplots(2, 5).flat, range(10)):
        i = int(np.flatnonzero(labels == digit)[0])
        axes.imshow(seen[i], origin="lower", aspect="auto", cmap="magma", extent=(0, 1, 0, 32))
        axes.set_title(
            f'"{digit}" heard as {predicted[i]}',
            fontsize=10,
            color="#228833" if predicted[i] == digit else "#cc3311",
        )
        axes.set(
            xlabel="seconds" if digit > 4 else None, ylabel="mel band" if digit % 5 == 0 else None
        )
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", default="out/spoken_digits", help="folder for clips and picture")
    parser.add_argument(
        "--clips", type=int, default=60, help="variants of each digit to learn from"
    )
    parser.add_argument("--epochs", type=int, default=12)
    args = parser.parse_args()
    if not fetch("sounds"):
        sys.exit("the recordings are not there: `make data` fetches them")
    out = pathlib.Path(args.out)
    keras.utils.set_random_seed(3)
    if not (out / "test").exists():
        write_clips(out / "train", args.clips, seed=1)
        others = sorted((ROOT / "sounds").glob("vm-*.wav"))
        write_clips(out / "test", max(args.clips // 4, 5), seed=2, others=others)

    train, validation = keras.utils.audio_dataset_from_directory(
        out / "train", seed=5, validation_split=0.2, subset="both"
    )
    test = keras.utils.audio_dataset_from_directory(out / "test", shuffle=False)
    model = build()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    model.fit(train.cache(), validation_data=validation.cache(), epochs=args.epochs, verbose=2)
    clips, labels = (np.concatenate(parts) for parts in zip(*test.as_numpy_iterator()))
    predicted = model.predict(clips, verbose=0).argmax(-1)
    picture(out / "spoken_digits.png", model, clips, labels, predicted)
    print(f"test accuracy, with other words in the background: {(predicted == labels).mean():.1%}")


if __name__ == "__main__":
    main()
