"""Resamplers: soxr's, and the one that MediaPipe runs on a phone."""

import functools
from fractions import Fraction

import numpy as np

from ..errors import HmicError

__all__ = ["RESAMPLERS", "resample"]

RESAMPLERS = ("soxr", "mediapipe")

# Of `QResamplerParams` in audio_dsp, which MediaPipe leaves as they are.
_RADIUS = 5.0  # in samples of the slower rate
_CUTOFF = 0.9  # of the slower rate's Nyquist frequency
_KAISER_BETA = 6.0
_MAX_DENOMINATOR = 1000


def resample(
    waveform: np.ndarray, sample_rate: int, target: int, *, resampler: str = "soxr"
) -> np.ndarray:
    """Resamples a mono waveform.

    Args:
        waveform: Float `(samples,)`.
        sample_rate: Its rate, in Hz.
        target: Rate of the result, in Hz.
        resampler: `"soxr"` is soxr at its HQ setting: flat to 91 % of the band, no aliases.
            `"mediapipe"` is the filter of MediaPipe's audio tasks, of `audio_dsp::QResampler`
            (https://github.com/google/multichannel-audio-tools): a sinc of ten periods of the
            slower rate under a Kaiser window of beta 6, 6 dB down at 90 % of the band. It is
            what a model hears in an app whose audio has another rate than the model. Where
            the ratio of the rates has no denominator up to 1000, the nearest is taken.

    Returns:
        Float32 `(round(samples * target / sample_rate),)`; the waveform itself if the rates
        are equal.

    Raises:
        HmicError: If there is no such resampler.

    Example:
        >>> import numpy as np
        >>> resample(np.zeros(44100, "float32"), 44100, 16000, resampler="mediapipe").shape
        (16000,)
    """
    check_resampler(resampler)
    waveform = np.asarray(waveform, dtype=np.float32)
    if sample_rate == target:
        return waveform
    if resampler == "mediapipe":
        return _windowed_sinc(waveform, int(sample_rate), int(target))
    import soxr

    return np.asarray(soxr.resample(waveform, sample_rate, target, quality="HQ"))


def check_resampler(name: str) -> None:
    """Refuses the name of a resampler that there is not."""
    if name not in RESAMPLERS:
        raise HmicError(
            f"`resampler` must be one of {', '.join(RESAMPLERS)}. Received: {name!r}"
        )


def _windowed_sinc(waveform: np.ndarray, rate: int, target: int) -> np.ndarray:
    ratio = Fraction(rate, target).limit_denominator(_MAX_DENOMINATOR)
    step, phases = ratio.numerator, ratio.denominator
    filters = _polyphase(rate / target, phases)
    radius = filters.shape[1] // 2
    count = int(len(waveform) * target / rate + 0.5)  # half up, as soxr counts
    # The last sample asked for may lie behind the end, in the silence there.
    behind = (count * step) // phases + radius - len(waveform) + 1
    padded = np.pad(waveform, (radius, max(behind, radius)))
    taps = np.lib.stride_tricks.sliding_window_view(padded, filters.shape[1])
    result = np.empty(count, np.float32)
    # Sample n lies at n * step / phases of the input; every phases-th has the same filter.
    for first in range(min(phases, count)):
        whole, phase = divmod(first * step, phases)
        own = result[first::phases]
        own[:] = taps[whole::step][: len(own)] @ filters[phase]
    return result


@functools.lru_cache(maxsize=8)
def _polyphase(factor: float, phases: int) -> np.ndarray:
    """Returns a filter a phase, float32 `(phases, taps)`, of input `factor` times as fast."""
    slower = max(factor, 1.0)
    support = _RADIUS * slower
    radius = int(np.ceil(support))
    # At the input samples around each phase, from the earliest on.
    x = np.arange(phases)[:, np.newaxis] / phases + np.arange(radius, -radius - 1, -1)
    width = _CUTOFF / slower
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1 - (x / support) ** 2)))
    window *= np.abs(x) <= support
    filters = width * np.sinc(width * x) * window / np.i0(_KAISER_BETA)
    return np.asarray(filters, np.float32)
