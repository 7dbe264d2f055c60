"""What a metric is: variables that batches add to, and a result made of them.

A built-in metric is two pure functions over named sums (`Tally`): `accumulate` gives what a batch
adds to each, `summarize` gives the result. Most are means of a function's per-sample values, by
`metric_class`. A user's metric is a subclass of `Metric` with its own `update_state` and `result`.
"""

from __future__ import annotations

import inspect

import numpy as np

from oneiros import ops
from oneiros.core import whole
from oneiros.core.configurable import Configurable, _declarer, config_names
from oneiros.core.dtypes import np_dtype
from oneiros.core.masks import get_mask
from oneiros.core.naming import auto_name
from oneiros.core.op import array, to_dtype
from oneiros.core.scopes import StatelessScope, name_scope
from oneiros.core.variable import Variable
from oneiros.losses.loss import compute_dtype, masked_weight, same_rank

__all__ = ["Mean", "MeanMetricWrapper", "Metric", "Sum", "Tally", "metric_class"]


class Metric(Configurable):
    """The base of metrics: `update_state` takes a batch in, `result` says what came of all.

    Subclasses make their variables with `add_variable` in the constructor, and define
    `update_state(...)` and `result()` in terms of `ops` and the variables' `assign`.

    Args:
        dtype: The dtype (or dtype policy) of its state; `config.floatx()` if None.
        name: Its name; made up of the class's if None.

    >>> from oneiros import metrics
    >>> class Count(metrics.Metric):
    ...     def __init__(self, **kwargs):
    ...         super().__init__(**kwargs)
    ...         self.seen = self.add_variable((), "zeros", name="seen")
    ...     def update_state(self, x):
    ...         self.seen.assign_add(len(x))
    ...     def result(self):
    ...         return self.seen.value
    >>> float(Count()([1, 2, 3]))
    3.0
    """

    shared = {"dtype": None, "name": None}
    usual_dtype = None  # what `dtype=None` means, where it is not `config.floatx()`
    dtype = None

    def adopt(self, dtype=None, name=None):
        self._metrics, self._variables = [], []
        self.name = name or auto_name(type(self).__name__)
        self.dtype = compute_dtype(dtype or self.usual_dtype)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "update_state" in cls.__dict__ and cls.__module__.startswith("oneiros.metrics"):
            cls.update_state = whole.assigning(cls.update_state)

    def __setattr__(self, name, value):
        self.__dict__.pop("_wholes", None)
        if isinstance(value, (Variable, Metric)):
            kept = self._checked("_variables" if isinstance(value, Variable) else "_metrics")
            if not any(value is v for v in kept):
                kept.append(value)
        super().__setattr__(name, value)

    # State ---------------------------------------------------------------------------------------
    def add_variable(self, shape, initializer, dtype=None, aggregation="sum", name=None):
        """A new variable, which `reset_state` sets to zero.

        Args:
            aggregation: How replicas are joined: "sum", "mean", "only_first_replica" or "none".
        """
        kept = self._checked("_variables")
        with name_scope(self.name.replace("/", ">")):
            variable = Variable(
                "zeros" if initializer is None else initializer,
                shape,
                dtype or self.dtype,
                trainable=False,
                aggregation=aggregation,
                name=name,
            )
        kept.append(variable)
        return variable

    def add_weight(self, shape=(), initializer=None, dtype=None, name=None):
        """As `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self):
        """Its variables, and those of metrics that it holds."""
        own = list(self._checked("_variables"))
        return own + [v for metric in self._metrics for v in metric.variables]

    def reset_state(self):
        """Set every variable to zero."""
        for v in self.variables:
            v.assign(np.zeros(v.shape, np_dtype(v.dtype)))

    def merge_state(self, metrics):
        """Add the state of other metrics of this kind, which saw other batches, to this one's.

        >>> from oneiros import metrics
        >>> first, second = metrics.Mean(), metrics.Mean()
        >>> first.update_state([1.0, 2.0]), second.update_state([6.0])
        (None, None)
        >>> first.merge_state([second])
        >>> float(first.result())
        3.0

        Raises:
            ValueError: if one has other variables.
        """
        for other in metrics:
            self._begin_as(other)
            shapes = [[v.shape for v in metric.variables] for metric in (self, other)]
            if shapes[0] != shapes[1]:
                raise ValueError(
                    f"{type(self).__name__}: `merge_state` takes metrics with variables of the "
                    f"shapes {shapes[0]}; got {other!r} with {shapes[1]}"
                )
            for v, more in zip(self.variables, other.variables):
                v.assign_add(more.value)

    def _begin_as(self, other):
        """Make the variables that `other` has, where its first batch made them."""

    def _checked(self, attribute):
        try:
            return self.__dict__[attribute]
        except KeyError:
            raise RuntimeError(
                f"{type(self).__name__}: call `super().__init__()` at the beginning of `__init__`, "
                "before variables or metrics are made"
            ) from None

    # What it computes -----------------------------------------------------------------------------
    def update_state(self, *args, **kwargs):
        """Take a batch into account."""
        raise NotImplementedError(f"{type(self).__name__} must define `update_state`")

    def result(self):
        """The metric of all batches so far: a number or array, or a dict of them."""
        raise NotImplementedError(f"{type(self).__name__} must define `result`")

    def __call__(self, *args, **kwargs):
        self.update_state(*args, **kwargs)
        return self.result()

    # The same as pure functions -------------------------------------------------------------------
    def stateless_update_state(self, metric_variables, *args, **kwargs):
        """The variables' values after `update_state`, from their values before."""
        with self._holding(metric_variables) as scope:
            self.update_state(*args, **kwargs)
        return [scope.get_current_value(v) for v in self.variables]

    def stateless_result(self, metric_variables):
        """The result for these values of the variables."""
        with self._holding(metric_variables):
            return self.result()

    def stateless_reset_state(self):
        """The variables' values after `reset_state`."""
        with StatelessScope() as scope:
            self.reset_state()
        return [scope.get_current_value(v) for v in self.variables]

    def _holding(self, values):
        variables = self.variables
        if len(values) != len(variables):
            raise ValueError(
                f"{type(self).__name__}: `metric_variables` must hold {len(variables)} values, one "
                f"for each of its variables; got {len(values)}"
            )
        return StatelessScope(zip(variables, values))

    # Config ---------------------------------------------------------------------------------------
    def get_config(self):
        """The constructor's arguments as a dict of plain values."""
        return {n: getattr(self, n) for n in config_names(_declarer(type(self)))}

    def __repr__(self):
        return f"<{type(self).__name__} name={self.name}>"


class Tally(Metric):
    """A metric of named sums.

    Subclasses give `sums` (names to shapes), the pure functions `accumulate(y_true, y_pred,
    sample_weight)`, what a batch adds to each, and `summarize(*sums)`, the result.
    """

    sums = {}
    _tallied = False

    def _ready(self):
        if self.sums is not None:
            self._begin()

    def _begin(self):
        self._tallied = True
        for name, shape in self.sums.items():
            setattr(self, name, self.add_variable(shape, "zeros", name=name))

    def _begin_as(self, other):
        if not self._tallied and getattr(other, "_tallied", False):
            found = {k: vars(other)[k] for k in ("sums", "_tallied_labels") if k in vars(other)}
            vars(self).update(found)
            self._begin()

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take a batch of targets and predictions into account."""
        self._add(self.accumulate(y_true, y_pred, sample_weight))

    def result(self):
        """The metric of all batches so far."""
        return self.summarize(*[getattr(self, name).value for name in self.sums])

    def _add(self, amounts):
        for name, amount in zip(self.sums, amounts):
            getattr(self, name).assign_add(amount)


# Means -------------------------------------------------------------------------------------------
class Mean(Tally):
    """The weighted mean of values.

    >>> from oneiros import metrics
    >>> m = metrics.Mean()
    >>> m.update_state([1.0, 3.0])
    >>> m.update_state([5.0], sample_weight=[2.0])
    >>> float(m.result())
    3.5
    """

    name: str = "mean"
    dtype: str = None
    sums = {"total": (), "count": ()}

    def update_state(self, values, sample_weight=None):
        """Take an array of values into account; what lies behind the first axis is averaged."""
        self._add(self.accumulate(values, sample_weight))

    def accumulate(self, values, sample_weight):
        values, weight = per_sample(values, sample_weight, self.dtype, ops.mean)
        if weight is None:
            weight = values.shape[0] if len(values.shape) else 1
        else:
            weight = ops.sum(weight)
        return ops.sum(values), weight

    def summarize(self, total, count):
        return ops.divide_no_nan(total, count)


class Sum(Tally):
    """The weighted sum of values.

    >>> from oneiros import metrics
    >>> float(metrics.Sum()([1.0, 3.0]))
    4.0
    """

    name: str = "sum"
    dtype: str = None
    sums = {"total": ()}

    def update_state(self, values, sample_weight=None):
        """Take an array of values into account."""
        self._add(self.accumulate(values, sample_weight))

    def accumulate(self, values, sample_weight):
        return (ops.sum(per_sample(values, sample_weight, self.dtype, ops.sum)[0]),)

    def summarize(self, total):
        return ops.convert_to_tensor(total)


def per_sample(values, sample_weight, dtype, reduce):
    """`values` times their weights, and the weights (or None), each reduced to its first axis."""
    mask = get_mask(values)
    values = to_dtype(array(values), dtype)
    weight = sample_weight
    if weight is not None:
        weight = to_dtype(array(weight), dtype)
        if mask is not None:
            weight = masked_weight(weight, mask, dtype, "sum")
        values, weight = same_rank(values, weight)
        rank = len(weight.shape)
        if len(values.shape) > rank:
            values = reduce(values, axis=tuple(range(rank, len(values.shape))))
        weight = ops.broadcast_to(weight, values.shape)
        values = values * weight
        if rank > 1:
            weight = reduce(weight, axis=tuple(range(1, rank)))
    if len(values.shape) > 1:
        values = reduce(values, axis=tuple(range(1, len(values.shape))))
    return values, weight


class MeanMetricWrapper(Mean):
    """The mean of the per-sample values of `fn(y_true, y_pred, **kwargs)`.

    >>> from oneiros import metrics, ops
    >>> m = metrics.MeanMetricWrapper(lambda y, x: ops.abs(ops.subtract(y, x)), name="distance")
    >>> float(m([1.0, 2.0], [2.0, 4.0]))
    1.5
    """

    def __init__(self, fn, name=None, dtype=None, **kwargs):
        Mean.__init__(self, name=name or auto_name(type(self).__name__), dtype=dtype)
        self._fn, self._fn_kwargs = fn, kwargs

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take a batch of targets and predictions into account, but for what is masked."""
        mask = get_mask(y_pred)
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        if mask is not None:
            sample_weight = masked_weight(sample_weight, mask, self.dtype, "sum")
        super().update_state(values, sample_weight)

    def get_config(self):
        from oneiros.core.registry import serialize_keras_object

        made = {"name": self.name, "dtype": self.dtype}
        if type(self) is MeanMetricWrapper:
            made["fn"] = serialize_keras_object(self._fn)
        return made | serialize_keras_object(self._fn_kwargs)

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("fn"), (str, dict)):
            from oneiros.core.registry import deserialize_keras_object

            config = {**config, "fn": deserialize_keras_object(config["fn"])}
        return cls(**config)


def metric_class(
    fn, title=None, name=None, order="name dtype {own}", best=None, unsaved=(), **defaults
):
    """The class of the metric that averages the values of `fn(y_true, y_pred, **own)`.

    Args:
        fn: The function; its further arguments become the constructor's.
        title: The class's name; the function's in CamelCase if None.
        name: The default of its argument `name`; the function's name if None.
        order: The order of the constructor's arguments.
        best: "up" or "down": which way is better.
        unsaved: Arguments that configs have only when they differ from their defaults, as in Keras.
        defaults: Defaults that are not the function's.
    """
    Row = inspect.Parameter
    rows = {row.name: row for row in list(inspect.signature(fn).parameters.values())[2:]}
    own = " ".join(rows)
    for key, value in {**defaults, "name": name or fn.__name__, "dtype": None}.items():
        rows[key] = Row(key, Row.POSITIONAL_OR_KEYWORD, default=value)
    names = order.format(own=own).split()
    this = Row("self", Row.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([rows[key] for key in names])
    title = title or "".join(word.title() for word in fn.__name__.split("_"))

    def __init__(self, *args, **kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{title}: {error}; its arguments are: {', '.join(names)}") from None
        bound.apply_defaults()
        MeanMetricWrapper.__init__(self, fn, **bound.arguments)

    def get_config(self):
        made = MeanMetricWrapper.get_config(self)
        usual = [key for key in unsaved if made[key] == rows[key].default]
        return {key: value for key, value in made.items() if key not in usual}

    __init__.__signature__ = signature.replace(parameters=[this, *signature.parameters.values()])
    body = {
        "__init__": __init__, "get_config": get_config, "__doc__": fn.__doc__, "_direction": best,
        "__module__": "oneiros.metrics", "__qualname__": title,
    }  # fmt: skip
    return type(title, (MeanMetricWrapper,), body)
