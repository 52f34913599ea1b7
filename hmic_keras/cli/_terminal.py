"""What the commands share: consoles, progress bars, tables and quiet libraries."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.table import Table

out = Console()
err = Console(stderr=True)


def set_up() -> None:
    """Sends the package's warnings to the terminal and silences the libraries' start-up."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=err, show_time=False, show_path=False)],
    )
    for noisy in ("tensorflow", "absl"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def error(message: str) -> None:
    """Prints one error to standard error."""
    err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps native libraries from writing to standard error.

    TensorFlow reports missing GPU drivers and converter details from C++, whatever the log
    level. Python's own errors and this module's consoles still get through.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    python_stderr, console_file = sys.stderr, err.file
    through = os.fdopen(os.dup(saved), "w", buffering=1)
    try:
        os.dup2(sink, 2)
        sys.stderr = err.file = through
        yield
    finally:
        sys.stderr, err.file = python_stderr, console_file
        os.dup2(saved, 2)
        for descriptor in (saved, sink):
            os.close(descriptor)
        through.close()


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """Shows progress bars on standard error; yields `report(step, done, total)`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        Elapsed(),
    )
    bars: dict[str, Any] = {}
    with Progress(*columns, console=err) as shown:

        def report(step: str, done: int, total: int) -> None:
            if step not in bars:
                bars[step] = shown.add_task(step, total=total)
            shown.update(bars[step], completed=done)

        yield report


def scores_table(rows: dict[str, dict[str, Any]], title: str) -> Table:
    """Makes a table of scores with a row for each name and level.

    Args:
        rows: What `metrics.evaluate` returned, by name.
        title: Title of the table.
    """
    table = Table(title=title)
    table.add_column("model" if any(rows) else "")
    table.add_column("level")
    for column in ("mAP", "chance", "F1", "micro F1"):
        table.add_column(column, justify="right")
    for name, levels in rows.items():
        for level, result in levels.items():
            values = [result[key] for key in ("map", "map_baseline", "f1", "f1_micro")]
            table.add_row(name, level, *("-" if v is None else f"{v:.3f}" for v in values))
    return table
