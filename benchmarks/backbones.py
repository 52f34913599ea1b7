"""Compares the backbones: parameters, multiply-adds, training time and TFLite latency.

Every backbone carries the `f2ca` method over the `openmic` taxonomy and takes crops of 4 s;
the backbones of this package have their default options, musicnn that is its published size.

    python benchmarks/backbones.py            # all, in order; --steps 2 for a quick look
    python benchmarks/backbones.py conv       # only some, printed and not written

Writes `benchmarks/results/backbones.json` and the table in `docs/backbones.md`.

- Parameters: all weights, normalisation's included.
- Multiply-adds: of one crop through the whole model, counted in the graph TensorFlow runs:
  convolutions and matrix products, those of the mel filters included. Sums, activations and
  the FFT are left out.
- Training: seconds for 1,000 crops, from the median step of batches of noise, after one
  step of warming up; freed memory is kept and oneDNN used, as the command line does.
- Latency: median milliseconds of one crop in TensorFlow Lite on one thread.
"""

import argparse
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "backbones.json"
DOCUMENT = ROOT / "docs" / "backbones.md"
START, END = "<!-- backbones: start -->", "<!-- backbones: end -->"
BACKBONES = ("conv", "conv_attention", "short_chunk_res", "musicnn", "MobileNetV3Small")
CROP_SECONDS, RATE, BATCH = 4, 16000, 16
# Of one measurement; musicnn takes seconds for a step on a CPU.
ENOUGH_SECONDS = 60.0
COLUMNS = {
    "backbone": "backbone",
    "parameters": "parameters",
    "multiply_adds": "multiply-adds, 4 s",
    "train_seconds_per_1000": "training, s per 1,000 crops",
    "tflite_ms": "TFLite, ms",
    "step_seconds": "step, s",
    "features": "features",
}


def multiply_adds(function, *arguments):
    """Counts the multiply-adds of a function's convolutions and matrix products.

    Args:
        function: A `tf.function`.
        *arguments: `tf.TensorSpec`s, every axis known.
    """
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    concrete = function.get_concrete_function(*arguments)
    # Calls of other functions are laid open by this, and weights get their shapes.
    graph = convert_variables_to_constants_v2(concrete).graph
    return sum(_of_operation(operation) for operation in graph.get_operations())


def _of_operation(operation):
    kind = operation.type
    if kind in ("Conv2D", "DepthwiseConv2dNative"):
        kernel = operation.inputs[1].shape.as_list()
        taps = kernel[0] * kernel[1] * (kernel[2] if kind == "Conv2D" else 1)
        return operation.outputs[0].shape.num_elements() * taps
    if kind in ("MatMul", "BatchMatMul", "BatchMatMulV2"):
        transposed = operation.get_attr("transpose_a" if kind == "MatMul" else "adj_x")
        inner = operation.inputs[0].shape.as_list()[-2 if transposed else -1]
        return operation.outputs[0].shape.num_elements() * inner
    if kind == "Einsum":
        inputs = operation.get_attr("equation").decode().split("->")[0].split(",")
        sizes = {}
        for axes, tensor in zip(inputs, operation.inputs, strict=True):
            sizes |= _named_axes(axes, tensor.shape.as_list())
        return math.prod(sizes.values())
    if kind in ("Conv3D", "XlaEinsum", "Conv2DBackpropInput", "PartitionedCall"):
        raise SystemExit(f"The multiply-adds of {kind} ({operation.name}) are not counted.")
    return 0


def _named_axes(axes, shape):
    before, dots, after = axes.partition("...")
    unnamed = range(len(before) + len(after) - len(shape), 0) if dots else ()
    return dict(zip([*before, *unnamed, *after], shape, strict=True))


def measure(name, steps):
    from hmic_keras.cli._terminal import keep_freed_memory, use_onednn

    # Before TensorFlow is imported, which reads the environment then.
    keep_freed_memory()
    use_onednn()

    import keras
    import numpy as np
    import tensorflow as tf

    import hmic_keras as hk
    from hmic_keras.explain import time_scores
    from hmic_keras.training import compile_options

    keras.utils.set_random_seed(0)
    taxonomy = hk.Taxonomy.load("openmic")
    model = hk.build_model(taxonomy, backbone=name, method="f2ca")
    rng = np.random.default_rng(0)
    samples = CROP_SECONDS * RATE
    waveforms = rng.normal(0, 0.1, (BATCH, samples)).astype("float32")
    labels = taxonomy.close_labels(
        {"fine": rng.choice([-1.0, 0.0, 1.0], (BATCH, 20)).astype("float32")}
    )
    forward = tf.function(lambda x: model(x, training=False))
    spec = tf.TensorSpec((1, samples), "float32")
    moments, _ = time_scores(model, waveforms[0])
    features = model.get_layer("time_mean").input.shape[-1]
    report = {
        "backbone": name,
        "parameters": model.count_params(),
        "multiply_adds": multiply_adds(forward, spec),
        "tflite_ms": tflite_milliseconds(model, samples, waveforms, steps),
        "step_seconds": round(float(moments[1] - moments[0]), 3),
        "features": features,
    }
    model.compile("adam", **compile_options(taxonomy))
    step = seconds_of(lambda: model.train_on_batch(waveforms, labels), steps)
    report["train_seconds_per_1000"] = round(step * 1000 / BATCH, 1)
    return report


def seconds_of(run, repeats):
    """Median seconds after one run of warming up; fewer repeats of what takes long."""
    run()
    seconds = []
    while len(seconds) < repeats and (len(seconds) < 2 or sum(seconds) < ENOUGH_SECONDS):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def tflite_milliseconds(model, samples, waveforms, steps):
    from hmic_keras.export.tflite import export_tflite
    from hmic_keras.inference import TFLiteBackend

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        export_tflite(model, path, input_shape=(samples,))
        backend = TFLiteBackend(path)
        return round(1e3 * seconds_of(lambda: backend.run(waveforms[:1]), steps), 2)


def table(report):
    """Renders the report as a Markdown table."""
    lines = [
        "| " + " | ".join(COLUMNS.values()) + " |",
        "| --- |" + " ---: |" * (len(COLUMNS) - 1),
    ]
    for row in report["results"]:
        cells = [_cell(row[column]) for column in COLUMNS]
        lines.append("| " + " | ".join(cells) + " |")
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    steps = report["steps"]
    lines += ["", f"On {report['device']}; {versions}; medians of up to {steps} runs."]
    return "\n".join(lines)


def _cell(value):
    if isinstance(value, str):
        return f"`{value}`"
    if isinstance(value, int) and value >= 1_000_000:
        return f"{value / 1e6:,.1f} M"
    return f"{value:,}"


def with_table(document, report):
    """Returns the document with the table between its markers."""
    before, rest = document.split(START)
    _, after = rest.split(END)
    return f"{before}{START}\n{table(report)}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("backbones", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(ROOT))
    results = []
    for name in options.backbones or BACKBONES:
        results.append(measure(name, options.steps))
        print(json.dumps(results[-1]), flush=True)
    if options.backbones:
        return
    report = {
        "device": f"a CPU with {os.cpu_count()} cores ({platform.machine()})",
        "versions": {name: metadata.version(name) for name in ("tensorflow", "keras")},
        "batch": BATCH,
        "crop_seconds": CROP_SECONDS,
        "steps": options.steps,
        "results": results,
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_table(document, report), encoding="utf-8")


if __name__ == "__main__":
    main()
