"""Scaled dot-product attention."""

from __future__ import annotations

import math

from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.ops.common import over, wide

__all__ = ["dot_product_attention"]


@op
def dot_product_attention(
    query,
    key,
    value,
    bias=None,
    mask=None,
    scale=None,
    is_causal=False,
    flash_attention=None,
    attn_logits_soft_cap=None,
):
    """`softmax(query @ key * scale + bias) @ value`, head by head (Vaswani et al., 2017).

    Args:
        query: Array (batch, queries, heads, size).
        key, value: Arrays (batch, keys, heads, size); one head may serve several of the query's.
        bias: Added to the logits (batch, heads, queries, keys), or broadcast to them.
        mask: Bools, true where a query may see a key; broadcast to the logits.
        scale: Factor of the logits; `1 / sqrt(size)` if None.
        is_causal: Whether a query sees only keys up to its own place.
        flash_attention: Whether to insist on a fused kernel; None leaves it to the backend.
        attn_logits_soft_cap: If given, logits are `cap * tanh(logits / cap)`.

    Raises:
        ValueError: if the shapes do not fit, or there is no fused kernel and one was insisted on.

    >>> from oneiros import ops
    >>> ops.dot_product_attention([[[[1.0]]]], [[[[0.0]], [[0.0]]]], [[[[2.0]], [[4.0]]]]).tolist()
    [[[[3.0]]]]
    """
    if flash_attention and "dot_product_attention" not in backend.current().faster:
        raise ValueError(
            f"dot_product_attention: backend '{backend.current().name}' has no fused kernel; got "
            "flash_attention=True"
        )
    query, key, value = _operands(query, key, value)
    shares = _shares(query, key, value, bias, mask, scale, is_causal, attn_logits_soft_cap)
    shares = to_dtype(shares, dtype_of(value))
    y = p.dot_general(shares, value, contract=((3,), (1,)), batch=((0, 1), (0, 2)))
    return p.transpose(y, order=(0, 2, 1, 3))  # (batch, queries, heads, size)


@dot_product_attention.vjp
def _(g, y, query, key, value, bias, mask, scale, is_causal, flash_attention, soft_cap):
    given = key, value
    query, key, value = _operands(query, key, value)
    size = _scale(query, scale)
    logits, slope = _logits(query, key, bias, scale, soft_cap, slope=True)
    shares = _softmax(_masked(logits, mask, is_causal))
    g = wide(g)
    dvalue = p.dot_general(
        shares, g, contract=((2,), (1,)), batch=((0, 1), (0, 2))
    )  # (b, heads, keys, size)
    dshares = p.dot_general(g, wide(value), contract=((3,), (3,)), batch=((0, 2), (0, 2)))
    dlogits = shares * (dshares - over(p.reduce_sum, shares * dshares, (3,)))
    if mask is not None or is_causal:
        dlogits = p.select(_visible(logits, mask, is_causal), dlogits, 0.0)
    dlogits = dlogits if slope is None else dlogits * slope
    dquery = p.dot_general(dlogits, wide(key), contract=((3,), (1,)), batch=((0, 1), (0, 2))) * size
    dkey = p.dot_general(dlogits, wide(query), contract=((2,), (1,)), batch=((0, 1), (0, 2))) * size
    made = [p.transpose(v, order=(0, 2, 1, 3)) for v in (dquery, dkey, dvalue)]
    made[1:] = [_joined(v, x) for v, x in zip(made[1:], given)]
    made = [to_dtype(v, dtype_of(x)) for v, x in zip(made, (query, *given))]
    dbias = None
    if bias is not None:
        from oneiros.core.primitive import sum_to

        dbias = to_dtype(sum_to(dlogits, tuple(bias.shape)), dtype_of(bias))
    return [*made, dbias, *[None] * 5]


def _operands(query, key, value):
    """The three arrays, of one dtype, checked, with a head of key and value for each of the
    query's."""
    query, key, value = promote(float_of(query), float_of(key), float_of(value))
    shapes = [tuple(x.shape) for x in (query, key, value)]
    if any(len(s) != 4 for s in shapes):
        raise ValueError(
            "dot_product_attention: query, key and value must have 4 axes (batch, length, heads, "
            "size); got "
            f"the shapes {shapes[0]}, {shapes[1]} and {shapes[2]}"
        )
    (_, _, heads, size), (_, keys, groups, key_size), (_, values, *_) = shapes
    fits = size == key_size and groups and heads % groups == 0 and shapes[2][2] == groups
    if not fits or (type(keys) is type(values) is int and keys != values):
        raise ValueError(
            "dot_product_attention: key and value must have one length and number of heads, a "
            "divisor of the "
            f"query's, and key the query's size; got the shapes {shapes[0]}, {shapes[1]} and "
            f"{shapes[2]}"
        )
    if groups != heads:
        key, value = (_repeated(x, heads // groups) for x in (key, value))
    return query, key, value


def _repeated(x, times):
    """`x` (batch, length, heads, size) with each head `times` in a row."""
    batch, length, heads, size = x.shape
    x = p.reshape(x, shape=(batch, length, heads, 1, size))
    x = p.broadcast_to(x, shape=(batch, length, heads, times, size))
    return p.reshape(x, shape=(batch, length, heads * times, size))


def _joined(dx, x):
    """The derivative by `x`, whose heads `_repeated` may have multiplied."""
    batch, length, heads, size = x.shape
    if dx.shape[2] == heads:
        return dx
    dx = p.reshape(dx, shape=(batch, length, heads, dx.shape[2] // heads, size))
    return p.reduce_sum(dx, axes=(3,))


def _scale(query, scale):
    return 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale


def _logits(query, key, bias, scale, soft_cap, slope=False):
    """(batch, heads, queries, keys), in float32 at least; with `slope` also what the cap multiplies
    derivatives by."""
    scale = _scale(query, scale)
    query = query * (to_dtype(scale, dtype_of(query)) if hasattr(scale, "dtype") else scale)
    logits = wide(p.dot_general(query, key, contract=((3,), (3,)), batch=((0, 2), (0, 2))))
    factor = None
    if bias is not None:
        logits = logits + to_dtype(array(bias), dtype_of(logits))
    if soft_cap is not None:
        bounded = p.tanh(logits / soft_cap)
        logits, factor = bounded * soft_cap, 1.0 - bounded * bounded
    return (logits, factor) if slope else logits


def _visible(logits, mask, is_causal):
    """Where logits count, as bools that broadcast to them; None for everywhere."""
    seen = None
    if mask is not None:
        seen = array(mask)
        seen = seen if dtype_of(seen) == "bool" else p.not_equal(seen, 0)
    if is_causal:
        rows = p.iota(shape=(logits.shape[2], 1), axis=0, dtype="int32")
        columns = p.iota(shape=(1, logits.shape[3]), axis=1, dtype="int32")
        before = p.greater_equal(rows, columns)
        seen = before if seen is None else p.logical_and(seen, before)
    return seen


def _masked(logits, mask, is_causal):
    """`logits` with a large negative number where they do not count; a row of these has equal
    shares."""
    seen = _visible(logits, mask, is_causal)
    return logits if seen is None else p.select(seen, logits, -0.7 * 3.4028235e38)


def _softmax(x):
    e = p.exp(x - p.stop_gradient(over(p.reduce_max, x, (3,))))
    return e / over(p.reduce_sum, e, (3,))


def _shares(query, key, value, bias, mask, scale, is_causal, soft_cap):
    """How much of each value each query takes: (batch, heads, queries, keys)."""
    return _softmax(_masked(_logits(query, key, bias, scale, soft_cap), mask, is_causal))
