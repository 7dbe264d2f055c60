"""Masks are drawn as by Keras; boxes where they are; galleries hold what they are given."""

import keras
import numpy as np
import pytest

from oneiros import config, ops, utils, visualization

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 8, 12, 3)).astype("uint8")
MASKS = RNG.integers(0, 4, (2, 8, 12, 1)).astype("int32")
COLORS = {0: (255, 0, 0), 1: (0, 255, 0), 2: (0, 0, 255), 3: (10, 20, 30)}
BOXES = {
    "boxes": np.array([[[2, 3, 9, 6], [0, 0, 3, 3]], [[1, 1, 5, 5], [0, 0, 0, 0]]], "float32"),
    "labels": np.array([[0, 1], [1, -1]]),
}


@pytest.mark.parametrize(
    "kwargs", [{}, dict(alpha=0.5), dict(blend=False), dict(ignore_index=2), dict(ignore_index=[])]
)
def test_masks_are_drawn_as_by_keras(kwargs):
    kwargs = {"num_classes": 4, "color_mapping": COLORS, **kwargs}
    if kwargs.get("ignore_index") == []:
        kwargs["ignore_index"] = 9
    theirs = keras.visualization.draw_segmentation_masks(IMAGES, MASKS, **kwargs)
    ours = visualization.draw_segmentation_masks(IMAGES, MASKS, **kwargs)
    np.testing.assert_array_equal(ours, np.asarray(theirs).astype("uint8"))
    assert ours.dtype == np.uint8


def test_channels_may_come_first():
    ours = visualization.draw_segmentation_masks(
        IMAGES.transpose(0, 3, 1, 2),
        MASKS.transpose(0, 3, 1, 2),
        color_mapping=COLORS,
        data_format="channels_first",
    )
    np.testing.assert_array_equal(
        ours, visualization.draw_segmentation_masks(IMAGES, MASKS[..., 0], color_mapping=COLORS)
    )


def test_each_class_has_a_color_of_its_own():
    masks = np.arange(24).reshape(1, 4, 6)
    painted = visualization.draw_segmentation_masks(np.zeros((1, 4, 6, 3)), masks, blend=False)
    assert len({tuple(c) for c in painted.reshape(-1, 3)}) == 24


def test_a_box_is_drawn_on_its_edges_and_nowhere_else(backend):
    images = ops.convert_to_tensor(np.zeros((2, 8, 12, 3), "float32"))
    boxes = {key: ops.convert_to_tensor(value) for key, value in BOXES.items()}
    made = visualization.draw_bounding_boxes(
        images, boxes, "xyxy", color=(9, 8, 7), line_thickness=1, text_thickness=0
    )
    want = np.zeros((2, 8, 12), bool)
    for i, (x1, y1, x2, y2) in ((0, (2, 3, 9, 6)), (0, (0, 0, 3, 3)), (1, (1, 1, 5, 5))):
        want[i, [y1, y2], x1 : x2 + 1] = want[i, y1 : y2 + 1, [x1, x2]] = True
    assert made.dtype == np.uint8
    np.testing.assert_array_equal(made, want[..., None] * np.array([9, 8, 7]))


@pytest.mark.parametrize("form", ["xywh", "rel_yxyx", "center_xywh"])
def test_boxes_come_in_every_format(form):
    kwargs = dict(line_thickness=1, text_thickness=0)
    boxes = utils.bounding_boxes.convert_format(BOXES, "xyxy", form, height=8, width=12)
    np.testing.assert_array_equal(
        visualization.draw_bounding_boxes(IMAGES, boxes, form, **kwargs),
        visualization.draw_bounding_boxes(IMAGES, BOXES, "xyxy", **kwargs),
    )


def test_the_class_and_how_sure_it_is_stand_above_the_box():
    images = np.zeros((1, 60, 120, 3))
    boxes = {"boxes": np.array([[[10, 40, 60, 55]]]), "labels": np.array([[1]])}

    def drawn(**kwargs):
        made = visualization.draw_bounding_boxes(
            images, boxes | kwargs.pop("more", {}), "xyxy", **kwargs
        )
        return (made[0, :39] > 0).any(-1).sum()

    plain = drawn()
    assert drawn(text_thickness=0) == 0 < plain < drawn(class_mapping={1: "a long name"})
    assert plain < drawn(font_scale=1.5) and plain < drawn(more={"confidences": np.array([[0.5]])})


@pytest.fixture
def texts():
    """The texts in a figure, image by image, and the number of images."""

    def read(figure):
        return [[t.get_text() for t in axes.texts] for axes in figure.axes]

    return read


def test_a_gallery_is_as_square_as_can_be(texts):
    for count, kwargs, shape in (
        (7, {}, (3, 3)),
        (7, dict(rows=2), (2, 4)),
        (7, dict(cols=7), (1, 7)),
        (7, dict(rows=1, cols=2), (1, 2)),
    ):
        images = np.zeros((count, 4, 8, 1))
        figure = visualization.plot_image_gallery(images, show=False, **kwargs)
        assert len(figure.axes) == min(count, shape[0] * shape[1])
        gap = 0.08
        want = shape[1] * (2 + gap) + gap, shape[0] * (1 + gap) + gap
        np.testing.assert_allclose(figure.get_size_inches(), want)
    figure = visualization.plot_image_gallery(
        IMAGES, [0, 1], np.array([1, 1]), label_map={0: "cat", 1: "dog"}, show=False
    )
    assert texts(figure) == [["Truth: cat\nPrediction: dog"], ["Truth: dog\nPrediction: dog"]]


def test_values_are_brought_to_black_and_white():
    images = np.array([-1.0, 0.0, 1.0, 2.0]).reshape(1, 1, 4, 1)
    figure = visualization.plot_image_gallery(images, value_range=(-1, 1), show=False)
    shown = figure.axes[0].images[0].get_array()
    assert np.asarray(shown).tolist() == [[0, 128, 255, 255]]


def test_galleries_of_boxes_and_masks_are_written(tmp_path):
    visualization.plot_bounding_box_gallery(
        IMAGES, "xyxy", BOXES, BOXES, legend=True, class_mapping={0: "a"}, path=tmp_path / "a.png"
    )
    visualization.plot_segmentation_mask_gallery(
        IMAGES / 255, 4, (0, 1), y_true=MASKS, y_pred=MASKS, path=tmp_path / "b.png", dpi=30
    )
    wide = utils.load_img(tmp_path / "a.png"), utils.load_img(tmp_path / "b.png")
    assert [im.width for im in wide] == [int(60 * 4.24), int(30 * 6.32)]
    figure = visualization.plot_segmentation_mask_gallery(IMAGES, 4, y_true=MASKS, show=False)
    assert len(figure.axes) == 4


def test_showing_goes_through_pyplot(monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    shown = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(len(pyplot.get_fignums())))
    visualization.plot_image_gallery(IMAGES)
    assert shown == [1] and not pyplot.get_fignums()


ERRORS = [
    (lambda: visualization.draw_segmentation_masks(IMAGES[0], MASKS[0]), ValueError, "batch"),
    (lambda: visualization.draw_segmentation_masks(IMAGES, MASKS[:, :4]), ValueError, "do not fit"),
    (lambda: visualization.draw_segmentation_masks(IMAGES, MASKS * 1.0), TypeError, "float"),
    (
        lambda: visualization.draw_segmentation_masks(IMAGES, MASKS, color_mapping={0: (1, 1, 1)}),
        ValueError,
        r"\[1, 2, 3\] have no color",
    ),
    (lambda: visualization.draw_bounding_boxes(IMAGES, BOXES["boxes"], "xyxy"), ValueError, "dict"),
    (lambda: visualization.draw_bounding_boxes(IMAGES, {"boxes": 1}, "xyxy"), ValueError, "labels"),
    (lambda: visualization.draw_bounding_boxes(IMAGES, BOXES, "xyz"), ValueError, "'xyz'"),
    (lambda: visualization.draw_bounding_boxes(IMAGES[:1], BOXES, "xyxy"), ValueError, "1 images"),
    (lambda: visualization.plot_image_gallery(IMAGES[0]), ValueError, "batch"),
    (lambda: visualization.plot_image_gallery(IMAGES, [0, 1]), ValueError, "label_map"),
    (lambda: visualization.plot_image_gallery(IMAGES, path="x", show=True), ValueError, "`path`"),
    (lambda: visualization.plot_image_gallery(IMAGES, value_range=(1, 0)), ValueError, "go up"),
    (
        lambda: visualization.plot_bounding_box_gallery(IMAGES, "xyxy", legend_handles=[]),
        ValueError,
        "legend",
    ),
]


@pytest.mark.parametrize("row", range(len(ERRORS)))
def test_what_makes_no_sense_is_an_error(row):
    call, kind, match = ERRORS[row]
    with pytest.raises(kind, match=match):
        call()


def test_the_settings_data_format_is_taken():
    config.set_image_data_format("channels_first")
    try:
        figure = visualization.plot_image_gallery(IMAGES.transpose(0, 3, 1, 2), show=False)
        assert len(figure.axes) == 2
    finally:
        config.set_image_data_format("channels_last")
