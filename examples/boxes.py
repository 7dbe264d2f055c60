"""Boxes around things in photographs, drawn before and after augmentation: they move together.

python examples/boxes.py [--out FOLDER]
"""

import argparse
import pathlib

import numpy as np

import oneiros as keras
from oneiros import layers, visualization

# In scikit-learn's photographs of 427x640: (left, top, right, bottom) of a temple, a tree, a flower.
BOXES = {
    "china.jpg": [[40, 18, 410, 385], [540, 95, 640, 330]],
    "flower.jpg": [[168, 60, 448, 362]],
}


def load():
    """Photographs as bytes, and their boxes filled up to two each."""
    from sklearn.datasets import load_sample_image

    images = np.stack([load_sample_image(name) for name in BOXES]).astype("float32")
    boxes, labels = np.full((2, 2, 4), -1.0, "float32"), np.full((2, 2), -1.0, "float32")
    for i, found in enumerate(BOXES.values()):
        boxes[i, : len(found)], labels[i, : len(found)] = found, np.arange(len(found)) + i
    return {"images": images, "bounding_boxes": {"boxes": boxes, "labels": labels}}


def changes():
    """Augmentations by name; each is told how boxes are given."""
    form = dict(bounding_box_format="xyxy")
    return {
        "as it is": layers.MaxNumBoundingBoxes(2, **form),
        "flipped": layers.RandomFlip("horizontal", seed=2, **form),
        "turned": layers.RandomRotation((0.05, 0.05), fill_mode="constant", **form),
        "zoomed out": layers.RandomZoom((0.4, 0.4), fill_mode="constant", **form),
        "moved": layers.RandomTranslation((0.15, 0.15), (0.2, 0.2), fill_mode="constant", **form),
        "sheared": layers.RandomShear((0.2, 0.2), seed=1, fill_mode="constant", **form),
        "from aside": layers.RandomPerspective((1.0, 1.0), 0.5, seed=4, **form),
        "cropped": layers.RandomCrop(300, 450, seed=5, **form),
        "other colours": layers.RandomColorJitter(
            brightness_factor=0.2, hue_factor=(0.3, 0.3), seed=1, **form
        ),
    }


def main(out="out"):
    """Draw all of them into one picture; give the boxes by name of the change."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    data, found = load(), {}
    rows = changes()
    figure, axes = plt.subplots(len(rows) // 3 * 2, 3, figsize=(12, 16))
    for k, (name, layer) in enumerate(rows.items()):
        made = keras.tree.map_structure(keras.ops.convert_to_numpy, layer(data, training=True))
        found[name] = made["bounding_boxes"]
        drawn = visualization.draw_bounding_boxes(
            made["images"].clip(0, 255).astype("uint8"), made["bounding_boxes"], "xyxy",
            color=(255, 60, 30), line_thickness=4,
        )  # fmt: skip
        for i in range(2):
            axis = axes[k // 3 * 2 + i, k % 3]
            axis.imshow(np.asarray(drawn[i]).astype("uint8"))
            axis.set_title(name, fontsize=10)
            axis.axis("off")
    figure.tight_layout(pad=0.4)
    pathlib.Path(out).mkdir(parents=True, exist_ok=True)
    figure.savefig(pathlib.Path(out) / "boxes.png", dpi=60)
    plt.close(figure)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="out")
    main(parser.parse_args().out)
