"""The published taggers of musicnn, whole: 50 tags from a waveform."""

import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from ..errors import ModelError
from ..layers import LogMelSpectrogram
from ._musicnn_wheel import assign, read_checkpoint, read_tags
from .musicnn import MUSICNN_AUDIO, musicnn

_UNITS = 200
_SCOPES = {
    "pool_norm": "batch_normalization_9",
    "penultimate": "dense",
    "penultimate_norm": "batch_normalization_10",
    "tags_logits": "dense_1",
}


@dataclass(frozen=True)
class MusicnnTagger:
    """A published tagger of musicnn.

    Attributes:
        model: Functional `keras.Model` from waveforms `(batch, samples)` in [-1, 1] at 16 kHz
            to tag probabilities `(batch, 50)`; the input counts as one patch, 3 s in the
            original.
        tags: Names of the tags, in the order of the outputs.
    """

    model: keras.Model
    tags: tuple[str, ...]

    @classmethod
    def load(
        cls, wheel: str | os.PathLike[str], checkpoint: str = "MTT_musicnn"
    ) -> "MusicnnTagger":
        """Builds a tagger with the weights and tags of the published wheel.

        Args:
            wheel: Path of `musicnn-0.1.0-py3-none-any.whl`, from
                `pip download --no-deps musicnn==0.1.0`.
            checkpoint: `"MTT_musicnn"` or `"MSD_musicnn"`.

        Raises:
            ModelError: If the checkpoint is unknown or the wheel cannot be read.
        """
        tensors, tags = read_checkpoint(wheel, checkpoint), read_tags(wheel, checkpoint)
        waveform = keras.Input((None,), name="waveform")
        x = LogMelSpectrogram(**MUSICNN_AUDIO.to_dict(), name="log_mel_spectrogram")(waveform)
        x = musicnn(x, dropout=0.0, weights=wheel, checkpoint=checkpoint)
        model = keras.Model(waveform, _backend(x, len(tags)), name=checkpoint)
        for name, scope in _SCOPES.items():
            assign(model.get_layer(name), tensors, scope)
        return cls(model, tags)

    def taggram(self, waveform: Any, seconds: float = 3.0) -> np.ndarray:
        """Scores a clip patch by patch, as the original does.

        The spectrogram of the whole clip is cut into patches side by side; what is left at the
        end is dropped.

        Args:
            waveform: float32 `(samples,)` in [-1, 1] at 16 kHz.
            seconds: Length of a patch; the published networks were trained with 3 s.

        Returns:
            float32 probabilities `(patches, 50)`.

        Raises:
            ModelError: If the clip is shorter than one patch.
        """
        samples = np.asarray(waveform, "float32")
        rate, hop = MUSICNN_AUDIO.sample_rate, MUSICNN_AUDIO.hop_length
        # The original counts the frames whose whole window lies inside, and one more.
        frames = int((int(seconds * rate) - MUSICNN_AUDIO.n_fft // 2) // hop) + 1
        if samples.ndim != 1 or frames < 1 or len(samples) // hop + 1 < frames:
            raise ModelError(
                f"`waveform` must be (samples,), with at least the {seconds} s of one patch at "
                f"{rate} Hz, and `seconds` positive. Received: shape {samples.shape}"
            )
        front = self.model.get_layer("log_mel_spectrogram")
        log_mel = np.asarray(front(samples[np.newaxis]))[0]
        patches = log_mel[: len(log_mel) // frames * frames]
        tag = keras.Model(front.output, self.model.output)
        return tag.predict(patches.reshape(-1, frames, log_mel.shape[-1]), verbose=0)

    def top_tags(self, waveform: Any, count: int = 3, seconds: float = 3.0) -> list[str]:
        """Returns the names of the likeliest tags of a clip, the likeliest first.

        Args:
            waveform: As `taggram` takes it.
            count: How many.
            seconds: As `taggram` takes it.
        """
        mean = self.taggram(waveform, seconds).mean(axis=0)
        return [self.tags[index] for index in np.argsort(-mean, kind="stable")[:count]]


def _backend(x: Any, num_tags: int) -> Any:
    dim = x.shape[-1]
    pooled = [
        layers.Reshape((dim, 1), name=name)(layer(x))
        for name, layer in (
            ("max_pool", layers.GlobalMaxPooling1D(name="time_max")),
            ("mean_pool", layers.GlobalAveragePooling1D(name="time_mean")),
        )
    ]
    # The published weights expect the two pools channel by channel, not one after the other.
    x = layers.Flatten(name="pools")(layers.Concatenate(name="interleaved")(pooled))
    x = layers.BatchNormalization(name="pool_norm")(x)
    x = layers.Dropout(0.5, name="pool_dropout")(x)
    x = layers.Dense(_UNITS, activation="relu", name="penultimate")(x)
    x = layers.BatchNormalization(name="penultimate_norm")(x)
    x = layers.Dropout(0.5, name="penultimate_dropout")(x)
    x = layers.Dense(num_tags, name="tags_logits")(x)
    return layers.Activation("sigmoid", dtype="float32", name="tags")(x)
