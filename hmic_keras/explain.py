"""Explaining a decision: which fine classes a coarse one was made of."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .errors import ModelError
from .heads import children_of
from .heads.f2ca import ATTENTION_SUFFIX
from .taxonomy import Taxonomy

__all__ = ["attention_maps", "map_classes", "plot_attention"]


def attention_maps(model: Any, waveforms: Any, level: str | None = None) -> np.ndarray:
    """Returns the attention maps of a model built with `method="f2ca"`.

    Row `c` of a map says how much each finer class counted towards coarse class `c`; the
    coarse probability is the sum of the fine ones weighted by it.

    Args:
        model: The model.
        waveforms: A batch of the model's inputs, for example `(batch, samples)`.
        level: The coarser level; the one above the finest by default.

    Returns:
        float32 `(batch, num_classes of the level, num_children)`, ordered as `map_classes`
        says. Rows sum to 1; the row of a class without children is 0.

    Raises:
        ModelError: If the model has no attention at that level.

    Example:
        >>> import hmic_keras as hk
        >>> maps = attention_maps(hk.load_model("hmic-demo"), np.zeros((1, 16000), "float32"))
        >>> maps.shape, bool(np.allclose(maps.sum(axis=-1), 1, atol=1e-5))
        ((1, 7, 20), True)
    """
    level = _coarser_level(model.taxonomy, level)
    name = level + ATTENTION_SUFFIX
    if name not in {layer.name for layer in model.layers}:
        method = model.manifest["method"]["name"]
        raise ModelError(
            f"The model has no attention maps at the level {level!r}; only method='f2ca' "
            f"learns them. Received a model with method={method!r}."
        )
    _, maps = model.get_layer(name).output
    found = np.asarray(keras.Model(model.input, maps)(waveforms, training=False))
    rows = children_of(model.taxonomy, level).parents
    full = np.zeros(
        (len(found), len(model.taxonomy.classes(level)), found.shape[-1]), "float32"
    )
    full[:, rows] = found
    return full


def map_classes(
    taxonomy: Taxonomy, level: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names along both axes of an attention map: coarse rows, fine columns.

    Args:
        taxonomy: The model's taxonomy.
        level: The coarser level; the one above the finest by default.
    """
    level = _coarser_level(taxonomy, level)
    return taxonomy.classes(level), children_of(taxonomy, level).names


def plot_attention(
    maps: np.ndarray, taxonomy: Taxonomy, level: str | None = None, title: str = ""
) -> Any:
    """Draws one attention map, or the mean of several, as a heat map with class names.

    Columns are ordered by family so that the hierarchy shows as blocks; a frame marks the
    children the taxonomy gives each coarse class.

    Args:
        maps: `(num_parents, num_children)` or `(batch, num_parents, num_children)`.
        taxonomy: The model's taxonomy.
        level: The coarser level; the one above the finest by default.
        title: Title of the figure.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    level = _coarser_level(taxonomy, level)
    rows, columns = map_classes(taxonomy, level)
    values = np.asarray(maps).reshape(-1, len(rows), len(columns)).mean(axis=0)
    children = children_of(taxonomy, level)
    order = _family_order(children.links, len(columns))
    place = np.argsort(order)
    figure = Figure(
        figsize=(2.6 + 0.34 * len(columns), 2.2 + 0.34 * len(rows)), layout="constrained"
    )
    axes = figure.subplots()
    image = axes.imshow(values[:, order], cmap="viridis", vmin=0, aspect="auto")
    for parent, child in children.links:
        axes.add_patch(
            Rectangle(
                (place[child] - 0.5, parent - 0.5), 1, 1, fill=False, edgecolor="white", lw=1.2
            )
        )
    axes.set(
        xticks=range(len(columns)),
        yticks=range(len(rows)),
        yticklabels=rows,
        title=title or f"attention of {level} classes over finer ones",
    )
    axes.set_xticklabels([columns[i] for i in order], rotation=60, ha="right")
    figure.colorbar(image, label="attention weight")
    return figure


def _family_order(links: np.ndarray, size: int) -> np.ndarray:
    first = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first, links[:, 1], links[:, 0])
    return np.argsort(first, kind="stable")


def _coarser_level(taxonomy: Taxonomy, level: str | None) -> str:
    coarser: Sequence[str] = taxonomy.levels[1:]
    if not coarser:
        raise ModelError("The taxonomy has one level only, so nothing is pooled from another.")
    if level is None:
        return coarser[0]
    if level not in coarser:
        raise ModelError(f"`level` must be one of {list(coarser)}. Received: {level!r}")
    return level
