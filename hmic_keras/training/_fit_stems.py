"""Fitting a model to mixtures of stems that are drawn on the device."""

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from .. import layers, losses, zoo
from .._versions import versions
from ..calibration import choose_thresholds
from ..config import StemConfig, TrainConfig
from ..data.audio import frame, load_audio
from ..data.stems import StemBank
from ..errors import HmicError, LabelError, ModelError
from ..hierarchical_model import HierarchicalModel, has_gpu
from . import _callbacks, _options
from ._fit import TrainingResult, finished, model_identity, open_run
from ._stem_mixer import StemMixer, closed_labels

_LOG = logging.getLogger("hmic_keras")


def fit_stems(
    model: HierarchicalModel,
    bank: StemBank,
    config: TrainConfig,
    *,
    validation: Any = None,
    run: str | os.PathLike[str] | None = None,
    resume: bool = False,
    callbacks: Sequence[Any] = (),
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Trains a waveform model on mixtures drawn anew in every step; see `fit`.

    All stems lie on the device as 16-bit samples, and mixing, augmentation and the spectrogram
    are part of the compiled step, so that nothing waits for the host. It runs on Keras'
    TensorFlow and JAX backends. The last epoch's weights are kept, averaged if the config says
    so.

    Args:
        model: From `build_model(..., input="waveform")`.
        bank: The stems, of the model's taxonomy and sample rate.
        config: Settings; `stems` says how the stems are mixed, and `augmentation` (its
            `waveform` part) what becomes of the mixture.
        validation: `LabelledClips` to choose thresholds on.
        run: See `fit`.
        resume: See `fit`.
        callbacks: Keras callbacks. `self.model` in them is a wrapper of the model.
        provenance: See `fit`.

    Raises:
        HmicError: If a setting does not fit.
        LabelError: If the stems are of another taxonomy.
        ModelError: If a model does not take waveforms of the stems' rate, the loss is no
            number, or the run in `run` is unfinished or, with `resume`, another one.
    """
    _check(model, bank, config)
    stems = StemConfig.from_dict(config.stems)
    identity = {
        "settings": config.to_dict(),
        "model": model_identity(model),
        "stems": _digest(bank),
    }
    folder = open_run(run, resume, identity)
    mixer = StemMixer.from_settings(bank, config)
    trainer = Trainer(
        model, mixer, augmentation(config, bank.sample_rate), config, _teacher(model, config)
    )
    trainer.compile(
        optimizer=_options.make_optimizer(config, stems.steps),
        jit_compile=_compiled(config),
    )
    trainer.build()
    trainer.optimizer.build(trainer.trainable_variables)
    progress = _callbacks.Progress(model.taxonomy.levels, None)
    checkpoints = _callbacks.Checkpoints(
        folder,
        progress,
        {
            "model": model.variables,
            "optimizer": trainer.optimizer.variables,
            "augmentation": trainer.random_variables,
        },
    )
    if resume:
        checkpoints.restore()
    elif folder is not None:
        folder.start(identity, {"versions": versions()})
    _LOG.info("training %s on %d stems", model.name, len(bank))
    trainer.fit(
        # A row of the data is a step; what it holds is drawn within.
        np.zeros((stems.steps, 1), np.float32),
        batch_size=1,
        epochs=config.epochs,
        initial_epoch=len(checkpoints.epochs),
        callbacks=[progress, *callbacks, checkpoints],
        shuffle=False,
        verbose=0,
    )
    counts = {"stems": len(bank), "steps": stems.steps * len(checkpoints.epochs)}
    return finished(
        model,
        config,
        checkpoints,
        progress,
        _thresholds(model, validation, config),
        counts,
        provenance=provenance,
    )


class Trainer(keras.Model):
    """A model with its data inside: a call draws a batch, and adds its loss.

    So Keras' own `fit` does the rest on every backend, with augmentation in the compiled step.
    """

    def __init__(
        self,
        model: HierarchicalModel,
        mixer: StemMixer,
        augmentation: Any,
        config: TrainConfig,
        teacher: Any,
    ) -> None:
        super().__init__(name="stem_trainer")
        self.student, self.mixer, self.augmentation = model, mixer, augmentation
        self.teacher = teacher
        if teacher is not None:
            teacher.trainable = False
        self._settings = config
        finest, *coarser = model.taxonomy.levels
        self._finest = finest
        self._masks = {level: _dense(model.taxonomy, level, finest) for level in coarser}
        self._links = model.taxonomy.linked_levels()
        self._losses_by_level = {
            level: losses.get(config.loss, **_options.of_level(config.loss_options, level))
            for level in model.taxonomy.levels
        }

    def build(self, input_shape: Any = None) -> None:
        """Puts the stems on the device."""
        if not self.mixer.built:
            self.mixer.build()
        super().build(input_shape)

    @property
    def random_variables(self) -> list[Any]:
        """The states of the random generators outside the model."""
        states = list(self.mixer.random_variables)
        return states + (list(self.augmentation.variables) if self.augmentation else [])

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Draws a batch, adds its loss and returns the scores of the finest level."""
        waveform, finest = self.mixer(inputs)
        if self.augmentation is not None:
            waveform, _ = self.augmentation((waveform, {}), training=True)
        labels = {self._finest: finest, **closed_labels(finest, self._masks)}
        scores = self.student(waveform, training=training)
        self.add_loss(self.loss_of(self.student, labels, scores, waveform))
        return scores[self._finest]

    def loss_of(
        self,
        student: HierarchicalModel,
        labels: Mapping[str, Any],
        scores: Mapping[str, Any],
        waveform: Any,
        taught: Mapping[str, Any] | None = None,
    ) -> Any:
        """Returns what a student is to lessen, from what it answered in training.

        `taught` are the answers of a teacher by level; by default those of `self.teacher`.
        """
        weights = dict.fromkeys(labels, 1.0) | dict(self._settings.loss_weights)
        labels, compared, _, answers = student.training_view(labels, scores)
        total = sum(
            weights[level] * self._losses_by_level[level](labels[level], compared[level])
            for level in labels
        )
        if self._settings.consistency and self._links:
            violations = losses.link_violations(answers, self._links)
            total += self._settings.consistency * losses.consistency_penalty(violations)
        if taught is None and self.teacher is not None:
            taught = self.teacher(waveform, training=False)
        if taught is None:
            return total
        followed = sum(
            weights[level]
            * keras.ops.mean(
                keras.losses.binary_crossentropy(
                    keras.ops.stop_gradient(keras.ops.cast(taught[level], "float32")),
                    keras.ops.cast(answers[level], "float32"),
                )
            )
            for level in labels
        )
        share = self._settings.teacher_weight
        return (1.0 - share) * total + share * followed


def _check(model: HierarchicalModel, bank: Any, config: TrainConfig) -> None:
    if not isinstance(bank, StemBank) or not config.stems:
        raise HmicError(
            "Stems are trained on with settings for them: give a `StemBank` from "
            "`data.stems.read_stems` and `TrainConfig(stems={...})` together. Received: a "
            f"{type(bank).__name__} and stems={dict(config.stems)}"
        )
    _require_waveform(model)
    if model.taxonomy.hash != bank.taxonomy.hash:
        raise LabelError(
            f"The stems are labelled with the taxonomy {bank.taxonomy.name!r} and the model "
            f"was built for {model.taxonomy.name!r}; read the stems with `model.taxonomy`."
        )
    rate = model.manifest["audio"]["sample_rate"]
    if rate != bank.sample_rate:
        raise ModelError(
            f"The model takes {rate} Hz and the stems were read at {bank.sample_rate} Hz; "
            "read them with `sample_rate=`."
        )
    clip = bank.audio.shape[1] * bank.audio.shape[2] / bank.sample_rate
    longest = config.crop_seconds * StemConfig.from_dict(config.stems).speed[1]
    if longest + 0.1 > clip:
        raise HmicError(
            f"Crops of {config.crop_seconds} s, played up to {longest / config.crop_seconds:g} "
            f"times as fast, need stems of {longest + 0.1:.1f} s. Received: {clip:g} s; render "
            "longer clips or take shorter crops."
        )


def augmentation(config: TrainConfig, sample_rate: int) -> Any:
    """Returns what becomes of a mixture; stems are mixed already."""
    spec = dict(config.augmentation)
    if unsuited := set(spec) - {"waveform"}:
        raise HmicError(
            "With `stems`, `augmentation` holds 'waveform' only, since everything happens in "
            f"the compiled step. Received: {sorted(unsuited)}"
        )
    if not spec:
        return None
    try:
        return layers.Augmentation.from_spec(spec, sample_rate=sample_rate, seed=config.seed)
    except ValueError as error:
        raise HmicError(f"`augmentation`: {error}") from error


def _compiled(config: TrainConfig) -> bool:
    if config.jit_compile != "auto":
        return bool(config.jit_compile)
    return has_gpu() or keras.config.backend() == "jax"


def _require_waveform(model: HierarchicalModel) -> None:
    if model.manifest["input"] != "waveform":
        raise ModelError(
            "Mixing stems needs models built with input='waveform'. Received: "
            f"input={model.manifest['input']!r}"
        )


def _teacher(model: HierarchicalModel, config: TrainConfig) -> Any:
    """Returns the model to follow, or None."""
    if config.teacher is None:
        return None
    teacher = zoo.load_model(config.teacher)
    _require_waveform(teacher)
    if teacher.taxonomy.hash != model.taxonomy.hash:
        raise ModelError(
            f"The teacher {config.teacher!r} answers for the taxonomy "
            f"{teacher.taxonomy.name!r}, the model for {model.taxonomy.name!r}."
        )
    return teacher


def _thresholds(
    model: HierarchicalModel, validation: Any, config: TrainConfig
) -> dict[str, list[float]]:
    """Chooses thresholds on the means over each clip's windows, as prediction takes them."""
    if validation is None:
        taxonomy = model.taxonomy
        return {level: [0.5] * len(taxonomy.classes(level)) for level in taxonomy.levels}
    rate = model.manifest["audio"]["sample_rate"]
    window = round(config.crop_seconds * rate)
    answers = [
        model.predict_on_batch(frame(load_audio(path, rate), window, window))
        for path in validation.paths
    ]
    scores = {
        level: np.stack([np.asarray(answer[level]).mean(axis=0) for answer in answers])
        for level in model.taxonomy.levels
    }
    return choose_thresholds(validation.labels, scores)


def _digest(bank: StemBank) -> str:
    """Returns a hash of what the stems are; of their sound a sample has to do."""
    found = hashlib.sha256(bank.taxonomy.hash.encode())
    for values in (bank.classes, bank.clips, bank.audio[:, ::50]):
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def _dense(taxonomy: Any, level: str, finest: str) -> np.ndarray:
    return np.asarray(taxonomy.mask(level, finest), bool)
