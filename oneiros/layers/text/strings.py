"""Arrays of strings as flat lists of bytes: standardized, split, counted.

Text is UTF-8, as in TensorFlow's string tensors; case, punctuation and white space are ASCII's.
Nothing here knows of layers or backends.
"""

from __future__ import annotations

import itertools
import string

import numpy as np

from oneiros.core import backend

__all__ = [
    "SPLITS", "STANDARDS", "Tokens", "flat_bytes", "flat_strings", "holds_strings", "padded", "split",
    "standardized", "to_text",
]  # fmt: skip

PUNCTUATION = string.punctuation.encode()
LOWER = bytes(bytes([i]).lower()[0] for i in range(256))
STANDARDS = {  # name: bytes.translate's table, and what it leaves out
    "lower_and_strip_punctuation": (LOWER, PUNCTUATION),
    "lower": (LOWER, b""),
    "strip_punctuation": (None, PUNCTUATION),
}
SPLITS = {
    "whitespace": bytes.split,
    "character": lambda text: [c.encode() for c in text.decode("utf-8", "replace")],
}


# Reading ------------------------------------------------------------------------------------------
def holds_strings(x):
    """Whether `x` is a string, or an array or nested list of them (as its first element says)."""
    while isinstance(x, (list, tuple)) and len(x):
        x = x[0]
    if isinstance(x, (str, bytes)):
        return True
    dtype = getattr(x, "dtype", None)
    name = str(getattr(dtype, "name", dtype))
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        first = next(iter(x.ravel()), "")
        return isinstance(first, (str, bytes)) or first is None or first != first
    return getattr(dtype, "kind", "") in ("U", "S", "T") or name in (
        "string",
        "str",
        "large_string",
    )


def flat_bytes(x, label="inputs"):
    """Strings in whatever holds them, as a flat list of bytes, and their shape.

    Takes str, bytes, nested lists of them, NumPy arrays of any kind of string, arrays of frameworks,
    and columns of pandas or Arrow.

    >>> flat_bytes([["a"], ["é"]])
    ([b'a', b'\\xc3\\xa9'], (2, 1))

    Raises:
        ValueError: for what holds no strings, missing ones, or rows of different lengths.
    """
    if isinstance(x, (str, bytes, np.str_, np.bytes_)):
        return _encoded([x], label), ()
    if isinstance(x, (list, tuple)):
        flat, shape = _flattened(x, label)
        return _encoded(flat, label), shape
    if hasattr(x, "to_pylist"):  # Arrow
        return _encoded(x.to_pylist(), label), (len(x),)
    if hasattr(x, "to_numpy") and not isinstance(x, np.ndarray):  # pandas
        x = x.to_numpy()
    elif not isinstance(x, np.ndarray):
        x = backend.to_numpy(x)
    if isinstance(x, (str, bytes)):  # a tensor of no rank
        return _encoded([x], label), ()
    if x.dtype.kind in "biufc":
        raise ValueError(
            f"{label} must be strings: str, bytes, or arrays and lists of them; got numbers of dtype "
            f"{x.dtype} and shape {x.shape}"
        )
    return _encoded(x.ravel().tolist(), label), x.shape


def flat_strings(x, label="inputs"):
    """As `flat_bytes`, but a flat list of str is left as it is: it is quicker looked up than made."""
    if isinstance(x, np.ndarray) and x.dtype.kind in "OUT":
        values = x.ravel().tolist()
    elif isinstance(x, list):
        values = x
    else:
        return flat_bytes(x, label)
    if set(map(type, values)) <= {str, np.str_} and values:
        return values, np.shape(x) if isinstance(x, np.ndarray) else (len(x),)
    return flat_bytes(x, label)


def _flattened(x, label):
    """What nested lists hold, and their shape."""
    rows, shape = [x], []
    while rows and all(isinstance(row, (list, tuple)) for row in rows):
        sizes = {len(row) for row in rows}
        if len(sizes) > 1:
            raise ValueError(f"{label} are nested lists whose rows have different lengths")
        shape.append(sizes.pop())
        rows = list(itertools.chain.from_iterable(rows))
    if not any(hasattr(row, "dtype") and not isinstance(row, np.generic) for row in rows):
        return rows, tuple(shape)
    parts = [flat_bytes(row, label) for row in rows]
    if len({inner for _, inner in parts}) > 1:
        raise ValueError(f"{label} are rows of different lengths")
    return [v for values, _ in parts for v in values], (*shape, *parts[0][1])


def _encoded(values, label):
    """Strings and bytes as bytes, most of them in one go."""
    kinds = set(map(type, values))
    if kinds <= {bytes, np.bytes_}:
        return values
    if kinds <= {str, np.str_}:
        together = "\0".join(values).encode()
        parts = together.split(b"\0") if values else []
        return parts if len(parts) == len(values) else [v.encode() for v in values]
    for place, value in enumerate(values):
        if not isinstance(value, (str, bytes)):
            raise ValueError(
                f"{label} must be strings; the one at place {place} is {value!r} of type "
                f"{type(value).__name__}"
            )
    return [v.encode() if isinstance(v, str) else v for v in values]


def to_text(values, encoding="utf-8"):
    """Bytes as str."""
    return [v.decode(encoding, "replace") for v in values]


def as_array(values, shape):
    """Bytes as an array of str, for functions of users."""
    return np.array(to_text(values), "U").reshape(shape) if values else np.zeros(shape, "U1")


# Tokens -------------------------------------------------------------------------------------------
class Tokens:
    """The tokens of several texts, end to end, and how many each text has."""

    def __init__(self, rows):
        self.lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        self.values = list(itertools.chain.from_iterable(rows))


def standardized(texts, how):
    """Texts without what shall not tell tokens apart.

    Args:
        texts: A list of bytes.
        how: A name in `STANDARDS`, None, or a function of an array of strings.
    """
    if how is None or not texts:
        return texts
    if callable(how):
        made, shape = flat_bytes(how(as_array(texts, (len(texts),))), "what `standardize` gives")
        if shape != (len(texts),):
            raise ValueError(
                f"`standardize` must give a string for each of {len(texts)} strings; got the shape "
                f"{shape}"
            )
        return made
    table, without = STANDARDS[how]
    parts = b"\0".join(texts).translate(table, without).split(b"\0")
    return parts if len(parts) == len(texts) else [text.translate(table, without) for text in texts]


def split(texts, how, ngrams=None):
    """The tokens of each text: a list of lists of bytes.

    Args:
        how: A name in `SPLITS`, None for the text as the one token, or a function of an array of
            strings that gives a list (or ragged array) of strings for each.
        ngrams: Numbers of words that are joined to tokens; each number's tokens stand together.
    """
    if how is None:
        rows = [[text] for text in texts]
    elif callable(how):
        rows = [flat_bytes(row, "what `split` gives")[0] for row in _rows(how, texts)]
    else:
        rows = list(map(SPLITS[how], texts))
    if ngrams is None:
        return rows
    grams = lambda row, n: map(b" ".join, zip(*[row[i:] for i in range(n)]))
    return [[gram for n in ngrams for gram in grams(row, n)] for row in rows]


def _rows(function, texts):
    made = function(as_array(texts, (len(texts),)))
    made = made.to_list() if hasattr(made, "to_list") else made
    if len(made) != len(texts):
        raise ValueError(
            f"`split` must give the tokens of each of {len(texts)} strings; got {len(made)} rows"
        )
    return [
        list(row) if isinstance(row, (tuple, np.ndarray)) and len(row) == 0 else row for row in made
    ]


def padded(values, lengths, size=None):
    """Numbers of rows of different lengths as one array, zeros behind the short rows.

    >>> padded(np.array([1, 2, 3]), np.array([1, 2])).tolist()
    [[1, 0], [2, 3]]
    """
    size = int(lengths.max(initial=0)) if size is None else size
    made = np.zeros((len(lengths), size), values.dtype)
    if len(values):
        longest = int(lengths.max())
        kept = np.arange(longest) < lengths[:, None]
        if longest > size:
            rows = np.repeat(np.arange(len(lengths)), lengths)
            place = np.arange(len(values)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
            fits = place < size
            made[rows[fits], place[fits]] = values[fits]
        else:
            made[:, :longest][kept] = values
    return made
