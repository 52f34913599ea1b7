"""TFLite Metadata as a file states it, read with the standard library.

The metadata is a FlatBuffer of its own (`metadata_schema.fbs`, identifier `M001`) in a buffer
of the model, which is one too (`schema.fbs`). `export.metadata` writes it; a machine that only
runs files has to be able to read it, too.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BUFFER_NAME = "TFLITE_METADATA"
AUDIO_PROPERTIES = 4  # of the union ContentProperties
SCORE_THRESHOLDING = 3  # of the union ProcessUnitOptions


@dataclass(frozen=True)
class Head:
    """What the metadata says of one output.

    Attributes:
        labels: Name of its label file; None for an output without classes.
        threshold: From which probability a class of it counts as present; None if not stated.
    """

    labels: str | None
    threshold: float | None


@dataclass(frozen=True)
class Metadata:
    """What the metadata says of a model of one input.

    Attributes:
        sample_rate: Of the audio it takes, in Hz; None for a model of something else.
        heads: Its outputs by name.
    """

    sample_rate: int | None
    heads: Mapping[str, Head]


def read_metadata(content: bytes) -> Metadata | None:
    """Returns the metadata of a TensorFlow Lite model, or None if it has none.

    Args:
        content: The model, a FlatBuffer.

    Raises:
        ValueError: If there is such a buffer, and no metadata of one input in it.
    """
    try:
        model = _Table.root(content)
        buffers = model.tables(4)
        named = {entry.text(0): buffers[entry.number(1, "I")] for entry in model.tables(6)}
        if BUFFER_NAME not in named:
            return None
        packed = named[BUFFER_NAME].octets(0)
        if packed[4:8] != b"M001":
            raise ValueError("its metadata is not that of a TensorFlow Lite model")
        (graph,) = _Table.root(packed).tables(3)
        (given,) = graph.tables(2)
        heads = {output.text(0): _head(output) for output in graph.tables(3)}
        return Metadata(_sample_rate(given), heads)
    except (struct.error, LookupError) as error:
        raise ValueError("its metadata is damaged") from error


def _sample_rate(given: "_Table") -> int | None:
    about = given.table(3)
    if about is None or about.number(0, "B") != AUDIO_PROPERTIES:
        return None
    properties = about.table(1)
    return None if properties is None else properties.number(0, "I")


def _head(output: "_Table") -> Head:
    files, units = output.tables(6), output.tables(4)
    limits = [u.table(1) for u in units if u.number(0, "B") == SCORE_THRESHOLDING]
    return Head(
        labels=files[0].text(0) if files else None,
        threshold=limits[0].number(0, "f") if limits and limits[0] is not None else None,
    )


class _Table:
    """A table of a FlatBuffer; fields are found by their slot, as the schema counts them."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content, self._at = content, at

    @classmethod
    def root(cls, content: bytes) -> "_Table":
        return cls(content, *struct.unpack_from("<I", content))

    def number(self, slot: int, kind: str) -> Any:
        """Returns a scalar, `kind` as `struct` writes it; 0 if it is left out."""
        at = self._field(slot)
        return self._read(kind, at) if at else 0

    def text(self, slot: int) -> str:
        """Returns a text, empty if it is left out."""
        return self.octets(slot).decode("utf-8")

    def octets(self, slot: int) -> bytes:
        """Returns a vector of bytes, empty if it is left out."""
        at = self._behind(slot)
        return self._content[at + 4 : at + 4 + self._read("I", at)] if at else b""

    def table(self, slot: int) -> "_Table | None":
        """Returns a table, None if it is left out."""
        at = self._behind(slot)
        return _Table(self._content, at) if at else None

    def tables(self, slot: int) -> "list[_Table]":
        """Returns a vector of tables, empty if it is left out."""
        at = self._behind(slot)
        count = self._read("I", at) if at else 0
        places = range(at + 4, at + 4 + 4 * count, 4)
        return [_Table(self._content, place + self._read("I", place)) for place in places]

    def _behind(self, slot: int) -> int:
        at = self._field(slot)
        return at + self._read("I", at) if at else 0

    def _field(self, slot: int) -> int:
        """Returns where a field is, 0 if it is left out."""
        fields = self._at - self._read("i", self._at)
        place = 4 + 2 * slot
        if place >= self._read("H", fields):
            return 0
        offset = self._read("H", fields + place)
        return self._at + offset if offset else 0

    def _read(self, kind: str, at: int) -> Any:
        return struct.unpack_from(f"<{kind}", self._content, at)[0]
