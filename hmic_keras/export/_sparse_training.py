"""Pruning and clustering of a Keras 2 twin, while it is fine-tuned."""

import math
from collections.abc import Callable
from typing import Any

from ..errors import ModelError
from ._legacy import libraries

_KERNELS = ("Conv1D", "Conv2D", "Dense")
# Masks are found anew so often until the final sparsity is reached, at this share of the run.
_UPDATES = 50
_RAMP = 0.6


def pruned(model: Any, steps: int, *, sparsity: float | None) -> tuple[Any, list[Any]]:
    """Returns a copy that is pruned while it is trained, and the callbacks that do it.

    Args:
        model: Functional Keras 2 model from `twin`.
        steps: Steps of training in all.
        sparsity: Share of each kernel that becomes zero, the smallest weights first, growing
            along a cubic (Zhu and Gupta 2017); None for two of every four weights in a row.

    Raises:
        ModelError: If the model has no convolution and no dense layer.
    """
    sparse = libraries().tfmot.sparsity.keras
    every = max(1, int(steps * _RAMP) // _UPDATES)
    options: dict[str, Any]
    if sparsity is None:
        options = {
            "pruning_schedule": sparse.ConstantSparsity(0.5, 0, frequency=every),
            "sparsity_m_by_n": (2, 4),
        }
    else:
        # A whole number of updates, or the last and final one would be missed.
        end = every * max(1, int(steps * _RAMP) // every)
        schedule = sparse.PolynomialDecay(0.0, sparsity, 0, end, frequency=every)
        options = {"pruning_schedule": schedule}
    wrapped = _wrap(model, lambda layer: sparse.prune_low_magnitude(layer, **options))
    return wrapped, [sparse.UpdatePruningStep()]


def clustered(model: Any, clusters: int) -> Any:
    """Returns a copy whose kernels hold few different values, which training moves.

    Args:
        model: Functional Keras 2 model from `twin`.
        clusters: Number of values in each kernel, found by k-means.

    Raises:
        ModelError: If the model has no convolution and no dense layer.
    """
    clustering = libraries().tfmot.clustering.keras
    options = {
        "number_of_clusters": clusters,
        "cluster_centroids_init": clustering.CentroidInitialization.KMEANS_PLUS_PLUS,
    }
    # A kernel with hardly more weights than values has nothing to gain.
    return _wrap(
        model,
        lambda layer: clustering.cluster_weights(layer, **options),
        smallest=2 * clusters,
    )


def stripped(model: Any) -> Any:
    """Returns a trained model without what pruned or clustered it; its weights stay so."""
    tfmot = libraries().tfmot
    return tfmot.clustering.keras.strip_clustering(tfmot.sparsity.keras.strip_pruning(model))


def _wrap(model: Any, wrap: Callable[[Any], Any], smallest: int = 1) -> Any:
    chosen = {
        layer.name
        for layer in model.layers
        if type(layer).__name__ in _KERNELS and math.prod(layer.kernel.shape) >= smallest
    }
    if not chosen:
        raise ModelError(
            f"The model {model.name!r} has no convolution and no dense layer that could be "
            "compressed."
        )
    # The copy holds the same layers, hence the same weights.
    return libraries().tf_keras.models.clone_model(
        model, clone_function=lambda layer: wrap(layer) if layer.name in chosen else layer
    )
