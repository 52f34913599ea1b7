"""`hmic predict`."""

import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from . import _terminal


def predict(
    files: Annotated[list[str], typer.Argument(help="Audio files: wav, flac, ogg, mp3.")],
    model: Annotated[
        str | None, typer.Option(help="Model name or path; the default model if left out.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to show at each level.")] = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all probabilities as JSON.")
    ] = False,
) -> None:
    """Tell which instruments play in audio files.

    A file that cannot be read is reported, the others are answered, and the exit code is 1.

    Example: `hmic predict song.mp3 --top 3`
    """
    from ..errors import AudioError

    with _terminal.quiet():
        from .. import zoo
        from ..inference import Predictor

        predictor = Predictor(model or zoo.DEFAULT_MODEL)
    answers: dict[str, Any] = {}
    failed = False
    for file in files:
        try:
            with _terminal.quiet():
                answers[file] = predictor.predict(file)
        except AudioError as error:
            _terminal.error(str(error))
            failed = True
            continue
        if not as_json:
            _terminal.say(file)
            _terminal.out.print(_table(answers[file], top))
    if as_json:
        plain = {file: answer.to_dict() for file, answer in answers.items()}
        typer.echo(json.dumps(plain, indent=2, ensure_ascii=False))
    if failed:
        raise typer.Exit(1)


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
