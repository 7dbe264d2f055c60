"""Kinds of constructor arguments: what a declared field checks, and what it stores."""

import math

__all__ = ["Number", "OneOf"]


class OneOf:
    """A field that takes one of a few values; keywords are other names for some of them."""

    def __init__(self, *options, **aliases):
        self.options, self.aliases = options, aliases

    def convert(self, value, owner, name):
        if isinstance(value, str):
            value = self.aliases.get(value, value)
        if value not in self.options:
            options = ", ".join(map(repr, self.options))
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be one of {options}; got {value!r}"
            )
        return value


class Number:
    """A field that takes a finite number, within bounds if any are given.

    Args:
        at_least: The smallest number taken.
        above: A bound that is itself not taken.
        none: What None stands for; without it, None is refused.
    """

    def __init__(self, at_least=-math.inf, above=-math.inf, none=None):
        self.at_least, self.above, self.none = at_least, above, none

    def convert(self, value, owner, name):
        value = self.none if value is None else value
        number = value if isinstance(value, (int, float)) else self._number(value)
        if not (self.at_least <= number < math.inf and number > self.above):
            bound = f" from {self.at_least}" if self.at_least > -math.inf else ""
            bound = f" above {self.above}" if self.above > -math.inf else bound
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be a finite number{bound}; got {value!r}"
            )
        return number

    @staticmethod
    def _number(value):
        """A number that NumPy or a framework holds, as Python's; what is none becomes NaN."""
        if isinstance(value, str) or not hasattr(value, "__float__"):
            return math.nan
        try:
            return float(value)
        except (TypeError, ValueError):
            return math.nan
