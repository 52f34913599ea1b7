"""Times rendering: clips of ten seconds, at 16 kHz, that one core makes in a second.

Renders the same seeds with every SoundFont found, in this process, after a first clip of each
class has read the samples; takes processor time, so that a busy machine matters less. Prints
and writes `benchmarks/results/rendering.json`: clips a second in each format, the share of a
clip's time that synthesis, mixing and encoding take, and the seconds to open the SoundFont.
The goal is more than 5 clips a second in Ogg Vorbis.

    python benchmarks/rendering.py [number of clips]
"""

import json
import platform
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from hmic_keras.data.synthesis import _corpus, _plan, _settings, _soundfont, _studio
from hmic_keras.data.synthesis._fluidsynth import PartPlayer, fluidsynth_version
from hmic_keras.data.synthesis._general_midi import instruments_of
from hmic_keras.taxonomy import Taxonomy

RESULTS = Path(__file__).parent / "results" / "rendering.json"
FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts")
NAMES = (
    "TimGM6mb.sf2",
    "FluidR3_GM.sf2",
    "MuseScore_General_Full.sf3",
    "MuseScore_General.sf3",
)
SECONDS = 10.0


def soundfonts():
    found = {}
    for name in NAMES:
        for path in (Path(folder, name) for folder in FOLDERS):
            if path.is_file():
                found.setdefault(path.resolve(), path)
    return list(found.values())


def studio(font, folder, kind):
    taxonomy = Taxonomy.load("openmic")
    settings = _settings.Settings(
        classes=taxonomy.classes("fine"),
        seconds=SECONDS,
        sample_rate=16_000,
        seed=0,
        polyphony=(1, 6),
        polyphony_decay=1.0,
        empty=0.0,
        channels=1,
        stems=False,
        format=kind,
        quality=0.4,
    )
    players = _corpus._players(settings, instruments_of(taxonomy), font)
    commission = _studio.Commission(settings, players, font, (), folder)
    return _studio.Studio(commission), settings, players


def timed(spent, name, function):
    def call(*arguments, **options):
        started = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            spent[name] += time.process_time() - started

    return call


def measure(path, clips):
    font = _soundfont.read_soundfont(path)
    report = {}
    for kind in ("ogg", "wav"):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "clips").mkdir()
            started = time.process_time()
            maker, settings, players = studio(font, Path(folder), kind)
            opened = time.process_time() - started
            jobs = list(_plan.plan(settings, players, clips, from_midi=False))
            for job in jobs:
                maker.clip(job)  # reads the samples of every preset that will play
            spent = defaultdict(float)
            maker._write = timed(spent, "encoding", maker._write)
            plain = PartPlayer.render, _studio.mix
            PartPlayer.render = timed(spent, "synthesis", plain[0])
            _studio.mix = timed(spent, "mixing", plain[1])
            started = time.process_time()
            for job in jobs:
                maker.clip(job)
            total = time.process_time() - started
            PartPlayer.render, _studio.mix = plain
            maker.close()
        report[f"{kind}_clips_a_second"] = round(clips / total, 2)
        report[f"{kind}_shares"] = {name: round(s / total, 2) for name, s in spent.items()}
        report.setdefault("open_seconds", round(opened, 2))
    return report


def main(clips=60):
    report = {
        "python": platform.python_version(),
        "fluidsynth": fluidsynth_version(),
        "clips": clips,
        "seconds_a_clip": SECONDS,
        "soundfonts": {path.name: measure(path, clips) for path in soundfonts()},
    }
    print(json.dumps(report, indent=2))
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
