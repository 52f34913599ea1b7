"""Clips in which no instrument plays: near silence, noise, hum, test tones, crackle.

A model that has heard nothing but music takes everything for an instrument.
"""

from collections.abc import Callable

import numpy as np

_Drawing = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def draw_silence(
    rng: np.random.Generator, frames: int, sample_rate: int, channels: int
) -> tuple[str, np.ndarray]:
    """Draws a clip without instruments.

    Args:
        rng: Source of every choice.
        frames: Length in samples.
        sample_rate: Samples a second.
        channels: 1 or 2; noise differs between left and right, tones do not.

    Returns:
        What it is, such as `"hum"`, and float32 of shape `(frames,)` or `(frames, 2)`, its
        peak below full scale.
    """
    time = np.arange(frames) / sample_rate
    name = str(rng.choice(list(_KINDS)))
    if name in _SAME_BOTH_SIDES:
        sound = np.stack([_KINDS[name](rng, time)] * channels)
    else:
        sound = np.stack([_KINDS[name](rng, time) for _ in range(channels)])
    loudest = _LOUDEST[name]
    peak = 10 ** (rng.uniform(loudest - 40.0, loudest) / 20)
    sound *= peak / max(np.abs(sound).max(), 1e-9)
    # Dither: no recording is digitally silent throughout. Less would be, at 16 bits.
    sound += rng.uniform(-1.0, 1.0, sound.shape) * 10 ** (rng.uniform(-94, -84) / 20)
    return name, sound.astype(np.float32).T.squeeze()


def _silence(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    return np.zeros(len(time))


def _noise(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Noise between blue and brown."""
    spectrum = np.fft.rfft(rng.standard_normal(len(time)))
    slope = rng.uniform(-1.1, 0.4)
    spectrum *= np.maximum(np.arange(len(spectrum)), 20.0 * time[-1]) ** slope
    return np.fft.irfft(spectrum, len(time))


def _gusts(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Noise that comes and goes, as wind, traffic or waves do."""
    anchors = np.linspace(0.0, time[-1], max(3, int(2 * time[-1])))
    level = np.interp(time, anchors, rng.uniform(-40.0, 0.0, len(anchors)))
    return _noise(rng, time) * 10 ** (level / 20)


def _hum(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Mains hum and its harmonics."""
    base = float(rng.choice([50.0, 60.0, 100.0, 120.0]))
    numbers = np.arange(1, 16)
    gains = rng.uniform(0.1, 1.0, len(numbers)) / numbers ** rng.uniform(0.5, 2.0)
    phases = rng.uniform(0.0, 2 * np.pi, len(numbers))
    waves = np.sin(2 * np.pi * base * numbers[:, None] * time + phases[:, None])
    hum = gains @ waves
    noise = _noise(rng, time)
    share = rng.uniform(0.0, 0.1) * np.abs(hum).max() / np.abs(noise).max()
    return hum + share * noise


def _tone(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """A pure tone: steady, sweeping or beeping."""
    start, stop = np.exp(rng.uniform(np.log(80.0), np.log(3800.0), 2))
    manner = str(rng.choice(["steady", "sweep", "beeps"]))
    hertz = np.full(len(time), start)
    if manner == "sweep":
        hertz = np.geomspace(start, stop, len(time))
    tone = np.sin(2 * np.pi * np.cumsum(hertz) * (time[1] - time[0]))
    if manner == "beeps":
        period = rng.uniform(0.2, 1.5)
        # Edges of some milliseconds: a beep, not a click.
        tone *= np.clip(200.0 * np.sin(2 * np.pi * time / period), 0.0, 1.0)
    return tone


def _crackle(rng: np.random.Generator, time: np.ndarray) -> np.ndarray:
    """Clicks at random moments, as of a worn record or a loose contact."""
    clicks = rng.random(len(time)) < rng.uniform(1.0, 40.0) * (time[1] - time[0])
    clicks[rng.integers(len(clicks))] = True
    heights = clicks * rng.normal(0.0, 1.0, len(time))
    decay = np.exp(-np.arange(64) / rng.uniform(1.0, 16.0))
    return np.convolve(heights, decay * rng.standard_normal(64))[: len(time)]


_KINDS: dict[str, _Drawing] = {
    "silence": _silence,
    "noise": _noise,
    "gusts": _gusts,
    "hum": _hum,
    "tone": _tone,
    "crackle": _crackle,
}
_SAME_BOTH_SIDES = {"silence", "hum", "tone"}
# Peak in dBFS of the loudest clip of each kind; the softest is 40 dB below.
_LOUDEST = {
    "silence": -60.0,
    "noise": -6.0,
    "gusts": -6.0,
    "hum": -10.0,
    "tone": -6.0,
    "crackle": -3.0,
}
