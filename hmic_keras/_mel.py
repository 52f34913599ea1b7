"""Log-mel spectrograms in NumPy, for who runs a model without TensorFlow or Keras."""

import numpy as np

from .config import AudioConfig


def mel_filters(
    sample_rate: float,
    n_fft: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    scale: str,
) -> np.ndarray:
    """Triangular mel filters, each of unit area ("slaney" normalisation), as librosa's default.

    Args:
        sample_rate: In Hz.
        n_fft: FFT length in samples.
        n_mels: Number of filters.
        fmin: Lower edge of the first filter in Hz.
        fmax: Upper edge of the last filter in Hz.
        scale: `"slaney"` (linear to 1 kHz, then logarithmic; Slaney 1998) or `"htk"`
            (`2595 log10(1 + f / 700)`).

    Returns:
        float32 `(n_fft // 2 + 1, n_mels)`.
    """
    to_mel, to_hertz = _MEL_SCALES[scale]
    edges = to_hertz(np.linspace(to_mel(np.array(fmin)), to_mel(np.array(fmax)), n_mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1.0 / sample_rate)[:, np.newaxis]
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return (triangles * (2.0 / (upper - lower))).astype("float32")


def log_mel(waveforms: np.ndarray, audio: AudioConfig) -> np.ndarray:
    """Returns what `layers.LogMelSpectrogram` gives, computed by NumPy.

    Args:
        waveforms: Float32 `(batch, samples)`, longer than half an FFT.
        audio: Settings of the spectrogram.

    Returns:
        Float32 `(batch, 1 + samples // hop_length, n_mels)` for an even `n_fft`.
    """
    filters = mel_filters(
        audio.sample_rate, audio.n_fft, audio.n_mels, audio.fmin, audio.fmax, audio.mel_scale
    )
    window = np.zeros(audio.n_fft, "float32")
    left = (audio.n_fft - audio.window_length) // 2
    angles = 2.0 * np.pi / audio.window_length * np.arange(audio.window_length)
    window[left : left + audio.window_length] = 0.5 - 0.5 * np.cos(angles)
    half = audio.n_fft // 2
    spectrograms = []
    for waveform in np.asarray(waveforms, "float32"):
        padded = np.pad(waveform, half, mode="reflect")
        frames = np.lib.stride_tricks.sliding_window_view(padded, audio.n_fft)
        spectrum = np.fft.rfft(frames[:: audio.hop_length] * window)
        power = (spectrum.real**2 + spectrum.imag**2).astype("float32")
        spectrograms.append(np.log(power @ filters + np.float32(audio.log_offset)))
    return np.stack(spectrograms)


def _slaney_to_mel(hertz: np.ndarray) -> np.ndarray:
    knee = 1000.0
    logarithmic = 15.0 + np.log(np.maximum(hertz, knee) / knee) * 27.0 / np.log(6.4)
    return np.where(hertz < knee, hertz * 3.0 / 200.0, logarithmic)


def _slaney_to_hertz(mel: np.ndarray) -> np.ndarray:
    logarithmic = 1000.0 * np.exp((np.maximum(mel, 15.0) - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel < 15.0, mel * 200.0 / 3.0, logarithmic)


def _htk_to_mel(hertz: np.ndarray) -> np.ndarray:
    return 2595.0 * np.log10(1.0 + hertz / 700.0)


def _htk_to_hertz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


_MEL_SCALES = {
    "slaney": (_slaney_to_mel, _slaney_to_hertz),
    "htk": (_htk_to_mel, _htk_to_hertz),
}
