"""Weighted mean of two scores for every class, each trained by itself."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="hmic_keras")
class FlowMean(keras.layers.Layer):
    """Answers the weighted mean of a local and a global score; trains both on the labels.

    The answer is `beta * local + (1 - beta) * global`. In training, each class of each clip is
    scored by one of the two, by the local one with probability `beta`, drawn anew every time.
    The expected loss is then `beta * loss(local) + (1 - beta) * loss(global)`, whatever the
    loss: both are trained on the labels themselves, and not on what the other leaves over.

    Args:
        beta: Weight of the local scores, from 0 to 1.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Call arguments:
        local_scores: `(batch, num_classes)`.
        global_scores: Of the same shape.

    Output shape:
        `(batch, num_classes)`.

    Raises:
        ValueError: If `beta` is out of range, or the shapes differ.

    Example:
        >>> import numpy as np
        >>> mean = FlowMean(beta=0.25)
        >>> np.asarray(mean(np.array([[0.2, 1.0]]), np.array([[0.6, 0.0]]))).tolist()
        [[0.5, 0.25]]

    References:
        Wehrmann, Cerri and Barros, "Hierarchical Multi-Label Classification Networks", ICML
        2018, equation 6.
    """

    def __init__(self, beta: float = 0.5, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        real = isinstance(beta, int | float) and not isinstance(beta, bool)
        if not real or not 0 <= beta <= 1:
            raise ValueError(f"`beta` must be a number from 0 to 1. Received: {beta!r}")
        self.beta = float(beta)
        self.seed = seed
        self._generator = keras.random.SeedGenerator(seed)

    def build(
        self,
        local_scores_shape: Sequence[int | None],
        global_scores_shape: Sequence[int | None],
    ) -> None:
        """Checks that both score the same classes."""
        if len(local_scores_shape) != 2 or tuple(local_scores_shape) != tuple(
            global_scores_shape
        ):
            raise ValueError(
                "Local and global scores must have one shape, (batch, classes). Received: "
                f"{tuple(local_scores_shape)} and {tuple(global_scores_shape)}"
            )
        super().build(local_scores_shape)

    def call(self, local_scores: Any, global_scores: Any, training: bool | None = None) -> Any:
        """Returns the mean, or in training one of the two for each class and clip."""
        if not training:
            return self.beta * local_scores + (1.0 - self.beta) * global_scores
        draws = keras.random.uniform(
            ops.shape(local_scores), dtype="float32", seed=self._generator
        )
        return ops.where(draws < self.beta, local_scores, global_scores)

    def compute_output_shape(
        self,
        local_scores_shape: Sequence[int | None],
        global_scores_shape: Sequence[int | None],
    ) -> Sequence[int | None]:
        """Returns the shape of the scores."""
        return local_scores_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "beta": self.beta, "seed": self.seed}
