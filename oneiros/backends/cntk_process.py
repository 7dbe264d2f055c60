"""CNTK's process as seen from here, the memory shared with it, and graphs as it is told them.

Arrays that a program gives are views of the shared memory; handed to a program again they cost no
copy, and where the caller donates them what comes of them takes their place. A process that died is
an error at once; the next call starts another, and the arrays are still there.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import mmap
import os
import socket
import struct
import subprocess
import tempfile
import threading
import weakref

import numpy as np

from oneiros.backends import cntk_setup
from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype
from oneiros.core.spec import spec_of
from oneiros.core.symbol import Symbol

__all__ = ["CARRY", "Program"]

CARRY = {"float64": "f8"} | dict.fromkeys(
    ("float32", "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"), "f4"
)  # dtypes to the floats that hold their values
EXACT = 2**24  # float32 holds whole numbers up to here
HEAD = struct.Struct("<cQ")
LINE = 64  # bytes to which arrays are aligned


class Memory:
    """Arrays that both processes see, in one file without a name; freed when nobody holds them."""

    def __init__(self):
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.descriptor = os.memfd_create("oneiros-cntk")
        os.ftruncate(self.descriptor, pages)  # takes no memory before it is written
        self.map, self.end, self.length = mmap.mmap(self.descriptor, pages), 0, pages
        self.free, self.held = {}, {}

    def array(self, shape, dtype):
        """A new array; it is free again when it and its views are gone."""
        size = room(int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize)
        spare = self.free.get(size)
        if spare:
            offset = spare.pop()
        elif self.end + size <= self.length:
            offset, self.end = self.end, self.end + size
        else:
            raise MemoryError(f"backend 'cntk': {self.length} bytes of shared memory are in use")
        made = np.ndarray(shape, dtype, self.map, offset)
        key = id(made)

        def release(_, key=key, size=size, offset=offset):
            self.held.pop(key, None)
            self.free.setdefault(size, []).append(offset)

        self.held[key] = weakref.ref(made, release), offset
        return made

    def place(self, x):
        """Where an array of `array` begins; None for others."""
        found = self.held.get(id(x))
        return None if found is None or found[0]() is not x else found[1]


def room(size):
    """The bytes set aside for an array: few sizes, so that what was freed fits again."""
    step = max(LINE, 1 << max(0, size.bit_length() - 4))
    return -(-max(size, 1) // step) * step


class Process:
    """CNTK's process: `ask` sends a message and waits for the answer, or for its death."""

    def __init__(self, memory):
        here, there = socket.socketpair()
        worker = os.path.join(os.path.dirname(__file__), "cntk_worker.py")
        self.words = tempfile.TemporaryFile()
        with there:
            fds = there.fileno(), memory.descriptor
            self.process = subprocess.Popen(
                [cntk_setup.interpreter(), "-I", worker, *map(str, fds)],
                pass_fds=fds, env=cntk_setup.environment(), start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.words,
            )  # fmt: skip
        self.channel, self.known, self.owner = here, set(), os.getpid()
        here.settimeout(1.0)
        self.answer()

    def ask(self, kind, body):
        """Raises RuntimeError with CNTK's words, or because the process ended."""
        try:
            self.channel.sendall(HEAD.pack(kind, len(body)) + body)
            self.answer()
        except OSError:
            self.lost()
        except Refused:
            raise
        except BaseException:  # interrupted: an answer is still on its way
            self.end()
            raise

    def answer(self):
        kind, length = HEAD.unpack(self.received(HEAD.size))
        words = self.received(length) if length else b""
        if kind != b"y":
            raise Refused(f"backend 'cntk': {words.decode(errors='replace')}")

    def received(self, length):
        parts = b""
        while len(parts) < length:
            try:
                part = self.channel.recv(length - len(parts))
            except TimeoutError:
                if self.process.poll() is None:
                    continue
                part = b""
            if not part:
                self.lost()
            parts += part
        return parts

    def lost(self):
        self.end()
        words = self.words
        code = self.process.returncode
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise RuntimeError(
            f"backend 'cntk': CNTK's process ended ({how}); the next call starts another"
            + (f". Its last words:\n{words}" if words else "")
        )

    def end(self):
        """Stop the process, if it is this process's; its last words stay."""
        self.channel.close()
        if self.owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
            self.process.kill()
            self.process.wait()
        if not isinstance(self.words, str):
            with self.words as file:
                file.seek(0)
                self.words = file.read()[-800:].decode(errors="replace").strip()

    @property
    def alive(self):
        return self.channel.fileno() >= 0 and self.process.poll() is None


class Refused(RuntimeError):
    """CNTK's own error."""


class Session:
    """This process's memory and CNTK process; a forked child has its own."""

    memory = process = None

    def __init__(self):
        self.lock, self.count, self.forgotten = threading.RLock(), 0, []

    def ready(self):
        if self.memory is None:
            self.memory = Memory()
        if self.process is None or not self.process.alive:
            if self.process is not None:
                self.process.end()
            self.process = Process(self.memory)
        if self.forgotten:
            keys, self.forgotten[:] = list(self.forgotten), []
            self.process.ask(b"f", json.dumps(keys).encode())
        return self.process

    def end(self):
        if self.process is not None:
            self.process.end()


SESSION = Session()


def _after_fork():
    global SESSION
    SESSION = Session()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: SESSION.end())


def fits(x):
    """Whether a float32 holds the integers `x`."""
    return x.size == 0 or (x.min() >= -EXACT and x.max() <= EXACT)


class Program:
    """A function of flat NumPy arrays that CNTK computes.

    Args:
        graph: Calls that CNTK takes.
        donate: Positions of inputs whose memory outputs may take over.
        inner: Ids of outputs that only programs read: they stay as CNTK carries them.
    """

    def __init__(self, graph, donate=(), inner=()):
        dtypes = [s.dtype for s in (*graph.inputs, *graph.outputs)]
        self.float = "f8" if "float64" in dtypes else "f4"  # CNTK takes inputs of one dtype
        self.inputs = [(tuple(s.shape), self.float) for s in graph.inputs]
        self.outputs = [(tuple(s.shape), CARRY[s.dtype]) for s in graph.outputs]
        self.dtypes = [
            np.dtype(c) if id(s) in inner else np_dtype(s.dtype)
            for s, (_, c) in zip(graph.outputs, self.outputs)
        ]
        self.plain = [np.dtype(c) == d for (_, c), d in zip(self.outputs, self.dtypes)]
        self.long = [i for i, s in enumerate(graph.inputs) if s.dtype in ("int32", "uint32")]
        self.instead = None
        spare = {}
        for i in donate:
            if np_dtype(graph.inputs[i].dtype) == self.inputs[i][1]:
                spare.setdefault(self.inputs[i], []).append(i)
        self.heirs = [  # for each output the donated input whose place it takes, or None
            spare[s].pop(0) if own and spare.get(s) else None
            for s, own in zip(self.outputs, self.plain)
        ]
        self.session, self.staged, self.graph = None, {}, graph
        self.specs = [spec_of(s) for s in graph.outputs]

    def __call__(self, *values):
        if any(not fits(values[i]) for i in self.long):
            return self.by_numpy(*values)
        session = SESSION
        with session.lock:
            process = session.ready()
            if self.session is not session:
                self.session, self.staged = session, {}
                session.count += 1
                self.key = session.count
                weakref.finalize(self, session.forgotten.append, self.key)
            if self.key not in process.known:
                process.ask(b"b", json.dumps(self.told(session.memory)).encode())
                process.known.add(self.key)
            memory = session.memory
            places = [self.given(memory, i, x) for i, x in enumerate(values)]
            made = [self.target(memory, j, values) for j in range(len(self.outputs))]
            numbers = [self.key, *places, *map(memory.place, made)]
            process.ask(b"r", struct.pack(f"<{len(numbers)}Q", *numbers))
            return [
                y if own else y.astype(dtype, copy=True)
                for y, own, dtype in zip(made, self.plain, self.dtypes)
            ]

    def by_numpy(self, *values):
        """The outputs for integers that floats do not hold."""
        if self.instead is None:
            from oneiros.core import backend

            self.instead = backend.load("numpy").compile(self.graph)
        values = [
            x if isinstance(x, np.ndarray) and x.dtype == d else np.asarray(x).astype(d)
            for x, d in zip(values, (np_dtype(s.dtype) for s in self.graph.inputs))
        ]
        made = self.instead(*values)
        return [y.astype(d, copy=False) for y, d in zip(made, self.dtypes)]

    def given(self, memory, i, x):
        """Where the input `x` is, in shared memory."""
        place = memory.place(x)
        shape, dtype = self.inputs[i]
        if place is not None and x.dtype == dtype and x.shape == shape:
            return place
        staged = self.staged.get(i)
        if staged is None:
            staged = self.staged[i] = memory.array(shape, dtype)
        np.copyto(staged, x, casting="unsafe")
        return memory.place(staged)

    def target(self, memory, j, values):
        """The array that the output `j` is put into."""
        shape, dtype = self.outputs[j]
        if not self.plain[j]:
            staged = self.staged.get(~j)
            if staged is None:
                staged = self.staged[~j] = memory.array(shape, dtype)
            return staged
        heir = self.heirs[j]
        if heir is not None and memory.place(values[heir]) is not None:
            return values[heir]
        return memory.array(shape, dtype)

    def told(self, memory):
        """The graph as the worker is told it: arrays by key; constants are in shared memory."""
        keys, constants, self.constants = {}, [], []

        def key_of(s):
            return keys.setdefault(id(s), f"{len(keys)}")

        def row(s):
            return [key_of(s), list(s.shape), CARRY[s.dtype]]

        def argument(x, other):
            if isinstance(x, Symbol):
                return [key_of(x)]
            if not hasattr(x, "shape"):
                return x
            if id(x) not in keys:
                spec = spec_of(x)
                array = memory.array(spec.shape, CARRY[spec.dtype])
                np.copyto(array, x, casting="unsafe")
                self.constants.append((array, x))
                constants.append([*row_of(key_of(x), spec), memory.place(array)])
            return [key_of(x)]

        inputs = [row(s) for s in self.graph.inputs]
        calls = []
        for call in self.graph.calls:
            args = [argument(x, call) for x in call.args]
            name, args, params = translated(call, args)
            calls.append([name, args, params, [row(s) for s in call.outputs]])
        outputs = [key_of(s) for s in self.graph.outputs]
        return {
            "id": self.key, "float": self.float, "inputs": inputs, "calls": calls, "outputs": outputs,
            "constants": constants,
        }  # fmt: skip


def row_of(key, spec):
    return [key, list(spec.shape), CARRY[spec.dtype]]


def translated(call, args):
    """The name, arguments and parameters of a call as the worker takes them."""
    target, params = call.target, dict(call.kwargs)
    if target is p.cast:
        have, want = spec_of(call.args[0]).dtype, params["dtype"]
        kind = "bool" if want == "bool" != have else None
        kind = "int" if "float" in have and "int" in want else kind
        return "cast", args, {"kind": kind}
    if target is p.divide and type(args[1]) in (int, float):
        return "multiply", [args[0], 1 / args[1]], {}
    if target is p.power and type(args[1]) in (int, float):
        params["exponent"] = args[1]
    if target in (p.log, p.log2, p.log10):
        from oneiros.backends.cntk import TINY, bounds

        params["safe"] = bounds(call.args[0])[0] >= TINY
    if target in (p.reduce_max, p.reduce_min):
        params["exact"] = "float" not in call.outputs[0].dtype
    return target.name, args, params
