"""Training a hierarchical model on labelled clips."""

import csv
import io
import logging
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import keras
import numpy as np

from . import __version__, metrics
from ._files import write_text
from .config import AudioConfig, TrainConfig
from .data.pipeline import make_dataset
from .data.sources.folder import LabelledClips
from .errors import LabelError, ModelError
from .hierarchical_model import HierarchicalModel
from .losses import MaskedBinaryCrossentropy
from .models import build_model
from .streaming_metrics import MeanAveragePrecision
from .taxonomy import Taxonomy

_LOG = logging.getLogger("hmic_keras")
# A few held-out clips cannot vouch for a threshold beyond these: silence and noise would pass.
_THRESHOLDS = (0.1, 0.9)

__all__ = ["TrainingResult", "compile_options", "fit", "train"]


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and how training went.

    Attributes:
        model: The trained model; its manifest holds thresholds and provenance.
        history: One value an epoch for each loss and metric; those of the held-out clips
            start with `val_`.
        seconds: Wall-clock time of training.
    """

    model: HierarchicalModel
    history: Mapping[str, Sequence[float]]
    seconds: float

    def write_history(self, path: str | os.PathLike[str]) -> None:
        """Writes the history as CSV, one row an epoch."""
        names = sorted(self.history)
        rows = zip(*(self.history[name] for name in names), strict=True)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *names])
        writer.writerows([index, *row] for index, row in enumerate(rows, start=1))
        write_text(path, text.getvalue())


def compile_options(
    taxonomy: Taxonomy, loss_weights: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Returns the recommended losses, weights and metrics for `model.compile`.

    Masked binary cross-entropy at every level, equal weights unless given, and macro mean
    average precision over observed labels as the metric `map`.

    Args:
        taxonomy: The taxonomy of the model.
        loss_weights: Weights by level; levels left out weigh 1.

    Returns:
        `loss`, `loss_weights` and `metrics`, each a dict by level.

    Raises:
        LabelError: If a weight names an unknown level.

    Example:
        >>> import hmic_keras as hk
        >>> options = compile_options(hk.Taxonomy.load("openmic"), {"coarse": 0.5})
        >>> options["loss_weights"]
        {'fine': 1.0, 'coarse': 0.5}
    """
    weights = dict.fromkeys(taxonomy.levels, 1.0)
    if unknown := set(loss_weights or {}) - set(weights):
        raise LabelError(
            f"`loss_weights` must be keyed by the levels {list(weights)}. Received the unknown "
            f"level(s) {sorted(unknown)}"
        )
    return {
        "loss": {level: MaskedBinaryCrossentropy() for level in taxonomy.levels},
        "loss_weights": {**weights, **(loss_weights or {})},
        "metrics": {
            level: [MeanAveragePrecision(len(taxonomy.classes(level)))]
            for level in taxonomy.levels
        },
    }


def train(
    clips: LabelledClips,
    *,
    backbone: str = "conv",
    method: str = "f2ca",
    audio: AudioConfig | None = None,
    config: TrainConfig | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    method_options: Mapping[str, Any] | None = None,
    callbacks: Sequence[Any] = (),
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Builds a model for the clips' taxonomy and trains it from scratch.

    The same seed on the same machine and versions repeats the run. It sets Keras' global
    seed.

    Args:
        clips: Labelled audio files.
        backbone: See `build_model`.
        method: See `build_model`.
        audio: See `build_model`.
        config: Training settings; the default `TrainConfig()`.
        backbone_options: See `build_model`.
        method_options: See `build_model`.
        callbacks: Keras callbacks.
        provenance: What the clips are and under which licence; kept in the manifest.

    Returns:
        The trained model, its history and the time taken.

    Raises:
        AudioError: If a clip cannot be decoded.
        LabelError: If there are too few clips.
        ModelError: If a name or an option is unknown.
    """
    config = config or TrainConfig()
    keras.utils.set_random_seed(config.seed)
    model = build_model(
        clips.taxonomy,
        backbone=backbone,
        method=method,
        audio=audio,
        backbone_options=backbone_options,
        method_options=method_options,
    )
    return fit(model, clips, config, callbacks=callbacks, provenance=provenance)


def fit(
    model: HierarchicalModel,
    clips: LabelledClips,
    config: TrainConfig | None = None,
    *,
    callbacks: Sequence[Any] = (),
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Trains a waveform model with the recommended losses and chooses its thresholds.

    A share of the clips is held out; after training, each class gets the threshold with the
    highest F1 on them, kept between 0.1 and 0.9. Compiles the model anew: AdamW with a
    learning rate that falls along a cosine.

    Args:
        model: From `build_model` with `input="waveform"`, new or trained.
        clips: Labelled audio files of the model's taxonomy.
        config: Training settings; the default `TrainConfig()`.
        callbacks: Keras callbacks.
        provenance: What the clips are and under which licence; kept in the manifest.

    Returns:
        The model, its history and the time taken.

    Raises:
        AudioError: If a clip cannot be decoded.
        LabelError: If the clips are of another taxonomy or there are too few.
        ModelError: If the model does not take waveforms.
    """
    config = config or TrainConfig()
    _check(model, clips)
    started = time.perf_counter()
    training, held_out = clips, None
    if config.validation_fraction > 0:
        if len(clips) < 2:
            raise LabelError(
                f"Holding clips out needs at least two. Received {len(clips)}; give more clips "
                "or validation_fraction=0."
            )
        training, held_out = clips.split(config.validation_fraction, seed=config.seed)
    if not len(training):
        raise LabelError("There is no clip left to train on; give more clips.")
    options = {
        "sample_rate": model.manifest["audio"]["sample_rate"],
        "crop_seconds": config.crop_seconds,
        "batch_size": config.batch_size,
        "seed": config.seed,
    }
    validation = make_dataset(held_out, **options) if held_out else None
    steps = math.ceil(len(training) / config.batch_size)
    model.compile(
        optimizer=keras.optimizers.AdamW(
            _cosine(config, steps), weight_decay=config.weight_decay
        ),
        **compile_options(clips.taxonomy),
    )
    _LOG.info("training %s on %d clips", model.name, len(training))
    history = model.fit(
        make_dataset(training, training=True, **options),
        validation_data=validation,
        epochs=config.epochs,
        callbacks=list(callbacks),
        shuffle=False,  # the dataset shuffles
        verbose=0,
    )
    seconds = time.perf_counter() - started
    model.update_manifest(
        window_seconds=config.crop_seconds,
        thresholds=_thresholds(model, held_out, validation),
        training={
            "config": config.to_dict(),
            "clips": len(training),
            "held_out": len(held_out) if held_out else 0,
            "seconds": round(seconds, 1),
        },
        provenance=dict(provenance or {}),
        versions=versions(),
    )
    return TrainingResult(model, history.history, seconds)


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries a result depends on."""
    names = ("tensorflow", "keras", "numpy")
    found = {name: metadata.version(name) for name in names}
    return {"hmic_keras": __version__, "python": platform.python_version(), **found}


def _check(model: HierarchicalModel, clips: LabelledClips) -> None:
    if model.manifest["input"] != "waveform":
        raise ModelError(
            "Training on audio files needs a model built with input='waveform'. Received: "
            f"input={model.manifest['input']!r}; call model.fit with your own dataset instead."
        )
    if model.taxonomy.hash != clips.taxonomy.hash:
        raise LabelError(
            f"The clips are labelled with the taxonomy {clips.taxonomy.name!r} and the model "
            f"was built for {model.taxonomy.name!r}; read the clips with `model.taxonomy`."
        )


def _cosine(config: TrainConfig, steps: int) -> Any:
    total = config.epochs * steps
    warm = min(steps, total // 10)
    if not warm:
        return keras.optimizers.schedules.CosineDecay(config.learning_rate, total)
    return keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 10,
        total - warm,
        warmup_target=config.learning_rate,
        warmup_steps=warm,
    )


def _thresholds(
    model: HierarchicalModel, held_out: LabelledClips | None, validation: Any
) -> dict[str, list[float]]:
    taxonomy = model.taxonomy
    if held_out is None or not len(held_out):
        return {level: [0.5] * len(taxonomy.classes(level)) for level in taxonomy.levels}
    scores = model.predict(validation, verbose=0)
    return {
        level: [
            round(float(value), 4)
            for value in np.clip(
                metrics.best_thresholds(held_out.labels[level], scores[level]), *_THRESHOLDS
            )
        ]
        for level in taxonomy.levels
    }
