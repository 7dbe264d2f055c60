"""Articles of clothing: 60,000 and 10,000 gray pictures of 28x28 (Xiao et al., 2017)."""

from oneiros.datasets.sources import fetched, read_idx

__all__ = ["load_data"]


def load_data():
    """The pictures as `(x_train, y_train), (x_test, y_test)`, all uint8.

    The classes are T-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, ankle boot.
    """

    def part(name):
        return tuple(
            read_idx(fetched(f"{name}-{kind}-ubyte.gz", cache_subdir="datasets/fashion-mnist"))
            for kind in ("images-idx3", "labels-idx1")
        )

    return part("train"), part("t10k")
