r"""Trains several models side by side, on the very same mixtures and against the clock.

So were `hmic-mobile` and `hmic-base` made, on one GPU: mixing stems costs more there than a
small network, and whatever shares the mixtures can be compared. `independent` has a network for
each level and so twice the weights; but for that and its first weights it is `mobile`.

`train` mixes what the recipe of `hmic-mobile` names, for `--seconds`. The learning rate follows
the recipe's cosine by the clock. One optimizer serves all, so gradients are clipped together.

    KERAS_BACKEND=jax python benchmarks/side_by_side.py train --corpora DIR... --out DIR

`record` scores the models on the tests of `evaluate_zoo.py`, compares them with `independent`
and writes `benchmarks/results/side_by_side.json` and the tables in `docs/model-zoo.md`.

    python benchmarks/side_by_side.py record --out DIR [--sets FOLDER] [--real FOLDER]
"""

import argparse
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
RESULTS = ROOT / "benchmarks" / "results" / "side_by_side.json"
DOCUMENT = ROOT / "docs" / "model-zoo.md"
MARK, LEADS = "side by side", "lead of joint training"
WARM_UP = 0.04  # share of the time in which the learning rate rises
TESTS = ("timgm6mb", "real")
REPORT = 20  # epochs between two lines
JIT = True


@dataclass(frozen=True)
class Student:
    """One of the models.

    Attributes:
        title: What a reader is told.
        recipe: The recipe that says what it is, and how its mixtures are augmented.
        model: Changed settings of the model.
        augmented_as: The recipe whose augmentation it has, if that is another one.
        taught_by: Another student, whose answers of the moment it follows besides the labels;
            both must be augmented alike.
        seed: Of its first weights.
    """

    title: str
    recipe: str
    model: Mapping[str, Any] = field(default_factory=dict)
    augmented_as: str | None = None
    taught_by: str | None = None
    seed: int = 1


STUDENTS = {
    "mobile": Student("`multitask`, the network of `hmic-mobile`", "hmic-mobile"),
    "light": Student(
        "the same, augmented as `hmic-base`",
        "hmic-mobile",
        model={"mix_style": {}},
        augmented_as="hmic-base",
        seed=2,
    ),
    "independent": Student(
        "`independent`, two such networks",
        "hmic-mobile",
        model={"method": "independent"},
        seed=3,
    ),
    "base": Student("`multitask`, twice as wide, of `hmic-base`", "hmic-base", seed=4),
}

# What the others are compared with, and models that answer as one, with as many weights.
REFERENCE = "independent"
TOGETHER = {"mobile+light": "the first two, their answers averaged"}


def train(args: argparse.Namespace) -> None:
    until = time.time() + args.seconds
    teach(STUDENTS, args.corpora, args.out, lambda: until)


def teach(
    students: Mapping[str, Student],
    corpora: Sequence[str | os.PathLike[str]],
    out: Path,
    until: Callable[[], float],
    *,
    capacity: int | None = None,
    callbacks: Callable[[Any], Sequence[Any]] = lambda mixer: (),
) -> None:
    """Trains students on the same mixtures and writes them to a folder.

    Args:
        students: By name.
        corpora: Folders of what is there from the beginning.
        out: Folder of the models and of `run.json`.
        until: Asked at each epoch for the time, as `time.time` tells it, when to end.
        capacity: For how many stems there is to be room, if some are added later.
        callbacks: Makes further callbacks, given the mixer of the stems.
    """
    import numpy as np

    from hmic_keras import Taxonomy
    from hmic_keras._files import write_json
    from hmic_keras._versions import versions
    from hmic_keras.config import StemConfig
    from hmic_keras.data.stems import read_stems
    from hmic_keras.recipe import Recipe
    from hmic_keras.training._options import make_optimizer
    from hmic_keras.training._stem_mixer import StemMixer

    recipes = {one.recipe: Recipe.load(one.recipe) for one in students.values()}
    first, *_ = recipes.values()
    config = dataclasses.replace(first.training, schedule="constant")
    stems = StemConfig.from_dict(config.stems)
    taxonomy = Taxonomy.load(first.taxonomy)
    bank = read_stems(corpora, taxonomy)
    models = {
        name: _model(one, recipes[one.recipe], taxonomy) for name, one in students.items()
    }
    mixer = StemMixer.from_settings(bank, config, capacity)
    augmentations = {
        name: dataclasses.replace(config, augmentation=recipe.training.augmentation)
        for name, recipe in recipes.items()
    }
    trainer = _trainer(students, models, augmentations, mixer, config, bank.sample_rate)
    trainer.compile(make_optimizer(config, stems.steps), jit_compile=JIT)
    trainer.build()
    trainer.optimizer.build(trainer.trainable_variables)
    clock = _clock(until, config.learning_rate)
    trainer.fit(
        np.zeros((stems.steps, 1), np.float32),
        batch_size=1,
        epochs=10**6,
        callbacks=[*callbacks(mixer), clock],
        shuffle=False,
        verbose=0,
    )
    out.mkdir(parents=True, exist_ok=True)
    facts = {
        "stems": len(mixer),
        "epochs": clock.epochs,
        "steps": clock.epochs * stems.steps,
        "seconds": round(clock.seconds, 1),
    }
    for name, model in models.items():
        settings = recipes[students[name].recipe].training.to_dict()
        settings["epochs"] = clock.epochs
        model.update_manifest(
            window_seconds=config.crop_seconds,
            training={"config": settings, **facts},
            versions=versions(),
        )
        model.save(out / f"{name}.keras")
    write_json(out / "run.json", {**facts, "loss": clock.losses, "versions": versions()})


def _model(student: Student, recipe: Any, taxonomy: Any) -> Any:
    import keras

    import hmic_keras as hk

    settings = {**vars(recipe.model), **student.model}
    for name in ("start", "frozen"):
        settings.pop(name)
    keras.utils.set_random_seed(student.seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(settings.pop("precision"))
    try:
        return hk.build_model(taxonomy, **settings)
    finally:
        keras.config.set_dtype_policy(before)


def _trainer(
    students: Mapping[str, Student],
    models: Mapping[str, Any],
    augmentations: Mapping[str, Any],
    mixer: Any,
    config: Any,
    sample_rate: int,
) -> Any:
    """Returns a model that draws one batch and adds the loss of every student on it."""
    from hmic_keras.training import _fit_stems
    from hmic_keras.training._stem_mixer import closed_labels

    layers = {
        name: _fit_stems.augmentation(changed, sample_rate)
        for name, changed in augmentations.items()
    }

    augmented = {name: one.augmented_as or one.recipe for name, one in students.items()}

    class Together(_fit_stems.Trainer):  # type: ignore[misc]
        def __init__(self) -> None:
            first, *_ = models.values()
            super().__init__(first, mixer, None, config, None)
            self.students, self.augmentations = models, layers

        def call(self, inputs: Any, training: bool | None = None) -> Any:
            waveform, finest = self.mixer(inputs)
            labels = {self._finest: finest, **closed_labels(finest, self._masks)}
            heard = {
                name: layer((waveform, {}), training=True)[0]
                for name, layer in self.augmentations.items()
            }
            answers = {
                name: model(heard[augmented[name]], training=training)
                for name, model in self.students.items()
            }
            for name, model in self.students.items():
                taught = answers.get(students[name].taught_by)
                sound = heard[augmented[name]]
                self.add_loss(self.loss_of(model, labels, answers[name], sound, taught))
            return answers[name][self._finest]

    return Together()


def _clock(until: Callable[[], float], peak: float) -> Any:
    import keras

    class Clock(keras.callbacks.Callback):
        """Sets the learning rate by the time that has passed, and ends when it is up.

        Time counts from the second epoch, the first being spent on compilation.
        """

        def __init__(self) -> None:
            super().__init__()
            self.begun: float | None = None
            self.epochs, self.seconds = 0, 0.0
            self.losses: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.begun = time.time()
            past = 0.0
            if self.begun is not None:
                past = min(1.0, (time.time() - self.begun) / max(1.0, until() - self.begun))
            risen = max(0.1, past / WARM_UP)
            fallen = 0.5 * (1 + math.cos(math.pi * (past - WARM_UP) / (1 - WARM_UP)))
            rate = peak * (risen if past < WARM_UP else max(fallen, 5e-4))
            self.model.optimizer.learning_rate.assign(rate)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.epochs = epoch + 1
            self.losses.append(round(float(logs["loss"]), 4))
            self.seconds = time.time() - (self.begun or time.time())
            self.model.stop_training = time.time() >= until()
            if epoch % REPORT == 0:
                print(
                    f"epoch {epoch}: loss {self.losses[-1]}, {self.seconds:.0f} s", flush=True
                )

    return Clock()


def record(args: argparse.Namespace) -> None:
    import documents
    import evaluate_zoo

    import hmic_keras as hk
    from hmic_keras._files import read_json, write_json

    sets = evaluate_zoo.test_sets(hk.Taxonomy.load("openmic"), args)
    found, scores = {}, {}
    for name, title in {**{n: s.title for n, s in STUDENTS.items()}, **TOGETHER}.items():
        networks = [hk.load_model(args.out / f"{one}.keras") for one in name.split("+")]
        model = hk.ensemble(networks) if len(networks) > 1 else networks[0]
        scores[name] = evaluate_zoo.probabilities(model, sets)
        found[name] = {
            "title": title,
            "weights": int(model.count_params()),
            "tests": evaluate_zoo.precisions_of(sets, scores[name]),
        }
        print(
            name,
            {t: evaluate_zoo.maps(one) for t, one in found[name]["tests"].items()},
            flush=True,
        )
    for name, one in found.items():
        if name != REFERENCE:
            one["lead"] = {
                test: evaluate_zoo.lead(clips, scores[name][test], scores[REFERENCE][test])
                for test, clips in sets.items()
            }
    write_json(RESULTS, {**read_json(args.out / "run.json"), "students": found})
    for mark, text in ((MARK, table(found)), (LEADS, leads(found))):
        documents.put(DOCUMENT, mark, text)
        print(text)


def table(students: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns the results as Markdown."""
    import documents
    import evaluate_zoo

    rows = [["", "weights", "rendered", "recordings"]]
    for one in students.values():
        scores = [evaluate_zoo.maps(one["tests"][test]) for test in TESTS]
        rows.append([one["title"], f"{one['weights'] / 1e6:.2f} M", *scores])
    return documents.table(rows)


def leads(students: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns how far each model is above `independent`, as Markdown."""
    import documents
    import evaluate_zoo

    columns = ["rendered, fine", "coarse", "recordings, fine", "coarse"]
    rows = [[f"points of mAP above `{REFERENCE}`", *columns]]
    for one in students.values():
        if "lead" in one:
            levels = [level for test in TESTS for level in one["lead"][test].values()]
            rows.append([one["title"], *map(evaluate_zoo.points, levels)])
    return documents.table(rows)


def main() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import evaluate_zoo

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("train", "record"))
    parser.add_argument("--out", type=Path, required=True, help="folder of the models")
    parser.add_argument("--corpora", nargs="+", help="rendered by the recipe of hmic-mobile")
    parser.add_argument("--seconds", type=float, default=520.0, help="of training, all in all")
    evaluate_zoo.add_sets(parser)
    args = parser.parse_args()
    {"train": train, "record": record}[args.part](args)


if __name__ == "__main__":
    main()
