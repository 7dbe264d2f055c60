"""Movie reviews: does a sentence speak well or ill of a film? From strings to a verdict, end to end.

    python examples/reviews.py [--epochs 6] [--rows 10605] [--out reviews.keras]

The sentences are those of Hutto and Gilbert (2014), each rated by twenty people from -4 to 4; `make
data` fetches them. The model takes strings: its vocabulary is in its file.
"""

import argparse
import pathlib

import numpy as np

import oneiros
from oneiros import layers

DATA = pathlib.Path(__file__).resolve().parent.parent / ".data" / "reviews"


def load(rows=None, folder=DATA):
    """Sentences and whether they are kind, shuffled."""
    path = folder / "movieReviewSnippets_GroundTruth.txt"
    if not path.exists():
        raise SystemExit(f"{path} is not there: run `make data`")
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    texts = np.array([line[2] for line in lines], object)
    kind = np.array([float(line[1]) > 0 for line in lines], "float32")
    order = np.random.default_rng(0).permutation(len(texts))[:rows]
    return texts[order], kind[order]


def build(texts, words=8000, length=40):
    """A model from strings to the probability that they are kind: bags of words and of pairs."""
    vectorize = layers.TextVectorization(words, ngrams=2, output_sequence_length=2 * length)
    vectorize.adapt(texts)
    return oneiros.Sequential(
        [
            oneiros.Input((), dtype="string"),
            vectorize,
            layers.Embedding(words, 32, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--out")
    args = parser.parse_args(args)
    oneiros.utils.set_random_seed(0)
    texts, kind = load(args.rows)
    cut = len(texts) * 8 // 10
    model = build(texts[:cut])
    model.compile(oneiros.optimizers.Adam(5e-3), "binary_crossentropy", metrics=["accuracy"])
    model.fit(texts[:cut], kind[:cut], epochs=args.epochs, batch_size=64, verbose=2)
    accuracy = model.evaluate(texts[cut:], kind[cut:], batch_size=256, verbose=0)[1]
    print(f"accuracy on {len(texts) - cut} sentences not seen: {accuracy:.3f}")
    if args.out:
        model.save(args.out)
        model = oneiros.saving.load_model(args.out)
    for text in ("A warm, funny and moving film.", "Dull, stupid and far too long."):
        print(f"{float(model.predict(np.array([text]), verbose=0)[0, 0]):.2f}  {text}")
    return accuracy


if __name__ == "__main__":
    main()
