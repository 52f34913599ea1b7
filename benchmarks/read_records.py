"""Reading random crops of 5 s at 16 kHz: records against librosa and Python, on the same files.

Synthesises stereo files of 10 s, Vorbis at 44.1 kHz (as data sets are published), and mono WAV
files at 16 kHz (librosa's best case: nothing to decode or resample), prepares both, and reads
batches of 32 crops

- from records, by `make_dataset` with one call at a time (`records`);
- with `librosa.load` of the whole file, then a crop (`librosa_file`);
- with `librosa.load` of the crop alone, by `offset` and `duration` (`librosa_crop`).

All in turn in one process, so that a busy moment of the machine hits all of them. The files
are in the operating system's cache. The goal is 20 times the faster of the two librosa
loaders on the Vorbis files.

    python benchmarks/read_records.py [--files 64] [--rounds 5]

Prints the figures as JSON and writes them to `benchmarks/results/read_records.json`.
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

import librosa
import numpy as np
import soundfile

from hmic_keras import Taxonomy
from hmic_keras.data import LabelledClips, make_dataset, prepare_clips

SECONDS, CROP, RATE, BATCH = 10.0, 5.0, 16000, 32
KINDS = {"vorbis_44100_stereo": ("ogg", 44100, 2), "wav_16000_mono": ("wav", RATE, 1)}
GOAL = 20.0
RESULT = Path(__file__).parent / "results" / "read_records.json"


def synthesise(path, rate, channels, random):
    """Writes a chord of decaying notes with some noise: dense enough to be worth decoding."""
    time_axis = np.arange(round(SECONDS * rate)) / rate
    sound = 0.02 * random.standard_normal((len(time_axis), channels))
    for pitch in random.uniform(80, 1500, 5):
        decay = np.exp(-((time_axis - random.uniform(0, 8)) ** 2))
        for harmonic in range(1, 5):
            wave = np.sin(2 * np.pi * harmonic * pitch * time_axis) * decay / harmonic
            sound += 0.05 * wave[:, np.newaxis] * random.uniform(0.5, 1, channels)
    with soundfile.SoundFile(path, "w", rate, channels) as stream:
        for start in range(0, len(sound), rate):
            stream.write(sound[start : start + rate])


def batches_of(crop, files, random):
    """Batches of crops that a Python function loads, as a hand-written loader makes them."""
    while True:
        yield np.stack([crop(path, random) for path in random.choice(files, BATCH)])


def from_file(path, random):
    waveform, _ = librosa.load(path, sr=RATE, mono=True)
    start = random.integers(len(waveform) - round(CROP * RATE) + 1)
    return waveform[start : start + round(CROP * RATE)]


def from_crop(path, random):
    offset = random.uniform(0, SECONDS - CROP)
    waveform, _ = librosa.load(path, sr=RATE, mono=True, offset=offset, duration=CROP)
    return waveform[: round(CROP * RATE)]


def crops_a_second(batches, count):
    started = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * BATCH / (time.perf_counter() - started)


def measure(files, folder, rounds):
    taxonomy = Taxonomy.load("openmic")
    labels = np.zeros((len(files), 20), np.float32)
    started = time.perf_counter()
    clips = prepare_clips(LabelledClips(taxonomy, files, {"fine": labels}), folder, processes=1)
    prepared = time.perf_counter() - started
    dataset = make_dataset(
        clips, crop_seconds=CROP, batch_size=BATCH, training=True, num_parallel_calls=1
    )
    random = np.random.default_rng(0)
    sources = {
        "records": (iter(dataset.repeat().as_numpy_iterator()), 40),
        "librosa_file": (batches_of(from_file, files, random), 1),
        "librosa_crop": (batches_of(from_crop, files, random), 1),
    }
    found = {name: [] for name in sources}
    for turn in range(rounds + 1):
        for name, (batches, count) in sources.items():
            rate = crops_a_second(batches, count)
            if turn:  # the first round warms up
                found[name].append(rate)
    rates = {name: statistics.median(values) for name, values in found.items()}
    librosa_best = max(rates["librosa_file"], rates["librosa_crop"])
    return {
        "crops_a_second": {name: round(rate, 1) for name, rate in rates.items()},
        "times_the_faster_librosa_loader": round(rates["records"] / librosa_best, 1),
        "times_librosa_file": round(rates["records"] / rates["librosa_file"], 1),
        "seconds_to_prepare_a_clip": round(prepared / len(files), 4),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    report = {
        "clip_seconds": SECONDS,
        "crop_seconds": CROP,
        "batch": BATCH,
        "files": arguments.files,
        "rounds": arguments.rounds,
        "goal": GOAL,
        "device": f"CPU, {os.cpu_count()} cores, {platform.machine()}",
        "versions": {"librosa": librosa.__version__, "numpy": np.__version__},
        "results": {},
    }
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for kind, (suffix, rate, channels) in KINDS.items():
            place = Path(folder, kind)
            place.mkdir()
            files = tuple(place / f"{i:03d}.{suffix}" for i in range(arguments.files))
            for path in files:
                synthesise(path, rate, channels, random)
            records = Path(folder, f"{kind}-records")
            report["results"][kind] = measure(files, records, arguments.rounds)
    reached = report["results"]["vorbis_44100_stereo"]["times_the_faster_librosa_loader"]
    report["goal_reached"] = reached >= GOAL
    print(json.dumps(report, indent=2))
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
