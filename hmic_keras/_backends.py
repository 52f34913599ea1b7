"""Running a model in one of its formats on windows of audio, for `inference`."""

import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import MissingDependencyError, ModelError, first_line

_BATCH = 8


class Backend(Protocol):
    """Something that scores windows of audio."""

    @property
    def classes(self) -> Mapping[str, int]:
        """Number of classes it answers, by level."""

    @property
    def samples(self) -> int | None:
        """Samples in a window; None if any number will do."""

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Scores `(num_windows, samples)`; returns `(num_windows, classes)` by level."""


class KerasBackend:
    """A Keras model in this process."""

    def __init__(self, model: Any) -> None:
        # Made here because the first of several threads would make it under the others' feet.
        model.make_predict_function()
        self._model = model
        self.classes = {level: output.shape[-1] for level, output in model.output.items()}
        self.samples = model.inputs[0].shape[1]

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        return _in_batches(windows, self._model.predict_on_batch)


class SavedModelBackend:
    """A TensorFlow SavedModel."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(os.fspath(path))
            signature = self._loaded.signatures["serve"]
            (waveform,) = signature.structured_input_signature[1].values()
            outputs = signature.structured_outputs
            self.classes = {level: output.shape[-1] for level, output in outputs.items()}
            self.samples = waveform.shape[1]
        # What TensorFlow raises for a file that is missing or cut off depends on the file.
        except (
            tf.errors.OpError,
            AttributeError,
            LookupError,
            OSError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            raise ModelError(
                f"'{path}' cannot be read as a SavedModel of this package: {first_line(error)}"
                " Export the model again."
            ) from error

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        return _in_batches(windows, self._loaded.serve)


class TFLiteBackend:
    """A TensorFlow Lite file, run by LiteRT or else by TensorFlow."""

    def __init__(self, path: Path) -> None:
        try:
            interpreter = _tflite_interpreter(path)
            self._runner = interpreter.get_signature_runner()
            ((self._input, details),) = self._runner.get_input_details().items()
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"'{path}' cannot be run as TensorFlow Lite: {first_line(error)} Export the "
                "model again."
            ) from error
        outputs = self._runner.get_output_details()
        self.classes = {level: int(output["shape"][-1]) for level, output in outputs.items()}
        self.samples = int(details["shape"][-1])
        # An interpreter holds one set of tensors.
        self._lock = threading.Lock()

    def run(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        with self._lock:
            rows = [self._runner(**{self._input: window[np.newaxis]}) for window in windows]
        return {level: np.concatenate([row[level] for row in rows]) for level in rows[0]}


def _in_batches(windows: np.ndarray, function: Any) -> dict[str, np.ndarray]:
    parts = [
        function(windows[start : start + _BATCH]) for start in range(0, len(windows), _BATCH)
    ]
    return {
        level: np.concatenate([np.asarray(part[level]) for part in parts]) for level in parts[0]
    }


def _tflite_interpreter(path: Path) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tensorflow import lite
        except ImportError as error:
            raise MissingDependencyError(
                "Running a TensorFlow Lite file needs LiteRT: pip install ai-edge-litert."
            ) from error
        with warnings.catch_warnings():
            # TensorFlow announces the move to LiteRT, which is not installed here.
            warnings.simplefilter("ignore")
            return lite.Interpreter(model_path=os.fspath(path), num_threads=1)
    return Interpreter(model_path=os.fspath(path), num_threads=1)
