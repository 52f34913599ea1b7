"""Random level of waveforms."""

from typing import Any

import keras
from keras import ops

from ._random_layer import check_range
from ._waveform_layer import WaveformLayer
from .augmentation_math import between, from_decibels


@keras.saving.register_keras_serializable(package="hmic_keras")
class RandomGain(WaveformLayer):
    """Makes each example louder or softer, in training only.

    An example is raised to full scale at most.

    Args:
        gain_db: Range of the gain in dB, within -60 and 60.
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
        >>> layer = RandomGain(gain_db=(-6.0206, -6.0206))
        >>> float(np.max(layer(np.ones((2, 100), "float32"), training=True)).round(3))
        0.5
    """

    def __init__(
        self,
        gain_db: tuple[float, float] = (-12.0, 6.0),
        probability: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.gain_db = check_range("gain_db", gain_db, -60.0, 60.0)

    def change(self, waveform: Any) -> Any:
        """Returns the waveforms at another level."""
        draws = self._uniform(ops.shape(waveform)[0], 1)
        return waveform * from_decibels(between(draws, self.gain_db))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "gain_db": list(self.gain_db)}
