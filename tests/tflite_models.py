"""Converting a model to TensorFlow Lite and running it, for tests."""

import warnings

import keras
import numpy as np
import tensorflow as tf

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:  # in the TensorFlow I/O environment
    Interpreter = tf.lite.Interpreter


def convert(model, folder, *, representative=None, integer_io=False):
    """Converts through a SavedModel at batch 1 with built-in operations only.

    Args:
        model: A functional model of one input or of a dict of them.
        folder: Where the SavedModel may lie.
        representative: Inputs for full-integer quantisation; float32 without.
        integer_io: Whether inputs and outputs are int8 as well.
    """
    signature = {
        tensor.name: keras.InputSpec(
            shape=(1, *tensor.shape[1:]), dtype="float32", name=tensor.name
        )
        for tensor in model.inputs
    }
    if len(signature) == 1:
        (signature,) = signature.values()
    path = str(folder / "saved_model")
    model.export(path, format="tf_saved_model", verbose=False, input_signature=[signature])
    converter = tf.lite.TFLiteConverter.from_saved_model(path)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if representative is not None:
        name = model.inputs[0].name
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({name: row[None]} for row in representative)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        if integer_io:
            converter.inference_input_type = converter.inference_output_type = tf.int8
    with warnings.catch_warnings():
        # The converter remarks that full-integer statistics were not asked of every input.
        warnings.simplefilter("ignore")
        return converter.convert()


def run(content, **inputs):
    """Answers row by row, through the signature; int8 values are scaled back."""
    interpreter = Interpreter(model_content=content)
    runner = interpreter.get_signature_runner()
    given, wanted = runner.get_input_details(), runner.get_output_details()
    rows = []
    for values in zip(*inputs.values(), strict=True):
        row = dict(zip(inputs, values, strict=True))
        answer = runner(**{name: _quantise(row[name][None], given[name]) for name in row})
        rows.append({name: _scale(value, wanted[name]) for name, value in answer.items()})
    return {name: np.concatenate([row[name] for row in rows]) for name in wanted}


def _quantise(value, details):
    if details["dtype"] == np.float32:
        return value
    scale, zero = details["quantization"]
    return np.clip(np.round(value / scale) + zero, -128, 127).astype(details["dtype"])


def _scale(value, details):
    if details["dtype"] == np.float32:
        return value
    scale, zero = details["quantization"]
    return (value.astype("float32") - zero) * scale
