"""Factorizations, solvers and Fourier transforms over the last axes."""

__all__ = []
