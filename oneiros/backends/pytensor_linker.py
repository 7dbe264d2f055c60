"""A linker of PyTensor's: straight-line calls of kernels, with memory laid out beforehand.

PyTensor's own numba linker compiles a graph once more as a whole, which takes as long as all of its
parts; kernels that are called one by one can be kept on disk one by one, and be shared by graphs.
Values that stay inside share blocks of memory where their lives do not meet.
"""

from __future__ import annotations

import numpy as np
from pytensor.compile.ops import DeepCopyOp
from pytensor.link.basic import JITLinker

from oneiros.backends.pytensor_kernels import copied

__all__ = ["Linker", "Lines", "Memory"]


class Linker(JITLinker):
    """Makes Python of a graph of kernels."""

    def fgraph_convert(self, fgraph, order=None, **_):
        inputs = [f"x{i}" for i in range(len(fgraph.inputs))]
        lines = Memory(fgraph, order, inputs)
        text = lines.emitted()
        returned = ", ".join(map(lines.name, fgraph.outputs))
        source = f"def step({', '.join(inputs)}):\n    " + "\n    ".join(
            [*text, f"return [{returned}]\n"]
        )
        exec(compile(source, "<step>", "exec"), lines.scope)  # our own text, of our own names
        return lines.scope["step"]

    def jit_compile(self, function):
        return function

    def create_thunk_inputs(self, storage_map):
        return [storage_map[n] for n in self.fgraph.inputs]


class Lines:
    """Lines that call a graph's kernels, in a language that subclasses know.

    Args:
        fgraph: A graph whose ops are kernels.
        order: Its nodes in order.
        inputs: Names of its inputs.
        targets: Names of arrays to put the outputs into; none if they are memory of their own.
    """

    def __init__(self, fgraph, order, inputs, targets=()):
        self.fgraph, self.order, self.count = fgraph, order, 0
        self.names = dict(zip(fgraph.inputs, inputs))
        self.inputs, self.lines = set(inputs), []
        self.roots, self.blocks, self.held = {}, [], {}
        self.wanted = {}
        self.targets = targets
        for node in order:
            aliases = {**getattr(node.op, "view_map", {}), **getattr(node.op, "destroy_map", {})}
            for y, (x,) in aliases.items():
                self.roots[node.outputs[y]] = self.root(node.inputs[x])
        for y, name in zip(fgraph.outputs, targets):
            root = self.root(y)
            if root.owner is not None and root.type == y.type:
                self.wanted.setdefault(root, name)
        self.last = {}
        for i, node in enumerate(order):
            for v in (*node.inputs, *node.outputs):
                self.last[self.root(v)] = i
        self.leaving = set() if targets else {self.root(y) for y in fgraph.outputs}

    def root(self, v):
        """The value whose memory `v` is in."""
        return self.roots.get(v, v)

    def emitted(self):
        for i, node in enumerate(self.order):
            if isinstance(node.op, DeepCopyOp):
                self.copied(node)
            elif node.op.source is None:
                self.names[node.outputs[0]] = self.view(node)
            else:
                self.call(node)
            for v in {self.root(v) for v in (*node.inputs, *node.outputs)}:
                if self.last[v] == i and v in self.held:
                    self.blocks.append(self.held.pop(v))
        for y, name in zip(self.fgraph.outputs, self.targets):
            if self.name(y) != name:
                self.lines.append(copied(name, self.name(y)))
        return self.lines

    def name(self, v):
        if v not in self.names:
            self.names[v] = self.constant(v.data)
        return self.names[v]

    def fresh(self):
        self.count += 1
        return f"v{self.count}"

    def call(self, node):
        op, written = node.op, dict(node.op.over)
        for i, y in enumerate(node.outputs):
            if i in written:
                self.names[y] = self.name(node.inputs[written[i]])
            else:
                self.names[y] = self.wanted.get(y) or self.place(y)
        args = [self.name(x) for x in node.inputs]
        args += [self.names[y] for i, y in enumerate(node.outputs) if i not in written]
        self.lines.append(f"{self.bound(op.compiled(node))}({', '.join(args)})")

    def place(self, y):
        """A name for memory of `y`."""
        root = self.root(y)
        if root in self.leaving:
            name = self.fresh()
            self.lines.append(f"{name} = {self.empty(y.type)}")
            return name
        size = int(np.prod(y.type.shape, dtype=int)) * y.type.numpy_dtype.itemsize
        size = -(-size // 64) * 64
        fits = [b for b in self.blocks if size <= b[0] <= 2 * size + 64]
        block = min(fits, key=lambda b: b[0]) if fits else self.block(size)
        if fits:
            self.blocks.remove(block)
        self.held[root] = block
        return self.array(block, y.type)


class Memory(Lines):
    """Lines of Python; blocks are arrays that are there from the start."""

    def __init__(self, *args):
        super().__init__(*args)
        self.scope, self.keys, self.arrays = {"empty": np.empty}, {}, {}

    def bound(self, value):
        if id(value) not in self.keys:
            self.keys[id(value)] = f"b{len(self.keys)}"
            self.scope[self.keys[id(value)]] = value
        return self.keys[id(value)]

    def constant(self, data):
        return self.bound(np.array(data, order="C"))

    def empty(self, kind):
        return f"empty({kind.shape}, {self.bound(kind.numpy_dtype)})"

    def block(self, size):
        return size, _aligned(size)

    def array(self, block, kind):
        n = int(np.prod(kind.shape, dtype=int)) * kind.numpy_dtype.itemsize
        made = block[1][:n].view(kind.numpy_dtype).reshape(kind.shape)
        name = self.bound(made)
        self.arrays[name] = made
        return name

    def view(self, node):
        (x,), (y,) = node.inputs, node.outputs
        name = self.name(x)
        if name in self.arrays:
            made = self.arrays[name].reshape(y.type.shape)
            name = self.bound(made)
            self.arrays[name] = made
            return name
        made = self.fresh()
        self.lines.append(f"{made} = {name}.reshape({y.type.shape})")
        return made

    def copied(self, node):
        made = self.names[node.outputs[0]] = self.fresh()
        self.lines.append(f"{made} = {self.name(node.inputs[0])}.copy()")


def _aligned(size):
    """So many bytes that begin where a line of the cache does."""
    whole = np.empty(size + 64, np.uint8)
    skip = -whole.ctypes.data % 64
    return whole[skip : skip + size]
