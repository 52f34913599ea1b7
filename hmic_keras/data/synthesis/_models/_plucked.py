"""Plucked strings: what an extended Karplus-Strong loop sounds, in closed form.

A lossy, stiff string between two ends rings in partials whose frequencies, decays and
amplitudes are known (K. Karplus and A. Strong, "Digital synthesis of plucked-string and drum
timbres", and D. A. Jaffe and J. O. Smith, "Extensions of the Karplus-Strong plucked-string
algorithm", Computer Music Journal 7(2), 1983); they are summed directly, which tunes them
exactly, makes no aliases and costs less than running the loop.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hmic_keras.data.synthesis._models._sound import (
    Warp,
    filtered,
    high_pass,
    low_pass,
    overdriven,
    partials,
    play_notes,
    resonances,
)
from hmic_keras.data.synthesis._models._stage import Stage, hertz

_Span = tuple[float, float]


@dataclass(frozen=True)
class Strings:
    """From what the strings of a class are drawn; pairs are ranges.

    Attributes:
        ring: Seconds in which 220 Hz falls by 60 dB.
        shorter: Power by which the decay gets shorter with frequency of the note.
        dull: Frequency in hertz at which a partial decays twice as fast.
        stiff: Inharmonicity of the string at 110 Hz.
        pick: Where the string is plucked, as a share of its length.
        bright: Corner in hertz of a pluck of middle force.
        noise: Level of the noise of the pluck.
        release: Seconds in which a stopped note fades.
        course: Strings to a note.
        spread: Cents between the strings of a course, or the two planes of one.
        body: Frequencies in hertz of the lowest resonances of the body.
        modes: Number of further resonances, `body_band` their range.
        body_band: Where they are.
        sharp: Quality of the resonances.
        direct: Share of the string that is heard as it is.
    """

    ring: _Span
    shorter: float
    dull: _Span
    stiff: _Span
    pick: _Span
    bright: _Span
    noise: _Span
    release: _Span
    course: int
    spread: _Span
    body: tuple[_Span, ...]
    modes: int
    body_band: _Span
    sharp: _Span
    direct: _Span


_NYLON = Strings(
    ring=(2.0, 5.0), shorter=0.5, dull=(500.0, 1600.0), stiff=(2e-5, 8e-5), pick=(0.1, 0.35),
    bright=(700.0, 2800.0), noise=(0.01, 0.08), release=(0.06, 0.6), course=1,
    spread=(0.3, 1.5), body=((92.0, 120.0), (180.0, 240.0), (350.0, 450.0)), modes=14,
    body_band=(450.0, 4000.0), sharp=(8.0, 25.0), direct=(0.25, 0.7),
)  # fmt: skip
_STEEL = replace(
    _NYLON, ring=(3.0, 8.0), dull=(1200.0, 3500.0), stiff=(3e-5, 1.2e-4),
    bright=(1800.0, 6500.0), noise=(0.01, 0.1), spread=(0.3, 2.0),
)  # fmt: skip
_ELECTRIC = replace(
    _STEEL, ring=(4.0, 10.0), dull=(1200.0, 4000.0), bright=(1500.0, 6000.0), body=(),
    noise=(0.003, 0.03), modes=0, direct=(1.0, 1.0), release=(0.04, 0.15),
)  # fmt: skip
_BANJO = Strings(
    ring=(0.7, 1.8), shorter=0.35, dull=(1800.0, 4500.0), stiff=(2e-5, 8e-5), pick=(0.04, 0.16),
    bright=(3500.0, 9000.0), noise=(0.03, 0.15), release=(0.05, 0.7), course=1,
    spread=(0.3, 2.0), body=((280.0, 360.0), (450.0, 620.0), (650.0, 880.0)), modes=22,
    body_band=(900.0, 6500.0), sharp=(4.0, 14.0), direct=(0.2, 0.5),
)  # fmt: skip
_UKULELE = replace(
    _NYLON, ring=(0.8, 2.0), dull=(700.0, 2200.0), stiff=(2e-5, 6e-5), pick=(0.15, 0.45),
    bright=(1200.0, 4200.0), noise=(0.02, 0.12), release=(0.04, 0.5), spread=(0.3, 2.5),
    body=((220.0, 300.0), (400.0, 480.0), (520.0, 640.0)), modes=10,
    body_band=(700.0, 4500.0), sharp=(7.0, 18.0),
)  # fmt: skip
_MANDOLIN = Strings(
    ring=(1.2, 3.0), shorter=0.45, dull=(1500.0, 4000.0), stiff=(4e-5, 1.5e-4),
    pick=(0.06, 0.2), bright=(3000.0, 8000.0), noise=(0.03, 0.15), release=(0.04, 0.4),
    course=2, spread=(2.0, 9.0), body=((180.0, 230.0), (330.0, 450.0), (480.0, 640.0)),
    modes=16, body_band=(700.0, 5500.0), sharp=(7.0, 20.0), direct=(0.3, 0.7),
)  # fmt: skip
_BASS = Strings(
    ring=(3.0, 9.0), shorter=0.3, dull=(350.0, 1500.0), stiff=(1e-5, 6e-5), pick=(0.08, 0.3),
    bright=(300.0, 1500.0), noise=(0.002, 0.03), release=(0.04, 0.15), course=1,
    spread=(0.2, 1.0), body=(), modes=0, body_band=(100.0, 1000.0), sharp=(5.0, 10.0),
    direct=(1.0, 1.0),
)  # fmt: skip


def _draw(rng: np.random.Generator, span: _Span) -> float:
    low, high = span
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _string_player(
    stage: Stage, strings: Strings, pickup: float | None = None
) -> Callable[[int, float, int], np.ndarray]:
    """Draws an instrument and returns what plays one note of it."""
    rng = stage.rng
    ring, dull = _draw(rng, strings.ring), _draw(rng, strings.dull)
    stiff, pick = _draw(rng, strings.stiff), _draw(rng, strings.pick)
    bright, noise = _draw(rng, strings.bright), _draw(rng, strings.noise)
    spread = _draw(rng, strings.spread)
    click = _draw(rng, (1500.0, 7000.0))

    def make(key: int, force: float, frames: int) -> np.ndarray:
        base = hertz(key + stage.part.detune)
        number = np.arange(1, max(2, int(stage.band / base) + 1))
        bend = np.sqrt(1.0 + stiff * (base / 110.0) * number**2)
        at = pick * rng.uniform(0.9, 1.1)
        corner = bright * 2.0 ** (2.0 * (force - 0.5))
        tone = base * number * bend / bend[0]
        gain = np.sin(np.pi * number * at) / number * low_pass(tone, corner + base, 2.0)
        gain *= np.exp(rng.normal(0.0, 0.15, len(number)))
        if pickup is not None:
            gain *= np.sin(np.pi * number * pickup)
        loss = 6.9 / ring * (base / 220.0) ** strings.shorter * (1.0 + (tone / dull) ** 1.5)
        count = max(2, strings.course)
        tunes = 2.0 ** (spread / 1200.0 * np.linspace(-0.5, 0.5, count))
        shares = rng.uniform(0.4, 1.0, count)
        losses = loss * np.array([1.0, rng.uniform(0.5, 2.0)])[:, None]
        kept = tone < stage.band
        sound = partials(
            (tunes[:, None] * tone)[:, kept].ravel(),
            losses[:, kept].ravel(),
            (-1j * shares[:, None] * gain)[:, kept].ravel(),
            frames,
            stage.rate,
        )
        _add_click(stage, sound, noise * force, click)
        return sound

    return make


def _add_click(stage: Stage, sound: np.ndarray, level: float, corner: float) -> None:
    """Adds the noise of finger or plectrum."""
    size = min(len(sound), int(0.03 * stage.rate))
    fade = np.exp(-np.arange(size, dtype=np.float32) / np.float32(0.004 * stage.rate))
    keep = float(np.exp(-2 * np.pi * corner / stage.rate))
    hiss = stage.noise(size)
    hiss[1:] -= np.float32(keep) * hiss[:-1]
    peak = np.abs(sound[: 4 * size]).max()
    sound[:size] += np.float32(level) * peak * hiss * fade


def _body(stage: Stage, strings: Strings) -> Callable[[np.ndarray], np.ndarray]:
    """Draws a body: what it does to the sound of the strings, as a function of hertz."""
    rng = stage.rng
    low = [rng.uniform(*span) for span in strings.body]
    lowest, highest = np.log(strings.body_band)
    high = np.exp(rng.uniform(lowest, highest, strings.modes))
    centres = np.array([*low, *high])
    quality = np.array([_draw(rng, strings.sharp) for _ in centres])
    gain = rng.uniform(0.4, 1.4, len(centres)) * rng.choice([-1.0, 1.0], len(centres))
    gain[: len(low)] = rng.uniform(0.6, 2.0, len(low))
    direct = _draw(rng, strings.direct)
    corner = centres.min() * 0.6 if len(centres) else 35.0

    def response(grid: np.ndarray) -> np.ndarray:
        return (direct + resonances(grid, centres, quality, gain)) * high_pass(
            grid, corner, 2.0
        )

    return response


def _acoustic(stage: Stage, strings: Strings, mute: float) -> np.ndarray:
    rng = stage.rng
    if rng.random() < mute:
        strings = replace(strings, ring=(0.15, 0.5), dull=(300.0, 1200.0))
    warp = Warp(stage, stage.control("bend", 0.0))
    make = _string_player(stage, strings)
    sound = play_notes(
        stage, warp, make, release=_draw(rng, strings.release), longest=1.5 * strings.ring[1]
    )
    return filtered(stage, sound, _body(stage, strings))


def acoustic_guitar(stage: Stage) -> np.ndarray:
    """Plays a guitar with strings of nylon or steel."""
    strings = _NYLON if stage.rng.random() < 0.5 else _STEEL
    if strings is _STEEL and stage.rng.random() < 0.15:
        strings = replace(strings, course=2, spread=(2.0, 8.0))
    return _acoustic(stage, strings, mute=0.06)


def electric_guitar(stage: Stage) -> np.ndarray:
    """Plays an electric guitar, clean or driven, through a cabinet."""
    rng = stage.rng
    strings = _ELECTRIC
    if rng.random() < 0.12:
        strings = replace(strings, ring=(0.2, 0.5), dull=(300.0, 1000.0))
    bend = stage.control("bend", 0.0)
    if rng.random() < 0.3:
        turns = stage.times * rng.uniform(4.0, 6.5)
        bend = bend + rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * turns)
    make = _string_player(stage, strings, pickup=float(rng.uniform(0.05, 0.3)))
    sound = play_notes(
        stage, Warp(stage, bend), make, release=_draw(rng, strings.release), longest=12.0
    )
    peak_at, peak_sharp = _draw(rng, (1800.0, 4500.0)), rng.uniform(0.8, 2.5)
    sound = filtered(
        stage, sound, lambda grid: _coil(grid, peak_at, peak_sharp) * high_pass(grid, 70.0)
    )
    if rng.random() < 0.55:
        sound = overdriven(stage, sound, _draw(rng, (1.5, 40.0)), float(rng.uniform(0.0, 0.3)))
    return filtered(stage, sound, _cabinet(rng))


def _coil(grid: np.ndarray, centre: float, sharp: float) -> np.ndarray:
    """Returns the gain of a pickup: a low-pass with a resonance."""
    ratio = grid / centre
    return 1.0 / (1.0 - ratio**2 + 1j * ratio / sharp)


def _cabinet(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Draws a loudspeaker in its box."""
    low, high = _draw(rng, (60.0, 130.0)), _draw(rng, (2500.0, 6500.0))
    centres = np.exp(rng.uniform(np.log(120.0), np.log(4500.0), 8))
    quality, gain = rng.uniform(1.5, 6.0, 8), rng.uniform(-0.5, 0.9, 8)

    def response(grid: np.ndarray) -> np.ndarray:
        colour = 1.0 + resonances(grid, centres, quality, gain)
        return colour * high_pass(grid, low, 2.0) * low_pass(grid, high, 4.0)

    return response


def guitar(stage: Stage) -> np.ndarray:
    """Plays an acoustic or an electric guitar."""
    return acoustic_guitar(stage) if stage.rng.random() < 0.55 else electric_guitar(stage)


def bass(stage: Stage) -> np.ndarray:
    """Plays a bass: fingers, plectrum, fretless, muted, or a double bass plucked."""
    rng = stage.rng
    manner = rng.choice(["finger", "pick", "fretless", "muted", "double", "slap"])
    changed = {
        "finger": _BASS,
        "pick": replace(_BASS, pick=(0.05, 0.15), bright=(1000.0, 4500.0), noise=(0.01, 0.1)),
        "fretless": replace(_BASS, dull=(250.0, 700.0), spread=(0.5, 3.0)),
        "muted": replace(_BASS, ring=(0.25, 0.9), dull=(200.0, 600.0)),
        "double": replace(
            _BASS, ring=(0.8, 2.5), dull=(250.0, 800.0), pick=(0.12, 0.3), noise=(0.01, 0.08),
            body=((55.0, 75.0), (95.0, 120.0), (150.0, 210.0)), modes=10,
            body_band=(220.0, 1500.0), direct=(0.3, 0.8),
        ),
        "slap": replace(_BASS, bright=(2500.0, 8000.0), dull=(900.0, 2500.0), noise=(0.1, 0.4)),
    }  # fmt: skip
    strings = changed[str(manner)]
    pickup = None if manner == "double" else float(rng.uniform(0.06, 0.3))
    bend = stage.control("bend", 0.0)
    if manner == "fretless":
        bend = bend + rng.uniform(0.05, 0.2) * np.sin(2 * np.pi * 5.0 * stage.times)
    make = _string_player(stage, strings, pickup)
    sound = play_notes(
        stage, Warp(stage, bend), make, release=_draw(rng, strings.release), longest=12.0
    )
    if manner != "double" and rng.random() < 0.35:
        sound = overdriven(stage, sound, _draw(rng, (1.0, 5.0)))
    return filtered(stage, sound, _body(stage, strings))


def banjo(stage: Stage) -> np.ndarray:
    """Plays a banjo: bright strings on a membrane."""
    return _acoustic(stage, _BANJO, mute=0.0)


def ukulele(stage: Stage) -> np.ndarray:
    """Plays a ukulele: strings of nylon on a small body."""
    return _acoustic(stage, _UKULELE, mute=0.04)


def mandolin(stage: Stage) -> np.ndarray:
    """Plays a mandolin: courses of two steel strings each."""
    return _acoustic(stage, _MANDOLIN, mute=0.0)
