"""Names made up for objects: snake case of the class, numbered within the session."""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["auto_name", "reset", "snake_case"]

_counts = Counter()


def snake_case(name):
    """`MyDense2D` as `my_dense2d`."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def auto_name(prefix):
    """`prefix`, then `prefix_1`, `prefix_2` … in the order of calls."""
    prefix = snake_case(prefix)
    n = _counts[prefix]
    _counts[prefix] += 1
    return f"{prefix}_{n}" if n else prefix


def reset():
    """Begin counting again."""
    _counts.clear()
