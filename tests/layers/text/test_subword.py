"""Subwords: what `tokenizers` itself gives, in layers, models and files."""

import numpy as np
import pytest

import oneiros
from oneiros.core import backend as backends

TEXTS = ["The lower the better", "lowest prices, newest films", "unbelievably naïve 😀"] * 8
METHODS = ("bpe", "wordpiece", "unigram")


def trained(method, **kwargs):
    layer = oneiros.layers.SubwordTokenizer(300, method, **kwargs)
    layer.adapt(np.array(TEXTS))
    return layer


@pytest.mark.parametrize("method", METHODS)
def test_numbers_are_those_of_the_library(method, backend, turn):
    tokenizers = pytest.importorskip("tokenizers")
    if not turn(method):
        return
    layer = trained(method)
    twin = tokenizers.Tokenizer.from_str(layer._tokenizer.to_str())
    got = backends.to_numpy(layer(TEXTS[:3]))
    for row, text in zip(got, TEXTS):
        ids = twin.encode(text).ids
        assert row.tolist() == ids + [0] * (got.shape[1] - len(ids))
    assert layer.get_vocabulary()[:2] == ["[PAD]", "[UNK]"]
    if method != "wordpiece":
        assert layer.detokenize(layer(["newest prices"])) == ["newest prices"]


@pytest.mark.parametrize("method", METHODS)
def test_files_carry_what_was_learned(method, tmp_path):
    pytest.importorskip("tokenizers")
    layer = trained(method, output_sequence_length=6)
    y = oneiros.layers.GlobalAveragePooling1D()(oneiros.layers.Embedding(300, 4)(
        layer(x := oneiros.Input((), dtype="string"))))  # fmt: skip
    model = oneiros.Model(x, y)
    model.save(tmp_path / "model.keras")
    again = oneiros.saving.load_model(tmp_path / "model.keras")
    x = np.array(["the newest film", "q"])
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert y.shape == (None, 4)


def test_it_says_what_is_missing():
    with pytest.raises(ValueError, match="learned no subwords yet"):
        oneiros.layers.SubwordTokenizer()(["a"])
    with pytest.raises(ValueError, match="'bpe', 'wordpiece', 'unigram'"):
        oneiros.layers.SubwordTokenizer(method="x")
    with pytest.raises(ValueError, match="takes strings"):
        oneiros.layers.SubwordTokenizer()(np.array([1]))
