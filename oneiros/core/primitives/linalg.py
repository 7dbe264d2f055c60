"""Factorizations, solves and Fourier transforms over the last axes; all leading axes are batches.

Derivatives: Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation" (2008); Murray, "Differentiation of the Cholesky decomposition" (2016); Seeger et
al., "Auto-differentiating linear algebra" (2017); Roberts and Roberts, "QR and LQ decomposition
matrix backpropagation algorithms" (2020). Of a complex function the cotangent of `a @ x` is
`a^H @ g`.
"""

from __future__ import annotations

from oneiros.core.primitive import primitive
from oneiros.core.primitives.contractions import dot_general
from oneiros.core.primitives.elementwise import (
    _conj,
    _is_complex,
    _real,
    cast,
    equal,
    greater,
    greater_equal,
    logical_or,
    real,
    select,
)
from oneiros.core.primitives.shaping import (
    broadcast_to,
    concatenate,
    iota,
    ones_of,
    pad,
    reshape,
    slice_axis,
    transpose,
    zeros_of,
)
from oneiros.core.spec import Spec, agree, spec_of

__all__ = [
    "cholesky", "det", "eig", "eigh", "fft", "inverse", "irfft", "lu", "qr", "rfft", "slogdet",
    "solve", "svd",
    "triangular_solve",
]  # fmt: skip

COMPLEX = {"float32": "complex64", "float64": "complex128"}


# Parts of the formulas ---------------------------------------------
def _adjoint(x):
    """The last two axes swapped, conjugated if complex."""
    rank = len(x.shape)
    return _conj(transpose(x, order=(*range(rank - 2), rank - 1, rank - 2)))


def _mm(*factors):
    """The matrix product of batches of matrices, from left to right."""
    product = factors[0]
    for y in factors[1:]:
        rank = len(y.shape)
        lead = tuple(range(rank - 2))
        product = dot_general(product, y, contract=((rank - 1,), (rank - 2,)), batch=(lead, lead))
    return product


def _places(x):
    """Row and column of every element of the matrices `x`."""
    shape = tuple(x.shape)
    rank = len(shape)
    return iota(shape=shape, axis=rank - 2, dtype="int32"), iota(
        shape=shape, axis=rank - 1, dtype="int32"
    )


def _lower(x, strict=False):
    row, column = _places(x)
    return select((greater if strict else greater_equal)(row, column), x, 0.0)


def _upper(x, strict=False):
    row, column = _places(x)
    return select((greater if strict else greater_equal)(column, row), x, 0.0)


def _diagonal(d):
    """Matrices with the vectors `d` on their diagonals."""
    n = d.shape[-1]
    spread = broadcast_to(reshape(d, shape=(*d.shape[:-1], 1, n)), shape=(*d.shape[:-1], n, n))
    row, column = _places(spread)
    return select(equal(row, column), spread, 0.0)


def _row(d):
    return reshape(d, shape=(*d.shape[:-1], 1, d.shape[-1]))


def _column(d):
    return reshape(d, shape=(*d.shape, 1))


def _half(x):
    """Lower triangle with half of the diagonal."""
    row, column = _places(x)
    return select(greater(row, column), x, select(equal(row, column), x * 0.5, 0.0))


def _symmetric(x):
    return (x + _adjoint(x)) * 0.5


def _as(x, like):
    """`x` in the dtype of `like`: real factors of complex matrices."""
    dtype = spec_of(like).dtype
    return x if spec_of(x).dtype == dtype else cast(x, dtype=dtype)


def _gaps(w):
    """1 / (w_j - w_i) at (i, j), and 0 where they are equal."""
    gaps = _row(w) - _column(w)
    same = equal(gaps, 0.0)
    return select(same, 0.0, 1.0 / select(same, 1.0, gaps))


def _square(x, name):
    if len(x.shape) < 2 or not agree(x.shape[-1], x.shape[-2]):
        raise ValueError(f"{name}: expected square matrices; got shape {tuple(x.shape)}")
    return x


def _refuse(what):
    from oneiros.core.autodiff import NotDifferentiable

    return NotDifferentiable(what)


# Factorizations ---------------------------------------------
@primitive
def cholesky(x):
    """The lower triangular `l` with `l @ l^H = x`; only the lower triangle of `x` is read."""
    return _square(x, "cholesky")


@cholesky.vjp
def _(g, y, x):
    inner = triangular_solve(y, _half(_mm(_adjoint(y), g)), lower=True, adjoint=True)
    outer = _adjoint(triangular_solve(y, _adjoint(inner), lower=True, adjoint=True))
    return [_symmetric(outer)]


@primitive
def qr(x, *, mode):
    """`q` with orthonormal columns and the upper triangular `r` with `q @ r = x`.

    `mode` is "reduced" or "complete".
    """
    *lead, m, n = x.shape
    k = m if mode == "complete" else min(m, n)
    return x.but(shape=(*lead, m, k)), x.but(shape=(*lead, k, n))


@qr.vjp
def _(g, y, x, *, mode):
    (q, r), (gq, gr) = y, [zeros_of(v) if u is None else u for u, v in zip(g, y)]
    m, n = x.shape[-2:]
    if mode == "complete" and m > n:
        raise _refuse(
            f"qr: no derivative of the complete factors of {m} by {n} matrices; use mode='reduced'"
        )
    axis = len(x.shape) - 1
    rest = None
    if m < n:  # x = [x1, x2], r = [r1, r2]: r2 = q^H x2
        x2, gr2 = slice_axis(x, axis, m, n), slice_axis(gr, axis, m, n)
        r, gr = slice_axis(r, axis, 0, m), slice_axis(gr, axis, 0, m)
        gq, rest = gq + _mm(x2, _adjoint(gr2)), _mm(q, gr2)
    inner = _mm(r, _adjoint(gr)) - _mm(_adjoint(gq), q)
    inner = _half(inner) + _adjoint(_half(inner))
    dx = _adjoint(triangular_solve(r, _adjoint(gq + _mm(q, inner)), lower=False, adjoint=False))
    return [dx if rest is None else concatenate(dx, rest, axis=axis)]


@primitive
def svd(x, *, full_matrices, compute_uv):
    """`u`, the falling singular values `s` and `vh` with `u @ diag(s) @ vh = x`; or `s` alone."""
    *lead, m, n = x.shape
    k = min(m, n)
    s = Spec((*lead, k), _real(spec_of(x).dtype))
    if not compute_uv:
        return s
    rows, columns = (m, n) if full_matrices else (k, k)
    return x.but(shape=(*lead, m, rows)), s, x.but(shape=(*lead, columns, n))


@svd.vjp
def _(g, y, x, *, full_matrices, compute_uv):
    if not compute_uv:
        u, _, vh = svd(x, full_matrices=False, compute_uv=True)
        return [_mm(u * _as(_row(g), u), vh)]
    (u, s, vh), (gu, gs, gv) = y, g
    m, n = x.shape[-2:]
    if gu is not None or gv is not None:
        if full_matrices and m != n:
            raise _refuse("svd: no derivative of the full factors; use full_matrices=False")
        if _is_complex(x):
            raise _refuse(
                "svd: no derivative of the factors of a complex matrix, whose phases are free"
            )
    rank = len(x.shape)
    u, vh = slice_axis(u, rank - 1, 0, min(m, n)), slice_axis(vh, rank - 2, 0, min(m, n))
    inner = _as(_diagonal(zeros_of(s) if gs is None else gs), x)
    outer = None
    gaps = _gaps(s * s)
    if gu is not None:
        overlap = _mm(_adjoint(u), gu)
        inner = inner + gaps * (overlap - _adjoint(overlap)) * _row(s)
        if m > n:
            outer = _mm((gu - _mm(u, overlap)) / _row(s), vh)
    if gv is not None:
        overlap = _mm(vh, _adjoint(gv))
        inner = inner + _column(s) * (gaps * (overlap - _adjoint(overlap)))
        if n > m:  # what lies outside of the rows of `vh`
            more = _mm(u, (gv - _mm(_adjoint(overlap), vh)) / _column(s))
            outer = more if outer is None else outer + more
    dx = _mm(u, inner, vh)
    return [dx if outer is None else dx + outer]


@primitive
def eigh(x):
    """The rising eigenvalues of Hermitian matrices and, as columns, the eigenvectors.

    Only the lower triangle needs to be there.
    """
    _square(x, "eigh")
    return Spec(x.shape[:-1], _real(spec_of(x).dtype)), x.but()


@eigh.vjp
def _(g, y, x):
    (w, v), (gw, gv) = y, g
    inner = _as(_diagonal(zeros_of(w) if gw is None else gw), x)
    if gv is not None:
        inner = inner + _as(_gaps(w), x) * _mm(_adjoint(v), gv)
    return [_symmetric(_mm(v, inner, _adjoint(v)))]


@primitive
def eig(x):
    """The complex eigenvalues of square matrices and, as columns, eigenvectors; no derivative."""
    _square(x, "eig")
    dtype = COMPLEX.get(spec_of(x).dtype, spec_of(x).dtype)
    return Spec(x.shape[:-1], dtype), Spec(x.shape, dtype)


@primitive
def lu(x):
    """`l` and `u` in one matrix (`l` without its diagonal of ones), row swaps, and permutation.

    `l @ u` is `x` with row `permutation[i]` in place `i`; swaps and permutation are int32.
    """
    *lead, m, n = x.shape
    return x.but(), Spec((*lead, min(m, n)), "int32"), Spec((*lead, m), "int32")


@lu.vjp
def _(g, y, x):
    packed, _, permutation = y
    if x.shape[-1] != x.shape[-2]:
        raise _refuse(
            f"lu: no derivative for matrices that are not square; got shape {tuple(x.shape)}"
        )
    row, column = _places(x)
    unit, upper = select(equal(row, column), ones_of(x), _lower(packed)), _upper(packed)
    inner = _lower(_mm(_adjoint(unit), _lower(g[0], strict=True)), strict=True)
    inner = inner + _upper(_mm(_upper(g[0]), _adjoint(upper)))
    left = triangular_solve(unit, inner, lower=True, adjoint=True)
    both = _adjoint(triangular_solve(upper, _adjoint(left), lower=False, adjoint=False))
    swap = equal(row, _row(permutation))
    return [_mm(select(swap, ones_of(x), 0.0), both)]


# Solves ---------------------------------------------
@primitive
def solve(a, b):
    """The `x` with `a @ x = b`, for matrices `a` (..., n, n) and `b` (..., n, k)."""
    _square(a, "solve")
    if a.shape[:-1] != b.shape[:-1]:
        raise ValueError(
            f"solve: a right side of shape {tuple(b.shape)} does not fit a matrix "
            f"of {tuple(a.shape)}"
        )
    return b


@solve.vjp
def _(g, y, a, b):
    gb = solve(_adjoint(a), g)
    return [-_mm(gb, _adjoint(y)), gb]


@primitive
def triangular_solve(a, b, *, lower, adjoint):
    """The `x` with `a @ x = b`, or `a^H @ x = b` if `adjoint`; of `a` one triangle is read."""
    _square(a, "triangular_solve")
    if a.shape[:-1] != b.shape[:-1]:
        raise ValueError(
            f"triangular_solve: a right side of shape {tuple(b.shape)} does not fit a matrix "
            f"of {tuple(a.shape)}"
        )
    return b


@triangular_solve.vjp
def _(g, y, a, b, *, lower, adjoint):
    gb = triangular_solve(a, g, lower=lower, adjoint=not adjoint)
    ga = -_mm(y, _adjoint(gb)) if adjoint else -_mm(gb, _adjoint(y))
    return [(_lower if lower else _upper)(ga), gb]


@primitive
def inverse(x):
    """The inverses of square matrices."""
    return _square(x, "inverse")


@inverse.vjp
def _(g, y, x):
    return [-_mm(_adjoint(y), g, _adjoint(y))]


@primitive
def det(x):
    """The determinants of square matrices."""
    return _square(x, "det").but(shape=x.shape[:-2])


@det.vjp
def _(g, y, x):
    return [_adjoint(inverse(x)) * _column(_column(g * _conj(y)))]


@primitive
def slogdet(x):
    """The sign (or phase) of the determinants and the logarithm of their absolute values."""
    _square(x, "slogdet")
    dtype = spec_of(x).dtype
    return Spec(x.shape[:-2], dtype), Spec(x.shape[:-2], _real(dtype))


@slogdet.vjp
def _(g, y, x):
    if g[0] is not None and _is_complex(x):
        raise _refuse("slogdet: no derivative of the phase of a complex determinant")
    return [None if g[1] is None else _adjoint(inverse(x)) * _as(_column(_column(g[1])), x)]


# Fourier transforms ---------------------------------------------
@primitive
def fft(x, *, inverse):
    """The Fourier transform of the complex last axis; the inverse one is divided by its length."""
    return x


@fft.vjp
def _(g, y, x, *, inverse):
    n = x.shape[-1]
    return [fft(g, inverse=not inverse) * (1.0 / n if inverse else float(n))]


@primitive
def rfft(x):
    """The Fourier transform of a real last axis of length n: its first n // 2 + 1 terms."""
    return Spec((*x.shape[:-1], x.shape[-1] // 2 + 1), COMPLEX[spec_of(x).dtype])


@rfft.vjp
def _(g, y, x):
    n = x.shape[-1]
    whole = pad(g, widths=((0, 0, 0),) * (len(x.shape) - 1) + ((0, n - g.shape[-1], 0),), value=0.0)
    return [real(fft(whole, inverse=True)) * float(n)]


@primitive
def irfft(x, *, n):
    """The real signal of length `n` whose `rfft` is `x`."""
    if x.shape[-1] != n // 2 + 1:
        raise ValueError(
            f"irfft: a signal of length {n} has {n // 2 + 1} terms; got shape {tuple(x.shape)}"
        )
    return Spec((*x.shape[:-1], n), _real(spec_of(x).dtype))


@irfft.vjp
def _(g, y, x, *, n):
    terms = rfft(
        g
    )  # each stands for itself and its mirror image, but the first and, of even n, the last
    place = iota(shape=tuple(terms.shape), axis=len(terms.shape) - 1, dtype="int32")
    alone = logical_or(equal(place, 0), equal(place * 2, n))
    return [select(alone, terms, terms * 2.0) * (1.0 / n)]
