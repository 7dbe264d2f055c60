"""Sound as pictures of time and frequency."""

from __future__ import annotations

import math

import numpy as np

from oneiros import initializers, ops
from oneiros.core import config
from oneiros.layers.base import InputSpec, Layer
from oneiros.layers.data_layer import DataLayer
from oneiros.layers.fields import DataFormat, Padding, Positive

__all__ = ["MelSpectrogram", "STFTSpectrogram"]

MODES = ("log", "magnitude", "psd", "real", "imag", "angle", "stft")


class MelSpectrogram(DataLayer):
    """How loud a sound is over time, in bands of frequency that sound equally far apart.

    Of sounds (batch, samples), or one, it gives (batch, bands, frames): the short-time Fourier
    transform, summed in bands on the mel scale (Stevens et al., 1937), in decibels.

    Args:
        fft_length: Samples in a transform.
        sequence_stride: Samples from one frame to the next.
        sequence_length: Samples in a frame's window; `fft_length` if None.
        window: `"hann"`, `"hamming"`, or None for none.
        sampling_rate: Samples in a second.
        num_mel_bins: How many bands there are.
        min_freq, max_freq: The lowest and the highest frequency; half of the rate if None.
        power_to_db: Whether the result is in decibels.
        top_db: What is quieter than the loudest of all by more than this is raised to it.
        mag_exp: The power of the magnitude: 1 for energy, 2 for power.
        min_power: Of what decibels are taken at least.
        ref_power: What has zero decibels.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> tone = np.sin(2 * np.pi * 2000 * np.arange(8000) / 8000 / 4).astype("float32")
    >>> bands = layers.MelSpectrogram(sampling_rate=8000, num_mel_bins=40)(tone)
    >>> tuple(bands.shape), int(np.argmax(bands[:, 8]))
    ((40, 16), 10)

    Raises:
        ValueError: if a number is out of its range, or the sound too short for a transform.
    """

    fft_length: Positive = 2048
    sequence_stride: Positive = 512
    sequence_length: object = None
    window: object = "hann"
    sampling_rate: Positive = 16000
    num_mel_bins: Positive = 128
    min_freq: float = 20.0
    max_freq: object = None
    power_to_db: bool = True
    top_db: float = 80.0
    mag_exp: float = 2.0
    min_power: float = 1e-10
    ref_power: float = 1.0

    def _ready(self):
        self.sequence_length = self.sequence_length or self.fft_length
        self.max_freq = self.max_freq or int(self.sampling_rate / 2)
        if not 0 <= self.min_freq < self.max_freq:
            raise ValueError(
                f"MelSpectrogram: frequencies must go up from 0; got min_freq={self.min_freq} and "
                f"max_freq={self.max_freq}"
            )

    def call(self, inputs):
        x = ops.cast(inputs, self.compute_dtype)
        real, imag = ops.stft(
            x, self.sequence_length, self.sequence_stride, self.fft_length, self.window, center=True
        )  # (..., frames, frequencies)
        power = ops.sqrt(real * real + imag * imag) ** self.mag_exp
        if self.mag_exp == 2.0:
            power = real * real + imag * imag
        weights = self.linear_to_mel_weight_matrix(
            num_mel_bins=self.num_mel_bins,
            num_spectrogram_bins=self.fft_length // 2 + 1,
            sampling_rate=self.sampling_rate,
            lower_edge_hertz=self.min_freq,
            upper_edge_hertz=self.max_freq,
        )
        bands = ops.swapaxes(ops.matmul(power, weights), -1, -2)
        return ops.cast(self._decibels(bands) if self.power_to_db else bands, self.compute_dtype)

    def _decibels(self, x):
        """`10 * log10(x / ref_power)`, nowhere more than `top_db` below the loudest."""
        y = 10.0 * ops.log10(ops.maximum(x, self.min_power))
        y = y - 10.0 * math.log10(max(self.ref_power, self.min_power))
        return ops.maximum(y, ops.max(y) - self.top_db)

    def linear_to_mel_weight_matrix(
        self,
        num_mel_bins=20,
        num_spectrogram_bins=129,
        sampling_rate=8000,
        lower_edge_hertz=125.0,
        upper_edge_hertz=3800.0,
        dtype="float32",
    ):
        """How much of each frequency is in each band: triangles, even on the mel scale."""

        def mel(hertz):
            return 1127.0 * np.log1p(np.asarray(hertz, "float64") / 700.0)

        frequencies = np.linspace(0.0, sampling_rate / 2, num_spectrogram_bins)
        places = mel(frequencies)[1:, None]  # the constant part is in no band
        edges = np.linspace(mel(lower_edge_hertz), mel(upper_edge_hertz), num_mel_bins + 2)
        low, middle, high = edges[:-2], edges[1:-1], edges[2:]
        rising, falling = (places - low) / (middle - low), (high - places) / (high - middle)
        bands = np.maximum(0.0, np.minimum(rising, falling))
        return np.pad(bands, ((1, 0), (0, 0))).astype(dtype)


class _Mode:
    @staticmethod
    def convert(value, layer, name):
        if value not in MODES:
            raise ValueError(f"STFTSpectrogram: {name} must be one of {MODES}; got {value!r}")
        return value


class STFTSpectrogram(Layer):
    """The short-time Fourier transform of sounds, by convolutions that can be trained.

    Of sounds (batch, samples, channels) it gives (batch, frames, channels * frequencies).

    Args:
        mode: What of the transform: `"log"` of the magnitude, `"magnitude"`, `"psd"` (its square),
            `"real"`, `"imag"`, `"angle"`, or `"stft"` for real and imaginary parts side by side.
        frame_length: Samples in a frame.
        frame_step: Samples from one frame to the next; half of the length if None.
        fft_length: Samples of the transform; the next power of two if None.
        window: As in `initializers.STFT`, with `periodic` and `scaling`.
        padding: `"valid"` or `"same"`.
        expand_dims: Whether the channels get an axis of their own: (batch, frames, frequencies,
            channels).
        data_format: Where the channels are; the session's setting if None.

    >>> import numpy as np
    >>> from oneiros import layers
    >>> tuple(layers.STFTSpectrogram(frame_length=64)(np.zeros((2, 640, 1), "float32")).shape)
    (2, 19, 33)

    Raises:
        ValueError: if an argument is none of these, or lengths do not fit together.
    """

    mode: _Mode = "log"
    frame_length: Positive = 256
    frame_step: object = None
    fft_length: object = None
    window: object = "hann"
    periodic: bool = False
    scaling: object = "density"
    padding: Padding = "valid"
    expand_dims: bool = False
    data_format: DataFormat = None

    def _ready(self):
        length = self.frame_length
        step, size = self._step(), self._size()
        if isinstance(step, bool) or not isinstance(step, int) or not 0 < step <= length:
            raise ValueError(
                f"STFTSpectrogram: frame_step must be from 1 to frame_length={length}; got {step!r}"
            )
        if not isinstance(size, int) or size < length:
            raise ValueError(
                f"STFTSpectrogram: fft_length must be at least frame_length={length}; got {size!r}"
            )
        self._kernels()  # checks window and scaling
        self.input_spec = InputSpec(ndim=3)

    def _step(self):
        return self.frame_length // 2 if self.frame_step is None else self.frame_step

    def _size(self):
        whole = 1 << (self.frame_length - 1).bit_length()
        return whole if self.fft_length is None else self.fft_length

    def _kernels(self):
        """The initializers of the kernels that the mode needs, by name."""
        sides = [s for s in ("real", "imag") if self.mode in (s, *MODES[:3], "angle", "stft")]
        options = dict(window=self.window, scaling=self.scaling, periodic=self.periodic)
        return {f"{side}_kernel": initializers.STFT(side, **options) for side in sides}

    def build(self, input_shape):
        shape = self.frame_length, 1, self._size() // 2 + 1
        for name, initializer in self._kernels().items():
            setattr(self, name, self.add_weight(shape=shape, initializer=initializer, name=name))

    def call(self, inputs):
        x = ops.cast(inputs, self.compute_dtype)
        x = x if self.data_format == "channels_first" else ops.swapaxes(x, 1, 2)
        channels, samples = x.shape[1:]
        x = ops.reshape(x, (-1, samples, 1))  # each channel by itself
        kernels = [getattr(self, name) for name in self._kernels()]
        kernel = ops.concatenate(kernels, -1) if len(kernels) > 1 else kernels[0]
        y = ops.conv(x, kernel, self._step(), self.padding, "channels_last")
        y = self._of_mode(y)
        frames, terms = y.shape[1:]
        y = ops.reshape(y, (-1, channels, frames, terms))
        if self.data_format == "channels_first":
            if self.expand_dims:
                return y
            y = ops.swapaxes(y, 2, 3)  # (batch, channels, terms, frames)
            return ops.reshape(y, (-1, channels * terms, frames))
        if self.expand_dims:
            return ops.transpose(y, (0, 2, 3, 1))
        return ops.reshape(ops.swapaxes(y, 1, 2), (-1, frames, channels * terms))

    def _of_mode(self, y):
        """What the mode asks for, of real and imaginary parts side by side."""
        if self.mode in ("real", "imag", "stft"):
            return y
        real, imag = ops.split(y, 2, axis=-1)
        if self.mode == "angle":
            return ops.arctan2(imag, real)
        power = real * real + imag * imag
        if self.mode == "psd":  # terms in the middle stand for those of negative frequencies too
            twice = np.full(power.shape[-1], 2, "float32")
            twice[[0, -1]] = 1
            return power * ops.cast(twice, power.dtype)
        magnitude = ops.sqrt(ops.maximum(power, config.epsilon()))
        return ops.log(magnitude) if self.mode == "log" else magnitude
