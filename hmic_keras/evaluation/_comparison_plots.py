"""Plots of a comparison, in shapes a paper could print."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_COLUMN = 3.4  # inches: one column of a two-column page
_ROW = 0.24
_TITLES = {"au_prc": "AU(PRC), all levels"}


def plot_scores(
    measures: Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, Sequence[float]]]],
    chance: Mapping[str, float | None],
) -> Any:
    """Draws each contender's mean and 95 % interval over its seeds, a panel a measure.

    Args:
        measures: By measure, scores a seed and `(mean, low, high)` of each contender.
        chance: What a random ranking reaches, by measure.

    Returns:
        A matplotlib Figure, contenders sorted by the first panel.
    """
    from matplotlib.figure import Figure

    first = next(iter(measures.values()))[1]
    names = sorted(first, key=lambda name: first[name][0])
    columns = min(len(measures), 3)
    lines = -(-len(measures) // columns)
    height = lines * (0.75 + _ROW * len(names))
    figure = Figure(figsize=(max(_COLUMN, 2.4 * columns), height), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for panel, (measure, (scores, summary)) in zip(panels.flat, measures.items(), strict=False):
        for row, name in enumerate(names):
            mean, low, high = summary[name]
            panel.plot(scores[name], [row] * len(scores[name]), ".", color="0.75", markersize=4)
            if not np.isnan(low):
                panel.plot([low, high], [row, row], color="C0", linewidth=2)
            panel.plot([mean], [row], "o", color="C0", markersize=4)
        if chance.get(measure) is not None and chance[measure] > panel.get_xlim()[0]:
            panel.axvline(chance[measure], color="0.4", linestyle=":", linewidth=1)
        panel.set_title(title(measure), fontsize=9)
        panel.set_yticks(range(len(names)), names, fontsize=8)
        panel.set_ylim(-0.6, len(names) - 0.4)
        panel.tick_params(axis="x", labelsize=7)
        panel.grid(axis="x", color="0.9", linewidth=0.6)
        panel.set_axisbelow(True)
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    for panel in panels.flat[len(measures) :]:
        panel.set_visible(False)
    return figure


def plot_differences(tests: Sequence[Mapping[str, Any]], measure: str) -> Any:
    """Draws by how much the best contender is ahead of each other, with 95 % intervals.

    Args:
        tests: What `paired_tests` returned.
        measure: Name of the measure.

    Returns:
        A matplotlib Figure. Filled marks stand for differences that Holm's correction of the
        paired t-test leaves below 0.05.
    """
    from matplotlib.figure import Figure

    firsts = [row["first"] for row in tests]
    seconds = {row["second"] for row in tests}
    best = next((name for name in firsts if name not in seconds), firsts[0] if firsts else "")
    rows = sorted(
        (row for row in tests if row["first"] == best), key=lambda row: -row["difference"]
    )
    figure = Figure(figsize=(_COLUMN, 0.9 + _ROW * max(len(rows), 1)), layout="constrained")
    panel = figure.subplots()
    for place, row in enumerate(rows):
        if not np.isnan(row["low"]):
            panel.plot([row["low"], row["high"]], [place, place], color="C0", linewidth=2)
        sure = row["p_t_holm"] < 0.05
        face = "C0" if sure else "white"
        panel.plot([row["difference"]], [place], "o", color="C0", markerfacecolor=face)
    panel.axvline(0, color="0.4", linewidth=1)
    panel.set_yticks(range(len(rows)), [row["second"] for row in rows], fontsize=8)
    panel.set_ylim(-0.6, max(len(rows), 1) - 0.4)
    panel.set_title(f"Lead of {best}: {title(measure)}", fontsize=9)
    panel.tick_params(axis="x", labelsize=7)
    panel.grid(axis="x", color="0.9", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    return figure


def title(measure: str) -> str:
    """Returns what a measure is called in print."""
    kind, _, level = measure.partition(".")
    return _TITLES.get(measure) or (f"mAP, {level}" if kind == "map" else measure)
