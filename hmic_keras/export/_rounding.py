"""Rounding weights to few bits so that the answers change least."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._flatbuffer import kind_of, name_of, pack, schema, unpack

# Of the inputs of one operation that its second moments are estimated from.
_MOST_ROWS = 40_000
_DAMPING = 0.001


def round_weights(
    content: bytes, inputs: np.ndarray, bits: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Rounds the weights of convolutions and dense layers with regard to what they multiply.

    Rounding each weight to the nearest step changes the output of a layer by a sum of many
    errors. GPTQ (Frantar et al., ICLR 2023) rounds one input's weights after the other, and
    lets those still to come make up for the error, as far as typical inputs allow. The steps
    are those a quantizer finds by itself later: a channel's largest weight keeps its value.

    Args:
        content: A float32 TensorFlow Lite model of one input.
        inputs: Typical inputs `(count, *input_shape)`.
        bits: Bits by operation, each named after its output. Those that are no convolution
            or dense layer with constant weights are left out of the answer.

    Returns:
        Rounded weights by operation, of the shape they have in the model.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    layers = _layers(content, bits)
    moments: dict[str, np.ndarray] = {}
    rows = max(1, _MOST_ROWS // len(inputs))
    random = np.random.default_rng(0)
    (given,) = interpreter.get_input_details()
    for one in inputs:
        interpreter.set_tensor(given["index"], one[np.newaxis])
        interpreter.invoke()
        for name, layer in layers.items():
            seen = layer.patches(interpreter.get_tensor(layer.input))
            if len(seen) > rows:
                seen = seen[random.choice(len(seen), rows, replace=False)]
            moments[name] = moments.get(name, 0.0) + seen.T @ seen
    return {
        name: _round(layer.weights, moments[name].astype("float64"), bits[name])
        for name, layer in layers.items()
    }


def with_weights(content: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """Returns the model with other weights of operations, each named after its output."""
    model = unpack(content)
    (graph,) = model.subgraphs
    for operation in graph.operators:
        if (name := name_of(graph, operation)) in weights:
            buffer = model.buffers[graph.tensors[operation.inputs[1]].buffer]
            buffer.data = np.frombuffer(weights[name].astype("<f4").tobytes(), np.uint8)
    return pack(model, len(content))


class _Layer:
    """A convolution or dense layer: its weights, and what they multiply."""

    def __init__(self, operation: Any, weights: np.ndarray, same: bool | None) -> None:
        self.input, self.weights = operation.inputs[0], weights
        self._same, self._options = same, operation.builtinOptions

    def patches(self, given: np.ndarray) -> np.ndarray:
        """Returns the rows that are multiplied by each channel's weights."""
        if self._same is None:
            return given.reshape(-1, self.weights.shape[-1])
        o = self._options
        strides, dilations = (o.strideH, o.strideW), (o.dilationHFactor, o.dilationWFactor)
        reach = [
            (size - 1) * by + 1
            for size, by in zip(self.weights.shape[1:3], dilations, strict=True)
        ]
        if self._same:
            missing = [
                max((-(-size // by) - 1) * by + long - size, 0)
                for size, by, long in zip(given.shape[1:3], strides, reach, strict=True)
            ]
            around = [(m // 2, m - m // 2) for m in missing]
            given = np.pad(given, [(0, 0), *around, (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(given, reach, axis=(1, 2))
        windows = windows[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]
        # (clips, height, width, rows, columns, channels), the order of the weights
        return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, self.weights[0].size)


def _layers(content: bytes, wanted: Mapping[str, int]) -> dict[str, _Layer]:
    model, operator = unpack(content), schema().BuiltinOperator
    (graph,) = model.subgraphs
    found = {}
    for operation in graph.operators:
        kind, name = kind_of(model, operation), name_of(graph, operation)
        if kind not in (operator.CONV_2D, operator.FULLY_CONNECTED) or name not in wanted:
            continue
        tensor = graph.tensors[operation.inputs[1]]
        data = model.buffers[tensor.buffer].data
        if data is None or tensor.type != schema().TensorType.FLOAT32:
            continue
        weights = np.frombuffer(np.asarray(data, np.uint8).tobytes(), "<f4")
        same = None
        if kind == operator.CONV_2D:
            same = operation.builtinOptions.padding == schema().Padding.SAME
        found[name] = _Layer(operation, weights.reshape(tensor.shape), same)
    return found


def _round(weights: np.ndarray, moments: np.ndarray, bits: int) -> np.ndarray:
    """GPTQ on one layer.

    Args:
        weights: Output channels first.
        moments: Second moments `(n, n)` of the `n` inputs of an output channel.
        bits: Bits of a weight.
    """
    last = 2 ** (bits - 1) - 1
    columns = weights.reshape(len(weights), -1).T.astype("float64")
    step = np.abs(columns).max(axis=0) / last
    step[step == 0] = 1
    moments = moments + np.eye(len(moments)) * (_DAMPING * np.trace(moments) / len(moments))
    if not moments.any():
        return weights  # no input was ever other than zero
    order = np.argsort(-np.diag(moments))  # what is heard most is rounded first
    columns = columns[order]
    largest = np.abs(columns).argmax(axis=0)
    inverse = np.linalg.inv(moments[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    signs = np.sign(columns[largest, np.arange(columns.shape[1])])
    rounded = np.empty_like(columns)
    for row in range(len(columns)):
        whole = np.clip(np.rint(columns[row] / step), -last, last)
        # Else the quantizer would find another step.
        whole = np.where(largest == row, last * signs, whole)
        rounded[row] = whole * step
        error = (columns[row] - rounded[row]) / upper[row, row]
        columns[row + 1 :] -= np.outer(upper[row, row + 1 :], error)
    unordered = np.empty_like(rounded)
    unordered[order] = rounded
    return unordered.T.reshape(weights.shape).astype("float32")
