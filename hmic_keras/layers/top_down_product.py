"""Top-down product: the probability of a class given its parents, times theirs."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from ._functional import grouped_max, path_product, pooling_plan
from ._hierarchical_layer import HierarchicalLayer


@keras.saving.register_keras_serializable(package="hmic_keras")
class TopDownProduct(HierarchicalLayer):
    """Multiplies probabilities given the parents down the hierarchy.

    With `q` the probabilities it is given, a class without parents answers `P(A) = q(A)` and
    any other `P(A) = q(A) min(P(B) for B in parents(A))`: a class implies all its parents, so
    with several the least likely one counts, and no class answers more than an ancestor. In a
    tree it is the product along the path from the root.

    In training it passes `q` on, and the loss of our models then compares labels with
    `loss_view`: a class is trained only where all its parents are present, since only there
    its label says anything about `q`. A class counts as present with a label above 0.5; below
    a present class, parents are present whether or not they are labelled.

    Args:
        links: List of `[parent level, child level, pairs]`, with integer pairs of parent and
            child index, as `Taxonomy.linked_levels` gives them.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        Dict by level of probabilities `(..., num_classes)`.

    Output shape:
        The same.

    Raises:
        ValueError: If `links` name a level or a class that is not there, or run in a circle.

    Example:
        >>> import numpy as np
        >>> layer = TopDownProduct([["coarse", "fine", [[0, 0], [0, 1]]]])
        >>> q = {"fine": np.array([[0.5, 1.0]]), "coarse": np.array([[0.5]])}
        >>> np.asarray(layer(q)["fine"]).tolist()
        [[0.25, 0.5]]

    References:
        Brust and Denzler, "Integrating Domain Knowledge: Using Hierarchies to Improve Deep
        Classifiers", ACPR 2019 (arXiv 1811.07125).
    """

    _upward = False

    def call(self, scores: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
        """Returns the products; in training, what it was given."""
        return dict(scores) if training else self.answer(scores)

    def answer(self, scores: Mapping[str, Any], rows: Any = None) -> dict[str, Any]:
        """Returns the products, in training too."""
        return self._by_level(path_product(self._joined(scores), self._plan))

    def loss_view(
        self, labels: Mapping[str, Any], scores: Mapping[str, Any], sample_weight: Any = None
    ) -> tuple[dict[str, Any], Mapping[str, Any], Any]:
        """Returns the labels, scores and weights that the loss compares.

        Args:
            labels: Labels by level `(batch, num_classes)`: 1, 0, between them a probability,
                -1 or NaN unobserved. A level without labels is unobserved.
            scores: What the layer was given.
            sample_weight: Passed on.
        """
        joined = self._joined_labels(labels, scores)
        present = ops.greater(joined, 0.5)
        size = joined.shape[-1]
        absent = ops.cast(ops.logical_not(present), "float32")
        # A last column stands for the parent of those that have none: it is always present.
        absent = ops.pad(absent, [[0, 0], [0, 1]])
        asked = ops.logical_or(present, grouped_max(absent, self._parents(size)) < 0.5)
        return self._by_level(ops.where(asked, joined, -1.0)), scores, sample_weight

    def _parents(self, size: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Returns the plan of `grouped_max` that gives each class its parents."""
        orphans = np.setdiff1d(np.arange(size), self._pairs[:, 1])
        own = np.stack([orphans, np.full_like(orphans, size)], axis=1)
        links = np.concatenate([self._pairs[:, ::-1], own])
        return pooling_plan(links[np.lexsort(links.T[::-1])], size)
