"""Writing one format of a model, and comparing it with the model."""

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .. import _tflite_file
from .._backends import Backend, KerasBackend, OnnxBackend, SavedModelBackend, TFLiteBackend
from .._files import CHECKSUM, checksum_line, sha256, write_json, write_text
from .._mel import log_mel
from .._versions import versions
from ..data.sources.folder import LabelledClips
from ..errors import ModelError
from ..layers import LogMelSpectrogram
from ..zoo import ASSETS, MANIFEST
from . import metadata, onnx, parity, quantisation, tflite
from ._inputs import Inputs, Windows
from ._tolerance import Search
from .precision import as_float32
from .savedmodel import export_saved_model, with_extras

TOLERANCES: Mapping[str, float] = {
    # Float32 graphs differ from Keras by rounding only.
    "savedmodel": 1e-3,
    "float32": 1e-3,
    "onnx": 1e-3,
    "float16": 0.01,
    "weight_int8": 0.05,
    "dynamic_int8": 0.05,
    "static_int8": 0.1,
    "w4": 0.2,
}
"""Largest difference of a probability to the Keras model that is kept, by format."""

_BACKENDS: Mapping[str, Callable[[Path], Backend]] = {
    ".tflite": TFLiteBackend,
    ".onnx": OnnxBackend,
    "": SavedModelBackend,
}


class Exporter:
    """Writes one model in any format; see `bundle.export_model` for the arguments.

    A context manager, since it keeps a SavedModel meanwhile.
    """

    def __init__(
        self,
        model: Any,
        waveforms: Any,
        calibration: Any,
        evaluation: LabelledClips | None,
        extras: Sequence[str],
        tolerance: float | Mapping[str, float] | None,
    ) -> None:
        self._original, self._model = model, as_float32(model)
        self._takes = takes = Inputs(model)
        self._extras = tuple(extras)
        self._tolerances = _tolerances(tolerance)
        compared = _compared(takes, waveforms, calibration, evaluation)
        self._names = [f"{part} {name}" for part, one in compared.items() for name in one.names]
        self._counts = {part: len(one.names) for part, one in compared.items()}
        self._inputs = np.concatenate([one.values for one in compared.values()])
        # What weights are rounded for, where nearest is not near enough; no probes, and no
        # clips that are to tell how well a file does.
        read = {part: one.values for part, one in compared.items()}
        self._calibration = read.get("calibration")
        self._typical = read.get("calibration", read.get("waveforms"))
        self._keras = KerasBackend(self._model)
        self._expected = self._keras.run(self._inputs)
        self._evaluation = evaluation
        if evaluation is not None:
            self._owners = compared["evaluation"].owners
        self._float32: bytes | None = None
        # Both float formats are converted from it.
        self._fixed = tempfile.TemporaryDirectory(prefix="hmic-export-")

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *_: object) -> None:
        self._fixed.cleanup()

    def write(self, name: str, path: Path) -> dict[str, Any]:
        """Writes one format and returns its entry of the manifest.

        Raises:
            ModelError: If the format does not suit the model, or answers differently.
        """
        if name == "keras":
            self._original.save(path)
            return {"file": path.name, "size_bytes": _size(path)}
        recipe = None
        if name == "savedmodel":
            export_saved_model(self._model, path, extras=self._extras)
        elif name == "onnx":
            onnx.export_onnx(
                self._model, path, input_shape=self._takes.shape, extras=self._extras
            )
        else:
            content, recipe = self._tflite(name, path)
            path.write_bytes(content)
        backend = _BACKENDS[path.suffix](path)
        entry = {
            "file": path.name,
            "input": self._kind(backend),
            "input_shape": list(backend.input_shape),
            "extras": list(self._extras),
            "quantisation": recipe,
            "parity": self._report(name, backend),
            "latency_ms": round(
                parity.latency_ms(backend, self._for(backend, self._inputs)), 3
            ),
            "versions": versions(*self._tools(name)),
        }
        self._carry(name, path, entry)
        return {**entry, "size_bytes": _size(path)}

    def _tools(self, name: str) -> tuple[str, ...]:
        return (quantisation.TOOL,) if name in quantisation.SCHEMES else ()

    def _tflite(self, name: str, path: Path) -> tuple[bytes, Any]:
        recipe: Any = None
        if name == "float16":
            content, recipe = self._convert(half_precision=True), [{"weights": "float16"}]
        elif name == "static_int8":
            network, inputs = self._behind_front_end()
            ranges = quantisation.find_ranges(network, inputs)
            content, recipe = self._quantise(name, path, network, inputs, ranges)
        else:
            content = self._plain()
        if name in ("dynamic_int8", "weight_int8", "w4"):
            content, recipe = self._quantise(name, path, content, self._typical)
        tflite.check_operations(content)
        return self._with_metadata(content, name), recipe

    def _quantise(
        self,
        scheme: str,
        path: Path,
        content: bytes,
        typical: np.ndarray | None,
        ranges: Any = None,
    ) -> tuple[bytes, Any]:
        """Quantises as much as the tolerance allows."""

        def compare(quantised: bytes) -> float:
            path.write_bytes(quantised)
            return max(self._answers(TFLiteBackend(path))[1].values())

        search = Search(
            content,
            scheme,
            fronts=[layer.name for layer in self._front_ends()],
            typical=typical,
            ranges=ranges,
            compare=compare,
        )
        found = search.within(self._tolerances[scheme])
        return found.content, found.recipe

    def _convert(self, **options: Any) -> bytes:
        path = Path(self._fixed.name) / "saved_model"
        if not path.exists():
            model = with_extras(self._model, self._extras)
            export_saved_model(model, path, batch_size=1, input_shape=self._takes.shape)
        return tflite.convert_saved_model(path, **options)

    def _plain(self) -> bytes:
        self._float32 = self._float32 or self._convert()
        return self._float32

    def _behind_front_end(self) -> tuple[bytes, Any]:
        """Converts what takes log-mel spectrograms; the front end does not survive int8."""
        fronts, inputs = self._front_ends(), self._calibration
        if not fronts:
            return self._plain(), inputs
        model, shape = with_extras(self._model, self._extras), self._takes.log_mel_shape
        given = keras.Input(shape, name="log_mel")
        network = keras.Model(fronts[0].output, model.output)
        model = keras.Model(given, network(given), name=self._model.name)
        inputs = None if inputs is None else log_mel(inputs, self._takes.audio)
        return tflite.convert(model, shape), inputs

    def _front_ends(self) -> list[Any]:
        return [layer for layer in self._model.layers if isinstance(layer, LogMelSpectrogram)]

    def _with_metadata(self, content: bytes, name: str) -> bytes:
        manifest = self._original.manifest
        classes, stated = manifest["class_order"], manifest.get("thresholds") or {}
        waveform = self._takes.kind == "waveform" and name != "static_int8"
        return metadata.add_metadata(
            content,
            name=self._model.name,
            classes=classes,
            thresholds={
                lv: stated.get(lv, [0.5] * len(names)) for lv, names in classes.items()
            },
            sample_rate=self._takes.audio.sample_rate if waveform else None,
        )

    def _kind(self, backend: Backend) -> str:
        """Returns what a file takes: log-mel spectrograms where the front end was left out."""
        left_out = self._takes.kind == "waveform" and len(backend.input_shape) == 2
        return "log_mel" if left_out else self._takes.kind

    def _for(self, backend: Backend, inputs: np.ndarray) -> np.ndarray:
        left_out = self._kind(backend) != self._takes.kind
        return log_mel(inputs, self._takes.audio) if left_out else inputs

    def _answers(self, backend: Backend) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        found = backend.run(self._for(backend, self._inputs))
        return found, parity.largest_difference(self._expected, found)

    def _report(self, name: str, backend: Backend) -> dict[str, Any]:
        found, differences = self._answers(backend)
        tolerance = self._tolerances[name]
        if not max(differences.values()) <= tolerance:
            shown = {level: round(value, 4) for level, value in differences.items()}
            where = self._names[parity.worst_input(self._expected, found)]
            raise ModelError(
                f"The exported {name} file answers differently from the Keras model: by up to "
                f"{shown}, most for {where}, where `tolerance` allows {tolerance:g}. It was "
                "not kept."
            )
        worst = parity.worst_input(self._expected, found)
        report = {
            "max": differences,
            "mean": parity.mean_difference(self._expected, found),
            "inputs": len(self._inputs),
            "compared": self._counts,
            "worst": self._names[worst],
            "tolerance": tolerance,
        }
        if self._evaluation is not None:
            report["map"] = parity.lost_map(
                self._evaluation.taxonomy,
                self._evaluation.labels,
                self._by_clip(self._expected),
                self._by_clip(found),
            )
        return report

    def _by_clip(self, answers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the answers for the clips of the evaluation, the means over their windows."""
        owners = self._owners
        counts = np.bincount(owners)[:, np.newaxis]
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        # They come last of what is compared.
        return {
            level: np.add.reduceat(answers[level][-len(owners) :], starts) / counts
            for level in self._expected
        }

    def _carry(self, name: str, path: Path, entry: Mapping[str, Any]) -> None:
        """Puts the manifest into the file, so that it can do without the folder."""
        own = {
            **self._original.manifest,
            "input": entry["input"],
            "format": name,
            "export": dict(entry),
        }
        if name == "savedmodel":
            parts = ("saved_model.pb", "variables")
            own["sha256"] = {part: sha256(path / part) for part in parts}
            write_json(path / ASSETS / MANIFEST, own)
            text = (path / ASSETS / MANIFEST).read_bytes()
            write_text(path / ASSETS / CHECKSUM, checksum_line(text, MANIFEST))
        elif name == "onnx":
            onnx.add_manifest(path, own)
        else:
            path.write_bytes(_tflite_file.with_files(path.read_bytes(), own))


def _compared(
    takes: Inputs, waveforms: Any, calibration: Any, evaluation: LabelledClips | None
) -> dict[str, Windows]:
    """Returns all inputs that files have to answer as the model does, by their origin."""
    parts = {}
    if waveforms is None:
        parts["probe"] = takes.probe()
    else:
        parts["waveforms"] = takes.read("waveforms", waveforms, every=True)
    if calibration is not None:
        parts["calibration"] = takes.read("calibration", calibration)
    if evaluation is not None:
        parts["evaluation"] = takes.read("evaluation", evaluation, every=True)
    return parts


def _tolerances(given: float | Mapping[str, float] | None) -> Mapping[str, float]:
    values = given if isinstance(given, Mapping) else dict.fromkeys(TOLERANCES, given)
    chosen = {name: value for name, value in values.items() if value is not None}
    unknown = set(chosen) - set(TOLERANCES)
    numbers = all(
        isinstance(v, int | float)
        and not isinstance(v, bool)
        and 0 <= v <= 1
        and math.isfinite(v)
        for v in chosen.values()
    )
    if unknown or not numbers:
        raise ModelError(
            "`tolerance` must be a number from 0 to 1, or those by format, one of "
            f"{sorted(TOLERANCES)}. Received: {given!r}"
        )
    return {**TOLERANCES, **chosen}


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(file.stat().st_size for file in files)
