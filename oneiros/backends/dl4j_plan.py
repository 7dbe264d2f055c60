"""A graph as calls of ND4J's engine on memory laid out beforehand.

The layout is NumPy's (`numpy_plan`): buffers that values share in turn, views made once. All of it
is known before the first run, so the engine's contexts are made over it, once. Inputs have a place
in that layout too; the engine's buffers over it are bound to the memory that a call brings, if that
is other than the last call's. A step's state comes back in the memory in which it went out, so
nothing is bound or copied there.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from oneiros.backends import numpy_plan
from oneiros.backends.dl4j_native import CODES, Memory
from oneiros.backends.numpy_plan import Value
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import Graph, symbols
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Symbol

__all__ = ["Steps", "steps"]

UNROLLED = 4000  # calls that a loop may become


def steps(graph, rules, numpy, ufuncs, donate=()):
    """A function of the graph's inputs that returns the list of its outputs.

    Args:
        rules: Primitive to `rule(plan, call)`, which has the engine compute the call, or gives
            NotImplemented.
        numpy: A function from target to NumPy's kernel, for calls without a rule.
        ufuncs: As for `numpy_plan.plan`.
    """
    made = Steps(graph, rules, numpy, ufuncs, donate)
    run, lock = made.function(), threading.Lock()

    def step(*values):
        with lock:
            return run(*values)

    step.source, step.specs, step.in_numpy = run.source, run.specs, made.in_numpy
    return step


class Slot(numpy_plan.Slot):
    """The place of an input: what is bound there, and whether it may be written to."""

    def __init__(self, position, writable):
        super().__init__()
        self.position, self.writable = position, writable


class Steps(numpy_plan.Plan):
    def __init__(self, graph, rules, numpy, ufuncs, donate):
        super().__init__(graph, numpy, ufuncs)
        self.rules, self.memory, self.in_numpy = rules, Memory(), set()
        self.scratch, self.contexts, self.ranges, self.places = [], 0, [], []
        self.donated, self.constants, self.temporaries, self.into = sorted(donate), {}, [], {}
        self.users, self.parts = users_of(graph), set()
        native = self.memory.native
        self.scope |= {"e": native.execCustomOp2, "stop": native_error(native), "nd": np.ndarray}
        self.scope["memory"] = self.memory  # it lives as long as the step
        for i, s in enumerate(graph.inputs):
            dtype, slot = np_dtype(s.dtype), Slot(i, i in donate)
            place = np.empty(s.shape, dtype) if math.prod(s.shape) else np.empty(1, dtype)[:0]
            place = place.reshape(s.shape)
            self.define(s, Value(s.shape, dtype, slot, place, whole=i in donate))
            low = place.__array_interface__["data"][0]
            self.ranges.append((low, low + place.nbytes, i))
            self.bound[id(place)] = f"s{i}"
            self.places.append(place)
            moved = self.memory.place(place)
            self.scope[f"s{i}"] = None
            self.scope[f"bind{i}"] = self._binder(i, place, moved, i in donate)
        self.home = {}
        for k, i in self._pairs():
            self.home.setdefault(id(graph.outputs[k]), self.values[id(graph.inputs[i])])

    def _escaping(self):
        return set()

    def _pairs(self):
        """Pairs of output and donated input of the same kind: where the state goes back to."""
        for k, i in enumerate(self.donated):
            if k < len(self.graph.outputs):
                y, x = spec_of(self.graph.outputs[k]), self.graph.inputs[i]
                if (tuple(y.shape), y.dtype) == (tuple(x.shape), x.dtype):
                    yield k, i

    def _binder(self, i, place, moved, writable):
        scope, bind = self.scope, self.memory.bind
        shape, dtype = place.shape, place.dtype

        def binder(x):
            own = x
            if type(x) is not np.ndarray or x.dtype != dtype or x.shape != shape:
                own = np.array(x, dtype, order="C").reshape(shape)
            elif not x.flags.c_contiguous or not x.flags.aligned or writable > x.flags.writeable:
                own = x.copy()
            if moved:
                bind(moved, own.__array_interface__["data"][0])
            scope[f"s{i}"] = own

        return binder

    def function(self):
        for s in self.graph.inputs:
            if self.last[id(s)] < 0:
                self.release(self.values[id(s)].slot)
        self.calls_in_turn(self.graph, self.last)
        returned = self._results()
        inputs = range(len(self.graph.inputs))
        head = [f"if x{i} is not s{i}: bind{i}(x{i})" for i in inputs]
        native = self.memory.native
        self.scope |= {"failed": native.lastErrorCode, "check": native.check}
        body = [*head, *self.lines, "if failed(): check()", f"return [{', '.join(returned)}]"]
        text = f"def step({', '.join(f'x{i}' for i in inputs)}):\n    " + "\n    ".join(body) + "\n"
        exec(compile(text, "<step>", "exec"), self.scope)  # our own text, of our own names
        run = self.scope["step"]
        run.source, run.specs = text, [spec_of(y) for y in self.graph.outputs]
        return run

    def _results(self):
        """The sources of the outputs: state in its own memory, the rest in memory of its own."""
        pairs, found, moves = dict(self._pairs()), [], []
        for k, y in enumerate(self.graph.outputs):
            v = self.operand(y)
            if k not in pairs:
                found.append(name := self.name())
                self.line(f"{name} = {{}}.copy()", v)
                continue
            place = self.places[pairs[k]]
            found.append(f"s{pairs[k]}")
            if v.array is not place:
                moves.append((v, place))
        for j, (v, place) in enumerate(moves):  # what lies in another's place is brought to safety
            if isinstance(v.slot, Slot) and v.slot.writable:
                safe = self.buffer(v.shape, v.dtype)
                self.copy(v.array, safe.array)
                moves[j] = safe, place
        for v, place in moves:
            self.copy(v.array, place)
        return found

    # Values ---------------------------------------------
    def source(self, x):
        """As in the base class; an array in an input's place is seen in the memory bound there."""
        array = x.array if isinstance(x, Value) else x
        if isinstance(array, np.ndarray) and id(array) not in self.bound:
            low = array.__array_interface__["data"][0]
            for first, end, i in self.ranges:
                if first <= low < end:
                    strides = f", {array.strides}" if array.ndim else ""
                    dtype = super().source(array.dtype)
                    return f"nd({array.shape}, {dtype}, s{i}, {low - first}{strides})"
        return super().source(x)

    def block(self, size):
        fits = [i for i, b in enumerate(self.blocks) if size <= b.nbytes <= 2 * size + 64]
        if fits:
            return self.blocks.pop(min(reversed(fits), key=lambda i: self.blocks[i].nbytes))
        raw = np.empty(size + 64, np.uint8)
        at = -raw.__array_interface__["data"][0] % 64
        return raw[at : at + size]

    def place(self, y, operands=()):
        shape, dtype = tuple(y.shape), np_dtype(y.dtype)
        if id(y) in self.into:
            return self.into[id(y)]
        reused = [
            v
            for x, v in operands
            if v.whole and v.slot is not None and v.slot.alive == 1 and id(x) in self.dying
            and v.shape == shape and v.dtype == dtype
        ]  # fmt: skip
        home = self.home.get(id(y))
        if home is not None and (home.slot.alive == 0 or any(v.slot is home.slot for v in reused)):
            return Value(shape, dtype, home.slot, home.array, whole=True)
        for v in reused:
            if v.slot.block is not None:
                return Value(shape, dtype, v.slot, v.array, whole=True)
        return self.buffer(shape, dtype)

    def kept(self, name, make, *args):
        """A constant that is made once: `make(*args)`."""
        key = name, *args
        if key not in self.constants:
            self.constants[key] = make(*args)
        return self.constants[key]

    def ones(self, count, dtype):
        """A row of ones."""
        return self.kept("ones", np.ones, (1, count), np.dtype(dtype))

    def temporary(self, shape, dtype):
        """A symbol with a buffer of its own, which dies with the current call."""
        s = Symbol(tuple(shape), dtype)
        self.define(s, self.buffer(tuple(map(int, shape)), np_dtype(dtype)))
        self.dying.add(id(s))
        self.temporaries.append(s)
        return s

    def spare_array(self, shape, dtype):
        """An array for what lives within one call only."""
        v = self.buffer(tuple(map(int, shape)), np.dtype(dtype))
        self.scratch.append(v.slot.block)
        return v.array

    def _free_scratch(self):
        self.blocks.extend(b for b in self.scratch if b.nbytes)
        self.scratch = []

    # Calls ---------------------------------------------
    def _emit(self, call):
        rule = self.rules.get(call.target) or self.rules.get(call.target.name)
        empty = not all(math.prod(y.shape) for y in call.outputs)
        empty = empty or not all(math.prod(self.operand(x).shape) for x in symbols(call.args))
        folded = all(self.operand(x).constant for x in symbols(call.args))
        if rule is None or empty or folded and call.args and call.target not in LOOPS:
            if not (empty or folded and call.args or call.target in QUIET):
                self.in_numpy.add(call.target)
            return super()._emit(call)
        if rule(self, call) is NotImplemented:
            self.in_numpy.add(call.target)
            super()._emit(call)
        return None

    def _fallback(self, call):
        """A kernel of NumPy's, whose results are put where the engine finds them."""
        kernel = self.kernels(call.target)
        args = [self._nested(x) for x in call.args]
        for key, value in call.kwargs.items():
            if isinstance(value, Graph):
                value = self.inner(value)
            args.append(f"{key}={self._nested(value)}")
        outs = [self.place(y) for y in call.outputs]
        names = [self.name() for _ in outs]
        left = names[0] if call.single else ", ".join(names) + ","
        self.line(f"{left} = {{}}({', '.join(args)})", kernel)
        for y, name, out in zip(call.outputs, names, outs):
            self.line("{}({}, {})", np.copyto, out, name)
            self.define(y, out)

    def scan(self, call):
        """A loop as the calls of all its steps; a long one goes through NumPy's loop."""
        body, carry, xs, length, reverse = (
            call.kwargs[k] for k in ("body", "carry", "xs", "length", "reverse")
        )
        if length * (len(body.calls) + 1) > UNROLLED or not length:
            return self._fallback(call)
        values = [self.operand(x) for x in call.args]
        state, slices, constants = values[:carry], values[carry : carry + xs], values[carry + xs :]
        stacks = [
            self.hold(self.buffer((length, *s.shape[1:]), np_dtype(s.dtype)))
            for s in call.outputs[carry:]
        ]
        state = [self.hold(v) for v in state]
        for i in range(length - 1, -1, -1) if reverse else range(length):
            rows = [self.row(v, i) for v in slices]
            state = self.one_step(
                body, [*state, *rows, *constants], carry, [self.row(s, i) for s in stacks]
            )
        for y, v in zip(call.outputs, [*state, *stacks]):
            self.define(y, v)
        for v in (*state, *stacks):
            self.release(v.slot)
        return None

    def hold(self, v):
        """The value, with one more who needs it."""
        if v.slot is not None:
            v.slot.alive += 1
        return v

    def row(self, v, i):
        base = v.base and v.base.shape == v.shape[1:] and v.base
        array = v.array[i, ...]
        return base or Value(array.shape, v.dtype, v.slot, array)

    def one_step(self, body, values, carry, rows):
        """Run a body once; what it gives beside its `carry` values goes to `rows`.

        The first values are held for it, as are those that it returns.
        """
        outer = self.dying, self.users
        self.users = self.kept("users", users_of, body)
        last = {id(s): -1 for s in body.inputs}
        for i, call in enumerate(body.calls):
            last.update((id(s), i) for s in (*call.outputs, *symbols(call.args)))
        last.update((id(s), len(body.calls)) for s in symbols(body.outputs))
        self.into, saved = {}, self.into
        for y, row in zip(body.outputs[carry:], rows):
            if isinstance(y, Symbol):
                self.into.setdefault(id(y), row)
        for k, (s, v) in enumerate(zip(body.inputs, values)):
            self.define(s, v)
            if k < carry:
                self.release(v.slot)
        for s in body.inputs:
            if last[id(s)] < 0:
                self.release(self.values[id(s)].slot)
        self.calls_in_turn(body, last)
        state = [self.hold(self.operand(y)) for y in body.outputs[:carry]]
        for y, row in zip(body.outputs[carry:], rows):
            v = self.operand(y, row.dtype)
            if v.array is not row.array:
                self.copy(np.broadcast_to(v.array, row.shape), row.array)
        for key in {id(s) for s in symbols(body.outputs)}:
            self.release(self.values[key].slot)
        self.into = saved
        self.dying, self.users = outer
        return state

    def calls_in_turn(self, graph, last):
        for i, call in enumerate(graph.calls):
            self.dying = {id(s) for s in (*symbols(call.args), *call.outputs) if last[id(s)] == i}
            self._emit(call)
            for key in self.dying:
                self.release(self.values[key].slot)
            self._free_scratch()

    def inner(self, graph):
        """A body of a loop as a function of arrays."""
        made = steps(graph, self.rules, self.kernels, self.ufuncs)
        self.in_numpy |= made.in_numpy
        return made

    def _reshape(self, call):
        (y,), v = call.outputs, self.operand(call.args[0])
        array = numpy_plan._reshaped(v.array, tuple(map(int, y.shape)))
        if array is None:
            out = self.place(y)
            self.copy(v.array, out.array.reshape(v.shape))
            return self.define(y, out)
        whole = v.whole and array.flags.c_contiguous
        return self.define(y, Value(y.shape, v.dtype, v.slot, array, whole=whole))

    # The engine's calls ---------------------------------------------
    def run(self, name, inputs, outputs, t=(), i=(), b=(), helpers=True, exact=True):
        """A line that runs one of the engine's ops on arrays."""
        args = self.memory.context(name, inputs, outputs, t, i, b, helpers, exact)
        k = self.contexts = self.contexts + 1
        _, self.scope[f"h{k}"], self.scope[f"c{k}"] = args
        self.lines.append(f"if e(None, h{k}, c{k}): stop({name!r})")

    def call(self, function, number, *parts):
        """A line that calls one of the engine's functions of pointers: arrays and pointers."""
        args = [None, number]
        for part in parts:
            args += self.memory.pair(part) if isinstance(part, np.ndarray) else [part]
        k = self.contexts = self.contexts + 1
        self.scope[f"a{k}"] = tuple(args)
        self.lines.append(f"{self.source(getattr(self.memory.native, function))}(*a{k})")

    def copy(self, x, out):
        """`x` into `out`, of any layout and dtype."""
        if x.dtype not in CODES or out.dtype not in CODES:
            return self.line("{}({}, {}, casting='unsafe')", np.copyto, out, x)
        if x.dtype == bool:
            x = x.view(np.uint8)
        if out.dtype == bool:
            out = out.view(np.uint8)
        if x.flags.c_contiguous and out.flags.c_contiguous:
            x, out = x.reshape(-1), out.reshape(-1)
        elif min(x.strides, default=0) < 0:
            return self.line("{}({}, {})", np.copyto, out, x)
        return self.call("execTransformAny", 0, x, out, None)

    def dense(self, x, shape=None):
        """The value of an operand as a contiguous array, copied only if it is not one."""
        v = self.operand(x) if isinstance(x, Symbol) else x
        array = v.array
        if array.flags.c_contiguous:
            return array
        if v.constant:
            return np.array(array, order="C")
        if v.base is not None:
            return self.spread(v.base, v.shape)
        if not isinstance(x, Symbol):
            out = self.spare_array(array.shape, array.dtype)
            self.copy(array, out)
            return out
        made = self.buffer(array.shape, array.dtype)  # once, for all who use it
        self.copy(array, made.array)
        self.release(v.slot)
        self.define(x, made)
        return made.array

    def spread(self, base, shape):
        """The value `base` repeated to `shape`, in memory that lives within one call."""
        return self.repeated(base.array, shape)

    def repeated(self, array, shape):
        out = self.spare_array(shape, array.dtype)
        if array.size == 1 and array.dtype != bool:
            self.call("execScalar", 14, out, out, array.reshape(()), None)
        else:
            self.copy(np.broadcast_to(array, shape), out)
        return out


def users_of(graph):
    """The ids of symbols to the calls that have them as arguments."""
    found = {}
    for call in graph.calls:
        for s in symbols(call.args):
            found.setdefault(id(s), []).append(call)
    return found


def native_error(native):
    def stop(name):
        native.check()
        raise RuntimeError(f"ND4J: op '{name}' failed")

    return stop


LOOPS = {p.cond, p.while_loop, p.scan, p.checkpoint}
QUIET = {*LOOPS, *numpy_plan.VIEWS, *numpy_plan.ALIASES}
