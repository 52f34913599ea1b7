"""Waveform to log-mel spectrogram inside the model."""

from typing import Any

import keras

from .._mel import mel_filters
from ._functional import log_mel
from ._tensorflow import one_by_one


@keras.saving.register_keras_serializable(package="hmic_keras")
class LogMelSpectrogram(keras.layers.Layer):
    """Turns waveforms into log-mel spectrograms, as librosa does.

    `log(mel + log_offset)` of the power spectrogram with centred, reflected frames and a
    periodic Hann window: what `librosa.feature.melspectrogram` gives with the same settings.
    The layer has no weights and always computes in float32, since the logarithm of a
    half-precision power spectrum overflows; the result has the layer's compute dtype.

    Args:
        sample_rate: Sample rate in Hz.
        n_fft: FFT length in samples.
        window_length: Length of the Hann window in samples, at most `n_fft`.
        hop_length: Step between frames in samples.
        n_mels: Number of mel bands.
        fmin: Lowest frequency in Hz.
        fmax: Highest frequency in Hz, at most half the sample rate, which is the default.
        mel_scale: `"slaney"` or `"htk"`.
        log_offset: Added to the mel power before the natural logarithm; sets the floor.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(batch, samples)`, float in [-1, 1]; more than `n_fft // 2` samples.

    Output shape:
        `(batch, 1 + samples // hop_length, n_mels)`, for an even `n_fft`.

    Raises:
        ValueError: If an argument is out of range, a mel band would hold no FFT bin, or the
            input is not 2-D.

    Example:
        >>> import numpy as np
        >>> LogMelSpectrogram(sample_rate=16000)(np.zeros((2, 16000), "float32")).shape
        TensorShape([2, 51, 80])

    References:
        Slaney, "Auditory Toolbox", 1998; Young et al., "The HTK Book"; McFee et al., "librosa".
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        window_length: int = 1024,
        hop_length: int = 320,
        n_mels: int = 80,
        fmin: float = 40.0,
        fmax: float | None = None,
        mel_scale: str = "slaney",
        log_offset: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.sample_rate = sample_rate
        self.n_fft = n_fft
        self.window_length = window_length
        self.hop_length = hop_length
        self.n_mels = n_mels
        self.fmin = fmin
        self.fmax = fmax
        self.mel_scale = mel_scale
        self.log_offset = log_offset
        self._check_arguments()
        self._filters = mel_filters(
            sample_rate, n_fft, n_mels, fmin, self._upper_frequency, mel_scale
        )
        if (empty := int((self._filters.max(axis=0) == 0).sum())) > 0:
            raise ValueError(
                f"{empty} of {n_mels} mel bands hold no FFT bin; lower `n_mels`, raise `fmin` "
                f"or raise `n_fft`. Received: n_mels={n_mels}, fmin={fmin}, n_fft={n_fft}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks that the input is a batch of long enough waveforms."""
        samples = input_shape[-1]
        if len(input_shape) != 2 or (samples is not None and samples <= self.n_fft // 2):
            raise ValueError(
                "The input must be waveforms of the shape (batch, samples) with more than "
                f"n_fft // 2 = {self.n_fft // 2} samples. Received: {tuple(input_shape)}"
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the log-mel spectrogram."""
        waveforms = keras.ops.cast(inputs, "float32")
        if waveforms.shape[0] != 1 and _runs_on_a_cpu_with_tensorflow():
            # The frames and spectra of a clip fit the processor's cache. Those of a batch do
            # not, and may be so large that the system maps their memory anew on every call,
            # which takes longer than the transform.
            shape = self.compute_output_shape(waveforms.shape)
            result = one_by_one(self._log_mel, waveforms, shape[1:])
        else:
            result = self._log_mel(waveforms)
        return keras.ops.cast(result, self.compute_dtype)

    def _log_mel(self, waveforms: Any) -> Any:
        return log_mel(
            waveforms,
            self._filters,
            window_length=self.window_length,
            hop_length=self.hop_length,
            n_fft=self.n_fft,
            log_offset=self.log_offset,
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """Returns `(batch, frames, n_mels)`; frames are unknown where the samples are."""
        batch, samples = input_shape
        # Frames are centred; an odd FFT leaves its middle sample out of the padding.
        frames = None if samples is None else 1 + (samples - self.n_fft % 2) // self.hop_length
        return (batch, frames, self.n_mels)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Describes the output; the FFT cannot be traced symbolically on every back end."""
        return keras.KerasTensor(
            self.compute_output_shape(inputs.shape), dtype=self.compute_dtype
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "n_fft": self.n_fft,
            "window_length": self.window_length,
            "hop_length": self.hop_length,
            "n_mels": self.n_mels,
            "fmin": self.fmin,
            "fmax": self.fmax,
            "mel_scale": self.mel_scale,
            "log_offset": self.log_offset,
        }

    @property
    def _upper_frequency(self) -> float:
        return self.sample_rate / 2 if self.fmax is None else self.fmax

    def _check_arguments(self) -> None:
        for argument in ("sample_rate", "n_fft", "window_length", "hop_length", "n_mels"):
            value = getattr(self, argument)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(
                    f"`{argument}` must be a positive integer. Received: {value!r}"
                )
        if self.window_length > self.n_fft:
            raise ValueError(
                "`window_length` must not exceed `n_fft`. Received: "
                f"window_length={self.window_length}, n_fft={self.n_fft}"
            )
        if not 0 <= self.fmin < self._upper_frequency <= self.sample_rate / 2:
            raise ValueError(
                "`fmin` and `fmax` must satisfy 0 <= fmin < fmax <= sample_rate / 2. Received: "
                f"fmin={self.fmin}, fmax={self.fmax}, sample_rate={self.sample_rate}"
            )
        if self.mel_scale not in ("slaney", "htk"):
            raise ValueError(
                f"`mel_scale` must be 'slaney' or 'htk'. Received: {self.mel_scale!r}"
            )
        if not self.log_offset > 0:
            raise ValueError(f"`log_offset` must be positive. Received: {self.log_offset!r}")


def _runs_on_a_cpu_with_tensorflow() -> bool:
    return keras.config.backend() == "tensorflow" and not keras.distribution.list_devices("gpu")
