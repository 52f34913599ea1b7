"""Drawing batches of mixed stems on the device, where all stems lie."""

from typing import Any

import keras
import numpy as np
from keras import ops

from ..config import StemConfig, TrainConfig
from ..data.stems import FRAME, StemBank
from ..errors import LabelError
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
        capacity: For how many stems there is to be room, if `extend` is to add some later.
    """

    def __init__(
        self,
        bank: StemBank,
        config: StemConfig,
        *,
        crop_samples: int,
        batch_size: int,
        seed: int,
        capacity: int | None = None,
    ) -> None:
        super().__init__(autocast=False, dtype="float32", name="stem_mixer")
        self._bank, self._config = bank, config
        self._capacity = max(capacity or 0, len(bank))
        self._crop, self._batch = crop_samples, batch_size
        self._generator = keras.random.SeedGenerator(seed)
        self._num_classes = len(bank.taxonomy.classes(bank.taxonomy.levels[0]))
        self._classes, self._clips = bank.classes, bank.clips
        index = self._index()
        self._num_kinds = len(index["counts"])
        self._any_empty = capacity is not None or bool(index["empties"])
        self._frames_of_clip = bank.audio.shape[1]
        widest = config.speed[1] * crop_samples / FRAME
        self._slab = int(np.ceil(widest)) + 2
        sizes = np.asarray(config.sizes, "float64")
        steps = np.cumsum(sizes / sizes.sum())[:-1]
        self._size_steps = steps.astype("float32")
        # Of positions spread evenly over 0 to 1, so many at most lie above a step.
        above = np.ceil(batch_size * (1.0 - steps) - 1e-4)
        self._rows = batch_size + int(above.sum())

    @classmethod
    def from_settings(
        cls, bank: StemBank, config: TrainConfig, capacity: int | None = None
    ) -> "StemMixer":
        """Returns the mixer of a training."""
        return cls(
            bank,
            StemConfig.from_dict(config.stems),
            crop_samples=round(config.crop_seconds * bank.sample_rate),
            batch_size=config.batch_size,
            seed=config.seed,
            capacity=capacity,
        )

    def build(self, input_shape: Any = None) -> None:
        """Puts the stems on the device."""
        audio = self._bank.audio
        room = self._capacity - len(audio)

        def filled(shape: Any, dtype: Any) -> Any:
            found = ops.convert_to_tensor(audio.reshape(-1, FRAME), dtype)
            if not room:  # zeros to begin with would be one more copy of all stems
                return found
            return ops.pad(found, ((0, room * audio.shape[1]), (0, 0)))

        rows = self._capacity * audio.shape[1]
        self._audio = self._fixed("audio", (rows, FRAME), "int16", filled)
        self._at = {
            name: self._fixed(
                name, value.shape, value.dtype.name, keras.initializers.Constant(value)
            )
            for name, value in self._index().items()
        }
        super().build(input_shape)

    def _fixed(self, name: str, shape: tuple[int, ...], dtype: str, initializer: Any) -> Any:
        return self.add_weight(
            shape=shape, dtype=dtype, initializer=initializer, trainable=False, name=name
        )

    def extend(self, bank: StemBank) -> int:
        """Adds stems to those on the device, between two steps; more than fit are left out.

        Returns:
            How many were added.

        Raises:
            LabelError: If they are of another length or rate than the first, or of a class
                that none of those is of.
        """
        shape, rate = bank.audio.shape[1:], bank.sample_rate
        if (shape, rate) != (self._bank.audio.shape[1:], self._bank.sample_rate):
            raise LabelError(
                "Stems can be added to others of the same length and rate only. Received: "
                f"{shape[0] * FRAME} samples at {rate} Hz; there are "
                f"{self._frames_of_clip * FRAME} at {self._bank.sample_rate} Hz."
            )
        if unknown := {*bank.classes.tolist()} - {-1, *self._classes.tolist()}:
            names = bank.taxonomy.classes(bank.taxonomy.levels[0])
            raise LabelError(
                "Stems can be added to others that have all of their classes. Received also: "
                f"{sorted(names[one] for one in unknown)}"
            )
        start = len(self)
        # Whole clips only: what plays together stays together.
        edges = np.flatnonzero(np.diff(bank.clips, append=bank.clips[-1] + 1)) + 1
        fits = edges[edges <= self._capacity - start]
        if not fits.size:
            return 0
        self._classes = np.concatenate([self._classes, bank.classes[: fits[-1]]])
        clips = bank.clips[: fits[-1]] - bank.clips[0] + self._clips[-1] + 1
        self._clips = np.concatenate([self._clips, clips])
        added = bank.audio[: fits[-1]].reshape(-1, FRAME)
        audio = ops.convert_to_tensor(self._audio)
        self._audio.assign(ops.slice_update(audio, (start * shape[0], 0), added))
        for name, value in self._index().items():
            self._at[name].assign(value)
        return int(fits[-1])

    def __len__(self) -> int:
        return len(self._classes)

    def _index(self) -> dict[str, np.ndarray]:
        """Returns where the stems of each class, and of each clip, are.

        Sorted by class, the stems of a class are a range of indices, those where nothing plays
        come first. None is of int32: TensorFlow keeps such variables away from a GPU.
        """
        order = np.argsort(self._classes, kind="stable")
        kinds, starts, counts = np.unique(
            self._classes[order], return_index=True, return_counts=True
        )
        music = kinds >= 0
        numbers, first, size = np.unique(self._clips, return_index=True, return_counts=True)
        position = np.searchsorted(numbers, self._clips)
        by_stem = {
            "order": order.astype("uint32"),
            "kind": self._classes.astype("int16"),
            "first": first[position].astype("uint32"),
            "size": size[position].astype("uint32"),
        }
        room = (0, self._capacity - len(self))
        return {
            "starts": starts[music].astype("uint32"),
            "counts": counts[music].astype("uint32"),
            "empties": np.array(counts[~music].sum(), "uint32"),
            **{name: np.pad(value, room) for name, value in by_stem.items()},
        }

    def _indices(self, name: str) -> Any:
        return ops.cast(self._at[name], "int32")

    @property
    def random_variables(self) -> list[Any]:
        """The state of the random generator."""
        return [self._generator.state]

    def call(self, inputs: Any = None) -> Any:
        """Returns waveforms `(batch, samples)` and labels of the finest level."""
        stems, number, coherent = self._choose()
        example, rank, place, joins = self._places(number)
        # From here to the sum, a row is a stem that joins: most examples have few.
        at = example * stems.shape[1] + rank
        chosen = ops.take(ops.reshape(stems, (-1,)), at)
        sound = self._sound(chosen, ops.take(coherent, example, axis=0), example)
        sound = self._coloured(sound)
        energy = self._energies(sound)
        loudest = ops.max(energy, axis=-1, keepdims=True)
        active = ops.cast(energy > loudest * _ACTIVE, "float32")
        mean = ops.sum(energy * active, -1) / ops.maximum(ops.sum(active, -1), 1.0)
        gain = from_decibels(between(self._uniform(self._rows), self._config.level_db))
        # Silence has no level that a gain could bring to another one.
        gain = ops.expand_dims(gain / ops.sqrt(ops.maximum(mean, 1e-8)), -1)
        sound = sound * gain
        mixture = sum(
            ops.take(sound, place[:, i], axis=0) * joins[:, i : i + 1]
            for i in range(place.shape[1])
        )
        energy = ops.take(energy * ops.square(gain), place, axis=0)
        energy = energy * ops.expand_dims(joins, -1)
        return self._levelled(mixture), self._labels(stems, joins, energy)

    def _choose(self) -> tuple[Any, Any, Any]:
        """Draws the stems of each example: indices, how many join, whether of one clip."""
        config, batch, most = self._config, self._batch, len(self._config.sizes)
        draws = self._uniform(batch, 2)
        at = {name: self._indices(name) for name in self._at}
        kind = ops.cast(ops.floor(self._uniform(batch, most) * self._num_kinds), "int32")
        within = self._uniform(batch, most) * ops.cast(ops.take(at["counts"], kind), "float32")
        chosen = ops.take(at["starts"], kind) + ops.cast(ops.floor(within), "int32")
        chosen = ops.take(at["order"], ops.minimum(chosen, self._capacity - 1))
        anchor = chosen[:, :1]
        first, size = ops.take(at["first"], anchor), ops.take(at["size"], anchor)
        beside = first + (anchor - first + ops.arange(most, dtype="int32")) % size
        coherent = draws[:, :1] < config.coherent
        stems = ops.where(coherent, beside, chosen)
        # Each batch has its share of every size, so that the rows needed are known beforehand.
        spread = ops.arange(batch, dtype="float32") + self._uniform(1)
        above = ops.expand_dims(spread / batch, -1) > self._size_steps
        number = 1 + ops.sum(ops.cast(above, "int32"), -1, keepdims=True)
        number = ops.where(coherent, ops.minimum(number, size), number)
        if self._any_empty and config.empty:
            # The clips without instruments come first in the order.
            empties = ops.cast(at["empties"], "float32")
            pick = ops.floor(self._uniform(batch, 1) * empties)
            nothing = ops.take(at["order"], ops.cast(pick, "int32"))
            empty = ops.logical_and(draws[:, 1:] < config.empty, empties > 0)
            stems = ops.where(empty, nothing, stems)
            number = ops.where(empty, 1, number)
        return stems, number, coherent

    def _places(self, number: Any) -> tuple[Any, Any, Any, Any]:
        """Lays the stems that join out in rows.

        Returns:
            Of each row the example and which of its stems it is; of each example the rows of
            its stems, `(batch, stems)`, and 1 where one joins, else 0.
        """
        most = len(self._config.sizes)
        row = ops.arange(self._rows, dtype="int32")
        ends = ops.cumsum(number[:, 0])
        starts = ends - number[:, 0]
        example = ops.sum(ops.cast(ops.expand_dims(row, -1) >= ends, "int32"), axis=-1)
        # Rows that are left over are computed for nothing.
        example = ops.minimum(example, self._batch - 1)
        rank = ops.clip(row - ops.take(starts, example), 0, most - 1)
        which = ops.arange(most, dtype="int32")
        place = ops.expand_dims(starts, -1) + which
        joins = ops.logical_and(which < number, place < self._rows)
        return example, rank, ops.minimum(place, self._rows - 1), ops.cast(joins, "float32")

    def _sound(self, stems: Any, coherent: Any, example: Any) -> Any:
        """Reads a crop of every stem at its speed: `(rows, samples)`."""
        # What plays together stays together.
        shared = ops.take(self._uniform(self._batch, 2), example, axis=0)
        draws = ops.where(coherent, shared, self._uniform(self._rows, 2))
        room = self._frames_of_clip - self._slab
        start = ops.cast(ops.floor(draws[:, 0] * (room + 1)), "int32")
        rows = ops.expand_dims(stems * self._frames_of_clip + start, -1)
        rows = rows + ops.arange(self._slab, dtype="int32")
        slab = ops.take(self._audio, rows, axis=0)
        slab = ops.reshape(ops.cast(slab, "float32"), (self._rows, self._slab * FRAME))
        speed = between(draws[:, 1:], self._config.speed)
        sound = resampled(slab, speed, self._crop) if self._changes_speed else slab
        return sound[:, : self._crop] / 32768.0

    @property
    def _changes_speed(self) -> bool:
        return tuple(self._config.speed) != (1.0, 1.0)

    def _coloured(self, sound: Any) -> Any:
        """Gives each stem an equalisation of its own."""
        if not self._config.equalizer_db:
            return sound
        draws = 2.0 * self._uniform(self._rows, _EQUALIZER_POINTS) - 1.0
        rate = self._bank.sample_rate
        gains, frequencies = draws * self._config.equalizer_db, _bins(float(self._crop), rate)
        response = smooth_response(gains, frequencies, _LOWEST_HZ, rate / 2)
        return filter_by(sound, response)

    def _energies(self, sound: Any) -> Any:
        """Returns the mean square of each stem by frames of 0.1 s."""
        count = self._crop // _ENERGY_FRAME
        frames = sound[:, : count * _ENERGY_FRAME]
        frames = ops.reshape(frames, (self._rows, count, _ENERGY_FRAME))
        return ops.mean(ops.square(frames), axis=-1)

    def _labels(self, stems: Any, joins: Any, energy: Any) -> Any:
        """Returns labels `(batch, classes)`: 1 heard, 0 silent, -1 drowned."""
        share = energy / (ops.sum(energy, axis=1, keepdims=True) + 1e-9)
        sounds = ops.max(energy, -1) > _SILENT
        loud = ops.max(share, -1) > 10.0 ** (-self._config.audible_db / 10.0)
        heard = ops.cast(ops.logical_and(sounds, loud), "float32") * joins
        drowned = ops.cast(ops.logical_and(sounds, ~loud), "float32") * joins
        kinds = ops.take(self._indices("kind"), stems)
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
