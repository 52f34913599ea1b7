"""Label arrays: their rules, and how labels follow from one another over a hierarchy."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._links import reduce_groups
from .errors import LabelError

UNOBSERVED = -1.0

Links = Mapping[tuple[int, int], NDArray[np.int64]]
"""Index pairs `(parent, child)` by the numbers of their levels, coarser first."""


def as_labels(
    values: ArrayLike, what: str, classes: Sequence[str] | None = None
) -> NDArray[np.float32]:
    """Checks a label array and writes unobserved labels as -1.

    Args:
        values: `(rows, classes)`: 1 present, 0 absent, between them a probability, -1 or NaN
            unobserved.
        what: What the array is, such as its level, for messages.
        classes: The class of each column; where given, the width must match.

    Returns:
        New float32 array of the same shape, without NaN.

    Raises:
        LabelError: If the array is not numeric, not 2-D, too wide or narrow, or holds another
            value.

    Example:
        >>> as_labels([[1, 0.3, float("nan")]], "fine")
        array([[ 1. ,  0.3, -1. ]], dtype=float32)
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise LabelError(f"Labels of {what!r} must be numbers. Received: {array.dtype}")
    if array.ndim != 2:
        raise LabelError(
            f"Labels of {what!r} must have the shape (rows, classes). Received: {array.shape}"
        )
    if classes is not None and array.shape[1] != len(classes):
        raise LabelError(
            f"Labels of {what!r} must have {len(classes)} columns, one a class. Received: "
            f"{array.shape[1]}"
        )
    labels = array.astype(np.float32)
    labels[np.isnan(labels)] = UNOBSERVED
    wrong = (labels != UNOBSERVED) & ~((labels >= 0) & (labels <= 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        place = f"column {column}" if classes is None else f"class {classes[column]!r}"
        raise LabelError(
            f"Labels of {what!r}, row {row}, {place}: a label must be 1 (present), 0 (absent), "
            "a probability between them, or -1 or NaN (unobserved). Received: "
            f"{labels[row, column]:g}"
        )
    return labels


def refuse_contradictions(
    given: Mapping[int, NDArray[np.float32]],
    closure: Links,
    levels: Sequence[str],
    classes: Sequence[Sequence[str]],
) -> None:
    """Refuses a class given as present below one that is given as absent.

    Args:
        given: Label arrays by the number of their level.
        closure: Every pair of ancestor and descendant.
        levels: Level names, for the message.
        classes: Class names of each level, for the message.

    Raises:
        LabelError: Naming the first such row, child and ancestor.
    """
    for (parent, child), pairs in closure.items():
        if parent not in given or child not in given:
            continue
        above = given[parent][:, pairs[:, 0]]
        wrong = (given[child][:, pairs[:, 1]] > 0.5) & (above >= 0) & (above <= 0.5)
        if wrong.any():
            row, link = np.argwhere(wrong)[0]
            p, c = pairs[link]
            raise LabelError(
                f"Row {row}: {classes[child][c]!r} (level {levels[child]!r}) is "
                f"labelled {given[child][row, c]:g}, present, but its parent "
                f"{classes[parent][p]!r} (level {levels[parent]!r}) is labelled "
                f"{given[parent][row, p]:g}, absent. A present class implies its parents; "
                "correct one of the two or leave it unobserved."
            )


def spread_absence(
    given: Mapping[int, NDArray[np.float32]],
    closed: Sequence[NDArray[np.float32]],
    closure: Links,
) -> None:
    """Marks unobserved classes below one given as 0 as absent, in place in `closed`."""
    for (parent, child), pairs in closure.items():
        if parent not in given or not len(pairs):
            continue
        by_child = pairs[np.argsort(pairs[:, 1], kind="stable")]
        absent = given[parent][:, by_child[:, 0]] == 0
        columns, implied = reduce_groups(np.logical_or, absent, by_child[:, 1])
        current = closed[child][:, columns]
        closed[child][:, columns] = np.where(implied & (current < 0), 0, current)


def derive_parents(closed: list[NDArray[np.float32]], direct: Links) -> None:
    """Gives unobserved parents what follows from their direct children, in place."""
    for parent in range(1, len(closed)):
        highest = np.full_like(closed[parent], UNOBSERVED)
        open_child = np.zeros(highest.shape, bool)
        for child in range(parent):
            pairs = direct[parent, child]
            if not len(pairs):
                continue
            values = closed[child][:, pairs[:, 1]]
            columns, top = reduce_groups(np.maximum, values, pairs[:, 0])
            highest[:, columns] = np.maximum(highest[:, columns], top)
            _, unknown = reduce_groups(np.logical_or, values < 0, pairs[:, 0])
            open_child[:, columns] |= unknown
        derived = np.where(open_child & (highest <= 0.5), UNOBSERVED, highest)
        closed[parent] = np.where(closed[parent] < 0, derived, closed[parent]).astype(
            np.float32
        )
