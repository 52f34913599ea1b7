"""The max-constraint module of C-HMCNN, with what its loss compares."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
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

    A class without a score of its own (`unscored`) is only as high as its descendants. If it is
    present and none of those that could vouch for it is known to be, the highest of those not
    known to be absent does; if all of them are known to be absent, the highest of all.

    Args:
        links: List of `[parent level, child level, pairs]`, with integer pairs of parent and
            child index, as `Taxonomy.linked_levels` gives them.
        unscored: Indices by level of the classes that have no score of their own: whatever
            they are given counts as 0. Each must have a descendant that has one.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        Dict by level of probabilities `(..., num_classes)`.

    Output shape:
        The same.

    Raises:
        ValueError: If `links` name a level or a class that is not there, or run in a circle,
            or `unscored` does, or leaves a class without any score.

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

    def __init__(
        self,
        links: Sequence[Sequence[Any]],
        unscored: Mapping[str, Sequence[int]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(links, **kwargs)
        self._unscored = {
            level: [int(i) for i in which] for level, which in (unscored or {}).items()
        }
        self._scored: np.ndarray | None = None

    def build(self, input_shape: Mapping[str, Sequence[int | None]]) -> None:
        """Arranges the steps, and finds out which classes have a score of their own."""
        super().build(input_shape)
        scored = {level: np.ones(size, "float32") for level, size in self._levels.items()}
        for level, which in self._unscored.items():
            size = self._levels.get(level, 0)
            if not all(0 <= i < size for i in which):
                raise ValueError(
                    f"`unscored` must name classes of the input by level, which has "
                    f"{self._levels}. Received: {level!r}: {which}"
                )
            scored[level][which] = 0.0
        joined = np.concatenate(list(scored.values()))
        if joined.all():
            return
        vouched = ops.convert_to_numpy(descendant_max(joined[np.newaxis], self._plan))
        if not vouched.all():
            raise ValueError(
                "`unscored` must leave each class a score: its own or that of a descendant. "
                f"Received: {self._unscored}, where class {int(np.argmin(vouched[0]))} of all "
                "levels has none"
            )
        self._scored = joined

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        more = {"unscored": self._unscored} if self._unscored else {}
        return {**super().get_config(), **more}

    def answer(self, scores: Mapping[str, Any], rows: Any = None) -> dict[str, Any]:
        """Returns the constrained scores, in training too."""
        return self._by_level(descendant_max(self._own(scores), self._plan))

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
        own, known = self._own(scores), self._joined_labels(labels, scores)
        present = ops.greater(known, 0.5)
        views = [own, ops.where(present, own, 0.0)]
        if self._scored is not None:
            absent = ops.logical_and(ops.greater_equal(known, 0.0), ops.less_equal(known, 0.5))
            able = ops.zeros_like(own) + self._scored
            views += [
                ops.where(absent, 0.0, own),
                ops.where(present, able, 0.0),
                ops.where(absent, 0.0, able),
            ]
        # One walk through the hierarchy for all of them.
        found = ops.unstack(descendant_max(ops.stack(views, axis=0), self._plan), axis=0)
        highest, vouched = found[:2]
        if self._scored is not None:
            possible, vouchers, candidates = found[2:]
            vouched = ops.where(
                vouchers > 0, vouched, ops.where(candidates > 0, possible, highest)
            )
        return labels, self._by_level(ops.where(present, vouched, highest)), sample_weight

    def _own(self, scores: Mapping[str, Any]) -> Any:
        joined = self._joined(scores)
        return joined if self._scored is None else joined * self._scored
