"""Models that take strings: their first layers run on the host, on batches, before the step.

A model is run once on symbols, and the calls of layers that work on the host are noted
(`layers/host.py`): that is the stage. A batch goes through it in NumPy, on the thread that reads
data ahead; what the calls give takes the place of the strings, and the step, traced as ever, is
given it where it meets those calls. If the stage gives arrays of one length, data in memory go
through it once and for all.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any, NamedTuple

import numpy as np

from oneiros.core import backend, tree
from oneiros.core.op import infer
from oneiros.core.scopes import StatelessScope
from oneiros.core.spec import Unknown, dtype_name
from oneiros.core.symbol import Symbol
from oneiros.layers.base import CHANGES
from oneiros.layers.host import STAGE, Absent, fit_rank
from oneiros.training.data import to_arrays
from oneiros.training.data_streams import prefetched

__all__ = ["Staged", "has_stage", "on_stage", "staged_batch", "staged_data", "symbols_of"]

LIMIT = 1 << 28  # bytes of arrays that are made of data in memory once and for all
CHUNK = 4096  # samples that are made at a time


class Staged(NamedTuple):
    """The inputs of a batch after the stage: what is no string, and what the host calls gave."""

    given: Any
    made: list


class HostCall(NamedTuple):
    """A call of a host layer: where its inputs are from, and what it gives."""

    layer: Any
    sources: list  # ("given" or "made", place, rank)
    shape: tuple
    text: bool


class Stage:
    """The calls of host layers in a model, in their order.

    Args:
        model: A model that was built.
        x: A batch of its inputs.
    """

    def __init__(self, model, x):
        self.structure = tree.map_structure(lambda v: 0, x)
        leaves = tree.flatten(x)
        self.texts, self.shapes = [is_text(v) for v in leaves], [np.shape(v)[1:] for v in leaves]
        self.key = tuple(zip(self.texts, self.shapes))
        self.calls, self.values, self.position, self.replaying = [], None, 0, False

        def run(*probes):
            self.calls, self.kept = [], list(probes)
            self.known = {id(s): ("given", i) for i, s in enumerate(probes)}
            values = [
                Absent(s.shape, ("given", i)) if text else s
                for i, (s, text) in enumerate(zip(probes, self.texts))
            ]
            with on_stage(self), StatelessScope():
                model(self._packed(values))
            return ()

        infer(run, tuple(tree.flatten(symbols_of(model, x))))
        self.known, self.kept, self.replaying = {}, [], True
        if not self.calls:
            refuse_strings(model, x)

    def _packed(self, leaves):
        leaves = iter(leaves)
        return tree.map_structure(lambda _: next(leaves), self.structure)

    # While the model runs -------------------------------------------------------------------------
    def call(self, layer, parts):
        """What stands for a host layer's result where the model runs on symbols or arrays."""
        if self.replaying:
            own = self.calls[self.position].layer
            if own is not layer:
                raise RuntimeError(
                    f"the model called layer '{layer.name}' where it had called '{own.name}': its calls "
                    "of layers for strings must not change from run to run"
                )
            made, self.position = self.values[self.position], self.position + 1
            return made
        sources = [self._source(layer, x) for x in parts]
        result, place = layer._abstract(parts), ("made", len(self.calls))
        text = result.dtype == "string"
        self.calls.append(HostCall(layer, sources, _plain(result.shape), text))
        if text:
            return Absent(result.shape, place)
        self.known[id(result)] = place
        self.kept.append(result)  # so that its id stays its own
        return result

    def takes(self, layer, x):
        """Whether a layer that may also run in the step is run before it: where it can be."""
        if self.replaying:
            return self.position < len(self.calls) and self.calls[self.position].layer is layer
        return self._source(layer, x, strict=False) is not None

    def _source(self, layer, x, strict=True):
        """Where a host call has an input from, and the rank that it has there."""
        rank = len(x.shape)
        if isinstance(x, Absent):
            return (*x.source, rank)
        while isinstance(x, Symbol):
            if id(x) in self.known:
                return (*self.known[id(x)], rank)
            name = getattr(getattr(x.call, "target", None), "name", None)
            if name not in ("cast", "reshape"):
                break
            x = x.call.args[0]
        if not strict:
            return None
        raise TypeError(
            f"{type(layer).__name__} '{layer.name}' works on the host: its inputs must be inputs of "
            "the model (or what other such layers make of them), not what the model computes"
        )

    # On batches -----------------------------------------------------------------------------------
    def apply(self, x):
        """A batch of inputs as `Staged`."""
        leaves, made = list(map(_host, tree.flatten(x))), []
        for call in self.calls:
            inputs = []
            for kind, place, rank in call.sources:
                value = (leaves if kind == "given" else made)[place]
                shape = (None,) * (rank - 1) + (1,)
                inputs.append(fit_rank(value, shape) if np.ndim(value) != rank else value)
            call.layer.check(*inputs)
            made.append(call.layer.compute(*inputs))
            if isinstance(made[-1], list):
                raise ValueError(
                    f"layer '{call.layer.name}' gives ragged rows, which a compiled step cannot take: "
                    "leave out ragged=True"
                )
        given = self._packed([None if t else v for v, t in zip(leaves, self.texts)])
        return Staged(given, [_narrow(v) for v, c in zip(made, self.calls) if not c.text])

    def inputs(self, staged):
        """The inputs that the model is called on, strings being absent; what was made is at hand."""
        rest = iter(staged.made)
        count = staged.made[0].shape[0] if staged.made else None
        self.position, self.values = 0, [
            Absent((count, *c.shape[1:]), ("made", i)) if c.text else next(rest)
            for i, c in enumerate(self.calls)
        ]  # fmt: skip
        rows = zip(self.texts, self.shapes, tree.flatten(staged.given))
        return self._packed(
            [Absent((count, *s), ("given", i)) if t else v for i, (t, s, v) in enumerate(rows)]
        )

    @property
    def fixed(self):
        """Whether every call gives arrays of one length."""
        return all(None not in call.shape[1:] for call in self.calls)


@contextlib.contextmanager
def on_stage(stage):
    """Within it, host layers meet the stage."""
    outer, STAGE.active = STAGE.active, stage
    try:
        yield
    finally:
        STAGE.active = outer


# What the trainer asks ----------------------------------------------------------------------------
def has_stage(model):
    """Whether a model has layers that work on the host; asked again when layers have changed."""
    since, found = model.__dict__.get("_has_stage", (None, False))
    if since != CHANGES[0]:
        found = any(getattr(layer, "on_host", False) for layer in model._flatten_layers())
        object.__setattr__(model, "_has_stage", (CHANGES[0], found))
    return found


def refuse_strings(model, x):
    """Say that a model without layers for strings was given some."""
    if any(map(is_text, tree.flatten(x))):
        raise ValueError(
            f"model '{model.name}': inputs must be numbers; got an array of dtype object or str. For "
            "strings, begin with TextVectorization, StringLookup or Hashing"
        )


def stage_of(model, x):
    """The stage of a model that was built, for inputs like `x`."""
    key = tuple((is_text(v), np.shape(v)[1:]) for v in tree.flatten(x))
    known = model.__dict__.get("_stage")
    if known is None or known.key != key:
        known = Stage(model, x)
        object.__setattr__(model, "_stage", known)
    return known


def staged_batch(model, x, y=None):
    """A batch of inputs after the stage, if the model has one; the model is built."""
    if not has_stage(model):
        refuse_strings(model, x)
        return x
    x = to_arrays(x, "x")
    model._build_once(x, y)
    return stage_of(model, x).apply(x)


def staged_data(model, data):
    """The data that a loop runs over, after the stage, if the model has one; the model is built."""
    if not has_stage(model):
        if data.in_memory:
            refuse_strings(model, data.arrays[0])
        return data
    x, y, _ = data.peek()
    model._build_once(x, y)
    stage = stage_of(model, x)
    if not (data.in_memory and stage.fixed):
        return StagedStream(data, stage)
    x, y, weight = data.arrays
    sample = stage.apply(tree.map_structure(lambda v: v[:1], x))
    if sum(v.nbytes for v in sample.made) * data.size > LIMIT:
        return StagedStream(data, stage)
    parts = [
        stage.apply(tree.map_structure(lambda v, i=i: v[i : i + CHUNK], x))
        for i in range(0, data.size, CHUNK)
    ]
    made = [np.concatenate(column) for column in zip(*[part.made for part in parts])]
    given = stage._packed([None if t else v for v, t in zip(tree.flatten(x), stage.texts)])
    twin = copy.copy(data)
    twin.arrays = (Staged(given, made), y, weight)
    return twin


class StagedStream:
    """Batches of other data, each after the stage, made ahead of use."""

    in_memory = False
    arrays = size = batch_size = None

    def __init__(self, data, stage):
        self.data, self.stage = data, stage

    def __getattr__(self, name):
        return getattr(self.data, name)

    @property
    def steps(self):
        return self.data.num_batches if self.data.in_memory else self.data.steps

    def _batch(self, batch):
        x, y, weight = batch
        return self.stage.apply(x), y, weight

    def batches(self, epoch):
        """The batches of an epoch."""
        with contextlib.closing(prefetched(map(self._batch, self.data.batches(epoch)))) as ahead:
            yield from ahead

    def peek(self):
        """The first batch."""
        return self._batch(self.data.peek())


# Small helpers ------------------------------------------------------------------------------------
def is_text(v):
    """Whether an array holds strings."""
    dtype = getattr(v, "dtype", None)
    if isinstance(dtype, np.dtype):
        return dtype.kind in "OUST"
    return dtype is not None and dtype_name(dtype) == "string"


def symbols_of(model, x):
    """The symbols to build a model on, for a batch of inputs or what the stage made of one."""
    if isinstance(x, Staged):
        stage = model._stage
        rows = zip(stage.texts, stage.shapes, tree.flatten(x.given))
        return stage._packed(
            [Symbol((None, *s), "string") if t else _symbol(v) for t, s, v in rows]
        )
    return tree.map_structure(_symbol, x)


def _symbol(v):
    """A symbol for a batch of any length like `v`."""
    if v is None:
        return None
    dtype = "string" if is_text(v) else backend.current().canonical_dtype(dtype_name(v.dtype))
    return Symbol((None, *v.shape[1:]) if v.shape else (), dtype)


def _plain(shape):
    return tuple(None if isinstance(n, Unknown) else n for n in shape)


def _host(v):
    return v if isinstance(v, np.ndarray) else backend.to_numpy(v)


def _narrow(v):
    """Wide integers as the default ones: they are numbers of categories."""
    return v.astype("int32") if v.dtype == np.int64 else v
