"""Metrics of decisions: F1, and the thresholds that make it highest."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._checks import Average, as_thresholds, check_average, mean, paired
from ._ranking import cuts


def f1_per_class(
    y_true: ArrayLike, y_score: ArrayLike, thresholds: ArrayLike = 0.5
) -> NDArray[np.float64]:
    """Computes the F1 of each class over its observed clips.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.
        thresholds: One number, or one a class.

    Returns:
        `(classes,)`; NaN for a class without an observed positive.

    Raises:
        LabelError: If shapes differ or a label, score or threshold is out of its range.

    Example:
        >>> f1_per_class([[1], [1], [0], [-1]], [[0.9], [0.2], [0.1], [0.8]])
        array([0.66666667])
    """
    hits, predicted, positives = _counts(y_true, y_score, thresholds)
    result = np.full(len(hits), np.nan)
    scored = positives > 0
    result[scored] = 2 * hits[scored] / (predicted + positives)[scored]
    return result


def f1(
    y_true: ArrayLike,
    y_score: ArrayLike,
    thresholds: ArrayLike = 0.5,
    average: Average = "macro",
) -> float:
    """Computes the F1 over all classes.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.
        thresholds: One number, or one a class.
        average: `"macro"` is the plain mean over the classes of `scored_tags`. `"micro"` counts
            all observed pairs of clip and class together.

    Returns:
        The F1, or NaN if no label is an observed positive.

    Raises:
        LabelError: If shapes differ, a label, score or threshold is out of its range, or
            `average` is unknown.

    Example:
        >>> f1([[1, 0], [1, 1]], [[0.9, 0.6], [0.2, 0.8]], average="micro")
        0.6666666666666666
    """
    check_average(average)
    if average == "macro":
        return mean(f1_per_class(y_true, y_score, thresholds))
    hits, predicted, positives = (c.sum() for c in _counts(y_true, y_score, thresholds))
    return float(2 * hits / (predicted + positives)) if positives else float("nan")


def best_f1_per_class(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Computes the highest F1 that any threshold of each class reaches on these clips.

    It tells how well a class could be decided; an F1 to be reported needs thresholds from
    other clips.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.

    Returns:
        `(classes,)`; NaN for a class without an observed positive. `best_thresholds` gives the
        threshold.

    Raises:
        LabelError: If shapes differ or a label or score is out of its range.

    Example:
        >>> best_f1_per_class([[1], [1], [0], [-1]], [[0.9], [0.2], [0.1], [0.5]])
        array([1.])
    """
    present, observed, scores = paired(y_true, y_score)
    positives = present.sum(axis=0)
    result = np.full(present.shape[1], np.nan)
    for tag in np.flatnonzero(positives):
        seen = observed[:, tag]
        _, hits, predicted = cuts(present[seen, tag], scores[seen, tag])
        result[tag] = np.max(2 * hits / (predicted + positives[tag]))
    return result


def best_f1(y_true: ArrayLike, y_score: ArrayLike) -> float:
    """Computes the mean of `best_f1_per_class` over the classes of `scored_tags`.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.

    Returns:
        The mean, or NaN if no label is an observed positive.

    Raises:
        LabelError: If shapes differ or a label or score is out of its range.

    Example:
        >>> best_f1([[1, 0], [0, 1]], [[0.4, 0.6], [0.3, 0.2]])
        0.8333333333333333
    """
    return mean(best_f1_per_class(y_true, y_score))


def best_thresholds(
    y_true: ArrayLike, y_score: ArrayLike, min_positives: int = 5
) -> NDArray[np.float64]:
    """Finds the threshold of each class that gives its highest F1.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`, of clips kept apart from the test clips.
        min_positives: A class with fewer observed positives, or without an observed negative,
            keeps the threshold 0.5.

    Returns:
        `(classes,)`. A threshold lies halfway between two scores, or between the lowest score
        and 0; of several that are equally good, the highest is taken.

    Raises:
        LabelError: If shapes differ or a label or score is out of its range.

    Example:
        >>> best_thresholds([[1], [1], [0]], [[0.5], [0.25], [0.125]], min_positives=1)
        array([0.1875])
    """
    present, observed, scores = paired(y_true, y_score)
    result = np.full(present.shape[1], 0.5)
    positives = present.sum(axis=0)
    usable = (positives >= max(min_positives, 1)) & (positives < observed.sum(axis=0))
    for tag in np.flatnonzero(usable):
        seen = observed[:, tag]
        limits, hits, predicted = cuts(present[seen, tag], scores[seen, tag])
        best = int(np.argmax(2 * hits / (predicted + positives[tag])))
        below = limits[best + 1] if best + 1 < len(limits) else 0.0
        middle = (limits[best] + below) / 2
        # Between neighbouring floats the mean may round down to the score to be left out.
        result[tag] = middle if middle > below else limits[best]
    return result


def _counts(
    y_true: ArrayLike, y_score: ArrayLike, thresholds: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    present, observed, scores = paired(y_true, y_score)
    cutoffs = as_thresholds(thresholds, "thresholds", present.shape[1])
    predicted = (scores >= cutoffs) & observed
    return (predicted & present).sum(axis=0), predicted.sum(axis=0), present.sum(axis=0)
