"""Metrics of the hierarchy: ancestor-closed decisions, and scores that contradict it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..taxonomy import Taxonomy
from ._checks import Thresholds, checked, cutoffs_by_level, score_arrays
from ._ranking import mean_average_precision


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
    truth, scores = checked(taxonomy, y_true, y_score)
    cutoffs = cutoffs_by_level(taxonomy, thresholds)
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


def hierarchical_average_precision(
    taxonomy: Taxonomy,
    y_true: Mapping[str, ArrayLike],
    y_score: Mapping[str, ArrayLike],
) -> float:
    """Computes the average precision over all pairs of a clip and a class of any level.

    All observed pairs are ranked in one list. This is the area under the precision-recall
    curve, AU(PRC), that the literature on hierarchical multi-label classification reports.
    There is no root class, and the scores are taken as they are: a method that may contradict
    the hierarchy is not mended first.

    Args:
        taxonomy: The hierarchy.
        y_true: Labels of at least one level, each `(clips, classes)`; completed by
            `Taxonomy.close_labels`.
        y_score: Scores of every level, each `(clips, classes)`.

    Returns:
        The area, or NaN if no label is an observed positive.

    Raises:
        LabelError: If shapes differ, or a label or score is out of its range.
        TaxonomyError: If a level is unknown.

    References:
        Vens, Struyf, Schietgat, Dzeroski and Blockeel, "Decision trees for hierarchical
        multi-label classification", Machine Learning 73, 2008.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"]})
        >>> scores = {"fine": [[0.4, 0.9]], "coarse": [[0.8]]}
        >>> round(hierarchical_average_precision(taxonomy, {"fine": [[1, 0]]}, scores), 3)
        0.583
    """
    truth, scores = checked(taxonomy, y_true, y_score)
    return mean_average_precision(
        np.concatenate([truth[level] for level in taxonomy.levels], axis=1),
        np.concatenate([scores[level] for level in taxonomy.levels], axis=1),
        "micro",
    )


def ancestor_closed(
    taxonomy: Taxonomy, scores: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float64]]:
    """Raises every class to the score of its highest descendant.

    Args:
        taxonomy: The hierarchy.
        scores: Scores of every level, each `(clips, classes)`.

    Returns:
        New scores by level, in which no class exceeds an ancestor.

    Raises:
        LabelError: If a level is missing, shapes differ, or a score is out of its range.
        TaxonomyError: If a level is unknown.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"]})
        >>> ancestor_closed(taxonomy, {"fine": [[0.9, 0.1]], "coarse": [[0.5]]})["coarse"]
        array([[0.9]])
    """
    closed = {level: array.copy() for level, array in score_arrays(taxonomy, scores).items()}
    # Finest children first, so that what a class takes over reaches its own parents too.
    for parent, child, links in taxonomy.linked_levels():
        np.maximum.at(closed[parent].T, links[:, 0], closed[child].T[links[:, 1]])
    return closed


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
    arrays = score_arrays(taxonomy, scores)
    violations = pairs = 0
    for parent, child, links in taxonomy.linked_levels():
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
    arrays = score_arrays(taxonomy, scores)
    broken = np.zeros(len(next(iter(arrays.values()))), bool)
    direct = taxonomy.linked_levels()
    for parent, child, links in direct:
        lacking = (arrays[child][:, links[:, 1]] >= 0.5) & (
            arrays[parent][:, links[:, 0]] < 0.5
        )
        broken |= lacking.any(axis=1)
    return float(broken.mean()) if direct and broken.size else float("nan")


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


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
