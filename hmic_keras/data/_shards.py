"""Shards: the unit of work of a preparation, one process and one file each."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .. import _files
from ..config import AudioConfig
from ..errors import AudioError, RecordError
from ._features import log_mel
from ._tfrecord import HEADER_BYTES, write_record
from .audio import load_audio
from .records import STORED, Features, Record, encode
from .sources.folder import LabelledClips

UNFINISHED = "unfinished"
_REPORTED = {"content", "bytes", "sha256", "entries", "skipped"}


@dataclass(frozen=True)
class Shard:
    """What one process turns into one file."""

    folder: Path
    number: int
    file: str
    rows: range
    paths: tuple[Path, ...]
    ids: tuple[str, ...]
    labels: Mapping[str, np.ndarray]
    events: tuple[np.ndarray, ...] | None
    features: Features
    audio: AudioConfig
    skip: bool

    @property
    def report(self) -> Path:
        """Says that the shard is finished and what is in it."""
        return self.folder / UNFINISHED / f"{self.number:05d}.json"

    def content(self) -> dict[str, str | None]:
        """Returns digests of the clips."""
        return content_of(self.paths, self.ids, self.labels, self.events)


def content_of(
    paths: Sequence[Path],
    ids: Sequence[str],
    labels: Mapping[str, np.ndarray],
    events: Sequence[np.ndarray] | None,
) -> dict[str, str | None]:
    """Returns digests of clips: of files by name and size, of labels and of notes."""

    def digest(parts: Iterable[bytes]) -> str:
        found = hashlib.sha256()
        for part in parts:
            found.update(len(part).to_bytes(8, "little") + part)
        return found.hexdigest()

    sizes = (path.stat().st_size if path.is_file() else -1 for path in paths)
    return {
        "files": digest(
            f"{name}/{size}".encode() for name, size in zip(ids, sizes, strict=True)
        ),
        "labels": digest(values.tobytes() for values in labels.values()),
        "events": None if events is None else digest(notes.tobytes() for notes in events),
    }


def deal(
    clips: LabelledClips,
    ids: Sequence[str],
    out: Path,
    features: Features,
    audio: AudioConfig,
    clips_per_shard: int,
    on_error: str,
) -> Iterator[Shard]:
    """Yields the shards of a corpus, in order."""
    count = -(-len(clips) // clips_per_shard)
    for number in range(count):
        first = number * clips_per_shard
        rows = range(first, min(first + clips_per_shard, len(clips)))
        part = slice(rows.start, rows.stop)
        yield Shard(
            out,
            number,
            f"shard-{number:05d}-of-{count:05d}.tfrecord",
            rows,
            clips.paths[part],
            tuple(ids[part]),
            {level: values[part] for level, values in clips.labels.items()},
            None if clips.events is None else clips.events[part],
            features,
            audio,
            on_error == "skip",
        )


def is_finished(shard: Shard) -> bool:
    """Says whether a shard is finished, of the same clips, and still as it was written."""
    path = shard.folder / shard.file
    if not (shard.report.is_file() and path.is_file()):
        return False
    report = read_json(shard.report)
    if not report.keys() >= _REPORTED:
        raise RecordError(_damaged(shard.report))
    return (
        report["content"] == shard.content()
        and report["bytes"] == path.stat().st_size
        # What was skipped then is to be reported now.
        and not (report["skipped"] and not shard.skip)
    )


class _Hashed:
    """A stream that keeps the checksum of what was written to it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.bytes += len(data)
        return self._stream.write(data)


def write_shard(shard: Shard) -> int:
    """Writes one shard and its report, each whole or not at all; returns its clips."""
    # One name a shard, so that what a killed run left behind is written over.
    temporary = shard.folder / UNFINISHED / f"{shard.number:05d}.part"
    content = shard.content()
    entries: list[tuple[int, int, int]] = []
    skipped: list[tuple[int, str]] = []
    with temporary.open("wb") as stream:
        hashed = _Hashed(stream)
        for i, row in enumerate(shard.rows):
            try:
                record = _record(shard, i)
                data = encode(record)
            except (AudioError, RecordError) as error:
                if not shard.skip:
                    raise
                skipped.append((row, str(error).replace(str(shard.paths[i]), shard.ids[i])))
                continue
            payload = record.values.size * STORED[shard.features].itemsize
            offset = hashed.bytes + HEADER_BYTES + len(data) - payload
            entries.append((row, offset, len(record.values)))
            write_record(hashed, data)  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, shard.folder / shard.file)
    _files.write_json(
        shard.report,
        {
            "content": content,
            "bytes": hashed.bytes,
            "sha256": hashed.digest.hexdigest(),
            "entries": entries,
            "skipped": skipped,
        },
    )
    return len(shard.rows)


def _record(shard: Shard, i: int) -> Record:
    rate = shard.audio.sample_rate
    values = load_audio(shard.paths[i], rate, allow_silence=False)
    if shard.features == "log_mel":
        values = log_mel(values, shard.audio)
    return Record(
        shard.ids[i],
        shard.features,
        rate,
        values,
        {level: labels[i] for level, labels in shard.labels.items()},
        None if shard.events is None else shard.events[i],
    )


def read_json(path: Path) -> dict[str, Any]:
    """Reads what a preparation wrote about itself.

    Raises:
        RecordError: If somebody damaged it.
    """
    try:
        return dict(_files.read_json(path))
    except (TypeError, ValueError) as error:
        raise RecordError(_damaged(path)) from error


def _damaged(path: Path) -> str:
    return f"{path}: is damaged. Remove the folder and prepare the corpus again."
