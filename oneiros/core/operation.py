"""Operations: the nodes of functional models. A layer is one; a call of an op is wrapped as one."""

from __future__ import annotations

from oneiros.core import tree
from oneiros.core.configurable import Configurable
from oneiros.core.naming import auto_name
from oneiros.core.symbol import Symbol

__all__ = ["Node", "Operation", "operation_of"]


class Node:
    """One call of an operation in a functional graph, in the shape that tools for Keras look for."""

    def __init__(self, operation, call):
        self.operation, self.call = operation, call

    @property
    def arguments(self):
        return self.call

    @property
    def input_tensors(self):
        return [
            x for x in tree.flatten((self.call.args, self.call.kwargs)) if isinstance(x, Symbol)
        ]

    @property
    def output_tensors(self):
        return list(self.call.outputs)

    outputs = output_tensors

    @property
    def parent_nodes(self):
        return [node_of(x) for x in self.input_tensors if x.call is not None]

    @property
    def is_input(self):
        return not self.input_tensors


def node_of(x):
    """The node that made the symbol `x`."""
    return operation_of(x.call)._inbound_nodes[index_of(x.call)]


def index_of(call):
    """Which call of its operation this is."""
    operation = operation_of(call)
    return next(i for i, c in enumerate(operation._calls) if c is call)


class Operation(Configurable):
    """Something that maps arrays to arrays and can stand in a functional model.

    Args:
        name: Its name; made up if None.
    """

    shared = {"name": None}

    def __new__(cls, *args, **kwargs):
        self = object.__new__(cls)
        object.__setattr__(self, "_calls", [])
        return self

    def adopt(self, name=None):
        self.name = name or auto_name(type(self).__name__)

    def __call__(self, *args, **kwargs):
        from oneiros.core.graph import STACK
        from oneiros.core.op import _has_symbol, record_call

        if STACK.top is None and (_has_symbol(args) or _has_symbol(kwargs)):
            result = record_call(self, args, kwargs, self.call)
            first = next(x for x in tree.flatten(result) if isinstance(x, Symbol))
            self._calls.append(first.call)
            return result
        return self.call(*args, **kwargs)

    def call(self, *args, **kwargs):
        """What the operation computes."""
        raise NotImplementedError(f"{type(self).__name__} must define `call`")

    def symbolic_call(self, *args, **kwargs):
        return self(*args, **kwargs)

    def compute_output_spec(self, *args, **kwargs):
        """Symbols with the shapes and dtypes of what `call` gives for these."""
        from oneiros.core.op import infer
        from oneiros.core.spec import Spec

        specs = infer(self.call, args, kwargs)
        return tree.map_structure(
            lambda s: Symbol(s.shape, s.dtype) if isinstance(s, Spec) else s, specs
        )

    @property
    def _inbound_nodes(self):
        return [Node(self, c) for c in self._calls]

    @property
    def input(self):
        """The symbolic input of its first call."""
        call = self._first_call()
        return _only([x for x in tree.flatten((call.args, call.kwargs)) if isinstance(x, Symbol)])

    @property
    def output(self):
        """The symbolic output of its first call."""
        return _only(list(self._first_call().outputs))

    def _first_call(self):
        if not self._calls:
            raise AttributeError(
                f"{type(self).__name__} '{self.name}' was never called on a symbolic input, so it has no "
                "input and output"
            )
        return self._calls[0]


def _only(values):
    return values[0] if len(values) == 1 else values


class FunctionOperation(Operation):
    """A call of an op, as a node: its name is made when a model first needs it."""

    def __init__(self, call):
        self.function = call.target
        self._calls.append(call)
        self.name = auto_name(call.target.name)

    def call(self, *args, **kwargs):
        return self.function(*args, **kwargs)

    def get_config(self):
        return {"name": self.name}


def operation_of(call):
    """The operation that made a call: the layer itself, or a wrapper around a call of an op."""
    if isinstance(call.target, Operation):
        return call.target
    wrapper = call.__dict__.get("operation")
    if wrapper is None:
        wrapper = call.operation = FunctionOperation(call)
    return wrapper
