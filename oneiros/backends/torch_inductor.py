"""Graphs given to `torch.compile`, where a model asks for it by `jit_compile=True`."""

from __future__ import annotations

import warnings

import torch

from oneiros.backends.torch_step import adam, plan

__all__ = ["jitted"]


def jitted(flat, graph, kernel, islands, donate, host):
    """The graph by PyTorch's compiler; `flat`, with a warning, where that has no C++ compiler."""
    missing = without_compiler() if host else None
    if missing is not None:
        warnings.warn(
            "jit_compile=True: PyTorch's inductor needs a C++ compiler, and finds none (set CXX, or "
            f"install g++); the step runs without it. It says: {missing}",
            stacklevel=2,
        )
        return flat
    made = plan(graph, kernel, islands, donate, host=False)
    for name, value in list(made.__globals__.items()):
        if value is adam:  # inductor does not know the fused update
            made.__globals__[name] = torch.compiler.disable(value)

    def first(*values):
        with warnings.catch_warnings():  # those of PyTorch are about its own insides
            warnings.simplefilter("ignore")
            now[0] = torch.compile(made, dynamic=False)
            return now[0](*values)

    now = [first]

    def run(*values):
        try:
            return now[0](*values)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise RuntimeError(
                "jit_compile=True: torch.compile does not take this step; compile the model with "
                f"jit_compile=False. It says: {str(error).strip().splitlines()[0]}"
            ) from error

    run.taped = True  # it holds what `inference_mode` would forbid
    return run


def without_compiler():
    """What PyTorch says where it finds no C++ compiler; None where it finds one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch._inductor import cpp_builder

        try:
            cpp_builder.get_cpp_compiler()
        except Exception as error:
            return error
    return None
