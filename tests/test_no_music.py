"""The test signals without instruments."""

import numpy as np
import pytest

from hmic_keras.data.no_music import KINDS, no_music


def make(kind, seed=0, frames=48000):
    return no_music(kind, frames, 16000, np.random.default_rng(seed))


def slope(sound):
    """Power against frequency from 200 to 6400 Hz, in decibels an octave."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / 16000)
    octaves = [
        power[(hertz >= f) & (hertz < 2 * f)].mean() for f in (200, 400, 800, 1600, 3200)
    ]
    return np.polyfit(range(5), 10 * np.log10(octaves), 1)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_audio_and_follows_its_generator(kind):
    sound = make(kind)
    assert sound.shape == (48000,)
    assert sound.dtype == np.float32
    assert np.abs(sound).max() <= 1
    np.testing.assert_array_equal(sound, make(kind))
    assert kind == "digital_silence" or not np.array_equal(sound, make(kind, seed=1))


def test_they_are_what_they_are_called():
    assert not make("digital_silence").any()
    assert slope(make("white_noise")) == pytest.approx(0, abs=0.5)
    assert slope(make("pink_noise")) == pytest.approx(-3, abs=0.5)
    spectrum = np.abs(np.fft.rfft(make("hum")))
    assert np.argmax(spectrum) / 3 in (50, 60)
    spectrum = np.abs(np.fft.rfft(make("sine") * np.hanning(48000))) ** 2
    peak = np.argmax(spectrum)
    assert spectrum[peak - 3 : peak + 4].sum() > 0.999 * spectrum.sum()


def test_levels_spread_over_60_decibels():
    peaks = [20 * np.log10(np.abs(make("sine", seed)).max()) for seed in range(60)]
    assert min(peaks) < -50
    assert max(peaks) > -10


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"`kind` must be one of .*'piano'"):
        make("piano")
