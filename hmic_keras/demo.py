"""The main job from end to end on the packaged demo corpus."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import evaluation, explain, training
from ._files import atomic_path, write_json
from .config import TrainConfig
from .data.audio import load_audio
from .data.sources import demo as corpus
from .data.sources.folder import LabelledClips
from .errors import ModelError
from .export.bundle import check_folder, export_model
from .inference import Predictor
from .recipe import Recipe

__all__ = ["DEMO_METHODS", "run_demo"]

DEMO_METHODS = ("gmp", "f2ca")

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class _Trained:
    """One method's outcome."""

    result: training.TrainingResult
    scores: dict[str, Any]
    parity: dict[str, dict[str, float]]
    predictions: dict[str, Any]
    files: dict[str, str]


def run_demo(
    out: str | os.PathLike[str],
    *,
    methods: Sequence[str] = DEMO_METHODS,
    config: TrainConfig | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains, evaluates, exports, compares, predicts and explains, on the demo corpus.

    The models learn from clips rendered with one SoundFont and are scored on clips of another
    one and other music.

    Args:
        out: Folder for models, figures and `report.json`. It must be empty, or hold an
            earlier demo.
        methods: Joint-training methods to compare.
        config: Training settings; those of the packaged recipe `demo` if left out.
        progress: Called with the step's name, the steps done and the steps in all.

    Returns:
        The report: `methods` (by method: `map`, `map_baseline` and `f1` of each level,
        `violation_rate`, `seconds` of training), `parity` (largest difference to the Keras
        answer by format) and `files` (relative to `out`). Among the files are each method's
        `evaluation.json` with every metric, and `predictions.json` with the answer of each
        method and format for one test clip.

    Raises:
        ModelError: If `out` holds something else, or an exported model answers differently.
    """
    out = Path(out)
    config = config or Recipe.load("demo").training
    _check_folder(out, methods)
    progress = progress or (lambda step, done, total: None)
    train_clips, test_clips = corpus.demo_clips("train"), corpus.demo_clips("test")
    example = _example(test_clips)
    trained = {}
    for method in methods:
        trained[method] = _run_method(
            method, out / method, config, train_clips, test_clips, example, progress
        )
    report = {
        "methods": {name: _summary(run) for name, run in trained.items()},
        "parity": {
            kind: max(max(run.parity[kind].values()) for run in trained.values())
            for kind in ("savedmodel", "float32")
        },
        "files": {
            **{name: _relative(run.files, out) for name, run in trained.items()},
            "predictions": "predictions.json",
            "results_plot": "results.png",
        },
    }
    predictions = {
        "file": test_clips.paths[example].name,
        "true": _true_tags(test_clips, example),
        **{name: run.predictions for name, run in trained.items()},
    }
    write_json(out / "predictions.json", predictions)
    with atomic_path(out / "results.png") as temporary:
        plot = evaluation.plot_results({name: run.scores for name, run in trained.items()})
        plot.savefig(temporary, dpi=150)
    write_json(out / "report.json", report)
    return report


def _run_method(
    method: str,
    folder: Path,
    config: TrainConfig,
    train_clips: LabelledClips,
    test_clips: LabelledClips,
    example: int,
    progress: Progress,
) -> _Trained:
    result = training.train(
        train_clips,
        method=method,
        config=config,
        callbacks=[
            training.epoch_callback(
                lambda done: progress(f"train {method}", done, config.epochs)
            )
        ],
        provenance=corpus.PROVENANCE,
    )
    predictor = Predictor(result.model)
    report = evaluation.evaluate(
        predictor,
        test_clips,
        lambda done: progress(f"evaluate {method}", done, len(test_clips)),
    )
    progress(f"export {method}", 0, 1)
    waveform = load_audio(test_clips.paths[example], predictor.sample_rate)
    samples = round(predictor.window_seconds * predictor.sample_rate)
    manifest = export_model(result.model, folder, waveforms=_fit(waveform, samples))
    files = {kind: folder / name for kind, name in manifest["files"].items()}
    files["manifest"] = folder / "manifest.json"
    files["history"] = folder / "history.csv"
    result.write_history(files["history"])
    files["evaluation"] = folder / "evaluation.json"
    write_json(files["evaluation"], report.results)
    predictions = {
        kind: Predictor(folder, format=kind).predict(test_clips.paths[example]).to_dict()
        for kind in manifest["files"]
    }
    if method == "f2ca":
        files["attention_map"] = folder / "attention_map.png"
        _draw_attention(result.model, test_clips, predictor.sample_rate, files["attention_map"])
    progress(f"export {method}", 1, 1)
    return _Trained(
        result,
        report.results,
        manifest["parity"],
        predictions,
        {kind: os.fspath(path) for kind, path in files.items()},
    )


def _summary(run: _Trained) -> dict[str, Any]:
    keys = ("map", "map_baseline", "f1")
    levels = run.scores["levels"]
    return {
        **{level: {key: scores[key] for key in keys} for level, scores in levels.items()},
        "violation_rate": run.scores["violation_rate"],
        "seconds": round(run.result.seconds, 1),
    }


def _draw_attention(model: Any, clips: LabelledClips, rate: int, path: Path) -> None:
    samples = round(model.manifest["window_seconds"] * rate)
    waveforms = np.concatenate([_fit(load_audio(p, rate), samples) for p in clips.paths[:32]])
    maps = explain.attention_maps(model, waveforms)
    figure = explain.plot_attention(
        maps, model.taxonomy, title=f"mean attention over {len(waveforms)} test clips"
    )
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _fit(waveform: np.ndarray, samples: int) -> np.ndarray:
    return np.resize(waveform, samples)[np.newaxis]


def _example(clips: LabelledClips) -> int:
    # A clip with several instruments shows more than one with a single one.
    finest = clips.labels[clips.taxonomy.levels[0]]
    return int(np.flatnonzero((finest > 0.5).sum(axis=1) == 3)[0])


def _true_tags(clips: LabelledClips, index: int) -> dict[str, list[str]]:
    return {
        level: [
            name
            for name, value in zip(clips.taxonomy.classes(level), labels[index], strict=True)
            if value > 0.5
        ]
        for level, labels in clips.labels.items()
    }


def _relative(files: dict[str, str], out: Path) -> dict[str, str]:
    return {kind: Path(path).relative_to(out).as_posix() for kind, path in files.items()}


def _check_folder(out: Path, methods: Sequence[str]) -> None:
    for method in methods:
        check_folder(out / method)
    known = {*DEMO_METHODS, "predictions.json", "results.png", "report.json"}
    if out.is_dir() and (other := {path.name for path in out.iterdir()} - known):
        raise ModelError(
            f"The folder '{out}' holds {sorted(other)[:3]}, which no demo wrote; name an "
            "empty or new folder."
        )
