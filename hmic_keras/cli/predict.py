"""`hmic predict`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

from . import _terminal


def predict(
    files: Annotated[
        list[str], typer.Argument(help="Audio files, or folders of them: wav, flac, ogg, mp3.")
    ],
    model: Annotated[
        str | None, typer.Option(help="Model name or path; the default model if left out.")
    ] = None,
    zoo: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Your folder of models; HMIC_ZOO names it, too."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Table to write (CSV), one row a file."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show at each level.")] = 5,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print all probabilities, or the summary, as JSON."),
    ] = False,
    resampler: Annotated[
        Literal["soxr", "mediapipe"],
        typer.Option(help="mediapipe: answer as an app does that leaves the rate to it."),
    ] = "soxr",
) -> None:
    """Tell which instruments play in audio files.

    Folders are searched for audio files. A file that cannot be read is reported, the others
    are answered, and the exit code is 1.

    Example: `hmic predict song.mp3 --top 3`
    """
    with _terminal.quiet():
        from .. import batch
        from ..inference import Predictor
        from ..zoo import DEFAULT_MODEL

        if out is not None:
            batch.check_table_path(out)
        predictor = Predictor(model or DEFAULT_MODEL, zoo=zoo, resampler=resampler)
        found = batch.find_audio(files)
        results = batch.predict_files(predictor, found)
        if out is None:
            failed = _show(results, top, as_json)
        else:
            failed = _write(results, len(found), predictor.taxonomy, out, as_json)
    if failed:
        raise typer.Exit(1)


def _show(results: Iterable[Any], top: int, as_json: bool) -> int:
    """Prints each answer; returns how many files have none."""
    answers: dict[str, Any] = {}
    failed = 0
    for result in results:
        if isinstance(result.outcome, Exception):
            _terminal.error(str(result.outcome))
            failed += 1
        elif as_json:
            answers[result.path] = result.outcome.to_dict()
        else:
            _terminal.say(result.path)
            _terminal.out.print(_table(result.outcome, top))
    if as_json:
        _terminal.say_json(answers)
    return failed


def _write(results: Iterable[Any], total: int, taxonomy: Any, out: Path, as_json: bool) -> int:
    """Writes the table and prints a summary; returns how many files have no answer."""
    from ..batch import write_table

    with _terminal.progress() as progress:
        counts = write_table(out, taxonomy, _watched(results, total, progress))
    if as_json:
        _terminal.say_json({"files": total, **counts, "table": str(out)})
    else:
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        _terminal.say(f"{total} file(s): {counts['ok']} answered{failed}; see {out}")
    return counts["failed"]


def _watched(
    results: Iterable[Any], total: int, progress: Callable[[str, int, int], None]
) -> Iterator[Any]:
    for done, result in enumerate(results, start=1):
        if isinstance(result.outcome, Exception):
            _terminal.error(str(result.outcome))
        yield result
        progress("predict", done, total)


def _table(prediction: Any, top: int) -> Table:
    table = Table(caption="● reaches the class's threshold", min_width=44)
    for column, side in (("level", "left"), ("class", "left"), ("", "left")):
        table.add_column(column, justify=side)  # type: ignore[arg-type]
    table.add_column("probability", justify="right")
    # The families first: the coarse answer is the surer one.
    for level in reversed(prediction.taxonomy.levels):
        present = {name for name, _ in prediction.tags(level)}
        for name, probability in prediction.top(level, top):
            mark = "●" if name in present else ""
            table.add_row(escape(level), escape(name), mark, f"{probability:.3f}")
        table.add_section()
    return table
