"""Hierarchical multi-label classification network: local flows along a global one."""

from typing import Any

from keras import layers, ops

from ..backbones import check_counts, check_rate
from ..errors import ModelError
from ..layers import VoiceMean
from ..taxonomy import Taxonomy
from ._common import Features, probabilities


def hmcn_f(
    features: Features,
    taxonomy: Taxonomy,
    *,
    units: int = 384,
    dropout: float = 0.6,
    beta: float = 0.5,
) -> dict[str, Any]:
    """Mixes a local classifier of each level with a global one of all classes.

    Wehrmann, Cerri and Barros, "Hierarchical Multi-Label Classification Networks", ICML 2018:
    HMCN-F. With `x` the features and levels `h = 1, 2, ...` from the coarsest, the global flow
    is `A[h] = relu(W[h] (A[h-1], x))` and scores all classes after its last level. A local flow
    leaves it at every level, `relu(T[h] A[h])`, and scores the level. The answer is
    `beta * local + (1 - beta) * global`. Defaults are the published ones. Compile with
    `consistency=0.1` for the published penalty on violations.

    Deviations: `x` comes from a backbone, and the mean of the local and the global loss is
    taken instead of their sum.

    Args:
        features: From a backbone.
        taxonomy: The taxonomy.
        units: Width of the global and the local layers.
        dropout: Rate of dropout after each of them.
        beta: Weight of the local scores.

    Returns:
        Probabilities by level.

    Raises:
        ModelError: If `units` is no count, or `dropout` or `beta` is out of range.
    """
    check_counts(units=units)
    check_rate("dropout", dropout)
    if not isinstance(beta, int | float) or isinstance(beta, bool) or not 0 <= beta <= 1:
        raise ModelError(f"`beta` must be a number from 0 to 1. Received: {beta!r}")
    x = flow = features.embedding
    local = {}
    for number, level in enumerate(reversed(taxonomy.levels)):
        if number:
            flow = layers.Concatenate(name=f"{level}_global_input")([flow, x])
        flow = _dense(flow, units, dropout, f"{level}_global")
        local[level] = probabilities(
            _dense(flow, units, dropout, f"{level}_local"),
            len(taxonomy.classes(level)),
            f"{level}_local",
        )
    flows = {
        level: ops.stack(
            [local[level], probabilities(flow, local[level].shape[-1], f"{level}_global")],
            axis=1,
        )
        for level in taxonomy.levels
    }
    return VoiceMean([beta, 1.0 - beta], dtype="float32", name="flow_mean")(flows)


def _dense(x: Any, units: int, dropout: float, name: str) -> Any:
    x = layers.Dense(units, activation="relu", name=f"{name}_hidden")(x)
    x = layers.BatchNormalization(name=f"{name}_norm")(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x)
