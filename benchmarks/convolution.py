"""Time every way to compute a convolution or a pool in JAX on one CPU core, and print a table.

`python benchmarks/convolution.py > benchmarks/convolution.md` shows why `jax_convolution` and
`jax_pooling` choose as they do. Ways take turns; a time is the least CPU time of several rounds.
"""

import argparse
import itertools
import math
import os
import time

os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from oneiros.backends import jax_convolution as ways
from oneiros.backends import jax_pooling as pools

DOT = " · "
# name, input shape, window, output channels, stride, padding, groups
CONVOLUTIONS = [
    ("28², 1 to 32, valid", (64, 28, 28, 1), (3, 3), 32, 1, 0, 1),
    ("13², 32 to 64, valid", (64, 13, 13, 32), (3, 3), 64, 1, 0, 1),
    ("32², 3 to 64", (32, 32, 32, 3), (3, 3), 64, 1, 1, 1),
    ("16², 64 to 128", (32, 16, 16, 64), (3, 3), 128, 1, 1, 1),
    ("32², 32 to 32", (32, 32, 32, 32), (3, 3), 32, 1, 1, 1),
    ("56², 64 to 64", (8, 56, 56, 64), (3, 3), 64, 1, 1, 1),
    ("14², 256 to 256", (8, 14, 14, 256), (3, 3), 256, 1, 1, 1),
    ("56², 64 to 128, stride 2", (8, 56, 56, 64), (3, 3), 128, 2, 1, 1),
    ("112², 3 to 64, 7x7, stride 2", (4, 112, 112, 3), (7, 7), 64, 2, 3, 1),
    ("56², 64 to 256, 1x1", (8, 56, 56, 64), (1, 1), 256, 1, 0, 1),
    ("128, 64 to 64, 5", (32, 128, 64), (5,), 64, 1, 2, 1),
    ("16³, 16 to 32", (4, 16, 16, 16, 16), (3, 3, 3), 32, 1, 1, 1),
    ("56², 64 depthwise", (8, 56, 56, 64), (3, 3), 64, 1, 1, 64),
    ("14², 256 depthwise", (8, 14, 14, 256), (3, 3), 256, 1, 1, 256),
    ("28², 128 in 4 groups", (8, 28, 28, 128), (3, 3), 128, 1, 1, 4),
]
# name, input shape, window, stride, padding
POOLS = [
    ("26², 32, 2x2", (64, 26, 26, 32), (2, 2), 2, 0),
    ("32², 64, 2x2", (32, 32, 32, 64), (2, 2), 2, 0),
    ("56², 64, 3x3, stride 2", (8, 56, 56, 64), (3, 3), 2, 1),
    ("28², 64, 3x3, stride 1", (8, 28, 28, 64), (3, 3), 1, 1),
    ("16³, 16, 2x2x2", (8, 16, 16, 16, 16), (2, 2, 2), 2, 0),
]


def race(contenders, rounds):
    """The least CPU seconds of each call, taken in turns; the first result is the expected one."""
    expected = np.asarray(next(iter(contenders.values()))())
    scale = np.abs(expected).max()
    for name, call in contenders.items():
        error = np.abs(np.asarray(call()) - expected).max() / scale
        assert error < 1e-3, (name, error)
    best = dict.fromkeys(contenders, math.inf)
    for _, (name, call) in itertools.product(range(rounds), contenders.items()):
        start = time.process_time()
        jax.block_until_ready(call())
        best[name] = min(best[name], time.process_time() - start)
    return best


def bound(function, *arrays):
    compiled = jax.jit(function)
    return lambda: compiled(*arrays)


def convolution_rows(name, shape, window, outputs, stride, padding, groups, rounds):
    rank = len(window)
    options = {
        "strides": (stride,) * rank,
        "padding": ((padding, padding),) * rank,
        "lhs_dilation": (1,) * rank,
        "rhs_dilation": (1,) * rank,
        "groups": groups,
    }
    generator = np.random.default_rng(0)
    x = jnp.asarray(generator.standard_normal(shape), "float32")
    kernel_shape = (*window, shape[-1] // groups, outputs)
    kernel = jnp.asarray(generator.standard_normal(kernel_shape), "float32")
    case = ways.Case(shape, kernel_shape, *options.values())
    g = ways.lax_forward(x, kernel, case)
    work = 2 * g.size * math.prod(kernel_shape[:-1])
    kinds = [
        ("forward", x, kernel, ways.FORWARD, [ways.patches_forward, ways.shifts_forward]),
        (
            "input",
            g,
            kernel,
            ways.INPUT_GRAD,
            [ways.flipped_input_grad, ways.products_input_grad, ways.shifts_input_grad],
        ),
        (
            "kernel",
            g,
            x,
            ways.KERNEL_GRAD,
            [ways.patches_kernel_grad, ways.shifts_kernel_grad],
        ),
    ]
    for kind, a, b, table, candidates in kinds:
        if kind == "input" and shape[-1] <= 3:
            continue  # a first layer's input has no derivative
        contenders = {"XLA": bound(lambda a, b: table[-1][0](a, b, case), a, b)}
        for way in candidates:
            one_channel = kernel_shape[-2] == 1
            if ("shifts" in way.__name__) == one_channel and (one_channel or groups == 1):
                contenders[way.__name__.split("_")[0]] = bound(
                    lambda a, b, way=way: way(a, b, case), a, b
                )
        contenders["chosen"] = bound(lambda a, b: ways.fastest(table, a, b, case), a, b)
        times = race(contenders, rounds)
        cells = [f"{n} {1e6 * t:,.0f} us, {work / t / 1e9:.0f}" for n, t in times.items()]
        gain = times["XLA"] / times["chosen"]
        yield f"| {name} | {kind} | {DOT.join(cells)} | {gain:.1f} |"


def pool_rows(name, shape, window, stride, padding, rounds):
    rank = len(window)
    options = {
        "window": window,
        "strides": (stride,) * rank,
        "padding": ((padding, padding),) * rank,
    }
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), "float32")

    def plain(x):
        return pools.lax_pool(x, -np.inf, lax.max, *options.values())

    y = plain(x)
    g = jnp.asarray(np.random.default_rng(1).standard_normal(y.shape), "float32")
    both = {
        "forward": {
            "XLA": bound(plain, x),
            "chosen": bound(lambda x: pools.max_pool(x, **options), x),
        },
        "input": {
            "XLA": bound(lambda g, x: jax.vjp(plain, x)[1](g)[0], g, x),
            "chosen": bound(lambda g, x, y: pools.max_pool_grad(g, x, y, **options), g, x, y),
            "jax.grad of the chosen forward": bound(
                lambda g, x: jax.vjp(lambda x: pools.max_pool(x, **options), x)[1](g)[0], g, x
            ),
        },
    }
    for kind, contenders in both.items():
        times = race(contenders, rounds)
        cells = [f"{n} {1e6 * t:,.0f} us" for n, t in times.items()]
        gain = times["XLA"] / times["chosen"]
        yield f"| {name} | {kind} | {DOT.join(cells)} | {gain:.1f} |"


def loop_rows(rounds):
    """A derivative of the kernel inside `lax.scan`, where XLA's own is far slower still."""
    options = ((1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1)
    case = ways.Case((32, 16, 16, 64), (3, 3, 64, 128), *options)
    x = jnp.ones((2, *case.input_shape), "float32")
    g = jnp.ones((2, 32, 16, 16, 128), "float32")

    def looped(way):
        def total(x, g):
            start = jnp.zeros(case.kernel_shape)
            return lax.scan(lambda t, xg: (t + way(xg[1], xg[0], case), None), start, (x, g))[0]

        return bound(total, x, g)

    times = race(
        {
            "patches": looped(ways.patches_kernel_grad),
            "XLA": looped(ways.lax_kernel_grad),
        },
        rounds,
    )
    cells = [f"{n} {1e6 * t / 2:,.0f} us" for n, t in times.items()]
    gain = times["XLA"] / times["patches"]
    yield f"| 16², 64 to 128 | kernel, in scan | {DOT.join(cells)} | {gain:.1f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    print("# Convolutions and pools of JAX on one CPU core\n")
    print("Least CPU time of interleaved calls in single precision, and GFLOP/s; `benchmarks/")
    print("convolution.py` prints this. *chosen* is what `oneiros` runs; the last column is how")
    print("many times as long XLA's own takes.\n")
    print("| case | what | ways | gain |\n|---|---|---|---|")
    for row in CONVOLUTIONS:
        for line in convolution_rows(*row, rounds):
            print(line, flush=True)
    for line in loop_rows(max(2, rounds // 3)):
        print(line, flush=True)
    for row in POOLS:
        for line in pool_rows(*row, rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
