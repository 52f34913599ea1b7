"""From a trained model to a folder of a model zoo: calibrated, measured and described.

`publish` calibrates the model and chooses its thresholds on validation clips, scores it on
test sets, exports it, and writes what was measured to `results.json`, from which, and from the
manifest, `model_card` makes the card.
"""

import dataclasses
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from . import metrics
from ._files import atomic_path, write_json, write_text
from .batch import predict_files
from .calibration import (
    above_silence,
    apply_calibration,
    calibrated,
    choose_thresholds,
    fit_calibration,
)
from .data.no_music import KINDS, no_music
from .data.sources.demo import demo_clips
from .data.sources.folder import LabelledClips
from .data.synthesis import draw_silence
from .errors import HmicError, LabelError, ModelError
from .export import export_model
from .export.precision import as_float32
from .hierarchical_model import HierarchicalModel
from .inference import Predictor
from .model_card import CARD, RESULTS, model_card
from .recipe import parse
from .taxonomy import Taxonomy
from .zoo import MANIFEST

__all__ = ["About", "calibrate", "measure", "measure_silence", "publish"]

FORMATS = ("keras", "savedmodel", "float16", "dynamic_int8")
_SILENT_CLIPS = 500
# Thresholds are raised for four times as many: of 500, too few are pure tones.
_QUIET_CLIPS = 2000
_QUIET_BATCH = 200
# Of them, this share may keep a tag. Half are of the test's kinds, so there it becomes twice
# this share, and 1 % is allowed.
_ALLOWED = 0.002
_EXAMPLES = 5
_CONFUSIONS = 12

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class About:
    """What nobody can measure, for the manifest and the model card.

    Attributes:
        description: What the model is, in a sentence.
        licence: Licence of its weights.
        intended_use: What it is for, and what not.
        data: What it learned from, a sentence or two for each source, with its licence.
        validation: What it was calibrated on, and its thresholds chosen.
        tests: What each test set is, by its name.
        limits: What is known not to work, a sentence or two each.
        recipe: The command that makes it again.

    Raises:
        HmicError: If an entry is missing, unknown or of the wrong kind.
    """

    description: str
    licence: str
    intended_use: str
    data: Sequence[str]
    validation: str
    tests: Mapping[str, str]
    limits: Sequence[str]
    recipe: str

    def __post_init__(self) -> None:
        for name in ("description", "licence", "intended_use", "validation", "recipe"):
            self._require(name, "a text", _is_text(getattr(self, name)))
        for name in ("data", "limits"):
            values = getattr(self, name)
            self._require(
                name, "a list of texts", isinstance(values, list | tuple) and _texts(values)
            )
        tests = self.tests
        named = isinstance(tests, Mapping) and _texts([*tests, *tests.values()])
        self._require("tests", "texts by the name of a test set", named)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "About":
        """Reads it from a YAML or JSON file with one entry for each attribute.

        Raises:
            HmicError: If the file cannot be read or breaks a rule.
        """
        try:
            values = parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise HmicError(f"{path}: cannot be read ({error}).") from error
        wanted = {entry.name for entry in dataclasses.fields(cls)}
        if not isinstance(values, dict) or set(values) != wanted:
            found = sorted(map(str, values)) if isinstance(values, dict) else values
            raise HmicError(f"{path}: must hold {sorted(wanted)}. Received: {found}")
        return cls(**values)

    def _require(self, name: str, rule: str, holds: bool) -> None:
        if not holds:
            raise HmicError(
                f"`{name}` of a model must be {rule}. Received: {getattr(self, name)!r}"
            )


def publish(
    model: HierarchicalModel,
    out: str | os.PathLike[str],
    *,
    about: About,
    validation: LabelledClips,
    tests: Mapping[str, LabelledClips],
    examples: Sequence[str] = (),
    formats: Sequence[str] = FORMATS,
    tolerance: float | Mapping[str, float] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Makes the folder of a model zoo.

    Args:
        model: A trained waveform model; a calibrated one keeps its calibration and
            thresholds. It is published in float32.
        out: The folder; its name is the model's. An earlier one is replaced.
        about: What cannot be measured.
        validation: Clips that the model did not learn from, to calibrate on.
        tests: Clips to score it on, by the name of the set; `about` describes each.
        examples: Names of the sets whose worst clips the card may name.
        formats: As in `export_model`. The default ones are in every folder of the zoo; the
            default model also has `"float32"`.
        tolerance: As in `export_model`. With one, files are compared, and weights rounded, on
            the training clips of the demo corpus.
        progress: Called with the step, the clips done and the clips in all.

    Returns:
        What `results.json` holds.

    Raises:
        LabelError: If clips are of another taxonomy, or a test set is not described.
        HmicError: If `out` is something else, or as `export_model` and `Predictor` do.
    """
    if undescribed := set(tests) - set(about.tests):
        raise LabelError(f"`about.tests` does not describe {sorted(undescribed)}.")
    _check_out(Path(out))
    progress = progress or (lambda step, done, total: None)
    # What is measured is what every format computes in, however the model was trained.
    model = as_float32(model)
    if "calibration" not in model.manifest:
        model = calibrate(model, validation, progress)
    results: dict[str, Any] = {"tests": {}}
    with _as_file(model) as predictor:
        results["silence"] = measure_silence(predictor)
        for name, clips in tests.items():
            step = _step(progress, name, clips)
            results["tests"][name] = measure(
                predictor, clips, examples=name in examples, progress=step
            )
    headline = {
        name: {level: round(scores["map"], 6) for level, scores in test["levels"].items()}
        for name, test in results["tests"].items()
    }
    model.update_manifest(
        provenance={
            **model.manifest.get("provenance", {}),
            "data": list(about.data),
            "validation": about.validation,
        },
        zoo={
            **dataclasses.asdict(about),
            "tests": {name: about.tests[name] for name in tests},
            "parameters": model.count_params(),
            "results": headline,
        },
    )
    with atomic_path(out) as folder:
        typical = None if tolerance is None else demo_clips("train")
        export_model(model, folder, formats=formats, tolerance=tolerance, waveforms=typical)
        write_json(folder / RESULTS, results)
        write_text(folder / CARD, model_card(folder, name=Path(out).name))
    return results


def calibrate(
    model: HierarchicalModel,
    validation: LabelledClips,
    progress: Progress | None = None,
    *,
    stand_in: HierarchicalModel | None = None,
) -> HierarchicalModel:
    """Returns the model with calibrated probabilities, and thresholds in its manifest.

    Probabilities are calibrated on the validation clips (see `fit_calibration`); each class
    then gets the threshold with the highest F1 on them, raised where noise, hum, tones or
    silence would otherwise be an instrument.

    Args:
        model: A trained waveform model.
        validation: Clips that it did not learn from.
        progress: Called with `"calibrate"`, the clips done and the clips in all.
        stand_in: A model of the same kind that learned from less, so that the validation
            clips can be of sources (a SoundFont, a data set) that it never heard. Calibration
            and thresholds are then found on its scores: a model is less sure of sound unlike
            that of training, and by how much, what it was trained on cannot tell.

    Raises:
        LabelError: If the clips are of another taxonomy than a model.
        ModelError: If the model is calibrated already, or the stand-in is.
    """
    taxonomy = model.taxonomy
    heard = model if stand_in is None else stand_in
    _check_taxonomy(taxonomy, validation)
    _check_taxonomy(heard.taxonomy, validation)
    if "calibration" in heard.manifest:
        raise ModelError(f"The model {heard.name!r} is calibrated already.")
    step = None if progress is None else _step(progress, "calibrate", validation)
    with _as_file(heard) as predictor:
        windows, owner = _windows(predictor, validation, step)
    with _as_file(model) as predictor:
        silent = _quiet_scores(predictor)
    calibration = fit_calibration(taxonomy, validation.labels, windows, owner)
    scores = _by_clip(apply_calibration(taxonomy, windows, calibration), owner)
    thresholds = choose_thresholds(validation.labels, scores)
    quiet = apply_calibration(taxonomy, silent, calibration)
    result = calibrated(model, calibration)
    result.update_manifest(thresholds=above_silence(thresholds, quiet, _ALLOWED))
    return result


def measure(
    predictor: Predictor,
    clips: LabelledClips,
    *,
    examples: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Scores a model on labelled clips and says what it takes for what.

    Args:
        predictor: The model.
        clips: Clips of its taxonomy.
        examples: Whether to name the clips with the most wrong tags.
        progress: Called with the number of clips done.

    Returns:
        What `metrics.evaluate` returns, and `clips`, their number; `confusions`, the most
        frequent pairs of a class of the finest level that was missed and another one that was
        tagged though absent, `{"missed", "tagged", "clips"}`; `examples`, `{"clip", "present",
        "tagged"}`.
    """
    taxonomy = predictor.taxonomy
    _check_taxonomy(taxonomy, clips)
    scores = _by_clip(*_windows(predictor, clips, progress))
    found = metrics.evaluate(taxonomy, clips.labels, scores, thresholds=predictor.thresholds)
    finest = taxonomy.levels[0]
    labels = clips.labels[finest]
    tagged = scores[finest] >= predictor.thresholds[finest]
    return {
        "clips": len(clips),
        **found,
        "confusions": _confusions(taxonomy.classes(finest), labels, tagged),
        "examples": _examples(clips, labels, tagged) if examples else [],
    }


def measure_silence(
    predictor: Predictor, clips: int = _SILENT_CLIPS, seed: int = 1
) -> dict[str, Any]:
    """Counts clips without instruments that get no tag at any level.

    Args:
        predictor: The model.
        clips: How many clips of one window, of each of `data.no_music.KINDS` in turn.
        seed: Seed of the clips. Thresholds are chosen with other seeds.

    Returns:
        `clips`, `untagged` (their share without any tag) and that share `by_kind`.
    """
    rng = np.random.default_rng([seed, 1])
    kinds = [KINDS[i % len(KINDS)] for i in range(clips)]
    windows = np.stack([_silent_window(predictor, kind, rng) for kind in kinds])
    scores = predictor.score_windows(windows)
    untagged = ~np.any(
        [(scores[lv] >= predictor.thresholds[lv]).any(axis=1) for lv in scores], axis=0
    )
    return {
        "clips": clips,
        "untagged": float(untagged.mean()),
        "by_kind": {
            kind: float(untagged[[i for i, other in enumerate(kinds) if other == kind]].mean())
            for kind in dict.fromkeys(kinds)
        },
    }


@contextmanager
def _as_file(model: HierarchicalModel) -> Iterator[Predictor]:
    """Predicts by the model's float32 file: the same answers, much sooner."""
    with tempfile.TemporaryDirectory(prefix="hmic-publish-") as folder:
        export_model(model, Path(folder) / "model", formats=("float32",))
        yield Predictor(Path(folder) / "model", format="float32")


def _quiet_scores(predictor: Predictor) -> dict[str, np.ndarray]:
    """Scores windows without instruments to choose thresholds with, half of them less clean."""
    rng = np.random.default_rng([0, 0])
    frames = round(predictor.window_seconds * predictor.sample_rate)

    def draw(index: int) -> np.ndarray:
        if index % 2:
            return draw_silence(rng, frames, predictor.sample_rate, 1)[1]
        return _silent_window(predictor, KINDS[index // 2 % len(KINDS)], rng)

    parts = [
        predictor.score_windows(np.stack([draw(i) for i in range(start, start + _QUIET_BATCH)]))
        for start in range(0, _QUIET_CLIPS, _QUIET_BATCH)
    ]
    return {level: np.concatenate([part[level] for part in parts]) for level in parts[0]}


def _silent_window(predictor: Predictor, kind: str, rng: np.random.Generator) -> np.ndarray:
    frames = round(predictor.window_seconds * predictor.sample_rate)
    return no_music(kind, frames, predictor.sample_rate, rng)


def _windows(
    predictor: Predictor, clips: LabelledClips, progress: Callable[[int], None] | None
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the scores of all windows by level, and the index of each window's clip."""
    parts: dict[str, list[np.ndarray]] = {level: [] for level in predictor.taxonomy.levels}
    owner: list[int] = []
    for index, result in enumerate(predict_files(predictor, clips.paths)):
        windows = result.prediction().windows
        for level, values in windows.items():
            parts[level].append(values)
        owner += [index] * len(values)
        if progress is not None:
            progress(index + 1)
    return {level: np.concatenate(values) for level, values in parts.items()}, np.array(owner)


def _by_clip(windows: Mapping[str, np.ndarray], owner: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the mean over the windows of each clip, as a `Predictor` answers."""
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    counts = np.bincount(owner)[:, np.newaxis]
    return {lv: np.add.reduceat(values, starts) / counts for lv, values in windows.items()}


def _confusions(
    classes: Sequence[str], labels: np.ndarray, tagged: np.ndarray
) -> list[dict[str, Any]]:
    missed = (labels > 0.5) & ~tagged
    wrong = (labels >= 0) & (labels <= 0.5) & tagged
    pairs: Counter[tuple[int, int]] = Counter()
    for lost, found in zip(missed, wrong, strict=True):
        pairs.update(itertools.product(np.flatnonzero(lost), np.flatnonzero(found)))
    return [
        {"missed": classes[int(lost)], "tagged": classes[int(found)], "clips": count}
        for (lost, found), count in pairs.most_common(_CONFUSIONS)
    ]


def _examples(
    clips: LabelledClips, labels: np.ndarray, tagged: np.ndarray
) -> list[dict[str, Any]]:
    classes = np.array(clips.taxonomy.classes(clips.taxonomy.levels[0]))
    wrong = ((labels > 0.5) != tagged) & (labels >= 0)
    worst = np.argsort(-wrong.sum(axis=1), kind="stable")[:_EXAMPLES]
    return [
        {
            "clip": clips.paths[i].name,
            "present": classes[labels[i] > 0.5].tolist(),
            "tagged": classes[tagged[i]].tolist(),
        }
        for i in worst
        if wrong[i].any()
    ]


def _check_out(out: Path) -> None:
    if out.exists() and not (out / MANIFEST).is_file() and not _is_empty(out):
        raise HmicError(
            f"'{out}' is no folder of a model, which could be replaced; name a new folder."
        )


def _is_empty(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _check_taxonomy(taxonomy: Taxonomy, clips: LabelledClips) -> None:
    if taxonomy.hash != clips.taxonomy.hash:
        raise LabelError(
            f"The clips are labelled with the taxonomy {clips.taxonomy.name!r} and the model "
            f"answers in {taxonomy.name!r}; read the clips with the model's taxonomy."
        )
    if not len(clips):
        raise LabelError("There are no clips.")


def _step(progress: Progress, name: str, clips: LabelledClips) -> Callable[[int], None]:
    return lambda done: progress(name, done, len(clips))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _texts(values: Any) -> bool:
    return all(map(_is_text, values))
