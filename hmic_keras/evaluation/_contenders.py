"""What is compared, and how each contender is trained."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..data.feature_sets import FeatureSet
from ..errors import ModelError

BASELINES = ("logistic_regression", "random_forest")
"""Contenders without a network, one classifier a class, by scikit-learn."""


@dataclass(frozen=True)
class TrialSettings:
    """How a network is built and trained; the same for every contender unless it says so.

    Attributes:
        units: Width of each hidden layer of the `mlp` backbone.
        dropout: Its rate of dropout.
        learning_rate: Learning rate of Adam.
        weight_decay: Decoupled weight decay.
        batch_size: Examples a step.
        epochs: The most passes over the training part.
        patience: Looks at the validation part without a better `monitor` before training stops
            and the best weights come back; 0 trains for `epochs` and never looks.
        validate_every: Passes from one look to the next.
        level_weights: `"equal"`, every level's loss counts once; or `"classes"`, by its share
            of the classes, so that every class counts the same, as in C-HMCNN.
    """

    units: tuple[int, ...] = (512,)
    dropout: float = 0.5
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    batch_size: int = 64
    epochs: int = 100
    patience: int = 10
    validate_every: int = 1
    level_weights: str = "equal"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))
        for name in ("batch_size", "epochs", "validate_every"):
            _check(name, getattr(self, name), 1, math.inf, "a positive integer", int)
        _check("patience", self.patience, 0, math.inf, "an integer of at least 0", int)
        _check("learning_rate", self.learning_rate, 1e-12, math.inf, "a positive number")
        _check("weight_decay", self.weight_decay, 0, math.inf, "a number of at least 0")
        if self.level_weights not in ("equal", "classes"):
            raise ModelError(
                "`level_weights` must be 'equal' or 'classes'. Received: "
                f"{self.level_weights!r}"
            )

    def replace(self, changes: Mapping[str, Any]) -> "TrialSettings":
        """Returns these settings with some changed.

        Raises:
            ModelError: If a name is unknown or a value out of its range.
        """
        known = {one.name for one in dataclasses.fields(self)}
        if unknown := set(changes) - known:
            raise ModelError(
                f"`settings` may hold {sorted(known)}. Received: {sorted(unknown)}"
            )
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Contender:
    """One row of a comparison.

    Attributes:
        method: A method of `build_model`, or one of `BASELINES`.
        name: What tables call it; the method's name by default.
        options: Options of the method, or of scikit-learn's estimator. Where training labels
            end at inner classes, `compare` adds `own_scores=True` for methods that have it,
            unless it is given.
        backbone: `"mlp"`, on feature vectors, or another backbone of `build_model`, which is
            trained end to end: the features are then log-mel frames `(rows, frames, mels)`.
        backbone_options: Options of the backbone beyond `units` (of `mlp` only) and `dropout`.
        settings: Changes of the comparison's `TrialSettings`.
        consistent: Whether scores are made to obey the hierarchy after the fact: every class
            scores at least as high as its highest descendant.
        self_training: None, or the options of `pseudo_labels.pseudo_labels`: what nobody
            observed in the training part is then filled in by the trained network, and a new
            one is trained on that, with the same settings.
    """

    method: str
    name: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    backbone: str = "mlp"
    backbone_options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    consistent: bool = False
    self_training: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.method)
        if not self.name.replace("_", "").replace("-", "").replace(".", "").isalnum():
            raise ModelError(
                "`name` of a contender must be letters, digits, '_', '-' and '.', since files "
                f"are called after it. Received: {self.name!r}"
            )
        if self.method not in BASELINES:
            from .. import backbones, heads

            heads.get(self.method)
            backbones.get(self.backbone)
        elif self.self_training is not None:
            raise ModelError(
                "`self_training` is for networks; a baseline is fitted on observed labels. "
                f"Received: {self.method!r} with {self.self_training!r}"
            )

    @property
    def is_baseline(self) -> bool:
        """Whether it needs no network."""
        return self.method in BASELINES

    def to_dict(self) -> dict[str, Any]:
        """Returns what defines it, ready for JSON."""
        return {
            "method": self.method,
            "name": self.name,
            "options": dict(self.options),
            # Left out where it was not asked for: trials are known by what defines them.
            **({} if self.backbone == "mlp" else {"backbone": self.backbone}),
            "backbone_options": dict(self.backbone_options),
            "settings": dict(self.settings),
            "consistent": self.consistent,
            "self_training": None if self.self_training is None else dict(self.self_training),
        }


def as_contenders(
    methods: Sequence[str | Contender] | Mapping[str, Mapping[str, Any]],
) -> tuple[Contender, ...]:
    """Makes contenders of names, or of a mapping from names to what `Contender` takes.

    Raises:
        ModelError: If there are none, a method or argument is unknown, or a name is repeated.
    """
    if isinstance(methods, str):
        raise ModelError(f"`methods` must be a list of methods. Received: {methods!r}")
    found = []
    known = {one.name for one in dataclasses.fields(Contender)}
    for one in methods:
        if isinstance(one, Contender):
            found.append(one)
            continue
        arguments = dict(methods[one]) if isinstance(methods, Mapping) else {}
        if unknown := set(arguments) - known:
            raise ModelError(
                f"`methods[{one!r}]` may hold {sorted(known)}. Received: {sorted(unknown)}"
            )
        found.append(Contender(**{"method": one, "name": one, **arguments}))
    names = [one.name for one in found]
    if not found or len(set(names)) < len(names):
        raise ModelError(
            f"`methods` must hold at least one contender, each name once. Received: {names}"
        )
    return tuple(found)


def suited(contender: Contender, train: FeatureSet) -> Contender:
    """Gives inner classes a score of their own where training labels end at one.

    Methods with an option `own_scores` are told so, unless the contender says it itself: a
    coarse class that scores by its children alone cannot be right where it has none of them.
    """
    if contender.is_baseline or "own_scores" in contender.options:
        return contender
    from .. import heads

    if (
        not accepts(heads.get(contender.method), "own_scores")
        or not train.ends_at_inner_classes()
    ):
        return contender
    return dataclasses.replace(contender, options={**contender.options, "own_scores": True})


def accepts(function: Callable[..., Any], option: str) -> bool:
    """Whether a backbone or a head has an option."""
    return option in inspect.signature(function).parameters


def _check(
    name: str, value: Any, low: float, high: float, rule: str, kind: Any = (int, float)
) -> None:
    number = isinstance(value, kind) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not low <= value <= high:
        raise ModelError(f"`{name}` must be {rule}. Received: {value!r}")
