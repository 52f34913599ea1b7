"""Scoring a model on labelled clips."""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from .._files import atomic_path, write_json, write_text
from ..batch import predict_files
from ..data.sources.folder import LabelledClips
from ..errors import LabelError
from ..inference import Predictor

__all__ = ["Report", "evaluate", "predict_clips"]

_COLUMNS = (
    "ap",
    "roc_auc",
    "f1",
    "best_f1",
    "best_threshold",
    "calibration_error",
    "brier_score",
    "positives",
    "observed",
)


@dataclass(frozen=True)
class Report:
    """How well a model did on labelled clips.

    Attributes:
        results: What `metrics.evaluate` returns, and the number of `clips`.
    """

    results: dict[str, Any]

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes `report.json`, `per_class.csv` and `results.png`; returns their paths."""
        folder = Path(folder)
        write_json(folder / "report.json", self.results)
        write_text(folder / "per_class.csv", self._per_class_csv())
        with atomic_path(folder / "results.png") as temporary:
            plot_results({"": self.results}).savefig(temporary, dpi=150)
        return [folder / name for name in ("report.json", "per_class.csv", "results.png")]

    def _per_class_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["level", "class", *_COLUMNS])
        for level, result in self.results["levels"].items():
            for name, row in result["per_class"].items():
                values = [row[key] for key in _COLUMNS]
                writer.writerow([level, name, *("" if v is None else v for v in values)])
        return text.getvalue()


def predict_clips(
    predictor: Predictor,
    clips: LabelledClips,
    progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Predicts every clip.

    Args:
        predictor: The model.
        clips: The clips; their labels are not looked at.
        progress: Called with the number of clips done.

    Returns:
        Probabilities by level, `(num_clips, num_classes)`.

    Raises:
        AudioError: If a clip cannot be decoded.
    """
    scores: dict[str, list[np.ndarray]] = {level: [] for level in predictor.taxonomy.levels}
    for done, result in enumerate(predict_files(predictor, clips.paths), start=1):
        for level, values in result.prediction().probabilities.items():
            scores[level].append(values)
        if progress is not None:
            progress(done)
    return {level: np.stack(values) for level, values in scores.items()}


def evaluate(
    model: Any,
    clips: LabelledClips,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Scores a model on labelled clips, over the whole of each clip.

    Args:
        model: A `Predictor`, or what its constructor takes.
        clips: Labelled clips of the model's taxonomy.
        progress: Called with the number of clips done.

    Raises:
        AudioError: If a clip cannot be decoded.
        LabelError: If the clips are of another taxonomy, or there are none.
        ModelError: If the model cannot be read.
    """
    predictor = model if isinstance(model, Predictor) else Predictor(model)
    if predictor.taxonomy.hash != clips.taxonomy.hash:
        raise LabelError(
            f"The clips are labelled with the taxonomy {clips.taxonomy.name!r} and the model "
            f"answers in {predictor.taxonomy.name!r}; read the clips with the model's taxonomy."
        )
    if not len(clips):
        raise LabelError("There are no clips to evaluate.")
    scores = predict_clips(predictor, clips, progress)
    results = metrics.evaluate(
        predictor.taxonomy, clips.labels, scores, thresholds=predictor.thresholds
    )
    return Report({"clips": len(clips), **results})


def plot_results(results: dict[str, dict[str, Any]]) -> Any:
    """Draws average precision by class, a panel for each level, a bar for each model.

    Args:
        results: What `metrics.evaluate` returned, by the name to show in the legend.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure

    levels = list(next(iter(results.values()))["levels"])
    sizes = [len(next(iter(results.values()))["levels"][lv]["per_class"]) for lv in levels]
    height = 1.6 * len(levels) + 0.2 * len(results) * sum(sizes) + 0.12 * sum(sizes)
    figure = Figure(figsize=(7.5, height), layout="constrained")
    panels = figure.subplots(
        len(levels), 1, squeeze=False, gridspec_kw={"height_ratios": [n + 2 for n in sizes]}
    )[:, 0]
    for panel, level in zip(panels, levels, strict=True):
        _draw_level(panel, level, {name: r["levels"][level] for name, r in results.items()})
    return figure


def _draw_level(panel: Any, level: str, results: dict[str, dict[str, Any]]) -> None:
    classes = list(next(iter(results.values()))["per_class"])
    rows = np.arange(len(classes))
    height = 0.8 / len(results)
    for index, (name, result) in enumerate(results.items()):
        scores = [result["per_class"][c]["ap"] for c in classes]
        mean = "mAP -" if result["map"] is None else f"mAP {result['map']:.3f}"
        panel.barh(
            rows + (index - (len(results) - 1) / 2) * height,
            [np.nan if score is None else score for score in scores],
            height,
            label=f"{name} ({mean})" if name else mean,
        )
    baseline = next(iter(results.values()))["map_baseline"]
    if baseline is not None:
        panel.axvline(baseline, color="0.3", linestyle="--", linewidth=1, label="chance")
    panel.set(
        yticks=rows,
        yticklabels=classes,
        xlim=(0, 1),
        ylim=(len(classes) - 0.4, -0.6),  # the first class at the top
        xlabel="average precision",
        title=level,
    )
    panel.legend(loc="lower right", fontsize="small")
