"""From the dry sound of each part to one clip: band, colour, level, room, loudness."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

FRAME_SECONDS = 0.02
"""Resolution of the activity."""

# SoundFont samples reach up to 22.05 kHz. FluidSynth folds what exceeds half its rate back
# into the band, so it runs at a multiple of the target rate where the fold misses the band.
_SAMPLE_BANDWIDTH = 22_050
_ROOM_SECONDS = 2.0
# A part sounds where it is within this many decibels of its own loudest frame.
_ACTIVITY_RANGE = 35.0
# Silences no longer than this do not end a sounding interval.
_BRIDGED_FRAMES = 5
_LEVELS = (-10.0, 0.0)
_PEAKS = (-12.0, -1.0)


def oversampling(sample_rate: int) -> int:
    """Returns by which factor to render above `sample_rate` so that aliases miss its band."""
    factor = 1
    while factor * sample_rate - _SAMPLE_BANDWIDTH < sample_rate / 2:
        factor += 1
    return factor


def mix(
    rng: np.random.Generator, parts: Sequence[np.ndarray], sample_rate: int
) -> tuple[np.ndarray, list[list[tuple[float, float]]]]:
    """Mixes dry parts into one clip.

    Each part is coloured by a smooth random equalisation, as different microphones and rooms
    would, and set 0 to 10 dB below a common level (RMS where it sounds), so none drowns. The
    sum gets the reverberation of a random room, or none, and a peak of -12 to -1 dBFS.

    Args:
        rng: Source of every choice.
        parts: Dry mono sounds at `oversampling(sample_rate) * sample_rate`, of one length,
            none of them silent.
        sample_rate: Samples a second of the clip.

    Returns:
        The clip, float32 of shape `(frames,)`, and for each part the intervals in seconds
        during which its dry sound is within 35 dB of its loudest moment.
    """
    import soxr

    factor = oversampling(sample_rate)
    padded = int(np.ceil(len(parts[0]) / factor / sample_rate + _ROOM_SECONDS)) * sample_rate
    total = np.zeros(padded // 2 + 1, np.complex128)
    activity = []
    for part in parts:
        dry = soxr.resample(part, factor * sample_rate, sample_rate) if factor > 1 else part
        frames = len(dry)
        power = _frame_power(dry, sample_rate)
        sounding = power > power.max() * 10 ** (-_ACTIVITY_RANGE / 10)
        gain = _gain(rng, _LEVELS) / np.sqrt(power[sounding].mean())
        total += gain * _colour(rng, padded, sample_rate) * np.fft.rfft(dry, padded)
        activity.append(_intervals(sounding, frames / sample_rate))
    clip = np.fft.irfft(total * _room(rng, padded, sample_rate), padded)[:frames]
    clip *= _gain(rng, _PEAKS) / np.abs(clip).max()
    return clip.astype(np.float32), activity


def _gain(rng: np.random.Generator, decibels: tuple[float, float]) -> float:
    return float(10 ** (rng.uniform(*decibels) / 20))


@lru_cache(maxsize=4)
def _frequencies(padded: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the FFT's frequencies in hertz and in octaves above 20 Hz."""
    hertz = np.fft.rfftfreq(padded, 1 / sample_rate)
    return hertz, np.log2(np.maximum(hertz, 20.0) / 20.0)


def _colour(rng: np.random.Generator, padded: int, sample_rate: int) -> np.ndarray:
    _, octaves = _frequencies(padded, sample_rate)
    anchors = np.arange(0.0, 12.0, 1.5)
    return 10 ** (np.interp(octaves, anchors, rng.normal(0.0, 2.5, len(anchors))) / 20)


def _room(rng: np.random.Generator, padded: int, sample_rate: int) -> np.ndarray:
    """Returns the response of a room: the direct sound and a decaying, dulled tail of noise."""
    wet = _gain(rng, (-26.0, -5.0))
    decay = np.exp(rng.uniform(np.log(0.15), np.log(1.6)))
    delay = int(rng.uniform(0.003, 0.03) * sample_rate)
    corner = rng.uniform(1500.0, 6000.0)
    if rng.random() < 0.25:
        return np.ones(padded // 2 + 1)
    time = np.arange(int(0.9 * _ROOM_SECONDS * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail = np.concatenate([np.zeros(delay), tail / np.sqrt(np.sum(tail**2))])
    hertz, _ = _frequencies(padded, sample_rate)
    return 1.0 + wet * np.fft.rfft(tail, padded) / np.sqrt(1 + (hertz / corner) ** 2)


def _frame_power(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    size = round(FRAME_SECONDS * sample_rate)
    count = -(-len(sound) // size)
    return np.mean(
        np.pad(sound, (0, count * size - len(sound))).reshape(count, size) ** 2, axis=1
    )


def _intervals(sounding: np.ndarray, seconds: float) -> list[tuple[float, float]]:
    edges = np.flatnonzero(np.diff(sounding.astype(np.int8), prepend=0, append=0))
    merged: list[tuple[int, int]] = []
    for start, stop in edges.reshape(-1, 2).tolist():
        if merged and start - merged[-1][1] <= _BRIDGED_FRAMES:
            start = merged.pop()[0]
        merged.append((start, stop))
    return [
        (start * FRAME_SECONDS, min(stop * FRAME_SECONDS, seconds)) for start, stop in merged
    ]
