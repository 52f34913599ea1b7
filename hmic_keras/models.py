"""`build_model`: taxonomy, backbone and joint-training method to one functional model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
from keras import layers

from . import backbones, heads
from .config import AudioConfig
from .errors import ModelError, first_line
from .hierarchical_model import HierarchicalModel
from .layers import AncestorClosure, FrequencyMixStyle, LogMelSpectrogram, SpecAugment
from .taxonomy import Taxonomy

INPUTS = ("waveform", "log_mel", "embedding")
# The layer whose input is the backbone's sequence over time, where there is one.
TIME_POOL = "time_mean"
# The layer that pools it for the classifiers.
CLIP_POOL = "embedding_pool"


def build_model(
    taxonomy: Taxonomy,
    backbone: str = "conv",
    method: str = "gmp",
    input: str = "waveform",
    *,
    input_shape: Sequence[int | None] | None = None,
    audio: AudioConfig | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    method_options: Mapping[str, Any] | None = None,
    mix_style: Mapping[str, Any] | None = None,
    spec_augment: Mapping[str, Any] | None = None,
    consistent: bool = False,
    name: str | None = None,
) -> HierarchicalModel:
    """Builds a functional model that classifies every level of a taxonomy jointly.

    The model is not compiled. `model.compile("adam", "binary_crossentropy")` is enough; the
    model leaves unobserved labels (-1) out by itself. `training.compile_options` gives the
    recommended losses, weights and metrics.

    Args:
        taxonomy: Levels and classes to predict.
        backbone: For waveforms or log-mel spectrograms `"conv"`, `"conv_attention"`,
            `"musicnn"`, `"short_chunk_res"`, or an image model as `keras.applications` spells
            it, such as `"MobileNetV3Small"`; for embeddings `"mlp"`.
        method: `"independent"`, `"multitask"`, `"gmp"`, `"f2ca"`, `"c_hmcnn"`, `"hmcn_f"`,
            `"top_down"` or `"chorus"`; docs/methods.md explains them.
        input: `"waveform"` for float32 `(batch, samples)` in [-1, 1] at the sample rate of
            `audio`, any length from 1 s; `"log_mel"` for `(batch, frames, mels)`; or
            `"embedding"` for `(batch, dim)` or `(batch, time, dim)`.
        input_shape: Shape of one input without the batch axis. Needed for embeddings, for
            example `(128,)`; by default any length for the others.
        audio: How waveforms become log-mel spectrograms; by default `AudioConfig()`, and with
            `"musicnn"` the settings it was published with.
        backbone_options: Keyword arguments of the backbone, such as `{"width": 32}`.
        method_options: Keyword arguments of the method, such as `{"num_heads": 8}`.
        mix_style: Arguments of `layers.FrequencyMixStyle`, which then lends the log-mel
            spectrogram the colour of others in training; nothing by default.
        spec_augment: Arguments of `layers.SpecAugment`, which then masks the log-mel
            spectrogram in training; nothing by default.
        consistent: Whether no class may answer less than one of its descendants: in answers,
            not in training, `layers.AncestorClosure` raises it. Changes nothing where a method
            obeys the hierarchy by itself.
        name: Name of the model.

    Returns:
        An uncompiled functional `keras.Model` whose outputs are a dict of probabilities by
        level, `{"fine": (batch, F), "coarse": (batch, C)}` for a two-level taxonomy.

    Raises:
        ModelError: If a name is unknown, or the input does not fit its shape or the backbone.

    Example:
        >>> import hmic_keras as hk
        >>> tax = hk.Taxonomy.from_dict({"strings": ["violin", "cello"], "brass": ["horn"]})
        >>> model = hk.build_model(tax, backbone="mlp", input="embedding", input_shape=(128,))
        >>> {level: tuple(output.shape) for level, output in model.output.items()}
        {'fine': (None, 3), 'coarse': (None, 2)}
    """
    if not isinstance(taxonomy, Taxonomy):
        raise ModelError(
            "`taxonomy` must be a Taxonomy, such as Taxonomy.load('openmic'). "
            f"Received: {taxonomy!r}"
        )
    if not isinstance(audio or AudioConfig(), AudioConfig):
        raise ModelError(f"`audio` must be an AudioConfig. Received: {audio!r}")
    backbones.check_switches(consistent=consistent)
    backbones.get(backbone)
    classify = heads.get(method)
    audio = backbones.audio_for(backbone, _options("backbone_options", backbone_options), audio)
    inputs = keras.Input(_input_shape(input, input_shape, audio), name=input)
    x = inputs
    if input == "waveform":
        x = LogMelSpectrogram(**audio.to_dict(), name="log_mel_spectrogram")(x)
    for argument, layer, given in (
        ("mix_style", FrequencyMixStyle, mix_style),
        ("spec_augment", SpecAugment, spec_augment),
    ):
        if given is not None:
            x = _augmented(x, argument, layer, given, input)

    found = _features(method, backbone, x, backbone_options, method_options, taxonomy.levels)
    scores = _call(classify, "method_options", method_options, found, taxonomy)
    if consistent:
        links = taxonomy.linked_levels()
        scores = AncestorClosure(links, dtype="float32", name="ancestor_closure")(scores)
    outputs = {
        # The output keeps its level's name and full precision whatever made it.
        level: layers.Identity(dtype="float32", name=level)(scores[level])
        for level in taxonomy.levels
    }
    model = HierarchicalModel(inputs, outputs, name=name or f"hmic_{backbone}_{method}")
    model.update_manifest(
        taxonomy=taxonomy.to_dict(),
        taxonomy_hash=taxonomy.hash,
        class_order={level: list(taxonomy.classes(level)) for level in taxonomy.levels},
        input=input,
        audio=audio.to_dict(),
        backbone={"name": backbone, "options": _recorded(backbone_options)},
        method={"name": method, "options": dict(method_options or {})},
        consistent=consistent,
    )
    return model


def _input_shape(
    kind: str, shape: Sequence[int | None] | None, audio: AudioConfig
) -> tuple[int | None, ...]:
    if kind not in INPUTS:
        raise ModelError(f"`input` must be one of {list(INPUTS)}. Received: {kind!r}")
    default = {"waveform": (None,), "log_mel": (None, audio.n_mels), "embedding": None}[kind]
    if shape is None:
        if default is None:
            raise ModelError(
                "`input_shape` is needed with input='embedding': (dim,) or (time, dim), for "
                "example input_shape=(128,)."
            )
        return default
    shape = tuple(shape) if isinstance(shape, Sequence) else (shape,)
    ranks = {"waveform": (1,), "log_mel": (2,), "embedding": (1, 2)}[kind]
    fixed = shape[-1:] if kind != "waveform" else ()
    sizes = [size for size in shape if size is not None]
    if (
        len(shape) not in ranks
        or None in fixed
        or any(not isinstance(size, int) or size < 1 for size in sizes)
    ):
        raise ModelError(
            f"`input_shape` must have {' or '.join(map(str, ranks))} axes for input={kind!r}, "
            "each a positive integer or, unless it is the last of features, None. "
            f"Received: {shape}"
        )
    return shape


def _features(
    method: str,
    backbone: str,
    x: Any,
    backbone_options: Mapping[str, Any] | None,
    method_options: Mapping[str, Any] | None,
    levels: Sequence[str],
) -> Any:
    """Returns the features a method asks for: shared, by level, or in several voices."""

    def shared(x: Any) -> heads.Features:
        extract = backbones.get(backbone)
        sequence = _call(extract, "backbone_options", backbone_options, x)
        return heads.Features(sequence, _pool_time(sequence))

    if method in heads.SEPARATE:
        return {level: _separate(shared, x, level) for level in levels}
    if method in heads.VOICED and backbone in backbones.VOICED and len(x.shape) == 2:
        defaults = heads.get(method).__kwdefaults__ or {}
        options = {**defaults, **_options("method_options", method_options)}
        voices = backbones.VOICED[backbone]
        how = (options["num_voices"], options["shared"])
        x = _call(voices, "backbone_options", backbone_options, x, *how)
        return heads.Features(x, x)
    return shared(x)


def _separate(features: Callable[[Any], heads.Features], x: Any, level: str) -> heads.Features:
    """Applies a backbone as a model of its own, so that nothing is shared between levels."""
    inputs = keras.Input(batch_shape=x.shape, dtype=x.dtype, name=f"{level}_input")
    inner = features(inputs)
    outputs = [inner.sequence, inner.embedding]
    return heads.Features(*keras.Model(inputs, outputs, name=f"{level}_backbone")(x))


def _pool_time(sequence: Any) -> Any:
    if len(sequence.shape) == 2:
        return sequence
    # The mean says how much of the clip holds a class, the maximum whether any of it does.
    mean = layers.GlobalAveragePooling1D(name=TIME_POOL)(sequence)
    highest = layers.GlobalMaxPooling1D(name="time_max")(sequence)
    return layers.Concatenate(name=CLIP_POOL)([mean, highest])


def _augmented(
    x: Any, argument: str, kind: Any, arguments: Mapping[str, Any], given: str
) -> Any:
    if given == "embedding":
        raise ModelError(
            f"`{argument}` changes a log-mel spectrogram, so it needs input='waveform' or "
            f"input='log_mel'. Received: input={given!r}"
        )
    try:
        layer = kind(**_options(argument, arguments), name=argument)
    except (TypeError, ValueError) as error:
        raise ModelError(f"`{argument}` cannot be used: {first_line(error)}") from error
    return layer(x)


def _options(argument: str, options: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not isinstance(options, Mapping | None):
        raise ModelError(f"`{argument}` must be a dict of options. Received: {options!r}")
    return options or {}


def _recorded(options: Mapping[str, Any] | None) -> dict[str, Any]:
    # A file of weights is recorded by its name: where it lay is nobody's business, and the
    # saved model holds what it held.
    return {
        name: Path(value).name if name == "weights" and value is not None else value
        for name, value in (options or {}).items()
    }


def _call(function: Any, argument: str, options: Mapping[str, Any] | None, *args: Any) -> Any:
    options = _options(argument, options)
    unknown = set(options) - set(function.__kwdefaults__ or {})
    if unknown:
        raise ModelError(
            f"`{argument}` of {function.__name__!r} may hold "
            f"{sorted(function.__kwdefaults__ or {})}. Received: {sorted(unknown)}"
        )
    return function(*args, **options)
