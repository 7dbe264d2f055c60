"""Layers for features of tables: encodings, hashes, bins."""

from oneiros.layers.features.discretization import Discretization
from oneiros.layers.features.encoding import CategoryEncoding
from oneiros.layers.features.hashing import HashedCrossing, Hashing

__all__ = ["CategoryEncoding", "Discretization", "HashedCrossing", "Hashing"]
