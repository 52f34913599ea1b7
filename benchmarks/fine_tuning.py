r"""Fine-tuning on folk instruments: how good with few clips, how honest, what is forgotten.

Eight instruments of General MIDI that the base model's taxonomy lacks (the banjo apart) play
clips of 5 s. The clips to learn from are rendered with one SoundFont, the clips to test on with
another one, so players, rooms and sound differ.

    python benchmarks/fine_tuning.py prepare --out DIR --soundfonts FluidR3_GM.sf2 TimGM6mb.sf2
    python benchmarks/fine_tuning.py run --out DIR --musicnn musicnn-0.1.0-py3-none-any.whl
    python benchmarks/fine_tuning.py record --out DIR

Every part is resumable: what is there is not made again. `record` writes
`benchmarks/results/fine_tuning.json` and the tables in `docs/own-taxonomy.md`; a part that was
not run keeps its figures, a contender too.

- table: `hmic-mobile`, fine-tuned; the same network trained from nothing (at most 60 epochs,
  early stopping on a held-out share, the same augmentation); and logistic regression, its
  regularisation chosen by cross-validation, on the embeddings of musicnn (MTT_musicnn, 1,506
  pooled features, mean over patches of 3 s). 10, 30 and 100 clips a class; mean average
  precision of the eight classes on the test clips.
- coverage: 30 trials, each fine-tuned on clips of its own, 10 a class, and scored on fresh
  clips of the same SoundFont: how often the report's interval holds what they give.
- forgetting: the 20 old classes, kept without any clip of them, on the packaged test clips.
- cost: seconds and memory of each mode with 10 clips a class, export included, each in a
  process of its own. Run it on a quiet machine:

      python benchmarks/fine_tuning.py run --out DIR --only cost
"""

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "benchmarks" / "results" / "fine_tuning.json"
DOCUMENT = ROOT / "docs" / "own-taxonomy.md"

BASE = ROOT / "saved_models" / "hmic-mobile"
# The banjo is where the base model has it; the others are families of their own.
FOLK = {
    "plucked_strings": {"sitar": 104, "banjo": 105, "shamisen": 106, "koto": 107},
    "lamellophones": {"kalimba": 108},
    "bowed_strings": {"fiddle": 110},
    "folk_winds": {"bagpipe": 109, "shanai": 111},
}
SIZES = (10, 30, 100)
SEEDS = {10: 4, 30: 2, 100: 1}
SCRATCH_SEEDS = {10: 2, 30: 1, 100: 1}
RENDERING = {"seconds": 5.0, "polyphony": (1, 2), "polyphony_decay": 0.6}
# Clips and the seed of their music, by part. Classifiers were worked out on corpora of other
# seeds, the report's interval on other draws from this pool.
PARTS = {"pool": (1200, 81), "test": (240, 90)}
FRESH = 120
TRIALS = 30
FORGETTING_EPOCHS, FORGETTING_SIZES = 8, (10, 30)
FINE_TUNING_MODES = ("frozen", "gradual", "full")
CONTENDERS = ("fine_tuned", "musicnn", "scratch")
NAMES = {
    "fine_tuned": "`hmic-mobile`, fine-tuned",
    "musicnn": "logistic regression on musicnn embeddings",
    "scratch": "the same network from scratch",
}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("prepare", "run", "record"))
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--soundfonts", type=Path, nargs=2, help="to train and to test with")
    parser.add_argument("--musicnn", type=Path, help="the wheel musicnn-0.1.0")
    parser.add_argument("--only", nargs="+", help="some of: table, coverage, forgetting, cost")
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS))
    return parser.parse_args()


def folk():
    from hmic_keras import Taxonomy

    return Taxonomy.from_dict(
        {
            "name": "folk",
            "levels": ["fine", "coarse"],
            "classes": {
                "fine": [name for group in FOLK.values() for name in group],
                "coarse": list(FOLK),
            },
            "parents": {"fine": {n: [family] for family, group in FOLK.items() for n in group}},
            "attributes": {
                "fine": {n: {"program": p} for g in FOLK.values() for n, p in g.items()}
            },
        }
    )


def prepare(args):
    from hmic_keras.data import render_corpus

    for (part, (clips, seed)), soundfont in zip(PARTS.items(), args.soundfonts, strict=True):
        folder = args.out / part
        if not folder.exists():
            render_corpus(
                folk(),
                folder,
                clips=clips,
                soundfont=soundfont,
                seed=seed,
                processes=1,
                **RENDERING,
            )


def corpus(args, part):
    from hmic_keras.data import read_clips

    return read_clips(args.out / part / "labels.csv", folk())


def chosen(clips, size, seed, among=None):
    """Clips until every class has `size`, drawn; indices into `clips`."""
    import numpy as np

    rng = np.random.default_rng(seed)
    order = rng.permutation(len(clips) if among is None else among)
    labels = clips.labels["fine"] > 0.5
    counts = np.zeros(labels.shape[1], int)
    found = []
    for index in order:
        new = labels[index]
        # A clip is taken for a class that still lacks some, if no other has enough already.
        if (counts[new] < size).all():
            found.append(index)
            counts += new
        if (counts >= size).all():
            break
    return np.array(found)


def score(model, clips):
    from hmic_keras import evaluation

    found = evaluation.evaluate(model, clips).results["levels"]["fine"]
    return {"map": found["map"], "ap": {n: row["ap"] for n, row in found["per_class"].items()}}


def fine_tuned(args, clips, tests, seed, mode="frozen"):
    from hmic_keras.fine_tuning import FineTuneConfig, fine_tune

    started = time.time()
    config = FineTuneConfig(mode=mode, seed=seed)
    result = fine_tune(BASE, folk(), clips, config=config)
    seconds = time.time() - started
    report = result.report.results
    return {
        **score(result.model, tests),
        "seconds": round(seconds, 1),
        "interval": report["levels"]["fine"]["map"],
        "epochs": (report["network"] or {}).get("epochs"),
        "peak_memory_mb": report["cost"]["peak_memory_mb"],
    }


def scratch(args, clips, tests, seed):
    from hmic_keras.config import AudioConfig, FineTuneConfig, TrainConfig
    from hmic_keras.training import train
    from hmic_keras.zoo import read_manifest

    started = time.time()
    manifest = read_manifest(BASE)
    # As many crops in all, whatever the number of clips, but no fewer than ten passes.
    epochs = max(10, min(60, 6000 // len(clips)))
    config = TrainConfig(
        epochs=epochs,
        batch_size=16,
        crop_seconds=manifest["window_seconds"],
        learning_rate=2e-3,
        patience=max(10, epochs // 3),
        augmentation=FineTuneConfig().augmentation,
        seed=seed,
    )
    result = train(
        clips,
        config=config,
        method="gmp",
        backbone=manifest["backbone"]["name"],
        backbone_options=manifest["backbone"]["options"],
        audio=AudioConfig.from_dict(manifest["audio"]),
    )
    return {
        **score(result.model, tests),
        "seconds": round(time.time() - started, 1),
        "epochs": len(result.history["loss"]),
    }


def embeddings(args, clips, part):
    """The 1,506 pooled features of musicnn for each clip, kept in a file."""
    import keras
    import numpy as np

    path = args.out / f"musicnn_{part}.npy"
    if path.is_file():
        return np.load(path)
    from hmic_keras.backbones import MusicnnTagger
    from hmic_keras.data import load_audio
    from hmic_keras.data.audio import frame

    tagger = MusicnnTagger.load(args.musicnn).model
    pool = tagger.get_layer("penultimate").input
    extract = keras.Model(tagger.input, pool)
    rows = []
    for clip in clips.paths:
        patches = frame(load_audio(clip, 16000), 48000, 16000)
        rows.append(extract.predict_on_batch(patches).mean(axis=0).ravel())
    found = np.stack(rows).astype("float32")
    np.save(path, found)
    return found


def musicnn(args, clips, tests, seed, rows, pool, test):
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from hmic_keras import metrics

    started = time.time()
    labels = clips.labels["fine"] > 0.5
    scores = []
    for column in labels.T:
        folds = StratifiedKFold(5, shuffle=True, random_state=seed)
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
            {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]},
            scoring="neg_log_loss",
            cv=folds,
        )
        search.fit(pool[rows], column)
        scores.append(search.predict_proba(test)[:, 1])
    found = metrics.average_precision(tests.labels["fine"], np.stack(scores, axis=1))
    return {
        "map": float(found.mean()),
        "ap": dict(zip(folk().classes("fine"), found.tolist(), strict=True)),
        "seconds": round(time.time() - started, 1),
    }


def kept(path, make):
    """A result from before, or a new one."""
    from hmic_keras._files import read_json, write_json

    if path.is_file():
        return read_json(path)
    found = make()
    write_json(path, found)
    print(path.name, {k: v for k, v in found.items() if k != "ap"}, flush=True)
    return found


def run(args):
    parts = args.only or ("table", "coverage", "forgetting", "cost")
    pool, tests = corpus(args, "pool"), corpus(args, "test")
    trials = args.out / "trials"
    if "table" in parts:
        both = {p: embeddings(args, c, p) for p, c in (("pool", pool), ("test", tests))}
        for size in SIZES:
            for seed in range(SEEDS[size]):
                rows = chosen(pool, size, seed)
                part = pool.subset(rows)
                jobs = {
                    "musicnn": lambda part=part, seed=seed, rows=rows: musicnn(
                        args, part, tests, seed, rows, both["pool"], both["test"]
                    ),
                    "fine_tuned": lambda part=part, seed=seed: fine_tuned(
                        args, part, tests, seed
                    ),
                    "scratch": lambda part=part, seed=seed: scratch(args, part, tests, seed),
                }
                for name in args.contenders:
                    if seed >= SCRATCH_SEEDS[size] and name == "scratch":
                        continue
                    job = jobs[name]
                    kept(trials / f"{name}_{size}_{seed}.json", job)
    if "forgetting" in parts:
        for size, mode in itertools.product(FORGETTING_SIZES, FINE_TUNING_MODES):
            path = trials / f"forgetting_{size}_{mode}.json"
            kept(path, lambda size=size, mode=mode: forgetting(pool, size, mode))
    if "cost" in parts:
        for mode in FINE_TUNING_MODES:
            kept(trials / f"cost_{mode}.json", lambda mode=mode: cost(args, mode))
    if "coverage" in parts:
        coverage(args, pool, trials)


def forgetting(pool, size, mode):
    """The old classes before and after, on clips that neither model saw."""
    import hmic_keras as hk
    from hmic_keras import metrics
    from hmic_keras.data import demo_clips
    from hmic_keras.evaluation import predict_clips
    from hmic_keras.fine_tuning import FineTuneConfig, fine_tune

    base = hk.load_model(BASE)
    clips = demo_clips("test", base.taxonomy)
    result = fine_tune(
        base,
        folk(),
        pool.subset(chosen(pool, size, 0)),
        keep_old=True,
        config=FineTuneConfig(mode=mode, epochs=FORGETTING_EPOCHS),
    )
    found = {}
    for name, model in (("before", base), ("after", result.model)):
        scores = predict_clips(hk.Predictor(model), clips)
        for level, labels in clips.labels.items():
            places = [model.taxonomy.index(level)[n] for n in base.taxonomy.classes(level)]
            value = metrics.mean_average_precision(labels, scores[level][:, places])
            found.setdefault(level, {})[name] = round(float(value), 4)
    network = result.report.results["network"]
    if network is None:
        return {**found, "epochs": None}
    losses, epochs = network["loss_on_clips_not_trained_on"], network["epochs"]
    return {**found, "epochs": epochs, "loss": {"before": losses[0], "after": losses[epochs]}}


def cost(args, mode):
    """Seconds and peak memory, in a process that does nothing else."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (args, mode))


def measured(args, mode):
    import tempfile

    from hmic_keras.fine_tuning import FineTuneConfig, fine_tune

    pool = corpus(args, "pool")
    clips = pool.subset(chosen(pool, 10, 0))
    with tempfile.TemporaryDirectory() as out:
        config = FineTuneConfig(mode=mode)
        result = fine_tune(BASE, folk(), clips, config=config, out=Path(out) / "model")
    network = result.report.results["network"]
    return {
        "clips": len(clips),
        "epochs": None if network is None else network["epochs"],
        "most_epochs": config.epochs,
        **result.report.results["cost"],
    }


def coverage(args, pool, trials):
    """Each trial has clips of its own where the pool allows, and fresh ones to be scored on."""
    import numpy as np

    for trial in range(TRIALS):

        def one(trial=trial):
            # Other draws than those on which the interval was worked out (1,000 to 1,029).
            rows = chosen(pool, 10, 3000 + trial)
            others = np.setdiff1d(np.arange(len(pool)), rows)
            fresh = np.random.default_rng(3000 + trial).choice(others, FRESH, replace=False)
            from hmic_keras.fine_tuning import FineTuneConfig, fine_tune

            config = FineTuneConfig(seed=trial, bootstrap=300)
            result = fine_tune(BASE, folk(), pool.subset(rows), config=config)
            level = result.report.results["levels"]["fine"]
            found = score(result.model, pool.subset(fresh))
            return {
                "fresh": found,
                "map": level["map"],
                "ap": {n: row["ap"] for n, row in level["per_class"].items()},
                "seconds": result.report.results["cost"]["total_seconds"],
                "peak_memory_mb": result.report.results["cost"]["peak_memory_mb"],
            }

        kept(trials / f"coverage_{trial:02d}.json", one)


def record(args):
    from hmic_keras._files import read_json, write_json
    from hmic_keras._versions import versions

    trials = args.out / "trials"
    found = {
        "table": scores_table(trials),
        "coverage": covered(trials),
        "forgetting": {
            str(size): by_mode(trials, f"forgetting_{size}") for size in FORGETTING_SIZES
        },
        "cost": by_mode(trials, "cost"),
    }
    before = read_json(RESULTS) if RESULTS.is_file() else {}
    found["table"] = {**before.get("table", {}), **found["table"]}
    run_now = {"forgetting": any(found["forgetting"].values())}
    results = {
        **{
            part: value if run_now.get(part, bool(value)) else before.get(part, {})
            for part, value in found.items()
        },
        "settings": {
            "rendering": RENDERING,
            "test_clips": PARTS["test"][0],
            "fresh_clips": FRESH,
        },
        "versions": versions(),
        "processors": os.cpu_count(),
    }
    write_json(RESULTS, results)
    write_document(results)
    print(json.dumps(results, indent=1))


def scores_table(trials):
    import numpy as np

    from hmic_keras._files import read_json

    table = {}
    for size, name in itertools.product(SIZES, CONTENDERS):
        found = [read_json(path) for path in sorted(trials.glob(f"{name}_{size}_[0-9].json"))]
        if found:
            table.setdefault(name, {})[str(size)] = {
                "map": round(float(np.mean([one["map"] for one in found])), 4),
                "maps": [round(one["map"], 4) for one in found],
                "seconds": round(float(np.mean([one["seconds"] for one in found])), 1),
                "peak_memory_mb": max(one.get("peak_memory_mb") or 0 for one in found),
            }
    return table


def covered(trials):
    """How often the intervals held the scores on fresh clips; nothing without trials."""
    import numpy as np

    from hmic_keras._files import read_json

    found = [read_json(path) for path in sorted(trials.glob("coverage_*.json"))]
    if not found:
        return {}
    inside = [one["map"]["low"] <= one["fresh"]["map"] <= one["map"]["high"] for one in found]
    pairs = [
        (one["ap"][name], value)
        for one in found
        for name, value in one["fresh"]["ap"].items()
        if name in one["ap"]
    ]
    widths = [one["map"]["high"] - one["map"]["low"] for one in found]
    return {
        "trials": len(found),
        "map_inside": int(sum(inside)),
        "class_scores": len(pairs),
        "class_scores_inside": sum(i["low"] <= v <= i["high"] for i, v in pairs),
        "mean_width_map": round(float(np.mean(widths)), 4),
        "mean_reported_map": round(float(np.mean([one["map"]["value"] for one in found])), 4),
        "mean_fresh_map": round(float(np.mean([one["fresh"]["map"] for one in found])), 4),
        "median_seconds": float(np.median([one["seconds"] for one in found])),
        "peak_memory_mb": max(one["peak_memory_mb"] for one in found),
    }


def by_mode(trials, part):
    from hmic_keras._files import read_json

    return {
        mode: read_json(trials / f"{part}_{mode}.json")
        for mode in FINE_TUNING_MODES
        if (trials / f"{part}_{mode}.json").is_file()
    }


def write_document(results):
    import documents

    seeds = ", ".join(f"{count} at {size}" for size, count in SEEDS.items())
    clips, _ = PARTS["test"]
    lines = [
        f"Mean average precision on {clips} clips of another SoundFont (means over draws of",
        f"the clips: {seeds}; from scratch 2, 1, 1):",
        "",
        "| | " + " | ".join(f"{size} clips a class" for size in SIZES) + " |",
        "| --- |" + " --- |" * len(SIZES),
    ]
    for name in results["table"]:
        cells = [results["table"].get(name, {}).get(str(size)) for size in SIZES]
        scores = " | ".join("-" if one is None else f"{one['map']:.3f}" for one in cells)
        lines.append(f"| {NAMES[name]} | {scores} |")
    lines += ["", *coverage_lines(results["coverage"])]
    if results["cost"]:
        lines += ["", *cost_lines(results)]
    if results["forgetting"]:
        lines += ["", *forgetting_lines(results)]
    documents.put(DOCUMENT, "fine-tuning", "\n".join(lines))


def coverage_lines(found):
    return [
        f"In {found['trials']} trials, each fine-tuned on other clips, 10 a class, the",
        f"report's interval of mean average precision held the score on {FRESH} fresh clips",
        f"{found['map_inside']} times, and the intervals of single classes",
        f"{found['class_scores_inside']} of {found['class_scores']} times. It reported",
        f"{found['mean_reported_map']:.3f} on the mean, and fresh clips gave",
        f"{found['mean_fresh_map']:.3f}; the interval is {found['mean_width_map']:.3f} wide.",
        f"A trial took {found['median_seconds']:.0f} s (median, on a two-core machine)",
        f"and {found['peak_memory_mb'] / 1000:.1f} GB of memory at most.",
    ]


def cost_lines(results):
    lines = [
        f"What a mode costs with 10 clips a class, on {results['processors']} cores; check,",
        "report and export included:",
        "",
        "| mode | seconds | memory at most | epochs tried |",
        "| --- | ---: | ---: | ---: |",
    ]
    for mode, one in results["cost"].items():
        epochs = "-" if one["epochs"] is None else one["most_epochs"]
        memory = f"{one['peak_memory_mb'] / 1000:.1f} GB"
        lines.append(f"| `{mode}` | {one['total_seconds']:.0f} | {memory} | {epochs} |")
    return lines


def forgetting_lines(results):
    lines = [
        "The old classes, kept without a clip of them while the folk instruments are learned:",
        "mean average precision on the packaged test clips, 20 instruments and 7 families, two",
        "of which get new members, before and after; and the loss on clips that the network",
        "did not see, with new classifiers alone and after the epochs chosen, of",
        f"{FORGETTING_EPOCHS} at most:",
        "",
        "| clips a class | mode | epochs | loss | fine | coarse |",
        "| ---: | --- | ---: | --- | --- | --- |",
    ]
    runs = [
        (size, mode, one)
        for size, modes in results["forgetting"].items()
        for mode, one in modes.items()
    ]
    for size, mode, one in runs:
        fine, coarse = (
            f"{one[level]['before']:.3f} to {one[level]['after']:.3f}"
            for level in ("fine", "coarse")
        )
        epochs, loss = "-", "-"
        if one["epochs"] is not None:
            epochs = str(one["epochs"])
            loss = f"{one['loss']['before']:.4f} to {one['loss']['after']:.4f}"
        lines.append(f"| {size} | `{mode}` | {epochs} | {loss} | {fine} | {coarse} |")
    if any(one["epochs"] == 0 for _, _, one in runs):
        lines += [
            "",
            "0 epochs: none lowered the loss and left the old answers nearly where they were,",
            "so the network stayed as it was.",
        ]
    return lines


if __name__ == "__main__":
    args = arguments()
    {"prepare": prepare, "run": run, "record": record}[args.part](args)
