r"""Lets a trained network hear real music and more singers, and keeps what it knows.

Two things that rendered stems lack are added. Real music has no labels; there the network
learns what the teacher, a larger network or several, says of the clean recording, while it
hears a worse copy of it (self-training with a noisy student: Xie et al., CVPR 2020); over half
of it one more stem is laid, whose class is then present. And stems of `sung_speech.py` join
those of the recipe; of their mixtures the network learns the mean of labels and the teacher's
answers, of the voice the labels. At the end the weights are averaged with those before
(Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022), which keeps the one
and loses little of the other. What was found is in `docs/model-zoo.md`.

Where the teacher errs itself, as in unusual registers (stems of `hmic render --whole-range`),
labels can teach alone: `--labels 1`. The recordings can be those of an earlier run
(`--recordings-of`).

    python benchmarks/adapt.py train quiet/model.keras --teacher wide/model.keras \
        quiet/model.keras --weights 2 1 --corpora stems/* --sung sung/* --music music \
        --out adapted/model.keras

On two cores gathering the examples takes a quarter of an hour to an hour, an epoch of
`hmic-mobile` five minutes or more, one of the wide network several times that. Stopped, it goes
on after the last whole epoch when called again; another network can learn from the same
`--examples`. With `--biases` only biases and classifiers learn, and after them the classifiers
alone, while batch normalisation keeps its statistics: one percent of the weights, so that an
update of a model that is shipped is small (Ben Zaken, Goldberg and Ravfogel, "BitFit", ACL
2022).

`record` scores what was before, what learned, and the average, each of one network or of
several as one, on the tests of `evaluate_zoo.py`. It writes
`benchmarks/results/adaptation.json` and a table in `docs/model-zoo.md`.

    python benchmarks/adapt.py record --name hmic-mobile --before quiet/model.keras \
        --learned adapted/learned.keras --averaged adapted/model.keras \
        --corrupted [--sets FOLDER] [--real FOLDER]
"""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "adaptation.json"
DOCUMENT = ROOT / "docs" / "model-zoo.md"
MARK = "adaptation"
STATES = {
    "before": "before",
    "learned": "after {epochs} epochs",
    "averaged": "weights of both, averaged",
}
MIXTURES = RECORDINGS = 40_960
VOICE = "voice"
MOST_OF_A_PACKAGE = 1500
OVERLAID, OVERLAID_BY_VOICE = 0.5, 0.4
SEED, MIXING_SEED, MUSIC_SEED = 11, 77, 5
# Share of the labels in what a mixture teaches; the rest is the teacher's.
LABELS = 0.5
EPOCHS, LEARNING_RATE = 3, 4e-4
CLASSIFIER_EPOCHS, CLASSIFIER_RATE = 10, 5e-4
# Share of the new weights in the average.
SHARE = 0.5


def main() -> None:
    import evaluate_zoo
    import retraining

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    learning, scoring = parts.add_parser("train"), parts.add_parser("record")
    retraining.add_options(learning, recipe="hmic-base")
    learning.add_argument("--teacher", nargs="+", required=True, help="one model or several")
    learning.add_argument("--weights", nargs="+", type=float, help="of the teachers' logits")
    learning.add_argument("--sung", nargs="+", required=True, help="of sung_speech.py")
    music = learning.add_mutually_exclusive_group(required=True)
    music.add_argument("--music", type=Path, help="of free_music.py")
    music.add_argument(
        "--recordings-of", type=Path, help="--examples of another run, some of whose are taken"
    )
    learning.add_argument(
        "--examples", type=Path, help="where they are kept (default: next to --out)"
    )
    learning.add_argument("--mixtures", type=int, default=MIXTURES)
    learning.add_argument("--mixing-seed", type=int, default=MIXING_SEED)
    learning.add_argument(
        "--labels", type=float, default=LABELS, help="their share in what a mixture teaches"
    )
    learning.add_argument("--recordings", type=int, default=RECORDINGS)
    learning.add_argument("--epochs", type=int, default=EPOCHS)
    learning.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    learning.add_argument("--biases", action="store_true", help="only they and classifiers")
    scoring.add_argument("--name", required=True, help="of the model of the zoo")
    for state in STATES:
        scoring.add_argument(f"--{state}", nargs="+", required=True, help="one or several")
    scoring.add_argument("--weights", nargs="+", type=float, help="of several networks")
    evaluate_zoo.add_sets(scoring)
    args = parser.parse_args()
    {"train": train, "record": record}[args.part](args)


def train(args: argparse.Namespace) -> None:
    import distil
    import evaluate_zoo
    import keras

    from hmic_keras._files import write_json
    from hmic_keras.recipe import Recipe

    training = Recipe.load(args.recipe).training
    network = evaluate_zoo.joint([args.network])
    teacher = evaluate_zoo.joint(args.teacher, args.weights)
    wanted = (args.mixtures, args.recordings)
    counts = [one // distil.BATCH * distil.BATCH for one in wanted]
    kept = args.examples or args.out.parent / "examples"
    asked = {
        "mixtures": counts[0],
        "recordings": counts[1],
        "recipe": args.recipe,
        "teacher": [args.teacher, args.weights],
        "mixing_seed": args.mixing_seed,
        "labels": args.labels,
    }
    if not (kept / distil.FACTS).exists():
        bank, sung = both_banks(args.corpora, args.sung, network.taxonomy)
        settings = dataclasses.replace(training, seed=args.mixing_seed)
        examples = Examples(network, teacher, settings, bank, sung, labels=args.labels)
        if args.music:
            recordings = examples.recordings(args.music, counts[1])
        else:
            recordings = recordings_of(args.recordings_of, counts[1], network.taxonomy.levels)
        distil.write(
            itertools.chain(examples.mixtures(counts[0]), recordings),
            sum(counts),
            network.taxonomy.levels,
            kept,
        )
        # Written last: with it, what lies there is complete.
        write_json(kept / distil.FACTS, {**asked, "stems": len(bank), "sung": len(sung)})
    facts = distil.facts_of(kept, asked)
    # Paths, which say nothing on another machine.
    del facts["teacher"]
    keras.utils.set_random_seed(SEED)
    student = distil.with_colours(network)
    if args.biases:
        teach_biases(student)
    budget = dataclasses.replace(
        training, epochs=args.epochs, learning_rate=args.learning_rate, **distil.BUDGET
    )
    losses = distil.learn(student, kept, budget, args.out.parent / "backup")
    classifiers = fit_classifiers(student, kept) if args.biases else None
    told = {name: network.manifest[name] for name in distil.KEPT if name in network.manifest}
    settings = {
        "only_biases": args.biases,
        "epochs": args.epochs,
        "learning_rate": args.learning_rate,
        "loss": losses,
        "classifiers": classifiers,
    }
    before = told.get("training", {})
    earlier = before.get("adaptation", [])
    # Models that adapted once, before a second time was thought of, have no list.
    earlier = earlier if isinstance(earlier, list) else [earlier]
    rounds = [*earlier, {**facts, **settings}]
    told["training"] = {**before, "adaptation": rounds}
    student.update_manifest(**told, window_seconds=training.crop_seconds)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    student.save(args.out.with_name("learned.keras"))
    averaged(network, student, SHARE)
    rounds[-1]["share"] = SHARE
    network.update_manifest(**told)
    network.save(args.out)


def teach_biases(network: Any) -> None:
    """Lets nothing but biases and classifiers learn, with the batch statistics as they are."""
    from hmic_keras.layers import BatchNormalization

    def with_known_statistics(layer: Any) -> Any:
        return lambda x, training=None, mask=None: type(layer).call(layer, x, False, mask)

    for layer in network.layers:
        if isinstance(layer, BatchNormalization):
            layer.call = with_known_statistics(layer)
        if not layer.name.endswith("_logits"):
            for weight in layer.trainable_weights:
                weight.trainable = weight.name in ("beta", "bias")


def fit_classifiers(network: Any, folder: Path) -> dict[str, Any]:
    """Fits the classifiers alone, on features of the examples as they are.

    In `distil.learn` parts of an example are masked and its colour is changed, and dropout is
    on, which is right for a network that is to learn more than is needed here.

    Returns:
        Settings, and the first and last loss of each level.
    """
    import distil
    import keras
    import retraining

    levels, size = network.taxonomy.levels, distil.BATCH
    spectrograms = np.load(folder / "spectrogram.npy", mmap_mode="r")
    batches = (
        spectrograms[at : at + size].astype("float32")
        for at in range(0, len(spectrograms), size)
    )
    start = network.get_layer("log_mel_spectrogram").output
    trunk = keras.Model(start, network.get_layer(f"{levels[0]}_logits").input)
    (features,) = retraining.features_of(trunk, batches)
    found: dict[str, Any] = {"epochs": CLASSIFIER_EPOCHS, "learning_rate": CLASSIFIER_RATE}
    steps = CLASSIFIER_EPOCHS * (len(features) // size)
    for level in levels:
        layer = network.get_layer(f"{level}_logits")
        model = retraining.by_itself(layer, features.shape[1:])
        keras.utils.set_random_seed(0)
        model.compile(
            keras.optimizers.Adam(
                keras.optimizers.schedules.CosineDecay(CLASSIFIER_RATE, steps)
            ),
            keras.losses.BinaryCrossentropy(from_logits=True),
        )
        targets = np.load(folder / f"{level}.npy").astype("float32")
        history = model.fit(
            features, targets, batch_size=size, epochs=CLASSIFIER_EPOCHS, verbose=0
        ).history["loss"]
        layer.set_weights(model.get_weights())
        found[level] = [round(float(history[index]), 5) for index in (0, -1)]
    return found


def averaged(network: Any, other: Any, share: float) -> None:
    """Moves a network's weights towards those of another, by `share` of the way."""
    ends = {layer.name: layer.get_weights() for layer in other.layers}
    for layer in network.layers:
        if layer.weights and layer.name != "spec_augment":
            pairs = zip(layer.get_weights(), ends[layer.name], strict=True)
            layer.set_weights([(1 - share) * old + share * new for old, new in pairs])


def both_banks(corpora: Any, sung: Any, taxonomy: Any) -> tuple[Any, np.ndarray]:
    """Returns the stems of corpora and of singing together, and which are the latter."""
    from sung_speech import TAXONOMY

    from hmic_keras import Taxonomy
    from hmic_keras.data.stems import StemBank, read_stems

    first = read_stems(corpora, taxonomy)
    second = read_stems(sung, Taxonomy.from_dict(TAXONOMY))
    voice = taxonomy.index(taxonomy.levels[0])[VOICE]
    bank = StemBank(
        taxonomy,
        first.sample_rate,
        np.concatenate([first.audio, second.audio]),
        np.concatenate([first.classes, np.where(second.classes >= 0, voice, -1)]),
        np.concatenate([first.clips, second.clips + first.clips[-1] + 1]),
    )
    sings = np.flatnonzero(bank.classes == voice)
    return bank, sings[sings >= len(first)]


class Examples:
    """What the student hears and is to answer.

    Args:
        network: Its spectrogram is kept.
        teacher: Answers to what is clean.
        training: How stems are mixed, with which seed, and worse copies made.
        bank: The stems.
        sung: Which of them are of singing by a synthesizer.
        labels: Share of the labels in what a mixture teaches.
    """

    def __init__(
        self,
        network: Any,
        teacher: Any,
        training: Any,
        bank: Any,
        sung: np.ndarray,
        labels: float = LABELS,
    ) -> None:
        import distil
        import tensorflow as tf

        from hmic_keras.training._fit_stems import augmentation
        from hmic_keras.training._stem_mixer import StemMixer

        taxonomy = network.taxonomy
        fine, coarse = taxonomy.levels
        self._bank, self._sung, self._labels = bank, sung, labels
        self._batch = distil.BATCH
        self._voice = taxonomy.index(fine)[VOICE]
        # `(coarse, fine)`, True where a class belongs to a family.
        self._families = np.asarray(taxonomy.mask(coarse, fine))
        self._of_class = [
            np.flatnonzero(bank.classes == one) for one in range(len(taxonomy.classes(fine)))
        ]
        settings = dataclasses.replace(training, batch_size=self._batch)
        mixer = StemMixer.from_settings(bank, settings)
        mixer.build()
        worse = augmentation(settings, bank.sample_rate)
        front = network.get_layer("log_mel_spectrogram")
        self._mix = tf.function(lambda: mixer(None))
        self._ask = tf.function(
            lambda x: [teacher(x, training=False)[level] for level in (fine, coarse)]
        )
        self._hear = tf.function(lambda x: front(worse((x, {}), training=True)[0]))

    def mixtures(self, count: int) -> Iterator[tuple[Any, ...]]:
        """Yields batches of spectrograms and of targets of both levels."""
        for _ in range(count // self._batch):
            waveforms, labels = self._mix()
            fine, coarse = [one.numpy() for one in self._ask(waveforms)]
            yield self._hear(waveforms), *self.targets(labels.numpy(), fine, coarse)

    def recordings(self, music: Path, count: int) -> Iterator[tuple[Any, ...]]:
        """Yields the same of crops of music."""
        rng = np.random.default_rng(MUSIC_SEED)
        for crops in _music(music, count, self._batch, rng):
            yield self._recordings(crops, rng)

    def targets(
        self, labels: np.ndarray, fine: np.ndarray, coarse: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns a mean of labels and answers; of the voice the labels.

        Args:
            labels: Of the finest level, -1 where unobserved `(batch, fine)`.
            fine: The teacher's answers `(batch, fine)`.
            coarse: The same of the families `(batch, coarse)`.
        """
        known = labels >= 0
        members = self._families[np.newaxis]
        present = ((labels == 1)[:, np.newaxis] & members).any(axis=2)
        observed = present | (known[:, np.newaxis] | ~members).all(axis=2)
        found = []
        voices = np.zeros(labels.shape[1], bool)
        voices[self._voice] = True
        for truth, seen, answers, voice in (
            (labels, known, fine, voices),
            (present, observed, coarse, self._families[:, self._voice]),
        ):
            share = np.where(voice, 1.0, self._labels) * seen
            found.append(share * truth + (1.0 - share) * answers)
        return found[0], found[1]

    def _recordings(self, crops: np.ndarray, rng: np.random.Generator) -> tuple[Any, ...]:
        import tensorflow as tf

        waveforms = crops.astype("float32") / 32767
        waveforms *= 10 ** rng.uniform(-1.0, 0.0, (len(crops), 1)).astype("float32")
        waveforms *= np.float32(10 ** rng.uniform(-0.3, 0.0))
        fine, coarse = [one.numpy() for one in self._ask(tf.constant(waveforms))]
        for row in np.flatnonzero(rng.random(len(crops)) < OVERLAID):
            by_voice = rng.random() < OVERLAID_BY_VOICE
            one = self._voice if by_voice else rng.integers(len(self._of_class))
            stem = self._stem(one, waveforms.shape[1], rng)
            power = float(np.sqrt(np.mean(stem**2)))
            loud = np.mean(np.abs(stem) > 0.02 * np.abs(stem).max())
            if power < 3e-3 or loud < 0.2:
                continue
            beside = float(np.sqrt(np.mean(waveforms[row] ** 2)))
            waveforms[row] += stem * np.float32(beside / power * 10 ** rng.uniform(-0.3, 0.5))
            fine[row, one] = 1.0
            coarse[row, self._families[:, one]] = 1.0
        waveforms /= np.maximum(np.abs(waveforms).max(axis=1, keepdims=True), 1.0)
        return self._hear(tf.constant(waveforms)), fine, coarse

    def _stem(self, one: int, samples: int, rng: np.random.Generator) -> np.ndarray:
        stems = self._sung if one == self._voice else self._of_class[one]
        sound = self._bank.audio[rng.choice(stems)].reshape(-1)
        start = rng.integers(0, len(sound) - samples + 1)
        return sound[start : start + samples].astype("float32") / 32768


def recordings_of(folder: Path, count: int, levels: Any) -> Iterator[tuple[Any, ...]]:
    """Yields batches of recordings, drawn from those of the examples in a folder.

    Raises:
        SystemExit: If there are too few.
    """
    import distil

    from hmic_keras._files import read_json

    names = ("spectrogram", *levels)
    kept = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in names]
    first = read_json(folder / distil.FACTS)["mixtures"]
    if (held := len(kept[0]) - first) < count:
        raise SystemExit(f"'{folder}' holds {held} recordings. Ask for no more, not {count}.")
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(np.arange(first, len(kept[0])), count, replace=False))
    for start in range(0, count, distil.BATCH):
        yield tuple(np.asarray(one[rows[start : start + distil.BATCH]]) for one in kept)


def _music(
    folder: Path, count: int, batch: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yields crops in random order, again and again, of no package more than the most."""
    import pandas as pd

    crops = np.load(folder / "crops.npy", mmap_mode="r")
    packages = pd.read_csv(folder / "crops.csv")["package"].to_numpy()
    some = [
        rng.permutation(np.flatnonzero(packages == package))[:MOST_OF_A_PACKAGE]
        for package in sorted(set(packages))
    ]
    chosen = np.concatenate(some)
    rounds = [rng.permutation(chosen) for _ in range(count // len(chosen) + 1)]
    order = np.concatenate(rounds)[:count]
    for start in range(0, count, batch):
        yield crops[order[start : start + batch]]


def record(args: argparse.Namespace) -> None:
    import distil
    import documents
    import evaluate_zoo

    from hmic_keras._files import read_json, write_json

    models = {state: evaluate_zoo.joint(getattr(args, state), args.weights) for state in STATES}
    sets = evaluate_zoo.test_sets(models["before"].taxonomy, args)
    told = models["averaged"].manifest["training"]
    settings = [one["adaptation"][-1] for one in told.get("members", [told])]
    rows: list[dict[str, Any]] = []
    for state, model in models.items():
        scores = evaluate_zoo.probabilities(model, sets)
        row = distil.row_of(STATES[state].format(**settings[0]), model, sets, scores)
        if not rows:
            first = scores
        else:
            row["gain"] = {
                test: evaluate_zoo.lead(clips, scores[test], first[test])
                for test, clips in sets.items()
            }
        rows.append(row)
    known = read_json(RESULTS) if RESULTS.exists() else {}
    write_json(RESULTS, {**known, args.name: {"settings": settings, "rows": rows}})
    documents.put(DOCUMENT, f"{MARK}-{args.name}", distil.table(rows))
    print(distil.table(rows))


if __name__ == "__main__":
    main()
