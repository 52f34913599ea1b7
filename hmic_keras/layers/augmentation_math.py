"""The mathematics of augmentation, as plain functions over tensors and the numbers drawn.

Nothing here draws a number, so each function is a deterministic one that a test can repeat.
Lengths may be unknown until the graph runs.
"""

import functools
import math
from typing import Any

import keras
import numpy as np
from keras import ops

from ._tensorflow import compiled

# Mains hum and its harmonics, which a loudspeaker or a bad cable adds.
MAINS_HZ = (50.0, 60.0)
_HUM_HARMONICS = 10
# Below this nothing is heard, and the spectrum of brown noise would lie there.
_LOWEST_HZ = 20.0
# Silence has no level that a gain could bring to another one.
_TINY = 1e-12
_LEAST_VARIANCE = 1e-3


def length_of(tensor: Any, axis: int) -> Any:
    """Returns a length as a float, a float32 scalar where it is not known beforehand."""
    length = ops.shape(tensor)[axis]
    return float(length) if isinstance(length, int) else ops.cast(length, "float32")


def _count(length: Any) -> Any:
    """Returns a length as an integer; one known beforehand stays so, as JAX needs."""
    return int(length) if isinstance(length, float) else ops.cast(length, "int32")


def between(uniform: Any, limits: tuple[float, float]) -> Any:
    """Maps draws from [0, 1) to `limits`, evenly."""
    return limits[0] + (limits[1] - limits[0]) * uniform


def between_octaves(uniform: Any, limits: tuple[float, float]) -> Any:
    """Maps draws from [0, 1) to `limits`, evenly on a logarithmic scale."""
    return ops.exp(between(uniform, (math.log(limits[0]), math.log(limits[1]))))


def from_decibels(decibels: Any) -> Any:
    """Returns the factor of amplitude."""
    return ops.exp(decibels * (math.log(10.0) / 20.0))


def stripes(length: Any, limit: Any, sizes: Any, places: Any) -> Any:
    """Marks stripes on an axis: SpecAugment's masks (Park et al. 2019, section 2).

    A stripe is `floor(size * (limit + 1))` wide, so 0 to `limit`, and starts anywhere it fits.

    Args:
        length: Length of the axis, from `length_of`.
        limit: Greatest width, a number, at most `length`.
        sizes: Draws from [0, 1), `(batch, stripes)`.
        places: Draws from [0, 1), `(batch, stripes)`.

    Returns:
        Boolean `(batch, length)`: true inside a stripe.
    """
    widths = ops.minimum(ops.floor(sizes * (limit + 1.0)), limit)
    starts = ops.floor(places * (length - widths + 1.0))
    steps = ops.arange(_count(length), dtype="float32")
    after = steps >= ops.expand_dims(starts, -1)
    before = steps < ops.expand_dims(starts + widths, -1)
    return ops.any(ops.logical_and(after, before), axis=1)


def limit_peak(waveform: Any) -> Any:
    """Scales down, as a whole, each example that leaves [-1, 1]."""
    peak = ops.max(ops.abs(waveform), axis=-1, keepdims=True)
    return waveform / ops.maximum(peak, 1.0)


def power_of(waveform: Any) -> Any:
    """Returns each example's mean square, `(batch, 1)`."""
    return ops.mean(ops.square(waveform), axis=-1, keepdims=True)


def match_power(waveform: Any, reference: Any) -> Any:
    """Scales each example to the power of its reference."""
    return waveform * ops.sqrt(power_of(reference) / ops.maximum(power_of(waveform), _TINY))


def bin_frequencies(length: Any, sample_rate: float) -> Any:
    """Returns the frequencies in Hz, `(1, bins)`, of the FFT of `length` samples."""
    bins = _count(length) // 2 + 1
    return ops.expand_dims(ops.arange(bins, dtype="float32"), 0) * (sample_rate / length)


def filter_by(waveform: Any, response: Any) -> Any:
    """Multiplies a spectrum by a real response, so without delay.

    The filter is circular: what rings beyond the end is heard at the start.

    Args:
        waveform: `(batch, samples)`.
        response: Factors of amplitude `(batch, samples // 2 + 1)`.
    """
    real, imaginary = ops.rfft(waveform)
    samples = ops.shape(waveform)[-1]
    filtered = ops.irfft((real * response, imaginary * response), fft_length=samples)
    return ops.reshape(filtered, ops.shape(waveform))


def smooth_response(decibels: Any, frequencies: Any, lowest: float, highest: float) -> Any:
    """A curve through gains at points that are evenly spaced in octaves.

    Between two points the gain in dB follows half a period of a cosine; outside them it stays.

    Args:
        decibels: Gains `(batch, points)`, of at least two points.
        frequencies: In Hz, `(1, bins)`.
        lowest: Frequency of the first point in Hz.
        highest: Frequency of the last point in Hz.

    Returns:
        Factors of amplitude `(batch, bins)`.
    """
    points = decibels.shape[-1]
    octaves = ops.log(ops.maximum(frequencies, lowest) / lowest) / math.log(highest / lowest)
    places = ops.minimum(octaves, 1.0) * (points - 1)
    distance = ops.abs(places - np.arange(points, dtype="float32")[:, np.newaxis])
    weights = 0.5 + 0.5 * ops.cos(math.pi * ops.minimum(distance, 1.0))
    return from_decibels(ops.matmul(decibels, weights))


def band_response(low_cut: Any, high_cut: Any, order: int, frequencies: Any) -> Any:
    """Amplitude of a Butterworth high-pass followed by a low-pass.

    Args:
        low_cut: Where the high-pass is down 3 dB, in Hz, `(batch, 1)`.
        high_cut: Where the low-pass is down 3 dB, in Hz, `(batch, 1)`.
        order: Order of both; 6 dB an octave each.
        frequencies: In Hz, `(1, bins)`.

    Returns:
        Factors of amplitude `(batch, bins)`.
    """
    # 1 / (1 + (f / cut) ** 2n) is a logistic curve over log f, which cannot overflow.
    position = ops.log(ops.maximum(frequencies, 1e-3))
    above = ops.sigmoid(2.0 * order * (position - ops.log(low_cut)))
    below = ops.sigmoid(2.0 * order * (ops.log(high_cut) - position))
    return ops.sqrt(above * below)


def noise_amplitudes(
    exponent: Any, hum_share: Any, mains: Any, length: Any, rate: float
) -> Any:
    """Amplitudes by frequency with which `add_noise` makes coloured noise of power 1.

    Args:
        exponent: Power falls as `1 / f ** exponent`: 0 white, 1 pink, 2 brown; `(batch, 1)`.
        hum_share: Share of the power that is hum, `(batch, 1)`.
        mains: Frequency of the mains in Hz, `(batch, 1)`.
        length: Samples of the noise, from `length_of`.
        rate: Sample rate in Hz.

    Returns:
        `(batch, bins)`.
    """
    frequencies = bin_frequencies(length, rate)
    audible = ops.cast(frequencies > 0.0, "float32")
    octaves = ops.log(ops.maximum(frequencies, _LOWEST_HZ) / _LOWEST_HZ)
    colour = audible * ops.exp(-exponent * octaves)
    harmonic = ops.round(frequencies / mains)
    # A harmonic is the one bin next to its frequency.
    near = ops.abs(frequencies - harmonic * mains) <= 0.5 * rate / length
    heard = ops.logical_and(harmonic >= 1.0, harmonic <= float(_HUM_HARMONICS))
    hum = ops.cast(ops.logical_and(near, heard), "float32")
    hum = hum / ops.square(ops.maximum(harmonic, 1.0))
    power = (1.0 - hum_share) * _shares(colour) + hum_share * _shares(hum)
    # Uniform parts have a variance of 1/12 and an inverse FFT divides by the length.
    return ops.sqrt(3.0 * power) * length


def _shares(power: Any) -> Any:
    return power / ops.maximum(ops.sum(power, axis=-1, keepdims=True), _TINY)


def add_noise(waveform: Any, amplitudes: Any, draws: Any, snr_db: Any) -> Any:
    """Adds noise of given amplitudes by frequency at a signal-to-noise ratio.

    Args:
        waveform: `(batch, samples)`.
        amplitudes: `(batch, bins)`.
        draws: From [0, 1), `(batch, 2, bins)`: real and imaginary parts. Summed over all bins,
            they make the noise as good as Gaussian.
        snr_db: Ratio of the powers in dB, `(batch, 1)`; silence gets no noise.
    """
    real, imaginary = (amplitudes * (draws[:, part] - 0.5) for part in (0, 1))
    noise = ops.irfft((real, imaginary), fft_length=ops.shape(waveform)[-1])
    noise = ops.reshape(noise, ops.shape(waveform))
    return waveform + match_power(noise, waveform) * from_decibels(-snr_db)


def reverb_tail(draws: Any, decay_seconds: Any, delay_seconds: Any, rate: float) -> Any:
    """Impulse response of a diffuse room: noise that decays exponentially (Polack 1988).

    Args:
        draws: Standard normal, `(batch, taps)`.
        decay_seconds: Reverberation time: the level falls by 60 dB in it; `(batch, 1)`.
        delay_seconds: Silence before the tail, `(batch, 1)`.
        rate: Sample rate in Hz.

    Returns:
        `(batch, taps)`, each of energy 1.
    """
    taps = ops.shape(draws)[-1]
    seconds = ops.expand_dims(ops.arange(taps, dtype="float32"), 0) / rate - delay_seconds
    envelope = ops.exp(ops.maximum(seconds, 0.0) * (-3.0 * math.log(10.0)) / decay_seconds)
    tail = draws * envelope * ops.cast(seconds >= 0.0, "float32")
    return tail / ops.sqrt(ops.maximum(ops.sum(ops.square(tail), -1, keepdims=True), _TINY))


def convolve(waveform: Any, taps: Any) -> Any:
    """Convolves each example with its taps and keeps the length of the example.

    Args:
        waveform: `(batch, samples)`.
        taps: `(batch, taps)`.
    """
    samples = ops.shape(waveform)[-1]
    # Room for the end of the tail, in a length that an FFT likes.
    size = (samples + ops.shape(taps)[-1] + 1023) // 1024 * 1024
    real, imaginary = ops.rfft(waveform, fft_length=size)
    tap_real, tap_imaginary = ops.rfft(taps, fft_length=size)
    product = (
        real * tap_real - imaginary * tap_imaginary,
        real * tap_imaginary + imaginary * tap_real,
    )
    return ops.irfft(product, fft_length=size)[:, :samples]


def clip_waveform(waveform: Any, drive: Any, soft: Any) -> Any:
    """Overdrives each example and brings it back to its power.

    Args:
        waveform: `(batch, samples)`.
        drive: By how much the peak exceeds where clipping sets in, a factor, `(batch, 1)`.
        soft: Whether the clipping is a hyperbolic tangent or abrupt, `(batch, 1)`.
    """
    peak = ops.maximum(ops.max(ops.abs(waveform), axis=-1, keepdims=True), _TINY)
    driven = waveform * (drive / peak)
    clipped = ops.where(soft, ops.tanh(driven), ops.clip(driven, -1.0, 1.0))
    return match_power(clipped, waveform)


def partners(draws: Any, step: int) -> Any:
    """Pairs each example with the one `step` places on in a random cycle of the batch.

    So no example meets itself, unless the batch is too small, or one partner twice.

    Args:
        draws: `(batch,)`, whose order is the cycle.
        step: Places between partners.

    Returns:
        Indices of the partners `(batch,)`.
    """
    cycle = ops.argsort(draws)
    return ops.take(ops.roll(cycle, -step), ops.argsort(cycle), axis=0)


def symmetric_beta(first: Any, second: Any, alpha: float) -> Any:
    """Maps two draws from [0, 1) to one from Beta(alpha, alpha) (Devroye 1996, section 3).

    The back ends' gamma generators reject and repeat, which XLA does not compile.

    Args:
        first: Draws of the distance from one half.
        second: Draws of the angle and so of the sign.
        alpha: Above 0.
    """
    cosine = ops.cos(2.0 * math.pi * second)
    # Within float32's range the ratio below saturates without becoming infinite.
    spread = ops.exp(ops.minimum(-ops.log(ops.maximum(first, 1e-30)) / alpha, 60.0)) - 1.0
    odds = spread * ops.square(cosine)
    return 0.5 + 0.5 * ops.sign(cosine) * ops.sqrt(odds / (1.0 + odds))


def mixed_style(log_mel: Any, others: Any, share: Any) -> Any:
    """Draws mean and deviation over time of each band towards those of another example.

    `(x - mean) / deviation`, times the mixed deviation, plus the mixed mean (Zhou et al. 2021,
    equation 3, with statistics by band).

    Args:
        log_mel: `(batch, frames, mels)`.
        others: Indices of the other examples `(batch,)`.
        share: The others' share of the statistics, `(batch, 1, 1)`.
    """
    mean = ops.mean(log_mel, axis=1, keepdims=True)
    # A band without any change must not be divided by nothing.
    deviation = ops.sqrt(ops.var(log_mel, axis=1, keepdims=True) + _LEAST_VARIANCE)
    centred = (log_mel - mean) / deviation
    other_mean, other_deviation = (ops.take(x, others, axis=0) for x in (mean, deviation))
    deviation = deviation + share * (other_deviation - deviation)
    return centred * deviation + mean + share * (other_mean - mean)


def along(weights: Any, tensor: Any) -> Any:
    """Shapes weights `(batch,)` so that they multiply the examples of a tensor."""
    shape = (-1,) + (1,) * (len(tensor.shape) - 1)
    return ops.cast(ops.reshape(weights, shape), tensor.dtype)


def mixed_labels(labels: Any, others: Any, share: Any, tolerance: float) -> Any:
    """Labels of a weighted mean of two examples; -1 where too much of it is unobserved.

    Unobserved counts as absent where the share of examples that nobody observed is at most
    `tolerance`. Counting it as the observed partner's label instead could lift a child above
    a parent that is observed in both.

    Args:
        labels: `(batch, classes)`.
        others: Labels of the partners.
        share: Weight of the partners, `(batch, 1)`.
        tolerance: Greatest share that may be unobserved.
    """
    mixed = (1.0 - share) * ops.maximum(labels, 0.0) + share * ops.maximum(others, 0.0)
    unobserved = (1.0 - share) * ops.cast(labels < 0.0, "float32")
    unobserved = unobserved + share * ops.cast(others < 0.0, "float32")
    return ops.where(unobserved <= tolerance, mixed, -1.0)


def union_labels(labels: Any, others: Any) -> Any:
    """Labels of a sum of two examples.

    A class is present if it is in either, absent if it is in neither, and unobserved
    otherwise. Probabilities combine as those of independent events, `1 - (1 - p)(1 - q)`.

    Args:
        labels: `(batch, classes)`.
        others: Labels of what is added.
    """
    absent = (1.0 - ops.maximum(labels, 0.0)) * (1.0 - ops.maximum(others, 0.0))
    observed = ops.minimum(labels, others) >= 0.0
    return ops.where(ops.logical_or(observed, absent == 0.0), 1.0 - absent, -1.0)


def resampled(waveform: Any, speed: Any, samples: int) -> Any:
    """Plays waveforms at another speed, by Catmull and Rom's cubic.

    Args:
        waveform: `(rows, length)`; `length` is at least `samples * speed + 3`.
        speed: Factors `(rows, 1)`.
        samples: Length of the result.

    Returns:
        `(rows, samples)`; the first sample is the second of `waveform`.
    """
    if keras.config.backend() == "tensorflow":
        # Operation by operation, four samples are looked up one by one for each that is
        # wanted; compiled, that is many times as fast (`benchmarks/stem_mixing.py`).
        return compiled(functools.partial(_cubic, samples=samples), waveform, speed)
    return _cubic(waveform, speed, samples)


def _cubic(waveform: Any, speed: Any, samples: int) -> Any:
    position = ops.arange(samples, dtype="float32") * speed
    whole = ops.floor(position)
    t = position - whole
    index = ops.cast(whole, "int32")
    before, at, after, beyond = (
        ops.take_along_axis(waveform, index + step, axis=1) for step in range(4)
    )
    cubic = 3.0 * (at - after) + beyond - before
    square = 2.0 * before - 5.0 * at + 4.0 * after - beyond
    return at + 0.5 * t * (after - before + t * (square + t * cubic))
