r"""What a part of the recipe of `hmic-mobile` is worth, and does joint training help there?

Short runs of that recipe, with one thing changed in each: the method, an ingredient, or the
network. All have as many steps, and are scored on the tests of `evaluate_zoo.py`. Methods and
ingredients were looked at when the recipe said `f2ca` and speeds from 0.9 to 1.12; that led to
`multitask`, with which the rest was looked at. Three parts:

`prepare` renders a quarter of the clips of the recipe (needs FluidSynth), and again without
modelled instruments.

    python benchmarks/recipe_ablation.py prepare --out DIR

`run` trains every variant; a run that was stopped goes on where it was. What is recorded has
two seeds of `recipe`, `gmp`, `multitask` and `independent`, and one of the others.

    python benchmarks/recipe_ablation.py run --out DIR --jobs 2 [--variants NAME...]
        [--seeds 3] [--seconds S] [--sets FOLDER] [--real FOLDER]

`record` writes `benchmarks/results/recipe_ablation.json` and the tables of `docs/model-zoo.md`.

    python benchmarks/recipe_ablation.py record --out DIR
"""

import argparse
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "benchmarks" / "results" / "recipe_ablation.json"
DOCUMENT = ROOT / "docs" / "model-zoo.md"

RECIPE = "hmic-mobile"
SHARE = 1 / 4  # of its clips
EPOCHS, STEPS = 12, 50
BUDGET = {
    "epochs": EPOCHS,
    "batch_size": 32,
    "crop_seconds": 3.0,
    # A mean over the last hundred of so few steps.
    "weight_averaging": 0.99,
}
FEWEST = 3  # seeds that say anything of an interval
TESTS = {"timgm6mb": "rendered", "real": "recordings"}


@dataclass(frozen=True)
class Variant:
    """The recipe with something changed.

    Attributes:
        title: What a reader is told.
        model: Changed settings of the model.
        training: Changed settings of the training.
        corpora: Which version of each corpus of the recipe.
        beside: The variant that it is compared with.
    """

    title: str
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    corpora: tuple[str, ...] = ("0", "1", "2")
    beside: str = "recipe"


# The recipe as it was.
FIRST_METHOD, FIRST_SPEED = "f2ca", [0.9, 1.12]


def _multitask(
    title: str, training: Mapping[str, Any] | None = None, **backbone_options: int
) -> Variant:
    model = {"method": "multitask"}
    if backbone_options:
        model |= {"backbone_options": backbone_options}
    return Variant(title, model, training or {}, beside="multitask")


def _augmentation(share: float) -> dict[str, Any]:
    """Returns the augmentation of the recipe with a share of its probabilities."""
    chances = {
        "reverb": 0.4,
        "equalizer": 0.6,
        "band_limit": 0.25,
        "clipping": 0.15,
        "noise": 0.5,
    }
    layers = {name: {"probability": share * chance} for name, chance in chances.items()}
    return {"augmentation": {"waveform": layers} if share else {}}


METHODS = ("recipe", "f2ca_detached", "gmp", "multitask", "independent", "independent_narrow")
VARIANTS = {
    "recipe": Variant("as it was, `f2ca`"),
    "f2ca_detached": Variant(
        "`f2ca` with `detach_children`", model={"method_options": {"detach_children": True}}
    ),
    "gmp": Variant("`gmp`", model={"method": "gmp"}),
    "multitask": Variant("`multitask`", model={"method": "multitask"}),
    "independent": Variant("`independent`", model={"method": "independent"}),
    "independent_narrow": Variant(
        # Two networks of this width have about as many weights as the one of the recipe.
        "`independent`, narrower",
        model={"method": "independent", "backbone_options": {"width": 23}},
    ),
    "no_augmentation": Variant(
        "no augmentation of the mixture, no SpecAugment",
        model={"spec_augment": None},
        training={"augmentation": {}},
    ),
    "no_models": Variant(
        "no modelled instruments", corpora=("0", "1-unmodelled", "2-unmodelled")
    ),
    "light": _multitask("mixtures augmented half as often", _augmentation(0.5)),
    "none": _multitask("mixtures not augmented, SpecAugment only", _augmentation(0.0)),
    "multi_speed": _multitask("speeds from 0.8 to 1.25", {"stems": {"speed": [0.8, 1.25]}}),
    "deep": _multitask("narrower, `blocks=1`", width=19, blocks=1),
    "wide_deep": _multitask("`blocks=1`", width=32, blocks=1),
}
LATER = ("multitask", *(name for name, one in VARIANTS.items() if one.beside == "multitask"))


def arguments() -> argparse.Namespace:
    import evaluate_zoo

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("prepare", "run", "record"))
    parser.add_argument("--out", type=Path, required=True, help="folder of everything")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--seeds", type=int, default=3, help="of each variant")
    parser.add_argument("--seconds", type=float, help="begin no run after so many")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    evaluate_zoo.add_sets(parser)
    return parser.parse_args()


def corpora() -> dict[str, dict[str, Any]]:
    """Returns the arguments of `render_corpus` of every version of the recipe's corpora."""
    from hmic_keras.recipe import Recipe

    found = {}
    for number, settings in enumerate(Recipe.load(RECIPE).render):
        small = {**settings, "clips": round(SHARE * settings["clips"]), "stems": True}
        found[str(number)] = small
        found[f"{number}-unmodelled"] = {**small, "modelled": 0.0}
    wanted = {name for variant in VARIANTS.values() for name in variant.corpora}
    return {name: found[name] for name in sorted(wanted)}


def prepare(args: argparse.Namespace) -> None:
    from hmic_keras import Taxonomy
    from hmic_keras.data import render_corpus

    for name, settings in corpora().items():
        folder = args.out / "corpora" / name
        if not folder.exists():
            render_corpus(Taxonomy.load("openmic"), folder, **settings)
            print(folder, flush=True)


def train(out: Path, name: str, seed: int) -> dict[str, Any]:
    """Trains one variant in its own folder and returns how that went."""
    import dataclasses

    from hmic_keras import Taxonomy
    from hmic_keras.config import TrainConfig
    from hmic_keras.data.stems import read_stems
    from hmic_keras.recipe import Recipe
    from hmic_keras.training import can_resume
    from hmic_keras.training import train as fit

    variant, recipe = VARIANTS[name], Recipe.load(RECIPE)
    taxonomy = Taxonomy.load(recipe.taxonomy)
    folders = [out / "corpora" / corpus for corpus in variant.corpora]
    settings = {**recipe.training.to_dict(), **BUDGET, "seed": seed}
    stems = {**settings["stems"], "steps": STEPS, "speed": FIRST_SPEED}
    settings |= {**variant.training, "stems": {**stems, **variant.training.get("stems", {})}}
    # The tiles of a CPU that multiply bfloat16 are not trusted with every convolution.
    first = {**dataclasses.asdict(recipe.model), "method": FIRST_METHOD, "precision": "float32"}
    model = {**first, **variant.model}
    run = out / "runs" / f"{name}-{seed}"
    result = fit(
        read_stems(folders, taxonomy),
        config=TrainConfig.from_dict(settings),
        run=run,
        resume=can_resume(run),
        **model,
    )
    result.model.save(run / "model.keras")
    return {
        "seconds": round(result.seconds, 1),
        "weights": int(result.model.count_params()),
        "steps": result.model.manifest["training"].get("steps"),
        "loss": round(float(result.history["loss"][-1]), 4),
    }


def trial(
    args: argparse.Namespace, name: str, seed: int, threads: int, until: float | None
) -> str | None:
    """Trains and scores one variant, and keeps what was found; in a process of its own."""
    if until is not None and time.time() > until:
        return None
    import evaluate_zoo
    import tensorflow as tf

    from hmic_keras import Taxonomy
    from hmic_keras._files import write_json

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    outcome = train(args.out, name, seed)
    run = args.out / "runs" / f"{name}-{seed}"
    sets = evaluate_zoo.test_sets(Taxonomy.load("openmic"), args)
    scores = evaluate_zoo.score(str(run / "model.keras"), sets)
    found = evaluate_zoo.precisions(scores)
    write_json(
        _place(args, name, seed), {"variant": name, "seed": seed, **outcome, "tests": found}
    )
    shutil.rmtree(run / "run", ignore_errors=True)  # checkpoints
    maps = {t: [round(one["map"], 3) for one in r.values()] for t, r in found.items()}
    return f"{name} {seed}: {maps}, {outcome['seconds']:.0f} s"


def _place(args: argparse.Namespace, name: str, seed: int) -> Path:
    return Path(args.out) / "trials" / f"{name}-{seed}.json"


def run(args: argparse.Namespace) -> None:
    wanted = [(name, seed) for seed in range(args.seeds) for name in args.variants]
    wanted = [pair for pair in wanted if not _place(args, *pair).is_file()]
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    until = None if args.seconds is None else time.time() + args.seconds
    # A process a run: what TensorFlow keeps of one would weigh on the next.
    with ProcessPoolExecutor(
        args.jobs, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        trials = [pool.submit(trial, args, *pair, threads, until) for pair in wanted]
        for done in as_completed(trials):
            if line := done.result():
                print(line, flush=True)


def record(args: argparse.Namespace) -> None:
    import documents

    from hmic_keras._files import read_json, write_json
    from hmic_keras._versions import versions

    trials = [read_json(path) for path in sorted((args.out / "trials").glob("*.json"))]
    report = {
        "recipe": RECIPE,
        "budget": {**BUDGET, "steps": STEPS * EPOCHS, "share_of_clips": round(SHARE, 3)},
        "summary": summarise(trials),
        "trials": trials,
        "versions": versions(),
        "processors": os.cpu_count(),
    }
    write_json(RESULTS, report)
    ingredients = [name for name in VARIANTS if name not in {*METHODS, *LATER} - {"recipe"}]
    groups = {"joint training": METHODS, "ingredients": ingredients, "with multitask": LATER}
    for mark, names in groups.items():
        text = table(report["summary"], names)
        documents.put(DOCUMENT, mark, text)
        print(text, end="\n\n")


def summarise(trials: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Returns for each variant and test the means over seeds, and the differences.

    The differences, from the variant that each is compared with, are paired over the seeds
    that both have, their intervals 95 %.
    """
    from hmic_keras.evaluation import interval

    by_variant: dict[str, dict[int, Any]] = {}
    for one in trials:
        by_variant.setdefault(one["variant"], {})[one["seed"]] = one
    summary = {}
    for name, runs in by_variant.items():
        found: dict[str, Any] = {
            "seeds": len(runs),
            "weights": next(iter(runs.values()))["weights"],
        }
        beside = by_variant[VARIANTS[name].beside]
        shared = sorted(set(runs) & set(beside))
        for test in TESTS:
            for level in ("fine", "coarse"):

                def score(one: dict[str, Any], test: str = test, level: str = level) -> float:
                    return float(one["tests"][test][level]["map"])

                gains = [score(runs[s]) - score(beside[s]) for s in shared]
                mean, low, high = interval(gains)
                if len(gains) < FEWEST:
                    low = high = float("nan")
                found[f"{test}.{level}"] = {
                    "mean": _rounded(interval([score(one) for one in runs.values()])[0]),
                    "difference": [_rounded(value) for value in (mean, low, high)],
                }
        summary[name] = found
    return summary


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 4)


def table(summary: Mapping[str, Any], names: Any) -> str:
    import documents

    head = ["mAP, fine / coarse", "seeds", "weights"]
    rows = [[*head, *TESTS.values(), *(f"{name}, to the first" for name in TESTS.values())]]
    for name in names:
        if name not in summary:
            continue
        found = summary[name]

        def both(test: str, show: Any, found: Any = found) -> str:
            return " / ".join(show(found[f"{test}.{level}"]) for level in ("fine", "coarse"))

        means = [both(test, lambda one: f"{one['mean']:.3f}") for test in TESTS]
        first = name == next(iter(names))
        gains = ["" if first else both(test, _gain) for test in TESTS]
        weights = f"{found['weights'] / 1e6:.2f} M"
        rows.append([VARIANTS[name].title, str(found["seeds"]), weights, *means, *gains])
    return documents.table(rows)


def _gain(one: Mapping[str, Any]) -> str:
    mean, low, high = one["difference"]
    if low is None:  # too few seeds
        return f"{100 * mean:+.1f}"
    return f"{100 * mean:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


def main() -> None:
    args = arguments()
    {"prepare": prepare, "run": run, "record": record}[args.part](args)


if __name__ == "__main__":
    main()
