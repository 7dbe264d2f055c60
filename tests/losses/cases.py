"""Rows of the losses' battery: a class, its arguments, and the kind of data that it takes."""

import numpy as np


def data(kind):
    """Targets and predictions of a kind, and a weight for each sample."""
    rng = np.random.default_rng(7)
    real = rng.standard_normal((6, 4)).astype("float32")
    other = rng.standard_normal((6, 4)).astype("float32")
    soft = np.exp(other) / np.exp(other).sum(-1, keepdims=True)
    one_hot = np.eye(4, dtype="float32")[rng.integers(0, 4, 6)]
    made = {
        "real": (real, other),
        "positive": (np.abs(real), np.abs(other) + 0.1),
        "binary": (one_hot, 1 / (1 + np.exp(-other))),
        "binary logits": (one_hot, other),
        "one-hot": (one_hot, soft),
        "one-hot logits": (one_hot, other),
        "numbers": (one_hot.argmax(-1), soft),
        "numbers logits": (one_hot.argmax(-1).astype("float32"), other),
        "column": (one_hot.argmax(-1)[:, None], soft),
        "distributions": (soft, soft[::-1].copy()),
        "signs": (2 * one_hot - 1, other),
        "3d": (rng.integers(0, 4, (6, 5)), rng.standard_normal((6, 5, 4)).astype("float32")),
        "3d one-hot": (
            np.eye(4, dtype="float32")[rng.integers(0, 4, (6, 5))],
            rng.standard_normal((6, 5, 4)).astype("float32"),
        ),
        "all ignored": (np.full((6, 5), -1), rng.standard_normal((6, 5, 4)).astype("float32")),
        "sequences": (
            np.array([[1, 2, 0], [3, 0, 0], [2, 2, 1], [1, 1, 0], [3, 2, 1], [1, 0, 0]]),
            rng.standard_normal((6, 7, 4)).astype("float32"),
        ),
        "embeddings": (
            np.array([0, 1, 0, 2, 1, 1]),
            (other / np.linalg.norm(other, axis=-1, keepdims=True)).astype("float32"),
        ),
        "one column": (one_hot[:, 0], other[:, :1]),
        "ranks": (real[:, 0], other[:, :1]),
    }
    y_true, y_pred = made[kind]
    return y_true, y_pred, rng.random(6).astype("float32")


ROWS = [
    ("MeanSquaredError", {}, "real"),
    ("MeanSquaredError", {}, "ranks"),
    ("MeanAbsoluteError", {}, "real"),
    ("MeanAbsolutePercentageError", {}, "positive"),
    ("MeanSquaredLogarithmicError", {}, "positive"),
    ("MeanSquaredLogarithmicError", {}, "real"),
    ("Huber", {}, "real"),
    ("Huber", {"delta": 0.3}, "real"),
    ("LogCosh", {}, "real"),
    ("CosineSimilarity", {}, "real"),
    ("CosineSimilarity", {"axis": 1}, "3d one-hot"),
    ("BinaryCrossentropy", {}, "binary"),
    ("BinaryCrossentropy", {"from_logits": True}, "binary logits"),
    ("BinaryCrossentropy", {"label_smoothing": 0.2}, "binary"),
    ("BinaryCrossentropy", {"axis": 0, "reduction": "sum"}, "binary"),
    ("BinaryFocalCrossentropy", {}, "binary"),
    ("BinaryFocalCrossentropy", {"apply_class_balancing": True, "gamma": 1.5}, "binary"),
    ("BinaryFocalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "binary logits"),
    ("CategoricalCrossentropy", {}, "one-hot"),
    ("CategoricalCrossentropy", {"from_logits": True}, "one-hot logits"),
    ("CategoricalCrossentropy", {"label_smoothing": 0.2}, "one-hot"),
    ("CategoricalCrossentropy", {"from_logits": True, "axis": 1}, "3d one-hot"),
    ("CategoricalCrossentropy", {"axis": 1, "label_smoothing": 0.1}, "3d one-hot"),
    ("CategoricalFocalCrossentropy", {}, "one-hot"),
    ("CategoricalFocalCrossentropy", {"axis": 1, "label_smoothing": 0.1}, "3d one-hot"),
    ("CategoricalFocalCrossentropy", {"from_logits": True, "gamma": 1.0}, "one-hot logits"),
    ("CategoricalFocalCrossentropy", {"alpha": [0.1, 0.2, 0.3, 0.4]}, "one-hot"),
    ("SparseCategoricalCrossentropy", {}, "numbers"),
    ("SparseCategoricalCrossentropy", {}, "column"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "numbers logits"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "3d"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 2}, "numbers"),
    ("SparseCategoricalCrossentropy", {"ignore_class": 0, "from_logits": True}, "3d"),
    ("SparseCategoricalCrossentropy", {"ignore_class": -1, "from_logits": True}, "all ignored"),
    ("CategoricalGeneralizedCrossEntropy", {}, "numbers"),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.9}, "numbers"),
    ("KLDivergence", {}, "distributions"),
    ("Poisson", {}, "positive"),
    ("Hinge", {}, "signs"),
    ("Hinge", {}, "binary logits"),
    ("SquaredHinge", {}, "signs"),
    ("SquaredHinge", {}, "binary logits"),
    ("CategoricalHinge", {}, "one-hot logits"),
    ("Hinge", {}, "ranks"),
    ("BinaryCrossentropy", {"from_logits": True}, "one column"),
    ("Dice", {}, "binary"),
    ("Dice", {"axis": -1}, "binary"),
    ("Tversky", {}, "binary"),
    ("Tversky", {"alpha": 0.3, "beta": 0.7, "axis": 1}, "binary"),
    ("CTC", {}, "sequences"),
    ("Circle", {}, "embeddings"),
    ("Circle", {"gamma": 10.0, "margin": 0.25, "remove_diagonal": False}, "embeddings"),
]
REDUCTIONS = ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None]
