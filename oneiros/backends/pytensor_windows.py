"""Convolution and pooling of any rank as kernels in numba, with their derivatives. Channels last.

A convolution unfolds some images' windows into a matrix that stays in the cache, and multiplies it
by the kernel. Padding and spread inputs are dealt with by a frame that one image is copied into.
"""

from __future__ import annotations

import math

from oneiros.backends import numpy_windows
from oneiros.backends.pytensor_kernels import at, bound, larger, nest
from oneiros.backends.pytensor_scalars import literal
from oneiros.core.spec import Spec

__all__ = ["SCRATCH", "WINDOWS"]

BLOCK = 1 << 17  # elements of a matrix of windows


class _Geometry:
    """Sizes of one convolution, and the lines that its kernels share."""

    def __init__(self, x, kernel, out, strides, padding, lhs_dilation, rhs_dilation, groups):
        ints = lambda values: tuple(map(int, values))
        self.batch, self.groups, self.out = int(x[0]), groups, ints(out[1:-1])
        self.strides, self.dilation = ints(strides), ints(rhs_dilation)
        self.channels, self.outputs = int(kernel[-2]), int(kernel[-1]) // groups
        self.window, self.image = ints(kernel[:-2]), ints(x[1:])
        widths = [(*map(int, p), d - 1) for p, d in zip(padding, lhs_dilation)]
        self.widths = [*widths, (0, 0, 0)]
        self.framed = any(map(any, self.widths))
        whole, self.kept, self.places = numpy_windows.spans(self.image, self.widths)
        self.whole = ints(whole)
        self.rows, self.taps = math.prod(self.out), math.prod(self.window)
        self.inner = self.taps * self.channels
        per_image = max(1, self.rows * self.inner)
        self.block = max(1, min(self.batch, BLOCK // per_image))
        self.depthwise = groups > 1 and self.channels == 1
        self.empty = 0 in (self.batch, self.rows, self.inner, self.outputs, *self.whole)
        self.direct = (
            not self.framed and self.taps == 1 and groups == 1 and set(self.strides) == {1}
        )

    def scratch(self, dtype):
        """Memory to work in: the frame, windows, one product, one group's kernel."""
        if self.empty:
            return []
        shapes = [
            self.whole if self.framed else (1,),
            (1,) if self.direct or self.depthwise else (self.block * self.rows, self.inner),
            (self.inner, self.outputs),
            (self.inner, self.outputs),
            (1,) if self.groups == 1 else (self.block * self.rows, self.outputs),
        ]
        return [Spec(shape, dtype) for shape in shapes]

    def frame(self, inward):
        """Lines between an image `v` and its frame `f`."""
        sizes = [k.stop - k.start for k in self.kept]
        names = [f"e{k}" for k in range(len(sizes))]
        image = [f"{i} + {k.start}" for i, k in zip(names, self.kept)]
        inside = [f"{i} * {p.step or 1} + {p.start}" for i, p in zip(names, self.places)]
        loops = list(zip(names, sizes))
        if inward:
            return nest(loops, f"{at('f', inside)} = {at('v', image)}")
        cut = any(s != n for s, n in zip(sizes, self.image))
        return ("v[...] = 0\n" if cut else "") + nest(
            loops, f"{at('v', image)} = {at('f', inside)}"
        )

    def unfolding(self, body):
        """Loops over outputs and taps of the image in `f`; `body` gets row, column and place."""
        o = [f"o{k}" for k in range(len(self.out))]
        t = [f"t{k}" for k in range(len(self.window))]
        place = [f"{i} * {s} + {j} * {d}" for i, s, j, d in
                 zip(o, self.strides, t, self.dilation)]  # fmt: skip
        row, tap = flat(o, self.out), flat(t, self.window)
        whole = self.groups == 1 and self.dilation[-1] == 1
        run = self.channels * (self.window[-1] if whole else 1)
        if whole:  # a row of the window is one run of memory
            t, place[-1] = t[:-1], f"{o[-1]} * {self.strides[-1]}"
            tap = f"({flat(t, self.window[:-1])}) * {self.window[-1]}"
        source = flat([*place, f"g * {self.channels}"], self.whole)
        lines = [f"p = {source}", f"q = ({tap}) * {self.channels}"]
        return nest(
            [*zip(o, self.out)],
            f"r = {row}",
            nest([*zip(t, self.window)], *lines, nest([("c", run)], body)),
        )


def flat(names, sizes):
    """The source of a place in the flat form of an array."""
    text = "0"
    for i, n in zip(names, sizes):
        text = f"({text}) * {n} + {i}" if text != "0" else i
    return text


def _lines(*groups):
    return "\n".join(line for g in groups for line in ([g] if isinstance(g, str) else g) if line)


def _memory(count, start):
    """Lines that name the memory to work in."""
    names = ("frame", "windows", "part", "weights", "split")
    return [f"{n} = y{start + i}" for i, n in enumerate(names)] if count else []


def _weights(geo, source):
    """Lines that put one group's kernel into `weights`."""
    return nest(
        [("a", geo.inner), ("c", geo.outputs)],
        f"weights[a, c] = {source}[a, g * {geo.outputs} + c]",
    )


def _blocks(geo, *body):
    return _lines(
        f"block = windows.shape[0] // {geo.rows}",
        "for first in range(0, batch, block):",
        [
            "    " + line
            for text in ("some = min(block, batch - first)", *body)
            for line in text.splitlines()
        ],
    )


def _image(geo, name, framing=True):
    """Lines that make image `b` of `name` readable as the flat array `u`."""
    if not geo.framed:
        return f"u = seen(row({name}, b), ({math.prod(geo.image)},))"
    return _lines(f"v = row({name}, b)", geo.frame(True) if framing else "")


def convolution(xs, ys, geo):
    o = geo.outputs * geo.groups
    start = _memory(not geo.empty, 1)
    if geo.empty:
        return "y0[...] = 0"
    head = [f"k = seen(x1, ({geo.inner}, {o}))", f"z = seen(y0, (batch * {geo.rows}, {o}))"]
    if geo.direct:
        x = f"seen(x0, (batch * {geo.rows}, {geo.inner}))"
        return _lines(head, f"product_nn({x}, k, z, 0)")
    if geo.framed:
        head += ["f = frame", "f[...] = 0", f"u = seen(f, ({math.prod(geo.whole)},))"]
    if geo.depthwise:
        inner = nest([("m", geo.outputs)], f"z[b * {geo.rows} + r, g * {geo.outputs} + m] += "
                     f"u[p] * k[q, g * {geo.outputs} + m]")  # fmt: skip
        return _lines(start, head, "z[...] = 0", nest(
            [("b", "batch")], _image(geo, "x0"), _by_channel(geo, inner)))  # fmt: skip
    unfold = geo.unfolding(f"windows[(b - first) * {geo.rows} + r, q + c] = u[p + c]")
    fill = nest([("b", "first, first + some")], _image(geo, "x0"), unfold)
    m = f"some * {geo.rows}"
    if geo.groups == 1:
        body = f"g = 0\n{fill}\nproduct_nn(rows(windows, 0, {m}), k, rows(z, first * {geo.rows}, {m}), 0)"
        return _lines(start, head, _blocks(geo, body))
    body = nest(
        [("g", geo.groups)],
        fill,
        _weights(geo, "k"),
        f"product_nn(rows(windows, 0, {m}), weights, rows(split, 0, {m}), 0)",
        nest(
            [("r", m), ("c", geo.outputs)],
            f"z[first * {geo.rows} + r, g * {geo.outputs} + c] = split[r, c]",
        ),
    )
    return _lines(start, head, _blocks(geo, body))


def _by_channel(geo, inner):
    """Loops of a depthwise convolution: outputs, taps, channels `g`; p is the place, q the tap."""
    o = [f"o{k}" for k in range(len(geo.out))]
    t = [f"t{k}" for k in range(len(geo.window))]
    place = [f"{i} * {s} + {j} * {d}" for i, s, j, d in
             zip(o, geo.strides, t, geo.dilation)]  # fmt: skip
    return nest(
        [*zip(o, geo.out)],
        f"r = {flat(o, geo.out)}",
        nest(
            [*zip(t, geo.window)],
            f"q = {flat(t, geo.window)}",
            f"s = {flat([*place, '0'], geo.whole)}",
            nest([("g", geo.groups)], "p = s + g", inner),
        ),
    )


def convolution_kernel_grad(xs, ys, geo):
    """Of g (x0) and the input (x1)."""
    o = geo.outputs * geo.groups
    if geo.empty:
        return "y0[...] = 0"
    head = [f"z = seen(y0, ({geo.inner}, {o}))", f"d = seen(x0, (batch * {geo.rows}, {o}))"]
    if geo.direct:
        x = f"seen(x1, (batch * {geo.rows}, {geo.inner}))"
        return _lines(head, f"product_tn({x}, d, z, 0)")
    if geo.framed:
        head += ["f = frame", "f[...] = 0", f"u = seen(f, ({math.prod(geo.whole)},))"]
    start = [*_memory(True, 1), *head, "z[...] = 0"]
    if geo.depthwise:
        inner = nest([("m", geo.outputs)], f"z[q, g * {geo.outputs} + m] += "
                     f"u[p] * d[b * {geo.rows} + r, g * {geo.outputs} + m]")  # fmt: skip
        return _lines(start, nest([("b", "batch")], _image(geo, "x1"), _by_channel(geo, inner)))
    unfold = geo.unfolding(f"windows[(b - first) * {geo.rows} + r, q + c] = u[p + c]")
    fill = nest([("b", "first, first + some")], _image(geo, "x1"), unfold)
    m = f"some * {geo.rows}"
    total = nest([("a", geo.inner), ("c", geo.outputs)],
                 f"z[a, g * {geo.outputs} + c] += part[a, c]")  # fmt: skip
    if geo.groups == 1:
        product = f"product_tn(rows(windows, 0, {m}), rows(d, first * {geo.rows}, {m}), z, 1)"
        return _lines(start, _blocks(geo, "g = 0", fill, product))
    cut = nest([("r", m), ("c", geo.outputs)],
               f"split[r, c] = d[first * {geo.rows} + r, g * {geo.outputs} + c]")  # fmt: skip
    product = f"product_tn(rows(windows, 0, {m}), rows(split, 0, {m}), part, 0)"
    return _lines(start, _blocks(geo, nest([("g", geo.groups)], fill, cut, product, total)))


def convolution_input_grad(xs, ys, geo):
    """Of g (x0) and the kernel (x1)."""
    o = geo.outputs * geo.groups
    if geo.empty:
        return "y0[...] = 0"
    head = [f"k = seen(x1, ({geo.inner}, {o}))", f"d = seen(x0, (batch * {geo.rows}, {o}))"]
    if geo.direct:
        z = f"seen(y0, (batch * {geo.rows}, {geo.inner}))"
        return _lines(head, f"product_nt(d, k, {z}, 0)")
    start = [*_memory(True, 1), *head]
    if geo.framed:
        start += ["f = frame", f"u = seen(f, ({math.prod(geo.whole)},))"]
        before = _lines("v = row(y0, b)", "u[...] = 0")
        after = geo.frame(False)
    else:
        before, after = _lines(_image(geo, "y0"), "u[...] = 0"), ""
    if geo.depthwise:
        inner = nest([("m", geo.outputs)], f"u[p] += k[q, g * {geo.outputs} + m]"
                     f" * d[b * {geo.rows} + r, g * {geo.outputs} + m]")  # fmt: skip
        return _lines(start, nest([("b", "batch")], before, _by_channel(geo, inner), after))
    fold = geo.unfolding(f"u[p + c] += windows[(b - first) * {geo.rows} + r, q + c]")
    m = f"some * {geo.rows}"
    each = [("b", "first, first + some")]
    if geo.groups == 1:
        product = f"product_nt(rows(d, first * {geo.rows}, {m}), k, rows(windows, 0, {m}), 0)"
        body = nest(each, before, fold, after)
        return _lines(start, _blocks(geo, "g = 0", product, body))
    cut = nest([("r", m), ("c", geo.outputs)],
               f"split[r, c] = d[first * {geo.rows} + r, g * {geo.outputs} + c]")  # fmt: skip
    product = f"product_nt(rows(split, 0, {m}), weights, rows(windows, 0, {m}), 0)"
    # one image at a time, so that all groups meet in its frame
    body = nest(
        [("b", "batch")], "first, some = b, 1", before,
        nest([("g", geo.groups)], _weights(geo, "k"), cut, product, fold), after,
    )  # fmt: skip
    return _lines(start, body)


# Pooling ---------------------------------------------
def _pool(x, y, window, strides, padding, start, tap, end):
    """Loops over the outputs of pooling; `tap` reads place `p` and writes place `r`, at c."""
    image, out = tuple(map(int, x[1:-1])), tuple(map(int, y[1:-1]))
    o = [f"o{k}" for k in range(len(out))]
    t = [f"t{k}" for k in range(len(window))]
    body, place = [], []
    for k, (n, s, (low, _)) in enumerate(zip(image, strides, padding)):
        body.append(f"p{k} = o{k} * {s} + t{k} - {low}")
        if any(padding[k]):
            body.append(f"if p{k} < 0 or p{k} >= {n}: continue")
        place.append(f"p{k}")
    channels = int(x[-1])
    inner = nest(
        [*zip(t, window)], *body, f"p = ({flat(['b', *place], (1, *image))}) * {channels}",
        nest([("c", channels)], *tap),
    )  # fmt: skip
    row = f"r = ({flat(['b', *o], (1, *out))}) * {channels}"
    wrap = lambda text: nest([("c", channels)], text) if text else ""
    return nest([("b", "x0.shape[0]"), *zip(o, out)], row, *filter(None, [wrap(start)]), inner,
                *filter(None, [wrap(end)]))  # fmt: skip


def _flat(**names):
    return [f"{n} = seen({x}, ({x}.size,))" for n, x in names.items()]


def max_pool(xs, ys, *, window, strides, padding):
    best = larger("v", "y[r + c]")
    body = _pool(
        xs[0].shape, ys[0].shape, window, strides, padding,
        f"y[r + c] = {bound(xs[0].dtype, False)}", ["v = x[p + c]", f"y[r + c] = {best}"], "",
    )  # fmt: skip
    return _lines(_flat(x="x0", y="y0"), body)


def max_pool_grad(xs, ys, *, window, strides, padding):
    body = _pool(
        xs[1].shape, xs[2].shape, window, strides, padding, "free[c] = True",
        ["hit = free[c] & (x[p + c] == y[r + c])", "d[p + c] += g[r + c] if hit else zero",
         "free[c] = free[c] & (not hit)"], "",
    )  # fmt: skip
    zero = f"zero = {literal(0, ys[0].dtype)}"
    head = _flat(g="x0", x="x1", y="x2", d="y0")
    free = f"free = np.empty({int(xs[1].shape[-1])}, np.bool_)"
    return _lines(head, zero, free, "d[...] = 0", body)


def max_pool_pick(xs, ys, *, window, strides, padding):
    body = _pool(
        xs[1].shape, xs[2].shape, window, strides, padding, "free[c], z[r + c] = True, zero",
        ["hit = free[c] & (x[p + c] == y[r + c])", "z[r + c] = h[p + c] if hit else z[r + c]",
         "free[c] = free[c] & (not hit)"], "",
    )  # fmt: skip
    zero = f"zero = {literal(0, ys[0].dtype)}"
    free = f"free = np.empty({int(xs[1].shape[-1])}, np.bool_)"
    return _lines(_flat(h="x0", x="x1", y="x2", z="y0"), zero, free, body)


def sum_pool(xs, ys, *, window, strides, padding):
    body = _pool(
        xs[0].shape, ys[0].shape, window, strides, padding, "y[r + c] = 0",
        ["y[r + c] += x[p + c]"], "",
    )  # fmt: skip
    return _lines(_flat(x="x0", y="y0"), body)


def sum_pool_grad(xs, ys, *, input_shape, window, strides, padding):
    body = _pool(
        input_shape, xs[0].shape, window, strides, padding, "", ["d[p + c] += g[r + c]"], ""
    )
    return _lines(_flat(g="x0", d="y0"), "d[...] = 0", body)


def _convolving(code, shapes):
    def written(xs, ys, **params):
        text = code(xs, ys, _geometry(shapes, xs, ys, params))
        return f"batch = x0.shape[0]\n{text}"

    return written


def _geometry(shapes, xs, ys, params):
    params = {k: v for k, v in params.items() if not k.endswith("_shape")}
    return _Geometry(*[s.shape for s in shapes(xs, ys)], **params)


SHAPES = {  # input, kernel and output of the convolution
    "convolution": lambda xs, ys: (*xs, ys[0]),
    "convolution_input_grad": lambda xs, ys: (ys[0], xs[1], xs[0]),
    "convolution_kernel_grad": lambda xs, ys: (xs[1], ys[0], xs[0]),
}
SCRATCH = {
    name: lambda xs, ys, shapes=shapes, **params: _geometry(shapes, xs, ys, params).scratch(
        ys[0].dtype
    )
    for name, shapes in SHAPES.items()
}
WINDOWS = {
    f.__name__: f for f in (max_pool, max_pool_grad, max_pool_pick, sum_pool, sum_pool_grad)
} | {
    f.__name__: _convolving(f, SHAPES[f.__name__])
    for f in (convolution, convolution_input_grad, convolution_kernel_grad)
}
