"""Sequences of different lengths as one array."""

from oneiros.utils.sequences import pad_sequences

__all__ = ["pad_sequences"]
