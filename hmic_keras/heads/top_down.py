"""Each class given its parents."""

from typing import Any

from ..layers import TopDownProduct
from ..taxonomy import Taxonomy
from ._common import Features, classifiers, layer_links


def top_down(features: Features, taxonomy: Taxonomy) -> dict[str, Any]:
    """Multiplies the probability of a class given its parents with that of the parents.

    Local classifiers for every node, trained jointly on shared features: each class learns
    only from clips where its parents are present, and answers `P(A) = q(A) min P(parents)`.
    After Brust and Denzler, "Integrating Domain Knowledge: Using Hierarchies to Improve Deep
    Classifiers", ACPR 2019; the literature before it trains the nodes one by one (Silla and
    Freitas, 2011).

    Deviations: with several parents, a class needs all of them, so it is trained where all are
    present and multiplied with the least likely one; Brust and Denzler need any of them, for
    which a child could score above a parent.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.

    Returns:
        Probabilities by level, no child above its parent.
    """
    scores = classifiers(features, taxonomy)
    links = layer_links(taxonomy)
    return TopDownProduct(links, dtype="float32", name="top_down_product")(scores)
