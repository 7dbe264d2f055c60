"""What is PyTorch's own: modules, hooks, loops by hand, wrapped modules, loaders, in-place state."""

import gc
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import oneiros
from oneiros import config, layers, losses, metrics, ops, optimizers

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = X.sum(1, keepdims=True)


@pytest.fixture(autouse=True)
def torch_backend():
    before = config.backend()
    config.set_backend("torch")
    yield
    config.set_backend(before)


def small(*more):
    oneiros.utils.set_random_seed(7)
    return oneiros.Sequential(
        [oneiros.Input((4,)), layers.Dense(8, "relu"), *more, layers.Dense(1)]
    )


def compiled(model, optimizer="adam"):
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def fitted(model, epochs=2, **options):
    options = {"batch_size": 16, "verbose": 0, "shuffle": False, **options}
    return compiled(model).fit(X, Y, epochs=epochs, **options).history["loss"]


# Modules ---------------------------------------------
def test_a_model_is_a_module():
    model = small(layers.BatchNormalization())
    assert isinstance(model, torch.nn.Module)
    names = [n for n, _ in model.named_parameters()]
    assert len(names) == 6 and names[0].endswith(".kernel")
    assert all(isinstance(v, torch.nn.Parameter) for v in model.parameters())
    assert len(model.state_dict()) == 8
    assert len(list(model.children())) == len(model.layers)


def test_state_dicts_go_from_model_to_model():
    first, second = small(), small()
    for v in second.weights:
        v.assign(v + 1)
    second.load_state_dict(dict(zip(second.state_dict(), first.state_dict().values())))
    for a, b in zip(first.get_weights(), second.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_to_another_dtype():
    model = small().to(torch.float64)
    assert {v.dtype for v in model.weights} == {"float64"}
    assert {p.dtype for p in model.parameters()} == {torch.float64}


def test_parameters_keep_their_identity_through_fit():
    model = small()
    before = list(model.parameters())
    fitted(model)
    assert all(a is b for a, b in zip(before, model.parameters()))
    assert all(p.requires_grad and not p.is_inference() for p in before)


def test_hooks_run_in_calls_and_in_fit():
    model, seen = small(), []
    handle = model.layers[0].register_forward_hook(lambda m, args, out: seen.append(out.shape))
    model(X)
    assert seen == [(64, 8)]
    fitted(model, epochs=1)
    assert len(seen) == 5
    handle.remove()
    model(X)
    assert len(seen) == 5


# Loops by hand ---------------------------------------------
def test_a_loop_with_an_optimizer_of_pytorch():
    model, found = small(), []
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x, training=True), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < 0.7 * found[0]


class OwnStep(oneiros.Model):
    """`train_step` and `test_step` in PyTorch's style."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        loss.backward()
        weights = list(self.trainable_weights)
        gradients = [v.value.grad for v in weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, weights)
        return self.judged(loss, y, y_pred)

    def test_step(self, data):
        x, y = data
        y_pred = self(x, training=False)
        return self.judged(self.compute_loss(y=y, y_pred=y_pred), y, y_pred)

    def judged(self, loss, y, y_pred):
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop", "nadam", "lion", "ftrl"])
def test_own_steps_are_the_built_in_ones(name):
    plain = small()
    own = OwnStep(plain.inputs, plain.outputs)
    start = plain.get_weights()
    found = []
    for model in (plain, own):
        model.set_weights(start)
        compiled(model, optimizers.get(name))
        history = model.fit(X, Y, epochs=3, batch_size=16, verbose=0, shuffle=False).history
        found.append([*history["loss"], *history["mae"], *model.evaluate(X, Y, verbose=0)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_eager_steps_of_an_optimizer_follow_its_settings():
    for setting in ({"clipnorm": 0.1}, {"weight_decay": 0.1}, {"gradient_accumulation_steps": 2}):
        values = []
        for backend in ("numpy", "torch"):
            config.set_backend(backend)
            w, optimizer = oneiros.Variable([1.0, 2.0]), optimizers.Adam(0.1, **setting)
            for g in ([3.0, -1.0], [0.5, 2.0], [1.0, 1.0]):
                optimizer.apply([ops.convert_to_tensor(g)], [w])
            optimizer.learning_rate = 0.01
            optimizer.apply([ops.convert_to_tensor([1.0, 1.0])], [w])
            values.append(w.numpy())
        np.testing.assert_allclose(*values, rtol=1e-5)


# Modules of PyTorch ---------------------------------------------
class Mixed(layers.Layer):
    """A layer that holds a module of PyTorch."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8))
        self.outer = layers.Dense(1)

    def call(self, x):
        return self.outer(torch.relu(self.inner(x)))


def test_modules_of_pytorch_are_layers():
    model = oneiros.Sequential([oneiros.Input((4,)), Mixed()])
    assert isinstance(model.layers[0].inner, layers.TorchModuleWrapper)
    assert len(model.trainable_weights) == 6
    means = model.layers[0].inner.module.get_buffer("1.running_mean").clone()
    history = fitted(model, epochs=5)
    assert history[-1] < history[0]
    moved = [v.numpy() for v in model.non_trainable_variables if "running_mean" in v.name]
    assert not np.allclose(moved[0], means)


def test_layers_stand_in_modules_of_pytorch():
    outer = torch.nn.Sequential(torch.nn.Linear(4, 4), layers.Dense(2))
    assert outer(torch.from_numpy(X)).shape == (64, 2)
    assert len(list(outer.parameters())) == 4


def test_a_wrapper_needs_a_module():
    with pytest.raises(ValueError, match=r"torch\.nn\.Module"):
        layers.TorchModuleWrapper(3)


# Data ---------------------------------------------
def test_loaders_feed_fit():
    pairs = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    loader = torch.utils.data.DataLoader(pairs, batch_size=16)
    history = compiled(small()).fit(loader, epochs=2, verbose=0).history["loss"]
    np.testing.assert_allclose(history, fitted(small()), rtol=1e-5)


def test_tensors_feed_fit():
    model = compiled(small())
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    history = model.fit(x, y, epochs=2, batch_size=16, verbose=0, shuffle=False).history["loss"]
    np.testing.assert_allclose(history, fitted(small()), rtol=1e-5)


# Steps ---------------------------------------------
KINDS = {
    "dense": lambda: small(layers.BatchNormalization(), layers.Dropout(0.0)),
    "recurrent": lambda: oneiros.Sequential(
        [oneiros.Input((4,)), layers.Reshape((2, 2)), layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(1)]
    ),
    "convolutional": lambda: oneiros.Sequential(
        [oneiros.Input((4,)), layers.Reshape((4, 1)), layers.Conv1D(4, 2, activation="relu"), layers.MaxPooling1D(), layers.Flatten(), layers.Dense(1)]
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_fifty_steps_are_numpy_s(kind):
    found = []
    for backend in ("numpy", "torch"):
        config.set_backend(backend)
        oneiros.utils.set_random_seed(3)
        found.append(fitted(KINDS[kind](), epochs=13))
    np.testing.assert_allclose(*found, rtol=2e-3)


def test_gradients_with_other_strides_train():
    """The fused Adam reads parameter and gradient in one order, whatever their strides."""
    model = oneiros.Sequential(
        [oneiros.Input((6, 6, 1)), layers.Conv2D(2, 3), layers.Flatten(), layers.Dense(1)]
    )
    x = np.random.default_rng(1).normal(size=(32, 6, 6, 1)).astype("float32")
    y, found, start = x.mean((1, 2)), [], model.get_weights()
    for backend in ("torch", "numpy"):
        config.set_backend(backend)
        twin = oneiros.models.clone_model(model)
        twin.set_weights(start)
        compiled(twin)
        found.append(
            twin.fit(x, y, epochs=5, batch_size=8, verbose=0, shuffle=False).history["loss"]
        )
    np.testing.assert_allclose(*found, rtol=1e-3)


def test_many_steps_leave_nothing_behind():
    model = compiled(small())
    count = lambda: sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    for _ in range(3):
        model.train_on_batch(X[:16], Y[:16])
        model.fit(X, Y, batch_size=16, verbose=0)
    gc.collect()
    before = count()
    for _ in range(20):
        model.train_on_batch(X[:16], Y[:16])
        model.fit(X, Y, batch_size=16, verbose=0)
    gc.collect()
    assert count() <= before + 2


def test_dropped_models_leave_nothing_behind():
    def once():
        plain = small(layers.BatchNormalization())
        own = OwnStep(plain.inputs, plain.outputs)
        for model in (compiled(plain), compiled(own)):
            model.fit(X, Y, batch_size=16, verbose=0)
            model(torch.from_numpy(X)), model.predict(X[:1], verbose=0)
        return weakref.ref(plain), weakref.ref(own)

    count = lambda: sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
    once(), gc.collect()
    before = count()
    models = [ref for _ in range(5) for ref in once()]
    gc.collect()
    assert not any(ref() is not None for ref in models) and count() <= before


def test_outputs_do_not_share_memory_with_the_state():
    model = small()
    weights = model.get_weights()
    y = model(X)
    compiled(model).fit(X, Y, verbose=0)
    kept = [w.copy() for w in weights]
    fitted(model)
    for a, b in zip(weights, kept):
        np.testing.assert_array_equal(a, b)
    assert y.requires_grad


def test_backends_change_in_a_session():
    model = small()
    fitted(model)
    for name in ("numpy", "torch", "jax", "torch"):
        config.set_backend(name)
        fitted(small(), epochs=1)


def test_losses_are_differentiable():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = losses.SparseCategoricalCrossentropy(from_logits=True)(np.array([0, 1, 2, 1]), logits)
    loss.backward()
    expected = torch.nn.functional.cross_entropy(logits.detach(), torch.tensor([0, 1, 2, 1]))
    assert abs(loss.item() - expected.item()) < 1e-6 and logits.grad.abs().sum() > 0


# Pieces of eager steps ---------------------------------------------
@pytest.mark.parametrize("loss", ["mse", "categorical_crossentropy", "huber", "log_cosh", "kld"])
def test_losses_are_the_same_when_they_are_compiled(loss):
    """The first calls run op by op, later ones as one function: values, slopes and curvatures."""
    loss, found = losses.get(loss), []
    loss = loss if isinstance(loss, losses.Loss) else losses.loss.LossFunctionWrapper(loss)
    weight = torch.linspace(0.5, 1.5, 8)
    for _ in range(6):
        x = torch.linspace(0.1, 0.9, 24).reshape(8, 3).requires_grad_()
        value = loss(torch.full((8, 3), 1 / 3), x, weight)
        (slope,) = torch.autograd.grad(value, x, create_graph=True)
        (curve,) = torch.autograd.grad(slope.sum(), x)
        found.append([v.detach().numpy() for v in (value, slope, curve)])
    assert any(callable(v) for v in loss._wholes.values())
    for first, last in zip(found[0], found[-1]):
        np.testing.assert_allclose(first, last, rtol=1e-5, atol=1e-7)


def test_classes_that_there_are_not_cost_nothing():
    loss = losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
    for _ in range(5):
        logits = torch.tensor([[1.0, 2.0, 3.0]] * 2, requires_grad=True)
        loss(torch.tensor([1, 7]), logits).backward()
        expected = torch.softmax(logits[0].detach(), 0) - torch.tensor([0.0, 1.0, 0.0])
        np.testing.assert_allclose(logits.grad[0], expected, rtol=1e-5)
        assert not logits.grad[1].any()


def test_metrics_count_the_same_when_they_are_compiled():
    made = [metrics.SparseCategoricalAccuracy(), metrics.AUC(), metrics.F1Score(threshold=0.5)]
    x = torch.rand(16, 4, requires_grad=True)
    hot = torch.nn.functional.one_hot(torch.arange(16) % 4, 4).float()
    for metric, y in zip(made, (torch.arange(16) % 4, hot, hot)):
        results = []
        for _ in range(7):
            metric.reset_state()
            metric.update_state(y, x)
            results.append(np.asarray(metric.result()))
        np.testing.assert_allclose(results[0], results[-1], rtol=1e-6)


def test_settings_of_a_loss_may_change():
    loss, x, y = losses.MeanSquaredError(), torch.ones(4, 2), torch.zeros(4, 2)
    assert [float(loss(y, x)) for _ in range(6)] == [1.0] * 6
    loss.reduction = "sum"
    assert float(loss(y, x)) == 4.0


# Calls that were made before ---------------------------------------------
def test_layers_ask_again_when_they_change():
    model = small()
    x = torch.from_numpy(X)
    first = model(x)
    assert torch.equal(model(x), first) and first.requires_grad
    with pytest.raises(ValueError, match="expected"):
        model(torch.ones(3, 5))
    model.layers[0].activity_regularizer = oneiros.regularizers.L2(1.0)
    model(x)
    assert len(model.losses) == 1
    model.layers[0].dtype_policy = "bfloat16"
    assert model.layers[0](x).dtype == torch.bfloat16
    seen = []
    handle = model.layers[1].register_forward_hook(lambda *args: seen.append(1))
    model(x), handle.remove(), model(x)
    assert seen == [1]
    model.layers[1].kernel.assign(np.zeros((8, 1)))
    assert not model(x).any()


def test_predictions_of_one_batch_are_those_of_many():
    model = compiled(small(layers.Dropout(0.5)))
    whole = model.predict(X, batch_size=64, verbose=0)
    np.testing.assert_allclose(whole, model.predict(X, batch_size=16, verbose=0), rtol=1e-5)
    np.testing.assert_allclose(whole[:1], model.predict(X[:1].astype("float64"), verbose=0), 1e-5)
    whole[:] = 0  # it is the caller's own
    model.fit(X, Y, verbose=0)
    assert model.predict(X[:1], verbose=0).any() and not whole.any()


# Files of wrapped modules ---------------------------------------------
def wrapped():
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    return oneiros.Sequential(
        [oneiros.Input((4,)), layers.TorchModuleWrapper(module, name="inner")]
    )


@pytest.fixture
def trusting():
    """Files may bring code within the test."""
    from oneiros.core import config as settings

    config.enable_unsafe_deserialization()
    yield
    settings._settings["unsafe_deserialization"] = False


def test_wrapped_modules_are_not_unpickled_unasked(tmp_path):
    """A config whose bytes would run code is refused before they are looked at."""
    model = wrapped()
    model.save(tmp_path / "model.keras")
    for safe_mode in (True, False):
        with pytest.raises(ValueError, match="enable_unsafe_deserialization"):
            oneiros.saving.load_model(tmp_path / "model.keras", safe_mode=safe_mode)
    bad = {**model.layers[0].get_config(), "module": "Y29zCnN5c3RlbQ=="}
    for safe_mode in (None, True):
        with pytest.raises(ValueError, match="pickled"):
            layers.TorchModuleWrapper.from_config(bad, safe_mode=safe_mode)


def test_wrapped_modules_are_saved(tmp_path, trusting):
    model = wrapped()
    fitted(oneiros.Sequential([oneiros.Input((4,)), *model.layers, layers.Dense(1)]))
    model.save(tmp_path / "model.keras")
    again = oneiros.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(X, verbose=0), again.predict(X, verbose=0))
    config = model.layers[0].get_config()
    made = layers.TorchModuleWrapper.from_config(config, safe_mode=False).module
    np.testing.assert_array_equal(made[0].weight.detach(), model.layers[0].weights[0].numpy())


def test_shapes_and_parameters_of_wrapped_modules():
    layer = wrapped().layers[0]
    assert layer.compute_output_shape((None, 4)) == (None, 3)
    assert layers.TorchModuleWrapper(torch.nn.ReLU(), output_shape=(None, 7)).compute_output_shape(
        (None, 4)
    ) == (None, 7)
    assert [tuple(v.shape) for v in layer.parameters()] == [(3, 4), (3,), (3,), (3,)]
    assert list(layer.parameters(recurse=False)) == []
    assert all(v.requires_grad for v in layer.parameters())
    with pytest.raises(ValueError, match="lazy"):
        layers.TorchModuleWrapper(torch.nn.LazyLinear(3))


# The framework's compiler ---------------------------------------------
def one_step(jit_compile, kind=oneiros.Sequential):
    oneiros.utils.set_random_seed(7)
    model = kind([oneiros.Input((4,)), layers.Dense(1)]) if kind is oneiros.Sequential else kind
    model.compile(optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    model.train_on_batch(X[:16], Y[:16])
    return model


def test_steps_are_compiled_by_pytorch():
    from oneiros.backends.torch_inductor import without_compiler

    if without_compiler():
        pytest.skip("PyTorch's inductor has no C++ compiler on this machine")
    plain, made = one_step(False), one_step(True)
    (step,) = made._functions["train"].made.values()
    assert step.function.jit and made.jit_compile
    for a, b in zip(plain.get_weights(), made.get_weights()):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_without_a_compiler_steps_run_as_they_are(monkeypatch):
    from oneiros.backends import torch_inductor

    monkeypatch.setattr(torch_inductor, "without_compiler", lambda: "no g++")
    with pytest.warns(UserWarning, match=r"needs a C\+\+ compiler"):
        made = one_step(True)
    for a, b in zip(one_step(False).get_weights(), made.get_weights()):
        np.testing.assert_array_equal(a, b)


def test_own_steps_that_run_op_by_op_are_not_compiled():
    class Calling(OwnStep):
        def judged(self, loss, y, y_pred):
            return {"mine": torch.zeros(()), **super().judged(loss, y, y_pred)}

    plain = small()
    with pytest.warns(UserWarning, match="op by op"):
        one_step(True, Calling(plain.inputs, plain.outputs))


# Batch normalization ---------------------------------------------
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4,), {}),
        ((3, 4), {"scale": False}),
        ((4, 3, 2), {"axis": 1, "center": False}),
        ((3, 2, 4), {"scale": False, "center": False}),
        ((2, 2, 2, 3), {"axis": 2}),
    ],
)
def test_batch_normalization_is_numpy_s(shape, options):
    """PyTorch's kernel and its derivative: weights and averages after some steps."""
    x = np.random.default_rng(3).normal(2.0, 3.0, (16, *shape)).astype("float32")
    y, found = np.tanh(x.reshape(16, -1)[:, :1]), []
    for backend in ("numpy", "torch"):
        config.set_backend(backend)
        oneiros.utils.set_random_seed(5)
        model = oneiros.Sequential(
            [oneiros.Input(shape), layers.BatchNormalization(**options), layers.Activation("tanh"),
             layers.BatchNormalization(**options), layers.Flatten(), layers.Dense(1)]
        )  # fmt: skip
        model.compile(optimizers.SGD(0.05), "mse")
        model.fit(x, y, epochs=3, batch_size=8, verbose=0, shuffle=False)
        found.append(model.get_weights())
        if backend == "torch":
            state = model.get_weights()
            out = model(torch.from_numpy(x), training=True)
            assert out.requires_grad
            moved = np.abs(model.get_weights()[-3] - state[-3]).max()
            assert moved > 0
    for a, b in zip(*found):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_one_row_is_normalized_by_itself():
    layer, x = layers.BatchNormalization(), torch.tensor([[3.0, -1.0]], requires_grad=True)
    y = layer(x, training=True)
    y.sum().backward()
    np.testing.assert_allclose(y.detach(), np.zeros((1, 2)), atol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [0.99, 0.99], rtol=1e-5)
