"""What the metrics take: checks of labels, scores and thresholds."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ..taxonomy import Taxonomy, as_labels

Average = Literal["macro", "micro"]
Thresholds = Mapping[str, ArrayLike]

# Sums of float32 probabilities may pass 1 by a rounding error.
_ROUNDING = 1e-6


def check_average(average: str) -> None:
    if average not in ("macro", "micro"):
        raise LabelError(f"'average' must be 'macro' or 'micro'. Received: {average!r}")


def as_scores(values: ArrayLike, what: str) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.ndim != 2:
        raise LabelError(
            f"Scores of {what!r} must be numbers of the shape (clips, classes). Received: "
            f"{array.dtype}, {array.shape}"
        )
    scores = array.astype(np.float64)
    wrong = ~((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise LabelError(
            f"Scores of {what!r} must be probabilities in [0, 1], without NaN. Received: "
            f"{scores[row, column]:g} in row {row}, column {column}"
        )
    return scores


def as_thresholds(values: ArrayLike, what: str, classes: int) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf" or array.shape not in ((), (classes,)):
        raise LabelError(
            f"{what!r} must be one number or one for each of the {classes} classes. Received: "
            f"{array.dtype}, {array.shape}"
        )
    cutoffs = array.astype(np.float64)
    if not ((cutoffs >= 0) & (cutoffs <= 1)).all():
        raise LabelError(f"{what!r} must lie in [0, 1]. Received: {values!r}")
    return np.broadcast_to(cutoffs, classes)


def paired(
    y_true: ArrayLike, y_score: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Checks labels and scores; returns which labels are present and observed, and scores."""
    labels = as_labels(y_true, "y_true")
    scores = as_scores(y_score, "y_score")
    if labels.shape != scores.shape:
        raise LabelError(
            "'y_true' and 'y_score' must have the same shape (clips, classes). Received: "
            f"{labels.shape} and {scores.shape}"
        )
    return labels > 0.5, labels >= 0, scores


def score_arrays(
    taxonomy: Taxonomy, scores: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float64]]:
    for level in scores:
        taxonomy.classes(level)
    missing = [level for level in taxonomy.levels if level not in scores]
    if missing:
        raise LabelError(f"Scores must be given for every level. Missing: {', '.join(missing)}")
    arrays = {level: as_scores(scores[level], level) for level in taxonomy.levels}
    rows = len(arrays[taxonomy.levels[0]])
    for level, array in arrays.items():
        expected = (rows, len(taxonomy.classes(level)))
        if array.shape != expected:
            raise LabelError(
                f"Scores of {level!r} must have the shape {expected}. Received: {array.shape}"
            )
    return arrays


def checked(
    taxonomy: Taxonomy, y_true: Mapping[str, ArrayLike], y_score: Mapping[str, ArrayLike]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float64]]]:
    """Closes the labels and checks that the scores cover the same clips."""
    truth = taxonomy.close_labels(y_true)
    scores = score_arrays(taxonomy, y_score)
    finest = taxonomy.levels[0]
    if len(truth[finest]) != len(scores[finest]):
        raise LabelError(
            "Labels and scores must have the same number of rows. Received: "
            f"{len(truth[finest])} and {len(scores[finest])}"
        )
    return truth, scores


def cutoffs_by_level(
    taxonomy: Taxonomy, thresholds: Thresholds | None
) -> dict[str, NDArray[np.float64]]:
    given = {} if thresholds is None else dict(thresholds)
    for level in given:
        taxonomy.classes(level)
    return {
        level: as_thresholds(
            given.get(level, 0.5), f"thresholds of {level}", len(taxonomy.classes(level))
        )
        for level in taxonomy.levels
    }


def mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
