"""TFLite Metadata, by which MediaPipe and other runtimes know a file's labels and sample rate.

The schema is Google's `metadata_schema.fbs` (identifier `M001`); the tables that a classifier
of audio needs are written here slot by slot, so no runtime has to be installed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._tflite_file import labels_name
from .._tflite_metadata import AUDIO_PROPERTIES, BUFFER_NAME, SCORE_THRESHOLDING
from ..errors import ModelError
from ._flatbuffer import pack, unpack
from ._flatbuffer import schema as tflite_schema

_AXIS_LABELS = 2  # of the enumeration AssociatedFileType
_PARSER_VERSION = "1.3.0"  # the first that knows AudioProperties
_CHANNELS = 1

_Fields = dict[int, tuple[str, Any]]


def add_metadata(
    content: bytes,
    *,
    name: str,
    classes: Mapping[str, Sequence[str]],
    thresholds: Mapping[str, Sequence[float]],
    sample_rate: int | None,
) -> bytes:
    """Adds the metadata of a classifier to a TensorFlow Lite model.

    Args:
        content: The model; its signature names the outputs.
        name: Name of the model.
        classes: Names of the classes by level.
        thresholds: By level, from which probability a class counts as present. The schema has
            one threshold for a whole head: the lowest of its classes.
        sample_rate: Of the waveform it takes, in Hz; None for a model of something else.

    Returns:
        The model with one entry for its input and one for each output, in the order of the
        outputs in its graph. The label files they name are added by `_tflite_file.with_files`.

    Raises:
        ModelError: If the model has more than one signature or input.
    """
    model, schema = unpack(content), tflite_schema()
    if len(model.subgraphs) != 1 or len(model.signatureDefs or ()) != 1:
        raise ModelError("The model must have one graph with one signature.")
    (signature,) = model.signatureDefs
    (given,) = signature.inputs
    by_tensor = {output.tensorIndex: output.name.decode() for output in signature.outputs}
    outputs = [by_tensor[index] for index in model.subgraphs[0].outputs]
    packed = _pack(name, given.name.decode(), outputs, classes, thresholds, sample_rate)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(packed, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = BUFFER_NAME.encode(), len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [m for m in model.metadata or () if m.name != entry.name] + [entry]
    return pack(model, len(content) + len(packed))


def _pack(
    name: str,
    given: str,
    outputs: Sequence[str],
    classes: Mapping[str, Sequence[str]],
    thresholds: Mapping[str, Sequence[float]],
    sample_rate: int | None,
) -> bytes:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    fields: _Fields = {0: ("text", given)}
    if sample_rate is not None:
        properties = _table(builder, {0: ("uint32", sample_rate), 1: ("uint32", _CHANNELS)})
        content = {0: ("uint8", AUDIO_PROPERTIES), 1: ("table", properties)}
        fields[3] = ("table", _table(builder, content))
    inputs = [_table(builder, fields)]
    heads = [
        _head(builder, level, thresholds[level])
        if level in classes
        else _table(builder, {0: ("text", level)})
        for level in outputs
    ]
    graph = _table(builder, {2: ("tables", inputs), 3: ("tables", heads)})
    model = {0: ("text", name), 3: ("tables", [graph]), 7: ("text", _PARSER_VERSION)}
    builder.Finish(_table(builder, model), b"M001")
    return bytes(builder.Output())


def _head(builder: Any, level: str, thresholds: Sequence[float]) -> int:
    labels = _table(builder, {0: ("text", labels_name(level)), 2: ("int8", _AXIS_LABELS)})
    options = _table(builder, {0: ("float32", min(thresholds))})
    unit = _table(builder, {0: ("uint8", SCORE_THRESHOLDING), 1: ("table", options)})
    return _table(builder, {0: ("text", level), 4: ("tables", [unit]), 6: ("tables", [labels])})


def _table(builder: Any, fields: _Fields) -> int:
    """Writes a table from its fields by slot, each a kind and a value."""
    ready = {
        slot: (kind, _outside(builder, kind, value)) for slot, (kind, value) in fields.items()
    }
    builder.StartObject(max(fields) + 1)
    for slot, (kind, value) in ready.items():
        if kind in ("text", "table", "tables"):
            builder.PrependUOffsetTRelativeSlot(slot, value, 0)
        else:
            getattr(builder, f"Prepend{kind.capitalize()}Slot")(slot, value, 0)
    return builder.EndObject()


def _outside(builder: Any, kind: str, value: Any) -> Any:
    # What a table only points to is written before it.
    if kind == "text":
        return builder.CreateString(value)
    if kind != "tables":
        return value
    builder.StartVector(4, len(value), 4)
    for offset in reversed(value):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
