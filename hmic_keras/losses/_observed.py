"""What every loss here does with unobserved labels."""

from typing import Any

import keras
from keras import ops


def observed(labels: Any) -> Any:
    """Returns where labels are observed, as booleans of the same shape.

    Args:
        labels: Array of labels; -1 (any negative) and NaN are unobserved.

    Example:
        >>> import numpy as np
        >>> np.asarray(observed(np.array([1.0, 0.0, -1.0, np.nan]))).tolist()
        [True, True, False, False]
    """
    return ops.greater_equal(labels, 0)


def label_weights(known: Any, sample_weight: Any, dtype: Any) -> Any:
    """Returns the weight of every label: that of its clip where observed, 0 elsewhere.

    Args:
        known: Where labels are observed, `(batch, classes)`.
        sample_weight: None, or `(batch,)`, `(batch, 1)` or `(batch, classes)`.
        dtype: Dtype of the result.

    Returns:
        `(batch, classes)`.

    Example:
        >>> import numpy as np
        >>> known = np.array([[True, False], [True, True]])
        >>> np.asarray(label_weights(known, np.array([2.0, 0.5]), "float32")).tolist()
        [[2.0, 0.0], [0.5, 0.5]]
    """
    weights = ops.cast(known, dtype)
    if sample_weight is None:
        return weights
    sample_weight = ops.cast(sample_weight, dtype)
    if len(sample_weight.shape) == 1:
        sample_weight = ops.expand_dims(sample_weight, axis=-1)
    return weights * sample_weight


class ObservedMean(keras.losses.Loss):
    """Base of the losses: the weighted mean over the observed labels of a batch.

    A subclass gives the loss of every label in `label_losses`; where a label is unobserved it
    sees a label and a prediction of 0, and its answer does not count. A batch without any
    observed label gives 0.

    Args:
        name: Name of the loss.
        dtype: Dtype of the computation.

    Call arguments:
        y_true: Labels `(batch, classes)`; negative or NaN where unobserved.
        y_pred: Predictions of the same shape.
        sample_weight: Optional, `(batch,)` or `(batch, classes)`.

    Raises:
        ValueError: If labels and predictions differ in shape.
    """

    def __init__(self, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, reduction="mean_with_sample_weight", dtype=dtype)

    def label_losses(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`."""
        raise NotImplementedError

    def weigh(self, weights: Any) -> Any:
        """Returns the weights of the labels in the mean, from those of their clips."""
        return weights

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the mean loss over the observed labels, a scalar."""
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        _check_shapes(y_true.shape, y_pred.shape)
        weights = label_weights(observed(y_true), sample_weight, self.dtype)
        return super().__call__(y_true, y_pred, sample_weight=self.weigh(weights))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of every label `(batch, classes)`, unobserved ones taken as 0."""
        known = observed(y_true)
        y_true = ops.where(known, y_true, ops.zeros_like(y_true))
        # A weight of 0 would not silence a prediction whose loss or gradient is infinite.
        y_pred = ops.where(known, y_pred, ops.zeros_like(y_pred))
        return self.label_losses(y_true, y_pred)


def _check_shapes(labels: Any, predictions: Any) -> None:
    # Broadcasting would let a label column of one class stand for all of them.
    if None in (getattr(labels, "rank", 0), getattr(predictions, "rank", 0)):
        return
    pairs = zip(labels, predictions, strict=False)
    differ = any(a != b for a, b in pairs if a is not None and b is not None)
    if differ or len(labels) != len(predictions):
        raise ValueError(
            "Labels must have the shape of the predictions, (batch, classes). Received: "
            f"labels {tuple(labels)}, predictions {tuple(predictions)}"
        )
