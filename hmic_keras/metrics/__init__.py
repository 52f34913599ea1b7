"""Evaluation metrics for hierarchical multi-label classification with unobserved labels.

Labels are `(clips, classes)` arrays: 1 present, 0 absent, between them a probability that
counts as present above 0.5 (the rule of OpenMIC-2018), -1 or NaN unobserved. Scores are
probabilities of the same shape. An unobserved label takes no part in any metric. A class is
predicted where its score reaches its threshold: `score >= threshold`.
"""

from ._calibration import (
    brier_score,
    brier_score_per_class,
    calibration_error,
    calibration_error_per_class,
)
from ._decisions import best_f1, best_f1_per_class, best_thresholds, f1, f1_per_class
from ._evaluate import evaluate
from ._hierarchy import (
    ancestor_closed,
    clip_violation_rate,
    hierarchical_average_precision,
    hierarchical_precision_recall_f,
    violation_rate,
)
from ._ranking import (
    average_precision,
    mean_average_precision,
    prevalence_baseline,
    roc_auc,
    roc_auc_per_class,
    scored_tags,
)

__all__ = [
    "ancestor_closed",
    "average_precision",
    "best_f1",
    "best_f1_per_class",
    "best_thresholds",
    "brier_score",
    "brier_score_per_class",
    "calibration_error",
    "calibration_error_per_class",
    "clip_violation_rate",
    "evaluate",
    "f1",
    "f1_per_class",
    "hierarchical_average_precision",
    "hierarchical_precision_recall_f",
    "mean_average_precision",
    "prevalence_baseline",
    "roc_auc",
    "roc_auc_per_class",
    "scored_tags",
    "violation_rate",
]
