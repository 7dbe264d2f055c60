"""Text as numbers of parts of words, by Hugging Face's `tokenizers` (`pip install oneiros[text]`)."""

from __future__ import annotations

import os

import numpy as np

from oneiros.core.fields import OneOf
from oneiros.layers.fields import Positive
from oneiros.layers.host import HostLayer
from oneiros.layers.text import strings
from oneiros.layers.text.batches import batches_of

__all__ = ["SubwordTokenizer"]

PADDING, UNKNOWN = "[PAD]", "[UNK]"


class SubwordTokenizer(HostLayer):
    """Texts as numbers of subwords, which `adapt` learns from texts; 0 stands behind the last.

    Args:
        vocabulary_size: The most subwords that are learned, "[PAD]" (0) and "[UNK]" (1) among them.
        method: "bpe" (pairs of bytes, merged; Sennrich et al., 2016), "wordpiece" (Schuster and
            Nakajima, 2012) or "unigram" (Kudo, 2018).
        lowercase: Whether letters are made small.
        output_sequence_length: How many numbers each text gets; those of the longest if None.

    >>> from oneiros import layers
    >>> layer = layers.SubwordTokenizer(vocabulary_size=300)
    >>> layer.adapt(["low lower lowest"] * 9)
    >>> layer.detokenize(layer(["slower low"]))
    ['slower low']

    Raises:
        ImportError: if `tokenizers` is not installed.
    """

    vocabulary_size: Positive = 8000
    method: OneOf("bpe", "wordpiece", "unigram") = "bpe"
    lowercase: bool = True
    output_sequence_length: int = None

    compute_dtype = variable_dtype = dtype = property(lambda self: "string")
    _tokenizer = None
    config_without = ()

    def adapt(self, data, steps=None):
        """Learn the subwords of texts.

        Args:
            data: Strings in arrays, lists, columns; or what gives batches of them, of any length.
            steps: The most batches to take.
        """
        tokenizer, trainer = _untrained(self.method, self.vocabulary_size, self.lowercase)
        batches = batches_of(data, steps)[1]
        texts = (strings.to_text(strings.flat_bytes(batch, "data")[0]) for batch in batches)
        tokenizer.train_from_iterator(texts, trainer)
        object.__setattr__(self, "_tokenizer", tokenizer)

    def _trained(self):
        if self._tokenizer is None:
            raise ValueError(
                f"SubwordTokenizer '{self.name}' has learned no subwords yet: call `adapt(texts)` first"
            )
        return self._tokenizer

    def get_vocabulary(self):
        """The subwords by number."""
        known = self._trained().get_vocab()
        return sorted(known, key=known.get)

    def detokenize(self, inputs):
        """The texts that rows of numbers stand for, as a list of str."""
        from oneiros.core import backend

        rows = np.asarray(backend.to_numpy(inputs)).astype("int64")
        rows = rows.reshape(-1, rows.shape[-1]).tolist()
        kept = [[n for n in row if n] for row in rows]
        return [text.strip() for text in self._trained().decode_batch(kept)]

    def check(self, inputs):
        if not strings.holds_strings(inputs):
            shown = " ".join(repr(inputs).split())[:60]
            raise ValueError(f"SubwordTokenizer '{self.name}' takes strings; got {shown}")

    def _rows_shape(self, shape):
        return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape

    def spec(self, shape):
        return (*self._rows_shape(shape), self.output_sequence_length), "int64"

    def compute(self, inputs):
        texts, shape = strings.flat_bytes(inputs)
        rows = [row.ids for row in self._trained().encode_batch(strings.to_text(texts))]
        tokens = strings.Tokens(rows)
        made = strings.padded(
            np.array(tokens.values, "int64"), tokens.lengths, self.output_sequence_length
        )
        return made.reshape(*self._rows_shape(shape), made.shape[-1])

    def save_own_variables(self, store):
        """The subwords are an asset."""

    def load_own_variables(self, store):
        """The subwords are an asset."""

    def save_assets(self, dir_path):
        """Write what was learned into a folder."""
        if self._tokenizer is not None:
            with open(os.path.join(dir_path, "tokenizer.json"), "w", encoding="utf-8") as file:
                file.write(self._tokenizer.to_str())

    def load_assets(self, dir_path):
        """Read what `save_assets` wrote."""
        path = os.path.join(dir_path, "tokenizer.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                text = file.read()
            try:
                object.__setattr__(self, "_tokenizer", _library().Tokenizer.from_str(text))
            except ImportError:
                raise
            except Exception as error:  # the library raises bare ones
                raise ValueError(f"its tokenizer.json is broken: {error}") from None


def _library():
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise ImportError(
            "SubwordTokenizer needs the package 'tokenizers': pip install 'oneiros[text]'"
        ) from error
    return tokenizers


def _untrained(method, size, lowercase):
    """A tokenizer of a method, and what trains it."""
    hf = _library()
    before, after = hf.pre_tokenizers, hf.decoders
    common = dict(vocab_size=size, special_tokens=[PADDING, UNKNOWN], show_progress=False)
    if method == "bpe":
        made = hf.Tokenizer(hf.models.BPE(unk_token=UNKNOWN))
        made.pre_tokenizer, made.decoder = before.ByteLevel(), after.ByteLevel()
        alphabet = before.ByteLevel.alphabet()
        trainer = hf.trainers.BpeTrainer(initial_alphabet=alphabet, **common)
    elif method == "wordpiece":
        made = hf.Tokenizer(hf.models.WordPiece(unk_token=UNKNOWN))
        made.pre_tokenizer, made.decoder = before.BertPreTokenizer(), after.WordPiece()
        trainer = hf.trainers.WordPieceTrainer(**common)
    else:
        made = hf.Tokenizer(hf.models.Unigram())
        made.pre_tokenizer, made.decoder = before.Metaspace(), after.Metaspace()
        trainer = hf.trainers.UnigramTrainer(unk_token=UNKNOWN, **common)
    small = [hf.normalizers.Lowercase()] if lowercase else []
    made.normalizer = hf.normalizers.Sequence([hf.normalizers.NFC(), *small])
    return made, trainer
