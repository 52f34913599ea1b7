"""Finished trials of a comparison in one file, from which a later run goes on."""

import json
from pathlib import Path

from hmic_keras._files import write_json, write_text


def pack(out: Path, patterns: list[str], record: Path) -> None:
    """Keeps the trials under `out` that match in one JSON file, a line a trial."""
    trials = {
        str(path.relative_to(out)): json.loads(path.read_text("utf-8"))
        for pattern in patterns
        for path in sorted(out.glob(pattern))
    }
    lines = [f"{json.dumps(name)}: {json.dumps(trial)}" for name, trial in trials.items()]
    write_text(record, "{\n" + ",\n".join(lines) + "\n}\n")


def unpack(record: Path, out: Path) -> None:
    """Puts recorded trials where they are looked for; one there already is left alone."""
    for name, trial in json.loads(record.read_text("utf-8")).items():
        if not (out / name).exists():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            write_json(out / name, trial)
