"""How ND4J computes convolutions and pooling of any rank, channels last.

Plain convolutions over one or two axes are oneDNN's. All others are windows, unfolded through a
strided view of the framed input, times a matrix. Pooling goes through the offsets of the window.
"""

from __future__ import annotations

import math

import numpy as np

from oneiros.backends import numpy_windows
from oneiros.backends.dl4j_kernels import (
    FLOATS,
    bits,
    compare,
    either,
    elementwise,
    flat_sum,
    widened,
)  # fmt: skip
from oneiros.backends.dl4j_places import fill, flipped, framed
from oneiros.core import primitives as p

__all__ = ["RULES"]

BLOCK = 1 << 20  # elements of unfolded windows made at a time: they stay in the cache


def widths(padding, dilation=None):
    return numpy_windows._widths(padding, dilation)


# Convolution ---------------------------------------------
def by_groups(groups, x, kernel, out, each):
    """`each(x, kernel, out)` for the channels of each group; axes of all three as in a convolution."""
    if groups == 1:
        return each(x, kernel, out)
    n, m = x.shape[-1] // groups, kernel.shape[-1] // groups
    for i in range(groups):
        a, b = slice(i * n, (i + 1) * n), slice(i * m, (i + 1) * m)
        each(x[..., a], kernel[..., b], out[..., b])
    return None


def contiguous(plan, x):
    """The array, copied if it is not contiguous."""
    if x.flags.c_contiguous:
        return x
    out = plan.spare_array(x.shape, x.dtype)
    plan.copy(x, out)
    return out


def into(plan, out):
    """A contiguous array to write, and what to do when it is written: bring it to `out`."""
    if out.flags.c_contiguous:
        return out, lambda: None
    made = plan.spare_array(out.shape, out.dtype)
    return made, lambda: plan.copy(made, out)


def convolve(plan, x, kernel, out, strides, padding, lhs_dilation, rhs_dilation):
    """The correlation of `x` with `kernel`, of one group, into `out`."""
    x, kernel = contiguous(plan, x), contiguous(plan, kernel)
    made, finish = into(plan, out)
    rank = len(strides)
    plain = rank <= 2 and {*lhs_dilation, *rhs_dilation} == {1} and x.dtype == np.float32
    if (
        plain
        and all(a == b >= 0 for a, b in padding)
        and made.size
        and math.prod(kernel.shape[:-2]) > 1
    ):
        line = lambda a: a if rank == 2 else a.reshape(a.shape[0], 1, *a.shape[1:])
        two = lambda v, one: (one, *v) if rank == 1 else tuple(v)
        window = kernel.reshape(two(kernel.shape[:-2], 1) + kernel.shape[-2:])
        numbers = (
            *window.shape[:2], *two(strides, 1), *two([a for a, _ in padding], 0), 1, 1, 0, 1, 0,
        )  # fmt: skip
        plan.run("conv2d", [line(x), window], [line(made)], i=tuple(map(int, numbers)))
        return finish()
    x = framed(plan, x, widths(padding, lhs_dilation), 0)
    matrix = kernel.reshape(-1, kernel.shape[-1])
    for piece, cols in unfolded(
        plan, x, kernel.shape[:-2], made.shape[1:-1], strides, rhs_dilation
    ):
        plan.run("matmul", [cols, matrix], [made[piece].reshape(-1, matrix.shape[1])])
    return finish()


def unfolded(plan, x, window, spatial, strides, dilation):
    """Parts of the batch, and their windows as the rows of a matrix."""
    view = numpy_windows._windows(x, window, spatial, strides, dilation)
    inner = math.prod(window) * x.shape[-1]
    per_image = math.prod(spatial) * inner
    for piece in numpy_windows._blocks(x.shape[0], per_image):
        part = view[piece]
        if part.flags.c_contiguous or inner == x.shape[-1] and {*strides} == {1}:
            yield piece, contiguous(plan, x[piece]).reshape(-1, inner)
            continue
        cols = plan.spare_array((math.prod(part.shape) // inner, inner), x.dtype)
        copy_windows(plan, part, cols.reshape(part.shape))
        yield piece, cols


def copy_windows(plan, view, out):
    """A view of windows into memory, with as few and as long axes as there can be."""
    shape, strides = [], []
    for n, s in zip(view.shape, view.strides):
        if n == 1:
            continue
        if shape and strides[-1] == n * s:
            shape[-1], strides[-1] = shape[-1] * n, s
        else:
            shape.append(n)
            strides.append(s)
    joined = np.lib.stride_tricks.as_strided(view, shape, strides, writeable=False)
    plan.copy(joined, out.reshape(shape))


def convolution(plan, call):
    (y,), (x, kernel), params = call.outputs, call.args, dict(call.kwargs)
    if plan.operand(x).dtype.name not in FLOATS:
        return NotImplemented
    groups = params.pop("groups")
    x, kernel = dense(plan, x), dense(plan, kernel)
    out = plan.place(y)
    if is_depthwise(kernel, groups, params, x.dtype):
        plan.run("depthwise_conv2d", [x, split_kernel(kernel, groups)], [out.array],
                 i=depthwise_numbers(kernel, params))  # fmt: skip
    else:
        by_groups(groups, x, kernel, out.array, lambda a, k, o: convolve(plan, a, k, o, **params))
    return plan.define(y, out)


def dense(plan, x):
    return plan.dense(x if hasattr(x, "call") else plan.operand(x))


def is_depthwise(kernel, groups, params, dtype):
    """Whether ND4J's own op for one channel in a group will do."""
    plain = {*params["lhs_dilation"], *params["rhs_dilation"]} == {1}
    return (
        groups > 1 and kernel.shape[-2] == 1 and kernel.ndim == 4 and plain
        and dtype == np.float32 and all(a == b >= 0 for a, b in params["padding"])
    )  # fmt: skip


def split_kernel(kernel, groups):
    return kernel.reshape(*kernel.shape[:-2], groups, kernel.shape[-1] // groups)


def depthwise_numbers(kernel, params):
    lows = [a for a, _ in params["padding"]]
    return tuple(map(int, (*kernel.shape[:2], *params["strides"], *lows, 1, 1, 0, 1, 0)))


def convolution_input_grad(plan, call):
    """A convolution of `g`, spread by the strides, with the kernel turned around."""
    (y,), (g, kernel), params = call.outputs, call.args, dict(call.kwargs)
    if plan.operand(g).dtype.name not in FLOATS:
        return NotImplemented
    groups, shape = params.pop("groups"), params.pop("input_shape")
    g, kernel = dense(plan, g), dense(plan, kernel)
    out = plan.place(y)
    window = kernel.shape[:-2]
    turned = plan.spare_array(kernel.shape, kernel.dtype)
    flipped(plan, kernel, tuple(range(len(window))), turned)
    padding = []
    for n, m, w, s, (low, _), b, d in zip(
        shape[1:-1], g.shape[1:-1], window, params["strides"], params["padding"],
        params["lhs_dilation"], params["rhs_dilation"],
    ):  # fmt: skip
        first = d * (w - 1) - low
        spread = (m - 1) * s + 1
        padding.append((first, (n - 1) * b + 1 + d * (w - 1) - first - spread))
    options = {
        "strides": params["lhs_dilation"], "padding": tuple(padding),
        "lhs_dilation": params["strides"], "rhs_dilation": params["rhs_dilation"],
    }  # fmt: skip
    n, m = kernel.shape[-2], kernel.shape[-1] // groups
    for i in range(groups):
        part = turned[..., i * m : (i + 1) * m].swapaxes(-1, -2)
        convolve(
            plan, g[..., i * m : (i + 1) * m], part, out.array[..., i * n : (i + 1) * n], **options
        )
    return plan.define(y, out)


def convolution_kernel_grad(plan, call):
    """The unfolded windows of the input, times `g`."""
    (y,), (g, x), params = call.outputs, call.args, dict(call.kwargs)
    if plan.operand(g).dtype.name not in FLOATS:
        return NotImplemented
    groups, shape = params["groups"], params["kernel_shape"]
    g, x = dense(plan, g), dense(plan, x)
    out = plan.place(y)
    whole = framed(plan, x, widths(params["padding"], params["lhs_dilation"]), 0)

    def each(x, g, out):
        x, g = contiguous(plan, x), contiguous(plan, g)
        made, finish = into(plan, out)
        matrix = made.reshape(-1, made.shape[-1])
        part = plan.spare_array(matrix.shape, matrix.dtype)
        blocks = unfolded(
            plan, x, shape[:-2], g.shape[1:-1], params["strides"], params["rhs_dilation"]
        )
        for k, (piece, cols) in enumerate(blocks):
            rows = g[piece].reshape(-1, matrix.shape[1])
            plan.run("matmul", [cols, rows], [part if k else matrix], i=(1, 0, 0))
            if k:
                elementwise(plan, p.add, matrix, part, matrix)
        finish()

    by_groups(groups, whole, g, out.array, lambda a, b, o: each(a, b, o))
    return plan.define(y, out)


# Pooling ---------------------------------------------
def offsets(window, spatial, strides):
    return numpy_windows._offsets(window, spatial, strides, (1,) * len(window))


def pooled(plan, call):
    (y,), x, params = call.outputs, call.args[0], call.kwargs
    v = plan.operand(x)
    if v.dtype.name not in FLOATS:
        return NotImplemented
    largest = call.target is p.max_pool
    array = dense(plan, x)
    whole = framed(plan, array, widths(params["padding"]), -math.inf if largest else 0)
    out = plan.place(y)
    piece = plan.spare_array(out.shape, v.dtype)
    for k, (_, at) in enumerate(offsets(params["window"], out.shape[1:-1], params["strides"])):
        plan.copy(whole[at], piece if k else out.array)
        if k and largest:
            either(plan, True, out.array, piece, out.array)
        elif k:
            elementwise(plan, p.add, out.array, piece, out.array)
    if largest:
        total = flat_sum(plan, array)
        plan.line(
            "if {} != {}: {}({}, {}({}, **{}))", total, total, np.copyto, out,
            numpy_windows.max_pool, array, dict(params),
        )  # fmt: skip
    return plan.define(y, out)


def hits(plan, x, y, params):
    """For each offset of the window, where `x` has its window's first largest: slices, and mask.

    The mask is of integers of the elements' width.
    """
    whole = framed(plan, x, widths(params["padding"]), -math.inf)
    kind = np.dtype(f"int{8 * x.dtype.itemsize}")
    free, hit = (plan.spare_array(y.shape, np.uint8) for _ in "fh")
    piece, mask = plan.spare_array(y.shape, x.dtype), plan.spare_array(y.shape, kind)
    fill(plan, free, 1)
    for _, at in offsets(params["window"], y.shape[1:-1], params["strides"]):
        plan.copy(whole[at], piece)
        compare(plan, p.equal, piece, y, hit.view(bool))
        elementwise(plan, p.multiply, hit, free, hit)
        elementwise(plan, p.subtract, free, hit, free)
        plan.copy(hit, mask)
        yield at, mask


def overlap(params):
    return any(w > s for w, s in zip(params["window"], params["strides"]))


def added(plan, whole, at, part, params):
    """`part` added to a view of `whole`, or put there if no other part will be."""
    if overlap(params):
        there = plan.spare_array(part.shape, part.dtype)
        plan.copy(whole[at], there)
        elementwise(plan, p.add, there, part, part)
    plan.copy(part, whole[at])


def unframe(plan, whole, out, padding):
    """The middle of a framed array into `out`."""
    if whole is not out:
        _, _, places = numpy_windows.spans(out.shape, widths(padding))
        plan.copy(whole[places], out)


def grown(plan, out, params):
    """Zeros of the framed shape of `out`: itself where there is no padding."""
    whole, _, _ = numpy_windows.spans(out.shape, widths(params["padding"]))
    array = out if tuple(whole) == out.shape else plan.spare_array(whole, out.dtype)
    fill(plan, array, 0)
    return array


def max_pool_grad(plan, call):
    (z,), (g, x, y), params = call.outputs, call.args, call.kwargs
    if plan.operand(g).dtype.name not in FLOATS:
        return NotImplemented
    g, x, y = (dense(plan, v) for v in (g, x, y))
    out = plan.place(z)
    whole = grown(plan, out.array, params)
    part = plan.spare_array(y.shape, g.dtype)
    for at, mask in hits(plan, x, y, params):
        elementwise(plan, p.multiply, bits(g), mask, bits(part))
        added(plan, whole, at, part, params)
    unframe(plan, whole, out.array, params["padding"])
    return plan.define(z, out)


def max_pool_pick(plan, call):
    (z,), (h, x, y), params = call.outputs, call.args, call.kwargs
    if plan.operand(h).dtype.name not in FLOATS:
        return NotImplemented
    h, x, y = (dense(plan, v) for v in (h, x, y))
    h = framed(plan, h, widths(params["padding"]), 0)
    out = plan.place(z)
    fill(plan, out.array, 0)
    part = plan.spare_array(y.shape, h.dtype)
    for at, mask in hits(plan, x, y, params):
        plan.copy(h[at], part)
        elementwise(plan, p.multiply, bits(part), mask, bits(part))
        elementwise(plan, p.add, bits(out.array), bits(part), bits(out.array))
    return plan.define(z, out)


def sum_pool_grad(plan, call):
    (z,), g, params = call.outputs, call.args[0], call.kwargs
    if plan.operand(g).dtype.name not in FLOATS:
        return NotImplemented
    g = dense(plan, g)
    out = plan.place(z)
    whole = grown(plan, out.array, params)
    part = plan.spare_array(g.shape, g.dtype)
    for _, at in offsets(params["window"], g.shape[1:-1], params["strides"]):
        if overlap(params):
            plan.copy(g, part)
            added(plan, whole, at, part, params)
        else:
            plan.copy(g, whole[at])
    unframe(plan, whole, out.array, params["padding"])
    return plan.define(z, out)


RULES = {
    q: widened(rule)
    for q, rule in {
        p.convolution: convolution,
        p.convolution_input_grad: convolution_input_grad,
        p.convolution_kernel_grad: convolution_kernel_grad,
        p.max_pool: pooled,
        p.sum_pool: pooled,
        p.max_pool_grad: max_pool_grad,
        p.max_pool_pick: max_pool_pick,
        p.sum_pool_grad: sum_pool_grad,
    }.items()
}
