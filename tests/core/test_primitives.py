"""The conformance kit's rows: NumPy runs them all, JAX the first of each primitive."""

import numpy as np
import pytest

from oneiros import config
from oneiros.core import backend
from oneiros.core.primitive import PRIMITIVES
from oneiros.testing import cases, kit

ROWS = cases.PRIMITIVE_ROWS
FIRST = list({row.name: row for row in reversed(ROWS)}.values())[::-1]
OPS = {name: call for name, call in kit.op_calls().items() if call}


@pytest.fixture
def engine(request):
    before = config.backend()
    config.set_backend(request.param)
    yield backend.current()
    config.set_backend(before)


def run(checks, *args):
    wrong = {label: kit.check(f, *args) for label, f in checks.items()}
    fine = (None, kit.SKIP)
    assert not {k: w for k, w in wrong.items() if w not in fine and "unsupported" not in w}


def name_of(row):
    return f"{row.name}-{'-'.join('x'.join(map(str, np.shape(x))) for x in row.args)}"


def test_every_primitive_has_a_row():
    assert {row.name for row in ROWS} == set(PRIMITIVES)


def test_every_op_has_a_call():
    from oneiros.testing.op_cases import BY_HAND

    assert [n for n, call in kit.op_calls().items() if not call and n not in BY_HAND] == []


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_numpy_conforms(row, engine):
    run(kit.CHECKS, row, engine)


@pytest.mark.parametrize("engine", ["jax"], indirect=True)
@pytest.mark.parametrize("row", FIRST, ids=name_of)
def test_jax_conforms(row, engine):
    run({"values": kit.values, "shapes": kit.shapes, "native": kit.native}, row, engine)


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
@pytest.mark.parametrize("name", OPS)
def test_op_conforms_on_numpy(name, engine):
    run(kit.OP_CHECKS, name, OPS[name], engine)


@pytest.mark.parametrize("engine", ["numpy", "jax"], indirect=True)
@pytest.mark.parametrize("check", kit.WHOLE)
def test_whole(check, engine):
    count = {"random graphs": [60 if engine.name == "numpy" else 3]}.get(check, [])
    assert kit.check(kit.WHOLE[check], engine, *count) is None


@pytest.mark.parametrize("engine", ["numpy"], indirect=True)
def test_a_wrong_kernel_is_found(engine):
    from oneiros.core import primitives as p

    class Wrong(type(engine)):
        def compile(self, graph, donate=()):
            return lambda *values: [v + 1 for v in engine.compile(graph, donate)(*values)]

    wrong = Wrong("wrong", engine.primitives, {})
    backend.LOADED.pop("wrong")
    row = next(row for row in ROWS if row.name == p.exp.name)
    assert "compiled" in kit.check(kit.values, row, wrong)
