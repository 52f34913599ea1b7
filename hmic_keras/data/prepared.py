"""A folder of prepared records, read crop by crop.

`hmic_keras.data.prepare` writes it::

    manifest.json                  what is in it, from what it was made, checksums
    index.npz                      where each record's sound lies, labels, notes
    shard-00000-of-00002.tfrecord  records, see `hmic_keras.data.records`
    skipped.csv                    files that could not be used, and why; if there are any

`index.npz` holds one row a clip: `ids`, `shard` (number of the file), `offset` (of the first
byte of the sound), `length` (in samples or frames), `labels/<level>`, and, where notes are
labelled, `events` of all clips one after the other with `event_splits` between them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._files import read_json, sha256
from ..errors import LabelError, RecordError
from ..taxonomy import Taxonomy
from ._splitting import held_out
from .records import SCHEMA, STORED, from_stored
from .sources.folder import LabelledClips, read_clips

MANIFEST = "manifest.json"
INDEX = "index.npz"
SKIPPED = "skipped.csv"
FORMAT = "hmic_keras records"


@dataclass(frozen=True, eq=False)
class PreparedClips:
    """Clips in a folder of records, with the face of `LabelledClips`.

    Make one with `PreparedClips.open`.

    Attributes:
        folder: The folder.
        manifest: The content of its `manifest.json`.
        taxonomy: What the labels speak of.
        ids: Path of each clip's source file, below the corpus's root.
        labels: Level name to float32 `(clips, classes)`, closed over the hierarchy.
        events: One float32 array `(notes, 3)` a clip, or None; as in `LabelledClips`.
        lengths: Samples or frames of each clip, int64.

    Example:
        >>> import tempfile
        >>> from hmic_keras.data import demo_clips, prepare_clips
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = prepare_clips(demo_clips("test").subset([7, 8]), f"{folder}/records")
        ...     clips = PreparedClips.open(f"{folder}/records")
        ...     len(clips), clips.subset([1]).ids, clips.read(0, 8000, 24000).shape
        (2, ('00008.ogg',), (16000,))
    """

    folder: Path
    manifest: Mapping[str, Any]
    taxonomy: Taxonomy
    ids: tuple[str, ...]
    labels: dict[str, np.ndarray]
    events: tuple[np.ndarray, ...] | None
    lengths: np.ndarray
    _shards: np.ndarray
    _offsets: np.ndarray

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> "PreparedClips":
        """Opens a prepared folder; reads its manifest and index, no sound.

        Args:
            folder: What `prepare_clips` wrote.

        Returns:
            All its clips.

        Raises:
            RecordError: If the manifest or the index is missing, damaged or of another
                version, or a shard is missing or has another size than it had. `verify`
                compares every byte.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for shard in manifest["shards"]:
            path = folder / shard["file"]
            size = path.stat().st_size if os.path.isfile(path) else None
            if size != shard["bytes"]:
                found = "is missing" if size is None else f"has {size} bytes"
                raise RecordError(
                    f"{path}: {found}; it should have {shard['bytes']}. Copy it again, or "
                    "remove the folder and prepare it anew."
                )
        path = folder / INDEX
        if not os.path.isfile(path) or sha256(path) != manifest["index_sha256"]:
            found = "is damaged" if path.is_file() else "is missing"
            raise RecordError(
                f"{path}: {found}. Copy it again, or remove the folder and prepare it anew."
            )
        taxonomy = Taxonomy.from_dict(manifest["taxonomy"])
        with np.load(path) as index:
            events = None
            if "events" in index:
                events = tuple(np.split(index["events"], index["event_splits"]))
            return cls(
                folder,
                manifest,
                taxonomy,
                tuple(index["ids"].tolist()),
                {level: index[f"labels/{level}"] for level in taxonomy.levels},
                events,
                index["length"],
                index["shard"],
                index["offset"],
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def features(self) -> str:
        """`"waveform"` or `"log_mel"`."""
        return str(self.manifest["features"])

    @property
    def sample_rate(self) -> int:
        """Sample rate of the sound, in Hz."""
        return int(self.manifest["audio"]["sample_rate"])

    def subset(self, indices: Sequence[int] | np.ndarray) -> "PreparedClips":
        """Returns the clips at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            labels={level: values[chosen] for level, values in self.labels.items()},
            events=None if self.events is None else tuple(self.events[i] for i in chosen),
            lengths=self.lengths[chosen],
            _shards=self._shards[chosen],
            _offsets=self._offsets[chosen],
        )

    def split(self, fraction: float, seed: int = 0) -> tuple["PreparedClips", "PreparedClips"]:
        """Splits the clips in two, as `LabelledClips.split` does: one seed, the same clips.

        Args:
            fraction: Share of the clips to hold out, above 0 and below 1.
            seed: Seed of the choice.

        Returns:
            `(rest, held_out)`, each in the order of the folder.

        Raises:
            HmicError: If `fraction` is out of range or there are fewer than two clips.
        """
        held = held_out(list(self.labels.values()), fraction, seed)
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))

    def read(self, index: int, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Reads a stretch of one clip, and nothing else of the file.

        Args:
            index: Which clip.
            start: First sample or frame.
            stop: One past the last; None or one beyond the end reads to the end.

        Returns:
            Float32 `(samples,)` in [-1, 1], or `(frames, mels)`.

        Raises:
            RecordError: If the shard has become shorter or cannot be read.
        """
        length = int(self.lengths[index])
        stop = length if stop is None else min(stop, length)
        stored = STORED[self.features]
        width = self.manifest["audio"]["n_mels"] if self.features == "log_mel" else 1
        step = stored.itemsize * width
        path = self.folder / self.manifest["shards"][self._shards[index]]["file"]
        wanted = max(stop - start, 0) * step
        try:
            # Opened for each read: cheap next to the read, and safe from any thread or process.
            with path.open("rb", buffering=0) as stream:
                stream.seek(int(self._offsets[index]) + start * step)
                data = stream.read(wanted)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror}).") from error
        if len(data) != wanted:
            raise RecordError(
                f"{path}: ends within clip {self.ids[index]!r}. Copy the file again."
            )
        values = from_stored(np.frombuffer(data, stored))
        return values.reshape(-1, width) if self.features == "log_mel" else values

    def verify(self) -> None:
        """Compares every shard with its checksum.

        Raises:
            RecordError: If one differs; the message names all that do.
        """
        wrong = [
            shard["file"]
            for shard in self.manifest["shards"]
            if sha256(self.folder / shard["file"]) != shard["sha256"]
        ]
        if wrong:
            raise RecordError(
                f"{self.folder}: damaged: {', '.join(wrong)}. Copy these files again, or "
                "remove the folder and prepare it anew."
            )


def read_manifest(folder: Path) -> dict[str, Any]:
    """Reads a prepared folder's manifest.

    Raises:
        RecordError: If there is none, or it is not one of this version.
    """
    path = folder / MANIFEST
    if not os.path.isfile(path):
        raise RecordError(f"{folder}: holds no {MANIFEST}. Make it with `hmic prepare`.")
    try:
        manifest = read_json(path)
        if manifest["format"] != FORMAT:
            raise KeyError("format")
        if manifest["schema"] != SCHEMA:
            raise RecordError(
                f"{path}: has schema {manifest['schema']}; this version reads schema {SCHEMA}. "
                "Prepare the corpus again."
            )
        taxonomy = Taxonomy.from_dict(manifest["taxonomy"])
        if taxonomy.hash != manifest["taxonomy_hash"]:
            raise KeyError("taxonomy_hash")
        _check_entries(manifest)
    except RecordError:
        raise
    except (KeyError, TypeError, ValueError) as bad:
        raise RecordError(
            f"{path}: is damaged or no manifest of prepared records ({bad}). Prepare the "
            "corpus again."
        ) from bad
    return dict(manifest)


def _check_entries(manifest: Mapping[str, Any]) -> None:
    """Raises a `KeyError` or `TypeError` for the entry that no preparation wrote like that."""
    shards, audio, settings = manifest["shards"], manifest["audio"], manifest["settings"]
    shapes = ("sample_rate", *(["n_mels"] if manifest["features"] == "log_mel" else []))
    holds = {
        "features": manifest["features"] in STORED
        and settings["features"] == manifest["features"],
        "audio": settings["audio"] == audio and all(_is_count(audio[name]) for name in shapes),
        "shards": isinstance(shards, list) and all(map(_is_shard, shards)),
        "clips": sum(shard["clips"] for shard in shards) == manifest["clips"],
        "skipped": _is_count(manifest["skipped"]),
        "seconds": isinstance(manifest["seconds"], int | float),
        "events": isinstance(manifest["events"], bool),
        "class_counts": isinstance(manifest["class_counts"], dict),
        "index_sha256": isinstance(manifest["index_sha256"], str),
    }
    for name, right in holds.items():
        if not right:
            raise KeyError(name)


def _is_shard(entry: Any) -> bool:
    # A bare name, so that no manifest has files elsewhere read.
    bare = isinstance(entry["file"], str) and Path(entry["file"]).name == entry["file"]
    counts = _is_count(entry["bytes"]) and _is_count(entry["clips"])
    return bare and "\0" not in entry["file"] and counts and isinstance(entry["sha256"], str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def open_clips(
    path: str | os.PathLike[str], taxonomy: Taxonomy | None = None
) -> LabelledClips | PreparedClips:
    """Opens what a path names: a table of labels, or a folder of prepared records.

    Args:
        path: A CSV for `read_clips`, or a folder that `prepare_clips` wrote.
        taxonomy: What the labels speak of. A table needs it; records carry theirs, and it
            must be the same.

    Returns:
        The clips.

    Raises:
        LabelError: If the table cannot be used or comes without a taxonomy.
        RecordError: If the folder cannot be used, or was prepared with another taxonomy.

    Example:
        >>> open_clips("no/such.csv", Taxonomy.load("openmic"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hmic_keras.errors.LabelError: no/such.csv: no such file. Name a CSV of paths ...
    """
    path = Path(path)
    if not os.path.isdir(path):
        if taxonomy is None:
            raise LabelError(f"{path}: a table of labels needs a taxonomy. Pass `taxonomy`.")
        return read_clips(path, taxonomy)
    clips = PreparedClips.open(path)
    if taxonomy is not None and taxonomy.hash != clips.taxonomy.hash:
        raise RecordError(
            f"{path}: was prepared with taxonomy {clips.taxonomy.name!r}, which differs from "
            f"{taxonomy.name!r}. Use that one, or prepare the corpus again."
        )
    return clips
