"""The conformance kit: NumPy runs all of it, other backends a part; `make check` runs it whole."""

import numpy as np
import pytest

from oneiros.core import backend as backends
from oneiros.core import primitives as p
from oneiros.core.primitive import PRIMITIVES
from oneiros.testing import cases, kit
from oneiros.testing.op_cases import BY_HAND

SHARES = 12  # of the kit, so that workers share it


def test_every_primitive_has_a_row():
    assert {row.name for row in cases.PRIMITIVE_ROWS} == set(PRIMITIVES)


def test_every_op_has_a_call():
    assert [n for n, call in kit.op_calls().items() if not call and n not in BY_HAND] == []


@pytest.mark.parametrize("share", range(SHARES))
def test_numpy_conforms(share):
    conforms("numpy", share)


def test_a_backend_conforms(backend):
    conforms(backend, 4)


def conforms(backend, share):
    found = kit.conformance(backend, backend != "numpy", every=SHARES, first=share)
    wrong = [
        f"{name}, {label}: {w}"
        for name, checks in found.items()
        for label, ws in checks.items()
        for w in ws
        if not w.startswith("unsupported")
    ]
    assert not wrong and len(found) > 20


def test_a_wrong_kernel_and_a_wrong_rule_are_found(monkeypatch):
    engine = backends.load("numpy")
    monkeypatch.setitem(engine.primitives, p.exp, lambda x: np.exp(x) + 1)
    p.exp.kernels.clear()
    monkeypatch.setattr(p.sin, "vjp_rule", lambda g, y, x: [p.multiply(g, p.sin(x))])
    try:
        found = kit.conformance("numpy", only="exp")["exp"]
        assert found["values"] and found["rules"] and not found["shapes"]
        assert kit.conformance("numpy", only="sin")["sin"]["rules"]
    finally:
        p.exp.kernels.clear()


def test_what_a_backend_refuses_is_unsupported(monkeypatch):
    engine = backends.load("numpy")
    monkeypatch.delitem(engine.primitives, p.sort)
    p.sort.kernels.clear()
    try:
        (wrong, *_) = kit.conformance("numpy", only="sort")["sort"]["values"]
        assert wrong.startswith("unsupported: backend 'numpy' has no kernel for 'sort'")
    finally:
        p.sort.kernels.clear()
