"""What a TensorFlow Lite file of this package says of itself, read with the standard library.

The file is a FlatBuffer with a ZIP archive behind it, as TFLite Metadata lays down: label files
that other runtimes read, and this package's manifest.
"""

import hashlib
import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._files import CHECKSUM, checksum_line
from ._tflite_metadata import Metadata, read_metadata
from .errors import ModelError, first_line

MANIFEST = "manifest.json"
CONTENT_SHA256 = "content_sha256"
_END = b"PK\x05\x06"  # of an archive; without a comment, 22 bytes from the end of the file
_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest a ZIP can hold: the same model, the same file


def labels_name(level: str) -> str:
    """Returns the name of the label file of a level."""
    return f"labels_{level}.txt"


def with_files(content: bytes, manifest: Mapping[str, Any]) -> bytes:
    """Appends the manifest with its checksum, and the label files, to a model.

    Args:
        content: The FlatBuffer.
        manifest: The manifest, with `class_order`; the checksum of `content` is added.
    """
    manifest = {**manifest, CONTENT_SHA256: hashlib.sha256(content).hexdigest()}
    # Compact, since the files are stored as they are and an app carries every byte.
    text = json.dumps(manifest, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    files = {
        MANIFEST: text,
        CHECKSUM: checksum_line(text.encode("utf-8"), MANIFEST),
        **_label_files(manifest["class_order"]),
    }
    stream = io.BytesIO(content)
    stream.seek(0, io.SEEK_END)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, lines in files.items():
            # Stored as they are: runtimes on phones read nothing else.
            archive.writestr(zipfile.ZipInfo(name, _DATE), lines.encode("utf-8"))
    return stream.getvalue()


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Returns the manifest that a TensorFlow Lite file carries, or None if it carries none.

    Raises:
        ModelError: If the file is none, or its metadata was damaged or altered.
    """
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelError(
            f"'{path}' cannot be run as TensorFlow Lite: it does not begin as such a file "
            "does. Export the model again."
        )
    if not zipfile.is_zipfile(io.BytesIO(content)):
        # The manifest comes first in the archive: what is left of one that was cut off.
        if re.search(rb"PK\x03\x04.{26}" + MANIFEST.encode(), content, re.DOTALL):
            raise _altered(path, "it was cut off, or bytes were appended to it.")
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
            length = min((entry.header_offset for entry in archive.infolist()), default=0)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError) as error:
        raise _altered(path, first_line(error)) from error
    if MANIFEST not in files:
        return None
    if content[-22:-18] != _END:
        raise _altered(path, "bytes were appended to it.")
    if files.pop(CHECKSUM, b"") != checksum_line(files[MANIFEST], MANIFEST).encode():
        raise _altered(
            path, f"its manifest does not have the SHA-256 that its '{CHECKSUM}' states."
        )
    try:
        manifest = json.loads(files.pop(MANIFEST))
        labels = {name: text.decode("utf-8") for name, text in files.items()}
    except ValueError as error:
        raise _altered(path, first_line(error)) from error
    _check(path, manifest, labels, content[:length])
    return manifest


def _check(path: Path, manifest: Any, labels: dict[str, str], content: bytes) -> None:
    order = manifest.get("class_order") if isinstance(manifest, dict) else None
    if not isinstance(order, dict):
        raise _altered(path, "its manifest names no classes.")
    if labels != _label_files(order):
        raise _altered(path, "its label files do not list the classes of its manifest.")
    if manifest.get(CONTENT_SHA256) != hashlib.sha256(content).hexdigest():
        raise _altered(path, "the model does not have the SHA-256 that its manifest states.")
    try:
        differs = _difference(manifest, read_metadata(content))
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        raise _altered(path, first_line(error)) from error
    if differs:
        raise _altered(path, f"its TFLite Metadata and its manifest differ in {differs}.")


def _difference(manifest: Mapping[str, Any], metadata: Metadata | None) -> str:
    """Returns what a manifest and the metadata do not agree on, empty if there is nothing."""
    if metadata is None:
        return "everything: the model has no such metadata"
    waveform = manifest.get("input") == "waveform"
    if metadata.sample_rate != (manifest["audio"]["sample_rate"] if waveform else None):
        return "the sample rate"
    stated = manifest.get("thresholds") or {}
    for level in manifest["class_order"]:
        head = metadata.heads.get(level)
        if head is None or head.labels != labels_name(level):
            return f"the labels of the output {level!r}"
        lowest = struct.unpack("<f", struct.pack("<f", min(stated.get(level, [0.5]))))[0]
        if head.threshold != lowest:
            return f"the threshold of the output {level!r}"
    return ""


def _label_files(order: Mapping[str, Any]) -> dict[str, str]:
    return {
        labels_name(level): "".join(f"{name}\n" for name in classes)
        for level, classes in order.items()
    }


def _altered(path: Path, what: str) -> ModelError:
    return ModelError(
        f"'{path}' cannot be used: its metadata was damaged or altered after export: {what} "
        "Export the model again."
    )
