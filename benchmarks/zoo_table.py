"""Writes the tables of the trained models in the documentation from what was measured.

    python benchmarks/zoo_table.py

Reads `saved_models/*/manifest.json` and `results.json`; writes between the marks `zoo` of
`docs/model-zoo.md` and `saved_models/README.md`. `tests/test_zoo.py` checks that they are so.
"""

import json
import os
from pathlib import Path

from documents import between

from hmic_keras import zoo
from hmic_keras._files import write_text

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (ROOT / "docs" / "model-zoo.md", ROOT / "saved_models" / "README.md")
TESTS = {
    "timgm6mb": "rendered with a SoundFont never heard",
    "real": "160 clips of real recordings (16 tags)",
}


def table():
    """Returns the Markdown table of all models that were published."""
    header = ["model", "taxonomy", "weights", "int8 file", *TESTS.values(), "ECE"]
    rows = [header, ["---"] * len(header)]
    chance = {}
    for model in zoo.models(ROOT / "saved_models"):
        if not (model.folder / "results.json").is_file():
            continue
        tests = json.loads((model.folder / "results.json").read_text("utf-8"))["tests"]
        first = tests["timgm6mb"]["levels"]
        rows.append(
            [
                f"[`{model.name}`]({model.name}/README.md)",
                f"`{model.taxonomy}`",
                f"{model.parameters / 1e6:.2f} M",
                f"{model.files['dynamic_int8'] / 1e6:.2f} MB",
                *(_scores(tests.get(name), "map") for name in TESTS),
                _scores({"levels": first}, "calibration_error_micro"),
            ]
        )
        chance[model.taxonomy] = [
            _scores(tests.get(name), "map_baseline") for name in TESTS if name in tests
        ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    by_chance = "; ".join(f"`{name}` {', '.join(found)}" for name, found in chance.items())
    return "\n".join(lines) + f"\n\nA random order scores: {by_chance}."


def _scores(test, metric):
    if test is None:
        return "-"
    return " / ".join(f"{level[metric]:.3f}" for level in test["levels"].values())


def with_table(document):
    """Returns the text of a document with the table as it must be."""
    folder = Path(os.path.relpath(ROOT / "saved_models", document.parent)).as_posix()
    place = "" if folder == "." else f"{folder}/"
    text = table().replace("](", f"]({place}")
    return between(document, "zoo", text)


if __name__ == "__main__":
    for path in DOCUMENTS:
        write_text(path, with_table(path))
