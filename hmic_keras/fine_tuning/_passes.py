"""Training the network itself, as long as that helps on clips it does not see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .. import training
from ..config import FineTuneConfig, TrainConfig
from ..data.sources.folder import LabelledClips
from ..hierarchical_model import HierarchicalModel
from ..layers import LogMelSpectrogram
from ..models import CLIP_POOL
from ._crops import Report, Windows, as_float, in_batches, split_augmentation
from ._linear import Rows, surprise
from ._surgery import Transplant

_SLOWER = 3.0  # by how much the learning rate falls where everything learns
_STAYING = 10.0  # and where old classes are to stay, so that an epoch does not go too far
# How far answers for old classes may move, as a divergence a label, in nats: about as much cost
# hmic-mobile one point of mean average precision, of the two that old classes may lose.
MOST_DRIFT = 0.01
_EDGE = 1e-6

Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class Stage:
    """Some epochs in which some layers learn.

    Attributes:
        layers: Names of the layers that learn.
        epochs: How many passes at most.
        learning_rate: Peak learning rate.
    """

    layers: frozenset[str]
    epochs: int
    learning_rate: float


def stages(
    model: HierarchicalModel, config: FineTuneConfig, *, slowly: bool = False
) -> list[Stage]:
    """Returns what learns when.

    Batch normalisation and the front end never learn: the statistics of a few clips would
    replace those of the whole training set.

    Args:
        model: The model.
        config: The settings.
        slowly: Whether there are classes that are to stay as they are, for which the network
            must not go far.
    """
    names = [layer.name for layer in model.layers]
    pool = names.index(CLIP_POOL)
    able = [
        layer
        for layer in model.layers
        if layer.trainable_variables
        and not isinstance(layer, keras.layers.BatchNormalization | LogMelSpectrogram)
    ]
    network = [layer.name for layer in able if names.index(layer.name) < pool]
    head = frozenset(layer.name for layer in able) - frozenset(network)
    whole = head | frozenset(network)
    rate = config.learning_rate / (_STAYING if slowly else 1.0)
    if config.mode == "full":
        return [Stage(whole, config.epochs, rate / _SLOWER)]
    top = network[-max(1, -(-len(network) // 3)) :]
    first = max(1, config.epochs // 2)
    found = [Stage(head | frozenset(top), first, rate)]
    if config.epochs > first:
        found.append(Stage(whole, config.epochs - first, rate / _SLOWER))
    return found


def predict(model: HierarchicalModel, waveforms: np.ndarray) -> Scores:
    """Scores int16 windows; returns probabilities by level, `(windows, classes)`."""
    return in_batches(lambda batch: model.predict_on_batch(as_float(batch)), waveforms)


def out_of_fold(
    new: Transplant, rows: Sequence[Rows], windows: Windows, fold: np.ndarray
) -> Scores:
    """Scores every window by the classifiers that were fitted without its clip."""
    found: Scores = {}
    for number, one in enumerate(rows):
        held = fold == number
        new.set_rows(one.weights, one.biases)
        _place(found, predict(new.model, windows.of(held).waveforms), held[windows.owner])
    return found


@dataclass(frozen=True)
class Passes:
    """How training the network went.

    Attributes:
        scores: Of every window, by a model that was trained without its clip for as many
            epochs as were best.
        epochs: That number; 0 if the network is better left as it is.
        losses: Cross-entropy a label on clips not trained on, by epoch, from 0 on.
        drift: How far the answers for classes that were to stay moved on those clips, by epoch
            (Kullback-Leibler divergence a label, in nats); empty if there are none.
        history: Of the final training, a row an epoch.
    """

    scores: Scores
    epochs: int
    losses: list[float]
    drift: list[float]
    history: list[dict[str, float]]


def train_network(
    new: Transplant,
    clips: LabelledClips,
    observed: Mapping[str, np.ndarray],
    kept: Mapping[str, np.ndarray],
    windows: Windows,
    fold: np.ndarray,
    folds: Sequence[Rows],
    final: Rows,
    frozen: Scores,
    config: FineTuneConfig,
    report: Report,
) -> Passes:
    """Trains the network in folds, to learn for how long, and then on all clips.

    The best number of epochs has the least sum of the loss on clips not trained on and of the
    drift of the classes that are to stay, which may not exceed `MOST_DRIFT`.

    Args:
        new: The model; afterwards it is the trained one.
        clips: What to train on, soft labels of old classes among them.
        observed: The labels that people gave, by which epochs are compared.
        kept: By level, boolean `(classes,)`: the classes that are to stay as they are.
        windows: The clips' windows.
        fold: The clips' folds.
        folds: Classifiers fitted without the clips of each fold.
        final: Classifiers fitted on all.
        frozen: Scores of every window by `folds` on the network as it is.
        config: The settings.
        report: Told how far it is.
    """
    start = new.model.get_weights()
    stay = any(chosen.any() for chosen in kept.values())
    plan = stages(new.model, config, slowly=stay)
    epochs = sum(stage.epochs for stage in plan)
    scores: list[Scores] = [frozen, *({} for _ in range(epochs))]
    total = epochs * (len(folds) + 1)
    for number, rows in enumerate(folds):
        held = fold == number
        new.model.set_weights(start)
        new.set_rows(rows.weights, rows.biases)
        part = windows.of(held)

        def keep(
            epoch: int, part: Windows = part, held: np.ndarray = held, number: int = number
        ) -> None:
            _place(scores[epoch], predict(new.model, part.waveforms), held[windows.owner])
            report("train", number * epochs + epoch, total)

        run_stages(new.model, clips.subset(np.flatnonzero(~held)), plan, epochs, config, keep)
    losses = [_loss(observed, one, windows) for one in scores]
    drift = [_drift(kept, frozen, one) for one in scores] if stay else []
    costs = np.array(losses)
    if drift:
        costs = np.where(np.array(drift) <= MOST_DRIFT, costs + drift, np.inf)
    best = int(np.argmin(costs))
    new.model.set_weights(start)
    new.set_rows(final.weights, final.biases)
    done = len(folds) * epochs
    history = run_stages(
        new.model, clips, plan, best, config, lambda epoch: report("train", done + epoch, total)
    )
    report("train", total, total)
    return Passes(scores[best], best, losses, drift, history)


def run_stages(
    model: HierarchicalModel,
    clips: LabelledClips,
    plan: Sequence[Stage],
    epochs: int,
    config: FineTuneConfig,
    after: Callable[[int], None],
) -> list[dict[str, float]]:
    """Trains a model for some epochs of a plan.

    Args:
        model: The model; afterwards all of its layers can learn again.
        clips: What to train on.
        plan: The stages.
        epochs: How many epochs of them, in all.
        config: The settings.
        after: Called after each epoch with its number, from 1 on.

    Returns:
        The history, a row an epoch.
    """
    history: list[dict[str, float]] = []
    done = 0
    for number, stage in enumerate(plan):
        if done >= epochs:
            break
        _let_learn(model, stage.layers)
        watch = _After(after, done, epochs)
        result = training.fit(
            model, clips, _training(model, stage, config, number), callbacks=[watch]
        )
        names = list(result.history)
        rows = zip(*result.history.values(), strict=True)
        history += [dict(zip(names, row, strict=True)) for row in rows]
        done += stage.epochs
    _let_learn(model, None)
    return history


class _After(keras.callbacks.Callback):
    """Calls a function after every epoch, and stops after the last one that is wanted."""

    def __init__(self, after: Callable[[int], None], done: int, epochs: int) -> None:
        super().__init__()
        self._call, self._done, self._epochs = after, done, epochs

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._call(self._done + epoch + 1)
        if self._done + epoch + 1 >= self._epochs:
            self.model.stop_training = True


def _training(
    model: HierarchicalModel, stage: Stage, config: FineTuneConfig, number: int
) -> TrainConfig:
    host, waveform = split_augmentation(config)
    spec: dict[str, Any] = {**waveform, **({"host": host} if host else {})}
    if config.mixed:
        spec["mix"] = {"name": "mixup", "alpha": 1.0, "probability": config.mixed}
    return TrainConfig(
        epochs=stage.epochs,
        batch_size=config.batch_size,
        crop_seconds=model.manifest["window_seconds"],
        learning_rate=stage.learning_rate,
        weight_decay=1e-3,
        clip_norm=1.0,
        augmentation=spec,
        validation_fraction=0.0,
        seed=config.seed + number,
    )


def _let_learn(model: HierarchicalModel, names: frozenset[str] | None) -> None:
    for layer in model.layers:
        layer.trainable = True if names is None else layer.name in names


def _loss(observed: Mapping[str, np.ndarray], scores: Scores, windows: Windows) -> float:
    total, count = 0.0, 0
    for level, labels in observed.items():
        total += surprise(labels, windows.means(scores[level], len(labels))).sum()
        count += int((labels >= 0).sum())
    return total / max(1, count)


def _drift(kept: Mapping[str, np.ndarray], before: Scores, after: Scores) -> float:
    """Returns the mean Kullback-Leibler divergence of answers for the classes in `kept`."""
    total, count = 0.0, 0
    for level, chosen in kept.items():
        p, q = (np.clip(one[level][:, chosen], _EDGE, 1 - _EDGE) for one in (before, after))
        total += float((p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum())
        count += p.size
    return total / max(1, count)


def _place(into: Scores, scores: Scores, rows: np.ndarray) -> None:
    for level, values in scores.items():
        if level not in into:
            into[level] = np.zeros((len(rows), values.shape[1]))
        into[level][rows] = values
