"""Running a model in one of its formats on batches of inputs, for `inference` and `export`."""

import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import MissingDependencyError, ModelError, first_line

_BATCH = 8

InputShape = tuple[int | None, ...]


class Backend(Protocol):
    """Something that scores a batch of inputs."""

    @property
    def classes(self) -> Mapping[str, int]:
        """Width of each output, by name: the number of classes of a level."""

    @property
    def input_shape(self) -> InputShape:
        """Shape of one input, None where any size will do."""

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Answers `(batch, *input_shape)`; returns `(batch, ...)` by output."""


class KerasBackend:
    """A Keras model in this process."""

    def __init__(self, model: Any) -> None:
        # Made here because the first of several threads would make it under the others' feet.
        model.make_predict_function()
        self._model = model
        self.classes = {level: output.shape[-1] for level, output in model.output.items()}
        self.input_shape: InputShape = tuple(model.inputs[0].shape[1:])

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        return _in_batches(inputs, self._model.predict_on_batch)


class SavedModelBackend:
    """A TensorFlow SavedModel."""

    def __init__(self, path: Path) -> None:
        import tensorflow as tf

        try:
            self._loaded = tf.saved_model.load(os.fspath(path))
            signature = self._loaded.signatures["serve"]
            (given,) = signature.structured_input_signature[1].values()
            outputs = signature.structured_outputs
            self.classes = {level: output.shape[-1] for level, output in outputs.items()}
            self.input_shape: InputShape = tuple(given.shape[1:])
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

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        return _in_batches(inputs, self._loaded.serve)


class TFLiteBackend:
    """A TensorFlow Lite file, run by LiteRT or else by TensorFlow, on one thread."""

    def __init__(self, path: Path) -> None:
        try:
            interpreter = _tflite_interpreter(path)
            self._runner = interpreter.get_signature_runner()
            ((self._input, details),) = self._runner.get_input_details().items()
            self._outputs = self._runner.get_output_details()
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"'{path}' cannot be run as TensorFlow Lite: {first_line(error)} Export the "
                "model again."
            ) from error
        if {details["dtype"], *(o["dtype"] for o in self._outputs.values())} != {np.float32}:
            raise ModelError(
                f"'{path}' cannot be run as TensorFlow Lite of this package: its inputs and "
                "outputs must be float32. Export the model again."
            )
        self.classes = {level: int(o["shape"][-1]) for level, o in self._outputs.items()}
        self.input_shape: InputShape = tuple(map(int, details["shape"][1:]))
        # An interpreter holds one set of tensors.
        self._lock = threading.Lock()

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        with self._lock:
            rows = [self._runner(**{self._input: row[np.newaxis]}) for row in inputs]
        return {level: np.concatenate([row[level] for row in rows]) for level in self._outputs}


class OnnxBackend:
    """An ONNX file, run by ONNX Runtime on one thread."""

    def __init__(self, path: Path) -> None:
        onnxruntime = _onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                os.fspath(path), options, providers=["CPUExecutionProvider"]
            )
        # Its errors derive from nothing but Exception and RuntimeError, by kind of fault.
        except onnx_errors() as error:
            raise ModelError(
                f"'{path}' cannot be run as ONNX: {first_line(error)} Export the model again."
            ) from error
        (given,) = self._session.get_inputs()
        self._input = given.name
        outputs = self._session.get_outputs()
        self.classes = {output.name: int(output.shape[-1]) for output in outputs}
        self.input_shape: InputShape = tuple(
            size if isinstance(size, int) else None for size in given.shape[1:]
        )

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts that the file carries, by name."""
        return self._session.get_modelmeta().custom_metadata_map

    def run(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """See `Backend`."""
        names = list(self.classes)

        def answer(batch: np.ndarray) -> dict[str, np.ndarray]:
            return dict(zip(names, self._session.run(names, {self._input: batch}), strict=True))

        # Files are written for one input at a time.
        return _in_batches(inputs, answer, size=1)


def _in_batches(inputs: np.ndarray, function: Any, size: int = _BATCH) -> dict[str, np.ndarray]:
    parts = [function(inputs[start : start + size]) for start in range(0, len(inputs), size)]
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


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "Running an ONNX file needs ONNX Runtime: pip install onnxruntime."
        ) from error
    return onnxruntime


def onnx_errors() -> tuple[type[BaseException], ...]:
    """Returns what ONNX Runtime raises for a file it cannot run."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return (
        state.Fail,
        state.InvalidArgument,
        state.InvalidGraph,
        state.InvalidProtobuf,
        state.NoModel,
        state.NoSuchFile,
        state.NotImplemented,
        state.RuntimeException,
    )
