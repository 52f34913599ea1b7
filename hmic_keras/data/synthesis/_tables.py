"""The tables of a corpus: what its clips hold."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hmic_keras.data._tables import read_table, write_table
from hmic_keras.data.events import write_events
from hmic_keras.data.sources.folder import write_labels
from hmic_keras.data.synthesis._studio import Clip, PlayedPart
from hmic_keras.taxonomy import Taxonomy


def write_tables(
    folder: Path, taxonomy: Taxonomy, playable: Sequence[str], clips: Sequence[Clip]
) -> list[str]:
    """Writes the tables of `render_corpus` into its folder.

    Args:
        folder: Where the clips are.
        taxonomy: Its finest classes are the columns.
        playable: The classes that could sound; others are unobserved where there is music.
        clips: The clips in order.

    Returns:
        The names of the tables.
    """
    written = ["labels.csv", "activity.csv", "parts.csv"]
    labels = _labels(taxonomy, playable, [clip.parts for clip in clips])
    finest = taxonomy.levels[0]
    write_labels(folder / written[0], [clip.path for clip in clips], taxonomy, {finest: labels})
    write_table(folder / written[1], ("path", "class", "onset", "offset"), _activity(clips))
    columns = ("path", "style", "class", "role", "bank", "program", "lowest", "highest")
    write_table(folder / written[2], columns, _parts(clips))
    events = {clip.path: _events(taxonomy, clip.parts) for clip in clips}
    stems = {p.stem: (clip, p) for clip in clips for p in clip.parts if p.stem is not None}
    if stems:
        _write_stems(folder / "stems.csv", taxonomy, playable, list(stems.values()))
        events |= {stem: _events(taxonomy, [part]) for stem, (_, part) in stems.items()}
        written.append("stems.csv")
    if any(len(notes) for notes in events.values()):
        write_events(folder / "events.csv", taxonomy, events)
        written.append("events.csv")
    return written


def _labels(
    taxonomy: Taxonomy, playable: Sequence[str], heard: Sequence[Sequence[PlayedPart]]
) -> np.ndarray:
    position = taxonomy.index(taxonomy.levels[0])
    labels = np.full((len(heard), len(position)), -1.0, np.float32)
    labels[:, [position[name] for name in playable]] = 0.0
    for row, parts in zip(labels, heard, strict=True):
        row[[position[part.class_name] for part in parts]] = 1.0
        if not parts:
            # Noise holds no instrument, not even one that the SoundFont lacks.
            row[:] = 0.0
    return labels


def _events(taxonomy: Taxonomy, parts: Sequence[PlayedPart]) -> np.ndarray:
    position = taxonomy.index(taxonomy.levels[0])
    notes = [(position[p.class_name], *event) for p in parts for event in p.events]
    return np.array(notes, np.float32).reshape(-1, 3)


def _activity(clips: Sequence[Clip]) -> Iterable[tuple[str, ...]]:
    for clip in clips:
        for part in clip.parts:
            for onset, offset in part.activity:
                yield clip.path, part.class_name, f"{onset:.2f}", f"{offset:.2f}"


def _parts(clips: Sequence[Clip]) -> Iterable[tuple[str, ...]]:
    for clip in clips:
        for part in clip.parts:
            # A model has no preset.
            numbers = (*(part.preset or ("", "")), *part.keys)
            yield clip.path, clip.style, part.class_name, part.role, *map(str, numbers)


def _write_stems(
    csv_path: Path,
    taxonomy: Taxonomy,
    playable: Sequence[str],
    stems: Sequence[tuple[Clip, PlayedPart]],
) -> None:
    """Writes a label table and adds which clip each stem belongs to, and its gain there."""
    labels = _labels(taxonomy, playable, [[part] for _, part in stems])
    paths = [str(part.stem) for _, part in stems]
    write_labels(csv_path, paths, taxonomy, {taxonomy.levels[0]: labels})
    header, rows = read_table(csv_path, "stems")
    write_table(
        csv_path,
        (*header, "meta_clip", "meta_gain"),
        (
            (*row, clip.path, f"{part.gain:.8g}")
            for (_, row), (clip, part) in zip(rows, stems, strict=True)
        ),
    )
