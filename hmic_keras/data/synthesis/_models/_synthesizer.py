"""Synthesizers: subtractive, frequency modulation, wave tables; pads, leads and sweeps.

Every patch is drawn anew. Oscillators are sums of partials whose gains follow the filter, so
that nothing is made above the band. FM is J. M. Chowning's ("The synthesis of complex audio
spectra by means of frequency modulation", JAES 21(7), 1973), its index held so low that the
sidebands stay in the band.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hmic_keras.data.synthesis._models._sound import (
    MovingFilter,
    Warp,
    block_times,
    delayed,
    echoed,
    filtered,
    high_pass,
    oscillate,
    overdriven,
    play_notes,
    shaped_partials,
)
from hmic_keras.data.synthesis._models._stage import Stage, hertz, lines_of, smooth

_Make = Callable[[int, float, int], np.ndarray]
_MOST_PARTIALS = 180
_LONG_ROLES = ("pad", "drone", "long", "chorale")


@dataclass(frozen=True)
class _Shape:
    """Attack, decay and release in seconds, and the level that is held."""

    attack: float
    decay: float
    sustain: float
    release: float

    def gain(self, times: np.ndarray) -> np.ndarray:
        """Returns the level at times after the start of a note."""
        fall = np.maximum(times - self.attack, 0.0) / self.decay
        level = self.sustain + (1.0 - self.sustain) * np.exp(-3.0 * fall)
        return np.minimum(times / self.attack, 1.0) * level


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _shape(stage: Stage) -> _Shape:
    rng = stage.rng
    if stage.part.role in _LONG_ROLES and rng.random() < 0.8:
        return _Shape(_log(rng, 0.01, 0.6), 1.0, rng.uniform(0.6, 1.0), _log(rng, 0.1, 1.0))
    sustain = float(rng.choice([0.0, rng.uniform(0.2, 1.0)], p=[0.35, 0.65]))
    return _Shape(_log(rng, 0.003, 0.04), _log(rng, 0.1, 1.5), sustain, _log(rng, 0.03, 0.5))


def synthesizer(stage: Stage) -> np.ndarray:
    """Plays a part on a synthesizer with a patch of its own."""
    rng = stage.rng
    kind = rng.choice(["subtractive", "fm", "table"], p=[0.58, 0.2, 0.22])
    single = len(lines_of(stage.part.notes)) == 1
    if kind == "subtractive" and single and rng.random() < 0.5:
        sound = _lead(stage)
    else:
        shape = _shape(stage)
        make = {"subtractive": _subtractive, "fm": _fm, "table": _table}[str(kind)](
            stage, shape
        )
        wobble = rng.choice([0.0, rng.uniform(0.03, 0.3)], p=[0.6, 0.4])
        turns = stage.times * rng.uniform(3.0, 7.0)
        bend = stage.control("bend", 0.0) + wobble * np.sin(2 * np.pi * turns)
        sound = play_notes(stage, Warp(stage, bend), make, release=shape.release)
    return _effects(stage, sound * stage.full(stage.control("expression", 1.0)))


def _effects(stage: Stage, sound: np.ndarray) -> np.ndarray:
    """Adds what the panel and the rack add: sweep, drive, chorus, tremolo, echo."""
    rng = stage.rng
    if rng.random() < 0.12:
        level = np.abs(sound).max() * rng.uniform(0.05, 0.2)
        sound = sound + level * _sweep(stage) * stage.full(
            stage.envelope(stage.part.notes, 0.02, 0.3)
        )
    if rng.random() < 0.15:
        sound = overdriven(stage, sound, _log(rng, 1.5, 8.0))
    if rng.random() < 0.4:
        turns = stage.times * rng.uniform(0.2, 2.0) + rng.random()
        late = rng.uniform(0.006, 0.02) + 0.002 * np.sin(2 * np.pi * turns)
        sound = sound + np.float32(rng.uniform(0.4, 1.0)) * delayed(stage, sound, late)
    if rng.random() < 0.12:
        turns = stage.times * rng.uniform(2.0, 9.0)
        gate = smooth((turns % 1.0 < 0.5).astype(np.float64), stage.points(0.004))
        sound = sound * stage.full(1.0 - rng.uniform(0.3, 1.0) * gate)
    if rng.random() < 0.3:
        sound = echoed(stage, sound, rng.uniform(0.12, 0.5), rng.uniform(0.15, 0.5))
    return filtered(stage, sound, lambda grid: high_pass(grid, 30.0))


def _sweep(stage: Stage) -> np.ndarray:
    """Returns noise through a band that rises, falls, or both."""
    moving = MovingFilter(stage)
    turns = moving.times * stage.rng.uniform(0.1, 0.5) + stage.rng.random()
    centre = 400.0 * 2.0 ** (4.0 * (0.5 - 0.5 * np.cos(2 * np.pi * turns)))
    ratio = moving.hertz / centre[:, None].astype(np.float32)
    gain = 1.0 / np.sqrt(1.0 + 16.0 * (ratio - 1.0 / np.maximum(ratio, 1e-3)) ** 2)
    return moving.sound(moving.spectra(stage.noise()) * gain)


def _waveform(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Draws a wave: the amplitudes of harmonics by their numbers."""
    kind = rng.choice(["saw", "square", "pulse", "triangle"], p=[0.45, 0.2, 0.25, 0.1])
    width = 0.5 if kind == "square" else rng.uniform(0.06, 0.45)
    if kind == "saw":
        return lambda number: 1.0 / number
    if kind == "triangle":
        return lambda number: (number % 2) / number**2
    return lambda number: np.sin(np.pi * number * width) / number


@dataclass(frozen=True)
class _Filter:
    """A resonant low-pass whose corner follows an envelope, the key and a slow oscillator."""

    corner: float
    sharp: float
    steep: float
    amount: float
    decay: float
    track: float
    lfo: float
    pace: float

    def gain(self, hz: np.ndarray, times: np.ndarray, base: float, force: float) -> np.ndarray:
        """Returns gains `(times, hertz)` for a note of frequency `base`."""
        octaves = self.amount * np.exp(-times / self.decay) * (0.5 + force)
        octaves = octaves + self.lfo * np.sin(2 * np.pi * self.pace * times)
        corner = self.corner * (base / 260.0) ** self.track * 2.0**octaves
        # A corner below the note would silence it.
        ratio = hz / np.maximum(corner, 0.8 * base)[:, None]
        square = ratio**2
        power = (1.0 - square) ** 2 + square / self.sharp**2
        return power ** (-0.5 * self.steep)


def _draw_filter(rng: np.random.Generator) -> _Filter:
    return _Filter(
        corner=_log(rng, 250.0, 6000.0),
        sharp=_log(rng, 0.6, 6.0),
        steep=float(rng.choice([1.0, 1.0, 2.0])),
        amount=float(
            rng.choice(
                [0.0, rng.uniform(0.5, 4.0), -rng.uniform(0.5, 2.0)], p=[0.25, 0.6, 0.15]
            )
        ),
        decay=_log(rng, 0.04, 1.5),
        track=float(rng.uniform(0.0, 1.0)),
        lfo=float(rng.choice([0.0, rng.uniform(0.2, 1.5)], p=[0.65, 0.35])),
        pace=_log(rng, 0.1, 8.0),
    )


def _subtractive(stage: Stage, shape: _Shape) -> _Make:
    rng = stage.rng
    waves = [_waveform(rng) for _ in range(int(rng.integers(1, 3)))]
    steps = [0.0, float(rng.choice([0.0, 12.0, -12.0, 7.0], p=[0.4, 0.25, 0.25, 0.1]))]
    unison = int(rng.choice([1, 2, 3, 5, 7], p=[0.3, 0.25, 0.2, 0.15, 0.1]))
    spread = _log(rng, 4.0, 35.0)
    through = _draw_filter(rng)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        times = block_times(frames, stage.rate)
        level = shape.gain(times)[:, None]
        sound = np.zeros(frames, np.float32)
        for wave, step in zip(waves, steps, strict=False):
            base = hertz(key + step + stage.part.detune)
            number = np.arange(1, max(2, int(stage.band / base) + 1))
            voices = max(1, min(unison, _MOST_PARTIALS // len(number)))
            cents = spread * np.linspace(-1.0, 1.0, voices) if voices > 1 else np.zeros(1)
            gains = wave(number) * through.gain(number * base, times, base, force) * level
            tones = (2.0 ** (cents[:, None] / 1200.0) * base * number).ravel()
            # One starting point in time for all harmonics of a voice keeps the wave whole.
            phase = (rng.uniform(0, 2 * np.pi, (voices, 1)) * number).ravel()
            sound += shaped_partials(
                tones, phase, np.tile(gains, (1, voices)), frames, stage.rate
            ) / np.float32(voices**0.5)
        return sound

    return make


def _fm(stage: Stage, shape: _Shape) -> _Make:
    rng = stage.rng
    pairs = int(rng.choice([1, 1, 2]))
    ratios = rng.choice([0.5, 1.0, 1.0, 2.0, 3.0, 3.5, 4.0, 5.0, 7.0, 1.41], (pairs, 2))
    ratios[:, 0] = rng.choice([0.5, 1.0, 1.0, 2.0], pairs)
    ratios[0, 0] = 1.0
    depth = np.exp(rng.uniform(np.log(0.3), np.log(6.0), pairs))
    fall = np.exp(rng.uniform(np.log(0.05), np.log(2.0), pairs))
    held = rng.uniform(0.0, 1.0, pairs)
    beat = rng.uniform(0.0, 1.5, pairs)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        base = hertz(key + stage.part.detune)
        times = np.arange(frames) / stage.rate
        sound = np.zeros(frames, np.float32)
        for i, (carrier, modulator) in enumerate(ratios):
            # Carson's rule: the sidebands reach to about (index + 1) times the modulator.
            most = max(0.0, (stage.band / base - carrier) / modulator - 1.0)
            index = min(depth[i] * (0.4 + 1.2 * force), most)
            sweep = (held[i] + (1.0 - held[i]) * np.exp(-times / fall[i])).astype(np.float32)
            inner = (2 * np.pi * ((base * modulator * times + beat[i] * times) % 1.0)).astype(
                np.float32
            )
            outer = (2 * np.pi * ((base * carrier * times) % 1.0)).astype(np.float32)
            sound += np.sin(outer + np.float32(index) * sweep * np.sin(inner))
        return sound * shape.gain(times).astype(np.float32)

    return make


def _table(stage: Stage, shape: _Shape) -> _Make:
    """Two random spectra between which a slow oscillator moves, in two or three voices."""
    rng = stage.rng
    slope = rng.uniform(0.7, 2.0, 2)
    bumps = np.exp(rng.normal(0.0, 1.0, (2, 400)))
    bumps *= rng.random((2, 400)) < rng.uniform(0.4, 1.0)
    bumps[:, 0] = 1.0
    pace, spread = _log(rng, 0.1, 3.0), _log(rng, 3.0, 20.0)
    voices = int(rng.integers(1, 4))

    def make(key: int, force: float, frames: int) -> np.ndarray:
        base = hertz(key + stage.part.detune)
        number = np.arange(1, max(2, min(400, int(stage.band / base)) + 1))
        count = max(1, min(voices, _MOST_PARTIALS // len(number)))
        times = block_times(frames, stage.rate)
        one, other = (
            bump[: len(number)] / number ** (s + 0.6 - 0.8 * force)
            for bump, s in zip(bumps, slope, strict=True)
        )
        share = 0.5 - 0.5 * np.cos(2 * np.pi * pace * times)[:, None]
        gains = (one * (1.0 - share) + other * share) * shape.gain(times)[:, None]
        cents = spread * np.linspace(-1.0, 1.0, count) if count > 1 else np.zeros(1)
        tones = (2.0 ** (cents[:, None] / 1200.0) * base * number).ravel()
        phase = rng.uniform(0, 2 * np.pi, len(tones))
        return shaped_partials(tones, phase, np.tile(gains, (1, count)), frames, stage.rate)

    return make


def _lead(stage: Stage) -> np.ndarray:
    """Plays one line with glide, vibrato and a filter that each note opens."""
    rng = stage.rng
    line = lines_of(stage.part.notes)[0]
    keys = stage.keys(line, _log(rng, 0.002, 0.08))
    keys = keys + stage.part.detune + stage.control("bend", 0.0)
    depth = rng.choice([0.0, rng.uniform(0.05, 0.5)], p=[0.4, 0.6])
    keys = keys + depth * np.sin(2 * np.pi * rng.uniform(4.0, 7.0) * stage.times)
    starts = [note.onset for note in line]
    source = np.zeros(stage.frames, np.float32)
    count = int(rng.integers(1, 4))
    spread = _log(rng, 0.03, 0.25)
    for i in range(count):
        wave = _waveform(rng)

        def spectrum(hz: float, wave: Callable[[np.ndarray], np.ndarray] = wave) -> np.ndarray:
            return -1j * wave(np.arange(1, int(stage.band / hz) + 2))

        source += oscillate(stage, keys + spread * (i - (count - 1) / 2.0), spectrum, starts)
    source *= stage.full(stage.envelope(line, _log(rng, 0.003, 0.05), _log(rng, 0.03, 0.3)))
    moving = MovingFilter(stage)
    through = _draw_filter(rng)
    since = (
        moving.times
        - np.array([0.0, *starts])[np.searchsorted(starts, moving.times, side="right")]
    )
    base = hertz(float(np.mean([note.key for note in line])))
    gain = through.gain(np.maximum(moving.hertz, 1.0), since, base, 0.6)
    return moving.sound(moving.spectra(source) * gain.astype(np.float32))
