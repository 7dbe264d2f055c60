"""Signals: Fourier transforms over the last axes, frames of sequences. Complex signals are pairs of
arrays."""

from __future__ import annotations

import numpy as np

from oneiros.core import primitives as p
from oneiros.core.dtypes import np_dtype, result_type
from oneiros.core.op import array, dtype_of, float_of, op, promote, to_dtype
from oneiros.core.spec import agree
from oneiros.ops.common import wide

__all__ = ["extract_sequences", "fft", "fft2", "ifft2", "irfft", "istft", "rfft", "stft"]


def _complex(name, x):
    """A pair (real, imaginary) as one complex array."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(
            f"{name}: x must be a pair of arrays, the real and the imaginary parts; got {x!r}"
        )
    real, imag = promote(wide(float_of(x[0])), wide(float_of(x[1])))
    if tuple(real.shape) != tuple(imag.shape):
        raise ValueError(
            f"{name}: both parts must have one shape; got {tuple(real.shape)} and "
            f"{tuple(imag.shape)}"
        )
    return p.complex(real, imag)


def _pair(x):
    return p.real(x), p.imag(x)


def _swapped(x):
    rank = len(x.shape)
    return p.transpose(x, order=(*range(rank - 2), rank - 1, rank - 2))


def _ranked(name, x, rank):
    if len(x.shape) < rank:
        raise ValueError(f"{name}: x must have rank {rank} or more; got shape {tuple(x.shape)}")
    return x


@op
def fft(x):
    """The Fourier transform of the last axis of a pair (real, imaginary), as a pair.

    >>> from oneiros import ops
    >>> real, imag = ops.fft(([1.0, 0.0], [0.0, 0.0]))
    >>> real.tolist(), imag.tolist()
    ([1.0, 1.0], [0.0, 0.0])
    """
    return _pair(p.fft(_ranked("fft", _complex("fft", x), 1), inverse=False))


def _two(name, x, inverse):
    x = _ranked(name, _complex(name, x), 2)
    x = _swapped(p.fft(x, inverse=inverse))
    return _pair(_swapped(p.fft(x, inverse=inverse)))


@op
def fft2(x):
    """The Fourier transform of the last two axes of a pair (real, imaginary), as a pair.

    >>> from oneiros import ops
    >>> ops.fft2(([[1.0, 0.0]], [[0.0, 0.0]]))[0].tolist()
    [[1.0, 1.0]]
    """
    return _two("fft2", x, False)


@op
def ifft2(x):
    """The inverse of `fft2`.

    >>> from oneiros import ops
    >>> ops.ifft2(([[1.0, 1.0]], [[0.0, 0.0]]))[0].tolist()
    [[1.0, 0.0]]
    """
    return _two("ifft2", x, True)


def _fitted(x, length):
    """`x` cut, or filled up with zeros, to `length` elements of its last axis."""
    extra = length - x.shape[-1]
    if not extra:
        return x
    return p.pad(x, widths=((0, 0, 0),) * (len(x.shape) - 1) + ((0, extra, 0),), value=0.0)


@op
def rfft(x, fft_length=None):
    """The Fourier transform of a real last axis: its first `fft_length // 2 + 1` terms, as a pair.

    Args:
        x: Real array.
        fft_length: To what length it is cut or filled up with zeros; None leaves it.

    >>> from oneiros import ops
    >>> ops.rfft([1.0, 0.0, 0.0])[0].tolist()
    [1.0, 1.0]
    """
    x = float_of(x)
    dtype, x = dtype_of(x), _ranked("rfft", wide(x), 1)
    made = _pair(p.rfft(x if fft_length is None else _fitted(x, fft_length)))
    return tuple(to_dtype(y, dtype) for y in made)


@op
def irfft(x, fft_length=None):
    """The real signal whose `rfft` is the pair `x`.

    Args:
        x: Pair (real, imaginary).
        fft_length: The signal's length; `2 * (terms - 1)` if None.

    >>> from oneiros import ops
    >>> ops.irfft(([1.0, 1.0], [0.0, 0.0]), fft_length=3).tolist()
    [1.0, 0.0, 0.0]
    """
    real, imag = _pair(_ranked("irfft", _complex("irfft", x), 1))
    dtype = result_type(*(dtype_of(float_of(v)) for v in x))
    n = 2 * (real.shape[-1] - 1) if fft_length is None else fft_length
    terms = n // 2 + 1
    made = p.irfft(p.complex(_fitted(real, terms), _fitted(imag, terms)), n=n)
    return to_dtype(made, dtype)


# Frames -------------------------------------------------------------------------------------------
@op
def extract_sequences(x, sequence_length, sequence_stride):
    """The stretches of the last axis that begin every `sequence_stride` places: (..., stretches,
    length).

    >>> from oneiros import ops
    >>> ops.extract_sequences([1, 2, 3, 4, 5], 3, 2).tolist()
    [[1, 2, 3], [3, 4, 5]]
    """
    x = _ranked("extract_sequences", array(x), 1)
    return _frames(x, sequence_length, sequence_stride)


def _frames(x, length, stride):
    n = x.shape[-1]
    count = max((n - length) // stride + 1, 0)
    places = np.arange(count)[:, None] * stride + np.arange(length)
    return p.take(x, array(places.astype(np.int32)), axis=len(x.shape) - 1)


def _window(name, window, length, fft_length, dtype):
    """The window's values, centered in `fft_length`."""
    if window is None:
        return array(np.ones(fft_length, np_dtype(dtype)))
    elif isinstance(window, str):
        if window not in ("hann", "hamming"):
            raise ValueError(
                f"{name}: window must be 'hann', 'hamming', an array or None; got {window!r}"
            )
        a = 0.5 if window == "hann" else 0.54
        values = (
            a - (1 - a) * np.cos(2 * np.pi * np.arange(length) / max(length, 1))
            if length > 1
            else np.ones(1)
        )
    else:
        values = array(window)
        if len(values.shape) != 1 or not agree(values.shape[0], length):
            raise ValueError(
                f"{name}: an array as window must have the shape ({length},); got "
                f"{tuple(values.shape)}"
            )
        values = to_dtype(values, dtype)
    if isinstance(values, np.ndarray):
        values = array(values.astype(np_dtype(dtype)))
    left = (fft_length - length) // 2
    return p.pad(values, widths=((left, fft_length - length - left, 0),), value=0.0)


def _check_lengths(name, sequence_length, fft_length):
    if fft_length < sequence_length:
        raise ValueError(
            f"{name}: fft_length must be at least sequence_length; got {fft_length} and "
            f"{sequence_length}"
        )


@op
def stft(x, sequence_length, sequence_stride, fft_length, window="hann", center=True):
    """The Fourier transforms of windows that slide over the last axis, as a pair (..., frames,
    terms).

    Args:
        x: Real array.
        sequence_length: The window's length.
        sequence_stride: Its steps.
        fft_length: The transform's length; the window is centered in it.
        window: `"hann"`, `"hamming"`, an array, or None for ones over the whole `fft_length`.
        center: Whether the t-th frame is centered at `t * sequence_stride` (the ends are mirrored).

    >>> from oneiros import ops
    >>> tuple(ops.stft([0.0] * 8, 4, 2, 4)[0].shape)
    (5, 3)
    """
    x = _ranked("stft", wide(float_of(x)), 1)
    _check_lengths("stft", sequence_length, fft_length)
    window = _window("stft", window, sequence_length, fft_length, dtype_of(x))
    if center:
        half, n = fft_length // 2, x.shape[-1]
        if half >= n:
            raise ValueError(
                f"stft: with center=True x must have more than {half} elements; got {n}"
            )
        order = np.concatenate(
            [np.arange(half, 0, -1), np.arange(n), np.arange(n - 2, n - 2 - half, -1)]
        )
        x = p.take(x, array(order.astype(np.int32)), axis=len(x.shape) - 1)
    return _pair(p.rfft(p.multiply(_frames(x, fft_length, sequence_stride), window)))


@op
def istft(x, sequence_length, sequence_stride, fft_length, length=None, window="hann", center=True):
    """The signal whose `stft` is nearest to the pair `x` (Griffin and Lim, 1984).

    Args:
        x: Pair (real, imaginary) of (..., frames, terms).
        sequence_length, sequence_stride, fft_length, window, center: As in `stft`.
        length: The signal's length; what the frames cover if None.

    >>> from oneiros import ops
    >>> pair = ops.stft([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 4, 2, 4)
    >>> [round(v, 3) for v in ops.istft(pair, 4, 2, 4).tolist()]
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    """
    frames = irfft(x, fft_length)  # (..., frames, fft_length)
    _check_lengths("istft", sequence_length, fft_length)
    window = _window("istft", window, sequence_length, fft_length, dtype_of(frames))
    count = frames.shape[-2]
    signal = _overlapped(p.multiply(frames, window), sequence_stride)
    squares = p.broadcast_to(p.multiply(window, window), shape=(count, fft_length))
    weight = _overlapped(squares, sequence_stride)
    seen = p.greater(weight, 1e-11)
    signal = p.select(seen, p.divide(signal, p.select(seen, weight, 1.0)), signal)
    start = fft_length // 2 if center else 0
    total = signal.shape[-1]
    stop = start + length if length is not None else total - start
    kept = (*signal.shape[:-1], min(stop, total))
    rank = len(signal.shape)
    signal = p.slice(signal, start=(0,) * (rank - 1) + (start,), stop=kept, strides=(1,) * rank)
    return signal if length is None else _fitted(signal, length)


def _overlapped(frames, stride):
    """The sum of frames (..., count, length) that begin every `stride` places."""
    *lead, count, length = frames.shape
    parts = -(-length // stride)
    frames = _fitted(frames, parts * stride)
    frames = p.reshape(frames, shape=(*lead, count, parts, stride))
    rank, total = None, None
    for j in range(parts):
        part = p.slice(
            frames, start=(0,) * len(lead) + (0, j, 0), stop=(*lead, count, j + 1, stride),
            strides=(1,) * len(frames.shape),
        )  # fmt: skip
        part = p.reshape(part, shape=(*lead, count * stride))
        rank = len(part.shape)
        part = p.pad(
            part,
            widths=((0, 0, 0),) * (rank - 1) + ((j * stride, (parts - 1 - j) * stride, 0),),
            value=0.0,
        )
        total = part if total is None else p.add(total, part)
    size = (count - 1) * stride + length
    return p.slice(total, start=(0,) * rank, stop=(*lead, size), strides=(1,) * rank)
