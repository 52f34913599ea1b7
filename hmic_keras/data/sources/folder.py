"""A folder of audio files with a CSV of labels, the plainest data set there is.

The CSV is UTF-8 (with or without a byte order mark), separated by commas, one row a clip::

    path,violin,trumpet,coarse:voice,meta_recorded
    clips/a.wav,1,0,,2019-03-01
    clips/b.mp3,0,0.8,1,

`path` is relative to the CSV's folder, or absolute. Every other column is a class: its name,
or `level:name` for a class whose name a finer level also uses. A cell is 1 (present), 0
(absent), a probability between them, or empty (unobserved); a class without a column is
unobserved throughout. Columns that start with `_` or `meta_` are ignored.

The standard library's `csv` reads it rather than pandas, which renames a repeated column,
takes `NA` and `None` for empty and a ragged row for an index, all without a word.
"""

import csv
import difflib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..._files import atomic_path
from ...errors import HmicError, LabelError, TaxonomyError
from ...taxonomy import Taxonomy

UNOBSERVED = -1.0
_PATH = "path"
_IGNORED_PREFIXES = ("_", "meta_")
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class LabelledClips:
    """Audio files and their labels at every level of a taxonomy.

    Labels are closed over the hierarchy on construction, so giving one level is enough.

    Attributes:
        taxonomy: What the labels speak of.
        paths: One audio file a clip.
        labels: Level name to float32 `(clips, classes)`, finest level first: 1 present,
            0 absent, between them a probability, -1 unobserved.

    Raises:
        LabelError: If the number of label rows is not that of the paths, or the labels break
            a rule of `Taxonomy.close_labels`.

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

    def __len__(self) -> int:
        return len(self.paths)

    def subset(self, indices: Sequence[int] | np.ndarray) -> "LabelledClips":
        """Returns the clips at `indices`, in that order."""
        chosen = np.asarray(indices, dtype=np.int64)
        return LabelledClips(
            self.taxonomy,
            tuple(self.paths[i] for i in chosen),
            {level: values[chosen] for level, values in self.labels.items()},
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
        if not 0 < fraction < 1 or len(self) < 2:
            raise HmicError(
                "`split` needs a fraction above 0 and below 1, and at least two clips. "
                f"Received: fraction={fraction!r} and {len(self)} clips"
            )
        order = np.random.default_rng(seed).permutation(len(self))
        present = np.concatenate(list(self.labels.values()), axis=1) > 0.5
        held = np.zeros(len(self), bool)
        decided = np.zeros(len(self), bool)
        counts = present.sum(axis=0)
        for column in np.argsort(counts, kind="stable"):
            if counts[column] < 2:
                continue
            members = order[present[order, column]]
            target = min(max(1, round(fraction * len(members))), len(members) - 1)
            _hold_out(members, target, held, decided)
        # Clips that no class decided make up the rest of the share.
        wanted = min(max(1, round(fraction * len(self))), len(self) - 1)
        _hold_out(order, wanted, held, decided)
        return self.subset(np.flatnonzero(~held)), self.subset(np.flatnonzero(held))


def _hold_out(members: np.ndarray, target: int, held: np.ndarray, decided: np.ndarray) -> None:
    """Marks undecided `members` as held out up to `target`, and all of them as decided."""
    free = members[~decided[members]]
    held[free[: max(0, target - held[members].sum())]] = True
    decided[members] = True


def read_clips(
    csv_path: str | os.PathLike[str],
    taxonomy: Taxonomy,
    root: str | os.PathLike[str] | None = None,
) -> LabelledClips:
    r"""Reads a table of audio files and labels; the module describes its format.

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
            probability nor empty, or labels that contradict the hierarchy. The message names
            the table and, where there is one, the line and column.

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
    header, rows = _read_table(csv_path)
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
    try:
        return LabelledClips(taxonomy, paths, labels)
    except LabelError as error:
        raise LabelError(
            f"{csv_path}: {error} (Row 0 is the first after the header.)"
        ) from error


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
    repeated = _repeated(texts)
    if not texts or repeated or any(not os.fspath(path) for path in paths):
        raise LabelError(
            f"{csv_path}: `paths` must name at least one file, each once. "
            f"Received {len(texts)} paths, repeated: {_some(repeated) or 'none'}"
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
    with (
        atomic_path(csv_path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(zip(*columns, strict=True))


def _read_table(csv_path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header and the rows with their line numbers, blank lines left out."""
    if not csv_path.is_file():
        raise LabelError(f"{csv_path}: no such file. Name a CSV of paths and labels.")
    rows: list[tuple[int, list[str]]] = []
    try:
        with csv_path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise LabelError(
                        f"{csv_path}: line {reader.line_num} has {len(row)} cells, the header "
                        f"{len(header)}. Quote cells that contain a comma."
                    )
                rows.append((reader.line_num, row))
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{csv_path}: is not UTF-8 text. Save the table as CSV in UTF-8."
        ) from error
    except csv.Error as error:
        raise LabelError(f"{csv_path}: is not a well-formed CSV ({error}).") from error
    except OSError as error:
        raise LabelError(f"{csv_path}: cannot be read ({error.strerror}).") from error
    return header, rows


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
    if repeated := _repeated(header):
        raise LabelError(f"{csv_path}: repeated columns: {_some(repeated)}. Keep one of each.")
    if _PATH not in header:
        raise LabelError(
            f"{csv_path}: has no column `path`. Its columns: {_some(header)}. Add one with the "
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
    if repeated := _repeated(f"{level}:{name}" for level, name in columns.values()):
        raise LabelError(
            f"{csv_path}: more than one column stands for {_some(repeated)}. Keep one of each."
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
        f"{_some(hints, quote=False)}. Correct them, or start the name of a column that is no "
        "class with `meta_`, so that it is ignored."
    )


def _read_paths(
    csv_path: Path, cells: list[tuple[int, str]], root: str | os.PathLike[str] | None
) -> tuple[Path, ...]:
    base = csv_path.parent if root is None else Path(root)
    for line, cell in cells:
        if not cell:
            raise LabelError(f"{csv_path}: line {line} has no path. Name its audio file.")
    # normpath, so that `a.wav` and `./a.wav` count as one file.
    paths = [Path(os.path.normpath(base / cell)) for _, cell in cells]
    if repeated := _repeated(str(path) for path in paths):
        raise LabelError(
            f"{csv_path}: files listed twice: {_some(repeated)}. Keep one row each."
        )
    if missing := [
        cell for (_, cell), path in zip(cells, paths, strict=True) if not path.is_file()
    ]:
        raise LabelError(
            f"{csv_path}: {len(missing)} of {len(paths)} audio files are missing under {base}: "
            f"{_some(missing)}. Correct the paths or the root folder."
        )
    return tuple(paths)


def _label_value(csv_path: Path, line: int, column: str, cell: str) -> float:
    text = cell.strip()
    if not text:
        return UNOBSERVED
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise LabelError(
            f"{csv_path}: line {line}, column {column!r}: a label must be 0, 1, a probability "
            f"between them, or empty for unobserved. Received: {cell!r}"
        )
    return value


def _column_name(taxonomy: Taxonomy, level: str, name: str) -> str:
    plain = name != _PATH and taxonomy.resolve(name) == (level, name)
    return name if plain else f"{level}:{name}"


def _cell(value: np.float32) -> str:
    # The shortest text that reads back to the same float32.
    return "" if value < 0 else np.format_float_positional(value, unique=True, trim="-")


def _repeated(values: Iterable[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def _some(values: Sequence[str], *, quote: bool = True) -> str:
    shown = ", ".join(repr(value) if quote else value for value in values[:_SHOWN])
    more = len(values) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
