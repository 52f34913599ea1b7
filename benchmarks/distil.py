r"""Teaches a small network what a large one says of many mixtures (knowledge distillation).

Mixtures of the recipe's stems are drawn and augmented once; their log-mel spectrograms and the
teacher's probabilities are kept next to the result, and the network sees them again and again,
each time masked (`SpecAugment`) and coloured (`FrequencyMixStyle`) anew. That is four times as
fast on a CPU as mixing for every step. The network learns the teacher's answers alone, on what
the teacher heard (Hinton, Vinyals and Dean 2015; Beyer et al., "Knowledge distillation: A good
teacher is patient and consistent", CVPR 2022).

    python benchmarks/distil.py train network/model.keras --teacher hmic-base \
        --corpora network/run/corpora/* --out distilled/model.keras

On two cores drawing takes a quarter of an hour, an epoch six minutes. Stopped, it goes on after
the last whole epoch when called again.

`record` scores the network before and after and its teacher on the tests of `evaluate_zoo.py`,
and writes `benchmarks/results/distillation.json` and the tables in `docs/model-zoo.md`.

    python benchmarks/distil.py record network/model.keras --out distilled/model.keras \
        --corrupted [--sets FOLDER] [--real FOLDER]
"""

import argparse
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "distillation.json"
DOCUMENT = ROOT / "docs" / "model-zoo.md"
MARK = "distillation"
MIXTURES = 73_728
BATCH = 64
SEED = 11
LEARNING_RATE = 1e-3
WEIGHT_AVERAGING = 0.999
# How the network came to be is what a reader asks for first.
KEPT = ("training", "provenance", "versions")


def main() -> None:
    import evaluate_zoo
    import mixtures

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    learning, scoring = parts.add_parser("train"), parts.add_parser("record")
    mixtures.add_options(learning, recipe="hmic-base")
    learning.add_argument("--mixtures", type=int, default=MIXTURES)
    learning.add_argument("--epochs", type=int, default=8)
    scoring.add_argument("network", help="the network before")
    scoring.add_argument("--out", type=Path, required=True, help="the network after")
    for part in (learning, scoring):
        part.add_argument("--teacher", default="hmic-base", help="name or file of a model")
    evaluate_zoo.add_sets(scoring)
    args = parser.parse_args()
    {"train": train, "record": record}[args.part](args)


def train(args: argparse.Namespace) -> None:
    import keras
    import mixtures

    from hmic_keras import load_model
    from hmic_keras.data.stems import read_stems
    from hmic_keras.recipe import Recipe

    training = Recipe.load(args.recipe).training
    network, teacher = load_model(args.network), load_model(args.teacher)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    kept = args.out.parent / "mixtures"
    if not (kept / "complete").exists():
        bank = read_stems(args.corpora, network.taxonomy)
        count = args.mixtures // BATCH * BATCH
        heard = mixtures.draw(bank, training, seed=SEED, count=count, batch=BATCH)
        keep(heard, count, network, teacher, kept)
        del bank, heard
    keras.utils.set_random_seed(SEED)
    student = with_colours(network)
    losses = learn(student, kept, training, args.epochs, args.out.parent / "backup")
    told = {name: network.manifest[name] for name in KEPT if name in network.manifest}
    told["training"] = {
        **told.get("training", {}),
        "distillation": {
            "teacher": args.teacher,
            "recipe": args.recipe,
            "mixtures": args.mixtures // BATCH * BATCH,
            "epochs": args.epochs,
            "learning_rate": LEARNING_RATE,
            "loss": losses,
        },
    }
    student.update_manifest(**told, window_seconds=training.crop_seconds)
    student.save(args.out)


def with_colours(network: Any) -> Any:
    """Returns the network in float32, with `SpecAugment` and `FrequencyMixStyle`."""
    import hmic_keras as hk
    from hmic_keras.config import AudioConfig

    told = network.manifest
    model = hk.build_model(
        network.taxonomy,
        told["backbone"]["name"],
        told["method"]["name"],
        audio=AudioConfig.from_dict(told["audio"]),
        backbone_options=told["backbone"]["options"],
        method_options=told["method"]["options"],
        mix_style={},
        spec_augment={},
    )
    given = {layer.name: layer for layer in network.layers}
    for layer in model.layers:
        if layer.weights and layer.name not in ("mix_style", "spec_augment"):
            layer.set_weights(given[layer.name].get_weights())
    return model


def keep(heard: Any, count: int, network: Any, teacher: Any, folder: Path) -> None:
    """Writes the spectrograms of mixtures, and what the teacher says of them, to a folder."""
    import tensorflow as tf

    folder.mkdir(parents=True, exist_ok=True)
    front = network.get_layer("log_mel_spectrogram")
    levels = network.taxonomy.levels

    @tf.function
    def answer(waveforms: Any) -> Any:
        answers = teacher(waveforms, training=False)
        return front(waveforms), [answers[level] for level in levels]

    files: list[Any] = []
    for start, waveforms in zip(range(0, count, BATCH), heard, strict=True):
        spectrograms, answers = answer(waveforms)
        parts = [np.asarray(one, "float16") for one in (spectrograms, *answers)]
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
    (folder / "complete").touch()


def learn(student: Any, folder: Path, training: Any, epochs: int, backup: Path) -> list[float]:
    """Trains the student on what is kept and returns the loss of every epoch."""
    import keras

    from hmic_keras.training._options import make_optimizer

    levels = student.taxonomy.levels
    features = student.get_layer("log_mel_spectrogram").output
    outputs = {level: student.output[level] for level in levels}
    model = keras.Model(features, outputs)
    data = _batches(folder, levels)
    config = dataclasses.replace(
        training,
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        weight_averaging=WEIGHT_AVERAGING,
        schedule="cosine",
    )
    model.compile(
        make_optimizer(config, len(data)),
        {level: keras.losses.BinaryCrossentropy() for level in levels},
        jit_compile=False,
    )
    history = model.fit(
        data,
        epochs=epochs,
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

    after = load_model(args.out)
    models = {
        "before": load_model(args.network),
        "after": after,
        "teacher": load_model(args.teacher),
    }
    sets = evaluate_zoo.test_sets(after.taxonomy, args)
    scores = {name: evaluate_zoo.probabilities(one, sets) for name, one in models.items()}
    found = {
        name: {
            "weights": int(model.count_params()),
            "tests": evaluate_zoo.precisions_of(sets, scores[name]),
        }
        for name, model in models.items()
    }
    gain = {
        test: evaluate_zoo.lead(clips, scores["after"][test], scores["before"][test])
        for test, clips in sets.items()
    }
    settings = after.manifest["training"]["distillation"]
    write_json(RESULTS, {"settings": settings, "models": found, "gain": gain})
    text = table(found, gain)
    documents.put(DOCUMENT, MARK, text)
    print(text)


def table(models: Mapping[str, Any], gain: Mapping[str, Any]) -> str:
    """Returns the results as Markdown."""
    import documents
    import evaluate_zoo

    titles = {"timgm6mb": "rendered", "corrupted": "bad copies of them", "real": "recordings"}
    rows = [["", "weights", *(titles[test] for test in gain)]]
    for name, one in models.items():
        scores = [evaluate_zoo.maps(one["tests"][test]) for test in gain]
        rows.append([name, f"{one['weights'] / 1e6:.2f} M", *scores])
    levels = [list(one.values()) for one in gain.values()]
    gains = [" / ".join(map(evaluate_zoo.points, one)) for one in levels]
    return documents.table([*rows, ["gain, in points", "", *gains]])


if __name__ == "__main__":
    main()
