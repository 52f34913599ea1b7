"""What the layers that change spectrograms by chance share."""

from typing import Any

from ._random_layer import RandomLayer


class SpectrogramLayer(RandomLayer):
    """Base of layers over log-mel spectrograms `(batch, frames, mels)`."""

    def build(self, input_shape: Any) -> None:
        """Checks that the input is a batch of spectrograms."""
        if len(input_shape) != 3:
            raise ValueError(
                "The input must be spectrograms of the shape (batch, frames, mels). "
                f"Received: {tuple(input_shape)}"
            )
        super().build(input_shape)
