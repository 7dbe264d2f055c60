"""PyTensor: steps are its functions, of kernels compiled by numba; eager values are NumPy's.

A graph becomes ops of PyTensor: scalar ops, which it fuses to loops (`pytensor_scalars.py`,
`pytensor_fusion.py`), kernels (`pytensor_kernels.py`, `pytensor_windows.py`), and control flow over
inner graphs (`pytensor_loops.py`). Of PyTensor's rewrites only fusion and work in place are asked
for: a graph arrives simplified. A linker (`pytensor_linker.py`) lays out memory and calls the
kernels one by one; each is compiled once and kept on disk between runs.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
from pathlib import Path

import numpy as np

from oneiros.backends.engine import Engine, plain
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import Graph, symbols
from oneiros.core.spec import Spec, spec_of
from oneiros.core.symbol import Symbol


@contextlib.contextmanager
def _cache_folder():
    """While PyTensor is imported: its folder is ours, unless the user says something else."""
    home = Path(os.environ.get("ONEIROS_HOME") or Path.home() / ".cache" / "oneiros")
    if "pytensor" in sys.modules or "PYTENSOR_FLAGS" in os.environ or "," in str(home):
        yield
        return
    os.environ["PYTENSOR_FLAGS"] = f"base_compiledir={home / 'pytensor'}"
    try:
        yield
    finally:
        del os.environ["PYTENSOR_FLAGS"]


with _cache_folder():
    import pytensor

from pytensor.compile.aliasing import Supervisor
from pytensor.compile.mode import Mode
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.rewriting.basic import SequentialGraphRewriter, dfs_rewriter
from pytensor.tensor.basic import constant
from pytensor.tensor.elemwise import Elemwise
from pytensor.tensor.rewriting import elemwise as rewriting

from oneiros.backends.pytensor_fusion import WrittenLoops
from oneiros.backends.pytensor_kernels import CODE, OVER, Kernel, dot, tensor_type
from oneiros.backends.pytensor_linker import Linker
from oneiros.backends.pytensor_loops import LOOPS, Control
from oneiros.backends.pytensor_scalars import ELEMENTWISE, Scalar, expression
from oneiros.backends.pytensor_windows import SCRATCH, WINDOWS

__all__ = ["BACKEND"]

NUMBERS = (bool, int, float)
DTYPES = {"bool", "float32", "float64"} | {f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64)}
FLOATING = {
    "convolution", "convolution_input_grad", "convolution_kernel_grad", "cholesky", "svd", "eigh",
    "lu", "solve", "triangular_solve", "inverse", "det", "slogdet",
}  # fmt: skip
ALIASES = {"reshape"}  # whose result shares memory with its operand


class PyTensor(Engine):
    """Steps are functions compiled by PyTensor."""

    def takes(self, call):
        name = call.target.name
        if call.target not in self.lowered:
            return False
        bodies = [v for v in call.kwargs.values() if isinstance(v, Graph)]
        if not all(self.takes(c) for body in bodies for c in simple(body).calls):
            return False
        specs = [spec_of(x) for x in call.args if type(x) not in NUMBERS]
        specs += [y.spec for y in call.outputs]
        if any(s.dtype not in DTYPES for s in specs):
            return False
        if name in FLOATING and specs[0].dtype not in ("float32", "float64"):
            return False
        if bodies or name in CODE or call.target is p.dot_general:
            return True
        own = _own_dtype(call)
        return expression(name, own, call.outputs[0].dtype) is not None

    def build(self, graph, donate=()):
        variables = [tensor_type(s)() for s in graph.inputs]
        lowering = Lowering(graph, variables)
        outputs = lowering.outputs()
        hidden = list(lowering.arrays)
        inputs = [pytensor.In(v, borrow=True, mutable=i in donate) for i, v in enumerate(variables)]
        inputs += [pytensor.In(v, borrow=True) for v in hidden]
        function = pytensor.function(
            inputs, outputs, mode=MODE, trust_input=True, accept_inplace=True,
            on_unused_input="ignore",
        )  # fmt: skip
        return runner(function, list(lowering.arrays.values()))


def runner(function, arrays):
    """A function of the inputs, which are made what the compiled code was made for."""
    compiled, lock = function.vm.jit_fn, threading.Lock()

    def run(*values):
        values = [x if x.flags.carray else np.array(x, order="C") for x in values]
        with lock:  # the memory of what is between is one
            return compiled(*values, *arrays)

    run.function = function
    return run


def simple(body):
    """An inner graph without calls that only name values: made once, and kept with it."""
    if "_plain" not in body.__dict__:
        body._plain = plain(body)
    return body._plain


def inner(body):
    """An inner graph as PyTensor's, rewritten; its nodes in order; and its constant arrays."""
    variables = [tensor_type(s)() for s in body.inputs]
    lowering = Lowering(simple(body), variables)
    outputs = lowering.outputs()
    fgraph = FunctionGraph([*variables, *lowering.arrays], outputs, clone=False)
    fgraph.attach_feature(Supervisor(fgraph.inputs))
    REWRITES.rewrite(fgraph)
    return (fgraph, fgraph.toposort()), list(lowering.arrays.values())


def _own_dtype(call):
    """The dtype of an elementwise call's operands; of a selection's, not of its condition."""
    for x in reversed(call.args):
        if type(x) not in NUMBERS:
            return spec_of(x).dtype
    return "float32"


class Lowering:
    """PyTensor's variables for the values of a graph.

    Args:
        graph: A graph whose calls are all taken.
        inputs: A variable for each of its inputs.
    """

    def __init__(self, graph, inputs):
        self.graph, self.arrays = graph, {}
        self.known = {id(s): v for s, v in zip(graph.inputs, inputs)}
        self.spread = {}  # id of a symbol that repeats another value: that one's variable
        self.uses, self.fresh = {}, set()
        for call in graph.calls:
            for s in symbols(call.args):
                self.uses[id(s)] = self.uses.get(id(s), 0) + 1
        for s in symbols(graph.outputs):
            self.uses[id(s)] = self.uses.get(id(s), 0) + 1

    def outputs(self):
        for call in self.graph.calls:
            made = self.lower(call)
            for s, v in zip(call.outputs, made):
                self.known[id(s)] = v
        return [self.result(y) for y in self.graph.outputs]

    def lower(self, call):
        name, target = call.target.name, call.target
        if target in ELEMENTWISE:
            return [self.elementwise(call)]
        if target is p.broadcast_to and self.spread_of(call):
            return [None]
        if target is p.dot_general:
            return [self.dot(call)]
        if name in LOOPS:
            return self.control(call)
        args = [self.variable(x) for x in call.args]
        outs = [y.spec for y in call.outputs]
        params = dict(call.kwargs)
        over = name in OVER and isinstance(call.args[0], Symbol) and self.is_last(call.args[0])
        if over:
            params["over_"] = True
        specs = [Spec(v.type.shape, v.type.dtype) for v in args]
        source = CODE[name](specs, outs, **params)
        whole = [*outs, *SCRATCH[name](specs, outs, **params)] if name in SCRATCH else outs
        op = Kernel(name, source, whole, ((0, 0),) if over else ())
        made = op(*args, return_list=True)[: len(outs)]
        if name not in ALIASES:
            self.fresh.update(id(y) for y in call.outputs)
        return made

    def control(self, call):
        """Loops and branches; constant arrays of their bodies are further operands."""
        params = dict(call.kwargs)
        bodies = [v for v in params.values() if isinstance(v, Graph)]
        params = {k: v for k, v in params.items() if not isinstance(v, Graph)}
        if "xs" in params:
            params["slices"] = params.pop("xs")
        made = [inner(b) for b in bodies]
        args = [self.variable(x) for x in call.args]
        args += [self.variable(x) for _, arrays in made for x in arrays]
        outs, extra = [y.spec for y in call.outputs], [arrays for _, arrays in made]
        self.fresh.update(id(y) for y in call.outputs)
        op = Control(call.target.name, [b for b, _ in made], params, outs, extra)
        return op(*args, return_list=True)

    def dot(self, call):
        """A product of matrices; operands are seen as such, turned or not, or copied."""
        (z,), (x, y) = call.outputs, map(self.variable, call.args)
        (cx, cy), (bx, by) = call.kwargs["contract"], call.kwargs["batch"]
        free_x, free_y = (
            [i for i in range(v.type.ndim) if i not in c and i not in b]
            for v, c, b in ((x, cx, bx), (y, cy, by))
        )
        ways = []
        for lead in (cx, cy):  # summed axes in the order of one operand or the other
            order = sorted(range(len(cx)), key=lambda k: lead[k])
            kx, ky = [cx[k] for k in order], [cy[k] for k in order]
            a, c = matrix_of(x, bx, free_x, kx), matrix_of(y, by, ky, free_y)
            ways.append(((a[0] is not None) + (c[0] is not None), a, c))
        _, a, c = min(ways, key=lambda way: way[0])
        operands = []
        for v, (order, shape, _) in ((x, a), (y, c)):
            if order is not None:
                whole = [v.type.shape[i] for i in order]
                v = self.kernel("transpose", [v], whole, order=order)
            operands.append(self.kernel("reshape", [v], shape))
        shape = tuple(operands[0].type.shape[:-2])
        rows = operands[0].type.shape[-1 if a[2] else -2]
        columns = operands[1].type.shape[-2 if c[2] else -1]
        inner = operands[0].type.shape[-2 if a[2] else -1]
        own, out = x.type.dtype, Spec((*shape, rows, columns), x.type.dtype)
        if not math.prod((*shape, rows, columns, inner)):
            return self.kernel("broadcast_to", [constant(np.zeros((), own))], z.shape)
        source = dot(own, bool(shape), (a[2], c[2]))
        made = Kernel("dot", source, [out])(*operands)
        self.fresh.add(id(z))
        return self.kernel("reshape", [made], z.shape)

    def is_last(self, s):
        """Whether a value is memory that nothing else reads."""
        return id(s) in self.fresh and self.uses[id(s)] == 1

    def spread_of(self, call):
        """Note what a broadcast repeats: elementwise consumers read that."""
        (x,), (y,) = call.args, call.outputs
        if not y.shape or math.prod(y.shape) == 0:
            return False
        base = self.spread.get(id(x)) if isinstance(x, Symbol) else None
        base = self.variable(x) if base is None else base
        self.spread[id(y)] = self.aligned(base, len(y.shape))
        return True

    def aligned(self, v, rank):
        """`v` with axes of length one in front."""
        shape = tuple(v.type.shape)
        if len(shape) == rank:
            return v
        return self.kernel("reshape", [v], (1,) * (rank - len(shape)) + shape)

    def kernel(self, name, args, shape, **params):
        """A primitive that gives one array of `shape`, in the operands' dtype."""
        shape = tuple(map(int, shape))
        if name == "reshape" and shape == args[0].type.shape:
            return args[0]
        out = Spec(shape, args[0].type.dtype)
        specs = [Spec(v.type.shape, v.type.dtype) for v in args]
        params = {"shape": shape} if name in ("reshape", "broadcast_to") else params
        return Kernel(name, CODE[name](specs, [out], **params), [out])(*args)

    def elementwise(self, call):
        (y,), own = call.outputs, _own_dtype(call)
        rank, args = len(y.shape), []
        for i, x in enumerate(call.args):
            dtype = "bool" if call.target is p.select and not i else own
            base = self.spread.get(id(x)) if isinstance(x, Symbol) else None
            if base is None:
                base = self.number(x, dtype, rank)
            if base is None:
                base = self.variable(x)
            args.append(self.aligned(base, rank))
        out = Elemwise(Scalar(call.target.name, own, y.dtype))(*args)
        self.fresh.add(id(y))
        shape = tuple(y.shape)
        if tuple(out.type.shape) != shape:  # all operands are repeated: so is the result
            self.spread[id(y)] = out
            return None
        return out

    def number(self, x, dtype, rank):
        """A constant of one element."""
        if type(x) in NUMBERS:
            x = np.asarray(x, np_dtype(dtype))
        if isinstance(x, (np.ndarray, np.generic)) and x.size == 1:
            return constant(np.reshape(np.asarray(x), (1,) * rank))
        return None

    def variable(self, x):
        """The variable of an argument; a constant array is a hidden input of the function."""
        if isinstance(x, Symbol):
            found = self.known[id(x)]
            if found is None:
                found = self.known[id(x)] = self.kernel(
                    "broadcast_to", [self.spread[id(x)]], tuple(x.shape)
                )
                self.fresh.add(id(x))
            return found
        x = np.array(x, order="C")
        if x.size == 1:
            return constant(x)
        found = tensor_type(spec_of(x))()
        self.arrays[found] = x
        return found

    def result(self, y):
        """An output: constants are copied."""
        v = self.variable(y)
        if isinstance(y, Symbol):
            return v
        return self.kernel("copy", [v], v.type.shape)


def matrix_of(v, batch, rows, columns):
    """How `v` is a stack of matrices: the order to copy its axes in or None, shape, if turned."""
    shape = v.type.shape
    size = lambda axes: math.prod(shape[i] for i in axes)
    stack = (size(batch),) if size(batch) != 1 else ()
    long = lambda *axes: [i for i in (*batch, *axes) if shape[i] != 1]
    natural = [i for i, n in enumerate(shape) if n != 1]
    if long(*rows, *columns) != natural and long(*columns, *rows) == natural:
        return None, (*stack, size(columns), size(rows)), True
    order = (*batch, *rows, *columns)
    plain = long(*rows, *columns) == natural
    return None if plain else order, (*stack, size(rows), size(columns)), False


CODE |= WINDOWS


# What PyTensor does with a graph ---------------------------------------------
REWRITES = SequentialGraphRewriter(
    rewriting.FusionOptimizer(),
    dfs_rewriter(rewriting.local_useless_composite_outputs),
    dfs_rewriter(rewriting.local_inline_composite_constants, ignore_newtrees=True),
    rewriting.InplaceElemwiseOptimizer(),
    WrittenLoops(),
)
MODE = Mode(Linker(), REWRITES)
LOWERED = {t: t.name for t in (*ELEMENTWISE, *(getattr(p, n) for n in CODE if hasattr(p, n)))}
LOWERED |= {t: t.name for t in (p.dot_general, *(getattr(p, n) for n in LOOPS))}
BACKEND = PyTensor("pytensor", LOWERED)
