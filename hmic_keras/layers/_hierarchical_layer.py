"""What the layers share that work on the scores of all levels at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from ._functional import PropagationStep, propagation_plan


class HierarchicalLayer(keras.layers.Layer):
    """Base of the layers from scores by level to scores by level.

    Args:
        links: List of `[parent level, child level, pairs]`, with integer pairs of parent and
            child index, as `Taxonomy.linked_levels` gives them.
        **kwargs: Base layer arguments such as `name` and `dtype`.
    """

    _upward = True

    def __init__(self, links: Sequence[Sequence[Any]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._links = [_checked(one) for one in links]
        self._plan: list[PropagationStep] = []
        self._levels: dict[str, int] = {}
        self._pairs = np.empty((0, 2), int)

    def build(self, input_shape: Mapping[str, Sequence[int | None]]) -> None:
        """Arranges the steps through the hierarchy."""
        if not isinstance(input_shape, Mapping):
            raise ValueError(
                "The input must be a dict of scores by level, each (..., classes). "
                f"Received: shape {input_shape}"
            )
        self._levels = {level: _width(level, shape) for level, shape in input_shape.items()}
        starts = dict(
            zip(self._levels, np.cumsum([0, *self._levels.values()]).tolist(), strict=False)
        )
        flat = [np.empty((0, 2), int)]
        for parent, child, pairs in self._links:
            self._check_link(parent, child, pairs)
            flat.append(pairs + np.array([starts[parent], starts[child]]))
        self._pairs = np.unique(np.concatenate(flat), axis=0)
        size = sum(self._levels.values())
        self._plan = propagation_plan(self._pairs, size, upward=self._upward)
        super().build(input_shape)

    def compute_output_shape(self, input_shape: Mapping[str, Any]) -> Mapping[str, Any]:
        """Returns the shapes of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        links = [[parent, child, pairs.tolist()] for parent, child, pairs in self._links]
        return {**super().get_config(), "links": links}

    def _joined(self, scores: Mapping[str, Any]) -> Any:
        if list(self._levels) == list(scores) and len(scores) == 1:
            return next(iter(scores.values()))
        return ops.concatenate([scores[level] for level in self._levels], axis=-1)

    def _by_level(self, joined: Any) -> dict[str, Any]:
        if len(self._levels) == 1:
            return dict.fromkeys(self._levels, joined)
        ends = np.cumsum(list(self._levels.values()))[:-1].tolist()
        return dict(zip(self._levels, ops.split(joined, ends, axis=-1), strict=True))

    def _joined_labels(self, labels: Mapping[str, Any], like: Mapping[str, Any]) -> Any:
        """Joins labels; a level that is not labelled is unobserved."""
        known = {
            level: ops.cast(labels[level], "float32")
            if level in labels
            else ops.full_like(like[level], -1.0)
            for level in self._levels
        }
        return self._joined(known)

    def _check_link(self, parent: str, child: str, pairs: np.ndarray) -> None:
        for level in (parent, child):
            if level not in self._levels:
                raise ValueError(
                    f"`links` name the level {level!r}, which the input lacks. Received: "
                    f"levels {list(self._levels)}"
                )
        shape = (self._levels[parent], self._levels[child])
        if (pairs >= shape).any():
            raise ValueError(
                f"`links` from {parent!r} to {child!r} must lie within their {shape[0]} and "
                f"{shape[1]} classes. Received: indices up to {pairs.max(axis=0).tolist()}"
            )


def _width(level: str, shape: Sequence[int | None]) -> int:
    if len(shape) < 2 or shape[-1] is None:
        raise ValueError(
            f"The scores of {level!r} must have the shape (..., classes) with a known number "
            f"of classes. Received: {tuple(shape)}"
        )
    return shape[-1]


def _checked(link: Sequence[Any]) -> tuple[str, str, np.ndarray]:
    fits = isinstance(link, Sequence) and len(link) == 3
    if not fits or not all(isinstance(level, str) for level in link[:2]):
        raise ValueError(
            "`links` must be a list of [parent level, child level, index pairs]. "
            f"Received: {link!r}"
        )
    parent, child, values = link
    try:
        pairs = np.asarray(values)
    except ValueError as error:  # rows of several lengths
        raise ValueError(f"`links` must hold index pairs. Received: {values!r}") from error
    whole = pairs.ndim == 2 and pairs.shape[1] == 2 and pairs.dtype.kind in "iu"
    if not whole or not len(pairs) or (pairs < 0).any():
        raise ValueError(
            f"`links` from {parent!r} to {child!r} must be one or more pairs of a parent's and "
            f"a child's index, none below 0. Received: {values!r}"
        )
    return parent, child, pairs.astype(int)
