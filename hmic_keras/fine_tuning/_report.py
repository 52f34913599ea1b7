"""The report of fine-tuning, as numbers."""

import csv
import dataclasses
import io
import os
from collections.abc import Mapping, Sequence
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
from ._honesty import (
    Curve,
    LevelScores,
    can_be_doubted,
    doubtful_labels,
    gain_of_all_clips,
    level_scores,
    more_examples,
)
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
            checks found; `kept`, which classes go on from old ones; `not_scored`, which
            classes could not be scored, and why; `test`, None or for the clips to test on
            their number `clips` and, as for the others, `levels` and `not_scored`; `cost`,
            seconds by step and memory.
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
        clips: The clips, labelled in the model's classes.
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
    levels, doubtful, judged = {}, [], False
    folds = int(fold.max()) + 1
    # Of the finest level; the others have no curve of their own.
    gain = gain_of_all_clips(curve, folds, config.seed)
    for level in own.levels:
        names = own.classes(level)
        places = [model.taxonomy.index(level)[name] for name in names]
        part = np.clip(scores[level][:, places], 0.0, 1.0)
        labels = clips.labels[level][:, places]
        judged = judged or bool(can_be_doubted(labels).any())
        found = level_scores(
            names,
            labels,
            part,
            fold,
            checks.groups,
            config.bootstrap,
            config.seed,
            gain,
        )
        if found is not None:
            levels[level] = {"map": found.map.to_dict(), "per_class": _per_class(found)}
        doubtful += [
            {
                "clip": str(clips.paths[row]),
                "level": level,
                "class": name,
                "labelled": "present" if present else "absent",
                "probability": round(probability, 4),
            }
            for row, name, present, probability in doubtful_labels(names, labels, part)
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
        "not_scored": _not_scored(own, clips),
        "labels_judged": judged,
        "doubtful_labels": _most_doubtful(doubtful),
        "more_examples": more,
        "labels": checks.to_dict(),
        "kept": {f"{k[0]}:{k[1]}": f"{o[0]}:{o[1]}" for k, o in origin.items()},
        "network": None if passes is None else _network(passes),
        "test": None if test is None else dict(test),
        "cost": None,
    }
    return FineTuningReport(results)


def test_results(
    model: HierarchicalModel,
    tests: LabelledClips,
    own: Taxonomy,
    scores: Mapping[str, np.ndarray],
    config: FineTuneConfig,
) -> dict[str, Any]:
    """Scores the model on clips to test on.

    Args:
        model: The model, with its thresholds.
        tests: The clips, labelled in the model's classes.
        own: The classes to report on.
        scores: By level, the model's probabilities of the clips.
        config: The settings.

    Returns:
        `clips`, their number; `levels`, by level `map`, its `interval`, what chance gives
        (`map_baseline`), mean `f1`, and `per_class` as in the report; `not_scored`.
    """
    levels = {}
    for level in own.levels:
        names = own.classes(level)
        places = [model.taxonomy.index(level)[name] for name in names]
        labels, every = tests.labels[level][:, places], np.arange(len(tests))
        found = level_scores(
            names,
            labels,
            np.clip(scores[level][:, places], 0.0, 1.0),
            np.zeros(len(tests)),
            every,
            config.bootstrap,
            config.seed,
            thresholds=np.array(model.manifest["thresholds"][level])[places],
        )
        if found is not None:
            rows = found.classes.values()
            levels[level] = {
                "map": round(found.map.value, 4),
                "interval": found.map.to_dict(),
                "map_baseline": _mean([row["positives"] / row["observed"] for row in rows]),
                "f1": _mean([row["f1"].value for row in rows]),
                "per_class": _per_class(found),
            }
    return {"clips": len(tests), "levels": levels, "not_scored": _not_scored(own, tests)}


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 4)


def _per_class(found: LevelScores) -> dict[str, dict[str, Any]]:
    return {
        name: {
            key: value if isinstance(value, int) else value.to_dict()
            for key, value in row.items()
        }
        for name, row in found.classes.items()
    }


def _not_scored(own: Taxonomy, clips: LabelledClips) -> list[dict[str, Any]]:
    """Lists the classes of `own` whose labels are of one kind, and what is missing."""
    rows = []
    for level in own.levels:
        for name in own.classes(level):
            column = clips.labels[level][:, clips.taxonomy.index(level)[name]]
            if not (column > 0.5).any():
                rows.append({"level": level, "class": name, "why": "no clip shows it"})
            elif not ((column >= 0) & (column <= 0.5)).any():
                why = "no clip is known to lack it"
                rows.append({"level": level, "class": name, "why": why})
    return rows


def _network(passes: Passes) -> dict[str, Any]:
    return {
        "epochs": passes.epochs,
        "loss_on_clips_not_trained_on": [round(float(loss), 5) for loss in passes.losses],
        "drift_of_old_classes": [round(float(one), 5) for one in passes.drift],
    }


def _most_doubtful(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def doubt(row: dict[str, Any]) -> float:
        p = row["probability"]
        return p if row["labelled"] == "present" else 1 - p

    return sorted(found, key=doubt)[:_MOST_DOUBTFUL]
