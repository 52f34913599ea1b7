"""What a model can answer besides probabilities: attention maps and the clip's embedding."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from ..errors import ModelError
from ..heads import children_of
from ..heads.f2ca import ATTENTION_SUFFIX

EXTRAS = ("attention_maps", "embedding")
_EMBEDDING = "embedding_pool"


def extra_outputs(model: Any, extras: Sequence[str]) -> dict[str, Any]:
    """Returns the symbolic extras of a model.

    Args:
        model: A model from `build_model`.
        extras: Any of `"attention_maps"` and `"embedding"`.

    Returns:
        `attention_LEVEL` `(batch, classes, children)` for each level with maps, as
        `explain.attention_maps` gives them; `embedding` `(batch, dim)`.

    Raises:
        ModelError: If an extra is unknown, or the model has no such thing.
    """
    found: dict[str, Any] = {}
    for name in extras:
        if name not in EXTRAS:
            raise ModelError(f"`extras` may hold {list(EXTRAS)}. Received: {name!r}")
        outputs = _attention(model) if name == "attention_maps" else _embedding(model)
        if not outputs:
            method = model.manifest["method"]["name"]
            reason = (
                f"method={method!r} learns none; 'f2ca' does"
                if name == "attention_maps"
                else f"its input is {model.manifest['input']!r} without a time axis to pool"
            )
            raise ModelError(f"The model has no {name} to export: {reason}.")
        found |= outputs
    return found


def _embedding(model: Any) -> dict[str, Any]:
    names = {layer.name for layer in model.layers}
    return {"embedding": model.get_layer(_EMBEDDING).output} if _EMBEDDING in names else {}


def _attention(model: Any) -> dict[str, Any]:
    names = {layer.name for layer in model.layers}
    levels = [level for level in model.taxonomy.levels if level + ATTENTION_SUFFIX in names]
    return {
        f"attention_{level}": _full_maps(
            model.get_layer(level + ATTENTION_SUFFIX).output[1],
            children_of(model.taxonomy, level).parents,
            len(model.taxonomy.classes(level)),
        )
        for level in levels
    }


def _full_maps(maps: Any, parents: np.ndarray, num_classes: int) -> Any:
    if len(parents) == num_classes:
        return maps
    # The row of a class without children is zero: the one that padding appends.
    rows = np.full(num_classes, len(parents), "int32")
    rows[parents] = np.arange(len(parents))
    padded = keras.ops.pad(maps, [[0, 0], [0, 1], [0, 0]])
    return keras.ops.take(padded, rows, axis=1)
