"""A chain of augmentations as one layer, from a recipe's plain values."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ._mixing_layer import MixingLayer
from ._random_layer import is_pair
from ._waveform_layer import WaveformLayer
from .mixup import Mixup
from .random_band_limit import RandomBandLimit
from .random_clipping import RandomClipping
from .random_equalizer import RandomEqualizer
from .random_gain import RandomGain
from .random_noise import RandomNoise
from .random_reverb import RandomReverb
from .stem_remix import StemRemix

WAVEFORM_LAYERS: dict[str, type[WaveformLayer]] = {
    "gain": RandomGain,
    "equalizer": RandomEqualizer,
    "band_limit": RandomBandLimit,
    "reverb": RandomReverb,
    "noise": RandomNoise,
    "clipping": RandomClipping,
}
"""Names of the waveform layers in a recipe."""
MIXING_LAYERS: dict[str, type[MixingLayer]] = {"mixup": Mixup, "stem_remix": StemRemix}
"""Names of the mixing layers in a recipe."""

# What a recipe states once for all, or not at all.
_NOT_OPTIONS = {"sample_rate", "seed", "kwargs"}


@keras.saving.register_keras_serializable(package="hmic_keras")
class Augmentation(keras.layers.Layer):
    """Changes a batch of waveforms and labels by chance, in training only.

    First the examples are mixed, then the waveform layers follow in their order: a recording
    of several instruments goes through one room, one microphone and one recorder.

    Args:
        waveform: Waveform layers, such as `RandomGain`.
        mix: `Mixup` or `StemRemix`; None for neither.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Call arguments:
        inputs: Pair of waveforms `(batch, samples)` in [-1, 1] and labels, a dict by level of
            float32 `(batch, classes)` with -1 for unobserved. Without waveform layers, `x` may
            be what `mix` takes, such as embeddings for `Mixup`.

    Output shape:
        Those of the inputs.

    Raises:
        ValueError: If an argument is not such a layer, or the input is not a pair.

    Example:
        >>> import numpy as np
        >>> spec = {"waveform": {"gain": {}, "noise": {"snr_db": [20, 40]}}, "mix": None}
        >>> augmentation = Augmentation.from_spec(spec, seed=7)
        >>> x, labels = np.ones((2, 16000), "float32"), {"fine": np.eye(2, dtype="float32")}
        >>> changed, same = augmentation((x, labels), training=True)
        >>> changed.shape, bool(np.all(same["fine"] == np.eye(2)))
        (TensorShape([2, 16000]), True)
    """

    def __init__(self, waveform: Sequence[Any] = (), mix: Any = None, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.waveform = [_layer(one) for one in waveform]
        self.mix = None if mix is None else _layer(mix)
        for one in self.waveform:
            if not isinstance(one, WaveformLayer):
                raise ValueError(
                    f"`waveform` must hold waveform layers, such as RandomGain. Received: {one}"
                )
        if self.mix is not None and not isinstance(self.mix, MixingLayer):
            raise ValueError(f"`mix` must be Mixup, StemRemix or None. Received: {mix!r}")

    @classmethod
    def from_spec(
        cls, spec: Mapping[str, Any], *, sample_rate: float = 16000, seed: int = 0
    ) -> "Augmentation":
        """Builds the layer from a recipe's plain values.

        Args:
            spec: `"waveform"`: options by name, in the order of application; `"mix"`: options
                with a `"name"`. The names are those of `WAVEFORM_LAYERS` and `MIXING_LAYERS`,
                the options the arguments of these layers.
            sample_rate: Sample rate in Hz.
            seed: Each layer draws from a seed of its own, which follows from this one.

        Raises:
            ValueError: If a name or option is unknown, or an option out of range.

        Example:
            >>> spec = {"waveform": {"equalizer": {"gain_db": 9}}, "mix": {"name": "mixup"}}
            >>> Augmentation.from_spec(spec).mix.alpha
            0.4
        """
        _check_names("The augmentation", spec, ("waveform", "mix"))
        waveform, mix = spec.get("waveform") or {}, spec.get("mix")
        _check_names("`waveform`", waveform, tuple(WAVEFORM_LAYERS))
        chosen = [(name, WAVEFORM_LAYERS[name], waveform[name]) for name in waveform]
        if mix is not None:
            name, options = _name_and_options(mix)
            chosen.append((name, MIXING_LAYERS[name], options))
        seeds = np.random.SeedSequence(seed).generate_state(len(chosen)) >> 1
        layers = [
            _make(kind, name, options, sample_rate, int(own))
            for (name, kind, options), own in zip(chosen, seeds, strict=True)
        ]
        return cls(layers) if mix is None else cls(layers[:-1], layers[-1])

    def build(self, input_shape: Any) -> None:
        """Builds the layers; each checks its part of the input."""
        if not is_pair(input_shape):
            raise ValueError(
                "The input must be a pair (x, labels) of waveforms and their labels by level. "
                f"Received: shape {input_shape}"
            )
        if self.mix is not None:
            self.mix.build(input_shape)
        for one in self.waveform:
            one.build(input_shape[0])
        super().build(input_shape)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the waveforms and labels, changed by chance where `training` is true."""
        if not training:
            return inputs
        x, labels = inputs if self.mix is None else self.mix(inputs, training=True)
        for one in self.waveform:
            x = one(x, training=True)
        return x, labels

    def compute_output_spec(self, inputs: Any, training: bool | None = None) -> Any:
        """Describes the outputs, which are like the inputs."""
        return keras.tree.map_structure(
            lambda one: keras.KerasTensor(one.shape, dtype=one.dtype), inputs
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "waveform": [_config(one) for one in self.waveform],
            "mix": None if self.mix is None else _config(self.mix),
        }


def _config(layer: Any) -> dict[str, Any]:
    config = keras.saving.serialize_keras_object(layer)
    # The shape a layer happened to be called with is no argument of it.
    config.pop("build_config", None)
    return config


def _layer(value: Any) -> Any:
    """Returns a layer, from its serialised form where `from_config` passes that."""
    if isinstance(value, Mapping):
        return keras.saving.deserialize_keras_object(dict(value))
    return value


def _name_and_options(mix: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(mix, Mapping) or mix.get("name") not in MIXING_LAYERS:
        raise ValueError(
            f"`mix` must hold a 'name', one of {list(MIXING_LAYERS)}, beside its options. "
            f"Received: {mix!r}"
        )
    return mix["name"], {name: value for name, value in mix.items() if name != "name"}


def _make(kind: Any, name: str, options: Any, sample_rate: float, seed: int) -> Any:
    """Builds one layer from its options; an error names the layer."""
    # An empty entry of a YAML file.
    options = {} if options is None else options
    arguments = inspect.signature(kind).parameters
    known = tuple(one for one in arguments if one not in _NOT_OPTIONS)
    _check_names(f"`{name}`", options, known)
    rate = {"sample_rate": sample_rate} if "sample_rate" in arguments else {}
    try:
        return kind(**options, **rate, seed=seed)
    except ValueError as error:
        raise ValueError(f"The augmentation {name!r}: {error}") from None


def _check_names(what: str, values: Any, known: tuple[str, ...]) -> None:
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{what} must be a mapping with the keys {list(known)}. Received: {values!r}"
        )
    if unknown := [name for name in values if name not in known]:
        raise ValueError(f"{what} has no {unknown}; it has {list(known)}.")
