"""Comparing an exported model with the Keras model it came from."""

import os
from typing import Any

import numpy as np

from ..data.audio import frame
from ..errors import ModelError
from ..inference import Predictor


def parity(model: Any, path: str | os.PathLike[str], waveforms: np.ndarray) -> dict[str, float]:
    """Returns the largest difference of any probability, by level.

    Args:
        model: The Keras model.
        path: The exported SavedModel folder or TensorFlow Lite file, beside its manifest.
        waveforms: float32 `(batch, samples)` at the model's sample rate.

    Raises:
        ModelError: If the exported model cannot be read, or there is nothing to compare on.
    """
    waveforms = np.asarray(waveforms, "float32")
    if waveforms.ndim != 2 or not waveforms.size:
        raise ModelError(
            "`waveforms` must be (batch, samples) with at least one waveform. Received shape: "
            f"{waveforms.shape}"
        )
    expected, exported = Predictor(model), Predictor(path)
    length = round(expected.window_seconds * expected.sample_rate)
    windows = np.concatenate([frame(waveform, length, length) for waveform in waveforms])
    wanted, found = expected.score_windows(windows), exported.score_windows(windows)
    # A comparison with NaN is always false; it must count as a difference.
    return {
        level: float(np.nan_to_num(np.abs(wanted[level] - found[level]).max(), nan=np.inf))
        for level in wanted
    }
