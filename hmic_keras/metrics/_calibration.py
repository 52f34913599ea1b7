"""Metrics of calibration: whether a score of 0.7 is right seven times in ten."""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ._checks import Average, check_average, mean, paired

Strategy = Literal["uniform", "quantile"]


def calibration_error_per_class(
    y_true: ArrayLike,
    y_score: ArrayLike,
    bins: int = 15,
    strategy: Strategy = "uniform",
) -> NDArray[np.float64]:
    """Computes the expected calibration error of each class over its observed clips.

    Scores of a class are sorted into bins; the error is the mean over clips of the distance,
    in its bin, between the mean score and the share of positives. It is the binary form of
    the expected calibration error: the score of the class itself is compared, not the
    confidence in the likelier answer.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.
        bins: Number of bins.
        strategy: `"uniform"` for bins of equal width, each holding its upper edge.
            `"quantile"` for bins of equally many clips (adaptive calibration error), which
            looks closer where the scores are; equal scores stay in one bin.

    Returns:
        `(classes,)`; NaN for a class without an observed label. A class without positives has
        an error, unlike in the other metrics: its scores ought to be 0.

    Raises:
        LabelError: If shapes differ, a label or score is out of its range, `bins` is not a
            positive integer, or `strategy` is unknown.

    References:
        Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", 2017. By
        class, and with equally filled bins: Nixon et al., "Measuring calibration in deep
        learning", 2019.

    Example:
        >>> calibration_error_per_class([[1], [0], [0], [-1]], [[0.9], [0.2], [0.0], [0.5]])
        array([0.1])
    """
    _check_bins(bins, strategy)
    present, observed, scores = paired(y_true, y_score)
    result = np.full(present.shape[1], np.nan)
    for tag in np.flatnonzero(observed.any(axis=0)):
        seen = observed[:, tag]
        result[tag] = _calibration_error(present[seen, tag], scores[seen, tag], bins, strategy)
    return result


def calibration_error(
    y_true: ArrayLike,
    y_score: ArrayLike,
    bins: int = 15,
    strategy: Strategy = "uniform",
    average: Average = "macro",
) -> float:
    """Computes the expected calibration error over all classes.

    Args:
        y_true: Labels, `(clips, classes)`.
        y_score: Scores in [0, 1], `(clips, classes)`.
        bins: Number of bins.
        strategy: See `calibration_error_per_class`.
        average: `"macro"` is the plain mean over the classes with an observed label (classwise
            or static calibration error). `"micro"` takes all observed pairs of clip and class
            as one list, where classes that score too high and too low can even out.

    Returns:
        The error, or NaN if no label is observed.

    Raises:
        LabelError: As `calibration_error_per_class`, or if `average` is unknown.

    Example:
        >>> calibration_error([[1, 0]], [[0.75, 0.0]], bins=4)
        0.125
    """
    check_average(average)
    if average == "macro":
        return mean(calibration_error_per_class(y_true, y_score, bins, strategy))
    _check_bins(bins, strategy)
    present, observed, scores = paired(y_true, y_score)
    if not observed.any():
        return float("nan")
    return _calibration_error(present[observed], scores[observed], bins, strategy)


def brier_score_per_class(y_true: ArrayLike, y_score: ArrayLike) -> NDArray[np.float64]:
    """Computes the mean squared error of each class's scores over its observed clips.

    Args:
        y_true: Labels, `(clips, classes)`; one given as a probability counts as 1 or 0.
        y_score: Scores in [0, 1], `(clips, classes)`.

    Returns:
        `(classes,)`; NaN for a class without an observed label.

    Raises:
        LabelError: If shapes differ or a label or score is out of its range.

    Example:
        >>> brier_score_per_class([[1, -1], [0, -1]], [[0.5, 0.5], [0.0, 0.5]])
        array([0.125,   nan])
    """
    present, observed, scores = paired(y_true, y_score)
    errors = np.where(observed, np.square(scores - present), 0.0).sum(axis=0)
    clips = observed.sum(axis=0)
    return np.where(clips > 0, errors / np.maximum(clips, 1), np.nan)


def brier_score(y_true: ArrayLike, y_score: ArrayLike, average: Average = "macro") -> float:
    """Computes the mean squared error of the scores over all classes.

    Args:
        y_true: Labels, `(clips, classes)`; one given as a probability counts as 1 or 0.
        y_score: Scores in [0, 1], `(clips, classes)`.
        average: `"macro"` is the plain mean over the classes with an observed label,
            `"micro"` that over all observed pairs of clip and class.

    Returns:
        The mean, or NaN if no label is observed.

    Raises:
        LabelError: If shapes differ, a label or score is out of its range, or `average` is
            unknown.

    Example:
        >>> brier_score([[1, 0]], [[0.5, 0.0]])
        0.125
    """
    check_average(average)
    if average == "macro":
        return mean(brier_score_per_class(y_true, y_score))
    present, observed, scores = paired(y_true, y_score)
    return mean(np.square(scores - present)[observed])


def _calibration_error(
    present: NDArray[np.bool_], scores: NDArray[np.float64], bins: int, strategy: Strategy
) -> float:
    edges = np.linspace(0.0, 1.0, bins + 1)
    if strategy == "quantile":
        edges = np.percentile(scores, 100 * edges)
    cells = np.searchsorted(edges[1:-1], scores)
    gaps = np.bincount(cells, weights=scores - present, minlength=bins)
    return float(np.abs(gaps).sum() / len(scores))


def _check_bins(bins: int, strategy: str) -> None:
    if isinstance(bins, bool) or not isinstance(bins, int) or bins < 1:
        raise LabelError(f"'bins' must be a positive integer. Received: {bins!r}")
    if strategy not in ("uniform", "quantile"):
        raise LabelError(f"'strategy' must be 'uniform' or 'quantile'. Received: {strategy!r}")
