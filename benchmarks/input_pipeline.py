"""How long the training step of `conv` waits for its input, augmentation included.

Synthesises clips of 10 s, prepares them, and trains the packaged default (`conv`, `f2ca`,
crops of 4 s, batches of 32) on the records

- as they are (`records`);
- with `HostAugmentation` in the pipeline and `layers.Augmentation` in the training step
  (`augmented`);
- decoding the same Vorbis files anew in every pass (`files`), for comparison.

The share is the time spent in `next(iterator)` out of an epoch, the first one left out. The
goal is less than 5 % with augmentation. On a machine without an accelerator, the pipeline and
the training step share the cores, so the epochs' lengths count as well: they are in the
report.

    python benchmarks/input_pipeline.py [--clips 512] [--epochs 3]

Prints the figures as JSON and writes them to `benchmarks/results/input_pipeline.json`.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# As the command line has it.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from read_records import synthesise

import hmic_keras as hk
from hmic_keras.cli._terminal import keep_freed_memory
from hmic_keras.data import LabelledClips, make_dataset, prepare_clips
from hmic_keras.data.augmentation import HostAugmentation

GOAL = 0.05
FILES = 32  # which come again and again: the pipeline does not know
STEPS = {
    "waveform": {"gain": {}, "equalizer": {}, "band_limit": {}, "reverb": {}, "noise": {}},
    "mix": {"name": "mixup"},
}
RESULT = Path(__file__).parent / "results" / "input_pipeline.json"


def model_for(taxonomy, augmented):
    keras.utils.set_random_seed(0)
    model = hk.build_model(taxonomy, backbone="conv", method="f2ca")
    augmentation = hk.layers.Augmentation.from_spec(STEPS, seed=0) if augmented else None
    model.compile("adam", **hk.training.compile_options(taxonomy), augmentation=augmentation)
    return model


def epochs(model, dataset, count):
    """Trains; returns for each epoch its seconds and those spent waiting for batches."""
    found = []
    for _ in range(count):
        waited, started = 0.0, time.perf_counter()
        batches = iter(dataset)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            # Returns numbers, so the step is over when it does.
            model.train_on_batch(*batch, return_dict=True)
        found.append((time.perf_counter() - started, waited))
    return found[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    keep_freed_memory()
    taxonomy = hk.Taxonomy.load("openmic")
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        files = tuple(Path(folder, f"{i:04d}.ogg") for i in range(FILES))
        for path in files:
            synthesise(path, 44100, 2, random)
        labels = (random.random((len(files), 20)) < 0.1).astype(np.float32)
        clips = LabelledClips(taxonomy, files, {"fine": labels})
        records = prepare_clips(clips, Path(folder, "records"), processes=1)
        again = np.arange(arguments.clips) % FILES
        records, clips = records.subset(again), clips.subset(again)
        host = HostAugmentation(speed={}, codec={})
        cases = {
            "records": (records, None),
            "augmented": (records, host),
            "files": (clips, None),
        }
        results = {}
        for name, (source, augment) in cases.items():
            dataset = make_dataset(source, training=True, augment=augment, cache=False)
            model = model_for(taxonomy, augment is not None)
            found = epochs(model, dataset, arguments.epochs + 1)
            results[name] = {
                "seconds_an_epoch": round(statistics.median(one for one, _ in found), 2),
                "waiting": round(statistics.median(w / one for one, w in found), 4),
            }
    report = {
        "clips": arguments.clips,
        "batch": 32,
        "crop_seconds": 4.0,
        "epochs": arguments.epochs,
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "results": results,
        "goal": GOAL,
        "goal_reached": results["augmented"]["waiting"] < GOAL,
    }
    print(json.dumps(report, indent=2))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
