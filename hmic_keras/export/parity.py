"""Comparing an exported model with the Keras model it came from."""

import os
from typing import Any

import numpy as np

from ..inference import Predictor


def parity(model: Any, path: str | os.PathLike[str], waveforms: np.ndarray) -> dict[str, float]:
    """Returns the largest difference of any probability, by level.

    Args:
        model: The Keras model.
        path: The exported SavedModel folder or TensorFlow Lite file, beside its manifest.
        waveforms: float32 `(batch, samples)` at the model's sample rate.
    """
    expected, exported = Predictor(model), Predictor(path)
    largest = dict.fromkeys(expected.taxonomy.levels, 0.0)
    for waveform in waveforms:
        wanted = expected.predict(waveform, sample_rate=expected.sample_rate)
        found = exported.predict(waveform, sample_rate=expected.sample_rate)
        for level in largest:
            difference = np.abs(wanted.windows[level] - found.windows[level]).max()
            # A comparison with NaN is always false; it must count as a difference.
            largest[level] = max(largest[level], float(np.nan_to_num(difference, nan=np.inf)))
    return largest
