"""Text as numbers of its words: standardized, split, looked up."""

from __future__ import annotations

import numpy as np

from oneiros.core import backend
from oneiros.layers.host import HostLayer
from oneiros.layers.text import strings
from oneiros.layers.text.batches import batches_of
from oneiros.layers.text.lookup import StringLookup, refuse_paths
from oneiros.layers.text.words import GramTable, Words, WordTable, counted

__all__ = ["TextVectorization"]

CHUNK = 1 << 14  # texts that are split and counted at a time
SMALL = 1 << 12  # bytes of texts up to which they are split one by one


class TextVectorization(HostLayer):
    """Texts as the numbers of their tokens in a vocabulary.

    Input shape () or (batch,) or (batch, 1). In the mode "int", 0 stands behind the last token and 1
    for tokens that are not in the vocabulary; in the others, 0 does.

    Args:
        max_tokens: The most numbers that there are.
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation" (all of ASCII), None,
            or a function of an array of strings.
        split: "whitespace", "character", None (a text is one token), or a function of an array of
            strings that gives a list of strings for each.
        ngrams: Up to how many words make a token; a tuple says which numbers of words.
        output_mode: "int", "multi_hot", "count" or "tf_idf".
        output_sequence_length: How many numbers each text gets; those of the longest if None.
        pad_to_max_tokens: Whether vectors are as long as `max_tokens`.
        vocabulary: A list of tokens, or the name of a file with one on each line.
        idf_weights: A weight for each token, in the mode "tf_idf".
        ragged: Whether rows keep their lengths: a ragged tensor on TensorFlow, else a list of arrays.

    >>> from oneiros import layers
    >>> layer = layers.TextVectorization()
    >>> layer.adapt(["The cat sat.", "The dog"])
    >>> layer(["the dog ran"]).tolist()
    [[2, 4, 1]]

    Raises:
        ValueError: for inputs that are no strings or of another rank, or without a vocabulary.
    """

    max_tokens: int = None
    standardize: object = "lower_and_strip_punctuation"
    split: object = "whitespace"
    ngrams: object = None
    output_mode: str = "int"
    output_sequence_length: int = None
    pad_to_max_tokens: bool = False
    vocabulary: list = None
    idf_weights: list = None
    sparse: bool = False
    ragged: bool = False
    encoding: str = "utf-8"
    name: str = None

    compute_dtype = variable_dtype = dtype = property(lambda self: "string")
    _table = None

    def adopt(self, vocabulary_size=None, **options):
        super().adopt(**options)
        self._size_in_file = vocabulary_size

    def _ready(self):
        for name, known in (("standardize", strings.STANDARDS), ("split", strings.SPLITS)):
            value = getattr(self, name)
            if value is not None and not callable(value) and value not in known:
                raise ValueError(
                    f"Unknown value for `{name}` argument of TextVectorization. Allowed values are: "
                    f"{tuple(known)}. Received: {name}={value}"
                )
        self._ngrams = self._sizes(self.ngrams)
        length, counted = self.output_sequence_length, self.output_mode != "int"
        if length is not None and counted:
            raise ValueError(
                "`output_sequence_length` must not be set if `output_mode` is not 'int'. Received "
                f"output_sequence_length={length}."
            )
        if length is not None and (not isinstance(length, (int, np.integer)) or length < 0):
            raise ValueError(
                "`output_sequence_length` must be a whole number. Received "
                f"output_sequence_length={length}."
            )
        if self.ragged and counted:
            raise ValueError(
                "`ragged` must not be true unless `output_mode` is `'int'`. Received: ragged=True and "
                f"output_mode={self.output_mode}"
            )
        inner = StringLookup(
            max_tokens=self.max_tokens,
            vocabulary=self.vocabulary,
            idf_weights=self.idf_weights,
            pad_to_max_tokens=self.pad_to_max_tokens,
            mask_token="",
            output_mode=self.output_mode,
            sparse=self.sparse,
            encoding=self.encoding,
            vocabulary_size=self._size_in_file,
        )
        self._lookup_layer = inner
        self.vocabulary, self.idf_weights = inner.vocabulary, inner.idf_weights

    @staticmethod
    def _sizes(ngrams):
        if ngrams is None:
            return None
        sizes = tuple(range(1, ngrams + 1)) if isinstance(ngrams, int) else ngrams
        if not isinstance(sizes, (tuple, list)) or not all(
            isinstance(n, int) and n > 0 for n in sizes
        ):
            raise ValueError(
                "`ngrams` must be None, a positive integer, or a tuple of positive integers. "
                f"Received: ngrams={ngrams}"
            )
        return tuple(sizes)

    # The vocabulary -------------------------------------------------------------------------------
    def adapt(self, data, batch_size=None, steps=None):
        """Find the vocabulary: the tokens of texts, most frequent first.

        Args:
            data: Strings in arrays, lists, columns of pandas or Arrow; or what gives batches of them:
                tf.data, DataLoader, generators, of any length.
            batch_size: How many texts of an array are taken at a time.
            steps: The most batches to take of what gives them.
        """
        if self._lookup_layer._static:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` "
                "argument or `set_vocabulary()` method."
            )
        self.reset_state()
        for batch in batches_of(data, steps)[1]:
            self._count(batch, batch_size or CHUNK)
        self.finalize_state()

    def update_state(self, data):
        """Count the tokens of one more batch."""
        self._count(data, CHUNK)

    def _count(self, batch, size):
        inner = self._lookup_layer
        texts, _ = strings.flat_bytes(batch, "data")
        for start in range(0, len(texts), size):
            if self._ngrams is None and self.output_mode != "tf_idf":
                words = self._words(texts[start : start + size])
                if words is not None:
                    inner._token_counts.update(counted(words))
                    continue
            rows = self._tokens_of(texts[start : start + size])
            inner._token_counts.update(strings.Tokens(rows).values)
            if self.output_mode == "tf_idf":
                inner._count_documents(rows)

    def finalize_state(self):
        """Make the vocabulary of what was counted."""
        self._lookup_layer.finalize_state()

    def reset_state(self):
        """Forget what was counted, and what was found, unless it was given."""
        self._lookup_layer.reset_state()

    def get_vocabulary(self, include_special_tokens=True):
        """The vocabulary by number; without those of padding and unknown tokens if so asked."""
        return self._lookup_layer.get_vocabulary(include_special_tokens)

    def vocabulary_size(self):
        """How many numbers there are, those of padding and unknown tokens among them."""
        return self._lookup_layer.vocabulary_size()

    def set_vocabulary(self, vocabulary, idf_weights=None):
        """Take a vocabulary, and weights for the mode "tf_idf"; see `StringLookup`."""
        self._lookup_layer.set_vocabulary(vocabulary, idf_weights)

    # Computing ------------------------------------------------------------------------------------
    def build(self, input_shape=None):
        object.__setattr__(self, "built", True)

    def check(self, inputs):
        if not strings.holds_strings(inputs):
            shown = " ".join(repr(inputs).split())[:60]
            raise ValueError(f"TextVectorization '{self.name}' takes strings; got {shown}")
        shape = tuple(inputs.shape) if hasattr(inputs, "shape") else np.shape(inputs)
        if self.split is not None and len(shape) > 1 and shape[-1] != 1:
            raise ValueError(
                "When using `TextVectorization` to tokenize strings, the input rank must be 1 or the "
                f"last shape dimension must be 1. Received: inputs.shape={shape} with "
                f"rank={len(shape)}"
            )

    def _rows_shape(self, shape):
        """The shape of the texts: an axis of size one at the end is that of the tokens."""
        return shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape

    def spec(self, shape):
        if self.output_mode != "int":
            depth = self._lookup_layer._depth()
            rows = self._rows_shape(shape) if self.split is not None else tuple(shape)[:-1]
            return (*rows, depth), "float32" if self.output_mode == "tf_idf" else "int64"
        if self.split is None:
            return tuple(shape), "int64"
        return (*self._rows_shape(shape), self.output_sequence_length), "int64"

    def _tokens_of(self, texts):
        return strings.split(
            strings.standardized(texts, self.standardize), self.split, self._ngrams
        )

    def _words(self, texts):
        """The words of many texts, found at once; None where that is not worth it, or not exact."""
        if self.split != "whitespace" or sum(map(len, texts)) < SMALL:
            return None
        texts = strings.standardized(texts, self.standardize)
        return None if any(b"\0" in text for text in texts) else Words(texts)

    def _numbers(self, texts):
        """The numbers of all tokens, end to end, and how many each text has."""
        inner, words = self._lookup_layer, self._words(texts)
        if words is None:
            tokens = strings.Tokens(self._tokens_of(texts))
            return inner.numbers_of(tokens.values), tokens.lengths
        table, unknown = inner._lookup_table(), len(inner._specials) - 1
        if self._table is None or self._table[0] is not table:
            kind = WordTable if self._ngrams is None else GramTable
            known = {token: n for token, n in table.items() if token}
            made = table, kind(list(known), list(known.values()))
            object.__setattr__(self, "_table", made)
        if self._ngrams is None:
            return self._table[1].look_up(words, unknown), words.counts
        return self._table[1].look_up(words, self._ngrams, unknown)

    def compute(self, inputs):
        texts, shape = strings.flat_bytes(inputs)
        inner = self._lookup_layer
        index, lengths = self._numbers(texts)
        if self.split is None and self._ngrams is None:
            return inner._encoded(index.reshape(shape))
        if self.output_mode != "int":
            return self._vectors(index, lengths, self._rows_shape(shape))
        if self.ragged:
            size = self.output_sequence_length
            rows = np.split(index, np.cumsum(lengths)[:-1])
            return [row[:size] for row in rows]
        made = strings.padded(index, lengths, self.output_sequence_length)
        return made.reshape(*self._rows_shape(shape), made.shape[-1])

    def _vectors(self, index, lengths, shape):
        """Counts of the tokens of each text."""
        inner = self._lookup_layer
        depth = inner._depth()
        place = np.repeat(np.arange(len(lengths)), lengths) * depth + index
        counts = np.bincount(place[index >= 0], minlength=len(lengths) * depth).reshape(
            *shape, depth
        )
        if self.output_mode == "multi_hot":
            return (counts > 0).astype("int64")
        if self.output_mode == "count":
            return counts
        return (counts * np.pad(inner._weights, (0, depth - len(inner._weights)))).astype("float32")

    def call(self, inputs):
        made = super().call(inputs)
        if isinstance(made, list):
            engine = backend.current()
            ragged = getattr(engine, "ragged", None)
            return [engine.to_array(row) for row in made] if ragged is None else ragged(made)
        return made

    # Configs and files ----------------------------------------------------------------------------
    def get_config(self):
        config = super().get_config()
        config["vocabulary_size"] = self._lookup_layer.get_config()["vocabulary_size"]
        for name in ("standardize", "split"):
            if callable(getattr(self, name)):
                from oneiros.core.registry import serialize_keras_object

                config[name] = serialize_keras_object(getattr(self, name))
        return config

    @classmethod
    def from_config(cls, config):
        from oneiros.core.registry import deserialize_keras_object

        refuse_paths(cls, config)
        config = dict(config)
        for name in ("standardize", "split"):
            if isinstance(config.get(name), dict):
                config[name] = deserialize_keras_object(config[name])
        if isinstance(config.get("ngrams"), list):
            config["ngrams"] = tuple(config["ngrams"])
        return super().from_config(config)

    def save_own_variables(self, store):
        self._lookup_layer.save_own_variables(store)

    def load_own_variables(self, store):
        self._lookup_layer.load_own_variables(store)

    def save_assets(self, dir_path):
        """Write the vocabulary into a folder, if it was not given but found."""
        self._lookup_layer.save_assets(dir_path)

    def load_assets(self, dir_path):
        """Read the vocabulary that `save_assets` wrote."""
        self._lookup_layer.load_assets(dir_path)
