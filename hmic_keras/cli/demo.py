"""`hmic demo`."""

from pathlib import Path
from typing import Annotated

import typer

from . import _terminal


def demo(
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Folder for models, figures and report.json.")
    ],
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training clips.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and crops.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON, like report.json.")
    ] = False,
) -> None:
    """Train, evaluate, export and predict on the packaged clips, in under 3 minutes.

    Trains `gmp` and `f2ca` on clips of one SoundFont and scores them on another one.

    Example: `hmic demo --out demo`
    """
    with _terminal.quiet(), _terminal.progress() as progress:
        import dataclasses

        from ..demo import run_demo
        from ..recipe import Recipe

        config = dataclasses.replace(Recipe.load("demo").training, seed=seed)
        if epochs is not None:
            config = dataclasses.replace(config, epochs=epochs)
        report = run_demo(out, config=config, progress=progress)
    if as_json:
        _terminal.say_json(report)
        return
    levels = {
        name: {k: v for k, v in result.items() if isinstance(v, dict) and "map" in v}
        for name, result in report["methods"].items()
    }
    _terminal.out.print(_terminal.scores_table(levels, "Test clips of another SoundFont"))
    for kind, difference in report["parity"].items():
        _terminal.say(f"{kind}: differs from Keras by at most {difference:.1e}")
    _terminal.say(f"Models, figures and report.json are in {out}")
