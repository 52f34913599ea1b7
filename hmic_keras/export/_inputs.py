"""Inputs of the length an exported file takes, made from waveforms where that is needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._mel import log_mel
from ..config import AudioConfig
from ..data.audio import frame, load_audio
from ..data.sources import demo
from ..data.sources.folder import LabelledClips
from ..errors import ModelError

_DEMO_CLIPS = 8
_NOISE_LEVELS = (0.001, 0.05, 0.5)
_CALIBRATION_CLIPS = 200  # ranges hardly move any more, and each is a run of the model


@dataclass(frozen=True)
class Windows:
    """Inputs of a model, and where they are from.

    Attributes:
        values: `(count, *input_shape)`.
        names: Of each, what to call it in a message: a file's name, or its index.
        owners: Of each, the index of the clip it is a window of.
    """

    values: np.ndarray
    names: Sequence[str]
    owners: np.ndarray


class Inputs:
    """What a model takes, one window at a time.

    Attributes:
        kind: `"waveform"`, `"log_mel"` or `"embedding"`.
        audio: The model's audio settings.
        samples: Samples in a window.
        shape: Shape of one input, all sizes known.
    """

    def __init__(self, model: Any) -> None:
        manifest = model.manifest
        self.kind: str = manifest["input"]
        self.audio = AudioConfig.from_dict(manifest["audio"])
        self.samples = round(manifest["window_seconds"] * self.audio.sample_rate)
        wanted = {"waveform": (self.samples,), "log_mel": self.log_mel_shape}.get(self.kind)
        own = tuple(model.inputs[0].shape[1:])
        self.shape = own if wanted is None else wanted
        if None in self.shape:
            raise ModelError(
                "An exported file takes a fixed number of time steps; build the model of "
                f"embeddings with one, such as input_shape=(10, {own[-1]}). Received a model "
                f"with input_shape={own}"
            )
        if len(own) != len(self.shape) or any(
            size not in (None, length) for size, length in zip(own, self.shape, strict=True)
        ):
            raise ModelError(
                f"The model's window_seconds={manifest['window_seconds']:g} makes inputs of "
                f"shape {self.shape}, but it was built with input_shape={own}; call "
                "model.update_manifest(window_seconds=...) with the length it takes."
            )

    @property
    def log_mel_shape(self) -> tuple[int, int]:
        """Frames and bands of the log-mel spectrogram of a window."""
        steps = (self.samples - self.audio.n_fft % 2) // self.audio.hop_length
        return 1 + steps, self.audio.n_mels

    def read(self, argument: str, given: Any, *, every: bool = False) -> Windows:
        """Checks an argument that holds waveforms, inputs or clips; returns inputs.

        Args:
            argument: Its name, for messages.
            given: `(batch, samples)`, `(batch, *input_shape)` or `LabelledClips`.
            every: Whether every window of every clip is wanted, or the first windows of up to
                200 clips, spread over them all.

        Raises:
            ModelError: Naming the argument and what it must be.
        """
        if isinstance(given, LabelledClips):
            return self._of_clips(argument, given, every)
        values = np.asarray(given, "float32")
        waveforms = self.kind != "embedding" and values.ndim == 2
        if not values.size or not (waveforms or values.shape[1:] == self.shape):
            also = "" if self.kind == "embedding" else "(batch, samples) or "
            raise ModelError(
                f"`{argument}` must be {also}(batch, {', '.join(map(str, self.shape))}), at "
                f"least one. Received shape: {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ModelError(f"`{argument}` must be finite. Received: NaN or infinity in it.")
        parts = [
            self.of_windows(self._windows(one)) if waveforms else one[None] for one in values
        ]
        return _joined(parts, [str(index) for index in range(len(parts))])

    def probe(self) -> Windows:
        """Returns inputs that try a model: music, noise at several levels, silence."""
        rng = np.random.default_rng(0)
        if self.kind == "embedding":
            return self.read("probe", rng.standard_normal((8, *self.shape)))
        noise = [
            np.clip(rng.standard_normal(self.samples) * level, -1, 1)
            for level in (0.0, *_NOISE_LEVELS)
        ]
        # Of the clips to train on: the others are to tell how well a file does.
        paths = demo.demo_clips("train").paths[:_DEMO_CLIPS]
        music = [
            np.resize(load_audio(path, self.audio.sample_rate), self.samples) for path in paths
        ]
        return self.read("probe", np.stack([*noise, *music]))

    def _of_clips(self, argument: str, clips: LabelledClips, every: bool) -> Windows:
        if self.kind == "embedding":
            raise ModelError(
                f"`{argument}` holds audio files, and the model takes embeddings; give those."
            )
        if not len(clips):
            raise ModelError(f"`{argument}` must hold at least one clip. Received: none")
        step = 1 if every else -(-len(clips) // _CALIBRATION_CLIPS)
        paths = clips.paths[::step]
        rate = self.audio.sample_rate
        cut = [self._windows(load_audio(path, rate))[: None if every else 1] for path in paths]
        return _joined([self.of_windows(one) for one in cut], [path.name for path in paths])

    def of_windows(self, windows: np.ndarray) -> np.ndarray:
        """Turns windows of audio into inputs."""
        return log_mel(windows, self.audio) if self.kind == "log_mel" else windows

    def _windows(self, waveform: np.ndarray) -> np.ndarray:
        return frame(waveform, self.samples, self.samples)


def _joined(parts: Sequence[np.ndarray], names: Sequence[str]) -> Windows:
    """Joins the windows of clips, which bear the clips' names."""
    owners = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Windows(np.concatenate(parts), [names[int(owner)] for owner in owners], owners)
