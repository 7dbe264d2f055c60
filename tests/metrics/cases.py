"""Rows of the metrics' battery: a class, its arguments, and the kind of data that it takes."""

import numpy as np


def batches(kind):
    """Three batches (targets, predictions, weights) of a kind."""
    rng = np.random.default_rng(11)
    return [_batch(kind, rng) for _ in range(3)]


def _batch(kind, rng):
    n, c = 8, 4
    real, other = rng.standard_normal((2, n, c)).astype("float32")
    soft = (np.exp(other) / np.exp(other).sum(-1, keepdims=True)).astype("float32")
    numbers = rng.integers(0, c, n)
    one_hot = np.eye(c, dtype="float32")[numbers]
    guess = rng.random((n, c)).astype("float32")
    many = (rng.random((n, c)) < 0.4).astype("float32")
    made = {
        "real": (real, other),
        "positive": (np.abs(real), np.abs(other) + 0.1),
        "one-hot": (one_hot, soft),
        "one-hot logits": (one_hot, other),
        "numbers": (numbers, soft),
        "column": (numbers[:, None], soft),
        "steps": (rng.integers(0, c, (n, 3)), rng.random((n, 3, c)).astype("float32")),
        "sorted ids": (numbers, np.argsort(-soft, axis=-1)),
        "labels": (many, guess),
        "label": (many[:, 0], guess[:, 0]),
        "label column": (many[:, :1], guess[:, :1]),
        "logits": (many, other),
        "signs": (2 * many - 1, other),
        "classes": (numbers, rng.integers(0, c, n)),
        "maps": (rng.integers(0, c, (n, 3)), rng.integers(0, c, (n, 3))),
        "equal": (numbers.astype("float32"), np.round(numbers + 0.4 * other[:, 0])),
        "one-hot ids": (one_hot, rng.integers(0, c, n)),
        "values": (real, None),
        "vector": (real[:, 0], None),
    }
    y_true, y_pred = made[kind]
    return y_true, y_pred, rng.random(n).astype("float32")


ROWS = [
    ("Mean", {}, "values"),
    ("Mean", {}, "vector"),
    ("Sum", {}, "values"),
    ("Accuracy", {}, "equal"),
    ("BinaryAccuracy", {}, "labels"),
    ("BinaryAccuracy", {"threshold": 0.2}, "label column"),
    ("CategoricalAccuracy", {}, "one-hot"),
    ("SparseCategoricalAccuracy", {}, "numbers"),
    ("SparseCategoricalAccuracy", {}, "column"),
    ("SparseCategoricalAccuracy", {}, "steps"),
    ("TopKCategoricalAccuracy", {"k": 2}, "one-hot"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "numbers"),
    ("SparseTopKCategoricalAccuracy", {"k": 2}, "steps"),
    ("SparseTopKCategoricalAccuracy", {"k": 2, "from_sorted_ids": True}, "sorted ids"),
    ("BinaryCrossentropy", {}, "labels"),
    ("BinaryCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "logits"),
    ("CategoricalCrossentropy", {}, "one-hot"),
    ("CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.1}, "one-hot logits"),
    ("SparseCategoricalCrossentropy", {}, "numbers"),
    ("SparseCategoricalCrossentropy", {"from_logits": True}, "steps"),
    ("KLDivergence", {}, "one-hot"),
    ("Poisson", {}, "positive"),
    ("Hinge", {}, "signs"),
    ("SquaredHinge", {}, "signs"),
    ("CategoricalHinge", {}, "one-hot"),
    ("CosineSimilarity", {}, "real"),
    ("CosineSimilarity", {"axis": 1}, "real"),
    ("LogCoshError", {}, "real"),
    ("MeanSquaredError", {}, "real"),
    ("RootMeanSquaredError", {}, "real"),
    ("MeanAbsoluteError", {}, "real"),
    ("MeanAbsolutePercentageError", {}, "positive"),
    ("MeanSquaredLogarithmicError", {}, "positive"),
    ("PearsonCorrelation", {}, "real"),
    ("ConcordanceCorrelation", {}, "real"),
    ("PearsonCorrelation", {"axis": 1}, "real"),
    ("TruePositives", {}, "labels"),
    ("TrueNegatives", {}, "label"),
    ("FalsePositives", {"thresholds": [0.2, 0.7]}, "labels"),
    ("FalseNegatives", {"thresholds": 0.3}, "label column"),
    ("Precision", {}, "labels"),
    ("Precision", {"thresholds": [0.1, 0.5, 0.9]}, "label"),
    ("Precision", {"top_k": 2}, "labels"),
    ("Precision", {"class_id": 1, "thresholds": 0.3}, "labels"),
    ("Precision", {"class_id": 1, "top_k": 2}, "labels"),
    ("Recall", {}, "labels"),
    ("Recall", {"thresholds": [0.1, 0.5, 0.9]}, "label"),
    ("Recall", {"top_k": 3, "class_id": 2}, "labels"),
    ("SensitivityAtSpecificity", {"specificity": 0.5}, "label"),
    ("SensitivityAtSpecificity", {"specificity": 0.6, "class_id": 2}, "labels"),
    ("SpecificityAtSensitivity", {"sensitivity": 0.4, "num_thresholds": 1}, "label"),
    ("SpecificityAtSensitivity", {"sensitivity": 0.7, "num_thresholds": 30}, "labels"),
    ("PrecisionAtRecall", {"recall": 0.6}, "labels"),
    ("RecallAtPrecision", {"precision": 0.45}, "labels"),
    ("RecallAtPrecision", {"precision": 1.0}, "labels"),
    *[
        ("AUC", {"curve": curve, "summation_method": method, "num_thresholds": 20}, "labels")
        for curve in ("ROC", "PR", "PRGAIN")
        for method in ("interpolation", "minoring", "majoring")
    ],
    ("AUC", {}, "label"),
    ("AUC", {"thresholds": [0.2, 0.3, 0.9]}, "labels"),
    ("AUC", {"thresholds": [0.25, 0.5, 0.75]}, "labels"),
    ("AUC", {"from_logits": True, "num_thresholds": 50}, "logits"),
    ("AUC", {"multi_label": True, "num_thresholds": 20}, "labels"),
    ("AUC", {"multi_label": True, "num_labels": 4, "curve": "PR"}, "labels"),
    ("AUC", {"multi_label": True, "thresholds": [0.2, 0.3, 0.9]}, "labels"),
    *[
        ("AUC", {"multi_label": True, "curve": curve, "summation_method": method, **more}, kind)
        for curve, method, more, kind in (
            ("ROC", "interpolation", {"label_weights": [0.1, 0.2, 0.3, 0.4]}, "labels"),
            ("PR", "interpolation", {"label_weights": [0.1, 0.2, 0.3, 0.4]}, "labels"),
            ("PR", "majoring", {"thresholds": [0.5], "num_labels": 4}, "labels"),
            ("PRGAIN", "minoring", {"from_logits": True, "num_thresholds": 30}, "logits"),
            ("PRGAIN", "interpolation", {"label_weights": [1.0, 0.0, 0.0, 2.0]}, "labels"),
        )
    ],
    ("AUC", {"label_weights": [0.1, 0.2, 0.3, 0.4]}, "labels"),
    *[
        ("FBetaScore", {"average": average, "beta": 2.0, "threshold": threshold}, "labels")
        for average in (None, "micro", "macro", "weighted")
        for threshold in (None, 0.4)
    ],
    ("F1Score", {}, "one-hot"),
    ("F1Score", {"average": "macro", "threshold": 0.5}, "labels"),
    ("IoU", {"num_classes": 4, "target_class_ids": [0, 2]}, "classes"),
    ("IoU", {"num_classes": 3, "target_class_ids": [0, 2], "dtype": "float32"}, "maps"),
    ("IoU", {"num_classes": 4, "target_class_ids": [1], "ignore_class": 2}, "maps"),
    ("IoU", {"num_classes": 4, "target_class_ids": [1], "sparse_y_pred": False}, "numbers"),
    ("BinaryIoU", {"dtype": "float32"}, "label"),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, "labels"),
    ("MeanIoU", {"num_classes": 4, "dtype": "float32"}, "maps"),
    ("MeanIoU", {"num_classes": 4, "ignore_class": -1, "sparse_y_pred": False}, "steps"),
    ("MeanIoU", {"num_classes": 4, "sparse_y_true": False, "sparse_y_pred": False}, "one-hot"),
    ("OneHotMeanIoU", {"num_classes": 4, "ignore_class": 1, "sparse_y_pred": True}, "one-hot ids"),
    ("MeanIoU", {"num_classes": 4, "ignore_class": 0, "dtype": "float32"}, "classes"),
    ("OneHotIoU", {"num_classes": 4, "target_class_ids": [0, 3]}, "one-hot"),
    ("OneHotMeanIoU", {"num_classes": 4, "dtype": "float32"}, "one-hot"),
    ("R2Score", {}, "real"),
    ("R2Score", {"class_aggregation": None}, "real"),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, "real"),
    ("R2Score", {"num_regressors": 2}, "real"),
    ("R2Score", {"num_regressors": 3, "class_aggregation": None}, "real"),
    ("SpecificityAtSensitivity", {"sensitivity": 0.2, "num_thresholds": 2}, "labels"),
    ("PrecisionAtRecall", {"recall": 0.3, "num_thresholds": 1, "class_id": 0}, "labels"),
    ("Recall", {"thresholds": [0.0, 1.0], "top_k": 1}, "labels"),
    ("TopKCategoricalAccuracy", {"k": 7}, "one-hot"),
]
