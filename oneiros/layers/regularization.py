"""Layers that make training harder for the better: dropout, noise, penalties."""

from __future__ import annotations

import math

from oneiros import ops, random
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.fields import DataFormat, Rate, Seed

__all__ = [
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D",
    "SpatialDropout2D", "SpatialDropout3D",
]  # fmt: skip


class _Noise(Layer):
    """A layer that acts in training only, with a seed generator of its own."""

    supports_masking = True

    def call(self, inputs, training=False):
        return self.disturb(inputs) if training else inputs


class Dropout(_Noise):
    """Some elements set to zero in training, the others scaled up to keep the mean (Srivastava et
    al., 2014).

    Args:
        rate: The share that is dropped.
        noise_shape: Shape of the mask; sizes of one, or None for the input's own.
        seed: Seed of the noise.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Dropout(0.5)(np.ones(3, "float32")).tolist()
    [1.0, 1.0, 1.0]
    """

    rate: Rate
    noise_shape: tuple = None
    seed: Seed = None

    def call(self, inputs, training=False):
        if training and self.rate > 0:
            return random.dropout(
                inputs, self.rate, noise_shape=self.noise(inputs), seed=self.seed_generator
            )
        return inputs

    def noise(self, inputs):
        """The mask's shape, or None for the inputs' own."""
        if self.noise_shape is None:
            return None
        if len(self.noise_shape) != len(inputs.shape):
            raise ValueError(
                f"Dropout '{self.name}': noise_shape {tuple(self.noise_shape)} must have as many sizes as the input "
                f"{tuple(inputs.shape)} has axes"
            )
        return tuple(n if m is None else m for n, m in zip(inputs.shape, self.noise_shape))


class SpatialDropout(Dropout):
    """Dropout of whole channels (Tompson et al., 2015)."""

    noise_shape = None
    data_format = "channels_last"

    def _ready(self):
        self.input_spec = InputSpec(ndim=self.rank + 2)

    def noise(self, inputs):
        ones = (1,) * self.rank
        if self.data_format == "channels_last":
            return (inputs.shape[0], *ones, inputs.shape[-1])
        return (*inputs.shape[:2], *ones)

    def get_config(self):
        config = {"rate": self.rate, "seed": self.seed, "name": self.name, "dtype": self.dtype}
        return config if self.rank == 1 else {**config, "data_format": self.data_format}


class SpatialDropout1D(SpatialDropout, rank=1):
    """Dropout of whole channels of a sequence (batch, steps, channels).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SpatialDropout1D(0.5)(np.ones((1, 2, 3), "float32")).shape
    (1, 2, 3)
    """

    def __init__(self, rate, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self._ready()


class SpatialDropout2D(SpatialDropout, rank=2):
    """Dropout of whole channels of an image.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SpatialDropout2D(0.5)(np.ones((1, 2, 2, 3), "float32")).shape
    (1, 2, 2, 3)
    """

    def __init__(self, rate, data_format=None, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = DataFormat.convert(data_format, self, "data_format")


class SpatialDropout3D(SpatialDropout, rank=3):
    """Dropout of whole channels of a volume.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.SpatialDropout3D(0.5)(np.ones((1, 2, 2, 2, 3), "float32")).shape
    (1, 2, 2, 2, 3)
    """

    def __init__(self, rate, data_format=None, seed=None, name=None, dtype=None):
        super().__init__(rate, seed=seed, name=name, dtype=dtype)
        self.data_format = DataFormat.convert(data_format, self, "data_format")


class GaussianNoise(_Noise):
    """Normal noise added in training.

    Args:
        stddev: Its standard deviation.
        seed: Seed of the noise.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.GaussianNoise(0.1)(np.ones(2, "float32")).tolist()
    [1.0, 1.0]
    """

    stddev: Rate
    seed: Seed = None

    def disturb(self, x):
        return x + random.normal(
            tuple(x.shape), 0.0, self.stddev, dtype=self.compute_dtype, seed=self.seed_generator
        )


class GaussianDropout(_Noise):
    """Multiplication by normal noise around one in training (Srivastava et al., 2014).

    Args:
        rate: As in dropout: the noise's variance is rate / (1 - rate).
        seed: Seed of the noise.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.GaussianDropout(0.5)(np.ones(2, "float32")).tolist()
    [1.0, 1.0]
    """

    rate: Rate
    seed: Seed = None

    def disturb(self, x):
        spread = math.sqrt(self.rate / (1.0 - self.rate)) if self.rate < 1 else math.inf
        return x * random.normal(
            tuple(x.shape), 1.0, spread, dtype=self.compute_dtype, seed=self.seed_generator
        )


class AlphaDropout(_Noise):
    """Dropout that keeps mean and variance after SELU (Klambauer et al., 2017).

    Args:
        rate: The share that is dropped.
        noise_shape: Shape of the mask.
        seed: Seed of the noise.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.AlphaDropout(0.5)(np.ones(2, "float32")).tolist()
    [1.0, 1.0]
    """

    rate: Rate
    noise_shape: tuple = None
    seed: Seed = None

    noise = Dropout.noise

    def disturb(self, x):
        if not self.rate:
            return x
        low = -1.7580993408473766  # -scale * alpha of SELU
        kept = 1.0 - self.rate
        factor = (kept * (1.0 + self.rate * low**2)) ** -0.5
        shape = self.noise(x) or tuple(x.shape)
        keep = ops.greater_equal(
            random.uniform(shape, dtype="float32", seed=self.seed_generator), self.rate
        )
        keep = ops.cast(keep, x.dtype)
        return factor * (x * keep + low * (1.0 - keep)) - factor * low * self.rate


class ActivityRegularization(Layer):
    """The inputs, unchanged, with a penalty on their size.

    Args:
        l1: Factor of the sum of absolute values.
        l2: Factor of the sum of squares.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.ActivityRegularization(l1=0.1)(np.ones(2, "float32")).tolist()
    [1.0, 1.0]
    """

    l1: float = 0.0
    l2: float = 0.0
    supports_masking = True

    def _ready(self):
        from oneiros import regularizers

        self.activity_regularizer = regularizers.L1L2(l1=self.l1, l2=self.l2)

    def call(self, inputs):
        return inputs
