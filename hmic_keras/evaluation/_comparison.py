"""What a comparison found: tables, tests and plots."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_path, read_json, write_json, write_text
from ..errors import HmicError, LabelError
from ._comparison_plots import plot_differences, plot_scores
from ._statistics import interval, paired_tests


@dataclass(frozen=True, eq=False)
class Comparison:
    """Scores of every contender and seed, and what can be said about them.

    A measure is called by its name: `map.LEVEL`, `f1.LEVEL`, `hierarchical_f`, `au_prc`,
    `violation_rate`, `clip_violation_rate`, `parameters`, `seconds` and `epochs`. What was
    measured on one of the data set's `other_tests` has its name in front: `NAME:map.LEVEL`.

    Attributes:
        about: Data set, protocol, contenders and seeds.
        trials: For each contender its trials, in the order of the seeds.
    """

    about: dict[str, Any]
    trials: dict[str, list[dict[str, Any]]]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "Comparison":
        """Reads what `write` left in a folder.

        Raises:
            HmicError: If there is no comparison.
        """
        path = Path(folder) / "comparison.json"
        try:
            found = read_json(path)
            return cls(found["about"], found["trials"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise HmicError(f"{path}: is no comparison of `compare` ({error}).") from error

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that every trial has."""
        found = [_measures(trial) for trials in self.trials.values() for trial in trials]
        return tuple(name for name in found[0] if all(name in one for one in found))

    @property
    def main(self) -> str:
        """The measure that contenders are ranked by, that of the choice of the epoch."""
        if self.about["protocol"]["monitor"] == "au_prc":
            return "au_prc"
        return f"map.{next(iter(self.about['taxonomy']))}"

    def scores(self, measure: str) -> dict[str, np.ndarray]:
        """Returns one number a seed for each contender, seeds in the same order.

        Raises:
            LabelError: If there is no such measure.
        """
        if measure not in self.measures:
            raise LabelError(
                f"`measure` must be one of {list(self.measures)}. Received: {measure!r}"
            )
        return {
            name: np.array([_measures(trial)[measure] for trial in trials], float)
            for name, trials in self.trials.items()
        }

    def summary(self, measure: str) -> dict[str, tuple[float, float, float]]:
        """Returns mean, lower and upper end of the 95 % interval for each contender.

        Student's interval over the seeds; its ends are NaN for a single seed. It says how much
        another seed would change, not how much other data would.
        """
        return {name: interval(values) for name, values in self.scores(measure).items()}

    def tests(self, measure: str) -> list[dict[str, Any]]:
        """Returns `paired_tests` between all contenders, paired by seed."""
        return paired_tests(self.scores(measure))

    def report(self) -> dict[str, Any]:
        """Returns `about`, and for each measure the `summary` and `tests`, ready for JSON."""
        return {
            "about": self.about,
            "summary": {
                measure: {
                    name: dict(zip(("mean", "low", "high"), _finite(row), strict=True))
                    for name, row in self.summary(measure).items()
                }
                for measure in self.measures
            },
            "tests": {
                measure: [
                    {key: _finite_value(value) for key, value in row.items()}
                    for row in self.tests(measure)
                ]
                for measure in self._ranked
            },
        }

    def write(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Writes tables and plots into a folder.

        Args:
            folder: The folder.

        Returns:
            `comparison.json`, everything; `trials.csv`, a row a trial; `summary.csv`, a row a
            contender and measure; `tests.csv`, a row a pair and measure; `scores.png` and
            `scores.pdf`, means with intervals; `differences.png` and `differences.pdf`, what
            the best is ahead of the others.
        """
        folder = Path(folder)
        write_json(folder / "comparison.json", {**self.report(), "trials": self.trials})
        tables = {
            "trials.csv": self._trial_rows(),
            "summary.csv": self._summary_rows(),
            "tests.csv": self._test_rows(),
        }
        for name, rows in tables.items():
            write_text(folder / name, _csv(rows))
        plots = [folder / f"{name}.{kind}" for name in _PLOTS for kind in ("png", "pdf")]
        for path in plots:
            with atomic_path(path) as temporary:
                _PLOTS[path.stem](self).savefig(temporary, dpi=200)
        return [folder / "comparison.json", *(folder / name for name in tables), *plots]

    @property
    def _ranked(self) -> tuple[str, ...]:
        return tuple(m for m in self.measures if m not in ("parameters", "epochs", "seconds"))

    def _trial_rows(self) -> list[list[Any]]:
        rows: list[list[Any]] = [["contender", "seed", *self.measures]]
        for name, trials in self.trials.items():
            for seed, trial in zip(self.about["seeds"], trials, strict=True):
                found = _measures(trial)
                rows.append([name, seed, *(found[measure] for measure in self.measures)])
        return rows

    def _summary_rows(self) -> list[list[Any]]:
        rows: list[list[Any]] = [["measure", "contender", "seeds", "mean", "low", "high"]]
        for measure in self.measures:
            for name, values in self.summary(measure).items():
                rows.append([measure, name, len(self.about["seeds"]), *_finite(values)])
        return rows

    def _test_rows(self) -> list[list[Any]]:
        keys = ("first", "second", "difference", "low", "high")
        tests = ("p_t", "p_t_holm", "p_wilcoxon", "p_wilcoxon_holm")
        rows: list[list[Any]] = [["measure", *keys, *tests]]
        for measure in self._ranked:
            for row in self.tests(measure):
                rows.append([measure, *(_finite_value(row[key]) for key in (*keys, *tests))])
        return rows


def _draw_scores(comparison: Comparison) -> Any:
    ranked = [m for m in comparison.measures if m.startswith("map.") or m == "au_prc"]
    return plot_scores(
        {m: (comparison.scores(m), comparison.summary(m)) for m in ranked},
        {f"map.{level}": value for level, value in comparison.about["chance"].items()},
    )


def _draw_differences(comparison: Comparison) -> Any:
    return plot_differences(comparison.tests(comparison.main), comparison.main)


_PLOTS: Mapping[str, Any] = {"scores": _draw_scores, "differences": _draw_differences}


def _measures(trial: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a trial by the names of measures, without undefined ones."""
    found = {
        **_quality(trial),
        "parameters": trial["parameters"],
        "seconds": trial["seconds"],
        "epochs": trial.get("epochs"),
    }
    for test, one in trial.get("other_tests", {}).items():
        found |= {f"{test}:{name}": value for name, value in _quality(one).items()}
    return {name: value for name, value in found.items() if value is not None}


def _quality(scored: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what was measured on one test."""
    results = scored["results"]
    return {
        **{f"map.{level}": one["map"] for level, one in results["levels"].items()},
        **{f"f1.{level}": one["f1"] for level, one in results["levels"].items()},
        "hierarchical_f": results["hierarchical"]["f"],
        "au_prc": scored["au_prc"],
        "violation_rate": results["violation_rate"],
        "clip_violation_rate": results["clip_violation_rate"],
    }


def _finite_value(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _finite(values: Sequence[float]) -> list[float | None]:
    return [_finite_value(value) for value in values]


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return text.getvalue()
