"""Initializers: the first values of weights, made on the host and the same on every backend.

An initializer defines `values(shape, dtype)` in NumPy. `host` checks its arguments, calls it and
casts; calling the initializer hands the result to the session's backend. Random ones draw from
Philox: the same seed and shape give the same values, every time.
"""

import math
import operator
import os

import numpy as np

from oneiros.core import lookup, seeding
from oneiros.core.configurable import Configurable
from oneiros.core.dtypes import np_dtype, standardize_dtype
from oneiros.core.fields import Number, OneOf

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "IdentityInitializer",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "OrthogonalInitializer",
    "RandomInitializer",
    "RandomNormal",
    "RandomUniform",
    "STFT",
    "STFTInitializer",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "deserialize",
    "get",
    "host_values",
    "serialize",
    "constant",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "stft",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]


class Initializer(Configurable):
    """Base of all initializers: a callable from a shape and a dtype to an array.

    A subclass defines `values(shape, dtype)`, in NumPy, or, as in Keras, `__call__(shape, dtype)`.

    >>> class Halves(Initializer):
    ...     def values(self, shape, dtype):
    ...         return np.full(shape, 0.5, dtype)
    >>> Halves().host((2,), "float32")
    array([0.5, 0.5], dtype=float32)
    """

    def __call__(self, shape, dtype=None):
        """An array of `shape` and `dtype` (by default `floatx()`) on the session's backend."""
        from oneiros.core.backend import to_array

        return to_array(self.host(shape, dtype))

    def host(self, shape, dtype=None):
        """The same values as a NumPy array.

        Raises:
            ValueError: if `shape` is not of whole numbers from 0 or `dtype` not of numbers.
        """
        shape, dtype = _checked_shape(shape, self), _checked_dtype(dtype, self)
        return self.values(shape, dtype).astype(dtype, copy=False)

    def values(self, shape, dtype):
        """A NumPy array of `shape`; `dtype` is NumPy's, and what the values will be cast to."""
        if type(self).__call__ is Initializer.__call__:
            raise NotImplementedError(
                f"{type(self).__name__} must define `values(shape, dtype)` or "
                "`__call__(shape, dtype=None)`"
            )
        return _to_numpy(self(shape, dtype=dtype.name))

    def clone(self):
        """Another initializer of the same config; if unseeded, its values differ."""
        return self.from_config(self.get_config())


def host_values(initializer, shape, dtype=None):
    """What `initializer`, of this room or any callable `(shape, dtype=...)`, gives, in NumPy.

    >>> host_values(lambda shape, dtype: np.ones(shape, dtype), (2,), "float32")
    array([1., 1.], dtype=float32)
    """
    if isinstance(initializer, Initializer):
        return initializer.host(shape, dtype)
    return _to_numpy(initializer(shape, dtype=standardize_dtype(dtype)))


# Fields -------------------------------------------------------------------------------------------


class Seed:
    """A field that takes a seed; what was given stays in `given_seed`, for the config."""

    @staticmethod
    def convert(value, owner, name):
        value = _deserialized(value)
        if not (value is None or isinstance(value, (int, np.integer)) or hasattr(value, "next")):
            raise ValueError(
                f"{type(owner).__name__}: `{name}` must be a whole number, a SeedGenerator or "
                f"None; got {value!r}"
            )
        value = int(value) if isinstance(value, np.integer) else value
        owner.given_seed = value
        return seeding.fresh_seed() if value is None else value


class Window:
    """A field that takes a window: a name, an array or None."""

    # Weights of the cosines that add up to a window, the odd ones with a minus.
    COSINES = {
        "boxcar": (1.0,),
        "hann": (0.5, 0.5),
        "hamming": (0.54, 0.46),
        "blackman": (0.42, 0.5, 0.08),
    }

    @classmethod
    def convert(cls, value, owner, name):
        if isinstance(value, str):
            cls.sampled(value, 8, False)
        return value

    @classmethod
    def sampled(cls, window, length, periodic):
        """`length` values of `window`."""
        if not isinstance(window, str):
            values = _to_numpy(window).astype("float64")
            if values.shape != (length,):
                raise ValueError(
                    f"STFT: `window` must have the shape ({length},), a frame's; got {values.shape}"
                )
            return values
        if window in cls.COSINES:
            phase = 2 * math.pi * np.arange(length) / max(length if periodic else length - 1, 1)
            terms = enumerate(cls.COSINES[window])
            return sum((-1) ** k * weight * np.cos(k * phase) for k, weight in terms)
        try:
            from scipy.signal import get_window

            return get_window(window, length, fftbins=periodic)
        except (ImportError, ValueError):
            raise ValueError(
                f"STFT: `window` must be one of {', '.join(map(repr, cls.COSINES))}, a name that "
                f"scipy.signal.get_window knows, an array or None; got {window!r}"
            ) from None


Positive = Number(above=0)
Side = OneOf("real", "imag")
Scaling = OneOf("density", "spectrum", None)
Mode = OneOf("fan_in", "fan_out", "fan_avg")
Distribution = OneOf("truncated_normal", "untruncated_normal", "uniform", normal="truncated_normal")


# Constants ----------------------------------------------------------------------------------------


class Zeros(Initializer):
    """All zero.

    >>> Zeros().host((2, 2))
    array([[0., 0.],
           [0., 0.]], dtype=float32)
    """

    def values(self, shape, dtype):
        return np.zeros(shape, dtype)


class Ones(Initializer):
    """All one.

    >>> Ones().host((3,), "int32")
    array([1, 1, 1], dtype=int32)
    """

    def values(self, shape, dtype):
        return np.ones(shape, dtype)


class Constant(Initializer):
    """All `value`, a number or an array that broadcasts to the shape.

    >>> Constant([1, 2]).host((2, 2))
    array([[1., 2.],
           [1., 2.]], dtype=float32)

    Raises:
        ValueError: if `value` does not broadcast to the shape asked for.
    """

    value: float = 0.0

    def values(self, shape, dtype):
        value = _to_numpy(self.value)
        try:
            value = np.broadcast_to(value, shape)
        except ValueError:
            raise ValueError(
                f"Constant: `value` of shape {value.shape} does not broadcast to {shape}"
            ) from None
        return value.astype(dtype)

    def get_config(self):
        value = self.value
        if not isinstance(value, (bool, int, float, complex)):
            from oneiros.core.registry import serialize_keras_object

            value = serialize_keras_object(value)
        return {"value": value}

    @classmethod
    def from_config(cls, config):
        return cls(_deserialized(config.get("value", 0.0)))


class Identity(Initializer):
    """The identity matrix times `gain`; a matrix that is not square is filled up with zeros.

    >>> Identity(2.0).host((2, 3))
    array([[2., 0., 0.],
           [0., 2., 0.]], dtype=float32)

    Raises:
        ValueError: if the shape asked for has not two axes.
    """

    gain: float = 1.0

    def values(self, shape, dtype):
        if len(shape) != 2:
            raise ValueError(f"{type(self).__name__} needs a shape of two axes; got {shape}")
        return self.gain * np.eye(*shape, dtype=dtype)

    def get_config(self):
        # Keras leaves `gain` out, and so loses it; it reads it where it is.
        return {} if self.gain == 1.0 else {"gain": self.gain}


class STFT(Initializer):
    """A kernel with which a 1D convolution computes one part of a short-time Fourier transform.

    The shape is (frame length, 1, frequencies), for a transform over 2 * (frequencies - 1) samples.

    Args:
        side: `"real"` or `"imag"`.
        window: A window's name (`"hann"`, `"hamming"`, `"blackman"`, `"boxcar"`; with SciPy any
        that
            it has), an array of the frame's length, or None, for none.
        scaling: `"density"`, `"spectrum"` or None: what the window is divided by, the root of its
            sum of squares, its sum, or nothing.
        periodic: Whether the window is periodic rather than symmetric.

    >>> STFT(window=None).host((4, 1, 3)).round().reshape(4, 3) + 0.0
    array([[ 1.,  1.,  1.],
           [ 1.,  0., -1.],
           [ 1., -1.,  1.],
           [ 1.,  0., -1.]], dtype=float32)

    Raises:
        ValueError: if an argument is none of these, or the shape asked for has not three axes.
    """

    side: Side = "real"
    window: Window = "hann"
    scaling: Scaling = "density"
    periodic: bool = False

    def values(self, shape, dtype):
        if len(shape) != 3:
            raise ValueError(
                f"STFT needs a shape (frame length, 1, frequencies) of three axes; got {shape}"
            )
        length, _, frequencies = shape
        samples = max(2 * (frequencies - 1), 1)
        angle = 2 * math.pi / samples * np.outer(np.arange(length), np.arange(frequencies))
        kernel = np.cos(angle) if self.side == "real" else -np.sin(angle)
        if self.window is not None:
            window = Window.sampled(self.window, length, self.periodic)
            scale = {"density": np.sqrt(np.sum(window**2)), "spectrum": np.sum(window), None: 1.0}
            kernel *= window[:, None] / scale[self.scaling]
        return kernel[:, None, :]


# Random -------------------------------------------------------------------------------------------


class RandomInitializer(Initializer):
    """Base of the random initializers.

    Their `seed` is a whole number, for the same values at each call; a `SeedGenerator`, for new
    ones each time; or None, for a seed drawn from the process-wide source when the initializer is
    made.

    >>> first, second = RandomNormal(seed=1), RandomNormal(seed=1)
    >>> bool((first.host((3,)) == second.host((3,))).all())
    True
    """

    @property
    def can_wait(self):
        """Whether the values are the same whenever they are drawn, and cannot be refused."""
        return type(self).__module__ == __name__ and not hasattr(self.seed, "next")

    def generator(self):
        """A NumPy generator in the state that the seed gives."""
        if hasattr(self.seed, "next"):
            return seeding.generator([int(n) for n in _to_numpy(self.seed.next()).ravel()])
        return seeding.generator(self.seed)

    def get_config(self):
        seed = self.given_seed
        if hasattr(seed, "next"):
            from oneiros.core.registry import serialize_keras_object

            seed = serialize_keras_object(seed)
        return {**super().get_config(), "seed": seed}


class RandomNormal(RandomInitializer):
    """Normally distributed.

    >>> bool(abs(RandomNormal(stddev=2.0, seed=1).host((100, 100)).std() - 2.0) < 0.1)
    True
    """

    mean: float = 0.0
    stddev: float = 0.05
    seed: Seed = None

    def values(self, shape, dtype):
        return _drawn(self.generator(), shape, dtype, _normal, self.stddev, self.mean)


class TruncatedNormal(RandomInitializer):
    """Normally distributed, without what lies further than two `stddev` from `mean`.

    >>> bool(abs(TruncatedNormal(stddev=1.0, seed=1).host((100, 100))).max() <= 2.0)
    True
    """

    mean: float = 0.0
    stddev: float = 0.05
    seed: Seed = None

    def values(self, shape, dtype):
        return _drawn(self.generator(), shape, dtype, _truncated_normal, self.stddev, self.mean)


class RandomUniform(RandomInitializer):
    """Evenly distributed from `minval` up to `maxval`.

    >>> values = RandomUniform(1.0, 3.0, seed=1).host((100,))
    >>> bool(values.min() >= 1.0 and values.max() <= 3.0)
    True
    """

    minval: float = -0.05
    maxval: float = 0.05
    seed: Seed = None

    def values(self, shape, dtype):
        width = self.maxval - self.minval
        return _drawn(self.generator(), shape, dtype, _uniform, width, self.minval)


class VarianceScaling(RandomInitializer):
    """Random with the variance `scale / fan`, so that signals keep their size through layers.

    Args:
        scale: A positive number.
        mode: Which fan: `"fan_in"`, `"fan_out"` or `"fan_avg"`, their mean.
        distribution: `"truncated_normal"` (or `"normal"`), `"untruncated_normal"` or `"uniform"`.
        seed: See `RandomInitializer`.
        input_axes: The axes whose sizes multiply to the fan in. Without them and `output_axes` the
            last two axes are a kernel's inputs and outputs, and those before them its window.
        output_axes: The axes whose sizes multiply to the fan out.

    >>> bool(abs(VarianceScaling(seed=1).host((100, 50)).std() - 0.1) < 0.01)
    True

    Raises:
        ValueError: if an argument is none of these.
    """

    scale: Positive = 1.0
    mode: Mode = "fan_in"
    distribution: Distribution = "truncated_normal"
    seed: Seed = None
    input_axes: tuple = None
    output_axes: tuple = None

    def values(self, shape, dtype):
        fan_in, fan_out = self._fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        draw, scale, shift = {
            "uniform": (_uniform, 2 * math.sqrt(3) * stddev, -math.sqrt(3) * stddev),
            "untruncated_normal": (_normal, stddev, 0.0),
            "truncated_normal": (_truncated_normal, stddev / TRUNCATED_STDDEV, 0.0),
        }[self.distribution]
        return _drawn(self.generator(), shape, dtype, draw, scale, shift)

    def _fans(self, shape):
        if self.input_axes is not None and self.output_axes is not None:
            return [self._size(shape, axes) for axes in (self.input_axes, self.output_axes)]
        if len(shape) < 2:
            return [math.prod(shape)] * 2
        window = math.prod(shape[:-2])
        return [window * shape[-2], window * shape[-1]]

    def _size(self, shape, axes):
        try:
            return math.prod(shape[axis] for axis in ((axes,) if isinstance(axes, int) else axes))
        except IndexError:
            raise ValueError(
                f"{type(self).__name__}: `input_axes` and `output_axes` must be axes of the shape "
                f"{shape}; got {axes}"
            ) from None


class _Preset(VarianceScaling):
    """`VarianceScaling` with its first three arguments set, as `preset`."""

    def __init__(self, seed=None, input_axes=None, output_axes=None):
        super().__init__(*self.preset, seed, input_axes, output_axes)


class GlorotUniform(_Preset):
    """Uniform with the variance 2 / (fan in + fan out) (Glorot & Bengio, 2010).

    >>> GlorotUniform(seed=1).host((2, 3)).shape
    (2, 3)
    """

    preset = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Preset):
    """Truncated normal with the variance 2 / (fan in + fan out) (Glorot & Bengio, 2010).

    >>> bool(abs(GlorotNormal(seed=1).host((100, 100)).std() - 0.1) < 0.005)
    True
    """

    preset = (1.0, "fan_avg", "truncated_normal")


class LecunUniform(_Preset):
    """Uniform with the variance 1 / fan in (LeCun et al., 1998).

    >>> bool(abs(LecunUniform(seed=1).host((100, 100)).std() - 0.1) < 0.005)
    True
    """

    preset = (1.0, "fan_in", "uniform")


class LecunNormal(_Preset):
    """Truncated normal with the variance 1 / fan in (LeCun et al., 1998).

    >>> bool(abs(LecunNormal(seed=1).host((100, 100)).std() - 0.1) < 0.005)
    True
    """

    preset = (1.0, "fan_in", "truncated_normal")


class HeUniform(_Preset):
    """Uniform with the variance 2 / fan in (He et al., 2015).

    >>> bool(abs(HeUniform(seed=1).host((100, 100)).std() - 0.14) < 0.005)
    True
    """

    preset = (2.0, "fan_in", "uniform")


class HeNormal(_Preset):
    """Truncated normal with the variance 2 / fan in (He et al., 2015).

    >>> bool(abs(HeNormal(seed=1).host((100, 100)).std() - 0.14) < 0.005)
    True
    """

    preset = (2.0, "fan_in", "truncated_normal")


class Orthogonal(RandomInitializer):
    """A random orthogonal matrix times `gain` (Saxe et al., 2014).

    All axes but the last count as one; of the rows and columns, the fewer are orthogonal.

    >>> q = Orthogonal(seed=1).host((4, 2))
    >>> bool(np.allclose(q.T @ q, np.eye(2), atol=1e-6))
    True

    Raises:
        ValueError: if the shape asked for has fewer than two axes.
    """

    gain: float = 1.0
    seed: Seed = None
    can_wait = False

    def values(self, shape, dtype):
        if len(shape) < 2:
            raise ValueError(
                f"{type(self).__name__} needs a shape of two axes or more; got {shape}"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(_drawn(self.generator(), tall, dtype, _normal, 1.0))
        q *= np.where(np.diagonal(r) < 0, -1, 1)  # without it, q is not evenly distributed
        if rows < columns:
            q = q.T
        return self.gain * q.reshape(shape)


# The standard deviation of a standard normal variable kept within [-2, 2].
TRUNCATED_STDDEV = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
# What values come out depends on these two: each chunk has a stream of its own, so that threads can
# share the work, and is drawn in blocks that stay in a processor's cache.
CHUNK, BLOCK = 1 << 18, 1 << 15


def _drawn(rng, shape, dtype, draw, scale, shift=0.0):
    """`draw(rng, block)` of all blocks of an array, times `scale`, plus `shift`."""
    values = np.empty(math.prod(shape), _drawn_dtype(dtype))
    chunks = [values[start : start + CHUNK] for start in range(0, values.size, CHUNK)]
    jumped = [np.random.Generator(rng.bit_generator.jumped(i)) for i in range(1, len(chunks))]

    def fill(rng, chunk):
        for start in range(0, chunk.size, BLOCK):
            block = chunk[start : start + BLOCK]
            draw(rng, block)
            block *= scale
            if shift:
                block += shift

    if len(chunks) < 4:
        list(map(fill, [rng, *jumped], chunks))
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(len(chunks), os.cpu_count() or 1)) as pool:
            list(pool.map(fill, [rng, *jumped], chunks))
    return values.reshape(shape)


def _uniform(rng, block):
    rng.random(out=block, dtype=block.dtype)


def _normal(rng, block):
    rng.standard_normal(out=block, dtype=block.dtype)


def _truncated_normal(rng, block):
    """Standard normal values within [-2, 2]: those outside are drawn anew."""
    _normal(rng, block)
    outside = np.flatnonzero(np.abs(block) > 2)
    while outside.size:
        block[outside] = again = rng.standard_normal(outside.size, dtype=block.dtype)
        outside = outside[np.abs(again) > 2]


def _drawn_dtype(dtype):
    """The dtype in which to draw for values that will be cast to `dtype`."""
    return np.float64 if dtype in (np.float64, np.complex128) else np.float32


# Checks and lookups -------------------------------------------------------------------------------


def _checked_shape(shape, owner):
    try:
        sizes = [operator.index(n) for n in ([shape] if isinstance(shape, int) else shape)]
    except TypeError:
        sizes = [-1]
    if any(n < 0 for n in sizes):
        raise ValueError(
            f"{type(owner).__name__}: `shape` must be of whole numbers from 0; got {shape!r}"
        )
    return tuple(sizes)


def _checked_dtype(dtype, owner):
    name = standardize_dtype(dtype)
    if name == "string":
        raise ValueError(f"{type(owner).__name__}: `dtype` must be one of numbers; got {dtype!r}")
    return np_dtype(name)


def _to_numpy(x):
    if isinstance(x, (np.ndarray, np.generic, int, float, complex, list, tuple)):
        return np.asarray(x)
    from oneiros.core.backend import to_numpy

    return to_numpy(x)


def _deserialized(value):
    if not isinstance(value, dict):
        return value
    from oneiros.core.registry import deserialize_keras_object

    return deserialize_keras_object(value)


# Keras's other names for the classes
IdentityInitializer = Identity
OrthogonalInitializer = Orthogonal
STFTInitializer = STFT
constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
identity = Identity
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
ones = Ones
orthogonal = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
stft = STFT
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
zeros = Zeros

_get, serialize, deserialize = lookup.getter(
    "initializer",
    lookup.named(
        *(Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, Initializer),
        *(LecunNormal, LecunUniform, Ones, Orthogonal, RandomNormal, RandomUniform, STFT),
        *(TruncatedNormal, VarianceScaling, Zeros),
        IdentityInitializer=Identity,
        OrthogonalInitializer=Orthogonal,
        STFTInitializer=STFT,
        normal=RandomNormal,
        one=Ones,
        uniform=RandomUniform,
        zero=Zeros,
    ),
    example=("initializers", "Zeros"),
)


def get(identifier):
    """The initializer that `identifier` stands for.

    `identifier` is a name, a config (as `serialize` gives), a class, a callable, which is returned
    as it is, an array, which is the value itself, or None, for none.

    >>> get("random_normal").get_config()
    {'mean': 0.0, 'stddev': 0.05, 'seed': None}

    Raises:
        ValueError: if it is anything else, or there is no initializer of that name.
    """
    if hasattr(identifier, "shape") and hasattr(identifier, "dtype") and not callable(identifier):
        return _given(identifier)
    return _get(identifier)


def _given(array):
    """An initializer of that very array."""

    def initialize(shape, dtype=None):
        if tuple(shape) != tuple(array.shape):
            raise ValueError(
                f"the array given as an initializer has the shape {tuple(array.shape)}; "
                f"the weight needs {tuple(shape)}"
            )
        from oneiros.core.backend import to_array

        return to_array(_to_numpy(array).astype(np_dtype(dtype)))

    return initialize
