"""`fine_tune`: from a trained model and somebody's recordings to a model of their classes."""

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .. import evaluation, metrics, zoo
from .._versions import versions
from ..calibration import (
    Calibration,
    above_silence,
    apply_calibration,
    calibrated,
    choose_thresholds,
    fit_calibration,
)
from ..config import FineTuneConfig
from ..data.label_checks import LabelChecks, check_labels
from ..data.sources.folder import LabelledClips
from ..errors import LabelError, TaxonomyError
from ..export import export_model
from ..export.bundle import check_folder
from ..hierarchical_model import HierarchicalModel
from ..inference import Predictor
from ..label_map import LabelMap
from ..taxonomy import Taxonomy
from ._crops import (
    Examples,
    Windows,
    extractor,
    learnable,
    load_windows,
    make_examples,
    quiet_windows,
    window_features,
)
from ._data import open_recordings, widen, with_soft_labels
from ._honesty import Curve
from ._linear import CrossFit, Rows, cross_fit, fit_rows, fold_of_groups
from ._passes import Passes, Scores, out_of_fold, predict, train_network
from ._report import FineTuningReport, make_report, test_results
from ._surgery import ClassKey, Transplant, links_to_new_children, transplant

_LOG = logging.getLogger("hmic_keras")

Progress = Callable[[str, int, int], None]

FORMATS = ("keras", "float32")
"""What is exported unless something else is asked for: the file of a phone is among it."""

# Methods by which no class scores below its members.
_CONSISTENT = ("c_hmcnn", "gmp", "top_down")
# Of training the network there are as many runs as folds, and one more.
_FOLDS_OF_NETWORK = 3
_SILENT_WINDOWS = 100
_PARTS, _POINTS, _REPEATS = 8, (2, 4, 6, 8), 2


@dataclass(frozen=True)
class FineTuned:
    """What came of fine-tuning.

    Attributes:
        model: The model, calibrated, with thresholds and provenance in its manifest.
        report: How good it is, and how sure that is.
        checks: What the checks of the labels found.
        history: Of training the network, a row an epoch; empty in the mode `"frozen"`.
    """

    model: HierarchicalModel
    report: FineTuningReport
    checks: LabelChecks
    history: list[dict[str, float]]


@dataclass
class _Clock:
    """Seconds by step."""

    seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.perf_counter)

    def lap(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step] = round(now - self._since, 1)
        self._since = now


def fine_tune(
    base: str | os.PathLike[str] | HierarchicalModel,
    taxonomy: Taxonomy | str | os.PathLike[str],
    data: LabelledClips | str | os.PathLike[str],
    *,
    mapping: LabelMap | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    keep_old: bool = False,
    method: str | None = None,
    test: LabelledClips | str | os.PathLike[str] | None = None,
    config: FineTuneConfig | None = None,
    out: str | os.PathLike[str] | None = None,
    formats: Sequence[str] = FORMATS,
    provenance: Mapping[str, Any] | None = None,
    checked: Callable[[LabelChecks], None] | None = None,
    progress: Progress | None = None,
) -> FineTuned:
    """Teaches a trained model the classes of another taxonomy, from few clips on.

    The labels are checked first. Classes that the model knows, by name or by `mapping`, keep
    their classifiers as a start. On features of the network, which stays as it is, classifiers
    are then fitted: a convex problem, whose regularisation is chosen by cross-validation, on
    the clips, on changed copies of them, and on sound without music. In the modes `"gradual"`
    and `"full"` the network itself learns after that, with its batch statistics frozen, for as
    many epochs as are best on clips that it does not see. At last, probabilities are
    calibrated and thresholds chosen, on scores of clips by models that did not learn from
    them; the report rests on the same scores.

    Args:
        base: The trained model of waveforms: a name, a path or a model.
        taxonomy: The classes: a `Taxonomy`, a packaged name or a file.
        data: The clips, or what `open_recordings` reads.
        mapping: For classes of `taxonomy` as tags, the class of the base model that each goes
            on from: a `LabelMap` to the base model's taxonomy, or what its `load` and
            `from_dict` take. Null starts a class anew, whatever its name.
        keep_old: Whether the classes of the base model stay, too, without clips of them. The
            taxonomy must have the same levels, and shared classes the same parents.
        method: See `transplant`.
        test: Clips to test on, which share no sound with those to train on.
        config: The settings; by default `FineTuneConfig()`.
        out: Folder for the exported model and the report; None writes nothing.
        formats: What to export, as in `export_model`.
        provenance: What the clips are and under which licence; kept in the manifest.
        checked: Called with what the checks found, before training, errors or not.
        progress: Called with the step, what is done of it and its total.

    Returns:
        The model and the report.

    Raises:
        AudioError: If a clip cannot be used.
        LabelError: If the checks find errors, or the labels contradict the taxonomy.
        ModelError: If the base model does not suit, or `out` holds something else.
        TaxonomyError: If the taxonomy or the mapping breaks a rule, or does not go together
            with the old one.
    """
    clock, config = _Clock(), config or FineTuneConfig()
    report = progress or (lambda step, done, total: None)
    if out is not None:
        check_folder(out)
    keras.utils.set_random_seed(config.seed)
    given = _given(base, taxonomy, data, mapping, keep_old, method, test)
    loaded, own, new = given.base, given.own, given.new
    clock.lap("load")
    checks = given.checks()
    if checked is not None:
        checked(checks)
    checks.refuse()
    clock.lap("check labels")
    clips, tests = given.widened()
    job = _Job(loaded, new, clips, checks, config, report)
    result = job.run(clock)
    model = job.finish(result)
    tested = None
    if tests is not None:
        predicted = evaluation.predict_clips(Predictor(model), tests)
        tested = test_results(model, tests, own, predicted, config)
    clock.lap("calibrate")
    found = make_report(
        model=model,
        clips=clips,
        own=own,
        origin=new.origin,
        scores=result.scores,
        fold=result.fold,
        checks=checks,
        curve=result.curve,
        curve_classes=result.curve_classes,
        passes=result.passes,
        config=config,
        test=tested,
    )
    clock.lap("report")
    model.update_manifest(
        training={
            "fine_tuning": config.to_dict(),
            "base": {
                "name": loaded.name if isinstance(base, HierarchicalModel) else Path(base).name,
                "taxonomy": loaded.taxonomy.name,
                "taxonomy_hash": loaded.taxonomy.hash,
            },
            "clips": len(clips),
            "kept": {_text(key): _text(old) for key, old in new.origin.items()},
            "seconds": round(sum(clock.seconds.values()), 1),
        },
        provenance={
            "base": loaded.manifest.get("provenance", {}),
            "data": dict(provenance or {}),
        },
        versions=versions(),
    )
    if out is not None:
        export_model(model, out, formats=formats)
        clock.lap("export")
    found = found.with_cost(clock.seconds, peak_memory_mb())
    if out is not None:
        found.write(out)
    return FineTuned(model, found, checks, result.passes.history if result.passes else [])


def check_fine_tuning(
    base: str | os.PathLike[str] | HierarchicalModel,
    taxonomy: Taxonomy | str | os.PathLike[str],
    data: LabelledClips | str | os.PathLike[str],
    *,
    mapping: LabelMap | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    keep_old: bool = False,
    method: str | None = None,
    test: LabelledClips | str | os.PathLike[str] | None = None,
) -> LabelChecks:
    """Checks all that `fine_tune` does before it trains: the model, the mapping, the labels.

    Args:
        base: See `fine_tune`, as for all of them.
        taxonomy: The classes.
        data: The clips.
        mapping: Where classes come from.
        keep_old: Whether the old classes stay.
        method: Joint-training method.
        test: Clips to test on.

    Returns:
        What the checks of the labels found; `refuse` raises if there are errors among it.

    Raises:
        AudioError: If a clip cannot be decoded.
        LabelError: If labels contradict the taxonomy.
        ModelError: If the base model does not suit.
        TaxonomyError: If the taxonomy or the mapping breaks a rule, or does not go together
            with the old one.
    """
    return _given(base, taxonomy, data, mapping, keep_old, method, test).checks()


@dataclass(frozen=True)
class _Given:
    """What is to be learned, from what, on which network.

    Attributes:
        base: The trained model.
        own: The classes of the clips.
        clips: The clips.
        tests: Clips to test on, if there are any.
        new: The model of the new classes, and of the old ones if they stay.
    """

    base: HierarchicalModel
    own: Taxonomy
    clips: LabelledClips
    tests: LabelledClips | None
    new: Transplant

    def checks(self) -> LabelChecks:
        """Returns what may be wrong with the labels."""
        return check_labels(self.clips, self.tests, known=tuple(self.new.origin))

    def widened(self) -> tuple[LabelledClips, LabelledClips | None]:
        """Returns both sets of clips, labelled in the classes of the new model."""
        whole = self.new.model.taxonomy
        if whole is self.own:
            return self.clips, self.tests
        return widen(self.clips, whole), self.tests and widen(self.tests, whole)


def _given(
    base: Any, taxonomy: Any, data: Any, mapping: Any, keep_old: bool, method: Any, test: Any
) -> _Given:
    """Reads what `fine_tune` was given, and puts the classes onto the network."""
    loaded = base if isinstance(base, HierarchicalModel) else zoo.load_model(base)
    own = taxonomy if isinstance(taxonomy, Taxonomy) else Taxonomy.load(taxonomy)
    clips = _clips(data, own, "train")
    tests = None if test is None else _clips(test, own, "test")
    whole = _joined(own, loaded.taxonomy) if keep_old else own
    new = transplant(loaded, whole, mapping=_mapping(mapping, loaded.taxonomy), method=method)
    return _Given(loaded, own, clips, tests, new)


def peak_memory_mb() -> float | None:
    """Returns the most memory this process has held, in MB; None where nobody counts it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(most / (1e6 if sys.platform == "darwin" else 1e3), 0)


@dataclass(frozen=True)
class _Result:
    """What training gave.

    Attributes:
        scores: By level, uncalibrated probabilities of windows by models that did not learn
            from their clips; `_Job.finish` replaces them by calibrated ones of clips.
        fold: The clips' folds.
        curve: The learning curve of the classifiers; None for too few clips.
        curve_classes: What its classes are.
        passes: How the network was trained, if it was.
    """

    scores: Scores
    fold: np.ndarray
    curve: Curve | None
    curve_classes: tuple[str, ...]
    passes: Passes | None


class _Job:
    """The clips, the model and what is computed of both."""

    def __init__(
        self,
        base: HierarchicalModel,
        new: Transplant,
        clips: LabelledClips,
        checks: LabelChecks,
        config: FineTuneConfig,
        report: Progress,
    ) -> None:
        self._base, self._new, self._clips = base, new, clips
        self._checks, self._config, self._report = checks, config, report
        self._taxonomy = new.model.taxonomy
        self._labels = _column_labels(new, clips)
        self._kept = _going_on(new, clips)
        manifest = new.model.manifest
        self._rate = manifest["audio"]["sample_rate"]
        self._windows = load_windows(clips, manifest["window_seconds"], self._rate, report)

    def run(self, clock: _Clock) -> _Result:
        """Fits the classifiers and, in the modes that do, the network."""
        extract = extractor(self._new.model)
        features = window_features(self._windows, extract, self._report)
        examples = make_examples(
            self._clips,
            self._labels,
            _from_noise(self._new, self._kept),
            self._windows,
            features,
            extract,
            self._rate,
            self._config,
            self._report,
        )
        clock.lap("features")
        prior = Rows(*self._new.rows())
        folds = self._config.folds
        if self._config.mode != "frozen":
            folds = min(folds, _FOLDS_OF_NETWORK)
        fold = fold_of_groups(self._labels, self._checks.groups, folds, self._config.seed)
        fit = cross_fit(examples, self._windows, features, self._labels, fold, prior)
        final = fit_rows(examples, prior, fit.strength)
        curve, classes = _learning_curve(
            self._new, examples, self._windows, features, self._labels, fold, fit, prior
        )
        clock.lap("fit classifiers")
        scores = out_of_fold(self._new, fit.rows, self._windows, fold)
        passes = None
        if self._config.mode != "frozen":
            passes = train_network(
                self._new,
                self._taught(),
                self._clips.labels,
                self._stay(),
                self._windows,
                fold,
                fit.rows,
                final,
                scores,
                self._config,
                self._report,
            )
            scores = passes.scores
            clock.lap("train network")
        else:
            self._new.set_rows(final.weights, final.biases)
        return _Result(scores, fold, curve, classes, passes)

    def finish(self, result: _Result) -> HierarchicalModel:
        """Returns the calibrated model; `result.scores` become those of clips by it."""
        windows, count = self._windows, len(self._clips)
        fitted = fit_calibration(
            self._taxonomy, *_smoothed(self._clips.labels, result.scores, windows.owner)
        )
        calibration = self._with_old_lines(fitted)
        model = calibrated(self._new.model, calibration)
        by_window = apply_calibration(self._taxonomy, result.scores, calibration)
        for level, values in by_window.items():
            result.scores[level] = windows.means(values, count)
        thresholds = choose_thresholds(self._clips.labels, result.scores)
        for (level, name), old in self._kept.items():
            before = self._base.manifest.get("thresholds", {}).get(old[0])
            if before is not None:
                place = self._base.taxonomy.index(old[0])[old[1]]
                thresholds[level][self._taxonomy.index(level)[name]] = before[place]
        size = windows.waveforms.shape[1]
        quiet = quiet_windows(size, self._rate, _SILENT_WINDOWS, self._config.seed)
        silence = predict(model, np.round(quiet * 32767.0).astype(np.int16))
        model.update_manifest(thresholds=above_silence(thresholds, silence))
        return model

    def _with_old_lines(self, fitted: Calibration) -> Calibration:
        """Gives classes that go on as they were the calibration that they had."""
        before = self._base.manifest.get("calibration")
        method = self._new.model.manifest["method"]["name"]
        same = method == self._base.manifest["method"]["name"]
        scale = {level: list(values) for level, values in fitted.scale.items()}
        offset = {level: list(values) for level, values in fitted.offset.items()}
        for (level, name), old in self._kept.items():
            place = self._taxonomy.index(level)[name]
            source = self._base.taxonomy.index(old[0])[old[1]]
            # Another method scores all but the finest classes in another way.
            scale[level][place], offset[level][place] = 1.0, 0.0
            if before is not None and (same or level == self._taxonomy.levels[0]):
                scale[level][place] = before["scale"][old[0]][source]
                offset[level][place] = before["offset"][old[0]][source]
        # A few clips without a contradiction are no promise; the method may give one.
        promised = method in _CONSISTENT or self._new.model.manifest["consistent"]
        raised = []
        if method == "f2ca":
            # An old map may listen to one child in place of all, and is deaf to a new one.
            raised = links_to_new_children(
                self._taxonomy, self._base.taxonomy, self._new.origin
            )
        return Calibration(scale, offset, promised, raised)

    def _stay(self) -> dict[str, np.ndarray]:
        """Returns by level, boolean `(classes,)`, the classes that are to go on unchanged."""
        return {
            level: np.array([(level, n) in self._kept for n in self._taxonomy.classes(level)])
            for level in self._taxonomy.levels
        }

    def _taught(self) -> LabelledClips:
        """Returns the clips with the old model's scores as labels of classes that go on."""
        filled = self._stay()
        # Labels of one kind alone would only lift, or lower, all answers.
        open_labels = {
            level: np.where(filled[level], -1.0, values)
            for level, values in self._clips.labels.items()
        }
        clips = LabelledClips(self._taxonomy, self._clips.paths, open_labels)
        if not (self._config.distillation and self._kept):
            return clips
        # The new model still answers for them as the old one did.
        scores = predict(self._new.model, self._windows.waveforms)
        means = {
            level: self._windows.means(values, len(self._clips))
            for level, values in scores.items()
        }
        return with_soft_labels(clips, means, filled)


def _clips(data: Any, taxonomy: Taxonomy, purpose: str) -> LabelledClips:
    if not isinstance(data, LabelledClips):
        return open_recordings(data, taxonomy)
    if data.taxonomy.hash != taxonomy.hash:
        raise LabelError(
            f"The clips to {purpose} on are labelled with the taxonomy {data.taxonomy.name!r}, "
            f"not with {taxonomy.name!r}; read the clips with the taxonomy to fine-tune on."
        )
    return data


def _mapping(mapping: Any, base: Taxonomy) -> LabelMap | None:
    if mapping is None:
        return None
    try:
        if isinstance(mapping, Mapping):
            return LabelMap.from_dict(mapping, base)
        found = mapping if isinstance(mapping, LabelMap) else LabelMap.load(mapping, base)
    except TaxonomyError as error:
        raise TaxonomyError(
            f"The mapping cannot be used: {error} It leads from your classes to a class of the "
            f"base model each ({base.name!r}), or to null."
        ) from error
    if found.taxonomy.hash != base.hash:
        raise TaxonomyError(
            f"The mapping must lead to classes of the base model's taxonomy, {base.name!r}. "
            f"Received: a map to {found.taxonomy.name!r}"
        )
    return found


def _joined(own: Taxonomy, base: Taxonomy) -> Taxonomy:
    if own.levels != base.levels:
        raise TaxonomyError(
            "Keeping the old classes needs a taxonomy with the levels of the base model, "
            f"{base.levels}. Received: {own.levels}; name the levels alike, or do not keep the "
            "old classes."
        )
    try:
        return own.merge(base, name=own.name)
    except TaxonomyError as error:
        raise TaxonomyError(
            f"The old classes cannot be kept beside the new ones: {error} Give shared classes "
            "the parents they have in the base model's taxonomy, or rename them."
        ) from error


def _smoothed(
    labels: Mapping[str, np.ndarray], scores: Scores, owner: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Adds one mistake of each kind a class to what the calibration is fitted on.

    Where a few clips are told apart without a mistake, the likelihood has no end and every
    answer would become certain. Platt (1999) smooths the labels to the same effect.

    Returns:
        Labels, scores of windows and the windows' owners, with two clips of one window more.
    """
    found: dict[str, np.ndarray] = {}
    windows: dict[str, np.ndarray] = {}
    for level, values in labels.items():
        both = learnable(values)
        # Labels of one kind would move the line of the whole level without end.
        values = np.where(both, values, -1.0)
        clips, classes = values.shape
        wrong, typical = np.full((2, classes), -1.0), np.full((2, classes), 0.5)
        for i in np.flatnonzero(both):
            given = values[owner, i]
            wrong[:, i] = 1.0, 0.0
            typical[0, i] = np.median(scores[level][(given >= 0) & (given <= 0.5), i])
            typical[1, i] = np.median(scores[level][given > 0.5, i])
        if not both.any():
            wrong[:, 0] = 1.0, 0.0  # at one half: the level's scores stay as they are
        found[level] = np.concatenate([values, wrong])
        windows[level] = np.concatenate([scores[level], typical])
    return found, windows, np.concatenate([owner, [clips, clips + 1]])


def _going_on(new: Transplant, clips: LabelledClips) -> dict[ClassKey, ClassKey]:
    """Returns the known classes that the clips teach nothing about, and what they were.

    Nothing tells a class from others where no clip shows it, or none is known to lack it.
    """
    both = {level: learnable(values) for level, values in clips.labels.items()}
    return {
        (level, name): old
        for (level, name), old in new.origin.items()
        if not both[level][clips.taxonomy.index(level)[name]]
    }


def _from_noise(new: Transplant, kept: Mapping[ClassKey, ClassKey]) -> np.ndarray:
    """Tells which classifiers may have sound without music as their only absent examples."""
    if new.model.manifest["method"]["name"] == "top_down":
        # There a class is told from its siblings, of which it may have none.
        return np.array([column.key not in kept for column in new.columns])
    return np.array([column.key not in new.origin for column in new.columns])


def _column_labels(new: Transplant, clips: LabelledClips) -> np.ndarray:
    """Returns the labels of each linear classifier, `(clips, columns)`."""
    taxonomy = clips.taxonomy
    top_down = new.model.manifest["method"]["name"] == "top_down"
    columns = []
    for column in new.columns:
        level, name = column.key
        values = clips.labels[level][:, taxonomy.index(level)[name]]
        if top_down:
            # There a classifier answers for clips that show the class's parents only.
            for above, parent in taxonomy.parents(name, level):
                shown = clips.labels[above][:, taxonomy.index(above)[parent]] > 0.5
                values = np.where(shown, values, -1.0)
        columns.append(values)
    return np.stack(columns, axis=1).astype(np.float32)


def _learning_curve(
    new: Transplant,
    examples: Examples,
    windows: Windows,
    features: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    fit: CrossFit,
    prior: Rows,
) -> tuple[Curve | None, tuple[str, ...]]:
    """Measures the finest classes with parts of the clips; None for fewer than 16 clips."""
    finest = new.model.taxonomy.levels[0]
    chosen = [
        number
        for number, column in enumerate(new.columns)
        if column.key[0] == finest
        and (labels[:, number] > 0.5).sum() >= 2
        and (labels[:, number] == 0).any()
    ]
    names = tuple(new.columns[number].key[1] for number in chosen)
    if len(labels) < 2 * _PARTS or not chosen:
        return None, names
    found = np.empty((len(_POINTS), _REPEATS, len(chosen)))
    for repeat in range(_REPEATS):
        part = fold_of_groups(labels, np.arange(len(labels)), _PARTS, 100 + repeat)
        for point, parts in enumerate(_POINTS):
            scores = np.zeros((len(labels), len(chosen)))
            for number, rows in enumerate(fit.rows):
                held = fold == number
                if parts < _PARTS:
                    strength = fit.strength * _PARTS / parts
                    rest = examples.without(held | (part >= parts))
                    rows = fit_rows(rest, prior, strength)
                inside = held[windows.owner]
                values = rows.probabilities(features[inside])[:, chosen]
                scores[held] = windows.of(held).means(values, len(labels))[held]
            found[point, repeat] = metrics.average_precision(labels[:, chosen], scores)
    positives = (labels[:, chosen] > 0.5).sum(axis=0).mean()
    folds = int(fold.max()) + 1
    sizes = positives * (folds - 1) / folds * np.array(_POINTS) / _PARTS
    return Curve(sizes, np.nanmean(found, axis=2), found), names


def _text(key: ClassKey) -> str:
    return f"{key[0]}:{key[1]}"
