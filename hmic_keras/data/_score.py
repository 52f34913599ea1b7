"""Writing short pieces: a key, a tempo, chords, and for each instrument a part that fits it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmic_keras.data._instruments import INSTRUMENTS, Instrument, Role

_MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}
# Degrees of the scale, 0 being the tonic triad; each chord lasts one bar.
_PROGRESSIONS = (
    (0, 3, 4, 0),
    (0, 5, 3, 4),
    (0, 4, 5, 3),
    (5, 3, 0, 4),
    (0, 5, 1, 4),
    (1, 4, 0, 0),
    (0, 3, 0, 4),
    (0, 2, 3, 4),
    (0, 6, 3, 0),
    (0, 3),
)
# Lengths in beats that fill one bar of four; a negative length is a rest.
_MELODY_RHYTHMS = (
    (1.0, 1.0, 1.0, 1.0),
    (1.0, 0.5, 0.5, 2.0),
    (1.5, 0.5, 1.0, 1.0),
    (0.5, 0.5, 0.5, 0.5, 1.0, 1.0),
    (0.5, 0.5, 1.0, 0.5, 0.5, 1.0),
    (0.75, 0.25, 1.0, 1.5, -0.5),
    (2.0, 1.0, 0.5, 0.5),
    (3.0, 1.0),
    (-0.5, 0.5, 0.5, 0.5, 1.0, 1.0),
    (0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 1.0, 1.0),
    (2 / 3, 1 / 3, 2 / 3, 1 / 3, 2 / 3, 1 / 3, 1.0),
    (1 / 3, 1 / 3, 1 / 3, 1.0, 1 / 3, 1 / 3, 1 / 3, 1.0),
)
_LONG_RHYTHMS = ((4.0,), (2.0, 2.0), (3.0, 1.0), (3.5, -0.5))
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
_TREMOLO_RHYTHMS = ((2.0, 2.0), (1.0, 1.0, 2.0), (4.0,), (3.0, 1.0))

_KICKS = (35, 36)
_SNARES = (38, 40)
_RIM = 37
_TOMS = (50, 48, 47, 45, 43, 41)
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
_HATS = (42, 42, 42, 44)
_OPEN_HAT = 46
_RIDES = (51, 59)
_BELL = 53
_CRASHES = (49, 57, 49, 57, 55, 52)


@dataclass(frozen=True)
class Note:
    """One note: `onset` and `duration` in seconds, MIDI `key` and `velocity`."""

    onset: float
    duration: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """What one instrument plays.

    Attributes:
        class_name: The class of the instrument.
        role: What kind of part it is.
        notes: Notes by onset; every onset lies inside the clip.
        presets: The presets of the class in the order in which to try them.
        detune: Deviation from standard pitch in semitones.
        vibrato: Modulation-wheel value, 0 to 127.
    """

    class_name: str
    role: Role
    notes: tuple[Note, ...]
    presets: tuple[tuple[int, int], ...]
    detune: float
    vibrato: int


@dataclass(frozen=True)
class Score:
    """A short piece.

    Attributes:
        tempo: Beats a minute.
        tonic: Pitch class of the key, 0 being C.
        mode: `major`, `minor`, `dorian` or `mixolydian`.
        parts: One per class.
    """

    tempo: float
    tonic: int
    mode: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class _Frame:
    """What the players of one piece share; times in beats unless named otherwise."""

    tempo: float
    tonic: int
    mode: str
    progression: tuple[int, ...]
    upbeat: float
    seconds: float

    @property
    def beat(self) -> float:
        return 60.0 / self.tempo

    @property
    def bars(self) -> int:
        return int(np.ceil((self.seconds / self.beat + self.upbeat) / 4.0))

    def degree(self, bar: int) -> int:
        return self.progression[bar % len(self.progression)]

    def scale(self, low: int, high: int) -> list[int]:
        steps = {(self.tonic + step) % 12 for step in _MODES[self.mode]}
        return [key for key in range(low, high + 1) if key % 12 in steps]

    def chord(self, bar: int, tones: int = 3) -> list[int]:
        steps = _MODES[self.mode]
        degree = self.degree(bar)
        return [(self.tonic + steps[(degree + 2 * i) % 7]) % 12 for i in range(tones)]

    def chord_keys(self, bar: int, low: int, high: int, tones: int = 3) -> list[int]:
        pitches = set(self.chord(bar, tones))
        return [key for key in range(low, high + 1) if key % 12 in pitches]


def compose(rng: np.random.Generator, class_names: Sequence[str], seconds: float) -> Score:
    """Writes a piece of `seconds` in which each class plays one part.

    Args:
        rng: Source of every choice.
        class_names: Classes from `INSTRUMENTS`, distinct.
        seconds: Length of the clip. It may begin in the middle of a bar.

    Returns:
        The score. Every part has a note that starts in the first three quarters of the clip.
    """
    frame = _Frame(
        tempo=float(np.exp(rng.uniform(np.log(66.0), np.log(176.0)))),
        tonic=int(rng.integers(12)),
        mode=str(rng.choice(list(_MODES))),
        progression=_PROGRESSIONS[rng.integers(len(_PROGRESSIONS))],
        upbeat=float(rng.choice([0.0, 0.0, rng.uniform(0.0, 4.0)])),
        seconds=seconds,
    )
    tuning = float(rng.normal(0.0, 0.12))
    parts = tuple(_compose_part(rng, frame, name, tuning) for name in class_names)
    return Score(frame.tempo, frame.tonic, frame.mode, parts)


def _compose_part(
    rng: np.random.Generator, frame: _Frame, class_name: str, tuning: float
) -> Part:
    instrument = INSTRUMENTS[class_name]
    role = instrument.roles[rng.integers(len(instrument.roles))]
    events: list[Note] = []
    while not events:
        events = _into_clip(rng, frame, _PLAYERS[role](rng, frame, instrument))
    unpitched = role in ("drums", "cymbals")
    order = rng.permutation(len(instrument.presets))
    return Part(
        class_name=class_name,
        role=role,
        notes=tuple(sorted(events, key=lambda note: (note.onset, note.key))),
        presets=tuple(instrument.presets[i] for i in order),
        # A drum kit is tuned on its own; pitched players share one tuning and miss it a little.
        detune=float(rng.uniform(-1.5, 1.5) if unpitched else tuning + rng.normal(0.0, 0.03)),
        vibrato=int(rng.integers(instrument.vibrato + 1)),
    )


def _into_clip(rng: np.random.Generator, frame: _Frame, beats: list[Note]) -> list[Note]:
    """Turns beats into seconds, loosens the timing and cuts what lies outside the clip."""
    notes = []
    looseness = rng.uniform(0.0, 0.012)
    for note in beats:
        onset = (note.onset - frame.upbeat) * frame.beat + rng.normal(0.0, looseness)
        end = onset + max(note.duration * frame.beat, 0.05)
        onset = max(onset, 0.0)
        if onset < frame.seconds - 0.05 and end > onset + 0.04:
            velocity = int(np.clip(note.velocity + rng.normal(0.0, 4.0), 20, 127))
            notes.append(Note(onset, end - onset, note.key, velocity))
    if notes and min(note.onset for note in notes) > 0.75 * frame.seconds:
        return []
    return notes


def _pick(rng: np.random.Generator, options: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    return options[int(rng.integers(len(options)))]


def _dynamics(rng: np.random.Generator, bars: int) -> np.ndarray:
    """Returns a velocity per bar: a level for the part, swelling or fading over the clip."""
    level = rng.uniform(55.0, 112.0)
    return np.clip(level + np.linspace(0.0, rng.uniform(-20.0, 20.0), max(bars, 1)), 35, 122)


def _bar(rhythm: tuple[float, ...], start: float) -> list[tuple[float, float]]:
    """Returns `(onset, length)` in beats for the sounding lengths of one bar."""
    slots = []
    for length in rhythm:
        if length > 0:
            slots.append((start, length))
        start += abs(length)
    return slots


def _span(rng: np.random.Generator, instrument: Instrument, width: int) -> tuple[int, int]:
    """Draws a register: `width` semitones somewhere inside the instrument's range."""
    width = min(width, instrument.high - instrument.low)
    low = int(rng.integers(instrument.low, instrument.high - width + 1))
    return low, low + width


def _melodic_keys(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> "_Walk":
    return _Walk(rng, frame, *_span(rng, instrument, int(rng.integers(12, 20))))


class _Walk:
    """A voice that moves by small steps of the scale and lands on chord tones on the beat."""

    def __init__(self, rng: np.random.Generator, frame: _Frame, low: int, high: int) -> None:
        self._rng, self._frame = rng, frame
        self._scale = frame.scale(low, high)
        self._at = int(rng.integers(len(self._scale)))

    def next(self, bar: int, strong: bool) -> int:
        step = int(self._rng.choice([-4, -2, -1, -1, 0, 1, 1, 2, 4]))
        last = len(self._scale) - 1
        self._at = int(np.clip(self._at + step, 0, last))
        if step and self._at in (0, last):
            self._at = int(np.clip(self._at - 2 * np.sign(step), 0, last))
        if strong:
            chord = set(self._frame.chord(bar))
            near = sorted(range(last + 1), key=lambda i: (abs(i - self._at), i))
            self._at = next((i for i in near if self._scale[i] % 12 in chord), self._at)
        return self._scale[self._at]


def _play_line(
    rng: np.random.Generator,
    frame: _Frame,
    instrument: Instrument,
    rhythms: Sequence[tuple[float, ...]],
) -> list[Note]:
    walk = _melodic_keys(rng, frame, instrument)
    loudness = _dynamics(rng, frame.bars)
    rhythm = _pick(rng, rhythms)
    articulation = float(rng.choice([0.35, 0.7, 0.9, 0.98]))
    notes = []
    for bar in range(frame.bars):
        if rng.random() < 0.5:
            rhythm = _pick(rng, rhythms)
        for onset, length in _bar(rhythm, 4.0 * bar):
            strong = onset % 2.0 == 0.0
            velocity = int(loudness[bar]) + (6 if strong else 0)
            notes.append(Note(onset, length * articulation, walk.next(bar, strong), velocity))
    return notes


def _play_melody(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> list[Note]:
    return _play_line(rng, frame, instrument, _MELODY_RHYTHMS)


def _play_long(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> list[Note]:
    return _play_line(rng, frame, instrument, _LONG_RHYTHMS)


def _play_tremolo(
    rng: np.random.Generator, frame: _Frame, instrument: Instrument
) -> list[Note]:
    walk = _melodic_keys(rng, frame, instrument)
    loudness = _dynamics(rng, frame.bars)
    # Strokes are 70 to 110 ms apart whatever the tempo, as a plectrum or mallets go.
    stroke = rng.uniform(0.07, 0.11) / frame.beat
    notes = []
    for bar in range(frame.bars):
        for onset, length in _bar(_pick(rng, _TREMOLO_RHYTHMS), 4.0 * bar):
            key = walk.next(bar, strong=onset % 2.0 == 0.0)
            for i in range(max(1, int(length / stroke))):
                accent = 8 if i == 0 else -8 * (i % 2)
                notes.append(
                    Note(onset + i * stroke, 0.95 * stroke, key, int(loudness[bar]) + accent)
                )
    return notes


def _voicing(
    rng: np.random.Generator, frame: _Frame, bar: int, low: int, high: int, count: int
) -> list[int]:
    tones = frame.chord_keys(bar, low, high, int(rng.choice([3, 3, 4])))
    start = int(rng.integers(max(1, len(tones) - count + 1)))
    return tones[start : start + count]


def _play_chords(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> list[Note]:
    low, high = _span(rng, instrument, 26)
    loudness = _dynamics(rng, frame.bars)
    rhythm = _pick(rng, _CHORD_RHYTHMS)
    articulation = float(rng.choice([0.4, 0.85, 0.98]))
    delay = instrument.strum * rng.uniform(0.3, 1.5) / frame.beat
    left_hand = instrument.high - instrument.low > 60
    notes = []
    for bar in range(frame.bars):
        keys = _voicing(rng, frame, bar, low, high, int(rng.integers(3, 6)))
        for i, (onset, length) in enumerate(_bar(rhythm, 4.0 * bar)):
            strings = keys if i % 2 == 0 or not delay else keys[::-1]
            for j, key in enumerate(strings):
                velocity = int(loudness[bar]) - (0 if i == 0 else 6)
                notes.append(Note(onset + j * delay, length * articulation, key, velocity))
        if left_hand:
            root = frame.chord_keys(bar, instrument.low, instrument.low + 23, tones=1)
            notes.extend(Note(4.0 * bar, 3.8, key, int(loudness[bar])) for key in root[:2])
    return notes


def _play_arpeggio(
    rng: np.random.Generator, frame: _Frame, instrument: Instrument
) -> list[Note]:
    low, high = _span(rng, instrument, 24)
    loudness = _dynamics(rng, frame.bars)
    step = float(rng.choice([0.5, 0.5, 0.25, 1 / 3]))
    ring = float(rng.choice([1.0, 2.0, 4.0]))
    shape = int(rng.integers(4))
    notes = []
    for bar in range(frame.bars):
        keys = _voicing(rng, frame, bar, low, high, int(rng.integers(3, 6)))
        order = _ARPEGGIOS[shape](keys)
        for i in range(round(4.0 / step)):
            velocity = int(loudness[bar]) + (5 if i % 4 == 0 else -3)
            notes.append(
                Note(4.0 * bar + i * step, ring * step, order[i % len(order)], velocity)
            )
    return notes


_ARPEGGIOS = (
    lambda keys: keys,
    lambda keys: keys[::-1],
    lambda keys: keys + keys[-2:0:-1],
    # Alternating thumb and fingers, as in picking a banjo or guitar.
    lambda keys: [keys[0], keys[-1], keys[len(keys) // 2], keys[-1]],
)


def _play_pad(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> list[Note]:
    low, high = _span(rng, instrument, 26)
    loudness = _dynamics(rng, frame.bars)
    count = int(rng.integers(2, 5))
    return [
        Note(4.0 * bar, 3.96, key, int(loudness[bar]))
        for bar in range(frame.bars)
        for key in _voicing(rng, frame, bar, low, high, count)
    ]


def _play_bass(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> list[Note]:
    loudness = _dynamics(rng, frame.bars)
    rhythm = _pick(rng, _BASS_RHYTHMS)
    articulation = float(rng.choice([0.5, 0.8, 0.97]))
    walking = rng.random() < 0.4
    walk = _Walk(rng, frame, instrument.low, instrument.low + 20)
    notes = []
    for bar in range(frame.bars):
        root, *others = frame.chord(bar)
        roots = [k for k in range(instrument.low, instrument.low + 24) if k % 12 == root]
        fifths = [k for k in range(roots[0], roots[0] + 13) if k % 12 == others[-1]]
        for i, (onset, length) in enumerate(_bar(rhythm, 4.0 * bar)):
            if walking and i:
                key = walk.next(bar, strong=False)
            else:
                key = (
                    int(rng.choice([roots[0], roots[0], *roots[1:], *fifths]))
                    if i
                    else roots[0]
                )
            notes.append(Note(onset, length * articulation, key, int(loudness[bar])))
    return notes


def _play_drums(rng: np.random.Generator, frame: _Frame, instrument: Instrument) -> list[Note]:
    kicks, backbeats = _GROOVES[rng.integers(len(_GROOVES))]
    kick = int(rng.choice(_KICKS))
    backbeat = int(rng.choice([*_SNARES, *_SNARES, *_SNARES, _RIM]))
    fill_every = int(rng.integers(1, 5))
    loudness = _dynamics(rng, frame.bars)
    notes = []
    for bar in range(frame.bars):
        level = int(loudness[bar])
        fill_from = 16 - int(rng.choice([4, 8])) if bar % fill_every == fill_every - 1 else 16
        hits = [(at, kick, level) for at in kicks if at < fill_from]
        hits += [(at, backbeat, level) for at in backbeats if at < fill_from]
        hits += [
            (at, backbeat, level - 35) for at in range(1, fill_from, 2) if rng.random() < 0.1
        ]
        toms = np.sort(rng.integers(len(_TOMS), size=16 - fill_from))
        hits += [
            (at, _TOMS[tom] if rng.random() < 0.75 else backbeat, level - 5)
            for at, tom in zip(range(fill_from, 16), toms, strict=True)
            if rng.random() < 0.8
        ]
        notes += [Note(4.0 * bar + at / 4.0, 0.25, key, vel) for at, key, vel in hits]
    return notes


def _play_cymbals(
    rng: np.random.Generator, frame: _Frame, instrument: Instrument
) -> list[Note]:
    style = str(rng.choice(["hats", "hats", "ride", "crashes", "mixed"]))
    step = int(rng.choice([1, 2, 2, 4]))
    swing = 2 / 3 - 0.5 if step == 2 and rng.random() < 0.25 else 0.0
    hat, ride = int(rng.choice(_HATS)), int(rng.choice(_RIDES))
    loudness = _dynamics(rng, frame.bars)
    notes = []
    for bar in range(frame.bars):
        level = int(loudness[bar])
        if style in ("crashes", "mixed") or (bar % 4 == 0 and rng.random() < 0.5):
            at = float(rng.choice([0.0, 0.0, 2.0, 3.0]))
            notes.append(Note(4.0 * bar + at, 3.0, int(rng.choice(_CRASHES)), level + 8))
        if style == "crashes":
            continue
        pattern_key = ride if style == "ride" or (style == "mixed" and bar % 2) else hat
        for at in range(0, 16, step):
            late = swing if (at // 2) % 2 else 0.0
            key = pattern_key
            if pattern_key == hat and rng.random() < 0.1:
                key = _OPEN_HAT
            elif pattern_key == ride and rng.random() < 0.1:
                key = _BELL
            accent = 6 if at % 4 == 0 else -10
            notes.append(Note(4.0 * bar + at / 4.0 + late, 0.25, key, level + accent))
    return notes


_PLAYERS = {
    "arpeggio": _play_arpeggio,
    "bass": _play_bass,
    "chords": _play_chords,
    "cymbals": _play_cymbals,
    "drums": _play_drums,
    "long": _play_long,
    "melody": _play_melody,
    "pad": _play_pad,
    "tremolo": _play_tremolo,
}
