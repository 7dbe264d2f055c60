"""Layers around another layer: both directions of a sequence, each of its steps."""

from __future__ import annotations

from oneiros import initializers, ops
from oneiros.core import tree
from oneiros.core.graph import STACK
from oneiros.core.registry import deserialize_keras_object, serialize_keras_object
from oneiros.layers.base import Layer, _plan_of

__all__ = ["Bidirectional", "SpectralNormalization", "TimeDistributed", "Wrapper"]


class Inner:
    """A layer."""

    @staticmethod
    def convert(value, layer, name):
        if not isinstance(value, Layer):
            raise ValueError(
                f"Please initialize `{type(layer).__name__}` with a layer as `{name}`. Received: {value!r} "
                f"(of type {type(value).__name__})"
            )
        return value


class Wrapper(Layer):
    """A layer around another one, for subclasses.

    Args:
        layer: The layer inside.

    >>> from oneiros import layers
    >>> layers.Wrapper(layers.Dense(2)).layer.units
    2
    """

    layer: Inner

    def build(self, input_shape=None):
        if not self.layer.built:
            self.layer.build(input_shape)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        config["layer"] = deserialize_keras_object(config["layer"], custom_objects=custom_objects)
        return super().from_config(config)


class TimeDistributed(Wrapper):
    """A layer applied to each step of a sequence (batch, steps, ...).

    The steps are taken as further rows of the batch, in one call; one after another where the layer
    learns from what it sees in training (as BatchNormalization does).

    Raises:
        ValueError: if the input has less than 3 axes, or its mask another batch or number of steps.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.TimeDistributed(layers.Dense(4))(np.ones((2, 5, 3), "float32")).shape
    (2, 5, 4)
    """

    supports_masking = True

    def build(self, input_shape):
        super().build(self._inner_shape(input_shape))

    def _inner_shape(self, shape):
        if not isinstance(shape, (tuple, list)) or len(shape) < 3:
            raise ValueError(
                "`TimeDistributed` Layer should be passed an `input_shape` with at least 3 dimensions, received: "
                f"{shape}"
            )
        return (shape[0], *shape[2:])

    def compute_output_shape(self, input_shape):
        shape = self.layer.compute_output_shape(self._inner_shape(input_shape))
        return (shape[0], input_shape[1], *shape[1:])

    def _declared_outputs(self, plan, args, kwargs, values):
        return None

    def call(self, inputs, training=None, mask=None):
        batch, steps = inputs.shape[:2]
        options = {}
        names = _plan_of(type(self.layer)).names
        if "training" in names and training is not None:
            options["training"] = training
        if mask is not None:
            if tuple(mask.shape[:2]) != (batch, steps):
                raise ValueError(
                    f"The `mask` passed to the `TimeDistributed` layer has a shape {tuple(mask.shape)} that is incompatible "
                    f"with the input shape {tuple(inputs.shape)}. The first two dimensions of the mask (batch size and "
                    "timesteps) must match the input's first two dimensions."
                )
            if "mask" not in names:
                mask = None
        if training and not getattr(STACK.top, "abstract", False) and self._has_state():
            call = lambda i: self.layer(
                inputs[:, i], **options, **({} if mask is None else {"mask": mask[:, i]})
            )
            made = [call(i) for i in range(steps)]
            return tree.map_structure(lambda *ys: ops.stack(ys, axis=1), *made)
        if mask is not None:
            options["mask"] = ops.reshape(mask, (batch * steps, *mask.shape[2:]))
        rows = ops.reshape(inputs, (batch * steps, *inputs.shape[2:]))
        outputs = self.layer(rows, **options)
        return tree.map_structure(lambda y: ops.reshape(y, (batch, steps, *y.shape[1:])), outputs)

    def _has_state(self):
        """Whether the layer keeps numbers of what it sees (the states of noise do not count)."""
        return any(y._non_trainable_variables for y in self.layer._flatten_layers())


MERGES = {
    "concat": lambda x, y: ops.concatenate([x, y], axis=-1),
    "sum": lambda x, y: x + y,
    "ave": lambda x, y: (x + y) / 2,
    "mul": lambda x, y: x * y,
    None: None,
}


class Bidirectional(Layer):
    """A recurrent layer run along a sequence from both ends (Schuster & Paliwal, 1997).

    Args:
        layer: The recurrent layer; a copy of it runs forwards.
        merge_mode: How the two outputs are joined: "concat", "sum", "mul", "ave", or None for both.
        weights: Initial weights, those of the forward layer first.
        backward_layer: What runs backwards; a copy of `layer` if None.

    Raises:
        ValueError: for an unknown `merge_mode`, or if the two layers do not fit together.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Bidirectional(layers.LSTM(4))(np.ones((2, 5, 3), "float32")).shape
    (2, 8)
    """

    layer: Inner
    merge_mode: str = "concat"
    weights: object = None
    backward_layer: object = None

    stored = {"layer": "forward_layer", "weights": "_initial_weights"}
    config_without = ("layer", "weights", "backward_layer")
    supports_masking = True

    def _ready(self):
        if self.merge_mode not in MERGES:
            raise ValueError(
                f"Invalid merge mode. Received: {self.merge_mode}. Merge mode should be one of "
                '{"sum", "mul", "ave", "concat", None}'
            )
        given = self.forward_layer
        for name in ("go_backwards", "stateful", "return_sequences", "return_state"):
            if not hasattr(given, name):
                raise TypeError(
                    f"Bidirectional needs a recurrent layer, with the attribute `{name}`; got layer={given!r}"
                )
        ahead = given.go_backwards
        name = given.name.removeprefix("forward_")
        self.forward_layer = _copy(given, f"forward_{name}", ahead)
        if self.backward_layer is None:
            self.backward_layer = _copy(given, f"backward_{name}", not ahead)
        self._check()
        for inner in (self.forward_layer, self.backward_layer):
            if hasattr(inner, "zero_output_for_mask"):
                inner.zero_output_for_mask = inner.zero_output_for_mask or inner.return_sequences
        self.stateful, self.return_sequences = (
            self.forward_layer.stateful,
            self.forward_layer.return_sequences,
        )
        self.return_state = self.forward_layer.return_state
        self.input_spec = self.forward_layer.input_spec

    def _check(self):
        forward, backward = self.forward_layer, self.backward_layer
        if not isinstance(backward, Layer):
            raise ValueError(
                f"`backward_layer` need to be a layer instance. Received: {backward!r}"
            )
        if forward.go_backwards == backward.go_backwards:
            raise ValueError(
                "Forward layer and backward layer should have different `go_backwards` value. Received: "
                f"forward_layer.go_backwards {forward.go_backwards}, backward_layer.go_backwards={backward.go_backwards}"
            )
        for name in ("stateful", "return_sequences", "return_state"):
            one, other = getattr(forward, name), getattr(backward, name)
            if one != other:
                raise ValueError(
                    f'Forward layer and backward layer are expected to have the same value for attribute "{name}", got '
                    f'"{one}" for forward layer and "{other}" for backward layer'
                )

    @property
    def states(self):
        """The states of both layers between batches, or None."""
        if self.forward_layer.states is None or self.backward_layer.states is None:
            return None
        return (*tree.flatten(self.forward_layer.states), *tree.flatten(self.backward_layer.states))

    def reset_state(self):
        """Begin the next batch with the first states again, in both layers."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    def build(self, sequences_shape, initial_state_shape=None):
        for inner in (self.forward_layer, self.backward_layer):
            if not inner.built:
                inner.build(sequences_shape)
        if self._initial_weights is not None:
            self.set_weights(self._initial_weights)

    def call(self, sequences, initial_state=None, mask=None, training=None):
        halves = [{}, {}]
        if initial_state is not None:
            states = tree.flatten(initial_state)
            if len(states) % 2:
                raise ValueError(
                    f"Bidirectional '{self.name}': initial_state must hold the states of both layers; got {len(states)} "
                    "arrays"
                )
            half = len(states) // 2
            halves = [{"initial_state": states[:half]}, {"initial_state": states[half:]}]
        seen = {} if mask is None else {"mask": mask}
        layers = self.forward_layer, self.backward_layer
        both = [layer(sequences, **seen, **own) for layer, own in zip(layers, halves)]
        states = []
        if self.return_state:
            states = [x for made in both for x in made[1:]]
            both = [made[0] for made in both]
        y, back = both
        back = ops.flip(back, axis=1) if self.return_sequences else back
        outputs = (y, back) if self.merge_mode is None else (MERGES[self.merge_mode](y, back),)
        return (*outputs, *states) if len(outputs) + len(states) > 1 else outputs[0]

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        layers = self.forward_layer, self.backward_layer
        made = [layer.compute_output_shape(sequences_shape) for layer in layers]
        states = ()
        if self.return_state:
            states = (*made[0][1:], *made[1][1:])
            made = [shapes[0] for shapes in made]
        one, other = map(tuple, made)
        if self.merge_mode is None:
            return (one, other, *states)
        shape = (*one[:-1], one[-1] + other[-1]) if self.merge_mode == "concat" else one
        return (shape, *states) if self.return_state else shape

    def _declared_outputs(self, plan, args, kwargs, values):
        return None

    def compute_mask(self, _, mask):
        mask = tree.flatten(mask)[0] if self.return_sequences and mask is not None else None
        return (mask, mask) if self.merge_mode is None else mask

    def get_config(self):
        layers = {"layer": self.forward_layer, "backward_layer": self.backward_layer}
        return {**super().get_config(), **{k: serialize_keras_object(v) for k, v in layers.items()}}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name in ("layer", "backward_layer"):
            if isinstance(config.get(name), dict):
                config[name] = deserialize_keras_object(config[name], custom_objects=custom_objects)
        return super().from_config(config)


class SpectralNormalization(Wrapper):
    """A layer whose kernel is divided by its largest singular value in training (Miyato et al.,
    2018).

    Args:
        power_iterations: How often a call refines its estimate of that value.

    Raises:
        ValueError: if `power_iterations` is below one, or the layer has neither a `kernel` nor
            `embeddings`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SpectralNormalization(layers.Dense(2))(np.ones((1, 3), "float32")).shape
    (1, 2)
    """

    power_iterations: int = 1

    def _ready(self):
        if self.power_iterations <= 0:
            raise ValueError(
                f"SpectralNormalization: `power_iterations` must be above 0; got {self.power_iterations}"
            )

    def build(self, input_shape):
        super().build(input_shape)
        self.kernel = getattr(self.layer, "kernel", getattr(self.layer, "embeddings", None))
        if self.kernel is None:
            raise ValueError(
                f"SpectralNormalization: the layer '{self.layer.name}' has neither a `kernel` nor `embeddings`"
            )
        self.vector_u = self.add_weight(
            name="vector_u",
            shape=(1, self.kernel.shape[-1]),
            initializer=initializers.TruncatedNormal(stddev=0.02),
            trainable=False,
            dtype=self.kernel.dtype,
        )

    def call(self, inputs, training=False):
        if training:
            kernel, u = self.normalized_weights()
            self.vector_u.assign(u)
            self.kernel.assign(kernel)
        return self.layer(inputs)

    def normalized_weights(self):
        """The kernel over its largest singular value, and the singular vector, refined."""
        columns = ops.reshape(self.kernel, (-1, self.kernel.shape[-1]))  # (rest, outputs)
        u = self.vector_u.value
        for _ in range(self.power_iterations):
            v = ops.normalize(ops.matmul(u, ops.transpose(columns)), axis=None)
            u = ops.normalize(ops.matmul(v, columns), axis=None)
        u, v = ops.stop_gradient(u), ops.stop_gradient(v)
        sigma = ops.matmul(ops.matmul(v, columns), ops.transpose(u))
        return ops.reshape(columns / sigma, self.kernel.shape), u


def _copy(layer, name, go_backwards):
    """A layer of another one's config, under another name, run from the end that `go_backwards`
    says.
    """
    return type(layer).from_config(
        {**layer.get_config(), "name": name, "go_backwards": go_backwards}
    )
