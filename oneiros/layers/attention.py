"""Attention: queries take from values what their keys make fit (Vaswani et al., 2017).

Layers of heads project with `EinsumDense` to (batch, ..., heads, size). Axes that are attended over
become one axis and
all others one batch, so that every case is the plain one: `ops.dot_product_attention`, or the same
written out where
dropout or the scores are wanted.
"""

from __future__ import annotations

import math
import string

from oneiros import ops, random
from oneiros.core import config
from oneiros.core import primitives as p
from oneiros.core.spec import dtype_name
from oneiros.layers.base import Layer
from oneiros.layers.einsum_dense import EinsumDense
from oneiros.layers.fields import Constraint, Initializer, Positive, Rate, Regularizer
from oneiros.layers.regularization import Dropout

__all__ = ["AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention"]


class Maybe:
    """A positive integer, or None."""

    @staticmethod
    def convert(value, layer, name):
        if value is None or isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
        raise ValueError(
            f"{type(layer).__name__}: `{name}` must be `None` or a positive integer. Received: {name}={value!r}"
        )


class Axes:
    """One or more ints as a tuple, or None."""

    @staticmethod
    def convert(value, layer, name):
        if value is None:
            return None
        try:
            return (int(value),) if isinstance(value, int) else tuple(int(v) for v in value)
        except (TypeError, ValueError):
            raise ValueError(
                f"{type(layer).__name__}: `{name}` must be an integer or a list of integers. Received: {name}={value!r}"
            ) from None


class Heads(Layer):
    """What layers of several heads share: projections, masks, the attention itself."""

    supports_masking = True
    attention_axes = (1,)
    hides_queries = False  # whether masked queries see nothing
    stored = {"activity_regularizer": "_activity_regularizer"}
    config_without = ("flash_attention",)

    def _ready(self):
        if self.flash_attention is None and config.is_flash_attention_enabled():
            self.flash_attention = True
        if self.flash_attention and self.dropout > 0:
            raise ValueError(
                "Dropout is not supported when flash attention is enabled. Please set dropout to 0.0 to use flash attention."
            )

    # Structure ------------------------------------------------------------------------------------
    def _dense(self, name, input_shape, sizes, summed=1):
        """A projection of the last `summed` axes of `input_shape` to axes of `sizes`, called
        `name`.
        """
        letters = iter(string.ascii_lowercase)
        rank = len(input_shape)
        kept, inner = ("".join(next(letters) for _ in range(n)) for n in (rank - summed, summed))
        made = "".join(next(letters) for _ in sizes)
        layer = EinsumDense(
            f"{kept}{inner},{inner}{made}->{kept}{made}", output_shape=(*[None] * (rank - summed - 1), *sizes),
            bias_axes=made if self.use_bias else None, name=name, dtype=self.dtype_policy,
            kernel_initializer=_again(self.kernel_initializer), bias_initializer=_again(self.bias_initializer),
            kernel_regularizer=self.kernel_regularizer, bias_regularizer=self.bias_regularizer,
            activity_regularizer=self._activity_regularizer,
            kernel_constraint=self.kernel_constraint, bias_constraint=self.bias_constraint,
        )  # fmt: skip
        layer.build(tuple(input_shape))
        return layer

    def _build_projections(self, query_shape, value_shape, key_shape, heads, groups, sizes, output):
        key_size, value_size = sizes
        self._check_shapes(value_shape, key_shape)
        key_shape = value_shape if key_shape is None else key_shape
        self._query_dense = self._dense("query", query_shape, (heads, key_size))
        self._key_dense = self._dense("key", key_shape, (groups, key_size))
        if self.use_gate:
            self._gate_dense = self._dense("gate", query_shape, (heads, value_size))
        self._value_dense = self._dense("value", value_shape, (groups, value_size))
        self._dropout_layer = Dropout(self.dropout, seed=self.seed, dtype=self.dtype_policy)
        self._output_dense = self._dense(
            "attention_output", (*query_shape[:-1], heads, value_size), output, summed=2
        )

    def _check_shapes(self, value_shape, key_shape):
        if key_shape is not None and tuple(value_shape[1:-1]) != tuple(key_shape[1:-1]):
            raise ValueError(
                "All dimensions of `value` and `key`, except the last one, must be equal. Received: "
                f"value_shape={tuple(value_shape)} and key_shape={tuple(key_shape)}"
            )

    def compute_mask(self, inputs, previous_mask):
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else previous_mask

    def _give_masks(self, first, outputs, masks):
        """The outputs go on with the mask of the query."""
        own = {k: v for k, v in (masks or {}).items() if k == "query"}
        if own:
            super()._give_masks(first, outputs[0] if isinstance(outputs, tuple) else outputs, own)

    def _declared_outputs(self, plan, args, kwargs, values):
        return None

    def get_config(self):
        return {
            **super().get_config(),
            "activity_regularizer": Regularizer.plain(self._activity_regularizer),
        }

    def compute_output_spec(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
    ):
        """Symbols with the shapes and dtypes of the outputs."""
        inputs = (query, value) if key is None else (query, value, key)
        return super().compute_output_spec(*inputs, return_attention_scores=return_attention_scores)

    # Running --------------------------------------------------------------------------------------
    def call(
        self,
        query,
        value,
        key=None,
        query_mask=None,
        value_mask=None,
        key_mask=None,
        attention_mask=None,
        return_attention_scores=False,
        training=None,
        use_causal_mask=False,
    ):
        if return_attention_scores and self.flash_attention:
            raise ValueError(
                "Returning attention scores is not supported when flash attention is enabled. Please disable flash "
                "attention to access attention scores."
            )
        key = value if key is None else key
        masks = [query_mask if self.hides_queries else None, value_mask, key_mask]
        mask = self._mask(query, value, masks, attention_mask, use_causal_mask)
        q, k, v = self._query_dense(query), self._key_dense(key), self._value_dense(value)
        fold = _Folded(q, k, self.attention_axes)
        drop = training and self.dropout > 0
        q, k, v = fold.rows(q), fold.rows(k), fold.rows(v)
        # as in Keras: rows without any key give zeros where it is written out, else the mean of all values
        if (
            drop
            or return_attention_scores
            or not fold.plain
            or self.dropout > 0
            and mask is not None
        ):
            y, scores = self._written_out(q, k, v, fold.mask(mask), drop)
        else:
            y, scores = self._plain(q, k, v, fold.mask(mask)), None
        y = fold.back(y)  # (batch, ..., heads, size)
        if self.use_gate:
            y = y * ops.sigmoid(self._gate_dense(query))
        y = self._output_dense(y)
        return (y, fold.scores(scores)) if return_attention_scores else y

    def _plain(self, q, k, v, mask):
        flash = True if self.flash_attention else None
        return ops.dot_product_attention(
            q, k, v, mask=mask, scale=1 / math.sqrt(q.shape[-1]), flash_attention=flash
        )

    def _written_out(self, q, k, v, mask, drop):
        """`(values taken, how much of each)`: (batch, queries, heads, size) and (batch, heads,
        queries, keys).
        """
        times = q.shape[2] // k.shape[2]
        if times > 1:
            k, v = ops.repeat(k, times, axis=2), ops.repeat(v, times, axis=2)
        scores = ops.einsum("btnh,bsnh->bnts", q * (1 / math.sqrt(q.shape[-1])), k)
        shares = scores = shares_of(scores, mask)
        if drop:
            shares = self._dropout_layer(shares, training=True)
        return ops.einsum("bnts,bsnh->btnh", shares, v), scores

    def _mask(self, query, value, own, attention_mask, causal):
        """Where queries may see keys, (batch, queries, keys) or what broadcasts to it; None for
        everywhere.
        """
        masks = []
        if attention_mask is not None:
            masks.append(ops.cast(attention_mask, "bool"))
        for seen, axis in zip(own, (-1, -2, -2)):
            if seen is not None:
                masks.append(
                    ops.expand_dims(ops.cast(seen, "bool"), axis)
                )  # (batch, queries or 1, 1 or keys)
        if causal or self.sliding_window is not None:
            masks.append(band(query.shape[1], value.shape[1], causal, self.sliding_window))
        if not masks:
            return None
        mask = masks[0]
        for other in masks[1:]:
            mask = ops.logical_and(mask, other)
        return mask


def _again(initializer):
    """The same initializer with a seed of its own, as each projection gets one."""
    made = getattr(initializer, "clone", None)
    return made() if made is not None else initializer


def band(queries, keys, causal, window):
    """Where a query is no further than `window` from a key, and not before it if `causal`: (1,
    queries, keys).
    """
    rows = p.iota(shape=(queries, 1), axis=0, dtype="int32")
    columns = p.iota(shape=(1, keys), axis=1, dtype="int32")
    ahead = p.subtract(rows, columns)
    seen = []
    if causal:
        seen.append(p.greater_equal(ahead, 0))
    if window is not None:
        seen.append(p.less(ahead, window))
        if not causal:
            seen.append(p.greater(ahead, -window))
    mask = seen[0]
    for other in seen[1:]:
        mask = p.logical_and(mask, other)
    return ops.expand_dims(mask, 0)


def shares_of(scores, mask):
    """The softmax of scores over their last axis where `mask` is true; a row without any has zeros."""
    dtype = dtype_name(scores.dtype)
    scores = ops.cast(scores, "float32") if dtype in ("float16", "bfloat16") else scores
    if mask is not None:
        scores = ops.where(mask, scores, -1e30)
    e = ops.exp(scores - ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True)))
    if mask is not None:
        e = ops.where(mask, e, 0.0)
    total = ops.sum(e, axis=-1, keepdims=True)
    if mask is not None:
        total = ops.where(ops.equal(total, 0.0), 1.0, total)
    return ops.cast(e / total, dtype)


class _Folded:
    """Attended axes as one and the others as one batch, and back.

    Args:
        q, k: The projections (batch, ..., heads, size).
        axes: The axes that are attended over.
    """

    def __init__(self, q, k, axes):
        rank = len(q.shape)
        axes = tuple(i % (rank - 1) if i < 0 else i for i in axes)
        self.plain = rank == 4 and axes == (1,)
        self.rest = tuple(i for i in range(rank - 2) if i not in axes)
        self.order = (*self.rest, *axes, rank - 2, rank - 1)
        self.lead = tuple(q.shape[i] for i in self.rest)
        self.queries, self.keys = (tuple(x.shape[i] for i in axes) for x in (q, k))
        self.heads = q.shape[-2]

    def rows(self, x):
        """(batch, length, heads, size) of a projection."""
        if self.plain:
            return x
        x = ops.transpose(x, self.order)
        n = len(self.rest)
        return ops.reshape(x, (math.prod(x.shape[:n]), math.prod(x.shape[n:-2]), *x.shape[-2:]))

    def back(self, y):
        """What `rows` gives, in the axes of the query."""
        if self.plain:
            return y
        y = ops.reshape(y, (*self.lead, *self.queries, *y.shape[-2:]))
        return ops.transpose(y, tuple(self.order.index(i) for i in range(len(self.order))))

    def mask(self, mask):
        """A mask (batch, queries, keys), perhaps with heads, as what broadcasts to (batch, heads,
        queries, keys).
        """
        if mask is None:
            return None
        if self.plain:
            if len(mask.shape) == 2:
                return ops.reshape(mask, (1, 1, *mask.shape))
            return ops.expand_dims(mask, 1) if len(mask.shape) == 3 else mask
        whole = (*self.lead, *self.queries, *self.keys)
        full = (*self.lead, self.heads, *self.queries, *self.keys)
        if len(mask.shape) < len(full):
            n = len(self.queries) + len(self.keys)
            front = tuple(mask.shape[: len(mask.shape) - n])
            mask = ops.reshape(
                mask, (*front, *(1,) * (len(whole) - n - len(front)), 1, *mask.shape[len(front) :])
            )
        mask = ops.broadcast_to(mask, full)
        shape = (math.prod(self.lead), self.heads, math.prod(self.queries), math.prod(self.keys))
        return ops.reshape(mask, shape)

    def scores(self, scores):
        """(batch, ..., heads, queries..., keys...)."""
        if self.plain:
            return scores
        return ops.reshape(scores, (*self.lead, self.heads, *self.queries, *self.keys))


class MultiHeadAttention(Heads):
    """Attention in several heads side by side, each with projections of its own (Vaswani et al.,
    2017).

    Called with (query, value, key); the key is the value if it is not given.

    Args:
        num_heads: Number of heads.
        key_dim: Size of queries and keys in a head.
        value_dim: Size of values in a head; `key_dim` if None.
        dropout: Share of the scores that training sets to zero.
        output_shape: Sizes of the output's last axes; the query's size if None.
        attention_axes: Axes that are attended over; all but the first and the last if None.
        sliding_window: How near a key must be to be seen; None for any distance.
        flash_attention: Whether to insist on a fused kernel.
        use_gate: Whether the result of each head is multiplied by a sigmoid of the query,
            projected.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> x = np.ones((2, 5, 8), "float32")
    >>> layers.MultiHeadAttention(num_heads=2, key_dim=4)(x, x).shape
    (2, 5, 8)
    """

    num_heads: Positive
    key_dim: Positive
    value_dim: Maybe = None
    dropout: Rate = 0.0
    use_bias: bool = True
    output_shape: Axes = None
    attention_axes: Axes = None
    sliding_window: Maybe = None
    flash_attention: bool = None
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    bias_constraint: Constraint = None
    use_gate: bool = False
    seed: int = None

    query_dense = property(lambda self: self._query_dense)
    key_dense = property(lambda self: self._key_dense)
    value_dense = property(lambda self: self._value_dense)
    output_dense = property(lambda self: self._output_dense)

    def _ready(self):
        super()._ready()
        self.value_dim = self.value_dim or self.key_dim

    def build(self, query_shape, value_shape, key_shape=None):
        if self.attention_axes is None:
            self.attention_axes = tuple(range(1, len(query_shape) - 1))
        self._build_projections(
            query_shape, value_shape, key_shape, self.num_heads, self.num_heads,
            (self.key_dim, self.value_dim), self.output_shape or (query_shape[-1],),
        )  # fmt: skip

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        self._check_shapes(value_shape, key_shape)
        return (*query_shape[:-1], *(self.output_shape or query_shape[-1:]))


class GroupedQueryAttention(Heads):
    """Attention in which several heads of queries share a head of keys and values (Ainslie et al.,
    2023).

    Called with (query, value, key); the key is the value if it is not given.

    Args:
        head_dim: Size of queries, keys and values in a head.
        num_query_heads: Number of heads of queries.
        num_key_value_heads: Number of heads of keys and values, a divisor of the former.
        dropout: Share of the scores that training sets to zero.
        sliding_window: How near a key must be to be seen; None for any distance.
        flash_attention: Whether to insist on a fused kernel.
        use_gate: Whether the result of each head is multiplied by a sigmoid of the query,
            projected.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> x = np.ones((2, 5, 8), "float32")
    >>> layers.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)(x, x).shape
    (2, 5, 8)
    """

    head_dim: Positive
    num_query_heads: Positive
    num_key_value_heads: Positive
    dropout: Rate = 0.0
    use_bias: bool = True
    sliding_window: Maybe = None
    flash_attention: bool = None
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    bias_constraint: Constraint = None
    use_gate: bool = False
    seed: int = None

    hides_queries = True
    stored = {}  # the penalty falls on its own outputs, too

    def _ready(self):
        super()._ready()
        self._activity_regularizer = self.activity_regularizer
        if self.num_query_heads % self.num_key_value_heads:
            raise ValueError(
                f"`num_query_heads` must be divisible by `num_key_value_heads`; got {self.num_query_heads} and "
                f"{self.num_key_value_heads}"
            )

    def build(self, query_shape, value_shape, key_shape=None):
        for name, shape in (("query", query_shape), ("value", value_shape)):
            if len(shape) != 3:
                raise ValueError(
                    f"GroupQueryAttention '{self.name}': {name} must have 3 axes (batch, length, size); got the shape "
                    f"{tuple(shape)}"
                )
        self._build_projections(
            query_shape, value_shape, key_shape, self.num_query_heads, self.num_key_value_heads,
            (self.head_dim, self.head_dim), (query_shape[-1],),
        )  # fmt: skip

    def compute_output_shape(self, query_shape, value_shape, key_shape=None):
        self._check_shapes(value_shape, key_shape)
        return tuple(query_shape)


GroupQueryAttention = GroupedQueryAttention


class Attention(Layer):
    """Attention without projections, of a list [query, value] or [query, value, key] (Luong et al.,
    2015).

    Masks are a list alike; the mask of the key has no effect.

    Args:
        use_scale: Whether the scores are multiplied by a weight.
        score_mode: "dot" for products of query and key, "concat" for a weight times the sum of
            `tanh(query + key)`.
        dropout: Share of the scores that training sets to zero.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Attention()([np.ones((2, 5, 8), "float32"), np.ones((2, 6, 8), "float32")]).shape
    (2, 5, 8)
    """

    use_scale: bool = False
    score_mode: str = "dot"
    dropout: Rate = 0.0
    seed: int = None

    supports_masking = True
    scale = concat_score_weight = None

    def _ready(self):
        if self.score_mode not in ("dot", "concat"):
            raise ValueError(
                "Invalid value for argument score_mode. Expected one of {'dot', 'concat'}. Received: "
                f"score_mode={self.score_mode}"
            )
        if self.dropout > 0:
            self.seed_generator = random.SeedGenerator(self.seed)

    def build(self, input_shape):
        self._check(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def _check(self, inputs, mask=None):
        name = type(self).__name__
        if (
            not isinstance(inputs, list)
            or inputs
            and not hasattr(inputs[0], "__len__")
            and not _is_array(inputs[0])
        ):
            raise ValueError(
                f"{name} layer must be called on a list of inputs, namely [query, value] or [query, value, key]. "
                f"Received: inputs={inputs}."
            )
        if len(inputs) not in (2, 3):
            raise ValueError(
                f"{name} layer accepts inputs list of length 2 or 3, namely [query, value] or [query, value, key]. "
                f"Received length: {len(inputs)}."
            )
        if mask is None:
            return
        if not isinstance(mask, list):
            raise ValueError(
                f"{name} layer mask must be a list, namely [query_mask, value_mask]. Received: mask={mask}."
            )
        if not 2 <= len(mask) <= 3:
            raise ValueError(
                f"{name} layer accepts mask list of length 2 or 3. Received: {len(mask)} masks."
            )

    def call(
        self,
        inputs,
        mask=None,
        training=False,
        return_attention_scores=False,
        use_causal_mask=False,
    ):
        self._check(inputs, mask)
        query, value = inputs[:2]
        key = inputs[2] if len(inputs) == 3 else value
        query_mask, value_mask = mask[:2] if mask else (None, None)
        scores = self.scores(query, key)  # (batch, queries, keys)
        seen = None
        if value_mask is not None:
            seen = ops.expand_dims(ops.cast(value_mask, "bool"), -2)
        if use_causal_mask:
            before = band(scores.shape[-2], scores.shape[-1], True, None)
            seen = before if seen is None else ops.logical_and(seen, before)
        if seen is not None:
            far = 65504.0 if dtype_name(scores.dtype) == "float16" else 1e9
            scores = scores - far * ops.cast(ops.logical_not(seen), scores.dtype)
        shares = ops.softmax(scores, axis=-1)
        if training and self.dropout > 0:
            shares = random.dropout(shares, self.dropout, seed=self.seed_generator)
        y = ops.matmul(shares, value)
        if query_mask is not None:
            y = y * ops.cast(ops.expand_dims(query_mask, -1), y.dtype)
        return (y, shares) if return_attention_scores else y

    def scores(self, query, key):
        """How well each key fits each query: (batch, queries, keys)."""
        if self.score_mode == "dot":
            scores = ops.einsum("btd,bsd->bts", query, key)
            return scores if self.scale is None else scores * self.scale
        pairs = _pairs(query, key)
        return self.concat_score_weight * ops.sum(
            ops.tanh(pairs if self.scale is None else self.scale * pairs), -1
        )

    def compute_mask(self, inputs, mask=None):
        self._check(inputs, mask)
        return None if mask is None else mask[0]

    def compute_output_spec(
        self, inputs, mask=None, return_attention_scores=False, training=None, use_causal_mask=False
    ):
        """Symbols with the shapes and dtypes of the outputs."""
        return super().compute_output_spec(inputs, return_attention_scores=return_attention_scores)

    def compute_output_shape(self, input_shape):
        return (*input_shape[0][:-1], input_shape[1][-1])

    def _declared_outputs(self, plan, args, kwargs, values):
        return None


class AdditiveAttention(Attention):
    """Attention by the sum of `scale * tanh(query + key)`, without projections (Bahdanau et al.,
    2015).

    Args:
        use_scale: Whether each place of the sum has a weight.
        dropout: Share of the scores that training sets to zero.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.AdditiveAttention()([np.ones((2, 5, 8), "float32"), np.ones((2, 6, 8), "float32")]).shape
    (2, 5, 8)
    """

    fields = {}
    use_scale: bool = True
    dropout: Rate = 0.0

    score_mode = "concat"
    config_also = ("seed",)

    def adopt(self, seed=None, **options):
        super().adopt(**options)
        self.seed = seed

    def build(self, input_shape):
        self._check(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")

    def scores(self, query, key):
        pairs = ops.tanh(_pairs(query, key))
        return ops.sum(pairs if self.scale is None else self.scale * pairs, axis=-1)


def _pairs(query, key):
    """The sum of each query with each key: (batch, queries, keys, size)."""
    return ops.expand_dims(query, -2) + ops.expand_dims(key, -3)


def _is_array(x):
    return hasattr(x, "shape")
