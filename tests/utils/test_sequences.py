"""Padding against Keras."""

import keras
import numpy as np
import pytest

from oneiros import preprocessing, utils

ROWS = [
    ([[1], [2, 3], [4, 5, 6]], {}),
    ([[1], [2, 3], [4, 5, 6]], dict(value=-1, maxlen=2, padding="post", truncating="post")),
    ([[1], [2, 3], [4, 5, 6]], dict(maxlen=2, padding="post")),
    ([["a"], ["b", "c"]], dict(dtype=object, value="")),
    ([[[1, 2]], [[3, 4], [5, 6]]], {}),
    ([[], []], {}),
    ([[1.7], []], {}),
    ([np.array([1, 2]), np.array([3])], dict(dtype="float32")),
]
WRONG = [
    (5, {}),
    ([1, 2], {}),
    ([[1]], dict(padding="x")),
    ([[1]], dict(truncating="x")),
    ([["a"]], dict(value="x")),
    ([["a"]], {}),
    ([[[1, 2]], [[3]]], {}),
    ([], {}),
]


@pytest.mark.parametrize(("sequences", "kwargs"), ROWS)
def test_padding_is_that_of_keras(sequences, kwargs):
    got = utils.pad_sequences(sequences, **kwargs)
    want = keras.utils.pad_sequences(sequences, **kwargs)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
    assert preprocessing.sequence.pad_sequences is utils.pad_sequences


@pytest.mark.parametrize(("sequences", "kwargs"), WRONG)
def test_what_cannot_be_padded_is_refused(sequences, kwargs):
    for pad in (utils.pad_sequences, keras.utils.pad_sequences):
        with pytest.raises(ValueError):
            pad(sequences, **kwargs)
