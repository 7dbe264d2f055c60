"""Calls of the neural network ops: `test_nn.py` runs each against Keras."""

import ml_dtypes
import numpy as np
from against_keras import Row

rng = np.random.default_rng(7)


def normal(*shape, scale=1.0, dtype="float32"):
    return (rng.normal(size=shape) * scale).astype(dtype)


def uniform(*shape):
    return rng.uniform(0.05, 1, shape).astype("float32")


def integers(high, *shape):
    return rng.integers(0, high, shape).astype("int32")


def distribution(*shape, axis=-1):
    x = uniform(*shape)
    return x / x.sum(axis, keepdims=True)


EXTREME = np.array(
    [-1e4, -90.0, -6.0, -3.0, -1.0, -0.5, -1e-6, 0.0, 1e-6, 0.4, 1.0, 3.0, 6.0, 90.0, 1e4],
    "float32",
)
HALF = np.array([-900.0, -6.0, -0.3, 0.0, 0.7, 5.0, 900.0])

UNARY = [
    "relu",
    "relu6",
    "sigmoid",
    "silu",
    "softplus",
    "softsign",
    "elu",
    "selu",
    "celu",
    "gelu",
    "leaky_relu",
    "tanh_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "hard_shrink",
    "soft_shrink",
    "log_sigmoid",
    "sparse_plus",
    "sparse_sigmoid",
]
ACTIVATIONS = [Row(name, (x,)) for name in UNARY for x in (EXTREME, normal(7, 3), normal())] + [
    Row("squareplus", (normal(7, 3),)),
    Row("squareplus", (normal(7, 3),), dict(b=0.5)),
    Row("elu", (EXTREME,), dict(alpha=0.3)),
    Row("celu", (EXTREME,), dict(alpha=0.3)),
    Row("gelu", (EXTREME,), dict(approximate=False)),
    Row("leaky_relu", (EXTREME,), dict(negative_slope=0.01)),
    Row("hard_shrink", (EXTREME,), dict(threshold=2.0)),
    Row("soft_shrink", (EXTREME,), dict(threshold=2.0)),
    Row("threshold", (EXTREME,), dict(threshold=0.3, default_value=7.0)),
    Row("glu", (normal(7, 6),)),
    Row("glu", (normal(7, 6, 4),), dict(axis=1)),
    Row("relu", (integers(9, 6, 2) - 4,)),
]
SOFTMAX = [
    Row(name, (x,), dict(axis=axis))
    for name in ("softmax", "log_softmax")
    for x, axis in [
        (normal(7, 5, scale=30), -1),
        (normal(7, 5, 3), 1),
        (normal(7, 5, 3), (1, 2)),
        (normal(7, 2), None),
        (np.float32([[1e4, -1e4, 0.0]]), -1),
        (np.float32([[-np.inf, 0.0, 1.0]]), -1),
    ]
] + [
    Row("logsumexp", (normal(7, 5, scale=100),)),
    Row("logsumexp", (normal(7, 5, 3),), dict(axis=(1, 2))),
    Row("logsumexp", (normal(7, 5, 3),), dict(axis=-2, keepdims=True)),
]
LOW = [
    Row(name, (HALF.astype(dtype),))
    for name in [*UNARY, "softmax", "log_softmax"]
    for dtype in ("float16", ml_dtypes.bfloat16)
]
ENCODINGS = [
    Row("one_hot", (integers(5, 7),), dict(num_classes=5)),
    Row("one_hot", (integers(5, 7, 2),), dict(num_classes=5, axis=1, dtype="int32")),
    Row("one_hot", (integers(5, 7, 2),), dict(num_classes=5, axis=0, dtype="bool"), symbolic=False),
    Row("one_hot", (integers(200, 7).astype("uint8"),), dict(num_classes=300)),
    Row("multi_hot", (integers(5, 7, 3),), dict(num_classes=5)),
    Row("multi_hot", (integers(5, 3),), dict(num_classes=5)),
    Row("multi_hot", (integers(5, 7, 3, 2),), dict(num_classes=5)),
    Row("multi_hot", (integers(5, 7, 3, 2),), dict(num_classes=5, axis=1)),
    Row("in_top_k", (integers(6, 9), normal(9, 6)), dict(k=3)),
    Row(
        "in_top_k", (np.int32([0, 2, 1]), np.float32([[1, 1, 1], [0, 1, 2], [5, 4, 3]])), dict(k=1)
    ),
]
CROSSENTROPIES = [
    Row("categorical_crossentropy", (distribution(7, 5), uniform(7, 5))),
    Row(
        "categorical_crossentropy",
        (distribution(7, 5), normal(7, 5, scale=300)),
        dict(from_logits=True),
    ),
    Row(
        "categorical_crossentropy", (distribution(7, 5, 3, axis=1), uniform(7, 5, 3)), dict(axis=1)
    ),
    Row(
        "categorical_crossentropy",
        (np.eye(5, dtype="int32")[integers(5, 7)], np.eye(5, dtype="float32")[[0] * 7]),
    ),
    Row("sparse_categorical_crossentropy", (integers(5, 7), uniform(7, 5))),
    Row("sparse_categorical_crossentropy", (integers(5, 7, 1), uniform(7, 5))),
    Row(
        "sparse_categorical_crossentropy",
        (integers(5, 7, 2), normal(7, 2, 5, scale=300)),
        dict(from_logits=True),
    ),
    Row(
        "sparse_categorical_crossentropy",
        (integers(3, 7).astype("uint8"), normal(7, 400)),
        dict(from_logits=True),
    ),
    Row("sparse_categorical_crossentropy", (integers(5, 7).astype("float32"), uniform(7, 5))),
    Row("binary_crossentropy", (integers(2, 7, 3), uniform(7, 3))),
    Row("binary_crossentropy", (uniform(7, 3), np.float32(integers(2, 7, 3)))),
    Row("binary_crossentropy", (uniform(7, 3), normal(7, 3, scale=4)), dict(from_logits=True)),
]
NORMALIZATIONS = [
    *[
        Row("moments", (normal(7, 5, 3) + 3,), dict(axes=a, keepdims=k))
        for a in (0, [0, 1], [-1], None)
        for k in (0, 1)
    ],
    Row("moments", (normal(7, 500, scale=100, dtype="float16"),), dict(axes=[1])),
    Row("batch_normalization", (normal(7, 5), normal(5), uniform(5)), dict(axis=-1)),
    Row(
        "batch_normalization",
        (normal(7, 5, 3), normal(5), uniform(5)),
        dict(axis=1, offset=normal(5), scale=normal(5), epsilon=1e-2),
    ),
    Row("layer_normalization", (normal(7, 5),)),
    Row("layer_normalization", (normal(7, 5), normal(5), normal(5)), dict(epsilon=1e-3)),
    Row("layer_normalization", (normal(7, 5, 3), normal(5, 3), normal(5, 3)), dict(axis=(1, 2))),
    Row("layer_normalization", (normal(7, 5, 3), normal(5), None), dict(axis=1)),
    Row("layer_normalization", (normal(7, 50, scale=100, dtype="float16"),)),
    Row("layer_normalization", (normal(7, 50, dtype=ml_dtypes.bfloat16),)),
    Row("rms_normalization", (normal(7, 5),)),
    Row("rms_normalization", (normal(7, 5), normal(5)), dict(epsilon=1e-2)),
    Row("rms_normalization", (normal(7, 5, 3), normal(5, 3)), dict(axis=(1, 2))),
    *[
        Row("normalize", (normal(7, 5, 3),), dict(axis=a, order=n))
        for a in (-1, 1)
        for n in (1, 2, 3)
    ],
    Row("normalize", (normal(7, 5, 3),), dict(axis=(1, 2))),
    Row("normalize", (np.zeros((2, 3), "float32"),)),
    Row("polar", (uniform(7, 3), normal(7, 3))),
    Row("psnr", (uniform(7, 3), uniform(7, 3)), dict(max_val=1.0)),
]
q, k, v = normal(5, 4, 2, 6), normal(5, 7, 2, 6), normal(5, 7, 2, 6)
seen = rng.uniform(size=(5, 1, 4, 7)) > 0.4
ATTENTION = [
    Row("dot_product_attention", (q, k, v)),
    Row("dot_product_attention", (q, k, v), dict(is_causal=True)),
    Row("dot_product_attention", (q, k, v), dict(scale=0.3, mask=seen)),
    Row("dot_product_attention", (q, k, v), dict(mask=seen, is_causal=True)),
    Row("dot_product_attention", (q, k, v, normal(1, 2, 4, 7))),
    Row("dot_product_attention", (q * 300, k * 300, v)),
    Row("dot_product_attention", tuple((x * 8).astype("float16") for x in (q, k, v)), tolerance=4),
    Row("dot_product_attention", (q, k, v), dict(mask=np.zeros((1, 1, 4, 7), bool))),
]


def convolutions():
    size = {1: (11,), 2: (9, 8), 3: (5, 6, 7)}
    for rank in (1, 2, 3):
        for fmt in ("channels_last", "channels_first"):
            lead = lambda c: (6, *size[rank], c) if fmt == "channels_last" else (6, c, *size[rank])
            window = (3, 2, 2)[:rank]
            for more in (
                {},
                dict(strides=2),
                dict(padding="same"),
                dict(strides=(2, 1, 3)[:rank], padding="same"),
                dict(dilation_rate=2, padding="same"),
            ):
                if (fmt == "channels_first" and more.get("strides", 1) == 2) or (
                    "dilation_rate" in more and rank != 2
                ):
                    continue
                kwargs = dict(data_format=fmt, **more)
                yield Row("conv", (normal(*lead(4)), normal(*window, 4, 3)), kwargs)
                yield Row("conv", (normal(*lead(4)), normal(*window, 2, 6)), kwargs)
                yield Row("conv", (normal(*lead(4)), normal(*(1,) * rank, 4, 3)), kwargs)
                if fmt == "channels_last" and "dilation_rate" not in more and "strides" not in more:
                    yield Row("depthwise_conv", (normal(*lead(4)), normal(*window, 4, 2)), kwargs)
                    yield Row(
                        "separable_conv",
                        (normal(*lead(4)), normal(*window, 4, 2), normal(*(1,) * rank, 8, 3)),
                        kwargs,
                    )
                if rank > 2 and fmt == "channels_first":
                    continue
                for extra in (None, 0, 1) if rank == 2 else (None,):
                    yield Row(
                        "conv_transpose",
                        (normal(*lead(4)), normal(*window, 3, 4)),
                        dict(output_padding=extra, **kwargs),
                    )
            for name in ("max_pool", "average_pool"):
                for more in ({}, dict(padding="same", strides=1), dict(padding="same", strides=3)):
                    kwargs = dict(
                        pool_size=(3, 2, 2)[:rank], data_format=fmt, **{"strides": 2, **more}
                    )
                    yield Row(name, (normal(*lead(4)),), kwargs)
            for name in ("adaptive_average_pool", "adaptive_max_pool"):
                for output in (1, (4, 3, 5)[:rank], 9):
                    output = (output,) * rank if isinstance(output, int) else output
                    yield Row(name, (normal(*lead(4)),), dict(output_size=output, data_format=fmt))


PATCHES = [
    Row("unfold", (normal(5, 2, 6, 7),), dict(kernel_size=(2, 3), stride=2)),
    Row("unfold", (normal(5, 2, 6, 7),), dict(kernel_size=3, dilation=2, padding=1)),
    Row("fold", (normal(5, 12, 30),), dict(output_size=(6, 8), kernel_size=(2, 3))),
    Row(
        "fold",
        (normal(5, 8, 30),),
        dict(output_size=(9, 11), kernel_size=2, stride=2, padding=1, dilation=1),
    ),
    *[
        Row(name, (x,), dict(block_size=2, data_format=fmt))
        for name, x, fmt in [
            ("depth_to_space", normal(5, 2, 3, 8), "channels_last"),
            ("depth_to_space", normal(5, 8, 2, 3), "channels_first"),
            ("space_to_depth", normal(5, 4, 6, 3), "channels_last"),
            ("space_to_depth", normal(5, 3, 4, 6), "channels_first"),
        ]
    ],
]
labels = integers(4, 6, 3) + 1
CTC = [
    Row("ctc_loss", (labels, normal(6, 9, 6), integers(3, 6) + 1, integers(3, 6) + 7)),
    Row(
        "ctc_loss",
        (labels - 1, normal(6, 9, 6), integers(3, 6) + 1, integers(3, 6) + 7),
        dict(mask_index=5),
    ),
    Row(
        "ctc_loss",
        (np.int32([[2, 2], [1, 3]]), normal(2, 5, 4), np.int32([2, 0]), np.int32([5, 3])),
    ),
    *[
        Row("ctc_decode", (normal(6, 9, 5), integers(6, 6) + 4), kwargs)
        for kwargs in ({}, dict(merge_repeated=False), dict(mask_index=2), dict(mask_index=None))
    ],
    Row(
        "ctc_decode",
        (normal(6, 5, 4, scale=2), integers(3, 6) + 3),
        dict(strategy="beam_search", beam_width=100, top_paths=3),
        tolerance=10,
    ),
    Row(
        "ctc_decode",
        (normal(6, 5, 4, scale=2), integers(3, 6) + 3),
        dict(strategy="beam_search", beam_width=100, top_paths=2, mask_index=3),
        tolerance=10,
    ),
]
ROWS = (
    ACTIVATIONS
    + SOFTMAX
    + LOW
    + ENCODINGS
    + CROSSENTROPIES
    + NORMALIZATIONS
    + ATTENTION
    + PATCHES
    + CTC
)
WINDOWS = list(convolutions())
