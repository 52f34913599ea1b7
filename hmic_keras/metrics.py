"""Evaluation metrics for hierarchical multi-label classification with unobserved labels.

Labels are `(clips, classes)` arrays: 1 present, 0 absent, between them a probability that
counts as present above 0.5 (the rule of OpenMIC-2018), -1 or NaN unobserved. Scores are
probabilities of the same shape. An unobserved label takes no part in any metric. A class is
predicted where its score reaches its threshold: `score >= threshold`.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import LabelError
from .taxonomy import Taxonomy, as_labels

__all__ = [
    "average_precision",
    "best_thresholds",
    "clip_violation_rate",
    "evaluate",
    "f1",
    "f1_per_class",
    "hierarchical_precision_recall_f",
    "mean_average_precision",
    "prevalence_baseline",
    "scored_tags",
    "violation_rate",
]

Average = Literal["macro", "micro"]
Thresholds = Mapping[str, ArrayLike]

# Sums of float32 probabilities may pass 1 by a rounding error.
_ROUNDING = 1e-6


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
    present, observed, scores = _paired(y_true, y_score)
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
    _check_average(average)
    if average == "macro":
        return _mean(average_precision(y_true, y_score))
    present, observed, scores = _paired(y_true, y_score)
    if not present.any():
        return float("nan")
    return _average_precision(present[observed], scores[observed])


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
    return _mean((scored > 0.5).sum(axis=0) / (scored >= 0).sum(axis=0))


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
    _check_average(average)
    if average == "macro":
        return _mean(f1_per_class(y_true, y_score, thresholds))
    hits, predicted, positives = (c.sum() for c in _counts(y_true, y_score, thresholds))
    return float(2 * hits / (predicted + positives)) if positives else float("nan")


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
    present, observed, scores = _paired(y_true, y_score)
    result = np.full(present.shape[1], 0.5)
    positives = present.sum(axis=0)
    usable = (positives >= max(min_positives, 1)) & (positives < observed.sum(axis=0))
    for tag in np.flatnonzero(usable):
        seen = observed[:, tag]
        cuts, hits, predicted = _cuts(present[seen, tag], scores[seen, tag])
        best = int(np.argmax(2 * hits / (predicted + positives[tag])))
        below = cuts[best + 1] if best + 1 < len(cuts) else 0.0
        middle = (cuts[best] + below) / 2
        # Between neighbouring floats the mean may round down to the score to be left out.
        result[tag] = middle if middle > below else cuts[best]
    return result


def hierarchical_precision_recall_f(
    taxonomy: Taxonomy,
    y_true: Mapping[str, ArrayLike],
    y_score: Mapping[str, ArrayLike],
    thresholds: Thresholds | None = None,
) -> tuple[float, float, float]:
    """Computes hierarchical precision, recall and F over all clips (micro).

    Predicted and true classes of a clip are each completed by all their ancestors and then
    compared as sets of classes of all levels. There is no root class. Labels are completed by
    `Taxonomy.close_labels`; a class that stays unobserved in a clip is left out of both sets,
    and its prediction adds no ancestor either.

    Args:
        taxonomy: The hierarchy.
        y_true: Labels of at least one level, each `(clips, classes)`.
        y_score: Scores of every level, each `(clips, classes)`.
        thresholds: Level to one number or one a class; 0.5 for a level that is not given.

    Returns:
        Precision, recall and F. A ratio without a denominator is 0.

    Raises:
        LabelError: If shapes differ, or a label, score or threshold is out of its range.
        TaxonomyError: If a level is unknown.

    References:
        Kiritchenko, Matwin, Nock and Famili, "Learning and evaluation in the presence of class
        hierarchies", 2006. Silla and Freitas, "A survey of hierarchical classification across
        different application domains", 2011.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
        >>> scores = {"fine": [[0.1, 0.9, 0.0]], "coarse": [[0.4, 0.0]]}
        >>> hierarchical_precision_recall_f(taxonomy, {"fine": [[1, 0, 0]]}, scores)
        (0.5, 0.5, 0.5)
    """
    truth, scores = _checked(taxonomy, y_true, y_score)
    cutoffs = _cutoffs(taxonomy, thresholds)
    observed = {level: truth[level] >= 0 for level in taxonomy.levels}
    predicted = _with_ancestors(
        taxonomy,
        {lv: (scores[lv] >= cutoffs[lv]) & observed[lv] for lv in taxonomy.levels},
    )
    hits = claims = positives = 0
    for level in taxonomy.levels:
        present = truth[level] > 0.5
        claimed = predicted[level] & observed[level]
        hits += int((claimed & present).sum())
        claims += int(claimed.sum())
        positives += int(present.sum())
    return _ratio(hits, claims), _ratio(hits, positives), _ratio(2 * hits, claims + positives)


def violation_rate(
    taxonomy: Taxonomy, scores: Mapping[str, ArrayLike], tolerance: float = 1e-9
) -> float:
    """Computes how often a class scores above its parent.

    Args:
        taxonomy: The hierarchy.
        scores: Scores of every level, each `(clips, classes)`.
        tolerance: By how much the child may exceed the parent.

    Returns:
        Share of direct parent-child pairs over all clips with `child > parent + tolerance`;
        NaN if there are no pairs.

    Raises:
        LabelError: If a level is missing, shapes differ, or a score is out of its range.
        TaxonomyError: If a level is unknown.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"]})
        >>> violation_rate(taxonomy, {"fine": [[0.9, 0.1]], "coarse": [[0.5]]})
        0.5
    """
    arrays = _score_arrays(taxonomy, scores)
    violations = pairs = 0
    for parent, child, links in _direct(taxonomy):
        above = arrays[parent][:, links[:, 0]] + tolerance
        broken = arrays[child][:, links[:, 1]] > above
        violations += int(broken.sum())
        pairs += broken.size
    return violations / pairs if pairs else float("nan")


def clip_violation_rate(taxonomy: Taxonomy, scores: Mapping[str, ArrayLike]) -> float:
    """Computes how many clips are given a class without its parent, thresholding at 0.5.

    Args:
        taxonomy: The hierarchy.
        scores: Scores of every level, each `(clips, classes)`.

    Returns:
        Share of clips with at least one predicted class that has a direct parent that is not
        predicted; NaN if there are no clips or no links.

    Raises:
        LabelError: If a level is missing, shapes differ, or a score is out of its range.
        TaxonomyError: If a level is unknown.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"]})
        >>> clip_violation_rate(taxonomy, {"fine": [[0.9], [0.4]], "coarse": [[0.2], [0.2]]})
        0.5
    """
    arrays = _score_arrays(taxonomy, scores)
    broken = np.zeros(len(next(iter(arrays.values()))), bool)
    direct = _direct(taxonomy)
    for parent, child, links in direct:
        lacking = (arrays[child][:, links[:, 1]] >= 0.5) & (
            arrays[parent][:, links[:, 0]] < 0.5
        )
        broken |= lacking.any(axis=1)
    return float(broken.mean()) if direct and broken.size else float("nan")


def evaluate(
    taxonomy: Taxonomy,
    y_true: Mapping[str, ArrayLike],
    y_score: Mapping[str, ArrayLike],
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """Computes every metric of this module, for every level.

    Labels are completed by `Taxonomy.close_labels` first, so parent levels need not be given.

    Args:
        taxonomy: The hierarchy.
        y_true: Labels of at least one level, each `(clips, classes)`.
        y_score: Scores of every level, each `(clips, classes)`.
        thresholds: Level to one number or one a class; 0.5 for a level that is not given. They
            serve F1 and the hierarchical metrics.

    Returns:
        A dict ready for JSON, with None where a metric is not defined: `"levels"` with, for
        each level, `{"map", "map_micro", "map_baseline", "f1", "f1_micro", "tags_scored",
        "tags_dropped", "per_class": {name: {"ap", "f1", "positives", "observed"}}}`;
        `"hierarchical": {"precision", "recall", "f"}`; `"violation_rate"` and
        `"clip_violation_rate"`.

    Raises:
        LabelError: If there are no clips, shapes differ, or a label, score or threshold is out
            of its range.
        TaxonomyError: If a level is unknown.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"]})
        >>> labels = {"fine": [[1, 0], [0, 0]]}
        >>> scores = {"fine": [[0.9, 0.2], [0.1, 0.3]], "coarse": [[0.9], [0.3]]}
        >>> result = evaluate(taxonomy, labels, scores)
        >>> fine = result["levels"]["fine"]
        >>> fine["map"], fine["tags_dropped"], result["violation_rate"]
        (1.0, 1, 0.0)
    """
    truth, scores = _checked(taxonomy, y_true, y_score)
    cutoffs = _cutoffs(taxonomy, thresholds)
    if not len(truth[taxonomy.levels[0]]):
        raise LabelError("There are no clips to evaluate; the arrays have no rows.")
    precision, recall, f = hierarchical_precision_recall_f(taxonomy, truth, scores, cutoffs)
    return {
        "levels": {
            level: _evaluate_level(
                taxonomy.classes(level), truth[level], scores[level], cutoffs[level]
            )
            for level in taxonomy.levels
        },
        "hierarchical": {"precision": precision, "recall": recall, "f": f},
        "violation_rate": _or_none(violation_rate(taxonomy, scores)),
        "clip_violation_rate": _or_none(clip_violation_rate(taxonomy, scores)),
    }


def _evaluate_level(
    classes: tuple[str, ...],
    labels: NDArray[np.float32],
    scores: NDArray[np.float64],
    cutoffs: NDArray[np.float64],
) -> dict[str, Any]:
    precisions = average_precision(labels, scores)
    f1s = f1_per_class(labels, scores, cutoffs)
    positives = (labels > 0.5).sum(axis=0)
    observed = (labels >= 0).sum(axis=0)
    scored = int(np.count_nonzero(positives))
    return {
        "map": _or_none(_mean(precisions)),
        "map_micro": _or_none(mean_average_precision(labels, scores, "micro")),
        "map_baseline": _or_none(prevalence_baseline(labels)),
        "f1": _or_none(_mean(f1s)),
        "f1_micro": _or_none(f1(labels, scores, cutoffs, "micro")),
        "tags_scored": scored,
        "tags_dropped": len(classes) - scored,
        "per_class": {
            name: {
                "ap": _or_none(float(precisions[i])),
                "f1": _or_none(float(f1s[i])),
                "positives": int(positives[i]),
                "observed": int(observed[i]),
            }
            for i, name in enumerate(classes)
        },
    }


# Counting


def _cuts(
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
    _, hits, predicted = _cuts(present, scores)
    gains = np.diff(hits, prepend=0) / hits[-1]
    return float(np.sum(gains * hits / predicted))


def _counts(
    y_true: ArrayLike, y_score: ArrayLike, thresholds: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    present, observed, scores = _paired(y_true, y_score)
    cutoffs = _as_thresholds(thresholds, "thresholds", present.shape[1])
    predicted = (scores >= cutoffs) & observed
    return (predicted & present).sum(axis=0), predicted.sum(axis=0), present.sum(axis=0)


def _with_ancestors(
    taxonomy: Taxonomy, predicted: Mapping[str, NDArray[np.bool_]]
) -> dict[str, NDArray[np.bool_]]:
    closed = {level: array.copy() for level, array in predicted.items()}
    for i, child in enumerate(taxonomy.levels):
        for parent in taxonomy.levels[i + 1 :]:
            links = taxonomy.links(parent, child)
            rows = predicted[child].T[links[:, 1]]
            np.logical_or.at(closed[parent].T, links[:, 0], rows)
    return closed


def _direct(taxonomy: Taxonomy) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Lists `(parent level, child level, direct links)` where there are any links."""
    found = [
        (parent, child, taxonomy.direct_links(parent, child))
        for i, child in enumerate(taxonomy.levels)
        for parent in taxonomy.levels[i + 1 :]
    ]
    return [entry for entry in found if len(entry[2])]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: NDArray[np.float64]) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


# Checking


def _check_average(average: str) -> None:
    if average not in ("macro", "micro"):
        raise LabelError(f"'average' must be 'macro' or 'micro'. Received: {average!r}")


def _as_scores(values: ArrayLike, what: str) -> NDArray[np.float64]:
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


def _as_thresholds(values: ArrayLike, what: str, classes: int) -> NDArray[np.float64]:
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


def _paired(
    y_true: ArrayLike, y_score: ArrayLike
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Checks labels and scores; returns which labels are present and observed, and scores."""
    labels = as_labels(y_true, "y_true")
    scores = _as_scores(y_score, "y_score")
    if labels.shape != scores.shape:
        raise LabelError(
            "'y_true' and 'y_score' must have the same shape (clips, classes). Received: "
            f"{labels.shape} and {scores.shape}"
        )
    return labels > 0.5, labels >= 0, scores


def _score_arrays(
    taxonomy: Taxonomy, scores: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float64]]:
    for level in scores:
        taxonomy.classes(level)
    missing = [level for level in taxonomy.levels if level not in scores]
    if missing:
        raise LabelError(f"Scores must be given for every level. Missing: {', '.join(missing)}")
    arrays = {level: _as_scores(scores[level], level) for level in taxonomy.levels}
    rows = len(arrays[taxonomy.levels[0]])
    for level, array in arrays.items():
        expected = (rows, len(taxonomy.classes(level)))
        if array.shape != expected:
            raise LabelError(
                f"Scores of {level!r} must have the shape {expected}. Received: {array.shape}"
            )
    return arrays


def _checked(
    taxonomy: Taxonomy, y_true: Mapping[str, ArrayLike], y_score: Mapping[str, ArrayLike]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, NDArray[np.float64]]]:
    """Closes the labels and checks that the scores cover the same clips."""
    truth = taxonomy.close_labels(y_true)
    scores = _score_arrays(taxonomy, y_score)
    finest = taxonomy.levels[0]
    if len(truth[finest]) != len(scores[finest]):
        raise LabelError(
            "Labels and scores must have the same number of rows. Received: "
            f"{len(truth[finest])} and {len(scores[finest])}"
        )
    return truth, scores


def _cutoffs(
    taxonomy: Taxonomy, thresholds: Thresholds | None
) -> dict[str, NDArray[np.float64]]:
    given = {} if thresholds is None else dict(thresholds)
    for level in given:
        taxonomy.classes(level)
    return {
        level: _as_thresholds(
            given.get(level, 0.5), f"thresholds of {level}", len(taxonomy.classes(level))
        )
        for level in taxonomy.levels
    }
