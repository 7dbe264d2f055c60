"""Spectrograms have Keras's numbers on every backend, in its files' layout, with derivatives."""

import os
import pathlib
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest

import oneiros
from oneiros import layers
from oneiros.core import backend as backends

from .against_keras import assert_comes_back, assert_right_derivatives, assert_same_structure, pair

RNG = np.random.default_rng(0)
SOUND = RNG.normal(size=(2, 400)).astype("float32")
STEREO = RNG.normal(size=(2, 300, 2)).astype("float32")

MEL = [
    dict(),
    dict(power_to_db=False),
    dict(sequence_length=50),
    dict(num_mel_bins=9, min_freq=100.0, max_freq=4000.0),
    dict(top_db=20.0, mag_exp=1.0),
    dict(ref_power=5.0, min_power=1e-3, window="hamming"),
    dict(sampling_rate=8000, window=None),
]
STFT = [
    *(dict(mode=mode) for mode in ("log", "magnitude", "psd", "real", "imag", "stft")),
    dict(frame_step=7, fft_length=128),
    dict(window=None, scaling=None),
    dict(mode="psd", fft_length=71, window=None, scaling=None),
    dict(window="hamming", periodic=True, scaling="spectrum"),
    dict(padding="same", frame_step=10, expand_dims=True),
    dict(frame_length=50, expand_dims=True, mode="stft"),
    dict(data_format="channels_first", mode="stft"),
    dict(data_format="channels_first", expand_dims=True, mode="psd"),
]


def mel(row):
    kwargs = {"fft_length": 64, "sequence_stride": 20, "num_mel_bins": 12, **MEL[row]}
    return lambda library: library.MelSpectrogram(**kwargs)


def stft(row):
    kwargs = {"frame_length": 64, **STFT[row]}
    return lambda library: library.STFTSpectrogram(**kwargs)


def sound_for(row):
    return STEREO.transpose(0, 2, 1) if "channels_first" in STFT[row].values() else STEREO


@pytest.mark.parametrize("row", range(len(MEL)))
def test_mel_bands_are_those_of_keras(row, backend, turn):
    if not turn(row):
        return
    ours, theirs = mel(row)(layers), mel(row)(keras.layers)
    for x in (SOUND, SOUND[0]):
        want = np.asarray(theirs(x))
        np.testing.assert_allclose(backends.to_numpy(ours(x)), want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("row", range(len(STFT)))
def test_transforms_are_those_of_keras(row, backend, turn):
    if not turn(row):
        return
    x = sound_for(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras recommends powers of two
        ours, theirs = stft(row)(layers), stft(row)(keras.layers)
    got, want = backends.to_numpy(ours(x)), _by_keras(theirs, x)
    np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)


def _by_keras(layer, x):
    """On numpy Keras's convolutions take channels last alone."""
    if layer.data_format != "channels_first":
        return np.asarray(layer(x))
    config = {**layer.get_config(), "data_format": "channels_last"}
    y = np.asarray(type(layer).from_config(config)(x.transpose(0, 2, 1)))
    return y.transpose(0, 3, 1, 2) if layer.expand_dims else y.transpose(0, 2, 1)


def test_angles_are_those_of_scipy(backend):
    """Next to a half turn one rounding decides the sign: angles are compared on the circle."""
    from scipy.signal import stft as reference

    y = layers.STFTSpectrogram("angle", frame_length=64, window="boxcar")(STEREO[..., :1])
    _, _, want = reference(STEREO[..., 0], window="boxcar", nperseg=64, boundary=None, padded=False)
    difference = backends.to_numpy(y) - np.angle(want).transpose(0, 2, 1)
    inner = difference[..., 1:-1]  # the ends are real numbers
    np.testing.assert_allclose(np.cos(inner), 1, atol=1e-4)


@pytest.mark.parametrize("row", [0, 3, 6])
def test_configs_and_weights_are_those_of_keras(row):
    ours, theirs = pair(stft(row), STEREO)
    assert_same_structure(ours, theirs)
    assert_comes_back(ours, STEREO)


@pytest.mark.parametrize("row", range(len(MEL)))
def test_configs_of_mel_bands_are_those_of_keras(row):
    ours, theirs = (mel(row)(library).get_config() for library in (layers, keras.layers))
    assert {**ours, "name": 0} == {**theirs, "name": 0}
    assert_comes_back(mel(row)(layers), SOUND)


@pytest.mark.parametrize("row", [0, 2, 5])
def test_the_kernels_have_right_derivatives(row, backend):
    layer = layers.STFTSpectrogram(mode=STFT[row]["mode"], frame_length=16)
    x = RNG.normal(size=(1, 48, 1)).astype("float32")
    layer(x)
    assert_right_derivatives(layer, x)


def test_shapes_are_known_before_data():
    symbol = layers.MelSpectrogram()(oneiros.Input((5000,)))
    assert symbol.shape == (None, 128, 10)
    assert layers.MelSpectrogram(fft_length=512)(oneiros.Input((None,))).shape == (None, 128, None)
    for kwargs in (dict(), dict(padding="same"), dict(expand_dims=True), dict(mode="stft")):
        ours = layers.STFTSpectrogram(**kwargs)(oneiros.Input((1000, 2)))
        assert ours.shape == keras.layers.STFTSpectrogram(**kwargs)(keras.Input((1000, 2))).shape
    assert layers.STFTSpectrogram()(oneiros.Input((None, 1))).shape == (None, None, 129)


def test_a_model_learns_the_pitch(backend):
    pitch = np.array([400.0, 800.0, 1600.0, 3200.0] * 8)
    x = np.sin(2 * np.pi * pitch[:, None] * np.arange(1000) / 8000).astype("float32")
    y = np.arange(32) % 4
    model = oneiros.Sequential(
        [
            oneiros.Input((1000,)),
            layers.MelSpectrogram(256, 200, sampling_rate=8000, num_mel_bins=16),
            layers.GlobalAveragePooling1D(data_format="channels_first"),
            layers.Rescaling(0.05),
            layers.Dense(4),
        ]
    )
    loss = oneiros.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(oneiros.optimizers.Adam(0.1), loss, metrics=["accuracy"])
    model.fit(x, y, epochs=15, verbose=0)
    assert model.evaluate(x, y, verbose=0)[1] == 1.0


def test_mel_runs_in_a_pipeline_of_data():
    import tensorflow as tf

    layer = layers.MelSpectrogram(64, 20, num_mel_bins=12)
    made = tf.data.Dataset.from_tensor_slices(SOUND).batch(2).map(layer)
    np.testing.assert_allclose(next(iter(made)).numpy(), np.asarray(layer(SOUND)), atol=1e-3)


@pytest.mark.parametrize(
    "make, match",
    [
        (lambda: layers.STFTSpectrogram(mode="x"), "mode"),
        (lambda: layers.STFTSpectrogram(frame_length=0), "frame_length"),
        (lambda: layers.STFTSpectrogram(frame_step=300), "frame_step"),
        (lambda: layers.STFTSpectrogram(frame_step=0), "frame_step"),
        (lambda: layers.STFTSpectrogram(fft_length=100), "fft_length"),
        (lambda: layers.STFTSpectrogram(scaling="x"), "scaling"),
        (lambda: layers.STFTSpectrogram(window="x"), "window"),
        (lambda: layers.STFTSpectrogram(padding="x"), "padding"),
        (lambda: layers.STFTSpectrogram()(SOUND), "ndim=3"),
        (lambda: layers.STFTSpectrogram()(STEREO[:, :100]), "window"),
        (lambda: layers.MelSpectrogram(num_mel_bins=0), "num_mel_bins"),
        (lambda: layers.MelSpectrogram(min_freq=9000.0), "min_freq"),
        (lambda: layers.MelSpectrogram(window="x")(SOUND), "window"),
        (lambda: layers.MelSpectrogram()(SOUND), "400"),
    ],
)
def test_what_makes_no_sense_is_an_error(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_the_example_hears_digits(data, tmp_path):
    data("sounds")
    script = pathlib.Path(__file__).parents[2] / "examples" / "spoken_digits.py"
    done = subprocess.run(
        [sys.executable, script, "--out", tmp_path, "--clips", "25", "--epochs", "6"],
        capture_output=True,
        text=True,
        env={**os.environ, "ONEIROS_BACKEND": "numpy"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1].rstrip("%")) > 30  # by chance it were 10
    assert oneiros.utils.load_img(tmp_path / "spoken_digits.png").width > 1000
