"""Bounding boxes against Keras."""

import keras
import numpy as np
import pytest

from oneiros.core import backend as backends
from oneiros.utils import bounding_boxes

B = np.array([[1, 2, 4, 6], [0, 0, 8, 6], [-1, -1, -1, -1], [-2, 1, 12, 3]], "float32")
C = np.array([[0, 0, 4, 4], [1, 1, 3, 3], [5, 5, 9, 9]], "float32")
D = np.array([[0, 0, 4, 4], [2, 2, 6, 6], [-1, -1, -1, -1]], "float32")
LABELLED = {"boxes": B, "labels": np.arange(4)}
DELTAS = np.array([[0.1, -0.2, 0.3, 0], [0, 0, 0, 0], [1, 0, 0, 0.5]], "float32")
ZERO, ONE = np.zeros(1, "float32"), np.ones(1, "float32")
SIZE = dict(height=6, width=8)
SHAPE = dict(image_shape=(6, 8, 3))
FORMATS = list(bounding_boxes.FORMATS)
AFFINE = dict(translate_x=0.2, translate_y=-0.1, scale=1.5, shear_x=10.0, shear_y=20.0)

ROWS = [
    *[("convert_format", (B, "xyxy", f), SIZE) for f in FORMATS],
    *[("convert_format", (np.abs(B) / 16, f, "xyxy"), SIZE) for f in FORMATS],
    ("convert_format", (LABELLED, "xyxy", "xywh"), {}),
    ("convert_format", (B.astype(int), "xyxy", "xywh"), dict(dtype="int32")),
    ("clip_to_image_size", (LABELLED, 6, 8), {}),
    ("clip_to_image_size", ({**LABELLED, "boxes": B / 4},), dict(bounding_box_format="rel_xyxy")),
    ("crop", (B, 1, 2, 4, 5), {}),
    ("pad", (B, 1, 2), {}),
    ("compute_iou", (C, D, "xyxy"), {}),
    ("compute_iou", (C, D, "xywh"), dict(use_masking=True)),
    ("compute_iou", (C[None], D[None], "xyxy"), dict(use_masking=True, mask_val=-1)),
    ("compute_iou", (C / 10, D / 10, "rel_xyxy"), SHAPE),
    ("compute_ciou", (C, C[::-1], "xyxy"), {}),
    ("compute_ciou", (C[None], D[None], "center_xywh"), {}),
    *[
        ("encode_box_to_deltas", (C, D, "xyxy", "xyxy", f), {})
        for f in ("center_yxhw", "center_xywh")
    ],
    ("encode_box_to_deltas", (C, D[None], "xywh", "rel_xyxy"), SHAPE),
    ("encode_box_to_deltas", (C, D, "xyxy", "xyxy"), dict(variance=[0.1, 0.1, 0.2, 0.2])),
    ("decode_deltas_to_boxes", (C, DELTAS, "xyxy", "xyxy", "center_xywh"), {}),
    ("decode_deltas_to_boxes", (C, DELTAS[None], "xywh", "rel_yxyx"), SHAPE),
    ("decode_deltas_to_boxes", ({"a": C}, {"a": DELTAS}, "xyxy", "xywh"), {}),
    *[
        ("affine_transform", (B[None],), {
            "angle": ONE * angle, **{k: ZERO + v for k, v in AFFINE.items()}, **SIZE, **center,
        })
        for angle, center in ((30.0, {}), (-100.0, dict(center_x=0.2, center_y=0.7)))
    ],
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r[0]}-{[a for a in r[1] if type(a) is str]}")
def test_function_gives_what_keras_gives(row, backend, turn):
    name, args, kwargs = row
    if not turn((name, str(args))):
        return
    got = getattr(bounding_boxes, name)(*args, **kwargs)
    want = getattr(keras.utils.bounding_boxes, name)(*args, **kwargs)
    for k in want if isinstance(want, dict) else [None]:
        g, w = (got, want) if k is None else (got[k], want[k])
        g, w = backends.to_numpy(g), np.asarray(w)
        assert g.shape == w.shape
        np.testing.assert_allclose(g, w, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("form", [f for f in FORMATS if f[:3] != "rel"])
def test_boxes_in_other_formats_are_cropped_alike(form):
    given = bounding_boxes.convert_format(B, "xyxy", form)
    made = bounding_boxes.crop(given, 1, 2, 4, 5, form)
    want = bounding_boxes.crop(B, 1, 2, 4, 5)
    np.testing.assert_allclose(bounding_boxes.convert_format(made, form, "xyxy"), want)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda b: b.convert_format(B, "xyxy", "zz"), ValueError, "target.*xyxy.*'zz'"),
        (lambda b: b.convert_format(B, "xyxy", "rel_xyxy"), ValueError, "height and width.*None"),
        (lambda b: b.convert_format(B[:, :3], "xyxy", "xywh"), ValueError, r"4 numbers.*\(4, 3\)"),
        (lambda b: b.clip_to_image_size(LABELLED), ValueError, "height and width.*None"),
        (lambda b: b.clip_to_image_size(B, 6, 8), ValueError, "dict.*ndarray"),
        (lambda b: b.crop(B, 1, 2, 4, 5, "rel_xyxy"), NotImplementedError, "pixels.*rel_xyxy"),
        (lambda b: b.compute_iou(C[0], D, "xyxy"), ValueError, "rank 2.*1 and 2"),
        (lambda b: b.compute_iou(C, D, "rel_xyxy"), ValueError, "image_shape.*rel_xyxy"),
        (lambda b: b.encode_box_to_deltas(C, D, "xyxy", "xyxy", "xyxy"), ValueError, "center_xywh"),
        (lambda b: b.encode_box_to_deltas(C, D, "xyxy", "xyxy", variance=[1]), ValueError, "4 num"),
    ],
)
def test_errors_say_what_was_given(call, error, words):
    with pytest.raises(error, match=words):
        call(bounding_boxes)
