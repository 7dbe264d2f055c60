"""Text, lookups and hashes beside Keras on TensorFlow: `python benchmarks/text.py [--smoke]`.

A million words of the movie reviews (`make data`; made-up ones if they are not there). Each library
runs in a process of its own, in turns; figures are milliseconds of all its threads, the least and the
median of the rounds. Writes benchmarks/text.md.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
REVIEWS = HERE.parent / ".data" / "reviews" / "movieReviewSnippets_GroundTruth.txt"
WORDS = 1_000_000


def texts_of(words):
    """Texts with this many words in all."""
    if REVIEWS.exists():
        lines = REVIEWS.read_text(encoding="utf-8").splitlines()
        texts = [line.split("\t")[2] for line in lines]
    else:
        made = np.random.default_rng(0).zipf(1.3, (10_000, 20)) % 20_000
        texts = [" ".join(f"Word{n}," for n in row) for row in made.tolist()]
    counts = [len(text.split()) for text in texts]
    whole, made = sum(counts), []
    for _ in range(words // whole):
        made += texts
    rest = int(np.searchsorted(np.cumsum(counts), words % whole))
    return np.array([*made, *texts[:rest]], object)


def cases(layers, words):
    """Name to a function to be timed."""
    texts = texts_of(words)
    tokens = np.array([w for text in texts for w in text.lower().split()], object)
    numbers = np.random.default_rng(0).integers(0, 20_000, words)
    values = np.random.default_rng(1).normal(size=words).astype("float32")
    known = [w for w, _ in zip(dict.fromkeys(tokens.tolist()), range(20_000))]

    def adapted():
        layer = layers.TextVectorization(max_tokens=20_000)
        layer.adapt(texts)
        return layer

    text = layers.TextVectorization(max_tokens=20_000, output_sequence_length=40)
    pairs = layers.TextVectorization(max_tokens=20_000, output_sequence_length=80, ngrams=2)
    for layer in (text, pairs):
        layer.adapt(texts[: len(texts) // 4])
    string = layers.StringLookup(vocabulary=known)
    integer = layers.IntegerLookup(vocabulary=np.arange(0, 20_000, 2))
    buckets = layers.Discretization(bin_boundaries=np.linspace(-2, 2, 50).tolist())
    salted = layers.Hashing(1000, salt=7)
    some = [tokens[i : i + 256] for i in range(0, len(tokens) // 4, 256)]
    batches = [texts[i : i + 256] for i in range(0, len(texts), 256)]
    return {
        "TextVectorization.adapt": adapted,
        "TextVectorization": lambda: text(texts),
        "TextVectorization, batches of 256": lambda: [text(b) for b in batches],
        "TextVectorization, pairs of words": lambda: pairs(texts),
        "StringLookup": lambda: string(tokens),
        "IntegerLookup": lambda: integer(numbers),
        "StringLookup, batches of 256": lambda: [string(b) for b in some],
        "Hashing of strings, batches of 256": lambda: [salted(b) for b in some],
        "Hashing of strings": lambda: layers.Hashing(1000)(tokens),
        "Hashing of strings, salted": lambda: salted(tokens),
        "Hashing of integers": lambda: layers.Hashing(1000)(numbers),
        "HashedCrossing": lambda: layers.HashedCrossing(1000)((tokens, numbers[: len(tokens)])),
        "Discretization": lambda: buckets(values),
    }


def serve(library, words):
    """Time the case that each line of the input names; the milliseconds go to the output."""
    if library == "keras":
        os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")
        from keras import layers
    else:
        os.environ["ONEIROS_BACKEND"] = "numpy"
        from oneiros import layers
    known = cases(layers, words)
    print(json.dumps(list(known)), flush=True)
    for line in sys.stdin:
        began = time.process_time()
        known[line.strip()]()
        print(1000 * (time.process_time() - began), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--smoke", action="store_true", help="a few words, without Keras; nothing is written"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve[0], int(args.serve[1]))
    words, rounds = (20_000, 1) if args.smoke else (WORDS, args.rounds)
    command = [sys.executable, __file__, "--serve"]
    servers = {
        name: subprocess.Popen(
            [*command, name, str(words)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for name in (("oneiros",) if args.smoke else ("oneiros", "keras"))
    }
    names = [json.loads(s.stdout.readline()) for s in servers.values()].pop()
    rows = [
        f"| of {words:,} words or numbers | Oneiros | Keras on TensorFlow | ratio |",
        "|---|---|---|---|",
    ]
    ratios = []
    for name in names:
        found = {library: [] for library in servers}
        for _ in range(rounds + 1):
            for library, server in servers.items():
                server.stdin.write(name + "\n")
                server.stdin.flush()
                found[library].append(float(server.stdout.readline()))
        shown = []
        for times in found.values():
            kept = times[1:]  # the first warms up
            shown.append(f"{min(kept):.0f} ({statistics.median(kept):.0f})")
        if args.smoke:
            print(name, *shown, flush=True)
            continue
        ratios.append(min(found["oneiros"][1:]) / min(found["keras"][1:]))
        rows.append(f"| {name} | {shown[0]} | {shown[1]} | {ratios[-1]:.2f} |")
        print(rows[-1], flush=True)
    for server in servers.values():
        server.stdin.close()
        server.wait()
    if not args.smoke:
        rows.append(f"\nMilliseconds of CPU time, the least (the median) of {rounds} rounds.")
        rows.append(f"Median ratio {statistics.median(ratios):.2f}, largest {max(ratios):.2f}.")
        title = "# Text beside Keras on TensorFlow\n\n"
        (HERE / "text.md").write_text(title + "\n".join(rows) + "\n")
    return None


if __name__ == "__main__":
    main()
