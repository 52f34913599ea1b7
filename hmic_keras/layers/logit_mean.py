"""The mean of several classifiers' scores, taken where evidence adds up."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ._functional import mean_odds


@keras.saving.register_keras_serializable(package="hmic_keras")
class LogitMean(keras.layers.Layer):
    """Joins the probabilities of several models by the weighted mean of their logits.

    For probabilities `p_m` the answer is `sigmoid(sum_m w_m logit(p_m) / sum_m w_m)`, the
    normalised geometric mean of the odds, also called a logarithmic opinion pool. A model that
    is sure counts for more than in a mean of probabilities. Where no model scores a class above
    its parent, neither does the mean. The layer has no trainable weights, computes in float32,
    and takes probabilities below 1e-7 or above 1 - 1e-7 as those.

    Args:
        weights: Weight of each model, none below 0 and not all 0; None for equal ones. Only
            their ratios count.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(..., num_models, num_classes)`, probabilities.

    Output shape:
        `(..., num_classes)`.

    Raises:
        ValueError: If `weights` are no such numbers, or not one for each model.

    Example:
        >>> import numpy as np
        >>> scores = np.array([[[0.9, 0.5], [0.5, 0.5]]])
        >>> print(np.asarray(LogitMean()(scores)).round(2))
        [[0.75 0.5 ]]

    References:
        Genest and Zidek, "Combining probability distributions: a critique and an annotated
        bibliography", Statistical Science 1(1), 1986.
    """

    def __init__(self, weights: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        numbers = [1.0] if weights is None else list(weights)
        real = [isinstance(w, int | float) and not isinstance(w, bool) for w in numbers]
        if not all(real) or not all(0 <= w < math.inf for w in numbers) or not any(numbers):
            raise ValueError(
                "`weights` must be numbers from 0, one a model and not all 0, or None. "
                f"Received: {weights!r}"
            )
        self.weights_of_models = None if weights is None else [float(w) for w in numbers]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks the number of models."""
        models = input_shape[-2] if len(input_shape) > 1 else None
        if models is None or models != len(self.weights_of_models or [1.0] * models):
            raise ValueError(
                "The input must be (..., num_models, num_classes), with one weight a model. "
                f"Received: input shape {tuple(input_shape)}, weights {self.weights_of_models}"
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the joint probabilities."""
        numbers = self.weights_of_models or [1.0] * inputs.shape[-2]
        shares = [number / sum(numbers) for number in numbers]
        found = mean_odds(ops.cast(inputs, "float32"), shares)
        return ops.cast(found, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """Returns the shape without the models."""
        return (*input_shape[:-2], input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "weights": self.weights_of_models}
