"""Array ops: values, dtypes and shapes against Keras on NumPy; eagerly, traced and compiled."""

import itertools
import math

import keras
import ml_dtypes
import numpy as np
import pytest
from cases import BINARY, CASES, KEYS, UNARY, WHOLE_ONLY
from hypothesis import given, settings
from hypothesis import strategies as st

import oneiros
from oneiros import ops, tree
from oneiros.core import backend as backends
from oneiros.core.graph import trace
from oneiros.core.spec import dtype_name, spec_of
from oneiros.testing import kit

NUMBERS = "bool uint8 uint16 uint32 int8 int16 int32 int64 bfloat16 float16 float32 float64".split()
DTYPES = [*NUMBERS, "complex64"]
COMPILED = "bool uint8 int32 bfloat16 float32 complex64".split()  # where each case is compiled
TOLERANCE = {"float64": 1e-6, "float32": 1e-5, "complex64": 1e-5, "float16": 4e-3, "bfloat16": 4e-2}
NARROW = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}

pytestmark = pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", "ignore:.*implicit.*"
)  # of the oracle on NumPy


def as_numpy(x):
    return np.asarray(backends.to_numpy(x))


def arrays_of(result):
    return [as_numpy(x) for x in tree.flatten(result)]


def assert_same(ours, theirs, tolerance=1.0, dtype=True, name=""):
    ours, theirs = arrays_of(ours), [np.asarray(x) for x in tree.flatten(theirs)]
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape, name
        if dtype:
            same_dtype(a, b, name)
        near = max(TOLERANCE.get(a.dtype.name, 0), TOLERANCE.get(b.dtype.name, 0)) * tolerance
        kind = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        np.testing.assert_allclose(
            a.astype(kind), b.astype(kind), rtol=near, atol=near, err_msg=name
        )


def same_dtype(a, b, name=""):
    """The dtypes are equal, but for 64 bits where the backend has none."""
    have, want = dtype_name(a.dtype), dtype_name(b.dtype)
    assert have in (want, NARROW.get(want)), f"{name}: {have}, not {want}"


def oracle_of(case):
    function = case.oracle or getattr(keras.ops, case.name)
    with np.errstate(all="ignore"):
        args, kwargs = _mapped((case.args, case.kwargs), np.copy)  # Keras writes into some
        return function(*args, **kwargs)


def _mapped(x, make):
    if isinstance(x, np.ndarray):
        return make(x)
    if isinstance(x, (list, tuple)):
        return type(x)(_mapped(v, make) for v in x)
    return {k: _mapped(v, make) for k, v in x.items()} if isinstance(x, dict) else x


@pytest.mark.parametrize("case", CASES, ids=str)
def test_value(case, backend, turn):
    """On all backends those that no trace compiles below, and some of the others."""
    if case.traced and not turn(case, of=9):
        return
    want = oracle_of(case)
    made = getattr(ops, case.name)(*case.args, **case.kwargs)
    assert_same(made, want, case.tolerance, dtype=case.oracle is None and case.dtype is None)
    if case.dtype:
        assert dtype_name(arrays_of(made)[0].dtype) == case.dtype


SHARES = 16  # cases of one share are compiled as one graph


@pytest.mark.parametrize("share", range(SHARES))
def test_traced_and_compiled(share, backend):
    cases = [c for c in CASES if c.traced][share::SHARES]
    specs = {}

    def part(i, case):
        leaves = tree.flatten((case.args, case.kwargs))
        arrays = [as_numpy(ops.convert_to_tensor(x)) for x in leaves if isinstance(x, np.ndarray)]

        def call(*symbols):
            left = iter(symbols)
            args, kwargs = _mapped((case.args, case.kwargs), lambda _: next(left))
            made = tree.flatten(getattr(ops, case.name)(*args, **kwargs))
            made = [ops.broadcast_to(y, y.shape) if isinstance(y, (np.ndarray, np.generic)) else y
                    for y in made]  # fmt: skip
            specs[i] = [(tuple(y.shape), y.dtype) for y in made]
            return made

        return kit.Part(str(case), "compiled", call, arrays, None)

    parts = [part(i, case) for i, case in enumerate(cases)]
    found = kit.together(kit.compiled, backends.current(), parts)
    for i, (case, made) in enumerate(zip(cases, found)):
        assert not isinstance(made, str), f"{case}: {made}"
        want, dtype = tree.flatten(oracle_of(case)), case.oracle is None and case.dtype is None
        assert_same(made, want, case.tolerance, dtype, str(case))
        assert specs[i] == [(tuple(v.shape), dtype_name(v.dtype)) for v in made], str(case)


@pytest.mark.parametrize("case", [c for c in CASES if c.symbols], ids=str)
def test_inferred_shape(case):
    """On symbols with an unknown first dimension, the shape that Keras infers."""
    arrays = [x for x in tree.flatten((case.args, case.kwargs)) if isinstance(x, np.ndarray)]
    if not arrays or case.name in ("scatter", "searchsorted"):
        return
    first = arrays[0]

    def symbols(module):
        def make(x):
            unknown = x is first or (x.shape == first.shape and x.ndim > 0)
            shape = (None, *x.shape[1:]) if unknown and x.ndim else x.shape
            return module.KerasTensor(shape, dtype_name(x.dtype))

        return _mapped((case.args, case.kwargs), make)

    try:
        args, kwargs = symbols(keras)
        want = getattr(keras.ops, case.name)(*args, **kwargs)
    except (ValueError, TypeError, AttributeError, IndexError):
        return  # Keras does not take a symbol there
    args, kwargs = symbols(oneiros)
    made = getattr(ops, case.name)(*args, **kwargs)
    want = [x for x in keras.tree.flatten(want)]
    made = tree.flatten(made)
    assert [tuple(getattr(x, "shape", ())) for x in made] == [
        tuple(getattr(x, "shape", ())) for x in want
    ]


# Dtypes ----------------------------------------------------------------------------------------------------
def sample(low, high, dtype, shape=(2, 3)):
    x = np.random.default_rng(3).uniform(low, high, shape)
    if dtype == "bool":
        return x > (low + high) / 2
    if dtype.startswith("u"):
        x = np.abs(x)
    if dtype.startswith(("int", "uint")):
        x = np.ceil(x)
    return x.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)


# What Keras leaves in integers (or fails on), where a function of real numbers gives floats here
FLOATS_HERE = {"reciprocal", "rsqrt", "erf", "i0"}


@pytest.fixture
def dtypes(backend, turn):
    """`dtypes(name, all)`: those in which this backend runs `name`."""
    narrow = lambda name, d: d == "float32" or d in COMPILED and turn(name + d)
    return lambda name, every: [d for d in every if backend == "numpy" or narrow(name, d)]


@pytest.mark.parametrize("name", UNARY)
def test_unary_dtype(name, dtypes):
    for dtype in dtypes(name, DTYPES):
        check_unary(name, dtype)


def check_unary(name, dtype):
    x = sample(*UNARY[name], dtype)
    if name in WHOLE_ONLY and not dtype.startswith(("int", "uint", "bool")):
        with pytest.raises(TypeError):
            getattr(ops, name)(x)
        return
    if name in FLOATS_HERE and not dtype.startswith(("float", "bfloat", "complex")):
        made = getattr(ops, name)(x)
        assert dtype_name(made.dtype) == "float32"
        return
    try:
        with np.errstate(all="ignore"):
            want = getattr(keras.ops, name)(keras.ops.convert_to_tensor(x, dtype))
    except TypeError:
        return
    if (name, dtype) in {
        ("i0", "bfloat16"),
        ("round", "bool"),
        ("rsqrt", "complex64"),
        ("isreal", "complex64"),
    }:
        return
    if name in ("erf", "erfc") and dtype == "complex64":
        return
    if (name, dtype) in {("conj", "bool"), ("conjugate", "bool")}:
        return
    coarse = 100 if name in ("cbrt", "rad2deg") else 1  # NumPy computes these of int8 in float16
    assert_same(getattr(ops, name)(ops.convert_to_tensor(x, dtype)), want, coarse)


COMPARISONS = set("equal not_equal less less_equal greater greater_equal".split())
PAIRS = [(a, b) for a, b in itertools.product(NUMBERS, repeat=2)]


@pytest.mark.parametrize("name", BINARY)
def test_binary_dtypes(name, backend, turn):
    wide = NARROW.keys()
    for first, second in PAIRS:
        if backend != "numpy" and not (
            first == second == "float32"
            or ({first, second} <= set(COMPILED) and turn(name + first + second, of=6))
        ):
            continue
        x, y = sample(*BINARY[name], first), sample(*BINARY[name], second, (3,))
        if wide & {first, second} and (name in COMPARISONS and first != second):
            continue  # narrowed here, not by NumPy
        if second == "bool" and name in ("floor_divide", "mod", "fmod"):
            y = y | True  # what integers give for x / 0 is the backend's
        if name in ("nextafter", "hypot", "logaddexp2") and "float" not in first + second:
            continue  # NumPy computes these of narrow integers in float16, or as logic
        try:
            with np.errstate(all="ignore"):
                want = getattr(keras.ops, name)(
                    keras.ops.convert_to_tensor(x, first), keras.ops.convert_to_tensor(y, second)
                )
        except TypeError:
            continue
        made = getattr(ops, name)(x, y)
        bools = first == second == "bool"
        assert_same(made, want, dtype=not bools)
        if bools and name in ("floor_divide", "power", "mod", "left_shift", "right_shift"):
            assert dtype_name(made.dtype) == "int32"


@pytest.mark.parametrize("number", [True, 2, 2.0])
@pytest.mark.parametrize(
    "name",
    ["add", "subtract", "multiply", "divide", "maximum", "power", "equal", "floor_divide", "mod"],
)
def test_python_numbers_are_weak(name, number, dtypes):
    for dtype in dtypes(f"{name}{number}", NUMBERS):
        if dtype == "bool" and (name == "subtract" or number is True):
            continue
        x = sample(1, 4, dtype)
        symbol = getattr(keras.ops, name)(keras.KerasTensor(x.shape, dtype), number)
        made = getattr(ops, name)(ops.convert_to_tensor(x, dtype), number)
        back = getattr(ops, name)(number, ops.convert_to_tensor(x, dtype))
        if (name, dtype, number) not in {("floor_divide", "bool", True), ("power", "bool", True)}:
            assert dtype_name(made.dtype) == dtype_name(back.dtype) == symbol.dtype
        wide = np.float64 if "float" in dtype else np.int64
        want = getattr(np, "divide" if name == "divide" else name)(x.astype(wide), number)
        np.testing.assert_allclose(
            as_numpy(made).astype(np.float64), want.astype(np.float64), rtol=1e-2
        )


REDUCED = "sum mean max min prod var std any all argmax cumsum cumprod sort median nansum nanmean ptp count_nonzero"


@pytest.mark.parametrize("name", REDUCED.split())
def test_reduction_dtype(name, dtypes):
    for dtype in dtypes(name, NUMBERS):
        x = sample(1, 3, dtype)
        if dtype == "bool" and name == "ptp":
            continue
        want = getattr(keras.ops, name)(keras.ops.convert_to_tensor(x, dtype))
        assert_same(getattr(ops, name)(ops.convert_to_tensor(x, dtype)), want, 2, name=dtype)


# Shapes at the edge ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [n for n in UNARY if n not in WHOLE_ONLY])
def test_unary_shape(name, turn):
    for shape in [(), (0,), (0, 3), (1, 1)]:
        if turn(f"{name}{shape}"):
            x = sample(*UNARY[name], "float32", shape)
            made = getattr(ops, name)(x)
            assert tuple(made.shape) == shape
            assert_same(made, getattr(keras.ops, name)(x))


@st.composite
def broadcastable(draw):
    rank = draw(st.integers(0, 3))
    shape = draw(st.lists(st.integers(0, 3), min_size=rank, max_size=rank))
    pair = [[1 if draw(st.booleans()) else n for n in shape] for _ in range(2)]
    return tuple(tuple(s[draw(st.integers(0, rank)) :]) for s in pair)


@given(shapes=broadcastable())
@settings(max_examples=60, deadline=None)
def test_two_arrays_broadcast_as_in_numpy(shapes):
    x, y = (np.arange(math.prod(s), dtype="float32").reshape(s) for s in shapes)
    assert_same(ops.add(x, y), x + y)
    graph = trace(ops.multiply, [spec_of(x), spec_of(y)])
    assert graph.outputs[0].shape == (x * y).shape


# Indexing ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_get_item(key, backend):
    x = np.arange(60, dtype="float32").reshape(4, 3, 5)
    want = x[key]
    assert_same(ops.get_item(ops.convert_to_tensor(x), key), want)
    graph = trace(lambda s: s[key], [spec_of(x)])
    assert_same(graph(ops.convert_to_tensor(x)), [want])
    assert_same(oneiros.Variable(x)[key], want)


def test_get_item_of_unknown_length():
    x = oneiros.KerasTensor((None, 3, 5))
    assert x[0].shape == (3, 5)
    assert x[:, 1].shape == (None, 5)
    assert x[..., None, ::-1].shape == (None, 3, 1, 5)
    assert x[1:].shape == (None, 3, 5)
    assert x[:2].shape == (2, 3, 5)
    assert x[:, [0, 1], :2].shape == (None, 2, 2)


def test_get_item_at_a_computed_index(backend):
    x = np.arange(12, dtype="float32").reshape(4, 3)
    graph = trace(lambda s, k: s[k], [spec_of(x), spec_of(np.int32(2))])
    assert_same(graph(ops.convert_to_tensor(x), ops.convert_to_tensor(np.int32(-1))), [x[-1]])


@st.composite
def keys(draw, shape=(4, 3, 5)):
    key = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        ends = st.one_of(st.none(), st.integers(-n - 2, n + 2))
        step = st.one_of(st.none(), st.integers(-3, 3).filter(bool))
        key.append(draw(st.one_of(st.integers(-n, n - 1), st.builds(slice, ends, ends, step))))
        if draw(st.booleans()):
            key.append(None)
    at = draw(st.one_of(st.none(), st.integers(0, len(key))))
    if at is not None and sum(k is not None for k in key[at:]) == 0:
        key.insert(at, Ellipsis)
    return tuple(key)


@given(key=keys())
@settings(max_examples=150, deadline=None)
def test_basic_keys(key):
    x = np.arange(60, dtype="float32").reshape(4, 3, 5)
    assert_same(ops.get_item(x, key), x[key])


@pytest.mark.parametrize("key", [9, (0, 9), (0, 0, 0, 0), "a", (Ellipsis, Ellipsis), -5])
def test_get_item_refuses(key):
    with pytest.raises(IndexError):
        ops.get_item(np.zeros((4, 3, 5), "float32"), key)


# Einstein's summation ---------------------------------------------------------------------------------------------------
@st.composite
def einsums(draw):
    lengths = dict(zip("abcde", draw(st.lists(st.integers(1, 3), min_size=5, max_size=5))))
    count = draw(st.integers(1, 3))
    terms = ["".join(draw(st.lists(st.sampled_from("abcde"), max_size=3))) for _ in range(count)]
    used = sorted(set("".join(terms)))
    output = draw(st.lists(st.sampled_from(used), unique=True)) if used else []
    left = ",".join(terms)
    subscripts = left if draw(st.booleans()) else f"{left}->{''.join(output)}"
    return subscripts, [tuple(lengths[c] for c in term) for term in terms]


@given(case=einsums())
@settings(max_examples=200, deadline=None)
def test_einsum_is_numpys(case):
    subscripts, shapes = case
    xs = [np.random.default_rng(k).normal(size=s).astype("float32") for k, s in enumerate(shapes)]
    assert_same(ops.einsum(subscripts, *xs), np.einsum(subscripts, *xs), tolerance=10)


@pytest.mark.parametrize(
    "subscripts, shapes",
    [("ij,jk->ik", [(2, 3)]), ("ij->k", [(2, 3)]), ("ij", [(2,)]), ("ij,jk", [(2, 3), (4, 5)]), ("i->ii", [(2,)]), ("i?", [(2, 2)])],
)  # fmt: skip
def test_einsum_refuses(subscripts, shapes):
    with pytest.raises(ValueError, match="einsum"):
        ops.einsum(subscripts, *[np.zeros(s, "float32") for s in shapes])


def test_einsum_with_unknown_length():
    x, y = oneiros.KerasTensor((None, 7, 4)), oneiros.KerasTensor((4, 5))
    assert ops.einsum("bij,jk->bik", x, y).shape == (None, 7, 5)
    assert ops.einsum("...j,jk->...k", x, y).shape == (None, 7, 5)


# Operators -----------------------------------------------------------------------------------------------------------------
OPERATORS = {
    "x + y": (), "x - y": (), "x * y": (), "x / y": (), "x // y": (), "x % y": (), "x ** y": (), "x < y": (),
    "x <= y": (), "x > y": (), "x >= y": (), "x != y": (), "-x": (), "abs(x)": (), "x @ y.T": (), "2 + x": (),
    "2 - x": (), "2 * x": (), "2 / x": (), "2 // x": (), "2 % x": (), "2 ** x": (), "x + 2": (), "x[0]": (),
}  # fmt: skip


@pytest.mark.parametrize("expression", OPERATORS)
def test_operators(expression, backend):
    x, y = sample(1, 3, "float32"), sample(1, 2, "float32")
    want = eval(expression, {}, {"x": x, "y": y})
    a, b = oneiros.Variable(x), oneiros.Variable(y)
    assert_same(eval(expression, {}, {"x": a, "y": b}), want)
    array = ops.convert_to_tensor(y)
    if ".T" not in expression or hasattr(array, "T"):
        assert_same(eval(expression, {}, {"x": a, "y": array}), want)
    graph = trace(lambda s, t: eval(expression, {}, {"x": s, "y": t}), [spec_of(x), spec_of(y)])
    assert_same(graph(ops.convert_to_tensor(x), ops.convert_to_tensor(y)), [want])
    symbols = oneiros.KerasTensor((None, 3)), oneiros.KerasTensor((2, 3))
    assert eval(expression, {}, dict(zip("xy", symbols))).shape[1:] == want.shape[1:]


def test_logic_operators():
    x, y = oneiros.Variable([True, False]), oneiros.Variable([True, True])
    assert as_numpy(x & y).tolist() == [True, False]
    assert as_numpy(x | y).tolist() == [True, True]
    assert as_numpy(x ^ y).tolist() == [False, True]
    assert as_numpy(~x).tolist() == [False, True]


def test_equality_of_symbols_is_identity_and_of_variables_elementwise():
    x = oneiros.KerasTensor((2,))
    assert x == x
    assert (x == oneiros.KerasTensor((2,))) is False
    assert isinstance(x != oneiros.KerasTensor((2,)), oneiros.KerasTensor)
    assert len({x, x}) == 1
    v = oneiros.Variable([1.0, 2.0])
    assert as_numpy(v == [1.0, 3.0]).tolist() == [True, False]
    assert (v == None) is False
    graph = trace(lambda a, b: a == b, [spec_of(np.float32([1, 2]))] * 2)
    assert as_numpy(graph(np.float32([1, 2]), np.float32([1, 3]))[0]).tolist() == [True, False]


def test_numpy_leaves_mixed_operators_to_variables_and_symbols():
    v, x = oneiros.Variable([1.0, 2.0]), np.float32([1, 2])
    assert_same(x + v, np.float32([2, 4]))
    assert isinstance(x * oneiros.KerasTensor((None, 2)), oneiros.KerasTensor)
    assert isinstance(np.float32(2) * oneiros.KerasTensor((None, 2)), oneiros.KerasTensor)


# Errors ---------------------------------------------------------------------------------------------------------------------
X = np.zeros((2, 3), "float32")


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.reshape(X, (4, -1)),
        lambda: ops.transpose(X, (0, 0)),
        lambda: ops.squeeze(X, 0),
        lambda: ops.concatenate([]),
        lambda: ops.concatenate([X, X], axis=2),
        lambda: ops.split(X, 2, axis=1),
        lambda: ops.unstack(X, 5),
        lambda: ops.pad(X, 1, mode="odd"),
        lambda: ops.pad(X, 1, mode="edge", constant_values=1),
        lambda: ops.pad(X, ((1, 1),) * 3),
        lambda: ops.sum(X, axis=2),
        lambda: ops.where(X, X),
        lambda: ops.matmul(X, X),
        lambda: ops.dot(X, X),
        lambda: ops.tensordot(X, X, axes=3),
        lambda: ops.cross(X, np.zeros((2, 4))),
        lambda: ops.meshgrid(X),
        lambda: ops.searchsorted(X, X),
        lambda: ops.histogram(X),
        lambda: ops.quantile(X, 0.5, method="odd"),
        lambda: ops.scatter_update(X, [[0]], X[:1], reduction="odd"),
        lambda: ops.segment_sum(X, [[0, 1]]),
        lambda: ops.tril(X[0]),
        lambda: ops.diag(X[None]),
        lambda: ops.rearrange(X, "a b -> a"),
        lambda: ops.rearrange(X, "a b c -> a"),
        lambda: ops.linspace(0, 1, -1),
        lambda: ops.arange(oneiros.KerasTensor((), "int32")),
        lambda: ops.zeros(2, dtype="odd"),
    ],
)
def test_refused(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: ops.exp("a"),
        lambda: ops.add(X, "a"),
        lambda: ops.bitwise_and(X, X),
        lambda: ops.exp(object()),
    ],
)
def test_wrong_type(call):
    with pytest.raises(TypeError):
        call()


def test_unknown_lengths_of_functional_models():
    x = oneiros.KerasTensor((None, 3), "int32")
    assert [y.shape for y in ops.nonzero(x)] == [(None,), (None,)]
    assert ops.unique(x).shape == (None,)
    assert ops.segment_sum(x, x[:, 0]).shape == (None, 3)
    assert ops.squeeze(x, 0).shape == (3,)
    assert ops.unstack(oneiros.KerasTensor((2, None)))[0].shape == (None,)


def test_an_unknown_length_has_no_trace():
    with pytest.raises(ValueError, match="ops.where"):
        trace(ops.nonzero, [spec_of(X)])


def test_the_namespace_numpy_has_the_same_functions():
    assert oneiros.ops.numpy.add is ops.add
    assert not hasattr(oneiros.ops.numpy, "segment_sum")
