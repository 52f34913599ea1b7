"""Grouped max-pooling: coarse tags by rule."""

from typing import Any

import numpy as np

from ..taxonomy import Taxonomy
from ._common import Features, child_scores, children_of, classifier, join, pool


def gmp(features: Features, taxonomy: Taxonomy) -> dict[str, Any]:
    """Scores each coarser class as the highest of its children (Zhong et al., 2023).

    Only the finest level is classified from the features; a class without children gets a
    classifier of its own. Children at any finer level count, through skip links too, so no
    class scores above an ancestor.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.

    Returns:
        Probabilities by level.
    """
    finest, *coarser = taxonomy.levels
    scores = {finest: classifier(features, len(taxonomy.classes(finest)), finest)}
    for level in coarser:
        children = children_of(taxonomy, level)
        parts, links = child_scores(children, scores, level), children.links
        if len(children.childless):
            own = np.arange(len(children.childless)) + len(children.names)
            # The classifier's score is the only member of a childless class's group.
            links = np.concatenate([links, np.stack([children.childless, own], axis=1)])
            parts.append(classifier(features, len(own), f"{level}_childless"))
        members = join(parts, f"{level}_members")
        scores[level] = pool(members, links, len(taxonomy.classes(level)), f"{level}_gmp")
    return scores
