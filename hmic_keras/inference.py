"""Predicting instrument tags for audio with a model in any of its formats."""

import os
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from . import zoo
from .data.audio import frame, load_audio, to_waveform
from .errors import MissingDependencyError, ModelError
from .taxonomy import Taxonomy

_BATCH = 8

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
    """

    taxonomy: Taxonomy
    probabilities: Mapping[str, np.ndarray]
    windows: Mapping[str, np.ndarray]
    thresholds: Mapping[str, np.ndarray]

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
            `.tflite` file, or a SavedModel folder; or a model from `build_model` itself.
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
        else:
            manifest, self._backend = model.manifest, _KerasBackend(model)
        if manifest.get("input") != "waveform":
            raise ModelError(
                "Predicting from audio needs a model built with input='waveform'. Received: "
                f"input={manifest.get('input')!r}"
            )
        self.manifest: Mapping[str, Any] = manifest
        self.taxonomy = Taxonomy.from_dict(manifest["taxonomy"])
        self.sample_rate = int(manifest["audio"]["sample_rate"])
        self.window_seconds = float(manifest.get("window_seconds", 10.0))
        stated = manifest.get("thresholds") or {}
        self.thresholds = {
            level: np.asarray(
                stated.get(level, [0.5] * len(self.taxonomy.classes(level))), "float32"
            )
            for level in self.taxonomy.levels
        }

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
        length = round(self.window_seconds * self.sample_rate)
        return self._answer(self._backend.run(frame(waveform, length, length)))

    def _answer(self, windows: Mapping[str, np.ndarray]) -> Prediction:
        levels = self.taxonomy.levels
        return Prediction(
            taxonomy=self.taxonomy,
            probabilities={level: windows[level].mean(axis=0) for level in levels},
            windows={level: windows[level] for level in levels},
            thresholds=self.thresholds,
        )


class _Backend(Protocol):
    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Scores `(num_windows, samples)`; returns `(num_windows, classes)` by level."""


class _KerasBackend:
    def __init__(self, model: Any) -> None:
        # Made here because the first of several threads would make it under the others' feet.
        model.make_predict_function()
        self._model = model

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        return _in_batches(windows, self._model.predict_on_batch)


class _SavedModelBackend:
    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        self._loaded = tf.saved_model.load(os.fspath(path))

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        return _in_batches(windows, self._loaded.serve)


class _TFLiteBackend:
    def __init__(self, path: Path) -> None:
        try:
            interpreter = _tflite_interpreter(path)
            self._runner = interpreter.get_signature_runner()
        except ValueError as error:
            raise ModelError(f"'{path}' cannot be run as TensorFlow Lite: {error}") from error
        (self._input,) = self._runner.get_input_details()
        # An interpreter holds one set of tensors.
        self._lock = threading.Lock()

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            rows = [self._runner(**{self._input: window[np.newaxis]}) for window in windows]
        return {level: np.concatenate([row[level] for row in rows]) for level in rows[0]}


def _in_batches(windows: np.ndarray, function: Any) -> dict[str, np.ndarray]:
    parts = [
        function(windows[start : start + _BATCH]) for start in range(0, len(windows), _BATCH)
    ]
    return {
        level: np.concatenate([np.asarray(part[level]) for part in parts]) for level in parts[0]
    }


def _tflite_interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tensorflow import lite
        except ImportError as error:
            raise MissingDependencyError(
                "Running a TensorFlow Lite file needs LiteRT: pip install ai-edge-litert."
            ) from error
        with warnings.catch_warnings():
            # TensorFlow announces the move to LiteRT, which is not installed here.
            warnings.simplefilter("ignore")
            return lite.Interpreter(model_path=os.fspath(path), num_threads=1)
    return Interpreter(model_path=os.fspath(path), num_threads=1)


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


def _open(kind: str, path: Path) -> tuple[dict[str, Any], _Backend]:
    if kind == "keras":
        model = zoo.load_model(path)
        return model.manifest, _KerasBackend(model)
    manifest = zoo.read_manifest(path.parent)
    if manifest is None:
        raise ModelError(
            f"Beside '{path}' there is no '{zoo.MANIFEST}', which names its classes. Keep the "
            "files of an exported folder together."
        )
    zoo.verify(path)
    backend: _Backend = _TFLiteBackend(path) if kind == "tflite" else _SavedModelBackend(path)
    return manifest, backend
