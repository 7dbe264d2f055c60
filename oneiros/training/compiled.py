"""What `compile` was given as losses and metrics, laid out over a model's outputs.

Outputs, targets, losses, weights and metrics may be single, listed, or named in dicts. `spread`
lays any of them out as one flat list with an entry for each output, and loops over lists follow.
"""

from __future__ import annotations

from oneiros import losses
from oneiros import metrics as metric_room
from oneiros.core import tree
from oneiros.core.naming import snake_case
from oneiros.core.op import infer
from oneiros.core.scopes import StatelessScope
from oneiros.losses.loss import Loss, LossFunctionWrapper

__all__ = ["CompileLoss", "CompileMetrics"]


class CompileLoss:
    """The weighted sum of the outputs' losses.

    Args:
        loss: A loss (name, function or `Loss`) for all outputs; or a list or dict of them; None for
            outputs that are not trained on.
        loss_weights: A factor for all losses, or a list or dict of them.
        output_names: The outputs' names, in the order of the flat outputs.

    Attributes:
        metrics: A mean for each loss, if there are several.
    """

    name = "compile_loss"

    def __init__(self, loss, loss_weights=None, output_names=None):
        self.loss, self.loss_weights, self.output_names = loss, loss_weights, output_names
        self.built, self.metrics, self.variables = False, [], []
        for given in tree.flatten(loss):
            _loss(given)  # what is no loss is told at once

    def build(self, y_true, y_pred):
        """Find each output's loss, its factor, and what keeps its mean."""
        outputs = _Outputs(y_pred, self.output_names)
        given = outputs.spread(self.loss, "loss")
        self.losses = [_loss(value) for value in given]
        factors = outputs.spread(self.loss_weights, "loss_weights")
        self.factors = [1.0 if f is None else float(f) for f in factors]
        self.built, self.metrics, self.variables = True, [], []
        self.trackers = [None] * len(self.losses)
        if sum(loss is not None for loss in self.losses) > 1:
            for i, loss in enumerate(self.losses):
                if loss is not None:
                    label = outputs.labels[i] or _loss_name(given[i], loss)
                    self.trackers[i] = metric_room.Mean(name=f"{label}_loss")
        self.metrics = [m for m in self.trackers if m is not None]
        self.variables = [v for m in self.metrics for v in m.variables]

    def __call__(self, y_true, y_pred, sample_weight=None):
        if not self.built:
            self.build(y_true, y_pred)
        outputs = _Outputs(y_pred, self.output_names)
        targets = outputs.spread(y_true, "y")
        weights = outputs.spread(sample_weight, "sample_weight", shared=True)
        total = None
        for i, loss in enumerate(self.losses):
            if loss is None:
                continue
            if targets[i] is None:
                raise ValueError(
                    f"output {outputs.title(i)} has a loss ({loss.name}) but no targets: give them "
                    "in y, or None as its loss"
                )
            value = loss(targets[i], outputs.values[i], weights[i])
            if self.trackers[i] is not None:
                self.trackers[i].update_state(value, sample_weight=_batch_size(outputs.values[i]))
            value = value * self.factors[i] if self.factors[i] != 1.0 else value
            total = value if total is None else total + value
        return total

    call = __call__

    def get_config(self):
        return {"loss": self.loss, "loss_weights": self.loss_weights}


class CompileMetrics:
    """The metrics of all outputs.

    Args:
        metrics: A list of metrics (names, functions or `Metric`s), for several outputs a list with
            one or a list of them for each output, or a dict by output.
        weighted_metrics: The same, for metrics that take the sample weights.
        output_names: The outputs' names, in the order of the flat outputs.

    Attributes:
        metrics: All of them.
        built: Whether the outputs' shapes are known, which "accuracy" waits for.
    """

    name = "compile_metrics"

    def __init__(self, metrics, weighted_metrics=None, output_names=None):
        for label, given in (("metrics", metrics), ("weighted_metrics", weighted_metrics)):
            if given is not None and not isinstance(given, (list, tuple, dict)):
                raise ValueError(
                    f"`{label}` must be a list, tuple or dict; got {given!r} of type {type(given)}"
                )
        self.given, self.output_names = (metrics, weighted_metrics), output_names
        self.built, self.rows = False, []

    def build(self, y_true, y_pred):
        """Find each output's metrics, for targets and outputs with these shapes."""
        outputs = _Outputs(y_pred, self.output_names)
        targets = outputs.spread(y_true, "y")
        rows = []  # (index of the output, name in the logs, metric, whether it is weighted)
        plain, weighted = (
            outputs.spread(given, label, lists=True)
            for given, label in zip(self.given, ("metrics", "weighted_metrics"))
        )
        for i, (target, value) in enumerate(zip(targets, outputs.values)):
            unweighted = set()
            for given, is_weighted in ((plain[i], False), (weighted[i], True)):
                for identifier in tree.flatten(given) if given is not None else ():
                    if target is None:
                        raise ValueError(
                            f"output {outputs.title(i)} has a metric ({identifier!r}) but no "
                            "targets: give them in y"
                        )
                    metric = _metric(identifier, target, value)
                    name = metric.name
                    if is_weighted and name in unweighted:
                        name = f"weighted_{name}"
                    elif not is_weighted:
                        unweighted.add(name)
                    if len(targets) > 1 and outputs.labels[i]:
                        name = f"{outputs.labels[i]}_{name}"
                    rows.append((i, name, metric, is_weighted))
                    _make_variables(metric, target, value)
        self.rows, self.built = rows, True

    @property
    def metrics(self):
        return [metric for _, _, metric, _ in self.rows]

    @property
    def variables(self):
        return [v for metric in self.metrics for v in metric.variables]

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take a batch into account."""
        if not self.built:
            self.build(y_true, y_pred)
        outputs = _Outputs(y_pred, self.output_names)
        targets = outputs.spread(y_true, "y")
        weights = outputs.spread(sample_weight, "sample_weight", shared=True)
        for i, _, metric, is_weighted in self.rows:
            args = (weights[i],) if is_weighted and weights[i] is not None else ()
            metric.update_state(targets[i], outputs.values[i], *args)

    def result(self):
        """The results of all metrics, by their names in the logs."""
        results = {}
        for _, name, metric, _ in self.rows:
            result = metric.result()
            if not isinstance(result, dict):
                result = {name: result}
            for key, value in result.items():
                results[_free(key, results)] = value
        return results

    def reset_state(self):
        """Begin counting anew."""
        for metric in self.metrics:
            metric.reset_state()

    # Custom steps pass the state along, as with any metric.
    _holding = metric_room.Metric._holding
    stateless_update_state = metric_room.Metric.stateless_update_state
    stateless_result = metric_room.Metric.stateless_result
    stateless_reset_state = metric_room.Metric.stateless_reset_state

    def get_config(self):
        return {"metrics": self.given[0], "weighted_metrics": self.given[1]}


# Outputs ------------------------------------------------------------------------------------------
class _Outputs:
    """A model's outputs as a flat list, and how other things are laid out over them.

    Attributes:
        values: The outputs.
        labels: What each is called in the logs; None for an unnamed one.
    """

    def __init__(self, y_pred, names=None):
        self.tree, self.names = y_pred, list(names) if names else None
        paths, self.values = ((),), (y_pred,)
        if tree.is_nested(y_pred):
            paths, self.values = zip(*tree.flatten_with_path(y_pred))
        if self.names is not None and len(self.names) != len(self.values):
            self.names = None
        self.labels = [self._label(i, path) for i, path in enumerate(paths)]

    def _label(self, i, path):
        """The keys of dicts on the way to an output; in a list, its name in the model."""
        keys = [key for key in path if isinstance(key, str)]
        if not path or not isinstance(path[-1], str):
            if self.names is None:
                return None
            keys.append(self.names[i])
        return "/".join(keys)

    def title(self, i):
        """What to call an output in a message."""
        return repr(self.labels[i]) if self.labels[i] else f"{i} of {len(self.values)}"

    def spread(self, given, what, lists=False, shared=False):
        """What was given for the outputs, as a list with an entry (or None) for each.

        Args:
            given: One thing, or a list or dict of things.
            what: The argument's name, for messages.
            lists: Whether an output's entry may itself be a list or dict.
            shared: Whether one array counts for all outputs; what is no array always does.
        """
        if len(self.values) == 1:
            return [given if lists else self._only(given, what)]
        if given is None:
            return [None] * len(self.values)
        self.what, self.lists, self.shared = what, lists, shared
        if isinstance(given, dict) and self.names and not self._keyed(self.tree, given):
            return self._by_name(given)
        if isinstance(given, (list, tuple)) and isinstance(self.tree, dict):
            if len(given) == len(self.values):
                return list(given)
        return self._under(given, self.tree)

    def _only(self, given, what):
        """The entry for the one output that there is."""
        while isinstance(given, (list, tuple, dict)):
            if len(given) != 1:
                raise ValueError(
                    f"the model has one output; got {len(given)} entries in `{what}`"
                    + (f": {list(given)}" if isinstance(given, dict) else "")
                )
            if isinstance(given, dict):
                key, given = next(iter(given.items()))
                known = {*self.labels, *(self.names or ())} - {None}
                if known:
                    _check_names([key], known, what)
            else:
                given = given[0]
        return given

    def _keyed(self, node, given):
        return isinstance(node, dict) and not set(given) - set(node)

    def _by_name(self, given):
        """Entries by the outputs' names in the model."""
        _check_names(given, self.names, self.what)
        return [given.get(name) for name in self.names]

    def _under(self, given, node):
        """The entries for the outputs in a part of the tree of outputs."""
        if not tree.is_nested(node):
            if isinstance(given, (list, tuple, dict)) and not self.lists:
                return [self._one_of(given)]
            return [given]
        children = tree.flatten_with_path(node)
        if given is None:
            return [None] * len(children)
        if isinstance(given, dict):
            if not isinstance(node, dict):
                raise ValueError(
                    f"`{self.what}` is a dict with the keys {list(given)}, but the model's outputs "
                    f"are a {type(node).__name__} of {len(node)} without names"
                )
            _check_names(given, node, self.what)
            return [v for k in sorted(node) for v in self._under(given.get(k), node[k])]
        if isinstance(given, (list, tuple)):
            if not isinstance(node, dict) and len(given) == len(node):
                return [v for g, n in zip(given, node) for v in self._under(g, n)]
            if len(given) == len(children) and not self.lists:
                return list(given)
            raise ValueError(
                f"`{self.what}` has {len(given)} entries, but the model has {len(node)} outputs"
                + (f": {self.names}" if self.names else "")
            )
        if hasattr(given, "shape") and not self.shared:
            raise ValueError(
                f"`{self.what}` is one array of shape {tuple(given.shape)}, but the model has "
                f"{len(children)} outputs: give a list or dict with an array for each"
            )
        return [given] * len(children)

    def _one_of(self, given):
        if len(given) == 1:
            return next(iter(given.values())) if isinstance(given, dict) else given[0]
        raise ValueError(f"`{self.what}` has {len(given)} entries for one output of the model")


def _check_names(names, known, what):
    """Refuse names that are no outputs'."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"`{what}` names {unknown[0]!r}, which is no output of the model; its outputs are "
            f"{sorted(set(known))}"
        )


# Losses and metrics by what was given -------------------------------------------------------------
def _loss(given):
    """A loss object for a name, function, class or loss; None for None."""
    if given is None:
        return None
    found = losses.get(given)
    if isinstance(found, Loss):
        return found
    return LossFunctionWrapper(found, name=_name_of(found))


def _loss_name(given, loss):
    return given if isinstance(given, str) else loss.name


def _name_of(function):
    name = getattr(function, "__name__", None) or snake_case(type(function).__name__)
    return name.strip("<>")


def _metric(given, target, value):
    """A metric for a name, function, class or metric, for targets and outputs of these shapes."""
    if given is None:
        raise ValueError("`metrics` holds None where a metric is expected")
    if isinstance(given, str) and given.lower() in BY_SHAPE:
        return BY_SHAPE[given.lower()](target, value, name=given)
    found = metric_room.get(given)
    if isinstance(found, metric_room.Metric):
        if isinstance(given, str):
            found.name = given
        return found
    return metric_room.MeanMetricWrapper(found, name=_name_of(found))


BY_SHAPE = {
    "accuracy": metric_room.accuracy_for,
    "acc": metric_room.accuracy_for,
    "crossentropy": metric_room.crossentropy_for,
    "ce": metric_room.crossentropy_for,
}


def _make_variables(metric, target, value):
    """Let a metric whose variables depend on the data make them now, before a step is traced."""
    users = type(metric).__module__.partition(".")[0] != "oneiros"
    if getattr(metric, "_tallied", True) and not users:
        return
    try:
        with StatelessScope():
            infer(lambda y, x: metric.update_state(y, x), _symbols(target, value))
    except Exception:
        if not users:
            raise  # a user's metric may need real values; it is asked again with them


def _symbols(*values):
    from oneiros.core.spec import dtype_name
    from oneiros.core.symbol import Symbol

    return tuple(
        v if isinstance(v, Symbol) else Symbol(tuple(v.shape), dtype_name(v.dtype)) for v in values
    )


def _batch_size(value):
    return float(value.shape[0]) if len(value.shape) else 1.0


def _free(name, taken):
    """`name`, or `name_1`, `name_2` … if it is taken."""
    if name not in taken:
        return name
    n = 1
    while f"{name}_{n}" in taken:
        n += 1
    return f"{name}_{n}"
