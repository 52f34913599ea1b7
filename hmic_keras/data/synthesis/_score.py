"""What a score is made of: notes, controls, parts, and the key and time they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from hmic_keras.data.synthesis._instruments import Preset

MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
}


@dataclass(frozen=True)
class Note:
    """One note: `onset` and `duration` in seconds, MIDI `key` and `velocity`."""

    onset: float
    duration: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Control:
    """A change of how a part sounds, from `onset` in seconds on.

    Attributes:
        onset: When it takes effect.
        kind: `"vibrato"` and `"expression"` go from 0 to 1; `"bend"` is in semitones.
        value: The new value.
    """

    onset: float
    kind: Literal["vibrato", "expression", "bend"]
    value: float


@dataclass(frozen=True)
class Part:
    """What one instrument plays.

    Attributes:
        class_name: The class of the instrument.
        role: What kind of part it is; `"midi"` for one from a MIDI file.
        notes: Notes by onset; every onset lies inside the clip.
        presets: The presets of the class in the order in which to try them.
        detune: Deviation from standard pitch in semitones.
        pan: Place in the stereo image, -1 (left) to 1 (right).
        controls: Vibrato, swells and bends, by onset.
    """

    class_name: str
    role: str
    notes: tuple[Note, ...]
    presets: tuple[Preset, ...]
    detune: float = 0.0
    pan: float = 0.0
    controls: tuple[Control, ...] = ()


@dataclass(frozen=True)
class Score:
    """A short piece.

    Attributes:
        style: The name of its style; `"midi"` for an excerpt of a MIDI file.
        parts: At least one per class.
        tempo: Beats a minute, if it is known.
        tonic: Pitch class of the key, 0 being C, if it is known.
        mode: A key of `MODES`, if it is known.
    """

    style: str
    parts: tuple[Part, ...]
    tempo: float | None = None
    tonic: int | None = None
    mode: str | None = None


@dataclass(frozen=True)
class Frame:
    """What the players of one piece share; times in beats unless named otherwise.

    Attributes:
        tempo: Beats a minute.
        meter: Beats in a bar.
        tonic: Pitch class of the key, 0 being C.
        mode: A key of `MODES`.
        progression: Degrees of the scale, 0 being the tonic triad; each chord lasts a bar.
        rhythms: A rhythm for each bar, for those who play in chorus.
        upbeat: Where in the first bar the clip begins.
        swing: By how much of a beat the second half of each beat comes late.
        seconds: Length of the clip in seconds.
    """

    tempo: float
    meter: int
    tonic: int
    mode: str
    progression: tuple[int, ...]
    rhythms: tuple[tuple[float, ...], ...]
    upbeat: float
    swing: float
    seconds: float

    @property
    def beat(self) -> float:
        """Length of a beat in seconds."""
        return 60.0 / self.tempo

    @property
    def bars(self) -> int:
        """Number of bars that reach into the clip."""
        return int(np.ceil((self.seconds / self.beat + self.upbeat) / self.meter))

    def bar(self, bar: int, rhythm: Sequence[float]) -> list[tuple[float, float]]:
        """Returns `(onset, length)` of the sounding lengths of a rhythm, cut to the bar.

        Args:
            bar: Number of the bar.
            rhythm: Lengths; a negative one is a rest.
        """
        slots, at = [], 0.0
        for length in rhythm:
            if length > 0 and at < self.meter:
                late = self.swing if at % 1.0 == 0.5 else 0.0
                slots.append(
                    (bar * self.meter + at + late, min(length, self.meter - at) - late)
                )
            at += abs(length)
        return slots

    def scale(self, low: int, high: int) -> list[int]:
        """Returns the keys of the scale from `low` to `high`."""
        steps = {(self.tonic + step) % 12 for step in MODES[self.mode]}
        return [key for key in range(low, high + 1) if key % 12 in steps]

    def chord(self, bar: int, tones: int = 3) -> list[int]:
        """Returns the pitch classes of the bar's chord, root first."""
        steps = MODES[self.mode]
        degree = self.progression[bar % len(self.progression)]
        return [(self.tonic + steps[(degree + 2 * i) % 7]) % 12 for i in range(tones)]

    def chord_keys(self, bar: int, low: int, high: int, tones: int = 3) -> list[int]:
        """Returns the keys from `low` to `high` that belong to the bar's chord."""
        pitches = set(self.chord(bar, tones))
        return [key for key in range(low, high + 1) if key % 12 in pitches]
