"""The benchmarks' models written by hand for TensorFlow: one `tf.function` over `tf.Variable`s.

Gradients come from a tape, Adam from TensorFlow's fused op. What such a file gives is said in
`loops_jax.py`.
"""

import numpy as np
import tensorflow as tf
from models import (
    BETA_1,
    BETA_2,
    BLOCKS,
    EPSILON,
    LEARNING_RATE,
    MODELS,
    NORM_EPSILON,
    UNITS,
    ByHand,
    initial_weights,
)

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)

TRAINS = tuple(MODELS)
array, wait = tf.constant, lambda x: x
BARE = {
    "exp": tf.exp,
    "add": tf.add,
    "relu": tf.nn.relu,
    "softmax": tf.nn.softmax,
    "mean": tf.reduce_mean,
    "matmul": tf.matmul,
    "reshape": tf.reshape,
}


def eager(name):
    """A function of a tensor: a dense layer of 16 units, or a whole model."""
    if name == "dense":
        weight, bias = tf.Variable(tf.ones((16, 16))), tf.Variable(tf.ones((16,)))
        return lambda x: tf.nn.relu(x @ weight + bias)
    weights, function = [tf.Variable(w) for w in initial_weights(name)], forward(name)
    return lambda x: function(weights, x)


def forward(name):
    """The function of weights and inputs that gives the logits."""

    def mlp(w, x):
        return tf.nn.relu(x @ w[0] + w[1]) @ w[2] + w[3]

    def cnn(w, x):
        padding = "SAME" if name == "cnn_wide" else "VALID"
        for kernel, bias in ((w[0], w[1]), (w[2], w[3])):
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, padding), bias))
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        return tf.reshape(x, (x.shape[0], -1)) @ w[4] + w[5]

    def lstm(w, x):
        inputs = tf.TensorArray(tf.float32, x.shape[1]).unstack(tf.einsum("bti,ig->tbg", x, w[0]))
        kernel, bias = tf.convert_to_tensor(w[1]), tf.convert_to_tensor(w[2])

        def step(t, h, c):
            i, f, g, o = tf.split(inputs.read(t) + h @ kernel + bias, 4, -1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            return t + 1, tf.sigmoid(o) * tf.tanh(c), c

        start = tf.zeros((x.shape[0], UNITS))
        _, h, _ = tf.while_loop(lambda t, *_: t < x.shape[1], step, (0, start, start))
        return h @ w[3] + w[4]

    def norm(x, scale, shift):
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return (x - mean) * tf.math.rsqrt(variance + NORM_EPSILON) * scale + shift

    def attention(x, w):
        q, k, v = (tf.einsum("btd,dhk->bthk", x, w[i]) + w[i + 1] for i in (0, 2, 4))
        scores = tf.einsum("bqhk,bthk->bhqt", q / np.float32(np.sqrt(q.shape[-1])), k)
        mixed = tf.einsum("bhqt,bthk->bqhk", tf.nn.softmax(scores), v)
        return tf.einsum("bqhk,hkd->bqd", mixed, w[6]) + w[7]

    def dense(x, kernel, bias):
        flat = tf.reshape(x, (-1, x.shape[-1])) @ kernel + bias
        return tf.reshape(flat, (*x.shape[:-1], flat.shape[-1]))

    def transformer(w, x):
        x, size = tf.gather(w[0], x), 16
        for start in range(1, 1 + BLOCKS * size, size):
            b = w[start : start + size]
            x = norm(x + attention(x, b), b[8], b[9])
            hidden = dense(tf.nn.relu(dense(x, b[10], b[11])), b[12], b[13])
            x = norm(x + hidden, b[14], b[15])
        return tf.reduce_mean(x, 1) @ w[-2] + w[-1]

    functions = {"lstm": lstm, "transformer": transformer, "mlp": mlp}
    return functions.get(name, cnn)


class Loop(ByHand):
    """Metrics stay in tensors until the epoch ends; host batches, gathered by NumPy."""

    def __init__(self, name, weights=None):
        super().__init__(name)
        weights = [tf.Variable(w) for w in weights or initial_weights(name)]
        slots = [[tf.Variable(tf.zeros_like(w)) for w in weights] for _ in range(2)]
        powers = [tf.Variable(1.0), tf.Variable(1.0)]
        function, model = forward(name), MODELS[name]

        def measures(x, y):
            logits = function(weights, x)
            loss = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            hits = tf.equal(tf.argmax(logits, -1, tf.int32), y)
            return tf.reduce_mean(loss), tf.reduce_mean(tf.cast(hits, tf.float32))

        def train(loss_total, hits_total, x, y):
            with tf.GradientTape() as tape:
                loss, hits = measures(x, y)
            first, second = (
                p.assign(p * b, read_value=True) for p, b in zip(powers, (BETA_1, BETA_2))
            )
            for w, m, v, g in zip(weights, *slots, tape.gradient(loss, weights)):
                tf.raw_ops.ResourceApplyAdam(
                    var=w.handle, m=m.handle, v=v.handle, beta1_power=first, beta2_power=second,
                    lr=LEARNING_RATE, beta1=BETA_1, beta2=BETA_2, epsilon=EPSILON,
                    grad=tf.convert_to_tensor(g),
                )  # fmt: skip
            return loss_total + loss, hits_total + hits

        def test(loss_total, hits_total, x, y):
            loss, hits = measures(x, y)
            return loss_total + loss, hits_total + hits

        number = tf.TensorSpec((), tf.float32)
        kind = tf.int32 if model.tokens else tf.float32
        batch = tf.TensorSpec((model.batch, *model.shape), kind)
        given = [number, number, batch, tf.TensorSpec((model.batch,), tf.int32)]
        self.train_step = tf.function(train, input_signature=given, autograph=False)
        self.test_step = tf.function(test, input_signature=given, autograph=False)
        self.infer = tf.function(lambda x: function(weights, x), autograph=False)

    def zeros(self):
        return tf.zeros(()), tf.zeros(())

    def train(self, x, y):
        self.totals = self.train_step(*self.totals, x, y)

    def test(self, x, y):
        self.totals = self.test_step(*self.totals, x, y)


def own_model(keras):
    """A model with a `train_step` as the guides write it for this framework."""

    class OwnStep(keras.Model):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                y_pred = self(x, training=True)
                loss = self.compute_loss(y=y, y_pred=y_pred)
            weights = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            for metric in self.metrics:
                if metric.name == "loss":
                    metric.update_state(loss)
                else:
                    metric.update_state(y, y_pred)
            return {m.name: m.result() for m in self.metrics}

    return OwnStep
