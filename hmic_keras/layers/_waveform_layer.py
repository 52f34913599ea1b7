"""What the random layers over waveforms share."""

import math
from typing import Any

from keras import ops

from ._random_layer import RandomLayer, check_axes, check_number
from .augmentation_math import bin_frequencies, filter_by, length_of, limit_peak


class WaveformLayer(RandomLayer):
    """Base of layers that change waveforms `(batch, samples)`.

    A subclass implements `change`, which sees only the examples it is to change: as many of
    each batch as the probability says, a fraction of an example being one by chance. Waveforms
    are float32 under any policy. Where a change would leave [-1, 1], the example is scaled down
    as a whole, so nothing is clipped by the way.
    """

    def build(self, input_shape: Any) -> None:
        """Checks that the input is a batch of waveforms."""
        check_axes(input_shape, "waveforms", "batch", "samples")
        super().build(input_shape)

    def augment(self, inputs: Any) -> Any:
        """Returns the waveforms, the chosen ones of them changed, within [-1, 1]."""
        waveform = ops.cast(inputs, "float32")
        if self.probability in (0.0, 1.0):
            return limit_peak(self.change(waveform)) if self.probability else waveform
        order, changed = self._choose(ops.shape(waveform)[0])
        before = ops.take(waveform, order, axis=0)
        after = ops.where(changed, limit_peak(self.change(before)), before)
        return ops.scatter_update(waveform, ops.expand_dims(order, -1), after)

    def _choose(self, batch: Any) -> tuple[Any, Any]:
        """Draws which examples are changed.

        Returns:
            Indices `(rows,)`, and `(rows, 1)` whether the example is changed, which leaves the
            last one to chance.
        """
        draws = self._uniform(batch + 1)
        expected = self.probability * ops.cast(batch, "float32")
        if isinstance(batch, int):
            rows = math.ceil(self.probability * batch)
        else:
            rows = ops.cast(ops.ceil(expected), "int32")
        order = ops.argsort(draws[1:])[:rows]
        ranks = ops.arange(rows, dtype="float32")
        return order, ops.expand_dims(ranks + draws[0] < expected, -1)

    def change(self, waveform: Any) -> Any:
        """Returns the waveforms changed."""
        raise NotImplementedError


class SpectralLayer(WaveformLayer):
    """Base of layers that are a random real response over frequency.

    A subclass implements `response`. Neighbouring layers could share one pair of FFTs, but each
    transforms only the examples it changes, which at the default probabilities costs less.

    Args:
        sample_rate: Sample rate in Hz.
        probability: Share of the examples that are changed.
        seed: Seed of the draws.
        **kwargs: Base layer arguments.
    """

    def __init__(
        self, sample_rate: float, probability: float, seed: int | None, **kwargs: Any
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.sample_rate = check_number("sample_rate", sample_rate, 1000.0, 768_000.0)

    def change(self, waveform: Any) -> Any:
        """Returns the waveforms filtered."""
        frequencies = bin_frequencies(length_of(waveform, 1), self.sample_rate)
        return filter_by(waveform, self.response(ops.shape(waveform)[0], frequencies))

    def response(self, batch: Any, frequencies: Any) -> Any:
        """Draws responses.

        Args:
            batch: Number of examples.
            frequencies: In Hz, `(1, bins)`.

        Returns:
            Factors of amplitude `(batch, bins)`.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "sample_rate": self.sample_rate}
