"""Lookups: strings or integers as the numbers that they have in a vocabulary, and back.

One base holds the vocabulary, how it is found (`adapt`), written and read; what differs between
strings and integers is how values are read, and what of them is out of the vocabulary.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter

import numpy as np

from oneiros import ops
from oneiros.core import backend, tree
from oneiros.core.symbol import Symbol
from oneiros.layers.base import Layer
from oneiros.layers.features.encoding import check_mode, encode, encode_symbols, encoded_shape
from oneiros.layers.host import HostLayer
from oneiros.layers.text import strings
from oneiros.layers.text.batches import batches_of
from oneiros.layers.text.fingerprints import as_decimals, farmhash64, siphash24

__all__ = ["IntegerLookup", "StringLookup"]

MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
UNKNOWN, MASKED = -1, -2
CLOSE = 1 << 20  # how far integers may lie apart to be looked up by place


class IndexLookup(HostLayer):
    """What lookups share: the vocabulary, its numbers, and the output modes."""

    def adopt(self, oov_method="floormod", vocabulary_size=None, **options):
        super().adopt(**options)
        self.oov_method, self._size_in_file = oov_method, vocabulary_size

    def _ready(self):
        name = type(self).__name__
        if self.max_tokens is not None and self.max_tokens <= 1:
            raise ValueError(
                f"If set, `max_tokens` must be greater than 1. Received: max_tokens={self.max_tokens}"
            )
        if self.pad_to_max_tokens and self.max_tokens is None:
            raise ValueError(
                "If pad_to_max_tokens is True, must set `max_tokens`. Received: max_tokens=None"
            )
        if self.num_oov_indices < 0:
            raise ValueError(
                "`num_oov_indices` must be greater than or equal to 0. Received: "
                f"num_oov_indices={self.num_oov_indices}"
            )
        check_mode(self, MODES)
        if self.invert and self.output_mode != "int":
            raise ValueError(
                "`output_mode` must be `'int'` when `invert` is true. Received: "
                f"output_mode={self.output_mode}"
            )
        if self.oov_method not in ("floormod", "farmhash"):
            raise ValueError(
                f"{name}: `oov_method` must be 'floormod' or 'farmhash'; got {self.oov_method!r}"
            )
        self.salt = checked_salt(self.salt, name)
        given, weights = self.vocabulary, self.idf_weights
        self.vocabulary = self.idf_weights = None
        self._tokens, self._weights, self._table, self._static = [], None, None, False
        self.reset_state()
        if weights is not None and self.output_mode != "tf_idf":
            raise ValueError(
                "`idf_weights` should only be set if `output_mode` is `'tf_idf'`. Received: "
                f"idf_weights={weights} and output_mode={self.output_mode}"
            )
        if given is not None:
            if self.output_mode == "tf_idf" and weights is None:
                raise ValueError(
                    "When specifying the `vocabulary` argument, in TF-IDF output mode, the "
                    "`idf_weights` argument must also be provided."
                )
            if isinstance(given, (str, os.PathLike)):
                given = self._read_file(given)
            self.set_vocabulary(given, weights)
            # what was given stands in the config; what was found by `adapt` in the file beside it
            self.vocabulary = self._shown(self._inner(given))
            self.idf_weights = None if weights is None else np.asarray(weights).tolist()

    # The vocabulary -------------------------------------------------------------------------------
    @property
    def _specials(self):
        """What stands before the tokens: the mask, and what is out of the vocabulary."""
        masks = self.mask_token is not None and self.output_mode == "int"
        own = [self.mask_token] * masks + [self.oov_token] * self.num_oov_indices
        return self._inner(own)

    def get_vocabulary(self, include_special_tokens=True):
        """The vocabulary by number; without the mask and what is out of it if so asked."""
        special = self._specials if include_special_tokens else []
        return self._shown([*special, *self._tokens])

    def vocabulary_size(self):
        """How many numbers there are, those of the mask and out of the vocabulary among them."""
        return len(self._specials) + len(self._tokens)

    def set_vocabulary(self, vocabulary, idf_weights=None):
        """Take a vocabulary, with or without the special tokens before it.

        Args:
            vocabulary: A list or array of tokens, most frequent first, or the name of a file with
                one on each line.
            idf_weights: A weight for each, in the output mode "tf_idf".

        Raises:
            ValueError: for one that is empty, has a token twice, is larger than `max_tokens`, has the
                mask token among the others, or weights that do not fit.
        """
        if isinstance(vocabulary, (str, os.PathLike)):
            vocabulary = self._read_file(vocabulary)
        tokens = self._inner(vocabulary)
        if not tokens:
            raise ValueError(f"Cannot set an empty vocabulary. Received: vocabulary={vocabulary}")
        if self.output_mode == "tf_idf" and idf_weights is None:
            raise ValueError("`idf_weights` must be set if output_mode is 'tf_idf'.")
        if self.output_mode != "tf_idf" and idf_weights is not None:
            raise ValueError(
                "`idf_weights` should only be set if `output_mode` is `'tf_idf'`. Received: "
                f"idf_weights={idf_weights} and output_mode={self.output_mode}"
            )
        if idf_weights is not None and len(idf_weights) != len(tokens):
            raise ValueError(
                "`idf_weights` must be the same length as vocabulary. len(idf_weights) is "
                f"{len(idf_weights)}; len(vocabulary) is {len(tokens)}"
            )
        special = self._specials
        whole = bool(special) and tokens[: len(special)] == special
        tokens = tokens[len(special) :] if whole else tokens
        if len(set(tokens)) < len(tokens):
            twice = [t for t, n in Counter(tokens).items() if n > 1]
            raise ValueError(
                "The passed vocabulary has at least one repeated term. Please uniquify your dataset. "
                f"The repeated terms are: {self._shown(twice)}"
            )
        mask = self._inner([self.mask_token]) if self.mask_token is not None else []
        if mask and mask[0] in tokens:
            raise ValueError(
                "Found reserved mask token at unexpected location in `vocabulary`. Note that passed "
                "`vocabulary` does not need to include the OOV and mask tokens. Either remove all "
                "mask and OOV tokens, or include them only at the start of the vocabulary in "
                f"precisely this order: {self._shown(special)}. Received: mask_token="
                f"{self.mask_token!r} at vocabulary index {tokens.index(mask[0])}"
            )
        size = len(special) + len(tokens)
        if self.max_tokens is not None and size > self.max_tokens:
            raise ValueError(
                "Attempted to set a vocabulary larger than the maximum vocab size. Received "
                f"vocabulary size is {size}; `max_tokens` is {self.max_tokens}."
            )
        weights = None
        if idf_weights is not None:
            weights = np.asarray(idf_weights, "float32")
            if not whole:  # out of the vocabulary weighs what the tokens weigh on average
                weights = np.concatenate(
                    [np.full(len(special), weights.mean(), "float32"), weights]
                )
        self._keep(tokens, weights)
        self._static = True

    def _keep(self, tokens, weights=None):
        put = object.__setattr__
        put(self, "_tokens", tokens)
        put(self, "_weights", weights)
        put(self, "_table", None)

    def _lookup_table(self):
        """Token to number, and whether the layer has a vocabulary at all."""
        if self._table is None:
            if not self._tokens:
                raise ValueError(
                    f"{type(self).__name__} '{self.name}' has no vocabulary yet: call `adapt(data)` or "
                    "`set_vocabulary(...)` first, or give `vocabulary` to its constructor"
                )
            special = self._specials
            table = dict(zip(self._tokens, range(len(special), len(special) + len(self._tokens))))
            if self.mask_token is not None:  # where there is no number for it, it leaves no trace
                masked = 0 if len(special) > self.num_oov_indices else MASKED
                table[self._inner([self.mask_token])[0]] = masked
            object.__setattr__(self, "_table", table)
        return self._table

    # Adapting -------------------------------------------------------------------------------------
    def adapt(self, data, steps=None):
        """Find the vocabulary: the tokens of `data`, most frequent first.

        Args:
            data: Strings (or integers) in arrays, lists, columns of pandas or Arrow; or what gives
                batches of them: tf.data, DataLoader, generators, of any length.
            steps: The most batches to take.
        """
        if self._static:
            raise ValueError(
                f"Cannot adapt layer '{self.name}' after setting a static vocabulary via `vocabulary` "
                "argument or `set_vocabulary()` method."
            )
        self.reset_state()
        whole, batches = batches_of(data, steps)
        for batch in batches:
            self._count(batch, whole)
        self.finalize_state()

    def update_state(self, data):
        """Count the tokens of one more batch."""
        self._count(data, False)

    def _count(self, batch, whole):
        values, shape = self._read(batch)
        self._token_counts.update(values)
        if self.output_mode != "tf_idf":
            return
        if hasattr(batch, "row_lengths"):
            ends = np.cumsum(backend.to_numpy(batch.row_lengths()))
            rows = [values[a:b] for a, b in zip([0, *ends], ends)]
        else:
            size = 1 if not shape or (whole and len(shape) == 1) else shape[-1]
            rows = [values[i : i + size] for i in range(0, len(values), max(1, size))]
        self._count_documents(rows)

    def _count_documents(self, rows):
        for row in rows:
            self._documents.update(set(row))
        self._document_count += len(rows)

    def finalize_state(self):
        """Make the vocabulary of what was counted."""
        if self._static or not self._token_counts:
            return
        special = set(self._specials) | set(self._inner([self.oov_token]))
        if self.mask_token is not None:
            special |= set(self._inner([self.mask_token]))
        tokens = sorted(self._token_counts.keys() - special, reverse=True)
        tokens.sort(key=self._token_counts.__getitem__, reverse=True)
        if self.max_tokens is not None:
            tokens = tokens[: max(0, self.max_tokens - len(self._specials))]
        weights = None
        if self.output_mode == "tf_idf":
            found = np.array([self._documents[t] for t in tokens], "float64")
            weights = np.log(1 + self._document_count / (1 + found)).astype("float32")
            special = np.full(len(self._specials), weights.mean() if len(tokens) else 0, "float32")
            weights = np.concatenate([special, weights])
        self._keep(tokens, weights)
        self.reset_counts()

    def reset_counts(self):
        put = object.__setattr__
        put(self, "_token_counts", Counter())
        put(self, "_documents", Counter())
        put(self, "_document_count", 0)

    def reset_state(self):
        """Forget what was counted, and what was found, unless it was given."""
        self.reset_counts()
        if not self._static:
            self._keep([])

    # Computing ------------------------------------------------------------------------------------
    def _depth(self):
        if self.pad_to_max_tokens:
            return self.max_tokens
        return self.vocabulary_size() if self._tokens else self._size_in_file or len(self._specials)

    def spec(self, shape):
        if self.invert:
            return shape, self.compute_dtype
        dtype = "float32" if self.output_mode == "tf_idf" else "int64"
        return encoded_shape(shape, self.output_mode, self._depth()), dtype

    def compute(self, inputs):
        if self.invert:
            return self._back(np.asarray(inputs))
        index = self._numbers(inputs)
        return self._encoded(index)

    def _encoded(self, index):
        weights = self._weights
        if weights is not None and len(weights) < self._depth():
            weights = np.pad(weights, (0, self._depth() - len(weights)))
        dtype = "float32" if self.output_mode == "tf_idf" else "int64"
        return encode(index, self.output_mode, self._depth(), dtype, weights)

    def _on_ragged(self, x):
        if self.output_mode in ("int", "one_hot"):
            return super()._on_ragged(x)
        lengths = backend.to_numpy(x.row_lengths())
        index = self._numbers(x.flat_values)
        made = [self._encoded(row) for row in np.split(index, np.cumsum(lengths)[:-1])]
        return backend.owner_of(type(x.flat_values)).to_array(np.stack(made))

    def _buckets(self, values, hashed):
        """Numbers of values that are not in the vocabulary, of which there are some."""
        if self.num_oov_indices == 0:
            shown = list(dict.fromkeys(self._shown(list(values))))
            raise ValueError(
                f"{type(self).__name__} '{self.name}': when `num_oov_indices=0` all inputs should be in "
                f"the vocabulary, found {shown[:10]}, consider setting `num_oov_indices=1`."
            )
        first = len(self._specials) - self.num_oov_indices
        return first + hashed(values) % self.num_oov_indices

    def _hashed(self, values):
        made = farmhash64(values) if self.salt is None else siphash24(values, self.salt)
        return (made % np.uint64(self.num_oov_indices)).astype("int64")

    def _back(self, index):
        """The tokens with these numbers; others are out of the vocabulary."""
        self._lookup_table()
        tokens = self._array([*self._specials, *self._tokens, *self._inner([self.oov_token])])
        known = (index >= 0) & (index < len(tokens) - 1)
        return tokens[np.where(known, index, len(tokens) - 1).astype("int64")]

    # Configs and files ----------------------------------------------------------------------------
    def get_config(self):
        size = self.vocabulary_size() if self._tokens else self._size_in_file
        more = dict(oov_method=self.oov_method, vocabulary_size=size)
        return {**super().get_config(), **more}

    @classmethod
    def from_config(cls, config):
        refuse_paths(cls, config)
        return super().from_config(config)

    def get_build_config(self):
        return {}

    def build_from_config(self, config):
        """Nothing is built: the vocabulary comes from the config or beside it."""

    def save_own_variables(self, store):
        if self._weights is not None and self.vocabulary is None:
            store["idf_weights"] = self._weights

    def load_own_variables(self, store):
        if self.output_mode == "tf_idf" and "idf_weights" in store:
            object.__setattr__(self, "_weights", np.asarray(store["idf_weights"], "float32"))

    def save_assets(self, dir_path):
        """Write the vocabulary into a folder, if it was not given but found."""
        if self.vocabulary is not None or not self._tokens:
            return
        shown = list(map(str, self.get_vocabulary()))
        with open(
            os.path.join(dir_path, "vocabulary.txt"), "w", encoding="utf-8", newline="\n"
        ) as f:
            f.write("\n".join(shown))
        if any("\n" in token or "\r" in token for token in shown):  # lines cannot tell these apart
            with open(os.path.join(dir_path, "vocabulary.json"), "w", encoding="utf-8") as f:
                json.dump(shown, f)

    def load_assets(self, dir_path):
        """Read the vocabulary that `save_assets` wrote."""
        path = os.path.join(dir_path, "vocabulary.json")
        if self.vocabulary is not None:
            return
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                lines = json.load(f)
            if not isinstance(lines, list) or not all(isinstance(t, str) for t in lines):
                raise ValueError("its vocabulary.json must hold a list of strings")
        elif os.path.exists(path := os.path.join(dir_path, "vocabulary.txt")):
            with open(path, encoding="utf-8", newline="\n") as f:
                lines = f.read().split("\n")
        else:
            return
        tokens, special = self._inner(self._parsed(lines)), self._specials
        whole = tokens[: len(special)] == special
        weights = self._weights
        self._keep(tokens[len(special) :] if whole else tokens)
        if weights is not None and len(weights) != self.vocabulary_size():
            raise ValueError(
                f"its idf_weights are {len(weights)}, its vocabulary has {self.vocabulary_size()} tokens"
            )
        object.__setattr__(self, "_weights", weights)

    def _read_file(self, path):
        """The vocabulary in a file that the user names."""
        path = os.fspath(path)
        if not os.path.isfile(path):
            raise ValueError(f"Vocabulary file {path} does not exist.")
        with open(path, encoding="utf-8") as file:
            return self._parsed(file.read().splitlines())


class StringLookup(IndexLookup):
    """Strings as the numbers that they have in a vocabulary.

    The vocabulary is given, or found by `adapt`. First come the mask token (0, in the mode "int"), then
    the numbers of strings that are not in it, then its tokens.

    Args:
        max_tokens: The most numbers that there are.
        num_oov_indices: How many numbers strings out of the vocabulary are spread over, by a hash.
        mask_token: What stands for nothing.
        oov_token: What the inverse gives for what is out of the vocabulary.
        vocabulary: A list or array of strings, or the name of a file with one on each line.
        idf_weights: A weight for each, in the mode "tf_idf".
        invert: Whether numbers become strings instead.
        output_mode: "int", "one_hot", "multi_hot", "count" or "tf_idf".
        pad_to_max_tokens: Whether vectors are as long as `max_tokens`.
        encoding: In which the vocabulary is shown.
        salt: One or two numbers: SipHash with them as its key takes the place of FarmHash.

    >>> from oneiros import layers
    >>> layers.StringLookup(vocabulary=["a", "b"])(["b", "c"]).tolist()
    [2, 0]

    Raises:
        ValueError: when called without a vocabulary, or on strings out of it with `num_oov_indices=0`.
    """

    max_tokens: int = None
    num_oov_indices: int = 1
    mask_token: str = None
    oov_token: str = "[UNK]"
    vocabulary: list = None
    idf_weights: list = None
    invert: bool = False
    output_mode: str = "int"
    pad_to_max_tokens: bool = False
    sparse: bool = False
    encoding: str = "utf-8"
    name: str = None
    salt: object = None

    compute_dtype = variable_dtype = dtype = property(lambda self: "string")
    _texts = None

    def check(self, inputs):
        numbers = not strings.holds_strings(inputs)
        if self.invert and not numbers or not self.invert and numbers:
            want, got = ("integers", "strings") if self.invert else ("strings", "numbers")
            raise ValueError(
                f"StringLookup '{self.name}' takes {want}; got {got}: {_brief(inputs)}"
            )

    def _inner(self, values):
        values = values if isinstance(values, (list, tuple)) else _host_list(values)
        return strings.flat_bytes(list(values), "vocabulary")[0] if len(values) else []

    def _shown(self, tokens):
        return strings.to_text(tokens, self.encoding)

    def _array(self, tokens):
        return np.array(self._shown(tokens))

    def _parsed(self, lines):
        return lines

    def _read(self, batch):
        return strings.flat_bytes(batch, "data")

    def _numbers(self, inputs):
        values, shape = strings.flat_strings(inputs)
        return self.numbers_of(values).reshape(shape)

    def _text_table(self):
        """Token as str to number."""
        table = self._lookup_table()
        if self._texts is None or self._texts[0] is not table:
            texts = dict(zip(strings.to_text(table), table.values()))
            object.__setattr__(self, "_texts", (table, texts))
        return self._texts[1]

    def numbers_of(self, values):
        """The numbers of a flat list of bytes or str."""
        text = bool(values) and isinstance(values[0], str)
        table = self._text_table() if text else self._lookup_table()
        get, alone = table.get, self.num_oov_indices == 1
        out = itertools.repeat(len(self._specials) - 1 if alone else UNKNOWN)
        index = np.fromiter(map(get, values, out), np.int64, len(values))
        if not alone and (index == UNKNOWN).any():
            rows = np.flatnonzero(index == UNKNOWN)
            out = [values[i].encode() if text else values[i] for i in rows]
            index[rows] = self._buckets(out, self._hashed)
        return index


class IntegerLookup(IndexLookup):
    """Integers as the numbers that they have in a vocabulary; as `StringLookup` does for strings.

    In compiled steps it is a search in the sorted vocabulary.

    Args:
        oov_method: How integers out of the vocabulary are spread: "floormod", the remainder, or
            "farmhash", a hash of their digits (SipHash with `salt`).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.IntegerLookup(vocabulary=[12, 36])(np.array([36, 7])).tolist()
    [2, 0]
    """

    max_tokens: int = None
    num_oov_indices: int = 1
    mask_token: int = None
    oov_token: int = -1
    vocabulary: list = None
    vocabulary_dtype: str = "int64"
    idf_weights: list = None
    invert: bool = False
    output_mode: str = "int"
    sparse: bool = False
    pad_to_max_tokens: bool = False
    oov_method: str = "floormod"
    salt: object = None
    name: str = None

    compute_dtype = variable_dtype = dtype = property(lambda self: "int64")
    _sorted = None

    def adopt(self, **options):
        super().adopt(**options)

    def _ready(self):
        if self.vocabulary_dtype != "int64":
            raise ValueError(
                "Only `vocabulary_dtype='int64'` is supported at this time. Received: "
                f"vocabulary_dtype={self.vocabulary_dtype}"
            )
        super()._ready()

    @property
    def on_host(self):
        return self.num_oov_indices > 1 and self.oov_method == "farmhash"

    def __call__(self, *args, **kwargs):
        x = args[0] if args else kwargs.get("inputs")
        if self.on_host or not _in_place(x):
            return super().__call__(*args, **kwargs)
        staged = self._staged(x)
        return Layer.__call__(self, x) if staged is None else staged

    def call(self, inputs):
        if self.on_host or not _in_place(inputs):
            return super().call(inputs)
        return self._by_ops(inputs)

    def check(self, inputs):
        if strings.holds_strings(inputs):
            raise ValueError(f"IntegerLookup '{self.name}' takes integers; got {_brief(inputs)}")

    def _by_ops(self, inputs):
        """By a search: of symbols, and arrays of frameworks."""
        x, engine = inputs, backend.owner({type(inputs)} - {Symbol}) or backend.current()
        dtype, table = engine.canonical_dtype("int64"), self._lookup_table()
        constant = _narrow if isinstance(x, Symbol) else lambda *v: engine.to_array(_narrow(*v))
        if self.invert:
            every = np.array([*self._specials, *self._tokens, self.oov_token], "int64")
            known = ops.logical_and(ops.greater_equal(x, 0), ops.less(x, len(every) - 1))
            place = ops.where(known, ops.cast(x, "int32"), len(every) - 1)
            return ops.take(constant(every, dtype), place)
        keys, numbers, _ = self._arrays()
        numbers, keys, x = constant(numbers, dtype), constant(keys, dtype), ops.cast(x, dtype)
        place = ops.minimum(ops.searchsorted(keys, x), len(table) - 1)
        first = len(self._specials) - self.num_oov_indices
        if self.num_oov_indices > 1:
            out = ops.mod(x, self.num_oov_indices) + first
        else:  # nothing can be raised here: UNKNOWN is no number
            out = ops.zeros_like(x) + (first if self.num_oov_indices else UNKNOWN)
        index = ops.where(ops.equal(ops.take(keys, place), x), ops.take(numbers, place), out)
        if self.output_mode != "tf_idf":
            return encode_symbols(index, self.output_mode, self._depth(), dtype)
        counts = encode_symbols(index, "count", self._depth(), "float32")
        weights = np.pad(self._weights, (0, self._depth() - len(self._weights)))
        return counts * (weights if isinstance(x, Symbol) else engine.to_array(weights))

    def _inner(self, values):
        return [int(v) for v in _host_list(values)]

    def _shown(self, tokens):
        return list(tokens)

    def _array(self, tokens):
        return np.array(tokens, "int64")

    def _parsed(self, lines):
        try:
            return [int(line) for line in lines]
        except ValueError as error:
            raise ValueError(f"a vocabulary of integers has an odd line: {error}") from None

    def _read(self, batch):
        self.check(batch)
        x = np.asarray(backend.to_numpy(batch) if hasattr(batch, "dtype") else batch)
        return x.astype("int64").ravel().tolist(), x.shape

    def _numbers(self, inputs):
        x = np.asarray(backend.to_numpy(inputs)).astype("int64", copy=False)
        keys, numbers, direct = self._arrays()
        if direct is None:
            place = np.minimum(np.searchsorted(keys, x), len(keys) - 1)
            index, out = numbers[place], keys[place] != x
        else:
            place = (x - keys[0]).view(
                "u8"
            )  # what lies before the first key is far behind the last
            index = direct[np.minimum(place, np.uint64(len(direct) - 1)).astype("int64")]
            out = index == UNKNOWN
        if out.any():
            how = self._hashed_numbers if self.oov_method == "farmhash" else lambda v: v
            index = np.where(out, 0, index)
            index[out] = self._buckets(x[out], how)
        return index

    def _arrays(self):
        """The tokens, sorted, their numbers, and the numbers by place where tokens lie close."""
        table = self._lookup_table()
        if self._sorted is None or self._sorted[0] is not table:
            keys = np.array(sorted(table), "int64")
            numbers, direct = np.array([table[k] for k in keys.tolist()], "int64"), None
            span = int(keys[-1]) - int(keys[0]) + 1
            if span <= CLOSE:
                direct = np.full(span + 1, UNKNOWN)
                direct[keys - keys[0]] = numbers
            object.__setattr__(self, "_sorted", (table, (keys, numbers, direct)))
        return self._sorted[1]

    def _hashed_numbers(self, values):
        return self._hashed(as_decimals(values))


# Small helpers ------------------------------------------------------------------------------------
def checked_salt(salt, name):
    """A salt as two numbers, or None."""
    if salt is None:
        return None
    whole = (int, np.integer)
    if isinstance(salt, whole):
        return [int(salt), int(salt)]
    if (
        isinstance(salt, (tuple, list))
        and len(salt) == 2
        and all(isinstance(s, whole) for s in salt)
    ):
        return list(map(int, salt))
    raise ValueError(
        f"The `salt` argument for `{name}` can only be a tuple of size 2 integers, or a single "
        f"integer. Received: salt={salt}."
    )


def refuse_paths(cls, config):
    """Files may not make a layer read other files."""
    if isinstance(config.get("vocabulary"), str):
        raise ValueError(
            f"the config of a {cls.__name__} names the file {config['vocabulary']!r} as its vocabulary; "
            "no file is read because a config says so: call `set_vocabulary` with it yourself"
        )


def _host_list(values):
    if hasattr(values, "tolist"):
        return np.ravel(values).tolist()
    if hasattr(values, "dtype"):
        return np.ravel(backend.to_numpy(values)).tolist()
    return tree.flatten(values) if isinstance(values, (list, tuple)) else list(values)


def _in_place(x):
    """Whether a lookup runs where `x` is: symbols, and arrays of the session's framework."""
    if isinstance(x, Symbol):
        return True
    if not hasattr(x, "dtype") or isinstance(x, (np.ndarray, np.generic)) or hasattr(x, "to_numpy"):
        return False
    engine = backend.owner_of(type(x))
    return engine is backend.current() or engine.is_abstract(x) and not hasattr(engine, "host_call")


def _narrow(x, dtype):
    """Integers in a backend's own width, at its bounds where they do not fit."""
    info = np.iinfo(dtype)
    return np.clip(x, info.min, info.max).astype(dtype)


def _brief(x):
    shown = " ".join(repr(x).split())
    return shown if len(shown) < 60 else shown[:57] + "..."
