"""Audio fingerprints: which files hold the same sound, whatever their coding, level or cut."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._mel import log_mel
from ..config import AudioConfig

__all__ = ["Match", "fingerprint", "matches"]

RATE = 16000
"""Rate of the waveforms that are compared, in Hz."""

# Frames of a quarter of a second, as in the paper; the step is longer, since clips are few.
_AUDIO = AudioConfig(
    sample_rate=RATE,
    n_fft=4096,
    window_length=4096,
    hop_length=512,
    n_mels=33,
    fmin=200.0,
    fmax=4000.0,
    log_offset=1e-8,
)
_BITS = 32
# Bits that differ between two copies of a sound; between two sounds half of them do.
_MOST_ERRORS = 0.25
_LEAST_FRAMES = 30  # about a second
_LEAST_HITS = 2
_MOST_HOLDERS = 50
_QUIET = 50.0 / 10.0 * np.log(10.0)  # frames 50 dB below the loudest say nothing
_POWERS = 1 << np.arange(_BITS, dtype=np.uint64)


@dataclass(frozen=True)
class Match:
    """Two sounds of which a part is the same.

    Attributes:
        first: Index of the one.
        second: Index of the other.
        seconds: How much of them was compared.
        errors: Share of the bits that differ there, 0 to 0.25.
    """

    first: int
    second: int
    seconds: float
    errors: float


def fingerprint(waveform: np.ndarray) -> NDArray[np.uint32]:
    """Computes one word of 32 bits a frame, `(frames,)`; 0 where nothing can be said.

    Bit `m` says whether the energy difference of the neighbouring bands `m` and `m + 1` grew
    since the frame before. That survives coding, equalisation and level.

    Args:
        waveform: Float `(samples,)` at `RATE`, longer than 0.2 s.

    References:
        Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002.
    """
    short = _AUDIO.n_fft - len(waveform)
    padded = np.pad(np.asarray(waveform, np.float32), (0, max(0, short)))
    bands = log_mel(padded[np.newaxis], _AUDIO)[0].astype(np.float64)
    steps = np.diff(bands[:, 1:] - bands[:, :-1], axis=0)
    words = ((steps > 0) * _POWERS).sum(axis=1).astype(np.uint32)
    loud = bands.max(axis=1)[1:]
    words[loud < loud.max() - _QUIET] = 0
    # A steady tone changes by rounding only, of which two sounds may have the same.
    words[np.abs(steps).max(axis=1) < 1e-3] = 0
    return words


def matches(prints: Sequence[NDArray[np.uint32]]) -> list[Match]:
    """Finds all pairs of sounds of which at least a second is the same.

    Args:
        prints: From `fingerprint`.

    Returns:
        The pairs, `first < second`, sorted.
    """
    found = []
    for (first, second), shifts in sorted(_candidates(prints).items()):
        tried = [_compare(prints[first], prints[second], shift) for shift, _ in shifts]
        best = min((one for one in tried if one is not None), default=None)
        if best is not None and best[0] <= _MOST_ERRORS:
            seconds = best[1] * _AUDIO.hop_length / RATE
            found.append(Match(first, second, round(seconds, 2), round(best[0], 4)))
    return found


def _candidates(
    prints: Sequence[NDArray[np.uint32]],
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Returns pairs that share words, each with its likeliest shifts in frames."""
    places: dict[int, list[tuple[int, int]]] = {}
    for index, words in enumerate(prints):
        for frame, word in enumerate(words.tolist()):
            if word:
                places.setdefault(word, []).append((index, frame))
    hits: dict[tuple[int, int], Counter[int]] = {}
    for holders in places.values():
        if len({index for index, _ in holders}) > _MOST_HOLDERS:
            continue  # a word of everybody tells nobody apart
        for (first, at), (second, other) in _pairs(holders):
            hits.setdefault((first, second), Counter())[at - other] += 1
    return {
        pair: shifts.most_common(3)
        for pair, shifts in hits.items()
        if shifts.most_common(1)[0][1] >= _LEAST_HITS
    }


def _pairs(
    holders: Sequence[tuple[int, int]],
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    for number, one in enumerate(holders):
        for other in holders[number + 1 :]:
            if one[0] != other[0]:
                yield one, other


def _compare(
    first: NDArray[np.uint32], second: NDArray[np.uint32], shift: int
) -> tuple[float, int] | None:
    """Returns the share of different bits and the frames compared, or None for too few."""
    start, other = max(0, shift), max(0, -shift)
    count = min(len(first) - start, len(second) - other)
    if count < 1:
        return None
    one, two = first[start : start + count], second[other : other + count]
    usable = (one != 0) & (two != 0)
    if usable.sum() < _LEAST_FRAMES:
        return None
    different = np.unpackbits((one[usable] ^ two[usable]).view(np.uint8))
    return float(different.mean()), int(usable.sum())
