"""Bowed strings, brass and woodwinds: a source whose brightness follows its level, and a body.

Each plays lines. The source is periodic, with the harmonics its kind of excitation makes: the
sawtooth of a bow (H. von Helmholtz), odd harmonics for a closed cylinder (clarinet), all for a
cone or a brass tube; N. H. Fletcher and T. D. Rossing, "The Physics of Musical Instruments".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmic_keras.data.synthesis._models._sound import (
    MovingFilter,
    filtered,
    high_pass,
    low_pass,
    oscillate,
    resonances,
)
from hmic_keras.data.synthesis._models._stage import Stage, lines_of
from hmic_keras.data.synthesis._score import Note

_Span = tuple[float, float]


@dataclass(frozen=True)
class Blown:
    """From what the instruments of a class are drawn; pairs are ranges.

    Attributes:
        slope: Power by which harmonics fall with their number.
        even: Level of the even harmonics, low down.
        corner: Frequency in hertz above which the spectrum falls at middle level.
        grows: Octaves by which the corner moves from softest to loudest.
        steep: How steeply it falls there, in 6 dB an octave.
        breath: Level of the noise of bow or breath.
        hiss: Range in hertz of that noise.
        attack: Seconds in which a note begins.
        release: Seconds in which it ends.
        vibrato: Depth in semitones.
        tremble: Depth of the vibrato in loudness.
        shy: Share of parts without vibrato.
        bright_late: Seconds by which brightness lags behind loudness.
        scoop: Depth in semitones of the approach to some notes.
        body: Frequencies in hertz of resonances that every instrument has.
        modes: Number of further resonances, `band` their range in hertz.
        band: Where they are.
        sharp: Quality of the resonances.
        strong: Their largest gain beside the source.
        low: Frequency in hertz below which nothing is radiated.
    """

    slope: _Span
    even: _Span
    corner: _Span
    grows: float
    steep: float
    breath: _Span
    hiss: _Span
    attack: _Span
    release: _Span
    vibrato: _Span
    tremble: float
    shy: float
    bright_late: float
    scoop: float
    body: tuple[_Span, ...]
    modes: int
    band: _Span
    sharp: _Span
    strong: float
    low: float


_VIOLIN = Blown(
    slope=(0.85, 1.15), even=(0.8, 1.0), corner=(2500.0, 6500.0), grows=1.0, steep=1.5,
    breath=(0.01, 0.08), hiss=(1500.0, 9000.0), attack=(0.03, 0.16), release=(0.06, 0.25),
    vibrato=(0.1, 0.5), tremble=0.25, shy=0.2, bright_late=0.02, scoop=0.5,
    body=((270.0, 300.0), (420.0, 480.0), (520.0, 580.0), (2000.0, 3000.0)), modes=24,
    band=(600.0, 6500.0), sharp=(8.0, 30.0), strong=2.0, low=230.0,
)  # fmt: skip
_CELLO = replace(
    _VIOLIN, corner=(1200.0, 4000.0), attack=(0.04, 0.2), vibrato=(0.08, 0.4), low=60.0,
    body=((90.0, 110.0), (160.0, 190.0), (210.0, 240.0), (900.0, 1500.0)), band=(250.0, 4500.0),
    hiss=(700.0, 6000.0),
)  # fmt: skip
_TRUMPET = Blown(
    slope=(0.0, 0.4), even=(0.9, 1.0), corner=(1000.0, 2200.0), grows=2.2, steep=2.6,
    breath=(0.002, 0.015), hiss=(1000.0, 6000.0), attack=(0.015, 0.06), release=(0.04, 0.12),
    vibrato=(0.05, 0.35), tremble=0.15, shy=0.5, bright_late=0.02, scoop=0.4,
    body=((1000.0, 1500.0), (2000.0, 2800.0)), modes=4, band=(800.0, 5000.0), sharp=(1.5, 4.0),
    strong=0.8, low=150.0,
)  # fmt: skip
_TROMBONE = replace(
    _TRUMPET, corner=(450.0, 1100.0), attack=(0.025, 0.09), low=60.0, scoop=2.0,
    body=((480.0, 700.0), (900.0, 1500.0)), band=(400.0, 3500.0),
)  # fmt: skip
_CLARINET = Blown(
    slope=(0.4, 0.9), even=(0.01, 0.12), corner=(1100.0, 2600.0), grows=1.4, steep=2.0,
    breath=(0.003, 0.03), hiss=(1000.0, 7000.0), attack=(0.02, 0.08), release=(0.03, 0.1),
    vibrato=(0.02, 0.15), tremble=0.05, shy=0.7, bright_late=0.01, scoop=0.5,
    body=((1300.0, 1900.0),), modes=4, band=(900.0, 5000.0), sharp=(1.5, 4.0), strong=0.8,
    low=100.0,
)  # fmt: skip
_SAXOPHONE = Blown(
    slope=(0.35, 0.9), even=(0.7, 1.1), corner=(900.0, 2600.0), grows=1.5, steep=1.6,
    breath=(0.008, 0.08), hiss=(1200.0, 7500.0), attack=(0.02, 0.09), release=(0.04, 0.15),
    vibrato=(0.1, 0.5), tremble=0.15, shy=0.3, bright_late=0.015, scoop=1.2,
    body=((450.0, 800.0), (1100.0, 1600.0), (2200.0, 3200.0)), modes=6, band=(500.0, 5500.0),
    sharp=(1.5, 5.0), strong=1.0, low=80.0,
)  # fmt: skip
_FLUTE = Blown(
    slope=(0.9, 1.8), even=(0.4, 1.1), corner=(900.0, 2500.0), grows=1.0, steep=2.5,
    breath=(0.02, 0.14), hiss=(500.0, 7000.0), attack=(0.03, 0.12), release=(0.05, 0.15),
    vibrato=(0.03, 0.2), tremble=0.4, shy=0.2, bright_late=0.02, scoop=0.3,
    body=(), modes=4, band=(600.0, 4000.0), sharp=(1.0, 3.0), strong=0.6, low=180.0,
)  # fmt: skip


def _draw(rng: np.random.Generator, span: _Span) -> float:
    low, high = span
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _play(stage: Stage, kind: Blown) -> np.ndarray:
    """Plays a part: each of its lines by one player, on one instrument."""
    rng = stage.rng
    number = np.arange(1, 400)
    slope, even = rng.uniform(*kind.slope), _draw(rng, kind.even)
    colour = np.exp(rng.normal(0.0, 0.25, len(number)))
    # Towards the upper harmonics odd and even are alike.
    even_gain = np.minimum(1.0, even + (1.0 - min(even, 1.0)) * number / 24.0)
    wave = colour / number**slope * np.where(number % 2, 1.0, even_gain)
    phases = np.exp(1j * (0.5 * np.pi + rng.normal(0.0, 0.4, len(number))))
    corner, breath = _draw(rng, kind.corner), _draw(rng, kind.breath)
    moving = MovingFilter(stage)
    sound = np.zeros(stage.frames, np.float32)
    for line in lines_of(stage.part.notes):
        tone, loud = _line(stage, kind, line, wave * phases)
        # What is bright is loud, and comes a moment later.
        late = np.interp(moving.times - kind.bright_late, stage.times, loud)
        grown = corner * 2.0 ** (kind.grows * 2.0 * (np.clip(late, 0.0, 1.2) - 0.6))
        base = 440.0 * 2.0 ** ((np.mean([note.key for note in line]) - 69.0) / 12.0)
        fall = (moving.hertz / (grown + 0.5 * base)[:, None].astype(np.float32)) ** 2
        spectra = moving.spectra(tone * stage.full(loud)) * (1.0 + fall) ** (-0.5 * kind.steep)
        played = moving.sound(spectra)
        level = np.float32(2.0 * breath) * np.std(played)
        noise = filtered(stage, stage.noise(), lambda grid: _hiss(grid, kind.hiss))
        noise /= np.std(noise)
        sound += played + level * noise * stage.full(np.sqrt(loud))
    return filtered(stage, sound, _draw_body(stage, kind))


def _hiss(grid: np.ndarray, band: _Span) -> np.ndarray:
    return high_pass(grid, band[0], 2.0) * low_pass(grid, band[1], 2.0)


def _draw_body(stage: Stage, kind: Blown) -> Callable[[np.ndarray], np.ndarray]:
    """Draws a body: resonances beside what is radiated directly."""
    rng = stage.rng
    centres = [rng.uniform(*span) for span in kind.body]
    centres += [_draw(rng, kind.band) for _ in range(kind.modes)]
    quality = [_draw(rng, kind.sharp) for _ in centres]
    gain = rng.uniform(0.2, kind.strong, len(centres)) * rng.choice([-1.0, 1.0], len(centres))
    gain[: len(kind.body)] = rng.uniform(0.4, 1.5 * kind.strong, len(kind.body))

    def response(grid: np.ndarray) -> np.ndarray:
        colour = 1.0 + resonances(grid, np.array(centres), np.array(quality), gain)
        return colour * high_pass(grid, kind.low, 2.0)

    return response


def _line(
    stage: Stage, kind: Blown, line: Sequence[Note], harmonics: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the source of a line, and its loudness at the points of a control curve."""
    rng = stage.rng
    keys = stage.keys(line, _draw(rng, (0.004, 0.02)))
    keys = keys + stage.part.detune + stage.control("bend", 0.0)
    depth = 0.0 if rng.random() < kind.shy else _draw(rng, kind.vibrato)
    pace = rng.uniform(4.5, 7.0) + 0.25 * stage.wander(1.0)
    turns = np.sin(2 * np.pi * (np.cumsum(pace) / stage.points(1.0) + rng.random()))
    late = depth * _since(stage, line, rng.uniform(0.0, 0.35), rng.uniform(0.1, 0.4))
    late = np.maximum(late, 0.7 * stage.control("vibrato", 0.0))
    keys = keys + late * turns + rng.uniform(0.01, 0.05) * stage.wander(6.0)
    for note in line:
        if rng.random() < 0.2:
            after = stage.times >= note.onset
            fade = np.exp(-(stage.times[after] - note.onset) / rng.uniform(0.015, 0.04))
            keys[after] -= rng.uniform(0.1, kind.scoop) * fade
    sound = oscillate(stage, keys, lambda hz: harmonics, [note.onset for note in line])
    loud = stage.envelope(line, _draw(rng, kind.attack), _draw(rng, kind.release))
    loud *= 1.0 + kind.tremble * np.minimum(late, 0.6) * turns
    loud *= (1.0 + rng.uniform(0.02, 0.08) * stage.wander(8.0)) * stage.control(
        "expression", 1.0
    )
    return sound, np.maximum(loud, 0.0)


def _since(stage: Stage, line: Sequence[Note], delay: float, rise: float) -> np.ndarray:
    """Returns for each point how far its note's vibrato has set in, 0 to 1."""
    onsets = np.array([note.onset for note in line])
    which = np.maximum(np.searchsorted(onsets, stage.times, side="right") - 1, 0)
    return np.clip((stage.times - onsets[which] - delay) / rise, 0.0, 1.0)


def violin(stage: Stage) -> np.ndarray:
    """Plays a violin."""
    return _play(stage, _VIOLIN)


def cello(stage: Stage) -> np.ndarray:
    """Plays a cello."""
    return _play(stage, _CELLO)


def trumpet(stage: Stage) -> np.ndarray:
    """Plays a trumpet, now and then with a mute."""
    if stage.rng.random() < 0.2:
        return _play(stage, replace(_TRUMPET, low=1400.0, sharp=(2.0, 6.0), strong=2.0))
    return _play(stage, _TRUMPET)


def trombone(stage: Stage) -> np.ndarray:
    """Plays a trombone."""
    return _play(stage, _TROMBONE)


def clarinet(stage: Stage) -> np.ndarray:
    """Plays a clarinet."""
    return _play(stage, _CLARINET)


def saxophone(stage: Stage) -> np.ndarray:
    """Plays a saxophone."""
    return _play(stage, _SAXOPHONE)


def flute(stage: Stage) -> np.ndarray:
    """Plays a flute."""
    return _play(stage, _FLUTE)
