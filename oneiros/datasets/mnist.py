"""Handwritten digits: 60,000 and 10,000 gray pictures of 28x28 (LeCun et al., 1998)."""

from oneiros.datasets.sources import fetched, load_npz

__all__ = ["load_data"]


def load_data(path="mnist.npz"):
    """The digits as `(x_train, y_train), (x_test, y_test)`, all uint8.

    Args:
        path: The file's name in the cache.
    """
    arrays = load_npz(fetched("mnist.npz", path))
    return (arrays["x_train"], arrays["y_train"]), (arrays["x_test"], arrays["y_test"])
