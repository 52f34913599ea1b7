"""Grouped max-pooling: coarse tags by rule."""

from functools import partial
from typing import Any

from ..taxonomy import Taxonomy
from ._common import Features, classifier, grouped_scores


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
    return grouped_scores(taxonomy, own_scores, partial(classifier, features))
