"""Steps of the user's own on PyTorch: traced where Python has nothing to do in each, else not."""

import numpy as np
import pytest

import oneiros
from oneiros import config, layers, losses, metrics, ops, optimizers

torch = pytest.importorskip("torch")

rng = np.random.default_rng(0)
X = rng.normal(size=(48, 5)).astype("float32")
Y = np.tanh(X[:, :2])
COUNT = []


@pytest.fixture(autouse=True)
def on_torch():
    before = config.backend()
    config.set_backend("torch")
    yield
    config.set_backend(before)


class Own(oneiros.Model):
    """The guide's step; what comes with it is in the subclasses."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        y_pred = self(x, training=True)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        loss.backward()
        weights = [v for v in self.trainable_weights]
        gradients = [v.value.grad for v in weights]
        with torch.no_grad():
            self.optimizer.apply(gradients, weights)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}


class Blend(Own):
    """Several losses, a setting, a metric of its own and logs that are no metrics' results."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.share = 0.25
        self.seen = metrics.Mean(name="seen")
        self.far = losses.MeanAbsoluteError()

    def train_step(self, data):
        x, y, _ = oneiros.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        near = ops.mean(ops.square(y - y_pred))
        loss = near + self.share * self.far(y, y_pred)
        self.zero_grad()
        loss.backward()
        weights = self.trainable_variables
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in weights], weights)
        self.seen.update_state(loss)
        return {"seen": self.seen.result(), "near": near}


class TwoBackwards(Own):
    """Derivatives add up; one part of the forward pass is not differentiated."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        with torch.no_grad():
            target = 0.5 * y + 0.5 * self(x, training=False)
        y_pred = self(x, training=False)
        first = ops.mean(ops.square(target - y_pred))
        first.backward()
        second = ops.mean(ops.abs(y - self(x, training=False)))
        second.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in weights], weights)
        return {"first": first, "second": second}


def made(kind, noisy=False):
    oneiros.utils.set_random_seed(1)
    inputs = oneiros.Input((5,))
    x = layers.Dense(8, "tanh", kernel_regularizer="l2")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.Dropout(0.3)(x) if noisy else x
    return kind(inputs, layers.Dense(2)(x))


def fitted(model, epochs=3, **options):
    model.compile(optimizers.Adam(0.01), "mse", metrics=["mae"], **options)
    oneiros.utils.set_random_seed(2)
    history = model.fit(X, Y, epochs=epochs, batch_size=16, verbose=0).history
    return history, model.get_weights()


def is_traced(model):
    (step,) = model._functions["train"].made.values()
    return step.function is not None


@pytest.mark.parametrize("kind", [Own, Blend, TwoBackwards])
def test_a_traced_step_gives_the_numbers_of_the_eager_one(kind):
    traced, eager = made(kind), made(kind)
    got, want = fitted(traced), fitted(eager, run_eagerly=True)
    assert is_traced(traced) and not is_traced(eager)
    assert got[0].keys() == want[0].keys()
    for a, b in zip(oneiros.tree.flatten(got), oneiros.tree.flatten(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_noise_is_new_in_each_step():
    class Noisy(Own):
        def train_step(self, data):
            x, y = data
            self.zero_grad()
            loss = ops.mean(ops.square(y - self(x, training=True)))
            loss.backward()
            return {"loss": loss}

    model = made(Noisy, noisy=True)
    model.compile("sgd")
    values = [float(model.train_on_batch(X, Y, return_dict=True)["loss"]) for _ in range(3)]
    assert len(set(values)) == 3


def test_settings_may_change():
    model, eager = made(Blend), made(Blend)
    for m in (model, eager):
        m.compile(optimizers.SGD(0.1), run_eagerly=m is eager)
        m.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
        m.share = 4.0
        m.fit(X, Y, batch_size=16, shuffle=False, verbose=0)
    assert is_traced(model)
    for a, b in zip(model.get_weights(), eager.get_weights()):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


class Counting(Own):
    def train_step(self, data):
        COUNT.append(1)
        return super().train_step(data)


class Storing(Own):
    def train_step(self, data):
        self.last = data
        return super().train_step(data)


class Printing(Own):
    def train_step(self, data):
        print("a step")
        return super().train_step(data)


class Calling(Own):
    def train_step(self, data):
        x, y = data
        return super().train_step((x + torch.normal(torch.zeros(5), 0.1), y))


class Accumulating(Own):
    """No `zero_grad`: derivatives add up over steps."""

    def train_step(self, data):
        x, y = data
        ops.mean(ops.square(y - self(x, training=True))).backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([v.value.grad for v in weights], weights)
        return {"norm": ops.sum(ops.abs(weights[0].value.grad))}


class Second(Own):
    """Another optimizer than that of `compile`."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.second = optimizers.SGD(0.1)

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.second.apply([v.value.grad for v in weights], weights)
        return {"loss": loss}


class Helped(Own):
    """Its step is plain, and what it calls is not."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        COUNT.append(1)
        return super().compute_loss(x, y, y_pred, sample_weight, training)


def scale():
    COUNT.append(1)
    return 2.0


class Outside(Own):
    """It calls a function beside the library."""

    def train_step(self, data):
        x, y = data
        return super().train_step((x * scale(), y))


class Deciding(Own):
    """A Python branch on a value."""

    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(x, training=True))
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            if loss > 0.0:
                self.optimizer.apply([v.value.grad for v in weights], weights)
        return {"loss": loss}


@pytest.mark.parametrize(
    "kind",
    [Counting, Storing, Printing, Calling, Accumulating, Second, Helped, Outside, Deciding],
)
def test_a_step_with_more_to_do_runs_in_each_step(kind, capsys):
    COUNT.clear()
    model = made(kind)
    before = model.get_weights()
    _, after = fitted(model, epochs=1)
    assert not is_traced(model)
    assert any((a != b).any() for a, b in zip(before, after))
    assert len(COUNT) == (3 if kind in (Counting, Helped, Outside) else 0)
    assert capsys.readouterr().out == ("a step\n" * 3 if kind is Printing else "")


def test_derivatives_add_up_over_steps_without_zero_grad():
    model = made(Accumulating)
    model.compile(optimizers.SGD(0.0))
    norms = [float(model.train_on_batch(X, Y, return_dict=True)["norm"]) for _ in range(3)]
    np.testing.assert_allclose(norms[1:], [2 * norms[0], 3 * norms[0]], rtol=0.05)


def test_what_the_loss_does_not_reach_has_no_derivative():
    class Half(Own):
        def train_step(self, data):
            x, _ = data
            self.zero_grad()
            ops.mean(self.layers[1](x)).backward()
            weights = self.trainable_weights
            gradients = [v.value.grad for v in weights]
            pairs = [(g, w) for g, w in zip(gradients, weights) if g is not None]
            with torch.no_grad():
                self.optimizer.apply([g for g, _ in pairs], [w for _, w in pairs])
            return {"count": len(pairs)}

    model = made(Half)
    model.compile(optimizers.SGD(0.1))
    assert model.train_on_batch(X, Y, return_dict=True)["count"] == 2
