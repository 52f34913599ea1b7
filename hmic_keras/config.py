"""Settings as frozen dataclasses with checked ranges and a JSON round-trip."""

import dataclasses
import math
from typing import Any, Self

from .errors import HmicError


class _Config:
    """Conversion to and from plain dicts, shared by the settings below."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-able values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Builds the settings from `to_dict`'s form.

        Args:
            values: Settings by name; those left out take their default.

        Raises:
            HmicError: If a name is unknown or a value out of range.
        """
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := set(values) - known:
            raise HmicError(
                f"{cls.__name__} has no setting {sorted(unknown)}; it has {sorted(known)}."
            )
        return cls(**values)

    def _require(self, name: str, rule: str, holds: bool) -> None:
        if not holds:
            value = getattr(self, name)
            raise HmicError(f"`{name}` must be {rule}. Received: {value!r}")

    def _require_count(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            self._require(name, "a positive integer", whole and value > 0)

    def _require_number(self, name: str, rule: str, low: float, high: float) -> None:
        value = getattr(self, name)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        self._require(name, rule, real and math.isfinite(value) and low <= value <= high)


@dataclasses.dataclass(frozen=True)
class AudioConfig(_Config):
    """How a waveform becomes a log-mel spectrogram.

    Attributes:
        sample_rate: In Hz.
        n_fft: FFT length in samples.
        window_length: Hann window in samples, at most `n_fft`.
        hop_length: Step between frames in samples.
        n_mels: Number of mel bands.
        fmin: Lowest frequency in Hz.
        fmax: Highest frequency in Hz.
        mel_scale: `"slaney"` or `"htk"`.
        log_offset: Added to the mel power before the logarithm.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> AudioConfig.from_dict({"n_mels": 64}).n_mels
        64
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    window_length: int = 1024
    hop_length: int = 320
    n_mels: int = 80
    fmin: float = 40.0
    fmax: float = 8000.0
    mel_scale: str = "slaney"
    log_offset: float = 1e-4

    def __post_init__(self) -> None:
        self._require_count("sample_rate", "n_fft", "window_length", "hop_length", "n_mels")
        self._require("window_length", "at most n_fft", self.window_length <= self.n_fft)
        nyquist = self.sample_rate / 2
        self._require_number("fmax", f"above 0 and at most {nyquist} Hz", 1e-9, nyquist)
        self._require_number("fmin", f"from 0 to below fmax={self.fmax} Hz", 0, self.fmax)
        self._require("fmin", f"below fmax={self.fmax} Hz", self.fmin < self.fmax)
        self._require("mel_scale", "'slaney' or 'htk'", self.mel_scale in ("slaney", "htk"))
        self._require_number("log_offset", "a positive number", 1e-30, 1e30)


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Config):
    """How a model is trained.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips in a batch.
        crop_seconds: Length of the random crop taken from a clip, in seconds.
        learning_rate: Peak learning rate; it falls to 0 along a cosine.
        weight_decay: Decoupled weight decay of AdamW.
        validation_fraction: Share of the clips held out for thresholds and the history.
        seed: Seed of weights, order and crops.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> TrainConfig(epochs=3).to_dict()["epochs"]
        3
    """

    epochs: int = 30
    batch_size: int = 32
    crop_seconds: float = 4.0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    validation_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        self._require_count("epochs", "batch_size")
        self._require_number("crop_seconds", "from 1 to 600 seconds", 1, 600)
        self._require_number("learning_rate", "above 0 and at most 10", 1e-12, 10)
        self._require_number("weight_decay", "from 0 to 1", 0, 1)
        self._require_number("validation_fraction", "from 0 to 0.9", 0, 0.9)
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        self._require(
            "seed", "an integer from 0 to 2**31 - 1", whole and 0 <= self.seed < 2**31
        )
