"""Features of a frozen backbone, computed once and kept, for a head to be trained on."""

import hashlib
import itertools
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .._files import DAMAGED_ARRAYS, atomic_path
from ..errors import ModelError
from ..hierarchical_model import HierarchicalModel
from ..models import CLIP_POOL

_FEATURES = " features"  # no level is called so
_LOG = logging.getLogger("hmic_keras")


def head_of(model: HierarchicalModel) -> HierarchicalModel:
    """Returns what follows the pooled features of a model, as a model that shares its layers.

    Training the head trains the model.

    Args:
        model: A functional model in which nothing before the pooled features learns, and
            whose head looks at nothing else.

    Raises:
        ModelError: If it is not such a model.
    """
    names = [layer.name for layer in model.layers]
    if CLIP_POOL not in names:
        raise ModelError(
            f"`feature_passes` needs a model that pools its features over time; {model.name!r} "
            "does not."
        )
    features = model.get_layer(CLIP_POOL).output
    before = keras.Model(model.inputs, features)
    if before.trainable_weights:
        raise ModelError(
            "`feature_passes` computes features once, so the backbone must not learn; give "
            "backbone_options={'trainable': False}, or `start` and `frozen`, or "
            "feature_passes=0. Received: "
            f"{len(before.trainable_weights)} trainable weights before the head"
        )
    try:
        head = HierarchicalModel(features, model.output, name=f"{model.name}_head")
    except ValueError as error:
        raise ModelError(
            "`feature_passes` needs a head that looks at the pooled features only, such as "
            f"'gmp' or 'multitask'. Received: method {model.manifest['method']['name']!r}"
        ) from error
    head.update_manifest(**{**model.manifest, "input": "embedding"})
    return head


def pooled_features(
    model: HierarchicalModel,
    passes: Sequence[Callable[[], tuple[Any, Any]]],
    identity: Mapping[str, Any],
    folder: Path | None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Computes what the head of a model sees in passes over clips.

    Args:
        model: The whole model.
        passes: For each pass a function that returns its dataset of waveforms and labels, and
            the layer that augments its batches, or None.
        identity: What decides the features beside the model's front end and backbone.
        folder: Where to keep each pass, so that another run need not compute it; None for
            nowhere.

    Returns:
        float32 features `(passes * crops, dim)`, and labels by level.
    """
    extract = keras.Model(model.inputs, model.get_layer(CLIP_POOL).output)
    # Of a musicnn file the name is recorded, so weights of another name are other features.
    parts = ("audio", "backbone", "start")
    before = {key: model.manifest[key] for key in parts if key in model.manifest}
    found = []
    for number, open_pass in enumerate(passes):
        key = json.dumps({**before, **identity, "pass": number}, sort_keys=True)
        name = f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        path = None if folder is None else folder / name
        if path is None or not path.is_file():
            arrays = _compute(extract, *open_pass())
            if path is not None:
                with atomic_path(path) as temporary:
                    np.savez(temporary, **arrays)  # type: ignore[arg-type]
        else:
            arrays = _read(path)
        found.append(arrays)
        _LOG.info("features of pass %d of %d are there", number + 1, len(passes))
    joined = {key: np.concatenate([one[key] for one in found]) for key in found[0]}
    return joined.pop(_FEATURES), joined


def epochs_of(
    features: np.ndarray,
    labels: Mapping[str, np.ndarray],
    *,
    batch_size: int,
    seed: int,
    first_epoch: int,
) -> tf.data.Dataset:
    """Returns a dataset whose every pass has its own order, as `make_dataset` does."""
    epochs = itertools.count(first_epoch)

    def batches() -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
        order = np.random.default_rng([seed, next(epochs)]).permutation(len(features))
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield features[chosen], {level: rows[chosen] for level, rows in labels.items()}

    def spec(array: np.ndarray) -> tf.TensorSpec:
        return tf.TensorSpec((None, *array.shape[1:]), array.dtype)

    signature = (spec(features), {level: spec(rows) for level, rows in labels.items()})
    steps = math.ceil(len(features) / batch_size)
    found = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return found.apply(tf.data.experimental.assert_cardinality(steps)).prefetch(2)


def in_order_of(
    features: np.ndarray, labels: Mapping[str, np.ndarray], *, batch_size: int
) -> tf.data.Dataset:
    """Returns a dataset of features and labels in their order."""
    return tf.data.Dataset.from_tensor_slices((features, dict(labels))).batch(batch_size)


def _compute(extract: keras.Model, dataset: Any, augmentation: Any) -> dict[str, np.ndarray]:
    parts: list[dict[str, np.ndarray]] = []
    for x, y in dataset:
        if augmentation is not None:
            x, y = augmentation((x, y), training=True)
        labels = {level: np.asarray(values) for level, values in y.items()}
        parts.append({**labels, _FEATURES: extract.predict_on_batch(x)})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        # NumPy leaves a file open that it opened and could not read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return dict(stored)
    except DAMAGED_ARRAYS as error:
        raise ModelError(
            f"'{path}' was damaged ({error}). Remove it and start anew."
        ) from error
