"""Do the attention maps of `hmic-mobile` name the instrument that plays?

Takes the clips of the tests of `evaluate_zoo.py` in which one instrument of a family plays and
no other of it, and looks at how much of the family's row of the map falls on that instrument. A
row adds up to 1; an even one would give each member of the family its share.

    python benchmarks/attention_maps.py [--model hmic-mobile] [--sets FOLDER] [--real FOLDER]

Writes `benchmarks/results/attention_maps.json` and the table in `docs/model-zoo.md`.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "attention_maps.json"
DOCUMENT = ROOT / "docs" / "model-zoo.md"
FEWEST = 5  # clips that say anything of an instrument
BATCH = 64


def main() -> None:
    import documents
    import evaluate_zoo

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="hmic-mobile")
    evaluate_zoo.add_sets(parser)
    args = parser.parse_args()
    from hmic_keras import load_model
    from hmic_keras._files import write_json
    from hmic_keras._versions import versions

    model = load_model(args.model)
    tests = evaluate_zoo.test_sets(model.taxonomy, args)
    found = {name: shares(model, clips) for name, clips in tests.items()}
    write_json(RESULTS, {"model": args.model, "tests": found, "versions": versions()})
    text = table(model.taxonomy, found)
    documents.put(DOCUMENT, "maps", text)
    print(text)


def shares(model: Any, clips: Any) -> dict[str, dict[str, Any]]:
    """Returns for each instrument how its family's map is shared out where it plays alone."""
    from hmic_keras.data import load_audio
    from hmic_keras.data.audio import frame
    from hmic_keras.explain import attention_maps

    taxonomy = model.taxonomy
    rate = model.manifest["audio"]["sample_rate"]
    length = round(model.manifest["window_seconds"] * rate)
    windows = [frame(load_audio(path, rate), length, length) for path in clips.paths]
    owner = np.repeat(np.arange(len(windows)), [len(one) for one in windows])
    joined = np.concatenate(windows)
    maps = np.concatenate(
        [
            attention_maps(model, joined[start : start + BATCH])
            for start in range(0, len(joined), BATCH)
        ]
    )
    present = np.asarray(clips.labels["fine"])[owner] > 0
    found: dict[str, dict[str, Any]] = {}
    for row, members in enumerate(np.asarray(taxonomy.mask("coarse", "fine"), bool)):
        if members.sum() < 2:
            continue
        for column in np.flatnonzero(members):
            alone = present[:, column] & (present[:, members].sum(axis=1) == 1)
            count = len(np.unique(owner[alone]))
            if count < FEWEST:
                continue
            mean = maps[alone, row].mean(axis=0)
            found[taxonomy.classes("fine")[column]] = {
                "clips": count,
                "own": round(float(mean[column]), 4),
                "even": round(1 / int(members.sum()), 4),
                "inside": round(float(mean[members].sum()), 4),
                "highest": taxonomy.classes("fine")[int(mean.argmax())],
            }
    return found


def table(taxonomy: Any, tests: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Returns a row a family: the shares of its instruments, on each test."""
    import documents

    titles = {"timgm6mb": "rendered", "real": "recordings"}
    rows = [["family", "evenly", *(titles.get(name, name) for name in tests)]]
    for family in taxonomy.classes("coarse"):
        members = [
            name
            for name in taxonomy.classes("fine")
            if family in taxonomy.to_dict()["parents"]["fine"][name]
        ]
        cells, even = [], ""
        for found in tests.values():
            shown = [f"{name} {found[name]['own']:.2f}" for name in members if name in found]
            cells.append(", ".join(shown) or "-")
            even = even or next((f"{found[n]['even']:.2f}" for n in members if n in found), "")
        if even:
            rows.append([family, even, *cells])
    return documents.table(rows)


if __name__ == "__main__":
    main()
