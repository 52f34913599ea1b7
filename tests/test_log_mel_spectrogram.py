"""`LogMelSpectrogram` against librosa."""

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf
from layer_contract import check_layer

from hmic_keras._mel import log_mel, mel_filters
from hmic_keras.config import AudioConfig
from hmic_keras.layers import LogMelSpectrogram

SMALL = {
    "sample_rate": 8000,
    "n_fft": 256,
    "window_length": 200,
    "hop_length": 80,
    "n_mels": 20,
}
CONFIGS = {
    "default": {},
    "htk": {"mel_scale": "htk", "n_mels": 64},
    "short_window": {"n_fft": 512, "window_length": 400, "hop_length": 160, "n_mels": 40},
    "odd_window": {"n_fft": 512, "window_length": 401, "hop_length": 173, "n_mels": 40},
    "odd_fft": {"n_fft": 511, "window_length": 511, "hop_length": 121, "n_mels": 40},
    "band": {"fmin": 125.0, "fmax": 7500.0, "n_mels": 64, "mel_scale": "htk"},
    "from_zero": {"fmin": 0.0, "n_mels": 32, "log_offset": 1e-6},
    "cd": {"sample_rate": 44100, "n_fft": 2048, "window_length": 2048, "hop_length": 512},
}


def signals(rate, samples):
    """Silence, noise, a chord with decay, a chirp to half the rate, clicks on a constant."""
    rng = np.random.default_rng(0)
    time = np.arange(samples) / rate
    chord = sum(
        np.sin(2 * np.pi * pitch * partial * time) / partial
        for pitch in (196.0, 246.9, 293.7)
        for partial in range(1, 8)
    )
    clicks = np.full(samples, 0.1)
    clicks[:: rate // 7] = 1.0
    signal = [
        np.zeros(samples),
        rng.uniform(-1, 1, samples),
        0.2 * chord * np.exp(-3 * time),
        np.sin(np.pi * rate / 2 * time**2 / time[-1]),
        clicks,
    ]
    return np.stack(signal).astype("float32")


def oracle(waveforms, layer):
    mel = librosa.feature.melspectrogram(
        y=waveforms,
        sr=layer.sample_rate,
        n_fft=layer.n_fft,
        win_length=layer.window_length,
        hop_length=layer.hop_length,
        n_mels=layer.n_mels,
        fmin=layer.fmin,
        fmax=layer.fmax,
        htk=layer.mel_scale == "htk",
        center=True,
        pad_mode="reflect",
        power=2.0,
    )
    return np.log(mel + layer.log_offset).swapaxes(1, 2)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_within_a_thousandth_of_librosa(config):
    layer = LogMelSpectrogram(**config)
    waveforms = signals(layer.sample_rate, layer.sample_rate + 123)
    found = np.asarray(layer(waveforms))
    expected = oracle(waveforms, layer)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-3


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize(
    ("rate", "n_fft", "bands", "fmin", "fmax"),
    [
        (16000, 1024, 80, 40.0, 8000.0),
        (22050, 2048, 128, 0.0, 11025.0),
        (8000, 256, 20, 100, 3800),
    ],
)
def test_filters_equal_those_of_librosa(scale, rate, n_fft, bands, fmin, fmax):
    expected = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=fmin, fmax=fmax, htk=scale == "htk"
    )
    found = mel_filters(rate, n_fft, bands, fmin, fmax, scale)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.T, atol=1e-7)
    assert np.abs(found).max() > 1e-3


def test_contract():
    waveforms = signals(8000, 1000)[1:]
    # The spectrum is computed in float32 whatever the policy, from a float32 waveform.
    tolerance = {"mixed_float16": 1e-3, "mixed_bfloat16": 5e-3}
    check_layer(
        lambda **kwargs: LogMelSpectrogram(**SMALL, **kwargs),
        waveforms,
        half_tolerance=tolerance,
    )


def test_half_precision_neither_overflows_nor_rounds_the_waveform():
    waveforms = signals(8000, 2000)
    layer = LogMelSpectrogram(**SMALL, dtype="mixed_float16")
    found = np.asarray(layer(waveforms), "float32")
    assert np.isfinite(found).all()
    assert np.abs(found - oracle(waveforms, layer)).max() < 1e-2


@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal")
@pytest.mark.parametrize("samples", [129, 399, 400, 401, 8000])
@pytest.mark.parametrize("n_fft", [256, 255])
def test_number_of_frames(samples, n_fft):
    layer = LogMelSpectrogram(**{**SMALL, "n_fft": n_fft})
    frames = librosa.stft(np.zeros(samples), n_fft=n_fft, hop_length=80).shape[1]
    assert n_fft == 255 or frames == 1 + samples // 80
    assert layer(np.zeros((2, samples), "float32")).shape == (2, frames, 20)
    assert layer(keras.Input((samples,))).shape == (None, frames, 20)
    assert layer(keras.Input((None,))).shape == (None, None, 20)


def test_any_length_in_one_model():
    inputs = keras.Input((None,))
    model = keras.Model(inputs, LogMelSpectrogram(**SMALL)(inputs))
    for samples in (400, 801):
        waveforms = signals(8000, samples)
        expected = oracle(waveforms, model.layers[1])
        found = model.predict(waveforms, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sample_rate": 0}, "`sample_rate`.*0"),
        ({"hop_length": 1.5}, "`hop_length`.*1.5"),
        ({"n_mels": True}, "`n_mels`.*True"),
        ({"window_length": 300}, "window_length=300, n_fft=256"),
        ({"fmin": -1.0}, "fmin=-1.0"),
        ({"fmin": 4000.0}, "fmin=4000.0"),
        ({"fmax": 4001.0}, "fmax=4001.0"),
        ({"fmax": float("nan")}, "fmax=nan"),
        ({"mel_scale": "bark"}, "`mel_scale`.*'bark'"),
        ({"log_offset": 0.0}, "`log_offset`.*0.0"),
        ({"n_mels": 200}, "mel bands hold no FFT bin.*n_mels=200"),
    ],
)
def test_refuses_bad_arguments(config, message):
    with pytest.raises(ValueError, match=message):
        LogMelSpectrogram(**{**SMALL, **config})


@pytest.mark.parametrize("shape", [(2, 128), (8000,), (2, 8000, 1)])
def test_refuses_bad_shapes(shape):
    with pytest.raises(ValueError, match=r"\(batch, samples\).*128 samples"):
        LogMelSpectrogram(**SMALL)(np.zeros(shape, "float32"))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_numpy_gives_the_same_without_keras(config):
    audio = AudioConfig.from_dict({"fmax": config.get("sample_rate", 16000) / 2, **config})
    waveforms = signals(audio.sample_rate, audio.sample_rate)
    expected = np.asarray(LogMelSpectrogram(**audio.to_dict())(waveforms))
    found = log_mel(waveforms, audio)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("batch", "known"),
    [(1, "nothing"), (5, "nothing"), (5, "batch"), (5, "all")],
)
def test_a_batch_equals_its_clips(batch, known):
    layer = LogMelSpectrogram(**SMALL)
    waveforms = signals(8000, 1000)[:batch]
    expected = np.concatenate([layer(clip[np.newaxis]) for clip in waveforms])
    shape = {"nothing": (None, None), "batch": (batch, None), "all": (batch, 1000)}[known]
    graph = tf.function(layer, input_signature=[tf.TensorSpec(shape, tf.float32)])
    np.testing.assert_allclose(graph(waveforms), expected, atol=1e-6)


@pytest.mark.parametrize("jit", [False, True], ids=["graph", "xla"])
def test_the_gradient_of_a_batch_is_that_of_its_clips(jit):
    layer = LogMelSpectrogram(**SMALL)

    def gradient(waveforms):
        with tf.GradientTape() as tape:
            tape.watch(waveforms)
            value = tf.reduce_sum(tf.square(layer(waveforms)))
        return tape.gradient(value, waveforms)

    waveforms = tf.constant(signals(8000, 1000)[1:])
    expected = tf.concat([gradient(clip[tf.newaxis]) for clip in waveforms], axis=0)
    for shape in ((None, None), waveforms.shape):
        signature = [tf.TensorSpec(shape, tf.float32)]
        found = tf.function(gradient, input_signature=signature, jit_compile=jit)(waveforms)
        np.testing.assert_allclose(
            found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()
        )


def test_one_clip_needs_no_loop():
    layer = LogMelSpectrogram(**SMALL)

    def operations(batch):
        graph = tf.function(layer).get_concrete_function(
            tf.TensorSpec((batch, None), tf.float32)
        )
        return {operation.type for operation in graph.graph.get_operations()}

    loops = {"While", "StatelessWhile", "TensorListReserve"}
    assert not loops & operations(1)
    assert loops & operations(4)
