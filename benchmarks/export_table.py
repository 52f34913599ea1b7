"""Exports backbone x method x input in every format and says what works and what is refused.

Every network is small and untrained, with random normalisation statistics, so that each layer
takes part in the answer. A format counts as exported when `export_model` kept it, that is when
it answers as the Keras model does within its tolerance; otherwise the reason is recorded.
Calibration and comparison use clips of the demo corpus.

    python benchmarks/export_table.py                   # all of it
    python benchmarks/export_table.py --methods gmp     # only these rows anew
    python benchmarks/export_table.py --resume          # go on with a run that was stopped
    python benchmarks/export_table.py --formats onnx    # only these columns, the others stay

Writes `benchmarks/results/export_table.json` and the table in `docs/export.md`.
"""

import argparse
import functools
import json
import multiprocessing
import os
import re
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import documents
import keras
import numpy as np
from export_figures import DOCUMENT, exceptions

import hmic_keras as hk
from hmic_keras._files import write_json
from hmic_keras._mel import log_mel
from hmic_keras._versions import versions
from hmic_keras.config import AudioConfig
from hmic_keras.errors import HmicError
from hmic_keras.export import export_model
from hmic_keras.heads import HEADS
from hmic_keras.zoo import FILES

RESULTS = Path(__file__).parent / "results" / "export_table.json"
SECONDS = 1.0
FORMATS = [name for name in FILES if name != "keras"]
# Small, so that the whole table takes minutes.
BACKBONES = {
    "conv": {"width": 4},
    "conv_attention": {"width": 4, "blocks": 1, "num_heads": 2},
    "musicnn": {},
    "short_chunk_res": {"width": 4},
    "MobileNetV3Small": {},
    "mlp": {},
}
TAXONOMY = hk.Taxonomy.from_dict(
    {"strings": ["violin", "cello"], "brass": ["horn", "trumpet"], "drums": []}
)
EMBEDDINGS = {"embedding": (32,), "embedding over time": (10, 32)}


def randomise(model, rng):
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(0, 0.3, size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))


def build(backbone, method, kind):
    keras.utils.set_random_seed(0)
    shape = EMBEDDINGS.get(kind)
    model = hk.build_model(
        TAXONOMY,
        backbone=backbone,
        method=method,
        input="embedding" if shape else kind,
        input_shape=shape,
        backbone_options=BACKBONES[backbone],
    )
    randomise(model, np.random.default_rng(0))
    model.update_manifest(window_seconds=SECONDS)
    return model


def music(audio):
    clips = hk.data.demo_clips("train").subset(range(24))
    samples = round(SECONDS * audio.sample_rate)
    return np.stack([hk.data.load_audio(p, audio.sample_rate)[:samples] for p in clips.paths])


def inputs_of(model, kind):
    if shape := EMBEDDINGS.get(kind):
        return np.random.default_rng(1).normal(0, 1, (24, *shape)).astype("float32")
    audio = AudioConfig.from_dict(model.manifest["audio"])
    waveforms = music(audio)
    return log_mel(waveforms, audio) if kind == "log_mel" else waveforms


def row(backbone, method, kind, folder, formats):
    try:
        model = build(backbone, method, kind)
    except HmicError as error:
        return {"refused": str(error)}
    inputs = inputs_of(model, kind)
    try:
        manifest = export_model(
            model,
            folder,
            formats=formats,
            waveforms=inputs,
            calibration=inputs if "static_int8" in formats else None,
            skip_refused=True,
        )
    except HmicError as error:  # of the only format
        if len(formats) > 1:
            raise
        return {"formats": {formats[0]: {"refused": str(error)}}}
    found = {name: {"refused": reason} for name, reason in manifest.get("refused", {}).items()}
    for name, export in manifest["exports"].items():
        found[name] = {
            "max": max(export["parity"]["max"].values()),
            "tolerance": export["parity"]["tolerance"],
            "size_bytes": export["size_bytes"],
            **exceptions(export["quantisation"]),
        }
    return {"parameters": model.count_params(), "formats": found}


def combinations(backbones, methods):
    for backbone in backbones:
        kinds = tuple(EMBEDDINGS) if backbone == "mlp" else ("waveform", "log_mel")
        for method in methods:
            for kind in kinds:
                yield backbone, method, kind


def table(rows):
    """Draws the rows, with each reason for a refusal as a note below."""
    reasons = {}

    def refused(reason):
        # Differences are those of a row; the rule is what notes have in common.
        rule = re.sub(r"by up to \{.*?\}, ", "", reason)
        return f"refused [{reasons.setdefault(rule, len(reasons) + 1)}]"

    def cell(one, name):
        if "refused" in one:
            return refused(one["refused"])
        found = one["formats"].get(name, {"refused": "Not measured."})
        if "refused" in found:
            return refused(found["refused"])
        others = sum(found.get(key, 0) for key in ("weights_only", "kept_half", "kept_float"))
        kept = f" +{others}" if others else ""
        return f"{found['max']:.4f}{kept}"

    lines = [
        f"| backbone | method | input | {' | '.join(f'`{name}`' for name in FORMATS)} |",
        f"|{' --- |' * (3 + len(FORMATS))}",
    ]
    for one in rows:
        cells = [one["backbone"], one["method"], one["input"]]
        cells += [cell(one, name) for name in FORMATS]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*lines, *(["", "Reasons:", "", *notes] if notes else [])])


def measure(combination, formats):
    keras.backend.clear_session()
    backbone, method, kind = combination
    with tempfile.TemporaryDirectory() as folder:
        result = row(backbone, method, kind, Path(folder) / "out", formats)
    return {"backbone": backbone, "method": method, "input": kind, **result}


def joined(old, new):
    """Returns a row with its new formats beside those that it had."""
    both = {**old.get("formats", {}), **new.get("formats", {})}
    return {**old, **new, **({"formats": both} if both else {})}


def write(rows):
    order = [*combinations(BACKBONES, sorted(HEADS))]
    rows.sort(key=lambda one: order.index(key(one)))
    write_json(
        RESULTS,
        {
            "what": "largest difference of a probability to Keras, or why it is refused",
            "seconds": SECONDS,
            "backbones": BACKBONES,
            "versions": versions("ai-edge-quantizer", "tf2onnx", "onnxruntime"),
            "rows": rows,
        },
    )
    documents.put(DOCUMENT, "table", table(rows))


def key(one):
    return one["backbone"], one["method"], one["input"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbones", nargs="*", default=list(BACKBONES))
    parser.add_argument("--methods", nargs="*", default=sorted(HEADS))
    parser.add_argument("--formats", nargs="*", default=FORMATS, choices=FORMATS)
    parser.add_argument("--resume", action="store_true", help="Keep what is there.")
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args()
    wanted = [*combinations(chosen.backbones, chosen.methods)]
    old = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = {key(one): one for one in old}
    if chosen.resume:
        wanted = [one for one in wanted if not has(rows.get(one), chosen.formats)]
    start = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        work = functools.partial(measure, formats=chosen.formats)
        for one in pool.imap_unordered(work, wanted):
            rows[key(one)] = joined(rows.get(key(one), {}), one)
            write([*rows.values()])  # so that a run that is stopped can go on
            bad = [n for n, e in one.get("formats", {}).items() if "refused" in e]
            print(f"{time.perf_counter() - start:7.1f} s", *key(one), bad, flush=True)


def has(row, formats):
    """Tells whether a row, or None, says something of all these formats."""
    return row is not None and ("refused" in row or set(formats) <= set(row["formats"]))


if __name__ == "__main__":
    main()
