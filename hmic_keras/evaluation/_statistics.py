"""Means over seeds, their intervals, and paired tests between contenders."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_LEVEL = 0.95


def interval(values: ArrayLike, level: float = _LEVEL) -> tuple[float, float, float]:
    """Returns mean, lower and upper end of Student's confidence interval of the mean.

    Args:
        values: One number a seed.
        level: Confidence.

    Returns:
        `(mean, low, high)`; both ends are NaN for a single value.

    Example:
        >>> [round(number, 3) for number in interval([0.5, 0.6, 0.7])]
        [0.6, 0.352, 0.848]
    """
    from scipy import stats

    numbers = np.asarray(values, float)
    mean = float(numbers.mean())
    if len(numbers) < 2:
        return mean, float("nan"), float("nan")
    error = float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    half = float(stats.t.ppf((1 + level) / 2, len(numbers) - 1)) * error
    return mean, mean - half, mean + half


def paired_tests(scores: Mapping[str, ArrayLike]) -> list[dict[str, Any]]:
    """Compares every pair of contenders over the same seeds.

    Args:
        scores: One score a seed for each contender, seeds in the same order.

    Returns:
        For each pair, the better mean first: `first`, `second`, the mean `difference` with its
        95 % interval `low`, `high`, two-sided p-values of the paired t-test and of Wilcoxon's
        signed-rank test, and both after Holm's correction over all pairs. A pair that never
        differs has p-values of 1; with a single seed they are NaN.

    Example:
        >>> rows = paired_tests({"a": [0.5, 0.6, 0.5], "b": [0.4, 0.4, 0.4]})
        >>> rows[0]["first"], round(rows[0]["difference"], 3)
        ('a', 0.133)
    """
    rows: list[dict[str, Any]] = []
    numbers = {name: np.asarray(values, float) for name, values in scores.items()}
    for pair in itertools.combinations(numbers, 2):
        first, second = sorted(pair, key=lambda name: -numbers[name].mean())
        difference = numbers[first] - numbers[second]
        mean, low, high = interval(difference)
        t, wilcoxon = _p_values(difference)
        rows.append(
            {
                "first": first,
                "second": second,
                "difference": mean,
                "low": low,
                "high": high,
                "p_t": t,
                "p_wilcoxon": wilcoxon,
            }
        )
    for test in ("t", "wilcoxon"):
        for row, p in zip(rows, holm([row[f"p_{test}"] for row in rows]), strict=True):
            row[f"p_{test}_holm"] = p
    return rows


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number by Holm's step-down method; NaN stays and counts not.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted = [float("nan")] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        adjusted[i] = highest
    return adjusted


def mean_ranks(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the mean rank of each contender over data sets, 1 for the highest score.

    Args:
        scores: Score by contender, for each data set; all name the same contenders.

    Example:
        >>> mean_ranks([{"a": 0.9, "b": 0.8, "c": 0.8}, {"a": 0.1, "b": 0.3, "c": 0.2}])
        {'a': 2.0, 'b': 1.75, 'c': 2.25}
    """
    from scipy import stats

    names = list(scores[0])
    ranks = [stats.rankdata([-one[name] for name in names]) for one in scores]
    return dict(zip(names, np.mean(ranks, axis=0).tolist(), strict=True))


def _p_values(difference: np.ndarray) -> tuple[float, float]:
    from scipy import stats

    if len(difference) < 2:
        return float("nan"), float("nan")
    if not difference.any():
        return 1.0, 1.0
    # The same difference at every seed leaves nothing to doubt, and 0 / 0 in the t-test.
    constant = np.ptp(difference) < 1e-12
    t = 0.0 if constant else float(stats.ttest_1samp(difference, 0).pvalue)
    return t, float(stats.wilcoxon(difference, method="auto").pvalue)
