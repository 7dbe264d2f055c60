"""Primitives that are no elementwise ones, as ops of PyTensor with kernels in numba.

Shapes are static, so each kernel is Python written for its shapes and parameters, and compiled by
numba. All arrays are C-contiguous: what NumPy sees as another view is copied, but for reshapes.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings

import numba
import numpy as np
from numba.core import cgutils
from numba.np import arrayobj
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.cache import compile_numba_function_src
from pytensor.tensor.type import TensorType

from oneiros.backends import numpy_windows
from oneiros.backends.pytensor_blas import PRODUCTS
from oneiros.backends.pytensor_scalars import HELPERS, JIT, literal, scalar
from oneiros.core.spec import Spec

__all__ = [
    "CODE", "OVER", "Kernel", "array_type", "at", "bound", "compiled", "copied", "dot", "larger", "lengths", "nest", "row_of",
    "tensor_type",
]  # fmt: skip

FAST = {"reassoc", "contract", "nsz", "arcp"}  # sums may be taken in any order; NaN stays NaN


def tensor_type(spec):
    return TensorType(spec.dtype, tuple(map(int, spec.shape)))


class Kernel(Op):
    """A primitive with its parameters, for operands of known shapes.

    Args:
        name: The primitive's name.
        source: Its code: the body of a function of x0, x1, ... that fills y0, y1, ...; None for a
            reshape.
        outs: The results' specs; further ones than are asked for are memory to work in.
        over: Pairs of a result and the operand that it is written over.
        fast: Whether sums may be taken in any order.
        parts: Pairs of a name in the source and a function that compiles what it calls.
    """

    __props__ = ("name", "source", "shapes", "over", "fast", "parts")

    def __init__(self, name, source, outs, over=(), fast=True, parts=()):
        self.name, self.source, self.over, self.fast = name, source, over, fast
        self.shapes = tuple((s.dtype, tuple(map(int, s.shape))) for s in outs)
        self.parts = tuple(parts)
        if over:
            self.destroy_map = {y: [x] for y, x in over}
        if source is None:
            self.view_map = {0: [0]}

    def make_node(self, *inputs):
        return Apply(self, list(inputs), [tensor_type(Spec(s, d))() for d, s in self.shapes])

    def perform(self, node, inputs, output_storage):
        made = [inputs[dict(self.over)[i]] if i in dict(self.over) else np.empty(shape, dtype)
                for i, (dtype, shape) in enumerate(self.shapes)]  # fmt: skip
        self.function(node)(*inputs, *[y for i, y in enumerate(made) if i not in dict(self.over)])
        for cell, y in zip(output_storage, made):
            cell[0] = y

    def compiled(self, node):
        """The function of the operands and the results that are not written over, by numba."""
        written = dict(self.over)
        types = [array_type(v.type.dtype, v.type.ndim) for v in node.inputs]
        names = [f"x{i}" for i in range(len(types))]
        lines = []
        for i, (dtype, shape) in enumerate(self.shapes):
            if i in written:
                lines.append(f"y{i} = x{written[i]}")
            else:
                names.append(f"y{i}")
                types.append(array_type(dtype, len(shape)))
        lines += self.source.splitlines()
        return compiled(self.name, names, lines, types, self.fast, self.parts)

    def __str__(self):
        return self.name


def array_type(dtype, rank):
    return numba.types.Array(numba.from_dtype(np.dtype(dtype)), rank, "C")


class _Apart(numba.core.compiler.Compiler):
    """Compiles functions whose arguments share no memory, as far as they write into it."""

    def __init__(self, typingctx, targetctx, library, args, return_type, flags, locals):
        flags = flags.copy()
        flags.noalias = True
        super().__init__(typingctx, targetctx, library, args, return_type, flags, locals)


MADE = {}  # key to the compiled function


def compiled(name, names, lines, types, fast=True, parts=()):
    """The function with these lines, from the cache on disk if it is there.

    `parts` are pairs of a name that the lines use and a compiled function.
    """
    source = f"def {name}({', '.join(names)}):\n    " + "\n    ".join(lines or ["pass"]) + "\n"
    inner = [(n, f.key) for n, f in parts]
    key = hashlib.sha256(f"{source} {types} {fast} {inner} oneiros 6".encode()).hexdigest()
    if os.environ.get("ONEIROS_PYTENSOR_LINKER") == "python":
        from oneiros.backends.pytensor_plain import plainly

        made = plainly(name, source, parts)
        made.key = key
        return made
    if key not in MADE:
        scope = {"__name__": __name__, **HELPERS, **TOOLS, **dict(parts)}
        function = compile_numba_function_src(source, name, scope, cache_key=key)
        options = {
            "error_model": "numpy",
            "fastmath": FAST if fast else False,
            "cache": True,
            "no_cfunc_wrapper": True,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numba's advice on performance
            signature = numba.types.void(*types)
            made = numba.njit(signature, pipeline_class=_Apart, **options)(function)
        made.key, MADE[key] = key, made
    return MADE[key]


@numba.extending.intrinsic
def seen(typingctx, x, shape):
    """The C-contiguous array `x` in another shape, without a share in its memory's life."""
    rank = len(shape)
    kind = numba.types.Array(x.dtype, rank, "C")

    def codegen(context, builder, signature, args):
        sizes = cgutils.unpack_tuple(builder, args[1], rank)
        data = arrayobj.make_array(signature.args[0])(context, builder, args[0]).data
        return _array(context, builder, kind, data, sizes)

    return kind(x, shape), codegen


@numba.extending.intrinsic
def row(typingctx, x, i):
    """The part `x[i]` of a C-contiguous array, an array also where it has no axes."""
    kind = numba.types.Array(x.dtype, x.ndim - 1, "C")

    def codegen(context, builder, signature, args):
        whole = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        sizes = cgutils.unpack_tuple(builder, whole.shape, x.ndim)[1:]
        offset = args[1]
        for n in sizes:
            offset = builder.mul(offset, n)
        return _array(context, builder, kind, builder.gep(whole.data, [offset]), sizes)

    return kind(x, numba.types.intp), codegen


@numba.extending.intrinsic
def rows(typingctx, x, i, n):
    """The part `x[i : i + n]` of a C-contiguous array."""

    def codegen(context, builder, signature, args):
        whole = arrayobj.make_array(signature.args[0])(context, builder, args[0])
        sizes = cgutils.unpack_tuple(builder, whole.shape, x.ndim)
        offset = args[1]
        for m in sizes[1:]:
            offset = builder.mul(offset, m)
        data = builder.gep(whole.data, [offset])
        return _array(context, builder, signature.return_type, data, [args[2], *sizes[1:]])

    kind = numba.types.Array(x.dtype, x.ndim, "C")
    return kind(x, numba.types.intp, numba.types.intp), codegen


def _array(context, builder, kind, data, sizes):
    word = context.get_value_type(numba.types.intp)
    width = context.get_abi_sizeof(context.get_data_type(kind.dtype))
    strides, step = [], word(width)
    for n in reversed(sizes):
        strides.insert(0, step)
        step = builder.mul(step, n)
    made = arrayobj.make_array(kind)(context, builder)
    sizes = [builder.sext(n, word) if n.type != word else n for n in sizes]
    arrayobj.populate_array(made, data, sizes, strides, word(width), None)
    return made._getvalue()


# Writing code ---------------------------------------------
def at(array, indices):
    """An element of an array, also of one without axes."""
    return f"{array}[{', '.join(indices) or '()'}]"


def nest(loops, *body):
    """Lines `body` within loops over pairs of a name and its range's arguments."""
    lines, depth = [], 0
    for name, n in loops:
        lines.append("    " * depth + f"for {name} in range({n}):")
        depth += 1
    return "\n".join([*lines, *["    " * depth + line for b in body for line in b.splitlines()]])


def lengths(array, groups, rank):
    """The joint lengths of groups of an array's axes as source, the same for all its shapes."""
    if len(groups) == 1:
        return [f"{array}.size"]
    return [" * ".join(f"{array}.shape[{k}]" for k in group) for group in groups]


def row_of(texts):
    """A tuple as source."""
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def every(array, rank):
    """Loops over an array's places, and their indices."""
    names = [f"i{k}" for k in range(rank)]
    return [(i, f"{array}.shape[{k}]") for k, i in enumerate(names)], names


def copied(into, x):
    """A line that copies an array: numba takes seconds to compile `into[...] = x`."""
    flat = "seen({0}, ({0}.size,))[e]"
    return f"for e in range({x}.size): {flat.format(into)} = {flat.format(x)}"


def over(shape, prefix="i"):
    """Loops over a shape, and their indices."""
    names = [f"{prefix}{k}" for k in range(len(shape))]
    return list(zip(names, shape)), names


def split(shape, axis):
    """A shape as (before, axis, after)."""
    return math.prod(shape[:axis]), int(shape[axis]), math.prod(shape[axis + 1 :])


# Shapes and places ---------------------------------------------
def reshape(xs, ys, *, shape):
    return None  # a view


def transpose(xs, ys, *, order):
    loops, names = every("y0", len(order))
    inside = [names[order.index(i)] for i in range(len(order))]
    return nest(loops, f"{at('y0', names)} = {at('x0', inside)}")


def broadcast_to(xs, ys, *, shape):
    loops, names = every("y0", len(shape))
    own = names[len(shape) - len(xs[0].shape) :]
    inside = ["0" if n == 1 else i for n, i in zip(xs[0].shape, own)]
    return nest(loops, f"{at('y0', names)} = {at('x0', inside)}")


def iota(xs, ys, *, shape, axis, dtype):
    loops, names = every("y0", len(shape))
    return nest(loops, f"{at('y0', names)} = {names[axis]}")


def slice_(xs, ys, *, start, stop, strides):
    loops, names = over(ys[0].shape)
    inside = [_affine(i, s, a) for i, s, a in zip(names, strides, start)]
    return nest(loops, f"{at('y0', names)} = {at('x0', inside)}")


def _affine(i, factor, offset):
    scaled = i if factor == 1 else f"{i} * {factor}"
    return f"{scaled} + {offset}" if offset > 0 else f"{scaled} - {-offset}" if offset else scaled


def pad(xs, ys, *, widths, value):
    _, kept, places = numpy_windows.spans(xs[0].shape, widths)
    loops, names = over([k.stop - k.start for k in kept])
    source = [_affine(i, 1, k.start) for i, k in zip(names, kept)]
    target = [_affine(i, s.step or 1, s.start) for i, s in zip(names, places)]
    fill = f"y0[...] = {literal(value, ys[0].dtype)}"
    return f"{fill}\n" + nest(loops, f"{at('y0', target)} = {at('x0', source)}")


def reverse(xs, ys, *, axes):
    loops, names = over(xs[0].shape)
    inside = [
        f"{n - 1} - {i}" if k in axes else i for k, (i, n) in enumerate(zip(names, xs[0].shape))
    ]
    return nest(loops, f"{at('y0', names)} = {at('x0', inside)}")


def concatenate(xs, ys, *, axis):
    parts, start = [], 0
    for k, x in enumerate(xs):
        loops, names = over(x.shape)
        target = [_affine(i, 1, start) if j == axis else i for j, i in enumerate(names)]
        parts.append(nest(loops, f"{at('y0', target)} = {at(f'x{k}', names)}"))
        start += x.shape[axis]
    return "\n".join(parts)


def _corner(starts, sizes, shape):
    return [
        f"s{k} = min(max(np.int64(x{i}[()]), 0), {n - m})"
        for k, (i, m, n) in enumerate(zip(starts, sizes, shape))
    ]


def dynamic_slice(xs, ys, *, sizes):
    loops, names = over(sizes)
    inside = [f"{i} + s{k}" for k, i in enumerate(names)]
    starts = _corner(range(1, len(xs)), sizes, xs[0].shape)
    return "\n".join([*starts, nest(loops, f"{at('y0', names)} = {at('x0', inside)}")])


def dynamic_update_slice(xs, ys, *, over_=False):
    loops, names = over(xs[1].shape)
    inside = [f"{i} + s{k}" for k, i in enumerate(names)]
    starts = _corner(range(2, len(xs)), xs[1].shape, xs[0].shape)
    return "\n".join(
        [*_start(over_), *starts, nest(loops, f"{at('y0', inside)} = {at('x1', names)}")]
    )


def _start(over_):
    return [] if over_ else [copied("y0", "x0")]


def take(xs, ys, *, axis):
    before, n, after = split(xs[0].shape, axis)
    count = math.prod(xs[1].shape)
    return (
        f"x = seen(x0, ({before}, {n}, {after}))\n"
        f"at = seen(x1, ({count},))\n"
        f"y = seen(y0, ({before}, {count}, {after}))\n"
    ) + nest(
        [("o", before), ("j", count)],
        f"k = min(max(np.int64(at[j]), 0), {n - 1})",
        nest([("i", after)], "y[o, j, i] = x[o, k, i]"),
    )


def _rows(x, indices):
    """The flat form of indices into the first axes of `x`."""
    k = int(indices.shape[-1])
    return (
        tuple(map(int, x.shape[:k])),
        math.prod(indices.shape[:-1]),
        k,
        math.prod(x.shape[k:]),
    )


def gather_nd(xs, ys):
    sizes, count, k, rest = _rows(*xs)
    row = [f"r = r * {n} + min(max(np.int64(at[j, {i}]), 0), {n - 1})" for i, n in enumerate(sizes)]
    return (
        f"x = seen(x0, ({math.prod(sizes)}, {rest}))\n"
        f"at = seen(x1, ({count}, {k}))\n"
        f"y = seen(y0, ({count}, {rest}))\n"
    ) + nest([("j", count)], "r = 0", *row, nest([("i", rest)], "y[j, i] = x[r, i]"))


def _meet(mode, target, value):
    """A statement that puts `value` where `target` is."""
    if mode == "set":
        return f"{target} = {value}"
    if mode in ("max", "min"):
        sign = ">=" if mode == "max" else "<="
        return f"if not ({target} {sign} {value} or {target} != {target}): {target} = {value}"
    return f"{target} {'+' if mode == 'add' else '*'}= {value}"


def scatter(xs, ys, *, mode, over_=False):
    sizes, count, k, rest = _rows(xs[0], xs[1])
    whole = (*xs[1].shape[:-1], *xs[0].shape[k:])
    row = []
    for i, n in enumerate(sizes):
        row.append(f"a = np.int64(at[j, {i}])")
        row.append(f"if a < 0 or a >= {n}: continue")
        row.append(f"r = r * {n} + a")
    updates = "u" if tuple(xs[2].shape) == whole else "np.broadcast_to(x2, {whole}).copy()"
    lines = [
        *_start(over_),
        f"at = seen(x1, ({count}, {k}))",
        f"y = seen(y0, ({math.prod(sizes)}, {rest}))",
        f"u = seen({'x2' if updates == 'u' else updates.format(whole=whole)}, ({count}, {rest}))",
        nest([("j", count)], "r = 0", *row, nest([("i", rest)], _meet(mode, "y[r, i]", "u[j, i]"))),
    ]
    return "\n".join(lines)


def gather_along(xs, ys, *, axis):
    loops, names = over(ys[0].shape)
    inside = ["k" if i == axis else name for i, name in enumerate(names)]
    n = xs[0].shape[axis]
    return nest(
        loops,
        f"k = min(max(np.int64({at('x1', names)}), 0), {n - 1})",
        f"{at('y0', names)} = {at('x0', inside)}",
    )


def scatter_along(xs, ys, *, axis, mode, over_=False):
    loops, names = over(xs[1].shape)
    n = xs[0].shape[axis]
    inside = ["k" if i == axis else name for i, name in enumerate(names)]
    lead = len(xs[1].shape) - len(xs[2].shape)
    own = ["0" if m == 1 else i for m, i in zip(xs[2].shape, names[lead:])]
    body = nest(
        loops,
        f"k = np.int64({at('x1', names)})",
        f"if k < 0 or k >= {n}: continue",
        _meet(mode, at("y0", inside), at("x2", own)),
    )
    return "\n".join([*_start(over_), body])


def bitcast(xs, ys, *, dtype):
    if math.prod(ys[0].shape) == 0:
        return ""
    n, m = math.prod(xs[0].shape), math.prod(ys[0].shape)
    return f"seen(y0, ({m},))[...] = seen(x0, ({n},)).view(np.{scalar(dtype)})"


# Reductions and order ---------------------------------------------
def _groups(shape, axes):
    """Neighbouring axes of one kind as one: pairs of a length's source and whether it is reduced."""
    found = []
    for i, n in enumerate(shape):
        if n == 1:
            continue
        if found and found[-1][1] == (i in axes):
            found[-1][0].append(i)
        else:
            found.append(([i], i in axes))
    return list(zip(lengths("x0", [group for group, _ in found], len(shape)),
                    [gone for _, gone in found]))  # fmt: skip


def bound(dtype, top):
    kind = np.dtype(dtype).kind
    if kind == "f":
        return f"np.{dtype}({'' if top else '-'}np.inf)"
    if kind == "b":
        return f"np.bool_({top})"
    return literal(np.iinfo(dtype).max if top else np.iinfo(dtype).min, dtype)


def larger(v, best):
    return f"{v} if {v} > {best} or {v} != {v} else {best}"


_LARGER = larger("v", "{0}")
_SMALLER = "v if v < {0} or v != v else {0}"
REDUCTIONS = {  # the start, and the next value of {0}, with the element v
    "reduce_sum": (lambda d: literal(0, d), "{0} + v"),
    "reduce_prod": (lambda d: literal(1, d), "{0} * v"),
    "reduce_max": (lambda d: bound(d, False), _LARGER),
    "reduce_min": (lambda d: bound(d, True), _SMALLER),
    "reduce_any": (lambda d: "False", "{0} | v"),
    "reduce_all": (lambda d: "True", "{0} & v"),
}


def reduction(name):
    start_of, step = REDUCTIONS[name]

    def code(xs, ys, *, axes):
        (x,), dtype = xs, xs[0].dtype
        groups = _groups(x.shape, axes)
        loops = [(f"i{k}", n) for k, (n, _) in enumerate(groups)]
        kept = [i for (i, _), (_, gone) in zip(loops, groups) if not gone]
        lines = [
            f"x = seen(x0, {row_of([n for n, _ in groups])})",
            f"y = seen(y0, {row_of([n for n, gone in groups if not gone])})",
        ]
        start, names = start_of(dtype), [i for i, _ in loops]
        element = f"v = {at('x', names)}"
        if dtype == "bool":
            start, element = f"np.bool_({start})", element
        if groups and not groups[-1][1] and any(gone for _, gone in groups):
            lines += [f"y[...] = {start}"]
            target = at("y", kept)
            lines += [nest(loops, element, f"{target} = {step.format(target)}")]
            return "\n".join(lines)
        wide = dtype == "float32" and name in ("reduce_sum", "reduce_prod")
        outer = [loop for loop, (_, gone) in zip(loops, groups) if not gone]
        inner = [loop for loop, (_, gone) in zip(loops, groups) if gone]
        begin = f"a = np.float64({start})" if wide else f"a = {start}"
        lines += [
            nest(
                outer,
                begin,
                nest(inner, element, f"a = {step.format('a')}"),
                f"{at('y', kept)} = a",
            )
        ]
        return "\n".join(lines)

    return code


def arg(sign):
    def code(xs, ys, *, axis):
        before, n, after = split(xs[0].shape, axis)
        return (
            f"x = seen(x0, ({before}, {n}, {after}))\ny = seen(y0, ({before}, {after}))\n"
        ) + nest(
            [("o", before), ("i", after)],
            "best, k = x[o, 0, i], 0",
            nest(
                [("j", n)],
                "v = x[o, j, i]",
                f"if v {sign} best or (v != v and best == best): best, k = v, j",
            ),
            "y[o, i] = k",
        )

    return code


RUNNING = {
    "cumsum": "a + v",
    "cumprod": "a * v",
    "cummax": "v if v > a or v != v else a",
    "cummin": "v if v < a or v != v else a",
}


def running(name):
    def code(xs, ys, *, axis, reverse):
        before, n, after = split(xs[0].shape, axis)
        shape = (before, n, after)
        place = f"{n - 1} - j" if reverse else "j"
        back = f"{n} - j" if reverse else "j - 1"
        first = n - 1 if reverse else 0
        return f"x, y = seen(x0, {shape}), seen(y0, {shape})\n" + nest(
            [("o", before)],
            f"if {n} == 0: continue",
            nest([("i", after)], f"y[o, {first}, i] = x[o, {first}, i]"),
            nest(
                [("j", f"1, {n}"), ("i", after)],
                f"v, a = x[o, {place}, i], y[o, {back}, i]",
                f"y[o, {place}, i] = {RUNNING[name]}",
            ),
        )

    return code


def sort(xs, ys, *, axis):
    before, _, after = shape = split(xs[0].shape, axis)
    return f"x, y = seen(x0, {shape}), seen(y0, {shape})\n" + nest(
        [("o", before), ("i", after)], "y[o, :, i] = np.sort(x[o, :, i])"
    )


def argsort(xs, ys, *, axis):
    before, n, after = shape = split(xs[0].shape, axis)
    return f"x, y = seen(x0, {shape}), seen(y0, {shape})\n" + nest(
        [("o", before), ("i", after)],
        "order = np.argsort(x[o, :, i].copy(), kind='mergesort')",
        nest([("j", n)], "y[o, j, i] = order[j]"),
    )


def top_k(xs, ys, *, k):
    n = int(xs[0].shape[-1])
    before = math.prod(xs[0].shape[:-1])
    return (
        f"x = seen(x0, ({before}, {n}))\n"
        f"y, z = seen(y0, ({before}, {k})), seen(y1, ({before}, {k}))\n"
    ) + nest(
        [("o", before)],
        "order = np.argsort(x[o, ::-1].copy(), kind='mergesort')",
        nest(
            [("j", k)],
            f"at = {n - 1} - order[{n - 1} - j]",
            "z[o, j] = at",
            "y[o, j] = x[o, at]",
        ),
    )


# Sums of products ---------------------------------------------
def dot(dtype, batched, turned):
    """The code of a product of matrices, or of stacks of them; either may be given turned."""
    at, lead = ("[t]", "t, ") if batched else ("", "")
    if np.dtype(dtype).kind == "f":
        one = lambda x: f"row({x}, t)" if batched else x
        way = "".join("nt"[t] for t in turned)
        lines = f"product_{way}({one('x0')}, {one('x1')}, {one('y0')}, 0)"
    else:
        left, right = (f"{lead}{'j, i' if turned[0] else 'i, j'}",
                       f"{lead}{'k, j' if turned[1] else 'j, k'}")  # fmt: skip
        lines = f"y0{at}[...] = 0\n" + nest(
            [("i", "y0.shape[-2]"), ("j", f"x0.shape[{-2 if turned[0] else -1}]"),
             ("k", "y0.shape[-1]")],
            f"y0[{lead}i, k] += x0[{left}] * x1[{right}]",
        )  # fmt: skip
    return nest([("t", "y0.shape[0]")], lines) if batched else lines


# Factorizations ---------------------------------------------
def _each(xs, ys, call, results=1):
    """A function of `numpy.linalg` for each matrix of a batch."""
    batch = math.prod(xs[0].shape[:-2])
    lines = []
    for name, spec in [(f"x{i}", x) for i, x in enumerate(xs)]:
        core = tuple(map(int, spec.shape[-2:]))
        lines.append(f"{name}b = seen({name}, {(batch, *core)})")
    for i, spec in enumerate(ys):
        core = tuple(map(int, spec.shape[len(xs[0].shape) - 2 :]))
        lines.append(f"y{i}b = seen(y{i}, {(batch, *core)})")
    return "\n".join(lines) + "\n" + nest([("t", batch)], *call)


def linalg(*call):
    return lambda xs, ys, **_: _each(xs, ys, call)


def svd(xs, ys, *, full_matrices, compute_uv):
    if compute_uv:
        text = f"y0b[t], y1b[t], y2b[t] = np.linalg.svd(x0b[t], {int(full_matrices)})"
    else:
        text = "y0b[t] = np.linalg.svd(x0b[t])[1]"
    return _each(xs, ys, [text])


def triangular_solve(xs, ys, *, lower, adjoint):
    """By substitution, column by column of the triangle."""
    n, m = map(int, xs[1].shape[-2:])
    forward = lower != adjoint
    row = "i" if forward else f"{n - 1} - i"
    done = "j" if forward else f"{n - 1} - j"
    element = "x0b[t, k, r]" if adjoint else "x0b[t, r, k]"
    return _each(
        xs,
        ys,
        [
            nest(
                [("i", n)],
                f"r = {row}",
                nest([("c", m)], "y0b[t, r, c] = x1b[t, r, c]"),
                nest(
                    [("j", "i")],
                    f"k = {done}",
                    f"f = {element}",
                    nest([("c", m)], "y0b[t, r, c] -= f * y0b[t, k, c]"),
                ),
                "f = x0b[t, r, r]",
                nest([("c", m)], "y0b[t, r, c] /= f"),
            )
        ],
    )


def lu(xs, ys):
    """Rows are swapped so that each pivot is the largest of its column."""
    m, n = map(int, xs[0].shape[-2:])
    return _each(
        xs,
        ys,
        [
            "y0b[t] = x0b[t]",
            nest([("i", m)], "y2b[t, i] = i"),
            nest(
                [("j", min(m, n))],
                "k = j",
                nest([("i", f"j + 1, {m}")], "if abs(y0b[t, i, j]) > abs(y0b[t, k, j]): k = i"),
                "y1b[t, j] = k",
                "if k != j:",
                nest(
                    [("c", n)], "y0b[t, j, c], y0b[t, k, c] = y0b[t, k, c], y0b[t, j, c]"
                ).replace("for", "    for").replace("\n", "\n    "),
                "    y2b[t, j], y2b[t, k] = y2b[t, k], y2b[t, j]",
                "if y0b[t, j, j] == 0: continue",
                nest(
                    [("i", f"j + 1, {m}")],
                    "y0b[t, i, j] /= y0b[t, j, j]",
                    nest([("c", f"j + 1, {n}")], "y0b[t, i, c] -= y0b[t, i, j] * y0b[t, j, c]"),
                ),
            ),
        ],
    )  # fmt: skip


# Noise ---------------------------------------------
@numba.extending.intrinsic
def _product_high(typingctx, x, y):
    """The upper 64 bits of a product of two."""

    def codegen(context, builder, signature, args):
        from llvmlite import ir

        wide = ir.IntType(128)
        product = builder.mul(*[builder.zext(a, wide) for a in args])
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    word = numba.types.uint64
    return word(word, word), codegen


@numba.njit(**JIT)
def philox(seed, out):
    """The words that NumPy's `Philox` gives, keyed by a seed (Salmon et al., 2011)."""
    u = np.uint64
    n = len(out)
    for block in range((n + 3) // 4):
        a, b, c, d = u(block + 1), u(0), u(0), u(0)
        k, m = u(seed[0]), u(seed[1])
        for _ in range(10):
            high_a, low_a = _product_high(u(0xD2E7470EE14C6C93), a), u(0xD2E7470EE14C6C93) * a
            high_c, low_c = _product_high(u(0xCA5A826395121157), c), u(0xCA5A826395121157) * c
            a, b, c, d = high_c ^ b ^ k, low_c, high_a ^ d ^ m, low_a
            k, m = k + u(0x9E3779B97F4A7C15), m + u(0xBB67AE8584CAA73B)
        at = 4 * block
        out[at] = a
        if at + 1 < n:
            out[at + 1] = b
        if at + 2 < n:
            out[at + 2] = c
        if at + 3 < n:
            out[at + 3] = d


def _words(count, shape):
    n = math.prod(shape)
    return [f"w = np.empty({count}, np.uint64)", "philox(x0, w)", f"y = seen(y0, ({n},))"]


def random_bits(xs, ys, *, shape):
    n = math.prod(shape)
    return "\n".join([*_words((n + 1) // 2, shape), f"y[...] = w.view(np.uint32)[:{n}]"])


def random_uniform(xs, ys, *, shape, dtype):
    n = math.prod(shape)
    if dtype == "float64":
        return "\n".join(
            [
                *_words(n, shape),
                nest([("i", n)], f"y[i] = np.float64(w[i] >> np.uint64(11)) * {2.0**-53!r}"),
            ]
        )
    return "\n".join(
        [
            *_words((n + 1) // 2, shape),
            "v = w.view(np.uint32)",
            nest([("i", n)], f"y[i] = np.float32(v[i] >> np.uint32(8)) * np.float32({2.0**-24!r})"),
        ]
    )


def random_normal(xs, ys, *, shape, dtype):
    """By Box and Muller's transform (1958)."""
    n = math.prod(shape)
    return "\n".join(
        [
            *_words(n + n % 2, shape),
            nest(
                [("i", (n + 1) // 2)],
                f"u = 1.0 - np.float64(w[2 * i] >> np.uint64(11)) * {2.0**-53!r}",
                f"v = np.float64(w[2 * i + 1] >> np.uint64(11)) * {2 * math.pi * 2.0**-53!r}",
                "r = math.sqrt(-2 * math.log(u))",
                "y[2 * i] = r * math.cos(v)",
                f"if 2 * i + 1 < {n}: y[2 * i + 1] = r * math.sin(v)",
            ),
        ]
    )


def copy(xs, ys):
    return copied("y0", "x0")


TOOLS = {"philox": philox, "seen": seen, "row": row, "rows": rows, **PRODUCTS}
OVER = {"dynamic_update_slice", "scatter", "scatter_along"}  # which may write over their operand
CODE = {
    **{
        f.__name__: f
        for f in (
            reshape, transpose, broadcast_to, iota, pad, reverse, concatenate, dynamic_slice,
            dynamic_update_slice, take, gather_nd, scatter, gather_along, scatter_along, bitcast,
            sort, argsort, top_k, svd, triangular_solve, lu, random_bits,
            random_uniform, random_normal, copy,
        )
    },
    "slice": slice_,
    **{name: reduction(name) for name in REDUCTIONS},
    "argmax": arg(">"),
    "argmin": arg("<"),
    **{name: running(name) for name in RUNNING},
    "cholesky": linalg("y0b[t] = np.linalg.cholesky(x0b[t])"),
    "eigh": linalg("y0b[t], y1b[t] = np.linalg.eigh(x0b[t])"),
    "solve": linalg("y0b[t] = np.linalg.solve(x0b[t], x1b[t])"),
    "inverse": linalg("y0b[t] = np.linalg.inv(x0b[t])"),
    "det": linalg("y0b[t] = np.linalg.det(x0b[t])"),
    "slogdet": linalg("y0b[t], y1b[t] = np.linalg.slogdet(x0b[t])"),
}  # fmt: skip
