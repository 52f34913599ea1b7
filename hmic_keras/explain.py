"""Explaining a decision: which fine classes a coarse one was made of, and when they sound."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .config import AudioConfig
from .errors import ModelError
from .heads import SEPARATE, children_of
from .heads.f2ca import ATTENTION_SUFFIX
from .models import TIME_POOL
from .taxonomy import Taxonomy

__all__ = ["attention_maps", "map_classes", "plot_attention", "time_scores"]

# Long enough to tell the step of any backbone, whatever it pads at the ends.
_PROBE_FRAMES = 4096
_WINDOWS_AT_ONCE = 128


def attention_maps(model: Any, waveforms: Any, level: str | None = None) -> np.ndarray:
    """Returns the attention maps of a model built with `method="f2ca"`.

    Row `c` of a map says how much each finer class counted towards coarse class `c`; the
    coarse probability is the sum of the fine ones weighted by it. With `own_scores`, as in
    `hmic-mobile`, it is that or what a classifier of the class says, whichever is higher.

    Args:
        model: The model.
        waveforms: A batch of the model's inputs, for example `(batch, samples)`.
        level: The coarser level; the one above the finest by default.

    Returns:
        float32 `(batch, num_classes of the level, num_children)`, ordered as `map_classes`
        says. Rows sum to 1; the row of a class without children is 0.

    Raises:
        ModelError: If the model has no attention at that level.

    Example:
        >>> import hmic_keras as hk
        >>> clips = np.zeros((1, 16000), "float32")
        >>> maps = attention_maps(hk.load_model("hmic-mobile"), clips)
        >>> maps.shape, bool(np.allclose(maps.sum(axis=-1), 1, atol=1e-5))
        ((1, 7, 20), True)
    """
    level = _coarser_level(model.taxonomy, level)
    name = level + ATTENTION_SUFFIX
    if name not in {layer.name for layer in model.layers}:
        method = model.manifest["method"]["name"]
        raise ModelError(
            f"The model has no attention maps at the level {level!r}; only method='f2ca' "
            f"learns them. Received a model with method={method!r}."
        )
    _, maps = model.get_layer(name).output
    found = np.asarray(keras.Model(model.input, maps)(waveforms, training=False))
    rows = children_of(model.taxonomy, level).parents
    full = np.zeros(
        (len(found), len(model.taxonomy.classes(level)), found.shape[-1]), "float32"
    )
    full[:, rows] = found
    return full


def map_classes(
    taxonomy: Taxonomy, level: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names along both axes of an attention map: coarse rows, fine columns.

    Args:
        taxonomy: The model's taxonomy.
        level: The coarser level; the one above the finest by default.
    """
    level = _coarser_level(taxonomy, level)
    return taxonomy.classes(level), children_of(taxonomy, level).names


def plot_attention(
    maps: np.ndarray, taxonomy: Taxonomy, level: str | None = None, title: str = ""
) -> Any:
    """Draws one attention map, or the mean of several, as a heat map with class names.

    Columns are ordered by family so that the hierarchy shows as blocks; a frame marks the
    children the taxonomy gives each coarse class.

    Args:
        maps: `(num_parents, num_children)` or `(batch, num_parents, num_children)`.
        taxonomy: The model's taxonomy.
        level: The coarser level; the one above the finest by default.
        title: Title of the figure.

    Returns:
        A matplotlib Figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    level = _coarser_level(taxonomy, level)
    rows, columns = map_classes(taxonomy, level)
    values = np.asarray(maps).reshape(-1, len(rows), len(columns)).mean(axis=0)
    children = children_of(taxonomy, level)
    order = _family_order(children.links, len(columns))
    place = np.argsort(order)
    figure = Figure(
        figsize=(2.6 + 0.34 * len(columns), 2.2 + 0.34 * len(rows)), layout="constrained"
    )
    axes = figure.subplots()
    image = axes.imshow(values[:, order], cmap="viridis", vmin=0, aspect="auto")
    for parent, child in children.links:
        axes.add_patch(
            Rectangle(
                (place[child] - 0.5, parent - 0.5), 1, 1, fill=False, edgecolor="white", lw=1.2
            )
        )
    axes.set(
        xticks=range(len(columns)),
        yticks=range(len(rows)),
        yticklabels=rows,
        title=title or f"attention of {level} classes over finer ones",
    )
    axes.set_xticklabels([columns[i] for i in order], rotation=60, ha="right")
    figure.colorbar(image, label="attention weight")
    return figure


def time_scores(
    model: Any, clip: Any, *, window_seconds: float = 1.0
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Scores every class over time: what the model would answer for the music around a moment.

    The backbone runs once over the whole clip. The trained pooling and method are then applied
    to a window of its sequence around each step, as they were to whole clips in training; a
    single step would be no such thing, since its mean and its maximum are the same. With a
    window as long as the clip, every step scores as the clip does. Windows near an end are
    moved inwards, so all are equally long. The backbone's own view reaches further than a
    window, so edges are blurred by its receptive field.

    Args:
        model: A model built by `build_model` with waveforms or log-mel spectrograms as input.
        clip: One input without a batch axis: `(samples,)` at the model's sample rate, or
            `(frames, mels)`.
        window_seconds: Length of a window in seconds; shorter ones follow the music more
            closely, and are further from what the model was trained on.

    Returns:
        The times of the steps in seconds, float64 `(steps,)`, each the centre of its step, and
        probabilities by level, float32 `(steps, num_classes)`.

    Raises:
        ModelError: If the model has no time axis that seconds can be told of, or the clip or
            the window does not fit.

    Example:
        >>> import hmic_keras as hk
        >>> clip = np.zeros(32000, "float32")
        >>> seconds, scores = time_scores(hk.load_model("hmic-mobile"), clip)
        >>> seconds[:3].tolist(), scores["coarse"].shape
        ([0.07, 0.23, 0.39], (13, 7))
    """
    audio = AudioConfig.from_dict(model.manifest["audio"])
    _check_time_axis(model)
    clip = np.asarray(clip, "float32")
    if clip.ndim != len(model.inputs[0].shape) - 1 or not np.isfinite(clip).all():
        raise ModelError(
            f"`clip` must be one input of the shape {tuple(model.inputs[0].shape[1:])}, all "
            f"numbers finite. Received: shape {clip.shape}"
        )
    if not window_seconds > 0:
        raise ModelError(f"`window_seconds` must be positive. Received: {window_seconds!r}")
    model = _of_any_length(model)
    sequence = model.get_layer(TIME_POOL).input
    found = np.asarray(keras.Model(model.input, sequence)(clip[np.newaxis], training=False))[0]
    step = _frames_in_a_step(model, sequence)
    step_seconds = step * audio.hop_length / audio.sample_rate
    width = min(len(found), max(1, round(window_seconds / step_seconds)))
    seconds = (np.arange(len(found)) * step + (step - 1) / 2) * (
        audio.hop_length / audio.sample_rate
    )
    return seconds, _score_windows(keras.Model(sequence, model.output), found, width)


def _check_time_axis(model: Any) -> None:
    method = model.manifest["method"]["name"]
    if method in SEPARATE:
        raise ModelError(
            "Scores over time need one backbone for all levels. Received a model with "
            f"method={method!r}, which has one for each."
        )
    pooled = TIME_POOL in {layer.name for layer in model.layers}
    if not pooled or model.manifest["input"] == "embedding":
        raise ModelError(
            "Scores over time need a model of waveforms or log-mel spectrograms. Received a "
            f"model with input={model.manifest['input']!r}"
        )


def _of_any_length(model: Any) -> Any:
    (given,) = model.inputs
    if given.shape[1] is None:
        return model
    free = keras.Input((None, *given.shape[2:]), name=given.name)
    copy = keras.models.clone_model(model, input_tensors=free)
    copy.set_weights(model.get_weights())
    return copy


def _frames_in_a_step(model: Any, sequence: Any) -> int:
    spectrograms = [layer for layer in model.layers if layer.name == "log_mel_spectrogram"]
    start = spectrograms[0].output if spectrograms else model.inputs[0]
    backbone = keras.Model(start, sequence)
    steps = backbone.compute_output_shape((1, _PROBE_FRAMES, start.shape[-1]))[1]
    return round(_PROBE_FRAMES / steps)


def _score_windows(head: Any, found: np.ndarray, width: int) -> dict[str, np.ndarray]:
    # All windows inside the clip, and for each step the one that is best centred on it.
    windows = np.lib.stride_tricks.sliding_window_view(found, width, axis=0).swapaxes(1, 2)
    parts = [
        head(windows[start : start + _WINDOWS_AT_ONCE], training=False)
        for start in range(0, len(windows), _WINDOWS_AT_ONCE)
    ]
    nearest = np.clip(np.arange(len(found)) - (width - 1) // 2, 0, len(windows) - 1)
    return {
        level: np.concatenate([np.asarray(part[level]) for part in parts])[nearest]
        for level in parts[0]
    }


def _family_order(links: np.ndarray, size: int) -> np.ndarray:
    first = np.full(size, np.iinfo(np.int64).max)
    np.minimum.at(first, links[:, 1], links[:, 0])
    return np.argsort(first, kind="stable")


def _coarser_level(taxonomy: Taxonomy, level: str | None) -> str:
    coarser: Sequence[str] = taxonomy.levels[1:]
    if not coarser:
        raise ModelError("The taxonomy has one level only, so nothing is pooled from another.")
    if level is None:
        return coarser[0]
    if level not in coarser:
        raise ModelError(f"`level` must be one of {list(coarser)}. Received: {level!r}")
    return level
