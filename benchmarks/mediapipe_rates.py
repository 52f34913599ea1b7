"""Compares MediaPipe's AudioClassifier with `Predictor` on music at 16 and at 44.1 kHz.

The test clips of the demo corpus, one after the other, are handed to both as they are and
resampled to 44.1 kHz: at the model's own rate MediaPipe runs the same graph on the same
samples, at another its own resampler decides what the graph hears, which `Predictor` has, too
(`resampler="mediapipe"`). Windows lie side by side.

MediaPipe has an environment of its own:

    python -m venv mp && mp/bin/pip install mediapipe==1.2.2
    HMIC_MEDIAPIPE_PYTHON=mp/bin/python python benchmarks/mediapipe_rates.py

Writes `benchmarks/results/mediapipe_rates.json` and the sentence in `docs/export.md`.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import documents
import numpy as np
import soxr
from export_figures import DOCUMENT, ROOT

import hmic_keras as hk
from hmic_keras import zoo
from hmic_keras._files import write_json
from hmic_keras._versions import versions
from hmic_keras.data.resampling import RESAMPLERS

RESULTS = ROOT / "benchmarks" / "results" / "mediapipe_rates.json"
ANSWERS = ROOT / "tests" / "mediapipe_answers.py"
FORM = "dynamic_int8"
OWN, OTHER = 16000, 44100


def main():
    python = os.environ["HMIC_MEDIAPIPE_PYTHON"]
    predictor = hk.Predictor(format=FORM)
    rate = predictor.sample_rate
    window = round(predictor.window_seconds * rate)
    paths = hk.data.demo_clips("test").paths
    music = np.concatenate([hk.data.load_audio(path, rate) for path in paths])
    music = music[: len(music) // window * window]
    clips = {"own": (music, rate), "other": (soxr.resample(music, rate, OTHER, "VHQ"), OTHER)}
    found = answers(python, zoo.resolve() / zoo.FILES[FORM], clips, predictor)
    rows = {
        str(hertz): {
            resampler: compared(
                hk.Predictor(format=FORM, resampler=resampler)
                .predict(samples, sample_rate=hertz)
                .windows,
                found[name],
                predictor.thresholds,
            )
            for resampler in RESAMPLERS
        }
        for name, (samples, hertz) in clips.items()
    }
    result = {
        "model": zoo.DEFAULT_MODEL,
        "format": FORM,
        "windows": len(music) // window,
        "mediapipe": version(python),
        "versions": versions("ai-edge-litert", "soxr"),
        "rates": rows,
    }
    write_json(RESULTS, result)
    documents.put(DOCUMENT, "mediapipe rates", sentence(result))
    print(sentence(result))


def answers(python, model, clips, predictor):
    """Returns MediaPipe's scores by clip and level, `(windows, classes)`."""
    arrays = {}
    for name, (samples, rate) in clips.items():
        arrays |= {name: samples.astype("float32"), f"{name}/rate": rate}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        np.savez(folder / "clips.npz", **arrays)
        command = [python, ANSWERS, model, folder / "clips.npz", folder / "out.json", 1e-9]
        subprocess.run([*map(str, command)], check=True, capture_output=True)
        found = json.loads((folder / "out.json").read_text("utf-8"))
    scores = {}
    for name, windows in found.items():
        heads = [{level: by for _, level, by in one["heads"]} for one in windows]
        scores[name] = {
            level: np.array([[head[level][c] for c in classes] for head in heads])
            for level, classes in predictor.manifest["class_order"].items()
        }
    return scores


def compared(wanted, found, thresholds):
    count = len(next(iter(wanted.values())))
    # A resampler may leave a few samples over, which are no window of ours.
    apart = {lv: np.abs(found[lv][:count] - values) for lv, values in wanted.items()}
    worst = np.max([values.max(axis=1) for values in apart.values()], axis=0)
    turned = sum(
        int(((found[lv][:count] >= thresholds[lv]) != (values >= thresholds[lv])).sum())
        for lv, values in wanted.items()
    )
    return {
        "max": float(worst.max()),
        "median": float(np.median(worst)),
        "mean": float(np.mean([values.mean() for values in apart.values()])),
        "tags": int(sum(values.size for values in wanted.values())),
        "tags_turned": turned,
    }


def version(python):
    code = "import importlib.metadata as m; print(m.version('mediapipe'))"
    return subprocess.run(
        [python, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()


def sentence(result):
    own, other = (result["rates"][str(rate)] for rate in (OWN, OTHER))
    soxr_, same = other["soxr"], other["mediapipe"]
    return (
        f"On {result['windows']} windows of the demo corpus' test clips, `{result['format']}` "
        f"of the default model answers in MediaPipe {result['mediapipe']} as in `Predictor`, "
        f"to {own['soxr']['max']:.4f}, if the audio has the file's rate. Handed the same music "
        f'at 44.1 kHz, it answers as `Predictor(resampler="mediapipe")` does, to '
        f"{same['max']:.6f}, and up to {soxr_['max']:.2f} apart from soxr's samples "
        f"({soxr_['median']:.2f} in the median window; {soxr_['tags_turned']} of "
        f"{soxr_['tags']} tags change sides of their threshold)."
    )


if __name__ == "__main__":
    main()
