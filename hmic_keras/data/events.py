"""Labelled notes: which class sounds from when to when in a clip.

In memory, the events of a clip are a float32 array `(notes, 3)`: index of the finest class,
start and end in seconds, sorted by start. A file `events.csv` beside a table of labels holds
those of a corpus, one row a note, seconds with three decimals::

    path,class,start,end
    clips/a.wav,violin,0.250,1.730
    clips/a.wav,cello,0.250,2.000

`path` is written as in the table of labels; `class` is a finest class, by its name. A clip
without rows has no labelled notes, which does not say that it is silent.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import LabelError, TaxonomyError
from ..taxonomy import Taxonomy
from ._tables import read_table, some, write_table

_COLUMNS = ("path", "class", "start", "end")
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def read_events(csv_path: str | os.PathLike[str], taxonomy: Taxonomy) -> dict[str, np.ndarray]:
    r"""Reads a table of labelled notes; the module describes its format.

    Args:
        csv_path: The table.
        taxonomy: Its finest level resolves the column `class`.

    Returns:
        Path, as written in the table, to float32 `(notes, 3)`: index of the finest class,
        start and end in seconds; sorted by start, then class, then end.

    Raises:
        LabelError: If the table cannot be read, lacks a column or has another one, names an
            unknown class, or a time is not a number of seconds from 0 up with `start` before
            `end`. The message names the table and the line.

    Example:
        >>> import tempfile
        >>> taxonomy = Taxonomy.from_dict({"strings": ["violin"], "brass": ["horn"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "events.csv")
        ...     _ = table.write_text("path,class,start,end\na.wav,horn,0.5,1.25\n")
        ...     read_events(table, taxonomy)
        {'a.wav': array([[1.  , 0.5 , 1.25]], dtype=float32)}
    """
    csv_path = Path(csv_path)
    header, rows = read_table(csv_path, "path, class, start and end")
    if sorted(header) != sorted(_COLUMNS):
        raise LabelError(
            f"{csv_path}: the columns must be {', '.join(_COLUMNS)}. Received: {some(header)}"
        )
    path, name, start, end = (header.index(column) for column in _COLUMNS)
    classes: dict[str, int] = {}
    found: dict[str, list[tuple[float, float, float]]] = {}
    for line, row in rows:
        label = row[name].strip()
        if label not in classes:
            classes[label] = _finest(csv_path, line, taxonomy, label)
        times = _seconds(csv_path, line, row[start], row[end])
        cell = row[path].strip()
        if not cell:
            raise LabelError(f"{csv_path}: line {line} has no path. Name its audio file.")
        found.setdefault(cell, []).append((classes[label], *times))
    return {cell: sort_events(np.asarray(notes)) for cell, notes in found.items()}


def write_events(
    csv_path: str | os.PathLike[str], taxonomy: Taxonomy, events: Mapping[str, np.ndarray]
) -> None:
    """Writes a table that `read_events` reads back, whole or not at all.

    Times are rounded to milliseconds; a note shorter than that lasts one.

    Args:
        csv_path: The table to write.
        taxonomy: Its finest level names the classes.
        events: Path, as it shall stand in the table, to `(notes, 3)` as `read_events` returns
            it. A path without notes leaves no row.

    Raises:
        LabelError: If a path is empty or an array is not one of events.
    """
    if "" in events:
        raise LabelError(f"{csv_path}: `events` must be keyed by paths. Received: ''")
    paths = list(events)
    checked = check_events(
        list(events.values()), len(taxonomy.classes(taxonomy.levels[0])), paths
    )
    write_table(Path(csv_path), _COLUMNS, _cells(taxonomy, paths, checked))


def check_events(
    events: Sequence[np.ndarray], classes: int, names: Sequence[str]
) -> tuple[np.ndarray, ...]:
    """Returns each clip's events as sorted float32 `(notes, 3)`, or says what is wrong.

    Args:
        events: One array a clip.
        classes: Number of finest classes.
        names: What to call each clip in an error.

    Raises:
        LabelError: If an array has another shape, a class index is not one, or a time is
            negative or not finite, or a note ends before it starts.
    """
    checked = []
    for name, given in zip(names, events, strict=True):
        notes = np.asarray(given, dtype=np.float32)
        if notes.size == 0:
            checked.append(np.zeros((0, 3), np.float32))
            continue
        if notes.ndim != 2 or notes.shape[1] != 3:
            raise LabelError(
                f"{name}: events must be an array (notes, 3) of class index, start and end. "
                f"Received shape: {notes.shape}"
            )
        index, start, end = notes.T
        wrong = ~((index >= 0) & (index < classes) & (index == np.floor(index)))
        wrong |= ~((start >= 0) & (start < end) & np.isfinite(end))
        if wrong.any():
            raise LabelError(
                f"{name}: an event must be a class index below {classes}, a start from 0 s up "
                f"and a later end. Received: {notes[wrong][0].tolist()}"
            )
        checked.append(sort_events(notes))
    return tuple(checked)


def sort_events(notes: np.ndarray) -> np.ndarray:
    """Returns events `(notes, 3)` as float32, sorted by start, then class, then end."""
    order = np.lexsort((notes[:, 2], notes[:, 0], notes[:, 1]))
    return np.ascontiguousarray(notes[order], dtype=np.float32)


def _finest(csv_path: Path, line: int, taxonomy: Taxonomy, name: str) -> int:
    try:
        level, resolved = taxonomy.resolve(name)
    except TaxonomyError as error:
        raise LabelError(f"{csv_path}: line {line}: {error}") from error
    if level != taxonomy.levels[0]:
        raise LabelError(
            f"{csv_path}: line {line}: {name!r} is a class of level {level!r}; a note needs "
            f"one of the finest, {taxonomy.levels[0]!r}."
        )
    return taxonomy.index(level)[resolved]


def _seconds(csv_path: Path, line: int, start: str, end: str) -> tuple[float, float]:
    try:
        first, last = float(start), float(end)
    except ValueError:
        first = last = float("nan")
    # Compared as they are kept: float32 tells milliseconds apart up to a few hours.
    kept = first >= 0 and last <= _FLOAT32_MAX and np.float32(first) < np.float32(last)
    if not kept:
        raise LabelError(
            f"{csv_path}: line {line}: `start` and `end` must be seconds from 0 up, `start` "
            f"the smaller. Received: {start!r}, {end!r}"
        )
    return first, last


def _cells(
    taxonomy: Taxonomy, paths: Sequence[str], events: Sequence[np.ndarray]
) -> Iterator[tuple[str, str, str, str]]:
    names = taxonomy.classes(taxonomy.levels[0])
    for path, notes in zip(paths, events, strict=True):
        for index, start, end in notes:
            first = round(float(start), 3)
            last = max(float(end), first + 0.001)
            yield path, names[int(index)], f"{first:.3f}", f"{last:.3f}"
