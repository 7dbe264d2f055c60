"""Conversion, control flow and derivatives given by hand.

Loops and branches take functions. In a trace the function becomes a sub-graph; on arrays the
backend's own
loop calls it.
"""

from __future__ import annotations

import builtins

import numpy as np

from oneiros.core import backend, tree
from oneiros.core import primitives as p
from oneiros.core.autodiff import is_differentiable
from oneiros.core.dtypes import is_float, np_dtype, standardize_dtype
from oneiros.core.graph import STACK, Graph, Trace
from oneiros.core.op import VARIABLES, array, is_unsized, op, to_dtype, unwrap
from oneiros.core.sizes import sizes_of
from oneiros.core.spec import agree, dtype_name
from oneiros.core.symbol import Symbol

__all__ = [
    "associative_scan", "cast", "cond", "convert_to_numpy", "convert_to_tensor", "custom_gradient", "dtype",
    "fori_loop", "is_tensor", "jvp", "map", "saturate_cast", "scan", "shape", "stop_gradient", "switch",
    "vectorize", "vectorized_map", "while_loop",
]  # fmt: skip


# Conversion ---------------------------------------------------------------------------------------
@op
def cast(x, dtype):
    """`x` as `dtype`.

    >>> from oneiros import ops
    >>> ops.cast([0.5, 2.7], "int32").tolist()
    [0, 2]
    """
    return to_dtype(array(x), standardize_dtype(dtype))


@op
def saturate_cast(x, dtype):
    """`x` as `dtype`, with what the dtype cannot hold moved to its nearest limit.

    >>> from oneiros import ops
    >>> ops.saturate_cast([300.0, -5.0], "uint8").tolist()
    [255, 0]
    """
    x, dtype = array(x), standardize_dtype(dtype)
    have, want = dtype_name(x.dtype), np_dtype(dtype)
    if dtype == "bool":
        return p.greater(x, 0) if have != "bool" else x
    if have == "bool" or is_float(dtype) and not is_float(have):
        return to_dtype(x, dtype)
    info = _limits(want)
    own = _limits(np_dtype(have))
    low, high = max(info.min, own.min), min(info.max, own.max)
    low, top = np.asarray(low, np_dtype(have)), np.asarray(high, np_dtype(have))
    if float(top) <= high or not is_float(have):
        return to_dtype(p.minimum(p.maximum(x, low), top), dtype)
    below = np.nextafter(top, np.zeros_like(top))  # the dtype has no float for the integer limit
    made = to_dtype(p.minimum(p.maximum(x, low), below), dtype)
    return p.select(p.greater_equal(x, top), np.asarray(high, want), made)


def _limits(dtype):
    import ml_dtypes

    return np.iinfo(dtype) if dtype.kind in "iu" else ml_dtypes.finfo(dtype)


def convert_to_tensor(x, dtype=None, sparse=None, ragged=None):
    """`x` (array, list, number, variable) as an array of the session's backend.

    >>> from oneiros import ops
    >>> ops.convert_to_tensor([1, 2]).dtype.name
    'int32'
    """
    x = unwrap(x)
    if isinstance(x, Symbol):
        return cast(x, dtype) if dtype is not None else x
    if dtype is not None:
        dtype = standardize_dtype(dtype)
        if type(x) in (bool, int, float) or isinstance(x, (list, tuple)) and not _any_symbol(x):
            return (
                backend.to_array(backend.to_numpy(x), dtype)
                if STACK.top is None
                else np.asarray(x, np_dtype(dtype))
            )
    if isinstance(x, (np.ndarray, np.generic)) and STACK.top is None:
        if x.dtype.kind in "OUS":
            raise ValueError(f"convert_to_tensor: an array of dtype {x.dtype} holds no numbers")
        return backend.to_array(x, dtype)
    x = array(x)
    return to_dtype(x, dtype) if dtype is not None else x


def _any_symbol(x):
    return builtins.any(isinstance(v, Symbol) or type(v) in VARIABLES for v in tree.flatten(x))


def convert_to_numpy(x):
    """`x` as a NumPy array.

    >>> from oneiros import ops
    >>> ops.convert_to_numpy(ops.ones(2))
    array([1., 1.], dtype=float32)
    """
    x = unwrap(x)
    if isinstance(x, Symbol):
        raise ValueError(f"{x!r} is symbolic and has no NumPy value")
    return backend.to_numpy(x)


def shape(x):
    """The shape of `x`, a tuple of ints (None where unknown, scalars in a TensorFlow graph).

    >>> from oneiros import ops
    >>> ops.shape(ops.zeros((2, 3)))
    (2, 3)
    """
    x = array(x)
    return sizes_of(x) if is_unsized(x) else tuple(x.shape)


def dtype(x):
    """The name of the dtype of `x`.

    >>> from oneiros import ops
    >>> ops.dtype(ops.zeros((2, 3)))
    'float32'
    """
    return dtype_name(x.dtype) if hasattr(x, "dtype") else standardize_dtype(type(x))


def is_tensor(x):
    """Whether `x` is an array of the session's backend or a symbol.

    >>> from oneiros import ops
    >>> ops.is_tensor(ops.zeros(2)), ops.is_tensor([0.0, 0.0])
    (True, False)
    """
    if isinstance(x, Symbol):
        return True
    if not hasattr(x, "dtype") or type(x) in VARIABLES:
        return False
    current = backend.current()
    return current.owns(type(x)) if current.native else isinstance(x, np.ndarray)


@op
def stop_gradient(variable):
    """`variable`'s value, through which no derivative flows.

    >>> from oneiros import ops
    >>> ops.stop_gradient(ops.ones(2)).tolist()
    [1.0, 1.0]
    """
    return tree.map_structure(lambda x: p.stop_gradient(array(x)), variable)


# Sub-graphs ---------------------------------------------------------------------------------------
def _flat(function, *examples):
    """`function` over flat values, and where to find the structure of its result."""
    found = {}

    def call(*values):
        result = function(*tree.pack_sequence_as(examples, list(values)))
        found["structure"] = result
        return [array(v) for v in tree.flatten(result)]

    return call, found


def _callee(call, values):
    """`call` as what a control primitive takes: (graph or function, what it captured)."""
    if STACK.top is None:
        return call, []
    with Trace(STACK.top.keep) as t:
        inputs = [Symbol(tuple(v.shape), dtype_name(v.dtype)) for v in values]
        outputs = [_symbol(y) for y in call(*inputs)]
    return Graph(t.calls, inputs, outputs), None


def _symbol(y):
    """A constant as a symbol, so that every output of a sub-graph has a spec of its own."""
    return y if isinstance(y, Symbol) else p.broadcast_to(y, shape=tuple(y.shape))


def _share(graphs, inputs):
    """The graphs over their own inputs and all that any of them captured; and what was captured."""
    captured = {id(s): s for g in graphs for s in g.captured}
    outer = list(captured.values())
    return [Graph(g.calls, [*g.inputs, *outer], g.outputs) for g in graphs], outer


def _arrays(values):
    return [array(v) for v in tree.flatten(values)]


# Branches -----------------------------------------------------------------------------------------
@op
def cond(pred, true_fn, false_fn):
    """`true_fn()` if `pred`, else `false_fn()`; both give the same structure, shapes and dtypes.

    >>> from oneiros import ops
    >>> float(ops.cond(ops.convert_to_tensor(True), lambda: 1.0, lambda: 2.0))
    1.0
    """
    for name, function in (("true_fn", true_fn), ("false_fn", false_fn)):
        if not callable(function):
            raise TypeError(f"cond: {name} must be callable; got {type(function).__name__}")
    pred = unwrap(pred)
    if isinstance(pred, (bool, int, float, np.ndarray, np.generic)) and not isinstance(
        pred, Symbol
    ):
        return true_fn() if pred else false_fn()
    pred = array(pred)
    if len(pred.shape):
        raise ValueError(f"cond: pred must be a scalar; got shape {tuple(pred.shape)}")
    pred = to_dtype(pred, "bool")
    if STACK.top is None:
        return _eager_cond(pred, true_fn, false_fn)
    yes, found = _flat(true_fn)
    no, found_no = _flat(false_fn)
    graphs = [_callee(yes, [])[0], _callee(no, [])[0]]
    tree.assert_same_structure(found["structure"], found_no["structure"])
    for i, (a, b) in enumerate(zip(graphs[0].outputs, graphs[1].outputs)):
        if (tuple(a.shape), a.dtype) != (tuple(b.shape), b.dtype):
            raise ValueError(
                f"cond: output {i} is {a.spec} from true_fn and {b.spec} from false_fn"
            )
    (true, false), outer = _share(graphs, [])
    made = p.cond(pred, *outer, true=true, false=false)
    return tree.pack_sequence_as(found["structure"], list(made))


def _eager_cond(pred, true_fn, false_fn):
    owner = backend.owner((type(pred),), "cond")
    if owner is None or not owner.is_abstract(pred):
        return true_fn() if bool(pred) else false_fn()
    yes, found = _flat(true_fn)
    no, _ = _flat(false_fn)
    made = owner.kernel(p.cond)(pred, true=yes, false=no)
    return tree.pack_sequence_as(found["structure"], list(made))


@op
def switch(index, branches, *operands):
    """`branches[index](*operands)`, with `index` moved into range.

    >>> from oneiros import ops
    >>> double, half = lambda x: 2 * x, lambda x: x / 2
    >>> float(ops.switch(1, [double, half], 3.0))
    1.5
    """
    if not branches:
        raise ValueError("switch: branches must hold at least one function")
    index = array(index)
    result = branches[-1]
    for i in reversed(range(len(branches) - 1)):
        result = _either(
            p.less_equal(index, np.asarray(i, dtype_name(index.dtype))),
            branches[i],
            result,
            operands,
        )
    return result(*operands)


def _either(pred, yes, no, operands):
    return lambda *_: cond(pred, lambda: yes(*operands), lambda: no(*operands))


# Loops --------------------------------------------------------------------------------------------
@op
def while_loop(cond, body, loop_vars, maximum_iterations=None):
    """`loop_vars` after `body(*loop_vars)` was applied as long as `cond(*loop_vars)` held.

    >>> from oneiros import ops
    >>> int(ops.while_loop(lambda i: i < 10, lambda i: i + 3, (0,))[0])
    12
    """
    single = not isinstance(loop_vars, (tuple, list))
    start = (loop_vars,) if single else tuple(loop_vars)
    start = tree.map_structure(array, start)

    def test(i, *v):
        go = cond(*v)
        return (
            go
            if maximum_iterations is None
            else p.logical_and(to_dtype(array(go), "bool"), p.less(i, np.int32(maximum_iterations)))
        )

    def step(i, *v):
        made = body(*v)
        made = tuple(made) if isinstance(made, (tuple, list)) else (made,)
        return (p.add(i, np.int32(1)), *made)

    state = (array(np.int32(0)), *start)
    made = _while(test, step, state)[1:]
    return made[0] if single else tuple(made)


def _while(test, step, state):
    values = _arrays(state)
    test_flat, _ = _flat(lambda *v: to_dtype(array(test(*v)), "bool"), *state)
    step_flat, _ = _flat(step, *state)
    if STACK.top is not None:
        (condition, body), outer = _share(
            [_callee(f, values)[0] for f in (test_flat, step_flat)], values
        )
        _check_carry("while_loop", body, values)
        made = p.while_loop(*values, *outer, condition=condition, body=body, carry=len(values))
    else:
        owner = backend.owner(tuple(builtins.map(type, values)), "while_loop") or backend.current()
        step_same = _same_dtypes(step_flat, values)
        made = owner.kernel(p.while_loop)(
            *values, condition=test_flat, body=step_same, carry=len(values)
        )
    return tree.pack_sequence_as(state, list(made))


def _same_dtypes(function, values):
    """`function`, its results in the dtypes that the loop carries."""
    return lambda *v: [to_dtype(y, dtype_name(x.dtype)) for x, y in zip(values, function(*v))]


def _check_carry(name, body, values):
    for i, (y, x) in enumerate(zip(body.outputs, values)):
        same = len(y.shape) == len(x.shape) and all(agree(n, m) for n, m in zip(y.shape, x.shape))
        if not same or dtype_name(y.dtype) != dtype_name(x.dtype):
            raise ValueError(
                f"{name}: the loop changes value {i} from {dtype_name(x.dtype)}{list(x.shape)} to "
                f"{y.dtype}{list(y.shape)}; shapes and dtypes must stay the same"
            )


@op
def fori_loop(lower, upper, body_fun, init_val):
    """`val` after `val = body_fun(i, val)` for i from `lower` to `upper`.

    >>> from oneiros import ops
    >>> int(ops.fori_loop(0, 5, lambda i, total: total + i, 0))
    10
    """
    if type(lower) is int and type(upper) is int and STACK.top is not None:
        steps = p.add(
            p.iota(shape=(max(upper - lower, 0),), axis=0, dtype="int32"), np.int32(lower)
        )
        return scan(lambda val, i: (body_fun(i, val), None), init_val, steps)[0]
    lower, upper = array(lower), array(upper)
    made = while_loop(
        lambda i, val: p.less(i, to_dtype(upper, dtype_name(i.dtype))),
        lambda i, val: (p.add(i, np.asarray(1, dtype_name(i.dtype))), body_fun(i, val)),
        (lower, init_val),
    )
    return made[1]


@op
def scan(f, init, xs=None, length=None, reverse=False, unroll=1):
    """`(carry, ys)` of `carry, y = f(carry, x)` along the leading axis of `xs`.

    Args:
        f: Function of (carry, slice of `xs`).
        init: The first carry, a tree of arrays.
        xs: A tree of arrays with equal leading axes, or None (then give `length`).
        reverse: Whether to begin at the end.
        unroll: Steps to write out in one round of the loop; a hint.

    >>> from oneiros import ops
    >>> carry, ys = ops.scan(lambda c, x: (c + x, c * x), 0, ops.arange(4))
    >>> int(carry), ys.tolist()
    (6, [0, 0, 2, 9])
    """
    if not callable(f):
        raise TypeError(f"scan: f must be callable; got {f!r}")
    if type(reverse) is not bool:
        raise TypeError(f"scan: reverse must be a bool; got {reverse!r}")
    flat_xs = [] if xs is None else _arrays(xs)
    lengths = {x.shape[0] for x in flat_xs} | (set() if length is None else {int(length)})
    lengths = {int(n) for n in lengths if type(n) is int} or {int(n) for n in lengths}
    if len(lengths) != 1:
        raise ValueError(f"scan: xs and length must agree in one length; got {sorted(lengths)}")
    (length,) = lengths
    flat_init = _arrays(init)
    found = {}

    def step(*values):
        state = tree.pack_sequence_as(init, list(values[: len(flat_init)]))
        x = None if xs is None else tree.pack_sequence_as(xs, list(values[len(flat_init) :]))
        state, y = f(state, x)
        found["state"], found["y"] = state, y
        made = [array(v) for v in tree.flatten(state)]
        made = [to_dtype(v, dtype_name(c.dtype)) for v, c in zip(made, flat_init)]
        return [*made, *([] if y is None else [array(v) for v in tree.flatten(y)])]

    slices = [_first(x) for x in flat_xs]
    n = len(flat_init)
    if STACK.top is not None:
        (body,), outer = _share([_callee(step, [*flat_init, *slices])[0]], None)
        _check_carry("scan", body, flat_init)
        made = p.scan(
            *flat_init,
            *flat_xs,
            *outer,
            body=body,
            carry=n,
            xs=len(flat_xs),
            length=length,
            reverse=reverse,
        )
    else:
        owner = (
            backend.owner(tuple(builtins.map(type, [*flat_init, *flat_xs])), "scan")
            or backend.current()
        )
        made = owner.kernel(p.scan)(
            *flat_init,
            *flat_xs,
            body=step,
            carry=n,
            xs=len(flat_xs),
            length=length,
            reverse=reverse,
        )
    if not found:  # no step ran: the structure of y is found by tracing one
        from oneiros.core.op import infer

        infer(step, [Symbol(tuple(v.shape), dtype_name(v.dtype)) for v in [*flat_init, *slices]])
    y = found["y"]
    ys = None if y is None else tree.pack_sequence_as(y, list(made[n:]))
    return tree.pack_sequence_as(init, list(made[:n])), ys


class _first:
    """The spec of one slice of `x`, as far as tracing looks at it."""

    def __init__(self, x):
        self.shape, self.dtype = tuple(x.shape[1:]), x.dtype


@op
def map(f, xs):
    """`f` applied to each element along the leading axis of `xs`, one after another.

    >>> from oneiros import ops
    >>> ops.map(lambda x: x * x, ops.arange(4)).tolist()
    [0, 1, 4, 9]
    """
    return scan(lambda _, x: ((), f(x)), (), xs)[1]


@op
def vectorized_map(function, elements):
    """`function` applied to each element along the leading axis of `elements`, side by side.

    >>> from oneiros import ops
    >>> ops.vectorized_map(lambda x: ops.sum(x), ops.ones((3, 2))).tolist()
    [2.0, 2.0, 2.0]
    """
    if STACK.top is None:
        owner = backend.owner(tuple(builtins.map(type, _arrays(elements))), "vectorized_map")
        vmap = getattr(owner or backend.current(), "vectorized_map", None)
        if vmap is not None:
            return vmap(function, tree.map_structure(array, elements))
    return map(function, elements)


def vectorize(pyfunc, *, excluded=None, signature=None):
    """A function that applies `pyfunc`, written for scalars or the shapes of `signature`, over
    arrays.

    Args:
        pyfunc: The function.
        excluded: Positions and names of arguments that are passed whole.
        signature: Core dimensions as in NumPy, such as `"(n),(n)->()"`.

    >>> from oneiros import ops
    >>> larger = ops.vectorize(lambda x, y: ops.where(x > y, x, y))
    >>> larger(np.array([1, 5]), np.array([3, 2])).tolist()
    [3, 5]
    """
    if not callable(pyfunc):
        raise ValueError(f"vectorize: pyfunc must be callable; got {pyfunc!r}")
    excluded = set(excluded or ())

    def core_ranks(count):
        if signature is None:
            return [0] * count
        left = signature.partition("->")[0].replace(" ", "")
        groups = left.strip("()").split("),(")
        return [len([d for d in g.split(",") if d]) for g in groups]

    def call(*args, **kwargs):
        from oneiros import ops

        moving = [i for i in range(len(args)) if i not in excluded]
        values = [array(args[i]) for i in moving]
        ranks = core_ranks(len(values))
        lead = np.broadcast_shapes(
            *[tuple(v.shape[: len(v.shape) - r]) for v, r in zip(values, ranks)]
        )
        flat = []
        for v, r in zip(values, ranks):
            core = tuple(v.shape[len(v.shape) - r :])
            flat.append(ops.reshape(ops.broadcast_to(v, (*lead, *core)), (-1, *core)))

        def one(parts):
            whole = list(args)
            for i, part in zip(moving, parts):
                whole[i] = part
            return pyfunc(*whole, **kwargs)

        if not lead:
            return one([ops.squeeze(f, 0) for f in flat])
        made = vectorized_map(one, flat)
        return tree.map_structure(lambda y: ops.reshape(y, (*lead, *y.shape[1:])), made)

    return call


@op
def associative_scan(f, elems, reverse=False, axis=0):
    """The running combination of `elems` along `axis` by the associative `f`, in logarithmic depth.

    Blelloch (1990): combine neighbours, scan the half as long sequence, combine again.

    >>> from oneiros import ops
    >>> ops.associative_scan(ops.add, ops.arange(5)).tolist()
    [0, 1, 3, 6, 10]
    """
    from oneiros import ops

    if not callable(f):
        raise TypeError(f"associative_scan: f must be callable; got {f!r}")
    flat = _arrays(elems)
    axis = axis % len(flat[0].shape)
    if reverse:
        flat = [ops.flip(x, axis) for x in flat]

    def part(xs, start, stop, step):
        return [_strided(x, axis, start, stop, step) for x in xs]

    def combine(a, b):
        a, b = tree.pack_sequence_as(elems, a), tree.pack_sequence_as(elems, b)
        return [array(v) for v in tree.flatten(f(a, b))]

    def rise(xs):
        n = xs[0].shape[axis]
        if n < 2:
            return xs
        pairs = combine(part(xs, 0, n - 1, 2), part(xs, 1, n, 2))
        odd = rise(pairs)
        if n == 2:
            return [ops.concatenate([a, b], axis) for a, b in zip(part(xs, 0, 1, 1), odd)]
        shorter = part(odd, 0, odd[0].shape[axis] - (1 if n % 2 == 0 else 0), 1)
        even = combine(shorter, part(xs, 2, n, 2))
        even = [ops.concatenate([a, b], axis) for a, b in zip(part(xs, 0, 1, 1), even)]
        return [_interleave(a, b, axis) for a, b in zip(even, odd)]

    made = rise(flat)
    if reverse:
        made = [ops.flip(x, axis) for x in made]
    return tree.pack_sequence_as(elems, made)


def _strided(x, axis, start, stop, step):
    rank = len(x.shape)
    return p.slice(
        x,
        start=tuple(start if i == axis else 0 for i in range(rank)),
        stop=tuple(stop if i == axis else n for i, n in enumerate(x.shape)),
        strides=tuple(step if i == axis else 1 for i in range(rank)),
    )


def _interleave(even, odd, axis):
    """The elements of `even` and `odd` in turn along `axis`."""
    n, m = even.shape[axis], odd.shape[axis]
    zero = np.zeros((), np_dtype(dtype_name(even.dtype)))
    rank = len(even.shape)

    def spread(x, before, after):
        widths = tuple((before, after, 1) if i == axis else (0, 0, 0) for i in range(rank))
        return p.pad(x, widths=widths, value=zero.item())

    total = n + m
    if dtype_name(even.dtype) == "bool":
        return p.logical_or(spread(even, 0, total - 2 * n + 1), spread(odd, 1, total - 2 * m))
    return p.add(spread(even, 0, total - 2 * n + 1), spread(odd, 1, total - 2 * m))


# Derivatives --------------------------------------------------------------------------------------
class custom_gradient:
    """A function whose derivative is given beside it.

    Args:
        f: A function that returns its outputs and `grad(*upstream)` (or `grad(*args, upstream=g)`),
            which gives
            one derivative for each argument.

    >>> from oneiros import ops
    >>> @ops.custom_gradient
    ... def log1pexp(x):
    ...     e = ops.exp(x)
    ...     def grad(*args, upstream=None):
    ...         (upstream,) = args if upstream is None else (upstream,)
    ...         return upstream * (1.0 - 1.0 / (1.0 + e))
    ...     return ops.log(1.0 + e), grad
    >>> round(float(log1pexp(0.0)), 3)
    0.693
    """

    def __init__(self, f):
        if not callable(f):
            raise TypeError(f"custom_gradient: f must be a function; got {f!r}")
        self.f = f
        self.__doc__, self.__name__ = f.__doc__, getattr(f, "__name__", "f")

    def __call__(self, *args, **kwargs):
        if STACK.top is None and builtins.any(isinstance(a, Symbol) for a in args):
            return _custom_gradient_op(self, args, kwargs)
        leaf = lambda a: array(unwrap(a)) if hasattr(unwrap(a), "dtype") else a
        values = [tree.map_structure(leaf, a) for a in args]
        arrays = [v for v in tree.flatten(values) if hasattr(v, "dtype")]
        if STACK.top is None:
            owner = backend.owner({type(v) for v in arrays}, "custom_gradient")
            own = getattr(owner, "custom_gradient", None)
            if own is not None:
                return own(self.f, values, kwargs)
        result, grad = self.f(*values, **kwargs)
        if STACK.top is None or STACK.top.abstract:
            return result
        outputs = [_symbol(array(y)) for y in tree.flatten(result)]
        wrt = [v for v in arrays if is_differentiable(v)]
        given = lambda *g: _matching(_call_grad(grad, g), tree.flatten(values))
        (gradient,), outer = _share([_callee(given, outputs)[0]], outputs)
        made = p.with_gradient(
            *outputs, *wrt, *outer, outputs=len(outputs), wrt=len(wrt), gradient=gradient
        )
        return tree.pack_sequence_as(result, list(made))


def _matching(grads, values):
    """What the user's `grad` returned, as the cotangents of the floating symbols among `values`."""
    grads, arrays = tree.flatten(grads), [v for v in values if hasattr(v, "dtype")]
    if len(grads) not in (len(values), len(arrays)):
        raise ValueError(
            f"custom_gradient: grad must return one derivative for each of {len(values)} arguments; "
            f"got {len(grads)}"
        )
    made = []
    for i, (g, x) in enumerate(zip(grads, values if len(grads) == len(values) else arrays)):
        if not is_differentiable(x):
            continue
        g = np.zeros((), np_dtype(x.dtype)) if g is None else to_dtype(array(g), x.dtype)
        if tuple(g.shape) not in ((), tuple(x.shape)):
            raise ValueError(
                f"custom_gradient: grad returned an array of shape {tuple(g.shape)} for argument "
                f"{i} of shape {tuple(x.shape)}"
            )
        made.append(g if tuple(g.shape) == tuple(x.shape) else p.broadcast_to(g, shape=x.shape))
    return made


def _call_grad(grad, g):
    """What the user's `grad` returns for the cotangents `g`, by either of its two forms."""
    import inspect

    try:
        keyword = "upstream" in inspect.signature(grad).parameters
    except (TypeError, ValueError):
        keyword = False
    if keyword and len(g) == 1:
        return grad(upstream=g[0])
    return grad(*g)


@op(name="custom_gradient")
def _custom_gradient_op(function, args, kwargs):
    return function(*args, **kwargs)


@op
def jvp(fun, primals, tangents, has_aux=False):
    """`(fun(*primals), its directional derivative along tangents)`, and the auxiliary output if
    there is one.

    >>> from oneiros import ops
    >>> values, slopes = ops.jvp(ops.square, [ops.ones(2)], [ops.ones(2)])
    >>> slopes.tolist()
    [2.0, 2.0]
    """
    from oneiros.core.autodiff import gradient, zeros

    if STACK.top is None:
        values = [array(v) for v in tree.flatten((primals, tangents))]
        owner = backend.owner(tuple(builtins.map(type, values)), "jvp") or backend.current()
        own = getattr(owner, "jvp", None)
        if own is not None:
            return own(
                fun,
                tree.map_structure(array, primals),
                tree.map_structure(array, tangents),
                has_aux,
            )
        return _run_traced(lambda a, b: jvp(fun, a, b, has_aux), (primals, tangents))
    made = fun(*primals)
    out, aux = made if has_aux else (made, None)
    ys = [_symbol(array(y)) for y in tree.flatten(out)]
    xs, ts = _arrays(primals), _arrays(tangents)
    # The derivative is linear in the cotangents g; differentiating that once more gives the forward
    # mode.
    g = [p.multiply(_symbol(np.zeros((), np_dtype(y.dtype))), zeros(y.shape, y.dtype)) for y in ys]
    g = [p.barrier(v)[0] for v in g]
    back = gradient(ys, g, xs)
    forward = gradient(back, [to_dtype(t, dtype_name(x.dtype)) for t, x in zip(ts, xs)], g)
    result = tree.pack_sequence_as(out, forward)
    return (out, result, aux) if has_aux else (out, result)


def _run_traced(function, args):
    """`function(*args)` by way of a graph, for what only a graph can do."""
    flat = _arrays(args)
    found = {}
    with Trace() as t:
        inputs = [Symbol(tuple(v.shape), dtype_name(v.dtype)) for v in flat]
        found["result"] = function(*tree.pack_sequence_as(args, inputs))
        outputs = [_symbol(array(y)) for y in tree.flatten(found["result"])]
    made = Graph(t.calls, inputs, outputs)(*flat)
    return tree.pack_sequence_as(found["result"], made)
