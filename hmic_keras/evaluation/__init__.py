"""Scoring a model on labelled clips, and comparing methods on one data set."""

from ._compare import compare
from ._comparison import Comparison
from ._contenders import BASELINES, Contender, TrialSettings
from ._report import Report, evaluate, plot_results, predict_clips
from ._statistics import holm, interval, mean_ranks, paired_tests

__all__ = [
    "BASELINES",
    "Comparison",
    "Contender",
    "Report",
    "TrialSettings",
    "compare",
    "evaluate",
    "holm",
    "interval",
    "mean_ranks",
    "paired_tests",
    "plot_results",
    "predict_clips",
]
