"""Layers for text: lookups, vectorization, subwords. Strings are split and counted in `strings`."""

from oneiros.layers.text.lookup import IntegerLookup, StringLookup
from oneiros.layers.text.subword import SubwordTokenizer
from oneiros.layers.text.vectorization import TextVectorization

__all__ = ["IntegerLookup", "StringLookup", "SubwordTokenizer", "TextVectorization"]
