"""What `compile` is given: losses, metrics, the optimizer and its schedule."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from .. import losses
from ..config import TrainConfig
from ..errors import LabelError
from ..streaming_metrics import MeanAveragePrecision
from ..taxonomy import Taxonomy


def compile_options(
    taxonomy: Taxonomy,
    loss_weights: Mapping[str, float] | None = None,
    *,
    loss: str = "binary_crossentropy",
    loss_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the recommended losses, weights and metrics for `model.compile`.

    A masked loss at every level, equal weights unless given, and macro mean average precision
    over observed labels as the metric `map`.

    Args:
        taxonomy: The taxonomy of the model.
        loss_weights: Weights by level; levels left out weigh 1.
        loss: Name of the loss; see `losses.get`.
        loss_options: Its keyword arguments. One that is a dict by level, such as
            `positive_weights`, gives each level its own.

    Returns:
        `loss`, `loss_weights` and `metrics`, each a dict by level.

    Raises:
        LabelError: If a weight names an unknown level.

    Example:
        >>> import hmic_keras as hk
        >>> options = compile_options(hk.Taxonomy.load("openmic"), {"coarse": 0.5})
        >>> options["loss_weights"]
        {'fine': 1.0, 'coarse': 0.5}
    """
    weights = dict.fromkeys(taxonomy.levels, 1.0)
    if unknown := set(loss_weights or {}) - set(weights):
        raise LabelError(
            f"`loss_weights` must be keyed by the levels {list(weights)}. Received the unknown "
            f"level(s) {sorted(unknown)}"
        )
    return {
        "loss": {
            level: losses.get(loss, **of_level(loss_options or {}, level))
            for level in taxonomy.levels
        },
        "loss_weights": {**weights, **(loss_weights or {})},
        "metrics": {
            level: [MeanAveragePrecision(len(taxonomy.classes(level)))]
            for level in taxonomy.levels
        },
    }


def loss_options(config: TrainConfig, labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns the options of the loss: those of the config, with the weights of labels."""
    options = dict(config.loss_options)
    if config.positive_weights:
        options["positive_weights"] = {
            level: losses.positive_weights(values, power=config.positive_weights)
            for level, values in labels.items()
        }
    return options


def make_optimizer(config: TrainConfig, steps: int) -> Any:
    """Returns AdamW as the config asks.

    Args:
        config: The settings.
        steps: Steps of an epoch.
    """
    averaging = (
        {"use_ema": True, "ema_momentum": config.weight_averaging}
        if config.weight_averaging
        else {}
    )
    return keras.optimizers.AdamW(
        _schedule(config, steps),
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        **averaging,
    )


def of_level(options: Mapping[str, Any], level: str) -> dict[str, Any]:
    """Returns the options of one level, from values or dicts of those by level."""
    return {
        name: value[level] if isinstance(value, Mapping) else value
        for name, value in options.items()
    }


def _schedule(config: TrainConfig, steps: int) -> Any:
    if config.schedule == "constant":
        return config.learning_rate
    total = config.epochs * steps
    warm = min(steps, total // 10)
    if not warm:
        return keras.optimizers.schedules.CosineDecay(config.learning_rate, total)
    return keras.optimizers.schedules.CosineDecay(
        config.learning_rate / 10,
        total - warm,
        warmup_target=config.learning_rate,
        warmup_steps=warm,
    )
