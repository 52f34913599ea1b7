"""TensorFlow Lite."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_path
from ..errors import ModelError
from ._flatbuffer import kind_of, schema, unpack
from .savedmodel import export_saved_model, with_extras

_VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"}


def export_tflite(
    model: Any,
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[int],
    extras: Sequence[str] = (),
) -> None:
    """Writes a float32 TensorFlow Lite file for one input at a time, without metadata.

    `export_model` writes the other formats, and files that know their labels.

    Args:
        model: A model from `build_model`.
        path: The file to write; an existing one is replaced.
        input_shape: Shape of one input, such as `(160000,)` for 10 s at 16 kHz.
        extras: Further outputs; see `export_saved_model`.
    """
    content = convert(model, input_shape, extras=extras)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def convert(model: Any, input_shape: Sequence[int], *, extras: Sequence[str] = ()) -> bytes:
    """Converts a model to TensorFlow Lite in float32.

    The batch is fixed at 1, only built-in operations are used, and the signature's outputs
    carry the names of the levels. The model is converted from a SavedModel, which works on
    every supported TensorFlow version; converting a Keras model directly aborts the process on
    TensorFlow 2.16.

    Args:
        model: A functional model.
        input_shape: Shape of one input.
        extras: Further outputs `attention_LEVEL` and `embedding`.

    Raises:
        ModelError: If the model has no such extra, or needs operations that are not built in.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved_model = Path(folder) / "saved_model"
        export_saved_model(
            with_extras(model, extras), saved_model, batch_size=1, input_shape=input_shape
        )
        return convert_saved_model(saved_model)


def convert_saved_model(path: Path, *, half_precision: bool = False) -> bytes:
    """Converts a SavedModel of batch 1; see `convert`.

    Args:
        path: The SavedModel.
        half_precision: Whether weights are stored as float16.

    Raises:
        ModelError: If the model needs operations that are not built in.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(os.fspath(path))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if half_precision:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    check_operations(content)
    return content


def check_operations(content: bytes) -> None:
    """Refuses a model with operations that are not built in, or with variables.

    Raises:
        ModelError: Naming them.
    """
    if foreign := sorted(name for name in operations(content) if name.startswith("CUSTOM ")):
        raise ModelError(
            f"The model needs operations that TensorFlow Lite does not build in: {foreign}. "
            "Choose another backbone."
        )
    if unresolved := sorted(operations(content) & _VARIABLES):
        raise ModelError(f"The converted model holds unresolved variables: {unresolved}.")


def operations(content: bytes) -> set[str]:
    """Returns the names of a model's operations; others than built-in ones start `CUSTOM `."""
    names = {
        code: name
        for name, code in vars(schema().BuiltinOperator).items()
        if not name.startswith("_")
    }
    model = unpack(content)
    found = set()
    for code in model.operatorCodes:
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        custom = names[number] == "CUSTOM"
        found.add(f"CUSTOM {code.customCode.decode()}" if custom else names[number])
    return found


def kernels(content: bytes) -> list[np.ndarray]:
    """Returns the weights of a model's convolutions and dense layers as they are stored.

    Args:
        content: The model, with weights of 8 bits, in float16 or in float32.

    Returns:
        Arrays `(output channels, weights)`.
    """
    operator, kinds = schema().BuiltinOperator, schema().TensorType
    channels = {
        operator.CONV_2D: 0,
        operator.FULLY_CONNECTED: 0,
        operator.DEPTHWISE_CONV_2D: 3,
    }
    types = {kinds.INT8: np.int8, kinds.FLOAT16: np.float16, kinds.FLOAT32: np.float32}
    model = unpack(content)
    (graph,) = model.subgraphs
    # Weights that are computed with in float are stored before this operation.
    stored = {
        step.outputs[0]: step.inputs[0]
        for step in graph.operators
        if kind_of(model, step) == operator.DEQUANTIZE
    }
    found = {}
    for step in graph.operators:
        axis = channels.get(kind_of(model, step))
        if axis is None:
            continue
        place = step.inputs[1]
        tensor = graph.tensors[stored.get(place, place)]
        data = model.buffers[tensor.buffer].data
        # A product of two computed tensors has no weights.
        if data is not None and tensor.type in types:
            values = np.frombuffer(np.asarray(data, np.uint8).tobytes(), types[tensor.type])
            kernel = np.moveaxis(values.reshape(tensor.shape), axis, 0)
            found[tensor.buffer] = kernel.reshape(len(kernel), -1)
    return list(found.values())
