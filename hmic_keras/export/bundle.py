"""One folder with a model in several formats and the manifest that describes it."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_path, sha256, write_json
from ..errors import ModelError
from ..zoo import FILES, MANIFEST, read_manifest
from .parity import parity
from .precision import as_float32
from .savedmodel import export_saved_model
from .tflite import export_tflite

# Float32 graphs differ from Keras by rounding only.
_TOLERANCE = 1e-3
# What training and the demo put beside an exported model.
_COMPANIONS = ("history.csv", "evaluation.json", "attention_map.png")
# How the model came about; an export leaves it in place.
_RUN = "run"


def export_model(
    model: Any,
    out: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("keras", "savedmodel", "tflite"),
    waveforms: np.ndarray | None = None,
) -> dict[str, Any]:
    """Writes a folder with the model, its exported formats and `manifest.json`.

    Every exported format answers the same waveforms as the Keras model; one that differs by
    more than 0.001 is refused. The folder is written whole or not at all, and replaces an
    earlier export.

    Args:
        model: A waveform model from `build_model`.
        out: The folder. An existing one must hold an earlier export, which is replaced with
            the history and figures beside it, or nothing. The record of a training run in it
            (`run/`) is kept.
        formats: Any of `"keras"`, `"savedmodel"`, `"tflite"`.
        waveforms: float32 `(batch, samples)` to compare on; noise at several levels and
            silence by default.

    Returns:
        The manifest: taxonomy, class order, audio settings, thresholds, versions, provenance,
        `parity` (largest difference by format and level) and `sha256` by file.

    Raises:
        ModelError: If a format is unknown, the model does not take waveforms, `out` holds
            something else, or an exported format answers differently.
    """
    _check(model, formats)
    check_folder(out)
    window_seconds = model.manifest.get("window_seconds", 10.0)
    model.update_manifest(window_seconds=window_seconds)
    samples = round(window_seconds * model.manifest["audio"]["sample_rate"])
    if waveforms is None:
        waveforms = _probe(samples)
    with atomic_path(out) as folder:
        folder.mkdir()
        if (Path(out) / _RUN).is_dir():
            shutil.copytree(Path(out) / _RUN, folder / _RUN)
        manifest = {**model.manifest, "files": {name: FILES[name] for name in formats}}
        write_json(folder / MANIFEST, manifest)
        if "keras" in formats:
            model.save(folder / FILES["keras"])
        if "savedmodel" in formats:
            export_saved_model(model, folder / FILES["savedmodel"])
        if "tflite" in formats:
            export_tflite(model, folder / FILES["tflite"], samples=samples)
        manifest["parity"] = {
            name: _compare(as_float32(model), folder / FILES[name], name, waveforms)
            for name in formats
            if name != "keras"
        }
        manifest["sha256"] = {FILES[name]: sha256(folder / FILES[name]) for name in formats}
        write_json(folder / MANIFEST, manifest)
    return manifest


def check_folder(out: str | os.PathLike[str]) -> None:
    """Refuses a folder that `export_model` may not replace; worth asking before training.

    Args:
        out: The folder to export into.

    Raises:
        ModelError: If `out` is a file, the current folder or one above it, or holds anything
            but an earlier export.
    """
    out = Path(out)
    if any(path.exists() and not path.is_dir() for path in (out, *out.parents)):
        raise ModelError(f"'{out}' is a file, or lies below one; name a folder to export into.")
    if not out.is_dir():
        return
    if Path.cwd().is_relative_to(out.resolve()):
        raise ModelError(
            f"'{out}' is the current folder or one above it, which an export would replace; "
            "name a folder inside it."
        )
    found = {path.name for path in out.iterdir()}
    known = {MANIFEST, *FILES.values(), *_COMPANIONS, _RUN}
    ours = "class_order" in (read_manifest(out) or {}) or (out / _RUN / "run.json").is_file()
    if not found or (found <= known and ours):
        return
    raise ModelError(
        f"The folder '{out}' holds {sorted(found - known or found)[:3]}, which no export "
        "wrote; name an empty or new folder."
    )


def _check(model: Any, formats: Sequence[str]) -> None:
    if unknown := set(formats) - set(FILES):
        raise ModelError(
            f"`formats` may hold {sorted(FILES)}. Received the unknown {sorted(unknown)}"
        )
    if not formats:
        raise ModelError(f"`formats` must name at least one of {sorted(FILES)}.")
    if not hasattr(model, "manifest"):
        raise ModelError(
            "`model` must be a model built by `hmic_keras.build_model`. Received: "
            f"{type(model).__name__}"
        )
    if model.manifest["input"] != "waveform":
        raise ModelError(
            "`export_model` exports models built with input='waveform'. Received: "
            f"input={model.manifest['input']!r}; use `export_saved_model` for others."
        )


def _compare(model: Any, path: Path, name: str, waveforms: np.ndarray) -> dict[str, float]:
    differences = parity(model, path, waveforms)
    if not max(differences.values()) <= _TOLERANCE:
        raise ModelError(
            f"The exported {name} file answers differently from the Keras model: by up to "
            f"{differences}, where at most {_TOLERANCE} is rounding. It was not kept."
        )
    return differences


def _probe(samples: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    levels = np.array([[0.0], [0.001], [0.05], [0.5]])
    return np.clip(rng.standard_normal((4, samples)) * levels, -1, 1).astype("float32")
