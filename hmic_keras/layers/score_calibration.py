"""Calibration: probabilities that are right as often as they say."""

from typing import Any

import keras
import numpy as np

from ._functional import rescaled_odds


@keras.saving.register_keras_serializable(package="hmic_keras")
class ScoreCalibration(keras.layers.Layer):
    """Rescales probabilities in logit space, each class by its own line (Platt, 1999).

    A class's probability `p` becomes `sigmoid(scale * logit(p) + offset)`, with the constants
    of the class. As every scale is positive, the order of the clips stays what it was. The
    layer has no weights, computes in float32, and takes probabilities below 1e-7 or above
    1 - 1e-7 as those.

    Args:
        scale: Positive numbers, `(num_classes,)`; below 1 makes answers less extreme.
        offset: Numbers, `(num_classes,)`; below 0 makes a class rarer.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(..., num_classes)`, probabilities.

    Output shape:
        The same.

    Raises:
        ValueError: If `scale` and `offset` are not finite numbers of one length, a scale is
            not positive, or the last axis of the input is not that long.

    Example:
        >>> import numpy as np
        >>> layer = ScoreCalibration(scale=[1.0, 0.5], offset=[0.0, 0.0])
        >>> print(np.asarray(layer(np.array([[0.9, 0.9]]))).round(2))
        [[0.9  0.75]]

    References:
        Platt, "Probabilistic outputs for support vector machines", 1999. Guo, Pleiss, Sun and
        Weinberger, "On calibration of modern neural networks", ICML 2017.
    """

    def __init__(self, scale: Any, offset: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._scale = _numbers("scale", scale)
        self._offset = _numbers("offset", offset)
        if self._scale.shape != self._offset.shape:
            raise ValueError(
                "`scale` and `offset` need one number for each class. Received: "
                f"{len(self._scale)} and {len(self._offset)}"
            )
        if not (self._scale > 0).all():
            raise ValueError(
                "`scale` must be positive, since other scales reverse the order of the "
                f"clips. Received: {self._scale.tolist()}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Checks the number of classes."""
        if input_shape[-1] != len(self._scale):
            raise ValueError(
                f"The last axis of the input must be the {len(self._scale)} classes of `scale`."
                f" Received: input shape {tuple(input_shape)}"
            )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the calibrated probabilities."""
        found = rescaled_odds(keras.ops.cast(inputs, "float32"), self._scale, self._offset)
        return keras.ops.cast(found, self.compute_dtype)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple:
        """Returns the shape of the input."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "scale": self._scale.tolist(),
            "offset": self._offset.tolist(),
        }


def _numbers(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values, "float64")
    except (TypeError, ValueError):
        array = np.empty((0, 0))
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"`{name}` must be finite numbers, one for each class. Received: {values!r}"
        )
    return array
