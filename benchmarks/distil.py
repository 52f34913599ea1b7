r"""Teaches a small network what a large one says of many mixtures (knowledge distillation).

Mixtures of the recipe's stems are drawn and augmented once; their log-mel spectrograms and
the teacher's probabilities are kept next to the result, and the network sees them again and
again, each time masked (`SpecAugment`) and coloured (`FrequencyMixStyle`) anew. That is far
faster on a CPU than to mix, and ask the teacher, for every step. The network learns the
teacher's answers alone, on what the teacher heard (Hinton, Vinyals and Dean 2015; Beyer et
al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022). For
`hmic-mobile` it did not help; what was found is in `docs/model-zoo.md`.

    python benchmarks/distil.py train network/model.keras --teacher hmic-base \
        --corpora network/run/corpora/* --out distilled/model.keras

On two cores drawing takes a quarter of an hour, an epoch five minutes. Stopped, it goes on
after the last whole epoch when called again.

`record` scores the network before and after and its teacher on the tests of `evaluate_zoo.py`,
and writes `benchmarks/results/distillation.json` and the tables in `docs/model-zoo.md`.

    python benchmarks/distil.py record network/model.keras distilled/model.keras \
        --corrupted [--sets FOLDER] [--real FOLDER]
"""

import argparse
import dataclasses
import gc
import os
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "distillation.json"
DOCUMENT = ROOT / "docs" / "model-zoo.md"
MARK = "distillation"
FACTS = "mixtures.json"
MIXTURES = 73_728
BATCH = 64
SEED = 11
LEARNING_RATE = 1e-3
BUDGET = {"schedule": "cosine", "weight_averaging": 0.999}
# How the network came to be is what a reader asks for first.
KEPT = ("training", "provenance", "versions")


def main() -> None:
    import evaluate_zoo
    import retraining

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    learning, scoring = parts.add_parser("train"), parts.add_parser("record")
    retraining.add_options(learning, recipe="hmic-base")
    learning.add_argument("--mixtures", type=int, default=MIXTURES)
    learning.add_argument(
        "--parts", type=int, default=1, help="of the corpora, heard in turn to save memory"
    )
    learning.add_argument("--epochs", type=int, default=8)
    learning.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    scoring.add_argument("network", help="the network before")
    scoring.add_argument("after", nargs="+", help="the network after, or several of them")
    for part in (learning, scoring):
        part.add_argument("--teacher", default="hmic-base", help="name or file of a model")
    evaluate_zoo.add_sets(scoring)
    args = parser.parse_args()
    {"train": train, "record": record}[args.part](args)


def train(args: argparse.Namespace) -> None:
    import keras

    from hmic_keras import load_model
    from hmic_keras._files import write_json
    from hmic_keras.recipe import Recipe

    training = Recipe.load(args.recipe).training
    network, teacher = load_model(args.network), load_model(args.teacher)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    kept = args.out.parent / "mixtures"
    count = args.mixtures // BATCH // args.parts * BATCH
    asked = {"teacher": args.teacher, "recipe": args.recipe, "mixtures": count * args.parts}
    if not (kept / FACTS).exists():
        sizes: list[int] = []
        heard = _heard(args, network.taxonomy, training, count, sizes)
        keep(heard, count * args.parts, network, teacher, kept)
        # Written last: with it, what lies there is complete.
        write_json(kept / FACTS, {**asked, "stems": sum(sizes)})
    facts = facts_of(kept, asked)
    keras.utils.set_random_seed(SEED)
    student = with_colours(network)
    budget = dataclasses.replace(
        training, epochs=args.epochs, learning_rate=args.learning_rate, **BUDGET
    )
    losses = learn(student, kept, budget, args.out.parent / "backup")
    told = {name: network.manifest[name] for name in KEPT if name in network.manifest}
    told["training"] = {
        **told.get("training", {}),
        "distillation": {
            **facts,
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
            "loss": losses,
        },
    }
    student.update_manifest(**told, window_seconds=training.crop_seconds)
    student.save(args.out)


def facts_of(kept: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Returns what is known of the examples in a folder.

    Raises:
        SystemExit: If they were not made as is asked now.
    """
    from hmic_keras._files import read_json

    facts: dict[str, Any] = read_json(kept / FACTS)
    if differing := sorted(name for name in asked if facts.get(name) != asked[name]):
        raise SystemExit(
            f"'{kept}' holds examples made with another {', '.join(differing)}: {facts}. Give "
            "the same again, or another --out."
        )
    return facts


def _heard(
    args: argparse.Namespace, taxonomy: Any, training: Any, count: int, sizes: list[int]
) -> Any:
    """Yields the mixtures of one part of the corpora after the other; adds their stems."""
    import retraining

    from hmic_keras.data.stems import read_stems

    for number, corpora in enumerate(np.array_split(args.corpora, args.parts)):
        bank = read_stems([str(path) for path in corpora], taxonomy)
        sizes.append(len(bank))
        seed = SEED + number
        yield from retraining.mixtures(bank, training, seed=seed, count=count, batch=BATCH)
        del bank
        gc.collect()  # a compiled function holds its variables in a circle


def with_colours(network: Any) -> Any:
    """Returns the network in float32, with `SpecAugment` and `FrequencyMixStyle`."""
    import retraining

    method = network.manifest["method"]
    model = retraining.rebuilt(
        network, method["name"], method["options"], mix_style={}, spec_augment={}
    )
    given = {layer.name: layer for layer in network.layers}
    for layer in model.layers:
        if layer.weights and layer.name not in ("mix_style", "spec_augment"):
            layer.set_weights(given[layer.name].get_weights())
    return model


def keep(heard: Any, count: int, network: Any, teacher: Any, folder: Path) -> None:
    """Writes the spectrograms of mixtures, and what the teacher says of them, to a folder."""
    import tensorflow as tf

    front = network.get_layer("log_mel_spectrogram")
    levels = network.taxonomy.levels

    @tf.function
    def answer(waveforms: Any) -> Any:
        answers = teacher(waveforms, training=False)
        return front(waveforms), *(answers[level] for level in levels)

    write(map(answer, heard), count, levels, folder)


def write(batches: Any, count: int, levels: Any, folder: Path) -> None:
    """Writes batches of `BATCH` spectrograms and their targets by level, as `learn` reads them.

    Raises:
        ValueError: If there are fewer or more than `count` examples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Any] = []
    for start, batch in zip(range(0, count, BATCH), batches, strict=True):
        parts = [np.asarray(one, "float16") for one in batch]
        if not files:
            files = [
                np.lib.format.open_memmap(
                    folder / f"{name}.npy", "w+", np.float16, (count, *part.shape[1:])
                )
                for name, part in zip(("spectrogram", *levels), parts, strict=True)
            ]
        for file, part in zip(files, parts, strict=True):
            file[start : start + BATCH] = part
        if start % (100 * BATCH) == 0:
            print(f"{start} of {count} mixtures", flush=True)
    for file in files:
        file.flush()


def learn(student: Any, folder: Path, config: Any, backup: Path) -> list[float]:
    """Trains the student on what is kept and returns the loss of every epoch."""
    import keras

    from hmic_keras.training._options import make_optimizer

    levels = student.taxonomy.levels
    features = student.get_layer("log_mel_spectrogram").output
    outputs = {level: student.output[level] for level in levels}
    model = keras.Model(features, outputs)
    data = _batches(folder, levels)
    model.compile(
        make_optimizer(config, len(data)),
        {level: keras.losses.BinaryCrossentropy() for level in levels},
        jit_compile=False,
    )
    history = model.fit(
        data,
        epochs=config.epochs,
        verbose=2,
        callbacks=[keras.callbacks.BackupAndRestore(str(backup))],
    )
    return [round(float(one), 5) for one in history.history["loss"]]


def _batches(folder: Path, levels: Any) -> Any:
    """Returns the batches of a folder, in another order in every epoch."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __init__(self) -> None:
            super().__init__(workers=1, max_queue_size=8)
            self.spectrograms = np.load(folder / "spectrogram.npy", mmap_mode="r")
            self.answers = {level: np.load(folder / f"{level}.npy") for level in levels}
            self.rng = np.random.default_rng(SEED)
            self.order = self.rng.permutation(len(self.spectrograms))

        def __len__(self) -> int:
            return len(self.order) // BATCH

        def __getitem__(self, index: int) -> Any:
            rows = np.sort(self.order[index * BATCH : (index + 1) * BATCH])
            taught = {
                level: values[rows].astype("float32") for level, values in self.answers.items()
            }
            return self.spectrograms[rows].astype("float32"), taught

        def on_epoch_end(self) -> None:
            self.order = self.rng.permutation(self.order)

    return Batches()


def record(args: argparse.Namespace) -> None:
    import documents
    import evaluate_zoo

    from hmic_keras import load_model
    from hmic_keras._files import write_json

    before, teacher = load_model(args.network), load_model(args.teacher)
    after = {path: load_model(path) for path in args.after}
    sets = evaluate_zoo.test_sets(before.taxonomy, args)
    first = evaluate_zoo.probabilities(before, sets)
    found = [row_of("before", before, sets, first)]
    for path, model in after.items():
        scores = evaluate_zoo.probabilities(model, sets)
        settings = model.manifest["training"]["distillation"]
        title = "after, on {stems:,} stems, learning rate {learning_rate:g}".format(**settings)
        row = row_of(title, model, sets, scores)
        lead = {t: evaluate_zoo.lead(clips, scores[t], first[t]) for t, clips in sets.items()}
        found.append({**row, "settings": settings, "gain": lead})
        print(path, row["title"], flush=True)
    found.append(
        row_of("its teacher", teacher, sets, evaluate_zoo.probabilities(teacher, sets))
    )
    write_json(RESULTS, found)
    documents.put(DOCUMENT, MARK, table(found))
    print(table(found))


def row_of(title: str, model: Any, sets: Any, scores: Any) -> dict[str, Any]:
    import evaluate_zoo

    tests = evaluate_zoo.precisions_of(sets, scores)
    return {"title": title, "weights": int(model.count_params()), "tests": tests}


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the results as Markdown; below each network what it gained."""
    import documents
    import evaluate_zoo

    titles = {
        "timgm6mb": "rendered",
        "corrupted": "bad copies of them",
        "whole_range": "rendered, all registers",
        "real": "recordings",
    }
    tests = list(rows[0]["tests"])
    lines = [["", "weights", *(titles[test] for test in tests)]]
    for row in rows:
        scores = [evaluate_zoo.maps(row["tests"][test]) for test in tests]
        lines.append([row["title"], f"{row['weights'] / 1e6:.2f} M", *scores])
        if "gain" in row:
            gains = [map(evaluate_zoo.points, row["gain"][test].values()) for test in tests]
            lines.append(["gain, in points", "", *(" / ".join(one) for one in gains)])
    return documents.table(lines)


if __name__ == "__main__":
    main()
