"""Rows for the battery of layers: class name, arguments, input shapes (without the batch axis)."""

from typing import NamedTuple


class Row(NamedTuple):
    name: str
    kwargs: dict
    inputs: tuple  # one shape, or a list of shapes
    integers: int = 0  # inputs are integers below this
    training: bool = False
    gradient: bool = True

    def __str__(self):
        shown = "-".join(f"{k}={v}" for k, v in self.kwargs.items())
        return f"{self.name}-{shown}"


FIRST = dict(data_format="channels_first")

ROWS = [
    Row("Dense", dict(units=3), (4,)),
    Row("Dense", dict(units=3, activation="relu", use_bias=False), (2, 4)),
    Row("Dense", dict(units=2, kernel_regularizer="l2", bias_initializer="ones"), (5, 3)),
    Row("Embedding", dict(input_dim=7, output_dim=3), (5,), integers=7),
    Row("Embedding", dict(input_dim=7, output_dim=3, mask_zero=True), (4,), integers=7),
    Row("Activation", dict(activation="tanh"), (4,)),
    Row("Flatten", {}, (3, 4)),
    Row("Flatten", FIRST, (3, 4, 5)),
    Row("Reshape", dict(target_shape=(2, 6)), (3, 4)),
    Row("Reshape", dict(target_shape=(-1, 2)), (3, 4)),
    Row("Permute", dict(dims=(2, 1)), (3, 4)),
    Row("RepeatVector", dict(n=3), (4,)),
    Row("Identity", {}, (4,)),
    Row("Masking", dict(mask_value=0.0), (3, 4)),
    Row("Rescaling", dict(scale=2.0, offset=-1.0), (4,)),
    Row(
        "ReversibleEmbedding", dict(input_dim=7, output_dim=3, tie_weights=False), (5,), integers=7
    ),
    Row("ReLU", dict(max_value=1.0, negative_slope=0.1, threshold=0.2), (4,)),
    Row("ReLU", dict(max_value=6), (4,)),
    Row("LeakyReLU", {}, (4,)),
    Row("LeakyReLU", dict(negative_slope=0.1), (4,)),
    Row("PReLU", dict(shared_axes=[1]), (3, 4)),
    Row("ELU", dict(alpha=0.5), (4,)),
    Row("Softmax", dict(axis=1), (3, 4)),
    Row("Softmax", dict(axis=(1, 2)), (3, 4)),
    Row("Conv1D", dict(filters=4, kernel_size=3), (8, 3)),
    Row("Conv1D", dict(filters=4, kernel_size=3, padding="causal", dilation_rate=2), (8, 3)),
    Row("Conv2D", dict(filters=4, kernel_size=3, padding="same", strides=2), (7, 8, 3)),
    Row("Conv2D", dict(filters=4, kernel_size=(3, 2), groups=2, activation="relu"), (7, 6, 4)),
    Row("Conv2D", dict(filters=4, kernel_size=3, **FIRST), (3, 6, 5)),
    Row("Conv2D", dict(filters=2, kernel_size=2, dilation_rate=2), (6, 6, 3)),
    Row("Conv3D", dict(filters=2, kernel_size=2), (4, 4, 3, 2)),
    Row("DepthwiseConv1D", dict(kernel_size=3, depth_multiplier=2), (8, 3)),
    Row("DepthwiseConv2D", dict(kernel_size=3, padding="same"), (6, 6, 3)),
    Row("SeparableConv1D", dict(filters=4, kernel_size=3), (8, 3)),
    Row("SeparableConv2D", dict(filters=4, kernel_size=3, depth_multiplier=2), (6, 6, 3)),
    Row("Conv1DTranspose", dict(filters=4, kernel_size=3, strides=2), (5, 3)),
    Row("Conv2DTranspose", dict(filters=4, kernel_size=3, strides=2, padding="same"), (4, 5, 3)),
    Row("Conv2DTranspose", dict(filters=2, kernel_size=3, strides=2, output_padding=1), (4, 5, 3)),
    Row("Conv3DTranspose", dict(filters=2, kernel_size=2), (3, 3, 3, 2)),
    Row("ZeroPadding1D", dict(padding=(1, 2)), (3, 4)),
    Row("ZeroPadding2D", dict(padding=((1, 0), (2, 3))), (3, 4, 2)),
    Row("ZeroPadding2D", dict(padding=1, **FIRST), (2, 3, 4)),
    Row("ZeroPadding3D", dict(padding=1), (2, 3, 2, 1)),
    Row("Cropping1D", dict(cropping=1), (5, 2)),
    Row("Cropping2D", dict(cropping=((1, 0), (0, 2))), (4, 5, 2)),
    Row("Cropping3D", dict(cropping=1), (4, 4, 4, 1)),
    Row("UpSampling1D", dict(size=2), (3, 2)),
    Row("UpSampling2D", dict(size=(2, 3)), (3, 2, 2)),
    Row("UpSampling2D", dict(size=2, interpolation="bilinear"), (3, 2, 2)),
    Row("UpSampling3D", dict(size=2), (2, 2, 2, 1)),
    *[Row(f"{k}Pooling1D", dict(pool_size=2), (7, 3)) for k in ("Max", "Average")],
    *[
        Row(f"{k}Pooling2D", dict(pool_size=3, strides=2, padding="same"), (7, 6, 3))
        for k in ("Max", "Average")
    ],
    *[Row(f"{k}Pooling2D", dict(pool_size=2, **FIRST), (3, 6, 6)) for k in ("Max", "Average")],
    *[Row(f"{k}Pooling3D", dict(pool_size=2), (4, 4, 4, 2)) for k in ("Max", "Average")],
    *[
        Row(f"Global{k}Pooling{r}D", dict(keepdims=d), (*(4,) * r, 3))
        for k in ("Max", "Average")
        for r in (1, 2, 3)
        for d in (False, True)
    ],
    *[Row(f"Adaptive{k}Pooling2D", dict(output_size=3), (7, 6, 3)) for k in ("Max", "Average")],
    Row("BatchNormalization", {}, (4,)),
    Row("BatchNormalization", dict(axis=1, momentum=0.9), (3, 4), training=True),
    Row("BatchNormalization", dict(scale=False, center=False), (3, 4), training=True),
    Row("LayerNormalization", {}, (3, 4)),
    Row("LayerNormalization", dict(axis=(1, 2), epsilon=1e-5), (3, 4)),
    Row("LayerNormalization", dict(center=False), (4,)),
    Row("RMSNormalization", {}, (3, 4)),
    Row("GroupNormalization", dict(groups=2), (3, 4)),
    Row("GroupNormalization", dict(groups=-1), (3, 3, 4)),
    Row("UnitNormalization", {}, (3, 4)),
    Row("Normalization", dict(mean=[1.0, 2.0], variance=[4.0, 1.0]), (2,)),
    *[
        Row(name, {}, [(3, 4), (3, 4), (3, 4)])
        for name in ("Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    ],
    Row("Add", {}, [(3, 4), (1, 4)]),
    Row("Subtract", {}, [(3, 4), (3, 4)]),
    Row("Concatenate", dict(axis=1), [(3, 4), (2, 4)]),
    Row("Dot", dict(axes=(2, 1)), [(3, 4), (4, 5)]),
    Row("Dot", dict(axes=1, normalize=True), [(4,), (4,)]),
    Row("Dropout", dict(rate=0.5), (4,)),
    Row("SpatialDropout1D", dict(rate=0.5), (3, 4)),
    Row("SpatialDropout2D", dict(rate=0.5), (3, 3, 4)),
    Row("GaussianNoise", dict(stddev=0.5), (4,)),
    Row("GaussianDropout", dict(rate=0.5), (4,)),
    Row("AlphaDropout", dict(rate=0.5), (4,)),
    Row("ActivityRegularization", dict(l1=0.1, l2=0.2), (4,)),
]
