"""Ops: the functions of the public API, liberal in what they take.

`@op` wraps a function over primitives and other ops. It unwraps variables, picks a backend's faster
kernel
where there is one, keeps the call whole in a trace that asks for it, and records the call when it
is made on
the symbols of a functional model.
"""

from __future__ import annotations

import functools
import inspect

import numpy as np

from oneiros.core import backend, config
from oneiros.core.backend import FASTER, UNSIZED
from oneiros.core.dtypes import is_float, np_dtype, result_type
from oneiros.core.graph import STACK, Trace, key_of
from oneiros.core.primitives import cast
from oneiros.core.spec import Spec, Unknown, dtype_name, spec_of
from oneiros.core.symbol import Call, Symbol

__all__ = ["OPS", "array", "binary", "float_of", "infer", "op", "promote", "unary"]

OPS = {}
_NUMBERS = (bool, int, float, complex)
_SIZES = (
    (80640, 1680),
    (161280, 3360),
)  # probes for the first axis and for others: rich in divisors


class Op:
    """What is known of one op: its body, its derivative by hand, its kernels by array type."""

    def __init__(self, body, name):
        self.name, self.body, self.vjp_rule = name, body, None
        self.signature = inspect.signature(body)
        self.kernels, self.fused = {}, {}

    def kernel(self, args):
        """The faster kernel of the backend that owns `args`, or None."""
        owner = backend.owner({type(a) for a in args if hasattr(a, "dtype")}, self.name)
        owner = owner or backend.current()
        kernel = owner.faster.get(self.name)
        if kernel is None and self.name in owner.fused:
            kernel = self.fused.get(owner)
            if kernel is None:
                kernel = owner.fuse(self.body, owner.fused[self.name])
                self.fused[owner] = kernel
        return kernel

    def __repr__(self):
        return f"<op {self.name}>"


def op(body=None, *, name=None):
    """Make a public op of a function."""
    if body is None:
        return functools.partial(op, name=name)
    record = OPS[name or body.__name__] = Op(body, name or body.__name__)
    has_symbol, special, local = _has_symbol, _SPECIAL, STACK

    @functools.wraps(body)
    def call(*args, **kwargs):
        for a in args:
            if type(a) in special and has_symbol(a):
                return _symbolic(call, args, kwargs)
        if kwargs:
            for a in kwargs.values():
                if type(a) in special and has_symbol(a):
                    return _symbolic(call, args, kwargs)
        if record.name in FASTER and local.top is None:
            return _fast(record, args, kwargs)
        return body(*args, **kwargs)

    return _public(call, record)


def _public(call, record):
    """`call` as the public function of an op: it knows its record and takes a derivative by hand."""
    call.op, call.body, call.name, call.vjp_rule = record, record.body, record.name, None
    call.alike = None  # for each result, the place of an argument of its shape and dtype

    def vjp(rule):
        call.vjp_rule = record.vjp_rule = rule
        return rule

    call.vjp = vjp
    return call


# Elementwise ops: per types and dtypes, what to call is found once --------------------------------
_WAYS = []  # the tables of what was found


def unary(name, primitive, dtype):
    """The op `name(x)` of an elementwise primitive, which runs in `dtype(the name of x's dtype)`."""
    ways = {}  # by type and dtype
    whole = {}  # by type, where the framework's compiler sees to dtypes
    _WAYS.extend((ways, whole))

    def body(x):
        x = array(x)
        return primitive(to_dtype(x, dtype(dtype_name(x.dtype))))

    def call(x):
        way = whole.get(type(x)) or ways.get((type(x), getattr(x, "dtype", None)))
        return general(x) if way is None else way(x)

    def general(x):
        if type(x) in _SPECIAL:
            return _symbolic(call, (x,), {}) if _has_symbol(x) else body(x)
        if hasattr(x, "dtype"):
            owner = backend.owner({type(x)}, name)
            if owner is not None and owner.fused:
                way = whole[type(x)] = owner.fuse(body, 1).unchecked[1]
                return way(x)
            have = dtype_name(x.dtype)
            ways[type(x), x.dtype] = _direct(primitive, (x,)) if dtype(have) == have else body
        return body(x)

    return _family_member(name, call, body)


def binary(name, primitive, dtype=None, keep=False):
    """The op `name(x1, x2)` of an elementwise primitive, which runs in the operands' common dtype.

    `dtype` is a function of that dtype's name that may give another one to run in; with `keep`,
    operands of
    one dtype stay as they are, those of 64 bits too.
    """
    ways = {}
    _WAYS.append(ways)

    def body(x1, x2):
        return primitive(*promote(x1, x2, rule=dtype, keep=keep))

    def call(x1, x2):
        way = ways.get((type(x1), type(x2), getattr(x1, "dtype", None), getattr(x2, "dtype", None)))
        return general(x1, x2) if way is None else way(x1, x2)

    def general(x1, x2):
        kinds = first, second = type(x1), type(x2)
        if first in _SPECIAL or second in _SPECIAL:
            if _has_symbol(x1) or _has_symbol(x2):
                return _symbolic(call, (x1, x2), {})
            if first in VARIABLES or second in VARIABLES:
                return call(unwrap(x1), unwrap(x2))
        elif first is second or first in _NUMBERS or second in _NUMBERS:
            dtypes = getattr(x1, "dtype", None), getattr(x2, "dtype", None)
            if dtypes != (None, None):
                ways[*kinds, *dtypes] = _way(primitive, body, dtype, (x1, x2), keep)
        return body(x1, x2)

    return _family_member(name, call, body)


def _family_member(name, call, body):
    for function in (call, body):
        function.__name__ = function.__qualname__ = name
    record = OPS[name] = Op(body, name)
    return _public(call, record)


def _direct(primitive, args):
    """What runs `primitive` on arguments of these types, at once where that needs no further
    question.
    """
    types = {type(a) for a in args}
    owner = backend.owner(types, primitive.name)
    if owner is None and backend.current().name != "numpy":
        return primitive  # whether a trace is open decides where it runs
    return (owner or backend.current()).kernel_for(primitive, types)


def _way(primitive, body, rule, xs, keep):
    """What to call for operands of these types and dtypes: the kernel where none needs a cast."""
    want = _common(xs, rule, keep)
    for x in xs:
        fits = (
            dtype_of(x) == want if type(x) not in _NUMBERS else type(x) is float and is_float(want)
        )
        if not fits:
            return body
    return _direct(primitive, xs)


def _forget(_changed):
    """Drop what was found under other settings."""
    for ways in _WAYS:
        ways.clear()
    for record in OPS.values():
        record.kernels.clear()
        record.fused.clear()


config.on_backend_change.append(_forget)
config.on_floatx_change.append(_forget)


_SPECIAL = {
    Symbol,
    list,
    tuple,
    dict,
}  # argument types that are or may hold symbols; Variable joins them


def is_unsized(x):
    """Whether `x` is an array of a framework's graph with sizes that are not known yet, or is one."""
    return type(x) in UNSIZED and (None in tuple(x.shape) or hasattr(x, "_probe"))


def holds_unsized(x):
    """Whether there are such arrays in a structure of lists, tuples and dicts."""
    if isinstance(x, (list, tuple, dict)):
        return any(map(holds_unsized, x.values() if isinstance(x, dict) else x))
    return is_unsized(x)


def _has_symbol(x):
    if isinstance(x, Symbol):
        return True
    if type(x) in UNSIZED:
        return is_unsized(x)
    if isinstance(x, (list, tuple)):
        return any(type(v) is not int and _has_symbol(v) for v in x)
    if isinstance(x, dict):
        return any(map(_has_symbol, x.values()))
    return False


_PLAIN = {*_NUMBERS, str, type(None), tuple}  # what goes to a kernel as it is


def _fast(record, args, kwargs):
    """The result of the faster kernel that the arguments' backend has, else of the body."""
    kinds = tuple(map(type, args))
    kernel = record.kernels.get(kinds)
    if kernel is None:
        kernel = record.kernels[kinds] = _find_fast(record, args)
    if kwargs and kernel is not record.body:
        for value in kwargs.values():
            if type(value) not in _PLAIN:
                return _bound_fast(record, args, kwargs)
    try:
        result = kernel(*args, **kwargs)
    except Exception:
        if kernel is record.body:
            raise
        result = NotImplemented  # what is wrong the body says, in the same words on every backend
    return record.body(*args, **kwargs) if result is NotImplemented else result


def _find_fast(record, args):
    """What to call for arguments of these types, all given by position."""
    direct = args and all(type(a) in _PLAIN or hasattr(a, "dtype") for a in args)
    if direct and type(args[0]) not in _PLAIN and not VARIABLES.isdisjoint(map(type, args)):
        if not any(map(_has_symbol, args)):
            return lambda *args, **kwargs: _fast(record, tuple(map(unwrap, args)), kwargs)
    if not direct or type(args[0]) in _PLAIN or not VARIABLES.isdisjoint(map(type, args)):
        return lambda *args, **kwargs: _bound_fast(record, args, kwargs)
    kernel = record.kernel(args) or record.body
    arrays, run = getattr(kernel, "unchecked", (0, None))
    first = [type(a) for a in args[:arrays]]
    return run if run is not None and len(first) == arrays and _PLAIN.isdisjoint(first) else kernel


def _bound_fast(record, args, kwargs):
    """As `_fast`, for variables, lists and arrays given by keyword."""
    bound = record.signature.bind(*args, **kwargs)
    values = [unwrap(a) for a in bound.args]
    named = {k: unwrap(v) for k, v in bound.kwargs.items()}
    if any(map(_has_symbol, (*values, *named.values()))):
        return record.body(*args, **kwargs)
    kernel = record.kernel([v for v in (*values, *named.values()) if hasattr(v, "dtype")])
    if kernel is None:
        return record.body(*args, **kwargs)
    if values and not hasattr(values[0], "dtype"):
        values[0] = array(values[0])
    result = kernel(*values, **named)
    return record.body(*args, **kwargs) if result is NotImplemented else result


def _symbolic(call, args, kwargs):
    """A call with symbols: part of an open trace, or of a functional model."""
    trace = STACK.top
    if trace is None:
        if UNSIZED and (holds_unsized(args) or holds_unsized(kwargs)):
            from oneiros.core.sizes import run_unsized

            return run_unsized(call, args, kwargs)
        return record_call(call, args, kwargs)
    if call.name in trace.keep:
        bound = call.op.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = tuple(unwrap(a) for a in bound.args)
        if not bound.kwargs:
            accepts = trace.keep[call.name]
            if accepts is None or accepts(*values):
                return _whole(trace, call, values)
    return call.body(*args, **kwargs)


def _whole(trace, call, values):
    """The symbols for an op that a trace keeps whole; equal calls are recorded once."""
    key = (call, tuple(map(key_of, values)))
    outputs = trace.memo.get(key)
    if outputs is None:
        if call.alike is None:
            specs = infer(call.body, values)
        else:
            specs = [spec_of(values[i]) for i in call.alike]
            specs = specs if len(specs) > 1 else specs[0]
        outputs = trace.memo[key] = trace.add(call, values, {}, specs)
    return outputs


def unwrap(x):
    """A variable's value; anything else as it is."""
    return x.value if type(x) in VARIABLES else x


VARIABLES = set()  # the Variable classes; filled by core/variable.py


# Conversion and promotion -------------------------------------------------------------------------
def array(x):
    """`x` as something a primitive takes: a symbol, an array of a backend, or a NumPy array in a
    trace.
    """
    if hasattr(x, "dtype") and type(x) not in VARIABLES:
        if type(x) is np.ndarray and STACK.top is None and not backend.current().meets_numpy:
            return backend.to_array(x)
        return x
    if type(x) in VARIABLES:
        return x.value
    if type(x) is Unknown:
        x = int(x)
    if type(x) in _NUMBERS:
        x = np.asarray(x, np_dtype(result_type(type(x))))
        return x if STACK.top is not None else backend.to_array(x)
    if isinstance(x, (list, tuple)) and _holds_arrays(x):
        from oneiros import ops

        return ops.stack([array(v) for v in x])
    owner = (
        backend.owner((type(x),), "ops") if not isinstance(x, (list, tuple, np.generic)) else None
    )
    if owner is not None:
        return owner.to_array(x)
    x = np.asarray(x)
    if (
        x.dtype == np.float64 or x.dtype == np.int64
    ):  # lists of Python numbers take the default widths
        x = x.astype(np_dtype(result_type(float if x.dtype.kind == "f" else int)))
    if x.dtype.kind in "OUS":
        raise TypeError(f"expected numbers; got an object that NumPy reads as dtype {x.dtype}")
    return x if STACK.top is not None else backend.to_array(x)


def _holds_arrays(x):
    return any(
        isinstance(v, Symbol)
        or (hasattr(v, "dtype") and not isinstance(v, (np.ndarray, np.generic)))
        if not isinstance(v, (list, tuple))
        else _holds_arrays(v)
        for v in x
    )


def dtype_of(x):
    """The dtype name of an array or symbol; the type of a plain number."""
    return type(x) if type(x) in _NUMBERS else dtype_name(x.dtype)


def promote(*xs, dtype=None, rule=None, keep=False):
    """The operands as arrays of one dtype, by Keras's promotion; plain numbers may stay plain.

    At least one operand comes back as an array. `dtype` fixes that dtype; else `rule`, a function
    of names of dtypes, may change the one that promotion gives. With `keep`, equal dtypes stay as
    they are.
    """
    if len(xs) == 2 and dtype is rule is None and type(xs[0]) is type(xs[1]) not in VARIABLES:
        x, y = (getattr(x, "dtype", None) for x in xs)
        if x is not None and x == y and (keep or result_type(dtype_name(x)) == dtype_name(x)):
            return xs
    xs = [x if type(x) in _NUMBERS else int(x) if type(x) is Unknown else array(x) for x in xs]
    if all(type(x) in _NUMBERS for x in xs):
        xs[0] = array(xs[0])
    if dtype is None:
        dtype = _common(xs, rule, keep)
    return [x if type(x) in _NUMBERS else to_dtype(x, dtype) for x in map(_fit(dtype), xs)]


def _common(xs, rule, keep):
    """The dtype to run in: the common one of `xs`, changed by `rule`."""
    dtypes = {dtype_of(x): None for x in xs}
    arrays = [d for d in dtypes if type(d) is str]
    if keep and len(arrays) == len(dtypes) == 1:
        return arrays[0]
    dtype = result_type(*dtypes)
    return rule(dtype) if rule else dtype


def _fit(dtype):
    """A function that makes plain numbers of the kind of `dtype`."""
    if is_float(dtype):
        return lambda x: float(x) if type(x) in (int, bool) else x
    if dtype == "bool":
        return lambda x: bool(x) if type(x) in _NUMBERS else x
    return lambda x: x


def to_dtype(x, dtype):
    """`x` cast to `dtype` if it has another."""
    return x if dtype_name(x.dtype) == dtype else cast(x, dtype=dtype)


def float_of(x):
    """`x` as an array of floating (or complex) dtype: integers take the default float."""
    x = array(x)
    name = dtype_name(x.dtype)
    if is_float(name) or name.startswith("complex"):
        return x
    return cast(x, dtype=result_type(name, float))


# Functional models --------------------------------------------------------------------------------
def record_call(target, args, kwargs, function=None):
    """The symbols that come of calling `target` on symbols: their specs are inferred, the call is
    kept.
    """
    from oneiros.core import tree

    specs = infer(function or getattr(target, "body", target), args, kwargs)
    call = Call(target, args, kwargs)
    outputs = []

    def make(spec):
        if not isinstance(spec, Spec):
            return spec
        symbol = Symbol(spec.shape, spec.dtype)
        symbol.call, symbol.index = call, len(outputs)
        outputs.append(symbol)
        return symbol

    result = tree.map_structure(make, specs)
    call.outputs = tuple(outputs)
    return result


def infer(function, args=(), kwargs=None):
    """What `function` returns for symbols, as specs, by running it in a trace that is thrown away.

    Unknown dimensions are traced with two probe sizes; what differs between the two is unknown.
    """
    from oneiros.core import tree

    kwargs = kwargs or {}
    leaves = [x for x in tree.flatten((args, kwargs)) if isinstance(x, Symbol)]
    unknown = any(None in x.shape for x in leaves)

    def once(sizes):
        with Trace() as t:
            t.abstract = True

            def probe(x):
                if not isinstance(x, Symbol):
                    return x
                shape = [
                    Unknown(sizes[min(i, 1)]) if n is None else n for i, n in enumerate(x.shape)
                ]
                inner = Symbol(shape, x.dtype)
                mask = getattr(x, "_keras_mask", None)
                if mask is not None:
                    inner._keras_mask = probe(mask)
                return inner

            inner_args, inner_kwargs = tree.map_structure(probe, (args, kwargs))
            return tree.map_structure(_result_spec, function(*inner_args, **inner_kwargs))

    if not unknown:
        return once(_SIZES[0])
    larger = [(batch, 64 * other) for batch, other in _SIZES]  # for windows longer than the probes
    try:
        made = list(map(once, _SIZES))
        if any(0 in s.shape for s in tree.flatten(made[0]) if isinstance(s, Spec)):
            made = list(map(once, larger))
    except ValueError as error:
        try:
            made = list(map(once, larger))
        except Exception:
            raise error from None
    return tree.map_structure(_merge, *made)


def _result_spec(x):
    return (
        Spec(tuple(x.shape), dtype_name(x.dtype))
        if hasattr(x, "shape") and hasattr(x, "dtype")
        else x
    )


def _merge(a, b):
    if not isinstance(a, Spec):
        return a
    return Spec(
        tuple(int(n) if n == m and n is not None else None for n, m in zip(a.shape, b.shape)),
        a.dtype,
    )
