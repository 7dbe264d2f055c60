"""Backends' own kernels for composites give what the ops' bodies give, also at the edges."""

import numpy as np
import pytest

from oneiros import ops
from oneiros.core import tree
from oneiros.core.op import OPS

RNG = np.random.default_rng(0)
NAN, INF = np.nan, np.inf


def reals(*shape):
    return RNG.standard_normal(shape).astype("float32")


def whole(*values):
    return np.array(values, "int32")


def floats(*values):
    return np.array(values, "float32")


SHARES = RNG.random((3, 4)).astype("float32")
LABELS = (SHARES > 0.5).astype("float32")
LENGTHS = whole(5, 3, 2), whole(10, 9, 4)
ROWS = [
    *((name, (reals(3, 4, 5), axis, keep)) for name in ("sum", "mean", "var", "logsumexp")
      for axis, keep in ((None, False), (1, True), ((0, -1), False))),
    ("logsumexp", (floats([-INF, -INF], [1, INF], [NAN, 0]), -1)),
    ("norm", (reals(3, 4), None, 1, True)),
    ("quantile", (reals(3, 4, 5), 0.3, 1)),
    ("sort", (floats(1, NAN, -INF, 2),)),
    ("clip", (floats(NAN, INF, -5, 0.3), -1, 1.0)),
    ("clip", (whole(1, 5), 0, 2)),
    *(("searchsorted", (*pair, side)) for side in ("left", "right") for pair in (
        (np.sort(reals(9)), reals(3, 4)), (whole(1, 2, 2, 3), whole(2, 0, 9, 3)),
        (floats(1, 2, NAN), floats(NAN, 5, 1)))),
    *(("bincount", (x,)) for x in (whole(1, 3, 3), whole(), whole([1, 3], [0, 0]))),
    ("bincount", (whole(1, 3), None, 9)),
    *(("unique", (x, True, *flags)) for flags in ((), (False, True, True), (True,))
      for x in (whole([3, 1], [1, 2]), floats(NAN, 1, NAN), floats(0.0, -0.0))),
    *(("segment_sum", (reals(5, 2), ids, 4)) for ids in (whole(0, 0, 2, 1, 2), whole(0, 0, 7, -1, 2))),
    ("take", (reals(5, 3), whole(1, 0, -1), 0)),
    ("take", (reals(5, 3), whole(1, 9), 0)),
    ("top_k", (reals(50, 100), 3)),
    ("top_k", (RNG.integers(0, 9, (50, 100)).astype("float32"), 3)),
    ("softmax", (floats([1, INF], [NAN, 1], [0, 2]),)),
    ("log_softmax", (reals(3, 4, 5), 1)),
    *(("binary_crossentropy", (LABELS, p, logits)) for p, logits in (
        (SHARES, False), (LABELS, False), (reals(3, 4), True))),
    *(("categorical_crossentropy", (LABELS, p, logits)) for p, logits in (
        (SHARES, False), (0 * SHARES + 1, False), (reals(3, 4), True))),
    *(("sparse_categorical_crossentropy", (whole(1, 0, 3), p, logits)) for p, logits in (
        (SHARES, False), (reals(3, 4), True))),
    *(("ctc_loss", (RNG.integers(1, 6, (3, n)).astype("int32"), reals(3, 10, 6), *LENGTHS))
      for n in (5, 12)),
    *(("average_pool", (reals(2, 7, 8, 3), size, step, padding)) for size in (2, (3, 2))
      for step in (1, 2, None) for padding in ("same", "valid")),
    *(("resize", (reals(2, 7, 8, 3), size)) for size in ((3, 4), (13, 9), (7, 3))),
    ("stft", (reals(2, 300), 50, 16, 64)),
    ("layer_normalization", (reals(3, 4, 5), reals(5), reals(5))),
    ("batch_normalization", (reals(3, 5), reals(5), abs(reals(5)), -1, reals(5), reals(5))),
    ("dot_product_attention", (reals(2, 5, 3, 4), reals(2, 6, 3, 4), reals(2, 6, 3, 4))),
]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", range(len(ROWS)), ids=lambda i: f"{ROWS[i][0]}-{i}")
def test_a_kernel_gives_what_the_body_gives(row, backend):
    name, args = ROWS[row]
    given = [ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x for x in args]
    made = getattr(ops, name, None) or ops.image.resize
    made, expected = made(*given), OPS[name].body(*given)
    for x, y in zip(tree.flatten(made), tree.flatten(expected), strict=True):
        x, y = ops.convert_to_numpy(x), ops.convert_to_numpy(y)
        assert x.dtype == y.dtype
        np.testing.assert_allclose(x, y, rtol=2e-5, atol=2e-5)
        assert x.shape == y.shape
