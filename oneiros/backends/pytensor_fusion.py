"""Loops that PyTensor has fused, written out as one kernel each.

PyTensor compiles each scalar op of a fused loop as a function of its own, at a tenth of a second;
here a loop is one function. Neighbouring axes along which all operands go on evenly are one loop.
"""

from __future__ import annotations

from pytensor.graph.basic import Constant
from pytensor.graph.features import ReplaceValidate
from pytensor.graph.rewriting.basic import GraphRewriter
from pytensor.scalar.basic import Composite
from pytensor.tensor.elemwise import Elemwise

from oneiros.backends.pytensor_kernels import Kernel, at, lengths, nest, row_of
from oneiros.backends.pytensor_scalars import literal
from oneiros.core.spec import Spec

__all__ = ["WrittenLoops"]


class WrittenLoops(GraphRewriter):
    """Puts a kernel in the place of each elementwise op."""

    def add_requirements(self, fgraph):
        fgraph.attach_feature(ReplaceValidate())

    def apply(self, fgraph):
        for node in fgraph.toposort():
            if isinstance(node.op, Elemwise):
                made = written(node)
                pairs = list(zip(node.outputs, made))
                fgraph.replace_all(pairs, reason="written loops")
        fgraph.validate()


def written(node):
    """The results of an elementwise node, by a kernel."""
    outs = [Spec(y.type.shape, y.type.dtype) for y in node.outputs]
    held = [x for x in node.inputs if not (isinstance(x, Constant) and x.data.size == 1)]
    place = {x: i for i, x in reversed(list(enumerate(held)))}
    shape = outs[0].shape
    axes = merged(shape, [x.type.shape for x in held])
    sizes = lengths("y0", [group for _, group in axes], len(shape))
    loops = [(f"i{k}", n) for k, n in enumerate(sizes)]
    lines, loads, names = [], {}, []
    for x in node.inputs:
        if x not in place:
            names.append(literal(x.data, x.type.dtype))
            continue
        i = place[x]
        kept = [shape_along(x.type.shape, group) for _, group in axes]
        depth = max((k + 1 for k, n in enumerate(kept) if n != 1), default=0)
        if f"v{i}" not in names:
            own = ["1" if n == 1 else size for n, size in zip(kept, sizes)]
            lines.append(f"a{i} = seen(x{i}, {row_of(own)})")
            index = ["0" if n == 1 else f"i{k}" for k, n in enumerate(kept)]
            loads.setdefault(depth, []).append(f"v{i} = {at(f'a{i}', index)}")
        names.append(f"v{i}")
    body, results = statements(node.op.scalar_op, names)
    for j, result in enumerate(results):
        lines.append(f"b{j} = seen(y{j}, {row_of(sizes)})")
        body.append(f"{at(f'b{j}', [i for i, _ in loops])} = {result}")
    inner = "\n".join([*loads.get(len(loops), []), *body])
    for k in range(len(loops) - 1, -1, -1):
        inner = "\n".join([*loads.get(k, []), nest([loops[k]], inner)])
    over = tuple((y, place[node.inputs[x]]) for y, x in node.op.inplace_pattern.items())
    source = "\n".join([*lines, inner])
    return Kernel("loop", source, outs, over, fast=False)(*held, return_list=True)


def merged(shape, operands):
    """Axes as pairs of a length and the axes that it joins."""
    groups = []
    for k, n in enumerate(shape):
        if n == 1:
            continue
        pattern = [s[k] != 1 for s in operands]
        if groups and groups[-1][2] == pattern:
            groups[-1][0] *= int(n)
            groups[-1][1].append(k)
        else:
            groups.append([int(n), [k], pattern])
    return [(n, axes) for n, axes, _ in groups]


def shape_along(shape, axes):
    n = 1
    for k in axes:
        n *= int(shape[k])
    return n


def statements(op, names):
    """Lines that compute a scalar op of the named values, and the names of its results."""
    if not isinstance(op, Composite):
        return [f"t = {op.source(names)}"], ["t"]
    known, lines = dict(zip(op.fgraph.inputs, names)), []

    def name(x):
        return known[x] if x in known else literal(x.data, x.type.dtype)

    for node in op.fgraph.toposort():
        known[node.outputs[0]] = f"t{len(lines)}"
        lines.append(f"t{len(lines)} = {node.op.source(list(map(name, node.inputs)))}")
    return lines, [name(y) for y in op.fgraph.outputs]
