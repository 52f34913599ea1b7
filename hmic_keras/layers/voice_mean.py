"""The mean of several voices, each trained by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="hmic_keras")
class VoiceMean(keras.layers.Layer):
    """Answers the mean of several voices, and trains each of them on the labels by itself.

    In training it stacks the voices along the batch, so that a clip has as many rows as there
    are voices; the loss of our models then repeats the labels by `loss_view`. The loss is so
    the mean of the voices' losses, and not that of their mean: no voice learns only what the
    others leave over.

    Args:
        weights: Weight of each voice in the answer, none below 0; None for equal ones. Only
            their ratios count.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        Dict by level of scores `(batch, num_voices, num_classes)`.

    Output shape:
        Dict by level of scores `(batch, num_classes)`; in training
        `(num_voices * batch, num_classes)`, the first voice's rows first.

    Raises:
        ValueError: If `weights` are not positive numbers, one a voice.

    Example:
        >>> import numpy as np
        >>> voices = {"fine": np.array([[[0.2, 1.0], [0.6, 0.0]]])}
        >>> print(np.asarray(VoiceMean()(voices)["fine"]).round(2))
        [[0.4 0.5]]
        >>> VoiceMean()(voices, training=True)["fine"].shape
        TensorShape([2, 2])
    """

    stacks_voices = True

    def __init__(self, weights: Sequence[float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        numbers = [1.0] if weights is None else list(weights)
        real = [isinstance(w, int | float) and not isinstance(w, bool) for w in numbers]
        if not all(real) or not all(0 <= w < float("inf") for w in numbers) or not any(numbers):
            raise ValueError(
                "`weights` must be numbers from 0, one a voice and not all 0, or None. "
                f"Received: {weights!r}"
            )
        self.weights_of_voices = None if weights is None else [float(w) for w in numbers]

    def build(self, input_shape: Mapping[str, Sequence[int | None]]) -> None:
        """Checks the shapes."""
        count = {shape[1] if len(shape) == 3 else None for shape in input_shape.values()}
        expected = count if self.weights_of_voices is None else {len(self.weights_of_voices)}
        if len(count) != 1 or None in count or count != expected:
            raise ValueError(
                "The input must be a dict by level of (batch, num_voices, num_classes), with "
                f"one weight a voice. Received: {input_shape}, weights "
                f"{self.weights_of_voices}"
            )
        super().build(input_shape)

    def call(self, scores: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Returns the mean over the voices; in training the voices one below the other."""
        if training:
            return {
                level: ops.reshape(ops.transpose(x, (1, 0, 2)), (-1, x.shape[-1]))
                for level, x in scores.items()
            }
        return {level: self._mean(x, axis=1) for level, x in scores.items()}

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the shapes of the means."""
        return {level: (shape[0], shape[-1]) for level, shape in input_shape.items()}

    def loss_view(
        self, labels: Mapping[str, Any], scores: Mapping[str, Any], sample_weight: Any = None
    ) -> tuple[dict[str, Any], Mapping[str, Any], Any]:
        """Returns labels, scores and weights that the loss compares: one row a voice and clip.

        Args:
            labels: By level, `(batch, num_classes)`.
            scores: What the layer returned in training.
            sample_weight: None, an array `(batch,)` or `(batch, classes)`, or a dict of these.
        """
        rows = ops.shape(next(iter(scores.values())))[0]

        def repeated(values: Any) -> Any:
            values = ops.convert_to_tensor(values)
            times = rows // ops.shape(values)[0]
            return ops.tile(values, [times] + [1] * (len(values.shape) - 1))

        if sample_weight is not None:
            sample_weight = keras.tree.map_structure(repeated, sample_weight)
        return {level: repeated(y) for level, y in labels.items()}, scores, sample_weight

    def answer(self, scores: Mapping[str, Any], rows: Any) -> dict[str, Any]:
        """Returns the mean over the voices of what the layer returned in training.

        Args:
            scores: By level, `(num_voices * batch, num_classes)`, or one answer a clip.
            rows: The number of clips.
        """
        return {
            level: ops.mean(ops.reshape(x, (-1, rows, x.shape[-1])), axis=0)
            for level, x in scores.items()
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "weights": self.weights_of_voices}

    def _mean(self, voices: Any, axis: int) -> Any:
        if self.weights_of_voices is None:
            return ops.mean(voices, axis=axis)
        total = sum(self.weights_of_voices)
        shares = ops.convert_to_tensor(
            [[[w / total] for w in self.weights_of_voices]], dtype=voices.dtype
        )
        return ops.sum(voices * shares, axis=axis)
