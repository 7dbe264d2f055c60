"""Kernels as plain Python, for graphs that run once: what compiled code calls, in NumPy.

With `ONEIROS_PYTENSOR_LINKER=python` nothing is compiled: a kernel's source runs as it is, a hundred
times as slowly, but at once. Tests of many small graphs use it.
"""

from __future__ import annotations

import functools
import math
import types

import numpy as np

from oneiros.backends.numpy import KERNELS
from oneiros.core import primitives as p

__all__ = ["PLAIN", "plainly"]


def _number(target):
    """A kernel of NumPy's for one number, which is converted to float64 and back."""
    return lambda x: KERNELS[target](np.asarray(x))[()]


def _product(turned_x, turned_y):
    def product(x, y, out, rest):
        made = (x.T if turned_x else x) @ (y.T if turned_y else y)
        out[...] = made + rest * out if rest else made

    return product


def _int_power(x, n):
    if n < 0:
        return x if x == 1 or (x == -1 and n % 2) else x * x if x == -1 else x - x
    return x**n


def _philox(seed, out):
    out[...] = np.random.Philox(key=seed.astype(np.uint64)).random_raw(len(out))


PLAIN = {
    "np": np,
    "inf": math.inf,
    "nan": math.nan,
    "math": types.SimpleNamespace(
        lgamma=_number(p.lgamma), erf=_number(p.erf), erfc=_number(p.erfc), atan2=np.arctan2,
        fabs=abs, sqrt=np.sqrt, log=np.log, cos=np.cos, sin=np.sin,
    ),
    "exp32": np.exp,
    "tanh32": np.tanh,
    "sigmoid32": lambda x: np.float32(1) / (np.float32(1) + np.exp(-x)),
    "erfinv": _number(p.erfinv),
    "digamma": _number(p.digamma),
    "trigamma": _number(p.polygamma1),
    "int_power": _int_power,
    "whole": lambda x: np.asarray(x).astype(np.int64)[()],
    "philox": _philox,
    "seen": lambda x, shape: x.reshape(shape),
    "row": lambda x, i: x[i : i + 1].reshape(x.shape[1:]),
    "rows": lambda x, i, n: x[i : i + n],
    **{f"product_{'nt'[i]}{'nt'[j]}": _product(i, j) for i in range(2) for j in range(2)},
}  # fmt: skip


def plainly(name, source, parts):
    """The function of this source, run by Python."""
    scope = {**PLAIN, **dict(parts)}
    exec(compile(source, f"<{name}>", "exec"), scope)  # our own text, of our own names
    return functools.wraps(scope[name])(np.errstate(all="ignore")(scope[name]))
