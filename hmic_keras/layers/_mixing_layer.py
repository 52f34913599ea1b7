"""What the layers that mix the examples of a batch share."""

from typing import Any

from ._random_layer import RandomLayer, is_pair


class MixingLayer(RandomLayer):
    """Base of layers over `(x, labels)` that mix the examples of a batch.

    Labels are a dict by level, or any nest, of float32 `(batch, classes)`: 1 present, 0 absent,
    between them a probability, -1 unobserved.
    """

    def build(self, input_shape: Any) -> None:
        """Checks that the input is a pair of examples and labels."""
        if not is_pair(input_shape):
            raise ValueError(
                "The input must be a pair (x, labels) of examples and their labels by level. "
                f"Received: shape {input_shape}"
            )
        super().build(input_shape)
