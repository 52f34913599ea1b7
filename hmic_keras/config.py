"""Settings as frozen dataclasses with checked ranges and a JSON round-trip."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Self

from .errors import HmicError, brief

COMPRESSIONS = ("qat", "prune", "prune_2_4", "cluster", "prune_qat")
"""Ways to compress a model."""
FINE_TUNING_MODES = ("frozen", "gradual", "full")
"""How much of a network learns when it is fine-tuned."""


class _Config:
    """Conversion to and from plain dicts, shared by the settings below."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON-able values."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds the settings from `to_dict`'s form.

        Args:
            values: Settings by name; those left out take their default.

        Raises:
            HmicError: If a name is unknown or a value out of range.
        """
        if not isinstance(values, Mapping):
            raise HmicError(f"{cls.__name__} needs settings by name. Received: {brief(values)}")
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        if unknown := set(values) - known:
            raise HmicError(
                f"{cls.__name__} has no setting {sorted(unknown, key=str)}; "
                f"it has {sorted(known)}."
            )
        return cls(**values)

    def _require(self, name: str, rule: str, holds: bool) -> None:
        if not holds:
            value = brief(getattr(self, name))
            raise HmicError(f"`{name}` must be {rule}. Received: {value}")

    def _require_count(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            rule = "a positive integer below 2**31"
            self._require(name, rule, whole and 0 < value < 2**31)

    def _require_number(self, name: str, rule: str, low: float, high: float) -> None:
        value = getattr(self, name)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        self._require(name, rule, real and low <= value <= high)

    def _require_choice(self, name: str, *choices: Any) -> None:
        value = getattr(self, name)
        # 1 equals True, but is no answer to yes or no.
        holds = any(type(value) is type(choice) and value == choice for choice in choices)
        self._require(name, f"one of {', '.join(map(repr, choices))}", holds)

    def _require_options(self, *names: str) -> None:
        """Requires JSON-able settings by name, and keeps a copy nobody else can change."""
        for name in names:
            value = getattr(self, name)
            try:
                copy = json.loads(json.dumps(dict(value), allow_nan=False))
            except (TypeError, ValueError, RecursionError):
                copy = None
            named = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
            rule = "settings by name, of numbers, texts, lists and dicts"
            self._require(name, rule, named and copy is not None)
            object.__setattr__(self, name, copy)


def _no_options() -> Any:
    return dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AudioConfig(_Config):
    """How a waveform becomes a log-mel spectrogram.

    Attributes:
        sample_rate: In Hz.
        n_fft: FFT length in samples.
        window_length: Hann window in samples, at most `n_fft`.
        hop_length: Step between frames in samples.
        n_mels: Number of mel bands.
        fmin: Lowest frequency in Hz.
        fmax: Highest frequency in Hz.
        mel_scale: `"slaney"` or `"htk"`.
        log_offset: Added to the mel power before the logarithm.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> AudioConfig.from_dict({"n_mels": 64}).n_mels
        64
    """

    sample_rate: int = 16000
    n_fft: int = 1024
    window_length: int = 1024
    hop_length: int = 320
    n_mels: int = 80
    fmin: float = 40.0
    fmax: float = 8000.0
    mel_scale: str = "slaney"
    log_offset: float = 1e-4

    def __post_init__(self) -> None:
        self._require_count("sample_rate", "n_fft", "window_length", "hop_length", "n_mels")
        self._require("window_length", "at most n_fft", self.window_length <= self.n_fft)
        nyquist = self.sample_rate / 2
        self._require_number("fmax", f"above 0 and at most {nyquist} Hz", 1e-9, nyquist)
        self._require_number("fmin", f"from 0 to below fmax={self.fmax} Hz", 0, self.fmax)
        self._require("fmin", f"below fmax={self.fmax} Hz", self.fmin < self.fmax)
        self._require("mel_scale", "'slaney' or 'htk'", self.mel_scale in ("slaney", "htk"))
        self._require_number("log_offset", "a positive number", 1e-30, 1e30)


@dataclasses.dataclass(frozen=True)
class ModelConfig(_Config):
    """What `build_model` builds, but for the taxonomy.

    Attributes:
        backbone: Name of a backbone.
        method: Name of a joint-training method.
        backbone_options: Keyword arguments of the backbone.
        method_options: Keyword arguments of the method.
        audio: Settings of the log-mel front end; None leaves them to the backbone.
        mix_style: Settings of `layers.FrequencyMixStyle` on the log-mel input; None for none.
        spec_augment: Settings of `layers.SpecAugment` on the log-mel input; None for none.
        consistent: Whether answers are mended so that no class is below a descendant.
        precision: Keras dtype policy of the layers: `"float32"`, `"mixed_float16"` (GPUs)
            or `"mixed_bfloat16"` (recent GPUs, TPUs). Answers stay float32.
        start: Name or path of a trained model of any taxonomy, from whose backbone training
            starts; None starts from nothing. Its backbone and audio settings are taken where
            `backbone`, `backbone_options` and `audio` all are at their defaults, and must be
            the same otherwise.
        frozen: Whether that backbone stays as it is and only what follows it learns.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> ModelConfig(method="gmp").to_dict()["backbone"]
        'conv'
    """

    backbone: str = "conv"
    method: str = "f2ca"
    backbone_options: Mapping[str, Any] = _no_options()
    method_options: Mapping[str, Any] = _no_options()
    audio: AudioConfig | None = None
    mix_style: Mapping[str, Any] | None = None
    spec_augment: Mapping[str, Any] | None = None
    consistent: bool = False
    precision: str = "float32"
    start: str | None = None
    frozen: bool = False

    def __post_init__(self) -> None:
        for name in ("backbone", "method"):
            self._require(name, "a name", isinstance(getattr(self, name), str))
        self._require_options("backbone_options", "method_options")
        for name in ("mix_style", "spec_augment"):
            if getattr(self, name) is not None:
                self._require_options(name)
        if isinstance(self.audio, Mapping):
            object.__setattr__(self, "audio", AudioConfig.from_dict(dict(self.audio)))
        self._require(
            "audio", "an AudioConfig or None", isinstance(self.audio, AudioConfig | None)
        )
        self._require_choice("consistent", True, False)
        self._require_choice("precision", "float32", "mixed_float16", "mixed_bfloat16")
        named = self.start is None or (isinstance(self.start, str) and bool(self.start))
        self._require("start", "the name or path of a model, or None", named)
        self._require_choice("frozen", True, False)
        self._require(
            "frozen", "False without `start`", self.start is not None or not self.frozen
        )


@dataclasses.dataclass(frozen=True)
class StemConfig(_Config):
    """How stems are mixed anew for every training step.

    Attributes:
        steps: Training steps of an epoch; a pass over stems has no natural length.
        sizes: How often an example holds 1, 2, 3, ... stems, relative to each other.
        coherent: Share of the examples whose stems are of one clip, so in key and in time.
        empty: Share of the examples without instruments, where the corpora hold such clips.
        level_db: Range of the levels of the stems, in dB.
        peak_db: Range of the peak of the mixture, in dB below full scale.
        speed: Range of the factor by which each stem is played faster, and higher.
        equalizer_db: Greatest boost or cut of each stem's own smooth equalisation, in dB.
        audible_db: How far below the mixture a stem may be, at its best moment, to count as
            heard; a softer one is unobserved.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> StemConfig(sizes=(1, 2, 1)).steps
        1000
    """

    steps: int = 1000
    sizes: tuple[float, ...] = (3.0, 3.0, 2.0, 1.0, 1.0)
    coherent: float = 0.5
    empty: float = 0.05
    level_db: tuple[float, float] = (-12.0, 0.0)
    peak_db: tuple[float, float] = (-24.0, -1.0)
    speed: tuple[float, float] = (0.95, 1.05)
    equalizer_db: float = 6.0
    audible_db: float = 20.0

    def __post_init__(self) -> None:
        self._require_count("steps")
        sizes = self.sizes
        real = isinstance(sizes, list | tuple) and all(
            isinstance(one, int | float) and not isinstance(one, bool) and 0 <= one < 1e9
            for one in sizes
        )
        self._require("sizes", "numbers of at least 0, not all of them 0", real and any(sizes))
        object.__setattr__(self, "sizes", tuple(float(one) for one in sizes))
        self._require_number("coherent", "from 0 to 1", 0, 1)
        self._require_number("empty", "from 0 to 1", 0, 1)
        self._require_pair("level_db", -60, 20)
        self._require_pair("peak_db", -60, 0)
        self._require_pair("speed", 0.5, 2)
        self._require_number("equalizer_db", "from 0 to 40", 0, 40)
        self._require_number("audible_db", "from 0 to 60", 0, 60)

    def _require_pair(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        pair = isinstance(value, list | tuple) and len(value) == 2
        numbers = pair and all(
            isinstance(one, int | float) and not isinstance(one, bool) for one in value
        )
        holds = bool(numbers) and low <= value[0] <= value[1] <= high
        self._require(name, f"a pair (least, greatest) from {low} to {high}", holds)
        object.__setattr__(self, name, (float(value[0]), float(value[1])))


@dataclasses.dataclass(frozen=True)
class TrainConfig(_Config):
    """How a model is trained.

    Attributes:
        epochs: Passes over the training clips.
        batch_size: Clips in a batch.
        crop_seconds: Length of the random crop taken from a clip, in seconds.
        learning_rate: Peak learning rate.
        schedule: `"cosine"` rises for a tenth of the run, one epoch at most, and falls to 0
            along a cosine (Loshchilov and Hutter 2017); `"constant"` stays.
        weight_decay: Decoupled weight decay of AdamW.
        clip_norm: Largest norm of the gradient of all weights together; None for any.
        weight_averaging: Decay a step of the exponential moving average of the weights that
            is validated and kept (Polyak and Juditsky 1992), such as 0.999; 0 for none.
        patience: Epochs without a higher validation mAP (mean over levels, of observed labels)
            until training stops. The best epoch's weights are then kept. None trains through
            and keeps the last weights.
        loss: Name of a loss in `losses.get`.
        loss_options: Its keyword arguments.
        loss_weights: Weights by level; levels left out weigh 1.
        positive_weights: How strongly present labels of rare classes weigh more: 0 not at all,
            1 until they weigh as much as the absent ones; see `losses.positive_weights`.
        consistency: Weight of the penalty on children that score above their parent.
        balance: How strongly clips with rare classes are drawn more often, from 0 to 1; see
            `data.make_dataset`.
        crops: `"uniform"`, or `"onset"` for crops that contain a labelled onset.
        augmentation: What is done to training crops: `"host"` (settings of
            `data.augmentation.HostAugmentation`), and the settings of
            `layers.Augmentation`, `"waveform"` and `"mix"`.
        feature_passes: With a frozen backbone and a head on its pooled features: from how many
            passes of crops the features are computed once, each with its own augmentation, and
            kept in the run's folder. An epoch of the head then sees all of them. 0 computes
            features anew in every epoch.
        stems: Settings of `StemConfig`: how stems are mixed on the device for every step.
            Empty trains on the clips as they are. Needs corpora rendered with stems.
        teacher: Name or path of a model whose answers to the mixtures are learned too
            (knowledge distillation, Hinton et al. 2015); with stems only.
        teacher_weight: Share of the loss that follows the teacher.
        cache: Whether to keep the decoded clips in memory.
        jit_compile: Whether XLA compiles the step; `"auto"` does on GPUs.
        validation_fraction: Share of the clips held out for thresholds, early stopping and
            the history.
        seed: Seed of weights, order, crops and augmentation.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> TrainConfig(epochs=3).to_dict()["epochs"]
        3
    """

    epochs: int = 30
    batch_size: int = 32
    crop_seconds: float = 4.0
    learning_rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 1e-2
    clip_norm: float | None = None
    weight_averaging: float = 0.0
    patience: int | None = None
    loss: str = "binary_crossentropy"
    loss_options: Mapping[str, Any] = _no_options()
    loss_weights: Mapping[str, float] = _no_options()
    positive_weights: float = 0.0
    consistency: float = 0.0
    balance: float = 0.0
    crops: str = "uniform"
    augmentation: Mapping[str, Any] = _no_options()
    feature_passes: int = 0
    stems: Mapping[str, Any] = _no_options()
    teacher: str | None = None
    teacher_weight: float = 0.5
    cache: bool = True
    jit_compile: bool | str = "auto"
    validation_fraction: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        self._require_count("epochs", "batch_size")
        self._require_number("crop_seconds", "from 1 to 600 seconds", 1, 600)
        self._require_number("learning_rate", "above 0 and at most 10", 1e-12, 10)
        self._require_choice("schedule", "cosine", "constant")
        self._require_number("weight_decay", "from 0 to 1", 0, 1)
        if self.clip_norm is not None:
            self._require_number("clip_norm", "None or above 0", 1e-12, 1e12)
        self._require_number("weight_averaging", "from 0 to below 1", 0, 1 - 1e-9)
        if self.patience is not None:
            self._require_count("patience")
        self._require("loss", "the name of a loss", isinstance(self.loss, str))
        self._require_options("loss_options", "loss_weights", "augmentation", "stems")
        if self.stems:
            try:
                StemConfig.from_dict(self.stems)
            except HmicError as error:
                raise HmicError(f"TrainConfig.stems: {error}") from error
        self._require("teacher", "a name or path", isinstance(self.teacher, str | None))
        self._require(
            "teacher", "given with `stems` only", not self.teacher or bool(self.stems)
        )
        self._require_number("teacher_weight", "from 0 to 1", 0, 1)
        self._require_number("positive_weights", "from 0 to 1", 0, 1)
        self._require_number("consistency", "from 0 to 1000", 0, 1000)
        self._require_number("balance", "from 0 to 1", 0, 1)
        self._require_choice("crops", "uniform", "onset")
        passes = self.feature_passes
        whole = isinstance(passes, int) and not isinstance(passes, bool) and 0 <= passes < 1000
        self._require("feature_passes", "an integer from 0 to 999", whole)
        self._require("feature_passes", "0 with `stems`", not (passes and self.stems))
        self._require_choice("cache", True, False)
        self._require_choice("jit_compile", "auto", True, False)
        self._require_number("validation_fraction", "from 0 to 0.9", 0, 0.9)
        whole = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        self._require(
            "seed", "an integer from 0 to 2**31 - 1", whole and 0 <= self.seed < 2**31
        )


@dataclasses.dataclass(frozen=True)
class CompressionConfig(_Config):
    """How a trained model is compressed; see `export.compress`.

    Attributes:
        how: `"qat"` trains with the rounding of int8; `"prune"` sets the smallest weights to
            zero; `"prune_2_4"` two of every four weights in a row, a pattern that some
            processors use; `"cluster"` leaves few different values in a kernel;
            `"prune_qat"` prunes, and then trains with the rounding of int8.
        epochs: Passes over the data; `"prune_qat"` takes as many for each of its two parts.
        learning_rate: Of Adam.
        sparsity: Share of each kernel that `"prune"` and `"prune_qat"` set to zero.
        clusters: Number of values that `"cluster"` leaves in a kernel.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> CompressionConfig("prune", sparsity=0.9).epochs
        5
    """

    how: str = "qat"
    epochs: int = 5
    learning_rate: float = 1e-4
    sparsity: float = 0.8
    clusters: int = 16

    def __post_init__(self) -> None:
        self._require_choice("how", *COMPRESSIONS)
        self._require_count("epochs")
        self._require_number("learning_rate", "above 0 and at most 1", 1e-12, 1)
        self._require_number("sparsity", "from 0.01 to 0.99", 0.01, 0.99)
        self._require_count("clusters")
        self._require_number("clusters", "from 2 to 256", 2, 256)


@dataclasses.dataclass(frozen=True)
class FineTuneConfig(_Config):
    """How a trained model is fine-tuned on another taxonomy.

    Attributes:
        mode: `"frozen"` fits the classifiers on features of the trained network, which stays
            as it is; `"gradual"` then trains the network's last third and at last all of it;
            `"full"` trains all of it from the first epoch.
        crops: Changed copies of each clip that the classifiers are fitted on, beside the clip
            itself; fewer where that would exceed 6,000 in all.
        mixed: Share of these copies to which another clip is added, labels joined.
        folds: Parts that the clips are cut into for scores on clips a model has not seen.
        epochs: Largest number of passes in `"gradual"` and `"full"`. Training ends after as
            many as gave the best scores on clips not trained on; none is an answer too.
        learning_rate: Peak learning rate of these passes; a third of it where all layers learn.
        batch_size: Clips in a batch of these passes.
        augmentation: What is done to waveforms, as in `TrainConfig.augmentation`.
        distillation: Whether old classes that the clips are not labelled with are taught by
            the old model's own scores in `"gradual"` and `"full"` (learning without
            forgetting, Li and Hoiem 2016).
        bootstrap: Resamples behind each interval of the report.
        seed: Seed of everything drawn.

    Raises:
        HmicError: If a value is out of range.

    Example:
        >>> FineTuneConfig(mode="gradual").epochs
        12
    """

    mode: str = "frozen"
    crops: int = 6
    mixed: float = 0.5
    folds: int = 5
    epochs: int = 12
    learning_rate: float = 1e-3
    batch_size: int = 16
    augmentation: Mapping[str, Any] = dataclasses.field(
        default_factory=lambda: {
            "host": {"speed": {"factor": [0.94, 1.06], "probability": 0.5}},
            "waveform": {
                "reverb": {"probability": 0.3},
                "equalizer": {"probability": 0.7},
                "band_limit": {"probability": 0.2},
                "noise": {"probability": 0.3},
                "gain": {},
            },
        }
    )
    distillation: bool = True
    bootstrap: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self._require_choice("mode", *FINE_TUNING_MODES)
        self._require_count("folds", "epochs", "batch_size", "bootstrap")
        self._require("folds", "2 to 20", 2 <= self.folds <= 20)
        self._require("bootstrap", "at least 100", self.bootstrap >= 100)
        whole = isinstance(self.crops, int) and not isinstance(self.crops, bool)
        self._require("crops", "an integer from 0 to 64", whole and 0 <= self.crops <= 64)
        self._require_number("mixed", "from 0 to 1", 0, 1)
        self._require_number("learning_rate", "above 0 and at most 1", 1e-12, 1)
        self._require_choice("distillation", True, False)
        self._require_options("augmentation")
        seed = isinstance(self.seed, int) and not isinstance(self.seed, bool)
        self._require("seed", "an integer from 0 up", seed and 0 <= self.seed < 2**31)
