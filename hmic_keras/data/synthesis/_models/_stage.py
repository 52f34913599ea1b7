"""What a model plays, and the curves and lines that follow from it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from hmic_keras.data.synthesis._score import Note, Part

STEP = 64
"""Samples from one point of a control curve to the next."""

# A note that ends so little after the next one's start still belongs to the same line.
_TOUCH_SECONDS = 0.12
_SMOOTH_SECONDS = {"vibrato": 0.06, "expression": 0.06, "bend": 0.01}


def hertz(key: float) -> float:
    """Returns the frequency of a MIDI key."""
    return float(440.0 * 2.0 ** ((key - 69.0) / 12.0))


def smooth(values: np.ndarray, points: float) -> np.ndarray:
    """Lets a curve follow `values` with a time constant of `points` points."""
    from scipy.signal import lfilter

    keep = float(np.exp(-1.0 / max(points, 1e-3)))
    state = [keep * values[0]]
    return lfilter([1.0 - keep], [1.0, -keep], values, zi=state)[0]


def between(curve: np.ndarray) -> np.ndarray:
    """Returns `STEP` values for each point of a curve but the last, in the curve's type."""
    ramp = np.arange(STEP, dtype=curve.dtype) / curve.dtype.type(STEP)
    return (curve[:-1, None] + np.diff(curve)[:, None] * ramp).ravel()


@dataclass(frozen=True)
class Stage:
    """One part to be played by a model.

    Attributes:
        rng: Source of every choice.
        part: The notes and how they are shaped.
        frames: Length of the result in samples.
        rate: Samples a second.
    """

    rng: np.random.Generator
    part: Part
    frames: int
    rate: int

    @property
    def band(self) -> float:
        """Highest frequency to make: what is above is cut when the clip gets its rate."""
        return 0.36 * self.rate

    @cached_property
    def times(self) -> np.ndarray:
        """Times of the points of a control curve, in seconds."""
        return np.arange(self.frames // STEP + 2) * (STEP / self.rate)

    def points(self, seconds: float) -> float:
        """Returns a time as a number of points of a control curve."""
        return seconds * self.rate / STEP

    def control(
        self, kind: Literal["vibrato", "expression", "bend"], start: float
    ) -> np.ndarray:
        """Returns the curve of one control, which is `start` until it first changes."""
        changes = [c for c in self.part.controls if c.kind == kind]
        values = np.array([start, *(c.value for c in changes)])
        after = np.searchsorted([c.onset for c in changes], self.times, side="right")
        return smooth(values[after], self.points(_SMOOTH_SECONDS[kind]))

    def wander(self, hertz: float) -> np.ndarray:
        """Returns a random curve of deviation 1 that turns about `hertz` times a second."""
        knots = int(self.times[-1] * hertz) + 4
        at = self.times * hertz
        return np.interp(at, np.arange(knots), self.rng.standard_normal(knots))

    def full(self, curve: np.ndarray) -> np.ndarray:
        """Returns a control curve with a value for every sample, float32."""
        return between(curve.astype(np.float32))[: self.frames]

    def noise(self, frames: int | None = None) -> np.ndarray:
        """Returns white noise of deviation 1."""
        return self.rng.standard_normal(frames or self.frames, np.float32)

    def envelope(
        self, notes: Iterable[Note], attack: float, release: float, floor: float = 0.25
    ) -> np.ndarray:
        """Returns the loudness curve of a line; velocity `v` reaches about `(v / 127)^1.5`."""
        curve = np.zeros(len(self.times))
        for note in notes:
            level = floor + (1.0 - floor) * (note.velocity / 127.0) ** 1.5
            end = note.onset + max(note.duration, attack)
            corners = (note.onset, note.onset + attack, end, end + release)
            first, last = np.searchsorted(self.times, (corners[0], corners[-1]))
            shape = np.interp(self.times[first:last], corners, (0.0, level, level, 0.0))
            curve[first:last] = np.maximum(curve[first:last], shape)
        return smooth(curve, self.points(0.004))

    def keys(self, line: Sequence[Note], glide: float) -> np.ndarray:
        """Returns the keys of a line, gliding from note to note with this time constant."""
        starts, before = [], 0.0
        for note in line:
            # In silence the glide is over when the note begins.
            starts.append(min(note.onset, max(before, note.onset - 4.0 * glide)))
            before = note.onset + note.duration
        which = np.searchsorted(starts, self.times, side="right") - 1
        targets = np.array([note.key for note in line], np.float64)[np.maximum(which, 0)]
        return smooth(targets, self.points(glide))


def lines_of(notes: Sequence[Note]) -> list[list[Note]]:
    """Deals the notes to lines of which each sounds one note at a time."""
    lines: list[list[Note]] = []
    for note in sorted(notes, key=lambda item: (item.onset, item.key)):
        free = [
            line
            for line in lines
            if line[-1].onset + min(line[-1].duration, 1e9) <= note.onset + _TOUCH_SECONDS
            and line[-1].onset < note.onset
        ]
        if not free:
            lines.append([note])
            continue
        line = min(free, key=lambda item: abs(item[-1].key - note.key))
        last = line[-1]
        cut = min(last.duration, note.onset - last.onset)
        line[-1] = Note(last.onset, cut, last.key, last.velocity)
        line.append(note)
    return lines


Model = Callable[[Stage], np.ndarray]
"""Plays a part dry: mono `(frames,)` or stereo `(2, frames)`, at any level."""
