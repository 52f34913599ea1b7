"""Fine-to-coarse attention: coarse tags as learned mixtures of fine ones."""

from typing import Any

import numpy as np
from keras import ops

from ..backbones import check_switches
from ..layers import FineToCoarseAttention
from ..taxonomy import Taxonomy
from ._common import (
    Children,
    Features,
    child_scores,
    children_of,
    classifier,
    join,
    own_classes,
    own_name,
    pool,
)

ATTENTION_SUFFIX = "_attention"


def f2ca(
    features: Features,
    taxonomy: Taxonomy,
    *,
    num_heads: int = 4,
    key_dim: int = 32,
    residual_weight: float = 1.0,
    hierarchy_prior: bool = False,
    own_scores: bool = False,
    detach_children: bool = False,
) -> dict[str, Any]:
    """Scores each coarser class as an attention-weighted sum of finer ones (Zhong et al.).

    The finest level is classified from the features. For every coarser level a
    `FineToCoarseAttention` looks at the features over time and weighs the next finer level
    (and any level with a skip link to it). A class without children gets a classifier of its
    own and no map.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.
        num_heads: Attention heads, averaged.
        key_dim: Width of a head.
        residual_weight: Weight of attention over time beside the plain mean.
        hierarchy_prior: Whether the maps start from the hierarchy instead of from nothing.
        own_scores: Whether classes with children get a classifier of their own as well, and
            score as the higher of its word and their children's mixture: for labels that may
            end at an inner class, where a class is present and none of its children is.
        detach_children: Whether a coarser level's loss leaves the scores it mixes alone, and
            teaches the maps and the features only. Otherwise it may lift one child in place of
            all: a network is then rewarded for a mandolin that answers to every plucked
            string, and its map says so. The paper does not speak of this.

    Returns:
        Probabilities by level.

    Raises:
        ModelError: If `own_scores` or `detach_children` is neither True nor False.
    """
    check_switches(detach_children=detach_children)
    finest, *coarser = taxonomy.levels
    scores = {finest: classifier(features, len(taxonomy.classes(finest)), finest)}
    for level in coarser:
        children = children_of(taxonomy, level)
        parts = []
        if len(children.parents):
            attention = FineToCoarseAttention(
                len(children.parents),
                num_heads=num_heads,
                key_dim=key_dim,
                residual_weight=residual_weight,
                prior_mask=_prior(children) if hierarchy_prior else None,
                # Cheap, and probabilities that are summed deserve all digits.
                dtype="float32",
                name=level + ATTENTION_SUFFIX,
            )
            (below,) = child_scores(children, scores, level)
            if detach_children:
                below = ops.stop_gradient(below)
            mixed, _ = attention(features.sequence, below, return_attention_scores=True)
            parts.append(mixed)
        own = own_classes(children, own_scores)
        if len(own):
            parts.append(classifier(features, len(own), own_name(level, own_scores)))
        scores[level] = join(parts, f"{level}_members")
        if len(parts) == 2:
            owners = np.concatenate([children.parents, own])
            # The maximum of each class's members; with one to a class it only reorders.
            links = np.stack([owners, np.arange(len(owners))], axis=1)
            size = len(taxonomy.classes(level))
            scores[level] = pool(scores[level], links, size, f"{level}_ordered")
    return scores


def _prior(children: Children) -> dict[str, Any]:
    rows = np.searchsorted(children.parents, children.links[:, 0])
    return {
        "links": np.stack([rows, children.links[:, 1]], axis=1).tolist(),
        "shape": [len(children.parents), len(children.names)],
    }
