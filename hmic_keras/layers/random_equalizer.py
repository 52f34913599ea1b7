"""Random smooth equalisation of waveforms."""

from typing import Any

import keras

from ._random_layer import check_count, check_number
from ._waveform_layer import SpectralLayer
from .augmentation_math import smooth_response

_LOWEST_HZ = 60.0


@keras.saving.register_keras_serializable(package="hmic_keras")
class RandomEqualizer(SpectralLayer):
    """Colours each example by a smooth random curve over frequency, in training only.

    The curve stands for microphones, rooms, loudspeakers and mastering. It passes through
    random gains at points that are evenly spaced in octaves from 60 Hz to half the sample
    rate; between them the gain in dB follows a cosine. The filter has no delay.

    Args:
        sample_rate: Sample rate in Hz, from 1000 up.
        gain_db: Greatest boost or cut at a point, in dB; all gains up to it are equally likely.
        points: Number of points, at least 2: 8 make about one an octave at 16 kHz.
        probability: Share of the examples that are changed.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(batch, samples)`, float32 in [-1, 1].

    Output shape:
        That of the input, in [-1, 1]: an example beyond is scaled down as a whole.

    Raises:
        ValueError: If an argument is out of range or the input is not 2-D.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 16000)).astype("float32")
        >>> RandomEqualizer(gain_db=9.0, seed=0)(noise, training=True).shape
        TensorShape([2, 16000])
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        gain_db: float = 6.0,
        points: int = 8,
        probability: float = 0.8,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(sample_rate, probability, seed, **kwargs)
        self.gain_db = check_number("gain_db", gain_db, 0.0, 40.0)
        self.points = check_count("points", points, 2)

    def response(self, batch: Any, frequencies: Any) -> Any:
        """Draws curves `(batch, bins)`."""
        gains = (2.0 * self._uniform(batch, self.points) - 1.0) * self.gain_db
        return smooth_response(gains, frequencies, _LOWEST_HZ, self.sample_rate / 2)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "gain_db": self.gain_db, "points": self.points}
