"""Making a trained model's probabilities and thresholds mean what they say.

`fit_calibration` finds, on clips that the model did not learn from, how each class's
probabilities have to be rescaled; `calibrated` makes that part of the model, so that every
exported format answers alike; `choose_thresholds` and `above_silence` set from which
probability on a class counts as present.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import metrics
from .errors import LabelError, ModelError
from .taxonomy import Taxonomy

if TYPE_CHECKING:
    from .hierarchical_model import HierarchicalModel

__all__ = [
    "Calibration",
    "above_silence",
    "apply_calibration",
    "calibrated",
    "choose_thresholds",
    "fit_calibration",
]

# A few held-out clips cannot vouch for a threshold beyond these: silence and noise would pass.
_THRESHOLDS = (0.1, 0.9)
_EDGE = 1e-7
# How far a class may move from the line of its whole level, as a standard deviation, before
# it takes evidence: a class with few positives stays near the others.
_SPREAD = 0.5
_MOST_SCALE = 5.0


@dataclass(frozen=True)
class Calibration:
    """How the probabilities of each class are rescaled.

    Attributes:
        scale: By level, `(num_classes,)`, positive: factor in logit space.
        offset: By level, `(num_classes,)`: what is added there.
        consistent: Whether a class is kept from scoring below its children, as its model's
            method promises.
        raised: Where it is not `consistent`, links along which a class is raised to its child
            all the same: `[parent level, child level, pairs of indices]`, as
            `layers.AncestorClosure` takes them.
    """

    scale: Mapping[str, Sequence[float]]
    offset: Mapping[str, Sequence[float]]
    consistent: bool
    raised: Sequence[Sequence[Any]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON-able values, as a model's manifest holds it."""
        return {
            "scale": {level: list(values) for level, values in self.scale.items()},
            "offset": {level: list(values) for level, values in self.offset.items()},
            "consistent": self.consistent,
            **({"raised": [list(links) for links in self.raised]} if self.raised else {}),
        }


def fit_calibration(
    taxonomy: Taxonomy,
    labels: Mapping[str, ArrayLike],
    windows: Mapping[str, ArrayLike],
    clips: ArrayLike | None = None,
) -> Calibration:
    """Fits the calibration of every class on clips kept apart from training.

    For each class, maximises the likelihood of the labels under the clips' probabilities, that
    is the mean over windows of `sigmoid(scale * logit(p) + offset)`. Classes are drawn towards
    the line that fits their level as a whole, the more, the fewer clips show them.

    Args:
        taxonomy: The classes.
        labels: By level, `(num_clips, num_classes)`: 1, 0 or -1 for unobserved.
        windows: By level, probabilities `(num_windows, num_classes)` as the model gives them.
        clips: For each window the index of its clip, `(num_windows,)`; by default every clip
            is one window.

    Returns:
        The calibration. It is `consistent` if no child scored above its parent here.

    Raises:
        LabelError: If shapes differ, a label or score is out of its range, or no label of a
            level is observed.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"]})
        >>> truth = np.array([[1.0], [0.0]] * 50)
        >>> shy = np.where(truth > 0, 0.6, 0.4)
        >>> found = fit_calibration(
        ...     taxonomy, {"fine": truth, "coarse": truth}, {"fine": shy, "coarse": shy}
        ... )
        >>> found.scale["fine"][0] > 2, found.consistent
        (True, True)
    """
    scale, offset = {}, {}
    scores = {level: np.asarray(windows[level], np.float64) for level in taxonomy.levels}
    for level in taxonomy.levels:
        truth = np.asarray(labels[level], np.float64)
        owner = np.arange(len(truth)) if clips is None else np.asarray(clips)
        _check(level, truth, scores[level], owner)
        fitted = _fit_level(truth, scores[level], owner)
        scale[level] = [round(float(value), 5) for value in fitted[0]]
        offset[level] = [round(float(value), 5) for value in fitted[1]]
    violations = metrics.violation_rate(taxonomy, scores)
    return Calibration(scale, offset, consistent=bool(violations == 0))


def calibrated(model: "HierarchicalModel", calibration: Calibration) -> "HierarchicalModel":
    """Returns the model with the calibration as its last layers.

    It shares the layers of `model`, and its manifest with `calibration` added. Where the
    calibration is consistent, a class scores at least as high as each of its children.

    Args:
        model: From `build_model`, not calibrated yet.
        calibration: From `fit_calibration`.

    Raises:
        ModelError: If the model is calibrated already, or the calibration is of other levels.
    """
    from keras import layers

    from .hierarchical_model import HierarchicalModel

    if "calibration" in model.manifest:
        raise ModelError(f"The model {model.name!r} is calibrated already.")
    if set(calibration.scale) != set(model.taxonomy.levels):
        raise ModelError(
            f"`calibration` must cover the levels {list(model.taxonomy.levels)}. Received: "
            f"{sorted(calibration.scale)}"
        )
    # An output keeps its level's name, so the layer that had it makes room.
    raw = {level: model.get_layer(level).input for level in model.taxonomy.levels}
    scores = _outputs(model.taxonomy, raw, calibration)
    outputs = {
        level: layers.Identity(dtype="float32", name=level)(scores[level])
        for level in model.taxonomy.levels
    }
    result = HierarchicalModel(model.input, outputs, name=model.name)
    result.update_manifest(**{**model.manifest, "calibration": calibration.to_dict()})
    return result


def apply_calibration(
    taxonomy: Taxonomy, windows: Mapping[str, np.ndarray], calibration: Calibration
) -> dict[str, np.ndarray]:
    """Returns what the calibrated model says where the model itself said `windows`.

    Args:
        taxonomy: The classes.
        windows: By level, probabilities `(num_windows, num_classes)`.
        calibration: From `fit_calibration`.
    """
    import keras

    inputs = {
        level: keras.Input((len(taxonomy.classes(level)),), name=level)
        for level in taxonomy.levels
    }
    model = keras.Model(inputs, _outputs(taxonomy, inputs, calibration))
    given = {level: np.asarray(windows[level], np.float32) for level in taxonomy.levels}
    return {level: np.asarray(values) for level, values in model(given).items()}


def choose_thresholds(
    labels: Mapping[str, ArrayLike], scores: Mapping[str, ArrayLike]
) -> dict[str, list[float]]:
    """Returns for each class the threshold with the best F1, kept between 0.1 and 0.9.

    Args:
        labels: By level, `(clips, classes)`: 1, 0 or -1 for unobserved.
        scores: By level, probabilities of the same shape.
    """
    return {
        level: [
            round(float(value), 4)
            for value in np.clip(
                metrics.best_thresholds(labels[level], scores[level]), *_THRESHOLDS
            )
        ]
        for level in labels
    }


def above_silence(
    thresholds: Mapping[str, Sequence[float]],
    silence: Mapping[str, ArrayLike],
    allowed: float = 0.005,
) -> dict[str, list[float]]:
    """Raises thresholds until clips without instruments get no tag.

    Args:
        thresholds: By level, `(num_classes,)`.
        silence: By level, scores `(num_clips, num_classes)` of clips in which nothing plays.
        allowed: Share of these clips that may still get a tag: those that would cost most.

    Returns:
        The thresholds, none lower than before and none above 0.999.

    Raises:
        LabelError: If shapes differ or a score is no probability.

    Example:
        >>> above_silence({"fine": [0.5, 0.5]}, {"fine": [[0.7, 0.1]] * 3})
        {'fine': [0.7001, 0.5]}
    """
    scores = {level: np.asarray(values, np.float64) for level, values in silence.items()}
    for level, values in scores.items():
        width = len(thresholds[level])
        if values.ndim != 2 or values.shape[1] != width or not _probabilities(values):
            raise LabelError(
                f"`silence[{level!r}]` must hold probabilities (clips, {width}). Received "
                f"shape: {values.shape}"
            )
    # By how much a clip's boldest tag exceeds its threshold: the most excessive may stay.
    excess = np.max(
        [
            (values - np.asarray(thresholds[level])).max(axis=1)
            for level, values in scores.items()
        ],
        axis=0,
    )
    count = len(excess) - int(allowed * len(excess))
    counted = np.argsort(excess, kind="stable")[:count]
    return {
        level: [
            round(float(max(old, min(highest + 1e-4, 0.999)) if highest >= old else old), 4)
            for old, highest in zip(thresholds[level], values[counted].max(axis=0), strict=True)
        ]
        for level, values in scores.items()
    }


def _outputs(
    taxonomy: Taxonomy, raw: Mapping[str, Any], calibration: Calibration
) -> dict[str, Any]:
    """Returns the symbolic calibrated scores by level."""
    from .layers import AncestorClosure, ScoreCalibration

    scores = {
        level: ScoreCalibration(
            calibration.scale[level],
            calibration.offset[level],
            dtype="float32",
            name=f"{level}_calibration",
        )(raw[level])
        for level in taxonomy.levels
    }
    if links := taxonomy.linked_levels() if calibration.consistent else calibration.raised:
        # Each class has a line of its own, so a child may have passed its parent.
        return AncestorClosure(links, dtype="float32", name="calibrated_closure")(scores)
    return scores


def _check(level: str, truth: np.ndarray, scores: np.ndarray, owner: np.ndarray) -> None:
    if (
        truth.ndim != 2
        or scores.ndim != 2
        or truth.shape[1] != scores.shape[1]
        or owner.shape != (len(scores),)
        or not np.array_equal(np.unique(owner), np.arange(len(truth)))
    ):
        raise LabelError(
            f"Labels and windows of {level!r} must be (clips, classes) and (windows, classes), "
            "and `clips` must give each window one of the clips, leaving none out. Received "
            f"shapes: {truth.shape}, {scores.shape}, {owner.shape}"
        )
    if not _probabilities(scores):
        raise LabelError(f"Windows of {level!r} must be probabilities in [0, 1].")
    if not (truth >= 0).any():
        raise LabelError(f"No label of {level!r} is observed, so nothing can be calibrated.")


def _probabilities(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())


def _fit_level(
    truth: NDArray[np.float64], scores: NDArray[np.float64], owner: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Returns scales and offsets, `(2, classes)`."""
    inside = np.clip(scores, _EDGE, 1 - _EDGE)
    logits = np.log(inside) - np.log1p(-inside)
    classes = range(truth.shape[1])

    def loss(line: NDArray[np.float64], tag: int) -> float:
        return _surprise(line, logits[:, tag], truth[:, tag], owner)

    def penalised(line: NDArray[np.float64], tag: int) -> float:
        return loss(line, tag) + float(np.square((line - common) / _SPREAD).sum() / 2)

    common = _minimise(lambda line: sum(loss(line, tag) for tag in classes), np.zeros(2))
    lines = np.array([_minimise(partial(penalised, tag=tag), common) for tag in classes]).T
    return np.stack([np.exp(lines[0]), lines[1]])


def _surprise(
    line: NDArray[np.float64],
    logits: NDArray[np.float64],
    labels: NDArray[np.float64],
    owner: NDArray[np.int64],
) -> float:
    """Returns the negative log-likelihood of one class's labels; `line` holds log(scale)."""
    windows = 1 / (1 + np.exp(-np.clip(np.exp(line[0]) * logits + line[1], -60, 60)))
    means = np.bincount(owner, windows) / np.bincount(owner)
    chances = np.clip(means, _EDGE, 1 - _EDGE)
    likelihood = np.where(labels > 0.5, chances, 1 - chances)
    return float(-np.log(likelihood[labels >= 0]).sum())


def _minimise(
    function: Callable[[NDArray[np.float64]], float], start: NDArray[np.float64]
) -> NDArray[np.float64]:
    from scipy.optimize import minimize

    limit = np.log(_MOST_SCALE)
    bounds = [(-limit, limit), (-10.0, 10.0)]
    return minimize(function, start, method="L-BFGS-B", bounds=bounds).x
