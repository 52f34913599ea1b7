"""Running the trials of a comparison: in parallel, resumable, and within a time limit."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from .._files import read_json, write_json
from ..data import processes
from ..data.feature_sets import FeatureSet, FeatureSplits
from ..errors import HmicError, ModelError
from ._baselines import PerClassBaseline
from ._contenders import Contender, TrialSettings

MONITORS = ("au_prc", "map")
_SPLIT_SEED = 0

Progress = Callable[[int, int], None]


class OutOfTime(Exception):
    """The time for a comparison is over; what is not finished is left for the next run."""


@dataclass(frozen=True)
class Deadline:
    """A moment, by the clock of the machine, after which work stops."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None) -> "Deadline":
        """Returns the deadline in so many seconds, or none."""
        return cls(None if seconds is None else time.time() + seconds)

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.at is not None and time.time() >= self.at

    def check(self) -> None:
        """Raises `OutOfTime` once it is over."""
        if self.passed:
            raise OutOfTime


@dataclass(frozen=True)
class Protocol:
    """What every trial of a comparison has in common.

    Attributes:
        settings: How networks are trained unless a contender says otherwise.
        monitor: What the choice of the epoch goes by: `"au_prc"`, the average precision over
            all levels together, or `"map"`, the mean over levels of the macro mean average
            precision.
        validation: Share of the training part held out for that choice where the data set has
            no validation part; one split for all contenders and seeds.
        refit: Whether networks without patience, and all baselines, are fitted on the
            validation part of the data set too.
    """

    settings: TrialSettings = field(default_factory=TrialSettings)
    monitor: str = "map"
    validation: float = 0.15
    refit: bool = True

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise ModelError(f"`monitor` must be one of {MONITORS}. Received: {self.monitor!r}")
        if not 0 < self.validation < 1:
            raise ModelError(
                f"`validation` must be above 0 and below 1. Received: {self.validation!r}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Returns it ready for JSON."""
        return asdict(self)

    def parts(
        self, data: FeatureSplits, patience: bool
    ) -> tuple[FeatureSet, FeatureSet | None, FeatureSet]:
        """Returns what to fit on, what to choose the epoch on, and what to score.

        Args:
            data: The data set; all of its tests are scored in one go.
            patience: Whether an epoch is chosen.
        """
        scored = data.test
        for other in data.other_tests.values():
            scored = scored.join(other)
        if patience:
            if data.valid is not None:
                return data.train, data.valid, scored
            rest, held = data.train.split(self.validation, _SPLIT_SEED)
            return rest, held, scored
        if data.valid is not None and self.refit:
            return data.train.join(data.valid), None, scored
        return data.train, None, scored


@dataclass(frozen=True)
class Unit:
    """Trials that are run by one process, one after the other or together."""

    contender: Contender
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """All that a process needs to run a unit."""

    data: str
    out: str
    protocol: Protocol
    digest: str
    deadline: Deadline

    def path(self, contender: Contender, seed: int) -> Path:
        """Returns where the result of a trial is written."""
        return Path(self.out) / "trials" / contender.name / f"seed{seed}.json"

    def fingerprint(self, contender: Contender, seed: int) -> str:
        """Identifies what a trial's result depends on."""
        content = [contender.to_dict(), seed, self.protocol.to_dict(), self.digest]
        text = json.dumps(content, sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()

    def read(self, contender: Contender, seed: int) -> dict[str, Any] | None:
        """Returns a trial's result, or None if there is none yet.

        Raises:
            HmicError: If the file belongs to another comparison or cannot be read.
        """
        path = self.path(contender, seed)
        if not path.exists():
            return None
        try:
            found = read_json(path)
        except ValueError as error:
            raise HmicError(
                f"{path}: is no JSON ({error}). Remove it to run the trial again."
            ) from error
        if not isinstance(found, dict) or found.get("fingerprint") != self.fingerprint(
            contender, seed
        ):
            raise HmicError(
                f"{path}: is the result of another data set, other settings or another "
                "contender of this name. Choose another `out` or remove the folder."
            )
        return found


def digest(data: FeatureSplits) -> str:
    """Identifies the content of a data set."""
    found = hashlib.sha256(data.taxonomy.hash.encode())
    for name, part in data.parts().items():
        # The main parts are told apart by their order, as they were before there were others.
        if name not in ("train", "test", "valid"):
            found.update(name.encode())
        for array in (part.features, *part.labels.values()):
            found.update(str(array.shape).encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def run_units(
    units: Sequence[tuple[Plan, Unit]], jobs: int, progress: Progress | None = None
) -> bool:
    """Runs units, several at a time; their results are written as they are done.

    Args:
        units: What to run, each with the plan it belongs to, the longest first.
        jobs: Number of processes; 1 runs them in this one.
        progress: Called with the number of trials done and their total.

    Returns:
        Whether all were done in time.

    Raises:
        HmicError: If a process ends before its work is done.
        Exception: What a unit raised, after all others were run.
    """
    total = sum(len(unit.seeds) for _, unit in units)
    done = 0
    failed: list[Exception] = []
    for unit, outcome in _in_turn(units) if jobs == 1 else _side_by_side(units, jobs):
        if isinstance(outcome, Exception):
            outcome.add_note(f"The contender was {unit.contender.name!r}.")
            failed.append(outcome)
        elif outcome:
            done += len(unit.seeds)
        if progress is not None:
            progress(done, total)
    if failed:
        # One contender that cannot be trained does not cost the work of the others.
        raise failed[0]
    return done == total


_Outcome = bool | Exception


def _in_turn(units: Sequence[tuple[Plan, Unit]]) -> Iterator[tuple[Unit, _Outcome]]:
    for plan, unit in units:
        future: Future[bool] = Future()
        try:
            future.set_result(run_unit(plan, unit))
        except HmicError as error:
            future.set_exception(error)
        yield unit, _outcome(future)


def _outcome(future: "Future[bool]") -> _Outcome:
    error = future.exception()
    if isinstance(error, BrokenProcessPool):
        raise processes.died("hmic_keras.evaluation.compare") from error
    if error is None:
        return future.result()
    if not isinstance(error, Exception):
        raise error
    return error


def _side_by_side(
    units: Sequence[tuple[Plan, Unit]], jobs: int
) -> Iterator[tuple[Unit, _Outcome]]:
    waiting = list(units)
    running: dict[Future[bool], Unit] = {}
    with processes.pool(min(jobs, max(1, len(units)))) as pool:
        while True:
            # No more than are being worked on, so that a deadline leaves nothing in a queue.
            while waiting and len(running) < jobs and not waiting[0][0].deadline.passed:
                plan, unit = waiting.pop(0)
                running[pool.submit(run_unit, plan, unit)] = unit
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), _outcome(future)


def run_unit(plan: Plan, unit: Unit) -> bool:
    """Runs a unit's trials and writes their results; returns whether there was time for all."""
    if plan.deadline.passed:
        return False
    data = _load(plan.data, plan.digest)
    settings = plan.protocol.settings.replace(unit.contender.settings)
    try:
        if unit.contender.is_baseline:
            _run_baseline(plan, unit, data)
        else:
            _run_networks(plan, unit, data, settings)
    except OutOfTime:
        return False
    return True


@lru_cache(maxsize=1)
def _load(path: str, content: str) -> FeatureSplits:
    """Reads a data set; a process runs many units of one.

    Args:
        path: The file.
        content: Its digest, so that another data set at this path is read anew.
    """
    return FeatureSplits.load(path)


def _run_networks(plan: Plan, unit: Unit, data: FeatureSplits, settings: TrialSettings) -> None:
    from ._networks import keep_programs, monitor, train

    keep_programs(Path(plan.out) / "compiled")
    parts = plan.protocol.parts(data, bool(settings.patience))
    measure = monitor(plan.protocol.monitor)
    trained = train(unit.contender, settings, parts, unit.seeds, measure, plan.deadline)
    import keras

    for seed, one in zip(unit.seeds, trained, strict=True):
        _write(
            plan,
            unit.contender,
            seed,
            data,
            one.scores,
            {
                "epochs": one.epochs,
                "parameters": one.parameters,
                "seconds": one.seconds,
                "validation": one.monitored,
                "backend": keras.config.backend(),
                "trained_together": len(unit.seeds) if keras.config.backend() == "jax" else 1,
            },
        )


def _run_baseline(plan: Plan, unit: Unit, data: FeatureSplits) -> None:
    contender = unit.contender
    rows, _, scored = plan.protocol.parts(data, patience=False)
    made: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
    for seed in unit.seeds:
        plan.deadline.check()
        # Logistic regression has one solution, whatever the seed.
        if made is None or contender.method != "logistic_regression":
            started = time.perf_counter()
            model = PerClassBaseline(contender.method, contender.options, seed).fit(rows)
            seconds = time.perf_counter() - started
            made = (
                model.predict(scored.features),
                {"parameters": model.parameters, "seconds": seconds, "backend": "scikit-learn"},
            )
        _write(plan, contender, seed, data, *made)


def _write(
    plan: Plan,
    contender: Contender,
    seed: int,
    data: FeatureSplits,
    scores: dict[str, np.ndarray],
    facts: dict[str, Any],
) -> None:
    """Writes a trial, from its scores of the test and then of the other ones."""
    found, start = {}, 0
    for name, rows in {"": data.test, **data.other_tests}.items():
        part = {level: values[start : start + len(rows)] for level, values in scores.items()}
        found[name] = _evaluated(rows, part, contender.consistent)
        start += len(rows)
    others = {name: result for name, result in found.items() if name}
    write_json(
        plan.path(contender, seed),
        {
            "contender": contender.name,
            "seed": seed,
            "fingerprint": plan.fingerprint(contender, seed),
            **facts,
            **found[""],
            **({"other_tests": others} if others else {}),
        },
    )


def _evaluated(
    rows: FeatureSet, scores: dict[str, np.ndarray], consistent: bool
) -> dict[str, Any]:
    taxonomy = rows.taxonomy
    if consistent:
        scores = metrics.ancestor_closed(taxonomy, scores)
    results = metrics.evaluate(taxonomy, rows.labels, scores)
    for level in results["levels"].values():
        del level["per_class"]
    au_prc = metrics.hierarchical_average_precision(taxonomy, rows.labels, scores)
    return {"au_prc": au_prc, "results": results}
