"""Tests of mixing, and of the clips in which nothing plays."""

import numpy as np
import pytest

from hmic_keras.data.audio import SILENCE_PEAK
from hmic_keras.data.synthesis import _mixing, _silence


def mix(seed, sounds, pans=None, **options):
    """Mixes mono sounds at 24 kHz into a clip at 16 kHz."""
    pans = pans or [0.0] * len(sounds)
    parts = [
        (np.stack([sound, sound]).astype(np.float32), pan)
        for sound, pan in zip(sounds, pans, strict=True)
    ]
    frames = len(sounds[0]) * 2 // 3
    return _mixing.mix(np.random.default_rng(seed), parts, frames, 16_000, **options)


def sine(hertz, seconds=2.0):
    return np.sin(2 * np.pi * hertz * np.arange(int(24_000 * seconds)) / 24_000)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000])
def test_aliases_of_the_rendering_rate_miss_the_band(rate):
    rendered = _mixing.rendering_rate(rate)
    # What lies below 16 kHz folds to no less than this; SoundFonts hold little beyond.
    assert rendered - 16_000 >= rate / 2 or rendered >= 32_000
    assert (2 * rendered) % rate == 0
    assert 8000 <= rendered <= 96_000  # the range of FluidSynth


def test_activity_is_where_the_part_sounds():
    time = np.arange(24_000 * 3) / 24_000
    tone = sine(440, 3.0) * ((time > 0.5) & (time < 1.2))
    noise = 0.001 * np.random.default_rng(0).standard_normal(len(time)) * (time > 2.0)
    mixed = mix(1, [tone, noise])
    assert mixed.clip.shape == (48_000,)
    assert mixed.clip.dtype == np.float32
    np.testing.assert_allclose(mixed.activity[0], [(0.5, 1.2)], atol=0.03)
    np.testing.assert_allclose(mixed.activity[1], [(2.0, 3.0)], atol=0.03)


def test_peak_is_drawn_and_never_clips():
    peaks = [20 * np.log10(np.abs(mix(seed, [sine(500)]).clip).max()) for seed in range(30)]
    assert -18.001 < min(peaks) < -14
    assert -4 < max(peaks) < -0.299


def test_faint_part_is_raised_to_the_level_of_the_others():
    for seed in range(10):
        clip = mix(seed, [sine(500), 1e-3 * sine(1500)]).clip
        spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip))))
        strong, faint = (spectrum[2 * hz - 8 : 2 * hz + 9].max() for hz in (500, 1500))
        # 10 dB of level, the rest from colour and room; 60 dB before mixing.
        assert abs(20 * np.log10(faint / strong)) < 30


@pytest.mark.parametrize("channels", [1, 2])
def test_stems_add_up(channels):
    mixed = mix(4, [sine(500), sine(900), sine(1500)], channels=channels, stems=True)
    assert [stem.shape for stem in mixed.stems] == [mixed.clip.shape] * 3
    np.testing.assert_allclose(sum(mixed.stems), mixed.clip, atol=1e-5)
    alone = mix(4, [sine(500), sine(900), sine(1500)], channels=channels)
    assert alone.stems == []
    np.testing.assert_allclose(alone.clip, mixed.clip, atol=1e-5)


@pytest.mark.parametrize("pan", [-1.0, -0.5, 0.0, 0.7])
def test_pan_places_at_constant_power(pan):
    sides = _mixing._placed(np.ones((2, 240), np.float32), pan, 2, 16_000)
    left, right = np.median(sides, axis=1)
    np.testing.assert_allclose(left**2 + right**2, 2.0, rtol=0.01)
    np.testing.assert_allclose(np.arctan2(right, left), (pan + 1) * np.pi / 4, atol=0.01)


def test_gaps_are_bridged_and_the_end_is_the_clip():
    sounding = np.array([1] * 4 + [0] * 5 + [1] * 3 + [0] * 6 + [1] * 2, bool)
    np.testing.assert_allclose(_mixing._intervals(sounding, 0.39), [(0.0, 0.24), (0.36, 0.39)])


@pytest.mark.parametrize("channels", [1, 2])
def test_silence_comes_in_many_kinds(channels):
    drawn = {}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        name, sound = _silence.draw_silence(rng, 16_000, 16_000, channels)
        assert sound.shape == ((16_000,) if channels == 1 else (16_000, 2))
        assert sound.dtype == np.float32
        assert np.abs(sound).max() < 1
        # In a file of 16 bits it is no digital silence, which training refuses.
        written = np.rint(sound * 32767) / 32768
        assert np.abs(written if channels == 1 else written.mean(axis=1)).max() > SILENCE_PEAK
        drawn.setdefault(name, []).append(sound)
    assert set(drawn) == {"silence", "noise", "gusts", "hum", "tone", "crackle"}
    assert max(np.abs(sound).max() for sound in drawn["silence"]) < 0.002


def test_hum_is_that_of_the_mains():
    time = np.arange(16_000) / 16_000
    for seed in range(5):
        hum = _silence._KINDS["hum"](np.random.default_rng(seed), time)
        strongest = np.argmax(np.abs(np.fft.rfft(hum * np.hanning(len(hum)))))
        assert min(min(strongest % base, base - strongest % base) for base in (50, 60)) <= 1


def test_tones_are_pure():
    time = np.arange(16_000) / 16_000
    flatness = []
    for seed in range(12):
        tone = _silence._KINDS["tone"](np.random.default_rng(seed), time)
        # One sine at any moment: in a short frame, its power lies around one frequency.
        power = np.abs(np.fft.rfft(tone[6000:6512] * np.hanning(512))) ** 2
        peak = np.argmax(power)
        flatness.append(power[max(0, peak - 6) : peak + 7].sum() / max(power.sum(), 1e-12))
    assert np.median(flatness) > 0.99
