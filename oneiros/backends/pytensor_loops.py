"""Control flow as kernels: loops in numba over the kernels of inner graphs.

An inner graph is rewritten as an outer one is. Its values lie in memory that is there before the
loop begins; states change between two arrays, and what a step puts out is written where it belongs.
"""

from __future__ import annotations

import math

from oneiros.backends.pytensor_kernels import Kernel, array_type, compiled, copied
from oneiros.backends.pytensor_linker import Lines
from oneiros.backends.pytensor_scalars import literal, scalar

__all__ = ["Control", "LOOPS"]


class Inner(Lines):
    """Lines of numba; memory is made once, in front of the loop."""

    prefix, front, parts = "", None, None

    def bound(self, function):
        for name, known in self.parts:
            if known is function:
                return name
        self.parts.append((f"k{len(self.parts)}", function))
        return self.parts[-1][0]

    def fresh(self):
        self.count += 1
        return f"{self.prefix}v{self.count}"

    def before(self, text):
        name = self.fresh()
        self.front.append(f"{name} = {text}")
        return name

    def constant(self, data):
        return self.before(f"np.full({data.shape}, {literal(data, data.dtype)})")

    def block(self, size):
        return size, self.before(f"np.empty({size}, np.uint8)")

    def array(self, block, kind):
        n = math.prod(kind.shape) * kind.numpy_dtype.itemsize
        return self.before(
            f"seen({block[1]}[:{n}].view(np.{scalar(kind.dtype)}), {tuple(kind.shape)})"
        )

    def view(self, node):
        name = self.fresh()
        self.lines.append(
            f"{name} = seen({self.name(node.inputs[0])}, {node.outputs[0].type.shape})"
        )
        return name


class Control(Kernel):
    """A kernel over inner graphs, whose source is written when it is compiled.

    Args:
        kind: The primitive's name.
        bodies: Inner graphs as pairs of PyTensor's graph and its nodes in order.
        params: The primitive's other parameters.
        outs: Specs of the results.
        extra: For each body its constant arrays, which follow the primitive's own operands.
    """

    __props__ = ("kind", "marker")

    def __init__(self, kind, bodies, params, outs, extra):
        super().__init__(kind, "", outs)
        self.kind, self.bodies, self.params, self.extra = kind, bodies, params, extra
        self.marker = id(self)

    def compiled(self, node):
        every = [*node.inputs, *node.outputs]
        names = [f"x{i}" for i in range(len(node.inputs))]
        names += [f"y{i}" for i in range(len(node.outputs))]
        types = [array_type(v.type.dtype, v.type.ndim) for v in every]
        front, parts = [], []

        def body(i, inputs, targets):
            fgraph, order = self.bodies[i]
            lines = Inner(fgraph, order, [*inputs, *self.hidden(node, i)], targets)
            lines.prefix, lines.front, lines.parts = "ab"[i], front, parts
            return lines.emitted()

        own = len(node.inputs) - sum(map(len, self.extra))
        lines = LOOPS[self.kind](body, node.inputs[:own], node.outputs, **self.params)
        lines = [*front, *lines]
        # numba lets go of an array after its last use, and views hold no share in it
        held = [
            w for line in lines if "= np.empty" in line for w in line.split(" = ")[0].split(", ")
        ]
        lines += [f"{name}.size" for name in held]
        return compiled(self.kind, names, lines, types, True, tuple(parts))

    def hidden(self, node, i):
        """The operands that are constants of a body."""
        at = len(node.inputs) - sum(map(len, self.extra[i:]))
        return [f"x{at + k}" for k in range(len(self.extra[i]))]


def _indented(lines):
    return ["    " + line for text in lines for line in text.splitlines()]


def _pair(v):
    return f"np.empty({tuple(v.type.shape)}, np.{scalar(v.type.dtype)})"


def scan(body, xs, ys, *, carry, slices, length, reverse):
    lines = []
    for i in range(carry):
        shape = tuple(xs[i].type.shape)
        lines += [f"p{i}_, q{i}_ = {_pair(xs[i])}, {_pair(xs[i])}"]
        lines += [f"s{i}, n{i}, m{i} = seen(x{i}, {shape}), seen(p{i}_, {shape}), "
                  f"seen(q{i}_, {shape})"]  # fmt: skip
    step = [f"i = {length - 1} - t" if reverse else "i = t"]
    step += [f"r{k} = row(x{carry + k}, i)" for k in range(slices)]
    step += [f"w{k} = row(y{carry + k}, i)" for k in range(len(ys) - carry)]
    inputs = [f"s{i}" for i in range(carry)] + [f"r{k}" for k in range(slices)]
    inputs += [f"x{i}" for i in range(carry + slices, len(xs))]
    targets = [f"n{i}" for i in range(carry)] + [f"w{k}" for k in range(len(ys) - carry)]
    step += body(0, inputs, targets)
    step += [f"s{i}, n{i}, m{i} = n{i}, m{i}, n{i}" for i in range(carry)]
    lines += [f"for t in range({length}):", *_indented(step)]
    return [*lines, *[copied(f"y{i}", f"s{i}") for i in range(carry)]]


def while_loop(body, xs, ys, *, carry):
    lines = ["o_ = np.empty((), np.bool_)", "o = seen(o_, ())"]
    for i in range(carry):
        shape = tuple(xs[i].type.shape)
        lines += [f"p{i}_, q{i}_ = {_pair(xs[i])}, {_pair(xs[i])}"]
        lines += [f"s{i}, n{i}, m{i} = seen(x{i}, {shape}), seen(p{i}_, {shape}), "
                  f"seen(q{i}_, {shape})"]  # fmt: skip
    inputs = [f"s{i}" for i in range(carry)] + [f"x{i}" for i in range(carry, len(xs))]
    step = [*body(0, inputs, ["o"]), "if not o[()]: break"]
    step += body(1, inputs, [f"n{i}" for i in range(carry)])
    step += [f"s{i}, n{i}, m{i} = n{i}, m{i}, n{i}" for i in range(carry)]
    lines += ["while True:", *_indented(step)]
    return [*lines, *[copied(f"y{i}", f"s{i}") for i in range(carry)]]


def cond(body, xs, ys):
    inputs = [f"x{i}" for i in range(1, len(xs))]
    targets = [f"y{i}" for i in range(len(ys))]
    return [
        "if x0[()]:",
        *_indented([*body(0, inputs, targets), "pass"]),
        "else:",
        *_indented([*body(1, inputs, targets), "pass"]),
    ]


LOOPS = {"scan": scan, "while_loop": while_loop, "cond": cond}
