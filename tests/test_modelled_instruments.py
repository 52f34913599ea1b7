"""Tests of the modelled instruments and of corpora that they play."""

import csv
import functools
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from test_synthesis import OPENMIC, need_soundfont, render_few

from hmic_keras.data.sources.folder import read_clips
from hmic_keras.data.synthesis._compose import compose
from hmic_keras.data.synthesis._instruments import DRUM_BANK, INSTRUMENTS, UNPITCHED
from hmic_keras.data.synthesis._models import MODELS, has_model, play
from hmic_keras.data.synthesis._models._sound import (
    Warp,
    block_times,
    partials,
    shaped_partials,
)
from hmic_keras.data.synthesis._models._stage import Stage, lines_of
from hmic_keras.data.synthesis._score import Control, Note, Part
from hmic_keras.data.synthesis._styles import STYLES

RATE = 24_000
PITCHED = [name for name in MODELS if INSTRUMENTS[name].kind not in UNPITCHED]


def one_note(name, key, seed=0, seconds=1.6, controls=(), velocity=90):
    part = Part(name, "melody", (Note(0.1, 1.3, key, velocity),), (), controls=controls)
    return play(np.random.default_rng(seed), part, int(seconds * RATE), RATE)[0]


@functools.cache
def short_part(name, seed):
    player = INSTRUMENTS[name]
    return compose(np.random.default_rng([4, seed]), STYLES[0], {name: player}, 2.0).parts[0]


def played(name, seed, part_seed=0):
    part = short_part(name, part_seed)
    return play(np.random.default_rng([9, seed]), part, 2 * RATE, RATE)


def test_partials_are_decaying_sinusoids():
    hertz, decay = np.array([100.0, 2345.6, 7000.0]), np.array([0.0, 3.0, 40.0])
    gain = np.array([1.0, 0.5j, -0.2 + 0.1j])
    time = np.arange(5000) / RATE
    expected = sum(
        (g * np.exp((-d + 2j * np.pi * f) * time)).real
        for f, d, g in zip(hertz, decay, gain, strict=True)
    )
    np.testing.assert_allclose(partials(hertz, decay, gain, 5000, RATE), expected, atol=2e-4)


def test_shaped_partials_follow_their_gains():
    hertz, phase = np.array([440.0, 3000.0]), np.array([0.3, -1.0])
    at, time = block_times(6000, RATE), np.arange(6000) / RATE
    gains = np.stack([np.exp(-5.0 * at), 0.5 + at], axis=1)
    sound = shaped_partials(hertz, phase, gains, 6000, RATE)
    expected = np.exp(-5.0 * time) * np.cos(2 * np.pi * 440.0 * time + 0.3)
    expected += (0.5 + time) * np.cos(2 * np.pi * 3000.0 * time - 1.0)
    np.testing.assert_allclose(sound, expected, atol=1e-2)


def test_warp_bends_a_sinusoid():
    part = Part("guitar", "melody", (Note(0.0, 1.0, 60, 90),), ())
    stage = Stage(np.random.default_rng(0), part, RATE, RATE)
    semitones = 0.5 * np.sin(2 * np.pi * 5.0 * stage.times)
    warp = Warp(stage, semitones)
    sound = np.sin(2 * np.pi * 400.0 * np.arange(warp.frames) / RATE)
    hertz = 400.0 * 2 ** (0.5 / 12 * np.sin(2 * np.pi * 5.0 * np.arange(RATE) / RATE))
    expected = np.sin(2 * np.pi * np.cumsum(hertz) / RATE)
    bent = warp.apply(sound.astype(np.float32))
    # The sum counts the first sample, hence one sample of lag.
    np.testing.assert_allclose(bent[1:-4], expected[:-5], atol=0.02)


def test_lines_sound_one_note_at_a_time():
    rng = np.random.default_rng(3)
    notes = [
        Note(float(t), 0.5, int(k), 80)
        for t, k in zip(np.sort(rng.uniform(0, 5, 40)), rng.integers(40, 80, 40), strict=True)
    ]
    lines = lines_of(notes)
    dealt = sorted((note.onset, note.key) for line in lines for note in line)
    assert dealt == sorted((note.onset, note.key) for note in notes)
    for line in lines:
        for before, after in pairwise(line):
            assert before.onset + before.duration <= after.onset + 1e-9
    melody = [Note(float(t), 0.52, 60 + t, 80) for t in range(8)]
    assert len(lines_of(melody)) == 1


@pytest.mark.parametrize("name", PITCHED)
def test_notes_have_their_pitch(name):
    player = INSTRUMENTS[name]
    size = 8 * RATE
    for seed in range(4):
        key = int(np.random.default_rng(seed).integers(player.low, player.high + 1))
        # Singers may glide into a note, while muted strings are soon silent.
        start = 0.12 if player.kind in ("plucked", "bass") else 0.35
        sound = one_note(name, key, seed)[int(start * RATE) : int(1.3 * RATE)]
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), size)) ** 2
        base = 440.0 * 2.0 ** ((key - 69) / 12)

        def harmonic_power(cents, power=power, base=base):
            hertz = base * 2.0 ** (cents / 1200.0) * np.arange(1, 7)
            bins = np.round(hertz[hertz < 9000] * size / RATE).astype(int)
            near = np.stack([power[bins + i] for i in (-2, -1, 0, 1, 2)])
            return np.sqrt(near.max(axis=0)).sum()

        cents = np.arange(-100, 101, 5)
        found = cents[np.argmax([harmonic_power(c) for c in cents])]
        # Choirs, ensembles of reeds and vibratos are a little wide.
        assert abs(found) <= 35, (seed, key, found)


@pytest.mark.parametrize("name", MODELS)
def test_part(name):
    one, again, other = played(name, 1), played(name, 1), played(name, 2)
    assert one.shape == (2, 2 * RATE)
    assert one.dtype == np.float32
    np.testing.assert_array_equal(one, again)
    for sound in (one, other):
        assert 0.11 < np.abs(sound).max() < 0.46
        spectrum = np.abs(np.fft.rfft(sound[0])) ** 2
        hertz = np.fft.rfftfreq(2 * RATE, 1 / RATE)
        # What lies beyond the band of a clip at 16 kHz is little, and so are its aliases.
        assert spectrum[hertz > 10_000].sum() < 2e-2 * spectrum.sum()
        assert spectrum[hertz < 15].sum() < 2e-2 * spectrum.sum()
    # The instrument is drawn anew.
    assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.98


@pytest.mark.parametrize("name", MODELS)
def test_every_key_sounds_in_its_time(name):
    player = INSTRUMENTS[name]
    keys = sorted(player.keys) or np.linspace(player.low, player.high, 5).astype(int)
    for seed, key in enumerate(keys):
        part = Part(name, "melody", (Note(0.5, 0.4, int(key), 70),), ())
        sound = play(np.random.default_rng(seed), part, int(1.2 * RATE), RATE)[0]
        before, during = sound[: int(0.4 * RATE)], sound[int(0.5 * RATE) : int(0.9 * RATE)]
        assert np.abs(during).max() > 0.1
        # Consonants, breath and players of a choir may come a little early.
        assert np.abs(before).max() < 0.05 * np.abs(during).max()


def log_spectrum(name, seed):
    sound = one_note(name, 62, seed)
    power = np.abs(np.fft.rfft(sound[: int(1.5 * RATE)])) ** 2
    edges = np.geomspace(100, 8000, 25)
    hertz = np.fft.rfftfreq(int(1.5 * RATE), 1 / RATE)
    return np.log10([power[(hertz >= a) & (hertz < b)].sum() + 1e-9 for a, b in
                     pairwise(edges)])  # fmt: skip


def test_a_class_varies():
    for name in PITCHED:
        spread = np.std([log_spectrum(name, seed) for seed in range(5)], axis=0)
        # Several decibels from one instrument to another of its class.
        assert spread.mean() > 0.25, name


def test_controls_shape_the_tone():
    flat = one_note("organ", 60, 5)
    soft = one_note("organ", 60, 5, controls=(Control(0.8, "expression", 0.2),))
    late = slice(int(1.1 * RATE), int(1.3 * RATE))
    early = slice(int(0.3 * RATE), int(0.7 * RATE))

    def drop(sound):
        return np.std(sound[late]) / np.std(sound[early])

    assert drop(soft) < 0.5 * drop(flat)
    bent = one_note("banjo", 60, 5, controls=(Control(0.0, "bend", 1.0),))
    spectrum = np.abs(np.fft.rfft(bent[: RATE + 2400] * np.hanning(RATE + 2400), 8 * RATE))
    near = slice(255 * 8, 285 * 8)
    assert abs((255 * 8 + np.argmax(spectrum[near])) / 8 - 277.18) < 1.5


def test_a_program_decides_before_a_model():
    assert has_model("guitar", INSTRUMENTS["guitar"])
    assert not has_model("guitar", INSTRUMENTS["piano"])
    assert not has_model("kazoo", INSTRUMENTS["voice"])


def rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.synth
class TestCorpus:
    @pytest.fixture
    def font(self):
        return need_soundfont("TimGM6mb.sf2")

    def test_none_half_all(self, font, tmp_path):
        shares = {}
        for share in (0.0, 0.5, 1.0):
            out = tmp_path / str(share)
            manifest = render_few(font, out, clips=6, modelled=share, polyphony=(3, 5))
            parts = rows(out / "parts.csv")
            models = [row for row in parts if row["bank"] == row["program"] == ""]
            assert all(row["class"] in MODELS for row in models)
            counted = {n: sum(r["class"] == n for r in models) for n in MODELS}
            assert manifest["modelled_parts"] == {n: c for n, c in sorted(counted.items()) if c}
            assert manifest["settings"]["modelled"] == share
            able = [row for row in parts if row["class"] in MODELS]
            shares[share] = len(models) / len(able)
            assert manifest["unobserved"] == ([] if share else ["mandolin", "ukulele"])
            for path in (out / "clips").iterdir():
                assert 0.1 < np.abs(soundfile.read(path)[0]).max() < 1.0
        assert shares[0.0] == 0.0 < shares[0.5] < shares[1.0] == 1.0

    def test_who_plays_is_the_same_with_models(self, tmp_path):
        font = need_soundfont("FluidR3_GM.sf2")
        for share in (0.0, 0.6):
            render_few(font, tmp_path / str(share), clips=4, modelled=share)
        for table in ("labels.csv", "events.csv"):
            plain, models = ((tmp_path / n / table).read_bytes() for n in ("0.0", "0.6"))
            assert plain == models
        samples = [
            (tmp_path / n / "clips" / f"{i:05d}.wav").read_bytes()
            for n in ("0.0", "0.6")
            for i in range(4)
        ]
        assert samples[:4] != samples[4:]

    def test_a_class_that_only_a_model_plays(self, font, tmp_path):
        manifest = render_few(font, tmp_path / "out", clips=8, modelled=0.01, polyphony=(5, 6))
        assert {"mandolin", "ukulele"} <= manifest["modelled_parts"].keys()
        labels = read_clips(tmp_path / "out" / "labels.csv", OPENMIC).labels["fine"]
        assert (labels >= 0).all()
        drums = [r for r in rows(tmp_path / "out" / "parts.csv") if r["class"] == "drums"]
        assert all(r["bank"] in ("", str(DRUM_BANK)) for r in drums)

    def test_processes_do_not_matter(self, font, tmp_path):
        for count in (1, 2):
            render_few(font, tmp_path / str(count), clips=4, modelled=1.0, processes=count)
        one, two = (
            [(tmp_path / n / "clips" / f"{i:05d}.wav").read_bytes() for i in range(4)]
            for n in ("1", "2")
        )
        assert one == two
