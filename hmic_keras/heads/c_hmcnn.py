"""Coherent hierarchical multi-label classification: scores constrained by a maximum."""

from typing import Any

from ..layers import MaxConstraint
from ..taxonomy import Taxonomy
from ._common import Features, classifiers, layer_links


def c_hmcnn(features: Features, taxonomy: Taxonomy) -> dict[str, Any]:
    """Raises each class to the highest of itself and its descendants, in answer and loss.

    Giunchiglia and Lukasiewicz, "Coherent Hierarchical Multi-Label Classification Networks",
    NeurIPS 2020: C-HMCNN(h). Every class of every level is classified from the features, and
    `layers.MaxConstraint` ties them; trained with any loss of ours, it is given the published
    view of the labels, under binary cross-entropy the MCLoss.

    Deviations: the constraint runs along direct links instead of over all pairs of classes.
    Our losses are a mean for each level; `loss_weights` in proportion to the classes of a
    level give the published mean over all classes. Unobserved labels are left out.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.

    Returns:
        Probabilities by level, no child above its parent.
    """
    scores = classifiers(features, taxonomy)
    links = layer_links(taxonomy)
    return MaxConstraint(links, dtype="float32", name="max_constraint")(scores)
