"""Small data sets that everyone knows, downloaded when they are first asked for.

One table says where each file is and what its hash must be; what comes out of a file is arrays, and
nothing in it is run.
"""

import importlib

__all__ = [
    "boston_housing",
    "california_housing",
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "imdb",
    "mnist",
    "reuters",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"oneiros.datasets.{name}")
    raise AttributeError(f"module 'oneiros.datasets' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})
