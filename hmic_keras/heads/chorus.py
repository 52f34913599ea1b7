"""An ensemble of coherent voices on shared features."""

from typing import Any

from keras import layers

from ..backbones import check_counts, check_rate
from ..layers import EnsembleDense, MaxConstraint, VoiceMean
from ..taxonomy import Taxonomy
from ._common import Features, layer_links


def chorus(
    features: Features,
    taxonomy: Taxonomy,
    *,
    num_voices: int = 8,
    units: int = 256,
    dropout: float = 0.3,
) -> dict[str, Any]:
    """Averages several voices, each of which obeys the hierarchy by itself.

    A method of this package. Voice `k` has a hidden layer of its own (cheap: the matrix is
    shared, see `layers.EnsembleDense`) and a classifier of every class, `h[k]`. Each voice is
    constrained by the maximum over descendants and trained by the loss of C-HMCNN on the labels
    themselves; the answer is the mean of the voices, which obeys the hierarchy since each of
    them does:

        P(A) = 1/K sum over k of max(h[k, B] for B in A and its descendants)
        loss = 1/K sum over k of MCLoss(h[k], y)

    A maximum over children rests on the one score that errs most to the upper side. A mean
    over voices, each with a maximum of its own, damps that, where the maximum over mean scores
    would not. The constraint is that of Giunchiglia and Lukasiewicz (NeurIPS 2020), the voices
    are those of BatchEnsemble (Wen et al., ICLR 2020) and TabM (Gorishniy et al., ICLR 2025).

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.
        num_voices: Number of voices.
        units: Width of the voices' hidden layer.
        dropout: Rate of dropout after it.

    Returns:
        Probabilities by level, no child above its parent.

    Raises:
        ModelError: If `num_voices` or `units` is no count, or `dropout` no rate.
    """
    check_counts(num_voices=num_voices, units=units)
    check_rate("dropout", dropout)
    x = EnsembleDense(units, num_voices, activation="relu", name="voices")(features.embedding)
    x = layers.Dropout(dropout, name="voices_dropout")(x)
    scores = {}
    for level in taxonomy.levels:
        size = len(taxonomy.classes(level))
        logits = EnsembleDense(size, num_voices, separate=True, name=f"{level}_logits")(x)
        scores[level] = layers.Activation(
            "sigmoid", dtype="float32", name=f"{level}_probabilities"
        )(logits)
    links = layer_links(taxonomy)
    scores = MaxConstraint(links, dtype="float32", name="max_constraint")(scores)
    return VoiceMean(dtype="float32", name="voice_mean")(scores)
