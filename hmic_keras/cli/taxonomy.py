"""`hmic taxonomy`."""

import json
from typing import Annotated

import typer

from . import _terminal


def taxonomy(
    name: Annotated[
        str, typer.Argument(help="Packaged name, or path of a YAML file.")
    ] = "openmic",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Show a taxonomy as a tree; a file is checked on the way.

    Example: `hmic taxonomy openmic`
    """
    from ..taxonomy import Taxonomy

    found = Taxonomy.load(name)
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
        return
    _terminal.out.print(found.tree(), highlight=False, markup=False)
