"""Ancestor closure: no class scores below one of its descendants."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from ._functional import descendant_max
from ._hierarchical_layer import HierarchicalLayer


@keras.saving.register_keras_serializable(package="hmic_keras")
class AncestorClosure(HierarchicalLayer):
    """Raises every class to the highest score among itself and its descendants.

    It runs depth by depth along the direct links, in time and memory linear in them, for trees
    and for classes with several parents. It has no weights. Scores that obey the hierarchy
    pass unchanged. In training they all do: the closure mends the answers of a network that
    learned without it.

    Args:
        links: List of `[parent level, child level, pairs]`, with integer pairs of parent and
            child index, as `Taxonomy.linked_levels` gives them.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        Dict by level of scores `(..., num_classes)`: probabilities or logits.

    Output shape:
        The same.

    Raises:
        ValueError: If `links` name a level or a class that is not there, or run in a circle.

    Example:
        >>> import numpy as np
        >>> close = AncestorClosure([["coarse", "fine", [[0, 0], [0, 1]]]])
        >>> closed = close({"fine": np.array([[0.2, 0.7]]), "coarse": np.array([[0.4, 0.1]])})
        >>> print(np.asarray(closed["coarse"]).round(1))
        [[0.7 0.1]]
    """

    def __init__(self, links: Sequence[Sequence[Any]], **kwargs: Any) -> None:
        super().__init__(links, **kwargs)

    def call(self, scores: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Returns the closed scores; in training, those it was given."""
        return dict(scores) if training else self.answer(scores)

    def answer(self, scores: Mapping[str, Any], rows: Any = None) -> dict[str, Any]:
        """Returns the closed scores, in training too."""
        return self._by_level(descendant_max(self._joined(scores), self._plan))
