"""The whole journey: your own instruments, checked, learned, measured, and on a phone.

Run it from any folder: `python finetune_custom_taxonomy.py`. It makes recordings of three
instruments that no model of the package knows, twelve of each, in `recordings/` and writes
`mine.yaml`; then it fine-tunes a model and asks its phone file about new recordings. With the
word `make` it stops after the recordings, for the commands of docs/own-taxonomy.md.
Takes about a minute on two cores.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile

import hmic_keras as hk
from hmic_keras.fine_tuning import fine_tune

RATE = 22050  # recordings may have any rate
TAXONOMY = {"plucked_idiophones": ["thumb_piano"], "drones": ["bagpipe", "singing_bowl"]}
BASE = "hmic-mobile"


def thumb_piano(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A melody on tines: a short tone, and two overtones far from harmonic."""
    sound = np.zeros(round(seconds * RATE))
    for onset in np.arange(0, seconds - 0.3, rng.uniform(0.15, 0.3)):
        time = np.arange(len(sound) - round(onset * RATE)) / RATE
        pitch = rng.choice([262, 294, 330, 392, 440, 523]) * rng.uniform(0.99, 1.01)
        for ratio, level, decay in ((1, 1.0, 5), (5.4, 0.3, 20), (13.3, 0.1, 40)):
            tone = level * np.exp(-decay * time) * np.sin(2 * np.pi * ratio * pitch * time)
            sound[-len(time) :] += tone
    return sound


def bagpipe(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A chanter over a drone: rich, steady tones without a gap between notes."""
    time = np.arange(round(seconds * RATE)) / RATE
    base = rng.uniform(110, 125)
    steps = rng.choice([8, 9, 10, 32 / 3, 12, 40 / 3], size=64)
    pitch = base / 2 * steps[(time / rng.uniform(0.2, 0.4)).astype(int)]
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    chanter = sum(np.sin(n * phase) / n**0.7 for n in range(1, 9))
    drone = sum(np.sin(2 * np.pi * n * base * time) / n**0.8 for n in range(1, 12))
    return chanter + 0.6 * drone


def singing_bowl(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A bowl struck once or twice: slowly beating partials that last."""
    time = np.arange(round(seconds * RATE)) / RATE
    sound = np.zeros(len(time))
    pitch = rng.uniform(150, 400)
    for strike in rng.uniform(0, seconds / 2, rng.integers(1, 3)):
        since = np.maximum(time - strike, 0)
        for ratio, decay in ((1, 0.4), (2.71, 0.7), (5.04, 1.3), (7.8, 2.2)):
            beat = 1 + 0.5 * np.cos(2 * np.pi * rng.uniform(1, 4) * since)
            tone = beat * np.exp(-decay * since) * np.sin(2 * np.pi * ratio * pitch * since)
            sound += tone * (time >= strike) / ratio**0.8
    return sound


PLAYERS = {"thumb_piano": thumb_piano, "bagpipe": bagpipe, "singing_bowl": singing_bowl}


def record(folder: Path, count: int, seed: int) -> None:
    """Writes recordings with some noise at a level of their own: `folder/<class>/<n>.wav`."""
    for number, (name, play) in enumerate(PLAYERS.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for take in range(count):
            rng = np.random.default_rng([seed, number, take])
            sound = play(rng, rng.uniform(3.0, 6.0))
            sound *= rng.uniform(0.1, 0.9) / np.abs(sound).max()
            sound += 10 ** rng.uniform(-4, -2) * rng.normal(size=len(sound))
            soundfile.write(folder / name / f"{take:02d}.wav", np.clip(sound, -1, 1), RATE)


def main(only_make: bool = False) -> None:
    taxonomy = hk.Taxonomy.from_dict(TAXONOMY, name="mine")
    taxonomy.save("mine.yaml")
    record(Path("recordings"), 12, seed=0)
    record(Path("test"), 4, seed=1)
    if only_make:
        return

    result = fine_tune(BASE, taxonomy, "recordings", test="test", out="mine")
    report = result.report.results
    for finding in report["labels"]["findings"]:
        print(f"{finding['severity']}: {finding['message']}")
    for name, row in report["levels"]["fine"]["per_class"].items():
        ap = row["ap"]
        print(f"{name}: average precision {ap['value']:.2f} ({ap['low']:.2f}-{ap['high']:.2f})")
    print(f"test clips: mAP {report['test']['levels']['fine']['map']:.3f}")
    print(f"{report['cost']['total_seconds']:.0f} s; read mine/report.html")

    phone = hk.Predictor("mine", format="tflite")
    for name in PLAYERS:
        print(f"test/{name}/00.wav: {phone.predict(f'test/{name}/00.wav').top('fine', 1)}")


if __name__ == "__main__":
    main("make" in sys.argv[1:])
