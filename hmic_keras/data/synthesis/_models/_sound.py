"""The means of the models: partials, oscillators, filters, and bending of time.

Partials are summed as products of matrices: `exp(s n)` with `n = m B + r` is
`exp(s B m) exp(s r)`, so that all samples of all partials are one real matrix product. What is
made in this way has no partial above the band, hence no aliases.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from hmic_keras.data.synthesis._models._stage import STEP, Stage, between
from hmic_keras.data.synthesis._score import Note

_BLOCK = 256
# A partial that has fallen by so many nepers, 87 dB, is over.
_GONE = 10.0
_TABLE = 4096
_WRAP_SECONDS = 0.25
# A key that is struck again, or damped, falls silent within this time.
_DAMP_SECONDS = 0.03
_SOFTEST, _VELOCITY_STEPS = 0.2, 4


def partials(
    hertz: np.ndarray, decay: np.ndarray, gain: np.ndarray, frames: int, rate: int
) -> np.ndarray:
    """Sums decaying sinusoids.

    Args:
        hertz: Frequencies, `(partials,)`.
        decay: How fast each decays, in nepers a second.
        gain: Complex amplitudes; the phase is that of a cosine at the first sample.
        frames: Length of the result.
        rate: Samples a second.

    Returns:
        Float32, `(frames,)`.
    """
    short = frames // 4
    quick = decay * (short / rate) > _GONE
    if short > 2 * _BLOCK and quick.any():
        slow = ~quick
        sound = partials(hertz[slow], decay[slow], gain[slow], frames, rate)
        sound[:short] += partials(hertz[quick], decay[quick], gain[quick], short, rate)
        return sound
    pole = np.exp((-decay + 2j * np.pi * hertz) / rate)
    inner = _powers(pole, _BLOCK)
    outer = _powers(pole**_BLOCK, -(-frames // _BLOCK)) * gain
    left = np.concatenate([outer.real, -outer.imag], axis=1).astype(np.float32)
    right = np.concatenate([inner.real, inner.imag], axis=1).astype(np.float32)
    return (left @ right.T).ravel()[:frames]


def _powers(base: np.ndarray, count: int) -> np.ndarray:
    """Returns `base**n` for `n` from 0, shape `(count, len(base))`."""
    steps = np.broadcast_to(base, (count, len(base))).copy()
    steps[0] = 1.0
    return np.cumprod(steps, axis=0)


def shaped_partials(
    hertz: np.ndarray, phase: np.ndarray, gains: np.ndarray, frames: int, rate: int
) -> np.ndarray:
    """Sums sinusoids whose loudness changes.

    Args:
        hertz: Frequencies, `(partials,)`.
        phase: Phase of each at the first sample, in radians.
        gains: Amplitudes, `(blocks, partials)`; see `block_times`.
        frames: Length of the result.
        rate: Samples a second.

    Returns:
        Float32, `(frames,)`.
    """
    half = _BLOCK // 2
    turn = np.exp(2j * np.pi * hertz / rate)
    window = np.sin(np.pi * (np.arange(_BLOCK) + 0.5) / _BLOCK)[:, None] ** 2
    inner = _powers(turn, _BLOCK) * window
    start = np.exp(1j * phase) * turn**-half
    outer = _powers(turn**half, len(gains)) * start * gains
    left = np.concatenate([outer.real, -outer.imag], axis=1).astype(np.float32)
    right = np.concatenate([inner.real, inner.imag], axis=1).astype(np.float32)
    blocks = left @ right.T
    sound = np.zeros((len(gains) + 1) * half, np.float32)
    sound[:-half] += blocks[:, :half].ravel()
    sound[half:] += blocks[:, half:].ravel()
    return sound[half : half + frames]


def block_times(frames: int, rate: int) -> np.ndarray:
    """Returns the times in seconds at which `shaped_partials` needs gains."""
    half = _BLOCK // 2
    return np.arange(-(-frames // half) + 1) * (half / rate)


def oscillate(
    stage: Stage,
    keys: np.ndarray,
    spectrum: Callable[[float], np.ndarray],
    starts: Sequence[float],
) -> np.ndarray:
    """Sounds a wave along a curve of keys.

    Args:
        stage: Where it is played.
        keys: MIDI keys at the points of a control curve.
        spectrum: The complex amplitudes of the harmonics from the first, given a frequency;
            those above the band are left out.
        starts: Times in seconds at which the wave may change, as the notes of the line do.

    Returns:
        Float32, `(frames,)`.
    """
    hertz = 440.0 * 2.0 ** ((keys - 69.0) / 12.0)
    cycles = np.cumsum(between(hertz)[: stage.frames])
    place = cycles * (_TABLE / stage.rate) + stage.rng.random() * _TABLE
    below = place.astype(np.int64)
    share = (place - below).astype(np.float32)
    below &= _TABLE - 1
    sound = np.empty(stage.frames, np.float32)
    edges = [0, *(int(start * stage.rate) for start in starts[1:]), stage.frames]
    for first, last in pairwise(edges):
        last = min(last, stage.frames)
        if last <= first:
            continue
        near = hertz[first // STEP : last // STEP + 2]
        wave = _wave(spectrum(float(np.median(near))), int(stage.band / near.max()))
        at, rest = below[first:last], share[first:last]
        low = wave[at]
        sound[first:last] = low + rest * (wave[at + 1] - low)
    return sound


def _wave(harmonics: np.ndarray, most: int) -> np.ndarray:
    """Returns one period and a sample, made of at most `most` harmonics but at least one."""
    bins = np.zeros(_TABLE // 2 + 1, np.complex128)
    kept = harmonics[: max(1, min(most, _TABLE // 4))]
    bins[1 : len(kept) + 1] = kept
    wave = np.fft.irfft(bins, _TABLE) * (_TABLE / 2)
    return np.append(wave, wave[0]).astype(np.float32)


def filtered(
    stage: Stage, sound: np.ndarray, response: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Applies a filter given as a function from hertz to a (complex) gain.

    The gain is taken in steps of about 1.5 Hz and drawn straight between.
    """
    from scipy.fft import irfft, next_fast_len, rfft

    size = next_fast_len(len(sound) + int(_WRAP_SECONDS * stage.rate), real=True)
    grid = np.fft.rfftfreq(size, 1.0 / stage.rate)
    few = np.linspace(0.0, stage.rate / 2, stage.rate // 3)
    gain = np.interp(grid, few, response(few)).astype(np.complex64)
    spectrum = rfft(sound, size) * gain
    return irfft(spectrum, size)[: len(sound)]


def resonances(
    hertz: np.ndarray, centres: np.ndarray, quality: np.ndarray, gain: np.ndarray
) -> np.ndarray:
    """Returns the sum of band-pass resonances, complex; each has its gain at its centre."""
    total = np.zeros(len(hertz), np.complex64)
    for centre, sharp, level in zip(centres, quality, gain, strict=True):
        ratio = (hertz / centre).astype(np.float32)
        total += level / (
            1.0 + 1j * np.float32(sharp) * (ratio - 1.0 / np.maximum(ratio, 1e-3))
        )
    return total


def low_pass(hertz: np.ndarray, corner: float, order: float = 2.0) -> np.ndarray:
    """Returns the gain of a low-pass that falls by `6 * order` dB an octave."""
    return (1.0 + (hertz / corner) ** 2) ** (-0.5 * order)


def high_pass(hertz: np.ndarray, corner: float, order: float = 2.0) -> np.ndarray:
    """Returns the gain of a high-pass that rises by `6 * order` dB an octave."""
    return low_pass(corner / np.maximum(hertz, 1e-3), 1.0, order)


class MovingFilter:
    """Applies a filter that changes, in overlapping windows of `2 * hop` samples.

    Args:
        stage: Where it is played.
        hop: Samples from one response to the next.
    """

    def __init__(self, stage: Stage, hop: int = 256) -> None:
        self._frames, self._hop = stage.frames, hop
        count = -(-stage.frames // hop) + 1
        self.times = np.arange(count) * (hop / stage.rate)
        self.hertz = np.fft.rfftfreq(2 * hop, 1.0 / stage.rate).astype(np.float32)
        self._window = np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)).astype(np.float32)

    def spectra(self, sound: np.ndarray) -> np.ndarray:
        """Returns the spectra of the windows, `(times, hertz)`."""
        from scipy.fft import rfft

        hop = self._hop
        padded = np.zeros((len(self.times) + 1) * hop, np.float32)
        padded[hop : hop + self._frames] = sound[: self._frames]
        blocks = padded.reshape(-1, hop)
        return rfft(np.hstack([blocks[:-1], blocks[1:]]) * self._window, axis=1)

    def sound(self, spectra: np.ndarray) -> np.ndarray:
        """Returns the sound that spectra make."""
        from scipy.fft import irfft

        hop = self._hop
        windows = irfft(spectra, 2 * hop, axis=1) * self._window
        blocks = np.zeros((len(self.times) + 1, hop), np.float32)
        blocks[:-1] += windows[:, :hop]
        blocks[1:] += windows[:, hop:]
        return blocks.ravel()[hop : hop + self._frames]


def overdriven(stage: Stage, sound: np.ndarray, drive: float, bias: float = 0.0) -> np.ndarray:
    """Distorts softly, at twice the rate so that few aliases return to the band."""
    import soxr

    peak = np.abs(sound).max() + 1e-9
    wide = soxr.resample(sound / np.float32(peak), stage.rate, 2 * stage.rate, quality="MQ")
    bent = np.tanh(np.float32(drive) * wide + np.float32(bias)) - np.float32(np.tanh(bias))
    return soxr.resample(bent, 2 * stage.rate, stage.rate, quality="MQ")[: len(sound)]


class Warp:
    """Bends a whole part by playing it in a time that runs faster or slower.

    What is rendered at fixed pitch, its notes moved by `at`, is bent by `apply`.

    Args:
        stage: Where it is played.
        semitones: By how much to bend, at the points of a control curve.
    """

    def __init__(self, stage: Stage, semitones: np.ndarray) -> None:
        self._stage = stage
        self._still = not np.abs(semitones).max() > 1e-4
        speed = 2.0 ** (semitones / 12.0)
        self._own = np.concatenate([[0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]))])
        self._own *= STEP / stage.rate
        last = stage.frames / stage.rate
        self.frames = stage.frames if self._still else int(self.at(last) * stage.rate) + 4

    def at(self, seconds: float) -> float:
        """Returns the time in the bent part of a moment of the clip."""
        if self._still:
            return seconds
        return float(np.interp(seconds, self._stage.times, self._own))

    def apply(self, sound: np.ndarray) -> np.ndarray:
        """Returns the sound as it is heard, `(frames,)`, by cubic interpolation."""
        if self._still:
            return sound[: self._stage.frames]
        place = between(self._own * self._stage.rate)[: self._stage.frames]
        return _read(sound, place)


def _read(sound: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Reads a sound between its samples, by cubic interpolation."""
    whole = np.clip(place.astype(np.int64), 1, len(sound) - 3)
    part = np.clip(place - whole, 0.0, 1.0).astype(np.float32)
    before, here, after, later = (sound[whole + i] for i in (-1, 0, 1, 2))
    curve = 3.0 * (here - after) + later - before
    slope = 2.0 * before - 5.0 * here + 4.0 * after - later
    return here + np.float32(0.5) * part * (after - before + part * (slope + part * curve))


def delayed(stage: Stage, sound: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Delays a sound by a time that changes: a control curve in seconds."""
    late = between(seconds * stage.rate)[: stage.frames]
    heard = _read(sound, np.arange(stage.frames) - late)
    heard[: int(seconds[0] * stage.rate) + 1] = 0.0
    return heard


def echoed(stage: Stage, sound: np.ndarray, seconds: float, level: float) -> np.ndarray:
    """Adds echoes, each `level` times the one before."""
    heard = sound.copy()
    late, gain = int(seconds * stage.rate), level
    at = late
    while at < len(sound) and gain > 0.05:
        heard[at:] += np.float32(gain) * sound[:-at]
        at, gain = at + late, gain * level
    return heard


def damped(sound: np.ndarray, stop: int, rate: int, seconds: float) -> np.ndarray:
    """Lets a sound fade from sample `stop` on by 60 dB in `seconds`; returns what is left."""
    tail = int(seconds * rate)
    kept = sound[: stop + tail].copy()
    fade = kept[stop:]
    ramp = np.arange(len(fade), dtype=np.float32) / np.float32(max(tail, 1))
    fade *= np.exp(-6.9 * ramp) * (1.0 - ramp)
    return kept


def play_notes(
    stage: Stage,
    warp: Warp,
    make: Callable[[int, float, int], np.ndarray],
    *,
    release: float,
    longest: float = 30.0,
) -> np.ndarray:
    """Plays notes that ring by themselves until they are damped.

    Args:
        stage: Where it is played.
        warp: How the part is bent.
        make: Makes a note, given its key, its force from 0 to 1 and its length in samples;
            is called once for notes of one key and about the same force.
        release: Seconds in which a note ends.
        longest: Seconds after which a note is silent by itself.

    Returns:
        Float32, `(frames,)`.
    """
    notes = sorted(stage.part.notes, key=lambda note: note.onset)
    rate = stage.rate
    again: dict[int, float] = {}
    spans: list[tuple[int, int, float, Note]] = []
    for note in reversed(notes):
        end = note.onset + note.duration
        struck = again.get(note.key, np.inf)
        again[note.key] = note.onset
        fade = release if end < struck else _DAMP_SECONDS
        first, last = warp.at(note.onset), warp.at(min(end, struck, stage.frames / rate))
        spans.append((int(first * rate), int(last * rate), fade, note))
    need: dict[tuple[int, int], int] = {}
    for first, last, fade, note in spans:
        reach = int(min(last - first + fade * rate, longest * rate, warp.frames - first))
        slot = note.key, _force(note)
        need[slot] = max(need.get(slot, 1), reach)
    made: dict[tuple[int, int], np.ndarray] = {}
    sound = np.zeros(warp.frames, np.float32)
    for first, last, fade, note in reversed(spans):
        slot = note.key, _force(note)
        if slot not in made:
            made[slot] = make(note.key, (slot[1] + 0.5) / _VELOCITY_STEPS, need[slot])
        tone = damped(made[slot], min(last - first, len(made[slot])), rate, fade)
        tone = tone[: len(sound) - first]
        level = _SOFTEST + (1.0 - _SOFTEST) * (note.velocity / 127.0) ** 1.6
        sound[first : first + len(tone)] += np.float32(level) * tone
    return warp.apply(sound)


def _force(note: Note) -> int:
    return min(note.velocity * _VELOCITY_STEPS // 128, _VELOCITY_STEPS - 1)
