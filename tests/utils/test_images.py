"""Pictures come from files and go there as Keras has it."""

import io
import warnings

import keras
import numpy as np
import pytest
from PIL import Image

from oneiros import ops, utils
from oneiros.preprocessing import image
from oneiros.utils.images import resized

RNG = np.random.default_rng(0)
X = RNG.uniform(-1, 3, (4, 5, 3))
FORMS = [
    dict(x=X),
    dict(x=X * 50, scale=False),
    dict(x=X[..., :1]),
    dict(x=np.concatenate([X, X[..., :1]], -1)),
    dict(x=np.abs(X[..., :1]) * 1000, scale=False),
    dict(x=X.transpose(2, 0, 1), data_format="channels_first"),
    dict(x=np.full((2, 2, 3), 7.0)),
    dict(x=X, dtype="float16"),
]


def file_of(img, kind="PNG"):
    file = io.BytesIO()
    img.save(file, kind)
    return file


PICTURES = {
    "rgb": Image.fromarray(RNG.integers(0, 256, (6, 9, 3), dtype="uint8")),
    "gray": Image.fromarray(RNG.integers(0, 256, (6, 9), dtype="uint8")),
    "deep": Image.fromarray(RNG.integers(0, 60000, (6, 9), dtype="uint16")),
    "rgba": Image.fromarray(RNG.integers(0, 256, (6, 9, 4), dtype="uint8")),
}


@pytest.mark.parametrize("row", range(len(FORMS)))
def test_an_array_becomes_the_same_picture(row):
    kwargs = dict(FORMS[row])
    ours, theirs = (u.array_to_img(kwargs["x"], **_rest(kwargs)) for u in (utils, keras.utils))
    assert ours.mode == theirs.mode
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def _rest(kwargs):
    return {k: v for k, v in kwargs.items() if k != "x"}


@pytest.mark.parametrize("kwargs", [{}, dict(data_format="channels_first"), dict(dtype="uint8")])
@pytest.mark.parametrize("name", ["rgb", "gray"])
def test_a_picture_becomes_the_same_array(name, kwargs):
    ours, theirs = (u.img_to_array(PICTURES[name], **kwargs) for u in (utils, keras.utils))
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("mode", ["rgb", "grayscale", "rgba"])
def test_a_file_is_read_alike(name, mode, tmp_path):
    path = tmp_path / "picture.png"
    PICTURES[name].save(path)
    for given in (path, str(path), file_of(PICTURES[name])):
        ours, theirs = (u.load_img(given, color_mode=mode) for u in (utils, keras.utils))
        assert ours.mode == theirs.mode
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("size", [(3, 3), (8, 2), (6, 9)])
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("way", ["nearest", "bilinear", "bicubic", "hamming", "box", "lanczos"])
def test_a_file_is_resized_alike(way, keep, size):
    file = file_of(PICTURES["rgb"])
    kwargs = dict(target_size=size, interpolation=way, keep_aspect_ratio=keep)
    ours, theirs = (u.load_img(file, **kwargs) for u in (utils, keras.utils))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
def test_a_saved_picture_is_the_same_file(ending, tmp_path):
    for library in (utils, keras.utils):
        library.save_img(tmp_path / f"{library.__name__}.{ending}", X)
    assert (tmp_path / f"oneiros.utils.{ending}").read_bytes() == (
        tmp_path / f"keras.utils.{ending}"
    ).read_bytes()


def test_jpeg_has_no_transparency(tmp_path):
    with pytest.warns(UserWarning, match="transparency"):
        utils.save_img(tmp_path / "a.jpg", np.concatenate([X, X[..., :1]], -1))
    utils.save_img(tmp_path / "b", X, file_format="jpg")
    with pytest.raises(ValueError, match="extension"):
        utils.save_img(tmp_path / "c", X)


@pytest.mark.parametrize("size", [(3, 3), (9, 4), (4, 5)])
@pytest.mark.parametrize("way", ["nearest", "bilinear", "bicubic", "lanczos3"])
def test_smart_resize_is_that_of_keras(way, size):
    theirs = keras.preprocessing.image.smart_resize
    for x in (X, X[None], (np.abs(X) * 20).astype("uint8"), X.tolist()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = theirs(x, size, interpolation=way)
        got = image.smart_resize(x, size, interpolation=way)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 if got.dtype.kind == "f" else 1)


def test_smart_resize_takes_a_backends_arrays(backend):
    y = image.smart_resize(ops.convert_to_tensor(X.astype("float32")), (3, 3))
    np.testing.assert_allclose(ops.convert_to_numpy(y), image.smart_resize(X, (3, 3)), atol=1e-5)


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("way", ["nearest", "bilinear", "bicubic", "lanczos5"])
@pytest.mark.parametrize("size", [(3, 7), (10, 4)])
def test_a_loaded_picture_is_resized_as_by_the_op(size, way, crop):
    x = (np.abs(X) * 50).astype("float32")
    want = keras.ops.image.resize(x, size, interpolation=way, crop_to_aspect_ratio=crop)
    np.testing.assert_allclose(resized(x, size, way, crop), want, rtol=1e-4, atol=1e-3)


ERRORS = [
    (lambda: utils.load_img(5), TypeError, "int"),
    (lambda: utils.load_img("nothing.png"), FileNotFoundError, "nothing.png"),
    (lambda: utils.load_img(io.BytesIO(b"no")), ValueError, "no picture"),
    (lambda: utils.load_img(file_of(PICTURES["rgb"]), color_mode="x"), ValueError, "'x'"),
    (lambda: utils.load_img(file_of(PICTURES["rgb"]), interpolation="x"), ValueError, "'x'"),
    (lambda: utils.array_to_img(X[0]), ValueError, r"\(5, 3\)"),
    (lambda: utils.array_to_img(X[..., :2]), ValueError, r"\(4, 5, 2\)"),
    (lambda: utils.array_to_img(X, data_format="x"), ValueError, "x"),
    (lambda: utils.img_to_array(X[0, 0]), ValueError, r"\(3,\)"),
    (lambda: image.smart_resize(X, (3, 3, 3)), ValueError, r"\(3, 3, 3\)"),
    (lambda: image.smart_resize(X[0], (3, 3)), ValueError, r"\(5, 3\)"),
    (lambda: image.smart_resize(X, (3, 3), interpolation="x"), ValueError, "'x'"),
]


@pytest.mark.parametrize("call, kind, match", ERRORS)
def test_what_makes_no_sense_is_an_error(call, kind, match):
    with pytest.raises(kind, match=match):
        call()


def test_a_file_that_is_cut_off_or_huge_is_an_error(tmp_path, monkeypatch):
    whole = file_of(PICTURES["rgb"]).getvalue()
    path = tmp_path / "half.png"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"half.png holds no picture"):
        utils.load_img(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="bomb"):
        utils.load_img(path)
