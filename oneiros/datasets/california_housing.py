"""Prices of houses in California in 1990: 20,640 rows of 8 features (Pace & Barry, 1997)."""

from oneiros.datasets.sources import fetched, load_npz
from oneiros.datasets.splits import split

__all__ = ["load_data"]


def load_data(version="large", path="california_housing.npz", test_split=0.2, seed=113):
    """The rows as `(x_train, y_train), (x_test, y_test)`.

    Args:
        version: "large", or "small" for 600 of the rows.
        path: The file's name in the cache.
        test_split: The share of the rows for testing.
        seed: Of the order in which they are split.

    Raises:
        ValueError: for an unknown version, or a share that is none.
    """
    if version not in ("large", "small"):
        raise ValueError(f'`version` must be "large" or "small"; got {version!r}')
    arrays = load_npz(fetched("california_housing.npz", path))
    x, y = arrays["x"], arrays["y"]
    if version == "small":
        x, y = x[:600], y[:600]
    return split(x, y, test_split, seed)
