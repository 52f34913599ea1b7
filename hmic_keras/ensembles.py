"""`ensemble`: several trained models that answer as one."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
from keras import layers

from ._versions import versions
from .errors import ModelError, first_line
from .hierarchical_model import HierarchicalModel
from .layers import LogitMean, LogMelSpectrogram

__all__ = ["ensemble"]

# What members must have in common, and what a user would call it.
_COMMON = {
    "taxonomy_hash": "be of one taxonomy, classes in one order",
    "input": "take the same kind of input",
    "audio": "have the same audio settings",
    "window_seconds": "answer for windows of the same length",
}


def ensemble(
    models: Iterable[HierarchicalModel],
    *,
    weights: Sequence[float] | None = None,
    name: str = "hmic_ensemble",
) -> HierarchicalModel:
    """Joins trained models to one whose probabilities are the mean of theirs in logit space.

    Models that differ in backbone, method, data or seed make different mistakes, which the
    mean evens out. The log-mel spectrogram is computed once for all of them. The ensemble
    saves, exports and predicts as any model of the package does; no child scores above its
    parent if none does in any member. It shares the layers of its members, so train those,
    explain those, and calibrate the ensemble (`publishing.calibrate`) rather than them.

    Args:
        models: At least two models from `build_model` with the same taxonomy, input, audio
            settings and window.
        weights: Weight of each model, none below 0; equal ones by default. Only their ratios
            count.
        name: Name of the ensemble.

    Returns:
        An uncompiled functional model. Its manifest lists the `members`; it holds no
        thresholds, since those of a member do not fit the mean.

    Raises:
        ModelError: If there are fewer than two models, one is no model of the package, they
            do not belong together, or `weights` are not one number for each.

    Example:
        >>> import hmic_keras as hk
        >>> tax = hk.Taxonomy.from_dict({"strings": ["violin", "cello"]})
        >>> options = {"backbone": "mlp", "input": "embedding", "input_shape": (16,)}
        >>> members = [hk.build_model(tax, method=m, **options) for m in ("gmp", "multitask")]
        >>> both = ensemble(members, weights=[2, 1])
        >>> {level: tuple(output.shape) for level, output in both.output.items()}
        {'fine': (None, 2), 'coarse': (None, 1)}
    """
    members = list(models)
    _check(members)
    first = members[0]
    levels = first.taxonomy.levels
    inputs = keras.Input(first.inputs[0].shape[1:], name=first.manifest["input"])
    networks, x = _behind_front_end(members, inputs)
    answers = [network(x) for network in networks]
    outputs = {}
    for level in levels:
        score = _mean([answer[level] for answer in answers], weights, level)
        outputs[level] = layers.Identity(dtype="float32", name=level)(score)
    model = HierarchicalModel(inputs, outputs, name=name)
    model.update_manifest(**_manifest(members, weights))
    return model


def _check(members: Sequence[Any]) -> None:
    foreign = [m for m in members if not isinstance(m, HierarchicalModel)]
    if len(members) < 2 or foreign:
        raise ModelError(
            "`models` must be at least two models built by `hmic_keras.build_model`. Received: "
            f"{[type(member).__name__ for member in members]}"
        )
    for entry, rule in _COMMON.items():
        found = [member.manifest.get(entry) for member in members]
        if any(value != found[0] for value in found):
            raise ModelError(f"`models` must {rule}. Received: {entry} of {found}")
    shapes = [tuple(member.inputs[0].shape[1:]) for member in members]
    if len(set(shapes)) > 1:
        raise ModelError(f"`models` must take inputs of one shape. Received: {shapes}")


def _behind_front_end(
    members: Sequence[HierarchicalModel], inputs: Any
) -> tuple[list[Any], Any]:
    """Returns the members as networks of their own, and what they all look at."""
    starts, x = [member.input for member in members], inputs
    if members[0].manifest["input"] == "waveform":
        fronts = [
            next(layer for layer in member.layers if isinstance(layer, LogMelSpectrogram))
            for member in members
        ]
        starts = [front.output for front in fronts]
        x = LogMelSpectrogram.from_config(fronts[0].get_config())(inputs)
    networks = [
        keras.Model(start, member.output, name=f"member{index}")
        for index, (start, member) in enumerate(zip(starts, members, strict=True), start=1)
    ]
    return networks, x


def _mean(scores: Sequence[Any], weights: Sequence[float] | None, level: str) -> Any:
    # Stacked, so that one layer can tell models from classes.
    shape = (1, scores[0].shape[-1])
    rows = [
        layers.Reshape(shape, dtype="float32", name=f"{level}_member{index}")(score)
        for index, score in enumerate(scores, start=1)
    ]
    stacked = layers.Concatenate(axis=1, dtype="float32", name=f"{level}_members")(rows)
    try:
        return LogitMean(weights, dtype="float32", name=f"{level}_mean")(stacked)
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"`weights` must be one number for each of the {len(scores)} models: "
            f"{first_line(error)}"
        ) from error


def _manifest(
    members: Sequence[HierarchicalModel], weights: Sequence[float] | None
) -> dict[str, Any]:
    manifests = [member.manifest for member in members]
    shares = [1.0] * len(members) if weights is None else list(weights)
    return {
        **{key: manifests[0][key] for key in _COMMON if key in manifests[0]},
        "taxonomy": manifests[0]["taxonomy"],
        "class_order": manifests[0]["class_order"],
        "backbone": _joined(manifests, "backbone"),
        "method": _joined(manifests, "method"),
        "consistent": all(manifest.get("consistent", False) for manifest in manifests),
        "members": [
            {
                "name": member.name,
                "weight": share / sum(shares),
                "parameters": member.count_params(),
                "backbone": manifest["backbone"],
                "method": manifest["method"],
            }
            for member, manifest, share in zip(members, manifests, shares, strict=True)
        ],
        # How each member came about, in their order.
        **{
            key: {"members": [manifest.get(key, {}) for manifest in manifests]}
            for key in ("training", "provenance")
        },
        "versions": versions(),
    }


def _joined(manifests: Sequence[dict[str, Any]], part: str) -> dict[str, Any]:
    """Names what the members were built of, in a manifest's form."""
    return {"name": " + ".join(manifest[part]["name"] for manifest in manifests), "options": {}}
