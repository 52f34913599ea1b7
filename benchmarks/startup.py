"""Times what a user waits for before anything happens: the import and `hmic --help`.

Each runs in fresh processes; prints the medians and writes `benchmarks/results/startup.json`.
The limits are 0.3 s for the import, beyond what Python itself takes, and 1 s for the help.

    python benchmarks/startup.py
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "startup.json"
COMMANDS = {
    "python": ["-c", "pass"],
    "import_hmic_keras": ["-c", "import hmic_keras"],
    "hmic_help": ["-m", "hmic_keras.cli", "--help"],
}


def seconds(arguments):
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return time.perf_counter() - started


def main(runs=11):
    times = {name: [] for name in COMMANDS}
    for _ in range(runs):
        # In turn, so that a busy moment of the machine hits all of them.
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    medians = {name: round(statistics.median(found), 3) for name, found in times.items()}
    report = {
        "python": platform.python_version(),
        "runs": runs,
        "median_seconds": medians,
        "import_alone": round(medians["import_hmic_keras"] - medians["python"], 3),
    }
    print(json.dumps(report, indent=2))
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
