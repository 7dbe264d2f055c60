"""What a loss is: a function of targets and predictions, and an object that weighs and reduces.

A built-in loss is its function; `loss_class` makes its class. A user's loss is a subclass of `Loss`
with its own `call`.
"""

from __future__ import annotations

import inspect

from oneiros import ops
from oneiros.core import config, tree, whole
from oneiros.core.dtypes import ALLOWED
from oneiros.core.masks import get_mask
from oneiros.core.naming import auto_name
from oneiros.core.op import array, float_of, to_dtype
from oneiros.core.spec import broadcast_shapes, dtype_name

__all__ = ["Loss", "LossFunctionWrapper", "loss_class", "matched", "same_rank"]

REDUCTIONS = (
    "sum_over_batch_size",
    "mean",
    "sum",
    "mean_with_sample_weight",
    "none",
    None,
)


class Loss:
    """The base of losses: `loss(y_true, y_pred, sample_weight=None)` is one number to make small.

    Subclasses define `call(y_true, y_pred)`, which gives a value for each sample (or place).

    Args:
        name: Its name; made up of the class's if None.
        reduction: How values become one number: "sum_over_batch_size" and "mean" divide their sum
            by their count, "mean_with_sample_weight" by the sum of the weights, "sum" by nothing;
            "none" or None leaves them as they are.
        dtype: The dtype, or dtype policy, that it computes in; `config.floatx()` if None.

    >>> from oneiros import losses, ops
    >>> class Distance(losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return ops.abs(y_true - y_pred)
    >>> float(Distance(reduction="sum")([1.0, 2.0], [3.0, 3.0]))
    3.0

    Raises:
        ValueError: if `reduction` is none of these.
    """

    def __init__(self, name=None, reduction="sum_over_batch_size", dtype=None):
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{type(self).__name__}: `reduction` must be one of "
                f"{', '.join(map(repr, REDUCTIONS))}; got {reduction!r}"
            )
        self.name = name or auto_name(type(self).__name__)
        self.reduction = reduction
        self._given_dtype, self._dtype = dtype, compute_dtype(dtype)

    @property
    def dtype(self):
        """The name of the dtype that it computes in."""
        return self._dtype

    def __setattr__(self, name, value):
        self.__dict__.pop("_wholes", None)
        object.__setattr__(self, name, value)

    @whole.giving
    def __call__(self, y_true, y_pred, sample_weight=None):
        masks = [get_mask(y_pred)]
        values = self.call(*[_arrays(y, self.dtype) for y in (y_true, y_pred)])
        masks.append(get_mask(values))
        mask = None
        for m in masks:
            if m is not None:
                mask = m if mask is None else ops.logical_and(mask, m)
        return reduced(values, sample_weight, mask, self.reduction, self.dtype)

    def call(self, y_true, y_pred):
        """The loss of each sample."""
        raise NotImplementedError(f"{type(self).__name__} must define `call(y_true, y_pred)`")

    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        made = {"name": self.name, "reduction": self.reduction}
        if self._given_dtype is not None and self.dtype != config.floatx():
            made["dtype"] = self.dtype
        return made

    @classmethod
    def from_config(cls, config):
        """A loss from the dict that `get_config` gave."""
        return cls(**config)

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


class LossFunctionWrapper(Loss):
    """A function `fn(y_true, y_pred, **kwargs)` of per-sample values as a loss."""

    def __init__(self, fn, reduction="sum_over_batch_size", name=None, dtype=None, **kwargs):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn, self._fn_kwargs = fn, kwargs

    def call(self, y_true, y_pred):
        if tree.is_nested(y_true) or tree.is_nested(y_pred):
            pairs = tree.map_structure_up_to(y_true, same_rank, y_true, y_pred)
            y_pred = tree.map_structure_up_to(y_true, lambda pair: pair[1], pairs)
            y_true = tree.map_structure_up_to(y_true, lambda pair: pair[0], pairs)
        else:
            y_true, y_pred = same_rank(y_true, y_pred)
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def get_config(self):
        from oneiros.core.registry import serialize_keras_object

        made = super().get_config()
        if type(self) is LossFunctionWrapper:
            made["fn"] = serialize_keras_object(self.fn)
        return made | serialize_keras_object(self._fn_kwargs)

    @classmethod
    def from_config(cls, config):
        if cls is LossFunctionWrapper and isinstance(config.get("fn"), (str, dict)):
            from oneiros.core.registry import deserialize_keras_object

            config = {**config, "fn": deserialize_keras_object(config["fn"])}
        return cls(**config)


def loss_class(
    fn, title=None, name=None, order="{own} reduction {options}", unsaved=(), **defaults
):
    """The class of the loss whose values `fn(y_true, y_pred, **own)` gives.

    Args:
        fn: The function; its further arguments become the constructor's.
        title: The class's name; the function's in CamelCase if None.
        name: The default of its argument `name`; the function's name if None.
        order: The order of the constructor's arguments, with `{own}` and `{options}` (name, dtype).
        unsaved: Arguments that configs have only when they differ from their defaults, as in Keras.
        defaults: Defaults that are not the function's.
    """
    Row = inspect.Parameter
    rows = {row.name: row for row in list(inspect.signature(fn).parameters.values())[2:]}
    for key, value in {
        **defaults, "reduction": "sum_over_batch_size", "name": name or fn.__name__, "dtype": None
    }.items():  # fmt: skip
        rows[key] = Row(key, Row.POSITIONAL_OR_KEYWORD, default=value)
    own = " ".join(key for key in rows if key not in ("reduction", "name", "dtype"))
    names = order.format(own=own, options="name dtype").split()
    signature = inspect.Signature([rows[key] for key in names])
    title = title or "".join(word.title() for word in fn.__name__.split("_"))

    def __init__(self, *args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{title}: {error}; its arguments are: {', '.join(names)}") from None
        bound.apply_defaults()
        LossFunctionWrapper.__init__(self, fn, **bound.arguments)

    def get_config(self):
        made = LossFunctionWrapper.get_config(self)
        usual = [key for key in unsaved if made[key] == rows[key].default]
        return {key: value for key, value in made.items() if key not in usual}

    this = Row("self", Row.POSITIONAL_OR_KEYWORD)
    __init__.__signature__ = signature.replace(parameters=[this, *signature.parameters.values()])
    body = {
        "__init__": __init__, "get_config": get_config, "__doc__": fn.__doc__,
        "__module__": "oneiros.losses", "__qualname__": title,
    }  # fmt: skip
    return type(title, (LossFunctionWrapper,), body)


# Values to one number -----------------------------------------------------------------------------
def reduced(values, sample_weight=None, mask=None, reduction="sum_over_batch_size", dtype=None):
    """`values` times their weights, where `mask` holds, as one number (or as they are)."""
    dtype = dtype or config.floatx()
    values = to_dtype(array(values), dtype)
    if sample_weight is not None:
        sample_weight = to_dtype(array(sample_weight), dtype)
    if mask is not None:
        sample_weight = masked_weight(sample_weight, mask, dtype, reduction)
    if sample_weight is not None:
        values, sample_weight = same_rank(values, sample_weight)
        _check_weight(values, sample_weight)
        values = values * sample_weight
    if reduction in (None, "none") or values.shape in ((), (0,)):
        return values
    wide = widened(dtype)
    total = ops.sum(to_dtype(values, wide))
    if reduction == "mean_with_sample_weight" and sample_weight is not None:
        total = ops.divide_no_nan(total, ops.sum(to_dtype(sample_weight, wide)))
    elif reduction != "sum":
        total = total / ops.cast(ops.size(values), wide)
    return to_dtype(total, dtype)


def widened(dtype):
    """A dtype in which sums over a batch of `dtype` neither overflow nor stop growing."""
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def _check_weight(values, sample_weight):
    shapes = tuple(values.shape), tuple(sample_weight.shape)
    if None in (*shapes[0], *shapes[1]):
        return
    try:
        broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"`sample_weight` of shape {shapes[1]} does not broadcast to the loss's values, whose "
            f"shape is {shapes[0]}"
        ) from None


def masked_weight(sample_weight, mask, dtype, reduction):
    """The weights where `mask` holds, else 0; for means they make up for what it leaves out."""
    mask = to_dtype(array(mask), widened(dtype))
    if reduction in ("mean", "sum_over_batch_size"):
        count = ops.cast(ops.size(mask), widened(dtype))
        mask = mask * (count / (ops.sum(mask) + config.epsilon()))
    mask = to_dtype(mask, dtype)
    if sample_weight is None:
        return mask
    mask, sample_weight = same_rank(mask, to_dtype(array(sample_weight), dtype))
    return sample_weight * mask


# Arguments ----------------------------------------------------------------------------------------
def _arrays(y, dtype):
    """`y`, or the leaves of the tree `y`, as arrays; a nested list of numbers is one array."""
    if isinstance(y, (list, tuple)) and all(isinstance(x, (int, float)) for x in tree.flatten(y)):
        return to_dtype(array(y), dtype)
    return tree.map_structure(lambda x: to_dtype(array(x), dtype), y)


def matched(y_true, y_pred):
    """Both as arrays of the predictions' floating dtype and of one rank, which broadcast."""
    y_pred = float_of(y_pred)
    y_true = to_dtype(array(y_true), dtype_name(y_pred.dtype))
    y_true, y_pred = same_rank(y_true, y_pred)
    if None not in y_true.shape and None not in y_pred.shape:
        try:
            broadcast_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        except ValueError:
            raise ValueError(
                "`y_true` and `y_pred` must have shapes that broadcast; got "
                f"{tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            ) from None
    return y_true, y_pred


def same_rank(x, y):
    """`x` and `y`, one of them without or with a last axis of length 1 where that aligns them."""
    rank = len(x.shape), len(y.shape)
    if rank[0] == rank[1] + 1 and x.shape[-1] == 1:
        return (x, ops.expand_dims(y, -1)) if rank[1] == 1 else (ops.squeeze(x, -1), y)
    if rank[1] == rank[0] + 1 and y.shape[-1] == 1:
        return (ops.expand_dims(x, -1), y) if rank[0] == 1 else (x, ops.squeeze(y, -1))
    return x, y


def compute_dtype(dtype):
    """The dtype that a dtype, a policy or None computes in."""
    if dtype is None:
        return config.floatx()
    if isinstance(dtype, str) and dtype in ALLOWED:
        return dtype
    if hasattr(dtype, "compute_dtype"):
        return dtype.compute_dtype
    from oneiros import dtype_policies

    return dtype_policies.get(dtype).compute_dtype
