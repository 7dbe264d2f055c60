"""Orders and splits with the numbers that Keras has for the same seed; texts as numbers of words."""

from __future__ import annotations

import numpy as np

__all__ = ["shuffled", "split", "words"]


def shuffled(seed, *arrays):
    """The arrays in one order, which follows from the seed."""
    order = np.arange(len(arrays[0]))
    np.random.RandomState(seed).shuffle(order)
    return tuple(array[order] for array in arrays)


def split(x, y, test_split, seed):
    """`(x_train, y_train), (x_test, y_test)`, shuffled.

    Raises:
        ValueError: if `test_split` is not from 0 to below 1.
    """
    if not 0 <= test_split < 1:
        raise ValueError(f"`test_split` must be from 0 to below 1; got {test_split}")
    x, y = shuffled(seed, x, y)
    n = int(len(x) * (1 - test_split))
    return (x[:n], y[:n]), (x[n:], y[n:])


def words(texts, labels, num_words, skip_top, maxlen, start_char, oov_char, index_from):
    """Texts as lists of numbers of words, with the labels of those that are kept.

    Args:
        texts: Lists of numbers by frequency, from 1.
        num_words: Rarer words than this become `oov_char`; all are kept if None.
        skip_top: So many of the most frequent words become `oov_char`.
        maxlen: Texts from this length on are left out.
        start_char: Begins each text; none if None.
        oov_char: Stands for what is left out; if None nothing does.
        index_from: Added to the numbers.

    Raises:
        ValueError: if `maxlen` leaves no text.
    """
    if start_char is not None:
        texts = [[start_char, *(w + index_from for w in text)] for text in texts]
    elif index_from:
        texts = [[w + index_from for w in text] for text in texts]
    if maxlen:
        kept = [(t, y) for t, y in zip(texts, labels) if len(t) < maxlen]
        if not kept:
            raise ValueError(f"no text is shorter than `maxlen={maxlen}`")
        texts, labels = zip(*kept)
    num_words = num_words or max(max(text) for text in texts)

    def known(w):
        return skip_top <= w < num_words

    if oov_char is not None:
        texts = [[w if known(w) else oov_char for w in text] for text in texts]
    else:
        texts = [[w for w in text if known(w)] for text in texts]
    return _objects(texts), np.array(labels)


def _objects(texts):
    array = np.empty(len(texts), object)
    array[:] = texts
    return array
