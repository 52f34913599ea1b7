"""Comparing an exported model with the Keras model it came from."""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import metrics
from .._backends import Backend
from ..data.audio import frame
from ..errors import ModelError
from ..inference import Predictor
from ..taxonomy import Taxonomy

_RUNS = 15


def parity(model: Any, path: str | os.PathLike[str], waveforms: np.ndarray) -> dict[str, float]:
    """Returns the largest difference of any probability, by level.

    Args:
        model: The Keras model.
        path: The exported SavedModel folder, TensorFlow Lite or ONNX file.
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
    return largest_difference(expected.score_windows(windows), exported.score_windows(windows))


def largest_difference(
    wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns the largest difference of any value, by level; NaN counts as infinite."""
    # A comparison with NaN is always false; it must count as a difference.
    return {
        level: float(np.nan_to_num(np.abs(values - found[level]).max(), nan=np.inf))
        for level, values in wanted.items()
    }


def worst_input(wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> int:
    """Returns the index of the input whose answers differ most; NaN counts as infinite."""
    by_input = [
        np.nan_to_num(np.abs(values - found[level]), nan=np.inf).reshape(len(values), -1).max(1)
        for level, values in wanted.items()
    ]
    return int(np.max(by_input, axis=0).argmax())


def mean_difference(
    wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Returns the mean absolute difference, by level."""
    return {
        level: float(np.abs(values - found[level]).mean()) for level, values in wanted.items()
    }


def lost_map(
    taxonomy: Taxonomy,
    labels: Mapping[str, np.ndarray],
    wanted: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
) -> dict[str, dict[str, float | None]]:
    """Compares macro mean average precision on labelled clips.

    Args:
        taxonomy: The model's taxonomy.
        labels: By level, `(clips, classes)`, with -1 for unobserved.
        wanted: What the Keras model answers for the clips, by level.
        found: What the exported model answers.

    Returns:
        By level, `keras`, `exported` and `lost`, the first less the second; None where no
        class has both a present and an absent label.
    """
    maps = [
        {
            level: result["map"]
            for level, result in metrics.evaluate(taxonomy, labels, scores)["levels"].items()
        }
        for scores in (wanted, found)
    ]
    return {
        level: {
            "keras": maps[0][level],
            "exported": maps[1][level],
            "lost": None if maps[0][level] is None else maps[0][level] - maps[1][level],
        }
        for level in taxonomy.levels
    }


def latency_ms(backend: Backend, inputs: np.ndarray) -> float:
    """Returns the median time that one input takes, in milliseconds, after a warm-up.

    Args:
        backend: What runs the model.
        inputs: At least one input, with a batch axis.
    """
    backend.run(inputs[:1])
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        backend.run(inputs[:1])
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1000)
