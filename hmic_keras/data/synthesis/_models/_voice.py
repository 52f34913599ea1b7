"""Singing by source and filter: a glottal pulse through the resonances of a vocal tract.

The source is Rosenberg's pulse (A. E. Rosenberg, "Effect of glottal pulse shape on the quality
of natural vowels", JASA 49, 1971), the filter a cascade of formants (G. Fant, "Acoustic Theory
of Speech Production", 1960) at the frequencies that Peterson and Barney measured ("Control
methods used in a study of the vowels", JASA 24, 1952).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmic_keras.data.synthesis._models._sound import (
    MovingFilter,
    filtered,
    high_pass,
    oscillate,
)
from hmic_keras.data.synthesis._models._stage import Stage, lines_of, smooth
from hmic_keras.data.synthesis._score import Note

# First three formants in hertz of ten vowels, from heed to heard: men, women, children.
_VOWELS = np.array(
    [
        [
            (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480), (660, 1720, 2410),
            (730, 1090, 2440), (570, 840, 2410), (440, 1020, 2240), (300, 870, 2240),
            (640, 1190, 2390), (490, 1350, 1690),
        ],
        [
            (310, 2790, 3310), (430, 2480, 3070), (610, 2330, 2990), (860, 2050, 2850),
            (850, 1220, 2810), (590, 920, 2710), (470, 1160, 2680), (370, 950, 2670),
            (760, 1400, 2780), (500, 1640, 1960),
        ],
        [
            (370, 3200, 3730), (530, 2730, 3600), (690, 2610, 3570), (1010, 2320, 3320),
            (1030, 1370, 3170), (680, 1060, 3180), (560, 1410, 3310), (430, 1170, 3260),
            (850, 1590, 3360), (560, 1820, 2160),
        ],
    ],
    np.float64,
)  # fmt: skip
_EE, _AH, _OO, _ER = 0, 4, 7, 9
_FOURTH = (3400.0, 3900.0, 4500.0)
# Lowest and highest key of each kind of singer, and whose vowels it has.
_SINGERS = ((40, 64, 0), (45, 69, 0), (48, 74, 0), (53, 77, 1), (58, 86, 1), (57, 84, 2))
_NASAL = (280.0, 1100.0, 2300.0)
# Lower and upper edge in hertz of the noise of s, sh, f and h.
_HISSES = ((4200.0, 9000.0), (2000.0, 6500.0), (1200.0, 8000.0), (500.0, 4000.0))
_VOICE_HOP = 256
_MOST_SINGERS = 6


@dataclass(frozen=True)
class _Singer:
    """What a singer, or all of a choir, has in common for a part.

    Attributes:
        vowels: Formants, `(vowels, 3)` in hertz.
        upper: Formants from the fourth up.
        widen: Factor of all bandwidths.
        ring: Gain of the singer's formant.
        open: Share of the period in which the glottis is open.
        soft: Corner in hertz above which the source falls faster.
        breath: Level of the breath.
        hums: Whether the mouth stays shut.
        speaks: Share of notes that begin with a consonant.
    """

    vowels: np.ndarray
    upper: np.ndarray
    widen: float
    ring: float
    open: float
    soft: float
    breath: float
    hums: bool
    speaks: float


def _singer(rng: np.random.Generator, notes: Sequence[Note]) -> _Singer:
    mean = float(np.mean([note.key for note in notes]))
    far = np.array([max(low + 3 - mean, mean - high + 3, 0.0) for low, high, _ in _SINGERS])
    likely = np.exp(-far / 2.0)
    kind = _SINGERS[rng.choice(len(_SINGERS), p=likely / likely.sum())][2]
    size = float(np.exp(rng.uniform(np.log(0.86), np.log(1.16))))
    spacing = _FOURTH[kind] / 3.5 * size
    return _Singer(
        vowels=_VOWELS[kind] * size * rng.uniform(0.94, 1.06, (10, 3)),
        upper=spacing * (np.arange(4, 14) - 0.5) * rng.uniform(0.96, 1.04, 10),
        widen=float(rng.uniform(0.8, 1.6)),
        ring=float(rng.choice([0.0, rng.uniform(0.5, 3.0)], p=[0.6, 0.4])),
        open=float(rng.uniform(0.45, 0.85)),
        soft=float(np.exp(rng.uniform(np.log(1200.0), np.log(9000.0)))),
        breath=float(np.exp(rng.uniform(np.log(0.005), np.log(0.2)))),
        hums=bool(rng.random() < 0.08),
        speaks=float(rng.choice([0.0, rng.uniform(0.3, 1.0)], p=[0.25, 0.75])),
    )


def pulse(opened: float, soft: float, hertz: float) -> np.ndarray:
    """Returns the harmonics of Rosenberg's pulse, differentiated as the lips do.

    Args:
        opened: Share of the period in which the glottis is open.
        soft: Corner in hertz of a further low-pass: a glottis that closes softly.
        hertz: Frequency of the voice.
    """
    size = 1024
    at = np.arange(size) / size
    rise = opened * 0.66
    fall = opened - rise
    flow = np.where(
        at < rise,
        0.5 * (1.0 - np.cos(np.pi * at / rise)),
        np.where(at < opened, np.cos(0.5 * np.pi * (at - rise) / fall), 0.0),
    )
    number = np.arange(1, size // 2)
    harmonics = np.fft.rfft(flow)[1 : size // 2] / size * (2j * np.pi * number)
    return harmonics / (1.0 + 1j * number * hertz / soft)


def voice(stage: Stage) -> np.ndarray:
    """Sings a part: one singer, several, or a choir."""
    rng = stage.rng
    singer = _singer(rng, stage.part.notes)
    lines = lines_of(stage.part.notes)
    alone = len(lines) == 1 and rng.random() < 0.75
    each = 1 if alone else max(1, min(int(rng.integers(1, 5)), _MOST_SINGERS // len(lines)))
    source = np.zeros(stage.frames, np.float32)
    level = np.zeros(len(stage.times))
    strain = rng.uniform(0.5, 1.5)
    for line in lines:
        for _ in range(each):
            sung, loud = _sing(stage, line, singer, alone)
            source += sung
            level += loud / each
    level /= len(lines)
    moving = MovingFilter(stage, _VOICE_HOP)
    words = _words(stage, singer, moving.times)
    hiss = stage.noise()
    hiss *= stage.full(level * (0.4 + 0.6 * stage.control("expression", 1.0)))
    tone = moving.spectra(source + np.float32(0.5 * singer.breath) * hiss)
    loud = np.interp(moving.times, stage.times, level)[:, None]
    # A louder voice has a flatter spectrum.
    tilt = (1.0 + (moving.hertz / 1500.0) ** 2) ** (0.25 * strain * (np.clip(loud, 0, 1) - 0.6))
    tone *= _mouth(singer, words.formants, moving.hertz) * tilt * words.voiced[:, None]
    if words.hiss.any():
        noise = moving.spectra(stage.noise())
        tone += noise * words.hiss
    return filtered(stage, moving.sound(tone), lambda grid: high_pass(grid, 70.0))


def _sing(
    stage: Stage, line: Sequence[Note], singer: _Singer, alone: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the source of one singer and its loudness."""
    rng = stage.rng
    moved = list(line)
    if not alone:
        late = rng.normal(0.0, 0.015)
        moved = [Note(max(0.0, n.onset + late), n.duration, n.key, n.velocity) for n in line]
    glide = float(np.exp(rng.uniform(np.log(0.008), np.log(0.045))))
    keys = stage.keys(moved, glide) + stage.part.detune + stage.control("bend", 0.0)
    keys += _vibrato(stage, moved)
    keys += rng.uniform(0.02, 0.06) * stage.wander(9.0) + 0.03 * stage.wander(2.0)
    if not alone:
        keys += rng.normal(0.0, 0.08)
    if rng.random() < 0.35:
        keys += _scoops(stage, moved)
    starts = [note.onset for note in moved]
    opened = float(np.clip(singer.open + rng.normal(0.0, 0.03), 0.4, 0.9))
    sound = oscillate(stage, keys, lambda hz: pulse(opened, singer.soft, hz), starts)
    attack = float(rng.uniform(0.02, 0.09))
    loud = stage.envelope(moved, attack, float(rng.uniform(0.05, 0.2)))
    shimmer = 1.0 + rng.uniform(0.02, 0.08) * stage.wander(25.0)
    shown = loud * shimmer * stage.control("expression", 1.0)
    return sound * stage.full(shown), loud


def _vibrato(stage: Stage, line: Sequence[Note]) -> np.ndarray:
    """Returns a vibrato in semitones that sets in late, if at all."""
    rng = stage.rng
    rate = rng.uniform(4.5, 7.0) + 0.2 * stage.wander(1.0)
    own = rng.choice([0.0, rng.uniform(0.1, 0.8)], p=[0.25, 0.75])
    delay, rise = rng.uniform(0.0, 0.45), rng.uniform(0.1, 0.5)
    since = np.full(len(stage.times), -1.0)
    for note in line:
        since[stage.times >= note.onset] = 0.0
        np.copyto(since, stage.times - note.onset, where=stage.times >= note.onset)
    depth = own * np.clip((since - delay) / rise, 0.0, 1.0)
    depth = np.maximum(depth, 0.8 * stage.control("vibrato", 0.0))
    turns = np.cumsum(rate) / stage.points(1.0)
    return depth * np.sin(2 * np.pi * (turns + rng.random()))


def _scoops(stage: Stage, line: Sequence[Note]) -> np.ndarray:
    """Returns bends in semitones: notes approached from below."""
    bend = np.zeros(len(stage.times))
    for note in line:
        if stage.rng.random() < 0.5:
            depth, length = stage.rng.uniform(0.3, 2.0), stage.rng.uniform(0.02, 0.06)
            after = stage.times >= note.onset
            bend[after] = -depth * np.exp(-(stage.times[after] - note.onset) / length)
    return bend


@dataclass
class _Words:
    """What the mouth does: formants in hertz, loudness of the voice, spectra of noise."""

    formants: np.ndarray
    voiced: np.ndarray
    hiss: np.ndarray


def _words(stage: Stage, singer: _Singer, times: np.ndarray) -> _Words:
    """Draws a vowel for each note, sometimes two, and consonants between."""
    rng = stage.rng
    hertz = np.fft.rfftfreq(2 * _VOICE_HOP, 1.0 / stage.rate)
    words = _Words(
        formants=np.empty((len(times), 3)),
        voiced=np.ones(len(times), np.float32),
        hiss=np.zeros((len(times), len(hertz)), np.float32),
    )
    onsets = sorted(
        {round(note.onset / 0.06): note.onset for note in stage.part.notes}.values()
    )
    if singer.hums:
        words.formants[:] = np.array(_NASAL) * rng.uniform(0.9, 1.15, 3)
        words.voiced[:] = 0.7
        return words
    few = rng.choice(10, size=int(rng.integers(1, 7)), replace=False)
    words.formants[:] = singer.vowels[few[0]]
    changes = rng.uniform(0.2, 1.0)
    vowel = few[0]
    for onset, following in zip(onsets, [*onsets[1:], times[-1]], strict=True):
        if rng.random() < changes:
            vowel = rng.choice(few)
        words.formants[times >= onset] = singer.vowels[vowel]
        if rng.random() < 0.25 and following - onset > 0.3:
            # A diphthong.
            half = onset + rng.uniform(0.4, 0.8) * (following - onset)
            words.formants[times >= half] = singer.vowels[rng.choice([_EE, _OO, _AH])]
        if rng.random() < singer.speaks:
            _consonant(rng, singer, words, onset, times, hertz)
    pace = float(rng.uniform(0.015, 0.05)) * stage.rate / _VOICE_HOP
    for i in range(3):
        words.formants[:, i] = smooth(words.formants[:, i], pace)
    return words


def _consonant(
    rng: np.random.Generator,
    singer: _Singer,
    words: _Words,
    onset: float,
    times: np.ndarray,
    hertz: np.ndarray,
) -> None:
    """Begins a note with a consonant: nasal, glide, hiss or stop."""
    kind = rng.choice(["nasal", "glide", "hiss", "stop"], p=[0.25, 0.3, 0.25, 0.2])
    length = float(rng.uniform(0.04, 0.11))
    during = (times >= onset - 0.4 * length) & (times < onset + 0.6 * length)
    if kind == "nasal":
        words.formants[during] = _NASAL
        words.voiced[during] *= rng.uniform(0.15, 0.4)
    elif kind == "glide":
        words.formants[during] = singer.vowels[rng.choice([_EE, _OO, _ER])] * (0.85, 1.0, 1.0)
        words.voiced[during] *= 0.5
    else:
        low, high = _HISSES[rng.integers(len(_HISSES))]
        band = 1.0 / (1.0 + (low / np.maximum(hertz, 1.0)) ** 6) / (1.0 + (hertz / high) ** 6)
        level = float(np.exp(rng.uniform(np.log(0.02), np.log(0.25))))
        if kind == "stop":
            words.voiced[during] = 0.02
            during = (times >= onset + 0.3 * length) & (times < onset + 0.3 * length + 0.02)
        else:
            words.voiced[during] *= rng.choice([0.03, 0.4])
        words.hiss[during] += level * band.astype(np.float32)


def _mouth(singer: _Singer, formants: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """Returns the gain of the vocal tract, `(times, hertz)`: a cascade of resonances."""
    squares = hertz.astype(np.float32) ** 2
    power = np.ones((len(formants), len(hertz)), np.float32)
    for i in range(3):
        centre = formants[:, i : i + 1].astype(np.float32)
        width = np.float32(singer.widen) * (50.0 + 0.03 * centre + (20.0, 10.0, 30.0)[i])
        power *= centre**4 / ((squares - centre**2) ** 2 + squares * width**2)
    for centre in singer.upper:
        width = singer.widen * (100.0 + 0.04 * centre)
        power *= centre**4 / ((squares - centre**2) ** 2 + squares * width**2)
    ring = 1.0 + singer.ring * np.exp(-(((hertz - 2900.0) / 450.0) ** 2))
    return np.sqrt(power) * ring.astype(np.float32)
