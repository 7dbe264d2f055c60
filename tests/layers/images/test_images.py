"""Image layers against Keras, which is fed the same amounts; and what all of them keep to."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import oneiros
from oneiros import layers
from oneiros.core import backend as backends
from oneiros.utils import bounding_boxes

from .cases import ELASTIC, EVERY, FIXED, JITTER, NAMES, RANDOM, Row

BOXES = {
    "boxes": np.array([[[1, 1, 4, 5], [2, 2, 6, 6]]] * 4, "float32"),
    "labels": np.array([[1, 2]] * 4, "float32"),
}
FEW = [next(r for r in EVERY if r.name == name) for name in NAMES]
TRAINED = [r for r in FEW if r.name not in {f.name for f in FIXED}]


def images(row, dtype="float32", batch=4):
    low, high = row.kwargs.get("value_range", (0, 255))
    x = np.random.default_rng(0).integers(0, 256, (batch, 9, 8, 3)).astype("float32")
    return (
        (x / 255 * (high - low) + low).astype(dtype) if (low, high) != (0, 255) else x.astype(dtype)
    )


def data(row, batch=4):
    x = images(row, batch=batch)
    masks = np.random.default_rng(1).integers(0, 3, (batch, 9, 8, 1)).astype("int32")
    boxes = {k: v[:batch] for k, v in BOXES.items()}
    labels = np.eye(batch, dtype="float32")
    return {"images": x, "labels": labels, "segmentation_masks": masks, "bounding_boxes": boxes}


def make(row, module=layers, **more):
    return getattr(module, row.name)(**row.kwargs, **more)


def copied(structure):
    return keras.tree.map_structure(lambda x: x.copy() if hasattr(x, "copy") else x, structure)


def host(structure):
    return oneiros.tree.map_structure(backends.to_numpy, structure)


def assert_same(got, want, row):
    got, want = backends.to_numpy(got), np.asarray(want)
    low, high = row.kwargs.get("value_range", (0, 255))
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=2e-5 * (high - low))


# Against Keras ------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", FIXED, ids=str)
def test_fixed_layer_gives_what_keras_gives(row, backend, turn):
    if not turn(row):
        return
    ours, theirs = (make(row, m, bounding_box_format="xyxy") for m in (layers, keras.layers))
    assert_same(ours(images(row)), theirs(images(row), training=True), row)
    if "boxes" not in row.skip:
        both = {"images": images(row), "bounding_boxes": BOXES}
        got, want = host(ours(both)), theirs(copied(both), training=True)
        for k in BOXES:
            np.testing.assert_allclose(
                got["bounding_boxes"][k], np.asarray(want["bounding_boxes"][k]), atol=1e-4
            )


@pytest.mark.parametrize("row", RANDOM, ids=str)
def test_same_amounts_do_what_keras_does(row, backend, turn):
    if not turn(row):
        return
    ours, theirs = (make(row, m, bounding_box_format="xyxy") for m in (layers, keras.layers))
    x = images(row)
    amounts = theirs.get_random_transformation(
        x.copy() if row.name == "RandomGrayscale" else {"images": x.copy()},
        training=True,
        seed=keras.random.SeedGenerator(5),
    )
    if row.name == "RandAugment":  # on NumPy, Keras's own changes its input; so by its layer
        name = theirs._AUGMENT_LAYERS[int(amounts["layer_idxes"][0])]
        theirs, kept = getattr(theirs, name), amounts["transforms"][name]
        theirs.bounding_box_format = "xyxy"
    else:
        kept = amounts
    given = oneiros.tree.map_structure(
        lambda v: backends.to_array(v) if hasattr(v, "dtype") and v.ndim else v, amounts
    )
    if row.name == "AugMix":
        given = amounts
    assert_same(ours.transform_images(x, given), theirs.transform_images(x.copy(), kept), row)
    # Keras's boxes do not follow a shear.
    if "boxes" not in row.skip and type(theirs).__name__ != "RandomShear":
        got = host(ours.transform_bounding_boxes(copied(BOXES), given))
        want = theirs.transform_bounding_boxes(copied(BOXES), kept)
        lost = np.asarray(want["labels"]) == -1
        np.testing.assert_array_equal(got["labels"], np.asarray(want["labels"]))
        np.testing.assert_allclose(got["boxes"][~lost], np.asarray(want["boxes"])[~lost], atol=1e-3)
    if "masks" not in row.skip:
        masks = data(row)["segmentation_masks"].astype("float32")
        want = theirs.transform_segmentation_masks(masks.copy(), kept)
        np.testing.assert_allclose(
            host(ours.transform_segmentation_masks(masks, given)), np.asarray(want), atol=1e-4
        )


@pytest.mark.parametrize("row", EVERY, ids=str)
def test_config_equals_keras_and_makes_the_layer_again(row):
    ours, theirs = (make(row, m, name="it").get_config() for m in (layers, keras.layers))
    for extra in {"RandomCrop": ["seed"], "MaxNumBoundingBoxes": ["fill_value"]}.get(row.name, ()):
        ours.pop(extra, None), theirs.pop(extra, None)
    plain = lambda c: json.loads(json.dumps(c))
    assert plain(ours) == plain(theirs)
    again = getattr(layers, row.name).from_config(json.loads(json.dumps(make(row).get_config())))
    assert again.get_config().keys() == make(row).get_config().keys()


@pytest.mark.parametrize("row", FEW, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_result_has_the_dtype_that_keras_gives(row, dtype):
    if row.name == "RandomSaturation" and dtype == "uint8":
        return  # Keras refuses these
    x = images(Row(row.name), dtype)
    for training in (True, False):
        if row.name == "RandomCrop" and not training:
            continue  # Keras leaves float16 as it is there
        got, want = (make(row, m)(x, training=training) for m in (layers, keras.layers))
        assert got.dtype == want.dtype


# Amounts ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", [r for r in RANDOM if r.name not in ("CutMix", "MixUp", "RandAugment", "AugMix", "RandomErasing")], ids=str)  # fmt: skip
def test_amounts_are_distributed_as_in_keras(row):
    x = np.zeros((3000, 9, 8, 3), "float32")
    ours = make(row).get_random_transformation(x, seed=1)
    theirs = make(row, keras.layers).get_random_transformation(
        x if row.name == "RandomGrayscale" else {"images": x}, seed=keras.random.SeedGenerator(2)
    )
    if row.name in ("RandomCrop", "Solarization"):
        return  # one place for a batch; Keras scales the upper end of its range only
    ours, theirs = (t if isinstance(t, dict) else {"it": t} for t in (ours, theirs))
    for k in ours.keys() & theirs.keys():
        a, b = np.asarray(ours[k]), np.asarray(theirs[k])
        if a.ndim == 0 or a.shape[0] != 3000:
            continue
        assert a.shape[1:] == b.shape[1:] and a.dtype == b.dtype
        a, b = (v.reshape(3000, -1).astype("float64") for v in (a, b))
        spread = b.std(0).max() + 1e-6
        np.testing.assert_allclose(a.mean(0), b.mean(0), atol=0.1 * spread + 1e-3)
        np.testing.assert_allclose(a.std(0), b.std(0), atol=0.07 * spread + 1e-3)


@pytest.mark.parametrize("row", TRAINED, ids=str)
def test_same_seed_gives_same_numbers_on_every_backend(row, backend, turn):
    if not turn(row):
        return
    layer, x = make(row, seed=7), images(row)
    made = [backends.to_numpy(layer(x)) for _ in range(2)]  # the second one is compiled
    before = oneiros.config.backend()
    oneiros.config.set_backend("numpy")
    try:
        layer = make(row, seed=7)
        want = [np.asarray(layer(x)) for _ in range(2)]
    finally:
        oneiros.config.set_backend(before)
    for a, b in zip(made, want):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=0.02)
    assert not np.array_equal(*made) or row.name in ("RandomFlip", "Solarization")


def test_a_crop_lies_anywhere_in_the_image():
    layer = layers.RandomCrop(2, 3, seed=1)
    places = [
        tuple(map(int, layer.get_random_transformation(np.zeros((6, 8, 1))))) for _ in range(99)
    ]
    assert {p[0] for p in places} == set(range(5)) and {p[1] for p in places} == set(range(6))


def test_rectangles_cover_the_share_that_was_drawn():
    x = np.ones((400, 20, 20, 1), "float32")
    made = layers.RandomErasing((1.0, 1.0), scale=(0.2, 0.3), fill_value=0.0, seed=1)(x)
    shares = 1 - np.asarray(made).mean((1, 2, 3))
    assert shares.min() > 0.17 and shares.max() < 0.33


def test_cutmix_labels_tell_the_pixels():
    x = np.eye(4, dtype="float32")[:, None, None, :] * np.ones((1, 10, 10, 1), "float32")
    made = layers.CutMix(seed=3)({"images": x, "labels": np.eye(4, dtype="float32")})
    np.testing.assert_allclose(made["images"].mean((1, 2)), made["labels"], atol=1e-5)


@pytest.mark.parametrize("row", JITTER, ids=str)
def test_jitter_of_one_kind_is_that_layer(row):
    kind = next(iter(row.kwargs)).removesuffix("_factor")
    alone = getattr(layers, f"Random{kind.title()}")(0.4, seed=5)
    np.testing.assert_allclose(make(row, seed=5)(images(row)), alone(images(row)), atol=1e-3)


def test_elastic_moves_are_smooth_and_small(row=ELASTIC[0]):
    x = np.tile(np.arange(32, dtype="float32")[None, None, :, None], (8, 32, 1, 1))
    made = np.asarray(layers.RandomElasticTransform((1.0, 1.0), (1.0, 1.0), seed=2)(x))
    moves = (made - x)[:, 4:-4, 4:-4]
    # what a Gaussian of deviation s makes of white noise has the deviation 1 / (2 sqrt(pi) s)
    assert 0.7 < moves.std() / (3.2 / (2 * np.sqrt(np.pi) * 1.6)) < 1.3
    assert np.abs(np.diff(moves, axis=1)).mean() < moves.std()


# Forms of data ------------------------------------------------------------------------------------
@pytest.mark.parametrize("row", FEW, ids=str)
def test_one_image_is_a_batch_of_one(row, backend, turn):
    if not turn(row):
        return
    random_one = row.name not in {f.name for f in FIXED}
    layer = lambda: make(row, **dict(seed=4) if random_one else {})
    got, want = layer()(images(row)[0]), layer()(images(row)[:1])
    np.testing.assert_allclose(host(got), host(want)[0], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("row", [r for r in FEW if r.name not in ("RandomBrightness", "RandomContrast", "AutoContrast", "Solarization", "MaxNumBoundingBoxes")], ids=str)  # fmt: skip
def test_channels_may_come_first(row):
    options = dict(seed=4) if row.name not in {f.name for f in FIXED} else {}
    last = make(row, **options)(images(row))
    first = make(row, data_format="channels_first", **options)(images(row).transpose(0, 3, 1, 2))
    np.testing.assert_allclose(first.transpose(0, 2, 3, 1), last, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("row", TRAINED, ids=str)
def test_nothing_happens_outside_of_training(row):
    layer, given = make(row, bounding_box_format="xyxy"), data(row)
    made = layer(given, training=False)
    oneiros.tree.map_structure(np.testing.assert_array_equal, made, given)


@pytest.mark.parametrize("row", FEW, ids=str)
def test_all_parts_of_data_go_together(row, backend, turn):
    if not turn(row):
        return
    layer = make(row, bounding_box_format="xyxy")
    made = host(layer(data(row)))
    assert made["images"].shape[:1] == made["segmentation_masks"].shape[:1]
    assert made["images"].shape[1:3] == made["segmentation_masks"].shape[1:3]
    assert made["bounding_boxes"]["boxes"].shape[:2] == made["bounding_boxes"]["labels"].shape
    for k, v in make(row, bounding_box_format="xyxy")(
        {k: v for k, v in data(row, 1).items()}
    ).items():
        assert k in made and v is not None


MOVING = [r for r in EVERY if r.name.startswith(("RandomFlip", "RandomRot", "RandomZoom", "RandomTr", "RandomShear", "RandomPersp", "RandomCrop", "CenterCrop", "Resizing"))]  # fmt: skip


@pytest.mark.parametrize("row", MOVING, ids=str)
@pytest.mark.parametrize("form", ["xyxy", "rel_center_xywh"])
def test_boxes_follow_what_they_enclose(row, form):
    kwargs = {k: v for k, v in row.kwargs.items() if k not in ("fill_mode", "fill_value")}
    kwargs |= dict(height=30, width=26) if "height" in kwargs else {}
    if row.name.startswith("Random") and row.name not in (
        "RandomFlip",
        "RandomCrop",
        "RandomPerspective",
    ):
        kwargs["fill_mode"] = "constant"
    if "interpolation" in kwargs:
        kwargs["interpolation"] = "bilinear"
    x = np.zeros((6, 40, 36, 1), "float32")
    x[:, 14:25, 12:21] = 1.0
    box = np.array([[[12, 14, 21, 25]]] * 6, "float32")
    box = bounding_boxes.convert_format(box, "xyxy", form, 40, 36)
    layer = getattr(layers, row.name)(**kwargs, bounding_box_format=form)
    given = {"images": x, "bounding_boxes": {"boxes": box, "labels": np.ones((6, 1), "float32")}}
    made = layer(given)
    height, width = made["images"].shape[1:3]
    found = bounding_boxes.convert_format(
        made["bounding_boxes"]["boxes"], form, "xyxy", height, width
    )
    for picture, (left, top, right, bottom) in zip(made["images"][..., 0], found[:, 0]):
        rows, columns = np.nonzero(picture > 0.5)
        if len(rows) and left >= 0:
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(seen, [left, top, right, bottom], atol=2.2)


def test_boxes_that_leave_the_image_are_gone():
    layer = layers.RandomTranslation((0.0, 0.0), (0.9, 0.9), bounding_box_format="xyxy")
    boxes = {"boxes": [[[7.0, 1, 8, 4], [0, 0, 1, 1]]], "labels": [[3.0, -1]]}
    boxes = {k: np.array(v, "float32") for k, v in boxes.items()}
    made = layer({"images": np.ones((1, 9, 8, 3), "float32"), "bounding_boxes": boxes})
    assert made["bounding_boxes"]["labels"].tolist() == [[-1, -1]]
    assert made["bounding_boxes"]["boxes"].tolist() == [[[-1] * 4] * 2]


# Where they run -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["RandomTranslation", "RandomRotation", "AugMix", "RandAugment"])
def test_seeds_advance_inside_fit(name, backend, turn):
    if not turn(name):
        return
    seen = []

    class Spy(layers.Layer):
        def __init__(self):
            super().__init__()
            self.total = self.add_weight(shape=(2,), initializer="zeros", trainable=False)

        def call(self, x):
            mean = oneiros.ops.mean(x[:, :, :4])
            self.total.assign(oneiros.ops.stack([mean, self.total.value[0]]))
            return oneiros.ops.mean(x, axis=(1, 2))

    layer, spy = make(next(r for r in FEW if r.name == name), seed=3), Spy()
    model = oneiros.Sequential([layer, spy, layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.tile(np.arange(8, dtype="float32")[None, None, :, None], (8, 9, 1, 3)) * 20
    model.fit(x, np.zeros((8, 1)), batch_size=4, epochs=1, verbose=0)
    seen = spy.total.numpy()
    assert seen[0] != seen[1] and layer.generator.state.numpy()[1] >= 2
    again = make(next(r for r in FEW if r.name == name), seed=3)
    want = [float(np.mean(backends.to_numpy(again(x[:4]))[:, :, :4])) for _ in range(2)]
    np.testing.assert_allclose(seen[::-1], want, rtol=1e-4)


def test_pipeline_of_tensorflow_under_any_session():
    tf = pytest.importorskip("tensorflow")
    before = oneiros.config.backend()
    made = []
    for name in ("numpy", "tensorflow"):
        oneiros.config.set_backend(name)
        layer = layers.RandomRotation(0.2, seed=2)
        x = tf.constant(images(FIXED[0])[:1])
        one = tf.data.Dataset.from_tensors(x[0]).repeat(3).map(lambda v: layer(v, training=True))
        made.append(np.stack(list(one.as_numpy_iterator())))
        batches = tf.data.Dataset.from_tensor_slices(images(FIXED[0])).batch(3)
        assert [v.shape[0] for v in batches.map(lambda v: layer(v, training=True))] == [3, 1]
        assert type(layer(x)).__module__.startswith("tensorflow")
        oneiros.config.set_backend(before)
    np.testing.assert_allclose(*made, atol=1e-2)
    assert not np.array_equal(made[0][0], made[0][1])


LOADER = """
import numpy as np, torch
from oneiros import layers
layer = layers.RandomBrightness((-0.5, 0.5), seed=2)
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, i):
        return np.asarray(layer(np.full((2, 2, 1), 128.0, "float32")))
loader = torch.utils.data.DataLoader(Data(), batch_size=1, num_workers=2)
print(len({float(v.mean()) for v in loader}))
"""


def test_workers_of_a_loader_draw_apart():
    pytest.importorskip("torch")
    env = {**os.environ, "ONEIROS_BACKEND": "numpy"}
    done = subprocess.run([sys.executable, "-c", LOADER], capture_output=True, text=True, env=env)
    assert done.stdout == "4\n", done.stderr


def test_arrays_stay_with_their_backend():
    torch = pytest.importorskip("torch")
    for row in FEW:
        assert isinstance(make(row)(torch.tensor(images(row))), torch.Tensor)


def test_pipeline_runs_layers_in_order_and_comes_back():
    chain = layers.Pipeline(
        [layers.Resizing(4, 4), layers.RandomInvert((1.0, 1.0)), layers.Rescaling(1 / 255)]
    )
    x = images(FIXED[0])
    want = 1 - np.asarray(layers.Resizing(4, 4)(x)) / 255
    np.testing.assert_allclose(chain(x), want, atol=1e-5)
    again = layers.Pipeline.from_config(chain.get_config())
    np.testing.assert_allclose(again(x), want, atol=1e-5)
    assert tuple(chain.compute_output_shape((None, 9, 8, 3))) == (None, 4, 4, 3)


def test_layers_come_back_from_a_saved_model(tmp_path):
    parts = [
        layers.RandomFlip(seed=1),
        layers.CenterCrop(4, 4),
        layers.RandomContrast(0.2),
        layers.RandAugment(),
    ]
    model = oneiros.Sequential(
        [oneiros.Input((9, 8, 3)), *parts, layers.Flatten(), layers.Dense(2)]
    )
    model.save(tmp_path / "model.keras")
    again = oneiros.saving.load_model(tmp_path / "model.keras")
    x = images(FIXED[0])
    np.testing.assert_allclose(model.predict(x, verbose=0), again.predict(x, verbose=0), rtol=1e-5)


# Errors -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: layers.RandomFlip("sideways"), "RandomFlip.*mode.*horizontal.*sideways"),
        (lambda: layers.RandomRotation(1.5), "RandomRotation.*factor.*-1 to 1.*1.5"),
        (lambda: layers.RandomRotation(0.1, fill_mode="x"), "fill_mode.*reflect.*'x'"),
        (lambda: layers.RandomZoom(0.1, interpolation="cubic"), "interpolation.*bilinear.*cubic"),
        (lambda: layers.RandomShear(-0.3), "RandomShear.*x_factor.*0 to 1.*-0.3"),
        (lambda: layers.RandomContrast(-0.3), "RandomContrast.*factor.*0 to 1.*-0.3"),
        (lambda: layers.RandomHue(0.1, value_range=3), "RandomHue.*value_range.*two numbers.*3"),
        (lambda: layers.RandomPosterization(9), "factor.*1 to 8.*9"),
        (lambda: layers.RandomGaussianBlur(kernel_size=2), "kernel_size.*odd.*2"),
        (lambda: layers.Resizing(0, 3), "height"),
        (lambda: layers.Resizing(3, 3, "cube"), "interpolation.*bicubic.*cube"),
        (lambda: layers.MixUp(alpha=0), "alpha.*above 0.*0"),
        (lambda: layers.RandomFlip(bounding_box_format="xx"), "bounding_box_format.*xyxy.*xx"),
        (lambda: layers.RandomFlip()(np.ones((3, 3))), r"RandomFlip.*rank 3.*\(3, 3\)"),
        (lambda: layers.RandomHue(0.1)(np.ones((3, 3, 1))), r"RandomHue.*3 channels.*\(3, 3, 1\)"),
        (lambda: layers.RandomFlip()(data(FIXED[0])), "RandomFlip.*bounding_box_format.*xyxy"),
        (lambda: layers.RandomFlip()({"labels": np.ones(3)}), "RandomFlip.*'images'.*labels"),
        (lambda: layers.Pipeline([3]), "Pipeline.*layers.*3"),
    ],
)
def test_errors_name_layer_argument_and_value(make, words):
    with pytest.raises(ValueError, match=words):
        make()
