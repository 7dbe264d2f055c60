"""The battery that every backend must pass, over the rows of `cases.py`.

A check gives None if all is well, or says what is wrong; what a backend refuses is unsupported.
Derivatives are checked in two steps: our rules against numeric derivatives, in float64 on NumPy;
then the backend's values of the derivative's graph against NumPy's.
"""

from __future__ import annotations

import collections
import functools
import traceback

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
from oneiros.core.symbol import Symbol
from oneiros.testing import cases, op_cases

__all__ = ["CHECKS", "check", "conformance", "random_graph"]

TOLERANCE = {"float64": 1e-9, "float32": 3e-5, "float16": 5e-3, "bfloat16": 4e-2}
OF_COMPLEX = {"float64": "complex128", "float32": "complex64"}
LOW = ("float16", "bfloat16")
SKIP = "skipped"  # what a check gives where it does not apply


# Values ---------------------------------------------
def cast_args(args, dtype):
    """The row's floats as `dtype`, its complex numbers as the complex dtype of that width."""

    def cast(x):
        if not isinstance(x, np.ndarray) or x.dtype not in (np.float64, np.complex128):
            return np.asarray(x) if isinstance(x, np.generic) else x
        return x.astype(OF_COMPLEX[dtype] if x.dtype.kind == "c" else np_dtype(dtype))

    return [cast(x) for x in args]


def outputs_of(made):
    return list(made) if isinstance(made, (tuple, list)) else [made]


def seen(row, made):
    """What of the outputs counts, as arrays in full width."""
    made = [wide(backend.to_numpy(v)) for v in outputs_of(made)]
    return outputs_of(row.seen(*made)) if row.seen else made


def wide(x):
    x = np.asarray(x)
    return (
        x.astype(np.complex128 if x.dtype.kind == "c" else np.float64)
        if x.dtype.kind in "fcV"
        else x
    )


def reference(row, args, dtype):
    """The values that the row expects for these arguments."""
    if row.expected is None:
        made = numpy_backend().raw(PRIMITIVES[row.name])(*args, **row.params_for(dtype))
        return seen(row, made)
    with np.errstate(all="ignore"):
        return outputs_of(
            row.expected(
                *[wide(x) if isinstance(x, np.ndarray) else x for x in args],
                **row.params_for(dtype),
            )
        )


def difference(got, want, tolerance):
    """What is wrong with the arrays `got`, or None."""
    if len(got) != len(want):
        return f"{len(got)} outputs for {len(want)}"
    for i, (a, b) in enumerate(zip(got, want)):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return f"output {i} has shape {a.shape} for {b.shape}"
        if a.dtype.kind in "fc" or b.dtype.kind in "fc":
            finite = b[np.isfinite(b)]
            scale = max(1.0, np.abs(finite).max(initial=0))
            if not np.allclose(a, b, rtol=tolerance, atol=tolerance * scale, equal_nan=True):
                with np.errstate(all="ignore"):
                    off = np.nanmax(np.abs(a - b))
                return f"output {i} is off by {off:.2g}, which is over {tolerance * scale:.2g}"
        elif not np.array_equal(a, b):
            return f"output {i} differs: {a.ravel()[:6]} for {b.ravel()[:6]}"
    return None


def numpy_backend():
    return backend.load("numpy")


def is_float_row(row):
    return any(isinstance(x, np.ndarray) and x.dtype.kind == "f" for x in row.args)


def on_backend(engine, args):
    return [engine.to_array(x) if isinstance(x, np.ndarray) else x for x in args]


def traced(row, dtype, args):
    """The graph of the row's call, whose inputs are its arrays."""
    target, params = PRIMITIVES[row.name], row.params_for(dtype)
    arrays = [x for x in args if isinstance(x, np.ndarray)]

    def call(*symbols):
        symbols = iter(symbols)
        made = target(*[next(symbols) if isinstance(x, np.ndarray) else x for x in args], **params)
        return outputs_of(made)

    return trace(call, [spec_of(x) for x in arrays]), arrays


def values(row, engine, dtype="float32"):
    """Eagerly and compiled, the row's call gives the values it must."""
    args = cast_args(row.args, dtype)
    target, params = PRIMITIVES[row.name], row.params_for(dtype)
    want = reference(row, args, dtype)
    made = target(*on_backend(engine, args), **params)
    wrong = difference(seen(row, made), want, TOLERANCE[dtype])
    if wrong:
        return f"eager: {wrong}"
    graph, arrays = traced(row, dtype, args)
    step = engine.compile(graph)
    for _ in range(2):  # the second run meets the buffers of the first
        made = step(*on_backend(engine, arrays))
    wrong = difference(seen(row, made), want, TOLERANCE[dtype])
    return wrong and f"compiled: {wrong}"


def shapes(row, engine):
    """The shape rule foretells shapes and dtypes."""
    args = cast_args(row.args, "float32")
    params = row.params_for("float32")
    target = PRIMITIVES[row.name]
    told = outputs_of(target.shape_rule(*map(spec_of, args), **params))
    made = outputs_of(target(*on_backend(engine, args), **params))
    real = [Spec(tuple(v.shape), dtype_name(v.dtype)) for v in made]
    told = canonical(engine, told)
    return None if real == told else f"{real} for {told}"


def canonical(engine, specs):
    return [s.but(dtype=engine.canonical_dtype(s.dtype)) for s in specs]


def low_floats(row, engine):
    """float16 and bfloat16 give what float64 gives, rounded, in their own dtype."""
    if not row.low or not is_float_row(row):
        return SKIP
    for dtype in LOW:
        wrong = values(row, engine, dtype)
        if wrong:
            return f"{dtype}: {wrong}"
        target, params = PRIMITIVES[row.name], row.params_for(dtype)
        args = cast_args(row.args, dtype)
        told = outputs_of(target.shape_rule(*map(spec_of, args), **params))
        made = outputs_of(target(*on_backend(engine, args), **params))
        for v, s in zip(made, told):
            if dtype_name(v.dtype) != engine.canonical_dtype(s.dtype):
                return f"{dtype}: output of {dtype_name(v.dtype)} for {s.dtype}"
    return None


# Derivatives ---------------------------------------------
def inner(xs, ys):
    """The real part of the inner product of lists of arrays."""
    return sum(float(np.real(np.vdot(wide(x), wide(y)))) for x, y in zip(xs, ys))


class Derivative:
    """The row's function y(x) on random directions; its derivatives as graphs of (x, c, d)."""

    def __init__(self, row, dtype):
        self.args = cast_args(row.args, dtype)
        self.forward, self.arrays = traced(row, dtype, self.args)
        self.moving = [i for i, y in enumerate(self.forward.outputs) if is_differentiable(y)]
        self.wrt = [i for i, x in enumerate(self.arrays) if x.dtype.kind in "fcV"]
        rng = np.random.default_rng(7)
        self.c = [direction(rng, self.forward.outputs[i]) for i in self.moving]
        along = row.along or (lambda x: x)
        self.d, self.e = ([along(direction(rng, self.arrays[i])) for i in self.wrt] for _ in "de")
        specs = [spec_of(x) for x in (*self.arrays, *self.c)]
        n = len(self.arrays)

        def first(*symbols):
            made = run(self.forward, symbols[:n])
            return gradient(
                [made[i] for i in self.moving], list(symbols[n:]), [symbols[i] for i in self.wrt]
            )

        def second(*symbols):
            xs, d = symbols[: len(specs)], symbols[len(specs) :]
            pairs = [(g, v) for g, v in zip(first(*xs), d) if isinstance(g, Symbol)]
            if not pairs:
                return [np.zeros_like(v) for v in self.d]
            return gradient(*map(list, zip(*pairs)), [xs[i] for i in self.wrt])

        self.first = functools.cache(lambda: trace(first, specs))
        self.second = functools.cache(lambda: trace(second, [*specs, *map(spec_of, self.d)]))

    def moved(self, by, step):
        arrays = list(self.arrays)
        for i, v in zip(self.wrt, by):
            arrays[i] = arrays[i] + step * v
        return arrays

    def project(self, arrays):
        made = quiet_run(self.forward, arrays)
        return inner(self.c, [made[i] for i in self.moving])


def direction(rng, like):
    x = rng.normal(size=like.shape)
    dtype = np_dtype(like.dtype)
    return (x + 1j * rng.normal(size=like.shape) if dtype.kind == "c" else x).astype(dtype)


def quiet_run(graph, arrays):
    before = config.backend()
    if before != "numpy":
        config.set_backend("numpy")
    try:
        return run(graph, arrays)
    finally:
        if before != "numpy":
            config.set_backend(before)


def has_derivative(row):
    return (
        row.grad
        and not row.edge
        and is_float_row(row)
        and PRIMITIVES[row.name].vjp_rule is not None
    )


def rules(row, engine, step=1e-6):
    """The vjp rule agrees with numeric derivatives, and so does the rule of the rule."""
    if engine.name != "numpy" or not has_derivative(row):
        return SKIP
    f = Derivative(row, "float64")
    if not f.moving:
        return SKIP
    grads = quiet_run(f.first(), [*f.arrays, *f.c])
    for g, i in zip(grads, f.wrt):
        if g.shape != f.arrays[i].shape or dtype_name(g.dtype) != dtype_name(f.arrays[i].dtype):
            return f"cotangent {spec_of(g)} of {spec_of(f.arrays[i])}"
    numeric = (f.project(f.moved(f.d, step)) - f.project(f.moved(f.d, -step))) / (2 * step)
    if not np.isclose(inner(grads, f.d), numeric, rtol=1e-5, atol=1e-6):
        return f"order 1: {inner(grads, f.d):.8g} for {numeric:.8g}"
    try:
        graph = f.second()
    except NotDifferentiable:
        return None if PRIMITIVES[row.name].name in ONCE else "order 2: no derivative"
    exact = inner(quiet_run(graph, [*f.arrays, *f.c, *f.d]), f.e)
    slope = lambda by: inner(quiet_run(f.first(), [*f.moved(f.e, by), *f.c]), f.d)
    numeric = (slope(step) - slope(-step)) / (2 * step)
    return (
        None
        if np.isclose(exact, numeric, rtol=1e-4, atol=1e-5)
        else f"order 2: {exact:.8g} for {numeric:.8g}"
    )


ONCE = {"digamma", "lgamma"}  # the derivatives of these end at the trigamma function


def derivatives(row, engine):
    """The compiled derivatives give what NumPy gives in float64."""
    if not has_derivative(row):
        return SKIP
    if row.seen and engine.native:  # not unique: the framework's own derivative is compared instead
        return SKIP
    for order in (1, 2):
        exact, f = Derivative(row, "float64"), Derivative(row, "float32")
        if not f.moving:
            return SKIP
        try:
            graphs = (exact.first(), f.first()) if order == 1 else (exact.second(), f.second())
        except NotDifferentiable:
            return None
        more = lambda v: [*v.arrays, *v.c, *(v.d if order == 2 else [])]
        want = quiet_run(graphs[0], more(exact))
        made = engine.compile(graphs[1])(*on_backend(engine, more(f)))
        wrong = difference([wide(backend.to_numpy(v)) for v in made], [wide(v) for v in want], 1e-3)
        if wrong:
            return f"order {order}: {wrong}"
    return None


def native(row, engine):
    """The framework's own derivative through our kernels is that of our rules."""
    if not engine.native or not has_derivative(row) or row.name == "stop_gradient":
        return SKIP
    f = Derivative(row, "float32")
    outputs = [f.forward.outputs[i].dtype for i in f.moving]
    if not outputs or any(
        np_dtype(v).kind == "c" for v in [*outputs, *[x.dtype for x in f.arrays]]
    ):
        return SKIP
    want = engine.compile(f.first())(*on_backend(engine, [*f.arrays, *f.c]))
    arrays, target, params = (
        on_backend(engine, f.arrays),
        PRIMITIVES[row.name],
        row.params_for("float32"),
    )

    def loss(moving):
        now = list(arrays)
        for i, v in zip(f.wrt, moving):
            now[i] = v
        now = iter(now)
        made = outputs_of(
            target(*[next(now) if isinstance(x, np.ndarray) else x for x in f.args], **params)
        )
        total = 0.0
        for i, c in zip(f.moving, f.c):
            total = total + p.reduce_sum(
                p.multiply(made[i], engine.to_array(c)), axes=tuple(range(c.ndim))
            )
        return total, None

    made, _ = engine.value_and_grad(loss, [arrays[i] for i in f.wrt])
    return difference(*[[wide(backend.to_numpy(v)) for v in vs] for vs in (made, want)], 1e-3)


# Random graphs ---------------------------------------------
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


def random_graphs(engine, count=30):
    """Compiled random graphs, run twice and with donated inputs, and their derivatives."""
    for seed in range(count):
        rng = np.random.default_rng(seed)
        graph = random_graph(rng)
        arrays = [rng.normal(size=s.shape).astype("float32") for s in graph.inputs]
        full = [x.astype("float64") for x in arrays]
        want = [wide(v) for v in quiet_run(graph, full)]
        donate = [int(i) for i in np.flatnonzero(rng.random(3) < 0.5)]
        step = engine.compile(graph, donate=tuple(donate))
        kept = None
        for _ in range(2):
            made = step(*[engine.copy(x) for x in on_backend(engine, arrays)])
            wrong = difference([wide(backend.to_numpy(v)) for v in made], want, 1e-3)
            wrong = wrong or (
                kept and difference(*kept, 0) and "an output changed when the step ran again"
            )
            if wrong:
                return f"graph {seed}, donating {donate}: {wrong}"
            kept = [
                [backend.to_numpy(v) for v in made],
                [np.array(backend.to_numpy(v)) for v in made],
            ]
        wrong = _graph_derivative(graph, arrays, full, engine)
        if wrong:
            return f"derivative of graph {seed}: {wrong}"
    return None


def _graph_derivative(graph, arrays, full, engine):
    def function(*inputs):
        made = [y for y in run(graph, inputs) if is_differentiable(y)]
        return gradient(
            made,
            [p.broadcast_to(np.ones((), y.dtype), shape=tuple(y.shape)) for y in made],
            list(inputs),
        )

    exact = (
        quiet_run(trace(function, [spec_of(x) for x in full]), full) if not _typed(graph) else None
    )
    made = engine.compile(trace(function, [spec_of(x) for x in arrays]))(
        *on_backend(engine, arrays)
    )
    if exact is None:
        exact = quiet_run(trace(function, [spec_of(x) for x in arrays]), arrays)
    return difference([wide(backend.to_numpy(v)) for v in made], [wide(v) for v in exact], 2e-3)


def _typed(graph):
    """Whether sub-graphs fix a dtype."""
    return any(isinstance(v, Graph) for c in graph.calls for v in c.kwargs.values())


def noise(engine):
    """Same seed, same numbers; another seed, others; moments as they should be; never 1."""
    seeds = [engine.to_array(np.array(s, "uint32")) for s in ([3, 4], [3, 5])]
    for name, mean, deviation in (("random_uniform", 0.5, 12**-0.5), ("random_normal", 0.0, 1.0)):
        for dtype in ("float32", *LOW):
            draw = lambda s: wide(
                backend.to_numpy(PRIMITIVES[name](s, shape=(20000,), dtype=dtype))
            )
            a, b, c = draw(seeds[0]), draw(seeds[0]), draw(seeds[1])
            if not np.array_equal(a, b) or np.array_equal(a, c):
                return f"{name} of {dtype} is no function of its seed"
            if abs(a.mean() - mean) > 0.03 or abs(a.std() - deviation) > 0.03:
                return f"{name} of {dtype} has mean {a.mean():.3f} and deviation {a.std():.3f}"
            if name == "random_uniform" and not (a.min() >= 0 and a.max() < 1):
                return f"{name} of {dtype} leaves [0, 1): {a.min()} to {a.max()}"
    return None


# Ops ------------------------------------------------------------------------------------------
def op_calls():
    """Op name to the public function and its arguments, or None where no arguments are known."""
    calls = {}
    for name, record in OPS.items():
        function = getattr(oneiros.ops, name, None)
        if name in op_cases.BY_HAND or function is None:
            continue
        found = op_cases.arguments(name, record.signature)
        calls[name] = found and (function, *found)
    return calls


def flat(made):
    return [backend.to_numpy(v) for v in tree.flatten(made) if hasattr(v, "dtype")]


def op_on(engine, call):
    """What the op gives eagerly on a backend."""
    function, args, named = call
    before = config.backend()
    config.set_backend(engine.name)
    try:
        args, named = tree.map_structure(lambda x: on_backend(engine, [x])[0], (args, named))
        return function(*args, **named)
    finally:
        config.set_backend(before)


def op_values(name, call, engine):
    """The op gives what it gives on NumPy."""
    got, want = flat(op_on(engine, call)), flat(op_on(numpy_backend(), call))
    if name in op_cases.ROUGH:
        got, want = ([np.zeros(v.shape) for v in vs] for vs in (got, want))
    return difference([wide(v) for v in got], [wide(v) for v in want], 1e-3)


def op_shapes(name, call, engine):
    """What is inferred for symbols is what arrays give."""
    if name in op_cases.EAGER:
        return SKIP
    function, args, named = call
    real = [Spec(tuple(v.shape), dtype_name(v.dtype)) for v in flat(op_on(engine, call))]
    symbolic = lambda x: input_symbol(spec_of(x)) if isinstance(x, np.ndarray) else x
    told = infer(function, *tree.map_structure(symbolic, (args, named)))
    told = canonical(engine, [s for s in tree.flatten(told) if isinstance(s, Spec)])
    for a, b in zip(real, told):  # None stands for a length that the values decide
        b.shape = tuple(n if m is None else m for n, m in zip(a.shape, b.shape))
    return None if not told or real == told else f"{real} for {told}"


def op_steps(name, call, engine):
    """With the backend's faster kernels, compiled: value and derivative are the body's."""
    if name in op_cases.EAGER:
        return SKIP
    function, args, named = call
    leaves = tree.flatten((args, named))
    places = [i for i, x in enumerate(leaves) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    if not places:
        return SKIP
    arrays = [leaves[i] for i in places]

    def step(*symbols):
        now = list(leaves)
        for i, s in zip(places, symbols):
            now[i] = s
        inner_args, inner_named = tree.pack_sequence_as((args, named), now)
        made = [
            y for y in tree.flatten(function(*inner_args, **inner_named)) if isinstance(y, Symbol)
        ]
        moving = [y for y in made if is_differentiable(y)]
        ones = [
            p.broadcast_to(np.full((), 0.7, np_dtype(y.dtype)), shape=tuple(y.shape))
            for y in moving
        ]
        try:
            return [*made, *gradient(moving, ones, list(symbols))]
        except NotDifferentiable:
            return made

    specs = [spec_of(x) for x in arrays]
    with np.errstate(all="ignore"):
        graph, plain = trace(step, specs, engine.kept("train")), trace(step, specs)
    got = flat(engine.compile(graph)(*on_backend(engine, arrays)))
    want = flat(quiet_run(plain, arrays))
    return difference([wide(v) for v in got], [wide(v) for v in want], 2e-3)


OP_CHECKS = {"values": op_values, "shapes": op_shapes, "derivatives": op_steps}


# All of it ---------------------------------------------
CHECKS = {
    "values": values,
    "shapes": shapes,
    "low floats": low_floats,
    "rules": rules,
    "derivatives": derivatives,
    "native": native,
}
WHOLE = {"random graphs": random_graphs, "noise": noise}
# Layers and training curves join `WHOLE`: functions of a backend that give None or what is wrong.


def check(function, *args):
    """None, "unsupported: …" or what is wrong, exceptions included."""
    try:
        return function(*args)
    except NotImplementedError as error:  # UnsupportedOp, or a refusal of the framework's
        return f"unsupported: {error}"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{where.filename.rsplit('/', 1)[-1]}:{where.lineno}"
        return f"{type(error).__name__}: {error} ({place})"


def conformance(name, quick=False, only=""):
    """Run all on the backend `name`: for each primitive and op, its checks and what is wrong."""
    config.set_backend(name)
    engine = backend.current()
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    done = collections.Counter()
    for row in cases.PRIMITIVE_ROWS:
        if only not in row.name or (quick and done[row.name] >= 2):
            continue
        done[row.name] += 1
        for label, function in CHECKS.items():
            if quick and label not in ("values", "shapes", "derivatives"):
                continue
            note(found[row.name], label, check(function, row, engine))
    for missing in [] if only else PRIMITIVES.keys() - done.keys():
        found[missing]["values"].append("no row in cases.py")
    for op, call in op_calls().items():
        if only in op:
            for label, function in OP_CHECKS.items() if call else ():
                note(found[f"ops.{op}"], label, check(function, op, call, engine))
    for label, function in WHOLE.items():
        if only in label:
            few = [5] if quick and function is random_graphs else []
            note(found[label], "values", check(function, engine, *few))
    return found


def note(checks, label, wrong):
    if wrong != SKIP:
        checks[label] += [wrong] if wrong else []
