"""Organs and accordions: sums of steady partials, set going by keys, wind and bellows."""

from collections.abc import Callable
from functools import partial

import numpy as np

from hmic_keras.data.synthesis._models._sound import (
    Warp,
    block_times,
    delayed,
    filtered,
    high_pass,
    low_pass,
    overdriven,
    partials,
    play_notes,
    resonances,
    shaped_partials,
)
from hmic_keras.data.synthesis._models._stage import Stage, hertz

_Make = Callable[[int, float, int], np.ndarray]
# Drawbars of a tone-wheel organ from 16' to 1', as multiples of the 8' pitch.
_DRAWBARS = np.array([0.5, 1.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
_REGISTRATIONS = (
    (8, 8, 8, 0, 0, 0, 0, 0, 0),
    (8, 8, 8, 8, 8, 8, 8, 8, 8),
    (8, 0, 8, 0, 0, 0, 0, 0, 8),
    (0, 0, 8, 8, 0, 0, 0, 0, 0),
    (8, 8, 6, 4, 0, 0, 0, 0, 0),
    (8, 3, 8, 6, 2, 4, 0, 2, 3),
    (8, 0, 0, 0, 0, 4, 5, 6, 8),
    (0, 0, 8, 7, 4, 5, 2, 2, 1),
)


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def organ(stage: Stage) -> np.ndarray:
    """Plays a tone-wheel organ, pipes, or a transistor organ."""
    kind = stage.rng.choice(["wheels", "pipes", "transistors"], p=[0.5, 0.32, 0.18])
    sound = {"wheels": _wheels, "pipes": _pipes, "transistors": _transistors}[str(kind)](stage)
    return sound * stage.full(stage.control("expression", 1.0))


def _play(
    stage: Stage, make: _Make, release: float, wobble: np.ndarray | float = 0.0
) -> np.ndarray:
    warp = Warp(stage, stage.control("bend", 0.0) + wobble)
    return play_notes(stage, warp, make, release=release)


def _wheels(stage: Stage) -> np.ndarray:
    rng = stage.rng
    bars = np.array(_REGISTRATIONS[rng.integers(len(_REGISTRATIONS))], np.float64)
    bars = np.clip(bars + rng.integers(-2, 3, 9) * (rng.random(9) < 0.6), 0, 8)
    bars[2] = max(bars[2], 4.0)
    level = np.where(bars > 0, 10 ** (-0.15 * (8.0 - bars)), 0.0)
    click, leak = _log(rng, 0.005, 0.12), _log(rng, 0.002, 0.03)
    struck = rng.random() < 0.35
    second = float(rng.choice([2.0, 3.0]))
    fall = rng.uniform(8.0, 30.0)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        base = hertz(key + stage.part.detune)
        tones = base * _DRAWBARS
        # The highest wheels are missing and the next lower octave sounds instead.
        while (tones > 5900.0).any():
            tones = np.where(tones > 5900.0, tones / 2.0, tones)
        hz = np.concatenate([tones, 2 * tones, 3 * tones, [second * base]])
        gain = np.concatenate([level, leak * level, leak * level, [1.5 if struck else 0.0]])
        decay = np.concatenate([np.zeros(27), [fall]])
        kept = (hz < stage.band) & (gain > 0)
        phase = np.exp(2j * np.pi * rng.random(kept.sum()))
        sound = partials(hz[kept], decay[kept], gain[kept] * phase, frames, stage.rate)
        _begin(stage, sound, 0.003, click)
        return sound

    sound = _play(stage, make, 0.02)
    if rng.random() < 0.4:
        sound = overdriven(stage, sound, _log(rng, 0.8, 8.0), 0.1)
    return _rotor(stage, sound) if rng.random() < 0.8 else sound


def _begin(stage: Stage, sound: np.ndarray, attack: float, click: float) -> None:
    """Lets a note begin within `attack` seconds and adds the click or chiff of its start."""
    size = min(len(sound), int(attack * stage.rate))
    sound[:size] *= np.linspace(0.0, 1.0, size, dtype=np.float32) ** 2
    size = min(len(sound), int(0.012 * stage.rate))
    fade = np.exp(-np.arange(size, dtype=np.float32) / np.float32(0.002 * stage.rate))
    sound[:size] += np.float32(click) * np.abs(sound).max() * fade * stage.noise(size)


def _rotor(stage: Stage, sound: np.ndarray) -> np.ndarray:
    """Sends a sound through a rotating horn and drum: Doppler shift and changing loudness."""
    rng = stage.rng
    fast = rng.random() < 0.6
    speeds = (6.7, 5.8) if fast else (0.8, 0.7)
    split = 800.0
    heard = np.zeros(stage.frames, np.float32)
    for low, speed in ((False, speeds[0]), (True, speeds[1])):
        share = filtered(stage, sound, partial(low_pass if low else high_pass, corner=split))
        turns = np.sin(2 * np.pi * (speed * rng.uniform(0.9, 1.1) * stage.times + rng.random()))
        depth = rng.uniform(0.1, 0.3) if low else rng.uniform(0.25, 0.6)
        moved = delayed(stage, share, 0.001 + (0.0002 if low else 0.0005) * turns)
        heard += moved * stage.full(1.0 - depth * (0.5 + 0.5 * turns))
    return heard


# Kinds of pipes: power of the fall with the harmonic's number, its corner, even harmonics.
_PIPES = {
    "principal": (1.1, 4000.0, 0.8),
    "flute": (2.6, 2000.0, 0.4),
    "stopped": (1.8, 2500.0, 0.08),
    "string": (0.6, 6000.0, 0.9),
    "reed": (0.35, 4500.0, 0.9),
}


def _pipes(stage: Stage) -> np.ndarray:
    rng = stage.rng
    plans = (
        (("flute", 1.0),),
        (("stopped", 1.0), ("flute", 2.0)),
        (("principal", 1.0), ("principal", 2.0)),
        (("principal", 1.0), ("principal", 2.0), ("principal", 4.0), ("principal", 3.0)),
        (("principal", 0.5), ("principal", 1.0), ("principal", 2.0), ("principal", 6.0),
         ("principal", 8.0), ("reed", 1.0)),
        (("reed", 1.0), ("principal", 1.0)),
        (("string", 1.0), ("string", 1.0), ("flute", 0.5)),
        (("stopped", 1.0), ("flute", 3.0)),
    )  # fmt: skip
    ranks = []
    for kind, ratio in plans[rng.integers(len(plans))]:
        fall, corner, even = _PIPES[kind]
        tune = ratio * 2.0 ** (rng.normal(0.0, 2.5) / 1200.0)
        colour = np.exp(rng.normal(0.0, 0.35, 64))
        ranks.append(
            (tune, fall * rng.uniform(0.85, 1.2), corner, even, colour / max(ratio, 1.0) ** 0.5)
        )
    attack, chiff = _log(rng, 0.015, 0.08), _log(rng, 0.005, 0.08)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        hz, gain = [], []
        for tune, fall, corner, even, colour in ranks:
            base = hertz(key + stage.part.detune) * tune
            number = np.arange(1, max(2, min(40, int(stage.band / base)) + 1))
            level = colour[: len(number)] / number**fall * low_pass(number * base, corner)
            hz.append(number * base)
            gain.append(level * np.where(number % 2, 1.0, even))
        tones, levels = np.concatenate(hz), np.concatenate(gain)
        kept = tones < stage.band
        phase = np.exp(2j * np.pi * rng.random(kept.sum()))
        sound = partials(
            tones[kept], np.zeros(kept.sum()), levels[kept] * phase, frames, stage.rate
        )
        _begin(stage, sound, attack, chiff)
        return sound

    return _play(stage, make, _log(rng, 0.06, 0.3), 0.01 * stage.wander(3.0))


def _transistors(stage: Stage) -> np.ndarray:
    rng = stage.rng
    odd = rng.random() < 0.4
    feet = np.array([0.5, 1.0, 2.0, 4.0])
    bars = rng.uniform(0.0, 1.0, 4) * (rng.random(4) < 0.6)
    bars[1] = max(bars[1], 0.5)
    corner = _log(rng, 1200.0, 6000.0)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        hz, gain = [], []
        for ratio, bar in zip(feet, bars, strict=True):
            base = ratio * hertz(key + stage.part.detune)
            number = np.arange(1, max(2, int(stage.band / base) + 1), 2 if odd else 1)
            hz.append(number * base)
            gain.append(bar / number * low_pass(number * base, corner))
        tones, levels = np.concatenate(hz), np.concatenate(gain)
        kept = (levels > 1e-3) & (tones < stage.band)
        phase = np.full(kept.sum(), -1j)
        sound = partials(
            tones[kept], np.zeros(kept.sum()), levels[kept] * phase, frames, stage.rate
        )
        _begin(stage, sound, 0.004, 0.01)
        return sound

    wobble = rng.choice([0.0, rng.uniform(0.1, 0.4)]) * np.sin(
        2 * np.pi * rng.uniform(5.5, 7.5) * stage.times
    )
    sound = _play(stage, make, 0.03, wobble)
    return overdriven(stage, sound, _log(rng, 0.8, 5.0)) if rng.random() < 0.3 else sound


def accordion(stage: Stage) -> np.ndarray:
    """Plays an accordion: free reeds, two or three a little apart in pitch, under bellows."""
    rng = stage.rng
    cents = float(rng.choice([0.0, _log(rng, 2.0, 25.0)], p=[0.15, 0.85]))
    middle = int(rng.choice([1, 2, 3], p=[0.2, 0.45, 0.35]))
    reeds = (
        [(1.0, cents * x, 1.0) for x in np.linspace(-1, 1, middle)]
        if middle > 1
        else [(1.0, 0.0, 1.0)]
    )
    if rng.random() < 0.45:
        reeds.append((0.5, rng.normal(0.0, 2.0), rng.uniform(0.3, 1.0)))
    if rng.random() < 0.3:
        reeds.append((2.0, rng.normal(0.0, 2.0), rng.uniform(0.2, 0.7)))
    slope, corner = rng.uniform(0.35, 1.0), _log(rng, 1500.0, 5500.0)
    colour = np.exp(rng.normal(0.0, 0.45, (len(reeds), 256)))
    attack = _log(rng, 0.015, 0.07)
    late = rng.uniform(0.0, 0.6)

    def make(key: int, force: float, frames: int) -> np.ndarray:
        times = block_times(frames, stage.rate)
        sound = np.zeros(frames, np.float32)
        for (ratio, off, level), shade in zip(reeds, colour, strict=True):
            base = hertz(key + stage.part.detune + off / 100.0) * ratio
            number = np.arange(1, max(2, min(60, int(stage.band / base)) + 1))
            gain = level * shade[: len(number)] / number**slope
            gain = gain * low_pass(number * base, corner * (0.6 + 0.8 * force))
            # High partials of a reed speak a little after the low ones.
            rise = 1.0 - np.exp(-times[:, None] / (attack * (0.4 + late * number / 20.0)))
            phase = rng.uniform(0, 2 * np.pi) * number
            sound += shaped_partials(number * base, phase, gain * rise, frames, stage.rate)
        _begin(stage, sound, 0.005, 0.02)
        return sound

    sound = _play(stage, make, _log(rng, 0.03, 0.09))
    swell = 1.0 + rng.uniform(0.05, 0.3) * stage.wander(rng.uniform(0.8, 2.5))
    if rng.random() < 0.08:
        swell *= 1.0 + 0.3 * np.sin(2 * np.pi * rng.uniform(6.0, 9.0) * stage.times)
    bellows = np.clip(swell, 0.2, 2.0) * stage.control("expression", 1.0)
    centres = np.exp(rng.uniform(np.log(300.0), np.log(4000.0), 8))
    quality, gain = rng.uniform(1.5, 6.0, 8), rng.uniform(-0.4, 0.9, 8)
    return filtered(
        stage,
        sound * stage.full(bellows),
        lambda grid: (1.0 + resonances(grid, centres, quality, gain)) * high_pass(grid, 90.0),
    )
