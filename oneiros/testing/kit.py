"""The battery that every backend must pass, over the rows of `cases`, `op_cases` and `models`.

Everything to compute is a `Part`: a function of arrays, and what it must give. Parts are run
eagerly, or many of them as one compiled graph, or through the framework's own derivatives; where a
joint run fails, its halves run by themselves until it is known which part is to blame. Derivatives
are checked in two steps: our rules against numeric derivatives, in float64 on NumPy; then the
backend's values of the derivative's graph against NumPy's.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import traceback
from collections.abc import Callable

import numpy as np

import oneiros.ops
from oneiros.core import backend, config, tree
from oneiros.core import primitives as p
from oneiros.core.autodiff import NotDifferentiable, gradient, is_differentiable
from oneiros.core.dtypes import np_dtype
from oneiros.core.graph import Graph, input_symbol, run, trace
from oneiros.core.op import OPS, infer
from oneiros.core.primitive import PRIMITIVES
from oneiros.core.spec import Spec, dtype_name, spec_of
from oneiros.testing import cases, models, op_cases

__all__ = ["Part", "conformance", "judge", "random_graph", "rules"]

TOLERANCE = {"float64": 1e-9, "float32": 3e-5, "float16": 5e-3, "bfloat16": 4e-2}
OF_COMPLEX = {"float64": "complex128", "float32": "complex64"}
LOW = ("float16", "bfloat16")
TOGETHER = 24  # how many parts are compiled as one graph


# Comparing ----------------------------------------------------------------------------------------
def outputs_of(made):
    return list(made) if isinstance(made, (tuple, list)) else [made]


def wide(x):
    x = np.asarray(backend.to_numpy(x))
    if x.dtype.kind not in "fcV":
        return x
    return x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)


def difference(got, want, tolerance):
    """What is wrong with the arrays `got`, or None."""
    if len(got) != len(want):
        return f"{len(got)} outputs for {len(want)}"
    for i, (a, b) in enumerate(zip(map(wide, got), map(wide, want))):
        if a.shape != b.shape:
            return f"output {i} has shape {a.shape} for {b.shape}"
        if a.dtype.kind in "fc" or b.dtype.kind in "fc":
            finite = b[np.isfinite(b)]
            scale = tolerance * max(1.0, np.abs(finite).max(initial=0))
            if not np.allclose(a, b, rtol=tolerance, atol=scale, equal_nan=True):
                with np.errstate(all="ignore"):
                    off = np.nanmax(np.abs(a - b))
                return f"output {i} is off by {off:.2g}, which is over {scale:.2g}"
        elif not np.array_equal(a, b):
            return f"output {i} differs: {a.ravel()[:6]} for {b.ravel()[:6]}"
    return None


def told(error):
    """What a failure is called: refusals are no faults."""
    if isinstance(error, NotImplementedError):  # UnsupportedOp, or a refusal of the framework's
        return f"unsupported: {error}"
    where = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
    return f"{type(error).__name__}: {error} ({place})"


def quiet_run(graph, arrays):
    """The graph's outputs, by NumPy."""
    before = config.backend()
    config.set_backend("numpy")
    try:
        return run(graph, arrays)
    finally:
        config.set_backend(before)


def on_backend(engine, args):
    return tree.map_structure(
        lambda x: engine.to_array(x) if isinstance(x, np.ndarray) else x, list(args)
    )


# Parts and how they run ---------------------------------------------------------------------------
@dataclasses.dataclass
class Part:
    """A function of arrays (or symbols) and what it must give.

    Args:
        name: What it belongs to: a primitive, op or layer.
        label: The check.
        function: Gives a list of arrays; for `native`, the scalar whose derivative is looked at.
        arrays: What it is called with.
        want: A function that gives the right arrays.
        specs: Shapes and dtypes that were foretold for what it gives; None if not looked at.
        seen: What of the outputs is compared, as `seen(*outputs)`; all of them if None.
        how: The runner.
    """

    name: str
    label: str
    function: Callable
    arrays: list
    want: Callable
    tolerance: float = 1e-3
    specs: list | None = None
    seen: Callable | None = None
    how: Callable | None = None


def judge(part, made, engine):
    """`(label, what is wrong or None)` for each thing that a part's outcome shows."""
    if isinstance(made, str):
        return [(part.label, made)]
    found = []
    if part.specs is not None:
        real = [Spec(tuple(v.shape), dtype_name(v.dtype)) for v in made]
        specs = [s.but(dtype=engine.canonical_dtype(s.dtype)) for s in part.specs]
        found.append(("shapes", None if real == specs else f"{real} for {specs}"))
    try:
        made = outputs_of(part.seen(*map(wide, made))) if part.seen else made
        return [*found, (part.label, difference(made, part.want(), part.tolerance))]
    except Exception as error:
        return [*found, (part.label, told(error))]


def eager(engine, parts):
    return [outputs_of(part.function(*on_backend(engine, part.arrays))) for part in parts]


def compiled(engine, parts):
    """All parts as one graph, run twice: the second run meets the buffers of the first."""
    counts, arrays = [], [x for part in parts for x in part.arrays]

    def whole(*symbols):
        outputs, left = [], iter(symbols)
        for part in parts:
            made = outputs_of(part.function(*[next(left) for _ in part.arrays]))
            counts.append(len(made))
            outputs += made
        return outputs

    step = engine.compile(trace(whole, list(map(spec_of, arrays)), engine.kept("train")))
    for _ in range(2):
        made = iter(step(*on_backend(engine, arrays)))
    return [[next(made) for _ in range(n)] for n in counts]


def native(engine, parts):
    """The derivatives of the parts' scalars by the framework's own means."""
    arrays = [x for part in parts for x in part.arrays]
    moving = [i for i, x in enumerate(arrays) if x.dtype.kind in "fV"]

    def loss(values, given):
        now = list(given)
        for i, v in zip(moving, values):
            now[i] = v
        left = iter(now)
        total = 0.0
        for part in parts:
            total = total + part.function(*[next(left) for _ in part.arrays])
        return total, None

    def slopes(*given):
        return engine.value_and_grad(lambda v: loss(v, given), [given[i] for i in moving])[0]

    flat = engine.compile_function(slopes, list(map(spec_of, arrays)))
    made = iter(flat(*on_backend(engine, arrays)))
    return [[next(made) for x in part.arrays if x.dtype.kind in "fV"] for part in parts]


def together(how, engine, parts):
    """What `how` gives for each part, or why it failed."""
    try:
        return how(engine, parts)
    except Exception as error:
        if len(parts) == 1:
            return [told(error)]
        half = len(parts) // 2
        return [*together(how, engine, parts[:half]), *together(how, engine, parts[half:])]


class Derivative:
    """A function y(x) of arrays on random directions; its derivatives as functions of (x, c, d)."""

    def __init__(self, function, arrays, along=None):
        self.function, self.arrays = function, arrays
        self.graph = trace(function, list(map(spec_of, arrays)))
        self.moving = [i for i, y in enumerate(self.graph.outputs) if is_differentiable(y)]
        self.wrt = [i for i, x in enumerate(arrays) if x.dtype.kind in "fcV"]
        rng, along = np.random.default_rng(7), along or (lambda x: x)
        self.c = [direction(rng, self.graph.outputs[i]) for i in self.moving]
        self.d, self.e = ([along(direction(rng, arrays[i])) for i in self.wrt] for _ in "de")
        self.inputs = [*arrays, *self.c], [*arrays, *self.c, *self.d]

    def scalar(self, *values):
        """The sum of c times y."""
        made, total = self.function(*values[: len(self.arrays)]), 0.0
        for i, c in zip(self.moving, values[len(self.arrays) :]):
            total = total + p.reduce_sum(p.multiply(made[i], c), axes=tuple(range(len(c.shape))))
        return total

    def first(self, *symbols):
        n = len(self.arrays)
        made = outputs_of(self.function(*symbols[:n]))
        wrt = [symbols[i] for i in self.wrt]
        return gradient([made[i] for i in self.moving], list(symbols[n:]), wrt)

    def second(self, *symbols):
        n = len(self.inputs[0])
        pairs = zip(self.first(*symbols[:n]), symbols[n:])
        pairs = [(g, v) for g, v in pairs if is_differentiable(g)]
        if not pairs:
            return [np.zeros_like(v) for v in self.d]
        return gradient(*map(list, zip(*pairs)), [symbols[i] for i in self.wrt])

    @functools.cached_property
    def graphs(self):
        """The graphs of the derivatives that there are."""
        made = [trace(self.first, list(map(spec_of, self.inputs[0])))]
        try:
            return [*made, trace(self.second, list(map(spec_of, self.inputs[1])))]
        except NotDifferentiable:
            return made


def direction(rng, like):
    dtype = np_dtype(like.dtype)
    x = rng.normal(size=like.shape)
    return (x + 1j * rng.normal(size=like.shape) if dtype.kind == "c" else x).astype(dtype)


# Primitives ---------------------------------------------------------------------------------------
def cast_args(args, dtype):
    """The row's floats as `dtype`, its complex numbers as the complex dtype of that width."""

    def cast(x):
        if not isinstance(x, np.ndarray) or x.dtype not in (np.float64, np.complex128):
            return np.asarray(x) if isinstance(x, np.generic) else x
        return x.astype(OF_COMPLEX[dtype] if x.dtype.kind == "c" else np_dtype(dtype))

    return [cast(x) for x in args]


def called(row, dtype):
    """The row's call as a function of its arrays, and those."""
    args, target, params = cast_args(row.args, dtype), PRIMITIVES[row.name], row.params_for(dtype)

    def call(*values):
        left = iter(values)
        args_now = [next(left) if isinstance(x, np.ndarray) else x for x in args]
        return outputs_of(target(*args_now, **params))

    return call, [x for x in args if isinstance(x, np.ndarray)]


def reference(row, dtype):
    """What the row's call must give."""
    args, params = cast_args(row.args, dtype), row.params_for(dtype)
    with np.errstate(all="ignore"):
        if row.expected is not None:
            args = [wide(x) if isinstance(x, np.ndarray) else x for x in args]
            return outputs_of(row.expected(*args, **params))
        made = outputs_of(backend.load("numpy").raw(PRIMITIVES[row.name])(*args, **params))
        return outputs_of(row.seen(*map(wide, made))) if row.seen else made


def is_float_row(row):
    return any(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in row.args)


def has_derivative(row):
    rule = PRIMITIVES[row.name].vjp_rule
    return row.grad and not row.edge and is_float_row(row) and rule is not None


def row_parts(row, turn, engine, quick):
    """What is to be computed for one row; `turn` picks its low dtype."""

    def value(dtype, label, how):
        call, arrays = called(row, dtype)
        args = map(spec_of, cast_args(row.args, dtype))
        specs = outputs_of(PRIMITIVES[row.name].shape_rule(*args, **row.params_for(dtype)))
        want = functools.partial(reference, row, dtype)
        return Part(row.name, label, call, arrays, want, TOLERANCE[dtype], specs, row.seen, how)

    yield value("float32", "values", eager)
    yield value("float32", "compiled", compiled)
    if not quick and row.low and is_float_row(row):
        yield value(LOW[turn % 2], "low floats", compiled)
    if not has_derivative(row) or row.seen and engine.native:  # what is compared must be unique
        return
    exact = Derivative(*called(row, "float64"), row.along)
    f = Derivative(*called(row, "float32"), row.along)
    if not f.moving:
        return
    for order, graph in enumerate(exact.graphs):
        want = functools.partial(quiet_run, graph, exact.inputs[order])
        call = f.second if order else f.first
        yield Part(row.name, "derivatives", call, f.inputs[order], want, how=compiled)
    dtypes = [np_dtype(v.dtype).kind for v in (*f.inputs[0], *f.graph.outputs)]
    if engine.native and not quick and "c" not in dtypes and row.name != "stop_gradient":
        want = functools.partial(quiet_run, exact.graphs[0], exact.inputs[0])
        scalar = lambda *values: f.scalar(*values, *on_backend(engine, f.c))
        yield Part(row.name, "native", scalar, f.arrays, want, how=native)


def rules(row, step=1e-6):
    """The vjp rule agrees with numeric derivatives, and so does the rule of the rule."""
    f = Derivative(*called(row, "float64"), row.along)
    if not f.moving:
        return None

    def moved(by, size):
        arrays = list(f.arrays)
        for i, v in zip(f.wrt, by):
            arrays[i] = arrays[i] + size * v
        return arrays

    inner = lambda xs, ys: sum(float(np.real(np.vdot(wide(x), wide(y)))) for x, y in zip(xs, ys))
    numeric = lambda along: (along(step) - along(-step)) / (2 * step)
    grads = quiet_run(f.graphs[0], f.inputs[0])
    for g, i in zip(grads, f.wrt):
        if g.shape != f.arrays[i].shape or dtype_name(g.dtype) != dtype_name(f.arrays[i].dtype):
            return f"cotangent {spec_of(g)} of {spec_of(f.arrays[i])}"
    value = lambda arrays: [quiet_run(f.graph, arrays)[i] for i in f.moving]
    slope = numeric(lambda by: inner(f.c, value(moved(f.d, by))))
    if not np.isclose(inner(grads, f.d), slope, rtol=1e-5, atol=1e-6):
        return f"order 1: {inner(grads, f.d):.8g} for {slope:.8g}"
    if len(f.graphs) == 1:
        return None if row.name in ONCE else "order 2: no derivative"
    exact = inner(quiet_run(f.graphs[1], f.inputs[1]), f.e)
    first = lambda arrays: quiet_run(f.graphs[0], [*arrays, *f.c])
    slope = numeric(lambda by: inner(first(moved(f.e, by)), f.d))
    fine = np.isclose(exact, slope, rtol=1e-4, atol=1e-5)
    return None if fine else f"order 2: {exact:.8g} for {slope:.8g}"


ONCE = {"digamma", "lgamma"}  # the derivatives of these end at the trigamma function


# Ops and layers -----------------------------------------------------------------------------------
def op_calls():
    """Op name to the public function and its arguments, or None where no arguments are known."""
    calls = {}
    for name, record in OPS.items():
        function = getattr(oneiros.ops, name, None)
        if name not in op_cases.BY_HAND and function is not None:
            found = op_cases.arguments(name, record.signature)
            calls[name] = found and (function, *found)
    return calls


def op_parts(name, call, quick):
    """The op gives what it gives on NumPy; compiled with the backend's faster kernels too."""
    function, args, named = call
    leaves = tree.flatten((args, named))
    every = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray)]
    places = [i for i in every if leaves[i].dtype.kind == "f"]

    def of(places, *values):
        now = list(leaves)
        for i, v in zip(places, values):
            now[i] = v
        now_args, now_named = tree.pack_sequence_as((args, named), now)
        made = tree.flatten(function(*now_args, **now_named))
        return [y for y in made if hasattr(y, "dtype")]

    def on_numpy():
        before = config.backend()
        config.set_backend("numpy")
        try:
            return of((), ())
        finally:
            config.set_backend(before)

    def inferred():
        """Shapes and dtypes as inferred for symbols; a length that values decide is taken as is."""
        symbolic = lambda x: input_symbol(spec_of(x)) if isinstance(x, np.ndarray) else x
        specs = tree.flatten(infer(function, *tree.map_structure(symbolic, (args, named))))
        specs = [s for s in specs if isinstance(s, Spec)]
        for s, real in zip(specs, on_numpy()):
            s.shape = tuple(n if m is None else m for n, m in zip(real.shape, s.shape))
        return specs or None

    whole = functools.partial(of, every)
    if not quick or name in op_cases.EAGER:
        rough = (lambda *ys: [np.zeros(y.shape) for y in ys]) if name in op_cases.ROUGH else None
        want = (lambda: rough(*on_numpy())) if rough else on_numpy
        specs = None if name in op_cases.EAGER else inferred()
        arrays = [leaves[i] for i in every]
        yield Part(f"ops.{name}", "values", whole, arrays, want, 1e-3, specs, rough, eager)
    if name not in op_cases.EAGER and places:
        part = functools.partial(of, places)
        yield value_and_slopes(f"ops.{name}", part, [leaves[i] for i in places])


def value_and_slopes(name, function, arrays):
    """One part: the function's outputs, and what flows back from them where something does."""

    def step(*symbols):
        made = function(*symbols)
        moving = [y for y in made if is_differentiable(y)]
        slopes = [np.full((), 0.7, np_dtype(y.dtype)) for y in moving]
        slopes = [p.broadcast_to(g, shape=tuple(y.shape)) for g, y in zip(slopes, moving)]
        try:
            return [*made, *gradient(moving, slopes, [s for s in symbols if is_differentiable(s)])]
        except NotDifferentiable:
            return made

    def want():
        with np.errstate(all="ignore"):
            return quiet_run(trace(step, list(map(spec_of, arrays))), arrays)

    return Part(name, "compiled", step, arrays, want, 2e-3, how=compiled)


def layer_parts(name, make, engine, quick):
    """A layer's outputs and its derivatives by weights and inputs, from the same weights."""
    function, arrays = models.stateless(make)
    part = value_and_slopes(f"layers.{name}", function, arrays)
    yield part
    value = lambda: quiet_run(trace(function, list(map(spec_of, arrays))), arrays)
    yield dataclasses.replace(part, label="values", function=function, want=value, how=eager)
    f = Derivative(function, arrays)
    if engine.native and not quick and f.moving:
        scalar = lambda *values: f.scalar(*values, *on_backend(engine, f.c))
        want = lambda: quiet_run(f.graphs[0], f.inputs[0])
        yield Part(part.name, "native", scalar, arrays, want, 2e-3, how=native)


# Random graphs ------------------------------------------------------------------------------------
def random_graph(rng, size=14):
    """A graph of random primitives over three inputs, with several outputs that share values."""

    def function(*inputs):
        pool = list(inputs)
        pick = lambda: pool[rng.integers(len(pool))]
        for _ in range(size):
            made = STEPS[rng.integers(len(STEPS))](rng, pick)
            if made is not None and made.size <= 4000:
                pool.append(made)
        chosen = [pool[i] for i in rng.integers(len(pool), size=4)]
        return [*chosen, pool[-1]]

    return trace(function, [Spec((3, 4)), Spec((4,)), Spec((2, 3, 4))])


def _alike(rng, pick, target):
    x, y = pick(), pick()
    try:
        np.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        return target(x, 0.7)
    return target(x, y)


def _dot(rng, pick):
    x, y = pick(), pick()
    pairs = [(i, j) for i, n in enumerate(x.shape) for j, m in enumerate(y.shape) if n == m]
    if not pairs:
        return None
    i, j = pairs[rng.integers(len(pairs))]
    return p.tanh(p.dot_general(x, y, contract=((i,), (j,)), batch=((), ())))


def _axes(rng, x):
    return tuple(i for i in range(len(x.shape)) if rng.random() < 0.5)


def _cut(rng, pick):
    x = pick()
    start = tuple(int(rng.integers(max(n, 1))) for n in x.shape)
    return p.slice(
        x, start=start, stop=tuple(x.shape), strides=tuple(int(rng.integers(1, 3)) for _ in x.shape)
    )


def _loop(rng, pick):
    x, y = pick(), pick()
    if not x.shape or not x.shape[0]:
        return None
    rows = Spec(tuple(x.shape[1:]))
    body = trace(
        lambda s, v, w: [
            p.tanh(p.add(s, v)),
            p.multiply(s, p.reduce_sum(w, axes=tuple(range(w.ndim)))),
        ],
        [rows, rows, spec_of(y)],
    )
    zero = p.reduce_sum(x, axes=(0,))
    state, ys = p.scan(
        zero, x, y, body=body, carry=1, xs=1, length=x.shape[0], reverse=bool(rng.integers(2))
    )
    return ys if rng.random() < 0.7 else state


def _order(rng, x):
    return tuple(map(int, rng.permutation(len(x.shape))))


FEW = np.array([0, 2, 0], "int32")
ON_ANY = [  # functions of a generator and an array
    *[lambda rng, x, t=t: t(x) for t in (p.tanh, p.sin, p.sigmoid, p.negative, p.abs)],
    lambda rng, x: p.select(p.greater(x, 0.1), x, [0.0, p.sin(x)][rng.integers(2)]),
    lambda rng, x: p.select(p.greater(x, 0.1), p.cos(x), x),
    lambda rng, x: p.reshape(x, shape=tuple(x.shape[::-1])),
    lambda rng, x: p.reshape(x, shape=(x.size,)),
    lambda rng, x: p.transpose(x, order=_order(rng, x)),
    lambda rng, x: p.reverse(x, axes=_axes(rng, x)),
    lambda rng, x: p.reduce_sum(x, axes=_axes(rng, x)),
    lambda rng, x: p.broadcast_to(x, shape=(2, *x.shape)),
    lambda rng, x: p.pad(x, widths=((1, 0, 1),) * len(x.shape), value=0.5),
]
ON_ROWS = [  # the same, of arrays that have a first axis
    lambda rng, x: p.reduce_max(x, axes=(0,)),
    lambda rng, x: p.concatenate(x, p.sin(x), axis=0),
    lambda rng, x: p.cumsum(x, axis=0, reverse=bool(rng.integers(2))),
    lambda rng, x: p.take(x, FEW, axis=0),
]
STEPS = [
    *[lambda rng, pick, f=f: f(rng, pick()) for f in ON_ANY],
    *[lambda rng, pick, f=f: f(rng, x) if (x := pick()).shape else None for f in ON_ROWS],
    *[lambda rng, pick, t=t: _alike(rng, pick, t) for t in (p.add, p.multiply, p.maximum)],
    _dot,
    _cut,
    _loop,
]


def random_graphs(engine, quick=False):
    """Compiled random graphs, run twice and with donated inputs, and their derivatives."""
    for seed in range(3 if quick else 10):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        arrays = [rng.normal(size=s.shape).astype("float32") for s in graph.inputs]
        full = [x.astype("float64") for x in arrays]
        want = quiet_run(graph, full)
        donate = tuple(int(i) for i in np.flatnonzero(rng.random(3) < 0.5))
        step, kept = engine.compile(graph, donate=donate), None
        for _ in range(2):
            made = step(*[engine.copy(x) for x in on_backend(engine, arrays)])
            wrong = difference(made, want, 1e-3)
            if not wrong and kept and difference(*kept, 0):
                wrong = "an output changed when the step ran again"
            if wrong:
                return f"graph {seed}, donating {donate}: {wrong}"
            kept = made, [np.array(backend.to_numpy(v)) for v in made]
        typed = any(isinstance(v, Graph) for c in graph.calls for v in c.kwargs.values())
        part = value_and_slopes("", graph, arrays)
        if not typed:  # sub-graphs fix a dtype
            part.want = value_and_slopes("", graph, full).want
        (made,) = compiled(engine, [part])
        wrong = difference(made, part.want(), 2e-3)
        if wrong:
            return f"derivative of graph {seed}: {wrong}"
    return None


def noise(engine, quick=False):
    """Same seed, same numbers; another seed, others; moments as they should be; never 1."""
    seeds = [engine.to_array(np.array(s, "uint32")) for s in ([3, 4], [3, 5])]
    for name, mean, deviation in (("random_uniform", 0.5, 12**-0.5), ("random_normal", 0.0, 1.0)):
        for dtype in ("float32", *LOW):
            draw = lambda s: wide(PRIMITIVES[name](s, shape=(20000,), dtype=dtype))
            a, b, c = draw(seeds[0]), draw(seeds[0]), draw(seeds[1])
            if not np.array_equal(a, b) or np.array_equal(a, c):
                return f"{name} of {dtype} is no function of its seed"
            if abs(a.mean() - mean) > 0.03 or abs(a.std() - deviation) > 0.03:
                return f"{name} of {dtype} has mean {a.mean():.3f} and deviation {a.std():.3f}"
            if name == "random_uniform" and not (a.min() >= 0 and a.max() < 1):
                return f"{name} of {dtype} leaves [0, 1): {a.min()} to {a.max()}"
    return None


def training(make):
    """The losses of fifty steps are those on NumPy, and fall."""

    def check(engine, quick=False):
        got, want = models.losses(make, engine.name), models.losses(make, "numpy")
        if not want[-1] < want[0]:
            return f"the loss does not fall: {want[0]:.4g} to {want[-1]:.4g}"
        return difference([np.array(got)], [np.array(want)], 2e-3)

    return check


# All of it ----------------------------------------------------------------------------------------
WHOLE = {
    "random graphs": random_graphs,
    "noise": noise,
    **{f"training: {name}": training(make) for name, make in models.MODELS.items()},
}


def conformance(name, quick=False, only="", every=1, first=0):
    """Run all on the backend `name`: for each primitive, op and layer, its checks and what is wrong.

    Args:
        name: The backend.
        quick: Two rows for each primitive, and fewer checks.
        only: A part of the names to check.
        every: Check one name in so many, beginning with the one at `first`.
    """
    before = config.backend()
    config.set_backend(name)
    try:
        return _conformance(backend.current(), quick, only, every, first)
    finally:
        config.set_backend(before)


def _conformance(engine, quick, only, every, first):
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    rows, parts = collections.defaultdict(list), []
    for row in cases.PRIMITIVE_ROWS:
        rows[row.name].append(row)
    makers = {n: functools.partial(_row_parts, rs, engine, quick) for n, rs in rows.items()}
    calls = {n: call for n, call in op_calls().items() if call}
    makers |= {f"ops.{n}": functools.partial(op_parts, n, c, quick) for n, c in calls.items()}
    makers |= {
        f"layers.{n}": functools.partial(layer_parts, n, make, engine, quick)
        for n, make in models.LAYERS.items()
    }
    chosen = [n for n in (*makers, *WHOLE) if only in n][first::every]

    def note(name, label, wrong):
        found[name][label] += [wrong] if wrong else []

    for missing in [] if only else PRIMITIVES.keys() - rows.keys():
        note(missing, "values", "no row in cases.py")
    for n in chosen:
        try:
            if n in WHOLE:
                note(n, "values", WHOLE[n](engine, quick))
            else:
                parts += makers[n]()
                for row in rows.get(n, ()) if engine.name == "numpy" and not quick else ():
                    if has_derivative(row) and row.grad != "given":
                        note(n, "rules", rules(row))
        except Exception as error:
            note(n, "values", told(error))
    for how, size in ((eager, 1), (compiled, TOGETHER), (native, TOGETHER)):
        group = [part for part in parts if part.how is how]
        for i in range(0, len(group), size):
            some = group[i : i + size]
            for part, made in zip(some, together(how, engine, some)):
                for label, wrong in judge(part, made, engine):
                    note(part.name, label, wrong)
    return found


def _row_parts(rows, engine, quick):
    for turn, row in enumerate(rows[:2] if quick else rows):
        yield from row_parts(row, turn, engine, quick)
