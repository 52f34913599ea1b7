"""Random background noise under waveforms."""

from typing import Any

import keras
from keras import ops

from ._random_layer import check_number, check_range
from ._waveform_layer import WaveformLayer
from .augmentation_math import MAINS_HZ, add_noise, between, length_of, noise_amplitudes


@keras.saving.register_keras_serializable(package="hmic_keras")
class RandomNoise(WaveformLayer):
    """Adds coloured noise, at times with mains hum, to each example, in training only.

    The power of the noise falls as `1 / f ** exponent` from 20 Hz up. Some examples also get
    hum: ten harmonics of 50 or 60 Hz, which take a random share of the noise's power. Silence
    stays silent, since the noise is set relative to the example.

    Args:
        sample_rate: Sample rate in Hz, from 1000 up.
        snr_db: Range of the signal-to-noise ratio in dB.
        exponent: Range of the noise's colour: 0 white, 1 pink, 2 brown; from -2 to 4.
        hum: Share of the noisy examples that hum.
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
        >>> layer = RandomNoise(snr_db=(0, 20), probability=1.0)
        >>> float(np.abs(layer(np.zeros((2, 16000), "float32"), training=True)).max())
        0.0
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        snr_db: tuple[float, float] = (10.0, 40.0),
        exponent: tuple[float, float] = (0.0, 2.0),
        hum: float = 0.2,
        probability: float = 0.5,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.sample_rate = check_number("sample_rate", sample_rate, 1000.0, 768_000.0)
        self.snr_db = check_range("snr_db", snr_db, -60.0, 120.0)
        self.exponent = check_range("exponent", exponent, -2.0, 4.0)
        self.hum = check_number("hum", hum, 0.0, 1.0)

    def change(self, waveform: Any) -> Any:
        """Returns the waveforms with noise."""
        batch = ops.shape(waveform)[0]
        snr, exponent, hums, share, mains = ops.split(self._uniform(batch, 5), 5, axis=1)
        amplitudes = noise_amplitudes(
            between(exponent, self.exponent),
            ops.where(hums < self.hum, share, 0.0),
            ops.where(mains < 0.5, *MAINS_HZ),
            length_of(waveform, 1),
            self.sample_rate,
        )
        draws = self._uniform(batch, 2, ops.shape(amplitudes)[1])
        return add_noise(waveform, amplitudes, draws, between(snr, self.snr_db))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "snr_db": list(self.snr_db),
            "exponent": list(self.exponent),
            "hum": self.hum,
        }
