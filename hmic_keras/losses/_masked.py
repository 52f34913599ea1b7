"""Keras' own losses over observed labels."""

from typing import Any

import keras
from keras import ops

from . import _binary
from ._observed import ObservedMean

_ELEMENTWISE = (
    keras.losses.BinaryCrossentropy,
    keras.losses.BinaryFocalCrossentropy,
    keras.losses.MeanSquaredError,
    keras.losses.MeanAbsoluteError,
    keras.losses.Huber,
    keras.losses.LogCosh,
    keras.losses.Poisson,
)


@keras.saving.register_keras_serializable(package="hmic_keras")
class MaskedLoss(ObservedMean):
    """Applies an elementwise Keras loss to the observed labels only.

    The result is the mean over all observed labels of the batch, each weighted by the sample
    weight of its clip; a batch without any gives 0.

    Args:
        loss: Name or instance of a Keras loss that treats every class by itself, such as
            `"binary_crossentropy"`. Its own reduction must be a mean, which this one replaces.
        name: Name of the loss; that of `loss` by default.
        dtype: Dtype of the computation.

    Call arguments:
        y_true: Labels `(batch, classes)`; negative or NaN where unobserved.
        y_pred: Predictions of the same shape.
        sample_weight: Optional, `(batch,)` or `(batch, classes)`.

    Raises:
        ValueError: If `loss` mixes classes (categorical losses do), so that leaving out one
            label has no meaning; if it sums or does not reduce; or if labels and predictions
            differ in shape.

    Example:
        >>> loss = MaskedLoss("mean_squared_error")
        >>> float(loss([[1.0, -1.0]], [[0.5, 0.9]]))
        0.25
    """

    def __init__(
        self,
        loss: Any = "binary_crossentropy",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        resolved = _resolve(loss)
        super().__init__(name=name or resolved.name, dtype=dtype)
        self.loss = resolved

    def label_losses(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        # Keras reduces the last axis; with one of length 1 every label keeps its own loss.
        return self.loss.call(ops.expand_dims(y_true, -1), ops.expand_dims(y_pred, -1))

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "loss": keras.saving.serialize_keras_object(self.loss),
            "name": self.name,
            "dtype": self.dtype,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MaskedLoss":
        """Rebuilds the loss with the one it wraps."""
        config = dict(config)
        config["loss"] = keras.saving.deserialize_keras_object(config["loss"])
        return cls(**config)


def mask_unobserved(loss: Any) -> Any:
    """Returns a loss for labels with unobserved ones, as `compile` of our models applies it.

    Args:
        loss: A name that `get` or Keras knows, or a built-in Keras loss or loss function. A
            loss of this module and a loss of the user's own come back as they are: the latter
            sees the -1 itself.

    Raises:
        ValueError: If a built-in loss mixes classes.
    """
    if isinstance(loss, str) and loss in _binary.NAMES:
        return _binary.get(loss)
    built_in = isinstance(loss, str) or type(loss).__module__.startswith("keras.")
    if callable(loss) and getattr(loss, "__module__", "").startswith("keras."):
        built_in = True
    return MaskedLoss(loss) if built_in else loss


def _resolve(loss: Any) -> keras.losses.Loss:
    name = getattr(loss, "__name__", loss)
    resolved = loss if isinstance(loss, keras.losses.Loss) else None
    if isinstance(name, str):
        wanted = name.replace("_", "").lower()
        known = {cls.__name__.lower(): cls for cls in _ELEMENTWISE}
        known |= {"mse": keras.losses.MeanSquaredError, "mae": keras.losses.MeanAbsoluteError}
        resolved = known[wanted]() if wanted in known else None
    if not isinstance(resolved, _ELEMENTWISE):
        names = ", ".join(cls.__name__ for cls in _ELEMENTWISE)
        raise ValueError(
            "`loss` must treat every class by itself, so that unobserved labels can be left "
            f"out: one of {names}, by name or as an instance. For another rule pass a loss of "
            f"your own that handles labels of -1. Received: {loss!r}"
        )
    if resolved.reduction in ("sum", "none", None) or getattr(resolved, "axis", -1) != -1:
        raise ValueError(
            "`loss` must reduce to a mean over the last axis, since the mean over observed "
            f"labels takes its place. Received: {loss!r} with "
            f"reduction={resolved.reduction!r}, axis={getattr(resolved, 'axis', -1)}"
        )
    return resolved
