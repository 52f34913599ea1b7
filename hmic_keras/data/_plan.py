"""What each pass over a dataset draws: which clips, and where their crops lie.

Drawn by NumPy from `(seed, epoch)` alone, so a seed gives the same batches under every
TensorFlow version and global seed, whatever the source of the sound, the number of threads and
where a stopped run goes on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

# What is left of a crop after its onset, so that the note is heard.
_AFTER_ONSET = 0.25


class Draw(NamedTuple):
    """One batch: arrays `(batch,)`.

    Attributes:
        row: Which clip, int64.
        position: Where the crop lies in it, float64: 0 leftmost, below 1.
        start: The same in seconds, to be moved inside the clip, float64; NaN where
            `position` decides.
        ordinal: Number of the crop in the pass, int64.
        epoch: Number of the pass, int64; the same in all of them.
    """

    row: np.ndarray
    position: np.ndarray
    start: np.ndarray
    ordinal: np.ndarray
    epoch: np.ndarray


@dataclass(frozen=True)
class Plan:
    """The batches of every pass.

    Attributes:
        clips: Number of clips.
        batch_size: Clips in a batch.
        seed: Seed of order and positions; None keeps the order and takes centres.
        weights: How often each clip is drawn in relation to the others; None draws each once.
        onsets: Where crops are to contain an onset, what there is to choose from.
    """

    clips: int
    batch_size: int
    seed: int | None = None
    weights: np.ndarray | None = None
    onsets: "Onsets | None" = None

    def batches(self, epoch: int) -> Iterator[Draw]:
        """Yields the batches of one pass."""
        if self.seed is None:
            order, positions = np.arange(self.clips), np.full(self.clips, 0.5)
            choices = None
        else:
            random = np.random.default_rng([self.seed, epoch])
            order = self._order(random)
            positions = random.random(self.clips)
            choices = None if self.onsets is None else random.random((self.clips, 3))
        ordinals = np.arange(self.clips)
        for first in range(0, self.clips, self.batch_size):
            part = slice(first, first + self.batch_size)
            rows = order[part]
            starts = np.full(len(rows), np.nan)
            if self.onsets is not None and choices is not None:
                drawn = zip(rows, choices[part], strict=True)
                starts[:] = [self.onsets.start(row, *choice) for row, choice in drawn]
            epochs = np.full(len(rows), epoch)
            yield Draw(rows, positions[part], starts, ordinals[part], epochs)

    def _order(self, random: np.random.Generator) -> np.ndarray:
        if self.weights is None:
            return random.permutation(self.clips)
        # Systematic: a clip due 2.3 times comes two or three times, never none or five.
        due = np.cumsum(self.weights) / np.sum(self.weights)
        ticks = (np.arange(self.clips) + random.random()) / self.clips
        drawn = np.minimum(np.searchsorted(due, ticks, side="right"), self.clips - 1)
        return random.permutation(drawn)


class Onsets:
    """Crops that contain an onset, drawn a class first, then one of its notes.

    Args:
        events: One array `(notes, 3)` a clip.
        class_weights: `(finest classes,)`: how often a class is chosen in relation to the
            others that have notes in the clip.
        crop_seconds: Length of the stretch that has to contain the onset.
    """

    def __init__(
        self, events: Sequence[np.ndarray], class_weights: np.ndarray, crop_seconds: float
    ) -> None:
        self._events = events
        self._weights = class_weights
        self._room = max(crop_seconds - _AFTER_ONSET, 0.0)

    def start(self, row: int, which: float, note: float, place: float) -> float:
        """Returns where a crop of one clip starts, in seconds; it may lie outside the clip.

        Args:
            row: The clip.
            which: Chooses the class; uniform in [0, 1), like the next two.
            note: Chooses its note.
            place: Chooses where in the crop the onset lies.

        Returns:
            Seconds, or NaN for a clip without notes.
        """
        notes = self._events[row]
        if not len(notes):
            return float("nan")
        present = np.unique(notes[:, 0].astype(np.int64))
        due = np.cumsum(self._weights[present])
        chosen = present[np.searchsorted(due / due[-1], which, side="right")]
        onsets = notes[notes[:, 0] == chosen, 1]
        return float(onsets[int(note * len(onsets))]) - place * self._room


def class_weights(labels: np.ndarray, balance: float) -> np.ndarray:
    """Returns how much more often rarer classes are wanted: `(most / count) ** balance`.

    Args:
        labels: `(clips, classes)`; above 0.5 counts as present, anything else does not.
        balance: 0 treats all alike; at 1 the weight is inverse to the number of clips.

    Returns:
        `(classes,)`, 1 for the most frequent class; 0 for one that is never present.
    """
    counts = (labels > 0.5).sum(axis=0)
    return np.where(counts > 0, (counts.max(initial=1) / np.maximum(counts, 1)) ** balance, 0.0)


def clip_weights(labels: np.ndarray, balance: float) -> np.ndarray:
    """Returns how often to draw each clip: as often as its rarest present class wants.

    Args:
        labels: `(clips, classes)`, as for `class_weights`.
        balance: As for `class_weights`.

    Returns:
        `(clips,)`, 1 for a clip in which nothing is known to be present.
    """
    wanted = np.where(labels > 0.5, class_weights(labels, balance), 0.0)
    return np.maximum(wanted.max(axis=1, initial=0.0), 1.0)
