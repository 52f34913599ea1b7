"""One folder with a model in several formats and the manifest that describes it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_path, sha256, write_json
from ..data.sources.folder import LabelledClips
from ..errors import ModelError
from ..zoo import ALIASES, FILES, MANIFEST, read_manifest
from ._exporter import Exporter

# What training, fine-tuning and the demo put beside an exported model.
_COMPANIONS = (
    *("history.csv", "evaluation.json", "attention_map.png", "compression.json"),
    *("report.json", "report.html", "per_class.csv"),
)
# How the model came about; an export leaves it in place.
_RUN = "run"


def export_model(
    model: Any,
    out: str | os.PathLike[str],
    *,
    formats: Sequence[str] = ("keras", "savedmodel", "float32"),
    waveforms: np.ndarray | LabelledClips | None = None,
    calibration: np.ndarray | LabelledClips | None = None,
    evaluation: LabelledClips | None = None,
    extras: Sequence[str] = (),
    tolerance: float | Mapping[str, float] | None = None,
    skip_refused: bool = False,
) -> dict[str, Any]:
    """Writes a folder with the model, its exported formats and `manifest.json`.

    Every exported format answers the same inputs as the Keras model; one that differs by more
    than its tolerance, answers NaN, or needs operations that are not built into TensorFlow
    Lite is refused. The folder is written whole or not at all, and replaces an earlier export.
    Files take one input of fixed length, and float32 in and out; their log-mel front end is
    float in every format. Each carries its own manifest, and a TensorFlow Lite file the
    metadata by which MediaPipe knows its labels.

    Args:
        model: A model from `build_model`. Its answers are for windows of
            `manifest["window_seconds"]`, 10 s by default; a model of embeddings needs a fixed
            number of time steps.
        out: The folder. An existing one must hold an earlier export, which is replaced with
            the history and figures beside it, or nothing. The record of a training run in it
            (`run/`) is kept.
        formats: Any of `zoo.FILES`: `"keras"`, `"savedmodel"`; TensorFlow Lite as `"float32"`
            (or `"tflite"`), `"float16"`, `"dynamic_int8"`, `"weight_int8"`, `"static_int8"`,
            which takes log-mel spectrograms, and `"w4"`; `"onnx"`.
        waveforms: What to compare on: float32 `(batch, samples)`, a batch of the inputs that
            the model takes, or clips; by default a few clips of the demo corpus, noise at
            several levels and silence. `calibration` and `evaluation` are compared on besides.
        calibration: For `"static_int8"`, waveforms, inputs or clips typical for the model, on
            which it finds the ranges of values; of clips, the first windows of up to 200.
            Weights of other formats are rounded for them where a tolerance asks for it.
        evaluation: Labelled clips on which the loss of mean average precision is measured.
            Which operations stay float is chosen with regard to them, too, if a tolerance
            asks for any: it is kept on every clip given.
        extras: What to answer besides probabilities: `"attention_maps"`, `"embedding"`; see
            `export_saved_model`. They become further outputs of the other formats, with which
            MediaPipe cannot be used.
        tolerance: Largest difference of a probability that is kept, or a dict of those by
            format; `export.TOLERANCES` by default. Where quantising everything would exceed
            it, as few operations as possible stay float32.
        skip_refused: Whether a format that does not suit the model, or answers differently, is
            left out, and named in the manifest's `refused` with the reason, instead of
            refusing the export as a whole.

    Returns:
        The manifest: taxonomy, class order, audio settings, thresholds, versions, provenance,
        `parity` (largest difference by format and level), `exports` (by format the file, its
        size, input, quantisation recipe, parity report and latency) and `sha256` by file.

    Raises:
        MissingDependencyError: If a format needs a library that is not installed.
        ModelError: If a format is unknown or does not suit the model, an argument cannot be
            used, `out` holds something else, or an exported format answers differently.
    """
    formats = _check(model, formats)
    check_folder(out)
    model.update_manifest(window_seconds=model.manifest.get("window_seconds", 10.0))
    with Exporter(model, waveforms, calibration, evaluation, extras, tolerance) as exporter:
        return write_folder(model, out, formats, exporter, skip_refused=skip_refused)


def write_folder(
    model: Any,
    out: str | os.PathLike[str],
    formats: Sequence[str],
    exporter: Exporter,
    *,
    skip_refused: bool = False,
) -> dict[str, Any]:
    """Writes the folder of `export_model`, whole or not at all; returns the manifest."""
    with atomic_path(out) as folder:
        folder.mkdir()
        if (Path(out) / _RUN).is_dir():
            shutil.copytree(Path(out) / _RUN, folder / _RUN)
        exports, refused = _write(exporter, formats, folder, skip_refused)
        manifest = {
            **model.manifest,
            "files": {name: FILES[name] for name in exports},
            "parity": {
                name: export["parity"]["max"]
                for name, export in exports.items()
                if name != "keras"
            },
            "exports": exports,
            "sha256": {FILES[name]: sha256(folder / FILES[name]) for name in exports},
            **({"refused": refused} if refused else {}),
        }
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
    # A recipe renders before its run begins, and a run that never began keeps its clips.
    begun = any((out / _RUN / name).exists() for name in ("run.json", "corpora"))
    ours = begun or "class_order" in (read_manifest(out) or {})
    if not found or (found <= known and ours):
        return
    raise ModelError(
        f"The folder '{out}' holds {sorted(found - known or found)[:3]}, which no export "
        "wrote; name an empty or new folder."
    )


def _write(
    exporter: Exporter, formats: Sequence[str], folder: Path, skip_refused: bool
) -> tuple[dict[str, Any], dict[str, str]]:
    """Writes the formats; returns their entries, and why others were refused."""
    exports: dict[str, Any] = {}
    refused: dict[str, str] = {}
    for name in formats:
        path = folder / FILES[name]
        try:
            exports[name] = exporter.write(name, path)
        except ModelError as error:
            if not skip_refused or len(refused) == len(formats) - 1:
                raise
            refused[name] = str(error)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    return exports, refused


def _check(model: Any, formats: Sequence[str]) -> list[str]:
    """Returns the formats by their first names, each once."""
    if unknown := set(formats) - {*FILES, *ALIASES}:
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
    return list(dict.fromkeys(ALIASES.get(name, name) for name in formats))
