"""Linear algebra over the last two axes; all axes before them are batches."""

from __future__ import annotations

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.core.spec import Unknown
from oneiros.ops.common import agree, over, wide, within
from oneiros.ops.control import jvp

__all__ = [
    "cholesky", "cholesky_inverse", "det", "eig", "eigh", "inv", "jvp", "logdet", "lstsq",
    "lu_factor", "matrix_rank", "norm", "pinv", "qr", "slogdet", "solve", "solve_triangular", "svd",
]  # fmt: skip


def _matrices(name, x, square=False):
    """`x` as floating matrices, of 32 bits at least."""
    x = wide(float_of(x))
    if len(x.shape) < 2:
        raise ValueError(f"{name}: expected an array of rank 2 or more; got shape {tuple(x.shape)}")
    n, m = x.shape[-2:]
    if square and not agree(n, m):
        raise ValueError(f"{name}: expected square matrices; got shape {tuple(x.shape)}")
    return x


def _transposed(x):
    rank = len(x.shape)
    return p.transpose(x, order=(*range(rank - 2), rank - 1, rank - 2))


def _product(x, y):
    rank = len(x.shape)
    lead = tuple(range(rank - 2))
    return p.dot_general(x, y, contract=((rank - 1,), (rank - 2,)), batch=(lead, lead))


def _identity(x):
    """Unit matrices in the place of the square matrices `x`."""
    n = x.shape[-1]
    if isinstance(n, Unknown):
        rank, shape = len(x.shape), tuple(x.shape)
        places = (p.iota(shape=shape, axis=rank - i, dtype="int32") for i in (1, 2))
        return p.cast(p.equal(*places), dtype=dtype_of(x))
    unit = array(np.eye(n, dtype=np_dtype(dtype_of(x))))
    return p.broadcast_to(unit, shape=tuple(x.shape))


@op
def cholesky(x, upper=False):
    """The lower triangular `l` with `l @ l.T = x` of positive definite `x`, or its transpose if
    `upper`.

    >>> from oneiros import ops
    >>> ops.cholesky([[4.0, 2.0], [2.0, 5.0]]).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    y = p.cholesky(_matrices("cholesky", x, square=True))
    return _transposed(y) if upper else y


@op
def cholesky_inverse(x, upper=False):
    """The inverse of the matrix whose Cholesky factor is `x`.

    >>> from oneiros import ops
    >>> ops.cholesky_inverse([[2.0, 0.0], [0.0, 4.0]]).tolist()
    [[0.25, 0.0], [0.0, 0.0625]]
    """
    x = _matrices("cholesky_inverse", x, square=True)
    half = p.triangular_solve(x, _identity(x), lower=not upper, adjoint=False)
    return _product(half, _transposed(half)) if upper else _product(_transposed(half), half)


@op
def det(x):
    """The determinants.

    >>> from oneiros import ops
    >>> round(float(ops.det([[1.0, 2.0], [3.0, 4.0]])), 3)
    -2.0
    """
    return p.det(_matrices("det", x, square=True))


@op
def eig(x):
    """The eigenvalues and, as columns, the eigenvectors, both complex.

    >>> from oneiros import ops
    >>> ops.eig([[2.0, 0.0], [0.0, 3.0]])[0].real.tolist()
    [2.0, 3.0]
    """
    return tuple(p.eig(_matrices("eig", x, square=True)))


@op
def eigh(x):
    """The eigenvalues of symmetric matrices in rising order and, as columns, the eigenvectors.

    >>> from oneiros import ops
    >>> ops.eigh([[3.0, 0.0], [0.0, 2.0]])[0].tolist()
    [2.0, 3.0]
    """
    return tuple(p.eigh(_matrices("eigh", x, square=True)))


@op
def inv(x):
    """The inverses.

    >>> from oneiros import ops
    >>> ops.inv([[2.0, 0.0], [0.0, 4.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return p.inverse(_matrices("inv", x, square=True))


@op
def slogdet(x):
    """The signs of the determinants and the logarithms of their absolute values.

    >>> from oneiros import ops
    >>> [round(float(v), 3) for v in ops.slogdet([[1.0, 2.0], [3.0, 4.0]])]
    [-1.0, 0.693]
    """
    return tuple(p.slogdet(_matrices("slogdet", x, square=True)))


@op
def logdet(x):
    """The logarithms of the determinants of positive definite matrices.

    >>> from oneiros import ops
    >>> round(float(ops.logdet([[2.0, 0.0], [0.0, 3.0]])), 3)
    1.792
    """
    return p.slogdet(_matrices("logdet", x, square=True))[1]


@op
def lu_factor(x):
    """`l` and `u` packed in one matrix, and for each row the row it was swapped with.

    >>> from oneiros import ops
    >>> lu, pivots = ops.lu_factor([[1.0, 2.0], [4.0, 2.0]])
    >>> lu.tolist(), pivots.tolist()
    ([[4.0, 2.0], [0.25, 1.5]], [1, 1])
    """
    packed, swaps, _ = p.lu(_matrices("lu_factor", x))
    return packed, swaps


@op
def qr(x, mode="reduced"):
    """`q` with orthonormal columns and the upper triangular `r` with `q @ r = x`.

    Args:
        x: Matrices.
        mode: `"reduced"`, or `"complete"` for a square `q`.

    >>> from oneiros import ops
    >>> [tuple(v.shape) for v in ops.qr([[1.0], [2.0]], mode="complete")]
    [(2, 2), (2, 1)]
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode must be 'reduced' or 'complete'; got {mode!r}")
    return tuple(p.qr(_matrices("qr", x), mode=mode))


@op
def svd(x, full_matrices=True, compute_uv=True):
    """`u`, the singular values `s` in falling order and `vh` with `u @ diag(s) @ vh = x`.

    Args:
        x: Matrices.
        full_matrices: Whether `u` and `vh` are square.
        compute_uv: Whether to give them; else `s` alone.

    >>> from oneiros import ops
    >>> ops.svd([[3.0, 0.0], [0.0, 4.0]], compute_uv=False).tolist()
    [4.0, 3.0]
    """
    made = p.svd(
        _matrices("svd", x), full_matrices=bool(full_matrices), compute_uv=bool(compute_uv)
    )
    return tuple(made) if compute_uv else made


# Solutions ----------------------------------------------------------------------------------------
def _system(name, a, b):
    """Matrices and right sides with one dtype and the same batches; and whether `b` held
    vectors."""
    a, b = promote(wide(float_of(a)), wide(float_of(b)))
    a = _matrices(name, a, square=name != "lstsq")
    vectors = len(b.shape) == len(a.shape) - 1 or len(b.shape) == 1
    if vectors:
        b = p.reshape(b, shape=(*b.shape, 1))
    if len(b.shape) < 2 or (b.shape[-2] != a.shape[-2] and type(b.shape[-2]) is type(a.shape[-2])):
        raise ValueError(
            f"{name}: b of shape {tuple(b.shape)} does not fit a of shape {tuple(a.shape)}"
        )
    from oneiros.core.spec import broadcast_shapes

    lead = broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    a, b = (
        x if tuple(x.shape[:-2]) == tuple(lead) else p.broadcast_to(x, shape=(*lead, *x.shape[-2:]))
        for x in (a, b)
    )
    return a, b, vectors


def _solution(x, vectors):
    return p.reshape(x, shape=tuple(x.shape[:-1])) if vectors else x


@op
def solve(a, b):
    """The `x` with `a @ x = b`; `b` holds vectors if it has an axis less than `a`.

    >>> from oneiros import ops
    >>> ops.solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0]).tolist()
    [1.0, 0.5]
    """
    a, b, vectors = _system("solve", a, b)
    return _solution(p.solve(a, b), vectors)


@op
def solve_triangular(a, b, lower=False):
    """The `x` with `a @ x = b`, where of `a` only the upper (or the lower) triangle counts.

    >>> from oneiros import ops
    >>> ops.solve_triangular([[2.0, 9.0], [1.0, 4.0]], [2.0, 5.0], lower=True).tolist()
    [1.0, 1.0]
    """
    a, b, vectors = _system("solve_triangular", a, b)
    return _solution(p.triangular_solve(a, b, lower=bool(lower), adjoint=False), vectors)


def _epsilon(x):
    return float(np.finfo(np_dtype(dtype_of(x))).eps)


def _pseudo_inverse(x, cutoff):
    """The Moore-Penrose inverse, without singular values up to `cutoff` times the largest."""
    u, s, vh = p.svd(x, full_matrices=False, compute_uv=True)
    rank = len(s.shape)
    least = p.multiply(over(p.reduce_max, s, (rank - 1,)), cutoff)
    large = p.greater(s, least)
    inverse = p.select(large, p.divide(1.0, p.select(large, s, 1.0)), 0.0)
    inverse = p.reshape(inverse, shape=(*s.shape[:-1], 1, s.shape[-1]))
    return _product(p.multiply(_transposed(vh), inverse), _transposed(u))


@op
def pinv(x, rcond=None):
    """The Moore-Penrose inverses, from the singular values above `rcond` times the largest.

    >>> from oneiros import ops
    >>> ops.pinv([[2.0, 0.0], [0.0, 0.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    x = _matrices("pinv", x)
    return _pseudo_inverse(x, 10 * max(x.shape[-2:]) * _epsilon(x) if rcond is None else rcond)


@op
def lstsq(a, b, rcond=None):
    """The shortest `x` for which `a @ x` is nearest to `b`.

    Args:
        a: Matrix (m, n).
        b: Vector (m,) or matrix (m, k).
        rcond: Singular values up to this share of the largest count as 0.

    >>> from oneiros import ops
    >>> [round(v, 4) for v in ops.lstsq([[1.0], [1.0]], [1.0, 2.0]).tolist()]
    [1.5]
    """
    a, b, vectors = _system("lstsq", a, b)
    x = _product(_pseudo_inverse(a, max(a.shape[-2:]) * _epsilon(a) if rcond is None else rcond), b)
    return _solution(x, vectors)


@op
def matrix_rank(x, tol=None):
    """How many singular values are greater than `tol`.

    >>> from oneiros import ops
    >>> int(ops.matrix_rank([[1.0, 1.0], [1.0, 1.0]]))
    1
    """
    x = _matrices("matrix_rank", x)
    s = p.svd(x, full_matrices=False, compute_uv=False)
    axes = (len(s.shape) - 1,)
    least = (
        p.multiply(over(p.reduce_max, s, axes), max(x.shape[-2:]) * _epsilon(x))
        if tol is None
        else tol
    )
    return p.reduce_sum(p.cast(p.greater(s, least), dtype="int32"), axes=axes)


# Norms --------------------------------------------------------------------------------------------
@op
def norm(x, ord=None, axis=None, keepdims=False):
    """The norm of vectors (`axis` is an int) or of matrices (a pair); of all elements if nothing is
    given.

    Args:
        x: Array.
        ord: For vectors any number, infinity for the largest absolute value, 0 for the count of
            what is
            not 0; for matrices "fro", "nuc", 1, -1, 2, -2, or infinities.
        axis: The axis or axes of the vectors or matrices; of arrays of rank 1 or 2 all, if None.
        keepdims: Whether the axes stay, with length 1.

    Raises:
        ValueError: if there is no norm of that order.

    >>> from oneiros import ops
    >>> float(ops.norm([[3.0, 0.0], [0.0, 4.0]])), float(ops.norm([3.0, -4.0], ord=1))
    (5.0, 7.0)
    """
    x = float_of(x)
    rank = len(x.shape)
    if isinstance(ord, str) and ord not in ("fro", "nuc"):
        raise ValueError(f"norm: ord must be 'fro', 'nuc' or a number; got {ord!r}")
    if axis is None and ord is not None and rank not in (1, 2):
        raise ValueError(
            f"norm: with ord={ord!r} the axes must be given for an array of rank {rank}"
        )
    axes = within(x, axis, "norm")
    if ord is None:
        made = p.sqrt(over(p.reduce_sum, _squared(x), axes))
    elif len(axes) == 1:
        made = _vector_norm(x, ord, axes)
    elif len(axes) == 2:
        first, second = (range(2) if axis is None else axis)[:2]
        made = _matrix_norm(x, ord, first % rank, second % rank)
    else:
        raise ValueError(f"norm: axis must be one axis or two with ord={ord!r}; got {axis}")
    if keepdims:
        return made
    return p.reshape(made, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))


def _squared(x):
    if dtype_of(x).startswith("complex"):
        return p.add(p.multiply(p.real(x), p.real(x)), p.multiply(p.imag(x), p.imag(x)))
    return p.multiply(x, x)


def _vector_norm(x, ord, axes):
    if isinstance(ord, str):
        raise ValueError(f"norm: there is no vector norm of order {ord!r}")
    if ord == 2:
        return p.sqrt(over(p.reduce_sum, _squared(x), axes))
    size = p.abs(x)
    if ord in (np.inf, -np.inf):
        return over(p.reduce_max if ord > 0 else p.reduce_min, size, axes)
    if ord == 0:
        return over(p.reduce_sum, p.cast(p.not_equal(x, 0), dtype=dtype_of(size)), axes)
    if ord == 1:
        return over(p.reduce_sum, size, axes)
    return p.power(over(p.reduce_sum, p.power(size, float(ord)), axes), 1 / ord)


def _matrix_norm(x, ord, row, column):
    """The norm of the matrices in the axes `row` and `column`, which stay with length 1."""
    if ord == "fro":
        return p.sqrt(over(p.reduce_sum, _squared(x), tuple(sorted((row, column)))))
    if ord in (1, -1, np.inf, -np.inf):
        inner, outer = (row, column) if abs(ord) == 1 else (column, row)
        sums = over(p.reduce_sum, p.abs(x), (inner,))
        return over(p.reduce_max if ord > 0 else p.reduce_min, sums, (outer,))
    if ord not in ("nuc", 2, -2):
        raise ValueError(f"norm: there is no matrix norm of order {ord!r}")
    rest = [i for i in range(len(x.shape)) if i not in (row, column)]
    dtype = dtype_of(x)
    s = p.svd(
        wide(p.transpose(x, order=(*rest, row, column))), full_matrices=False, compute_uv=False
    )
    reduce = {"nuc": p.reduce_sum, 2: p.reduce_max, -2: p.reduce_min}[ord]
    made = to_dtype(
        reduce(s, axes=(len(rest),)), dtype if not dtype.startswith("complex") else dtype_of(s)
    )
    return p.reshape(made, shape=p.kept(x.shape, (row, column)))
