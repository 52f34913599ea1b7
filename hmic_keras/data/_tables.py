"""CSV tables of labels: UTF-8, commas, one header line, every fault named with its line.

The standard library's `csv` reads them rather than pandas, which renames a repeated column,
takes `NA` and `None` for empty and a ragged row for an index, all without a word.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from .._files import atomic_path
from ..errors import LabelError

_SHOWN = 5


def read_table(csv_path: Path, content: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Returns the header and the rows with their line numbers, blank lines left out.

    Args:
        csv_path: The table.
        content: What the table should hold, for the error when there is none.

    Raises:
        LabelError: If the table cannot be read, is not UTF-8 or not rectangular.
    """
    if not os.path.isfile(csv_path):
        raise LabelError(f"{csv_path}: no such file. Name a CSV of {content}.")
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


def write_table(csv_path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table, whole or not at all."""
    with (
        atomic_path(csv_path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as stream,
    ):
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def repeated(values: Iterable[str]) -> list[str]:
    """Returns the values that occur more than once."""
    return [value for value, count in Counter(values).items() if count > 1]


def some(values: Sequence[str], *, quote: bool = True) -> str:
    """Lists the first few values and says how many more there are."""
    shown = ", ".join(repr(value) if quote else value for value in values[:_SHOWN])
    more = len(values) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
