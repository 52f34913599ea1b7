"""Augmentation of waveforms on the host: codecs, pitch, tempo and speed.

What needs an encoder or a phase vocoder cannot run inside the training graph; the pipeline
calls it on each crop. Everything else is in `hmic_keras.layers.Augmentation`.
"""

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import HmicError, MissingDependencyError
from .audio import check_rate

# MPEG-1, MPEG-2 and MPEG-2.5 know no others.
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_TELEPHONE_RATE = 8000

_DEFAULTS: dict[str, dict[str, Any]] = {
    "speed": {"factor": (0.95, 1.05), "probability": 0.3},
    "pitch": {"semitones": (-1.0, 1.0), "probability": 0.2},
    "tempo": {"factor": (0.9, 1.1), "probability": 0.2},
    "codec": {
        "formats": ("mp3", "vorbis", "telephone"),
        "quality": (0.05, 0.5),
        "probability": 0.2,
    },
}
_LIMITS = {
    ("speed", "factor"): (0.5, 2.0),
    ("pitch", "semitones"): (-12.0, 12.0),
    ("tempo", "factor"): (0.5, 2.0),
    ("codec", "quality"): (0.0, 1.0),
}


class HostAugmentation:
    """Changes speed, pitch, tempo and coding of a waveform by chance.

    Give it to `make_dataset(..., augment=...)`. A step that is not given is left out; `{}`
    takes its defaults. Every step has a `probability`, the share of the waveforms it changes;
    every pair below is a range, from which a value is drawn evenly:

    - `speed`: `factor`, 1.05 being 5 % faster and 0.84 semitones higher, by resampling (soxr).
    - `pitch`: `semitones`, at the same tempo (Signalsmith Stretch, in the extra `[augment]`).
    - `tempo`: `factor`, 1.1 being 10 % faster, at the same pitch (likewise).
    - `codec`: `formats`, of which each is equally likely, and `quality`, from 0 (worst) to 1.
      `"mp3"` (at 16 kHz and the default qualities about 10 to 80 kbit/s) and `"vorbis"` (35 to
      45 kbit/s) are encoded and decoded by libsndfile; `"telephone"` is 8 kHz with mu-law
      companding (G.711), whatever the quality. None of them delays the waveform.

    The number of draws does not depend on the waveform, so a generator gives the same changes
    again. A result beyond [-1, 1] is scaled down as a whole.

    Args:
        sample_rate: Rate of the waveforms, in Hz.
        speed: Options of the step; None leaves it out.
        pitch: Likewise.
        tempo: Likewise.
        codec: Likewise.

    Attributes:
        context: How much longer the waveform has to be than what is wanted of it, since a
            faster tempo or speed takes more of it.

    Raises:
        HmicError: If an option is unknown or out of range, or an MP3 of this rate impossible.
        MissingDependencyError: If `pitch` or `tempo` needs python-stretch, which is missing.

    Example:
        >>> augment = HostAugmentation(speed={"factor": [0.9, 1.25], "probability": 1.0})
        >>> augment.context
        1.25
        >>> augment(np.zeros(20000, np.float32), np.random.default_rng(0)).shape
        (16000,)
    """

    def __init__(
        self,
        *,
        sample_rate: int = 16000,
        speed: Mapping[str, Any] | None = None,
        pitch: Mapping[str, Any] | None = None,
        tempo: Mapping[str, Any] | None = None,
        codec: Mapping[str, Any] | None = None,
    ) -> None:
        check_rate("sample_rate", sample_rate)
        self.sample_rate = int(sample_rate)
        given = {"speed": speed, "pitch": pitch, "tempo": tempo, "codec": codec}
        self._steps = {
            name: _checked(name, options)
            for name, options in given.items()
            if options is not None
        }
        if "mp3" in self._formats and sample_rate not in _MP3_RATES:
            raise HmicError(
                f"`codec` cannot make an MP3 of {sample_rate} Hz, only of {_MP3_RATES}. Leave "
                "'mp3' out of its `formats` or take another sample rate."
            )
        self._stretch = _import_stretch() if {"pitch", "tempo"} & set(self._steps) else None
        faster = [
            self._steps[name]["factor"][1] for name in ("speed", "tempo") if name in self._steps
        ]
        self.context = math.prod((max(1.0, factor) for factor in faster), start=1.0)

    def __call__(self, waveform: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Returns the start of the changed waveform.

        Args:
            waveform: Float32 `(samples,)` in [-1, 1].
            random: Source of all randomness.

        Returns:
            Float32 `(round(samples / context),)` in [-1, 1].

        Raises:
            HmicError: If the waveform is not 1-D or empty.
        """
        waveform = np.asarray(waveform, np.float32)
        if waveform.ndim != 1 or not len(waveform):
            raise HmicError(
                f"`waveform` must be (samples,) and not empty. Received: {waveform.shape}"
            )
        length = max(1, round(len(waveform) / self.context))
        factor, semitones, tempo, quality = (self._draw(*place, random) for place in _LIMITS)
        format_place, seed = random.random(), int(random.integers(2**31))
        if factor is not None:
            waveform = _resample(waveform, self.sample_rate * factor, self.sample_rate)
        if semitones is not None or tempo is not None:
            waveform = self._stretched(waveform, semitones or 0.0, tempo or 1.0, seed)
        waveform = _fitted(waveform, length)
        if quality is not None:
            name = self._formats[int(format_place * len(self._formats))]
            waveform = _fitted(_CODECS[name](waveform, self.sample_rate, quality), length)
        return waveform / max(1.0, float(np.max(np.abs(waveform))))

    def to_dict(self) -> dict[str, Any]:
        """Returns the arguments as JSON-able values, with every option of the steps given."""
        steps = {
            name: {
                option: list(value) if isinstance(value, tuple) else value
                for option, value in options.items()
            }
            for name, options in self._steps.items()
        }
        return {"sample_rate": self.sample_rate, **steps}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HostAugmentation":
        """Builds the augmentation from `to_dict`'s form, as a recipe holds it.

        Args:
            values: Arguments by name; a step of None, an empty entry of YAML, is `{}`.

        Raises:
            HmicError: If a name is unknown or an option cannot be used.

        Example:
            >>> HostAugmentation.from_dict({"codec": {"formats": ["vorbis"]}}).context
            1.0
        """
        known = ("sample_rate", *_DEFAULTS)
        if not isinstance(values, Mapping) or set(values) - set(known):
            raise HmicError(
                f"The host's augmentation must be a mapping with keys of {list(known)}. "
                f"Received: {values!r}"
            )
        arguments = {
            name: {} if value is None and name in _DEFAULTS else value
            for name, value in values.items()
        }
        return cls(**arguments)

    @property
    def _formats(self) -> tuple[str, ...]:
        formats: tuple[str, ...] = self._steps.get("codec", {}).get("formats", ())
        return formats

    def _draw(self, step: str, option: str, random: np.random.Generator) -> float | None:
        """Draws a step's value; None where it is left out this time."""
        place, chance = random.random(2)
        options = self._steps.get(step)
        if options is None or chance >= options["probability"]:
            return None
        low, high = options[option]
        return float(low + place * (high - low))

    def _stretched(
        self, waveform: np.ndarray, semitones: float, tempo: float, seed: int
    ) -> np.ndarray:
        if self._stretch is None:
            return waveform
        stretch = self._stretch(seed)
        stretch.preset(1, float(self.sample_rate))
        stretch.setTransposeSemitones(semitones)
        stretch.setTimeFactor(tempo)
        result: np.ndarray = stretch.process(np.ascontiguousarray(waveform[np.newaxis]))[0]
        return result


def _checked(step: str, options: Any) -> dict[str, Any]:
    """Returns a step's options with its defaults."""
    defaults = _DEFAULTS[step]
    if not isinstance(options, Mapping) or set(options) - set(defaults):
        raise HmicError(
            f"`{step}` must be None or a mapping with options of {list(defaults)}. "
            f"Received: {options!r}"
        )
    values = {**defaults, **options}
    probability = values["probability"]
    if not _is_number(probability) or not 0 <= probability <= 1:
        raise HmicError(
            f"`probability` of `{step}` must be from 0 to 1. Received: {probability!r}"
        )
    for option in set(values) - {"probability", "formats"}:
        values[option] = _checked_range(step, option, values[option])
    if "formats" in values:
        values["formats"] = _checked_formats(values["formats"])
    return values


def _checked_range(step: str, option: str, value: Any) -> tuple[float, float]:
    low, high = _LIMITS[step, option]
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value))
    if not pair or not low <= value[0] <= value[1] <= high:
        raise HmicError(
            f"`{option}` of `{step}` must be a pair (least, greatest) from {low:g} to "
            f"{high:g}. Received: {value!r}"
        )
    return float(value[0]), float(value[1])


def _checked_formats(value: Any) -> tuple[str, ...]:
    listed = isinstance(value, list | tuple) and len(value) > 0
    if not listed or any(name not in _CODECS for name in value):
        raise HmicError(
            f"`formats` of `codec` must be a list of {list(_CODECS)}, at least one. "
            f"Received: {value!r}"
        )
    return tuple(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _import_stretch() -> Any:
    try:
        from python_stretch import Signalsmith
    except ImportError as error:
        raise MissingDependencyError(
            "`pitch` and `tempo` need python-stretch, which is not installed. Install "
            "hmic-keras[augment], or use `speed`, which changes both at once."
        ) from error
    return Signalsmith.Stretch


def _fitted(waveform: np.ndarray, length: int) -> np.ndarray:
    """Cuts the end off, or makes up for the few samples a step is short of."""
    return np.pad(waveform[:length], (0, max(0, length - len(waveform))))


def _resample(waveform: np.ndarray, rate: float, target: float) -> np.ndarray:
    import soxr

    return np.asarray(soxr.resample(waveform, rate, target, quality="HQ"))


def _coded(waveform: np.ndarray, sample_rate: int, **options: Any) -> np.ndarray:
    """Encodes a waveform in memory and decodes it."""
    import soundfile

    stream = io.BytesIO()
    soundfile.write(stream, waveform, sample_rate, **options)
    stream.seek(0)
    return np.asarray(soundfile.read(stream, dtype="float32")[0])


def _mp3(waveform: np.ndarray, sample_rate: int, quality: float) -> np.ndarray:
    # At an average bit rate, unlike a constant one, LAME notes its delay at all rates, so
    # that the decoder takes it out.
    return _coded(
        waveform,
        sample_rate,
        format="MP3",
        bitrate_mode="AVERAGE",
        compression_level=_compression(quality),
    )


def _vorbis(waveform: np.ndarray, sample_rate: int, quality: float) -> np.ndarray:
    level = _compression(quality)
    return _coded(
        waveform, sample_rate, format="OGG", subtype="VORBIS", compression_level=level
    )


def _telephone(waveform: np.ndarray, sample_rate: int, quality: float) -> np.ndarray:
    narrow = _resample(waveform, sample_rate, _TELEPHONE_RATE)
    narrow = _coded(narrow, _TELEPHONE_RATE, format="WAV", subtype="ULAW")
    return _resample(narrow, _TELEPHONE_RATE, sample_rate)


def _compression(quality: float) -> float:
    # The very end is refused by libsndfile's MP3 encoder.
    return min(1.0 - quality, 0.999)


_CODECS: dict[str, Callable[[np.ndarray, int, float], np.ndarray]] = {
    "mp3": _mp3,
    "vorbis": _vorbis,
    "telephone": _telephone,
}
