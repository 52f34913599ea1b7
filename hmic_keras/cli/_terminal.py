"""What the commands share: consoles, progress bars, tables and quiet libraries."""

import ctypes
import io
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_SCORES = {
    "map": "mAP",
    "map_baseline": "chance",
    "roc_auc": "ROC-AUC",
    "f1": "F1",
    "f1_micro": "micro F1",
}

out = Console()
err = Console(stderr=True)


class _Warnings(logging.Handler):
    """Prints log records as lines that no width breaks, so that a path can be copied."""

    def emit(self, record: logging.LogRecord) -> None:
        text = escape(self.format(record))
        level = record.levelname.lower()
        err.print(f"[yellow]{level}:[/] {text}", highlight=False, soft_wrap=True)


def keep_freed_memory() -> None:
    """Lets glibc keep what TensorFlow frees, where there is a glibc.

    Its threads give the memory of every tensor back and fetch it again for the next one; on a
    CPU that can take as long as the training itself.
    """
    m_top_pad = -2  # from <malloc.h>
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).mallopt(m_top_pad, 1 << 28)


def use_onednn() -> None:
    """Lets TensorFlow use oneDNN's kernels on every CPU, unless the environment says otherwise.

    By itself it does so on some processors only. Takes effect if called before TensorFlow is
    imported.
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def set_up() -> None:
    """Sends the package's warnings to the terminal and silences the libraries' start-up."""
    keep_freed_memory()
    use_onednn()
    _print_any_name()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[_Warnings()],
    )
    for noisy in ("tensorflow", "absl"):
        logging.getLogger(noisy).setLevel(logging.ERROR)


def _print_any_name() -> None:
    """Lets the output hold every file name, and characters its encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            unicode = stream.encoding.lower().startswith("utf")
            stream.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")


def error(message: str) -> None:
    """Prints one error to standard error."""
    err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Prints a line to standard output as it is: no markup, no line breaks added."""
    out.print(message, markup=False, highlight=False, soft_wrap=True)


def say_json(value: Any) -> None:
    """Prints a value as JSON to standard output, which then holds nothing else."""
    say(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def names(given: list[str]) -> list[str]:
    """Returns the names in an option that takes several, with commas or by repeating it."""
    return [name.strip() for part in given for name in part.split(",") if name.strip()]


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps native libraries from writing to standard error.

    TensorFlow reports missing GPU drivers and converter details from C++, whatever the log
    level. Python's own errors and this module's consoles still get through.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    python_stderr = sys.stderr
    through = os.fdopen(
        os.dup(saved), "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
    )
    try:
        os.dup2(sink, 2)
        sys.stderr = through  # where the console `err` looks, too
        yield
    finally:
        sys.stderr = python_stderr
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
    shown = Progress(*columns, console=err)

    def report(step: str, done: int, total: int) -> None:
        # Started no sooner, since an error before the first step needs no empty bar.
        shown.start()
        if step not in bars:
            bars[step] = shown.add_task(step, total=total)
        shown.update(bars[step], completed=done)

    try:
        yield report
    finally:
        shown.stop()


def scores_table(rows: dict[str, dict[str, Any]], title: str) -> Table:
    """Makes a table of scores with a row for each name and level.

    Args:
        rows: What `metrics.evaluate` returned for each level, by the name of the model; with
            the name `""` for a single one.
        title: Title of the table.
    """
    results = [result for levels in rows.values() for result in levels.values()]
    keys = [key for key in _SCORES if all(key in result for result in results)]
    table = Table(title=title)
    for column in ("model", "level") if any(rows) else ("level",):
        table.add_column(column)
    for key in keys:
        table.add_column(_SCORES[key], justify="right")
    for name, levels in rows.items():
        for level, result in levels.items():
            values = ("-" if result[key] is None else f"{result[key]:.3f}" for key in keys)
            table.add_row(*([escape(name)] if any(rows) else []), escape(level), *values)
        table.add_section()
    return table
