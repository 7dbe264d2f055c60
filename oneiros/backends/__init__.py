"""Backends: engines that compute, each found by name when it is first asked for."""
