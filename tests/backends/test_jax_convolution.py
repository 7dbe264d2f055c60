"""Convolutions and pools of the jax backend against XLA's own and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from oneiros.backends import jax_convolution as ours

TOLERANCE = {"float32": 2e-4, "float16": 2e-2, "bfloat16": 1e-1}


def plain_convolution(x, kernel, strides, padding, lhs_dilation, rhs_dilation, groups):
    """XLA's, which reads beyond the array on the CPU unless the padding is done before."""
    space = "DHW"[-len(strides) :]
    edges = [(low, high, d - 1) for (low, high), d in zip(padding, lhs_dilation, strict=True)]
    return lax.conv_general_dilated(
        lax.pad(x, np.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)]),
        kernel,
        strides,
        "VALID",
        rhs_dilation=rhs_dilation,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=groups,
    )


def plain_max_pool(x, window, strides, padding):
    start = np.asarray(-np.inf, x.dtype)
    return windowed(x, start, lax.max, window, strides, padding)


def plain_sum_pool(x, window, strides, padding):
    return windowed(x, np.zeros((), x.dtype), lax.add, window, strides, padding)


def windowed(x, start, operator, window, strides, padding):
    return lax.reduce_window(
        x, start, operator, (1, *window, 1), (1, *strides, 1), ((0, 0), *padding, (0, 0))
    )


def numbers(*shape, seed=0, dtype="float32"):
    values = np.random.default_rng(seed).standard_normal(shape)
    return jnp.asarray(values / max(1, np.prod(shape[:-1])) ** 0.25, dtype)


def close(ours, plain):
    assert ours.shape == plain.shape and ours.dtype == plain.dtype
    tolerance = TOLERANCE[str(plain.dtype)]
    wide = np.asarray(plain, "float32")
    np.testing.assert_allclose(
        np.asarray(ours, "float32"),
        wide,
        rtol=tolerance,
        atol=tolerance * (1 + np.abs(wide).max(initial=0)),
    )


@st.composite
def convolutions(draw):
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = (
        groups * draw(st.integers(1, 6)),
        groups * draw(st.sampled_from([1, 2, 128 // groups])),
    )
    window = each(1, 3)
    options = {
        "strides": each(1, 3),
        "padding": tuple(zip(each(-1, 3), each(-1, 3))),
        "lhs_dilation": draw(st.sampled_from([(1,) * rank, each(1, 3)])),
        "rhs_dilation": draw(st.sampled_from([(1,) * rank, each(1, 2)])),
        "groups": groups,
    }
    return (
        (draw(st.integers(0, 4)), *each(3, 8), inputs),
        (*window, inputs // groups, outputs),
        options,
    )


@settings(max_examples=15, deadline=None)
@given(convolutions(), st.sampled_from(["float32", "float32", "float16", "bfloat16"]))
def test_convolution_and_its_derivatives_equal_xla(case, dtype):
    x_shape, kernel_shape, options = case
    check_convolution(x_shape, kernel_shape, options, dtype)


def check_convolution(x_shape, kernel_shape, options, dtype="float32"):
    x, kernel = numbers(*x_shape, dtype=dtype), numbers(*kernel_shape, seed=1, dtype=dtype)
    y = plain_convolution(x, kernel, **options)
    g = numbers(*y.shape, seed=2, dtype=dtype)

    @jax.jit
    def plain(g, x, kernel):
        return jax.vjp(lambda x, kernel: plain_convolution(x, kernel, **options), x, kernel)[1](g)

    @jax.jit
    def own(g, x, kernel):
        y = ours.convolution(x, kernel, **options)
        x_grad = ours.convolution_input_grad(g, kernel, input_shape=x_shape, **options)
        return y, x_grad, ours.convolution_kernel_grad(g, x, kernel_shape=kernel_shape, **options)

    for value, expected in zip(own(g, x, kernel), (y, *plain(g, x, kernel)), strict=True):
        close(value, expected)


@pytest.mark.parametrize(
    "x_shape, kernel_shape, groups",
    [
        ((8, 28, 28, 1), (3, 3, 1, 32), 1),
        ((8, 13, 13, 32), (3, 3, 32, 64), 1),
        ((4, 32, 32, 3), (3, 3, 3, 64), 1),
        ((2, 56, 56, 64), (3, 3, 64, 64), 1),
        ((6, 14, 14, 64), (1, 1, 64, 128), 1),
        ((4, 20, 20, 32), (3, 3, 1, 64), 32),
        ((4, 8, 8, 130), (3, 3, 2, 65), 65),
        ((4, 12, 12, 12, 16), (3, 3, 3, 16, 32), 1),
        ((4, 300, 2), (150, 2, 4), 1),
    ],
)
def test_large_convolutions_equal_xla(x_shape, kernel_shape, groups):
    rank = len(x_shape) - 2
    options = {
        "strides": (1,) * rank,
        "padding": ((1, 1),) * rank,
        "lhs_dilation": (1,) * rank,
        "rhs_dilation": (1,) * rank,
        "groups": groups,
    }
    check_convolution(x_shape, kernel_shape, options)


@st.composite
def pools(draw):
    rank = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))

    window = each(1, 4)
    strides = draw(st.sampled_from([window, each(1, 3)]))
    padding = tuple((draw(st.integers(0, w - 1)), draw(st.integers(0, w - 1))) for w in window)
    options = {"window": window, "strides": strides, "padding": padding}
    return (draw(st.integers(1, 3)), *each(4, 9), draw(st.integers(1, 3))), options


@settings(max_examples=10, deadline=None)
@given(pools(), st.sampled_from(["float32", "float32", "float16", "bfloat16"]), st.booleans())
def test_pools_and_their_derivatives_equal_xla(case, dtype, ties):
    shape, options = case
    x = numbers(*shape, dtype=dtype)
    if ties:
        x = jnp.round(2 * x)
    y = plain_max_pool(x, **options)
    g = numbers(*y.shape, seed=2, dtype=dtype)

    @jax.jit
    def plain(g, x, y):
        greatest = jax.vjp(lambda x: plain_max_pool(x, **options), x)[1](g)[0]
        total, pull = jax.vjp(lambda x: plain_sum_pool(x, **options), x)
        return y, greatest, greatest, total, pull(g)[0]

    @jax.jit
    def own(g, x, y):
        return (
            ours.max_pool(x, **options),
            ours.max_pool_grad(g, x, y, **options),
            jax.vjp(lambda x: ours.max_pool(x, **options), x)[1](g)[0],
            ours.sum_pool(x, **options),
            ours.sum_pool_grad(g, input_shape=x.shape, **options),
        )

    for value, expected in zip(own(g, x, y), plain(g, x, y), strict=True):
        close(value, expected)


def test_empty_batches_pool():
    x = jnp.zeros((0, 6, 6, 2))
    y = ours.max_pool(x, **POOL)
    assert y.shape == (0, 3, 3, 2)
    assert ours.max_pool_grad(y, x, y, **POOL).shape == x.shape
    assert ours.sum_pool_grad(y, input_shape=x.shape, **POOL).shape == x.shape


def test_max_pool_keeps_nan():
    x = jnp.asarray([[1.0], [jnp.nan], [2.0], [3.0]])[None]
    y = ours.max_pool(x, window=(2,), strides=(2,), padding=((0, 0),))
    np.testing.assert_array_equal(y[0, :, 0], [np.nan, 3.0])


def test_max_pool_of_integers():
    x = jnp.asarray([[3], [-7], [-9], [-8]], "int32")[None]
    y = ours.max_pool(x, window=(2,), strides=(2,), padding=((1, 1),))
    np.testing.assert_array_equal(y[0, :, 0], [3, -7, -8])


OPTIONS = {
    "strides": (1, 1),
    "padding": ((0, 0), (1, 0)),
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "groups": 1,
}
POOL = {"window": (2, 2), "strides": (2, 2), "padding": ((0, 0), (0, 0))}


@pytest.mark.parametrize("channels", [1, 3])
def test_jax_derives_twice_and_maps(channels):
    x, kernel = numbers(5, 6, 6, channels), numbers(3, 3, channels, 4, seed=1)

    def net(convolution, max_pool, x, kernel):
        return (max_pool(jnp.tanh(convolution(x, kernel, **OPTIONS)), **POOL) ** 2).sum()

    def both(f):
        ours_value = f(lambda x, k: net(ours.convolution, ours.max_pool, x, k))
        plain_value = f(lambda x, k: net(plain_convolution, plain_max_pool, x, k))
        close(ours_value, plain_value)

    both(lambda f: jax.jit(jax.grad(f, 1))(x, kernel))
    both(lambda f: jax.jit(jax.grad(lambda k: (jax.grad(f)(x, k) ** 2).sum()))(kernel))
    both(lambda f: jax.jit(lambda k: jax.jvp(lambda v: f(x, v), (k,), (k,))[1])(kernel))
    both(lambda f: jax.jit(jax.vmap(f, (0, None)))(x[:, None], kernel))


def test_derivatives_map_and_derive():
    x, kernel = numbers(8, 4, 13, 13, 8), numbers(3, 3, 8, 16, seed=1)
    g = plain_convolution(x[0], kernel, **OPTIONS)

    def kernel_grad(x):
        return ours.convolution_kernel_grad(g, x, kernel_shape=kernel.shape, **OPTIONS)

    mapped = jax.vmap(kernel_grad)(x)
    close(mapped, jnp.stack([kernel_grad(one) for one in x]))
    derived = jax.grad(lambda x: (kernel_grad(x) ** 2).sum())(x[0])
    assert derived.shape == x[0].shape and bool(jnp.isfinite(derived).all())
