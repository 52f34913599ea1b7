"""`hmic export`."""

from pathlib import Path
from typing import Annotated

import typer

from . import _terminal


def export(
    model: Annotated[str, typer.Argument(help="Model name or path of a trained Keras model.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder to write.")],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="keras, savedmodel or tflite; repeat it for several."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the files and their differences as JSON.")
    ] = False,
) -> None:
    """Export a model, checked against the Keras answer, with its manifest.

    Example: `hmic export model --out exported --format tflite`
    """
    with _terminal.quiet():
        from .. import zoo
        from ..export import export_model

        manifest = export_model(zoo.load_model(model), out, formats=formats or tuple(zoo.FILES))
    if as_json:
        files = {kind: str(out / name) for kind, name in manifest["files"].items()}
        _terminal.say_json({"files": files, "parity": manifest["parity"]})
        return
    for kind, name in manifest["files"].items():
        differences = manifest["parity"].get(kind)
        note = (
            f", differs from Keras by at most {max(differences.values()):.1e}"
            if differences
            else ""
        )
        _terminal.say(f"{kind}: {out / name}{note}")
