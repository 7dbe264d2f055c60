"""Short news of 46 topics: 11,228 (Lewis, 1987)."""

from oneiros.datasets.sources import fetched, load_json, load_npz
from oneiros.datasets.splits import shuffled, words

__all__ = ["get_label_names", "get_word_index", "load_data"]

LABELS = """cocoa grain veg-oil earn acq wheat copper housing money-supply coffee sugar trade reserves
    ship cotton carcass crude nat-gas cpi money-fx interest gnp meal-feed alum oilseed gold tin
    strategic-metal livestock retail ipi iron-steel rubber heat jobs lei bop zinc orange pet-chem dlr
    gas silver wpi hog lead"""


def load_data(
    path="reuters.npz",
    num_words=None,
    skip_top=0,
    maxlen=None,
    test_split=0.2,
    seed=113,
    start_char=1,
    oov_char=2,
    index_from=3,
):
    """The news as `(x_train, y_train), (x_test, y_test)`: lists of numbers of words, and topics.

    Args:
        test_split: The share of the news for testing.
        path, num_words, skip_top, maxlen, seed, start_char, oov_char, index_from: As in `imdb`.
    """
    arrays = load_npz(fetched("reuters.npz", path))
    x, y = words(
        *shuffled(seed, arrays["x"], arrays["y"]), num_words, skip_top, maxlen, start_char,
        oov_char, index_from,
    )  # fmt: skip
    n = int(len(x) * (1 - test_split))
    return (x[:n], y[:n]), (x[n:], y[n:])


def get_word_index(path="reuters_word_index.json"):
    """The rank of each word by frequency, from 1."""
    return load_json(fetched("reuters_word_index.json", path))


def get_label_names():
    """The names of the topics, by number.

    >>> from oneiros.datasets import reuters
    >>> reuters.get_label_names()[3]
    'earn'
    """
    return tuple(LABELS.split())
