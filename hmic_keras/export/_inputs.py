"""Inputs of the length an exported file takes, made from waveforms where that is needed."""

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

    def read(self, argument: str, given: Any) -> np.ndarray:
        """Checks an argument that holds waveforms or inputs; returns inputs.

        Raises:
            ModelError: Naming the argument and what it must be.
        """
        if isinstance(given, LabelledClips):
            self._check_audio(argument)
            step = -(-len(given) // _CALIBRATION_CLIPS) if len(given) else 1
            chosen = [self._read(path)[:1] for path in given.paths[::step]]
            return self.of_windows(np.concatenate(chosen))
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
        return self.of_windows(self._windows(values)) if waveforms else values

    def probe(self) -> np.ndarray:
        """Returns inputs that try a model: music, noise at several levels, silence."""
        rng = np.random.default_rng(0)
        if self.kind == "embedding":
            return rng.standard_normal((8, *self.shape)).astype("float32")
        noise = [
            np.clip(rng.standard_normal(self.samples) * level, -1, 1)
            for level in (0.0, *_NOISE_LEVELS)
        ]
        paths = demo.demo_clips("test").paths[:_DEMO_CLIPS]
        music = [
            np.resize(load_audio(path, self.audio.sample_rate), self.samples) for path in paths
        ]
        return self.of_windows(np.stack([*noise, *music]).astype("float32"))

    def of_clips(self, clips: LabelledClips) -> tuple[np.ndarray, np.ndarray]:
        """Returns the inputs of every window of clips, and to which clip each belongs."""
        self._check_audio("evaluation")
        windows = [self._read(path) for path in clips.paths]
        owners = np.repeat(np.arange(len(windows)), [len(part) for part in windows])
        return self.of_windows(np.concatenate(windows)), owners

    def of_windows(self, windows: np.ndarray) -> np.ndarray:
        """Turns windows of audio into inputs."""
        return log_mel(windows, self.audio) if self.kind == "log_mel" else windows

    def _check_audio(self, argument: str) -> None:
        if self.kind == "embedding":
            raise ModelError(
                f"`{argument}` holds audio files, and the model takes embeddings; give those."
            )

    def _read(self, path: Any) -> np.ndarray:
        return self._windows(load_audio(path, self.audio.sample_rate)[np.newaxis])

    def _windows(self, waveforms: np.ndarray) -> np.ndarray:
        return np.concatenate([frame(w, self.samples, self.samples) for w in waveforms])
