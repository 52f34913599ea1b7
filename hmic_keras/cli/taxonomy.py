"""`hmic taxonomy`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from . import _terminal


def taxonomy(
    name: Annotated[
        str, typer.Argument(help="Packaged name, or path of a YAML, JSON or CSV file.")
    ] = "openmic",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print it as CSV, a column for each level.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write it to this file instead; .yaml, .yml, .json or .csv."),
    ] = None,
) -> None:
    """Show a taxonomy as a tree, check a file of one, or convert it.

    A name that does not exist is answered with the packaged ones.

    Example: `hmic taxonomy hornbostel_sachs --out instruments.csv`
    """
    from ..taxonomy import Taxonomy

    if as_json + as_csv + (out is not None) > 1:
        raise typer.BadParameter("Give one of --json, --csv and --out.")
    found = Taxonomy.load(name)
    if out is not None:
        found.save(out)
        _terminal.say(f"{found!r} written to {out}")
    elif as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    elif as_csv:
        typer.echo(found.to_csv(), nl=False)
    else:
        _terminal.out.print(found.tree(), highlight=False, markup=False, soft_wrap=True)
