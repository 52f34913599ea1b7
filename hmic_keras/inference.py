"""Predicting instrument tags for audio with a model in any of its formats."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import _tflite_file, zoo
from ._backends import Backend, KerasBackend, OnnxBackend, SavedModelBackend, TFLiteBackend
from ._files import CHECKSUM, checksum_line, sha256
from ._mel import log_mel
from .config import AudioConfig
from .data.audio import frame, load_audio, to_waveform
from .data.resampling import check_resampler
from .errors import MissingDependencyError, ModelError, first_line
from .taxonomy import Taxonomy
from .zoo import resolve

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
    """Answers for audio files and arrays with a model of waveforms or log-mel spectrograms.

    The audio is cut into windows of the length the model was trained on; the answer for a
    clip is the mean over its windows, whatever the format of the model. Log-mel spectrograms
    are computed here, by NumPy, for a model that takes them. Outputs are told apart by name.
    Safe to use from several threads; a TensorFlow Lite model answers them one after the other.

    A TensorFlow Lite file runs on LiteRT, without TensorFlow and Keras.

    Args:
        model: A zoo name or a path: a folder written by `hmic_keras.export`, a `.keras`,
            `.tflite` or `.onnx` file, or a SavedModel folder; or a model from `build_model`
            itself. The `manifest.json` of an exported folder holds for all its files; a file
            without one beside it answers by the manifest that it carries.
        format: Which of a folder's files to use, a name of `zoo.FILES` such as `"keras"` or
            `"dynamic_int8"`, or `"tflite"` for `"float32"`. For a single file it follows from
            the file.
        zoo: Your own folder of models, to look for a name in first; by default the one that
            the environment variable `HMIC_ZOO` names, if it does.
        resampler: What brings audio to the model's rate: `"soxr"`, which is what models are
            trained with, or `"mediapipe"`, to answer as MediaPipe's `AudioClassifier` does in
            an app that hands it audio of another rate (`hmic_keras.data.resample`).

    Raises:
        HmicError: If there is no such resampler.
        ModelError: If there is no such model, it cannot be read, it lacks a manifest, or the
            two do not belong together.
        MissingDependencyError: If the library that runs the format is not installed.

    Example:
        >>> import numpy as np
        >>> import hmic_keras as hk
        >>> noise = np.random.default_rng(0).normal(0, 0.1, 32000)
        >>> result = hk.Predictor("hmic-mobile").predict(noise, sample_rate=8000)
        >>> result.probabilities["coarse"].shape
        (7,)
    """

    def __init__(
        self,
        model: Any = zoo.DEFAULT_MODEL,
        *,
        format: str | None = None,
        zoo: str | os.PathLike[str] | None = None,
        resampler: str = "soxr",
    ) -> None:
        check_resampler(resampler)
        self.resampler = resampler
        if isinstance(model, str | os.PathLike):
            path = resolve(model, zoo)
            kind, path = _format_of(path, format)
            manifest, self._backend, own = _open(kind, path)
            source = f"'{path}'"
        elif not hasattr(model, "manifest"):
            raise ModelError(
                "`model` must be a packaged model's name, a path, or a model built by "
                f"`hmic_keras.build_model`. Received: {model!r}"
            )
        else:
            source = f"the model {model.name!r}"
            manifest = own = _audio_manifest(model.manifest, source)
            self._backend = KerasBackend(model)
        self.manifest: Mapping[str, Any] = manifest
        self._read(manifest, source)
        self._window = round(self.window_seconds * self.sample_rate)
        self._audio = self._front_end(manifest, source)
        self._check_backend(source)
        _check_same(manifest, own, source)

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
            waveform = load_audio(audio, self.sample_rate, resampler=self.resampler)
        elif sample_rate is None:
            raise ValueError("`sample_rate` is needed with an array: its samples per second.")
        else:
            waveform = to_waveform(
                audio, sample_rate, self.sample_rate, resampler=self.resampler
            )
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

        Raises:
            ModelError: If the windows have another shape.
        """
        windows = np.asarray(windows, "float32")
        if windows.ndim != 2 or windows.shape[1] != self._window or not len(windows):
            raise ModelError(
                f"`windows` must be (num_windows, {self._window}): {self.window_seconds:g} s, "
                f"{self.sample_rate} Hz. Received shape: {windows.shape}; `predict` cuts "
                "and resamples audio of any length and rate."
            )
        if self._audio is not None:
            windows = log_mel(windows, self._audio)
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

    def _front_end(self, manifest: Mapping[str, Any], source: str) -> AudioConfig | None:
        """Returns the settings of the spectrogram to compute, None for none."""
        if len(self._backend.input_shape) == 1:
            return None
        try:
            return AudioConfig.from_dict(manifest["audio"])
        except ValueError as error:
            raise ModelError(
                f"The manifest of {source} cannot be used: {error} Export the model again."
            ) from error

    def _check_backend(self, source: str) -> None:
        wanted = {level: len(self.taxonomy.classes(level)) for level in self.taxonomy.levels}
        found = dict(self._backend.classes)
        # A file may answer more than the levels, its attention maps for example.
        if wanted != {level: found[level] for level in wanted if level in found}:
            raise ModelError(
                f"The manifest of {source} names {wanted} classes by level, but the model "
                f"answers {found}; they do not belong together."
            )
        if self._audio is None:
            expected: tuple[int, ...] = (self._window,)
        else:
            samples = self._window - self._audio.n_fft % 2
            expected = (1 + samples // self._audio.hop_length, self._audio.n_mels)
        shape = self._backend.input_shape
        if len(shape) != len(expected) or any(
            size not in (None, wanted) for size, wanted in zip(shape, expected, strict=True)
        ):
            kind = "samples" if len(expected) == 1 else "frames and bands"
            raise ModelError(
                f"The manifest of {source} states windows of {_sizes(expected)} {kind}, but "
                f"the model takes {_sizes(shape)}; they do not belong together."
            )


def _sizes(shape: tuple[int | None, ...]) -> str:
    return " x ".join("any" if size is None else str(size) for size in shape)


def _format_of(path: Path, wanted: str | None) -> tuple[str, Path]:
    """Returns the kind of a model, "keras", "savedmodel", "tflite" or "onnx", and its path."""
    name = zoo.ALIASES.get(wanted or "", wanted)
    if name is not None and name not in zoo.FILES:
        raise ModelError(f"`format` must be one of {sorted(zoo.FILES)}. Received: {wanted!r}")
    folder = path.is_dir() and not (path / "saved_model.pb").is_file()
    if folder:
        name = name or next((k for k, f in zoo.FILES.items() if (path / f).exists()), "keras")
        path = path / zoo.FILES[name]
        zoo.check_present(path)
    found = "savedmodel" if path.is_dir() else _KINDS.get(path.suffix, "")
    if not found:
        raise ModelError(
            f"'{path}' is no model: expected a '.keras', '.tflite' or '.onnx' file, a "
            "SavedModel folder, or a folder written by `hmic_keras.export`."
        )
    if not folder and name is not None and found != _kind(name):
        raise ModelError(f"'{path}' is in the format {found!r}, not {wanted!r}.")
    return found, path


_KINDS = {".keras": "keras", ".tflite": "tflite", ".onnx": "onnx"}


def _kind(name: str) -> str:
    return _KINDS.get(Path(zoo.FILES[name]).suffix, "savedmodel")


def _open(kind: str, path: Path) -> tuple[dict[str, Any], Backend, dict[str, Any]]:
    """Returns the manifest to go by, what runs the model, and the manifest it carries."""
    beside = zoo.read_manifest(path.parent)
    if kind != "keras" and beside is not None:
        _audio_manifest(beside, f"'{path}'")
        zoo.verify(path)
    backend, own = _OPENERS[kind](path)
    # The manifest of an exported folder goes before those its files carry, so that all of them
    # agree, on the thresholds for example.
    named = beside is not None and path.name in beside.get("files", {}).values()
    manifest = beside if named or own is None else own
    if manifest is None:
        raise ModelError(
            f"Beside '{path}' there is no '{zoo.MANIFEST}', which names its classes, and it "
            "carries none itself. Keep the files of an exported folder together."
        )
    return _audio_manifest(manifest, f"'{path}'"), backend, own or manifest


def _open_keras(path: Path) -> tuple[Backend, dict[str, Any] | None]:
    try:
        model = zoo.load_model(path)
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f"Running '{path}' needs Keras and TensorFlow: pip install hmic-keras. LiteRT "
            "runs a '.tflite' file without them."
        ) from error
    _audio_manifest(model.manifest, f"'{path}'")
    return KerasBackend(model), model.manifest


def _open_saved_model(path: Path) -> tuple[Backend, dict[str, Any] | None]:
    own = zoo.read_manifest(path / zoo.ASSETS)
    if own is not None:
        content = (path / zoo.ASSETS / zoo.MANIFEST).read_bytes()
        stated = path / zoo.ASSETS / CHECKSUM
        _check_text(path, content, stated.read_text("utf-8") if stated.is_file() else None)
    for name, expected in (own or {}).get("sha256", {}).items():
        if not (path / name).exists() or sha256(path / name) != expected:
            raise ModelError(
                f"'{path}' cannot be used: its '{name}' does not have the SHA-256 that the "
                "manifest in it states. Export the model again."
            )
    return SavedModelBackend(path), own


def _open_tflite(path: Path) -> tuple[Backend, dict[str, Any] | None]:
    own = _tflite_file.read_manifest(path)
    return TFLiteBackend(path), own


def _open_onnx(path: Path) -> tuple[Backend, dict[str, Any] | None]:
    backend = OnnxBackend(path)
    text = backend.metadata.get(zoo.ONNX_ENTRY)
    if text is None:
        return backend, None
    _check_text(path, text.encode("utf-8"), backend.metadata.get(zoo.ONNX_CHECKSUM))
    try:
        own = dict(json.loads(text))
        length, stated = int(own[zoo.CONTENT_BYTES]), own[_tflite_file.CONTENT_SHA256]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"'{path}' cannot be used: the manifest it carries is not one of this package: "
            f"{first_line(error)} Export the model again."
        ) from error
    if hashlib.sha256(path.read_bytes()[:length]).hexdigest() != stated:
        raise ModelError(
            f"'{path}' cannot be used: the model does not have the SHA-256 that the manifest "
            "in it states. Export the model again."
        )
    return backend, own


def _check_text(path: Path, manifest: bytes, stated: str | None) -> None:
    """Refuses a manifest within a file that its checksum, a line of `sha256sum`, disowns."""
    if stated != checksum_line(manifest, zoo.MANIFEST):
        raise ModelError(
            f"'{path}' cannot be used: the manifest in it does not have the SHA-256 that is "
            "stated beside it: it was altered after export. Export the model again."
        )


_OPENERS: Mapping[str, Callable[[Path], tuple[Backend, dict[str, Any] | None]]] = {
    "keras": _open_keras,
    "savedmodel": _open_saved_model,
    "tflite": _open_tflite,
    "onnx": _open_onnx,
}


def _check_same(manifest: Mapping[str, Any], own: Mapping[str, Any], source: str) -> None:
    for entry in ("class_order", "audio"):
        if own.get(entry) != manifest.get(entry):
            raise ModelError(
                f"The '{zoo.MANIFEST}' beside {source} and the manifest it carries differ in "
                f"{entry!r}; they do not belong together. Export the model again."
            )


def _audio_manifest(manifest: dict[str, Any], source: str) -> dict[str, Any]:
    if manifest.get("input") not in ("waveform", "log_mel"):
        raise ModelError(
            "Predicting from audio needs a model built with input='waveform' or "
            f"input='log_mel'. Received: {source} with input={manifest.get('input')!r}"
        )
    return manifest
