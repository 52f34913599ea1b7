"""The max-constraint module of C-HMCNN, with what its loss compares."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from ._functional import descendant_max
from .ancestor_closure import AncestorClosure


@keras.saving.register_keras_serializable(package="hmic_keras")
class MaxConstraint(AncestorClosure):
    """Constrains scores to the hierarchy, and trains them through the constraint.

    With `h` the scores it is given and `D(A)` the class `A` and its descendants, it answers
    `MCM(h)[A] = max(h[B] for B in D(A))`. In training it passes `h` on, and the loss of our
    models then compares labels with `loss_view`: where `A` is present, the highest score of
    the classes in `D(A)` that are present as well; elsewhere `MCM(h)[A]`. Under binary
    cross-entropy that is the published MCLoss. So a present class cannot be vouched for by the
    score of an absent one.

    A class counts as present with a label above 0.5. An unobserved class vouches for no
    ancestor, but an absent ancestor makes it absent.

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
        >>> layer = MaxConstraint([["coarse", "fine", [[0, 0], [0, 1]]]])
        >>> h = {"fine": np.array([[0.2, 0.7]]), "coarse": np.array([[0.4]])}
        >>> labels = {"fine": np.array([[1.0, 0.0]]), "coarse": np.array([[1.0]])}
        >>> answered, (_, compared, _) = layer(h), layer.loss_view(labels, h)
        >>> [round(float(scores["coarse"][0, 0]), 1) for scores in (answered, compared)]
        [0.7, 0.4]

    References:
        Giunchiglia and Lukasiewicz, "Coherent Hierarchical Multi-Label Classification
        Networks", NeurIPS 2020 (arXiv 2010.10151).
    """

    def loss_view(
        self, labels: Mapping[str, Any], scores: Mapping[str, Any], sample_weight: Any = None
    ) -> tuple[Mapping[str, Any], dict[str, Any], Any]:
        """Returns the labels, scores and weights that the loss compares.

        Args:
            labels: Labels by level `(batch, num_classes)`: 1, 0, between them a probability,
                -1 or NaN unobserved. A level without labels is unobserved.
            scores: What the layer was given.
            sample_weight: Passed on.
        """
        joined = self._joined(scores)
        present = ops.greater(self._joined_labels(labels, scores), 0.5)
        # One walk through the hierarchy for both.
        pair = ops.stack([joined, ops.where(present, joined, 0.0)], axis=0)
        highest, vouched = ops.unstack(descendant_max(pair, self._plan), axis=0)
        return labels, self._by_level(ops.where(present, vouched, highest)), sample_weight
