"""How each role is played: from the frame of a piece to one instrument's notes, in beats."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hmic_keras.data.synthesis._instruments import Instrument
from hmic_keras.data.synthesis._score import Frame, Note

# Lengths in beats that fill one bar of four; a negative length is a rest.
_MELODY_RHYTHMS = (
    (1.0, 1.0, 1.0, 1.0),
    (1.0, 0.5, 0.5, 2.0),
    (1.5, 0.5, 1.0, 1.0),
    (0.5, 0.5, 0.5, 0.5, 1.0, 1.0),
    (0.5, 0.5, 1.0, 0.5, 0.5, 1.0),
    (0.5,) * 8,
    (0.75, 0.25, 1.0, 1.5, -0.5),
    (2.0, 1.0, 0.5, 0.5),
    (3.0, 1.0),
    (-0.5, 0.5, 0.5, 0.5, 1.0, 1.0),
    (0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 1.0, 1.0),
    (2 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3, 1.0),
    (1 / 3, 1 / 3, 1 / 3, 1.0, 1 / 3, 1 / 3, 1 / 3, 1.0),
)
_LONG_RHYTHMS = ((4.0,), (2.0, 2.0), (3.0, 1.0), (3.5, -0.5))
# No rests: these are drawn once for a piece, and every clip must sound soon.
CHORALE_RHYTHMS = (
    (1.0, 1.0, 1.0, 1.0),
    (1.0, 1.0, 2.0),
    (2.0, 1.0, 1.0),
    (2.0, 2.0),
    (1.5, 0.5, 2.0),
    (3.0, 1.0),
)
_CHORD_RHYTHMS = (
    (4.0,),
    (2.0, 2.0),
    (1.0, 1.0, 1.0, 1.0),
    (1.5, 1.5, 1.0),
    (-1.0, 1.0, -1.0, 1.0),
    (1.0, 0.5, 0.5, 0.5, 0.5, 1.0),
    (-0.5, 0.5, -0.5, 0.5, -0.5, 0.5, -0.5, 0.5),
    (1.0, 1.0, -0.5, 0.5, 0.5, 0.5),
)
_BASS_RHYTHMS = (
    (4.0,),
    (2.0, 2.0),
    (1.5, 0.5, 2.0),
    (1.0, 1.0, 1.0, 1.0),
    (0.5,) * 8,
    (1.5, 1.5, 1.0),
    (0.75, 0.25, 1.0, 0.75, 0.25, 1.0),
    (-0.5, 0.5, 1.0, -0.5, 0.5, 1.0),
)
_OSTINATO_RHYTHMS = (
    (0.5,) * 8,
    (0.25, 0.25, 0.5) * 4,
    (0.75, 0.75, 0.5) * 2,
    (1.0, 0.5, 0.5, 1.0, -0.5, 0.5),
    (0.5, -0.5, 0.5, 0.5, -0.5, 0.5, 0.5, 0.5),
    (1.0, -1.0, 1.0, -1.0),
)
_TREMOLO_RHYTHMS = ((2.0, 2.0), (1.0, 1.0, 2.0), (4.0,), (3.0, 1.0))
_STACCATO, _DETACHED, _TENUTO, _LEGATO = 0.3, 0.7, 0.92, 1.02


def pick(rng: np.random.Generator, options: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Returns one of the rhythms."""
    return options[int(rng.integers(len(options)))]


def dynamics(rng: np.random.Generator, bars: int) -> np.ndarray:
    """Returns a velocity per bar: a level for the part, swelling or fading over the clip."""
    level = rng.uniform(50.0, 112.0)
    return np.clip(level + np.linspace(0.0, rng.uniform(-25.0, 25.0), max(bars, 1)), 32, 122)


def _span(rng: np.random.Generator, instrument: Instrument, width: int) -> tuple[int, int]:
    """Draws a register: `width` semitones, more often in the middle if not even."""
    width = min(width, instrument.high - instrument.low)
    room = instrument.high - instrument.low - width
    place = rng.random() if instrument.even else (rng.random() + rng.random()) / 2
    low = instrument.low + int(place * (room + 1))
    return low, low + width


class Walk:
    """A voice that moves by small steps of the scale and lands on chord tones on the beat."""

    def __init__(self, rng: np.random.Generator, frame: Frame, low: int, high: int) -> None:
        self._rng, self._frame = rng, frame
        self._scale = frame.scale(low, high)
        self._at = int(rng.integers(len(self._scale)))

    def next(self, bar: int, strong: bool) -> int:
        """Returns the next key; a strong one belongs to the bar's chord."""
        step = int(self._rng.choice([-4, -2, -1, -1, 0, 1, 1, 2, 4]))
        last = len(self._scale) - 1
        self._at = int(np.clip(self._at + step, 0, last))
        if step and self._at in (0, last):
            self._at = int(np.clip(self._at - 2 * np.sign(step), 0, last))
        return self.land(bar) if strong else self._scale[self._at]

    def land(self, bar: int) -> int:
        """Moves to the nearest tone of the bar's chord, if there is one, and returns it."""
        chord = set(self._frame.chord(bar))
        near = sorted(range(len(self._scale)), key=lambda i: (abs(i - self._at), i))
        self._at = next((i for i in near if self._scale[i] % 12 in chord), self._at)
        return self._scale[self._at]


def _melodic_walk(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> Walk:
    return Walk(rng, frame, *_span(rng, instrument, int(rng.integers(12, 20))))


def _play_line(
    rng: np.random.Generator,
    frame: Frame,
    instrument: Instrument,
    rhythms: Sequence[tuple[float, ...]],
) -> list[Note]:
    walk = _melodic_walk(rng, frame, instrument)
    loudness = dynamics(rng, frame.bars)
    rhythm = pick(rng, rhythms)
    usual = float(rng.choice([_STACCATO, _DETACHED, _TENUTO, _LEGATO]))
    contrast = float(rng.choice([usual, usual, _STACCATO, _LEGATO]))
    notes = []
    for bar in range(frame.bars):
        if rng.random() < 0.5:
            rhythm = pick(rng, rhythms)
        articulation = contrast if rng.random() < 0.3 else usual
        for onset, length in frame.bar(bar, rhythm):
            strong = onset % 2.0 == 0.0
            velocity = int(loudness[bar]) + (6 if strong else 0)
            notes.append(Note(onset, length * articulation, walk.next(bar, strong), velocity))
    return notes


def play_melody(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays a tune."""
    return _play_line(rng, frame, instrument, _MELODY_RHYTHMS)


def play_long(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays a line of long notes."""
    return _play_line(rng, frame, instrument, _LONG_RHYTHMS)


def play_chorale(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays one voice of a chorale, or chords where the instrument has many voices."""
    low, high = _span(rng, instrument, int(rng.integers(9, 15)))
    many = "chords" in instrument.roles or "pad" in instrument.roles
    voices = [
        Walk(rng, frame, low, high) for _ in range(int(rng.integers(2, 5)) if many else 1)
    ]
    loudness = dynamics(rng, frame.bars)
    articulation = float(rng.choice([_DETACHED, _TENUTO, _LEGATO]))
    notes = []
    for bar in range(frame.bars):
        rhythm = frame.rhythms[bar % len(frame.rhythms)]
        for i, (onset, length) in enumerate(frame.bar(bar, rhythm)):
            keys = {walk.next(bar, strong=i % 2 == 0) for walk in voices}
            notes += [
                Note(onset, length * articulation, key, int(loudness[bar]))
                for key in sorted(keys)
            ]
    return notes


def play_ostinato(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Repeats a short figure that follows the chords or stands still."""
    low, high = _span(rng, instrument, int(rng.integers(7, 15)))
    rhythm = pick(rng, _OSTINATO_RHYTHMS)
    moves = rng.random() < 0.7
    figure = rng.integers(0, 6, size=len(rhythm))
    loudness = dynamics(rng, frame.bars)
    articulation = float(rng.choice([_STACCATO, _DETACHED, _TENUTO]))
    notes = []
    for bar in range(frame.bars):
        tones = frame.chord_keys(bar if moves else 0, low, high, tones=4)
        tones = tones or frame.scale(low, high)
        for i, (onset, length) in enumerate(frame.bar(bar, rhythm)):
            key = tones[int(figure[i]) % len(tones)]
            velocity = int(loudness[bar]) + (7 if i == 0 else -3 * (i % 2))
            notes.append(Note(onset, length * articulation, key, velocity))
    return notes


def play_drone(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Holds the tonic, or tonic and fifth, under everything."""
    low, high = (
        instrument.low,
        max(instrument.low + 24, (instrument.low + instrument.high) // 2),
    )
    high = min(high, instrument.high)
    tonics = [key for key in range(low, high + 1) if key % 12 == frame.tonic]
    root = int(rng.choice(tonics))
    fifth = root + 7
    keys = [root, fifth] if rng.random() < 0.6 and fifth <= instrument.high else [root]
    every = int(rng.choice([1, 1, 2]))
    loudness = dynamics(rng, frame.bars)
    length = every * frame.meter * float(rng.choice([_TENUTO, 0.99]))
    return [
        Note(frame.meter * bar, length, key, int(loudness[bar]))
        for bar in range(0, frame.bars, every)
        for key in keys
    ]


def play_tremolo(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays long notes as fast repetitions."""
    walk = _melodic_walk(rng, frame, instrument)
    loudness = dynamics(rng, frame.bars)
    # Strokes are 70 to 110 ms apart whatever the tempo, as a plectrum or mallets go.
    stroke = rng.uniform(0.07, 0.11) / frame.beat
    notes = []
    for bar in range(frame.bars):
        for onset, length in frame.bar(bar, pick(rng, _TREMOLO_RHYTHMS)):
            key = walk.next(bar, strong=onset % 2.0 == 0.0)
            for i in range(max(1, int(length / stroke))):
                accent = 8 if i == 0 else -8 * (i % 2)
                notes.append(
                    Note(onset + i * stroke, 0.95 * stroke, key, int(loudness[bar]) + accent)
                )
    return notes


def _voicing(
    rng: np.random.Generator, frame: Frame, bar: int, low: int, high: int, count: int
) -> list[int]:
    tones = frame.chord_keys(bar, low, high, int(rng.choice([3, 3, 4])))
    start = int(rng.integers(max(1, len(tones) - count + 1)))
    return tones[start : start + count]


def play_chords(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays chords in a rhythm, strummed or struck, on wide keyboards with a left hand."""
    low, high = _span(rng, instrument, 26)
    loudness = dynamics(rng, frame.bars)
    rhythm = pick(rng, _CHORD_RHYTHMS)
    articulation = float(rng.choice([0.4, 0.85, 0.98]))
    delay = instrument.strum * rng.uniform(0.3, 1.5) / frame.beat
    left_hand = instrument.high - instrument.low > 60
    notes = []
    for bar in range(frame.bars):
        keys = _voicing(rng, frame, bar, low, high, int(rng.integers(3, 6)))
        for i, (onset, length) in enumerate(frame.bar(bar, rhythm)):
            strings = keys if i % 2 == 0 or not delay else keys[::-1]
            for j, key in enumerate(strings):
                velocity = int(loudness[bar]) - (0 if i == 0 else 6)
                notes.append(Note(onset + j * delay, length * articulation, key, velocity))
        if left_hand:
            root = frame.chord_keys(bar, instrument.low, instrument.low + 23, tones=1)
            notes.extend(
                Note(frame.meter * bar, frame.meter - 0.2, key, int(loudness[bar]))
                for key in root[:2]
            )
    return notes


def play_arpeggio(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Breaks the chords up, each note ringing on for a while."""
    low, high = _span(rng, instrument, 24)
    loudness = dynamics(rng, frame.bars)
    step = float(rng.choice([0.5, 0.5, 0.25, 1 / 3]))
    ring = float(rng.choice([1.0, 2.0, 4.0]))
    shape = int(rng.integers(4))
    notes = []
    for bar in range(frame.bars):
        keys = _voicing(rng, frame, bar, low, high, int(rng.integers(3, 6)))
        order = _ARPEGGIOS[shape](keys)
        for i in range(round(frame.meter / step)):
            velocity = int(loudness[bar]) + (5 if i % 4 == 0 else -3)
            onset = frame.meter * bar + i * step
            notes.append(Note(onset, ring * step, order[i % len(order)], velocity))
    return notes


_ARPEGGIOS = (
    lambda keys: keys,
    lambda keys: keys[::-1],
    lambda keys: keys + keys[-2:0:-1],
    # Alternating thumb and fingers, as in picking a banjo or guitar.
    lambda keys: [keys[0], keys[-1], keys[len(keys) // 2], keys[-1]],
)


def play_pad(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Holds the chords."""
    low, high = _span(rng, instrument, 26)
    loudness = dynamics(rng, frame.bars)
    count = int(rng.integers(2, 5))
    return [
        Note(frame.meter * bar, 0.99 * frame.meter, key, int(loudness[bar]))
        for bar in range(frame.bars)
        for key in _voicing(rng, frame, bar, low, high, count)
    ]


def play_bass(rng: np.random.Generator, frame: Frame, instrument: Instrument) -> list[Note]:
    """Plays roots and fifths low down, or walks."""
    if instrument.even:
        # An octave and a half is left to play in.
        room = max(0, instrument.high - instrument.low - 19)
        higher = min(int(rng.integers(0, 13)), room)
        instrument = replace(instrument, low=instrument.low + higher)
    loudness = dynamics(rng, frame.bars)
    rhythm = pick(rng, _BASS_RHYTHMS)
    articulation = float(rng.choice([0.5, 0.8, 0.97]))
    walking = rng.random() < 0.4
    top = min(instrument.low + 24, instrument.high + 1)
    walk = Walk(rng, frame, instrument.low, top - 4)
    notes = []
    for bar in range(frame.bars):
        root, *others = frame.chord(bar)
        roots = [k for k in range(instrument.low, top) if k % 12 == root]
        fifths = [k for k in range(roots[0], roots[0] + 13) if k % 12 == others[-1] and k < top]
        for i, (onset, length) in enumerate(frame.bar(bar, rhythm)):
            if i == 0:
                key = roots[0]
            elif walking:
                key = walk.next(bar, strong=False)
            else:
                key = int(rng.choice([roots[0], roots[0], *roots[1:], *fifths]))
            notes.append(Note(onset, length * articulation, key, int(loudness[bar])))
    return notes
