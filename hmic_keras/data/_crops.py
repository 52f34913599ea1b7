"""Cutting crops from sound in memory, in files and in records."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import HmicError
from ._plan import Draw
from .audio import repeat_to
from .prepared import PreparedClips

Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]
Window = Callable[[int, float, float, int, int], np.ndarray]
"""From row, position and start as in a `Draw`, and the length of a crop, to the stretch of the
clip that begins where the crop does and is as long as the last number says; beyond the end of
the clip it is mirrored."""


def place(length: int, size: int, position: float, start: float, rate: float) -> int:
    """Returns where a crop starts, in samples or frames.

    Args:
        length: Of the clip, at least `size`.
        size: Of the crop.
        position: 0 leftmost, below 1; counts where `start` is NaN.
        start: Wanted start in seconds; moved so that the crop lies inside the clip.
        rate: Samples or frames a second.
    """
    if np.isnan(start):
        return int(position * (length - size + 1))
    return min(max(round(start * rate), 0), length - size)


def mirror_to(values: np.ndarray, length: int) -> np.ndarray:
    """Continues samples or frames backwards and forwards until there are `length` of them."""
    if len(values) >= length:
        return values[:length]
    steps = np.arange(length) % (2 * len(values))
    return values[np.minimum(steps, 2 * len(values) - 1 - steps)]


def from_waveforms(get: Callable[[int], np.ndarray], rate: float) -> Window:
    """Cuts from whole waveforms, which `get` provides."""

    def window(row: int, position: float, start: float, size: int, wanted: int) -> np.ndarray:
        waveform = repeat_to(get(row), size)
        first = place(len(waveform), size, position, start, rate)
        return mirror_to(waveform[first : first + wanted], wanted)

    return window


def from_records(clips: PreparedClips, rate: float) -> Window:
    """Reads from records what a crop needs."""

    def window(row: int, position: float, start: float, size: int, wanted: int) -> np.ndarray:
        length = int(clips.lengths[row])
        if length < size:
            return mirror_to(repeat_to(clips.read(row), size), wanted)
        first = place(length, size, position, start, rate)
        return mirror_to(clips.read(row, first, first + wanted), wanted)

    return window


def batch_of(
    window: Window, size: int, mels: int | None, augment: "Augmented | None"
) -> Callable[[Draw], np.ndarray]:
    """Returns a function from a draw to a batch of crops.

    Args:
        window: Where crops come from.
        size: Length of a crop.
        mels: Bands of a log-mel spectrogram; None for waveforms.
        augment: What changes each crop.
    """
    wanted = size if augment is None else augment.context_size(size)

    def batch(draw: Draw) -> np.ndarray:
        crops = np.empty((len(draw.row), size, *([mels] if mels else [])), np.float32)
        drawn = zip(draw.row, draw.position, draw.start, strict=True)
        for i, (row, position, start) in enumerate(drawn):
            crop = window(int(row), float(position), float(start), size, wanted)
            if augment is not None:
                crop = augment(crop, size, int(draw.epoch[i]), int(draw.ordinal[i]))
            crops[i] = crop
        return crops

    return batch


class Augmented:
    """A caller's augmentation, its randomness tied to seed, pass and place in the pass.

    Args:
        augment: From a waveform `(samples,)` and a generator to a waveform.
        seed: The dataset's.

    Raises:
        HmicError: If it cannot be called, or its `context` is not a number from 1 up.
    """

    def __init__(self, augment: Any, seed: int) -> None:
        context = getattr(augment, "context", 1.0)
        real = isinstance(context, int | float) and not isinstance(context, bool)
        if not callable(augment) or not real or not 1 <= context < 100:
            raise HmicError(
                "`augment` must be callable as augment(waveform, random), and its attribute "
                f"`context`, if there, a number from 1 up. Received: {augment!r}"
            )
        self.context = float(context)
        self._augment: Augment = augment
        self._seed = seed

    def context_size(self, size: int) -> int:
        """Returns how long a stretch the augmentation wants for a crop of `size`."""
        return int(np.ceil(size * self.context))

    def __call__(self, waveform: np.ndarray, size: int, epoch: int, ordinal: int) -> np.ndarray:
        """Returns the first `size` samples of the augmented waveform."""
        random = np.random.default_rng([self._seed, epoch, ordinal])
        # A copy: what is held in memory must outlast an augmentation in place.
        changed = np.asarray(self._augment(waveform.copy(), random))
        if changed.ndim != 1 or not len(changed) or changed.dtype.kind != "f":
            raise HmicError(
                "`augment` must return a waveform (samples,) of floats. Received: "
                f"{changed.dtype} of shape {changed.shape}"
            )
        return repeat_to(changed, size)[:size]


def events_of(events: Sequence[np.ndarray] | None) -> Sequence[np.ndarray]:
    """Returns labelled notes, or says that there are none.

    Raises:
        HmicError: If no clip has any.
    """
    if events is None or not any(len(notes) for notes in events):
        raise HmicError(
            '`crops="onset"` needs labelled notes: an events.csv beside the table of labels. '
            "Received clips without any."
        )
    return events
