"""Metrics of rankings, from histograms of the scores."""

import math
from typing import Any

import keras
from keras import ops

from ._sums import BinnedMetric

# Probabilities beyond sigmoid(+-16) share the outermost bins; float32 has few more near 1.
_REACH = 16.0
_LOWEST = 1.0 / (1.0 + math.exp(_REACH))
_BINS = 2048


class _Histogram(BinnedMetric):
    """Counts positives and negatives of each class in bins of equal width in the logit.

    Rare classes score near 0, where bins of equal width in probability see no differences.
    """

    def bins_of(self, scores: Any) -> Any:
        """Returns the bin of each score, the lowest scores in bin 0."""
        scores = ops.clip(scores, _LOWEST, 1.0 - _LOWEST)
        logits = ops.log(scores) - ops.log1p(-scores)
        bins = ops.cast((logits + _REACH) * (self.num_bins / (2 * _REACH)), "int32")
        # Also where a score is NaN, which has no place of its own.
        return ops.clip(bins, 0, self.num_bins - 1)

    def ranked(self) -> tuple[Any, Any]:
        """Returns positives and negatives `(num_classes, num_bins)`, highest scores first."""
        return ops.flip(self.sums("positives"), 1), ops.flip(self.sums("negatives"), 1)


@keras.saving.register_keras_serializable(package="hmic_keras")
class MeanAveragePrecision(_Histogram):
    """Macro mean average precision over observed labels, from score histograms.

    Average precision is the step sum of precision over recall gained, as in
    `metrics.average_precision`, with all scores of a bin taken as tied. It equals the exact
    value where no two different scores share a bin, and otherwise differs for each bin by at
    most its share of the positives times the spread of precision inside it. Classes without
    an observed positive are left out of the mean. A label counts as present above 0.5.

    Args:
        num_classes: Number of classes.
        num_bins: Number of score bins, of equal width in the logit from -16 to 16: 2048 tell
            scores apart that differ by 0.004 around 0.5 and by 1.6 % near 0 and 1.
        name: Name of the metric.
        dtype: Dtype of the result.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> metric = MeanAveragePrecision(num_classes=2)
        >>> float(metric([[1, 0], [0, 1], [0, -1]], [[0.9, 0.8], [0.2, 0.3], [0.1, 0.9]]))
        0.75
    """

    def __init__(
        self, num_classes: int, num_bins: int = _BINS, name: str = "map", dtype: Any = None
    ) -> None:
        super().__init__(num_classes, num_bins, name, dtype)

    def result(self) -> Any:
        """Returns the mean over the classes with a positive; 0 if there is none."""
        positives, negatives = self.ranked()
        found = ops.cumsum(positives, axis=1)
        predicted = found + ops.cumsum(negatives, axis=1)
        total = found[:, -1]
        gained = positives * ops.divide_no_nan(found, predicted)
        scores = ops.divide_no_nan(ops.sum(gained, axis=1), total)
        return self.mean_over(scores, total > 0)


@keras.saving.register_keras_serializable(package="hmic_keras")
class RocAuc(_Histogram):
    """Macro area under the ROC curve over observed labels, from score histograms.

    All scores of a bin are taken as tied, so the area of a class differs from that of
    `metrics.roc_auc_per_class` by at most half the share of its pairs of a positive and a
    negative that fall into one bin. Classes without both an observed positive and an observed
    negative are left out of the mean. A label counts as present above 0.5.

    Args:
        num_classes: Number of classes.
        num_bins: Number of score bins; see `MeanAveragePrecision`.
        name: Name of the metric.
        dtype: Dtype of the result.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> metric = RocAuc(num_classes=2)
        >>> float(metric([[1, 0], [0, 1], [0, -1]], [[0.9, 0.3], [0.2, 0.3], [0.1, 0.9]]))
        0.75
    """

    def __init__(
        self,
        num_classes: int,
        num_bins: int = _BINS,
        name: str = "roc_auc",
        dtype: Any = None,
    ) -> None:
        super().__init__(num_classes, num_bins, name, dtype)

    def result(self) -> Any:
        """Returns the mean over the classes with both kinds; 0 if there is none."""
        positives, negatives = self.ranked()
        found = ops.cumsum(positives, axis=1)
        pairs = found[:, -1] * ops.sum(negatives, axis=1)
        # A negative ranks below all positives of higher bins and beside half of its own.
        won = ops.sum(negatives * (found - positives / 2.0), axis=1)
        return self.mean_over(ops.divide_no_nan(won, pairs), pairs > 0)


@keras.saving.register_keras_serializable(package="hmic_keras")
class BestF1(_Histogram):
    """Macro mean of the highest F1 that a threshold reaches, from score histograms.

    The thresholds tried are the edges of the bins, so the F1 of a class is never above that of
    `metrics.best_f1_per_class`, and below it by at most the fullest bin's negatives over all
    positives. Classes without an observed positive are left out of the mean. A label counts as
    present above 0.5.

    Args:
        num_classes: Number of classes.
        num_bins: Number of score bins; see `MeanAveragePrecision`.
        name: Name of the metric.
        dtype: Dtype of the result.

    Raises:
        ValueError: If a size is not positive.

    Example:
        >>> metric = BestF1(num_classes=1)
        >>> round(float(metric([[1], [0], [1], [0]], [[0.9], [0.5], [0.3], [0.1]])), 4)
        0.8
    """

    def __init__(
        self,
        num_classes: int,
        num_bins: int = _BINS,
        name: str = "best_f1",
        dtype: Any = None,
    ) -> None:
        super().__init__(num_classes, num_bins, name, dtype)

    def result(self) -> Any:
        """Returns the mean over the classes with a positive; 0 if there is none."""
        positives, negatives = self.ranked()
        found = ops.cumsum(positives, axis=1)
        predicted = found + ops.cumsum(negatives, axis=1)
        total = found[:, -1:]
        reached = ops.divide_no_nan(2.0 * found, predicted + total)
        return self.mean_over(ops.max(reached, axis=1), total[:, 0] > 0)
