"""Building and fitting a model."""

import dataclasses
import functools
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from .. import layers
from .._versions import versions
from ..calibration import choose_thresholds
from ..config import ModelConfig, TrainConfig
from ..data.stems import StemBank
from ..errors import HmicError, LabelError, ModelError
from ..hierarchical_model import HierarchicalModel, make_training_variables
from ..models import build_model
from ..taxonomy import Taxonomy
from ..zoo import load_model
from . import _callbacks, _options
from ._run import Run, digest, write_history
from ._start import as_started, start_from

_LOG = logging.getLogger("hmic_keras")


@dataclass(frozen=True)
class TrainingResult:
    """A trained model and how training went.

    Attributes:
        model: The trained model; its manifest holds thresholds and provenance.
        history: One value an epoch for each loss and metric; those of the held-out clips
            start with `val_`, and `val_map` is the mean over levels.
        seconds: Wall-clock time of training, that before an interruption included.
        best_epoch: The epoch whose weights were kept, counted from 1.
    """

    model: HierarchicalModel
    history: Mapping[str, Sequence[float]]
    seconds: float
    best_epoch: int

    def write_history(self, path: str | os.PathLike[str]) -> None:
        """Writes the history as CSV, one row an epoch."""
        names = list(self.history)
        rows = zip(*self.history.values(), strict=True)
        write_history(path, [dict(zip(names, row, strict=True)) for row in rows])


def train(
    clips: Any,
    *,
    config: TrainConfig | None = None,
    validation: Any = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    provenance: Mapping[str, Any] | None = None,
    **model: Any,
) -> TrainingResult:
    """Builds a model for the clips' taxonomy and trains it from scratch.

    The same seed on the same machine and versions repeats the run. It sets Keras' global
    seed.

    Args:
        clips: `LabelledClips`, `PreparedClips` of waveforms, or a `StemBank`.
        config: Training settings; the default `TrainConfig()`.
        validation: See `fit`.
        run: See `fit`.
        resume: See `fit`.
        callbacks: Keras callbacks.
        provenance: What the clips are and under which licence; kept in the manifest.
        **model: What to build: settings of `ModelConfig`, such as `method="gmp"` or
            `backbone_options={"width": 32}`.

    Returns:
        The trained model, its history and the time taken.

    Raises:
        AudioError: If a clip cannot be decoded.
        HmicError: If a setting is unknown or out of range.
        LabelError: If there are too few clips.
        ModelError: If a name or an option is unknown, or the run cannot be resumed.
    """
    config = config or TrainConfig()
    built = build(clips.taxonomy, ModelConfig.from_dict(model), config.seed)
    return fit(
        built,
        clips,
        config,
        validation=validation,
        run=run,
        resume=resume,
        callbacks=callbacks,
        provenance=provenance,
    )


def build(taxonomy: Taxonomy, settings: ModelConfig, seed: int) -> HierarchicalModel:
    """Builds what settings describe; see `train` for what may be wrong with them."""
    keras.utils.set_random_seed(seed)
    trained = None
    if settings.start is not None:
        trained = load_model(settings.start)
        settings = as_started(settings, trained)
    options = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.name not in ("precision", "start", "frozen")
    }
    with _policy(settings.precision):
        built = build_model(taxonomy, **options)
    if trained is not None:
        name = Path(str(settings.start)).name
        start_from(built, trained, frozen=settings.frozen, name=name)
    return built


def fit(
    model: HierarchicalModel,
    clips: Any,
    config: TrainConfig | None = None,
    *,
    validation: Any = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Trains a model with the recommended losses and chooses its thresholds.

    A share of the clips is held out; after training, each class gets the threshold with the
    highest F1 on them, kept between 0.1 and 0.9. Compiles the model anew: AdamW with a
    learning rate that falls along a cosine, unless the config says otherwise.

    With `run`, the folder `run/` inside it holds a checkpoint of the last whole epoch. A run
    that was stopped in whatever way, and is called again with the same arguments and
    `resume=True`, gives the same numbers as one that was not stopped: exactly on a CPU, and on
    GPUs as far as their kernels repeat (see `tf.config.experimental.enable_op_determinism`).

    Args:
        model: From `build_model`, new or trained; with `input="waveform"`, or
            `input="log_mel"` for records of log-mel spectrograms.
        clips: `LabelledClips` or `PreparedClips` of the model's taxonomy; with
            `config.stems`, a `StemBank`, whose stems are mixed anew for every step.
        config: Training settings; the default `TrainConfig()`.
        validation: Clips to validate on; by default a share of `clips` is held out. Stems are
            never held out: without `validation` every threshold is 0.5.
        run: Folder to keep the run in; by default nothing is written.
        resume: Whether to go on with the run in that folder.
        callbacks: Keras callbacks. Their state is not part of the checkpoint.
        provenance: What the clips are and under which licence; kept in the manifest.

    Returns:
        The model, its history and the time taken.

    Raises:
        AudioError: If a clip cannot be decoded.
        LabelError: If the clips are of another taxonomy or there are too few.
        ModelError: If the model does not take what the clips hold, the loss is no number, or
            the run in `run` is unfinished or, with `resume`, another one.
    """
    config = config or TrainConfig()
    if isinstance(clips, StemBank) or config.stems:
        from ._fit_stems import fit_stems

        return fit_stems(
            model,
            clips,
            config,
            validation=validation,
            run=run,
            resume=resume,
            callbacks=callbacks,
            provenance=provenance,
        )
    # TensorFlow's pipelines; stems are mixed on Keras' other backends as well.
    from ..data.pipeline import audio_errors

    _check(model, clips, validation, config)
    training, held_out = _split(clips, validation, config)
    identity = _identity(model, config, training, held_out)
    folder = open_run(run, resume, identity)
    course = _course(model, training, held_out, config)
    if config.feature_passes:
        # Features are kept in the run's folder, so it must be one before they are computed.
        if folder is not None and not resume:
            folder.start(identity, {"versions": versions()})
        course = _course_of_features(course, model, training, held_out, config, folder)
    trained = course.model
    steps = math.ceil(len(training) / config.batch_size) * max(1, config.feature_passes)
    trained.compile(
        optimizer=_options.make_optimizer(config, steps),
        augmentation=course.augmentation,
        consistency=config.consistency,
        jit_compile=config.jit_compile,
        **_options.compile_options(
            clips.taxonomy,
            config.loss_weights,
            loss=config.loss,
            loss_options=_options.loss_options(config, training.labels),
        ),
    )
    make_training_variables(trained)
    progress = _callbacks.Progress(clips.taxonomy.levels, config.patience)
    checkpoints = _callbacks.Checkpoints(
        folder,
        progress,
        {
            "model": trained.variables,
            "optimizer": trained.optimizer.variables,
            "augmentation": (
                course.augmentation.variables if course.augmentation is not None else []
            ),
        },
    )
    if resume:
        checkpoints.restore()
    done = config.epochs if progress.stopped else len(checkpoints.epochs)
    dataset = course.epochs(done)
    if folder is not None and not resume and not config.feature_passes:
        # Nothing was written so far: a mistake in what was given leaves nothing behind.
        folder.start(identity, {"versions": versions()})
    _LOG.info("training %s on %d clips from epoch %d", model.name, len(training), done + 1)
    averaging = [keras.callbacks.SwapEMAWeights()] if config.weight_averaging else []
    logs = [_callbacks.TensorBoardLogs(folder.logs)] if folder is not None else []
    with audio_errors():
        trained.fit(
            dataset,
            validation_data=course.validation,
            epochs=config.epochs,
            initial_epoch=done,
            # The averaged weights leave the model when a test ends, so they are kept before;
            # what comes last sees what all others added to the logs.
            callbacks=[progress, *averaging, *callbacks, *logs, checkpoints],
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
        thresholds = _thresholds(trained, held_out, course.validation)
    counts = {"clips": len(training), "held_out": len(held_out) if held_out is not None else 0}
    return finished(
        model, config, checkpoints, progress, thresholds, counts, provenance=provenance
    )


def finished(
    model: HierarchicalModel,
    config: TrainConfig,
    checkpoints: _callbacks.Checkpoints,
    progress: _callbacks.Progress,
    thresholds: Mapping[str, Sequence[float]],
    counts: Mapping[str, int],
    *,
    provenance: Mapping[str, Any] | None,
) -> TrainingResult:
    """Puts into the manifest how the model came about, and returns the result.

    Args:
        model: The trained model.
        config: How it was trained.
        checkpoints: The epochs and their time.
        progress: Which epoch was the best.
        thresholds: By level, one a class.
        counts: What it was trained on, in numbers.
        provenance: What that is and under which licence.
    """
    seconds = checkpoints.seconds
    model.update_manifest(
        window_seconds=config.crop_seconds,
        thresholds=dict(thresholds),
        training={
            "config": config.to_dict(),
            **counts,
            "epochs": len(checkpoints.epochs),
            "seconds": round(seconds, 1),
        },
        provenance=dict(provenance or {}),
        versions=versions(),
    )
    return TrainingResult(
        model,
        _by_name(checkpoints.epochs),
        seconds,
        progress.best_epoch if progress.best_weights else len(checkpoints.epochs),
    )


@contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Builds layers under a dtype policy and leaves the global one as it was."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _check(model: HierarchicalModel, clips: Any, validation: Any, config: TrainConfig) -> None:
    for given in (clips, validation):
        features = getattr(given, "features", "waveform")
        if given is not None and model.manifest["input"] != features:
            raise ModelError(
                f"Training on {'records' if hasattr(given, 'features') else 'audio files'} "
                f"needs a model built with input={features!r}. Received: "
                f"input={model.manifest['input']!r}; call model.fit with your own dataset "
                "instead."
            )
        if features == "log_mel" and given.manifest["audio"] != model.manifest["audio"]:
            raise ModelError(
                f"The records in {given.folder} were made with the audio settings "
                f"{given.manifest['audio']} and the model with {model.manifest['audio']}; "
                "build it with `audio=AudioConfig.from_dict(clips.manifest['audio'])`."
            )
        if given is not None and model.taxonomy.hash != given.taxonomy.hash:
            raise LabelError(
                f"The clips are labelled with the taxonomy {given.taxonomy.name!r} and the "
                f"model was built for {model.taxonomy.name!r}; read the clips with "
                "`model.taxonomy`."
            )
    if config.patience is not None and validation is None and not config.validation_fraction:
        raise HmicError(
            "`patience` needs clips to validate on; give `validation`, or a "
            "validation_fraction above 0."
        )


def _split(clips: Any, validation: Any, config: TrainConfig) -> tuple[Any, Any]:
    """Returns the clips to train on and those to validate on, or None."""
    training, held_out = clips, validation
    if validation is None and config.validation_fraction > 0:
        if len(clips) < 2:
            raise LabelError(
                f"Holding clips out needs at least two. Received {len(clips)}; give more clips "
                "or validation_fraction=0."
            )
        training, held_out = clips.split(config.validation_fraction, seed=config.seed)
    if not len(training) or (held_out is not None and not len(held_out)):
        raise LabelError("There is no clip left to train on, or to validate on; give more.")
    return training, held_out


def _identity(
    model: HierarchicalModel, config: TrainConfig, training: Any, held_out: Any
) -> dict[str, Any]:
    """Returns what decides the outcome of a run."""
    return {
        "settings": config.to_dict(),
        "model": model_identity(model),
        "training clips": digest(training),
        "validation clips": digest(held_out) if held_out is not None else None,
    }


def model_identity(model: HierarchicalModel) -> dict[str, Any]:
    """Returns what makes a model, but for its weights."""
    parts = ("taxonomy_hash", "input", "audio", "backbone", "method", "start")
    return {name: model.manifest[name] for name in parts if name in model.manifest}


def open_run(
    run: str | os.PathLike[str] | None, resume: bool, identity: Mapping[str, Any]
) -> Run | None:
    """Returns the folder of a run, checked; None where nothing is to be written.

    Raises:
        ModelError: If a run waits there to be resumed, or is not the one to resume.
    """
    if run is None:
        if resume:
            raise ModelError("`resume=True` needs `run`, the folder of the run to resume.")
        return None
    folder = Run(run)
    if resume:
        folder.check(identity)
    else:
        folder.refuse_unfinished()
    return folder


def _augmentation(config: TrainConfig, sample_rate: int) -> tuple[Any, Any]:
    """Returns what the pipeline does to crops and what the training step does."""
    spec = dict(config.augmentation)
    on_host = spec.pop("host", None)
    try:
        on_device = (
            layers.Augmentation.from_spec(spec, sample_rate=sample_rate, seed=config.seed)
            if spec
            else None
        )
    except ValueError as error:
        raise HmicError(f"`augmentation`: {error}") from error
    if on_host is None:
        return None, on_device
    from ..data.augmentation import HostAugmentation

    return HostAugmentation.from_dict({"sample_rate": sample_rate, **on_host}), on_device


@dataclass(frozen=True)
class _Course:
    """What is fitted, to what.

    Attributes:
        model: The model that Keras fits.
        augmentation: What its training step does to a batch.
        epochs: Takes the number of epochs done and returns the dataset of those to come.
        validation: The dataset to validate on, or None.
    """

    model: HierarchicalModel
    augmentation: Any
    epochs: Callable[[int], Any]
    validation: Any


def _course(
    model: HierarchicalModel, training: Any, held_out: Any, config: TrainConfig
) -> _Course:
    from ..data.pipeline import make_dataset

    sample_rate = model.manifest["audio"]["sample_rate"]
    on_host, on_device = _augmentation(config, sample_rate)
    shared = {
        "sample_rate": sample_rate,
        "crop_seconds": config.crop_seconds,
        "batch_size": config.batch_size,
        "cache": config.cache,
    }

    def epochs(done: int) -> Any:
        return make_dataset(
            training,
            training=True,
            seed=config.seed,
            first_epoch=done,
            balance=config.balance,
            crops=config.crops,
            augment=on_host,
            **shared,
        )

    validation = make_dataset(held_out, **shared) if held_out is not None else None
    return _Course(model, on_device, epochs, validation)


def _course_of_features(
    course: _Course,
    model: HierarchicalModel,
    training: Any,
    held_out: Any,
    config: TrainConfig,
    folder: Run | None,
) -> _Course:
    """Returns the course of the head alone, on features that are computed here or were kept."""
    from ._features import epochs_of, head_of, in_order_of, pooled_features

    head = head_of(model)
    kept = folder.folder / "features" if folder is not None else None
    deciding = ("crop_seconds", "batch_size", "augmentation", "balance", "crops", "seed")
    settings = {name: getattr(config, name) for name in deciding}

    def one_pass(number: int) -> tuple[Any, Any]:
        # A layer of its own, so that a pass does not depend on which ones were kept.
        numbered = dataclasses.replace(config, seed=config.seed + number)
        _, augmentation = _augmentation(numbered, model.manifest["audio"]["sample_rate"])
        return course.epochs(number), augmentation

    passes = [functools.partial(one_pass, number) for number in range(config.feature_passes)]
    features, labels = pooled_features(
        model, passes, {**settings, "clips": digest(training)}, kept
    )
    validation = None
    if held_out is not None:
        in_order = [lambda: (course.validation, None)]
        identity = {"crop_seconds": config.crop_seconds, "validation clips": digest(held_out)}
        found = pooled_features(model, in_order, identity, kept)
        validation = in_order_of(*found, batch_size=config.batch_size)

    def epochs(done: int) -> Any:
        return epochs_of(
            features,
            labels,
            batch_size=config.batch_size,
            seed=config.seed,
            first_epoch=done,
        )

    return _Course(head, None, epochs, validation)


def _thresholds(
    model: HierarchicalModel, held_out: Any, validation: Any
) -> dict[str, list[float]]:
    if held_out is None:
        levels = model.taxonomy.levels
        return {level: [0.5] * len(model.taxonomy.classes(level)) for level in levels}
    return choose_thresholds(held_out.labels, model.predict(validation, verbose=0))


def _by_name(epochs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {name: [logs[name] for logs in epochs] for name in (epochs[0] if epochs else ())}
