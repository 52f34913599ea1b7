"""Scores models on the test sets of the model zoo: rendered and real recordings.

    python benchmarks/evaluate_zoo.py MODEL... [--sets FOLDER] [--real FOLDER] [--corrupted]
        [--whole-range] [--json FILE]

`MODEL` is a zoo name, a `.keras` file or an exported folder. The rendered set is made on first
use in `--sets`: 1,000 clips of 10 s of the model's taxonomy from TimGM6mb, a SoundFont that no
model was trained on. It has neither ukulele nor mandolin. `--real` names a folder of real
recordings: `labels.csv` with a column `clip` (files in `audio/`) or `path`, and a column for
each class. A class that occurs in none of its clips is left out of the means.
`--corrupted` adds the rendered clips once more, as bad recordings of themselves, and
`--whole-range` as many in which instruments play high and low as often as in the middle.

Prints macro mAP and calibration error by level and average precision by class. With `--json`,
writes everything measured (of the last model) to a file.
"""

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

SOUNDFONT = "/usr/share/sounds/sf2/TimGM6mb.sf2"
CLIPS, SEED = 1000, 600
RESAMPLES = 1000  # of the clips, behind each interval
CORRUPTION = {
    "host": {
        "speed": {"factor": [0.94, 1.06], "probability": 0.5},
        "codec": {"quality": [0.0, 0.3], "probability": 0.5},
    },
    "waveform": {
        "gain": {},
        "clipping": {"probability": 0.3},
        "equalizer": {"gain_db": 9.0, "probability": 1.0},
        "reverb": {"probability": 0.6},
        "band_limit": {"probability": 0.5},
        "noise": {"snr_db": [5.0, 30.0], "probability": 0.7},
    },
}
SCRATCH = Path(tempfile.gettempdir()) / "hmic-test-sets"


def rendered_set(folder: Path, taxonomy, soundfont: str, whole_range: bool = False):
    """Returns the clips of TimGM6mb for a taxonomy, rendering them if they are not there."""
    import numpy as np

    from hmic_keras.data.sources.folder import LabelledClips, read_clips
    from hmic_keras.data.synthesis import render_corpus

    place = folder / f"timgm6mb-{taxonomy.name}{'-whole-range' if whole_range else ''}"
    if not (place / "labels.csv").is_file():
        render_corpus(
            taxonomy,
            place,
            clips=CLIPS,
            soundfont=soundfont,
            seed=SEED,
            format="flac",
            whole_range=whole_range,
        )
    clips = read_clips(place / "labels.csv", taxonomy)
    finest = taxonomy.levels[0]
    # What the SoundFont cannot play is unobserved, so that nobody learns its absence. Here
    # nothing else than the other classes plays, so it is absent, and its family is known.
    labels = {finest: np.maximum(clips.labels[finest], 0)}
    return LabelledClips(taxonomy, clips.paths, labels)


def labelled_folder(folder: Path, taxonomy):
    """Returns the clips of a folder with `labels.csv`, named by `path` or by `clip`."""
    import numpy as np

    from hmic_keras.data.sources.folder import LabelledClips, read_clips

    table = folder / "labels.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    if "path" in rows[0]:
        return read_clips(table, taxonomy)
    paths = []
    for row in rows:
        (path,) = (folder / "audio").glob(f"{row['clip']}.*")
        paths.append(path)
    finest = taxonomy.levels[0]
    labels = [[float(row[name]) for name in taxonomy.classes(finest)] for row in rows]
    return LabelledClips(taxonomy, tuple(paths), {finest: np.array(labels)})


def joint(names, weights=None, name="hmic_ensemble"):
    """Returns a model in float32; of several, one that answers by the mean of their logits."""
    from hmic_keras import ensemble, load_model
    from hmic_keras.export.precision import as_float32

    models = [as_float32(load_model(each)) for each in names]
    return models[0] if len(models) == 1 else ensemble(models, weights=weights, name=name)


def add_sets(parser) -> None:
    """Adds the options that say which test sets there are."""
    parser.add_argument("--sets", type=Path, default=SCRATCH, help="where rendered sets lie")
    parser.add_argument("--soundfont", default=SOUNDFONT)
    parser.add_argument("--real", type=Path, help="folder of labelled recordings")
    parser.add_argument("--corrupted", action="store_true", help="also bad copies of the clips")
    parser.add_argument(
        "--whole-range",
        action="store_true",
        help="also clips in which all registers are played",
    )


def test_sets(taxonomy, arguments) -> dict:
    """Returns the labelled clips of each test set that was asked for."""
    sets = {"timgm6mb": rendered_set(arguments.sets, taxonomy, arguments.soundfont)}
    if arguments.corrupted:
        place = arguments.sets / f"timgm6mb-{taxonomy.name}-corrupted"
        sets["corrupted"] = corrupted(sets["timgm6mb"], place)
    if arguments.whole_range:
        sets["whole_range"] = rendered_set(
            arguments.sets, taxonomy, arguments.soundfont, whole_range=True
        )
    if arguments.real is not None:
        sets["real"] = labelled_folder(arguments.real, taxonomy)
    return sets


def corrupted(clips, folder: Path, seed: int = 0):
    """Returns the clips as bad recordings of themselves, made on first use.

    Coloured, clipped, in rooms, band-limited, noisy, at another speed and badly encoded: a
    stand-in for the gap between rendered and real that needs no recordings.
    """
    import numpy as np
    import soundfile

    from hmic_keras.data import HostAugmentation, load_audio
    from hmic_keras.data.sources.folder import LabelledClips
    from hmic_keras.layers import Augmentation

    changed_clips = LabelledClips(
        clips.taxonomy,
        tuple(folder / f"{index:05d}.flac" for index in range(len(clips))),
        clips.labels,
    )
    if all(path.is_file() for path in changed_clips.paths):
        return changed_clips
    on_host = HostAugmentation(**CORRUPTION["host"])
    device = Augmentation.from_spec({"waveform": CORRUPTION["waveform"]}, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index, (source, path) in enumerate(zip(clips.paths, changed_clips.paths, strict=True)):
        # Drawn whether it is there or not, so that a clip is the same after a pause.
        rng = np.random.default_rng([seed, index])
        waveform = on_host(load_audio(source), rng)
        (changed, _) = device((waveform[np.newaxis], {}), training=True)
        if not path.is_file():
            soundfile.write(path, np.asarray(changed)[0], 16000, subtype="PCM_16")
    return changed_clips


def score(model: str, sets: dict) -> dict:
    """Returns what `metrics.evaluate` finds on each set, and how long it took."""
    from hmic_keras import Predictor, evaluation

    predictor = Predictor(model)
    found = {}
    for name, clips in sets.items():
        started = time.perf_counter()
        results = evaluation.evaluate(predictor, clips).results
        found[name] = {**results, "seconds": round(time.perf_counter() - started, 1)}
    return found


def precisions(scores: dict) -> dict:
    """Returns of what `score` found the mean and the average precision by class."""
    return {
        test: {
            level: {
                "map": one["map"],
                "ap": {tag: row["ap"] for tag, row in one["per_class"].items()},
            }
            for level, one in result["levels"].items()
        }
        for test, result in scores.items()
    }


def probabilities(model, sets: dict) -> dict:
    """Returns a model's scores of the clips of each set, by level."""
    from hmic_keras import Predictor, evaluation

    predictor = Predictor(model)
    return {name: evaluation.predict_clips(predictor, clips) for name, clips in sets.items()}


def precisions_of(sets: dict, scores: dict) -> dict:
    """Returns what `precisions` does, from what `probabilities` found."""
    from hmic_keras import metrics

    return precisions(
        {
            name: metrics.evaluate(clips.taxonomy, clips.labels, scores[name])
            for name, clips in sets.items()
        }
    )


def lead(clips, ours: dict, theirs: dict) -> dict:
    """Returns by level how far one model's mAP is above another's on the same clips.

    The interval holds 90 % of the differences of clips drawn with replacement; it says what
    other clips might change, not what another seed of the training might.
    """
    import numpy as np

    from hmic_keras.metrics import mean_average_precision

    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(clips), (RESAMPLES, len(clips)))
    found = {}
    for level, labels in clips.labels.items():

        def difference(rows, labels=labels, level=level) -> float:
            mine, other = (
                mean_average_precision(labels[rows], one[level][rows]) for one in (ours, theirs)
            )
            return mine - other

        low, high = np.quantile([difference(rows) for rows in draws], [0.05, 0.95])
        every = difference(np.arange(len(clips)))
        found[level] = {
            "map": round(every, 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
        }
    return found


def points(lead: dict) -> str:
    """Returns a lead and its interval in points, as a cell of a table."""
    low, high = (100 * end for end in lead["interval"])
    return f"{100 * lead['map']:+.1f} ({low:+.1f} to {high:+.1f})"


def maps(test: dict) -> str:
    """Returns the means of all levels of a test, as a cell of a table."""
    return " / ".join(f"{one['map']:.3f}" for one in test.values())


def show(model: str, results: dict) -> None:
    """Prints a line for each set and level, then average precision by class."""
    for name, result in results.items():
        for level, scores in result["levels"].items():
            print(
                f"{model}  {name:<10}{level:<8} mAP {scores['map']:.3f} "
                f"(chance {scores['map_baseline']:.3f})  ROC-AUC {scores['roc_auc']:.3f}  "
                f"F1 {scores['f1']:.3f}  ECE {scores['calibration_error']:.3f} "
                f"(micro {scores['calibration_error_micro']:.3f})"
            )
        print(f"{model}  {name:<10}violations {result['violation_rate']:.4f}")
    levels = next(iter(results.values()))["levels"]
    for level, scores in levels.items():
        print(f"\n{level:<20}" + "".join(f"{name:>12}" for name in results))
        for tag in scores["per_class"]:
            values = (
                result["levels"][level]["per_class"][tag]["ap"] for result in results.values()
            )
            print(
                f"{tag:<20}"
                + "".join("           -" if v is None else f"{v:>12.3f}" for v in values)
            )
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--json", type=Path, help="file for everything measured")
    add_sets(parser)
    arguments = parser.parse_args()
    from hmic_keras import Predictor
    from hmic_keras._files import write_json

    for model in arguments.models:
        results = score(model, test_sets(Predictor(model).taxonomy, arguments))
        show(model, results)
        if arguments.json is not None:
            write_json(arguments.json, {"model": model, "tests": results})


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from hmic_keras.cli._terminal import keep_freed_memory

    keep_freed_memory()
    main()
