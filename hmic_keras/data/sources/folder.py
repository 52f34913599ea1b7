"""A folder of audio files with a CSV of labels, the plainest data set there is.

The CSV is UTF-8 (with or without a byte order mark), separated by commas, one row a clip::

    path,violin,trumpet,coarse:voice,meta_recorded
    clips/a.wav,1,0,,2019-03-01
    clips/b.mp3,0,0.8,1,

`path` is relative to the CSV's folder, or absolute. Every other column is a class: its name,
or `level:name` for a class whose name a finer level also uses. A cell is 1 (present), 0
(absent), a probability between them, or empty or -1 (unobserved); a class without a column is
unobserved throughout. Columns that start with `_` or `meta_` are ignored.

A file `events.csv` beside the table adds labelled notes (`hmic_keras.data.events`).
"""

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import LabelError, TaxonomyError
from ...taxonomy import Taxonomy
from .._splitting import held_out
from .._tables import read_table, repeated, some, write_table
from ..events import check_events, read_events

UNOBSERVED = -1.0
_PATH = "path"
_IGNORED_PREFIXES = ("_", "meta_")
_EVENTS = "events.csv"


@dataclass(frozen=True, eq=False)
class LabelledClips:
    """Audio files and their labels at every level of a taxonomy.

    Labels are closed over the hierarchy on construction, so giving one level is enough.

    Attributes:
        taxonomy: What the labels speak of.
        paths: One audio file a clip.
        labels: Level name to float32 `(clips, classes)`, finest level first: 1 present,
            0 absent, between them a probability, -1 unobserved.
        events: One float32 array `(notes, 3)` a clip, index of the finest class, start and
            end in seconds, sorted by start; or None where nobody labelled notes.

    Raises:
        LabelError: If the number of label rows or of event arrays is not that of the paths,
            the labels break a rule of `Taxonomy.close_labels`, an array is not one of events,
            or a clip has events of a class that is labelled absent.

    Example:
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
        >>> clips = LabelledClips(taxonomy, ("a.wav", "b.wav"), {"fine": [[1, 0], [-1, 1]]})
        >>> clips.labels["coarse"]
        array([[ 1.,  0.],
               [-1.,  1.]], dtype=float32)
        >>> clips.subset([1]).paths[0].name
        'b.wav'
    """

    taxonomy: Taxonomy
    paths: tuple[Path, ...]
    labels: dict[str, np.ndarray]
    events: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", tuple(Path(path) for path in self.paths))
        closed = self.taxonomy.close_labels(self.labels)
        for level, values in closed.items():
            if len(values) != len(self.paths):
                raise LabelError(
                    f"`labels[{level!r}]` must have a row for each of the {len(self.paths)} "
                    f"paths. Received shape: {values.shape}"
                )
        object.__setattr__(self, "labels", closed)
        if self.events is not None:
            object.__setattr__(self, "events", self._checked_events(self.events))

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def joined(cls, parts: Sequence["LabelledClips"]) -> "LabelledClips":
        """Returns the clips of several sets as one, in their order.

        Labelled notes are kept where every set has them.

        Args:
            parts: At least one set; all of one taxonomy.

        Raises:
            LabelError: If there is none, or taxonomies differ.
        """
        if len({part.taxonomy.hash for part in parts}) != 1:
            names = [part.taxonomy.name for part in parts]
            raise LabelError(
                "`parts` must be at least one set of clips, all of one taxonomy. Received: "
                f"taxonomies {names}"
            )
        taxonomy = parts[0].taxonomy
        every = [part.events for part in parts if part.events is not None]
        return cls(
            taxonomy,
            tuple(path for part in parts for path in part.paths),
            {lv: np.concatenate([part.labels[lv] for part in parts]) for lv in taxonomy.levels},
            tuple(notes for events in every for notes in events)
            if len(every) == len(parts)
            else None,
        )

    def subset(self, indices: Sequence[int] | np.ndarray) -> "LabelledClips":
        """Returns the clips at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return LabelledClips(
            self.taxonomy,
            tuple(self.paths[i] for i in chosen),
            {level: values[chosen] for level, values in self.labels.items()},
            None if self.events is None else tuple(self.events[i] for i in chosen),
        )

    def split(self, fraction: float, seed: int = 0) -> tuple["LabelledClips", "LabelledClips"]:
        """Splits the clips in two, so that each class keeps about its share in both.

        Classes are served rarest first. A class with two or more present clips aims for at
        least one on each side, so with many rare classes the held-out part can exceed
        `fraction`; where clips hold several rare classes at once, that aim can be missed.

        Args:
            fraction: Share of the clips to hold out, above 0 and below 1.
            seed: Seed of the choice; one seed always gives the same split.

        Returns:
            `(rest, held_out)`, each in the order of the table.

        Raises:
            HmicError: If `fraction` is out of range or there are fewer than two clips.
        """
        held = held_out(list(self.labels.values()), fraction, seed)
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))

    def _checked_events(self, events: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        if len(events) != len(self.paths):
            raise LabelError(
                f"`events` must have an array for each of the {len(self.paths)} paths. "
                f"Received: {len(events)} arrays"
            )
        finest = self.taxonomy.levels[0]
        names = self.taxonomy.classes(finest)
        checked = check_events(events, len(names), [str(path) for path in self.paths])
        rows = np.repeat(np.arange(len(checked)), [len(notes) for notes in checked])
        columns = np.concatenate([np.zeros(0), *(notes[:, 0] for notes in checked)]).astype(int)
        labels = self.labels[finest][rows, columns]
        absent = np.flatnonzero((labels >= 0) & (labels <= 0.5))
        if len(absent):
            first = absent[0]
            raise LabelError(
                f"{self.paths[rows[first]]}: has events of {names[columns[first]]!r}, which is "
                "labelled absent. Correct one of the two or leave the label unobserved."
            )
        return checked


def read_clips(
    csv_path: str | os.PathLike[str],
    taxonomy: Taxonomy,
    root: str | os.PathLike[str] | None = None,
) -> LabelledClips:
    r"""Reads a table of audio files and labels; the module describes its format.

    A file `events.csv` beside the table gives the clips their labelled notes. Its rows for
    files that are not in the table are left out, so a part of a table can share the file.

    Args:
        csv_path: The table.
        taxonomy: What its columns are resolved against.
        root: Folder that relative paths start from; the table's own by default.

    Returns:
        The clips in the order of the table, labels closed over the hierarchy. Audio is not
        opened yet, only found.

    Raises:
        LabelError: If the table cannot be read, has unknown, repeated or no class columns, no
            rows, a repeated path, a missing audio file, a value that is neither 0, 1, a
            probability, -1 nor empty, or labels that contradict the hierarchy; or if
            `events.csv` cannot be read, contradicts the labels or names none of the files. The
            message names the table and, where there is one, the line and column.

    Example:
        >>> import tempfile
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.wav").write_bytes(b"...")
        ...     _ = Path(folder, "labels.csv").write_text("path,horn\na.wav,1\n")
        ...     read_clips(f"{folder}/labels.csv", taxonomy).labels["coarse"]
        array([[-1.,  1.]], dtype=float32)
    """
    csv_path = Path(csv_path)
    paths, labels = read_labels(csv_path, taxonomy, root)
    base = csv_path.parent if root is None else Path(root)
    events = _read_events(csv_path.parent / _EVENTS, taxonomy, base, paths)
    try:
        return LabelledClips(taxonomy, paths, labels, events)
    except LabelError as error:
        raise LabelError(
            f"{csv_path}: {error} (Row 0 is the first after the header.)"
        ) from error


def read_labels(
    csv_path: str | os.PathLike[str],
    taxonomy: Taxonomy,
    root: str | os.PathLike[str] | None = None,
) -> tuple[tuple[Path, ...], dict[str, np.ndarray]]:
    """Reads the labels of a table as they are given, not yet checked against the hierarchy.

    Args:
        csv_path: The table.
        taxonomy: What its columns are resolved against.
        root: Folder that relative paths start from; the table's own by default.

    Returns:
        The paths, and by level float32 `(clips, classes)` with -1 where a cell is empty or -1.

    Raises:
        LabelError: As `read_clips`, but for what concerns the hierarchy and events.
    """
    csv_path = Path(csv_path)
    header, rows = read_table(csv_path, "paths and labels")
    path_column, columns = _resolve_header(csv_path, header, taxonomy)
    if not rows:
        raise LabelError(f"{csv_path}: has no rows. Add a row for each audio file.")
    paths = _read_paths(
        csv_path, [(line, row[path_column].strip()) for line, row in rows], root
    )
    labels = {
        level: np.full((len(rows), len(taxonomy.classes(level))), UNOBSERVED, np.float32)
        for level in taxonomy.levels
    }
    known: dict[str, float] = {"": UNOBSERVED}
    for column, (level, name) in columns.items():
        target = labels[level][:, taxonomy.index(level)[name]]
        for i, (line, row) in enumerate(rows):
            cell = row[column]
            if cell not in known:
                known[cell] = _label_value(csv_path, line, header[column], cell)
            target[i] = known[cell]
    return paths, labels


def _read_events(
    table: Path, taxonomy: Taxonomy, base: Path, paths: Sequence[Path]
) -> tuple[np.ndarray, ...] | None:
    if not os.path.isfile(table):
        return None
    found: dict[Path, list[np.ndarray]] = {}
    for cell, notes in read_events(table, taxonomy).items():
        found.setdefault(_place(base, cell), []).append(notes)
    if found and not found.keys() & set(paths):
        raise LabelError(
            f"{table}: none of its paths is in the table of labels. Write paths as there. "
            f"Received, among others: {some([str(path) for path in found])}"
        )
    nothing = [np.zeros((0, 3), np.float32)]
    return tuple(np.concatenate(found.get(path, nothing)) for path in paths)


def write_labels(
    csv_path: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    taxonomy: Taxonomy,
    labels: Mapping[str, np.ndarray],
) -> None:
    """Writes a table that `read_clips` reads back to the same labels, whole or not at all.

    Every finest class gets a column; a coarser class gets one only where its labels do not
    follow from those of finer levels.

    Args:
        csv_path: The table to write.
        paths: Audio files, as they shall stand in the table: relative to its folder or to the
            `root` later given to `read_clips`, or absolute.
        taxonomy: What the labels speak of.
        labels: Level name to `(clips, classes)`, as in `LabelledClips`.

    Raises:
        LabelError: If there are no paths, a path is repeated or empty, or the labels do not
            fit the paths or the taxonomy.
    """
    texts = [Path(path).as_posix() for path in paths]
    twice = repeated(texts)
    if not texts or twice or any(not os.fspath(path) for path in paths):
        raise LabelError(
            f"{csv_path}: `paths` must name at least one file, each once. "
            f"Received {len(texts)} paths, repeated: {some(twice) or 'none'}"
        )
    clips = LabelledClips(taxonomy, tuple(Path(text) for text in texts), dict(labels))
    finest = taxonomy.levels[0]
    derived = taxonomy.close_labels({finest: clips.labels[finest]})
    names, columns = [_PATH], [texts]
    for level in taxonomy.levels:
        for i, name in enumerate(taxonomy.classes(level)):
            values = clips.labels[level][:, i]
            if level == finest or not np.array_equal(values, derived[level][:, i]):
                names.append(_column_name(taxonomy, level, name))
                columns.append([_cell(value) for value in values])
    write_table(Path(csv_path), names, zip(*columns, strict=True))


def _resolve_header(
    csv_path: Path, header: list[str], taxonomy: Taxonomy
) -> tuple[int, dict[int, tuple[str, str]]]:
    """Returns the position of `path` and the class of each class column by position."""
    if not header:
        raise LabelError(f"{csv_path}: is empty. It needs a header with `path` and classes.")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t|"):
        raise LabelError(f"{csv_path}: the header has no comma. Separate columns by commas.")
    if "" in header:
        raise LabelError(
            f"{csv_path}: column {header.index('') + 1} has no name. Name or remove it (pandas "
            "adds one unless it writes with `index=False`)."
        )
    if twice := repeated(header):
        raise LabelError(f"{csv_path}: repeated columns: {some(twice)}. Keep one of each.")
    if _PATH not in header:
        raise LabelError(
            f"{csv_path}: has no column `path`. Its columns: {some(header)}. Add one with the "
            "audio files."
        )
    columns: dict[int, tuple[str, str]] = {}
    unknown: list[str] = []
    for position, name in enumerate(header):
        if name == _PATH:
            continue
        try:
            columns[position] = taxonomy.resolve(name)
        except TaxonomyError:
            if not name.startswith(_IGNORED_PREFIXES):
                unknown.append(name)
    if unknown:
        raise LabelError(_unknown_message(csv_path, unknown, taxonomy))
    if twice := repeated(f"{level}:{name}" for level, name in columns.values()):
        raise LabelError(
            f"{csv_path}: more than one column stands for {some(twice)}. Keep one of each."
        )
    if not columns:
        raise LabelError(
            f"{csv_path}: has no column for a class of taxonomy {taxonomy.name!r}. Add at "
            f"least one, such as {taxonomy.classes(taxonomy.levels[0])[0]!r}."
        )
    return header.index(_PATH), columns


def _unknown_message(csv_path: Path, unknown: list[str], taxonomy: Taxonomy) -> str:
    known = [name for level in taxonomy.levels for name in taxonomy.classes(level)]
    known += [
        f"{level}:{name}" for level in taxonomy.levels for name in taxonomy.classes(level)
    ]
    hints = []
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=1)
        hints.append(f"{name!r} (did you mean {close[0]!r}?)" if close else repr(name))
    return (
        f"{csv_path}: columns that are not classes of taxonomy {taxonomy.name!r}: "
        f"{some(hints, quote=False)}. Correct them, or start the name of a column that is no "
        "class with `meta_`, so that it is ignored."
    )


def _read_paths(
    csv_path: Path, cells: list[tuple[int, str]], root: str | os.PathLike[str] | None
) -> tuple[Path, ...]:
    base = csv_path.parent if root is None else Path(root)
    for line, cell in cells:
        if not cell:
            raise LabelError(f"{csv_path}: line {line} has no path. Name its audio file.")
    paths = [_place(base, cell) for _, cell in cells]
    if twice := repeated(str(path) for path in paths):
        raise LabelError(f"{csv_path}: files listed twice: {some(twice)}. Keep one row each.")
    if missing := [
        cell for (_, cell), path in zip(cells, paths, strict=True) if not os.path.isfile(path)
    ]:
        start = "the table's folder" if root is None else "`root`"
        raise LabelError(
            f"{csv_path}: {len(missing)} of {len(paths)} audio files are missing under {base}: "
            f"{some(missing)}. Correct the paths, which are absolute or start from {start}."
        )
    return tuple(paths)


def _place(base: Path, cell: str) -> Path:
    # normpath, so that `a.wav` and `./a.wav` count as one file.
    return Path(os.path.normpath(base / cell))


def _label_value(csv_path: Path, line: int, column: str, cell: str) -> float:
    text = cell.strip()
    if not text:
        return UNOBSERVED
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1 and value != UNOBSERVED:
        raise LabelError(
            f"{csv_path}: line {line}, column {column!r}: a label must be 0, 1, a probability "
            f"between them, or empty or -1 for unobserved. Received: {cell!r}"
        )
    return value


def _column_name(taxonomy: Taxonomy, level: str, name: str) -> str:
    plain = name != _PATH and taxonomy.resolve(name) == (level, name)
    return name if plain else f"{level}:{name}"


def _cell(value: np.float32) -> str:
    # The shortest text that reads back to the same float32.
    return "" if value < 0 else np.format_float_positional(value, unique=True, trim="-")
