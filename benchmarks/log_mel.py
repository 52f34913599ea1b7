"""Times log-mel spectrograms on one thread: `LogMelSpectrogram` in a graph, and librosa.

Same settings, same waveforms, answers compared. The two take turns on every clip, so that a
busy moment of the machine hits both. Prints the medians and writes
`benchmarks/results/log_mel.json`; a ratio above 1 says how many times longer librosa takes.

    python benchmarks/log_mel.py
"""

# ruff: noqa: E402
import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import json
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path

import librosa
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from hmic_keras.cli._terminal import keep_freed_memory
from hmic_keras.layers import LogMelSpectrogram

RESULTS = Path(__file__).parent / "results" / "log_mel.json"
# (seconds, clips in a batch)
CASES = ((4, 1), (10, 1), (4, 32), (10, 32))


def compiled(layer):
    """The layer as a graph on a batch."""

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32)])
    def graph(waveforms):
        return layer(waveforms)

    return lambda waveforms: graph(tf.constant(waveforms)).numpy()


def librosa_log_mel(layer):
    """The same with librosa, clip by clip, with the filters made once as the layer does."""
    filters = librosa.filters.mel(
        sr=layer.sample_rate, n_fft=layer.n_fft, n_mels=layer.n_mels, fmin=layer.fmin
    )

    def one(waveform):
        power = np.abs(
            librosa.stft(
                waveform,
                n_fft=layer.n_fft,
                win_length=layer.window_length,
                hop_length=layer.hop_length,
                pad_mode="reflect",
            )
        )
        return np.log(filters @ (power * power) + layer.log_offset).T

    return lambda waveforms: np.stack([one(waveform) for waveform in waveforms])


def librosa_feature(layer):
    """The same with `librosa.feature.melspectrogram`, which makes its filters each time."""

    def one(waveform):
        mel = librosa.feature.melspectrogram(
            y=waveform,
            sr=layer.sample_rate,
            n_fft=layer.n_fft,
            win_length=layer.window_length,
            hop_length=layer.hop_length,
            n_mels=layer.n_mels,
            fmin=layer.fmin,
            pad_mode="reflect",
        )
        return np.log(mel + layer.log_offset).T

    return lambda waveforms: np.stack([one(waveform) for waveform in waveforms])


def measure(functions, waveforms, seconds):
    """Median milliseconds a clip by function, in turn for about `seconds`."""
    times = {name: [] for name in functions}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(times["graph"]) < 5:
        for name, function in functions.items():
            started = time.perf_counter()
            function(waveforms)
            times[name].append(time.perf_counter() - started)
    return {
        name: round(1e3 * statistics.median(found) / len(waveforms), 3)
        for name, found in times.items()
    }


def main(seconds=8.0):
    keep_freed_memory()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    layer = LogMelSpectrogram()
    functions = {
        "graph": compiled(layer),
        "librosa_feature": librosa_feature(layer),
        "librosa_stft": librosa_log_mel(layer),
    }
    rng = np.random.default_rng(0)
    cases = []
    for length, batch in CASES:
        shape = (batch, length * layer.sample_rate)
        waveforms = rng.uniform(-0.5, 0.5, shape).astype("float32")
        answers = {name: function(waveforms) for name, function in functions.items()}
        difference = max(
            float(np.abs(answers["graph"] - answer).max()) for answer in answers.values()
        )
        found = measure(functions, waveforms, seconds)
        cases.append(
            {
                "clip_seconds": length,
                "batch": batch,
                "ms_a_clip": found,
                "ratio": {
                    name: round(found[name] / found["graph"], 2)
                    for name in functions
                    if name != "graph"
                },
                "largest_difference": float(f"{difference:.1e}"),
            }
        )
    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "librosa")}
    report = {"threads": 1, "versions": versions, "cases": cases}
    print(json.dumps(report, indent=2))
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
