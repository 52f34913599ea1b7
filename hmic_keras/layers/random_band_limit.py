"""Random band limits of waveforms."""

from typing import Any

import keras

from ._random_layer import check_count, check_range
from ._waveform_layer import SpectralLayer
from .augmentation_math import band_response, between_octaves


@keras.saving.register_keras_serializable(package="hmic_keras")
class RandomBandLimit(SpectralLayer):
    """Cuts off the lowest and highest frequencies of each example, in training only.

    As small loudspeakers, telephones, old recordings and low-rate files do. The amplitude is
    that of Butterworth filters, 3 dB down at the cut-offs; the filter has no delay.

    Args:
        sample_rate: Sample rate in Hz, from 1000 up.
        low_cut_hz: Range of the lower cut-off in Hz; all octaves in it are equally likely.
        high_cut_hz: Range of the upper cut-off in Hz, above that of the lower one.
        order: Order of the filters, 6 dB an octave each.
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
        >>> layer = RandomBandLimit(low_cut_hz=(300, 300), high_cut_hz=(3400, 3400))
        >>> layer(np.zeros((2, 16000), "float32"), training=True).shape
        TensorShape([2, 16000])
    """

    def __init__(
        self,
        sample_rate: float = 16000,
        low_cut_hz: tuple[float, float] = (20.0, 200.0),
        high_cut_hz: tuple[float, float] = (3000.0, 8000.0),
        order: int = 4,
        probability: float = 0.3,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(sample_rate, probability, seed, **kwargs)
        self.low_cut_hz = check_range("low_cut_hz", low_cut_hz, 1.0, 1e6)
        self.high_cut_hz = check_range("high_cut_hz", high_cut_hz, 1.0, 1e6)
        self.order = check_count("order", order, 1)
        if self.low_cut_hz[1] >= self.high_cut_hz[0]:
            raise ValueError(
                "`low_cut_hz` must lie below `high_cut_hz`. Received: "
                f"low_cut_hz={low_cut_hz!r}, high_cut_hz={high_cut_hz!r}"
            )

    def response(self, batch: Any, frequencies: Any) -> Any:
        """Draws responses `(batch, bins)`."""
        draws = self._uniform(batch, 2)
        return band_response(
            between_octaves(draws[:, :1], self.low_cut_hz),
            between_octaves(draws[:, 1:], self.high_cut_hz),
            self.order,
            frequencies,
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "low_cut_hz": list(self.low_cut_hz),
            "high_cut_hz": list(self.high_cut_hz),
            "order": self.order,
        }
