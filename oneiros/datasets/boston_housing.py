"""Prices of houses around Boston in the 1970s: 506 rows of 13 features (Harrison & Rubinfeld, 1978).

One feature rests on an assumption about race that is wrong and harmful; `california_housing` has none
such.
"""

from oneiros.datasets.sources import fetched, load_npz
from oneiros.datasets.splits import split

__all__ = ["load_data"]


def load_data(path="boston_housing.npz", test_split=0.2, seed=113):
    """The rows as `(x_train, y_train), (x_test, y_test)`.

    Args:
        path: The file's name in the cache.
        test_split: The share of the rows for testing.
        seed: Of the order in which they are split.
    """
    arrays = load_npz(fetched("boston_housing.npz", path))
    return split(arrays["x"], arrays["y"], test_split, seed)
