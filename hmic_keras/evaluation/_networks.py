"""Training networks on feature vectors, one at a time or, on JAX, several seeds at once."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from .. import backbones
from ..data.feature_sets import FeatureSet
from ..hierarchical_model import make_training_variables
from ..metrics import mean_average_precision
from ..models import build_model
from ..pseudo_labels import PseudoLabels, pseudo_labels
from ._contenders import Contender, TrialSettings, accepts

Scores = dict[str, np.ndarray]
Monitor = Callable[[FeatureSet, Scores], float]

_PREDICT_BATCH = 1024  # feature vectors
_PREDICT_FRAMES = 20_000  # of spectrograms


@dataclass(frozen=True)
class Trained:
    """One trained network.

    Attributes:
        scores: Its scores of the test part.
        own: Its scores of the part it was trained on.
        epochs: Passes that its weights come from.
        parameters: Its trainable weights.
        seconds: Time of training, that of the validation included; an equal share of it where
            several seeds were trained at once.
        monitored: Best value on the validation part; None where none was looked at.
    """

    scores: Scores
    own: Scores
    epochs: int
    parameters: int
    seconds: float
    monitored: float | None


class Clock(Protocol):
    """Says whether there is time left."""

    def check(self) -> None:
        """Raises an exception when there is none."""


def monitor(name: str) -> Monitor:
    """Returns a measure to choose epochs by: `"au_prc"`, or `"map"`, the mean over levels."""

    def area(rows: FeatureSet, scores: Scores) -> float:
        # As metrics.hierarchical_average_precision, on labels that are closed already.
        levels = rows.taxonomy.levels
        truth = np.concatenate([rows.labels[level] for level in levels], axis=1)
        found = np.concatenate([scores[level] for level in levels], axis=1)
        return mean_average_precision(truth, found, "micro")

    def mean(rows: FeatureSet, scores: Scores) -> float:
        found = [mean_average_precision(rows.labels[lv], scores[lv]) for lv in scores]
        known = [value for value in found if not np.isnan(value)]
        return float(np.mean(known)) if known else float("-inf")

    return area if name == "au_prc" else mean


def build(contender: Contender, settings: TrialSettings, rows: FeatureSet, seed: int) -> Any:
    """Builds and compiles the network of one trial."""
    keras.utils.set_random_seed(seed)
    taxonomy = rows.taxonomy
    frozen = contender.backbone == "mlp"
    options: dict[str, Any] = {"units": settings.units} if frozen else {}
    if accepts(backbones.get(contender.backbone), "dropout"):
        options["dropout"] = settings.dropout
    model = build_model(
        taxonomy,
        backbone=contender.backbone,
        method=contender.method,
        input="embedding" if frozen else "log_mel",
        input_shape=rows.features.shape[1:],
        backbone_options={**options, **contender.backbone_options},
        method_options=contender.options,
    )
    sizes = {level: len(taxonomy.classes(level)) for level in taxonomy.levels}
    share = {level: size / sum(sizes.values()) for level, size in sizes.items()}
    model.compile(
        keras.optimizers.AdamW(settings.learning_rate, weight_decay=settings.weight_decay),
        "binary_crossentropy",
        loss_weights=share if settings.level_weights == "classes" else None,
    )
    make_training_variables(model)
    return model


def train(
    contender: Contender,
    settings: TrialSettings,
    parts: tuple[FeatureSet, FeatureSet | None, FeatureSet],
    seeds: Sequence[int],
    measure: Monitor,
    clock: Clock,
) -> list[Trained]:
    """Trains a contender with every seed.

    Args:
        contender: What to train.
        settings: How.
        parts: To train on, to choose the epoch on (not needed without patience), to score.
        seeds: Seed of each network: of its weights, its dropout and the order of examples.
        measure: What the choice of the epoch goes by.
        clock: Asked after every pass.

    Returns:
        What came of each seed.
    """
    together = keras.config.backend() == "jax"

    def fit(targets: Sequence[PseudoLabels | None]) -> list[Trained]:
        if together:
            return _together(contender, settings, parts, seeds, targets, measure, clock)
        return [
            _alone(contender, settings, parts, seed, target, measure, clock)
            for seed, target in zip(seeds, targets, strict=True)
        ]

    first = fit([None] * len(seeds))
    if contender.self_training is None:
        return first
    rows = parts[0]
    filled = [
        pseudo_labels(rows.taxonomy, rows.labels, one.own, **contender.self_training)
        for one in first
    ]
    return [
        replace(second, seconds=one.seconds + second.seconds)
        for one, second in zip(first, fit(filled), strict=True)
    ]


def _alone(
    contender: Contender,
    settings: TrialSettings,
    parts: tuple[FeatureSet, FeatureSet | None, FeatureSet],
    seed: int,
    target: PseudoLabels | None,
    measure: Monitor,
    clock: Clock,
) -> Trained:
    rows, valid, test = parts
    model = build(contender, settings, rows, seed)
    best = _Best(1, settings.patience)
    started = time.perf_counter()

    def after(epoch: int, _: Any) -> None:
        clock.check()
        if valid is not None and _looks(settings, epoch + 1):
            scores = _predict(model, valid.features)
            if best.update(epoch + 1, [measure(valid, scores)])[0]:
                kept[:] = model.get_weights()
            model.stop_training = best.stopped

    kept: list[np.ndarray] = []
    model.fit(
        rows.features,
        target.labels if target else rows.labels,
        sample_weight=target.weights if target else None,
        batch_size=min(settings.batch_size, len(rows)),
        epochs=settings.epochs,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=after)],
    )
    if kept:
        model.set_weights(kept)
    seconds = time.perf_counter() - started
    return Trained(
        _predict(model, test.features),
        _predict(model, rows.features),
        best.epochs[0] or settings.epochs,
        _size(model),
        seconds,
        best.values[0] if kept else None,
    )


def _looks(settings: TrialSettings, epoch: int) -> bool:
    # The last epoch is looked at in any case, so that there is a best one.
    due = epoch % settings.validate_every == 0 or epoch == settings.epochs
    return bool(settings.patience) and due


class _Best:
    """The best epoch of each network, and whether all of them have waited in vain."""

    def __init__(self, networks: int, patience: int) -> None:
        self.values = [-np.inf] * networks
        self.epochs = [0] * networks
        self._waited = [0] * networks
        self._patience = patience

    def update(self, epoch: int, values: Sequence[float]) -> list[bool]:
        """Takes in the values after an epoch; returns which are the best so far."""
        better = []
        for i, value in enumerate(values):
            # A network that would have stopped by itself may not profit from the others.
            better.append(value > self.values[i] and self._waited[i] < self._patience)
            if better[-1]:
                self.values[i], self.epochs[i], self._waited[i] = value, epoch, 0
            else:
                self._waited[i] += 1
        return better

    @property
    def stopped(self) -> bool:
        return min(self._waited) >= self._patience


def _together(
    contender: Contender,
    settings: TrialSettings,
    parts: tuple[FeatureSet, FeatureSet | None, FeatureSet],
    seeds: Sequence[int],
    targets: Sequence[PseudoLabels | None],
    measure: Monitor,
    clock: Clock,
) -> list[Trained]:
    """Trains all seeds in one compiled program, an epoch a call."""
    import jax

    rows, valid, test = parts
    models = [build(contender, settings, rows, seed) for seed in seeds]
    model = models[0]
    for one in models:
        # It moves the draws of dropout on, to where recorded comparisons began.
        one(rows.features[:1], training=True)
    state = jax.tree.map(lambda *values: np.stack(values), *map(_state, models))
    labels: Any = rows.labels
    weights = None
    filled = [target for target in targets if target is not None]
    if filled:
        labels, weights = jax.tree.map(lambda *values: np.stack(values), *map(tuple, filled))
    epoch_of, predict_of = _programs(model, len(seeds), bool(filled))
    batch = min(settings.batch_size, len(rows))
    shuffles = [np.random.default_rng(seed) for seed in seeds]
    best = _Best(len(seeds), settings.patience)
    kept = state
    started = time.perf_counter()
    for epoch in range(1, settings.epochs + 1):
        order = np.stack([_batches(shuffle, len(rows), batch) for shuffle in shuffles])
        state = epoch_of(state, order, rows.features, labels, weights)
        clock.check()
        if valid is not None and _looks(settings, epoch):
            scores = _by_network(predict_of, state, valid.features, len(seeds))
            better = best.update(epoch, [measure(valid, one) for one in scores])
            kept = _choose(np.array(better), state, kept)
            if best.stopped:
                break
    if not settings.patience or valid is None:
        kept = state
    jax.block_until_ready(kept)
    seconds = (time.perf_counter() - started) / len(seeds)
    found = _by_network(predict_of, kept, test.features, len(seeds))
    own = _by_network(predict_of, kept, rows.features, len(seeds))
    chosen = bool(settings.patience) and valid is not None
    return [
        Trained(
            scores,
            own[i],
            best.epochs[i] if chosen else settings.epochs,
            _size(model),
            seconds,
            best.values[i] if chosen else None,
        )
        for i, scores in enumerate(found)
    ]


def keep_programs(folder: Path) -> None:
    """Makes JAX keep what it compiles, for other seeds and processes; does nothing elsewhere.

    A program of a small network takes longer to compile than to train. Whoever has chosen a
    folder (`JAX_COMPILATION_CACHE_DIR`) is not overruled.

    Args:
        folder: Where to.
    """
    if keras.config.backend() != "jax":
        return
    import jax

    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(folder.absolute()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _state(model: Any) -> tuple[list[Any], ...]:
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    return tuple([np.asarray(variable.value) for variable in group] for group in groups)


def _programs(
    model: Any, networks: int, own_labels: bool
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiles an epoch and a prediction of networks of one architecture, stacked.

    Args:
        model: One of them, for its layers and its loss.
        networks: How many there are.
        own_labels: Whether each network has labels, and weights of these, of its own.
    """
    import jax

    def epoch(state: Any, order: Any, x: Any, y: Any, weights: Any) -> Any:
        def step(state: Any, rows: Any) -> tuple[Any, None]:
            batch = jax.tree.map(lambda values: values[rows], (x, y, weights))
            return tuple(map(list, model.train_step(state, batch)[1])), None

        return jax.lax.scan(step, state, order)[0]

    def predict(trainable: Any, others: Any, x: Any) -> Any:
        return model.stateless_call(trainable, others, x, training=False)[0]

    labels = 0 if own_labels else None
    # A batch of one matrix product is slower than the product alone, by a quarter on a CPU.
    stacked = jax.vmap if networks > 1 else _of_the_only_one
    return (
        jax.jit(stacked(epoch, in_axes=(0, 0, None, labels, labels))),
        jax.jit(stacked(predict, in_axes=(0, 0, None))),
    )


def _of_the_only_one(function: Callable[..., Any], in_axes: Sequence[int | None]) -> Any:
    """As `jax.vmap`, where the mapped axes have length one."""
    import jax

    def mapped(*arguments: Any) -> Any:
        alone = [
            value if axis is None else jax.tree.map(lambda leaf: leaf[0], value)
            for value, axis in zip(arguments, in_axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], function(*alone))

    return mapped


def _batches(shuffle: np.random.Generator, rows: int, batch: int) -> np.ndarray:
    # The examples of an incomplete last batch differ from pass to pass.
    steps = rows // batch
    return shuffle.permutation(rows)[: steps * batch].reshape(steps, batch)


def _choose(better: np.ndarray, new: Any, old: Any) -> Any:
    import jax

    if not better.any():
        return old
    if better.all():
        return new
    return jax.tree.map(
        lambda a, b: jax.numpy.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old
    )


def _by_network(predict: Any, state: Any, features: np.ndarray, networks: int) -> list[Scores]:
    batch = _predict_batch(features)
    parts = [
        {level: np.asarray(values) for level, values in predict(state[0], state[1], x).items()}
        for x in (features[start : start + batch] for start in range(0, len(features), batch))
    ]
    joined = {level: np.concatenate([p[level] for p in parts], axis=1) for level in parts[0]}
    return [{level: values[i] for level, values in joined.items()} for i in range(networks)]


def _predict(model: Any, features: np.ndarray) -> Scores:
    return model.predict(features, batch_size=_predict_batch(features), verbose=0)


def _predict_batch(features: np.ndarray) -> int:
    """Returns how many examples to predict at once: of spectrograms fewer, for the memory."""
    if features.ndim == 2:
        return _PREDICT_BATCH
    return max(1, _PREDICT_FRAMES // features.shape[1])


def _size(model: Any) -> int:
    return int(sum(np.prod(variable.shape) for variable in model.trainable_variables))
