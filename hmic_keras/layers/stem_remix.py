"""Sums of examples, with the union of their labels."""

from typing import Any

import keras
from keras import ops

from ._mixing_layer import MixingLayer
from ._random_layer import check_count, check_range
from .augmentation_math import (
    along,
    between,
    from_decibels,
    limit_peak,
    partners,
    union_labels,
)


@keras.saving.register_keras_serializable(package="hmic_keras")
class StemRemix(MixingLayer):
    """Replaces examples by sums of several at random levels, in training only.

    From recordings of single instruments it makes polyphonic music, of which an example holds
    1 to `max_stems`, each number being equally likely. A label of the sum is present if it is
    present in any of its examples, absent if all were observed absent, otherwise unobserved.
    Probabilities combine as those of independent events, `1 - (1 - p)(1 - q)`. So no child's
    label exceeds its parent's if none did before.

    Args:
        max_stems: Greatest number of examples in a sum, at least 2.
        level_db: Range of the levels in dB that are given to the examples of a sum. An
            instrument far below the others is labelled and hardly heard.
        probability: Share of the examples that may be summed.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Call arguments:
        inputs: Pair of waveforms `(batch, samples)` in [-1, 1] and labels, a dict by level of
            float32 `(batch, classes)` with -1 for unobserved.

    Output shape:
        Those of the inputs. A sum beyond [-1, 1] is scaled down as a whole.

    Raises:
        ValueError: If an argument is out of range or the input is not a pair of waveforms and
            labels.

    Example:
        >>> import numpy as np
        >>> x, labels = np.zeros((2, 100), "float32"), {"fine": np.eye(2, dtype="float32")}
        >>> _, union = StemRemix(max_stems=2, seed=0)((x, labels), training=True)
        >>> union["fine"].shape
        TensorShape([2, 2])
    """

    def __init__(
        self,
        max_stems: int = 3,
        level_db: tuple[float, float] = (-10.0, 0.0),
        probability: float = 1.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.max_stems = check_count("max_stems", max_stems, 2)
        self.level_db = check_range("level_db", level_db, -60.0, 20.0)

    def build(self, input_shape: Any) -> None:
        """Checks that the input is a pair of waveforms and labels."""
        super().build(input_shape)
        if len(input_shape[0]) != 2:
            raise ValueError(
                "`x` must be waveforms of the shape (batch, samples). "
                f"Received: {tuple(input_shape[0])}"
            )

    def augment(self, inputs: Any) -> Any:
        """Returns the sums and their labels."""
        waveform, labels = inputs
        batch = ops.shape(waveform)[0]
        draws = self._uniform(batch, 3)
        stems = 1.0 + ops.floor(draws[:, 1] * self.max_stems)
        stems = ops.where(draws[:, 2] < self.probability, stems, 1.0)
        # A batch has no more examples to give.
        stems = ops.minimum(stems, ops.cast(batch, "float32"))
        gains = from_decibels(between(self._uniform(batch, self.max_stems), self.level_db))
        # Who stays alone is not made softer.
        total = waveform * along(ops.where(stems > 1.0, gains[:, 0], 1.0), waveform)
        union = keras.tree.map_structure(lambda one: ops.cast(one, "float32"), labels)
        for added in range(1, self.max_stems):
            others, joins = partners(draws[:, 0], added), stems > added
            gain = along(ops.where(joins, gains[:, added], 0.0), waveform)
            total = total + gain * ops.take(waveform, others, axis=0)
            union = keras.tree.map_structure(
                lambda one, so_far, others=others, joins=joins: ops.where(
                    ops.expand_dims(joins, -1),
                    union_labels(so_far, ops.take(ops.cast(one, "float32"), others, axis=0)),
                    so_far,
                ),
                labels,
                union,
            )
        return limit_peak(total), union

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "max_stems": self.max_stems,
            "level_db": list(self.level_db),
        }
