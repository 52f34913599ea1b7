"""Calibration while training."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ._sums import BinnedMetric


@keras.saving.register_keras_serializable(package="hmic_keras")
class CalibrationError(BinnedMetric):
    """Macro expected calibration error over observed labels.

    For each class, the mean over labels of the distance, in its score's bin, between the mean
    score and the share of positives (Guo et al., 2017, in its binary form); then the mean over
    the classes with an observed label. It equals `metrics.calibration_error` with the same
    number of uniform bins, to the rounding of sums (1e-6). A label counts as present above
    0.5.

    Args:
        num_classes: Number of classes.
        num_bins: Number of bins of equal width between 0 and 1, each with its upper edge.
        name: Name of the metric.
        dtype: Dtype of the result.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> metric = CalibrationError(num_classes=2, num_bins=4)
        >>> float(metric([[1, 0], [1, -1]], [[0.75, 0.0], [0.75, 0.9]]))
        0.125
    """

    SUMS = ("labels", "gaps")
    MIN_BINS = 1

    def __init__(
        self,
        num_classes: int,
        num_bins: int = 15,
        name: str = "calibration_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(num_classes, num_bins, name, dtype)

    def bins_of(self, scores: Any) -> Any:
        """Returns the bin of each score."""
        # In float64, as the exact metric: in float32 a score near an edge may round onto it.
        edges = np.linspace(0.0, 1.0, self.num_bins + 1)[1:-1]
        above = ops.expand_dims(ops.cast(scores, "float64"), -1) > edges
        return ops.sum(ops.cast(above, "int32"), axis=-1)

    def terms(self, present: Any, scores: Any) -> dict[str, Any]:
        """Returns what each label adds to each sum, before weights."""
        return {"labels": ops.ones_like(scores), "gaps": scores - present}

    def result(self) -> Any:
        """Returns the mean over the classes with an observed label; 0 if there is none."""
        labels = ops.sum(self.sums("labels"), axis=1)
        gaps = ops.sum(ops.abs(self.sums("gaps")), axis=1)
        return self.mean_over(ops.divide_no_nan(gaps, labels), labels > 0)
