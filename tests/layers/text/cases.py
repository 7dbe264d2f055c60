"""Rows for lookups, text and features: class name, arguments, what it is adapted to, inputs."""

from typing import Any, NamedTuple

import numpy as np


class Row(NamedTuple):
    name: str
    kwargs: dict
    adapt: Any  # data, or None
    inputs: Any

    def __str__(self):
        shown = "-".join(f"{k}={v}" for k, v in self.kwargs.items())
        return f"{self.name}-{shown}-{np.shape(self.inputs)}".replace("\n", " ")


WORDS = np.array([["a", "z"], ["c", "b"], ["", "[UNK]"], ["Zürich", "a"]])
FOUND = np.array([["b", "a"], ["a", "c"], ["a", "b"], ["", "d"]])
KNOWN = dict(vocabulary=["a", "b", "c"])
NUMBERS = np.array([[10, 99], [30, 20], [0, -7]])
TENS = dict(vocabulary=[10, 20, 30])
TEXTS = [
    "The cat, sat! on   the mat.",
    "Dogs & cats\trun\nfast",
    "",
    "the THE cat Élan ÉÀ naïve 😀 a-b",
]
VALUES = np.array([[-1.5, 1.0, 3.4, 0.5], [0.0, 3.0, 1.3, 0.0]])
PLACES = np.array([[0, 1], [0, 0], [1, 2], [3, 1]])


def lookups():
    for kwargs in (
        {},
        dict(num_oov_indices=3),
        dict(mask_token=""),
        dict(mask_token="", num_oov_indices=2),
        dict(num_oov_indices=5, salt=[1, 2]),
        dict(output_mode="one_hot"),
        dict(output_mode="multi_hot"),
        dict(output_mode="count", mask_token=""),
        dict(output_mode="multi_hot", max_tokens=10, pad_to_max_tokens=True),
        dict(output_mode="tf_idf", idf_weights=[0.1, 0.2, 0.3]),
        dict(output_mode="tf_idf", idf_weights=[0.1, 0.2, 0.3], num_oov_indices=2),
    ):
        yield Row("StringLookup", KNOWN | kwargs, None, WORDS)
    for kwargs in (
        {},
        dict(mask_token=""),
        dict(max_tokens=3),
        dict(output_mode="tf_idf"),
        dict(output_mode="tf_idf", max_tokens=9, pad_to_max_tokens=True, mask_token=""),
        dict(output_mode="count", num_oov_indices=2),
    ):
        yield Row("StringLookup", kwargs, FOUND, WORDS)
    for inputs in (
        "a",
        ["a", "q"],
        [["a"], ["q"]],
        np.array([[["a"], ["q"]]]),
        np.array([b"a", b"b"]),
    ):
        for mode in ("int", "one_hot", "multi_hot"):
            yield Row("StringLookup", KNOWN | dict(output_mode=mode), None, inputs)
    yield Row("StringLookup", dict(vocabulary=["[UNK]", "a"]), None, WORDS)
    yield Row("StringLookup", dict(vocabulary=["", "[UNK]", "a"], mask_token=""), None, WORDS)
    inverse = dict(invert=True, mask_token="m", num_oov_indices=2)
    yield Row("StringLookup", KNOWN | inverse, None, np.array([[0, 1], [2, 3], [5, 9]]))
    yield Row("StringLookup", dict(output_mode="tf_idf"), ["a", "a", "b"], WORDS)
    for kwargs in (
        {},
        dict(num_oov_indices=3),
        dict(mask_token=0),
        dict(mask_token=0, num_oov_indices=2),
        dict(num_oov_indices=4, oov_method="farmhash"),
        dict(num_oov_indices=4, oov_method="farmhash", salt=3),
        dict(oov_token=-5, output_mode="one_hot"),
        dict(output_mode="multi_hot"),
        dict(output_mode="tf_idf", idf_weights=[0.1, 0.2, 0.3]),
    ):
        yield Row("IntegerLookup", TENS | kwargs, None, NUMBERS)
    yield Row("IntegerLookup", TENS | dict(invert=True), None, np.array([[0, 1], [3, 9]]))
    yield Row("IntegerLookup", {}, np.array([[9, 10], [100, 10], [-3, 0]]), NUMBERS)
    yield Row("IntegerLookup", dict(max_tokens=3, mask_token=0), np.array([9, 10, 10, 0]), NUMBERS)
    yield Row("IntegerLookup", TENS, None, np.array([10.0, 99.5]))


def texts():
    for kwargs in (
        {},
        dict(max_tokens=5),
        dict(output_mode="multi_hot"),
        dict(output_mode="count", max_tokens=6),
        dict(output_mode="tf_idf"),
        dict(output_mode="tf_idf", max_tokens=30, pad_to_max_tokens=True),
        dict(ngrams=2),
        dict(ngrams=(2,)),
        dict(ngrams=(1, 3), output_mode="count"),
        dict(output_sequence_length=4),
        dict(output_sequence_length=20),
        dict(standardize="lower"),
        dict(standardize="strip_punctuation"),
        dict(standardize=None),
        dict(split="character", output_sequence_length=8),
        dict(split="character", ngrams=2),
        dict(split=None),
        dict(split=None, output_mode="multi_hot"),
    ):
        yield Row("TextVectorization", kwargs, TEXTS, TEXTS)
    known = dict(vocabulary=["the", "cat"])
    yield Row("TextVectorization", known, None, np.array([["the cat"], ["q"]]))
    yield Row("TextVectorization", known, None, "the cat q")
    yield Row("TextVectorization", known, None, np.array([[["the cat"]]]))
    yield Row("TextVectorization", known | dict(output_mode="count"), None, [["the cat"], ["q"]])
    yield Row("TextVectorization", dict(vocabulary=["", "[UNK]", "a"]), None, ["a b"])
    yield Row("TextVectorization", known | dict(split=None), None, [["the"], ["q"]])


def features():
    for kwargs in (
        {},
        dict(mask_value="a"),
        dict(salt=133),
        dict(salt=[133, 137]),
        dict(output_mode="one_hot"),
        dict(output_mode="multi_hot"),
        dict(output_mode="count"),
        dict(dtype="int32"),
        dict(output_mode="one_hot", dtype="float16"),
    ):
        yield Row("Hashing", dict(num_bins=7) | kwargs, None, WORDS)
    big = dict(num_bins=1_000_000)
    long = np.array(["x" * n for n in (0, 1, 4, 7, 8, 16, 17, 32, 33, 64, 65, 127, 128, 129, 300)])
    for kwargs in ({}, dict(salt=5)):
        yield Row("Hashing", big | kwargs, None, np.array([1, -5, 123456789012, 0]))
        yield Row("Hashing", big | kwargs, None, long)
    yield Row("Hashing", big | dict(mask_value=0), None, np.array([1, 0, 123]))
    yield Row("Hashing", big, None, np.array([True, False]))
    pairs = (np.array(["A", "B", "Ä"]), np.array([101, 102, -3]))
    for kwargs in ({}, dict(output_mode="one_hot", num_bins=5), dict(dtype="int32", num_bins=9)):
        yield Row("HashedCrossing", big | kwargs, None, pairs)
        yield Row("HashedCrossing", big | kwargs, None, tuple(x[:, None] for x in pairs))
    yield Row("HashedCrossing", big, None, (*pairs, pairs[0]))
    yield Row("HashedCrossing", big, None, (pairs[1], pairs[1]))
    for mode in ("multi_hot", "one_hot", "count"):
        for inputs in (
            PLACES,
            np.array([0, 2]),
            np.array([[3], [1]]),
            np.array(3),
            PLACES[:, None],
        ):
            yield Row("CategoryEncoding", dict(num_tokens=4, output_mode=mode), None, inputs)
    for mode in ("int", "one_hot", "multi_hot", "count"):
        edges = dict(bin_boundaries=[0.0, 1.0, 2.0], output_mode=mode)
        for inputs in (VALUES, np.array([0.5, np.nan]), np.array([[0], [7]])):
            yield Row("Discretization", edges, None, inputs)
    for bins in (2, 3, 4, 5):
        for data in (VALUES, np.arange(10.0), np.array([1.0, 1.0, 2.0]), np.array([4.0])):
            yield Row("Discretization", dict(num_bins=bins), data, VALUES)


ROWS = [*lookups(), *texts(), *features()]
