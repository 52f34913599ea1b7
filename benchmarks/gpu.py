"""Trains, with mixed precision and XLA, and exports, on whatever device TensorFlow finds.

Prints the device and, for each setting, the seconds of a training step after compilation, and
writes them to `benchmarks/results/gpu.json` when the device is a GPU. Run it from a checkout:

    python benchmarks/gpu.py

Status: run on a CPU only; not yet run on a GPU.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import hmic_keras as hk
from hmic_keras.export import export_model
from hmic_keras.training import compile_options

RESULTS = Path(__file__).parent / "results" / "gpu.json"


def device_name():
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "CPU"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")


def measure(policy, jit_compile, batch_size, steps):
    """Returns seconds of a training step and the loss, which must stay finite."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    taxonomy = hk.Taxonomy.load("openmic")
    model = hk.build_model(taxonomy, method="f2ca", backbone_options={"width": 32})
    model.compile("adam", jit_compile=jit_compile, **compile_options(taxonomy))
    rng = np.random.default_rng(0)
    waveforms = rng.normal(0, 0.1, (batch_size, 64000)).astype("float32")
    fine = rng.choice([-1.0, 0.0, 1.0], (batch_size, 20)).astype("float32")
    labels = taxonomy.close_labels({"fine": fine})
    model.train_on_batch(waveforms, labels)
    started = time.perf_counter()
    for _ in range(steps):
        loss = model.train_on_batch(waveforms, labels)[0]
    seconds = (time.perf_counter() - started) / steps
    if not np.isfinite(loss):
        raise SystemExit(f"{policy}, jit_compile={jit_compile}: the loss is {loss}")
    return model, {"step_seconds": round(seconds, 5), "loss": round(float(loss), 4)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    report = {"device": device_name(), "tensorflow": tf.__version__, "keras": keras.__version__}
    report |= vars(options)
    print(json.dumps(report))
    for policy in ("float32", "mixed_float16", "mixed_bfloat16"):
        for jit_compile in (False, True):
            model, figures = measure(policy, jit_compile, options.batch_size, options.steps)
            report[f"{policy}{'+xla' if jit_compile else ''}"] = figures
            print(policy, "XLA" if jit_compile else "no XLA", figures)
    with tempfile.TemporaryDirectory() as folder:
        report["parity_mixed_bfloat16"] = export_model(model, f"{folder}/model")["parity"]
    print("parity", report["parity_mixed_bfloat16"])
    if report["device"] != "CPU":
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
