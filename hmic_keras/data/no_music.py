"""Test signals in which no instrument plays, to see that a model hears none."""

import numpy as np

__all__ = ["KINDS", "no_music"]

KINDS = ("digital_silence", "white_noise", "pink_noise", "hum", "sine")
"""What there is: zeros; noise of equal power a hertz, or an octave; mains hum; a pure tone."""


def no_music(kind: str, frames: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Makes one signal.

    Args:
        kind: One of `KINDS`.
        frames: Length in samples.
        sample_rate: In Hz.
        rng: Draws the peak level (-60 to 0 dBFS), and what else is open: the noise itself, the
            mains frequency (50 or 60 Hz) and its harmonics, the tone (40 Hz to 7 kHz).

    Returns:
        float32 `(frames,)` in [-1, 1].

    Raises:
        ValueError: If there is no such kind.

    Example:
        >>> sound = no_music("sine", 16000, 16000, np.random.default_rng(0))
        >>> sound.shape, bool(np.abs(sound).max() <= 1)
        ((16000,), True)
    """
    if kind not in KINDS:
        raise ValueError(f"`kind` must be one of {KINDS}. Received: {kind!r}")
    if kind == "digital_silence":
        return np.zeros(frames, np.float32)
    time = np.arange(frames) / sample_rate
    if kind == "white_noise":
        sound = rng.standard_normal(frames)
    elif kind == "pink_noise":
        spectrum = np.fft.rfft(rng.standard_normal(frames))
        hertz = np.fft.rfftfreq(frames, 1 / sample_rate)
        sound = np.fft.irfft(spectrum / np.sqrt(np.maximum(hertz, 20.0)), frames)
    elif kind == "hum":
        base = float(rng.choice([50.0, 60.0]))
        partials = np.arange(1, 11)
        gains = rng.uniform(0.0, 1.0, 10) / partials
        gains[0] = 1.0
        phases = rng.uniform(0, 2 * np.pi, 10)
        sound = gains @ np.sin(2 * np.pi * base * partials[:, None] * time + phases[:, None])
    else:
        hertz = np.exp(rng.uniform(np.log(40.0), np.log(min(7000.0, sample_rate / 2.2))))
        sound = np.sin(2 * np.pi * hertz * time + rng.uniform(0, 2 * np.pi))
    peak = 10 ** (rng.uniform(-60.0, 0.0) / 20)
    return (sound * (peak / np.abs(sound).max())).astype(np.float32)
