"""Stems of rendered corpora in memory: single instruments, to be mixed anew in every step."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import AudioError, LabelError
from ..taxonomy import Taxonomy
from ._tables import read_table
from .audio import load_audio

__all__ = ["StemBank", "read_stems"]

FRAME = 320
"""Samples of a frame, the unit in which crops are placed."""


@dataclass(frozen=True)
class StemBank:
    """Stems of several corpora, ready to be put on a device.

    Attributes:
        taxonomy: Its finest classes are what the stems play.
        sample_rate: In Hz.
        audio: int16 `(stems, frames, FRAME)`; stems of one clip are neighbours.
        classes: Index of each stem's finest class `(stems,)`; -1 where nothing plays.
        clips: Number of the clip each stem is from `(stems,)`, not falling.
    """

    taxonomy: Taxonomy
    sample_rate: int
    audio: np.ndarray
    classes: np.ndarray
    clips: np.ndarray

    def __len__(self) -> int:
        return len(self.audio)


def read_stems(
    folders: Sequence[str | os.PathLike[str]], taxonomy: Taxonomy, sample_rate: int = 16000
) -> StemBank:
    """Reads the stems, and the clips without instruments, of corpora from `render_corpus`.

    Args:
        folders: Corpora that were rendered with `stems=True`, of clips of one length.
        taxonomy: The taxonomy they were rendered for.
        sample_rate: In Hz.

    Raises:
        AudioError: If a file cannot be decoded.
        LabelError: If a folder holds no stems, they are of another taxonomy, or the lengths
            differ.
    """
    paths: list[Path] = []
    classes: list[int] = []
    clips: list[int] = []
    for folder in map(Path, folders):
        for group in _groups(folder, taxonomy):
            number = clips[-1] + 1 if clips else 0
            for path, name in group:
                paths.append(folder / path)
                classes.append(name)
                clips.append(number)
    if not paths:
        raise LabelError("Mixing stems needs at least one corpus. Received: no folder.")
    return StemBank(
        taxonomy,
        sample_rate,
        _decode(paths, sample_rate),
        np.array(classes, np.int32),
        np.array(clips, np.int32),
    )


def _groups(folder: Path, taxonomy: Taxonomy) -> list[list[tuple[str, int]]]:
    """Returns the stems of each clip, then each clip without instruments by itself."""
    path = folder / "stems.csv"
    if not path.is_file():
        raise LabelError(
            f"'{folder}' holds no '{path.name}'. Render the corpus with stems: hmic render "
            "--stems."
        )
    names = taxonomy.classes(taxonomy.levels[0])
    header, rows = read_table(path, "stems")
    if missing := {*names, "path", "meta_clip"} - set(header):
        raise LabelError(
            f"'{path}' lacks the column(s) {sorted(missing)}: it was rendered for another "
            "taxonomy."
        )
    columns = [header.index(name) for name in names]
    at_path, at_clip = header.index("path"), header.index("meta_clip")
    groups: dict[str, list[tuple[str, int]]] = {}
    for line, row in rows:
        present = [i for i, column in enumerate(columns) if row[column] in ("1", "1.0")]
        if len(present) != 1:
            raise LabelError(
                f"'{path}', line {line}: a stem must have exactly one class. Received: "
                f"{[names[i] for i in present]}"
            )
        groups.setdefault(row[at_clip], []).append((row[at_path], present[0]))
    label_header, label_rows = read_table(folder / "labels.csv", "labels")
    at_path = label_header.index("path")
    empty = [row[at_path] for _, row in label_rows if row[at_path] not in groups]
    return [*groups.values(), *([(path, -1)] for path in empty)]


def _decode(paths: Sequence[Path], sample_rate: int) -> np.ndarray:
    """Decodes files of one length to int16 `(files, frames, FRAME)`; a rest is cut off."""
    samples = len(load_audio(paths[0], sample_rate))
    frames = samples // FRAME
    audio = np.empty((len(paths), frames, FRAME), np.int16)

    def read(index: int) -> None:
        waveform = load_audio(paths[index], sample_rate)
        if len(waveform) != samples:
            raise LabelError(
                f"All stems must be of one length: '{paths[index]}' has {len(waveform)} "
                f"samples, '{paths[0]}' {samples}. Render the corpora with the same seconds."
            )
        if not np.isfinite(waveform).all():
            raise AudioError(f"'{paths[index]}' holds samples that are no numbers.")
        scaled = np.clip(np.round(waveform[: frames * FRAME] * 32767.0), -32768, 32767)
        audio[index] = scaled.astype(np.int16).reshape(frames, FRAME)

    # libsndfile decodes outside Python's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return audio
