"""Drawing batches of mixed stems on the device, where all stems lie."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ..config import StemConfig, TrainConfig
from ..data.stems import FRAME, StemBank
from ..layers.augmentation_math import (
    between,
    filter_by,
    from_decibels,
    resampled,
    smooth_response,
)
from ..layers.augmentation_math import bin_frequencies as _bins

# Loudness is measured in frames of 0.1 s at 16 kHz.
_ENERGY_FRAME = 1600
# A stem sounds where it is within 35 dB of its loudest frame.
_ACTIVE = 10.0**-3.5
# Mean square of a frame below which a stem is silent, at its usual level of 1.
_SILENT = 1e-6
_EQUALIZER_POINTS, _LOWEST_HZ = 8, 60.0


class StemMixer(keras.layers.Layer):
    """Draws mixtures of stems and their labels; one call is one batch.

    Each example is one to several stems: either of one clip, so in key and in time, or of
    different ones. Every stem gets a random equalisation, level and speed. A class is present
    if one of its stems is heard in the crop, absent if none sounds, and unobserved if what
    sounds is drowned by the others.

    The stems are variables of the layer, so that they stay on the device; it is part of no
    model that is saved.

    Args:
        bank: The stems.
        config: How they are mixed.
        crop_samples: Length of an example; a multiple of the energy frame of 0.1 s.
        batch_size: Examples of a batch.
        seed: Seed of the draws.
    """

    def __init__(
        self,
        bank: StemBank,
        config: StemConfig,
        *,
        crop_samples: int,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(autocast=False, dtype="float32", name="stem_mixer")
        self._bank, self._config = bank, config
        self._crop, self._batch = crop_samples, batch_size
        self._generator = keras.random.SeedGenerator(seed)
        self._num_classes = len(bank.taxonomy.classes(bank.taxonomy.levels[0]))
        # Sorted by class, the stems of a class are a range of indices.
        self._order = np.argsort(bank.classes, kind="stable").astype("int32")
        kinds, starts, counts = np.unique(
            bank.classes[self._order], return_index=True, return_counts=True
        )
        music = kinds >= 0
        self._ranges = starts[music].astype("int32"), counts[music].astype("int32")
        self._empty_count = int(counts[~music].sum())
        _, first, size = np.unique(bank.clips, return_index=True, return_counts=True)
        position = np.searchsorted(np.unique(bank.clips), bank.clips)
        self._first = first[position].astype("int32")
        self._size = size[position].astype("int32")
        self._frames_of_clip = bank.audio.shape[1]
        widest = config.speed[1] * crop_samples / FRAME
        self._slab = int(np.ceil(widest)) + 2
        sizes = np.asarray(config.sizes, "float64")
        self._size_steps = np.cumsum(sizes / sizes.sum())[:-1].astype("float32")

    @classmethod
    def from_settings(cls, bank: StemBank, config: TrainConfig) -> "StemMixer":
        """Returns the mixer of a training."""
        return cls(
            bank,
            StemConfig.from_dict(config.stems),
            crop_samples=round(config.crop_seconds * bank.sample_rate),
            batch_size=config.batch_size,
            seed=config.seed,
        )

    def build(self, input_shape: Any = None) -> None:
        """Puts the stems on the device."""
        audio = self._bank.audio
        self._audio = self.add_weight(
            shape=(audio.shape[0] * audio.shape[1], FRAME),
            dtype="int16",
            # Zeros to begin with would be one more copy of all stems.
            initializer=lambda shape, dtype: ops.convert_to_tensor(audio.reshape(shape), dtype),
            trainable=False,
            name="audio",
        )
        super().build(input_shape)

    @property
    def random_variables(self) -> list[Any]:
        """The state of the random generator."""
        return [self._generator.state]

    def call(self, inputs: Any = None) -> Any:
        """Returns waveforms `(batch, samples)` and labels of the finest level."""
        stems, joins, coherent = self._choose()
        sound = self._sound(stems, coherent)
        sound = self._coloured(sound)
        energy = self._energies(sound)
        loudest = ops.max(energy, axis=-1, keepdims=True)
        active = ops.cast(energy > loudest * _ACTIVE, "float32")
        mean = ops.sum(energy * active, -1) / ops.maximum(ops.sum(active, -1), 1.0)
        draws = self._uniform(self._batch, stems.shape[1])
        gain = from_decibels(between(draws, self._config.level_db)) * joins
        # Silence has no level that a gain could bring to another one.
        gain = gain / ops.sqrt(ops.maximum(mean, 1e-8))
        mixture = ops.sum(sound * ops.expand_dims(gain, -1), axis=1)
        energy = energy * ops.expand_dims(ops.square(gain), -1)
        return self._levelled(mixture), self._labels(stems, joins, energy)

    def _choose(self) -> tuple[Any, Any, Any]:
        """Draws the stems of each example: indices, who joins, and whether of one clip."""
        config, batch, most = self._config, self._batch, len(self._config.sizes)
        draws = self._uniform(batch, 3)
        starts, counts = (ops.convert_to_tensor(part) for part in self._ranges)
        kind = ops.cast(
            ops.floor(self._uniform(batch, most) * self._ranges[0].shape[0]), "int32"
        )
        within = self._uniform(batch, most) * ops.cast(ops.take(counts, kind), "float32")
        chosen = ops.take(starts, kind) + ops.cast(ops.floor(within), "int32")
        order = ops.convert_to_tensor(self._order)
        chosen = ops.take(order, ops.minimum(chosen, len(self._bank) - 1))
        anchor = chosen[:, :1]
        first = ops.take(ops.convert_to_tensor(self._first), anchor)
        size = ops.take(ops.convert_to_tensor(self._size), anchor)
        beside = first + (anchor - first + ops.arange(most, dtype="int32")) % size
        coherent = draws[:, :1] < config.coherent
        stems = ops.where(coherent, beside, chosen)
        number = 1 + ops.sum(
            ops.cast(draws[:, 1:2] > self._size_steps, "int32"), -1, keepdims=True
        )
        number = ops.where(coherent, ops.minimum(number, size), number)
        joins = ops.arange(most, dtype="int32") < number
        if self._empty_count and config.empty:
            # The clips without instruments come first in the order.
            pick = ops.floor(self._uniform(batch, 1) * self._empty_count)
            nothing = ops.take(order, ops.cast(pick, "int32"))
            empty = draws[:, 2:] < config.empty
            stems = ops.where(empty, nothing, stems)
            joins = ops.logical_and(
                joins, ops.logical_or(~empty, ops.arange(most, dtype="int32") == 0)
            )
        return stems, ops.cast(joins, "float32"), coherent

    def _sound(self, stems: Any, coherent: Any) -> Any:
        """Reads a crop of every stem at its speed: `(batch, stems, samples)`."""
        batch, most = stems.shape
        draws = self._uniform(batch, most, 2)
        # What plays together stays together.
        draws = ops.where(ops.expand_dims(coherent, -1), draws[:, :1], draws)
        room = self._frames_of_clip - self._slab
        start = ops.cast(ops.floor(draws[..., 0] * (room + 1)), "int32")
        rows = ops.expand_dims(stems * self._frames_of_clip + start, -1)
        rows = rows + ops.arange(self._slab, dtype="int32")
        slab = ops.take(self._audio, rows, axis=0)
        slab = ops.reshape(ops.cast(slab, "float32"), (batch * most, self._slab * FRAME))
        speed = ops.reshape(between(draws[..., 1], self._config.speed), (-1, 1))
        sound = resampled(slab, speed, self._crop) if self._changes_speed else slab
        return ops.reshape(sound[:, : self._crop], (batch, most, self._crop)) / 32768.0

    @property
    def _changes_speed(self) -> bool:
        return tuple(self._config.speed) != (1.0, 1.0)

    def _coloured(self, sound: Any) -> Any:
        """Gives each stem an equalisation of its own."""
        if not self._config.equalizer_db:
            return sound
        flat = ops.reshape(sound, (-1, self._crop))
        draws = 2.0 * self._uniform(flat.shape[0], _EQUALIZER_POINTS) - 1.0
        rate = self._bank.sample_rate
        gains, frequencies = draws * self._config.equalizer_db, _bins(float(self._crop), rate)
        response = smooth_response(gains, frequencies, _LOWEST_HZ, rate / 2)
        return ops.reshape(filter_by(flat, response), sound.shape)

    def _energies(self, sound: Any) -> Any:
        """Returns the mean square of each stem by frames of 0.1 s."""
        count = self._crop // _ENERGY_FRAME
        frames = sound[..., : count * _ENERGY_FRAME]
        frames = ops.reshape(frames, (*sound.shape[:2], count, _ENERGY_FRAME))
        return ops.mean(ops.square(frames), axis=-1)

    def _labels(self, stems: Any, joins: Any, energy: Any) -> Any:
        """Returns labels `(batch, classes)`: 1 heard, 0 silent, -1 drowned."""
        share = energy / (ops.sum(energy, axis=1, keepdims=True) + 1e-9)
        sounds = ops.max(energy, -1) > _SILENT
        loud = ops.max(share, -1) > 10.0 ** (-self._config.audible_db / 10.0)
        heard = ops.cast(ops.logical_and(sounds, loud), "float32") * joins
        drowned = ops.cast(ops.logical_and(sounds, ~loud), "float32") * joins
        kinds = ops.take(ops.convert_to_tensor(self._bank.classes), stems)
        which = ops.cast(
            ops.expand_dims(kinds, -1) == ops.arange(self._num_classes, dtype="int32"),
            "float32",
        )
        present = ops.max(which * ops.expand_dims(heard, -1), axis=1)
        unknown = ops.max(which * ops.expand_dims(drowned, -1), axis=1)
        return ops.where(present > 0, 1.0, -unknown)

    def _levelled(self, mixture: Any) -> Any:
        peak = ops.max(ops.abs(mixture), axis=-1, keepdims=True)
        level = between(self._uniform(mixture.shape[0], 1), self._config.peak_db)
        return mixture * from_decibels(level) / ops.maximum(peak, 1e-4)

    def _uniform(self, *shape: int) -> Any:
        return keras.random.uniform(shape, dtype="float32", seed=self._generator)


def closed_labels(finest: Any, masks: dict[str, np.ndarray]) -> dict[str, Any]:
    """Labels of coarser levels from those of the finest, as `Taxonomy.close_labels` does.

    A class without finest descendants is unobserved.

    Args:
        finest: Labels `(batch, classes)` of 1, 0 and -1.
        masks: By coarser level, boolean `(classes, finest classes)`.
    """
    present = ops.cast(finest > 0.5, "float32")
    known = ops.cast(finest >= 0.0, "float32")
    closed = {}
    for level, mask in masks.items():
        links = ops.convert_to_tensor(mask.T.astype("float32"))
        any_present = ops.matmul(present, links) > 0.5
        members = mask.sum(axis=1).astype("float32")
        all_known = ops.logical_and(ops.matmul(known, links) >= members - 0.5, members > 0)
        closed[level] = ops.where(any_present, 1.0, ops.where(all_known, 0.0, -1.0))
    return closed
