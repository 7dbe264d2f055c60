"""The ops that `ops.py` times: each a function of the library's `ops` and of arrays made by NumPy.

`CASES` maps a name to (function, arrays of a size, whether it has a derivative, whether it can be
compiled). Arrays are for the two sizes in `SIZES`; `small` shows what a call costs, `large` what a
kernel does.
"""

import numpy as np

SIZES = ("small", "large")
RNG = np.random.default_rng(0)


def reals(*shape):
    return RNG.standard_normal(shape).astype("float32")


def shares(*shape):
    """Positive numbers that add up to one along the last axis."""
    x = np.exp(reals(*shape))
    return x / x.sum(-1, keepdims=True)


def whole(high, *shape):
    return RNG.integers(0, high, shape).astype("int32")


def one_hot(classes, *shape):
    return np.eye(classes, dtype="float32")[whole(classes, *shape)]


def grid(size, small, large):
    return reals(*(small if size == "small" else large))


def table(size):
    """What elementwise ops and reductions are given."""
    return grid(size, (16, 32), (512, 2048))


def images(size, channels=8):
    return grid(size, (2, 12, 12, channels), (8, 64, 64, 2 * channels))


def rows(size):
    return 8 if size == "small" else 2048


def scores(size, labels):
    n = rows(size)
    return [labels(32, n), shares(n, 32)]


def sequences(size):
    n, steps, length, classes = (2, 10, 4, 6) if size == "small" else (32, 100, 20, 30)
    return [
        1 + whole(classes - 1, n, length), reals(n, steps, classes),
        np.full(n, length, "int32"), np.full(n, steps, "int32"),
    ]  # fmt: skip


def heads(size):
    return [grid(size, (2, 8, 2, 8), (8, 128, 8, 32)) for _ in range(3)]


def numbers(size):
    return grid(size, (256,), (200_000,))


def matrices(size):
    x = grid(size, (2, 6, 6), (64, 32, 32))
    return [x @ x.swapaxes(1, 2) + np.eye(x.shape[1], dtype="float32"), reals(*x.shape)]


# Name: the op, its arrays; NO marks what has no derivative, EAGER what cannot be compiled.
NO, EAGER = "no derivative", "eager only"
ROWS = {
    "add": (lambda k, x, y: k.add(x, y), lambda s: [table(s), table(s)]),
    "where": (lambda k, x, y: k.where(k.greater(x, y), x, y), lambda s: [table(s), table(s)]),
    "exp": (lambda k, x: k.exp(x), lambda s: [table(s)]),
    "gelu": (lambda k, x: k.gelu(x), lambda s: [table(s)]),
    "power": (lambda k, x: k.power(k.abs(x), 1.5), lambda s: [table(s)]),
    "clip": (lambda k, x: k.clip(x, -1.0, 1.0), lambda s: [table(s)]),
    "sum": (lambda k, x: k.sum(x, axis=0), lambda s: [table(s)]),
    "mean": (lambda k, x: k.mean(x, axis=-1), lambda s: [table(s)]),
    "var": (lambda k, x: k.var(x, axis=-1), lambda s: [table(s)]),
    "max": (lambda k, x: k.max(x, axis=-1), lambda s: [table(s)]),
    "argmax": (lambda k, x: k.argmax(x, axis=-1), lambda s: [table(s)], NO),
    "logsumexp": (lambda k, x: k.logsumexp(x, axis=-1), lambda s: [table(s)]),
    "cumsum": (lambda k, x: k.cumsum(x, axis=-1), lambda s: [table(s)]),
    "norm": (lambda k, x: k.norm(x, axis=-1), lambda s: [table(s)]),
    "softmax": (lambda k, x: k.softmax(x), lambda s: [table(s)]),
    "layer_normalization": (
        lambda k, x, g, b: k.layer_normalization(x, g, b),
        lambda s: [table(s), reals(table(s).shape[1]), reals(table(s).shape[1])],
    ),
    "batch_normalization": (
        lambda k, x, m, v: k.batch_normalization(x, m, k.abs(v), axis=-1),
        lambda s: [images(s), reals(images(s).shape[-1]), 1 + reals(images(s).shape[-1])],
    ),
    "matmul": (
        lambda k, x, y: k.matmul(x, y),
        lambda s: [grid(s, (16, 32), (512, 512)), grid(s, (32, 16), (512, 512))],
    ),
    "einsum": (
        lambda k, x, y: k.einsum("bqhd,bkhd->bhqk", x, y),
        lambda s: heads(s)[:2],
    ),
    "tensordot": (
        lambda k, x, y: k.tensordot(x, y, axes=[[1, 2], [0, 1]]),
        lambda s: [grid(s, (4, 3, 5), (128, 32, 32)), grid(s, (3, 5, 4), (32, 32, 128))],
    ),
    "solve": (lambda k, a, b: k.solve(a, b), matrices),
    "dot_product_attention": (lambda k, q, x, v: k.dot_product_attention(q, x, v), heads),
    "conv": (
        lambda k, x, w: k.conv(x, w, padding="same"),
        lambda s: [images(s), reals(3, 3, images(s).shape[-1], 16)],
    ),
    "depthwise_conv": (
        lambda k, x, w: k.depthwise_conv(x, w, padding="same"),
        lambda s: [images(s), reals(3, 3, images(s).shape[-1], 1)],
    ),
    "conv_transpose": (
        lambda k, x, w: k.conv_transpose(x, w, strides=2, padding="same"),
        lambda s: [images(s)[:, ::2, ::2], reals(3, 3, 8, images(s).shape[-1])],
    ),
    "max_pool": (lambda k, x: k.max_pool(x, 2), lambda s: [images(s)]),
    "average_pool": (lambda k, x: k.average_pool(x, 3, 2, "same"), lambda s: [images(s)]),
    "resize": (
        lambda k, x: k.image.resize(x, (20, 28), "bilinear"),
        lambda s: [images(s)],
    ),
    "binary_crossentropy": (
        lambda k, y, p: k.binary_crossentropy(y, p),
        lambda s: scores(s, one_hot),
    ),
    "categorical_crossentropy": (
        lambda k, y, p: k.categorical_crossentropy(y, p, from_logits=True),
        lambda s: scores(s, one_hot),
    ),
    "sparse_categorical_crossentropy": (
        lambda k, y, p: k.sparse_categorical_crossentropy(y, p, from_logits=True),
        lambda s: scores(s, whole),
    ),
    "ctc_loss": (lambda k, *x: k.ctc_loss(*x), sequences),
    "one_hot": (lambda k, x: k.one_hot(x, 32), lambda s: [whole(32, rows(s))], NO),
    "concatenate": (lambda k, x, y: k.concatenate([x, y], axis=1), lambda s: [table(s), table(s)]),
    "transpose": (
        lambda k, x: k.add(k.transpose(x, (0, 3, 1, 2)), 1.0),  # a copy, where views are free
        lambda s: [images(s)],
    ),
    "pad": (lambda k, x: k.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]), lambda s: [images(s)]),
    "take": (
        lambda k, x, i: k.take(x, i, axis=0),
        lambda s: [grid(s, (50, 16), (10_000, 64)), whole(50, 4 * rows(s))],
    ),
    "segment_sum": (
        lambda k, x, i: k.segment_sum(x, i, num_segments=50),
        lambda s: [reals(4 * rows(s), 16), np.sort(whole(50, 4 * rows(s)))],
    ),
    "sort": (lambda k, x: k.sort(x), lambda s: [numbers(s)]),
    "top_k": (lambda k, x: k.top_k(x, 5)[0], lambda s: [table(s)]),
    "unique": (lambda k, x: k.unique(x), lambda s: [whole(100, numbers(s).size)], EAGER),
    "percentile": (lambda k, x: k.quantile(x, 0.9, axis=-1), lambda s: [table(s)]),
    "searchsorted": (
        lambda k, x, v: k.searchsorted(x, v),
        lambda s: [np.sort(numbers(s)), numbers(s)],
        NO,
    ),
    "bincount": (
        lambda k, x: k.bincount(x, minlength=100),
        lambda s: [whole(100, numbers(s).size)],
        EAGER,
    ),
    "stft": (
        lambda k, x: k.stft(x, 128, 64, 128)[0],
        lambda s: [grid(s, (1, 512), (8, 16_384))],
    ),
}
