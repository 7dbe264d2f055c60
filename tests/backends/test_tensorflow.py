"""What is TensorFlow's own: tapes, tf.data, SavedModels, steps in its style."""

import gc

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

import oneiros
from oneiros import config, layers, losses, metrics, ops, optimizers

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def tensorflow():
    before = config.backend()
    config.set_backend("tensorflow")
    yield
    config.set_backend(before)


def regression(cls=oneiros.Model, **options):
    oneiros.utils.set_random_seed(3)
    inputs = oneiros.Input((4,))
    model = cls(inputs, layers.Dense(1)(layers.Dense(8, "relu")(inputs)))
    model.compile("adam", loss="mse", metrics=["mae"], **options)
    return model


def history(model, x=X, y=Y, **options):
    return model.fit(x, y, epochs=3, verbose=0, **options).history


# Derivatives ---------------------------------------------
@pytest.mark.parametrize("of", [lambda v: v, lambda v: v.value], ids=["variables", "values"])
def test_a_tape_differentiates_by_variables(of):
    model, w = regression(), np.zeros((3, 2), "float32")
    sources = [of(v) for v in model.trainable_weights]
    with tf.GradientTape() as tape:
        loss = losses.MeanSquaredError()(Y, model(X))
    gradients = tape.gradient(loss, sources)
    assert [tuple(g.shape) for g in gradients] == [v.shape for v in model.trainable_weights]
    v = oneiros.Variable(w + 1)
    with tf.GradientTape() as tape:
        total = ops.sum(ops.square(v))
    assert np.allclose(tape.gradient(total, of(v)), 2)


def test_tapes_nest():
    v = oneiros.Variable(3.0)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            y = ops.power(v, 3.0)
        first = inner.gradient(y, v)
    assert float(outer.gradient(first, v)) == pytest.approx(18)


def test_tensorflow_functions_take_variables():
    v = oneiros.Variable(np.eye(2, dtype="float32"))
    x = tf.ones((3, 2))
    assert np.allclose(tf.matmul(x, v), 1)
    assert np.allclose(tf.function(lambda x: tf.matmul(x, v) + 1)(x), 2)


def test_gradients_of_embeddings_are_applied():
    layer, optimizer = layers.Embedding(5, 2), optimizers.SGD(1.0)
    before = layer(np.array([0])) is not None and layer.embeddings.numpy()
    with tf.GradientTape() as tape:
        loss = ops.sum(layer(np.array([1, 1, 3], "int32")))
    optimizer.apply(tape.gradient(loss, layer.trainable_weights), layer.trainable_weights)
    assert np.allclose(
        before - layer.embeddings.numpy(), [[0] * 2, [2] * 2, [0] * 2, [1] * 2, [0] * 2]
    )


# Steps ---------------------------------------------
class Own(oneiros.Model):
    """The guide's `train_step` and `test_step`."""

    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return self._judged(loss, y, y_pred)

    def test_step(self, data):
        x, y = data
        y_pred = self(x, training=False)
        return self._judged(self.compute_loss(y=y, y_pred=y_pred), y, y_pred)

    def _judged(self, loss, y, y_pred):
        for m in self.metrics:
            m.update_state(loss) if m.name == "loss" else m.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


@pytest.mark.parametrize("eagerly", [False, True])
def test_an_own_step_gives_the_numbers_of_fit(eagerly):
    own, plain = regression(Own, run_eagerly=eagerly), regression()
    options = dict(batch_size=16, shuffle=False)
    want, got = history(plain, **options), history(own, **options)
    assert {k: pytest.approx(v, rel=1e-5) for k, v in want.items()} == got
    assert own.evaluate(X, Y, verbose=0) == pytest.approx(plain.evaluate(X, Y, verbose=0), rel=1e-5)


def test_losses_are_those_on_numpy_for_fifty_steps():
    found = {}
    for backend in ("numpy", "tensorflow"):
        config.set_backend(backend)
        model = regression()
        found[backend] = [model.train_on_batch(X[:32], Y[:32])[0] for _ in range(50)]
    assert found["tensorflow"] == pytest.approx(found["numpy"], rel=1e-4)


def test_a_loop_over_batches_of_any_length_is_traced_once():
    model, optimizer, mean = regression(), optimizers.Adam(0.01), metrics.Mean()
    traces = []

    @tf.function(input_signature=[tf.TensorSpec((None, 4)), tf.TensorSpec((None, 1))])
    def step(x, y):
        traces.append(1)
        with tf.GradientTape() as tape:
            loss = losses.MeanSquaredError()(y, model(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        mean.update_state(loss)
        return loss

    first = [float(step(X[:n], Y[:n])) for n in (64, 10, 64)]
    count = len(traces)
    last = [float(step(X[:n], Y[:n])) for n in [7, 64] * 20]
    assert len(traces) == count and last[-1] < first[0]
    want = np.mean((Y[:7] - model.predict(X[:7], verbose=0)) ** 2)
    assert float(losses.MeanSquaredError()(Y[:7], model(X[:7]))) == pytest.approx(want, rel=1e-5)


def test_gradients_are_accumulated_and_scaled_in_a_loop_of_ones_own():
    found = []
    for optimizer in (optimizers.SGD(0.1), optimizers.LossScaleOptimizer(optimizers.SGD(0.1))):
        model = regression()
        with tf.GradientTape() as tape:
            loss = optimizer.scale_loss(losses.MeanSquaredError()(Y, model(X)))
        optimizer.apply(tape.gradient(loss, model.trainable_weights), model.trainable_weights)
        found.append(model.get_weights()[0])
    assert np.allclose(*found, atol=1e-5)


def test_steps_leave_nothing_behind():
    model = regression()
    model.train_on_batch(X[:16], Y[:16])
    count = lambda: sum(issubclass(type(o), tf.Tensor) for o in gc.get_objects())
    gc.collect()
    before = count()
    for _ in range(20):
        model.train_on_batch(X[:16], Y[:16])
    gc.collect()
    assert count() <= before + 5


# Data ---------------------------------------------
def test_datasets_are_data():
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(16)
    model, other = regression(), regression()
    want = history(other, batch_size=16, shuffle=False)
    assert model.fit(data, epochs=3, verbose=0).history["loss"] == pytest.approx(want["loss"])
    assert model.evaluate(data, verbose=0) == pytest.approx(other.evaluate(X, Y, verbose=0))
    assert np.allclose(model.predict(data, verbose=0), other.predict(X, verbose=0), atol=1e-6)


IMAGES = np.random.default_rng(1).normal(size=(10, 8, 8, 3)).astype("float32")
MAPPED = {
    "rescaling": (lambda: layers.Rescaling(1 / 255, offset=1.0), IMAGES),
    "dense": (lambda: layers.Dense(3, "relu"), X),
    "convolution": (lambda: layers.Conv2D(2, 3, strides=2, padding="same"), IMAGES),
    "pooling": (lambda: layers.GlobalAveragePooling2D(), IMAGES),
    "flatten": (lambda: layers.Flatten(), IMAGES),
    "lstm": (lambda: layers.LSTM(3), IMAGES[:, :, 0]),
    "batch norm": (lambda: layers.BatchNormalization(), IMAGES),
    "embedding": (lambda: layers.Embedding(9, 2), np.arange(20, dtype="int32").reshape(10, 2) % 9),
    "resized": (lambda: lambda x: ops.image.resize(x, (4, 4)), IMAGES),
    "shape": (lambda: lambda x: ops.reshape(x, (ops.shape(x)[0], -1)), IMAGES),
    "mean": (lambda: lambda x: x - ops.mean(x, axis=0, keepdims=True), IMAGES),
}


@pytest.mark.parametrize("name", MAPPED)
def test_layers_and_ops_run_in_dataset_map(name):
    make, x = MAPPED[name]
    function = make()
    mapped = tf.data.Dataset.from_tensor_slices(x).batch(4).map(lambda v: function(v))
    got = [batch.numpy() for batch in mapped]
    want = [np.asarray(function(tf.constant(x[i : i + 4]))) for i in range(0, len(x), 4)]
    for a, b in zip(got, want, strict=True):
        assert np.allclose(a, b, atol=1e-5)


def test_normalization_adapts_to_a_dataset():
    layer = layers.Normalization()
    layer.adapt(tf.data.Dataset.from_tensor_slices(X).batch(16))
    assert np.allclose(np.asarray(layer(X)).std(0), 1, atol=1e-3)


# Files ---------------------------------------------
def test_a_saved_model_has_the_variables(tmp_path):
    class Served(tf.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        @tf.function(input_signature=[tf.TensorSpec((None, 4))])
        def __call__(self, x):
            return self.model(x)

    model = regression()
    model.train_on_batch(X, Y)
    tf.saved_model.save(Served(model), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for n in (3, 64):
        assert np.allclose(loaded(X[:n]), model.predict(X[:n], verbose=0), atol=1e-6)


def test_a_checkpoint_of_tensorflow_restores_a_model(tmp_path):
    model = regression()
    kept = model.get_weights()
    path = tf.train.Checkpoint(model=model).save(str(tmp_path / "here"))
    model.set_weights([w * 0 for w in kept])
    tf.train.Checkpoint(model=model).restore(path)
    assert all(np.array_equal(a, b) for a, b in zip(kept, model.get_weights()))
