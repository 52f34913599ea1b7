"""The model card: what a person should know of a model, from what was measured."""

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._files import read_json, size_of
from .errors import ModelError
from .zoo import MANIFEST, read_manifest

__all__ = ["CARD", "RESULTS", "model_card"]

CARD = "README.md"
RESULTS = "results.json"
_WIDTH = 96
_MEANS = {
    "map": "mAP",
    "map_baseline": "chance",
    "roc_auc": "ROC-AUC",
    "f1": "F1",
    "calibration_error_micro": "ECE",
    "calibration_error": "ECE by class",
}


def model_card(folder: str | os.PathLike[str], name: str | None = None) -> str:
    """Writes the card of a published model as Markdown.

    Every figure in it comes from `results.json`, the manifest and the files themselves.

    Args:
        folder: A folder that `publishing.publish` made.
        name: Name of the model; that of the folder by default.

    Returns:
        The text.

    Raises:
        ModelError: If the folder lacks one of the two files, or they lack something.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None or not (folder / RESULTS).is_file():
        raise ModelError(
            f"'{folder}' holds no '{MANIFEST}' and '{RESULTS}' to make a model card of; "
            "publish the model."
        )
    try:
        results = read_json(folder / RESULTS)
        parts = [
            _heading(name or folder.name, manifest, folder),
            _use(manifest["zoo"]),
            _data(manifest["zoo"]),
            _results(manifest, results["tests"]),
            _silence(results["silence"]),
            _failures(results["tests"]),
            _limits(manifest["zoo"]),
            _making(manifest),
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"'{folder}' does not hold what a model card needs: {error!r}. Publish the model "
            "again."
        ) from error
    return "\n\n".join(parts) + "\n"


def _heading(name: str, manifest: Mapping[str, Any], folder: Path) -> str:
    about, audio = manifest["zoo"], manifest["audio"]
    levels = ", ".join(f"{len(v)} {level}" for level, v in manifest["class_order"].items())
    rows = [
        ["taxonomy", f"`{manifest['taxonomy']['name']}`: {levels} classes"],
        [
            "backbone, method",
            f"`{manifest['backbone']['name']}`, `{manifest['method']['name']}`",
        ],
        ["weights", f"{about['parameters']:,}"],
        [
            "input",
            f"mono waveform at {audio['sample_rate']} Hz, windows of "
            f"{manifest['window_seconds']:g} s",
        ],
        ["licence of the weights", about["licence"]],
    ]
    rows += [
        [f"`{file}`", f"{size_of(folder / file) / 1e6:.2f} MB ({kind})"]
        for kind, file in manifest["files"].items()
    ]
    return "\n\n".join([f"# {name}", _fill(about["description"]), _table(["", ""], rows)])


def _use(about: Mapping[str, Any]) -> str:
    return f"## Intended use\n\n{_fill(about['intended_use'])}"


def _data(about: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            "## Data and licences",
            _list(about["data"]),
            _fill(f"Calibration and thresholds: {about['validation']}"),
            "Test sets:",
            _list(f"`{test}`: {text}" for test, text in about["tests"].items()),
        ]
    )


def _results(manifest: Mapping[str, Any], tests: Mapping[str, Any]) -> str:
    rows = [
        [f"`{name}` ({test['clips']} clips)", level, *(_number(scores[k]) for k in _MEANS)]
        for name, test in tests.items()
        for level, scores in test["levels"].items()
    ]
    dropped = [
        f"{test['levels'][level]['tags_dropped']} {level} class(es) of `{name}`"
        for name, test in tests.items()
        for level in test["levels"]
        if test["levels"][level]["tags_dropped"]
    ]
    parts = [
        "## Results",
        _fill(
            "Means over classes. mAP is mean average precision, chance the mAP of a random "
            "order, F1 that at the model's thresholds. ECE is the expected calibration error "
            "(15 bins) of all answers of a level; by class it is the mean of the errors of its "
            "classes, in which one that scores too high and one too low do not even out."
        ),
        _table(["test set", "level", *_MEANS.values()], rows),
    ]
    if dropped:
        parts.append(
            _fill(
                "Without a clip in which they are known to be present, and therefore left out "
                f"of the means of mAP, ROC-AUC and F1: {', '.join(dropped)}."
            )
        )
    parts += [_per_class(level, manifest, tests) for level in manifest["class_order"]]
    return "\n\n".join(parts)


def _per_class(level: str, manifest: Mapping[str, Any], tests: Mapping[str, Any]) -> str:
    header = [level, "threshold"]
    for name in tests:
        header += [f"`{name}` AP", "F1", "present"]
    rows = []
    for index, tag in enumerate(manifest["class_order"][level]):
        row = [tag, f"{manifest['thresholds'][level][index]:.2f}"]
        for test in tests.values():
            scores = test["levels"][level]["per_class"][tag]
            row += [_number(scores["ap"]), _number(scores["f1"]), str(scores["positives"])]
        rows.append(row)
    return _table(header, rows)


def _silence(silence: Mapping[str, Any]) -> str:
    kinds = ", ".join(
        f"{kind.replace('_', ' ')} {share:.1%}" for kind, share in silence["by_kind"].items()
    )
    return "## Silence, noise and tones\n\n" + _fill(
        f"Of {silence['clips']} clips in which no instrument plays, {silence['untagged']:.1%} "
        f"get no tag at any level ({kinds})."
    )


def _failures(tests: Mapping[str, Any]) -> str:
    parts = ["## Confusions and failures"]
    for name, test in tests.items():
        pairs = [
            f"{one['missed']} missed, {one['tagged']} tagged instead: {one['clips']} clips"
            for one in test["confusions"]
        ]
        if pairs:
            parts += [f"Most frequent on `{name}`:", _list(pairs)]
        worst = [
            f"`{one['clip']}`: present are {', '.join(one['present']) or 'none'}; tagged "
            f"{', '.join(one['tagged']) or 'none'}"
            for one in test["examples"]
        ]
        if worst:
            parts += [f"Clips of `{name}` with the most wrong tags:", _list(worst)]
    return "\n\n".join(parts)


def _limits(about: Mapping[str, Any]) -> str:
    return f"## Limits\n\n{_list(about['limits'])}"


def _making(manifest: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in manifest["versions"].items())
    return "\n\n".join(
        [
            "## How it was made",
            f"```bash\n{manifest['zoo']['recipe'].strip()}\n```",
            _fill(
                f"With {versions}. `{MANIFEST}` holds all settings, thresholds, the "
                f"calibration and the SHA-256 of every file, `{RESULTS}` every figure here."
            ),
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(items: Iterable[str]) -> str:
    return "\n".join(_fill(f"- {item}", "  ") for item in items)


def _fill(text: str, indent: str = "") -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH,
        subsequent_indent=indent,
        # Names of files and of programs stay in one piece.
        break_long_words=False,
        break_on_hyphens=False,
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
