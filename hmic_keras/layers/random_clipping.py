"""Random overdrive of waveforms."""

from typing import Any

import keras
from keras import ops

from ._random_layer import check_number, check_range
from ._waveform_layer import WaveformLayer
from .augmentation_math import between, clip_waveform, from_decibels


@keras.saving.register_keras_serializable(package="hmic_keras")
class RandomClipping(WaveformLayer):
    """Clips the peaks of each example, in training only.

    As overdriven recorders (hard) and tape, valves and limiters (soft, a hyperbolic tangent)
    do. Each example keeps its power, so its peak falls.

    Args:
        drive_db: Range of how far the peak exceeds the level where clipping sets in, in dB.
        soft: Share of the clipped examples that are clipped softly.
        probability: Share of the examples that are changed.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(batch, samples)`, float32 in [-1, 1].

    Output shape:
        That of the input, in [-1, 1].

    Raises:
        ValueError: If an argument is out of range or the input is not 2-D.

    Example:
        >>> import numpy as np
        >>> ramp = np.linspace(-1, 1, 100, dtype="float32")[np.newaxis]
        >>> layer = RandomClipping(drive_db=(12, 12), soft=0.0, probability=1.0)
        >>> len(np.unique(layer(ramp, training=True)))
        26
    """

    def __init__(
        self,
        drive_db: tuple[float, float] = (0.0, 12.0),
        soft: float = 0.5,
        probability: float = 0.2,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.drive_db = check_range("drive_db", drive_db, 0.0, 60.0)
        self.soft = check_number("soft", soft, 0.0, 1.0)

    def change(self, waveform: Any) -> Any:
        """Returns the waveforms clipped."""
        draws = self._uniform(ops.shape(waveform)[0], 2)
        drive = from_decibels(between(draws[:, :1], self.drive_db))
        return clip_waveform(waveform, drive, draws[:, 1:] < self.soft)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "drive_db": list(self.drive_db), "soft": self.soft}
