"""Every op with every option: values, dtypes, shapes of symbols, and models of ops in files."""

import collections
import inspect

import keras
import numpy as np
import pytest
from calls import CALLS, OURS, arrays_in, evaluate, mapped, op_of, words
from test_ops import NARROW

import oneiros
from oneiros import ops, tree
from oneiros.core import backend as backends
from oneiros.core.spec import dtype_name

pytestmark = pytest.mark.filterwarnings("ignore")  # NumPy's, of what Keras computes with it

BY_OP = collections.defaultdict(list)
for _text in CALLS:
    BY_OP[op_of(_text)].append(_text)
NEAR = {"float64": 1e-6, "float32": 5e-5, "complex64": 5e-5, "float16": 5e-3, "bfloat16": 4e-2}
_known = {}


def wanted(text, dtypes=("float32",)):
    """What Keras gives on NumPy."""
    if (text, dtypes) not in _known:
        with np.errstate(all="ignore"):
            copied = lambda structure: mapped(structure, np.copy)  # Keras writes into some
            made = evaluate(text, keras.ops, copied, dtypes)
            _known[text, dtypes] = [np.asarray(x) for x in tree.flatten(made)]
    return _known[text, dtypes]


def difference(made, want, dtype=True):
    """What is wrong with the values `made`, or None."""
    made = [np.asarray(backends.to_numpy(x)) for x in tree.flatten(made)]
    if len(made) != len(want):
        return f"{len(made)} results, not {len(want)}"
    for a, b in zip(made, want):
        if a.shape != b.shape:
            return f"shape {a.shape}, not {b.shape}"
        have, due = dtype_name(a.dtype), dtype_name(b.dtype)
        if dtype and NARROW.get(have, have) != NARROW.get(due, due):
            return f"{have}, not {due}"
        near = max(NEAR.get(have, 0), NEAR.get(due, 0))
        kind = np.complex128 if "c" in (a.dtype.kind, b.dtype.kind) else np.float64
        if not np.allclose(a.astype(kind), b.astype(kind), near, near, equal_nan=True):
            return f"{a.ravel()[:8]}, not {b.ravel()[:8]}"
    return None


def told(text, call):
    """One line on what went wrong, or None."""
    try:
        wrong = call()
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    return wrong and f"{text}: {wrong}"


def check(texts, call):
    wrong = [line for line in (told(text, lambda: call(text)) for text in texts) if line]
    assert not wrong, "\n".join(wrong)


def names(module):
    return {
        n for n in dir(module) if n[0] != "_" and callable(getattr(module, n)) and not inspect.isclass(getattr(module, n))
    }  # fmt: skip


def test_every_op_has_a_row():
    elsewhere = {
        "custom_gradient", "jvp", "dtype", "shape", "is_tensor", "ndim", "size", "allclose", "image.elastic_transform",
    }  # fmt: skip
    rows = {op_of(text) for text in (*CALLS, *OURS)} | {n for t in CALLS for n in words(t)}
    every = names(keras.ops) | {f"image.{n}" for n in names(keras.ops.image)}
    assert every - rows - elsewhere == set()
    for space in ("nn", "linalg", "numpy"):
        for name in names(getattr(keras.ops, space)):
            assert getattr(getattr(ops, space), name) is getattr(ops, name)


@pytest.mark.parametrize("name", BY_OP)
def test_value(name, backend, turn):
    check(
        [text for text in BY_OP[name] if turn(text, of=12)],
        lambda text: difference(evaluate(text, ops), wanted(text)),
    )


@pytest.mark.parametrize("text", OURS)
def test_value_that_keras_has_otherwise(text, backend):
    want = [np.asarray(x) for x in tree.flatten(evaluate(OURS[text], np, seed=text))]
    assert difference(evaluate(text, ops), want) is None


# Symbols -----------------------------------------------------------------------------------------
EXCEPT = set("ndim size is_tensor convert_to_numpy nonzero".split())
DEPENDS = {"cross(f(4,2), g(4,2))", "split(f(4,6), (2,9), axis=-1)"}  # on sizes that are unknown


def symbolic(module, unknown, found=None):
    """A change of the arrays of a call: symbols in place of them, whose sizes may be unknown."""

    def change(structure):
        arrays = arrays_in(structure)
        first = np.shape(arrays[0])[:1] if arrays else ()

        def symbol(x):
            shape = [None if n > 1 and unknown == "all" else n for n in x.shape]
            if unknown == "first" and x.shape[:1] == first and x.shape[:1] > (1,):
                shape[0] = None
            make = module.KerasTensor if unknown != "input" else _input
            made = make(tuple(shape), dtype_name(x.dtype))
            if found is not None:
                found.append((made, x))
            return made

        return mapped(structure, symbol)

    return change


def _input(shape, dtype):
    return oneiros.Input(batch_shape=shape, dtype=dtype)


def specs(made):
    return [
        (tuple(x.shape), dtype_name(x.dtype)) if hasattr(x, "shape") and hasattr(x, "dtype") else x
        for x in tree.flatten(made)
    ]


def fits(spec, value):
    """Whether a spec can be that of a value."""
    if not isinstance(spec, tuple):
        return True
    shape, dtype = spec
    known = all(n in (None, m) for n, m in zip(shape, value.shape))
    due = dtype_name(value.dtype)
    return known and len(shape) == value.ndim and dtype in (due, NARROW.get(due))


def as_much(spec, other):
    """Whether a spec says what another one says, or more."""
    shapes = not isinstance(spec, tuple) or zip(spec[0], other[0])
    return shapes is True or all(m is None or n == m for n, m in shapes)


@pytest.mark.parametrize("unknown", ["first", "all"])
@pytest.mark.parametrize("name", [n for n in BY_OP if n not in EXCEPT])
def test_shapes_and_dtypes_of_symbols(name, unknown):
    """As Keras infers them, unless Keras's own value is of another shape or dtype."""

    def call(text):
        try:
            theirs = specs(evaluate(text, keras.ops, symbolic(keras, unknown)))
        except Exception:
            return None  # Keras takes no symbol there
        symbols = []
        ours = specs(evaluate(text, ops, symbolic(oneiros, unknown, symbols)))
        if not symbols:
            return None
        value = wanted(text)
        if len(ours) != len(value) or not all(map(fits, ours, value)):
            return f"{ours}, where values are {specs(value)}"
        right = len(theirs) == len(value) and all(map(fits, theirs, value))
        return None if not right or all(map(as_much, ours, theirs)) else f"{ours}, not {theirs}"

    check([text for text in BY_OP[name] if text not in DEPENDS or unknown == "first"], call)


# Dtypes ------------------------------------------------------------------------------------------
NARROW_DTYPES = [
    ("float16",), ("bfloat16",), ("bfloat16", "float16"), ("float32", "int32"), ("bfloat16", "int32"),
]  # fmt: skip
# Of what Keras's NumPy backend computes in another dtype than its symbols say, or loses digits of
OTHERWISE = set(
    "sparse_categorical_crossentropy binary_crossentropy associative_scan ctc_decode image.hsv_to_rgb "
    "batch_normalization polar dot_product_attention image.ssim image.map_coordinates scan fori_loop i0 sum logsumexp segment_max segment_min istft linspace arctan2 hypot heaviside logaddexp logaddexp2 nextafter mod fmod histogram cdist geomspace sparsemax categorical_crossentropy".split()
)


@pytest.mark.parametrize("name", [n for n in BY_OP if n not in OTHERWISE])
def test_narrow_and_mixed_dtypes(name):
    def call(text):
        for dtypes in NARROW_DTYPES:
            try:
                want = wanted(text, dtypes)
            except Exception:
                continue  # Keras or NumPy has no such kernel
            wrong = difference(evaluate(text, ops, dtypes=dtypes), want)
            if wrong:
                return f"{'/'.join(dtypes)}: {wrong}"
        return None

    check([t for t in BY_OP[name] if {"f", "g", "u"} & set(words(t))], call)


# Files -------------------------------------------------------------------------------------------
NO_MODEL = set(
    "cond switch scan associative_scan map while_loop fori_loop vectorized_map vectorize nonzero "
    "convert_to_numpy is_tensor ndim size shape dtype unique where".split()
)
SHARES = 6


@pytest.mark.parametrize("share", range(SHARES))
def test_models_of_ops_are_the_same_from_files(share, tmp_path):
    """Each op's first two rows that take arrays, many in one model."""
    given, values, made, texts = [], [], [], []
    for name in [n for n in BY_OP if n not in NO_MODEL][share::SHARES]:
        for text in BY_OP[name][:2]:
            found = []
            outputs = tree.flatten(evaluate(text, ops, symbolic(oneiros, "input", found)))
            if found and all(isinstance(y, oneiros.KerasTensor) for y in outputs):
                given += [x for x, _ in found]
                values += [x for _, x in found]
                made += outputs
                texts += [text] * len(outputs)
    model = oneiros.Model(given, made)
    model.save(tmp_path / "model.keras")
    loaded = oneiros.saving.load_model(tmp_path / "model.keras")
    for text, a, b in zip(texts, model(values), loaded(values)):
        assert difference(a, [np.asarray(backends.to_numpy(b))]) is None, text
