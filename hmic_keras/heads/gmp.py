"""Grouped max-pooling: coarse tags by rule."""

from typing import Any

import numpy as np

from ..taxonomy import Taxonomy
from ._common import (
    Features,
    child_scores,
    children_of,
    classifier,
    join,
    own_classes,
    own_name,
    pool,
)


def gmp(features: Features, taxonomy: Taxonomy, *, own_scores: bool = False) -> dict[str, Any]:
    """Scores each coarser class as the highest of its children (Zhong et al., 2023).

    Only the finest level is classified from the features; a class without children gets a
    classifier of its own. Children at any finer level count, through skip links too, so no
    class scores above an ancestor.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.
        own_scores: Whether classes with children get a classifier of their own as well, which
            counts as one more child: for labels that may end at an inner class, where a class
            is present and none of its children is.

    Returns:
        Probabilities by level.

    Raises:
        ModelError: If `own_scores` is neither True nor False.
    """
    finest, *coarser = taxonomy.levels
    scores = {finest: classifier(features, len(taxonomy.classes(finest)), finest)}
    for level in coarser:
        children = children_of(taxonomy, level)
        parts, links = child_scores(children, scores, level), children.links
        own = own_classes(children, own_scores)
        if len(own):
            # The score of its own is one more member of a class's group.
            members = np.arange(len(own)) + len(children.names)
            links = np.concatenate([links, np.stack([own, members], axis=1)])
            parts.append(classifier(features, len(own), own_name(level, own_scores)))
        members = join(parts, f"{level}_members")
        scores[level] = pool(members, links, len(taxonomy.classes(level)), f"{level}_gmp")
    return scores
