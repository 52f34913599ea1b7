"""How good a class is, how sure that is, which labels look wrong, and what more clips bring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..calibration import choose_thresholds
from ._crops import learnable

_LEVEL = 1.959964  # of a 95 % interval
_FRACTION_OF_CLIPS = (2, 4)  # how many times as many clips are asked about
_EXPONENTS = (0.25, 0.35, 0.5, 0.7, 1.0)


@dataclass(frozen=True)
class Interval:
    """A score and where it will lie on other clips.

    Attributes:
        value: The score on clips that the model did not learn from.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Returns it as JSON-able values."""
        return {name: round(float(value), 4) for name, value in vars(self).items()}


def prediction_interval(
    value: float,
    draws: np.ndarray,
    examples: int,
    gain: float = 0.0,
    spreads: float = _LEVEL,
) -> Interval:
    """Returns a 95 % interval for the score on fresh clips.

    Two samples differ: the clips that the score was measured on, and the fresh ones. Both are
    given the spread of the bootstrap, so the interval is wider by the square root of 2 than
    one of the mean, and right for as many fresh clips as there are here, on the safe side for
    more. A bootstrap cannot draw a mistake that was not made, so the spread is at least half
    that of a share of `examples`. The ends are found in logits, so that they stay between 0
    and 1. The lower one starts from the score drawn a little towards 0.5, as that of a share
    of few examples must be; the upper one from the score itself and `gain`.

    Args:
        value: The score, between 0 and 1.
        draws: The score of bootstrap resamples; NaN where it is not defined.
        examples: How many present labels it rests on.
        gain: How much better the model may be than those that were scored.
        spreads: How many spreads wide it is to either side.
    """
    near = (value * examples + 1.0) / (examples + 2.0)
    least = 0.5 * np.sqrt(near * (1 - near) / (examples + 2.0))
    spread = np.sqrt(2.0) * max(float(np.nanstd(draws)), float(least))
    half = spreads * spread / (near * (1 - near))
    best = min(value + gain, 1.0 - 1e-9)
    low, high = (
        1 / (1 + np.exp(np.log1p(-start) - np.log(start) - side * half))
        for start, side in ((near, -1.0), (max(near, best), 1.0))
    )
    edge = 0.5 / (examples + 2.0)
    return Interval(
        value,
        min(value, 0.0 if low < edge else low),
        max(value, 1.0 if high > 1 - edge else high),
    )


@dataclass(frozen=True)
class LevelScores:
    """Scores of one level on clips that the model did not learn from.

    Attributes:
        map: Mean average precision.
        classes: By class, `"ap"` and `"f1"` as intervals, and counts.
    """

    map: Interval
    classes: dict[str, dict[str, Any]]


def level_scores(
    names: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    fold: np.ndarray,
    groups: np.ndarray,
    resamples: int,
    seed: int,
    gain: float = 0.0,
    thresholds: np.ndarray | None = None,
) -> LevelScores | None:
    """Scores a level; None where no class can be scored.

    Args:
        names: The classes.
        labels: `(clips, classes)`.
        scores: Of the clips, each by a model that did not learn from it.
        fold: The clips' folds.
        groups: Clips that are resampled together.
        resamples: How many resamples.
        seed: Seed of them.
        gain: How much better the model may be than those that were scored.
        thresholds: `(classes,)`, for F1; by default, for each fold those chosen on the others.
    """
    from scipy import stats

    if thresholds is None:
        decided = _decisions(labels, scores, fold)
    else:
        decided = (scores >= thresholds).astype(scores.dtype)
    measured = metrics.average_precision(labels, scores)
    scored = learnable(labels)
    if not scored.any():
        return None
    f1 = metrics.f1_per_class(labels, decided)
    draws = [
        (metrics.average_precision(labels[i], scores[i]), metrics.f1_per_class(labels[i], d[i]))
        for i, d in ((i, decided) for i in _resamples(groups, resamples, seed))
    ]
    aps, f1s = (np.stack([draw[part] for draw in draws]) for part in (0, 1))
    positives = (labels > 0.5).sum(axis=0)
    classes = {
        name: {
            "ap": prediction_interval(measured[i], aps[:, i], int(positives[i]), gain),
            "f1": prediction_interval(f1[i], f1s[:, i], int(positives[i]), gain),
            "positives": int(positives[i]),
            "observed": int((labels[:, i] >= 0).sum()),
        }
        for i, name in enumerate(names)
        if scored[i]
    }
    count = int(positives[scored].sum())
    overall = prediction_interval(
        float(measured[scored].mean()),
        _nanmean(aps[:, scored]),
        count,
        gain,
        # The spread of a mean over classes is itself known from few examples of each.
        float(stats.t.ppf(0.975, max(1.0, count / scored.sum() - 1))),
    )
    return LevelScores(overall, classes)


def can_be_doubted(labels: np.ndarray) -> NDArray[np.bool_]:
    """Tells which classes have two labels of each kind, `(classes,)`: one has no peer."""
    present = labels > 0.5
    absent = (labels >= 0) & ~present
    return np.asarray((present.sum(axis=0) >= 2) & (absent.sum(axis=0) >= 2))


def doubtful_labels(
    names: Sequence[str], labels: np.ndarray, scores: np.ndarray
) -> list[tuple[int, str, bool, float]]:
    """Finds labels that a model taught by the other clips contradicts.

    Confident learning (Northcutt, Jiang and Chuang 2021), a class at a time: an absent label
    is doubtful where the class scores at least as high as it does on average where it is
    labelled present, a present one where it scores no higher than on average where absent; and
    on the wrong side of one half.

    Args:
        names: The classes.
        labels: `(clips, classes)`.
        scores: Calibrated probabilities of clips the model did not learn from.

    Returns:
        `(clip, class, labelled present, probability)`, the most doubtful first.
    """
    found = []
    able = can_be_doubted(labels)
    for i, name in enumerate(names):
        if not able[i]:
            continue
        present = labels[:, i] > 0.5
        absent = (labels[:, i] >= 0) & ~present
        p = scores[:, i]
        high, low = p[present].mean(), p[absent].mean()
        missing = absent & (p >= max(high, 0.5))
        wrong = present & (p <= min(low, 0.5))
        found += [(int(row), name, False, float(p[row])) for row in np.flatnonzero(missing)]
        found += [(int(row), name, True, float(p[row])) for row in np.flatnonzero(wrong)]
    return sorted(found, key=lambda one: (one[3] if one[2] else 1 - one[3], one[0], one[1]))


@dataclass(frozen=True)
class Curve:
    """How the score grows with the number of clips.

    Attributes:
        sizes: Mean number of examples a class that were learned from, increasing.
        scores: Mean average precision with so many, `(sizes, repeats)`.
        by_class: The same by class, `(sizes, repeats, classes)`.
    """

    sizes: NDArray[np.float64]
    scores: NDArray[np.float64]
    by_class: NDArray[np.float64]


def extrapolate(
    sizes: np.ndarray, scores: np.ndarray, wanted: Sequence[float], seed: int, draws: int = 200
) -> list[Interval]:
    """Says what a learning curve suggests for more examples, and how sure that is.

    Fits `1 - score = c + a * size ** -b` with `a, c >= 0` for exponents `b` from 0.25 to 1
    (Cortes et al. 1994), by least squares to resampled repeats; what the fits disagree on is
    the interval. None of them promises less than the last measured score.

    Args:
        sizes: `(points,)`, increasing.
        scores: `(points, repeats)`.
        wanted: Sizes to ask about, above the last one.
        seed: Seed of the resamples.
        draws: How many resamples.
    """
    from scipy.optimize import nnls

    rng = np.random.default_rng(seed)
    last = float(np.nanmean(scores[-1]))
    found = np.empty((draws, len(_EXPONENTS), len(wanted)))
    for draw in range(draws):
        chosen = rng.integers(0, scores.shape[1], scores.shape)
        errors = 1 - np.nanmean(np.take_along_axis(scores, chosen, axis=1), axis=1)
        for number, exponent in enumerate(_EXPONENTS):
            basis = np.column_stack([np.ones(len(sizes)), sizes**-exponent])
            slope = nnls(basis, errors)[0][1]
            # From the score measured with all clips, along the slope of the fit.
            gains = slope * (sizes[-1] ** -exponent - np.asarray(wanted) ** -exponent)
            found[draw, number] = np.clip(last + gains, last, 1.0)
    flat = found.reshape(-1, len(wanted))
    return [
        Interval(float(np.median(v)), *(float(x) for x in np.quantile(v, [0.05, 0.95])))
        for v in flat.T
    ]


def gain_of_all_clips(curve: Curve | None, folds: int, seed: int) -> float:
    """Returns how much better a model of all clips is expected to be than those of each fold.

    Those that were scored learned from all clips but one fold, the model from that one, too.

    Args:
        curve: The learning curve; without one nothing is expected.
        folds: Number of folds.
        seed: Seed of the resamples.
    """
    if curve is None or folds < 2:
        return 0.0
    whole = curve.sizes[-1] * folds / (folds - 1)
    (found,) = extrapolate(curve.sizes, curve.scores, [whole], seed)
    return found.value - float(np.nanmean(curve.scores[-1]))


def more_examples(curve: Curve, names: Sequence[str], seed: int) -> dict[str, Any]:
    """Says what twice and four times as many examples would bring, in all and a class.

    Args:
        curve: The learning curve.
        names: The classes of `curve.by_class`.
        seed: Seed of the resamples.

    Returns:
        `curve`, `expected` by factor, and `gains`: by class, the expected rise of its average
        precision with twice as many, the largest first.
    """
    now = curve.sizes[-1]
    wanted = [now * factor for factor in _FRACTION_OF_CLIPS]
    expected = extrapolate(curve.sizes, curve.scores, wanted, seed)
    gains = {}
    for i, name in enumerate(names):
        points = curve.by_class[:, :, i]
        if np.isfinite(points).all():
            (twice,) = extrapolate(curve.sizes, points, wanted[:1], seed)
            base = float(points[-1].mean())
            gains[name] = Interval(*(value - base for value in vars(twice).values()))
    order = sorted(gains, key=lambda name: -gains[name].value)
    return {
        "curve": [
            {"examples_a_class": round(float(size), 1), "map": round(float(row.mean()), 4)}
            for size, row in zip(curve.sizes, curve.scores, strict=True)
        ],
        "expected": {
            f"{factor} times": one.to_dict()
            for factor, one in zip(_FRACTION_OF_CLIPS, expected, strict=True)
        },
        "gains": {name: gains[name].to_dict() for name in order},
    }


def _decisions(labels: np.ndarray, scores: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Returns 1 where a class reaches the threshold chosen on the other folds, else 0."""
    decided = np.zeros_like(scores)
    for number in np.unique(fold):
        held = fold == number
        chosen: Mapping[str, Sequence[float]] = choose_thresholds(
            {"": labels[~held]}, {"": scores[~held]}
        )
        decided[held] = scores[held] >= np.array(chosen[""])
    return decided


def _resamples(groups: np.ndarray, count: int, seed: int) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    _, member = np.unique(groups, return_inverse=True)
    order = np.argsort(member, kind="stable")
    clips = np.split(order, np.cumsum(np.bincount(member))[:-1])
    return [
        np.concatenate([clips[g] for g in rng.integers(0, len(clips), len(clips))])
        for _ in range(count)
    ]


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Returns the mean of each row over what is a number."""
    seen = np.isfinite(values)
    total = np.where(seen, values, 0.0).sum(axis=1)
    return np.where(seen.any(axis=1), total / np.maximum(seen.sum(axis=1), 1), np.nan)
