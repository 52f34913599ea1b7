"""Compresses the default model in every way, and compares with int8 made after training.

The model takes log-mel spectrograms here, with the weights of the model of waveforms: so
all of it is open to int8. It is fine-tuned on the training clips of the demo corpus and scored
on its test clips, which are of another SoundFont (one that the default model had learned from,
in other clips).

    python benchmarks/compression.py               # every way
    python benchmarks/compression.py qat prune     # only some, added to the results
    python benchmarks/compression.py --table       # only the table again
    python benchmarks/compression.py --model hmic-demo --results demo.json  # another model

Writes `benchmarks/results/compression.json` and the tables in `docs/compression.md`.

- mAP: macro mean average precision on the test clips, by level.
- Zipped: bytes after DEFLATE, what a download costs.
- Latency: median milliseconds of one window in LiteRT on one thread.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path

import documents

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "compression.json"
DOCUMENT = ROOT / "docs" / "compression.md"
SETTINGS = {
    "qat": {"epochs": 3, "learning_rate": 1e-4},
    "prune": {"epochs": 10, "learning_rate": 3e-4, "sparsity": 0.6},
    "prune_2_4": {"epochs": 5, "learning_rate": 3e-4},
    "cluster": {"epochs": 3, "learning_rate": 1e-4, "clusters": 32},
    "prune_qat": {"epochs": 8, "learning_rate": 3e-4, "sparsity": 0.6},
}


def of_log_mel(model):
    """Returns the model of a waveform model's spectrograms, with its weights."""
    import hmic_keras as hk

    manifest = model.manifest
    built = hk.build_model(
        model.taxonomy,
        backbone=manifest["backbone"]["name"],
        method=manifest["method"]["name"],
        input="log_mel",
        audio=hk.config.AudioConfig.from_dict(manifest["audio"]),
        backbone_options=manifest["backbone"]["options"],
        method_options=manifest["method"]["options"],
    )
    built.set_weights(model.get_weights())
    kept = {name: manifest[name] for name in ("window_seconds", "thresholds")}
    built.update_manifest(**kept)
    return built


def measure(how, name):
    import keras

    import hmic_keras as hk
    from hmic_keras.data import demo_clips
    from hmic_keras.export import compression

    keras.utils.set_random_seed(0)
    model = of_log_mel(hk.load_model(name))
    clips = [demo_clips(split, model.taxonomy) for split in ("train", "test")]
    data, test = compression.datasets(model, *clips, batch_size=16)
    config = hk.config.CompressionConfig(how, **SETTINGS[how])
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        report = compression.compress(model, data, test, Path(folder) / how, config)
    return {**report, "seconds": round(time.perf_counter() - start, 1)}


def table(results):
    """Returns the results as Markdown, a row for each file."""
    first = next(iter(results["ways"].values()))
    rows = {
        "float32": first["float"],
        "after training, `dynamic_int8`": first["post_training"]["dynamic_int8"],
        "after training, `static_int8`": first["post_training"]["static_int8"],
    }
    for how, report in results["ways"].items():
        rows[f"`{how}`, `{report['compressed']['format']}`"] = report["compressed"]
    lines = [
        "| file | kB | zipped kB | ms | zeros | mAP fine | mAP coarse |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in rows.items():
        cells = (
            f"{row['size_bytes'] / 1000:.0f}",
            f"{row['zipped_bytes'] / 1000:.0f}",
            f"{row['latency_ms']:.2f}",
            f"{100 * row['zeros']:.0f} %",
            f"{row['map']['fine']:.3f}",
            f"{row['map']['coarse']:.3f}",
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def write_table(results):
    documents.put(DOCUMENT, "compression", table(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ways", nargs="*", help=f"some of {', '.join(SETTINGS)}")
    parser.add_argument("--table", action="store_true", help="write the table again")
    parser.add_argument("--model", help="a name or folder; the default model if not given")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file to write")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hmic_keras import zoo

    model = arguments.model or zoo.DEFAULT_MODEL
    path = arguments.results
    found = json.loads(path.read_text()) if path.is_file() else {}
    if found.get("model") != model:  # figures of two models make no table
        found = {"model": model, "ways": {}}
    if not arguments.table:
        for how in arguments.ways or SETTINGS:
            found["ways"][how] = measure(how, model)
            print(how, found["ways"][how]["compressed"], flush=True)
            names = ("tensorflow", "keras", "tf_keras", "tensorflow-model-optimization")
            found["machine"] = {
                "cpus": os.cpu_count(),
                "python": platform.python_version(),
                **{name: metadata.version(name) for name in names},
            }
            found["ways"] = {
                how: found["ways"][how] for how in SETTINGS if how in found["ways"]
            }
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if path == RESULTS:
        write_table(found)


if __name__ == "__main__":
    main()
