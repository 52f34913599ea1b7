"""An ensemble of coherent voices on shared features."""

from typing import Any

from keras import layers

from ..backbones import check_counts, check_rate
from ..errors import ModelError
from ..layers import EnsembleDense, MaxConstraint, VoiceMean
from ..taxonomy import Taxonomy
from ._common import Features, layer_links


def chorus(
    features: Features,
    taxonomy: Taxonomy,
    *,
    num_voices: int = 5,
    shared: bool = False,
    units: int = 256,
    dropout: float = 0.3,
) -> dict[str, Any]:
    """Averages several voices, each of which obeys the hierarchy by itself.

    A method of this package. Voice `k` classifies every class, `h[k]`. It is constrained by the
    maximum over descendants and trained by the loss of C-HMCNN on the labels themselves; the
    answer is the mean of the voices, which obeys the hierarchy since each of them does:

        P(A) = 1/K sum over k of max(h[k, B] for B in A and its descendants)
        loss = 1/K sum over k of MCLoss(h[k], y)

    A maximum over descendants rests on the one score that errs most to the upper side. The
    mean of several maxima damps that; the maximum of mean scores would not.

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
        num_voices: Number of voices.
        shared: Whether the voices share their matrices.
        units: Width of the voices' hidden layer, where the backbone has no voices.
        dropout: Rate of dropout after that layer.

    Returns:
        Probabilities by level, no child above its parent.

    Raises:
        ModelError: If `num_voices` or `units` is no count, `dropout` no rate, or `shared`
            neither True nor False.
    """
    check_counts(num_voices=num_voices, units=units)
    check_rate("dropout", dropout)
    if not isinstance(shared, bool):
        raise ModelError(f"`shared` must be True or False. Received: {shared!r}")
    x = features.embedding
    if len(x.shape) == 2:
        x = EnsembleDense(
            units, num_voices, separate=not shared, activation="relu", name="voices"
        )(x)
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
