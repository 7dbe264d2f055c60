"""A graph as straight-line NumPy with its memory laid out beforehand.

Shapes are static, so every value gets a place before the first run: a buffer that other values use
before and after it, the memory of an operand that dies, a donated input, or (what leaves the
function) memory of its own. Views of buffers are made once, here; broadcasts are left to the
consumers; kernels without an `out` make fresh arrays.
"""

from __future__ import annotations

import math
import threading
from itertools import repeat

import numpy as np

from oneiros.backends import numpy_windows
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import Graph, symbols
from oneiros.core.primitive import Primitive
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Symbol

__all__ = ["Plan", "Slot", "Value", "plan"]

NUMBERS = (bool, int, float, complex)
BITS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def plan(graph, kernels, ufuncs, donate=()):
    """A function of the graph's inputs that returns the list of its outputs.

    It writes into the arrays at the positions `donate`,
    which must be contiguous and the caller's last use of them;
    no output shares memory with a buffer or another output. One call runs at a time; others wait.

    Args:
        kernels: A function from target to kernel.
        ufuncs: Primitive to the NumPy ufunc, or sequence of ufuncs, that computes it with `out`.
    """
    run, lock = Plan(graph, kernels, ufuncs, donate).function(), threading.Lock()

    def step(*values):
        with lock:
            return run(*values)

    step.source, step.specs = run.source, run.specs
    return step


class Slot:
    """Memory: a part of our own (`block`), or what a local name holds."""

    def __init__(self, block=None, donated=False, fresh=False, held=()):
        self.block, self.donated, self.fresh, self.held = block, donated, fresh, held
        self.alive, self.names = 0, []


class Value:
    """Where a value is: an array that is known now, or the source of an expression; and its slot.

    `whole` means that it fills its slot from end to end; `base` is what it repeats,
    if it is a broadcast.
    """

    def __init__(self, shape, dtype, slot=None, array=None, source=None, whole=False, base=None):
        self.shape, self.dtype, self.slot = tuple(shape), np.dtype(dtype), slot
        self.array, self.source, self.whole, self.base = array, source, whole, base

    @property
    def constant(self):
        return self.slot is None and self.array is not None


class Plan:
    def __init__(self, graph, kernels, ufuncs, donate=(), into=False):
        self.graph, self.kernels, self.ufuncs, self.into = graph, kernels, ufuncs, into
        self.scope, self.bound, self.lines = {"empty": np.empty}, {}, []
        self.values, self.blocks, self.spare, self.count = {}, [], [], 0
        self.targets = {}
        if into:
            for j, y in enumerate(graph.outputs):
                if isinstance(y, Symbol):
                    self.targets.setdefault(id(y), f"o{j}")
        self.escaping = set() if into else self._escaping()
        self.last = {id(s): -1 for s in graph.inputs}
        for i, call in enumerate(graph.calls):
            self.last.update((id(s), i) for s in call.outputs)
            self.last.update((id(s), i) for s in symbols(call.args))
        for s in symbols(graph.outputs):
            self.last[id(s)] = len(graph.calls)
        for i, s in enumerate(graph.inputs):
            slot = Slot(donated=True) if i in donate else None
            value = Value(s.shape, np_dtype(s.dtype), slot, source=f"x{i}", whole=i in donate)
            if slot is not None:
                slot.value = value
            self.define(s, value)

    def _escaping(self):
        """The ids of the symbols whose memory leaves the function."""
        ids = {id(s) for s in symbols(self.graph.outputs)}
        for call in reversed(self.graph.calls):
            if call.target in VIEWS and id(call.outputs[0]) in ids:
                ids.update(id(s) for s in symbols(call.args[:1]))
            elif call.target in ALIASES:
                ids.update(id(x) for x, y in zip(call.args, call.outputs) if id(y) in ids)
        return ids

    def function(self):
        """The compiled function; in the `into` form it fills an array given for each output."""
        for i, call in enumerate(self.graph.calls):
            self.now = i
            self.dying = {
                id(s) for s in (*symbols(call.args), *call.outputs) if self.last[id(s)] == i
            }
            self._emit(call)
            for key in self.dying:
                self.release(self.values[key].slot)
        inputs = [f"x{i}" for i in range(len(self.graph.inputs))]
        if self.into:
            inputs += [f"o{j}" for j in range(len(self.graph.outputs))]
            self._fill()
        else:
            self.lines.append(f"return [{', '.join(self._returned())}]")
        text = (
            f"def step({', '.join(inputs)}):\n    " + "\n    ".join(self.lines or ["pass"]) + "\n"
        )
        exec(compile(text, "<step>", "exec"), self.scope)  # our own text, of our own names
        run = self.scope["step"]
        run.source = text
        run.specs = [spec_of(y) for y in self.graph.outputs]
        return run

    def _returned(self):
        """The sources of the outputs, which share no memory with a buffer or each other."""
        seen = set()
        for y in self.graph.outputs:
            v = self.operand(y)
            own = (
                v.slot is None and v.array is None and v.base is None and v.source in self._inputs()
            )
            own = own or (
                v.slot is not None and v.slot.block is None and v.whole and id(v.slot) not in seen
            )
            seen.add(id(v.slot))
            yield self.source(v) if own else f"{self.source(v)}.copy()"

    def _inputs(self):
        return {f"x{i}" for i in range(len(self.graph.inputs))}

    def _fill(self):
        """Put the outputs that are not yet in their targets there."""
        for j, y in enumerate(self.graph.outputs):
            v = self.operand(y)
            if v.source != f"o{j}":
                self.line("{}({}, {})", np.copyto, f"o{j}", v)

    # Values ---------------------------------------------
    def operand(self, x, dtype=None):
        """The value of an argument; plain numbers take `dtype`."""
        if isinstance(x, Symbol):
            return self.values[id(x)]
        array = np.asarray(x, dtype if type(x) in NUMBERS else None)
        return Value(array.shape, array.dtype, array=array)

    def define(self, symbol, value):
        self.values[id(symbol)] = value
        if value.slot is not None:
            value.slot.alive += 1

    def release(self, slot):
        """One value less lives in `slot`; what nobody uses is free."""
        if slot is None:
            return
        slot.alive -= 1
        if slot.alive:
            return
        if slot.block is not None:
            self.blocks.append(slot.block)
        elif slot.donated:
            self.spare.append(slot)
        elif slot.names:
            self.lines.append("del " + ", ".join(slot.names))
        for other in slot.held:
            self.release(other)

    def source(self, x):
        """An expression for a value, or for an object that the function's globals hold."""
        if isinstance(x, str):
            return x
        if isinstance(x, Value):
            if x.array is None:
                return x.source
            x = x.array
        key = id(x)
        if key not in self.bound:
            name = f"b{len(self.bound)}"
            self.bound[key] = name
            self.scope[name] = x
        return self.bound[key]

    def line(self, text, *parts):
        self.lines.append(text.format(*map(self.source, parts)))

    def name(self, slot=None):
        self.count += 1
        name = f"v{self.count}"
        if slot is not None:
            slot.names.append(name)
        return name

    def block(self, size):
        """At least `size` bytes: the free block that fits best, if it is not twice too large."""
        fits = [i for i, b in enumerate(self.blocks) if size <= b.nbytes <= 2 * size + 64]
        if fits:
            return self.blocks.pop(min(reversed(fits), key=lambda i: self.blocks[i].nbytes))
        return np.empty(size, np.uint8)

    def buffer(self, shape, dtype):
        """A value in a block of its own."""
        size = math.prod(shape) * dtype.itemsize
        if not size:
            return Value(
                shape, dtype, Slot(np.empty(0, np.uint8)), np.empty(shape, dtype), whole=True
            )
        block = self.block(size)
        return Value(shape, dtype, Slot(block), block[:size].view(dtype).reshape(shape), whole=True)

    def place(self, y, operands=()):
        """Where to put the value `y`.

        Args:
            operands: Pairs of symbol and value of elementwise operands,
            whose memory `y` may take over.
        """
        shape, dtype = tuple(y.shape), np_dtype(y.dtype)
        if id(y) in self.targets:
            return Value(shape, dtype, source=self.targets[id(y)])
        escaping = id(y) in self.escaping
        ranked = []
        for x, v in operands:
            fits = v.whole and v.slot is not None and v.slot.alive == 1 and id(x) in self.dying
            if (
                fits
                and v.shape == shape
                and v.dtype == dtype
                and not (escaping and v.slot.block is not None)
            ):
                ranked.append((v.slot.donated != escaping, len(ranked), v))
        if ranked:
            v = min(ranked, key=lambda r: r[:2])[2]
            return Value(shape, dtype, v.slot, v.array, v.source, whole=True)
        if not escaping:
            return self.buffer(shape, dtype)
        for slot in self.spare if operands else ():
            if (slot.value.shape, slot.value.dtype) == (shape, dtype):
                self.spare.remove(slot)
                return Value(shape, dtype, slot, source=slot.value.source, whole=True)
        slot = Slot(fresh=True)
        name = self.name()
        self.line(f"{name} = empty({shape}, {{}})", dtype)
        return Value(shape, dtype, slot, source=name, whole=True)

    # Calls ---------------------------------------------
    def _emit(self, call):
        target = call.target
        if target is p.broadcast_to:
            return self._broadcast(call)
        if isinstance(target, Primitive) and target not in ALIASES and target not in LOOPS:
            if all(self.operand(x).constant for x in call.args):
                return self._fold(call)
        rule = VIEWS.get(target) or RULES.get(target)
        if rule is None and target in self.ufuncs:
            rule = Plan._elementwise
        if target in ALIASES:
            for x, y in zip(call.args, call.outputs):
                self.define(y, self.operand(x))
        elif rule is None or rule(self, call) is NotImplemented:
            self._fallback(call)
        return None

    def _fold(self, call):
        """Compute what depends on constants only, once."""
        args = [self.operand(x).array if isinstance(x, Symbol) else x for x in call.args]
        with np.errstate(all="ignore"):
            made = self.kernels(call.target)(*args, **call.kwargs)
        for y, v in zip(call.outputs, (made,) if call.single else made):
            v = np.asarray(v)
            self.define(y, Value(v.shape, v.dtype, array=v))

    def _fallback(self, call):
        """A kernel that makes its own arrays, which may share memory with its arguments."""
        kernel = self.kernels(call.target)
        args = [self._nested(x) for x in call.args]
        for key, value in call.kwargs.items():
            if isinstance(value, Graph):
                value = Plan(value, self.kernels, self.ufuncs).function()
            args.append(f"{key}={self._nested(value)}")
        fresh = call.target in FRESH
        held = [] if fresh else [v.slot for v in map(self.operand, symbols(call.args)) if v.slot]
        names, values = [], []
        for y in call.outputs:
            slot = Slot(fresh=fresh, held=held)
            for other in held:
                other.alive += 1
            names.append(self.name(None if id(y) in self.escaping else slot))
            values.append(Value(y.shape, np_dtype(y.dtype), slot, source=names[-1], whole=fresh))
        left = names[0] if call.single else ", ".join(names) + ","
        self.line(f"{left} = {{}}({', '.join(args)})", kernel)
        for y, v in zip(call.outputs, values):
            if v.shape == ():  # NumPy gives scalars
                self.line("{} = {}({})", v.source, np.asarray, v.source)
            self.define(y, v)

    def _nested(self, x):
        """A source for an argument or parameter, which may hold symbols in lists."""
        if isinstance(x, Symbol):
            return self.source(self.operand(x))
        if type(x) in (tuple, list):
            return "(" + "".join(self._nested(v) + ", " for v in x) + ")"
        return repr(x) if x is None or type(x) in (bool, int, str) else self.source(x)

    def _operands(self, call):
        """The values of elementwise operands, without the broadcasts that NumPy does by itself."""
        dtype = next(
            (self.operand(x).dtype for x in call.args[::-1] if type(x) not in NUMBERS), None
        )
        values = [self.operand(x, dtype) for x in call.args]
        return [v.base or v for v in values]

    def _elementwise(self, call):
        kernel = self.ufuncs[call.target]
        (y,), values = call.outputs, self._operands(call)
        if callable(kernel) and not isinstance(kernel, np.ufunc):
            kernel = kernel()  # one that is imported when first needed
        dtype = values[0].dtype
        if isinstance(kernel, tuple):  # several passes over one operand
            if dtype.kind not in "fc" or dtype.itemsize < 4:
                return NotImplemented
        elif call.target in SPECIAL and (dtype.kind != "f" or dtype.itemsize < 4):
            return NotImplemented
        out = self.place(y, [*zip(call.args, values)])
        if not isinstance(kernel, tuple):
            self.line("{}(" + "{}, " * len(values) + "out={})", kernel, *values, out)
        else:
            for i, step in enumerate(kernel):
                step, *more = step if isinstance(step, tuple) else (step,)
                more = [np.asarray(v, dtype) for v in more]
                self.line(
                    "{}({}, " + "{}, " * len(more) + "out={})",
                    step,
                    out if i else values[0],
                    *more,
                    out,
                )
        return self.define(y, out)

    def _select(self, call):
        """By bits: `y ^ ((x ^ y) & mask)` is several times as fast as a masked copy, and exact."""
        (y,), dtype = call.outputs, np_dtype(call.outputs[0].dtype)
        c, *pair = (v.base or v for v in (self.operand(x, dtype) for x in call.args))
        if dtype.itemsize not in BITS:
            return NotImplemented
        bits = np.dtype(BITS[dtype.itemsize])
        zero = [
            v.constant and v.array.size == 1 and not v.array.ravel().view(bits)[0] for v in pair
        ]
        apart = pair[0].slot is None or pair[0].slot is not pair[1].slot
        out = self.place(y, [*zip(call.args[1:], pair)] if apart else ())
        a, b, o = (self._viewed(v, bits) for v in (*pair, out))
        if zero[1]:
            self.line("{}({}, {}, out={})", np.multiply, a, self._viewed(c, np.int8), o)
            return self.define(y, out)
        mask = self.buffer(c.shape, np.dtype(np.int8))
        if zero[0]:
            self.line("{}({}, out={})", np.logical_not, c, mask)
            self.line("{}({}, {}, out={})", np.multiply, b, mask, o)
        else:
            self.line("{}({}, out={})", np.negative, self._viewed(c, np.int8), mask)
            kept = b
            if pair[1].slot is not None and pair[1].slot is out.slot:
                self.line("{}({}, out={})", np.invert, mask, mask)
                kept = a
            self.line("{}({}, {}, out={})", np.bitwise_xor, a, b, o)
            self.line("{}({}, {}, out={})", np.bitwise_and, o, mask, o)
            self.line("{}({}, {}, out={})", np.bitwise_xor, o, kept, o)
        self.blocks.append(mask.slot.block)
        return self.define(y, out)

    def _viewed(self, v, dtype):
        """A source for the value read as another dtype of the same width."""
        if v.array is not None:
            return self.source(v.array.view(dtype))
        return f"{v.source}.view({self.source(np.dtype(dtype))})"

    def _cast(self, call):
        (y,), (x,) = call.outputs, call.args
        v, dtype = self.operand(x), np_dtype(y.dtype)
        if v.dtype == dtype:
            return self.define(y, v)
        if v.dtype.kind == "c" and dtype.kind != "c":
            return NotImplemented
        out = self.place(y)
        if dtype.kind == "b":
            self.line("{}({}, {}, out={})", np.not_equal, v.base or v, np.zeros((), v.dtype), out)
        else:
            self.line("{}({}, {}, casting='unsafe')", np.copyto, out, v.base or v)
        return self.define(y, out)

    def _rounding(self, call):
        """Integers are what they are; floats are rounded by the ufunc."""
        if self.operand(call.args[0]).dtype.kind in "iub":
            return self.define(call.outputs[0], self.operand(call.args[0]))
        return self._elementwise(call)

    # Views ---------------------------------------------
    def _view(self, call):
        (y,), v = call.outputs, self.operand(call.args[0])
        return self.define(y, self._seen(v, *_view_of(call.target, call.kwargs)))

    def _seen(self, v, view, text):
        """The value `v` seen through `view`, whose source is `text`; None if it must be copied."""
        if v.array is not None:
            array = view(v.array)
            if array is None:
                return None
            whole = v.whole and array.nbytes == v.array.nbytes and array.flags.c_contiguous
            return Value(array.shape, array.dtype, v.slot, array, whole=whole)
        shape = view(np.broadcast_to(np.zeros((), np.int8), v.shape)).shape
        return Value(shape, v.dtype, v.slot, source=text.format(v.source))

    def _reshape(self, call):
        (y,), v, shape = (
            call.outputs,
            self.operand(call.args[0]),
            tuple(map(int, call.kwargs["shape"])),
        )
        if v.array is None:
            source = f"{v.source}.reshape({shape})"
            made = Value(shape, v.dtype, v.slot, source=source)
            if v.slot is not None and self._uses(y) > 1:
                made.source = self.name()
                self.lines.append(f"{made.source} = {source}")
            return self.define(y, made)
        array = _reshaped(v.array, shape)
        if array is None:  # it has to be copied
            out = self.place(y)
            if out.array is None:
                self.line("{}[...] = {}.reshape({})", out, v, str(shape))
            else:
                self.line("{}({}, {})", np.copyto, out.array.reshape(v.shape), v)
            return self.define(y, out)
        whole = v.whole and array.flags.c_contiguous
        return self.define(y, Value(shape, v.dtype, v.slot, array, whole=whole))

    def _uses(self, y):
        return sum(s is y for c in self.graph.calls for s in symbols(c.args))

    def _broadcast(self, call):
        (y,), shape = call.outputs, tuple(map(int, call.kwargs["shape"]))
        v = self.operand(call.args[0], np_dtype(y.dtype))
        base = v.base or v
        if v.shape == shape:
            return self.define(y, v)
        if v.array is not None:
            array = np.broadcast_to(v.array, shape)
            return self.define(y, Value(shape, v.dtype, v.slot, array, base=base))
        source = f"{self.source(np.broadcast_to)}({v.source}, {shape})"
        return self.define(y, Value(shape, v.dtype, v.slot, source=source, base=base))

    # Contractions and reductions ---------------------------------------------
    def _dot(self, call):
        (z,), (x, y) = call.outputs, map(self.operand, call.args)
        (cx, cy), (bx, by) = call.kwargs["contract"], call.kwargs["batch"]
        if numpy_windows.is_low(x.dtype):
            return NotImplemented
        free_x = [i for i in range(len(x.shape)) if i not in cx and i not in bx]
        free_y = [i for i in range(len(y.shape)) if i not in cy and i not in by]
        lead = [x.shape[i] for i in bx]
        m, n = (math.prod(v.shape[i] for i in axes) for v, axes in ((x, free_x), (y, free_y)))
        inner = math.prod(x.shape[i] for i in cx)
        scratch = []
        a = self._matrix(x, (*bx, *free_x, *cx), (*lead, m, inner), scratch)
        b = self._matrix(y, (*by, *cy, *free_y), (*lead, inner, n), scratch)
        out = self.place(z)
        self.line("{}({}, {}, out={})", np.matmul, a, b, self._shaped(out, (*lead, m, n)))
        self.blocks.extend(scratch)
        return self.define(z, out)

    def _matrix(self, v, order, shape, scratch):
        """A source for `v` transposed and reshaped; `scratch` notes the block of a copy."""
        shape = tuple(map(int, shape))
        if v.array is not None:
            turned = v.array.transpose(order)
            array = _reshaped(turned, shape)
            if array is None:
                copy = self.buffer(turned.shape, turned.dtype)
                scratch.append(copy.slot.block)
                self.line("{}({}, {})", np.copyto, copy, turned)
                array = copy.array.reshape(shape)
            return self.source(array)
        source = v.source
        if order != tuple(range(len(order))):
            source = f"{source}.T" if order == (1, 0) else f"{source}.transpose{tuple(order)}"
        turned = tuple(v.shape[i] for i in order)
        return source if turned == shape else f"{source}.reshape({shape})"

    def _shaped(self, v, shape):
        """A source for contiguous `v` in another shape."""
        shape = tuple(map(int, shape))
        if v.shape == shape:
            return v
        return v.array.reshape(shape) if v.array is not None else f"{v.source}.reshape({shape})"

    def _reduce(self, call):
        (y,), v, axes = call.outputs, self.operand(call.args[0]), call.kwargs["axes"]
        ufunc, empty_too = REDUCTIONS[call.target]
        size = math.prod(v.shape)
        if numpy_windows.is_low(v.dtype) or not (size or empty_too):
            return NotImplemented
        out = self.place(y)
        rows = math.prod(v.shape[: len(axes)])
        leading = tuple(axes) == tuple(range(len(axes))) and len(axes) < len(v.shape)
        if ufunc is np.add and leading and rows >= 64 and v.dtype.kind == "f" and v.base is None:
            columns = math.prod(
                v.shape[len(axes) :]
            )  # a product with ones is faster than a sum down columns
            matrix = self._matrix(v, tuple(range(len(v.shape))), (rows, columns), scratch := [])
            self.line(
                "{}({}, {}, out={})",
                np.matmul,
                np.ones(rows, v.dtype),
                matrix,
                self._shaped(out, (columns,)),
            )
            self.blocks.extend(scratch)
        else:
            axis = axes[0] if len(axes) == 1 else tuple(axes)
            self.line(f"{{}}({{}}, {axis}, None, {{}})", ufunc.reduce, v, out)
        return self.define(y, out)

    def _arg(self, call):
        (y,), v = call.outputs, self.operand(call.args[0])
        if numpy_windows.is_low(v.dtype):
            return NotImplemented
        out = self.place(y)
        method = call.target.name
        self.line(
            f"{{}}({{}}, {{}}.{method}({int(call.kwargs['axis'])}), casting='unsafe')",
            np.copyto,
            out,
            v,
        )
        return self.define(y, out)

    # Places ---------------------------------------------
    def _concatenate(self, call):
        (y,) = call.outputs
        out = self.place(y)
        parts = [self.operand(x) for x in call.args]
        joined = "".join(self.source(v) + ", " for v in parts)
        self.line(f"{{}}(({joined}), {int(call.kwargs['axis'])}, {{}})", np.concatenate, out)
        return self.define(y, out)

    def _take(self, call):
        (y,), (x, indices) = call.outputs, map(self.operand, call.args)
        out = self.place(y)
        self.line(f"{{}}.take({{}}, {int(call.kwargs['axis'])}, {{}}, 'clip')", x, indices, out)
        return self.define(y, out)

    def _pad(self, call):
        (y,), v, widths = call.outputs, self.operand(call.args[0]), call.kwargs["widths"]
        if id(y) in self.escaping or id(y) in self.targets:
            return NotImplemented
        out = self.place(y)
        _, kept, places = numpy_windows.spans(v.shape, widths)
        self.line("{}.fill({})", out, np.asarray(call.kwargs["value"], v.dtype))
        inside = out.array[places]
        if v.array is not None:
            self.line("{}({}, {})", np.copyto, inside, v.array[kept])
        else:
            self.line("{}({}, {}[{}])", np.copyto, inside, v, kept)
        return self.define(y, out)

    # Loops ---------------------------------------------
    def _scan(self, call):
        """A scan whose body writes each step's results to where they belong."""
        body, carry, xs, length, backwards = (
            call.kwargs[k] for k in ("body", "carry", "xs", "length", "reverse")
        )
        values = [self.operand(x) for x in call.args]
        state, slices, constants = values[:carry], values[carry : carry + xs], values[carry + xs :]
        step = Plan(body, self.kernels, self.ufuncs, into=True).function()
        outs = [self.place(y) for y in call.outputs]
        last, other = outs[:carry], [self.buffer(v.shape, v.dtype) for v in outs[:carry]]
        first, second = (last, other) if length % 2 else (other, last)

        def rows(v):
            if v.array is None:
                return f"{self.source(_rows)}({v.source}, {backwards})"
            return self.source(_rows(v.array, backwards))

        def row(sources):
            return "(" + "".join(f"{self.source(s)}, " for s in sources) + ")"

        self.line(
            f"{{}}({{}}, {length}, {row(state)}, {row(constants)}, {row(first)}, {row(second)}, "
            f"{row(map(rows, slices))}, {row(map(rows, outs[carry:]))})",
            _run_scan, step,
        )  # fmt: skip
        if not length:
            for v, out in zip(state, outs):
                self.line("{}({}, {})", np.copyto, out, v)
        self.blocks.extend(v.slot.block for v in other)
        for y, out in zip(call.outputs, outs):
            self.define(y, out)


def _run_scan(step, length, state, constants, first, second, slices, ys):
    for inputs, outputs in zip(
        zip(*slices) if slices else repeat((), length), zip(*ys) if ys else repeat((), length)
    ):
        step(*state, *inputs, *constants, *first, *outputs)
        state, first, second = first, second, first


def _rows(array, backwards):
    """Views of the rows of an array, which may be written to."""
    rows = [array[i, ...] for i in range(len(array))]
    return rows[::-1] if backwards else rows


def _reshaped(array, shape):
    """A view of the array in another shape, or None if there is none."""
    try:
        return np.reshape(array, shape, copy=False)
    except ValueError:
        return None


def _view_of(target, params):
    """How a view is made now, and its source later."""
    if target is p.transpose:
        order = tuple(map(int, params["order"]))
        return (lambda a: a.transpose(order)), f"{{}}.transpose({order})"
    if target is p.slice:
        at = tuple(map(slice, params["start"], params["stop"], params["strides"]))
    else:
        rank = max(params["axes"], default=-1) + 1
        at = tuple(slice(None, None, -1 if i in params["axes"] else None) for i in range(rank))
    return (lambda a: a[(*at, ...)]), f"{{}}[{(*at, ...)}]".replace("Ellipsis", "...")


VIEWS = {
    p.transpose: Plan._view,
    p.slice: Plan._view,
    p.reverse: Plan._view,
    p.reshape: Plan._reshape,
    p.broadcast_to: Plan._broadcast,
    p.stop_gradient: lambda plan, call: plan.define(call.outputs[0], plan.operand(call.args[0])),
}
ALIASES = {p.barrier, p.with_gradient}
LOOPS = {p.cond, p.while_loop, p.scan, p.checkpoint}
REDUCTIONS = {
    p.reduce_sum: (np.add, True),
    p.reduce_prod: (np.multiply, True),
    p.reduce_any: (np.logical_or, True),
    p.reduce_all: (np.logical_and, True),
    p.reduce_max: (np.maximum, False),
    p.reduce_min: (np.minimum, False),
}
RULES = {
    **dict.fromkeys(REDUCTIONS, Plan._reduce),
    **dict.fromkeys((p.floor, p.ceil, p.round, p.trunc), Plan._rounding),
    p.select: Plan._select,
    p.cast: Plan._cast,
    p.dot_general: Plan._dot,
    p.argmax: Plan._arg,
    p.argmin: Plan._arg,
    p.concatenate: Plan._concatenate,
    p.take: Plan._take,
    p.pad: Plan._pad,
    p.scan: Plan._scan,
}
SPECIAL = {p.erf, p.erfc, p.erfinv, p.lgamma, p.digamma, p.i0e, p.i1e}
FRESH = {
    p.convolution, p.convolution_input_grad, p.convolution_kernel_grad, p.max_pool,
    p.max_pool_grad, p.max_pool_pick,
    p.sum_pool, p.scatter, p.scatter_along, p.take, p.gather_along, p.sort, p.argsort,
    p.random_bits, p.random_uniform,
    p.random_normal, p.iota, p.concatenate, p.dot_general, *REDUCTIONS, p.dynamic_update_slice,
}  # fmt: skip
