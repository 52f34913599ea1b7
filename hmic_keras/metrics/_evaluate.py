"""Every metric at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ..taxonomy import Taxonomy
from ._calibration import (
    brier_score_per_class,
    calibration_error,
    calibration_error_per_class,
)
from ._checks import Thresholds, checked, cutoffs_by_level, mean, or_none
from ._decisions import best_f1_per_class, best_thresholds, f1, f1_per_class
from ._hierarchy import clip_violation_rate, hierarchical_precision_recall_f, violation_rate
from ._ranking import (
    average_precision,
    mean_average_precision,
    prevalence_baseline,
    roc_auc_per_class,
)


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
        each level, `{"map", "map_micro", "map_baseline", "roc_auc", "f1", "f1_micro",
        "best_f1", "calibration_error", "calibration_error_micro", "brier_score",
        "tags_scored", "tags_dropped", "tags_without_negatives", "per_class": {name: {"ap",
        "roc_auc", "f1", "best_f1", "best_threshold", "calibration_error", "brier_score",
        "positives", "observed"}}}`; "dropped" are classes without an observed positive, and
        ROC-AUC also leaves out the scored ones without an observed negative;
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
    truth, scores = checked(taxonomy, y_true, y_score)
    cutoffs = cutoffs_by_level(taxonomy, thresholds)
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
        "violation_rate": or_none(violation_rate(taxonomy, scores)),
        "clip_violation_rate": or_none(clip_violation_rate(taxonomy, scores)),
    }


def _evaluate_level(
    classes: tuple[str, ...],
    labels: NDArray[np.float32],
    scores: NDArray[np.float64],
    cutoffs: NDArray[np.float64],
) -> dict[str, Any]:
    positives = (labels > 0.5).sum(axis=0)
    observed = (labels >= 0).sum(axis=0)
    ranked = (positives > 0) & (positives < observed)
    thresholds = best_thresholds(labels, scores, min_positives=1)
    columns = {
        "ap": average_precision(labels, scores),
        "roc_auc": roc_auc_per_class(labels, scores),
        "f1": f1_per_class(labels, scores, cutoffs),
        "best_f1": best_f1_per_class(labels, scores),
        # Without a positive and a negative, no threshold is better than another.
        "best_threshold": np.where(ranked, thresholds, np.nan),
        "calibration_error": calibration_error_per_class(labels, scores),
        "brier_score": brier_score_per_class(labels, scores),
    }
    means = {key: or_none(mean(column)) for key, column in columns.items()}
    scored = int(np.count_nonzero(positives))
    return {
        "map": means["ap"],
        "map_micro": or_none(mean_average_precision(labels, scores, "micro")),
        "map_baseline": or_none(prevalence_baseline(labels)),
        "roc_auc": means["roc_auc"],
        "f1": means["f1"],
        "f1_micro": or_none(f1(labels, scores, cutoffs, "micro")),
        "best_f1": means["best_f1"],
        "calibration_error": means["calibration_error"],
        "calibration_error_micro": or_none(calibration_error(labels, scores, average="micro")),
        "brier_score": means["brier_score"],
        "tags_scored": scored,
        "tags_dropped": len(classes) - scored,
        "tags_without_negatives": scored - int(np.count_nonzero(ranked)),
        "per_class": {
            name: {
                **{key: or_none(float(column[i])) for key, column in columns.items()},
                "positives": int(positives[i]),
                "observed": int(observed[i]),
            }
            for i, name in enumerate(classes)
        },
    }
