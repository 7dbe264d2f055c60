"""One pass over data with one kind of step, and what comes of it.

Where the data are in memory and the backend can, many steps run in one call (`Looped`); else batches
are fed one by one. The results of metrics are computed when somebody reads them (`Results`).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping

import numpy as np

from oneiros.core import backend, config, tree
from oneiros.core.scopes import StatelessScope
from oneiros.core.symbol import Symbol

__all__ = ["Loop", "Results", "float_of", "host"]

SECONDS_PER_CALL = 0.05  # how long many steps in one call may take: the progress bar stays alive


class Loop:
    """One pass after another over data with one kind of step."""

    def __init__(self, model, kind, data, listeners):
        self.model, self.kind, self.data, self.listeners = model, kind, data, listeners
        self.per_step = None  # seconds
        self.found = None, None  # the model's state and step function
        self.begin = getattr(listeners, f"on_{kind}_batch_begin")
        self.end = getattr(listeners, f"on_{kind}_batch_end")
        self.steps_limit = config.max_steps_per_epoch()

    def run(self, epoch):
        """One pass; the logs at its end."""
        own = self._run_arrays(epoch) if self.data.in_memory else self._run_stream(epoch)
        state = self.model._state
        logs = own if own is not None else Results(self.model, state)
        self.logs = {k: float_of(v) for k, v in logs.items()}
        return self.logs

    # Data in memory: the order of the epoch is known, and many steps may go in one call.
    def _run_arrays(self, epoch):
        data, model = self.data, self.model
        order, batch_size = data.order(epoch), data.batch_size
        size = len(order)  # fewer than there are where an epoch is less than a pass
        count = math.ceil(size / batch_size)
        count = count if self.steps_limit is None else min(count, self.steps_limit)
        whole = min(size // batch_size, count)
        first_rows = tree.map_structure(
            lambda v: None if v is None else v[: min(batch_size, size)], data.arrays
        )
        state, function = model._prepare(self.kind, first_rows)
        structure = first_rows
        arrays = [v for v in tree.flatten(data.arrays) if v is not None]
        own, done = None, 0
        looped = (
            self._looped(function, state, structure, arrays, order, batch_size) if whole else None
        )
        while done < whole and not self._stopped():
            if looped is not None:
                steps = self._steps(whole - done)
                self.begin(done)
                began = time.perf_counter()
                looped.advance(done, steps)
                self._timed(time.perf_counter() - began, steps, looped)
                done += steps
                self.end(done - 1, Results(model, state))
            else:
                own = self._one(function, state, structure, arrays, order, done, batch_size)
                done += 1
        while done < count and not self._stopped():
            own = self._one(function, state, structure, arrays, order, done, batch_size)
            done += 1
        return own

    def _stopped(self):
        return self.kind == "train" and self.model.stop_training and self.listeners.needs_batches

    def _one(self, function, state, structure, arrays, order, step, batch_size):
        rows = order[step * batch_size : (step + 1) * batch_size]
        leaves = [_rows(v, rows) for v in arrays]
        self.begin(step)
        own = function.of(state, leaves, structure).run(leaves)
        self.end(step, own if own is not None else Results(self.model, state))
        return own

    def _looped(self, function, state, structure, arrays, order, batch_size):
        """Many steps in one call, where the backend has that, the step allows it, and nobody looks
        at batches.
        """
        engine, model = backend.current(), self.model
        chosen = model.steps_per_execution
        if model.run_eagerly or not hasattr(engine, "compile_loop"):
            return None
        if chosen == "auto" and self.listeners.needs_batches:
            return None
        if not engine.fits_device(arrays):
            return None
        example = [v[:batch_size] for v in arrays]
        compiled = function.of(state, example, structure)
        if compiled.extra is not None and tree.flatten(compiled.extra):
            return None
        made = compiled.__dict__.get("loop")
        if made is None:
            made = compiled.loop = engine.compile_loop(compiled, batch_size)
        if made is False:
            return None
        return Looped(compiled, made, engine, arrays, order, self.data)

    def _steps(self, left):
        chosen = self.model.steps_per_execution
        if chosen != "auto":
            return min(chosen, left)
        if self.per_step is None:
            return min(left, 8)
        return max(1, min(left, int(SECONDS_PER_CALL / max(self.per_step, 1e-7))))

    def _timed(self, seconds, steps, looped):
        if self.per_step is None and not looped.warm:
            looped.warm = True  # the first call compiles
            return
        looped.wait()
        self.per_step = seconds / steps if self.per_step is None else self.per_step

    # Streams --------------------------------------------------------------------------------------
    def _run_stream(self, epoch):
        own, step = None, 0
        for batch in self.data.batches(epoch):
            if self.steps_limit is not None and step >= self.steps_limit or self._stopped():
                break
            batch = tree.map_structure(host, batch)
            state, function = self._ready(batch)
            leaves = [v for v in tree.flatten(batch) if v is not None]
            self.begin(step)
            own = function.of(state, leaves, batch).run(leaves)
            self.end(step, own if own is not None else Results(self.model, state))
            step += 1
        if step == 0 and epoch == 0:
            raise ValueError("the data set gave no batch: it is empty")
        if self._ran_out(step) and step == 0:
            return self.logs
        return own

    def _ran_out(self, step):
        """Whether there were less batches than asked for, of which is told."""
        data = self.data
        wanted = (data.steps or 1) if self.steps_limit is None else 0
        short = not data.in_memory and step < wanted and not self._stopped()
        if short:
            warnings.warn(
                f"The {data.kind} ran out of data after {step} of {wanted} batches of this epoch; "
                "it must yield as many as steps per epoch times epochs",
                stacklevel=2,
            )
        return short

    def predict(self):
        waiting, structure, made, step = [], None, [], 0
        self.listeners.on_predict_begin()
        for step, batch in enumerate(self._batches()):
            if self.steps_limit is not None and step >= self.steps_limit:
                break
            state, function = self._ready(batch)
            leaves = [v for v in tree.flatten(batch) if v is not None]
            self.begin(step)
            outputs = function.of(state, leaves, batch).run(leaves)
            if not made:
                structure = outputs
                made = [Rows(self._batch_count) for _ in tree.flatten(outputs)]
            waiting.append(tree.flatten(outputs))
            if len(waiting) > 8:  # what was computed a while ago is fetched while newer batches run
                Rows.add_all(made, waiting.pop(0))
            self.end(step, {"outputs": outputs})
            del outputs
        self.listeners.on_predict_end()
        if not made:
            raise ValueError("predict got no data: the input has no samples")
        self._ran_out(step + 1)
        for parts in waiting:
            Rows.add_all(made, parts)
        return tree.pack_sequence_as(structure, [rows.all() for rows in made])

    def _ready(self, batch):
        """The state and the step function; the model is looked over once, or when it has changed."""
        state, function = self.found
        model = self.model
        if (
            state is None
            or model._state is not state
            or model._functions.get(self.kind) is not function
        ):
            state, function = self.found = model._prepare(self.kind, batch)
        return state, function

    @property
    def _batch_count(self):
        """How many batches there are in memory; 1 if nobody knows."""
        data = self.data
        return math.ceil(data.size / data.batch_size) if data.in_memory else 1

    def _batches(self):
        data = self.data
        if not data.in_memory:
            for x, _, _ in data.batches(0):
                yield tree.map_structure(host, (x, None, None))
            return
        x = data.arrays[0]
        for start in range(0, data.size, data.batch_size):
            rows = slice(start, start + data.batch_size)
            yield tree.map_structure(lambda v: None if v is None else v[rows], x), None, None


class Rows:
    """The rows of one output, put together as batches come, in hardly more memory than they take."""

    def __init__(self, batches):
        self.batches, self.array, self.count = batches, None, 0

    def add(self, part):
        part = backend.to_numpy(part)
        rows = np.shape(part)[1:]
        if self.array is None:
            self.array = np.empty((self.batches * len(part), *rows), part.dtype)
        elif rows != self.array.shape[1:]:
            raise ValueError(
                "predict: the outputs of all batches must have equal shapes but for the first axis; "
                f"got {part.shape} after {self.array.shape}"
            )
        end = self.count + len(part)
        if end > len(self.array):  # large blocks grow in place
            self.array.resize((end + end // 16, *rows), refcheck=False)
        self.array[self.count : end] = part
        self.count = end

    @staticmethod
    def add_all(columns, parts):
        for column, part in zip(columns, parts):
            column.add(part)

    def all(self):
        if self.count < len(self.array):
            self.array.resize((self.count, *self.array.shape[1:]), refcheck=False)
        return self.array


class Looped:
    """Data on the device, and the compiled loop over them."""

    def __init__(self, compiled, function, engine, arrays, order, data):
        self.compiled, self.function = compiled, function
        cached = data.__dict__.get("_on_device")
        if cached is None:
            cached = data._on_device = [engine.to_array(v) for v in arrays]
        rows = np.zeros(max(data.size, len(order)), np.int32)  # one length, so one compilation
        rows[: len(order)] = order
        self.arrays, self.order = cached, engine.to_array(rows)
        self.warm = compiled.__dict__.get("warm", False)

    def advance(self, first, count):
        compiled = self.compiled
        values = compiled.state.take()
        made = self.function(
            [values[i] for i in compiled.read], self.arrays, self.order, first, count
        )
        for i, v in zip(compiled.write, made):
            values[i] = v
        compiled.warm = True

    def wait(self):
        values = self.compiled.state.values
        if self.compiled.write:
            wait = getattr(values[self.compiled.write[-1]], "block_until_ready", None)
            if wait:
                wait()


class Results(Mapping):
    """The metrics' results by name, computed when they are read."""

    def __init__(self, model, state):
        self.model, self.state, self.made = model, state, None

    def _all(self):
        if self.made is None:
            self.made = metric_results(self.model, self.state)
        return self.made

    def __getitem__(self, key):
        return self._all()[key]

    def __iter__(self):
        return iter(self._all())

    def __len__(self):
        return len(self._all())

    def copy(self):
        return dict(self._all())


def metric_results(model, state):
    """The results of all metrics from the state's values, by one compiled function."""
    variables = state.variables["metrics"]
    if state.values is None:
        return {k: float_of(v) for k, v in model.get_metrics_result().items()}
    values = state.group("metrics")
    found = model._functions.get("results")
    if found is None and backend.current().quick_eager:  # once is quicker than compiling
        model._functions["results"] = ()
        with StatelessScope(zip(variables, values)):
            return {k: float_of(v) for k, v in model.get_metrics_result().items()}
    if not found:
        found = model._functions["results"] = _results_function(model, variables)
    names, function = found
    return dict(zip(names, [float_of(v) for v in function(*values)]))


def _results_function(model, variables):
    from oneiros.core.graph import trace
    from oneiros.core.op import array
    from oneiros.core.spec import Spec
    from oneiros.training.step import _constant_symbol

    names = []

    def results(*symbols):
        with StatelessScope(zip(variables, symbols)):
            logs = model.get_metrics_result()
        names.extend(logs)
        made = [array(v) for v in logs.values()]
        return [v if isinstance(v, Symbol) else _constant_symbol(v) for v in made]

    try:
        graph = trace(results, [Spec(v.shape, v.dtype) for v in variables])
        return names, backend.current().compile(graph)
    except Exception:
        # A metric that needs real values is asked for them as it is.
        def eager(*values):
            with StatelessScope(zip(variables, values)):
                logs = model.get_metrics_result()
            names[:] = list(logs)
            return list(logs.values())

        return names, eager


def float_of(v):
    """A scalar log as a Python float; anything else as it is."""
    if hasattr(v, "shape") and not v.shape:
        return float(backend.to_numpy(v))
    if hasattr(v, "numpy") or hasattr(v, "__array__") and not isinstance(v, (int, float)):
        v = np.asarray(v)
        return float(v) if v.size == 1 else v
    return v


def _rows(v, rows):
    return v[rows] if isinstance(v, np.ndarray) else np.asarray(v)[rows]


def host(v):
    """A leaf of a batch as an array with the default float dtype."""
    if v is None or isinstance(v, Symbol):
        return v
    if not hasattr(v, "dtype") or not hasattr(v, "shape"):
        v = np.asarray(v)
        if v.dtype == np.int64:
            v = v.astype(np.int32)
    if (
        isinstance(v, (np.ndarray, np.generic))
        and v.dtype == np.float64
        and config.floatx() != "float64"
    ):
        v = np.asarray(v).astype(config.floatx())
    return v
