"""Two hundred steps on digits, and state that goes through files, as with Keras's optimizers.

Keras leads: NumPy works out the gradients at its weights, and both optimizers are given them.
"""

import functools

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import oneiros
from oneiros import optimizers, saving
from tests.optimizers.cases import MORE, ROWS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PIXELS, CLASSES = load_digits(return_X_y=True)
NAMES = {name for name, _ in ROWS}
STEPS, BATCH = 200, 32
# The last row of each class is the one with most arguments.
ALL = [(name, name, kwargs) for name, kwargs in dict(ROWS).items()]
ALL += [(f"{name}-{i}", name, kwargs) for i, (name, kwargs) in enumerate(MORE)]
ALL += [(f"wrapped-{i}", kind, {}) for i, kind in enumerate(("scaled", "several", "decayed"))]


def made(library, title, kwargs):
    o = library.optimizers
    if title == "scaled":
        return o.LossScaleOptimizer(o.Adam(0.01), initial_scale=64.0, dynamic_growth_steps=30)
    if title == "several":
        return o.MultiOptimizer(o.OptimizerMap(o.SGD(0.1), {".*bias": o.RMSprop(0.01)}), name="m")
    if title == "decayed":
        rate = o.schedules.CosineDecay(0.0, 150, warmup_target=0.05, warmup_steps=20)
        return o.AdamW(rate, weight_decay=0.1)
    return getattr(o, title)(**{"learning_rate": 0.01, **kwargs})


def started(library):
    """The weights of a net 64-12-10, as variables."""
    rng = np.random.default_rng(0)
    with library.name_scope("net"):
        return [
            library.Variable(rng.normal(0, 0.2, shape).astype("float32"), name=name)
            for name, shape in (
                ("kernel", (64, 12)), ("bias", (12,)), ("out", (12, 10)), ("out_bias", (10,))
            )
        ]  # fmt: skip


def slopes(weights, step):
    """The crossentropy of a batch, and its derivatives."""
    kernel, bias, out, out_bias = weights
    rows = np.arange(step * BATCH, (step + 1) * BATCH) % len(PIXELS)
    x, labels = PIXELS[rows].astype("float32") / 16 + 0.05, CLASSES[rows]
    hidden = np.maximum(x @ kernel + bias, 0)
    scores = hidden @ out + out_bias
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    loss = -np.log(p[range(BATCH), labels] + 1e-9).mean()
    p[range(BATCH), labels] -= 1
    p /= BATCH
    back = p @ out.T * (hidden > 0)
    return loss, [x.T @ back, back.sum(0), hidden.T @ p, p.sum(0)]


@functools.cache
def course(row):
    """What Keras does: the gradients and the weights of each step, and its state at the end."""
    _, title, kwargs = next(r for r in ALL if r[0] == row)
    weights, optimizer = started(keras), made(keras, title, kwargs)
    optimizer.build(weights)
    steps, values = [], [v.numpy() for v in weights]
    with np.errstate(all="ignore"):
        for step in range(STEPS):
            loss, grads = slopes(values, step)
            scale = float(np.asarray(optimizer.scale_loss(1.0)))
            grads = [(g * scale).astype("float32") for g in grads]
            if title == "scaled" and step == 50:
                grads[1] = grads[1] * np.inf
            optimizer.apply(grads, weights)
            values = [v.numpy() for v in weights]
            steps.append((loss, grads, values))
    return steps, [(v.path, v.numpy()) for v in optimizer.variables]


def close(ours, theirs, tolerance, what):
    scale = max(1e-3, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(
        np.asarray(ours, "float64"), np.asarray(theirs, "float64"),
        rtol=0, atol=tolerance * scale, err_msg=str(what),
    )  # fmt: skip


@pytest.mark.parametrize("row", [r[0] for r in ALL])
def test_two_hundred_steps_are_keras_s_one_by_one(row, backend, turn):
    if not turn(row):
        pytest.skip("another backend's turn")
    _, title, kwargs = next(r for r in ALL if r[0] == row)
    steps, state = course(row)
    weights, optimizer = started(oneiros), made(oneiros, title, kwargs)
    optimizer.build(weights)
    for i, (_, grads, expected) in enumerate(steps):
        optimizer.apply(grads, weights)
        if backend == "numpy" or i % 20 == 19:  # reading every step is slow elsewhere
            for v, value in zip(weights, expected, strict=True):
                close(v.numpy(), value, 1e-4, (row, i, v.path))
    for v, (path, value) in zip(optimizer.variables, state, strict=True):
        close(v.numpy(), value, 1e-3, path)
        if "nadam" not in path and "/" in path and "_" not in title:
            assert v.path.split("/")[-1] == path.split("/")[-1]
    learns = np.mean([s[0] for s in steps[-20:]]) < np.mean([s[0] for s in steps[:20]])
    assert learns or title in ("Adadelta", "Adafactor", "Ftrl", "Lamb")


def model(library, optimizer=None):
    net = library.Sequential(
        [
            library.Input((64,)),
            library.layers.Dense(12, activation="relu", name="hidden"),
            library.layers.Dense(10, name="out"),
        ]
    )
    if optimizer is not None:
        net.compile(optimizer, library.losses.SparseCategoricalCrossentropy(from_logits=True))
    return net


def stepped(net, first, last):
    """A net after its optimizer's steps with gradients that depend on the step alone."""
    for step in range(first, last):
        rng = np.random.default_rng(step)
        shapes = [v.shape for v in net.trainable_variables]
        grads = [rng.normal(0, 0.1, shape).astype("float32") for shape in shapes]
        with np.errstate(all="ignore"):
            net.optimizer.apply(grads, net.trainable_variables)
    return net


@pytest.mark.parametrize("row", [r[0] for r in ALL])
def test_state_goes_through_files_both_ways(row, backend, turn, tmp_path):
    """Keras begins, we load and go on; we save and Keras loads and goes on: all as in one run."""
    if not turn(row, of=6 if backend != "numpy" else 1):
        pytest.skip("another backend's turn")
    _, title, kwargs = next(r for r in ALL if r[0] == row)
    theirs = stepped(model(keras, made(keras, title, kwargs)), 0, 4)
    theirs.save(tmp_path / "theirs.keras")
    ours = stepped(saving.load_model(tmp_path / "theirs.keras"), 4, 7)
    ours.save(tmp_path / "ours.keras")
    again = stepped(keras.saving.load_model(tmp_path / "ours.keras"), 7, 10)
    whole = stepped(theirs, 4, 10)
    stepped(ours, 7, 10)
    assert type(ours.optimizer).__name__ == type(whole.optimizer).__name__
    assert len(ours.optimizer.variables) == len(whole.optimizer.variables)
    for net in (ours, again):
        pairs = [
            *zip(net.trainable_variables, whole.trainable_variables, strict=True),
            *zip(net.optimizer.variables, whole.optimizer.variables, strict=True),
        ]
        for v, w in pairs:
            assert tuple(v.shape) == tuple(w.shape)
            close(v.numpy(), w.numpy(), 1e-4, (title, v.path))


def test_weights_whose_gradients_are_all_zero_stay(backend, turn):
    """Products of two tiny means underflow, which in Keras's Adafactor makes NaN of them."""
    grads = np.zeros((3, 2), "float32")
    grads[0, 0] = 1.0
    for name in filter(turn, sorted(NAMES)):
        v = oneiros.Variable(np.ones((3, 2), "float32"))
        optimizer = getattr(optimizers, name)(0.1, weight_decay=0.0)
        for _ in range(3):
            optimizer.apply([grads], [v])
        assert np.isfinite(v.numpy()).all(), name


def test_every_optimizer_is_among_the_rows():
    known = {n for n in optimizers.__all__ if n[0].isupper()}
    assert known - NAMES == {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}
