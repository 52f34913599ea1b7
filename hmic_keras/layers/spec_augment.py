"""Masking stripes of time and frequency in a spectrogram."""

from typing import Any

import keras
from keras import ops

from ._random_layer import check_count, check_number
from ._spectrogram_layer import SpectrogramLayer
from .augmentation_math import length_of, stripes

_FILLS = ("mean", "minimum")


@keras.saving.register_keras_serializable(package="hmic_keras")
class SpecAugment(SpectrogramLayer):
    """Covers random stripes of time and frequency of a log-mel spectrogram, in training only.

    Every example gets stripes of its own. Each is 0 to its greatest width wide, all widths
    being equally likely, and lies anywhere within the spectrogram; stripes may overlap. The
    paper's time warp is left out, as the authors found that it matters least.

    Args:
        time_masks: Number of stripes of time.
        time_width: Greatest width of a stripe of time: a float is a share of the frames, an
            integer a number of frames.
        frequency_masks: Number of stripes of frequency.
        frequency_width: Greatest width of a stripe of frequency: a float is a share of the mel
            bands, an integer a number of bands.
        fill: What covers a stripe: the `"mean"` of the example, which says nothing, or its
            `"minimum"`, which is the example's silence.
        probability: Share of the examples that are masked.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(batch, frames, mels)`.

    Output shape:
        That of the input; also its dtype.

    Raises:
        ValueError: If an argument is out of range or the input is not 3-D.

    Example:
        >>> import numpy as np
        >>> layer = SpecAugment(time_masks=1, time_width=50, seed=0)
        >>> log_mel = np.random.default_rng(0).normal(size=(4, 200, 80)).astype("float32")
        >>> masked = layer(log_mel, training=True)
        >>> bool(np.any(np.asarray(masked) != log_mel))
        True

    References:
        Park et al., "SpecAugment: A Simple Data Augmentation Method for Automatic Speech
        Recognition", Interspeech 2019 (arXiv 1904.08779).
    """

    def __init__(
        self,
        time_masks: int = 2,
        time_width: float | int = 0.1,
        frequency_masks: int = 2,
        frequency_width: float | int = 0.1,
        fill: str = "mean",
        probability: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.time_masks = check_count("time_masks", time_masks)
        self.time_width = _check_width("time_width", time_width)
        self.frequency_masks = check_count("frequency_masks", frequency_masks)
        self.frequency_width = _check_width("frequency_width", frequency_width)
        if fill not in _FILLS:
            raise ValueError(f"`fill` must be one of {_FILLS}. Received: {fill!r}")
        self.fill = fill

    def augment(self, inputs: Any) -> Any:
        """Returns the spectrograms with stripes covered."""
        batch = ops.shape(inputs)[0]
        time = self._mask(inputs, 1, self.time_masks, self.time_width)
        frequency = self._mask(inputs, 2, self.frequency_masks, self.frequency_width)
        chosen = self._uniform(batch, 1, 1) < self.probability
        masked = ops.logical_or(ops.expand_dims(time, 2), ops.expand_dims(frequency, 1))
        return ops.where(ops.logical_and(masked, chosen), self._filling(inputs), inputs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "time_masks": self.time_masks,
            "time_width": self.time_width,
            "frequency_masks": self.frequency_masks,
            "frequency_width": self.frequency_width,
            "fill": self.fill,
        }

    def _mask(self, inputs: Any, axis: int, masks: int, width: float | int) -> Any:
        length = length_of(inputs, axis)
        share = isinstance(width, float)
        limit = ops.floor(width * length) if share else ops.minimum(float(width), length)
        draws = self._uniform(ops.shape(inputs)[0], masks, 2)
        return stripes(length, limit, draws[..., 0], draws[..., 1])

    def _filling(self, inputs: Any) -> Any:
        if self.fill == "minimum":
            return ops.min(inputs, axis=(1, 2), keepdims=True)
        # A half-precision sum over a whole spectrogram overflows.
        mean = ops.mean(ops.cast(inputs, "float32"), axis=(1, 2), keepdims=True)
        return ops.cast(mean, inputs.dtype)


def _check_width(name: str, value: Any) -> float | int:
    if isinstance(value, float):
        return check_number(name, value, 0.0, 1.0)
    return check_count(name, value)
