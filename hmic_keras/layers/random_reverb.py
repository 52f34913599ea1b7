"""Random reverberation of waveforms."""

from typing import Any

import keras
from keras import ops

from ._random_layer import check_number, check_range
from ._waveform_layer import WaveformLayer
from .augmentation_math import (
    between,
    between_octaves,
    convolve,
    from_decibels,
    match_power,
    reverb_tail,
)


@keras.saving.register_keras_serializable(package="hmic_keras")
class RandomReverb(WaveformLayer):
    """Puts each example into a random diffuse room, in training only.

    To the direct sound is added its convolution with exponentially decaying Gaussian noise,
    after a short silence: Polack's model of late reverberation (also Moorer 1979). Early
    reflections and a decay that differs by frequency are left out. Each example keeps its
    power.

    Args:
        sample_rate: Sample rate in Hz, from 1000 up.
        decay_seconds: Range of the reverberation time (60 dB of decay) in seconds, up to 10;
            all octaves in it are equally likely.
        direct_db: Range of the level of the direct sound above that of the reverberation, dB.
        delay_seconds: Range of the time before the reverberation sets in, up to 0.1.
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
        >>> click = np.eye(1, 8000, dtype="float32")
        >>> room = RandomReverb(probability=1.0, seed=0)(click, training=True)
        >>> bool(np.any(np.asarray(room)[0, 1000:] != 0))
        True

    References:
        Moorer, "About This Reverberation Business", Computer Music Journal 3(2), 1979.
        Polack, "La transmission de l'energie sonore dans les salles", 1988.
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        decay_seconds: tuple[float, float] = (0.1, 0.8),
        direct_db: tuple[float, float] = (0.0, 15.0),
        delay_seconds: tuple[float, float] = (0.0, 0.02),
        probability: float = 0.3,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.sample_rate = check_number("sample_rate", sample_rate, 1000.0, 768_000.0)
        self.decay_seconds = check_range("decay_seconds", decay_seconds, 0.0, 10.0, above=True)
        self.direct_db = check_range("direct_db", direct_db, -40.0, 60.0)
        self.delay_seconds = check_range("delay_seconds", delay_seconds, 0.0, 0.1)

    def change(self, waveform: Any) -> Any:
        """Returns the waveforms with reverberation."""
        batch = ops.shape(waveform)[0]
        taps = int((self.decay_seconds[1] + self.delay_seconds[1]) * self.sample_rate) + 1
        decay, direct, delay = ops.split(self._uniform(batch, 3), 3, axis=1)
        tail = reverb_tail(
            self._normal(batch, taps),
            between_octaves(decay, self.decay_seconds),
            between(delay, self.delay_seconds),
            self.sample_rate,
        )
        tail = tail * from_decibels(-between(direct, self.direct_db))
        return match_power(waveform + convolve(waveform, tail), waveform)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "sample_rate": self.sample_rate,
            "decay_seconds": list(self.decay_seconds),
            "direct_db": list(self.direct_db),
            "delay_seconds": list(self.delay_seconds),
        }
