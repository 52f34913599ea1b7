"""An ensemble of coherent voices on shared features."""

from typing import Any

from keras import layers

from ..backbones import check_counts, check_rate, check_switches
from ..layers import EnsembleDense, MaxConstraint, VoiceMean
from ..taxonomy import Taxonomy
from ._common import Features, children_of, grouped_scores, layer_links


def chorus(
    features: Features,
    taxonomy: Taxonomy,
    *,
    own_scores: bool = False,
    num_voices: int = 5,
    shared: bool = False,
    units: int = 256,
    dropout: float = 0.3,
) -> dict[str, Any]:
    """Averages several voices, each of which obeys the hierarchy by itself.

    A method of this package. Voice `k` classifies the finest classes and those without
    children, `h[k]`. Every other class is as likely as its most likely descendant. Trained by
    the loss of C-HMCNN, a present class is vouched for by those of its descendants that are
    present as well; the answer is the mean of the voices, which obeys the hierarchy since each
    of them does:

        P(A) = 1/K sum over k of max(h[k, B] for B in A and its descendants)
        loss = 1/K sum over k of MCLoss(h[k], y)

    So it takes from `gmp` that a family needs no classifier, which would see few absent
    examples where few instruments are observed; from `c_hmcnn` that an absent instrument is
    never taught to stand for its family. And a mean of several maxima damps what a maximum
    suffers from: it rests on the one score that errs most to the upper side. The maximum of
    mean scores would not.

    On embeddings `(batch, dim)` with the backbone `mlp`, every voice is a network of its own
    from the first layer on, all of them computed side by side (`layers.EnsembleDense`): an
    ensemble in one model, for as many times the weights. With `shared` they share the large
    matrices and differ by the signs and scales of what goes in and out of them, which costs
    hardly more weights than one voice and more epochs. Any other backbone is shared, and the
    voices begin with a hidden layer on its features.

    The constraint and its loss are those of Giunchiglia and Lukasiewicz (NeurIPS 2020);
    ensembles of networks that differ by their first weights are those of Lakshminarayanan,
    Pritzel and Blundell (NeurIPS 2017), shared matrices those of BatchEnsemble (Wen et al.,
    ICLR 2020) and TabM (Gorishniy et al., ICLR 2025), which also trains each voice by itself.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.
        own_scores: Whether classes with children have an `h` as well: for labels that may end
            at an inner class, where a class is present and none of its children is.
        num_voices: Number of voices.
        shared: Whether the voices share their matrices.
        units: Width of the voices' hidden layer, where the backbone has no voices.
        dropout: Rate of dropout after that layer.

    Returns:
        Probabilities by level, no child above its parent.

    Raises:
        ModelError: If `num_voices` or `units` is no count, `dropout` no rate, or `own_scores`
            or `shared` neither True nor False.
    """
    check_counts(num_voices=num_voices, units=units)
    check_rate("dropout", dropout)
    check_switches(own_scores=own_scores, shared=shared)
    x = features.embedding
    if len(x.shape) == 2:
        x = EnsembleDense(
            units, num_voices, separate=not shared, activation="relu", name="voices"
        )(x)
        x = layers.Dropout(dropout, name="voices_dropout")(x)

    def classify(size: int, name: str) -> Any:
        logits = EnsembleDense(size, num_voices, separate=True, name=f"{name}_logits")(x)
        return layers.Activation("sigmoid", dtype="float32", name=f"{name}_probabilities")(
            logits
        )

    if own_scores:
        unscored = {}
        scores = {k: classify(len(taxonomy.classes(k)), k) for k in taxonomy.levels}
    else:
        unscored = {k: children_of(taxonomy, k).parents.tolist() for k in taxonomy.levels}
        scores = grouped_scores(taxonomy, False, classify)
    scores = MaxConstraint(
        layer_links(taxonomy), unscored, dtype="float32", name="max_constraint"
    )(scores)
    return VoiceMean(dtype="float32", name="voice_mean")(scores)
