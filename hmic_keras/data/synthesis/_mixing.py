"""From the dry sound of each part to one clip: band, colour, level, room, loudness."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

FRAME_SECONDS = 0.02
"""Resolution of the activity."""

# FluidSynth folds what a sample holds above half its rate back into the band. Beyond this
# frequency that is little: for clips at 16 kHz, the mel bands of the classes of `openmic`
# (FluidR3) deviate from those of a rendering at 96 kHz by 0.1 to 0.7 dB on average, against
# 0.1 to 0.5 dB if nothing up to 22 kHz is let in, which takes a third more time.
_SAMPLE_BANDWIDTH = 16_000
_ROOM_SECONDS = 2.0
# A part sounds where it is within this many decibels of its own loudest frame.
_ACTIVITY_RANGE = 35.0
# Silences no longer than this do not end a sounding interval.
_BRIDGED_FRAMES = 5
# The random equalisation is drawn at so many points, so far apart from 20 Hz up.
_ANCHORS, _ANCHOR_OCTAVES = 9, 1.5
_LEVELS = (-10.0, 0.0)
_PEAKS = (-18.0, -0.3)


def rendering_rate(sample_rate: int) -> int:
    """Returns the rate to render at, so that aliases miss the band of `sample_rate`.

    It is a multiple of half of `sample_rate`, as resampling from it is cheap.
    """
    halves = 2
    while (
        halves * sample_rate % 2
        or halves * sample_rate // 2 - _SAMPLE_BANDWIDTH < sample_rate // 2
    ) and halves * sample_rate // 2 < 2 * _SAMPLE_BANDWIDTH:
        halves += 1
    return halves * sample_rate // 2


@dataclass(frozen=True)
class Mix:
    """A finished clip.

    Attributes:
        clip: Float32 of shape `(frames,)` or `(frames, 2)`.
        activity: For each part the intervals in seconds during which its dry sound is within
            35 dB of its loudest moment.
        stems: For each part its share of the clip, in the same shape; their sum is the clip.
            Empty if they were not asked for.
    """

    clip: np.ndarray
    activity: list[list[tuple[float, float]]]
    stems: list[np.ndarray]


def mix(
    rng: np.random.Generator,
    parts: Sequence[tuple[np.ndarray, float]],
    frames: int,
    sample_rate: int,
    *,
    channels: Literal[1, 2] = 1,
    stems: bool = False,
) -> Mix:
    """Mixes dry parts into one clip.

    Each part is coloured by a smooth random equalisation, as different microphones and rooms
    would, set 0 to 10 dB below a common level (RMS where it sounds), so none drowns, and
    panned. The sum gets the reverberation of a random room, or none, and a peak of -18 to
    -0.3 dBFS.

    Args:
        rng: Source of every choice.
        parts: For each part its dry sound, `(2, n)` at `rendering_rate(sample_rate)`, as long
            as the clip and not silent, and its pan from -1 to 1.
        frames: Length of the clip in samples.
        sample_rate: Samples a second of the clip.
        channels: 1 for a mono clip, the stereo image folded; 2 for left and right.
        stems: Whether to return each part's share of the clip.
    """
    from scipy.fft import irfft, rfft  # unlike NumPy's, fast in single precision

    padded = int(np.ceil(frames / sample_rate + _ROOM_SECONDS)) * sample_rate
    activity: list[list[tuple[float, float]]] = []
    spectra: list[np.ndarray] = []
    for sound, pan in parts:
        dry = _placed(sound, pan, channels, sample_rate)[:, :frames]
        power = _frame_power(dry, sample_rate)
        sounding = power > power.max() * 10 ** (-_ACTIVITY_RANGE / 10)
        gain = _gain(rng, _LEVELS) / np.sqrt(power[sounding].mean())
        spectrum = rfft(dry, padded)
        spectrum *= np.float32(gain) * _colour(rng, padded, sample_rate)
        activity.append(_intervals(sounding, frames / sample_rate))
        if stems or not spectra:
            spectra.append(spectrum)
        else:
            spectra[0] += spectrum
    room = np.stack([_room(rng, padded, sample_rate)] * channels).astype(np.complex64)
    if channels == 2:
        room[1] = _room_beside(rng, room[0])
    sounds = [irfft(spectrum * room, padded)[:, :frames] for spectrum in spectra]
    clip = sum(sounds[1:], sounds[0])
    gain = _gain(rng, _PEAKS) / np.abs(clip).max()
    shaped = [(np.float32(gain) * sound).T.squeeze() for sound in (clip, *sounds)]
    return Mix(shaped[0], activity, shaped[1:] if stems else [])


def _placed(sound: np.ndarray, pan: float, channels: int, sample_rate: int) -> np.ndarray:
    """Pans at constant power, folds to mono if asked to, and brings to the clip's rate."""
    import soxr

    angle = (pan + 1) * np.pi / 4
    left, right = np.sqrt(2) * np.cos(angle), np.sqrt(2) * np.sin(angle)
    if channels == 1:
        dry = (np.float32(0.5 * left) * sound[0] + np.float32(0.5 * right) * sound[1])[None]
    else:
        dry = sound * np.array([[left], [right]], np.float32)
    rendered = rendering_rate(sample_rate)
    if rendered == sample_rate:
        return dry
    return np.stack([soxr.resample(side, rendered, sample_rate) for side in dry])


def _gain(rng: np.random.Generator, decibels: tuple[float, float]) -> float:
    return float(10 ** (rng.uniform(*decibels) / 20))


@lru_cache(maxsize=4)
def _hertz(padded: int, sample_rate: int) -> np.ndarray:
    return np.fft.rfftfreq(padded, 1 / sample_rate)


@lru_cache(maxsize=4)
def _between_anchors(padded: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each frequency the anchor below it and how far it is to the next one."""
    octaves = np.log2(np.maximum(_hertz(padded, sample_rate), 20.0) / 20.0)
    below, share = np.divmod(octaves / _ANCHOR_OCTAVES, 1.0)
    return below.astype(np.intp), share.astype(np.float32)


def _colour(rng: np.random.Generator, padded: int, sample_rate: int) -> np.ndarray:
    below, share = _between_anchors(padded, sample_rate)
    nepers = (np.log(10) / 20 * rng.normal(0.0, 2.5, _ANCHORS)).astype(np.float32)
    return np.exp(nepers[below] + np.diff(nepers)[below] * share)


def _room(rng: np.random.Generator, padded: int, sample_rate: int) -> np.ndarray:
    """Returns the response of a room: the direct sound and a decaying, dulled tail of noise."""
    wet = _gain(rng, (-26.0, -5.0))
    decay = np.exp(rng.uniform(np.log(0.15), np.log(1.6)))
    delay = int(rng.uniform(0.003, 0.03) * sample_rate)
    corner = rng.uniform(1500.0, 6000.0)
    if rng.random() < 0.25:
        return np.ones(padded // 2 + 1, np.complex128)
    time = np.arange(int(0.9 * _ROOM_SECONDS * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    tail = np.concatenate([np.zeros(delay), tail / np.sqrt(np.sum(tail**2))])
    hertz = _hertz(padded, sample_rate)
    return 1.0 + wet * np.fft.rfft(tail, padded) / np.sqrt(1 + (hertz / corner) ** 2)


def _room_beside(rng: np.random.Generator, room: np.ndarray) -> np.ndarray:
    """Returns the same room heard from beside: another tail with the same decay."""
    # The tail of noise turned by half a turn or not in a few broad bands is as loud and as
    # long, yet differs from the first one.
    turns = np.interp(
        np.linspace(0, 1, len(room)), np.linspace(0, 1, 24), rng.uniform(-3.0, 3.0, 24)
    )
    return 1.0 + (room - 1.0) * np.exp(1j * turns)


def _frame_power(sound: np.ndarray, sample_rate: int) -> np.ndarray:
    """Returns the mean power of each frame over `(channels, frames)`."""
    size = round(FRAME_SECONDS * sample_rate)
    count = -(-sound.shape[1] // size)
    padded = np.pad(sound, ((0, 0), (0, count * size - sound.shape[1])))
    blocks = padded.reshape(len(sound), count, size)
    return np.einsum("cns,cns->n", blocks, blocks) / (size * len(sound))


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
