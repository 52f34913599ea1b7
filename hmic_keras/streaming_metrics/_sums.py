"""What the metrics with a state for each class and bin share."""

from typing import Any

import keras
from keras import ops

from ..losses import label_weights, observed


class BinnedMetric(keras.metrics.Metric):
    """Base of the metrics that sum over the scores of a class that fall into a bin.

    A subclass names its sums, finds the bin of a score in `bins_of` and reads `sums` in
    `result`. Sums are float64: float32 stops counting at 2^24 labels.

    Args:
        num_classes: Number of classes.
        num_bins: Number of bins.
        name: Name of the metric.
        dtype: Dtype of the result.

    Raises:
        ValueError: If a size is not positive.
    """

    SUMS: tuple[str, ...] = ("positives", "negatives")
    MIN_BINS = 2

    def __init__(self, num_classes: int, num_bins: int, name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        if num_classes < 1 or num_bins < self.MIN_BINS:
            raise ValueError(
                f"`num_classes` must be at least 1 and `num_bins` at least {self.MIN_BINS}. "
                f"Received: num_classes={num_classes}, num_bins={num_bins}"
            )
        self.num_classes = num_classes
        self.num_bins = num_bins
        self._sums = {
            kind: self.add_weight(
                shape=(num_classes * num_bins,),
                initializer="zeros",
                dtype="float64",
                name=kind,
            )
            for kind in self.SUMS
        }

    def bins_of(self, scores: Any) -> Any:
        """Returns the bin of each score, int32 from 0 to `num_bins - 1`."""
        raise NotImplementedError

    def terms(self, present: Any, scores: Any) -> dict[str, Any]:
        """Returns what each label adds to each sum, before weights."""
        return {"positives": present, "negatives": 1.0 - present}

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch of labels and scores `(batch, num_classes)`, weights `(batch,)`."""
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        known = observed(y_true)
        weights = label_weights(known, sample_weight, "float32")
        present = ops.cast(ops.greater(y_true, 0.5), "float32")
        scores = ops.where(known, y_pred, ops.zeros_like(y_pred))
        cells = self.bins_of(scores) + ops.arange(self.num_classes) * self.num_bins
        cells = ops.reshape(cells, (-1,))
        size = self.num_classes * self.num_bins
        for kind, values in self.terms(present, scores).items():
            # One batch in float32 loses nothing, and scatters wherever Keras runs.
            flat = ops.reshape(values * weights, (-1,))
            batch = ops.segment_sum(flat, cells, num_segments=size)
            self._sums[kind].assign_add(ops.cast(batch, "float64"))

    def sums(self, kind: str) -> Any:
        """Returns one of the sums, float64 `(num_classes, num_bins)`."""
        return ops.reshape(self._sums[kind], (self.num_classes, self.num_bins))

    def mean_over(self, scores: Any, counted: Any) -> Any:
        """Returns the mean of the classes' scores where `counted`; 0 if there are none."""
        counted = ops.cast(counted, "float64")
        total = ops.sum(scores * counted) / ops.maximum(ops.sum(counted), 1.0)
        return ops.cast(total, self.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "num_classes": self.num_classes,
            "num_bins": self.num_bins,
            "name": self.name,
            "dtype": self.dtype,
        }
