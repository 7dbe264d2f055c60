"""Linear algebra and signals: values and shapes against Keras, identities, errors."""

import keras
import numpy as np
import pytest
import scipy.linalg
from against_keras import Row, check, flat

from oneiros import ops

rng = np.random.default_rng(3)


def normal(*shape):
    return rng.normal(size=shape).astype("float32")


def positive(*shape):
    x = rng.normal(size=shape)
    return (x @ np.swapaxes(x, -1, -2) + np.eye(shape[-1])).astype("float32")


A, B, S = positive(6, 3, 3), normal(6, 3, 2), normal(6, 5, 3)
ROWS = [
    *[
        Row(name, (x,), tolerance=20)
        for x in (A, A[0])
        for name in ("cholesky", "det", "inv", "slogdet", "logdet")
    ],
    Row("cholesky", (A,), dict(upper=True)),
    Row(
        "cholesky_inverse",
        (np.linalg.cholesky(A),),
        tolerance=20,
        oracle=lambda x: np.linalg.inv(A),
    ),
    Row(
        "cholesky_inverse",
        (np.swapaxes(np.linalg.cholesky(A), -1, -2),),
        dict(upper=True),
        tolerance=20,
        oracle=lambda u, upper: np.linalg.inv(A),
    ),
    Row("lu_factor", (normal(3, 3),), tolerance=10),
    Row("solve", (A, B), tolerance=20),
    Row("solve", (A[0], B[0, :, 0]), tolerance=20),
    Row(
        "solve",
        (A, B[..., 0]),
        tolerance=20,
        oracle=lambda a, b: np.linalg.solve(a, b[..., None])[..., 0],
    ),
    Row("solve_triangular", (A, B), dict(lower=True), tolerance=20),
    Row("solve_triangular", (A[0], B[0, :, 0]), tolerance=20),
    Row("svd", (S,), dict(compute_uv=False)),
    Row("pinv", (S,), tolerance=10),
    Row("pinv", (S[0].T,), tolerance=10),
    Row("lstsq", (S[0], normal(5)), tolerance=10),
    Row("lstsq", (S[0], normal(5, 2)), tolerance=10),
    Row(
        "lstsq",
        (S[0].T, normal(3)),
        tolerance=10,
        oracle=lambda a, b: np.linalg.lstsq(a, b, rcond=None)[0],
    ),
    Row("matrix_rank", (S,)),
    Row("matrix_rank", (np.float32([[1, 2], [2, 4]]),)),
    Row("matrix_rank", (A[0],), dict(tol=2.0)),
    *[
        Row("norm", (normal(7, 4, 3),), kwargs)
        for kwargs in (
            {},
            dict(axis=1),
            dict(axis=-1, ord=3, keepdims=True),
            dict(axis=1, ord=0),
            dict(axis=1, ord=np.inf),
            dict(axis=0, ord=-np.inf),
            dict(axis=1, ord=1),
            dict(axis=(1, 2)),
            dict(axis=(1, 2), ord="fro"),
            dict(axis=(1, 2), ord=1),
            dict(axis=(2, 1), ord=1),
            dict(axis=(0, 2), ord=-1, keepdims=True),
            dict(axis=(1, 2), ord=np.inf),
            dict(axis=(1, 2), ord=2),
            dict(axis=(1, 2), ord=-2, keepdims=True),
            dict(axis=(1, 2), ord="nuc"),
            dict(axis=1, ord=-1.5),
        )
    ],
    *[Row("norm", (normal(4, 3),), dict(ord=o)) for o in (None, "fro", "nuc", 1, -1, 2, np.inf)],
]
SIGNALS = [
    *[Row(name, ((normal(6, 8), normal(6, 8)),), symbolic=False) for name in ("fft",)],
    Row("rfft", (normal(6, 9),)),
    Row("rfft", (normal(6, 9),), dict(fft_length=6)),
    Row("rfft", (normal(6, 9),), dict(fft_length=16)),
    Row("extract_sequences", (normal(6, 20),), dict(sequence_length=5, sequence_stride=3)),
    Row(
        "extract_sequences",
        (normal(20),),
        dict(sequence_length=5, sequence_stride=7),
        symbolic=False,
    ),
    *[
        Row(
            "stft",
            (normal(6, 60),),
            dict(sequence_length=10, sequence_stride=s, fft_length=n, window=w, center=c),
        )
        for s, n, w, c in [
            (4, 10, "hann", True),
            (5, 16, "hamming", True),
            (3, 16, "hann", False),
            (4, 12, None, True),
            (5, 11, rng.uniform(0.1, 1, 10).astype("float32"), False),
        ]
    ],
]


@pytest.mark.parametrize("row", [r for r in ROWS + SIGNALS if r.name != "fft"], ids=str)
def test_values_are_keras(row, backend):
    check(row)


@pytest.mark.parametrize("name", ["fft", "fft2", "ifft2", "irfft"])
def test_transforms_of_pairs_are_keras(name, backend):
    pair = (normal(3, 4, 6), normal(3, 4, 6))
    for a, b in zip(flat(getattr(ops, name)(pair)), flat(getattr(keras.ops, name)(pair))):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [7, 10, 14])
def test_irfft_of_any_length(length, backend):
    pair = (normal(3, 6), normal(3, 6))
    ours = flat(ops.irfft(pair, fft_length=length))[0]
    np.testing.assert_allclose(
        ours, np.fft.irfft(pair[0] + 1j * pair[1], length), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(sequence_length=10, sequence_stride=4, fft_length=10),
        dict(sequence_length=10, sequence_stride=5, fft_length=16, window="hamming"),
        dict(sequence_length=8, sequence_stride=2, fft_length=8, center=False),
    ],
)
@pytest.mark.parametrize("length", [None, 50])
@pytest.mark.filterwarnings("ignore:NOLA")
def test_istft_is_keras(kwargs, length, backend):
    pair = keras.ops.stft(normal(2, 60), **kwargs)
    ours = flat(ops.istft(tuple(map(np.asarray, pair)), length=length, **kwargs))[0]
    theirs = keras.ops.istft(pair, length=length, **kwargs)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr_gives_the_matrix_back(mode, backend):
    q, r = flat(ops.qr(S, mode=mode))
    np.testing.assert_allclose(q @ r, S, atol=1e-5)
    np.testing.assert_allclose(
        np.swapaxes(q, -1, -2) @ q,
        np.broadcast_to(np.eye(q.shape[-1]), (6, *q.shape[-1:] * 2)),
        atol=1e-5,
    )
    assert q.shape[-1] == (5 if mode == "complete" else 3)


@pytest.mark.parametrize("full", [True, False])
def test_svd_gives_the_matrix_back(full, backend):
    u, s, vh = flat(ops.svd(S, full_matrices=full))
    np.testing.assert_allclose(u[..., :3] * s[:, None] @ vh, S, atol=1e-5)
    assert u.shape == (6, 5, 5 if full else 3)


def test_eigenvectors_are_those(backend):
    w, v = flat(ops.eigh(A))
    np.testing.assert_allclose(A @ v, v * w[:, None], atol=1e-4)
    w, v = flat(ops.eig(S[:, :3]))
    np.testing.assert_allclose(S[:, :3] @ v, v * w[:, None], atol=1e-4)


def test_lu_factor_swaps_rows():
    packed, swaps = flat(ops.lu_factor(S[0]))
    want, pivots = scipy.linalg.lu_factor(S[0])
    np.testing.assert_allclose(packed, want, atol=1e-6)
    assert swaps.tolist() == pivots.tolist()


@pytest.mark.parametrize("name", ["cholesky", "det", "inv", "eigh", "eig", "solve", "slogdet"])
def test_matrices_that_are_not_square_are_refused(name):
    arguments = (S, S) if name == "solve" else (S,)
    with pytest.raises(ValueError, match=f"{name}.*square"):
        getattr(ops, name)(*arguments)
    with pytest.raises(ValueError, match=name):
        getattr(ops, name)(*[x[0, 0] for x in arguments])


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(ord="inf"),
        dict(ord=3),
        dict(axis=0, ord="fro"),
        dict(axis=7),
        dict(axis=(0, 1), ord=0),
        dict(axis=(0, 0)),
    ],
)
def test_norms_that_do_not_exist_are_refused(kwargs):
    with pytest.raises(ValueError, match="norm"):
        ops.norm(normal(2, 3), **kwargs)


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.fft(normal(3)),
        lambda: ops.qr(S, mode="r"),
        lambda: ops.stft(normal(30), 8, 4, 4),
        lambda: ops.stft(normal(30), 4, 4, 8, window="box"),
        lambda: ops.solve(A, normal(6, 4, 2)),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(ValueError):
        call()
