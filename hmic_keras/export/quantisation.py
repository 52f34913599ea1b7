"""Quantising a TensorFlow Lite model after training, with ai-edge-quantizer."""

import io
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import numpy as np

from ..errors import MissingDependencyError, ModelError
from ._flatbuffer import kind_of, name_of, schema, unpack

SCHEMES = ("dynamic_int8", "weight_int8", "static_int8", "w4")
TOOL = "ai-edge-quantizer"
# Where the weights are. The rest of a network is cheap, and exact in float.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED")
_SCHEMA_NAMES = {"CONV_2D_TRANSPOSE": "TRANSPOSE_CONV"}


def quantise(
    content: bytes,
    scheme: str,
    *,
    keep_float: Sequence[str] = (),
    keep_operations: Sequence[str] = (),
    half_operations: Sequence[str] = (),
    weights_only: Sequence[str] = (),
    ranges: Any = None,
) -> tuple[bytes, list[dict[str, Any]]]:
    """Quantises the convolutions and dense layers of a float32 model; its input stays float.

    - `dynamic_int8`: int8 weights; inputs of each operation are quantised while it runs.
    - `weight_int8`: int8 weights, made float again as they are used.
    - `w4`: as `dynamic_int8` with weights of 4 bits, where there are kernels for it.
    - `static_int8`: int8 weights and inputs of these operations, with ranges found on
      calibration inputs. All else stays float: softmax and weighted sums of attention, for one,
      do not survive int8.

    Args:
        content: The float32 model, with one signature of one input.
        scheme: One of `SCHEMES`.
        keep_float: Names of layers that stay float: a log-mel front end does not survive int8.
        keep_operations: Operations that stay float, as `weighted_operations` names them.
        half_operations: Operations that have float16 weights and float arithmetic.
        weights_only: Operations that have int8 weights and float arithmetic.
        ranges: For `static_int8`, what `find_ranges` found.

    Returns:
        The quantised model, and the quantizer's recipe as JSON-able values.

    Raises:
        MissingDependencyError: If ai-edge-quantizer is not installed.
        ModelError: If the scheme is unknown, or the model has nothing to quantise.
    """
    if scheme not in SCHEMES:
        raise ModelError(f"`scheme` must be one of {list(SCHEMES)}. Received: {scheme!r}")
    if not weighted_operations(content, keep_float):
        raise ModelError(
            f"`{scheme}` quantises convolutions and dense layers, and the model has none. "
            "Export float32 or float16."
        )
    fronts = [_layer(name) for name in keep_float]
    recipe = _recipe(scheme, fronts, keep_operations, half_operations, weights_only)
    tool = _tools()[0].Quantizer(content, recipe)
    with _silence():
        found = tool.quantize(ranges, enable_progress_report=False)
    return bytes(found.quantized_model), recipe


def find_ranges(content: bytes, calibration: np.ndarray | None) -> Any:
    """Finds the ranges of values that `static_int8` needs.

    Args:
        content: The float32 model.
        calibration: Typical inputs `(count, *input_shape)`.

    Raises:
        MissingDependencyError: If ai-edge-quantizer is not installed.
        ModelError: If there are no such inputs.
    """
    given = _signature_inputs(content, calibration)
    tool = _tools()[0].Quantizer(content, _recipe("static_int8", []))
    with _silence():
        return tool.calibrate(given, num_threads=1)


def weighted_operations(content: bytes, keep_float: Sequence[str] = ()) -> dict[str, int]:
    """Lists what `quantise` would quantise.

    Args:
        content: The float32 model.
        keep_float: Names of layers that stay float.

    Returns:
        The number of weights by the name of each operation's output.
    """
    model, operator = unpack(content), schema().BuiltinOperator
    wanted = {getattr(operator, _SCHEMA_NAMES.get(name, name)) for name in _WEIGHTED}
    (graph,) = model.subgraphs
    found: dict[str, int] = {}
    for operation in graph.operators:
        name = name_of(graph, operation)
        kept = any(re.search(_layer(layer), name) for layer in keep_float)
        if kind_of(model, operation) in wanted and not kept:
            constants = [
                int(np.prod(graph.tensors[index].shape, dtype="int64"))
                for index in operation.inputs
                if index >= 0 and model.buffers[graph.tensors[index].buffer].data is not None
            ]
            found |= {name: max(constants)} if constants else {}
    return found


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps the quantizer from showing bars and remarking on its own use of memory."""
    with redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*experimental_preserve_all_tensors", UserWarning)
        yield


def _tools() -> tuple[Any, Any, Any]:
    try:
        from ai_edge_quantizer import qtyping, quantizer, recipe_manager
    except ImportError as error:
        raise MissingDependencyError(
            f"Quantised formats need {TOOL}: pip install 'hmic-keras[export]'."
        ) from error
    return quantizer, qtyping, recipe_manager


def _layer(name: str) -> str:
    # Keras numbers the layers of a model that was built before.
    return f"/{re.escape(name)}(_[0-9]+)?/"


def _recipe(
    scheme: str,
    layers: Sequence[str],
    operations: Sequence[str] = (),
    half: Sequence[str] = (),
    weights_only: Sequence[str] = (),
) -> list[dict[str, Any]]:
    _, qtyping, recipe_manager = _tools()
    names = qtyping.TFLOperationName
    manager = recipe_manager.RecipeManager()
    for name in map(names, _WEIGHTED):
        if scheme == "static_int8":
            manager.add_static_config(".*", name, 8, 8)
        elif scheme == "weight_int8":
            manager.add_weight_only_config(".*", name, 8)
        else:
            four = scheme == "w4" and name in (names.CONV_2D, names.FULLY_CONNECTED)
            manager.add_dynamic_config(".*", name, 4 if four else 8)
    half_precision = qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    for name in map(names, _WEIGHTED):
        for operation in weights_only:
            manager.add_weight_only_config(f"^{re.escape(operation)}", name, 8)
        for operation in half:
            pattern = f"^{re.escape(operation)}"
            manager.add_quantization_config(pattern, name, half_precision, "float_casting")
    for name in (names.INPUT, names.OUTPUT):
        manager.add_quantization_config(".*", name, None, "no_quantize")
    for pattern in (*layers, *(f"^{re.escape(name)}" for name in operations)):
        manager.add_quantization_config(pattern, names.ALL_SUPPORTED, None, "no_quantize")
    return json.loads(json.dumps(manager.get_quantization_recipe()))


def _signature_inputs(content: bytes, calibration: np.ndarray | None) -> dict[str, Any]:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(model_content=content).get_signature_runner()
    ((name, details),) = runner.get_input_details().items()
    shape = tuple(details["shape"][1:])
    given = None if calibration is None else np.asarray(calibration, "float32")
    if given is None or given.shape[1:] != shape or not len(given):
        received = "none" if given is None else f"shape {given.shape}"
        raise ModelError(
            f"'static_int8' finds its ranges on `calibration` (on the command line "
            f"--calibration with a label table of typical clips), inputs (count, "
            f"{', '.join(map(str, shape))}). Received: {received}"
        )
    if not np.isfinite(given).all():
        raise ModelError("`calibration` must be finite. Received: NaN or infinity in it.")
    return {"serving_default": [{name: row[np.newaxis]} for row in given]}
