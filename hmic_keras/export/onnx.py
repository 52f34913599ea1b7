"""ONNX, for runtimes outside Google's."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .._files import atomic_path, checksum_line
from .._mel import filters_of, hann_window
from .._tflite_file import CONTENT_SHA256
from ..config import AudioConfig
from ..errors import MissingDependencyError
from ..layers import LogMelSpectrogram
from ..zoo import CONTENT_BYTES, MANIFEST, ONNX_CHECKSUM, ONNX_ENTRY
from .precision import as_float32
from .savedmodel import with_extras


def export_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[int],
    extras: Sequence[str] = (),
) -> None:
    """Writes an ONNX file for one input at a time, without a manifest.

    Args:
        model: A model from `build_model`.
        path: The file to write; an existing one is replaced.
        input_shape: Shape of one input.
        extras: Further outputs; see `export_tflite`.

    Raises:
        MissingDependencyError: If tf2onnx is not installed.
    """
    _need("tf2onnx")
    model = _without_fft(with_extras(as_float32(model), extras), input_shape)
    (tensor,) = model.inputs
    signature = [keras.InputSpec(shape=(1, *input_shape), dtype="float32", name=tensor.name)]
    with atomic_path(path) as temporary, warnings.catch_warnings(), _without_remarks():
        # Keras asks NumPy for a name that is to come back.
        warnings.filterwarnings("ignore", ".*np.object", FutureWarning)
        model(keras.ops.zeros((1, *input_shape)))
        model.export(temporary, format="onnx", verbose=False, input_signature=signature)


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keeps tf2onnx from printing a traceback for an optimisation that it then leaves out."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


class _LogMelByConvolution(keras.layers.Layer):
    """What `LogMelSpectrogram` gives, by a Fourier transform written as a convolution.

    tf2onnx has no rule for the real and imaginary part of TensorFlow's own transform.
    """

    def __init__(self, layer: LogMelSpectrogram) -> None:
        super().__init__(name=layer.name)
        audio = AudioConfig.from_dict(
            {name: getattr(layer, name) for name in AudioConfig().to_dict()}
        )
        self._audio = audio
        bins = audio.n_fft // 2 + 1
        angles = 2 * np.pi / audio.n_fft * np.outer(np.arange(audio.n_fft), np.arange(bins))
        parts = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
        kernel = hann_window(audio)[:, np.newaxis] * parts
        self._kernel = kernel[:, np.newaxis].astype("float32")
        self._filters = np.tile(filters_of(audio), (2, 1))

    def call(self, inputs: Any) -> Any:
        """Returns the log-mel spectrogram."""
        half, ops = self._audio.n_fft // 2, keras.ops
        padded = ops.pad(inputs, [[0, 0], [half, half]], mode="reflect")
        parts = ops.conv(padded[..., None], self._kernel, strides=self._audio.hop_length)
        # Squares of both parts meet in the sum over the bins.
        return ops.log(ops.matmul(ops.square(parts), self._filters) + self._audio.log_offset)


def _without_fft(model: Any, input_shape: Sequence[int]) -> Any:
    for layer in model.layers:
        if isinstance(layer, LogMelSpectrogram):
            given = keras.Input(input_shape, name=model.inputs[0].name)
            network = keras.Model(layer.output, model.output)
            return keras.Model(given, network(_LogMelByConvolution(layer)(given)))
    return model


def add_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Adds a manifest to the metadata of an ONNX file, with checksums of both."""
    onnx = _need("onnx")
    content = path.read_bytes()
    own = {
        **manifest,
        CONTENT_SHA256: hashlib.sha256(content).hexdigest(),
        CONTENT_BYTES: len(content),
    }
    text = json.dumps(own, ensure_ascii=False, allow_nan=False)
    line = checksum_line(text.encode("utf-8"), MANIFEST)
    # Of two messages of Protocol Buffers one after the other, the second adds to the first;
    # so the checksum is that of the bytes before it.
    entries = onnx.ModelProto()
    onnx.helper.set_model_props(entries, {ONNX_ENTRY: text, ONNX_CHECKSUM: line})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content + entries.SerializeToString())


def _need(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            "The format 'onnx' needs tf2onnx and onnxruntime: pip install 'hmic-keras[onnx]'."
        ) from error
