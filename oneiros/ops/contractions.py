"""Ops that multiply and add up: matrix products and their relatives, all made of `dot_general`."""

from __future__ import annotations

import math

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.dtypes import is_complex, result_type
from oneiros.core.op import array, dtype_of, op, to_dtype
from oneiros.core.spec import Unknown, agree, broadcast_shapes
from oneiros.ops.elementwise import add, floating, operands
from oneiros.ops.indexing import diagonal
from oneiros.ops.shaping import part, place, ravel, sizes

__all__ = [
    "cdist",
    "cross",
    "dot",
    "einsum",
    "inner",
    "kron",
    "matmul",
    "outer",
    "tensordot",
    "vdot",
]


def dot_over(x, y, contract, batch=((), ())):
    """`dot_general`, as a product of two matrices where no axis has to move for it."""
    if dtype_of(x) == "bool":
        x, y = p.cast(x, dtype="int32"), p.cast(y, dtype="int32")
        return p.not_equal(dot_over(x, y, contract, batch), 0)
    k = len(contract[0])
    rank_x, rank_y = len(x.shape), len(y.shape)
    last = tuple(range(rank_x - k, rank_x))
    in_place = contract[0] == last and contract[1] == tuple(range(k)) and not batch[0]
    if not in_place or k == 0 or (rank_x, rank_y, k) == (2, 2, 1):
        return p.dot_general(x, y, contract=contract, batch=batch)
    lead, rest = tuple(x.shape[: rank_x - k]), tuple(y.shape[k:])
    if any(x.shape[i] != y.shape[j] for i, j in zip(*contract)):  # an unknown one, or an error
        return p.dot_general(x, y, contract=contract, batch=batch)
    inner = math.prod(y.shape[:k])
    x = p.reshape(x, shape=(math.prod(lead), inner))
    y = p.reshape(y, shape=(inner, math.prod(rest)))
    return p.reshape(
        p.dot_general(x, y, contract=((1,), (0,)), batch=((), ())), shape=(*lead, *rest)
    )


@op
def matmul(x1, x2):
    """The matrix product over the last two axes, those before them broadcast.

    A vector is a row on the left and a column on the right.

    >>> from oneiros import ops
    >>> print(ops.matmul([[1, 2], [3, 4]], [[1, 0], [0, 1]]))
    [[1 2]
     [3 4]]
    """
    x, y = operands(x1, x2)
    if dtype_of(x) == "int8":
        x, y = p.cast(x, dtype="int32"), p.cast(y, dtype="int32")
    rank_x, rank_y = len(x.shape), len(y.shape)
    if not rank_x or not rank_y:
        raise ValueError(
            f"matmul: scalars have no matrix product; got shapes {tuple(x.shape)} and "
            f"{tuple(y.shape)}"
        )
    end_y = _max(rank_y - 2, 0)
    _check_inner("matmul", x, rank_x - 1, y, end_y)
    if rank_y <= 2:
        return dot_over(x, y, ((rank_x - 1,), (0,)))
    if rank_x == 1:
        return dot_over(x, y, ((0,), (rank_y - 2,)))
    if rank_x == 2:  # (rows, *lead, columns)
        made = dot_over(x, y, ((1,), (rank_y - 2,)))
        return p.transpose(made, order=(*range(1, rank_y - 1), 0, rank_y - 1))
    lead = broadcast_shapes(tuple(x.shape[:-2]), tuple(y.shape[:-2]))
    x, y = (
        v if tuple(v.shape[:-2]) == lead else p.broadcast_to(v, shape=(*lead, *v.shape[-2:]))
        for v in (x, y)
    )
    n = len(lead)
    return dot_over(x, y, ((n + 1,), (n,)), (tuple(range(n)), tuple(range(n))))


@op
def affine(x, kernel, bias):
    """`x @ kernel + bias`: what dense layers compute, for which a backend may have one kernel."""
    return add(matmul(x, kernel), bias)


def _check_inner(name, x, i, y, j):
    n, m = x.shape[i], y.shape[j]
    if not agree(n, m):
        raise ValueError(
            f"{name}: axis {i} of x1 and axis {j} of x2 must have one length; got shapes "
            f"{tuple(x.shape)} "
            f"and {tuple(y.shape)}"
        )


@op
def dot(x1, x2):
    """The sums of products over the last axis of `x1` and the last but one of `x2`.

    Of a vector it is the only one; a scalar multiplies.

    >>> from oneiros import ops
    >>> print(ops.dot([1, 2], [3, 4]))
    11
    """
    x, y = operands(x1, x2)
    if not len(x.shape) or not len(y.shape):
        return p.multiply(x, y)
    i, j = len(x.shape) - 1, _max(len(y.shape) - 2, 0)
    _check_inner("dot", x, i, y, j)
    return dot_over(x, y, ((i,), (j,)))


@op
def inner(x1, x2):
    """The sums of products over the last axes of both.

    >>> from oneiros import ops
    >>> print(ops.inner([1, 2], [3, 4]))
    11
    """
    x, y = operands(x1, x2)
    if not len(x.shape) or not len(y.shape):
        return p.multiply(x, y)
    i, j = len(x.shape) - 1, len(y.shape) - 1
    _check_inner("inner", x, i, y, j)
    return dot_over(x, y, ((i,), (j,)))


@op
def outer(x1, x2):
    """The products of each element of `x1` with each of `x2`, a matrix.

    >>> from oneiros import ops
    >>> print(ops.outer([1, 2], [3, 4]))
    [[3 4]
     [6 8]]
    """
    x, y = map(ravel.body, operands(x1, x2))
    return p.multiply(p.reshape(x, shape=(x.shape[0], 1)), p.reshape(y, shape=(1, y.shape[0])))


@op
def vdot(x1, x2):
    """The sum of the products of all elements, those of a complex `x1` conjugated.

    >>> from oneiros import ops
    >>> print(ops.vdot([1, 2], [3, 4]))
    11
    """
    x, y = map(ravel.body, operands(x1, x2))
    _check_inner("vdot", x, 0, y, 0)
    return dot_over(p.conj(x) if is_complex(dtype_of(x)) else x, y, ((0,), (0,)))


@op
def tensordot(x1, x2, axes=2):
    """The sums of products over pairs of axes.

    `axes` is (axes of `x1`, axes of `x2`), or how many of the last of `x1` meet the first of `x2`.

    >>> from oneiros import ops
    >>> ops.tensordot(ops.ones((2, 3, 4)), ops.ones((4, 3, 5)), ((1, 2), (1, 0))).shape
    (2, 5)
    """
    x, y = operands(x1, x2)
    rank_x, rank_y = len(x.shape), len(y.shape)
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= _min(rank_x, rank_y):
            raise ValueError(
                f"tensordot: axes must be within {_min(rank_x, rank_y)} axes; got {axes}"
            )
        first, second = tuple(range(rank_x - axes, rank_x)), tuple(range(axes))
    else:
        first, second = axes
        first = tuple(place(i, rank_x, "tensordot") for i in sizes(first))
        second = tuple(place(i, rank_y, "tensordot") for i in sizes(second))
    if len(first) != len(second):
        raise ValueError(f"tensordot: axes must name as many of x1 as of x2; got {axes}")
    for i, j in zip(first, second):
        _check_inner("tensordot", x, i, y, j)
    return dot_over(x, y, (first, second))


@op
def kron(x1, x2):
    """The Kronecker product: `x1` with each element replaced by that element times `x2`.

    >>> from oneiros import ops
    >>> print(ops.kron([1, 10], [1, 2]))
    [ 1  2 10 20]
    """
    x, y = operands(x1, x2)
    rank = _max(len(x.shape), len(y.shape))
    pairs = list(zip(*((1,) * (rank - len(v.shape)) + tuple(v.shape) for v in (x, y))))
    x = p.reshape(x, shape=tuple(k for n, _ in pairs for k in (n, 1)))
    y = p.reshape(y, shape=tuple(k for _, m in pairs for k in (1, m)))
    return p.reshape(p.multiply(x, y), shape=tuple(n * m for n, m in pairs))


@op
def cross(x1, x2, axisa=-1, axisb=-1, axisc=-1, axis=None):
    """The vector products of vectors of length 2 or 3 along an axis.

    Of two vectors of length 2 it is the last component alone.

    >>> from oneiros import ops
    >>> print(ops.cross([1, 0, 0], [0, 1, 0]))
    [0 0 1]
    """
    from oneiros.ops.shaping import moveaxis

    if axis is not None:
        axisa = axisb = axisc = axis
    x, y = operands(x1, x2)
    x, y = moveaxis.body(x, axisa, -1), moveaxis.body(y, axisb, -1)
    for v in (x, y):
        if v.shape[-1] not in (2, 3) and not isinstance(v.shape[-1], Unknown):
            raise ValueError(
                f"cross: vectors must have length 2 or 3; got shapes {tuple(x.shape)} and "
                f"{tuple(y.shape)}"
            )
    both_flat = x.shape[-1] == y.shape[-1] == 2

    def components(v):
        rank = len(v.shape) - 1
        made = [
            p.reshape(part(v, rank, i, i + 1), shape=tuple(v.shape[:-1]))
            for i in range(_min(v.shape[-1], 3))
        ]
        return made if len(made) == 3 else [*made, None]

    a, b = components(x), components(y)

    def minor(i, j):
        left = p.multiply(a[i], b[j]) if a[i] is not None and b[j] is not None else None
        right = p.multiply(a[j], b[i]) if a[j] is not None and b[i] is not None else None
        if right is None:
            return left
        return p.negative(right) if left is None else p.subtract(left, right)

    if both_flat:
        return minor(0, 1)
    parts = [minor(1, 2), minor(2, 0), minor(0, 1)]
    shape = broadcast_shapes(*[tuple(v.shape) for v in parts])
    parts = [p.reshape(p.broadcast_to(v, shape=shape), shape=(*shape, 1)) for v in parts]
    return moveaxis.body(p.concatenate(*parts, axis=len(shape)), -1, axisc)


@op
def cdist(x, y):
    """The Euclidean distances between the rows of `x` (..., n, d) and of `y` (..., m, d).

    >>> from oneiros import ops
    >>> print(ops.cdist([[0.0, 0.0]], [[3.0, 4.0]]))
    [[5.]]
    """
    x, y = operands(x, y, floating)
    for v in (x, y):
        if len(v.shape) < 2:
            raise ValueError(
                f"cdist: expected at least two axes; got shapes {tuple(x.shape)} and "
                f"{tuple(y.shape)}"
            )
    _check_inner("cdist", x, len(x.shape) - 1, y, len(y.shape) - 1)
    x = p.reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1]))
    y = p.reshape(y, shape=(*y.shape[:-2], 1, *y.shape[-2:]))
    off = p.subtract(x, y)
    squares = p.reduce_sum(p.multiply(off, off), axes=(len(off.shape) - 1,))
    apart = p.greater(squares, 0)  # the root has no derivative at 0
    return p.select(apart, p.sqrt(p.select(apart, squares, 1.0)), 0.0)


# Einstein's summation ----------------------------------------------------------------------------
@op
def einsum(subscripts, *operands, **kwargs):
    """Sums of products named by letters: `"ij,jk->ik"` is a matrix product.

    A letter that stands in the inputs and not after the arrow is summed over; one that stands twice
    in an input takes its diagonal; `...` stands for axes that broadcast. Without an arrow the
    result has the letters that occur once, in alphabetical order. Several operands are joined pair
    by pair, always the pair that grows least.

    >>> from oneiros import ops
    >>> print(ops.einsum("ij,j->i", [[1, 2], [3, 4]], [1, 1]))
    [3 7]
    """
    operands = [array(x) for x in operands]
    inputs, output = _letters(subscripts, [len(x.shape) for x in operands])
    dtype = result_type(*map(dtype_of, operands))
    if all(dtype_of(x) == "int8" for x in operands) and len(operands) > 1:
        dtype = "int32"
    lengths = {}
    for x, names in zip(operands, inputs):
        for name, n in zip(names, x.shape):
            lengths[name] = _joined_length(lengths.get(name, 1), n, name, subscripts, operands)
    terms = [_single(to_dtype(x, dtype), names, lengths) for x, names in zip(operands, inputs)]
    while len(terms) > 1:
        i, j = _cheapest(terms, output, lengths)
        x, y = terms[i], terms[j]
        rest = [t for k, t in enumerate(terms) if k not in (i, j)]
        needed = set(output).union(*(names for _, names in rest))
        terms = [
            *rest,
            _pair(_summed(*x, needed | set(y[1])), _summed(*y, needed | set(x[1])), needed),
        ]
    x, names = _summed(*terms[0], set(output))
    missing = [name for name in output if name not in names]
    if missing:  # axes of length 1 that were dropped where they broadcast
        x, names = p.reshape(x, shape=(*x.shape, *(1 for _ in missing))), (*names, *missing)
    order = tuple(names.index(name) for name in output)
    return x if order == tuple(range(len(order))) else p.transpose(x, order=order)


def _letters(subscripts, ranks):
    """The names of each operand's axes and of the result's; those under `...` are numbers."""
    if not isinstance(subscripts, str):
        raise ValueError(
            f"einsum: subscripts must be a string such as 'ij,jk->ik'; got {subscripts!r}"
        )
    left, arrow, right = subscripts.replace(" ", "").partition("->")
    groups = left.split(",")
    if len(groups) != len(ranks):
        raise ValueError(f"einsum: {subscripts!r} names {len(groups)} operands; got {len(ranks)}")
    inputs, widest = [], 0
    for group, rank in zip(groups, ranks):
        head, dots, tail = group.partition("...")
        letters = head + tail
        if not all(c.isalpha() for c in letters):
            raise ValueError(
                f"einsum: {group!r} in {subscripts!r} must hold letters and at most one '...'"
            )
        hidden = rank - len(letters)
        if hidden < 0 or (hidden and not dots):
            raise ValueError(
                f"einsum: {group!r} in {subscripts!r} stands for {len(letters)} axes; the "
                f"operand has {rank}"
            )
        widest = _max(widest, hidden)
        inputs.append((*head, *range(-hidden, 0), *tail))
    every = [name for names in inputs for name in names]
    if arrow:
        head, dots, tail = right.partition("...")
        if not all(c.isalpha() for c in head + tail):
            raise ValueError(
                f"einsum: {right!r} in {subscripts!r} must hold letters and at most one '...'"
            )
        if widest and not dots:
            raise ValueError(f"einsum: the result of {subscripts!r} must have '...' too")
        output = (*head, *(range(-widest, 0) if dots else ()), *tail)
    else:
        once = sorted(c for c in set(every) if isinstance(c, str) and every.count(c) == 1)
        output = (*range(-widest, 0), *once)
    for name in output:
        if name not in every or output.count(name) > 1:
            raise ValueError(
                f"einsum: {name!r} in the result of {subscripts!r} must occur once there, and in "
                "an input"
            )
    return inputs, output


def _joined_length(n, m, name, subscripts, operands):
    if n == m or m == 1 or (isinstance(m, Unknown) and n != 1):
        return n
    if n == 1 or isinstance(n, Unknown):
        return m
    shapes = ", ".join(str(tuple(x.shape)) for x in operands)
    raise ValueError(
        f"einsum: {name!r} in {subscripts!r} stands for the lengths {n} and {m}, of shapes {shapes}"
    )


def _single(x, names, lengths):
    """An operand with each name once: diagonals taken, axes dropped that broadcast."""
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            i = names.index(name)
            j = names.index(name, i + 1)
            if not agree(x.shape[i], x.shape[j]):
                raise ValueError(
                    f"einsum: {name!r} stands for the lengths {x.shape[i]} and {x.shape[j]} of "
                    "one operand"
                )
            x = diagonal.body(x, 0, i, j)
            names = (*(n for k, n in enumerate(names) if k not in (i, j)), name)
    kept = [k for k, n in enumerate(names) if x.shape[k] != 1 or lengths[n] == 1]
    if len(kept) < len(names):
        x = p.reshape(x, shape=tuple(x.shape[k] for k in kept))
    return x, tuple(names[k] for k in kept)


def _summed(x, names, needed):
    """The term summed over the names that nothing else needs."""
    axes = tuple(i for i, name in enumerate(names) if name not in needed)
    if not axes:
        return x, names
    if dtype_of(x) == "bool":
        return p.reduce_any(x, axes=axes), tuple(n for n in names if n in needed)
    return p.reduce_sum(x, axes=axes), tuple(n for n in names if n in needed)


def _cheapest(terms, output, lengths):
    """The places of the two terms whose product is smallest."""
    if len(terms) == 2:
        return 0, 1
    best, found = None, None
    for i in range(len(terms)):
        for j in range(i + 1, len(terms)):
            others = set(output).union(
                *(names for k, (_, names) in enumerate(terms) if k not in (i, j))
            )
            left = (set(terms[i][1]) | set(terms[j][1])) & others
            grown = math.prod(lengths[n] for n in left) - sum(
                math.prod(x.shape) for x in (terms[i][0], terms[j][0])
            )
            if best is None or grown < best:
                best, found = grown, (i, j)
    return found


def _pair(first, second, needed):
    """The product of two terms, summed over the names that they share and nothing else needs."""
    (x, left), (y, right) = first, second
    shared = [n for n in left if n in right]
    contract = [n for n in shared if n not in needed]
    batch = [n for n in shared if n in needed]
    if not contract:
        names = (*left, *(n for n in right if n not in left))
        y = p.transpose(
            y, order=tuple(sorted(range(len(right)), key=lambda k: names.index(right[k])))
        )
        known = dict(zip(sorted(right, key=names.index), y.shape))
        x = p.reshape(x, shape=(*x.shape, *(1 for _ in names[len(left) :])))
        y = p.reshape(y, shape=tuple(known.get(n, 1) for n in names))
        return (p.logical_and if dtype_of(x) == "bool" else p.multiply)(x, y), names
    names = (*batch, *(n for n in left if n not in shared), *(n for n in right if n not in shared))
    made = dot_over(
        x,
        y,
        (tuple(left.index(n) for n in contract), tuple(right.index(n) for n in contract)),
        (tuple(left.index(n) for n in batch), tuple(right.index(n) for n in batch)),
    )
    return made, names


_max, _min = max, min
