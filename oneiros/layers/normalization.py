"""Layers that shift and scale: by the batch, by the sample, by groups, by statistics of the data."""

from __future__ import annotations

import numpy as np

from oneiros import ops
from oneiros.core import config
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.data_layer import DataLayer
from oneiros.layers.fields import Constraint, Initializer, Regularizer
from oneiros.ops.nn import batch_normalized

__all__ = [
    "BatchNormalization", "GroupNormalization", "LayerNormalization", "Normalization", "RMSNormalization",
    "UnitNormalization",
]  # fmt: skip


class Axes:
    """An axis or several: stored as an int or a list."""

    @staticmethod
    def convert(value, layer, name):
        if isinstance(value, (list, tuple)):
            return list(value)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise TypeError(
                f"Expected an int or a list/tuple of ints for the argument '{name}', but received: {value!r} "
                f"({type(layer).__name__})"
            )
        return int(value)

    plain = staticmethod(lambda value: value)


def _positive(axes, rank, layer):
    """`axes` as a list of non-negative ones."""
    axes = [axes] if isinstance(axes, int) else list(axes)
    for a in axes:
        if not -rank <= a < rank:
            raise ValueError(
                f"{type(layer).__name__} '{layer.name}': axis {a} is not among the {rank} axes of the input"
            )
    return [a % rank for a in axes]


class BatchNormalization(Layer):
    """Each channel shifted and scaled to mean 0 and variance 1 (Ioffe & Szegedy, 2015), then by
    learned numbers.

    Training uses the batch's statistics and moves running averages towards them; inference, and a
    layer with
    `trainable=False`, use the averages.

    Args:
        axis: The axis of the channels.
        momentum: Share of the running averages that is kept at each step.
        epsilon: Added to the variance.
        center: Whether a learned `beta` is added.
        scale: Whether a learned `gamma` is multiplied.
        renorm: Batch renormalization (Ioffe, 2017), with `renorm_clipping` and `renorm_momentum`.
        synchronized: Whether replicas share statistics.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.BatchNormalization()(np.ones((2, 3), "float32")).shape
    (2, 3)
    """

    axis: int = -1
    momentum: float = 0.99
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = "zeros"
    gamma_initializer: Initializer = "ones"
    moving_mean_initializer: Initializer = "zeros"
    moving_variance_initializer: Initializer = "ones"
    beta_regularizer: Regularizer = None
    gamma_regularizer: Regularizer = None
    beta_constraint: Constraint = None
    gamma_constraint: Constraint = None
    renorm: bool = False
    renorm_clipping: dict = None
    renorm_momentum: float = 0.99
    synchronized: bool = False

    supports_masking = True
    takes_one = True

    def _ready(self):
        self.axis = int(self.axis)
        if self.renorm_clipping is not None:
            unknown = set(self.renorm_clipping) - {"rmax", "rmin", "dmax"}
            if unknown:
                raise ValueError(
                    f"Received invalid keys for `renorm_clipping` argument: {unknown}. Supported keys are rmax, rmin, dmax"
                )

    def build(self, input_shape):
        (axis,) = _positive(self.axis, len(input_shape), self)
        size = input_shape[axis]
        if size is None:
            raise ValueError(
                f"BatchNormalization '{self.name}' needs a known size of axis {self.axis}; got {tuple(input_shape)}"
            )
        self.gamma = self.weight("gamma", (size,)) if self.scale else None
        self.beta = self.weight("beta", (size,)) if self.center else None
        for name in ("moving_mean", "moving_variance"):
            self.weight(name, (size,), trainable=False, autocast=False)
        if self.renorm:
            for name, start in (("renorm_mean", "zeros"), ("renorm_stddev", "ones")):
                self.weight(name, (size,), trainable=False, autocast=False, initializer=start)
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: size})

    def call(self, inputs, training=None, mask=None):
        if mask is not None and len(mask.shape) not in (len(inputs.shape) - 1, 1, 2):
            raise ValueError(
                f"The mask should be one dimension less than the inputs. Received: mask.shape={mask.shape}, "
                f"inputs.shape={inputs.shape}"
            )
        rank = len(inputs.shape)
        (axis,) = _positive(self.axis, rank, self)
        dtype = (
            config.floatx() if self.compute_dtype in ("float16", "bfloat16") else self.compute_dtype
        )
        x = ops.cast(inputs, dtype)
        read = lambda v: None if v is None else ops.cast(v, dtype)
        gamma, beta = read(self.gamma), read(self.beta)
        if training and self.trainable:
            whole = mask is None and not self.renorm and not self.synchronized
            if whole:
                y, mean, variance = batch_normalized(x, gamma, beta, axis, self.epsilon)
            else:
                mean, variance = self._statistics(x, mask, axis)
            shift, spread = ops.stop_gradient(mean), ops.stop_gradient(variance)
            if self.renorm:
                gamma, beta = self._corrected(mean, variance, gamma, beta, dtype)
            for moving, now in ((self.moving_mean, shift), (self.moving_variance, spread)):
                moving.assign(
                    moving * self.momentum + ops.cast(now, moving.dtype) * (1.0 - self.momentum)
                )
        else:
            mean, variance, whole = read(self.moving_mean), read(self.moving_variance), False
        if not whole:
            y = ops.batch_normalization(
                x, mean, variance, axis=axis, offset=beta, scale=gamma, epsilon=self.epsilon
            )
        return ops.cast(y, self.compute_dtype)

    def _statistics(self, x, mask, axis):
        """Mean and variance over all axes but the channels', without what the mask skips."""
        axes = tuple(i for i in range(len(x.shape)) if i != axis)
        if mask is None:
            return ops.moments(x, axes=axes, synchronized=self.synchronized)
        kept = ops.cast(mask, x.dtype)
        kept = ops.reshape(kept, (*mask.shape, *(1,) * (len(x.shape) - len(mask.shape))))
        kept = ops.broadcast_to(kept, tuple(1 if i == axis else n for i, n in enumerate(x.shape)))
        count = ops.sum(kept, axis=axes) + config.epsilon()
        mean = ops.sum(x * kept, axis=axes) / count
        centred = x - ops.reshape(mean, tuple(n if i == axis else 1 for i, n in enumerate(x.shape)))
        return mean, ops.sum(kept * ops.square(centred), axis=axes) / count

    def _corrected(self, mean, variance, gamma, beta, dtype):
        """Scale and offset with the corrections of batch renormalization folded in."""
        clip = self.renorm_clipping or {}
        spread = ops.sqrt(variance + self.epsilon)
        known_mean, known_spread = (
            ops.cast(self.renorm_mean, dtype),
            ops.cast(self.renorm_stddev, dtype),
        )
        r, d = (
            ops.stop_gradient(spread / known_spread),
            ops.stop_gradient((mean - known_mean) / known_spread),
        )
        if "rmin" in clip:
            r = ops.maximum(r, clip["rmin"])
        if "rmax" in clip:
            r = ops.minimum(r, clip["rmax"])
        if "dmax" in clip:
            d = ops.clip(d, -clip["dmax"], clip["dmax"])
        for known, now in ((self.renorm_mean, mean), (self.renorm_stddev, spread)):
            now = ops.cast(ops.stop_gradient(now), known.dtype)
            known.assign(known * self.renorm_momentum + now * (1.0 - self.renorm_momentum))
        factor = r if gamma is None else r * gamma
        offset = d if gamma is None else d * gamma
        return factor, offset if beta is None else offset + beta


class LayerNormalization(Layer):
    """Each sample shifted and scaled to mean 0 and variance 1 over `axis` (Ba et al., 2016), then
    by learned numbers.

    Args:
        axis: The axis or axes of the features.
        epsilon: Added to the variance.
        center: Whether a learned `beta` is added.
        scale: Whether a learned `gamma` is multiplied.
        rms_scaling: Deprecated, by keyword only: nothing is subtracted, and `beta` is not added.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.LayerNormalization()(np.array([[0.0, 2.0]], "float32")).shape
    (1, 2)
    """

    axis: Axes = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = "zeros"
    gamma_initializer: Initializer = "ones"
    beta_regularizer: Regularizer = None
    gamma_regularizer: Regularizer = None
    beta_constraint: Constraint = None
    gamma_constraint: Constraint = None
    rms_scaling: bool = False

    supports_masking = True
    takes_one = True
    config_also = hidden = ("rms_scaling",)

    def build(self, input_shape):
        axes = _positive(self.axis, len(input_shape), self)
        self.axis = axes if isinstance(self.axis, list) else self.axis
        shape = tuple(input_shape[a] for a in sorted(axes))
        if None in shape:
            raise ValueError(
                f"{type(self).__name__} '{self.name}' needs known sizes of axes {axes}; got {tuple(input_shape)}"
            )
        scaled = self.scale or self.rms_scaling
        self.gamma = self.weight("gamma", shape, autocast=False) if scaled else None
        centred = self.center and not self.rms_scaling
        self.beta = self.weight("beta", shape, autocast=False) if centred else None

    def call(self, inputs):
        options = {"rms_scaling": True} if self.rms_scaling else {}
        y = ops.layer_normalization(
            inputs, self.gamma, self.beta, axis=self.axis, epsilon=self.epsilon, **options
        )
        return ops.cast(y, self.compute_dtype)


class RMSNormalization(Layer):
    """Each sample divided by its root mean square over `axis` (Zhang & Sennrich, 2019), times a
    learned scale.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.RMSNormalization()(np.array([[3.0, 4.0]], "float32")).shape
    (1, 2)
    """

    axis: int = -1
    epsilon: float = 1e-6

    supports_masking = True
    takes_one = True

    def build(self, input_shape):
        axes = _positive(self.axis, len(input_shape), self)
        self.scale = self.add_weight(
            tuple(input_shape[a] for a in axes), "ones", autocast=False, name="scale"
        )

    def call(self, x):
        return ops.cast(
            ops.rms_normalization(x, self.scale, axis=self.axis, epsilon=self.epsilon),
            self.compute_dtype,
        )


class GroupNormalization(Layer):
    """Groups of channels of each sample shifted and scaled to mean 0 and variance 1 (Wu & He,
    2018).

    Args:
        groups: Number of groups; -1 for one per channel (instance normalization).
        axis: The axis of the channels.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.GroupNormalization(groups=2)(np.ones((1, 3, 4), "float32")).shape
    (1, 3, 4)
    """

    groups: int = 32
    axis: int = -1
    epsilon: float = 1e-3
    center: bool = True
    scale: bool = True
    beta_initializer: Initializer = "zeros"
    gamma_initializer: Initializer = "ones"
    beta_regularizer: Regularizer = None
    gamma_regularizer: Regularizer = None
    beta_constraint: Constraint = None
    gamma_constraint: Constraint = None

    supports_masking = True
    takes_one = True

    def build(self, input_shape):
        (axis,) = _positive(self.axis, len(input_shape), self)
        size = input_shape[axis]
        if size is None:
            raise ValueError(
                f"GroupNormalization '{self.name}' needs a known size of axis {self.axis}; got {tuple(input_shape)}"
            )
        if self.groups == -1:
            self.groups = size
        if size < self.groups or size % self.groups:
            raise ValueError(
                f"Number of groups ({self.groups}) must divide the number of channels ({size}) and not exceed it "
                f"(layer '{self.name}')"
            )
        self.gamma = self.weight("gamma", (size,)) if self.scale else None
        self.beta = self.weight("beta", (size,)) if self.center else None
        self.input_spec = InputSpec(ndim=len(input_shape), axes={axis: size})

    def call(self, inputs):
        (axis,) = _positive(self.axis, len(inputs.shape), self)
        shape = tuple(inputs.shape)
        size = shape[axis] // self.groups
        x = ops.reshape(inputs, (*shape[:axis], self.groups, size, *shape[axis + 1 :]))
        x = ops.cast(x, "float32") if self.compute_dtype in ("float16", "bfloat16") else x
        axes = tuple(i for i in range(1, len(x.shape)) if i != axis)
        mean, variance = ops.moments(x, axes=axes, keepdims=True)
        x = ops.reshape((x - mean) * ops.rsqrt(variance + self.epsilon), shape)
        wide = tuple(n if i == axis else 1 for i, n in enumerate(shape))
        if self.gamma is not None:
            x = x * ops.cast(ops.reshape(self.gamma, wide), x.dtype)
        if self.beta is not None:
            x = x + ops.cast(ops.reshape(self.beta, wide), x.dtype)
        return ops.cast(x, self.compute_dtype)


class UnitNormalization(Layer):
    """Vectors along `axis` scaled to length one.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layers.UnitNormalization()(np.array([[3.0, 4.0]], "float32")).shape
    (1, 2)
    """

    axis: Axes = -1
    supports_masking = True
    takes_one = True

    def call(self, inputs):
        axes = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        return ops.normalize(inputs, axis=axes, order=2, epsilon=1e-12)


class Normalization(DataLayer):
    """Features shifted and scaled by the mean and variance of the data: given, or found by `adapt`.

    Args:
        axis: Axes that keep statistics of their own; None for one mean and variance of everything.
        mean: The mean, if known.
        variance: The variance, if known.
        invert: Whether to undo the normalization instead.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> layer = layers.Normalization(axis=None)
    >>> layer.adapt(np.array([1.0, 3.0]))
    >>> layer(np.array([1.0, 3.0])).tolist()
    [-1.0, 1.0]
    """

    axis: object = -1
    mean: object = None
    variance: object = None
    invert: bool = False

    stored = {"mean": "input_mean", "variance": "input_variance"}

    def _ready(self):
        axis = self.axis
        self.axis = (
            () if axis is None else tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
        )
        if (self.input_mean is None) != (self.input_variance is None):
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. Received: "
                f"mean={self.input_mean} and variance={self.input_variance}"
            )
        self._is_adapted = False

    def build(self, input_shape):
        rank = len(input_shape)
        self._keep_axis = tuple(sorted(_positive(self.axis, rank, self)))
        for a in self._keep_axis:
            if input_shape[a] is None:
                raise ValueError(
                    f"All `axis` values to be kept must have a known shape. Received axis={self.axis}, "
                    f"inputs.shape={tuple(input_shape)}, with unknown axis at index {a}"
                )
        self._reduce_axis = tuple(i for i in range(rank) if i not in self._keep_axis)
        kept = tuple(input_shape[a] for a in self._keep_axis)
        self._wide = tuple(input_shape[i] if i in self._keep_axis else 1 for i in range(rank))
        if self.input_mean is None:
            self.adapt_mean = self.add_weight(kept, "zeros", trainable=False, name="mean")
            self.adapt_variance = self.add_weight(kept, "ones", trainable=False, name="variance")
            self.count = self.add_weight(
                (),
                "zeros",
                dtype="int64" if config.floatx() == "float64" else "int32",
                trainable=False,
                name="count",
            )
            self.finalize_state()
        else:
            for name, value in (("mean", self.input_mean), ("variance", self.input_variance)):
                value = np.broadcast_to(
                    np.asarray(value, "float32").reshape(np.shape(value)), kept or np.shape(value)
                )
                setattr(
                    self,
                    f"_{name}",
                    value.reshape(self._wide) if value.size == int(np.prod(self._wide)) else value,
                )

    def adapt(self, data):
        """Take mean and variance from `data`: an array, or an iterable of batches."""
        arrays = [data] if hasattr(data, "shape") or isinstance(data, (list, tuple)) else data
        count, mean, variance = 0, 0.0, 0.0
        for batch in arrays:
            batch = (
                batch[0]
                if isinstance(batch, (tuple, list)) and hasattr(batch[0], "shape")
                else batch
            )
            batch = (
                np.asarray(batch, "float64")
                if not hasattr(batch, "numpy")
                else np.asarray(batch.numpy(), "float64")
            )
            if not self.built:
                self.build((None, *batch.shape[1:]) if batch.ndim else batch.shape)
            if self.input_mean is not None:
                raise ValueError(
                    "Cannot `adapt()` a Normalization layer that was initialized with static `mean` and `variance`"
                )
            axes = tuple(a for a in self._reduce_axis if a < batch.ndim)
            n = int(np.prod([batch.shape[a] for a in axes]))
            if not n:
                continue
            own_mean, own_variance = batch.mean(axes), batch.var(axes)
            total = count + n  # Chan et al. (1979): the statistics of two parts together
            shift = own_mean - mean
            variance = (
                variance * count + own_variance * n
            ) / total + shift**2 * count * n / total**2
            mean, count = mean + shift * n / total, total
        if not count:
            raise ValueError(f"Normalization '{self.name}': `adapt` was given no data")
        self.adapt_mean.assign(np.asarray(mean, "float32"))
        self.adapt_variance.assign(np.asarray(variance, "float32"))
        self.count.assign(np.asarray(count))
        self._is_adapted = True
        self.finalize_state()

    def finalize_state(self):
        """Make `mean` and `variance` of what was adapted or loaded."""
        if self.input_mean is None and self.built or hasattr(self, "adapt_mean"):
            self._mean = self.adapt_mean.numpy().reshape(self._wide)
            self._variance = self.adapt_variance.numpy().reshape(self._wide)

    def call(self, inputs):
        x = ops.cast(inputs, self.compute_dtype)
        mean, variance = (np.asarray(v, "float32") for v in (self._mean, self._variance))
        spread = np.maximum(np.sqrt(variance), config.epsilon())
        mean, spread = ops.cast(mean, self.compute_dtype), ops.cast(spread, self.compute_dtype)
        return x * spread + mean if self.invert else (x - mean) / spread

    def load_own_variables(self, store):
        super().load_own_variables(store)
        self._is_adapted = True
        self.finalize_state()

    def get_config(self):
        config_ = super().get_config()
        plain = lambda v: None if v is None else np.asarray(v).tolist()
        config_.update(
            axis=self.axis or None, mean=plain(self.input_mean), variance=plain(self.input_variance)
        )
        return config_


def _statistic(name):
    """The statistic in use: what was given, adapted or loaded."""
    return property(lambda self: self.__dict__.get(f"_{name}", self.__dict__.get(f"input_{name}")))


Normalization.mean, Normalization.variance = _statistic("mean"), _statistic("variance")
