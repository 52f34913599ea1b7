"""The report of fine-tuning, as numbers."""

import csv
import dataclasses
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .._files import write_json, write_text
from ..config import FineTuneConfig
from ..data.label_checks import LabelChecks
from ..data.sources.folder import LabelledClips
from ..hierarchical_model import HierarchicalModel
from ..taxonomy import Taxonomy
from ._honesty import Curve, doubtful_labels, gain_of_all_clips, level_scores, more_examples
from ._html import page
from ._passes import Passes

_MOST_DOUBTFUL = 50
_COLUMNS = ("level", "class", "positives", "ap", "ap_low", "ap_high", "f1", "f1_low", "f1_high")


@dataclass(frozen=True)
class FineTuningReport:
    """How good each class is on clips the model did not learn from, and what would help.

    Attributes:
        results: JSON-able. `levels`: by level `map` and by class `ap` and `f1`, each as
            `value`, `low`, `high`; `doubtful_labels`; `more_examples`; `labels`, what the
            checks found; `kept`, which classes go on from old ones; `test`, what
            `evaluation.evaluate` gave on test clips, or None; `cost`, seconds by step and
            memory.
    """

    results: dict[str, Any]

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes `report.json`, `report.html` and `per_class.csv`; returns their paths.

        The page needs neither a network nor other files.
        """
        folder = Path(folder)
        write_json(folder / "report.json", self.results)
        write_text(folder / "report.html", page(self.results))
        write_text(folder / "per_class.csv", self._per_class_csv())
        return [folder / name for name in ("report.json", "report.html", "per_class.csv")]

    def with_cost(
        self, seconds: Mapping[str, float], memory_mb: float | None
    ) -> "FineTuningReport":
        """Returns the report with what it took."""
        cost = {
            "seconds": dict(seconds),
            "total_seconds": round(sum(seconds.values()), 1),
            "peak_memory_mb": memory_mb,
            "processors": os.cpu_count(),
        }
        return dataclasses.replace(self, results={**self.results, "cost": cost})

    def _per_class_csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for level, result in self.results["levels"].items():
            for name, row in result["per_class"].items():
                scores = [
                    row[score][end]
                    for score in ("ap", "f1")
                    for end in ("value", "low", "high")
                ]
                writer.writerow([level, name, row["positives"], *scores])
        return text.getvalue()


def make_report(
    *,
    model: HierarchicalModel,
    clips: LabelledClips,
    own: Taxonomy,
    origin: Mapping[tuple[str, str], tuple[str, str]],
    scores: Mapping[str, np.ndarray],
    fold: np.ndarray,
    checks: LabelChecks,
    curve: Curve | None,
    curve_classes: tuple[str, ...],
    passes: Passes | None,
    config: FineTuneConfig,
    test: Mapping[str, Any] | None,
) -> FineTuningReport:
    """Draws up the report.

    Args:
        model: The model.
        clips: The clips, labelled in `own`.
        own: The classes to report on.
        origin: Which classes of the model go on from which old ones.
        scores: By level, calibrated probabilities of the clips, of the model's classes, by
            models that did not learn from the clip.
        fold: The clips' folds.
        checks: What the checks of the labels found.
        curve: The learning curve, if there is one.
        curve_classes: Its classes.
        passes: How the network was trained, if it was.
        config: The settings.
        test: Results on test clips.
    """
    levels, doubtful = {}, []
    folds = int(fold.max()) + 1
    # Of the finest level; the others have no curve of their own.
    gain = gain_of_all_clips(curve, folds, config.seed)
    for level in own.levels:
        names = own.classes(level)
        places = [model.taxonomy.index(level)[name] for name in names]
        part = np.clip(scores[level][:, places], 0.0, 1.0)
        found = level_scores(
            names,
            clips.labels[level],
            part,
            fold,
            checks.groups,
            config.bootstrap,
            config.seed,
            gain,
        )
        if found is not None:
            levels[level] = {
                "map": found.map.to_dict(),
                "per_class": {
                    name: {
                        key: value if isinstance(value, int) else value.to_dict()
                        for key, value in row.items()
                    }
                    for name, row in found.classes.items()
                },
            }
        doubtful += [
            {
                "clip": str(clips.paths[row]),
                "level": level,
                "class": name,
                "labelled": "present" if present else "absent",
                "probability": round(probability, 4),
            }
            for row, name, present, probability in doubtful_labels(
                names, clips.labels[level], part
            )
        ]
    more = None if curve is None else more_examples(curve, curve_classes, config.seed)
    results = {
        "clips": len(clips),
        "recordings": len(np.unique(checks.groups)),
        "mode": config.mode,
        "method": model.manifest["method"]["name"],
        "folds": folds,
        "gain_of_all_clips": round(gain, 4),
        "levels": levels,
        "doubtful_labels": _most_doubtful(doubtful),
        "more_examples": more,
        "labels": checks.to_dict(),
        "kept": {f"{k[0]}:{k[1]}": f"{o[0]}:{o[1]}" for k, o in origin.items()},
        "network": None if passes is None else _network(passes),
        "test": None if test is None else dict(test),
        "cost": None,
    }
    return FineTuningReport(results)


def _network(passes: Passes) -> dict[str, Any]:
    return {
        "epochs": passes.epochs,
        "loss_on_clips_not_trained_on": [round(loss, 5) for loss in passes.losses],
    }


def _most_doubtful(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def doubt(row: dict[str, Any]) -> float:
        p = row["probability"]
        return p if row["labelled"] == "present" else 1 - p

    return sorted(found, key=doubt)[:_MOST_DOUBTFUL]
