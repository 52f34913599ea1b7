"""Measures what the command line gains by letting glibc keep the memory TensorFlow frees.

Trains on part of the demo corpus in fresh processes, with and without
`hmic_keras.cli._terminal.keep_freed_memory`, in turn; prints the median wall and system
seconds of an epoch (the first, which compiles, is left out) and writes them to
`benchmarks/results/freed_memory.json`.

    python benchmarks/freed_memory.py
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results" / "freed_memory.json"


def train(keep):
    """Prints `[wall, system]` seconds of each epoch but the first, as JSON."""
    if keep:
        from hmic_keras.cli._terminal import keep_freed_memory

        keep_freed_memory()
    import keras

    from hmic_keras.config import TrainConfig
    from hmic_keras.data import demo_clips
    from hmic_keras.training import train

    marks = []

    def mark(epoch, logs):
        marks.append((time.perf_counter(), os.times().system))

    config = TrainConfig(epochs=5, batch_size=16, crop_seconds=3.0, validation_fraction=0)
    callback = keras.callbacks.LambdaCallback(on_epoch_end=mark)
    train(demo_clips("train").subset(range(160)), config=config, callbacks=[callback])
    pairs = itertools.pairwise(marks)
    print(json.dumps([[b[0] - a[0], b[1] - a[1]] for a, b in pairs]))


def main(rounds=3):
    epochs = {"plain": [], "keeping": []}
    for _ in range(rounds):
        # In turn, so that a busy moment of the machine hits both.
        for name, found in epochs.items():
            done = subprocess.run(
                [sys.executable, __file__, name],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
            )
            found.extend(json.loads(done.stdout.splitlines()[-1]))
    report = {
        name: {
            "epoch_seconds": round(statistics.median(wall for wall, _ in found), 3),
            "system_seconds": round(statistics.median(system for _, system in found), 3),
        }
        for name, found in epochs.items()
    }
    ratio = report["plain"]["epoch_seconds"] / report["keeping"]["epoch_seconds"]
    report["speed_up"] = round(ratio, 2)
    print(json.dumps(report, indent=2))
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:]:
        train(sys.argv[1] == "keeping")
    else:
        main()
