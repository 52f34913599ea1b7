"""The resamplers, against SciPy's polyphase filter, soxr, and what resampling must keep."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.signal
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

import hmic_keras as hk
from hmic_keras.data import resample
from hmic_keras.data.resampling import RESAMPLERS
from hmic_keras.errors import HmicError

RATES = [(44100, 16000), (48000, 16000), (22050, 16000), (11025, 16000), (8000, 16000)]


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, count).astype("float32")


def oracle(waveform, rate, target):
    """The windowed sinc by SciPy, in float64, from its definition in `QResamplerParams`."""
    ratio = Fraction(rate, target)
    slower = max(rate / target, 1)
    reach = int(np.ceil(5 * slower)) * ratio.denominator
    x = np.arange(-reach, reach + 1) / ratio.denominator
    kaiser = np.where(
        np.abs(x) <= 5 * slower, np.i0(6 * np.sqrt(np.clip(1 - (x / 5 / slower) ** 2, 0, 1))), 0
    )
    taps = 0.9 / slower * np.sinc(0.9 / slower * x) * kaiser / np.i0(6)
    # SciPy multiplies a given filter by the factor it inserts zeros by.
    return scipy.signal.resample_poly(
        waveform.astype("float64"),
        ratio.denominator,
        ratio.numerator,
        window=taps / ratio.denominator,
    )


@pytest.mark.parametrize(("rate", "target"), RATES)
@pytest.mark.parametrize("count", [1, 13, 441, 20011])
def test_mediapipe_is_scipys_polyphase_filter(rate, target, count):
    waveform = noise(count)
    found = resample(waveform, rate, target, resampler="mediapipe")
    expected = oracle(waveform, rate, target)
    assert found.dtype == np.float32
    assert 0 <= len(expected) - len(found) <= 1
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 3000),
    st.sampled_from([*RATES, (16000, 44100), (44056, 16000), (7919, 8000)]),
)
def test_lengths_are_soxrs(count, rates):
    waveform = noise(count)
    lengths = {len(resample(waveform, *rates, resampler=name)) for name in RESAMPLERS}
    assert len(lengths) == 1


def test_mediapipe_is_6_db_down_at_nine_tenths_of_the_band():
    time = np.arange(44100) / 44100
    gains = {}
    for hertz in (440, 3500, 7200, 7900):
        sine = np.sin(2 * np.pi * hertz * time).astype("float32")
        heard = resample(sine, 44100, 16000, resampler="mediapipe")[1000:-1000]
        gains[hertz] = np.sqrt(2 * np.mean(heard**2))
    np.testing.assert_allclose(
        [gains[440], gains[3500], gains[7200]], [1.0, 1.0, 0.5], atol=0.01
    )
    assert gains[7900] < 0.3


def test_soxr_is_soxr():
    waveform = noise(44100)
    expected = soxr.resample(waveform, 44100, 16000, quality="HQ")
    np.testing.assert_array_equal(resample(waveform, 44100, 16000), expected)


@pytest.mark.parametrize("name", RESAMPLERS)
def test_equal_rates_change_nothing(name):
    waveform = noise(1000)
    np.testing.assert_array_equal(resample(waveform, 8000, 8000, resampler=name), waveform)


@pytest.mark.parametrize(
    "call",
    [
        lambda: resample(noise(10), 8000, 8000, resampler="sinc"),
        lambda: hk.Predictor(resampler="sinc"),
    ],
)
def test_an_unknown_resampler_is_refused(call):
    with pytest.raises(HmicError, match=r"one of soxr, mediapipe\. Received: 'sinc'"):
        call()


def test_files_and_arrays_are_resampled_alike(tmp_path):
    import soundfile

    waveform = noise(44100)
    soundfile.write(tmp_path / "a.wav", waveform, 44100, subtype="FLOAT")
    expected = resample(waveform, 44100, 16000, resampler="mediapipe")
    found = hk.data.load_audio(tmp_path / "a.wav", resampler="mediapipe")
    np.testing.assert_array_equal(found, expected)
    predictor = hk.Predictor(resampler="mediapipe")
    by_file = predictor.predict(tmp_path / "a.wav").to_dict()
    assert by_file == predictor.predict(waveform, sample_rate=44100).to_dict()
    assert by_file != hk.Predictor().predict(tmp_path / "a.wav").to_dict()
