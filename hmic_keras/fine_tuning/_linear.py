"""Linear classifiers on frozen features: a convex fit, and scores on clips not fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from ._crops import Examples, Windows

STRENGTHS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
"""The strengths of regularisation that cross-validation chooses from."""

_LONGEST = 60.0  # logits beyond this are certain
# NumPy and SciPy each have a BLAS with threads that go on spinning for a while, and L-BFGS
# calls them in turn: with as many threads as cores they wait for one another most of the time.
_one_thread = threadpool_limits.wrap(limits=1, user_api="blas")


@dataclass(frozen=True)
class Rows:
    """Linear classifiers: `sigmoid(features @ weights.T + biases)`.

    Attributes:
        weights: `(columns, dim)`.
        biases: `(columns,)`.
    """

    weights: np.ndarray
    biases: np.ndarray

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Returns `(examples, columns)`."""
        return sigmoid(features @ self.weights.T + self.biases)


@_one_thread
def fit_rows(
    examples: Examples,
    prior: Rows,
    strength: float,
    start: Rows | None = None,
    axes: "Axes | None" = None,
) -> Rows:
    """Fits all classifiers at once by penalised logistic regression.

    Minimises, by L-BFGS, the weighted mean over clips of the binary cross-entropy of observed
    labels plus `strength / 2` times the squared distance of the weights from `prior`, features
    being standardised. So a class whose old classifier is right keeps it, and a new one is
    drawn to 0. Biases are free. A column that is not `examples.learnable()` keeps its prior.

    Args:
        examples: Features and labels.
        prior: Where the classifiers are drawn to.
        strength: Above 0.
        start: Where to begin; the prior by default.
        axes: `Axes.of(examples)`, for whoever fits the same examples several times.

    Returns:
        The classifiers.
    """
    from scipy.optimize import minimize

    learned = examples.learnable()
    if not learned.any():
        return prior
    axes = axes or Axes.of(examples)
    z = axes.coordinates
    y, seen = examples.labels[:, learned], examples.labels[:, learned] >= 0
    mass = examples.weights[:, np.newaxis] * seen / examples.weights.sum()
    offset = examples.features.astype(np.float64) @ prior.weights[learned].T
    offset += prior.biases[learned]
    begin = prior if start is None else start
    change = (begin.weights - prior.weights)[learned]
    shift = (begin.biases - prior.biases)[learned] + change @ axes.mean
    first = np.column_stack([axes.into(change), shift])
    # In units of the root of the curvature where it begins the problem is nearly round.
    scores = sigmoid(offset + z @ first[:, :-1].T + first[:, -1])
    curve = (mass * np.maximum(scores * (1 - scores), 0.01)).sum(axis=0)[:, np.newaxis]
    units = np.sqrt(np.column_stack([curve * axes.variances + strength, curve]))
    first *= units

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        rows = flat.reshape(first.shape) / units
        logits = np.clip(offset + z @ rows[:, :-1].T + rows[:, -1], -_LONGEST, _LONGEST)
        # log(1 + exp(logits)) - y * logits
        value = float((mass * (np.logaddexp(0.0, logits) - y * logits)).sum())
        error = mass * (sigmoid(logits) - y)
        slope = np.column_stack([error.T @ z, error.sum(axis=0)])
        slope[:, :-1] += strength * rows[:, :-1]
        penalty = strength / 2 * float(np.square(rows[:, :-1]).sum())
        return value + penalty, (slope / units).ravel()

    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options=_OPTIONS)
    rows = found.x.reshape(first.shape) / units
    weights, biases = prior.weights.copy(), prior.biases.copy()
    raw = axes.out_of(rows[:, :-1])
    weights[learned] += raw.astype(weights.dtype)
    biases[learned] += (rows[:, -1] - raw @ axes.mean).astype(biases.dtype)
    return Rows(weights, biases)


_OPTIONS = {"maxiter": 200, "maxcor": 12, "ftol": 1e-9, "gtol": 1e-6}


@dataclass(frozen=True)
class Axes:
    """The principal axes of standardised features.

    What a penalised fit adds to its prior lies in the span of the examples, so axes along
    which they do not vary are left out.

    Attributes:
        mean: Weighted mean of each feature, `(dim,)`.
        spread: Its standard deviation, `(dim,)`, above 0.
        directions: The axes, `(dim, axes)`, orthonormal.
        variances: What varies along them, `(axes,)`.
        coordinates: The examples on them, float64 `(examples, axes)`.
    """

    mean: np.ndarray
    spread: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    coordinates: np.ndarray

    @classmethod
    def of(cls, examples: Examples) -> "Axes":
        """Finds the axes of weighted examples."""
        mean, spread = moments(examples)
        x = ((examples.features - mean) / spread).astype(np.float64)
        shares = examples.weights / examples.weights.sum()
        variances, directions = np.linalg.eigh((shares[:, np.newaxis] * x).T @ x)
        kept = variances > 1e-10 * variances[-1]
        directions = directions[:, kept]
        return cls(mean, spread, directions, variances[kept], x @ directions)

    def into(self, weights: np.ndarray) -> NDArray[np.float64]:
        """Turns weights of raw features, `(rows, dim)`, into those of the axes."""
        return np.asarray((weights * self.spread) @ self.directions)

    def out_of(self, weights: np.ndarray) -> NDArray[np.float64]:
        """Turns weights of the axes, `(rows, axes)`, into those of raw features."""
        return np.asarray(weights @ self.directions.T / self.spread)


def moments(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Returns weighted mean and standard deviation of each feature, the latter above 0."""
    shares = examples.weights / examples.weights.sum()
    mean = shares @ examples.features
    spread = np.sqrt(shares @ np.square(examples.features - mean))
    return mean, np.maximum(spread, 1e-3 * max(1e-6, float(spread.max())))


def fold_of_groups(
    labels: np.ndarray, groups: np.ndarray, folds: int, seed: int
) -> NDArray[np.int64]:
    """Deals clips to folds, so that each class is spread over them and no group is split.

    Args:
        labels: `(clips, columns)`; above 0.5 is present.
        groups: For each clip the number of its group, such as its recording.
        folds: How many folds at most; no more than there are groups.
        seed: Seed of the choice.

    Returns:
        For each clip its fold, from 0 up.
    """
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max()) + 1
    present = np.zeros((count, labels.shape[1]))
    np.maximum.at(present, member, labels > 0.5)
    folds = min(folds, count)
    held = np.zeros((folds, labels.shape[1]))
    sizes = np.zeros(folds)
    fold = np.zeros(count, np.int64)
    rarity = 1.0 / np.maximum(present.sum(axis=0), 1.0)
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    # The group with the rarest class first, each to the fold that has least of its classes.
    order = order[np.argsort(-(present * rarity).max(axis=1)[order], kind="stable")]
    for group in order:
        need = held @ (present[group] * rarity) + 1e-3 * sizes + 1e-6 * rng.random(folds)
        fold[group] = int(np.argmin(need))
        held[fold[group]] += present[group]
        sizes[fold[group]] += 1
    return fold[member]


@dataclass(frozen=True)
class CrossFit:
    """Classifiers of every fold, fitted without its clips, and the strength they agree on.

    Attributes:
        strength: The one chosen.
        rows: By fold, fitted on the other folds with that strength.
        losses: Cross-entropy on clips not fitted on, summed, by strength.
    """

    strength: float
    rows: tuple[Rows, ...]
    losses: dict[float, float]


@_one_thread
def cross_fit(
    examples: Examples,
    windows: Windows,
    features: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    prior: Rows,
    strengths: Sequence[float] = STRENGTHS,
) -> CrossFit:
    """Chooses the strength of regularisation by cross-validation over folds of clips.

    It is the strongest whose cross-entropy on clips not fitted on is within one standard error
    of the least (Breiman et al., "Classification and Regression Trees", 1984). The clips it is
    used on will differ more than the folds do, and what is simpler bears that better.

    Args:
        examples: What to fit on.
        windows: The clips' windows.
        features: Their features.
        labels: The clips' labels, `(clips, columns)`.
        fold: The clips' folds.
        prior: Where classifiers are drawn to.
        strengths: To choose from.
    """
    fitted: dict[float, list[Rows]] = {}
    costs = {strength: np.zeros(len(labels)) for strength in sorted(strengths, reverse=True)}
    for number in range(int(fold.max()) + 1):
        held = fold == number
        rest, part = examples.without(held), windows.of(held)
        inside = held[windows.owner]
        rows, axes = None, Axes.of(rest)
        for strength in costs:  # the strongest first: each is a start for the next
            rows = fit_rows(rest, prior, strength, rows, axes)
            fitted.setdefault(strength, []).append(rows)
            scores = part.means(rows.probabilities(features[inside]), len(labels))[held]
            costs[strength][held] = surprise(labels[held], scores)
    losses = {strength: float(values.sum()) for strength, values in costs.items()}
    best = min(losses, key=lambda strength: losses[strength])
    error = float(costs[best].std(ddof=1)) * np.sqrt(len(labels))
    chosen = max(one for one, loss in losses.items() if loss <= losses[best] + error)
    return CrossFit(chosen, tuple(fitted[chosen]), losses)


def surprise(labels: np.ndarray, scores: np.ndarray) -> NDArray[np.float64]:
    """Returns each clip's binary cross-entropy, summed over its observed labels."""
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    costs = -(labels * np.log(inside) + (1 - labels) * np.log1p(-inside))
    return np.where(labels >= 0, costs, 0.0).sum(axis=1)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns `1 / (1 + exp(-logits))` without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -_LONGEST, _LONGEST)))
