"""Metrics of rankings: average precision and the area under the ROC curve."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..taxonomy import as_labels
from ._checks import Average, check_average, mean, paired


def scored_tags(y_true: ArrayLike) -> NDArray[np.bool_]:
    """Tells which classes the macro averages are taken over.

    Args:
        y_true: Labels, `(clips, classes)`.

    Returns:
        Boolean `(classes,)`: whether the class has an observed positive. The others have no
        average precision and are dropped, not counted as 0.

    Raises:
        LabelError: If `y_true` is not a label array.

    Example:
        >>> scored_tags([[1, 0, -1], [0, 0, -1]]).tolist()
        [True, False, False]
    """
    present = as_labels(y_true, "y_true") > 0.5
    return np.any(present, axis=0)


def average_precision(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Computes the average precision of each class over its observed clips.

    The sum of precision times gain in recall over the distinct scores, without interpolation,
    as in scikit-learn's `average_precision_score`.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.

    Returns:
        `(classes,)`; NaN for a class without an observed positive. A class without an observed
        negative scores 1.

    Raises:
        LabelError: If shapes differ or a label or score is out of its range.

    Example:
        >>> average_precision([[1, 0], [0, 0], [-1, 0]], [[0.9, 0.1], [0.2, 0.3], [1.0, 0.2]])
        array([ 1., nan])
    """
    present, observed, scores = paired(y_true, y_score)
    result = np.full(present.shape[1], np.nan)
    for tag in np.flatnonzero(present.any(axis=0)):
        seen = observed[:, tag]
        result[tag] = _average_precision(present[seen, tag], scores[seen, tag])
    return result


def mean_average_precision(
    y_true: ArrayLike, y_score: ArrayLike, average: Average = "macro"
) -> float:
    """Computes the mean average precision.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.
        average: `"macro"` is the plain mean over the classes of `scored_tags`. `"micro"` ranks
            all observed pairs of clip and class in one list; on scores that obey the
            hierarchy it is the area under the precision-recall curve of C-HMCNN (Giunchiglia
            and Lukasiewicz, 2020).

    Returns:
        The mean, or NaN if no label is an observed positive.

    Raises:
        LabelError: If shapes differ, a label or score is out of its range, or `average` is
            unknown.

    Example:
        >>> labels = [[1, 0], [0, 1], [0, 1]]
        >>> mean_average_precision(labels, [[0.9, 0.3], [0.2, 0.4], [0.1, 0.2]])
        0.9166666666666666
    """
    check_average(average)
    if average == "macro":
        return mean(average_precision(y_true, y_score))
    present, observed, scores = paired(y_true, y_score)
    if not present.any():
        return float("nan")
    return _average_precision(present[observed], scores[observed])


def roc_auc_per_class(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Computes the area under the ROC curve of each class over its observed clips.

    The chance that a positive clip scores above a negative one, a tie counting half, as in
    scikit-learn's `roc_auc_score`.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.

    Returns:
        `(classes,)`; NaN for a class without both an observed positive and an observed
        negative.

    Raises:
        LabelError: If shapes differ or a label or score is out of its range.

    Example:
        >>> roc_auc_per_class([[1, 0], [0, 0], [-1, 0]], [[0.9, 0.1], [0.2, 0.3], [1.0, 0.2]])
        array([ 1., nan])
    """
    present, observed, scores = paired(y_true, y_score)
    result = np.full(present.shape[1], np.nan)
    positives = present.sum(axis=0)
    both = (positives > 0) & (positives < observed.sum(axis=0))
    for tag in np.flatnonzero(both):
        seen = observed[:, tag]
        result[tag] = _roc_auc(present[seen, tag], scores[seen, tag])
    return result


def roc_auc(y_true: ArrayLike, y_score: ArrayLike, average: Average = "macro") -> float:
    """Computes the area under the ROC curve.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.
        average: `"macro"` is the plain mean over the classes with both an observed positive
            and an observed negative. `"micro"` ranks all observed pairs of clip and class in
            one list.

    Returns:
        The area, or NaN if no class, or not the one list, has both.

    Raises:
        LabelError: If shapes differ, a label or score is out of its range, or `average` is
            unknown.

    Example:
        >>> roc_auc([[1, 0], [0, 1], [0, 1]], [[0.9, 0.3], [0.2, 0.4], [0.1, 0.2]])
        0.75
    """
    check_average(average)
    if average == "macro":
        return mean(roc_auc_per_class(y_true, y_score))
    present, observed, scores = paired(y_true, y_score)
    if not present.any() or present[observed].all():
        return float("nan")
    return _roc_auc(present[observed], scores[observed])


def prevalence_baseline(y_true: ArrayLike) -> float:
    """Computes the macro mean average precision that a random ranking tends to.

    Args:
        y_true: Labels, `(clips, classes)`.

    Returns:
        The mean, over the classes of `scored_tags`, of the share of positives among observed
        labels; NaN if there is no such class. A short random ranking does a little better.

    Raises:
        LabelError: If `y_true` is not a label array.

    Example:
        >>> prevalence_baseline([[1, 1, 0], [0, -1, 0], [0, 0, 0], [0, -1, 0]])
        0.375
    """
    labels = as_labels(y_true, "y_true")
    scored = labels[:, scored_tags(labels)]
    return mean((scored > 0.5).sum(axis=0) / (scored >= 0).sum(axis=0))


def cuts(
    present: NDArray[np.bool_], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Counts at each distinct score, highest first, what a cut there would predict.

    Returns:
        The scores, the positives at or above each, and all clips at or above each.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
    return ranked[last], np.cumsum(present[order])[last], last + 1


def _average_precision(present: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    _, hits, predicted = cuts(present, scores)
    gains = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(gains * hits / predicted))


def _roc_auc(present: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    _, hits, predicted = cuts(present, scores)
    false = predicted - hits
    # The trapezium under each step gives a tie half its worth.
    below = np.diff(false, prepend=0) * (hits + np.append(0, hits[:-1])) / 2
    return float(below.sum() / (hits[-1] * false[-1]))
