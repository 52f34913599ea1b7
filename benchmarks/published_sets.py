"""Runs our methods on the published hierarchical multi-label sets, beside published scores.

The ARFF files accompany https://github.com/EGiunchiglia/C-HMCNN (folder `HMC_data`); they are
not part of this repository. For each set and method:

1. Search. Every method is given the same `GRID` of settings. Each is trained on 70 % of the
   training part (or on `train` where the set has a `valid`) until AU(PRC) on the rest, looked
   at after every second epoch, has not risen for 5 looks. The best settings, and the number of
   epochs until their best look, are kept in `hyperparameters.json`. The test part is not looked
   at. Logistic regression has as many choices, of its penalty.
2. Final. With these, and for that number of epochs, ten seeds are trained on all of the
   training part and scored on the test part: AU(PRC), average precision over all pairs of an
   example and a class, root left out.

Every finished trial is a file under `--out`; the command goes on where it stopped, and stops
by itself after `--seconds`. On JAX it needs no TensorFlow, and `--together` seeds are trained
in one program, which is what a GPU wants:

    KERAS_BACKEND=jax python benchmarks/published_sets.py --data HMC_data --out runs --jobs 4

`--hyperparameters FILE` repeats the final trials without a search. `--record` writes the
summary to `benchmarks/results/`, and all finished trials to `published_sets_trials.json` there,
from which a later call with `--recorded` goes on.
"""

import argparse
import json
import os
import shutil
import sys
import time
import traceback
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Several processes may share one GPU.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = Path(__file__).parent / "results"
TRIALS = RESULTS / "published_sets_trials.json"
DOCUMENTS = (ROOT / "docs" / "comparison.md", ROOT / "README.md")

SETS = ("imclef07a", "imclef07d", "diatoms", "enron")
BASELINE = "logistic_regression"
FINAL_SEEDS, SEARCH_SHARE = 10, 0.3
EPOCHS, PATIENCE, EVERY = 200, 5, 2
SETTINGS = {"level_weights": "classes", "weight_decay": 1e-4}
BATCH = {"imclef07a": 256, "imclef07d": 256}  # ten thousand examples; 64 elsewhere
GRID = [
    {"units": (256, 256), "dropout": 0.3, "learning_rate": 1e-3},
    {"units": (512, 512), "dropout": 0.5, "learning_rate": 1e-3, "weight_decay": 0.1},
    {"units": (512, 512), "dropout": 0.5, "learning_rate": 5e-4, "weight_decay": 0.1},
    # First weights about as small as those of the published code.
    {
        "units": (512, 512),
        "dropout": 0.5,
        "learning_rate": 5e-4,
        "weight_decay": 0.1,
        "backbone_options": {"initial_scale": 1 / 3},
    },
]
# Labels may end at an inner class, so it needs a score beside what its children say.
OPTIONS = {method: {"own_scores": True} for method in ("chorus", "f2ca", "gmp")}
PENALTIES = [{"C": c} for c in (0.003, 0.03, 0.3)]

# AU(PRC) as published. C-HMCNN: README of its repository, means of ten runs. The others, as
# transcribed by others, not checked against the paper itself:
# Wehrmann, Cerri and Barros, "Hierarchical multi-label classification networks", ICML 2018,
# table of results, which has no HMC-LMLP on these sets.
PUBLISHED = {
    "imclef07a": {"C-HMCNN": 0.956, "HMCN-F": 0.950, "HMCN-R": 0.904, "Clus-Ens": 0.777},
    "imclef07d": {"C-HMCNN": 0.927, "HMCN-F": 0.920, "HMCN-R": 0.897, "Clus-Ens": 0.863},
    "diatoms": {"C-HMCNN": 0.758, "HMCN-F": 0.530, "HMCN-R": 0.514, "Clus-Ens": 0.379},
    "enron": {"C-HMCNN": 0.756, "HMCN-F": 0.724, "HMCN-R": 0.710, "Clus-Ens": 0.681},
    "cellcycle_FUN": {"C-HMCNN": 0.255, "HMCN-F": 0.252, "HMCN-R": 0.247, "Clus-Ens": 0.227},
    "cellcycle_GO": {"C-HMCNN": 0.413, "HMCN-F": 0.400, "HMCN-R": 0.395, "Clus-Ens": 0.387},
}


def arguments():
    from hmic_keras.heads import HEADS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with the ARFF files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trials")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--methods", nargs="+", default=[BASELINE, *sorted(HEADS)])
    parser.add_argument("--seeds", type=int, default=FINAL_SEEDS)
    parser.add_argument("--search-seeds", type=int, default=1)
    parser.add_argument("--configs", type=int, default=len(GRID), help="of the grid, so many")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="the most in the search")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--seconds", type=float, help="stop after so many, to go on later")
    gpu = shutil.which("nvidia-smi") is not None
    parser.add_argument("--together", type=int, default=10 if gpu else 1)
    parser.add_argument("--hyperparameters", type=Path, help="of an earlier search")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results/")
    parser.add_argument("--recorded", action="store_true", help="go on from what is recorded")
    return parser.parse_args()


def read(name, args):
    """The standardised set, and the same with its training part split for the search."""
    from hmic_keras.data import FeatureSplits
    from hmic_keras.data.sources.hierarchical_arff import read_published

    cache = args.out / "sets" / f"{name}.npz"
    if not cache.exists():
        read_published(name, args.data).standardise().save(cache)
    whole = FeatureSplits.load(cache)
    rest, held = (whole.train, whole.valid) if whole.valid else split(whole.train)
    return whole, FeatureSplits(name, train=rest, valid=held, test=held)


def split(rows):
    import numpy as np

    order = np.random.default_rng(0).permutation(len(rows))
    held = round(SEARCH_SHARE * len(rows))
    return rows.subset(np.sort(order[held:])), rows.subset(np.sort(order[:held]))


def candidates(method, args):
    """What the search tries for a method, by name."""
    from hmic_keras.evaluation import Contender

    if method == BASELINE:
        return [
            Contender(method, f"{method}-{i}", options=options)
            for i, options in enumerate(PENALTIES[: args.configs])
        ]
    return [
        Contender(
            method,
            f"{method}-{i}",
            OPTIONS.get(method, {}),
            backbone_options=one.get("backbone_options", {}),
            settings={key: value for key, value in one.items() if key != "backbone_options"},
        )
        for i, one in enumerate(GRID[: args.configs])
    ]


def settings_of(name):
    """What is the same for every network on a set."""
    return {**SETTINGS, "batch_size": BATCH.get(name, 64)}


class Search:
    """The search on one set."""

    def __init__(self, name, splits, args, deadline):
        from hmic_keras.evaluation import TrialSettings
        from hmic_keras.evaluation._compare import make_plan
        from hmic_keras.evaluation._trials import Protocol

        settings = TrialSettings(
            epochs=args.epochs, patience=PATIENCE, validate_every=EVERY, **settings_of(name)
        )
        protocol = Protocol(settings, "au_prc", refit=False)
        self.name, self.args = name, args
        self.plan = make_plan(splits, args.out / "search" / name, protocol, deadline)

    def seeds(self, contender):
        """As many for each contender."""
        return range(self.args.search_seeds)

    def units(self):
        """What is still to be run."""
        from hmic_keras.evaluation._compare import open_units

        return [
            unit
            for method in self.args.methods
            for one in candidates(method, self.args)
            for unit in open_units(self.plan, [one], self.seeds(one), self.args.together)
        ]

    def finished(self, method):
        """Whether all of the grid was trained."""
        return all(
            self.plan.read(one, seed)
            for one in candidates(method, self.args)
            for seed in self.seeds(one)
        )

    def choice(self, method):
        """The best of the grid: settings, epochs, and the AU(PRC) that says so."""
        rows = []
        for one in candidates(method, self.args):
            trials = [self.plan.read(one, seed) for seed in self.seeds(one)]
            score = sum(trial["au_prc"] for trial in trials) / len(trials)
            epochs = sum(trial.get("epochs", 0) for trial in trials) / len(trials)
            rows.append((score, one, max(1, round(epochs))))
        score, best, epochs = max(rows, key=lambda row: row[0])
        found = {"method": method, "validation": round(score, 4)}
        if best.is_baseline:
            return {**found, "options": dict(best.options)}
        settings = {**best.settings, "epochs": epochs, "patience": 0}
        return {**found, "settings": settings, "backbone_options": dict(best.backbone_options)}


def final(name, splits, chosen, args, deadline):
    """The plan and contenders of the final trials on one set."""
    from hmic_keras.evaluation import Contender, TrialSettings
    from hmic_keras.evaluation._compare import make_plan
    from hmic_keras.evaluation._trials import Protocol

    protocol = Protocol(TrialSettings(**settings_of(name)), "au_prc")
    plan = make_plan(splits, args.out / "final" / name, protocol, deadline)
    contenders = [
        Contender(
            chosen[method]["method"],
            method,
            options=chosen[method].get("options", OPTIONS.get(method, {})),
            backbone_options=chosen[method].get("backbone_options", {}),
            settings=chosen[method].get("settings", {}),
        )
        for method in args.methods
    ]
    return plan, contenders


def run(units, args, what, failures):
    """Runs units; what failed is told at the end, so that it does not cost the others."""
    from hmic_keras.evaluation._trials import run_units

    started = time.time()

    def progress(done, total):
        print(f"{what}: {done}/{total} trials, {time.time() - started:.0f} s", flush=True)

    try:
        if units and not run_units(units, args.jobs, progress):
            failures.append(f"{what}: the time was over; the same command goes on.")
    except Exception as error:  # noqa: BLE001 (told at the end, which is not a success)
        failures.append("".join(traceback.format_exception(error)))


def summarise(found, chosen, args):
    """Scores, ranks and the tests of the first against the second, ready for JSON."""
    from hmic_keras.evaluation import mean_ranks, paired_tests

    sets = {}
    for name, comparison in found.items():
        scores = comparison.scores("au_prc")
        summary = comparison.summary("au_prc")
        sets[name] = {
            "au_prc": {
                method: {
                    key: round(value, 4)
                    for key, value in zip(("mean", "low", "high"), row, strict=True)
                }
                for method, row in summary.items()
            },
            "published": PUBLISHED.get(name, {}),
            "seeds": comparison.about["seeds"],
            "examples": comparison.about["examples"],
            "classes": sum(comparison.about["taxonomy"].values()),
            "parameters": {m: int(v[0]) for m, v in comparison.scores("parameters").items()},
            "seconds": {m: round(v[0], 2) for m, v in comparison.summary("seconds").items()},
            "tests": [
                {k: v if isinstance(v, str) else round(v, 5) for k, v in row.items()}
                for row in paired_tests(scores)
            ],
        }
    means = [{m: row["mean"] for m, row in one["au_prc"].items()} for one in sets.values()]
    return {
        "sets": sets,
        "mean_rank": mean_ranks(means),
        "grid": GRID[: args.configs],
        "search": {
            "seeds": args.search_seeds,
            "epochs": args.epochs,
            "patience": PATIENCE,
            "every": EVERY,
        },
        "fixed": {name: settings_of(name) for name in sets},
        "hyperparameters": chosen,
        "versions": {
            name: metadata.version(name) for name in ("keras", "numpy", "scikit-learn", "scipy")
        },
    }


def show(summary):
    ours = list(summary["mean_rank"])
    print("\nAU(PRC) | " + " | ".join(summary["sets"]) + " | mean rank")
    for method in sorted(ours, key=summary["mean_rank"].get):
        cells = [f"{one['au_prc'][method]['mean']:.4f}" for one in summary["sets"].values()]
        print(f"{method} | " + " | ".join(cells) + f" | {summary['mean_rank'][method]:.2f}")
    for name in ("C-HMCNN", "HMCN-F", "HMCN-R", "Clus-Ens"):
        cells = [
            f"{one['published'].get(name, float('nan')):.3f}"
            for one in summary["sets"].values()
        ]
        print(f"published {name} | " + " | ".join(cells))


def table(summary):
    """The scores as Markdown, ours by mean rank, then the published ones."""
    import documents

    sets = summary["sets"]
    rows = [["AU(PRC)", *sets, "mean rank"]]
    for method in sorted(summary["mean_rank"], key=summary["mean_rank"].get):
        cells = []
        for one in sets.values():
            found = one["au_prc"][method]
            cells.append(f"{found['mean']:.3f} ± {(found['high'] - found['low']) / 2:.3f}")
        rows.append([f"`{method}`", *cells, f"{summary['mean_rank'][method]:.2f}"])
    for name in ("C-HMCNN", "HMCN-F", "HMCN-R", "Clus-Ens"):
        cells = [one["published"].get(name) for one in sets.values()]
        shown = ["" if cell is None else f"{cell:.3f}" for cell in cells]
        rows.append([f"{name}, published", *shown, ""])
    return documents.table(rows)


def main():
    from recorded_trials import pack, unpack

    from hmic_keras.errors import HmicError
    from hmic_keras.evaluation._compare import collect, open_units
    from hmic_keras.evaluation._trials import Deadline

    args = arguments()
    deadline = Deadline.after(args.seconds)
    splits = {name: read(name, args) for name in args.sets}
    if args.recorded:
        unpack(TRIALS, args.out)
    failures = []
    if args.hyperparameters:
        chosen = json.loads(args.hyperparameters.read_text())
    else:
        searches = [Search(name, splits[name][1], args, deadline) for name in args.sets]
        run([unit for one in searches for unit in one.units()], args, "search", failures)
        args.methods = [m for m in args.methods if all(s.finished(m) for s in searches)]
        print("searched:", *args.methods, flush=True)
        chosen = {s.name: {m: s.choice(m) for m in args.methods} for s in searches}
        (args.out / "hyperparameters.json").write_text(json.dumps(chosen, indent=2) + "\n")
    finals = {
        name: final(name, splits[name][0], chosen[name], args, deadline) for name in args.sets
    }
    units = [
        unit
        for plan, contenders in finals.values()
        for unit in open_units(plan, contenders, range(args.seeds), args.together)
    ]
    run(units, args, "final", failures)
    if args.record:
        pack(
            args.out, [f"{part}/*/trials/*/seed*.json" for part in ("search", "final")], TRIALS
        )
    try:
        found = {
            name: collect(plan, splits[name][0], contenders, range(args.seeds))
            for name, (plan, contenders) in finals.items()
        }
    except HmicError as error:
        raise SystemExit("\n".join([*failures, str(error)])) from error
    summary = summarise(found, chosen, args)
    (args.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    show(summary)
    if failures:
        raise SystemExit("\n".join(failures))
    if args.record:
        import documents

        for document in DOCUMENTS:
            documents.put(document, "published", table(summary))
        for name, content in (("", summary), ("_hyperparameters", chosen)):
            path = RESULTS / f"published_sets{name}.json"
            path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
