"""Convolution for JAX, by the fastest of a few ways for its shapes and device.

On accelerators the way is always XLA's own. On the CPU XLA is good at forward convolutions over
one or two axes and at matrix products, and slow at the rest, most of all at the derivatives; there
they become matrix products over patches, or sums over the places of the window
(benchmarks/convolution.md).
No way has a custom rule, so `jax.grad`, `jax.jvp` and `jax.vmap` apply to all of them.
Data are `(batch, *spatial, channels)`, kernels `(*window, in_channels // groups, out_channels)`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from oneiros.backends.jax_pooling import (
    lax_pool,
    lowest,
    max_pool,
    max_pool_grad,
    pad,
    places,
    pooled,
    spread,
    sum_pool,
    sum_pool_grad,
)

__all__ = [
    "convolution",
    "convolution_input_grad",
    "convolution_kernel_grad",
    "lone_convolution",
    "lone_max_pool",
    "max_pool",
    "max_pool_grad",
    "sum_pool",
    "sum_pool_grad",
]

BLOCK_BYTES = 3 << 19  # patches made at a time: about what a core's own caches hold
MOST_GROUPS = 64  # one convolution for each of more groups takes too long to compile,
MOST_PLACES = 128  # and so does one slice for each place of a larger window


def convolution(x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, groups):
    """The correlation of `x` with `kernel`."""
    case = Case(x.shape, kernel.shape, strides, padding, lhs_dilation, rhs_dilation, groups)
    return fastest(FORWARD, x, kernel, case)


def lone_convolution(x, kernel, *, strides, padding, lhs_dilation, rhs_dilation, groups):
    """As `convolution` where no derivatives follow: XLA computes it along with what does."""
    case = Case(x.shape, kernel.shape, strides, padding, lhs_dilation, rhs_dilation, groups)
    return fastest([(shifts_forward, depthwise), *FORWARD[1:]], x, kernel, case)


def lone_max_pool(x, *, window, strides, padding):
    """As `max_pool` where no derivatives follow: XLA's own joins the convolution before it."""
    if len(window) == 2 and tuple(window) == tuple(strides):
        return lax_pool(x, lowest(x), lax.max, window, strides, padding)
    return max_pool(x, window=window, strides=strides, padding=padding)


def convolution_input_grad(
    g, kernel, *, input_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    """The derivative of `convolution` for `x`, which has the shape `input_shape`."""
    case = Case(input_shape, kernel.shape, strides, padding, lhs_dilation, rhs_dilation, groups)
    return fastest(INPUT_GRAD, g, kernel, case)


def convolution_kernel_grad(
    g, x, *, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups
):
    """The derivative of `convolution` for the kernel, which has the shape `kernel_shape`."""
    case = Case(x.shape, kernel_shape, strides, padding, lhs_dilation, rhs_dilation, groups)
    return fastest(KERNEL_GRAD, g, x, case)


class Case(NamedTuple):
    """What is known of a convolution before its numbers are."""

    input_shape: tuple
    kernel_shape: tuple
    strides: tuple
    padding: tuple
    lhs_dilation: tuple
    rhs_dilation: tuple
    groups: int

    @property
    def window(self):
        return self.kernel_shape[:-2]

    @property
    def channels(self):
        """Channels that one group takes in, and channels that all groups give."""
        return self.kernel_shape[-2:]

    @property
    def output(self):
        """The spatial sizes of the result."""
        dilated = [(n - 1) * d + 1 for n, d in zip(self.input_shape[1:-1], self.lhs_dilation)]
        reach = [(w - 1) * d + 1 for w, d in zip(self.window, self.rhs_dilation)]
        return pooled(dilated, reach, self.strides, self.padding)

    @property
    def patch_bytes(self):
        """The size of one image's patches in single precision."""
        return 4 * math.prod(self.output) * math.prod(self.kernel_shape[:-1])


def fastest(ways, a, b, case):
    """The result of the first way whose condition holds; the last way is always XLA's own."""
    case = Case(*(c if isinstance(c, int) else tuple(c) for c in case))
    dtype = jnp.result_type(a, b)
    plain = jax.default_backend() != "cpu" or not jnp.issubdtype(dtype, jnp.floating)
    empty = 0 in a.shape or 0 in b.shape or min(case.output) < 1
    if plain or empty or math.prod(case.window) > MOST_PLACES:
        return ways[-1][0](a, b, case)
    if 1 < case.groups <= MOST_GROUPS and case.channels[0] > 1:
        one = case._replace(
            groups=1,
            input_shape=(*case.input_shape[:-1], case.channels[0]),
            kernel_shape=(*case.kernel_shape[:-1], case.channels[1] // case.groups),
        )
        parts = zip(jnp.split(a, case.groups, -1), jnp.split(b, case.groups, -1))
        return jnp.concatenate([fastest(ways, *part, one) for part in parts], -1)
    working = jnp.promote_types(dtype, jnp.float32)  # sums of halves are rounded once, at the end
    way = next(way for way, holds in ways if holds(case))
    return way(a.astype(working), b.astype(working), case).astype(dtype)


# ---- ways ---------------------------------------------------------------------------------------


def lax_forward(x, kernel, case):
    if min(min(pair) for pair in case.padding) < 0:  # XLA's CPU then reads beyond the array
        once = (1,) * len(case.window)
        none = tuple((0, 0) for _ in case.window)
        x, case = padded(x, case), case._replace(padding=none, lhs_dilation=once)
    space = "DHW"[-len(case.window) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        case.strides,
        case.padding,
        case.lhs_dilation,
        case.rhs_dilation,
        (f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=case.groups,
    )


def lax_input_grad(g, kernel, case):
    x = jax.ShapeDtypeStruct(case.input_shape, g.dtype)
    return jax.linear_transpose(lambda x: lax_forward(x, kernel, case), x)(g)[0]


def lax_kernel_grad(g, x, case):
    kernel = jax.ShapeDtypeStruct(case.kernel_shape, g.dtype)
    return jax.linear_transpose(lambda kernel: lax_forward(x, kernel, case), kernel)(g)[0]


def flipped_input_grad(g, kernel, case):
    """A forward convolution with the kernel turned round."""
    reach = [(w - 1) * d for w, d in zip(case.window, case.rhs_dilation)]
    lows = [r - low for r, (low, _) in zip(reach, case.padding)]
    spans = [(m - 1) * s + 1 for m, s in zip(case.output, case.strides)]
    sizes = [(n - 1) * d + 1 for n, d in zip(case.input_shape[1:-1], case.lhs_dilation)]
    padding = [(low, n + r - low - span) for low, n, r, span in zip(lows, sizes, reach, spans)]
    turned = jnp.swapaxes(jnp.flip(kernel, range(len(case.window))), -1, -2)
    back = case._replace(strides=case.lhs_dilation, lhs_dilation=case.strides, padding=padding)
    return lax_forward(g, turned, back)


def patches_forward(x, kernel, case):
    """Blocks of images as patches times the kernel as a matrix."""
    x, columns = padded(x, case), kernel.reshape(-1, kernel.shape[-1])

    def some(x):
        return (patches(x, case, case.output) @ columns).reshape(len(x), *case.output, -1)

    return by_blocks(some, x, block_length(len(x), case.patch_bytes))


def products_input_grad(g, kernel, case):
    """Every place's `g` times the kernel's transpose, added up where the window has been."""
    columns = jnp.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
    size = math.prod(case.window)

    def some(g):
        products = (g.reshape(-1, g.shape[-1]) @ columns).reshape(*g.shape[:-1], size, -1)
        return case_spread((products[..., i, :] for i in range(size)), case)

    if size == 1:
        return some(g)
    return by_blocks(some, g, block_length(len(g), case.patch_bytes))


def patches_kernel_grad(g, x, case):
    """The transpose of blocks of patches times `g`, added up."""
    (inputs, outputs), output = case.channels, case.output
    x, rows = padded(x, case), output[0]
    if case.patch_bytes > BLOCK_BYTES:  # cut tall images into slabs
        rows = block_length(rows, case.patch_bytes // rows)
        reach = (rows - 1) * case.strides[0] + (case.window[0] - 1) * case.rhs_dilation[0] + 1
        starts = range(0, output[0], rows)
        x = jnp.concatenate(
            [lax.slice_in_dim(x, (at := i * case.strides[0]), at + reach, axis=1) for i in starts]
        )
        g = jnp.concatenate([g[:, i : i + rows] for i in starts])
    few = inputs <= 4  # a matrix product is faster with its wider factor on the right

    def some(g, x):
        found, g = patches(x, case, (rows, *output[1:])), g.reshape(-1, outputs)
        return found.T @ g if few else g.T @ found

    bytes_of_one = case.patch_bytes * rows // output[0]
    length = len(x) if math.prod(case.window) == 1 else block_length(len(x), bytes_of_one)
    total = added_by_blocks(some, g, x, length)
    return (total if few else total.T).reshape(case.kernel_shape)


def shifts_forward(x, kernel, case):
    """For one input channel a group: the sum of shifted images, each times one weight."""
    x = jnp.repeat(padded(x, case), case.channels[1] // case.groups, -1)
    weights = kernel.reshape(-1, kernel.shape[-1])
    return sum(w * place for w, place in zip(weights, case_places(x, case, case.output)))


def shifts_input_grad(g, kernel, case):
    weights = kernel.reshape(-1, kernel.shape[-1])
    total = case_spread((w * g for w in weights), case)
    return total.reshape(*total.shape[:-1], case.groups, -1).sum(-1)


def shifts_kernel_grad(g, x, case):
    x = jnp.repeat(padded(x, case), case.channels[1] // case.groups, -1)

    def some(g, x):
        axes = tuple(range(g.ndim - 1))
        return jnp.stack([(g * place).sum(axes) for place in case_places(x, case, case.output)])

    return added_by_blocks(some, g, x, 1).reshape(case.kernel_shape)


# ---- parts of the ways --------------------------------------------------------------------------


def padded(x, case):
    edges = [(low, high, d - 1) for (low, high), d in zip(case.padding, case.lhs_dilation)]
    return pad(x, edges)


def case_places(x, case, output):
    return places(x, output, case.window, case.strides, case.rhs_dilation)


def case_spread(parts, case):
    sizes = case.input_shape[1:-1]
    return spread(parts, sizes, case.window, case.strides, case.padding, case.rhs_dilation)


def patches(x, case, output):
    """What lies under the window at each of its positions, `(positions, window * channels)`."""
    found = list(case_places(x, case, output))
    found = found[0] if len(found) == 1 else jnp.concatenate(found, -1)
    return found.reshape(-1, found.shape[-1])


def block_length(count, bytes_of_one):
    """The largest divisor of `count` of which so many fit a block, or 1."""
    fit = max(1, min(count, BLOCK_BYTES // bytes_of_one))
    return next(n for n in range(fit, 0, -1) if count % n == 0)


def blocks(x, length):
    return x.reshape(-1, length, *x.shape[1:])


def by_blocks(function, x, length):
    if length == len(x):
        return function(x)
    y = lax.map(function, blocks(x, length))
    return y.reshape(-1, *y.shape[2:])


def added_by_blocks(function, g, x, length):
    if length == len(x):
        return function(g, x)
    first, *_ = jax.tree.leaves(jax.eval_shape(function, g[:length], x[:length]))
    start = jnp.zeros(first.shape, first.dtype)
    return lax.scan(
        lambda total, block: (total + function(*block), None),
        start,
        (blocks(g, length), blocks(x, length)),
    )[0]


# ---- choices: the way, and the case in which it is the fastest ----------------------------------


def always(case):
    return True


def one_channel(case):
    """XLA computes depthwise convolutions one number at a time: 10 to 50 times slower."""
    return case.channels[0] == 1


def depthwise(case):
    return case.channels[0] == 1 and case.groups > 1


def over_three_axes(case):
    """XLA has no fast convolution over three axes: 2.5 times slower forward, 6 times backward."""
    return len(case.window) > 2


def few_products(case):
    """Where padding makes `x` larger than `g`, or for many channels: 1.1 to 1.4 times faster."""
    if set(case.lhs_dilation) != {1} or case.groups > 1:
        return False
    if over_three_axes(case):
        return True
    shrinks = math.prod(case.input_shape[1:-1]) > 1.2 * math.prod(case.output)
    cropped = shrinks and set(case.strides) == {1}
    return (cropped or case.channels[1] >= 128) and case.patch_bytes < 4 * BLOCK_BYTES // 3


def ungrouped(case):
    """XLA's takes 1.5 to 10 times as long, and 20 to 100 times inside a loop."""
    return case.groups == 1


FORWARD = [
    (shifts_forward, one_channel),
    (patches_forward, lambda case: over_three_axes(case) and ungrouped(case)),
    (lax_forward, always),
]
INPUT_GRAD = [
    (shifts_input_grad, lambda case: depthwise(case) and set(case.lhs_dilation) == {1}),
    (products_input_grad, few_products),
    (flipped_input_grad, ungrouped),
    (lax_input_grad, always),
]
KERNEL_GRAD = [
    (shifts_kernel_grad, depthwise),
    (patches_kernel_grad, ungrouped),
    (lax_kernel_grad, always),
]
