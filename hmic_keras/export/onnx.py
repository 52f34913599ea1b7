"""ONNX, for runtimes outside Google's."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from .._files import atomic_path
from ..errors import MissingDependencyError
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
    model = with_extras(as_float32(model), extras)
    (tensor,) = model.inputs
    signature = [keras.InputSpec(shape=(1, *input_shape), dtype="float32", name=tensor.name)]
    with atomic_path(path) as temporary:
        model(keras.ops.zeros((1, *input_shape)))
        model.export(temporary, format="onnx", verbose=False, input_signature=signature)


def add_manifest(path: Path, entries: Mapping[str, str]) -> None:
    """Adds texts by name to the metadata of an ONNX file."""
    onnx = _need("onnx")
    content = onnx.load(os.fspath(path))
    onnx.helper.set_model_props(content, dict(entries))
    onnx.save(content, os.fspath(path))


def _need(module: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            "The format 'onnx' needs tf2onnx and onnxruntime: pip install 'hmic-keras[onnx]'."
        ) from error
