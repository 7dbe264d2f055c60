"""A function made of recorded calls: the graph between symbols, run again on other values.

Functional models, sequential models and `Function` share it: it orders the calls, replays them, and
writes and
reads the config that files hold.
"""

from __future__ import annotations

from oneiros.core import tree
from oneiros.core.operation import Operation, operation_of
from oneiros.core.symbol import Symbol

__all__ = ["Function", "clone_graph"]


class Function(Operation):
    """The computation from `inputs` to `outputs`, trees of symbols.

    >>> import numpy as np
    >>> import oneiros
    >>> x = oneiros.KerasTensor((None, 2))
    >>> f = oneiros.Function(x, x * 2 + 1)
    >>> f(np.ones((1, 2), "float32")).tolist()
    [[3.0, 3.0]]
    """

    def __init__(self, inputs, outputs, name=None):
        self.adopt(name)
        self._inputs_struct = inputs
        self._outputs_struct = outputs
        self._inputs = tree.flatten(inputs)
        self._outputs = tree.flatten(outputs)
        for label, values in (("inputs", self._inputs), ("outputs", self._outputs)):
            if not values:
                raise ValueError(f"`{label}` cannot be empty. Received: {label}={values}")
            for x in values:
                if not isinstance(x, Symbol):
                    raise ValueError(
                        f"{label} must be symbols (KerasTensor), such as `Input(...)` and what layers give for it; "
                        f"got {x!r}"
                    )
        self.fits = {}  # types of lone inputs to the signatures that are right as they are
        self.calls, self.operation_calls = _ordered(self._inputs, self._outputs)
        self._plan = [_Step(c) for c in self.calls]

    @property
    def inputs(self):
        return self._inputs

    @property
    def outputs(self):
        return self._outputs

    @property
    def operations(self):
        """The operations in order of depth, each once."""
        return self.operation_calls

    @property
    def input(self):
        return self._inputs_struct

    @property
    def output(self):
        return self._outputs_struct

    def call(self, inputs):
        return self.run(tree.flatten(inputs))

    def run(self, values, call=None):
        """The outputs for flat input values; `call(node, args, kwargs)` may stand in for calls with
        more than an array.
        """
        known = dict(zip(map(id, self._inputs), values))
        for step in self._plan:
            if step.plain:
                made = step.target(known[step.key])
            else:
                args, kwargs = step.arguments(known)
                made = (
                    step.target(*args, **kwargs) if call is None else call(step.call, args, kwargs)
                )
            step.keep(made, known)
        struct = self._outputs_struct
        if type(struct) is Symbol:
            return known[id(struct)]
        return tree.map_structure(lambda s: known[id(s)], struct)

    def compute_output_shape(self, input_shape):
        from oneiros.layers.base import _symbols_of_shape

        made = self.compute_output_spec(_symbols_of_shape(input_shape, "float32"))
        return tree.map_structure(lambda s: s.shape, made)


class _Step:
    """One call of the plan, ready to be replayed."""

    __slots__ = ("call", "key", "plain", "single", "target")

    def __init__(self, call):
        self.call, self.target = call, call.target
        self.single = len(call.outputs) == 1 and call.__dict__.get("flat", True)
        self.plain = len(call.args) == 1 and isinstance(call.args[0], Symbol) and not call.kwargs
        self.key = id(call.args[0]) if self.plain else None

    def arguments(self, known):
        if self.plain:
            return (known[self.key],), {}
        args, kwargs = self.call.args, self.call.kwargs
        return _replaced(args, known), (
            {k: _replaced(v, known) for k, v in kwargs.items()} if kwargs else {}
        )

    def keep(self, made, known):
        outputs = self.call.outputs
        if len(outputs) == 1 and not isinstance(made, (tuple, list, dict)):
            known[id(outputs[0])] = made
            return
        for s, v in zip(outputs, tree.flatten(made)):
            known[id(s)] = v


def _replaced(x, known):
    if isinstance(x, Symbol):
        return known.get(id(x), x)
    if type(x) in (list, tuple):
        return type(x)([_replaced(v, known) for v in x])
    if type(x) is dict:
        return {k: _replaced(v, known) for k, v in x.items()}
    if isinstance(x, (list, tuple, dict)):
        return tree.map_structure(lambda v: known.get(id(v), v), x)
    return x


def _parents(call):
    return [x for x in tree.flatten((call.args, call.kwargs)) if isinstance(x, Symbol)]


def _ordered(inputs, outputs):
    """The calls in an order in which they can run, and their operations from the inputs to the
    outputs.

    Operations stand by their depth, which is the longest way to an output, and by the order in
    which a walk
    from the outputs meets them where that is equal.
    """
    first_seen, finished, state = {}, [], {}
    given = {id(x) for x in inputs}
    for root in outputs:
        stack = [(root, iter(()))] if root.call is None else [(root, None)]
        while stack:
            x, parents = stack[-1]
            call = x.call
            if call is None or state.get(id(call)) == "done":
                stack.pop()
                if call is None and id(x) not in given:
                    raise ValueError(
                        f"the outputs depend on {x!r}, which is not among the inputs: {list(inputs)}"
                    )
                continue
            if parents is None:
                operation = operation_of(call)
                if getattr(operation, "is_input", False) and id(x) not in given:
                    raise ValueError(
                        f"the outputs depend on {x!r}, which is not among the inputs: {list(inputs)}"
                    )
                first_seen.setdefault(id(operation), (len(first_seen), operation))
                state[id(call)] = "open"
                parents = iter(
                    () if id(x) in given or _is_input_of(call, given) else _parents(call)
                )
                stack[-1] = (x, parents)
            following = next(parents, None)
            if following is not None:
                if following.call is not None and state.get(id(following.call)) == "open":
                    raise ValueError(f"the graph of the model has a cycle at {following!r}")
                if state.get(following.call and id(following.call)) != "done":
                    stack.append((following, None))
                continue
            state[id(call)] = "done"
            finished.append(call)
            stack.pop()
    depth, op_depth = {}, {}
    for call in reversed(finished):
        operation = operation_of(call)
        mine = max(depth.get(id(call), 0), op_depth.get(id(operation), 0))
        depth[id(call)] = op_depth[id(operation)] = mine
        if not _is_input_of(call, given):
            for x in _parents(call):
                if x.call is not None:
                    depth[id(x.call)] = max(mine + 1, depth.get(id(x.call), 0))
    for x in inputs:
        if x.call is not None:
            operation = operation_of(x.call)
            if id(operation) not in op_depth:
                op_depth[id(operation)] = 0
                first_seen[id(operation)] = (-1, operation)
    rows = sorted(first_seen.values(), key=lambda row: (-op_depth[id(row[1])], row[0]))
    runnable = [c for c in finished if not _is_input_of(c, given)]
    return runnable, [operation for _, operation in rows]


def _is_input_of(call, given):
    """Whether a call's outputs are given, so that it is not run."""
    return any(id(s) in given for s in call.outputs)


# Config -------------------------------------------------------------------------------------------
def graph_config(function):
    """The layers and ops with their calls, as files hold them."""
    from oneiros.core.registry import serialize_keras_object

    used = {id(c) for c in function.calls} | {id(x.call) for x in function.inputs}
    kept = {}  # call -> (operation name, index among the kept calls of its operation)
    for operation in function.operations:
        for call in _calls_of(operation):
            if id(call) in used:
                rows = kept.setdefault(id(operation), [])
                kept[id(call)] = (operation.name, len(rows))
                rows.append(call)

    def tensor(x):
        name, index = kept[id(x.call)]
        return {
            "class_name": "__keras_tensor__",
            "config": {
                "shape": list(x.shape),
                "dtype": x.dtype,
                "keras_history": [name, index, x.index],
            },
        }

    def argument(v):
        if isinstance(v, Symbol):
            return tensor(v)
        if isinstance(v, dict):
            return {k: argument(w) for k, w in v.items()}
        if isinstance(v, (list, tuple)) and any(isinstance(w, Symbol) for w in tree.flatten(v)):
            made = [argument(w) for w in v]
            return made if isinstance(v, list) else tuple(made)
        return serialize_keras_object(v)

    rows = []
    for operation in function.operations:
        config = operation_config(operation)
        config["name"] = operation.name
        nodes = []
        for call in kept.get(id(operation), ()):
            if id(call) in {id(x.call) for x in function.inputs}:
                continue
            args, kwargs = call_arguments(operation, call)
            nodes.append(
                {
                    "args": [argument(a) for a in args],
                    "kwargs": {k: argument(v) for k, v in kwargs.items()},
                }
            )
        config["inbound_nodes"] = nodes
        rows.append(config)

    def places(struct):
        made = tree.map_structure(lambda x: [*kept[id(x.call)], x.index], struct)
        return made

    return {
        "layers": rows,
        "input_layers": places(function._inputs_struct),
        "output_layers": places(function._outputs_struct),
    }


def _calls_of(operation):
    return operation._calls


def operation_config(operation):
    """The serialized layer, or the serialized op with the arguments that are not arrays."""
    from oneiros.core.operation import FunctionOperation
    from oneiros.core.registry import serialize_keras_object

    if not isinstance(operation, FunctionOperation):
        return serialize_keras_object(operation)
    from oneiros.models.op_names import class_name_of, module_of, split_arguments

    call = operation._calls[0]
    _, static = split_arguments(call)
    name = class_name_of(call.target)
    return {
        "module": module_of(call.target),
        "class_name": name,
        "config": {
            "name": operation.name,
            **{k: serialize_keras_object(v) for k, v in static.items()},
        },
        "registered_name": name,
    }


def call_arguments(operation, call):
    from oneiros.core.operation import FunctionOperation

    if isinstance(operation, FunctionOperation):
        from oneiros.models.op_names import named_by, split_arguments

        arrays, _ = split_arguments(call)
        return list(arrays.values()), {k: v for d in named_by(call).values() for k, v in d.items()}
    return call.args, call.kwargs


def clone_graph(function, make, inputs=None):
    """The same graph again, with `make(operation)` in the place of each operation.

    Returns:
        The new inputs and outputs, in the old structure.
    """
    made, known = {}, {}
    replacements = tree.flatten(inputs) if inputs is not None else None
    for i, x in enumerate(function.inputs):
        if replacements is not None:
            known[id(x)] = replacements[i]
        else:
            layer = make(operation_of(x.call)) if x.call is not None else None
            known[id(x)] = (
                layer.output if layer is not None else Symbol(x.shape, x.dtype, name=x.name)
            )
    for step in function._plan:
        operation = operation_of(step.call)
        if id(operation) not in made:
            made[id(operation)] = make(operation)
        args, kwargs = step.arguments(known)
        step.keep(made[id(operation)](*args, **kwargs), known)
    news = tree.map_structure(lambda s: known[id(s)], function._inputs_struct)
    return news, tree.map_structure(lambda s: known[id(s)], function._outputs_struct)
