"""What the classifiers are fitted on: features of clips as they are, and of changed copies."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .. import layers
from ..config import FineTuneConfig
from ..data.audio import frame_starts, load_audio, repeat_to
from ..data.augmentation import HostAugmentation
from ..data.no_music import KINDS, no_music
from ..data.sources.folder import LabelledClips
from ..errors import HmicError
from ..hierarchical_model import HierarchicalModel
from ..models import CLIP_POOL

# Of a long recording this many windows, evenly spread, stand for all of it.
MOST_WINDOWS = 12
_MOST_COPIES = 6000
_BATCH = 16
# How much louder or softer a clip is that is added to another one.
_LEVEL_DB = 6.0
_NO_MUSIC = 25

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Windows:
    """The clips as a `Predictor` cuts them.

    Attributes:
        waveforms: int16 `(windows, samples)`, full scale 32767.
        owner: For each window the index of its clip.
    """

    waveforms: np.ndarray
    owner: np.ndarray

    def of(self, clips: np.ndarray) -> "Windows":
        """Returns the windows of the clips where the boolean `clips` is true."""
        chosen = clips[self.owner]
        return Windows(self.waveforms[chosen], self.owner[chosen])

    def means(self, values: np.ndarray, clips: int) -> np.ndarray:
        """Returns the mean over each clip's windows; NaN rows for clips without any."""
        sums = np.zeros((clips, *values.shape[1:]))
        np.add.at(sums, self.owner, values)
        counts = np.bincount(self.owner, minlength=clips).astype(float)
        counts[counts == 0] = np.nan
        return sums / counts.reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True)
class Examples:
    """Features with labels, to fit linear classifiers on.

    Attributes:
        features: float32 `(examples, dim)`.
        labels: float32 `(examples, columns)`: 1, 0, between them a probability, -1 unobserved.
        weights: How much each counts, `(examples,)`; those of a clip together about 1.
        parents: The two clips that are in each, `(examples, 2)`, twice the same one where it
            is one only, -1 where it is none.
        new: Boolean `(columns,)`: what may be learned from sound without music as its only
            absent examples. Of a class that has a classifier already, that would make a
            detector of any music.
    """

    features: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    parents: np.ndarray
    new: np.ndarray

    def without(self, clips: np.ndarray) -> "Examples":
        """Leaves out what holds a clip for which the boolean `clips` is true."""
        kept = ~np.append(clips, False)[self.parents].any(axis=1)  # -1 is the last one
        rows = self.features[kept], self.labels[kept], self.weights[kept], self.parents[kept]
        return Examples(*rows, self.new)

    def learnable(self) -> NDArray[np.bool_]:
        """Tells which columns have an example of each kind to learn from, `(columns,)`."""
        heard = learnable(self.labels[self.parents[:, 0] >= 0])
        return np.asarray(heard | (self.new & learnable(self.labels)))


def load_windows(clips: LabelledClips, seconds: float, rate: int, report: Report) -> Windows:
    """Decodes every clip and cuts it into windows, at most `MOST_WINDOWS`.

    Raises:
        AudioError: If a clip cannot be decoded or is silent; the message names it.
    """
    size = round(seconds * rate)
    parts, owner = [], []
    for index, path in enumerate(clips.paths):
        waveform = load_audio(path, rate, allow_silence=False)
        starts = frame_starts(len(waveform), size, size)
        chosen = np.linspace(0, len(starts) - 1, min(len(starts), MOST_WINDOWS)).round()
        waveform = repeat_to(waveform, size)
        for start in starts[chosen.astype(int)]:
            parts.append(_as_int16(waveform[start : start + size]))
            owner.append(index)
        report("listen", index + 1, len(clips))
    return Windows(np.stack(parts), np.array(owner))


def extractor(model: HierarchicalModel) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from float waveforms to the model's pooled features."""
    extract = keras.Model(model.input, model.get_layer(CLIP_POOL).output)

    def features(waveforms: np.ndarray) -> np.ndarray:
        return in_batches(extract.predict_on_batch, waveforms)

    return features


def in_batches(function: Callable[[np.ndarray], Any], waveforms: np.ndarray) -> Any:
    """Calls a compiled function on batches of one size, for which it is compiled but once.

    Args:
        function: Takes `(16, samples)` and returns an array, or a dict of those, of 16 rows.
        waveforms: `(count, samples)`.

    Returns:
        What the function returns, joined: `count` rows.
    """
    parts = []
    for start in range(0, len(waveforms), _BATCH):
        batch = waveforms[start : start + _BATCH]
        parts.append(function(np.resize(batch, (_BATCH, *batch.shape[1:]))))
    return keras.tree.map_structure(
        lambda *values: np.concatenate(values)[: len(waveforms)], *parts
    )


def window_features(
    windows: Windows, extract: Callable[[np.ndarray], np.ndarray], report: Report
) -> np.ndarray:
    """Computes the features of every window, `(windows, dim)`."""
    found = []
    for start in range(0, len(windows.waveforms), _BATCH):
        found.append(extract(as_float(windows.waveforms[start : start + _BATCH])))
        report("features", min(start + _BATCH, len(windows.owner)), len(windows.owner))
    return np.concatenate(found)


def make_examples(
    clips: LabelledClips,
    labels: np.ndarray,
    new: np.ndarray,
    windows: Windows,
    features: np.ndarray,
    extract: Callable[[np.ndarray], np.ndarray],
    rate: int,
    config: FineTuneConfig,
    report: Report,
) -> Examples:
    """Makes the examples: windows as they are, changed copies, and sound without music.

    Args:
        clips: The clips.
        labels: Their labels for each classifier, `(clips, columns)`.
        new: See `Examples`.
        windows: Their windows.
        features: The features of those.
        extract: From waveforms to features.
        rate: Sample rate in Hz.
        config: How many copies, and what is done to them.
        report: Told how far it is.
    """
    copies = min(config.crops, _MOST_COPIES // max(1, len(clips)))
    shares = 1.0 / np.bincount(windows.owner)[windows.owner] / (1 + copies)
    changed = _Device(config, rate)
    parts = [(features, labels[windows.owner], shares, np.stack([windows.owner] * 2, axis=1))]
    for number in range(copies):
        waveforms, found, parents = _copy(clips, labels, windows, rate, config, number)
        values = in_batches(lambda batch: extract(changed(as_float(batch))), waveforms)
        weights = np.full(len(found), 1.0 / (1 + copies))
        parts.append((values, found, weights, parents))
        report("changed copies", number + 1, copies)
    quiet = _without_music(windows.waveforms.shape[1], rate, config.seed)
    nothing = np.zeros((len(quiet), labels.shape[1]), np.float32)
    # As much as one clip in ten: enough that noise is nobody's instrument.
    weights = np.full(len(quiet), 0.1 * len(clips) / len(quiet))
    parts.append((extract(quiet), nothing, weights, np.full((len(quiet), 2), -1)))
    joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Examples(joined[0], joined[1], joined[2], joined[3], new)


def learnable(labels: np.ndarray) -> NDArray[np.bool_]:
    """Tells which columns have an observed label of each kind, `(columns,)`."""
    present, absent = labels > 0.5, (labels >= 0) & (labels <= 0.5)
    return np.asarray(present.any(axis=0) & absent.any(axis=0))


def joined_labels(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the labels of two sounds together.

    Present where one is; absent where both are known to be; else unobserved.

    Example:
        >>> joined_labels(np.array([1.0, 0.0, 0.0]), np.array([-1.0, 0.0, -1.0]))
        array([ 1.,  0., -1.])
    """
    highest = np.maximum(first, second)
    return np.where((highest > 0.5) | (np.minimum(first, second) >= 0), highest, -1.0)


def as_float(waveforms: np.ndarray) -> np.ndarray:
    """Returns int16 waveforms as float32 in [-1, 1]."""
    return waveforms.astype(np.float32) / 32767.0


def split_augmentation(config: FineTuneConfig) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Returns the settings for the host, or None, and those for the device."""
    spec = dict(config.augmentation)
    host = spec.pop("host", None)
    if "mix" in spec:
        raise HmicError(
            "`augmentation` may not hold 'mix': `mixed` says how many clips are added up."
        )
    return host, spec


def quiet_windows(size: int, rate: int, clips: int, seed: int) -> np.ndarray:
    """Returns windows in which no instrument plays, of each kind in turn."""
    rng = np.random.default_rng([seed, 77])
    kinds = (KINDS[number % len(KINDS)] for number in range(clips))
    return np.stack([no_music(kind, size, rate, rng) for kind in kinds])


def _without_music(size: int, rate: int, seed: int) -> np.ndarray:
    return quiet_windows(size, rate, _NO_MUSIC, seed)


def _copy(
    clips: LabelledClips,
    labels: np.ndarray,
    windows: Windows,
    rate: int,
    config: FineTuneConfig,
    number: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws one window of every clip, changes it, and adds another clip to some."""
    host, _ = split_augmentation(config)
    change = HostAugmentation.from_dict({"sample_rate": rate, **(host or {})})
    crops = np.stack(list(_crops(clips, windows, change, config.seed, number)))
    rng = np.random.default_rng([config.seed, number])
    others = rng.permutation(len(clips))
    alone = (rng.random(len(clips)) >= config.mixed) | (others == np.arange(len(clips)))
    gains = 10 ** (rng.uniform(-_LEVEL_DB, _LEVEL_DB, len(clips)) / 20)
    partners = np.where(alone, np.arange(len(clips)), others)
    found = np.where(alone[:, np.newaxis], labels, joined_labels(labels, labels[partners]))
    for row in np.flatnonzero(~alone):
        crops[row] = _sum(crops[row], crops[others[row]], gains[row])
    parents = np.stack([np.arange(len(clips)), partners], axis=1)
    return crops, found.astype(np.float32), parents


def _crops(
    clips: LabelledClips, windows: Windows, change: HostAugmentation, seed: int, number: int
) -> Iterator[np.ndarray]:
    """Yields one of each clip's windows, changed."""
    size = windows.waveforms.shape[1]
    wanted = int(np.ceil(size * change.context))
    starts = np.searchsorted(windows.owner, np.arange(len(clips) + 1))
    for index in range(len(clips)):
        rng = np.random.default_rng([seed, number, index])
        row = rng.integers(starts[index], starts[index + 1])
        sound = repeat_to(as_float(windows.waveforms[row]), wanted)
        yield _as_int16(repeat_to(change(sound, rng), size)[:size])


def _sum(first: np.ndarray, second: np.ndarray, gain: float) -> np.ndarray:
    """Adds two waveforms of about the same loudness, the second one `gain` times louder."""
    one, other = first.astype(np.float64), second.astype(np.float64)
    loud = np.sqrt(np.mean(one**2)), np.sqrt(np.mean(other**2))
    total = one + other * (gain * loud[0] / max(loud[1], 1.0))
    return (total * min(1.0, 32767.0 / max(1.0, np.abs(total).max()))).astype(np.int16)


class _Device:
    """The augmentation layer, compiled, on batches of waveforms alone."""

    def __init__(self, config: FineTuneConfig, rate: int) -> None:
        import tensorflow as tf

        _, spec = split_augmentation(config)
        self._call: Callable[[np.ndarray], Any] = lambda waveforms: waveforms
        if spec:
            try:
                layer = layers.Augmentation.from_spec(spec, sample_rate=rate, seed=config.seed)
            except ValueError as error:
                raise HmicError(f"`augmentation`: {error}") from error
            # It changes labels along with the sound, of which there are none here.
            labels = {"any": np.zeros((_BATCH, 1), np.float32)}
            self._call = tf.function(lambda x: layer((x, labels), training=True)[0])

    def __call__(self, waveforms: np.ndarray) -> np.ndarray:
        return np.asarray(self._call(waveforms))


def _as_int16(waveform: np.ndarray) -> np.ndarray:
    return np.round(np.clip(waveform, -1.0, 1.0) * 32767.0).astype(np.int16)
