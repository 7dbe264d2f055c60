"""Sequences of different lengths as one array."""

from __future__ import annotations

import numpy as np

__all__ = ["pad_sequences"]


def pad_sequences(
    sequences, maxlen=None, dtype="int32", padding="pre", truncating="pre", value=0.0
):
    """Sequences cut or filled up to one length, as an array (count, length, ...).

    Args:
        sequences: A list of sequences of numbers, or of arrays of one shape.
        maxlen: The length; that of the longest if None.
        dtype: Of the array; `object` for strings.
        padding: Whether `value` stands before ("pre") or after ("post") what is too short.
        truncating: Whether what is too long loses its beginning ("pre") or its end ("post").
        value: What fills up.

    >>> pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2).tolist()
    [[0, 1], [2, 3], [5, 6]]
    """
    if not hasattr(sequences, "__len__"):
        raise ValueError("`sequences` must be iterable.")
    for name, side in (("Padding", padding), ("Truncating", truncating)):
        if side not in ("pre", "post"):
            raise ValueError(f'{name} type "{side}" not understood: it must be "pre" or "post"')
    odd = next((x for x in sequences if not hasattr(x, "__len__")), None)
    if odd is not None:
        raise ValueError(f"`sequences` must be a list of iterables. Found non-iterable: {odd}")
    strings = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_)
    if isinstance(value, str) and dtype is not object and not strings:
        raise ValueError(
            f"`dtype` {dtype} is not compatible with `value`'s type: {type(value)} You should set "
            "`dtype=object` for variable length strings."
        )
    if not len(sequences):
        raise ValueError("`sequences` is empty: there is nothing to pad")
    shape = next((np.shape(x)[1:] for x in sequences if len(x)), ())
    maxlen = max(map(len, sequences)) if maxlen is None else maxlen
    made = np.full((len(sequences), maxlen, *shape), value, dtype=dtype)
    for place, sequence in enumerate(sequences):
        if not len(sequence):
            continue
        kept = (
            sequence[max(0, len(sequence) - maxlen) :] if truncating == "pre" else sequence[:maxlen]
        )
        kept = np.asarray(kept, dtype=dtype)
        if kept.shape[1:] != shape:
            raise ValueError(
                f"Shape of sample {kept.shape[1:]} of sequence at position {place} is different from "
                f"expected shape {shape}"
            )
        rows = slice(maxlen - len(kept), None) if padding == "pre" else slice(0, len(kept))
        made[place, rows] = kept
    return made
