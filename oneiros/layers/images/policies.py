"""Image layers made of others: policies that choose among augmentations, and chains of layers."""

from __future__ import annotations

import inspect

import numpy as np

from oneiros import ops
from oneiros.core import primitives as p
from oneiros.core.fields import Number
from oneiros.core.graph import STACK
from oneiros.core.op import array, to_dtype
from oneiros.core.registry import deserialize_keras_object, serialize_keras_object
from oneiros.layers.base import Layer
from oneiros.layers.fields import DataFormat, Positive
from oneiros.layers.images import colour, geometric, histograms
from oneiros.layers.images.base import ImageLayer
from oneiros.layers.images.draws import Draws
from oneiros.layers.images.fields import INTERPOLATIONS, Factor, Seed, ValueRange

__all__ = ["AugMix", "Pipeline", "RandAugment"]

# Name: class, its factors, whether it takes `value_range`.
POOL = {
    "random_shear": (geometric.RandomShear, ("x_factor", "y_factor"), False),
    "random_translation": (geometric.RandomTranslation, ("height_factor", "width_factor"), False),
    "random_rotation": (geometric.RandomRotation, ("factor",), False),
    "random_brightness": (colour.RandomBrightness, ("factor",), True),
    "random_color_degeneration": (colour.RandomColorDegeneration, ("factor",), True),
    "random_contrast": (colour.RandomContrast, ("factor",), True),
    "random_sharpness": (colour.RandomSharpness, ("factor",), True),
    "random_posterization": (colour.RandomPosterization, ("factor",), True),
    "solarization": (colour.Solarization, ("addition_factor", "threshold_factor"), True),
    "auto_contrast": (histograms.AutoContrast, (), True),
    "equalization": (histograms.Equalization, (), True),
}
# Of `AugMix` without those that overlap with the corruptions of its authors' test.
SOBER = (
    "random_shear", "random_translation", "random_rotation", "solarization",
    "random_posterization", "auto_contrast", "equalization",
)  # fmt: skip


class _Policy(ImageLayer):
    """A layer that applies some of the pool's layers, the same ones to a whole batch."""

    def _make(self, names):
        self.pool = {}
        for name in names:
            kind, factors, ranged = POOL[name]
            options = dict.fromkeys(factors, self.factor)
            if name == "random_posterization":
                options = {"factor": tuple(max(int(8 * f), 1) for f in self.factor)}
            if ranged:
                options["value_range"] = self.value_range
            if issubclass(kind, geometric._Geometric):
                options["interpolation"] = self.interpolation
            self.pool[name] = kind(
                **options,
                dtype="float32",
                data_format=self.data_format,
                bounding_box_format=self.bounding_box_format,
            )

    def _eager(self, data):
        """Layer by layer: what is compiled is each of the pool's, whatever is chosen."""
        amounts = self.get_random_transformation(data)
        images = data["images"] if isinstance(data, dict) else data
        dtype = self._result_dtype(images)
        images = to_dtype(array(images), "float32")
        made = self._whole(
            {**data, "images": images} if isinstance(data, dict) else images, amounts
        )
        if not isinstance(data, dict):
            return self._cast(made, dtype)
        return {**made, "images": self._cast(made["images"], dtype)}


class RandAugment(_Policy):
    """Some augmentations, drawn from a pool, one after the other (Cubuk et al., 2020).

    Args:
        value_range: The least and the largest value of pixels.
        num_ops: How many.
        factor: Range of their strengths within [0, 1]; a number f stands for (0, f).
        interpolation: `"nearest"` or `"bilinear"`.
        seed: Seed of the amounts.
        data_format: `"channels_last"`, `"channels_first"`, or None for the session's.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RandAugment()(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    value_range: ValueRange = (0, 255)
    num_ops: Positive = 2
    factor: Factor(0, 1, least=0) = 0.5
    interpolation: INTERPOLATIONS = "bilinear"
    seed: Seed = None
    data_format: DataFormat = None
    channels = (3,)
    moves_boxes = True

    def _ready(self):
        super()._ready()
        self._make(POOL)

    def draw(self, draws, shape):
        return {
            "transforms": {k: layer.draw(draws, shape) for k, layer in self.pool.items()},
            "layer_idxes": draws.integers((self.num_ops,), 0, len(self.pool)),
        }

    def _whole(self, data, amounts):
        for i in np.asarray(amounts["layer_idxes"]).tolist():
            name = list(self.pool)[i]
            chosen = amounts["transforms"][name]
            stated = {**chosen, "input_shape": amounts["input_shape"]} if chosen else chosen
            data = self.pool[name]._run_eager(data, stated)
        return data

    def _each(self, amounts, state, step):
        """`state` after `step(layer, amounts, state)` of the chosen layers."""
        changes = [
            lambda x, name=name: step(self.pool[name], amounts["transforms"][name], x)
            for name in self.pool
        ]
        for i in range(self.num_ops):
            state = _switched(amounts["layer_idxes"][i], changes, state)
        return state

    def apply(self, x, amounts):
        return self._each(amounts, x, lambda layer, a, x: layer.apply(x, a))

    def apply_to_masks(self, masks, amounts):
        return self._each(amounts, masks, lambda layer, a, x: layer.apply_to_masks(x, a))

    def apply_to_boxes(self, boxes, labels, amounts, size):
        step = lambda layer, a, b: ops.stack(layer.apply_to_boxes(list(b), labels, a, size)[0])
        return list(self._each(amounts, ops.stack(boxes), step)), labels, size


def _switched(index, changes, state):
    """`changes[index](state)`, where `index` may be known only when a graph runs."""
    if isinstance(index, (int, np.integer, np.ndarray)):
        return changes[int(index)](state)
    return ops.switch(index, changes, state)


def apart(seed, step):
    """The seed of one step, an int or an int32 array."""
    words = p.bitcast(seed, dtype="int32")
    step = step if hasattr(step, "dtype") else np.array(step, np.int32)
    far = p.multiply(p.add(step, np.int32(1)), np.int32(1 << 20))
    moved = p.add(words, p.multiply(p.reshape(far, shape=(1,)), np.array([0, 1], np.int32)))
    return p.bitcast(moved, dtype="uint32")


class AugMix(_Policy):
    """Images blended with several chains of augmentations of themselves (Hendrycks et al., 2020).

    Masks, boxes and labels stay as they are.

    Args:
        value_range: The least and the largest value of pixels.
        num_chains: How many chains.
        chain_depth: The most augmentations in a chain.
        factor: Range of their strengths within [0, 1]; a number f stands for (0, f).
        alpha: The parameter of the distributions of the weights.
        all_ops: Whether the pool holds brightness, contrast, sharpness and color degeneration.
        interpolation: `"nearest"` or `"bilinear"`.
        seed, data_format: As in `RandAugment`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.AugMix()(np.ones((4, 4, 3), "float32")).shape
    (4, 4, 3)
    """

    value_range: ValueRange = (0, 255)
    num_chains: Positive = 3
    chain_depth: Positive = 3
    factor: Factor(0, 1, least=0) = 0.3
    alpha: Number(above=0) = 1.0
    all_ops: bool = True
    interpolation: INTERPOLATIONS = "bilinear"
    seed: Seed = None
    data_format: DataFormat = None

    def _ready(self):
        super()._ready()
        self._make(POOL if self.all_ops else SOBER)
        if self.all_ops:
            self.channels = (3,)

    def draw(self, draws, shape):
        shares = p.add(draws.gamma((self.num_chains,), float(self.alpha)), 1e-6)
        grid = (self.num_chains, self.chain_depth)
        depth = draws.integers((self.num_chains, 1), 1, self.chain_depth + 1)
        steps = np.arange(self.chain_depth, dtype=np.int32)[None]
        layers = p.select(
            p.less(steps, depth), draws.integers(grid, 0, len(self.pool)), len(self.pool)
        )
        return {
            "chain_mixing_weights": p.divide(
                shares, p.reshape(p.reduce_sum(shares, axes=(0,)), shape=(1,))
            ),
            "weight_sample": p.reshape(
                draws.beta((1,), float(self.alpha), float(self.alpha)), shape=()
            ),
            "layers": layers,
            "seed": draws.seed,
        }

    def get_random_transformation(self, data, training=True, seed=None):
        """The weights and, for each chain, its layers by name with their amounts."""
        made = super().get_random_transformation(data, training, seed)
        if made is None or not isinstance(made["layers"], np.ndarray) or STACK.top is not None:
            return made
        names, shape, chains = list(self.pool), made["input_shape"], []
        for c, row in enumerate(made.pop("layers").tolist()):
            chain = []
            for j, i in enumerate(row):
                if i < len(names):
                    layer, step = self.pool[names[i]], c * self.chain_depth + j
                    own = np.array(
                        [made["seed"][0], made["seed"][1] + ((step + 1) << 20)], np.uint32
                    )
                    amounts = (
                        layer._stated(layer._drawn(own, shape), shape) if layer.random else None
                    )
                    chain.append({"layer_name": names[i], "transformation": amounts})
            chains.append(chain)
        del made["seed"]
        return {**made, "chain_transforms": chains}

    def _blended(self, x, amounts, change):
        """`x` blended with its chains; `change(layer, amounts, x)` applies one layer."""
        total = 0.0
        for weight, chain in zip(amounts["chain_mixing_weights"], amounts["chain_transforms"]):
            y = x
            for link in chain:
                y = change(self.pool[link["layer_name"]], link["transformation"], y)
            total = total + y * float(weight)
        share = float(amounts["weight_sample"])
        return x * share + total * (1.0 - share)

    def _whole(self, data, amounts):
        change = lambda layer, a, x: layer._run_eager(x, a)
        if not isinstance(data, dict):
            return self._blended(data, amounts, change)
        return {**data, "images": self._blended(data["images"], amounts, change)}

    def apply(self, x, amounts):
        if "chain_transforms" in amounts:
            return self._blended(x, amounts, lambda layer, a, x: layer.apply(x, a))
        shape, depth = tuple(x.shape), self.chain_depth
        weights = amounts["chain_mixing_weights"]
        changes = [
            lambda y, seed, layer=layer: layer.apply(
                y, layer.draw(Draws(seed) if layer.random else None, shape)
            )
            for layer in self.pool.values()
        ]
        changes.append(lambda y, seed: y)

        def link(carry, step):
            y, total = carry
            number, index, weight = step
            j = number % np.int32(depth)
            y = ops.where(ops.equal(j, np.int32(0)), x, y)
            y = ops.switch(index, changes, y, apart(amounts["seed"], number))
            last = ops.cast(ops.equal(j, np.int32(depth - 1)), "float32")
            return (y, total + y * (weight * last)), number

        steps = (
            np.arange(self.num_chains * depth, dtype=np.int32),
            ops.reshape(amounts["layers"], (-1,)),
            ops.repeat(weights, depth),
        )
        (_, total), _ = ops.scan(link, (x, x * 0.0), steps)
        share = amounts["weight_sample"]
        return x * share + total * (1.0 - share)


class Pipeline(Layer):
    """Layers one after the other, such as a chain of augmentations.

    Args:
        layers: The layers.
        name: Its name.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> chain = layers.Pipeline([layers.Rescaling(2.0), layers.CenterCrop(1, 1)])
    >>> chain(np.ones((3, 3, 1), "float32")).tolist()
    [[[2.0]]]
    """

    def __init__(self, layers, name=None):
        super().__init__(name=name)
        self._pipeline_layers = list(layers)
        for layer in self._pipeline_layers:
            if not isinstance(layer, Layer):
                raise ValueError(f"Pipeline: `layers` must hold layers; got {layer!r}")
        self._convert_input_args = False
        self._allow_non_tensor_positional_args = True

    @property
    def layers(self):
        return self._pipeline_layers

    def call(self, inputs, training=True, mask=None):
        for layer in self._pipeline_layers:
            options = {}
            takes = inspect.signature(layer.call).parameters
            if "training" in takes:
                options["training"] = training
            if "mask" in takes and mask is not None:
                options["mask"] = mask
            inputs = layer(inputs, **options)
        return inputs

    def get_config(self):
        layers = [serialize_keras_object(layer) for layer in self._pipeline_layers]
        return {"layers": layers, "name": self.name}

    @classmethod
    def from_config(cls, config):
        layers = [deserialize_keras_object(layer) for layer in config["layers"]]
        return cls(layers, name=config.get("name"))


Pipeline.compute_output_shape = Layer.compute_output_shape  # of any arguments, as Keras's
