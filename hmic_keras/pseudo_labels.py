"""Soft labels for what nobody observed, from a trained model and the hierarchy.

Self-training in two steps: train a model on the observed labels, let it fill in the others,
train a new one on both. The hierarchy makes more of the answers than a plain model would: what
was observed above and below a class bounds it, and of the children of a present class at least
one is present.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._links import reduce_groups
from .errors import LabelError
from .taxonomy import Taxonomy, as_labels

__all__ = ["PseudoLabels", "pseudo_labels"]


class PseudoLabels(NamedTuple):
    """Labels without gaps, and how much each of them counts.

    Attributes:
        labels: By level, float32 `(clips, classes)` from 0 to 1: for `fit` as `y`.
        weights: By level, float32 of the same shape: for `fit` as `sample_weight`.
    """

    labels: dict[str, NDArray[np.float32]]
    weights: dict[str, NDArray[np.float32]]


def pseudo_labels(
    taxonomy: Taxonomy,
    labels: Mapping[str, ArrayLike],
    scores: Mapping[str, ArrayLike],
    *,
    weight: float = 0.5,
    children_cover: bool = True,
) -> PseudoLabels:
    """Fills unobserved labels with a model's probabilities, corrected by the hierarchy.

    With `p` the probabilities of the model and `y` what was observed:

    1. Where a class is present and has children, at least one of them is. Their probabilities
       are conditioned on that as if independent: `p(c) / (1 - product of (1 - p) over the
       children)`, where an observed child counts as what it is.
    2. `p` is moved between its bounds: at least the label of every observed descendant, at most
       that of every observed ancestor.
    3. An unobserved class is raised to the highest of its descendants.

    Observed labels stay as they are.

    Args:
        taxonomy: The taxonomy.
        labels: By level, every level, `(clips, classes)`: 1, 0, between them a probability, -1
            or NaN unobserved. They should be closed, see `Taxonomy.close_labels`.
        scores: The model's probabilities by level, of the same shapes.
        weight: How much a filled-in label counts beside an observed one, from 0 to 1.
        children_cover: Whether step 1 holds. Not so where a clip may be labelled with a class
            and none of its children.

    Returns:
        Labels and weights.

    Raises:
        LabelError: If labels or scores lack a level, differ in shape or hold other values, or
            `weight` is out of range.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
        >>> labels = {"fine": [[-1, -1, -1]], "coarse": [[1, 0]]}
        >>> scores = {"fine": [[0.4, 0.2, 0.3]], "coarse": [[0.6, 0.3]]}
        >>> filled = pseudo_labels(taxonomy, labels, scores)
        >>> print(filled.labels["fine"].round(2), filled.weights["fine"])
        [[0.77 0.38 0.  ]] [[0.5 0.5 0.5]]

    References:
        Lee, "Pseudo-Label: The Simple and Efficient Semi-Supervised Learning Method for Deep
        Neural Networks", ICML workshop 2013. The corrections are this package's.
    """
    real = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not real or not 0 <= weight <= 1:
        raise LabelError(f"`weight` must be a number from 0 to 1. Received: {weight!r}")
    known = _arrays("labels", taxonomy, labels)
    answers = _arrays("scores", taxonomy, scores)
    for level in taxonomy.levels:
        if known[level].shape != answers[level].shape or (answers[level] < 0).any():
            raise LabelError(
                f"The scores of {level!r} must be probabilities for every label, of the shape "
                f"{known[level].shape}. Received: shape {answers[level].shape}, lowest value "
                f"{answers[level].min(initial=0):g}"
            )
    filled = {
        level: np.where(known[level] < 0, answers[level], known[level])
        for level in taxonomy.levels
    }
    if children_cover:
        filled = _conditioned(taxonomy, known, filled)
    filled = _bounded(taxonomy, known, filled)
    weights = {
        level: np.where(values < 0, np.float32(weight), np.float32(1))
        for level, values in known.items()
    }
    return PseudoLabels(_closed(taxonomy, known, filled), weights)


def _arrays(
    what: str, taxonomy: Taxonomy, values: Mapping[str, ArrayLike]
) -> dict[str, NDArray[np.float32]]:
    if not isinstance(values, Mapping) or set(values) != set(taxonomy.levels):
        given = sorted(map(str, values)) if isinstance(values, Mapping) else type(values)
        raise LabelError(
            f"`{what}` must be a dict with every level of {list(taxonomy.levels)}. "
            f"Received: {given}"
        )
    return {
        level: as_labels(values[level], level, taxonomy.classes(level))
        for level in taxonomy.levels
    }


def _conditioned(
    taxonomy: Taxonomy,
    known: Mapping[str, NDArray[np.float32]],
    filled: Mapping[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """Conditions unobserved children of a present class on one of them being present."""
    none = {level: np.ones_like(values) for level, values in filled.items()}
    for parent, child, links in taxonomy.linked_levels():
        columns, silent = reduce_groups(
            np.multiply, 1 - filled[child][:, links[:, 1]], links[:, 0]
        )
        none[parent][:, columns] *= silent
    result = {level: values.copy() for level, values in filled.items()}
    for parent, child, links in taxonomy.linked_levels():
        by_child = links[np.argsort(links[:, 1], kind="stable")]
        above, below = by_child.T
        any_child = np.maximum(1 - none[parent][:, above], np.finfo(np.float32).tiny)
        raised = np.minimum(filled[child][:, below] / any_child, 1)
        present = known[parent][:, above] > 0.5
        raised = np.where(present, raised, 0).astype(np.float32)
        columns, highest = reduce_groups(np.maximum, raised, below)
        open_ = known[child][:, columns] < 0
        current = result[child][:, columns]
        result[child][:, columns] = np.where(open_, np.maximum(current, highest), current)
    return result


def _bounded(
    taxonomy: Taxonomy,
    known: Mapping[str, NDArray[np.float32]],
    filled: dict[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """Moves unobserved classes between observed descendants and observed ancestors."""
    low = {level: np.zeros_like(values) for level, values in filled.items()}
    high = {level: np.ones_like(values) for level, values in filled.items()}
    for parent, child, links in _closure(taxonomy):
        below = np.maximum(known[child][:, links[:, 1]], 0)
        columns, highest = reduce_groups(np.maximum, below, links[:, 0])
        low[parent][:, columns] = np.maximum(low[parent][:, columns], highest)
        by_child = links[np.argsort(links[:, 1], kind="stable")]
        labels = known[parent][:, by_child[:, 0]]
        columns, lowest = reduce_groups(
            np.minimum, np.where(labels < 0, np.float32(1), labels), by_child[:, 1]
        )
        high[child][:, columns] = np.minimum(high[child][:, columns], lowest)
    return {
        level: np.where(known[level] < 0, np.clip(values, low[level], high[level]), values)
        for level, values in filled.items()
    }


def _closed(
    taxonomy: Taxonomy,
    known: Mapping[str, NDArray[np.float32]],
    filled: dict[str, NDArray[np.float32]],
) -> dict[str, NDArray[np.float32]]:
    """Raises unobserved classes to the highest of their descendants."""
    for parent, child, links in _closure(taxonomy):
        columns, highest = reduce_groups(np.maximum, filled[child][:, links[:, 1]], links[:, 0])
        current = filled[parent][:, columns]
        open_ = known[parent][:, columns] < 0
        filled[parent][:, columns] = np.where(open_, np.maximum(current, highest), current)
    return filled


def _closure(taxonomy: Taxonomy) -> list[tuple[str, str, NDArray[np.int64]]]:
    return [
        (parent, child, links)
        for i, child in enumerate(taxonomy.levels)
        for parent in taxonomy.levels[i + 1 :]
        if len(links := taxonomy.links(parent, child))
    ]
