"""One network for each level."""

from collections.abc import Mapping
from typing import Any

from ..taxonomy import Taxonomy
from ._common import Features, classifier


def independent(features: Mapping[str, Features], taxonomy: Taxonomy) -> dict[str, Any]:
    """Classifies every level with a network of its own: backbone, pooling and classifier.

    The non-joint baseline of Zhong et al. (2023): nothing is shared but the input, so each
    level learns as if the others were not there. A child may score above its parent.

    Args:
        features: By level, each from a backbone of its own.
        taxonomy: The taxonomy.

    Returns:
        Probabilities by level.
    """
    return {
        level: classifier(features[level], len(taxonomy.classes(level)), level)
        for level in taxonomy.levels
    }
