"""Kinds of arguments of image layers: ranges that amounts are drawn from, and value ranges."""

from __future__ import annotations

import numpy as np

from oneiros.core.fields import OneOf

__all__ = ["FILL_MODES", "INTERPOLATIONS", "Factor", "FixedSeed", "Fraction", "Seed", "ValueRange"]

INTERPOLATIONS = OneOf("nearest", "bilinear")
FILL_MODES = OneOf("reflect", "wrap", "constant", "nearest")


def _is_number(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


class Factor:
    """A range of amounts; a lone number f stands for (-f, f), or (`least`, f) if that is given.

    Args:
        low, high: The bounds of both numbers.
        least: The lower end for a lone number.
        kept: Whether the value is stored as it was given.
        none: Whether None is taken.
    """

    def __init__(self, low, high, least=None, kept=False, none=False):
        self.low, self.high, self.least, self.kept, self.none = low, high, least, kept, none

    def convert(self, value, owner, name):
        if value is None and self.none:
            return None
        ends = self.ends(value, owner, name)
        return value if self.kept else ends

    def ends(self, value, owner=None, name="factor"):
        """The two ends of the range that `value` means, in order."""
        numbers = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value,)
        if not all(_is_number(v) and self.low <= v <= self.high for v in numbers):
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be a number, or two of them, from "
                f"{self.low} to {self.high}; got {value!r}"
            )
        if len(numbers) == 2:
            return tuple(sorted(numbers))
        f = numbers[0]
        return (-abs(f), abs(f)) if self.least is None else (self.least, f)


class Fraction:
    """A number from 0 to 1."""

    @staticmethod
    def convert(value, owner, name):
        if not _is_number(value) or not 0 <= value <= 1:
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be a number from 0 to 1; got {value!r}"
            )
        return value


class ValueRange:
    """The least and the largest value that pixels have."""

    @staticmethod
    def convert(value, owner, name):
        good = isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))
        if not good or not value[0] < value[1]:
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be two numbers in increasing order; got "
                f"{value!r}"
            )
        return value


class Seed:
    """A seed; the layer's `generator` is made from it."""

    @staticmethod
    def convert(value, owner, name):
        from oneiros.random import SeedGenerator

        owner.generator = SeedGenerator(value)
        return value


class FixedSeed(Seed):
    """A seed that is made up if it is None."""

    @staticmethod
    def convert(value, owner, name):
        from oneiros.core.seeding import fresh_seed

        return Seed.convert(fresh_seed() if value is None else value, owner, name)
