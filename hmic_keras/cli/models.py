"""`hmic models`."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from . import _terminal


def models(
    zoo: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Your folder of models; HMIC_ZOO names it, too."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List the models that have a name, and how well they do.

    Results are mean average precision, the finest level on top, as their model cards explain.

    Example: `hmic models --json`
    """
    from .. import zoo as zoo_module

    found = zoo_module.models(zoo)
    if as_json:
        default = zoo_module.DEFAULT_MODEL
        _terminal.say_json([{**one.to_dict(), "default": one.name == default} for one in found])
        return
    _terminal.out.print(_table(found, zoo_module.DEFAULT_MODEL))
    for one in found:
        if words := [text for text in (one.description, one.licence) if text]:
            _terminal.say(f"{one.name}: {' '.join(words)}")


def _table(found: list[Any], default: str) -> Table:
    table = Table(caption="● is the default; a size of - means: not installed, see --json")
    table.add_column("model", no_wrap=True)
    table.add_column("taxonomy", overflow="fold")
    for column in ("weights", "size"):
        table.add_column(column, justify="right")
    tests = list(dict.fromkeys(test for one in found for test in one.results))
    for test in tests:
        table.add_column(escape(test), justify="right", no_wrap=True)
    for one in found:
        results = (one.results.get(test, {}).values() for test in tests)
        table.add_row(
            escape(one.name) + (" ●" if one.name == default else ""),
            escape(one.taxonomy),
            "-" if one.parameters is None else f"{one.parameters / 1e6:.2f} M",
            f"{min(one.files.values()) / 1e6:.1f} MB" if one.files else "-",
            *("\n".join(f"{value:.3f}" for value in scores) or "-" for scores in results),
        )
    return table
