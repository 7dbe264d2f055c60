"""The layers that most models are made of: dense, embedding, and those that wrap a function or move
elements.
"""

from __future__ import annotations

import math

from oneiros import ops
from oneiros.layers.base import InputSpec, Layer, spec_of_inputs
from oneiros.layers.config import plain
from oneiros.layers.fields import Activation as ActivationKind
from oneiros.layers.fields import (
    Constraint,
    DataFormat,
    Initializer,
    Positive,
    Regularizer,
)
from oneiros.layers.weights import LowRank
from oneiros.ops.contractions import affine

__all__ = [
    "Activation", "Dense", "Embedding", "Flatten", "Identity", "Lambda", "Masking", "Permute", "RepeatVector", "Reshape",
    "ReversibleEmbedding",
]  # fmt: skip


class Dense(LowRank, Layer):
    """`activation(x @ kernel + bias)` over the last axis.

    Input shape (..., input_dim), output shape (..., units).

    Args:
        units: Size of the output's last axis.
        lora_rank: If set, the kernel is frozen and a product of two thin matrices is trained beside
            it
            (Hu et al., 2021).
        lora_alpha: Scale of that product, over its rank; `lora_rank` if None.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Dense(3, activation="relu")(np.ones((2, 4), "float32")).shape
    (2, 3)
    """

    units: Positive
    activation: ActivationKind = None
    use_bias: bool = True
    kernel_initializer: Initializer = "glorot_uniform"
    bias_initializer: Initializer = "zeros"
    kernel_regularizer: Regularizer = None
    bias_regularizer: Regularizer = None
    activity_regularizer: Regularizer = None
    kernel_constraint: Constraint = None
    bias_constraint: Constraint = None
    lora_rank: int = None
    lora_alpha: float = None
    quantization_config: object = None

    supports_masking = True
    takes_one = True
    config_when_set = ("lora_rank", "lora_alpha")
    config_without = ("activity_regularizer",)

    def _ready(self):
        self.input_spec = InputSpec(min_ndim=2)

    def build(self, input_shape):
        size = input_shape[-1]
        if size is None:
            raise ValueError(
                f"Dense '{self.name}' needs a known last axis; got the input shape {input_shape}"
            )
        self.weight("kernel", (size, self.units), attribute="_kernel")
        self.bias = None
        if self.use_bias:
            self.weight("bias", (self.units,))
        self.input_spec = InputSpec(min_ndim=2, axes={-1: size})
        self.start_low_rank()

    def call(self, inputs, training=None):
        if self.use_bias:
            return self.activation(affine(inputs, self.kernel, self.bias))
        return self.activation(ops.matmul(inputs, self.kernel))


class Embedding(LowRank, Layer):
    """A vector for each integer.

    Input shape (...), integers in [0, input_dim); output shape (..., output_dim).

    Args:
        input_dim: Number of rows, the largest integer plus one.
        output_dim: Size of a vector.
        mask_zero: Whether 0 marks what later layers shall skip.
        weights: Initial rows.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Embedding(10, 4)(np.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    input_dim: Positive
    output_dim: Positive
    embeddings_initializer: Initializer = "uniform"
    embeddings_regularizer: Regularizer = None
    embeddings_constraint: Constraint = None
    mask_zero: bool = False
    weights: object = None
    lora_rank: int = None
    lora_alpha: float = None
    quantization_config: object = None

    low_rank_of = "embeddings"
    stored = {"weights": "_initial_weights"}
    config_without = ("weights",)
    config_also = ("activity_regularizer",)
    config_when_set = ("lora_rank", "lora_alpha")

    compute_output_spec = spec_of_inputs
    takes_one = True

    def build(self, input_shape=None):
        self.weight("embeddings", (self.input_dim, self.output_dim), attribute="_embeddings")
        if self._initial_weights is not None:
            given = self._initial_weights
            self._embeddings.assign(
                given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given
            )
        self.start_low_rank()

    def call(self, inputs):
        if not str(inputs.dtype).rsplit(".", 1)[-1].startswith(("int", "uint")):
            inputs = ops.cast(inputs, "int32")
        return ops.cast(ops.take(self.embeddings, inputs, axis=0), self.compute_dtype)

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 0) if self.mask_zero else None


class ReversibleEmbedding(Embedding):
    """An embedding that also gives, with `reverse=True`, the likeness of vectors to its rows.

    Input shape (...), integers, to (..., output_dim); reversed (..., output_dim) to
    (..., input_dim).

    Args:
        tie_weights: Whether both ways use the same weights.
        reverse_dtype: The dtype of the reverse way.
        logit_soft_cap: The reverse way's results are kept within this bound, by `tanh`.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layer = layers.ReversibleEmbedding(10, 4)
    >>> layer(layer(np.array([[1, 2, 3]])), reverse=True).shape
    (1, 3, 10)
    """

    fields = {n: Embedding.fields[n] for n in ("input_dim", "output_dim")}
    tie_weights: bool = True
    embeddings_initializer: Initializer = "uniform"
    embeddings_regularizer: Regularizer = None
    embeddings_constraint: Constraint = None
    mask_zero: bool = False
    reverse_dtype: str = None
    logit_soft_cap: float = None
    config_also = (*Embedding.config_also, "quantization_config")
    _initial_weights = lora_rank = None

    def adopt(self, quantization_config=None, **options):
        super().adopt(**options)
        self.quantization_config = quantization_config

    def build(self, input_shape=None):
        super().build(input_shape)
        if not self.tie_weights:
            self.reverse_embeddings = self.add_weight(
                name="reverse_embeddings",
                shape=(self.output_dim, self.input_dim),
                initializer=self.embeddings_initializer,
            )

    def call(self, inputs, reverse=False):
        if not reverse:
            return super().call(inputs)
        kernel = ops.transpose(self.embeddings) if self.tie_weights else self.reverse_embeddings
        if self.reverse_dtype is not None:
            inputs, kernel = (ops.cast(x, self.reverse_dtype) for x in (inputs, kernel))
        logits = ops.matmul(inputs, kernel)
        cap = self.logit_soft_cap  # (..., input_dim)
        return logits if cap is None else cap * ops.tanh(logits / cap)

    def compute_output_spec(self, inputs, reverse=False):
        return Layer.compute_output_spec(self, inputs, reverse=reverse)

    def compute_output_shape(self, input_shape, reverse=False):
        """`(*input_shape[:-1], input_dim)` reversed, else `(*input_shape, output_dim)`."""
        if reverse:
            return (*input_shape[:-1], self.input_dim)
        return (*input_shape, self.output_dim)


class _Function(Layer):
    """A layer without weights that keeps masks."""

    supports_masking = True


class Activation(_Function):
    """An activation function as a layer.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Activation("relu")(np.array([-1.0, 2.0], "float32")).tolist()
    [0.0, 2.0]
    """

    activation: ActivationKind

    def call(self, inputs):
        return self.activation(inputs)


class Identity(_Function):
    """The inputs, unchanged.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Identity()(np.ones(2, "float32")).tolist()
    [1.0, 1.0]
    """

    compute_output_spec = spec_of_inputs

    def call(self, inputs):
        return inputs


class Flatten(Layer):
    """Everything after the batch axis as one axis.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Flatten()(np.ones((2, 3, 4), "float32")).shape
    (2, 12)
    """

    data_format: DataFormat = None

    compute_output_spec = spec_of_inputs
    takes_one = True

    def _ready(self):
        self.input_spec = InputSpec(min_ndim=1)

    def call(self, inputs):
        rank = len(inputs.shape)
        if self.data_format == "channels_first" and rank > 2:
            inputs = ops.transpose(inputs, (0, *range(2, rank), 1))
        return ops.reshape(inputs, (inputs.shape[0], math.prod(inputs.shape[1:])))


class Reshape(_Function):
    """The elements after the batch axis in another shape.

    Args:
        target_shape: The new shape; one size may be -1.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Reshape((2, -1))(np.ones((5, 6), "float32")).shape
    (5, 2, 3)
    """

    target_shape: tuple
    supports_masking = False

    compute_output_spec = spec_of_inputs
    takes_one = True

    def _ready(self):
        shape = (
            (self.target_shape,) if isinstance(self.target_shape, int) else tuple(self.target_shape)
        )
        if sum(n == -1 for n in shape) > 1:
            raise ValueError(
                f"There must be at most one unknown dimension (-1) in target_shape. Received: {shape}."
            )
        self.target_shape = shape

    def call(self, inputs):
        count = math.prod(inputs.shape[1:])
        known = math.prod(n for n in self.target_shape if n != -1)
        if -1 in self.target_shape and known and count % known == 0:
            shape = tuple(count // known if n == -1 else n for n in self.target_shape)
        elif known != count:
            raise ValueError(
                f"The total size of the tensor must be unchanged. Received: input_shape={tuple(inputs.shape)}, "
                f"target_shape={self.target_shape} (layer '{self.name}')"
            )
        else:
            shape = self.target_shape
        return ops.reshape(inputs, (inputs.shape[0], *shape))


class Permute(_Function):
    """The axes after the batch axis in another order.

    Args:
        dims: A permutation of 1 … rank - 1.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Permute((2, 1))(np.ones((5, 6, 7), "float32")).shape
    (5, 7, 6)
    """

    dims: tuple
    supports_masking = False

    compute_output_spec = spec_of_inputs
    takes_one = True

    def _ready(self):
        self.dims = tuple(self.dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must be "
                f"consecutive and start from 1. Received dims={self.dims}"
            )
        self.input_spec = InputSpec(ndim=len(self.dims) + 1)

    def call(self, inputs):
        return ops.transpose(inputs, (0, *self.dims))


class RepeatVector(_Function):
    """Each vector `n` times along a new axis: (batch, size) to (batch, n, size).

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RepeatVector(3)(np.ones((2, 4), "float32")).shape
    (2, 3, 4)
    """

    n: int
    supports_masking = False

    def _ready(self):
        if not isinstance(self.n, int):
            raise TypeError(f"Expected an integer value for `n`, got {type(self.n)}.")
        self.input_spec = InputSpec(ndim=2)

    def call(self, inputs):
        return ops.repeat(ops.expand_dims(inputs, 1), self.n, axis=1)


class Masking(_Function):
    """Marks the steps whose features all equal `mask_value`, so that later layers skip them.

    Input shape (batch, steps, features); marked steps are set to zero.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Masking(mask_value=-1.0)(-np.ones((1, 2, 3), "float32")).shape
    (1, 2, 3)
    """

    mask_value: float = 0.0

    def compute_mask(self, inputs, mask=None):
        return ops.any(ops.not_equal(inputs, self.mask_value), axis=-1)

    def call(self, inputs):
        kept = ops.any(ops.not_equal(inputs, self.mask_value), axis=-1, keepdims=True)
        return inputs * ops.cast(kept, inputs.dtype)


class Lambda(Layer):
    """A function as a layer.

    Files hold it only if the function is registered (`saving.register_keras_serializable`).

    Args:
        function: Takes the inputs, and `mask` and `training` if it has such arguments.
        output_shape: Shape of an output without the batch axis, or a function of the input shape;
            found by
            running the function if None.
        mask: The output's mask, or a function of (inputs, mask).
        arguments: Further keyword arguments of the function.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.Lambda(lambda x: x * 2)(np.ones(2, "float32")).tolist()
    [2.0, 2.0]
    """

    function: object
    output_shape: object = None
    mask: object = None
    arguments: dict = None
    supports_masking = True
    _allow_non_tensor_positional_args = True

    def _ready(self):
        import inspect

        if not callable(self.function):
            raise TypeError(f"Lambda: function must be callable; got {self.function!r}")
        self.arguments = self.arguments or {}
        try:
            self._takes = set(inspect.signature(self.function).parameters)
        except (TypeError, ValueError):
            self._takes = set()
        if self.mask is not None:
            self.supports_masking = True

    def call(self, inputs, mask=None, training=None):
        kwargs = dict(self.arguments)
        if "mask" in self._takes:
            kwargs["mask"] = mask
        if "training" in self._takes:
            kwargs["training"] = training
        return self.function(inputs, **kwargs)

    def compute_output_shape(self, input_shape):
        if self.output_shape is None:
            return super().compute_output_shape(input_shape)
        if callable(self.output_shape):
            return self.output_shape(input_shape)
        batch = (
            input_shape[0] if not isinstance(input_shape[0], (list, tuple)) else input_shape[0][0]
        )
        return (batch, *tuple(self.output_shape))

    def _declared_outputs(self, plan, args, kwargs, values):
        if self.output_shape is None:
            return None
        return super()._declared_outputs(plan, args, kwargs, values)

    def compute_mask(self, inputs, mask=None):
        return self.mask(inputs, mask) if callable(self.mask) else self.mask

    def get_config(self):
        config = super().get_config()
        for name in ("function", "output_shape", "mask"):
            config[name] = (
                plain(getattr(self, name)) if callable(getattr(self, name)) else getattr(self, name)
            )
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None, safe_mode=None):
        from oneiros.core.registry import deserialize_keras_object

        config = dict(config)
        for name in ("function", "output_shape", "mask"):
            if isinstance(config.get(name), dict):
                config[name] = deserialize_keras_object(config[name], custom_objects=custom_objects)
        if isinstance(config.get("output_shape"), list):
            config["output_shape"] = tuple(config["output_shape"])
        return super().from_config(config)
