"""A graph as straight-line PyTorch: no autograd, dead values overwritten, the state changed in place.

Scalars are worked out in Python where tensors are on the CPU; small patterns (a product and a bias,
relu, a blend of two arrays) become one call each; Adam's updates of all weights become one call.
What a backend differentiates by itself (an island) keeps a tape between its call and its slope.
"""

from __future__ import annotations

import collections
import functools
import math
import operator

import numpy as np
import torch

from oneiros.backends import torch_windows as windows
from oneiros.core import primitives as p
from oneiros.core.graph import Graph, symbols
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Call, Symbol

__all__ = ["plan"]

NUMBERS = (bool, int, float, complex)
USUAL = {"float32", "float64", "int32", "int64", "bool", "complex64", "complex128"}
ANY = slice(None)


# Scalars in Python ---------------------------------------------
def _quiet(f):
    def scalar(*xs):
        try:
            return f(*xs)
        except (ValueError, OverflowError, ZeroDivisionError):
            return float(ON_ARRAYS[scalar](*map(np.float64, xs)))

    return scalar


ON_ARRAYS, SCALARS = {}, {
    p.add: operator.add, p.subtract: operator.sub, p.multiply: operator.mul,
    p.negative: operator.neg, p.equal: operator.eq, p.not_equal: operator.ne,
    p.less: operator.lt, p.less_equal: operator.le, p.greater: operator.gt,
    p.greater_equal: operator.ge, p.select: lambda c, x, y: x if c else y,
    p.logical_and: lambda x, y: x and y, p.logical_or: lambda x, y: x or y,
    p.logical_not: operator.not_, p.abs: abs, p.stop_gradient: lambda x: x,
    p.maximum: lambda x, y: x if x >= y or x != x else y,
    p.minimum: lambda x, y: x if x <= y or x != x else y,
}  # fmt: skip
for _q, _f, _g in (
    (p.divide, operator.truediv, np.divide), (p.power, operator.pow, np.power),
    (p.sqrt, math.sqrt, np.sqrt), (p.exp, math.exp, np.exp), (p.log, math.log, np.log),
    (p.cos, math.cos, np.cos), (p.floor, lambda x: float(math.floor(x)), np.floor),
    (p.rsqrt, lambda x: 1 / math.sqrt(x), lambda x: 1 / np.sqrt(x)),
    (p.remainder, operator.mod, np.remainder), (p.floor_divide, operator.floordiv, np.floor_divide),
):  # fmt: skip
    SCALARS[_q] = _quiet(_f)
    ON_ARRAYS[SCALARS[_q]] = _g


def _cast_scalar(x, dtype):
    if dtype == "bool":
        return bool(x)
    if "int" in dtype:
        return int(x) if math.isfinite(x) else 0
    return float(x)


def put(x, value):
    """The 0-d tensor `x`, now holding a number."""
    try:
        return x.fill_(value)
    except RuntimeError:  # too large for the dtype
        return x.fill_(math.copysign(math.inf, value))


# Elementwise calls that can write into an array: PyTorch's names ---------------------------------
OUT = {
    p.add: "add", p.subtract: "sub", p.multiply: "mul", p.divide: "div", p.negative: "neg",
    **{getattr(p, n): n for n in (
        "exp expm1 log log1p sqrt rsqrt sin cos tanh sigmoid erf abs maximum minimum floor"
    ).split()},
}  # fmt: skip
WITH_NUMBER = {
    "maximum": "clamp_min",
    "minimum": "clamp_max",
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "div": "div",
}
VIEWS = {p.reshape, p.transpose, p.slice, p.broadcast_to, p.stop_gradient, p.barrier, p.cast}
COMMUTES = {p.add, p.multiply, p.maximum, p.minimum}
BACK = torch.ops.aten.threshold_backward


class _Value:
    """Where a value is: the source of an expression, and the root whose memory it shares."""

    def __init__(self, source, root=None, number=False, writable=False):
        self.source, self.number, self.writable = source, number, writable
        self.root = root or self
        self.lives, self.pinned = 0, False  # of a root: how many share it, and whether views may


def plan(graph, kernel, islands, donate=(), host=True, inner=False, moves=False):
    """A function of the graph's inputs that returns the list of its outputs.

    Output k goes into the input at position `donate[k]`, and is that tensor.

    Args:
        kernel: Target to callable.
        islands: Name of an op to its forward and backward functions.
        host: Whether scalars are worked out in Python.
        inner: Whether it is the body of a loop or branch: what it returns may be what it was given.
        moves: Whether PyTorch differentiates it: nothing is overwritten.
    """
    pairs = [
        (spec_of(graph.outputs[k]), graph.inputs[i].spec)
        for k, i in enumerate(donate[: len(graph.outputs)])
    ]
    if len(pairs) < len(donate) or any(a != b for a, b in pairs):
        donate = ()  # it is not the state of a step, whose outputs begin with the new one
    return _Plan(graph, kernel, islands, donate, host, inner, moves).function()


class _Plan:
    def __init__(self, graph, kernel, islands, donate, host, inner, moves):
        self.graph, self.kernel, self.islands = graph, kernel, islands
        self.host, self.inner, self.name = host, inner, "body" if inner else "step"
        self.moves = moves
        self.scope, self.lines, self.count, self.bound = {"torch": torch}, [], 0, {}
        self.values, self.slots, self.tapes = {}, {}, {}
        self.named, self.taped = collections.Counter(), False  # whether PyTorch keeps tapes
        self.calls = Rewriter(graph, host).calls
        self.last = {id(s): -1 for s in graph.inputs}
        self.slopes = {
            id(c.kwargs["of"]): c for c in self.calls if type(c.target).__name__ == "Slope"
        }
        for i, call in enumerate(self.calls):
            self.last.update((id(s), i) for s in call.outputs)
            self.last.update((id(s), i) for s in symbols(call.args))
        for s in symbols(graph.outputs):
            self.last[id(s)] = len(self.calls)
        for i, s in enumerate(graph.inputs):
            self.define(s, _Value(f"x{i}"))
        own = {id(s) for s in graph.inputs}
        self.taken = {}  # the id of an output to the donated input that it goes to
        for k, i in enumerate(donate):
            y = graph.outputs[k]
            if isinstance(y, Symbol) and id(y) not in own and id(y) not in self.taken:
                self.taken[id(y)] = graph.inputs[i]
        self.donate = donate

    def function(self):
        for i, call in enumerate(self.calls):
            self.now = i
            dying = {
                id(s): s
                for s in (*symbols(call.args), *call.outputs)
                if self.last[id(s)] == self.now
            }
            self.dying = dying
            self.emit(call)
            gone = []
            for s in dying.values():
                v = self.values[id(s)]
                v.root.lives -= 1
                self.named[v.source] -= 1
                if not self.named[v.source] and v.source[0] == "v":
                    gone.append(v.source)
            if gone:
                self.lines.append("del " + ", ".join(gone))
        self.finish()
        inputs = ", ".join(f"x{i}" for i in range(len(self.graph.inputs)))
        text = f"def {self.name}({inputs}):\n    " + "\n    ".join(self.lines) + "\n"
        exec(compile(text, f"<{self.name}>", "exec"), self.scope)  # our own text, of our own names
        made = self.scope[self.name]
        made.taped = self.taped
        made.source, made.specs = text, [spec_of(y) for y in self.graph.outputs]
        return made

    def finish(self):
        """Put what is not in its place yet there, and return the outputs."""
        outputs, later = [], []
        inputs = {id(self.values[id(s)]) for s in self.graph.inputs}
        seen = set()
        for k, y in enumerate(self.graph.outputs):
            v = self.values[id(y)] if isinstance(y, Symbol) else None
            if k < len(self.donate):
                target = f"x{self.donate[k]}"
                if v is None:
                    later.append(f"{target}.copy_({self.constant(y)})")
                elif v.number:
                    later.append(f"{self.bind(put)}({target}, {v.source})")
                elif v.source != target:
                    if id(v.root) in inputs:  # it may be overwritten before it is read
                        self.lines.append(f"c{k} = {v.source}.clone()")
                        v = _Value(f"c{k}")
                    later.append(f"{target}.copy_({v.source})")
                outputs.append(target)
            elif v is None:
                outputs.append(f"{self.constant(y)}.clone()")
            elif v.number:
                outputs.append(self.tensor(y))
            else:
                fresh = (
                    self.inner or v.writable and id(v.root) not in inputs and id(v.root) not in seen
                )
                seen.add(id(v.root))
                outputs.append(v.source if fresh else f"{v.source}.clone()")
        extras = outputs[len(self.donate) :]
        if later and extras:
            self.lines += [f"r{i} = {y}" for i, y in enumerate(extras)]
            outputs[len(self.donate) :] = [f"r{i}" for i in range(len(extras))]
        self.lines += later
        self.lines.append(f"return [{', '.join(outputs)}]")

    # Names ---------------------------------------------
    def bind(self, x):
        key = id(x)
        if key not in self.bound:
            self.bound[key] = f"k{len(self.bound)}", x
            self.scope[self.bound[key][0]] = x
        return self.bound[key][0]

    def fresh(self):
        self.count += 1
        return f"v{self.count}"

    def define(self, s, value):
        self.values[id(s)] = value
        value.root.lives += 1
        self.named[value.source] += 1

    def constant(self, x):
        from oneiros.backends.torch import tensor

        return self.bind(x if isinstance(x, torch.Tensor) else tensor(np.array(x)))

    def tensor(self, x):
        """The source of an operand as a tensor."""
        if not isinstance(x, Symbol):
            return self.constant(x)
        v = self.values[id(x)]
        if not v.number:
            return v.source
        return f"torch.tensor({v.source}, dtype=torch.{x.dtype})"

    def number(self, x):
        """The source of a 0-d operand as a number; None if it is none."""
        if type(x) in NUMBERS:
            return f"({x!r})" if math.isfinite(x) else self.bind(x)
        if isinstance(x, Symbol):
            if x.shape != () or not self.host or x.dtype not in USUAL or "complex" in x.dtype:
                return None
            v = self.values[id(x)]
            return v.source if v.number else f"{v.source}.item()"
        if isinstance(x, (np.ndarray, np.generic)) and x.shape == () and x.dtype.name in USUAL:
            return self.number(x.item())
        return None

    def source(self, x):
        """The source of any argument or parameter."""
        if isinstance(x, (Symbol, np.ndarray, np.generic, torch.Tensor)):
            return self.tensor(x)
        if type(x) in (tuple, list):
            inner = "".join(f"{self.source(v)}, " for v in x)
            return f"({inner})" if type(x) is tuple else f"[{inner}]"
        if x is None or type(x) in (bool, int, str):
            return repr(x)
        if isinstance(x, Graph):
            x = plan(x, self.kernel, self.islands, (), self.host, True, self.moves)
        return self.bind(x)

    def is_free(self, x, y):
        """Whether the memory of the operand `x`, which dies here, can be that of `y`."""
        v = self.values[id(x)]
        return (
            not self.moves and v.writable and v.root.lives == 1 and id(x) in self.dying and not v.number
            and not v.root.pinned and tuple(x.shape) == tuple(y.shape) and x.dtype == y.dtype
        )  # fmt: skip

    def slot(self, y):
        """The donated input that `y` goes to, if nobody reads that any more."""
        x = self.taken.get(id(y))
        if x is None or x.dtype != y.dtype or tuple(x.shape) != tuple(y.shape):
            return None
        v = self.values[id(x)]
        if v.root.pinned or self.last[id(x)] > self.now:
            return None
        same = [s for s in self.dying.values() if id(s) in self.values and s is not y]
        same = [s for s in same if self.values[id(s)].root is v]
        if any(self.values[id(s)].source != v.source for s in same):
            return None  # it is read in another order while it is written
        return v.source if v.lives <= len(same) + (self.last[id(x)] < 0) else None

    # Calls ---------------------------------------------
    def emit(self, call):
        target = call.target
        if (
            isinstance(target, type(p.add))
            and next(symbols(call.args), None) is None
            and self.fold(call)
        ):
            return None
        rule = RULES.get(target if isinstance(target, (str, type(p.add))) else target.name)
        if type(target).__name__ == "Slope":
            return self.slope(call)
        if rule is not None and rule(self, call) is not NotImplemented:
            return None
        if target in OUT and self.usual(call):
            if self.scalar(call) or self.elementwise(call):
                return None
        elif target in SCALARS and self.scalar(call):
            return None
        return self.plain(call)

    def fold(self, call):
        """What depends on no input is computed once."""
        if (
            call.target in NOISE
            or call.target in LOOPS
            or any(s.size > 1 << 20 for s in call.outputs)
        ):
            return False
        args = [
            self.scope[self.constant(x)] if isinstance(x, (np.ndarray, np.generic)) else x
            for x in call.args
        ]
        made = self.kernel(call.target, self.usual(call))(*args, **call.kwargs)
        for y, v in zip(call.outputs, (made,) if call.single else made):
            self.define(y, _Value(self.bind(v)))
        return True

    def usual(self, call):
        return all(s.dtype in USUAL for s in (*symbols(call.args), *call.outputs))

    def scalar(self, call):
        """A call on numbers, in Python."""
        (y,) = call.outputs
        if (
            call.target not in SCALARS
            or y.shape != ()
            or not self.host
            or not self.usual(call)
            or "complex" in y.dtype
        ):
            return False
        numbers = [self.number(x) for x in call.args]
        if None in numbers:
            return False
        name = self.fresh()
        operators = {p.add: "+", p.subtract: "-", p.multiply: "*"}
        if call.target in operators:
            text = f"{numbers[0]} {operators[call.target]} {numbers[1]}"
        else:
            text = f"{self.bind(SCALARS[call.target])}({', '.join(numbers)})"
        self.lines.append(f"{name} = {text}")
        self.define(y, _Value(name, number=True))
        return True

    def elementwise(self, call):
        """A call that may write over a dying operand or into the state."""
        (y,), args, name = call.outputs, list(call.args), OUT[call.target]
        if len(args) == 2:
            sources = [self.number(x) for x in args]
            if sources[0] is not None:
                if call.target not in COMMUTES:
                    sign = {p.subtract: "-", p.divide: "/"}[call.target]
                    self.result(y, f"{sources[0]} {sign} {self.tensor(args[1])}")
                    return True
                args, sources = args[::-1], sources[::-1]
            if sources[1] is not None:
                name = WITH_NUMBER[name]
            sources = [self.tensor(args[0]), sources[1] or self.tensor(args[1])]
        else:
            sources = [self.tensor(args[0])]
        self.written(y, args, name, sources)
        return True

    def written(self, y, args, name, sources, more=""):
        """Emit `torch.name(sources)`, in place where that can be."""
        place = self.slot(y)
        free = [x for x in args if isinstance(x, Symbol) and self.is_free(x, y)]
        if place is not None and sources[0] == place and name not in ("maximum", "minimum"):
            self.lines.append(f"{place}.{name}_({', '.join(sources[1:])}{more})")
        elif place is not None:
            self.lines.append(f"torch.{name}({', '.join(sources)}{more}, out={place})")
        elif free and free[0] is args[0] and name not in ("maximum", "minimum"):
            made = self.fresh()
            self.lines.append(f"{made} = {sources[0]}.{name}_({', '.join(sources[1:])}{more})")
            return self.define(y, _Value(made, self.values[id(free[0])].root, writable=True))
        elif free:
            made = self.fresh()
            over = self.values[id(free[0])]
            self.lines.append(
                f"{made} = torch.{name}({', '.join(sources)}{more}, out={over.source})"
            )
            return self.define(y, _Value(made, over.root, writable=True))
        else:
            return self.result(y, f"torch.{name}({', '.join(sources)}{more})")
        root = self.values[id(self.taken[id(y)])]
        return self.define(y, _Value(place, root))

    def result(self, y, text, writable=True, root=None):
        """A new value: memory of its own, or (`root`) a view of another's."""
        made = self.fresh()
        self.lines.append(f"{made} = {text}")
        self.define(y, _Value(made, root, writable=writable))

    def plain(self, call):
        """Any call, by its kernel; its results may share memory with its operands."""
        args = [self.source(a) for a in call.args]
        args += [f"{k}={self.source(v)}" for k, v in call.kwargs.items()]
        names = [self.fresh() for _ in call.outputs]
        left = names[0] if call.single else ", ".join(names) + ","
        slope = self.slopes.get(id(call))
        if slope is None:
            kernel = self.bind(self.kernel(call.target, self.usual(call)))
            self.lines.append(f"{left} = {kernel}({', '.join(args)})")
        else:
            forward, tape = self.islands[call.target.name][0], f"t{len(self.tapes)}"
            self.tapes[id(call)] = tape
            if getattr(forward, "taped", False):
                self.taped, at = True, self.calls.index(slope)
                args.append(f"needs={tuple(self.last[id(s)] > at for s in slope.outputs)}")
            inner = left if call.single else f"({left})"
            self.lines.append(f"{inner}, {tape} = {self.bind(forward)}({', '.join(args)})")
            for s in symbols(call.args):
                self.values[id(s)].root.lives += 1  # the tape's
        owned = call.target in OWNED
        if not owned and slope is None:
            self.pin(call.args)
        for s, n in zip(call.outputs, names):
            self.define(s, _Value(n, writable=owned and slope is None))

    def pin(self, args):
        """Never write over these: views of them, or a tape, may be there."""
        for s in symbols(args):
            self.values[id(s)].root.pinned = True

    # Islands ---------------------------------------------
    def slope(self, call):
        of, count = call.kwargs["of"], call.kwargs["count"]
        backward, tape = self.bind(self.islands[of.target.name][1]), self.tapes[id(of)]
        g = ["None" if x is None else self.tensor(x) for x in call.args[:count]]
        made = [self.fresh() for _ in call.outputs]
        self.lines.append(f"{', '.join(made)}, = {backward}({tape}, {', '.join(g)})")
        self.lines.append(f"del {tape}")
        for s in symbols(of.args):
            self.values[id(s)].root.lives -= 1
        for s, n in zip(call.outputs, made):
            self.define(s, _Value(n))

    # Rules ---------------------------------------------
    def view(self, call):
        (y,), x = call.outputs, call.args[0]
        if not isinstance(x, Symbol) or self.moves and call.target is p.stop_gradient:
            return NotImplemented
        v, target = self.values[id(x)], call.target
        if v.number:
            if target is p.stop_gradient:
                return self.define(y, v)
            if target is p.broadcast_to or target is p.reshape:
                return self.result(
                    y, f"torch.full({tuple(y.shape)}, {v.source}, dtype=torch.{y.dtype})"
                )
            return NotImplemented
        if target is p.stop_gradient or tuple(x.shape) == tuple(y.shape) and target is p.reshape:
            return self.define(y, _Value(v.source, v.root, writable=v.writable))
        if target is p.reshape:
            text, writable = f"{v.source}.reshape({tuple(y.shape)})", v.writable
        elif target is p.broadcast_to:
            text, writable = f"{v.source}.expand({tuple(y.shape)})", False
        elif target is p.transpose:
            order = call.kwargs["order"]
            text = f"{v.source}.t()" if order == (1, 0) else f"{v.source}.permute({order})"
            writable = False
        else:
            at = zip(call.kwargs["start"], call.kwargs["stop"], call.kwargs["strides"], x.shape)
            at = [(i, a, b) for i, (a, b, s, n) in enumerate(at) if (a, b, s) != (0, n, 1)]
            if set(call.kwargs["strides"]) - {1} or any(b <= a for _, a, b in at):
                return NotImplemented
            text, writable = v.source, False
            for i, a, b in at:
                text += f".narrow({i}, {a}, {b - a})"
        made = self.fresh()
        self.lines.append(f"{made} = {text}")
        return self.define(y, _Value(made, v.root, writable=writable))

    def cast(self, call):
        (y,), x, dtype = call.outputs, call.args[0], call.kwargs["dtype"]
        n = self.number(x)
        if n is not None and y.dtype in USUAL and "complex" not in y.dtype:
            name = self.fresh()
            self.lines.append(f"{name} = {self.bind(_cast_scalar)}({n}, {dtype!r})")
            return self.define(y, _Value(name, number=True))
        if x.dtype == dtype or "complex" in x.dtype or not isinstance(x, Symbol):
            return NotImplemented
        return self.result(y, f"{self.tensor(x)}.to(torch.{dtype})")

    def aliases(self, call):
        for x, y in zip(call.args, call.outputs):
            if not isinstance(x, Symbol):
                self.define(y, _Value(self.constant(x)))
            else:
                v = self.values[id(x)]
                self.define(y, _Value(v.source, v.root, v.number, v.writable))

    def dot(self, call):
        (y,), (a, b) = call.outputs, call.args
        contract, batch = call.kwargs["contract"], call.kwargs["batch"]
        if (
            batch[0]
            or len(a.shape) != 2
            or len(b.shape) != 2
            or len(contract[0]) != 1
            or not self.usual(call)
        ):
            return NotImplemented
        a, b = self.tensor(a), self.tensor(b)
        a = a if contract[0] == (1,) else f"{a}.t()"
        b = b if contract[1] == (0,) else f"{b}.t()"
        return self.result(y, f"torch.mm({a}, {b})")

    def convolution(self, call):
        params = ", ".join(f"{k}={v!r}" for k, v in call.kwargs.items())
        args = ", ".join(map(self.tensor, call.args))
        return self.result(call.outputs[0], f"{self.bind(windows.with_bias)}({args}, {params})")

    def addmm(self, call):
        bias, x, kernel = map(self.tensor, call.args)
        return self.result(call.outputs[0], f"torch.addmm({bias}, {x}, {kernel})")

    def sum(self, call):
        (y,), (x,), axes = call.outputs, call.args, call.kwargs["axes"]
        if not axes or x.dtype not in ("float32", "float64"):
            return NotImplemented
        return self.result(y, f"torch.sum({self.tensor(x)}, {tuple(axes)})")

    def relu(self, call):
        (y,), (x,) = call.outputs, call.args
        if x.dtype not in USUAL:
            return NotImplemented
        return (
            self.written(y, [x], "relu", [self.tensor(x)])
            if self.is_free(x, y)
            else self.result(y, f"torch.relu({self.tensor(x)})")
        )

    def relu_grad(self, call):
        (dx,), (g, y) = call.outputs, call.args
        if self.is_free(g, dx):
            v = self.values[id(g)]
            into = self.bind(BACK.grad_input)
            self.lines.append(f"{into}({v.source}, {self.tensor(y)}, 0, grad_input={v.source})")
            return self.define(dx, _Value(v.source, v.root, writable=True))
        return self.result(dx, f"{self.bind(BACK.default)}({self.tensor(g)}, {self.tensor(y)}, 0)")

    def scaled(self, call):
        """`x + alpha * y` or `x - alpha * y`."""
        x, y, alpha = call.args
        number = self.number(alpha)
        if number is None:
            number = f"{self.tensor(alpha)}.item()"
        self.written(
            call.outputs[0],
            [x, y],
            call.kwargs["name"],
            [self.tensor(x), self.tensor(y)],
            f", alpha={number}",
        )

    def lerp(self, call):
        x, y, weight = call.args
        sources = [self.tensor(x), self.tensor(y), self.number(weight) or self.tensor(weight)]
        self.written(call.outputs[0], [x, y], "lerp", sources)

    def max_pool(self, call):
        """The pooled array; its derivative finds the places again in the tape."""
        grads = [c for c in self.calls if c.target is p.max_pool_grad and c.args[1] is call.args[0]
                 and c.args[2] is call.outputs[0]]  # fmt: skip
        (y,), x = call.outputs, call.args[0]
        if not grads or len(call.kwargs["window"]) == 1:
            return NotImplemented
        tape, name = f"t{len(self.tapes)}", self.fresh()
        self.tapes[id(call)] = self.tapes[id(grads[0])] = tape
        self.pin(call.args)
        params = ", ".join(f"{k}={v!r}" for k, v in call.kwargs.items())
        self.lines.append(
            f"{tape} = {self.bind(windows.max_pool_places)}({self.tensor(x)}, {params})"
        )
        self.lines.append(f"{name} = {self.bind(windows.last)}({tape}[0])")
        return self.define(y, _Value(name))

    def max_pool_grad(self, call):
        tape = self.tapes.get(id(call))
        if tape is None:
            return NotImplemented
        params = ", ".join(f"{k}={v!r}" for k, v in call.kwargs.items())
        g = self.tensor(call.args[0])
        return self.result(
            call.outputs[0], f"{self.bind(windows.spread_max)}({g}, *{tape}[1:], {params})"
        )

    def adam(self, call):
        """The updates of several weights, in place and in one call."""
        rows, (lr, beta_1, beta_2, epsilon) = call.args[:-4], call.args[-4:]
        columns, copies = [[], [], [], []], []
        for i in range(0, len(rows), 4):
            outs = call.outputs[i // 4 * 3 : i // 4 * 3 + 3]
            weight, g, *slots = rows[i : i + 4]
            columns[1].append(self.tensor(g))
            for column, x, y in zip((0, 2, 3), (weight, *slots), outs):
                own = self.taken.get(id(y)) is x and self.slot(y) is not None
                name = self.values[id(x)].source if own else self.fresh()
                if not own:
                    copies.append(f"{name} = {self.tensor(x)}.clone()")
                columns[column].append(name)
                root = self.values[id(x)].root if own else None
                self.define(y, _Value(name, root))
        self.lines += copies
        lists = ", ".join(f"[{', '.join(c)}]" for c in columns)
        lr = self.number(lr) or self.tensor(lr)
        self.lines.append(f"{self.bind(adam)}({lists}, {lr}, {beta_1!r}, {beta_2!r}, {epsilon!r})")


def adam(weights, gradients, means, squares, lr, beta_1, beta_2, epsilon):
    """Adam with Keras's epsilon: PyTorch's own corrections are 1 for a step without end."""
    for i, (w, g) in enumerate(zip(weights, gradients)):
        if g.stride() != w.stride():  # the fused kernel reads both in the same order
            gradients[i] = torch.empty_like(w).copy_(g)
    steps = [endless(weights[0].device)] * len(weights)
    torch._fused_adam_(
        weights, gradients, means, squares, [], steps, lr=lr, beta1=beta_1, beta2=beta_2,
        weight_decay=0.0, eps=epsilon, amsgrad=False, maximize=False,
    )  # fmt: skip


@functools.cache
def endless(device):
    return torch.tensor(1e9, device=device)


class Rewriter:
    """The calls of a graph, with patterns made one call each."""

    def __init__(self, graph, host):
        self.host = host
        self.maker = {id(s): c for c in graph.calls for s in c.outputs}
        self.uses = {}
        for s in [*(s for c in graph.calls for s in symbols(c.args)), *symbols(graph.outputs)]:
            self.uses[id(s)] = self.uses.get(id(s), 0) + 1
        self.users = {}
        for c in graph.calls:
            for s in symbols(c.args):
                self.users.setdefault(id(s), []).append(c)
        self.slopes = [c for c in graph.calls if type(c.target).__name__ == "Slope"]
        self.outputs = {id(s) for s in symbols(graph.outputs)}
        self.absorbed, made = set(), []
        for c in graph.calls:
            name = getattr(c.target, "name", None)
            pattern = PATTERNS.get(c.target) or PATTERNS.get(name)
            made.append(pattern and pattern(self, c) or c)
        made = [c for c in made if id(c) not in self.absorbed]
        self.calls = self.grouped(made)

    def only(self, x, target):
        """The call of `target` that makes `x` for one use; None if it is another or has more."""
        c = self.maker.get(id(x)) if isinstance(x, Symbol) else None
        if c is None or c.target is not target or self.uses[id(x)] != 1 or id(c) in self.absorbed:
            return None
        return c

    def new(self, call, target, args, **kwargs):
        made = Call(target, tuple(args), kwargs)
        made.outputs, made.single = call.outputs, call.single
        return made

    def sum(self, c):
        for x, y in (c.args, c.args[::-1]):
            dot = self.only(x, p.dot_general)
            shape = tuple(getattr(y, "shape", ()))
            if dot is not None and len(shape) == 1 and len(x.shape) == 2 and shape[0] == x.shape[1]:
                k = dot.kwargs
                flat = [len(v.shape) == 2 for v in dot.args]
                if all(flat) and k["contract"] == ((1,), (0,)) and x.dtype in USUAL:
                    self.absorbed.add(id(dot))
                    return self.new(c, "addmm", (y, *dot.args))
            conv = self.only(x, p.convolution)
            if conv is not None and len(shape) == 1 and len(x.shape) > 3 and x.dtype in USUAL:
                self.absorbed.add(id(conv))
                return self.new(c, "convolution", (*conv.args, y), **conv.kwargs)
        for x, y in (c.args, c.args[::-1]):
            product = self.only(y, p.multiply)
            if (
                product is None
                or not isinstance(x, Symbol)
                or x.dtype not in ("float32", "float64")
            ):
                continue
            for gap, weight in (product.args, product.args[::-1]):
                minus = self.only(gap, p.subtract)
                if (
                    minus is not None
                    and minus.args[1] is x
                    and _is_number(weight)
                    and _alike(x, *minus.args, c.outputs[0])
                ):
                    self.absorbed.update((id(minus), id(product)))
                    return self.new(c, "lerp", (x, minus.args[0], weight))
        return self.scaled(c, "add")

    def scaled(self, c, name="sub"):
        x, y = c.args
        if self.host and c.outputs[0].shape == ():
            return None
        product = self.only(y, p.multiply)
        if product is None or not _alike(x, c.outputs[0]) or x.dtype not in ("float32", "float64"):
            return None
        for alpha, z in (product.args, product.args[::-1]):
            if _is_number(alpha) and _alike(z, x):
                self.absorbed.add(id(product))
                return self.new(c, "scaled", (x, z, alpha), name=name)
        return None

    def select(self, c):
        """`select(y > 0, g, 0)` is the derivative of relu."""
        mask, g, zero = c.args
        over = self.maker.get(id(mask)) if isinstance(mask, Symbol) else None
        if (
            over is None
            or over.target is not p.greater
            or not _is_zero(zero)
            or not _is_zero(over.args[1])
        ):
            return None
        if not _alike(g, over.args[0]) or g.dtype not in ("float32", "float64"):
            return None
        if self.uses[id(mask)] == 1:
            self.absorbed.add(id(over))
        return self.new(c, "relu_grad", (g, over.args[0]))

    def classes(self, c):
        """A crossentropy of classes takes these as they were before they became floats."""
        floats = self.only(c.args[0], p.cast)
        if floats is None or not floats.args[0].dtype.startswith("int"):
            return None
        if any(u.kwargs["of"] is c for u in self.slopes):
            return None
        self.absorbed.add(id(floats))
        return self.new(c, c.target, (floats.args[0], *c.args[1:]), **c.kwargs)

    def grouped(self, calls):
        """Adam's updates with the same settings as one call, where the first result is needed."""
        made, waiting = [], []

        def flush():
            groups = {}
            for c in waiting:
                lr, *numbers = c.args[4:]
                groups.setdefault((id(lr), *numbers, c.args[0].dtype), []).append(c)
            for group in groups.values():
                args = [x for c in group for x in c.args[:4]]
                joined = Call("adam", (*args, *group[0].args[4:]), {})
                joined.outputs, joined.single = tuple(y for c in group for y in c.outputs), False
                made.append(joined)
            waiting.clear()

        for c in calls:
            mine = {id(y) for w in waiting for y in w.outputs}
            if mine and any(id(s) in mine for s in symbols(c.args)):
                flush()
            if getattr(c.target, "name", None) == "adam_update" and c.args[0].dtype == "float32":
                waiting.append(c)
            else:
                made.append(c)
        flush()
        return made


def _is_zero(x):
    return (
        type(x) in (int, float)
        and x == 0
        or isinstance(x, np.ndarray)
        and x.size == 1
        and not x.any()
    )


def _is_number(x):
    return type(x) in (int, float) or isinstance(x, (Symbol, np.ndarray)) and x.shape == ()


def _alike(x, *others):
    return isinstance(x, Symbol) and all(
        isinstance(y, Symbol) and tuple(y.shape) == tuple(x.shape) and y.dtype == x.dtype
        for y in others
    )


PATTERNS = {
    "sparse_categorical_crossentropy": Rewriter.classes,
    p.add: Rewriter.sum, p.subtract: Rewriter.scaled, p.select: Rewriter.select,
}  # fmt: skip
RULES = {
    **dict.fromkeys((p.reshape, p.transpose, p.slice, p.broadcast_to, p.stop_gradient), _Plan.view),
    p.cast: _Plan.cast, p.barrier: _Plan.aliases, p.dot_general: _Plan.dot,
    p.max_pool: _Plan.max_pool, p.max_pool_grad: _Plan.max_pool_grad,
    p.reduce_sum: _Plan.sum, "addmm": _Plan.addmm, "relu": _Plan.relu,
    "convolution": _Plan.convolution, "relu_grad": _Plan.relu_grad,
    "scaled": _Plan.scaled, "lerp": _Plan.lerp, "adam": _Plan.adam,
}  # fmt: skip
NOISE = {p.random_bits, p.random_normal, p.random_uniform}
LOOPS = {p.cond, p.while_loop, p.scan, p.checkpoint, p.with_gradient, p.barrier}
# Whose results share no memory with their operands
OWNED = {
    p.dot_general, p.convolution, p.convolution_input_grad, p.convolution_kernel_grad, p.exp, p.log,
    p.tanh, p.sigmoid, p.concatenate, p.take, p.gather_along, p.sum_pool, p.power, p.multiply,
    p.add, p.subtract, p.divide, p.select, p.negative,
}  # fmt: skip
