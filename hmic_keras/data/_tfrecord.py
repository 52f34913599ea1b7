"""`tf.train.Example` messages and TFRecord files, written and read without TensorFlow.

Preparing a corpus runs in several processes, each of which would take seconds and hundreds of
megabytes to import TensorFlow for two small formats: a record is its length, that length's
checksum, the data and its checksum (tensorflow/core/lib/io/record_writer.h); an `Example` is a
protocol buffer, a map from names to lists of bytes, floats or integers
(tensorflow/core/example/feature.proto).
"""

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np

from ..errors import RecordError

Value = bytes | np.ndarray
"""One byte string, a float32 array or an int64 array, the arrays 1-D."""

HEADER_BYTES = 12
_BYTES, _FLOATS, _INTEGERS = 1, 2, 3
_LENGTH_DELIMITED = 2
# A protocol buffer's length must fit a signed 32-bit integer.
MAX_EXAMPLE_BYTES = (1 << 31) - 1


def encode_example(features: Mapping[str, Value]) -> bytes:
    """Encodes features as a `tf.train.Example`, in the order given.

    The data of a byte string that comes last are the last bytes of the result, which lets a
    reader find them without parsing.

    Args:
        features: Name to value.

    Raises:
        RecordError: If the message would exceed 2 GiB.
    """
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, _encode_value(value)))
        for name, value in features.items()
    ]
    encoded = _field(1, b"".join(entries))
    if len(encoded) > MAX_EXAMPLE_BYTES:
        raise RecordError(
            f"A record holds at most {MAX_EXAMPLE_BYTES} bytes. Received: {len(encoded)}; cut "
            "the recording into shorter files."
        )
    return encoded


def decode_example(data: bytes) -> dict[str, Value]:
    """Decodes a `tf.train.Example`, whoever wrote it.

    Raises:
        RecordError: If `data` is no such message.
    """
    features: dict[str, Value] = {}
    view = memoryview(data)
    try:
        for _, message in _fields(view):
            for _, entry in _fields(message):
                parts = dict(_fields(entry))
                features[bytes(parts[1]).decode()] = _decode_value(parts[2])
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        raise RecordError(
            "The data are no tf.train.Example. Prepare the folder again."
        ) from error
    return features


def write_record(stream: BinaryIO, data: bytes) -> int:
    """Appends one record to a TFRecord file and returns how many bytes that took."""
    length = struct.pack("<Q", len(data))
    stream.write(length)
    stream.write(struct.pack("<I", _masked_crc(length)))
    stream.write(data)
    stream.write(struct.pack("<I", _masked_crc(data)))
    return HEADER_BYTES + len(data) + 4


def read_records(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """Yields the records of a TFRecord file, checksums compared.

    Args:
        stream: The file.
        name: What to call it in an error.

    Raises:
        RecordError: If a record is cut off or a checksum differs.
    """
    while header := stream.read(HEADER_BYTES):
        whole = len(header) == HEADER_BYTES
        length, crc = struct.unpack("<QI", header) if whole else (0, None)
        if crc != _masked_crc(header[:8]):
            raise RecordError(f"{name}: is damaged or no TFRecord file. Prepare it again.")
        data, footer = stream.read(length), stream.read(4)
        if len(footer) < 4 or struct.unpack("<I", footer)[0] != _masked_crc(data):
            raise RecordError(f"{name}: a record is cut off or damaged. Prepare it again.")
        yield data


def _masked_crc(data: bytes) -> int:
    import google_crc32c

    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _encode_value(value: Value) -> bytes:
    if isinstance(value, bytes):
        return _field(_BYTES, _field(1, value))
    if value.dtype.kind == "f":
        return _field(_FLOATS, _field(1, value.astype("<f4").tobytes()))
    return _field(_INTEGERS, _field(1, b"".join(_varint(int(item)) for item in value)))


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yields number and content of each field; an `Example` has length-delimited ones only."""
    position = 0
    while position < len(message):
        tag, position = _read_varint(message, position)
        size, position = _read_varint(message, position)
        if tag & 7 != _LENGTH_DELIMITED or position + size > len(message):
            raise ValueError("not a length-delimited field")
        yield tag >> 3, message[position : position + size]
        position += size


def _read_varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _decode_value(message: memoryview) -> Value:
    ((kind, content),) = _fields(message)
    # A writer leaves an empty list out.
    _, items = next(_fields(content), (1, content[:0]))
    if kind == _BYTES:
        return bytes(items)
    if kind == _FLOATS:
        return np.frombuffer(items, "<f4").astype(np.float32)
    found = []
    position = 0
    while position < len(items):
        value, position = _read_varint(items, position)
        found.append(value - (1 << 64) if value >> 63 else value)
    return np.array(found, np.int64)
