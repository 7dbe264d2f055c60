"""Reviews of films, good or bad: 25,000 and 25,000 (Maas et al., 2011)."""

import numpy as np

from oneiros.datasets.sources import fetched, load_json, load_npz
from oneiros.datasets.splits import words

__all__ = ["get_word_index", "load_data"]


def load_data(
    path="imdb.npz",
    num_words=None,
    skip_top=0,
    maxlen=None,
    seed=113,
    start_char=1,
    oov_char=2,
    index_from=3,
    **kwargs,
):
    """The reviews as `(x_train, y_train), (x_test, y_test)`: lists of numbers of words, and 0 or 1.

    A word's number is its rank by frequency plus `index_from`.

    Args:
        path: The file's name in the cache.
        num_words: How many of the most frequent words are kept; all if None.
        skip_top: How many of the most frequent words are left out.
        maxlen: Reviews as long as this are left out.
        seed: Of their order.
        start_char: Marks the beginning.
        oov_char: Stands for a word that is left out; None to leave nothing.

    Raises:
        TypeError: for an unknown option.
        ValueError: if `maxlen` leaves no review.
    """
    if "nb_words" in kwargs:
        num_words = kwargs.pop("nb_words")
    if kwargs:
        raise TypeError(f"unknown options: {sorted(kwargs)}")
    arrays = load_npz(fetched("imdb.npz", path))
    rng = np.random.RandomState(seed)
    texts, labels = [], []
    for part, name in enumerate(("train", "test")):
        x, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
        order = np.arange(len(x))
        rng.shuffle(order)
        texts.append(x[order])
        labels.append(np.stack([y[order], np.full_like(y, part)], -1))
    texts, labels = words(
        np.concatenate(texts), np.concatenate(labels), num_words, skip_top, maxlen, start_char,
        oov_char, index_from,
    )  # fmt: skip
    test = labels[:, 1] == 1
    return (texts[~test], labels[~test, 0]), (texts[test], labels[test, 0])


def get_word_index(path="imdb_word_index.json"):
    """The rank of each word by frequency, from 1."""
    return load_json(fetched("imdb_word_index.json", path))
