r"""Does joint training help, and what when few fine labels are observed?

Rendered polyphonic music with the `openmic` taxonomy, 2,500 clips of 5 s played by one
SoundFont to train on and 600 by another to test on; of the fine labels, 100 %, 30 % or 10 % are
observed. Three parts, each resumable:

`prepare` renders the corpora (needs FluidSynth) and computes log-mel spectrograms,
`spectrograms.npz`, and frozen features of them, `features.npz`: of each of 80 log-mel bands its
mean, standard deviation, 90 % quantile and mean absolute step from frame to frame.

    python benchmarks/label_budgets.py prepare --out DIR \
        --soundfonts FluidR3_GM.sf2 TimGM6mb.sf2 [--recordings FOLDER]

`frozen` trains every method on the frozen features, ten seeds for each budget, early stopping
on 15 % of the training clips (their labels as sparse as the rest), and reports the test clips.
`end_to_end` trains the `conv` network on spectrograms, for the cells that decide, and scores
`--recordings`, too: a folder as in `evaluate_zoo.py`, cut into pieces of 5 s that keep the
labels of their clip.

    python benchmarks/label_budgets.py frozen --out DIR --jobs 2 [--seconds S] [--record]
    python benchmarks/label_budgets.py end_to_end --out DIR --jobs 2 [--seconds S] [--record]

Which labels of a budget are observed is drawn once, for all methods and seeds. The coarse
labels follow from the fine ones that are observed: present if a child is, absent if all are.
"""

import argparse
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = Path(__file__).parent / "results"
DOCUMENT, README = ROOT / "docs" / "comparison.md", ROOT / "README.md"

CLIPS = {"train": 2500, "test": 600}
RENDERING = {"seconds": 5.0, "polyphony": (1, 6), "polyphony_decay": 0.8}


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Attributes:
        data: File of the features.
        documents: Where its table stands.
        mark: Mark of the table there.
        record: Name of its result files.
        budgets: Percentages of the fine labels.
        methods: Those that are compared.
        self_trained: Those that are self-trained too, at the smallest budget.
        variants: By name, what else is compared: arguments of a `Contender`.
        seeds: Seeds of each.
        contender: What else its contenders have in common.
        settings: How networks are trained.
    """

    data: str
    documents: tuple[Path, ...]
    mark: str
    record: str
    budgets: tuple[int, ...]
    methods: tuple[str, ...]
    self_trained: tuple[str, ...]
    variants: dict
    seeds: int
    contender: dict
    settings: dict


METHODS = ("independent", "multitask", "gmp", "f2ca", "c_hmcnn", "hmcn_f", "top_down", "chorus")
PARTS = {
    "frozen": Part(
        "features.npz",
        (DOCUMENT, README),
        "budgets",
        "label_budgets",
        (100, 30, 10),
        METHODS,
        ("gmp", "chorus"),
        {},
        10,
        {},
        {
            "units": (256,),
            "dropout": 0.5,
            "learning_rate": 1e-3,
            "batch_size": 128,
            "epochs": 100,
            "patience": 8,
            "validate_every": 2,
        },
    ),
    "end_to_end": Part(
        "spectrograms.npz",
        (DOCUMENT,),
        "end to end",
        "label_budgets_end_to_end",
        (100, 10),
        ("independent", "gmp", "f2ca"),
        (),
        # Two networks of this width have about as many weights as the one of `gmp`.
        {"independent_narrow": {"method": "independent", "backbone_options": {"width": 11}}},
        3,
        {"backbone": "conv"},
        {
            "dropout": 0.3,
            "learning_rate": 2e-3,
            "batch_size": 64,
            "epochs": 30,
            "patience": 4,
            "validate_every": 2,
        },
    ),
}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("prepare", *PARTS))
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--soundfonts", type=Path, nargs=2, help="to train and to test on")
    parser.add_argument("--recordings", type=Path, help="labelled ones, to test on as well")
    parser.add_argument("--processes", type=int, help="to render with")
    parser.add_argument("--jobs", type=int, default=1, help="trials side by side")
    parser.add_argument("--seconds", type=float, help="stop after so many, to go on later")
    parser.add_argument("--seeds", type=int, help="of each method, in place of the part's own")
    parser.add_argument("--methods", nargs="+", help="some of the methods only")
    gpu = shutil.which("nvidia-smi") is not None
    parser.add_argument("--together", type=int, default=10 if gpu else 1)
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--recorded", action="store_true", help="go on from what is recorded")
    return parser.parse_args()


def prepare(args):
    from hmic_keras import Taxonomy
    from hmic_keras.data import FeatureSet, FeatureSplits, read_clips, render_corpus

    taxonomy = Taxonomy.load("openmic")
    found = {"spectrograms": {}, "features": {}}
    for number, (part, size) in enumerate(CLIPS.items()):
        folder = args.out / "corpus" / part
        if not folder.exists():
            render_corpus(
                taxonomy,
                folder,
                clips=size,
                soundfont=args.soundfonts[number],
                seed=41 + number,
                processes=args.processes,
                **RENDERING,
            )
        clips = read_clips(folder / "labels.csv", taxonomy)
        fine = clips.labels["fine"].copy()
        # What the SoundFont cannot play is unobserved in the table, and absent in truth: the
        # renderer plays nothing that it does not name.
        fine[fine < 0] = 0
        bands = spectrograms(clips.paths)
        found["spectrograms"][part] = FeatureSet(taxonomy, bands, {"fine": fine})
        found["features"][part] = FeatureSet(taxonomy, statistics(bands), {"fine": fine})
    others = {}
    if args.recordings:
        others["recordings"] = recordings(args.recordings, taxonomy)
    FeatureSplits("rendered", **found["spectrograms"], other_tests=others).save(
        args.out / "spectrograms.npz"
    )
    FeatureSplits("rendered", **found["features"]).standardise().save(args.out / "features.npz")


def recordings(folder, taxonomy):
    """Spectrograms of the pieces of labelled recordings, as long as rendered clips."""
    import evaluate_zoo
    import numpy as np

    from hmic_keras.data import FeatureSet

    clips = evaluate_zoo.labelled_folder(folder, taxonomy)
    bands, pieces = [], []
    for path in clips.paths:
        found = spectrograms([path], pieces_of=RENDERING["seconds"])
        bands.append(found)
        pieces.append(len(found))
    labels = {level: np.repeat(y, pieces, axis=0) for level, y in clips.labels.items()}
    return FeatureSet(taxonomy, np.concatenate(bands), labels)


def spectrograms(paths, pieces_of=None):
    """Log-mel spectrograms `(n, frames, 80)` of clips, or of pieces of them, in seconds."""
    import numpy as np

    from hmic_keras.config import AudioConfig
    from hmic_keras.data import load_audio
    from hmic_keras.layers import LogMelSpectrogram

    front = LogMelSpectrogram(**AudioConfig().to_dict())
    rows = []
    started = time.time()
    for start in range(0, len(paths), 25):
        batch = np.stack([load_audio(path) for path in paths[start : start + 25]])
        if pieces_of is not None:
            frames = round(pieces_of * AudioConfig().sample_rate)
            whole = batch.shape[1] // frames * frames
            batch = batch[:, :whole].reshape(-1, frames)
        rows.append(np.asarray(front(batch)))
        print(
            f"{start + len(batch)}/{len(paths)} clips, {time.time() - started:.0f} s",
            flush=True,
        )
    return np.concatenate(rows)


def statistics(bands):
    """Frozen features of spectrograms, `(clips, 320)`."""
    import numpy as np

    steps = np.abs(np.diff(bands, axis=1)).mean(axis=1)
    high = np.quantile(bands, 0.9, axis=1)
    return np.concatenate([bands.mean(axis=1), bands.std(axis=1), high, steps], axis=1)


def with_budget(splits, percent):
    """The set with that share of the fine labels of training clips observed."""
    import numpy as np

    from hmic_keras.data import FeatureSet

    fine = splits.train.labels["fine"].copy()
    hidden = np.random.default_rng(percent).random(fine.shape) >= percent / 100
    fine[hidden] = -1
    train = FeatureSet(splits.taxonomy, splits.train.features, {"fine": fine})
    return replace(splits, name=f"rendered_{percent}", train=train)


def contenders(percent, part, args):
    """Who is compared at a budget; at the smallest one with self-training, too."""
    from hmic_keras.evaluation import Contender

    methods = args.methods or (*part.methods, *part.variants)
    found = [
        Contender(
            **{"method": name, **part.variants.get(name, {})}, name=name, **part.contender
        )
        for name in methods
    ]
    if percent == min(part.budgets):
        found += [
            Contender(method, f"{method}_self_trained", self_training={}, **part.contender)
            for method in part.self_trained
            if method in methods
        ]
    return found


def run(args):
    import recorded_trials

    from hmic_keras.data import FeatureSplits
    from hmic_keras.evaluation import TrialSettings
    from hmic_keras.evaluation._compare import collect, make_plan, open_units
    from hmic_keras.evaluation._trials import Deadline, Protocol, run_units

    part = PARTS[args.part]
    seeds = range(args.seeds or part.seeds)
    trials = RESULTS / f"{part.record}_trials.json"
    splits = FeatureSplits.load(args.out / part.data)
    if args.recorded:
        recorded_trials.unpack(trials, args.out)
    deadline = Deadline.after(args.seconds)
    protocol = Protocol(TrialSettings(**part.settings), "map")
    plans = {}
    for percent in part.budgets:
        data = with_budget(splits, percent)
        folder = args.out / args.part / str(percent)
        plans[percent] = (data, make_plan(data, folder, protocol, deadline))
    units = [
        unit
        for percent, (_, plan) in plans.items()
        for unit in open_units(plan, contenders(percent, part, args), seeds, args.together)
    ]
    started = time.time()

    def progress(done, total):
        print(f"{done}/{total} trials, {time.time() - started:.0f} s", flush=True)

    in_time = not units or run_units(units, args.jobs, progress)
    if args.record:
        recorded_trials.pack(args.out, [f"{args.part}/*/trials/*/seed*.json"], trials)
    if not in_time:
        raise SystemExit("The time is over; the same command goes on.")
    found = {
        percent: collect(plan, data, contenders(percent, part, args), seeds)
        for percent, (data, plan) in plans.items()
    }
    for percent, comparison in found.items():
        comparison.write(args.out / args.part / str(percent))
    report = {
        "train_clips": len(splits.train),
        "test_clips": len(splits.test),
        **{f"test_{name}": len(rows) for name, rows in splits.other_tests.items()},
        "settings": part.settings,
        **part.contender,
        "seeds": len(seeds),
        "budgets": {str(percent): summary(one) for percent, one in found.items()},
        "versions": {name: metadata.version(name) for name in ("keras", "numpy", "scipy")},
    }
    show(report)
    (args.out / f"{args.part}.json").write_text(json.dumps(report, indent=2) + "\n")
    if args.record:
        import documents

        for document in part.documents:
            documents.put(document, part.mark, documents.table(rows(report)))
        (RESULTS / f"{part.record}.json").write_text(json.dumps(report, indent=2) + "\n")


MEASURES = ("map.fine", "map.coarse", "hierarchical_f", "violation_rate")


def summary(comparison):
    """Means with intervals, and every method against every other, by measure."""
    found = {}
    for measure in comparison.measures:
        if measure.rpartition(":")[2] not in MEASURES:
            continue
        tests = [
            {k: v if isinstance(v, str) else round(v, 5) for k, v in row.items()}
            for row in comparison.tests(measure)
        ]
        found[measure] = {
            "mean_low_high": {
                name: [round(value, 4) for value in row]
                for name, row in comparison.summary(measure).items()
            },
            "tests": tests,
        }
    return found


def show(report):
    for row in rows(report):
        print(" | ".join(row))


def rows(report):
    """Fine and coarse mAP by test and budget, half the 95 % interval behind."""
    budgets = report["budgets"]
    first = next(iter(budgets.values()))
    tests = [measure.removesuffix("map.fine") for measure in first if "map.fine" in measure]
    columns = [(test, percent) for test in tests for percent in budgets]
    head = [
        ", ".join([f"{percent} %", test.strip(":")][: 1 + bool(test)])
        for test, percent in columns
    ]
    found = [["mAP, fine / coarse", *head]]
    for name in dict.fromkeys(n for budget in budgets.values() for n in names(budget)):
        cells = []
        for test, percent in columns:
            parts = []
            for level in ("fine", "coarse"):
                means = budgets[percent][f"{test}map.{level}"]["mean_low_high"]
                if name in means:
                    mean, low, high = means[name]
                    parts.append(f"{mean:.3f} ± {(high - low) / 2:.3f}")
            cells.append(" / ".join(parts))
        found.append([f"`{name}`", *cells])
    return found


def names(found):
    return list(found["map.fine"]["mean_low_high"])


def main():
    args = arguments()
    (prepare if args.part == "prepare" else run)(args)


if __name__ == "__main__":
    main()
