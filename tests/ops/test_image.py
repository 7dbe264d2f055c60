"""Image ops: values and shapes against Keras, borders, errors."""

import keras
import numpy as np
import pytest
from against_keras import Row, check, flat

import oneiros
from oneiros import ops

rng = np.random.default_rng(5)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def uniform(*shape):
    return rng.uniform(size=shape).astype("float32")


X = normal(6, 7, 9, 3)
SHIFT = np.float32([[1.13, 0.21, -0.73, -0.11, 0.87, 1.34, 0, 0]] * 6)
POINTS = np.float32([[0, 0], [8, 0], [0, 6], [8, 6]])
MOVED = POINTS + rng.uniform(-1, 1, (6, 4, 2)).astype("float32")
RESIZE = (
    [
        Row("image.resize", (x,), dict(size=size, interpolation=method, antialias=a))
        for method in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5")
        for x, size, a in ((X, (4, 13), False), (X, (3, 4), True), (X[0], (11, 9), False))
    ]
    + [
        Row("image.resize", (X,), dict(size=size, **{kind: True}))
        for kind in ("crop_to_aspect_ratio", "pad_to_aspect_ratio")
        for size in ((4, 4), (3, 9), (9, 2))
    ]
    + [
        Row("image.resize", (X,), dict(size=(7, 7), data_format="channels_first")),
        Row("image.resize", ((uniform(6, 7, 9, 3) * 255).astype("uint8"),), dict(size=(4, 12))),
    ]
)
ROWS = [
    *[
        Row(
            "image.affine_transform",
            (X,),
            dict(transform=SHIFT, interpolation=i, fill_mode=f, fill_value=0.5),
            tolerance=5,
        )
        for i in ("nearest", "bilinear")
        for f in ("constant", "nearest", "wrap", "mirror", "reflect")
    ],
    Row("image.affine_transform", (X[0], SHIFT[0]), tolerance=5),
    Row(
        "image.affine_transform",
        (X.transpose(0, 3, 1, 2),),
        dict(transform=SHIFT, data_format="channels_first"),
        tolerance=5,
    ),
    Row(
        "image.perspective_transform",
        (X, np.stack([POINTS] * 6), MOVED),
        dict(fill_value=0.3),
        tolerance=50,
    ),
    Row("image.perspective_transform", (X[0], POINTS, MOVED[0]), dict(interpolation="nearest")),
    *[
        Row(
            "image.map_coordinates",
            (normal(5, 6),),
            dict(
                coordinates=rng.uniform(-9, 14, (2, 8, 3)).astype("float32"),
                order=o,
                fill_mode=f,
                fill_value=2,
            ),
            tolerance=5,
        )
        for o in (0, 1)
        for f in ("constant", "nearest", "wrap", "mirror", "reflect")
    ],
    Row(
        "image.map_coordinates",
        (rng.integers(0, 99, (5, 6, 2)).astype("int32"),),
        dict(coordinates=rng.uniform(0, 1, (3, 8)).astype("float32"), order=1),
    ),
    Row("image.gaussian_blur", (X,)),
    Row("image.gaussian_blur", (X[0],), dict(kernel_size=(5, 3), sigma=(2.0, 0.7))),
    Row("image.sobel_edges", (X,), tolerance=5),
    Row("image.sobel_edges", (X,), dict(data_format="channels_first"), tolerance=5),
    Row("image.ssim", (uniform(6, 14, 15, 3), uniform(6, 14, 15, 3)), tolerance=5),
    Row(
        "image.ssim",
        (uniform(14, 15, 3), uniform(14, 15, 3)),
        dict(filter_size=7, max_val=2.0),
        tolerance=5,
    ),
    Row("image.rgb_to_grayscale", (X,)),
    Row("image.rgb_to_grayscale", ((uniform(7, 9, 3) * 255).astype("uint8"),)),
    Row("image.rgb_to_hsv", (uniform(6, 7, 9, 3),)),
    Row("image.rgb_to_hsv", (np.float32([[[0, 0, 0], [1, 1, 1], [1, 0, 1]]]),)),
    Row("image.hsv_to_rgb", (uniform(6, 7, 9, 3),)),
    Row("image.hsv_to_rgb", (uniform(6, 3, 7, 9),), dict(data_format="channels_first")),
    *[
        Row("image.extract_patches", (X,), kwargs)
        for kwargs in (
            dict(size=(2, 3)),
            dict(size=3, strides=1, dilation_rate=2, padding="same"),
            dict(size=4, strides=2),
            dict(size=2, padding="same"),
        )
    ],
    Row("image.extract_patches", (normal(6, 3, 7, 9),), dict(size=2, data_format="channels_first")),
    Row("image.extract_patches", (X[0],), dict(size=3), symbolic=False),
    Row("image.extract_patches_3d", (normal(6, 4, 5, 6, 2),), dict(size=2)),
    Row("image.pad_images", (X, 1, 2, 3, 4)),
    Row(
        "image.pad_images",
        (X,),
        dict(top_padding=1, left_padding=2, target_height=9, target_width=15),
    ),
    Row("image.crop_images", (X, 1, 2, 3, 4)),
    Row(
        "image.crop_images",
        (X,),
        dict(bottom_cropping=1, right_cropping=2, target_height=3, target_width=5),
    ),
    *[
        Row(
            "image.scale_and_translate",
            (X,),
            dict(
                output_shape=(6, 5, 12, 3),
                scale=np.float32([0.6, 1.4]),
                translation=np.float32([0.3, -1.2]),
                spatial_dims=(1, 2),
                method=m,
                antialias=a,
            ),
            tolerance=5,
        )
        for m in ("linear", "cubic", "lanczos3", "lanczos5")
        for a in (True, False)
    ],
]


@pytest.mark.parametrize("row", RESIZE + ROWS, ids=str)
def test_values_are_keras(row, backend):
    if row.name in ("image.pad_images", "image.crop_images") and len(row.arrays) == 5:
        image, top, left, bottom, right = row.arrays
        word = "padding" if "pad" in row.name else "cropping"
        sides = dict(
            zip(
                (f"{s}_{word}" for s in ("top", "left", "bottom", "right")),
                (top, left, bottom, right),
            )
        )
        row = Row(row.name, (image,), sides)
    check(row)


def test_scales_may_be_symbols():
    from oneiros.core.graph import trace
    from oneiros.core.spec import Spec

    kwargs = dict(output_shape=(6, 5, 12, 3), spatial_dims=(1, 2))
    scale, move = np.float32([0.6, 1.4]), np.float32([0.3, -1.2])
    for method in ("linear", "cubic", "lanczos3"):
        graph = trace(
            lambda s, t: ops.image.scale_and_translate(
                X, scale=s, translation=t, method=method, **kwargs
            ),
            [Spec((2,)), Spec((2,))],
        )
        want = keras.ops.image.scale_and_translate(
            X, scale=scale, translation=move, method=method, **kwargs
        )
        np.testing.assert_allclose(graph(scale, move)[0], want, rtol=1e-4, atol=1e-4)


def test_elastic_transform_moves_pixels_of_its_seed(backend):
    a, b, c = (flat(ops.image.elastic_transform(X, seed=s))[0] for s in (1, 1, 2))
    assert a.shape == X.shape and (a == b).all() and (a != c).any() and (a != X).any()
    still = flat(ops.image.elastic_transform(X, alpha=0.0, seed=1))[0]
    np.testing.assert_allclose(still, X, rtol=1e-6)


def test_sizes_of_symbols():
    images = oneiros.KerasTensor((None, None, None, 3))
    assert ops.image.resize(images, (4, 5)).shape == (None, 4, 5, 3)
    assert ops.image.pad_images(images, 1, 1, target_height=6, target_width=7).shape == (
        None,
        6,
        7,
        3,
    )
    assert ops.image.crop_images(images, 1, 1, target_height=6, target_width=7).shape == (
        None,
        6,
        7,
        3,
    )
    assert ops.image.rgb_to_grayscale(images).shape == (None, None, None, 1)
    with pytest.raises(ValueError, match="target_height"):
        ops.image.crop_images(images, 1, 1, 1, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.image.resize(X, (2, 3), interpolation="area"),
        lambda: ops.image.resize(X, (2,)),
        lambda: ops.image.resize(X, (2, 3), crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
        lambda: ops.image.resize(X[0, 0], (2, 3)),
        lambda: ops.image.resize(X, (2, 3), fill_mode="wrap"),
        lambda: ops.image.pad_images(X, 1),
        lambda: ops.image.pad_images(X, -1, 0, 1, 1),
        lambda: ops.image.pad_images(X, 1, 1, target_height=3, target_width=3),
        lambda: ops.image.crop_images(X, 4, 4, 4, 4),
        lambda: ops.image.affine_transform(X, SHIFT[:, :6]),
        lambda: ops.image.affine_transform(X, SHIFT, "bicubic"),
        lambda: ops.image.map_coordinates(X, normal(3, 2), 1),
        lambda: ops.image.map_coordinates(X, normal(4, 2), 2),
        lambda: ops.image.map_coordinates(X, normal(4, 2), 1, "fancy"),
        lambda: ops.image.rgb_to_hsv(np.ones((2, 2, 3), int)),
        lambda: ops.image.rgb_to_grayscale(X[..., :2]),
        lambda: ops.image.extract_patches(X, (1, 2, 3, 4)),
        lambda: ops.image.ssim(X, X),
        lambda: ops.image.scale_and_translate(X, X.shape, [1.0], [0.0], (1,), "nearest"),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(ValueError):
        call()
