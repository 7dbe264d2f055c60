"""Deeplearning4j: steps run on ND4J's engine, in a JVM within this process; eager work is NumPy's.

A step is straight-line Python, one line for each call of the engine (`dl4j_plan`, `dl4j_kernels`).
What the engine lacks or gets wrong is one line of NumPy on the same memory.
"""

from __future__ import annotations

from oneiros.backends import dl4j_kernels, dl4j_places, dl4j_setup, dl4j_windows
from oneiros.backends.dl4j_kernels import small_floats
from oneiros.backends.dl4j_plan import Steps, steps
from oneiros.backends.engine import Engine, plain
from oneiros.backends.numpy import UFUNCS, quiet
from oneiros.core import primitives as p

__all__ = ["BACKEND"]

dl4j_setup.jars()  # an ImportError where they are not there


class DL4J(Engine):
    """Arrays are `np.ndarray`; training is by the traced step alone, on ND4J's engine."""

    def kept(self, kind):
        return {"adam_update": small_floats}

    def compile(self, graph, donate=()):
        step = steps(plain(graph), self.lowered, self.raw, UFUNCS, donate)
        self.tell(step.in_numpy)
        run = quiet(step)
        run.source = step.source
        return run


RULES = {**dl4j_kernels.RULES, **dl4j_places.RULES, **dl4j_windows.RULES}
VIEWS = {  # which cost nothing
    p.reshape: Steps._reshape, p.transpose: Steps._view,
    p.broadcast_to: Steps._broadcast,
}  # fmt: skip
BACKEND = DL4J("dl4j", {**RULES, **VIEWS, p.scan: Steps.scan})
