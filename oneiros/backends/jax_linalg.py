"""Factorizations, solves and Fourier transforms on JAX."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax

from oneiros.core import primitives as p

__all__ = ["PRIMITIVES"]


def _triangular_solve(a, b, lower, adjoint):
    return lax.linalg.triangular_solve(
        jnp.asarray(a), jnp.asarray(b), left_side=True, lower=lower, transpose_a=adjoint,
        conjugate_a=adjoint
    )  # fmt: skip


PRIMITIVES = {
    p.cholesky: jnp.linalg.cholesky,
    p.qr: lambda x, mode: tuple(jnp.linalg.qr(x, mode)),
    p.svd: lambda x, full_matrices, compute_uv: jnp.linalg.svd(x, full_matrices, compute_uv),
    p.eigh: lambda x: tuple(jnp.linalg.eigh(x)),
    p.eig: lambda x: tuple(jnp.linalg.eig(x)),
    p.lu: lambda x: tuple(lax.linalg.lu(jnp.asarray(x))),
    p.solve: jnp.linalg.solve,
    p.triangular_solve: _triangular_solve,
    p.inverse: jnp.linalg.inv,
    p.det: jnp.linalg.det,
    p.slogdet: lambda x: tuple(jnp.linalg.slogdet(x)),
    p.fft: lambda x, inverse: (jnp.fft.ifft if inverse else jnp.fft.fft)(x),
    p.rfft: lambda x: jnp.fft.rfft(x),
    p.irfft: lambda x, n: jnp.fft.irfft(x, n),
}
