"""Weights of classes, computed from labels with unobserved ones."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import LabelError
from ..taxonomy import as_labels


def positive_weights(
    labels: ArrayLike, power: float = 1.0, limit: float = 10.0
) -> NDArray[np.float32]:
    """Computes by how much a present label must count so that rare classes are not drowned.

    The weight of a class is `(absent / present) ** power` over its observed labels, kept
    between `1 / limit` and `limit`: with a power of 1 both kinds add up alike, with 0.5 half
    the way in octaves. A class that lacks either kind weighs 1.

    Args:
        labels: Labels of a level, `(clips, classes)`; present above 0.5.
        power: How strongly, from 0 (not at all) to 1.
        limit: Largest weight, at least 1.

    Returns:
        float32 `(classes,)`, for `positive_weights` of a loss.

    Raises:
        LabelError: If `labels` is not a label array, or `power` or `limit` out of its range.

    Example:
        >>> positive_weights([[1, 1, -1], [0, 0, 0], [0, -1, 0], [0, 0, 0]]).tolist()
        [3.0, 2.0, 1.0]
    """
    _check(power, limit)
    known = as_labels(labels, "labels")
    present = (known > 0.5).sum(axis=0)
    absent = (known >= 0).sum(axis=0) - present
    both = (present > 0) & (absent > 0)
    return _limited(np.where(both, absent / np.maximum(present, 1), 1.0), power, limit)


def class_weights(
    labels: ArrayLike, power: float = 1.0, limit: float = 10.0
) -> NDArray[np.float32]:
    """Computes weights that let classes with few observed labels count as much as others.

    The weight of a class is `(mean / observed) ** power`, where `observed` is how many of its
    labels are observed and `mean` the average over classes that have any, kept between
    `1 / limit` and `limit`. With a power of 1 every class adds up alike over the corpus. A
    class without an observed label weighs 1, which no loss will see.

    Args:
        labels: Labels of a level, `(clips, classes)`.
        power: How strongly, from 0 (not at all) to 1.
        limit: Largest weight, at least 1.

    Returns:
        float32 `(classes,)`, for `class_weights` of a loss.

    Raises:
        LabelError: If `labels` is not a label array, or `power` or `limit` out of its range.

    Example:
        >>> class_weights([[1, -1], [0, 0], [1, -1]]).tolist()
        [0.6666666865348816, 2.0]
    """
    _check(power, limit)
    observed = (as_labels(labels, "labels") >= 0).sum(axis=0)
    some = observed > 0
    mean = observed[some].mean() if some.any() else 1.0
    return _limited(np.where(some, mean / np.maximum(observed, 1), 1.0), power, limit)


def _limited(ratios: NDArray[np.float64], power: float, limit: float) -> NDArray[np.float32]:
    return np.clip(ratios**power, 1 / limit, limit).astype(np.float32)


def _check(power: float, limit: float) -> None:
    if not 0 <= power <= 1:
        raise LabelError(f"`power` must be a number from 0 to 1. Received: {power!r}")
    if not (limit >= 1 and math.isfinite(limit)):
        raise LabelError(f"`limit` must be a finite number of at least 1. Received: {limit!r}")
