"""TensorFlow Lite models as Python objects, and back."""

from typing import Any

import numpy as np

_ALIGNMENT = 16  # of buffers, in bytes; some kernels read weights where they lie


def schema() -> Any:
    """Returns the module of the schema's classes, which comes with TensorFlow."""
    from tensorflow.lite.python import schema_py_generated

    return schema_py_generated


def unpack(content: bytes) -> Any:
    """Reads a model (`ModelT`), with the weights that lie behind its FlatBuffer."""
    model = schema().ModelT.InitFromPackedBuf(content, 0)
    for buffer in model.buffers:
        # The quantizer puts weights there, where nothing else may follow.
        if buffer.offset > 1:
            end = buffer.offset + buffer.size
            buffer.data = np.frombuffer(content[buffer.offset : end], np.uint8)
            buffer.offset = buffer.size = 0
    return model


def pack(model: Any, size: int) -> bytes:
    """Writes a model of about so many bytes."""
    built = builder(size)
    built.Finish(model.Pack(built), b"TFL3")
    return bytes(built.Output())


def builder(size: int) -> Any:
    """Returns a builder that keeps the alignment of buffers."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):
        """The Python bindings would forget it."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:
            return super().StartVector(elemSize, numElems, max(alignment, _ALIGNMENT))

    return Aligned(size)


def name_of(graph: Any, operation: Any) -> str:
    """Returns the name of an operation, that of its first output."""
    return str(graph.tensors[operation.outputs[0]].name.decode())


def kind_of(model: Any, operation: Any) -> int:
    """Returns the kind of an operation, a `BuiltinOperator`."""
    code = model.operatorCodes[operation.opcodeIndex]
    return int(max(code.builtinCode, code.deprecatedBuiltinCode))
