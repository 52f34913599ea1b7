"""The penalty on scores that contradict the hierarchy."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops


def link_violations(scores: Mapping[str, Any], links: Sequence[tuple[str, str, Any]]) -> Any:
    """Returns by how much the child of each link scores above its parent, 0 where it does not.

    Args:
        scores: Scores by level, each `(batch, classes)`.
        links: `(parent level, child level, pairs)` with integer pairs `(links, 2)` of parent
            and child index, as `Taxonomy.direct_links` gives them.

    Returns:
        `(batch, links)`, the links of all entries in their order.

    Example:
        >>> import numpy as np
        >>> scores = {"fine": np.array([[0.9, 0.1]]), "coarse": np.array([[0.4]])}
        >>> links = [("coarse", "fine", np.array([[0, 0], [0, 1]]))]
        >>> np.asarray(link_violations(scores, links)).round(3).tolist()
        [[0.5, 0.0]]
    """
    above = [
        # Gathering grows with the links, where a masked difference grows with all pairs.
        ops.take(scores[child], pairs[:, 1], axis=-1)
        - ops.take(scores[parent], pairs[:, 0], axis=-1)
        for parent, child, pairs in links
    ]
    return ops.relu(ops.concatenate(above, axis=-1))


def consistency_penalty(violations: Any) -> Any:
    """Computes the mean squared amount by which children score above their parents.

    The hierarchical violation term of HMCN (Wehrmann, Cerri and Barros, "Hierarchical
    multi-label classification networks", ICML 2018): the squared hinge
    `max(0, child - parent)^2`, its mean over clips and links. It needs no labels, pushes the
    child down and the parent up, and is 0 for scores that obey the hierarchy, such as those of
    `gmp`.

    Args:
        violations: What `link_violations` returns, `(batch, links)` with at least one link.

    Returns:
        A scalar.

    Example:
        >>> import numpy as np
        >>> float(consistency_penalty(np.array([[0.5, 0.0]])))
        0.125
    """
    # As a Keras loss, the mean is also right under a distribution strategy.
    return keras.losses.MeanSquaredError()(ops.zeros_like(violations), violations)
