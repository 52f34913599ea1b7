"""`HostAugmentation`: speed, pitch, tempo and codecs, measured on what comes out."""

import json
import sys

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from hmic_keras.data import HostAugmentation
from hmic_keras.errors import HmicError, MissingDependencyError

RATE = 16000
SAMPLES = 2 * RATE
SECONDS = np.arange(SAMPLES) / RATE
TONE = (
    0.4 * np.sin(2 * np.pi * 440 * SECONDS) + 0.2 * np.sin(2 * np.pi * 1320 * SECONDS)
).astype("float32")
NOISE = (0.1 * np.random.default_rng(0).normal(size=SAMPLES)).astype("float32")


def bursts(*starts):
    """Short noise at each start, in seconds."""
    wave = np.zeros(SAMPLES, "float32")
    for start in starts:
        wave[int(start * RATE) :][:800] = 3 * NOISE[:800] * np.hanning(800)
    return wave


def always(seed=0, waveform=TONE, **steps):
    options = {name: {"probability": 1.0, **values} for name, values in steps.items()}
    augment = HostAugmentation(sample_rate=RATE, **options)
    return augment(waveform, np.random.default_rng(seed))


def pitch_of(waveform):
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 1 << 17))
    return np.argmax(spectrum) * RATE / (1 << 17)


def onsets_of(waveform):
    """Where the energy of each burst is centred, in seconds."""
    energy = scipy.signal.convolve(np.square(waveform), np.hanning(800), "same")
    peaks, _ = scipy.signal.find_peaks(energy, 0.2 * energy.max(), distance=2000)
    return peaks / RATE


def lag(found, given):
    """By how many samples one waveform is later than the other."""
    correlation = scipy.signal.correlate(found, given, method="fft")
    return int(np.argmax(correlation)) - len(given) + 1


def band_power(waveform, low, high):
    frequencies, density = scipy.signal.welch(waveform, RATE, nperseg=1024)
    return 10 * np.log10(density[(frequencies >= low) & (frequencies < high)].mean())


@pytest.mark.parametrize("factor", [0.9, 1.2])
def test_speed_moves_pitch_and_onsets_by_one_factor(factor):
    found = always(speed={"factor": [factor, factor]})
    assert len(found) == round(SAMPLES / max(1.0, factor))
    assert pitch_of(found) == pytest.approx(440 * factor, rel=2e-3)
    moved = onsets_of(always(waveform=bursts(0.3, 1.5), speed={"factor": [factor, factor]}))
    np.testing.assert_allclose(moved, (np.array([0.3, 1.5]) + 0.025) / factor, atol=2e-3)


@pytest.mark.parametrize("semitones", [-3.0, 2.5])
def test_pitch_moves_the_pitch_alone(semitones):
    pytest.importorskip("python_stretch")
    found = always(pitch={"semitones": [semitones, semitones]})
    assert len(found) == SAMPLES
    assert pitch_of(found) == pytest.approx(440 * 2 ** (semitones / 12), rel=5e-3)
    moved = onsets_of(always(waveform=bursts(0.5, 1.5), pitch={"semitones": [semitones] * 2}))
    np.testing.assert_allclose(moved, np.array([0.5, 1.5]) + 0.025, atol=0.02)


@pytest.mark.parametrize("factor", [0.85, 1.25])
def test_tempo_moves_the_onsets_alone(factor):
    pytest.importorskip("python_stretch")
    found = always(tempo={"factor": [factor, factor]})
    assert len(found) == round(SAMPLES / max(1.0, factor))
    assert pitch_of(found) == pytest.approx(440, rel=2e-3)
    moved = onsets_of(always(waveform=bursts(0.3, 1.4), tempo={"factor": [factor, factor]}))
    np.testing.assert_allclose(moved, (np.array([0.3, 1.4]) + 0.025) / factor, atol=0.02)


@pytest.mark.parametrize(
    ("name", "quality", "loss"),
    [("mp3", 0.05, 6.0), ("vorbis", 0.0, None), ("telephone", 1, 40)],
)
def test_codecs_keep_length_and_place_and_lose_what_they_lose(name, quality, loss):
    options = {"formats": [name], "quality": [quality, quality]}
    found = always(waveform=NOISE, codec=options)
    assert len(found) == SAMPLES
    # Aligned, though not equal.
    assert lag(found, NOISE) == 0
    assert np.abs(found - NOISE).max() > 0.01
    below = scipy.signal.butter(8, 2500, output="sos", fs=RATE)
    kept = [scipy.signal.sosfiltfilt(below, wave) for wave in (found, NOISE)]
    assert np.corrcoef(*kept)[0, 1] > 0.7
    if loss is not None:
        assert band_power(NOISE, 5000, 7900) - band_power(found, 5000, 7900) > loss


@pytest.mark.parametrize("name", ["mp3", "vorbis"])
def test_quality_lowers_the_error(name):
    errors = []
    for quality in (0.1, 0.5, 0.9):
        found = always(waveform=NOISE, codec={"formats": [name], "quality": [quality] * 2})
        errors.append(np.square(found - NOISE).mean())
    assert errors[0] > 1.5 * errors[2]
    assert errors[0] > errors[1] > errors[2]


def test_mu_law_is_heard_at_eight_kilohertz():
    tone = always(waveform=TONE, codec={"formats": ["telephone"]})
    inner = slice(1000, -1000)
    error = np.square(tone - TONE)[inner].mean() / np.square(TONE)[inner].mean()
    # G.711 is specified at about 38 dB.
    assert 33 < -10 * np.log10(error) < 45


def test_probability_and_ranges():
    augment = HostAugmentation(speed={"factor": [0.8, 1.25], "probability": 0.5})
    wave = TONE[:4000]
    random = np.random.default_rng(0)
    results = [augment(wave, random) for _ in range(120)]
    assert {len(result) for result in results} == {3200}
    changed = [result for result in results if not np.array_equal(result, wave[:3200])]
    assert abs(len(changed) / 120 - 0.5) < 0.15
    factors = np.array([pitch_of(result) for result in changed]) / 440
    assert 0.79 < factors.min() < 0.88
    assert 1.17 < factors.max() < 1.26


def test_one_generator_gives_the_same_again():
    pytest.importorskip("python_stretch")
    augment = HostAugmentation(speed={}, pitch={}, tempo={}, codec={})
    wave = TONE[:8000] + NOISE[:8000]
    found = [
        [augment(wave, random) for _ in range(6)]
        for random in (np.random.default_rng(0), np.random.default_rng(0))
    ]
    np.testing.assert_array_equal(*found)
    assert len({result.tobytes() for result in found[0]}) > 2


def test_what_is_left_out_does_not_shift_what_is_drawn():
    speed = {"factor": [0.8, 1.0], "probability": 1.0}
    alone = HostAugmentation(speed=speed)(TONE, np.random.default_rng(4))
    beside = HostAugmentation(speed=speed, codec={"probability": 0.0})
    np.testing.assert_array_equal(beside(TONE, np.random.default_rng(4)), alone)


@given(st.integers(1, 3000), st.floats(1.0, 2.0), st.integers(0, 100))
@settings(max_examples=25, deadline=None)
def test_any_length_gives_its_share_of_samples(size, factor, seed):
    """What the pipeline relies on: `ceil(size * context)` in, at least `size` out."""
    augment = HostAugmentation(
        speed={"factor": [0.5, factor]}, codec={"formats": ["telephone", "vorbis"]}
    )
    wanted = int(np.ceil(size * augment.context))
    found = augment(np.resize(NOISE, wanted), np.random.default_rng(seed))
    assert found.dtype == np.float32
    assert size <= len(found) <= size + 1
    assert np.isfinite(found).all()


@pytest.mark.parametrize("samples", [1, 100, 5000])
def test_silence_loudness_and_short_waveforms(samples):
    pytest.importorskip("python_stretch")
    steps = {name: {} for name in ("speed", "pitch", "tempo", "codec")}
    for seed in range(3):
        silent = always(seed, np.zeros(samples, "float32"), **steps)
        assert np.abs(silent).max() < 1e-3
        loud = always(seed, np.sign(np.resize(NOISE, samples)), **steps)
        assert np.isfinite(loud).all()
        assert np.abs(loud).max() <= 1.0


def test_round_trip_of_the_settings():
    pytest.importorskip("python_stretch")
    augment = HostAugmentation.from_dict({"sample_rate": 22050, "pitch": None, "codec": {}})
    values = json.loads(json.dumps(augment.to_dict()))
    assert set(values) == {"sample_rate", "pitch", "codec"}
    assert HostAugmentation.from_dict(values).to_dict() == augment.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"mapping with keys of \['sample_rate', 'speed'.*\[\]"),
        ({"echo": {}}, "keys of.*'echo'"),
        ({"sample_rate": 16000.5}, "`sample_rate`.*16000.5"),
        ({"speed": 1.1}, "`speed` must be None or a mapping.*1.1"),
        ({"speed": {"ratio": [1, 1]}}, r"`speed`.*options of \['factor'.*'ratio'"),
        ({"speed": {"factor": [1.1, 0.9]}}, r"`factor` of `speed`.*\[1.1, 0.9\]"),
        ({"speed": {"factor": 1.1}}, "pair.*1.1"),
        ({"tempo": {"factor": [0.1, 1]}}, "0.5 to 2.*0.1"),
        ({"pitch": {"semitones": [float("nan"), 1]}}, "`semitones` of `pitch`.*nan"),
        ({"codec": {"probability": True}}, "`probability` of `codec`.*True"),
        ({"codec": {"formats": []}}, "`formats`.*at least one"),
        ({"codec": {"formats": "mp3"}}, "`formats`.*'mp3'"),
        ({"codec": {"formats": ["aac"]}}, "'vorbis'.*'aac'"),
        ({"codec": {}, "sample_rate": 15000}, "MP3 of 15000 Hz.*16000"),
    ],
)
def test_refuses_bad_settings(values, message):
    with pytest.raises(HmicError, match=message):
        HostAugmentation.from_dict(values)


@pytest.mark.parametrize("waveform", [np.zeros((2, 100)), np.zeros(0)])
def test_refuses_bad_waveforms(waveform):
    with pytest.raises(HmicError, match=r"\(samples,\) and not empty"):
        HostAugmentation(speed={})(waveform, np.random.default_rng(0))


@pytest.mark.parametrize("step", ["pitch", "tempo"])
def test_says_what_is_missing(step, monkeypatch):
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(MissingDependencyError, match=r"hmic-keras\[augment\]"):
        HostAugmentation(**{step: {}})
