"""`compare`: contenders and seeds on one data set, to tables, tests and plots."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from ..data.feature_sets import FeatureSplits
from ..errors import HmicError
from ._comparison import Comparison
from ._contenders import Contender, TrialSettings, as_contenders, suited
from ._trials import (
    Deadline,
    Plan,
    Progress,
    Protocol,
    Unit,
    digest,
    run_units,
)


def compare(
    data: FeatureSplits,
    methods: Sequence[str | Contender] | Mapping[str, Mapping[str, Any]],
    out: str | os.PathLike[str],
    *,
    seeds: int | Sequence[int] = 5,
    settings: TrialSettings | Mapping[str, Any] | None = None,
    monitor: str = "map",
    validation: float = 0.15,
    jobs: int = 1,
    together: int = 1,
    seconds: float | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Trains and scores every contender with every seed, under the same conditions.

    All contenders see the same parts of the data, the same features, the same budget of epochs
    and the same rule for stopping early. Each finished trial is one file in `out/trials`; a
    comparison that was interrupted goes on there when called again, and one that has grown by
    contenders or seeds trains only what is new.

    Args:
        data: The data set, in the units networks like; see `FeatureSplits.standardise`.
        methods: Names of methods and of the baselines `"logistic_regression"` and
            `"random_forest"`; `Contender`s; or a mapping from a name to the arguments of its
            `Contender`, such as `{"gmp": {}, "wide": {"method": "gmp", "settings": {"units":
            (2048,)}}}`.
        out: Folder of the comparison.
        seeds: The seeds, or how many, from 0.
        settings: How networks are trained: `TrialSettings`, or changes of its defaults.
        monitor: What the epoch is chosen by: `"map"`, the mean over levels of the macro mean
            average precision, or `"au_prc"`, the average precision over all levels together.
        validation: Share of the training part to hold out for that where the data set has no
            validation part.
        jobs: Trials to run side by side, each in a process with one thread.
        together: On the JAX backend, seeds of a contender to train at once in one program.
        seconds: Time after which no trial is begun or continued.
        progress: Called with the number of trials done and their total.

    Returns:
        The comparison of what was finished. It is also written to `out`: see
        `Comparison.write`.

    Raises:
        HmicError: If an argument is out of its range, `out` holds another comparison, or the
            time was over before a single seed of all contenders was finished.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from hmic_keras import Taxonomy
        >>> from hmic_keras.data import FeatureSet, FeatureSplits
        >>> random = np.random.default_rng(0)
        >>> def draw(rows):
        ...     x = random.normal(size=(rows, 4))
        ...     return FeatureSet(taxonomy, x, {"fine": x[:, :3] > 0})
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
        >>> data = FeatureSplits("signs", train=draw(60), test=draw(60))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = compare(data, ["logistic_regression", "random_forest"], folder)
        >>> result.scores("map.coarse")["logistic_regression"].shape
        (5,)
    """
    contenders = tuple(suited(one, data.train) for one in as_contenders(methods))
    numbers = _checked_seeds(seeds)
    for name, value in (("jobs", jobs), ("together", together)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise HmicError(f"`{name}` must be a positive integer. Received: {value!r}")
    if not isinstance(settings, TrialSettings):
        settings = TrialSettings().replace(settings or {})
    for contender in contenders:
        settings.replace(contender.settings)
    if any(np.isnan(part.features).any() for part in data.parts().values()):
        raise HmicError(
            "`data` must have no missing values (NaN). Call `data.standardise()`, which fills "
            "them with the mean of their column."
        )
    protocol = Protocol(settings, monitor, validation)
    plan = make_plan(data, out, protocol, Deadline.after(seconds))
    run_units(open_units(plan, contenders, numbers, together), jobs, progress)
    comparison = collect(plan, data, contenders, numbers)
    comparison.write(out)
    return comparison


def make_plan(
    data: FeatureSplits, out: str | os.PathLike[str], protocol: Protocol, deadline: Deadline
) -> Plan:
    """Leaves the data where processes find it, and says what their trials have in common."""
    path = Path(out) / "data.npz"
    content = digest(data)
    if not path.exists() or digest(FeatureSplits.load(path)) != content:
        data.save(path)
    return Plan(os.fspath(path), os.fspath(out), protocol, content, deadline)


def open_units(
    plan: Plan, contenders: Sequence[Contender], seeds: Sequence[int], together: int
) -> list[tuple[Plan, Unit]]:
    """Returns what is still to be run, in units of at most `together` seeds."""
    units = []
    for contender in contenders:
        missing = [seed for seed in seeds if plan.read(contender, seed) is None]
        # The trials of a baseline share what does not depend on the seed.
        size = len(seeds) if contender.is_baseline else together
        units += [
            (plan, Unit(contender, tuple(missing[start : start + size])))
            for start in range(0, len(missing), size)
        ]
    return units


def collect(
    plan: Plan, data: FeatureSplits, contenders: Sequence[Contender], seeds: Sequence[int]
) -> Comparison:
    """Reads what is finished, of the seeds that every contender has finished."""
    found = {
        contender.name: {seed: plan.read(contender, seed) for seed in seeds}
        for contender in contenders
    }
    common = [seed for seed in seeds if all(trials[seed] for trials in found.values())]
    if not common:
        done = sum(bool(trial) for trials in found.values() for trial in trials.values())
        raise HmicError(
            f"The time was over before all contenders had finished a seed; {done} trials are "
            f"done and kept in {plan.out}. Call again with the same arguments to go on."
        )
    taxonomy = data.taxonomy
    return Comparison(
        {
            "data": data.name,
            "digest": plan.digest,
            "taxonomy": {level: len(taxonomy.classes(level)) for level in taxonomy.levels},
            "examples": {
                "train": len(data.train),
                "valid": None if data.valid is None else len(data.valid),
                "test": len(data.test),
                **(
                    {"other_tests": {name: len(o) for name, o in data.other_tests.items()}}
                    if data.other_tests
                    else {}
                ),
            },
            "chance": {
                level: _or_none(metrics.prevalence_baseline(data.test.labels[level]))
                for level in taxonomy.levels
            },
            # As JSON reads it back, lists for tuples.
            **json.loads(
                json.dumps(
                    {
                        "protocol": plan.protocol.to_dict(),
                        "contenders": [contender.to_dict() for contender in contenders],
                    }
                )
            ),
            "seeds": list(common),
            "complete": len(common) == len(seeds),
        },
        {
            name: [trial for seed in common if (trial := trials[seed]) is not None]
            for name, trials in found.items()
        },
    )


def _checked_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if (
        not numbers
        or len(set(numbers)) < len(numbers)
        or any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in numbers)
    ):
        raise HmicError(
            "`seeds` must be a positive number of seeds, or different integers of at least 0. "
            f"Received: {seeds!r}"
        )
    return numbers


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
