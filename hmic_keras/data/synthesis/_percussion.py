"""What a drum kit plays: its drums and its cymbals are parts of their own."""

import numpy as np

from hmic_keras.data.synthesis._instruments import (
    BELL,
    CRASHES,
    HATS,
    KICKS,
    OPEN_HAT,
    RIDES,
    RIM,
    SNARES,
    TOMS,
    Instrument,
)
from hmic_keras.data.synthesis._players import dynamics
from hmic_keras.data.synthesis._score import Frame, Note

# Sixteenths of a bar of four: where kick and snare (or rim) fall.
_GROOVES = (
    ((0, 8), (4, 12)),
    ((0, 6, 8), (4, 12)),
    ((0, 10), (4, 12)),
    ((0, 4, 8, 12), (4, 12)),
    ((0, 7, 10), (4, 12, 15)),
    ((0, 3, 8, 11), (4, 12)),
    ((0, 8, 10), (8,)),
    ((0, 6, 12), (3, 10)),
)


def play_drums(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays a groove of kick and snare with fills on the toms, or a pattern on the toms."""
    kicks, backbeats = _GROOVES[rng.integers(len(_GROOVES))]
    kick = int(rng.choice(KICKS))
    backbeat = int(rng.choice([*SNARES, *SNARES, *SNARES, RIM]))
    tribal = rng.random() < 0.15
    fill_every = int(rng.integers(1, 5))
    loudness = dynamics(rng, frame.bars)
    bar_length = 4 * frame.meter
    notes = []
    for bar in range(frame.bars):
        level = int(loudness[bar])
        fills = tribal or bar % fill_every == fill_every - 1
        fill_from = bar_length - (int(rng.choice([4, 8])) if fills else 0)
        fill_from = 0 if tribal else fill_from
        hits = [(at, kick, level) for at in kicks if at < max(fill_from, 1)]
        hits += [(at, backbeat, level) for at in backbeats if at < fill_from]
        hits += [
            (at, backbeat, level - 35) for at in range(1, fill_from, 2) if rng.random() < 0.1
        ]
        toms = np.sort(rng.integers(len(TOMS), size=bar_length - fill_from))
        hits += [
            (at, TOMS[tom] if rng.random() < 0.75 else backbeat, level - 5)
            for at, tom in zip(range(fill_from, bar_length), toms, strict=True)
            if rng.random() < (0.5 if tribal else 0.8)
        ]
        start = frame.meter * bar
        notes += [Note(_at(frame, start, at), 0.25, key, vel) for at, key, vel in hits]
    return notes


def play_cymbals(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays time on hi-hat or ride, crashes, or both."""
    style = str(rng.choice(["hats", "hats", "ride", "crashes", "mixed"]))
    step = int(rng.choice([1, 2, 2, 4]))
    hat = int(rng.choice([HATS[0], *HATS]))
    ride = int(rng.choice(RIDES))
    crashes = [*CRASHES[:2], *CRASHES]
    loudness = dynamics(rng, frame.bars)
    notes = []
    for bar in range(frame.bars):
        level, start = int(loudness[bar]), frame.meter * bar
        if style in ("crashes", "mixed") or (bar % 4 == 0 and rng.random() < 0.5):
            at = float(rng.choice([0.0, 0.0, 2.0, frame.meter - 1.0]))
            notes.append(Note(start + at, 3.0, int(rng.choice(crashes)), level + 8))
        if style == "crashes":
            continue
        pattern_key = ride if style == "ride" or (style == "mixed" and bar % 2) else hat
        for at in range(0, 4 * frame.meter, step):
            key = pattern_key
            if pattern_key == hat and rng.random() < 0.1:
                key = OPEN_HAT
            elif pattern_key == ride and rng.random() < 0.1:
                key = BELL
            accent = 6 if at % 4 == 0 else -10
            notes.append(Note(_at(frame, start, at), 0.25, key, level + accent))
    return notes


def play_kit(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays drums and cymbals together."""
    return play_drums(rng, frame, instrument) + play_cymbals(rng, frame, instrument)


def _at(frame: Frame, start: float, sixteenth: int) -> float:
    return start + sixteenth / 4.0 + (frame.swing if sixteenth % 4 == 2 else 0.0)
