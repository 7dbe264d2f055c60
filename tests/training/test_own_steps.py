"""Users' own steps of evaluating and predicting."""

import numpy as np

import oneiros
from oneiros import layers, ops

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(40, 3)).astype("float32"), RNG.normal(size=(40, 2)).astype("float32")


class Own(oneiros.Model):
    """It reports the mean absolute error, and predicts twice its outputs in a dict."""

    def __init__(self):
        super().__init__()
        self.dense, self.norm = layers.Dense(2), layers.BatchNormalization()

    def call(self, x, training=False):
        return self.norm(self.dense(x), training=training)

    def test_step(self, state, data):
        trainable, others, metrics = state
        x, y = data
        outputs, others = self.stateless_call(trainable, others, x, training=False)
        return {"error": ops.mean(ops.abs(outputs - y))}, (trainable, others, metrics)

    def predict_step(self, state, data):
        trainable, others = state
        outputs, others = self.stateless_call(trainable, others, data, training=False)
        return {"twice": outputs * 2}, others


def test_own_steps_are_taken(backend):
    if backend in ("torch", "tensorflow"):
        return  # where steps take the data alone, as their frameworks' tests hold
    model = Own()
    model.compile("sgd", "mse")
    history = model.fit(X, Y, validation_data=(X, Y), verbose=0).history
    assert sorted(history) == ["loss", "val_error"]
    wanted = np.asarray(model(X))
    found = model.evaluate(X, Y, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["error"], np.abs(wanted - Y)[-8:].mean(), rtol=1e-5)
    np.testing.assert_allclose(model.predict(X, verbose=0)["twice"], 2 * wanted, rtol=1e-5)


def test_data_without_targets_is_handed_over_alone():
    seen = []

    class Spy(Own):
        def call(self, x, training=False):
            return super().call(x["x"])

        def predict_step(self, state, data):
            seen.append(data)
            return super().predict_step(state, data)

    Spy().predict({"x": X}, verbose=0)
    assert list(seen[0]) == ["x"]
