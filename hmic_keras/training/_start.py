"""Starting from the backbone of a model that is trained already."""

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ..config import AudioConfig, ModelConfig
from ..errors import ModelError
from ..hierarchical_model import HierarchicalModel
from ..models import CLIP_POOL
from ..zoo import load_model

# Options that say where the first weights come from and whether they learn, not what they are.
_ORIGIN = frozenset({"checkpoint", "initial_scale", "trainable", "weights"})


def as_started(settings: ModelConfig, trained: HierarchicalModel) -> ModelConfig:
    """Returns settings with the backbone and the audio settings of the model to start from.

    What is not at its default stays as it is, so that `start_from` can refuse it.

    Args:
        settings: Of the model to build.
        trained: The model to start from.

    Raises:
        ModelError: If the trained model has no single backbone, as an ensemble has not.
    """
    _backbone(trained)
    plain = ModelConfig()
    parts = ("backbone", "backbone_options", "audio")
    if any(getattr(settings, part) != getattr(plain, part) for part in parts):
        return settings
    told = trained.manifest
    return dataclasses.replace(
        settings,
        backbone=told["backbone"]["name"],
        backbone_options=_shape_of(told["backbone"]["options"]),
        audio=AudioConfig.from_dict(told["audio"]),
    )


def start_from(
    model: HierarchicalModel,
    source: str | os.PathLike[str] | HierarchicalModel,
    *,
    frozen: bool = False,
    name: str | None = None,
) -> None:
    """Gives a model the weights of another model's backbone.

    The backbone is everything before the features that are pooled over time. The taxonomies
    may differ, since the classifiers are not touched. The manifest gets an entry `start`: what
    the weights are and what they were made from.

    Args:
        model: The model to change.
        source: The trained model, its name or its path.
        frozen: Whether the backbone shall not learn, its normalisation included.
        name: What to call a trained model that was given as such; by default its own name.

    Raises:
        ModelError: If there is no such model, or the two differ in audio settings or backbone.
    """
    if isinstance(source, HierarchicalModel):
        trained, name = source, name or source.name
    else:
        trained, name = load_model(source), Path(source).name
    here, there = _told(model), _told(trained)
    layers, known = _backbone(model), {layer.name: layer for layer in _backbone(trained)}
    shapes = {layer.name: _shapes(layer) for layer in layers}
    if here != there or shapes != {name: _shapes(layer) for name, layer in known.items()}:
        raise ModelError(
            f"`start`: the backbone of '{name}' is another one; give the model the same "
            f"input, audio settings and backbone. Received: {there} for {here}"
        )
    content = hashlib.sha256()
    for layer in layers:
        layer.set_weights(known[layer.name].get_weights())
        layer.trainable = not frozen
        for values in layer.get_weights():
            content.update(np.ascontiguousarray(values).tobytes())
    model.update_manifest(
        start={
            "name": name,
            "frozen": frozen,
            "sha256": content.hexdigest(),
            "provenance": trained.manifest.get("provenance", {}),
        }
    )


def _told(model: HierarchicalModel) -> dict[str, Any]:
    """Returns what two models must have in common."""
    backbone = model.manifest["backbone"]
    return {
        "input": model.manifest["input"],
        "audio": model.manifest["audio"],
        "backbone": {**backbone, "options": _shape_of(backbone["options"])},
    }


def _shape_of(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key not in _ORIGIN}


def _backbone(model: HierarchicalModel) -> list[Any]:
    """Returns the layers with weights before the pooled features."""
    if CLIP_POOL not in {layer.name for layer in model.layers}:
        raise ModelError(
            f"`start` needs models that pool their features over time; {model.name!r} does not."
        )
    features = model.get_layer(CLIP_POOL).output
    return [layer for layer in keras.Model(model.inputs, features).layers if layer.weights]


def _shapes(layer: Any) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
