"""What the kit's rows cannot say of the NumPy backend."""

import threading

import numpy as np
import pytest

import oneiros.ops  # noqa: F401 - the operators of symbols
from oneiros import config
from oneiros.core import backend
from oneiros.core import primitives as p
from oneiros.core.graph import trace
from oneiros.core.spec import Spec

ENGINE = backend.load("numpy")


@pytest.fixture(autouse=True)
def numpy_session():
    before = config.backend()
    config.set_backend("numpy")
    yield
    config.set_backend(before)


def planned(function, *shapes, donate=(), dtype="float32"):
    return ENGINE.compile(trace(function, [Spec(s, dtype) for s in shapes]), donate)


@pytest.mark.filterwarnings("error")
def test_no_warning_escapes_and_the_users_settings_stay():
    before = np.geterr()
    x = np.array([0.0, -1.0, np.inf, 1e38], "float32")
    for target in (p.log, p.sqrt, p.exp):
        target(x)
        planned(lambda x, target=target: target(x), (4,))(x)
    p.cast(x, dtype="int32")
    p.dot_general(x, x, contract=((0,), (0,)), batch=((), ()))
    assert np.geterr() == before


def test_state_moves_on_in_its_own_memory():
    step = planned(
        lambda w, x: [p.subtract(w, p.multiply(x, 0.1)), p.sin(x)], (3,), (3,), donate=(0,)
    )
    w, x = np.ones(3, "float32"), np.ones(3, "float32")
    moved, other = step(w, x)
    assert moved is w and other is not x
    np.testing.assert_allclose(moved, 0.9)
    np.testing.assert_allclose(x, 1)


def test_inputs_that_are_not_donated_are_left_alone():
    step = planned(lambda w, x: [p.add(w, x), p.exp(w)], (3,), (3,))
    w, x = np.ones(3, "float32"), np.ones(3, "float32")
    step(w, x)
    assert (w == 1).all() and (x == 1).all()


def test_outputs_stay_when_the_step_runs_again():
    step = planned(
        lambda x: [p.transpose(y := p.exp(x), order=(1, 0)), y, p.reduce_sum(y, axes=(0,))], (2, 3)
    )
    first = step(np.zeros((2, 3), "float32"))
    step(np.ones((2, 3), "float32"))
    for y in first[:2]:
        np.testing.assert_array_equal(y, 1)
    assert not np.shares_memory(first[0], first[1])


def test_threads_take_turns():
    step = planned(lambda x: p.reduce_sum(p.exp(p.sin(x)), axes=(0,)), (2000,))
    inputs = [np.full(2000, i, "float32") for i in range(8)]
    want, got = [step(x)[0] for x in inputs], {}

    def work(i):
        for _ in range(50):
            got[i] = step(inputs[i])[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [got[i] for i in range(8)] == want


def test_made_arrays_may_be_written_to():
    zeros = p.broadcast_to(np.zeros((), "float32"), shape=(2, 2))
    zeros[0, 0] = 1
    assert zeros.sum() == 1


def test_a_variables_memory_is_its_own():
    mine = np.ones(3, "float32")
    assert not np.shares_memory(ENGINE.variable(mine, None), mine)
    assert not np.shares_memory(ENGINE.assign(None, mine), mine)


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_float8_is_computed_in_its_dtype(dtype):
    x = p.cast(np.array([0.5, 1.0, 2.0], "float32"), dtype=dtype)
    for y in (p.add(x, 1.0), p.maximum(x, 0.75), p.select(np.array([True, False, True]), x, 0.0)):
        assert y.dtype.name == dtype
    product = p.dot_general(x, x, contract=((0,), (0,)), batch=((), ()))
    assert product.dtype.name == dtype and float(product) == 5.0


def test_float16_products_are_summed_in_float32():
    ones = np.full((1, 5000), 1, "float16")
    product = p.dot_general(ones, ones, contract=((1,), (1,)), batch=((), ()))
    assert float(product[0, 0]) == 5000.0
    assert float(p.reduce_sum(ones, axes=(0, 1))) == 5000.0
