"""Predicting instrument tags for audio with a model in any of its formats."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import zoo
from ._backends import Backend, KerasBackend, SavedModelBackend, TFLiteBackend
from .data.audio import frame, load_audio, to_waveform
from .errors import ModelError
from .taxonomy import Taxonomy

__all__ = ["Prediction", "Predictor"]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one clip.

    Attributes:
        taxonomy: The taxonomy of the classes.
        probabilities: By level, `(num_classes,)`: the mean over the windows of the clip.
        windows: By level, `(num_windows, num_classes)`.
        thresholds: By level, `(num_classes,)`: from which probability a class counts as
            present.
        seconds: Length of the clip.
    """

    taxonomy: Taxonomy
    probabilities: Mapping[str, np.ndarray]
    windows: Mapping[str, np.ndarray]
    thresholds: Mapping[str, np.ndarray]
    seconds: float

    def tags(self, level: str) -> list[tuple[str, float]]:
        """Returns the present classes of a level with their probabilities, highest first."""
        present = self.probabilities[level] >= self.thresholds[level]
        return [item for item in self._ranked(level) if present[self._index(level, item[0])]]

    def top(self, level: str, count: int = 5) -> list[tuple[str, float]]:
        """Returns the `count` most probable classes of a level, present or not."""
        return self._ranked(level)[:count]

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Returns every class with its probability, by level, in the taxonomy's order."""
        return {
            level: {
                name: round(float(value), 6)
                for name, value in zip(self.taxonomy.classes(level), values, strict=True)
            }
            for level, values in self.probabilities.items()
        }

    def _ranked(self, level: str) -> list[tuple[str, float]]:
        values = self.probabilities[level]
        order = np.argsort(-values, kind="stable")
        return [(self.taxonomy.classes(level)[i], float(values[i])) for i in order]

    def _index(self, level: str, name: str) -> int:
        return self.taxonomy.index(level)[name]


class Predictor:
    """Answers for audio files and arrays with a waveform model.

    The audio is cut into windows of the length the model was trained on; the answer for a
    clip is the mean over its windows, whatever the format of the model. Safe to use from
    several threads; a TensorFlow Lite model answers them one after the other.

    Args:
        model: A zoo name or a path: a folder written by `hmic_keras.export`, a `.keras` or
            `.tflite` file, or a SavedModel folder; or a model from `build_model` itself. The
            `manifest.json` of an exported folder holds for all its files.
        format: Which of a folder's files to use: `"keras"`, `"savedmodel"` or `"tflite"`. For
            a single file it follows from the file.

    Raises:
        ModelError: If there is no such model, it cannot be read, or it lacks a manifest.

    Example:
        >>> import numpy as np
        >>> import hmic_keras as hk
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 32000)
        >>> result = hk.Predictor("hmic-demo").predict(noise, sample_rate=8000)
        >>> result.probabilities["coarse"].shape
        (7,)
    """

    def __init__(
        self,
        model: Any = zoo.DEFAULT_MODEL,
        *,
        format: str | None = None,
    ) -> None:
        if isinstance(model, str | os.PathLike):
            path = zoo.resolve(model)
            kind, path = _format_of(path, format)
            manifest, self._backend = _open(kind, path)
            source = f"'{path}'"
        elif not hasattr(model, "manifest"):
            raise ModelError(
                "`model` must be a packaged model's name, a path, or a model built by "
                f"`hmic_keras.build_model`. Received: {model!r}"
            )
        else:
            source = f"the model {model.name!r}"
            manifest = _waveform_manifest(model.manifest, source)
            self._backend = KerasBackend(model)
        self.manifest: Mapping[str, Any] = manifest
        self._read(manifest, source)
        self._window = round(self.window_seconds * self.sample_rate)
        self._check_backend(source)

    def predict(
        self, audio: str | os.PathLike[str] | np.ndarray, sample_rate: int | None = None
    ) -> Prediction:
        """Predicts the tags of one clip of any length.

        Args:
            audio: Path of an audio file (wav, flac, ogg, mp3; any rate, any channels), or an
                array `(samples,)` or `(samples, channels)`, float in [-1, 1] or integer PCM.
            sample_rate: Sample rate of an array in Hz.

        Raises:
            AudioError: If the audio cannot be used.
            ValueError: If an array comes without its sample rate.
        """
        if isinstance(audio, str | os.PathLike):
            waveform = load_audio(audio, self.sample_rate)
        elif sample_rate is None:
            raise ValueError("`sample_rate` is needed with an array: its samples per second.")
        else:
            waveform = to_waveform(audio, sample_rate, self.sample_rate)
        windows = self.score_windows(frame(waveform, self._window, self._window))
        return Prediction(
            taxonomy=self.taxonomy,
            probabilities={level: scores.mean(axis=0) for level, scores in windows.items()},
            windows=windows,
            thresholds=self.thresholds,
            seconds=len(waveform) / self.sample_rate,
        )

    def score_windows(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Scores windows that are cut already, as they are.

        Args:
            windows: float32 `(num_windows, samples)` of `window_seconds` at `sample_rate`.

        Returns:
            Probabilities by level, finest first, `(num_windows, num_classes)`.
        """
        scores = self._backend.run(windows)
        return {level: scores[level] for level in self.taxonomy.levels}

    def _read(self, manifest: Mapping[str, Any], source: str) -> None:
        try:
            self.taxonomy = Taxonomy.from_dict(manifest["taxonomy"])
            self.sample_rate = int(manifest["audio"]["sample_rate"])
            self.window_seconds = float(manifest.get("window_seconds", 10.0))
            stated = manifest.get("thresholds") or {}
            self.thresholds = {
                level: np.asarray(
                    stated.get(level, [0.5] * len(self.taxonomy.classes(level))), "float64"
                )
                for level in self.taxonomy.levels
            }
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            found = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ModelError(
                f"The manifest of {source} cannot be used: {found.rstrip('.')}. Export the "
                "model again."
            ) from error
        for rule, holds in self._rules(manifest):
            if not holds:
                raise ModelError(
                    f"The manifest of {source} cannot be used: {rule}. Export the model again."
                )
        # No sooner, since a number beyond float32 would only be a warning.
        self.thresholds = {k: v.astype("float32") for k, v in self.thresholds.items()}

    def _rules(self, manifest: Mapping[str, Any]) -> list[tuple[str, bool]]:
        order = {level: list(self.taxonomy.classes(level)) for level in self.taxonomy.levels}
        thresholds_fit = all(
            self.thresholds[level].shape == (len(classes),)
            and bool(((self.thresholds[level] >= 0) & (self.thresholds[level] <= 1)).all())
            for level, classes in order.items()
        )
        return [
            (
                "its 'taxonomy_hash' is that of another taxonomy",
                manifest.get("taxonomy_hash", self.taxonomy.hash) == self.taxonomy.hash,
            ),
            (
                "its 'class_order' is not that of its taxonomy",
                manifest.get("class_order", order) == order,
            ),
            (
                "its 'thresholds' must be a number from 0 to 1 for each class of a level",
                thresholds_fit,
            ),
            (
                "'window_seconds' must be 0.1 to 3600 and the sample rate 1 to 2**31 - 1 Hz",
                0.1 <= self.window_seconds <= 3600 and 0 < self.sample_rate < 2**31,
            ),
        ]

    def _check_backend(self, source: str) -> None:
        wanted = {level: len(self.taxonomy.classes(level)) for level in self.taxonomy.levels}
        if dict(self._backend.classes) != wanted:
            raise ModelError(
                f"The manifest of {source} names {wanted} classes by level, but the model "
                f"answers {dict(self._backend.classes)}; they do not belong together."
            )
        if self._backend.samples not in (None, self._window):
            raise ModelError(
                f"The manifest of {source} states windows of {self._window} samples, but the "
                f"model takes {self._backend.samples}; they do not belong together."
            )


def _format_of(path: Path, wanted: str | None) -> tuple[str, Path]:
    if wanted is not None and wanted not in zoo.FILES:
        raise ModelError(f"`format` must be one of {sorted(zoo.FILES)}. Received: {wanted!r}")
    if path.is_dir() and (path / "saved_model.pb").is_file():
        found = "savedmodel"
    elif path.is_dir():
        found = wanted or next(
            (k for k, f in zoo.FILES.items() if (path / f).exists()), "keras"
        )
        if not (path / zoo.FILES[found]).exists():
            raise ModelError(f"The folder '{path}' holds no '{zoo.FILES[found]}'.")
        return found, path / zoo.FILES[found]
    else:
        found = {".keras": "keras", ".tflite": "tflite"}.get(path.suffix, "")
    if not found:
        raise ModelError(
            f"'{path}' is no model: expected a '.keras' or '.tflite' file, a SavedModel "
            "folder, or a folder written by `hmic_keras.export`."
        )
    if wanted not in (None, found):
        raise ModelError(f"'{path}' is in the format {found!r}, not {wanted!r}.")
    return found, path


def _open(kind: str, path: Path) -> tuple[dict[str, Any], Backend]:
    manifest = zoo.read_manifest(path.parent)
    if kind == "keras":
        model = zoo.load_model(path)
        # A Keras file brings its manifest; the one of an exported folder goes before it, so
        # that all files of the folder agree, on the thresholds for example.
        if manifest is None or path.name not in manifest.get("files", {}).values():
            manifest = model.manifest
        return _waveform_manifest(manifest, f"'{path}'"), KerasBackend(model)
    if manifest is None:
        raise ModelError(
            f"Beside '{path}' there is no '{zoo.MANIFEST}', which names its classes. Keep the "
            "files of an exported folder together."
        )
    _waveform_manifest(manifest, f"'{path}'")
    zoo.verify(path)
    backend: Backend = TFLiteBackend(path) if kind == "tflite" else SavedModelBackend(path)
    return manifest, backend


def _waveform_manifest(manifest: dict[str, Any], source: str) -> dict[str, Any]:
    if manifest.get("input") != "waveform":
        raise ModelError(
            "Predicting from audio needs a model built with input='waveform'. Received: "
            f"{source} with input={manifest.get('input')!r}"
        )
    return manifest
