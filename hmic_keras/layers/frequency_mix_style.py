"""Lending a spectrogram the colour of another one."""

from typing import Any

import keras
from keras import ops

from ._random_layer import check_number
from ._spectrogram_layer import SpectrogramLayer
from .augmentation_math import along, mixed_style, partners


@keras.saving.register_keras_serializable(package="hmic_keras")
class FrequencyMixStyle(SpectrogramLayer):
    """Draws the statistics of each mel band towards those of another example, in training only.

    A band's mean and standard deviation over time tell of the room, the microphone and the
    instrument's make; the course over time and across bands stays. Where the recordings of a
    class are few, a network would otherwise take their colour for the class. Labels stay.

    Deviations from the paper: the share of the example's own statistics is drawn evenly from
    `1 - strength` to 1, not from a Beta distribution, since the colour of a spectrogram says
    something about the instrument, too.

    Args:
        strength: Greatest share of the other example's statistics, from 0 to 1.
        probability: Share of the examples that are changed.
        seed: Seed of the draws; None takes one from Keras' global generator.
        **kwargs: Base layer arguments such as `name` and `dtype`.

    Input shape:
        `(batch, frames, mels)`.

    Output shape:
        That of the input; also its dtype.

    Raises:
        ValueError: If an argument is out of range or the input is not 3-D.

    Example:
        >>> import numpy as np
        >>> layer = FrequencyMixStyle(probability=1.0, seed=0)
        >>> log_mel = np.random.default_rng(0).normal(size=(4, 200, 80)).astype("float32")
        >>> coloured = layer(log_mel + np.arange(4.0)[:, None, None], training=True)
        >>> bool(np.any(np.abs(np.asarray(coloured).mean(axis=(1, 2)) - np.arange(4.0)) > 0.1))
        True

    References:
        Kim, Yang, Kim and Chang, "Domain Generalization with Relaxed Instance Frequency-wise
        Normalization for Multi-device Acoustic Scene Classification", Interspeech 2022 (arXiv
        2206.12513). Schmid, Masoudian, Koutini and Widmer, "CP-JKU Submission to DCASE22:
        Distilling Knowledge for Low-Complexity Convolutional Neural Networks from a
        Patchout Audio Transformer", 2022, who mix statistics by frequency, as here. Zhou,
        Yang, Qiao and Xiang, "Domain Generalization with MixStyle", ICLR 2021 (arXiv
        2104.02008).
    """

    def __init__(
        self,
        strength: float = 0.5,
        probability: float = 0.4,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, seed, **kwargs)
        self.strength = check_number("strength", strength, 0.0, 1.0)

    def augment(self, inputs: Any) -> Any:
        """Returns the spectrograms with mixed statistics."""
        draws = self._uniform(ops.shape(inputs)[0], 3)
        share = self.strength * draws[:, 1]
        share = ops.where(draws[:, 2] < self.probability, share, 0.0)
        # A half-precision sum over time is too coarse.
        x = ops.cast(inputs, "float32")
        mixed = mixed_style(x, partners(draws[:, 0], 1), along(share, x))
        return ops.cast(mixed, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {**super().get_config(), "strength": self.strength}
