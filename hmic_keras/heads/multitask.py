"""A classifier for each level on shared features."""

from typing import Any

from ..taxonomy import Taxonomy
from ._common import Features, classifiers


def multitask(features: Features, taxonomy: Taxonomy) -> dict[str, Any]:
    """Classifies every level by itself; the levels share the backbone only.

    The plain joint baseline: no rule and no attention ties the levels, so a child may score
    above its parent.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.

    Returns:
        Probabilities by level.
    """
    return classifiers(features, taxonomy)
