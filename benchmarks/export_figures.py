"""Measures the exports of the default model: size, difference, mAP lost, latency, shares.

Every format is exported with the demo corpus: comparison on a third of the training clips,
calibration on the others, differences and mean average precision on all test clips, of which
exporting knows nothing. Formats are quantised as a whole; rows "as shipped" are of the files
that lie in the model's folder. `exceptions` counts the operations with int8 weights and float
arithmetic, with float16 weights, and in float32.

Latency is that of 10 s of audio, waveform in, tags out, on one thread: the processor time of
that thread, which other work on the machine does not lengthen. Shares compare graphs in turn
within one run: the whole, the front end alone, and what lies behind the front end with every
level and with the finest level only (the same network without hierarchy heads).

    python benchmarks/export_figures.py                  # the default model
    python benchmarks/export_figures.py --model PATH     # another one
    python benchmarks/export_figures.py --shipped        # only the shipped files anew

Writes `benchmarks/results/export_figures.json` and the tables in `docs/export.md`.
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

import documents
import keras
import numpy as np

import hmic_keras as hk
from hmic_keras import metrics, zoo
from hmic_keras._backends import TFLiteBackend
from hmic_keras._files import write_json
from hmic_keras._versions import versions
from hmic_keras.config import AudioConfig
from hmic_keras.export import export_model, export_tflite

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "export_figures.json"
DOCUMENT = ROOT / "docs" / "export.md"
FORMATS = ("keras", "float32", "float16", "dynamic_int8", "weight_int8", "static_int8", "w4")
WHOLE = {"dynamic_int8": 1.0, "weight_int8": 1.0, "static_int8": 1.0, "w4": 1.0}
SHIPPED = ("dynamic_int8",)
LATENCY_SECONDS = 10
ROUNDS = 25


def waveforms(split, rate, samples):
    paths = hk.data.demo_clips(split).paths
    return np.stack([np.resize(hk.data.load_audio(path, rate), samples) for path in paths])


def exceptions(recipe):
    """Counts the operations that are not quantised as the format says."""
    rules = [rule for rule in recipe or () if rule.get("regex", "").startswith("^")]
    kinds = {rule["regex"]: rule["algorithm_key"] for rule in rules}
    names = {
        "weights_only": "min_max_uniform_quantize",
        "kept_half": "float_casting",
        "kept_float": "no_quantize",
    }
    return {key: [*kinds.values()].count(kind) for key, kind in names.items()}


def formats(model, folder):
    """Exports every format and scores the test clips with each."""
    audio = AudioConfig.from_dict(model.manifest["audio"])
    samples = round(model.manifest["window_seconds"] * audio.sample_rate)
    train = waveforms("train", audio.sample_rate, samples)
    compared = np.arange(len(train)) % 3 == 0
    options = {"waveforms": train[compared], "calibration": train[~compared]}
    export_model(model, folder / "whole", formats=FORMATS, tolerance=WHOLE, **options)
    test = waveforms("test", audio.sample_rate, samples)
    wanted = hk.Predictor(folder / "whole", format="keras").score_windows(test)
    return {
        name: measured(hk.Predictor(folder / "whole", format=name), name, test, wanted)
        for name in FORMATS[1:]
    }


def shipped(chosen):
    """Scores the test clips with the files that lie in the model's folder."""
    keras_model = hk.Predictor(chosen, format="keras")
    samples = round(keras_model.window_seconds * keras_model.sample_rate)
    test = waveforms("test", keras_model.sample_rate, samples)
    wanted = keras_model.score_windows(test)
    found = {}
    for name in SHIPPED:
        if name in keras_model.manifest["files"]:
            predictor = hk.Predictor(chosen, format=name)
            found[f"{name}, as shipped"] = {
                **measured(predictor, name, test, wanted),
                "sha256": predictor.manifest["sha256"][zoo.FILES[name]],
                "allowed": predictor.manifest["exports"][name]["parity"]["tolerance"],
            }
    return found


def measured(predictor, name, test, wanted):
    labels = hk.data.demo_clips("test").labels
    found = predictor.score_windows(test)
    export = predictor.manifest["exports"][name]
    maps = [
        metrics.evaluate(predictor.taxonomy, labels, scores)["levels"]
        for scores in (wanted, found)
    ]
    return {
        "size_bytes": export["size_bytes"],
        **exceptions(export["quantisation"]),
        "test": {
            level: {
                "max": float(np.abs(found[level] - values).max()),
                "mean": float(np.abs(found[level] - values).mean()),
                "map": maps[1][level]["map"],
                "map_lost": maps[0][level]["map"] - maps[1][level]["map"],
            }
            for level, values in wanted.items()
        },
    }


def latency(model, folder, dynamic):
    """Times the graphs on 10 s in turn, on one thread."""
    audio = AudioConfig.from_dict(model.manifest["audio"])
    samples = LATENCY_SECONDS * audio.sample_rate
    front = model.get_layer("log_mel_spectrogram")
    shape = front.compute_output_shape((1, samples))[1:]
    finest = model.taxonomy.levels[0]

    def behind(outputs):
        given = keras.Input(shape, name="log_mel")
        return keras.Model(given, keras.Model(front.output, outputs)(given))

    graphs = {
        "whole": (model, (samples,)),
        "front end": (keras.Model(model.input, {"log_mel": front.output}), (samples,)),
        "network": (behind(model.output), shape),
        "finest level only": (behind({finest: model.output[finest]}), shape),
    }
    rng = np.random.default_rng(0)
    runs = {}
    for name, (graph, size) in graphs.items():
        path = folder / f"{name}.tflite"
        export_tflite(graph, path, input_shape=size)
        given = rng.normal(0, 0.1, (1, *size)).astype("float32")
        runs[name] = (TFLiteBackend(path), given)
    runs["dynamic_int8"] = (TFLiteBackend(dynamic), runs["whole"][1])
    times = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, (backend, given) in runs.items():
            start = time.thread_time()
            backend.run(given)
            times[name].append((time.thread_time() - start) * 1000)
    ratios = [a / b for a, b in zip(times["network"], times["finest level only"], strict=True)]
    found = {name: statistics.median(values[2:]) for name, values in times.items()}
    return {
        "seconds_of_audio": LATENCY_SECONDS,
        "ms": found,
        "front_end_share": found["front end"] / found["whole"],
        "heads_ratio": statistics.median(ratios[2:]),
    }


def ten_seconds(model, folder):
    """Exports the dynamic int8 file with windows of 10 s."""
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    copy.update_manifest(window_seconds=float(LATENCY_SECONDS))
    export_model(copy, folder, formats=["dynamic_int8"])
    return folder / zoo.FILES["dynamic_int8"]


def tables(result):
    lines = [
        "| format | MB | differs at most | on average | mAP lost, points | exceptions |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in result["formats"].items():
        test = row["test"].values()
        lost = " / ".join(f"{100 * level['map_lost']:.2f}" for level in test)
        lines.append(
            f"| {name} | {row['size_bytes'] / 1e6:.2f} | {max(v['max'] for v in test):.4f} | "
            f"{max(v['mean'] for v in test):.4f} | {lost} | "
            f"{row['weights_only']} / {row['kept_half']} / {row['kept_float']} |"
        )
    timing = result["latency"]
    shown = timing["ms"]
    lines += [
        "",
        f"{timing['seconds_of_audio']} s of audio to tags, one thread: {shown['whole']:.0f} ms "
        f"in `float32`, of which the front end takes {timing['front_end_share']:.0%}; "
        f"{shown['dynamic_int8']:.0f} ms in `dynamic_int8`. Behind the front end, all levels "
        f"take {timing['heads_ratio']:.2f} times as long as the finest level alone.",
    ]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=zoo.DEFAULT_MODEL)
    parser.add_argument("--shipped", action="store_true", help="keep all other figures")
    arguments = parser.parse_args()
    chosen = arguments.model
    if arguments.shipped:
        result = json.loads(RESULTS.read_text("utf-8"))
        old = {name: row for name, row in result["formats"].items() if name in FORMATS}
        result["formats"] = {**old, **shipped(chosen)}
    else:
        result = everything(chosen)
    write_json(RESULTS, result)
    documents.put(DOCUMENT, "figures", tables(result))
    print(tables(result))


def everything(chosen):
    model = hk.load_model(chosen)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = {**formats(model, folder), **shipped(chosen)}
        timing = latency(model, folder, ten_seconds(model, folder / "ten"))
    return {
        "model": Path(chosen).name,
        "parameters": model.count_params(),
        "window_seconds": model.manifest["window_seconds"],
        "device": f"a CPU with {os.cpu_count()} cores ({platform.machine()})",
        "versions": versions("ai-edge-quantizer", "ai-edge-litert"),
        "formats": rows,
        "latency": timing,
    }


if __name__ == "__main__":
    main()
