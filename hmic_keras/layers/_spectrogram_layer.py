"""What the layers that change spectrograms by chance share."""

from typing import Any

from ._random_layer import RandomLayer, check_axes


class SpectrogramLayer(RandomLayer):
    """Base of layers over log-mel spectrograms `(batch, frames, mels)`."""

    def build(self, input_shape: Any) -> None:
        """Checks that the input is a batch of spectrograms."""
        check_axes(input_shape, "spectrograms", "batch", "frames", "mels")
        super().build(input_shape)
