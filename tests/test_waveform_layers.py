"""The random layers over waveforms against NumPy and SciPy."""

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from layer_contract import check_random_layer

from hmic_keras.layers import (
    RandomBandLimit,
    RandomClipping,
    RandomEqualizer,
    RandomGain,
    RandomNoise,
    RandomReverb,
)
from hmic_keras.layers import augmentation_math as maths

RATE = 8000
LAYERS = {
    RandomGain: {},
    RandomEqualizer: {"sample_rate": RATE},
    RandomBandLimit: {"sample_rate": RATE, "high_cut_hz": (1000, 3000)},
    RandomNoise: {"sample_rate": RATE},
    RandomReverb: {"sample_rate": RATE, "decay_seconds": (0.05, 0.1)},
    RandomClipping: {},
}


def noise(batch, samples, peak=0.5, seed=0):
    return np.random.default_rng(seed).uniform(-peak, peak, (batch, samples)).astype("float32")


def train(layer, inputs):
    return np.asarray(layer(inputs, training=True))


def decibels(power):
    return 10 * np.log10(power)


def power(signal):
    return np.mean(np.square(signal, dtype="float64"), axis=-1)


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_contract(kind):
    check_random_layer(
        lambda **kwargs: kind(probability=0.7, seed=3, **LAYERS[kind], **kwargs), noise(4, 1001)
    )


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_silence_and_full_scale(kind):
    extremes = np.zeros((4, 1000), "float32")
    extremes[1:] = np.sign(noise(3, 1000))
    found = train(kind(probability=1.0, seed=0, **LAYERS[kind]), extremes)
    np.testing.assert_array_equal(found[0], 0.0)
    assert np.isfinite(found).all()
    assert np.abs(found).max() <= 1.0 + 1e-6


@pytest.mark.parametrize("kind", [RandomGain, RandomEqualizer], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_probability_is_the_share_of_the_examples(kind, probability):
    layer = kind(probability=probability, seed=0, **LAYERS[kind])
    inputs = noise(5, 64)
    shares = []
    for _ in range(40):
        changed = (train(layer, inputs) != inputs).any(axis=1)
        # 1.5 of 5 are one or two.
        assert int(5 * probability) <= changed.sum() <= np.ceil(5 * probability)
        shares.append(changed)
    shares = np.mean(shares, axis=0)
    assert np.abs(shares - probability).max() < 4 * np.sqrt(0.25 / 40)
    assert abs(shares.mean() - probability) < 0.06


def test_gain_is_even_in_decibels():
    inputs = noise(400, 16, peak=0.2)
    found = train(RandomGain((-20.0, 10.0), seed=1), inputs)
    gains = found / inputs
    np.testing.assert_allclose(gains, gains[:, :1] * np.ones(16), rtol=1e-4)
    drawn = 20 * np.log10(gains[:, 0])
    assert scipy.stats.kstest(drawn, "uniform", (-20.0, 30.0)).pvalue > 1e-3


def test_gain_ends_at_full_scale():
    inputs = noise(8, 100, peak=0.5)
    found = train(RandomGain((40, 40), seed=1), inputs)
    np.testing.assert_allclose(np.abs(found).max(axis=1), 1.0, atol=1e-6)
    ratio = found / inputs
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(100), rtol=1e-4)


def response(layer, samples=4096):
    """The response of a layer in dB, measured by a click."""
    click = np.zeros((32, samples), "float32")
    click[:, samples // 2] = 0.01
    spectrum = np.abs(np.fft.rfft(train(layer, click) / 0.01))
    return np.fft.rfftfreq(samples, 1 / RATE), 20 * np.log10(np.maximum(spectrum, 1e-6))


def test_equalizer_passes_through_its_points():
    rng = np.random.default_rng(0)
    gains = rng.uniform(-9, 9, (3, 5)).astype("float32")
    points = np.geomspace(60.0, 4000.0, 5)
    frequencies = np.sort(np.concatenate([points, np.linspace(0, 3990, 500)]))
    curve = maths.smooth_response(gains, frequencies[None].astype("float32"), 60.0, 4000.0)
    curve = 20 * np.log10(np.asarray(curve, "float64"))
    for gain, row in zip(gains, curve, strict=True):
        np.testing.assert_allclose(row[np.isin(frequencies, points)], gain, atol=1e-3)
        np.testing.assert_allclose(row[frequencies < 60], gain[0], atol=1e-3)
        # Between two points it lies between their gains.
        place = np.clip(np.searchsorted(points, frequencies), 1, 4)
        low, high = (
            np.minimum(gain[place - 1], gain[place]),
            np.maximum(gain[place - 1], gain[place]),
        )
        audible = frequencies >= 60
        assert (row[audible] >= low[audible] - 1e-3).all()
        assert (row[audible] <= high[audible] + 1e-3).all()


@pytest.mark.parametrize("samples", [4096, 4095])
def test_equalizer_measured(samples):
    layer = RandomEqualizer(RATE, gain_db=6.0, points=5, probability=1.0, seed=1)
    frequencies, found = response(layer, samples)
    twin = RandomEqualizer(RATE, gain_db=6.0, points=5, probability=1.0, seed=1)
    drawn = twin.response(32, frequencies[None].astype("float32"))
    np.testing.assert_allclose(found, 20 * np.log10(np.asarray(drawn)), atol=0.02)
    assert np.abs(found).max() <= 6.001
    assert found.std(axis=0).min() > 1.0
    low, high = found[:, 0], found[:, -1]
    assert abs(np.corrcoef(low, high)[0, 1]) < 0.6


def test_band_limit_is_a_butterworth_filter():
    layer = RandomBandLimit(RATE, (150, 150), (2000, 2000), 4, 1.0, seed=0)
    frequencies, found = response(layer)
    expected = 0.0
    for cut, kind in ((150, "highpass"), (2000, "lowpass")):
        sections = scipy.signal.butter(4, 2 * np.pi * cut, kind, analog=True)
        _, wanted = scipy.signal.freqs(*sections, 2 * np.pi * frequencies)
        expected = expected + 20 * np.log10(np.maximum(np.abs(wanted), 1e-9))
    heard = expected > -60
    np.testing.assert_allclose(found[:, heard], np.tile(expected[heard], (32, 1)), atol=0.05)
    assert found[:, frequencies <= 37.5].max() < -47
    assert found[:, frequencies >= 3990].max() < -23


def test_band_limits_are_even_in_octaves():
    layer = RandomBandLimit(RATE, (20, 40), (500, 4000), 8, 1.0, seed=0)
    frequencies = np.geomspace(100, 4000, 2000).astype("float32")
    drawn = np.asarray(layer.response(400, frequencies[None]))
    cuts = frequencies[np.argmin(np.abs(drawn - np.sqrt(0.5)), axis=1)]
    assert scipy.stats.kstest(np.log2(cuts / 500), "uniform", (0, 3)).pvalue > 1e-3


def test_noise_has_the_drawn_ratio():
    inputs = noise(300, 1024, peak=0.1)
    added = train(RandomNoise(RATE, (0.0, 20.0), probability=1.0, seed=0), inputs) - inputs
    ratio = decibels(power(inputs) / power(added))
    assert scipy.stats.kstest(ratio, "uniform", (0, 20)).pvalue > 1e-3


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_the_drawn_colour(exponent):
    inputs = noise(16, 1 << 14, peak=0.1)
    layer = RandomNoise(RATE, (0.0, 0.0), (exponent, exponent), 0.0, 1.0, seed=0)
    added = train(layer, inputs) - inputs
    frequencies, density = scipy.signal.welch(added, RATE, nperseg=2048)
    heard = (frequencies > 60) & (frequencies < 3000)
    slope = np.polyfit(np.log2(frequencies[heard]), np.log2(density.mean(0)[heard]), 1)[0]
    assert abs(slope + exponent) < 0.1
    np.testing.assert_allclose(added.mean(axis=1), 0.0, atol=1e-4)
    if exponent == 0.0:
        assert np.abs(scipy.stats.kurtosis(added, axis=1)).max() < 0.2


def test_hum_is_harmonics_of_the_mains():
    inputs = noise(40, RATE, peak=0.1)
    layer = RandomNoise(RATE, (10.0, 10.0), hum=1.0, probability=1.0, seed=0)
    added = train(layer, inputs) - inputs
    np.testing.assert_allclose(decibels(power(inputs) / power(added)), 10.0, atol=0.01)
    spectrum = np.square(np.abs(np.fft.rfft(added)))  # One bin a hertz.
    european = spectrum[:, 50:501:50].sum(axis=1) > spectrum[:, 60:601:60].sum(axis=1)
    assert 8 <= european.sum() <= 32
    share = np.where(
        european, spectrum[:, 50:501:50].sum(axis=1), spectrum[:, 60:601:60].sum(axis=1)
    ) / spectrum.sum(axis=1)
    assert share.min() < 0.3
    assert share.max() > 0.9


def test_reverberation_decays_as_drawn():
    draws = np.random.default_rng(0).standard_normal((64, RATE)).astype("float32")
    seconds = np.geomspace(0.1, 0.6, 64)[:, None].astype("float32")
    tails = np.asarray(maths.reverb_tail(draws, seconds, np.full_like(seconds, 0.01), RATE))
    np.testing.assert_array_equal(tails[:, : int(0.01 * RATE)], 0.0)
    np.testing.assert_allclose(np.sum(np.square(tails), axis=1), 1.0, rtol=1e-4)
    for tail, wanted in zip(tails.astype("float64"), seconds[:, 0], strict=True):
        # Schroeder's integral, from 5 to 35 dB below its start.
        curve = decibels(np.cumsum(np.square(tail[::-1]))[::-1] + 1e-12)
        fitted = np.flatnonzero((curve < curve[0] - 5) & (curve > curve[0] - 35))
        slope = np.polyfit(fitted / RATE, curve[fitted], 1)[0]
        assert abs(-60 / slope / wanted - 1) < 0.25
    assert abs(np.corrcoef(tails[0, 100:900], tails[1, 100:900])[0, 1]) < 0.2


def test_convolution_equals_scipy():
    rng = np.random.default_rng(0)
    signal, taps = rng.normal(size=(2, 3, 500)).astype("float32")
    expected = [
        scipy.signal.fftconvolve(one, tap[:120])[:500]
        for one, tap in zip(signal, taps, strict=True)
    ]
    found = np.asarray(maths.convolve(signal, taps[:, :120]))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_reverb_keeps_the_power_and_adds_what_was_drawn():
    click = np.zeros((32, 4000), "float32")
    click[:, 100] = 0.5
    layer = RandomReverb(RATE, (0.1, 0.3), (3.0, 3.0), (0.01, 0.01), 1.0, seed=0)
    found = train(layer, click)
    np.testing.assert_allclose(power(found), power(click), rtol=1e-3)
    np.testing.assert_array_equal(np.abs(found[:, :100]).max(axis=1) < 1e-5, True)
    direct, rest = np.square(found[:, 100]), np.square(found[:, 101:]).sum(axis=1)
    np.testing.assert_allclose(decibels(direct / rest), 3.0, atol=0.05)


def test_hard_clipping_equals_numpy():
    inputs = noise(8, 2000)
    found = train(RandomClipping((6.0, 6.0), 0.0, 1.0, seed=0), inputs)
    limit = np.abs(inputs).max(axis=1, keepdims=True) / 10 ** (6 / 20)
    expected = np.clip(inputs, -limit, limit)
    expected *= np.sqrt(power(inputs) / power(expected))[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_soft_clipping_equals_numpy():
    inputs = noise(8, 2000)
    found = train(RandomClipping((12.0, 12.0), 1.0, 1.0, seed=0), inputs)
    drive = 10 ** (12 / 20) / np.abs(inputs).max(axis=1, keepdims=True)
    expected = np.tanh(inputs * drive)
    expected *= np.sqrt(power(inputs) / power(expected))[:, None]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        (RandomGain, {"gain_db": 3.0}, "`gain_db`.*pair.*3.0"),
        (RandomGain, {"gain_db": (3.0, -3.0)}, "`gain_db`.*least, greatest"),
        (RandomGain, {"gain_db": (0.0, float("nan"))}, "`gain_db`.*nan"),
        (RandomGain, {"probability": -0.1}, "`probability`.*-0.1"),
        (RandomEqualizer, {"points": 1}, "`points`.*1"),
        (RandomEqualizer, {"gain_db": -1.0}, "`gain_db`.*-1.0"),
        (RandomEqualizer, {"sample_rate": 10}, "`sample_rate`.*10"),
        (RandomBandLimit, {"low_cut_hz": (0.0, 10.0)}, "`low_cut_hz`.*0.0"),
        (RandomBandLimit, {"low_cut_hz": (20, 5000)}, "below `high_cut_hz`.*5000"),
        (RandomBandLimit, {"order": 0}, "`order`.*0"),
        (RandomNoise, {"snr_db": (0, 1000)}, "`snr_db`.*1000"),
        (RandomNoise, {"exponent": (-3, 0)}, "`exponent`.*-3"),
        (RandomNoise, {"hum": 2}, "`hum`.*2"),
        (RandomReverb, {"decay_seconds": (0, 1)}, "`decay_seconds`.*above 0.*0"),
        (RandomReverb, {"direct_db": (-50, 0)}, "`direct_db`.*-50"),
        (RandomReverb, {"delay_seconds": (0, 1)}, "`delay_seconds`.*1"),
        (RandomClipping, {"drive_db": (-1, 1)}, "`drive_db`.*-1"),
        (RandomClipping, {"soft": True}, "`soft`.*True"),
    ],
)
def test_refuses_bad_arguments(kind, config, message):
    with pytest.raises(ValueError, match=message):
        kind(**config)


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_refuses_bad_shapes(kind):
    with pytest.raises(ValueError, match=r"\(batch, samples\).*\(2, 60, 1\)"):
        kind(**LAYERS[kind])(np.zeros((2, 60, 1), "float32"))
