"""A battery for ops: values against Keras on NumPy, eagerly and traced, and inferred shapes."""

from dataclasses import dataclass, field

import numpy as np

from oneiros.core.spec import dtype_name
from tests.conftest import is_turn_of

TOLERANCE = {"float64": 1e-6, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


@dataclass
class Row:
    """One call of an op: arrays first, then plain arguments; `oracle` replaces Keras's function."""

    name: str
    arrays: tuple
    kwargs: dict = field(default_factory=dict)
    oracle: object = None
    tolerance: float = 1.0
    symbolic: bool = True

    def __str__(self):
        shapes = ",".join("x".join(map(str, np.shape(a))) for a in self.arrays)
        kwargs = {
            k: "x".join(map(str, v.shape)) if isinstance(v, np.ndarray) else v
            for k, v in self.kwargs.items()
        }
        return f"{self.name}[{shapes}|{','.join(f'{k}={v}' for k, v in kwargs.items())}]"


def path(root, name):
    for part in name.split("."):
        root = getattr(root, part)
    return root


def flat(result):
    """The arrays of a result as NumPy arrays."""
    from oneiros.core import backend

    if isinstance(result, (tuple, list)):
        return [a for r in result for a in flat(r)]
    return [np.asarray(backend.to_numpy(result))]


def expected(row):
    import keras

    function = row.oracle or path(keras.ops, row.name)
    with np.errstate(all="ignore"):
        return flat(function(*row.arrays, **row.kwargs))


def assert_same(ours, theirs, scale=1.0):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a.shape == np.shape(b)
        tolerance = max(TOLERANCE.get(v.dtype.name, 1e-5) for v in (a, np.asarray(b))) * scale
        if a.dtype.kind == "c":
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_allclose(
                np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=tolerance, atol=tolerance
            )


def check(row):
    """The op against its oracle: compiled, some eagerly too, and its shapes on symbols."""
    from oneiros import ops
    from oneiros.core.backend import current
    from oneiros.core.graph import trace
    from oneiros.core.spec import spec_of

    function = path(ops, row.name)
    want = expected(row)
    if is_turn_of(current().name, row):
        assert_same(flat(function(*row.arrays, **row.kwargs)), want, row.tolerance)
    arrays = [a for a in row.arrays if a is not None]
    found = []

    def call(*symbols):
        given = iter(symbols)
        result = function(*[None if a is None else next(given) for a in row.arrays], **row.kwargs)
        found[:] = [result]
        return list(leaves(result))

    graph = trace(call, [spec_of(np.asarray(a)) for a in arrays])
    made = current().compile(graph)(*[ops.convert_to_tensor(a) for a in arrays])
    assert_same(flat(made), want, row.tolerance)
    for symbol, value in zip(graph.outputs, made):
        assert tuple(symbol.shape) == tuple(value.shape)
        assert symbol.dtype == dtype_name(value.dtype)
    if row.symbolic:
        check_symbols(row, function, want)


def check_symbols(row, function, want):
    """With an unknown first dimension the inferred shape is the real one with None in place of
    it."""
    import oneiros

    batch = (*np.shape(row.arrays[0]), 0)[0]
    symbols = [
        None if a is None
        else oneiros.KerasTensor((None, *np.shape(a)[1:]), np.asarray(a).dtype.name)
        if np.ndim(a) and np.shape(a)[0] == batch and batch > 4
        else a
        for a in row.arrays
    ]  # fmt: skip
    if not any(isinstance(s, oneiros.KerasTensor) for s in symbols):
        return
    made = list(leaves(function(*symbols, **row.kwargs)))
    for symbol, value in zip(made, want):
        for n, m in zip(symbol.shape, value.shape):
            assert n == m or (n is None and m == batch)


def leaves(result):
    if isinstance(result, (tuple, list)):
        for r in result:
            yield from leaves(r)
    else:
        yield result
